//! Keys and values in memory, when they end, and how much they take.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::Limits;

/// What a key, or an element of a value, takes besides its bytes; about.
const OVERHEAD: usize = 64;

#[derive(Debug)]
pub(super) enum Value {
    Text(Bytes),
    List(VecDeque<Bytes>),
    Set(HashSet<Bytes>),
    Hash(HashMap<Bytes, Bytes>),
}

impl Value {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => weight(text),
            Self::List(list) => list.iter().map(|item| weight(item)).sum(),
            Self::Set(set) => set.iter().map(|item| weight(item)).sum(),
            Self::Hash(hash) => hash
                .iter()
                .map(|(field, value)| weight(field) + weight(value))
                .sum(),
        }
    }
}

pub(super) fn weight(bytes: &[u8]) -> usize {
    OVERHEAD + bytes.len()
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) expires: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) entries: HashMap<Bytes, Entry>,
    /// When which key ends: one place for each key that does.
    pub(super) due: BTreeSet<(Instant, Bytes)>,
    pub(super) used: usize,
    pub(super) limits: Limits,
    /// When what is being dealt with has come.
    pub(super) now: Instant,
}

impl Store {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            entries: HashMap::new(),
            due: BTreeSet::new(),
            used: 0,
            limits,
            now: Instant::now(),
        }
    }

    /// Sets the clock, and takes keys out whose time is over; of many some now and others later, as they are not found anyway.
    pub(super) fn begin(&mut self) {
        self.now = Instant::now();
        for _ in 0..100 {
            match self.due.first() {
                Some((at, key)) if *at <= self.now => {
                    let key = key.clone();
                    self.remove(&key);
                }
                _ => return,
            }
        }
    }

    pub(super) fn entry(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let now = self.now;
        let entry = self.entries.get_mut(key)?;
        entry.expires.is_none_or(|at| at > now).then_some(entry)
    }

    pub(super) fn find(&mut self, key: &[u8]) -> Option<&mut Value> {
        self.entry(key).map(|entry| &mut entry.value)
    }

    /// The value of a key, made if it is not there.
    pub(super) fn make(&mut self, key: &[u8], empty: fn() -> Value) -> &mut Value {
        if self.find(key).is_none() {
            self.put(key, empty(), None);
        }
        let entry = self.entries.entry(Bytes::copy_from_slice(key));
        let expires = None;
        &mut entry
            .or_insert_with(|| Entry {
                value: empty(),
                expires,
            })
            .value
    }

    pub(super) fn put(&mut self, key: &[u8], value: Value, expires: Option<Instant>) {
        self.remove(key);
        let key = Bytes::copy_from_slice(key);
        self.used += weight(&key) + value.weight();
        if let Some(at) = expires {
            self.due.insert((at, key.clone()));
        }
        self.entries.insert(key, Entry { value, expires });
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else {
            return false;
        };
        self.used = self
            .used
            .saturating_sub(weight(&key) + entry.value.weight());
        let live = entry.expires.is_none_or(|at| at > self.now);
        if let Some(at) = entry.expires {
            self.due.remove(&(at, key));
        }
        live
    }

    /// Has a key end at another time; `false` if it is not there.
    pub(super) fn expire(&mut self, key: &[u8], expires: Option<Instant>) -> bool {
        let Some(entry) = self.entry(key) else {
            return false;
        };
        let before = std::mem::replace(&mut entry.expires, expires);
        let key = Bytes::copy_from_slice(key);
        if let Some(at) = before {
            self.due.remove(&(at, key.clone()));
        }
        if let Some(at) = expires {
            self.due.insert((at, key));
        }
        true
    }

    /// After elements were taken from a value: one without any is none.
    pub(super) fn tidy(&mut self, key: &[u8], taken: usize) {
        self.used = self.used.saturating_sub(taken);
        let empty = match self.find(key) {
            Some(Value::List(list)) => list.is_empty(),
            Some(Value::Set(set)) => set.is_empty(),
            Some(Value::Hash(hash)) => hash.is_empty(),
            Some(Value::Text(_)) | None => false,
        };
        if empty {
            self.remove(key);
        }
    }
}

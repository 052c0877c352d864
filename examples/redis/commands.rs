//! The commands: a table of them, and what is too long for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::reply::{
    Failure, Frame, NOT_A_NUMBER, Reply, SYNTAX, Values, WRONG_TYPE, array, count, map, simple,
    text,
};
use super::request::number;
use super::store::{Entry, Store, Value, weight};

/// What is known of a client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: i64,
    pub(super) resp3: bool,
    pub(super) name: Bytes,
    /// It has said that it goes.
    pub(super) quits: bool,
}

impl Session {
    pub(super) fn new() -> Self {
        static LAST: AtomicI64 = AtomicI64::new(0);
        Self {
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            resp3: false,
            name: Bytes::new(),
            quits: false,
        }
    }
}

/// The arguments of a command, its name the first.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) input: &'a [u8],
    pub(super) places: &'a [Range<usize>],
}

impl<'a> Arguments<'a> {
    /// What is not there is empty; how many there are has been looked at before.
    pub(super) fn get(self, at: usize) -> &'a [u8] {
        let place = self.places.get(at);
        place
            .and_then(|place| self.input.get(place.clone()))
            .unwrap_or_default()
    }

    pub(super) fn from(self, first: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
        (first..self.places.len()).map(move |at| self.get(at))
    }

    pub(super) fn len(self) -> usize {
        self.places.len()
    }

    pub(super) fn owned(self, at: usize) -> Bytes {
        Bytes::copy_from_slice(self.get(at))
    }

    pub(super) fn is(self, at: usize, word: &str) -> bool {
        self.get(at).eq_ignore_ascii_case(word.as_bytes())
    }

    pub(super) fn number(self, at: usize) -> Result<i64, Failure> {
        number(self.get(at)).ok_or(NOT_A_NUMBER)
    }
}

pub(super) type Run = fn(&mut Store, &mut Session, Arguments<'_>) -> Reply;

/// Name, how many arguments with it (negative: at least so many), whether the store may grow by it, and what it does.
pub(super) type Command = (&'static str, i64, bool, Run);

/// Those asked for most are found first.
static COMMANDS: &[Command] = &[
    ("get", 2, false, |store, _, args| {
        match store.find(args.get(1)) {
            Some(Value::Text(value)) => Ok(text(value.clone())),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(Frame::Null),
        }
    }),
    ("set", -3, true, |store, _, args| set(store, args)),
    ("ping", -1, false, |_, _, args| match args.len() {
        1 => Ok(simple("PONG")),
        _ => Ok(text(args.owned(1))),
    }),
    ("incr", 2, true, |store, _, args| add(store, args.get(1), 1)),
    ("decr", 2, true, |store, _, args| {
        add(store, args.get(1), -1)
    }),
    ("incrby", 3, true, |store, _, args| {
        add(store, args.get(1), args.number(2)?)
    }),
    ("decrby", 3, true, |store, _, args| {
        let less = args
            .number(2)?
            .checked_neg()
            .ok_or("ERR decrement would overflow")?;
        add(store, args.get(1), less)
    }),
    ("mget", -2, false, |store, _, args| {
        let mut values = Values::new(store.limits.max_reply);
        for key in args.from(1) {
            values.add(match store.find(key) {
                Some(Value::Text(value)) => Some(value),
                _ => None,
            })?;
        }
        Ok(array(values.frames()))
    }),
    ("mset", -3, true, |store, _, args| {
        if args.len().is_multiple_of(2) {
            return Err("ERR wrong number of arguments for 'mset' command".into());
        }
        for at in (1..args.len()).step_by(2) {
            store.put(args.get(at), Value::Text(args.owned(at + 1)), None);
        }
        Ok(simple("OK"))
    }),
    ("del", -2, false, |store, _, args| {
        Ok(count(args.from(1).filter(|key| store.remove(key)).count()))
    }),
    ("exists", -2, false, |store, _, args| {
        Ok(count(
            args.from(1).filter(|key| store.find(key).is_some()).count(),
        ))
    }),
    ("append", 3, true, append),
    ("strlen", 2, false, |store, _, args| {
        match store.find(args.get(1)) {
            Some(Value::Text(value)) => Ok(count(value.len())),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(count(0)),
        }
    }),
    ("expire", 3, false, |store, _, args| {
        expire(store, args, 1_000)
    }),
    ("pexpire", 3, false, |store, _, args| expire(store, args, 1)),
    ("ttl", 2, false, |store, _, args| {
        Ok(time_left(store, args.get(1), 1_000))
    }),
    ("pttl", 2, false, |store, _, args| {
        Ok(time_left(store, args.get(1), 1))
    }),
    ("lpush", -3, true, |store, _, args| {
        push(store, args, VecDeque::push_front)
    }),
    ("rpush", -3, true, |store, _, args| {
        push(store, args, VecDeque::push_back)
    }),
    ("lpop", -2, false, |store, _, args| {
        pop(store, args, VecDeque::pop_front)
    }),
    ("rpop", -2, false, |store, _, args| {
        pop(store, args, VecDeque::pop_back)
    }),
    ("lrange", 4, false, range),
    ("llen", 2, false, |store, _, args| {
        match store.find(args.get(1)) {
            Some(Value::List(list)) => Ok(count(list.len())),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(count(0)),
        }
    }),
    ("sadd", -3, true, |store, _, args| {
        let Value::Set(set) = store.make(args.get(1), || Value::Set(HashSet::new())) else {
            return Err(WRONG_TYPE);
        };
        let new = args
            .from(2)
            .filter(|item| set.insert(Bytes::copy_from_slice(item)));
        let (added, grown) = new.fold((0, 0), |(n, sum), item| (n + 1, sum + weight(item)));
        store.used += grown;
        Ok(count(added))
    }),
    ("smembers", 2, false, |store, _, args| {
        let mut values = Values::new(store.limits.max_reply);
        match store.find(args.get(1)) {
            Some(Value::Set(set)) => set.iter().try_for_each(|item| values.add(Some(item)))?,
            Some(_) => return Err(WRONG_TYPE),
            None => {}
        }
        Ok(Frame::Set {
            data: values.frames().into_iter().collect(),
            attributes: None,
        })
    }),
    ("hset", -4, true, hash_set),
    ("hget", 3, false, |store, _, args| {
        match store.find(args.get(1)) {
            Some(Value::Hash(hash)) => Ok(hash.get(args.get(2)).cloned().map_or(Frame::Null, text)),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(Frame::Null),
        }
    }),
    ("hgetall", 2, false, |store, _, args| {
        let mut values = Values::new(store.limits.max_reply);
        match store.find(args.get(1)) {
            Some(Value::Hash(hash)) => {
                let mut both = hash.iter().flat_map(|(field, value)| [field, value]);
                both.try_for_each(|one| values.add(Some(one)))?;
            }
            Some(_) => return Err(WRONG_TYPE),
            None => {}
        }
        let mut frames = values.frames().into_iter();
        let pairs = std::iter::from_fn(|| Some((frames.next()?, frames.next()?)));
        Ok(map(pairs))
    }),
    ("echo", 2, false, |_, _, args| Ok(text(args.owned(1)))),
    ("dbsize", 1, false, |store, _, _| {
        Ok(count(store.entries.len()))
    }),
    ("flushall", -1, false, |store, _, _| {
        *store = Store::new(store.limits);
        Ok(simple("OK"))
    }),
    ("select", 2, false, |_, _, args| match args.number(1)? {
        0 => Ok(simple("OK")),
        _ => Err("ERR DB index is out of range".into()),
    }),
    ("hello", -1, false, hello),
    ("client", -2, false, client),
    ("config", -2, false, config),
    ("command", -1, false, |_, _, args| match args.len() {
        1 => Ok(array(
            COMMANDS
                .iter()
                .map(|(name, arity, ..)| array(vec![text(*name), count(*arity)]))
                .collect(),
        )),
        _ if args.is(1, "count") => Ok(count(COMMANDS.len())),
        _ if args.is(1, "docs") => Ok(map([])),
        _ => Err(SYNTAX),
    }),
    ("info", -1, false, |store, _, _| {
        // Libraries look for the version before they use what came with it.
        let (keys, used, limit) = (store.entries.len(), store.used, store.limits.max_memory);
        Ok(text(format!(
            "# Server\r\nredis_version:6.0.0\r\nredis_mode:standalone\r\n\r\n\
             # Memory\r\nused_memory:{used}\r\nmaxmemory:{limit}\r\n\r\n\
             # Keyspace\r\ndb0:keys={keys},expires={}\r\n",
            store.due.len()
        )))
    }),
    ("quit", -1, false, |_, session, _| {
        session.quits = true;
        Ok(simple("OK"))
    }),
];

pub(super) fn run(store: &mut Store, session: &mut Session, args: Arguments<'_>) -> Reply {
    let name = args.get(0);
    let found = COMMANDS
        .iter()
        .find(|(known, ..)| name.eq_ignore_ascii_case(known.as_bytes()));
    let Some((known, arity, grows, run)) = found else {
        let name = name.escape_ascii().to_string();
        let shown: String = name.chars().take(128).collect();
        return Err(format!("ERR unknown command '{shown}'").into());
    };
    let given = i64::try_from(args.len()).unwrap_or(i64::MAX);
    if given < arity.abs() || (*arity > 0 && given != *arity) {
        return Err(format!("ERR wrong number of arguments for '{known}' command").into());
    }
    let sizes = args.from(1).map(weight).sum::<usize>();
    if *grows && store.used + sizes > store.limits.max_memory {
        return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
    }
    run(store, session, args)
}

/// `SET key value [EX seconds | PX milliseconds | KEEPTTL] [NX | XX] [GET]`
fn set(store: &mut Store, args: Arguments<'_>) -> Reply {
    let (key, mut expires) = (args.get(1), None);
    let (mut only_new, mut only_old, mut keep, mut get) = (false, false, false, false);
    let mut at = 3;
    while at < args.len() {
        let unit = if args.is(at, "ex") { 1_000 } else { 1 };
        if args.is(at, "nx") {
            only_new = true;
        } else if args.is(at, "xx") {
            only_old = true;
        } else if args.is(at, "get") {
            get = true;
        } else if args.is(at, "keepttl") {
            keep = true;
        } else if (args.is(at, "ex") || args.is(at, "px"))
            && at + 1 < args.len()
            && expires.is_none()
        {
            at += 1;
            let after = after(args.number(at)?, unit).filter(|after| !after.is_zero());
            let end = after.and_then(|after| store.now.checked_add(after));
            expires = Some(end.ok_or("ERR invalid expire time in 'set' command")?);
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if (only_new && only_old) || (keep && expires.is_some()) {
        return Err(SYNTAX);
    }
    let before = store.entry(key);
    let old = match &before {
        Some(Entry {
            value: Value::Text(value),
            ..
        }) if get => text(value.clone()),
        Some(_) if get => return Err(WRONG_TYPE),
        _ => Frame::Null,
    };
    if (only_new && before.is_some()) || (only_old && before.is_none()) {
        return Ok(old);
    }
    if keep {
        expires = before.and_then(|entry| entry.expires);
    }
    store.put(key, Value::Text(args.owned(2)), expires);
    Ok(if get { old } else { simple("OK") })
}

/// So many units of so many milliseconds; nothing for a negative number.
fn after(units: i64, milliseconds: u64) -> Option<Duration> {
    let units = u64::try_from(units).ok()?;
    units.checked_mul(milliseconds).map(Duration::from_millis)
}

fn expire(store: &mut Store, args: Arguments<'_>, unit: u64) -> Reply {
    let (key, units) = (args.get(1), args.number(2)?);
    if units <= 0 {
        return Ok(count(i64::from(store.remove(key))));
    }
    let at = after(units, unit).and_then(|after| store.now.checked_add(after));
    let at = at.ok_or("ERR invalid expire time in 'expire' command")?;
    Ok(count(i64::from(store.expire(key, Some(at)))))
}

fn time_left(store: &mut Store, key: &[u8], unit: u128) -> Frame {
    let now = store.now;
    match store.entry(key).map(|entry| entry.expires) {
        None => count(-2),
        Some(None) => count(-1),
        // To the nearest, as Redis.
        Some(Some(at)) => count((at.saturating_duration_since(now).as_millis() + unit / 2) / unit),
    }
}

fn add(store: &mut Store, key: &[u8], more: i64) -> Reply {
    let (value, expires) = match store.entry(key) {
        None => (0, None),
        Some(Entry {
            value: Value::Text(value),
            expires,
        }) => (number(value).ok_or(NOT_A_NUMBER)?, *expires),
        Some(_) => return Err(WRONG_TYPE),
    };
    let sum = value
        .checked_add(more)
        .ok_or("ERR increment or decrement would overflow")?;
    store.put(key, Value::Text(sum.to_string().into()), expires);
    Ok(count(sum))
}

fn append(store: &mut Store, _: &mut Session, args: Arguments<'_>) -> Reply {
    let limit = store.limits.max_request;
    let more = args.get(2);
    let Value::Text(value) = store.make(args.get(1), || Value::Text(Bytes::new())) else {
        return Err(WRONG_TYPE);
    };
    if value.len() + more.len() > limit {
        return Err("ERR string exceeds maximum allowed size".into());
    }
    // In place, unless a reply with it is on its way.
    let whole = std::mem::take(value).try_into_mut();
    let mut whole = whole.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    whole.extend_from_slice(more);
    *value = whole.freeze();
    let length = value.len();
    store.used += more.len();
    Ok(count(length))
}

fn push(store: &mut Store, args: Arguments<'_>, put: fn(&mut VecDeque<Bytes>, Bytes)) -> Reply {
    let Value::List(list) = store.make(args.get(1), || Value::List(VecDeque::new())) else {
        return Err(WRONG_TYPE);
    };
    args.from(2)
        .for_each(|item| put(list, Bytes::copy_from_slice(item)));
    let length = list.len();
    store.used += args.from(2).map(weight).sum::<usize>();
    Ok(count(length))
}

fn pop(
    store: &mut Store,
    args: Arguments<'_>,
    take: fn(&mut VecDeque<Bytes>) -> Option<Bytes>,
) -> Reply {
    let most = match args.len() {
        2 => 1,
        3 => usize::try_from(args.number(2)?)
            .map_err(|_| "ERR value is out of range, must be positive")?,
        _ => return Err(SYNTAX),
    };
    let list = match store.find(args.get(1)) {
        Some(Value::List(list)) => list,
        Some(_) => return Err(WRONG_TYPE),
        None => return Ok(Frame::Null),
    };
    let items: Vec<Bytes> = std::iter::from_fn(|| take(list)).take(most).collect();
    store.tidy(args.get(1), items.iter().map(|item| weight(item)).sum());
    let mut items = items.into_iter().map(text);
    Ok(if args.len() == 2 {
        items.next().unwrap_or(Frame::Null)
    } else {
        array(items.collect())
    })
}

fn range(store: &mut Store, _: &mut Session, args: Arguments<'_>) -> Reply {
    let (first, last) = (args.number(2)?, args.number(3)?);
    let mut values = Values::new(store.limits.max_reply);
    let list = match store.find(args.get(1)) {
        Some(Value::List(list)) => list,
        Some(_) => return Err(WRONG_TYPE),
        None => return Ok(array(Vec::new())),
    };
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    // Negative ones count from the end.
    let place = |at: i64| {
        if at < 0 {
            length.saturating_add(at)
        } else {
            at
        }
    };
    let (first, last) = (place(first).max(0), place(last).min(length - 1));
    let skipped = usize::try_from(first).unwrap_or(usize::MAX);
    let taken = usize::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(0);
    for item in list.iter().skip(skipped).take(taken) {
        values.add(Some(item))?;
    }
    Ok(array(values.frames()))
}

fn hash_set(store: &mut Store, _: &mut Session, args: Arguments<'_>) -> Reply {
    if !args.len().is_multiple_of(2) {
        return Err("ERR wrong number of arguments for 'hset' command".into());
    }
    let Value::Hash(hash) = store.make(args.get(1), || Value::Hash(HashMap::new())) else {
        return Err(WRONG_TYPE);
    };
    let (mut added, mut grown, mut gone) = (0, 0, 0);
    for at in (2..args.len()).step_by(2) {
        grown += weight(args.get(at + 1));
        match hash.insert(args.owned(at), args.owned(at + 1)) {
            Some(before) => gone += weight(&before),
            None => {
                added += 1;
                grown += weight(args.get(at));
            }
        }
    }
    store.used = (store.used + grown).saturating_sub(gone);
    Ok(count(added))
}

/// The longest name that a client may give itself: it is kept for as long as the client stays.
const LONGEST_NAME: usize = 256;

/// A name for a client.
fn name(args: Arguments<'_>, at: usize) -> Result<Bytes, Failure> {
    match args.get(at).len() {
        0..=LONGEST_NAME => Ok(args.owned(at)),
        _ => Err("ERR Client names have at most 256 bytes".into()),
    }
}

/// `HELLO [2 | 3 [SETNAME name]]`
fn hello(_: &mut Store, session: &mut Session, args: Arguments<'_>) -> Reply {
    if args.len() > 1 {
        let resp3 = match args.get(1) {
            b"2" => false,
            b"3" => true,
            _ => return Err("NOPROTO unsupported protocol version".into()),
        };
        match args.len() {
            2 => {}
            4 if args.is(2, "setname") => session.name = name(args, 3)?,
            _ => return Err(SYNTAX),
        }
        session.resp3 = resp3;
    }
    Ok(map([
        (text("server"), text("dpdk-net example")),
        (text("version"), text("6.0.0")),
        (text("proto"), count(if session.resp3 { 3 } else { 2 })),
        (text("id"), count(session.id)),
        (text("mode"), text("standalone")),
        (text("role"), text("master")),
        (text("modules"), array(Vec::new())),
    ]))
}

fn client(_: &mut Store, session: &mut Session, args: Arguments<'_>) -> Reply {
    match args.len() {
        2 if args.is(1, "id") => Ok(count(session.id)),
        2 if args.is(1, "getname") => Ok(text(session.name.clone())),
        3 if args.is(1, "setname") => {
            session.name = name(args, 2)?;
            Ok(simple("OK"))
        }
        // Which library it is.
        4 if args.is(1, "setinfo") => Ok(simple("OK")),
        _ => Err(SYNTAX),
    }
}

fn config(store: &mut Store, _: &mut Session, args: Arguments<'_>) -> Reply {
    if args.len() < 3 || !args.is(1, "get") {
        return Err("ERR there is CONFIG GET alone".into());
    }
    // redis-benchmark asks for the first two.
    let known = [
        ("save", String::new()),
        ("appendonly", "no".into()),
        ("maxmemory", store.limits.max_memory.to_string()),
        ("proto-max-bulk-len", store.limits.max_request.to_string()),
    ];
    let asked = |name: &str| (2..args.len()).any(|at| args.get(at) == b"*" || args.is(at, name));
    let found = known.into_iter().filter(|(name, _)| asked(name));
    Ok(map(found.map(|(name, value)| (text(name), text(value)))))
}

//! Lists that are told a page at a time, in the order of the places that entries have in memory.
//!
//! A page looks at a bounded number of places and goes on where the one before it ended, so the last page of a long list costs what the
//! first one does. What a `SlotMap` has can't be looked at from somewhere in the middle; so [`Listed`] writes down beside it which entry is
//! at which place, in four bytes each.

use alloc::vec::Vec;
use core::ops::Deref;

use slotmap::{Key, KeyData, SlotMap};

/// Places that a page looks at, whether something is there or not.
pub(crate) const PLACES: usize = 4 * 1024;

/// Where a list goes on: a place in memory, not an entry, which may be gone by then. [`START`](Self::START) is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListPlace(u32);

impl ListPlace {
    /// Where every list begins.
    pub const START: Self = Self(0);

    /// The place behind the entry with this id.
    pub fn behind(id: impl Key) -> Self {
        Self(place(id).saturating_add(1))
    }

    /// So many places from the beginning.
    pub fn new(places: u32) -> Self {
        Self(places)
    }

    /// How many places from the beginning.
    pub fn get(self) -> u32 {
        self.0
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The place with this index, of a list that has so many.
    pub(crate) fn before_end(index: usize, places: usize) -> Option<Self> {
        let index = Some(index).filter(|index| *index < places)?;
        u32::try_from(index).ok().map(Self)
    }
}

/// Some of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage<T> {
    /// In the order of their places. There may be fewer than were asked for, or none, and still more to come.
    pub entries: Vec<T>,
    /// Where the list goes on; `None` if this was the last page.
    pub next: Option<ListPlace>,
}

/// A slot map that tells its entries page by page.
#[derive(Debug)]
pub(crate) struct Listed<K: Key, V> {
    map: SlotMap<K, V>,
    /// By their places, what tells an entry's id from those that others had there: the upper half of the number that a key is. 0 where
    /// there is none.
    versions: Vec<u32>,
    /// How many places have been looked at.
    #[cfg(test)]
    looks: core::cell::Cell<usize>,
}

impl<K: Key, V> Listed<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            map: SlotMap::with_key(),
            versions: Vec::new(),
            #[cfg(test)]
            looks: core::cell::Cell::default(),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: K) -> Option<&mut V> {
        self.map.get_mut(id)
    }

    pub(crate) fn insert(&mut self, value: V) -> K {
        self.insert_with_key(|_| value)
    }

    pub(crate) fn insert_with_key(&mut self, make: impl FnOnce(K) -> V) -> K {
        let id = self.map.insert_with_key(make);
        let place = place(id) as usize;
        if self.versions.len() <= place {
            self.versions.resize(place + 1, 0);
        }
        if let Some(version) = self.versions.get_mut(place) {
            *version = (id.data().as_ffi() >> 32) as u32;
        }
        id
    }

    pub(crate) fn remove(&mut self, id: K) -> Option<V> {
        let value = self.map.remove(id)?;
        if let Some(version) = self.versions.get_mut(place(id) as usize) {
            *version = 0;
        }
        Some(value)
    }

    /// At most `most` entries from a place on, as they are told.
    pub(crate) fn page<T>(
        &self,
        from: ListPlace,
        most: usize,
        tell: impl Fn(K, &V) -> T,
    ) -> ListPage<(K, T)> {
        let end = from.index().saturating_add(PLACES).min(self.versions.len());
        let mut entries = Vec::with_capacity(most.min(self.map.len()).min(PLACES));
        let mut at = from.index();
        while at < end && entries.len() < most {
            if let Some(id) = self.look(at)
                && let Some(value) = self.map.get(id)
            {
                entries.push((id, tell(id, value)));
            }
            at += 1;
        }
        let next = ListPlace::before_end(at, self.versions.len());
        ListPage { entries, next }
    }

    /// How many places have been looked at so far.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.looks.get()
    }

    /// What is at a place.
    fn look(&self, at: usize) -> Option<K> {
        #[cfg(test)]
        self.looks.update(|looks| looks + 1);
        let version = *self.versions.get(at).filter(|version| **version != 0)?;
        let id = u64::from(version) << 32 | at as u64;
        Some(K::from(KeyData::from_ffi(id)))
    }
}

/// To be looked at; what comes and goes has to be written down.
impl<K: Key, V> Deref for Listed<K, V> {
    type Target = SlotMap<K, V>;

    #[inline(always)]
    fn deref(&self) -> &SlotMap<K, V> {
        &self.map
    }
}

/// The place of an entry: the lower half of the number that a key is. Two entries that are there at a time have different ones, and they
/// are as low as can be.
fn place(id: impl Key) -> u32 {
    id.data().as_ffi() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TcpId;

    const MANY: usize = 60_000;

    /// All entries, a page at a time, and how many places the most costly page looked at.
    fn all(list: &Listed<TcpId, usize>, most: usize) -> (Vec<usize>, usize, usize) {
        let (mut all, mut pages, mut costly) = (Vec::new(), 0, 0);
        let mut from = Some(ListPlace::START);
        while let Some(place) = from {
            let before = list.looks.get();
            let page = list.page(place, most, |_, value| *value);
            costly = costly.max(list.looks.get() - before);
            assert!(page.entries.len() <= most);
            all.extend(page.entries.iter().map(|(_, value)| *value));
            assert!(page.next > from || page.next.is_none(), "it goes on");
            from = page.next;
            pages += 1;
        }
        (all, pages, costly)
    }

    #[test]
    fn a_page_of_many_looks_at_as_many_places_as_it_has_entries_wherever_it_is() {
        let mut list = Listed::new();
        for value in 0..MANY {
            list.insert(value);
        }
        let (found, pages, costly) = all(&list, 256);
        assert_eq!(found, Vec::from_iter(0..MANY));
        assert_eq!(pages, MANY.div_ceil(256));
        // One more at the beginning, where slot maps have nothing.
        assert_eq!(costly, 257);
        assert_eq!(list.looks.get(), MANY + 1);
    }

    #[test]
    fn a_page_of_few_that_lie_far_apart_looks_at_a_bounded_number_of_places() {
        let mut list = Listed::new();
        let ids: Vec<TcpId> = (0..MANY).map(|value| list.insert(value)).collect();
        for (value, id) in ids.iter().enumerate() {
            if value % 10_000 != 9_999 {
                assert_eq!(list.remove(*id), Some(value));
            }
        }
        let (found, pages, costly) = all(&list, 256);
        assert_eq!(found, [9_999, 19_999, 29_999, 39_999, 49_999, 59_999]);
        assert_eq!((pages, costly), ((MANY + 1).div_ceil(PLACES), PLACES));
    }

    #[test]
    fn a_page_of_which_nothing_is_wanted_is_empty_and_goes_on_where_it_began() {
        let mut list = Listed::new();
        let id: TcpId = list.insert(1);
        let page = list.page(ListPlace::START, 0, |_, value| *value);
        assert_eq!((page.entries.len(), page.next), (0, Some(ListPlace::START)));
        let page = list.page(ListPlace::behind(id), 1, |_, value| *value);
        assert_eq!((page.entries.len(), page.next), (0, None));
        let page = list.page(ListPlace::new(u32::MAX), 1, |_, value| *value);
        assert_eq!((page.entries.len(), page.next), (0, None));
    }

    #[test]
    fn a_place_that_was_left_is_taken_again_and_told_once() {
        let mut list = Listed::new();
        let ids: Vec<TcpId> = (0..10).map(|value| list.insert(value)).collect();
        list.remove(ids[4]).unwrap();
        assert_eq!(list.remove(ids[4]), None);
        let again = list.insert(44);
        assert_eq!(ListPlace::behind(again), ListPlace::behind(ids[4]));
        assert_eq!(all(&list, 3).0, [0, 1, 2, 3, 44, 5, 6, 7, 8, 9]);
        assert_eq!((list.get(ids[4]), list.get(again)), (None, Some(&44)));
        assert_eq!(list.remove(ids[4]), None, "the old one is not there");
        assert_eq!(all(&list, 100).0.len(), 10);
    }
}

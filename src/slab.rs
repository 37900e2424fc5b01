//! Generational slab: values under small keys. A key that outlived its value finds `None`.
//!
//! An event that was fetched before a connection closed must not reach the connection that reuses
//! its slot (fault F6). The generation in the key prevents this.

use core::fmt;
use core::marker::PhantomData;

/// Key of one value of a [`Slab`]. A key is stale after its value was removed, and never valid
/// again (until 2^32 reuses of one slot).
pub struct Key<T> {
    index: u32,
    generation: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// Creates a key from its two numbers (a token returned by the poll).
    pub const fn from_parts(index: u32, generation: u32) -> Key<T> {
        Key {
            index,
            generation,
            kind: PhantomData,
        }
    }

    /// Returns the slot: small, dense, reused.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Returns the number of earlier uses of the slot.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// Both numbers in one, for tables under a number.
impl<T> From<Key<T>> for u64 {
    fn from(key: Key<T>) -> u64 {
        u64::from(key.generation) << 32 | u64::from(key.index)
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}
impl<T> Eq for Key<T> {}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

enum Slot<T> {
    Vacant { next: Option<u32> },
    Taken(T),
}

/// Values under generational keys. A freed slot is the next to be used (its memory is warm).
///
/// `K` marks the keys, where they must not name the type of the value.
pub struct Slab<T, K = T> {
    slots: Vec<(u32, Slot<T>)>,
    free: Option<u32>,
    len: usize,
    keys: PhantomData<fn() -> K>,
}

impl<T, K> Default for Slab<T, K> {
    fn default() -> Self {
        Slab::new()
    }
}

impl<T, K> Slab<T, K> {
    /// An empty slab; allocates nothing.
    pub const fn new() -> Slab<T, K> {
        Slab {
            slots: Vec::new(),
            free: None,
            len: 0,
            keys: PhantomData,
        }
    }

    /// Size of a slot in bytes, used or free.
    pub const SLOT_BYTES: usize = size_of::<(u32, Slot<T>)>();

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of slots, used or free.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns true without values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value in and names it.
    pub fn insert(&mut self, value: T) -> Key<K> {
        self.len = self.len.saturating_add(1);
        if let Some(index) = self.free
            && let Some((generation, slot)) = self.slots.get_mut(index as usize)
            && let Slot::Vacant { next } = *slot
        {
            // A vacant slot holds nothing: it need not be dropped.
            core::mem::forget(core::mem::replace(slot, Slot::Taken(value)));
            self.free = next;
            return Key::from_parts(index, *generation);
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push((0, Slot::Taken(value)));
        Key::from_parts(index, 0)
    }

    /// The value, unless it is gone.
    pub fn get(&self, key: Key<K>) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some((generation, Slot::Taken(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value, unless it is gone.
    pub fn get_mut(&mut self, key: Key<K>) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some((generation, Slot::Taken(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value in a slot, and its key.
    pub fn at(&self, index: u32) -> Option<(Key<K>, &T)> {
        match self.slots.get(index as usize) {
            Some((generation, Slot::Taken(value))) => {
                Some((Key::from_parts(index, *generation), value))
            }
            _ => None,
        }
    }

    /// Returns the value in a slot.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slots.get_mut(index as usize) {
            Some((_, Slot::Taken(value))) => Some(value),
            _ => None,
        }
    }

    /// Takes the value out; the key and all its copies are stale from here on.
    #[inline]
    pub fn remove(&mut self, key: Key<K>) -> Option<T> {
        let (generation, slot) = self.slots.get_mut(key.index as usize)?;
        if *generation != key.generation || matches!(slot, Slot::Vacant { .. }) {
            return None;
        }
        *generation = generation.wrapping_add(1);
        let taken = core::mem::replace(slot, Slot::Vacant { next: self.free });
        self.free = Some(key.index);
        self.len = self.len.saturating_sub(1);
        match taken {
            Slot::Taken(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// Returns all values, in slot order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|(_, slot)| match slot {
            Slot::Taken(value) => Some(value),
            Slot::Vacant { .. } => None,
        })
    }

    /// Returns all values, in slot order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|(_, slot)| match slot {
            Slot::Taken(value) => Some(value),
            Slot::Vacant { .. } => None,
        })
    }

    /// All keys, in slot order.
    pub fn keys(&self) -> impl Iterator<Item = Key<K>> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, (generation, slot))| match slot {
                Slot::Taken(_) => Some(Key::from_parts(
                    u32::try_from(index).unwrap_or(u32::MAX),
                    *generation,
                )),
                Slot::Vacant { .. } => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_answers_none() {
        let mut slab: Slab<&str> = Slab::new();
        let a = slab.insert("a");
        assert_eq!(slab.remove(a), Some("a"));
        let b = slab.insert("b");
        assert_eq!(b.index(), a.index());
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.remove(a), None);
        assert_eq!((slab.at(b.index()), slab.at(9)), (Some((b, &"b")), None));
        assert_eq!(slab.get(b), Some(&"b"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn freed_slots_are_reused_last_first() {
        let mut slab: Slab<i32> = Slab::new();
        let keys: Vec<_> = (0..4).map(|n| slab.insert(n)).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);
        assert_eq!(slab.insert(9).index(), 3);
        assert_eq!(slab.insert(9).index(), 1);
        assert_eq!(slab.insert(9).index(), 4);
        assert_eq!(slab.keys().count(), 5);
        assert_eq!(
            slab.values_mut().map(|n| *n).collect::<Vec<_>>(),
            [0, 9, 2, 9, 9]
        );
    }
}

//! Sorting and looking up where time does not count. Each use of the standard library's sort takes 4 to 8 KB of the
//! binary, each of its `BTreeMap`s more; each use of this file takes some hundred bytes.

use core::borrow::Borrow;
use core::cell::OnceCell;
use core::cmp::Ordering;

/// Sorts in place, in time `n log n` for every input. Equal items may change places.
#[inline(never)]
pub fn sort_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    for start in (0..items.len() / 2).rev() {
        sift(items, start, &mut compare);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift(items.get_mut(..end).unwrap_or_default(), 0, &mut compare);
    }
}

/// Sorts items that have an order of their own.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

/// Sorts items, and keeps one of those that are equal.
pub fn unique<T: Ord>(items: &mut Vec<T>) {
    sort(items);
    items.dedup();
}

/// Moves the item at `place` down the heap until no item below it is greater.
#[inline(never)]
fn sift<T>(items: &mut [T], mut place: usize, compare: &mut impl FnMut(&T, &T) -> Ordering) {
    loop {
        let left = place.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let greater = match (items.get(left), items.get(right)) {
            (Some(one), Some(other)) if compare(one, other).is_lt() => right,
            (Some(_), _) => left,
            (None, _) => return,
        };
        match (items.get(place), items.get(greater)) {
            (Some(item), Some(below)) if compare(item, below).is_lt() => {}
            _ => return,
        }
        items.swap(place, greater);
        place = greater;
    }
}

/// Returns the places `0..count` in their sorted order. Equal ones keep their order. Takes time `n log n`, or `n` if they
/// are sorted already. Not generic, so that there is one copy of it.
#[inline(never)]
pub fn order(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut sorted = (0..count).collect::<Vec<_>>();
    if (1..count).all(|place| compare(place.saturating_sub(1), place).is_le()) {
        return sorted;
    }
    let mut run = 1_usize;
    while run < count {
        let mut merged = Vec::with_capacity(count);
        for pair in sorted.chunks(run.saturating_mul(2)) {
            let (mut left, mut right) = pair.split_at(run.min(pair.len()));
            while let ([one, ones @ ..], [other, others @ ..]) = (left, right) {
                if compare(*one, *other).is_le() {
                    merged.push(*one);
                    left = ones;
                } else {
                    merged.push(*other);
                    right = others;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        sorted = merged;
        run = run.saturating_mul(2);
    }
    sorted
}

/// Returns the keys in their order, each with its values, which keep theirs.
pub fn group<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut pairs = pairs.into_iter().map(Some).collect::<Vec<_>>();
    let key = |place: usize| Some(&pairs.get(place)?.as_ref()?.0);
    let order = order(pairs.len(), &|one, other| key(one).cmp(&key(other)));
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for place in order {
        let Some((key, value)) = pairs.get_mut(place).and_then(Option::take) else {
            continue;
        };
        match groups.last_mut() {
            Some((last, values)) if *last == key => values.push(value),
            _ => groups.push((key, vec![value])),
        }
    }
    groups
}

/// Returns the value of a key in pairs that are sorted by their keys, as [`group`] returns them.
pub fn value_of<'a, K: Borrow<Q>, Q: Ord + ?Sized, V>(
    sorted: &'a [(K, V)],
    key: &Q,
) -> Option<&'a V> {
    let place = sorted.binary_search_by(|(one, _)| one.borrow().cmp(key));
    sorted.get(place.ok()?).map(|(_, value)| value)
}

/// Keys of a list, for finding their places.
pub struct Index<K> {
    keys: Vec<K>,
    /// Places of the keys, sorted by key, once one is looked for.
    order: OnceCell<Vec<usize>>,
}

impl<K: Ord> Index<K> {
    /// Creates an index. The place of a key is its number in the list.
    pub fn new(keys: Vec<K>) -> Index<K> {
        let order = OnceCell::new();
        Index { keys, order }
    }

    /// Returns the place of a key that is probably at `guess`. Where all guesses are right, nothing
    /// is sorted.
    pub fn place_near(&self, guess: usize, key: &K) -> Option<usize> {
        if self.keys.get(guess) == Some(key) {
            return Some(guess);
        }
        self.place(key)
    }

    /// Returns the place of a key; that of the first one, if several are equal.
    #[inline(never)]
    pub fn place(&self, key: &K) -> Option<usize> {
        let keys = &self.keys;
        let sort = || {
            order(keys.len(), &|one, other| {
                keys.get(one).cmp(&keys.get(other))
            })
        };
        let order = self.order.get_or_init(sort);
        let below = |place: &usize| keys.get(*place) < Some(key);
        let place = *order.get(order.partition_point(below))?;
        (self.keys.get(place) == Some(key)).then_some(place)
    }

    /// Returns true if the list has this key.
    pub fn contains(&self, key: &K) -> bool {
        self.place(key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_places_keep_their_order(items in proptest::collection::vec(0_u8..50, 0..200)) {
            let mut expected = (0..items.len()).collect::<Vec<_>>();
            expected.sort_by_key(|place| items[*place]);
            let ours = order(items.len(), &|one, other| items[one].cmp(&items[other]));
            prop_assert_eq!(ours, expected);
        }

        #[test]
        fn an_index_finds_the_first_of_equal_keys(items in proptest::collection::vec(0_u8..50, 0..60)) {
            let index = Index::new(items.clone());
            for key in 0..50 {
                let expected = items.iter().position(|item| *item == key);
                prop_assert_eq!(index.place(&key), expected);
                prop_assert_eq!(index.contains(&key), expected.is_some());
                for guess in 0..=items.len() {
                    let near = index.place_near(guess, &key);
                    prop_assert_eq!(near.map(|place| items[place]), expected.map(|_| key));
                }
            }
        }

        #[test]
        fn sorts_as_the_standard_library_does(items in proptest::collection::vec(0_u8..50, 0..200)) {
            let (mut ours, mut theirs) = (items.clone(), items);
            sort(&mut ours);
            theirs.sort_unstable();
            prop_assert_eq!(&ours, &theirs);
            sort_by(&mut ours, |a, b| b.cmp(a));
            theirs.reverse();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn groups_keep_the_order_of_their_values(items in proptest::collection::vec((0_u8..9, 0_u8..200), 0..60)) {
            let groups = group(items.iter().copied());
            for key in 0..9 {
                let of_key = items.iter().filter(|(one, _)| *one == key);
                let expected = of_key.map(|(_, value)| *value).collect::<Vec<_>>();
                let found = value_of(&groups, &key).cloned().unwrap_or_default();
                prop_assert_eq!(found, expected);
            }
            prop_assert!(groups.is_sorted() && groups.iter().all(|(_, values)| !values.is_empty()));
            let mut keys = items.iter().map(|(key, _)| *key).collect::<Vec<_>>();
            unique(&mut keys);
            prop_assert!(keys.iter().eq(groups.iter().map(|(key, _)| key)));
        }
    }
}

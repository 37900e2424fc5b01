//! Heapsort, for lists that are sorted where time does not count. Each use of the standard library's sort takes 4 to 8 KB of the
//! binary, each use of this one some hundred bytes.

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
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
    }
}

//! Work, counted: what the cost of an input is held to by tests and fuzzers (`checks::cost`).
//!
//! A step is a byte that was looked at or copied, or an element of a list that was visited. The primitives that every loop over
//! a peer's bytes is made of count theirs: scans, field tables, list elements, comparisons of names, copies. What none of them
//! does is not seen.
//!
//! Only builds with debug assertions count, as those of `cargo test` and `cargo fuzz`. In any other build nothing is left of it.

#[cfg(debug_assertions)]
use core::cell::Cell;

#[cfg(debug_assertions)]
thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Counts steps of this thread.
#[inline(always)]
pub fn count(steps: usize) {
    #[cfg(debug_assertions)]
    STEPS.with(|count| count.set(count.get().saturating_add(steps as u64)));
    #[cfg(not(debug_assertions))]
    let _ = steps;
}

/// The steps of this thread so far; always 0 in a build that does not count.
pub fn steps() -> u64 {
    #[cfg(debug_assertions)]
    return STEPS.with(Cell::get);
    #[cfg(not(debug_assertions))]
    return 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(debug_assertions), ignore = "nothing is counted")]
    fn steps_add_up() {
        let before = steps();
        count(3);
        count(4);
        assert_eq!(steps() - before, 7);
    }
}

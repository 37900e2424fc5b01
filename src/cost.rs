//! Counter of work, with which tests and fuzzers bound the cost of an input (`properties::cost`).
//!
//! A step is a byte examined or copied, or a list element visited. The primitives of all loops over
//! a peer's bytes count their steps: scans, field tables, list elements, comparisons of names,
//! copies. Other work is not counted.
//!
//! Only builds with debug assertions count, as those of `cargo test` and `cargo fuzz`. Other builds
//! contain no trace of it.

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

/// Returns the steps of this thread so far; always 0 in a build that does not count.
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

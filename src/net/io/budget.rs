//! The budget of a connection: work that it may do in one iteration of the event loop.

use crate::limits::{BYTES_PER_ITERATION, PUMPS_PER_ITERATION};

/// Work that a connection has done in an iteration, so that a fat stream does not delay others.
#[derive(Clone, Copy, Default)]
pub(super) struct Budget {
    /// Bytes that were moved.
    bytes: u32,
    /// Low bits of the iteration, so that the budget has eight bytes. A budget that is as old as all
    /// their values may look used up: the connection then waits for the next iteration.
    iteration: u16,
    /// Pumps that moved bytes.
    pumps: u8,
}

impl Budget {
    /// Returns `true` if any budget is left in this iteration. A new iteration begins with a full
    /// budget.
    pub(super) fn is_left(&mut self, iteration: u32) -> bool {
        let iteration = iteration as u16;
        if self.iteration != iteration {
            *self = Budget {
                iteration,
                ..Budget::default()
            };
        }
        self.bytes < BYTES_PER_ITERATION as u32 && self.pumps < PUMPS_PER_ITERATION
    }

    /// Counts moved bytes, and one pump if there were any. A pump moves far fewer bytes than the
    /// number can hold, and none comes behind a budget that is used up.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.wrapping_add(bytes as u32);
        self.pumps = self.pumps.wrapping_add(u8::from(bytes > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sides that wake each other are served again and again in one iteration. Each has one
    /// budget for it all the same.
    #[test]
    fn a_budget_is_for_an_iteration_however_often_it_is_served() {
        let mut budget = Budget::default();
        for iteration in 1..4 {
            for _ in 0..2 {
                assert!(budget.is_left(iteration));
                budget.spend(BYTES_PER_ITERATION / 2);
            }
            assert!(!budget.is_left(iteration), "all its bytes were moved");
        }
        for pump in 0..PUMPS_PER_ITERATION {
            assert!(budget.is_left(4), "pump {pump}");
            budget.spend(0);
            budget.spend(1);
        }
        assert!(
            !budget.is_left(4),
            "the number of pumps is bounded, however few bytes they moved"
        );
        assert!(budget.is_left(5));
    }
}

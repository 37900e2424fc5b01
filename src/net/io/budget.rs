//! The budget of a connection: work that it may do in one iteration of the event loop.

use crate::limits::{BYTES_PER_ITERATION, PUMPS_PER_ITERATION};

/// Work that is left to a connection in an iteration, so that a fat stream does not delay others.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    iteration: u32,
    /// Units of [`UNIT`] bytes; one that is begun counts whole.
    units: u16,
    pumps: u8,
}

/// Bytes in a unit of the budget. Every connection has a budget, and two bytes hold it this way.
const UNIT: usize = 8;
const _: () = assert!(
    BYTES_PER_ITERATION.is_multiple_of(UNIT) && BYTES_PER_ITERATION / UNIT <= u16::MAX as usize
);

impl Budget {
    pub(super) const FULL: Budget = Budget {
        iteration: 0,
        units: (BYTES_PER_ITERATION / UNIT) as u16,
        pumps: PUMPS_PER_ITERATION,
    };

    /// Returns `true` if any budget is left in this iteration. A new iteration begins with a full
    /// budget.
    pub(super) fn is_left(&mut self, iteration: u32) -> bool {
        if self.iteration != iteration {
            *self = Budget {
                iteration,
                ..Budget::FULL
            };
        }
        self.units > 0 && self.pumps > 0
    }

    /// Subtracts moved bytes, and one pump if there were any.
    pub(super) fn spend(&mut self, bytes: usize) {
        let units = u16::try_from(bytes.div_ceil(UNIT)).unwrap_or(u16::MAX);
        self.units = self.units.saturating_sub(units);
        self.pumps = self.pumps.saturating_sub(u8::from(bytes > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sides that wake each other are served again and again in one iteration. Each has one
    /// budget for it all the same.
    #[test]
    fn a_budget_is_for_an_iteration_however_often_it_is_served() {
        let mut budget = Budget::FULL;
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

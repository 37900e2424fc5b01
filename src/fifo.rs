//! A queue that is mostly drained: the next value to take is a place in a vector.

/// Values that leave in the order in which they came. The storage is kept.
#[derive(Debug)]
pub struct Fifo<T> {
    values: Vec<T>,
    /// Number of the values that were taken. All are dropped with the last one.
    taken: usize,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Fifo {
            values: Vec::new(),
            taken: 0,
        }
    }
}

impl<T: Copy> Fifo<T> {
    /// Returns true if no value waits.
    pub fn is_empty(&self) -> bool {
        self.taken >= self.values.len()
    }

    /// Adds a value behind all others.
    #[inline]
    pub fn push(&mut self, value: T) {
        if self.values.len() == self.values.capacity() {
            self.make_room();
        }
        self.values.push(value);
    }

    /// Takes the value that waits longest.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let Some(value) = self.values.get(self.taken).copied() else {
            self.values.clear();
            self.taken = 0;
            return None;
        };
        self.taken = self.taken.wrapping_add(1);
        Some(value)
    }

    /// Makes room for one value: where taken ones are at least half of all, in their place.
    #[cold]
    fn make_room(&mut self) {
        if self.taken > self.values.len() / 2 {
            self.values.drain(..self.taken);
            self.taken = 0;
        } else {
            self.values.reserve(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// The order is that of the standard library's queue, whatever is pushed and popped when.
    #[test]
    fn values_leave_in_the_order_in_which_they_came() {
        let (mut queue, mut expected) = (Fifo::default(), VecDeque::new());
        let mut state = 1_u64;
        for value in 0..20_000_u32 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Phases that fill it and phases that drain it.
            let fills = if value / 500 % 2 == 0 { 5 } else { 3 };
            if (state >> 60) % 8 < fills {
                queue.push(value);
                expected.push_back(value);
            } else {
                assert_eq!(queue.pop(), expected.pop_front());
            }
            assert_eq!(queue.is_empty(), expected.is_empty());
        }
    }

    /// A queue that never runs empty does not grow with the number of values that passed.
    #[test]
    fn its_storage_is_in_proportion_to_what_waits() {
        let mut queue = Fifo::default();
        queue.push(0);
        for value in 1..10_000 {
            queue.push(value);
            assert_eq!(queue.pop(), Some(value - 1));
        }
        assert!(queue.values.capacity() < 32, "{}", queue.values.capacity());
    }
}

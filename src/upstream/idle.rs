//! Idle connections to one endpoint, last in first out: the one used last is the least likely to have been closed.

/// A bounded stack of idle connections, named by `T`.
pub struct IdlePool<T> {
    stack: Vec<T>,
}

impl<T: Copy + PartialEq> Default for IdlePool<T> {
    fn default() -> Self {
        IdlePool { stack: Vec::new() }
    }
}

impl<T: Copy + PartialEq> IdlePool<T> {
    /// Puts a connection in; false when there are `most` and it must be closed.
    #[must_use]
    pub fn put(&mut self, connection: T, most: usize) -> bool {
        let room = self.stack.len() < most;
        if room {
            self.stack.push(connection);
        }
        room
    }

    /// Takes the most recent one out.
    pub fn take(&mut self) -> Option<T> {
        self.stack.pop()
    }

    /// Takes the oldest one out, to free its descriptor.
    pub fn take_oldest(&mut self) -> Option<T> {
        (!self.stack.is_empty()).then(|| self.stack.remove(0))
    }

    /// A connection closed on its own.
    pub fn remove(&mut self, connection: T) {
        if let Some(index) = self.stack.iter().rposition(|&idle| idle == connection) {
            self.stack.remove(index);
        }
    }

    /// Takes out what is more than `most`, the oldest first, and gives back the storage that nobody needs then.
    pub fn trim(&mut self, most: usize) -> Vec<T> {
        let surplus = self
            .stack
            .drain(..self.stack.len().saturating_sub(most))
            .collect();
        self.stack.shrink_to(most);
        surplus
    }

    /// Idle connections inside.
    pub fn len(&self) -> usize {
        self.stack.len()
    }

    /// Whether none is inside.
    pub fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_in_first_out_and_bounded() {
        let mut pool = IdlePool::default();
        for connection in 0..10 {
            assert!(pool.put(connection, 10));
        }
        assert!(!pool.put(10, 10));
        assert_eq!(pool.take(), Some(9));
        assert_eq!(pool.take_oldest(), Some(0));
        pool.remove(5);
        assert_eq!(pool.len(), 7);
        assert_eq!(pool.trim(3), [1, 2, 3, 4]);
        assert_eq!((pool.take(), pool.len()), (Some(8), 2));
    }
}

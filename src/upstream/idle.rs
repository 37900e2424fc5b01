//! Pool of idle connections to one endpoint, last in first out: the connection used last is the
//! least likely to have been closed.

/// Bounded stack of idle connections. `T` is the key of a connection.
pub struct IdlePool<T> {
    stack: Vec<T>,
}

impl<T: Copy + PartialEq> Default for IdlePool<T> {
    fn default() -> Self {
        IdlePool { stack: Vec::new() }
    }
}

impl<T: Copy + PartialEq> IdlePool<T> {
    /// Adds a connection. Returns false if there are `most` already and the connection must be
    /// closed.
    #[must_use]
    pub fn put(&mut self, connection: T, most: usize) -> bool {
        let room = self.stack.len() < most;
        if room {
            self.stack.push(connection);
        }
        room
    }

    /// Removes and returns the most recent connection.
    pub fn take(&mut self) -> Option<T> {
        self.stack.pop()
    }

    /// Removes and returns the oldest connection, to free its descriptor.
    pub fn take_oldest(&mut self) -> Option<T> {
        (!self.stack.is_empty()).then(|| self.stack.remove(0))
    }

    /// Removes a connection that closed.
    pub fn remove(&mut self, connection: T) {
        if let Some(index) = self.stack.iter().rposition(|&idle| idle == connection) {
            self.stack.remove(index);
        }
    }

    /// Removes and returns the oldest connections above `most`, and releases unused storage.
    pub fn trim(&mut self, most: usize) -> Vec<T> {
        let surplus = self
            .stack
            .drain(..self.stack.len().saturating_sub(most))
            .collect();
        self.stack.shrink_to(most);
        surplus
    }

    /// Returns the number of idle connections.
    pub fn len(&self) -> usize {
        self.stack.len()
    }

    /// Returns true if no connection is idle.
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

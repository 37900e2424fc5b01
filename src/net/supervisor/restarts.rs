//! Pauses before a worker that has ended is started again.

use crate::limits::{WORKER_PAUSE_FIRST, WORKER_PAUSE_LONGEST, WORKER_PROVEN};
use crate::time::{Duration, Instant};

/// Starts of one worker.
#[derive(Default)]
pub(super) struct Restarts {
    /// Pause before the next start; zero: at once.
    pause: Duration,
    started: Instant,
    /// Number of ends since the supervisor started.
    pub(super) ended: u64,
}

impl Restarts {
    /// Notes that the worker starts.
    pub(super) fn started(&mut self, now: Instant) {
        self.started = now;
    }

    /// Notes that the worker has ended. Returns the time of the next start.
    pub(super) fn ended(&mut self, now: Instant) -> Instant {
        self.ended = self.ended.saturating_add(1);
        if now.since(self.started) >= WORKER_PROVEN {
            self.pause = Duration::ZERO;
        }
        let at = now.after(self.pause);
        let doubled = Duration::from_millis(self.pause.as_millis().saturating_mul(2));
        self.pause = doubled.max(WORKER_PAUSE_FIRST).min(WORKER_PAUSE_LONGEST);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_a_proven_worker_starts_at_once() {
        let mut restarts = Restarts::default();
        let mut now = Instant::from_millis(1000);
        for pause in [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            restarts.started(now);
            now = now.after(Duration::from_millis(9_999));
            let at = restarts.ended(now);
            assert_eq!(at.since(now), Duration::from_millis(pause));
            now = at;
        }
        restarts.started(now);
        now = now.after(Duration::from_secs(10));
        assert_eq!(restarts.ended(now), now);
        restarts.started(now);
        assert_eq!(restarts.ended(now).since(now), WORKER_PAUSE_FIRST);
        assert_eq!(restarts.ended, 11);
    }
}

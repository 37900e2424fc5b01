//! A tiny harness: how long one pass of a case takes, as the median of many batches.

use std::time::{Duration, Instant};

/// Batches of a case.
const BATCHES: usize = 41;
/// A batch takes about this long: much more than the clock's grain, much less than a scheduler's slice.
const BATCH: Duration = Duration::from_millis(5);

/// Something to be measured: does one pass as often as it is told.
pub struct Case {
    pub name: &'static str,
    pub pass: Box<dyn FnMut(u64)>,
}

impl Case {
    pub fn new(name: &'static str, mut once: impl FnMut() + 'static) -> Case {
        let pass = move |times| {
            for _ in 0..times {
                once();
            }
        };
        Case { name, pass: Box::new(pass) }
    }

    /// Nanoseconds of one pass: the median, and the fastest batch's.
    pub fn measure(&mut self) -> (f64, f64) {
        let times = self.passes_of_a_batch();
        let mut nanos = (0..BATCHES).map(|_| self.time(times).as_nanos() as f64 / times as f64).collect::<Vec<_>>();
        nanos.sort_by(f64::total_cmp);
        (nanos[BATCHES / 2], nanos[0])
    }

    fn passes_of_a_batch(&mut self) -> u64 {
        let mut times = 1;
        loop {
            let took = self.time(times);
            if took >= BATCH {
                return times;
            }
            times = if took < BATCH / 20 { times * 10 } else { times * 2 };
        }
    }

    fn time(&mut self, times: u64) -> Duration {
        let begun_at = Instant::now();
        (self.pass)(times);
        begun_at.elapsed()
    }
}

//! A tiny harness: how long one pass of a case takes, as the median of many batches.

use std::time::{Duration, Instant};

/// Batches of a case.
const BATCHES: usize = 41;
/// A batch takes about this long: much more than the clock's grain, much less than a scheduler's slice.
const BATCH: Duration = Duration::from_millis(5);

/// Something to be measured.
pub struct Case {
    pub name: &'static str,
    /// Prepares the case that runs, and no other, because callgrind counts all of a process.
    prepare: Box<dyn FnOnce() -> Passes>,
}

/// Does as many passes as it is told.
pub type Passes = Box<dyn FnMut(u64)>;

impl Case {
    /// `prepare` makes what does one pass.
    pub fn new<P: FnMut() + 'static>(
        name: &'static str,
        prepare: impl FnOnce() -> P + 'static,
    ) -> Case {
        let prepare = move || {
            let mut once = prepare();
            let passes = move |times: u64| {
                for _ in 0..times {
                    once();
                }
            };
            Box::new(passes) as Passes
        };
        Case {
            name,
            prepare: Box::new(prepare),
        }
    }

    pub fn passes(self) -> Passes {
        (self.prepare)()
    }
}

/// Nanoseconds of one pass: the median, and the fastest batch's.
pub fn measure(passes: &mut Passes) -> (f64, f64) {
    let times = passes_of_a_batch(passes);
    let mut nanos = (0..BATCHES)
        .map(|_| time(passes, times).as_nanos() as f64 / times as f64)
        .collect::<Vec<_>>();
    nanos.sort_by(f64::total_cmp);
    (nanos[BATCHES / 2], nanos[0])
}

fn passes_of_a_batch(passes: &mut Passes) -> u64 {
    let mut times = 1;
    loop {
        let took = time(passes, times);
        if took >= BATCH {
            return times;
        }
        times = if took < BATCH / 20 {
            times * 10
        } else {
            times * 2
        };
    }
}

fn time(passes: &mut Passes, times: u64) -> Duration {
    let begun_at = Instant::now();
    passes(times);
    begun_at.elapsed()
}

//! Checks that wait, several at once, each for a bounded time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::CHECK;
use super::ask::{Answered, Trouble};
use crate::net::workers::queue::unbounded;
use crate::net::workers::spawn;

/// Checks at one time.
const AT_ONCE: usize = 16;
/// Time beyond that of a check after which a check is given up. A check that can tell itself that its time
/// is over has told by then.
const GRACE: Duration = Duration::from_secs(2);

/// Check that waits.
pub(super) type Job = Box<dyn FnOnce() -> Done + Send>;

/// Result of such a check.
pub(super) enum Done {
    /// Addresses of a name, or the reason why there are none.
    Addresses(Result<Vec<IpAddr>, String>),
    /// Answer to a request.
    Answer(Result<Answered, Trouble>),
    /// No result in time.
    Late,
}

/// Makes all checks and returns their results, in the same order. A thread that hangs, in a lookup
/// for example, is left behind: it ends with the process.
pub(super) fn run(jobs: Vec<Job>) -> Vec<Done> {
    let mut results = jobs.iter().map(|_| Done::Late).collect::<Vec<_>>();
    let (results_in, results_out) = unbounded();
    let mut waiting = jobs.into_iter().enumerate();
    let mut running: Vec<(usize, Instant)> = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((index, job)) = waiting.next()
        {
            let results_in = results_in.clone();
            let work = move || drop(results_in.send((index, job())));
            if spawn("check", Box::new(work)).is_ok()
                && let Some(end) = Instant::now().checked_add(CHECK.saturating_add(GRACE))
            {
                running.push((index, end));
            }
        }
        let Some(first) = running.iter().map(|(_, end)| *end).min() else {
            return results;
        };
        let left = first.saturating_duration_since(Instant::now());
        if let Ok((index, done)) = results_out.receive(Some(left)) {
            let is_running = running.iter().any(|(other, _)| *other == index);
            if is_running && let Some(result) = results.get_mut(index) {
                *result = done;
            }
            running.retain(|(other, _)| *other != index);
        } else {
            let now = Instant::now();
            running.retain(|(_, end)| *end > now);
        }
    }
}

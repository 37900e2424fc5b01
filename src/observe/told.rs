//! Reasons that change while something is down, and when they are told again.

use crate::time::{Duration, Instant};

/// Time without further lines behind the first change of a reason.
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// The longest such time.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Reason that the operator was told last, and when to tell another one.
#[derive(Clone, Copy, Default, Debug)]
pub struct Told {
    /// Hash of the reason.
    mark: u32,
    pause: Duration,
    next: Instant,
}

impl Told {
    /// Notes the reason that is told when something goes down.
    pub fn first(why: &str) -> Told {
        Told {
            mark: mark(why),
            ..Told::default()
        }
    }

    /// Returns true if the reason is another one than the operator was told last, and is to be told now. The
    /// first change is told at once, the next one after a minute and each further one after twice the
    /// time before, up to an hour, so that reasons which take turns are no flood.
    pub fn is_news(&mut self, why: &str, now: Instant) -> bool {
        let mark = mark(why);
        if mark == self.mark || now < self.next {
            return false;
        }
        let doubled = Duration::from_millis(self.pause.as_millis().saturating_mul(2));
        self.pause = doubled.max(PAUSE_MIN).min(PAUSE_MAX);
        (self.mark, self.next) = (mark, now.after(self.pause));
        true
    }
}

/// FNV-1a over a reason. Digits count in a status alone: elsewhere they are times, as in "it ended 7 minutes
/// ago", which make no other reason.
fn mark(why: &str) -> u32 {
    let is_status = why.starts_with("status ");
    let bytes = why.bytes();
    let bytes = bytes.filter(|byte| is_status || !byte.is_ascii_digit());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_at_once_and_reasons_that_take_turns_are_no_flood() {
        let mut told = Told::first("refused");
        let mut at = |second: usize, why: &str| {
            told.is_news(why, Instant::from_millis(1000 * second as u64))
        };
        assert!(!at(0, "refused"));
        assert!(at(10, "status 404"), "the first change");
        assert!(!at(20, "status 404"));
        assert!(!at(69, "refused"), "too soon");
        assert!(at(70, "status 503"), "another status is another reason");
        assert!(!at(189, "refused"));
        assert!(at(190, "refused"), "the pause has doubled");
        let turns = (200..200 + 86_400).step_by(10);
        let lines = turns.filter(|second| at(*second, ["a", "b"][second / 10 % 2]));
        assert!((24..32).contains(&lines.count()), "one an hour at last");
    }

    #[test]
    fn a_time_in_a_reason_makes_no_other_one() {
        let mut told = Told::first("it ended 7 minutes ago");
        assert!(!told.is_news("it ended 12 minutes ago", Instant::from_millis(1)));
        assert!(told.is_news("it ended 1 hours ago", Instant::from_millis(1)));
    }
}

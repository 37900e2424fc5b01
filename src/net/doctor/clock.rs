//! The clock of the machine, compared with those of the targets.

use std::time::SystemTime;

use super::{Examined, Subject};
use crate::time::UnixTime;

/// Difference of two clocks, in milliseconds, that is no delay of a network.
const CLOCK_MILLIS: u64 = 60_000;

/// Compares the clock with those of the targets, and with the files: neither the program nor the
/// configuration was written in the future.
pub(super) fn examine(
    subject: &Subject<'_>,
    clocks: &[(String, UnixTime, UnixTime)],
    examined: &mut Examined,
) {
    examined.begin(1);
    let cure = "set the clock of this machine, for example with timedatectl set-ntp true";
    let own = std::env::current_exe().ok();
    let written = own.iter().map(std::path::PathBuf::as_path);
    for path in written.chain([subject.file]) {
        let changed = std::fs::metadata(path).and_then(|facts| facts.modified());
        let ahead = changed.map(|at| at.duration_since(SystemTime::now()));
        if let Ok(Ok(ahead)) = ahead
            && ahead.as_millis() > u128::from(CLOCK_MILLIS)
        {
            let problem = format!(
                "{} was written {} s after now",
                path.display(),
                ahead.as_secs()
            );
            examined.find("clock", "clock", problem, cure);
        }
    }
    let differs = |(_, there, here): &&(String, UnixTime, UnixTime)| {
        there.as_millis().abs_diff(here.as_millis()) > CLOCK_MILLIS
    };
    let others = clocks.iter().filter(differs).collect::<Vec<_>>();
    let said = |(what, there, here): &(String, UnixTime, UnixTime)| {
        let seconds = there.as_secs().abs_diff(here.as_secs());
        let side = if there > here { "behind" } else { "ahead of" };
        format!("is {seconds} s {side} the Date of {what}")
    };
    // One target alone may be the one that is wrong.
    if others.len() > clocks.len() / 2
        && let Some(first) = others.first()
    {
        return examined.find("clock", "clock", said(first), cure);
    }
    for other in others {
        let cure = "set the clock of that machine: the others agree with this one";
        examined.hint("clock", "clock", said(other), cure);
    }
}

//! Messages about providers of `auth`: their key sets, and answers that cannot be used.

use log::{info, warn};

use crate::observe::access::Outcome;
use crate::proxy::command::{KeysFault, Reason};

/// Logs that a provider could not decide about a request. `status`: that of its answer, if there is one.
pub(super) fn failed(name: &str, reason: Option<&Reason>, status: Option<u16>) {
    match (reason, status) {
        (Some(reason), _) => warn!("auth {name}: {reason}"),
        (None, Some(status)) => {
            warn!("auth {name}: its answer with status {status} cannot be used")
        }
        (None, None) => warn!("auth {name}: no answer"),
    }
}

/// Logs a new key set of a provider.
pub(super) fn keys_fetched(name: &str, count: usize, left_out: usize) {
    if left_out == 0 {
        info!("auth {name}: {count} keys in the key set");
    } else {
        warn!(
            "auth {name}: the first {count} keys of the key set are used, and {left_out} more are not: tokens that they signed are refused"
        );
    }
}

/// Logs a key set that could not be fetched.
pub(super) fn keys_failed(name: &str, fault: KeysFault, reason: Option<&Reason>) {
    match fault {
        KeysFault::NoAnswer(outcome) => warn!(
            "auth {name}: cannot fetch the key set: {}",
            reason_text(outcome, reason)
        ),
        KeysFault::Status(status) => {
            warn!("auth {name}: cannot fetch the key set: status {status}")
        }
        KeysFault::Refused(why) => {
            warn!("auth {name}: the key set {why}; only keys from before are known")
        }
    }
}

/// Returns the reason of a failure, or the outcome's word if no more is known.
pub(super) fn reason_text(outcome: Outcome, reason: Option<&Reason>) -> &str {
    reason.map_or(outcome.as_str(), Reason::as_str)
}

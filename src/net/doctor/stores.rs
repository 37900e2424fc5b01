//! Words about stores of counts.

use std::time::Duration;

use crate::limits::STORE_EXACT_WAIT;
use crate::proxy::settings::Target;

/// Words of a server or of the conversation with it, and what helps. The first row that fits counts.
const CURES: [(&str, &str); 10] = [
    (
        "without any password",
        "remove the user and the password from its url in the file, or set requirepass in the server",
    ),
    (
        "WRONGPASS",
        "correct the user and the password of its url in the file",
    ),
    (
        "NOAUTH",
        "write a password into its url in the file, as in redis://:${PW}@valkey",
    ),
    (
        "NOPERM",
        "let the user run multi, exec, set, incrby, pttl, pexpire and select on keys that begin with its prefix (ACL SETUSER)",
    ),
    (
        "OOM",
        "raise maxmemory of the server, or set its maxmemory-policy to volatile-ttl",
    ),
    (
        "DB index",
        "correct the number of the database at the end of its url in the file",
    ),
    (
        "READONLY",
        "name the primary in its url in the file: this server is a replica",
    ),
    ("LOADING", "wait until the server has read its data"),
    (
        "RESP2",
        "correct its url in the file: something else listens there",
    ),
    ("", "look into the log of the server"),
];

/// Returns what helps where a store says this.
pub(super) fn cure(text: &str) -> &'static str {
    let mut rows = CURES.iter();
    let row = rows.find(|(words, _)| text.contains(words));
    row.map_or("", |(_, cure)| cure)
}

/// Returns what is wrong with a store that requests of an `exact` limit wait for, and what helps, if it
/// took so long for an answer. `is_closed`: the store has `"onFailure": "closed"`.
pub(super) fn late(took: Duration, is_closed: bool) -> Option<(String, &'static str)> {
    let (took, wait) = (took.as_millis(), STORE_EXACT_WAIT.as_millis());
    if took < u128::from(wait) {
        return None;
    }
    let then = match is_closed {
        true => "the request gets a 503 (onFailure is \"closed\")",
        false => "each gateway judges by what it knows, and more requests than the limit may pass",
    };
    let problem = format!(
        "answers in {took} ms; a request of an \"exact\" limit waits {wait} ms, then {then}"
    );
    let cure = "move the store nearer to the gateways, or remove exact from the limit: it is shared without waiting";
    Some((problem, cure))
}

/// Returns the URL of a server.
pub(super) fn url(server: &Target) -> String {
    server.url().replacen("http", "redis", 1)
}

/// Returns a cure for a target in the words of stores: their URLs begin with `redis://` and `rediss://`.
pub(super) fn worded(cure: &str) -> String {
    cure.replace("http", "redis")
        .replace("the target", "the store")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_late_behind_the_wait() {
        let late = |took, is_closed| late(Duration::from_millis(took), is_closed);
        assert!(late(49, false).is_none() && late(49, true).is_none());
        let (problem, _) = late(50, false).expect("late");
        assert!(problem.contains("answers in 50 ms") && problem.contains("may pass"));
        let (problem, _) = late(3000, true).expect("late");
        assert!(problem.contains("waits 50 ms, then the request gets a 503"));
    }
}

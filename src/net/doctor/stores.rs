//! Words about stores of counts.

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

/// Returns the URL of a server.
pub(super) fn origin(server: &Target) -> String {
    server.origin().replacen("http", "redis", 1)
}

/// Returns a cure for a target in the words of stores: their URLs begin with `redis://` and `rediss://`.
pub(super) fn worded(cure: &str) -> String {
    cure.replace("http", "redis")
        .replace("the target", "the store")
}

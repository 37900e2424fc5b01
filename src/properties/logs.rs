//! `tollgate diff --log` on arbitrary bytes in place of an access log.

#![expect(clippy::expect_used, reason = "a property that does not hold panics")]

use super::cost;
use crate::config::{self, Config};

const OLD: &str = r#"{ "services": [
    { "route": "/auth", "target": "http://10.0.0.1/" },
    { "route": "/users", "hosts": ["a.test", "*.b.test"], "target": "http://10.0.0.2" },
    { "route": "/", "methods": ["GET"], "target": "http://10.0.0.3" } ] }"#;

const NEW: &str = r#"{ "rateLimit": false, "services": [
    { "route": "/auth", "target": "http://10.0.0.1/v2" },
    { "route": "/users/new", "target": "http://10.0.0.2" },
    { "route": "/", "target": "http://10.0.0.4" } ] }"#;

/// Arbitrary bytes are an access log: each line is counted once, as a request or as one that cannot
/// be read, and what is printed has no control character.
pub fn access_log(bytes: &[u8]) {
    let (old, new) = (load(OLD), load(NEW));
    let lines = bytes.split(|&byte| byte == b'\n').count() as u64;
    let steps = lines.saturating_mul(cost::LOGGED_REQUEST_STEPS);
    let text = cost::within(bytes.len(), cost::LOG_STEPS, steps, || {
        crate::diff::replay(&old, &new, &mut &*bytes)
    });
    let text = text.expect("memory can be read");
    assert!(
        text.chars().all(|one| one == '\n' || !one.is_control()),
        "{text:?} has a control character"
    );
    // "1,234 of 5,678 requests go elsewhere", then "12 lines of no known format, .."
    let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
    let first = text.split(' ').nth(2).and_then(number);
    let skipped = text
        .lines()
        .filter(|line| line.contains(", the first is line "))
        .filter_map(|line| number(line.split(' ').next()?));
    let counted = first
        .expect("the number of requests")
        .saturating_add(skipped.sum());
    let filled = bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !matches!(*line, [] | [b'\r']))
        .count() as u64;
    assert_eq!(counted, filled, "{text}");
}

fn load(text: &str) -> Config {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    config::load(text.as_bytes(), "log.json", &|_: &str| None, &read).expect("a configuration")
}

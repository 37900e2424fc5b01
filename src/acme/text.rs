//! JSON that is written.

use crate::observe::report::json;

/// Appends a string with its quotes.
pub(super) fn push(to: &mut String, text: &str) {
    let mut bytes = Vec::new();
    json(text, &mut bytes);
    to.push_str(&String::from_utf8_lossy(&bytes));
}

//! Marks of other files around a value that was pasted: a semicolon of nginx, a comma, quotes.

use super::document::Value;

/// Characters around a value in other files: it was pasted with them.
pub(crate) const MARKS: [char; 6] = [';', ',', ' ', '\t', '\'', '"'];

/// Returns a message about a value, with advice if it has a mark around it and the message says no cure.
pub(super) fn cured(mut message: String, value: &Value) -> String {
    let Value::Text(text) = value else {
        return message;
    };
    let has_cure = ["; write ", "; remove "]
        .iter()
        .any(|cure| message.contains(cure));
    if let Some((mark, place)) = mark(text).filter(|_| !has_cure) {
        message.push_str(&format!("; remove the {mark:?} at its {place}"));
    }
    message
}

/// Returns a mark at the start or the end of a value that comes from another file, and where it stands.
fn mark(text: &str) -> Option<(&str, &'static str)> {
    let last = text.len().checked_sub(1)?;
    let is_stray = |mark: &&str| mark.starts_with(MARKS);
    let first = text.get(..1).filter(is_stray).map(|mark| (mark, "start"));
    first.or_else(|| Some((text.get(last..).filter(is_stray)?, "end")))
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn marks() {
        for (text, found) in [
            ("http://b:80;", Some((";", "end"))),
            ("b,", Some((",", "end"))),
            ("b ", Some((" ", "end"))),
            ("'b'", Some(("'", "start"))),
            ("\"b", Some(("\"", "start"))),
            (";", Some((";", "start"))),
            ("", None),
            ("b", None),
            ("a;b", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(mark(text), found, "{text}");
        }
    }
}

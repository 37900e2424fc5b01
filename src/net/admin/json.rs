//! JSON of the answers: objects of strings and of lists of strings.

use std::fmt::Write;

/// Returns `{"name": "value"}` with a line feed.
pub(super) fn object(members: &[(&str, &str)]) -> String {
    let members = members.iter().map(|(name, value)| {
        let mut member = string(name);
        member.push_str(": ");
        member.push_str(&string(value));
        member
    });
    format!("{{ {} }}\n", members.collect::<Vec<_>>().join(", "))
}

/// Returns `{"name": ["value", ..]}` with a line feed, of about `most` bytes; a last value says how
/// many are left out.
pub(super) fn list<'a>(
    name: &str,
    values: impl Iterator<Item = &'a str> + Clone,
    most: usize,
) -> String {
    let mut text = format!("{{ {}: [", string(name));
    let all = values.clone().count();
    for (index, value) in values.enumerate() {
        let value = string(value);
        text.push_str(if index == 0 { "\n  " } else { ",\n  " });
        if text.len().saturating_add(value.len()) > most {
            let left_out = format!("and {} more lines", all.saturating_sub(index));
            text.push_str(&string(&left_out));
            break;
        }
        text.push_str(&value);
    }
    text.push_str("\n] }\n");
    text
}

/// Returns a JSON string (RFC 8259 7).
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a string cannot fail.
            '\0'..=' ' if c != ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            '\u{7f}' => out.push_str("\\u007f"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_back_as_they_were() {
        let hostile = "a\"b\\c\n\r\t\0\u{1f}\u{7f}</script>\u{2028}ü";
        let object = object(&[("error", hostile), ("b", "")]);
        let read: serde_json::Value = serde_json::from_str(&object).expect("JSON");
        assert_eq!(read["error"], hostile);
        assert_eq!(read["b"], "");
        assert_eq!(object.lines().count(), 1);
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let lines = ["x".repeat(50), "\"".repeat(50), "y".repeat(50)];
        let of = |most| list("errors", lines.iter().map(String::as_str), most);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&of(1000))["errors"].as_array().map(Vec::len), Some(3));
        let short = of(100);
        assert_eq!(read(&short)["errors"][1], "and 2 more lines");
        assert!(short.len() < 150);
        assert_eq!(
            read(&list("errors", [].into_iter(), 10))["errors"]
                .as_array()
                .map(Vec::len),
            Some(0)
        );
    }
}

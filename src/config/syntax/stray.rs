//! Faults of values, and marks of other files around a value that was pasted: a semicolon of nginx, a
//! comma, quotes.

use core::fmt;

use super::document::{Node, Value};

/// Characters around a value in other files: it was pasted with them.
pub(crate) const MARKS: [char; 6] = [';', ',', ' ', '\t', '\'', '"'];

/// Fault of a value: words that follow the value in a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    text: String,
    /// The words say what to do.
    has_cure: bool,
}

impl Fault {
    /// A fault whose words say no cure: a mark around the value is the likely reason.
    pub(crate) fn uncured(text: impl Into<String>) -> Fault {
        Fault {
            text: text.into(),
            has_cure: false,
        }
    }

    /// Adds what to do.
    pub(crate) fn with_cure(self, cure: &str) -> Fault {
        format!("{self}; {cure}").into()
    }

    /// Returns the message about a value.
    pub(super) fn about(mut self, value: &Value) -> String {
        if let Value::Text(text) = value
            && let Some((mark, place)) = mark(text).filter(|_| !self.has_cure)
        {
            self.text
                .push_str(&format!("; remove the {mark:?} at its {place}"));
        }
        self.text
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Fault {
        Fault {
            text,
            has_cure: true,
        }
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Fault {
        text.to_owned().into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the fault of a value at `path` if it is an item of a list, and has several values, as a variable of
/// a process often has.
pub(super) fn several(node: &Node, path: &str) -> Option<Fault> {
    let Value::Text(text) = &node.value else {
        return None;
    };
    let parts = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
    let parts = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>();
    // A space may stand in the middle of one value.
    let is_list = text.contains(',') || parts.iter().all(|part| part.contains(['.', ':']));
    if parts.len() < 2 || !is_list || !path.ends_with(']') {
        return None;
    }
    let fault = match node.is_variable() {
        true => "is several values, and a variable stands for one; write one for each".to_owned(),
        false => format!("is several values; write each as a string: {parts:?}"),
    };
    Some(fault.into())
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
    use super::*;

    /// Advice about a mark depends on what the fault knows of its words, not on the words.
    #[test]
    fn a_mark_is_named_where_there_is_no_other_cure() {
        let with_mark = Value::Text("b;".to_owned());
        let about = |fault: Fault, value: &Value| fault.about(value);
        let plain = Fault::uncured("is no \"a; write b\"");
        let advised = "is no \"a; write b\"; remove the \";\" at its end";
        assert_eq!(about(plain.clone(), &with_mark), advised);
        for (fault, value) in [
            (plain.clone(), Value::Text("b".to_owned())),
            (plain, Value::Null),
            ("is no \"a; write b\"".into(), with_mark),
        ] {
            assert_eq!(about(fault, &value), "is no \"a; write b\"");
        }
        let cured = Fault::uncured("is bad").with_cure("change it");
        let value = Value::Text("b;".to_owned());
        assert_eq!(about(cured, &value), "is bad; change it");
    }

    fn node(text: &str, written: Option<&str>) -> Node {
        Node {
            at: 0,
            value: Value::Text(text.to_owned()),
            written: written.map(str::to_owned),
        }
    }

    #[test]
    fn several_values() {
        for (text, is_several) in [
            ("a,b", true),
            ("X-A, X-B", true),
            ("10.0.0.0/8 fd00::/8", true),
            ("a", false),
            ("a,", false),
            ("a b", false),
            (" a.test ", false),
            ("", false),
        ] {
            let item = node(text, None);
            assert_eq!(several(&item, "a[0]").is_some(), is_several, "{text}");
            assert_eq!(several(&item, "a"), None);
        }
        let said = several(&node("a,b", Some("${V}")), "a[0]").expect("two");
        let said = said.to_string();
        let is_told = said.contains("a variable stands for one") && !said.contains("\"a\"");
        assert!(is_told, "{said}");
    }

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

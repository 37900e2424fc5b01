//! A document that remembers where each key and value stands. Members of an object stay a list, in
//! order, so that a key given twice is seen. Not here: what the document means.

use crate::policy::edits::Part;

/// A value and the byte at which it begins.
#[derive(PartialEq, Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
    /// A string as it is written, when variables in it were replaced: what they hold may be a
    /// secret.
    pub(crate) written: Option<String>,
}

/// The most characters of a value that a message repeats.
const SHOWN_CHARS: usize = 80;

impl Node {
    /// Returns true if variables in the string were replaced.
    pub(super) fn is_variable(&self) -> bool {
        self.written.is_some()
    }

    /// Returns the value as a message repeats it, in one line: strings in quotes, long ones cut,
    /// variables by their names, and without the user and password of a URL. `None`: the value is a
    /// list or an object.
    pub(crate) fn shown(&self) -> Option<String> {
        let cut = |text: &str| match text
            .char_indices()
            .nth(SHOWN_CHARS)
            .and_then(|(end, _)| text.get(..end))
        {
            Some(start) => format!("{start}..."),
            None => text.to_owned(),
        };
        match &self.value {
            Value::Null => Some("null".to_owned()),
            Value::Flag(flag) => Some(flag.to_string()),
            Value::Number(digits) => Some(cut(digits)),
            Value::Text(text) => {
                let written = self.written.as_deref().unwrap_or(text);
                Some(format!("{:?}", cut(&without_credentials(written))))
            }
            // A value with variables of a request has always been written as something else.
            Value::Parts(_) => {
                let written = self.written.as_deref().unwrap_or_default();
                Some(format!("{:?}", cut(written)))
            }
            Value::List(_) | Value::Object(_) | Value::Broken => None,
        }
    }
}

impl Node {
    /// Adds `base` to all offsets of this node.
    pub(crate) fn shift(&mut self, base: usize) {
        self.at += base;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.shift(base)),
            Value::Object(members) => members.iter_mut().for_each(|member| {
                member.name_at += base;
                member.node.shift(base);
            }),
            Value::Null
            | Value::Flag(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Parts(_)
            | Value::Broken => {}
        }
    }
}

/// Returns a text without what may be the user and password of a URL in it.
fn without_credentials(text: &str) -> String {
    let scheme = text.find("://").map_or(0, |at| at + 3);
    let (start, rest) = text.split_at_checked(scheme).unwrap_or(("", text));
    match rest.rsplit_once('@') {
        Some((before, after)) if scheme > 0 || before.contains(':') => {
            format!("{start}...@{after}")
        }
        _ => text.to_owned(),
    }
}

#[derive(PartialEq, Debug)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    /// Number as written: digits, perhaps a sign, a fraction, an exponent.
    Number(String),
    Text(String),
    /// Value of a header edit that has variables of a request.
    Parts(Vec<Part>),
    List(Vec<Node>),
    Object(Vec<Member>),
    /// Value about which an error was reported already.
    Broken,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) name_at: usize,
    pub(crate) node: Node,
}

/// Fault of the syntax.
#[derive(PartialEq, Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use crate::config::syntax::parser;

    #[test]
    fn values_as_messages_repeat_them() {
        let shown = |text: &str| {
            parser::parse(text.as_bytes())
                .root
                .and_then(|root| root.shown())
        };
        for (text, expected) in [
            ("null", Some("null")),
            ("true", Some("true")),
            ("-1.50", Some("-1.50")),
            ("[1]", None),
            ("{}", None),
            (r#""""#, Some(r#""""#)),
            (r#""a\n\"b\u0007""#, Some(r#""a\n\"b\u{7}""#)),
            (r#""http://u:secret@b/?x""#, Some(r#""http://...@b/?x""#)),
            (r#""http://u:sec/ret@b""#, Some(r#""http://...@b""#)),
            (r#""u:secret@b""#, Some(r#""...@b""#)),
            (r#""a@b""#, Some(r#""a@b""#)),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
        let long = shown(&format!("\"{}\"", "é".repeat(1000))).expect("a string");
        assert_eq!(long, format!("\"{}...\"", "é".repeat(80)));
    }
}

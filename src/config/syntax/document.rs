//! A JSON document that remembers where each key and value stands.
//!
//! serde_json finds the structure; its raw values are slices of the input, so their addresses are
//! their offsets. Members stay a list, in order, so that a key given twice is seen. Not here: what
//! the document means.

use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX};

/// A value and the byte at which it begins.
#[derive(PartialEq, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) at: usize,
    pub(crate) value: Value<'a>,
    /// A string as it is written, when variables in it were replaced: what they hold may be a
    /// secret.
    pub(crate) written: Option<String>,
}

/// The most characters of a value that a message repeats.
const SHOWN_CHARS: usize = 80;

impl Node<'_> {
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
            Value::List(_) | Value::Object(_) | Value::Broken => None,
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
pub(crate) enum Value<'a> {
    Null,
    Flag(bool),
    /// Number as written: digits, perhaps a sign, a fraction, an exponent.
    Number(&'a str),
    Text(String),
    List(Vec<Node<'a>>),
    Object(Vec<Member<'a>>),
    /// Value about which an error was reported already.
    Broken,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    pub(crate) name_at: usize,
    pub(crate) node: Node<'a>,
}

/// Fault because of which there is no document.
#[derive(PartialEq, Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// Reads a document.
pub(crate) fn parse(bytes: &[u8]) -> Result<Node<'_>, Fault> {
    let fault = |at, message: &str| Fault {
        at,
        message: message.to_owned(),
    };
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(fault(
            0,
            "the file is larger than 16MB; is it the right one?",
        ));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(fault(
            0,
            "the file starts with a byte order mark; save it as UTF-8 without BOM",
        ));
    }
    let text = core::str::from_utf8(bytes).map_err(|error| {
        fault(
            error.valid_up_to(),
            "not UTF-8 from here on; save the file as UTF-8",
        )
    })?;
    if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
        return Err(fault(
            0,
            r#"the file is empty; it needs at least { "services": [ ... ] }"#,
        ));
    }
    let raw =
        serde_json::from_str::<&RawValue>(text).map_err(|error| syntax_fault(text, &error))?;
    node(text, raw, 0)
}

fn node<'a>(text: &'a str, raw: &'a RawValue, depth: usize) -> Result<Node<'a>, Fault> {
    let at = offset(text, raw);
    // Each level is scanned once more.
    crate::cost::count(raw.get().len());
    let inner = |error: serde_json::Error| Fault {
        at,
        message: format!("not valid JSON: {}", without_place(&error)),
    };
    if depth > CONFIG_DEPTH_MAX {
        return Err(Fault {
            at,
            message: format!("nested deeper than {CONFIG_DEPTH_MAX} levels"),
        });
    }
    let value = match raw.get().as_bytes().first() {
        Some(b'{') => {
            let members = serde_json::from_str::<Members<'a>>(raw.get()).map_err(inner)?;
            Value::Object(
                members
                    .0
                    .into_iter()
                    .map(|entry| member(text, entry, depth))
                    .collect::<Result<_, _>>()?,
            )
        }
        Some(b'[') => {
            let items = serde_json::from_str::<Vec<&'a RawValue>>(raw.get()).map_err(inner)?;
            Value::List(
                items
                    .into_iter()
                    .map(|item| node(text, item, depth + 1))
                    .collect::<Result<_, _>>()?,
            )
        }
        Some(b'"') => Value::Text(serde_json::from_str(raw.get()).map_err(inner)?),
        Some(b't') => Value::Flag(true),
        Some(b'f') => Value::Flag(false),
        Some(b'n') => Value::Null,
        _ => Value::Number(raw.get()),
    };
    Ok(Node {
        at,
        value,
        written: None,
    })
}

fn member<'a>(text: &'a str, (name, value): Entry<'a>, depth: usize) -> Result<Member<'a>, Fault> {
    let name_at = offset(text, name);
    let decoded = serde_json::from_str(name.get()).map_err(|error| Fault {
        at: name_at,
        message: format!("not valid JSON: {}", without_place(&error)),
    })?;
    Ok(Member {
        name: decoded,
        name_at,
        node: node(text, value, depth + 1)?,
    })
}

/// Returns the offset of a raw value. It was borrowed from the text, so it is a slice of it.
fn offset(text: &str, raw: &RawValue) -> usize {
    raw.get()
        .as_ptr()
        .addr()
        .saturating_sub(text.as_ptr().addr())
}

type Entry<'a> = (&'a RawValue, &'a RawValue);

/// The members of one object, as slices.
struct Members<'a>(Vec<Entry<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(entry) = map.next_entry()? {
            members.push(entry);
        }
        Ok(Members(members))
    }
}

/// Returns the fault with its place. serde_json counts lines from 1, and columns in bytes up to and
/// with the byte of the error.
fn syntax_fault(text: &str, error: &serde_json::Error) -> Fault {
    let start = match error.line() {
        0 | 1 => 0,
        line => text
            .match_indices('\n')
            .nth(line - 2)
            .map_or(text.len(), |(at, _)| at + 1),
    };
    let mut at = (start + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let here = text.get(at..).unwrap_or_default();
    let hint = if here.starts_with('/') || here.starts_with('#') {
        "; JSON has no comments"
    } else if here.starts_with(['}', ']'])
        && text
            .get(..at)
            .is_some_and(|before| before.trim_end().ends_with(','))
    {
        "; remove the comma before it"
    } else if here.starts_with('\'') {
        "; strings are written in double quotes"
    } else {
        ""
    };
    Fault {
        at,
        message: format!("not valid JSON: {}{hint}", without_place(error)),
    }
}

/// Returns the message without serde_json's own " at line 1 column 2".
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::syntax::report::Lines;

    fn fault(text: &[u8]) -> (usize, usize, String) {
        let fault = parse(text).expect_err("a fault");
        let (line, column) = Lines::new(text).places().place(fault.at);
        (line, column, fault.message)
    }

    #[test]
    fn everything_knows_its_place() {
        let text = "{ \"a\" : [1.5e3, \"\\u00e9\"],\n  \"é\": {\"a\":null, \"a\":true} }";
        let Value::Object(members) = parse(text.as_bytes()).expect("a document").value else {
            panic!("an object")
        };
        let lines = Lines::new(text.as_bytes());
        let mut places = lines.places();
        let [a, e] = members.as_slice() else {
            panic!("two members")
        };
        assert_eq!(
            (
                a.name.as_str(),
                places.place(a.name_at),
                places.place(a.node.at)
            ),
            ("a", (1, 3), (1, 9))
        );
        let Value::List(items) = &a.node.value else {
            panic!("a list")
        };
        assert_eq!(items[0].value, Value::Number("1.5e3"));
        assert_eq!(items[1].value, Value::Text("é".to_owned()));
        assert_eq!(places.place(items[1].at), (1, 17));
        assert_eq!(
            (
                e.name.as_str(),
                places.place(e.name_at),
                places.place(e.node.at)
            ),
            ("é", (2, 3), (2, 8))
        );
        let Value::Object(inner) = &e.node.value else {
            panic!("an object")
        };
        assert_eq!(
            inner
                .iter()
                .map(|member| member.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "a"]
        );
        assert_eq!(places.place(inner[1].name_at), (2, 19));
    }

    #[test]
    fn faults_say_where() {
        for (text, line, column, message) in [
            (&b""[..], 1, 1, "the file is empty"),
            (b" \n", 1, 1, "the file is empty"),
            (b"\xef\xbb\xbf{}", 1, 1, "byte order mark"),
            (b"{\n\"a\": \"\xff\"}", 2, 7, "not UTF-8"),
            (b"{\n  \"a\": 1,\n}", 3, 1, "remove the comma before it"),
            (b"{\n  // x\n  \"a\": 1 }", 2, 3, "JSON has no comments"),
            (b"[1, ]", 1, 5, "remove the comma before it"),
            (b"{ 'a': 1 }", 1, 3, "double quotes"),
            (b"{\"a\": 1} x", 1, 10, "trailing characters"),
            (b"[01]", 1, 3, "not valid JSON"),
            (b"[\"\\ud800\"]", 1, 2, "not valid JSON"),
            (b"{\"\\ud800\":1}", 1, 2, "not valid JSON"),
            ("[\"é\", nul]".as_bytes(), 1, 10, "not valid JSON"),
        ] {
            let found = fault(text);
            assert_eq!(
                (found.0, found.1),
                (line, column),
                "{:?}: {found:?}",
                String::from_utf8_lossy(text)
            );
            assert!(found.2.contains(message), "{found:?}");
        }
    }

    #[test]
    fn values_as_messages_repeat_them() {
        let shown = |text: &str| parse(text.as_bytes()).expect("a document").shown();
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

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(CONFIG_DEPTH_MAX).as_bytes()).is_ok());
        assert!(
            fault(nested(CONFIG_DEPTH_MAX + 1).as_bytes())
                .2
                .contains("nested deeper")
        );
        assert!(
            fault(nested(100_000).as_bytes())
                .2
                .contains("nested deeper")
        );
    }
}

//! A JSON document in which every key and value knows its place in the file.
//!
//! serde_json does the parsing; its raw values are slices of the input, and a slice's place is its distance from the start.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How deep a document may nest; a configuration has no use for more.
const DEPTH: usize = 32;

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    /// Byte offset in the text.
    pub(super) at: usize,
    pub(super) value: Value,
}

/// A JSON value.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Entry>),
}

/// One member of an object; a key may come twice.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: usize,
    pub(super) node: Node,
}

/// Parses a document.
///
/// # Errors
/// The syntax is broken: line, column (both from 1) and what is wrong.
pub(super) fn parse(text: &str) -> Result<Node, (usize, usize, String)> {
    let root: &RawValue =
        serde_json::from_str(text).map_err(|error| (error.line(), error.column().max(1), describe(&error)))?;
    node(text, root, 0).map_err(|(at, message)| {
        let (line, column) = place(text, at);
        (line, column, message)
    })
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

/// serde_json's text without its own "at line .. column ..".
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn node(text: &str, raw: &RawValue, depth: usize) -> Result<Node, (usize, String)> {
    let source = raw.get();
    let at = source.as_ptr() as usize - text.as_ptr() as usize;
    let broken = |error: serde_json::Error| (at, describe(&error));
    if depth > DEPTH {
        return Err((at, format!("nested deeper than {DEPTH} levels")));
    }
    let value = match source.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => Value::String(serde_json::from_str(source).map_err(broken)?),
        Some(b'[') => {
            let items: Items<'_> = serde_json::from_str(source).map_err(broken)?;
            Value::Array(items.0.into_iter().map(|item| node(text, item, depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(b'{') => {
            let members: Members<'_> = serde_json::from_str(source).map_err(broken)?;
            Value::Object(members.0.into_iter().map(|member| entry(text, member, depth)).collect::<Result<_, _>>()?)
        }
        _ => Value::Number(source.to_owned()),
    };
    Ok(Node { at, value })
}

fn entry(text: &str, (key, value): (&RawValue, &RawValue), depth: usize) -> Result<Entry, (usize, String)> {
    let key_at = key.get().as_ptr() as usize - text.as_ptr() as usize;
    let key = serde_json::from_str(key.get()).map_err(|error| (key_at, describe(&error)))?;
    Ok(Entry { key, key_at, node: node(text, value, depth + 1)? })
}

struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_its_place() {
        let text = "{\n  \"a\": [1, \"\\u00e4\"],\n  \"ä\": { \"b\": null }, \"a\": true }";
        let root = parse(text).expect("well-formed");
        let Value::Object(entries) = &root.value else { panic!("an object") };
        let places: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), place(text, entry.key_at), place(text, entry.node.at)))
            .collect();
        assert_eq!(places, [("a", (2, 3), (2, 8)), ("ä", (3, 3), (3, 8)), ("a", (3, 23), (3, 28))]);
        let Value::Array(items) = &entries[0].node.value else { panic!("an array") };
        assert_eq!(place(text, items[1].at), (2, 12));
        assert!(matches!(&items[1].value, Value::String(text) if text == "ä"));
    }

    #[test]
    fn broken_syntax_has_its_place() {
        for (text, line, column) in [("", 1, 1), ("{", 1, 1), ("{\n \"a\": }", 2, 7), ("{} x", 1, 4)] {
            let (found_line, found_column, message) = parse(text).expect_err("broken");
            assert_eq!((found_line, found_column), (line, column), "{text:?}: {message}");
            assert!(!message.contains(" at line "));
        }
        assert!(parse(&"[".repeat(1000)).is_err());
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        assert!(parse(&deep).expect_err("deep").2.contains("deeper"));
    }
}

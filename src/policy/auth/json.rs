//! JSON that others sent: tokens' headers and claims, key sets, answers of an introspection endpoint.
//!
//! serde_json reads the grammar. A member given twice is refused at any depth: two parsers that choose differently between
//! the two would see two different tokens (RFC 7515 4, RFC 7519 4, RFC 8725 2.4). Depth and size are bounded before memory is.

use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::{AUTH_JSON_DEPTH, AUTH_JSON_MEMBERS};

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Flag(bool),
    /// A number without fraction that fits.
    Whole(i64),
    /// Any other number.
    Real(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object: its members in order, no name twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value that the bytes are; `None` when they are no JSON in UTF-8, have a member twice, are nested deeper than
    /// [`AUTH_JSON_DEPTH`], or have more than [`AUTH_JSON_MEMBERS`] members in one object or list.
    pub fn parse(bytes: &[u8]) -> Option<Json> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Level(AUTH_JSON_DEPTH).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(value)
    }

    /// The member of this name, when this is an object and has one.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(member, _)| member == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The string, when this is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The strings of a list of strings, or of a string: what `aud` may be (RFC 7519 4.1.3). `None` for anything else.
    pub fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Json::Text(text) => Some(vec![text]),
            Json::List(items) => items.iter().map(Json::text).collect(),
            _ => None,
        }
    }

    /// Seconds since the epoch, perhaps with a fraction (RFC 7519 2, NumericDate), in milliseconds.
    pub fn numeric_date(&self) -> Option<i64> {
        match self {
            Json::Whole(seconds) => Some(seconds.saturating_mul(1000)),
            // A cast from a float saturates.
            Json::Real(seconds) if seconds.is_finite() => Some((seconds * 1000.0) as i64),
            _ => None,
        }
    }
}

/// A value that may have so many levels below it.
#[derive(Clone, Copy)]
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Level {
    fn below<E: Error>(self) -> Result<Level, E> {
        self.0.checked_sub(1).map(Level).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Real(number as f64), Json::Whole))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Real(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let level = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(level)? {
            if items.len() == AUTH_JSON_MEMBERS {
                return Err(A::Error::custom("too many elements"));
            }
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let level = self.below()?;
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.len() == AUTH_JSON_MEMBERS || members.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom("too many members, or one twice"));
            }
            members.push((name, map.next_value_seed(level)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let json = Json::parse(br#" {"a":[1,-2,1.5,18446744073709551615],"b":{"c":"\u00e9\n"},"d":null,"e":true} "#)
            .expect("JSON");
        let Some(Json::List(items)) = json.get("a") else { panic!("a list") };
        assert_eq!(items[..2], [Json::Whole(1), Json::Whole(-2)]);
        assert!(matches!(items[2], Json::Real(real) if real == 1.5) && matches!(items[3], Json::Real(_)));
        assert_eq!(json.get("b").and_then(|b| b.get("c")).and_then(Json::text), Some("é\n"));
        assert_eq!((json.get("d"), json.get("e"), json.get("f")), (Some(&Json::Null), Some(&Json::Flag(true)), None));
        assert_eq!(json.text(), None);
        assert_eq!(Json::Null.get("a"), None);
    }

    #[test]
    fn refused() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let wide = |members: usize| format!("[{}1]", "1,".repeat(members - 1));
        assert!(Json::parse(deep(AUTH_JSON_DEPTH).as_bytes()).is_some());
        assert!(Json::parse(wide(AUTH_JSON_MEMBERS).as_bytes()).is_some());
        for bad in [
            deep(AUTH_JSON_DEPTH + 1).as_str(),
            &deep(100_000),
            &wide(AUTH_JSON_MEMBERS + 1),
            "",
            "{",
            "{} {}",
            "{}x",
            "\u{feff}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"[{"b":1,"b":2}]"#,
            r#"{"a":1,}"#,
            "{'a':1}",
            "NaN",
            "01",
            "1e999",
            "\"\\ud800\"",
        ] {
            assert_eq!(Json::parse(bad.as_bytes()), None, "{bad:.40}");
        }
        assert_eq!(Json::parse(b"\"\xff\""), None);
    }

    #[test]
    fn dates_and_lists() {
        let date = |text: &str| Json::parse(text.as_bytes()).and_then(|json| json.numeric_date());
        assert_eq!(
            (date("5"), date("5.25"), date("-1"), date("1e3")),
            (Some(5000), Some(5250), Some(-1000), Some(1_000_000))
        );
        assert_eq!((date("\"5\""), date("null"), date("1e300")), (None, None, Some(i64::MAX)));
        assert_eq!(date("9223372036854775807"), Some(i64::MAX));
        let texts = |text: &str| Json::parse(text.as_bytes()).and_then(|json| Some(json.texts()?.join("|")));
        assert_eq!((texts("\"a\""), texts("[\"a\",\"b\"]")), (Some("a".to_owned()), Some("a|b".to_owned())));
        assert_eq!((texts("[]"), texts("[1]"), texts("1")), (Some(String::new()), None, None));
    }
}

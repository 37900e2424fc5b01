//! JSON from untrusted sources: headers and claims of tokens, key sets, introspection responses.
//!
//! serde_json reads the grammar. A duplicate member is rejected at any depth: two parsers that
//! choose different ones would see two different tokens (RFC 7515 4, RFC 7519 4, RFC 8725 2.4).
//! Only the bytes of the text bound lists and objects. The cost of a text is in proportion to its
//! bytes, because members are sorted and not compared each with each.

use core::cell::Cell;
use core::cmp::Ordering;
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::cost;
use crate::limits::AUTH_JSON_DEPTH;

/// A JSON value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Flag(bool),
    /// A whole number that fits.
    Whole(i64),
    /// Any other number.
    Real(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Members),
}

/// Members of an object: without duplicates, sorted by `compare_names`.
#[derive(Clone, PartialEq, Debug)]
pub struct Members(Vec<(String, Json)>);

/// Order of an object's members: shorter names first, names of the same length by their bytes.
/// Names of different lengths are compared without reading their bytes.
fn compare_names(one: &str, other: &str) -> Ordering {
    one.len()
        .cmp(&other.len())
        .then_with(|| one.as_bytes().cmp(other.as_bytes()))
}

/// Counter of work: one step for each value, for each comparison of two names, and for each byte
/// that a comparison may read.
type Steps = Cell<usize>;

impl Json {
    /// Parses a value. Returns `None` if the bytes are not JSON in UTF-8, contain a duplicate
    /// member, or are nested deeper than [`AUTH_JSON_DEPTH`].
    pub fn parse(bytes: &[u8]) -> Option<Json> {
        Json::parse_counted(bytes, &Steps::default())
    }

    /// Returns the steps that reading the bytes takes: see [`Json::STEPS_PER_BYTE`].
    pub fn steps(bytes: &[u8]) -> usize {
        let steps = Steps::default();
        Json::parse_counted(bytes, &steps);
        steps.get()
    }

    /// Upper bound of the steps for each byte of a text. Sorting n names with b bytes in total
    /// compares each byte about log n times, and a text of [`crate::limits::JWKS_BYTES`] has fewer
    /// than 2^16 members.
    pub const STEPS_PER_BYTE: usize = 40;

    fn parse_counted(bytes: &[u8], steps: &Steps) -> Option<Json> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Level {
            below: AUTH_JSON_DEPTH,
            steps,
        }
        .deserialize(&mut reader)
        .ok()?;
        reader.end().ok()?;
        Some(value)
    }

    /// Returns the member with this name, if the value is an object that has one. A null member
    /// counts as absent: some writers write null for a member without a value, others omit it.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(Members(members)) = self else {
            return None;
        };
        let found = members
            .binary_search_by(|(member, _)| compare_names(member, name))
            .ok()?;
        members
            .get(found)
            .map(|(_, value)| value)
            .filter(|value| **value != Json::Null)
    }

    /// Returns the member with this name, if it is not empty. An empty string or list counts as
    /// absent, like null. Used for members for which an empty value has no meaning.
    pub fn get_filled(&self, name: &str) -> Option<&Json> {
        self.get(name).filter(|value| match value {
            Json::Text(text) => !text.is_empty(),
            Json::List(items) => !items.is_empty(),
            _ => true,
        })
    }

    /// Returns the text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the members of an object, in no particular order.
    pub fn members(&self) -> Option<&[(String, Json)]> {
        match self {
            Json::Object(Members(members)) => Some(members),
            _ => None,
        }
    }

    /// Returns the strings of a list of strings, or of a single string, as in `aud`
    /// (RFC 7519 4.1.3). Returns `None` for any other value.
    pub fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Json::Text(text) => Some(vec![text]),
            Json::List(items) => items.iter().map(Json::text).collect(),
            _ => None,
        }
    }

    /// Returns a time (RFC 7519 2, NumericDate: seconds since the epoch, perhaps with a fraction)
    /// in milliseconds.
    pub fn numeric_date(&self) -> Option<i64> {
        match self {
            Json::Whole(seconds) => Some(seconds.saturating_mul(1000)),
            // Casts from float to integer saturate.
            Json::Real(seconds) if seconds.is_finite() => Some((seconds * 1000.0) as i64),
            _ => None,
        }
    }
}

/// A value that may have this many levels below it.
#[derive(Clone, Copy)]
struct Level<'s> {
    below: usize,
    steps: &'s Steps,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.count(1);
        deserializer.deserialize_any(self)
    }
}

impl Level<'_> {
    fn below<E: Error>(self) -> Result<Self, E> {
        let below = self
            .below
            .checked_sub(1)
            .ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Level { below, ..self })
    }

    fn count(self, steps: usize) {
        cost::count(steps);
        self.steps.set(self.steps.get().saturating_add(steps));
    }

    fn compare(self, one: &str, other: &str) -> Ordering {
        self.count(if one.len() == other.len() {
            one.len().saturating_add(1)
        } else {
            1
        });
        compare_names(one, other)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
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
            items.push(item);
        }
        // Only the list that is being read needs room for growth. Many short lists would each hold
        // some.
        items.shrink_to_fit();
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let level = self.below()?;
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            members.push((name, map.next_value_seed(level)?));
        }
        members.shrink_to_fit();
        crate::sort::sort_by(&mut members, |(one, _): &(String, Json), (other, _)| {
            self.compare(one, other)
        });
        let mut pairs = members.iter().zip(members.iter().skip(1));
        if pairs.any(|((one, _), (next, _))| self.compare(one, next).is_eq()) {
            return Err(A::Error::custom("a member twice"));
        }
        Ok(Json::Object(Members(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let json = Json::parse(
            br#" {"a":[1,-2,1.5,18446744073709551615],"b":{"c":"\u00e9\n"},"d":null,"e":true} "#,
        )
        .expect("JSON");
        let Some(Json::List(items)) = json.get("a") else {
            panic!("a list")
        };
        assert_eq!(items[..2], [Json::Whole(1), Json::Whole(-2)]);
        assert!(
            matches!(items[2], Json::Real(real) if real == 1.5)
                && matches!(items[3], Json::Real(_))
        );
        assert_eq!(
            json.get("b").and_then(|b| b.get("c")).and_then(Json::text),
            Some("é\n")
        );
        assert_eq!(
            (json.get("d"), json.get("e"), json.get("f")),
            (None, Some(&Json::Flag(true)), None),
            "null is absent"
        );
        assert_eq!(json.text(), None);
        assert_eq!(Json::Null.get("a"), None);
        let empty = Json::parse(br#"{"a":"","b":[],"c":{},"d":null,"e":false,"f":0,"g":" "}"#)
            .expect("JSON");
        let filled =
            ["a", "b", "c", "d", "e", "f", "g"].map(|name| empty.get_filled(name).is_some());
        assert_eq!(filled, [false, false, true, false, true, true, true]);
    }

    #[test]
    fn refused() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::parse(deep(AUTH_JSON_DEPTH).as_bytes()).is_some());
        for bad in [
            deep(AUTH_JSON_DEPTH + 1).as_str(),
            &deep(100_000),
            "",
            "{",
            "{} {}",
            "{}x",
            "\u{feff}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":null,"b":1,"a":null}"#,
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

    /// As many members as a text has bytes for, in orders that sorts find hard. Comparing each with
    /// each would take 3,000 steps a byte where there are 10,000.
    #[test]
    fn cost_is_in_proportion_to_bytes() {
        for count in [1, 2, 10, 300, 10_000] {
            let up = (0..count).collect::<Vec<usize>>();
            let down = up.iter().rev().copied().collect::<Vec<_>>();
            let pipe = up
                .iter()
                .filter(|at| *at % 2 == 0)
                .chain(down.iter().filter(|at| *at % 2 == 1))
                .copied()
                .collect();
            let mixed = up
                .iter()
                .map(|at| (at * 7919 + 13) % count.max(1))
                .collect::<Vec<_>>();
            let equal = vec![0; count];
            for order in [up, down, pipe, mixed, equal] {
                let distinct =
                    order.iter().collect::<std::collections::HashSet<_>>().len() == count;
                for prefix in ["", "the-same-beginning-of-every-name-"] {
                    let members = order
                        .iter()
                        .map(|at| format!("\"{prefix}{at:05}\":1"))
                        .collect::<Vec<_>>()
                        .join(",");
                    for text in [
                        format!("{{{members}}}"),
                        format!("{{\"a\":[{{\"b\":{{{members}}}}}]}}"),
                    ] {
                        let steps = Json::steps(text.as_bytes());
                        assert!(
                            steps <= Json::STEPS_PER_BYTE * text.len(),
                            "{count}: {steps} for {} bytes",
                            text.len()
                        );
                        let parsed = Json::parse(text.as_bytes());
                        assert_eq!(parsed.is_some(), distinct, "{count} members");
                    }
                    if distinct {
                        let json = Json::parse(format!("{{{members}}}").as_bytes()).expect("JSON");
                        assert!(
                            order
                                .iter()
                                .all(|at| json.get(&format!("{prefix}{at:05}")).is_some())
                        );
                        assert_eq!(json.get(&format!("{prefix}{count:05}")), None);
                    }
                }
            }
            let list = format!("[{}1]", "1,".repeat(count - 1));
            assert!(Json::steps(list.as_bytes()) <= Json::STEPS_PER_BYTE * list.len());
            assert!(
                matches!(Json::parse(list.as_bytes()), Some(Json::List(items)) if items.len() == count)
            );
        }
    }

    #[test]
    fn dates_and_lists() {
        let date = |text: &str| Json::parse(text.as_bytes()).and_then(|json| json.numeric_date());
        assert_eq!(
            (date("5"), date("5.25"), date("-1"), date("1e3")),
            (Some(5000), Some(5250), Some(-1000), Some(1_000_000))
        );
        assert_eq!(
            (date("\"5\""), date("null"), date("1e300")),
            (None, None, Some(i64::MAX))
        );
        assert_eq!(date("9223372036854775807"), Some(i64::MAX));
        let texts = |text: &str| {
            Json::parse(text.as_bytes()).and_then(|json| Some(json.texts()?.join("|")))
        };
        assert_eq!(
            (texts("\"a\""), texts("[\"a\",\"b\"]")),
            (Some("a".to_owned()), Some("a|b".to_owned()))
        );
        assert_eq!(
            (texts("[]"), texts("[1]"), texts("1")),
            (Some(String::new()), None, None)
        );
    }
}

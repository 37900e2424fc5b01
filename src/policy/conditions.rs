//! Conditions of a service (`match`): values of headers, cookies and query parameters.
//!
//! Values are compared byte by byte: those of a header without the white space around them, those
//! of a cookie as sent, those of a parameter percent-decoded once.
//!
//! A client could show the gateway one value and the upstream another: with a name twice, or in a
//! spelling that only one of them reads. Such a name is *unclear*, and no condition about it holds:
//!
//! * The name occurs with several values.
//! * The name occurs in another spelling: in another case (headers excepted), with `_` or `.` for
//!   `-`, percent-encoded (parameters excepted), with spaces or quotes around it, or in front of a
//!   `[`.
//! * The value is not the wanted one, but may be read as it: in another case, percent-encoded,
//!   quoted or with a `\`, with `+` for a space, or as one member of a list.
//! * The pair is divided by a separator that only some programs know: `;` in a query, `,` in a
//!   cookie.

use crate::http::head::Fields;
use crate::limits::{MATCH_NAMES_MAX, MATCH_READ_BYTES};

/// Part of a request that a condition is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// A header.
    Header,
    /// A cookie (RFC 6265 4.2).
    Cookie,
    /// A parameter of the query (WHATWG URL, application/x-www-form-urlencoded).
    Query,
}

/// A name with the value that it must have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Condition {
    /// Part of the request.
    pub part: Part,
    /// Name; that of a header in lower case.
    pub name: String,
    /// Value.
    pub value: String,
}

impl Condition {
    /// Returns the condition as text: `x-beta: 1`, `cookie beta=1` or `?beta=1`.
    pub fn text(&self) -> String {
        let Condition { part, name, value } = self;
        match part {
            Part::Header => format!("{name}: {value}"),
            Part::Cookie => format!("cookie {name}={value}"),
            Part::Query => format!("?{name}={value}"),
        }
    }
}

/// Parts of a request that conditions are about.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// Field lines of the head.
    pub fields: Fields<'a>,
    /// Query with its `?`, or nothing.
    pub query: &'a [u8],
}

/// Answer of a request to a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The request has the value.
    Holds,
    /// The request does not have the value.
    Fails,
    /// The upstream may read another value than the gateway.
    Unclear,
}

/// Value of a name in a request.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen<'a> {
    value: Option<&'a [u8]>,
    is_unclear: bool,
}

/// Values of all names that conditions ask for.
pub(super) type AllSeen<'a> = [Seen<'a>; MATCH_NAMES_MAX];

/// Part and name that conditions ask for.
pub(super) type Asked = (Part, Box<[u8]>);

impl<'a> Evidence<'a> {
    /// Returns what the request says about these names, of which there are at most
    /// [`MATCH_NAMES_MAX`].
    #[cold]
    pub(super) fn look(&self, asked: &[Asked]) -> AllSeen<'a> {
        let mut all = AllSeen::default();
        let is_asked = |part| asked.iter().any(|(of, _)| *of == part);
        if is_asked(Part::Header) || is_asked(Part::Cookie) {
            for field in self.fields.iter() {
                note_header(asked, (field.name, field.value), &mut all);
                if is_asked(Part::Cookie) && field.name.eq_ignore_ascii_case(b"cookie") {
                    note_pairs(asked, (Part::Cookie, field.value), &mut all);
                }
            }
        }
        if let (true, [b'?', query @ ..]) = (is_asked(Part::Query), self.query) {
            note_pairs(asked, (Part::Query, query), &mut all);
        }
        all
    }
}

/// Returns the first condition of a service that does not hold, and whether it is unclear.
#[cold]
pub fn unmet<'c>(
    conditions: &'c [Condition],
    request: &Evidence<'_>,
) -> Option<(&'c Condition, Answer)> {
    let mut answers = conditions.iter().map(|condition| {
        let asked = [(condition.part, condition.name.as_bytes().into())];
        let [seen, ..] = request.look(&asked);
        (
            condition,
            seen.answer(condition.part, condition.value.as_bytes()),
        )
    });
    answers.find(|(_, answer)| *answer != Answer::Holds)
}

impl<'a> Seen<'a> {
    /// Adds an occurrence. `is_exact`: the name is spelled as asked for.
    fn note(&mut self, is_exact: bool, value: &'a [u8]) {
        crate::cost::count(value.len());
        match self.value {
            _ if !is_exact => self.is_unclear = true,
            None => self.value = Some(value),
            Some(first) => self.is_unclear |= first != value,
        }
    }

    /// Returns whether the name has the wanted value.
    pub(super) fn answer(&self, part: Part, wanted: &[u8]) -> Answer {
        let Some(value) = self.value.filter(|_| !self.is_unclear) else {
            return match self.is_unclear {
                true => Answer::Unclear,
                false => Answer::Fails,
            };
        };
        if value.len() > MATCH_READ_BYTES {
            return Answer::Unclear;
        }
        crate::cost::count(value.len());
        let is_equal = match part {
            Part::Header | Part::Cookie => value == wanted,
            Part::Query => is_decoded(value, wanted),
        };
        let is_like = |value: &[u8]| reads_as(value, wanted, &|byte| byte.to_ascii_lowercase());
        let is_like = match part {
            _ if is_equal => return Answer::Holds,
            Part::Query if has_bad_escape(value) => true,
            // A quoted pair (RFC 9110 5.6.4); Python reads octal numbers in cookies.
            Part::Header | Part::Cookie if value.contains(&b'\\') => true,
            Part::Header => value.split(|&byte| byte == b',').any(is_like),
            Part::Cookie | Part::Query => is_like(value),
        };
        match is_like {
            true => Answer::Unclear,
            false => Answer::Fails,
        }
    }
}

fn note_header<'a>(asked: &[Asked], (name, value): (&'a [u8], &'a [u8]), all: &mut AllSeen<'a>) {
    for ((part, wanted), seen) in asked.iter().zip(all) {
        if *part == Part::Header && name_reads_as(name, wanted) {
            seen.note(name.eq_ignore_ascii_case(wanted), value);
        }
    }
}

/// Notes the cookies of a field line, or the parameters of a query.
fn note_pairs<'a>(asked: &[Asked], (of, text): (Part, &'a [u8]), all: &mut AllSeen<'a>) {
    let (separator, other) = match of {
        Part::Query => (b'&', b';'),
        Part::Cookie | Part::Header => (b';', b','),
    };
    for pair in text.split(|&byte| byte == separator) {
        let pair = match of {
            Part::Query => pair,
            Part::Cookie | Part::Header => without_space(pair),
        };
        let (name, value) = divided(pair);
        let is_bad = of == Part::Query && has_bad_escape(name);
        for ((part, wanted), seen) in asked.iter().zip(&mut *all) {
            if *part != of {
                continue;
            }
            let mut pieces = pair.split(|&byte| byte == other);
            let is_first = pieces
                .next()
                .is_some_and(|first| name_reads_as(divided(first).0, wanted));
            // A program that knows the other separator sees a pair that this one does not.
            let is_hidden = pieces.any(|piece| name_reads_as(divided(piece).0, wanted));
            if is_bad || is_hidden {
                seen.note(false, b"");
            }
            if is_first {
                let is_named = match of {
                    Part::Query => is_decoded(name, wanted),
                    Part::Cookie | Part::Header => name == &**wanted && name.len() < pair.len(),
                };
                seen.note(
                    is_named && !pair.contains(&other),
                    value.unwrap_or_default(),
                );
            }
        }
    }
}

/// Divides a pair at its `=`.
fn divided(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    crate::cost::count(pair.len());
    let mut parts = pair.splitn(2, |&byte| byte == b'=');
    (parts.next().unwrap_or_default(), parts.next())
}

/// Returns the bytes without the white space around them (RFC 9110 5.6.3).
fn without_space(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Returns true if the percent-decoded bytes are the wanted ones. A `+` is none of them: programs
/// differ on what it means.
fn is_decoded(bytes: &[u8], wanted: &[u8]) -> bool {
    !bytes.contains(&b'+') && decoded(bytes).eq(wanted.iter().copied())
}

/// Returns true if a `%` is not in front of two hexadecimal digits: programs differ on what it
/// means.
fn has_bad_escape(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|&byte| byte == b'%');
    parts.next();
    let mut parts = parts.map(|part| part.get(..2).unwrap_or(part));
    parts.any(|digits| digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit))
}

/// Decodes each valid escape once.
fn decoded(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        crate::cost::count(1);
        if let [b'%', high, low, behind @ ..] = rest
            && let (Some(high), Some(low)) = (nibble(*high), nibble(*low))
        {
            rest = behind;
            return Some(high << 4 | low);
        }
        let (first, behind) = rest.split_first()?;
        rest = behind;
        Some(*first)
    })
}

fn nibble(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Returns true if a program may read the name as the wanted one.
fn name_reads_as(name: &[u8], wanted: &[u8]) -> bool {
    reads_as(name, wanted, &|byte| match byte {
        b'-' | b'.' | b' ' | b'+' => b'_',
        // Ends a name: what follows is an index.
        b'[' => 0,
        _ => byte.to_ascii_lowercase(),
    })
}

/// Returns true if the bytes are the wanted ones once they are percent-decoded, without spaces and
/// quotes around them, with a space for each `+`, and with each byte in the form of `fold`. A zero
/// ends the bytes.
fn reads_as(bytes: &[u8], wanted: &[u8], fold: &dyn Fn(u8) -> u8) -> bool {
    let is_around = |byte: &u8| matches!(byte, b' ' | b'\t' | b'"' | b'+' | b'\n' | b'\r');
    let plain = |byte: u8| fold(if byte == b'+' { b' ' } else { byte });
    let mut read = decoded(bytes).skip_while(is_around);
    let ends = |byte: &u8| !is_around(byte);
    let start = wanted.iter().position(ends).unwrap_or(wanted.len());
    let end = wanted.iter().rposition(ends);
    let end = end.map_or(start, |last| last.saturating_add(1));
    for byte in wanted.get(start..end).unwrap_or_default() {
        if read.next().map(plain) != Some(plain(*byte)) {
            return false;
        }
    }
    read.find(|byte| !is_around(byte))
        .is_none_or(|byte| fold(byte) == 0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Decodes each valid escape once.
    pub(in super::super) fn decode(bytes: &[u8]) -> Vec<u8> {
        decoded(bytes).collect()
    }

    #[test]
    fn escapes() {
        for (text, expected, is_bad) in [
            ("", "", false),
            ("a%20b", "a b", false),
            ("%", "%", true),
            ("%4", "%4", true),
            ("%41%4", "A%4", true),
            ("%4g%41", "%4gA", true),
            ("%%41", "%A", true),
            ("%u0041", "%u0041", true),
        ] {
            assert_eq!(decode(text.as_bytes()), expected.as_bytes(), "{text}");
            assert_eq!(has_bad_escape(text.as_bytes()), is_bad, "{text}");
        }
    }

    #[test]
    fn names_and_values_have_loose_forms() {
        let same = |byte: u8| byte.to_ascii_lowercase();
        for (read, wanted, is_like) in [
            ("1", "1", true),
            (" \"1\" ", "1", true),
            ("+1+", "1", true),
            ("TRUE", "true", true),
            ("a+b", "a b", true),
            ("a%2bb", "a+b", true),
            ("11", "1", false),
            ("", "1", false),
            ("  ", "", true),
            ("1\0x", "1", true),
        ] {
            let found = reads_as(read.as_bytes(), wanted.as_bytes(), &same);
            assert_eq!(found, is_like, "{read:?} {wanted:?}");
        }
        for (read, is_like) in [
            ("x_y", true),
            ("X.Y[0]", true),
            ("x-y-z", false),
            ("xy", false),
        ] {
            assert_eq!(name_reads_as(read.as_bytes(), b"x-y"), is_like, "{read}");
        }
    }
}

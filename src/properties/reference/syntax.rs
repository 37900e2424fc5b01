//! Common syntax: RFC 9110 5.6 and RFC 5234 B.1, field lines and lists of RFC 9110 5.

use super::types::{Line, Read, Stop};
use crate::limits::{CONNECTION_OPTIONS_MAX, DECIMAL_DIGITS, FIELDS_MAX};

pub(super) fn literal<'a>(bytes: &'a [u8], text: &[u8]) -> Read<'a, ()> {
    match (bytes, text) {
        (_, []) => Ok(((), bytes)),
        ([], _) => Err(Stop::More),
        ([byte, rest @ ..], [wanted, more @ ..]) if byte == wanted => literal(rest, more),
        _ => Err(Stop::Bad),
    }
}

pub(super) fn one(bytes: &[u8], class: impl Fn(u8) -> bool) -> Read<'_, u8> {
    match bytes {
        [] => Err(Stop::More),
        [byte, rest @ ..] if class(*byte) => Ok((*byte, rest)),
        _ => Err(Stop::Bad),
    }
}

pub(super) fn any(bytes: &[u8], class: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|&byte| !class(byte))
        .unwrap_or(bytes.len());
    bytes.split_at(end)
}

pub(super) fn some(bytes: &[u8], class: impl Fn(u8) -> bool) -> Read<'_, &[u8]> {
    match any(bytes, class) {
        ([], []) => Err(Stop::More),
        ([], _) => Err(Stop::Bad),
        found => Ok(found),
    }
}

pub(super) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) fn is_vchar(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte)
}

/// VCHAR, obs-text, SP and HTAB: bytes allowed in a field value, a reason phrase and behind a
/// backslash.
pub(super) fn is_value_byte(byte: u8) -> bool {
    is_vchar(byte) || byte >= 0x80 || byte == b' ' || byte == b'\t'
}

pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty()
        && digits.len() <= DECIMAL_DIGITS
        && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| {
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    })
}

pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

pub(super) fn field_lines(mut bytes: &[u8]) -> Read<'_, Vec<Line>> {
    let mut lines = Vec::new();
    while !bytes.starts_with(b"\r") {
        let (line, rest) = field_line(bytes)?;
        lines.push(line);
        if lines.len() > FIELDS_MAX {
            return Err(Stop::Bad);
        }
        bytes = rest;
    }
    let ((), rest) = literal(bytes, b"\r\n")?;
    Ok((lines, rest))
}

fn field_line(bytes: &[u8]) -> Read<'_, Line> {
    let (name, rest) = some(bytes, is_tchar)?;
    let ((), rest) = literal(rest, b":")?;
    let (value, rest) = any(rest, is_value_byte);
    let ((), rest) = literal(rest, b"\r\n")?;
    Ok(((name.to_vec(), trimmed(value).to_vec()), rest))
}

/// Returns the values of all lines with this name.
pub fn values<'a>(fields: &'a [Line], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(other, _)| same(other, name))
        .map(|(_, value)| value.as_slice())
}

/// RFC 9110 7.6.1: `Connection` is a list of tokens. A gateway accepts a limited number of them.
pub(super) fn has_good_options(fields: &[Line]) -> bool {
    let options: Vec<Vec<u8>> = members(fields, b"connection")
        .filter(|option| !option.is_empty())
        .collect();
    options.len() <= CONNECTION_OPTIONS_MAX && options.iter().flatten().all(|byte| is_tchar(*byte))
}

/// RFC 9110 5.6.1: returns the members of a list, over all lines with this name.
pub(super) fn members(fields: &[Line], name: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    values(fields, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|member| trimmed(member).to_vec())
}

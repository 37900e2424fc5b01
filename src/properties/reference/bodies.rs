//! Bodies: RFC 9112 6 and 7.

use super::syntax::{
    field_lines, is_tchar, is_value_byte, literal, number, same, some, trimmed, values,
};
use super::types::{Framing, Line, Read, Stop};
use crate::limits::{CHUNK_EXTENSION_BYTES, CHUNK_SIZE_DIGITS, TRAILER_BYTES, TRAILER_FIELDS};

pub(super) fn request_framing(minor: u8, fields: &[Line]) -> Option<Framing> {
    let codings: Vec<&[u8]> = values(fields, b"transfer-encoding").collect();
    let lengths: Vec<&[u8]> = values(fields, b"content-length").collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Some(Framing::None),
        ([], [length]) if length.len() == 1 || !length.starts_with(b"0") => {
            Some(Framing::Length(number(length)?))
        }
        ([coding], []) if minor == 1 && same(coding, b"chunked") => Some(Framing::Chunked),
        _ => None,
    }
}

pub(super) fn response_framing(
    minor: u8,
    status: u16,
    method: &[u8],
    fields: &[Line],
) -> Option<Framing> {
    if method == b"HEAD" || matches!(status, 100..=199 | 204 | 304) {
        return Some(Framing::None);
    }
    let codings: Vec<&[u8]> = values(fields, b"transfer-encoding").collect();
    match codings[..] {
        [] => {}
        // RFC 9110 15.3.6: a 205 has no content, whatever its fields say.
        [coding] if minor == 1 && same(coding, b"chunked") && status == 205 => {
            return Some(Framing::None);
        }
        [coding] if minor == 1 && same(coding, b"chunked") => return Some(Framing::Chunked),
        _ => return None,
    }
    let mut agreed = None;
    for length in
        values(fields, b"content-length").flat_map(|value| value.split(|&byte| byte == b','))
    {
        let length = number(trimmed(length))?;
        if agreed.is_some_and(|before| before != length) {
            return None;
        }
        agreed = Some(length);
    }
    Some(if status == 205 {
        Framing::None
    } else {
        agreed.map_or(Framing::UntilClose, Framing::Length)
    })
}

pub(super) fn sized(bytes: &[u8], length: u64) -> Read<'_, Vec<u8>> {
    let length = usize::try_from(length).map_err(|_| Stop::More)?;
    bytes
        .split_at_checked(length)
        .map(|(body, rest)| (body.to_vec(), rest))
        .ok_or(Stop::More)
}

/// Parses a chunked body (RFC 9112 7.1): `*chunk last-chunk trailer-section CRLF`. Extensions and
/// trailers are dropped.
///
/// # Errors
/// The body is incomplete or invalid.
pub fn chunked(bytes: &[u8]) -> Read<'_, Vec<u8>> {
    let mut body = Vec::new();
    let rest = chunks(bytes, &mut body)?;
    let (trailers, behind) = field_lines(rest)?;
    let trailer_bytes = rest.len() - behind.len();
    if trailers.len() > TRAILER_FIELDS || trailer_bytes > TRAILER_BYTES {
        return Err(Stop::Bad);
    }
    Ok((body, behind))
}

/// Returns the data of an incomplete chunked body.
pub(super) fn chunked_front(bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let _ = chunks(bytes, &mut body);
    body
}

/// Parses the chunks, and the size line of the last chunk.
fn chunks<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> Result<&'a [u8], Stop> {
    let mut extension_bytes = 0;
    loop {
        let (digits, rest) = some(bytes, |byte| byte.is_ascii_hexdigit())?;
        if digits.len() > CHUNK_SIZE_DIGITS {
            return Err(Stop::Bad);
        }
        let size = core::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let ((), behind) = extensions(rest)?;
        extension_bytes += rest.len() - behind.len();
        if extension_bytes > CHUNK_EXTENSION_BYTES {
            return Err(Stop::Bad);
        }
        let ((), rest) = literal(behind, b"\r\n")?;
        let size = size.ok_or(Stop::Bad)?;
        if size == 0 {
            return Ok(rest);
        }
        let (data, rest) =
            rest.split_at(rest.len().min(usize::try_from(size).unwrap_or(usize::MAX)));
        body.extend_from_slice(data);
        if (data.len() as u64) < size {
            return Err(Stop::More);
        }
        bytes = literal(rest, b"\r\n")?.1;
    }
}

/// Parses `*( ";" token [ "=" ( token / quoted-string ) ] )`.
fn extensions(mut bytes: &[u8]) -> Read<'_, ()> {
    while let Some(rest) = bytes.strip_prefix(b";") {
        let (_, rest) = some(rest, is_tchar)?;
        bytes = match rest {
            [b'=', b'"', rest @ ..] => quoted(rest)?.1,
            [b'='] => return Err(Stop::More),
            [b'=', rest @ ..] => some(rest, is_tchar)?.1,
            _ => rest,
        };
    }
    Ok(((), bytes))
}

/// Parses a quoted string behind its opening quote (RFC 9110 5.6.4).
fn quoted(mut bytes: &[u8]) -> Read<'_, ()> {
    loop {
        bytes = match bytes {
            [] | [b'\\'] => return Err(Stop::More),
            [b'"', rest @ ..] => return Ok(((), rest)),
            [b'\\', escaped, rest @ ..] if is_value_byte(*escaped) => rest,
            [byte, rest @ ..] if is_value_byte(*byte) && *byte != b'\\' => rest,
            _ => return Err(Stop::Bad),
        };
    }
}

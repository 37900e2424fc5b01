//! Heads: RFC 9112 2 to 5, with the target and Host of a request (RFC 9112 3).

use core::net::Ipv6Addr;

use super::bodies::{request_framing, response_framing};
use super::syntax::{
    any, field_lines, has_good_options, is_tchar, is_value_byte, is_vchar, literal, members,
    number, one, same, some, values,
};
use super::types::{Line, Read, RequestHead, ResponseHead, Stop};

/// Parses a request head that a gateway may act on.
///
/// # Errors
/// The head is incomplete or invalid.
pub fn request_head(bytes: &[u8]) -> Read<'_, RequestHead> {
    // RFC 9112 2.2: one empty line before the request line is ignored.
    let bytes = if bytes.starts_with(b"\r") {
        literal(bytes, b"\r\n")?.1
    } else {
        bytes
    };
    let (method, rest) = some(bytes, is_tchar)?;
    let ((), rest) = literal(rest, b" ")?;
    let (target, rest) = some(rest, is_vchar)?;
    let ((), rest) = literal(rest, b" ")?;
    let (minor, rest) = version(rest)?;
    let ((), rest) = literal(rest, b"\r\n")?;
    let (fields, rest) = field_lines(rest)?;
    let (path, query) = target_parts(method, target, minor, &fields).ok_or(Stop::Bad)?;
    let framing = request_framing(minor, &fields).ok_or(Stop::Bad)?;
    if !has_good_options(&fields) {
        return Err(Stop::Bad);
    }
    // RFC 9110 7.6.1: no option may name a field that is needed to understand the message.
    let nominated = |name: &[u8]| members(&fields, b"connection").any(|option| same(&option, name));
    if nominated(b"host") || nominated(b"content-length") || nominated(b"transfer-encoding") {
        return Err(Stop::Bad);
    }
    // RFC 9110 10.1.1.
    if minor == 1 && !values(&fields, b"expect").all(|value| same(value, b"100-continue")) {
        return Err(Stop::Bad);
    }
    let (method, target) = (method.to_vec(), target.to_vec());
    Ok((
        RequestHead {
            method,
            target,
            path,
            query,
            minor,
            fields,
            framing,
        },
        rest,
    ))
}

/// Parses a response head to a request with this method.
///
/// # Errors
/// The head is incomplete or invalid.
pub fn response_head<'a>(bytes: &'a [u8], method: &[u8]) -> Read<'a, ResponseHead> {
    let (minor, rest) = version(bytes)?;
    let ((), rest) = literal(rest, b" ")?;
    let (hundreds, rest) = one(rest, |byte| (b'1'..=b'5').contains(&byte))?;
    let (tens, rest) = one(rest, |byte| byte.is_ascii_digit())?;
    let (ones, rest) = one(rest, |byte| byte.is_ascii_digit())?;
    let status = [hundreds, tens, ones]
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let (reason, rest) = match rest {
        [b' ', rest @ ..] => any(rest, is_value_byte),
        _ => (&[][..], rest),
    };
    let ((), rest) = literal(rest, b"\r\n")?;
    let (fields, rest) = field_lines(rest)?;
    if !has_good_options(&fields) {
        return Err(Stop::Bad);
    }
    let framing = response_framing(minor, status, method, &fields).ok_or(Stop::Bad)?;
    Ok((
        ResponseHead {
            minor,
            status,
            reason: reason.to_vec(),
            fields,
            framing,
        },
        rest,
    ))
}

fn version(bytes: &[u8]) -> Read<'_, u8> {
    let ((), rest) = literal(bytes, b"HTTP/1.")?;
    let (minor, rest) = one(rest, |byte| matches!(byte, b'0' | b'1'))?;
    Ok((minor - b'0', rest))
}

fn target_parts(
    method: &[u8],
    target: &[u8],
    minor: u8,
    fields: &[Line],
) -> Option<(Vec<u8>, Vec<u8>)> {
    if method == b"CONNECT" || method == b"TRACE" || target.contains(&b'#') {
        return None;
    }
    let hosts: Vec<&[u8]> = values(fields, b"host").collect();
    let host = match hosts[..] {
        [] if minor == 0 => None,
        [host] => Some(authority(host)?),
        _ => return None,
    };
    if target == b"*" {
        return (method == b"OPTIONS").then(|| (Vec::new(), Vec::new()));
    }
    let at = target
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(target.len());
    let (hierarchy, query) = target.split_at(at);
    if hierarchy.contains(&b'\\') {
        return None;
    }
    if hierarchy.starts_with(b"/") {
        return Some((hierarchy.to_vec(), query.to_vec()));
    }
    let text = String::from_utf8(hierarchy.to_vec()).ok()?;
    let (scheme, rest) = text.split_once("://")?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let (named, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let named = authority(named.as_bytes())?;
    if let Some(host) = host
        && (!host.0.eq_ignore_ascii_case(named.0)
            || host.1.unwrap_or(default) != named.1.unwrap_or(default))
    {
        return None;
    }
    // RFC 9112 3.2.4: OPTIONS without a path asks about the server.
    let path = if !path.is_empty() || method == b"OPTIONS" && query.is_empty() {
        path
    } else {
        "/"
    };
    Some((path.as_bytes().to_vec(), query.to_vec()))
}

/// Splits an authority into host and port as written; the port is `None` if it has no digits
/// (RFC 3986 3.2.3).
fn authority(bytes: &[u8]) -> Option<(&str, Option<&str>)> {
    let text = core::str::from_utf8(bytes).ok()?;
    let (host, port) = match text
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
    {
        Some((host, port)) => (host, (!port.is_empty()).then_some(port)),
        None => (text, None),
    };
    let valid = match host
        .strip_prefix('[')
        .and_then(|literal| literal.strip_suffix(']'))
    {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        }
    };
    let in_range =
        port.is_none_or(|port| number(port.as_bytes()).is_some_and(|port| port <= 65_535));
    (valid && in_range).then_some((host, port))
}

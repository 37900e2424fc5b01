//! Rules that a rejected head breaks. The tokenizer does not report them, so the head is examined again.

use httparse::Error as TokenError;

use super::error::{LineFault, RequestError, RequestFault, ResponseError};
use super::field::{is_tchar, is_value_byte};
use super::proxy_header;
use super::scan::HeadLimits;
use crate::cost;

/// Returns the error for a complaint of the tokenizer. A start line that is too long stays a 414,
/// whatever else is wrong with it.
pub(super) fn request_error(
    error: TokenError,
    message: &[u8],
    limits: &HeadLimits,
) -> RequestError {
    let line = message
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    // The CR of the line is not removed yet.
    if line.len().saturating_sub(1) > limits.request_line_bytes {
        return RequestError::TargetTooLong;
    }
    match error {
        TokenError::Version | TokenError::Token if proxy_header::is_shown_by(line) => {
            RequestFault::ProxyHeader.into()
        }
        TokenError::TooManyHeaders => RequestError::TooManyFields,
        TokenError::Version => version_error(line),
        TokenError::HeaderName | TokenError::HeaderValue | TokenError::NewLine => {
            match line_fault(message) {
                // With CRLF at every line end, the tokenizer's fault is in the request line.
                LineFault::Line => RequestFault::Version.into(),
                fault => RequestFault::Lines(fault).into(),
            }
        }
        TokenError::Status | TokenError::Token => RequestFault::RequestLine.into(),
    }
}

/// RFC 9112 2.3: another version of HTTP is 505; anything else in its place, or beside it, is not a
/// request line (RFC 9112 3).
pub(super) fn version_error(line: &[u8]) -> RequestError {
    let Some(line) = line.strip_suffix(b"\r") else {
        return RequestFault::Lines(LineFault::BareLineEnd).into();
    };
    let mut parts = line.split(|&byte| byte == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(target), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit()
                && minor.is_ascii_digit()
                && target.iter().all(u8::is_ascii_graphic)
                && !target.is_empty() =>
        {
            RequestError::Version
        }
        _ => RequestFault::Version.into(),
    }
}

/// Returns the rule that a rejected response head breaks. The head is examined again, because the
/// tokenizer does not report the rule.
#[cold]
pub(super) fn response_fault(bytes: &[u8]) -> ResponseError {
    let is_whole = bytes.contains(&b'\n');
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = match line.strip_suffix(b"\r") {
        Some(line) => line,
        None if is_whole => return ResponseError::Lines(LineFault::BareLineEnd),
        None => line,
    };
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (version, status, reason) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let is_known = matches!(version, Some(b"HTTP/1.1" | b"HTTP/1.0"));
    match (version, status) {
        (Some(version), _) if !is_known && version.starts_with(b"HTTP/") => ResponseError::Version,
        (Some(_), Some([b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'])) if is_known => {
            let plain = reason.iter().all(|&byte| is_value_byte(byte));
            if plain {
                ResponseError::Lines(line_fault(bytes))
            } else {
                ResponseError::Reason
            }
        }
        (Some(_), Some([b'0'..=b'9', ..])) if is_known => ResponseError::Status,
        _ => ResponseError::StatusLine,
    }
}

/// Returns the first rule that the lines of a rejected head break. `head` begins with its start
/// line and may continue behind its blank line.
#[cold]
pub(super) fn line_fault(head: &[u8]) -> LineFault {
    cost::count(head.len().saturating_mul(3));
    for (at, line) in head.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let line = match line.strip_suffix(b"\n") {
            None => line,
            Some(line) => match line.strip_suffix(b"\r") {
                Some(line) => line,
                None => return LineFault::BareLineEnd,
            },
        };
        if line.contains(&b'\r') {
            return LineFault::BareLineEnd;
        }
        if at == 0 {
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = colon
            .and_then(|colon| line.split_at_checked(colon))
            .unwrap_or((line, &[]));
        let fault = match (line, name) {
            ([], _) => break,
            ([b' ' | b'\t', ..], _) => LineFault::Folded,
            _ if colon.is_none() => LineFault::NoColon,
            (_, []) => LineFault::EmptyName,
            (_, [.., b' ' | b'\t']) => LineFault::SpaceBeforeColon,
            _ if !name.iter().all(|&byte| is_tchar(byte)) => LineFault::Name,
            _ if !value.iter().all(|&byte| is_value_byte(byte)) => LineFault::Value,
            _ => continue,
        };
        return fault;
    }
    LineFault::Line
}

//! The parsers compared with the reference: both accept or both reject, and both read the same,
//! whole and in pieces.

#![expect(clippy::panic, reason = "a property that does not hold panics")]

use super::cost;
use super::reference::{self, Framing, Line, Stop};
use crate::http::chunked::{ChunkDecoder, ChunkError, ChunkStep};
use crate::http::connection::Connection;
use crate::http::error::{RequestError, ResponseError};
use crate::http::framing::{
    RequestBody, ResponseBody, expects_continue, request_body, response_body,
};
use crate::http::head::{
    FieldTable, Fields, HeadLimits, HeadScan, RequestHead, Version, parse_request, parse_response,
};
use crate::http::proxy_header::{self, WINDOW};
use crate::http::target::parse_target;
use crate::limits::PROXY_HEADER_BYTES_MAX;

const LIMITS: HeadLimits = HeadLimits::DEFAULT;

/// A request head is parsed as the reference parses it, whole and in pieces, or both reject it.
pub fn request_head(bytes: &[u8]) {
    let expected =
        reference::request_head(bytes).map(|(head, rest)| (head, bytes.len() - rest.len()));
    for piece in [usize::MAX, 1, 7] {
        let read = cost::within(bytes.len(), cost::HEAD_STEPS, 200, || {
            in_pieces(bytes, piece, |seen, scan, table| {
                Ok(parse_request(seen, scan, table, &LIMITS)?.map(|head| (admit(&head), head.len)))
            })
        });
        let read = match read {
            Ok(Some((Ok(head), len))) => Ok(Some((head, len))),
            Ok(Some((Err(error), _))) | Err(error) => Err(error),
            Ok(None) => Ok(None),
        };
        match (read, &expected) {
            (Ok(Some(read)), Ok(expected)) => {
                assert_eq!(&read, expected, "read differently, pieces of {piece}")
            }
            // The reference has no limits.
            (
                Err(
                    RequestError::TargetTooLong
                    | RequestError::HeadTooLarge
                    | RequestError::TooManyFields,
                ),
                _,
            ) => {}
            (Ok(None) | Err(_), Err(Stop::Bad)) | (Ok(None), Err(Stop::More)) => {}
            (read, expected) => {
                panic!("{read:?} where the reference says {expected:?}, pieces of {piece}")
            }
        }
    }
}

/// A header of the PROXY protocol is read the same whole, in any of its fronts, and with more bytes
/// behind it.
pub fn proxy_header(bytes: &[u8]) {
    let window = bytes.get(..WINDOW).unwrap_or(bytes);
    let whole = cost::within(bytes.len(), 2, WINDOW as u64, || proxy_header::parse(bytes));
    assert_eq!(
        whole,
        proxy_header::parse(window),
        "bytes behind the window count"
    );
    for cut in 0..=window.len() {
        let front = window.get(..cut).unwrap_or_default();
        match (proxy_header::parse(front), whole) {
            (Ok(None), _) => {}
            (found @ Ok(Some((_, length))), whole) => {
                assert_eq!(found, whole, "cut at {cut}");
                assert!(length > 0 && length <= PROXY_HEADER_BYTES_MAX);
            }
            (Err(_), whole) => assert!(whole.is_err(), "refused at {cut}, then read"),
        }
    }
}

/// Makes all checks of a head that the engine makes before it acts on the request.
fn admit(head: &RequestHead<'_>) -> Result<reference::RequestHead, RequestError> {
    let target = parse_target(head)?;
    let framing = match request_body(head)? {
        RequestBody::Empty => Framing::None,
        RequestBody::Sized(length) => Framing::Length(length),
        RequestBody::Chunked => Framing::Chunked,
    };
    Connection::of(&head.fields).check_request()?;
    expects_continue(head)?;
    Ok(reference::RequestHead {
        method: head.method.to_vec(),
        target: head.target.to_vec(),
        path: target.path.to_vec(),
        query: target.query.to_vec(),
        minor: minor(head.version),
        fields: lines(&head.fields),
        framing,
    })
}

/// A response head is parsed as the reference parses it, as the response to a GET and to a HEAD.
pub fn response_head(bytes: &[u8]) {
    for method in [&b"GET"[..], b"HEAD"] {
        let expected = reference::response_head(bytes, method)
            .map(|(head, rest)| (head, bytes.len() - rest.len()));
        for piece in [usize::MAX, 1, 7] {
            let before = crate::cost::steps();
            let read = in_pieces(bytes, piece, |seen, scan, table| {
                match parse_response(seen, scan, table, &LIMITS)? {
                    None => Ok(None),
                    Some(head) => {
                        Connection::of(&head.fields).check_response()?;
                        let framing = match response_body(&head, method == b"HEAD")?.body {
                            ResponseBody::Empty => Framing::None,
                            ResponseBody::Sized(0) if head.status == 205 => Framing::None,
                            ResponseBody::Sized(length) => Framing::Length(length),
                            ResponseBody::Chunked => Framing::Chunked,
                            ResponseBody::UntilClose => Framing::UntilClose,
                        };
                        let (minor, fields) = (minor(head.version), lines(&head.fields));
                        let reason = head.reason.to_vec();
                        Ok(Some((
                            reference::ResponseHead {
                                minor,
                                status: head.status,
                                reason,
                                fields,
                                framing,
                            },
                            head.len,
                        )))
                    }
                }
            });
            let steps = crate::cost::steps() - before;
            assert!(
                steps <= cost::HEAD_STEPS * bytes.len() as u64 + 200,
                "{steps} steps for {} bytes",
                bytes.len()
            );
            match (read, &expected) {
                (Ok(Some(read)), Ok(expected)) => {
                    assert_eq!(&read, expected, "read differently, pieces of {piece}")
                }
                (Err(ResponseError::HeadTooLarge | ResponseError::TooManyFields), _) => {}
                (Ok(None) | Err(_), Err(Stop::Bad)) | (Ok(None), Err(Stop::More)) => {}
                (read, expected) => {
                    panic!("{read:?} where the reference says {expected:?}, pieces of {piece}")
                }
            }
        }
    }
}

fn minor(version: Version) -> u8 {
    u8::from(version == Version::Http11)
}

fn lines(fields: &Fields<'_>) -> Vec<Line> {
    fields
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}

/// Feeds a head parser in pieces of `piece` bytes, until it decides or the bytes end.
fn in_pieces<T, E>(
    bytes: &[u8],
    piece: usize,
    mut parse: impl FnMut(&[u8], &mut HeadScan, &mut FieldTable) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    let mut end = 0_usize;
    loop {
        end = bytes.len().min(end.saturating_add(piece));
        match parse(bytes.get(..end).unwrap_or(bytes), &mut scan, &mut table)? {
            None if end < bytes.len() => {}
            decided => return Ok(decided),
        }
    }
}

/// A chunked body is decoded as the reference decodes it, whole and in pieces, up to the same byte,
/// or both reject it.
pub fn chunked(bytes: &[u8]) {
    let expected = reference::chunked(bytes).map(|(body, rest)| (body, bytes.len() - rest.len()));
    for piece in [usize::MAX, 1, 3, 16] {
        let read = cost::within(bytes.len(), cost::CHUNKED_STEPS, 0, || decode(bytes, piece));
        match (read, &expected) {
            (Ok(Some(read)), Ok(expected)) => {
                assert_eq!(&read, expected, "decoded differently in pieces of {piece}")
            }
            (Ok(None), Err(Stop::More)) | (Err(_), Err(Stop::Bad)) => {}
            // The reference checks the size at the end.
            (Err(ChunkError::TooLarge), Err(Stop::More)) => {}
            (read, expected) => {
                panic!("{read:?} where the reference says {expected:?}, pieces of {piece}")
            }
        }
    }
}

/// Returns the data and the number of consumed bytes; `None` if more bytes are needed.
fn decode(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
    let (mut decoder, mut data, mut rest) = (ChunkDecoder::new(), Vec::new(), bytes);
    while !rest.is_empty() {
        let input = rest.get(..piece.min(rest.len())).unwrap_or(rest);
        let used = match decoder.step(input)? {
            ChunkStep::Need => input.len(),
            ChunkStep::Skip(n) => n,
            ChunkStep::Data { skip, len } => {
                data.extend_from_slice(input.get(skip..skip + len).unwrap_or_default());
                skip + len
            }
            ChunkStep::End { skip } => return Ok(Some((data, bytes.len() - rest.len() + skip))),
        };
        rest = rest.get(used..).unwrap_or_default();
    }
    Ok(None)
}

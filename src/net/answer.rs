//! Responses that a command reads, one from each connection.

use core::fmt;
use std::io;
use std::time::UNIX_EPOCH;

use crate::http::chunked::{ChunkDecoder, ChunkStep};
use crate::http::error::ResponseError;
use crate::http::field::Name;
use crate::http::framing::{ResponseBody, response_body};
use crate::http::head::{FieldTable, HeadLimits, HeadScan, ResponseHead, parse_response};
use crate::limits::{FIELDS_MAX, INTERIM_RESPONSES_MAX, RESPONSE_HEAD_BYTES};
use crate::time::UnixTime;

/// Response.
pub(super) struct Answer {
    /// Status code.
    pub(super) status: u16,
    /// `Date`; `None`: there is none, or it is no date.
    pub(super) date: Option<UnixTime>,
    /// Value of `Content-Encoding`, if there is one.
    pub(super) coding: Option<String>,
    /// Body; empty if it was not asked for.
    pub(super) body: Vec<u8>,
}

/// Source of the bytes of a response.
pub(super) trait Source {
    /// Appends the bytes that come next, at least one.
    ///
    /// # Errors
    /// `UnexpectedEof`: there are no more. Others: the connection failed, or the time is over.
    fn more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()>;
}

/// Bytes of a response that come next, and the connection behind them.
struct Rest<'a> {
    source: &'a mut dyn Source,
    bytes: Vec<u8>,
}

/// Reads one response. `most`: the most bytes of its body; `None`: the head is enough.
pub(super) fn read(source: &mut dyn Source, most: Option<usize>) -> io::Result<Answer> {
    let mut rest = Rest {
        source,
        bytes: Vec::new(),
    };
    for _ in 0..INTERIM_RESPONSES_MAX {
        let (mut answer, framing) = rest.head()?;
        // None was asked to switch, and what follows is not HTTP (RFC 9110 7.8).
        if answer.status == 101 {
            return Err(malformed(ResponseError::Switch));
        }
        if !(100..=199).contains(&answer.status) {
            if let Some(most) = most {
                answer.body = rest.body(framing, most)?;
            }
            return Ok(answer);
        }
    }
    Err(malformed(ResponseError::TooManyInterim))
}

/// Says of an end in the middle of a head how many bytes came before it.
fn cut_off(error: io::Error, came: usize) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof if came > 0 => io::Error::new(
            io::ErrorKind::ConnectionAborted,
            format!("in the middle of the head of its response, after {came} bytes"),
        ),
        _ => error,
    }
}

impl Rest<'_> {
    fn more(&mut self) -> io::Result<()> {
        self.source.more(&mut self.bytes)
    }

    fn head(&mut self) -> io::Result<(Answer, ResponseBody)> {
        let limits = HeadLimits {
            head_bytes: RESPONSE_HEAD_BYTES,
            request_line_bytes: RESPONSE_HEAD_BYTES,
            fields: FIELDS_MAX,
        };
        let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
        let (answer, framing, len) = loop {
            let head = parse_response(&self.bytes, &mut scan, &mut table, &limits);
            if let Some(head) = head.map_err(malformed)? {
                let framing = response_body(&head, false).map_err(malformed)?.body;
                break (answer_of(&head), framing, head.len);
            }
            self.more()
                .map_err(|error| cut_off(error, self.bytes.len()))?;
        };
        self.bytes.drain(..len.min(self.bytes.len()));
        Ok((answer, framing))
    }

    fn body(mut self, framing: ResponseBody, most: usize) -> io::Result<Vec<u8>> {
        match framing {
            ResponseBody::Empty => Ok(Vec::new()),
            ResponseBody::Sized(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > most {
                    return Err(too_long());
                }
                while self.bytes.len() < length {
                    self.more()?;
                }
                self.bytes.truncate(length);
                Ok(self.bytes)
            }
            ResponseBody::Chunked => self.chunks(most),
            ResponseBody::UntilClose => loop {
                match self.more() {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(self.bytes);
                    }
                    more => more?,
                }
                if self.bytes.len() > most {
                    return Err(too_long());
                }
            },
        }
    }

    fn chunks(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let (mut body, mut decoder) = (Vec::new(), ChunkDecoder::new());
        loop {
            let mut rest = self.bytes.as_slice();
            while !rest.is_empty() && !decoder.is_done() {
                let (skip, len) = match decoder.step(rest) {
                    Ok(ChunkStep::Data { skip, len }) => (skip, len),
                    Ok(ChunkStep::Skip(skip) | ChunkStep::End { skip }) => (skip, 0),
                    Ok(ChunkStep::Need) => (rest.len(), 0),
                    Err(fault) => return Err(malformed(ResponseError::Body(fault))),
                };
                rest = rest.get(skip..).unwrap_or_default();
                let (data, behind) = rest.split_at_checked(len).unwrap_or_default();
                body.extend_from_slice(data);
                rest = behind;
            }
            if decoder.is_done() {
                return Ok(body);
            }
            if body.len() > most {
                return Err(too_long());
            }
            self.bytes.clear();
            self.more()?;
        }
    }
}

fn answer_of(head: &ResponseHead<'_>) -> Answer {
    let mut fields = head.fields.iter();
    let coding = fields.find(|field| field.name.eq_ignore_ascii_case(b"content-encoding"));
    let coding = coding.map(|field| String::from_utf8_lossy(field.value).into_owned());
    let date = head.fields.first(Name::Date);
    let date = date.and_then(|date| core::str::from_utf8(date).ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    Answer {
        status: head.status,
        date: date.map(|since| UnixTime::from_millis(since.as_millis() as u64)),
        coding,
        body: Vec::new(),
    }
}

/// Fault of a response, inside of the error that is returned.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) ResponseError);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no HTTP/1.1 response: {}", self.0)
    }
}

impl core::error::Error for Malformed {}

fn malformed(fault: ResponseError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed(fault))
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a response that is too long")
}

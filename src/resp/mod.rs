//! RESP2, the protocol of Valkey and Redis: replies of a server as tokens, and commands to it.
//!
//! A reply is read token by token, without a copy: an array is a token with the number of items that
//! follow. Each token has a bound, so that a server cannot make the gateway hold more than a few
//! kilobytes. Nesting is the reader's affair, which knows the replies that it waits for. Out of
//! scope: RESP3, which a server speaks only after `HELLO 3`; which commands are sent (`policy`).
//!
//! Source: the specification "RESP protocol" of redis.io, version 2.

use crate::cost;
use crate::digits;

/// Upper bound of the bytes of a line, its end included: a status, an error, a number or a length.
pub const LINE_BYTES_MAX: usize = 1024;
/// Upper bound of the bytes of a bulk string.
pub const BULK_BYTES_MAX: usize = 4 << 10;
/// Upper bound of the items of an array.
pub const ITEMS_MAX: u64 = 1024;

/// Part of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token<'a> {
    /// Status such as `OK`.
    Status(&'a [u8]),
    /// Error of the server, such as `NOAUTH Authentication required.`.
    Error(&'a [u8]),
    /// Whole number.
    Integer(i64),
    /// Bulk string.
    Bulk(&'a [u8]),
    /// Bulk string or array that does not exist.
    Null,
    /// Array. This number of items follows.
    Array(u64),
}

/// Rule of the protocol that a reply breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A reply begins with another byte than `+`, `-`, `:`, `$` or `*`.
    Kind,
    /// A line is longer than [`LINE_BYTES_MAX`].
    LongLine,
    /// A CR without LF, or a LF without CR, or a control character in a line.
    LineEnd,
    /// A number has another form than an optional sign and digits, or is too large.
    Number,
    /// A bulk string is longer than [`BULK_BYTES_MAX`].
    LongBulk,
    /// A bulk string does not end with CRLF where its length says.
    BulkEnd,
    /// An array has more than [`ITEMS_MAX`] items.
    ManyItems,
}

impl Fault {
    /// Returns the fault as words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Kind => "a reply of an unknown kind",
            Fault::LongLine => "a line of more than 1024 bytes",
            Fault::LineEnd => "a line that does not end with CRLF",
            Fault::Number => "a malformed number",
            Fault::LongBulk => "a string of more than 4096 bytes",
            Fault::BulkEnd => "a string that does not end where its length says",
            Fault::ManyItems => "an array of more than 1024 items",
        }
    }
}

/// Reader of tokens. It remembers how far it looked for the end of a line, so that bytes that come
/// one by one are looked at once.
#[derive(Default)]
pub struct Reader {
    scanned: usize,
}

impl Reader {
    /// Reads the token that `bytes` begin with. Returns it with its length; `None` if it is not
    /// complete, and the next call gets the same bytes and more.
    ///
    /// # Errors
    /// The bytes are no token. What follows cannot be read.
    pub fn token<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Token<'a>, usize)>, Fault> {
        let Some((&kind, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
            return Err(Fault::Kind);
        }
        let Some(line) = self.line(rest)? else {
            return Ok(None);
        };
        // The kind, and CRLF.
        let length = line.len().saturating_add(3);
        let token = match kind {
            b'+' => Token::Status(line),
            b'-' => Token::Error(line),
            b':' => Token::Integer(integer(line).ok_or(Fault::Number)?),
            _ if line == b"-1" => Token::Null,
            b'*' => match digits::parse(line).ok_or(Fault::Number)? {
                items if items > ITEMS_MAX => return Err(Fault::ManyItems),
                items => Token::Array(items),
            },
            _ => return self.bulk(bytes, line, length),
        };
        self.scanned = 0;
        Ok(Some((token, length)))
    }

    /// Reads the bulk string whose line has these bytes and ends at `start`.
    fn bulk<'a>(
        &mut self,
        bytes: &'a [u8],
        line: &[u8],
        start: usize,
    ) -> Result<Option<(Token<'a>, usize)>, Fault> {
        let length = digits::parse(line).ok_or(Fault::Number)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > BULK_BYTES_MAX {
            return Err(Fault::LongBulk);
        }
        let rest = bytes.get(start..).unwrap_or_default();
        let Some((text, end)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        match end {
            [b'\r', b'\n', ..] => {
                self.scanned = 0;
                let whole = start.saturating_add(length).saturating_add(2);
                Ok(Some((Token::Bulk(text), whole)))
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(Fault::BulkEnd),
        }
    }

    /// Returns the line that `bytes` begin with, without its CRLF.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        let end = fresh.iter().position(u8::is_ascii_control);
        cost::count(end.unwrap_or(fresh.len()));
        let end = self.scanned.saturating_add(end.unwrap_or(fresh.len()));
        if end.saturating_add(2) > LINE_BYTES_MAX {
            return Err(Fault::LongLine);
        }
        self.scanned = end;
        let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        match rest {
            [b'\r', b'\n', ..] => Ok(Some(line)),
            [] | [b'\r'] => Ok(None),
            _ => Err(Fault::LineEnd),
        }
    }
}

/// Parses an optional minus sign and digits.
pub fn integer(line: &[u8]) -> Option<i64> {
    match line.strip_prefix(b"-") {
        Some(digits) => i64::try_from(digits::parse(digits)?).ok()?.checked_neg(),
        None => i64::try_from(digits::parse(line)?).ok(),
    }
}

/// Appends a command: an array of bulk strings.
pub fn command(parts: &[&[u8]], out: &mut Vec<u8>) {
    number(b'*', parts.len(), out);
    for part in parts {
        number(b'$', part.len(), out);
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

fn number(kind: u8, value: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(digits::write(value as u64, &mut [0; 20]));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads all tokens. The bytes come in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, Fault> {
        let (mut reader, mut tokens, mut start) = (Reader::default(), Vec::new(), 0);
        let mut end = 0;
        while end < bytes.len() {
            end = bytes.len().min(end + piece);
            while let Some((token, length)) = reader.token(&bytes[start..end])? {
                tokens.push(format!("{token:?}"));
                start += length;
            }
        }
        if start < bytes.len() {
            tokens.push(format!("{} bytes left", bytes.len() - start));
        }
        Ok(tokens)
    }

    #[test]
    fn replies_whole_and_byte_by_byte() {
        use Token::{Array, Bulk, Error, Integer, Null, Status};
        let rows: &[(&[u8], &[Token<'_>])] = &[
            (b"+OK\r\n", &[Status(b"OK")]),
            (b"+\r\n", &[Status(b"")]),
            (b"-ERR no\r\n", &[Error(b"ERR no")]),
            (b":0\r\n", &[Integer(0)]),
            (b":-2\r\n", &[Integer(-2)]),
            (
                b":999999999999999999\r\n",
                &[Integer(999_999_999_999_999_999)],
            ),
            (b"$0\r\n\r\n", &[Bulk(b"")]),
            (b"$4\r\na\r\nb\r\n", &[Bulk(b"a\r\nb")]),
            (b"$-1\r\n", &[Null]),
            (b"*-1\r\n", &[Null]),
            (b"*0\r\n", &[Array(0)]),
            (
                b"*3\r\n+OK\r\n:7\r\n:60000\r\n+OK\r\n",
                &[
                    Array(3),
                    Status(b"OK"),
                    Integer(7),
                    Integer(60000),
                    Status(b"OK"),
                ],
            ),
        ];
        for (bytes, tokens) in rows {
            let expected = tokens.iter().map(|token| format!("{token:?}"));
            let expected = Ok(expected.collect::<Vec<_>>());
            for piece in 1..=bytes.len() {
                assert_eq!(read(bytes, piece), expected, "pieces of {piece}");
            }
        }
    }

    #[test]
    fn faults_whole_and_byte_by_byte() {
        let long = [b"+".as_slice(), &[b'x'; LINE_BYTES_MAX]].concat();
        let rows: &[(&[u8], Fault)] = &[
            (b"HTTP/1.1 400 Bad Request\r\n", Fault::Kind),
            (b"_\r\n", Fault::Kind),
            (b"\r\n", Fault::Kind),
            (&long, Fault::LongLine),
            (b"+OK\n", Fault::LineEnd),
            (b"+O\rK\r\n", Fault::LineEnd),
            (b"+O\0K\r\n", Fault::LineEnd),
            (b":\r\n", Fault::Number),
            (b":+1\r\n", Fault::Number),
            (b":1a\r\n", Fault::Number),
            (b":--1\r\n", Fault::Number),
            (b":9999999999999999999\r\n", Fault::Number),
            (b"$-2\r\n", Fault::Number),
            (b"*-2\r\n", Fault::Number),
            (b"$4097\r\n", Fault::LongBulk),
            (b"$99999999999999999999\r\n", Fault::Number),
            (b"$2\r\nabc\r\n", Fault::BulkEnd),
            (b"*1025\r\n", Fault::ManyItems),
        ];
        for (bytes, fault) in rows {
            for piece in 1..=bytes.len() {
                assert_eq!(read(bytes, piece), Err(*fault), "{bytes:?} {piece}");
            }
        }
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut out = Vec::new();
        command(&[b"SET", b"k\r\n", b""], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
    }

    proptest! {
        /// Cuts change nothing, no token is empty, and the work is a few steps a byte.
        #[test]
        fn pieces_do_not_matter(
            bytes in proptest::collection::vec(
                prop_oneof![
                    4 => proptest::sample::select(b"+-:$*\r\n0123".as_slice()),
                    1 => any::<u8>(),
                ],
                0..64,
            ),
            piece in 1_usize..8,
        ) {
            let before = cost::steps();
            let pieces = read(&bytes, piece);
            let steps = cost::steps() - before;
            prop_assert!(steps <= 4 * bytes.len() as u64 + 4, "{steps} steps");
            prop_assert_eq!(pieces, read(&bytes, 64));
        }
    }
}

//! Outgoing heads. Only [`HeadWriter::finish`] writes framing fields.

use crate::buffer::{Appender, Buffer};
use crate::digits;

/// Framing of an outgoing message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// No framing field: there is no body, or it ends with the connection.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

impl Framing {
    /// Most bytes of the line of a framing.
    pub const BYTES: usize = b"Content-Length: \r\n".len() + digits::DECIMAL;
}

/// Error: the head did not fit into the buffer, which contains nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadTooLarge;

/// Writer of one head into a buffer. If something does not fit, [`finish`](Self::finish) fails.
pub struct HeadWriter<'b> {
    out: Appender<'b>,
}

impl<'b> HeadWriter<'b> {
    /// Starts a request, with the target in parts. The version is always HTTP/1.1 (RFC 9112 2.3).
    #[inline(always)]
    pub fn request(out: &'b mut Buffer, method: &[u8], target: &[&[u8]]) -> HeadWriter<'b> {
        let mut writer = HeadWriter {
            out: out.appender(),
        };
        writer.put(method);
        writer.put(b" ");
        for part in target.iter().filter(|part| !part.is_empty()) {
            writer.put(part);
        }
        writer.put(b" HTTP/1.1\r\n");
        writer
    }

    /// Starts a response; `status` has three digits.
    #[inline(always)]
    pub fn response(out: &'b mut Buffer, status: u16, reason: &[u8]) -> HeadWriter<'b> {
        let mut writer = HeadWriter {
            out: out.appender(),
        };
        let [hundreds, tens, ones] =
            [status / 100, status / 10, status].map(|part| digits::last(u64::from(part)));
        writer.put(&[
            b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', hundreds, tens, ones, b' ',
        ]);
        writer.put(reason);
        writer.put(b"\r\n");
        writer
    }

    /// Adds a field; `name` includes its colon and a space.
    #[inline]
    pub fn field(&mut self, name: &'static [u8], value: &[u8]) {
        self.field_parts(name, &[value]);
    }

    /// Adds a field whose value comes in parts.
    #[inline]
    pub fn field_parts(&mut self, name: &'static [u8], value: &[&[u8]]) {
        debug_assert!(
            name.ends_with(b": ") && has_no_framing(name),
            "a framing field came in by another way"
        );
        self.put(name);
        for part in value {
            self.put(part);
        }
        self.put(b"\r\n");
    }

    /// Adds whole lines that were validated by the parser or written by the gateway.
    pub fn lines(&mut self, lines: &[u8]) {
        debug_assert!(
            has_no_framing(lines),
            "a framing field came in by another way"
        );
        self.put(lines);
    }

    /// Adds the framing and the blank line.
    ///
    /// # Errors
    /// The head did not fit.
    #[inline(always)]
    pub fn finish(mut self, framing: Framing) -> Result<(), HeadTooLarge> {
        match framing {
            Framing::None => self.put(b"\r\n"),
            Framing::Length(length) => {
                let mut text = [0; digits::DECIMAL];
                let text = digits::write(length, &mut text);
                self.put(b"Content-Length: ");
                self.put(text);
                self.put(b"\r\n\r\n");
            }
            Framing::Chunked => self.put(b"Transfer-Encoding: chunked\r\n\r\n"),
        }
        if self.out.done() {
            Ok(())
        } else {
            Err(HeadTooLarge)
        }
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.out.push(bytes);
    }
}

/// Returns true if none of these lines is a framing field.
pub fn has_no_framing(lines: &[u8]) -> bool {
    !lines.split(|&byte| byte == b'\n').any(|line| {
        [&b"content-length:"[..], b"transfer-encoding:"]
            .iter()
            .any(|name| {
                line.get(..name.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(name))
            })
    })
}

/// Returns the reason phrase of a status that the gateway sends itself (RFC 9110 15).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        304 => "Not Modified",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;

    #[test]
    fn heads_are_written_byte_for_byte() {
        let mut out = BufferPool::new().lend(1024);
        let mut writer = HeadWriter::request(&mut out, b"GET", &[b"/a", b"/b", b"?c"]);
        writer.field(b"Host: ", b"h");
        writer.lines(b"X: y\r\nZ:\r\n");
        assert_eq!(writer.finish(Framing::Length(u64::MAX)), Ok(()));
        let mut writer = HeadWriter::response(&mut out, 404, b"Not Found");
        writer.field_parts(b"A: ", &[b"b", b"c"]);
        assert_eq!(writer.finish(Framing::Chunked), Ok(()));
        assert_eq!(
            HeadWriter::response(&mut out, 204, b"").finish(Framing::None),
            Ok(())
        );
        let expected = "GET /a/b?c HTTP/1.1\r\nHost: h\r\nX: y\r\nZ:\r\nContent-Length: 18446744073709551615\r\n\r\n\
             HTTP/1.1 404 Not Found\r\nA: bc\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 204 \r\n\r\n";
        assert_eq!(String::from_utf8_lossy(out.filled()), expected);
    }

    #[test]
    fn what_does_not_fit_fails_at_the_end() {
        let mut out = BufferPool::new().lend(1024);
        let mut writer = HeadWriter::response(&mut out, 200, b"OK");
        writer.lines(&[b'x'; 2000]);
        writer.lines(b"A: b\r\n");
        assert_eq!(writer.finish(Framing::None), Err(HeadTooLarge));
        assert!(out.is_empty(), "nothing of it counts");
    }

    #[test]
    #[should_panic = "framing field"]
    #[cfg(debug_assertions)]
    fn framing_has_one_way_in() {
        let mut out = BufferPool::new().lend(1024);
        let mut writer = HeadWriter::response(&mut out, 200, b"OK");
        writer.lines(b"A: b\r\ncontent-LENGTH: 5\r\n");
        let _ = writer.finish(Framing::Chunked);
    }
}

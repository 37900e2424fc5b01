//! Heads on their way out. Framing is written by [`HeadWriter::finish`] and by nothing else.

use crate::buffer::Buffer;
use crate::digits;

/// The framing of an outgoing message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// No framing field: there is no body, or the end of the connection ends it.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// The head did not fit the buffer it was written into; the buffer holds only a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadTooLarge;

/// Writes one head into a buffer. What does not fit is remembered, and [`finish`](Self::finish) fails.
pub struct HeadWriter<'b> {
    out: &'b mut Buffer,
    /// Where this head starts in the buffer.
    start: usize,
    fits: bool,
}

impl<'b> HeadWriter<'b> {
    /// Begins a request; the target comes in parts. We always speak HTTP/1.1 (RFC 9112 2.3).
    pub fn request(out: &'b mut Buffer, method: &[u8], target: &[&[u8]]) -> HeadWriter<'b> {
        let mut writer = HeadWriter { start: out.len(), out, fits: true };
        writer.put(method);
        writer.put(b" ");
        for part in target {
            writer.put(part);
        }
        writer.put(b" HTTP/1.1\r\n");
        writer
    }

    /// Begins a response; `status` has three digits.
    pub fn response(out: &'b mut Buffer, status: u16, reason: &[u8]) -> HeadWriter<'b> {
        let mut writer = HeadWriter { start: out.len(), out, fits: true };
        let [hundreds, tens, ones] = [status / 100, status / 10, status].map(|part| digits::last(u64::from(part)));
        writer.put(b"HTTP/1.1 ");
        writer.put(&[hundreds, tens, ones, b' ']);
        writer.put(reason);
        writer.put(b"\r\n");
        writer
    }

    /// Adds a field.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.field_parts(name, &[value]);
    }

    /// Adds a field whose value comes in parts.
    pub fn field_parts(&mut self, name: &[u8], value: &[&[u8]]) {
        self.put(name);
        self.put(b": ");
        for part in value {
            self.put(part);
        }
        self.put(b"\r\n");
    }

    /// Adds whole lines that were validated when they were parsed, or written by us.
    pub fn lines(&mut self, lines: &[u8]) {
        self.put(lines);
    }

    /// Adds the framing and the blank line.
    ///
    /// # Errors
    /// Something did not fit.
    pub fn finish(mut self, framing: Framing) -> Result<(), HeadTooLarge> {
        debug_assert!(self.has_no_framing(), "a framing field came in by another way");
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                let mut text = [0; 20];
                let text = digits::write(length, &mut text);
                self.put(b"Content-Length: ");
                self.put(text);
                self.put(b"\r\n");
            }
            Framing::Chunked => self.put(b"Transfer-Encoding: chunked\r\n"),
        }
        self.put(b"\r\n");
        if self.fits { Ok(()) } else { Err(HeadTooLarge) }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.fits = self.fits && self.out.push(bytes);
    }

    /// Reads the head again, as a check of ourselves.
    fn has_no_framing(&self) -> bool {
        let head = self.out.filled().get(self.start..).unwrap_or_default();
        !head.split(|&byte| byte == b'\n').any(|line| {
            [&b"content-length:"[..], b"transfer-encoding:"]
                .iter()
                .any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
        })
    }
}

/// The reason phrase of a status that tollgate sends itself (RFC 9110 15).
pub fn reason(status: u16) -> &'static str {
    match status {
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
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
        writer.field(b"Host", b"h");
        writer.lines(b"X: y\r\nZ:\r\n");
        assert_eq!(writer.finish(Framing::Length(u64::MAX)), Ok(()));
        let mut writer = HeadWriter::response(&mut out, 404, b"Not Found");
        writer.field_parts(b"A", &[b"b", b"c"]);
        assert_eq!(writer.finish(Framing::Chunked), Ok(()));
        assert_eq!(HeadWriter::response(&mut out, 204, b"").finish(Framing::None), Ok(()));
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

//! Replies of the gateway's own: head and body.

use super::response::{Blocks, write_rate};
use crate::buffer::{Buffer, joined_len};
use crate::digits;
use crate::http::emit::{Framing, HeadTooLarge, HeadWriter};
use crate::policy::rate_fields::RateFields;
use crate::policy::reply::Reply;

/// Content of a reply.
#[derive(Clone, Copy)]
pub(in crate::proxy) enum Content<'a> {
    /// A fixed reply, with its body.
    Reply(Reply),
    /// 204 to an OPTIONS request, and the `Access-Control-Request-Headers` to echo.
    Options(Option<&'a [u8]>),
    /// A reply with this status and without a body.
    Bare(u16),
    /// A redirect with this status; the second value are the parts of `Location`.
    Redirect(u16, &'a [&'a [u8]]),
    /// A response from outside: of an authentication service (forward-auth), or of `respond`.
    Response {
        /// Status of that response.
        status: u16,
        /// Field line `Content-Type`, if the lines of the reply do not have it.
        type_line: &'a [u8],
        /// Body of that response.
        body: &'a [u8],
    },
}

impl Content<'_> {
    /// Returns the status.
    pub(in crate::proxy) fn status(self) -> u16 {
        match self {
            Content::Reply(reply) => reply.status(),
            Content::Options(_) => 204,
            Content::Bare(status)
            | Content::Redirect(status, _)
            | Content::Response { status, .. } => status,
        }
    }

    /// Bytes from outside, which the bound of a reply does not include.
    fn variable_bytes(self) -> usize {
        match self {
            Content::Options(Some(asked)) => asked.len(),
            Content::Redirect(_, parts) => joined_len(parts.iter().map(|part| part.len())),
            Content::Response {
                type_line, body, ..
            } => joined_len([type_line.len(), body.len()]),
            _ => 0,
        }
    }

    /// Returns the number of bytes of the body.
    pub(in crate::proxy) fn body_bytes(self) -> u64 {
        match self {
            Content::Reply(reply) => reply.body().len() as u64,
            Content::Response { body, .. } => body.len() as u64,
            Content::Options(_) | Content::Bare(_) | Content::Redirect(..) => 0,
        }
    }
}

/// Parts of the gateway's own reply besides its content.
pub(in crate::proxy) struct ReplyParts<'a> {
    pub(in crate::proxy) blocks: Blocks<'a>,
    pub(in crate::proxy) date: &'a [u8],
    pub(in crate::proxy) close: bool,
    /// `Retry-After` in seconds.
    pub(in crate::proxy) retry_after: Option<u64>,
    /// Complete lines of this reply only. The lines of a 405 include `Allow`.
    pub(in crate::proxy) lines: &'a [u8],
    /// Field line with the id of the request.
    pub(in crate::proxy) id_line: &'a [u8],
    /// Fields of the rate limit.
    pub(in crate::proxy) rate: Option<RateFields<'a>>,
    /// True for a HEAD request, whose reply has no body.
    pub(in crate::proxy) is_head: bool,
    /// HTML in place of the JSON of a fixed reply. `Some(None)`: there is a page, and the client asks
    /// for none.
    pub(in crate::proxy) page: Option<Option<&'a [u8]>>,
}

/// The methods tollgate passes on that have a registered meaning (RFC 9110 10.2.1).
const ALLOW: &[u8] = b"GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS";

impl ReplyParts<'_> {
    /// Returns an upper bound of the bytes of head and body.
    pub(in crate::proxy) fn bound(&self, content: Content<'_>) -> usize {
        let blocks = self.blocks.bound();
        let rate = self.rate.map_or(0, |rate| rate.bound());
        let lines = joined_len([self.lines.len(), self.id_line.len(), rate]);
        let page = self.page.flatten().map_or(0, <[u8]>::len);
        joined_len([blocks, lines, content.variable_bytes(), page, 512])
    }

    /// Returns the number of bytes of the body that is sent.
    pub(in crate::proxy) fn body_bytes(&self, content: Content<'_>) -> u64 {
        match self.page {
            _ if self.is_head => 0,
            Some(Some(page)) => page.len() as u64,
            _ => content.body_bytes(),
        }
    }

    /// Writes head and body.
    pub(in crate::proxy) fn write(
        &self,
        content: Content<'_>,
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        match content {
            Content::Reply(reply) => self.write_reply(reply, out),
            Content::Options(asked_headers) => self.write_options(asked_headers, out),
            Content::Bare(status) => self.write_redirect(status, &[], out),
            Content::Redirect(status, parts) => self.write_redirect(status, parts, out),
            Content::Response {
                status,
                type_line,
                body,
            } => self.write_response(status, (type_line, body), out),
        }
    }

    fn write_reply(&self, reply: Reply, out: &mut Buffer) -> Result<(), HeadTooLarge> {
        let status = reply.status();
        let (media, body): (&[u8], _) = match self.page.flatten() {
            Some(page) => (b"text/html; charset=utf-8", page),
            None => (b"application/json; charset=utf-8", reply.body()),
        };
        let mut writer =
            HeadWriter::response(out, status, crate::http::emit::reason(status).as_bytes());
        writer.field(b"Content-Type: ", media);
        if self.page.is_some() {
            writer.field(b"Vary: ", b"Accept");
        }
        writer.field(b"Date: ", self.date);
        if status == 405 && self.lines.is_empty() {
            writer.field(b"Allow: ", ALLOW);
        }
        if let Some(seconds) = self.retry_after {
            writer.field(b"Retry-After: ", digits::write(seconds, &mut [0; 20]));
        }
        self.write_rest(writer, Framing::Length(body.len() as u64))?;
        if self.is_head || out.push(body) {
            Ok(())
        } else {
            Err(HeadTooLarge)
        }
    }

    /// Writes a response from outside.
    fn write_response(
        &self,
        status: u16,
        (type_line, body): (&[u8], &[u8]),
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer =
            HeadWriter::response(out, status, crate::http::emit::reason(status).as_bytes());
        writer.lines(type_line);
        writer.field(b"Date: ", self.date);
        // RFC 9110 8.6: no Content-Length in a 204; a 304 needs none.
        let framing = match status {
            204 | 304 => Framing::None,
            _ => Framing::Length(body.len() as u64),
        };
        self.write_rest(writer, framing)?;
        if self.is_head || out.push(body) {
            Ok(())
        } else {
            Err(HeadTooLarge)
        }
    }

    /// Writes a head with an empty body. `location`: parts of `Location`; without any, the lines of
    /// the reply have the field.
    fn write_redirect(
        &self,
        status: u16,
        location: &[&[u8]],
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer =
            HeadWriter::response(out, status, crate::http::emit::reason(status).as_bytes());
        if !location.is_empty() {
            writer.field_parts(b"Location: ", location);
        }
        writer.field(b"Date: ", self.date);
        self.write_rest(writer, Framing::Length(0))
    }

    fn write_rest(&self, mut writer: HeadWriter<'_>, framing: Framing) -> Result<(), HeadTooLarge> {
        writer.lines(self.lines);
        writer.lines(self.id_line);
        write_rate(self.rate, &mut writer);
        self.blocks.write(None, &mut writer);
        if self.close {
            writer.field(b"Connection: ", b"close");
        }
        writer.finish(framing)
    }

    /// Writes the answer to an OPTIONS: 204, no body, no security headers.
    fn write_options(
        &self,
        asked_headers: Option<&[u8]>,
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer = HeadWriter::response(out, 204, b"No Content");
        match self.blocks.cors {
            Some(cors) => {
                cors.preflight_lines(self.blocks.origin, asked_headers, |line| writer.lines(line))
            }
            None => writer.field(b"Allow: ", ALLOW),
        }
        writer.lines(self.id_line);
        writer.field(b"Date: ", self.date);
        if self.close {
            writer.field(b"Connection: ", b"close");
        }
        writer.finish(Framing::None)
    }
}

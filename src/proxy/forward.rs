//! The heads that leave: a request's towards its upstream, a response's towards its client, and replies of our own.
//!
//! Everything is written from parsed values. Lines nobody touches are copied in runs, in their order and spelling; hop-by-hop
//! and framing fields never are (RFC 9110 7.6.1), and the message gets the framing that we use ourselves.

use core::net::IpAddr;

use crate::buffer::{Buffer, total};
use crate::digits;
use crate::http::connection::Connection;
use crate::http::emit::{Framing, HeadTooLarge, HeadWriter};
use crate::http::field::{Name, NameSet};
use crate::http::head::{Field, Fields, RequestHead, ResponseHead, Version};
use crate::policy::cors::Cors;
use crate::policy::reply::Reply;
use crate::policy::security::SecurityBlock;

/// Fields that belong to one connection, or that we write ourselves, in a request.
const REQUEST_DROPS: NameSet = NameSet::of(&[
    Name::Host,
    Name::ContentLength,
    Name::TransferEncoding,
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::ProxyAuthorization,
    Name::Te,
    Name::Trailer,
    Name::Upgrade,
    Name::Expect,
    Name::Http2Settings,
    Name::XClientSubject,
    Name::Underscored,
    // No field of HTTP: a CGI program finds it as HTTP_PROXY, which its HTTP client takes for its proxy (httpoxy).
    Name::Proxy,
]);

/// What a client says of itself and nobody may believe (RFC 7239 8.1).
const FORWARDED: NameSet = NameSet::of(&[
    Name::XForwardedFor,
    Name::XForwardedProto,
    Name::XForwardedHost,
    Name::XForwardedOther,
    Name::XRealIp,
    Name::Forwarded,
]);

/// Fields that belong to one connection, or that we write ourselves, in a response.
const RESPONSE_DROPS: NameSet = NameSet::of(&[
    Name::ContentLength,
    Name::TransferEncoding,
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::ProxyAuthenticate,
    Name::ProxyAuthenticationInfo,
    Name::Te,
    Name::Trailer,
    Name::Upgrade,
    Name::XPoweredBy,
]);

/// What a request head towards an upstream is made of, beside the client's own head.
pub(super) struct RequestParts<'a> {
    /// The rewritten path in two parts, then the query.
    pub(super) target: [&'a [u8]; 3],
    pub(super) host: &'a [u8],
    pub(super) connection: &'a Connection<'a>,
    /// The peer itself, for X-Forwarded-For; `None` for a unix socket.
    pub(super) peer: Option<IpAddr>,
    /// Whether the peer's own X-Forwarded-* are kept.
    pub(super) trusted: bool,
    /// Whether the client came over TLS.
    pub(super) secure: bool,
    /// Whom the client's certificate is for.
    pub(super) subject: Option<&'a [u8]>,
    /// The host the client asked for.
    pub(super) asked_host: Option<&'a [u8]>,
    pub(super) websocket: bool,
    /// What `Max-Forwards` becomes, if it must change (RFC 9110 7.6.2).
    pub(super) max_forwards: Option<u64>,
    pub(super) framing: Framing,
    /// Headers that only the gateway sends: a client's own are dropped.
    pub(super) gateway_headers: &'a [String],
    /// What they are, as whole lines.
    pub(super) lines: &'a [u8],
}

impl RequestParts<'_> {
    /// The most bytes the head can take, given the client's.
    pub(super) fn bound(&self, head: &RequestHead<'_>) -> usize {
        let parts = self.target.into_iter().chain([self.host, self.lines]);
        let parts = parts
            .chain(self.asked_host)
            .chain(self.subject)
            .map(<[u8]>::len);
        total(parts.chain([head.len, 384]))
    }

    /// Writes the head.
    pub(super) fn write(
        &self,
        head: &RequestHead<'_>,
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        // What hangs on the target is in the first two lines, and only there: `respell` relies on it.
        let mut writer = HeadWriter::request(out, head.method, &self.target);
        writer.field(b"Host: ", self.host);
        let mut drops = REQUEST_DROPS.union(self.replaced(&head.fields));
        if self.max_forwards.is_some() {
            drops = drops.union(NameSet::of(&[Name::MaxForwards]));
        }
        // Known once: most gateways say nothing of users, and the lines of a head are many.
        let says = !self.gateway_headers.is_empty();
        let nominated = self.connection.nominated();
        let looks = says || nominated.is_some();
        let is_dropped = looks.then_some(|field: &Field<'_>| {
            nominated
                .as_ref()
                .is_some_and(|nominated| nominated.has(field.name))
                || (says && self.is_said(field))
        });
        head.fields
            .runs(drops, is_dropped, |lines| writer.lines(lines));
        self.write_forwarded(head, &mut writer);
        if says {
            writer.lines(self.lines);
        }
        let http10 = head.version == Version::Http10;
        writer.lines(if http10 {
            b"Via: 1.0 tollgate\r\n"
        } else {
            b"Via: 1.1 tollgate\r\n"
        });
        if let Some(left) = self.max_forwards {
            writer.field_parts(b"Max-Forwards: ", &[digits::write(left, &mut [0; 20])]);
        }
        if self.websocket {
            writer.field(b"Connection: ", b"Upgrade");
            writer.field(b"Upgrade: ", b"websocket");
        }
        writer.finish(self.framing)
    }

    /// What the client says of itself and the gateway says in its place. A trusted peer's proto and host stand, unless they are
    /// empty, which says nothing.
    fn replaced(&self, fields: &Fields<'_>) -> NameSet {
        if !self.trusted {
            return FORWARDED;
        }
        let mut replaced = NameSet::of(&[Name::XForwardedFor]);
        for name in [Name::XForwardedProto, Name::XForwardedHost] {
            if !fields.says(name) {
                replaced.insert(name);
            }
        }
        replaced
    }

    /// Whether only the gateway sends this header.
    #[cold]
    fn is_said(&self, field: &Field<'_>) -> bool {
        crate::cost::count(self.gateway_headers.len());
        self.gateway_headers
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Writes the head of a question about the request, whose path and query these are, to a service that decides about it:
    /// everything the client says end to end but [what belongs to the request alone](is_about_this_request), and where the
    /// request goes.
    pub(super) fn write_question(
        &self,
        head: &RequestHead<'_>,
        uri: &[&[u8]],
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer = HeadWriter::request(out, b"GET", &self.target);
        writer.field(b"Host: ", self.host);
        let nominated = self.connection.nominated();
        let is_dropped = |field: &Field<'_>| {
            nominated
                .as_ref()
                .is_some_and(|nominated| nominated.has(field.name))
                || is_about_this_request(field.name)
                || (self.is_said(field) && !is_clients_own(field.name))
        };
        let drops = REQUEST_DROPS.union(self.replaced(&head.fields));
        head.fields
            .runs(drops, Some(is_dropped), |lines| writer.lines(lines));
        writer.field(b"X-Forwarded-Method: ", head.method);
        writer.field_parts(b"X-Forwarded-Uri: ", uri);
        self.write_forwarded(head, &mut writer);
        if !head
            .fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(b"Accept"))
        {
            writer.field(b"Accept: ", b"*/*");
        }
        writer.field(b"Accept-Encoding: ", b"identity");
        writer.finish(self.framing)
    }

    fn write_forwarded(&self, head: &RequestHead<'_>, writer: &mut HeadWriter<'_>) {
        let mut text = [0; digits::ADDRESS];
        let address = self.peer.map(|address| digits::address(address, &mut text));
        if self.trusted {
            let chain = head.fields.get_all(Name::XForwardedFor);
            let mut chain = chain.filter(|value| !value.is_empty()).peekable();
            let mut appended = false;
            while let Some(value) = chain.next() {
                match address {
                    Some(address) if chain.peek().is_none() => {
                        writer.field_parts(b"X-Forwarded-For: ", &[value, b", ", address]);
                        appended = true;
                    }
                    _ => writer.field(b"X-Forwarded-For: ", value),
                }
            }
            if let Some(address) = address.filter(|_| !appended) {
                writer.field(b"X-Forwarded-For: ", address);
            }
        } else if let Some(address) = address {
            writer.field(b"X-Forwarded-For: ", address);
        }
        if !(self.trusted && head.fields.says(Name::XForwardedProto)) {
            let secure = self.secure;
            writer.lines(if secure {
                b"X-Forwarded-Proto: https\r\n"
            } else {
                b"X-Forwarded-Proto: http\r\n"
            });
        }
        if let Some(subject) = self.subject {
            writer.field(b"X-Client-Subject: ", subject);
        }
        if let Some(host) = self.asked_host
            && !(self.trusted && head.fields.says(Name::XForwardedHost))
        {
            writer.field(b"X-Forwarded-Host: ", host);
        }
    }
}

/// Whether a field of a request says something that would be wrong in a question about it: about its content (RFC 9110 8, RFC
/// 9530), which does not go along; about the representation that is asked for (RFC 9110 13, 14), which is another one; the coding
/// of the answer, which is read here; or what the gateway itself says of where the request goes. `X-Original-…` and
/// `X-Rewrite-…` are other names for that, which many services believe.
fn is_about_this_request(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 13] = [
        b"Digest",
        b"Repr-Digest",
        b"Want-Content-Digest",
        b"Want-Repr-Digest",
        b"Range",
        b"If-Range",
        b"If-Match",
        b"If-None-Match",
        b"If-Modified-Since",
        b"If-Unmodified-Since",
        b"Accept-Encoding",
        b"X-Forwarded-Method",
        b"X-Forwarded-Uri",
    ];
    const STARTS: [&[u8]; 3] = [b"Content-", b"X-Original-", b"X-Rewrite-"];
    let starts = |start: &[u8]| {
        name.get(..start.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(start))
    };
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)) || STARTS.into_iter().any(starts)
}

/// Whether a client says this field for itself, although a provider may set it for the upstream.
fn is_clients_own(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Authorization") || name.eq_ignore_ascii_case(b"Cookie")
}

/// The header blocks that every response gets.
pub(super) struct Blocks<'a> {
    pub(super) cors: Option<&'a Cors>,
    pub(super) security: Option<&'a SecurityBlock>,
    /// The request's `Origin`.
    pub(super) origin: Option<&'a [u8]>,
}

impl Blocks<'_> {
    fn bound(&self) -> usize {
        total([
            self.security.map_or(0, |block| block.whole().len()),
            self.cors.map_or(0, Cors::bound),
            self.origin.map_or(0, <[u8]>::len),
        ])
    }

    /// Fields of the upstream's that these stand in for.
    fn replaces(&self, sent: &Fields<'_>) -> NameSet {
        match self.cors {
            Some(cors) if !sent.has(Name::AccessControlAllowOrigin) => cors.replaces(),
            _ => NameSet::EMPTY,
        }
    }

    /// Adds them, except what the upstream said itself.
    fn write(&self, sent: Option<&Fields<'_>>, writer: &mut HeadWriter<'_>) {
        if let Some(cors) = self.cors
            && sent.is_none_or(|fields| !fields.has(Name::AccessControlAllowOrigin))
        {
            cors.origin_lines(self.origin, |line| writer.lines(line));
        }
        let Some(block) = self.security else { return };
        match sent.filter(|fields| block.may_overlap(fields.present())) {
            None => writer.lines(block.whole()),
            Some(fields) => {
                for (name, line) in block.lines() {
                    if !fields
                        .iter()
                        .any(|field| field.name.eq_ignore_ascii_case(name))
                    {
                        writer.lines(line);
                    }
                }
            }
        }
    }
}

/// What a response head towards a client is made of, beside the upstream's own head.
pub(super) struct ResponseParts<'a> {
    pub(super) connection: &'a Connection<'a>,
    pub(super) blocks: Blocks<'a>,
    /// IMF-fixdate, used when the upstream sent no `Date`, or an empty one (RFC 9110 6.6.1).
    pub(super) date: &'a [u8],
    pub(super) close: bool,
    pub(super) framing: Framing,
    /// Whole lines that go behind the upstream's own: see [`Grant::client_lines`](crate::policy::auth::grant::Grant::client_lines).
    pub(super) lines: &'a [u8],
}

impl ResponseParts<'_> {
    /// The most bytes the head can take, given the upstream's.
    pub(super) fn bound(&self, head: &ResponseHead<'_>) -> usize {
        total([head.len, self.blocks.bound(), self.lines.len(), 192])
    }

    /// Writes a final head.
    pub(super) fn write(
        &self,
        head: &ResponseHead<'_>,
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer = HeadWriter::response(out, head.status, head.reason);
        let mut drops = RESPONSE_DROPS.union(self.blocks.replaces(&head.fields));
        let is_dated = head.fields.says(Name::Date);
        if !is_dated {
            drops.insert(Name::Date);
        }
        copy_lines(&mut writer, &head.fields, drops, self.connection);
        writer.lines(self.lines);
        if !is_dated {
            writer.field(b"Date: ", self.date);
        }
        self.blocks.write(Some(&head.fields), &mut writer);
        if self.close {
            writer.field(b"Connection: ", b"close");
        }
        writer.finish(self.framing)
    }
}

/// The most bytes [`write_interim`] can take, given the upstream's head.
pub(super) fn interim_bound(head: &ResponseHead<'_>) -> usize {
    head.len.saturating_add(64)
}

/// Writes a 1xx head as it came, without what belongs to the connection; for a 101, with what makes it one. `lines`: whole lines
/// that go behind the upstream's own.
pub(super) fn write_interim(
    head: &ResponseHead<'_>,
    connection: &Connection<'_>,
    lines: &[u8],
    out: &mut Buffer,
) -> Result<(), HeadTooLarge> {
    let mut writer = HeadWriter::response(out, head.status, head.reason);
    copy_lines(&mut writer, &head.fields, RESPONSE_DROPS, connection);
    writer.lines(lines);
    if head.status == 101 {
        writer.field(b"Connection: ", b"Upgrade");
        writer.field(b"Upgrade: ", b"websocket");
    }
    writer.finish(Framing::None)
}

/// A reply of our own.
pub(super) struct ReplyParts<'a> {
    pub(super) blocks: Blocks<'a>,
    pub(super) date: &'a [u8],
    pub(super) close: bool,
    /// `Retry-After` in seconds.
    pub(super) retry_after: Option<u64>,
    /// Whole lines that only this one has; a 405 among them says `Allow` itself.
    pub(super) lines: &'a [u8],
    /// No body for HEAD.
    pub(super) is_head: bool,
}

/// The methods tollgate passes on that have a registered meaning (RFC 9110 10.2.1).
const ALLOW: &[u8] = b"GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS";

impl ReplyParts<'_> {
    /// The most bytes head and body can take.
    pub(super) fn bound(&self) -> usize {
        total([self.blocks.bound(), self.lines.len(), 512])
    }

    /// Writes head and body.
    pub(super) fn write(&self, reply: Reply, out: &mut Buffer) -> Result<(), HeadTooLarge> {
        let status = reply.status();
        let body = reply.body();
        let mut writer =
            HeadWriter::response(out, status, crate::http::emit::reason(status).as_bytes());
        writer.field(b"Content-Type: ", b"application/json; charset=utf-8");
        writer.field(b"Date: ", self.date);
        if status == 405 && self.lines.is_empty() {
            writer.field(b"Allow: ", ALLOW);
        }
        if let Some(seconds) = self.retry_after {
            writer.field(b"Retry-After: ", digits::write(seconds, &mut [0; 20]));
        }
        self.write_rest(writer, body.len() as u64)?;
        if self.is_head || out.push(body) {
            Ok(())
        } else {
            Err(HeadTooLarge)
        }
    }

    /// Writes what somebody else says in our place; of what kind the body is stands in the lines.
    pub(super) fn write_auth_denial(
        &self,
        status: u16,
        body: &[u8],
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer =
            HeadWriter::response(out, status, crate::http::emit::reason(status).as_bytes());
        writer.field(b"Date: ", self.date);
        self.write_rest(writer, body.len() as u64)?;
        if self.is_head || out.push(body) {
            Ok(())
        } else {
            Err(HeadTooLarge)
        }
    }

    /// Writes a head with an empty body.
    pub(super) fn write_bare(&self, status: u16, out: &mut Buffer) -> Result<(), HeadTooLarge> {
        let mut writer =
            HeadWriter::response(out, status, crate::http::emit::reason(status).as_bytes());
        writer.field(b"Date: ", self.date);
        self.write_rest(writer, 0)
    }

    fn write_rest(&self, mut writer: HeadWriter<'_>, body_bytes: u64) -> Result<(), HeadTooLarge> {
        writer.lines(self.lines);
        self.blocks.write(None, &mut writer);
        if self.close {
            writer.field(b"Connection: ", b"close");
        }
        writer.finish(Framing::Length(body_bytes))
    }

    /// Writes the answer to an OPTIONS: 204, no body, no security headers.
    pub(super) fn write_options(
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
        writer.field(b"Date: ", self.date);
        if self.close {
            writer.field(b"Connection: ", b"close");
        }
        writer.finish(Framing::None)
    }
}

/// Copies the lines of a response that stay.
fn copy_lines(
    writer: &mut HeadWriter<'_>,
    fields: &Fields<'_>,
    drops: NameSet,
    connection: &Connection<'_>,
) {
    let nominated = connection.nominated();
    let nominated = nominated
        .as_ref()
        .map(|nominated| |field: &Field<'_>| nominated.has(field.name));
    fields.runs(drops, nominated, |lines| writer.lines(lines));
}

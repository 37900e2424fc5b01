//! Request heads towards an upstream, and the questions about a request to an authentication
//! service.

use core::net::IpAddr;

use crate::buffer::{Buffer, joined_len};
use crate::digits;
use crate::http::connection::Connection;
use crate::http::emit::{Framing, HeadTooLarge, HeadWriter};
use crate::http::field::{Name, NameSet};
use crate::http::head::{Field, Fields, RequestHead, Version};
use crate::http::trace;
use crate::policy::request_id::IdField;

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
    // No field of HTTP: a CGI program finds it as HTTP_PROXY, which its HTTP client takes for its
    // proxy (httpoxy).
    Name::Proxy,
]);

/// Fields in which a client describes itself, which must not be believed (RFC 7239 8.1).
const FORWARDED: NameSet = NameSet::of(&[
    Name::XForwardedFor,
    Name::XForwardedProto,
    Name::XForwardedHost,
    Name::XForwardedOther,
    Name::XRealIp,
    Name::Forwarded,
]);

// Text that the gateway writes; `bound` adds it up.
const CRLF: usize = b"\r\n".len();
const HOST: &[u8] = b"Host: ";
const FORWARDED_FOR: &[u8] = b"X-Forwarded-For: ";
const COMMA: &[u8] = b", ";
/// The longer one of the two lines.
const FORWARDED_HTTPS: &[u8] = b"X-Forwarded-Proto: https\r\n";
const FORWARDED_HOST: &[u8] = b"X-Forwarded-Host: ";
/// As long as the other one.
const VIA: &[u8] = b"Via: 1.1 tollgate\r\n";
const SUBJECT: &[u8] = b"X-Client-Subject: ";
const MAX_FORWARDS: &[u8] = b"Max-Forwards: ";
const UPGRADE: &[u8] = b"Connection: Upgrade\r\nUpgrade: websocket\r\n";
const SUBREQUEST_METHOD: &[u8] = b"GET";
const FORWARDED_METHOD: &[u8] = b"X-Forwarded-Method: ";
const FORWARDED_URI: &[u8] = b"X-Forwarded-Uri: ";
const ACCEPT: &[u8] = b"Accept: */*\r\n";
const IDENTITY: &[u8] = b"Accept-Encoding: identity\r\n";

/// Bytes that the gateway may add to every head, without the texts of the request and its service:
/// the line of the address, whose name may also stand before a longer list of the peer's, three
/// other lines, and the CRLF at the end.
const ALWAYS: usize = HOST.len()
    + FORWARDED_FOR.len()
    + COMMA.len()
    + FORWARDED_HTTPS.len()
    + FORWARDED_HOST.len()
    + VIA.len()
    + 4 * CRLF;

/// Parts of a request head towards an upstream, besides the client's own head.
pub(in crate::proxy) struct RequestParts<'a> {
    /// The rewritten path in two parts, then the query.
    pub(in crate::proxy) target: [&'a [u8]; 3],
    pub(in crate::proxy) host: &'a [u8],
    pub(in crate::proxy) connection: &'a Connection<'a>,
    /// The peer itself, for X-Forwarded-For; `None` for a unix socket.
    pub(in crate::proxy) peer: Option<IpAddr>,
    /// True if the peer's own X-Forwarded-* are kept.
    pub(in crate::proxy) trusted: bool,
    /// True if the client came over TLS.
    pub(in crate::proxy) secure: bool,
    /// Subject of the client's certificate.
    pub(in crate::proxy) subject: Option<&'a [u8]>,
    /// The host the client asked for.
    pub(in crate::proxy) asked_host: Option<&'a [u8]>,
    pub(in crate::proxy) websocket: bool,
    /// New value of `Max-Forwards`, if it must change (RFC 9110 7.6.2).
    pub(in crate::proxy) max_forwards: Option<u64>,
    pub(in crate::proxy) framing: Framing,
    /// Field line with the id of the request.
    pub(in crate::proxy) id: IdField<'a>,
    /// Headers that only the gateway sends: a client's own are dropped.
    pub(in crate::proxy) gateway_headers: &'a [String],
    /// `X-Forwarded-Prefix` as a whole line, unless a trusted peer says it; or empty.
    pub(in crate::proxy) prefix_line: &'a [u8],
    /// Values of these headers, as whole lines.
    pub(in crate::proxy) lines: &'a [u8],
}

impl RequestParts<'_> {
    /// The most bytes the head can take, given the client's. The buffer of the head is as large, and
    /// most requests wait with it for their response: so what few heads have is only counted where
    /// they have it.
    #[inline(always)]
    pub(in crate::proxy) fn bound(&self, head: &RequestHead<'_>) -> usize {
        let [path, rest, query] = self.target.map(<[u8]>::len);
        let parts = [self.host, self.prefix_line, self.lines, self.id.line].map(<[u8]>::len);
        let asked_host = self.asked_host.map_or(0, <[u8]>::len);
        let address = match self.peer {
            Some(IpAddr::V4(_)) => digits::ADDRESS_V4,
            _ => digits::ADDRESS,
        };
        let mut bound = joined_len([head.len, path, rest, query, asked_host, address, ALWAYS]);
        bound = bound.saturating_add(joined_len(parts));
        if let Some(subject) = self.subject {
            bound = joined_len([bound, SUBJECT.len(), subject.len(), CRLF]);
        }
        if self.trusted {
            // A line of the peer's may have no space behind its colon, and is written with one.
            bound = bound.saturating_add(head.fields.len());
        }
        if self.websocket {
            bound = bound.saturating_add(UPGRADE.len());
        }
        if self.max_forwards.is_some() {
            bound = joined_len([bound, MAX_FORWARDS.len(), digits::DECIMAL, CRLF]);
        }
        if self.framing != Framing::None {
            bound = bound.saturating_add(Framing::BYTES);
        }
        bound
    }

    /// The most bytes of the head that [`write_subrequest`](Self::write_subrequest) writes with this
    /// path and query.
    pub(in crate::proxy) fn subrequest_bound(
        &self,
        head: &RequestHead<'_>,
        uri: &[&[u8]],
    ) -> usize {
        let ours = [
            SUBREQUEST_METHOD,
            FORWARDED_METHOD,
            FORWARDED_URI,
            ACCEPT,
            IDENTITY,
        ];
        let ours = joined_len(ours.map(|text| text.len().saturating_add(CRLF)));
        let uri = joined_len(uri.iter().map(|part| part.len()));
        joined_len([self.bound(head), ours, head.method.len(), uri])
    }

    /// Writes the head.
    pub(in crate::proxy) fn write(
        &self,
        head: &RequestHead<'_>,
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        // What depends on the target is in the first three lines, and only there: `retarget` relies
        // on it.
        let mut writer = HeadWriter::request(out, head.method, &self.target);
        writer.field(HOST, self.host);
        if !self.prefix_line.is_empty() {
            writer.lines(self.prefix_line);
        }
        let replaced = self.replaced(&head.fields).union(self.id.replaces);
        let mut drops = REQUEST_DROPS.union(replaced);
        drops = drops.union(trace::dropped(&head.fields));
        if self.max_forwards.is_some() {
            drops = drops.union(NameSet::of(&[Name::MaxForwards]));
        }
        // Known once: most gateways say nothing of users, and the lines of a head are many.
        let says = !self.gateway_headers.is_empty();
        let nominated = self.connection.nominated();
        let looks = says || nominated.is_some() || !self.id.name.is_empty();
        let is_dropped = looks.then_some(|field: &Field<'_>| {
            nominated
                .as_ref()
                .is_some_and(|nominated| nominated.has(field.name))
                || (says && self.is_said(field))
                || self.id.replaces_named(field.name)
        });
        head.fields
            .runs(drops, is_dropped, |lines| writer.lines(lines));
        self.write_forwarded(head, &mut writer);
        if says {
            writer.lines(self.lines);
        }
        writer.lines(self.id.line);
        let http10 = head.version == Version::Http10;
        writer.lines(if http10 {
            b"Via: 1.0 tollgate\r\n"
        } else {
            VIA
        });
        if let Some(left) = self.max_forwards {
            let mut text = [0; digits::DECIMAL];
            writer.field_parts(MAX_FORWARDS, &[digits::write(left, &mut text)]);
        }
        if self.websocket {
            writer.lines(UPGRADE);
        }
        writer.finish(self.framing)
    }

    /// Returns the fields of the client that the gateway replaces. A trusted peer's proto and host
    /// stand, unless they are empty, which says nothing.
    #[inline(always)]
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

    /// Returns whether only the gateway sends this header.
    #[cold]
    fn is_said(&self, field: &Field<'_>) -> bool {
        crate::cost::count(self.gateway_headers.len());
        self.gateway_headers
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Writes the head of a question about the request, whose path and query these are, to a
    /// service that decides about it: everything the client says end to end but [what belongs to
    /// the request alone](is_about_this_request), and where the request goes.
    pub(in crate::proxy) fn write_subrequest(
        &self,
        head: &RequestHead<'_>,
        uri: &[&[u8]],
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer = HeadWriter::request(out, SUBREQUEST_METHOD, &self.target);
        writer.field(HOST, self.host);
        let nominated = self.connection.nominated();
        let is_dropped = |field: &Field<'_>| {
            nominated
                .as_ref()
                .is_some_and(|nominated| nominated.has(field.name))
                || is_about_this_request(field.name)
                || (self.is_said(field) && !is_clients_own(field.name))
                || self.id.replaces_named(field.name)
        };
        let replaced = self.replaced(&head.fields).union(self.id.replaces);
        let drops = REQUEST_DROPS.union(replaced);
        let drops = drops.union(trace::dropped(&head.fields));
        head.fields
            .runs(drops, Some(is_dropped), |lines| writer.lines(lines));
        writer.field(FORWARDED_METHOD, head.method);
        writer.field_parts(FORWARDED_URI, uri);
        self.write_forwarded(head, &mut writer);
        writer.lines(self.id.line);
        if !head
            .fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(b"Accept"))
        {
            writer.lines(ACCEPT);
        }
        writer.lines(IDENTITY);
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
                        writer.field_parts(FORWARDED_FOR, &[value, COMMA, address]);
                        appended = true;
                    }
                    _ => writer.field(FORWARDED_FOR, value),
                }
            }
            if let Some(address) = address.filter(|_| !appended) {
                writer.field(FORWARDED_FOR, address);
            }
        } else if let Some(address) = address {
            writer.field(FORWARDED_FOR, address);
        }
        if !(self.trusted && head.fields.says(Name::XForwardedProto)) {
            let secure = self.secure;
            writer.lines(if secure {
                FORWARDED_HTTPS
            } else {
                b"X-Forwarded-Proto: http\r\n"
            });
        }
        if let Some(subject) = self.subject {
            writer.field(SUBJECT, subject);
        }
        if let Some(host) = self.asked_host
            && !(self.trusted && head.fields.says(Name::XForwardedHost))
        {
            writer.field(FORWARDED_HOST, host);
        }
    }
}

/// Returns whether a field of a request says something that would be wrong in a question about it:
/// about its content (RFC 9110 8, RFC 9530), which does not go along; about the representation that
/// is asked for (RFC 9110 13, 14), which is another one; the coding of the answer, which is read
/// here; or what the gateway itself says of where the request goes. `X-Original-…` and
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

/// Returns whether a client says this field for itself, although a provider may set it for the
/// upstream.
fn is_clients_own(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Authorization") || name.eq_ignore_ascii_case(b"Cookie")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};

    const LIMITS: HeadLimits = HeadLimits::DEFAULT;

    /// Returns the written head and the one about it, each with its bound.
    fn written(head: &RequestHead<'_>, parts: &RequestParts<'_>) -> [(String, usize); 2] {
        let uri: [&[u8]; 2] = [head.target, b"?a=b"];
        let mut outs = [(); 2].map(|()| BufferPool::new().lend(20_000));
        let [out, about] = &mut outs;
        parts.write(head, out).expect("room");
        parts.write_subrequest(head, &uri, about).expect("room");
        let bounds = [parts.bound(head), parts.subrequest_bound(head, &uri)];
        let texts = outs.map(|out| String::from_utf8_lossy(out.filled()).into_owned());
        let [text, about] = texts;
        let [bound, about_bound] = bounds;
        [(text, bound), (about, about_bound)]
    }

    /// Heads that are all additions: nothing of the client's is dropped but what comes back longer.
    #[test]
    fn no_head_is_longer_than_its_bound() {
        let v6 = "2001:db8:1111:2222:3333:4444:5555:6666".parse().ok();
        let v4 = "255.255.255.255".parse().ok();
        let few = "M /p HTTP/1.1\r\n\r\n".to_owned();
        let lists = format!(
            "GET /p HTTP/1.0\r\nVia:x\r\n{}\r\n",
            "X-Forwarded-For:1\r\n".repeat(90)
        );
        let mut tightest = usize::MAX;
        for (text, trusted, secure, websocket, framing) in [
            (&few, false, true, false, Framing::None),
            (&few, false, true, true, Framing::None),
            (&few, true, true, false, Framing::Chunked),
            (&few, true, false, true, Framing::Length(u64::MAX)),
            (&lists, true, true, true, Framing::Length(u64::MAX)),
            (&lists, false, true, false, Framing::None),
        ] {
            let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
            let head = parse_request(text.as_bytes(), &mut scan, &mut table, &LIMITS);
            let head = head.expect("a good head").expect("a whole head");
            for (extras, peer) in [(None, v6), (Some(&b"CN=someone"[..]), v6), (None, v4)] {
                let parts = RequestParts {
                    target: [b"/base", b"/p", b"?q"],
                    host: b"upstream.test",
                    connection: &Connection::of(&head.fields),
                    peer,
                    trusted,
                    secure,
                    subject: extras,
                    asked_host: extras.map(|_| &b"asked.test"[..]),
                    websocket,
                    max_forwards: extras.map(|_| u64::MAX),
                    framing,
                    id: IdField {
                        line: b"X-Id: 1\r\n",
                        ..IdField::default()
                    },
                    gateway_headers: &["X-User".to_owned()],
                    prefix_line: b"X-Forwarded-Prefix: /p\r\n",
                    lines: b"X-User: 1\r\n",
                };
                for (text, bound) in written(&head, &parts) {
                    let spare = bound.checked_sub(text.len());
                    let spare = spare.unwrap_or_else(|| panic!("{bound} bytes for {text}"));
                    tightest = tightest.min(spare);
                }
            }
        }
        assert!(tightest < 40, "the bound is {tightest} bytes too large");
    }
}

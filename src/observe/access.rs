//! Lines of the access log: Apache's combined format, or one JSON object a line.
//!
//! Lines are ASCII, whatever a client sends: bytes that could end a line or start an escape
//! sequence in a terminal are escaped.

use core::fmt;
use core::net::IpAddr;

use super::date::DateCache;
use crate::bytes;
use crate::digits;
use crate::time::{Duration, UnixTime};

/// Format of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessFormat {
    /// Apache's combined format.
    Combined,
    /// JSON, one object a line.
    Json,
    /// No access log.
    Off,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Outcome of an exchange.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Outcome {
            $($(#[$doc])* $variant,)*
        }

        impl Outcome {
            /// All outcomes, in the order of their declaration.
            pub const ALL: &[Outcome] = &[$(Outcome::$variant,)*];

            /// Returns the name in the log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Outcome::$variant => $text,)*
                }
            }
        }
    };
}

outcomes! {
    /// Complete response.
    Ok = "ok",
    /// The client closed the connection.
    ClientClosed = "client_closed",
    /// The client was too slow.
    ClientTimeout = "client_timeout",
    /// The upstream accepted no connection.
    UpstreamRefused = "upstream_refused",
    /// The network has no route to the upstream.
    UpstreamUnreachable = "upstream_unreachable",
    /// The health checks of all targets of the service fail.
    NoTargetUp = "no_target_up",
    /// The upstream's name has no address.
    UpstreamUnresolved = "upstream_unresolved",
    /// The TLS handshake with the upstream failed.
    UpstreamTls = "upstream_tls",
    /// The upstream closed the connection.
    UpstreamClosed = "upstream_closed",
    /// The upstream's response is not valid HTTP.
    UpstreamMalformed = "upstream_malformed",
    /// The upstream did not send in time.
    UpstreamTimeout = "upstream_timeout",
    /// Reply 429.
    RateLimited = "rate_limited",
    /// Reply 503 of a limit whose store is down.
    StoreDown = "store_down",
    /// Reply 503 of a service that is in maintenance.
    Maintenance = "maintenance",
    /// Reply 404 or 405.
    NoRoute = "no_route",
    /// The request was rejected as invalid.
    BadRequest = "bad_request",
    /// Reply 401 or 403.
    Unauthorized = "unauthorized",
    /// A limit of the gateway was reached.
    OverLimit = "over_limit",
    /// The request runs in a loop (RFC 9110 7.6.3).
    LoopDetected = "loop_detected",
    /// The gateway stopped.
    Shutdown = "shutdown",
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) as rustls has it: only ECDHE and AEAD.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl TlsVersion {
    /// Returns the name in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        }
    }
}

/// Way in which a client came in.
#[derive(Clone, Copy, Default, Debug)]
pub struct Entrance {
    /// Number of the listener's name in the access log; 0 without one.
    pub listener: u16,
    /// Version of TLS; `None` without TLS.
    pub tls: Option<TlsVersion>,
}

/// Facts about a request for its line.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// Address of the client; `None` for a unix socket.
    pub client: Option<IpAddr>,
    /// Id of the request; `None` if ids are off.
    pub id: Option<&'a [u8]>,
    /// User name of Basic credentials.
    pub user: Option<&'a [u8]>,
    /// Subject of the token that let the request in.
    pub subject: Option<&'a [u8]>,
    /// Host that the request is for.
    pub host: Option<&'a [u8]>,
    /// Trace id of a valid `traceparent`.
    pub trace: Option<&'a [u8]>,
    /// Address of the listener.
    pub listener: Option<&'a str>,
    /// Version of TLS; `None` without TLS.
    pub tls: Option<TlsVersion>,
    /// Time at which the response ended.
    pub wall: UnixTime,
    /// Request line as sent; possibly truncated, possibly empty.
    pub request_line: &'a [u8],
    /// Method as sent.
    pub method: &'a [u8],
    /// Target as sent, with its query.
    pub path: &'a [u8],
    /// Protocol, such as `HTTP/1.1`.
    pub proto: &'a [u8],
    /// Status of the response; `None` if there was none.
    pub status: Option<u16>,
    /// Body bytes of the request.
    pub bytes_in: u64,
    /// Body bytes of the response, without framing.
    pub bytes_out: u64,
    /// Time from the request head to the end.
    pub duration: Duration,
    /// Name of the service.
    pub service: Option<&'a str>,
    /// Authority of the target.
    pub target: Option<&'a str>,
    /// Status of the upstream's response.
    pub upstream_status: Option<u16>,
    /// Time from the request to the upstream's response head.
    pub upstream_time: Option<Duration>,
    /// The upstream connection came from the pool.
    pub reused: bool,
    /// Number of retries.
    pub retries: u32,
    /// Referer field.
    pub referer: Option<&'a [u8]>,
    /// User-Agent field.
    pub user_agent: Option<&'a [u8]>,
    /// Outcome of the exchange.
    pub outcome: Outcome,
    /// Reason of a rejection or failure.
    pub reason: Option<&'a str>,
}

/// Appends the record's line.
#[inline(always)]
pub fn render(
    record: &AccessRecord<'_>,
    format: AccessFormat,
    dates: &mut DateCache,
    out: &mut Vec<u8>,
) {
    match format {
        AccessFormat::Combined => combined(record, dates, out),
        AccessFormat::Json => json(record, dates, out),
        AccessFormat::Off => {}
    }
}

#[inline(always)]
fn combined(record: &AccessRecord<'_>, dates: &mut DateCache, out: &mut Vec<u8>) {
    address(record.client, out);
    seldom(record.user, [b" - ", b" ["], b" - - [", out);
    out.extend_from_slice(dates.clf(record.wall));
    out.extend_from_slice(b"] \"");
    field(Some(record.request_line), out);
    match record.status {
        Some(status) => {
            let [a, b, c] =
                [status / 100, status / 10, status].map(|part| digits::last(part.into()));
            out.extend_from_slice(&[b'"', b' ', a, b, c, b' ']);
        }
        None => out.extend_from_slice(b"\" - "),
    }
    match record.bytes_out {
        0 => out.push(b'-'),
        bytes => number(bytes, out),
    }
    seldom(record.referer, [b" \"", b"\" \""], b" \"-\" \"", out);
    field(record.user_agent, out);
    out.extend_from_slice(b"\"\n");
}

/// Appends a field that few requests have, between what surrounds it. `without`: the same in one piece
/// for the others, with a dash as the field.
#[inline(always)]
fn seldom(text: Option<&[u8]>, [before, behind]: [&[u8]; 2], without: &[u8], out: &mut Vec<u8>) {
    if text.is_none() {
        return out.extend_from_slice(without);
    }
    out.extend_from_slice(before);
    field(text, out);
    out.extend_from_slice(behind);
}

#[inline]
fn field(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        Some(text) if !text.is_empty() => escaped(text, out),
        _ => out.push(b'-'),
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn hex(byte: u8) -> [u8; 2] {
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    [digit(byte >> 4), digit(byte & 15)]
}

/// Appends text with `\xHH` for bytes that are not printable ASCII; runs of printable bytes are
/// copied.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    // Nearly always the whole text is printable.
    let plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    if bytes::all(text, plain) {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest
            .iter()
            .position(|byte| !plain(*byte))
            .unwrap_or(rest.len());
        let (copied, tail) = rest.split_at_checked(run).unwrap_or((rest, &[]));
        out.extend_from_slice(copied);
        rest = match tail {
            [byte, tail @ ..] => {
                out.extend_from_slice(b"\\x");
                out.extend_from_slice(&hex(*byte));
                tail
            }
            [] => tail,
        };
    }
}

#[inline(always)]
fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(digits::write(value, &mut [0; 20]));
}

#[inline(always)]
fn address(client: Option<IpAddr>, out: &mut Vec<u8>) {
    match client {
        Some(address) => {
            let mut text = [0; digits::ADDRESS];
            let len = digits::address(address, &mut text).len();
            match text.first_chunk::<{ digits::ADDRESS_V4 }>() {
                // A copy of one length, cut where the address ends, is cheaper than a copy of any.
                Some(short) if len <= digits::ADDRESS_V4 => {
                    let end = out.len().wrapping_add(len);
                    out.extend_from_slice(short);
                    out.truncate(end);
                }
                _ => out.extend_from_slice(text.get(..len).unwrap_or_default()),
            }
        }
        None => out.extend_from_slice(b"unix:"),
    }
}

fn json(record: &AccessRecord<'_>, dates: &mut DateCache, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(dates.rfc3339(record.wall));
    let millis = record.wall.as_millis() % 1000;
    out.push(b'.');
    out.extend([millis / 100, millis / 10, millis].map(digits::last));
    out.extend_from_slice(b"Z\",\"client\":\"");
    address(record.client, out);
    out.push(b'"');
    text("method", Some(record.method), out);
    text("path", Some(record.path), out);
    text("proto", Some(record.proto), out);
    count("status", record.status.map(u64::from), out);
    count("bytesIn", Some(record.bytes_in), out);
    count("bytesOut", Some(record.bytes_out), out);
    count("durationMs", Some(record.duration.as_millis()), out);
    text("service", record.service.map(str::as_bytes), out);
    text("target", record.target.map(str::as_bytes), out);
    count("upstreamStatus", record.upstream_status.map(u64::from), out);
    count(
        "upstreamMs",
        record.upstream_time.map(Duration::as_millis),
        out,
    );
    out.extend_from_slice(if record.reused {
        b",\"reused\":true"
    } else {
        b",\"reused\":false"
    });
    count("retries", Some(u64::from(record.retries)), out);
    text("end", Some(record.outcome.as_str().as_bytes()), out);
    text("reason", record.reason.map(str::as_bytes), out);
    text("id", record.id, out);
    text("host", record.host, out);
    text("user", record.subject.or(record.user), out);
    text("userAgent", record.user_agent, out);
    text("referer", record.referer, out);
    text("listener", record.listener.map(str::as_bytes), out);
    let tls = record.tls.map(TlsVersion::as_str);
    text("tls", tls.map(str::as_bytes), out);
    text("trace", record.trace, out);
    out.extend_from_slice(b"}\n");
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn count(name: &str, value: Option<u64>, out: &mut Vec<u8>) {
    key(name, out);
    match value {
        Some(value) => number(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a JSON string. A byte outside ASCII stands for the character of the same number.
fn text(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    key(name, out);
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex(byte));
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            client: Some(IpAddr::from([127, 0, 0, 1])),
            id: None,
            user: None,
            subject: None,
            host: None,
            trace: None,
            listener: None,
            tls: None,
            wall: UnixTime::from_millis(1_795_349_743_042),
            request_line: b"GET /product HTTP/1.1",
            method: b"GET",
            path: b"/product",
            proto: b"HTTP/1.1",
            status: Some(404),
            bytes_in: 0,
            bytes_out: 70,
            duration: Duration::from_millis(3),
            service: None,
            target: None,
            upstream_status: None,
            upstream_time: None,
            reused: false,
            retries: 0,
            referer: None,
            user_agent: Some(b"curl/7.88.1"),
            outcome: Outcome::NoRoute,
            reason: None,
        }
    }

    fn line(record: &AccessRecord<'_>, format: AccessFormat) -> String {
        let mut out = Vec::new();
        render(record, format, &mut DateCache::new(), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn combined_lines() {
        assert_eq!(
            line(&record(), AccessFormat::Combined),
            "127.0.0.1 - - [22/Nov/2026:12:15:43 +0000] \"GET /product HTTP/1.1\" 404 70 \"-\" \"curl/7.88.1\"\n"
        );
        let odd = AccessRecord {
            client: Some("2001:db8::1".parse().expect("an address")),
            user: Some(b"an\"n"),
            request_line: b"",
            status: None,
            bytes_out: 0,
            referer: Some(b"a\\b\x1b[1m\xff\n"),
            user_agent: Some(b""),
            ..record()
        };
        assert_eq!(
            line(&odd, AccessFormat::Combined),
            "2001:db8::1 - an\\x22n [22/Nov/2026:12:15:43 +0000] \"-\" - - \"a\\x5Cb\\x1B[1m\\xFF\\x0A\" \"-\"\n"
        );
        assert!(
            line(
                &AccessRecord {
                    client: None,
                    ..record()
                },
                AccessFormat::Combined
            )
            .starts_with("unix: - - [")
        );
        assert_eq!(line(&record(), AccessFormat::Off), "");
    }

    #[test]
    fn json_lines() {
        assert_eq!(
            line(&record(), AccessFormat::Json),
            "{\"time\":\"2026-11-22T12:15:43.042Z\",\"client\":\"127.0.0.1\",\"method\":\"GET\",\"path\":\"/product\",\"proto\":\"HTTP/1.1\",\
             \"status\":404,\"bytesIn\":0,\"bytesOut\":70,\"durationMs\":3,\"service\":null,\"target\":null,\"upstreamStatus\":null,\
             \"upstreamMs\":null,\"reused\":false,\"retries\":0,\"end\":\"no_route\",\"reason\":null,\"id\":null,\"host\":null,\"user\":null,\"userAgent\":\"curl/7.88.1\",\"referer\":null,\"listener\":null,\"tls\":null,\"trace\":null}\n"
        );
        let odd = AccessRecord {
            path: b"/\"\\\n\xff",
            service: Some("/a"),
            upstream_time: Some(Duration::ZERO),
            ..record()
        };
        assert!(line(&odd, AccessFormat::Json).contains("\"path\":\"/\\\"\\\\\\u000A\\u00FF\""));
    }
}

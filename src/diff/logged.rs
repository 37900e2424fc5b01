//! Requests of an access log, whatever its format is.

use super::{combined_line, json_line};
use crate::http::target;
use crate::policy::forward::{Peer, parse_address};

/// A request of the log.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Logged {
    /// Client; `None` if the log has a name for it.
    pub(super) client: Option<Peer>,
    /// Request line as sent.
    pub(super) line: Vec<u8>,
    /// Host that the request is for; `None` if the log does not have it.
    pub(super) host: Option<Vec<u8>>,
    /// Address of the listener; `None` if the log does not have it.
    pub(super) listener: Option<Vec<u8>>,
    /// True if the client spoke TLS; `None` if the log does not have it.
    pub(super) is_secure: Option<bool>,
    /// Bytes of the body.
    pub(super) body_bytes: u64,
    /// True if a listener redirected the request to https.
    pub(super) was_redirected: bool,
}

/// Reason why a line has no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The line has the form of neither format.
    Unreadable,
    /// The line is one of a log and has no whole request line: the head was malformed, or its line
    /// was truncated.
    NoRequest,
}

/// Reads a line of a log.
///
/// # Errors
/// The line has no request.
pub(super) fn read(line: &[u8]) -> Result<Logged, Fault> {
    let is_json = line.first() == Some(&b'{');
    let logged = if is_json {
        json(line)?
    } else {
        combined(line)?
    };
    // These bytes would end the request line.
    let is_line = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    let is_host = logged.host.as_deref().is_none_or(is_line);
    match is_whole(&logged.line) && is_line(&logged.line) && is_host {
        true => Ok(logged),
        false => Err(Fault::NoRequest),
    }
}

/// Returns true for a line with a version at its end.
fn is_whole(line: &[u8]) -> bool {
    matches!(line, [.., b' ', b'H', b'T', b'T', b'P', b'/', a, b'.', b]
        if a.is_ascii_digit() && b.is_ascii_digit())
}

fn json(line: &[u8]) -> Result<Logged, Fault> {
    let members = json_line::read(line).ok_or(Fault::Unreadable)?;
    let (Some(method), Some(path), Some(proto)) = (members.method, members.path, members.proto)
    else {
        return Err(Fault::NoRequest);
    };
    let authority = target::authority(&path).map(<[u8]>::to_vec);
    Ok(Logged {
        client: members.client.as_deref().and_then(client),
        line: [method, path, proto].join(&b' '),
        host: authority.or(members.host),
        listener: members.listener,
        is_secure: members.is_secure,
        body_bytes: members.bytes_in.unwrap_or(0),
        // An upstream may send a 308, too: such a request has a service.
        was_redirected: members.status == Some(308)
            && members.service.is_none()
            && members.target.is_none(),
    })
}

fn combined(line: &[u8]) -> Result<Logged, Fault> {
    let parts = combined_line::read(line).ok_or(Fault::Unreadable)?;
    let path = parts.request.split(|&byte| byte == b' ').nth(1);
    let authority = path.and_then(target::authority).map(<[u8]>::to_vec);
    Ok(Logged {
        client: client(parts.client),
        line: parts.request,
        host: authority,
        listener: None,
        is_secure: None,
        body_bytes: 0,
        was_redirected: false,
    })
}

fn client(text: &[u8]) -> Option<Peer> {
    match text {
        b"unix:" => Some(Peer::Unix),
        text => parse_address(text).map(Peer::Ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::access::{AccessFormat, AccessRecord, Outcome, render};
    use crate::observe::date::DateCache;
    use crate::time::{Duration, UnixTime};

    fn record<'a>(line: [&'a [u8]; 3], whole: &'a [u8]) -> AccessRecord<'a> {
        let [method, path, proto] = line;
        AccessRecord {
            client: Some([192, 0, 2, 7].into()),
            id: None,
            user: Some(b"a\"b\\ [x]"),
            subject: None,
            host: None,
            trace: None,
            listener: Some("[::]:80"),
            tls: None,
            wall: UnixTime::from_millis(1_795_349_743_042),
            request_line: whole,
            method,
            path,
            proto,
            status: Some(200),
            bytes_in: 70,
            bytes_out: 70,
            duration: Duration::ZERO,
            service: Some("/a"),
            target: None,
            upstream_status: None,
            upstream_time: None,
            reused: false,
            retries: 0,
            referer: Some(b"\"} HTTP/1.1\" 200"),
            user_agent: None,
            outcome: Outcome::Ok,
            reason: None,
        }
    }

    fn rendered(line: [&[u8]; 3], format: AccessFormat) -> Vec<u8> {
        let whole = line.join(&b' ');
        let mut out = Vec::new();
        let record = record(line, &whole);
        render(&record, format, &mut DateCache::new(), &mut out);
        out.pop();
        out
    }

    /// Every byte of a target comes back from both formats of the gateway's own log.
    #[test]
    fn the_gateways_own_lines_are_read_exactly() {
        let path = (0..=255_u8).filter(|byte| !matches!(byte, 0 | b'\r' | b'\n' | b' '));
        let path = [b"/"].into_iter().flatten().copied().chain(path);
        let path = path.collect::<Vec<_>>();
        let line = [&b"GET"[..], &path, b"HTTP/1.1"];
        for (format, body_bytes, listener, is_secure) in [
            (AccessFormat::Combined, 0, None, None),
            (
                AccessFormat::Json,
                70,
                Some(b"[::]:80".to_vec()),
                Some(false),
            ),
        ] {
            let expected = Logged {
                client: Some(Peer::Ip([192, 0, 2, 7].into())),
                line: line.join(&b' '),
                host: None,
                listener,
                is_secure,
                body_bytes,
                was_redirected: false,
            };
            assert_eq!(read(&rendered(line, format)), Ok(expected), "{format:?}");
        }
    }

    #[test]
    fn lines_without_a_request() {
        for line in [
            [&b""[..], b"", b""],
            [b"GET", b"/cut", b""],
            [b"GET", b"/a\r\nX:", b"HTTP/1.1"],
            [b"GET", b"/a\0", b"HTTP/1.1"],
            [b"\x16\x03\x01", b"", b""],
        ] {
            for format in [AccessFormat::Combined, AccessFormat::Json] {
                let text = rendered(line, format);
                assert_eq!(read(&text), Err(Fault::NoRequest), "{line:?} {format:?}");
            }
        }
    }

    #[test]
    fn hosts_clients_and_redirects() {
        let json = |more: &str, path: &str| {
            let line = format!(r#"{{"method":"GET","path":"{path}","proto":"HTTP/1.1"{more}}}"#);
            read(line.as_bytes()).expect("a request")
        };
        assert_eq!(json("", "/a").host, None);
        assert_eq!(
            json(r#","host":"a.test""#, "/a").host,
            Some(b"a.test".to_vec())
        );
        assert_eq!(
            json("", "http://b.test:80/a").host,
            Some(b"b.test:80".to_vec())
        );
        for (more, was_redirected) in [
            (r#","status":308,"service":null,"target":null"#, true),
            (r#","status":308,"service":"/a","target":"a.test""#, false),
            (r#","status":200,"service":null,"target":null"#, false),
        ] {
            assert_eq!(json(more, "/a").was_redirected, was_redirected, "{more}");
        }
        for (text, expected) in [
            ("unix:", Some(Peer::Unix)),
            (
                "2001:db8::1",
                Some(Peer::Ip([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into())),
            ),
            ("client.test", None),
            ("", None),
        ] {
            let line = format!(r#"{text} - - [x] "GET http://a.test/x HTTP/1.0" 200 -"#);
            let logged = read(line.as_bytes()).expect("a request");
            assert_eq!(
                (logged.client, logged.host),
                (expected, Some(b"a.test".to_vec()))
            );
        }
    }
}

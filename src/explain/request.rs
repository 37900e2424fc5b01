//! Request that is explained: its bytes, and the listener that they come in on.

use core::net::IpAddr;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Asked;
use crate::config::{Config, Listen, ListenAddress, ListenKind};
use crate::digits;
use crate::policy::forward::Peer;
use crate::proxy::command::ListenerKind;
use crate::transport::server::ClientAuth;

/// Request as it comes in.
pub(super) struct Arrival {
    /// Head and body.
    pub(super) bytes: Vec<u8>,
    /// Bytes of the head.
    pub(super) head: usize,
    pub(super) peer: Peer,
    /// Number of the listener in the file.
    pub(super) listener: usize,
    /// Address of the listener.
    pub(super) address: String,
    pub(super) kind: ListenerKind,
    /// Subject of the certificate that the client shows.
    pub(super) subject: Option<&'static [u8]>,
    /// Assumptions that a reader should know.
    pub(super) notes: Vec<String>,
}

/// Scheme, authority and target of a URL. A path alone has only a target.
struct Url<'a> {
    secure: Option<bool>,
    authority: &'a str,
    target: String,
}

/// Makes the request that was asked about.
///
/// # Errors
/// The text says what is wrong on the command line, and what to write.
pub(super) fn arrival(config: &Config, asked: &Asked) -> Result<Arrival, String> {
    if asked.method.is_empty() || asked.method.bytes().any(|byte| byte <= b' ') {
        return Err(format!(
            "the method {:?} has a space or a line end; write tollgate explain GET URL",
            asked.method
        ));
    }
    let url = split(&asked.url)?;
    let mut notes = Vec::new();
    let (listener, kind) = listener(config, &url, &mut notes);
    let listen = config.listeners.get(listener);
    let peer = asked
        .from
        .unwrap_or(match listen.map(|listen| &listen.address) {
            Some(ListenAddress::Unix(_)) => Peer::Unix,
            _ => Peer::Ip(IpAddr::from([127, 0, 0, 1])),
        });
    let mut bytes = Vec::new();
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
    let (method, target) = (asked.method.as_bytes(), url.target.as_bytes());
    put(&[method, b" ", target, b" HTTP/1.1\r\n"]);
    if !has(asked, "host") {
        let host = match url.authority {
            "" => {
                let note = "the URL names no host: Host is localhost, -H 'Host: ..' sets another";
                notes.push(note.to_owned());
                "localhost"
            }
            authority => authority,
        };
        put(&[b"Host: ", host.as_bytes(), b"\r\n"]);
    }
    for header in &asked.headers {
        put(&[checked(header)?, b"\r\n"]);
    }
    let is_chunked = has(asked, "transfer-encoding");
    let length = value(asked, "content-length");
    let data = body(asked, length, &mut notes)?;
    if asked.data.is_some() && !is_chunked && length.is_none() {
        put(&[
            b"Content-Length: ",
            data.len().to_string().as_bytes(),
            b"\r\n",
        ]);
    }
    put(&[b"\r\n"]);
    let head = bytes.len();
    if is_chunked {
        chunk(&data, &mut bytes);
    } else {
        bytes.extend_from_slice(&data);
    }
    Ok(Arrival {
        bytes,
        head,
        peer,
        listener,
        address: listen.map_or(String::new(), |listen| listen.address.to_string()),
        kind,
        subject: listen.and_then(subject),
        notes,
    })
}

/// Returns the subject of a client's certificate, where a listener has no clients without one.
fn subject(listen: &Listen) -> Option<&'static [u8]> {
    match &listen.kind {
        ListenKind::Tls(files)
            if files.client_ca.is_some() && files.client_auth == ClientAuth::Required =>
        {
            Some(b"CN=client")
        }
        _ => None,
    }
}

/// Returns a header of the command line that is one line.
fn checked(header: &[u8]) -> Result<&[u8], String> {
    let bad = |what: &str| {
        let shown = String::from_utf8_lossy(header);
        Err(format!("-H {shown:?} {what}"))
    };
    if !header.contains(&b':') {
        return bad("has no colon; write it as -H 'Name: value'");
    }
    if header.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return bad("has a line end; write one -H for each header");
    }
    Ok(header)
}

/// Appends one chunk, and the last one (RFC 9112 7.1).
fn chunk(data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
}

/// Returns the body, up to a Content-Length that was given.
fn body(asked: &Asked, length: Option<&[u8]>, notes: &mut Vec<String>) -> Result<Vec<u8>, String> {
    let mut data = match asked.data.as_deref().map(OsStr::as_bytes) {
        None => Vec::new(),
        Some([b'@', path @ ..]) => {
            let path = Path::new(OsStr::from_bytes(path));
            let read = std::fs::read(path);
            read.map_err(|error| format!("{}: cannot be read: {error}", path.display()))?
        }
        Some(data) => data.to_vec(),
    };
    if let Some(length) = length.and_then(digits::parse)
        && let Some(behind) = (data.len() as u64)
            .checked_sub(length)
            .filter(|more| *more > 0)
    {
        notes.push(format!(
            "Content-Length is {length}: of the body {behind} bytes are left out, which would be another request"
        ));
        data.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    }
    Ok(data)
}

/// Returns true if a header of this name, in lower case, was given.
fn has(asked: &Asked, name: &str) -> bool {
    value(asked, name).is_some()
}

/// Returns the value of the first header of this name, in lower case, that was given.
fn value<'a>(asked: &'a Asked, name: &str) -> Option<&'a [u8]> {
    asked.headers.iter().find_map(|header| {
        let colon = header.iter().position(|&byte| byte == b':')?;
        let (given, value) = header.split_at_checked(colon)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        given.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })
}

/// Splits a URL. The fragment is cut off: clients do not send it (RFC 9110 7.1).
fn split(url: &str) -> Result<Url<'_>, String> {
    let bad = |what: &str| {
        Err(format!(
            "the URL {url:?} {what}; write it as http://api.example.com/users?page=2, or only the path: /users?page=2"
        ))
    };
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return bad("has a space or a control character, which is %20 and so on in a URL");
    }
    let url = url.split('#').next().unwrap_or_default();
    let secure = match url.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => false,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => true,
        Some((scheme, _)) if !scheme.contains('/') => {
            return bad("is neither http:// nor https://");
        }
        _ if url.starts_with('/') || url == "*" => {
            return Ok(Url {
                secure: None,
                authority: "",
                target: url.to_owned(),
            });
        }
        _ => return bad("has no scheme"),
    };
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    if authority.is_empty() {
        return bad("names no host");
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Url {
        secure: Some(secure),
        authority,
        target: format!("{slash}{target}"),
    })
}

/// Returns the listener that a client with this URL comes to: one of the scheme, the one with the
/// port of the URL before others.
fn listener(config: &Config, url: &Url<'_>, notes: &mut Vec<String>) -> (usize, ListenerKind) {
    let listeners = || config.listeners.iter().enumerate();
    let fits = |kind: &ListenKind, secure: Option<bool>| match secure {
        Some(secure) => matches!(kind, ListenKind::Tls(_)) == secure,
        None => true,
    };
    let has_scheme = listeners().any(|(_, listen)| fits(&listen.kind, url.secure));
    let secure = url.secure.filter(|_| has_scheme);
    if !has_scheme {
        notes.push(match url.secure {
            Some(true) => "no listener has TLS: taken as plain http, as behind a proxy that ends TLS".to_owned(),
            _ => "every listener has TLS: a client that speaks plain http there gets a 400; taken as https".to_owned(),
        });
    }
    let digits = url.authority.rsplit_once(':').map(|(_, port)| port);
    let default = if url.secure == Some(true) { 443 } else { 80 };
    let port = digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(default);
    let has_port = |address: &ListenAddress| matches!(address, ListenAddress::Tcp(address) if address.port() == port);
    let mut candidates = listeners().filter(|(_, listen)| fits(&listen.kind, secure));
    let first = candidates.clone().next();
    let chosen = candidates.find(|(_, listen)| has_port(&listen.address));
    if let (None, Some((_, first)), true) = (chosen, first, !url.authority.is_empty())
        && matches!(first.address, ListenAddress::Tcp(_))
    {
        notes.push(format!(
            "no such listener has port {port}: taken as one that comes in on {}",
            first.address
        ));
    }
    match chosen.or(first) {
        Some((place, listen)) => (place, listen.kind.spoken()),
        None => (0, ListenerKind::Plain),
    }
}

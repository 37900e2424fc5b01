//! `tollgate demo`: the gateway with the four routes of the article, and an echo service to try it
//! on.
//!
//! The echo is a few blocking threads on a loopback port. It answers with method, path and headers
//! of the request as JSON, which shows what the gateway sends.
//!
//! Gateway and echo listen on loopback alone. The echo keeps `BODY_BYTES` of a body, discards the
//! rest, and serves at most `CONNECTIONS` connections at a time, so its memory is bounded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::config::{Config, ListenAddress};
use serde_json::{Map, Value, json};

/// Routes of the article.
const ROUTES: [&str; 4] = ["/auth", "/users", "/chats", "/payment"];

/// Bytes of a request's body that the echo shows; the rest is cut.
const BODY_BYTES: usize = 64 << 10;
/// Connections that the echo serves at a time. Above half of them it closes each after one
/// response, so that idle ones make room.
const CONNECTIONS: usize = 128;
/// Limit of a line of a head, of the head, and of a chunk-size line, in bytes; the gateway sends
/// less.
const LINE_BYTES: u64 = 512 << 10;

/// Returns the port of the demo's listener.
pub fn port(config: &Config) -> u16 {
    let mut addresses = config.listeners.iter().map(|listen| &listen.address);
    let port = addresses.find_map(|address| match address {
        ListenAddress::Tcp(address) => Some(address.port()),
        ListenAddress::Unix(_) | ListenAddress::Systemd(_) => None,
    });
    port.unwrap_or(0)
}

/// Starts the echo service on a free loopback port; it runs until the process ends.
///
/// # Errors
/// No loopback port or thread is left.
pub fn start_echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new()
        .name("echo".to_owned())
        .spawn(move || {
            let open = Arc::new(());
            for stream in listener.incoming().flatten() {
                if Arc::strong_count(&open) > CONNECTIONS {
                    // The gateway responds with 502; the demo continues.
                    continue;
                }
                let place = Arc::clone(&open);
                // A thread that does not start fails one request; the demo continues.
                let _ = std::thread::Builder::new()
                    .name("echo-client".to_owned())
                    .spawn(move || serve(stream, &place));
            }
        })?;
    Ok(address)
}

/// Configuration of the demo: the article's table with the echo as target, on loopback (`PORT`
/// overrides the port alone).
pub fn configuration(echo: SocketAddr) -> String {
    let services = ROUTES
        .iter()
        .map(|route| json!({ "route": route, "target": format!("http://{echo}{route}/") }))
        .collect::<Vec<_>>();
    json!({ "listen": "127.0.0.1:5000", "services": services }).to_string()
}

/// Commands to try with a gateway on `port`.
pub fn hints(port: u16) -> String {
    format!(
        "Try it, in another terminal:\n\n  \
         curl -i http://localhost:{port}/users/1?verbose=yes     # routed: the echo shows what an upstream receives\n  \
         curl -i http://localhost:{port}/payment -d amount=5     # a POST, its body passed through\n  \
         curl -i http://localhost:{port}/nowhere                 # 404, JSON\n  \
         curl -i -X OPTIONS -H 'Origin: http://example.com' -H 'Access-Control-Request-Headers: x-token' http://localhost:{port}/users\n  \
         for i in $(seq 25); do curl -s -o /dev/null -w '%{{http_code}} ' http://localhost:{port}/chats; done; echo   # 429 after 20 a minute\n\n\
         Stop it with Ctrl-C. The access log follows.\n"
    )
}

fn serve(stream: TcpStream, place: &Arc<()>) {
    // An error ends this connection only.
    let _ = converse(stream, || Arc::strong_count(place) > CONNECTIONS / 2);
}

fn converse(stream: TcpStream, is_crowded: impl Fn() -> bool) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let line = read_line(&mut reader)?;
        let (method, path) = match line.split(' ').collect::<Vec<_>>().as_slice() {
            [method, path, _] => ((*method).to_owned(), (*path).to_owned()),
            _ => return Ok(()),
        };
        let headers = read_headers(&mut reader)?;
        let body = read_body(&mut reader, &headers)?;
        let fields = headers
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect::<Map<_, _>>();
        let mut answer = json!({ "method": method, "path": path, "headers": fields });
        if let Some(object) = answer.as_object_mut() {
            if !body.kept.is_empty() {
                object.insert(
                    "body".to_owned(),
                    Value::String(String::from_utf8_lossy(&body.kept).into_owned()),
                );
            }
            if body.left_out > 0 {
                object.insert("bodyBytesLeftOut".to_owned(), Value::from(body.left_out));
            }
        }
        let text = format!("{answer:#}\n");
        let sent = if method == "HEAD" { "" } else { &text };
        let closes = is_crowded();
        let connection = if closes { "Connection: close\r\n" } else { "" };
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n{connection}\r\n{sent}",
            text.len()
        )?;
        if closes {
            return Ok(());
        }
    }
}

/// Reads a line of at most [`LINE_BYTES`]; empty at the end of the stream.
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(LINE_BYTES).read_line(&mut line)?;
    Ok(line)
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    let mut head = reader.take(LINE_BYTES);
    loop {
        let line = read_line(&mut head)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(headers),
        }
    }
}

/// Body of a request, as far as it is shown.
#[derive(Default)]
struct Body {
    /// The first `BODY_BYTES` of the body.
    kept: Vec<u8>,
    /// Number of bytes after these.
    left_out: u64,
}

impl Body {
    /// Reads `size` bytes, and keeps those for which there is room.
    fn take(&mut self, reader: &mut impl BufRead, size: u64) -> io::Result<()> {
        let room = BODY_BYTES.saturating_sub(self.kept.len()) as u64;
        let shown = size.min(room);
        reader.take(shown).read_to_end(&mut self.kept)?;
        let rest = io::copy(
            &mut reader.take(size.saturating_sub(shown)),
            &mut io::sink(),
        )?;
        self.left_out = self.left_out.saturating_add(rest);
        Ok(())
    }
}

/// Reads the body, in the framing that the gateway chose.
fn read_body(reader: &mut impl BufRead, headers: &[(String, String)]) -> io::Result<Body> {
    let find = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    let mut body = Body::default();
    if find("transfer-encoding").is_some() {
        loop {
            let size =
                u64::from_str_radix(read_line(reader)?.trim_end(), 16).map_err(io::Error::other)?;
            body.take(reader, size)?;
            read_line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let size = find("content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    body.take(reader, size)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(head: &str, bytes: &[u8]) -> (Body, usize) {
        let headers = head
            .split_once(": ")
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut rest = bytes;
        let body = read_body(&mut rest, &headers.into_iter().collect::<Vec<_>>()).unwrap();
        (body, rest.len())
    }

    #[test]
    fn a_body_is_cut_and_its_rest_is_read() {
        for size in [0, 1, BODY_BYTES - 1, BODY_BYTES, BODY_BYTES + 1, 1 << 20] {
            let next = b"GET";
            let bytes = vec![b'x'; size];
            let (kept, behind) = body(
                &format!("Content-Length: {size}"),
                &[&bytes[..], next].concat(),
            );
            assert_eq!(
                (kept.kept.len(), kept.left_out),
                (size.min(BODY_BYTES), size.saturating_sub(BODY_BYTES) as u64)
            );
            assert_eq!(behind, next.len(), "the next request is still there");

            let mut chunks = Vec::new();
            for chunk in bytes.chunks(10_000) {
                chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                chunks.extend_from_slice(chunk);
                chunks.extend_from_slice(b"\r\n");
            }
            chunks.extend_from_slice(b"0\r\n\r\nGET");
            let (kept, behind) = body("Transfer-Encoding: chunked", &chunks);
            assert_eq!(
                (kept.kept.len(), kept.left_out),
                (size.min(BODY_BYTES), size.saturating_sub(BODY_BYTES) as u64)
            );
            assert_eq!(behind, next.len());
        }
    }
}

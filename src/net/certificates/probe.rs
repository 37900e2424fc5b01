//! Question of the gateway to itself, by the names of a certificate, before the first order.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::acme::{Identifier, Kind};

/// Time for each step of a question.
const STEP: Duration = Duration::from_secs(5);

/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;

/// Bytes of an answer that are read.
const ANSWER_BYTES: u64 = 4096;

/// Returns the port that an authority asks.
pub(super) fn port(kind: Kind) -> u16 {
    match kind {
        Kind::Http01 => 80,
        Kind::TlsAlpn01 => 443,
    }
}

/// Asks each name for a file. A listener with TLS is asked in plain text, and answers it all the same
/// while the question is out.
///
/// # Errors
/// The first name that does not lead here, and why.
pub(super) fn ask(
    names: &[Identifier],
    port: u16,
    (token, content): (&str, &str),
) -> Result<(), String> {
    for name in names {
        let host = name.to_string();
        ask_one(&host, port, token, content).map_err(|reason| {
            format!(
                "http://{host}:{port}, asked from here, does not lead to this gateway: {reason}"
            )
        })?;
    }
    Ok(())
}

fn ask_one(host: &str, port: u16, token: &str, content: &str) -> Result<(), String> {
    let addresses = (host, port).to_socket_addrs();
    let addresses = addresses.map_err(|error| format!("the name has no address: {error}"))?;
    let mut reason = "the name has no address".to_owned();
    for address in addresses.take(ADDRESSES) {
        let stream = match TcpStream::connect_timeout(&address, STEP) {
            Ok(stream) => stream,
            Err(error) => {
                reason = format!("{address} cannot be connected to: {error}");
                continue;
            }
        };
        match answer(stream, host, token) {
            Ok(answer) if is_ours(&answer, content.as_bytes()) => return Ok(()),
            Ok(answer) => {
                let line = answer
                    .split(|byte| *byte == b'\r')
                    .next()
                    .unwrap_or_default();
                let line = String::from_utf8_lossy(line.get(..60).unwrap_or(line)).into_owned();
                reason = format!("another server answers at {address}: {line:?}");
            }
            Err(error) => reason = format!("{address} gives no answer: {error}"),
        }
    }
    Err(reason)
}

fn answer(mut stream: TcpStream, host: &str, token: &str) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    // One write: a listener with TLS looks at the first bytes that come.
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Returns true if an answer is the file.
fn is_ours(answer: &[u8], content: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(content) && !content.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one question with these bytes, and returns what the asker makes of it.
    fn asked(reply: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let serve = move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let n = client.read(&mut request).expect("a request");
            assert!(request[..n].starts_with(b"GET /.well-known/acme-challenge/tok HTTP/1.1\r\n"));
            client.write_all(reply).expect("written");
        };
        let server = std::thread::spawn(serve);
        let name = Identifier::parse("127.0.0.1").expect("an address");
        let result = ask(&[name], port, ("tok", "content"));
        server.join().expect("served");
        result
    }

    #[test]
    fn only_the_file_is_an_answer() {
        assert_eq!(asked(b"HTTP/1.1 200 OK\r\n\r\ncontent"), Ok(()));
        for (reply, expected) in [
            (
                &b"HTTP/1.1 404 Not Found\r\n\r\n"[..],
                "\"HTTP/1.1 404 Not Found\"",
            ),
            (
                b"HTTP/1.1 200 OK\r\n\r\nhello",
                "another server answers at 127.0.0.1:",
            ),
            (b"", "another server answers"),
        ] {
            let error = asked(reply).expect_err(expected);
            assert!(error.contains("does not lead to this gateway"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_name_without_a_server_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let name = Identifier::parse("127.0.0.1").expect("an address");
        let error = ask(&[name], port, ("tok", "content")).expect_err("refused");
        assert!(error.contains("cannot be connected to"), "{error}");
    }
}

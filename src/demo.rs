//! `tollgate demo`: the gateway with the article's four routes, and an echo service behind it to try it on.
//!
//! The echo is a few blocking threads on a loopback port: it answers JSON with the method, path and headers it received,
//! which is what a newcomer wants to see of a gateway.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use serde_json::{Map, Value, json};

/// The article's routes.
const ROUTES: [&str; 4] = ["/auth", "/users", "/chats", "/payment"];

/// Starts the echo service on a free loopback port; it runs until the process ends.
///
/// # Errors
/// No loopback port or thread can be had.
pub fn start_echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that fails to start is one request that fails; the demo goes on.
            let _ = std::thread::Builder::new().name("echo-client".to_owned()).spawn(move || serve(stream));
        }
    })?;
    Ok(address)
}

/// The configuration of the demo: the article's table, pointed at the echo.
pub fn configuration(echo: SocketAddr) -> String {
    let services = ROUTES
        .iter()
        .map(|route| json!({ "route": route, "target": format!("http://{echo}{route}/") }))
        .collect::<Vec<_>>();
    json!({ "services": services }).to_string()
}

/// What to try, for a gateway on `port`.
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

fn serve(stream: TcpStream) {
    // A client that goes away ends its own thread and nothing else.
    let _ = converse(stream);
}

fn converse(stream: TcpStream) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (method, path) = match line.split(' ').collect::<Vec<_>>().as_slice() {
            [method, path, _] => ((*method).to_owned(), (*path).to_owned()),
            _ => return Ok(()),
        };
        let headers = read_headers(&mut reader)?;
        let body = read_body(&mut reader, &headers)?;
        let fields = headers.into_iter().map(|(name, value)| (name, Value::String(value))).collect::<Map<_, _>>();
        let mut answer = json!({ "method": method, "path": path, "headers": fields });
        if !body.is_empty()
            && let Some(object) = answer.as_object_mut()
        {
            object.insert("body".to_owned(), Value::String(String::from_utf8_lossy(&body).into_owned()));
        }
        let text = format!("{answer:#}\n");
        let sent = if method == "HEAD" { "" } else { &text };
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{sent}",
            text.len()
        )?;
    }
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(headers),
        }
    }
}

/// The body, in the framing the gateway gave it.
fn read_body(reader: &mut impl BufRead, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    let find =
        |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
    let mut body = Vec::new();
    if find("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            reader.take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let size = find("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    reader.take(size).read_to_end(&mut body)?;
    Ok(body)
}

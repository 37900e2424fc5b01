//! Client of the admin listener, for the commands of the command line: one request, and its answer.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::ListenAddress;
use crate::http::chunked::{ChunkDecoder, ChunkStep};
use crate::http::framing::{ResponseBody, response_body};
use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_response};
use crate::limits::{ADMIN_ANSWER_BYTES, FIELDS_MAX, RESPONSE_HEAD_BYTES};
use crate::policy::auth::json::Json;

/// Time in which a connection must be there.
const CONNECT: Duration = Duration::from_secs(5);

/// Answer of the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Reply {
    /// Returns the string of a member of the JSON body.
    pub fn member(&self, name: &str) -> Option<String> {
        let json = Json::parse(self.body.as_bytes())?;
        json.get(name)?.text().map(str::to_owned)
    }

    /// Returns the lines that say what went wrong.
    pub fn errors(&self) -> String {
        let json = Json::parse(self.body.as_bytes());
        let member = |name| json.as_ref().and_then(|json| json.get(name));
        let lines = member("errors").or_else(|| member("error"));
        match lines.and_then(Json::texts) {
            Some(lines) => lines.join("\n"),
            None => self.body.trim_end().to_owned(),
        }
    }
}

/// Returns the question about the request with this id, percent-encoded (RFC 3986 2.1).
pub fn why(id: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    let id = id.bytes().map(encoded).collect::<String>();
    format!("GET /why?id={id}")
}

/// Returns the question whether the gateway is ready, or whether it is alive.
pub fn health(live: bool) -> &'static str {
    if live { "GET /live" } else { "GET /ready" }
}

/// Waits between two requests.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Sends a request such as `GET /ready` to an admin listener, and waits for the answer for `time`.
///
/// # Errors
/// The gateway is not reached, or gives no answer in time. The text says what to do.
pub fn ask(address: &ListenAddress, request: &str, time: Duration) -> Result<Reply, String> {
    let deadline = Instant::now().checked_add(time);
    let mut socket = connect(address).map_err(|error| unreachable(address, &error))?;
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answered = socket
        .set_write_timeout(Some(CONNECT))
        .and_then(|()| socket.write_all(head.as_bytes()))
        .and_then(|()| read(&mut socket, deadline));
    answered.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!(
            "the gateway at {address} has not answered {request} in {} s; what it does is in its log",
            time.as_secs()
        ),
        _ => format!("the gateway at {address} does not answer {request}: {error}; is it a tollgate?"),
    })
}

fn connect(address: &ListenAddress) -> io::Result<Socket> {
    let (domain, address) = match address {
        ListenAddress::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        ListenAddress::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        // The configuration refuses such an address.
        ListenAddress::Systemd(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect_timeout(&address, CONNECT)?;
    Ok(socket)
}

fn unreachable(address: &ListenAddress, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such socket; start the gateway with this \"admin\", or name its address with --admin"
        }
        io::ErrorKind::ConnectionRefused => {
            "the gateway does not run, or has another \"admin\"; start it, or name its address with --admin"
        }
        io::ErrorKind::PermissionDenied => {
            "the socket is for the user that the gateway runs as; become that user, or use sudo"
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it has too many clients; try again",
        _ => "name another address with --admin",
    };
    format!("cannot reach the gateway at {address}: {error}; {advice}")
}

/// Reads one response, until the deadline.
fn read(socket: &mut Socket, deadline: Option<Instant>) -> io::Result<Reply> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the answer is malformed");
    let limits = HeadLimits {
        head_bytes: RESPONSE_HEAD_BYTES,
        request_line_bytes: RESPONSE_HEAD_BYTES,
        fields: FIELDS_MAX,
    };
    let (mut bytes, mut scan, mut table) = (Vec::new(), HeadScan::default(), FieldTable::default());
    let (status, head, framing) = loop {
        more(socket, &mut bytes, deadline)?;
        let head = parse_response(&bytes, &mut scan, &mut table, &limits);
        let Some(head) = head.map_err(|_| malformed())? else {
            continue;
        };
        let framing = response_body(&head, false).map_err(|_| malformed())?.body;
        break (head.status, head.len, framing);
    };
    bytes.drain(..head.min(bytes.len()));
    let body = match framing {
        ResponseBody::Empty => Vec::new(),
        ResponseBody::Sized(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > ADMIN_ANSWER_BYTES {
                return Err(malformed());
            }
            while bytes.len() < length {
                more(socket, &mut bytes, deadline)?;
            }
            bytes.truncate(length);
            bytes
        }
        ResponseBody::Chunked => read_chunks(socket, bytes, deadline)?.ok_or_else(malformed)?,
        ResponseBody::UntilClose => return Err(malformed()),
    };
    Ok(Reply {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Reads a chunked body, whose first bytes are `bytes`; `None`: it is malformed or too long.
fn read_chunks(
    socket: &mut Socket,
    mut bytes: Vec<u8>,
    deadline: Option<Instant>,
) -> io::Result<Option<Vec<u8>>> {
    let (mut body, mut decoder) = (Vec::new(), ChunkDecoder::new());
    loop {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() && !decoder.is_done() {
            let (skip, len) = match decoder.step(rest) {
                Ok(ChunkStep::Data { skip, len }) => (skip, len),
                Ok(ChunkStep::Skip(skip) | ChunkStep::End { skip }) => (skip, 0),
                Ok(ChunkStep::Need) => (rest.len(), 0),
                Err(_) => return Ok(None),
            };
            rest = rest.get(skip..).unwrap_or_default();
            let (data, behind) = rest.split_at_checked(len).unwrap_or_default();
            body.extend_from_slice(data);
            rest = behind;
        }
        if decoder.is_done() {
            return Ok(Some(body));
        }
        if body.len() > ADMIN_ANSWER_BYTES {
            return Ok(None);
        }
        bytes.clear();
        more(socket, &mut bytes, deadline)?;
    }
}

/// Reads what comes next.
fn more(socket: &mut Socket, bytes: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(left)?;
    let mut room = [0; 4096];
    match socket.read(&mut room)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.extend_from_slice(room.get(..count).unwrap_or_default());
            Ok(())
        }
    }
}

//! Client of the admin listener, for the commands of the command line: one request, and its answer.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::ListenAddress;
use crate::limits::ADMIN_ANSWER_BYTES;
use crate::net::answer::{self, Source};
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
    let socket = connect(address).map_err(|error| unreachable(address, &error))?;
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answered = socket
        .set_write_timeout(Some(CONNECT))
        .and_then(|()| (&socket).write_all(head.as_bytes()))
        .and_then(|()| answer::read(&mut Reader { socket, deadline }, Some(ADMIN_ANSWER_BYTES)));
    let reply = answered.map(|answer| Reply {
        status: answer.status,
        body: String::from_utf8_lossy(&answer.body).into_owned(),
    });
    reply.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!(
            "the gateway at {address} has not answered {request} in {} s; what it does is in its log",
            time.as_secs()
        ),
        _ => format!("the gateway at {address} does not answer {request}: {error}; is it a tollgate?"),
    })
}

/// Connection that is read until a deadline.
struct Reader {
    socket: Socket,
    deadline: Option<Instant>,
}

impl Source for Reader {
    fn more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let now = Instant::now();
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(now));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(left)?;
        let mut room = [0; 4096];
        match self.socket.read(&mut room)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes.extend_from_slice(room.get(..count).unwrap_or_default());
                Ok(())
            }
        }
    }
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

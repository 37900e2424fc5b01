//! Question over a connection of its own, with the transport of the gateway.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::{Domain, SockAddr, Socket, Type};

use super::CHECK;
use crate::http::mistaken;
use crate::limits::SCRATCH_BYTES;
use crate::net::answer::{Answer, Source, read};
use crate::policy::store::session::{Account, Session};
use crate::time::UnixTime;
use crate::transport::client::ClientTls;
use crate::transport::{Handshake, Received, Transport, TransportFault};

/// Counts of nothing in a store.
const STORE_TRIES: usize = 3;

/// The hello of a TLS client (RFC 8446 4.1.2), before and behind its 32 random bytes: two cipher suites and
/// no extension. Each server answers it, perhaps with an alert.
const HELLO_START: &[u8] = b"\x16\x03\x01\0\x2f\x01\0\0\x2b\x03\x03";
const HELLO_END: &[u8] = b"\0\0\x04\xc0\x2f\xc0\x2b\x01\0";

/// Question to an address.
pub(super) struct Question {
    pub(super) address: SocketAddr,
    /// Path of the unix socket that the address stands for.
    pub(super) socket: Option<String>,
    pub(super) tls: Option<ClientTls>,
    pub(super) asked: Asked,
}

/// Subject of a question.
pub(super) enum Asked {
    /// A request, and the most bytes of the body of its answer; `None`: the head is enough.
    Http(Vec<u8>, Option<usize>),
    /// A store whose keys begin with the text, if it lets the account in and takes a count of nothing.
    Store(Account, String),
}

/// Answer, and facts of its connection.
pub(super) struct Answered {
    /// Response; `None`: a store took the count.
    pub(super) answer: Option<Answer>,
    /// Time of day when the head came.
    pub(super) now: UnixTime,
    /// First end of validity of the certificates that were shown.
    pub(super) certificates_end: Option<UnixTime>,
    /// Time that a store took for an answer; that of a response begins with the connection.
    pub(super) took: Duration,
}

/// Reason why there is no answer.
pub(super) enum Trouble {
    /// No connection.
    Connect(io::Error),
    /// No TLS, and what helps; empty if that is not known.
    Tls(String, &'static str),
    /// No answer over the connection.
    Answer(io::Error),
    /// A store does not take the count. The text is its own.
    Refused(String),
}

/// Connection until a deadline.
struct Connection {
    socket: Socket,
    transport: Transport,
    scratch: Vec<u8>,
    deadline: Instant,
}

/// Returns the time of day.
pub(super) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime::from_millis(since.map_or(0, |since| since.as_millis() as u64))
}

/// Connects, asks, and reads the answer. A port that may speak TLS instead of plain text is said hello to,
/// and one that asked for a client certificate is asked an ordinary question.
pub(super) fn ask(question: Question) -> Result<Answered, Trouble> {
    let deadline = Instant::now().checked_add(CHECK);
    let deadline = deadline.unwrap_or_else(Instant::now);
    let answered = converse(&question, deadline);
    // Servers with TLS answer plain text, and many a client without a certificate, with 400, an alert, or nothing.
    let is_strange = match &answered {
        Ok(answered) => answered.answer.as_ref().is_some_and(|it| it.status == 400),
        Err(Trouble::Answer(error)) => error.kind() != io::ErrorKind::TimedOut,
        // A certificate that is refused here is another fault.
        Err(Trouble::Tls(text, _)) => !text.starts_with("invalid peer certificate"),
        Err(_) => false,
    };
    let (problem, cure) = match &question.tls {
        _ if !is_strange => return answered,
        Some(tls)
            if tls.wants_certificate()
                && !takes_ordinary(&question, deadline)
                && left(deadline).is_ok() =>
        {
            (
                "it serves no client without a certificate",
                "set tls.cert and tls.key",
            )
        }
        None if question.socket.is_none()
            && speaks_tls(&question, deadline).unwrap_or(false)
            && !(answered.is_ok() && takes_ordinary(&question, deadline)) =>
        {
            ("the port speaks TLS", "write https:// in the target")
        }
        _ => return answered,
    };
    Err(Trouble::Tls(problem.to_owned(), cure))
}

/// Returns true if an ordinary request has another answer than 400: a server that speaks both may
/// refuse `OPTIONS *` alone, and one to which certificates are optional may refuse the question.
fn takes_ordinary(question: &Question, deadline: Instant) -> bool {
    let Asked::Http(request, _) = &question.asked else {
        return false;
    };
    let line = request.iter().position(|byte| *byte == b'\r');
    let Some(rest) = line.and_then(|end| request.get(end..)) else {
        return false;
    };
    // A form may have credentials.
    if request.starts_with(b"POST") {
        return question.tls.is_some();
    }
    let ordinary = Question {
        address: question.address,
        socket: question.socket.clone(),
        tls: question.tls.clone(),
        asked: Asked::Http([b"GET / HTTP/1.1", rest].concat(), None),
    };
    let answered = converse(&ordinary, deadline).ok();
    let answer = answered.and_then(|answered| answered.answer);
    answer.is_some_and(|answer| answer.status != 400)
}

/// Returns the time until the deadline.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left < Duration::from_millis(1) {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// Says hello, and returns true if the answer is a record of TLS.
fn speaks_tls(question: &Question, deadline: Instant) -> io::Result<bool> {
    let mut connection = Connection {
        socket: connect(question)?,
        transport: Transport::Plain,
        scratch: Vec::new(),
        deadline,
    };
    let mut bytes = Vec::new();
    connection.send(&[HELLO_START, &[0; 32], HELLO_END].concat())?;
    connection.more(&mut bytes)?;
    Ok(mistaken::is_tls(&bytes))
}

fn converse(question: &Question, deadline: Instant) -> Result<Answered, Trouble> {
    let begun = Instant::now();
    let socket = connect(question).map_err(Trouble::Connect)?;
    let transport = match &question.tls {
        None => Ok(Transport::Plain),
        Some(tls) => Transport::client(tls),
    };
    let mut connection = Connection {
        socket,
        transport: transport.map_err(no_tls)?,
        scratch: vec![0; SCRATCH_BYTES],
        deadline,
    };
    connection.handshake()?;
    let certificates_end = connection.transport.certificates_end();
    let (answer, took) = match &question.asked {
        Asked::Http(request, body) => {
            // A server that closes at once may have said why.
            let sent = connection.send(request);
            let answer = read(&mut connection, *body).or_else(|error| sent.and(Err(error)));
            (Some(answer.map_err(Trouble::Answer)?), begun.elapsed())
        }
        Asked::Store(account, prefix) => (None, connection.count(account, prefix)?),
    };
    Ok(Answered {
        answer,
        now: now(),
        certificates_end,
        took,
    })
}

fn no_tls(fault: TransportFault) -> Trouble {
    match fault {
        TransportFault::Tls { reason, cure } => Trouble::Tls(reason, cure),
        other => Trouble::Tls(other.to_string(), ""),
    }
}

fn connect(question: &Question) -> io::Result<Socket> {
    let (domain, address) = match &question.socket {
        Some(path) => (Domain::UNIX, SockAddr::unix(path)?),
        None => (
            Domain::for_address(question.address),
            SockAddr::from(question.address),
        ),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    match question.socket {
        // A full queue of a unix socket is EAGAIN, which does not become ready.
        Some(_) => {
            socket.set_write_timeout(Some(CHECK))?;
            socket.connect(&address)?;
        }
        None => socket.connect_timeout(&address, CHECK)?,
    }
    Ok(socket)
}

impl Connection {
    /// Has the socket wait until the deadline and no longer.
    fn wait(&self) -> io::Result<()> {
        let left = left(self.deadline)?;
        self.socket.set_read_timeout(Some(left))?;
        self.socket.set_write_timeout(Some(left))
    }

    fn handshake(&mut self) -> Result<(), Trouble> {
        let late = "the TLS handshake was not done in 3 s";
        loop {
            self.wait().map_err(|_| Trouble::Tls(late.to_owned(), ""))?;
            let progress = self
                .transport
                .handshake(&mut self.socket, &mut self.scratch);
            match progress {
                Ok(Handshake::Done) => return Ok(()),
                Ok(Handshake::Pending) => {}
                Err(fault) => return Err(no_tls(fault)),
            }
        }
    }

    /// Counts nothing in a store. Returns the time of the answer: the least of a few, because one may be
    /// late by chance.
    fn count(&mut self, account: &Account, prefix: &str) -> Result<Duration, Trouble> {
        let (mut commands, mut bytes, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        let mut session = Session::begin(account, &mut commands);
        let mut least = CHECK;
        for _ in 0..STORE_TRIES {
            session.probe(prefix, &mut commands);
            let begun = Instant::now();
            self.send(&commands).map_err(Trouble::Answer)?;
            commands.clear();
            while answers.is_empty() {
                self.more(&mut bytes).map_err(Trouble::Answer)?;
                let read = session.receive(&bytes, &mut answers);
                let read = read.map_err(|fault| Trouble::Refused(fault.to_string()))?;
                bytes.drain(..read.min(bytes.len()));
            }
            least = least.min(begun.elapsed());
            for answer in answers.drain(..) {
                let refused = |text| Trouble::Refused(format!("it refuses a count: {text}"));
                answer.result.map_err(refused)?;
            }
        }
        Ok(least)
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.wait()?;
            let (socket, scratch) = (&mut self.socket, &mut self.scratch);
            match self.transport.write(socket, scratch, bytes, &[]) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Source for Connection {
    fn more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut room = [0; 4096];
        loop {
            self.wait()?;
            let (socket, scratch) = (&mut self.socket, &mut self.scratch);
            match self.transport.read(socket, scratch, &mut room) {
                Received::Bytes { n, .. } => {
                    bytes.extend_from_slice(room.get(..n).unwrap_or_default());
                    return Ok(());
                }
                Received::Blocked | Received::NoPlaintext => {}
                Received::End | Received::Fault(TransportFault::Reset) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Received::Fault(fault) => return Err(io::Error::other(fault)),
            }
        }
    }
}

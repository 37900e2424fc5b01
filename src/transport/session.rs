//! A TLS session: rustls' unbuffered API, of a client and of a server, behind the same few calls.
//!
//! Ciphertext lies in the caller's memory, is decrypted there, and is sealed into the caller's memory. What a session keeps
//! of its own are keys and the state of the protocol; its other API keeps 4 KB for each connection that was ever read from.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error};

use super::byte_queue::ByteQueue;
use super::client::ClientTls;
use super::meter::Meter;
use super::provider::WorkCount;
use super::server::ServerTls;

/// Plaintext of a full record (RFC 8446 5.1), and the most that a record adds to it (RFC 5288 3 with its header).
const MAX_FRAGMENT: usize = 16 << 10;
const OVERHEAD: usize = 29;
/// What rustls may put before the records it is asked for: updates of keys, and the alert that ends it all.
const PRECEDING_BYTES: usize = 128;

/// The record of a close_notify before there are keys (RFC 8446 5.1, 6).
const PLAIN_CLOSE_NOTIFY: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];

/// What a session with somebody is. Whatever it is called for, records of its own accord (flights of a handshake, alerts) may
/// want to be collected afterwards.
pub(super) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Where plaintext goes: to the front of the room, and what it has no place for behind it.
pub(super) struct Plaintext<'p> {
    room: &'p mut [u8],
    filled: usize,
    rest: &'p mut ByteQueue,
}

/// What working off ciphertext came to.
#[derive(Default)]
pub(super) struct Opened {
    /// Bytes at the front of the ciphertext that are done with. The others must come again, with more behind them.
    pub(super) used: usize,
    /// The peer has said that it is done (RFC 8446 6.1).
    pub(super) closed: bool,
    /// Nothing more will be made of what comes.
    pub(super) failure: Option<Failure>,
}

/// Why a session goes no further.
pub(super) enum Failure {
    /// rustls says so.
    Rustls(Error),
    /// The peer asks for more than its share of work.
    Flood(&'static str),
}

/// What sealing came to.
#[derive(Default)]
pub(super) struct Sealed {
    /// Bytes of plaintext.
    pub(super) taken: usize,
    /// Bytes of ciphertext, all of the taken plaintext among them.
    pub(super) bytes: usize,
}

/// What is to be done once application data may be sent.
type SealAction<'a> = &'a mut dyn FnMut(&mut dyn Sealer);

/// [`WriteTraffic`] of either side.
trait Sealer {
    fn encrypt(&mut self, plaintext: &[u8], into: &mut [u8]) -> Result<usize, EncryptError>;
    fn close(&mut self, into: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Side> Sealer for WriteTraffic<'_, Side> {
    fn encrypt(&mut self, plaintext: &[u8], into: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::encrypt(self, plaintext, into)
    }

    fn close(&mut self, into: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(into)
    }
}

impl<'p> Plaintext<'p> {
    pub(super) fn new(room: &'p mut [u8], rest: &'p mut ByteQueue) -> Plaintext<'p> {
        Plaintext {
            room,
            filled: 0,
            rest,
        }
    }

    /// Bytes at the front of the room.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = self.room.get_mut(self.filled..).unwrap_or_default();
        let (fits, rest) = bytes.split_at_checked(room.len()).unwrap_or((bytes, &[]));
        if let Some(room) = room.get_mut(..fits.len()) {
            room.copy_from_slice(fits);
        }
        self.filled = self.filled.saturating_add(fits.len());
        self.rest.append(rest);
    }
}

impl Session {
    pub(super) fn client(tls: &ClientTls) -> Result<Session, Error> {
        UnbufferedClientConnection::new(Arc::clone(&tls.config), tls.name.clone())
            .map(Session::Client)
    }

    pub(super) fn server(tls: &ServerTls) -> Result<Session, Error> {
        UnbufferedServerConnection::new(Arc::clone(&tls.config)).map(Session::Server)
    }

    fn common(&self) -> &CommonState {
        match self {
            Session::Client(client) => client,
            Session::Server(server) => server,
        }
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self, Session::Server(_))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether something is to be collected.
    pub(super) fn wants_write(&self) -> bool {
        self.common().wants_write()
    }

    /// The certificates that the peer showed, its own first.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.common().peer_certificates()
    }

    /// Works off what came, as far as it goes and as far as the meter lets the peer go.
    pub(super) fn open(
        &mut self,
        ciphertext: &mut [u8],
        plaintext: &mut Plaintext<'_>,
        outgoing: &mut ByteQueue,
        meter: &mut Meter,
    ) -> Opened {
        let mut opened = Opened::default();
        loop {
            let rest = ciphertext.get_mut(opened.used..).unwrap_or_default();
            let (is_open, before) = (!self.is_handshaking(), WorkCount::now());
            let (used, next) = self.step(rest, plaintext, outgoing, &mut |_| {});
            opened.used = opened.used.saturating_add(used);
            if is_open && let Err(flood) = meter.record(used, WorkCount::since(before)) {
                opened.failure = Some(Failure::Flood(flood));
                return opened;
            }
            match next {
                Next::Again => {}
                Next::Closed => opened.closed = true,
                Next::Wait => return opened,
                Next::Failure(error) => {
                    opened.failure = Some(Failure::Rustls(error));
                    return opened;
                }
            }
        }
    }

    /// Takes out what it wants to say of its own accord.
    pub(super) fn collect_outgoing(&mut self, outgoing: &mut ByteQueue) {
        let mut nowhere = ByteQueue::default();
        while self.common().wants_write() {
            // What is to be sent comes before anything else, so that this looks at no ciphertext.
            self.step(
                &mut [],
                &mut Plaintext::new(&mut [], &mut nowhere),
                outgoing,
                &mut |_| {},
            );
        }
    }

    /// Seals the front of both parts, as much of them as has room; `unopened` is what came and was not worked off. None at
    /// all: it may not be sent (yet).
    ///
    /// # Errors
    /// The session has failed, or its keys are used up.
    pub(super) fn seal(
        &mut self,
        unopened: &mut [u8],
        parts: [&[u8]; 2],
        into: &mut [u8],
    ) -> Result<Sealed, Error> {
        let mut outcome = Ok(Sealed::default());
        self.with_sealer(unopened, &mut |sealer| outcome = seal(sealer, parts, into))?;
        outcome
    }

    /// Says that nothing more will be said (RFC 8446 6.1); how many bytes that takes.
    pub(super) fn close(&mut self, unopened: &mut [u8]) -> ([u8; PRECEDING_BYTES], usize) {
        let mut alert = [0; PRECEDING_BYTES];
        let mut bytes = 0;
        if self.common().protocol_version().is_none() {
            // No hello was answered: there are no keys, and rustls has nothing to say.
            if let Some(front) = alert.get_mut(..PLAIN_CLOSE_NOTIFY.len()) {
                front.copy_from_slice(&PLAIN_CLOSE_NOTIFY);
            }
            return (alert, PLAIN_CLOSE_NOTIFY.len());
        }
        // A session that has failed has said so already.
        let _ = self.with_sealer(unopened, &mut |sealer| {
            bytes = sealer.close(&mut alert).unwrap_or(0)
        });
        (alert, bytes)
    }

    /// Does something if application data may be sent.
    fn with_sealer(&mut self, unopened: &mut [u8], action: SealAction<'_>) -> Result<(), Error> {
        // All that could be worked off was, and all that wanted to go out did: nothing comes of these.
        let (mut plaintext, mut outgoing) = (ByteQueue::default(), ByteQueue::default());
        loop {
            match self.step(
                unopened,
                &mut Plaintext::new(&mut [], &mut plaintext),
                &mut outgoing,
                action,
            ) {
                (0, Next::Again | Next::Closed) => {}
                (_, Next::Failure(error)) => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    fn step(
        &mut self,
        ciphertext: &mut [u8],
        plaintext: &mut Plaintext<'_>,
        outgoing: &mut ByteQueue,
        action: SealAction<'_>,
    ) -> (usize, Next) {
        match self {
            Session::Client(client) => step(
                client.process_tls_records(ciphertext),
                plaintext,
                outgoing,
                action,
            ),
            Session::Server(server) => step(
                server.process_tls_records(ciphertext),
                plaintext,
                outgoing,
                action,
            ),
        }
    }
}

/// What a step leads to.
enum Next {
    /// Another.
    Again,
    /// Another, and there is no more application data behind it.
    Closed,
    /// Something must come first.
    Wait,
    Failure(Error),
}

/// Does what the state asks for; says how much of the ciphertext is done with.
fn step<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    plaintext: &mut Plaintext<'_>,
    outgoing: &mut ByteQueue,
    action: SealAction<'_>,
) -> (usize, Next) {
    let next = match status.state {
        Ok(ConnectionState::ReadTraffic(traffic)) => {
            return read(status.discard, traffic, plaintext);
        }
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is in our hands, and the pipe sends nothing before it.
            data.done();
            Next::Again
        }
        Ok(ConnectionState::PeerClosed) => Next::Closed,
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            action(&mut traffic);
            Next::Wait
        }
        // Both have closed, or the peer's part of the handshake is awaited. (Early data we offer to nobody.)
        Ok(_) => Next::Wait,
        Err(error) => Next::Failure(error),
    };
    (status.discard, next)
}

fn read<Side>(
    mut used: usize,
    mut traffic: ReadTraffic<'_, '_, Side>,
    plaintext: &mut Plaintext<'_>,
) -> (usize, Next) {
    while let Some(record) = traffic.next_record() {
        match record {
            Ok(record) => {
                plaintext.take(record.payload);
                used = used.saturating_add(record.discard);
            }
            Err(error) => return (used, Next::Failure(error)),
        }
    }
    (used, Next::Again)
}

fn encode<Side>(mut data: EncodeTlsData<'_, Side>, outgoing: &mut ByteQueue) -> Next {
    let size = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Ok(_) | Err(EncodeError::AlreadyEncoded) => return Next::Again,
    };
    match data.encode(outgoing.extend(size)) {
        Ok(_) => Next::Again,
        Err(error) => Next::Failure(Error::General(error.to_string())),
    }
}

fn seal(sealer: &mut dyn Sealer, parts: [&[u8]; 2], into: &mut [u8]) -> Result<Sealed, Error> {
    let mut sealed = Sealed::default();
    for part in parts {
        let room = into.get_mut(sealed.bytes..).unwrap_or_default();
        let most = capacity(room.len()).min(part.len());
        if most == 0 {
            continue;
        }
        match sealer.encrypt(part.get(..most).unwrap_or_default(), room) {
            Ok(bytes) => {
                sealed.bytes = sealed.bytes.saturating_add(bytes);
                sealed.taken = sealed.taken.saturating_add(most);
            }
            // What is sealed goes out; the next call meets the same.
            Err(_) if sealed.taken > 0 => break,
            Err(error) => return Err(Error::General(error.to_string())),
        }
        if most < part.len() {
            break;
        }
    }
    Ok(sealed)
}

/// Plaintext that surely has room once it is sealed.
fn capacity(room: usize) -> usize {
    let room = room.saturating_sub(PRECEDING_BYTES);
    let records = (room / MAX_FRAGMENT).saturating_add(1);
    room.saturating_sub(records.saturating_mul(OVERHEAD))
}

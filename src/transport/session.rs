//! TLS session: rustls' unbuffered API for clients and servers, behind one set of calls.
//!
//! Ciphertext stays in the caller's memory, is decrypted there, and is sealed into the caller's
//! memory. A session owns only keys and protocol state. rustls' buffered API would keep 4 KB for
//! each connection that was ever read from.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error};

use super::TlsFacts;
use super::byte_queue::ByteQueue;
use super::client::ClientTls;
use super::meter::Meter;
use super::provider::WorkCount;
use super::server::{ServerTls, TlsVersion};

/// Plaintext of a full record (RFC 8446 5.1), and the most that a record adds to it (RFC 5288 3
/// with its header).
const MAX_FRAGMENT: usize = 16 << 10;
const OVERHEAD: usize = 29;
/// Room for records that rustls may put first: key updates, and the final alert.
const PRECEDING_BYTES: usize = 128;

/// Record of a close_notify before keys exist (RFC 8446 5.1, 6).
const PLAIN_CLOSE_NOTIFY: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];

/// TLS session of a client or a server. Every call may produce records of the session itself
/// (flights of a handshake, alerts), which the caller must collect afterwards.
pub(super) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Destination of plaintext: the room of the reader, then a queue for the rest.
pub(super) struct Plaintext<'p> {
    room: &'p mut [u8],
    filled: usize,
    rest: &'p mut ByteQueue,
}

/// Result of decrypting.
#[derive(Default)]
pub(super) struct Opened {
    /// Bytes at the front of the ciphertext that are consumed. The caller must offer the others
    /// again, with more bytes behind them.
    pub(super) used: usize,
    /// The peer sent close_notify (RFC 8446 6.1).
    pub(super) closed: bool,
    /// Fault after which the session cannot continue.
    pub(super) failure: Option<Failure>,
}

/// Fault that ends a session.
pub(super) enum Failure {
    /// Error of rustls.
    Rustls(Error),
    /// The peer requests more work than it may.
    Flood(&'static str),
}

/// Result of sealing.
#[derive(Default)]
pub(super) struct Sealed {
    /// Bytes of plaintext.
    pub(super) taken: usize,
    /// Bytes of ciphertext, with all of that plaintext.
    pub(super) bytes: usize,
}

/// Action that runs once application data may be sent.
type SealAction<'a> = &'a mut dyn FnMut(&mut dyn Sealer);

/// [`WriteTraffic`] of a client or a server.
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

    /// Returns the number of bytes at the front of the room.
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

    /// Returns the facts of a handshake that is done.
    pub(super) fn facts(&self) -> Option<TlsFacts> {
        let version = match self.common().protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        };
        let is_resumed = self.common().handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        Some(TlsFacts {
            version,
            is_resumed,
        })
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self, Session::Server(_))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Returns true if records are to be collected.
    pub(super) fn wants_write(&self) -> bool {
        self.common().wants_write()
    }

    /// Returns the certificates that the peer sent, its own first.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.common().peer_certificates()
    }

    /// Decrypts ciphertext, until the session needs more bytes or the meter stops the peer.
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

    /// Moves the session's own records into `outgoing`.
    pub(super) fn collect_outgoing(&mut self, outgoing: &mut ByteQueue) {
        let mut nowhere = ByteQueue::default();
        while self.common().wants_write() {
            // rustls returns what is to be sent first, so this step reads no ciphertext.
            self.step(
                &mut [],
                &mut Plaintext::new(&mut [], &mut nowhere),
                outgoing,
                &mut |_| {},
            );
        }
    }

    /// Seals the front of both parts, as much of them as fits. `unopened` is ciphertext that was
    /// not consumed yet. Returns empty if nothing may be sent (yet).
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

    /// Creates a close_notify (RFC 8446 6.1). Returns the record and its length.
    pub(super) fn close(&mut self, unopened: &mut [u8]) -> ([u8; PRECEDING_BYTES], usize) {
        let mut alert = [0; PRECEDING_BYTES];
        let mut bytes = 0;
        if self.common().protocol_version().is_none() {
            // No hello was answered: no keys exist, and rustls creates no alert.
            if let Some(front) = alert.get_mut(..PLAIN_CLOSE_NOTIFY.len()) {
                front.copy_from_slice(&PLAIN_CLOSE_NOTIFY);
            }
            return (alert, PLAIN_CLOSE_NOTIFY.len());
        }
        // A session that failed has sent its alert already.
        let _ = self.with_sealer(unopened, &mut |sealer| {
            bytes = sealer.close(&mut alert).unwrap_or(0)
        });
        (alert, bytes)
    }

    /// Runs `action` if application data may be sent.
    fn with_sealer(&mut self, unopened: &mut [u8], action: SealAction<'_>) -> Result<(), Error> {
        // All ciphertext was processed and all output collected, so these stay empty.
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

/// Next action after a step.
enum Next {
    /// Another step.
    Again,
    /// Another step; no application data follows.
    Closed,
    /// No step until something else happens.
    Wait,
    Failure(Error),
}

/// Executes what the state asks for. Returns the consumed bytes of ciphertext.
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
            // The record is in `outgoing`, and the pipe sends nothing before it.
            data.done();
            Next::Again
        }
        Ok(ConnectionState::PeerClosed) => Next::Closed,
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            action(&mut traffic);
            Next::Wait
        }
        // Both directions are closed, or the peer's part of the handshake is missing. (Early data
        // is not supported.)
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
            // Sealed bytes go out first; the next call gets the same error.
            Err(_) if sealed.taken > 0 => break,
            Err(error) => return Err(Error::General(error.to_string())),
        }
        if most < part.len() {
            break;
        }
    }
    Ok(sealed)
}

/// Returns the largest plaintext whose ciphertext certainly fits.
fn capacity(room: usize) -> usize {
    let room = room.saturating_sub(PRECEDING_BYTES);
    let records = (room / MAX_FRAGMENT).saturating_add(1);
    room.saturating_sub(records.saturating_mul(OVERHEAD))
}

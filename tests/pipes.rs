//! Both kinds of pipe over a wire in memory: a real rustls server at its far end, and short reads
//! and writes of every size.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData, SigningKey, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, SupportedProtocolVersion};

use tollgate::limits::SCRATCH_BYTES;
use tollgate::transport::client::ClientTls;
use tollgate::transport::identity::certificates_from_pem;
use tollgate::transport::{Handshake, Received, Transport, TransportFault};

use super::authority::{Authority, BOTH, private};
use super::record_forger::{ALERT, DATA, Forger, HANDSHAKE, HELLO_REQUEST, WARNING};

// --- the wire ---

/// Socket of the client. `inbox` is what the peer has sent, `outbox` what the pipe has written.
struct Wire {
    inbox: VecDeque<u8>,
    outbox: Vec<u8>,
    /// Largest number of bytes that one call moves.
    chunk: usize,
    /// Bytes that the socket still takes before it blocks.
    takes: usize,
    /// True if the peer's FIN is behind the inbox.
    fin: bool,
    /// Error behind the inbox, in place of "would block".
    error: Option<io::ErrorKind>,
    calls: Vec<&'static str>,
}

impl Wire {
    fn new(chunk: usize) -> Wire {
        Wire {
            inbox: VecDeque::new(),
            outbox: Vec::new(),
            chunk,
            takes: usize::MAX,
            fin: false,
            error: None,
            calls: Vec::new(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.calls.push("read");
        if self.inbox.is_empty() {
            return match self.error {
                Some(kind) => Err(kind.into()),
                None if self.fin => Ok(0),
                None => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let most = room.len().min(self.chunk);
        self.inbox.read(&mut room[..most])
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls.push("write");
        let n = bytes.len().min(self.chunk).min(self.takes);
        if n == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.takes -= n;
        self.outbox.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let most = self.chunk.min(self.takes);
        let all = parts
            .iter()
            .flat_map(|part| part.iter().copied())
            .take(most.max(1))
            .collect::<Vec<_>>();
        let written = self.write(&all);
        *self.calls.last_mut().unwrap() = "writev";
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// --- the server ---

impl Authority {
    /// Returns a server's settings with a certificate for `name`.
    fn server(
        &self,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        self.server_with(
            CertificateParams::new(vec![name.to_owned()]).unwrap(),
            versions,
        )
    }

    fn server_with(
        &self,
        params: CertificateParams,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(params);
        serve(certificate.der().clone(), &key, versions)
    }

    /// Returns the settings of an upstream with this name, which trust this authority beside the
    /// public ones.
    fn upstream(&self, name: &str) -> ClientTls {
        ClientTls::new(name, None, &[self.der.to_vec()], None).unwrap()
    }
}

fn serve(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private(key))
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Client pipe, its wire, and the server behind it.
struct Link {
    pipe: Transport,
    wire: Wire,
    server: ServerConnection,
    scratch: Vec<u8>,
    /// Application data that the server has received.
    arrived: Vec<u8>,
    /// Error of the server.
    refused: Option<rustls::Error>,
}

impl Link {
    fn new(client: &ClientTls, server: &Arc<ServerConfig>, chunk: usize) -> Link {
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        server.set_buffer_limit(None);
        Link {
            pipe: Transport::client(client).unwrap(),
            wire: Wire::new(chunk),
            server,
            scratch: vec![0; SCRATCH_BYTES],
            arrived: Vec::new(),
            refused: None,
        }
    }

    /// Moves what the client has written to the server, and the server's answers into the wire.
    fn carry(&mut self) {
        let sent = std::mem::take(&mut self.wire.outbox);
        let mut rest = sent.as_slice();
        while !rest.is_empty() && self.refused.is_none() {
            self.server.read_tls(&mut rest).unwrap();
            self.refused = self.server.process_new_packets().err();
            // An error "would block" means here that no more data is available.
            let _ = self.server.reader().read_to_end(&mut self.arrived);
        }
        while self.server.wants_write() {
            self.server.write_tls(&mut self.wire.inbox).unwrap();
        }
    }

    fn handshake(&mut self) -> Result<(), TransportFault> {
        for _ in 0..20 {
            let state = self.pipe.handshake(&mut self.wire, &mut self.scratch)?;
            self.carry();
            if state == Handshake::Done {
                return Ok(());
            }
        }
        panic!("no end to the handshake");
    }

    fn established(client: &ClientTls, server: &Arc<ServerConfig>, chunk: usize) -> Link {
        let mut link = Link::new(client, server, chunk);
        link.handshake().unwrap();
        link
    }

    fn server_says(&mut self, bytes: &[u8]) {
        self.server.writer().write_all(bytes).unwrap();
        self.carry();
    }

    fn read(&mut self, room: &mut [u8]) -> Received {
        self.pipe.read(&mut self.wire, &mut self.scratch, room)
    }

    /// Reads until the socket and the pipe have nothing more. Returns the bytes and the last
    /// result.
    fn read_all(&mut self, room: usize) -> (Vec<u8>, Received) {
        let mut came = Vec::new();
        let mut room = vec![0; room];
        loop {
            match self.read(&mut room) {
                Received::Bytes { n, .. } => came.extend_from_slice(&room[..n]),
                other => return (came, other),
            }
        }
    }
}

/// Returns bytes that show their position.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// Fails instead of hanging when `work` does not end.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = channel();
    thread::spawn(move || done.send(work()));
    wait.recv_timeout(Duration::from_secs(20))
        .expect("it ends (or it panicked above)")
}

// --- plain ---

#[test]
fn plain_bytes_pass_through() {
    let mut wire = Wire::new(usize::MAX);
    let mut pipe = Transport::Plain;
    assert_eq!(pipe.handshake(&mut wire, &mut []), Ok(Handshake::Done));
    assert!(wire.calls.is_empty());
    wire.inbox.extend(b"hello");
    let mut room = [0; 5];
    assert_eq!(
        pipe.read(&mut wire, &mut [], &mut room),
        Received::Bytes {
            n: 5,
            drained: false
        }
    );
    assert_eq!(&room, b"hello");
    assert_eq!(pipe.read(&mut wire, &mut [], &mut room), Received::Blocked);
    wire.inbox.extend(b"you");
    assert_eq!(
        pipe.read(&mut wire, &mut [], &mut room),
        Received::Bytes {
            n: 3,
            drained: true
        }
    );
    wire.fin = true;
    assert_eq!(pipe.read(&mut wire, &mut [], &mut room), Received::End);
    wire.error = Some(io::ErrorKind::ConnectionReset);
    assert_eq!(
        pipe.read(&mut wire, &mut [], &mut room),
        Received::Fault(TransportFault::Reset)
    );
}

#[test]
fn plain_writes_are_gathered_only_when_there_are_two_parts() {
    let mut wire = Wire::new(usize::MAX);
    let mut pipe = Transport::Plain;
    assert_eq!(pipe.write(&mut wire, &mut [], b"head", b"").unwrap(), 4);
    assert_eq!(pipe.write(&mut wire, &mut [], b"", b"body").unwrap(), 4);
    assert_eq!(pipe.write(&mut wire, &mut [], b"head", b"body").unwrap(), 8);
    assert_eq!(wire.calls, ["write", "write", "writev"]);
    assert_eq!(wire.outbox, b"headbodyheadbody");
    wire.takes = 6;
    assert_eq!(pipe.write(&mut wire, &mut [], b"head", b"body").unwrap(), 6);
    assert_eq!(
        pipe.write(&mut wire, &mut [], b"dy", b"")
            .unwrap_err()
            .kind(),
        io::ErrorKind::WouldBlock
    );
    assert!(!pipe.wants_write(), "a plain pipe keeps nothing");
}

// --- TLS: bytes ---

#[test]
fn tls_carries_every_byte_at_every_chunk_and_room() {
    let authority = Authority::new();
    for version in BOTH {
        let server = authority.server("a.test", &[version]);
        for (chunk, len) in [
            (1, 20_000),
            (3, 30_000),
            (1000, 300_000),
            (4097, 1 << 20),
            (usize::MAX, 1 << 20),
        ] {
            for room in [1_usize, 999, 20 << 10, 41 << 10, 48 << 10, 64 << 10] {
                if room == 1 && chunk > 3 {
                    continue;
                }
                let mut link = Link::established(&authority.upstream("a.test"), &server, chunk);
                let bytes = pattern(len);
                link.server_says(&bytes);
                let (came, end) = link.read_all(room);
                assert_eq!(end, Received::Blocked);
                assert!(
                    came == bytes,
                    "chunk {chunk} room {room}: {} of {len} bytes",
                    came.len()
                );

                let (head, body) = bytes.split_at(len / 3);
                let mut sent = 0;
                while sent < len {
                    let head = head.get(sent..).unwrap_or_default();
                    let body = &body[sent.saturating_sub(len / 3)..];
                    let n = link
                        .pipe
                        .write(&mut link.wire, &mut link.scratch, head, body)
                        .unwrap();
                    assert!(n > 0);
                    sent += n;
                    link.carry();
                }
                assert!(
                    link.arrived == bytes,
                    "chunk {chunk}: what the server received"
                );
            }
        }
    }
}

#[test]
fn http_1_1_is_offered_and_the_name_is_sent() {
    let authority = Authority::new();
    let link = Link::established(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    assert_eq!(link.server.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(link.server.server_name(), Some("a.test"));
}

#[test]
fn a_server_name_stands_in_for_the_host_and_an_address_is_verified_too() {
    let authority = Authority::new();
    let tls = ClientTls::new("10.0.0.1", Some("b.test"), &[authority.der.to_vec()], None).unwrap();
    let link = Link::established(&tls, &authority.server("b.test", &BOTH), usize::MAX);
    assert_eq!(link.server.server_name(), Some("b.test"));
    for address in ["127.0.0.1", "::1"] {
        let link = Link::established(
            &authority.upstream(address),
            &authority.server(address, &BOTH),
            usize::MAX,
        );
        assert_eq!(
            link.server.server_name(),
            None,
            "an address is no SNI (RFC 6066 3)"
        );
    }
}

#[test]
fn drained_means_that_another_read_finds_nothing() {
    let authority = Authority::new();
    let mut link = Link::established(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    link.read_all(1024);
    for room in [10_usize, 16 << 10, 64 << 10] {
        link.server_says(&pattern(100_000));
        let mut room = vec![0; room];
        loop {
            match link.read(&mut room) {
                Received::Bytes { drained: false, .. } => {}
                Received::Bytes { drained: true, .. } | Received::Blocked => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(link.wire.inbox.is_empty() && !link.pipe.has_plaintext());
        assert_eq!(link.read(&mut room), Received::Blocked);
    }
}

#[test]
fn plaintext_inside_counts_as_readable() {
    let authority = Authority::new();
    let mut link = Link::established(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    link.server_says(b"0123456789");
    let mut room = [0; 4];
    for expected in [&b"0123"[..], b"4567"] {
        assert!(matches!(
            link.read(&mut room),
            Received::Bytes {
                n: 4,
                drained: false
            }
        ));
        assert_eq!(room, expected);
        assert!(link.pipe.has_plaintext(), "although the socket is empty");
    }
    assert!(matches!(link.read(&mut room), Received::Bytes { n: 2, .. }));
    assert!(!link.pipe.has_plaintext());
    assert_eq!(link.read(&mut room), Received::Blocked);
}

#[test]
fn a_socket_that_takes_nothing_bounds_what_is_inside() {
    let authority = Authority::new();
    let mut link = Link::established(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    let bytes = pattern(1 << 20);
    link.wire.takes = 0;
    let mut sent = 0;
    let blocked = loop {
        match link
            .pipe
            .write(&mut link.wire, &mut link.scratch, &bytes[sent..], b"")
        {
            Ok(n) => sent += n,
            Err(error) => break error,
        }
        assert!(sent <= 64 << 10, "{sent} bytes are inside");
    };
    assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
    assert!(
        sent == 0 && link.pipe.wants_write(),
        "bytes inside the pipe do not count as sent"
    );

    while sent < bytes.len() || link.pipe.wants_write() {
        link.wire.takes = 1_234;
        match link
            .pipe
            .write(&mut link.wire, &mut link.scratch, &bytes[sent..], b"")
        {
            Ok(n) => sent += n,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        link.carry();
    }
    assert!(link.arrived == bytes);
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    for version in BOTH {
        let server = authority.server("a.test", &[version]);
        let tls = authority.upstream("a.test");
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut link = Link::established(&tls, &server, usize::MAX);
            link.server_says(b"x");
            assert_eq!(link.read_all(100).0, b"x");
            assert_eq!(link.server.handshake_kind(), Some(expected), "{version:?}");
        }
    }
}

/// Trust is checked only in a full handshake: a session must not carry it to a target with other
/// roots.
#[test]
fn a_session_of_one_target_opens_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::named("stranger"));
    for version in BOTH {
        let server = authority.server("a.test", &[version]);
        let (trusting, other) = (authority.upstream("a.test"), stranger.upstream("a.test"));
        let mut link = Link::established(&trusting, &server, usize::MAX);
        link.server_says(b"x");
        link.read_all(100);
        assert!(
            refusal(Link::new(&other, &server, usize::MAX)).contains("tls.ca"),
            "{version:?}"
        );
        // A session must not carry trust to another server name with the same roots, either.
        let renamed =
            ClientTls::new("a.test", Some("b.test"), &[authority.der.to_vec()], None).unwrap();
        assert!(
            refusal(Link::new(&renamed, &server, usize::MAX)).contains("tls.serverName"),
            "{version:?}"
        );
    }
}

// --- TLS: ends ---

#[test]
fn close_notify_is_an_end_and_fin_alone_is_not() {
    let authority = Authority::new();
    let server = authority.server("a.test", &BOTH);
    for room in [1_usize, 30, 64 << 10] {
        let mut link = Link::established(&authority.upstream("a.test"), &server, usize::MAX);
        link.server.writer().write_all(b"bye").unwrap();
        link.server.send_close_notify();
        link.carry();
        link.wire.fin = true;
        assert_eq!(link.read_all(room), (b"bye".to_vec(), Received::End));

        let mut link = Link::established(&authority.upstream("a.test"), &server, usize::MAX);
        link.server_says(b"bye");
        link.wire.fin = true;
        assert_eq!(
            link.read_all(room),
            (b"bye".to_vec(), Received::Fault(TransportFault::Truncated))
        );

        // FIN comes in the middle of a record.
        let mut link = Link::established(&authority.upstream("a.test"), &server, usize::MAX);
        link.read_all(room);
        link.server_says(b"bye");
        link.wire.inbox.pop_back();
        link.wire.fin = true;
        assert_eq!(
            link.read_all(room),
            (vec![], Received::Fault(TransportFault::Truncated))
        );
    }
}

#[test]
fn an_end_right_behind_bytes_is_announced() {
    let authority = Authority::new();
    let server = authority.server("a.test", &BOTH);
    let mut link = Link::established(&authority.upstream("a.test"), &server, usize::MAX);
    link.server.writer().write_all(b"bye").unwrap();
    link.server.send_close_notify();
    link.carry();
    let mut room = vec![0; 64 << 10];
    // Neither FIN nor another event follows, so the pipe itself must report that more can be read.
    assert_eq!(
        link.read(&mut room),
        Received::Bytes {
            n: 3,
            drained: false
        }
    );
    assert!(link.pipe.has_plaintext());
    assert_eq!(link.read(&mut room), Received::End);
}

#[test]
fn bytes_behind_close_notify_are_ignored() {
    for room in [100_usize, 41 << 10, 64 << 10] {
        let end = ends(move || {
            let authority = Authority::new();
            let server = authority.server("a.test", &BOTH);
            let mut link = Link::established(&authority.upstream("a.test"), &server, usize::MAX);
            link.server.writer().write_all(b"bye").unwrap();
            link.server.send_close_notify();
            link.carry();
            link.wire.inbox.extend(pattern(30_000));
            link.read_all(room)
        });
        assert_eq!(end, (b"bye".to_vec(), Received::End));
    }
}

#[test]
fn bytes_before_a_broken_record_are_read() {
    let authority = Authority::new();
    let server = authority.server("a.test", &BOTH);
    for room in [100_usize, 41 << 10, 64 << 10] {
        let mut link = Link::established(&authority.upstream("a.test"), &server, usize::MAX);
        link.read_all(room);
        link.server_says(b"good");
        let good = link.wire.inbox.len();
        link.server_says(b"evil");
        link.wire.inbox[good + 8] ^= 1;
        let mut into = vec![0; room];
        assert!(
            matches!(
                link.read(&mut into),
                Received::Bytes {
                    n: 4,
                    drained: false
                }
            ),
            "room {room}"
        );
        assert!(link.pipe.has_plaintext(), "the fault was not returned yet");
        let Received::Fault(TransportFault::Tls { reason, .. }) = link.read(&mut into) else {
            panic!("a fault")
        };
        assert!(reason.contains("decrypt"), "{reason}");
    }
}

#[test]
fn a_reset_behind_bytes_follows_them() {
    let authority = Authority::new();
    let mut link = Link::established(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    link.server_says(b"good");
    link.wire.error = Some(io::ErrorKind::ConnectionReset);
    assert_eq!(
        link.read_all(64 << 10),
        (b"good".to_vec(), Received::Fault(TransportFault::Reset))
    );
}

#[test]
fn our_close_notify_reaches_the_server_once() {
    let authority = Authority::new();
    let mut link = Link::established(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    link.pipe
        .write(&mut link.wire, &mut link.scratch, b"bye", b"")
        .unwrap();
    link.pipe.close_notify(&mut link.wire);
    let sent = link.wire.outbox.len();
    link.pipe.close_notify(&mut link.wire);
    assert_eq!(link.wire.outbox.len(), sent);
    link.carry();
    assert_eq!(link.arrived, b"bye");
    assert_eq!(
        link.server.reader().read(&mut [0; 1]).unwrap(),
        0,
        "an end, not a truncation"
    );
}

// --- TLS: refused servers ---

/// Returns the reason for which a handshake failed, and checks that the server has not seen a byte
/// of a request.
fn refusal(mut link: Link) -> String {
    // A caller that writes before the end of the handshake must not leak its request.
    let hurry = link.pipe.write(
        &mut link.wire,
        &mut link.scratch,
        b"GET /secret HTTP/1.1\r\n",
        b"",
    );
    assert_eq!(hurry.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let Err(fault @ TransportFault::Tls { .. }) = link.handshake() else {
        panic!("the certificate is a bad one")
    };
    let again = link.pipe.handshake(&mut link.wire, &mut link.scratch);
    assert!(again.is_err(), "once refused, always refused: {again:?}");
    link.carry();
    assert!(link.refused.is_some(), "the server got an alert");
    assert_eq!(link.arrived, b"");
    fault.to_string()
}

#[test]
fn a_wrong_certificate_is_refused_with_advice() {
    let authority = Authority::new();
    let stranger = Authority::named("stranger");
    let namesake = Authority::new();
    let expired = |year| {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(year, 1, 1), date_time_ymd(year + 1, 1, 1));
        params
    };
    let mut middle = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for version in BOTH {
        for chunk in [1, usize::MAX] {
            let client = authority.upstream("a.test");
            let against = |server: &Arc<ServerConfig>| refusal(Link::new(&client, server, chunk));
            for (reason, advice) in [
                (
                    against(&authority.server("b.test", &[version])),
                    "tls.serverName",
                ),
                (against(&stranger.server("a.test", &[version])), "tls.ca"),
                (against(&namesake.server("a.test", &[version])), "tls.ca"),
                (
                    against(&authority.server_with(expired(2001), &[version])),
                    "it ended ",
                ),
                (
                    against(&authority.server_with(expired(2090), &[version])),
                    "it begins in ",
                ),
                (
                    against(&authority.server_with(middle.clone(), &[version])),
                    "put this very certificate into tls.ca",
                ),
            ] {
                assert!(reason.contains(advice), "{reason} (expected: {advice})");
            }
        }
    }
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match content.len() {
        0..=0x7f => vec![low],
        0x80..=0xff => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag][..], &length, &content].concat()
}

/// Returns a certificate of version 1, which has no extensions. Old devices use them.
fn version_1(key: &KeyPair, common_name: &str) -> CertificateDer<'static> {
    let algorithm = der(
        0x30,
        &[&der(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])],
    );
    let name = der(
        0x30,
        &[
            &der(6, &[&[0x55, 4, 3]]),
            &der(12, &[common_name.as_bytes()]),
        ],
    );
    let name = der(0x30, &[&der(0x31, &[&name])]);
    let validity = der(
        0x30,
        &[
            &der(0x17, &[b"200101000000Z"]),
            &der(0x17, &[b"491231000000Z"]),
        ],
    );
    let info = PublicKeyData::subject_public_key_info(key);
    let signed = der(
        0x30,
        &[&der(2, &[&[1]]), &algorithm, &name, &validity, &name, &info],
    );
    let signature = key.sign(&signed).unwrap();
    der(0x30, &[&signed, &algorithm, &der(3, &[&[0], &signature])]).into()
}

/// Starts a server with any certificate, also one that rustls cannot parse.
fn serve_unparsed(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let key = ring::default_provider()
        .key_provider
        .load_private_key(private(key))
        .unwrap();
    let pair = rustls::sign::CertifiedKey::new(vec![certificate], key);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    Arc::new(config)
}

/// A certificate of `openssl req -x509` is marked as an authority. In `tls.ca` it is trusted for
/// its own host all the same.
#[test]
fn a_certificate_of_tls_ca_is_trusted_itself() {
    let key = KeyPair::generate().unwrap();
    let self_signed = |hosts: &[&str]| {
        let mut params = CertificateParams::new(
            hosts
                .iter()
                .map(|host| (*host).to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "a.test");
        params.self_signed(&key).unwrap().der().clone()
    };
    let authority = Authority::new();
    let (leaf, leaf_key) = authority.sign_for(&["a.test"], None);
    for version in BOTH {
        for (what, certificate, key) in [
            ("with the name", self_signed(&["a.test"]), &key),
            (
                "without any name but the common one",
                self_signed(&[]),
                &key,
            ),
            ("of version 1", version_1(&key, "a.test"), &key),
            (
                "signed by an authority that is not there",
                leaf.der().clone(),
                &leaf_key,
            ),
        ] {
            let server = serve_unparsed(certificate.clone(), key, version);
            let trusting =
                |name| ClientTls::new(name, None, &[certificate.to_vec()], None).unwrap();
            Link::established(&trusting("a.test"), &server, usize::MAX);
            let reason = refusal(Link::new(&trusting("b.test"), &server, usize::MAX));
            assert!(reason.contains("tls.serverName"), "{what}: {reason}");
            let stranger = ClientTls::new("a.test", None, &[], None).unwrap();
            assert!(
                refusal(Link::new(&stranger, &server, usize::MAX)).contains("certificate"),
                "{what}"
            );
            // The certificate is public, so a server must also prove that it has the key.
            let thief = serve_unparsed(certificate.clone(), &KeyPair::generate().unwrap(), version);
            let reason = refusal(Link::new(&trusting("a.test"), &thief, usize::MAX));
            assert!(reason.contains("BadSignature"), "{what}: {reason}");
        }
    }
}

/// Tickets whose message (RFC 8446 4.6.1: 49 bytes beside the ticket) fills a record.
#[derive(Debug)]
struct LargeTickets;

impl rustls::server::ProducesTickets for LargeTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(vec![7; (16 << 10) - 49])
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// `read` takes only a share of records without plaintext, reports that more can be read, and
/// counts the bytes of the socket.
#[test]
fn records_without_plaintext_are_read_in_shares() {
    let authority = Authority::new();
    let mut server = (*authority.server("a.test", &[&rustls::version::TLS13])).clone();
    server.send_tls13_tickets = 60;
    server.ticketer = Arc::new(LargeTickets);
    let mut link = Link::established(&authority.upstream("a.test"), &Arc::new(server), usize::MAX);
    link.server_says(b"hello");
    let sent = link.wire.inbox.len();
    assert!(sent > 900_000, "{sent}");
    link.pipe.take_ciphertext();
    let (mut room, mut shares, mut counted) = ([0; 100], 0, 0);
    loop {
        let received = link.read(&mut room);
        let moved = link.pipe.take_ciphertext();
        counted += moved;
        match received {
            Received::NoPlaintext => {
                assert!(
                    (32 << 10..64 << 10).contains(&moved),
                    "{moved} bytes in a call"
                );
                shares += 1;
            }
            Received::Bytes { n, .. } => {
                assert_eq!(&room[..n], b"hello");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(shares >= 10, "{shares}");
    assert_eq!(counted, sent);
}

#[test]
fn keys_that_an_upstream_changes_too_soon_end_the_session() {
    let authority = Authority::new();
    let server = authority.server("a.test", &[&rustls::version::TLS13]);
    for between in [1, 16 << 10] {
        let mut link = Link::established(&authority.upstream("a.test"), &server, usize::MAX);
        link.server.refresh_traffic_keys().unwrap();
        link.server.writer().write_all(&pattern(between)).unwrap();
        link.server.refresh_traffic_keys().unwrap();
        link.server_says(b"behind");
        let (came, end) = link.read_all(64 << 10);
        match end {
            Received::Blocked => assert!(
                between == 16 << 10 && came.len() == between + 6,
                "{between}"
            ),
            Received::Fault(TransportFault::Tls { reason, .. }) => {
                assert!(
                    between == 1 && reason.contains("changed its keys again"),
                    "{between}: {reason}"
                );
            }
            other => panic!("{between}: {other:?}"),
        }
    }
}

#[test]
fn tickets_without_end_end_the_session() {
    let authority = Authority::new();
    for (tickets, good) in [(4, true), (64, true), (65, false), (1000, false)] {
        let mut server = (*authority.server("a.test", &[&rustls::version::TLS13])).clone();
        server.send_tls13_tickets = tickets;
        server.ticketer = ring::Ticketer::new().unwrap();
        let mut link =
            Link::established(&authority.upstream("a.test"), &Arc::new(server), usize::MAX);
        let (came, end) = link.read_all(1024);
        assert!(came.is_empty());
        match end {
            Received::Blocked => assert!(good, "{tickets}"),
            Received::Fault(TransportFault::Tls { reason, .. }) => {
                assert!(
                    !good && reason.contains("too many tickets"),
                    "{tickets}: {reason}"
                );
            }
            other => panic!("{tickets}: {other:?}"),
        }
    }
}

/// Returns an upstream of TLS 1.2 whose next records are forged.
fn forged_upstream() -> (Link, Forger) {
    let authority = Authority::new();
    let mut server = (*authority.server("a.test", &[&rustls::version::TLS12])).clone();
    server.enable_secret_extraction = true;
    let server = Arc::new(server);
    let established = || Link::established(&authority.upstream("a.test"), &server, usize::MAX);
    let mut link = established();
    let secrets = std::mem::replace(&mut link.server, established().server)
        .dangerous_extract_secrets()
        .unwrap();
    link.wire.outbox.clear();
    (link, Forger::new(secrets.tx))
}

/// TLS 1.2 renegotiation (RFC 5246 7.4.1.1): the first request of an upstream gets a warning, and
/// its response is read. The second one ends the connection.
#[test]
fn an_upstream_cannot_renegotiate() {
    let (mut link, mut forger) = forged_upstream();
    link.wire
        .inbox
        .extend(forger.tls12(HANDSHAKE, HELLO_REQUEST));
    link.wire.inbox.extend(forger.tls12(DATA, b"response"));
    assert_eq!(
        link.read_all(100),
        (b"response".to_vec(), Received::Blocked)
    );
    assert_eq!(
        (link.wire.outbox[0], link.wire.outbox.len()),
        (ALERT, 5 + 8 + 2 + 16),
        "a warning"
    );
    for _ in 0..1000 {
        link.wire
            .inbox
            .extend(forger.tls12(HANDSHAKE, HELLO_REQUEST));
    }
    let Received::Fault(TransportFault::Tls { reason, cure }) = link.read_all(100).1 else {
        panic!("no fault")
    };
    assert!(reason.contains("TooManyRenegotiationRequests"), "{reason}");
    assert_eq!(cure, "turn renegotiation off at the upstream");
}

/// Four warnings are ignored; the fifth one ends the connection.
#[test]
fn a_flood_of_warnings_of_an_upstream_ends_the_session() {
    let (mut link, mut forger) = forged_upstream();
    for number in 1..=5 {
        link.wire.inbox.extend(forger.tls12(ALERT, &WARNING));
        let end = link.read_all(100).1;
        if number <= 4 {
            assert_eq!(end, Received::Blocked, "{number}");
            continue;
        }
        let Received::Fault(TransportFault::Tls { reason, .. }) = end else {
            panic!("{number}: {end:?}")
        };
        assert!(reason.contains("TooManyWarningAlertsReceived"), "{reason}");
    }
}

#[test]
fn an_answer_that_is_not_tls_is_named() {
    let authority = Authority::new();
    for chunk in [1, 7, usize::MAX] {
        let mut link = Link::new(
            &authority.upstream("a.test"),
            &authority.server("a.test", &BOTH),
            chunk,
        );
        link.wire
            .inbox
            .extend(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let Err(TransportFault::Tls { cure, .. }) =
            link.pipe.handshake(&mut link.wire, &mut link.scratch)
        else {
            panic!("no TLS here")
        };
        assert!(cure.contains("http://"), "{cure}");
    }
}

#[test]
fn a_response_in_place_of_a_handshake_is_no_response() {
    let authority = Authority::new();
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    for version in BOTH {
        for chunk in [1, 7, usize::MAX] {
            // The alerts come before the first record of the server, and between two of its
            // flights.
            for rounds in 0..3 {
                let mut link = Link::new(
                    &authority.upstream("a.test"),
                    &authority.server("a.test", &[version]),
                    chunk,
                );
                let mut done = false;
                for _ in 0..rounds {
                    done |= link
                        .pipe
                        .handshake(&mut link.wire, &mut link.scratch)
                        .unwrap()
                        == Handshake::Done;
                    link.carry();
                }
                link.wire.inbox.extend(response);
                let mut room = [0; 100];
                let mut last = None;
                for _ in 0..200 {
                    match link.pipe.handshake(&mut link.wire, &mut link.scratch) {
                        Err(fault) => last = Some(fault),
                        Ok(Handshake::Done) => match link.read(&mut room) {
                            Received::Fault(fault) => last = Some(fault),
                            Received::Bytes { n, .. } => assert_eq!(n, 0, "plaintext was read"),
                            _ => {}
                        },
                        Ok(Handshake::Pending) => {}
                    }
                    if last.is_some() {
                        break;
                    }
                }
                assert!(
                    matches!(last, Some(TransportFault::Tls { .. })),
                    "{last:?}, chunks of {chunk}, {rounds}, {done}"
                );
            }
        }
    }
}

#[test]
fn a_close_notify_within_the_handshake_ends_it() {
    let authority = Authority::new();
    // The warning and the fatal alert are in separate records.
    for alert in [[21, 3, 3, 0, 2, 1, 0], [21, 3, 3, 0, 2, 2, 0]] {
        for version in BOTH {
            for chunk in [1, 3, usize::MAX] {
                for rounds in 1..3 {
                    let (client, server) = (
                        authority.upstream("a.test"),
                        authority.server("a.test", &[version]),
                    );
                    ends(move || {
                        let mut link = Link::new(&client, &server, chunk);
                        for _ in 1..rounds {
                            link.pipe
                                .handshake(&mut link.wire, &mut link.scratch)
                                .unwrap();
                        }
                        link.pipe
                            .handshake(&mut link.wire, &mut link.scratch)
                            .unwrap();
                        link.wire.inbox.extend(alert);
                        link.wire.fin = true;
                        let fault = (0..20).find_map(|_| {
                            link.pipe.handshake(&mut link.wire, &mut link.scratch).err()
                        });
                        assert!(fault.is_some(), "it is no handshake any more");
                    });
                }
            }
        }
    }
}

#[test]
fn a_handshake_that_is_cut_is_named() {
    let authority = Authority::new();
    let mut link = Link::new(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    assert_eq!(
        link.pipe.handshake(&mut link.wire, &mut link.scratch),
        Ok(Handshake::Pending)
    );
    link.wire.fin = true;
    let fault = link
        .pipe
        .handshake(&mut link.wire, &mut link.scratch)
        .unwrap_err();
    assert!(
        fault.to_string().contains("during the TLS handshake"),
        "{fault}"
    );
    link.wire.error = Some(io::ErrorKind::ConnectionReset);
    let mut link = Link::new(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    link.wire.error = Some(io::ErrorKind::ConnectionReset);
    assert_eq!(
        link.pipe.handshake(&mut link.wire, &mut link.scratch),
        Err(TransportFault::Reset)
    );
}

#[test]
fn a_client_hello_that_does_not_fit_the_socket_waits() {
    let authority = Authority::new();
    let mut link = Link::new(
        &authority.upstream("a.test"),
        &authority.server("a.test", &BOTH),
        usize::MAX,
    );
    link.wire.takes = 10;
    assert_eq!(
        link.pipe.handshake(&mut link.wire, &mut link.scratch),
        Ok(Handshake::Pending)
    );
    assert!(link.pipe.wants_write());
    link.wire.takes = usize::MAX;
    link.handshake().unwrap();
}

// --- identity ---

#[test]
fn roots_come_from_pem() {
    let (one, two) = (Authority::new(), Authority::new());
    let file = format!("# ours\n{}\n{}", one.pem, two.pem);
    assert_eq!(
        certificates_from_pem(file.as_bytes()).unwrap(),
        [one.der.to_vec(), two.der.to_vec()]
    );
    for (broken, complaint) in [
        ("", "is empty"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 1",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "has no line -----END CERTIFICATE-----",
        ),
        (
            &KeyPair::generate().unwrap().serialize_pem(),
            "no certificate",
        ),
    ] {
        let error = certificates_from_pem(broken.as_bytes()).unwrap_err();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn invalid_roots_and_names_are_refused_at_once() {
    assert!(ClientTls::new("a.test", None, &[b"no certificate".to_vec()], None).is_err());
    let complaint = ClientTls::new("a.test", Some("white space"), &[], None)
        .err()
        .unwrap();
    assert!(complaint.contains("white space"), "{complaint}");
}

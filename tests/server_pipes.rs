//! Server side of TLS in the gateway, over a wire in memory: a real rustls client is at its far
//! end.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion};

use tollgate::limits::SCRATCH_BYTES;
use tollgate::net::io::connection::Connection;
use tollgate::net::io::raw_stream::Readiness;
use tollgate::net::io::sockets::Sockets;
use tollgate::net::io::splice_pipes::Pipes;
use tollgate::net::{self, io::pump};
use tollgate::policy::forward::Peer;
use tollgate::proxy::Proxy;
use tollgate::proxy::command::{ListenerKind, Side};
use tollgate::time::Instant;
use tollgate::transport::server::{CertificateFiles, Part, ServerTls, TlsFiles, TlsVersion};
use tollgate::transport::{Handshake, Received, Transport, TransportFault};

use super::authority::{Authority, BOTH};
use super::record_forger::{ALERT, CLIENT_HELLO, DATA, Forger, HANDSHAKE, WARNING};

/// Socket of the server: what the client has sent, cut into pieces of at most `chunk` bytes, and
/// what the pipe has written.
struct Wire {
    inbox: VecDeque<u8>,
    outbox: Vec<u8>,
    chunk: usize,
    fin: bool,
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.inbox.is_empty() {
            return if self.fin {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let most = room.len().min(self.chunk);
        self.inbox.read(&mut room[..most])
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.chunk);
        self.outbox.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Certificate authority, and files with the certificates that it has signed.
struct Site {
    authority: Authority,
    files: HashMap<PathBuf, String>,
}

impl Site {
    fn new() -> Site {
        let authority = Authority::new();
        let files = HashMap::from([(PathBuf::from("ca.pem"), authority.pem.clone())]);
        Site { authority, files }
    }

    /// Writes `NAME.pem` and `NAME.key` with a certificate for these hosts.
    fn pair(&mut self, name: &str, hosts: &[&str]) -> CertificateFiles {
        let (certificate, key) = self.authority.sign_for(hosts, None);
        let paths = CertificateFiles {
            certificate: format!("{name}.pem").into(),
            key: format!("{name}.key").into(),
        };
        self.files
            .insert(paths.certificate.clone(), certificate.pem());
        self.files.insert(paths.key.clone(), key.serialize_pem());
        paths
    }

    fn load(
        &self,
        files: &TlsFiles,
    ) -> Result<ServerTls, Vec<tollgate::transport::server::TlsFault>> {
        let read = |path: &Path| match self.files.get(path) {
            Some(text) => Ok(text.clone().into_bytes()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        ServerTls::load(files, &read)
    }

    /// Returns a client that trusts this authority. With `subject` it has its own certificate.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        subject: Option<&str>,
    ) -> ClientConfig {
        let own = subject.map(|subject| self.authority.sign_for(&[], Some(subject)));
        self.authority.rustls_client(versions, own.as_ref())
    }
}

fn files(certificates: Vec<CertificateFiles>) -> TlsFiles {
    TlsFiles {
        ordered: Vec::new(),
        contact: None,
        certificates,
        min_version: TlsVersion::Tls12,
        client_ca: None,
        client_auth: tollgate::transport::server::ClientAuth::Required,
    }
}

/// Server pipe, its wire, and the client behind it.
struct Link {
    pipe: Transport,
    wire: Wire,
    client: ClientConnection,
    scratch: Vec<u8>,
    arrived: Vec<u8>,
    refused: Option<rustls::Error>,
}

impl Link {
    fn new(server: &ServerTls, client: &Arc<ClientConfig>, name: &str, chunk: usize) -> Link {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
        client.set_buffer_limit(None);
        Link {
            pipe: Transport::server(server).expect("a pipe"),
            wire: Wire {
                inbox: VecDeque::new(),
                outbox: Vec::new(),
                chunk,
                fin: false,
            },
            client,
            scratch: vec![0; SCRATCH_BYTES],
            arrived: Vec::new(),
            refused: None,
        }
    }

    fn carry(&mut self) {
        let sent = std::mem::take(&mut self.wire.outbox);
        let mut rest = sent.as_slice();
        while !rest.is_empty() && self.refused.is_none() {
            self.client.read_tls(&mut rest).expect("memory");
            self.refused = self.client.process_new_packets().err();
            // An error "would block" means here that no more data is available.
            let _ = self.client.reader().read_to_end(&mut self.arrived);
        }
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire.inbox).expect("memory");
        }
    }

    fn handshake(&mut self) -> Result<(), TransportFault> {
        self.carry();
        for _ in 0..20 {
            let state = self.pipe.handshake(&mut self.wire, &mut self.scratch);
            self.carry();
            if state? == Handshake::Done {
                return Ok(());
            }
        }
        panic!("no end to the handshake");
    }

    /// Completes a handshake, and lets the client read its tickets.
    fn established(server: &ServerTls, client: &Arc<ClientConfig>, name: &str) -> Link {
        let mut link = Link::new(server, client, name, usize::MAX);
        link.handshake().expect("both are content");
        link
    }

    /// Reads until there is nothing more. Returns the bytes and the last result.
    fn read_all(&mut self, room: usize) -> (Vec<u8>, Received) {
        let mut came = Vec::new();
        let mut room = vec![0; room];
        loop {
            match self.pipe.read(&mut self.wire, &mut self.scratch, &mut room) {
                Received::Bytes { n, .. } => came.extend_from_slice(&room[..n]),
                end => return (came, end),
            }
        }
    }

    fn subject(&self) -> Option<String> {
        self.pipe.subject().expect("a short one")
    }
}

#[test]
fn every_byte_both_ways_at_every_chunk() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good files");
    for version in BOTH {
        let client = Arc::new(site.client(&[version], None));
        // Sizes begin at one byte: a ClientHello may arrive in a hundred reads (CVE-2024-11738).
        for (chunk, len) in [
            (1, 5_000),
            (7, 20_000),
            (1000, 200_000),
            (usize::MAX, 1 << 20),
        ] {
            let bytes = (0..len)
                .map(|at| ((at * 31) >> 3) as u8)
                .collect::<Vec<_>>();
            let mut link = Link::new(&server, &client, "a.test", chunk);
            link.handshake().expect("both are content");
            link.client.writer().write_all(&bytes).expect("memory");
            link.carry();
            let (mut came, mut room) = (Vec::new(), vec![0; 64 << 10]);
            let end = loop {
                match link.pipe.read(&mut link.wire, &mut link.scratch, &mut room) {
                    Received::Bytes { n, .. } => came.extend_from_slice(&room[..n]),
                    end => break end,
                }
            };
            assert!(
                end == Received::Blocked && came == bytes,
                "{chunk}: {end:?} behind {} bytes",
                came.len()
            );
            let mut sent = 0;
            while sent < len {
                sent += link
                    .pipe
                    .write(&mut link.wire, &mut link.scratch, &bytes[sent..], b"")
                    .expect("it is taken");
                link.carry();
            }
            assert!(link.arrived == bytes, "{chunk}");
        }
    }
}

/// The client sends its request together with the end of its handshake.
#[test]
fn a_request_behind_the_last_flight_is_read() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good files");
    for version in BOTH {
        let client = Arc::new(site.client(&[version], None));
        for len in [1_usize, 3_000, 40_000] {
            let request = (0..len).map(|at| ((at * 7) >> 2) as u8).collect::<Vec<_>>();
            let mut link = Link::new(&server, &client, "a.test", usize::MAX);
            // The client may send its request before the server has received the end of the
            // handshake.
            link.client.writer().write_all(&request).expect("memory");
            link.handshake().expect("both are content");
            assert!(link.pipe.has_plaintext(), "{version:?}: no event follows");
            for room in [1_usize, 100, 64 << 10] {
                let (mut came, mut room) = (Vec::new(), vec![0; room]);
                while let Received::Bytes { n, .. } =
                    link.pipe.read(&mut link.wire, &mut link.scratch, &mut room)
                {
                    came.extend_from_slice(&room[..n]);
                }
                assert!(
                    came == request,
                    "{version:?}: {} of {len} bytes",
                    came.len()
                );
                link.client.writer().write_all(&request).expect("memory");
                link.carry();
            }
        }
    }
}

/// Answers are sent while the first part of a record waits for the rest, and stay intact.
#[test]
fn writing_with_half_a_record_at_hand() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good files");
    for version in BOTH {
        let client = Arc::new(site.client(&[version], None));
        let mut link = Link::established(&server, &client, "a.test");
        link.client
            .writer()
            .write_all(&[7; 30_000])
            .expect("memory");
        link.carry();
        let rest = link.wire.inbox.split_off(20_000);
        let (mut came, mut room) = (Vec::new(), [0; 1000]);
        let mut read = |link: &mut Link, came: &mut Vec<u8>| {
            while let Received::Bytes { n, .. } =
                link.pipe.read(&mut link.wire, &mut link.scratch, &mut room)
            {
                came.extend_from_slice(&room[..n]);
                let sent = link
                    .pipe
                    .write(&mut link.wire, &mut link.scratch, b"he", b"llo")
                    .expect("it is taken");
                assert_eq!(sent, 5);
            }
        };
        read(&mut link, &mut came);
        assert_eq!(came.len(), 16 << 10, "one record came whole");
        link.wire.inbox.extend(rest);
        read(&mut link, &mut came);
        assert!(came.len() == 30_000 && came.iter().all(|&byte| byte == 7));
        link.carry();
        assert!(!link.arrived.is_empty() && link.arrived.chunks(5).all(|chunk| chunk == b"hello"));
    }
}

#[test]
fn keys_are_updated_when_the_client_asks() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good files");
    let client = Arc::new(site.client(&[&rustls::version::TLS13], None));
    let mut link = Link::established(&server, &client, "a.test");
    let mut room = [0; 100];
    for round in 0..3 {
        if round > 0 {
            // Key changes are allowed only with some traffic between them.
            link.client
                .writer()
                .write_all(&[7; 16 << 10])
                .expect("memory");
            link.carry();
            assert_eq!(link.read_all(32 << 10).0.len(), 16 << 10);
        }
        link.client.writer().write_all(b"before").expect("memory");
        link.client
            .refresh_traffic_keys()
            .expect("TLS 1.3 has them");
        link.client.writer().write_all(b"behind").expect("memory");
        link.carry();
        let Received::Bytes { n, .. } =
            link.pipe.read(&mut link.wire, &mut link.scratch, &mut room)
        else {
            panic!("round {round}: nothing came")
        };
        assert_eq!(room.get(..n), Some(&b"beforebehind"[..]));
        // The answer is sent first, with the old keys. Later data uses the new keys.
        let before = link.wire.outbox.len();
        link.pipe
            .write(&mut link.wire, &mut link.scratch, b"answer", b"")
            .expect("it is taken");
        assert!(link.wire.outbox.len() - before > 6 + 2 * 22, "two records");
        link.carry();
        assert!(link.refused.is_none(), "{:?}", link.refused);
    }
    assert_eq!(link.arrived, b"answeransweranswer");
}

/// Returns a client of TLS 1.3 that has finished its handshake with a site of one certificate.
fn secured() -> Link {
    established_with(&rustls::version::TLS13)
}

/// Completes a handshake with this version of TLS.
fn established_with(version: &'static SupportedProtocolVersion) -> Link {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good files");
    let mut client = site.client(&[version], None);
    client.enable_secret_extraction = true;
    Link::established(&server, &Arc::new(client), "a.test")
}

/// Returns the number of plaintext bytes, and the result at the end of the session.
fn outcome(link: &mut Link) -> (usize, Received) {
    let (came, end) = link.read_all(64 << 10);
    (came.len(), end)
}

#[test]
fn keys_that_are_changed_too_soon_end_the_session() {
    for between in [0_usize, 1, 15 << 10, 16 << 10] {
        let mut link = secured();
        link.client
            .refresh_traffic_keys()
            .expect("TLS 1.3 has them");
        link.client
            .writer()
            .write_all(&vec![7; between])
            .expect("memory");
        link.client
            .refresh_traffic_keys()
            .expect("TLS 1.3 has them");
        link.client.writer().write_all(b"behind").expect("memory");
        link.carry();
        let (came, end) = outcome(&mut link);
        if between < 16 << 10 {
            assert!(came <= between + 6, "{between}: {came}");
            let Received::Fault(TransportFault::Tls { reason, .. }) = end else {
                panic!("{between}: {end:?}")
            };
            assert!(
                reason.contains("changed its keys again after too few bytes"),
                "{reason}"
            );
            let error = link
                .pipe
                .write(&mut link.wire, &mut link.scratch, b"answer", b"")
                .expect_err("it is over");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        } else {
            assert_eq!((came, end), (between + 6, Received::Blocked), "{between}");
        }
    }
}

#[test]
fn keys_that_are_changed_too_often_end_the_session() {
    let mut link = secured();
    for number in 1..=65 {
        link.client
            .refresh_traffic_keys()
            .expect("TLS 1.3 has them");
        link.client
            .writer()
            .write_all(&[7; 16 << 10])
            .expect("memory");
        link.carry();
        let (came, end) = outcome(&mut link);
        if number <= 64 {
            assert_eq!((came, end), (16 << 10, Received::Blocked), "{number}");
        } else {
            assert!(
                matches!(&end, Received::Fault(TransportFault::Tls { reason, .. }) if reason.contains("too often")),
                "{end:?}"
            );
        }
    }
}

/// The bytes of the socket are counted, also without plaintext. rustls ends a flood of records
/// without plaintext.
#[test]
fn small_and_empty_records_are_counted_by_their_ciphertext() {
    let mut link = secured();
    let client = std::mem::replace(&mut link.client, secured().client);
    let secrets = client.dangerous_extract_secrets();
    let mut forger = Forger::new(secrets.expect("the configuration allows it").tx);
    let mut room = [0; 100];
    link.pipe.take_ciphertext();
    for padding in [0, 1, 1000, 16_000] {
        let records = [
            forger.tls13(DATA, b"", padding),
            forger.tls13(DATA, b"x", padding),
        ]
        .concat();
        link.wire.inbox.extend(&records);
        let received = link.pipe.read(&mut link.wire, &mut link.scratch, &mut room);
        assert!(
            matches!(received, Received::Bytes { n: 1, .. }),
            "{received:?}"
        );
        assert_eq!(link.pipe.take_ciphertext(), records.len(), "{padding}");
    }
    for _ in 0..1000 {
        link.wire.inbox.extend(forger.tls13(DATA, b"", 0));
    }
    let end = link.read_all(100).1;
    assert!(
        matches!(&end, Received::Fault(TransportFault::Tls { reason, .. }) if reason.contains("Empty")),
        "{end:?}"
    );
}

/// Returns a client of TLS 1.2 whose next records are forged.
fn forged_client() -> (Link, Forger) {
    let mut link = established_with(&rustls::version::TLS12);
    let other = established_with(&rustls::version::TLS12).client;
    let secrets = std::mem::replace(&mut link.client, other).dangerous_extract_secrets();
    let forger = Forger::new(secrets.expect("the configuration allows it").tx);
    link.wire.outbox.clear();
    (link, forger)
}

/// TLS 1.2 renegotiation (RFC 5246 7.4.1.2): the first attempt gets a warning, and the connection
/// continues. The second one ends it. Neither makes the gateway sign.
#[test]
fn a_client_cannot_renegotiate() {
    let (mut link, mut forger) = forged_client();
    link.wire
        .inbox
        .extend(forger.tls12(HANDSHAKE, CLIENT_HELLO));
    link.wire.inbox.extend(forger.tls12(DATA, b"request"));
    assert_eq!(
        link.read_all(100),
        (b"request".to_vec(), Received::Blocked),
        "the connection goes on"
    );
    let alert = std::mem::take(&mut link.wire.outbox);
    assert_eq!(
        (alert[0], alert.len()),
        (ALERT, 5 + 8 + 2 + 16),
        "a warning"
    );
    let before = tollgate::cost::steps();
    for _ in 0..1000 {
        link.wire
            .inbox
            .extend(forger.tls12(HANDSHAKE, CLIENT_HELLO));
    }
    let bytes = link.wire.inbox.len() as u64;
    let (came, end) = link.read_all(100);
    assert_eq!(came, b"");
    assert_tls_fault(&end, "TooManyRenegotiationRequests");
    let steps = tollgate::cost::steps() - before;
    assert!(steps <= 4 * bytes, "{steps} steps for {bytes} bytes");
}

/// Four warnings are ignored; the fifth one ends the connection, also with application data between
/// them.
#[test]
fn a_flood_of_warnings_ends_the_session() {
    let (mut link, mut forger) = forged_client();
    for number in 1..=5 {
        link.wire.inbox.extend(forger.tls12(ALERT, &WARNING));
        link.wire.inbox.extend(forger.tls12(DATA, b"x"));
        let (came, end) = link.read_all(100);
        if number <= 4 {
            assert_eq!(
                (came.as_slice(), end),
                (&b"x"[..], Received::Blocked),
                "{number}"
            );
        } else {
            assert_eq!(came, b"");
            assert_tls_fault(&end, "TooManyWarningAlertsReceived");
        }
    }
    // TLS 1.3 has one warning: user_canceled (RFC 8446 6.1).
    let mut link = secured();
    let client = std::mem::replace(&mut link.client, secured().client);
    let secrets = client.dangerous_extract_secrets();
    let mut forger = Forger::new(secrets.expect("the configuration allows it").tx);
    for number in 1..=5 {
        link.wire.inbox.extend(forger.tls13(ALERT, &WARNING, 0));
        let end = link.read_all(100).1;
        if number <= 4 {
            assert_eq!(end, Received::Blocked, "{number}");
        } else {
            assert_tls_fault(&end, "TooManyWarningAlertsReceived");
        }
    }
}

/// Warnings before the hello are records without keys, and are counted, too.
#[test]
fn warnings_before_the_hello_have_a_bound() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good files");
    let client = Arc::new(site.client(&BOTH, None));
    let mut link = Link::new(&server, &client, "a.test", usize::MAX);
    let record = [&[ALERT, 3, 3, 0, 2][..], &WARNING].concat();
    link.wire.inbox.extend(record.repeat(1000));
    let end = link.pipe.handshake(&mut link.wire, &mut link.scratch);
    let Err(TransportFault::Tls { reason, .. }) = &end else {
        panic!("{end:?}")
    };
    assert!(reason.contains("TooManyWarningAlertsReceived"), "{reason}");
}

fn assert_tls_fault(end: &Received, expected: &str) {
    let Received::Fault(TransportFault::Tls { reason, .. }) = end else {
        panic!("{end:?}")
    };
    assert!(reason.contains(expected), "{reason}");
}

impl net::io::raw_stream::RawStream for Wire {
    type Pipe = net::io::splice_pipes::KernelPipe;

    fn splice_to_pipe(&mut self, _: &mut Self::Pipe, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidInput.into())
    }

    fn splice_from_pipe(&mut self, _: &mut Self::Pipe, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidInput.into())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&self) {}

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }
}

/// The cost of a record does not depend on its plaintext: 400 KB of records with a byte each take
/// four turns, not one.
#[test]
fn the_share_of_a_turn_is_of_ciphertext() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good files");
    let mut client = site.client(&[&rustls::version::TLS13], None);
    client.enable_secret_extraction = true;
    let mut client = ClientConnection::new(
        Arc::new(client),
        ServerName::try_from("a.test").expect("a name"),
    )
    .expect("a client");

    let config =
        r#"{ "services": [ { "route": "/a", "target": "http://10.0.0.1" } ], "rateLimit": false }"#;
    let settings = tollgate::config::load(config.as_bytes(), "t.json", &|_| None, &|_| {
        Err(io::ErrorKind::NotFound.into())
    });
    let (mut proxy, now) = (
        Proxy::new(settings.expect("a configuration").settings, 7),
        Instant::from_millis(1000),
    );
    let peer = Peer::Ip([192, 0, 2, 1].into());
    let id = proxy
        .handle_accepted(peer, ListenerKind::Secure, now)
        .expect("there is room");
    let side = Side::Client(id);
    let wire = Wire {
        inbox: VecDeque::new(),
        outbox: Vec::new(),
        chunk: usize::MAX,
        fin: false,
    };
    let mut sockets = Sockets::new(Pipes::new(0, usize::MAX));
    sockets.insert(
        side,
        Connection::secure_client(wire, id.generation(), &server).expect("a connection"),
    );
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        let connection = sockets.get(side).expect("it is open");
        while client.wants_write() {
            client
                .write_tls(&mut connection.socket().inbox)
                .expect("memory");
        }
        connection.record_readiness(Readiness {
            readable: true,
            ..Readiness::default()
        });
        if pump::establish(&mut proxy, connection, side, &mut scratch, now).open {
            break;
        }
        let sent = std::mem::take(&mut connection.socket().outbox);
        client.read_tls(&mut sent.as_slice()).expect("memory");
        client.process_new_packets().expect("a handshake");
    }
    let secrets = client.dangerous_extract_secrets();
    let mut forger = Forger::new(secrets.expect("the configuration allows it").tx);
    let connection = sockets.get(side).expect("it is open");
    connection.socket().inbox.extend(forger.tls13(
        DATA,
        b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n",
        0,
    ));
    while connection.socket().inbox.len() < 400 << 10 {
        connection
            .socket()
            .inbox
            .extend(forger.tls13(DATA, b"x", 0));
    }
    let mut turns = 0;
    loop {
        turns += 1;
        let connection = sockets.get(side).expect("it is open");
        connection.record_readiness(Readiness {
            readable: true,
            ..Readiness::default()
        });
        let before = connection.socket().inbox.len();
        let is_spent = loop {
            match pump::pump_once(&mut proxy, &mut sockets, (side, turns), &mut scratch, now) {
                pump::PumpResult::Pumped(moved) if moved.again => {}
                pump::PumpResult::Pumped(_) => break false,
                pump::PumpResult::OutOfBudget => break true,
                other => panic!("{other:?}"),
            }
            while proxy.poll_command().is_some() {}
        };
        let read = before - sockets.get(side).expect("it is open").socket().inbox.len();
        assert!(
            read < (128 << 10) + (96 << 10),
            "{read} bytes in turn {turns}"
        );
        if !is_spent {
            break;
        }
    }
    assert!((3..=5).contains(&turns), "{turns}");
}

#[test]
fn the_name_chooses_the_certificate() {
    let mut site = Site::new();
    let (a, b) = (
        site.pair("a", &["a.test"]),
        site.pair("b", &["b.test", "*.b.test"]),
    );
    let server = site.load(&files(vec![a, b])).expect("good files");
    let client = site.client(&BOTH, None);
    let show = |client: &Arc<ClientConfig>, name| {
        let mut link = Link::new(&server, client, name, usize::MAX);
        let outcome = link.handshake();
        (
            outcome.is_ok() && link.refused.is_none(),
            link.client
                .peer_certificates()
                .map(|chain| chain[0].clone()),
        )
    };
    let with_name = Arc::new(client.clone());
    let (is_a, a) = show(&with_name, "a.test");
    let (is_b, b) = show(&with_name, "x.b.test");
    assert!(is_a && is_b && a != b);
    assert_eq!(show(&with_name, "b.test").1, b);
    assert!(
        !show(&with_name, "x.y.b.test").0,
        "a wildcard is one label, and the first certificate is not for it either"
    );
    let mut without = client;
    without.enable_sni = false;
    let without = Arc::new(without);
    assert_eq!(show(&without, "a.test"), (true, a));
    assert!(
        !show(&without, "b.test").0,
        "without a name the first is shown"
    );
}

#[test]
fn versions_and_protocols() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let strict = TlsFiles {
        min_version: TlsVersion::Tls13,
        ..files(vec![pair.clone()])
    };
    let (strict, open) = (
        site.load(&strict).expect("good"),
        site.load(&files(vec![pair])).expect("good"),
    );
    let tls12 = Arc::new(site.client(&[&rustls::version::TLS12], None));
    assert!(
        Link::new(&strict, &tls12, "a.test", usize::MAX)
            .handshake()
            .is_err()
    );
    let link = Link::established(&open, &tls12, "a.test");
    assert_eq!(
        link.client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
    for (offered, chosen) in [
        (&[][..], Ok(None)),
        (&["http/1.1"][..], Ok(Some(&b"http/1.1"[..]))),
        (&["h2", "http/1.1"], Ok(Some(b"http/1.1"))),
        (&["http/1.0"], Ok(Some(b"http/1.0"))),
        (&["h2"], Err(())),
    ] {
        let mut client = site.client(&BOTH, None);
        client.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let mut link = Link::new(&open, &Arc::new(client), "a.test", usize::MAX);
        let outcome = link
            .handshake()
            .map_err(|_| ())
            .map(|()| link.client.alpn_protocol());
        assert_eq!(outcome, chosen, "{offered:?}");
    }
}

#[test]
fn only_clients_with_a_trusted_certificate_are_accepted() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let asking = TlsFiles {
        client_ca: Some("ca.pem".into()),
        ..files(vec![pair.clone()])
    };
    let (asking, open) = (
        site.load(&asking).expect("good"),
        site.load(&files(vec![pair])).expect("good"),
    );
    for version in BOTH {
        let ann = Arc::new(site.client(&[version], Some("ann, the first")));
        assert_eq!(
            Link::established(&asking, &ann, "a.test")
                .subject()
                .as_deref(),
            Some("CN=ann\\, the first")
        );
        assert_eq!(
            Link::established(&open, &ann, "a.test").subject(),
            None,
            "no certificate was requested"
        );
        let nobody = Arc::new(site.client(&[version], None));
        let mut link = Link::new(&asking, &nobody, "a.test", usize::MAX);
        let none = "peer sent no certificates".to_owned();
        assert_eq!(link.handshake(), Err(TransportFault::Certificate(none)));
        assert!(
            matches!(link.refused, Some(rustls::Error::AlertReceived(_))),
            "the client is told: {:?}",
            link.refused
        );
        // This client trusts the authority of the site, but has its certificate from another one.
        let eve = site.authority.rustls_client(
            &[version],
            Some(&Authority::new().sign_for(&[], Some("ann"))),
        );
        let end = Link::new(&asking, &Arc::new(eve), "a.test", usize::MAX).handshake();
        assert!(
            matches!(&end, Err(TransportFault::Certificate(why)) if why.contains("BadSignature")),
            "{end:?}"
        );
    }
}

#[test]
fn sessions_are_resumed_only_at_their_listener() {
    let mut site = Site::new();
    let both = site.pair("a", &["a.test", "b.test"]);
    let plain = files(vec![both.clone()]);
    let asking = TlsFiles {
        client_ca: Some("ca.pem".into()),
        ..files(vec![both])
    };
    let (plain, asking) = (
        site.load(&plain).expect("good"),
        site.load(&asking).expect("good"),
    );
    for version in BOTH {
        let ann = Arc::new(site.client(&[version], Some("ann")));
        let first = Link::established(&asking, &ann, "a.test");
        assert_eq!(first.client.handshake_kind(), Some(HandshakeKind::Full));
        let again = Link::established(&asking, &ann, "a.test");
        assert_eq!(again.client.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(
            again.subject().as_deref(),
            Some("CN=ann"),
            "a resumed session has the same subject"
        );
        // The same tickets are offered to another listener, by a client without a certificate. A
        // session of the listener that requires no certificate must not be accepted by the one that
        // does.
        let anyone = Arc::new(site.client(&[version], None));
        Link::established(&plain, &anyone, "a.test");
        assert!(
            Link::new(&asking, &anyone, "a.test", usize::MAX)
                .handshake()
                .is_err()
        );
        // After the files were read again, no old ticket is accepted.
        let renewed = site.load(&TlsFiles {
            client_ca: Some("ca.pem".into()),
            ..files(vec![CertificateFiles {
                certificate: "a.pem".into(),
                key: "a.key".into(),
            }])
        });
        let link = Link::established(&renewed.expect("good"), &ann, "a.test");
        assert_eq!(link.client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

/// The client replays the session of one name under another name.
#[test]
fn a_session_belongs_to_its_server_name() {
    use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};

    /// Session store that returns the sessions of `a.test` for every name.
    #[derive(Debug)]
    struct Confused(ClientSessionMemoryCache);

    fn a() -> ServerName<'static> {
        ServerName::try_from("a.test").expect("a name")
    }

    impl ClientSessionStore for Confused {
        fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
            self.0.set_kx_hint(a(), group);
        }
        fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
            self.0.kx_hint(&a())
        }
        fn set_tls12_session(
            &self,
            _: ServerName<'static>,
            value: rustls::client::Tls12ClientSessionValue,
        ) {
            self.0.set_tls12_session(a(), value);
        }
        fn tls12_session(
            &self,
            _: &ServerName<'_>,
        ) -> Option<rustls::client::Tls12ClientSessionValue> {
            self.0.tls12_session(&a())
        }
        fn remove_tls12_session(&self, _: &ServerName<'static>) {
            self.0.remove_tls12_session(&a());
        }
        fn insert_tls13_ticket(
            &self,
            _: ServerName<'static>,
            value: rustls::client::Tls13ClientSessionValue,
        ) {
            self.0.insert_tls13_ticket(a(), value);
        }
        fn take_tls13_ticket(
            &self,
            _: &ServerName<'static>,
        ) -> Option<rustls::client::Tls13ClientSessionValue> {
            self.0.take_tls13_ticket(&a())
        }
    }

    let mut site = Site::new();
    let pair = site.pair("a", &["a.test", "b.test"]);
    let server = site.load(&files(vec![pair])).expect("good");
    for version in BOTH {
        let mut client = site.client(&[version], None);
        client.resumption = Resumption::store(Arc::new(Confused(ClientSessionMemoryCache::new(8))));
        let client = Arc::new(client);
        Link::established(&server, &client, "a.test");
        let again = Link::established(&server, &client, "a.test");
        assert_eq!(again.client.handshake_kind(), Some(HandshakeKind::Resumed));
        let other = Link::established(&server, &client, "b.test");
        assert_eq!(
            other.client.handshake_kind(),
            Some(HandshakeKind::Full),
            "{version:?}"
        );
    }
}

#[test]
fn plain_http_is_recognized_and_noise_is_refused() {
    let mut site = Site::new();
    let pair = site.pair("a", &["a.test"]);
    let server = site.load(&files(vec![pair])).expect("good");
    let first = |bytes: &[u8], fin| {
        let mut pipe = Transport::server(&server).expect("a pipe");
        let mut wire = Wire {
            inbox: bytes.iter().copied().collect(),
            outbox: Vec::new(),
            chunk: usize::MAX,
            fin,
        };
        (
            pipe.handshake(&mut wire, &mut vec![0; SCRATCH_BYTES]),
            wire.outbox,
        )
    };
    for text in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\r\nGET",
        b"G",
        b"get",
        b"\n",
    ] {
        let (outcome, alert) = first(text, false);
        assert_eq!(outcome, Err(TransportFault::NotTls(text.to_vec())));
        assert!(alert.is_empty(), "no alert before the answer");
    }
    for (noise, fin) in [
        (&b"\0\0\0\0\0\0\0\0"[..], false),
        (&[0x80, 0x2e, 1, 0, 2, 0, 0x15], true),
        (b"\x16\x03\x01", true),
        (b"", true),
    ] {
        assert!(
            matches!(first(noise, fin).0, Err(TransportFault::Tls { .. })),
            "{noise:?}"
        );
    }
    assert_eq!(first(b"\x16\x03\x01", false).0, Ok(Handshake::Pending));
}

#[test]
fn all_errors_of_the_files_are_reported_at_once() {
    let mut site = Site::new();
    let (a, b) = (site.pair("a", &["a.test"]), site.pair("b", &["b.test"]));
    site.files.insert("text.pem".into(), "hello".to_owned());
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    site.files.insert("secret.key".into(), encrypted.to_owned());
    let broken = TlsFiles {
        client_ca: Some("none.pem".into()),
        ..files(vec![
            CertificateFiles {
                key: b.key.clone(),
                ..a.clone()
            },
            CertificateFiles {
                certificate: "text.pem".into(),
                key: "secret.key".into(),
            },
            CertificateFiles {
                certificate: a.certificate.clone(),
                key: "text.pem".into(),
            },
            b,
        ])
    };
    let faults = site.load(&broken).err().expect("broken");
    let reported = faults
        .iter()
        .map(|fault| (fault.part, fault.to_string()))
        .collect::<Vec<_>>();
    let expected = [
        (
            Part::Key(0),
            "b.key: is not the key of the certificate in a.pem",
        ),
        (Part::Certificate(1), "text.pem: no certificate inside"),
        (Part::Key(1), "secret.key: the key is encrypted; decrypt it"),
        (Part::Key(2), "text.pem: no private key inside"),
        (Part::ClientCa, "none.pem: cannot be read"),
    ];
    assert_eq!(reported.len(), expected.len(), "{reported:?}");
    for ((part, text), (expected_part, start)) in reported.iter().zip(expected) {
        assert!(
            *part == expected_part && text.starts_with(start),
            "{part:?} {text}"
        );
    }
    assert_eq!(
        site.load(&files(vec![a])).expect("good").expiries().count(),
        1
    );
}

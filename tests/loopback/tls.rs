//! TLS listeners of the real binary: certificates, refusals, redirects, and reloads.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rcgen::{Certificate, CertificateParams, KeyPair};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::super::authority::{Authority, BOTH};
use super::world::*;

/// Returns a certificate for a host with a common name, and its key.
fn pair(authority: &Authority, host: &str, common_name: &str) -> (Certificate, KeyPair) {
    authority.sign_for(&[host], Some(common_name))
}

fn client(authority: &Authority, own: Option<&(Certificate, KeyPair)>) -> Arc<ClientConfig> {
    Arc::new(authority.rustls_client(&BOTH, own))
}

fn put(folder: &Folder, (certificate, key): &(Certificate, KeyPair)) {
    folder.write("a.pem", &certificate.pem());
    folder.write("a.key", &key.serialize_pem());
}

/// Starts a gateway with a TLS listener for `a.test` (with `more` keys in `tls`), and a listener
/// that redirects to it.
fn gateway(
    folder: Folder,
    pair: &(Certificate, KeyPair),
    origin: &Origin,
    more: &str,
) -> (Gateway, SocketAddr) {
    put(&folder, pair);
    let other = free_port();
    let services = origin.config("");
    let services = services.trim_start_matches('{').to_owned();
    let config = move |port| {
        format!(
            "{{ \"listen\": [ {{ \"address\": \"127.0.0.1:{port}\", \"tls\": {{ \"certificates\": [ {{ \"cert\": \"a.pem\", \"key\": \"a.key\" }} ] {more} }} }}, \
             {{ \"address\": \"127.0.0.1:{other}\", \"redirectToHttps\": true }} ], \"timeouts\": {{ \"head\": \"1s\" }}, {services}"
        )
    };
    (
        Gateway::start_in(folder, config, |command| command),
        SocketAddr::from(([127, 0, 0, 1], other)),
    )
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn secure(address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let name = ServerName::try_from("a.test").expect("a name");
    let session = ClientConnection::new(Arc::clone(config), name).expect("a client");
    StreamOwned::new(session, Client::to(address).0)
}

/// Sends one request. Returns the whole answer, and the certificate of the server.
fn ask(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    request: &str,
) -> io::Result<(String, CertificateDer<'static>)> {
    let mut stream = secure(address, config);
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let shown = stream.conn.peer_certificates().expect("a certificate")[0].clone();
    Ok((answer, shown))
}

const CLOSING: &str = "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Starts an upstream that answers with the request's head.
fn mirror() -> Origin {
    Origin::start(|mut client| {
        while let Some(head) = read_head(&mut client) {
            client.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}",
                head.len()
            ));
        }
    })
}

#[test]
fn https_is_served_and_plain_http_gets_a_400() {
    let (authority, origin) = (Authority::new(), mirror());
    let pair = pair(&authority, "a.test", "a");
    let (mut gateway, redirecting) = gateway(Folder::new(), &pair, &origin, "");
    let client = client(&authority, None);
    let (answer, _) =
        ask(gateway.address, &client, CLOSING).expect("served, and ended by a close_notify");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("X-Forwarded-Proto: https\r\n"), "{answer}");
    assert!(answer.contains("Strict-Transport-Security: "), "{answer}");

    // The connection is kept alive, and the body needs many records in both directions.
    let mut stream = secure(gateway.address, &client);
    for _ in 0..2 {
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .expect("taken");
        let mut head = Vec::new();
        while !head.ends_with(b"Via: 1.1 tollgate\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the answer goes on");
            head.push(byte[0]);
        }
    }
    drop(stream);

    let plain = gateway.get("/a");
    assert!(
        plain.starts_with("HTTP/1.1 400 Bad Request\r\n") && plain.ends_with("\"data\":null}"),
        "{plain}"
    );

    let mut client = Client::to(redirecting);
    client.send("POST /a/b?c=%2F HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 2\r\n\r\nhi");
    let moved = client.read_until("\r\n\r\n");
    assert!(
        moved.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"),
        "{moved}"
    );
    let location = format!(
        "\r\nLocation: https://a.test:{}/a/b?c=%2F\r\n",
        gateway.address.port()
    );
    assert!(moved.contains(&location), "{moved}");
    client.send("GET /nowhere HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert!(
        client.read_to_end().contains("/nowhere\r\n"),
        "kept alive, and no route is asked for"
    );
    assert_eq!(
        origin
            .connections
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn a_handshake_has_its_time_and_no_more() {
    let (authority, origin) = (Authority::new(), Origin::polite());
    let (gateway, _) = gateway(Folder::new(), &pair(&authority, "a.test", "a"), &origin, "");
    let start = std::time::Instant::now();
    let mut silent = Client::to(gateway.address);
    let mut begun = Client::to(gateway.address);
    begun.send(b"\x16\x03\x01");
    const CLOSE_NOTIFY: &str = "\u{15}\u{3}\u{3}\0\u{2}\u{1}\0";
    assert_eq!(silent.read_to_end(), CLOSE_NOTIFY);
    assert_eq!(begun.read_to_end(), CLOSE_NOTIFY);
    assert!(
        start.elapsed() >= std::time::Duration::from_millis(900),
        "timeouts.head"
    );
}

#[test]
fn client_certificates_are_checked_and_their_subject_is_forwarded() {
    let (authority, origin) = (Authority::new(), mirror());
    let folder = Folder::new();
    folder.write("ca.pem", &authority.pem);
    let (gateway, _) = gateway(
        folder,
        &pair(&authority, "a.test", "a"),
        &origin,
        ", \"clientCa\": \"ca.pem\"",
    );
    let ann = pair(&authority, "ann.test", "ann");
    let forged =
        "GET /a HTTP/1.1\r\nHost: a.test\r\nX-Client-Subject: CN=root\r\nConnection: close\r\n\r\n";
    let (answer, _) =
        ask(gateway.address, &client(&authority, Some(&ann)), forged).expect("admitted");
    assert!(
        answer.contains("X-Client-Subject: CN=ann\r\n") && !answer.contains("root"),
        "{answer}"
    );
    assert!(
        ask(gateway.address, &client(&authority, None), forged).is_err(),
        "no certificate"
    );
    let other = pair(&Authority::new(), "eve.test", "ann");
    assert!(
        ask(gateway.address, &client(&authority, Some(&other)), forged).is_err(),
        "of another authority"
    );
    let on = gateway.address;
    for why in [
        "peer sent no certificates",
        "invalid peer certificate: BadSignature",
    ] {
        gateway.stderr.expect(&format!(
            "INFO  [tollgate::net::messages] the client certificate of 127.0.0.1 is refused on {on}: {why}; see clientCa"
        ));
    }
    assert_eq!(
        origin
            .connections
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[test]
fn a_forged_subject_is_removed_without_client_certificates() {
    let origin = mirror();
    let gateway = Gateway::start(&origin.config(""));
    let answer = gateway.ask(
        "GET /a HTTP/1.1\r\nHost: a\r\nx-client-SUBJECT: CN=root\r\nConnection: close\r\n\r\n",
    );
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("root"),
        "{answer}"
    );
}

#[test]
fn changed_certificates_are_used_and_broken_ones_are_not() {
    let (authority, origin) = (Authority::new(), Origin::polite());
    let first = pair(&authority, "a.test", "first");
    let (gateway, _) = gateway(Folder::new(), &first, &origin, "");
    let client = client(&authority, None);
    let shown = || ask(gateway.address, &client, CLOSING).expect("served").1;
    assert_eq!(shown(), *first.0.der());
    // This connection stays open during the change.
    let mut kept = secure(gateway.address, &client);
    kept.write_all(b"GET /a HTTP/1.1\r\nHost: a.test\r\n")
        .expect("taken");

    // The new certificate comes without its key.
    let second = pair(&authority, "a.test", "second");
    gateway.folder.write("a.pem", &second.0.pem());
    gateway.signal("HUP");
    gateway
        .stderr
        .expect("a.key: is not the key of the certificate in ");
    assert_eq!(shown(), *first.0.der(), "what was read before stays");

    gateway.folder.write("a.key", &second.1.serialize_pem());
    gateway.signal("HUP");
    gateway.stderr.expect("were read again");
    assert_eq!(shown(), *second.0.der(), "at once");

    let third = pair(&authority, "a.test", "third");
    put(&gateway.folder, &third);
    let deadline = std::time::Instant::now() + PATIENCE;
    while shown() != *third.0.der() {
        assert!(
            std::time::Instant::now() < deadline,
            "a change is noticed without a signal"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    std::fs::remove_file(gateway.folder.0.join("a.pem")).expect("it is there");
    gateway.signal("HUP");
    gateway.stderr.expect("a.pem: cannot be read");
    assert_eq!(shown(), *third.0.der());
    kept.write_all(b"Connection: close\r\n\r\n").expect("taken");
    let mut answer = String::new();
    // The head timeout has passed long ago. The gateway has ended the session in order.
    kept.read_to_string(&mut answer).expect("a clean end");
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

/// Process that follows another, and ends with the test.
struct Successor(String);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).status();
    }
}

/// The new process opens the tickets of the old one; with another certificate it does not.
#[test]
fn an_upgrade_keeps_tickets_with_equal_certificates() {
    let (authority, origin) = (Authority::new(), Origin::polite());
    for equal in [true, false] {
        let (mut gateway, _) = gateway(
            Folder::new(),
            &pair(&authority, "a.test", "first"),
            &origin,
            "",
        );
        let (client, address) = (client(&authority, None), gateway.address);
        let is_resumed = || {
            let mut stream = secure(address, &client);
            stream.write_all(CLOSING.as_bytes()).expect("taken");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
        };
        assert_eq!([is_resumed(), is_resumed()], [false, true]);
        if !equal {
            put(&gateway.folder, &pair(&authority, "a.test", "second"));
        }
        gateway.signal("USR2");
        let text = gateway.stderr.expect("serves new clients");
        let line = text
            .lines()
            .find(|line| line.contains("serves new clients"));
        let pid = line.and_then(|line| line.split("process ").nth(1)?.split(' ').next());
        let _successor = Successor(pid.expect("a pid").to_owned());
        assert_eq!(gateway.wait(), Some(0), "the old process ends");
        assert_eq!(is_resumed(), equal);
        assert!(is_resumed(), "tickets of the new process");
    }
}

/// Tickets are valid as long as the certificates stay the same.
#[test]
fn a_reload_keeps_tickets_with_equal_certificates() {
    let (authority, origin) = (Authority::new(), Origin::polite());
    let first = pair(&authority, "a.test", "first");
    let (gateway, _) = gateway(Folder::new(), &first, &origin, "");
    let client = client(&authority, None);
    let is_resumed = || {
        let mut stream = secure(gateway.address, &client);
        stream.write_all(CLOSING.as_bytes()).expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    };
    assert_eq!([is_resumed(), is_resumed()], [false, true]);
    // New files have the same contents.
    put(&gateway.folder, &first);
    gateway.signal("HUP");
    gateway.stderr.expect("configuration read");
    assert!(is_resumed(), "the tickets of before are good");
    put(&gateway.folder, &pair(&authority, "a.test", "second"));
    gateway.signal("HUP");
    gateway.stderr.expect("were read again");
    assert_eq!([is_resumed(), is_resumed()], [false, true]);
}

#[test]
fn sighup_without_a_change_changes_nothing() {
    let origin = Origin::polite();
    let mut gateway = Gateway::start(&origin.config(""));
    gateway.signal("HUP");
    gateway
        .stderr
        .expect("configuration read: 0 services added, 0 changed, 0 removed; listeners: 1 kept");
    assert!(gateway.get("/a").ends_with("hi"));
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn an_expiring_certificate_is_warned_about() {
    let (authority, origin) = (Authority::new(), Origin::polite());
    let now = std::time::SystemTime::now();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
    params.not_after = (now + std::time::Duration::from_secs(5 * 24 * 3600 + 60)).into();
    let pair = authority.sign(params);
    let (gateway, _) = gateway(Folder::new(), &pair, &origin, "");
    gateway
        .stderr
        .expect("a.pem: this certificate expires in 5 days");
}

/// Other clients are served while one sends expensive records without data. The gateway closes that
/// connection, and the log (at debug) has the reason.
#[test]
fn a_client_that_changes_its_keys_without_end_is_closed() {
    // The upstream never answers, so that the client receives only the end.
    let origin = Origin::start(|mut client| while read_head(&mut client).is_some() {});
    let authority = Authority::new();
    let (gateway, _) = gateway(Folder::new(), &pair(&authority, "a.test", "a"), &origin, "");
    let client = client(&authority, None);
    let mut stream = secure(gateway.address, &client);
    stream
        .write_all(b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n")
        .expect("taken");
    stream.conn.refresh_traffic_keys().expect("TLS 1.3");
    stream.write_all(b"x").expect("one is taken");
    for _ in 0..4 {
        stream.conn.refresh_traffic_keys().expect("TLS 1.3");
        // The gateway may have closed the connection already.
        let _ = stream.write_all(b"x");
    }
    stream.sock.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    assert!(
        !matches!(&ended, Err(error) if error.kind() == io::ErrorKind::WouldBlock),
        "it is closed: {ended:?}"
    );
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    let unrouted = "GET /nowhere HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let (answer, _) = ask(gateway.address, &client, unrouted).expect("the others are served");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

/// Upstream with a certificate of `openssl req -x509`; the gateway has that certificate in
/// `tls.ca`.
#[test]
fn a_self_signed_upstream_is_reached_by_its_own_certificate() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("signed");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&BOTH)
    .expect("versions")
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        super::super::authority::private(&key),
    )
    .expect("a pair");
    let config = Arc::new(config);
    let origin = Origin::start(move |client| {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a server");
        let mut stream = StreamOwned::new(session, client.0);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return;
            }
            head.push(byte[0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    });
    for (ca, status) in [(", \"tls\": { \"ca\": \"own.pem\" }", "200"), ("", "502")] {
        let folder = Folder::new();
        folder.write("own.pem", &certificate.pem());
        let target = format!("https://localhost:{}", origin.address.port());
        let config = move |port| {
            format!(
                "{{ \"listen\": \"127.0.0.1:{port}\", \"services\": [ {{ \"route\": \"/a\", \"target\": \"{target}\"{ca} }} ] }}"
            )
        };
        let gateway = Gateway::start_in(folder, config, |command| command);
        let answer = gateway.get("/a");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

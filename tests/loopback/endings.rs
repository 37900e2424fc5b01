//! Ends of a client's direction: FIN, close_notify with FIN, and TLS that ends by FIN alone, as browsers and many libraries
//! end it (RFC 9112 9.8), mean the same to the gateway.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::super::authority::{Authority, BOTH};
use super::world::*;

/// How a client ends its direction.
#[derive(Clone, Copy, Debug)]
enum Way {
    Plain,
    CloseNotify,
    FinAlone,
}

const WAYS: [Way; 3] = [Way::Plain, Way::CloseNotify, Way::FinAlone];

/// Client of one listener.
enum Peer {
    Plain(TcpStream),
    Secure {
        stream: Box<StreamOwned<ClientConnection, TcpStream>>,
        notifies: bool,
    },
}

impl Peer {
    fn connect(
        way: Way,
        (plain, secure): (SocketAddr, SocketAddr),
        tls: &Arc<ClientConfig>,
    ) -> Peer {
        if let Way::Plain = way {
            return Peer::Plain(Client::to(plain).0);
        }
        let name = ServerName::try_from("a.test").expect("a name");
        let session = ClientConnection::new(Arc::clone(tls), name).expect("a client");
        Peer::Secure {
            stream: Box::new(StreamOwned::new(session, Client::to(secure).0)),
            notifies: matches!(way, Way::CloseNotify),
        }
    }

    fn send(&mut self, text: &str) {
        let sent = match self {
            Peer::Plain(socket) => socket.write_all(text.as_bytes()),
            Peer::Secure { stream, .. } => stream.write_all(text.as_bytes()),
        };
        sent.expect("taken");
    }

    fn read_until(&mut self, end: &str) -> String {
        let (mut all, mut byte) = (Vec::new(), [0]);
        while !all.ends_with(end.as_bytes()) {
            let read = match self {
                Peer::Plain(socket) => socket.read_exact(&mut byte),
                Peer::Secure { stream, .. } => stream.read_exact(&mut byte),
            };
            read.expect("more comes");
            all.extend(byte);
        }
        String::from_utf8(all).expect("text")
    }

    /// Returns what comes up to a clean end.
    fn read_to_end(&mut self) -> String {
        let mut text = String::new();
        let read = match self {
            Peer::Plain(socket) => socket.read_to_string(&mut text),
            Peer::Secure { stream, .. } => stream.read_to_string(&mut text),
        };
        read.expect("a clean end");
        text
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Peer::Plain(socket) => socket,
            Peer::Secure { stream, .. } => &stream.sock,
        }
    }

    /// Ends its direction in its way, and can still read.
    fn end(&mut self) {
        if let Peer::Secure { stream, notifies } = self
            && *notifies
        {
            stream.conn.send_close_notify();
            stream.flush().expect("taken");
        }
        self.socket().shutdown(Shutdown::Write).expect("open");
    }

    /// Closes while the gateway's close_notify lies unread in the socket: the kernel then sends RST, where a plain connection
    /// sends FIN.
    fn close_unread(self) {
        // Returns 0 at a FIN.
        self.socket().peek(&mut [0]).expect("an end");
    }
}

/// Starts an upstream that sees to the end of a tunnel, in the order that the path names, and answers other requests.
fn origin() -> Origin {
    Origin::start(|mut client| {
        let Some(head) = read_head(&mut client) else {
            return;
        };
        if !head.contains("Upgrade: websocket") {
            let _ = client
                .0
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            return;
        }
        client.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        );
        let is_first = head.contains("/upstream/");
        if is_first {
            client.send("bye.");
            client.read_until("seen.");
            client.0.shutdown(Shutdown::Write).expect("open");
        }
        let mut rest = String::new();
        // Behind a client that was reset there is no clean end.
        let is_clean = client.0.read_to_string(&mut rest).is_ok();
        if !is_first {
            client.send(format!("{rest} {is_clean}"));
        }
    })
}

fn tunnel(peer: &mut Peer) {
    peer.send("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n");
    peer.read_until("\r\n\r\n");
}

/// Row of the table: the first part of the path, `halfClose`, what the client does behind its request line and host, and the
/// word in the log.
type Ending = (&'static str, bool, fn(Peer), &'static str);

const ENDINGS: [Ending; 6] = [
    (
        "upstream/then-client",
        false,
        |mut peer| {
            tunnel(&mut peer);
            peer.read_until("bye.");
            peer.send("seen.");
            assert_eq!(peer.read_to_end(), "");
            peer.end();
        },
        "ok",
    ),
    (
        "upstream/then-unread",
        false,
        |mut peer| {
            tunnel(&mut peer);
            peer.read_until("bye.");
            peer.send("seen.");
            peer.close_unread();
        },
        "ok",
    ),
    (
        "client/then-upstream",
        false,
        |mut peer| {
            tunnel(&mut peer);
            peer.send("last words");
            peer.end();
            // The upstream has all of it, and the client has the answer.
            assert_eq!(peer.read_to_end(), "last words true");
        },
        "ok",
    ),
    (
        "request",
        false,
        |mut peer| {
            peer.send("Content-Length: 10\r\n\r\nabc");
            peer.end();
            let _ = peer.socket().read(&mut [0]);
        },
        "client_closed",
    ),
    (
        "request",
        true,
        |mut peer| {
            peer.send("Content-Length: 10\r\n\r\nabc");
            peer.end();
            let _ = peer.socket().read(&mut [0]);
        },
        "client_closed",
    ),
    (
        "answer",
        true,
        |mut peer| {
            peer.send("\r\n");
            peer.end();
            assert!(peer.read_to_end().ends_with("\r\n\r\nhi"));
        },
        "ok",
    ),
];

#[test]
fn each_end_of_a_client_has_one_word_over_plain_and_over_tls() {
    let (authority, origin) = (Authority::new(), origin());
    let tls = Arc::new(authority.rustls_client(&BOTH, None));
    let (certificate, key) = authority.sign_for(&["a.test"], None);
    for half_close in [false, true] {
        let folder = Folder::new();
        folder.write("a.pem", &certificate.pem());
        folder.write("a.key", &key.serialize_pem());
        let other = free_port();
        let services = origin.config(&format!(
            "\"accessLog\": \"json\", \"halfClose\": {half_close},"
        ));
        let config = |port| {
            let listen = format!(
                "{{ \"listen\": [ \"127.0.0.1:{port}\", {{ \"address\": \"127.0.0.1:{other}\",
                    \"tls\": {{ \"certificates\": [ {{ \"cert\": \"a.pem\", \"key\": \"a.key\" }} ] }} }} ],"
            );
            services.replacen('{', &listen, 1)
        };
        let gateway = Gateway::start_in(folder, config, |command| command);
        let addresses = (gateway.address, SocketAddr::from(([127, 0, 0, 1], other)));
        let rows = ENDINGS.iter().filter(|row| row.1 == half_close);
        let rows = rows.flat_map(|row| WAYS.map(|way| (row, way, format!("/a/{}/{way:?}", row.0))));
        let rows = rows.collect::<Vec<_>>();
        for ((_, _, act, _), way, path) in &rows {
            let mut peer = Peer::connect(*way, addresses, &tls);
            peer.send(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n"));
            act(peer);
        }
        for ((_, _, _, expected), _, path) in &rows {
            let log = gateway.stdout.expect(&format!("{path}\""));
            let line = log.lines().find(|line| line.contains(path));
            let line: serde_json::Value =
                serde_json::from_str(line.expect("a line")).expect("JSON");
            assert_eq!(line["end"], *expected, "{path}, halfClose {half_close}");
        }
    }
}

//! Both ends of TLS over a wire that an attacker controls.

#![expect(clippy::panic, reason = "a property that does not hold panics")]

mod wire;

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use self::wire::{Line, Socket};
use super::cost;
use crate::limits::SCRATCH_BYTES;
use crate::transport::client::ClientTls;
use crate::transport::identity::certificates_from_pem;
use crate::transport::server::{CertificateFiles, ServerTls, TlsFiles, TlsVersion};
use crate::transport::{Handshake, Received, Transport};

/// Authority with one certificate, and that certificate's key. The authority's key is deleted, and
/// only this property trusts it.
const AUTHORITY: &[u8] = include_bytes!("authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("certificate.pem");
const KEY: &[u8] = include_bytes!("key.pem");
const NAME: &str = "check.test";

/// Sizes of writes, of the room of reads, and of the bytes that one call of a socket moves.
const SIZES: [usize; 8] = [1, 2, 5, 100, 1400, 4 << 10, 16 << 10, 40 << 10];
/// Most bytes that an end sends.
const STREAM_BYTES: usize = 256 << 10;
/// Rounds within which all bytes must arrive once the wire is undisturbed.
const ROUNDS: usize = 1000;

/// Runs a client and a server. `script` has two bytes a step (kind and place, amount). Some steps
/// are theirs (continue the handshake, read, write, close), some are the attacker's (short calls,
/// no room, changed, inserted or truncated bytes).
///
/// Each end receives exactly the bytes that the other sent, in order, and its end only from the
/// other. On an undisturbed wire it receives all of them. Bytes reported as written are not lost
/// when the writer closes. The handshake and the transfer terminate.
pub fn tls(script: &[u8]) {
    let mut world = World::new();
    let before = crate::cost::steps();
    for step in script.chunks_exact(2) {
        if let [what, much] = step {
            world.step(*what, *much);
        }
    }
    world.run_until_quiet();
    let steps = crate::cost::steps() - before;
    let bytes: u64 = world.lines.iter().map(|line| line.moved).sum();
    let allowed = cost::TLS_STEPS * bytes + cost::TLS_SESSION_STEPS;
    assert!(
        steps <= allowed,
        "{steps} steps for {bytes} bytes; {allowed} are allowed"
    );
}

struct End {
    pipe: Transport,
    open: bool,
    /// The handshake failed or was abandoned: no more reads and writes.
    failed: bool,
    /// Bytes to send, and bytes reported as written.
    wanted: usize,
    reported: usize,
    /// close_notify was sent.
    closed: bool,
    /// A write failed.
    broken: bool,
    /// Bytes received, and the end of the stream.
    received: usize,
    ended: Option<Received>,
}

impl End {
    fn new(pipe: Option<Transport>) -> End {
        let Some(pipe) = pipe else {
            panic!("the settings are good")
        };
        End {
            pipe,
            open: false,
            failed: false,
            wanted: 0,
            reported: 0,
            closed: false,
            broken: false,
            received: 0,
            ended: None,
        }
    }
}

struct World {
    /// The client and the server.
    ends: [End; 2],
    /// From the client, from the server.
    lines: [Line; 2],
    scratch: Vec<u8>,
}

/// Byte that an end sends at a position; the two ends send different bytes.
fn byte_at(end: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8 & 0xfe | end as u8
}

fn server() -> ServerTls {
    static SERVER: OnceLock<Option<ServerTls>> = OnceLock::new();
    let load = || {
        let pair = CertificateFiles {
            certificate: "certificate.pem".into(),
            key: "key.pem".into(),
        };
        let files = TlsFiles {
            certificates: vec![pair],
            ordered: Vec::new(),
            contact: None,
            min_version: TlsVersion::Tls12,
            client_ca: None,
            client_auth: crate::transport::server::ClientAuth::Required,
        };
        let read = |path: &Path| {
            Ok(if path == Path::new("key.pem") {
                KEY
            } else {
                CERTIFICATE
            }
            .to_vec())
        };
        ServerTls::load(&files, &read).ok()
    };
    let Some(server) = SERVER.get_or_init(load) else {
        panic!("the certificate and its key are good")
    };
    server.clone()
}

/// Creates a new client each time: a resumed session would change the meaning of a script.
fn client() -> ClientTls {
    let made =
        certificates_from_pem(AUTHORITY).and_then(|roots| ClientTls::new(NAME, None, &roots, None));
    let Ok(client) = made else {
        panic!("the authority is good")
    };
    client
}

impl World {
    fn new() -> World {
        World {
            ends: [
                End::new(Transport::client(&client()).ok()),
                End::new(Transport::server(&server()).ok()),
            ],
            lines: [Line::new(), Line::new()],
            scratch: vec![0; SCRATCH_BYTES],
        }
    }

    fn step(&mut self, what: u8, much: u8) {
        let at = usize::from(what & 1);
        let size = SIZES
            .get(usize::from(much) % SIZES.len())
            .copied()
            .unwrap_or(1);
        match what >> 1 & 7 {
            0 => self.read(at, size),
            1 => {
                let [client, server] = &mut self.ends;
                let end = if at == 0 { client } else { server };
                if !end.closed && !end.broken {
                    end.wanted = end.wanted.saturating_add(size).min(STREAM_BYTES);
                }
                self.write(at, usize::from(much >> 3));
            }
            2 => self.line(at).piece = size,
            3 => self.line(at).room = usize::from(much) * 64,
            4 => {
                let line = self.line(at);
                let place = usize::from(much).checked_rem(line.bytes.len());
                if let Some(byte) = place.and_then(|place| line.bytes.get_mut(place)) {
                    *byte ^= 1 << (much & 7);
                    line.modified = true;
                }
            }
            5 => self.line(at).cut = true,
            6 => {
                let line = self.line(at);
                line.modified |= !line.cut;
                if !line.cut {
                    line.bytes.extend([much; 3]);
                }
            }
            _ => self.close(at),
        }
    }

    fn line(&mut self, at: usize) -> &mut Line {
        let [from_client, from_server] = &mut self.lines;
        if at == 0 { from_client } else { from_server }
    }

    /// Returns an end with its socket, the other end, and the scratch buffer.
    fn at(&mut self, at: usize) -> (&mut End, Socket<'_>, &End, &mut [u8]) {
        let World {
            ends: [client, server],
            lines: [from_client, from_server],
            scratch,
        } = self;
        if at == 0 {
            (
                client,
                Socket {
                    incoming: from_server,
                    outgoing: from_client,
                },
                server,
                scratch,
            )
        } else {
            (
                server,
                Socket {
                    incoming: from_client,
                    outgoing: from_server,
                },
                client,
                scratch,
            )
        }
    }

    /// Continues the handshake, or reads.
    fn read(&mut self, at: usize, room: usize) {
        let (end, mut socket, other, scratch) = self.at(at);
        // An end that has closed and then receives garbage sends an alert behind its close_notify,
        // on which rustls panics with debug assertions (send_fatal_alert of 0.23). Such scripts are
        // skipped.
        if end.failed || (end.closed && socket.incoming.modified) {
            return;
        }
        if !end.open {
            match end.pipe.handshake(&mut socket, scratch) {
                Ok(Handshake::Done) => end.open = true,
                Ok(Handshake::Pending) => {}
                Err(_) => end.failed = true,
            }
            return;
        }
        let mut room = vec![0; room];
        let received = end.pipe.read(&mut socket, scratch, &mut room);
        if let Some(over) = &end.ended {
            assert_eq!(received, *over, "an end is final");
        }
        match received {
            Received::Bytes { n, drained } => {
                let news = room.get(..n).unwrap_or_default();
                assert!(
                    n > 0 && news.len() == n,
                    "as many as there was room for, and at least one"
                );
                let from = end.received;
                assert!(
                    news.iter()
                        .zip(from..)
                        .all(|(&byte, place)| byte == byte_at(1 - at, place)),
                    "what was said"
                );
                end.received = from.saturating_add(n);
                assert!(end.received <= other.wanted, "and no more");
                // A short read from a kernel's socket means that it is empty; a short read from
                // this wire does not.
                if drained && socket.incoming.piece == usize::MAX {
                    assert!(
                        socket.incoming.bytes.is_empty() && !end.pipe.has_plaintext(),
                        "drained"
                    );
                }
            }
            Received::NoPlaintext => {}
            Received::Blocked => assert!(!end.pipe.has_plaintext(), "what is inside can be read"),
            Received::End => {
                assert!(other.closed, "nobody but the peer can say that it is done");
                assert!(
                    end.received >= other.reported,
                    "what was told as written is in front of it"
                );
                end.ended = Some(Received::End);
            }
            fault @ Received::Fault(_) => end.ended = Some(fault),
        }
    }

    /// Writes the remaining bytes, their front as a head.
    fn write(&mut self, at: usize, head: usize) {
        let (end, mut socket, _, scratch) = self.at(at);
        if !end.open || end.closed || end.broken {
            return;
        }
        let rest = (end.reported..end.wanted)
            .map(|place| byte_at(at, place))
            .collect::<Vec<_>>();
        let (head, body) = rest.split_at_checked(head).unwrap_or((&rest, &[]));
        match end.pipe.write(&mut socket, scratch, head, body) {
            Ok(n) => {
                assert!(n > 0 || rest.is_empty(), "nothing is not something");
                end.reported = end.reported.saturating_add(n);
                assert!(end.reported <= end.wanted, "no more than was offered");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The next read reports the reason.
            Err(_) => end.broken = true,
        }
    }

    fn close(&mut self, at: usize) {
        let (end, mut socket, ..) = self.at(at);
        end.closed = true;
        // An end that closes before its session exists does not continue the handshake.
        end.failed |= !end.open;
        end.pipe.close_notify(&mut socket);
    }

    /// Removes all disturbance, and continues until nothing moves.
    fn run_until_quiet(&mut self) {
        for line in &mut self.lines {
            (line.piece, line.room) = (usize::MAX, usize::MAX);
        }
        for _ in 0..ROUNDS {
            let before = self.progress();
            for at in [0, 1] {
                self.read(at, 16 << 10);
                self.write(at, 100);
                // Output that a close left behind.
                let (end, mut socket, ..) = self.at(at);
                if end.closed {
                    end.pipe.close_notify(&mut socket);
                }
            }
            if self.progress() == before {
                return self.judge();
            }
        }
        panic!("it goes on for ever");
    }

    /// Returns the values that change when anything happens.
    fn progress(&self) -> impl PartialEq + use<> {
        let ends = self.ends.each_ref().map(|end| {
            (
                end.open,
                end.failed,
                end.reported,
                end.received,
                end.ended.is_some(),
            )
        });
        let lines = self.lines.each_ref().map(|line| line.bytes.len());
        (ends, lines)
    }

    fn judge(&self) {
        let World {
            ends: [client, server],
            lines,
            ..
        } = self;
        if lines.iter().any(|line| line.modified || line.cut) {
            return;
        }
        if !client.closed && !server.closed {
            assert!(client.open && server.open, "they have shaken hands");
        }
        for (end, other) in [(client, server), (server, client)] {
            if !(end.open && other.open) {
                continue;
            }
            if !other.closed {
                assert_eq!(
                    (end.received, &end.ended),
                    (other.wanted, &None),
                    "all that was said, and it is not over"
                );
            } else {
                assert!(
                    end.received >= other.reported && end.ended == Some(Received::End),
                    "what was told, and the end"
                );
            }
        }
    }
}

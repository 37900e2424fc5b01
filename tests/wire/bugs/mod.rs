//! Bugs that peers had, a row each: the peer with its CVE or issue, what went wrong there, and the bytes that show it.
//!
//! A row is run as every row of `wire` is. One that needs time, more connections than one or an order of events plays a
//! scene of its own; one that needs TLS, sockets or a process names the test that has it.

mod chunks;
mod connections;
mod crashes;
mod desync;
mod fragments;
mod framing;
mod heads;
mod obfuscation;
mod paths;

use super::rows::*;

/// A bug of a peer.
pub struct Bug {
    /// The peer, with its CVE, advisory or issue.
    pub peer: &'static str,
    /// What went wrong there.
    pub cause: &'static str,
    /// What shows that it does not go wrong here.
    pub probes: Vec<Probe>,
}

/// One way to look for a bug.
pub enum Probe {
    /// A client says this.
    Client {
        rules: Requests,
        bytes: Vec<u8>,
        expects: Vec<Expect>,
        closed: bool,
    },
    /// An upstream says this.
    Upstream {
        rules: Responses,
        bytes: Vec<u8>,
        got: Heard,
        fate: Fate,
    },
    /// More than bytes.
    Scene(fn()),
    /// The same bytes in several surroundings; the function is told the row's name.
    Scenes(Box<dyn Fn(&str)>),
    /// Another test of this binary or of the library: its file and its name.
    Test {
        source: &'static str,
        name: &'static str,
    },
}

/// What the client has in the end.
pub enum Heard {
    Bytes(String),
    Own(u16),
}

pub fn bug(
    peer: &'static str,
    cause: &'static str,
    probes: impl IntoIterator<Item = Probe>,
) -> Bug {
    Bug {
        peer,
        cause,
        probes: probes.into_iter().collect(),
    }
}

/// The head is refused, nothing of it goes up, and nothing behind it is looked at.
pub fn refused(status: u16, bytes: impl AsRef<[u8]>) -> Probe {
    client(Requests::default(), bytes, [reply(status)], true)
}

/// The body breaks: whatever of it went up is no whole request, and nothing behind it is looked at.
pub fn broken(bytes: impl AsRef<[u8]>) -> Probe {
    client(
        Requests {
            in_body: true,
            ..Requests::default()
        },
        bytes,
        [reply(400)],
        true,
    )
}

/// These requests are in the bytes, no more and no fewer; the connection stays open.
pub fn read_as(bytes: impl AsRef<[u8]>, expects: impl IntoIterator<Item = Expect>) -> Probe {
    client(Requests::default(), bytes, expects, false)
}

/// The same, and the connection closes behind them.
pub fn read_last(bytes: impl AsRef<[u8]>, expects: impl IntoIterator<Item = Expect>) -> Probe {
    client(Requests::default(), bytes, expects, true)
}

/// The request is not complete: nobody is answered, and nobody has a whole request.
pub fn waits(bytes: impl AsRef<[u8]>) -> Probe {
    client(
        Requests {
            in_body: true,
            ..Requests::default()
        },
        bytes,
        [],
        false,
    )
}

/// A client's bytes under rules of their own.
pub fn client(
    rules: Requests,
    bytes: impl AsRef<[u8]>,
    expects: impl IntoIterator<Item = Expect>,
    closed: bool,
) -> Probe {
    Probe::Client {
        rules,
        bytes: bytes.as_ref().to_vec(),
        expects: expects.into_iter().collect(),
        closed,
    }
}

/// An upstream says this to a GET; the client has that.
pub fn heard(bytes: impl AsRef<[u8]>, got: impl Into<String>, fate: Fate) -> Probe {
    upstream(Responses::default(), bytes, Heard::Bytes(got.into()), fate)
}

/// The same, and the upstream ends its stream behind it.
pub fn heard_to_the_end(bytes: impl AsRef<[u8]>, got: impl Into<String>, fate: Fate) -> Probe {
    upstream(
        Responses {
            ended: true,
            ..Responses::default()
        },
        bytes,
        Heard::Bytes(got.into()),
        fate,
    )
}

/// It is no response: a 502, and the upstream's connection is closed.
pub fn malformed(bytes: impl AsRef<[u8]>) -> Probe {
    upstream(
        Responses::default(),
        bytes,
        Heard::Own(502),
        Fate::UpstreamClosed,
    )
}

/// An upstream's bytes under rules of their own.
pub fn upstream(rules: Responses, bytes: impl AsRef<[u8]>, got: Heard, fate: Fate) -> Probe {
    Probe::Upstream {
        rules,
        bytes: bytes.as_ref().to_vec(),
        got,
        fate,
    }
}

/// Held by the test of this name in this source.
pub fn held_by(source: &'static str, name: &'static str) -> Probe {
    Probe::Test { source, name }
}

/// `POST /auth` with these fields and this body.
pub fn post(fields: &str, body: &str) -> String {
    format!("POST /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n{body}")
}

/// `GET /auth` with these fields.
pub fn with_fields(fields: &str) -> String {
    format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")
}

pub const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
pub const DATE: &str = "Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n";
/// What an attacker would have another reader take for a request.
pub const SMUGGLED: &str = "GET /auth/smuggled HTTP/1.1\r\nHost: gate\r\n\r\n";

impl Probe {
    fn run(&self, row: &str) {
        match self {
            Probe::Client {
                rules,
                bytes,
                expects,
                closed,
            } => rules.check(row, bytes, expects, *closed),
            Probe::Upstream {
                rules,
                bytes,
                got,
                fate,
            } => {
                let got = match got {
                    Heard::Bytes(bytes) => Got::Bytes(bytes),
                    Heard::Own(status) => Got::Own(*status),
                };
                rules.check(row, bytes, got, *fate);
            }
            Probe::Scene(scene) => scene(),
            Probe::Scenes(scenes) => scenes(row),
            Probe::Test { source, name } => {
                assert!(
                    source.contains(&format!("fn {name}(")),
                    "row {row}: the test {name} is gone"
                );
            }
        }
    }
}

/// Every probe of every row.
fn hold(bugs: Vec<Bug>) {
    for Bug {
        peer,
        cause,
        probes,
    } in bugs
    {
        for (n, probe) in probes.iter().enumerate() {
            probe.run(&format!("{peer} ({cause}), probe {n}"));
        }
    }
}

#[test]
fn the_table_is_long_and_names_each_bug_once() {
    let tables = [
        framing::bugs(),
        chunks::bugs(),
        heads::bugs(),
        obfuscation::bugs(),
        paths::bugs(),
        connections::bugs(),
        crashes::bugs(),
        desync::bugs(),
    ];
    let mut bugs: Vec<Bug> = tables.into_iter().flatten().collect();
    assert!(
        bugs.iter()
            .all(|bug| !bug.probes.is_empty() && !bug.cause.is_empty()),
        "a row without a probe"
    );
    let total = bugs.len();
    bugs.sort_by_key(|bug| bug.peer);
    bugs.dedup_by_key(|bug| bug.peer);
    assert_eq!(bugs.len(), total, "two rows of one name");
    assert!(total >= 60, "{total} rows");
}

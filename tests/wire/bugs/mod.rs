//! Bugs of other programs, one row each: the program with its CVE or issue, the cause, and the
//! bytes that show the bug.
//!
//! A row runs like every row of `wire`. A row that needs time, several connections or an order of
//! events has its own scene. A row that needs TLS, sockets or a process names the test that covers
//! it.

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

/// Bug of another program.
pub struct Bug {
    /// Program, with its CVE, advisory or issue.
    pub peer: &'static str,
    /// Cause of the bug.
    pub cause: &'static str,
    /// Checks that the gateway does not have the bug.
    pub probes: Vec<Probe>,
}

/// Kinds of checks.
pub enum Probe {
    /// Bytes of a client.
    Client {
        rules: Requests,
        bytes: Vec<u8>,
        expects: Vec<Expect>,
        closed: bool,
    },
    /// Bytes of an upstream.
    Upstream {
        rules: Responses,
        bytes: Vec<u8>,
        got: Heard,
        fate: Fate,
    },
    /// Test with more than bytes.
    Scene(fn()),
    /// The same bytes in several situations. The function gets the name of the row.
    Scenes(Box<dyn Fn(&str)>),
    /// Another test of this binary or of the library: its file and its name.
    Test {
        source: &'static str,
        name: &'static str,
    },
}

/// Bytes that the client receives.
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

/// Returns a probe whose head is refused: no byte of it reaches an upstream, and no byte behind it
/// is read.
pub fn refused(status: u16, bytes: impl AsRef<[u8]>) -> Probe {
    client(Requests::default(), bytes, [reply(status)], true)
}

/// Returns a probe whose body is invalid: no complete request reaches an upstream, and no byte
/// behind it is read.
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

/// Returns a probe with exactly these requests. The connection stays open.
pub fn read_as(bytes: impl AsRef<[u8]>, expects: impl IntoIterator<Item = Expect>) -> Probe {
    client(Requests::default(), bytes, expects, false)
}

/// Returns a probe with exactly these requests, after which the connection closes.
pub fn read_last(bytes: impl AsRef<[u8]>, expects: impl IntoIterator<Item = Expect>) -> Probe {
    client(Requests::default(), bytes, expects, true)
}

/// Returns a probe with an incomplete request: there is no answer, and no upstream has a complete
/// request.
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

/// Returns a probe with the bytes of a client and other rules than the usual ones.
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

/// Returns a probe with an upstream's answer to a GET, and the bytes that the client gets.
pub fn heard(bytes: impl AsRef<[u8]>, got: impl Into<String>, fate: Fate) -> Probe {
    upstream(Responses::default(), bytes, Heard::Bytes(got.into()), fate)
}

/// Returns a probe like `heard`, in which the upstream ends its stream behind the answer.
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

/// Returns a probe with a malformed response: the client gets a 502, and the upstream's connection
/// is closed.
pub fn malformed(bytes: impl AsRef<[u8]>) -> Probe {
    upstream(
        Responses::default(),
        bytes,
        Heard::Own(502),
        Fate::UpstreamClosed,
    )
}

/// Returns a probe with the bytes of an upstream and other rules than the usual ones.
pub fn upstream(rules: Responses, bytes: impl AsRef<[u8]>, got: Heard, fate: Fate) -> Probe {
    Probe::Upstream {
        rules,
        bytes: bytes.as_ref().to_vec(),
        got,
        fate,
    }
}

/// Returns a probe that the named test in this source covers.
pub fn held_by(source: &'static str, name: &'static str) -> Probe {
    Probe::Test { source, name }
}

/// Returns `POST /auth` with these fields and this body.
pub fn post(fields: &str, body: &str) -> String {
    format!("POST /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n{body}")
}

/// Returns `GET /auth` with these fields.
pub fn with_fields(fields: &str) -> String {
    format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")
}

pub const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
pub const DATE: &str = "Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n";
/// Request that an attacker tries to smuggle to another reader.
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

/// Runs every probe of every row.
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

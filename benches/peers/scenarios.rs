//! Scenarios: the closed loops as a table, and the names of the others.

use std::net::SocketAddr;

use crate::load::work::{Handshakes, Work};
use crate::origin::JSON_BYTES;

/// Kind of request in a closed loop.
pub struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    pub path: &'static str,
    /// Bytes of request body; `None`: a GET.
    pub body: Option<usize>,
    pub chunked: bool,
    /// Bytes of the answer's body.
    pub expect: usize,
    pub connections: usize,
    /// TLS settings; `None` for plain connections.
    pub handshakes: Option<Handshakes>,
    pub needs: Need,
}

/// Ability that a gateway needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Nothing,
    TlsUpstream,
    Https,
    /// A route that is guarded by tokens of this name.
    Token(&'static str),
    ManyRoutes,
}

const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

const SMALL: Scenario = Scenario {
    name: "small",
    title: "GET, 120-byte answer, 64 connections",
    path: "/users/json",
    body: None,
    chunked: false,
    expect: JSON_BYTES,
    connections: 64,
    handshakes: None,
    needs: Need::Nothing,
};

pub const SCENARIOS: [Scenario; 18] = [
    SMALL,
    Scenario {
        name: "one-connection",
        title: "the same, 1 connection",
        connections: 1,
        ..SMALL
    },
    Scenario {
        name: "many-connections",
        title: "the same, 512 connections",
        connections: 512,
        ..SMALL
    },
    Scenario {
        name: "many-routes",
        title: "the same, 5,000 routes",
        path: "/r4321/json",
        needs: Need::ManyRoutes,
        ..SMALL
    },
    Scenario {
        name: "https-upstream",
        title: "the same, https upstream",
        path: "/secure/json",
        needs: Need::TlsUpstream,
        ..SMALL
    },
    Scenario {
        name: "https",
        title: "the same, https client",
        handshakes: Some(Handshakes::Once),
        needs: Need::Https,
        ..SMALL
    },
    // So many connections as a client that resumes keeps tickets.
    Scenario {
        name: "handshakes",
        title: "the same, 8 clients, each request with a full TLS 1.3 handshake, ECDSA P-256",
        connections: 8,
        handshakes: Some(Handshakes::Full),
        needs: Need::Https,
        ..SMALL
    },
    Scenario {
        name: "resumed",
        title: "the same, 8 clients, each request with a resumed TLS 1.3 handshake",
        connections: 8,
        handshakes: Some(Handshakes::Resumed),
        needs: Need::Https,
        ..SMALL
    },
    // One token for all requests, as a client sends it until it ends.
    Scenario {
        name: "jwt-hs256",
        title: "the same, through a route that needs a token, HS256",
        path: "/hs256/json",
        needs: Need::Token("hs256"),
        ..SMALL
    },
    Scenario {
        name: "jwt-es256",
        title: "the same, through a route that needs a token, ES256",
        path: "/es256/json",
        needs: Need::Token("es256"),
        ..SMALL
    },
    Scenario {
        name: "post-10k",
        title: "POST, 10 KB",
        body: Some(10 * KB),
        ..SMALL
    },
    Scenario {
        name: "post-100k",
        title: "POST, 100 KB",
        body: Some(100 * KB),
        ..SMALL
    },
    Scenario {
        name: "post-10m",
        title: "POST, 10 MB, 4 connections",
        body: Some(10 * MB),
        connections: 4,
        ..SMALL
    },
    Scenario {
        name: "post-chunked",
        title: "POST, 10 KB in chunks of 1 KB",
        body: Some(10 * KB),
        chunked: true,
        ..SMALL
    },
    Scenario {
        name: "get-10k",
        title: "GET, 10 KB answer",
        path: "/users/10k",
        expect: 10 * KB,
        ..SMALL
    },
    Scenario {
        name: "get-100k",
        title: "GET, 100 KB answer",
        path: "/users/100k",
        expect: 100 * KB,
        ..SMALL
    },
    Scenario {
        name: "get-10m",
        title: "GET, 10 MB answer, 4 connections",
        path: "/users/10m",
        expect: 10 * MB,
        connections: 4,
        ..SMALL
    },
    Scenario {
        name: "get-chunked",
        title: "GET, 10 KB answer in chunks of 1 KB",
        path: "/users/chunked",
        expect: 10 * KB,
        ..SMALL
    },
];

/// Measurements that are no closed loop.
const OTHERS: [(&str, &str); 5] = [
    (
        "fixed-rate",
        "p50 and p99 of small requests at a fixed rate, half of what the slowest of the fast can do",
    ),
    (
        "beside-stream",
        "p99 of small requests beside a stream of 10 MB answers",
    ),
    ("syscalls", "system calls per small request, under strace"),
    (
        "memory",
        "resident memory; private memory per idle connection, plain and TLS, and per request in flight",
    ),
    ("start", "from start to listening"),
];

pub fn names() -> impl Iterator<Item = &'static str> {
    SCENARIOS
        .iter()
        .map(|scenario| scenario.name)
        .chain(OTHERS.map(|(name, _)| name))
}

pub fn list() -> String {
    let all = SCENARIOS
        .iter()
        .map(|scenario| (scenario.name, scenario.title))
        .chain(OTHERS);
    all.map(|(name, title)| format!("{name:18}{title}\n"))
        .collect()
}

/// The scenario of that name.
pub fn named(name: &str) -> &'static Scenario {
    SCENARIOS
        .iter()
        .find(|scenario| scenario.name == name)
        .unwrap_or(&SCENARIOS[0])
}

impl Scenario {
    /// The requests, over plain connections.
    pub fn work(&self, address: SocketAddr) -> Work {
        Work {
            address,
            target: self.path.to_owned(),
            body: self.body,
            chunked: self.chunked,
            expect: self.expect as u64,
            connections: self.connections,
            warm_up: true,
            token: None,
            tls: None,
            piece: 256 * KB,
        }
    }
}

//! The whole engine between a client and upstreams that say anything.

use core::net::{IpAddr, Ipv4Addr};

use crate::policy::forward::Peer;
use crate::policy::reply::Reply;
use crate::proxy::Proxy;
use crate::proxy::command::{Command, Fault, Side, UpstreamId};
use crate::time::{Duration, Instant, UnixTime};

/// The gateway between a client and upstreams that say anything: `script` is what happens, two bytes a step (what, how
/// much), the rest what they say. Nothing may be left when both are gone, and a refused request reaches no upstream.
pub fn exchange(script: &[u8]) {
    let Some((steps, said)) =
        script.split_first().and_then(|(count, rest)| rest.split_at_checked((usize::from(*count) * 2).min(rest.len())))
    else {
        return;
    };
    let (client_says, upstream_says) = said.split_at_checked(said.len() / 2).unwrap_or((said, &[]));
    let mut stage = Stage::new(client_says, upstream_says);
    for step in steps.chunks_exact(2) {
        if let [what, much] = step {
            stage.step(*what, usize::from(*much) + 1);
        }
    }
    stage.leave();
}

const CONFIG: &str = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" }, { "route": "/", "target": "http://10.0.0.2" } ],
    "limits": { "bodyBytes": 4096 }, "rateLimit": false }"#;

/// The world of [`exchange`].
struct Stage<'a> {
    proxy: Proxy,
    now: Instant,
    client: Option<crate::proxy::command::DownstreamId>,
    upstreams: Vec<UpstreamId>,
    dialing: Vec<UpstreamId>,
    client_says: &'a [u8],
    upstream_says: &'a [u8],
    /// Bytes that upstreams received.
    sent_up: usize,
    /// The first answer was our own 400, before a byte had gone up.
    refused_first: bool,
    heard: Vec<u8>,
}

impl<'a> Stage<'a> {
    fn new(client_says: &'a [u8], upstream_says: &'a [u8]) -> Stage<'a> {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let settings =
            crate::config::load(CONFIG.as_bytes(), "fuzz.json", &|_| None, &read).ok().map(|config| config.settings);
        #[expect(clippy::unreachable, reason = "a property may panic; that is how it fails")]
        let Some(settings) = settings else { unreachable!("the configuration above is valid") };
        let mut proxy = Proxy::new(settings, 1);
        let now = Instant::from_millis(1);
        proxy.handle_clock(now, UnixTime::from_millis(1_800_000_000_000));
        let client = proxy.handle_accepted(Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), false, now);
        let mut stage = Stage {
            proxy,
            now,
            client,
            upstreams: Vec::new(),
            dialing: Vec::new(),
            client_says,
            upstream_says,
            sent_up: 0,
            refused_first: false,
            heard: Vec::new(),
        };
        stage.obey();
        stage
    }

    fn step(&mut self, what: u8, much: usize) {
        let down = self.client.map(Side::Down);
        let up = self.upstreams.last().copied().map(Side::Up);
        match what % 12 {
            0..=2 => self.deliver(down, much, true),
            3 | 4 => self.deliver(up, much, false),
            5 => self.take(down, much),
            6 => self.take(up, much),
            7 => self.connected(),
            8 => self.end(down),
            9 => self.end(up),
            10 => self.fault(if much.is_multiple_of(2) { down } else { up }),
            _ => self.pass(much as u64 * 100),
        }
        self.obey();
    }

    fn deliver(&mut self, side: Option<Side>, much: usize, from_client: bool) {
        let Some(side) = side else { return };
        let says = if from_client { &mut self.client_says } else { &mut self.upstream_says };
        let room = self.proxy.room(side);
        if room.is_empty() {
            return;
        }
        let n = much.min(says.len()).min(room.len());
        if let (Some(to), Some((bytes, rest))) = (room.get_mut(..n), says.split_at_checked(n)) {
            to.copy_from_slice(bytes);
            *says = rest;
        }
        self.proxy.handle_received(side, n, self.now);
    }

    fn take(&mut self, side: Option<Side>, much: usize) {
        let Some(side) = side else { return };
        let (head, body) = self.proxy.pending(side);
        let bytes: Vec<u8> = head.iter().chain(body).copied().take(much.saturating_mul(16)).collect();
        if bytes.is_empty() {
            return;
        }
        match side {
            Side::Up(_) => self.sent_up += bytes.len(),
            Side::Down(_) => self.heard.extend_from_slice(&bytes),
        }
        self.proxy.handle_sent(side, bytes.len(), self.now);
        // Only a reply of the gateway's own refuses a request; an upstream may say 400, too.
        if self.heard.starts_with(b"HTTP/1.1 400 ")
            && self.heard.ends_with(Reply::BadRequest.body())
            && self.sent_up == 0
        {
            self.refused_first = true;
        }
    }

    fn connected(&mut self) {
        if let Some(up) = self.dialing.pop() {
            self.upstreams.push(up);
            self.proxy.handle_connected(up, self.now);
        }
    }

    fn end(&mut self, side: Option<Side>) {
        if let Some(side) = side.filter(|side| !self.proxy.room(*side).is_empty()) {
            self.proxy.handle_received(side, 0, self.now);
            self.proxy.handle_end(side, self.now);
        } else if let Some(side) = side {
            self.proxy.handle_hangup(side, self.now);
        }
    }

    fn fault(&mut self, side: Option<Side>) {
        if let Some(side) = side {
            self.forget(side);
            self.proxy.handle_fault(side, Fault::Reset, self.now);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        if self.proxy.poll_timeout().is_some_and(|due| due <= self.now) {
            self.proxy.handle_timeout(self.now);
        }
    }

    fn obey(&mut self) {
        for commands in 0.. {
            assert!(commands < 10_000, "the engine spins");
            match self.proxy.poll_command() {
                None => break,
                Some(Command::Dial { upstream, .. }) => self.dialing.push(upstream),
                Some(Command::Close { side, .. }) => self.forget(side),
                Some(_) => {}
            }
        }
        assert!(self.proxy.is_within_memory(), "the engine holds more than it says that it can");
    }

    fn forget(&mut self, side: Side) {
        match side {
            Side::Down(id) => self.client = self.client.filter(|client| *client != id),
            Side::Up(id) => {
                self.upstreams.retain(|up| *up != id);
                self.dialing.retain(|up| *up != id);
            }
        }
    }

    /// Everybody goes, time passes: nothing may be left (invariant I8), and a 400 as the first answer means that nothing
    /// had gone up (I4).
    fn leave(mut self) {
        // What still waits for an upstream counts as sent.
        for up in self.upstreams.clone() {
            self.take(Some(Side::Up(up)), usize::MAX);
        }
        self.obey();
        assert!(!self.refused_first || self.sent_up == 0, "a refused request reached an upstream");
        self.fault(self.client.map(Side::Down));
        self.obey();
        self.now = self.now.after(Duration::from_secs(7200));
        self.proxy.handle_timeout(self.now);
        self.obey();
        let left = (self.proxy.downstreams(), self.proxy.upstreams(), self.proxy.buffers_lent());
        assert_eq!(left, (0, 0, 0), "connections or buffers are left");
    }
}

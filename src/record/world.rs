//! World around the engine for a replay, and for a request that `tollgate explain` is asked about: its
//! connections, its time, and what it does, as text or as bytes.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;

use crate::policy::auth::json::Json;
use crate::policy::forward::Peer;
use crate::proxy::Proxy;
use crate::proxy::command::{Command, ListenerKind, Side, TargetId, UpstreamId, Work};
use crate::time::Instant;

/// Connection of the replay.
pub(super) struct Wire {
    pub(super) side: Side,
    /// Number in the record; `None`: it has none yet.
    pub(super) number: Option<usize>,
    pub(super) unread: Vec<u8>,
    pub(super) has_ended: bool,
    pub(super) is_connected: bool,
    pub(super) is_stalled: bool,
}

pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(super) now: Instant,
    pub(super) started: Instant,
    pub(super) wires: Vec<Wire>,
    /// Connections that the engine chose and the record has not named yet.
    pub(crate) chosen: VecDeque<UpstreamId>,
    /// Numbers of the record that wait for their connection while a name is looked up.
    pub(super) awaited: VecDeque<(usize, bool)>,
    /// Addresses of the targets' names; `None`: no answer.
    pub(super) names: Option<Vec<SocketAddr>>,
    pub(super) resolving: Vec<TargetId>,
    /// True behind the first input about names.
    pub(super) has_names: bool,
    pub(super) is_quiet: bool,
    pub(super) out: String,
    /// Bytes that clients and upstreams got while it was quiet.
    pub(crate) to_client: Vec<u8>,
    pub(crate) to_upstream: Vec<u8>,
    /// Result of the last verification of a password.
    pub(crate) verified: Option<bool>,
}

impl World {
    /// Creates a world at a time of the engine. `names`: addresses of the targets' names.
    pub(crate) fn new(proxy: Proxy, started: Instant, names: Option<Vec<SocketAddr>>) -> World {
        World {
            proxy,
            now: started,
            started,
            wires: Vec::new(),
            chosen: VecDeque::new(),
            awaited: VecDeque::new(),
            names,
            resolving: Vec::new(),
            has_names: false,
            is_quiet: true,
            out: String::new(),
            to_client: Vec::new(),
            to_upstream: Vec::new(),
            verified: None,
        }
    }

    pub(crate) fn add(&mut self, side: Side, number: Option<usize>, is_connected: bool) {
        self.wires.push(Wire {
            side,
            number,
            unread: Vec::new(),
            has_ended: false,
            is_connected,
            is_stalled: false,
        });
    }

    pub(super) fn wire(&mut self, side: Side) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|wire| wire.side == side)
    }

    /// Fills the pool: so many requests at once, each with a response.
    pub(super) fn warm_up(&mut self, count: usize, route: &str) {
        let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8)));
        let mut clients = Vec::new();
        for _ in 0..count {
            let Some(client) = self
                .proxy
                .handle_accepted(peer, ListenerKind::Plain, self.now)
            else {
                continue;
            };
            let side = Side::Client(client);
            self.add(side, None, true);
            self.send(
                side,
                format!("GET {route} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
            );
            clients.push(side);
        }
        let made = core::mem::take(&mut self.chosen);
        for up in &made {
            self.connect(*up);
        }
        for up in &made {
            self.send(
                Side::Upstream(*up),
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            );
        }
        for side in clients {
            self.end(side);
        }
        self.chosen.clear();
        self.proxy.access_lines().clear();
    }

    pub(crate) fn connect(&mut self, up: UpstreamId) {
        let Some(wire) = self.wire(Side::Upstream(up)) else {
            return;
        };
        if !core::mem::replace(&mut wire.is_connected, true) {
            self.proxy.handle_connected(up, self.now);
            self.settle();
        }
    }

    pub(crate) fn send(&mut self, side: Side, bytes: &[u8]) {
        if let Some(wire) = self.wire(side) {
            wire.unread.extend_from_slice(bytes);
        }
        self.attend(side);
        self.settle();
    }

    pub(super) fn end(&mut self, side: Side) {
        if let Some(wire) = self.wire(side) {
            wire.has_ended = true;
        }
        self.attend(side);
        self.settle();
    }

    /// Answers the lookups that wait.
    pub(super) fn resolve(&mut self) {
        let Some(names) = self.names.clone() else {
            return;
        };
        for target in core::mem::take(&mut self.resolving) {
            self.proxy.handle_resolved(target, &names, self.now);
        }
    }

    /// Lets time pass.
    pub(super) fn wait_until(&mut self, until: Instant) {
        while let Some(due) = self.proxy.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.proxy.handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.max(until);
    }

    /// Runs commands and moves bytes until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(command) = self.proxy.poll_command() {
                self.run(command);
            }
            match self.proxy.poll_ready() {
                Some(ready) => self.attend(ready.side),
                None => return,
            }
        }
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Dial {
                upstream, address, ..
            } => {
                self.say(&format!("connects to {address}"));
                self.add(Side::Upstream(upstream), None, false);
                self.chosen.push_back(upstream);
            }
            Command::Resolve { target, .. } => {
                self.resolving.push(target);
                if self.names.as_ref().is_some_and(Vec::is_empty) || !self.is_quiet {
                    self.say("looks the target's name up");
                }
                self.resolve();
            }
            Command::Shut(side) => self.say(&format!("ends its direction to {}", self.who(side))),
            Command::Close { side, abort } => {
                let how = if abort { "resets" } else { "closes" };
                self.say(&format!("{how} {}", self.who(side)));
                self.wires.retain(|wire| wire.side != side);
            }
            Command::Verify { verification, work } => {
                let is_good = match work {
                    Work::Password(work) => *self.verified.insert(work.run()),
                    Work::Signature(work) => work.verify(),
                };
                self.proxy.handle_verified(verification, is_good, self.now);
            }
            Command::Report(_) | Command::Record | Command::Errand => {}
        }
    }

    /// Has a client that took nothing take what waits: a reply in place of a response.
    pub(super) fn resume(&mut self) {
        let stalled = self.wires.iter_mut().find(|wire| wire.is_stalled);
        if let Some(wire) = stalled {
            wire.is_stalled = false;
            let side = wire.side;
            self.attend(side);
            self.settle();
        }
    }

    /// Moves the bytes of a side.
    fn attend(&mut self, side: Side) {
        loop {
            let Some(wire) = self.wire(side).filter(|wire| wire.is_connected) else {
                return;
            };
            let (is_stalled, is_named) = (wire.is_stalled, wire.number.is_some());
            let (one, two) = self.proxy.pending(side);
            let bytes = [one, two].concat();
            if !is_stalled && !bytes.is_empty() {
                if let (Side::Upstream(up), false) = (side, is_named)
                    && !self.chosen.contains(&up)
                {
                    self.chosen.push_back(up);
                }
                if self.is_quiet {
                    self.keep(side, &bytes);
                } else {
                    self.say(&format!("sends {} {}", self.who(side), described(&bytes)));
                }
                self.proxy.handle_sent(side, bytes.len(), self.now);
            } else if !self.read(side) {
                return;
            }
            while let Some(command) = self.proxy.poll_command() {
                self.run(command);
            }
        }
    }

    /// Keeps bytes that a side got.
    fn keep(&mut self, side: Side, bytes: &[u8]) {
        let kept = match side {
            Side::Client(_) => &mut self.to_client,
            Side::Upstream(_) => &mut self.to_upstream,
        };
        kept.extend_from_slice(bytes);
    }

    /// Has the engine read of a side. Returns false if it reads nothing.
    fn read(&mut self, side: Side) -> bool {
        let Some(place) = self.wires.iter().position(|wire| wire.side == side) else {
            return false;
        };
        let Some(wire) = self.wires.get_mut(place) else {
            return false;
        };
        if wire.unread.is_empty() {
            let has_ended = core::mem::take(&mut wire.has_ended);
            if has_ended {
                self.proxy.handle_end(side, self.now);
            }
            return has_ended;
        }
        let room = self.proxy.room(side);
        let count = room.len().min(wire.unread.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..count), wire.unread.get(..count)) {
            room.copy_from_slice(bytes);
        }
        wire.unread.drain(..count);
        if count > 0 {
            self.proxy.handle_received(side, count, self.now);
        }
        count > 0
    }

    /// Returns the line of the access log.
    pub(super) fn line(&mut self) -> Option<Json> {
        let lines = self.proxy.access_lines();
        let line = lines.split(|&byte| byte == b'\n').next()?;
        Json::parse(line)
    }

    pub(super) fn who(&self, side: Side) -> String {
        let wire = self.wires.iter().find(|wire| wire.side == side);
        match (side, wire.and_then(|wire| wire.number)) {
            (Side::Client(_), _) => "the client".to_owned(),
            (_, Some(number)) => format!("connection {number}"),
            _ => "the upstream".to_owned(),
        }
    }

    /// Writes an input.
    pub(super) fn tell(&mut self, text: &str) {
        let at = self.now.since(self.started).as_millis();
        let _ = writeln!(self.out, "{at:>8} ms  {text}");
    }

    /// Writes what the engine does.
    pub(super) fn say(&mut self, text: &str) {
        if !self.is_quiet {
            let _ = writeln!(self.out, "                tollgate {text}");
        }
    }
}

/// Describes bytes by their number and their first line.
pub(super) fn described(bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| matches!(byte, b'\r' | b'\n')).next();
    let line = line.unwrap_or_default();
    let line = line.get(..80).unwrap_or(line);
    format!("{} bytes: {}", bytes.len(), line.escape_ascii())
}

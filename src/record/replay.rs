//! Replay of a record: the real engine gets the inputs again, in virtual time.
//!
//! Connections are matched by their order: the first one that the engine makes is the first of the
//! record. Kept connections exist before the request, from requests of the replay's own. What the
//! engine writes is taken at once, unless the record says that the client took nothing.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;

use super::text::{Line, Record, fault, parse, unescape};
use crate::config;
use crate::policy::auth::json::Json;
use crate::policy::forward::Peer;
use crate::proxy::Proxy;
use crate::proxy::command::{ClientId, Command, ListenerKind, Side, TargetId, UpstreamId};
use crate::time::{Instant, UnixTime};

/// Bytes of one input of a record.
const INPUT_BYTES: usize = 64 << 20;

/// Deadlines of the engine that a replay waits for behind the last input.
const DEADLINES: usize = 100_000;

/// Result of a replay.
pub struct Replayed {
    /// Each input, and what the engine did.
    pub text: String,
    /// True if the request ended as in the record.
    pub is_same: bool,
}

/// Connection of the replay.
struct Wire {
    side: Side,
    /// Number in the record; `None`: it has none yet.
    number: Option<usize>,
    unread: Vec<u8>,
    has_ended: bool,
    is_connected: bool,
    is_stalled: bool,
}

struct World {
    proxy: Proxy,
    now: Instant,
    started: Instant,
    wires: Vec<Wire>,
    /// Connections that the engine chose and the record has not named yet.
    chosen: VecDeque<UpstreamId>,
    /// Addresses of the targets' names; `None`: no answer.
    names: Option<Vec<SocketAddr>>,
    resolving: Vec<TargetId>,
    /// True behind the first input about names.
    has_names: bool,
    is_quiet: bool,
    out: String,
}

/// Replays the text of a record.
///
/// # Errors
/// The text is no record, or of no version that this program reads.
pub fn replay(text: &str) -> Result<Replayed, String> {
    let record = parse(text)?;
    let env = |_: &str| None;
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let config =
        config::load(record.config.as_bytes(), "record", &env, &read).map_err(|errors| {
            errors
                .iter()
                .map(|error| format!("{error}\n"))
                .collect::<String>()
        })?;
    let route = config
        .settings
        .services
        .first()
        .map(|service| service.route.clone());
    let started = Instant::from_millis(record.started.max(1000));
    let mut world = World {
        proxy: Proxy::new(config.settings, 7),
        now: started,
        started,
        wires: Vec::new(),
        chosen: VecDeque::new(),
        names: first_names(&record)?,
        resolving: Vec::new(),
        has_names: false,
        is_quiet: true,
        out: String::new(),
    };
    world.proxy.handle_clock(started, UnixTime::from_millis(0));
    world.settle();
    let kept = record
        .inputs
        .iter()
        .filter(|line| line.kind == "attempt" && line.rest == "kept");
    world.warm_up(kept.count(), &route.unwrap_or_default());
    world.is_quiet = false;
    let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    let client = world
        .proxy
        .handle_accepted(peer, record.listener, world.now);
    let client = client.ok_or("the engine takes no client")?;
    world.add(Side::Client(client), Some(0), true);
    if record.listener == ListenerKind::Secure {
        world.proxy.handle_secured(client, None, world.now);
    }
    world.settle();
    for line in &record.inputs {
        world.wait_until(started.after(crate::time::Duration::from_millis(line.at)));
        if world.line().is_some() {
            break;
        }
        world.input(line, client)?;
    }
    Ok(world.finish(&record))
}

/// Returns the addresses that names have at the start; `None`: their lookups have no answer.
fn first_names(record: &Record) -> Result<Option<Vec<SocketAddr>>, String> {
    let mut names = record.inputs.iter().filter(|line| line.kind == "names");
    let Some(first) = names.next() else {
        return Ok(None);
    };
    let known = addresses(&first.rest)?;
    let is_unresolved = record.end.starts_with("upstream_unresolved") && names.next().is_none();
    Ok((!known.is_empty() || is_unresolved).then_some(known))
}

fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    let parsed = words.map(|word| word.parse().map_err(|_| format!("{word:?} is no address")));
    parsed.collect()
}

impl World {
    fn add(&mut self, side: Side, number: Option<usize>, is_connected: bool) {
        self.wires.push(Wire {
            side,
            number,
            unread: Vec::new(),
            has_ended: false,
            is_connected,
            is_stalled: false,
        });
    }

    fn wire(&mut self, side: Side) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|wire| wire.side == side)
    }

    /// Fills the pool: so many requests at once, each with a response.
    fn warm_up(&mut self, count: usize, route: &str) {
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

    fn connect(&mut self, up: UpstreamId) {
        let Some(wire) = self.wire(Side::Upstream(up)) else {
            return;
        };
        if !core::mem::replace(&mut wire.is_connected, true) {
            self.proxy.handle_connected(up, self.now);
            self.settle();
        }
    }

    fn send(&mut self, side: Side, bytes: &[u8]) {
        if let Some(wire) = self.wire(side) {
            wire.unread.extend_from_slice(bytes);
        }
        self.attend(side);
        self.settle();
    }

    fn end(&mut self, side: Side) {
        if let Some(wire) = self.wire(side) {
            wire.has_ended = true;
        }
        self.attend(side);
        self.settle();
    }

    /// Returns the side with a number of the record.
    fn side(&self, number: usize) -> Option<Side> {
        let mut wires = self.wires.iter();
        wires
            .find(|wire| wire.number == Some(number))
            .map(|wire| wire.side)
    }

    /// Gives the next connection that the engine chose a number of the record.
    fn name(&mut self, number: usize, is_kept: bool) {
        let Some(up) = self.chosen.pop_front() else {
            return self.say("(the engine goes to no connection here, unlike in the record)");
        };
        if let Some(wire) = self.wire(Side::Upstream(up)) {
            wire.number = Some(number);
        }
        if is_kept {
            self.connect(up);
        }
    }

    /// Does one input.
    fn input(&mut self, line: &Line, client: ClientId) -> Result<(), String> {
        let at = line.at;
        let malformed = || {
            format!(
                "the input at {at} ms is malformed: {} {}",
                line.kind, line.rest
            )
        };
        let who = match line.number {
            0 => "client".to_owned(),
            number => format!("connection {number}"),
        };
        if line.kind == "attempt" {
            self.name(line.number, line.rest == "kept");
            return Ok(());
        }
        let side = self.side(line.number);
        let Some(side) = side.or((line.number == 0).then_some(Side::Client(client))) else {
            self.say(&format!("(the engine has no {who}, unlike in the record)"));
            return Ok(());
        };
        match (line.kind.as_str(), side) {
            ("bytes", _) => {
                let bytes = unescape(&line.rest, INPUT_BYTES).ok_or_else(malformed)?;
                self.tell(&format!("{who} sends {}", described(&bytes)));
                self.send(side, &bytes);
            }
            ("end", _) => {
                self.tell(&format!("{who} ends its direction"));
                self.end(side);
            }
            ("hangup", _) => {
                self.tell(&format!("{who} hangs up"));
                self.proxy.handle_hangup(side, self.now);
            }
            ("fault", _) => {
                let (word, why) = line.rest.split_once(' ').unwrap_or((&line.rest, ""));
                let fault = fault(word).ok_or_else(malformed)?;
                let why = unescape(why, INPUT_BYTES).ok_or_else(malformed)?;
                let why = String::from_utf8_lossy(&why).into_owned();
                self.tell(&format!("{who} fails: {word} {why}"));
                let why = (!why.is_empty()).then(|| why.into_boxed_str());
                self.proxy.handle_fault(side, fault, why, self.now);
            }
            ("connected", Side::Upstream(up)) => {
                self.tell(&format!("{who} is made"));
                self.connect(up);
            }
            ("names", _) => {
                let known = addresses(&line.rest)?;
                // The first line says what is known at the start.
                let is_first = !core::mem::replace(&mut self.has_names, true);
                if self.names.is_none() && !is_first {
                    self.tell("the target's name is looked up");
                    self.names = Some(known);
                    self.resolve();
                }
            }
            ("stall", _) => {
                self.tell("client takes nothing from now on");
                if let Some(wire) = self.wire(side) {
                    wire.is_stalled = true;
                }
            }
            _ => return Err(malformed()),
        }
        self.settle();
        Ok(())
    }

    /// Answers the lookups that wait.
    fn resolve(&mut self) {
        let Some(names) = self.names.clone() else {
            return;
        };
        for target in core::mem::take(&mut self.resolving) {
            self.proxy.handle_resolved(target, &names, self.now);
        }
    }

    /// Lets time pass.
    fn wait_until(&mut self, until: Instant) {
        while let Some(due) = self.proxy.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.proxy.handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.max(until);
    }

    /// Runs commands and moves bytes until nothing is left to do.
    fn settle(&mut self) {
        loop {
            while let Some(command) = self.proxy.poll_command() {
                self.run(command);
            }
            match self.proxy.poll_ready() {
                Some(side) => self.attend(side),
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
            Command::Verify { .. } | Command::Report(_) | Command::Record => {}
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
                self.say(&format!("sends {} {}", self.who(side), described(&bytes)));
                self.proxy.handle_sent(side, bytes.len(), self.now);
            } else if !self.read(side) {
                return;
            }
            while let Some(command) = self.proxy.poll_command() {
                self.run(command);
            }
        }
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
    fn line(&mut self) -> Option<Json> {
        let lines = self.proxy.access_lines();
        let line = lines.split(|&byte| byte == b'\n').next()?;
        Json::parse(line)
    }

    /// Waits for the end of the request, and compares it with the record's.
    fn finish(mut self, record: &Record) -> Replayed {
        for _ in 0..DEADLINES {
            if self.line().is_some() {
                break;
            }
            let Some(due) = self.proxy.poll_timeout() else {
                break;
            };
            self.wait_until(due.max(self.now));
        }
        let ended = self.line().map(|line| {
            let end = line.get("end").and_then(Json::text).unwrap_or_default();
            let status = match line.get("status") {
                Some(Json::Whole(status)) => status.to_string(),
                _ => "-".to_owned(),
            };
            format!("{end} {status}")
        });
        let ended = ended.unwrap_or_else(|| "no end".to_owned());
        let is_same = ended == record.end;
        let verdict = match is_same {
            true => "as in the record".to_owned(),
            false => format!("and the record has: {}", record.end),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "end: {ended}, {verdict}");
        Replayed {
            text: self.out,
            is_same,
        }
    }

    fn who(&self, side: Side) -> String {
        let wire = self.wires.iter().find(|wire| wire.side == side);
        match (side, wire.and_then(|wire| wire.number)) {
            (Side::Client(_), _) => "the client".to_owned(),
            (_, Some(number)) => format!("connection {number}"),
            _ => "the upstream".to_owned(),
        }
    }

    /// Writes an input.
    fn tell(&mut self, text: &str) {
        let at = self.now.since(self.started).as_millis();
        let _ = writeln!(self.out, "{at:>8} ms  {text}");
    }

    /// Writes what the engine does.
    fn say(&mut self, text: &str) {
        if !self.is_quiet {
            let _ = writeln!(self.out, "                tollgate {text}");
        }
    }
}

/// Describes bytes by their number and their first line.
fn described(bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| matches!(byte, b'\r' | b'\n')).next();
    let line = line.unwrap_or_default();
    let line = line.get(..80).unwrap_or(line);
    format!("{} bytes: {}", bytes.len(), line.escape_ascii())
}

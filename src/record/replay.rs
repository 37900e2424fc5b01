//! Replay of a record: the real engine gets the inputs again, in virtual time.
//!
//! Connections are matched by their order: the first one that the engine makes is the first of the
//! record. Kept connections exist before the request, from requests of the replay's own. What the
//! engine writes is taken at once, unless the record says that the client took nothing.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::text::{Line, Record, fault, parse, unescape};
use super::world::{World, described};
use crate::config;
use crate::policy::auth::json::Json;
use crate::policy::forward::Peer;
use crate::policy::route::RoutePath;
use crate::proxy::Proxy;
use crate::proxy::command::{ClientId, ListenerKind, Side};
use crate::time::{Instant, UnixTime};

/// Bytes of one input of a record.
const INPUT_BYTES: usize = 64 << 20;

/// Deadlines of the engine that a replay waits for behind the last input.
const DEADLINES: usize = 100_000;

/// Result of a replay.
pub struct Replayed {
    /// Each input, and what the engine did.
    pub text: String,
    /// True if the request ended as in the record. A record that is cut says nothing about the end.
    pub is_same: bool,
}

/// Replays the record in a file.
///
/// # Errors
/// The file cannot be read, or is no record of a version that this program reads.
pub fn replay_file(path: &Path) -> Result<Replayed, String> {
    let read = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"));
    let replayed = read.and_then(|text| replay(&text));
    replayed.map_err(|error| format!("{}: {error}", path.display()))
}

/// Replays the text of a record.
///
/// # Errors
/// The text is no record, or of no version that this program reads.
pub fn replay(text: &str) -> Result<Replayed, String> {
    let record = parse(text)?;
    let env = |_: &str| None;
    let read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
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
        .map(|service| RoutePath::of(&service.route).path.to_owned());
    let started = Instant::from_millis(record.started.max(1000));
    let names = first_names(&record)?;
    let mut world = World::new(Proxy::new(config.settings, 7), started, names);
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
        if line.kind == "cut" {
            return Ok(world.finish_cut(&record));
        }
        world.input(line, client)?;
        world.name_awaited();
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
            if !self.resolving.is_empty() {
                return self.awaited.push_back((number, is_kept));
            }
            return self.say("(the engine goes to no connection here, unlike in the record)");
        };
        if let Some(wire) = self.wire(Side::Upstream(up)) {
            wire.number = Some(number);
        }
        if is_kept {
            self.connect(up);
        }
    }

    /// Gives connections that the engine chose meanwhile the numbers that wait.
    fn name_awaited(&mut self) {
        while !self.chosen.is_empty()
            && let Some((number, is_kept)) = self.awaited.pop_front()
        {
            self.name(number, is_kept);
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

    /// Ends the replay where the record is cut.
    fn finish_cut(mut self, record: &Record) -> Replayed {
        self.tell("the record is cut: the replay holds up to here");
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.out,
            "end: not replayed, the record has: {}; a larger \"bytes\" of \"record\" keeps more",
            record.end
        );
        Replayed {
            text: self.out,
            is_same: false,
        }
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
        if ended.is_some() {
            self.resume();
        }
        let ended = ended.unwrap_or_else(|| "no end".to_owned());
        let is_same = ended == record.end;
        let verdict = match is_same {
            true => "as in the record".to_owned(),
            false => format!("and the record has: {}", record.end),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "end: {ended}, {verdict}");
        // That of the replay may be another one, where it lies in bytes that are blanked.
        if !record.reason.is_empty() {
            let _ = writeln!(self.out, "reason in the record: {}", record.reason);
        }
        Replayed {
            text: self.out,
            is_same,
        }
    }
}

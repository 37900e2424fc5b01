//! Flight records of requests in which chance makes things fail: each replays to the same end, or says that it is cut.

use std::collections::BTreeMap;

use tollgate::proxy::command::{Fault, ListenerKind};
use tollgate::record::{replay, text};

use super::explanations::MALFORMED;
use super::script::*;
use crate::sim::rng::Rng;
use crate::sim::seeds::env_number;

/// Number of requests, unless `SEEDS=n` says another one. `FIRST=n` is the first seed.
const SEEDS: u64 = 600;

/// A service of each kind that a replay has to tell apart, without checks that make connections, too.
const CONFIG: &str = r#"{ "record": { "dir": "/records", "bytes": "BYTES", "on": ["4xx", "5xx", "client_closed",
      "upstream_closed", "upstream_timeout", "client_timeout", "upstream_malformed"] },
    "requestId": false, "accessLog": "json", "rateLimit": false, "cors": false, "securityHeaders": false,
    "limits": { "bodyBytes": 5000 }, "services": [
        { "route": "/open", "target": "http://10.0.0.1" },
        { "route": "/two", "targets": ["http://10.0.0.2", "http://10.0.0.3/base"], "stripPrefix": true },
        { "route": "/named", "target": "http://up.internal" } ] }"#;

/// Returns a request, whole or broken.
fn request(rng: &mut Rng) -> String {
    let path = rng.pick(&["/open/1", "/open/1?q=1", "/two", "/named/2"]);
    let filler = format!("X-Filler: {}\r\n", "f".repeat(rng.below(3000)));
    let filler = if rng.hits(150) { &filler } else { "" };
    let rest = match rng.below(8) {
        0 => "Content-Length: 5\r\n\r\nhello".to_owned(),
        1 => {
            let length = rng.size(4000);
            let sent = rng.size(length);
            format!("Content-Length: {length}\r\n\r\n{}", "b".repeat(sent))
        }
        2 => "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nyou\r\n0\r\nX-T: 1\r\n\r\n".to_owned(),
        3 => "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n".to_owned(),
        4 => "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        5 => "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_owned(),
        _ => "\r\n".to_owned(),
    };
    let method = match rest.as_str() {
        "\r\n" => rng.pick(&["GET", "GET", "HEAD", "DELETE"]),
        upgrade if upgrade.contains("websocket") => "GET",
        _ => rng.pick(&["POST", "PUT"]),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{filler}{rest}")
}

/// Returns a response, whole or broken.
fn response(rng: &mut Rng) -> String {
    let long = "c".repeat(rng.below(3000));
    match rng.below(12) {
        0 => OK.to_owned(),
        1 => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome".to_owned(),
        2 => format!("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{long}"),
        3 => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len()),
        4 => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\nnope\r\n", long.len()),
        5 => "HTTP/1.1 999 Denied\r\n\r\n".to_owned(),
        6 => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
        7 => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno".to_owned(),
        8 => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello".to_owned(),
        9 => format!("HTTP/1.1 503 Busy\r\nX-Filler: {long}\r\nContent-Length: 0\r\n\r\n"),
        10 => format!("HTTP/1.0 200 OK\r\n\r\n{long}"),
        _ => "SSH-2.0-server\r\n".to_owned(),
    }
}

/// Calls `send` with pieces of a text, and lets time pass in between: a record has what comes within a
/// millisecond as one piece. Chance may leave the rest out.
fn in_pieces(world: &mut World, rng: &mut Rng, text: &str, send: &mut dyn FnMut(&mut World, &str)) {
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, behind) = match rng.below(3) {
            0 => rest.split_at(rng.size(rest.len())),
            _ => (rest, ""),
        };
        send(world, piece);
        rest = behind;
        let pause = rng.pick(&[1, 1, 3, 40]);
        world.wait(pause);
        if rng.hits(60) {
            return;
        }
    }
}

/// Sends a response in pieces, and lets the connection end or fail.
fn respond(world: &mut World, rng: &mut Rng, origin: Origin) {
    world.wait(rng.pick(&[0, 7]));
    let text = response(rng);
    in_pieces(world, rng, &text, &mut |world, piece| {
        world.reply(origin, piece);
    });
    match rng.below(4) {
        0 => world.finish_upstream(origin),
        1 if !world.closed_upstream(origin) => world.fail_upstream(origin, Fault::Reset),
        _ => {}
    }
}

/// Connects a client. It may have had a response, so that a connection to the upstream is kept.
fn connect(world: &mut World, rng: &mut Rng) -> (Client, Vec<Origin>) {
    let client = if rng.hits(200) {
        let client = world.connect_by(ListenerKind::Secure);
        world.secured(client, None);
        client
    } else {
        world.connect()
    };
    let mut origins = Vec::new();
    if rng.hits(200) {
        world.send(client, "GET /open/0 HTTP/1.1\r\nHost: a\r\n\r\n");
        let origin = world.accept();
        world.reply(origin, OK);
        world.take(client);
        world.take_upstream(origin);
        origins.push(origin);
    }
    (client, origins)
}

/// Traces of a request. A record does not say whether a peer takes what is sent, unless the
/// request ended by that: then there is nothing to compare.
struct Run {
    /// Number of bytes that the client got.
    to_client: Option<usize>,
    /// Number of bytes that upstreams got.
    to_upstreams: Option<usize>,
}

/// Runs one request in which chance makes things fail.
fn run_by_chance(world: &mut World, rng: &mut Rng) -> Run {
    let (client, mut origins) = connect(world, rng);
    let mut takes_all = [true; 2];
    if rng.hits(100) {
        world.stall(client, true);
        takes_all[0] = false;
    }
    let text = if rng.hits(100) {
        MALFORMED[rng.below(MALFORMED.len())].0.to_owned()
    } else {
        request(rng)
    };
    in_pieces(world, rng, &text, &mut |world, piece| {
        world.send(client, piece)
    });
    let address = "10.0.0.9:80".parse().expect("an address");
    for target in std::mem::take(&mut world.lookups) {
        let known = [address];
        world.wait(5);
        world.resolve(target, if rng.hits(200) { &[] } else { &known });
    }
    if let Some(kept) = origins.first() {
        respond(world, rng, *kept);
    }
    for _ in 0..4 {
        if world.dials.is_empty() {
            break;
        }
        match rng.below(6) {
            0 => world.refuse_because(Fault::Refused, "connection refused (os error 111)"),
            1 => world.wait(20_000),
            2 => {
                origins.push(world.accept_stalled());
                takes_all[1] = false;
            }
            _ => {
                let origin = world.accept();
                origins.push(origin);
                respond(world, rng, origin);
            }
        }
    }
    match rng.below(6) {
        0 => world.finish(client),
        1 if world.is_open(client) => world.reset(client),
        2 => world.abort(),
        _ => {}
    }
    world.wait(1_000_000);
    let to_client = world.take(client).len();
    let up = origins.into_iter().map(|to| world.take_upstream(to).len());
    let up = up.sum();
    Run {
        to_client: takes_all[0].then_some(to_client),
        to_upstreams: takes_all[1].then_some(up),
    }
}

/// Returns the numbers of bytes that went to the client and to upstreams in a replay.
fn bytes_sent(text: &str) -> [usize; 2] {
    let mut sums = [0, 0];
    for line in text.lines() {
        let Some(sent) = line.trim_start().strip_prefix("tollgate sends ") else {
            continue;
        };
        let (who, _) = sent.split_once(" bytes: ").expect("what is sent");
        let (who, count) = who.rsplit_once(' ').expect("a number");
        sums[usize::from(who != "the client")] += count.parse::<usize>().expect("a number");
    }
    sums
}

/// Outcome of a replay.
enum Replay {
    /// The replay reached the end, the status and the bytes to the client; the word of the end.
    Whole(&'static str),
    /// The record says that it is cut, and the replay claims nothing.
    Cut,
}

/// Runs the request of a seed, and replays its record, if there is one. An error says what differs.
fn replay_seed(seed: u64) -> Result<Option<Replay>, String> {
    let mut rng = Rng::new(seed);
    let bytes = rng.pick(&["1KB", "64KB"]);
    let mut world = World::with(&CONFIG.replace("BYTES", bytes));
    let run = run_by_chance(&mut world, &mut rng);
    let Some(recording) = world.recordings.pop() else {
        return Ok(None);
    };
    let record = text(&recording);
    let replayed = replay(&record).map_err(|error| format!("{error}\n{record}"))?;
    let told = |what: &str| Err(format!("{what}:\n{record}\n{}", replayed.text));
    let is_cut = record.lines().any(|line| line.ends_with(" cut 0"));
    if is_cut && !replayed.is_same {
        let claim = "the record is cut: the replay holds up to here";
        let verdict = "end: not replayed, ";
        if bytes != "1KB" || !replayed.text.contains(claim) || !replayed.text.contains(verdict) {
            return told("cut without a word");
        }
        return Ok(Some(Replay::Cut));
    }
    if !replayed.is_same {
        return told("another end");
    }
    let [to_client, up] = bytes_sent(&replayed.text);
    let [for_client, for_up] = [run.to_client, run.to_upstreams];
    if for_client.is_some_and(|count| count != to_client) {
        return told(&format!("{for_client:?} bytes went to the client"));
    }
    if for_up.is_some_and(|count| count != up) {
        return told(&format!("{for_up:?} bytes went up"));
    }
    let ending = recording.ending.expect("an end");
    Ok(Some(Replay::Whole(ending.outcome.as_str())))
}

/// A record that is whole reaches the end, the status and the bytes of the request; one that is cut
/// says so, and its replay claims nothing.
#[test]
fn whatever_happens_a_record_replays_or_says_that_it_is_cut() {
    let first = env_number("FIRST").unwrap_or(1);
    let count = env_number("SEEDS").unwrap_or(SEEDS);
    let (mut whole, mut cut, mut ends) = (0, 0, BTreeMap::new());
    let mut faults = Vec::new();
    for seed in first..first + count {
        match replay_seed(seed) {
            Ok(None) => {}
            Ok(Some(Replay::Cut)) => cut += 1,
            Ok(Some(Replay::Whole(end))) => {
                whole += 1;
                *ends.entry(end).or_insert(0) += 1;
            }
            Err(fault) => faults.push((seed, fault)),
        }
    }
    println!("{count} seeds from {first}: {whole} whole, {cut} cut: {ends:?}");
    if let Some((seed, fault)) = faults.first() {
        let seeds = faults.iter().map(|(seed, _)| seed).collect::<Vec<_>>();
        panic!("seeds {seeds:?}; seed {seed}: {fault}");
    }
    if count < SEEDS {
        return;
    }
    assert!(whole >= 300 && cut >= 10, "{whole} whole, {cut} cut");
    let expected = [
        "bad_request",
        "client_closed",
        "client_timeout",
        "upstream_closed",
        "upstream_malformed",
        "upstream_refused",
        "upstream_timeout",
        "upstream_unresolved",
    ];
    for end in expected {
        assert!(ends.contains_key(end), "{end} is not among {ends:?}");
    }
}

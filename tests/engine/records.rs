//! Flight records: each failure that a script causes ends in the same way when its record is replayed, and has no secret in
//! it. What is missing in a record is not claimed.

use tollgate::proxy::command::Fault;
use tollgate::record::{replay, text};

use super::explanations::{CONFIG, ENDINGS, MALFORMED};
use super::script::*;

const RECORD: &str = r#"{ "record": { "dir": "/records", "on": ["4xx", "5xx", "client_closed", "upstream_closed", "upstream_timeout",
    "client_timeout", "upstream_malformed"] },"#;

/// Ends whose cause lies outside of a request.
const OUTSIDE: [&str; 8] = [
    "maintenance",
    "store_down",
    "no_target_up",
    "rate_limited",
    "no_route",
    "unauthorized",
    "loop_detected",
    "shutdown",
];

fn config() -> String {
    CONFIG.replacen('{', RECORD, 1)
}

/// Replays the only record of a world. Returns its text.
#[track_caller]
fn expect_same(world: &mut World, what: &str) -> String {
    assert_eq!(world.recordings.len(), 1, "{what}");
    let record = text(&world.recordings.remove(0));
    let replayed = replay(&record).unwrap_or_else(|error| panic!("{what}: {error}\n{record}"));
    assert!(replayed.is_same, "{what}:\n{record}\n{}", replayed.text);
    let mut lines = record.lines();
    if let Some(reason) = lines.find_map(|line| line.strip_prefix("reason ")) {
        let line = format!("\nreason in the record: {reason}\n");
        assert!(replayed.text.ends_with(&line), "{what}: {}", replayed.text);
    }
    record
}

#[test]
fn each_end_is_reached_again() {
    let mut replayed = 0;
    for (end, _, _, _, cause) in ENDINGS {
        let mut world = World::with(&config());
        cause(&mut world);
        if OUTSIDE.contains(end) || *end == "ok" {
            assert_eq!(world.recordings.len(), 0, "{end}");
            continue;
        }
        expect_same(&mut world, end);
        replayed += 1;
    }
    assert!(replayed >= 10, "{replayed}");
}

#[test]
fn malformed_heads_are_refused_again() {
    for (head, _) in MALFORMED {
        let mut world = World::with(&config());
        let client = world.connect();
        world.send(client, head);
        // Whose credentials are refused is not a matter of the request alone.
        if head.contains("Authorization") || head.contains("/IN") {
            assert_eq!(world.recordings.len(), 0, "{head}");
            continue;
        }
        let record = expect_same(&mut world, head);
        assert!(record.contains("\nend bad_request "), "{head}: {record}");
    }
}

/// A client that is told of its PROXY header is told so in the replay, which has no address of the header.
#[test]
fn a_header_of_the_proxy_protocol_is_answered_again() {
    let get = "GET /open HTTP/1.1\r\nHost: a\r\n\r\n";
    let first = format!("PROXY TCP4 198.51.100.9 198.51.100.8 1 2\r\n{get}");
    let second = format!("\r\n\r\n\0\r\nQUIT\n!\x11\0\x0cSECRETSECRET{get}");
    for head in [first, second] {
        let mut world = World::with(&config());
        let client = world.connect();
        world.send(client, &head);
        let reply = world.expect_status(client, 400);
        assert!(reply.contains("A PROXY header was sent"), "{reply}");
        let record = text(&world.recordings.remove(0));
        let replayed = replay(&record).expect("a record");
        let told = format!(
            "tollgate sends the client {} bytes: HTTP/1.1 400",
            reply.len()
        );
        assert!(
            replayed.is_same && replayed.text.contains(&told),
            "{record}{}",
            replayed.text
        );
        assert!(
            !record.contains("198.51") && !record.contains("SECRET"),
            "{record}"
        );
    }
}

/// Sends a request, and the start of a response.
fn respond(world: &mut World, response: &str) -> (Client, Origin) {
    let client = world.connect();
    world.send(client, "GET /open/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let origin = world.accept();
    world.wait(7);
    world.reply(origin, response);
    (client, origin)
}

#[test]
fn responses_that_break_off_do_so_again() {
    type Cut = (&'static str, &'static str, fn(&mut World, Client, Origin));
    let cut: [Cut; 5] = [
        (
            "a cut body",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome",
            |world, _, origin| {
                world.finish_upstream(origin);
            },
        ),
        (
            "a bad chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nnope\r\n",
            |_, _, _| {},
        ),
        (
            "a chunk size that overflows",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nfffffffffffffffffff\r\n",
            |_, _, _| {},
        ),
        (
            "a silent upstream",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome",
            |world, _, _| {
                world.wait(700_000);
            },
        ),
        (
            "a client that leaves",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome",
            |world, client, _| {
                world.finish(client);
            },
        ),
    ];
    for (what, response, end) in cut {
        let mut world = World::with(&config());
        let (client, origin) = respond(&mut world, response);
        end(&mut world, client, origin);
        expect_same(&mut world, what);
    }
}

/// Whether a byte of the head was out decides between a cut and a 502, also within a millisecond.
#[test]
fn what_the_client_had_of_a_response_is_the_same_again() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (early, stalled, then, ends, end) in [
        (false, false, "zz\r\n", false, "upstream_malformed 200"),
        (false, true, "zz\r\n", false, "upstream_malformed 502"),
        (false, true, "4\r\nhalf\r\n", true, "upstream_closed 502"),
        (true, false, "4\r\nhalf\r\n", true, "upstream_closed 200"),
        (true, true, "zz\r\n", false, "upstream_malformed 502"),
    ] {
        let mut world = World::with(&config());
        let client = world.connect();
        world.send(client, "GET /open/1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let origin = world.accept();
        if early {
            world.reply(origin, "HTTP/1.1 103 Early\r\n\r\n");
            assert!(world.received(client).starts_with("HTTP/1.1 103 "));
        }
        world.stall(client, stalled);
        world.reply(origin, head);
        world.reply(origin, then);
        if ends {
            world.finish_upstream(origin);
        }
        let record = expect_same(&mut world, end);
        assert!(record.contains(&format!("\nend {end}\n")), "{record}");
    }
}

#[test]
fn a_kept_connection_that_was_dead_is_one_in_the_replay() {
    let mut world = World::with(&config());
    let client = world.connect();
    world.send(client, "GET /open/0 HTTP/1.1\r\nHost: a\r\n\r\n");
    let origin = world.accept();
    world.reply(origin, OK);
    world.send(client, "GET /open/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    world.finish_upstream(origin);
    world.refuse_because(Fault::Refused, "connection refused (os error 111)");
    let record = expect_same(&mut world, "a dead connection");
    assert!(
        record.contains("attempt 1 kept") && record.contains("attempt 2 new"),
        "{record}"
    );
}

#[test]
fn nothing_is_recorded_without_the_key_or_of_other_ends() {
    for config in [CONFIG.to_owned(), config().replace("\"4xx\", ", "")] {
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(client, "GET /open#b HTTP/1.1\r\nHost: a\r\n\r\n");
        world.expect_status(client, 400);
        assert_eq!(world.recordings.len(), 0);
    }
}

/// Bytes that decide something are missing behind `record.bytes`. Content of a known length is not missed.
#[test]
fn a_record_that_is_cut_claims_nothing() {
    let config = config().replacen("\"dir\"", "\"bytes\": \"1KB\", \"dir\"", 1);
    let long = "c".repeat(2000);
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n7d0\r\n{long}\r\nnope\r\n");
    let filled = format!("X-Filler: {long}\r\nContent-Length: 9\r\n\r\n");
    let sized = format!("Content-Length: 4000\r\n\r\n{long}");
    for (response, is_cut) in [(chunked, true), (filled, true), (sized, false)] {
        let mut world = World::with(&config);
        let (_, origin) = respond(&mut world, &format!("HTTP/1.1 200 OK\r\n{response}"));
        world.finish_upstream(origin);
        if !is_cut {
            expect_same(&mut world, &response);
            continue;
        }
        let record = text(&world.recordings.remove(0));
        let replayed = replay(&record).expect("a record");
        assert!(!replayed.is_same, "{record}");
        assert!(record.contains("\n7 cut 0\n"), "{record}");
        assert!(
            replayed
                .text
                .contains("7 ms  the record is cut: the replay holds up to here"),
            "{}",
            replayed.text
        );
    }
}

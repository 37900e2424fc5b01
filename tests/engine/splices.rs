//! Spliced bodies: when they are offered, how they are counted, and what happens to bytes in the
//! loop when a connection ends.

use tollgate::limits::SPLICE_MIN_BYTES;
use tollgate::observe::access::Outcome;
use tollgate::proxy::command::{Fault, Got, Report};

use super::script::*;

const POST: &str = "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1000\r\n\r\n";

#[test]
fn a_large_body_is_spliced_each_way_and_both_connections_stay() {
    let mut world = World::splicing(500);
    let client = world.connect();
    let mut first = None;
    for round in 1..=2 {
        world.send(client, POST);
        let origin = *first.get_or_insert_with(|| world.accept());
        let head = world.received_upstream(origin);
        assert!(head.ends_with("Content-Length: 1000\r\n\r\n"), "{head}");
        for piece in [400, 400, 200] {
            world.send(client, vec![b'u'; piece]);
            world.expect_upstream(origin, vec![b'u'; piece]);
        }
        world.reply(origin, ANSWER);
        world.expect(client, ANSWER);
        world.reply(origin, vec![b'd'; 1000]);
        world.expect(client, vec![b'd'; 1000]);
        assert_eq!(world.spliced, round * 2000);
        let line = world.log().join("\n");
        assert!(
            line.contains(" 200 1000 "),
            "spliced bytes are counted: {line}"
        );
        world.expect_no_dial();
    }
    world.expect_quiet();
}

#[test]
fn small_bodies_and_parsed_ones_are_not_spliced() {
    let chunked = "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (answer, rest) in [
        (
            "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 499\r\n\r\n",
            "x".repeat(499),
        ),
        (chunked, format!("3E8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000))),
        // The body ends with the stream, and the client gets it in chunks.
        ("HTTP/1.1 200 OK\r\nDate: x\r\n\r\n", "x".repeat(1000)),
    ] {
        let mut world = World::splicing(500);
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, answer);
        world.reply(origin, &rest);
        assert_eq!(world.spliced, 0, "{answer}");
        world.finish_upstream(origin);
        assert!(world.received(client).contains(&"x".repeat(400)));
        world.expect_quiet();
    }
}

#[test]
fn bodies_are_spliced_from_a_quarter_of_a_megabyte_on() {
    for (left, passes) in [(SPLICE_MIN_BYTES - 1, false), (SPLICE_MIN_BYTES, true)] {
        let mut world = World::plain();
        world.splices = true;
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(
            origin,
            format!("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: {left}\r\n\r\n"),
        );
        world.take(client);
        world.reply(origin, vec![b'x'; left as usize]);
        assert_eq!(world.take(client).len() as u64, left);
        assert_eq!(
            world.spliced as u64,
            if passes { left } else { 0 },
            "once it passes, it passes to its end"
        );
        world.expect_quiet();
    }
}

#[test]
fn a_body_until_close_is_spliced_to_an_http_1_0_client() {
    let mut world = World::splicing(500);
    let client = world.connect();
    world.send(client, "GET /auth HTTP/1.0\r\nHost: gate\r\n\r\n");
    let origin = world.accept();
    world.reply(origin, "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n");
    world.reply(origin, vec![b'a'; 499]);
    assert_eq!(world.spliced, 0, "the length is not known yet");
    world.reply(origin, "b");
    world.reply(origin, vec![b'c'; 700]);
    assert_eq!(world.spliced, 700);
    world.finish_upstream(origin);
    let heard = world.received(client);
    assert!(
        heard.ends_with(&format!("{}b{}", "a".repeat(499), "c".repeat(700))),
        "{heard}"
    );
    world.expect_closing(client);
    world.expect_quiet();
}

/// Bytes in a pipe count as waiting: no more is read, and the deadline blames the peer that is too
/// slow.
#[test]
fn a_receiver_that_stalls_holds_up_the_sender_and_is_cut() {
    let mut world = World::splicing(500);
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, ANSWER);
    world.stall(client, true);
    world.step = 300;
    world.reply(origin, vec![b'x'; 1000]);
    assert_eq!(
        (world.spliced, world.unread_upstream(origin)),
        (300, 700),
        "one piece on its way"
    );
    world.wait(59_000);
    world.expect_open(client);
    world.wait(1_500);
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    assert!(world.closed_upstream(origin));
    let [Report::UpstreamFailed(failed)] = &world.reports[..] else {
        panic!("{:?}", world.reports)
    };
    assert_eq!(
        (failed.service.as_deref(), failed.outcome),
        (Some("/auth"), Outcome::ClientTimeout),
        "the one that did not read"
    );
    assert_eq!(failed.got, Got::Part(200));
    world.expect_quiet();
}

#[test]
fn an_upstream_that_stalls_takes_no_more_of_the_client() {
    let mut world = World::splicing(500);
    let client = world.connect();
    world.send(client, POST);
    let origin = world.accept();
    world.stall_upstream(origin, true);
    world.step = 300;
    world.send(client, vec![b'x'; 900]);
    assert_eq!(world.spliced, 300);
    world.stall_upstream(origin, false);
    assert_eq!(world.spliced, 900);
    world.send(client, vec![b'x'; 100]);
    assert_eq!(world.received_upstream(origin).matches('x').count(), 1000);
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

#[test]
fn an_answer_cut_after_a_splice_never_looks_complete() {
    for fault in [None, Some(Fault::Reset)] {
        let mut world = World::splicing(500);
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, ANSWER);
        world.reply(origin, vec![b'x'; 999]);
        assert_eq!(world.spliced, 999);
        match fault {
            None => world.finish_upstream(origin),
            Some(fault) => world.fail_upstream(origin, fault),
        }
        assert_eq!(world.closed(client), Some(Closed::Aborted));
        world.expect_quiet();
    }
}

/// The bytes are lost, so the request cannot be sent again.
#[test]
fn a_spliced_request_is_not_replayed() {
    let mut world = World::splicing(500);
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.send(client, POST.replacen("POST", "PUT", 1));
    world.take_upstream(origin);
    world.stall_upstream(origin, true);
    world.send(client, vec![b'x'; 300]);
    assert_eq!(world.spliced, 300);
    world.fail_upstream(origin, Fault::Reset);
    world.expect_no_dial();
    world.expect_status(client, 502);
    world.expect_quiet();
}

/// An upstream that answers before it has the whole request is not used again, with or without
/// bytes in a pipe.
#[test]
fn an_early_answer_ends_a_spliced_upload() {
    let mut world = World::splicing(500);
    let client = world.connect();
    world.send(client, POST);
    let origin = world.accept();
    world.stall_upstream(origin, true);
    world.send(client, vec![b'x'; 1000]);
    assert_eq!(
        world.spliced, 1000,
        "all of it is on its way, none of it there"
    );
    world.reply(origin, OK);
    assert!(world.received(client).ends_with("hi"));
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

/// The upstream reads no more, and its earlier answer is valid. The bytes in the pipe are lost.
#[test]
fn an_answer_before_the_upstream_stops_reading_is_delivered() {
    let mut world = World::splicing(500);
    let client = world.connect();
    world.send(client, POST);
    let origin = world.accept();
    world.stall_upstream(origin, true);
    world.send(client, vec![b'x'; 300]);
    world.fail_upstream(origin, Fault::SendFailed);
    world.reply(
        origin,
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n",
    );
    world.expect_status(client, 413);
    assert!(world.closed_upstream(origin));
    world.expect_closing(client);
    world.expect_quiet();
}

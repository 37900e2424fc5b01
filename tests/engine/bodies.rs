//! Bodies: each framing towards each framing, back-pressure, and incomplete bodies.

use super::script::*;

const POST: &str = "POST /auth HTTP/1.1\r\nHost: gate\r\n";

#[test]
fn large_bodies_pass_through_whole_both_ways() {
    for step in [usize::MAX, 70_000, 1_000] {
        let mut world = World::plain();
        world.step = step;
        let body: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let client = world.connect();
        world.send(
            client,
            format!("{POST}Content-Length: {}\r\n\r\n", body.len()),
        );
        let origin = world.accept();
        world.send(client, &body);
        let seen = world.received_upstream(origin);
        assert_eq!(
            seen.len(),
            String::from_utf8_lossy(&body).len() + seen.find("\r\n\r\n").expect("a head") + 4
        );
        let mut reply = format!(
            "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        reply.extend_from_slice(&body);
        world.reply(origin, &reply);
        world.expect(client, &reply);
        world.expect_open(client);
        world.expect_quiet();
    }
}

#[test]
fn a_reader_that_stalls_holds_a_bounded_number_of_bytes() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.stall(client, true);
    world.reply(
        origin,
        format!(
            "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1000000\r\n\r\n{}",
            "x".repeat(1_000_000)
        ),
    );
    assert!(
        world.proxy.holdings().buffers <= 2,
        "{} buffers",
        world.proxy.holdings().buffers
    );
    assert!(
        world.unread_upstream(origin) > 800_000,
        "the rest stays in the socket"
    );
    world.stall(client, false);
    assert_eq!(
        world.received(client).len(),
        1_000_000 + "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1000000\r\n\r\n".len()
    );
    world.expect_quiet();
}

#[test]
fn a_body_without_length_becomes_chunked() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, "HTTP/1.1 200 OK\r\nDate: x\r\n\r\nhello");
    world.expect(
        client,
        "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    world.finish_upstream(origin);
    world.expect(client, "0\r\n\r\n");
    world.expect_open(client);
    assert!(
        world.log()[0].contains("\" 200 5 "),
        "without the framing of either side"
    );
    world.expect_quiet();
}

#[test]
fn chunked_bodies_get_chunks_of_the_gateway() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n002\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n"),
    );
    let origin = world.accept();
    let seen = world.received_upstream(origin);
    assert!(
        seen.ends_with("\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        "{seen}"
    );
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_open(client);
    world.expect_quiet();
}

#[test]
fn a_get_with_a_body_is_forwarded_with_it() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        ["GET /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 36\r\n\r\nGET /auth HTTP/1.1\r\nHost: smuggled\r\n", GET]
            .concat(),
    );
    let origin = world.accept();
    assert!(
        world
            .received_upstream(origin)
            .ends_with("Content-Length: 36\r\n\r\nGET /auth HTTP/1.1\r\nHost: smuggled\r\n")
    );
    world.reply(origin, OK);
    // An upstream that ignores the content reads it as a request. Therefore the next request uses
    // another connection.
    let other = world.accept();
    world.expect_upstream(other, GET_UPSTREAM);
    world.reply(other, OK);
    world.expect(client, [OK, OK].concat());
    world.expect_quiet();
}

#[test]
fn broken_chunks_from_a_client_are_a_400_and_the_upstream_is_cut() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    );
    let origin = world.accept();
    world.send(client, "zz\r\n");
    world.expect_status(client, 400);
    world.expect_closing(client);
    assert!(world.closed_upstream(origin));
    assert!(
        !world.received_upstream(origin).ends_with("0\r\n\r\n"),
        "never a false end"
    );
    assert!(world.log()[0].contains("\" 400 "));
    world.expect_quiet();
}

#[test]
fn a_body_over_the_limit_is_a_413() {
    let config = PLAIN.replacen('{', "{ \"limits\": { \"bodyBytes\": 10 },", 1);
    let mut world = World::with(&config);
    let client = world.connect();
    world.send(client, format!("{POST}Content-Length: 11\r\n\r\n"));
    world.expect_status(client, 413);
    world.expect_no_dial();
    let client = world.connect();
    world.send(
        client,
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
    );
    let origin = world.accept();
    world.send(client, "6\r\nfghijk\r\n0\r\n\r\n");
    world.expect_status(client, 413);
    assert!(world.closed_upstream(origin));
    assert!(!world.received_upstream(origin).contains("0\r\n\r\n"));
    let client = world.connect();
    world.send(
        client,
        format!("{POST}Content-Length: 10\r\n\r\n0123456789"),
    );
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

#[test]
fn an_answer_cut_short_never_looks_complete() {
    for (head, cut) in [
        (
            "Content-Length: 10\r\n\r\nhello",
            "Content-Length: 10\r\n\r\nhello",
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, format!("HTTP/1.1 200 OK\r\nDate: x\r\n{head}"));
        world.finish_upstream(origin);
        world.expect(client, format!("HTTP/1.1 200 OK\r\nDate: x\r\n{cut}"));
        assert_eq!(world.closed(client), Some(Closed::Aborted), "{head}");
        world.expect_quiet();
    }
}

#[test]
fn broken_chunks_from_an_upstream_cut_the_client() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    world.reply(origin, "5\r\nhello\nbad");
    assert!(!world.received(client).ends_with("0\r\n\r\n"));
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

//! Connections: reuse, replay, switching, draining, closing, and the order of events.

use tollgate::proxy::command::Fault;

use super::*;
use crate::engine::script::*;

/// One request per client is allowed, and the gateway answers OPTIONS.
const LIMITED: &str = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ],
    "rateLimit": { "requests": 1 }, "securityHeaders": false }"#;

const HANDSHAKE: &str = "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n\r\n";

pub fn bugs() -> Vec<Bug> {
    let mut bugs = of_requests();
    bugs.extend(of_upstreams());
    bugs.extend(of_ends());
    bugs
}

#[test]
fn connection_bugs() {
    hold(bugs());
}

fn sized(line: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: gate\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len()
    )
}

fn chunked(line: &str) -> String {
    let len = SMUGGLED.len();
    format!("{line} HTTP/1.1\r\nHost: gate\r\n{CHUNKED}\r\n{len:x}\r\n{SMUGGLED}\r\n0\r\n\r\n")
}

fn of_requests() -> Vec<Bug> {
    let limited = || Requests {
        config: LIMITED,
        ..Requests::default()
    };
    let (upgrade, version) = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n",
    );
    vec![
        bug(
            "Pingora CVE-2025-4366",
            "the body of a request that was answered here is the next request",
            [
                read_as(format!("{}{GET}", sized("POST /none")), [reply(404), get()]),
                client(
                    limited(),
                    format!("{GET}{}{GET}", sized("POST /auth")),
                    [get(), reply(429), reply(429)],
                    false,
                ),
                client(
                    limited(),
                    format!("{}{GET}", sized("OPTIONS /auth")),
                    [reply(204), get()],
                    false,
                ),
                client(
                    limited(),
                    format!("{}{GET}", chunked("OPTIONS *")),
                    [reply(204), get()],
                    false,
                ),
                refused(405, format!("{}{GET}", sized("TRACE /auth"))),
                refused(400, format!("{}{GET}", sized("POST /auth/../x"))),
            ],
        ),
        bug(
            "async-h1 RUSTSEC-2020-0093",
            "a chunked body that nobody reads is the next request",
            [
                read_as(
                    format!("{}{GET}", chunked("POST /none")),
                    [reply(404), get()],
                ),
                client(
                    limited(),
                    format!("{GET}{}{GET}", chunked("PUT /auth")),
                    [get(), reply(429), reply(429)],
                    false,
                ),
                // The end of a body with broken chunks is unknown, so no request follows.
                read_last(
                    post("Transfer-Encoding: chunked\r\n", "x\r\n").replace("/auth", "/none") + GET,
                    [reply(404)],
                ),
            ],
        ),
        bug(
            "actix-web #2624",
            "a body that nobody reads leaves its connection stuck",
            [read_as(
                format!("{}{}{GET}", sized("POST /none"), sized("PUT /none")),
                [reply(404), reply(404), get()],
            )],
        ),
        bug(
            "actix-web #2678",
            "pipelined requests end the process",
            [read_as(
                format!(
                    "{GET}{}{GET}{}{GET}",
                    sized("POST /none"),
                    chunked("POST /auth")
                ),
                [
                    get(),
                    reply(404),
                    get(),
                    forward("POST /auth", CHUNKED, SMUGGLED),
                    get(),
                ],
            )],
        ),
        bug(
            "actix-web #2972",
            "an early answer waits for an upload that waits for it",
            [Probe::Scene(an_early_answer_to_an_upload_that_stalls)],
        ),
        bug(
            "Pingora CVE-2026-2833",
            "after an Upgrade bytes are passed on before its 101",
            [
                read_last(
                    format!("{HANDSHAKE}{SMUGGLED}"),
                    [forward("GET /auth", &format!("{version}{upgrade}"), "")],
                ),
                Probe::Scene(nothing_behind_an_upgrade_goes_up_before_its_101),
                // The upgrade is refused, so the connection stays HTTP.
                read_as(
                    format!("{}{SMUGGLED}", HANDSHAKE.replace("GET", "POST")),
                    [
                        forward("POST /auth", version, ""),
                        forward("GET /auth/smuggled", "", ""),
                    ],
                ),
                read_as(
                    format!("{}{SMUGGLED}", HANDSHAKE.replace("websocket", "h2c")),
                    [
                        forward("GET /auth", version, ""),
                        forward("GET /auth/smuggled", "", ""),
                    ],
                ),
            ],
        ),
        bug(
            "Pingora 0.7, client bytes",
            "a connection with unread bytes of an old request takes the next",
            [Probe::Scene(the_rest_of_an_upload_is_no_request)],
        ),
        bug(
            "Go #34902",
            "an Expect whose answer is final ends the process",
            [Probe::Scene(a_body_after_a_final_answer)],
        ),
    ]
}

fn of_upstreams() -> Vec<Bug> {
    vec![
        bug(
            "Go CVE-2024-24791",
            "a final answer to an Expect leaves its connection unfit for the next request",
            [Probe::Scene(
                final_answers_to_expectations_leave_good_connections,
            )],
        ),
        bug(
            "nginx 2026-02, events",
            "a response that is read before its request is written goes into a later one",
            [Probe::Scene(a_response_before_its_request_is_written)],
        ),
        bug(
            "nginx CVE-2026-1642",
            "bytes before the TLS handshake are the response",
            [
                held_by(
                    include_str!("../../pipes.rs"),
                    "an_answer_that_is_not_tls_is_named",
                ),
                held_by(
                    include_str!("../../pipes.rs"),
                    "a_response_in_place_of_a_handshake_is_no_response",
                ),
            ],
        ),
        bug(
            "nginx CVE-2025-23419, CVE-2014-3616",
            "a session resumed under another name skips its checks",
            [held_by(
                include_str!("../../pipes.rs"),
                "a_session_of_one_target_opens_no_other",
            )],
        ),
        bug(
            "nginx CVE-2021-23017, CVE-2016-0742, -0746, -0747",
            "a resolver in the path of data",
            [
                held_by(
                    include_str!("../../engine/ends.rs"),
                    "a_name_that_does_not_resolve_is_a_502_and_is_looked_up_again",
                ),
                held_by(
                    include_str!("../../engine/ends.rs"),
                    "a_request_waits_for_the_first_lookup",
                ),
            ],
        ),
        bug(
            "Pingora 0.6, pool",
            "a connection with bytes nobody asked for is pooled",
            [
                held_by(
                    include_str!("../responses.rs"),
                    "row_63_unsolicited_bytes_close_an_idle_connection",
                ),
                heard(format!("{OK}!"), OK, Fate::UpstreamClosed),
                heard(format!("{OK}\r\n"), OK, Fate::UpstreamClosed),
            ],
        ),
        bug(
            "nginx, proxy_next_upstream",
            "a POST is sent again when its connection breaks",
            [
                held_by(
                    include_str!("../../engine/exchanges.rs"),
                    "a_post_is_never_sent_twice",
                ),
                held_by(
                    include_str!("../../loopback/traffic.rs"),
                    "a_post_that_meets_a_dead_pooled_connection_is_not_sent_again",
                ),
                Probe::Scene(a_replay_is_not_replayed),
            ],
        ),
    ]
}

fn of_ends() -> Vec<Bug> {
    vec![
        bug(
            "Pingora d1bf0bc",
            "a client that never says a byte is waited for, for ever",
            [Probe::Scene(a_client_that_says_nothing_is_let_go)],
        ),
        bug(
            "Pingora bb111aa",
            "a tunnel spins when one half ends first",
            [Probe::Scene(a_tunnel_ends_in_any_order)],
        ),
        bug(
            "hyper #4085",
            "a half-closed peer with an open body costs all CPU",
            [Probe::Scene(
                a_half_closed_client_with_an_open_body_costs_nothing,
            )],
        ),
        bug(
            "hyper #3078, #2384, #3944",
            "a reply is lost to a reset when its connection closes with bytes unread",
            [
                held_by(
                    include_str!("../../loopback/traffic.rs"),
                    "a_whole_reply_reaches_a_client_that_is_still_sending",
                ),
                Probe::Scene(a_last_reply_is_followed_by_a_half_close),
            ],
        ),
        bug(
            "h2o #2534",
            "the same for a body that is refused in the middle",
            [Probe::Scene(a_refused_body_is_followed_by_a_half_close)],
        ),
        bug(
            "seastar #1325",
            "the same for a head that is refused",
            [Probe::Scene(a_refused_head_is_followed_by_a_half_close)],
        ),
        bug(
            "vanilla #103",
            "a client that half-closes behind its request gets no answer",
            [
                held_by(
                    include_str!("../../engine/ends.rs"),
                    "with_half_close_a_finished_client_still_gets_its_answer",
                ),
                held_by(
                    include_str!("../../loopback/traffic.rs"),
                    "with_half_close_a_finished_client_is_answered",
                ),
            ],
        ),
        bug(
            "RFC 9112 8, incomplete messages",
            "a body that breaks off looks complete",
            [
                held_by(
                    include_str!("../responses.rs"),
                    "rows_60_and_61_an_end_that_is_none",
                ),
                held_by(
                    include_str!("../../pipes.rs"),
                    "close_notify_is_an_end_and_fin_alone_is_not",
                ),
                Probe::Scene(a_body_that_breaks_at_any_byte_is_cut),
            ],
        ),
        bug(
            "sozu #82",
            "without descriptors the loop spins on accept",
            [held_by(
                include_str!("../../loopback/listening.rs"),
                "without_descriptors_those_accepted_are_served_and_nothing_spins",
            )],
        ),
        bug(
            "Bun #32705, ponyc #4052",
            "connections that waited for a descriptor are never accepted",
            [held_by(
                include_str!("../../loopback/listening.rs"),
                "those_that_waited_for_a_descriptor_are_served_when_there_is_one",
            )],
        ),
        bug(
            "libuv #690",
            "an edge tells of several connections, one is accepted",
            [held_by(
                include_str!("../../loopback/listening.rs"),
                "two_thousand_connections_at_once",
            )],
        ),
    ]
}

// --- scenes ---

/// An upstream that reads nothing and answers: the client gets the answer at once.
fn an_early_answer_to_an_upload_that_stalls() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(client, post("Content-Length: 1000000\r\n", ""));
    let origin = world.accept();
    world.stall_upstream(origin, true);
    world.send(client, "x".repeat(500_000));
    world.reply(
        origin,
        "HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno",
    );
    let text = world.expect_status(client, 413);
    assert!(
        text.ends_with("\r\n\r\nno") && text.contains("\r\nConnection: close\r\n"),
        "{text}"
    );
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

fn nothing_behind_an_upgrade_goes_up_before_its_101() {
    let frames = b"\x81\x85\0\0\0\0hello";
    for (answer, frames_pass) in [
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            false,
        ),
    ] {
        let mut world = World::streaming(PLAIN);
        let client = world.connect();
        world.send(client, [HANDSHAKE.as_bytes(), frames].concat());
        let origin = world.accept();
        world.send(client, frames);
        let head = world.received_upstream(origin);
        assert!(head.ends_with("Upgrade: websocket\r\n\r\n"), "{head:?}");
        world.reply(origin, answer);
        let passed = world.take_upstream(origin);
        assert_eq!(
            passed,
            if frames_pass {
                frames.repeat(2)
            } else {
                Vec::new()
            },
            "{answer}"
        );
        world.finish_upstream(origin);
        world.expect_quiet();
    }
}

fn the_rest_of_an_upload_is_no_request() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(
        client,
        post(
            &format!("Content-Length: {}\r\n", 3 + SMUGGLED.len()),
            "abc",
        ),
    );
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.send(client, SMUGGLED);
    world.send(client, GET);
    world.expect_no_dial();
    world.expect_silence(client);
    world.expect_quiet();
}

/// The upstream refuses after the client was told to continue.
fn a_body_after_a_final_answer() {
    for answer in [
        "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut world = World::streaming(PLAIN);
        let client = world.connect();
        world.send(
            client,
            post("Expect: 100-continue\r\nContent-Length: 2\r\n", ""),
        );
        let origin = world.accept();
        world.expect(client, "HTTP/1.1 100 Continue\r\n\r\n");
        world.reply(origin, answer);
        let text = world.received(client);
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        world.send(client, "hi");
        world.send(client, GET);
        world.expect_no_dial();
        world.expect_silence(client);
        world.expect_quiet();
    }
}

/// An upstream answers an expectation at once, and the next request finds the connection in order.
/// A hundred rounds show that no state is left.
fn final_answers_to_expectations_leave_good_connections() {
    let mut world = World::streaming(PLAIN);
    for round in 0..100 {
        let client = world.connect();
        world.send(
            client,
            post("Expect: 100-continue\r\nContent-Length: 2\r\n", ""),
        );
        let origin = world.accept();
        world.reply(
            origin,
            if round % 2 == 0 {
                "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"
            } else {
                OK
            },
        );
        assert!(
            world.closed_upstream(origin),
            "round {round}: its body was never written"
        );
        let next = world.connect();
        world.send(next, GET);
        let fresh = world.accept();
        world.expect_upstream(fresh, GET_UPSTREAM);
        world.reply(fresh, OK);
        world.expect(next, OK);
        world.finish_upstream(fresh);
        for client in [client, next] {
            world.finish(client);
            world.forget(client);
        }
    }
    world.expect_quiet();
}

/// Writing is slow and the upstream is fast: its answer is read before its request is written
/// completely.
fn a_response_before_its_request_is_written() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept_stalled();
    world.reply(origin, "HTTP/1.1 200 OK\r\n");
    world.expect_silence(client);
    world.reply(origin, "Content-Length: 2\r\n\r\nhi");
    world.expect_status(client, 200);
    // The request was not sent completely, so the connection is not reused.
    assert!(world.closed_upstream(origin));
    world.send(client, GET);
    let fresh = world.accept();
    world.reply(fresh, OK);
    world.expect(client, OK);
    // A pooled connection that sends half a head and dies leaves no bytes for the next request.
    world.send(client, GET);
    world.reply(fresh, "HTTP/1.1 299 Half");
    world.finish_upstream(fresh);
    world.expect_status(client, 502);
    world.send(client, GET);
    let last = world.accept();
    world.reply(last, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

fn a_replay_is_not_replayed() {
    let mut world = World::streaming(PLAIN);
    let clients = [world.connect(), world.connect()];
    for client in clients {
        world.send(client, GET);
    }
    let pooled = [world.accept(), world.accept()];
    for (client, origin) in clients.into_iter().zip(pooled) {
        world.reply(origin, OK);
        world.received(client);
        world.take_upstream(origin);
    }
    world.send(clients[0], GET);
    let [used, idle] = if world.take_upstream(pooled[1]).is_empty() {
        pooled
    } else {
        [pooled[1], pooled[0]]
    };
    world.finish_upstream(used);
    // The second try uses a new connection, because another pooled one may be dead, too.
    let fresh = world.accept();
    world.expect_upstream(idle, "");
    world.expect_upstream(fresh, GET_UPSTREAM);
    world.fail_upstream(fresh, Fault::Reset);
    world.expect_no_dial();
    world.expect_status(clients[0], 502);
    world.expect_quiet();
}

fn a_client_that_says_nothing_is_let_go() {
    for front in [
        "",
        "G",
        "GET /auth HTTP/1.1\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\n\r",
    ] {
        let mut world = World::streaming(PLAIN);
        let client = world.connect();
        world.send(client, front);
        world.wait(200_000);
        assert!(world.closed(client).is_some(), "{front:?}");
        assert_eq!(
            (
                world.proxy.holdings().clients,
                world.proxy.holdings().buffers
            ),
            (0, 0)
        );
    }
}

fn a_tunnel_ends_in_any_order() {
    for client_first in [true, false] {
        for (up, down) in [
            ("", ""),
            ("frames", ""),
            ("", "frames"),
            ("frames", "frames"),
        ] {
            let mut world = World::streaming(PLAIN);
            let client = world.connect();
            world.send(client, HANDSHAKE);
            let origin = world.accept();
            world
                .reply(origin, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            world.take(client);
            world.take_upstream(origin);
            if client_first {
                world.finish(client);
                assert!(world.shut_upstream(origin) && !world.closed_upstream(origin));
                world.reply(origin, down);
                world.expect(client, down);
                world.finish_upstream(origin);
            } else {
                world.finish_upstream(origin);
                assert!(!world.is_open(client) && world.closed(client).is_none());
                world.send(client, up);
                world.expect_upstream(origin, up);
                world.finish(client);
            }
            assert_eq!(world.closed(client), Some(Closed::Clean));
            world.expect_quiet();
        }
    }
}

/// `World` fails if the engine asks for more turns than there are bytes. Here the engine must ask
/// for no turn.
fn a_half_closed_client_with_an_open_body_costs_nothing() {
    let mut world = World::with(&PLAIN.replacen('{', "{ \"halfClose\": true,", 1));
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.finish(client);
    world.reply(
        origin,
        format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n2\r\nhi\r\n"),
    );
    for _ in 0..1_000 {
        assert_eq!(world.proxy.poll_command(), None);
        assert_eq!(world.proxy.poll_ready(), None);
    }
    world.received(client);
    world.reply(origin, "0\r\n\r\n");
    world.expect(client, "0\r\n\r\n");
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

/// The gateway ends its direction and reads on from the client, so that no reset destroys the reply
/// on its way.
fn half_closed(world: &mut World, client: Client, status: u16, more: usize) {
    let text = world.expect_status(client, status);
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    assert!(!world.is_open(client), "our end was sent");
    assert_eq!(world.closed(client), None, "the socket is open");
    world.send(client, "x".repeat(more));
    assert_eq!(world.closed(client), None, "what still comes is read");
    world.finish(client);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

fn a_last_reply_is_followed_by_a_half_close() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(
        client,
        "POST /none HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000000\r\n\r\n",
    );
    half_closed(&mut world, client, 404, 100_000);
}

fn a_refused_body_is_followed_by_a_half_close() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(client, post(CHUNKED, "2\r\nhi\r\n"));
    let origin = world.accept();
    world.send(client, "x");
    assert!(world.closed_upstream(origin));
    half_closed(&mut world, client, 400, 100_000);
}

fn a_refused_head_is_followed_by_a_half_close() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(
        client,
        format!(
            "GET /auth HTTP/1.1\r\nHost: gate\r\nA: {}",
            "x".repeat(20_000)
        ),
    );
    half_closed(&mut world, client, 431, 100_000);
}

/// The client can see that a body is incomplete, with every framing and at every byte.
fn a_body_that_breaks_at_any_byte_is_cut() {
    for (fields, body) in [
        ("Content-Length: 5\r\n", "hello"),
        (CHUNKED, "5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
        ("", "hello"),
    ] {
        for at in 0..body.len() + usize::from(fields.is_empty()) {
            let mut world = World::streaming(PLAIN);
            let client = world.connect();
            world.send(client, GET);
            let origin = world.accept();
            world.reply(
                origin,
                format!("HTTP/1.1 200 OK\r\n{DATE}{fields}\r\n{}", &body[..at]),
            );
            world.fail_upstream(origin, Fault::Reset);
            let text = world.received(client);
            assert!(
                !text.ends_with("0\r\n\r\n") || body[..at].is_empty(),
                "{fields:?} at {at}: {text:?}"
            );
            assert_eq!(
                world.closed(client),
                Some(Closed::Aborted),
                "{fields:?} at {at}"
            );
            world.expect_quiet();
        }
    }
}

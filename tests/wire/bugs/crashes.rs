//! Inputs that crashed other programs or cost them without bound. In the gateway they cost one
//! reply or one connection.

use tollgate::proxy::command::Fault;

use super::*;
use crate::engine::script::*;

pub fn bugs() -> Vec<Bug> {
    let mut bugs = of_messages();
    bugs.extend(of_libraries());
    bugs
}

#[test]
fn crash_bugs() {
    hold(bugs());
}

fn of_messages() -> Vec<Bug> {
    vec![
        bug(
            "hyper #3811",
            "a head that ends in the middle ends the process",
            [
                Probe::Scene(heads_that_end_at_any_byte),
                held_by(
                    include_str!("../responses.rs"),
                    "rows_60_and_61_an_end_that_is_none",
                ),
            ],
        ),
        bug(
            "http-proxy GHSA-6x33-pw7p-hmpq",
            "fields are set when the body has begun",
            [Probe::Scene(a_fault_behind_the_head_says_nothing_more)],
        ),
        bug(
            "http-proxy-middleware CVE-2024-21536",
            "a path that no matcher understands ends the process",
            [
                refused(
                    400,
                    "GET //auth HTTP/1.1\r\nHost: gate\r\n\r\n".replace("//auth", "\\auth"),
                ),
                read_as("GET //host HTTP/1.1\r\nHost: gate\r\n\r\n", [reply(404)]),
                read_as(
                    "GET /%F0%9F%92%A9 HTTP/1.1\r\nHost: gate\r\n\r\n",
                    [reply(404)],
                ),
                refused(400, "GET /%F0%9F%92%A HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "GET /% HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "GET http://[::1/auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(
                    400,
                    "GET http://gate:99999/auth HTTP/1.1\r\nHost: gate\r\n\r\n",
                ),
            ],
        ),
        bug(
            "http-proxy-middleware CVE-2025-32996",
            "a body is written twice",
            [
                read_as(
                    format!(
                        "{}{GET}",
                        post(
                            "Content-Type: application/json\r\nContent-Length: 2\r\n",
                            "{}"
                        )
                    ),
                    [
                        forward(
                            "POST /auth",
                            "Content-Type: application/json\r\nContent-Length: 2\r\n",
                            "{}",
                        ),
                        get(),
                    ],
                ),
                held_by(
                    include_str!("../../engine/bodies.rs"),
                    "large_bodies_pass_through_whole_both_ways",
                ),
            ],
        ),
        bug(
            "http-proxy-middleware CVE-2025-32997",
            "a body goes on when its parsing failed",
            [
                broken(post(CHUNKED, "2\r\nhi\r\nx\r\n{}\r\n0\r\n\r\n")),
                Probe::Scene(nothing_follows_a_broken_body_upstream),
                // The declared content does not matter: a body is bytes.
                read_as(
                    post(
                        "Content-Type: application/json\r\nContent-Length: 2\r\n",
                        "{x",
                    ),
                    [forward(
                        "POST /auth",
                        "Content-Type: application/json\r\nContent-Length: 2\r\n",
                        "{x",
                    )],
                ),
            ],
        ),
        bug(
            "http-proxy-middleware 4, error page",
            "an error page repeats what the client sent",
            [
                Probe::Scene(no_reply_repeats_a_request),
                held_by(
                    include_str!("../../engine/ends.rs"),
                    "a_502_names_no_reason_to_the_client",
                ),
            ],
        ),
        bug(
            "the article's gateway (Node.js)",
            "a status below 100, or one that is no number, ends the process",
            [
                malformed("HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"),
                malformed("HTTP/1.1 000 \r\nContent-Length: 0\r\n\r\n"),
                malformed("HTTP/1.1 abc \r\nContent-Length: 0\r\n\r\n"),
                malformed("HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        bug(
            "Cloudflare, 18 November 2025",
            "a configuration over its limit ends the process",
            [Probe::Scene(a_configuration_over_its_limits_is_an_error)],
        ),
    ]
}

fn of_libraries() -> Vec<Bug> {
    vec![
        bug(
            "rustls CVE-2024-32650",
            "a close_notify within the handshake is an endless loop",
            [
                held_by(
                    include_str!("../../pipes.rs"),
                    "a_close_notify_within_the_handshake_ends_it",
                ),
                held_by(
                    include_str!("../../pipes.rs"),
                    "bytes_behind_close_notify_are_ignored",
                ),
            ],
        ),
        // rustls's Acceptor is not used here; the fragmented hello is tested with the server.
        bug(
            "rustls CVE-2024-11738",
            "a hello in fragments ends the process",
            [held_by(
                include_str!("../../pipes.rs"),
                "tls_carries_every_byte_at_every_chunk_and_room",
            )],
        ),
        bug(
            "tokio-rustls RUSTSEC-2020-0019",
            "bytes are read from the socket and never processed",
            [
                held_by(
                    include_str!("../../pipes.rs"),
                    "plaintext_inside_counts_as_readable",
                ),
                held_by(
                    include_str!("../../pipes.rs"),
                    "drained_means_that_another_read_finds_nothing",
                ),
            ],
        ),
        bug(
            "rustls #35",
            "what is written grows without bound while the socket takes nothing",
            [held_by(
                include_str!("../../pipes.rs"),
                "a_socket_that_takes_nothing_bounds_what_is_inside",
            )],
        ),
        bug(
            "ktls #73",
            "an alert waits behind a full buffer",
            [
                held_by(
                    include_str!("../../pipes.rs"),
                    "our_close_notify_reaches_the_server_once",
                ),
                held_by(
                    include_str!("../../pipes.rs"),
                    "a_client_hello_that_does_not_fit_the_socket_waits",
                ),
            ],
        ),
    ]
}

fn heads_that_end_at_any_byte() {
    let whole = post("Connection: close\r\nContent-Length: 2\r\n", "hi");
    for at in 0..whole.len() {
        for broken_off in [World::finish, World::reset] {
            let mut world = World::plain();
            let client = world.connect();
            world.send(client, &whole[..at]);
            broken_off(&mut world, client);
            while !world.dials.is_empty() {
                let origin = world.accept();
                assert!(!world.received_upstream(origin).ends_with("hi"));
            }
            world.expect_quiet();
        }
    }
}

/// The client has the head, so no second one may follow.
fn a_fault_behind_the_head_says_nothing_more() {
    for fault in [Fault::Reset, Fault::SendFailed] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(
            origin,
            format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 5\r\n\r\n"),
        );
        world.fail_upstream(origin, fault);
        world.wait(120_000);
        world.expect(
            client,
            format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 5\r\n\r\n"),
        );
        assert_eq!(world.closed(client), Some(Closed::Aborted), "{fault:?}");
        world.expect_quiet();
    }
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n"));
    world.reply(origin, "x\r\n");
    world.expect(client, format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n"));
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    world.expect_quiet();
}

fn nothing_follows_a_broken_body_upstream() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, post(CHUNKED, "2\r\nhi\r\n"));
    let origin = world.accept();
    assert!(world.received_upstream(origin).ends_with("2\r\nhi\r\n"));
    world.send(client, format!("x\r\n0\r\n\r\n{SMUGGLED}"));
    world.expect_upstream(origin, "");
    assert!(world.closed_upstream(origin));
    world.expect_status(client, 400);
    world.expect_quiet();
}

fn no_reply_repeats_a_request() {
    let mark = "<script>x7x</script>";
    for (status, request) in [
        (
            404,
            format!(
                "GET /{} HTTP/1.1\r\nHost: x7x\r\nX: {mark}\r\n\r\n",
                mark.replace(['<', '>'], "'")
            ),
        ),
        (
            400,
            format!("GET /{mark} x HTTP/1.1\r\nHost: x7x\r\nX: {mark}\r\n\r\n"),
        ),
        (400, format!("{mark}\r\n\r\n")),
        (
            417,
            format!("GET /auth/x7x HTTP/1.1\r\nHost: x7x\r\nExpect: {mark}\r\n\r\n"),
        ),
        (
            405,
            format!("TRACE /x7x HTTP/1.1\r\nHost: x7x\r\nX: {mark}\r\n\r\n"),
        ),
        (
            431,
            format!(
                "GET /x7x HTTP/1.1\r\nHost: x7x\r\nX: {}\r\n\r\n",
                mark.repeat(1_000)
            ),
        ),
        (
            414,
            format!("GET /{} HTTP/1.1\r\nHost: x7x\r\n\r\n", mark.repeat(1_000)),
        ),
        (
            501,
            post(&format!("Transfer-Encoding: x7x\r\nX: {mark}\r\n"), ""),
        ),
        (
            505,
            format!("GET /x7x HTTP/3.0\r\nHost: x7x\r\nX: {mark}\r\n\r\n"),
        ),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, request);
        let text = world.expect_status(client, status);
        assert!(!text.contains("x7x"), "{text}");
    }
}

/// Any number and any length give an error that names its place, or a table that works.
fn a_configuration_over_its_limits_is_an_error() {
    let load = |text: &str| {
        let env = |_: &str| None;
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        tollgate::config::load(text.as_bytes(), "test.json", &env, &read)
    };
    let services = |count: usize, route: &dyn Fn(usize) -> String| {
        let rows: Vec<String> = (0..count)
            .map(|n| {
                format!(
                    "{{ \"route\": \"{}\", \"target\": \"http://10.0.0.1\" }}",
                    route(n)
                )
            })
            .collect();
        format!("{{ \"services\": [ {} ] }}", rows.join(","))
    };
    assert_eq!(
        load(&services(10_000, &|n| format!("/r{n}")))
            .ok()
            .map(|config| config.settings.services.len()),
        Some(10_000)
    );
    for text in [
        services(2, &|_| "/same".to_owned()),
        services(0, &|_| String::new()),
        services(1, &|_| "/".repeat(100_000)),
        format!(
            "{{ \"services\": {}{} }}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        ),
        services(1, &|_| "/a".to_owned()).replacen(
            '{',
            "{ \"limits\": { \"headers\": 100000 },",
            1,
        ),
        services(1, &|_| "/a".to_owned()).replacen(
            '{',
            "{ \"limits\": { \"headBytes\": \"100GB\" },",
            1,
        ),
        services(1, &|_| "/a".to_owned()).replacen(
            '{',
            "{ \"limits\": { \"connections\": 99999999999999999999 },",
            1,
        ),
        services(1, &|_| "/a".to_owned()).replacen(
            '{',
            "{ \"rateLimit\": { \"requests\": -1 },",
            1,
        ),
        services(1, &|_| "/a".to_owned()).replacen(
            '{',
            "{ \"timeouts\": { \"idle\": \"9999999999999999h\" },",
            1,
        ),
    ] {
        let Err(errors) = load(&text) else {
            panic!("it is taken: {}", &text[..text.len().min(120)])
        };
        assert!(
            !errors.is_empty() && errors.iter().all(|error| error.line > 0),
            "{errors:?}"
        );
    }
}

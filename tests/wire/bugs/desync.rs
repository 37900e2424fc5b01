//! Patterns of desync attacks: two readers that use different lengths, or that end a line at
//! different places. The gateway is the front end. The reference parser is the back end, which must
//! read the same requests.

use tollgate::proxy::command::Fault;

use super::*;
use crate::engine::script::*;

pub fn bugs() -> Vec<Bug> {
    let mut bugs = of_lengths();
    bugs.extend(of_order());
    bugs.extend(of_terminators());
    bugs
}

#[test]
fn desync_attacks() {
    hold(bugs());
}

fn of_lengths() -> Vec<Bug> {
    let both = |body: &str| {
        post(
            &format!("Content-Length: {}\r\n{CHUNKED}", body.len()),
            body,
        )
    };
    let sized = |method: &str| {
        let head = format!(
            "{method} /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: {}\r\n\r\n",
            SMUGGLED.len()
        );
        let seen = forward(
            &format!("{method} /auth"),
            &format!("Content-Length: {}\r\n", SMUGGLED.len()),
            SMUGGLED,
        );
        read_as(format!("{head}{SMUGGLED}"), [seen])
    };
    let chunked = |method: &str| {
        let body = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
        let seen = forward(&format!("{method} /auth"), CHUNKED, SMUGGLED);
        read_as(
            format!("{method} /auth HTTP/1.1\r\nHost: gate\r\n{CHUNKED}\r\n{body}"),
            [seen],
        )
    };
    vec![
        bug(
            "desync CL.TE",
            "the front end takes the length, the back end the chunks",
            [
                refused(400, both(&format!("0\r\n\r\n{SMUGGLED}"))),
                refused(
                    400,
                    post(
                        &format!("{CHUNKED}Content-Length: 4\r\n"),
                        &format!("0\r\n\r\n{SMUGGLED}"),
                    ),
                ),
            ],
        ),
        bug(
            "desync TE.CL",
            "the front end takes the chunks, the back end the length",
            [refused(
                400,
                post(
                    &format!("Content-Length: 4\r\n{CHUNKED}"),
                    &format!("2d\r\n{SMUGGLED}\r\n0\r\n\r\n"),
                ),
            )],
        ),
        bug(
            "desync TE.TE",
            "one of the two does not know a disguised Transfer-Encoding",
            [
                refused(
                    400,
                    post(
                        &format!("{CHUNKED}Transfer-Encoding: cow\r\n"),
                        &format!("0\r\n\r\n{SMUGGLED}"),
                    ),
                ),
                refused(
                    400,
                    post(
                        &format!("Content-Length: 4\r\n{CHUNKED}Transfer-encoding: cow\r\n"),
                        "0\r\n\r\n",
                    ),
                ),
            ],
        ),
        bug(
            "desync CL.0",
            "the back end expects no body where the front end passed one on",
            [
                sized("GET"),
                sized("DELETE"),
                sized("OPTIONS"),
                sized("PURGE"),
                // An answer before the body was forwarded ends both connections.
                Probe::Scene(an_answer_before_the_body),
            ],
        ),
        bug(
            "desync TE.0",
            "the same with chunks",
            [
                chunked("GET"),
                chunked("OPTIONS"),
                chunked("DELETE"),
                Probe::Scene(an_answer_before_the_chunks),
            ],
        ),
        bug(
            "desync 0.CL",
            "the front end sees no length where the back end sees one",
            [
                refused(400, post(" Content-Length: 45\r\n", SMUGGLED)),
                refused(400, post("Content-Length : 45\r\n", SMUGGLED)),
                refused(400, post("Content-Length:\r\n 45\r\n", SMUGGLED)),
                refused(400, post("A: b\nContent-Length: 45\r\n", SMUGGLED)),
                refused(400, post("Content-Length: +45\r\n", SMUGGLED)),
                read_as(
                    format!(
                        "{}{SMUGGLED}",
                        post("Content_Length: 45\r\nContent-Lengths: 45\r\n", "")
                    ),
                    [
                        forward("POST /auth", "Content-Lengths: 45\r\n", ""),
                        forward("GET /auth/smuggled", "", ""),
                    ],
                ),
            ],
        ),
        bug(
            "desync, double",
            "a 0.CL turned into a CL.0 by a response that comes early",
            [Probe::Scene(an_early_answer_frees_nobody)],
        ),
        bug(
            "desync, HTTP/1.0",
            "a length that an HTTP/1.0 reader does not believe",
            [read_last(
                format!(
                    "GET /auth HTTP/1.0\r\nContent-Length: {}\r\n\r\n{SMUGGLED}{SMUGGLED}",
                    SMUGGLED.len()
                ),
                [forward(
                    "GET /auth",
                    &format!(
                        "Via: 1.0 tollgate\r\nContent-Length: {}\r\n",
                        SMUGGLED.len()
                    ),
                    SMUGGLED,
                )],
            )],
        ),
    ]
}

fn of_order() -> Vec<Bug> {
    let expecting = |expect: &str| {
        post(
            &format!("Expect: {expect}\r\nContent-Length: {}\r\n", SMUGGLED.len()),
            SMUGGLED,
        )
    };
    let seen = || {
        forward(
            "POST /auth",
            &format!("Content-Length: {}\r\n", SMUGGLED.len()),
            SMUGGLED,
        )
    };
    let mut hosts = vec![
        refused(400, "GET /auth HTTP/1.1\r\n Host: gate\r\n\r\n"),
        refused(
            400,
            "GET /auth HTTP/1.1\r\nHost: gate\r\n Host: evil\r\n\r\n",
        ),
        refused(
            400,
            "GET /auth HTTP/1.1\r\nHost: gate\r\nHost: gate\r\n\r\n",
        ),
        refused(
            400,
            "GET /auth HTTP/1.1\r\nHost : evil\r\nHost: gate\r\n\r\n",
        ),
        refused(400, "GET /auth HTTP/1.1\r\nHost: gate\r\n\tA: b\r\n\r\n"),
        refused(400, "GET http://evil/auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
    ];
    hosts.push(read_as(
        "GET /auth HTTP/1.1\r\nXHost: evil\r\nHost: gate\r\n\r\n",
        [forward("GET /auth", "XHost: evil\r\n", "")],
    ));
    vec![
        bug(
            "desync, Expect",
            "one of the two takes the body for sent, the other waits for a 100",
            [
                read_as(expecting("100-continue"), [seen()]),
                refused(417, expecting("y 100-continue")),
                refused(417, expecting("100-continue, 100-continue")),
                refused(417, expecting("100-continue\u{e9}")),
                refused(400, expecting("100-continue\r\n folded")),
                refused(400, expecting("\r\n 100-continue")),
                read_as(
                    format!(
                        "GET /auth HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\n\r\n{SMUGGLED}"
                    ),
                    [get(), forward("GET /auth/smuggled", "", "")],
                ),
                // The request was refused before its body was due, so no byte behind it is a
                // request.
                refused(
                    404,
                    expecting("100-continue").replace("/auth HTTP", "/none HTTP"),
                ),
            ],
        ),
        bug(
            "desync, pause",
            "an upstream answers a head whose body is late, and takes the body for a request",
            [Probe::Scene(a_timeout_of_the_upstream_ends_its_connection)],
        ),
        bug(
            "desync, first request",
            "only the first request of a connection is checked and routed",
            [
                read_last(
                    format!("{}GET /auth/../x HTTP/1.1\r\nHost: gate\r\n\r\n", GET),
                    [get(), reply(400)],
                ),
                read_last(
                    format!("{}GET /auth HTTP/1.1\r\nHost: a,b\r\n\r\n", GET),
                    [get(), reply(400)],
                ),
                read_last(
                    format!(
                        "{}{}",
                        GET,
                        post(&format!("Content-Length: 4\r\n{CHUNKED}"), "")
                    ),
                    [get(), reply(400)],
                ),
                read_as(
                    format!("{GET}GET /none HTTP/1.1\r\nHost: gate\r\n\r\n{GET}"),
                    [get(), reply(404), get()],
                ),
                read_last(
                    format!("{GET}CONNECT gate:80 HTTP/1.1\r\nHost: gate\r\n\r\n{GET}"),
                    [get(), reply(405)],
                ),
            ],
        ),
        bug(
            "desync, parser discrepancy",
            "a Host that one of the two does not see",
            hosts,
        ),
        bug(
            "desync, response queue",
            "an answer too many is given to the next request",
            [Probe::Scene(an_answer_too_many_reaches_nobody)],
        ),
        bug(
            "desync, client side",
            "a body that a browser sends is a request to the one that answered early",
            [read_as(
                format!("{}{GET}", post_to_nobody(SMUGGLED)),
                [reply(404), get()],
            )],
        ),
    ]
}

fn post_to_nobody(body: &str) -> String {
    format!(
        "POST /none HTTP/1.1\r\nHost: gate\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// `TERM` ends a size line, `EXT` is an extension, `SPILL` has bytes in place of a line end.
fn of_terminators() -> Vec<Bug> {
    const ENDS: [&str; 9] = [
        "\n", "\r", "\n\r", "\r\r", "\n\n", "\rX", "\nX", "X\n", "X\r",
    ];
    let chunked = |body: String| broken(post(CHUNKED, &format!("{body}{SMUGGLED}")));
    let each = |body: fn(&str) -> String| {
        ENDS.into_iter()
            .map(move |end| chunked(body(end)))
            .collect::<Vec<_>>()
    };
    vec![
        bug(
            "desync TERM.EXT",
            "a line end for the front end is part of an extension for the back end",
            each(|end| format!("2;{end}xx\r\n2d\r\n0\r\n\r\n")),
        ),
        bug(
            "desync EXT.TERM",
            "part of an extension for the front end is a line end for the back end",
            each(|end| format!("2d;a{end}\r\nhi\r\n0\r\n\r\n")),
        ),
        bug(
            "desync TERM.SPILL",
            "a line end behind data for the front end is data for the back end",
            each(|end| format!("2\r\nhi{end}0\r\n\r\n")),
        ),
        bug(
            "desync SPILL.TERM",
            "bytes behind data are skipped unseen by the front end",
            each(|end| format!("5\r\nhello{end}\r\n2\r\nhi\r\n0\r\n\r\n")),
        ),
        bug(
            "desync TERM.EXT, size alone",
            "the same without an extension",
            each(|end| format!("2{end}hi\r\n0\r\n\r\n")),
        ),
        bug(
            "desync, last chunk",
            "the same at the end of the last chunk and of the trailers",
            {
                let mut probes = each(|end| format!("0{end}\r\n"));
                probes.extend(
                    ENDS.into_iter()
                        .filter(|end| !end.starts_with('X'))
                        .map(|end| chunked(format!("0\r\n{end}"))),
                );
                probes.extend(each(|end| format!("0\r\nA: b{end}\r\n")));
                // `X` inside a value is part of the value; bytes behind the value are not.
                probes
            },
        ),
        bug(
            "desync, quoted extension",
            "a quoted string that goes over a line end",
            each(|end| format!("2;a=\"{end}\"\r\nhi\r\n0\r\n\r\n")),
        ),
    ]
}

/// An upstream answers the head while the body is still on its way: the answer is the last one of
/// both connections.
fn answered_early(fields: &str, front: &str, rest: &str) {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(
        client,
        format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n{front}"),
    );
    let origin = world.accept();
    world.reply(origin, OK);
    let text = world.received(client);
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.contains("\r\nConnection: close\r\n"),
        "{text}"
    );
    assert!(world.closed_upstream(origin), "it is not pooled");
    let seen = world.take_upstream(origin);
    assert!(
        tollgate::properties::reference::requests(&seen)
            .0
            .is_empty(),
        "half a request went up"
    );
    // The rest of the body is not a request.
    world.send(client, rest);
    world.expect_no_dial();
    world.expect_silence(client);
    assert!(!world.is_open(client));
    world.expect_quiet();
}

fn an_answer_before_the_body() {
    let fields = format!("Content-Length: {}\r\n", 2 + SMUGGLED.len());
    answered_early(&fields, "hi", SMUGGLED);
    answered_early(&fields, "", &format!("hi{SMUGGLED}"));
}

fn an_answer_before_the_chunks() {
    answered_early(CHUNKED, "2\r\nhi\r\n", &format!("0\r\n\r\n{SMUGGLED}"));
    answered_early(CHUNKED, "", SMUGGLED);
}

/// The second step of the attack needs a connection that is reused after an answer to an incomplete
/// request.
fn an_early_answer_frees_nobody() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(client, post("Content-Length: 100\r\n", ""));
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 307 Go on\r\nLocation: /auth\r\nContent-Length: 0\r\n\r\n",
    );
    world.expect_status(client, 307);
    let victim = world.connect();
    world.send(victim, GET);
    let fresh = world.accept();
    assert_ne!(fresh, origin, "the victim has a connection of its own");
    world.expect_upstream(fresh, GET_UPSTREAM);
    world.reply(fresh, OK);
    world.expect(victim, OK);
    world.expect_quiet();
}

fn a_timeout_of_the_upstream_ends_its_connection() {
    for answer in [
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        "",
    ] {
        let mut world = World::streaming(PLAIN);
        let client = world.connect();
        world.send(
            client,
            post(&format!("Content-Length: {}\r\n", SMUGGLED.len()), ""),
        );
        let origin = world.accept();
        world.reply(origin, answer);
        if answer.is_empty() {
            world.wait(15_100);
        }
        world.expect_status(client, if answer.is_empty() { 504 } else { 408 });
        assert!(world.closed_upstream(origin));
        world.take_upstream(origin);
        world.send(client, SMUGGLED);
        world.expect_no_dial();
        world.expect_upstream(origin, "");
        world.expect_quiet();
    }
}

fn an_answer_too_many_reaches_nobody() {
    // Extra bytes come in the same read as the first response, or later on the idle connection, or
    // with a fault behind them.
    for (together, fault) in [(true, None), (false, None), (false, Some(Fault::Reset))] {
        let mut world = World::streaming(PLAIN);
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        let poison = OK.replace("hi", "no");
        if together {
            world.reply(origin, format!("{OK}{poison}"));
        } else {
            world.reply(origin, OK);
            world.reply(origin, &poison);
        }
        assert!(world.closed_upstream(origin));
        if let Some(fault) = fault {
            world.fail_upstream(origin, fault);
        }
        world.expect(client, OK);
        let victim = world.connect();
        world.send(victim, GET);
        let fresh = world.accept();
        world.reply(fresh, OK);
        world.expect(victim, OK);
        world.expect_quiet();
    }
}

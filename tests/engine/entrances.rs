//! Kinds of listeners, and access by address: TLS with its subjects, redirects, `allow` and `deny`.

use std::net::IpAddr;

use tollgate::policy::forward::Peer;
use tollgate::proxy::command::{Fault, ListenerKind, Reason, Refused, Report, Uncertified};

use super::script::*;

fn world(more: &str, https_port: u16) -> World {
    let text = PLAIN.replacen('{', &format!("{{ {more} "), 1);
    let mut settings = settings(&text);
    settings.https_port = Some(https_port);
    World::new(settings)
}

#[test]
fn over_tls_the_scheme_is_https_and_the_subject_goes_up() {
    let mut world = World::plain();
    for subject in [None, Some("CN=ann,O=Example"), Some("")] {
        let client = world.connect_by(ListenerKind::Secure);
        world.secured(client, subject);
        world.send(
            client,
            "GET /auth HTTP/1.1\r\nHost: gate\r\nX-Client-Subject: CN=root\r\n\r\n",
        );
        let origin = world.accept();
        let subject_line = subject.map_or(String::new(), |subject| {
            format!("X-Client-Subject: {subject}\r\n")
        });
        let scheme = format!("X-Forwarded-Proto: https\r\n{subject_line}");
        world.expect_upstream(
            origin,
            GET_UPSTREAM.replace("X-Forwarded-Proto: http\r\n", &scheme),
        );
        world.fail_upstream(origin, Fault::Reset);
        world.expect_status(client, 502);
        world.reset(client);
    }
}

#[test]
fn plain_http_on_a_tls_listener_is_a_400_and_the_end() {
    for (bytes, line, body) in [
        (
            "GET /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
            "\"GET /auth HTTP/1.1\" 400 99",
            true,
        ),
        (
            "HEAD /auth HTTP/1.1\r\n",
            "\"HEAD /auth HTTP/1.1\" 400 -",
            false,
        ),
        ("G", "\"G\" 400 99", true),
    ] {
        let mut world = World::plain();
        let client = world.connect_by(ListenerKind::Secure);
        world.not_tls(client, bytes);
        let answer = world.expect_status(client, 400);
        assert_eq!(answer.ends_with("\"data\":null}"), body, "{answer}");
        world.expect_closing(client);
        world.expect_no_dial();
        assert!(world.log()[0].contains(line));
        world.send(client, GET);
        world.finish(client);
        world.expect_quiet();
    }
}

#[test]
fn a_failed_handshake_lingers_so_that_its_alert_is_read() {
    let mut world = World::plain();
    let client = world.connect_by(ListenerKind::Secure);
    world.fail(client, Fault::Tls);
    world.expect_closing(client);
    world.send(client, "what was still on its way");
    assert!(
        world.closed(client).is_none() && world.log().is_empty(),
        "no request, no line"
    );
    assert_eq!(world.reports, []);
    world.finish(client);
    world.expect_quiet();
}

/// Ten a second are told, and the rest as a number.
#[test]
fn refused_client_certificates_are_told_and_counted() {
    let mut world = World::plain();
    for _ in 0..12 {
        let client = world.connect_by(ListenerKind::Secure);
        world.fail_because(client, Fault::Tls, "peer sent no certificates");
        world.expect_closing(client);
        world.finish(client);
    }
    let told = Report::Uncertified(Uncertified {
        client: "192.0.2.1".parse().ok(),
        listener: None,
        reason: Reason::System("peer sent no certificates".into()),
    });
    assert_eq!(std::mem::take(&mut world.reports), vec![told; 10]);
    world.wait(1_100);
    let rest = Report::Suppressed {
        is_info: true,
        service: None,
        provider: None,
        what: Some("client certificate"),
        count: 2,
    };
    assert_eq!(std::mem::take(&mut world.reports), [rest]);
    let counted = tollgate::proxy::overview::refused(&world.proxy);
    let counted = Refused::ALL.iter().zip(counted);
    let counted = counted.filter(|(_, count)| *count > 0);
    assert_eq!(counted.collect::<Vec<_>>(), [(&Refused::Certificate, 12)]);
    world.expect_quiet();
}

#[test]
fn a_refusal_is_not_sent_before_the_handshake() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ], "limits": { "connections": 1 } }"#,
    );
    // For another client: one that has used its share gets no handshake.
    let _first = world.connect_from([192, 0, 2, 2].into());
    let last = world.connect_stalled(ListenerKind::Secure);
    world.fail(last, Fault::Tls);
    world.stall(last, false);
    world.send(last, "more");
    world.expect_silence(last);
    world.expect_closing(last);
}

#[test]
fn redirects_keep_the_target_and_name_the_other_port() {
    for (request, port, location) in [
        (
            "GET /a%2Fb//c?d=e%20f HTTP/1.1\r\nHost: a.test:80\r\n\r\n",
            8443,
            Some("https://a.test:8443/a%2Fb//c?d=e%20f"),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            443,
            Some("https://a.test/"),
        ),
        (
            "GET http://b.test:81/x HTTP/1.1\r\nHost: b.test:81\r\n\r\n",
            443,
            Some("https://b.test/x"),
        ),
        (
            "HEAD /x HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
            8443,
            Some("https://[2001:db8::1]:8443/x"),
        ),
        (
            "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
            443,
            Some("https://a.test/x"),
        ),
        // The TLS listener also answers requests without a route.
        (
            "GET /../x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            443,
            Some("https://a.test/../x"),
        ),
        ("GET /x HTTP/1.0\r\n\r\n", 443, None),
        ("GET /x HTTP/1.1\r\nHost:\r\n\r\n", 443, None),
    ] {
        let mut world = world("", port);
        let client = world.connect_by(ListenerKind::Redirect);
        world.send(client, request);
        let Some(location) = location else {
            world.expect_status(client, 400);
            world.expect_closing(client);
            continue;
        };
        world.expect(
            client,
            format!(
                "HTTP/1.1 308 Permanent Redirect\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            ),
        );
        world.expect_open(client);
        world.expect_no_dial();
    }
}

#[test]
fn a_redirect_is_not_counted_and_options_are_answered() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ], "rateLimit": { "requests": 1 } }"#,
    );
    let client = world.connect_by(ListenerKind::Redirect);
    for _ in 0..3 {
        world.send(client, GET);
        let answer = world.expect_status(client, 308);
        assert!(
            answer.contains("Strict-Transport-Security")
                && answer.contains("Access-Control-Allow-Origin: *")
        );
    }
    world.send(client, "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(client, 204);
}

#[test]
fn addresses_are_accepted_or_get_a_403_first() {
    let lists = r#""allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.6.0.0/16"], "trustedProxies": ["10.9.9.9"],"#;
    for (from, forwarded, admitted) in [
        ("10.1.2.3", None, true),
        ("2001:db8::7", None, true),
        ("10.6.2.3", None, false),
        ("192.0.2.1", None, false),
        // The address that a trusted proxy reports is checked, and not the proxy's. An address that
        // any other peer reports is ignored.
        ("10.9.9.9", Some("10.6.1.1"), false),
        ("10.9.9.9", Some("10.1.1.1"), true),
        ("192.0.2.1", Some("10.1.1.1"), false),
    ] {
        let mut world = world(lists, 443);
        let forwarded = forwarded.map_or(String::new(), |address| {
            format!("X-Forwarded-For: {address}\r\n")
        });
        for request in ["GET /auth", "OPTIONS /auth", "GET /nowhere"] {
            let client = world.connect_from(from.parse::<IpAddr>().expect("an address"));
            world.send(
                client,
                format!("{request} HTTP/1.1\r\nHost: gate\r\n{forwarded}\r\n"),
            );
            if admitted {
                let dialed = !world.dials.is_empty();
                assert!(
                    dialed != world.received(client).starts_with("HTTP/1.1 404"),
                    "{from}: {request}"
                );
                break;
            }
            let answer = world.expect_status(client, 403);
            assert!(answer.ends_with(
                "{\"code\":403,\"status\":\"Error\",\"message\":\"Forbidden.\",\"data\":null}"
            ));
            world.expect_no_dial();
        }
    }
    let mut unix = world(lists, 443);
    let client = unix.try_connect(Peer::Unix).expect("taken");
    unix.send(client, GET);
    unix.expect_status(client, 403);
}

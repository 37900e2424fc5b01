//! Services that answer on some listeners only, and those that want a client certificate.

use std::sync::Arc;

use tollgate::proxy::command::ListenerKind;
use tollgate::proxy::overview::overview;

use super::script::*;

const PUBLIC: &str = "127.0.0.1:5001";
const ADMIN: &str = "127.0.0.1:5002";

fn config(services: &str) -> String {
    format!(
        r#"{{ "listen": [ {{ "address": "{PUBLIC}", "name": "public" }}, {{ "address": "{ADMIN}", "name": "admin" }}, "127.0.0.1:5003" ],
             "rateLimit": false, "services": [ {services} ] }}"#
    )
}

const SERVICES: &str = r#"
    { "route": "/", "target": "http://10.0.0.1/", "methods": ["GET"] },
    { "route": "/a", "target": "http://10.0.0.2/", "listeners": ["public"] },
    { "route": "/a", "target": "http://10.0.0.3/", "listeners": ["admin"], "methods": ["PUT"] }"#;

fn connect(world: &mut World, listener: &str) -> Client {
    let client = world.connect();
    world.note_entrance(client, Some(listener), None);
    client
}

/// Sends a request and returns the address that it goes to; `None` if it is refused with `status`.
fn goes_to(world: &mut World, client: Client, request: &str, status: u16) -> Option<String> {
    world.send(client, format!("{request} HTTP/1.1\r\nHost: gate\r\n\r\n"));
    if world.dials.is_empty() {
        world.expect_status(client, status);
        return None;
    }
    let address = world.dials[0].1.to_string();
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    world.finish_upstream(origin);
    world.expect_status(client, 200);
    Some(address)
}

#[test]
fn a_service_answers_on_its_listeners() {
    let mut world = World::with(&config(SERVICES));
    for (listener, request, expected) in [
        (PUBLIC, "GET /a/x", Ok("10.0.0.2:80")),
        (PUBLIC, "GET /b", Ok("10.0.0.1:80")),
        (ADMIN, "PUT /a/x", Ok("10.0.0.3:80")),
        // The route exists there, for another method.
        (ADMIN, "GET /a/x", Err(405)),
        // The route does not exist there: another one takes the request.
        ("127.0.0.1:5003", "GET /a/x", Ok("10.0.0.1:80")),
        ("127.0.0.1:5003", "PUT /a/x", Err(405)),
    ] {
        let client = connect(&mut world, listener);
        let found = goes_to(
            &mut world,
            client,
            request,
            expected.err().unwrap_or_default(),
        );
        assert_eq!(found.as_deref(), expected.ok(), "{listener} {request}");
        world.finish(client);
    }
    let client = connect(&mut world, ADMIN);
    world.send(client, "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n");
    let text = world.expect_status(client, 405);
    assert!(text.contains("Allow: PUT\r\n"), "{text}");
}

#[test]
fn without_another_route_it_is_a_404() {
    let mut world = World::with(&config(
        r#"{ "route": "/a", "target": "http://10.0.0.2/", "listeners": ["public"] }"#,
    ));
    for (listener, status) in [(ADMIN, 404), ("127.0.0.1:5003", 404), ("elsewhere", 404)] {
        let client = connect(&mut world, listener);
        assert_eq!(
            goes_to(&mut world, client, "GET /a", status),
            None,
            "{listener}"
        );
    }
    let client = connect(&mut world, PUBLIC);
    assert!(goes_to(&mut world, client, "GET /a", 0).is_some());
}

/// An open connection is judged by the new rules, and a service whose listeners change is another
/// one.
#[test]
fn a_reload_changes_who_answers() {
    let mut world = World::with(&config(SERVICES));
    let client = connect(&mut world, ADMIN);
    assert_eq!(
        goes_to(&mut world, client, "GET /b/c", 0).as_deref(),
        Some("10.0.0.1:80")
    );
    world.reload(&config(&SERVICES.replace(
        r#""listeners": ["public"]"#,
        r#""listeners": ["public", "admin"], "methods": ["GET"]"#,
    )));
    assert_eq!(
        goes_to(&mut world, client, "GET /a", 0).as_deref(),
        Some("10.0.0.2:80")
    );
    assert_eq!(overview(&world.proxy).services, 3);
    world.reload(&config(r#"{ "route": "/", "target": "http://10.0.0.4/" }"#));
    assert_eq!(
        goes_to(&mut world, client, "GET /a", 0).as_deref(),
        Some("10.0.0.4:80")
    );
}

fn certified() -> World {
    let text = PLAIN.replacen(
        r#""route": "/auth","#,
        r#""route": "/auth", "clientCertificate": "required","#,
        1,
    );
    // The listener of the text has no certificates: the settings are made by hand.
    let mut settings = settings(&text.replace(r#""clientCertificate": "required","#, ""));
    let entrance = tollgate::proxy::settings::ServiceEntrance {
        listeners: Vec::new(),
        needs_certificate: true,
    };
    Arc::make_mut(&mut settings.services[0]).entrance = Some(Box::new(entrance));
    World::new(settings)
}

#[test]
fn without_a_certificate_a_service_may_refuse() {
    for (kind, subject, is_let_in) in [
        (ListenerKind::Secure, Some("CN=ann"), true),
        (ListenerKind::Secure, Some(""), true),
        (ListenerKind::Secure, None, false),
        (ListenerKind::Plain, None, false),
    ] {
        let mut world = certified();
        let client = world.connect_by(kind);
        if kind == ListenerKind::Secure {
            world.secured(client, subject);
        }
        // Each request of the connection has the certificate of the connection.
        for _ in 0..2 {
            let found = goes_to(&mut world, client, "GET /auth", 403);
            assert_eq!(found.is_some(), is_let_in, "{kind:?} {subject:?}");
        }
        if !is_let_in {
            let lines = world.log();
            assert!(lines[0].contains("\" 403 "), "{lines:?}");
            let reason = "no client certificate, see clientCertificate";
            assert!(
                format!("{:?}", world.reports).contains("NoCertificate"),
                "{reason}"
            );
        }
    }
}

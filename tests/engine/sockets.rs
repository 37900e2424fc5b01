//! Targets on unix sockets: what they are asked, what is said of them, and that connections, health
//! and retries are those of any target.

use super::script::*;
use tollgate::net::messages::Line;
use tollgate::proxy::command::{Fault, Report};
use tollgate::upstream::addresses::{is_socket, of_socket};

const OK: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi";
const LAST: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
const TWO: &str = r#""targets": ["http://unix:/run/a.sock:/a", "http://unix:/run/b.sock"]"#;

fn config(keys: &str) -> String {
    format!(
        r#"{{ "services": [ {{ "route": "/auth", {keys} }} ], "rateLimit": false, "cors": false, "securityHeaders": false,
              "accessLog": "json" }}"#
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n")
}

#[test]
fn the_target_gets_its_path_and_localhost() {
    for (keys, head) in [
        (
            r#""target": "http://unix:/run/a.sock:/base/""#,
            "GET /base/x?q HTTP/1.1\r\nHost: localhost\r\n",
        ),
        (
            r#""target": "http://unix:/run/a.sock""#,
            "GET /x?q HTTP/1.1\r\nHost: localhost\r\n",
        ),
        (
            r#""target": "http://unix:/run/a.sock:/base", "preserveHost": true"#,
            "GET /base/x?q HTTP/1.1\r\nHost: gate\r\n",
        ),
    ] {
        let mut world = World::with(&config(keys));
        assert!(world.lookups.is_empty(), "a socket is not looked up");
        let client = world.connect();
        for turn in 0..2 {
            world.send(client, get("/auth/x?q"));
            if turn == 0 {
                assert_eq!(world.dials[0].1, of_socket("/run/a.sock"));
                world.accept();
            }
            let seen = world.received_upstream(Origin(0));
            assert!(seen.starts_with(head), "{seen}");
            world.reply(Origin(0), OK);
            world.expect_status(client, 200);
        }
        let log = world.log().join("");
        assert!(log.contains(r#""target":"unix:/run/a.sock""#), "{log}");
    }
}

/// A head that was written for one target is rewritten for the other one, both ways.
#[test]
fn a_retry_goes_on_to_another_target() {
    for (targets, heads) in [
        (
            TWO,
            [
                "GET /a/x HTTP/1.1\r\nHost: localhost\r\n",
                "GET /x HTTP/1.1\r\nHost: localhost\r\n",
            ],
        ),
        (
            r#""targets": ["http://unix:/run/a.sock:/a", "http://10.0.0.2:81/b"]"#,
            [
                "GET /a/x HTTP/1.1\r\nHost: localhost\r\n",
                "GET /b/x HTTP/1.1\r\nHost: 10.0.0.2:81\r\n",
            ],
        ),
    ] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut world = World::with(&config(targets));
            let client = world.connect();
            if seen.len() == 1 {
                // The other one comes first.
                world.send(client, get("/auth/x"));
                let origin = world.accept();
                world.received_upstream(origin);
                world.reply(origin, LAST);
                world.expect_status(client, 200);
            }
            world.send(client, get("/auth/x"));
            world.refuse_because(
                Fault::Refused,
                "the queue of the socket is full (os error 11)",
            );
            let origin = world.accept();
            seen.push(world.received_upstream(origin));
            world.reply(origin, LAST);
            world.expect_status(client, 200);
        }
        assert!(seen[0].starts_with(heads[1]), "{seen:?}");
        assert!(seen[1].starts_with(heads[0]), "{seen:?}");
    }
}

#[test]
fn health_checks_ask_the_socket_and_reports_name_it() {
    let mut world = World::with(&config(&format!(
        r#"{TWO}, "healthCheck": {{ "path": "/health", "interval": "1s", "fall": 1, "rise": 1 }}"#
    )));
    world.wait(600);
    let mut asked = Vec::new();
    while !world.dials.is_empty() {
        let at = world.dials[0].1;
        assert!(is_socket(at));
        if at == of_socket("/run/b.sock") {
            world.refuse(Fault::Refused);
        } else {
            let origin = world.accept();
            asked.push(world.received_upstream(origin));
            world.reply(origin, LAST);
        }
    }
    assert!(
        asked[0].starts_with("GET /health HTTP/1.1\r\nHost: localhost\r\n"),
        "{asked:?}"
    );
    let told = std::mem::take(&mut world.reports);
    let down = told.iter().find_map(|report| match report {
        Report::Health {
            target, address, ..
        } => Some(target.address_text(*address)),
        _ => None,
    });
    assert_eq!(down.as_deref(), Some("unix:/run/b.sock"));
    let client = world.connect();
    for _ in 0..3 {
        world.send(client, get("/auth"));
        assert_eq!(world.dials[0].1, of_socket("/run/a.sock"));
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
    }
}

/// The pool belongs to the path: a reload that keeps it keeps its connections, another path has
/// others.
#[test]
fn the_pool_belongs_to_the_path() {
    let one = r#""target": "http://unix:/run/a.sock""#;
    let mut world = World::with(&config(one));
    let client = world.connect();
    world.send(client, get("/auth"));
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.reload(&config(&format!("{one}, \"retries\": 3")));
    world.send(client, get("/auth"));
    world.expect_no_dial();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.reload(&config(r#""target": "http://unix:/run/b.sock""#));
    assert!(world.closed_upstream(origin));
    world.send(client, get("/auth"));
    assert_eq!(world.dials[0].1, of_socket("/run/b.sock"));
}

/// Two targets that differ in the path of the socket alone are two for ip-hash, too.
#[test]
fn ip_hash_spreads_over_sockets() {
    let mut world = World::with(&config(&format!(r#"{TWO}, "balance": "ip-hash""#)));
    let mut seen = std::collections::BTreeMap::new();
    for last in 0..40 {
        let client = world.connect_from(std::net::IpAddr::from([192, 0, 2, last]));
        world.send(client, get("/auth"));
        *seen.entry(world.dials[0].1).or_insert(0) += 1;
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
    }
    assert_eq!(seen.len(), 2);
    assert!(seen.values().all(|count| *count > 5), "{seen:?}");
}

#[test]
fn a_failure_names_the_socket() {
    let mut world = World::with(&config(r#""target": "http://unix:/run/a.sock""#));
    let client = world.connect();
    world.send(client, get("/auth"));
    world.refuse_because(Fault::Refused, "no such file or directory (os error 2)");
    world.expect_status(client, 502);
    let told = std::mem::take(&mut world.reports);
    let line = told.iter().find_map(|report| match report {
        Report::UpstreamFailed(failed) => Some(Line(failed).to_string()),
        _ => None,
    });
    let line = line.expect("a report");
    assert!(
        line.starts_with("/auth -> unix:/run/a.sock: no such file or directory (os error 2); 502"),
        "{line}"
    );
}

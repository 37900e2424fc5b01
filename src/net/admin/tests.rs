//! Bytes in, a response and a command out; then connections over a pair of sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::facts::ListenerFacts;
use super::paths::Answer;
use super::*;
use crate::limits::{ADMIN_HEAD_BYTES, ADMIN_LOG_LEVEL_DEFAULT, ADMIN_TIMEOUT};
use crate::net::listener_counters::{ListenerCounters, OpenConnections};
use crate::observe::metrics::exposition::Format;
use crate::policy::auth::json::Json;
use crate::proxy::Proxy;
use crate::time::Duration;

/// Services of the tests.
fn is_up(route: &str) -> Option<bool> {
    match route {
        "/users" | "/a b" => Some(true),
        "/down" => Some(false),
        _ => None,
    }
}

fn facts() -> Facts {
    Facts {
        now: UnixTime::from_millis(2000),
        started: UnixTime::from_millis(1000),
        config: ConfigFacts {
            path: "t.json".to_owned(),
            read_at: UnixTime::from_millis(1500),
            reloads: 3,
            errors: None,
        },
        longest_turn: Duration::from_millis(7),
        turns_per_10_s: 5,
        dropped_lines: 4,
        memory_bound: 5,
        listeners: Vec::new(),
        certificates: Default::default(),
        orders: Vec::new(),
    }
}

/// An engine with so many services, for the rest of the process.
fn engine(services: usize) -> &'static Proxy {
    let service = |n| format!(r#"{{ "route": "/{n}", "target": "http://127.0.0.1:9" }}"#);
    let services = (0..services).map(service).collect::<Vec<_>>().join(",");
    let text = format!("{{ \"services\": [{services}] }}");
    let config = crate::config::load(text.as_bytes(), "t.json", &|_| None, &|_| {
        Err(io::ErrorKind::NotFound.into())
    });
    let settings = config.expect("it is valid").settings;
    Box::leak(Box::new(Proxy::new(settings, 7)))
}

thread_local! {
    static ENGINE: &'static Proxy = engine(1);
}

fn state(progress: Progress) -> GatewayState<'static> {
    GatewayState {
        proxy: ENGINE.with(|engine| *engine),
        facts: &facts,
        is_up: &is_up,
        progress,
        is_upgrading: false,
    }
}

/// Answers to the bytes: of each request, and whether the connection stays open behind it.
fn answers(
    bytes: &[u8],
    cuts: &[usize],
    access: Access,
    progress: Progress,
) -> Vec<(Answer, bool)> {
    property::answers(bytes, cuts, access, &state(progress))
}

/// The only answer to the bytes, which come whole, byte by byte, and cut in two at each byte.
#[track_caller]
fn only(bytes: &str, access: Access, progress: Progress) -> (Answer, bool) {
    let bytes = bytes.as_bytes();
    let whole = answers(bytes, &[], access, progress);
    assert_eq!(whole.len(), 1, "{:?}", String::from_utf8_lossy(bytes));
    let each: Vec<usize> = (1..bytes.len()).collect();
    let slowly = answers(bytes, &each, access, progress);
    let is_refused = !whole[0].1;
    for found in each
        .iter()
        .map(|&cut| answers(bytes, &[cut], access, progress))
        .chain([slowly])
    {
        // A refusal may come before the last byte, and name another rule that the head breaks.
        if is_refused && whole != found {
            let status =
                |found: &[(Answer, bool)]| found[0].0.response.as_ref().map(|one| one.status);
            assert_eq!(status(&found), status(&whole));
        } else {
            assert_eq!(found, whole);
        }
    }
    whole.into_iter().next().expect("one")
}

/// Status and body of the answer to a request line over a unix socket.
#[track_caller]
fn over_unix(line: &str, progress: Progress) -> (u16, String, Option<AdminCommand>) {
    let bytes = format!("{line} HTTP/1.1\r\nHost: gate\r\n\r\n");
    let (answer, keeps_alive) = only(&bytes, Access::Commands, progress);
    assert!(keeps_alive, "{line}");
    let response = answer.response.unwrap_or_else(|| Response::text(0, ""));
    (response.status, response.body, answer.command)
}

#[test]
fn paths_over_a_unix_socket() {
    use Progress::{Reloading, Running, Stopping};
    for (line, progress, status, body) in [
        ("GET /live", Running, 200, "ok"),
        ("HEAD /live", Running, 200, "ok"),
        ("GET /live", Stopping, 200, "ok"),
        (
            "GET /live?a=b",
            Running,
            400,
            "not known; no query is needed here",
        ),
        ("GET /ready", Running, 200, "ready"),
        ("GET /ready", Reloading, 200, "ready"),
        ("GET /ready", Stopping, 503, "the gateway is stopping\n"),
        ("GET /ready?", Running, 200, "ready"),
        ("GET /ready?service=/users", Running, 200, "ready"),
        ("GET /ready?service=%2Fusers", Running, 200, "ready"),
        ("GET /ready?service=/a%20b", Running, 200, "ready"),
        (
            "GET /ready?service=/users",
            Stopping,
            503,
            "the gateway is stopping\n",
        ),
        (
            "GET /ready?service=/down",
            Running,
            503,
            "all targets of \"/down\" are down",
        ),
        (
            "GET /ready?service=/none",
            Running,
            404,
            "there is no service \"/none\"\n",
        ),
        (
            "GET /ready?service=",
            Running,
            404,
            "there is no service \"\"\n",
        ),
        (
            "GET /ready?service=/users&service=/down",
            Running,
            400,
            "stands twice",
        ),
        (
            "GET /ready?servce=/users",
            Running,
            400,
            "the names here are service",
        ),
        ("GET /ready?service=%zz", Running, 400, "percent-encoding"),
        ("GET /ready?service", Running, 400, "has no value"),
        ("GET http://gate/live", Running, 200, "ok"),
        ("POST /live", Running, 405, "/live takes GET, HEAD"),
        ("DELETE /reload", Running, 405, "/reload takes POST"),
        ("GET /reload", Running, 405, "/reload takes POST"),
        ("HEAD /stop", Running, 405, "/stop takes POST"),
        ("POST /reload", Reloading, 409, "a reload is running"),
        ("POST /reload", Stopping, 409, "the gateway is stopping"),
        ("POST /reload?now=1", Running, 400, "not known"),
        ("POST /stop?now=1", Running, 400, "not known"),
        ("GET /upgrade", Running, 405, "/upgrade takes POST"),
        ("POST /upgrade?now=1", Running, 400, "not known"),
        ("POST /upgrade", Stopping, 409, "the gateway is stopping"),
        (
            "POST /log",
            Running,
            400,
            "the level is missing; write ?level= and one of error, warn, info, debug, trace",
        ),
        (
            "POST /log?level=loud",
            Running,
            400,
            "level \\\"loud\\\" must be one of error, warn",
        ),
        ("POST /log?level=DEBUG", Running, 400, "must be one of"),
        (
            "POST /log?level=debug&for=10",
            Running,
            400,
            "for \\\"10\\\" must be a duration",
        ),
        (
            "POST /log?level=debug&for=0s",
            Running,
            400,
            "must be longer than zero and at most 24h",
        ),
        (
            "POST /log?level=debug&for=25h",
            Running,
            400,
            "must be longer than zero and at most 24h",
        ),
        (
            "POST /log?level=debug&for=99999999999999999999h",
            Running,
            400,
            "at most 24h",
        ),
        (
            "GET /nothing",
            Running,
            404,
            "There are:\nGET /live\nGET /ready\nGET /metrics\nGET /state.json\nGET /why\nGET /\nPOST /reload\nPOST /upgrade\nPOST /log\nPOST /stop\n",
        ),
        ("GET /%6cive", Running, 404, "There are"),
        (
            "GET /why?id=%39f",
            Running,
            404,
            "no decision about a request with the id \"9f\" is known: no request has ended since the start",
        ),
        ("GET /why", Running, 400, "the id is missing; write ?id="),
        ("POST /why?id=9f", Running, 405, "/why takes GET, HEAD"),
        ("GET /live/", Running, 404, "There are"),
        ("GET //live", Running, 404, "There are"),
        ("OPTIONS *", Running, 404, "There are"),
    ] {
        let (found, text, command) = over_unix(line, progress);
        assert_eq!(found, status, "{line}: {text}");
        assert!(text.contains(body), "{line}: {text}");
        assert_eq!(command, None, "{line}");
    }
}

#[test]
fn commands() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let log = |level, time| Some(AdminCommand::LogLevel { level, time });
    for (line, status, body, command) in [
        ("POST /reload", 0, "", Some(AdminCommand::Reload)),
        (
            "POST /stop",
            200,
            "{ \"state\": \"stopping\" }\n",
            Some(AdminCommand::Stop),
        ),
        (
            "POST /log?level=debug",
            200,
            "{ \"level\": \"debug\", \"for\": \"10m\" }\n",
            log(LogLevel::Debug, ADMIN_LOG_LEVEL_DEFAULT),
        ),
        (
            "POST /log?for=90m&level=tr%61ce",
            200,
            "{ \"level\": \"trace\", \"for\": \"90m\" }\n",
            log(LogLevel::Trace, minutes(90)),
        ),
    ] {
        assert_eq!(
            over_unix(line, Progress::Running),
            (status, body.to_owned(), command),
            "{line}"
        );
    }
    // A stop ends at once when it is asked for twice, so it is accepted while stopping, too.
    assert_eq!(
        over_unix("POST /stop", Progress::Stopping).2,
        Some(AdminCommand::Stop)
    );
}

#[test]
fn over_tcp_only_known_hosts_may_read() {
    for (host, status) in [
        ("127.0.0.1:5001", 200),
        ("10.1.2.3", 200),
        ("[::1]:5001", 200),
        ("[fd00::7]", 200),
        ("localhost", 200),
        ("LocalHost:5001", 200),
        ("localhost.", 200),
        ("status.lan", 200),
        ("Status.LAN.:5001", 200),
        ("status.lan.evil.example", 403),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("xlocalhost", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.1", 403),
        ("0x7f.0.0.1", 403),
        ("2130706433", 403),
        ("", 400),
        ("a b", 400),
        ("localhost@evil.example", 400),
    ] {
        let bytes = format!("GET /live HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (answer, keeps_alive) = only(&bytes, Access::ReadOnly, Progress::Running);
        assert_eq!(
            answer.response.map(|one| one.status),
            Some(status),
            "{host}"
        );
        assert_eq!(keeps_alive, status == 200, "{host}");
    }
    // The target's host counts, too.
    let rebound = "GET http://evil.example/live HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let differs = "GET http://localhost/live HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for (bytes, status) in [(rebound, 403), (differs, 400)] {
        let (answer, _) = only(bytes, Access::ReadOnly, Progress::Running);
        assert_eq!(
            answer.response.map(|one| one.status),
            Some(status),
            "{bytes}"
        );
    }
    for line in [
        "POST /reload",
        "POST /stop",
        "POST /log?level=debug",
        "POST /live",
        "PUT /live",
        "DELETE /",
        "OPTIONS /live",
        "get /live",
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (answer, _) = only(&bytes, Access::ReadOnly, Progress::Running);
        assert_eq!(answer.command, None, "{line}");
        assert_eq!(answer.response.map(|one| one.status), Some(403), "{line}");
    }
    for (line, status) in [
        ("GET /reload", 405),
        ("HEAD /ready", 200),
        ("GET /nothing", 404),
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (answer, _) = only(&bytes, Access::ReadOnly, Progress::Running);
        assert_eq!(
            answer.response.map(|one| one.status),
            Some(status),
            "{line}"
        );
    }
}

#[test]
fn malformed_requests_are_refused_and_their_connections_end() {
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "a".repeat(ADMIN_HEAD_BYTES / 2)
    );
    let large = format!(
        "GET /live HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(ADMIN_HEAD_BYTES)
    );
    let many = format!(
        "GET /live HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(64)
    );
    for (bytes, status) in [
        ("GET /live\r\n\r\n", 400),
        ("GET /live HTTP/1.1\n\n", 400),
        ("GET /live HTTP/1.1\r\n\r\n", 400),
        ("GET /live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /live HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET /live HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET  /live HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /li\u{1}ve HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /live#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET live HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (
            "POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n",
            413,
        ),
        (
            "POST /stop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            413,
        ),
        (
            "POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            400,
        ),
        (
            "POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST /stop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (&long, 414),
        (&large, 431),
        (&many, 431),
    ] {
        for access in [Access::Commands, Access::ReadOnly] {
            let bytes = bytes.replace("Host: a\r\n", "Host: localhost\r\n");
            let (answer, keeps_alive) = only(&bytes, access, Progress::Running);
            assert_eq!(
                answer.response.map(|one| one.status),
                Some(status),
                "{bytes:.60}"
            );
            assert_eq!((answer.command, keeps_alive), (None, false), "{bytes:.60}");
        }
    }
}

#[test]
fn connections_stay_open_and_bodies_are_discarded() {
    let live = "GET /live HTTP/1.1\r\nHost: a\r\n\r\n";
    let with_body = "POST /log?level=info HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let bytes = format!("{with_body}{live}\r\n{live}");
    for cuts in [vec![], (1..bytes.len()).collect()] {
        let found = answers(bytes.as_bytes(), &cuts, Access::Commands, Progress::Running);
        let statuses = found.iter().map(|(answer, keeps_alive)| {
            (answer.response.as_ref().map(|one| one.status), *keeps_alive)
        });
        assert_eq!(statuses.collect::<Vec<_>>(), [(Some(200), true); 3]);
    }
    for (bytes, keeps) in [
        ("GET /live HTTP/1.0\r\n\r\n", false),
        (
            "GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            false,
        ),
        (
            "GET /live HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            true,
        ),
        (
            "POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
            false,
        ),
    ] {
        let (answer, keeps_alive) = only(bytes, Access::Commands, Progress::Running);
        assert_eq!(answer.response.map(|one| one.status), Some(200), "{bytes}");
        assert_eq!(keeps_alive, keeps, "{bytes}");
    }
}

#[test]
fn any_byte_at_any_place_is_answered_or_awaited() {
    let base = b"POST /log?level=debug&for=1m HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for place in 0..base.len() {
        for value in 0..=255 {
            let mut bytes = base.to_vec();
            bytes[place] = value;
            let whole = answers(&bytes, &[], Access::Commands, Progress::Running);
            for (answer, _) in &whole {
                assert!(answer.response.is_some() || answer.command == Some(AdminCommand::Reload));
            }
            assert!(
                answers(&bytes, &[], Access::ReadOnly, Progress::Running)
                    .iter()
                    .all(|(answer, _)| answer.command.is_none())
            );
        }
    }
}

/// An admin listener in a folder of its own, driven without an event loop.
struct Driven {
    admin: Admin,
    poll: mio::Poll,
    path: std::path::PathBuf,
}

impl Driven {
    fn new(name: &str) -> Driven {
        let path =
            std::env::temp_dir().join(format!("tollgate-admin-{}-{name}", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let poll = mio::Poll::new().expect("epoll");
        let access = AdminAccess {
            addresses: vec![address.clone()],
            hosts: Vec::new(),
        };
        let bound = vec![AdminListener::bind(&address).expect("a fresh path")];
        let admin = Admin::register(bound, &access, LogLevel::Info, poll.registry()).expect("room");
        Driven { admin, poll, path }
    }

    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(&self.path).expect("it listens");
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .expect("a timeout");
        client
    }

    /// Handles all events that are there, and all work that is due at `now`.
    fn run(&mut self, now: Instant) -> Vec<AdminCommand> {
        let mut events = mio::Events::with_capacity(64);
        let mut commands = Vec::new();
        let zero = Some(std::time::Duration::ZERO);
        loop {
            self.poll.poll(&mut events, zero).expect("epoll");
            events
                .iter()
                .for_each(|event| self.admin.record_event(event));
            if self.admin.due().is_none_or(|due| due > now) {
                return commands;
            }
            let state = state(Progress::Running);
            let registry = self.poll.registry();
            commands.extend(self.admin.serve(&state, registry, now, UnixTime::default()));
        }
    }

    fn connections(&self) -> usize {
        self.admin.connections.iter().flatten().count()
    }
}

const LIVE: &[u8] = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n";

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

/// Reads until the text ends so.
#[track_caller]
fn read_until(client: &mut UnixStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(client.read(&mut byte).expect("no timeout"), 1, "{bytes:?}");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).expect("text")
}

#[track_caller]
fn is_closed(client: &mut UnixStream) -> bool {
    client.set_nonblocking(true).expect("an option");
    let mut bytes = Vec::new();
    let is_closed = client.read_to_end(&mut bytes).is_ok_and(|read| read == 0);
    client.set_nonblocking(false).expect("an option");
    is_closed
}

#[test]
fn without_clients_nothing_is_due_and_each_phase_has_an_end() {
    let mut driven = Driven::new("deadlines");
    assert_eq!(driven.admin.due(), None);
    assert_eq!(driven.run(at(1)), []);
    assert_eq!(driven.admin.due(), None);
    // One byte a second does not move the deadline of a head.
    let mut slow = driven.connect();
    driven.run(at(1));
    for second in 2..11 {
        slow.write_all(b"G").expect("open");
        driven.run(at(second));
    }
    assert_eq!(driven.connections(), 1);
    driven.run(at(12));
    assert_eq!(driven.connections(), 0);
    assert!(is_closed(&mut slow));
    // A used connection waits for its next request for as long.
    let mut idle = driven.connect();
    idle.write_all(LIVE).expect("open");
    driven.run(at(20));
    assert!(read_until(&mut idle, "ok").starts_with("HTTP/1.1 200 OK\r\n"));
    driven.run(at(29));
    assert!(!is_closed(&mut idle));
    driven.run(at(30));
    assert!(is_closed(&mut idle));
    assert_eq!(driven.admin.due(), None);
}

#[test]
fn a_client_that_never_reads_is_dropped() {
    let mut driven = Driven::new("deaf");
    let mut client = driven.connect();
    client.set_nonblocking(true).expect("an option");
    driven.run(at(1));
    // Requests come until neither side takes more.
    let (mut sent, mut blocked) = (0, 0);
    while blocked < 2 {
        match client.write(LIVE) {
            Ok(bytes) => (sent, blocked) = (sent + bytes, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                blocked += 1;
                driven.run(at(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent > 10_000, "{sent}");
    let held = driven.admin.connections.iter().flatten();
    assert!(held.map(Connection::bytes).sum::<usize>() < BYTES / ADMIN_CONNECTIONS);
    driven.run(at(1).after(ADMIN_TIMEOUT));
    assert_eq!(driven.connections(), 0);
}

#[test]
fn the_seventeenth_connection_waits_unless_one_is_idle() {
    let mut driven = Driven::new("crowd");
    let mut clients: Vec<UnixStream> = (0..ADMIN_CONNECTIONS).map(|_| driven.connect()).collect();
    for client in &mut clients {
        client.write_all(b"GET").expect("open");
    }
    driven.run(at(1));
    let mut further = driven.connect();
    further.write_all(LIVE).expect("open");
    driven.run(at(2));
    assert_eq!(driven.connections(), ADMIN_CONNECTIONS);
    further.set_nonblocking(true).expect("an option");
    assert!(further.read(&mut [0]).is_err(), "no answer yet");
    further.set_nonblocking(false).expect("an option");
    // One of them is answered, and becomes idle: its place is given away.
    clients[3].write_all(&LIVE[3..]).expect("open");
    driven.run(at(3));
    read_until(&mut clients[3], "ok");
    assert!(read_until(&mut further, "ok").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(is_closed(&mut clients[3]));
    assert!(!is_closed(&mut clients[4]));
    assert_eq!(driven.connections(), ADMIN_CONNECTIONS);
}

#[test]
fn an_upgrade_answers_who_waits_and_no_second_one_begins() {
    let upgrade = b"POST /upgrade HTTP/1.1\r\nHost: a\r\n\r\n";
    let reload = b"POST /reload HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut driven = Driven::new("upgrade");
    let (mut first, mut second) = (driven.connect(), driven.connect());
    first.write_all(upgrade).expect("open");
    assert_eq!(driven.run(at(1)), [AdminCommand::Upgrade]);
    second.write_all(upgrade).expect("open");
    assert_eq!(driven.run(at(1)), []);
    let text = read_until(&mut second, "}\n");
    assert!(
        text.starts_with("HTTP/1.1 409 ") && text.contains("an upgrade is running"),
        "{text}"
    );
    // A reload waits for its own end, and not for that of the upgrade.
    second.write_all(reload).expect("open");
    assert_eq!(driven.run(at(1)), [AdminCommand::Reload]);
    driven
        .admin
        .upgrade_finished(&Err("it fails".to_owned()), at(2));
    driven.run(at(2));
    let text = read_until(&mut first, "}\n");
    assert!(text.starts_with("HTTP/1.1 422 "), "{text}");
    assert!(text.ends_with("{ \"error\": \"it fails\" }\n"), "{text}");
    driven.admin.reload_finished(&Ok("done".to_owned()), at(2));
    driven.run(at(2));
    assert!(read_until(&mut second, "}\n").contains("\"done\""));
    first.write_all(upgrade).expect("open");
    assert_eq!(driven.run(at(3)), [AdminCommand::Upgrade]);
    driven.admin.upgrade_finished(&Ok("7".to_owned()), at(4));
    driven.run(at(4));
    assert!(read_until(&mut first, "}\n").ends_with("{ \"pid\": \"7\" }\n"));
    // Two in one turn, and one that takes too long.
    first.write_all(upgrade).expect("open");
    second.write_all(upgrade).expect("open");
    assert_eq!(driven.run(at(5)), [AdminCommand::Upgrade]);
    assert!(read_until(&mut second, "}\n").starts_with("HTTP/1.1 409 "));
    driven.run(at(65));
    let text = read_until(&mut first, "}\n");
    assert!(
        text.starts_with("HTTP/1.1 504 ") && text.contains("the upgrade has not"),
        "{text}"
    );
}

#[test]
fn a_reload_answers_those_who_wait_and_no_second_one_begins() {
    let reload = b"POST /reload HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut driven = Driven::new("reload");
    let (mut first, mut second) = (driven.connect(), driven.connect());
    first.write_all(reload).expect("open");
    assert_eq!(driven.run(at(1)), [AdminCommand::Reload]);
    second.write_all(reload).expect("open");
    assert_eq!(driven.run(at(1)), []);
    assert!(read_until(&mut second, "}\n").starts_with("HTTP/1.1 409 Conflict\r\n"));
    driven
        .admin
        .reload_finished(&Ok("configuration read: ..".to_owned()), at(2));
    driven.run(at(2));
    let text = read_until(&mut first, "}\n");
    assert!(
        text.ends_with("\r\n\r\n{ \"summary\": \"configuration read: ..\" }\n"),
        "{text}"
    );
    // The next one fails, and one that takes too long is told so.
    first.write_all(reload).expect("open");
    assert_eq!(driven.run(at(3)), [AdminCommand::Reload]);
    driven
        .admin
        .reload_finished(&Err("t.json:1:1: bad\nstill 12:03:07".to_owned()), at(3));
    driven.run(at(3));
    let text = read_until(&mut first, "}\n");
    assert!(text.starts_with("HTTP/1.1 422 "), "{text}");
    assert!(
        text.contains("\"t.json:1:1: bad\",\n  \"still 12:03:07\""),
        "{text}"
    );
    first.write_all(reload).expect("open");
    assert_eq!(driven.run(at(4)), [AdminCommand::Reload]);
    driven.run(at(64));
    assert!(read_until(&mut first, "}\n").starts_with("HTTP/1.1 504 "));
    // Two in one turn.
    let (mut one, mut two) = (driven.connect(), driven.connect());
    one.write_all(reload).expect("open");
    two.write_all(reload).expect("open");
    assert_eq!(driven.run(at(65)), [AdminCommand::Reload]);
}

#[test]
fn listeners_change_with_the_configuration() {
    let mut driven = Driven::new("set");
    let mut kept = driven.connect();
    kept.write_all(LIVE).expect("open");
    driven.run(at(1));
    read_until(&mut kept, "ok");
    let other = driven.path.with_extension("other");
    let both = [driven.path.clone(), other.clone()].map(ListenAddress::Unix);
    let bound = vec![AdminListener::bind(&both[1]).expect("a fresh path")];
    let access = |addresses: &[ListenAddress]| AdminAccess {
        addresses: addresses.to_vec(),
        hosts: Vec::new(),
    };
    let registry = driven.poll.registry();
    driven
        .admin
        .set(&access(&both), bound, registry)
        .expect("room");
    assert_eq!(driven.admin.addresses().cloned().collect::<Vec<_>>(), both);
    driven.run(at(2));
    assert!(!is_closed(&mut kept), "its listener stays");
    let registry = driven.poll.registry();
    driven
        .admin
        .set(&access(&both[1..]), Vec::new(), registry)
        .expect("room");
    driven.run(at(3));
    assert!(is_closed(&mut kept) && !driven.path.exists());
    driven.path = other;
    let mut client = driven.connect();
    client.write_all(LIVE).expect("open");
    driven.run(at(4));
    read_until(&mut client, "ok");
    let registry = driven.poll.registry();
    driven
        .admin
        .set(&access(&[]), Vec::new(), registry)
        .expect("room");
    driven.run(at(5));
    assert!(is_closed(&mut client) && !driven.path.exists());
    assert_eq!(driven.admin.due(), None);
}

/// There are more clients than connections: each gets its answer, and then the listener closes.
#[test]
fn clients_that_wait_at_an_address_that_goes_are_answered() {
    let mut driven = Driven::new("queue");
    let mut idle = driven.connect();
    idle.write_all(LIVE).expect("open");
    driven.run(at(1));
    read_until(&mut idle, "ok");
    let client = |_| {
        let mut client = driven.connect();
        client.write_all(LIVE).expect("open");
        client
    };
    let clients = (0..3 * ADMIN_CONNECTIONS).map(client).collect::<Vec<_>>();
    let registry = driven.poll.registry();
    let access = AdminAccess::default();
    driven
        .admin
        .set(&access, Vec::new(), registry)
        .expect("room");
    assert_eq!(driven.admin.addresses().count(), 0);
    for mut client in clients {
        driven.run(at(2));
        let answer = read_until(&mut client, "ok");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
    }
    driven.run(at(2));
    assert!(is_closed(&mut idle) && !driven.path.exists());
    assert!(!driven.admin.is_closing());
}

/// A listener that closes, and the one that takes its place, have one limit between them.
#[test]
fn a_closing_listener_has_the_limits_of_the_others() {
    let mut driven = Driven::new("closing");
    let closing = driven.path.clone();
    let mut slow: Vec<UnixStream> = (0..ADMIN_CONNECTIONS).map(|_| driven.connect()).collect();
    for client in &mut slow {
        client.write_all(b"GET").expect("open");
    }
    driven.run(at(1));
    let client = |driven: &Driven| {
        let mut client = driven.connect();
        client.write_all(LIVE).expect("open");
        client
    };
    let mut queued = [(); 3].map(|()| client(&driven));
    let other = driven.path.with_extension("other");
    let access = AdminAccess {
        addresses: vec![ListenAddress::Unix(other.clone())],
        hosts: Vec::new(),
    };
    let bound = vec![AdminListener::bind(&access.addresses[0]).expect("a fresh path")];
    let registry = driven.poll.registry();
    driven.admin.set(&access, bound, registry).expect("room");
    driven.path = other;
    let mut late = client(&driven);
    driven.run(at(2));
    assert_eq!(driven.connections(), ADMIN_CONNECTIONS);
    assert!(driven.admin.is_closing() && closing.exists());
    for waiting in queued.iter_mut().chain([&mut late]) {
        waiting.set_nonblocking(true).expect("an option");
        assert!(waiting.read(&mut [0]).is_err(), "no answer yet");
        waiting.set_nonblocking(false).expect("an option");
    }
    // A connection that has its answer makes room for one that waits.
    for (slow, waiting) in slow.iter_mut().zip(&mut queued[..2]) {
        slow.write_all(&LIVE[3..]).expect("open");
        driven.run(at(3));
        let answer = read_until(slow, "ok");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        slow.shutdown(std::net::Shutdown::Both).expect("open");
        driven.run(at(3));
        let answer = read_until(waiting, "ok");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        assert!(driven.connections() <= ADMIN_CONNECTIONS);
    }
    assert!(driven.admin.is_closing() && closing.exists());
    // Those that send no whole head lose their places at the end of their time.
    driven.run(at(1).after(ADMIN_TIMEOUT));
    assert!(is_closed(&mut slow[2]));
    let answer = read_until(&mut queued[2], "ok");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    assert!(!read_until(&mut late, "ok").contains("Connection: close"));
    assert!(!driven.admin.is_closing() && !closing.exists());
    assert!(!is_closed(&mut late), "its listener stays");
}

/// Over TCP, too, a listener that closes and the others have one limit between them, which leaves four
/// connections to unix sockets, and one place for another.
#[test]
fn a_closing_listener_over_tcp_has_the_limits_of_the_others() {
    let mut driven = Driven::new("closing-tcp");
    let unix = ListenAddress::Unix(driven.path.clone());
    let [closing, other] = ["127.0.0.1:0", "127.0.0.2:0"]
        .map(|at| ListenAddress::Tcp(at.parse().expect("an address")));
    let access = |addresses: [&ListenAddress; 2]| AdminAccess {
        addresses: addresses.map(Clone::clone).to_vec(),
        hosts: Vec::new(),
    };
    // Makes the listeners the unix socket and one more, which is bound here.
    let set = |driven: &mut Driven, address: &ListenAddress| {
        let bound = AdminListener::bind(address).expect("a port");
        let ListenAddress::Tcp(at) = bound.listener.address() else {
            panic!("it is none of TCP");
        };
        let registry = driven.poll.registry();
        let set = access([&unix, address]);
        driven.admin.set(&set, vec![bound], registry).expect("room");
        at
    };
    let connect = |at: std::net::SocketAddr, head: &[u8]| {
        let mut client = std::net::TcpStream::connect(at).expect("it listens");
        client.set_nonblocking(true).expect("an option");
        client.write_all(head).expect("open");
        client
    };
    // Handles events until this holds.
    let until = |driven: &mut Driven, second, holds: &mut dyn FnMut(&Driven) -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !holds(driven) {
            assert!(std::time::Instant::now() < deadline);
            driven.run(at(second));
        }
    };
    // The answer to a client, and whether its connection ends behind it.
    let answer = |driven: &mut Driven, second, client: &mut std::net::TcpStream| {
        let mut bytes = Vec::new();
        until(driven, second, &mut |_| {
            let _ = client.read_to_end(&mut bytes);
            bytes.ends_with(b"ok")
        });
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        text.contains("Connection: close\r\n")
    };
    let live = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut idle = driven.connect();
    idle.write_all(LIVE).expect("open");
    driven.run(at(1));
    read_until(&mut idle, "ok");
    let first = set(&mut driven, &closing);
    let mut slow = (0..12).map(|_| connect(first, b"GET")).collect::<Vec<_>>();
    until(&mut driven, 1, &mut |driven| driven.connections() == 13);
    let mut queued = [(); 3].map(|()| connect(first, live));
    let second = set(&mut driven, &other);
    let mut late = connect(second, live);
    driven.run(at(2));
    for waiting in queued.iter_mut().chain([&mut late]) {
        assert!(waiting.read(&mut [0]).is_err(), "no answer yet");
    }
    assert_eq!(driven.connections(), 13);
    // A client over TCP takes no place of a unix socket, which has some left.
    assert!(!is_closed(&mut idle));
    let mut command = driven.connect();
    command.write_all(LIVE).expect("open");
    driven.run(at(2));
    read_until(&mut command, "ok");
    drop(command);
    // A connection that has its answer makes room for one that waits.
    for (slow, waiting) in slow.iter_mut().zip(&mut queued[..2]) {
        slow.write_all(&live[3..]).expect("open");
        assert!(answer(&mut driven, 3, slow));
        slow.shutdown(std::net::Shutdown::Both).expect("open");
        assert!(answer(&mut driven, 3, waiting));
        waiting.shutdown(std::net::Shutdown::Both).expect("open");
    }
    assert!(answer(&mut driven, 3, &mut queued[2]));
    queued[2].shutdown(std::net::Shutdown::Both).expect("open");
    assert!(!answer(&mut driven, 3, &mut late), "its listener stays");
    let mut last = connect(second, b"GET");
    until(&mut driven, 3, &mut |driven| driven.connections() == 13);
    // A client that waits at a listener which closes gets the place of an idle one of another.
    let mut further = connect(second, live);
    let third = set(&mut driven, &closing);
    assert!(answer(&mut driven, 4, &mut further));
    until(&mut driven, 4, &mut |_| {
        late.read(&mut [0]).is_ok_and(|read| read == 0)
    });
    assert!(!is_closed(&mut idle) && last.read(&mut [0]).is_err());
    further.shutdown(std::net::Shutdown::Both).expect("open");
    let listeners = |driven: &Driven| driven.admin.listeners.iter().flatten().count();
    until(&mut driven, 5, &mut |driven| listeners(driven) == 2);
    assert!(std::net::TcpStream::connect(second).is_err());
    assert!(std::net::TcpStream::connect(third).is_ok());
}

/// Sockets that another process may keep are not closed, and what becomes of them is its choice.
#[test]
fn a_closing_listener_stays_open_while_it_is_offered() {
    for kept in [Some(true), Some(false), None] {
        let mut driven = Driven::new(&format!("offered-{kept:?}"));
        let path = driven.path.clone();
        let registry = driven.poll.registry();
        let nowhere = AdminAccess::default();
        driven
            .admin
            .set(&nowhere, Vec::new(), registry)
            .expect("room");
        driven.admin.set_offered(true);
        assert_eq!(driven.admin.sockets().count(), 1, "it is offered");
        driven.run(at(1));
        let mut client = driven.connect();
        client.write_all(LIVE).expect("open");
        driven.run(at(1));
        let answer = read_until(&mut client, "ok");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        let mut waiting = driven.connect();
        waiting.write_all(LIVE).expect("open");
        let unused = [ListenAddress::Unix(path.clone()).to_string()];
        let registry = driven.poll.registry();
        match kept {
            Some(true) => driven.admin.leave(&[], registry),
            Some(false) => driven.admin.leave(&unused, registry),
            None => driven.admin.set_offered(false),
        }
        driven.run(at(2));
        assert_eq!(driven.admin.sockets().count(), 0);
        assert_eq!(path.exists(), kept == Some(true), "{kept:?}");
        if kept == Some(true) {
            std::fs::remove_file(path).expect("its file stays");
        } else {
            read_until(&mut waiting, "ok");
        }
        assert!(!driven.admin.is_closing());
    }
}

/// A process does not end before a client of a listener that it left has its answer.
#[test]
fn who_was_accepted_before_a_listener_closed_is_awaited() {
    let mut driven = Driven::new("awaited");
    let mut client = driven.connect();
    client.write_all(&LIVE[..9]).expect("open");
    driven.run(at(1));
    assert!(!driven.admin.is_closing(), "its listener stays");
    let registry = driven.poll.registry();
    driven.admin.leave(&[], registry);
    driven.run(at(2));
    assert!(driven.admin.is_closing());
    client.write_all(&LIVE[9..]).expect("open");
    driven.run(at(3));
    assert!(!driven.admin.is_closing());
    read_until(&mut client, "ok");
    std::fs::remove_file(&driven.path).expect("its file stays");
}

/// The whole answer to a GET on a connection that closes.
fn got(driven: &mut Driven, state_of: &GatewayState<'_>, head: &str) -> String {
    let mut client = driven.connect();
    client
        .write_all(format!("GET {head}\r\n\r\n").as_bytes())
        .expect("open");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).expect("no timeout");
        String::from_utf8(bytes).expect("text")
    });
    while !reader.is_finished() {
        let mut events = mio::Events::with_capacity(64);
        let wait = Some(std::time::Duration::from_millis(5));
        driven.poll.poll(&mut events, wait).expect("epoll");
        events
            .iter()
            .for_each(|event| driven.admin.record_event(event));
        let registry = driven.poll.registry();
        driven
            .admin
            .serve(state_of, registry, at(1), UnixTime::default());
    }
    reader.join().expect("an answer")
}

/// The body of a chunked answer.
fn dechunked(answer: &str) -> String {
    let (head, mut rest) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("\r\nTransfer-Encoding: chunked"), "{head}");
    let mut body = String::new();
    loop {
        let (size, behind) = rest.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        let (data, behind) = behind.split_at(size);
        body.push_str(data);
        rest = behind.strip_prefix("\r\n").expect("a line end");
        if size == 0 {
            assert_eq!(rest, "");
            return body;
        }
    }
}

#[test]
fn documents_have_a_length_or_come_in_chunks() {
    let mut driven = Driven::new("documents");
    let one = state(Progress::Running);
    let text = got(
        &mut driven,
        &one,
        "/metrics HTTP/1.1\r\nHost: a\r\nConnection: close",
    );
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
        "{head}"
    );
    assert!(
        body.contains("\ntollgate_config_reloads_total 3\n"),
        "{body}"
    );
    assert!(
        body.contains("\ntollgate_loop_turn_max_seconds 0.007\n"),
        "{body}"
    );
    assert!(
        body.contains("\nprocess_start_time_seconds 1.000\n"),
        "{body}"
    );
    let accept = "/metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: text/plain;q=0.3, application/openmetrics-text; version=1.0.0";
    let text = got(&mut driven, &one, accept);
    assert!(
        text.contains(
            "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("\n# EOF\n"));
    let many = GatewayState {
        proxy: engine(2000),
        ..state(Progress::Running)
    };
    for (path, last) in [
        (
            "/metrics",
            "check_failures_total{service=\"/999\",target=\"127.0.0.1:9\",address=\"127.0.0.1:9\"} 0\n",
        ),
        ("/state.json", "\"recent\":[]}\n"),
    ] {
        let head = |version| format!("{path} HTTP/{version}\r\nHost: a\r\nConnection: close");
        let chunked = dechunked(&got(&mut driven, &many, &head("1.1")));
        assert!(chunked.ends_with(last), "{path}: {}", chunked.len());
        let old = got(&mut driven, &many, &head("1.0"));
        assert!(!old.contains("Transfer-Encoding") && old.ends_with(last));
        let is_json = path == "/state.json";
        if is_json {
            let read = Json::parse(chunked.as_bytes()).expect("JSON");
            for list in ["services", "targets"] {
                let Some(Json::List(items)) = read.get(list) else {
                    panic!("no {list}");
                };
                assert_eq!(items.len(), 2000);
            }
            let path = read.get("config").and_then(|config| config.get("path"));
            assert_eq!(path.and_then(Json::text), Some("t.json"));
        }
    }
}

/// Each number that the event loop knows is in the metrics, under its labels.
#[test]
fn the_numbers_of_the_process_have_their_series() {
    let mut known = facts();
    known.config.errors = Some("t.json:1:2: wrong".to_owned());
    known.certificates = vec![("a \"b\".pem".to_owned(), UnixTime::from_millis(9500))];
    known.listeners = vec![ListenerFacts {
        serial: 1,
        address: "unix:/a\\b".to_owned(),
        open: OpenConnections {
            active: 1,
            idle: 2,
            handshake: 3,
        },
        counters: ListenerCounters {
            accepted: 20,
            refused: [4, 5, 6, 7, 12],
            handshakes: [[8, 0], [9, 10]],
            failed_handshakes: 11,
        },
    }];
    let mut text = Vec::new();
    metrics::write(&known, Format::Text, &mut text);
    let text = String::from_utf8(text).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let (of_process, own): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("process_"));
    let listener = r#"listener="unix:/a\\b""#;
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        format!("build_info{{version=\"{version}\"}} 1"),
        "config_last_reload_successful 0".to_owned(),
        "config_last_reload_success_timestamp_seconds 1.500".to_owned(),
        "config_reloads_total 3".to_owned(),
        "log_lines_dropped_total 4".to_owned(),
        "loop_turn_max_seconds 0.007".to_owned(),
        "memory_bound_bytes 5".to_owned(),
        format!("connections{{{listener},state=\"active\"}} 1"),
        format!("connections{{{listener},state=\"idle\"}} 2"),
        format!("connections{{{listener},state=\"handshake\"}} 3"),
        format!("connections_total{{{listener}}} 20"),
        format!("connections_refused_total{{{listener},reason=\"full\"}} 4"),
        format!("connections_refused_total{{{listener},reason=\"client_share\"}} 5"),
        format!("connections_refused_total{{{listener},reason=\"denied\"}} 6"),
        format!("connections_refused_total{{{listener},reason=\"proxy_header\"}} 7"),
        format!("connections_refused_total{{{listener},reason=\"certificate\"}} 12"),
        format!("tls_handshakes_total{{{listener},version=\"1.2\",resumed=\"false\"}} 8"),
        format!("tls_handshakes_total{{{listener},version=\"1.3\",resumed=\"false\"}} 9"),
        format!("tls_handshakes_total{{{listener},version=\"1.3\",resumed=\"true\"}} 10"),
        format!("tls_handshake_failures_total{{{listener}}} 11"),
        r#"certificate_expiry_timestamp_seconds{name="a \"b\".pem"} 9.500"#.to_owned(),
    ];
    let expected = expected.map(|line| format!("tollgate_{line}"));
    assert_eq!(own, expected, "{text}");
    let names = of_process.iter().filter_map(|line| line.split_once(' '));
    let found = names.map(|(name, value)| (name, value.parse::<f64>().is_ok_and(|it| it > 0.0)));
    // The processor time may still be 0.
    let found = found.skip(1).collect::<Vec<_>>();
    let expected = [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    ];
    assert_eq!(found, expected.map(|name| (name, true)), "{text}");
}

#[test]
fn the_state_has_the_process_its_listeners_and_certificates() {
    let mut driven = Driven::new("state");
    let shown = GatewayState {
        facts: &|| {
            let mut facts = facts();
            facts.config.errors = Some("t.json:1:1: \"wrong\"".to_owned());
            facts.certificates =
                vec![("site.pem".to_owned(), UnixTime::from_millis(3 * 86_400_000))];
            facts.listeners = vec![ListenerFacts {
                serial: 1,
                address: "127.0.0.1:5000".to_owned(),
                open: OpenConnections {
                    active: 2,
                    idle: 3,
                    handshake: 4,
                },
                counters: ListenerCounters {
                    accepted: 9,
                    failed_handshakes: 1,
                    ..Default::default()
                },
            }];
            facts
        },
        ..state(Progress::Running)
    };
    let head = "/state.json HTTP/1.1\r\nHost: a\r\nConnection: close";
    let text = got(&mut driven, &shown, head);
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let expect = |path: &str, value: serde_json::Value| {
        assert_eq!(body.pointer(path), Some(&value), "{path}: {body}");
    };
    expect("/version", env!("CARGO_PKG_VERSION").into());
    expect("/pid", std::process::id().into());
    expect("/uptime", 1.into());
    expect("/config/path", "t.json".into());
    expect("/config/readAt", "1970-01-01T00:00:01Z".into());
    expect("/config/lastError", "t.json:1:1: \"wrong\"".into());
    expect("/loop/longestTurnMs", 7.into());
    expect("/loop/turnsPerSecond", 0.5.into());
    expect("/memory/bound", 5.into());
    for counted in ["/memory/now", "/descriptors/used", "/descriptors/limit"] {
        let number = body.pointer(counted).and_then(serde_json::Value::as_u64);
        assert!(number.is_some_and(|number| number > 2), "{counted}: {body}");
    }
    for (column, number) in [
        ("active", 2),
        ("idle", 3),
        ("handshake", 4),
        ("accepted", 9),
        ("failedHandshakes", 1),
    ] {
        expect(&format!("/listeners/0/{column}"), number.into());
    }
    expect("/listeners/0/listener", "127.0.0.1:5000".into());
    expect("/certificates/0/name", "site.pem".into());
    expect("/certificates/0/daysLeft", 2.into());
    expect("/certificates/0/ends", "1970-01-04T00:00:00Z".into());
    for list in ["services", "targets", "providers", "recent"] {
        assert!(body[list].is_array(), "{list}: {body}");
    }
}

#[test]
fn the_page_is_small_and_escapes_what_it_shows() {
    let mut driven = Driven::new("page");
    let shown = GatewayState {
        facts: &|| {
            let mut failed = facts();
            failed.config.errors = Some("t.json:1:2: <script>alert('x')</script>".to_owned());
            failed
        },
        ..state(Progress::Running)
    };
    let text = got(
        &mut driven,
        &shown,
        "/ HTTP/1.1\r\nHost: a\r\nConnection: close",
    );
    assert!(text.len() <= 12 << 10, "{}", text.len());
    let policy = text
        .lines()
        .find_map(|line| line.strip_prefix("Content-Security-Policy: "))
        .expect("a policy");
    let inside = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).expect("it begins");
        rest.split_once(&format!("</{tag}>")).expect("it ends").0
    };
    assert!(!inside("script").is_empty() && !inside("style").is_empty());
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(text.contains("t.json:1:2: &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(!text.contains("role=\"alert\" hidden"));
    let text = got(
        &mut driven,
        &state(Progress::Running),
        "/ HTTP/1.1\r\nHost: a\r\nConnection: close",
    );
    assert!(text.contains("role=\"alert\" hidden"));
    assert!(
        text.contains("<td class=\"up\">up</td><td>/0</td>"),
        "{text}"
    );
}

/// Certificates that are ordered have rows in the state and on the page; the words of the authority are
/// escaped.
#[test]
fn orders_are_shown() {
    let mut driven = Driven::new("orders");
    let shown = GatewayState {
        facts: &|| {
            let mut facts = facts();
            facts.orders = vec![crate::acme::Row {
                names: vec![crate::acme::Identifier::parse("a.test").expect("a name")],
                file: "a.pem".to_owned(),
                not_after: None,
                next: Some(UnixTime::from_millis(86_400_000)),
                step: "waits after a failure",
                problem: Some("<b>\"no\"".to_owned()),
            }];
            facts
        },
        ..state(Progress::Running)
    };
    let mut get = |path: &str| {
        let head = format!("{path} HTTP/1.1\r\nHost: a\r\nConnection: close");
        got(&mut driven, &shown, &head)
    };
    let text = get("/state.json");
    let row = r#""orders":[{"names":"a.test","state":"waits after a failure","next":"1970-01-02T00:00:00Z","ends":null,"problem":"<b>\"no\""}]"#;
    assert!(text.contains(row), "{text}");
    let text = get("/");
    assert!(
        text.contains("<td>a.test</td>") && text.contains("&lt;b&gt;"),
        "{text}"
    );
}

/// The page stays small whatever there is to show, and says what it leaves out. A section without
/// rows is hidden.
#[test]
fn the_page_stays_small_with_many_rows() {
    let mut driven = Driven::new("many");
    let shown = GatewayState {
        proxy: engine(1000),
        facts: &|| {
            let mut many = facts();
            let one = many.certificates.first().cloned();
            let one = one.unwrap_or(("site.pem".to_owned(), UnixTime::from_millis(0)));
            many.certificates = vec![one; 500];
            many.config.errors = Some("t.json:1:2: wrong\n".repeat(2000));
            many
        },
        ..state(Progress::Running)
    };
    let text = got(
        &mut driven,
        &shown,
        "/ HTTP/1.1\r\nHost: a\r\nConnection: close",
    );
    assert!(text.len() <= 12 << 10, "{}", text.len());
    assert!(text.contains("\r\nContent-Length: ") && text.ends_with("</body></html>\n"));
    let rows = |name: &str| {
        let (_, section) = text.split_once(&format!("<h2 id=\"{name}\">")).expect(name);
        let (section, _) = section.split_once("</section>").expect(name);
        let shown = section.matches("<tr><td").count();
        let more = section.split_once(">and ").map(|(_, rest)| rest);
        let more = more.and_then(|rest| rest.split_once(" more, see <a"));
        (
            shown,
            more.and_then(|(count, _)| count.parse::<usize>().ok()),
        )
    };
    for (name, total) in [("targets", 1000), ("services", 1000), ("certificates", 500)] {
        let (shown, more) = rows(name);
        assert!(shown > 0, "{name}: {text}");
        assert_eq!(more.map(|more| more + shown), Some(total), "{name}");
    }
    assert!(
        text.contains("<section hidden><h2 id=\"recent\">"),
        "{text}"
    );
    assert!(text.contains("<section><h2 id=\"services\">"));
}

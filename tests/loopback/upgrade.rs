//! Upgrades by SIGUSR2: a new process takes over the sockets, and the old one serves its clients to
//! their end.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::announced::{REQUEST, VERSION_1, proxied, say};
use super::world::*;

/// Gateway whose binary may be replaced, and the processes that followed it.
///
/// Another process, `cp`, writes each file that is executed. A child that another thread of this one
/// forks has all its files open until it runs a program, and the kernel executes none that is open
/// for writing.
struct Upgraded {
    gateway: Gateway,
    binary: PathBuf,
    pids: Vec<u32>,
}

impl Upgraded {
    fn start(config: &str, variables: &[(&str, String)]) -> Upgraded {
        let folder = Folder::new();
        let binary = folder.0.join("gateway");
        let copied = Command::new("cp").arg(TOLLGATE).arg(&binary).status();
        assert!(copied.expect("cp runs").success());
        let text = |port| {
            config.replacen('{', &format!("{{ \"listen\": [\"127.0.0.1:{port}\", \"unix:FOLDER/gate.sock\"], \"admin\": \"unix:FOLDER/admin.sock\","), 1)
        };
        let inside = folder.0.display().to_string();
        let gateway = Gateway::start_in(
            folder,
            |port| text(port).replace("FOLDER", &inside),
            |command| {
                let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
                *command = Command::new(&binary);
                command
                    .args(arguments)
                    .env_remove("PORT")
                    .envs(variables.iter().map(|(name, value)| (name, value)))
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
            },
        );
        let pids = vec![gateway.child.id()];
        Upgraded {
            gateway,
            binary,
            pids,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.pids.last().expect("one").to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Upgrades, and waits until the new process serves.
    #[track_caller]
    fn upgrade(&mut self) {
        self.signal("USR2");
        self.follow();
    }

    /// Waits until the next process serves.
    #[track_caller]
    fn follow(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.gateway.stderr.text();
            let mut lines = text
                .lines()
                .filter(|line| line.contains("serves new clients"));
            if let Some(line) = lines.nth(self.pids.len() - 1) {
                let pid = line.split("process ").nth(1).expect("a pid");
                let pid = pid.split(' ').next().expect("a pid");
                return self.pids.push(pid.parse().expect("a number"));
            }
            assert!(Instant::now() < deadline, "no upgrade: {text}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Replaces the binary with a script.
    fn replace(&self, script: &str, mode: u32) {
        // The file of a running program cannot be written, but another file can take its name.
        let [text, fresh] = ["text", "new"].map(|end| self.binary.with_extension(end));
        fs::write(&text, script).expect("a file");
        let copied = Command::new("cp").args([&text, &fresh]).status();
        assert!(copied.expect("cp runs").success());
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).expect("a mode");
        fs::rename(&fresh, &self.binary).expect("replaced");
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        for pid in &self.pids[1..] {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
        }
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(state.rsplit(") ").next(), None | Some("")) && !state.contains(") Z")
}

/// Returns true if a thread of a process sleeps.
fn sleeps(pid: u32, thread: &str) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    tasks.flatten().any(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.contains(&format!("({thread}) S"))
    })
}

#[test]
fn fifty_upgrades_refuse_and_cut_no_client() {
    let origin = Origin::polite();
    let config =
        "\"rateLimit\": false, \"accessLog\": \"off\", \"timeouts\": { \"shutdown\": \"10s\" },";
    let mut gateway = Upgraded::start(&origin.config(config), &[]);
    let address = gateway.gateway.address;
    let (done, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    // One client opens a connection for each request. The others keep their connections until the
    // gateway announces the end.
    let clients = (0..4).map(|index| {
        let (done, count) = (Arc::clone(&done), Arc::clone(&count));
        thread::spawn(move || {
            let mut client = Client::to(address);
            while !done.load(Ordering::Relaxed) {
                client.send(GET);
                let answer = client.read_until("\r\n\r\nhi");
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                count.fetch_add(1, Ordering::Relaxed);
                if answer.contains("Connection: close") || index == 0 {
                    client = Client::to(address);
                }
                thread::sleep(Duration::from_millis(index * 3));
            }
        })
    });
    let clients = clients.collect::<Vec<_>>();
    for _ in 0..50 {
        let before = count.load(Ordering::Relaxed);
        gateway.upgrade();
        until("requests go on", || {
            count.load(Ordering::Relaxed) >= before + 4
        });
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
    assert_eq!(gateway.pids.len(), 51);
    assert_eq!(gateway.gateway.wait(), Some(0), "the first one ends");
}

/// The address stays, and the file of the new process says whose connections begin with a header of
/// the PROXY protocol.
#[test]
fn a_new_process_has_the_balancers_of_its_file() {
    let origin = Origin::polite();
    let mut gateway = Upgraded::start(&origin.config("\"rateLimit\": false,"), &[]);
    let address = gateway.gateway.address;
    let announced = [VERSION_1, REQUEST.as_bytes()].concat();
    for (list, takes, refuses) in [
        ("\"127.0.0.1\"", &announced[..], REQUEST.as_bytes()),
        ("\"10.0.0.0/8\"", REQUEST.as_bytes(), &announced[..]),
    ] {
        let file = gateway.gateway.folder.0.join("tollgate.json");
        fs::write(file, proxied(&origin, address, list)).expect("the file is ours");
        gateway.upgrade();
        let answer = say(address, &[takes]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{list}: {answer:?}");
        let answer = say(address, &[refuses]);
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{list}: {answer:?}");
    }
}

#[test]
fn the_old_process_serves_its_clients_until_the_grace_time() {
    let origin = Origin::start(|mut client| {
        let Some(head) = read_head(&mut client) else {
            return;
        };
        if !head.contains("websocket") {
            return client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
        client.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let mut bytes = [0; 64];
        while let Ok(length @ 1..) = client.0.read(&mut bytes) {
            client.send(&bytes[..length]);
        }
    });
    let config = "\"rateLimit\": false, \"timeouts\": { \"shutdown\": \"2s\" },";
    let mut gateway = Upgraded::start(&origin.config(config), &[]);
    let mut idle = gateway.gateway.connect();
    idle.send(GET);
    assert!(!idle.read_until("\r\n\r\nhi").contains("Connection: close"));
    let mut silent = gateway.gateway.connect();
    silent.send(GET);
    silent.read_until("\r\n\r\nhi");
    let mut tunnel = gateway.gateway.connect();
    tunnel
        .send("GET /a HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n");
    let switched = tunnel.read_until("\r\n\r\n");
    assert!(switched.starts_with("HTTP/1.1 101 "), "{switched}");
    tunnel.send("ping");
    tunnel.read_until("ping");
    let upgraded = Instant::now();
    gateway.upgrade();
    idle.send(GET);
    let last = idle.read_until("\r\n\r\nhi");
    assert!(last.contains("Connection: close\r\n"), "{last}");
    tunnel.send("still here");
    tunnel.read_until("still here");
    assert!(is_alive(gateway.pids[0]), "for the sake of the tunnel");
    let folder = gateway.gateway.folder.0.clone();
    let mut bytes = Vec::new();
    let _ = tunnel.0.read_to_end(&mut bytes);
    assert_eq!(
        silent.read_to_end(),
        "",
        "it could have sent a request until now"
    );
    assert!(
        upgraded.elapsed() >= Duration::from_millis(1900),
        "too early"
    );
    assert_eq!(gateway.gateway.wait(), Some(0));
    // Files of unix sockets now belong to the new process.
    for name in ["gate.sock", "admin.sock"] {
        UnixStream::connect(folder.join(name)).expect("it listens");
    }
    gateway.signal("TERM");
    until("the new process removes its files", || {
        !folder.join("gate.sock").exists() && !folder.join("admin.sock").exists()
    });
}

const SOCKET: &str = "GET /socket HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n";

/// Upstream with a stream that has no end, a WebSocket that says nothing, and answers that come when
/// the test says so.
fn patient_origin() -> (Origin, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let may_answer = Arc::clone(&go);
    let origin = Origin::start(move |mut client| {
        let Some(head) = read_head(&mut client) else {
            return;
        };
        if head.starts_with("GET /socket ") {
            client.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            let _ = client.0.read(&mut [0]);
        } else if head.starts_with("GET /stream ") {
            client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while client.0.write_all(b"6\r\npiece\n\r\n").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        } else {
            if head.starts_with("POST ") {
                client.read_until("end of the body");
            }
            until("the test goes on", || may_answer.load(Ordering::Relaxed));
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    (origin, go)
}

/// Opens a connection and sends a request. Waits for the begin of the response.
#[track_caller]
fn begun(gateway: &Gateway, request: &str, begin: &str) -> Client {
    let mut client = gateway.connect();
    client.send(request);
    client.read_until(begin);
    client
}

/// A request has deadlines of its own, so that the grace time is not for it.
#[test]
fn the_old_process_waits_for_requests_beyond_the_grace_time() {
    let (origin, go) = patient_origin();
    let config = origin.config("\"rateLimit\": false, \"timeouts\": { \"shutdown\": \"1s\" },");
    let config = config.replace("\"/a\"", "\"/\"");
    let mut gateway = Upgraded::start(&config, &[]);
    // Clients are accepted in order: this one is, when those behind it are served.
    let mut head = begun(&gateway.gateway, "GET /a HT", "");
    let mut tunnel = begun(&gateway.gateway, SOCKET, "\r\n\r\n");
    let mut stream = begun(
        &gateway.gateway,
        "GET /stream HTTP/1.1\r\nHost: gate\r\n\r\n",
        "piece\n",
    );
    let mut slow = begun(&gateway.gateway, GET, "");
    let upload = "POST /a HTTP/1.1\r\nHost: gate\r\nContent-Length: 100015\r\n\r\n";
    let mut upload = begun(&gateway.gateway, upload, "");
    upload.send("x".repeat(50_000));
    until("all are at the upstream", || {
        origin.connections.load(Ordering::Relaxed) == 4
    });
    gateway.upgrade();
    gateway
        .gateway
        .stderr
        .expect("the grace time is over: cut WebSockets: 1, requests that go on: 4");
    let _ = tunnel.0.read_to_end(&mut Vec::new());
    upload.send("x".repeat(50_000) + "end of the body");
    head.send("TP/1.1\r\nHost: gate\r\n\r\n");
    go.store(true, Ordering::Relaxed);
    for client in [&mut slow, &mut upload, &mut head] {
        let answer = client.read_to_end();
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhi"),
            "{answer:?}"
        );
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
    }
    stream.read_until("piece\n");
    assert!(is_alive(gateway.pids[0]), "for the sake of the stream");
    drop(stream);
    assert_eq!(gateway.gateway.wait(), Some(0));
    let text = gateway.gateway.stderr.text();
    assert!(!text.contains("connections are cut"), "{text}");
}

/// When requests alone are left, and while all clients have time.
#[test]
fn a_signal_stops_the_old_process_of_an_upgrade() {
    for (grace, is_late) in [("2s", true), ("1h", false)] {
        let (origin, _) = patient_origin();
        let keys = format!("\"rateLimit\": false, \"timeouts\": {{ \"shutdown\": \"{grace}\" }},");
        let config = origin.config(&keys).replace("\"/a\"", "\"/\"");
        let mut gateway = Upgraded::start(&config, &[]);
        let mut idle = gateway.gateway.connect();
        let stream = "GET /stream HTTP/1.1\r\nHost: gate\r\n\r\n";
        let mut stream = begun(&gateway.gateway, stream, "piece\n");
        gateway.upgrade();
        let stderr = &gateway.gateway.stderr;
        if is_late {
            stderr.expect("cut WebSockets: 0, requests that go on: 1");
            assert_eq!(idle.read_to_end(), "", "with the grace time");
        }
        gateway.gateway.signal("TERM");
        stderr.expect("SIGTERM: finishing what is in flight");
        stream.read_until("piece\n");
        let (code, line) = if is_late {
            (0, "1 connections are cut: the grace time is over")
        } else {
            assert_eq!(idle.read_to_end(), "", "at once");
            gateway.gateway.signal("TERM");
            (130, "second SIGTERM: stopping at once")
        };
        stderr.expect(line);
        assert_eq!(gateway.gateway.wait(), Some(code), "{grace}");
        let address = gateway.gateway.address;
        Client::to(address).send("the new process listens");
    }
}

/// With `watch` the new process alone looks at the file, however long the old one stays.
#[test]
fn the_old_process_of_an_upgrade_reads_no_file() {
    let (origin, _) = patient_origin();
    let config = origin.config("\"rateLimit\": false, \"watch\": true,");
    let mut gateway = Upgraded::start(&config.replace("\"/a\"", "\"/\""), &[]);
    let stream = "GET /stream HTTP/1.1\r\nHost: gate\r\n\r\n";
    let mut stream = begun(&gateway.gateway, stream, "piece\n");
    gateway.upgrade();
    let file = gateway.gateway.folder.0.join("tollgate.json");
    let text = fs::read_to_string(&file).expect("a file");
    let stderr = &gateway.gateway.stderr;
    // Both would look every two seconds: when the second change is seen, the first was by both.
    for (number, value) in [(1, "true"), (2, "false")] {
        let keys = format!("\"watch\": true, \"halfClose\": {value}");
        fs::write(&file, text.replace("\"watch\": true", &keys)).expect("written");
        until("the change is seen", || {
            stderr.text().matches("configuration read").count() == number
        });
    }
    stream.read_until("piece\n");
    let said = stderr.text();
    assert!(!said.contains("no configuration is read"), "{said}");
}

#[test]
fn a_broken_binary_changes_nothing() {
    let origin = Origin::polite();
    let mut gateway = Upgraded::start(&origin.config("\"rateLimit\": false,"), &[]);
    let mut idle = gateway.gateway.connect();
    for (number, (script, mode, wanted)) in [
        (
            "#!/bin/sh\nexit 7\n",
            0o755,
            "ended before it was ready (exit status: 7)",
        ),
        ("#!/bin/sh\nexit 7\n", 0o644, "Permission denied"),
        (
            "#!/bin/sh\nprintf x >&0\nexec sleep 60\n",
            0o755,
            "ended before it was ready",
        ),
        ("no program\n", 0o755, "Exec format error"),
        (
            "#!/bin/sh\nexec sleep 60\n",
            0o755,
            "was not ready within 10 s and was killed",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        gateway.replace(script, mode);
        gateway.signal("USR2");
        until("the old process goes on", || {
            let text = gateway.gateway.stderr.text();
            text.matches("; this process goes on").count() > number
        });
        let text = gateway.gateway.stderr.expect(wanted);
        let line = text.lines().find(|line| line.contains(wanted));
        let line = line.expect("a line");
        assert!(
            line.contains("no upgrade: ") && line.contains("gateway: "),
            "{line}"
        );
        assert!(line.ends_with("; this process goes on"), "{line}");
        idle.send(GET);
        assert!(!idle.read_until("\r\n\r\nhi").contains("Connection: close"));
    }
    // A good binary and an invalid file: the new process reports the error.
    fs::remove_file(&gateway.binary).expect("a file");
    fs::copy(TOLLGATE, &gateway.binary).expect("a copy");
    let file = gateway.gateway.folder.0.join("tollgate.json");
    let good = fs::read_to_string(&file).expect("a file");
    fs::write(&file, "{ \"services\": 1 }").expect("written");
    gateway.signal("USR2");
    gateway.gateway.stderr.expect("services: 1 must be a list");
    gateway
        .gateway
        .stderr
        .expect("ended before it was ready (exit status: 1)");
    for name in ["gate.sock", "admin.sock"] {
        let path = gateway.gateway.folder.0.join(name);
        UnixStream::connect(path).expect("the old process listens");
    }
    fs::write(&file, good).expect("written");
    gateway.upgrade();
    assert!(gateway.gateway.get("/a").ends_with("hi"));
}

#[test]
fn a_service_manager_is_told_of_the_new_process() {
    let folder = Folder::new();
    let path = folder.0.join("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a fresh path");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let next = || {
        let mut bytes = [0; 128];
        let length = manager.recv(&mut bytes).expect("a datagram in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let variables = [("NOTIFY_SOCKET", path.display().to_string())];
    let mut gateway = Upgraded::start(&Origin::polite().config(""), &variables);
    assert_eq!(next(), "READY=1");
    assert_eq!(next(), "STATUS=1 service, 1 of 1 target up");
    gateway.upgrade();
    assert_eq!(next(), format!("MAINPID={}", gateway.pids[1]));
    assert_eq!(next(), "READY=1", "after the main process is known");
    assert_eq!(next(), "STATUS=1 service, 1 of 1 target up");
    gateway.signal("TERM");
    assert_eq!(next(), "STOPPING=1", "only the stop is reported");
}

#[test]
fn a_log_level_that_holds_for_a_while_goes_along() {
    let mut gateway = Upgraded::start(&Origin::polite().config(""), &[]);
    let said = |gateway: &Upgraded, text: &str| gateway.gateway.stderr.text().matches(text).count();
    let (debug, carried) = (
        "the new process can take ",
        "taken over from the old process: the log level is debug for ",
    );
    gateway.upgrade();
    assert_eq!((said(&gateway, debug), said(&gateway, carried)), (0, 0));
    let (code, text) = tollgate(&gateway.gateway, &["log", "debug", "--for", "1h"]);
    assert_eq!(code, Some(0), "{text}");
    for number in 1..=2 {
        gateway.upgrade();
        // The process that upgrades says at the level debug how many sockets it offers.
        assert_eq!(said(&gateway, debug), number);
        until("the level is not taken over", || {
            said(&gateway, carried) == number
        });
    }
    let (code, text) = tollgate(&gateway.gateway, &["log", "info", "--for", "1ms"]);
    assert_eq!(code, Some(0), "{text}");
    gateway.gateway.stderr.expect("the log level is info again");
    gateway.upgrade();
    assert_eq!((said(&gateway, debug), said(&gateway, carried)), (2, 2));
}

#[test]
fn a_mark_without_an_old_process_is_an_error() {
    let mut child = Command::new(TOLLGATE)
        .args(["--config", "/dev/stdin"])
        .env("TOLLGATE_UPGRADE", "1")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("piped");
    // It may have ended: what it inherits is looked at before its configuration.
    let _ = input
        .write_all(b"{ \"services\": [ { \"route\": \"/\", \"target\": \"http://127.0.0.1\" } ] }");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("TOLLGATE_UPGRADE is set, and the input is not an old tollgate"),
        "{text}"
    );
}

/// Runs a command beside the gateway's file.
fn tollgate(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(TOLLGATE)
        .args(args)
        .current_dir(&gateway.folder.0)
        .env_remove("PORT")
        .output()
        .expect("the binary runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn the_command_waits_for_the_new_process_and_says_what_went_wrong() {
    let origin = Origin::polite();
    let mut gateway = Upgraded::start(&origin.config("\"rateLimit\": false,"), &[]);
    let (code, text) = tollgate(&gateway.gateway, &["upgrade"]);
    assert_eq!(code, Some(0), "{text}");
    let pid = text.strip_prefix("process ").expect(&text);
    let pid = pid.strip_suffix(" serves new clients\n").expect(&text);
    gateway.pids.push(pid.parse().expect("a number"));
    assert_eq!(gateway.gateway.wait(), Some(0), "the old one ends");
    assert!(gateway.gateway.get("/a").ends_with("hi"));
    // A new binary that fails.
    gateway.replace("#!/bin/sh\nexit 7\n", 0o755);
    let (code, text) = tollgate(&gateway.gateway, &["upgrade"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("ended before it was ready (exit status: 7)"),
        "{text}"
    );
    // A failed upgrade lets the reload that waits begin.
    let go = gateway.gateway.folder.0.join("go");
    let waits = |then: &str| {
        format!(
            "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\n{then}\n",
            go.display()
        )
    };
    let begun = || {
        gateway
            .gateway
            .stderr
            .text()
            .matches("starting the new binary")
            .count()
    };
    let file = gateway.gateway.folder.0.join("tollgate.json");
    let config = fs::read_to_string(&file).expect("a file");
    gateway.replace(&waits("exit 7"), 0o755);
    gateway.signal("USR2");
    until("it begins", || begun() == 3);
    fs::write(&file, config.replacen('{', "{ \"nonsense\": 1,", 1)).expect("written");
    gateway.signal("HUP");
    let postponed = "the reload begins when the upgrade has ended";
    gateway.gateway.stderr.expect(postponed);
    fs::write(&go, "").expect("a file");
    gateway.gateway.stderr.expect("nonsense: unknown key");
    gateway
        .gateway
        .stderr
        .expect("the running configuration is still the one of");
    fs::write(&file, &config).expect("written");
    fs::remove_file(&go).expect("a file");
    // One that takes its time: meanwhile there is no second upgrade.
    gateway.replace(&waits(&format!("exec {TOLLGATE} \"$@\"")), 0o755);
    gateway.signal("USR2");
    until("it begins", || begun() == 4);
    let (code, text) = tollgate(&gateway.gateway, &["upgrade"]);
    assert_eq!(
        (code, text.as_str()),
        (
            Some(1),
            "an upgrade is running; try again when it is done\n"
        )
    );
    gateway.signal("USR2");
    gateway
        .gateway
        .stderr
        .expect("SIGUSR2: an upgrade is under way already");
    // A reload waits, and the new process does it.
    gateway.signal("HUP");
    until("it waits", || {
        gateway.gateway.stderr.text().matches(postponed).count() == 2
    });
    fs::write(&go, "").expect("a file");
    gateway
        .gateway
        .stderr
        .expect("configuration read: 0 services added");
    let text = gateway.gateway.stderr.text();
    let pid = text
        .lines()
        .rfind(|line| line.contains("serves new clients"));
    let pid = pid
        .and_then(|line| line.split("process ").nth(1))
        .expect("a pid");
    let pid = pid.split(' ').next().expect("a pid");
    gateway.pids.push(pid.parse().expect("a number"));
    assert!(gateway.gateway.get("/a").ends_with("hi"));
}

#[test]
fn a_stop_ends_an_upgrade_and_its_new_process() {
    let origin = Origin::polite();
    let mut gateway = Upgraded::start(&origin.config("\"rateLimit\": false,"), &[]);
    let go = gateway.gateway.folder.0.join("go");
    let pid = gateway.gateway.folder.0.join("pid");
    let waits = format!(
        "#!/bin/sh\necho $$ > {}\nwhile [ ! -e {} ]; do sleep 0.02; done\nexec {TOLLGATE} \"$@\"\n",
        pid.display(),
        go.display()
    );
    gateway.replace(&waits, 0o755);
    gateway.signal("USR2");
    let read = || fs::read_to_string(&pid).unwrap_or_default();
    until("it begins", || read().ends_with('\n'));
    gateway.signal("TERM");
    assert_eq!(gateway.gateway.wait(), Some(0));
    fs::write(&go, "").expect("a file");
    let pid = read().trim().parse().expect("a pid");
    gateway.pids.push(pid);
    until("the new process ends", || !is_alive(pid));
    let text = gateway.gateway.stderr.whole();
    assert!(!text.contains("serves new clients"), "{text}");
    let address = gateway.gateway.address;
    assert!(std::net::TcpStream::connect(address).is_err(), "{text}");
}

#[test]
fn rate_windows_and_health_go_along() {
    let origin = Origin::polite();
    // A port that answers no check: its backlog is its own.
    let dead = free_port();
    let config = format!(
        "{{ \"rateLimit\": {{ \"requests\": 3, \"window\": \"600s\" }}, \"services\": [ {{ \"route\": \"/a\", \"targets\": [ \"http://{}\", \
         \"http://127.0.0.1:{dead}\" ], \"rateLimit\": false, \"retries\": 0, \"passiveHealth\": false, \"healthCheck\": {{ \"path\": \"/\", \
         \"interval\": \"600s\", \"fall\": 1 }} }} ] }}",
        origin.address
    );
    let mut gateway = Upgraded::start(&config, &[]);
    gateway.gateway.stderr.expect("is down");
    let status = |gateway: &Upgraded, path| gateway.gateway.get(path)[9..12].to_owned();
    for wanted in ["404", "404", "404", "429"] {
        assert_eq!(status(&gateway, "/other"), wanted);
    }
    for round in 1..4 {
        gateway.upgrade();
        gateway
            .gateway
            .stderr
            .expect("rate windows of 1 clients, health of 1 addresses");
        assert_eq!(status(&gateway, "/other"), "429", "round {round}");
        // Half of these would go to the target that is down.
        for _ in 0..6 {
            assert_eq!(status(&gateway, "/a"), "200", "round {round}");
        }
    }
}

/// Clients of a unix socket that the kernel has queued.
fn queue_at(path: &std::path::Path, head: &str, count: usize) -> Vec<UnixStream> {
    let client = |_| {
        let mut client = UnixStream::connect(path).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client.write_all(head.as_bytes()).expect("sent");
        client
    };
    (0..count).map(client).collect()
}

/// Reads the answers of clients, which all get one that ends so.
#[track_caller]
fn all_get<T: Read>(clients: impl IntoIterator<Item = T>, end: &str) {
    for mut client in clients {
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        assert!(read.is_ok() && answer.ends_with(end), "{read:?} {answer:?}");
    }
}

const CLOSING: &str = "GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n";

/// Clients that the kernel has queued.
fn queue(address: std::net::SocketAddr, count: usize) -> Vec<Client> {
    let client = |_| {
        let mut client = Client::to(address);
        client.send(CLOSING);
        client
    };
    (0..count).map(client).collect()
}

/// Clients of an address that the new file does not have any more: those that the kernel has queued are served.
#[test]
fn clients_that_wait_at_an_address_that_goes_are_served() {
    let origin = Origin::polite();
    let keys = "\"rateLimit\": false, \"logLevel\": \"debug\", \"accessLog\": \"off\", \"limits\": { \"connectionsPerClient\": 4096 },";
    for upgrades in [false, true] {
        let mut gateway = Upgraded::start(&origin.config(keys), &[]);
        let address = gateway.gateway.address;
        let file = gateway.gateway.folder.0.join("tollgate.json");
        let socket = gateway.gateway.folder.0.join("gate.sock");
        let go = gateway.gateway.folder.0.join("go");
        gateway.replace(
            &format!(
                "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\nexec {TOLLGATE} \"$@\"\n",
                go.display()
            ),
            0o755,
        );
        let config = fs::read_to_string(&file).expect("a file");
        let kept = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let other = config.replace(&address.to_string(), &kept.to_string());
        fs::write(&file, other.replace("gate.sock", "other.sock")).expect("written");
        if upgrades {
            // The new process is ready before the old one sees the clients, so that most of them
            // still wait when the old one leaves.
            gateway.signal("USR2");
            // The new process needs nothing of the old one until it is ready.
            gateway.gateway.stderr.expect("can take 3 sockets");
            gateway.signal("STOP");
            fs::write(&go, "").expect("a file");
            gateway.gateway.stderr.expect("other.sock\n");
        } else {
            gateway.signal("STOP");
        }
        let clients = queue(address, 400);
        if !upgrades {
            gateway.signal("HUP");
        }
        gateway.signal("CONT");
        for mut client in clients {
            let answer = client.read_to_end();
            assert!(answer.ends_with("hi"), "upgrades {upgrades}: {answer:?}");
        }
        if upgrades {
            gateway.follow();
            assert_eq!(gateway.gateway.wait(), Some(0), "the old one ends");
        }
        until("the address is free", || {
            std::net::TcpListener::bind(address).is_ok()
        });
        until("the file is gone", || !socket.exists());
        Client::to(kept);
        UnixStream::connect(gateway.gateway.folder.0.join("other.sock")).expect("it listens");
    }
}

/// The new process binds the port while the old one listens on another address of it.
#[test]
fn a_port_moves_to_all_addresses_at_an_upgrade() {
    let origin = Origin::polite();
    let mut gateway = Upgraded::start(&origin.config("\"rateLimit\": false,"), &[]);
    let address = gateway.gateway.address;
    let file = gateway.gateway.folder.0.join("tollgate.json");
    let config = fs::read_to_string(&file).expect("a file");
    let all = config.replace("127.0.0.1:", "0.0.0.0:");
    fs::write(
        &file,
        all.replace(
            &format!("0.0.0.0:{}", origin.address.port()),
            &origin.address.to_string(),
        ),
    )
    .expect("written");
    gateway.upgrade();
    let other = std::net::SocketAddr::from(([127, 0, 0, 2], address.port()));
    Client::to(other);
}

/// An upgrade begins while addresses drain. Whether the file of the new process has them again or not: each client
/// that came is served, and files of sockets stay or go.
#[test]
fn addresses_that_drain_are_offered_and_lose_no_client() {
    const ADMIN: &str = "GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let origin = Origin::polite();
    let keys = "\"rateLimit\": false, \"accessLog\": \"off\", \"limits\": { \"connectionsPerClient\": 4096 },";
    for returns in [true, false] {
        let mut gateway = Upgraded::start(&origin.config(keys), &[]);
        let address = gateway.gateway.address;
        let folder = gateway.gateway.folder.0.clone();
        let [file, gate, admin, started, go] =
            ["tollgate.json", "gate.sock", "admin.sock", "started", "go"]
                .map(|name| folder.join(name));
        gateway.replace(
            &format!(
                "#!/bin/sh\n: > {}\nwhile [ ! -e {} ]; do sleep 0.02; done\nexec {TOLLGATE} \"$@\"\n",
                started.display(),
                go.display()
            ),
            0o755,
        );
        let config = fs::read_to_string(&file).expect("a file");
        let kept = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let other = config.replace(&address.to_string(), &kept.to_string());
        let other = other.replace("gate.sock", "gate2.sock");
        let other = other.replace("admin.sock", "admin2.sock");
        // The reload ends when its text has come: then the upgrade begins, before any client is accepted.
        fs::remove_file(&file).expect("a file");
        let made = Command::new("mkfifo").arg(&file).status();
        assert!(made.expect("mkfifo runs").success());
        gateway.signal("HUP");
        let pipe = fs::OpenOptions::new().write(true).open(&file);
        gateway.signal("USR2");
        let postponed = "the upgrade begins when the reload has ended";
        gateway.gateway.stderr.expect(postponed);
        fs::remove_file(&file).expect("a pipe");
        fs::write(&file, if returns { &config } else { &other }).expect("written");
        let written = pipe.expect("a reader").write_all(other.as_bytes());
        written.expect("read");
        gateway.gateway.stderr.expect("starting the new binary");
        // Another process may keep the sockets, so that they serve.
        for _ in 0..3 {
            all_get(queue(address, 3).into_iter().map(|client| client.0), "hi");
            all_get(queue_at(&gate, CLOSING, 3), "hi");
            all_get(queue_at(&admin, ADMIN, 3), "ok");
        }
        // The new process does not wait for long, so its sockets are sent before the old one stops.
        until("the sockets are sent", || {
            started.exists() && sleeps(gateway.pids[0], "upgrade")
        });
        gateway.signal("STOP");
        let clients = queue(address, 200);
        let clients = clients.into_iter().map(|client| client.0);
        let locals = queue_at(&gate, CLOSING, 100);
        let admins = queue_at(&admin, ADMIN, 100);
        fs::write(&go, "").expect("a file");
        until("the new process is ready", || {
            gateway.gateway.stderr.text().matches("running on").count() >= 4
        });
        gateway.signal("CONT");
        all_get(clients, "hi");
        all_get(locals, "hi");
        all_get(admins, "ok");
        gateway.follow();
        assert_eq!(gateway.gateway.wait(), Some(0), "the old one ends");
        let (there, gone) = if returns {
            ([address, kept], ["gate.sock", "gate2.sock"])
        } else {
            ([kept, address], ["gate2.sock", "gate.sock"])
        };
        all_get(queue(there[0], 1).into_iter().map(|client| client.0), "hi");
        all_get(queue_at(&folder.join(gone[0]), CLOSING, 1), "hi");
        let admin = gone[0].replace("gate", "admin");
        all_get(queue_at(&folder.join(admin), ADMIN, 1), "ok");
        until("the address is free", || {
            std::net::TcpListener::bind(there[1]).is_ok()
        });
        let files = [gone[1].to_owned(), gone[1].replace("gate", "admin")];
        until("the files are gone", || {
            files.iter().all(|name| !folder.join(name).exists())
        });
    }
}

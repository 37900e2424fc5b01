//! Admin listener of the real binary, and the commands that use it.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::world::*;

/// Number of connections that the admin listener serves at once.
const CONNECTIONS: usize = tollgate::limits::ADMIN_CONNECTIONS;

/// Starts a gateway with an admin listener on `admin.sock` in its folder, and further keys.
fn start(origin: &Origin, more: &str) -> (Gateway, PathBuf) {
    let folder = Folder::new();
    let socket = folder.0.join("admin.sock");
    let config = |port| {
        origin.config(&format!(
            "\"listen\": \"127.0.0.1:{port}\", \"admin\": \"unix:{}\", {more}",
            socket.display()
        ))
    };
    let gateway = Gateway::start_in(folder, config, |command| command);
    (gateway, socket)
}

/// Runs a command in the folder of the gateway's file.
fn tollgate(folder: &Path, args: &[&str]) -> Output {
    Command::new(TOLLGATE)
        .args(args)
        .current_dir(folder)
        .env_remove("PORT")
        .output()
        .expect("the binary runs")
}

/// Returns exit code, stdout and stderr.
fn output_of(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn connect(socket: &Path) -> UnixStream {
    let client = UnixStream::connect(socket).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    client
}

/// Sends a request on a new connection, and returns the whole answer.
fn ask(socket: &Path, line: &str) -> String {
    let mut client = connect(socket);
    let request = format!("{line} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_socket_is_private_and_answers() {
    let origin = Origin::polite();
    let (mut gateway, socket) = start(&origin, "");
    gateway.stderr.expect(&format!(
        "the admin listener is on unix:{}",
        socket.display()
    ));
    let mode = std::fs::symlink_metadata(&socket).expect("the file").mode();
    assert_eq!(mode & 0o777, 0o600);
    let live = ask(&socket, "GET /live");
    assert!(
        live.starts_with("HTTP/1.1 200 OK\r\nDate: ") && live.ends_with("\r\n\r\nok"),
        "{live}"
    );
    for field in [
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ] {
        assert!(live.contains(&format!("\r\n{field}\r\n")), "{live}");
    }
    assert!(ask(&socket, "GET /ready?service=/a").ends_with("\r\n\r\nready"));
    assert!(ask(&socket, "GET /ready?service=/b").starts_with("HTTP/1.1 404 "));
    assert!(ask(&socket, "GET /reload").contains("\r\nAllow: POST\r\n"));
    // A service may have a path of the same name. The admin listener logs nothing.
    assert!(gateway.get("/live").starts_with("HTTP/1.1 404 "));
    gateway.stdout.expect("/live");
    assert_eq!(gateway.stdout.text().lines().count(), 1);
    let stopped = ask(&socket, "POST /stop");
    assert!(
        stopped.ends_with("\r\n\r\n{ \"state\": \"stopping\" }\n"),
        "{stopped}"
    );
    assert_eq!(gateway.wait(), Some(0));
    assert!(
        gateway
            .stderr
            .whole()
            .contains("POST /stop: finishing what is in flight")
    );
    assert!(!socket.exists(), "the socket's file is gone");
}

#[test]
fn a_service_is_ready_as_long_as_one_of_its_targets_is_up() {
    let origin = Origin::polite();
    let folder = Folder::new();
    let socket = folder.0.join("admin.sock");
    let checked = |route: &str, targets: &str| {
        format!(
            "{{ \"route\": \"{route}\", \"targets\": [{targets}], \"healthCheck\": {{ \"path\": \"/\", \"interval\": \"1s\", \"fall\": 1 }} }}"
        )
    };
    let (up, down) = (
        format!("\"http://{}\"", origin.address),
        format!("\"http://127.0.0.1:{}\"", free_port()),
    );
    let services = [
        checked("/half", &format!("{up}, {down}")),
        checked("/down", &down),
    ];
    let config = |port| {
        format!(
            "{{ \"listen\": \"127.0.0.1:{port}\", \"admin\": \"unix:{}\", \"services\": [{}] }}",
            socket.display(),
            services.join(", ")
        )
    };
    let _gateway = Gateway::start_in(folder, config, |command| command);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(&socket, "GET /ready?service=/down");
        if answer.starts_with("HTTP/1.1 503 ") {
            assert!(
                answer.contains("all targets of \"/down\" are down"),
                "{answer}"
            );
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let state = ask(&socket, "GET /state.json");
    assert!(state.contains("\"state\":\"down\""), "{state}");
    for path in ["/ready?service=/half", "/ready"] {
        let answer = ask(&socket, &format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_an_error() {
    let origin = Origin::polite();
    let folder = Folder::new();
    let socket = folder.0.join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a stale socket"));
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).expect("a mode");
    let config = |port| {
        origin.config(&format!(
            "\"listen\": \"127.0.0.1:{port}\", \"admin\": \"unix:{}\",",
            socket.display()
        ))
    };
    let gateway = Gateway::start_in(folder, config, |command| command);
    let mode = std::fs::symlink_metadata(&socket).expect("the file").mode();
    assert_eq!(mode & 0o777, 0o600);
    gateway.folder.write("second.json", &config(free_port()));
    let (code, _, errors) = output_of(&tollgate(&gateway.folder.0, &["-c", "second.json"]));
    assert_eq!(code, Some(3), "{errors}");
    assert!(
        errors.contains("cannot open the admin listener on unix:"),
        "{errors}"
    );
    assert!(
        errors.contains("another process listens there, perhaps a tollgate"),
        "{errors}"
    );
    assert!(
        ask(&socket, "GET /live").ends_with("ok"),
        "the first one still serves"
    );
}

#[test]
fn over_tcp_the_gateway_is_only_read() {
    let origin = Origin::polite();
    let admin = free_port();
    let more =
        format!("\"admin\": {{ \"listen\": \"127.0.0.1:{admin}\", \"hosts\": [\"status.lan\"] }},");
    let gateway = Gateway::start(&origin.config(&more));
    let ask = |line: &str, host: &str| {
        let mut client = Client::to(([127, 0, 0, 1], admin).into());
        client.send(format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ));
        client.read_to_end()
    };
    for (line, host, status) in [
        ("GET /live", "127.0.0.1", 200),
        ("HEAD /ready", "status.lan", 200),
        ("GET /live", "evil.example", 403),
        ("POST /stop", "localhost", 403),
        ("POST /reload", "localhost", 403),
        ("GET /stop", "localhost", 405),
        ("GET /", "localhost", 200),
        ("GET /metrics", "status.lan", 200),
        ("GET /state.json", "localhost", 200),
        ("GET /state.json", "evil.example", 403),
        ("GET /nothing", "localhost", 404),
    ] {
        let answer = ask(line, host);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
    }
    let at = format!("127.0.0.1:{admin}");
    let run = |args: &[&str]| output_of(&tollgate(&gateway.folder.0, args));
    assert_eq!(
        run(&["health"]),
        (Some(0), "ready\n".to_owned(), String::new())
    );
    assert_eq!(run(&["health", "--admin", &at]).0, Some(0));
    let (code, _, errors) = run(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("a command needs a unix socket in \"admin\""),
        "{errors}"
    );
    if let Ok(output) = Command::new("curl")
        .args(["-sS", "-i", &format!("http://{at}/ready")])
        .output()
    {
        let (code, answer, errors) = output_of(&output);
        assert_eq!(code, Some(0), "{errors}");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nready"),
            "{answer}"
        );
    }
}

#[test]
fn health_reports_by_exit_code_and_text() {
    let origin = Origin::polite();
    let (mut gateway, socket) = start(&origin, "");
    let folder = gateway.folder.0.clone();
    let run = |args: &[&str]| output_of(&tollgate(&folder, args));
    assert_eq!(
        run(&["health"]),
        (Some(0), "ready\n".to_owned(), String::new())
    );
    assert_eq!(
        run(&["health", "--live"]),
        (Some(0), "ok\n".to_owned(), String::new())
    );
    // The command needs neither the rest of the file nor the file itself.
    gateway.folder.write(
        "broken.json",
        &format!(
            "{{ \"admin\": \"unix:{}\", \"typo\": \"${{NONE}}\" }}",
            socket.display()
        ),
    );
    assert_eq!(run(&["health", "-c", "broken.json"]).0, Some(0));
    let address = format!("unix:{}", socket.display());
    assert_eq!(
        run(&["health", "-c", "none.json", "--admin", &address]).0,
        Some(0)
    );
    gateway.folder.write("off.json", "{ \"services\": [] }");
    for (args, message) in [
        (
            &["health", "-c", "none.json"][..],
            "none.json: cannot be read",
        ),
        (&["health", "-c", "off.json"], "off.json has no \"admin\""),
        (&["reload", "-c", "off.json"], "off.json has no \"admin\""),
        (
            &["health", "--admin", "unix:none.sock"],
            "there is no such socket; start the gateway",
        ),
        (
            &["log", "debug", "--admin", "unix:none.sock"],
            "there is no such socket",
        ),
    ] {
        let (code, out, errors) = run(args);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}");
        assert!(
            errors.contains(message) && errors.lines().count() == 1,
            "{args:?}: {errors}"
        );
    }
    // A mistake in the syntax hides the gateway only where "admin" cannot be read either.
    let slip = format!("{{ \"admin\": \"unix:{}\",, }}", socket.display());
    gateway.folder.write("slip.json", &slip);
    assert_eq!(run(&["health", "-c", "slip.json"]).0, Some(0));
    gateway.folder.write("cut.json", "{ \"services\": [,, ");
    let (code, _, errors) = run(&["health", "-c", "cut.json"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("cut.json:1:") && errors.ends_with("name the address with --admin\n"),
        "{errors}"
    );
    let listener = std::os::unix::net::UnixListener::bind(folder.join("dead.sock"));
    drop(listener.expect("a stale socket"));
    let (code, _, errors) = run(&["health", "--admin", "unix:dead.sock"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("the gateway does not run, or has another \"admin\""),
        "{errors}"
    );
    // The owner of this socket is not a gateway.
    let other = std::os::unix::net::UnixListener::bind(folder.join("other.sock")).expect("bound");
    std::thread::spawn(move || {
        let (mut client, _) = other.accept().expect("a client");
        let _ = client.write_all(b"220 mail ready\r\n");
    });
    let (code, _, errors) = run(&["health", "--admin", "unix:other.sock"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("is it a tollgate?"), "{errors}");
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    assert_eq!(run(&["health"]).0, Some(1));
}

#[test]
fn the_log_level_changes_and_falls_back() {
    // Connections to this address fail at once, which is logged at debug.
    let folder = Folder::new();
    let socket = folder.0.join("admin.sock");
    let config = |port| {
        format!(
            "{{ \"listen\": \"127.0.0.1:{port}\", \"admin\": \"unix:{}\",
            \"services\": [ {{ \"route\": \"/none\", \"target\": \"http://255.255.255.255\" }} ] }}",
            socket.display()
        )
    };
    let gateway = Gateway::start_in(folder, config, |command| command);
    let folder = &gateway.folder.0;
    let run = |args: &[&str]| output_of(&tollgate(folder, args));
    let detail = "connecting to 255.255.255.255:80: ";
    assert!(gateway.get("/none").starts_with("HTTP/1.1 502 "));
    gateway.stderr.expect("502 to 127.0.0.1");
    assert!(!gateway.stderr.text().contains(detail));
    assert_eq!(
        run(&["log", "debug", "--for", "2s"]),
        (
            Some(0),
            "the log level is debug for 2s\n".to_owned(),
            String::new()
        )
    );
    gateway
        .stderr
        .expect("POST /log: the log level is debug for 2s; the configuration says info");
    gateway.get("/none");
    gateway.stderr.expect(detail);
    gateway
        .stderr
        .expect("the log level is info again, as in the configuration");
    let (code, out, errors) = run(&["log", "debug", "--for", "25h"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(errors.contains("at most 24h"), "{errors}");
    assert_eq!(
        run(&["log", "error"]),
        (
            Some(0),
            "the log level is error for 10m\n".to_owned(),
            String::new()
        )
    );
    gateway
        .stderr
        .expect("the log level is error for 10m; the configuration says info");
    // A lower level than the file's removes lines, and adds none.
    let before = gateway.stderr.text().len();
    gateway.signal("USR1");
    assert!(ask(&folder.join("admin.sock"), "GET /live").ends_with("ok"));
    assert_eq!(gateway.stderr.text().len(), before);
}

#[test]
fn a_stop_is_reported_until_its_end() {
    let origin = Origin::start(|mut client| {
        if read_head(&mut client).is_some() {
            // The request stays in flight until the client is closed.
            let _ = client.0.read(&mut [0]);
        }
    });
    let (mut gateway, socket) = start(&origin, "\"timeouts\": { \"shutdown\": \"30s\" },");
    let mut client = gateway.connect();
    client.send(GET);
    let deadline = Instant::now() + PATIENCE;
    while origin
        .connections
        .load(std::sync::atomic::Ordering::Relaxed)
        == 0
    {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    gateway.signal("TERM");
    gateway.stderr.expect("finishing what is in flight");
    for _ in 0..3 {
        let ready = ask(&socket, "GET /ready");
        assert!(
            ready.starts_with("HTTP/1.1 503 ")
                && ready.ends_with("\r\n\r\nthe gateway is stopping\n"),
            "{ready}"
        );
        assert!(ask(&socket, "GET /live").starts_with("HTTP/1.1 200 "));
    }
    let folder = gateway.folder.0.clone();
    let (code, _, errors) = output_of(&tollgate(&folder, &["health"]));
    assert_eq!(
        (code, errors.as_str()),
        (Some(1), "the gateway is stopping\n")
    );
    assert!(ask(&socket, "POST /reload").starts_with("HTTP/1.1 409 "));
    drop(client);
    assert_eq!(gateway.wait(), Some(0));
}

/// Its connections are not counted in `limits.connections`, not rate limited, and not in the access log.
#[test]
fn the_admin_listener_is_none_of_the_gateways_traffic() {
    let origin = Origin::polite();
    let keys = "\"limits\": { \"connections\": 1 }, \"rateLimit\": { \"requests\": 3 }, \"accessLog\": \"json\",";
    let (gateway, socket) = start(&origin, keys);
    let mut idle: Vec<UnixStream> = (0..CONNECTIONS - 1).map(|_| connect(&socket)).collect();
    for client in &mut idle {
        client.write_all(b"GET /li").expect("sent");
    }
    for _ in 0..9 {
        assert!(ask(&socket, "GET /live").ends_with("ok"));
    }
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send(GET);
        let answer = client.read_until("\r\n\r\nhi");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // The only connection is taken, and so are all requests of the window.
    let (head, end) = GET.split_at(GET.len() - 2);
    client.send(head);
    // Behind this answer the gateway has read the start of the head: an idle connection would make room.
    assert!(ask(&socket, "GET /live").ends_with("ok"));
    let answer = gateway.get("/a");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(ask(&socket, "GET /live").ends_with("ok"));
    client.send(end);
    client.read_until("\r\n\r\n");
    gateway.stdout.expect("\"status\":429");
    let log = gateway.stdout.text();
    assert!(!log.contains("/live") && !log.contains("/li"), "{log}");
}

#[test]
fn hostile_clients_delay_no_other_client() {
    let origin = Origin::polite();
    let (gateway, socket) = start(&origin, "\"rateLimit\": false,");
    // One client writes a byte a second, and one never reads the answer to its request.
    let mut slow = connect(&socket);
    let mut deaf = connect(&socket);
    deaf.set_nonblocking(true).expect("an option");
    let begun = Instant::now();
    let mut slow_is_open = true;
    let mut deaf_is_open = true;
    while slow_is_open || deaf_is_open {
        assert!(
            begun.elapsed() < PATIENCE,
            "both are dropped at their deadline"
        );
        slow_is_open = slow_is_open && slow.write_all(b"G").is_ok();
        while deaf_is_open {
            match deaf.write(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n") {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => deaf_is_open = false,
            }
        }
        assert!(gateway.get("/a").ends_with("\r\n\r\nhi"));
        assert!(ask(&socket, "GET /live").ends_with("ok"));
        std::thread::sleep(Duration::from_secs(1));
    }
    // One client more than there are connections waits, and is served when another one leaves.
    let mut crowd: Vec<UnixStream> = (0..CONNECTIONS).map(|_| connect(&socket)).collect();
    for client in &mut crowd {
        client.write_all(b"GET /li").expect("sent");
    }
    let mut further = connect(&socket);
    further
        .write_all(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("sent");
    further
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    assert!(further.read(&mut [0]).is_err(), "it waits");
    further.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(gateway.get("/a").ends_with("\r\n\r\nhi"));
    drop(crowd.pop());
    let mut answer = String::new();
    further.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    // The loop does not spin while all of them wait.
    let before = gateway.ticks();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = gateway.ticks() - before;
    assert!(ticks < 40, "{ticks} ticks of CPU time in 1 s without work");
}

#[test]
fn the_reload_command_waits_and_reports_the_result() {
    let origin = Origin::polite();
    let (mut gateway, socket) = start(&origin, "");
    let folder = gateway.folder.0.clone();
    let run = |args: &[&str]| output_of(&tollgate(&folder, args));
    let port = gateway.address.port();
    let write = |admin: &str, more: &str| {
        let config = format!("\"listen\": \"127.0.0.1:{port}\", \"admin\": {admin}, {more}");
        gateway
            .folder
            .write("tollgate.json", &origin.config(&config));
    };
    let unix = |path: &Path| format!("\"unix:{}\"", path.display());
    let (code, out, errors) = run(&["reload"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
    assert!(
        out.starts_with("configuration read: ") && out.lines().count() == 1,
        "{out}"
    );

    // A file with errors: the answer has the errors that `check` prints, and the old configuration
    // stays.
    write(&unix(&socket), "\"typo\": 1, \"accessLog\": 7,");
    let (code, out, errors) = run(&["reload"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 3, "{errors}");
    assert!(
        lines[0].contains("tollgate.json:1:") && lines[0].contains("typo: unknown key"),
        "{errors}"
    );
    assert!(
        lines[2].starts_with("the running configuration is still the one of "),
        "{errors}"
    );
    assert!(gateway.get("/a").ends_with("\r\n\r\nhi"));

    // The admin socket moves: the client of the reload still gets the answer.
    let moved = folder.join("moved.sock");
    write(&unix(&moved), "");
    let old = format!("unix:{}", socket.display());
    let (code, out, errors) = run(&["reload", "--admin", &old]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
    assert!(!socket.exists(), "the old socket's file is gone");
    let mode = std::fs::symlink_metadata(&moved).expect("the file").mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(run(&["health"]).0, Some(0));
    assert_eq!(run(&["health", "--admin", &old]).0, Some(1));

    // An address in use is an error, and the old configuration stays.
    let taken = std::os::unix::net::UnixListener::bind(folder.join("taken.sock")).expect("bound");
    write(&unix(&folder.join("taken.sock")), "");
    let now = format!("unix:{}", moved.display());
    let (code, _, errors) = run(&["reload", "--admin", &now]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("cannot open the admin listener on unix:"),
        "{errors}"
    );
    assert_eq!(run(&["health", "--admin", &now]).0, Some(0));
    drop(taken);

    // Without the key the admin listener closes.
    write("false", "");
    assert_eq!(run(&["reload", "--admin", &now]).0, Some(0));
    assert!(!moved.exists());
    assert_eq!(run(&["health", "--admin", &now]).0, Some(1));
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn the_admin_address_of_the_command_line_outlives_a_reload() {
    let origin = Origin::polite();
    let folder = Folder::new();
    let socket = folder.0.join("given.sock");
    let in_file = folder.0.join("file.sock");
    let address = format!("unix:{}", socket.display());
    let config = |port| {
        origin.config(&format!(
            "\"listen\": \"127.0.0.1:{port}\", \"admin\": \"unix:{}\",",
            in_file.display()
        ))
    };
    let gateway = Gateway::start_in(folder, config, |command| {
        command.args(["--admin", &address])
    });
    assert!(socket.exists() && !in_file.exists());
    let run = |args: &[&str]| output_of(&tollgate(&gateway.folder.0, args));
    // A changed log level also outlives a reload.
    assert_eq!(run(&["log", "error", "--admin", &address]).0, Some(0));
    let (code, out, errors) = run(&["reload", "--admin", &address]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
    assert!(socket.exists() && !in_file.exists());
    assert_eq!(run(&["health", "--admin", &address]).0, Some(0));
    assert!(
        !gateway.stderr.text().contains("configuration read"),
        "{}",
        gateway.stderr.text()
    );
    // An address that `listen` uses is an error.
    let taken = gateway.address.to_string();
    let (code, _, errors) = run(&["run", "--admin", &taken]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("is an address in \"listen\""), "{errors}");
}

#[test]
fn metrics_state_and_top_show_what_the_gateway_did() {
    let origin = Origin::polite();
    let (gateway, socket) = start(&origin, "");
    assert!(gateway.get("/a/1").starts_with("HTTP/1.1 200 "));
    assert!(gateway.get("/nothing").starts_with("HTTP/1.1 404 "));
    let text = ask(&socket, "GET /metrics");
    crate::engine::metrics::expect_rows(&text);
    let address = gateway.address;
    for line in [
        "tollgate_requests_total{service=\"/a\",code=\"2xx\"} 1".to_owned(),
        "tollgate_requests_ended_total{service=\"\",end=\"no_route\"} 1".to_owned(),
        format!("tollgate_connections_total{{listener=\"{address}\"}} 2"),
        "tollgate_config_last_reload_successful 1".to_owned(),
        "process_max_fds ".to_owned(),
    ] {
        assert!(text.contains(&format!("\n{line}")), "{line}: {text}");
    }
    // An invalid file is reported on the page and in the metrics.
    gateway.folder.write("tollgate.json", "{ \"<b>\": 1 }");
    assert!(ask(&socket, "POST /reload").starts_with("HTTP/1.1 422 "));
    assert!(ask(&socket, "GET /metrics").contains("\ntollgate_config_last_reload_successful 0\n"));
    let page = ask(&socket, "GET /");
    assert!(
        page.contains("&lt;b&gt;") && !page.contains("<b>"),
        "{page}"
    );
    let state = ask(&socket, "GET /state.json");
    let (_, body) = state.split_once("\r\n\r\n").expect("a body");
    let state: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(state["services"][0]["requests"], 1);
    assert_eq!(state["targets"][0]["state"], "up");
    assert_eq!(state["listeners"][0]["accepted"], 2);
    assert!(
        state["config"]["lastError"]
            .as_str()
            .is_some_and(|text| text.contains("unknown key"))
    );
    let address = format!("unix:{}", socket.display());
    let (code, screen, errors) = output_of(&tollgate(
        &gateway.folder.0,
        &["top", "--once", "--admin", &address],
    ));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for text in ["THE LAST RELOAD FAILED", "STATE  SERVICE", "\nup     /a"] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
}

/// Base64 with padding (RFC 4648 4).
fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(if place > group.len() {
                '='
            } else {
                alphabet[sextet].into()
            });
        }
    }
    text
}

#[test]
fn the_policy_of_the_page_has_the_hashes_of_its_bytes() {
    let origin = Origin::polite();
    let (_gateway, socket) = start(&origin, "");
    let page = ask(&socket, "GET /");
    let hash = |tag: &str| {
        let (_, rest) = page.split_once(&format!("<{tag}>")).expect("it begins");
        let (bytes, _) = rest.split_once(&format!("</{tag}>")).expect("it ends");
        base64(ring::digest::digest(&ring::digest::SHA256, bytes.as_bytes()).as_ref())
    };
    let policy = format!(
        "\r\nContent-Security-Policy: default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'\r\n",
        hash("script"),
        hash("style")
    );
    assert!(page.contains(&policy), "{policy} in {page}");
    // The content of the page with its one service, but not its head.
    let (_, body) = page.split_once("\r\n\r\n").expect("a body");
    assert!(body.len() <= 12 << 10, "{}", body.len());
}

//! Command line, exit codes, signals.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

use super::super::authority::Authority;
use super::world::*;

fn run(folder: &Folder, args: &[&str]) -> Output {
    Command::new(TOLLGATE)
        .args(args)
        .current_dir(&folder.0)
        .env_remove("PORT")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_version_and_check_speak_on_stdout() {
    let folder = Folder::new();
    folder.write(
        "tollgate.json",
        r#"[ { "route": "/users", "target": "http://127.0.0.1:9000/users/" } ]"#,
    );
    for (args, wanted) in [
        (&["--help"][..], "tollgate check"),
        (&["--version"], "tollgate 0."),
        (&["check"], "http://127.0.0.1:9000/users/x"),
        (
            &["check"],
            "\ntollgate.json is valid: 1 service, 1 listener\n",
        ),
    ] {
        let output = run(&folder, args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(
            text(&output.stdout).contains(wanted),
            "{args:?}: {}",
            text(&output.stdout)
        );
        assert_eq!(text(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn check_warns_of_a_key_that_everybody_may_read() {
    let folder = Folder::new();
    let (certificate, key) = Authority::new().sign_for(&["a.test"], None);
    folder.write("a.pem", &certificate.pem());
    let path = folder.write("a.key", &key.serialize_pem());
    folder.write(
        "tollgate.json",
        r#"{ "listen": [ { "address": "127.0.0.1:0", "tls": { "certificates": [ { "cert": "a.pem", "key": "a.key" } ] } } ],
             "services": [ { "route": "/", "target": "http://127.0.0.1:9000" } ] }"#,
    );
    for (mode, is_warned) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its owner");
        let output = run(&folder, &["check"]);
        let said = text(&output.stdout);
        let warning = "a.key: everybody may read the key (mode 644); run chmod o-r ";
        assert_eq!(said.contains(warning), is_warned, "mode {mode:o}: {said}");
    }
}

/// A certificate behind the first is shown for its DNS names alone, a second one for a name only with a key of another kind.
#[test]
fn check_warns_of_a_certificate_that_no_client_is_shown() {
    let folder = Folder::new();
    let authority = Authority::new();
    let none = "no client is shown it: it has no DNS name (subjectAltName), and is not the first of its listener; \
                make it again with its names, or put it first";
    let taken = "no client is shown it: certificates before it have all its names; remove it, or put it before them";
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
    let files: [(&str, &[&str], Option<&str>); 7] = [
        ("common", &[], None),
        ("a", &["a.test", "*.a.test"], None),
        ("bare", &[], Some(none)),
        ("address", &["127.0.0.1"], Some(none)),
        ("again", &["A.test"], Some(taken)),
        ("more", &["a.test", "x.a.test"], None),
        ("plain", &["b.test"], None),
    ];
    let mut pairs = Vec::new();
    for (name, hosts, _) in files {
        let (certificate, key) = authority.sign_for(hosts, Some("b.test"));
        pairs.push((name, certificate.pem(), key.serialize_pem()));
    }
    let params = CertificateParams::new(vec!["b.test".to_owned()]).expect("a name");
    let other = params.signed_by(&p384, &authority.issuer).expect("signed");
    pairs.push(("other", other.pem(), p384.serialize_pem()));
    let mut listed = Vec::new();
    for (name, certificate, key) in &pairs {
        folder.write(&format!("{name}.pem"), certificate);
        let path = folder.write(&format!("{name}.key"), key);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its owner");
        listed.push(format!(
            r#"{{ "cert": "{name}.pem", "key": "{name}.key" }}"#
        ));
    }
    let file = format!(
        r#"{{ "listen": [ {{ "address": "127.0.0.1:0", "tls": {{ "certificates": [ {} ] }} }} ],
             "services": [ {{ "route": "/", "target": "http://127.0.0.1:9000" }} ] }}"#,
        listed.join(", ")
    );
    folder.write("tollgate.json", &file);
    let output = run(&folder, &["check"]);
    let said = text(&output.stdout);
    for (name, _, problem) in files {
        match problem {
            Some(problem) => assert!(
                said.contains(&format!(" {name}.pem: {problem}\n")),
                "{name}: {said}"
            ),
            None => assert!(!said.contains(&format!(" {name}.pem:")), "{name}: {said}"),
        }
    }
    assert!(!said.contains("other.pem"), "{said}");
}

#[test]
fn exit_codes_show_the_kind_of_error() {
    let folder = Folder::new();
    let output = run(&folder, &[]);
    assert_eq!(
        (output.status.code(), text(&output.stderr).lines().count()),
        (Some(1), 3),
        "no configuration"
    );
    assert!(text(&output.stderr).contains("tollgate demo"));

    folder.write(
        "bad.json",
        "{ \"services\": [\n  { \"route\": \"/a\", \"taget\": \"http://b\" } ], \"lsten\": 1 }",
    );
    for command in ["check", "run"] {
        let output = run(&folder, &[command, "--config", "bad.json"]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "an invalid configuration never starts a gateway"
        );
        let errors = text(&output.stderr);
        assert!(
            errors.contains(
                "bad.json:2:20: services[0].taget: unknown key, did you mean \"target\"?"
            ),
            "{errors}"
        );
        assert!(
            errors.contains("bad.json:2:45: lsten: unknown key, did you mean \"listen\"?"),
            "{errors}"
        );
        assert_eq!(text(&output.stdout), "");
    }
    assert_eq!(
        run(&folder, &["--config", "missing.json"]).status.code(),
        Some(1)
    );
    assert_eq!(run(&folder, &["--nonsense"]).status.code(), Some(2));
    assert_eq!(run(&folder, &["serve"]).status.code(), Some(2));

    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    folder.write("taken.json", &format!("{{ \"listen\": \"127.0.0.1:{port}\", \"services\": [ {{ \"route\": \"/\", \"target\": \"http://127.0.0.1\" }} ] }}"));
    let output = run(&folder, &["--config", "taken.json"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("another process listens there"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn port_overrides_listen_and_is_logged() {
    let origin = Origin::polite();
    let mut gateway = Gateway::start(&origin.config(""));
    let port = gateway.address.port();
    gateway
        .stderr
        .expect(&format!("Gateway is running on port {port}"));
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));

    let other = free_port();
    let text_of_port = other.to_string();
    let gateway = Gateway::start_by(&origin.config(""), |command| {
        command.env("PORT", &text_of_port)
    });
    gateway
        .stderr
        .expect(&format!("Gateway is running on port {other}"));
    assert!(
        std::net::TcpStream::connect(gateway.address).is_err(),
        "the file's port is overridden"
    );
    drop(Client::to(([127, 0, 0, 1], other).into()));

    let folder = Folder::new();
    folder.write("tollgate.json", &origin.config(""));
    let output = Command::new(TOLLGATE)
        .current_dir(&folder.0)
        .env("PORT", "70000")
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("PORT"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let (release, released) = channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::start(move |mut client| {
        if read_head(&mut client).is_some() {
            let _ = released.lock().expect("no panic").recv_timeout(PATIENCE);
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole");
        }
    });
    let mut gateway = Gateway::start(&origin.config(""));
    let mut idle = gateway.connect();
    idle.send("GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    idle.read_until("\"data\":null}");
    let mut busy = gateway.connect();
    busy.send(GET);
    while origin
        .connections
        .load(std::sync::atomic::Ordering::Relaxed)
        == 0
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    gateway.signal("TERM");
    assert_eq!(idle.read_to_end(), "", "an idle connection just closes");
    assert!(
        std::net::TcpStream::connect(gateway.address).is_err(),
        "the port is closed"
    );
    release.send(()).expect("the origin waits");
    let answer = busy.read_to_end();
    assert!(
        answer.contains("Connection: close\r\n") && answer.ends_with("whole"),
        "{answer}"
    );
    drop(busy);
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn a_second_signal_and_the_grace_time_end_the_process() {
    let origin = Origin::start(|mut client| while read_head(&mut client).is_some() {});
    let mut gateway = Gateway::start(&origin.config(""));
    let mut client = gateway.connect();
    client.send(GET);
    while origin
        .connections
        .load(std::sync::atomic::Ordering::Relaxed)
        == 0
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    gateway.signal("INT");
    gateway.stderr.expect("finishing what is in flight");
    gateway.signal("TERM");
    assert!(gateway.wait().is_some_and(|code| code != 0));

    let mut gateway = Gateway::start(&origin.config("\"timeouts\": { \"shutdown\": \"200ms\" },"));
    let mut client = gateway.connect();
    client.send(GET);
    while origin
        .connections
        .load(std::sync::atomic::Ordering::Relaxed)
        < 2
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    gateway.stdout.expect("\"GET /a HTTP/1.1\" - -");
}

#[test]
fn sigusr1_changes_nothing_and_sigquit_is_a_graceful_stop() {
    let origin = Origin::polite();
    let mut gateway = Gateway::start(&origin.config(""));
    for _ in 0..3 {
        gateway.signal("USR1");
        gateway
            .stderr
            .expect("SIGUSR1: the logs go to stdout and stderr, there is no file to reopen");
        assert!(gateway.get("/a").ends_with("hi"), "it serves");
    }
    gateway.signal("QUIT");
    assert_eq!(gateway.wait(), Some(0));
    let text = gateway.stderr.whole();
    assert_eq!(text.matches("SIGUSR1").count(), 1, "logged once: {text}");
    assert!(
        text.contains("SIGQUIT: finishing what is in flight"),
        "{text}"
    );
}

/// Log rotation signals every running gateway, also one that is stopping or has just been started.
#[test]
fn user_signals_are_no_second_signal_and_may_come_early() {
    let origin = Origin::start(|mut client| while read_head(&mut client).is_some() {});
    let mut gateway = Gateway::start(&origin.config("\"timeouts\": { \"shutdown\": \"1s\" },"));
    let mut client = gateway.connect();
    client.send(GET);
    while origin
        .connections
        .load(std::sync::atomic::Ordering::Relaxed)
        == 0
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    gateway.signal("QUIT");
    gateway.stderr.expect("finishing what is in flight");
    gateway.signal("USR1");
    gateway.signal("USR2");
    assert_eq!(
        gateway.wait(),
        Some(0),
        "the grace time is over, nothing else"
    );

    // The command waits for its input: no configuration was read, and no loop runs.
    let mut child = Command::new(TOLLGATE)
        .arg("hash")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let caught = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .expect("a mask")
            .trim();
        u64::from_str_radix(mask, 16).expect("hexadecimal") & (1 << 9 | 1 << 11)
            == (1 << 9 | 1 << 11)
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    while !caught() {
        assert!(
            std::time::Instant::now() < deadline,
            "SIGUSR1 and SIGUSR2 are caught"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn the_demo_listens_on_loopback_and_cuts_bodies() {
    let port = free_port();
    let mut child = Command::new(TOLLGATE)
        .arg("demo")
        .env("PORT", port.to_string())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stderr = Collected::from(child.stderr.take().expect("piped"));
    stderr.expect("Gateway is running on");
    assert!(
        std::net::TcpStream::connect(("127.0.0.2", port)).is_err(),
        "127.0.0.1 alone, not all addresses"
    );
    let mut client = Client::to(([127, 0, 0, 1], port).into());
    let size = 8 << 20;
    client.send(format!("POST /users/x HTTP/1.1\r\nHost: demo\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"));
    for _ in 0..size >> 16 {
        client.send([0xff; 1 << 16]);
    }
    let answer = client.read_to_end();
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "{}",
        answer.get(..200).unwrap_or(&answer)
    );
    assert!(
        answer.contains(&format!("\"bodyBytesLeftOut\": {}", size - (64 << 10))),
        "the rest was read"
    );
    assert_eq!(answer.matches('\u{fffd}').count(), 64 << 10);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let most = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak")
        .trim();
    let most: u64 = most.trim_end_matches(" kB").parse().expect("KB");
    assert!(most < 48 << 10, "{most} KB for a body of 8 MB");
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn the_demo_runs_and_answers() {
    let port = free_port();
    let mut child = Command::new(TOLLGATE)
        .arg("demo")
        .env("PORT", port.to_string())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stderr = Collected::from(child.stderr.take().expect("piped"));
    stderr.expect("Gateway is running on port");
    stderr.expect(&format!("curl -i http://localhost:{port}/users/1"));
    let mut client = Client::to(([127, 0, 0, 1], port).into());
    client.send("POST /payment/7?x=y HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let answer = client.read_to_end();
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        (
            json["method"].as_str(),
            json["path"].as_str(),
            json["body"].as_str()
        ),
        (Some("POST"), Some("/payment/7?x=y"), Some("hello"))
    );
    assert_eq!(
        json["headers"]["X-Forwarded-For"].as_str(),
        Some("127.0.0.1")
    );
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns both ends of a terminal such as a user's shell gives to a command.
fn terminal() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let keyboard = openpt(flags).expect("a terminal");
    grantpt(&keyboard)
        .and_then(|()| unlockpt(&keyboard))
        .expect("a terminal");
    let screen = ioctl_tiocgptpeer(&keyboard, flags).expect("its other end");
    (keyboard, screen)
}

#[test]
fn hash_asks_at_a_terminal_and_does_not_echo() {
    use rustix::termios::{LocalModes, tcgetattr};
    use std::io::{Read, Write};
    use std::process::Stdio;

    let echoes = |terminal: &std::os::fd::OwnedFd| {
        tcgetattr(terminal)
            .expect("modes")
            .local_modes
            .contains(LocalModes::ECHO)
    };
    for (options, question, typed, code, says) in [
        (
            &[][..],
            "Password: ",
            "correct horse\n",
            0,
            "pbkdf2-sha256:600000:",
        ),
        (&["--api-key"], "API key: ", "correct horse\n", 0, "sha256:"),
        (&[], "Password: ", "correct ho\u{3}", 130, ""),
        (&[], "Password: ", "\n", 2, ""),
    ] {
        let (keyboard, screen) = terminal();
        assert!(echoes(&screen));
        let mut child = Command::new(TOLLGATE)
            .arg("hash")
            .args(options)
            .stdin(screen.try_clone().expect("a descriptor"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut asked = vec![0; question.len()];
        let mut stderr = child.stderr.take().expect("a pipe");
        stderr.read_exact(&mut asked).expect("it asks");
        assert_eq!(text(&asked), question);
        assert!(!echoes(&screen), "what is typed is not shown");
        let mut keyboard = std::fs::File::from(keyboard);
        keyboard.write_all(typed.as_bytes()).expect("it is typed");
        let mut more = String::new();
        stderr.read_to_string(&mut more).expect("text");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{more}");
        assert!(
            text(&output.stdout).starts_with(says) && output.stdout.is_empty() == says.is_empty()
        );
        assert!(echoes(&screen), "the terminal is as it was");
        // The mark comes behind everything that the terminal has shown, and ends the reading.
        std::fs::File::from(screen).write_all(b"#").expect("shown");
        let mut shown = Vec::new();
        while !shown.ends_with(b"#") {
            let mut byte = [0];
            keyboard.read_exact(&mut byte).expect("the screen");
            shown.push(byte[0]);
        }
        assert_eq!(text(&shown), "#", "{typed:?}");
        assert!(!more.contains("correct"), "{more}");
    }
}

#[test]
fn diff_reports_changes_by_its_exit_code() {
    let folder = Folder::new();
    let service = |target: &str| format!(r#"[ {{ "route": "/a", "target": "{target}" }} ]"#);
    folder.write("old.json", &service("http://127.0.0.1:9000/a"));
    folder.write("new.json", &service("http://127.0.0.1:9001/b"));
    folder.write("bad.json", "[");
    folder.write(
        "access.log",
        "127.0.0.1 - - [x] \"GET /a/1 HTTP/1.1\" 200 2 \"-\" \"-\"\n",
    );
    for (args, code, wanted) in [
        (&["diff", "old.json", "old.json"][..], 0, "do not differ"),
        (&["diff", "old.json", "new.json"], 1, "~ /a"),
        (
            &["diff", "old.json", "new.json", "--log", "access.log"],
            1,
            "1 request GET /a/* : /a -> http://127.0.0.1:9000/a  =>  /a -> http://127.0.0.1:9001/b",
        ),
        (&["diff", "bad.json", "none.json"], 2, ""),
        (
            &["diff", "old.json", "new.json", "--log", "none.log"],
            2,
            "",
        ),
    ] {
        let output = run(&folder, args);
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{errors}");
        assert!(out.contains(wanted), "{args:?}: {out}");
        assert_eq!(errors.is_empty(), code < 2, "{args:?}: {errors}");
    }
}

#[test]
fn init_writes_no_file_twice_and_fmt_keeps_comments() {
    let folder = Folder::new();
    let path = folder.0.join("tollgate.json");
    let read = || std::fs::read_to_string(&path).expect("the file");
    assert_eq!(run(&folder, &["init"]).status.code(), Some(0));
    let first = read();
    assert_eq!(run(&folder, &["check"]).status.code(), Some(0), "{first}");
    assert_eq!(run(&folder, &["fmt", "--check"]).status.code(), Some(0));
    folder.write(
        "tollgate.json",
        "// mine\n{services: [{route: '/a', target: 'http://b'},]}",
    );
    let (own, again) = (read(), run(&folder, &["init"]));
    assert_eq!(again.status.code(), Some(1));
    let message = text(&again.stderr);
    assert!(message.contains("exists and stays as it is"), "{message}");
    assert_eq!(read(), own);
    assert_eq!(run(&folder, &["fmt", "--check"]).status.code(), Some(1));
    assert_eq!(read(), own, "--check writes nothing");
    assert_eq!(
        run(&folder, &["fmt", "tollgate.json"]).status.code(),
        Some(0)
    );
    let formatted = read();
    assert!(
        formatted.starts_with("// mine\n") && formatted != own,
        "{formatted}"
    );
    assert_eq!(run(&folder, &["fmt", "--check"]).status.code(), Some(0));
}

#[test]
fn services_of_a_folder_are_read_in_the_order_of_names() {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.join("services.d")).expect("a folder");
    folder.write("tollgate.json", r#"{ "services": [{ "route": "/c", "target": "http://127.0.0.1:9" }, "services.d/*.json"] }"#);
    folder.write(
        "services.d/20.json",
        r#"{ "route": "/b", "target": "http://127.0.0.1:9" }"#,
    );
    folder.write(
        "services.d/10.json",
        r#"[{ "route": "/z", "target": "http://127.0.0.1:9" }, { "route": "/a", "target": "http://127.0.0.1:9" }]"#,
    );
    let output = run(&folder, &["check"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        shown.contains("tollgate.json is valid: 4 services"),
        "{shown}"
    );
    let places = ["/c", "/z", "/a", "/b"].map(|route| {
        let line = shown
            .lines()
            .position(|line| line.trim_start().starts_with(&format!("{route} ")));
        line.unwrap_or_else(|| panic!("no {route} in {shown}"))
    });
    assert!(places.is_sorted(), "{shown}");
    folder.write("services.d/20.json", r#"{ "route": "/b" }"#);
    let output = run(&folder, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("services.d/20.json:1:"), "{message}");
}

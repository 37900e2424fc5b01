//! Reloads of the real binary: by SIGHUP and by watching the file, the parts that are replaced, and
//! the old configuration that stays when the new file has errors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::world::*;

/// Returns the path of the gateway's configuration file.
fn file(gateway: &Gateway) -> std::path::PathBuf {
    gateway.folder.0.join("tollgate.json")
}

/// Replaces the gateway's configuration file.
fn put(gateway: &Gateway, config: &str) {
    std::fs::write(file(gateway), config).expect("the file is ours");
}

/// Returns a configuration with these listeners and keys, whose `/a` goes to `origin`.
fn config(origin: &Origin, listen: &str, keys: &str) -> String {
    origin.config(&format!(
        "\"listen\": [{listen}], \"rateLimit\": false, {keys}"
    ))
}

const KEPT: &str = "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n";

#[test]
fn clients_stay_while_everything_else_changes() {
    let (first, second) = (Origin::polite(), Origin::polite());
    let gateway = Gateway::start(&first.config("\"rateLimit\": false,"));
    let own = format!("\"{}\"", gateway.address);
    let mut client = gateway.connect();
    for round in 0..20 {
        let origin = if round % 2 == 0 { &second } else { &first };
        client.send(KEPT);
        let head = client.read_until("\r\n\r\nhi");
        assert!(!head.contains("Connection: close"), "{head}");
        put(&gateway, &config(origin, &own, ""));
        gateway.signal("HUP");
        // Every third reload comes during a request.
        if round % 3 == 0 {
            client.send(KEPT);
            client.read_until("\r\n\r\nhi");
        }
        let lines = || gateway.stderr.text().matches("configuration read").count();
        let deadline = std::time::Instant::now() + PATIENCE;
        while lines() <= round {
            assert!(
                std::time::Instant::now() < deadline,
                "{}",
                gateway.stderr.text()
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    assert!(
        !gateway.stderr.text().contains("WARN"),
        "{}",
        gateway.stderr.text()
    );
}

#[test]
fn listeners_come_and_go_and_their_connections_stay() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let mut kept = gateway.connect();
    kept.send(KEPT);
    kept.read_until("\r\n\r\nhi");
    let added = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let socket = gateway.folder.0.join("gate.sock");
    let listen = format!("\"{added}\", \"unix:{}\"", socket.display());
    put(&gateway, &config(&origin, &listen, ""));
    gateway.signal("HUP");
    gateway
        .stderr
        .expect("listeners: 0 kept, 2 added, 1 removed");
    gateway.stderr.expect("is closed");
    let mut other = Client::to(added);
    other.send(KEPT);
    other.read_until("\r\n\r\nhi");
    assert!(UnixStream::connect(&socket).is_ok());
    kept.send(KEPT);
    kept.read_until("\r\n\r\nhi");
    assert!(
        TcpListener::bind(gateway.address).is_ok(),
        "the address is free again"
    );
    put(&gateway, &config(&origin, &format!("\"{added}\""), ""));
    gateway.signal("HUP");
    gateway.stderr.expect("listeners: 1 kept, 1 removed");
    gateway
        .stderr
        .expect(&format!("unix:{} is closed", socket.display()));
    assert!(!socket.exists());
    other.send(KEPT);
    other.read_until("\r\n\r\nhi");
}

/// As an owner does who lets others than this machine in: the port is held by the gateway itself.
#[test]
fn a_port_moves_to_all_addresses_of_the_machine_and_back() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let mut kept = gateway.connect();
    let port = gateway.address.port();
    let other = SocketAddr::from(([127, 0, 0, 2], port));
    for (round, listen) in ["0.0.0.0", "127.0.0.1", "0.0.0.0"].into_iter().enumerate() {
        let listen = format!("\"{listen}:{port}\"");
        put(&gateway, &config(&origin, &listen, ""));
        gateway.signal("HUP");
        let deadline = std::time::Instant::now() + PATIENCE;
        while gateway.stderr.text().matches("is closed").count() <= round {
            assert!(
                std::time::Instant::now() < deadline,
                "{}",
                gateway.stderr.text()
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(TcpStream::connect(other).is_ok(), round != 1, "{listen}");
        for client in [&mut kept, &mut gateway.connect()] {
            client.send(KEPT);
            client.read_until("\r\n\r\nhi");
        }
    }
    let error = TcpListener::bind(gateway.address).expect_err("the port is the gateway's alone");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

/// As many addresses as a file may have, all of them replaced at once, while a client waits at each.
#[test]
fn a_full_list_of_listeners_is_replaced_by_another() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let replace = |name: &str, counts: &str| {
        let path = |index| gateway.folder.0.join(format!("{name}{index}.sock"));
        let paths = (0..62).map(path).collect::<Vec<_>>();
        let listen = paths
            .iter()
            .map(|path| format!("\"unix:{}\"", path.display()));
        let listen = listen.collect::<Vec<_>>().join(", ");
        put(&gateway, &config(&origin, &listen, ""));
        gateway.signal("HUP");
        gateway.signal("CONT");
        gateway.stderr.expect(counts);
        let client = |path: &std::path::PathBuf| {
            let mut client = UnixStream::connect(path).expect("it listens");
            client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let head = KEPT.replace("gate", "gate\r\nConnection: close");
            client.write_all(head.as_bytes()).expect("sent");
            client
        };
        move || paths.iter().map(client).collect::<Vec<_>>()
    };
    let answered = |clients: Vec<UnixStream>| {
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("an answer");
            assert!(answer.ends_with("hi"), "{answer}");
        }
    };
    let first = replace("a", "0 kept, 62 added, 1 removed");
    answered(first());
    gateway.signal("STOP");
    let waiting = first();
    let second = replace("b", "0 kept, 62 added, 62 removed");
    answered(waiting);
    answered(second());
}

/// Whether `[::]` takes IPv4, too, is set before it is bound. A reload that would need it otherwise takes no
/// address away from clients.
#[test]
fn an_ipv6_wildcard_stays_as_it_was_opened() {
    let origin = Origin::polite();
    for (before, after, told) in [
        (
            "\"0.0.0.0:P\", \"[::]:P\"",
            "\"[::]:P\"",
            "keep the IPv4 address",
        ),
        (
            "\"[::]:P\"",
            "\"0.0.0.0:P\", \"[::]:P\"",
            "remove the IPv4 address",
        ),
    ] {
        let listen = |port, list: &str| config(&origin, &list.replace('P', &format!("{port}")), "");
        let first = |port| listen(port, before);
        let gateway = Gateway::start_in(Folder::new(), first, |command| command);
        let port = gateway.address.port();
        put(&gateway, &listen(port, after));
        gateway.signal("HUP");
        gateway.stderr.expect(told);
        assert!(gateway.get("/a").ends_with("hi"), "{told}");
        put(&gateway, &first(port));
        gateway.signal("HUP");
        gateway.stderr.expect("configuration read");
    }
}

#[test]
fn a_bad_file_changes_nothing_and_every_error_is_named() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let own = format!("\"{}\"", gateway.address);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound");
    let tls = "{ \"address\": \"127.0.0.1:0\", \"tls\": { \"certificates\": [ { \"cert\": \"no.pem\", \"key\": \"no.key\" } ] } }";
    let good = config(&origin, &own, "");
    let mut client = gateway.connect();
    let mut failed = 0;
    for (text, errors) in [
        (
            "{".to_owned(),
            vec!["tollgate.json:1:1: this is not closed before the file ends"],
        ),
        (
            config(&origin, &own, "\"lisen\": 1, \"limits\": 7,"),
            vec!["lisen: unknown key, did you mean \"listen\"?", "limits: "],
        ),
        (
            config(&origin, &format!("{own}, {tls}"), ""),
            vec!["no.pem", "no.key"],
        ),
        (
            config(
                &origin,
                &format!("{own}, \"{taken}\", \"192.0.2.77:0\""),
                "",
            ),
            vec![
                "another process listens there",
                "this machine has no such address",
            ],
        ),
        (
            good.replace("/a\"", "/b\"")
                .replace("\"services\"", "\"nothing\""),
            vec!["nothing: unknown key"],
        ),
    ] {
        put(&gateway, &text);
        gateway.signal("HUP");
        for error in errors {
            gateway.stderr.expect(error);
        }
        failed += 1;
        let still = "the running configuration is still the one of ";
        let deadline = std::time::Instant::now() + PATIENCE;
        let text = loop {
            let text = gateway.stderr.text();
            if text.matches(still).count() == failed {
                break text;
            }
            assert!(std::time::Instant::now() < deadline, "{text}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        // The errors come first, in the form of `check`, then the time of what runs.
        let (before, time) = text.rsplit_once(still).expect("the line");
        let is_time = time.trim_end().split(':').all(|part| part.len() == 2);
        assert!(is_time && time.trim_end().len() == 8, "{time:?}");
        let mut check = Command::new(TOLLGATE);
        let check = check.arg("check").arg("--config").arg(file(&gateway));
        let output = check.output().expect("the binary runs");
        if !output.status.success() {
            let lines = String::from_utf8(output.stderr).expect("text");
            for line in lines.lines().filter(|line| line.contains("tollgate.json:")) {
                assert!(before.contains(line), "{line}: {before}");
            }
            assert!(lines.contains("tollgate.json:"), "{lines}");
        }
        client.send(KEPT);
        client.read_until("\r\n\r\nhi");
    }
    std::fs::remove_file(file(&gateway)).expect("it is there");
    gateway.signal("HUP");
    gateway
        .stderr
        .expect("tollgate.json: cannot be read: No such file");
    client.send(KEPT);
    client.read_until("\r\n\r\nhi");
    put(&gateway, &good);
    gateway.signal("HUP");
    gateway
        .stderr
        .expect("configuration read: 0 services added");
}

/// `PORT` and `${VAR}` are those of the start of the process, in each reload.
#[test]
fn a_reload_has_the_environment_of_the_start() {
    let origin = Origin::polite();
    let port = free_port();
    let text = |more: &str| {
        let config = origin.config(&format!("\"rateLimit\": false, {more}"));
        config.replace(&origin.address.to_string(), "${TO}")
    };
    let gateway = Gateway::start_by(&text(""), |command| {
        command
            .env("PORT", port.to_string())
            .env("TO", origin.address.to_string())
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut kept = Client::to(address);
    for (round, listen) in ["127.0.0.1:1", "127.0.0.1:2"].into_iter().enumerate() {
        kept.send(KEPT);
        kept.read_until("\r\n\r\nhi");
        put(&gateway, &text(&format!("\"listen\": \"{listen}\", ")));
        gateway.signal("HUP");
        let deadline = std::time::Instant::now() + PATIENCE;
        while gateway.stderr.text().matches("configuration read").count() <= round {
            assert!(
                std::time::Instant::now() < deadline,
                "{}",
                gateway.stderr.text()
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut client = Client::to(address);
        client.send(KEPT);
        client.read_until("\r\n\r\nhi");
    }
    let text = gateway.stderr.text();
    assert!(!text.contains("is closed"), "{text}");
}

/// Waits until so many reloads have ended well.
#[track_caller]
fn expect_reloads(gateway: &Gateway, count: usize) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while gateway.stderr.text().matches("configuration read").count() < count {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            gateway.stderr.text()
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// No key needs a restart: those of the logs, which the event loop does not write itself.
#[test]
fn logs_change_by_a_reload() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let own = format!("\"{}\"", gateway.address);
    gateway.get("/a?first");
    gateway.stdout.expect("\"GET /a?first HTTP/1.1\" 200 ");
    for (round, (keys, path, line)) in [
        (
            "\"accessLog\": \"json\",",
            "/a?second",
            "\"path\":\"/a?second\"",
        ),
        ("\"accessLog\": \"off\",", "/a?third", ""),
        (
            "\"logLevel\": \"debug\", \"limits\": { \"connectionsPerClient\": 1 },",
            "/a?fourth",
            "\"GET /a?fourth HTTP/1.1\" 200 ",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        put(&gateway, &config(&origin, &own, keys));
        gateway.signal("HUP");
        expect_reloads(&gateway, round + 1);
        gateway.get(path);
        gateway.stdout.expect(line);
    }
    let text = gateway.stdout.text();
    assert!(!text.contains("third"), "{text}");
    // That a client has too many connections is said once as a warning, and at debug from then on.
    let _first = gateway.connect();
    let _second = gateway.connect();
    gateway.stderr.expect("has its share of the connections");
    let _third = gateway.connect();
    gateway.stderr.expect("DEBUG");
}

/// Eight editions of the configuration live at most: a reload beyond says that it waits, and goes on when a request that
/// holds one of them has its response.
#[test]
fn a_reload_beyond_eight_editions_waits_and_says_so() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::start(move |mut client| {
        if read_head(&mut client).is_some() {
            let _ = released.lock().expect("no panic").recv_timeout(PATIENCE);
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let own = format!("\"{}\"", gateway.address);
    let mut clients = Vec::new();
    for round in 1..=8_u32 {
        let mut client = gateway.connect();
        client.send(KEPT);
        clients.push(client);
        let count = || {
            origin
                .connections
                .load(std::sync::atomic::Ordering::Relaxed)
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        while count() < round {
            assert!(std::time::Instant::now() < deadline, "no request {round}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let half_close = format!("\"halfClose\": {},", round % 2 == 0);
        put(&gateway, &config(&origin, &own, &half_close));
        gateway.signal("HUP");
        if round < 8 {
            expect_reloads(&gateway, round as usize);
        }
    }
    let says = "the reload waits: requests that began with 8 configurations have no response yet";
    let text = gateway.stderr.expect(says);
    assert_eq!(text.matches("configuration read").count(), 7, "{text}");
    // It looks again each 100 ms, and does not say it again.
    std::thread::sleep(std::time::Duration::from_millis(350));
    release.send(()).expect("the origin waits");
    expect_reloads(&gateway, 8);
    let text = gateway.stderr.text();
    assert_eq!(text.matches(says).count(), 1, "it is said once: {text}");
    for _ in 1..clients.len() {
        release.send(()).expect("the origin waits");
    }
    for mut client in clients {
        client.read_until("\r\n\r\nhi");
    }
}

/// An address keeps its socket while its kind changes. What is open goes on as it began.
#[test]
fn a_listener_changes_its_kind_for_new_connections() {
    let (authority, origin) = (super::super::authority::Authority::new(), Origin::polite());
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let (certificate, key) = authority.sign_for(&["a.test"], None);
    gateway.folder.write("a.pem", &certificate.pem());
    gateway.folder.write("a.key", &key.serialize_pem());
    let other = free_port();
    let tls = r#""tls": { "certificates": [ { "cert": "a.pem", "key": "a.key" } ] }"#;
    let secure = format!(r#"{{ "address": "127.0.0.1:{other}", {tls} }}"#);
    let own = gateway.address;
    let mut kept = gateway.connect();
    let plain = |client: &mut Client| {
        client.send(KEPT);
        client.read_until("\r\n\r\nhi");
    };
    plain(&mut kept);
    for (round, (listen, answer)) in [
        (
            format!(r#"{{ "address": "{own}", {tls} }}"#),
            "HTTP/1.1 400 ",
        ),
        (
            format!(r#"{{ "address": "{own}", "redirectToHttps": true }}, {secure}"#),
            "HTTP/1.1 308 ",
        ),
        (format!("\"{own}\""), "HTTP/1.1 200 "),
    ]
    .into_iter()
    .enumerate()
    {
        put(&gateway, &config(&origin, &listen, ""));
        gateway.signal("HUP");
        expect_reloads(&gateway, round + 1);
        plain(&mut kept);
        let text = gateway.ask("GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        assert!(text.starts_with(answer), "{listen}: {text}");
    }
    let text = gateway.stderr.text();
    assert!(
        !text.contains(&format!("{own} is closed")) && text.contains("listeners: 1 kept"),
        "{text}"
    );
}

#[test]
fn a_change_of_a_watched_file_is_seen() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false, \"watch\": true,"));
    let own = format!("\"{}\"", gateway.address);
    let count = || gateway.stderr.text().matches("configuration read").count();
    let expect = |wanted: usize| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while count() < wanted {
            assert!(
                std::time::Instant::now() < deadline,
                "{}",
                gateway.stderr.text()
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    // The file is written in place.
    put(
        &gateway,
        &config(&origin, &own, "\"watch\": true, \"halfClose\": true,"),
    );
    expect(1);
    // The file is renamed.
    let other = gateway
        .folder
        .write("other.json", &config(&origin, &own, "\"watch\": true,"));
    std::fs::rename(other, file(&gateway)).expect("moved");
    expect(2);
    // The file is a symbolic link that is replaced.
    let target = gateway.folder.write(
        "linked.json",
        &config(&origin, &own, "\"watch\": false, \"halfClose\": true,"),
    );
    let link = gateway.folder.0.join("link");
    std::os::unix::fs::symlink(target, &link).expect("a link");
    std::fs::rename(link, file(&gateway)).expect("moved");
    expect(3);
    assert!(
        gateway
            .stderr
            .text()
            .contains("also changed: halfClose, watch")
    );
}

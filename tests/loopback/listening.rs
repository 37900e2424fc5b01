//! Listening addresses, and behavior when a resource runs out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::world::*;

#[test]
fn several_addresses_ipv6_and_a_unix_socket() {
    let origin = Origin::polite();
    let folder = Folder::new();
    let socket = folder.0.join("gate.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a stale socket"));
    let (four, six) = (free_port(), free_port());
    let config = origin.config(&format!(
        "\"rateLimit\": false, \"listen\": [\"127.0.0.1:{four}\", \"[::1]:{six}\", \"unix:{}\"],",
        socket.display()
    ));
    let file = folder.write("several.json", &config);
    let mut child = std::process::Command::new(TOLLGATE)
        .args(["--config".as_ref(), file.as_os_str()])
        .env_remove("PORT")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let (stdout, stderr) = (
        Collected::from(child.stdout.take().expect("piped")),
        Collected::from(child.stderr.take().expect("piped")),
    );
    stderr.expect("running on unix:");
    for address in [format!("127.0.0.1:{four}"), format!("[::1]:{six}")] {
        let mut client = Client::to(address.parse().expect("an address"));
        client.send("GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
        assert!(client.read_to_end().ends_with("\r\n\r\nhi"), "{address}");
    }
    let mut client = UnixStream::connect(&socket).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\nhi"));
    stdout.expect("unix: - - [");
    assert!(stdout.text().contains("\n::1 - - ["));
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(!socket.exists(), "the socket's file is gone");
}

#[test]
fn connections_beyond_the_limit_get_a_503_and_the_others_go_on() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config(
        "\"rateLimit\": false, \"limits\": { \"connections\": 3, \"connectionsPerClient\": 3 },",
    ));
    let mut served: Vec<Client> = (0..3).map(|_| gateway.connect()).collect();
    // Half of a next request keeps the connection busy: an idle one would be closed to make room.
    let (first, rest) = GET.split_at(10);
    for client in &mut served {
        client.send(GET);
        client.read_until("\r\n\r\nhi");
        client.send(first);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let refused = gateway.connect().read_to_end();
    assert!(
        refused.starts_with("HTTP/1.1 503 ")
            && refused.ends_with("\"Service unavailable.\",\"data\":null}"),
        "{refused}"
    );
    for client in &mut served {
        client.send(rest);
        client.read_until("\r\n\r\nhi");
    }
}

/// Starts a gateway that may have so many open files.
fn start_with_files(config: &str, most: u32) -> Gateway {
    Gateway::start_by(config, |command| {
        // The shell lowers the limit, and then executes the gateway.
        let args: Vec<_> = command.get_args().map(|arg| arg.to_owned()).collect();
        *command = std::process::Command::new("sh");
        command
            .arg("-c")
            .arg(format!("ulimit -n {most}; exec \"$0\" \"$@\""))
            .arg(TOLLGATE)
            .args(args)
            .env_remove("PORT");
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
    })
}

#[test]
fn without_descriptors_those_accepted_are_served_and_nothing_spins() {
    let origin = Origin::polite();
    let config = origin.config("\"rateLimit\": false, \"accessLog\": \"off\",");
    let gateway = start_with_files(&config, 48);
    let mut clients: Vec<Client> = (0..200).map(|_| gateway.connect()).collect();
    // While connections are still being accepted, an idle one may be closed for a new one.
    let is_quiet = (0..100).any(|_| {
        let ticks = gateway.ticks();
        std::thread::sleep(std::time::Duration::from_millis(300));
        gateway.ticks() == ticks
    });
    assert!(is_quiet, "the gateway spins");
    clients[0].send(GET);
    clients[0].read_until("\r\n\r\nhi");
    let before = gateway.ticks();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let ticks = gateway.ticks() - before;
    assert!(ticks < 40, "{ticks} ticks of CPU time in 2 s without work");
    clients[0].send(GET);
    clients[0].read_until("\r\n\r\nhi");
    drop(clients);
    // The gateway first accepts the connections that had waited, and finds them closed.
    let recovered = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        gateway.get("/a").ends_with("\r\n\r\nhi")
    });
    assert!(recovered);
}

#[test]
fn those_that_waited_for_a_descriptor_are_served_when_there_is_one() {
    let origin = Origin::polite();
    let gateway = Gateway::start_by(
        &origin.config("\"rateLimit\": false, \"limits\": { \"connectionsPerClient\": 4096 },"),
        |command| {
            let args: Vec<_> = command.get_args().map(|arg| arg.to_owned()).collect();
            *command = std::process::Command::new("sh");
            command
                .arg("-c")
                .arg("ulimit -n 32; exec \"$0\" \"$@\"")
                .arg(TOLLGATE)
                .args(args)
                .env_remove("PORT");
            command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
        },
    );
    // More clients than descriptors: the first ones send nothing, the last ones wait in the
    // kernel's queue.
    let mut clients: Vec<Client> = (0..60).map(|_| gateway.connect()).collect();
    for client in &mut clients[40..] {
        client.send(GET);
    }
    // No new connection comes: only closed connections make room for those in the queue.
    let waiting = clients.split_off(40);
    drop(clients);
    for mut client in waiting {
        let head = client.read_until("\r\n\r\n");
        assert!(
            head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.1 503 "),
            "{head}"
        );
    }
}

#[test]
fn two_thousand_connections_at_once() {
    rlimit::increase_nofile_limit(20_000).expect("a limit");
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let mut clients: Vec<Client> = (0..2_000).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    }
    for client in &mut clients {
        assert!(
            client
                .read_until("\"data\":null}")
                .starts_with("HTTP/1.1 404 ")
        );
    }
    assert!(
        gateway.kilobytes("VmHWM") < 32_000,
        "{} kB",
        gateway.kilobytes("VmHWM")
    );
}

/// A limit of open files for no more than one connection: the next client is told so, and does not wait.
#[test]
fn a_client_for_whom_no_descriptor_is_meant_gets_503() {
    let origin = Origin::polite();
    let gateway = start_with_files(&origin.config("\"rateLimit\": false,"), 26);
    let mut busy = gateway.connect();
    busy.send("GET /a HTTP/1.1\r\n");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut next = gateway.connect();
    next.send(GET);
    let head = next.read_until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    gateway.stderr.expect("has its share of the connections");
}

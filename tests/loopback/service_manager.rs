//! Messages to a service manager such as systemd, and sockets that it passes to the gateway.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use super::world::*;

/// Socket of a service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn at(folder: &Folder) -> Manager {
        let socket = UnixDatagram::bind(folder.0.join("notify.sock")).expect("a fresh path");
        Manager::from(socket)
    }

    fn from(socket: UnixDatagram) -> Manager {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Manager(socket)
    }

    /// Returns the next datagram.
    #[track_caller]
    fn next(&self) -> String {
        let mut bytes = [0; 512];
        let length = self.0.recv(&mut bytes).expect("a datagram in time");
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    /// Returns the next datagram that is no sign of life.
    #[track_caller]
    fn next_news(&self) -> String {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let found = self.next();
            if found != "WATCHDOG=1" {
                return found;
            }
            assert!(std::time::Instant::now() < deadline, "signs of life alone");
        }
    }

    /// Checks the next datagrams, except signs of life.
    #[track_caller]
    fn expect(&self, wanted: &[&str]) {
        for wanted in wanted {
            assert_eq!(self.next_news(), *wanted);
        }
    }
}

#[test]
fn messages_to_a_service_manager_byte_for_byte() {
    // The second target refuses connections, so its health check fails.
    let gone_address = format!("127.0.0.1:{}", free_port());
    let origin = Origin::polite();
    let config = origin.config("").replace(
        " ] }",
        &format!(
            ", {{ \"route\": \"/b\", \"targets\": [\"http://{}\", \"http://{gone_address}\"],
               \"healthCheck\": {{ \"path\": \"/\", \"interval\": \"100ms\", \"fall\": 2 }} }} ] }}",
            origin.address
        ),
    );
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let path = folder.0.join("notify.sock");
    let mut gateway = Gateway::start_by(&config, |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "400000")
            .env_remove("WATCHDOG_PID")
    });
    assert_eq!(manager.next(), "READY=1", "nothing goes before it");
    manager.expect(&[
        "STATUS=2 services, 3 of 3 targets up",
        "STATUS=2 services, 2 of 3 targets up",
    ]);
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    gateway.signal("HUP");
    let reloading = manager.next_news();
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let micros: u64 = micros.expect(&reloading).parse().expect("a number");
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000 - micros;
    assert!(since < 20_000_000, "the clock is that of the system");
    manager.expect(&["READY=1"]);
    // Ready again also when the old configuration stays.
    gateway.folder.write("tollgate.json", "{");
    gateway.signal("HUP");
    let reloading = manager.next_news();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    manager.expect(&["READY=1"]);
    gateway.stderr.expect("the running configuration is still");
    gateway.signal("TERM");
    manager.expect(&["STOPPING=1"]);
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn an_abstract_name_and_the_watchdog_of_another_process() {
    let name = format!("tollgate-it-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = Manager::from(UnixDatagram::bind_addr(&address).expect("a fresh name"));
    let mut gateway = Gateway::start_by(&Origin::polite().config(""), |command| {
        command
            .env("NOTIFY_SOCKET", format!("@{name}"))
            .env("WATCHDOG_USEC", "20000")
            .env("WATCHDOG_PID", "1")
    });
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.next(), "STATUS=1 service, 1 of 1 target up");
    gateway.signal("QUIT");
    assert_eq!(manager.next(), "STOPPING=1", "no sign of life before it");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn a_service_manager_that_does_not_listen_stops_nothing() {
    for name in ["/nowhere/at/all", "vsock:2:1234"] {
        let gateway = Gateway::start_by(&Origin::polite().config(""), |command| {
            command.env("NOTIFY_SOCKET", name)
        });
        gateway.stderr.expect("NOTIFY_SOCKET");
        assert!(gateway.get("/a").ends_with("hi"), "{name}");
        let lines = gateway.stderr.text();
        assert_eq!(lines.matches("NOTIFY_SOCKET").count(), 1, "{lines}");
    }
}

/// Starts a gateway with its input and output passed on as descriptors 3 and 4.
fn activated(config: &str, sockets: [OwnedFd; 2], environment: &str) -> (Child, Collected, Folder) {
    let folder = Folder::new();
    let file = folder.write("tollgate.json", config);
    let [first, second] = sockets;
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "LISTEN_PID=$$ {environment} exec \"$0\" --config \"$1\" 3<&0 4<&1 </dev/null >/dev/null"
        ))
        .arg(TOLLGATE)
        .arg(file)
        .env_remove("PORT")
        .stdin(first)
        .stdout(second)
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let stderr = Collected::from(child.stderr.take().expect("piped"));
    (child, stderr, folder)
}

const ASK: &str = "GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n";

#[test]
fn passed_sockets_replace_addresses_and_names() {
    let tcp = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = tcp.local_addr().expect("bound");
    let folder = Folder::new();
    let path = folder.0.join("passed.sock");
    let unix = UnixListener::bind(&path).expect("a fresh path");
    let config = Origin::polite().config(&format!(
        "\"listen\": [\"{address}\", \"systemd:side door\"],"
    ));
    let (mut child, stderr, _folder) = activated(
        &config,
        [tcp.into(), unix.into()],
        "LISTEN_FDS=2 LISTEN_FDNAMES='front:side door'",
    );
    // Clients that connected before the start of the gateway are accepted.
    let mut client = Client::to(address);
    client.send(ASK);
    assert!(client.read_to_end().ends_with("\r\n\r\nhi"));
    let mut client = UnixStream::connect(&path).expect("it listens");
    client.write_all(ASK.as_bytes()).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\nhi"));
    stderr.expect(&format!("Gateway is running on port {}\n", address.port()));
    stderr.expect(&format!("Gateway is running on unix:{}\n", path.display()));
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(path.exists(), "the file is the service manager's");
}

#[test]
fn passed_sockets_that_cannot_be_used_are_reported() {
    let listening = || TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = |socket: &TcpListener| socket.local_addr().expect("bound");
    let datagrams = || UdpSocket::bind(("127.0.0.1", 0)).expect("a port").into();
    let (one, two) = (listening(), listening());
    let (first, second) = (address(&one), address(&two));
    let own = free_port();
    for (listen, sockets, environment, code, wanted) in [
        (
            format!("\"{first}\""),
            [one.into(), two.into()],
            "LISTEN_FDS=2 LISTEN_FDNAMES=web:other",
            3,
            format!("fit no entry of \"listen\": {second} (named \"other\")"),
        ),
        (
            "\"systemd:web\"".to_owned(),
            [listening().into(), listening().into()],
            "LISTEN_FDS=2 LISTEN_FDNAMES=web:web",
            3,
            "cannot listen on systemd:web: 2 sockets of that name were passed".to_owned(),
        ),
        (
            "\"systemd:web\"".to_owned(),
            [listening().into(), listening().into()],
            "LISTEN_FDS=2",
            3,
            "the sockets that were passed are named \"unknown\", \"unknown\"".to_owned(),
        ),
        (
            "\"systemd:web\"".to_owned(),
            [listening().into(), listening().into()],
            "LISTEN_FDS=",
            3,
            "cannot listen on systemd:web: the service manager passed no such socket".to_owned(),
        ),
        (
            format!("\"127.0.0.1:{own}\""),
            [datagrams(), datagrams()],
            "LISTEN_FDS=1 LISTEN_FDNAMES=web",
            3,
            "socket 1 that the service manager passed, named \"web\", cannot be used".to_owned(),
        ),
        (
            format!("\"127.0.0.1:{own}\""),
            [datagrams(), datagrams()],
            "LISTEN_FDS=100000000",
            3,
            "LISTEN_FDS is 100000000; at most 62 sockets can be passed".to_owned(),
        ),
    ] {
        let config = Origin::polite().config(&format!("\"listen\": [{listen}],"));
        let (mut child, stderr, _folder) = activated(&config, sockets, environment);
        stderr.expect(&wanted);
        assert_eq!(
            child.wait().expect("it ends").code(),
            Some(code),
            "{wanted}"
        );
    }
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let origin = Origin::polite();
    let gateway = Gateway::start_by(&origin.config(""), |command| {
        command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1")
    });
    assert!(gateway.get("/a").ends_with("hi"));
}

//! What a service manager such as systemd is told, and what it hands over.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::world::*;

/// The socket of a service manager.
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

    /// The next datagram.
    #[track_caller]
    fn next(&self) -> String {
        let mut bytes = [0; 512];
        let length = self.0.recv(&mut bytes).expect("a datagram in time");
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    /// The next datagrams, signs of life left out.
    #[track_caller]
    fn expect(&self, wanted: &[&str]) {
        for wanted in wanted {
            let mut found = self.next();
            while found == "WATCHDOG=1" {
                found = self.next();
            }
            assert_eq!(found, *wanted);
        }
    }
}

#[test]
fn a_service_manager_is_told_byte_for_byte() {
    // Nobody listens where the second target is, so its health check fails.
    let gone = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let gone_address = gone.local_addr().expect("bound");
    drop(gone);
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

//! The PROXY protocol on sockets: headers that come in pieces, from the wrong peer or without an end,
//! and a list of balancers that a reload changes.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::world::*;

pub const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n";
pub const VERSION_1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\n";
const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x07\xc0\0\x02\x01\x03\xe8\0\x50\x04\0\0";

/// Returns a configuration whose listener has this list of balancers; empty: none.
pub fn proxied(origin: &Origin, address: SocketAddr, balancers: &str) -> String {
    let list = match balancers {
        "" => String::new(),
        list => format!(", \"proxyProtocol\": [{list}]"),
    };
    origin.config(&format!(
        "\"listen\": [{{ \"address\": \"{address}\"{list} }}], \"rateLimit\": false, \"timeouts\": {{ \"head\": \"5s\" }},"
    ))
}

fn start(origin: &Origin, balancers: &str) -> Gateway {
    let config = |port| proxied(origin, SocketAddr::from(([127, 0, 0, 1], port)), balancers);
    Gateway::start_in(Folder::new(), config, |command| command)
}

/// Sends bytes on a new connection, and returns all that comes back. A connection that is closed with
/// bytes unread ends in a reset.
pub fn say(address: SocketAddr, parts: &[&[u8]]) -> String {
    let mut client = Client::to(address);
    client.0.set_nodelay(true).expect("a socket");
    for part in parts {
        if client.0.write_all(part).is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut answer = Vec::new();
    let _ = client.0.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_header_may_be_cut_at_every_byte() {
    let origin = Origin::polite();
    let gateway = start(&origin, "\"127.0.0.1\"");
    let mut count = 0;
    for header in [VERSION_1, VERSION_2] {
        for cut in 0..=header.len() {
            let (first, rest) = header.split_at(cut);
            let rest = [rest, REQUEST.as_bytes()].concat();
            let answer = say(gateway.address, &[first, &rest]);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{cut}: {answer:?}");
            count += 1;
        }
    }
    let log = || gateway.stdout.text();
    let lines = || log().matches("192.0.2.7 - - [").count();
    let deadline = std::time::Instant::now() + PATIENCE;
    while lines() < count {
        assert!(std::time::Instant::now() < deadline, "{}", log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(!log().contains("127.0.0.1 - - ["), "{}", log());
}

#[test]
fn a_header_is_taken_from_balancers_alone_and_needed_there() {
    let origin = Origin::polite();
    let gateway = start(&origin, "\"127.0.0.1\"");
    assert_eq!(say(gateway.address, &[REQUEST.as_bytes()]), "");
    gateway.stderr.expect("no PROXY header from 127.0.0.1");
    // The same header from a peer outside the list is no HTTP.
    let gateway = start(&origin, "\"10.0.0.0/8\"");
    for header in [VERSION_1, VERSION_2] {
        let answer = say(gateway.address, &[header, REQUEST.as_bytes()]);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    }
    assert!(say(gateway.address, &[REQUEST.as_bytes()]).starts_with("HTTP/1.1 200 "));
    assert!(!gateway.stdout.text().contains("192.0.2.7"));
}

/// A header has at most 107 bytes in version 1, and a version 2 header its own length.
#[test]
fn megabytes_in_place_of_a_header_end_at_once() {
    let origin = Origin::polite();
    let gateway = start(&origin, "\"127.0.0.1\"");
    let before = gateway.kilobytes("VmRSS");
    let block = vec![b'A'; 1 << 20];
    for begin in [
        &b"PROXY TCP4 "[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"A",
    ] {
        let mut client = gateway.connect();
        client.send(begin);
        let sent = (0..10).take_while(|_| client.0.write_all(&block).is_ok());
        assert!(sent.count() < 10, "{begin:?}: the connection stayed open");
    }
    let grown = gateway.kilobytes("VmRSS").saturating_sub(before);
    assert!(grown < 4096, "{grown} KB are kept");
    assert_eq!(
        origin
            .connections
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

/// A reload changes who must announce clients on an address that stays. Connections go on as they
/// began.
#[test]
fn a_reload_changes_the_list() {
    let origin = Origin::polite();
    let gateway = start(&origin, "");
    let (announced, plain) = (
        [VERSION_1, REQUEST.as_bytes()].concat(),
        REQUEST.as_bytes().to_vec(),
    );
    let kept = "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n";
    let mut old = gateway.connect();
    old.send(kept);
    old.read_until("\r\n\r\nhi");
    for (round, (list, takes, refuses)) in [
        ("\"127.0.0.0/8\"", &announced, &plain),
        ("\"10.0.0.0/8\"", &plain, &announced),
        ("\"10.0.0.0/8\", \"127.0.0.1\"", &announced, &plain),
        ("", &plain, &announced),
    ]
    .into_iter()
    .enumerate()
    {
        let file = gateway.folder.0.join("tollgate.json");
        let config = proxied(&origin, gateway.address, list);
        std::fs::write(file, config).expect("the file is ours");
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
        let answer = say(gateway.address, &[takes]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{list}: {answer:?}");
        let answer = say(gateway.address, &[refuses]);
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{list}: {answer:?}");
        old.send(kept);
        old.read_until("\r\n\r\nhi");
    }
}

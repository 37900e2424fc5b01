//! Large bodies, which the kernel moves from socket to socket: complete, in order, and never mixed
//! with another body.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::world::*;

/// Number of bytes of a large body.
const LARGE: usize = 8 << 20;

/// Returns the byte at a position of the body with this number.
fn byte(number: u8, at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ number
}

/// Sends a part of a body. An error means that the other end is gone.
fn send_body(
    client: &mut Client,
    number: u8,
    range: std::ops::Range<usize>,
) -> std::io::Result<()> {
    for start in range.clone().step_by(64 << 10) {
        let piece: Vec<u8> = (start..range.end.min(start + (64 << 10)))
            .map(|at| byte(number, at))
            .collect();
        client.0.write_all(&piece)?;
    }
    Ok(())
}

/// Receives a body to its end, or as much of it as comes. Returns the length, and the error that
/// stopped it.
#[track_caller]
fn receive_body(
    client: &mut Client,
    number: u8,
    range: std::ops::Range<usize>,
) -> (usize, Option<ErrorKind>) {
    let (mut at, mut piece) = (range.start, vec![0; 256 << 10]);
    while at < range.end {
        let most = piece.len().min(range.end - at);
        match client.0.read(&mut piece[..most]) {
            Ok(0) => return (at, None),
            Ok(n) => {
                let wrong = (0..n).find(|&i| piece[i] != byte(number, at + i));
                assert_eq!(wrong.map(|i| at + i), None, "a wrong byte in body {number}");
                at += n;
            }
            Err(error) => return (at, Some(error.kind())),
        }
    }
    (at, None)
}

/// Starts an upstream that reads the body whose number is in the path, and answers with the body of
/// the next number. If the path ends in `/half`, the upstream sends the first half and ends the
/// connection.
fn origin() -> Origin {
    Origin::start(|mut client| {
        while let Some(head) = read_head(&mut client) {
            let number: u8 = head
                .split(['/', ' '])
                .find_map(|word| word.parse().ok())
                .expect("a number");
            if head.contains("Content-Length") {
                assert_eq!(receive_body(&mut client, number, 0..LARGE), (LARGE, None));
            }
            let sent = if head.contains("/half ") {
                LARGE / 2
            } else {
                LARGE
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            if client.0.write_all(answer.as_bytes()).is_err()
                || send_body(&mut client, number + 1, 0..sent).is_err()
            {
                return;
            }
            if sent < LARGE {
                return;
            }
        }
    })
}

fn get(client: &mut Client, number: u8, more: &str) {
    client.send(format!(
        "GET /a/{number}{more} HTTP/1.1\r\nHost: gate\r\n\r\n"
    ));
    client.read_until("\r\n\r\n");
}

/// Returns the number of pipes that the gateway has opened, without those that its parent has made
/// for it.
fn pipes(gateway: &Gateway) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", gateway.child.id()))
        .expect("it runs")
        .flatten();
    let targets = files.filter_map(|file| {
        let number: u32 = file.file_name().to_str()?.parse().ok()?;
        (number > 2)
            .then(|| fs::read_link(file.path()).ok())
            .flatten()
    });
    targets
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .count()
}

#[test]
fn large_bodies_pass_both_ways_through_pipes() {
    let origin = origin();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let before = pipes(&gateway);
    let mut client = gateway.connect();
    for number in [1, 3] {
        let mut sender = Client(client.0.try_clone().expect("a second handle"));
        client.send(format!(
            "POST /a/{number} HTTP/1.1\r\nHost: gate\r\nContent-Length: {LARGE}\r\n\r\n"
        ));
        let sending = thread::spawn(move || send_body(&mut sender, number, 0..LARGE));
        client.read_until("\r\n\r\n");
        assert_eq!(
            receive_body(&mut client, number + 1, 0..LARGE),
            (LARGE, None)
        );
        sending.join().expect("no panic").expect("all was taken");
    }
    get(&mut client, 5, "");
    assert_eq!(receive_body(&mut client, 6, 0..LARGE), (LARGE, None));
    assert_eq!(
        pipes(&gateway) - before,
        2,
        "one pipe, emptied each time, was enough"
    );
}

#[test]
fn a_client_that_does_not_read_holds_a_pipe_and_delays_no_other() {
    let origin = origin();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let before = pipes(&gateway);
    let mut slow: Vec<Client> = Vec::new();
    while pipes(&gateway) < before + 6 {
        // On a busy machine an answer may arrive in small pieces. The gateway reads these until the
        // socket of its client is full, and then holds another answer in a pipe.
        assert!(
            slow.len() < 20,
            "bytes for three of {} that do not read wait in pipes",
            slow.len()
        );
        let (held, deadline) = (pipes(&gateway), Instant::now() + Duration::from_secs(2));
        slow.push(gateway.connect());
        get(slow.last_mut().expect("the new one"), 1, "");
        while pipes(&gateway) < held + 2 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
    let mut quick = gateway.connect();
    get(&mut quick, 7, "");
    assert_eq!(receive_body(&mut quick, 8, 0..LARGE), (LARGE, None));
    for client in &mut slow {
        assert_eq!(receive_body(client, 2, 0..LARGE), (LARGE, None));
    }
    // One client leaves while bytes for it are in a pipe. Later bodies must not contain these
    // bytes.
    get(&mut slow[0], 3, "");
    assert_eq!(receive_body(&mut slow[0], 4, 0..100_000), (100_000, None));
    let gone = slow.remove(0);
    socket2::SockRef::from(&gone.0)
        .set_linger(Some(Duration::ZERO))
        .expect("an option");
    drop(gone);
    for number in [11, 13] {
        get(&mut quick, number, "");
        assert_eq!(
            receive_body(&mut quick, number + 1, 0..LARGE),
            (LARGE, None)
        );
    }
    gateway.stdout.expect("\"GET /a/3 ");
}

#[test]
fn an_upstream_that_ends_early_is_no_whole_body() {
    let origin = origin();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let mut client = gateway.connect();
    get(&mut client, 1, "/half");
    let (received, end) = receive_body(&mut client, 2, 0..LARGE);
    assert!(
        received <= LARGE / 2 && end == Some(ErrorKind::ConnectionReset),
        "{received} bytes, then {end:?}"
    );
    let mut client = gateway.connect();
    get(&mut client, 3, "");
    assert_eq!(receive_body(&mut client, 4, 0..LARGE), (LARGE, None));
}

#[test]
fn an_upload_that_breaks_off_ends_at_the_upstream() {
    let (results, ends) = std::sync::mpsc::channel();
    let origin = Origin::start(move |mut client| {
        if read_head(&mut client).is_some() {
            let _ = results.send(receive_body(&mut client, 1, 0..LARGE));
        }
    });
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let mut client = gateway.connect();
    client.send(format!(
        "POST /a/1 HTTP/1.1\r\nHost: gate\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    send_body(&mut client, 1, 0..LARGE / 2).expect("it is taken");
    socket2::SockRef::from(&client.0)
        .set_linger(Some(Duration::ZERO))
        .expect("an option");
    drop(client);
    let (received, _) = ends.recv_timeout(PATIENCE).expect("its connection ends");
    assert!(received <= LARGE / 2, "{received} bytes of {}", LARGE / 2);
}

//! Requests through real sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::world::*;

#[test]
fn many_requests_over_one_connection_on_each_side() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let mut client = gateway.connect();
    for _ in 0..100 {
        client.send(GET);
        assert!(
            client
                .read_until("\r\n\r\nhi")
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
    }
    client.send(GET.repeat(50));
    for _ in 0..50 {
        client.read_until("\r\n\r\nhi");
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn the_rate_limit_lets_twenty_pass() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config(""));
    for _ in 0..20 {
        assert!(gateway.get("/a").starts_with("HTTP/1.1 200 "));
    }
    let refused = gateway.get("/a");
    assert!(
        refused.starts_with("HTTP/1.1 429 ") && refused.contains("\r\nRetry-After: "),
        "{refused}"
    );
    assert!(refused.ends_with(
        "{\"code\":429,\"status\":\"Error\",\"message\":\"Rate limit exceeded.\",\"data\":null}"
    ));
}

#[test]
fn upstream_failures_have_their_statuses() {
    let silent = Origin::start(|mut client| while read_head(&mut client).is_some() {});
    let config = format!(
        "{{ \"rateLimit\": false, \"services\": [ {{ \"route\": \"/silent\", \"target\": \"http://{}\", \"timeouts\": {{ \"response\": \"200ms\" }} }},
           {{ \"route\": \"/refused\", \"target\": \"http://127.0.0.1:{}\" }}, {{ \"route\": \"/unknown\", \"target\": \"http://no-such-name.invalid\" }} ] }}",
        silent.address,
        free_port()
    );
    let gateway = Gateway::start(&config);
    for (path, status) in [
        ("/silent", 504),
        ("/refused", 502),
        ("/unknown", 502),
        ("/silent", 504),
        ("/nowhere", 404),
    ] {
        assert!(
            gateway
                .get(path)
                .starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}"
        );
    }
    gateway.stderr.expect("cannot resolve no-such-name.invalid");
}

#[test]
fn a_whole_reply_reaches_a_client_that_is_still_sending() {
    let origin = Origin::polite();
    let gateway = Gateway::start(
        &origin.config("\"rateLimit\": false, \"limits\": { \"bodyBytes\": \"1KB\" },"),
    );
    let body = vec![b'x'; 1 << 20];
    for (path, status) in [("/nowhere", 404), ("/a", 413)]
        .into_iter()
        .cycle()
        .take(200)
    {
        let mut client = gateway.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: gate\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        let reply = client.read_to_end();
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")) && reply.ends_with("\"data\":null}"),
            "{reply}"
        );
    }
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let (ended, seen) = mpsc::channel();
    let ended = Mutex::new(ended);
    let origin = Origin::start(move |mut client| {
        if read_head(&mut client).is_some() {
            // The read must end because the connection ends, not because of the timeout.
            let left = client.0.read(&mut [0; 16]);
            let _ = ended.lock().expect("no panic").send(
                matches!(left, Ok(0))
                    || left.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
            );
        }
    });
    let gateway = Gateway::start(&origin.config(""));
    for shutdown in [Shutdown::Both, Shutdown::Write] {
        let mut client = gateway.connect();
        client.send(GET);
        while origin.connections.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        client.0.shutdown(shutdown).expect("open");
        assert_eq!(seen.recv_timeout(PATIENCE), Ok(true), "{shutdown:?}");
        origin.connections.store(0, Ordering::Relaxed);
    }
}

#[test]
fn with_half_close_a_finished_client_is_answered() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"halfClose\": true,"));
    let mut client = gateway.connect();
    client.send(GET);
    client.0.shutdown(Shutdown::Write).expect("open");
    assert!(client.read_to_end().ends_with("\r\n\r\nhi"));
}

/// Starts an upstream that answers one request on a connection and closes at the next. Returns the
/// number of heads that have arrived.
fn mortal() -> (Origin, Arc<AtomicU32>) {
    let heads = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&heads);
    let origin = Origin::start(move |mut client| {
        if read_head(&mut client).is_some() {
            count.fetch_add(1, Ordering::Relaxed);
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
        if read_head(&mut client).is_some() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (origin, heads)
}

#[test]
fn a_post_that_meets_a_dead_pooled_connection_is_not_sent_again() {
    let (origin, heads) = mortal();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    for round in 1..=50 {
        assert!(gateway.get("/a").ends_with("\r\n\r\nhi"));
        let answer = gateway.ask(
            "POST /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(
            heads.load(Ordering::Relaxed),
            2 * round,
            "one GET and one POST a round"
        );
    }
}

#[test]
fn a_get_that_meets_a_dead_pooled_connection_is_sent_again() {
    let (origin, heads) = mortal();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    for _ in 0..50 {
        assert!(gateway.get("/a").ends_with("\r\n\r\nhi"));
    }
    // The first request arrives once. Each later one arrives on the connection that closes, and
    // again as its replay.
    assert_eq!(
        (
            origin.connections.load(Ordering::Relaxed),
            heads.load(Ordering::Relaxed)
        ),
        (50, 99)
    );
}

#[test]
fn heads_that_are_too_large_http_10_and_expectations() {
    let origin = Origin::start(|mut client| {
        while let Some(head) = read_head(&mut client) {
            if head.starts_with("POST") {
                client.read_until("body!");
            }
            client
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
        }
    });
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    assert!(
        gateway
            .get(&format!("/a/{}", "x".repeat(9_000)))
            .starts_with("HTTP/1.1 414 ")
    );
    assert!(
        gateway
            .ask(&format!(
                "GET /a HTTP/1.1\r\nHost: gate\r\nX: {}\r\n\r\n",
                "x".repeat(17_000)
            ))
            .starts_with("HTTP/1.1 431 ")
    );
    let old = gateway.ask("GET /a HTTP/1.0\r\n\r\n");
    assert!(
        old.ends_with("\r\n\r\nhi") && !old.contains("chunked"),
        "{old}"
    );
    let mut client = gateway.connect();
    client.send(
        "POST /a HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(
        client.read_until("\r\n\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("body!");
    assert!(client.read_until("0\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_stream_arrives_as_it_is_sent() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut client| {
        if read_head(&mut client).is_some() {
            client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for event in ["one", "two", "three"] {
                client.send(format!("5\r\n{event:5}\r\n"));
                // The upstream sends the next part only after the client has received this one.
                if wait
                    .lock()
                    .expect("no panic")
                    .recv_timeout(PATIENCE)
                    .is_err()
                {
                    return;
                }
            }
            client.send("0\r\n\r\n");
        }
    });
    let gateway = Gateway::start(&origin.config(""));
    let mut client = gateway.connect();
    client.send(GET);
    for event in ["one  \r\n", "two  \r\n", "three\r\n"] {
        client.read_until(event);
        go.send(()).expect("the origin waits");
    }
    client.read_until("0\r\n\r\n");
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_each_end() {
    let origin = Origin::start(|mut client| {
        let head = read_head(&mut client).expect("a handshake");
        assert!(head.contains("Upgrade: websocket\r\n"));
        client.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        );
        let mut all = Vec::new();
        client.0.read_to_end(&mut all).expect("to its end");
        all.reverse();
        client.send(&all);
    });
    let gateway = Gateway::start(&origin.config(""));
    let mut client = gateway.connect();
    client.send("GET /a HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n");
    client.read_until("\r\n\r\n");
    let mut sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = client.0.try_clone().expect("a second handle");
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).expect("taken");
        writer.shutdown(Shutdown::Write).expect("open");
    });
    let mut received = Vec::new();
    client.0.read_to_end(&mut received).expect("to its end");
    writing.join().expect("no panic");
    sent.reverse();
    assert!(
        received == sent,
        "{} of {} bytes",
        received.len(),
        sent.len()
    );
}

#[test]
fn a_gigabyte_past_a_slow_reader_takes_bounded_memory() {
    const GIGABYTE: usize = 1 << 30;
    let origin = Origin::start(|mut client| {
        if read_head(&mut client).is_some() {
            client.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n"
            ));
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..GIGABYTE >> 20 {
                if client.0.write_all(&piece).is_err() {
                    return;
                }
            }
        }
    });
    let gateway = Gateway::start(&origin.config(""));
    let mut client = gateway.connect();
    client.send(GET);
    client.read_until("\r\n\r\n");
    let (mut total, mut next_stop, mut piece) = (0, 0, vec![0; 1 << 20]);
    while total < GIGABYTE {
        if total >= next_stop {
            // The reader stops from time to time, long enough for all buffers on the way to fill.
            std::thread::sleep(Duration::from_millis(100));
            next_stop = total + (64 << 20);
        }
        let n = client.0.read(&mut piece).expect("no reset, no timeout");
        assert!(n > 0, "ended after {total} bytes");
        total += n;
    }
    let peak = gateway.kilobytes("VmHWM");
    assert!(peak < 16_000, "{peak} kB");
}

#[test]
fn garbage_is_answered_or_closed_and_nothing_breaks() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"rateLimit\": false,"));
    let mut state = 42_u64;
    for round in 0..100 {
        let bytes: Vec<u8> = (0..round * 7 + 1)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            })
            .collect();
        let mut client = gateway.connect();
        client.send(&bytes);
        let _ = client.0.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.0.read_to_end(&mut answer);
        assert!(
            answer.is_empty()
                || answer.starts_with(b"HTTP/1.1 4")
                || answer.starts_with(b"HTTP/1.1 5")
        );
    }
    assert!(gateway.get("/a").ends_with("\r\n\r\nhi"));
}

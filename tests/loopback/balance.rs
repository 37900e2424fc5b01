//! Several upstreams on real sockets: killed, silent, slow, and up again.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::world::*;

/// Upstream that works.
const UP: u8 = 0;
/// Upstream that refuses connections. Its open connections are closed.
const DOWN: u8 = 1;
/// Upstream that accepts and reads, and does not answer.
const SILENT: u8 = 2;
/// Upstream that takes 50 ms for an answer.
const SLOW: u8 = 3;
/// Upstream that answers health checks with 500, and other requests with 200.
const UNHEALTHY: u8 = 4;

/// Upstream whose state can be changed.
struct Site {
    address: SocketAddr,
    state: Arc<AtomicU8>,
    /// Request lines that have arrived.
    seen: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Site {
    fn start() -> Site {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let site = Site {
            address,
            state: Arc::default(),
            seen: Arc::default(),
            over: Arc::default(),
        };
        let (state, seen, over) = (
            Arc::clone(&site.state),
            Arc::clone(&site.seen),
            Arc::clone(&site.over),
        );
        thread::spawn(move || {
            let mut listener = Some(listener);
            while !over.load(Ordering::SeqCst) {
                if state.load(Ordering::SeqCst) == DOWN {
                    listener = None;
                } else if listener.is_none() {
                    listener = TcpListener::bind(address).ok();
                }
                let accepted = listener.as_ref().and_then(|listener| {
                    listener.set_nonblocking(true).expect("an option");
                    listener.accept().ok()
                });
                let Some((stream, _)) = accepted else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).expect("an option");
                stream
                    .set_read_timeout(Some(Duration::from_millis(20)))
                    .expect("a timeout");
                let (state, seen, over) =
                    (Arc::clone(&state), Arc::clone(&seen), Arc::clone(&over));
                thread::spawn(move || serve(Client(stream), &state, &seen, &over));
            }
        });
        site
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        if state == DOWN {
            let deadline = Instant::now() + PATIENCE;
            while std::net::TcpStream::connect(self.address).is_ok() {
                assert!(Instant::now() < deadline, "it still listens");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn count(&self, start: &str) -> usize {
        self.seen
            .lock()
            .expect("no panic")
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }
}

/// Answers requests without a body, or with one of two bytes.
fn serve(mut client: Client, state: &AtomicU8, seen: &Mutex<Vec<String>>, over: &AtomicBool) {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        match std::io::Read::read(&mut client.0, &mut part) {
            Ok(0) => return,
            Ok(n) => bytes.extend_from_slice(&part[..n]),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return,
        }
        let now = state.load(Ordering::SeqCst);
        if over.load(Ordering::SeqCst) || now == DOWN {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if head.contains("Content-Length: 2") && body.len() < 2 {
            continue;
        }
        bytes.clear();
        let line = head.lines().next().expect("a line").to_owned();
        let check = line.contains("/health");
        seen.lock().expect("no panic").push(line);
        let status = match now {
            SILENT => continue,
            UNHEALTHY if check => "500 Oh",
            _ => "200 OK",
        };
        if now == SLOW {
            thread::sleep(Duration::from_millis(50));
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nhi");
        if client.0.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Starts a gateway in front of these upstreams, with further keys of the service.
fn gateway(sites: &[(&Site, u32)], more: &str) -> Gateway {
    let target = |(site, weight): &(&Site, u32)| {
        format!(
            r#"{{ "url": "http://{}/base", "weight": {weight} }}"#,
            site.address
        )
    };
    let targets = sites.iter().map(target).collect::<Vec<_>>().join(", ");
    Gateway::start(&format!(
        r#"{{ "rateLimit": false, "accessLog": "json", "services": [ {{ "route": "/a", "targets": [ {targets} ], {more} }} ] }}"#
    ))
}

/// Clients that send requests on kept-alive connections until they are stopped. They collect the
/// statuses of GETs that failed.
struct Clients {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Clients {
    fn start(gateway: &Gateway) -> Clients {
        let (over, address) = (Arc::new(AtomicBool::new(false)), gateway.address);
        let ask = move |over: Arc<AtomicBool>| {
            let (mut count, mut failed) = (0, Vec::new());
            while !over.load(Ordering::SeqCst) {
                let mut client = Client::to(address);
                for _ in 0..50 {
                    client.send("GET /a/load HTTP/1.1\r\nHost: gate\r\n\r\n");
                    let head = read_head(&mut client).unwrap_or_default();
                    count += 1;
                    if !head.starts_with("HTTP/1.1 200 ") {
                        failed.push(head);
                        break;
                    }
                    client.read_until("hi");
                }
            }
            (count, failed)
        };
        let spawn = |_| {
            let over = Arc::clone(&over);
            thread::spawn(move || ask(over))
        };
        Clients {
            threads: (0..4).map(spawn).collect(),
            over,
        }
    }

    /// Returns the number of requests, of which none may have failed.
    #[track_caller]
    fn stop(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        let mut all = 0;
        for thread in self.threads {
            let (count, failed) = thread.join().expect("no panic");
            assert!(
                failed.is_empty(),
                "{} of {count} requests failed: {}",
                failed.len(),
                failed[0]
            );
            all += count;
        }
        all
    }
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn requests_follow_the_weights() {
    let sites = [Site::start(), Site::start(), Site::start()];
    let gateway = gateway(
        &[(&sites[0], 1), (&sites[1], 2), (&sites[2], 3)],
        r#""retries": 0"#,
    );
    let mut client = gateway.connect();
    for _ in 0..600 {
        client.send("GET /a/x HTTP/1.1\r\nHost: gate\r\n\r\n");
        client.read_until("\r\n\r\nhi");
    }
    let counts = sites
        .each_ref()
        .map(|site| site.count("GET /base/x HTTP/1.1"));
    assert_eq!(counts, [100, 200, 300]);
}

#[test]
fn a_target_is_killed_under_load_and_returns() {
    let sites = [Site::start(), Site::start(), Site::start()];
    let gateway = gateway(
        &[(&sites[0], 1), (&sites[1], 1), (&sites[2], 1)],
        r#""passiveHealth": { "failures": 3, "window": "10s", "eject": "1s" }"#,
    );
    let clients = Clients::start(&gateway);
    until("all are asked", || {
        sites.iter().all(|site| site.count("GET") > 20)
    });
    sites[0].set(DOWN);
    gateway.stderr.expect("is put aside for a while");
    let before = sites[0].count("GET");
    sites[0].set(UP);
    until("it is asked again", || sites[0].count("GET") > before + 20);
    assert!(clients.stop() > 100);
}

#[test]
fn with_a_silent_target_no_get_fails_and_no_post_is_sent_twice() {
    let sites = [Site::start(), Site::start()];
    let gateway = gateway(
        &[(&sites[0], 1), (&sites[1], 1)],
        r#""timeouts": { "response": "300ms" }, "passiveHealth": false"#,
    );
    sites[0].set(SILENT);
    let mut posts = Vec::new();
    for number in 0..5 {
        let get = gateway.get(&format!("/a/get{number}"));
        assert!(get.starts_with("HTTP/1.1 200 "), "{get}");
        for turn in 0..2 {
            let post = gateway.ask(&format!(
                "POST /a/post{number}{turn} HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
            ));
            posts.push(post.get(9..12).unwrap_or_default().to_owned());
            let line = format!("POST /base/post{number}{turn} ");
            let arrivals = sites.iter().map(|site| site.count(&line)).sum::<usize>();
            assert_eq!(arrivals, 1, "a POST is sent once: {post}");
        }
    }
    assert!(
        posts.contains(&"504".to_owned())
            && posts
                .iter()
                .all(|status| ["200", "504"].contains(&status.as_str())),
        "{posts:?}"
    );
    assert!(gateway.stdout.expect("get4").contains(r#""retries":1"#));
}

#[test]
fn least_connections_sends_less_to_a_slow_target() {
    let sites = [Site::start(), Site::start()];
    sites[0].set(SLOW);
    let gateway = gateway(
        &[(&sites[0], 1), (&sites[1], 1)],
        r#""balance": "least-connections""#,
    );
    let clients = Clients::start(&gateway);
    until("the quick one is asked", || sites[1].count("GET") > 300);
    clients.stop();
    let (slow, quick) = (sites[0].count("GET"), sites[1].count("GET"));
    assert!(
        slow > 0 && slow * 3 < quick,
        "{slow} of the slow one, {quick} of the quick one"
    );
}

#[test]
fn health_checks_remove_a_target_before_a_request_fails() {
    let sites = [Site::start(), Site::start()];
    let check = r#""healthCheck": { "path": "/health", "interval": "100ms", "timeout": "1s", "rise": 2, "fall": 2 }"#;
    let gateway = gateway(&[(&sites[0], 1), (&sites[1], 1)], check);
    until("both are checked", || {
        sites.iter().all(|site| site.count("GET /health ") > 1)
    });
    sites[0].set(UNHEALTHY);
    gateway
        .stderr
        .expect("is down, its checks fail: status 500");
    let before = sites[0].count("GET /base");
    for _ in 0..10 {
        assert!(gateway.get("/a").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(sites[0].count("GET /base"), before);
    sites[1].set(UNHEALTHY);
    until("all are down", || {
        gateway.get("/a").starts_with("HTTP/1.1 503 ")
    });
    let text = gateway.get("/a");
    assert!(text.contains("\r\nRetry-After: 1\r\n"), "{text}");
    sites[0].set(UP);
    gateway
        .stderr
        .expect("is up again, its checks succeed: status 200");
    until("it serves again", || {
        gateway.get("/a").starts_with("HTTP/1.1 200 ")
    });
    assert!(
        !gateway.stdout.text().contains("/health"),
        "checks are not in the access log"
    );
}

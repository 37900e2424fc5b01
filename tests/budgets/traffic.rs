//! Traffic through the engine's windows, as the event loop moves it. Once all connections are made,
//! this code allocates nothing.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use tollgate::policy::forward::Peer;
use tollgate::proxy::Proxy;
use tollgate::proxy::command::{Command, ListenerKind, Report, Side};
use tollgate::time::{Duration, Instant, UnixTime};

/// 2026-11-24T12:00:00Z
const WALL: u64 = 1_795_521_600_000;
/// Pause between two rounds: timers move from slot to slot, dates and windows change.
const PAUSE: Duration = Duration::from_millis(20);
/// Number of log bytes at which the event loop writes its log.
const LOG_BYTES: usize = 32 * 1024;

/// Gateway with kept-alive clients, and the upstream connections that it has made.
pub struct Traffic {
    proxy: Proxy,
    clients: Vec<End>,
    upstreams: Vec<End>,
    now: Instant,
}

/// Other end of a connection, in one round.
struct End {
    side: Side,
    /// Bytes of its message that the engine has read.
    sent: usize,
    /// Bytes that the engine has written to it.
    received: usize,
    /// Digits of the last status line it has received.
    status: [u8; 3],
}

impl End {
    fn new(side: Side) -> End {
        End {
            side,
            sent: 0,
            received: 0,
            status: [0; 3],
        }
    }
}

impl Traffic {
    /// Returns a gateway with this configuration and its clients.
    pub fn new(config: &str, clients: usize) -> Traffic {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let config =
            match tollgate::config::load(config.as_bytes(), "budgets.json", &|_| None, &read) {
                Ok(config) => config,
                Err(errors) => panic!("{errors:?}"),
            };
        let mut proxy = Proxy::new(config.settings, 7);
        let now = Instant::from_millis(1000);
        let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let accept = |_| {
            End::new(Side::Client(
                proxy
                    .handle_accepted(peer, ListenerKind::Plain, now)
                    .expect("the gateway takes it"),
            ))
        };
        let clients = (0..clients).map(accept).collect::<Vec<_>>();
        Traffic {
            proxy,
            upstreams: Vec::with_capacity(clients.len()),
            clients,
            now,
        }
    }

    /// Sends the request of each client. When all have reached the upstream, sends the response on
    /// each of its connections. Each client must get this status and keep its connection.
    pub fn round(&mut self, request: &[u8], response: &[u8], status: [u8; 3]) {
        self.pass_time();
        for end in self.clients.iter_mut().chain(&mut self.upstreams) {
            (end.sent, end.received) = (0, 0);
        }
        while self.go_up(request) + self.come_down() > 0 {}
        while self.answer(response) + self.come_down() > 0 {}
        for client in &self.clients {
            assert!(
                client.sent == request.len(),
                "{} bytes of the request were read",
                client.sent
            );
            assert!(
                client.status == status,
                "the status is {:?}",
                client.status.map(char::from)
            );
        }
        for upstream in &self.upstreams {
            assert!(
                upstream.received == 0 || upstream.sent == response.len(),
                "{} bytes were read",
                upstream.sent
            );
        }
        let lines = self.proxy.access_lines();
        if lines.len() >= LOG_BYTES {
            black_box(&lines);
            lines.clear();
        }
    }

    fn pass_time(&mut self) {
        self.now = self.now.after(PAUSE);
        self.proxy
            .handle_clock(self.now, UnixTime::from_millis(WALL + self.now.as_millis()));
        if self.proxy.poll_timeout().is_some_and(|due| due <= self.now) {
            self.proxy.handle_timeout(self.now);
        }
        self.obey();
    }

    fn go_up(&mut self, request: &[u8]) -> usize {
        let mut moved = 0;
        for index in 0..self.clients.len() {
            moved += send(&mut self.proxy, &mut self.clients[index], request, self.now);
            self.obey();
        }
        for index in 0..self.upstreams.len() {
            moved += receive(&mut self.proxy, &mut self.upstreams[index], self.now);
            self.obey();
        }
        moved
    }

    fn answer(&mut self, response: &[u8]) -> usize {
        let mut moved = 0;
        for index in 0..self.upstreams.len() {
            if self.upstreams[index].received > 0 {
                moved += send(
                    &mut self.proxy,
                    &mut self.upstreams[index],
                    response,
                    self.now,
                );
                self.obey();
            }
        }
        moved
    }

    fn come_down(&mut self) -> usize {
        let mut moved = 0;
        for index in 0..self.clients.len() {
            moved += receive(&mut self.proxy, &mut self.clients[index], self.now);
            self.obey();
        }
        moved
    }

    fn obey(&mut self) {
        while let Some(command) = self.proxy.poll_command() {
            match command {
                Command::Dial { upstream, .. } => {
                    self.upstreams.push(End::new(Side::Upstream(upstream)));
                    self.proxy.handle_connected(upstream, self.now);
                }
                // The engine closes an idle connection after its timeout.
                Command::Close {
                    side: Side::Upstream(id),
                    abort: false,
                } => {
                    self.upstreams
                        .retain(|upstream| upstream.side != Side::Upstream(id));
                }
                // Said once.
                Command::Report(Report::FirstRateLimited(_)) => {}
                other => panic!("{other:?} is not part of a good exchange"),
            }
        }
        while self.proxy.poll_ready().is_some() {}
    }
}

/// Copies as much of the message as fits into the engine's read window.
fn send(proxy: &mut Proxy, end: &mut End, message: &[u8], now: Instant) -> usize {
    let unsent = &message[end.sent..];
    if unsent.is_empty() {
        return 0;
    }
    let room = proxy.room(end.side);
    let n = room.len().min(unsent.len());
    if n > 0 {
        room[..n].copy_from_slice(&unsent[..n]);
        end.sent += n;
        proxy.handle_received(end.side, n, now);
    }
    n
}

/// Takes the bytes that the engine wants to write.
fn receive(proxy: &mut Proxy, end: &mut End, now: Instant) -> usize {
    let (head, body) = proxy.pending(end.side);
    if end.received == 0
        && let Some(status) = head
            .strip_prefix(b"HTTP/1.1 ")
            .and_then(|rest| rest.first_chunk())
    {
        end.status = *status;
    }
    let n = black_box(head).len() + black_box(body).len();
    if n > 0 {
        end.received += n;
        proxy.handle_sent(end.side, n, now);
    }
    n
}

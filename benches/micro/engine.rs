//! The whole engine without sockets: one client, one kept-alive upstream connection, bytes copied in and out through the
//! windows as the loop does it.

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use tollgate::policy::forward::Peer;
use tollgate::proxy::Proxy;
use tollgate::proxy::command::{ClientId, Command, ListenerKind, Side, UpstreamId};
use tollgate::time::{Instant, UnixTime};

/// 2026-11-24T12:00:00Z
const WALL: u64 = 1_795_521_600_000;
/// The loop writes its log when so much of it waits.
const LOG_BYTES: usize = 32 * 1024;

pub struct Engine {
    proxy: Proxy,
    client: ClientId,
    upstream: Option<UpstreamId>,
    now: Instant,
}

/// A message as its sender wrote it.
pub struct Message {
    pub bytes: Vec<u8>,
    /// Number of bytes that are put where the engine reads. The rest is the data of a sized body, which the kernel would have put
    /// there: what it says is nobody's business, and copying it would be counted with the engine.
    pub copied: usize,
}

/// Progress of one direction of an exchange.
struct Flow<'b> {
    unread: &'b [u8],
    /// Of these, so many are copied.
    copied: usize,
    /// Bytes that came out at the other end.
    out: usize,
}

impl<'b> Flow<'b> {
    fn of(message: &'b Message) -> Flow<'b> {
        Flow {
            unread: &message.bytes,
            copied: message.copied,
            out: 0,
        }
    }
}

impl Engine {
    /// With everything on, as a configuration without options has it; `services` is the list in the file.
    pub fn new(services: &str) -> Engine {
        let text = format!(
            "{{ \"rateLimit\": {{ \"requests\": 1000000000 }}, \"services\": [ {services} ] }}"
        );
        let read = |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
        let config = match tollgate::config::load(text.as_bytes(), "micro.json", &|_| None, &read) {
            Ok(config) => config,
            Err(errors) => panic!("{errors:?}"),
        };
        let mut proxy = Proxy::new(config.settings, 7);
        let now = Instant::from_millis(1000);
        proxy.handle_clock(now, UnixTime::from_millis(WALL));
        let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let client = proxy
            .handle_accepted(peer, ListenerKind::Plain, now)
            .expect("the first connection is taken");
        let mut engine = Engine {
            proxy,
            client,
            upstream: None,
            now,
        };
        engine.obey();
        engine
    }

    /// Runs a request and its response. Returns the bytes that the client got. Panics if bytes were left unread.
    pub fn exchange(&mut self, request: &Message, response: &Message) -> usize {
        let mut up = Flow::of(request);
        let mut down = Flow::of(response);
        let client = Side::Client(self.client);
        loop {
            let mut moved = self.read(client, &mut up);
            if let Some(upstream) = self.upstream {
                let upstream = Side::Upstream(upstream);
                moved += self.write(upstream, &mut up);
                // The origin answers when it has the whole request.
                if up.unread.is_empty() && up.out > 0 && moved == 0 {
                    moved += self.read(upstream, &mut down);
                }
            }
            moved += self.write(client, &mut down);
            if moved == 0 {
                break;
            }
        }
        assert!(
            up.unread.is_empty() && down.unread.is_empty(),
            "something was not read"
        );
        let lines = self.proxy.access_lines();
        if lines.len() >= LOG_BYTES {
            black_box(&lines);
            lines.clear();
        }
        down.out
    }

    fn read(&mut self, side: Side, flow: &mut Flow<'_>) -> usize {
        if flow.unread.is_empty() {
            return 0;
        }
        let room = self.proxy.room(side);
        if room.is_empty() {
            return 0;
        }
        let n = room.len().min(flow.unread.len());
        let copied = n.min(flow.copied);
        room[..copied].copy_from_slice(&flow.unread[..copied]);
        flow.copied -= copied;
        flow.unread = &flow.unread[n..];
        self.proxy.handle_received(side, n, self.now);
        self.obey();
        n
    }

    fn write(&mut self, side: Side, flow: &mut Flow<'_>) -> usize {
        let (head, body) = self.proxy.pending(side);
        let n = black_box(head).len() + black_box(body).len();
        if n > 0 {
            flow.out += n;
            self.proxy.handle_sent(side, n, self.now);
            self.obey();
        }
        n
    }

    fn obey(&mut self) {
        while let Some(command) = self.proxy.poll_command() {
            match command {
                Command::Dial { upstream, .. } => {
                    assert!(
                        self.upstream.replace(upstream).is_none(),
                        "the connection is kept"
                    );
                    self.proxy.handle_connected(upstream, self.now);
                }
                other => panic!("{other:?} is not part of a good exchange"),
            }
        }
        while self.proxy.poll_ready().is_some() {}
    }
}

//! The whole engine between a client and upstreams that send arbitrary bytes.

use core::net::{IpAddr, Ipv4Addr};

use crate::policy::forward::Peer;
use crate::proxy::Proxy;
use crate::proxy::command::{ClientId, Command, Fault, ListenerKind, Side, UpstreamId};
use crate::time::{Duration, Instant, UnixTime};

use super::cost;
use super::transcript::{self, Transcript};

/// Runs the gateway between a client and upstreams. `script` begins with the events, two bytes a
/// step (kind, amount); the rest is what they send. After every step the reference parser reads the
/// output on each side. After both have closed, no state may remain.
pub fn exchange(script: &[u8]) {
    let Some((steps, said)) = script
        .split_first()
        .and_then(|(count, rest)| rest.split_at_checked((usize::from(*count) * 2).min(rest.len())))
    else {
        return;
    };
    let (client_says, upstream_says) = said.split_at_checked(said.len() / 2).unwrap_or((said, &[]));
    let mut stage = Stage::new(client_says, upstream_says);
    for step in steps.chunks_exact(2) {
        if let [what, much] = step {
            stage.step(*what, usize::from(*much) + 1);
        }
    }
    stage.close_all();
}

const CONFIG: &str = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" }, { "route": "/",
      "targets": ["http://10.0.0.2", "http://10.0.0.3/deep/"], "passiveHealth": { "failures": 2, "eject": "1s" } } ],
    "limits": { "bodyBytes": 4096 }, "rateLimit": false }"#;

/// World of [`exchange`].
struct Stage<'a> {
    proxy: Proxy,
    now: Instant,
    client: Option<ClientId>,
    /// Open connections, with their index in the transcript.
    upstreams: Vec<(UpstreamId, usize)>,
    /// Spliced bytes in the pipe, with their destination.
    in_pipe: Vec<(Side, Vec<u8>)>,
    dialing: Vec<UpstreamId>,
    client_says: &'a [u8],
    upstream_says: &'a [u8],
    transcript: Transcript,
    log: Vec<u8>,
    /// Steps that the engine took.
    steps: u64,
    /// Number of upstream connections that the engine asked for.
    dials: usize,
}

impl<'a> Stage<'a> {
    fn new(client_says: &'a [u8], upstream_says: &'a [u8]) -> Stage<'a> {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let settings = crate::config::load(CONFIG.as_bytes(), "fuzz.json", &|_| None, &read)
            .ok()
            .map(|config| config.settings);
        #[expect(
            clippy::unreachable,
            reason = "a property may panic; that is how it fails"
        )]
        let Some(mut settings) = settings else {
            unreachable!("the configuration above is valid")
        };
        // Splicing begins at a size that a fuzzer can reach.
        settings.limits.splice_min_bytes = 8;
        settings.limits.gathered_bytes = 8;
        let mut proxy = Proxy::new(settings, 1);
        let now = Instant::from_millis(1);
        proxy.handle_clock(now, UnixTime::from_millis(1_800_000_000_000));
        let client = proxy.handle_accepted(
            Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ListenerKind::Plain,
            now,
        );
        let mut stage = Stage {
            proxy,
            now,
            client,
            upstreams: Vec::new(),
            in_pipe: Vec::new(),
            dialing: Vec::new(),
            client_says,
            upstream_says,
            transcript: Transcript::default(),
            log: Vec::new(),
            steps: 0,
            dials: 0,
        };
        stage.run_commands();
        stage
    }

    fn step(&mut self, what: u8, much: usize) {
        let before = crate::cost::steps();
        self.act(what, much);
        self.run_commands();
        self.steps += crate::cost::steps() - before;
        self.transcript.check();
    }

    fn act(&mut self, what: u8, much: usize) {
        let down = self.client.map(Side::Client);
        let up = self.upstreams.last().map(|(up, _)| Side::Upstream(*up));
        match what % 12 {
            0..=2 => self.deliver(down, much),
            3 | 4 => self.deliver(up, much),
            5 => self.take(down, much),
            6 => self.take(up, much),
            7 => self.connected(much),
            8 => self.end(down),
            9 => self.end(up),
            10 => self.fault(if much.is_multiple_of(2) { down } else { up }, much),
            _ if much == 256 => self.proxy.handle_shutdown(),
            _ => self.pass(much as u64 * 100),
        }
    }

    /// Fails if the engine took more steps than the bytes and messages of its peers allow.
    fn check_cost(&self) {
        let transcript = &self.transcript;
        let said = transcript
            .upstreams
            .iter()
            .map(|upstream| upstream.sent.len());
        let bytes = transcript.client_sent.len() + said.sum::<usize>();
        // One more of each may be in progress.
        let messages =
            transcript.requests_sent() + transcript.responses_received() + self.dials + 2;
        let allowed = cost::EXCHANGE_STEPS * bytes as u64 + cost::MESSAGE_STEPS * messages as u64;
        assert!(
            self.steps <= allowed,
            "{} steps for {bytes} bytes in {messages} messages; {allowed} are allowed",
            self.steps
        );
    }

    /// Returns the transcript of an upstream connection.
    fn place(&mut self, up: UpstreamId) -> Option<&mut transcript::Upstream> {
        let place = self.upstreams.iter().find(|(other, _)| *other == up)?.1;
        self.transcript.upstreams.get_mut(place)
    }

    fn deliver(&mut self, side: Option<Side>, much: usize) {
        let Some(side) = side else { return };
        let says = match side {
            Side::Client(_) => &mut self.client_says,
            Side::Upstream(_) => &mut self.upstream_says,
        };
        // Every other time, bytes are spliced where the engine offers it.
        if let Some(offer) = self
            .proxy
            .splice_offer(side)
            .filter(|_| much.is_multiple_of(2))
        {
            let n = much
                .min(says.len())
                .min(usize::try_from(offer.most).unwrap_or(usize::MAX));
            let Some((bytes, rest)) = says.split_at_checked(n).filter(|_| n > 0) else {
                return;
            };
            *says = rest;
            assert!(
                self.in_pipe.iter().all(|(to, _)| *to != offer.to),
                "what passed before is through"
            );
            self.in_pipe.push((offer.to, bytes.to_vec()));
            self.have_said(side, bytes);
            return self.proxy.handle_spliced(side, n, self.now);
        }
        let room = self.proxy.room(side);
        if room.is_empty() {
            return;
        }
        let n = much.min(says.len()).min(room.len());
        let Some((bytes, rest)) = says.split_at_checked(n) else {
            return;
        };
        if let Some(to) = room.get_mut(..n) {
            to.copy_from_slice(bytes);
            *says = rest;
        }
        self.have_said(side, bytes);
        self.proxy.handle_received(side, n, self.now);
    }

    fn have_said(&mut self, side: Side, bytes: &[u8]) {
        match side {
            Side::Client(_) => self.transcript.client_sent.extend_from_slice(bytes),
            Side::Upstream(up) => {
                if let Some(place) = self.place(up) {
                    place.sent.extend_from_slice(bytes);
                }
            }
        }
    }

    fn take(&mut self, side: Option<Side>, much: usize) {
        let Some(side) = side else { return };
        let (head, body) = self.proxy.pending(side);
        let mut bytes: Vec<u8> = head
            .iter()
            .chain(body)
            .copied()
            .take(much.saturating_mul(16))
            .collect();
        if bytes.is_empty() {
            bytes = self.take_spliced(side, much.saturating_mul(16));
        }
        if bytes.is_empty() {
            return;
        }
        match side {
            Side::Client(_) => self.transcript.client_received.extend_from_slice(&bytes),
            Side::Upstream(up) => {
                if let Some(place) = self.place(up) {
                    place.received.extend_from_slice(&bytes);
                }
            }
        }
        self.proxy.handle_sent(side, bytes.len(), self.now);
    }

    /// Spliced bytes follow all bytes of the engine.
    fn take_spliced(&mut self, side: Side, most: usize) -> Vec<u8> {
        let Some(at) = self.in_pipe.iter().position(|(to, _)| *to == side) else {
            return Vec::new();
        };
        let Some((_, waiting)) = self.in_pipe.get_mut(at) else {
            return Vec::new();
        };
        let bytes: Vec<u8> = waiting.drain(..most.min(waiting.len())).collect();
        if waiting.is_empty() {
            self.in_pipe.remove(at);
        }
        bytes
    }

    /// Establishes a connection; some are refused instead.
    fn connected(&mut self, much: usize) {
        let Some(up) = self.dialing.pop() else { return };
        if much.is_multiple_of(16) {
            let fault = if much.is_multiple_of(32) {
                Fault::Exhausted
            } else {
                Fault::Refused
            };
            return self
                .proxy
                .handle_fault(Side::Upstream(up), fault, None, self.now);
        }
        self.upstreams.push((up, self.transcript.upstreams.len()));
        self.transcript
            .upstreams
            .push(transcript::Upstream::default());
        self.proxy.handle_connected(up, self.now);
    }

    fn end(&mut self, side: Option<Side>) {
        let Some(side) = side else { return };
        if self.proxy.room(side).is_empty() {
            return self.proxy.handle_hangup(side, self.now);
        }
        self.proxy.handle_received(side, 0, self.now);
        if let Side::Upstream(up) = side
            && let Some(place) = self.place(up)
        {
            place.ended = true;
        }
        self.proxy.handle_end(side, self.now);
    }

    fn fault(&mut self, side: Option<Side>, much: usize) {
        let Some(side) = side else { return };
        let fault = if matches!(side, Side::Upstream(_)) && much.is_multiple_of(5) {
            Fault::SendFailed
        } else {
            Fault::Reset
        };
        if fault != Fault::SendFailed {
            self.forget(side);
        }
        self.proxy.handle_fault(side, fault, None, self.now);
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        if self.proxy.poll_timeout().is_some_and(|due| due <= self.now) {
            self.proxy.handle_timeout(self.now);
        }
    }

    fn run_commands(&mut self) {
        for commands in 0.. {
            assert!(commands < 10_000, "I7: the engine spins");
            match self.proxy.poll_command() {
                None => break,
                Some(Command::Dial { upstream, .. }) => {
                    self.dials += 1;
                    self.dialing.push(upstream);
                }
                Some(Command::Shut(Side::Client(_))) => self.transcript.client_ended = true,
                Some(Command::Close { side, abort }) => {
                    self.transcript.client_ended |= !abort
                        && matches!(side, Side::Client(_))
                        && self.client.map(Side::Client) == Some(side);
                    self.forget(side);
                }
                Some(_) => {}
            }
        }
        for sides in 0.. {
            assert!(sides < 10_000, "I7: the engine spins");
            if self.proxy.poll_ready().is_none() {
                break;
            }
        }
        assert!(
            self.proxy.check(false).is_ok(),
            "the engine holds more than it says that it can"
        );
        self.log.append(self.proxy.access_lines());
    }

    fn forget(&mut self, side: Side) {
        self.in_pipe.retain(|(to, _)| *to != side);
        match side {
            Side::Client(id) => self.client = self.client.filter(|client| *client != id),
            Side::Upstream(id) => {
                self.upstreams.retain(|(up, _)| *up != id);
                self.dialing.retain(|up| *up != id);
            }
        }
    }

    /// Closes all connections and lets time pass. No state may remain (I8), and every response has
    /// its log line (I6).
    fn close_all(mut self) {
        self.check_cost();
        // Bytes still pending for an upstream count as received.
        for (up, _) in self.upstreams.clone() {
            self.take(Some(Side::Upstream(up)), usize::MAX);
        }
        self.run_commands();
        self.transcript.check();
        self.fault(self.client.map(Side::Client), 1);
        self.run_commands();
        self.now = self.now.after(Duration::from_secs(7200));
        self.proxy.handle_timeout(self.now);
        self.run_commands();
        let left = (
            self.proxy.holdings().clients,
            self.proxy.holdings().upstreams,
            self.proxy.holdings().buffers,
        );
        assert_eq!(left, (0, 0, 0), "I8: connections or buffers are left");
        let lines = self.log.split(|&byte| byte == b'\n').count() - 1;
        let (asked, answered) = (
            self.transcript.requests_sent(),
            self.transcript.responses_received(),
        );
        assert!(
            answered <= lines && lines <= asked + 1,
            "I6: {lines} lines for {answered} answers to {asked} requests"
        );
    }
}

//! Properties that the fuzz targets and the tests share: each takes any bytes and fails only on a defect of ours.
//!
//! A target in `fuzz/` is one call of a function here; the seeds in `fuzz/seeds` are replayed by plain `cargo test`.

use core::net::{IpAddr, Ipv4Addr};

use crate::http::chunked::{ChunkDecoder, ChunkError, ChunkStep};
use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request, parse_response};
use crate::http::target::parse_target;
use crate::policy::forward::Peer;
use crate::policy::reply::Reply;
use crate::policy::rewrite::Rewrite;
use crate::policy::route::RouteTable;
use crate::proxy::Proxy;
use crate::proxy::command::{Command, Fault, Side, UpstreamId};
use crate::time::{Duration, Instant, UnixTime};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 16_384, request_line_bytes: 8_192, fields: 100 };

/// A request head reads the same whole and in pieces, and what is accepted has one reading.
pub fn request_head(bytes: &[u8]) {
    let whole = request_in_pieces(bytes, usize::MAX);
    for piece in [1, 7] {
        let pieces = request_in_pieces(bytes, piece);
        assert_eq!(whole.is_some(), pieces.is_some(), "accepted whole or in pieces, not both");
        assert!(whole.is_none() || whole == pieces, "read differently in pieces");
    }
    if let Some(Read { len, lines, .. }) = whole {
        let head = bytes.get(..len).unwrap_or_default();
        assert!(head.ends_with(b"\r\n\r\n"), "ends with the blank line");
        let bare = head.windows(2).any(|pair| matches!(pair, [before, b'\n'] if *before != b'\r'));
        assert!(!bare && head.first() != Some(&b'\n'), "no bare LF in an accepted head");
        assert!(lines.len() <= LIMITS.fields && len <= LIMITS.head_bytes + 2, "within the limits");
    }
}

/// Everything that is read out of a head: length, start line, fields, and what the target comes to.
#[derive(PartialEq, Eq, Debug)]
struct Read {
    len: usize,
    start: Vec<u8>,
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    path: Option<Vec<u8>>,
}

fn lines(fields: &crate::http::head::Fields<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}

/// What is read, when it is complete and good.
fn request_in_pieces(bytes: &[u8], piece: usize) -> Option<Read> {
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    let mut end = 0_usize;
    loop {
        end = bytes.len().min(end.saturating_add(piece));
        match parse_request(bytes.get(..end)?, &mut scan, &mut table, &LIMITS) {
            Err(_) => return None,
            Ok(Some(head)) => {
                let start = [head.method, b" ", head.target].concat();
                let path = parse_target(&head).ok().map(|target| target.path.to_vec());
                return Some(Read { len: head.len, start, lines: lines(&head.fields), path });
            }
            Ok(None) if end == bytes.len() => return None,
            Ok(None) => {}
        }
    }
}

/// The same for a response head.
pub fn response_head(bytes: &[u8]) {
    let whole = response_in_pieces(bytes, usize::MAX);
    let pieces = response_in_pieces(bytes, 1);
    assert_eq!(whole, pieces, "read differently in pieces");
    assert!(whole.is_none_or(|read| read.len <= bytes.len() && read.lines.len() <= LIMITS.fields));
}

fn response_in_pieces(bytes: &[u8], piece: usize) -> Option<Read> {
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    let mut end = 0_usize;
    loop {
        end = bytes.len().min(end.saturating_add(piece));
        match parse_response(bytes.get(..end)?, &mut scan, &mut table, &LIMITS) {
            Err(_) => return None,
            Ok(Some(head)) => {
                assert!((100..600).contains(&head.status));
                let start = [head.status.to_string().as_bytes(), b" ", head.reason].concat();
                return Some(Read { len: head.len, start, lines: lines(&head.fields), path: None });
            }
            Ok(None) if end == bytes.len() => return None,
            Ok(None) => {}
        }
    }
}

/// A chunked body decodes the same whole and in pieces, and consumes no more than it was given.
pub fn chunked(bytes: &[u8]) {
    let whole = decode(bytes, usize::MAX);
    for piece in [1, 3, 16] {
        assert_eq!(decode(bytes, piece), whole, "decoded differently in pieces of {piece}");
    }
    if let Ok(Some((data, consumed))) = whole {
        assert!(data.len() <= bytes.len() && consumed <= bytes.len());
    }
}

fn decode(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
    let (mut decoder, mut data, mut rest) = (ChunkDecoder::new(), Vec::new(), bytes);
    while !rest.is_empty() {
        let input = rest.get(..piece.min(rest.len())).unwrap_or(rest);
        let used = match decoder.step(input)? {
            ChunkStep::Need => input.len(),
            ChunkStep::Skip(n) => n,
            ChunkStep::Data { skip, len } => {
                data.extend_from_slice(input.get(skip..skip + len).unwrap_or_default());
                skip + len
            }
            ChunkStep::End { skip } => return Ok(Some((data, bytes.len() - rest.len() + skip))),
        };
        rest = rest.get(used..).unwrap_or_default();
    }
    Ok(None)
}

/// A path that is routed is rewritten into one that starts with a single slash and has no dot segment.
pub fn route(path: &[u8]) {
    let table = RouteTable::new(["/auth", "/auth/admin", "/users/", "/a/b/c", "/"].into_iter());
    let Ok(found) = table.resolve(path) else { return };
    for (target, strip) in [("", true), ("/", true), ("/base/", true), ("/base", false)] {
        let rewrite = Rewrite::new(target, strip);
        let upstream = rewrite.parts(path, found.taken).concat();
        if path.starts_with(b"/") {
            assert!(upstream.starts_with(b"/") && !upstream.starts_with(b"//"), "starts with one slash");
            assert!(!upstream.split(|&byte| byte == b'/').any(|part| matches!(part, b"." | b"..")), "no dot segment");
        }
    }
}

/// Any bytes are a configuration or a list of errors, each with its place.
pub fn config(bytes: &[u8]) {
    let env = |name: &str| (name == "A").then(|| "value".to_owned());
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    match crate::config::load(bytes, "fuzz.json", &env, &read) {
        Ok(config) => assert!(!config.settings.services.is_empty() && !config.listeners.is_empty()),
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| error.line > 0 && error.column > 0 && !error.to_string().contains('\n')));
        }
    }
}

/// The gateway between a client and upstreams that say anything: `script` is what happens, two bytes a step (what, how
/// much), the rest what they say. Nothing may be left when both are gone, and a refused request reaches no upstream.
pub fn exchange(script: &[u8]) {
    let Some((steps, said)) =
        script.split_first().and_then(|(count, rest)| rest.split_at_checked((usize::from(*count) * 2).min(rest.len())))
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
    stage.leave();
}

const CONFIG: &str = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" }, { "route": "/", "target": "http://10.0.0.2" } ],
    "limits": { "bodyBytes": 4096 }, "rateLimit": false }"#;

/// The world of [`exchange`].
struct Stage<'a> {
    proxy: Proxy,
    now: Instant,
    client: Option<crate::proxy::command::DownstreamId>,
    upstreams: Vec<UpstreamId>,
    dialing: Vec<UpstreamId>,
    client_says: &'a [u8],
    upstream_says: &'a [u8],
    /// Bytes that upstreams received.
    sent_up: usize,
    /// The first answer was our own 400, before a byte had gone up.
    refused_first: bool,
    heard: Vec<u8>,
}

impl<'a> Stage<'a> {
    fn new(client_says: &'a [u8], upstream_says: &'a [u8]) -> Stage<'a> {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let settings =
            crate::config::load(CONFIG.as_bytes(), "fuzz.json", &|_| None, &read).ok().map(|config| config.settings);
        let Some(settings) = settings else { unreachable!("the configuration above is valid") };
        let mut proxy = Proxy::new(settings, 1);
        let now = Instant::from_millis(1);
        proxy.handle_clock(now, UnixTime::from_millis(1_800_000_000_000));
        let client = proxy.handle_accepted(Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), false, now);
        let mut stage = Stage {
            proxy,
            now,
            client,
            upstreams: Vec::new(),
            dialing: Vec::new(),
            client_says,
            upstream_says,
            sent_up: 0,
            refused_first: false,
            heard: Vec::new(),
        };
        stage.obey();
        stage
    }

    fn step(&mut self, what: u8, much: usize) {
        let down = self.client.map(Side::Down);
        let up = self.upstreams.last().copied().map(Side::Up);
        match what % 12 {
            0..=2 => self.deliver(down, much, true),
            3 | 4 => self.deliver(up, much, false),
            5 => self.take(down, much),
            6 => self.take(up, much),
            7 => self.connected(),
            8 => self.end(down),
            9 => self.end(up),
            10 => self.fault(if much.is_multiple_of(2) { down } else { up }),
            _ => self.pass(much as u64 * 100),
        }
        self.obey();
    }

    fn deliver(&mut self, side: Option<Side>, much: usize, from_client: bool) {
        let Some(side) = side else { return };
        let says = if from_client { &mut self.client_says } else { &mut self.upstream_says };
        let room = self.proxy.room(side);
        if room.is_empty() {
            return;
        }
        let n = much.min(says.len()).min(room.len());
        if let (Some(to), Some((bytes, rest))) = (room.get_mut(..n), says.split_at_checked(n)) {
            to.copy_from_slice(bytes);
            *says = rest;
        }
        self.proxy.handle_received(side, n, self.now);
    }

    fn take(&mut self, side: Option<Side>, much: usize) {
        let Some(side) = side else { return };
        let (head, body) = self.proxy.pending(side);
        let bytes: Vec<u8> = head.iter().chain(body).copied().take(much.saturating_mul(16)).collect();
        if bytes.is_empty() {
            return;
        }
        match side {
            Side::Up(_) => self.sent_up += bytes.len(),
            Side::Down(_) => self.heard.extend_from_slice(&bytes),
        }
        self.proxy.handle_sent(side, bytes.len(), self.now);
        // Only a reply of the gateway's own refuses a request; an upstream may say 400, too.
        if self.heard.starts_with(b"HTTP/1.1 400 ")
            && self.heard.ends_with(Reply::BadRequest.body())
            && self.sent_up == 0
        {
            self.refused_first = true;
        }
    }

    fn connected(&mut self) {
        if let Some(up) = self.dialing.pop() {
            self.upstreams.push(up);
            self.proxy.handle_connected(up, self.now);
        }
    }

    fn end(&mut self, side: Option<Side>) {
        if let Some(side) = side.filter(|side| !self.proxy.room(*side).is_empty()) {
            self.proxy.handle_received(side, 0, self.now);
            self.proxy.handle_end(side, self.now);
        } else if let Some(side) = side {
            self.proxy.handle_hangup(side, self.now);
        }
    }

    fn fault(&mut self, side: Option<Side>) {
        if let Some(side) = side {
            self.forget(side);
            self.proxy.handle_fault(side, Fault::Reset, self.now);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        if self.proxy.poll_timeout().is_some_and(|due| due <= self.now) {
            self.proxy.handle_timeout(self.now);
        }
    }

    fn obey(&mut self) {
        for commands in 0.. {
            assert!(commands < 10_000, "the engine spins");
            match self.proxy.poll_command() {
                None => return,
                Some(Command::Dial { upstream, .. }) => self.dialing.push(upstream),
                Some(Command::Close { side, .. }) => self.forget(side),
                Some(_) => {}
            }
        }
    }

    fn forget(&mut self, side: Side) {
        match side {
            Side::Down(id) => self.client = self.client.filter(|client| *client != id),
            Side::Up(id) => {
                self.upstreams.retain(|up| *up != id);
                self.dialing.retain(|up| *up != id);
            }
        }
    }

    /// Everybody goes, time passes: nothing may be left (invariant I8), and a 400 as the first answer means that nothing
    /// had gone up (I4).
    fn leave(mut self) {
        // What still waits for an upstream counts as sent.
        for up in self.upstreams.clone() {
            self.take(Some(Side::Up(up)), usize::MAX);
        }
        self.obey();
        assert!(!self.refused_first || self.sent_up == 0, "a refused request reached an upstream");
        self.fault(self.client.map(Side::Down));
        self.obey();
        self.now = self.now.after(Duration::from_secs(7200));
        self.proxy.handle_timeout(self.now);
        self.obey();
        let left = (self.proxy.downstreams(), self.proxy.upstreams(), self.proxy.buffers_lent());
        assert_eq!(left, (0, 0, 0), "connections or buffers are left");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use proptest::prelude::*;

    /// Replays the seeds of a target.
    fn replay(target: &str, check: Check) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).expect("the seeds are in the tree").flatten() {
            check(&std::fs::read(entry.path()).expect("a seed"));
            seeds += 1;
        }
        assert!(seeds >= 5, "{target} has {seeds} seeds");
    }

    #[test]
    fn the_seeds_hold() {
        for (target, check) in TARGETS {
            replay(target, check);
        }
    }

    type Check = fn(&[u8]);

    const TARGETS: [(&str, Check); 6] = [
        ("request_head", request_head),
        ("response_head", response_head),
        ("chunked", chunked),
        ("route", route),
        ("config", config),
        ("exchange", exchange),
    ];

    proptest! {
        #[test]
        fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, check) in TARGETS {
                check(&bytes);
            }
        }

        #[test]
        fn any_script_around_a_real_request_holds(steps in prop::collection::vec(any::<u8>(), 0..120)) {
            let client = b"POST /auth HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /auth/../x HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
            let upstream = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello extra bytes that nobody asked for ";
            let mut script = vec![(steps.len() / 2) as u8];
            script.extend_from_slice(&steps[..steps.len() / 2 * 2]);
            let mut said = client.to_vec();
            said.resize(client.len().max(upstream.len()), b' ');
            script.extend_from_slice(&said);
            let mut said = upstream.to_vec();
            said.resize(client.len().max(upstream.len()), b' ');
            script.extend_from_slice(&said);
            exchange(&script);
        }
    }
}

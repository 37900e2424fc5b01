//! Cost as a property: the work for an input is proportional to its bytes, whatever they are. One
//! loop moves all connections, so an input that costs more would delay every other one.
//!
//! Work is counted in steps ([`crate::cost`]): a byte examined or copied, or an element visited.

use core::net::{IpAddr, Ipv4Addr};

use crate::cost;
use crate::policy::forward::Peer;
use crate::proxy::Proxy;
use crate::proxy::command::{Command, ListenerKind, Side};
use crate::proxy::settings::Settings;
use crate::time::{Instant, UnixTime};

/// Steps for each byte of a parsed head. A head is tokenized once, scanned once while it is
/// incomplete, and tokenized again when it is complete. Then each line, the names, the target and
/// each known list are examined. An empty field line has four bytes, and each of about ten lookups
/// by name visits it.
pub const HEAD_STEPS: u64 = 16;
/// Steps for each byte of a chunked body: each byte of framing is one, and re-chunked data is
/// copied.
pub const CHUNKED_STEPS: u64 = 2;
/// Steps for each byte of a path: five searches for unsafe parts, two decodings with the same
/// searches on their results, and a search of the routes with each of the three.
pub const PATH_STEPS: u64 = 32;
/// Steps for each byte of a request that conditions are about: a pair is divided at both separators,
/// and its name and value are compared.
pub const CONDITION_STEPS: u64 = 8;
/// Steps for each byte of a token, a key set or an introspection response: base64, and the cost of
/// JSON.
pub const JSON_STEPS: u64 = 8 + crate::policy::auth::json::Json::STEPS_PER_BYTE as u64;
/// Steps for each byte of a client or an upstream through the whole gateway: the head is parsed,
/// routed, written for the upstream and logged; a body is copied. The highest figure found is 11,
/// for a path of escapes that are decoded twice.
pub const EXCHANGE_STEPS: u64 = 16;
/// Steps for each message, however short: a response head with all fields that the gateway adds.
pub const MESSAGE_STEPS: u64 = 4_000;

/// Steps for each byte that a store sends: the end of a line is looked for once. A line that is cut
/// into bytes is looked at again from where the search stopped.
pub const STORE_STEPS: u64 = 2;

/// Steps for each byte of ciphertext that is read or written: it is decrypted or sealed, and copied
/// once if it has to wait. An incomplete record is not copied again by each read.
pub const TLS_STEPS: u64 = 4;
/// Steps for a TLS session beside its bytes, for the verification of the peer's certificate.
pub const TLS_SESSION_STEPS: u64 = 70_000;
/// Steps for each byte of a configuration: it is scanned once a level, and each letter of an unknown
/// key is compared with each letter of the known ones, of which the largest table of keys has some
/// 350.
pub const CONFIG_STEPS: u64 = 400;

/// Steps for each byte of an access log, which is read once and judged by two configurations.
pub const LOG_STEPS: u64 = 4 * HEAD_STEPS + 2 * PATH_STEPS;
/// Steps for each line of an access log, for the head that two engines are asked about.
pub const LOGGED_REQUEST_STEPS: u64 = 2 * MESSAGE_STEPS;

/// Runs `work` on an input of `bytes` bytes, and fails if it takes more steps than allowed.
pub fn within<T>(bytes: usize, steps_per_byte: u64, fixed: u64, work: impl FnOnce() -> T) -> T {
    let before = cost::steps();
    let result = work();
    let steps = cost::steps().saturating_sub(before);
    let allowed = fixed.saturating_add(steps_per_byte.saturating_mul(bytes as u64));
    assert!(
        steps <= allowed,
        "{steps} steps for {bytes} bytes; {allowed} are allowed"
    );
    result
}

/// Sends a request and its response through the engine in pieces of `piece` bytes, and returns the
/// steps taken.
pub fn exchange_steps(settings: Settings, request: &[u8], response: &[u8], piece: usize) -> u64 {
    let mut stage = Stage::new(settings);
    let before = cost::steps();
    stage.run(request, response, piece);
    cost::steps().saturating_sub(before)
}

/// Gateway with one client, and an upstream that sends the same bytes on each connection.
struct Stage {
    proxy: Proxy,
    client: Option<Side>,
    upstreams: Vec<(Side, usize)>,
    now: Instant,
}

impl Stage {
    fn new(settings: Settings) -> Stage {
        let mut proxy = Proxy::new(settings, 1);
        let now = Instant::from_millis(1);
        proxy.handle_clock(now, UnixTime::from_millis(1_800_000_000_000));
        let client = proxy.handle_accepted(
            Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ListenerKind::Plain,
            now,
        );
        Stage {
            proxy,
            client: client.map(Side::Client),
            upstreams: Vec::new(),
            now,
        }
    }

    fn run(&mut self, request: &[u8], response: &[u8], piece: usize) {
        let mut sent = 0_usize;
        for round in 0.. {
            assert!(round < 10_000_000, "the engine spins");
            let mut moved = self.deliver(self.client, request, &mut sent, piece);
            for index in 0..self.upstreams.len() {
                let Some((side, mut at)) = self.upstreams.get(index).copied() else {
                    break;
                };
                moved |= self.take(side);
                moved |= self.deliver(Some(side), response, &mut at, piece);
                if let Some(place) = self.upstreams.get_mut(index) {
                    place.1 = at;
                }
            }
            if let Some(side) = self.client {
                moved |= self.take(side);
            }
            if !moved {
                return;
            }
        }
    }

    fn deliver(&mut self, side: Option<Side>, bytes: &[u8], at: &mut usize, piece: usize) -> bool {
        let (Some(side), Some(rest)) = (side, bytes.get(*at..).filter(|rest| !rest.is_empty()))
        else {
            return false;
        };
        let room = self.proxy.room(side);
        if room.is_empty() {
            return false;
        }
        let n = rest.len().min(room.len()).min(piece);
        if let (Some(to), Some(from)) = (room.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        *at = at.saturating_add(n);
        self.proxy.handle_received(side, n, self.now);
        self.obey();
        n > 0
    }

    fn take(&mut self, side: Side) -> bool {
        let (head, body) = self.proxy.pending(side);
        let n = head.len().saturating_add(body.len());
        if n > 0 {
            self.proxy.handle_sent(side, n, self.now);
            self.obey();
        }
        n > 0
    }

    fn obey(&mut self) {
        while let Some(command) = self.proxy.poll_command() {
            match command {
                Command::Dial { upstream, .. } => {
                    self.upstreams.push((Side::Upstream(upstream), 0));
                    self.proxy.handle_connected(upstream, self.now);
                }
                Command::Close { side, .. } => {
                    self.client = self.client.filter(|client| *client != side);
                    self.upstreams.retain(|(upstream, _)| *upstream != side);
                }
                _ => {}
            }
        }
        while self.proxy.poll_ready().is_some() {}
        self.proxy.access_lines().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{chunked, jwks, request_head, response_head, route, token};

    /// Configuration with every feature that reads a request, and room for the largest heads.
    const CONFIG: &str = r#"{ "trustedProxies": ["127.0.0.0/8", "10.0.0.0/8"], "rateLimit": false,
        "limits": { "headBytes": 131072, "requestLine": 32768, "headers": 256 },
        "auth": { "keys": { "type": "apiKey", "header": "X-Key", "keys": {
            "ann": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" } } },
        "services": [ { "route": "/a/a", "target": "http://10.0.0.1/b" }, { "route": "/g", "target": "http://10.0.0.2", "auth": "keys" },
            { "route": "/", "target": "http://10.0.0.3/" } ] }"#;

    fn settings() -> Settings {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        crate::config::load(CONFIG.as_bytes(), "cost.json", &|_| None, &read)
            .expect("a configuration")
            .settings
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn lists(name: &str) -> impl Iterator<Item = String> {
        [
            "a,",
            ",",
            "a, ",
            "close,",
            "10.0.0.1,",
            "x-a,",
            "1.1 tollgate,",
            "\t,",
            "keep-alive,upgrade,",
        ]
        .map(|element| format!("{name}: {}x\r\n", element.repeat(12_000 / element.len())))
        .into_iter()
    }

    /// Field lines that make each examination of a head as expensive as possible.
    fn worst_fields() -> Vec<String> {
        let names = [
            "Connection",
            "X-Forwarded-For",
            "Via",
            "Transfer-Encoding",
            "Content-Length",
            "Expect",
            "Upgrade",
            "Cookie",
            "Forwarded",
            "Te",
            "Accept",
            "Authorization",
            "Origin",
            "Access-Control-Request-Headers",
            "X-Key",
            "Host",
        ];
        let mut all: Vec<String> = names.iter().flat_map(|name| lists(name)).collect();
        let short = [
            "a:\r\n",
            "Via:\r\n",
            "Connection: b\r\n",
            "X-Forwarded-For: 10.0.0.1\r\n",
            "X-Forwarded-A:\r\n",
            "a_b:\r\n",
            "Cookie: a\r\n",
        ];
        all.extend(short.iter().map(|line| line.repeat(250)));
        // Each field is compared with each option: as many as allowed, and more.
        let fields: String = (0..180).map(|n| format!("f{n:03}: x\r\n")).collect();
        for count in [60, 2_400] {
            let options: String = (0..count).map(|n| format!("o{n:04},")).collect();
            all.push(format!("{fields}Connection: {options}close\r\n"));
        }
        all
    }

    fn worst_requests() -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> = worst_fields()
            .into_iter()
            .map(|fields| (format!("GET /a/a HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), 1))
            .collect();
        for element in [
            "%41", "%2541", "/a", "/.a", "/..a", ";a", "%25", "a", "//", "/%41", "%c3%a4", ".",
        ] {
            let path = element.repeat(16_000 / element.len());
            all.push((format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n"), 1));
            all.push((format!("GET /?{path} HTTP/1.1\r\nHost: h\r\n\r\n"), 1));
            all.push((
                format!("GET /g/{path} HTTP/1.1\r\nHost: h\r\nX-Key: foo\r\n\r\n"),
                1,
            ));
        }
        let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        for chunk in [
            "1\r\nx\r\n",
            "1;a\r\nx\r\n",
            "000000000000001\r\nx\r\n",
            "1000\r\n",
        ] {
            all.push((format!("{chunked}{}0\r\n\r\n", chunk.repeat(4_000)), 1));
        }
        all.push((format!("{chunked}0\r\n{}\r\n", "a: b\r\n".repeat(60)), 1));
        for short in [
            "GET / HTTP/1.1\r\nHost:h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost:h\r\n\r\n",
            "GET /g HTTP/1.1\r\nHost:h\r\n\r\n",
        ] {
            all.push((short.repeat(500), 500));
        }
        all
    }

    /// Steps of the gateway for a message of a few bytes.
    #[test]
    #[cfg_attr(not(debug_assertions), ignore = "nothing is counted")]
    fn a_plain_exchange_has_its_fixed_cost() {
        let request = "GET /a/a HTTP/1.1\r\nHost: h\r\n\r\n";
        let steps = exchange_steps(settings(), request.as_bytes(), OK.as_bytes(), usize::MAX);
        assert!((1_000..MESSAGE_STEPS).contains(&steps), "{steps} steps");
    }

    #[test]
    fn a_request_costs_in_proportion_to_its_bytes() {
        for (request, messages) in worst_requests() {
            for piece in [usize::MAX, 1_000] {
                let steps = exchange_steps(settings(), request.as_bytes(), OK.as_bytes(), piece);
                let bytes = (request.len() + OK.len() * messages as usize) as u64;
                let allowed = EXCHANGE_STEPS * bytes + MESSAGE_STEPS * messages;
                let a_byte = steps as f64 / bytes as f64;
                assert!(
                    steps <= allowed,
                    "{steps} steps for {bytes} bytes ({a_byte:.1} a byte) by {piece}: {request:.100}"
                );
            }
        }
    }

    #[test]
    fn a_response_costs_in_proportion_to_its_bytes() {
        let request = "GET /a/a HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut all: Vec<String> = worst_fields()
            .into_iter()
            .map(|fields| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"))
            .collect();
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        all.push(format!("{chunked}{}0\r\n\r\n", "1\r\nx\r\n".repeat(4_000)));
        all.push("HTTP/1.1 103 E\r\n\r\n".repeat(10));
        for response in all {
            for piece in [usize::MAX, 1_000] {
                let steps =
                    exchange_steps(settings(), request.as_bytes(), response.as_bytes(), piece);
                let bytes = (request.len() + response.len()) as u64;
                let allowed = EXCHANGE_STEPS * bytes + MESSAGE_STEPS;
                let a_byte = steps as f64 / bytes as f64;
                assert!(
                    steps <= allowed,
                    "{steps} steps for {bytes} bytes ({a_byte:.1} a byte) by {piece}: {response:.100}"
                );
            }
        }
    }

    /// A head that arrives byte by byte is neither moved nor scanned from its start for each byte.
    #[test]
    fn a_head_costs_the_same_in_many_pieces() {
        let path = "a".repeat(16_000);
        for (request, response) in [
            (
                format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n"),
                OK.to_owned(),
            ),
            (
                format!("GET / HTTP/1.1\r\nHost: h\r\nA: {path}\r\n\r\n"),
                OK.to_owned(),
            ),
            (
                format!("GET / HTTP/1.1\r\nHost: h\r\nA: {path}{path}{path}{path}{path}\r\n\r\n"),
                OK.to_owned(),
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
                format!("HTTP/1.1 200 OK\r\nA: {path}\r\nContent-Length: 0\r\n\r\n"),
            ),
        ] {
            for piece in [1, 16, 100] {
                let steps =
                    exchange_steps(settings(), request.as_bytes(), response.as_bytes(), piece);
                let bytes = (request.len() + response.len()) as u64;
                let allowed = EXCHANGE_STEPS * bytes + MESSAGE_STEPS;
                assert!(
                    steps <= allowed,
                    "{steps} steps for {bytes} bytes by {piece}: {request:.40}"
                );
            }
        }
    }

    /// The properties of the fuzz targets count steps themselves.
    #[test]
    fn the_parsers_cost_in_proportion() {
        for (request, _) in worst_requests() {
            request_head(request.as_bytes());
            let path = request.split(' ').nth(1).unwrap_or_default();
            route(path.as_bytes());
            chunked(
                request
                    .split_once("\r\n\r\n")
                    .unwrap_or_default()
                    .1
                    .as_bytes(),
            );
        }
        for fields in worst_fields() {
            response_head(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        }
        let members: String = (0..3_000).map(|n| format!("\"{n:05}\":0,")).collect();
        for text in [
            format!("{{{members}\"keys\":[]}}"),
            format!("{{\"keys\":[{}{{}}]}}", "{},".repeat(8_000)),
            "[".repeat(10_000),
        ] {
            jwks(text.as_bytes());
            token(
                format!(
                    "{}.e30.AA",
                    crate::policy::auth::base64::encode_url(
                        &text.as_bytes()[..text.len().min(12_000)]
                    )
                )
                .as_bytes(),
            );
        }
        token(".".repeat(16_000).as_bytes());
    }

    #[test]
    fn a_configuration_costs_in_proportion() {
        for text in [
            // Many errors on one line: each column is counted from the one before.
            format!("{{\"services\":[{}1]}}", "1,".repeat(8_000)),
            format!("{{{}\"services\":[]}}", "\"ab\":1,".repeat(2_000)),
            format!("{{\"services\":[{}1]}}", "{\"rout\":1},".repeat(2_000)),
            format!("{{\"x\":{}1{}}}", "[".repeat(9), "]".repeat(9)),
            "\n".repeat(10_000),
        ] {
            super::super::config(text.as_bytes());
        }
    }

    #[test]
    #[cfg_attr(not(debug_assertions), ignore = "nothing is counted")]
    #[should_panic(expected = "steps for 10 bytes")]
    fn too_much_work_fails() {
        within(10, 2, 0, || cost::count(21));
    }
}

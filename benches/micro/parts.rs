//! The parts of a request's way, each by itself.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tollgate::buffer::BufferPool;
use tollgate::http::chunked::{ChunkDecoder, ChunkStep};
use tollgate::http::emit::{Framing, HeadWriter};
use tollgate::http::field::{Name, NameSet};
use tollgate::http::head::{
    Field, FieldTable, HeadLimits, HeadScan, parse_request, parse_response,
};
use tollgate::http::target::parse_target;
use tollgate::observe::access::{AccessFormat, AccessRecord, Outcome, render};
use tollgate::observe::date::DateCache;
use tollgate::policy::forward::PeerSet;
use tollgate::policy::meter::Algorithm;
use tollgate::policy::rate::{RateLimit, RateTable};
use tollgate::policy::rate_fields::RateHeaders;
use tollgate::policy::rate_key::RateKey;
use tollgate::policy::rewrite::Rewrite;
use tollgate::policy::route::RouteTable;
use tollgate::time::{Duration, Instant, UnixTime};
use tollgate::upstream::balance::{Strategy, identity};
use tollgate::upstream::group::Group;
use tollgate::upstream::rules::{Choice, Role, Rules};

use crate::harness::Case;

const REQUEST: &[u8] =
    b"GET /users/1?page=2 HTTP/1.1\r\nHost: gate.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n\
    Accept-Encoding: gzip, br\r\nCookie: session=0123456789abcdef\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 120\r\nETag: \"v1\"\r\n\r\n";
const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 16 << 10,
    request_line_bytes: 8 << 10,
    fields: 100,
};

pub fn cases() -> Vec<Case> {
    vec![
        request_head(),
        response_head(),
        head_and_rewrite(),
        chunks(),
        route("route: one of 5", 5),
        route("route: one of 5,000", 5000),
        rate("rate: one client", 1),
        rate("rate: one of 10,000 clients", 10_000),
        choose("choose: in turn, of 10 targets", Strategy::RoundRobin, 10),
        choose("choose: in turn, of 100", Strategy::RoundRobin, 100),
        choose("choose: in turn, of 1,000", Strategy::RoundRobin, 1000),
        choose("choose: ip hash, of 10 targets", Strategy::IpHash, 10),
        choose("choose: ip hash, of 100", Strategy::IpHash, 100),
        choose("choose: ip hash, of 1,000", Strategy::IpHash, 1000),
        log_line("log line: combined", AccessFormat::Combined),
        log_line("log line: JSON", AccessFormat::Json),
    ]
}

fn request_head() -> Case {
    Case::new("head: a request's, parsed", move || {
        let mut table = FieldTable::default();
        move || {
            let head = parse_request(
                black_box(REQUEST),
                &mut HeadScan::default(),
                &mut table,
                &LIMITS,
            );
            assert!(head.is_ok_and(|head| head.is_some_and(|head| head.len == REQUEST.len())));
        }
    })
}

fn response_head() -> Case {
    Case::new("head: a response's, parsed", move || {
        let mut table = FieldTable::default();
        move || {
            let head = parse_response(
                black_box(RESPONSE),
                &mut HeadScan::default(),
                &mut table,
                &LIMITS,
            );
            assert!(head.is_ok_and(|head| head.is_some()));
        }
    })
}

/// Parsed, routed, and written again for the upstream.
fn head_and_rewrite() -> Case {
    Case::new("head: parsed, routed, rewritten", move || {
        let mut table = FieldTable::default();
        let routes = RouteTable::new(["/auth", "/users", "/chats", "/payment"].into_iter());
        let rewrite = Rewrite::new("/v2/users", true);
        let mut pool = BufferPool::new();
        move || {
            let head = parse_request(
                black_box(REQUEST),
                &mut HeadScan::default(),
                &mut table,
                &LIMITS,
            );
            let head = head.expect("a good head").expect("a whole head");
            let target = parse_target(&head).expect("a good target");
            let route = routes.resolve(target.path).expect("a route");
            let [path, rest] = rewrite.parts(target.path, route.taken);
            let mut out = pool.lend(16 << 10);
            let mut writer =
                HeadWriter::request(&mut out, head.method, &[path, rest, target.query]);
            writer.field(b"Host: ", b"127.0.0.1:9000");
            let never = None::<fn(&Field<'_>) -> bool>;
            head.fields
                .runs(NameSet::of(&[Name::Host]), never, |lines| {
                    writer.lines(lines)
                });
            writer.finish(Framing::None).expect("it fits");
            assert!(black_box(out.filled()).starts_with(b"GET /v2/users/1?page=2 HTTP/1.1\r\n"));
            pool.give_back(&mut out);
        }
    })
}

fn chunks() -> Case {
    Case::new("chunks: ten of 1 KB, decoded", move || {
        let body = format!(
            "{}0\r\n\r\n",
            format!("400\r\n{}\r\n", "x".repeat(1 << 10)).repeat(10)
        )
        .into_bytes();
        move || {
            let (mut decoder, mut at, mut data) = (ChunkDecoder::new(), 0, 0);
            while !decoder.is_done() {
                match decoder.step(black_box(&body[at..])).expect("good chunks") {
                    ChunkStep::Need => break,
                    ChunkStep::Skip(n) | ChunkStep::End { skip: n } => at += n,
                    ChunkStep::Data { skip, len } => {
                        at += skip + len;
                        data += len;
                    }
                }
            }
            assert!(data == 10 << 10 && at == body.len());
        }
    })
}

fn route(name: &'static str, count: usize) -> Case {
    Case::new(name, move || {
        let routes = (0..count)
            .map(|index| format!("/r{index:04}"))
            .collect::<Vec<_>>();
        let table = RouteTable::new(routes.iter().map(String::as_str));
        // Not the same one each time: the branch predictor would know the way.
        let paths = (0..64)
            .map(|nth| format!("/r{:04}/profile/1", nth * 769 % count))
            .collect::<Vec<_>>();
        let mut nth = 0;
        move || {
            nth = (nth + 1) % paths.len();
            let found = table.resolve(black_box(paths[nth].as_bytes()));
            assert!(found.is_ok_and(|found| found.service == nth * 769 % count));
        }
    })
}

fn rate(name: &'static str, clients: u32) -> Case {
    Case::new(name, move || {
        let limit = RateLimit {
            requests: u32::MAX,
            window: Duration::from_secs(60),
            ipv6_prefix: 64,
            max_clients: 65536,
            headers: RateHeaders::Off,
            algorithm: Algorithm::Fixed,
            key: RateKey::Ip,
            exempt: PeerSet::default(),
            store: None,
            exact: false,
        };
        let mut table = RateTable::new(limit, 7);
        let mut nth: u32 = 0;
        move || {
            nth = nth.wrapping_add(7919);
            let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + nth % clients));
            assert!(
                table
                    .count(black_box(client), Instant::from_millis(1000))
                    .is_ok()
            );
        }
    })
}

fn choose(name: &'static str, strategy: Strategy, targets: usize) -> Case {
    Case::new(name, move || {
        let rules = Rules {
            strategy,
            checks: None,
            passive: None,
        };
        let role = Role {
            weight: 1,
            backup: false,
            max_in_flight: u32::MAX,
        };
        let mut group = Group::new(rules, vec![role; targets], 7);
        for target in 0..targets {
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), target as u16);
            group.join(target, target, identity(address, ""), None);
        }
        let mut nth: u32 = 0;
        move || {
            nth = nth.wrapping_add(7919);
            let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + nth % 65536));
            let choice = group.pick(Some(black_box(client)), Instant::from_millis(1000), &|_| {
                true
            });
            let Choice::Member {
                endpoint,
                destination,
            } = choice
            else {
                panic!("all are up")
            };
            group.begin(endpoint, destination);
            group.end(endpoint, destination, true);
        }
    })
}

fn log_line(name: &'static str, format: AccessFormat) -> Case {
    Case::new(name, move || {
        let mut dates = DateCache::new();
        let mut out = Vec::with_capacity(64 << 10);
        move || {
            let record = AccessRecord {
                id: Some(b"0123456789abcdef0123456789abcdef"),
                client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
                user: None,
                subject: None,
                host: Some(b"gate.test"),
                trace: None,
                listener: None,
                tls: None,
                wall: UnixTime::from_millis(1_795_521_600_000),
                request_line: b"GET /users/1?page=2 HTTP/1.1",
                method: b"GET",
                path: b"/users/1?page=2",
                proto: b"HTTP/1.1",
                status: Some(200),
                bytes_in: 0,
                bytes_out: 120,
                duration: Duration::from_millis(3),
                service: Some("/users"),
                target: Some("127.0.0.1:9000"),
                upstream_status: Some(200),
                upstream_time: Some(Duration::from_millis(2)),
                reused: true,
                retries: 0,
                referer: Some(b"https://page.example/"),
                user_agent: Some(
                    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
                ),
                outcome: Outcome::Ok,
                reason: None,
            };
            render(black_box(&record), format, &mut dates, &mut out);
            if out.len() > 32 << 10 {
                out.clear();
            }
        }
    })
}

//! Requests of the gateway's own, driven through the whole engine.

use std::rc::Rc;

use super::{Expects, Requester, SubrequestSpec};
use crate::observe::access::Outcome;
use crate::proxy::Proxy;
use crate::proxy::command::{Command, Fault, Side};
use crate::proxy::ids::{SubrequestId, UpstreamId};
use crate::proxy::settings::{
    AccessLogFormat, ConnectionTimeouts, Limits, Settings, Target, TargetHost,
};
use crate::slab::Key;
use crate::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: b\r\n\r\n";

/// A gateway whose one target `host` is.
fn gateway(host: TargetHost) -> Proxy {
    let limits = Limits {
        head_bytes: 4096,
        request_line_bytes: 2048,
        fields: 50,
        connections: 4,
        connections_per_client: None,
        overflow: 1,
        body_bytes: None,
        gathered_bytes: 0,
        splice_min_bytes: u64::MAX,
    };
    let settings = Settings {
        auth: Vec::new(),
        services: Vec::new(),
        targets: vec![Target {
            host,
            port: 80,
            tls: false,
            trust: [0; 32],
            authority: "b".to_owned(),
        }],
        rate_limit: Vec::new(),
        stores: Vec::new(),
        auth_failures: None,
        timeouts: ConnectionTimeouts {
            head: None,
            keep_alive: None,
            shutdown: None,
        },
        limits,
        half_close: false,
        cors: None,
        security_headers: None,
        edits: None,
        trusted_proxies: Default::default(),
        allow: Default::default(),
        deny: Default::default(),
        maintenance: None,
        listener_names: Vec::new(),
        error_pages: None,
        https_port: None,
        access_log: AccessLogFormat::Off,
        record: None,
        request_id: None,
    };
    let mut proxy = Proxy::new(settings, 0);
    let rules = Rc::get_mut(&mut proxy.ctx.rules).expect("no other part holds the rules");
    rules.bounds.subrequests = 2;
    proxy
}

/// Sends a request off.
fn start(proxy: &mut Proxy, spec: SubrequestSpec, now: Instant) -> Option<SubrequestId> {
    proxy.ctx.now = now;
    let (upstreams, ctx) = (&mut proxy.upstreams, &mut proxy.ctx);
    proxy.subrequests.start(spec, upstreams, ctx)
}

/// Gives a request up.
fn cancel(proxy: &mut Proxy, id: SubrequestId) {
    let (upstreams, ctx) = (&mut proxy.upstreams, &mut proxy.ctx);
    proxy.subrequests.cancel(id, upstreams, ctx);
}

fn literal() -> Proxy {
    gateway(TargetHost::Address([192, 0, 2, 1].into()))
}

fn question(tag: u8, keep: bool) -> SubrequestSpec {
    SubrequestSpec {
        requester: Requester::Test(tag),
        target: Key::from_parts(0, 0),
        address: None,
        request: REQUEST.to_vec(),
        within: Duration::from_secs(2),
        expects: Expects::Body(10),
        keep: keep.then_some(Duration::from_secs(30)),
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// The connection that is being dialed.
fn dialed(proxy: &mut Proxy) -> Option<UpstreamId> {
    let mut dialed = None;
    while let Some(command) = proxy.poll_command() {
        if let Command::Dial { upstream, .. } = command {
            dialed = Some(upstream);
        }
    }
    dialed
}

/// The request is written.
fn written(proxy: &mut Proxy, up: UpstreamId) {
    assert_eq!(proxy.pending(Side::Upstream(up)).0, REQUEST);
    proxy.handle_sent(Side::Upstream(up), REQUEST.len(), at(2));
    assert_eq!(proxy.pending(Side::Upstream(up)), (&b""[..], &b""[..]));
}

/// The other side says this.
fn say(proxy: &mut Proxy, up: UpstreamId, bytes: &[u8]) {
    let room = proxy.room(Side::Upstream(up));
    room[..bytes.len()].copy_from_slice(bytes);
    proxy.handle_received(Side::Upstream(up), bytes.len(), at(3));
}

/// Asks on a fresh connection, and the request goes out.
fn asked(proxy: &mut Proxy, tag: u8, keep: bool) -> UpstreamId {
    start(proxy, question(tag, keep), at(1)).expect("room for a question");
    let up = dialed(proxy).expect("a connection");
    proxy.handle_connected(up, at(2));
    written(proxy, up);
    up
}

/// Returns the one answer; then nothing may be left but `idle` connections.
fn head_outcome(proxy: &mut Proxy, idle: usize) -> Result<(u16, Vec<u8>), Outcome> {
    assert_eq!(proxy.answers.len(), 1);
    let (_, answer, _) = proxy.answers.remove(0);
    assert_eq!(
        (
            proxy.subrequests.len(),
            proxy.holdings().upstreams,
            proxy.holdings().buffers
        ),
        (0, idle, 0)
    );
    assert!(proxy.check(false).is_ok());
    answer.map(|sub_response| (sub_response.status, sub_response.body))
}

#[test]
fn answers_in_every_framing() {
    for (answer, ends, idle, expected) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"[..],
            false,
            1,
            Ok((200, b"hi".to_vec())),
        ),
        (
            b"HTTP/1.1 204 No Content\r\n\r\n",
            false,
            1,
            Ok((204, vec![])),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            false,
            0,
            Ok((200, vec![])),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            false,
            1,
            Ok((200, b"hi".to_vec())),
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\nhi",
            true,
            0,
            Ok((200, b"hi".to_vec())),
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
            false,
            1,
            Ok((500, vec![])),
        ),
        // Bytes behind the answer: it stands, the connection does not.
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP",
            false,
            0,
            Ok((200, vec![])),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
            false,
            1,
            Ok((200, b"0123456789".to_vec())),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n01234567890",
            false,
            0,
            Err(Outcome::OverLimit),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
            true,
            0,
            Err(Outcome::UpstreamClosed),
        ),
        (b"HTTP/1.1 200", true, 0, Err(Outcome::UpstreamClosed)),
        (b"", true, 0, Err(Outcome::UpstreamClosed)),
        (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            false,
            0,
            Err(Outcome::UpstreamMalformed),
        ),
        (b"200 OK\r\n\r\n", false, 0, Err(Outcome::UpstreamMalformed)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
            false,
            0,
            Err(Outcome::UpstreamMalformed),
        ),
    ] {
        // Whole, and cut in two at every place.
        for cut in 0..answer.len().max(1) {
            let mut proxy = literal();
            let up = asked(&mut proxy, 0, true);
            if cut > 0 {
                say(&mut proxy, up, &answer[..cut]);
            }
            // A head that is wrong may be known as such before it is complete.
            if proxy.answers.is_empty() && cut < answer.len() {
                say(&mut proxy, up, &answer[cut..]);
            }
            if ends && proxy.answers.is_empty() {
                proxy.handle_end(Side::Upstream(up), at(4));
            }
            let idle = if answer.ends_with(b"\r\nHTTP") && cut == answer.len() - 4 {
                proxy.holdings().upstreams
            } else {
                idle
            };
            assert_eq!(
                head_outcome(&mut proxy, idle),
                expected,
                "{} at {cut}",
                answer.escape_ascii()
            );
        }
    }
}

#[test]
fn a_dead_pooled_connection_is_replaced_once() {
    let mut proxy = literal();
    let up = asked(&mut proxy, 0, true);
    say(
        &mut proxy,
        up,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(head_outcome(&mut proxy, 1), Ok((200, vec![])));
    start(&mut proxy, question(1, true), at(5)).expect("room");
    assert_eq!(dialed(&mut proxy), None, "the pooled one is taken");
    written(&mut proxy, up);
    proxy.handle_end(Side::Upstream(up), at(6));
    let fresh = dialed(&mut proxy).expect("a fresh connection");
    proxy.handle_connected(fresh, at(7));
    written(&mut proxy, fresh);
    proxy.handle_end(Side::Upstream(fresh), at(8));
    assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamClosed));
}

#[test]
fn what_was_said_before_the_question_is_no_answer() {
    let mut proxy = literal();
    let up = asked(&mut proxy, 0, true);
    say(&mut proxy, up, b"HTTP/1.1 204 No Content\r\n\r\n");
    head_outcome(&mut proxy, 1).expect("an answer");
    start(&mut proxy, question(1, true), at(5)).expect("room");
    say(
        &mut proxy,
        up,
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    );
    assert!(
        proxy.answers.is_empty() && dialed(&mut proxy).is_some(),
        "a fresh connection is made"
    );
}

#[test]
fn its_own_connection_when_it_wants_no_pooled_one() {
    let mut proxy = literal();
    for _ in 0..2 {
        let up = asked(&mut proxy, 0, false);
        say(&mut proxy, up, b"HTTP/1.1 204 No Content\r\n\r\n");
        head_outcome(&mut proxy, 0).expect("an answer");
    }
}

#[test]
fn nothing_within_its_time() {
    let mut proxy = literal();
    asked(&mut proxy, 0, true);
    proxy.handle_timeout(at(1900));
    assert!(proxy.answers.is_empty());
    proxy.handle_timeout(at(2100));
    assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamTimeout));
}

#[test]
fn refused_unresolved_and_too_many() {
    let mut proxy = literal();
    start(&mut proxy, question(0, true), at(1)).expect("room");
    let up = dialed(&mut proxy).expect("a connection");
    proxy.handle_fault(Side::Upstream(up), Fault::Refused, None, at(2));
    assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamRefused));

    let mut proxy = gateway(TargetHost::Name("b".to_owned()));
    for tag in 0..2 {
        start(&mut proxy, question(tag, true), at(1)).expect("room");
    }
    assert_eq!(
        start(&mut proxy, question(2, true), at(1)),
        None,
        "as many as may be"
    );
    assert_eq!(dialed(&mut proxy), None, "the name is not known yet");
    proxy.handle_resolved(Key::from_parts(0, 0), &[], at(2));
    assert!(proxy.answers.is_empty(), "not from within another's call");
    proxy.handle_timeout(at(100));
    assert_eq!(proxy.answers.len(), 2);
    assert!(
        proxy
            .answers
            .iter()
            .all(|(_, answer, _)| *answer == Err(Outcome::UpstreamUnresolved))
    );
    assert_eq!(
        (
            proxy.subrequests.len(),
            proxy.holdings().upstreams,
            proxy.holdings().buffers
        ),
        (0, 0, 0)
    );
}

#[test]
fn addresses_in_turn_unless_it_is_about_one() {
    let addresses =
        ["192.0.2.1:80", "192.0.2.2:80"].map(|address| address.parse().expect("an address"));
    let mut proxy = gateway(TargetHost::Name("b".to_owned()));
    proxy.handle_resolved(Key::from_parts(0, 0), &addresses, at(1));
    start(&mut proxy, question(0, true), at(1)).expect("room");
    let first = dialed(&mut proxy).expect("the first address");
    proxy.handle_fault(Side::Upstream(first), Fault::Refused, None, at(2));
    let second = dialed(&mut proxy).expect("the second address");
    proxy.handle_fault(Side::Upstream(second), Fault::Refused, None, at(2));
    assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamRefused));

    let [_, pinned] = addresses;
    while proxy.poll_command().is_some() {}
    start(
        &mut proxy,
        SubrequestSpec {
            address: Some(pinned),
            ..question(1, false)
        },
        at(3),
    )
    .expect("room");
    let up = proxy.poll_command();
    let Some(Command::Dial {
        upstream, address, ..
    }) = up
    else {
        panic!("{up:?}")
    };
    assert_eq!(address, pinned);
    proxy.handle_fault(Side::Upstream(upstream), Fault::Refused, None, at(4));
    assert_eq!(head_outcome(&mut proxy, 0), Err(Outcome::UpstreamRefused));
}

#[test]
fn nobody_is_told_of_a_dropped_one() {
    let mut proxy = literal();
    let id = start(&mut proxy, question(0, true), at(1)).expect("room");
    cancel(&mut proxy, id);
    proxy.handle_timeout(at(3000));
    assert!(proxy.answers.is_empty());
    assert_eq!(
        (
            proxy.subrequests.len(),
            proxy.holdings().upstreams,
            proxy.holdings().buffers
        ),
        (0, 0, 0)
    );
}

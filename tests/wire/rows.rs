//! Runner of rows.

use tollgate::properties::reference::{self, Line, Stop};

use super::kept;
use crate::engine::script::*;

/// Required result of one request of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The gateway answers with this status itself. If the head is refused, no byte of the request
    /// is forwarded.
    Reply(u16),
    /// An upstream receives exactly this, and its 200 reaches the client.
    Forward {
        /// Method and target.
        line: String,
        /// Fields, one in a line, without those that the gateway adds to each request.
        fields: String,
        body: Vec<u8>,
    },
}

/// Returns the expectation of a reply of the gateway itself.
pub fn reply(status: u16) -> Expect {
    Expect::Reply(status)
}

/// Returns the expectation of a forwarded request: this line, these fields (beside the gateway's
/// usual ones) and this body.
pub fn forward(line: &str, fields: &str, body: impl AsRef<[u8]>) -> Expect {
    Expect::Forward {
        line: line.to_owned(),
        fields: fields.to_owned(),
        body: body.as_ref().to_vec(),
    }
}

/// Returns the expectation of a forwarded plain `GET /auth`.
pub fn get() -> Expect {
    forward("GET /auth", "", "")
}

/// Rules for the bytes of a client and their results.
pub struct Requests {
    pub config: &'static str,
    /// Answer of an upstream to each request.
    pub answer: &'static str,
    /// True if the fault is in the body: the first part of the request may have been forwarded, but
    /// not its end.
    pub in_body: bool,
    /// True if the row is only run whole and byte by byte, because cutting it at every byte would
    /// take too long.
    pub uncut: bool,
}

impl Default for Requests {
    fn default() -> Self {
        Requests {
            config: PLAIN,
            answer: OK,
            in_body: false,
            uncut: false,
        }
    }
}

/// Results of a client's bytes.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    expects: Vec<Expect>,
    /// True if the gateway has closed the connection.
    closed: bool,
}

impl Requests {
    /// Checks the results, and the state of the connection after them.
    #[track_caller]
    pub fn check(&self, row: &str, client: impl AsRef<[u8]>, expects: &[Expect], closed: bool) {
        let client = client.as_ref();
        let expected = Outcome {
            expects: expects.to_vec(),
            closed,
        };
        let run = |what: &str, pieces: &[&[u8]]| {
            let outcome = self.run(row, pieces);
            assert!(
                outcome == expected,
                "row {row}, {what}:\n came {outcome:?}\n want {expected:?}"
            );
        };
        run("whole", &[client]);
        run("byte by byte", &client.chunks(1).collect::<Vec<_>>());
        for at in 1..if self.uncut { 1 } else { client.len() } {
            run(&format!("cut at {at}"), &[&client[..at], &client[at..]]);
        }
    }

    /// Checks bytes without required results: the results are the same whole and byte by byte, and
    /// the reference parser can read everything.
    #[track_caller]
    pub fn holds(&self, client: &[u8]) {
        let lenient = Requests {
            in_body: true,
            ..*self
        };
        let row = &String::from_utf8_lossy(client);
        let (whole, pieces) = (
            lenient.run(row, &[client]),
            lenient.run(row, &client.chunks(1).collect::<Vec<_>>()),
        );
        assert!(
            whole == pieces,
            "{:?}:\n whole {whole:?}\n bytes {pieces:?}",
            String::from_utf8_lossy(client)
        );
    }

    fn run(&self, row: &str, pieces: &[&[u8]]) -> Outcome {
        let mut stage = Stage::new(self.config);
        let client = stage.world.connect();
        for piece in pieces {
            stage.world.send(client, piece);
            stage.play(self.answer.as_bytes());
        }
        let heard = stage.world.take(client);
        let closed = !stage.world.is_open(client);
        // A reply is the gateway's own, unless an upstream has given it.
        let mut forwarded = stage.seen.iter();
        let mut expects = Vec::new();
        let mut rest = &heard[..];
        while !rest.is_empty() {
            // Only the reply to HEAD is read differently, and a row has a HEAD only at its end.
            let method = forwarded
                .clone()
                .next()
                .map_or(&b"GET"[..], |request| &request.head.method);
            let (response, behind) =
                reference::response(rest, method, closed).expect("the client can read the reply");
            assert!(response.complete, "the reply is whole");
            rest = behind;
            match response.head.status {
                100..=199 => {}
                _ if is_own(&response.head.fields, &response.body) => {
                    expects.push(Expect::Reply(response.head.status))
                }
                200 => expects.push(noted(
                    forwarded.next().expect("an upstream saw the request"),
                )),
                status => panic!("an upstream's {status}"),
            }
        }
        assert!(
            forwarded.next().is_none(),
            "every forwarded request is answered"
        );
        assert!(
            self.in_body || stage.is_whole(),
            "a part of a request went up"
        );
        stage.world.expect_quiet();
        let outcome = Outcome { expects, closed };
        if let [client] = pieces {
            stage.keep(row);
            self.keep_refused(row, client, &outcome, &stage);
        }
        outcome
    }

    /// Stores bytes that were refused, for tests of the real binary.
    fn keep_refused(&self, row: &str, client: &[u8], outcome: &Outcome, stage: &Stage) {
        let status = |expect: &Expect| {
            if let Expect::Reply(status) = expect {
                Some(*status)
            } else {
                None
            }
        };
        let statuses: Option<Vec<u16>> = outcome.expects.iter().map(status).collect();
        if let Some(statuses) =
            statuses.filter(|statuses| !statuses.is_empty() && stage.origins.is_empty())
            && self.config == PLAIN
        {
            kept::refused(row, client, &statuses, outcome.closed);
        }
    }
}

/// Returns true if the reply is the gateway's own JSON, or its answer to OPTIONS.
fn is_own(fields: &[Line], body: &[u8]) -> bool {
    let json = reference::values(fields, b"content-type")
        .any(|kind| kind.starts_with(b"application/json"));
    let options = [&b"allow"[..], b"access-control-allow-methods"];
    json && body.starts_with(b"{\"code\":")
        || options
            .iter()
            .any(|name| reference::values(fields, name).next().is_some())
}

/// Fields that the gateway adds to each request of the usual client.
const USUAL: [(&str, &str); 5] = [
    ("Host", "10.0.0.1"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-Forwarded-Proto", "http"),
    ("X-Forwarded-Host", "gate"),
    ("Via", "1.1 tollgate"),
];

fn noted(request: &reference::Request) -> Expect {
    assert_eq!(
        request.head.minor, 1,
        "row 7: an intermediary sends its own version"
    );
    let mut usual = 0;
    let mut fields = String::new();
    for (name, value) in &request.head.fields {
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        if USUAL.contains(&(&*name, &*value)) {
            usual += 1;
        } else {
            fields += &format!("{name}: {value}\r\n");
        }
    }
    assert!(usual <= USUAL.len(), "a field was added twice");
    let line = [&request.head.method[..], b" ", &request.head.target].concat();
    Expect::Forward {
        line: String::from_utf8_lossy(&line).into_owned(),
        fields,
        body: request.body.clone(),
    }
}

/// One connection of an upstream.
struct Reader {
    origin: Origin,
    /// All bytes that have arrived.
    received: Vec<u8>,
    /// Bytes that are not a complete request yet.
    unread: Vec<u8>,
}

/// Gateway with upstreams that answer each request that the reference parser can read.
pub struct Stage {
    pub world: World,
    origins: Vec<Reader>,
    /// Requests that the upstreams have read, in order.
    pub seen: Vec<reference::Request>,
}

impl Stage {
    pub fn new(config: &str) -> Stage {
        Stage {
            world: World::with(config),
            origins: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Returns true if no upstream has an incomplete request.
    fn is_whole(&self) -> bool {
        self.origins.iter().all(|reader| reader.unread.is_empty())
    }

    /// Stores the forwarded bytes for other readers than the reference parser.
    pub fn keep(&self, row: &str) {
        for reader in &self.origins {
            kept::forwarded(row, &reader.received);
        }
    }

    /// Lets the upstreams read and answer until nothing more is sent.
    pub fn play(&mut self, answer: &[u8]) {
        loop {
            let before = self.seen.len();
            while !self.world.dials.is_empty() {
                let origin = self.world.accept();
                self.origins.push(Reader {
                    origin,
                    received: Vec::new(),
                    unread: Vec::new(),
                });
            }
            for Reader {
                origin,
                received,
                unread,
            } in &mut self.origins
            {
                let bytes = self.world.take_upstream(*origin);
                received.extend_from_slice(&bytes);
                unread.extend_from_slice(&bytes);
                let (requests, stop) = reference::requests(unread);
                assert!(
                    stop != Some(Stop::Bad),
                    "an origin cannot read {:?}",
                    String::from_utf8_lossy(unread)
                );
                let read: usize = unread.len() - tail(unread, requests.len());
                unread.drain(..read);
                for request in requests {
                    self.seen.push(request);
                    self.world.reply(*origin, answer);
                }
            }
            if self.seen.len() == before && self.world.dials.is_empty() {
                return;
            }
        }
    }
}

/// Returns the number of bytes behind the first `count` requests.
fn tail(mut bytes: &[u8], count: usize) -> usize {
    for _ in 0..count {
        bytes = reference::request(bytes).expect("it was read before").1;
    }
    bytes.len()
}

/// Rules for an upstream's answer to the usual GET (or `request`), and its result.
pub struct Responses {
    pub request: &'static str,
    /// True if the upstream ends its stream behind the answer.
    pub ended: bool,
    /// True if the row is not cut, because the request's body is still on its way.
    pub uncut: bool,
}

impl Default for Responses {
    fn default() -> Self {
        Responses {
            request: GET,
            ended: false,
            uncut: false,
        }
    }
}

/// Bytes that the client receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Got<'a> {
    /// Exactly these bytes, with the chunks of the gateway joined; `{date}` stands for the time.
    Bytes(&'a str),
    /// Reply of the gateway itself, with this status.
    Own(u16),
}

/// State of both connections at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Both connections can carry another exchange.
    Kept,
    /// The client's connection can carry another exchange; the upstream's was closed.
    UpstreamClosed,
    /// Both connections were closed in order.
    Closed,
    /// The client's connection was closed in order; the upstream's can carry another exchange.
    ClientClosed,
    /// The client's connection was cut, so that the response does not look complete.
    Cut,
    /// The response continues.
    Open,
}

impl Responses {
    #[track_caller]
    pub fn check(&self, row: &str, upstream: impl AsRef<[u8]>, got: Got<'_>, fate: Fate) {
        let upstream = upstream.as_ref();
        let run = |what: &str, pieces: &[&[u8]]| {
            let (heard, came) = self.run(pieces);
            let text = String::from_utf8_lossy(&heard);
            match got {
                Got::Own(status) => {
                    let own = text.starts_with(&format!("HTTP/1.1 {status} "))
                        && text.contains("{\"code\":");
                    assert!(
                        own,
                        "row {row}, {what}:\n came {text:?}\n want the gateway's {status}"
                    );
                }
                Got::Bytes(bytes) => assert!(
                    text == bytes,
                    "row {row}, {what}:\n came {text:?}\n want {bytes:?}"
                ),
            }
            assert_eq!(came, fate, "row {row}, {what}");
        };
        run("whole", &[upstream]);
        run("byte by byte", &upstream.chunks(1).collect::<Vec<_>>());
        for at in 1..if self.uncut { 1 } else { upstream.len() } {
            run(&format!("cut at {at}"), &[&upstream[..at], &upstream[at..]]);
        }
    }

    fn run(&self, pieces: &[&[u8]]) -> (Vec<u8>, Fate) {
        let mut world = World::streaming(PLAIN);
        let client = world.connect();
        world.send(client, self.request);
        let origin = world.accept();
        for piece in pieces {
            world.reply(origin, piece);
        }
        if self.ended {
            world.finish_upstream(origin);
        }
        let heard = merged(world.take(client));
        let fate = match (
            world.closed(client),
            world.is_open(client),
            world.closed_upstream(origin),
        ) {
            (Some(Closed::Aborted), ..) => Fate::Cut,
            (_, false, true) => Fate::Closed,
            (_, false, false) => Fate::ClientClosed,
            (_, true, true) => Fate::UpstreamClosed,
            (_, true, false) => {
                // The connections are kept if another exchange can use both.
                world.send(client, GET);
                if world.dials.is_empty() && world.received_upstream(origin).ends_with(GET_UPSTREAM)
                {
                    Fate::Kept
                } else {
                    Fate::Open
                }
            }
        };
        if fate == Fate::Open {
            world.finish_upstream(origin);
        }
        world.expect_quiet();
        (heard, fate)
    }
}

/// Returns the bytes with all data of a chunked body in one chunk: the chunks of the gateway depend
/// on how the bytes arrived.
fn merged(heard: Vec<u8>) -> Vec<u8> {
    let chunked = b"\r\nTransfer-Encoding: chunked\r\n\r\n";
    let Some(at) = heard
        .windows(chunked.len())
        .position(|bytes| bytes == chunked)
    else {
        return heard;
    };
    let (head, body) = heard.split_at(at + chunked.len());
    let (mut data, mut rest, mut end) = (Vec::new(), body, &b""[..]);
    while let Some(line) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).expect("hex"), 16)
            .expect("hex");
        if size == 0 {
            end = rest;
            break;
        }
        data.extend_from_slice(&rest[line + 2..line + 2 + size]);
        assert_eq!(&rest[line + 2 + size..][..2], b"\r\n", "a chunk ends");
        rest = &rest[line + 4 + size..];
    }
    let size = if data.is_empty() {
        String::new()
    } else {
        format!("{:x}\r\n", data.len())
    };
    let close: &[u8] = if data.is_empty() { b"" } else { b"\r\n" };
    [head, size.as_bytes(), &data, close, end].concat()
}

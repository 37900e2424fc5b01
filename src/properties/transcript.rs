//! What came out of the gateway on each side, read by the reference parser, and what must be true of it.

#![expect(clippy::panic, reason = "a property that does not hold panics")]

use super::reference::{self, Request, Response, Stop};
use crate::policy::reply::Reply;

/// What one upstream connection has said and received.
#[derive(Default)]
pub(super) struct Upstream {
    pub(super) sent: Vec<u8>,
    pub(super) received: Vec<u8>,
    /// It has ended its stream in order.
    pub(super) ended: bool,
}

/// What everybody has said and received.
#[derive(Default)]
pub(super) struct Transcript {
    pub(super) client_sent: Vec<u8>,
    pub(super) client_received: Vec<u8>,
    /// The gateway has ended its direction towards the client, or the connection, in order.
    pub(super) client_ended: bool,
    pub(super) upstreams: Vec<Upstream>,
}

/// The requests of a client, as far as they can be read.
struct ClientRequests {
    requests: Vec<Request>,
    /// What follows the last whole one begins a HEAD.
    head_follows: bool,
}

/// Methods that may be sent twice (RFC 9110 9.2.2), as the gateway knows them.
const IDEMPOTENT: [&[u8]; 5] = [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"];

impl Transcript {
    /// Holds all of it against each other.
    pub(super) fn check(&self) {
        let asked = self.read_requests();
        let answers: Vec<Response> = self
            .upstreams
            .iter()
            .flat_map(Upstream::responses)
            .collect();
        let finals = self.check_client(&asked, &answers);
        assert!(
            finals <= asked.requests.len() + 1,
            "I9: {finals} answers to {} requests",
            asked.requests.len()
        );
        let arrived: Vec<Request> = self
            .upstreams
            .iter()
            .flat_map(|upstream| upstream.requests(self.is_tunnel()))
            .collect();
        check_received(&asked.requests, &arrived);
    }

    /// Final responses that the client has heard to their end.
    pub(super) fn responses_received(&self) -> usize {
        let asked = self.read_requests();
        let answers: Vec<Response> = self
            .upstreams
            .iter()
            .flat_map(Upstream::responses)
            .collect();
        self.check_client(&asked, &answers)
    }

    /// Requests that the client has said to their end.
    pub(super) fn requests_sent(&self) -> usize {
        self.read_requests().requests.len()
    }

    fn read_requests(&self) -> ClientRequests {
        let (requests, _) = reference::requests(&self.client_sent);
        let mut rest = &self.client_sent[..];
        for _ in &requests {
            rest = reference::request(rest).map_or(&[][..], |(_, rest)| rest);
        }
        let rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        ClientRequests {
            requests,
            head_follows: rest.starts_with(b"HEAD "),
        }
    }

    fn is_tunnel(&self) -> bool {
        self.upstreams
            .iter()
            .any(|upstream| upstream.sent.starts_with(b"HTTP/1.1 101"))
            || self
                .client_received
                .windows(13)
                .any(|bytes| bytes == b"HTTP/1.1 101 ")
    }

    /// Every response is one of an upstream's or our own, in order, and complete only if its source was (I1, I9). The number
    /// of final ones.
    fn check_client(&self, asked: &ClientRequests, answers: &[Response]) -> usize {
        let mut rest = &self.client_received[..];
        let mut finals = 0;
        while !rest.is_empty() {
            let method = match asked.requests.get(finals) {
                Some(request) => &request.head.method[..],
                None if asked.head_follows => b"HEAD",
                None => b"GET",
            };
            let (response, behind) = match reference::response(rest, method, self.client_ended) {
                Ok(read) => read,
                Err(Stop::More) => return finals,
                Err(Stop::Bad) => panic!(
                    "I1: a client cannot read {:?}",
                    String::from_utf8_lossy(rest)
                ),
            };
            if response.head.status == 101 {
                // What follows it must be there in what an upstream said, in one piece.
                let said =
                    |upstream: &Upstream| behind.is_empty() || contains(&upstream.sent, behind);
                assert!(self.upstreams.iter().any(said), "I1: a tunnel of nobody's");
                return finals + 1;
            }
            let from_upstream = answers.iter().any(|answer| is_relayed(&response, answer));
            assert!(
                from_upstream || is_local_reply(&response),
                "I9: nobody said {response:?}"
            );
            finals += usize::from(response.head.status >= 200 && response.complete);
            if !response.complete {
                return finals;
            }
            rest = behind;
            if asked.requests.len() < finals {
                // Behind the answer to what is no request, whose method nobody knows, comes only the end.
                return finals;
            }
        }
        finals
    }
}

impl Upstream {
    /// The requests that it has received; nothing else may be there (I2).
    fn requests(&self, tunnel: bool) -> Vec<Request> {
        let (requests, stop) = reference::requests(&self.received);
        let switches = requests.iter().any(|request| {
            reference::values(&request.head.fields, b"upgrade")
                .next()
                .is_some()
        });
        let readable = stop != Some(Stop::Bad) || (tunnel && switches);
        assert!(
            readable,
            "I2: an upstream cannot read {:?}",
            String::from_utf8_lossy(&self.received)
        );
        requests
    }

    /// The responses that it has said, the last one perhaps in part.
    fn responses(&self) -> Vec<Response> {
        let (requests, _) = reference::requests(&self.received);
        let started = reference::request_head(behind(&self.received, requests.len()))
            .map(|(head, _)| head.method);
        let methods = requests
            .into_iter()
            .map(|request| request.head.method)
            .chain(started)
            .chain([b"GET".to_vec()]);
        let mut rest = &self.sent[..];
        let mut said = Vec::new();
        for method in methods {
            loop {
                match reference::response(rest, &method, self.ended) {
                    Ok((response, behind)) => {
                        let interim = response.head.status < 200;
                        said.push(response);
                        rest = behind;
                        if !interim {
                            break;
                        }
                    }
                    Err(_) => {
                        said.extend(reference::response_front(rest, &method));
                        return said;
                    }
                }
            }
        }
        said
    }
}

/// The bytes behind so many requests.
fn behind(mut bytes: &[u8], requests: usize) -> &[u8] {
    for _ in 0..requests {
        bytes = reference::request(bytes).map_or(&[][..], |(_, rest)| rest);
    }
    bytes
}

/// Whether the client's `response` can be what an upstream said.
fn is_relayed(response: &Response, answer: &Response) -> bool {
    let same =
        response.head.status == answer.head.status && answer.body.starts_with(&response.body);
    same && (!response.complete || answer.complete && answer.body.len() == response.body.len())
}

/// Whether it is a reply of the gateway's own, or a part of one.
fn is_local_reply(response: &Response) -> bool {
    // It answers expectations and OPTIONS itself.
    let bodiless = matches!(response.head.status, 100 | 204) && response.body.is_empty();
    let bodies = Reply::ALL
        .iter()
        .filter(|reply| reply.status() == response.head.status)
        .map(|reply| reply.body());
    bodiless
        || bodies
            .into_iter()
            .any(|body| body.starts_with(&response.body))
}

/// What reached upstreams was asked for, whole, and what may not be repeated was not (I2, I4, I5).
fn check_received(asked: &[Request], arrived: &[Request]) {
    let alike = |a: &Request, b: &Request| a.head.method == b.head.method && a.body == b.body;
    for request in arrived {
        let wanted = asked.iter().filter(|other| alike(other, request)).count();
        assert!(wanted > 0, "I2: nobody asked for {request:?}");
        let came = arrived.iter().filter(|other| alike(other, request)).count();
        let repeatable = IDEMPOTENT.contains(&&request.head.method[..]);
        assert!(
            came <= wanted || repeatable,
            "I5: {came} times, asked for {wanted} times: {request:?}"
        );
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes
        .windows(part.len().max(1))
        .any(|window| window == part)
}

//! Output of the gateway on each side, read by the reference parser, and the invariants it must
//! satisfy.

#![expect(clippy::panic, reason = "a property that does not hold panics")]

use super::reference::{self, Request, Response, Stop};
use crate::policy::reply::Reply;

/// Bytes of one upstream connection.
#[derive(Default)]
pub(super) struct Upstream {
    pub(super) sent: Vec<u8>,
    pub(super) received: Vec<u8>,
    /// The upstream ended its stream cleanly.
    pub(super) ended: bool,
}

/// Bytes of all connections.
#[derive(Default)]
pub(super) struct Transcript {
    pub(super) client_sent: Vec<u8>,
    pub(super) client_received: Vec<u8>,
    /// The gateway ended its direction towards the client, or the connection, cleanly.
    pub(super) client_ended: bool,
    pub(super) upstreams: Vec<Upstream>,
}

/// Requests of a client, as far as they can be parsed.
struct ClientRequests {
    requests: Vec<Request>,
    /// The bytes behind the last complete request begin a HEAD.
    head_follows: bool,
}

/// Methods that may be repeated (RFC 9110 9.2.2) and that the gateway retries.
const IDEMPOTENT: [&[u8]; 5] = [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"];

impl Transcript {
    /// Checks all invariants.
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

    /// Returns the number of final responses that the client received completely.
    pub(super) fn responses_received(&self) -> usize {
        let asked = self.read_requests();
        let answers: Vec<Response> = self
            .upstreams
            .iter()
            .flat_map(Upstream::responses)
            .collect();
        self.check_client(&asked, &answers)
    }

    /// Returns the number of requests that the client sent completely.
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

    /// Checks that every response is an upstream's or a local reply, in order, and complete only if
    /// its source was (I1, I9). Returns the number of final responses.
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
                // The bytes behind a 101 must be a contiguous part of what an upstream sent.
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
                // The request behind the last readable one is invalid and its method unknown, so
                // nothing is read behind its response.
                return finals;
            }
        }
        finals
    }
}

impl Upstream {
    /// Returns the received requests. Nothing else may have arrived (I2).
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

    /// Returns the responses that this upstream sent; the last one may be incomplete.
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

/// Returns the bytes behind the first `requests` requests.
fn behind(mut bytes: &[u8], requests: usize) -> &[u8] {
    for _ in 0..requests {
        bytes = reference::request(bytes).map_or(&[][..], |(_, rest)| rest);
    }
    bytes
}

/// Returns true if the client's `response` can be this upstream response.
fn is_relayed(response: &Response, answer: &Response) -> bool {
    let same =
        response.head.status == answer.head.status && answer.body.starts_with(&response.body);
    same && (!response.complete || answer.complete && answer.body.len() == response.body.len())
}

/// Returns true for a local reply of the gateway, complete or not.
fn is_local_reply(response: &Response) -> bool {
    // The gateway itself replies to expectations and to OPTIONS.
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

/// Checks that every request of an upstream was sent by the client, and that no request was
/// repeated that may not be (I2, I4, I5).
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

//! What becomes of a request before anything is done for it: the ordered list of the contract, as one pure decision.
//!
//! The order: the client's address, OPTIONS, the way to the TLS listener, route and path safety, rate limit, no route, body size,
//! loops. What is refused before the rate limit is not counted by it. Authentication follows behind all of these.

use super::addresses::AddressRules;
use super::cors::Cors;
use super::forward::Peer;
use super::router::{Refusal as RouteRefusal, Router};
use crate::digits;
use crate::http::connection::Connection;
use crate::http::error::RequestError;
use crate::http::field::{Name, tokens};
use crate::http::framing::{RequestBody, expects_continue, keeps_alive, request_body};
use crate::http::head::RequestHead;
use crate::http::target::{Form, Target, parse_target};
use crate::limits::VIA_LOOPS_MAX;

/// What was read out of an acceptable head.
pub struct Request<'a> {
    /// The head.
    pub head: &'a RequestHead<'a>,
    /// Its target, in parts.
    pub target: Target<'a>,
    /// How its body is framed.
    pub body: RequestBody,
    /// What its `Connection` field says.
    pub connection: Connection<'a>,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 10.1.1).
    pub expects: bool,
    /// Whether the connection may serve another request afterwards (RFC 9112 9.3).
    pub keep: bool,
}

/// The rules that a request is held against.
pub struct AdmissionRules<'a> {
    /// Addresses that are served.
    pub addresses: &'a AddressRules,
    /// The CORS policy; `None`: off.
    pub cors: Option<&'a Cors>,
    /// The routes table.
    pub routes: &'a Router,
    /// Most bytes of a body; `None`: no limit.
    pub body_bytes: Option<u64>,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Whether the rate limit counts the request: where it has nothing left, the answer is 429, whatever the decision.
    pub counted: Counted,
    /// What happens otherwise.
    pub decision: Decision,
}

/// Whether the rate limit counts a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// The request is refused, or answered, before.
    No,
    /// It is counted for this service; `None`: for none.
    For(Option<usize>),
}

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteMatch {
    /// Index of the service.
    pub service: usize,
    /// Bytes of the path that the route takes.
    pub taken: usize,
    /// What `Max-Forwards` becomes, if it must change (RFC 9110 7.6.2).
    pub max_forwards: Option<u64>,
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It goes to a service.
    Forward(RouteMatch),
    /// The gateway answers an OPTIONS.
    Options,
    /// It is sent on to the TLS listener.
    Redirect,
    /// Only its method has no route.
    MethodNotAllowed {
        /// Index of the first service with its path.
        service: usize,
        /// Group of the routes table with that path.
        group: usize,
    },
    /// It is refused; with the index of the service, where it has a route.
    Refuse(Refusal, Option<usize>),
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The address rules keep the client out.
    AddressDenied,
    /// `Max-Forwards` is no number (RFC 9110 7.6.2).
    MaxForwards,
    /// The path could mean something else to the upstream.
    UnsafePath,
    /// No route takes it.
    NoRoute,
    /// The body is longer than the limit.
    BodyTooLong,
    /// `Via` shows that the request runs in a circle (RFC 9110 7.6.3).
    Loop,
}

impl<'a> Request<'a> {
    /// Reads everything that makes a request acceptable in itself.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn read(head: &'a RequestHead<'a>) -> Result<Request<'a>, RequestError> {
        let target = parse_target(head)?;
        let body = request_body(head)?;
        let connection = Connection::of(&head.fields);
        connection.check_request()?;
        Ok(Request {
            head,
            target,
            body,
            connection,
            expects: expects_continue(head)?,
            keep: keeps_alive(head.version, &head.fields),
        })
    }

    /// Returns the host that the client asked for (RFC 9112 3.2.2: an absolute target counts, whatever Host says).
    pub fn asked_host(&self) -> Option<&'a [u8]> {
        match self.target.form {
            Form::Absolute { authority } => Some(authority),
            _ => self.head.fields.first(Name::Host),
        }
    }

    /// Whether this is a browser's question whether it may ask (Fetch standard, CORS-preflight fetch). One with content or
    /// credentials is none: no browser sends them, and an upstream may act on them.
    pub fn is_preflight(&self) -> bool {
        let fields = &self.head.fields;
        self.head.method == b"OPTIONS"
            && fields.says(Name::Origin)
            && fields.says(Name::AccessControlRequestMethod)
            && self.body.is_empty()
            && !fields.has(Name::Authorization)
            && !fields
                .iter()
                .any(|field| field.name.eq_ignore_ascii_case(b"cookie"))
    }
}

impl Admission {
    fn refuse(refusal: Refusal) -> Admission {
        Admission {
            counted: Counted::No,
            decision: Decision::Refuse(refusal, None),
        }
    }

    fn answer(decision: Decision) -> Admission {
        Admission {
            counted: Counted::No,
            decision,
        }
    }
}

/// Decides about a request of `client`; `redirects`: it came in by a listener that sends every request on to the TLS listener.
pub fn decide(
    rules: &AdmissionRules<'_>,
    request: &Request<'_>,
    client: Peer,
    redirects: bool,
) -> Admission {
    let head = request.head;
    if !rules.addresses.admit(client) {
        return Admission::refuse(Refusal::AddressDenied);
    }
    let mut max_forwards = None;
    if head.method == b"OPTIONS" {
        let cors = rules.cors;
        let is_ours = cors.is_some_and(|cors| cors.answers_options(request.is_preflight()));
        if is_ours || matches!(request.target.form, Form::Asterisk) {
            return Admission::answer(Decision::Options);
        }
        // RFC 9110 7.6.2: the last hop answers, every other counts down.
        match head.fields.first(Name::MaxForwards).map(digits::parse) {
            Some(Some(0)) => return Admission::answer(Decision::Options),
            Some(Some(left)) => max_forwards = left.checked_sub(1),
            Some(None) => return Admission::refuse(Refusal::MaxForwards),
            None => {}
        }
    }
    if redirects {
        return Admission::answer(Decision::Redirect);
    }
    let host = request.asked_host();
    let (service, decision) = match rules.routes.resolve(host, request.target.path, head.method) {
        Err(RouteRefusal::Unsafe) => return Admission::refuse(Refusal::UnsafePath),
        Err(RouteRefusal::NotFound) => (None, Decision::Refuse(Refusal::NoRoute, None)),
        Err(RouteRefusal::Method { service, group }) => {
            (Some(service), Decision::MethodNotAllowed { service, group })
        }
        Ok(found) => {
            let route = RouteMatch {
                service: found.service,
                taken: found.taken,
                max_forwards,
            };
            (Some(found.service), check_routed(rules, request, route))
        }
    };
    Admission {
        counted: Counted::For(service),
        decision,
    }
}

/// Decides about a request that has a route and is within the rate limit.
fn check_routed(rules: &AdmissionRules<'_>, request: &Request<'_>, route: RouteMatch) -> Decision {
    if let (RequestBody::Sized(bytes), Some(limit)) = (&request.body, rules.body_bytes)
        && *bytes > limit
    {
        return Decision::Refuse(Refusal::BodyTooLong, Some(route.service));
    }
    if passed_here_too_often(request.head) {
        return Decision::Refuse(Refusal::Loop, Some(route.service));
    }
    Decision::Forward(route)
}

/// Whether `Via` shows that the request runs in a circle (RFC 9110 7.6.3).
fn passed_here_too_often(head: &RequestHead<'_>) -> bool {
    head.fields.has(Name::Via)
        && head
            .fields
            .get_all(Name::Via)
            .flat_map(tokens)
            .filter(|member| member.ends_with(b" tollgate"))
            .count()
            >= VIA_LOOPS_MAX
}

//! Admission of a request: the ordered checks, as one pure decision.
//!
//! Order of the checks: the client's address, OPTIONS, redirect to the TLS listener, route and path
//! safety, rate limit, `allow` and `deny` of the service, maintenance, missing route, body size,
//! loops. The rate limit does not count a request that an earlier check refuses. Authentication
//! follows after all of these.

use std::rc::Rc;

use super::addresses::AddressRules;
use super::cors::Cors;
use super::forward::Peer;
use super::gate::{Closed, Gates};
use super::loops::passed_here_too_often;
use super::path::PathFault;
use super::reply::Reply;
use super::request::Request;
use super::route::Match;
use super::router::{By, Refusal as RouteRefusal, Router};
use crate::digits;
use crate::http::field::Name;
use crate::http::framing::RequestBody;
use crate::http::target::Form;

/// The rules that a request is checked against.
pub struct AdmissionRules<'a> {
    /// The `allow` and `deny` lists.
    pub addresses: &'a AddressRules,
    /// The CORS policy of the top level; `None` if CORS is off.
    pub cors: Option<&'a Cors>,
    /// The CORS policies of the services, by index; `None` if all have that of the top level.
    pub service_cors: Option<&'a [Option<Rc<Cors>>]>,
    /// The routes table.
    pub routes: &'a Router,
    /// Upper bound of a body's bytes; `None` if there is no limit.
    pub body_bytes: Option<u64>,
    /// Rules of single services; `None`: there are none.
    pub gates: Option<&'a Gates>,
}

/// Result of the admission checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    /// States if the rate limit counts the request. If the client has no requests left, the reply
    /// is 429, whatever `decision` is.
    pub counted: Counted,
    /// The decision if the rate limit is not reached.
    pub decision: Decision,
}

/// States if the rate limit counts a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// Not counted: the request is refused or answered before the rate limit.
    No,
    /// Counted for the service with this index; `None` if the request has no service.
    For(Option<usize>),
}

/// The service that a request is routed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteMatch {
    /// Index of the service.
    pub service: usize,
    /// Number of bytes of the path that the route matches.
    pub taken: usize,
    /// The new value of `Max-Forwards`, if it changes (RFC 9110 7.6.2).
    pub max_forwards: Option<u64>,
}

/// Decision about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Forward the request to a service.
    Forward(RouteMatch),
    /// Answer the request here.
    Answer(Answer),
}

/// Answer of the gateway to a request that is not forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The gateway answers an OPTIONS request, by the policy of the service with this index; `None`:
    /// by that of the top level.
    Options(Option<usize>),
    /// Redirect the client to the TLS listener.
    Redirect,
    /// The path has a route, but not for this method.
    MethodNotAllowed {
        /// Index of the first service that has the path.
        service: usize,
        /// Index of the group of the routes table that has the path.
        group: usize,
    },
    /// Refuse the request. The second value is the index of the service, if the request has a
    /// route.
    Refuse(Refusal, Option<usize>),
}

/// Reason why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The address rules deny the client.
    AddressDenied,
    /// `Max-Forwards` is not a number (RFC 9110 7.6.2).
    MaxForwards,
    /// The upstream could read the path differently.
    UnsafePath(PathFault),
    /// No route matches.
    NoRoute,
    /// The service is in maintenance; the value are the seconds for `Retry-After`.
    Maintenance(Option<u32>),
    /// The body is longer than the limit.
    BodyTooLong,
    /// `Via` shows that the request runs in a loop (RFC 9110 7.6.3).
    Loop,
}

impl Refusal {
    /// Returns the reply to the client.
    pub const fn reply(self) -> Reply {
        match self {
            Refusal::AddressDenied => Reply::Forbidden,
            Refusal::MaxForwards | Refusal::UnsafePath(_) => Reply::BadRequest,
            Refusal::NoRoute => Reply::NotFound,
            Refusal::Maintenance(_) => Reply::ServiceUnavailable,
            Refusal::BodyTooLong => Reply::PayloadTooLarge,
            Refusal::Loop => Reply::BadGateway,
        }
    }
}

impl AdmissionRules<'_> {
    /// Returns the bound of a body's bytes for a service; `None`: no limit.
    fn body_limit(&self, service: usize) -> Option<u64> {
        match self.gates {
            None => self.body_bytes,
            Some(gates) => gates.body_bytes(service),
        }
    }
}

impl Admission {
    fn refuse(refusal: Refusal) -> Admission {
        Admission::uncounted(Answer::Refuse(refusal, None))
    }

    /// Answers a request before the rate limit.
    fn uncounted(answer: Answer) -> Admission {
        Admission {
            counted: Counted::No,
            decision: Decision::Answer(answer),
        }
    }
}

/// Decides about a request of `client`. `redirects`: the request came in on a listener that
/// redirects every request to the TLS listener.
#[inline(always)]
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
        let (is_ours, service) = match rules.service_cors {
            None => {
                let is_ours = |cors: &Cors| cors.answers_options(request.is_preflight());
                (rules.cors.is_some_and(is_ours), None)
            }
            Some(policies) => options_of_service(rules, policies, request),
        };
        if is_ours || matches!(request.target.form, Form::Asterisk) {
            return Admission::uncounted(Answer::Options(service));
        }
        // RFC 9110 7.6.2: the last hop answers the request; every earlier hop decrements the value.
        match head.fields.first(Name::MaxForwards).map(digits::parse) {
            Some(Some(0)) => return Admission::uncounted(Answer::Options(service)),
            Some(Some(left)) => max_forwards = left.checked_sub(1),
            Some(None) => return Admission::refuse(Refusal::MaxForwards),
            None => {}
        }
    }
    if redirects {
        return Admission::uncounted(Answer::Redirect);
    }
    let host = request.asked_host();
    match rules.routes.resolve(host, request.target.path, head.method) {
        Err(RouteRefusal::Undecided) => by_conditions(rules, request, client, max_forwards),
        found => routed(rules, request, client, (found, max_forwards)),
    }
}

/// Decides about a request whose route has services with conditions.
#[cold]
#[inline(never)]
fn by_conditions(
    rules: &AdmissionRules<'_>,
    request: &Request<'_>,
    client: Peer,
    max_forwards: Option<u64>,
) -> Admission {
    let (host, path) = (request.asked_host(), request.target.path);
    let by = By::Request(&request.evidence());
    let found = rules.routes.resolve_by(host, path, request.head.method, by);
    routed(rules, request, client, (found, max_forwards))
}

/// Decides about a request behind the routes table. `found`: what the table says.
#[inline(always)]
fn routed(
    rules: &AdmissionRules<'_>,
    request: &Request<'_>,
    client: Peer,
    (found, max_forwards): (Result<Match, RouteRefusal>, Option<u64>),
) -> Admission {
    let (service, decision) = match found {
        Err(RouteRefusal::Unsafe(fault)) => {
            return Admission::refuse(Refusal::UnsafePath(fault));
        }
        Err(RouteRefusal::NotFound | RouteRefusal::Undecided) => (
            None,
            Decision::Answer(Answer::Refuse(Refusal::NoRoute, None)),
        ),
        Err(RouteRefusal::Method { service, group }) => (
            Some(service),
            Decision::Answer(Answer::MethodNotAllowed { service, group }),
        ),
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
        decision: match rules.gates.and_then(|gates| gates.closed(service, client)) {
            None => decision,
            Some(closed) => refuse_closed(closed, service),
        },
    }
}

/// Returns whether the gateway answers an OPTIONS request, and the index of the service whose policy
/// applies, where services have CORS policies of their own.
///
/// The policy of a preflight is that of the service that the method leads to which it asks for. If
/// that service has no CORS, the preflight goes on, as any OPTIONS request does, but only to a
/// service without CORS: authentication lets a preflight in, and a service with CORS gets none.
///
/// Of services with conditions, the policy of a preflight is that of the one without, otherwise that
/// of the first one.
#[cold]
#[inline(never)]
fn options_of_service(
    rules: &AdmissionRules<'_>,
    policies: &[Option<Rc<Cors>>],
    request: &Request<'_>,
) -> (bool, Option<usize>) {
    if matches!(request.target.form, Form::Asterisk) {
        return (true, None);
    }
    let (host, path) = (request.asked_host(), request.target.path);
    let led_to = |method, by| match rules.routes.resolve_by(host, path, method, by) {
        Ok(found) => Some(found.service),
        Err(RouteRefusal::Method { service, .. }) => Some(service),
        Err(RouteRefusal::Unsafe(_) | RouteRefusal::NotFound | RouteRefusal::Undecided) => None,
    };
    let policy_of = |service: Option<usize>| match service {
        Some(index) => policies.get(index).and_then(Option::as_deref),
        None => rules.cors,
    };
    let evidence = request.evidence();
    let own = led_to(request.head.method, By::Request(&evidence));
    if !request.is_preflight() {
        let is_ours = policy_of(own).is_some_and(|cors| cors.answers_options(false));
        return (is_ours, own);
    }
    let fields = &request.head.fields;
    let asked = led_to(
        fields
            .first(Name::AccessControlRequestMethod)
            .unwrap_or_default(),
        // A preflight has neither the headers nor the cookies of the request that follows.
        By::Usual,
    );
    let is_ours = policy_of(asked).is_some() || policy_of(own).is_some();
    (is_ours, asked)
}

/// Refuses a request of a client that its service does not serve.
#[cold]
fn refuse_closed(closed: Closed, service: Option<usize>) -> Decision {
    let refusal = match closed {
        Closed::Denied => Refusal::AddressDenied,
        Closed::Maintenance(wait) => Refusal::Maintenance(wait),
    };
    Decision::Answer(Answer::Refuse(refusal, service))
}

/// Decides about a request that has a route and is within the rate limit.
#[inline(always)]
fn check_routed(rules: &AdmissionRules<'_>, request: &Request<'_>, route: RouteMatch) -> Decision {
    if let RequestBody::Sized(bytes) = &request.body
        && rules
            .body_limit(route.service)
            .is_some_and(|limit| *bytes > limit)
    {
        return Decision::Answer(Answer::Refuse(Refusal::BodyTooLong, Some(route.service)));
    }
    if passed_here_too_often(request.head) {
        return Decision::Answer(Answer::Refuse(Refusal::Loop, Some(route.service)));
    }
    Decision::Forward(route)
}

#[cfg(test)]
mod tests {
    use super::super::cors::CorsPolicy;
    use super::super::forward::{Network, PeerSet};
    use super::super::guard::OPEN;
    use super::super::router::Rule;
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};
    use crate::limits::VIA_LOOPS_MAX;

    const CLIENT: &str = "10.0.0.1";
    const DENIED: &str = "10.6.6.6";
    const BODY_LIMIT: u64 = 100;
    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 4096,
        request_line_bytes: 1024,
        fields: 16,
    };

    /// CORS policy of a row.
    #[derive(Clone, Copy, Debug)]
    enum CorsRule {
        Off,
        /// The gateway answers every OPTIONS.
        On,
        /// The gateway answers preflights only.
        ForwardsOptions,
        /// Policy of the top level, and that of each service.
        Each(&'static CorsRule, &'static [CorsRule; 5]),
    }
    use CorsRule::{Each, ForwardsOptions, Off, On};

    #[derive(Clone, Copy, Debug)]
    enum Listener {
        Serves,
        Redirects,
    }
    use Listener::{Redirects, Serves};

    const fn uncounted(decision: Decision) -> Admission {
        Admission {
            counted: Counted::No,
            decision,
        }
    }

    const fn counted(service: Option<usize>, decision: Decision) -> Admission {
        Admission {
            counted: Counted::For(service),
            decision,
        }
    }

    const fn refused(refusal: Refusal) -> Admission {
        uncounted(Decision::Answer(Answer::Refuse(refusal, None)))
    }

    const fn forwarded(service: usize, taken: usize, max_forwards: Option<u64>) -> Admission {
        let route = RouteMatch {
            service,
            taken,
            max_forwards,
        };
        counted(Some(service), Decision::Forward(route))
    }

    /// Routes of every row: `/users` for any method, `/orders` for GET and `/orders` for PUT, `/items` for GET and
    /// `/items` for any other method. No service takes `/`.
    fn router() -> Router {
        let (get, put) = (["GET".to_owned()], ["PUT".to_owned()]);
        let rule = |route, methods| Rule {
            route,
            hosts: &[],
            methods,
            conditions: &[],
            guard: OPEN,
            keeps_slashes: false,
        };
        let rules = [
            rule("/users", &[]),
            rule("/orders", &get),
            rule("/orders", &put),
            rule("/items", &get),
            rule("/items", &[]),
        ];
        Router::new(rules.to_vec())
    }

    fn decide_row(head: &str, cors: CorsRule, client: &str, listener: Listener) -> Admission {
        let deny = PeerSet {
            networks: vec![Network {
                address: DENIED.parse().expect("an address"),
                prefix: 32,
            }],
            unix: false,
        };
        let allow = PeerSet {
            networks: Vec::new(),
            unix: false,
        };
        let policy = |rule: &CorsRule| match rule {
            Off => None,
            _ => Some(Rc::new(Cors::new(&CorsPolicy {
                origins: None,
                methods: Vec::new(),
                headers: None,
                expose_headers: Vec::new(),
                credentials: false,
                max_age: None,
                forward_options: matches!(rule, ForwardsOptions),
            }))),
        };
        let (cors, service_cors) = match cors {
            Each(top, services) => (policy(top), Some(services.each_ref().map(policy))),
            rule => (policy(&rule), None),
        };
        let rules = AdmissionRules {
            addresses: &AddressRules::new(&allow, &deny),
            cors: cors.as_deref(),
            service_cors: service_cors.as_ref().map(|policies| &policies[..]),
            routes: &router(),
            body_bytes: Some(BODY_LIMIT),
            gates: None,
        };
        let text = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let (mut scan, mut fields) = (HeadScan::default(), FieldTable::default());
        let head = parse_request(text.as_bytes(), &mut scan, &mut fields, &LIMITS)
            .expect("a good head")
            .expect("a complete head");
        let request = Request::read(&head).expect("an acceptable request");
        let client = Peer::Ip(client.parse().expect("an address"));
        decide(&rules, &request, client, matches!(listener, Redirects))
    }

    /// Each rule of the order, and each two that apply to the same request: the earlier one decides.
    #[test]
    fn rules_apply_in_the_order_of_the_contract() {
        const OPTIONS: Admission = uncounted(Decision::Answer(Answer::Options(None)));
        const fn options_of(service: usize) -> Admission {
            uncounted(Decision::Answer(Answer::Options(Some(service))))
        }
        const REDIRECT: Admission = uncounted(Decision::Answer(Answer::Redirect));
        const DENY: Admission = refused(Refusal::AddressDenied);
        const UNSAFE: Admission = refused(Refusal::UnsafePath(PathFault::DotSegment));
        const SLASH: Admission = refused(Refusal::UnsafePath(PathFault::EncodedSlash));
        const BACKSLASH: Admission = refused(Refusal::UnsafePath(PathFault::EncodedByte));
        const MAX_FORWARDS: Admission = refused(Refusal::MaxForwards);
        const NO_ROUTE: Admission = counted(
            None,
            Decision::Answer(Answer::Refuse(Refusal::NoRoute, None)),
        );
        const TOO_LONG: Admission = counted(
            Some(0),
            Decision::Answer(Answer::Refuse(Refusal::BodyTooLong, Some(0))),
        );
        const LOOP: Admission = counted(
            Some(0),
            Decision::Answer(Answer::Refuse(Refusal::Loop, Some(0))),
        );
        let no_method = counted(
            Some(1),
            Decision::Answer(Answer::MethodNotAllowed {
                service: 1,
                group: 1,
            }),
        );
        let preflight = "Origin: http://o\nAccess-Control-Request-Method: PUT";
        let asks_put = preflight;
        let (asks_get, asks_post) = (
            preflight.replace("PUT", "GET"),
            preflight.replace("PUT", "POST"),
        );
        let (asks_get, asks_post) = (asks_get.as_str(), asks_post.as_str());
        let vias = |count: usize| {
            let members = vec!["1.1 tollgate"; count];
            format!("Via: {}", members.join(", "))
        };
        let (looped, nearly_looped) = (vias(VIA_LOOPS_MAX), vias(VIA_LOOPS_MAX - 1));
        let both = |one: &str, other: &str| format!("{one}\n{other}");
        // Name of the case, request line and further fields, CORS, client, listener, what is expected.
        type Row<'a> = (
            &'a str,
            &'a str,
            &'a str,
            CorsRule,
            &'a str,
            Listener,
            Admission,
        );
        #[rustfmt::skip]
        let rows: &[Row<'_>] = &[
            // A route.
            ("any method", "GET /users/7", "", Off, CLIENT, Serves, forwarded(0, 6, None)),
            ("method of one service", "GET /orders", "", Off, CLIENT, Serves, forwarded(1, 7, None)),
            ("method of the other", "PUT /orders/1", "", Off, CLIENT, Serves, forwarded(2, 7, None)),
            ("absolute target", "GET http://a/users", "", Off, CLIENT, Serves, forwarded(0, 6, None)),
            // 1: the client's address, before everything else.
            ("denied", "GET /users", "", Off, DENIED, Serves, DENY),
            ("denied, preflight", "OPTIONS /users", preflight, On, DENIED, Serves, DENY),
            ("denied, asterisk", "OPTIONS *", "", Off, DENIED, Serves, DENY),
            ("denied, max-forwards", "OPTIONS /users", "Max-Forwards: x", Off, DENIED, Serves, DENY),
            ("denied, redirect", "GET /users", "", Off, DENIED, Redirects, DENY),
            ("denied, unsafe", "GET /users/%2e%2e/x", "", Off, DENIED, Serves, DENY),
            ("denied, no route", "GET /none", "", Off, DENIED, Serves, DENY),
            ("denied, method", "POST /orders", "", Off, DENIED, Serves, DENY),
            ("denied, body", "POST /users", "Content-Length: 101", Off, DENIED, Serves, DENY),
            ("denied, loop", "GET /users", &looped, Off, DENIED, Serves, DENY),
            // 2: OPTIONS.
            ("preflight", "OPTIONS /users", preflight, On, CLIENT, Serves, OPTIONS),
            ("preflight, forwardOptions", "OPTIONS /users", preflight, ForwardsOptions, CLIENT, Serves, OPTIONS),
            ("preflight, no CORS", "OPTIONS /users", preflight, Off, CLIENT, Serves, forwarded(0, 6, None)),
            ("preflight fields, not OPTIONS", "GET /users", preflight, On, CLIENT, Serves, forwarded(0, 6, None)),
            ("plain OPTIONS", "OPTIONS /users", "", On, CLIENT, Serves, OPTIONS),
            ("plain OPTIONS, forwardOptions", "OPTIONS /users", "", ForwardsOptions, CLIENT, Serves, forwarded(0, 6, None)),
            ("preflight with a cookie", "OPTIONS /users", &both(preflight, "Cookie: a=b"), ForwardsOptions, CLIENT, Serves, forwarded(0, 6, None)),
            ("preflight with credentials", "OPTIONS /users", &both(preflight, "Authorization: Basic eA=="), ForwardsOptions, CLIENT, Serves, forwarded(0, 6, None)),
            ("preflight with content", "OPTIONS /users", &both(preflight, "Content-Length: 1"), ForwardsOptions, CLIENT, Serves, forwarded(0, 6, None)),
            ("preflight, redirect", "OPTIONS /users", preflight, On, CLIENT, Redirects, OPTIONS),
            ("preflight, unsafe", "OPTIONS /users/%2e%2e/x", preflight, On, CLIENT, Serves, OPTIONS),
            ("preflight, no route", "OPTIONS /none", preflight, On, CLIENT, Serves, OPTIONS),
            ("preflight, method", "OPTIONS /orders", preflight, On, CLIENT, Serves, OPTIONS),
            ("preflight, loop", "OPTIONS /users", &both(preflight, &looped), On, CLIENT, Serves, OPTIONS),
            ("preflight, max-forwards", "OPTIONS /users", &both(preflight, "Max-Forwards: x"), On, CLIENT, Serves, OPTIONS),
            ("OPTIONS, body", "OPTIONS /users", "Content-Length: 101", On, CLIENT, Serves, OPTIONS),
            ("asterisk", "OPTIONS *", "", Off, CLIENT, Serves, OPTIONS),
            ("asterisk, forwardOptions", "OPTIONS *", "", ForwardsOptions, CLIENT, Serves, OPTIONS),
            ("asterisk, max-forwards", "OPTIONS *", "Max-Forwards: x", Off, CLIENT, Serves, OPTIONS),
            ("asterisk, redirect", "OPTIONS *", "", Off, CLIENT, Redirects, OPTIONS),
            ("Max-Forwards 0", "OPTIONS /users", "Max-Forwards: 0", Off, CLIENT, Serves, OPTIONS),
            ("Max-Forwards 0, redirect", "OPTIONS /users", "Max-Forwards: 0", Off, CLIENT, Redirects, OPTIONS),
            ("Max-Forwards 0, unsafe", "OPTIONS /users/%2e%2e/x", "Max-Forwards: 0", Off, CLIENT, Serves, OPTIONS),
            ("Max-Forwards 0, no route", "OPTIONS /none", "Max-Forwards: 0", Off, CLIENT, Serves, OPTIONS),
            ("Max-Forwards 1", "OPTIONS /users", "Max-Forwards: 1", Off, CLIENT, Serves, forwarded(0, 6, Some(0))),
            ("Max-Forwards 10", "OPTIONS /users", "Max-Forwards: 10", ForwardsOptions, CLIENT, Serves, forwarded(0, 6, Some(9))),
            ("Max-Forwards 1, redirect", "OPTIONS /users", "Max-Forwards: 1", Off, CLIENT, Redirects, REDIRECT),
            ("Max-Forwards 1, no route", "OPTIONS /none", "Max-Forwards: 1", Off, CLIENT, Serves, NO_ROUTE),
            ("Max-Forwards no number", "OPTIONS /users", "Max-Forwards: +1", Off, CLIENT, Serves, MAX_FORWARDS),
            ("Max-Forwards no number, redirect", "OPTIONS /users", "Max-Forwards: x", Off, CLIENT, Redirects, MAX_FORWARDS),
            ("Max-Forwards no number, unsafe", "OPTIONS /users/%2e%2e/x", "Max-Forwards: x", Off, CLIENT, Serves, MAX_FORWARDS),
            ("Max-Forwards no number, no route", "OPTIONS /none", "Max-Forwards: x", Off, CLIENT, Serves, MAX_FORWARDS),
            ("Max-Forwards of a GET", "GET /users", "Max-Forwards: 0", Off, CLIENT, Serves, forwarded(0, 6, None)),
            ("Max-Forwards no number of a GET", "GET /users", "Max-Forwards: x", Off, CLIENT, Serves, forwarded(0, 6, None)),
            // 2, where services have CORS policies of their own: the policy is that of the service which the method
            // leads to that a preflight asks for.
            ("off in the service", "OPTIONS /users", preflight, Each(&On, &[Off; 5]), CLIENT, Serves, forwarded(0, 6, None)),
            ("on in the service", "OPTIONS /users", preflight, Each(&Off, &[On; 5]), CLIENT, Serves, options_of(0)),
            ("service, denied", "OPTIONS /users", preflight, Each(&Off, &[On; 5]), DENIED, Serves, DENY),
            ("service, redirect", "OPTIONS /users", preflight, Each(&Off, &[On; 5]), CLIENT, Redirects, options_of(0)),
            ("off in the service, redirect", "OPTIONS /users", preflight, Each(&On, &[Off; 5]), CLIENT, Redirects, REDIRECT),
            ("service, unsafe", "OPTIONS /users/%2e%2e/x", preflight, Each(&On, &[Off; 5]), CLIENT, Serves, OPTIONS),
            ("service, unsafe, top off", "OPTIONS /users/%2e%2e/x", preflight, Each(&Off, &[On; 5]), CLIENT, Serves, UNSAFE),
            ("service, no route", "OPTIONS /none", preflight, Each(&On, &[Off; 5]), CLIENT, Serves, OPTIONS),
            ("service, no route, top off", "OPTIONS /none", preflight, Each(&Off, &[On; 5]), CLIENT, Serves, NO_ROUTE),
            ("service, loop", "OPTIONS /users", &both(preflight, &looped), Each(&Off, &[On; 5]), CLIENT, Serves, options_of(0)),
            ("service, asterisk", "OPTIONS *", "", Each(&Off, &[On; 5]), CLIENT, Serves, OPTIONS),
            ("service, asterisk, redirect", "OPTIONS *", "", Each(&On, &[Off; 5]), CLIENT, Redirects, OPTIONS),
            ("service, Max-Forwards 0", "OPTIONS /users", "Max-Forwards: 0", Each(&On, &[Off; 5]), CLIENT, Serves, options_of(0)),
            ("service, Max-Forwards no number", "OPTIONS /users", "Max-Forwards: x", Each(&On, &[Off; 5]), CLIENT, Serves, MAX_FORWARDS),
            ("plain OPTIONS of a service", "OPTIONS /users", "", Each(&Off, &[On; 5]), CLIENT, Serves, options_of(0)),
            ("plain OPTIONS, forwardOptions of a service", "OPTIONS /users", "", Each(&On, &[ForwardsOptions; 5]), CLIENT, Serves, forwarded(0, 6, None)),
            ("preflight, forwardOptions of a service", "OPTIONS /users", preflight, Each(&Off, &[ForwardsOptions; 5]), CLIENT, Serves, options_of(0)),
            ("preflight with a cookie, service", "OPTIONS /users", &both(preflight, "Cookie: a=b"), Each(&Off, &[ForwardsOptions; 5]), CLIENT, Serves, forwarded(0, 6, None)),
            ("service by method", "OPTIONS /orders", asks_get, Each(&Off, &[Off, On, Off, Off, Off]), CLIENT, Serves, options_of(1)),
            ("service by the other method", "OPTIONS /orders", asks_put, Each(&Off, &[Off, Off, On, Off, Off]), CLIENT, Serves, options_of(2)),
            ("service by no method", "OPTIONS /orders", asks_post, Each(&Off, &[Off, On, Off, Off, Off]), CLIENT, Serves, options_of(1)),
            ("no CORS, service by no method", "OPTIONS /orders", asks_post, Each(&On, &[Off; 5]), CLIENT, Serves, no_method),
            // A preflight is not forwarded to a service with CORS, where authentication would let it in.
            ("preflight for another service", "OPTIONS /items", asks_get, Each(&Off, &[Off, Off, Off, Off, On]), CLIENT, Serves, options_of(3)),
            ("preflight for the service itself", "OPTIONS /items", asks_put, Each(&Off, &[Off, Off, Off, On, Off]), CLIENT, Serves, forwarded(4, 6, None)),
            ("preflight for a service with CORS", "OPTIONS /items", asks_get, Each(&Off, &[Off, Off, Off, On, Off]), CLIENT, Serves, options_of(3)),
            ("plain OPTIONS beside a service with CORS", "OPTIONS /items", "", Each(&Off, &[Off, Off, Off, On, Off]), CLIENT, Serves, forwarded(4, 6, None)),
            // 3: the way to the TLS listener.
            ("redirect", "GET /users", "", Off, CLIENT, Redirects, REDIRECT),
            ("redirect, unsafe", "GET /users/%2e%2e/x", "", Off, CLIENT, Redirects, REDIRECT),
            ("redirect, no route", "GET /none", "", Off, CLIENT, Redirects, REDIRECT),
            ("redirect, method", "POST /orders", "", Off, CLIENT, Redirects, REDIRECT),
            ("redirect, body", "POST /users", "Content-Length: 101", Off, CLIENT, Redirects, REDIRECT),
            ("redirect, loop", "GET /users", &looped, Off, CLIENT, Redirects, REDIRECT),
            // 4: route and path safety, before the rate limit.
            ("unsafe", "GET /users/%2e%2e/x", "", Off, CLIENT, Serves, UNSAFE),
            ("unsafe, no route", "GET /none/%2e%2e/x", "", Off, CLIENT, Serves, UNSAFE),
            ("unsafe, method", "POST /orders/%2e%2e/x", "", Off, CLIENT, Serves, UNSAFE),
            ("unsafe, body", "POST /users/a%2fb", "Content-Length: 101", Off, CLIENT, Serves, SLASH),
            ("unsafe, loop", "GET /users/a%5cb", &looped, Off, CLIENT, Serves, BACKSLASH),
            // 5 and 6: counted for no service without a route, and for the first service of the path without the method.
            ("no route", "GET /none", "", Off, CLIENT, Serves, NO_ROUTE),
            ("no route, body", "POST /none", "Content-Length: 101", Off, CLIENT, Serves, NO_ROUTE),
            ("no route, loop", "GET /none", &looped, Off, CLIENT, Serves, NO_ROUTE),
            ("method", "POST /orders", "", Off, CLIENT, Serves, no_method),
            ("method, body", "POST /orders", "Content-Length: 101", Off, CLIENT, Serves, no_method),
            ("method, loop", "POST /orders", &looped, Off, CLIENT, Serves, no_method),
            // 7: body size. A chunked body is measured while it arrives.
            ("longest body", "POST /users", "Content-Length: 100", Off, CLIENT, Serves, forwarded(0, 6, None)),
            ("body", "POST /users", "Content-Length: 101", Off, CLIENT, Serves, TOO_LONG),
            ("chunked body", "POST /users", "Transfer-Encoding: chunked", Off, CLIENT, Serves, forwarded(0, 6, None)),
            ("body, loop", "POST /users", &both("Content-Length: 101", &looped), Off, CLIENT, Serves, TOO_LONG),
            // 8: loops.
            ("loop", "GET /users", &looped, Off, CLIENT, Serves, LOOP),
            ("one less than a loop", "GET /users", &nearly_looped, Off, CLIENT, Serves, forwarded(0, 6, None)),
        ];
        for (name, line, fields, cors, client, listener, expected) in rows {
            let separator = if fields.is_empty() { "" } else { "\n" };
            let head = format!("{line} HTTP/1.1\nHost: a{separator}{fields}");
            let found = decide_row(&head, *cors, client, *listener);
            assert_eq!(found, *expected, "{name}: {head:?}");
        }
    }
}

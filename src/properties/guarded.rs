//! Guarded routes: no reading of a path by an upstream belongs to a route with another guard.

use crate::policy::guard::{GuardId, OPEN};
use crate::policy::route::RoutePath;
use crate::policy::router::{Router, Rule};

use super::cost;

/// Routes with the guard of each.
type Routes = [(&'static str, GuardId)];

/// Routes that may lead to one upstream. Each is as every upstream reads it, so the router looks at
/// unusual paths only.
const PLAIN: &Routes = &[
    ("/auth", 1),
    ("/auth/admin", 2),
    ("/auth/open", OPEN),
    ("/a/b/c", 1),
    ("/v1.2", 2),
    ("/", OPEN),
    ("= /auth", 4),
    ("= /auth/ok", OPEN),
    ("= /only", 2),
    ("= /", 1),
];

/// Routes of which upstreams read some in another way than they are written.
const UNUSUAL: &Routes = &[
    ("/auth", 1),
    ("/Users", 3),
    ("/a/b/c", 1),
    ("/v1.2", 2),
    ("/", OPEN),
    ("= /only/x/", 3),
    ("= /only/x/y", OPEN),
];

/// Steps of a path beside those of its bytes: three searches of the routes, and of their loose forms,
/// each among prefixes and among routes for one path.
const ROUTER_STEPS: u64 = 600;

/// Differences between the gateway's reading of a path and an upstream's.
const DROPS_PARAMETERS: u8 = 1;
const IGNORES_CASE: u8 = 2;
const DROPS_DOTS_AND_SPACES: u8 = 4;
const DROPS_EMPTY_SEGMENTS: u8 = 8;
const ENDS_AT_DECODED_QUERY: u8 = 16;
const DROPS_SLASH_AT_END: u8 = 32;
const ALL: u8 = 63;

/// A path that is forwarded by one route has no reading that belongs to a route with another guard.
/// A reading is any number of decodings up to two, with any of the differences above.
pub(super) fn guarded(path: &[u8]) {
    // The request target is split at its query before the path is routed.
    if !path.starts_with(b"/") || path.contains(&b'?') {
        return;
    }
    [PLAIN, UNUSUAL]
        .into_iter()
        .for_each(|routes| of(routes, path));
}

fn of(routes: &Routes, path: &[u8]) {
    let rules = routes.iter().map(|&(route, guard)| Rule {
        route,
        hosts: &[],
        methods: &[],
        conditions: &[],
        guard,
        keeps_slashes: true,
    });
    let router = Router::new(rules.collect());
    let resolved = cost::within(path.len(), cost::PATH_STEPS, ROUTER_STEPS, || {
        router.resolve(None, path, b"GET")
    });
    let Ok(found) = resolved else { return };
    let own = guard_of(routes, found.service);
    // A longer route is an exception from these, which the operator made.
    let above: Vec<usize> = matches(routes, path, 0).collect();
    let once = decode(path);
    for reading in [path, &once, &decode(&once)] {
        for differences in 0..=ALL {
            let read = read(reading, differences);
            let owner = matches(routes, &read, differences).max_by_key(|service| {
                let route = routes.get(*service).map(|(route, _)| RoutePath::of(route));
                route.map(|route| (route.matched().len(), route.is_exact))
            });
            let foreign = owner.filter(|owner| {
                let guard = guard_of(routes, *owner);
                guard != OPEN && guard != own && !above.contains(owner)
            });
            assert_eq!(
                foreign,
                None,
                "{} goes to {:?}, and may be read as {}",
                path.escape_ascii(),
                routes.get(found.service),
                read.escape_ascii()
            );
        }
    }
}

fn guard_of(routes: &Routes, service: usize) -> GuardId {
    routes.get(service).map_or(OPEN, |(_, guard)| *guard)
}

/// Returns the routes that a path belongs to.
fn matches(routes: &Routes, path: &[u8], differences: u8) -> impl Iterator<Item = usize> {
    let is_matched = move |route: RoutePath<'_>| {
        let drops_slash = differences & (DROPS_SLASH_AT_END | DROPS_EMPTY_SEGMENTS) != 0;
        let own = match route.matched() {
            matched if drops_slash => matched.trim_end_matches('/'),
            matched => matched,
        };
        // Without its only slash, the path "/" is empty.
        let path = match path {
            b"/" if drops_slash && route.is_exact => b"",
            path => path,
        };
        let Some((front, rest)) = path.split_at_checked(own.len()) else {
            return false;
        };
        let is_same = if differences & IGNORES_CASE == 0 {
            front == own.as_bytes()
        } else {
            front.eq_ignore_ascii_case(own.as_bytes())
        };
        is_same && (rest.is_empty() || (rest.starts_with(b"/") && !route.is_exact))
    };
    routes
        .iter()
        .enumerate()
        .filter(move |(_, (route, _))| is_matched(RoutePath::of(route)))
        .map(|(service, _)| service)
}

/// Decodes each valid escape once.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let escape = match tail {
            [high, low, ..] if *first == b'%' => core::str::from_utf8(&[*high, *low])
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        decoded.push(escape.unwrap_or(*first));
        rest = match escape {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
    decoded
}

/// Returns the path as an upstream with these differences reads it.
fn read(path: &[u8], differences: u8) -> Vec<u8> {
    let has = |difference| differences & difference != 0;
    let end = path
        .iter()
        .position(|byte| has(ENDS_AT_DECODED_QUERY) && matches!(byte, b'?' | b'#'));
    let path = path.get(..end.unwrap_or(path.len())).unwrap_or_default();
    let mut segments = Vec::new();
    for mut segment in path.split(|&byte| byte == b'/').skip(1) {
        if has(DROPS_PARAMETERS) {
            segment = segment
                .split(|&byte| byte == b';')
                .next()
                .unwrap_or(segment);
        }
        while let [rest @ .., b'.' | b' '] = segment
            && has(DROPS_DOTS_AND_SPACES)
        {
            segment = rest;
        }
        if !(segment.is_empty() && has(DROPS_EMPTY_SEGMENTS)) {
            segments.push(segment);
        }
    }
    if let [.., b""] = segments.as_slice()
        && has(DROPS_SLASH_AT_END)
    {
        segments.pop();
    }
    [b"/", segments.join(&b'/').as_slice()].concat()
}

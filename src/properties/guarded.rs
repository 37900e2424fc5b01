//! Guarded routes: no reading of a path by an upstream belongs to a route with another guard.

use crate::policy::guard::{GuardId, OPEN};
use crate::policy::router::{Router, Rule};

use super::cost;

/// Routes with the guard of each. All of them may lead to one upstream.
const ROUTES: [(&str, GuardId); 7] = [
    ("/auth", 1),
    ("/auth/admin", 2),
    ("/auth/open", OPEN),
    ("/Users", 3),
    ("/a/b/c", 1),
    ("/v1.2", 2),
    ("/", OPEN),
];

/// Steps of a path beside those of its bytes: three searches of the routes, and of their loose forms.
const ROUTER_STEPS: u64 = 400;

/// Differences between the gateway's reading of a path and an upstream's.
const DROPS_PARAMETERS: u8 = 1;
const IGNORES_CASE: u8 = 2;
const DROPS_DOTS_AND_SPACES: u8 = 4;
const DROPS_EMPTY_SEGMENTS: u8 = 8;
const ENDS_AT_DECODED_QUERY: u8 = 16;
const ALL: u8 = 31;

/// A path that is forwarded by one route has no reading that belongs to a route with another guard.
/// A reading is any number of decodings up to two, with any of the differences above.
pub(super) fn guarded(path: &[u8]) {
    // The request target is split at its query before the path is routed.
    if !path.starts_with(b"/") || path.contains(&b'?') {
        return;
    }
    let rules = ROUTES.map(|(route, guard)| Rule {
        route,
        hosts: &[],
        methods: &[],
        conditions: &[],
        guard,
        keeps_slashes: true,
    });
    let router = Router::new(rules.to_vec());
    let resolved = cost::within(path.len(), cost::PATH_STEPS, ROUTER_STEPS, || {
        router.resolve(None, path, b"GET")
    });
    let Ok(found) = resolved else { return };
    let own = guard_of(found.service);
    // A longer route is an exception from these, which the operator made.
    let above: Vec<usize> = matches(path, 0).collect();
    let once = decode(path);
    for reading in [path, &once, &decode(&once)] {
        for differences in 0..=ALL {
            let read = read(reading, differences);
            let owner = matches(&read, differences)
                .max_by_key(|service| ROUTES.get(*service).map_or(0, |(route, _)| route.len()));
            let foreign = owner.filter(|owner| {
                let guard = guard_of(*owner);
                guard != OPEN && guard != own && !above.contains(owner)
            });
            assert_eq!(
                foreign,
                None,
                "{} goes to {:?}, and may be read as {}",
                path.escape_ascii(),
                ROUTES.get(found.service),
                read.escape_ascii()
            );
        }
    }
}

fn guard_of(service: usize) -> GuardId {
    ROUTES.get(service).map_or(OPEN, |(_, guard)| *guard)
}

/// Returns the routes that a path belongs to.
fn matches(path: &[u8], differences: u8) -> impl Iterator<Item = usize> {
    let is_prefix = move |route: &[u8]| {
        let Some((front, rest)) = path.split_at_checked(route.len()) else {
            return false;
        };
        let is_same = if differences & IGNORES_CASE == 0 {
            front == route
        } else {
            front.eq_ignore_ascii_case(route)
        };
        is_same && (rest.is_empty() || rest.starts_with(b"/"))
    };
    ROUTES
        .iter()
        .enumerate()
        .filter(move |(_, (route, _))| is_prefix(route.trim_end_matches('/').as_bytes()))
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
    [b"/", segments.join(&b'/').as_slice()].concat()
}

//! Routes table: finds the longest route that matches whole segments, on raw bytes. A route for one
//! exact path goes before all others.
//!
//! Prefixes are sorted with `/` as the lowest byte. The longest route that is a prefix of a path is
//! then the path's predecessor in the table, or a prefix of that route. These prefixes are linked.
//! A table of 5,000 routes then costs one binary search, and a path of a thousand segments costs no
//! more than any other.

use core::cmp::Ordering;

use super::path::{self, Decoded, PathFault};
use crate::optional::OptionalU32;
use crate::sort;

/// Mark in front of a route that takes one path alone, such as `= /login`.
pub const EXACT: &str = "= ";

/// Path of a route, and whether the route takes the paths below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoutePath<'r> {
    /// The path, which starts with `/`.
    pub path: &'r str,
    /// True if the route takes this path alone.
    pub is_exact: bool,
}

impl<'r> RoutePath<'r> {
    /// Returns the parts of a route as the configuration has it, such as `/users` or `= /login`.
    pub fn of(route: &'r str) -> RoutePath<'r> {
        let exact = route.strip_prefix(EXACT);
        RoutePath {
            path: exact.unwrap_or(route),
            is_exact: exact.is_some(),
        }
    }

    /// Returns the part of a request's path that the route matches: all of it, or the prefix
    /// without its trailing slash, which is empty for `/`.
    pub fn matched(self) -> &'r str {
        match self.path.strip_suffix('/') {
            Some(prefix) if !self.is_exact => prefix,
            _ => self.path,
        }
    }
}

/// The route of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match {
    /// Index of the route, in the order given to [`RouteTable::new`].
    pub service: usize,
    /// Number of bytes of the path that the route matches; 0 for the route `/`.
    pub taken: usize,
}

/// Reason why a path has no route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The upstream could read the path differently (400).
    Unsafe(PathFault),
    /// No route matches (404).
    NotFound,
}

struct Route {
    /// The route without the trailing slash; empty for the route `/`.
    prefix: Box<[u8]>,
    service: u32,
    /// Index of the longest other route that is a prefix of this one.
    parent: OptionalU32,
}

/// The routes, sorted.
pub struct RouteTable {
    /// Routes that take all paths below them.
    sorted: Box<[Route]>,
    /// Routes for one path, with the index of each.
    exact: Box<[(Box<[u8]>, u32)]>,
}

impl RouteTable {
    /// Builds a table of routes such as `/users` and `= /login`. A trailing slash of a prefix is
    /// ignored. No two routes may be equal.
    pub fn new<'a>(routes: impl Iterator<Item = &'a str>) -> RouteTable {
        let (mut sorted, mut exact) = (Vec::new(), Vec::new());
        for (service, route) in routes.enumerate() {
            let route = RoutePath::of(route);
            let path = Box::from(route.matched().as_bytes());
            match route.is_exact {
                true => exact.push((path, service as u32)),
                false => sorted.push(Route {
                    prefix: path,
                    service: service as u32,
                    parent: OptionalU32::NONE,
                }),
            }
        }
        sort::sort(&mut exact);
        sort::sort_by(&mut sorted, |a, b| compare(&a.prefix, &b.prefix));
        let mut open: Vec<usize> = Vec::new();
        for index in 0..sorted.len() {
            let Some(prefix) = sorted.get(index).map(|route| route.prefix.clone()) else {
                break;
            };
            while let Some(&last) = open.last() {
                if sorted
                    .get(last)
                    .is_some_and(|route| is_prefix(&route.prefix, &prefix))
                {
                    break;
                }
                open.pop();
            }
            if let Some(route) = sorted.get_mut(index) {
                let parent = open.last().map(|parent| *parent as u32);
                route.parent = parent.map_or(OptionalU32::NONE, OptionalU32::some);
            }
            open.push(index);
        }
        RouteTable {
            sorted: sorted.into(),
            exact: exact.into(),
        }
    }

    /// Finds the route of a path that starts with `/`.
    ///
    /// # Errors
    /// The path is unsafe, has no route, or has another route after decoding.
    pub fn resolve(&self, path: &[u8]) -> Result<Match, Refusal> {
        let find = |path: &[u8]| self.find(path);
        resolve(path, find, |found, decoded| {
            match decoded.and_then(|decoded| decoded.slash) {
                Some(slash) => Err(Refusal::Unsafe(slash)),
                None => Ok(found),
            }
        })
    }

    pub(super) fn find(&self, path: &[u8]) -> Option<Match> {
        if self.exact.is_empty() {
            return self.find_prefix(path);
        }
        self.find_exact(path).or_else(|| self.find_prefix(path))
    }

    #[cold]
    fn find_exact(&self, path: &[u8]) -> Option<Match> {
        let order = |route: &[u8]| {
            crate::cost::count(route.len().min(path.len()).saturating_add(1));
            route.cmp(path)
        };
        let found = self.exact.binary_search_by(|(route, _)| order(route));
        let (route, service) = self.exact.get(found.ok()?)?;
        Some(Match {
            service: *service as usize,
            taken: route.len(),
        })
    }

    /// Finds the longest route for a path that is not a route for one path.
    pub(super) fn find_prefix(&self, path: &[u8]) -> Option<Match> {
        let behind = self
            .sorted
            .partition_point(|route| compare(&route.prefix, path) != Ordering::Greater);
        let mut candidate = behind.checked_sub(1);
        while let Some(route) = candidate.and_then(|index| self.sorted.get(index)) {
            if is_prefix(&route.prefix, path) {
                return Some(Match {
                    service: route.service as usize,
                    taken: route.prefix.len(),
                });
            }
            candidate = route.parent.get().map(|parent| parent as usize);
        }
        None
    }
}

/// Finds the route of a path. `find` returns the route that matches given bytes. `settle` makes the
/// final decision, including the one about an encoded slash.
pub(super) fn resolve<T, E: From<Refusal>>(
    path: &[u8],
    find: impl Fn(&[u8]) -> Option<Match>,
    settle: impl FnOnce(Match, Option<&Decoded>) -> Result<T, E>,
) -> Result<T, E> {
    let decoded = path::check(path).map_err(Refusal::Unsafe)?;
    let Some(found) = find(path) else {
        // In a plain table no service keeps encoded slashes.
        let slash = decoded.and_then(|decoded| decoded.slash);
        return Err(slash.map_or(Refusal::NotFound, Refusal::Unsafe).into());
    };
    if path
        .get(found.taken..)
        .is_some_and(|rest| rest.starts_with(b"//"))
    {
        return Err(Refusal::Unsafe(PathFault::EmptySegment).into());
    }
    // The route of a decoded path; a decoded `?` or `#` ends the path.
    let meant = |decoded: &[u8]| {
        let end = decoded
            .iter()
            .position(|byte| matches!(byte, b'?' | b'#'))
            .unwrap_or(decoded.len());
        find(decoded.get(..end).unwrap_or(decoded)).map(|found| found.service)
    };
    if let Some(Decoded { once, twice, .. }) = &decoded
        && [Some(once), twice.as_ref()]
            .into_iter()
            .flatten()
            .any(|meaning| meant(meaning) != Some(found.service))
    {
        return Err(Refusal::Unsafe(PathFault::OtherRoute).into());
    }
    settle(found, decoded.as_ref())
}

/// Compares byte by byte, with `/` as the lowest byte.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    crate::cost::count(a.len().min(b.len()).saturating_add(1));
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => a.len().cmp(&b.len()),
    }
}

/// Returns true if `path` equals `prefix`, or continues after it with a new segment.
fn is_prefix(prefix: &[u8], path: &[u8]) -> bool {
    crate::cost::count(prefix.len().saturating_add(1));
    path.strip_prefix(prefix)
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rewrite::Rewrite;
    use proptest::prelude::*;

    fn resolve(routes: &[&str], path: &str) -> Result<(String, usize), Refusal> {
        let found = RouteTable::new(routes.iter().copied()).resolve(path.as_bytes())?;
        Ok((routes[found.service].to_owned(), found.taken))
    }

    #[test]
    fn the_longest_route_wins_on_whole_segments() {
        let routes = ["/api", "/api/v1/", "/api-x", "/api/v1/users", "/"];
        for (path, route, taken) in [
            ("/api", "/api", 4),
            ("/api/", "/api", 4),
            ("/api/v1", "/api/v1/", 7),
            ("/api/v1x", "/api", 4),
            ("/api/v1/users/7", "/api/v1/users", 13),
            ("/api/v1/user", "/api/v1/", 7),
            ("/api-x/1", "/api-x", 6),
            ("/api-", "/", 0),
            ("/apix", "/", 0),
            ("/", "/", 0),
            ("/other", "/", 0),
        ] {
            assert_eq!(
                resolve(&routes, path),
                Ok((route.to_owned(), taken)),
                "{path}"
            );
        }
        assert_eq!(resolve(&routes[..4], "/other"), Err(Refusal::NotFound));
        assert_eq!(resolve(&[], "/"), Err(Refusal::NotFound));
    }

    /// Paths that bypass the route check of other gateways: refused, not found, or routed like the
    /// literal path.
    #[test]
    fn the_path_bypass_table() {
        for path in [
            "/auth/..%2fx",
            "/auth/%2e%2e/x",
            "/auth/.%2e/x",
            "/auth%2f..%2fx",
            "/auth/../x",
            "/./auth",
            "//auth",
            "/auth//x",
            "/auth%2fx",
            "/auth%5cx",
            "/auth\\x",
            "/auth;x=1/y",
            "/auth%3bx",
            "/auth%00",
            "/auth%0d%0aX:1",
            "/auth%3fx",
            "/auth%23x",
            "/AUTH",
            "/%61uth",
            "/auth.",
            "/auth%20",
            "/authx",
            "/auth%252f..",
            "/auth%c0%af",
            "/auth%u002f",
            "/auth/%252e%252e/x",
            "/%2561uth",
            "/product",
            "/auth/..%3fx",
            "/auth/..%23x",
            "/auth%f8%80%80%80%afx",
            "/auth%25u002fx",
            "/api%2e/admin",
            "/api@evil",
            "/api:80",
        ] {
            assert!(resolve(&["/auth", "/api"], path).is_err(), "{path}");
        }
        for path in ["/auth?/../x", "/api/%2e/admin", "/api//evil.com/"] {
            assert!(resolve(&["/api"], path).is_err(), "{path}");
        }
        for (path, route) in [
            ("/api/http://evil/", "/api"),
            ("/api@evil", "/"),
            ("/api:80", "/"),
            ("/api%2e", "/"),
            ("/auth.", "/"),
        ] {
            assert_eq!(
                resolve(&["/api", "/auth", "/"], path).map(|found| found.0),
                Ok(route.to_owned()),
                "{path}"
            );
        }
        for (path, fault) in [
            ("/%61uth", PathFault::OtherRoute),
            ("/%61uth/x", PathFault::OtherRoute),
            ("/auth%3fx", PathFault::OtherRoute),
            ("/auth%23x", PathFault::OtherRoute),
            ("/%2561uth", PathFault::OtherRoute),
            ("//x", PathFault::EmptySegment),
            ("/a%2fb", PathFault::EncodedSlash),
            ("/auth/%61dmin", PathFault::OtherRoute),
        ] {
            assert_eq!(
                resolve(&["/auth", "/auth/admin", "/"], path),
                Err(Refusal::Unsafe(fault)),
                "{path}"
            );
        }
    }

    /// The routing table: what a client sends, the target's path, what its upstream receives.
    #[test]
    fn the_contracts_table() {
        let forwarded = |routes: &[&str], path: &str, target: &str| {
            let found = RouteTable::new(routes.iter().copied())
                .resolve(path.as_bytes())
                .ok()?;
            let parts = Rewrite::new(target, true)
                .parts(path.as_bytes(), found.taken)
                .concat();
            Some(String::from_utf8(parts).expect("ASCII"))
        };
        let routes = ["/auth", "/users", "/chats", "/payment"];
        for (path, target, upstream) in [
            ("/auth", "/auth", "/auth"),
            ("/auth/", "/auth", "/auth/"),
            ("/auth/x", "/auth", "/auth/x"),
            ("/auth/auth", "/auth", "/auth/auth"),
            ("/users", "/users/", "/users/"),
            ("/users/1", "/users/", "/users/1"),
            ("/auth", "", "/"),
            (
                "/auth/fetch/http://h//y",
                "/auth",
                "/auth/fetch/http://h//y",
            ),
        ] {
            assert_eq!(
                forwarded(&routes, path, target).as_deref(),
                Some(upstream),
                "{path} to {target}"
            );
        }
        for path in [
            "/authx",
            "/auth%2Fx",
            "//auth",
            "/AUTH/x",
            "/%61uth",
            "/product",
        ] {
            assert_eq!(forwarded(&routes, path, "/auth"), None, "{path}");
        }
    }

    #[test]
    fn a_route_for_one_path_goes_first_and_takes_nothing_below() {
        let routes = ["/a", "= /a", "= /a/b", "= /a/c/", "= /", "= /d"];
        for (path, route, taken) in [
            ("/a", "= /a", 2),
            ("/a/", "/a", 2),
            ("/a/b", "= /a/b", 4),
            ("/a/b/", "/a", 2),
            ("/a/b/x", "/a", 2),
            ("/a/bx", "/a", 2),
            ("/a/c/", "= /a/c/", 5),
            ("/a/c", "/a", 2),
            ("/", "= /", 1),
            ("/d", "= /d", 2),
        ] {
            assert_eq!(
                resolve(&routes, path),
                Ok((route.to_owned(), taken)),
                "{path}"
            );
        }
        for path in ["/d/", "/d/x", "/dx", "/x"] {
            assert_eq!(resolve(&routes, path), Err(Refusal::NotFound), "{path}");
        }
        // A spelling of it is not passed on by another route.
        for path in ["/%61", "/a%2fb", "/a/%62", "/%64", "/%2564"] {
            assert!(
                matches!(
                    resolve(&routes, path),
                    Err(Refusal::Unsafe(_) | Refusal::NotFound)
                ),
                "{path}"
            );
        }
    }

    /// The definition itself, without the sorting.
    fn naive(routes: &[String], path: &[u8]) -> Option<usize> {
        let exact = |route: &String| {
            route
                .strip_prefix("= ")
                .is_some_and(|own| own.as_bytes() == path)
        };
        if let Some(index) = routes.iter().position(exact) {
            return Some(index);
        }
        let prefix = |route: &str| route.strip_suffix('/').unwrap_or(route).to_owned();
        (0..routes.len())
            .filter(|&index| !routes[index].starts_with("= "))
            .filter(|&index| is_prefix(prefix(&routes[index]).as_bytes(), path))
            .max_by_key(|&index| prefix(&routes[index]).len())
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            routes in prop::collection::btree_set("(/[ab!-]{1,2}){0,4}", 0..30),
            exact in prop::collection::btree_set("= ((/[ab!-]){1,4}/?|/)", 0..30),
            path in "(/[ab!-]{1,2}){0,6}/?",
        ) {
            prop_assume!(!path.is_empty());
            let routes = routes.into_iter().map(|route| if route.is_empty() { "/".into() } else { route });
            let routes: Vec<String> = routes.chain(exact).collect();
            let table = RouteTable::new(routes.iter().map(String::as_str));
            prop_assert_eq!(table.find(path.as_bytes()).map(|found| found.service), naive(&routes, path.as_bytes()));
        }

        /// However a path is spelled, it never reaches another service than the plain spelling
        /// does.
        #[test]
        fn no_spelling_reaches_another_service(
            routes in prop::collection::btree_set("(= /[ab]|(/[ab]{1,2}){0,3})", 1..20),
            path in "(/[ab]{1,2}){1,5}/?",
            escapes in prop::collection::vec(0_u8..6, 16),
        ) {
            let table = RouteTable::new(routes.iter().map(|route| if route.is_empty() { "/" } else { route.as_str() }));
            let spelled: String = path.bytes().enumerate().map(|(at, byte)| match escapes[at % escapes.len()] {
                0 => format!("%{byte:02x}"),
                1 => format!("%25{byte:02X}"),
                _ => char::from(byte).to_string(),
            }).collect();
            let plain = table.resolve(path.as_bytes()).map(|found| found.service);
            if let Ok(found) = table.resolve(spelled.as_bytes()) {
                prop_assert_eq!(Ok(found.service), plain, "{} for {}", spelled, path);
            }
        }

        /// The upstream path starts with one slash and holds no dot segment, whatever a client
        /// sends.
        #[test]
        fn what_goes_upstream_is_a_plain_path(
            path in "/(auth|a|%2e|%2E|\\.|\\.\\.|;|/|%2f|%252e|%3f|x|%25){0,8}",
            target in "(/[a-z]{1,3}){0,3}/?",
            strip in any::<bool>(),
        ) {
            let table = RouteTable::new(["/auth", "/a/auth", "/"].into_iter());
            if let Ok(found) = table.resolve(path.as_bytes()) {
                let upstream = Rewrite::new(&target, strip).parts(path.as_bytes(), found.taken).concat();
                prop_assert!(upstream.starts_with(b"/") && !upstream.starts_with(b"//"), "{:?}", upstream);
                prop_assert!(upstream.starts_with(target.strip_suffix('/').unwrap_or(&target).as_bytes()));
                prop_assert!(path::check(&upstream).is_ok(), "{:?}", upstream);
            }
        }
    }
}

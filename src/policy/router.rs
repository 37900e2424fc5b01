//! Router: finds the service for a host, path and method.
//!
//! The host is matched first: services that name it, then services whose wildcard covers it (the
//! longest wildcard first), then services for any host. The first of these tables with a route for
//! the path is used, and in it the longest route. If several services share that route, the method
//! selects one. If none of them accepts the method, the reply is 405; other routes are not tried.
//! Services with conditions (`match`) are told apart by the rest of the request, see `chooser.rs`.

use super::chooser::{Chooser, Methods, NoChoice};
use super::conditions::{Condition, Evidence};
use super::guard::{Guard, GuardId, OPEN};
use super::path::{Decoded, PathFault};
use super::route::{self, Match, RouteTable};
use super::tables::{HOST_BYTES, Table, Tables, distinct, normalize};
use crate::sort;

/// Properties of a service that the router needs.
#[derive(Clone, Copy)]
pub struct Rule<'a> {
    /// The route, such as `/users`.
    pub route: &'a str,
    /// Hosts such as `api.example.com` or `*.example.com`, in lower case; empty for any host.
    pub hosts: &'a [String],
    /// Accepted methods; empty for any method.
    pub methods: &'a [String],
    /// Conditions on headers, cookies and query parameters.
    pub conditions: &'a [Condition],
    /// Identifies the clients that the service admits.
    pub guard: GuardId,
    /// True if `%2F` is forwarded as it is; otherwise such a path is unsafe.
    pub keeps_slashes: bool,
}

/// Reason why a request has no service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The upstream could read the path differently (400).
    Unsafe(PathFault),
    /// No route matches (404).
    NotFound,
    /// A route matches, but none of its services accepts the method (405).
    Method {
        /// Index of the first of these services.
        service: usize,
        /// Index of the group of these services, for [`Router::allow_line`].
        group: usize,
    },
    /// Services of the route have conditions: [`Router::resolve_by`] decides.
    Undecided,
}

/// Source of the choice between services with conditions.
#[derive(Clone, Copy)]
pub enum By<'r> {
    /// Nothing: the router says [`Refusal::Undecided`].
    Nothing,
    /// The parts of the request that conditions are about.
    Request(&'r Evidence<'r>),
    /// The request is not known, as that which follows a preflight: the service without conditions,
    /// otherwise the first one.
    Usual,
}

impl From<route::Refusal> for Refusal {
    fn from(refusal: route::Refusal) -> Refusal {
        match refusal {
            route::Refusal::Unsafe(fault) => Refusal::Unsafe(fault),
            route::Refusal::NotFound => Refusal::NotFound,
        }
    }
}

/// The routing tables of all services.
pub struct Router {
    tables: Tables,
    /// The services of each route of each table.
    groups: Vec<Group>,
    /// Further properties of each service, by its index.
    traits: Vec<Traits>,
    /// The guard; `None` if all services admit the same clients.
    guard: Option<Box<Guard>>,
}

/// Properties of a service that are checked after its route is found.
struct Traits {
    guard: GuardId,
    keeps_slashes: bool,
}

/// The services that share a route.
enum Group {
    /// A single service, for any method.
    One(usize),
    /// Several services, or one for certain methods. A service without methods accepts the methods
    /// that no other service names.
    ByMethod(Box<[(Methods, usize)]>),
    /// Services of which some have conditions.
    ByConditions(Box<Chooser>),
}

impl Router {
    /// Builds the router of these services. No two services may match the same request.
    pub fn new(rules: Vec<Rule<'_>>) -> Router {
        Router::of(&rules, &|_| true)
    }

    /// Builds the router of those services, by their indices, that are in `seen`. No two of them may
    /// match the same request.
    pub fn of(rules: &[Rule<'_>], seen: &dyn Fn(usize) -> bool) -> Router {
        let mut names = rules
            .iter()
            .flat_map(|rule| rule.hosts)
            .map(String::as_str)
            .collect::<Vec<_>>();
        sort::sort(&mut names);
        names.dedup();
        let mut groups = Vec::new();
        // The routes of each table, in the order in which the tables are created.
        let mut routes_of_tables: Vec<Vec<&str>> = Vec::new();
        let tables = Tables::new(&names, |host| {
            let first = groups.len();
            let is_here = |rule: &Rule<'_>| match host {
                Some(host) => rule.hosts.iter().any(|name| name == host),
                None => rule.hosts.is_empty(),
            };
            let here = rules.iter().enumerate();
            let here = here.filter(|(service, rule)| is_here(rule) && seen(*service));
            let here = here.collect::<Vec<_>>();
            let (routes, members) = distinct(here.iter().map(|(_, rule)| rule.route).collect());
            let group = |places: Vec<usize>| {
                let members = places.iter().filter_map(|place| here.get(*place));
                Group::new(members.map(|(service, rule)| (*service, **rule)).collect())
            };
            groups.extend(members.into_iter().map(group));
            let table = Table {
                routes: RouteTable::new(routes.iter().copied()),
                first,
            };
            routes_of_tables.push(routes);
            table
        });
        let traits = |rule: &Rule<'_>| Traits {
            guard: rule.guard,
            keeps_slashes: rule.keeps_slashes,
        };
        let traits = rules.iter().map(traits).collect::<Vec<_>>();
        let first = traits.first().map_or(OPEN, |service| service.guard);
        let differ = traits.iter().any(|service| service.guard != first);
        let guard = differ.then(|| Box::new(Guard::of(&names, &routes_of_tables)));
        Router {
            tables,
            groups,
            traits,
            guard,
        }
    }

    /// Finds the service of a request. `host`: the authority of the request, with its port. `path`
    /// starts with `/`.
    ///
    /// # Errors
    /// The path is unsafe, has no route, has another route after decoding, or may be read as one of
    /// a route with another guard; or no service accepts the method; or services have conditions.
    pub fn resolve(
        &self,
        host: Option<&[u8]>,
        path: &[u8],
        method: &[u8],
    ) -> Result<Match, Refusal> {
        if !self.tables.has_hosts() {
            return self.resolve_on(b"", path, method, By::Nothing);
        }
        let mut lower = [0; HOST_BYTES];
        let name = host
            .and_then(|host| normalize(host, &mut lower))
            .unwrap_or_default();
        self.resolve_on(name, path, method, By::Nothing)
    }

    /// Finds the service of a request whose route may have services with conditions. `by` decides
    /// between them.
    ///
    /// # Errors
    /// The faults of [`resolve`](Self::resolve); or the conditions of no service hold; or a condition is
    /// unclear, and the services admit different clients.
    #[cold]
    #[inline(never)]
    pub fn resolve_by(
        &self,
        host: Option<&[u8]>,
        path: &[u8],
        method: &[u8],
        by: By<'_>,
    ) -> Result<Match, Refusal> {
        let mut lower = [0; HOST_BYTES];
        let name = host
            .and_then(|host| normalize(host, &mut lower))
            .unwrap_or_default();
        self.resolve_on(name, path, method, by)
    }

    #[inline]
    fn resolve_on(
        &self,
        host: &[u8],
        path: &[u8],
        method: &[u8],
        by: By<'_>,
    ) -> Result<Match, Refusal> {
        let find = |path: &[u8]| self.tables.find(host, path);
        route::resolve(path, find, |found, decoded| {
            let chosen = match self.groups.get(found.service) {
                Some(Group::One(service)) => Ok(Match {
                    service: *service,
                    ..found
                }),
                Some(Group::ByMethod(members)) => match choose(members, method) {
                    Some(service) => Ok(Match { service, ..found }),
                    None => {
                        let service = members.first().map_or(0, |(_, service)| *service);
                        Err(Refusal::Method {
                            service,
                            group: found.service,
                        })
                    }
                },
                Some(Group::ByConditions(chooser)) => self.choose(chooser, method, found, by),
                None => Err(Refusal::NotFound),
            };
            let (Ok(Match { service, .. }) | Err(Refusal::Method { service, .. })) = chosen else {
                return chosen;
            };
            if let Some(slash) = decoded.and_then(|decoded| decoded.slash)
                && !self.keeps_slashes(service)
            {
                return Err(Refusal::Unsafe(slash));
            }
            match &self.guard {
                Some(guard)
                    if chosen.is_ok()
                        && self.is_caught(
                            guard,
                            (host, path, decoded),
                            method,
                            (service, found),
                        ) =>
                {
                    Err(Refusal::Unsafe(PathFault::OtherGuard))
                }
                _ => chosen,
            }
        })
    }

    /// Chooses between services with conditions. `found`: their route.
    #[cold]
    fn choose(
        &self,
        chooser: &Chooser,
        method: &[u8],
        found: Match,
        by: By<'_>,
    ) -> Result<Match, Refusal> {
        let is_like = |one: usize, other: usize| self.guard_of(one) == self.guard_of(other);
        let chosen = match by {
            By::Nothing => return Err(Refusal::Undecided),
            By::Request(request) => chooser.choose(method, request, &is_like),
            By::Usual => chooser.usual(method),
        };
        match chosen {
            Ok(service) => Ok(Match { service, ..found }),
            Err(NoChoice::Conditions) => Err(Refusal::NotFound),
            Err(NoChoice::Unclear) => Err(Refusal::Unsafe(PathFault::OtherMatch)),
            Err(NoChoice::Method(service)) => Err(Refusal::Method {
                service,
                group: found.service,
            }),
        }
    }

    fn keeps_slashes(&self, service: usize) -> bool {
        self.traits
            .get(service)
            .is_some_and(|service| service.keeps_slashes)
    }

    fn guard_of(&self, service: usize) -> GuardId {
        self.traits
            .get(service)
            .map_or(OPEN, |service| service.guard)
    }

    /// Returns true if an upstream may read the path as one of a route with another guard than that
    /// of `service`. `found`: the route that the path matches as written.
    fn is_caught(
        &self,
        guard: &Guard,
        (host, path, decoded): (&[u8], &[u8], Option<&Decoded>),
        method: &[u8],
        (service, found): (usize, Match),
    ) -> bool {
        let own = self.guard_of(service);
        let is_foreign = |service: usize| {
            let guard = self.guard_of(service);
            guard != OPEN && guard != own
        };
        guard.catches(host, path, decoded, |group| {
            let caught = match self.groups.get(group) {
                Some(Group::One(service)) => is_foreign(*service),
                // If no service accepts the method, the group's other services own the path.
                Some(Group::ByMethod(members)) => match choose(members, method) {
                    Some(service) => is_foreign(service),
                    None => members.iter().any(|(_, service)| is_foreign(*service)),
                },
                // The path is no reason why another service of its own route was not chosen.
                Some(Group::ByConditions(chooser)) => {
                    group != found.service && chooser.any(method, &is_foreign)
                }
                None => false,
            };
            // A longer route wins over the route that the path matches as written.
            caught
                && !self
                    .tables
                    .find_all(host, path)
                    .skip(1)
                    .any(|above| above.service == group)
        })
    }

    /// Builds the `Allow` line (RFC 9110 10.2.1) for [`Refusal::Method`]: the methods that the
    /// services of `group` accept, in the order of the configuration.
    pub fn allow_line(&self, group: usize) -> Vec<u8> {
        let mut methods: Vec<&[u8]> = Vec::new();
        let members = match self.groups.get(group) {
            Some(Group::ByMethod(members)) => members.iter().map(|(methods, _)| methods).collect(),
            Some(Group::ByConditions(chooser)) => chooser.methods(),
            Some(Group::One(_)) | None => Vec::new(),
        };
        for method in members.into_iter().flatten() {
            let with_head: &[&[u8]] = if **method == *b"GET" {
                &[b"GET", b"HEAD"]
            } else {
                &[method]
            };
            for method in with_head {
                if !methods.contains(method) {
                    methods.push(method);
                }
            }
        }
        [b"Allow: ", methods.join(&b", "[..]).as_slice(), b"\r\n"].concat()
    }
}

impl Group {
    fn new(members: Vec<(usize, Rule<'_>)>) -> Group {
        let owned = |rule: &Rule<'_>| -> Methods {
            let methods = rule.methods.iter();
            methods.map(|method| method.as_bytes().into()).collect()
        };
        let is_conditional = |(_, rule): &(usize, Rule<'_>)| !rule.conditions.is_empty();
        match members.as_slice() {
            all if all.iter().any(is_conditional) => {
                let members = all.iter();
                let members =
                    members.map(|(service, rule)| (*service, owned(rule), rule.conditions));
                Group::ByConditions(Box::new(Chooser::new(members)))
            }
            [(service, rule)] if rule.methods.is_empty() => Group::One(*service),
            all => {
                let members = all.iter();
                let members = members.map(|(service, rule)| (owned(rule), *service));
                Group::ByMethod(members.collect())
            }
        }
    }
}

/// Returns the member for the method: the one that names it, then (for HEAD) the one that names
/// GET, then the one for any method.
fn choose(members: &[(Vec<Box<[u8]>>, usize)], method: &[u8]) -> Option<usize> {
    let naming = |wanted: &[u8]| {
        let names = |methods: &[Box<[u8]>]| methods.iter().any(|method| method.as_ref() == wanted);
        members.iter().find(|(methods, _)| names(methods))
    };
    let found = naming(method)
        .or_else(|| {
            if method == b"HEAD" {
                naming(b"GET")
            } else {
                None
            }
        })
        .or_else(|| members.iter().find(|(methods, _)| methods.is_empty()));
    found.map(|(_, service)| *service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::route::EXACT;

    /// Resolves against services written as `hosts route methods`: words separated by spaces, lists
    /// by commas, `-` for an empty list, and optionally `guard=N` and `keep` at the end. A route
    /// for one path is written without its space.
    fn resolve(
        services: &[&str],
        host: Option<&str>,
        path: &str,
        method: &str,
    ) -> Result<usize, Refusal> {
        router(services)
            .resolve(host.map(str::as_bytes), path.as_bytes(), method.as_bytes())
            .map(|found| found.service)
    }

    fn router(services: &[&str]) -> Router {
        let list = |word: &str| -> Vec<String> {
            word.split(',')
                .filter(|part| *part != "-")
                .map(str::to_owned)
                .collect()
        };
        let parsed = services.iter().map(|text| {
            let words = text.split(' ').collect::<Vec<_>>();
            let guard = words
                .iter()
                .find_map(|word| word.strip_prefix("guard="))
                .map_or(OPEN, |n| n.parse().expect("one"));
            (
                list(words[0]),
                words[1].replace('=', EXACT),
                list(words[2]),
                guard,
                words.contains(&"keep"),
            )
        });
        let parsed = parsed.collect::<Vec<_>>();
        let rules = parsed
            .iter()
            .map(|(hosts, route, methods, guard, keeps_slashes)| Rule {
                route,
                hosts,
                methods,
                conditions: &[],
                guard: *guard,
                keeps_slashes: *keeps_slashes,
            });
        Router::new(rules.collect())
    }

    #[test]
    fn the_host_comes_first() {
        let services = [
            "- / -",                            // 0
            "- /users -",                       // 1
            "api.example.com /users -",         // 2
            "*.example.com / -",                // 3
            "*.eu.example.com / -",             // 4
            "example.com,www.example.com /x -", // 5
        ];
        for (host, path, service) in [
            (Some("api.example.com"), "/users/1", 2),
            (Some("API.Example.COM:8443"), "/users", 2),
            (Some("api.example.com."), "/users", 2),
            // No route of the exact host takes it, one of the wildcard's does.
            (Some("api.example.com"), "/other", 3),
            (Some("a.b.example.com"), "/users", 3),
            (Some("a.eu.example.com"), "/users", 4),
            (Some("eu.example.com"), "/users", 3),
            (Some("example.com"), "/x", 5),
            (Some("www.example.com"), "/x/y", 5),
            (Some("example.com"), "/users", 1),
            (Some("notexample.com"), "/users", 1),
            (Some("api.example.com.evil"), "/users", 1),
            (Some(".example.com"), "/users", 1),
            (Some("[::1]:80"), "/users", 1),
            (Some(""), "/users", 1),
            (None, "/users", 1),
            (None, "/x", 0),
        ] {
            assert_eq!(
                resolve(&services, host, path, "GET"),
                Ok(service),
                "{host:?} {path}"
            );
        }
        let long = format!("{}.example.com", "a.".repeat(200));
        assert_eq!(
            resolve(&services, Some(&long), "/users", "GET"),
            Ok(1),
            "no name is so long"
        );
        assert_eq!(
            resolve(&["a.test / -"], Some("b.test"), "/", "GET"),
            Err(Refusal::NotFound)
        );
    }

    #[test]
    fn the_method_comes_last() {
        let services = [
            "- / -",
            "- /users GET,POST",
            "- /users DELETE",
            "- /any PUT",
            "- /any -",
            "- /head GET",
            "- /head HEAD",
        ];
        for (path, method, expected) in [
            ("/users", "GET", Ok(1)),
            ("/users", "HEAD", Ok(1)),
            ("/users/1", "DELETE", Ok(2)),
            (
                "/users",
                "PATCH",
                Err(Refusal::Method {
                    service: 1,
                    group: 1,
                }),
            ),
            (
                "/users",
                "get",
                Err(Refusal::Method {
                    service: 1,
                    group: 1,
                }),
            ),
            ("/any", "PUT", Ok(3)),
            ("/any", "GET", Ok(4)),
            ("/head", "HEAD", Ok(6)),
            ("/head", "GET", Ok(5)),
            ("/other", "PATCH", Ok(0)),
        ] {
            assert_eq!(
                resolve(&services, None, path, method),
                expected,
                "{method} {path}"
            );
        }
        assert_eq!(
            router(&services).allow_line(1),
            b"Allow: GET, HEAD, POST, DELETE\r\n"
        );
        assert_eq!(router(&["- /x PUT"]).allow_line(0), b"Allow: PUT\r\n");
    }

    /// A service of several hosts shares its route with other services on each of them.
    #[test]
    fn what_is_allowed_is_the_hosts_own() {
        let services = ["a.test,b.test /x GET", "a.test /x PUT", "b.test /x DELETE"];
        for (host, line) in [
            ("a.test", &b"Allow: GET, HEAD, PUT\r\n"[..]),
            ("b.test", b"Allow: GET, HEAD, DELETE\r\n"),
        ] {
            let router = router(&services);
            let refusal = router
                .resolve(Some(host.as_bytes()), b"/x", b"POST")
                .expect_err("nobody takes it");
            let Refusal::Method { service: 0, group } = refusal else {
                panic!("{refusal:?}")
            };
            assert_eq!(router.allow_line(group), line, "{host}");
        }
    }

    /// A path that belongs elsewhere once it is decoded is refused.
    #[test]
    fn no_spelling_leads_to_another_host_s_route() {
        let services = ["- / -", "api.test /admin -", "*.test /staff -"];
        for path in ["/%61dmin", "/st%61ff/x", "/%2561dmin"] {
            assert_eq!(
                resolve(&services, Some("api.test"), path, "GET"),
                Err(Refusal::Unsafe(PathFault::OtherRoute)),
                "{path}"
            );
        }
        assert_eq!(
            resolve(&services, Some("other"), "/%61dmin", "GET"),
            Ok(0),
            "nobody's here"
        );
    }

    /// A path that a guarded route's upstream may take for one of its own paths reaches no route
    /// that lets more people in.
    #[test]
    fn no_spelling_walks_round_a_guard() {
        let services = [
            "- / -",
            "- /auth - guard=1",
            "- /auth/pub -",
            "- /x/y - guard=1",
            "- /open -",
            "- /Mixed - guard=1",
        ];
        for path in [
            "/auth;v=1",
            "/auth;v=1/x",
            "/auth;/x",
            "/;a/auth",
            "/auth%3bv=1",
            "/auth%3Bv=1/x",
            "/auth%253bv/x",
            "/AUTH",
            "/Auth/x",
            "/aut%48/x",
            "/%41UTH/x",
            "/aut%2548",
            "/auth.",
            "/auth./x",
            "/auth%2e",
            "/auth%2E%2e/x",
            "/auth%20",
            "/auth%20/x",
            "/auth.%20.;v/x",
            "/AUTH;v=1./x",
            "/AUTH%3fx",
            "/AUTH%23/x",
            "/x;a/Y./z",
            "/x//y",
            "/x/;/y",
            "/x;v//;w/y/",
            "/X/%59",
            "/mixed",
            "/MIXED/x",
            "/mi%58ed",
            "/%c5%bfx/../auth",
            "/aut%E2%84%AA",
        ] {
            let expected = match path {
                "/aut%E2%84%AA" => Ok(0),
                "/%c5%bfx/../auth" => Err(Refusal::Unsafe(PathFault::DotSegment)),
                _ => Err(Refusal::Unsafe(PathFault::OtherGuard)),
            };
            assert_eq!(resolve(&services, None, path, "GET"), expected, "{path}");
        }
        // The Kelvin sign folds into a `k`.
        let kelvin = ["- / -", "- /key - guard=1"];
        assert_eq!(
            resolve(&kelvin, None, "/%E2%84%AAey/x", "GET"),
            Err(Refusal::Unsafe(PathFault::OtherGuard))
        );
        for (path, service) in [
            ("/auth", 1),
            ("/auth/x;v=1", 1),
            ("/auth/X./%20/", 1),
            ("/auth/pub", 2),
            ("/auth/pub/X;v", 2),
            ("/open;v=2/x", 0),
            ("/open;v=2", 0),
            ("/open/auth", 4),
            ("/open/x//auth", 4),
            ("/OPEN", 0),
            ("/authx;v=1", 0),
            ("/auth-x.", 0),
            ("/.auth", 0),
            ("/x/yz", 0),
            ("/x", 0),
            ("/X;v/z", 0),
            ("/Mixed/x", 5),
            ("/%20auth", 0),
            ("/", 0),
        ] {
            assert_eq!(resolve(&services, None, path, "GET"), Ok(service), "{path}");
        }
        // A nested open route is no way out of its guarded parent's spellings, and no path of its
        // own is lost.
        for (path, expected) in [
            ("/auth;v/pub/x", Err(Refusal::Unsafe(PathFault::OtherGuard))),
            ("/AUTH/PUB", Err(Refusal::Unsafe(PathFault::OtherGuard))),
            ("/AUTH/pub;/x", Err(Refusal::Unsafe(PathFault::OtherGuard))),
            ("/auth/pub/x", Ok(2)),
            ("/auth/pub/;/X.", Ok(2)),
            (
                "/auth;v/public",
                Err(Refusal::Unsafe(PathFault::OtherGuard)),
            ),
        ] {
            assert_eq!(resolve(&services, None, path, "GET"), expected, "{path}");
        }
    }

    #[test]
    fn routes_for_one_path_are_guarded() {
        let caught = Err(Refusal::Unsafe(PathFault::OtherGuard));
        let services = [
            "- / -",
            "- =/admin - guard=1",
            "- =/ - guard=1",
            "- /in - guard=1",
            "- =/in/ok -",
            "h /h - guard=1",
            "h =/h/ok -",
        ];
        for (host, path, expected) in [
            (None, "/", Ok(2)),
            (None, "/admin", Ok(1)),
            (None, "/admin/x", Ok(0)),
            (None, "/x/", Ok(0)),
            (None, "/in/", Ok(3)),
            (None, "/admin/", caught),
            (None, "/Admin", caught),
            (None, "/admin;v", caught),
            (None, "/admin./", caught),
            (None, "/admin//", caught),
            (None, "/;v", caught),
            // What is open is no way to what is guarded above it, and none of its paths is lost.
            (None, "/in/ok", Ok(4)),
            (None, "/in/ok/x", Ok(3)),
            (None, "/IN/ok", caught),
            (Some("h"), "/h/ok", Ok(6)),
            (Some("h"), "/h/ok/", Ok(5)),
            (Some("h"), "/H/ok", caught),
            (Some("h"), "/h/x", Ok(5)),
            (Some("h"), "/admin", Ok(1)),
        ] {
            let found = resolve(&services, host, path, "GET");
            assert_eq!(found, expected, "{host:?} {path}");
        }
        let with_slash = ["- / -", "- =/dir/ - guard=1"];
        for (path, expected) in [
            ("/dir/", Ok(1)),
            ("/dir/x", Ok(0)),
            ("/dir", caught),
            ("/DIR/", caught),
        ] {
            assert_eq!(resolve(&with_slash, None, path, "GET"), expected, "{path}");
        }
    }

    #[test]
    fn guards_differ_by_method_and_host_and_by_whom_they_let_in() {
        let services = [
            "- / - guard=1",
            "- /a GET",
            "- /a - guard=1",
            "- /b - guard=2",
            "x.test /c - guard=2",
            "- /c -",
        ];
        for (host, path, method, expected) in [
            (None, "/a", "GET", Ok(1)),
            (None, "/a", "PUT", Ok(2)),
            // The catch-all lets in whom `/a` lets in.
            (None, "/A", "PUT", Ok(0)),
            (None, "/A", "GET", Ok(0)),
            // Another guard's people are not those of the catch-all.
            (
                None,
                "/B",
                "GET",
                Err(Refusal::Unsafe(PathFault::OtherGuard)),
            ),
            (None, "/b", "GET", Ok(3)),
            (
                Some("x.test"),
                "/C",
                "GET",
                Err(Refusal::Unsafe(PathFault::OtherGuard)),
            ),
            (
                Some("X.test.:80"),
                "/c;v",
                "GET",
                Err(Refusal::Unsafe(PathFault::OtherGuard)),
            ),
            (Some("y.test"), "/C", "GET", Ok(0)),
            (Some("y.test"), "/c", "GET", Ok(5)),
        ] {
            assert_eq!(
                resolve(&services, host, path, method),
                expected,
                "{host:?} {method} {path}"
            );
        }
        // Nobody takes the method where the path belongs: it belongs there all the same.
        let services = [
            "- / -",
            "- /a POST guard=1",
            "- /a PUT guard=2",
            "- /Other - guard=3",
        ];
        assert_eq!(
            resolve(&services, None, "/A", "GET"),
            Err(Refusal::Unsafe(PathFault::OtherGuard))
        );
        assert!(matches!(
            resolve(&services, None, "/a", "GET"),
            Err(Refusal::Method { .. })
        ));
        // Two routes that differ in their spelling alone: the open one's own paths are refused.
        let services = ["- /a -", "- /A - guard=1"];
        assert_eq!(
            resolve(&services, None, "/a/x", "GET"),
            Err(Refusal::Unsafe(PathFault::OtherGuard))
        );
        assert_eq!(resolve(&services, None, "/A/x", "GET"), Ok(1));
        // Nothing is refused where nobody is guarded, or everybody by the same.
        for services in [["- / -", "- /a -"], ["- / - guard=1", "- /a - guard=1"]] {
            assert_eq!(resolve(&services, None, "/A", "GET"), Ok(0));
        }
    }

    /// A route and a path may be longer than what is built on the stack.
    #[test]
    fn long_routes_are_guarded_too() {
        let long = format!("/{}", "a".repeat(2_000));
        let services = [format!("- {long} - guard=1"), "- / -".to_owned()];
        let services = [services[0].as_str(), services[1].as_str()];
        let upper = long.to_ascii_uppercase();
        assert_eq!(
            resolve(&services, None, &upper, "GET"),
            Err(Refusal::Unsafe(PathFault::OtherGuard))
        );
        assert_eq!(
            resolve(&services, None, &format!("{upper};v/{upper}"), "GET"),
            Err(Refusal::Unsafe(PathFault::OtherGuard))
        );
        assert_eq!(resolve(&services, None, &format!("{upper}A"), "GET"), Ok(1));
        let shorter = format!("/{}", "A".repeat(1_999));
        assert_eq!(resolve(&services, None, &shorter, "GET"), Ok(1));
    }

    #[test]
    fn encoded_slashes_go_where_they_are_kept() {
        let services = [
            "- / -",
            "- /npm - keep",
            "- /npm/own -",
            "- /gate - guard=1 keep",
            "- /m PUT keep",
        ];
        for (path, expected) in [
            ("/npm/@scope%2fname", Ok(1)),
            ("/npm/%2F/name", Ok(1)),
            ("/npm/a%2Fb%2fc/", Ok(1)),
            ("/npm/own%2fx", Err(Refusal::Unsafe(PathFault::OtherRoute))),
            (
                "/npm/own/%2fx",
                Err(Refusal::Unsafe(PathFault::EncodedSlash)),
            ),
            ("/npm%2fx", Err(Refusal::Unsafe(PathFault::OtherRoute))),
            ("/%2fnpm", Err(Refusal::Unsafe(PathFault::EncodedSlash))),
            ("/x%2fy", Err(Refusal::Unsafe(PathFault::EncodedSlash))),
            ("/npm/..%2fx", Err(Refusal::Unsafe(PathFault::DotSegment))),
            (
                "/npm/x%2f..%2f..%2fy",
                Err(Refusal::Unsafe(PathFault::DotSegment)),
            ),
            (
                "/npm/x%2f%2e%2e",
                Err(Refusal::Unsafe(PathFault::DotSegment)),
            ),
            (
                "/npm/x%5cy%2f",
                Err(Refusal::Unsafe(PathFault::EncodedByte)),
            ),
            ("/npm/x%252fy", Ok(1)),
            ("/npm/x%252F%2fy", Ok(1)),
            (
                "/x%252fy",
                Err(Refusal::Unsafe(PathFault::TwiceEncodedSlash)),
            ),
            ("/npm%252fx", Err(Refusal::Unsafe(PathFault::OtherRoute))),
            (
                "/npm/x%252f..%252fy",
                Err(Refusal::Unsafe(PathFault::DotSegment)),
            ),
            ("/npm//%2fy", Err(Refusal::Unsafe(PathFault::EmptySegment))),
            ("/gate/a%2fb", Ok(3)),
            ("/gate%2fa", Err(Refusal::Unsafe(PathFault::OtherRoute))),
        ] {
            assert_eq!(resolve(&services, None, path, "GET"), expected, "{path}");
        }
        assert!(matches!(
            resolve(&services, None, "/m/a%2fb", "GET"),
            Err(Refusal::Method { .. })
        ));
        // An encoded slash that is kept is no way round a guard either.
        let services = ["- / - keep", "- /a/b - guard=1"];
        for path in [
            "/a%2fb",
            "/A%2fB",
            "/a%2fb%3bv",
            "/a;v%2Fb",
            "/a%2f%2fB",
            "/a%252fb",
            "/A%252Fb",
            "/a;v%252Fb",
            "/a%252f/b",
        ] {
            let fault = if matches!(path, "/a%2fb" | "/a%252fb") {
                PathFault::OtherRoute
            } else {
                PathFault::OtherGuard
            };
            assert_eq!(
                resolve(&services, None, path, "GET"),
                Err(Refusal::Unsafe(fault)),
                "{path}"
            );
        }
        assert_eq!(resolve(&services, None, "/a%2fc", "GET"), Ok(0));
        assert_eq!(
            resolve(&["- /a -"], None, "/b%2fc", "GET"),
            Err(Refusal::Unsafe(PathFault::EncodedSlash)),
            "no service keeps it"
        );
    }
}

//! From host, path and method to a service.
//!
//! The host comes first: services that name it, then those whose wildcard covers it (the longest first), then those for any
//! host. In the first of these that has a route for the path, the longest route decides; where several services share it, the
//! method does, and a method that none of them takes is a 405, not another route's.

use std::collections::BTreeMap;

use super::route::{self, Match, RouteTable};

/// What the router is told of a service.
#[derive(Clone, Copy)]
pub struct Rule<'a> {
    /// `/users`.
    pub route: &'a str,
    /// `api.example.com` or `*.example.com`, in lower case; none: any host.
    pub hosts: &'a [String],
    /// Those it takes; none: any method.
    pub methods: &'a [String],
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its path could mean something else on the other side (400).
    Unsafe,
    /// No route takes it (404).
    NotFound,
    /// A route takes it, but none of the route's services its method (405).
    Method {
        /// The first of these services.
        service: usize,
        /// All of them, for [`Router::allow_line`].
        group: usize,
    },
}

/// All services.
pub struct Router {
    anywhere: RouteTable,
    /// For services with `hosts`; most gateways have none.
    hosts: Option<Box<Hosts>>,
    /// The services of each route of each table.
    groups: Vec<Group>,
}

/// The tables of hosts, each with the index of its first group.
struct Hosts {
    /// Sorted by name.
    exact: Vec<(Box<[u8]>, RouteTable, usize)>,
    /// With their dot (`.example.com`), the longest first.
    wildcards: Vec<(Box<[u8]>, RouteTable, usize)>,
}

/// The services that share a route.
enum Group {
    /// One, for any method.
    One(usize),
    /// Several, or not for any method. A service without methods takes those that no other takes.
    ByMethod(Vec<(Vec<Box<[u8]>>, usize)>),
}

impl Router {
    /// A router of these services; no two may take the same request.
    pub fn new<'a>(rules: impl Iterator<Item = Rule<'a>>) -> Router {
        let rules = rules.enumerate().collect::<Vec<_>>();
        let mut groups = Vec::new();
        let mut table = |host: Option<&str>| {
            let first = groups.len();
            let mut routes: Vec<&str> = Vec::new();
            let mut places: BTreeMap<&str, usize> = BTreeMap::new();
            let mut members: Vec<Vec<(usize, Rule<'_>)>> = Vec::new();
            for (service, rule) in &rules {
                let is_here = match host {
                    Some(host) => rule.hosts.iter().any(|name| name == host),
                    None => rule.hosts.is_empty(),
                };
                if !is_here {
                    continue;
                }
                let place = *places.entry(rule.route).or_insert(routes.len());
                match members.get_mut(place) {
                    Some(sharing) => sharing.push((*service, *rule)),
                    None => {
                        routes.push(rule.route);
                        members.push(vec![(*service, *rule)]);
                    }
                }
            }
            groups.extend(members.into_iter().map(Group::new));
            (RouteTable::new(routes.into_iter()), first)
        };
        let (anywhere, _) = table(None);
        let mut names = rules.iter().flat_map(|(_, rule)| rule.hosts).map(String::as_str).collect::<Vec<_>>();
        names.sort_unstable();
        names.dedup();
        let mut hosts = Hosts { exact: Vec::new(), wildcards: Vec::new() };
        for name in &names {
            let (routes, first) = table(Some(name));
            match name.strip_prefix('*') {
                Some(suffix) => hosts.wildcards.push((suffix.as_bytes().into(), routes, first)),
                None => hosts.exact.push((name.as_bytes().into(), routes, first)),
            }
        }
        hosts.wildcards.sort_by_key(|(suffix, ..)| core::cmp::Reverse(suffix.len()));
        Router { anywhere, hosts: (!names.is_empty()).then(|| Box::new(hosts)), groups }
    }

    /// Finds the service of a request. `host`: the authority it is for, port and all; `path` starts with `/`.
    ///
    /// # Errors
    /// The path is unsafe, means another route once it is decoded, or has none; the method is not taken there.
    pub fn resolve(&self, host: Option<&[u8]>, path: &[u8], method: &[u8]) -> Result<Match, Refusal> {
        let found = match &self.hosts {
            None => self.anywhere.resolve(path),
            Some(hosts) => {
                let mut lower = [0; HOST_BYTES];
                let name = host.and_then(|host| normalize(host, &mut lower)).unwrap_or_default();
                route::resolve(path, |path| hosts.find(name, path).or_else(|| self.anywhere.find(path)))
            }
        };
        let found = found.map_err(|refusal| match refusal {
            route::Refusal::Unsafe => Refusal::Unsafe,
            route::Refusal::NotFound => Refusal::NotFound,
        })?;
        match self.groups.get(found.service) {
            Some(Group::One(service)) => Ok(Match { service: *service, ..found }),
            Some(Group::ByMethod(members)) => match choose(members, method) {
                Some(service) => Ok(Match { service, ..found }),
                None => {
                    let service = members.first().map_or(0, |(_, service)| *service);
                    Err(Refusal::Method { service, group: found.service })
                }
            },
            None => Err(Refusal::NotFound),
        }
    }

    /// The `Allow` line (RFC 9110 10.2.1) of a [`Refusal::Method`]: what the services of its `group` take, in the order of the
    /// file.
    pub fn allow_line(&self, group: usize) -> Vec<u8> {
        let mut methods: Vec<&[u8]> = Vec::new();
        let members =
            if let Some(Group::ByMethod(members)) = self.groups.get(group) { members.as_slice() } else { &[] };
        for method in members.iter().flat_map(|(methods, _)| methods) {
            let with_head: &[&[u8]] = if **method == *b"GET" { &[b"GET", b"HEAD"] } else { &[method] };
            for method in with_head {
                if !methods.contains(method) {
                    methods.push(method);
                }
            }
        }
        [b"Allow: ", methods.join(&b", "[..]).as_slice(), b"\r\n"].concat()
    }
}

/// Bytes of the longest name that DNS knows, and a dot.
const HOST_BYTES: usize = 254;

/// The name of an authority, without its port and final dot, in lower case; `None`: no service can have it.
fn normalize<'b>(authority: &[u8], lower: &'b mut [u8; HOST_BYTES]) -> Option<&'b [u8]> {
    let host = super::redirect::without_port(authority);
    let host = host.strip_suffix(b".").unwrap_or(host);
    let room = lower.get_mut(..host.len())?;
    room.copy_from_slice(host);
    room.make_ascii_lowercase();
    Some(room)
}

impl Hosts {
    fn find(&self, host: &[u8], path: &[u8]) -> Option<Match> {
        let found = self.exact.binary_search_by(|(name, ..)| name.as_ref().cmp(host)).ok();
        let exact = found.and_then(|at| self.exact.get(at));
        let covers = |suffix: &[u8]| host.len() > suffix.len() && host.ends_with(suffix);
        let wildcards = self.wildcards.iter().filter(|(suffix, ..)| covers(suffix));
        exact.into_iter().chain(wildcards).find_map(|(_, routes, first)| {
            let found = routes.find(path)?;
            Some(Match { service: found.service.saturating_add(*first), ..found })
        })
    }
}

impl Group {
    fn new(members: Vec<(usize, Rule<'_>)>) -> Group {
        match members.as_slice() {
            [(service, rule)] if rule.methods.is_empty() => Group::One(*service),
            _ => {
                let owned = |rule: Rule<'_>| rule.methods.iter().map(|method| method.as_bytes().into()).collect();
                Group::ByMethod(members.into_iter().map(|(service, rule)| (owned(rule), service)).collect())
            }
        }
    }
}

/// The member that names the method; for HEAD, then one that names GET; then one for any method.
fn choose(members: &[(Vec<Box<[u8]>>, usize)], method: &[u8]) -> Option<usize> {
    let naming = |wanted: &[u8]| {
        let names = |methods: &[Box<[u8]>]| methods.iter().any(|method| method.as_ref() == wanted);
        members.iter().find(|(methods, _)| names(methods))
    };
    let found = naming(method)
        .or_else(|| if method == b"HEAD" { naming(b"GET") } else { None })
        .or_else(|| members.iter().find(|(methods, _)| methods.is_empty()));
    found.map(|(_, service)| *service)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Services as `hosts route methods`, words apart, lists by commas, `-` for none.
    fn resolve(services: &[&str], host: Option<&str>, path: &str, method: &str) -> Result<usize, Refusal> {
        router(services).resolve(host.map(str::as_bytes), path.as_bytes(), method.as_bytes()).map(|found| found.service)
    }

    fn router(services: &[&str]) -> Router {
        let list =
            |word: &str| -> Vec<String> { word.split(',').filter(|part| *part != "-").map(str::to_owned).collect() };
        let parsed = services.iter().map(|text| {
            let words = text.split(' ').collect::<Vec<_>>();
            (list(words[0]), words[1], list(words[2]))
        });
        let parsed = parsed.collect::<Vec<_>>();
        Router::new(parsed.iter().map(|(hosts, route, methods)| Rule { route, hosts, methods }))
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
            assert_eq!(resolve(&services, host, path, "GET"), Ok(service), "{host:?} {path}");
        }
        let long = format!("{}.example.com", "a.".repeat(200));
        assert_eq!(resolve(&services, Some(&long), "/users", "GET"), Ok(1), "no name is so long");
        assert_eq!(resolve(&["a.test / -"], Some("b.test"), "/", "GET"), Err(Refusal::NotFound));
    }

    #[test]
    fn the_method_comes_last() {
        let services =
            ["- / -", "- /users GET,POST", "- /users DELETE", "- /any PUT", "- /any -", "- /head GET", "- /head HEAD"];
        for (path, method, expected) in [
            ("/users", "GET", Ok(1)),
            ("/users", "HEAD", Ok(1)),
            ("/users/1", "DELETE", Ok(2)),
            ("/users", "PATCH", Err(Refusal::Method { service: 1, group: 1 })),
            ("/users", "get", Err(Refusal::Method { service: 1, group: 1 })),
            ("/any", "PUT", Ok(3)),
            ("/any", "GET", Ok(4)),
            ("/head", "HEAD", Ok(6)),
            ("/head", "GET", Ok(5)),
            ("/other", "PATCH", Ok(0)),
        ] {
            assert_eq!(resolve(&services, None, path, method), expected, "{method} {path}");
        }
        assert_eq!(router(&services).allow_line(1), b"Allow: GET, HEAD, POST, DELETE\r\n");
        assert_eq!(router(&["- /x PUT"]).allow_line(0), b"Allow: PUT\r\n");
    }

    /// A service of several hosts shares its route with other services on each of them.
    #[test]
    fn what_is_allowed_is_the_hosts_own() {
        let services = ["a.test,b.test /x GET", "a.test /x PUT", "b.test /x DELETE"];
        for (host, line) in [("a.test", &b"Allow: GET, HEAD, PUT\r\n"[..]), ("b.test", b"Allow: GET, HEAD, DELETE\r\n")]
        {
            let router = router(&services);
            let refusal = router.resolve(Some(host.as_bytes()), b"/x", b"POST").expect_err("nobody takes it");
            let Refusal::Method { service: 0, group } = refusal else { panic!("{refusal:?}") };
            assert_eq!(router.allow_line(group), line, "{host}");
        }
    }

    /// Whatever the host, a path that belongs elsewhere once it is decoded is refused.
    #[test]
    fn no_spelling_leads_to_another_host_s_route() {
        let services = ["- / -", "api.test /admin -", "*.test /staff -"];
        for path in ["/%61dmin", "/st%61ff/x", "/%2561dmin"] {
            assert_eq!(resolve(&services, Some("api.test"), path, "GET"), Err(Refusal::Unsafe), "{path}");
        }
        assert_eq!(resolve(&services, Some("other"), "/%61dmin", "GET"), Ok(0), "nobody's here");
    }
}

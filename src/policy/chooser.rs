//! Choice between services of one route by their conditions (`match`).
//!
//! The method comes first: services that name it go before those for any method. Of these, the one
//! with the most conditions that all hold is chosen; of two with as many, the one that stands first
//! in the configuration. A service without conditions is the rest.
//!
//! A condition that is unclear refuses the request if the services admit different clients: otherwise
//! a client could choose the service that admits more, and show the upstream what belongs to the
//! other.

use super::conditions::{Answer, Asked, Condition, Evidence};

/// Services of one route, of which some have conditions.
pub(super) struct Chooser {
    /// Services with most conditions first, otherwise in the order of the configuration.
    candidates: Vec<Candidate>,
    /// Names that the conditions ask for, each once.
    asked: Vec<Asked>,
}

/// Service of the route.
struct Candidate {
    service: usize,
    methods: Methods,
    /// Place of each name in [`Chooser::asked`], and the value that it must have.
    conditions: Vec<(usize, Box<[u8]>)>,
}

/// Methods that a service names; empty for any.
pub(super) type Methods = Vec<Box<[u8]>>;

/// Reason why no service was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoChoice {
    /// No service accepts the method. The value is the first service.
    Method(usize),
    /// The conditions of no service hold.
    Conditions,
    /// A condition is unclear, and the services admit different clients.
    Unclear,
}

impl Chooser {
    /// Creates the chooser of services: index, methods and conditions of each.
    pub(super) fn new<'a>(
        members: impl Iterator<Item = (usize, Methods, &'a [Condition])>,
    ) -> Chooser {
        let (mut candidates, mut asked) = (Vec::new(), Vec::<Asked>::new());
        for (service, methods, conditions) in members {
            let conditions = conditions.iter().map(|condition| {
                let (part, name) = (condition.part, condition.name.as_bytes());
                let known = asked
                    .iter()
                    .position(|(of, known)| *of == part && **known == *name);
                let place = known.unwrap_or_else(|| {
                    asked.push((part, name.into()));
                    asked.len().saturating_sub(1)
                });
                (place, condition.value.as_bytes().into())
            });
            candidates.push(Candidate {
                service,
                methods,
                conditions: conditions.collect(),
            });
        }
        crate::sort::sort_by(&mut candidates, |one: &Candidate, other: &Candidate| {
            let by_count = other.conditions.len().cmp(&one.conditions.len());
            by_count.then(one.service.cmp(&other.service))
        });
        Chooser { candidates, asked }
    }

    /// Returns the service of a request. `is_like`: true if two services admit the same clients.
    #[cold]
    pub(super) fn choose(
        &self,
        method: &[u8],
        request: &Evidence<'_>,
        is_like: &dyn Fn(usize, usize) -> bool,
    ) -> Result<usize, NoChoice> {
        let seen = request.look(&self.asked);
        let answer = |(place, wanted): &(usize, Box<[u8]>)| {
            let asked = self.asked.get(*place);
            let part_and_seen = asked.map(|(part, _)| *part).zip(seen.get(*place));
            part_and_seen.map_or(Answer::Fails, |(part, seen)| seen.answer(part, wanted))
        };
        let mut found: Option<(u8, usize)> = None;
        let (mut is_unclear, mut differ, mut first) = (false, false, None);
        for candidate in &self.candidates {
            let Some(rank) = rank(&candidate.methods, method) else {
                continue;
            };
            let service = candidate.service;
            differ |= !is_like(*first.get_or_insert(service), service);
            let mut holds = true;
            for condition in &candidate.conditions {
                let answer = answer(condition);
                is_unclear |= answer == Answer::Unclear;
                holds &= answer == Answer::Holds;
            }
            if holds && found.is_none_or(|(best, _)| rank < best) {
                found = Some((rank, service));
            }
        }
        if first.is_none() {
            return Err(NoChoice::Method(self.first()));
        }
        if is_unclear && differ {
            return Err(NoChoice::Unclear);
        }
        found
            .map(|(_, service)| service)
            .ok_or(NoChoice::Conditions)
    }

    /// Returns the service for a method, of a request whose headers and cookies are not known: the
    /// one without conditions, otherwise the first in the order of the configuration.
    #[cold]
    pub(super) fn usual(&self, method: &[u8]) -> Result<usize, NoChoice> {
        let ranks = self.candidates.iter().filter_map(|candidate| {
            let rank = rank(&candidate.methods, method)?;
            Some((!candidate.conditions.is_empty(), rank, candidate.service))
        });
        let usual = ranks.min().map(|(.., service)| service);
        usual.ok_or(NoChoice::Method(self.first()))
    }

    /// Returns true if `is_foreign` is true of a service that may be chosen for this method. If no
    /// service accepts the method, all of them own the path.
    #[cold]
    pub(super) fn any(&self, method: &[u8], is_foreign: &dyn Fn(usize) -> bool) -> bool {
        let accepts = |candidate: &&Candidate| rank(&candidate.methods, method).is_some();
        let is_accepted = self.candidates.iter().any(|one| accepts(&one));
        let mut owners = self.candidates.iter();
        owners.any(|one| (accepts(&one) || !is_accepted) && is_foreign(one.service))
    }

    /// Returns the methods of all services, in the order of the configuration.
    pub(super) fn methods(&self) -> Vec<&Methods> {
        let mut all = self.candidates.iter().collect::<Vec<_>>();
        crate::sort::sort_by(&mut all, |one, other| one.service.cmp(&other.service));
        all.into_iter()
            .map(|candidate| &candidate.methods)
            .collect()
    }

    /// Returns the first service in the order of the configuration.
    fn first(&self) -> usize {
        let services = self.candidates.iter().map(|candidate| candidate.service);
        services.min().unwrap_or(0)
    }
}

/// Returns how well methods fit, 0 the best: they name it, they name GET of a HEAD, or they name
/// none. `None`: they do not have it.
fn rank(methods: &[Box<[u8]>], method: &[u8]) -> Option<u8> {
    let names = |wanted: &[u8]| methods.iter().any(|own| **own == *wanted);
    match methods.is_empty() {
        true => Some(2),
        false if names(method) => Some(0),
        false => (method == b"HEAD" && names(b"GET")).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions::Part;
    use super::super::guard::{GuardId, OPEN};
    use super::super::path::PathFault;
    use super::super::router::{By, Refusal, Router, Rule};
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};
    use proptest::prelude::*;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 65_536,
        request_line_bytes: 16_384,
        fields: 64,
    };

    /// Service of a test: route, methods, conditions as `x-beta: 1`, `cookie a=1` or `?a=1` with
    /// commas between them, and guard.
    type Row<'a> = (&'a str, &'a [&'a str], &'a str, GuardId);

    fn conditions(text: &str) -> Vec<Condition> {
        let parts = text.split(", ").filter(|part| !part.is_empty());
        let condition = |text: &str| {
            let (part, text, divider) = match (text.strip_prefix("cookie "), text.strip_prefix('?'))
            {
                (Some(cookie), _) => (Part::Cookie, cookie, "="),
                (_, Some(parameter)) => (Part::Query, parameter, "="),
                _ => (Part::Header, text, ": "),
            };
            let (name, value) = text.split_once(divider).expect("a value");
            Condition {
                part,
                name: name.to_owned(),
                value: value.to_owned(),
            }
        };
        parts.map(condition).collect()
    }

    fn router(rows: &[Row<'_>]) -> Router {
        let parsed = rows.iter().map(|(_, methods, text, _)| {
            let methods = methods.iter().map(|method| (*method).to_owned());
            (methods.collect::<Vec<_>>(), conditions(text))
        });
        let parsed = parsed.collect::<Vec<_>>();
        let rules = rows.iter().zip(&parsed);
        let rules = rules.map(|((route, .., guard), (methods, conditions))| Rule {
            route,
            hosts: &[],
            methods,
            conditions,
            guard: *guard,
            keeps_slashes: false,
        });
        Router::new(rules.collect())
    }

    /// Resolves a request: method and target, then header lines.
    fn resolve(router: &Router, request: &str) -> Result<usize, Refusal> {
        let (line, lines) = request.split_once('\n').unwrap_or((request, ""));
        let lines = lines.replace('\n', "\r\n");
        let end = if lines.is_empty() { "" } else { "\r\n" };
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n{lines}{end}\r\n");
        let (mut scan, mut fields) = (HeadScan::default(), FieldTable::default());
        let head = parse_request(text.as_bytes(), &mut scan, &mut fields, &LIMITS)
            .unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
            .expect("a complete head");
        let target = line.split_once(' ').expect("a target").1;
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let evidence = Evidence {
            fields: head.fields,
            query: query.as_bytes(),
        };
        let plain = router.resolve(None, path.as_bytes(), head.method);
        let by = By::Request(&evidence);
        let found = router.resolve_by(None, path.as_bytes(), head.method, by);
        if plain != Err(Refusal::Undecided) {
            assert_eq!(plain, found, "{request}: conditions matter where they are");
        }
        found.map(|found| found.service)
    }

    #[test]
    fn conditions_break_ties() {
        let rows: &[Row<'_>] = &[
            ("/", &[], "", OPEN),
            ("/a", &[], "", OPEN),
            ("/a", &[], "x-beta: 1", OPEN),
            ("/a", &[], "cookie beta=1", OPEN),
            ("/a", &[], "?beta=1", OPEN),
            ("/a", &[], "x-beta: 1, cookie beta=1", OPEN),
            ("/a", &["PUT"], "x-beta: 1", OPEN),
            ("/a", &["GET"], "x-alpha: 1", OPEN),
            ("/only", &["GET"], "x-beta: 1", OPEN),
            ("/only", &["PUT"], "x-beta: 2", OPEN),
        ];
        let router = router(rows);
        let method = |group| Refusal::Method { service: 8, group };
        for (request, expected) in [
            ("GET /a", Ok(1)),
            ("GET /b\nX-Beta: 1", Ok(0)),
            ("GET /a/b\nX-Beta: 1", Ok(2)),
            ("GET /a\nx-BETA:   1  ", Ok(2)),
            ("GET /a\nX-Beta: 2", Ok(1)),
            ("GET /a\nCookie: a=b; beta=1", Ok(3)),
            ("GET /a\nCookie: a=b\nCookie: beta=1;c=d", Ok(3)),
            ("GET /a\nCookie: beta=2", Ok(1)),
            ("GET /a?beta=1", Ok(4)),
            ("GET /a?x&%62eta=%31&y=", Ok(4)),
            ("GET /a?beta=11", Ok(1)),
            // More conditions first, then the order of the services.
            ("GET /a\nX-Beta: 1\nCookie: beta=1", Ok(5)),
            ("GET /a?beta=1\nCookie: beta=1", Ok(3)),
            ("GET /a?beta=1\nX-Beta: 1\nCookie: beta=2", Ok(2)),
            // The method comes before the conditions, and is no dead end.
            ("PUT /a\nX-Beta: 1\nCookie: beta=1", Ok(6)),
            ("PUT /a\nCookie: beta=1", Ok(3)),
            ("HEAD /a\nX-Alpha: 1\nX-Beta: 1", Ok(7)),
            ("POST /a\nX-Alpha: 1", Ok(1)),
            ("GET /only\nX-Beta: 1", Ok(8)),
            ("HEAD /only\nX-Beta: 1", Ok(8)),
            ("PUT /only\nX-Beta: 2", Ok(9)),
            // No other route is tried.
            ("PUT /only\nX-Beta: 1", Err(Refusal::NotFound)),
            ("GET /only", Err(Refusal::NotFound)),
            ("POST /only\nX-Beta: 1", Err(method(2))),
        ] {
            assert_eq!(resolve(&router, request), expected, "{request}");
        }
        assert_eq!(router.allow_line(2), b"Allow: GET, HEAD, PUT\r\n");
        // Of a request that is not known: the service without conditions, otherwise the first one.
        for (path, method, expected) in [
            ("/a", "GET", Ok(1)),
            ("/a", "PUT", Ok(1)),
            ("/only", "GET", Ok(8)),
            ("/only", "PUT", Ok(9)),
            (
                "/only",
                "POST",
                Err(Refusal::Method {
                    service: 8,
                    group: 2,
                }),
            ),
        ] {
            let found = router.resolve_by(None, path.as_bytes(), method.as_bytes(), By::Usual);
            assert_eq!(
                found.map(|found| found.service),
                expected,
                "{method} {path}"
            );
        }
    }

    /// Requests whose upstream may read another value than the gateway.
    const UNCLEAR: [&str; 46] = [
        "GET /a\nX-Beta: 1\nX-Beta: 2",
        "GET /a\nX-Beta: 2\nX-Beta: 3",
        "GET /a\nX-Beta: 2\nx-beta: 1",
        "GET /a\nX-Beta: 0, 1",
        "GET /a\nX-Beta: 1,1",
        "GET /a\nX-Beta: \"1\"",
        "GET /a\nX-Beta: %31",
        "GET /a\nX-Beta: \"\\1\"",
        "GET /a\nCookie: beta=\"\\061\"",
        "GET /a\nX_Beta: 1",
        "GET /a\nX-Beta: 1\nX_BETA: 2",
        "GET /a\nx.beta: 2",
        "GET /a\nCookie: beta=1; beta=2",
        "GET /a\nCookie: beta=1\nCookie: beta=2",
        "GET /a\nCookie: BETA=1",
        "GET /a\nCookie: b%65ta=1",
        "GET /a\nCookie: \"beta\"=1",
        "GET /a\nCookie: beta =1",
        "GET /a\nCookie: beta= 1",
        "GET /a\nCookie: beta=\"1\"",
        "GET /a\nCookie: beta=%31",
        "GET /a\nCookie: beta",
        "GET /a\nCookie: a=b,beta=1",
        "GET /a\nCookie: a=b, beta=1; c=d",
        "GET /a\nCookie: beta=1,x=2",
        "GET /a\nCookie: beta[]=1",
        "GET /a?beta=1&beta=2",
        "GET /a?beta=1&beta=%31",
        "GET /a?beta=2&x=1&beta=1",
        "GET /a?BETA=1",
        "GET /a?bet%41=1",
        "GET /a?beta=+1",
        "GET /a?beta=%201",
        "GET /a?+beta=1",
        "GET /a?%20beta=1",
        "GET /a?beta%20=1",
        "GET /a?beta%00=1",
        "GET /a?beta[]=1",
        "GET /a?beta%5b0%5D=1",
        "GET /a?x=1;beta=1",
        "GET /a?beta=1;x=1",
        "GET /a?x=1;b%65ta=2;y",
        "GET /a?%u0062eta=1",
        "GET /a?beta=%u0031",
        "GET /a?%62eta=1%",
        "GET /a?beta%=1",
    ];

    #[test]
    fn what_is_unclear_matches_nothing_and_walks_round_no_guard() {
        let asks = ["x-beta: 1", "cookie beta=1", "?beta=1"];
        let table = |guards: [GuardId; 4]| {
            let rest: Row<'_> = ("/a", &[], "", guards[3]);
            let rows = asks
                .iter()
                .zip(guards)
                .map(|(ask, guard)| -> Row<'_> { ("/a", &[], ask, guard) });
            router(&rows.chain([rest]).collect::<Vec<_>>())
        };
        let (same, open) = (table([1; 4]), table([OPEN; 4]));
        let refused = Err(Refusal::Unsafe(PathFault::OtherMatch));
        for request in UNCLEAR {
            assert_eq!(resolve(&open, request), Ok(3), "{request}");
            assert_eq!(resolve(&same, request), Ok(3), "{request}");
            for guards in [[1, 1, 1, OPEN], [OPEN, OPEN, OPEN, 1], [1, 2, 1, 1]] {
                assert_eq!(resolve(&table(guards), request), refused, "{request}");
            }
        }
        let guarded = table([1, 1, 1, OPEN]);
        for (request, expected) in [
            ("GET /a", 3),
            ("GET /a\nX-Beta: 1", 0),
            ("GET /a\nX-Beta: 1\nx-beta: 1", 0),
            ("GET /a\nX-Beta: 2", 3),
            ("GET /a\nX-Beta:", 3),
            (
                "GET /a\nX-Beta2: 1\nBeta: 1\nCookie: xbeta=1; bet=1; beta2=1",
                3,
            ),
            ("GET /a\nCookie: beta=1; beta=1", 1),
            ("GET /a\nCookie: beta=", 3),
            ("GET /a\nCookie: x=beta=1", 3),
            ("GET /a\nCookie: x=%; y=;; =; beta=1", 1),
            ("GET /a?beta=1&beta=1", 2),
            ("GET /a?beta=", 3),
            ("GET /a?beta", 3),
            ("GET /a?xbeta=1&bet=1&beta2=1&x=beta=1&&=&", 3),
            ("GET /a?x=%&y=%u0031&z=a+b;c&beta=1", 2),
            ("GET /a?beta=%2531", 3),
        ] {
            assert_eq!(resolve(&guarded, request), Ok(expected), "{request}");
        }
        // Only services that take the method count.
        let rows: [Row<'_>; 3] = [
            ("/a", &["GET"], "x-beta: 1", OPEN),
            ("/a", &["GET"], "", OPEN),
            ("/a", &["PUT"], "", 1),
        ];
        assert_eq!(resolve(&router(&rows), "GET /a\nX_Beta: 1"), Ok(1));
    }

    #[test]
    fn a_parameter_may_have_any_byte() {
        let rows: [Row<'_>; 2] = [("/a", &[], "?a b[x]=c+d é;&", 1), ("/a", &[], "", OPEN)];
        let router = router(&rows);
        let refused = Err(Refusal::Unsafe(PathFault::OtherMatch));
        for (request, expected) in [
            ("GET /a?a%20b%5Bx%5d=c%2Bd%20%c3%a9%3b%26", Ok(0)),
            ("GET /a?a%20b[x]=c%2Bd%20%C3%A9%3B%26", Ok(0)),
            ("GET /a?a+b[x]=c%2Bd%20%C3%A9%3B%26", refused),
            ("GET /a?a%20b[x]=c+d+%C3%A9%3B%26", refused),
            ("GET /a?a%20b[x]=c", Ok(1)),
        ] {
            assert_eq!(resolve(&router, request), expected, "{request}");
        }
    }

    /// The path of another route may be read as one of this route, whatever its conditions are.
    #[test]
    fn no_spelling_walks_round_a_guard_with_conditions() {
        let rows: [Row<'_>; 3] = [
            ("/", &[], "", OPEN),
            ("/auth", &[], "x-beta: 1", 1),
            ("/auth", &[], "", OPEN),
        ];
        let router = router(&rows);
        let refused = Err(Refusal::Unsafe(PathFault::OtherGuard));
        for (request, expected) in [
            ("GET /AUTH", refused),
            ("GET /auth;v/x\nX-Beta: 1", refused),
            ("GET /auth/X;v", Ok(2)),
            ("GET /auth/X;v\nX-Beta: 1", Ok(1)),
        ] {
            assert_eq!(resolve(&router, request), expected, "{request}");
        }
        // All services that the path may belong to have the guard of this one.
        let rows: [Row<'_>; 3] = [
            ("/", &[], "", 1),
            ("/auth", &[], "x-beta: 1", 1),
            ("/auth", &[], "", OPEN),
        ];
        assert_eq!(resolve(&self::router(&rows), "GET /AUTH"), Ok(0));
    }

    #[test]
    fn long_values_are_unclear() {
        let rows: [Row<'_>; 2] = [("/a", &[], "x-beta: 1", 1), ("/a", &[], "", OPEN)];
        let long = format!("GET /a\nX-Beta: 2{}", ", 2".repeat(1_000));
        let refused = Err(Refusal::Unsafe(PathFault::OtherMatch));
        assert_eq!(resolve(&router(&rows), &long), refused);
    }

    /// Returns the service that a plain reading of the rules chooses: all names are different and
    /// plainly spelled.
    fn naive(rows: &[Row<'_>], method: &str, has: &[&str]) -> Option<usize> {
        let mut best: Option<(u8, core::cmp::Reverse<usize>, usize)> = None;
        for (service, (_, methods, text, _)) in rows.iter().enumerate() {
            let rank = if methods.contains(&method) {
                0
            } else if method == "HEAD" && methods.contains(&"GET") {
                1
            } else if methods.is_empty() {
                2
            } else {
                continue;
            };
            let asked = text.split(", ").filter(|part| !part.is_empty());
            if asked.clone().all(|condition| has.contains(&condition)) {
                let key = (rank, core::cmp::Reverse(asked.count()), service);
                best = Some(best.map_or(key, |best| best.min(key)));
            }
        }
        best.map(|(.., service)| service)
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_a_naive_reading(
            services in prop::collection::vec((0_usize..4, 0_u8..64), 1..8),
            method in prop::sample::select(vec!["GET", "HEAD", "PUT"]),
            has in 0_u8..64,
            guards in prop::collection::vec(0_u32..3, 8),
        ) {
            const ALL: [&str; 6] = ["x-a: 1", "x-b: 2", "cookie c=1", "cookie d=2", "?e=1", "?f=2"];
            const METHODS: [&[&str]; 4] = [&[], &["GET"], &["PUT", "POST"], &["HEAD"]];
            let texts = services.iter().map(|(_, bits)| {
                let own = (0..6).filter(|bit| bits >> bit & 1 == 1);
                own.map(|bit| ALL[bit]).collect::<Vec<_>>().join(", ")
            });
            let texts = texts.collect::<Vec<_>>();
            let rows = services.iter().zip(&texts).zip(&guards);
            let rows = rows.map(|(((methods, _), text), guard)| -> Row<'_> {
                ("/a", METHODS[*methods], text, *guard)
            });
            let rows = rows.collect::<Vec<_>>();
            let has = (0..6).filter(|bit| has >> bit & 1 == 1).map(|bit| ALL[bit]);
            let has = has.collect::<Vec<_>>();
            let of = |start: &str| {
                let own = has.iter().filter_map(|text| text.strip_prefix(start));
                own.collect::<Vec<_>>()
            };
            let mut request = format!("{method} /a?{}\nCookie: {}", of("?").join("&"), of("cookie ").join("; "));
            for header in has.iter().filter(|text| text.starts_with("x-")) {
                request = format!("{request}\n{header}");
            }
            let found = resolve(&router(&rows), &request).ok();
            prop_assert_eq!(found, naive(&rows, method, &has), "{} of {:?}", request, rows);
        }

        /// A request is never let in by a service with another guard than the one which the values
        /// lead to that an upstream may read.
        #[test]
        fn a_lenient_upstream_reads_what_the_gateway_reads(
            names in prop::collection::vec("(beta|BETA|bet%61|be|%62eta|beta%5b|x)", 1..4),
            values in prop::collection::vec("(1|%31|2|0|\\+1|1;beta=1|%)", 3),
            separator in prop::sample::select(vec!["&", ";"]),
        ) {
            let rows: [Row<'_>; 2] = [("/a", &[], "?beta=1", 1), ("/a", &[], "", OPEN)];
            let pairs = names.iter().zip(values).map(|(name, value)| format!("{name}={value}"));
            let query = pairs.collect::<Vec<_>>().join(separator);
            // Any pair that any program knows.
            let lenient = |separators: &[char], name: &str| {
                let read = |text: &str| {
                    let bytes = super::super::conditions::tests::decode(text.as_bytes());
                    String::from_utf8_lossy(&bytes).to_ascii_lowercase().replace('+', " ")
                };
                let pairs = query.split(separators).filter_map(|pair| {
                    let (own, value) = pair.split_once('=')?;
                    let own = read(own);
                    let own = own.split('[').next().unwrap_or_default();
                    (own == name).then(|| read(value).trim().to_owned())
                });
                pairs.collect::<Vec<_>>()
            };
            let found = resolve(&router(&rows), &format!("GET /a?{query}"));
            let is_one = |separators: &[char]| lenient(separators, "beta").iter().any(|value| value == "1");
            if found == Ok(1) {
                prop_assert!(!is_one(&['&']) && !is_one(&['&', ';']), "{}", query);
            }
        }
    }
}

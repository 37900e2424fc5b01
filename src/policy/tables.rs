//! Route tables of each host. The router has one set of them for its routes, the guard another for
//! their loose forms.

use super::route::{Match, RouteTable};
use crate::sort::{self, Index};

/// The routes of each host.
pub(super) struct Tables {
    anywhere: Table,
    /// Tables of services with `hosts`; `None` in most gateways.
    hosts: Option<Box<Hosts>>,
}

/// The routes of one host.
pub(super) struct Table {
    pub(super) routes: RouteTable,
    /// Index of the table's first route among the routes of all tables.
    pub(super) first: usize,
}

struct Hosts {
    /// Tables of exact names, sorted by name.
    exact: Vec<(Box<[u8]>, Table)>,
    /// Tables of wildcards, with their dot (`.example.com`), the longest first.
    wildcards: Vec<(Box<[u8]>, Table)>,
}

impl Tables {
    /// Builds the tables of these names, which are sorted, and the table for any host. `table`
    /// builds one table at a time.
    pub(super) fn new(names: &[&str], mut table: impl FnMut(Option<&str>) -> Table) -> Tables {
        let anywhere = table(None);
        let mut hosts = Hosts {
            exact: Vec::new(),
            wildcards: Vec::new(),
        };
        for name in names {
            let routes = table(Some(name));
            match name.strip_prefix('*') {
                Some(suffix) => hosts.wildcards.push((suffix.as_bytes().into(), routes)),
                None => hosts.exact.push((name.as_bytes().into(), routes)),
            }
        }
        // Two wildcards of the same length never cover the same host.
        sort::sort_by(&mut hosts.wildcards, |(one, _), (other, _)| {
            other.len().cmp(&one.len())
        });
        Tables {
            anywhere,
            hosts: (!names.is_empty()).then(|| Box::new(hosts)),
        }
    }

    /// Returns `true` if a service has `hosts`. Otherwise the name does not matter.
    #[inline]
    pub(super) fn has_hosts(&self) -> bool {
        self.hosts.is_some()
    }

    /// Finds the route for this path under this name. The result's index counts the routes of all
    /// tables.
    #[inline]
    pub(super) fn find(&self, host: &[u8], path: &[u8]) -> Option<Match> {
        self.first(host, |routes| routes.find(path))
    }

    /// Returns what `find` finds in the first table for this name in which it finds something.
    #[inline]
    fn first(&self, host: &[u8], find: impl Fn(&RouteTable) -> Option<Match>) -> Option<Match> {
        match &self.hosts {
            None => find(&self.anywhere.routes),
            Some(hosts) => hosts
                .first(host, &find)
                .or_else(|| find(&self.anywhere.routes)),
        }
    }

    /// Returns all routes that match this path under this name: the one for this path alone, and
    /// then the prefixes, the longest first.
    pub(super) fn find_all<'a>(
        &'a self,
        host: &'a [u8],
        path: &'a [u8],
    ) -> impl Iterator<Item = Match> + 'a {
        let prefix = move |path: &[u8]| self.first(host, |routes| routes.find_prefix(path));
        let shorter = move |found: &Match| {
            let taken = path.get(..found.taken)?;
            let parent = taken.iter().rposition(|&byte| byte == b'/')?;
            prefix(taken.get(..parent)?)
        };
        let first = self.find(host, path);
        // Behind the route for this path alone, the whole path may be a prefix, too.
        let is_whole = first.is_some_and(|first| first.taken == path.len());
        let second = is_whole.then(|| prefix(path)).flatten();
        let second = second.filter(|second| Some(*second) != first);
        let exact = first.filter(|_| second.is_some());
        exact
            .into_iter()
            .chain(core::iter::successors(second.or(first), shorter))
    }
}

impl Hosts {
    fn first(&self, host: &[u8], find: &dyn Fn(&RouteTable) -> Option<Match>) -> Option<Match> {
        let found = self
            .exact
            .binary_search_by(|(name, ..)| name.as_ref().cmp(host))
            .ok();
        let exact = found.and_then(|at| self.exact.get(at));
        let covers = |suffix: &[u8]| host.len() > suffix.len() && host.ends_with(suffix);
        let wildcards = self.wildcards.iter().filter(|(suffix, ..)| covers(suffix));
        exact.into_iter().chain(wildcards).find_map(|(_, table)| {
            let found = find(&table.routes)?;
            Some(Match {
                service: found.service.saturating_add(table.first),
                ..found
            })
        })
    }
}

/// Returns the distinct names, in the order in which they come first, and the places of each.
pub(super) fn distinct(names: Vec<&str>) -> (Vec<&str>, Vec<Vec<usize>>) {
    let (mut firsts, mut members): (Vec<&str>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    let mut numbers = vec![0; names.len()];
    let places = Index::new(names.clone());
    for (place, name) in names.into_iter().enumerate() {
        match places.place(&name) {
            Some(first) if first < place => {
                let number = numbers.get(first).copied();
                let of_first = number.and_then(|number| members.get_mut(number));
                of_first
                    .into_iter()
                    .for_each(|of_first| of_first.push(place));
            }
            _ => {
                if let Some(number) = numbers.get_mut(place) {
                    *number = firsts.len();
                }
                firsts.push(name);
                members.push(vec![place]);
            }
        }
    }
    (firsts, members)
}

/// Parts of a request that a service covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Covers {
    /// Rank of the service for the host, the larger the sooner its table is looked at; `None`: the
    /// service is for other hosts.
    pub host: Option<usize>,
    /// True if the path begins with the route.
    pub path: bool,
}

/// Returns what a service with this route and these hosts covers of a request, whatever other
/// services cover. `host`: the authority of the request, with its port.
#[cold]
pub fn covers((route, hosts): (&str, &[String]), host: Option<&[u8]>, path: &[u8]) -> Covers {
    let mut lower = [0; HOST_BYTES];
    let name = host.and_then(|host| normalize(host, &mut lower));
    let name = name.unwrap_or_default();
    let own = hosts.iter().map(String::as_str);
    let ranks = own.filter_map(|own| match own.strip_prefix('*') {
        Some(suffix) if name.len() > suffix.len() && name.ends_with(suffix.as_bytes()) => {
            Some(suffix.len())
        }
        None if own.as_bytes() == name => Some(usize::MAX),
        _ => None,
    });
    let anywhere = hosts.is_empty().then_some(0);
    Covers {
        host: ranks.max().or(anywhere),
        path: RouteTable::new([route].into_iter()).find(path).is_some(),
    }
}

/// Bytes of the longest DNS name, plus a dot.
pub(super) const HOST_BYTES: usize = 254;

/// Returns the name of an authority in lower case, without its port and final dot. Returns `None`
/// if the name is longer than any DNS name.
pub(super) fn normalize<'b>(authority: &[u8], lower: &'b mut [u8; HOST_BYTES]) -> Option<&'b [u8]> {
    let host = super::redirect::without_port(authority);
    let host = host.strip_suffix(b".").unwrap_or(host);
    let room = lower.get_mut(..host.len())?;
    room.copy_from_slice(host);
    room.make_ascii_lowercase();
    Some(room)
}

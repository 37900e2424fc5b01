//! Route tables of each host. The router has one set of them for its routes, the guard another for
//! their loose forms.

use super::route::{Match, RouteTable};
use crate::sort;

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
        match &self.hosts {
            None => self.anywhere.routes.find(path),
            Some(hosts) => hosts
                .find(host, path)
                .or_else(|| self.anywhere.routes.find(path)),
        }
    }

    /// Returns all routes that match this path under this name, the longest first.
    pub(super) fn find_all<'a>(
        &'a self,
        host: &'a [u8],
        path: &'a [u8],
    ) -> impl Iterator<Item = Match> + 'a {
        let mut rest = Some(path);
        core::iter::from_fn(move || {
            let found = self.find(host, rest?)?;
            let taken = path.get(..found.taken).unwrap_or_default();
            let parent = taken.iter().rposition(|&byte| byte == b'/');
            rest = parent.and_then(|end| taken.get(..end));
            Some(found)
        })
    }
}

impl Hosts {
    fn find(&self, host: &[u8], path: &[u8]) -> Option<Match> {
        let found = self
            .exact
            .binary_search_by(|(name, ..)| name.as_ref().cmp(host))
            .ok();
        let exact = found.and_then(|at| self.exact.get(at));
        let covers = |suffix: &[u8]| host.len() > suffix.len() && host.ends_with(suffix);
        let wildcards = self.wildcards.iter().filter(|(suffix, ..)| covers(suffix));
        exact.into_iter().chain(wildcards).find_map(|(_, table)| {
            let found = table.routes.find(path)?;
            Some(Match {
                service: found.service.saturating_add(table.first),
                ..found
            })
        })
    }
}

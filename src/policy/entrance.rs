//! Services that answer on some listeners only: the routing table of each listener.

use core::cell::Cell;

use super::router::{Router, Rule};

/// `listeners` and `clientCertificate` of a service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceEntrance {
    /// Names of the listeners that the service answers on; empty for all.
    pub listeners: Vec<String>,
    /// True if requests are refused whose connection showed no client certificate.
    pub needs_certificate: bool,
}

/// Routing tables of all listeners.
pub struct Routes {
    /// Table of the listeners that no service names.
    common: Router,
    /// Tables of the others; `None` in most gateways.
    named: Option<Box<Named>>,
    /// True if there is one table, and nobody wants a look at requests before they are routed.
    is_single: Cell<bool>,
}

struct Named {
    tables: Vec<Router>,
    /// Address of each listener that has a table, and the place of the table.
    listeners: Vec<(Box<str>, usize)>,
}

impl Routes {
    /// Builds the tables of these services. `entrance` returns what a service says about listeners.
    /// `names`: address and name of each listener that has a name.
    pub fn new<'s>(
        rules: &[Rule<'_>],
        entrance: &dyn Fn(usize) -> Option<&'s ServiceEntrance>,
        names: &[(String, String)],
    ) -> Routes {
        let listeners = |service: usize| {
            entrance(service).map_or(&[][..], |entrance| entrance.listeners.as_slice())
        };
        let mut used = (0..rules.len())
            .flat_map(listeners)
            .map(String::as_str)
            .collect::<Vec<_>>();
        let common = Router::of(rules, &|service| listeners(service).is_empty());
        if used.is_empty() {
            return Routes {
                common,
                named: None,
                is_single: Cell::new(true),
            };
        }
        crate::sort::sort(&mut used);
        used.dedup();
        let table = |name: &&str| {
            Router::of(rules, &|service| {
                let own = listeners(service);
                own.is_empty() || own.iter().any(|own| own == name)
            })
        };
        let place = |(address, name): &(String, String)| {
            let place = used.iter().position(|used| used == name)?;
            Some((address.as_str().into(), place))
        };
        let named = Named {
            tables: used.iter().map(table).collect(),
            listeners: names.iter().filter_map(place).collect(),
        };
        Routes {
            common,
            named: Some(Box::new(named)),
            is_single: Cell::new(false),
        }
    }

    /// Sets whether [`single`](Self::single) is to return nothing, so that its caller looks at each
    /// request before it is routed.
    pub fn watch(&self, is_watched: bool) {
        self.is_single.set(self.named.is_none() && !is_watched);
    }

    /// Returns the only table. `None`: there are several, or requests are looked at first.
    #[inline(always)]
    pub fn single(&self) -> Option<&Router> {
        self.is_single.get().then_some(&self.common)
    }

    /// Returns the table of a listener. `address` returns the address of the listener; it is asked
    /// for only if tables differ.
    #[inline(always)]
    pub fn of<'n>(&self, address: impl FnOnce() -> Option<&'n str>) -> &Router {
        match &self.named {
            None => &self.common,
            Some(named) => named.of(address()).unwrap_or(&self.common),
        }
    }
}

impl Named {
    #[cold]
    fn of(&self, address: Option<&str>) -> Option<&Router> {
        let address = address?;
        let mut listeners = self.listeners.iter();
        let (_, place) = listeners.find(|(known, _)| **known == *address)?;
        self.tables.get(*place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::OPEN;
    use super::*;

    #[test]
    fn a_service_is_found_on_its_listeners_only() {
        let (none, public) = (Vec::new(), vec!["public".to_owned()]);
        let both = vec!["public".to_owned(), "admin".to_owned()];
        let rule = |route| Rule {
            route,
            hosts: &[],
            methods: &[],
            conditions: &[],
            guard: OPEN,
            keeps_slashes: false,
        };
        let services = [
            ("/", none),
            ("/a", public.clone()),
            ("/a/b", both),
            ("/a/c", public),
        ];
        let rules = services
            .iter()
            .map(|(route, _)| rule(*route))
            .collect::<Vec<_>>();
        let entrances = services.iter().map(|(_, listeners)| ServiceEntrance {
            listeners: listeners.clone(),
            needs_certificate: false,
        });
        let entrances = entrances.collect::<Vec<_>>();
        let names = [
            ("0.0.0.0:80", "public"),
            ("[::]:80", "public"),
            ("unix:/x", "admin"),
        ];
        let names = names.map(|(address, name)| (address.to_owned(), name.to_owned()));
        let routes = Routes::new(&rules, &|at| entrances.get(at), &names);
        for (listener, path, expected) in [
            (Some("0.0.0.0:80"), "/a/b/x", 2),
            (Some("[::]:80"), "/a/c", 3),
            (Some("[::]:80"), "/a/d", 1),
            (Some("[::]:80"), "/d", 0),
            (Some("unix:/x"), "/a/b", 2),
            (Some("unix:/x"), "/a/c", 0),
            (Some("unix:/x"), "/a", 0),
            (Some("0.0.0.0:81"), "/a/b", 0),
            (None, "/a/c", 0),
        ] {
            let table = routes.of(|| listener);
            let found = table.resolve(None, path.as_bytes(), b"GET");
            assert_eq!(
                found.map(|found| found.service),
                Ok(expected),
                "{listener:?} {path}"
            );
        }
        let common = Routes::new(&rules, &|_| None, &names);
        let found = common
            .of(|| panic!("not asked for"))
            .resolve(None, b"/a/c", b"GET");
        assert_eq!(found.map(|found| found.service), Ok(3));
    }
}

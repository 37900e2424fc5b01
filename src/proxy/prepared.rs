//! The part of the rules that a helper thread can make.

use super::settings::{Gates, Settings};
use crate::policy::entrance::Routes;
use crate::policy::rewrite::{Rewrite, prefix_line};

/// Settings, and what is compiled of them without the state: a helper thread can do that.
pub struct Prepared {
    /// The settings. Routes, hosts, methods, destinations and providers of the services stay as they
    /// are.
    pub settings: Settings,
    pub(super) routes: Routes,
    pub(super) gates: Option<Box<Gates>>,
    /// Paths at the destinations of all services, one service after the other.
    pub(super) paths: Vec<Paths>,
}

/// Paths at a destination.
pub(super) struct Paths {
    pub(super) rewrite: Rewrite,
    /// `X-Forwarded-Prefix` as a whole line; empty if no prefix is stripped.
    pub(super) prefix_line: Box<[u8]>,
}

impl From<Settings> for Prepared {
    /// Builds the routes table, which takes the largest part of the time that rules take.
    fn from(settings: Settings) -> Prepared {
        let services = settings.services.iter();
        let paths = services.flat_map(|service| {
            service.destinations.iter().map(|destination| Paths {
                rewrite: Rewrite::new(&destination.path, service.strip_prefix),
                prefix_line: prefix_line(&service.route, &destination.path, service.strip_prefix),
            })
        });
        Prepared {
            paths: paths.collect(),
            routes: settings.routes(),
            gates: settings.gates(),
            settings,
        }
    }
}

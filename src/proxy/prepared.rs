//! The part of the rules that a helper thread can make.

use super::settings::{Gates, Settings};
use crate::policy::entrance::Routes;

/// Settings, and what is compiled of them without the state: a helper thread can do that.
pub struct Prepared {
    /// The settings. Routes, hosts, methods and providers of the services stay as they are.
    pub settings: Settings,
    pub(super) routes: Routes,
    pub(super) gates: Option<Box<Gates>>,
}

impl From<Settings> for Prepared {
    /// Builds the routes table, which takes the largest part of the time that rules take.
    fn from(settings: Settings) -> Prepared {
        Prepared {
            routes: settings.routes(),
            gates: settings.gates(),
            settings,
        }
    }
}

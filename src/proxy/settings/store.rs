//! Stores of the counts that gateways share.

use super::target::{Target, TargetIdentity};
use crate::policy::store::session::Account;

/// `stores.NAME`: a server that keeps counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// Name of the store.
    pub name: String,
    /// Index of its server into the targets of the settings.
    pub target: usize,
    /// User, password and database.
    pub account: Account,
    /// `prefix`: start of all its keys.
    pub prefix: String,
    /// `"onFailure": "closed"`: requests are refused while the store is down.
    pub is_closed: bool,
}

impl Store {
    /// Returns its URL without user and password. `targets`: those of its settings.
    pub fn url(&self, targets: &[Target]) -> String {
        let target = targets.get(self.target);
        let tls = target.is_some_and(|target| target.tls);
        let scheme = if tls { "rediss" } else { "redis" };
        let colon = target.is_some_and(|target| target.host.socket().is_some());
        let colon = if colon { ":" } else { "" };
        let (server, database) = (target.map_or("", Target::name), self.account.database);
        format!("{scheme}://{server}{colon}/{database}")
    }

    /// Returns what makes it the same in two configurations. `targets`: those of its settings.
    pub fn identity<'a>(
        &'a self,
        targets: &'a [Target],
    ) -> Option<(TargetIdentity<'a>, &'a Account)> {
        Some((targets.get(self.target)?.identity(), &self.account))
    }
}

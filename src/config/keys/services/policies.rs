//! Policies that stand at the top level as the default of all services, and in a service.

use std::sync::Arc;

use crate::policy::edits::Edits;
use crate::proxy::settings::{HealthCheck, PassiveHealth, Strategy};

use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

use super::{balance, header_edits, health_check, passive_health};

/// Values of `encodedSlashes`, and whether each keeps encoded slashes.
const ENCODED_SLASHES: [(&str, bool); 2] = [("reject", false), ("keep", true)];

/// Values of the policies.
#[derive(Clone)]
pub(crate) struct Policies {
    pub(super) balance: Strategy,
    pub(super) health_check: Option<Arc<HealthCheck>>,
    pub(super) passive_health: Option<PassiveHealth>,
    pub(super) retries: u32,
    pub(super) strip_prefix: bool,
    pub(super) preserve_host: bool,
    pub(super) keeps_encoded_slashes: bool,
    pub(super) edits: header_edits::Inherited,
}

impl Policies {
    /// Reads the policies of the top level, and returns its header edits with them. A missing policy
    /// has the default of the table of keys.
    /// `claims`: headers that providers say about a user.
    pub(crate) fn of_top(
        top: &Object<'_>,
        claims: Vec<String>,
        report: &mut Report<'_>,
    ) -> (Policies, Option<Arc<Edits>>) {
        let policies = Policies {
            balance: balance::strategy(top.get("balance"), report),
            health_check: health_check::compile(top.get("healthCheck"), report).map(Arc::new),
            passive_health: passive_health::compile(top.get("passiveHealth"), report),
            retries: scalars::small_of(top, "retries", report),
            strip_prefix: top.flag("stripPrefix", report),
            preserve_host: top.flag("preserveHost", report),
            keeps_encoded_slashes: encoded_slashes(top.get("encodedSlashes"), report)
                .unwrap_or(false),
            edits: header_edits::Inherited::new(claims).read(top, report),
        };
        let edits = policies.edits.compiled();
        (policies, edits)
    }

    /// Reads the policies of a service; a missing one is that of the top level.
    pub(super) fn of_service(&self, service: &Object<'_>, report: &mut Report<'_>) -> Policies {
        let mut own = self.clone();
        own.edits = self.edits.read(service, report);
        if let Some(place) = service.get("balance") {
            own.balance = balance::strategy(Some(place), report);
        }
        if let Some(place) = service.get("healthCheck") {
            own.health_check = health_check::compile(Some(place), report).map(Arc::new);
        }
        if let Some(place) = service.get("passiveHealth") {
            own.passive_health = passive_health::compile(Some(place), report);
        }
        if let Some(retries) = service
            .get("retries")
            .and_then(|place| scalars::number(place, report))
        {
            own.retries = u32::try_from(retries).unwrap_or(u32::MAX);
        }
        let mut flag = |name: &str| service.get(name).and_then(|place| place.flag(report));
        if let Some(strips) = flag("stripPrefix") {
            own.strip_prefix = strips;
        }
        if let Some(preserves) = flag("preserveHost") {
            own.preserve_host = preserves;
        }
        if let Some(keeps) = encoded_slashes(service.get("encodedSlashes"), report) {
            own.keeps_encoded_slashes = keeps;
        }
        own
    }
}

fn encoded_slashes(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<bool> {
    place?.choice(report, &ENCODED_SLASHES)
}

//! `workers`: number of processes that serve.

use crate::config::model::{Listen, ListenAddress, Workers};
use crate::config::schema::WORKERS_EXPECTED;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::limits::WORKERS_MAX;

/// Reads the number.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    listeners: &[Listen],
    report: &mut Report<'_>,
) -> Workers {
    let Some(place) = place.filter(|place| !place.is_null()) else {
        return Workers::Count(1);
    };
    let count = place.digits().and_then(|digits| digits.parse().ok());
    let workers = match count {
        Some(count) if (1..=WORKERS_MAX).contains(&count) => Workers::Count(count),
        Some(_) => {
            place.fail(report, format!("must be {WORKERS_EXPECTED}"));
            return Workers::Count(1);
        }
        None => match place.text(report) {
            Some("auto") => Workers::Auto,
            Some(_) => {
                place.fail(report, format!("must be {WORKERS_EXPECTED}"));
                return Workers::Count(1);
            }
            None => return Workers::Count(1),
        },
    };
    let mut addresses = listeners.iter().map(|listen| &listen.address);
    let systemd = addresses.find(|address| matches!(address, ListenAddress::Systemd(_)));
    if let Some(address) = systemd.filter(|_| workers != Workers::Count(1)) {
        place.fail_bare(
            report,
            format!(
                "does not go with {address} in \"listen\": the service manager opens one socket, and each worker needs its own; \
                 write the address in its place, or remove \"workers\""
            ),
        );
    }
    workers
}

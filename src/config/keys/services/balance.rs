//! `balance`: which target gets the next request.

use crate::proxy::settings::Strategy;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;

const STRATEGIES: [(&str, Strategy); 4] = [
    ("round-robin", Strategy::RoundRobin),
    ("least-connections", Strategy::LeastConnections),
    ("random-two", Strategy::RandomTwo),
    ("ip-hash", Strategy::IpHash),
];

/// Reads `balance`.
pub(crate) fn strategy(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Strategy {
    place
        .and_then(|place| place.choice(report, &STRATEGIES))
        .unwrap_or_default()
}

/// Returns the word for a strategy.
pub(crate) fn word(strategy: Strategy) -> &'static str {
    STRATEGIES
        .iter()
        .find(|(_, other)| *other == strategy)
        .map_or("", |(word, _)| word)
}

//! Metrics of the process: the part of a scrape that the engine does not know.

use super::facts::{Facts, ListenerFacts, ProcessFacts};
use crate::buffer::total;
use crate::config::{Config, ListenKind};
use crate::observe::metrics::exposition::{Exposition, Family, Format, Kind, Label};
use crate::proxy::command::Refused;
use crate::proxy::metrics;

/// Values of the families.
struct Values<'a> {
    facts: &'a Facts,
    process: ProcessFacts,
}

struct Part {
    family: Family,
    write: fn(&Values<'_>, &mut Exposition<'_>),
}

const fn part(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    write: fn(&Values<'_>, &mut Exposition<'_>),
) -> Part {
    let family = Family { name, kind, help };
    Part { family, write }
}

/// All families, in their order.
static PARTS: [Part; 18] = [
    part(
        "tollgate_build_info",
        Kind::Info,
        "Version of the gateway.",
        |_, out| out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1),
    ),
    part(
        "tollgate_config_last_reload_successful",
        Kind::Gauge,
        "1 if the last reading of the configuration was good, the one at the start included.",
        |values, out| out.sample(&[], u64::from(values.facts.config.errors.is_none())),
    ),
    part(
        "tollgate_config_last_reload_success_timestamp_seconds",
        Kind::Gauge,
        "Time at which the running configuration was read.",
        |values, out| out.seconds(&[], values.facts.config.read_at.as_millis()),
    ),
    part(
        "tollgate_config_reloads_total",
        Kind::Counter,
        "Reloads of the configuration, failed ones included.",
        |values, out| out.sample(&[], values.facts.config.reloads),
    ),
    part(
        "tollgate_log_lines_dropped_total",
        Kind::Counter,
        "Lines of the access log that were dropped, because stdout takes too few.",
        |values, out| out.sample(&[], values.facts.dropped_lines),
    ),
    part(
        "tollgate_loop_turn_max_seconds",
        Kind::Gauge,
        "Longest turn of the event loop in the last one to two minutes; all connections wait in it.",
        |values, out| out.seconds(&[], values.facts.longest_turn.as_millis()),
    ),
    part(
        "tollgate_memory_bound_bytes",
        Kind::Gauge,
        "Most memory that the gateway can use with its configuration.",
        |values, out| out.sample(&[], values.facts.memory_bound as u64),
    ),
    part(
        "tollgate_connections",
        Kind::Gauge,
        "Connections of clients that are open, by what they do.",
        |values, out| {
            for listener in &values.facts.listeners {
                let open = listener.open;
                for (state, count) in [
                    ("active", open.active),
                    ("idle", open.idle),
                    ("handshake", open.handshake),
                ] {
                    out.sample(&[listener.label(), ("state", state)], count);
                }
            }
        },
    ),
    part(
        "tollgate_connections_total",
        Kind::CounterBeside,
        "Connections of clients that were accepted, those that were then refused included.",
        |values, out| {
            for listener in &values.facts.listeners {
                out.sample(&[listener.label()], listener.counters.accepted);
            }
        },
    ),
    part(
        "tollgate_connections_refused_total",
        Kind::Counter,
        "Connections of clients that got a 503 or 403 or were closed at once.",
        |values, out| {
            for listener in &values.facts.listeners {
                let counts = Refused::ALL.iter().zip(listener.counters.refused);
                for (reason, count) in counts {
                    out.sample(&[listener.label(), ("reason", reason.as_str())], count);
                }
            }
        },
    ),
    part(
        "tollgate_tls_handshakes_total",
        Kind::Counter,
        "TLS handshakes with clients that were finished.",
        |values, out| {
            for listener in &values.facts.listeners {
                let versions = ["1.2", "1.3"].iter().zip(listener.counters.handshakes);
                for (version, counts) in versions {
                    for (resumed, count) in ["false", "true"].iter().zip(counts) {
                        if count > 0 {
                            let labels =
                                [listener.label(), ("version", version), ("resumed", resumed)];
                            out.sample(&labels, count);
                        }
                    }
                }
            }
        },
    ),
    part(
        "tollgate_tls_handshake_failures_total",
        Kind::Counter,
        "TLS handshakes with clients that failed, plain HTTP to a TLS listener included.",
        |values, out| {
            for listener in &values.facts.listeners {
                out.sample(&[listener.label()], listener.counters.failed_handshakes);
            }
        },
    ),
    part(
        "tollgate_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "End of the certificate in a file.",
        |values, out| {
            for (name, end) in &values.facts.certificates {
                out.seconds(&[("name", name)], end.as_millis());
            }
        },
    ),
    part(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time, in user and in kernel mode.",
        |values, out| out.seconds(&[], values.process.cpu_centis.saturating_mul(10)),
    ),
    part(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory.",
        |values, out| out.sample(&[], values.process.resident_bytes),
    ),
    part(
        "process_open_fds",
        Kind::Gauge,
        "Open descriptors.",
        |values, out| out.sample(&[], values.process.descriptors),
    ),
    part(
        "process_max_fds",
        Kind::Gauge,
        "Limit of open descriptors.",
        |values, out| out.sample(&[], values.process.descriptors_max),
    ),
    part(
        "process_start_time_seconds",
        Kind::Gauge,
        "Time at which the gateway started.",
        |values, out| out.seconds(&[], values.facts.started.as_millis()),
    ),
];

impl ListenerFacts {
    fn label(&self) -> Label<'_> {
        ("listener", &self.address)
    }
}

/// Describes the number of series, as a line of `tollgate check`; empty without an admin listener.
pub fn describe(config: &Config) -> String {
    if config.admin.addresses.is_empty() {
        return String::new();
    }
    // Each listener has three states, a total, the reasons, four handshakes and the failed ones.
    let of_listener = Refused::ALL.len().saturating_add(9);
    let of_listeners = config.listeners.len().saturating_mul(of_listener);
    let certificates = config.listeners.iter().map(|listen| match &listen.kind {
        ListenKind::Tls(files) => files.certificates.len().saturating_add(files.ordered.len()),
        ListenKind::Plain | ListenKind::Redirect => 0,
    });
    let series = total(certificates.chain([
        config.client_certificates().count(),
        metrics::series(&config.settings),
        PARTS.len(),
        of_listeners,
    ]));
    format!("{:10} at most {series} series\n", "metrics")
}

/// Appends the metrics of the process.
pub(super) fn write(facts: &Facts, format: Format, out: &mut Vec<u8>) {
    let process = ProcessFacts::read();
    let values = Values { facts, process };
    let mut out = Exposition::new(format, out);
    for part in &PARTS {
        out.family(&part.family, true);
        (part.write)(&values, &mut out);
    }
}

//! The most memory the gateway takes for its configuration: what `tollgate check` says, and a test holds it to.
//!
//! ```text
//! connections x (buffers + state + TLS)  +  those turned away x their reply  +  tables  +  rate tables
//!   + logs  +  kept buffers  +  routes  +  a quarter for the allocator
//! ```
//!
//! It is a bound on what comes on top of the program and the configuration it has read, some 2 MB as it starts. Each term
//! stands where what it bounds stands: the engine's in [`crate::proxy::memory`], TLS' in [`crate::transport::tls`]. Storage
//! that doubles as it grows is counted at its full capacity, with the old one beside it. The quarter is what allocators round
//! sizes up by (musl's classes are up to 25 % apart). Reading the configuration takes more for a moment, and is over before the
//! first connection comes. What the kernel holds in socket buffers is not the process's and not in
//! it; neither are pages of the binary that are shared with its file.

use crate::buffer::total;
use crate::config::{Config, ListenKind};
use crate::limits::{
    ACCESS_LOG_BYTES, ADDRESSES_PER_TARGET, LOG_LINE_BYTES, LOG_QUEUE_LINES, RESOLVER_THREADS,
    SCRATCH_BYTES,
};
use crate::proxy::command::Side;
use crate::proxy::memory::{self, grown};
use crate::transport::{client, tls};

use super::io::connection::Connection;
use super::io::socket::Socket;

/// Three helper threads, those that look up names, and the loop: their stacks, as far as they are ever touched.
const STACKS_BYTES: usize = (4 + RESOLVER_THREADS) * (256 << 10);
/// A chain of certificates and its key, as they are and once more while they are read again.
const CERTIFICATE_BYTES: usize = 2 * (64 << 10);
/// An event as the kernel writes it, padded.
const EVENT_BYTES: usize = 16;

/// The bound and what it is made of.
pub struct Bound {
    /// All of it, in bytes.
    pub bytes: usize,
    parts: Vec<Part>,
}

struct Part {
    what: String,
    bytes: usize,
    /// How often, and how much each, where it is so much for each of many.
    each: Option<(usize, usize)>,
}

/// The bound for a configuration.
pub fn bound(config: &Config) -> Bound {
    let settings = &config.settings;
    let (served, surplus) = (settings.limits.connections, settings.limits.overflow);
    // What only providers are asked at has as many connections as there may be questions.
    let asked = settings
        .auth
        .iter()
        .filter_map(|provider| Some(provider.kind.endpoint()?.target))
        .collect::<Vec<_>>();
    let session = |encrypts| if encrypts { tls::CONNECTION_BYTES } else { 0 };
    let listening = config
        .listeners
        .iter()
        .filter_map(|listen| match &listen.kind {
            ListenKind::Tls(files) => Some(files.certificates.len()),
            ListenKind::Plain | ListenKind::Redirect => None,
        });
    let client = session(listening.clone().next().is_some());
    let encrypts = |index: usize| settings.targets.get(index).is_some_and(|target| target.tls);
    let upstream = session(
        (0..settings.targets.len()).any(|index| encrypts(index) && !asked.contains(&index)),
    );
    let asking = session(asked.iter().any(|&index| encrypts(index)))
        .saturating_mul(memory::auth::subrequests(settings));
    let connection = [
        memory::buffers_of_connection(settings),
        memory::state_of_connection(settings),
        client,
        upstream,
    ];
    let connection = total(connection);
    let away = total([memory::buffers_of_overflow(settings), client]);
    let mut parts = vec![
        Part::each(served, "connections", connection),
        Part::each(surplus, "turned away", away),
        Part::whole(
            "tables of connections",
            total([memory::tables(settings), loop_tables(config)]),
        ),
    ];
    let denied = memory::denied(settings);
    if denied > 0 {
        parts.push(Part::each(
            denied,
            "denied",
            memory::buffers_of_denied(settings),
        ));
    }
    let subrequests = memory::subrequests(settings);
    if subrequests > 0 {
        parts.push(Part::each(
            subrequests,
            "health checks",
            memory::state_of_subrequest(settings).saturating_add(upstream),
        ));
    }
    let rates = memory::rate_limits(settings)
        .map(memory::rate_table)
        .collect::<Vec<_>>();
    if !rates.is_empty() {
        let what = if rates.len() == 1 {
            "rate table".to_owned()
        } else {
            format!("{} rate tables", rates.len())
        };
        parts.push(Part::whole(&what, total(rates)));
    }
    let names = settings
        .targets
        .len()
        .saturating_mul(ADDRESSES_PER_TARGET)
        .saturating_mul(64);
    let sessions = settings
        .targets
        .iter()
        .filter(|target| target.tls)
        .count()
        .saturating_mul(client::SESSIONS_BYTES);
    let certificates = listening.sum::<usize>();
    if certificates > 0 {
        parts.push(Part::whole(
            "certificates",
            certificates.saturating_mul(CERTIFICATE_BYTES),
        ));
    }
    parts.push(Part::whole("logs", logs()));
    match memory::auth::whole(settings).saturating_add(asking) {
        0 => {}
        bytes => parts.push(Part::whole("authentication", bytes)),
    }
    parts.push(Part::whole(
        "routes and targets",
        total([memory::routes(settings), names, sessions]),
    ));
    parts.push(Part::whole(
        "buffers kept",
        total([memory::buffers_kept(settings), SCRATCH_BYTES, STACKS_BYTES]),
    ));
    let sum = total(parts.iter().map(|part| part.bytes));
    parts.push(Part::whole("allocator", sum / 4));
    Bound {
        bytes: sum.saturating_add(sum / 4),
        parts,
    }
}

/// What the loop keeps of each connection: the sockets, the queues, the events.
fn loop_tables(config: &Config) -> usize {
    let settings = &config.settings;
    let (served, all) = (settings.limits.connections, memory::clients(settings));
    let sockets = size_of::<Option<Connection<Socket>>>();
    let both = total([served, all]);
    total([
        grown(all, sockets),
        grown(total([served, memory::subrequests(settings)]), sockets),
        // A connection that closed and the one in its place may both stand in a queue.
        grown(both.saturating_mul(2), size_of::<Side>()).saturating_mul(2),
        grown(both.saturating_mul(2).max(1024), EVENT_BYTES),
    ])
}

/// The lines in the engine and on their way out, in four vectors that change places; messages to the operator.
fn logs() -> usize {
    let lines = grown(ACCESS_LOG_BYTES.saturating_add(memory::access_line()), 1).saturating_mul(3);
    let message = LOG_LINE_BYTES.saturating_mul(2).saturating_add(256);
    total([
        memory::access_lines(),
        lines,
        LOG_QUEUE_LINES.saturating_mul(message),
    ])
}

impl Part {
    fn each(count: usize, what: &str, bytes: usize) -> Part {
        Part {
            what: what.to_owned(),
            bytes: count.saturating_mul(bytes),
            each: Some((count, bytes)),
        }
    }

    fn whole(what: &str, bytes: usize) -> Part {
        Part {
            what: what.to_owned(),
            bytes,
            each: None,
        }
    }

    fn describe(&self) -> String {
        let sum = format!("{} {}", self.what, show(self.bytes));
        self.each.map_or(sum.clone(), |(count, bytes)| {
            format!("{sum} ({count} x {})", show(bytes))
        })
    }
}

/// The lines of `tollgate check`.
pub fn describe(config: &Config) -> String {
    let Bound { bytes, parts } = bound(config);
    let listed = parts.iter().map(Part::describe).collect::<Vec<_>>();
    format!(
        "{:10} at most {} beside the program: {}\n",
        "memory",
        show(bytes),
        listed.join(", ")
    )
}

/// Rounded up.
fn show(bytes: usize) -> String {
    match bytes.div_ceil(1 << 20) {
        0 | 1 => format!("{} KB", bytes.div_ceil(1 << 10)),
        megabytes => format!("{megabytes} MB"),
    }
}

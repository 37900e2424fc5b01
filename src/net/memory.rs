//! Upper bound of the gateway's memory for a configuration: `tollgate check` prints it, and a test
//! compares it with the process.
//!
//! ```text
//! connections x (buffers + state + TLS)  +  those turned away x their reply  +  tables  +  rate tables
//!   + logs  +  kept buffers  +  routes  +  a quarter for the allocator
//! ```
//!
//! The bound is on top of the program and the configuration it has read, some 2 MB at the start.
//! Each term stands beside what it bounds: the engine's in [`crate::proxy::memory`], those of TLS
//! in [`crate::transport::tls`]. Storage that doubles as it grows is counted at its full capacity,
//! with the old storage beside it. The quarter is for allocators that round sizes up (musl's
//! classes are up to 25 % apart). Reading the configuration takes more for a moment, before the
//! first connection. Out of scope: socket buffers, which the kernel holds, and pages of the binary,
//! which its file shares.

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

/// Stacks of three helper threads, the DNS threads and the loop, as far as they are ever touched.
const STACKS_BYTES: usize = (4 + RESOLVER_THREADS) * (256 << 10);
/// A certificate chain and its key, twice: while they are read again, the old ones stay.
const CERTIFICATE_BYTES: usize = 2 * (64 << 10);
/// Size of an event of the kernel, padded.
const EVENT_BYTES: usize = 16;

/// The bound and its parts.
pub struct Bound {
    /// Sum of all parts, in bytes.
    pub bytes: usize,
    parts: Vec<Part>,
}

struct Part {
    what: String,
    bytes: usize,
    /// Count and bytes of each, for a part of many equal ones.
    each: Option<(usize, usize)>,
}

/// Computes the bound for a configuration.
pub fn bound(config: &Config) -> Bound {
    let settings = &config.settings;
    let (served, surplus) = (settings.limits.connections, settings.limits.overflow);
    // A target of providers alone has as many connections as there can be subrequests.
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

/// Tables of the event loop: connections, queues, events.
fn loop_tables(config: &Config) -> usize {
    let settings = &config.settings;
    let (served, all) = (settings.limits.connections, memory::clients(settings));
    let sockets = size_of::<Option<Connection<Socket>>>();
    let both = total([served, all]);
    total([
        grown(all, sockets),
        grown(total([served, memory::subrequests(settings)]), sockets),
        // A closed connection and its successor may both stand in a queue.
        grown(both.saturating_mul(2), size_of::<Side>()).saturating_mul(2),
        grown(both.saturating_mul(2).max(1024), EVENT_BYTES),
    ])
}

/// Access log lines in the engine and in the writer, in four vectors that change places, and the
/// queue of operator messages.
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

/// Describes the bound, as a line of `tollgate check`.
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

/// Formats bytes, rounded up.
fn show(bytes: usize) -> String {
    match bytes.div_ceil(1 << 20) {
        0 | 1 => format!("{} KB", bytes.div_ceil(1 << 10)),
        megabytes => format!("{megabytes} MB"),
    }
}

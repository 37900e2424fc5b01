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
//! first connection. An upgrade has one piece of the state on its way at a time. Out of scope: socket buffers, which the kernel holds, and pages of the binary,
//! which its file shares.

use crate::buffer::total;
use crate::config::{Config, Listen, ListenKind};
use crate::limits::{
    ACCESS_LOG_BYTES, ADDRESSES_PER_TARGET, ADMIN_CONNECTIONS, LOG_LINE_BYTES, LOG_QUEUE_LINES,
    RESOLVER_THREADS, SCRATCH_BYTES,
};
use crate::policy::store::counts::Counts;
use crate::proxy::command::Side;
use crate::proxy::memory::{self, grown};
use crate::proxy::metrics::Scrape;
use crate::proxy::settings::Settings;
use crate::transport::{client, tls};

use super::admin;
use super::io::connection::Connection;
use super::io::socket::Socket;
use super::upgrade;

/// Stacks of three helper threads, the DNS threads and the loop, as far as they are ever touched.
const STACKS_BYTES: usize = (4 + RESOLVER_THREADS) * (256 << 10);
/// A certificate chain and its key, twice: while they are read again, the old ones stay.
const CERTIFICATE_BYTES: usize = 2 * (64 << 10);
/// Size of an event of the kernel, padded.
const EVENT_BYTES: usize = 16;

/// Connections with a request in flight that the usual amount of memory is stated for.
const BUSY_CONNECTIONS: usize = 256;
/// Memory of the program without connections: pages of its file and its own data. The static binary
/// for x86-64 was measured with 2.7 to 3.2 MB.
const PROGRAM_BYTES: usize = 3 << 20;
/// Memory of a connection with a usual request in flight, both sides. The static binary was measured
/// with 1.8 KB, for responses of 8 KB.
const BUSY_BYTES: usize = 2 << 10;
/// Further memory of such a connection for each side that uses TLS; 3 KB were measured.
const BUSY_TLS_BYTES: usize = 6 << 10;
/// Memory of a service, and of a target. The static binary was measured with 1,219 and 982 bytes, for files of
/// 50,000.
const SERVICE_BYTES: usize = 1280;
const TARGET_BYTES: usize = 1 << 10;
/// Memory of a certificate chain and its key in use. The static binary was measured with 2 KB, for chains
/// of one certificate.
const CHAIN_BYTES: usize = 6 << 10;

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

/// TLS bytes of a connection to each kind of peer; 0 where the configuration has no TLS.
struct Sessions {
    client: usize,
    upstream: usize,
    /// All connections to targets of providers alone. Such a target has as many connections as there
    /// can be subrequests.
    providers: usize,
}

impl Sessions {
    fn new(config: &Config) -> Sessions {
        let settings = &config.settings;
        let asked = settings
            .auth
            .iter()
            .filter_map(|provider| Some(provider.kind.endpoint()?.target))
            .collect::<Vec<_>>();
        let session = |encrypts| if encrypts { tls::CONNECTION_BYTES } else { 0 };
        let encrypts = |index: usize| settings.targets.get(index).is_some_and(|target| target.tls);
        let mut others = (0..settings.targets.len()).filter(|index| !asked.contains(index));
        let is_tls = |listen: &Listen| matches!(listen.kind, ListenKind::Tls(_));
        Sessions {
            client: session(config.listeners.iter().any(is_tls)),
            upstream: session(others.any(encrypts)),
            providers: session(asked.iter().any(|&index| encrypts(index)))
                .saturating_mul(memory::auth::subrequests(settings)),
        }
    }
}

/// Computes the bound for a configuration.
pub fn bound(config: &Config) -> Bound {
    let settings = &config.settings;
    let sessions = Sessions::new(config);
    let mut parts = connection_parts(config, &sessions);
    parts.extend(rate_part(settings));
    parts.extend(certificate_part(config));
    parts.push(Part::whole("logs", logs()));
    if memory::decisions(settings) > 0 {
        let bytes = memory::decisions(settings);
        parts.push(Part::whole("last decisions", bytes));
    }
    if memory::records(settings) > 0 {
        let bytes = memory::records(settings);
        parts.push(Part::whole("flight recorder", bytes));
    }
    let authentication = memory::auth::whole(settings).saturating_add(sessions.providers);
    if authentication > 0 {
        parts.push(Part::whole("authentication", authentication));
    }
    if !settings.stores.is_empty() {
        parts.push(Part::whole("stores", memory::stores(settings)));
    }
    if !config.admin.addresses.is_empty() {
        let scrapes = Scrape::bytes(settings).saturating_mul(ADMIN_CONNECTIONS);
        let bytes = total([admin::BYTES, scrapes]);
        parts.push(Part::whole("admin listener", bytes));
    }
    parts.push(target_part(settings));
    parts.push(Part::whole(
        "buffers kept",
        total([
            memory::buffers_kept(settings),
            SCRATCH_BYTES,
            STACKS_BYTES,
            upgrade::PIECE_BYTES,
        ]),
    ));
    let sum = total(parts.iter().map(|part| part.bytes));
    parts.push(Part::whole("allocator", sum / 4));
    Bound {
        bytes: sum.saturating_add(sum / 4),
        parts,
    }
}

/// Parts that grow with the number of connections.
fn connection_parts(config: &Config, sessions: &Sessions) -> Vec<Part> {
    let settings = &config.settings;
    let connection = total([
        memory::buffers_of_connection(settings),
        memory::state_of_connection(settings),
        sessions.client,
        sessions.upstream,
    ]);
    let away = total([memory::buffers_of_overflow(settings), sessions.client]);
    let mut parts = vec![
        Part::each(settings.limits.connections, "connections", connection),
        Part::each(settings.limits.overflow, "turned away", away),
        Part::whole(
            "tables of connections",
            total([memory::tables(settings), loop_tables(config)]),
        ),
    ];
    let denied = memory::denied(settings);
    if denied > 0 {
        let bytes = memory::buffers_of_denied(settings);
        parts.push(Part::each(denied, "denied", bytes));
    }
    let subrequests = memory::subrequests(settings);
    if subrequests > 0 {
        let bytes = memory::state_of_subrequest(settings).saturating_add(sessions.upstream);
        parts.push(Part::each(subrequests, "health checks", bytes));
    }
    parts
}

/// Tables of the rate limits, if there are any.
fn rate_part(settings: &Settings) -> Option<Part> {
    let rates = memory::rate_limits(settings)
        .map(memory::rate_table)
        .collect::<Vec<_>>();
    let what = match rates.len() {
        0 => return None,
        1 => "rate table".to_owned(),
        count => format!("{count} rate tables"),
    };
    Some(Part::whole(&what, total(rates)))
}

/// Returns the number of certificates of the listeners.
fn certificates(config: &Config) -> usize {
    let listeners = config.listeners.iter();
    let counts = listeners.map(|listen| match &listen.kind {
        ListenKind::Tls(files) => files.certificates.len(),
        ListenKind::Plain | ListenKind::Redirect => 0,
    });
    total(counts)
}

/// Certificates of the listeners, if there are any.
fn certificate_part(config: &Config) -> Option<Part> {
    let bytes = certificates(config).saturating_mul(CERTIFICATE_BYTES);
    (bytes > 0).then(|| Part::whole("certificates", bytes))
}

/// Routes, addresses of the targets, and their TLS sessions.
fn target_part(settings: &Settings) -> Part {
    let addresses = settings
        .targets
        .len()
        .saturating_mul(ADDRESSES_PER_TARGET)
        .saturating_mul(64);
    let parts = [
        memory::routes(settings),
        addresses,
        target_sessions(settings),
    ];
    Part::whole("routes and targets", total(parts))
}

/// TLS sessions that are kept for the next connections to targets.
fn target_sessions(settings: &Settings) -> usize {
    let targets = settings.targets.iter();
    let encrypted = targets.filter(|target| target.tls);
    encrypted.count().saturating_mul(client::SESSIONS_BYTES)
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

/// Returns the number of busy connections, and an estimate of all the memory that the gateway needs
/// for them, in bytes.
fn usual(config: &Config) -> (usize, usize) {
    let count = BUSY_CONNECTIONS.min(config.settings.limits.connections);
    let sessions = Sessions::new(config);
    let sides = [sessions.client, sessions.upstream];
    let encrypted = sides.iter().filter(|bytes| **bytes > 0).count();
    let connection = BUSY_TLS_BYTES
        .saturating_mul(encrypted)
        .saturating_add(BUSY_BYTES);
    let settings = &config.settings;
    let parts = [
        PROGRAM_BYTES,
        settings.services.len().saturating_mul(SERVICE_BYTES),
        settings.targets.len().saturating_mul(TARGET_BYTES),
        target_sessions(settings),
        certificates(config).saturating_mul(CHAIN_BYTES),
        count.saturating_mul(connection),
    ];
    (count, total(parts))
}

/// Describes the usual amount and the bound, as a line of `tollgate check`.
pub fn describe(config: &Config) -> String {
    let workers = super::worker_count(config);
    if workers > 1 {
        let mut worker = config.clone();
        worker.become_worker(workers);
        let (count, bytes) = usual(&worker);
        let most = bound(&worker).bytes;
        let counts = Counts::bytes(config.shared_clients());
        let all = most.saturating_mul(workers).saturating_add(counts);
        return format!(
            "{:10} {workers} workers need about {} for {count} busy connections each; {} at the most, {} for each and {} for \
             their shared limits\n",
            "memory",
            show(bytes.saturating_mul(workers)),
            show(all),
            show(most),
            show(counts)
        );
    }
    let (count, bytes) = usual(config);
    let usual = show(bytes);
    let Bound { bytes, parts } = bound(config);
    let listed = parts.iter().map(Part::describe).collect::<Vec<_>>();
    format!(
        "{:10} needs about {usual} for {count} busy connections; {} at the most: {}\n",
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

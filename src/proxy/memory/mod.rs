//! The most memory the engine can come to hold, from its settings alone.
//!
//! Everything it keeps is one of three kinds: so much a client connection, so much an upstream
//! connection, or a table with a bound of its own. There are never more upstream connections than
//! client connections may be served.
//!
//! The buffers of a connection are counted in `buffers.rs`, the header policies of services in
//! `headers.rs`.

mod buffers;
mod headers;
mod rates;

use std::sync::Arc;

use self::buffers::ADDED;
pub use self::buffers::{
    buffers_kept, buffers_of_connection, buffers_of_denied, buffers_of_overflow,
};
use self::rates::{own_limits, rate_lines};
pub use self::rates::{rate_limits, rate_table};
use super::auth::SuspendedRequest;
pub use super::auth::memory as auth;
use super::bounds::Bounds;
pub use super::bounds::grown;
use super::client::{Client, Subject};
use super::command::{Command, Side};
use super::context::TimerKey;
use super::decisions;
use super::exchange::Exchanges;
use super::failures::REPORTS_BYTES;
use super::ids::{ClientId, EndpointId, OfClient, OfEndpoint, OfUpstream, UpstreamId};
use super::log_entry::AccessLogEntry;
use super::recorder::Recording;
use super::rules::{COPIES_MAX, ServiceRules};
use super::settings::{Destination, ExchangeTimeouts, Service, Settings, Target, TargetHost};
use super::step::Step;
pub use super::stores::memory::stores;
use super::subrequest::memory::buffers_of_subrequest;
pub use super::subrequest::memory::state_of_subrequest;
use super::upstream::{Attempts, Endpoint, HealthNotes, ServiceState, TargetState, Upstream};
use crate::buffer::total;
use crate::limits::{
    ACCESS_FIELD_BYTES, ACCESS_FIELDS_RETAINED_BYTES, ACCESS_LOG_BYTES, ADDRESSES_PER_TARGET,
    AUTH_SUBJECT_BYTES, CHECKS_AT_ONCE, CLIENT_SUBJECT_BYTES, CONFIG_PATH_BYTES_MAX,
    DENIED_CONNECTIONS, EDITIONS_MAX, HEADER_VARIABLE_BYTES, IDLE_UPSTREAMS_PER_TARGET,
    PASSIVE_CLIENTS, RECORDINGS, RECORDS_WAITING, REMINDERS_PER_TIMER, REQUEST_ID_BYTES,
};
use crate::observe::dampen::Dampener;
use crate::observe::metrics::counters::Counters;
use crate::policy::accounts::Accounts;
use crate::policy::edits::Edits;
use crate::policy::request_id::LINE_BYTES;
use crate::policy::rewrite::PREFIX;
use crate::slab::Slab;
use crate::upstream::group::Group;
use crate::wheel::Wheel;

/// Bytes of one entry in the tree of the connections that are kept for one client each.
const PRIVATE_BYTES: usize = 3 * size_of::<((u32, u32), UpstreamId)>();

/// Bytes of one connection that races against another.
const RACE_BYTES: usize = 3 * size_of::<(u32, Vec<UpstreamId>)>() + 4 * size_of::<UpstreamId>();

/// Bytes of one entry in the tree of the services whose first 429 was reported.
const LIMITED_BYTES: usize = 3 * size_of::<Option<u32>>();

/// Connections of denied clients that there may be at once.
pub fn denied(settings: &Settings) -> usize {
    let denies = !settings.allow.is_empty() || !settings.deny.is_empty();
    if denies {
        DENIED_CONNECTIONS.min(settings.limits.overflow)
    } else {
        0
    }
}

/// Bytes of a served connection beside its buffers: its two ends, its exchange, what the access log
/// will say of it.
pub fn state_of_connection(settings: &Settings) -> usize {
    total([
        // The exchange's `Origin`; the log's fields of this request, or what the last one left.
        size_of::<AccessLogEntry>(),
        tried(settings),
        settings.limits.head_bytes,
        LINE_BYTES,
        AUTH_SUBJECT_BYTES,
        HEADER_VARIABLE_BYTES,
        CLIENT_SUBJECT_BYTES,
        size_of::<Subject>(),
        auth::held(settings),
        ServiceRules::remnant_bytes(settings),
        ACCESS_FIELDS_RETAINED_BYTES,
    ])
}

/// Bytes of the list of endpoints where an exchange failed: each retry may try all addresses of a
/// name.
fn tried(settings: &Settings) -> usize {
    let most = settings.services.iter().map(|service| {
        let is_address_failover = (service.retries as usize)
            .saturating_add(1)
            .saturating_mul(ADDRESSES_PER_TARGET);
        if service.has_group(&settings.targets) {
            is_address_failover.min(endpoints_of(service, settings))
        } else {
            0
        }
    });
    most.max().filter(|most| *most > 0).map_or(0, |most| {
        total([Attempts::TRIED_BYTES, grown(most, size_of::<EndpointId>())])
    })
}

/// Questions of the gateway's own that may be under way at once: the checks of all endpoints, up to
/// a limit.
pub fn subrequests(settings: &Settings) -> usize {
    let checked = settings
        .services
        .iter()
        .filter(|service| service.health_check.is_some());
    total(checked.map(|service| endpoints_of(service, settings))).min(CHECKS_AT_ONCE)
}

/// The most endpoints that a service can have.
fn endpoints_of(service: &Service, settings: &Settings) -> usize {
    let targets = service
        .destinations
        .iter()
        .filter_map(|destination| settings.targets.get(destination.target));
    total(targets.map(addresses_of))
}

fn addresses_of(target: &Target) -> usize {
    if matches!(target.host, TargetHost::Name(_)) {
        ADDRESSES_PER_TARGET
    } else {
        1
    }
}

/// Bytes of the tables that hold connections, exchanges at rest, commands and timers.
pub fn tables(settings: &Settings) -> usize {
    let (served, all) = (settings.limits.connections, clients(settings));
    total([
        // A new one is there before the idle one that it replaces is gone.
        grown(all.saturating_add(1), Slab::<Client, OfClient>::SLOT_BYTES),
        Accounts::bytes(served.saturating_add(1)),
        grown(
            served.saturating_add(1),
            Slab::<Upstream, OfUpstream>::SLOT_BYTES,
        ),
        grown(served, Exchanges::SLOT_BYTES),
        grown(all, size_of::<Box<AccessLogEntry>>()),
        all.saturating_mul(size_of::<AccessLogEntry>()),
        // What is to be visited when the wheel is swept, or at a stop.
        grown(all, size_of::<ClientId>()),
        grown(served, size_of::<UpstreamId>()),
        // What is kept for one client each: a node of the tree is half full at least.
        served.saturating_mul(PRIVATE_BYTES),
        // The same for those that race, each at worst with a vector of its own.
        served.saturating_mul(RACE_BYTES),
        // At a stop each connection may be closed, attended and reported in one call, and each idle
        // one closed.
        grown(all.saturating_mul(4), size_of::<Command>()),
        grown(all.saturating_mul(2), size_of::<Side>()),
        // All requests may wait for one lookup and be resumed by one event; all clients may go in one.
        grown(served, size_of::<Step>()),
        grown(served, size_of::<(ClientId, Box<SuspendedRequest>)>()),
        grown(all, size_of::<ClientId>()),
        Wheel::<TimerKey>::bytes(reminders_max(settings).saturating_add(all)),
        Dampener::BYTES,
        // Services whose first 429 was reported: a node of the tree is half full at least.
        settings
            .services
            .len()
            .saturating_add(1)
            .saturating_mul(LIMITED_BYTES),
        REPORTS_BYTES,
    ])
}

/// Bytes of the decisions that are kept for `tollgate why`, if requests have ids.
pub fn decisions(settings: &Settings) -> usize {
    match settings.request_id {
        Some(_) => decisions::BYTES,
        None => 0,
    }
}

/// Bytes of the flight recorder: recordings in flight, those that wait for their thread, and the text
/// of one, with its copies.
pub fn records(settings: &Settings) -> usize {
    settings.record.as_ref().map_or(0, |rule| {
        let count = RECORDS_WAITING.saturating_mul(2).saturating_add(RECORDINGS);
        let text = rule.bytes.saturating_mul(8);
        total([Recording::bound(rule.bytes).saturating_mul(count), text])
    })
}

/// Bytes of the header policies and edits of a service that are not those of the top level, and of
/// the lines of its targets. All copies of an edition share them.
fn own_headers(service: &Service, settings: &Settings) -> usize {
    let is_shared = |edits: &Arc<Edits>| {
        let top = settings.edits.as_ref();
        top.is_some_and(|top| Arc::ptr_eq(top, edits))
    };
    let own = service.edits.as_ref().filter(|edits| !is_shared(edits));
    let edits = own.map_or(0, |edits| edits.bytes());
    let prefix = total([PREFIX.len(), service.route.len()]);
    let prefixes = service.destinations.len().saturating_mul(prefix);
    let lines = total([edits, prefixes]).saturating_mul(EDITIONS_MAX.saturating_add(2));
    total([lines, headers::held(service), headers::sticky(service)])
}

/// Bytes that all copies of a service in one edition share, for all editions.
fn shared(service: &Service) -> usize {
    let reply = service.reply.as_ref().map_or(0, |reply| reply.bytes());
    let gate = service.gate.as_ref().map_or(0, |gate| gate.bytes());
    // Counted once more where a service shares them with the top level.
    let pages = service.error_pages.as_ref();
    let pages = pages.map_or(0, |pages| pages.bytes());
    // Counted once more, too.
    let timeouts = size_of::<ExchangeTimeouts>();
    let shared = total([reply, gate, pages, timeouts, size_of::<usize>()]);
    shared.saturating_mul(EDITIONS_MAX.saturating_add(2))
}

/// Bytes of the routes, the targets and who is connected to them or waits for their names.
pub fn routes(settings: &Settings) -> usize {
    let service = |service: &Service| {
        let paths = service
            .destinations
            .iter()
            .map(|to| to.path.len().saturating_add(size_of::<Destination>()));
        let lines = rate_lines(service).saturating_add(own_limits(service));
        let row = total(paths.chain([texts(service), size_of::<Service>(), lines]));
        let members = if service.has_group(&settings.targets) {
            endpoints_of(service, settings)
        } else {
            0
        };
        let clients = service
            .passive_health
            .map_or(0, |rule| PASSIVE_CLIENTS.min(rule.failures as usize));
        let clients = if clients == 0 {
            0
        } else {
            grown(clients, Group::<EndpointId>::CLIENT_BYTES)
        };
        let members = total([
            grown(1, Counters::SERVICE_ROW_BYTES),
            Counters::SERVICE_BYTES,
            grown(members, HealthNotes::NOTE_BYTES),
            grown(members, Group::<EndpointId>::MEMBER_BYTES),
            members.saturating_mul(clients),
        ]);
        total([
            row.saturating_mul(COPIES_MAX),
            own_headers(service, settings),
            size_of::<ServiceState>(),
            shared(service),
            members,
        ])
    };
    let idle = settings.limits.connections.min(IDLE_UPSTREAMS_PER_TARGET);
    let waiting = waiting_max(settings).saturating_add(1);
    let target = |target: &Target| {
        total([
            size_of::<TargetState>(),
            size_of::<Target>()
                .saturating_add(target.origin().len().saturating_mul(2))
                .saturating_mul(COPIES_MAX),
            grown(ADDRESSES_PER_TARGET, size_of::<core::net::SocketAddr>()).saturating_mul(2),
            // What may idle is shared by the addresses; a name that had one and then many had most
            // of it twice.
            grown(idle, size_of::<UpstreamId>()).saturating_mul(addresses_of(target).min(2)),
            grown(
                addresses_of(target),
                Slab::<Endpoint, OfEndpoint>::SLOT_BYTES,
            ),
            grown(addresses_of(target), size_of::<EndpointId>()).saturating_mul(2),
            grown(waiting, size_of::<UpstreamId>()),
        ])
    };
    let services = settings.services.iter().map(|one| service(one));
    let targets = settings.targets.iter().map(target);
    total(services.chain(targets).chain([named_tables(settings)]))
}

/// Bytes of the texts of a service: name, route, and what its health check asks for.
fn texts(service: &Service) -> usize {
    let name = service.name.as_ref().map_or(0, |name| name.len());
    let check = service.health_check.as_ref().map_or(0, |check| {
        let host = check.host.as_ref().map_or(0, String::len);
        check.path.len().saturating_add(host)
    });
    total([name, service.route.len(), check])
}

/// Bytes of the routing tables of single listeners, and of the names that services have for them.
fn named_tables(settings: &Settings) -> usize {
    let services = settings.services.iter();
    let names = services.clone().flat_map(|service| service.listeners());
    let names = names.map(|name| name.len().saturating_add(size_of::<String>()));
    let names = total(names);
    if names == 0 {
        return 0;
    }
    let table =
        total(services.map(|service| size_of::<Service>().saturating_add(service.route.len())));
    let tables = table.saturating_mul(settings.listener_names.len());
    let tables = tables.saturating_mul(EDITIONS_MAX.saturating_add(2));
    tables.saturating_add(names.saturating_mul(COPIES_MAX))
}

/// Bytes of the lines of the access log that the engine holds before the loop takes them.
pub fn access_lines() -> usize {
    grown(ACCESS_LOG_BYTES.saturating_add(access_line()), 1)
}

/// The longest line: every byte of four fields escaped, and the names of a service.
pub fn access_line() -> usize {
    const ESCAPED: usize = b"\\u0000".len();
    let fields = 5 * ACCESS_FIELD_BYTES + REQUEST_ID_BYTES + AUTH_SUBJECT_BYTES;
    total([fields, CONFIG_PATH_BYTES_MAX, 4 * ADDED]).saturating_mul(ESCAPED)
}

/// Client connections there can be, those that are turned away included.
pub fn clients(settings: &Settings) -> usize {
    settings
        .limits
        .connections
        .saturating_add(settings.limits.overflow)
}

/// Reminders in the wheel above which the stale ones are swept out.
fn reminders_max(settings: &Settings) -> usize {
    let questions = total([subrequests(settings), auth::subrequests(settings)]);
    let fixed = [
        settings.targets.len(),
        settings.services.len(),
        settings.auth.len(),
        settings.stores.len(),
        questions,
        2,
    ];
    let timers = fixed
        .into_iter()
        .chain([clients(settings), settings.limits.connections]);
    total(timers).saturating_mul(REMINDERS_PER_TIMER)
}

/// Exchanges remembered as waiting for one target's name; above it those that gave up are
/// forgotten.
fn waiting_max(settings: &Settings) -> usize {
    settings.limits.connections.saturating_mul(2)
}

/// Computes the bounds that the engine looks at while it runs.
pub(super) fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        served: buffers_of_connection(settings),
        overflow: buffers_of_overflow(settings),
        denied: buffers_of_denied(settings),
        reminders: reminders_max(settings),
        waiting: waiting_max(settings),
        upstreams: settings.limits.connections,
        subrequests: total([subrequests(settings), auth::subrequests(settings)]),
        of_subrequest: buffers_of_subrequest(settings).max(auth::buffers_of_subrequest(settings)),
        stores: settings.stores.len(),
        connections: settings.limits.connections,
        clients: clients(settings),
        denied_clients: denied(settings),
    }
}

//! The engine: the whole gateway without a socket, a clock or a thread.
//!
//! Something happens and the caller says so (`handle_*`), with the time; then it drains [`Proxy::poll_command`] to `None`
//! and asks each side of [`Proxy::poll_ready`] for its windows: [`Proxy::room`] (bytes may be read into it; empty
//! means: do not read) and [`Proxy::pending`] (bytes to write; empty means: nothing). Interest is derived from the two,
//! never set by hand. What need not be seen may go by without being read ([`Proxy::splice_offer`]). The same calls drive production, tests, fuzzing and simulation.
//!
//! `arrivals` says which clients get a connection, `intake` turns a request head into an exchange or a reply, `auth` says who is let in, `serve` moves bytes, `balancing`
//! chooses where a request goes, `endpoints` knows where that is, `links` has the upstream connections, `ends` everything that
//! ends before its time, `answer` what the gateway says itself, `tunnel` what follows a 101, `inquiry` the requests of the
//! gateway's own.

mod arrivals;
mod auth;
mod balancing;
mod client;
pub mod command;
mod endpoints;
mod exchange;
mod failures;
mod forward;
mod links;
mod local_reply;
mod log_entry;
pub mod memory;
mod outbox;
mod race;
mod reason;
mod relay;
mod request;
mod request_body;
mod response;
mod retarget;
pub mod settings;
pub mod splice;
mod subrequest;
mod teardown;
mod tunnel;
mod upstream;

use std::collections::{BTreeMap, VecDeque};

use self::arrivals::IdleClients;
use self::auth::Auth;
use self::balancing::ServiceGroup;
use self::client::{Client, Phase};
use self::command::{ClientId, Command, Fault, Side, UpstreamId, VerificationId};
use self::endpoints::{Endpoint, TargetState};
use self::exchange::Exchange;
use self::exchange::{Reply as ReplyState, Upload};
use self::log_entry::AccessLogEntry;
use self::settings::{AccessLog, ServiceRateLimit, Settings};
use self::subrequest::Subrequest;
use self::tunnel::Ended;
use self::upstream::{Owner, Stage, Upstream};
use crate::buffer::BufferPool;
use crate::http::error::RequestFault;
use crate::http::head::{FieldTable, HeadLimits};
use crate::limits::{
    ACCESS_LOG_BYTES, FIELDS_MAX, RATE_IPV6_PREFIX_DEFAULT, READ_BYTES, RESPONSE_HEAD_BYTES,
};
use crate::observe::access::{AccessFormat, Outcome, render};
use crate::observe::dampen::Dampener;
use crate::observe::date::DateCache;
use crate::policy::accounts::Accounts;
use crate::policy::addresses::AddressRules;
use crate::policy::cors::Cors;
use crate::policy::forward::TrustedProxies;
use crate::policy::rate::RateTable;
use crate::policy::rewrite::Rewrite;
use crate::policy::router::Router;
use crate::policy::security::SecurityBlock;
use crate::slab::Slab;
use crate::time::{Duration, Instant, UnixTime};
use crate::wheel::{Timer, Wheel};

/// Whose timer a reminder of the wheel is about.
#[derive(Clone, Copy)]
enum TimerKey {
    Down(ClientId),
    Up(UpstreamId),
    Subrequest(subrequest::SubrequestId),
    /// The checks of a service, by its index.
    Group(u32),
    /// Its index among the settings' providers.
    Provider(u32),
    /// Its index: a target has a row in the settings, and there are fewer than a file has bytes.
    Target(u32),
    /// Counts of messages that were not told.
    Unsaid,
}

/// The gateway.
pub struct Proxy {
    settings: Settings,
    policy: Policy,
    rates: Rates,
    clients: Slab<Client>,
    upstreams: Slab<Upstream>,
    subrequests: Slab<Subrequest>,
    auth: Auth,
    targets: Vec<TargetState>,
    endpoints: Slab<Endpoint>,
    /// One for each service that has something to choose or to check.
    groups: Vec<Option<Box<ServiceGroup>>>,
    /// Idle upstream connections that are kept for one client each, under the slots of both.
    privates: BTreeMap<(u32, u32), UpstreamId>,
    /// Connections that race against another one, under its slot, in the order in which they began.
    races: BTreeMap<u32, Vec<UpstreamId>>,
    pool: BufferPool,
    wheel: Wheel<TimerKey>,
    commands: VecDeque<Command>,
    /// Sides that may have become worth reading or writing.
    ready: VecDeque<Side>,
    /// Scratch of the head parser, reused by each.
    table: FieldTable,
    /// Exchanges and drafts that ended, for the next ones: a request allocates nothing.
    #[expect(
        clippy::vec_box,
        reason = "a phase holds its exchange in a box; the boxes themselves are what is reused"
    )]
    free_exchanges: Vec<Box<Exchange>>,
    #[expect(clippy::vec_box, reason = "the same")]
    free_entries: Vec<Box<AccessLogEntry>>,
    /// Connections of each client.
    accounts: Accounts,
    /// Client connections between two requests.
    idle: IdleClients,
    /// Connections beyond `limits.connections` that are being turned away.
    overflow: usize,
    /// Those of them that wait for their 403.
    denied: usize,
    bounds: memory::Bounds,
    access_log: AccessLogState,
    /// Keeps floods of one failure from the operator.
    dampener: Dampener,
    /// When counts of what was kept from the operator are due.
    unsaid_timer: Timer,
    draining: bool,
    /// What a test heard of its questions.
    #[cfg(test)]
    answers: Vec<(
        subrequest::Requester,
        Result<subrequest::SubResponse, Outcome>,
        Instant,
    )>,
}

/// What was compiled from the settings and never changes.
struct Policy {
    routes: Router,
    /// For each service one for each of its targets.
    rewrites: Vec<Vec<Rewrite>>,
    cors: Option<Cors>,
    security: Option<SecurityBlock>,
    trusted: TrustedProxies,
    addresses: AddressRules,
    request_limits: HeadLimits,
}

/// The rate tables: the top-level one and those of services with their own.
struct Rates {
    tables: Vec<RateTable>,
    default: Option<usize>,
    by_service: Vec<Option<usize>>,
    /// Credentials that are not authentic, where there is anybody to verify them.
    failures: Option<usize>,
}

/// The access log's lines on their way out, and the dates in them.
struct AccessLogState {
    format: AccessFormat,
    lines: Vec<u8>,
    /// Lines that found no room.
    dropped: u64,
    dates: DateCache,
    /// The time of day at `Instant::ZERO`.
    origin: u64,
}

/// What a response head of an upstream may measure.
const RESPONSE_LIMITS: HeadLimits = HeadLimits {
    head_bytes: RESPONSE_HEAD_BYTES,
    request_line_bytes: RESPONSE_HEAD_BYTES,
    fields: FIELDS_MAX,
};

impl Proxy {
    /// A gateway at its start: nothing is connected, names are about to be looked up.
    ///
    /// `seed` keys the hash of client addresses, so that nobody can aim at one slot of the rate table.
    pub fn new(settings: Settings, seed: u64) -> Proxy {
        let rates = Rates::new(&settings, seed);
        let limits = HeadLimits {
            head_bytes: settings.limits.head_bytes,
            request_line_bytes: settings.limits.request_line_bytes,
            fields: settings.limits.fields,
        };
        let policy = Policy {
            routes: settings.router(),
            rewrites: settings
                .services
                .iter()
                .map(|service| {
                    let paths = service
                        .destinations
                        .iter()
                        .map(|destination| destination.path.as_str());
                    paths
                        .map(|path| Rewrite::new(path, service.strip_prefix))
                        .collect()
                })
                .collect(),
            cors: settings.cors.as_ref().map(Cors::new),
            security: settings.security_headers.as_ref().map(SecurityBlock::new),
            trusted: TrustedProxies::new(&settings.trusted_proxies),
            addresses: AddressRules::new(&settings.allow, &settings.deny),
            request_limits: limits,
        };
        let format = match settings.access_log {
            AccessLog::Combined => AccessFormat::Combined,
            AccessLog::Json => AccessFormat::Json,
            AccessLog::Off => AccessFormat::Off,
        };
        let bounds = memory::Bounds::new(&settings);
        let ipv6_prefix = settings
            .rate_limit
            .as_ref()
            .map_or(RATE_IPV6_PREFIX_DEFAULT, |limit| limit.ipv6_prefix);
        let mut proxy = Proxy {
            targets: settings.targets.iter().map(TargetState::new).collect(),
            auth: Auth::new(&settings, seed),
            endpoints: Slab::new(),
            groups: (settings.services.iter().zip(seed..))
                .map(|(service, seed)| ServiceGroup::of(service, &settings, seed))
                .collect(),
            privates: BTreeMap::new(),
            races: BTreeMap::new(),
            settings,
            policy,
            rates,
            clients: Slab::new(),
            upstreams: Slab::new(),
            subrequests: Slab::new(),
            pool: BufferPool::new(),
            wheel: Wheel::new(),
            commands: VecDeque::new(),
            ready: VecDeque::new(),
            table: FieldTable::default(),
            free_exchanges: Vec::new(),
            free_entries: Vec::new(),
            accounts: Accounts::new(ipv6_prefix, seed),
            idle: IdleClients::default(),
            overflow: 0,
            denied: 0,
            bounds,
            access_log: AccessLogState {
                format,
                lines: Vec::new(),
                dropped: 0,
                dates: DateCache::new(),
                origin: 0,
            },
            dampener: Dampener::default(),
            unsaid_timer: Timer::default(),
            draining: false,
            #[cfg(test)]
            answers: Vec::new(),
        };
        proxy.find_targets();
        proxy
    }

    // --- something happened ---

    /// The time of day is `wall` when the monotonic clock says `now`; say so at the start and once a second.
    pub fn handle_clock(&mut self, now: Instant, wall: UnixTime) {
        self.access_log.origin = wall.as_millis().saturating_sub(now.as_millis());
        self.start_fetching(now);
    }

    /// The TLS handshake of a client is complete. `subject`: whom its certificate is for, as text of visible ASCII, where one
    /// was asked for; upstreams see it as `X-Client-Subject`.
    pub fn handle_secured(&mut self, id: ClientId, subject: Option<Box<[u8]>>, now: Instant) {
        if let Some(client) = self.clients.get_mut(id) {
            client.subject = subject;
        }
        self.arm_client(id, self.settings.timeouts.head, now);
    }

    /// A client on a TLS listener speaks plain HTTP: these are its first bytes, and from here on its connection is a plain one.
    /// It is told (RFC 9110 15.5.1), and hears no more.
    pub fn handle_not_tls(&mut self, id: ClientId, bytes: &[u8], now: Instant) {
        self.refuse_malformed(id, bytes, RequestFault::PlainOnTls.into(), now);
    }

    /// The connection that a `Dial` asked for is there; TLS: the handshake is complete and the certificate good.
    pub fn handle_connected(&mut self, id: UpstreamId, now: Instant) {
        self.link_open(id, now);
    }

    /// `n` bytes were put into `room(side)`; zero: nothing came after all. Follows every call of `room` that gave space.
    pub fn handle_received(&mut self, side: Side, n: usize, now: Instant) {
        match side {
            Side::Client(id) => self.downstream_received(id, n, now),
            Side::Upstream(id) => self.upstream_received(id, n, now),
        }
    }

    /// `n` bytes of `pending(side)` were written.
    pub fn handle_sent(&mut self, side: Side, n: usize, now: Instant) {
        match side {
            Side::Client(id) => self.downstream_sent(id, n, now),
            Side::Upstream(id) => self.upstream_sent(id, n, now),
        }
    }

    /// The peer ended its direction in order (FIN; TLS: close_notify), and everything before that was read.
    pub fn handle_end(&mut self, side: Side, now: Instant) {
        match side {
            Side::Client(id) => self.downstream_ended(id, now),
            Side::Upstream(id) => self.upstream_ended(id, now),
        }
    }

    /// The peer has ended its direction, although bytes may wait in the socket that nobody wants to read yet.
    pub fn handle_hangup(&mut self, side: Side, now: Instant) {
        if let Side::Client(id) = side {
            self.downstream_hung_up(id, now);
        }
    }

    /// The connection is dead (RST), although bytes that came before may wait in the socket, where nobody wants to read them yet. A
    /// client's request ends at once: nobody is there to be answered. Of an upstream what it has said is still read.
    pub fn handle_reset(&mut self, side: Side, now: Instant) {
        match side {
            Side::Client(id) => self.downstream_failed(id, now),
            Side::Upstream(id) => self.upstream_failed(id, Fault::SendFailed, None, now),
        }
    }

    /// The connection failed. After any fault but `SendFailed`, and a client's `Tls`, the side is gone.
    pub fn handle_fault(&mut self, side: Side, fault: Fault, now: Instant) {
        match side {
            Side::Client(id) if fault == Fault::Tls => self.downstream_not_secured(id, now),
            Side::Client(id) => self.downstream_failed(id, now),
            Side::Upstream(id) => self.upstream_failed(id, fault, None, now),
        }
    }

    /// The same for a connection to an upstream, with what the system or TLS said of it, for the logs.
    pub fn handle_explained_fault(
        &mut self,
        side: Side,
        fault: Fault,
        why: Box<str>,
        now: Instant,
    ) {
        match side {
            Side::Client(_) => self.handle_fault(side, fault, now),
            Side::Upstream(id) => self.upstream_failed(id, fault, Some(why), now),
        }
    }

    /// The lookup of a target's name ended; an empty answer means that it failed.
    pub fn handle_resolved(
        &mut self,
        target: usize,
        addresses: &[core::net::SocketAddr],
        now: Instant,
    ) {
        self.target_resolved(target, addresses, now);
    }

    /// A password or a signature was verified: whether it is right.
    pub fn handle_verified(&mut self, verification: VerificationId, good: bool, now: Instant) {
        self.credential_verified(verification, good, now);
    }

    /// Time passed: call at or after what [`poll_timeout`](Self::poll_timeout) said.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(reminder) = self.wheel.pop_due(now) {
            let timer = match reminder.item {
                TimerKey::Down(id) => self.clients.get_mut(id).map(|client| &mut client.timer),
                TimerKey::Up(id) => self.upstreams.get_mut(id).map(|up| &mut up.timer),
                TimerKey::Subrequest(id) => self
                    .subrequests
                    .get_mut(id)
                    .map(|subrequest| &mut subrequest.timer),
                TimerKey::Group(service) => self
                    .groups
                    .get_mut(service as usize)
                    .and_then(Option::as_mut)
                    .map(|group| &mut group.timer),
                TimerKey::Target(target) => self
                    .targets
                    .get_mut(target as usize)
                    .map(|target| &mut target.timer),
                TimerKey::Provider(index) => self
                    .auth
                    .providers
                    .get_mut(index as usize)
                    .map(|state| &mut state.timer),
                TimerKey::Unsaid => Some(&mut self.unsaid_timer),
            };
            let Some(timer) = timer else { continue };
            if !self.wheel.fire(timer, reminder, now) {
                continue;
            }
            match reminder.item {
                TimerKey::Down(id) => self.downstream_due(id, now),
                TimerKey::Up(id) => self.upstream_due(id, now),
                TimerKey::Subrequest(id) => self.subrequest_due(id, now),
                TimerKey::Group(service) => self.check_endpoints(service as usize, now),
                TimerKey::Target(target) => self.look_up(target as usize),
                TimerKey::Provider(index) => drop(self.fetch_keys(index as usize, now)),
                TimerKey::Unsaid => self.tell_unsaid(now),
            }
        }
        for table in &mut self.rates.tables {
            table.expire(now);
        }
    }

    /// The gateway stops: what is idle closes, what is in flight finishes, and its connections close then.
    pub fn handle_shutdown(&mut self) {
        self.draining = true;
        for id in self.clients.keys().collect::<Vec<_>>() {
            let idle = (self.clients.get(id)).is_some_and(|client| {
                matches!(
                    client.phase,
                    Phase::Idle { .. } | Phase::ReadHead { begun: false, .. }
                )
            });
            if idle
                && self
                    .clients
                    .get(id)
                    .is_some_and(|client| client.outbox.is_sent())
            {
                self.close_client(id, false);
            }
        }
        self.close_all_idle();
    }

    /// No more waiting: what is in flight is cut.
    pub fn handle_abort(&mut self, now: Instant) {
        for id in self.clients.keys().collect::<Vec<_>>() {
            self.drop_client(id, Outcome::Shutdown, true, now);
        }
        self.drop_subrequests();
        self.close_all_idle();
    }

    /// The process ran out of descriptors: frees the one that is needed least. False when there is none.
    pub fn handle_exhausted(&mut self) -> bool {
        self.shed_idle() || self.shed_idle_client()
    }

    // --- windows ---

    /// Where bytes from this side may be put now; empty: do not read. Follow up with `handle_received`.
    pub fn room(&mut self, side: Side) -> &mut [u8] {
        if !self.wants(side) {
            return &mut [];
        }
        let needed = READ_BYTES.max(match side {
            Side::Client(_) => self.policy.request_limits.head_bytes.saturating_add(1),
            Side::Upstream(_) => 0,
        });
        let inbox = match side {
            Side::Client(id) => self.clients.get_mut(id).map(|client| &mut client.inbox),
            Side::Upstream(id) => self.upstreams.get_mut(id).map(|up| &mut up.inbox),
        };
        let Some(inbox) = inbox else { return &mut [] };
        // A head that comes in many pieces is moved when its storage is full, and not for each of them.
        if inbox.is_empty() || inbox.room().is_empty() {
            self.pool.reserve(inbox, needed);
        }
        inbox.room()
    }

    /// Bytes to write to this side, in two parts that belong together; both empty: nothing.
    pub fn pending(&self, side: Side) -> (&[u8], &[u8]) {
        match side {
            Side::Client(id) => self
                .clients
                .get(id)
                .map_or((&[], &[]), |client| client.outbox.pending()),
            Side::Upstream(id) => match self.upstreams.get(id) {
                Some(up) if up.stage == Stage::Open && !up.write_failed => up.outbox.pending(),
                _ => (&[], &[]),
            },
        }
    }

    /// Whether [`pending`](Self::pending) may have bytes. Where it says no, there are none.
    #[inline]
    pub fn has_pending(&self, side: Side) -> bool {
        match side {
            Side::Client(id) => self
                .clients
                .get(id)
                .is_some_and(|client| client.outbox.has_bytes()),
            Side::Upstream(id) => self
                .upstreams
                .get(id)
                .is_some_and(|up| up.outbox.has_bytes()),
        }
    }

    fn wants(&self, side: Side) -> bool {
        match side {
            Side::Client(id) => self
                .clients
                .get(id)
                .is_some_and(|client| self.wants_from_client(client)),
            Side::Upstream(id) => self
                .upstreams
                .get(id)
                .is_some_and(|up| self.wants_from_upstream(up)),
        }
    }

    fn wants_from_client(&self, client: &Client) -> bool {
        match &client.phase {
            Phase::Idle { .. } | Phase::ReadHead { .. } => client.outbox.is_sent(),
            Phase::Relay(exchange) => match exchange.upload {
                Upload::Gather(_) => client.inbox.is_empty(),
                Upload::Copy(_) => client.inbox.is_empty() && self.link_accepts(exchange),
                Upload::NotStarted | Upload::Done | Upload::Abandoned => false,
            },
            Phase::Tunnel(exchange) => {
                exchange.client_ended == Ended::No
                    && client.inbox.is_empty()
                    && self.link_accepts(exchange)
            }
            Phase::Reply { drain, .. } => drain.is_some() && !client.ended,
            Phase::Suspended(_) => false,
            Phase::Linger { .. } => true,
            Phase::Closed => false,
        }
    }

    fn link_accepts(&self, exchange: &Exchange) -> bool {
        exchange
            .link
            .and_then(|link| self.upstreams.get(link.id))
            .is_some_and(|up| up.outbox.accepts())
    }

    fn wants_from_upstream(&self, up: &Upstream) -> bool {
        if up.stage != Stage::Open {
            return false;
        }
        // An idle connection is read so that its end, or bytes nobody asked for, are noticed.
        let client = match up.owner {
            Owner::Idle | Owner::Private(_) | Owner::Subrequest(_) => return true,
            Owner::Exchange(id) => self.clients.get(id),
            Owner::Contender(_) => None,
        };
        let Some(client) = client else { return false };
        match &client.phase {
            Phase::Relay(exchange) => match exchange.reply {
                ReplyState::Await => true,
                ReplyState::Copy { .. } => up.inbox.is_empty() && client.outbox.accepts(),
                ReplyState::Done => false,
            },
            Phase::Tunnel(exchange) => {
                exchange.upstream_ended == Ended::No
                    && up.inbox.is_empty()
                    && client.outbox.accepts()
            }
            _ => false,
        }
    }

    // --- what next ---

    /// The next thing to do; drain to `None` after every `handle_*`.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether [`poll_command`](Self::poll_command) has anything to say.
    #[inline]
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// The next side to look at again: it may have become worth reading ([`room`](Self::room)) or writing
    /// ([`pending`](Self::pending)). Drain the commands first, or it may be one that is not connected yet.
    #[inline]
    pub fn poll_ready(&mut self) -> Option<Side> {
        let side = self.ready.pop_front()?;
        match side {
            Side::Client(id) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.queued = false;
                }
            }
            Side::Upstream(id) => {
                if let Some(up) = self.upstreams.get_mut(id) {
                    up.queued = false;
                }
            }
        }
        Some(side)
    }

    /// Whether [`poll_ready`](Self::poll_ready) has a side.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When `handle_timeout` is to be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let windows = self.rates.tables.iter().filter_map(RateTable::next_expiry);
        self.wheel.next_due().into_iter().chain(windows).min()
    }

    /// Lines of the access log that wait to be written; the caller takes what it can.
    pub fn access_lines(&mut self) -> &mut Vec<u8> {
        &mut self.access_log.lines
    }

    /// Lines that found no room since this was asked last: more than [`ACCESS_LOG_BYTES`] were waiting for the caller.
    pub fn take_dropped_lines(&mut self) -> u64 {
        core::mem::take(&mut self.access_log.dropped)
    }

    /// Whether no further connection is taken, not even to tell it 503. New ones are best left waiting in the kernel.
    pub fn is_full(&self) -> bool {
        self.served() >= self.settings.limits.connections
            && self.overflow >= self.settings.limits.overflow
            && self.idle.is_empty()
    }

    /// Client connections there are now.
    pub fn downstreams(&self) -> usize {
        self.clients.len()
    }

    /// Upstream connections there are now, idle ones included.
    pub fn upstreams(&self) -> usize {
        self.upstreams.len()
    }

    /// Buffers in use now; zero when nothing is in flight (invariant I8).
    pub fn buffers_lent(&self) -> usize {
        self.pool.lent()
    }

    /// Bytes of storage in the buffers that are in use now; [`memory`] says how many it can be.
    pub fn buffer_bytes_lent(&self) -> usize {
        self.pool.lent_bytes()
    }

    // --- shared by the parts ---

    fn mark_client_ready(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !core::mem::replace(&mut client.queued, true)
        {
            self.ready.push_back(Side::Client(id));
        }
    }

    fn mark_upstream_ready(&mut self, id: UpstreamId) {
        if let Some(up) = self.upstreams.get_mut(id)
            && !core::mem::replace(&mut up.queued, true)
        {
            self.ready.push_back(Side::Upstream(id));
        }
    }

    /// Sets a client connection's one deadline; `None` turns it off.
    fn arm_client(&mut self, id: ClientId, span: Option<Duration>, now: Instant) {
        if self.wheel.len() > self.bounds.reminders {
            self.sweep_reminders();
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        match span {
            Some(span) => self
                .wheel
                .arm(&mut client.timer, TimerKey::Down(id), now.after(span)),
            None => client.timer.clear(),
        }
    }

    /// Leaves one reminder for each timer. What closed connections and earlier deadlines left in the wheel would be gone
    /// within its span anyway; until then a flood of short connections must not fill it.
    fn sweep_reminders(&mut self) {
        self.wheel.clear();
        for id in self.clients.keys().collect::<Vec<_>>() {
            if let Some(client) = self.clients.get_mut(id) {
                self.wheel.renew(&mut client.timer, TimerKey::Down(id));
            }
        }
        for id in self.upstreams.keys().collect::<Vec<_>>() {
            if let Some(up) = self.upstreams.get_mut(id) {
                self.wheel.renew(&mut up.timer, TimerKey::Up(id));
            }
        }
        for id in self.subrequests.keys().collect::<Vec<_>>() {
            if let Some(subrequest) = self.subrequests.get_mut(id) {
                self.wheel
                    .renew(&mut subrequest.timer, TimerKey::Subrequest(id));
            }
        }
        for (index, state) in self.auth.providers.iter_mut().enumerate() {
            self.wheel
                .renew(&mut state.timer, TimerKey::Provider(index as u32));
        }
        for (service, group) in self.groups.iter_mut().enumerate() {
            if let Some(group) = group {
                self.wheel
                    .renew(&mut group.timer, TimerKey::Group(service as u32));
            }
        }
        for (target, state) in self.targets.iter_mut().enumerate() {
            self.wheel
                .renew(&mut state.timer, TimerKey::Target(target as u32));
        }
        self.wheel.renew(&mut self.unsaid_timer, TimerKey::Unsaid);
    }

    /// Lets a draft rest until the next request, without what an unusual one made it grow to.
    fn recycle(&mut self, mut log_entry: Box<AccessLogEntry>) {
        log_entry.shrink();
        self.free_entries.push(log_entry);
    }

    fn wall(&self, now: Instant) -> UnixTime {
        UnixTime::from_millis(self.access_log.origin.saturating_add(now.as_millis()))
    }

    /// Writes a request's line into the access log.
    fn record(&mut self, log_entry: &AccessLogEntry, end: Outcome, now: Instant) {
        if self.access_log.lines.len() > ACCESS_LOG_BYTES {
            self.access_log.dropped = self.access_log.dropped.saturating_add(1);
            return;
        }
        let service = log_entry
            .service
            .and_then(|index| self.settings.services.get(index as usize));
        let target = log_entry
            .sent_to
            .and_then(|index| self.settings.targets.get(index as usize));
        let wall = self.wall(now);
        let record = log_entry.record(
            self.access_log.format == AccessFormat::Json,
            end,
            service.map(|service| service.route.as_str()),
            target.map(|target| target.authority.as_str()),
            now,
            wall,
        );
        render(
            &record,
            self.access_log.format,
            &mut self.access_log.dates,
            &mut self.access_log.lines,
        );
    }
}

impl Rates {
    fn new(settings: &Settings, seed: u64) -> Rates {
        let mut tables = Vec::new();
        let mut add = |limit: &crate::policy::rate::RateLimit| {
            let index = tables.len();
            tables.push(RateTable::new(limit.clone(), seed));
            index
        };
        let default = settings.rate_limit.as_ref().map(&mut add);
        let failures = settings.counted_failures().map(&mut add);
        let by_service = settings
            .services
            .iter()
            .map(|service| match &service.rate_limit {
                ServiceRateLimit::Inherited => default,
                ServiceRateLimit::Off => None,
                ServiceRateLimit::Own(limit) => Some(add(limit)),
            })
            .collect();
        Rates {
            tables,
            default,
            by_service,
            failures,
        }
    }
}

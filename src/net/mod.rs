//!
//! The gateway's side towards the system: sockets, clock, threads and signals.
//!
//! The event loop moves bytes and runs the engine's commands; it makes no decisions.
//!
//! ```text
//! run ──> event_loop ──> acceptor  admin  commands  shutdown  access_log  run queue, pump (io/)
//!                           │          └── sockets (io/), messages, helper threads (workers/)
//!                           └── listener
//! ```

mod acceptor;
mod access_log;
pub mod admin;
pub mod clock;
mod commands;
pub mod event_loop;
pub mod inherited;
pub mod io;
pub mod listener;
pub mod memory;
pub mod messages;
pub mod notify;
mod shutdown;
pub mod signals;
pub mod slow_iterations;
mod token;
pub mod workers;

use std::time::Duration;

use self::admin::AdminListener;
use self::event_loop::{EventLoop, Parts, Stopped};
use self::inherited::Inherited;
use self::listener::Listener;
use self::messages::Messages;
use self::notify::{Environment, Notifier};
use self::workers::access_log::AccessLogWriter;
use self::workers::certificate_watcher::WatchedListener;
use self::workers::verifier::Kinds;
use crate::buffer::total;
use crate::config::{AdminAccess, Listen, ListenKind, LogLevel};
use crate::limits::{ADMIN_CONNECTIONS, DESCRIPTORS_RESERVED, PIPES_MAX};
use crate::policy::auth::provider::Kind;
use crate::proxy::Proxy;
use crate::proxy::command::ListenerKind;
use crate::proxy::memory::{auth, subrequests};
use crate::proxy::settings::Settings;
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;

/// Error that keeps the gateway from starting or running.
#[derive(Debug)]
pub enum RunError {
    /// A listener could not be bound. The text says which and what to do.
    Bind(String),
    /// A certificate has become invalid. The text says which and why.
    Certificate(String),
    /// Another error of the kernel.
    Io(std::io::Error),
}

/// Arguments of [`run`].
pub struct Setup {
    /// Settings of the engine.
    pub settings: Settings,
    /// Listeners; at least one.
    pub listeners: Vec<Listen>,
    /// Sockets that another process has opened.
    pub inherited: Inherited,
    /// TLS settings of the targets, by index.
    pub tls: Vec<Option<ClientTls>>,
    /// Access to the admin listener.
    pub admin: AdminAccess,
    /// Log level of the configuration.
    pub log_level: LogLevel,
}

/// Binds, logs `Gateway is running on port N`, and serves until a signal ends it.
///
/// # Errors
/// A listener cannot be bound, a certificate has become unreadable since it was checked, or the
/// kernel has no epoll instance, thread or descriptor left.
pub fn run(mut setup: Setup) -> Result<Stopped, RunError> {
    let certificates = certificates(&setup.listeners)?;
    let addresses = setup.listeners.iter().map(|listen| &listen.address);
    let bound = setup
        .inherited
        .bind_all(addresses)
        .map_err(|error| RunError::Bind(error.to_string()))?;
    setup.inherited.refuse_rest().map_err(RunError::Bind)?;
    let admin = setup.admin.addresses.iter().map(AdminListener::bind);
    let admin = admin
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| RunError::Bind(error.to_string()))?;
    let pipes = fit_connections(&mut setup.settings, admin.len());
    let names = bound
        .iter()
        .zip(&setup.listeners)
        .map(name)
        .collect::<Vec<_>>();
    setup.settings.https_port = certificates
        .iter()
        .find_map(|watched| bound.get(watched.listener)?.port());
    let listeners = bound
        .into_iter()
        .zip(setup.listeners.iter().map(entrance))
        .collect();
    let parts = Parts {
        messages: Messages::default(),
        verifies: verifies(&setup.settings),
        shutdown: setup.settings.timeouts.shutdown,
        proxy: Proxy::new(setup.settings, seed()),
        tls: setup.tls,
        listeners,
        admin,
        admin_access: setup.admin,
        log_level: setup.log_level,
        certificates,
        pipes,
        access: AccessLogWriter::stdout().map_err(RunError::Io)?,
        notifier: Notifier::new(&Environment::of_process()),
    };
    let mut event_loop = EventLoop::new(parts).map_err(RunError::Io)?;
    for name in names {
        log::info!("Gateway is running on {name}");
    }
    let stopped = event_loop.run().map_err(RunError::Io)?;
    event_loop.into_access().close(Duration::from_secs(1));
    Ok(stopped)
}

fn verifies(settings: &Settings) -> Kinds {
    let any = |test: fn(&Kind) -> bool| settings.auth.iter().any(|provider| test(&provider.kind));
    Kinds {
        passwords: any(|kind| matches!(kind, Kind::Basic { .. })),
        signatures: any(Kind::has_costly_signatures),
    }
}

fn entrance(listen: &Listen) -> ListenerKind {
    match listen.kind {
        ListenKind::Plain => ListenerKind::Plain,
        ListenKind::Tls(_) => ListenerKind::Secure,
        ListenKind::Redirect => ListenerKind::Redirect,
    }
}

fn name((listener, listen): (&Listener, &Listen)) -> String {
    match listen.kind {
        ListenKind::Plain => listener.to_string(),
        ListenKind::Tls(_) => format!("{listener} (TLS)"),
        ListenKind::Redirect => format!("{listener} (redirects to https)"),
    }
}

fn certificates(listeners: &[Listen]) -> Result<Vec<WatchedListener>, RunError> {
    let mut certificates = Vec::new();
    for (listener, listen) in listeners.iter().enumerate() {
        let ListenKind::Tls(files) = &listen.kind else {
            continue;
        };
        let tls = ServerTls::load(files, &|path| std::fs::read(path)).map_err(|faults| {
            RunError::Certificate(
                faults
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; "),
            )
        })?;
        certificates.push(WatchedListener {
            listener,
            files: files.clone(),
            tls,
        });
    }
    Ok(certificates)
}

/// Returns a number that no client can guess, from the standard library's randomness for hash maps.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

/// Raises the soft limit of open files as far as the hard limit lets it, and reduces the limit of
/// connections to what can then be served. Returns the number of pipes. An exchange needs a
/// descriptor on either side, a pipe needs two. `admin`: addresses of the admin listener.
fn fit_connections(settings: &mut Settings, admin: usize) -> usize {
    let reserved = total([
        DESCRIPTORS_RESERVED,
        admin,
        if admin > 0 { ADMIN_CONNECTIONS } else { 0 },
        subrequests(settings),
        auth::subrequests(settings),
    ]);
    let limits = &mut settings.limits;
    let wanted = total([
        limits.connections,
        limits.connections,
        limits.overflow,
        2 * PIPES_MAX,
        reserved,
    ]);
    let files = match rlimit::increase_nofile_limit(wanted as u64) {
        Ok(files) => usize::try_from(files).unwrap_or(usize::MAX),
        Err(error) => {
            log::debug!("the limit of open files is not known: {error}");
            return PIPES_MAX;
        }
    };
    if files >= wanted {
        return PIPES_MAX;
    }
    // Connections are worth more than pipes, which only save copying.
    let pipes = (files / PIPE_SHARE).min(PIPES_MAX);
    let usable = files
        .saturating_sub(reserved)
        .saturating_sub(pipes.saturating_mul(2));
    limits.overflow = limits.overflow.min(usable / 8);
    let fitting = (usable.saturating_sub(limits.overflow) / 2).max(1);
    if limits.connections > fitting {
        log::warn!(
            "limits.connections is {}, but with {files} open files only {fitting} connections can be served; raise the limit \
             (LimitNOFILE in systemd, ulimit -n)",
            limits.connections
        );
        limits.connections = fitting;
    }
    pipes
}

/// Descriptors for each pipe, if descriptors are scarce.
const PIPE_SHARE: usize = 64;

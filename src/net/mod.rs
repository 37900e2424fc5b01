//! The only room that touches the world: sockets, clock, threads, signals. The loop moves bytes and obeys; it decides nothing.

mod acceptor;
mod access_log;
pub mod clock;
mod commands;
pub mod event_loop;
pub mod io;
pub mod listener;
pub mod memory;
pub mod messages;
mod shutdown;
pub mod signals;
pub mod slow_iterations;
mod token;
pub mod workers;

use std::time::Duration;

use self::event_loop::{EventLoop, Parts, Stopped};
use self::listener::Listener;
use self::messages::Messages;
use self::workers::access_log::AccessLogWriter;
use self::workers::certificate_watcher::WatchedListener;
use self::workers::verifier::Kinds;
use crate::buffer::total;
use crate::config::{Listen, ListenKind};
use crate::limits::{DESCRIPTORS_RESERVED, PIPES_MAX};
use crate::policy::auth::provider::Kind;
use crate::proxy::Proxy;
use crate::proxy::command::ListenerKind;
use crate::proxy::memory::{auth, subrequests};
use crate::proxy::settings::Settings;
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;

/// Why a gateway did not start, or did not go on.
#[derive(Debug)]
pub enum RunError {
    /// A listener could not be bound; the text says which and what to do.
    Bind(String),
    /// A certificate cannot be used any more; the text says which and why.
    Certificate(String),
    /// The kernel refused something else.
    Io(std::io::Error),
}

/// What a gateway runs with.
pub struct Setup {
    /// What the engine is told.
    pub settings: Settings,
    /// Where clients come from; at least one.
    pub listeners: Vec<Listen>,
    /// TLS of the targets, under the settings' indices.
    pub tls: Vec<Option<ClientTls>>,
}

/// Binds, says `Gateway is running on port N`, and serves until a signal ends it.
///
/// # Errors
/// A listener cannot be bound, its certificate has become unreadable since it was checked, or the kernel has no epoll instance, thread or descriptor left.
pub fn run(mut setup: Setup) -> Result<Stopped, RunError> {
    let certificates = certificates(&setup.listeners)?;
    let addresses = setup.listeners.iter().map(|listen| &listen.address);
    let bound = Listener::bind_all(addresses).map_err(|error| RunError::Bind(error.to_string()))?;
    let pipes = fit_connections(&mut setup.settings);
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
        messages: Messages::new(&setup.settings),
        verifies: verifies(&setup.settings),
        shutdown: setup.settings.timeouts.shutdown,
        proxy: Proxy::new(setup.settings, seed()),
        tls: setup.tls,
        listeners,
        certificates,
        pipes,
        access: AccessLogWriter::stdout().map_err(RunError::Io)?,
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

/// A number nobody outside can guess, from the standard library's source of randomness for hash maps.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

/// Each exchange needs a descriptor on either side, and some pipes two each: the soft limit of open files is raised as far as the
/// hard one lets it, and no more connections are taken than can then be served. Says how many pipes there may be.
fn fit_connections(settings: &mut Settings) -> usize {
    let reserved = total([
        DESCRIPTORS_RESERVED,
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
    // A pipe saves copying; a connection serves somebody.
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

/// Where descriptors are short, one in so many of them buys a pipe, which takes two.
const PIPE_SHARE: usize = 64;

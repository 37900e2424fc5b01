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
mod answer;
pub mod certificates;
pub mod clock;
mod commands;
pub mod config_files;
mod descriptors;
pub mod doctor;
pub mod event_loop;
pub mod inherited;
pub mod io;
mod link;
pub mod listener;
pub mod listener_counters;
pub mod memory;
pub mod messages;
pub mod notify;
mod provider_messages;
pub mod reload;
mod shutdown;
pub mod signals;
pub mod slow_iterations;
pub mod supervisor;
mod token;
pub mod upgrade;
pub mod workers;

use std::time::Duration;

use self::admin::AdminListener;
use self::certificates::store::Store;
use self::descriptors::fit_connections;
use self::event_loop::{EventLoop, Parts, Stopped};
use self::inherited::Inherited;
use self::listener::Listener;
use self::notify::{Environment, Notifier};
pub use self::reload::{ConfigSource, Loaded, ReadConfig};
use self::upgrade::Program;
use self::workers::access_log::AccessLogWriter;
use self::workers::verifier::Kinds;
use crate::config::{Config, Listen, ListenKind, Workers};
use crate::limits::WORKERS_MAX;
use crate::proxy::Proxy;

/// Error that keeps the gateway from starting or running.
#[derive(Debug)]
pub enum RunError {
    /// A listener could not be bound. The text says which and what to do.
    Bind(String),
    /// The folder of the orders cannot be used, or another process has it. The text says what to do.
    Store(String),
    /// Another error of the kernel.
    Io(std::io::Error),
}

/// Arguments of [`run`].
pub struct Setup {
    /// The configuration.
    pub loaded: Loaded,
    /// File of the configuration, which a reload reads again; `None`: it has none.
    pub source: Option<ConfigSource>,
    /// Sockets that another process has opened.
    pub inherited: Inherited,
    /// Program that an upgrade starts.
    pub program: Program,
}

/// Returns the number of processes that serve.
pub fn worker_count(config: &Config) -> usize {
    match config.workers {
        Workers::Count(count) => count,
        Workers::Auto => {
            let cores = std::thread::available_parallelism();
            cores.map_or(1, |cores| cores.get().min(WORKERS_MAX))
        }
    }
}

/// Binds, logs `Gateway is running on port N`, and serves until a signal ends it.
///
/// # Errors
/// A listener cannot be bound, or the kernel has no epoll instance, thread or descriptor left.
pub fn run(setup: Setup) -> Result<Stopped, RunError> {
    let Setup {
        loaded,
        source,
        mut inherited,
        program,
    } = setup;
    let config = &loaded.config;
    let voice = inherited.voice().transpose().map_err(RunError::Io)?;
    let addresses = config.listeners.iter().map(|listen| &listen.address);
    let bound = inherited
        .bind_all(&config.listeners)
        .map_err(|error| RunError::Bind(error.to_string()))?;
    inherited.refuse_rest().map_err(RunError::Bind)?;
    let admin = config.admin.addresses.iter();
    let admin = admin.map(|address| match inherited.take_admin(address) {
        Some(listener) => Ok(AdminListener::inherited(address, listener)),
        None => AdminListener::bind(address),
    });
    let admin = admin
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| RunError::Bind(error.to_string()))?;
    let store = match &config.acme {
        Some(acme) if !inherited.has_predecessor() => {
            let opened = Store::open_for(&acme.state, config.is_worker());
            Some(opened.map_err(RunError::Store)?)
        }
        Some(_) | None => None,
    };
    let mut settings = config.settings.clone();
    let pipes = fit_connections(&mut settings, admin.len());
    let names = bound.iter().zip(&config.listeners).map(name);
    let names = names.collect::<Vec<_>>();
    let is_tls = |(_, listen): &(_, &Listen)| matches!(listen.kind, ListenKind::Tls(_));
    let mut listeners = bound.iter().zip(&config.listeners);
    settings.https_port = listeners
        .find(is_tls)
        .and_then(|(listener, _)| listener.port());
    let parts = Parts {
        listeners: addresses.cloned().zip(bound).collect(),
        admin,
        verifies: Kinds::of(&settings),
        proxy: Proxy::new(settings, seed()),
        loaded,
        source,
        pipes,
        store,
        access: AccessLogWriter::stdout(voice.is_some()).map_err(RunError::Io)?,
        notifier: Notifier::new(&Environment::of_process()),
        program,
    };
    let mut event_loop = EventLoop::new(parts).map_err(RunError::Io)?;
    match voice {
        // The supervisor says it for all workers.
        Some(mut voice) => voice.ready(),
        None => {
            for name in names {
                log::info!("Gateway is running on {name}");
            }
        }
    }
    if let Some(predecessor) = inherited.into_predecessor()
        && !event_loop.succeed(predecessor)
    {
        return Ok(Stopped::Clean);
    }
    let stopped = event_loop.run().map_err(RunError::Io)?;
    event_loop.into_access().close(Duration::from_secs(1));
    Ok(stopped)
}

fn name((listener, listen): (&Listener, &Listen)) -> String {
    match listen.kind {
        ListenKind::Plain => listener.to_string(),
        ListenKind::Tls(_) => format!("{listener} (TLS)"),
        ListenKind::Redirect => format!("{listener} (redirects to https)"),
    }
}

/// Returns a number that no client can guess, from the standard library's randomness for hash maps.
fn seed() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let [high, low] = [(); 2].map(|()| u128::from(RandomState::new().hash_one(0_u8)));
    high << 64 | low
}

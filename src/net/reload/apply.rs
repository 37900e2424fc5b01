//! Sockets, TLS settings and helper threads of a new configuration.

use std::sync::Arc;

use log::warn;
use mio::Waker;

use super::super::acceptor::Acceptor;
use super::super::admin::{Admin, AdminListener};
use super::super::certificates::orders::Orders;
use super::super::certificates::store::Store;
use super::super::commands::Executor;
use super::super::descriptors::fit_connections;
use super::super::listener::Listener;
use super::super::shutdown::Shutdown;
use super::super::workers::certificate_watcher::{CertificateWatcher, WatchedListener};
use super::super::workers::verifier::Kinds;
use super::{Candidate, Loaded, New};
use crate::config::changes::Summary;
use crate::config::{Config, Listen, ListenAddress, ListenKind};
use crate::proxy::overview::connections_to_targets;
use crate::sort::Index;
use crate::time::{Instant, UnixTime};
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;

/// Sockets that a new configuration needs and the one of the moment does not have.
pub(in crate::net) struct Bound {
    /// Listeners, each with its address.
    pub(in crate::net) listeners: Vec<(ListenAddress, Listener)>,
    /// Sockets of the admin listener.
    pub(in crate::net) admin: Vec<AdminListener>,
    /// Folder of the orders, if it is another one.
    pub(in crate::net) store: Option<Store>,
}

/// Everything that a new configuration changes.
pub(in crate::net) struct Swap<'a> {
    pub(in crate::net) executor: &'a mut Executor,
    pub(in crate::net) admin: &'a mut Admin,
    pub(in crate::net) shutdown: &'a mut Shutdown,
    pub(in crate::net) certificates: &'a mut Option<CertificateWatcher>,
    pub(in crate::net) waker: &'a Arc<Waker>,
    /// Time of day.
    pub(in crate::net) wall: UnixTime,
}

/// A configuration that is the one of the moment now.
pub(in crate::net) struct Applied {
    /// The configuration, what it has changed, and when it was read.
    pub(in crate::net) new: (Arc<Config>, Summary, UnixTime),
    /// Connections to the targets that stay.
    pub(in crate::net) connections: usize,
}

/// Binds the addresses that are new, all of them or none. A socket that is about to close, and whose
/// address the configuration has again, stays open: the address cannot be bound a second time. In a
/// worker it closes all the same: the supervisor has bound another one.
///
/// # Errors
/// A line for each address that cannot be bound.
pub(in crate::net) fn bind(
    config: &Config,
    acceptor: &mut Acceptor,
    admin: &mut Admin,
    orders: Option<&Orders>,
) -> Result<Bound, Vec<String>> {
    let mut errors = Vec::new();
    let mut listeners = Vec::new();
    let addresses = config.listeners.iter().map(|listen| &listen.address);
    Listener::can_stay(&acceptor.addresses(), &config.listeners)
        .map_err(|error| vec![error.to_string()])?;
    for Listen { address, port, .. } in &config.listeners {
        if acceptor.has(address) {
            continue;
        }
        let passed = admin.take_passed(address);
        if passed.is_none() && acceptor.is_closing(address) {
            continue;
        }
        let bind = || {
            let held = acceptor.sockets().map(|(_, listener)| &*listener);
            Listener::bind_entry((address, *port), addresses.clone(), held)
        };
        match passed.unwrap_or_else(bind) {
            Ok(listener) => listeners.push((address.clone(), listener)),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let known = admin.addresses().cloned().collect::<Vec<_>>();
    let mut bound = Vec::new();
    for address in &config.admin.addresses {
        if known.contains(address) || admin.is_closing_at(address) {
            continue;
        }
        match AdminListener::bind(address) {
            Ok(listener) => bound.push(listener),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let store = match &config.acme {
        Some(acme) if !orders.is_some_and(|orders| orders.is_of(acme)) => {
            let opened = Store::open_for(&acme.state, config.is_worker());
            opened.map_err(|error| errors.push(error)).ok()
        }
        Some(_) | None => None,
    };
    if errors.is_empty() {
        let is_bound = |address: &ListenAddress| listeners.iter().any(|(new, _)| new == address);
        addresses
            .filter(|address| !is_bound(address))
            .for_each(|address| acceptor.keep(address));
        config
            .admin
            .addresses
            .iter()
            .for_each(|address| admin.keep(address));
        Ok(Bound {
            listeners,
            admin: bound,
            store,
        })
    } else {
        Err(errors)
    }
}

/// Makes a configuration the one of the moment.
///
/// # Errors
/// Too many editions of the rules live. The caller tries again later.
pub(in crate::net) fn apply(
    swap: &mut Swap<'_>,
    new: Box<New>,
    now: Instant,
) -> Result<Applied, Box<New>> {
    let https_port = https_port(&new, &swap.executor.acceptor);
    let Candidate {
        loaded,
        mut prepared,
        summary,
    } = new.candidate;
    let settings = &mut prepared.settings;
    settings.https_port = https_port;
    fit_connections(settings, loaded.config.admin.addresses.len());
    let kinds = Kinds::of(settings);
    let shutdown = settings.timeouts.shutdown;
    let old = swap.executor.proxy.targets().to_vec();
    if let Err(prepared) = swap.executor.proxy.handle_settings(prepared, now) {
        let candidate = Candidate {
            loaded,
            prepared: *prepared,
            summary,
        };
        return Err(Box::new(New { candidate, ..*new }));
    }
    let bound = new.bound;
    let Loaded {
        config,
        server_tls,
        client_tls,
        read_at,
    } = loaded;
    swap_targets(swap.executor, &old, client_tls);
    swap_listeners(swap, &config, server_tls, bound.listeners);
    swap_orders(swap, &config, bound.store, now);
    swap_admin(swap, &config, bound.admin);
    swap.shutdown.set_grace(shutdown);
    if let Err(error) = swap.executor.verifier.start_missing(kinds, swap.waker) {
        warn!("no thread can be started to verify credentials: {error}; they are refused");
    }
    swap.executor.run_commands(now);
    let connections = connections_to_targets(&swap.executor.proxy);
    Ok(Applied {
        new: (config, summary, read_at),
        connections,
    })
}

/// Orders what the new configuration asks for, and serves what is there.
fn swap_orders(swap: &mut Swap<'_>, config: &Config, store: Option<Store>, now: Instant) {
    let executor = &mut *swap.executor;
    match (&config.acme, &mut executor.orders, store) {
        (None, _, _) => executor.end_orders(),
        (Some(acme), Some(orders), None) => orders.replan(acme, (now, swap.wall)),
        (Some(acme), _, Some(store)) => {
            executor.end_orders();
            let acme = (acme, config.is_worker());
            executor.start_orders(acme, store, swap.waker, (now, swap.wall));
        }
        (Some(_), None, None) => {}
    }
    executor.install_certificates();
}

/// Returns the port of the first TLS listener.
fn https_port(new: &New, acceptor: &Acceptor) -> Option<u16> {
    let mut listeners = new.candidate.loaded.config.listeners.iter();
    let is_tls = |listen: &&Listen| matches!(listen.kind, ListenKind::Tls(_));
    let address = &listeners.find(is_tls)?.address;
    let mut bound = new.bound.listeners.iter();
    match bound.find(|(known, _)| known == address) {
        Some((_, listener)) => listener.port(),
        None => acceptor.port(address),
    }
}

/// Takes the TLS settings of targets that are new. Those that stay keep theirs, with their
/// sessions.
fn swap_targets(
    executor: &mut Executor,
    old: &[crate::proxy::command::TargetId],
    client_tls: Vec<Option<ClientTls>>,
) {
    let targets = executor.proxy.targets().to_vec();
    let known = old.iter().map(|id| u64::from(*id));
    let known = Index::new(known.collect());
    for (id, tls) in targets.iter().zip(client_tls) {
        if known.contains(&u64::from(*id)) {
            continue;
        }
        let slot = id.index() as usize;
        if executor.tls.len() <= slot {
            executor.tls.resize(slot.saturating_add(1), None);
        }
        if let Some(of_target) = executor.tls.get_mut(slot) {
            *of_target = tls;
        }
    }
    executor.messages.keep_lookups_of(&targets);
}

fn swap_listeners(
    swap: &mut Swap<'_>,
    config: &Config,
    server_tls: Vec<Option<ServerTls>>,
    bound: Vec<(ListenAddress, Listener)>,
) {
    let Executor { acceptor, poll, .. } = &mut *swap.executor;
    let addresses = config.listeners.iter().map(|listen| &listen.address);
    acceptor.retire_others(addresses);
    if let Err(error) = acceptor.add(bound, poll.registry()) {
        warn!("a listener cannot be watched: {error}");
    }
    let watched = set_listeners(acceptor, config, server_tls);
    let known = swap.certificates.as_ref();
    if known.is_some_and(|known| known.watches(&watched)) {
        return;
    }
    // The thread of the watcher before ends when its watcher is dropped.
    *swap.certificates = None;
    if !watched.is_empty() {
        match CertificateWatcher::watch(watched, Arc::clone(swap.waker)) {
            Ok(watcher) => *swap.certificates = Some(watcher),
            Err(error) => warn!(
                "no thread can be started to watch the certificates: {error}; send SIGHUP after they change"
            ),
        }
    }
}

/// Gives the listeners their kinds and TLS settings. Returns the certificates to watch.
pub(in crate::net) fn set_listeners(
    acceptor: &mut Acceptor,
    config: &Config,
    server_tls: Vec<Option<ServerTls>>,
) -> Vec<WatchedListener> {
    let mut watched = Vec::new();
    for (listen, tls) in config.listeners.iter().zip(server_tls) {
        let kind = listen.kind.spoken();
        let Some((slot, tls)) = acceptor.set(listen, kind, tls) else {
            continue;
        };
        if let (ListenKind::Tls(files), Some(tls)) = (&listen.kind, tls) {
            watched.push(WatchedListener {
                listener: slot,
                files: files.clone(),
                tls,
            });
        }
    }
    watched
}

fn swap_admin(swap: &mut Swap<'_>, config: &Config, bound: Vec<AdminListener>) {
    let registry = swap.executor.poll.registry();
    if let Err(error) = swap.admin.set(&config.admin, bound, registry) {
        warn!("the admin listener cannot be watched: {error}");
    }
    swap.admin.log_level().configure(config.log_level);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AdminAccess;
    use mio::Poll;
    use std::path::Path;

    /// A socket that is about to close has its address for as long as clients wait there.
    #[test]
    fn an_address_that_comes_back_keeps_the_socket_that_was_about_to_close() {
        let folder = std::env::temp_dir();
        let path = |name| folder.join(format!("tollgate-back-{}-{name}", std::process::id()));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = |listener: std::net::TcpListener| listener.local_addr().expect("bound").port();
        let free = port(std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let free_admin = port(std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let load = |more: &str| {
            let text = format!(
                r#"{{ "listen": ["127.0.0.1:{free}", "unix:{}" {more}], "admin": ["127.0.0.1:{free_admin}", "unix:{}"],
                "services": [ {{ "route": "/", "target": "http://127.0.0.1:9" }} ] }}"#,
                path("gate").display(),
                path("admin").display()
            );
            let read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
            crate::config::load(text.as_bytes(), "t.json", &|_| None, &read).expect("it is valid")
        };
        let config = load("");
        let poll = Poll::new().expect("epoll");
        let (mut acceptor, registry) = (Acceptor::new(), poll.registry());
        let none = AdminAccess::default();
        let mut admin =
            Admin::register(Vec::new(), &none, config.log_level, registry).expect("room");
        let bound = bind(&config, &mut acceptor, &mut admin, None).expect("free addresses");
        assert_eq!((bound.listeners.len(), bound.admin.len()), (2, 2));
        acceptor.add(bound.listeners, registry).expect("room");
        admin
            .set(&config.admin, bound.admin, registry)
            .expect("room");
        acceptor.retire_others([].iter());
        admin.set(&none, Vec::new(), registry).expect("room");
        let address = &config.listeners[0].address;
        assert!(!acceptor.has(address) && admin.addresses().count() == 0);
        // All or nothing: with an address that is taken, the others close.
        let more = format!(
            ", \"127.0.0.1:{}\"",
            taken.local_addr().expect("bound").port()
        );
        assert!(bind(&load(&more), &mut acceptor, &mut admin, None).is_err());
        assert!(!acceptor.has(address) && admin.addresses().count() == 0);
        let bound = bind(&config, &mut acceptor, &mut admin, None).expect("the sockets stay");
        assert_eq!((bound.listeners.len(), bound.admin.len()), (0, 0));
        assert!(
            config
                .listeners
                .iter()
                .all(|listen| acceptor.has(&listen.address))
        );
        assert_eq!(admin.addresses().count(), 2);
        assert!(path("gate").exists() && path("admin").exists());
    }
}

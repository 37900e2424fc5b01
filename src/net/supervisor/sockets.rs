//! Listening sockets that the supervisor keeps for its workers.

use std::io;

use crate::config::{Config, Listen, ListenAddress, Port};
use crate::limits::HANDED_OVER_MAX;
use crate::net::inherited::Inherited;
use crate::net::listener::Listener;
use crate::net::upgrade::handover::Offer;

/// Sockets of all listeners.
#[derive(Default)]
pub(super) struct Sockets {
    kept: Vec<Kept>,
    /// Addresses that a configuration has removed: where clients wait, workers still listen.
    left: Vec<ListenAddress>,
}

/// Sockets of a listener: one for each worker, or one that all have.
pub(super) struct Kept {
    address: ListenAddress,
    sockets: Vec<Listener>,
}

impl Sockets {
    /// Binds the addresses of a configuration that are not open yet, or takes the sockets of an old
    /// process.
    ///
    /// # Errors
    /// An address cannot be bound. The text says what to do.
    pub(super) fn bind(
        &self,
        config: &Config,
        count: usize,
        inherited: &mut Inherited,
    ) -> io::Result<Vec<Kept>> {
        let is_tcp = |listen: &&Listen| matches!(listen.address, ListenAddress::Tcp(_));
        let ports = config.listeners.iter().filter(is_tcp).count();
        let all = ports.saturating_mul(count);
        let all = all
            .saturating_add(config.listeners.len())
            .saturating_add(config.admin.addresses.len());
        if all > HANDED_OVER_MAX {
            return Err(io::Error::other(format!(
                "{count} workers need {all} listening sockets, and at most {HANDED_OVER_MAX} can be kept; remove addresses from \
                 \"listen\", or set a smaller number of \"workers\""
            )));
        }
        let mut bound = Vec::new();
        let mut open = inherited.addresses();
        open.extend(self.kept.iter().map(|kept| kept.address.clone()));
        Listener::can_stay(&open, &config.listeners)?;
        for listen in &config.listeners {
            let address = &listen.address;
            if self.kept.iter().any(|kept| kept.address == *address) {
                continue;
            }
            let addresses = config.listeners.iter().map(|listen| &listen.address);
            let take = |from: &ListenAddress, port, inherited: &mut Inherited| {
                if let Some(taken) = inherited.take(address)? {
                    return Ok(taken);
                }
                let held = self.kept.iter().flat_map(|kept| &kept.sockets);
                Listener::bind_entry(
                    (from, port),
                    addresses.clone(),
                    held.chain(inherited.listeners()),
                )
            };
            // The first is bound alone, so that the port of another process is an error. Workers that
            // have not served all clients of the address yet share it.
            let first = take(address, listen.port, inherited).or_else(|error| {
                let may_drain = inherited.has_predecessor() || self.left.contains(address);
                if error.kind() != io::ErrorKind::AddrInUse || !may_drain {
                    return Err(error);
                }
                take(address, Port::Shared, inherited).map_err(|_| error)
            })?;
            let mut sockets = Vec::new();
            if is_tcp(&listen) {
                first.change_port(Port::Shared);
                let from = first.address();
                for _ in 1..count {
                    sockets.push(take(&from, Port::Shared, inherited)?);
                }
            }
            sockets.insert(0, first);
            bound.push(Kept {
                address: address.clone(),
                sockets,
            });
        }
        Ok(bound)
    }

    /// Adds sockets, and closes those that a configuration does not have.
    pub(super) fn set(&mut self, bound: Vec<Kept>, config: &Config) {
        self.kept.extend(bound);
        let has = |address: &ListenAddress| {
            config
                .listeners
                .iter()
                .any(|listen| listen.address == *address)
        };
        let left = &mut self.left;
        self.kept.retain(|Kept { address, .. }| {
            let stays = has(address);
            if !stays && !left.contains(address) {
                left.truncate(HANDED_OVER_MAX);
                left.insert(0, address.clone());
            }
            stays
        });
    }

    /// Returns the sockets of one worker, those that were `bound` for a new configuration included.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn offers(&self, worker: usize, bound: &[Kept]) -> io::Result<Vec<Offer>> {
        let of_worker = |kept: &Kept| {
            let socket = kept.sockets.get(worker).or(kept.sockets.first());
            let socket = socket.ok_or(io::ErrorKind::NotFound)?;
            let mut offer = offer(&kept.address, socket)?;
            // The file stays with the supervisor.
            offer.owns_file = false;
            Ok(offer)
        };
        self.kept.iter().chain(bound).map(of_worker).collect()
    }

    /// Returns the sockets of all workers, for another process.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn all(&self) -> io::Result<Vec<Offer>> {
        let mut all = Vec::new();
        for kept in &self.kept {
            for socket in &kept.sockets {
                all.push(offer(&kept.address, socket)?);
            }
        }
        Ok(all)
    }

    /// Returns the sockets as a log line names them.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let firsts = self.kept.iter().filter_map(|kept| kept.sockets.first());
        firsts.map(ToString::to_string)
    }

    /// Adopts files of unix sockets that an old process has left.
    pub(super) fn adopt(&mut self) {
        let kept = self.kept.iter_mut();
        kept.flat_map(|kept| &mut kept.sockets)
            .for_each(Listener::adopt);
    }

    /// Closes all sockets. `leaves`: another process has them.
    pub(super) fn close(&mut self, leaves: bool) {
        if leaves {
            let kept = self.kept.iter_mut();
            kept.flat_map(|kept| &mut kept.sockets)
                .for_each(Listener::disown);
        }
        self.kept.clear();
    }
}

fn offer(address: &ListenAddress, listener: &Listener) -> io::Result<Offer> {
    let (socket, owns_file) = listener.duplicate()?;
    Ok(Offer {
        name: address.to_string(),
        is_admin: false,
        owns_file,
        socket,
    })
}

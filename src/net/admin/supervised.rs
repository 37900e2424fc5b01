//! The admin listener of a worker: connections and sockets come over the link to the supervisor.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::Admin;
use crate::config::ListenAddress;
use crate::net::link::Link;
use crate::net::listener::Listener;

impl Admin {
    /// Returns true in a worker.
    pub(in crate::net) fn is_supervised(&mut self) -> bool {
        self.link().is_some()
    }

    /// Returns the link to the supervisor.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        let mut listeners = self.listeners.iter_mut().flatten();
        listeners.find_map(|entry| match &mut entry.listener.listener {
            Listener::Link(link) => Some(&mut **link),
            Listener::Tcp(..) | Listener::Unix(..) => None,
        })
    }

    /// Takes the connection on which the supervisor counts for all workers, if a new one has come.
    pub(in crate::net) fn take_counts(&mut self) -> Option<UnixStream> {
        self.link()?.take_counts()
    }

    /// Takes the files of the configuration that the supervisor has accepted.
    pub(in crate::net) fn take_files(&mut self) -> Option<OwnedFd> {
        self.link()?.take_files()
    }

    /// Closes sockets that a reload, which has ended, did not use.
    pub(in crate::net) fn forget_passed(&mut self) {
        if let Some(link) = self.link() {
            link.forget();
        }
    }

    /// Takes the socket of an address that the supervisor has passed on; `None`: there is no
    /// supervisor, and the address is to be bound.
    pub(in crate::net) fn take_passed(
        &mut self,
        address: &ListenAddress,
    ) -> Option<io::Result<Listener>> {
        let link = self.link()?;
        let offer = link.take(&address.to_string());
        let offer = offer.ok_or_else(|| io::Error::other(format!("no socket of {address} came")));
        Some(offer.and_then(|offer| Listener::from_socket(offer.socket.into())))
    }
}

//! Sockets on which the admin listener accepts.

use std::io;

use super::super::listener::{Accepted, Listener, bind_tcp, bind_unix};
use super::request::Access;
use crate::config::ListenAddress;

/// Permissions of a unix socket's file: its owner may connect.
const MODE: u32 = 0o600;

/// A bound address of the admin listener. A unix socket's file is removed when it is dropped.
pub struct AdminListener {
    address: ListenAddress,
    pub(super) listener: Listener,
}

impl AdminListener {
    /// Binds and listens. A helper thread may do it.
    ///
    /// # Errors
    /// The address cannot be bound. The text tells the operator what to do.
    pub fn bind(address: &ListenAddress) -> io::Result<AdminListener> {
        let bound = match address {
            ListenAddress::Tcp(address) => bind_tcp(*address, false),
            ListenAddress::Unix(path) => bind_unix(path, Some(MODE)),
            // The configuration refuses such an address.
            ListenAddress::Systemd(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        let listener = bound.map_err(|error| explain(address, &error))?;
        Ok(AdminListener {
            address: address.clone(),
            listener,
        })
    }

    /// Takes a socket that another process has bound to the address.
    pub(in crate::net) fn inherited(address: &ListenAddress, listener: Listener) -> AdminListener {
        AdminListener {
            address: address.clone(),
            listener,
        }
    }

    /// Returns the address of the configuration; port 0 stays 0.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Returns the address and the socket.
    pub(super) fn socket(&mut self) -> (&ListenAddress, &mut Listener) {
        (&self.address, &mut self.listener)
    }

    /// Returns the rights of its clients.
    pub(super) fn access(&self) -> Access {
        match self.listener {
            Listener::Tcp(..) => Access::ReadOnly,
            Listener::Unix(..) | Listener::Link(_) => Access::Commands,
        }
    }

    pub(super) fn accept(&mut self) -> io::Result<Accepted> {
        self.listener.accept()
    }

    /// Returns the address as a log line has it, with the port that was bound.
    pub fn name(&self) -> String {
        match (&self.address, self.listener.port()) {
            (ListenAddress::Tcp(address), Some(port)) => {
                let mut bound = *address;
                bound.set_port(port);
                bound.to_string()
            }
            (address, _) => address.to_string(),
        }
    }
}

fn explain(address: &ListenAddress, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another process listens there, perhaps a tollgate; stop it, or change \"admin\""
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address; change \"admin\"",
        io::ErrorKind::PermissionDenied => {
            ": the folder of the socket must be writable, and ports below 1024 need a privilege"
        }
        io::ErrorKind::NotFound => {
            ": the folder of the socket does not exist (RuntimeDirectory=tollgate in systemd)"
        }
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("cannot open the admin listener on {address}: {error}{advice}"),
    )
}

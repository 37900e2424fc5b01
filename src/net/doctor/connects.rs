//! Cures for errors of connections that cannot be made.

use std::io;
use std::net::SocketAddr;

use crate::net::io::dial::is_unreachable;

const START: &str = "start the service there, or correct the target in the file";
const ROUTE: &str = "give this machine an address and a route that lead there (ip route get), or correct the target in the file";
const PORTS: &str =
    "raise the range of ports (net.ipv4.ip_local_port_range): ss -s counts those in use";
const FIREWALL: &str = "let a rule of this machine permit it: ip route, the firewall, or the unit of systemd; or correct the target in the file";
const ENTER: &str = "let the user that tollgate runs as write to the socket, and enter its folder";

/// Errors of `socket` and `connect` on Linux, and what helps. For those of EACCES see [`cure`].
const CURES: [(&[i32], &str); 8] = [
    // ECONNREFUSED; ENOENT, ENOTDIR of a unix socket.
    (&[111, 2, 20], START),
    // ETIMEDOUT.
    (
        &[110],
        "see whether a firewall drops it, that machine is down or the service hangs, or correct the target",
    ),
    // EHOSTUNREACH.
    (
        &[113],
        "see whether that machine is up and no firewall rejects it, or correct the target in the file",
    ),
    // EADDRNOTAVAIL.
    (&[99], PORTS),
    // EMFILE.
    (
        &[24],
        "raise the limit of open files (LimitNOFILE, ulimit -n)",
    ),
    // ENFILE.
    (
        &[23],
        "raise the limit of open files of the machine (fs.file-max)",
    ),
    // ENOBUFS, ENOMEM.
    (
        &[105, 12],
        "free memory of this machine, or of its control group",
    ),
    // EAGAIN of a unix socket.
    (
        &[11],
        "the queue of the socket is full: look into the log of the service there, or raise its backlog and net.core.somaxconn",
    ),
];

/// Returns what helps against the error of a connection that could not be made. `address`: `None` is a unix
/// socket.
pub(super) fn cure(error: &io::Error, address: Option<SocketAddr>) -> &'static str {
    let code = match (error.raw_os_error(), error.kind()) {
        (None, io::ErrorKind::TimedOut) => 110,
        (code, _) => code.unwrap_or_default(),
    };
    match (code, address) {
        // EPERM, EACCES.
        (1 | 13, None) => return ENTER,
        (1 | 13, Some(_)) => return FIREWALL,
        // ENETUNREACH, EAFNOSUPPORT; EADDRNOTAVAIL where no port is the reason.
        (101 | 97, _) => return ROUTE,
        (99, Some(address)) if is_unreachable(error, address) => return ROUTE,
        _ => {}
    }
    let mut rows = CURES.iter();
    let row = rows.find(|(codes, _)| codes.contains(&code));
    row.map_or(
        "correct the network of this machine, or the target in the file",
        |(_, cure)| cure,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_a_connection_has_its_cure() {
        let ip: SocketAddr = "127.0.0.1:80".parse().expect("an address");
        // Nobody connects to the broadcast address: this machine has no way there.
        let away: SocketAddr = "255.255.255.255:80".parse().expect("an address");
        for (code, address, expected) in [
            (111, Some(ip), "start the service"),
            (111, None, "start the service"),
            (2, None, "start the service"),
            (20, None, "start the service"),
            (110, Some(ip), "a firewall drops it"),
            (113, Some(ip), "that machine is up"),
            (99, Some(ip), "net.ipv4.ip_local_port_range"),
            (99, Some(away), "an address and a route"),
            (101, Some(ip), "an address and a route"),
            (97, Some(ip), "an address and a route"),
            (24, Some(ip), "LimitNOFILE"),
            (23, None, "fs.file-max"),
            (105, Some(ip), "free memory"),
            (12, None, "free memory"),
            (13, None, "write to the socket"),
            (13, Some(ip), "the firewall"),
            (1, Some(ip), "the firewall"),
            (11, None, "the queue of the socket"),
            (22, Some(ip), "correct the network"),
        ] {
            let cure = cure(&io::Error::from_raw_os_error(code), address);
            assert!(cure.contains(expected), "{code} {address:?}: {cure}");
        }
        let late = cure(&io::ErrorKind::TimedOut.into(), Some(ip));
        assert!(late.contains("a firewall drops it"), "{late}");
    }
}

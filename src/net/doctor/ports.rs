//! Addresses to listen on: whether they are free, and otherwise which process has them.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use super::Examined;
use super::folders::unless_root;
use super::processes::{folder, name, runs_file, unseen};
use super::running::Running;
use crate::config::{Config, ListenAddress, ListenKind, Port};
use crate::net::listener::Listener;
use crate::sort;

/// Socket that a process listens on.
struct Open {
    place: Place,
    inode: String,
}

#[derive(PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Looks at each address of the file. Returns the process of the gateway with this file that listens.
pub(super) fn examine(
    file: &Path,
    config: &Config,
    running: &Running,
    examined: &mut Examined,
) -> Option<u64> {
    let mut addresses = Vec::new();
    for listen in &config.listeners {
        addresses.push((&listen.address, listen.port));
    }
    for address in &config.admin.addresses {
        addresses.push((address, Port::Own));
    }
    let open = open_sockets();
    examined.begin(addresses.len());
    let (mut held, mut shared) = (Vec::new(), Vec::new());
    for &(address, port) in &addresses {
        let others = addresses.iter().map(|(other, _)| *other);
        let others = others.filter(|other| *other != address);
        let ipv6_only = Listener::is_ipv4_taken(address, others);
        match bind(address, ipv6_only, port) {
            // Gateways that share the port, this one's own process among them.
            Ok(()) if port == Port::Shared => shared.push(address),
            Ok(()) => {}
            Err(ErrorKind::AddrInUse) => held.push(address),
            Err(kind) => unusable(address, kind, examined),
        }
    }
    let sharers = holders(&shared, &open);
    let holders = holders(&held, &open);
    let mut sharers = sharers.iter().flat_map(|(_, pids)| pids).copied();
    let mut gateway = running
        .pid
        .or_else(|| sharers.find(|pid| runs_file(*pid, file)));
    for address in held {
        let pids = sort::value_of(&holders, &address.to_string());
        let pids = pids.map_or(&[][..], Vec::as_slice);
        let is_ours = |pid: &u64| running.pid == Some(*pid) || runs_file(*pid, file);
        let ours = pids.iter().copied().find(is_ours);
        // The sockets of another user's process are not shown, but its arguments are.
        let unseen = || gateway.or_else(|| unseen(file));
        let ours = ours.or_else(|| pids.is_empty().then(unseen).flatten());
        if ours.is_some() {
            gateway = gateway.or(ours);
            continue;
        }
        let names = pids.iter().map(|pid| name(*pid)).collect::<Vec<_>>();
        let (problem, cure) = match names.as_slice() {
            [] => (
                "another process listens there, which is not shown to this user".to_owned(),
                unless_root(
                    "run doctor as root to see which; then stop it, or choose another address in the file",
                    "look for it in containers, and in the kernel (NFS); then stop it, or choose another address in the file",
                ),
            ),
            names => (
                format!("{} listens there", super::listed(names)),
                "stop that process, or choose another address in the file",
            ),
        };
        examined.find("port", &format!("address {address}"), problem, cure);
    }
    redirects(config, &open, examined);
    gateway
}

/// Says that plain HTTP is not redirected, where it could be.
fn redirects(config: &Config, open: &[Open], examined: &mut Examined) {
    let port = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => Some(address.port()),
        ListenAddress::Unix(_) | ListenAddress::Systemd(_) => None,
    };
    let mut listeners = config.listeners.iter();
    let has_https = listeners.clone().any(|listen| {
        matches!(listen.kind, ListenKind::Tls(_)) && port(&listen.address) == Some(443)
    });
    let is_80 = |socket: &Open| matches!(socket.place, Place::Tcp(at) if at.port() == 80);
    if has_https
        && !listeners.any(|listen| port(&listen.address) == Some(80))
        && !open.iter().any(is_80)
    {
        let problem = "nothing listens there: who types a name without https:// gets no answer";
        let cure = "add { \"address\": \"[::]:80\", \"redirectToHttps\": true } to \"listen\"";
        examined.hint("port", "port 80", problem.to_owned(), cure);
    }
}

/// Reports why an address cannot be bound.
fn unusable(address: &ListenAddress, kind: ErrorKind, examined: &mut Examined) {
    let what = format!("address {address}");
    match kind {
        ErrorKind::AddrNotAvailable => {
            let problem = "this machine does not have that address".to_owned();
            let cure = "write an address that it has (ip address), or 0.0.0.0 or [::] for all";
            examined.find("port", &what, problem, cure);
        }
        ErrorKind::PermissionDenied => {
            let problem = "this user may not bind a port below 1024".to_owned();
            let cure = "let the gateway start with CAP_NET_BIND_SERVICE, as its systemd unit does";
            examined.hint("port", &what, problem, cure);
        }
        ErrorKind::AlreadyExists => {
            let problem = "a file that is no socket is there".to_owned();
            let cure = "move that file away, or choose another path";
            examined.find("port", &what, problem, cure);
        }
        kind => {
            let cure = "correct the address in the file";
            examined.find("port", &what, format!("cannot be bound: {kind}"), cure);
        }
    }
}

/// Binds an address and lets it go, without listening.
fn bind(address: &ListenAddress, ipv6_only: bool, port: Port) -> Result<(), ErrorKind> {
    match address {
        ListenAddress::Systemd(_) => Ok(()),
        ListenAddress::Unix(path) => match UnixStream::connect(path) {
            Ok(_) => Err(ErrorKind::AddrInUse),
            Err(_) if is_no_socket(path) => Err(ErrorKind::AlreadyExists),
            // A socket without a process behind it is replaced.
            Err(_) => Ok(()),
        },
        ListenAddress::Tcp(address) => {
            let bind = || {
                let domain = Domain::for_address(*address);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                if address.is_ipv6() {
                    socket.set_only_v6(ipv6_only)?;
                }
                if port == Port::Shared {
                    socket.set_reuse_port(true)?;
                }
                socket.bind(&(*address).into())
            };
            bind().map_err(|error: std::io::Error| error.kind())
        }
    }
}

/// Returns true if something else than a socket is at a path.
fn is_no_socket(path: &Path) -> bool {
    let found = fs::symlink_metadata(path);
    found.is_ok_and(|found| !found.file_type().is_socket())
}

/// Returns the sockets of the machine that processes listen on.
fn open_sockets() -> Vec<Open> {
    const LISTENS: &str = "0A";
    const ACCEPTS: &str = "00010000";
    let mut open = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines() {
            let fields = line.split_ascii_whitespace().collect::<Vec<_>>();
            if let [_, local, _, LISTENS, _, _, _, _, _, inode, ..] = fields.as_slice()
                && let Some(address) = address(local)
            {
                open.push(Open {
                    place: Place::Tcp(address),
                    inode: (*inode).to_owned(),
                });
            }
        }
    }
    // Names are bytes of any kind.
    let text = fs::read("/proc/net/unix").unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        let fields = line.split_ascii_whitespace().collect::<Vec<_>>();
        if let [_, _, _, ACCEPTS, _, _, inode, path @ ..] = fields.as_slice() {
            open.push(Open {
                place: Place::Unix(PathBuf::from(path.join(" "))),
                inode: (*inode).to_owned(),
            });
        }
    }
    open
}

/// Parses an address of the kernel's tables, such as `0100007F:1F90`: words as the machine stores
/// them.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = host.get(at..at.checked_add(8)?)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let host = match host.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes = words.as_flattened().first_chunk::<16>()?;
            IpAddr::from(Ipv6Addr::from(*bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(host, u16::from_str_radix(port, 16).ok()?))
}

/// Returns true if a socket at `open` may keep another one from listening at `wanted`. The process
/// that has a unix socket decides what its name means: see `is_of`.
fn is_in_the_way(open: &Place, wanted: &ListenAddress) -> bool {
    match (open, wanted) {
        (Place::Tcp(open), ListenAddress::Tcp(wanted)) => {
            let is_any = |address: &SocketAddr| address.ip().is_unspecified();
            open.port() == wanted.port()
                && (open.ip().to_canonical() == wanted.ip().to_canonical()
                    || is_any(open)
                    || is_any(wanted))
        }
        (Place::Unix(_), ListenAddress::Unix(_)) => true,
        _ => false,
    }
}

/// Returns true if the process means `wanted` by the name of its socket: a name may be relative to its
/// folder, lead through a symlink, or be that of a container.
fn is_of(pid: u64, open: &Place, wanted: &ListenAddress) -> bool {
    let (Place::Unix(open), ListenAddress::Unix(wanted)) = (open, wanted) else {
        return true;
    };
    let folder = if open.is_absolute() { "root" } else { "cwd" };
    let there = fs::metadata(format!("/proc/{pid}/{folder}/{}", open.display()));
    match (there, fs::metadata(wanted)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        // The process has changed its folder since, or the file is gone.
        _ => open == wanted,
    }
}

/// Returns the processes behind addresses, as far as this user may see them.
fn holders(held: &[&ListenAddress], open: &[Open]) -> Vec<(String, Vec<u64>)> {
    let mut wanted = Vec::new();
    for address in held {
        let sockets = open.iter();
        for socket in sockets.filter(|socket| is_in_the_way(&socket.place, address)) {
            let link = format!("socket:[{}]", socket.inode);
            wanted.push((link, (&socket.place, *address)));
        }
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let wanted = sort::group(wanted);
    let mut found = Vec::new();
    for process in folder("/proc") {
        let Some(pid) = process.parse::<u64>().ok() else {
            continue;
        };
        let descriptors = format!("/proc/{pid}/fd");
        for descriptor in folder(&descriptors) {
            let link = fs::read_link(format!("{descriptors}/{descriptor}"));
            let link = link.unwrap_or_default();
            let addresses = sort::value_of(&wanted, &*link.to_string_lossy());
            for (open, address) in addresses.into_iter().flatten() {
                if is_of(pid, open, address) {
                    found.push((address.to_string(), pid));
                }
            }
        }
    }
    let mut found = sort::group(found);
    for (_, pids) in &mut found {
        pids.dedup();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_the_kernel() {
        for (text, expected) in [
            ("0100007F:1F90", Some("127.0.0.1:8080")),
            ("00000000:0050", Some("0.0.0.0:80")),
            ("00000000000000000000000000000000:01BB", Some("[::]:443")),
            (
                "B80D0120000000000000000001000000:0001",
                Some("[2001:db8::1]:1"),
            ),
            ("local_address", None),
            ("0100007F:", None),
            ("0100007:1F90", None),
            ("0100007F:1F90F", None),
            ("0100007\u{e9}:1F90", None),
        ] {
            let found = address(text).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn sockets_that_are_in_the_way() {
        for (open, wanted, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            let open = Place::Tcp(parse(open));
            let wanted = ListenAddress::Tcp(parse(wanted));
            assert_eq!(is_in_the_way(&open, &wanted), expected, "{wanted}");
        }
    }
}

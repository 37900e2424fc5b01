//! Listening sockets on their way from an old process to a new one, over a pair of unix sockets.
//!
//! ```text
//! prefix:  magic (16 bytes), version (1), number of sockets (1), bytes of the list (4, big-endian);
//!          the descriptors go with it (SCM_RIGHTS)
//! list:    for each socket flags (1), bytes of the name (2, big-endian), name
//! ```

use core::mem::MaybeUninit;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::limits::{HANDED_OVER_MAX, SOCKET_NAME_BYTES_MAX};

const MAGIC: [u8; 16] = *b"tollgate sockets";
const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 22;
const SOCKETS_MAX: usize = HANDED_OVER_MAX;
/// Bytes of an entry of the list: the name is an address of the configuration.
const ENTRY_BYTES_MAX: usize = 3 + "systemd:".len() + SOCKET_NAME_BYTES_MAX;

const IS_ADMIN: u8 = 1;
const OWNS_FILE: u8 = 2;

/// Byte by which the new process says that it can serve. The number of sockets that it does not use
/// follows (1 byte), and their places in the list (1 byte each).
pub(in crate::net) const READY: u8 = b'r';
/// Byte before a piece of the state: its length (4 bytes, big-endian) and the piece follow.
pub(super) const STATE: u8 = b's';
/// Byte by which the new process says that it has taken the piece.
pub(super) const TAKEN: u8 = b't';
/// Byte by which the old process says that it stops to accept.
pub(super) const GO: u8 = b'g';
/// Byte by which the old process says that it stops to accept, and that the new one is to read the
/// configuration again.
pub(super) const GO_RELOAD: u8 = b'h';
/// Byte by which the old process says that it stops, and the new one is to end.
pub(super) const STOP: u8 = b'x';

/// A socket that is handed over.
#[derive(Debug)]
pub struct Offer {
    /// Address in the configuration.
    pub name: String,
    /// The socket is one of the admin listener.
    pub is_admin: bool,
    /// The file of the unix socket is the gateway's to remove.
    pub owns_file: bool,
    /// The socket.
    pub socket: OwnedFd,
}

/// Sends sockets. They stay open here.
///
/// # Errors
/// The other end is closed, or an entry is too long.
pub(in crate::net) fn send(mut stream: &UnixStream, offers: &[Offer]) -> io::Result<()> {
    let mut list = Vec::new();
    for offer in offers {
        let length = u16::try_from(offer.name.len()).map_err(|_| invalid("a name is too long"))?;
        let admin = if offer.is_admin { IS_ADMIN } else { 0 };
        list.push(admin | if offer.owns_file { OWNS_FILE } else { 0 });
        list.extend_from_slice(&length.to_be_bytes());
        list.extend_from_slice(offer.name.as_bytes());
    }
    let count = u8::try_from(offers.len()).map_err(|_| invalid("there are too many sockets"))?;
    let length = u32::try_from(list.len()).map_err(|_| invalid("the list is too long"))?;
    let mut prefix = MAGIC.to_vec();
    prefix.extend_from_slice(&[VERSION, count]);
    prefix.extend_from_slice(&length.to_be_bytes());

    let sockets = offers.iter().map(|offer| offer.socket.as_fd());
    let sockets = sockets.collect::<Vec<_>>();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(invalid("there are too many sockets"));
    }
    let parts = [IoSlice::new(&prefix)];
    let sent = sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL)?;
    if sent != prefix.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    stream.write_all(&list)
}

/// Receives sockets. They are closed when a new program is executed.
///
/// # Errors
/// The other end is closed, or sent something else.
pub(in crate::net) fn receive(stream: &UnixStream) -> io::Result<Vec<Offer>> {
    receive_with(stream, RecvFlags::empty())
}

/// Receives sockets. With `DONTWAIT` an error says where none are there yet.
///
/// # Errors
/// The other end is closed, or sent something else.
pub(in crate::net) fn receive_with(
    mut stream: &UnixStream,
    flags: RecvFlags,
) -> io::Result<Vec<Offer>> {
    let mut prefix = [0; PREFIX_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut prefix)];
    let received = recvmsg(
        stream,
        &mut parts,
        &mut control,
        flags | RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    let (magic, rest) = prefix.split_at(MAGIC.len());
    if received.bytes != PREFIX_BYTES || magic != MAGIC {
        return Err(invalid("the input is no list of sockets"));
    }
    let [version, count, length @ ..] = rest else {
        return Err(invalid("the input is no list of sockets"));
    };
    if *version != VERSION {
        return Err(invalid(
            "the old process has another form of list; restart tollgate in place of an upgrade",
        ));
    }
    let length = length
        .try_into()
        .map_or(0, |bytes| u32::from_be_bytes(bytes) as usize);
    if sockets.len() != usize::from(*count) || length > SOCKETS_MAX * ENTRY_BYTES_MAX {
        return Err(invalid("the list and its sockets do not fit"));
    }
    let mut list = vec![0; length];
    stream.read_exact(&mut list)?;
    parse(&list, sockets)
}

fn parse(mut list: &[u8], sockets: Vec<OwnedFd>) -> io::Result<Vec<Offer>> {
    let mut offers = Vec::with_capacity(sockets.len());
    for socket in sockets {
        let Some(([flags, high, low], rest)) = list.split_first_chunk() else {
            return Err(invalid("the list is too short"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((name, rest)) = rest.split_at_checked(length) else {
            return Err(invalid("the list is too short"));
        };
        let name = core::str::from_utf8(name).map_err(|_| invalid("a name is no text"))?;
        if flags & !(IS_ADMIN | OWNS_FILE) != 0 {
            return Err(invalid("the list has an unknown flag"));
        }
        offers.push(Offer {
            name: name.to_owned(),
            is_admin: flags & IS_ADMIN != 0,
            owns_file: flags & OWNS_FILE != 0,
            socket,
        });
        list = rest;
    }
    if list.is_empty() {
        Ok(offers)
    } else {
        Err(invalid("the list is too long"))
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn offer(name: &str, is_admin: bool, owns_file: bool) -> Offer {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Offer {
            name: name.to_owned(),
            is_admin,
            owns_file,
            socket: socket.into(),
        }
    }

    #[test]
    fn sockets_arrive_with_their_names() {
        let (one, two) = UnixStream::pair().expect("a pair");
        let offers = [
            offer("127.0.0.1:0", false, false),
            offer("unix:/a b", true, true),
        ];
        send(&one, &offers).expect("sent");
        let received = receive(&two).expect("received");
        for (sent, got) in offers.iter().zip(&received) {
            assert_eq!(
                (&sent.name, sent.is_admin, sent.owns_file),
                (&got.name, got.is_admin, got.owns_file)
            );
            let port = |socket: &OwnedFd| {
                let socket = TcpListener::from(socket.try_clone().expect("open"));
                socket.local_addr().expect("bound")
            };
            assert_eq!(port(&sent.socket), port(&got.socket), "the same socket");
        }
        assert_eq!(received.len(), 2);
    }

    #[test]
    fn lists_are_read_strictly() {
        let sockets = || vec![offer("a", false, false).socket];
        assert!(parse(&[0, 0, 1, b'a'], sockets()).is_ok());
        for list in [
            &b""[..],
            &[0, 0],
            &[0, 0, 2, b'a'],
            &[0, 0, 1, b'a', 0],
            &[4, 0, 1, b'a'],
            &[0, 0, 1, 0xff],
        ] {
            assert!(parse(list, sockets()).is_err(), "{list:?}");
        }
        for bytes in [
            &b"tollgate sockets\x02\x00\0\0\0\0"[..],
            b"tollgate sockets\x01\x01\0\0\0\0",
            b"tollgate sockets\x01\x00\xff\0\0\0",
            b"tollgate socketz\x01\x00\0\0\0\0",
            b"tollgate",
        ] {
            let (mut one, two) = UnixStream::pair().expect("a pair");
            one.write_all(bytes).expect("sent");
            drop(one);
            assert!(receive(&two).is_err(), "{bytes:?}");
        }
    }
}

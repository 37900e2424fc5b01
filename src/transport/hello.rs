//! First message of a TLS client, as far as it tells what the connection is for.

use super::ordered::CHALLENGE_PROTOCOL;

/// Bytes of a ClientHello that are looked at. Authorities send some hundred.
pub const HELLO_BYTES: usize = 4096;

/// Purpose of a TLS connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// More bytes are needed to tell.
    Unknown,
    /// The client asks for the proof of a name (RFC 8737 4).
    Challenge,
    /// Anything else, also what is no TLS.
    Service,
}

/// Type of a record with a handshake message (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
/// Type of that message (RFC 8446 4).
const CLIENT_HELLO: u8 = 1;
/// Type of the extension (RFC 7301 3.1).
const ALPN: u16 = 16;

/// Returns the purpose of a connection that begins with these bytes. A ClientHello in several
/// records, or of more than [`HELLO_BYTES`], is no challenge.
pub fn purpose(bytes: &[u8]) -> Purpose {
    let mut rest = Bytes(bytes);
    match rest.byte() {
        None => return Purpose::Unknown,
        Some(HANDSHAKE) => {}
        Some(_) => return Purpose::Service,
    }
    let record = rest.take(2).and_then(|_| rest.number());
    let Some(record) = record else {
        return Purpose::Unknown;
    };
    let Some(mut record) = rest.take(usize::from(record)) else {
        return match bytes.len() < HELLO_BYTES {
            true => Purpose::Unknown,
            false => Purpose::Service,
        };
    };
    match record.asks_for_challenge() {
        Some(true) => Purpose::Challenge,
        Some(false) | None => Purpose::Service,
    }
}

/// Bytes that are not read yet.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<Bytes<'a>> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(Bytes(taken))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.0.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.0.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*bytes))
    }

    /// Reads a part behind its length of one byte.
    fn short(&mut self) -> Option<Bytes<'a>> {
        let count = self.byte()?;
        self.take(usize::from(count))
    }

    /// Reads a part behind its length of two bytes.
    fn long(&mut self) -> Option<Bytes<'a>> {
        let count = self.number()?;
        self.take(usize::from(count))
    }

    /// Reads a ClientHello (RFC 8446 4.1.2). Returns true if it offers the protocol of challenges,
    /// and no other; `None`: it is malformed, cut, or has no extension.
    fn asks_for_challenge(&mut self) -> Option<bool> {
        if self.byte()? != CLIENT_HELLO || self.byte()? != 0 {
            return None;
        }
        let mut hello = self.long()?;
        // Version and random.
        hello.take(34)?;
        let _session = hello.short()?;
        let _suites = hello.long()?;
        let _compressions = hello.short()?;
        let mut extensions = hello.long()?;
        while !extensions.0.is_empty() {
            let kind = extensions.number()?;
            let mut content = extensions.long()?;
            if kind == ALPN {
                let mut protocols = content.long()?;
                let first = protocols.short()?;
                return Some(first.0 == CHALLENGE_PROTOCOL && protocols.0.is_empty());
            }
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::client::UnbufferedClientConnection;
    use rustls::unbuffered::{ConnectionState, EncodeError};
    use rustls::{ClientConfig, RootCertStore};
    use std::sync::Arc;

    /// Returns the first record of a client of rustls with these protocols.
    fn hello(protocols: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config
            .with_safe_default_protocol_versions()
            .expect("versions");
        let mut config = config
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
        let name = "a.test".try_into().expect("a name");
        let mut client = UnbufferedClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = vec![0; 8192];
        match client.process_tls_records(&mut []).state.expect("a state") {
            ConnectionState::EncodeTlsData(mut data) => {
                let written: Result<usize, EncodeError> = data.encode(&mut bytes);
                bytes.truncate(written.expect("encoded"));
            }
            _ => panic!("no hello"),
        }
        bytes
    }

    #[test]
    fn one_protocol_alone_asks_for_a_challenge() {
        for (protocols, expected) in [
            (&[CHALLENGE_PROTOCOL][..], Purpose::Challenge),
            (&[CHALLENGE_PROTOCOL, b"http/1.1"], Purpose::Service),
            (&[b"http/1.1", CHALLENGE_PROTOCOL], Purpose::Service),
            (&[b"http/1.1"], Purpose::Service),
            (&[], Purpose::Service),
        ] {
            let whole = hello(protocols);
            assert_eq!(purpose(&whole), expected, "{protocols:?}");
            let longer = [&whole[..], b"more"].concat();
            assert_eq!(purpose(&longer), expected, "{protocols:?}");
            for cut in 0..whole.len() {
                assert_eq!(purpose(&whole[..cut]), Purpose::Unknown, "{cut}");
            }
        }
    }

    #[test]
    fn other_bytes_are_for_the_service() {
        assert_eq!(purpose(b"GET / HTTP/1.1\r\n"), Purpose::Service);
        let endless = [&[22, 3, 1, 0xff, 0xff][..], &[1; HELLO_BYTES]].concat();
        assert_eq!(purpose(&endless), Purpose::Service);
        // Each byte of a hello changed: no panic, and no challenge where the protocol is broken.
        let whole = hello(&[CHALLENGE_PROTOCOL]);
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x55;
            let _ = purpose(&broken);
        }
    }
}

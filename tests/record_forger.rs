//! Writes TLS records that no client and no server writes, with the keys of a real session.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Content types of records (RFC 8446 5.1).
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

/// Alert `user_canceled` at the level of a warning (RFC 5246 7.2, RFC 8446 6.1).
pub const WARNING: [u8; 2] = [1, 90];

/// ClientHello of TLS 1.2: version, random, no session, one cipher suite, no compression (RFC 5246 7.4.1.2).
pub const CLIENT_HELLO: &[u8] = &[
    1, 0, 0, 41, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 0, 0, 2, 0xc0, 0x2c, 1, 0,
];

/// HelloRequest of TLS 1.2 (RFC 5246 7.4.1.1).
pub const HELLO_REQUEST: &[u8] = &[0; 4];

/// Sender of a session's next records.
pub struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Forger {
    /// Takes the place of a sender, with the number of its next record and its keys.
    pub fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Forger {
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another suite")
        };
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("a key");
        Forger {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().expect("twelve bytes"),
            sequence,
        }
    }

    /// Returns a record of TLS 1.3 (RFC 8446 5.2).
    pub fn tls13(&mut self, content_type: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut sealed = [content, &[content_type], &vec![0; padding]].concat();
        let header = header(DATA, sealed.len() + 16);
        let nonce = self.next_nonce();
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed)
            .expect("sealed");
        [&header[..], &sealed].concat()
    }

    /// Returns a record of TLS 1.2 (RFC 5246 6.2.3.3, RFC 5288 3).
    pub fn tls12(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let mut sealed = content.to_vec();
        let sequence = self.sequence.to_be_bytes();
        let plain = header(content_type, content.len());
        let nonce = self.next_nonce();
        let explicit: [u8; 8] = nonce.as_ref()[4..].try_into().expect("eight bytes");
        self.key
            .seal_in_place_append_tag(
                nonce,
                Aad::from([&sequence[..], &plain].concat()),
                &mut sealed,
            )
            .expect("sealed");
        let header = header(content_type, explicit.len() + sealed.len());
        [&header[..], &explicit, &sealed].concat()
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, part) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= part;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

fn header(content_type: u8, length: usize) -> [u8; 5] {
    let [high, low] = u16::try_from(length).expect("a record").to_be_bytes();
    [content_type, 3, 3, high, low]
}

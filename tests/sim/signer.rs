//! Signer of tokens with a key on P-384.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use tollgate::policy::auth::base64::{encode, encode_url};

/// Key and the tokens that it has signed. All signatures have one length, so that a repeated run
/// has the same bytes.
pub struct Signer {
    pair: EcdsaKeyPair,
    tokens: Mutex<HashMap<u64, String>>,
}

/// Start of the encoded key (RFC 5480 2): the curve is secp384r1, and 97 bytes follow.
const HEADER: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

impl Signer {
    pub fn shared() -> &'static Signer {
        static SHARED: OnceLock<Signer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let (random, kind) = (SystemRandom::new(), &ECDSA_P384_SHA384_FIXED_SIGNING);
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
            Signer {
                pair: EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).expect("a pair"),
                tokens: Mutex::default(),
            }
        })
    }

    pub fn public_key(&self) -> String {
        let der = [&HEADER, self.pair.public_key().as_ref()].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            encode(&der)
        )
    }

    pub fn token(&self, id: u64) -> String {
        let mut tokens = self.tokens.lock().expect("no thread panics with the lock");
        let token = tokens.entry(id).or_insert_with(|| {
            let text = signed(id);
            let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes());
            format!("{text}.{}", encode_url(signature.expect("one").as_ref()))
        });
        token.clone()
    }

    pub fn forged(id: u64) -> String {
        format!("{}.{}", signed(id), encode_url(&[7; 96]))
    }
}

fn signed(id: u64) -> String {
    format!(
        "{}.{}",
        encode_url(br#"{"alg":"ES384"}"#),
        encode_url(format!(r#"{{"sub":"{id}","exp":4000000000}}"#).as_bytes())
    )
}

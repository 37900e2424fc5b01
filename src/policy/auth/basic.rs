//! Passwords. The gateway knows only their PBKDF2 hashes (RFC 8018 5.2, with HMAC-SHA-256).
//! Verification is slow on purpose (a considerable part of a second), so it never runs on the event
//! loop.

use core::fmt;
use core::num::NonZeroU32;

use ring::pbkdf2;

use super::base64::{decode_url, encode_url};
use super::key::Secret;
use crate::limits::{PBKDF2_ITERATIONS, PBKDF2_ITERATIONS_MAX, PBKDF2_SALT_BYTES_MAX};

const PREFIX: &str = "pbkdf2-sha256:";
const HASH_BYTES: usize = 32;

/// A password's hash, written as `pbkdf2-sha256:<iterations>:<salt>:<hash>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasswordHash {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl PasswordHash {
    /// Computes the hash of a password. The salt must be unique.
    pub fn new(password: &[u8], salt: &[u8]) -> PasswordHash {
        let mut hash = vec![0; HASH_BYTES];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            PBKDF2_ITERATIONS,
            salt,
            password,
            &mut hash,
        );
        PasswordHash {
            iterations: PBKDF2_ITERATIONS,
            salt: salt.to_vec(),
            hash,
        }
    }

    /// Parses a hash.
    ///
    /// # Errors
    /// The reason why the text is not valid.
    pub fn parse(text: &str) -> Result<PasswordHash, &'static str> {
        let rest = text
            .strip_prefix(PREFIX)
            .ok_or("must be \"pbkdf2-sha256:...\", as \"tollgate hash\" prints it")?;
        let mut parts = rest.split(':');
        let (Some(iterations), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(
                "must be \"pbkdf2-sha256:<iterations>:<salt>:<hash>\", as \"tollgate hash\" prints it",
            );
        };
        let iterations =
            crate::digits::parse(iterations.as_bytes()).and_then(|count| u32::try_from(count).ok());
        let iterations = iterations
            .filter(|&count| count <= PBKDF2_ITERATIONS_MAX)
            .and_then(NonZeroU32::new)
            .ok_or("has a number of iterations that is not from 1 to 10000000")?;
        let salt = decode_url(salt.as_bytes())
            .filter(|salt| !salt.is_empty() && salt.len() <= PBKDF2_SALT_BYTES_MAX);
        let salt =
            salt.ok_or("has a salt that is not base64url without padding, of 1 to 64 bytes")?;
        let hash = decode_url(hash.as_bytes()).filter(|hash| hash.len() == HASH_BYTES);
        let hash = hash.ok_or("has a hash that is not base64url without padding, of 32 bytes")?;
        Ok(PasswordHash {
            iterations,
            salt,
            hash,
        })
    }

    /// Returns true if this is the hash of the password. Slow.
    pub fn matches(&self, password: &Secret) -> bool {
        let Self {
            iterations,
            salt,
            hash,
        } = self;
        pbkdf2::verify(
            pbkdf2::PBKDF2_HMAC_SHA256,
            *iterations,
            salt,
            password.bytes(),
            hash,
        )
        .is_ok()
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}{}:{}:{}",
            self.iterations,
            encode_url(&self.salt),
            encode_url(&self.hash)
        )
    }
}

/// A user of a `basic` provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Name of the user, without a colon.
    pub name: String,
    /// Hash of the user's password.
    pub hash: PasswordHash,
}

/// A password verification, which runs outside of the event loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verification {
    password: Secret,
    hash: PasswordHash,
    /// True if no user has this name. The verification then takes as long as for a known user, so
    /// the time does not reveal which names exist.
    unknown: bool,
}

impl Verification {
    /// Prepares the verification of a user's password. Returns `None` if there are no users.
    pub fn new(users: &[User], user: &[u8], password: Secret) -> Option<Verification> {
        let found = users.iter().find(|known| known.name.as_bytes() == user);
        let hash = found.or(users.first())?.hash.clone();
        Some(Verification {
            password,
            hash,
            unknown: found.is_none(),
        })
    }

    /// Verifies the password and returns true if it is right. Slow.
    pub fn run(&self) -> bool {
        self.hash.matches(&self.password) & !self.unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn hashes() {
        // RFC 7914 11
        let salt = encode_url(b"salt");
        let hash = "VawEbjHja-XsJWXvxyLwWSL7blCf-5_HGFbPHP0xxp8";
        assert_eq!(decode_url(hash.as_bytes()).map(|hash| hash.len()), Some(32));
        let text = format!(
            "pbkdf2-sha256:1:{}:{}",
            encode_url(b"salt"),
            encode_url(&derived(b"passwd", b"salt", 1))
        );
        let parsed = PasswordHash::parse(&text).expect("a hash");
        assert_eq!(parsed.to_string(), text);
        assert!(
            parsed.matches(&secret("passwd"))
                && !parsed.matches(&secret("passwd "))
                && !parsed.matches(&secret(""))
        );
        // The first 32 bytes of the RFC's output for P = "passwd", S = "salt", c = 1.
        assert_eq!(
            derived(b"passwd", b"salt", 1)[..16],
            [
                0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f, 0xec, 0x16, 0x91, 0xc2, 0x25, 0x44,
                0xb6, 0x05
            ]
        );
        for bad in [
            "",
            "secret",
            "pbkdf2-sha256:",
            "pbkdf2-sha256:1",
            &format!("pbkdf2-sha512:1:{salt}:{hash}"),
            &format!("pbkdf2-sha256:0:{salt}:{hash}"),
            &format!("pbkdf2-sha256:+1:{salt}:{hash}"),
            &format!("pbkdf2-sha256:10000001:{salt}:{hash}"),
            &format!("pbkdf2-sha256:1::{hash}"),
            &format!("pbkdf2-sha256:1:{salt}=:{hash}"),
            &format!("pbkdf2-sha256:1:{salt}:"),
            &format!("pbkdf2-sha256:1:{salt}:AAAA"),
            &format!("pbkdf2-sha256:1:{salt}:{hash}:"),
            &format!("pbkdf2-sha256:1:{}:{hash}", "A".repeat(88)),
        ] {
            assert!(PasswordHash::parse(bad).is_err(), "{bad}");
        }
    }

    fn derived(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut out = vec![0; HASH_BYTES];
        let iterations = NonZeroU32::new(iterations).expect("not zero");
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            salt,
            password,
            &mut out,
        );
        out
    }

    #[test]
    fn unknown_users_are_refused_by_the_same_work() {
        let hash = PasswordHash::parse(&format!(
            "pbkdf2-sha256:10:c2FsdA:{}",
            encode_url(&derived(b"pw", b"salt", 10))
        ))
        .expect("a hash");
        let users = [User {
            name: "ann".to_owned(),
            hash,
        }];
        let verified = |user: &str, password: &str| {
            Verification::new(&users, user.as_bytes(), secret(password)).map(|work| work.run())
        };
        assert_eq!(verified("ann", "pw"), Some(true));
        assert_eq!(verified("ann", "PW"), Some(false));
        assert_eq!(verified("bob", "pw"), Some(false));
        assert!(Verification::new(&[], b"ann", secret("pw")).is_none());
    }
}

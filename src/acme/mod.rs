//! Certificates from an authority that speaks ACME (RFC 8555), with proof by `http-01` or
//! `tls-alpn-01` (RFC 8737), for names and addresses (RFC 8738), renewed when the authority says so
//! (RFC 9773).
//!
//! Everything here is pure: time is an argument, requests and files leave as steps, randomness and
//! signatures come through [`Keys`]. `net` carries the steps out.
//!
//! ```text
//! Plan --> Machine --Step--> net: a request to the authority, files to save, a challenge to offer,
//!             ^                   a certificate to serve, a line for the log
//!             +---- answered, saved, probed
//! ```

pub mod encode;
pub mod identifier;
mod jws;
mod machine;
mod messages;
mod pem_file;
mod schedule;
mod state;
mod text;
pub mod url;

use std::collections::BTreeMap;

use crate::time::UnixTime;

pub use self::identifier::{Identifier, IdentifierFault};
pub use self::machine::{Machine, rows};
pub use self::url::Url;

/// Kind of proof that a name belongs to this gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A file on port 80 (RFC 8555 8.3).
    Http01,
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
}

impl Kind {
    /// Returns the word of the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Http01 => "http-01",
            Kind::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// Certificates that the configuration asks for, and the authority that issues them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Directory of the authority.
    pub directory: Url,
    /// Addresses that the authority may write to, each once.
    pub emails: Vec<Box<str>>,
    /// Profile of the certificates, if one is asked for.
    pub profile: Option<Box<str>>,
    /// Account outside of ACME that the account belongs to, if there is one.
    pub eab: Option<Eab>,
    /// Certificates, each set of names once.
    pub certificates: Vec<Wanted>,
}

/// Account at an authority outside of ACME (RFC 8555 7.3.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Eab {
    /// Key identifier.
    pub kid: Box<str>,
    /// Key of the MAC.
    pub key: Box<[u8]>,
}

/// Certificate that a listener asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Names, sorted, each once; at least one.
    pub names: Vec<Identifier>,
    /// Kind of proof.
    pub kind: Kind,
    /// Port of the listener that proves it.
    pub port: u16,
}

/// Work that the machine waits for, or that is done in passing.
pub enum Step {
    /// Nothing to do until then, unless the plan changes.
    Wait(UnixTime),
    /// Request to the authority; its answer goes to `answered`.
    Request(Request),
    /// Question to the gateway itself by these names, before an order; the result goes to `probed`.
    Probe(Vec<Identifier>, Kind),
    /// Files to save, in this order; the result goes to `saved`.
    Save(Vec<File>),
    /// Challenge to answer from now on, beside those before.
    Offer(Challenge),
    /// No challenge is answered any more.
    Withdraw,
    /// Certificate to serve from now on. It is saved already.
    Install(Stored),
    /// Event for the log.
    Report(Report),
}

/// Method of a request to the authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`, with `Content-Type: application/jose+json`.
    Post,
}

/// Request to the origin of the directory.
#[derive(Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: Box<str>,
    /// Body of a `POST`; otherwise empty.
    pub body: Vec<u8>,
}

/// Name and value of a field.
pub type Field = (Box<[u8]>, Box<[u8]>);

/// Response of the authority.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names and values of the fields.
    pub fields: Vec<Field>,
    /// Body, at most [`BODY_BYTES`].
    pub body: Vec<u8>,
}

/// File of the state folder.
pub struct File {
    /// Name in the folder: lower-case letters, digits, `.` and `-`.
    pub name: String,
    /// Content; `None`: the file is removed.
    pub bytes: Option<Vec<u8>>,
}

/// The state folder.
pub trait Folder {
    /// Returns the content of a file; `None` if it is missing or cannot be read.
    fn read(&self, name: &str) -> Option<Vec<u8>>;

    /// Returns the names of its files.
    fn names(&self) -> Vec<String>;
}

/// A folder in memory.
impl Folder for BTreeMap<String, Vec<u8>> {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// Challenge to answer.
pub struct Challenge {
    /// Name or address that is proved.
    pub identifier: Identifier,
    /// Answer.
    pub proof: Proof,
}

/// Answer to a challenge.
pub enum Proof {
    /// Answer of `GET /.well-known/acme-challenge/TOKEN` (RFC 8555 8.3).
    Http01 {
        /// Last segment of the path.
        token: Box<str>,
        /// Body of the answer, an `application/octet-stream`.
        text: Box<str>,
    },
    /// Certificate of a handshake with [`Identifier::sni`] and the protocol `acme-tls/1` alone
    /// (RFC 8737 3).
    TlsAlpn01 {
        /// The certificate, DER.
        certificate: Vec<u8>,
        /// Key of the certificate, PKCS #8.
        key: Vec<u8>,
    },
}

/// Certificate with its key.
#[derive(Clone)]
pub struct Stored {
    /// Names that it is for.
    pub names: Vec<Identifier>,
    /// Key (PKCS #8) and chain, PEM in one file.
    pub pem: Vec<u8>,
}

/// Event for the log.
pub struct Report {
    /// Weight.
    pub level: Level,
    /// Text.
    pub text: String,
}

/// Weight of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// All is well.
    Info,
    /// The operator may have to act.
    Warn,
}

/// State of one certificate, for the page and for commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Names.
    pub names: Vec<Identifier>,
    /// Name of its file in the state folder.
    pub file: String,
    /// End of validity; `None`: there is no certificate yet.
    pub not_after: Option<UnixTime>,
    /// Time of the next order.
    pub next: Option<UnixTime>,
    /// State in words.
    pub step: &'static str,
    /// Last failure, until an order succeeds.
    pub problem: Option<String>,
}

/// Keys and randomness, which the core does not have.
pub trait Keys {
    /// Returns a new P-256 key, PKCS #8.
    fn generate(&mut self) -> Option<Vec<u8>>;
    /// Returns the public key of a P-256 key: `04`, x, y.
    fn public(&mut self, pkcs8: &[u8]) -> Option<[u8; 65]>;
    /// Returns the ECDSA signature over the SHA-256 of the message: r, s.
    fn sign(&mut self, pkcs8: &[u8], message: &[u8]) -> Option<[u8; 64]>;
    /// Returns a random number.
    fn random(&mut self) -> u64;
}

/// Name of the file with the state.
pub const STATE_FILE: &str = "state.json";

/// Name of the file with the account's key.
pub const ACCOUNT_FILE: &str = "account.pem";

/// Bytes of a body of the authority: a chain of five certificates has 10 KB.
pub const BODY_BYTES: usize = 64 << 10;

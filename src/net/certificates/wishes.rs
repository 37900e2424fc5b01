//! Wishes of the orders that the event loop carries out.

use crate::transport::ordered::{ChallengeCertificate, OrderedCertificate};

/// Wishes that the event loop carries out.
#[derive(Default)]
pub(super) struct Wishes {
    /// Files that plain listeners have, by name.
    pub(super) files: Vec<(Box<str>, Box<str>)>,
    /// File that the gateway asks itself for, while it does.
    pub(super) probe: Option<(Box<str>, Box<str>)>,
    /// Certificates of handshakes that prove names.
    pub(super) proofs: Vec<ChallengeCertificate>,
    /// True if the challenges changed.
    pub(super) is_changed: bool,
    /// True once the certificates of the folder are there.
    pub(super) is_started: bool,
    /// Certificates to serve, each with its names; of those with a name in common the last serves it.
    pub(super) certificates: Vec<(Vec<String>, OrderedCertificate)>,
    /// True if certificates came.
    pub(super) has_new: bool,
}

//! Challenges of an authority that are open, as the engine keeps them.

/// Open challenges.
pub struct Challenges {
    /// Name of the file and its content, for each `http-01`.
    pub files: Vec<(Box<str>, Box<str>)>,
    /// True if TLS listeners prove names, too: peers that `deny` refuses are let through to the
    /// handshake, and no further.
    pub in_handshakes: bool,
}

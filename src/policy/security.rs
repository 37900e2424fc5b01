//! The security headers: helmet 8's defaults, each unless the upstream sent one of that name.

/// `securityHeaders`, when it is not false: name and value of each header, in the order they are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecurityHeaders {
    /// Valid field names and values (RFC 9110 5.1, 5.5).
    pub fields: Vec<(String, String)>,
}

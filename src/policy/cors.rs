//! Cross-origin resource sharing, as the npm package `cors` does it.

use crate::time::Duration;

/// `cors`, when it is not false.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsPolicy {
    /// `None`: any origin (`*`). Else the origins that are echoed, byte for byte.
    pub origins: Option<Vec<String>>,
    /// `Access-Control-Allow-Methods`, in order.
    pub methods: Vec<String>,
    /// `None`: reflect what the preflight asks for. Else the list for `Access-Control-Allow-Headers`.
    pub headers: Option<Vec<String>>,
    /// `Access-Control-Expose-Headers`; empty: not sent.
    pub expose_headers: Vec<String>,
    /// `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// `Access-Control-Max-Age` in seconds; `None`: not sent.
    pub max_age: Option<Duration>,
    /// Whether an OPTIONS that is no preflight goes on to the upstream.
    pub forward_options: bool,
}

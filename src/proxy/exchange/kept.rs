//! Text of a request that its response needs, in one allocation.

/// Byte between the two texts, which neither of them can have (RFC 9110 5.5).
const SEPARATOR: u8 = b'\n';

/// The client's `Origin`, for a CORS policy with named origins, and scheme and host as the client asked
/// for them, for rewritten URLs. Empty if the service needs none of them.
#[derive(Default)]
pub(in crate::proxy) struct KeptText(Box<[u8]>);

impl KeptText {
    /// Keeps an `Origin`.
    pub(in crate::proxy) fn of_origin(origin: &[u8]) -> KeptText {
        KeptText(origin.into())
    }

    /// Keeps an `Origin`, which may be empty, and a URL without a path.
    pub(in crate::proxy) fn with_url(self, parts: [&[u8]; 2]) -> KeptText {
        let [scheme, host] = parts;
        KeptText([&*self.0, &[SEPARATOR], scheme, host].concat().into())
    }

    /// Returns the `Origin`. `has_url`: a URL is kept, too.
    #[inline(always)]
    pub(in crate::proxy) fn origin(&self, has_url: bool) -> Option<&[u8]> {
        match has_url {
            false => (!self.0.is_empty()).then_some(&*self.0),
            true => self.before_separator(),
        }
    }

    #[cold]
    #[inline(never)]
    fn before_separator(&self) -> Option<&[u8]> {
        let mut parts = self.0.split(|byte| *byte == SEPARATOR);
        parts.next().filter(|origin| !origin.is_empty())
    }

    /// Returns scheme and host as the client asked for them.
    #[cold]
    pub(super) fn url(&self) -> &[u8] {
        let mut parts = self.0.split(|byte| *byte == SEPARATOR);
        parts.nth(1).unwrap_or_default()
    }
}

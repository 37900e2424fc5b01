//! Fields (RFC 9110 5): known names, and the common grammars of values.

use crate::bytes;
use crate::cost;

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// Kind of a field name, as far as the gateway distinguishes it.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each variant is the field of that name")]
        pub enum Name {
            Other,
            /// Other name with a `_`, which some parsers take for `-`.
            Underscored,
            /// `X-Forwarded-…` other than the three with variants of their own.
            XForwardedOther,
            /// `X-Client-Subject`, which would share a slot with another name.
            XClientSubject,
            /// `Access-Control-Allow-…` other than `Access-Control-Allow-Origin`.
            AccessControlAllowOther,
            $($variant,)*
        }

        /// Known names. [`Name::of`] finds them by hash.
        const KNOWN: &[(Name, &[u8])] = &[$((Name::$variant, $text),)*];
    };
}

names! {
    Host = b"host",
    ContentLength = b"content-length",
    TransferEncoding = b"transfer-encoding",
    Connection = b"connection",
    KeepAlive = b"keep-alive",
    ProxyConnection = b"proxy-connection",
    Te = b"te",
    Trailer = b"trailer",
    Upgrade = b"upgrade",
    Expect = b"expect",
    Via = b"via",
    XForwardedFor = b"x-forwarded-for",
    XForwardedProto = b"x-forwarded-proto",
    XForwardedHost = b"x-forwarded-host",
    XRealIp = b"x-real-ip",
    XRequestId = b"x-request-id",
    Traceparent = b"traceparent",
    Tracestate = b"tracestate",
    Forwarded = b"forwarded",
    Proxy = b"proxy",
    Origin = b"origin",
    AccessControlRequestMethod = b"access-control-request-method",
    AccessControlRequestHeaders = b"access-control-request-headers",
    AccessControlAllowOrigin = b"access-control-allow-origin",
    AccessControlExposeHeaders = b"access-control-expose-headers",
    Authorization = b"authorization",
    ProxyAuthorization = b"proxy-authorization",
    ProxyAuthenticate = b"proxy-authenticate",
    ProxyAuthenticationInfo = b"proxy-authentication-info",
    Http2Settings = b"http2-settings",
    MaxForwards = b"max-forwards",
    Referer = b"referer",
    UserAgent = b"user-agent",
    Date = b"date",
    XPoweredBy = b"x-powered-by",
    SecWebSocketKey = b"sec-websocket-key",
    SecWebSocketVersion = b"sec-websocket-version",
    ContentSecurityPolicy = b"content-security-policy",
    CrossOriginOpenerPolicy = b"cross-origin-opener-policy",
    CrossOriginResourcePolicy = b"cross-origin-resource-policy",
    OriginAgentCluster = b"origin-agent-cluster",
    ReferrerPolicy = b"referrer-policy",
    StrictTransportSecurity = b"strict-transport-security",
    XContentTypeOptions = b"x-content-type-options",
    XDnsPrefetchControl = b"x-dns-prefetch-control",
    XDownloadOptions = b"x-download-options",
    XFrameOptions = b"x-frame-options",
    XPermittedCrossDomainPolicies = b"x-permitted-cross-domain-policies",
    XXssProtection = b"x-xss-protection",
}

/// Returns the index of a name in [`SLOTS`]: a hash of its length and its outer bytes, ignoring
/// case. No two known names share a slot, so a name is compared with at most one other.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a length below 256 and two bytes with small factors"
)]
const fn slot(length: usize, first: u8, last: u8) -> usize {
    (length + (first | CASE) as usize * 10 + (last | CASE) as usize * 9) % SLOTS_LEN
}

const SLOTS_LEN: usize = 256;
/// Indices into [`KNOWN`].
const SLOTS: [u8; SLOTS_LEN] = slots();
const FREE: u8 = u8::MAX;

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated at compile time: a wrong index does not compile"
)]
const fn slots() -> [u8; SLOTS_LEN] {
    let mut slots = [FREE; SLOTS_LEN];
    let mut at = 0;
    while at < KNOWN.len() {
        let text = KNOWN[at].1;
        let slot = slot(text.len(), text[0], text[text.len() - 1]);
        assert!(
            slots[slot] == FREE,
            "two known names share a slot: other factors are needed"
        );
        slots[slot] = at as u8;
        at += 1;
    }
    slots
}

impl Name {
    /// Returns the kind of a name, ignoring case (RFC 9110 5.1).
    #[inline(always)]
    pub fn of(name: &[u8]) -> Name {
        let (Some(first), Some(last)) = (name.first(), name.last()) else {
            return Name::Other;
        };
        let index = SLOTS
            .get(slot(name.len() % SLOTS_LEN, *first, *last))
            .copied()
            .unwrap_or(FREE);
        match KNOWN.get(usize::from(index)) {
            Some((kind, text)) if is_spelled(name, text) => *kind,
            _ => Name::unlisted(name),
        }
    }

    fn unlisted(name: &[u8]) -> Name {
        const FORWARDED: &[u8] = b"x-forwarded-";
        const ALLOW: &[u8] = b"access-control-allow-";
        // No known name has a `_`.
        if !bytes::all(name, |byte| byte != b'_') {
            return Name::Underscored;
        }
        if !matches!(name, [b'X' | b'x' | b'A' | b'a', ..]) {
            return Name::Other;
        }
        let starts = |prefix: &[u8]| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        match name {
            [b'X' | b'x', b'-', ..] if starts(FORWARDED) => Name::XForwardedOther,
            [b'X' | b'x', b'-', ..] if name.eq_ignore_ascii_case(b"x-client-subject") => {
                Name::XClientSubject
            }
            [b'A' | b'a', b'C' | b'c', b'C' | b'c', ..] if starts(ALLOW) => {
                Name::AccessControlAllowOther
            }
            _ => Name::Other,
        }
    }
}

/// Returns true if `name` equals `text` ignoring case, eight bytes at a time. `text` is a known
/// name: lower-case letters, digits and hyphens. Of the bytes allowed in a name, only the letter
/// and its capital give the letter when the case bit is set, and only digits and hyphens give
/// themselves.
#[inline(always)]
fn is_spelled(name: &[u8], text: &[u8]) -> bool {
    if name.len() != text.len() {
        return false;
    }
    // From here on the compiler knows one length, and tests it once for both.
    let text = text.get(..name.len()).unwrap_or_default();
    let alike4 = |a: &[u8; 4], b: &[u8; 4]| {
        u32::from_ne_bytes(*a) | u32::from_ne_bytes([CASE; 4]) == u32::from_ne_bytes(*b)
    };
    // The last bytes overlap with the first ones, so that there is no shorter rest.
    if let Some(first) = name.first_chunk()
        && let Some(last) = name.last_chunk()
        && let Some(known_first) = text.first_chunk()
        && let Some(known_last) = text.last_chunk()
    {
        return alike8(last, known_last)
            && alike8(first, known_first)
            && (name.len() <= 16 || are_chunks_alike(name, text));
    }
    if let Some(first) = name.first_chunk()
        && let Some(last) = name.last_chunk()
        && let Some(known_first) = text.first_chunk()
        && let Some(known_last) = text.last_chunk()
    {
        return alike4(first, known_first) && alike4(last, known_last);
    }
    name.iter().zip(text).all(|(a, b)| a | CASE == *b)
}

fn are_chunks_alike(name: &[u8], text: &[u8]) -> bool {
    let (chunks, known) = (name.as_chunks().0, text.as_chunks().0);
    chunks.iter().zip(known).all(|(a, b)| alike8(a, b))
}

#[inline(always)]
fn alike8(a: &[u8; 8], b: &[u8; 8]) -> bool {
    u64::from_ne_bytes(*a) | u64::from_ne_bytes([CASE; 8]) == u64::from_ne_bytes(*b)
}

/// Bit that distinguishes a lower-case letter from its capital.
const CASE: u8 = 0x20;

/// Set of known names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NameSet(u64);

impl NameSet {
    /// Empty set.
    pub const EMPTY: NameSet = NameSet(0);

    /// Creates a set of these names.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "const code has no iterators; the loop is bounded by the length"
    )]
    pub const fn of(names: &[Name]) -> NameSet {
        let mut set = NameSet::EMPTY;
        let mut at = 0;
        while at < names.len() {
            set.0 |= 1 << names[at] as u8;
            at += 1;
        }
        set
    }

    /// Adds a name.
    pub const fn insert(&mut self, name: Name) {
        self.0 |= 1 << name as u8;
    }

    /// Returns true if the set contains the name.
    pub const fn contains(self, name: Name) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    /// Returns the union of both sets.
    pub const fn union(self, other: NameSet) -> NameSet {
        NameSet(self.0 | other.0)
    }

    /// Returns true if both sets have a name in common.
    pub const fn intersects(self, other: NameSet) -> bool {
        self.0 & other.0 != 0
    }
}

const _: () = assert!(KNOWN.len() + 5 <= 64, "a NameSet has 64 bits");

/// Returns true for a character of a token (RFC 9110 5.6.2).
pub const fn is_tchar(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}

/// Returns true for a byte of a field value (RFC 9110 5.5): obs-text is allowed, controls except
/// HTAB are not.
pub const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Removes optional whitespace around a value (RFC 9110 5.6.3).
pub fn without_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Returns the elements of a comma-separated list (RFC 9110 5.6.1), without empty ones, which a
/// recipient must ignore.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    cost::count(value.len());
    value
        .split(|&byte| byte == b',')
        .map(without_ows)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (kind, text) in KNOWN {
            assert_eq!(Name::of(text), *kind);
            assert_eq!(Name::of(&text.to_ascii_uppercase()), *kind);
            assert_eq!(
                Name::of(&[text, &b"x"[..]].concat()),
                Name::of(&[text, &b"q"[..]].concat())
            );
            assert_ne!(Name::of(&text[1..]), *kind);
        }
        assert_eq!(Name::of(b"X-Forwarded-Port"), Name::XForwardedOther);
        assert_eq!(Name::of(b"X-Forwarded-"), Name::XForwardedOther);
        for name in [
            "Access-Control-Allow-Credentials",
            "ACCESS-CONTROL-ALLOW-private-network",
            "access-control-allow-",
        ] {
            assert_eq!(
                Name::of(name.as_bytes()),
                Name::AccessControlAllowOther,
                "{name}"
            );
        }
        assert_eq!(
            Name::of(b"Access-Control-Allow-Origin"),
            Name::AccessControlAllowOrigin
        );
        assert_eq!(Name::of(b"Access-Control-Max-Age"), Name::Other);
        assert_eq!(Name::of(b"X-Client-Subject"), Name::XClientSubject);
        assert_eq!(Name::of(b"X-Client-Subjects"), Name::Other);
        assert_eq!(Name::of(b"Content_Length"), Name::Underscored);
        assert_eq!(Name::of(b"X-Forwarded-For_"), Name::Underscored);
        assert_eq!(Name::of(&[b'a'; 70_000]), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn lists_tolerate_empty_elements() {
        assert_eq!(
            tokens(b" ,close,, keep-alive\t,").collect::<Vec<_>>(),
            [&b"close"[..], b"keep-alive"]
        );
        assert_eq!(tokens(b"").count(), 0);
    }

    #[test]
    fn sets_are_sets() {
        let set = NameSet::of(&[Name::Host, Name::XXssProtection]);
        assert!(
            set.contains(Name::Host)
                && set.contains(Name::XXssProtection)
                && !set.contains(Name::Via)
        );
        assert!(
            set.intersects(NameSet::of(&[Name::Host]))
                && !set.intersects(NameSet::of(&[Name::Other]))
        );
    }
}

//! Limits of authentication.

use crate::time::Duration;

/// Bytes of a token; real ones have one or two thousand, and a head of the default length has no
/// room for more.
pub const AUTH_TOKEN_BYTES: usize = 16 << 10;
/// Bytes of a key's `kid`.
pub const AUTH_KEY_ID_BYTES: usize = 256;
/// Depth of lists and objects in a token or a key set; claims of identity providers need 4. Only
/// the total bytes bound members and elements: parsing costs in proportion to them.
pub const AUTH_JSON_DEPTH: usize = 8;
/// Bytes of a key set.
pub const JWKS_BYTES: usize = 256 << 10;
/// Keys of a set that are kept: the first usable ones. Identity providers have two to ten.
pub const AUTH_KEYS: usize = 64;
/// Keys tried for one token: each is a signature to verify.
pub const AUTH_KEYS_TRIED: usize = 4;
/// Default of a jwt provider's `leeway`, and the tolerance for an introspection endpoint's `nbf`:
/// clocks set by NTP differ by less than a second, and those of virtual machines by a little more.
pub const AUTH_LEEWAY_DEFAULT: Duration = Duration::from_secs(5);
/// Bytes of the subject of a token that the access log shows; the rest is truncated.
pub const AUTH_SUBJECT_BYTES: usize = 256;
/// Bytes of a credential's scopes, with their spaces.
pub const AUTH_SCOPE_BYTES: usize = 4 << 10;
/// Bytes of the header lines that one credential sends upstream.
pub const AUTH_FORWARDED_BYTES: usize = 8 << 10;
/// Bytes of the `Set-Cookie` lines that a forward endpoint sends to the client of an authorized
/// request. A session that is split into cookies of 4 KB fits.
pub const AUTH_CLIENT_LINES_BYTES: usize = 16 << 10;
/// Headers that one provider may send upstream.
pub const AUTH_FORWARDED_HEADERS: usize = 32;
/// Bytes of the name of such a header.
pub const AUTH_HEADER_NAME_BYTES: usize = 128;
/// Bytes of a secret of HMAC-SHA256 below which it is called weak: as many as the hash has
/// (RFC 7518 3.2).
pub const HMAC_KEY_BYTES: usize = 32;
/// Claims that rate limits count by, in the whole file: each valid token keeps a hash of each.
pub const AUTH_COUNTED_CLAIMS: usize = 8;
/// Bytes of the name of such a claim; a URL in the namespace of an issuer fits.
pub const AUTH_CLAIM_NAME_BYTES: usize = 128;
/// Providers that one service may name: each may have to be asked, one after the other.
pub const AUTH_PROVIDERS_PER_SERVICE: usize = 8;
/// Bytes of one provider's cache of valid credentials, and as much again for invalid ones: a few
/// thousand usual ones.
pub const AUTH_REMEMBERED_BYTES: usize = 2 << 20;
/// Time for which a verified token is not verified again; an earlier expiry of the token ends it.
pub const AUTH_TOKENS_REMEMBERED: Duration = Duration::from_secs(300);
/// Lookups at providers at once; requests above it get 503.
pub const AUTH_LOOKUPS: usize = 256;
/// Idle time of a connection to a provider.
pub const AUTH_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Timeout for a provider's response if `timeouts.response` is off.
pub const AUTH_WAIT_MAX: Duration = Duration::from_secs(60);
/// Credentials of one client that may prove not authentic within [`AUTH_FAILURES_WINDOW_DEFAULT`].
pub const AUTH_FAILURES_DEFAULT: u32 = 60;
/// Window of [`AUTH_FAILURES_DEFAULT`].
pub const AUTH_FAILURES_WINDOW_DEFAULT: Duration = Duration::from_secs(60);
/// Time for which a rejected token is rejected again without being verified: a token that its
/// issuer signed and that is not valid here, or one with a wrong signature.
pub const AUTH_REFUSED_REMEMBERED: Duration = Duration::from_secs(5);
/// Time for which a verified user and password are not verified again, from each use.
pub const AUTH_BASIC_REMEMBERED: Duration = Duration::from_secs(60);
/// Time for which a verified user and password are not verified again, from the verification.
pub const AUTH_BASIC_REMEMBERED_MAX: Duration = Duration::from_secs(3600);
/// Default of an introspection provider's `cache`.
pub const INTROSPECTION_CACHE_DEFAULT: Duration = Duration::from_secs(30);
/// Bytes of an introspection endpoint's response.
pub const INTROSPECTION_BYTES: usize = 64 << 10;
/// Bytes of a forward endpoint's response; a longer one is invalid.
pub const FORWARD_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of a forward-auth response that are sent to the client; a sign-in page has a few thousand.
/// A longer body is dropped.
pub const FORWARD_BODY_BYTES: usize = 16 << 10;
/// Interval at which a key set is fetched again.
pub const JWKS_REFRESH: Duration = Duration::from_secs(300);
/// Time after which one more fetch for unknown keys is allowed: [`JWKS_BURST`] fetches at once,
/// then one each time. A client that sends unknown ids must not cause fetches all the time.
pub const JWKS_FLOOR: Duration = Duration::from_secs(5);
/// See [`JWKS_FLOOR`].
pub const JWKS_BURST: u64 = 2;
/// Delay from a failed fetch to the next; doubled after each further failure.
pub const JWKS_RETRY: Duration = Duration::from_secs(1);
/// Upper bound of [`JWKS_RETRY`]'s back-off.
pub const JWKS_RETRY_MAX: Duration = Duration::from_secs(30);
/// Passwords waiting for verification; each takes a part of a second.
pub const PASSWORDS_WAITING: usize = 32;
/// Waiting passwords that each client may have while there is a place: further ones take at most half
/// of the places that are free. So an office behind one address gets in, and many addresses that
/// guess leave places to others. Of one client and one user name there is one.
pub const PASSWORDS_WAITING_PER_CLIENT: usize = 2;
/// Lookups of tokens that continue for a client after it disconnected, so that their results are
/// counted.
pub const TOKENS_LEFT_PER_CLIENT: usize = 8;
/// Signatures waiting for verification on the worker thread; each takes up to some milliseconds.
pub const SIGNATURES_WAITING: usize = 64;
/// Waiting signatures of one client.
pub const SIGNATURES_WAITING_PER_CLIENT: usize = 8;
/// Iterations of a new password hash: OWASP's advice of 2023 for PBKDF2 with HMAC-SHA-256.
pub const PBKDF2_ITERATIONS: core::num::NonZeroU32 = core::num::NonZeroU32::new(600_000).unwrap();
/// Most iterations of a password hash: some seconds.
pub const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;
/// Bytes of a new password hash's salt.
pub const PBKDF2_SALT_BYTES: usize = 16;
/// Most bytes of a salt.
pub const PBKDF2_SALT_BYTES_MAX: usize = 64;
/// Bytes of a password or API key that `tollgate hash` reads.
pub const HASHED_LINE_BYTES: usize = 4 << 10;

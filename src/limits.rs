//! Every numeric limit of tollgate that is not configuration: its unit in its name, and why it is what it is.
//!
//! What an operator may set has its default and its bounds here, too; `config` enforces the bounds.

use crate::time::Duration;

// --- buffers ---

/// Buffer sizes in bytes. 512 hold a script's head while its answer is awaited, 1 KB a browser's; 64 KB is one read of a body.
pub const BUFFER_CLASSES: [usize; 5] = [512, 1 << 10, 4 << 10, 20 << 10, 64 << 10];
/// The size of one read, and so the most that a stalled stream holds in one direction.
pub const READ_BYTES: usize = 64 << 10;
/// Ciphertext of one read's worth of plaintext: four records more than full, and what may go before them.
pub const SCRATCH_BYTES: usize = READ_BYTES + (1 << 10);
/// Storage the pool keeps for the next borrower; what comes back above it is freed.
pub const BUFFERS_RETAINED_BYTES: usize = 4 << 20;

// --- passages: bodies that go from socket to socket through a pipe of the kernel's ---

/// Longest request body that is read whole before an upstream connection is taken, in bytes. A longer one is passed on as it comes.
pub const BODY_GATHERED_BYTES: u64 = 64 << 10;
/// A longer body with a `Content-Length` has a least rate: so many bytes (1 KB/s) in each [`BODY_RATE_WINDOW`].
pub const BODY_LEAST_BYTES: u64 = 30 << 10;
/// Time over which the rate of a request body is measured.
pub const BODY_RATE_WINDOW: Duration = Duration::from_secs(30);
/// Bytes of a body that are still to come when it pays to stop copying: at 100 KB a body, a fifth less CPU than with 256 KB here.
pub const SPLICE_MIN_BYTES: u64 = 32 << 10;
/// A read of so many bytes shows a sender that is worth a pipe: one more system call finds out that it has no more to say.
pub const SPLICE_MIN_READ: usize = 16 << 10;
/// Pipes at once, of two descriptors and at most 64 KB in the kernel each. One is in use only while bytes wait in it; who finds
/// none copies. Linux lets a user have 1,024 of that size (`pipe-user-pages-soft`).
pub const PIPES_MAX: usize = 128;

// --- heads (RFC 9110 2.3, 5.4; RFC 9112 3) ---

/// Default of `limits.headBytes`.
pub const HEAD_BYTES_DEFAULT: usize = 16 << 10;
/// Largest `limits.headBytes`.
pub const HEAD_BYTES_MAX: usize = 256 << 10;
/// Smallest `limits.headBytes` and `limits.requestLine`: below it no real client fits.
pub const HEAD_BYTES_MIN: usize = 256;
/// Default of `limits.requestLine`; RFC 9112 3 recommends at least 8,000 octets.
pub const REQUEST_LINE_BYTES_DEFAULT: usize = 8 << 10;
/// Default of `limits.headers`.
pub const FIELDS_DEFAULT: usize = 100;
/// Largest `limits.headers`; also the size of the tokenizer's table on the stack.
pub const FIELDS_MAX: usize = 256;
/// Largest head an upstream may send, in bytes; more is a malformed response.
pub const RESPONSE_HEAD_BYTES: usize = 32 << 10;
/// Options that the `Connection` lines of one head may have together; real ones have three. Each field of a message with more
/// options than the known ones is looked up among them.
pub const CONNECTION_OPTIONS_MAX: usize = 64;
/// 1xx heads passed on before a final one is demanded (RFC 9110 15.2 allows any number; a flood is a fault).
pub const INTERIM_RESPONSES_MAX: u32 = 8;
/// Bytes of all 1xx heads of one response; they may have to wait for the client, one behind the other.
pub const INTERIM_BYTES: usize = 16 << 10;
/// Digits of a number in a head (Content-Length): 18 stay below 2^63 without an overflow check.
pub const DECIMAL_DIGITS: usize = 18;

// --- chunked coding (RFC 9112 7.1) ---

/// Hex digits of a chunk size: 15 stay below 2^60.
pub const CHUNK_SIZE_DIGITS: usize = 15;
/// Bytes of chunk extensions in one body; they are dropped, and their reading must stay cheap.
pub const CHUNK_EXTENSION_BYTES: usize = 16 << 10;
/// Bytes of a trailer section, which is checked and dropped.
pub const TRAILER_BYTES: usize = 16 << 10;
/// Fields of a trailer section.
pub const TRAILER_FIELDS: usize = 100;

// --- connections ---

/// Default of `limits.connections`: client connections at once.
pub const CONNECTIONS_DEFAULT: usize = 4096;
/// Largest `limits.connections`: slab indices must fit a 32-bit poll token beside side and generation.
pub const CONNECTIONS_MAX: usize = 1 << 17;
/// Idle connections kept to one target.
pub const IDLE_UPSTREAMS_PER_TARGET: usize = 1024;
/// Body bytes read and dropped after a gateway reply so that the connection can be kept (RFC 9112 9.3).
pub const DRAIN_BYTES: u64 = 64 << 10;
/// How long a lingering close waits for the next byte (RFC 9112 9.6).
pub const LINGER_IDLE: Duration = Duration::from_secs(2);
/// How long a lingering close lasts at most.
pub const LINGER_TOTAL: Duration = Duration::from_secs(30);
/// Bytes a lingering close discards at most.
pub const LINGER_BYTES: u64 = 64 << 20;
/// Times one socket may move bytes in a turn of the loop before others get theirs.
pub const PUMPS_PER_ITERATION: u8 = 16;
/// Bytes one socket may move in a turn of the loop before others get theirs.
pub const BYTES_PER_ITERATION: usize = 128 << 10;
/// Connections accepted in one turn.
pub const ACCEPTS_PER_ITERATION: usize = 32;
/// Largest `limits.connectionsPerClient`: more than there are.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = CONNECTIONS_MAX;
/// Idle connections that are looked at for one of a certain client's, when that client has its share.
pub const IDLE_LOOKED_AT: usize = 64;
/// Connections of denied clients that are held at once until they were told 403; more of them are closed.
pub const DENIED_CONNECTIONS: usize = 32;
/// Connections beyond `limits.connections` that are held at once for as long as it takes to tell them 503.
pub const SURPLUS_CONNECTIONS: usize = 256;
/// Reminders in the timer wheel for each timer there can be; above it the stale ones are swept out.
pub const REMINDERS_PER_TIMER: usize = 4;
/// Reminders the timer wheel keeps storage for once it is empty.
pub const REMINDERS_RETAINED: usize = 1024;
/// How often a request's `Via` may name us before it is taken to run in a circle.
pub const VIA_LOOPS_MAX: usize = 8;
/// Descriptors kept back for logs, epoll, listeners and lookups.
pub const DESCRIPTORS_RESERVED: usize = 24;
/// How long accepting rests when no descriptor is left and none becomes free.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(250);
/// Length of the queue of connections that the kernel completed and we have not accepted.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Certificates of one listener: all of them are held in memory, and read again when one changes.
pub const CERTIFICATES_MAX: usize = 1000;
/// Intermediate certificates that a client may show: real ones have one or two.
pub const CLIENT_INTERMEDIATES_MAX: usize = 5;
/// Bytes of all certificates that a client shows.
pub const CLIENT_CHAIN_BYTES: usize = 16 << 10;
/// Intermediate certificates that an upstream may show; some show the authorities above theirs, too.
pub const UPSTREAM_INTERMEDIATES_MAX: usize = 10;
/// Bytes of all certificates that an upstream shows; rustls takes no more in one message.
pub const UPSTREAM_CHAIN_BYTES: usize = 64 << 10;
/// Changes of its keys (RFC 8446 4.6.3) that a peer may make on one connection: 2^24 records lie between two that are needed.
pub const KEY_UPDATES_MAX: u8 = 64;
/// Bytes of ciphertext that must lie between two changes of a peer's keys.
pub const KEY_UPDATE_SPACING_BYTES: u32 = 16 << 10;
/// Tickets that an upstream may send on one connection; servers send from one to four.
pub const TICKETS_MAX: u8 = 64;
/// How long the handshakes of one turn may take together before the rest of them waits for the next turn. One may sign with an
/// RSA key of 4,096 bits, which is 6 ms, and a crowd of clients connects at once.
pub const HANDSHAKE_TIME_PER_ITERATION: Duration = Duration::from_millis(10);
/// A turn of the loop that takes this long is logged: everybody else has waited.
pub const SLOW_ITERATION: Duration = Duration::from_millis(50);
/// Turns after a slow one whose parts are timed: what goes on is named with its share, and what was a single time costs no more.
pub const SLOW_ITERATION_WATCH: u8 = 16;
/// The least time between two lines about slow turns.
pub const SLOW_ITERATION_NOTICE: Duration = Duration::from_secs(1);
/// How often the files of certificates are looked at; a change is acted on at the second look.
pub const CERTIFICATES_LOOK: Duration = Duration::from_secs(3);
/// How long before the end of a certificate the operator is warned.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);
/// Bytes of a client certificate's subject as upstreams see it; a client whose subject is longer is refused, never cut.
pub const CLIENT_SUBJECT_BYTES: usize = 1 << 10;

// --- names ---

/// How often a target's name is looked up again.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// How often a name that was never known is looked up again: this after the first failure, twice as long after each further one,
/// and at most [`RESOLVE_INTERVAL`]. Also the least time between two look-ups that requests cause.
pub const RESOLVE_RETRY: Duration = Duration::from_secs(1);
/// Names that are looked up at once.
pub const RESOLVER_THREADS: usize = 4;
/// A look-up that takes so long is slow: see `net::workers::dns`.
pub const RESOLVER_SLOW: core::time::Duration = core::time::Duration::from_secs(1);
/// A thread that has had no name to look up for so long ends.
pub const RESOLVER_IDLE: core::time::Duration = core::time::Duration::from_secs(5);
/// How long one address of a name is tried alone before the next one is tried as well (RFC 8305 5 and 8).
pub const RACE_DELAY: Duration = Duration::from_millis(250);
/// How long an address is left out that this machine cannot reach while another one of the same name is there.
pub const ABSENCE: Duration = RESOLVE_INTERVAL;
/// Addresses of one name that are used.
pub const ADDRESSES_PER_TARGET: usize = 16;

// --- several targets ---

/// Largest number of `targets` of a service: each choice looks at all of them.
pub const TARGETS_MAX: usize = 256;
/// Largest `weight`: with a share in percent and all targets together it stays far below 2^32.
pub const WEIGHT_MAX: u32 = 1000;
/// Default of `retries`.
pub const RETRIES_DEFAULT: u32 = 1;
/// Largest `retries`: each may take `timeouts.response`, and no client waits for ten of them.
pub const RETRIES_MAX: u32 = 10;
/// How long whoever came back takes to get its whole weight.
pub const SLOW_START_TIME: Duration = Duration::from_secs(10);
/// What it gets at first, in percent of its weight: with 1 of 10 targets, one request in a hundred.
pub const SLOW_START_PERCENT_MIN: u32 = 10;
/// Default of `healthCheck.interval`.
pub const CHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
/// Smallest `healthCheck.interval` and `timeout`: the timer wheel has slots of 64 ms.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Checks under way at once; more of them wait for a moment.
pub const CHECKS_AT_ONCE: usize = 256;
/// Default of `healthCheck.timeout`.
pub const CHECK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Default of `healthCheck.rise`.
pub const CHECK_RISE_DEFAULT: u32 = 2;
/// Default of `healthCheck.fall`.
pub const CHECK_FALL_DEFAULT: u32 = 3;
/// Largest `rise` and `fall`.
pub const CHECK_RUN_MAX: u32 = 1000;
/// Default of `passiveHealth.failures`.
pub const PASSIVE_FAILURES_DEFAULT: u32 = 5;
/// Largest `passiveHealth.failures`.
pub const PASSIVE_FAILURES_MAX: u32 = 1_000_000;
/// Defaults of `passiveHealth.window` and `eject`.
pub const PASSIVE_SPAN_DEFAULT: Duration = Duration::from_secs(30);
/// Clients that are remembered for each endpoint, so that a client counts once in a window; above it, each failure counts.
pub const PASSIVE_CLIENTS: usize = 1024;
/// Smallest `passiveHealth.eject`: each time is a line for the operator.
pub const PASSIVE_EJECT_MIN: Duration = Duration::from_secs(1);

// --- rate limit ---

/// Default of `rateLimit.requests`.
pub const RATE_REQUESTS_DEFAULT: u32 = 20;
/// Default of `rateLimit.window`.
pub const RATE_WINDOW_DEFAULT: Duration = Duration::from_secs(60);
/// Default of `rateLimit.ipv6Prefix`: a /64 is one subscriber.
pub const RATE_IPV6_PREFIX_DEFAULT: u8 = 64;
/// Largest `rateLimit.maxClients`; above it the table would outgrow a small host.
pub const RATE_CLIENTS_MAX: usize = 1 << 20;
/// Default of `rateLimit.maxClients`.
pub const RATE_CLIENTS_DEFAULT: usize = 65_536;

/// Largest `rateLimit.requests`: above it nothing is limited.
pub const RATE_REQUESTS_MAX: u32 = 1_000_000_000;

// --- configuration ---

/// Longest duration in the file: more is a slip of the unit.
pub const CONFIG_DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Largest `limits.bodyBytes`: 1 PB.
pub const BODY_BYTES_MAX: u64 = 1 << 50;
/// Largest configuration file in bytes: some 100,000 services.
pub const CONFIG_BYTES_MAX: usize = 16 << 20;
/// Levels of lists and objects in the file; what tollgate knows needs 5.
pub const CONFIG_DEPTH_MAX: usize = 16;
/// Addresses in `listen`: their poll tokens stand below those of the connections.
pub const LISTENERS_MAX: usize = 62;
/// Bytes of a unix socket's path: `sun_path` holds 108 with its NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// Bytes of a route or a target's path: a request line of the default length still has room behind it.
pub const CONFIG_PATH_BYTES_MAX: usize = 2048;
/// Defaults of `timeouts`.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const HEAD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// See [`CONNECT_TIMEOUT_DEFAULT`]; the article's.
pub const RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(75);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const UPSTREAM_KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(30);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const TUNNEL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// See [`CONNECT_TIMEOUT_DEFAULT`].
pub const SHUTDOWN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

// --- authentication ---

/// Bytes of a token; real ones have one or two thousand, and a head of the default length has no room for more.
pub const AUTH_TOKEN_BYTES: usize = 16 << 10;
/// Bytes of a key's `kid`.
pub const AUTH_KEY_ID_BYTES: usize = 256;
/// Levels of lists and objects in a token or a key set; claims of identity providers need 4. Members and elements have no bound
/// but the bytes of the whole: reading costs in proportion to these.
pub const AUTH_JSON_DEPTH: usize = 8;
/// Bytes of a key set.
pub const JWKS_BYTES: usize = 256 << 10;
/// Keys of a set that are kept: the first that can be used. Identity providers have two to ten.
pub const AUTH_KEYS: usize = 64;
/// Keys that one token is tried with: each is a signature to verify.
pub const AUTH_KEYS_TRIED: usize = 4;
/// Default of a jwt provider's `leeway`, and how far an introspection endpoint's `nbf` may be ahead: clocks that are set by NTP are
/// less than a second apart, and those of virtual machines some more.
pub const AUTH_LEEWAY_DEFAULT: Duration = Duration::from_secs(5);
/// Bytes of a credential's scopes, with their spaces.
pub const AUTH_SCOPE_BYTES: usize = 4 << 10;
/// Bytes of the header lines that one credential sends upstream.
pub const AUTH_FORWARDED_BYTES: usize = 8 << 10;
/// Bytes of the `Set-Cookie` lines that a forward endpoint sends to the client of a request that it lets in. A session that is split
/// into cookies of 4 KB fits.
pub const AUTH_CLIENT_LINES_BYTES: usize = 16 << 10;
/// Headers that one provider may send upstream.
pub const AUTH_FORWARDED_HEADERS: usize = 32;
/// Bytes of the name of such a header.
pub const AUTH_HEADER_NAME_BYTES: usize = 128;
/// Providers that one service may name: each may have to be asked, one behind the other.
pub const AUTH_PROVIDERS_PER_SERVICE: usize = 8;
/// Bytes of what one provider remembers of good credentials, and as much again of bad ones: some thousands of usual ones.
pub const AUTH_REMEMBERED_BYTES: usize = 2 << 20;
/// How long a verified token need not be verified again; its own end comes before that.
pub const AUTH_TOKENS_REMEMBERED: Duration = Duration::from_secs(300);
/// Questions to providers at once; who comes when there are as many is told 503.
pub const AUTH_QUESTIONS: usize = 256;
/// How long a connection to a provider may idle.
pub const AUTH_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a provider's answer is waited for where `timeouts.response` is off.
pub const AUTH_WAIT_MAX: Duration = Duration::from_secs(60);
/// Credentials of one client that may turn out not to be authentic within [`AUTH_FAILURES_WINDOW_DEFAULT`].
pub const AUTH_FAILURES_DEFAULT: u32 = 60;
/// The window of [`AUTH_FAILURES_DEFAULT`].
pub const AUTH_FAILURES_WINDOW_DEFAULT: Duration = Duration::from_secs(60);
/// How long a token that was refused is refused again without being verified: one that its issuer signed and that is not good here, or
/// one with a wrong signature.
pub const AUTH_REFUSED_REMEMBERED: Duration = Duration::from_secs(5);
/// How long a verified user and password need not be verified again, from each use on.
pub const AUTH_BASIC_REMEMBERED: Duration = Duration::from_secs(60);
/// The same from when they were verified.
pub const AUTH_BASIC_REMEMBERED_MAX: Duration = Duration::from_secs(3600);
/// Default of an introspection provider's `cache`.
pub const INTROSPECTION_CACHE_DEFAULT: Duration = Duration::from_secs(30);
/// Bytes of an introspection endpoint's answer.
pub const INTROSPECTION_BYTES: usize = 64 << 10;
/// Bytes of a forward endpoint's answer; more is none.
pub const FORWARD_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of a forward-auth answer that go to the client; a sign-in page has some thousands. A longer one goes without.
pub const FORWARD_BODY_BYTES: usize = 16 << 10;
/// How often a key set is fetched anew.
pub const JWKS_REFRESH: Duration = Duration::from_secs(300);
/// Fetches of a key set for keys that it did not have: [`JWKS_BURST`] at once, and one more each time this has passed. Who sends unknown
/// ids must not make us ask all the time.
pub const JWKS_FLOOR: Duration = Duration::from_secs(5);
/// See [`JWKS_FLOOR`].
pub const JWKS_BURST: u64 = 2;
/// From a fetch that failed to the next; twice as long after each further one.
pub const JWKS_RETRY: Duration = Duration::from_secs(1);
/// At most so long.
pub const JWKS_RETRY_MAX: Duration = Duration::from_secs(30);
/// Passwords that wait to be verified; each takes a part of a second.
pub const PASSWORDS_WAITING: usize = 16;
/// Those of one client; of one client and one user name there is one.
pub const PASSWORDS_WAITING_PER_CLIENT: usize = 2;
/// Questions about tokens that go on for one client after it has left, so that their answers are counted.
pub const TOKENS_LEFT_PER_CLIENT: usize = 8;
/// Signatures that wait to be verified away from the event loop; each takes up to some milliseconds.
pub const SIGNATURES_WAITING: usize = 64;
/// Signatures of one client that wait.
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

// --- logs ---

/// Access log bytes that wait for stdout before lines are dropped and counted.
pub const ACCESS_LOG_BYTES: usize = 1 << 20;
/// Access log bytes that are worth a write of their own.
pub const ACCESS_LOG_FLUSH_BYTES: usize = 32 << 10;
/// How long a line of the access log waits for company.
pub const ACCESS_LOG_FLUSH_AFTER: Duration = Duration::from_millis(200);
/// Bytes of one logged request field (request line, user, Referer, User-Agent); the rest is cut.
pub const ACCESS_FIELD_BYTES: usize = 8 << 10;
/// Bytes that a finished request's log fields keep allocated for the next request.
pub const ACCESS_FIELDS_RETAINED_BYTES: usize = 4 << 10;
/// Bytes of one operator message; the rest is cut.
pub const LOG_LINE_BYTES: usize = 2 << 10;
/// Operator messages that wait for stderr before they are dropped and counted.
pub const LOG_QUEUE_LINES: usize = 1024;

const _: () = {
    assert!(BUFFER_CLASSES[4] == READ_BYTES);
    assert!(
        BUFFER_CLASSES[3] > HEAD_BYTES_DEFAULT,
        "a default head and what we add fit the fourth class"
    );
    assert!(RESPONSE_HEAD_BYTES < READ_BYTES);
    assert!(REQUEST_LINE_BYTES_DEFAULT < HEAD_BYTES_DEFAULT);
    assert!(FIELDS_DEFAULT <= FIELDS_MAX);
    assert!(CHUNK_SIZE_DIGITS < 16 && DECIMAL_DIGITS < 19);
    assert!(HEAD_BYTES_MAX < u32::MAX as usize / 4);
};

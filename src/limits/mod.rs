//! Numeric limits of tollgate that are not configuration: unit in the name, reason in the comment.
//!
//! Defaults and bounds of configuration are here, too; `config` enforces the bounds.

mod admin;
mod auth;
mod config;
mod edits;
mod stores;
mod timeouts;
mod upstream;

pub use self::admin::*;
pub use self::auth::*;
pub use self::config::*;
pub use self::edits::*;
pub use self::stores::*;
pub use self::timeouts::*;
pub use self::upstream::*;
use crate::time::Duration;

// --- buffers ---

/// Buffer sizes in bytes. 392 hold a script's head while its response is awaited, 1 KB a browser's;
/// 64 KB is one read of a body. With what an allocator adds, 392 fill a block of 400.
pub const BUFFER_CLASSES: [usize; 5] = [392, 1 << 10, 4 << 10, 20 << 10, 64 << 10];
/// Size of one read, and so the most that a stalled stream holds in one direction.
pub const READ_BYTES: usize = 64 << 10;
/// Ciphertext of one read's worth of plaintext: four records more than full, and what may go before
/// them.
pub const SCRATCH_BYTES: usize = READ_BYTES + (1 << 10);
/// Storage the pool keeps for the next borrower; what comes back above it is freed.
pub const BUFFERS_RETAINED_BYTES: usize = 4 << 20;

// --- splicing: bodies that go from socket to socket through a pipe of the kernel ---

/// Longest request body that is read whole before an upstream connection is used, in bytes. A
/// longer one is streamed.
pub const BODY_GATHERED_BYTES: u64 = 64 << 10;
/// Minimum rate of a longer body with a `Content-Length`: bytes (1 KB/s) in each
/// [`BODY_RATE_WINDOW`].
pub const BODY_LEAST_BYTES: u64 = 30 << 10;
/// Time over which the rate of a request body is measured.
pub const BODY_RATE_WINDOW: Duration = Duration::from_secs(30);
/// Remaining bytes of a body from which splicing pays: at 100 KB a body, a fifth less CPU than with
/// 256 KB here.
pub const SPLICE_MIN_BYTES: u64 = 32 << 10;
/// Size of a read that shows a fast sender, worth a pipe: one more system call finds out that it
/// has no more to send.
pub const SPLICE_MIN_READ: usize = 16 << 10;
/// Pipes at once, of two descriptors and at most 64 KB in the kernel each. A pipe is in use only
/// while bytes wait in it; without a free pipe the body is copied. Linux lets a user have 1,024 of
/// that size (`pipe-user-pages-soft`).
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
/// Options that the `Connection` lines of one head may have together; real clients send three. Each
/// field of a message with more options than the known ones is looked up among them.
pub const CONNECTION_OPTIONS_MAX: usize = 64;
/// 1xx heads forwarded before a final one is required (RFC 9110 15.2 allows any number; a flood is
/// a fault).
pub const INTERIM_RESPONSES_MAX: u32 = 8;
/// Bytes of all 1xx heads of one response; they may have to wait for the client together.
pub const INTERIM_BYTES: usize = 16 << 10;
/// Digits of a number in a head (Content-Length): 18 stay below 2^63 without an overflow check.
pub const DECIMAL_DIGITS: usize = 18;

// --- chunked coding (RFC 9112 7.1) ---

/// Hex digits of a chunk size: 15 stay below 2^60.
pub const CHUNK_SIZE_DIGITS: usize = 15;
/// Bytes of chunk extensions in one body; they are dropped, and parsing them must stay cheap.
pub const CHUNK_EXTENSION_BYTES: usize = 16 << 10;
/// Bytes of a trailer section, which is checked and dropped.
pub const TRAILER_BYTES: usize = 16 << 10;
/// Fields of a trailer section.
pub const TRAILER_FIELDS: usize = 100;

// --- connections ---

/// Default of `limits.connections`: client connections at once.
pub const CONNECTIONS_DEFAULT: usize = 4096;
/// Largest `limits.connections`: slab indices must fit a 32-bit poll token beside side and
/// generation.
pub const CONNECTIONS_MAX: usize = 1 << 17;
/// Idle connections kept to one target.
pub const IDLE_UPSTREAMS_PER_TARGET: usize = 1024;
/// Body bytes read and dropped after a local reply so that the connection can be kept
/// (RFC 9112 9.3).
pub const DRAIN_BYTES: u64 = 64 << 10;
/// Time that a lingering close waits for the next byte (RFC 9112 9.6).
pub const LINGER_IDLE: Duration = Duration::from_secs(2);
/// Longest duration of a lingering close.
pub const LINGER_TOTAL: Duration = Duration::from_secs(30);
/// Bytes a lingering close discards at most.
pub const LINGER_BYTES: u64 = 64 << 20;
/// Times that one socket may move bytes in a loop iteration.
pub const PUMPS_PER_ITERATION: u8 = 16;
/// Bytes that one socket may move in a loop iteration.
pub const BYTES_PER_ITERATION: usize = 128 << 10;
/// Connections accepted in one loop iteration.
pub const ACCEPTS_PER_ITERATION: usize = 32;
/// Largest `limits.connectionsPerClient`: larger than any number of connections.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = CONNECTIONS_MAX;
/// Idle connections examined to find one of a given client, when that client has reached its share.
pub const IDLE_LOOKED_AT: usize = 64;
/// Connections of denied clients held at once until 403 is sent; more of them are closed.
pub const DENIED_CONNECTIONS: usize = 32;
/// Connections beyond `limits.connections` held at once until 503 is sent.
pub const SURPLUS_CONNECTIONS: usize = 256;
/// Entries in the timer wheel for each possible timer; above it the stale ones are removed.
pub const REMINDERS_PER_TIMER: usize = 4;
/// Entries that an empty timer wheel keeps storage for.
pub const REMINDERS_RETAINED: usize = 1024;
/// Number of own entries in a request's `Via` from which a loop is assumed.
pub const VIA_LOOPS_MAX: usize = 8;
/// Descriptors reserved for logs, epoll, listeners and lookups.
pub const DESCRIPTORS_RESERVED: usize = 24;
/// Time that accepting pauses when no descriptor is left and none becomes free.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(250);
/// Length of the queue of connections that the kernel completed and the gateway has not accepted.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Longest `listen[].name` and `services[].name` in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Largest header of the PROXY protocol, its TLVs included. The protocol allows 64 KB; balancers
/// send at most a few hundred bytes.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// Certificates of one listener: all of them are held in memory, and read again when one changes.
pub const CERTIFICATES_MAX: usize = 1000;
/// Intermediate certificates that a client may send; real ones send one or two.
pub const CLIENT_INTERMEDIATES_MAX: usize = 5;
/// Bytes of all certificates that a client sends.
pub const CLIENT_CHAIN_BYTES: usize = 16 << 10;
/// Intermediate certificates that an upstream may send; some send the authorities above theirs,
/// too.
pub const UPSTREAM_INTERMEDIATES_MAX: usize = 10;
/// Bytes of all certificates that an upstream sends; rustls accepts no more in one message.
pub const UPSTREAM_CHAIN_BYTES: usize = 64 << 10;
/// Key updates (RFC 8446 4.6.3) of a peer on one connection; a connection needs one every 2^24
/// records.
pub const KEY_UPDATES_MAX: u8 = 64;
/// Bytes of ciphertext required between two key updates of a peer.
pub const KEY_UPDATE_SPACING_BYTES: u32 = 16 << 10;
/// Tickets that an upstream may send on one connection; servers send from one to four.
pub const TICKETS_MAX: u8 = 64;
/// Time for all handshakes of one loop iteration; the rest waits for the next iteration. One may
/// sign with an RSA key of 4,096 bits, which takes 6 ms, and many clients may connect at once.
pub const HANDSHAKE_TIME_PER_ITERATION: Duration = Duration::from_millis(10);
/// Duration from which a loop iteration is logged as slow: every connection has waited.
pub const SLOW_ITERATION: Duration = Duration::from_millis(50);
/// Iterations after a slow one whose parts are timed: a repeated cause is named with its share, and
/// a single one costs no more.
pub const SLOW_ITERATION_WATCH: u8 = 16;
/// Bytes of a piece of the state that the new process of an upgrade takes over. One piece is on its
/// way at a time, and the gateway serves between two: a piece has 2,700 windows, while all
/// windows of the largest table took 69 to 104 ms in one go.
pub const CARRIED_PIECE_BYTES: usize = 64 << 10;
/// Bytes of a window of a rate limit in the state.
pub const CARRIED_WINDOW_BYTES: usize = 32;
/// Bytes of a piece of the state that the new process of an upgrade reads at most. A piece may be
/// larger than [`CARRIED_PIECE_BYTES`] by the names of one service and one target.
pub const UPGRADE_STATE_BYTES_MAX: u32 = 4 << 20;
/// Time within which the new process of an upgrade must be ready.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest time between two looks at the state that the service manager is told.
pub const NOTIFY_STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Messages to the service manager that wait while its socket is full; a further one is dropped.
pub const NOTIFY_WAITING: usize = 8;
/// Time after which a message that found the service manager's socket full is sent again.
pub const NOTIFY_RETRY: Duration = Duration::from_millis(100);
/// Shortest time between two warnings that connections of clients have no place. What happens at
/// another time of the day has another cause.
pub const FULL_NOTICE: Duration = Duration::from_secs(3600);
/// Shortest time between two lines about slow iterations.
pub const SLOW_ITERATION_NOTICE: Duration = Duration::from_secs(1);
/// Interval at which certificate files are examined; a change takes effect at the second
/// examination.
pub const CERTIFICATES_LOOK: Duration = Duration::from_secs(3);
/// Time before the end of a certificate at which the operator is warned.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);
/// Bytes of a client certificate's subject in the request to the upstream. A client whose subject
/// is longer is refused; the subject is never truncated.
pub const CLIENT_SUBJECT_BYTES: usize = 1 << 10;

// --- rate limit ---

/// Default of `rateLimit.requests`.
pub const RATE_REQUESTS_DEFAULT: u32 = 20;
/// Default of `rateLimit.window`.
pub const RATE_WINDOW_DEFAULT: Duration = Duration::from_secs(60);
/// Default of `rateLimit.ipv6Prefix`: a /64 is one subscriber.
pub const RATE_IPV6_PREFIX_DEFAULT: u8 = 64;
/// Largest `rateLimit.maxClients`: a larger table would not fit a small host.
pub const RATE_CLIENTS_MAX: usize = 1 << 20;
/// Default of `rateLimit.maxClients`.
pub const RATE_CLIENTS_DEFAULT: usize = 65_536;
/// Largest `rateLimit.requests`: a larger one limits nothing.
pub const RATE_REQUESTS_MAX: u32 = 1_000_000_000;
/// Limits of one `rateLimit`. Each of them is looked at for each request.
pub const RATE_LIMITS_MAX: usize = 4;
/// Clients that a table evicts in one turn, after a reload made `rateLimit.maxClients` smaller.
pub const RATE_EVICTED_PER_TURN: usize = 1024;

// --- logs ---

/// Bytes of the access log that may wait for stdout; above it lines are dropped and counted.
pub const ACCESS_LOG_BYTES: usize = 1 << 20;
/// Bytes of the access log that are written at once.
pub const ACCESS_LOG_FLUSH_BYTES: usize = 32 << 10;
/// Time that a line of the access log may wait for more lines.
pub const ACCESS_LOG_FLUSH_AFTER: Duration = Duration::from_millis(200);
/// Bytes of one logged request field (request line, user, Referer, User-Agent); the rest is
/// truncated.
pub const ACCESS_FIELD_BYTES: usize = 8 << 10;
/// Bytes of a log's line that `tollgate diff` reads; a longer line is counted and skipped. A line of
/// the access log has at most six times [`ACCESS_FIELD_BYTES`] for each of its fields.
pub const DIFF_LOG_LINE_BYTES: usize = 256 << 10;
/// Groups of requests that `tollgate diff` keeps; requests of further groups are only counted.
pub const DIFF_GROUPS_MAX: usize = 4096;
/// Groups of requests that `tollgate diff` shows.
pub const DIFF_GROUPS_SHOWN: usize = 50;
/// Bytes of a text from a log that `tollgate diff` shows; the rest is truncated.
pub const DIFF_SHOWN_BYTES: usize = 200;
/// Listeners that the JSON access log names; of those that reloads add beyond, the lines have null.
pub const LISTENER_NAMES_MAX: usize = 1024;
/// Bytes of a request id that is kept as a trusted proxy gave it.
pub const REQUEST_ID_BYTES: usize = 128;
/// Bytes of the name of the field with the request id (`requestId`).
pub const REQUEST_ID_NAME_BYTES: usize = 64;
/// Requests that the flight recorder records at once.
pub const RECORDINGS: usize = 64;
/// Recordings that wait for the thread that writes them.
pub const RECORDS_WAITING: usize = 16;
/// Services in the record of a request without a route.
pub const RECORD_SERVICES: usize = 32;
/// Inputs of a request that the flight recorder keeps.
pub const RECORD_INPUTS: usize = 1024;
/// See [`RECORD_BYTES_MAX`].
pub const RECORD_BYTES_DEFAULT: usize = 64 << 10;
/// Upper bound of the bytes that the flight recorder keeps of a request and its response
/// (`record.bytes`).
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// See [`RECORD_KEEP_MAX`].
pub const RECORD_KEEP_DEFAULT: usize = 50;
/// Upper bound of the files that the flight recorder keeps (`record.keep`).
pub const RECORD_KEEP_MAX: usize = 10_000;
/// Decisions about requests that are kept for `tollgate why`.
pub const DECISIONS: usize = 1000;
/// Bytes that a decision keeps of the request's id and of its first line.
pub const DECISION_TEXT_BYTES: usize = 128;
/// Failed attempts that a decision keeps: the first ones and the last one.
pub const DECISION_TRIES: usize = 4;
/// Bytes of a name that a decision keeps when its configuration was replaced.
pub const DECISION_NAME_BYTES: usize = 96;
/// Bytes of a text of the system or of TLS that a decision keeps.
pub const DECISION_REASON_BYTES: usize = 160;
/// Bytes that a finished request's log fields keep allocated for the next request.
pub const ACCESS_FIELDS_RETAINED_BYTES: usize = 4 << 10;
/// Bytes of one operator message; the rest is truncated.
pub const LOG_LINE_BYTES: usize = 2 << 10;
/// Operator messages that may wait for stderr; above it they are dropped and counted.
pub const LOG_QUEUE_LINES: usize = 1024;
/// Time after which a reload is tried again that found too many editions of the rules alive.
pub const RELOAD_RETRY: Duration = Duration::from_millis(100);
/// Time between two looks at the configuration file (`watch`).
pub const CONFIG_LOOK: Duration = Duration::from_secs(2);
/// Upper bound of the editions of the rules that requests without a response began with.
pub const EDITIONS_MAX: usize = 8;

/// Services and targets of replaced rules whose storage is given back in one turn of the loop.
pub const RETIRED_PER_TURN: usize = 256;

const _: () = {
    assert!(DECISION_TEXT_BYTES >= REQUEST_ID_BYTES, "an id fits whole");
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

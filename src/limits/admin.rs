//! Limits of the admin listener.

use crate::time::Duration;

/// Addresses in `admin`: their poll tokens are below those of the connections, too.
pub const ADMIN_LISTENERS_MAX: usize = 4;
/// Connections to the admin listener; further ones wait in the kernel.
pub const ADMIN_CONNECTIONS: usize = 16;
/// Connections to the admin listener over TCP: the rest is for commands, which come over unix
/// sockets.
pub const ADMIN_TCP_CONNECTIONS: usize = 12;
/// Bytes of the head of a request to the admin listener.
pub const ADMIN_HEAD_BYTES: usize = 8 << 10;
/// Fields of the head of a request to the admin listener.
pub const ADMIN_FIELDS: usize = 64;
/// Bytes of the body of a request to the admin listener, which are discarded.
pub const ADMIN_BODY_BYTES: usize = 1 << 10;
/// Bytes of the body of a response of the admin listener.
pub const ADMIN_RESPONSE_BYTES: usize = 64 << 10;
/// Bytes of a scrape or of the state that are written in one turn of the event loop; the row that
/// goes beyond is finished.
pub const SCRAPE_PIECE_BYTES: usize = ADMIN_RESPONSE_BYTES / 2;
/// Largest number of bytes of a piece: the row beyond is a histogram of 18 lines with the longest
/// route.
pub const ADMIN_PIECE_BYTES: usize =
    ADMIN_RESPONSE_BYTES + 18 * (super::CONFIG_PATH_BYTES_MAX + 128);
/// Bytes of a body that the commands of the command line read from the admin listener.
pub const ADMIN_ANSWER_BYTES: usize = 16 << 20;
/// Time that a client of the admin listener has for a head, for reading a response, and between two
/// requests.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which a client that waits for a reload is told that the reload goes on.
pub const ADMIN_RELOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for which the admin listener changes the log level by default.
pub const ADMIN_LOG_LEVEL_DEFAULT: Duration = Duration::from_secs(600);
/// Longest time for which the admin listener changes the log level.
pub const ADMIN_LOG_LEVEL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the name of a socket that systemd passes on (`FileDescriptorName=`).
pub const SOCKET_NAME_BYTES_MAX: usize = 255;
/// Failures that the status page shows.
pub const RECENT_FAILURES: usize = 20;
/// Bytes of the method and path of such a failure.
pub const RECENT_REQUEST_BYTES: usize = 200;
/// Bytes of the rows of the status page as it is served; the state in JSON has all rows.
pub const PAGE_ROW_BYTES: usize = 2 << 10;

// --- workers ---

/// Pause before a worker that has ended twice is started again; doubled each time.
pub const WORKER_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause before a worker is started again.
pub const WORKER_PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// Life of a worker after which its next start is at once.
pub const WORKER_PROVEN: Duration = Duration::from_secs(10);
/// Time that a worker has for an answer to the supervisor.
pub const WORKER_ANSWER: Duration = Duration::from_secs(5);
/// Time between two looks at the workers, for the sign of life to the service manager.
pub const WORKER_PULSE: Duration = Duration::from_secs(2);
/// Largest number of workers.
pub const WORKERS_MAX: usize = 64;
/// Listening sockets of all workers together, and those of the admin listener: what one message of
/// the kernel passes on (`SCM_MAX_FD` is 253).
pub const HANDED_OVER_MAX: usize = 250;

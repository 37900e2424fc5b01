//! Limits of the stores that gateways share counts through.

use crate::time::Duration;

/// Stores of a configuration.
pub const STORES_MAX: usize = 8;
/// Bytes of `stores.NAME.prefix`.
pub const STORE_PREFIX_BYTES_MAX: usize = 64;
/// Bytes of the user and of the password in `stores.NAME.url`, each.
pub const STORE_SECRET_BYTES_MAX: usize = 1024;
/// Largest number of a database.
pub const STORE_DATABASE_MAX: u32 = 65_535;
/// Windows that wait until the store hears of them. The counts of further ones stay in the table.
pub const STORE_QUEUE_MAX: usize = 16_384;
/// Bytes of the mark of a key at a supervisor: a letter, two numbers and what is between them.
pub const STORE_MARK_BYTES_MAX: usize = 24;
/// Counts that a store was sent and has not answered. Further ones wait.
pub const STORE_COUNTS_MAX: usize = 1024;
/// Bytes of commands that wait for the socket. Further ones are written later.
pub const STORE_PIPELINE_BYTES: usize = 64 << 10;
/// Bytes of the commands of one count, and of a repair of its key, at most.
pub const STORE_COUNT_BYTES_MAX: usize = 1 << 10;
/// Characters of the reason for the end of a connection that are kept.
pub const STORE_WHY_CHARS_MAX: usize = 240;
/// Time for the look-up of the name, the connection, TLS, and the first answer.
pub const STORE_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without an answer after which the connection is closed.
pub const STORE_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for which a request of an `exact` limit waits for the answer of the store.
pub const STORE_EXACT_WAIT: Duration = Duration::from_millis(50);
/// First pause before a connection is made again. It doubles.
pub const STORE_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
pub const STORE_PAUSE_MAX: Duration = Duration::from_secs(5);

const _: () = {
    // Three times the key, and 200 bytes of words, lengths and numbers.
    assert!(
        4 * (STORE_PREFIX_BYTES_MAX + 32 + STORE_MARK_BYTES_MAX) + 256 <= STORE_COUNT_BYTES_MAX
    );
};

//! The limit of open files, and how many connections it allows.

use crate::buffer::total;
use crate::limits::{ADMIN_CONNECTIONS, DESCRIPTORS_RESERVED, PIPES_MAX};
use crate::proxy::memory::{auth, subrequests};
use crate::proxy::settings::Settings;

/// Descriptors for each pipe, if descriptors are scarce.
const PIPE_SHARE: usize = 64;

/// Raises the soft limit of open files as far as the hard limit lets it, and reduces the limit of
/// connections to what can then be served. Returns the number of pipes. An exchange needs a
/// descriptor on either side, a pipe needs two. `admin`: addresses of the admin listener.
pub(super) fn fit_connections(settings: &mut Settings, admin: usize) -> usize {
    let reserved = total([
        DESCRIPTORS_RESERVED,
        admin,
        if admin > 0 { ADMIN_CONNECTIONS } else { 0 },
        subrequests(settings),
        auth::subrequests(settings),
    ]);
    let limits = &mut settings.limits;
    let wanted = total([
        limits.connections,
        limits.connections,
        limits.overflow,
        2 * PIPES_MAX,
        reserved,
    ]);
    let files = match rlimit::increase_nofile_limit(wanted as u64) {
        Ok(files) => usize::try_from(files).unwrap_or(usize::MAX),
        Err(error) => {
            log::debug!("the limit of open files is not known: {error}");
            return PIPES_MAX;
        }
    };
    if files >= wanted {
        return PIPES_MAX;
    }
    // Connections are worth more than pipes, which only save copying.
    let pipes = (files / PIPE_SHARE).min(PIPES_MAX);
    let usable = files
        .saturating_sub(reserved)
        .saturating_sub(pipes.saturating_mul(2));
    limits.overflow = limits.overflow.min(usable / 8);
    let fitting = (usable.saturating_sub(limits.overflow) / 2).max(1);
    if limits.connections > fitting {
        log::warn!(
            "limits.connections is {}, but with {files} open files only {fitting} connections can be served; raise the limit \
             (LimitNOFILE in systemd, ulimit -n)",
            limits.connections
        );
        limits.connections = fitting;
    }
    pipes
}

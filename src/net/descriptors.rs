//! The limit of open files, and how many connections it allows.

use crate::buffer::total;
use crate::limits::{ADMIN_CONNECTIONS, DESCRIPTORS_RESERVED, PIPES_MAX};
use crate::proxy::memory::{auth, subrequests};
use crate::proxy::settings::{Limits, Settings};

/// Descriptors for each pipe, if descriptors are scarce.
const PIPE_SHARE: usize = 64;

/// Need for descriptors.
pub(super) struct Plan {
    /// Descriptors beside those of clients and pipes.
    reserved: usize,
}

/// Numbers that a limit of open files allows.
pub(super) struct Fitting {
    /// Client connections.
    pub(super) connections: usize,
    overflow: usize,
    pipes: usize,
}

impl Plan {
    /// Returns the need of these settings. `admin`: number of addresses of the admin listener.
    pub(super) fn of(settings: &Settings, admin: usize) -> Plan {
        Plan {
            reserved: total([
                DESCRIPTORS_RESERVED,
                admin,
                if admin > 0 { ADMIN_CONNECTIONS } else { 0 },
                subrequests(settings),
                auth::subrequests(settings),
            ]),
        }
    }

    /// Returns the open files that all of these limits take. An exchange needs a descriptor on
    /// either side, a pipe needs two.
    pub(super) fn wanted(&self, limits: &Limits) -> usize {
        total([
            limits.connections,
            limits.connections,
            limits.overflow,
            2 * PIPES_MAX,
            self.reserved,
        ])
    }

    /// Returns what a limit of open files allows.
    pub(super) fn fit(&self, files: usize, limits: &Limits) -> Fitting {
        let (connections, overflow) = (limits.connections, limits.overflow);
        if files >= self.wanted(limits) {
            return Fitting {
                connections,
                overflow,
                pipes: PIPES_MAX,
            };
        }
        // Connections are worth more than pipes, which only save copying.
        let pipes = (files / PIPE_SHARE).min(PIPES_MAX);
        let usable = files
            .saturating_sub(self.reserved)
            .saturating_sub(pipes.saturating_mul(2));
        // At least one, so that a client without a place gets a 503 and does not wait for one.
        let overflow = overflow.min((usable / 8).max(1));
        let fitting = (usable.saturating_sub(overflow) / 2).max(1);
        Fitting {
            connections: connections.min(fitting),
            overflow,
            pipes,
        }
    }
}

/// Raises the soft limit of open files as far as the hard limit lets it, and reduces the limit of
/// connections to what can then be served. Returns the number of pipes. `admin`: addresses of the
/// admin listener.
pub(super) fn fit_connections(settings: &mut Settings, admin: usize) -> usize {
    let plan = Plan::of(settings, admin);
    let limits = &mut settings.limits;
    let files = match rlimit::increase_nofile_limit(plan.wanted(limits) as u64) {
        Ok(files) => usize::try_from(files).unwrap_or(usize::MAX),
        Err(error) => {
            log::debug!("the limit of open files is not known: {error}");
            return PIPES_MAX;
        }
    };
    let fitting = plan.fit(files, limits);
    if limits.connections > fitting.connections {
        log::warn!(
            "limits.connections is {}, but with {files} open files only {} connections can be served; raise the limit \
             (LimitNOFILE in systemd, ulimit -n)",
            limits.connections,
            fitting.connections
        );
    }
    limits.connections = fitting.connections;
    limits.overflow = fitting.overflow;
    fitting.pipes
}

//! The limit of open files.

use super::Examined;
use super::running::Running;
use crate::config::Config;
use crate::net::descriptors::Plan;
use crate::net::worker_count;

/// Says how many connections the limit of open files allows, if they are fewer than configured.
pub(super) fn examine(config: &Config, running: &Running, examined: &mut Examined) {
    examined.begin(1);
    // The gateway raises the soft limit to the hard one.
    let own = rlimit::Resource::NOFILE.get_hard().ok();
    let Some(files) = running.descriptors.or(own) else {
        return;
    };
    let workers = worker_count(config).max(running.workers);
    let mut config = config.clone();
    if workers > 1 {
        // The limit is that of one process, and so are the connections and the reserve.
        config.become_worker(workers);
    }
    let plan = Plan::of(&config.settings, config.admin.addresses.len());
    let limits = &config.settings.limits;
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let fitting = plan.fit(files, limits).connections;
    if limits.connections <= fitting {
        return;
    }
    let whose = match running.descriptors {
        Some(_) if workers > 1 => "of each running worker",
        Some(_) => "of the running gateway",
        None => "of this shell",
    };
    let each = match workers {
        0 | 1 => String::new(),
        _ => format!(" for each of {workers} workers"),
    };
    let problem = format!(
        "limits.connections is {}{each}, and the limit of open files {whose}, {files}, allows {fitting}",
        limits.connections
    );
    let cure = format!(
        "raise the limit to {} (LimitNOFILE= in systemd, ulimit -n in a shell), or lower limits.connections",
        plan.wanted(limits)
    );
    examined.find("descriptors", "descriptors", problem, &cure);
}

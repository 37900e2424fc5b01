//! State of the gateway that answers depend on, and facts about the process that metrics and the
//! status page show beside the engine's numbers.

use crate::acme::Row;
use crate::net::listener_counters::{ListenerCounters, OpenConnections};
use crate::proxy::Proxy;
use crate::time::{Duration, UnixTime};

/// State of the gateway that answers depend on.
#[derive(Clone, Copy)]
pub struct GatewayState<'a> {
    /// The engine.
    pub proxy: &'a Proxy,
    /// Collects what the event loop knows.
    pub facts: &'a dyn Fn() -> Facts,
    /// Returns whether a service of this name or route can serve; `None`: there is no such service.
    pub is_up: &'a dyn Fn(&str) -> Option<bool>,
    /// Progress of the gateway.
    pub progress: Progress,
    /// An upgrade is under way, or waits for the end of a reload.
    pub is_upgrading: bool,
}

/// Progress of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Serving.
    Running,
    /// Serving, while a new configuration is read.
    Reloading,
    /// Finishing what is in flight.
    Stopping,
}

/// Facts about the process, collected for one answer.
pub struct Facts {
    /// Time of day.
    pub now: UnixTime,
    /// Time at which the gateway started.
    pub started: UnixTime,
    /// The configuration.
    pub config: ConfigFacts,
    /// Longest iteration of the event loop in the last minutes.
    pub longest_turn: Duration,
    /// Iterations of the event loop in ten seconds.
    pub turns_per_10_s: u64,
    /// Lines of the access log that were dropped.
    pub dropped_lines: u64,
    /// Upper bound of the memory, in bytes.
    pub memory_bound: usize,
    /// Listeners.
    pub listeners: Vec<ListenerFacts>,
    /// Certificates of the listeners, and those that targets are shown: their files, and their ends, the first end at the front.
    pub certificates: Vec<(String, UnixTime)>,
    /// Certificates that are ordered from an authority.
    pub orders: Vec<Row>,
}

/// Facts about a listener.
pub struct ListenerFacts {
    /// Number that no other listener has.
    pub serial: u32,
    /// Address in the configuration.
    pub address: String,
    /// Connections that are open.
    pub open: OpenConnections,
    /// Numbers since it was opened.
    pub counters: ListenerCounters,
}

/// Facts about the configuration.
pub struct ConfigFacts {
    /// File; empty: there is none.
    pub path: String,
    /// Time at which the configuration of the moment was read.
    pub read_at: UnixTime,
    /// Reloads since the start, those that failed included.
    pub reloads: u64,
    /// Lines about the last reload, if it failed.
    pub errors: Option<String>,
}

/// Numbers of the process that the kernel has. 0: the kernel does not tell.
#[derive(Default)]
pub(super) struct ProcessFacts {
    /// Processor time in hundredths of a second.
    pub(super) cpu_centis: u64,
    /// Resident memory in bytes.
    pub(super) resident_bytes: u64,
    /// Open descriptors.
    pub(super) descriptors: u64,
    /// Limit of open descriptors.
    pub(super) descriptors_max: u64,
}

impl ProcessFacts {
    /// Asks the kernel. Files of `/proc` never wait for a disk.
    pub(super) fn read() -> ProcessFacts {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limit = rlimit::Resource::NOFILE.get_soft();
        ProcessFacts {
            cpu_centis: cpu_centis(&stat),
            resident_bytes: resident_bytes(&status),
            // Reading the folder has one open, too.
            descriptors: std::fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| (entries.count() as u64).saturating_sub(1)),
            descriptors_max: limit.unwrap_or(0),
        }
    }
}

/// Returns the time in user and kernel mode. Linux counts both in hundredths of a second
/// (`USER_HZ`), on every architecture that Rust has.
fn cpu_centis(stat: &str) -> u64 {
    // The name in parentheses may contain anything.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let mut next = || number(fields.next().unwrap_or_default());
    next().saturating_add(next())
}

fn resident_bytes(status: &str) -> u64 {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next());
    number(kilobytes.unwrap_or_default()).saturating_mul(1024)
}

fn number(text: &str) -> u64 {
    crate::digits::parse(text.as_bytes()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_kernel() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 90 0 0 0 123 45 0 0 20 0 5 0 9 9 9";
        assert_eq!((cpu_centis(stat), cpu_centis("")), (168, 0));
        let status = "Name:\ttollgate\nVmRSS:\t    2048 kB\nThreads:\t5\n";
        assert_eq!((resident_bytes(status), resident_bytes("")), (2 << 20, 0));
        let process = ProcessFacts::read();
        assert!(process.resident_bytes > 1 << 20 && process.descriptors > 2);
        assert!(process.descriptors_max >= process.descriptors);
    }
}

//! Counts of the kernel about a process group: CPU time, memory.

use std::fs;
use std::io;

/// The living processes of a group: what was started, and whatever that forked.
pub fn members(group: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // `pid (name) state ppid pgrp ...`; the name may hold anything.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut words = rest.split_whitespace();
        let (state, its_group) = (
            words.next(),
            words.nth(1).and_then(|word| word.parse().ok()),
        );
        if its_group == Some(group) && state != Some("Z") {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Nanoseconds on a CPU so far, all threads of the processes, by the scheduler's own count.
pub fn cpu_nanos(pids: &[u32]) -> io::Result<u64> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    Ok(sum)
}

/// Memory of all the processes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub resident: u64,
    pub private_dirty: u64,
}

pub fn memory(pids: &[u32]) -> io::Result<Memory> {
    let mut sum = Memory {
        resident: 0,
        private_dirty: 0,
    };
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024
        };
        sum.resident += field("Rss");
        sum.private_dirty += field("Private_Dirty");
    }
    Ok(sum)
}

/// The kernel's name, such as `Linux 6.1.0`.
pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}

/// CPUs of the machine, whatever this process is pinned to.
pub fn cpus() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("processor"))
        .count()
}

/// The model of the first CPU.
pub fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown CPU".to_owned(), |(_, name)| name.trim().to_owned())
}

/// Returns the congestion control of TCP, which influences every figure.
pub fn congestion_control() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

//! System calls per request: a short pass of its own under strace, whose cost would spoil any other figure.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::children::{Group, LOAD_CPU};

/// Counts the calls of some processes while `during` runs.
pub fn count_calls(
    pids: &[u32],
    folder: &Path,
    during: impl FnOnce() -> io::Result<()>,
) -> io::Result<u64> {
    let report = folder.join("strace");
    let _ = std::fs::remove_file(&report);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-c", "-U", "calls,name", "-o"])
        .arg(&report);
    for pid in pids {
        command.arg("-p").arg(pid.to_string());
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // strace shares no CPU with what it watches, or it would decide how many requests an epoll_wait finds.
    let mut strace = Group::start(command, LOAD_CPU)?;
    await_attached(pids)?;
    let outcome = during();
    if let Some(pid) = i32::try_from(strace.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::INT)?;
    }
    strace.child.wait()?;
    outcome?;
    total(&std::fs::read_to_string(&report)?)
}

/// Waits until the kernel says that each task has a tracer.
fn await_attached(pids: &[u32]) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let traced = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| {
                line.strip_prefix("TracerPid:")
                    .is_some_and(|tracer| tracer.trim() != "0")
            })
        };
        if pids.iter().all(traced) {
            thread::sleep(Duration::from_millis(50));
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(io::Error::other("strace could not attach"))
}

/// Reads the line `N total` at the end of strace's table.
fn total(table: &str) -> io::Result<u64> {
    let line = table
        .lines()
        .rev()
        .find(|line| line.trim_end().ends_with(" total"));
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    count.ok_or_else(|| io::Error::other(format!("strace wrote no table:\n{table}")))
}

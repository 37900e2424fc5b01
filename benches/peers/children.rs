//! Processes that were started: each in a group of its own on one CPU, all of them ended however this process ends.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::{CpuSet, sched_setaffinity};
use signal_hook_mio::v1_0::Signals;

use crate::procfs;

/// CPU of the gateways.
pub const GATEWAY_CPU: usize = 0;
/// CPU of load and origin, and of this process.
pub const LOAD_CPU: usize = 1;

/// Groups that run now.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Process group that ends when this value is dropped.
pub struct Group {
    pub child: Child,
}

/// Has SIGINT and SIGTERM end every group, then this process.
pub fn end_on_signals(folder: std::path::PathBuf) -> io::Result<()> {
    let mut poll = Poll::new()?;
    // SIGHUP, SIGINT, SIGTERM.
    let mut signals = Signals::new([1, 2, 15])?;
    poll.registry()
        .register(&mut signals, Token(0), Interest::READABLE)?;
    thread::spawn(move || {
        let mut events = Events::with_capacity(4);
        while signals.pending().next().is_none() {
            let _ = poll.poll(&mut events, None);
        }
        // The lock is held to the end, so that nothing more is started.
        let mut groups = groups();
        groups.drain(..).for_each(end);
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(130);
    });
    Ok(())
}

/// Pins this thread, and all processes that it starts afterwards.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)?;
    Ok(())
}

impl Group {
    /// Starts a program on a CPU.
    pub fn start(mut command: Command, cpu: usize) -> io::Result<Group> {
        let mut groups = groups();
        pin(cpu)?;
        let child = command.process_group(0).spawn();
        pin(LOAD_CPU)?;
        let child = child.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{}: {error}", command.get_program().to_string_lossy()),
            )
        })?;
        groups.push(child.id());
        Ok(Group { child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        end(self.id());
        let _ = self.child.wait();
        // A worker may live a little longer than its parent, and would take connections of the next instance.
        while procfs::members(self.id()).is_ok_and(|members| !members.is_empty()) {
            thread::sleep(Duration::from_millis(1));
        }
        let id = self.id();
        groups().retain(|other| *other != id);
    }
}

fn groups() -> MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(group: u32) {
    if let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Starts this binary in one of its other roles. Its input stays open while the handle exists.
pub fn this_binary(role: &str, arguments: &[String]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).args(arguments).stdin(Stdio::piped());
    Ok(command)
}

/// Opens a file for appending, so that it can be emptied meanwhile.
pub fn appending(path: &std::path::Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

//! Priority of a process on a CPU that several processes share. It is set by chrt, because the system calls need unsafe code.

use std::io;
use std::process::{Command, Stdio};

/// Upper bound of the bytes that one call of a low-priority process moves. The kernel may not take the CPU back during a call,
/// and a call that moves megabytes takes a millisecond.
pub const PIECE_BEHIND: usize = 16 * 1024;

/// Priority of a process on its CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Usual priority.
    Usual,
    /// Real-time priority (SCHED_FIFO): its measurements do not wait for its own CPU.
    Ahead,
    /// Lowest priority (SCHED_IDLE): the time that the others leave.
    Behind,
}

impl Priority {
    fn options(self) -> [&'static str; 2] {
        match self {
            Priority::Usual => ["--other", "0"],
            Priority::Ahead => ["--fifo", "1"],
            Priority::Behind => ["--idle", "0"],
        }
    }

    /// Returns the command with this priority.
    pub fn of(self, command: Command) -> Command {
        if self == Priority::Usual {
            return command;
        }
        let mut wrapped = Command::new("chrt");
        wrapped
            .args(self.options())
            .arg(command.get_program())
            .args(command.get_args());
        wrapped.stdin(Stdio::piped());
        wrapped
    }

    fn give(self, process: u32) -> io::Result<()> {
        let [class, level] = self.options();
        let output = Command::new("chrt")
            .args([class, "--pid", level, &process.to_string()])
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "chrt {class}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

/// Guard: a process has a higher priority until it is dropped.
pub struct Ahead(u32);

impl Ahead {
    /// Raises the priority, which needs CAP_SYS_NICE.
    pub fn of(process: u32) -> io::Result<Ahead> {
        Priority::Ahead.give(process)?;
        Ok(Ahead(process))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Err(error) = Priority::Usual.give(self.0) {
            eprintln!("peers: {error}");
        }
    }
}

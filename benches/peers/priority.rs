//! Who goes first on a CPU that several processes share. By chrt: the scheduler's own calls are not for safe code.

use std::io;
use std::process::{Command, Stdio};

/// The most that one call of a process behind the others moves. The kernel may not take the CPU back in the middle of a call,
/// and one that moves megabytes takes a millisecond.
pub const PIECE_BEHIND: usize = 16 * 1024;

/// A process's place in the queue for its CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Among equals.
    Usual,
    /// Before everybody else, from the moment it wakes (SCHED_FIFO): what it measures does not wait for its own CPU.
    Ahead,
    /// Only what the others leave (SCHED_IDLE).
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

    /// The command with this priority.
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

/// A process that is ahead of the others while this lives.
pub struct Ahead(u32);

impl Ahead {
    /// Needs CAP_SYS_NICE.
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

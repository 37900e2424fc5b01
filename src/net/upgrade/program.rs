//! Program of this process, which an upgrade and a supervisor start again.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};

/// Variable of the environment that tells a new process what its input is.
pub(super) const MARK: &str = "TOLLGATE_UPGRADE";
/// Variables that hold for the old process alone.
const OF_OLD_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
/// Variables that hold for the supervisor alone.
const OF_SUPERVISOR: [&str; 3] = [MARK, "NOTIFY_SOCKET", "WATCHDOG_USEC"];
/// End of the name of a program whose file was replaced.
const DELETED: &str = " (deleted)";
/// Variable of the environment by which a process knows that it is a worker: their number.
pub(in crate::net) const WORKER: &str = "TOLLGATE_WORKER";

/// Program that an upgrade starts: the one of this process, by its name at the start.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    /// Duplicate of stderr. While a line is logged, descriptor 2 is another file.
    stderr: OwnedFd,
}

impl Program {
    /// Looks at this process. Call it before the log starts.
    ///
    /// # Errors
    /// No descriptor is left, or the program has no name.
    pub fn of_process() -> io::Result<Program> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().map(PathBuf::from);
        // A name with a folder may be a symbolic link that an upgrade changes. The system's own
        // name of the program is the file behind it.
        let path = match name.filter(|name| name.components().count() > 1) {
            Some(name) => std::path::absolute(name)?,
            None => {
                let path = std::env::current_exe()?.into_os_string();
                let text = path.to_str().and_then(|text| text.strip_suffix(DELETED));
                text.map_or_else(|| PathBuf::from(&path), PathBuf::from)
            }
        };
        Ok(Program {
            path,
            arguments: arguments.collect(),
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }
}

impl Program {
    /// Returns the name of the program.
    pub(super) fn name(&self) -> impl core::fmt::Display {
        self.path.display()
    }

    /// Starts the program of this process as one of several workers, which finds its sockets at its
    /// input.
    ///
    /// # Errors
    /// No process or descriptor is left.
    pub(in crate::net) fn start_worker(&self, workers: usize, input: OwnedFd) -> io::Result<Child> {
        // The file of the program may have been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command.args(&self.arguments).stdin(input);
        command.env(WORKER, workers.to_string());
        command.stderr(self.stderr.try_clone()?);
        for variable in OF_OLD_PROCESS.iter().chain(&OF_SUPERVISOR) {
            command.env_remove(variable);
        }
        command.spawn()
    }
}

/// Starts the program. The command, which holds the other end of the pair, is gone afterwards.
pub(super) fn spawn(program: &Program, input: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env(MARK, "1").stdin(input);
    command.stderr(program.stderr.try_clone()?);
    for variable in OF_OLD_PROCESS {
        command.env_remove(variable);
    }
    command.spawn()
}

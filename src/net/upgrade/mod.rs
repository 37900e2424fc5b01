//! Upgrade of the binary: a new process takes the listening sockets over.
//!
//! ```text
//! old:  spawn ──> send sockets ──> wait for READY ──> GO, stop accepting, drain
//!                                       │ exit, or UPGRADE_TIMEOUT
//!                                       └──> go on, and say why
//! new:  receive sockets ──> check the file, start ──> READY ──> wait for GO ──> serve
//! ```
//!
//! Both accept from the same sockets for a moment, so no client is refused. A helper thread of the
//! old process does what takes time. Out of scope: how the sockets travel (`handover.rs`).

pub mod handover;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use mio::Waker;

use self::handover::{GO, Offer, READY};
use super::workers::queue::{Receiver, unbounded};
use super::workers::spawn as start_thread;
use crate::limits::UPGRADE_TIMEOUT;

/// Variable of the environment that tells a new process what its input is.
const MARK: &str = "TOLLGATE_UPGRADE";
/// Variables that hold for the old process alone.
const OF_OLD_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
/// End of the name of a program whose file was replaced.
const DELETED: &str = " (deleted)";

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

/// Process that is ready to serve.
pub(super) struct Successor {
    /// Id of the process.
    pub(super) pid: u32,
    stream: UnixStream,
}

impl Successor {
    /// Has the process serve. The caller stops to accept.
    pub(super) fn go(self) {
        // Where the new process is gone meanwhile, no process serves the sockets. A service manager
        // notices that.
        let _ = (&self.stream).write_all(&[GO]);
    }
}

/// Result of an upgrade; the text says why there is no new process.
type Outcome = Result<Successor, String>;

/// Upgrades of this process.
pub(super) struct Upgrader {
    program: Arc<Program>,
    under_way: Option<Receiver<Outcome>>,
}

impl Upgrader {
    pub(super) fn new(program: Program) -> Upgrader {
        Upgrader {
            program: Arc::new(program),
            under_way: None,
        }
    }

    /// Starts a new process, to which the sockets are offered.
    ///
    /// # Errors
    /// An upgrade is under way, or cannot begin.
    pub(super) fn begin(&mut self, offers: Vec<Offer>, waker: Arc<Waker>) -> Result<(), String> {
        if self.under_way.is_some() {
            return Err("an upgrade is under way already".to_owned());
        }
        if std::process::id() == 1 {
            return Err(
                "this is process 1, and its container ends with it: replace the container"
                    .to_owned(),
            );
        }
        let (sender, receiver) = unbounded();
        let program = Arc::clone(&self.program);
        let work = move || {
            // The loop lives as long as this thread.
            let _ = sender.send(replace(&program, &offers));
            let _ = waker.wake();
        };
        start_thread("upgrade", Box::new(work)).map_err(|error| error.to_string())?;
        self.under_way = Some(receiver);
        Ok(())
    }

    /// Returns the result of the upgrade, once it is there.
    pub(super) fn poll(&mut self) -> Option<Outcome> {
        let outcome = self.under_way.as_ref()?.poll()?;
        self.under_way = None;
        Some(outcome)
    }
}

fn replace(program: &Program, offers: &[Offer]) -> Outcome {
    let named = |error: io::Error| format!("{}: {error}", program.path.display());
    let (stream, input) = UnixStream::pair().map_err(named)?;
    let mut child = spawn(program, input.into()).map_err(named)?;
    let pid = child.id();
    match handshake(&stream, offers) {
        Ok(()) => Ok(Successor { pid, stream }),
        Err(error) => Err(format!(
            "{}: {}",
            program.path.display(),
            end(&mut child, &error)
        )),
    }
}

/// Starts the program. The command, which holds the other end of the pair, is gone afterwards.
fn spawn(program: &Program, input: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env(MARK, "1").stdin(input);
    command.stderr(program.stderr.try_clone()?);
    for variable in OF_OLD_PROCESS {
        command.env_remove(variable);
    }
    command.spawn()
}

fn handshake(mut stream: &UnixStream, offers: &[Offer]) -> io::Result<()> {
    let time = core::time::Duration::from_millis(UPGRADE_TIMEOUT.as_millis());
    stream.set_write_timeout(Some(time))?;
    stream.set_read_timeout(Some(time))?;
    handover::send(stream, offers)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [READY] {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Ends a process that did not become ready. Returns why it did not.
fn end(child: &mut Child, error: &io::Error) -> String {
    let timed_out = matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    );
    // A process that has ended already keeps its exit code.
    let _ = child.kill();
    let status = child.wait();
    match status {
        _ if timed_out => format!(
            "the new process was not ready within {} s and was killed",
            UPGRADE_TIMEOUT.as_secs_ceil()
        ),
        Ok(status) => format!("the new process ended before it was ready ({status})"),
        Err(_) => format!("the new process gave no answer: {error}"),
    }
}

/// The old process, seen from the new one.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Takes the input as the way to the old process, if there is one, with its sockets.
    ///
    /// # Errors
    /// The input is something else. The text says what to do.
    pub fn of_process() -> Result<Option<(Predecessor, Vec<Offer>)>, String> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let explain = |error: io::Error| {
            format!("{MARK} is set, and the input is not an old tollgate: {error}; unset it")
        };
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(explain)?;
        let stream = UnixStream::from(input);
        let time = core::time::Duration::from_millis(UPGRADE_TIMEOUT.as_millis());
        stream.set_read_timeout(Some(time)).map_err(explain)?;
        let offers = handover::receive(&stream).map_err(explain)?;
        Ok(Some((Predecessor(stream), offers)))
    }

    /// Tells the old process that this one can serve, and waits until it stops to accept.
    pub(super) fn announce(mut self) {
        if self.0.write_all(&[READY]).is_ok() {
            // If the old process is gone, this one serves all the same.
            let _ = self.0.read_exact(&mut [0]);
        }
    }
}

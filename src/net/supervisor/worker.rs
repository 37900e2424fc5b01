//! A worker: its process, and the link to it.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};

use log::{debug, warn};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, recv};

use super::restarts::Restarts;
use crate::config::LogLevel;
use crate::limits::WORKER_ANSWER;
use crate::net::upgrade::Program;
use crate::net::upgrade::handover::{self, Offer, READY};
use crate::time::{Duration, Instant};

/// Worker, which runs or is to be started.
#[derive(Default)]
pub(super) struct Worker {
    running: Option<Running>,
    /// True once it has said that it serves.
    pub(super) is_ready: bool,
    pub(super) restarts: Restarts,
    /// Time of the next start; `None`: it runs, or is not to be started.
    pub(super) start_at: Option<Instant>,
    /// Metrics that it gave last.
    pub(super) scrape: String,
}

struct Running {
    child: Child,
    stream: UnixStream,
    /// Second descriptor of the socket, for the poll.
    _watched: mio::net::UnixStream,
}

impl Worker {
    /// Returns a worker that is to be started.
    pub(super) fn due(at: Instant) -> Worker {
        Worker {
            start_at: Some(at),
            ..Worker::default()
        }
    }

    /// Starts the process and gives it its sockets.
    ///
    /// # Errors
    /// No process or descriptor is left.
    pub(super) fn start(
        &mut self,
        program: &Program,
        count: usize,
        offers: &[Offer],
        (registry, token): (&Registry, Token),
    ) -> io::Result<()> {
        let (stream, input) = UnixStream::pair()?;
        let time = core::time::Duration::from_millis(WORKER_ANSWER.as_millis());
        stream.set_write_timeout(Some(time))?;
        let mut watched = mio::net::UnixStream::from_std(stream.try_clone()?);
        registry.register(&mut watched, token, Interest::READABLE)?;
        let child = program.start_worker(count, input.into())?;
        self.is_ready = false;
        self.start_at = None;
        self.scrape.clear();
        // A process that ends at once is noticed by its end.
        let sent = handover::send(&stream, offers);
        self.running = Some(Running {
            child,
            stream,
            _watched: watched,
        });
        sent
    }

    /// Returns the id of the process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Reads what the worker says. Returns true when it begins to serve.
    pub(super) fn hear(&mut self) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let mut word = [0; 1];
        let heard = recv(&running.stream, &mut word, RecvFlags::DONTWAIT);
        let is_new = heard.is_ok_and(|(_, count)| count == 1) && word == [READY] && !self.is_ready;
        self.is_ready |= is_new;
        is_new
    }

    /// Returns the status of the process if it has ended, with its id.
    pub(super) fn ended(&mut self) -> Option<(u32, ExitStatus)> {
        let running = self.running.as_mut()?;
        let status = running.child.try_wait().ok().flatten()?;
        let pid = running.child.id();
        self.running = None;
        self.is_ready = false;
        Some((pid, status))
    }

    /// Passes sockets on.
    pub(super) fn pass(&self, offers: &[Offer]) -> io::Result<()> {
        match &self.running {
            Some(running) => handover::send(&running.stream, offers),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Asks something that an admin listener answers. `head`: request line and fields. Returns the
    /// connection on which the answer comes.
    pub(super) fn ask(&self, head: &str) -> io::Result<mio::net::UnixStream> {
        let request =
            format!("{head}Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let (ours, theirs) = UnixStream::pair()?;
        (&ours).write_all(request.as_bytes())?;
        ours.set_nonblocking(true)?;
        self.pass(&[Offer {
            name: String::new(),
            is_admin: true,
            owns_file: false,
            socket: theirs.into(),
        }])?;
        Ok(mio::net::UnixStream::from_std(ours))
    }

    /// Has the worker log at another level for a while. Its answer is not read.
    pub(super) fn change_level(&self, level: LogLevel, time: Duration) {
        let (level, time) = (level.as_str(), time.as_millis().max(1));
        let asked = self.ask(&format!(
            "POST /log?level={level}&for={time}ms HTTP/1.1\r\n"
        ));
        if let Err(error) = asked {
            debug!("a worker keeps its log level: {error}");
        }
    }

    /// Ends the process at once.
    pub(super) fn kill(&mut self) {
        if let Some(running) = &mut self.running
            && let Err(error) = running.child.kill()
        {
            warn!("process {} cannot be ended: {error}", running.child.id());
        }
    }
}

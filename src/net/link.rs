//! Link of a worker to its supervisor: over it come listening sockets and the files of a new
//! configuration, connections on which the supervisor asks what an admin listener answers, and the
//! connection on which it counts for all workers.
//!
//! Each message is a list of sockets ([`Offer`]). The end of the link is the end of the supervisor.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use mio::event::Source;
use rustix::net::RecvFlags;

use super::upgrade::handover::{self, Offer, READY};
use crate::limits::UPGRADE_TIMEOUT;
use crate::proxy::settings::SUPERVISOR;

/// Name of the files of the configuration, in a list of sockets.
pub(super) const FILES: &str = "@files";

/// Worker's end of the link.
pub struct Link {
    stream: UnixStream,
    /// Second descriptor of the socket, for the poll.
    watched: mio::net::UnixStream,
    /// Listening sockets of the last list that no configuration uses yet.
    passed: Vec<Offer>,
    /// Connection for counts that is not used yet.
    counts: Option<UnixStream>,
    /// Files of the configuration that was accepted last, if they were not read yet.
    files: Option<OwnedFd>,
    is_over: bool,
}

impl Link {
    /// Takes the input of the process as the link. Returns also the sockets of the listeners.
    ///
    /// # Errors
    /// The input is something else, or the supervisor is gone.
    pub(super) fn of_process() -> io::Result<(Link, Vec<Offer>)> {
        use std::os::fd::AsFd;
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let time = core::time::Duration::from_millis(UPGRADE_TIMEOUT.as_millis());
        stream.set_read_timeout(Some(time))?;
        let mut offers = handover::receive(&stream)?;
        let mut take = |name| {
            let place = offers.iter().position(|offer| offer.name == name)?;
            Some(offers.swap_remove(place).socket)
        };
        let (counts, files) = (take(SUPERVISOR), take(FILES));
        let watched = mio::net::UnixStream::from_std(stream.try_clone()?);
        let link = Link {
            stream,
            watched,
            passed: Vec::new(),
            counts: counts.map(UnixStream::from),
            files,
            is_over: false,
        };
        Ok((link, offers))
    }

    /// Returns what says that the worker serves.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn voice(&self) -> io::Result<Voice> {
        Ok(Voice(self.stream.try_clone()?))
    }

    /// Returns the next connection on which the supervisor asks.
    ///
    /// # Errors
    /// `WouldBlock`: there is none yet.
    pub(super) fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            let offers = match handover::receive_with(&self.stream, RecvFlags::DONTWAIT) {
                Ok(offers) => offers,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // What follows cannot be understood: without a supervisor the worker ends.
                Err(_) => {
                    self.is_over = true;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            };
            if offers.iter().any(|offer| offer.name == FILES) {
                // What came with earlier files is of no use any more, and keeps its addresses taken.
                self.passed.clear();
            }
            for offer in offers {
                if offer.is_admin {
                    let stream = UnixStream::from(offer.socket);
                    stream.set_nonblocking(true)?;
                    return Ok(stream);
                }
                if offer.name == SUPERVISOR {
                    self.counts = Some(UnixStream::from(offer.socket));
                    continue;
                }
                if offer.name == FILES {
                    self.files = Some(offer.socket);
                    continue;
                }
                self.passed.push(offer);
            }
        }
    }

    /// Takes the socket of an address of a new configuration.
    pub(super) fn take(&mut self, name: &str) -> Option<Offer> {
        let index = self.passed.iter().position(|offer| offer.name == name)?;
        Some(self.passed.swap_remove(index))
    }

    /// Closes sockets that no configuration uses, after a reload. Those of the next one stay.
    pub(super) fn forget(&mut self) {
        if self.files.is_none() {
            self.passed.clear();
        }
    }

    /// Takes the connection on which the supervisor counts for all workers.
    pub(super) fn take_counts(&mut self) -> Option<UnixStream> {
        self.counts.take()
    }

    /// Takes the files of the configuration that was accepted last.
    pub(super) fn take_files(&mut self) -> Option<OwnedFd> {
        self.files.take()
    }

    /// Returns true once, after the end of the supervisor.
    pub(super) fn takes_end(&mut self) -> bool {
        core::mem::take(&mut self.is_over)
    }

    /// Returns the part that the poll watches.
    pub(super) fn source(&mut self) -> &mut dyn Source {
        &mut self.watched
    }
}

/// Way to say that the worker serves.
pub(super) struct Voice(UnixStream);

impl Voice {
    /// Says that the worker serves.
    pub(super) fn ready(&mut self) {
        use std::io::Write;
        // A supervisor that is gone closes the link, which ends the worker.
        let _ = self.0.write_all(&[READY]);
    }
}

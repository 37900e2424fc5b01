//! Upgrade of the binary: a new process takes the listening sockets over, and the state that is to
//! go on: rate windows, addresses of names, health of targets, key sets, keys of TLS tickets, and a log
//! level that holds for a while.
//!
//! ```text
//!                                                          ┌──next piece──┐
//! old:  spawn ──> send sockets ──> wait for READY ──> STATE ──> wait for TAKEN ──> GO, stop accepting, drain
//!                                       │ exit, or UPGRADE_TIMEOUT   │
//!                                       └────────────────────────────┴──> go on, and say why
//! new:  receive sockets ──> check the file, start ──> READY ──> take each piece, TAKEN ──> wait for GO ──> serve
//! ```
//!
//! Both accept from the same sockets for a moment, so no client is refused. READY names the sockets
//! that the new process does not use: the old one accepts what waits there before it closes them. A
//! helper thread of the old process does what takes time. When the old process is asked to stop
//! meanwhile, it says STOP, and the new one ends.
//!
//! | file | duty |
//! |---|---|
//! | `handover` | how the sockets travel |
//! | `program` | the program that is started |
//! | `state` | the state, as bytes |

pub mod handover;
mod program;
pub(crate) mod state;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;

use log::debug;
use mio::Waker;

use self::handover::{GO, GO_RELOAD, Offer, READY, STATE, STOP, TAKEN};
pub use self::program::Program;
pub(in crate::net) use self::program::WORKER;
use self::program::{MARK, spawn};
use self::state::{CarriedTickets, Piece};
use super::workers::queue::{Receiver, Sender, unbounded};
use super::workers::spawn as start_thread;
use crate::config::LogLevel;
use crate::limits::{CARRIED_PIECE_BYTES, JWKS_BYTES, UPGRADE_STATE_BYTES_MAX, UPGRADE_TIMEOUT};
use crate::proxy::Proxy;
use crate::proxy::upgrade::Export;
use crate::time::{Duration, Instant};

/// Bytes of a piece of the state on its way: as values, and as bytes, in storage that has grown. A
/// key set goes whole.
pub(super) const PIECE_BYTES: usize = 3 * (CARRIED_PIECE_BYTES + JWKS_BYTES);

/// Begin of a line about something that the old process had.
pub(super) const CARRIED: &str = "taken over from the old process";

/// Process that is ready to serve.
pub(super) struct Successor {
    /// Id of the process.
    pub(super) pid: u32,
    /// Addresses that it does not listen on.
    pub(super) unused: Vec<String>,
    stream: Arc<UnixStream>,
}

impl Successor {
    /// Has the process serve. The caller stops to accept. `reload`: a reload was asked for
    /// meanwhile, which the process does.
    pub(super) fn go(self, reload: bool) {
        // Where the new process is gone meanwhile, no process serves the sockets. A service manager
        // notices that.
        let word = if reload { GO_RELOAD } else { GO };
        let _ = (&*self.stream).write_all(&[word]);
    }
}

/// Progress of an upgrade.
pub(super) enum News {
    /// The new process is ready, and waits for the next piece of the state.
    Wanted,
    /// The new process has taken the state.
    Done(Successor),
    /// There is no new process. The text says why.
    Failed(String),
}

/// Upgrades of this process.
pub(super) struct Upgrader {
    program: Arc<Program>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    news: Receiver<News>,
    /// The state, from the first piece on.
    export: Option<Export>,
    pieces: Sender<Option<Piece>>,
    stream: Arc<UnixStream>,
}

impl Upgrader {
    pub(super) fn new(program: Program) -> Upgrader {
        Upgrader {
            program: Arc::new(program),
            under_way: None,
        }
    }

    /// Returns the program.
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Gives the new process, which is ready, the next piece of what the supervisor knows.
    pub(super) fn hand_over_piece(&mut self, piece: Option<Piece>) {
        if let Some(under_way) = &self.under_way {
            // A thread that has ended reports why.
            let _ = under_way.pieces.send(piece);
        }
    }

    /// Returns whether an upgrade is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Starts a new process, to which the sockets are offered.
    ///
    /// # Errors
    /// An upgrade is under way, or cannot begin.
    pub(super) fn begin(&mut self, offers: Vec<Offer>, waker: Arc<Waker>) -> Result<(), String> {
        if std::process::id() == 1 {
            return Err(
                "this is process 1, and its container ends with it: replace the container"
                    .to_owned(),
            );
        }
        let (stream, input) = UnixStream::pair().map_err(|error| error.to_string())?;
        let stream = Arc::new(stream);
        let (tell, news) = unbounded();
        let (pieces, to_carry) = unbounded();
        let program = Arc::clone(&self.program);
        let link = Link {
            stream: Arc::clone(&stream),
            offers,
            pieces: to_carry,
            tell: Box::new(move |news| {
                // The loop lives as long as this thread.
                let _ = tell.send(news);
                let _ = waker.wake();
            }),
        };
        let work = move || replace(&program, link, input.into());
        start_thread("upgrade", Box::new(work)).map_err(|error| error.to_string())?;
        self.under_way = Some(UnderWay {
            news,
            export: None,
            pieces,
            stream,
        });
        Ok(())
    }

    /// Returns what is new of the upgrade.
    pub(super) fn poll(&mut self) -> Option<News> {
        let news = self.under_way.as_ref()?.news.poll()?;
        if !matches!(news, News::Wanted) {
            self.under_way = None;
        }
        Some(news)
    }

    /// Gives the new process, which is ready, the next piece of the state. `tickets` go with the first,
    /// `level` with each.
    pub(super) fn hand_over(
        &mut self,
        proxy: &Proxy,
        tickets: &dyn Fn() -> Vec<CarriedTickets>,
        level: Option<(LogLevel, Duration)>,
        now: Instant,
    ) {
        if let Some(under_way) = &mut self.under_way {
            let tickets = match under_way.export {
                None => tickets(),
                Some(_) => Vec::new(),
            };
            let begin = || Export::begin(proxy, now);
            let engine = under_way.export.get_or_insert_with(begin).next(proxy);
            let piece = engine.map(|engine| Piece {
                engine,
                tickets,
                level,
            });
            // A thread that has ended reports why.
            let _ = under_way.pieces.send(piece);
        }
    }

    /// Ends the upgrade: this process stops, and so does the new one.
    pub(super) fn cancel(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            let _ = (&*under_way.stream).write_all(&[STOP]);
        }
    }
}

/// Ends of the thread that does an upgrade.
struct Link {
    stream: Arc<UnixStream>,
    offers: Vec<Offer>,
    /// Pieces of the state; `None`: there is no more.
    pieces: Receiver<Option<Piece>>,
    tell: Box<dyn Fn(News) + Send>,
}

fn replace(program: &Program, link: Link, input: OwnedFd) {
    let name = program.name();
    let news = match spawn(program, input) {
        Err(error) => News::Failed(format!("{name}: {error}")),
        Ok(mut child) => match handshake(&link) {
            Ok(unused) => News::Done(Successor {
                pid: child.id(),
                unused,
                stream: link.stream,
            }),
            Err(error) => News::Failed(format!("{name}: {}", end(&mut child, &error))),
        },
    };
    // A socket that is open here keeps its address.
    drop(link.offers);
    (link.tell)(news);
}

/// Hands the sockets and the state over. Returns the addresses that the new process does not listen
/// on.
fn handshake(link: &Link) -> io::Result<Vec<String>> {
    let mut stream = &*link.stream;
    let time = core::time::Duration::from_millis(UPGRADE_TIMEOUT.as_millis());
    stream.set_write_timeout(Some(time))?;
    stream.set_read_timeout(Some(time))?;
    handover::send(stream, &link.offers)?;
    debug!("the new process can take {} sockets", link.offers.len());
    expect(stream, READY)?;
    let mut count = [0];
    stream.read_exact(&mut count)?;
    let [count] = count.map(usize::from);
    let mut unused = vec![0; count];
    stream.read_exact(&mut unused)?;
    // A piece is asked for when the one before is taken, so that the copies have a bound.
    loop {
        (link.tell)(News::Wanted);
        let piece = link.pieces.receive(None);
        let Some(piece) = piece.map_err(|_| io::ErrorKind::BrokenPipe)? else {
            break;
        };
        let piece = state::write(&piece);
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        stream.write_all(&[&[STATE][..], &length.to_be_bytes()].concat())?;
        stream.write_all(&piece)?;
        expect(stream, TAKEN)?;
    }
    let unused = unused.into_iter();
    let unused = unused.filter_map(|index| link.offers.get(usize::from(index)));
    Ok(unused.map(|offer| offer.name.clone()).collect())
}

/// Reads a byte, which must be this one.
fn expect(mut stream: &UnixStream, wanted: u8) -> io::Result<()> {
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [wanted] {
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
        Ok(status) => format!(
            "the new process ended before it was ready ({status}); the log has what it said"
        ),
        Err(_) => format!("the new process gave no answer: {error}"),
    }
}

/// The old process, seen from the new one.
pub struct Predecessor(UnixStream);

/// Word of the old process.
pub(super) enum Word {
    /// Take this piece of the state over; `None`: there was more than this process reads.
    State(Option<Vec<u8>>),
    /// Serve.
    Go {
        /// Read the configuration again: a reload was asked for meanwhile.
        reload: bool,
    },
    /// End: the old process stops.
    Stop,
}

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

    /// Tells the old process that this one can serve. `unused`: places of the sockets that it does
    /// not use.
    pub(super) fn announce(&mut self, unused: &[u8]) {
        let unused = unused.get(..usize::from(u8::MAX)).unwrap_or(unused);
        let count = unused.len() as u8;
        // An old process that is gone may have said something before.
        let _ = self.0.write_all(&[&[READY, count], unused].concat());
    }

    /// Tells the old process that the state is taken over, or cannot be.
    pub(super) fn confirm(&mut self) {
        let _ = self.0.write_all(&[TAKEN]);
    }

    /// Waits for a word of the old process. If that is gone, this process serves all the same.
    pub(super) fn next(&mut self) -> Word {
        let mut word = [0];
        let _ = self.0.read_exact(&mut word);
        match word {
            [STATE] => match self.read_state() {
                Ok(state) => Word::State(state),
                Err(_) => Word::Go { reload: false },
            },
            [STOP] => Word::Stop,
            [GO_RELOAD] => Word::Go { reload: true },
            _ => Word::Go { reload: false },
        }
    }

    fn read_state(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > UPGRADE_STATE_BYTES_MAX {
            io::copy(&mut (&self.0).take(length.into()), &mut io::sink())?;
            return Ok(None);
        }
        let mut state = vec![0; length as usize];
        self.0.read_exact(&mut state)?;
        Ok(Some(state))
    }
}

//! The parent's end of a load process.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use crate::children::{Group, LOAD_CPU, this_binary};
use crate::load::work::{Outcome, Work};

pub struct Loader {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    // Ended last.
    _group: Group,
}

impl Loader {
    /// Starts it and waits until each of its connections had one answer.
    pub fn start(work: &Work) -> io::Result<Loader> {
        Loader::from(this_binary("load", &work.to_arguments())?)
    }

    /// The same for a load that takes only what CPU others leave.
    pub fn start_in_background(work: &Work) -> io::Result<Loader> {
        Loader::from(behind_others(&this_binary("load", &work.to_arguments())?))
    }

    fn from(mut command: Command) -> io::Result<Loader> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut group = Group::start(command, LOAD_CPU)?;
        let (Some(orders), Some(answers)) = (group.child.stdin.take(), group.child.stdout.take()) else {
            return Err(io::Error::other("the load has no pipes"));
        };
        let mut loader = Loader { orders, answers: BufReader::new(answers), _group: group };
        match loader.line()?.as_str() {
            "ready" => Ok(loader),
            other => Err(io::Error::other(other.to_owned())),
        }
    }

    pub fn order(&mut self, order: &str) -> io::Result<Outcome> {
        self.begin(order)?;
        self.finish()
    }

    pub fn begin(&mut self, order: &str) -> io::Result<()> {
        writeln!(self.orders, "{order}")
    }

    pub fn finish(&mut self) -> io::Result<Outcome> {
        let line = self.line()?;
        Outcome::from_line(&line).ok_or_else(|| io::Error::other(format!("the load said {line:?}")))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the load ended"));
        }
        Ok(line.trim_end().to_owned())
    }
}

/// The most that one call of a process behind the others moves. The kernel may not take the CPU back in the middle of a call,
/// and one that moves megabytes takes a millisecond.
pub const PIECE_BEHIND: usize = 16 * 1024;

/// The command at the scheduler's lowest class: everything else on its CPU goes first.
pub fn behind_others(command: &Command) -> Command {
    let mut wrapped = Command::new("chrt");
    wrapped.args(["--idle", "0"]).arg(command.get_program()).args(command.get_args());
    wrapped.stdin(Stdio::piped());
    wrapped
}

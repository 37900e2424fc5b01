//! Parent's side of a load process.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};

use crate::children::{Group, LOAD_CPU, this_binary};
use crate::load::work::{Outcome, Work};
use crate::priority::Priority;

pub struct Loader {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    // Dropped last.
    _group: Group,
}

impl Loader {
    /// Starts a load process, and waits until each of its connections had one answer.
    pub fn start(work: &Work) -> io::Result<Loader> {
        Loader::start_with(work, Priority::Usual)
    }

    /// Does the same with a priority on its CPU.
    pub fn start_with(work: &Work, priority: Priority) -> io::Result<Loader> {
        let mut command = priority.of(this_binary("load", &work.to_arguments())?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut group = Group::start(command, LOAD_CPU)?;
        let (Some(orders), Some(answers)) = (group.child.stdin.take(), group.child.stdout.take())
        else {
            return Err(io::Error::other("the load has no pipes"));
        };
        let mut loader = Loader {
            orders,
            answers: BufReader::new(answers),
            _group: group,
        };
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

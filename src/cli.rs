//! argv, and where the configuration is.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use lexopt::prelude::{Long, Short, Value};

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run the gateway.
    Run {
        /// `--config`
        config: Option<PathBuf>,
    },
    /// Validate the configuration and show where requests go.
    Check {
        /// `--config`
        config: Option<PathBuf>,
    },
    /// Run a gateway with something behind it to try.
    Demo,
    /// `--help`
    Help,
    /// `--version`
    Version,
}

/// The command line makes no sense.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tollgate: {}; see tollgate --help", self.0)
    }
}

/// What `--help` shows.
pub const HELP: &str = "\
tollgate: an HTTP/1.1 API gateway

  tollgate [run] [--config FILE]   run the gateway
  tollgate check [--config FILE]   validate the file; show where each route goes
  tollgate demo                    a gateway with an echo service behind it, to try
  tollgate --help | --version

Without --config the file is ./tollgate.json, else /etc/tollgate/tollgate.json. The least it needs:

  { \"services\": [ { \"route\": \"/users\", \"target\": \"http://127.0.0.1:9000/users\" } ] }

PORT in the environment overrides the port of the first listener (default 5000).
The access log goes to stdout, everything else to stderr. SIGTERM and SIGINT finish what is in flight.
Exit codes: 0 clean stop, 1 configuration invalid or missing, 2 bad usage, 3 cannot bind.
";

/// Reads the command line, the program's name first.
///
/// # Errors
/// A command or option that is not known, or one too many.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_iter(args);
    let usage = |error: lexopt::Error| UsageError(error.to_string());
    let (mut name, mut config) = (None, None);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Short('c') | Long("config") => config = Some(PathBuf::from(parser.value().map_err(usage)?)),
            Value(value) if name.is_none() => name = Some(value.to_string_lossy().into_owned()),
            other => return Err(usage(other.unexpected())),
        }
    }
    match (name.as_deref(), config) {
        (None | Some("run"), config) => Ok(Command::Run { config }),
        (Some("check"), config) => Ok(Command::Check { config }),
        (Some("demo"), None) => Ok(Command::Demo),
        (Some("demo"), Some(_)) => Err(UsageError("demo takes no --config".to_owned())),
        (Some("help"), _) => Ok(Command::Help),
        (Some(other), _) => Err(UsageError(format!("unknown command \"{}\"", other.escape_debug()))),
    }
}

/// Where a configuration is looked for.
const PLACES: [&str; 2] = ["tollgate.json", "/etc/tollgate/tollgate.json"];

/// The configuration file: the one given, or the first that exists where one is looked for.
///
/// # Errors
/// There is none; the text says what to do.
pub fn find_config(given: Option<PathBuf>) -> Result<PathBuf, String> {
    let found = given.or_else(|| PLACES.iter().map(Path::new).find(|place| place.exists()).map(Path::to_owned));
    found.ok_or_else(|| {
        format!(
            "tollgate: no configuration: neither ./{} nor {} exists\n\
             write one: {{ \"services\": [ {{ \"route\": \"/users\", \"target\": \"http://127.0.0.1:9000/users\" }} ] }}, or name one with --config FILE\n\
             or try it without one first: tollgate demo",
            PLACES[0], PLACES[1]
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        let args = line.split_whitespace().map(OsString::from);
        parse([OsString::from("tollgate")].into_iter().chain(args)).map_err(|error| error.to_string())
    }

    #[test]
    fn command_lines() {
        let file = || Some(PathBuf::from("f"));
        for (line, command) in [
            ("", Command::Run { config: None }),
            ("run", Command::Run { config: None }),
            ("--config f", Command::Run { config: file() }),
            ("run -c f", Command::Run { config: file() }),
            ("--config=f check", Command::Check { config: file() }),
            ("check", Command::Check { config: None }),
            ("demo", Command::Demo),
            ("-h", Command::Help),
            ("check --help", Command::Help),
            ("-V", Command::Version),
        ] {
            assert_eq!(read(line), Ok(command), "{line}");
        }
        for line in ["serve", "run check", "--conf f", "--config", "demo -c f", "-x"] {
            assert!(read(line).expect_err("nonsense").ends_with("; see tollgate --help"), "{line}");
        }
    }

    #[test]
    fn the_advice_has_three_lines() {
        assert_eq!(find_config(None).expect_err("no file in the crate's root").lines().count(), 3);
        assert_eq!(find_config(Some(PathBuf::from("x"))), Ok(PathBuf::from("x")));
    }
}

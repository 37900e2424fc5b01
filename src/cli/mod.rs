//! The command line, and the path of the configuration. Out of scope: printing and exiting
//! (`main.rs`).

mod config_path;
pub mod files;
mod given;
mod hints;
pub mod top;
mod unused;

#[cfg(test)]
mod tests;

use core::fmt;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use crate::config::{ListenAddress, LogLevel};
use crate::explain::Asked;

pub use self::config_path::{SEARCHED, find_config};
use self::given::Given;
use self::hints::{unexpected_value, unknown_option};

/// Text of `--help`.
pub const HELP: &str = r#"tollgate - a small HTTP API gateway

Usage:
  tollgate [run] [-c FILE]     run the gateway
  tollgate check [-c FILE]     check the configuration and show where each route leads
  tollgate init                write ./tollgate.json to start from, with comments
  tollgate fmt [FILE] [--check]
                               bring the configuration into its usual form; comments stay
  tollgate schema              print a JSON Schema of the configuration, for editors
  tollgate doctor [-c FILE] [--json]
                               check it against the world: names, targets, certificates, ports, files, clock
  tollgate hash [--api-key]    hash a password (or an API key) for "auth": asked for, or the first line of a pipe
  tollgate diff OLD NEW [--log FILE]
                               show what a change of the configuration changes, and which requests of an access
                               log would go elsewhere
  tollgate explain METHOD URL [-H 'K: V'] [--from IP] [--data TEXT|@FILE] [--json] [-c FILE]
                               show what becomes of a request, and why: the route, each policy, and the bytes that
                               the target gets
  tollgate replay FILE         run a record of a failed request through the engine again
  tollgate demo                try it without a file: the gateway in front of an echo service

Usage with a running gateway that has an admin listener:
  tollgate reload [-c FILE]             have it read its configuration again, and wait for the result
  tollgate upgrade [-c FILE]            have it start its binary again, which takes over without refusing a client
  tollgate health [-c FILE] [--live]    ask whether it is ready (or alive): exit code 0 or 1
  tollgate log LEVEL [--for 10m]        change its log level for a while
  tollgate top [--once]                 show its state every 2 s, until Ctrl-C
  tollgate why ID                       tell what was decided about one of the last 1000 requests, by its id

Options:
      --admin ADDRESS the admin listener, in place of the file's: unix:/run/tollgate/admin.sock or 127.0.0.1:5001
      --api-key       hash: an API key, not a password
      --check         fmt: write nothing; exit code 1 when something would change
  -c, --config FILE   the configuration; without it ./tollgate.json, then /etc/tollgate/tollgate.json
  -H, --header K: V   explain: a header of the request; as often as you like
      --from IP       explain: the address that the request comes from (default 127.0.0.1)
      --data TEXT     explain: the body; @FILE reads it from a file
      --json          explain, doctor: as JSON; explain has the bytes in base64
      --once          top: one time
      --log FILE      diff: an access log, combined or JSON; - for standard input
  -h, --help          this text
  -V, --version       the version

A whole configuration:
  { "services": [ { "route": "/users", "target": "http://127.0.0.1:9000/users/" } ] }

Environment:
  PORT                the port of the first listener, in place of the file's (default 5000)
  ${VAR}, ${VAR:-x}   replaced in the strings of the file

Exit codes: 0 clean stop, 1 configuration invalid or missing, or not what was asked for, 2 bad usage, 3 cannot bind.
Exit codes of doctor: 0 no finding, 1 findings, 2 bad usage.
Exit codes of diff: 0 no difference, 1 the configurations differ, 2 an error.
Exit codes of replay: 0 it ends as in the record, 1 it ends otherwise, 2 an error.
"#;

/// Command that the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run the gateway.
    Run {
        /// Path given with `--config`.
        config: Option<PathBuf>,
        /// Address given with `--admin`, in place of those in the file.
        admin: Option<ListenAddress>,
    },
    /// Check the configuration.
    Check {
        /// Path given with `--config`.
        config: Option<PathBuf>,
    },
    /// Compare the configuration with the machine and the network.
    Doctor {
        /// Path given with `--config`.
        config: Option<PathBuf>,
        /// `--json`: print JSON, else text.
        json: bool,
    },
    /// Hash a line of standard input.
    Hash {
        /// `--api-key`: the line is an API key, else a password.
        api_key: bool,
    },
    /// Compare two configurations.
    Diff {
        /// Path of the old one.
        old: PathBuf,
        /// Path of the new one.
        new: PathBuf,
        /// Path given with `--log`; `-` for standard input.
        log: Option<PathBuf>,
    },
    /// Explain what becomes of a request: path given with `--config`, the request, and `--json`.
    Explain(Option<PathBuf>, Box<Asked>, bool),
    /// Replay a record of a failed request.
    Replay {
        /// Path of the record.
        file: PathBuf,
    },
    /// Run the demo.
    Demo,
    /// Have the running gateway read its configuration again.
    Reload {
        /// The running gateway.
        at: AdminAt,
    },
    /// Have the running gateway start its binary again.
    Upgrade {
        /// The running gateway.
        at: AdminAt,
    },
    /// Ask the running gateway whether it is ready.
    Health {
        /// The running gateway.
        at: AdminAt,
        /// `--live`: whether it is alive.
        live: bool,
    },
    /// Change the log level of the running gateway for a while.
    Log {
        /// The running gateway.
        at: AdminAt,
        /// Least severity of the messages.
        level: LogLevel,
        /// Duration given with `--for`, with its unit.
        time: Option<String>,
    },
    /// Show the state of the running gateway.
    Top {
        /// The running gateway.
        at: AdminAt,
        /// `--once`: one time, else again and again.
        once: bool,
    },
    /// Ask the running gateway what it decided about a request.
    Why {
        /// The running gateway.
        at: AdminAt,
        /// Id of the request.
        id: String,
    },
    /// Write a configuration to start from.
    Init,
    /// Bring a configuration into its usual form.
    Fmt {
        /// Path given as a word or with `--config`.
        file: Option<PathBuf>,
        /// `--check`: nothing is written.
        check: bool,
    },
    /// Print the schema of the configuration.
    Schema,
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// Names of the running gateway's admin listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminAt {
    /// Path given with `--config`.
    pub config: Option<PathBuf>,
    /// Address given with `--admin`, in place of those in the file.
    pub address: Option<ListenAddress>,
}

/// Error in the command line (exit code 2). Displayed as two lines: the error, and where to look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tollgate: {}\nTry \"tollgate --help\".", self.0)
    }
}

impl core::error::Error for UsageError {}

/// Names of the commands.
const COMMANDS: [&str; 19] = [
    "run", "check", "init", "fmt", "schema", "doctor", "hash", "diff", "explain", "replay", "demo",
    "reload", "upgrade", "health", "log", "top", "why", "help", "version",
];
/// Commands for a running gateway.
const CLIENT_COMMANDS: [&str; 6] = ["reload", "upgrade", "health", "log", "top", "why"];
/// Long options.
const OPTIONS: [&str; 14] = [
    "--check",
    "--config",
    "--header",
    "--data",
    "--from",
    "--json",
    "--api-key",
    "--admin",
    "--live",
    "--once",
    "--for",
    "--log",
    "--help",
    "--version",
];

/// Parses the command line, with the program's name first.
///
/// # Errors
/// An unknown command or option, an option that is given twice, or one without its value. An
/// unknown command is reported before anything that follows it.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = Parser::from_iter(arguments);
    let mut given = Given::default();
    loop {
        let argument = parser.next().map_err(|error| unexpected_value(&error))?;
        let Some(argument) = argument else { break };
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Short('c') | Arg::Long("config") => given.read_config(&mut parser)?,
            Arg::Long("api-key") => given.api_key = true,
            Arg::Long("live") => given.live = true,
            Arg::Long("check") => given.check = true,
            Arg::Long("once") => given.once = true,
            Arg::Long("admin") => given.read_admin(&mut parser)?,
            Arg::Short('H') | Arg::Long("header") => given.read_header(&mut parser)?,
            Arg::Short('d') | Arg::Long("data") => given.read_data(&mut parser)?,
            Arg::Long("from") => given.read_from(&mut parser)?,
            Arg::Long("json") => given.json = true,
            Arg::Long("for") => given.read_time(&mut parser)?,
            Arg::Long("log") => given.read_log(&mut parser)?,
            Arg::Value(value) => given.take_word(value)?,
            other => return Err(unknown_option(&other)),
        }
    }
    unused::refuse(&given)?;
    given.command()
}

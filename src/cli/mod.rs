//! The command line, and the path of the configuration. Out of scope: printing and exiting
//! (`main.rs`).

mod config_path;
mod hints;

#[cfg(test)]
mod tests;

use core::fmt;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser};

pub use self::config_path::find_config;
use self::hints::{second_word, unexpected_value, unknown_command, unknown_option};

/// Text of `--help`.
pub const HELP: &str = r#"tollgate - a small HTTP API gateway

Usage:
  tollgate [run] [-c FILE]     run the gateway
  tollgate check [-c FILE]     check the configuration and show where each route leads
  tollgate hash [--api-key]    hash a password (or an API key) for "auth": asked for, or the first line of a pipe
  tollgate demo                try it without a file: the gateway in front of an echo service

Options:
      --api-key       hash: an API key, not a password
  -c, --config FILE   the configuration; without it ./tollgate.json, then /etc/tollgate/tollgate.json
  -h, --help          this text
  -V, --version       the version

A whole configuration:
  { "services": [ { "route": "/users", "target": "http://127.0.0.1:9000/users/" } ] }

Environment:
  PORT                the port of the first listener, in place of the file's (default 5000)
  ${VAR}, ${VAR:-x}   replaced in the strings of the file

Exit codes: 0 clean stop, 1 configuration invalid or missing, 2 bad usage, 3 cannot bind.
"#;

/// Command that the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run the gateway.
    Run {
        /// Path given with `--config`.
        config: Option<PathBuf>,
    },
    /// Check the configuration.
    Check {
        /// Path given with `--config`.
        config: Option<PathBuf>,
    },
    /// Hash a line of standard input.
    Hash {
        /// `--api-key`: the line is an API key, else a password.
        api_key: bool,
    },
    /// Run the demo.
    Demo,
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
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
const COMMANDS: [&str; 6] = ["run", "check", "hash", "demo", "help", "version"];
/// Long options.
const OPTIONS: [&str; 4] = ["--config", "--api-key", "--help", "--version"];

/// Parses the command line, with the program's name first.
///
/// # Errors
/// An unknown command or option, an option that is given twice, or one without its value. An
/// unknown command is reported before anything that follows it.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = Parser::from_iter(arguments);
    let mut word: Option<String> = None;
    let mut config: Option<PathBuf> = None;
    let mut api_key = false;
    loop {
        let argument = parser.next().map_err(|error| unexpected_value(&error))?;
        let Some(argument) = argument else { break };
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Short('c') | Arg::Long("config") => {
                let path = parser.value().map(PathBuf::from).unwrap_or_default();
                if path.as_os_str() == "onfig" {
                    return Err(UsageError(
                        "unknown option \"-config\", did you mean \"--config\"?".to_owned(),
                    ));
                }
                if path.as_os_str().is_empty() {
                    return Err(UsageError(
                        "--config needs the path of a file, as in --config /etc/tollgate/tollgate.json".to_owned(),
                    ));
                }
                let shown = path.display().to_string();
                if let Some(first) = config.replace(path) {
                    let first = first.display().to_string();
                    return Err(UsageError(format!(
                        "--config is given twice, as {first:?} and as {shown:?}; keep one of them"
                    )));
                }
            }
            Arg::Long("api-key") => api_key = true,
            Arg::Value(value) => {
                let value = value.to_string_lossy().into_owned();
                match &word {
                    Some(first) => return Err(second_word(first, &value)),
                    None if !COMMANDS.contains(&value.as_str()) => {
                        return Err(unknown_command(&value));
                    }
                    None => word = Some(value),
                }
            }
            other => return Err(unknown_option(&other)),
        }
    }
    command(word.as_deref(), config, api_key)
}

fn command(
    word: Option<&str>,
    config: Option<PathBuf>,
    api_key: bool,
) -> Result<Command, UsageError> {
    let named = config.as_ref().map(|path| path.display().to_string());
    match (word, named) {
        (Some("hash"), Some(name)) => Err(UsageError(format!(
            "hash takes no --config {name:?}; it asks for a line"
        ))),
        (Some("hash"), None) => Ok(Command::Hash { api_key }),
        (other, _) if api_key => Err(UsageError(format!(
            "--api-key goes with the command hash, not with {}",
            other.unwrap_or("run")
        ))),
        (Some("check"), _) => Ok(Command::Check { config }),
        (Some("demo"), Some(name)) => Err(UsageError(format!(
            "demo takes no --config {name:?}; it brings its own"
        ))),
        (Some("demo"), None) => Ok(Command::Demo),
        (Some("help"), _) => Ok(Command::Help),
        (Some("version"), _) => Ok(Command::Version),
        _ => Ok(Command::Run { config }),
    }
}

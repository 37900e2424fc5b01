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

use crate::config::schema::units::{DURATION_UNITS, with_unit};
use crate::config::{ListenAddress, LogLevel, admin_address, nearest};

pub use self::config_path::find_config;
use self::hints::{second_word, unexpected_value, unknown_command, unknown_option};

/// Text of `--help`.
pub const HELP: &str = r#"tollgate - a small HTTP API gateway

Usage:
  tollgate [run] [-c FILE]     run the gateway
  tollgate check [-c FILE]     check the configuration and show where each route leads
  tollgate hash [--api-key]    hash a password (or an API key) for "auth": asked for, or the first line of a pipe
  tollgate diff OLD NEW [--log FILE]
                               show what a change of the configuration changes, and which requests of an access
                               log would go elsewhere
  tollgate demo                try it without a file: the gateway in front of an echo service

Usage with a running gateway that has an admin listener:
  tollgate reload [-c FILE]             have it read its configuration again, and wait for the result
  tollgate health [-c FILE] [--live]    ask whether it is ready (or alive): exit code 0 or 1
  tollgate log LEVEL [--for 10m]        change its log level for a while

Options:
      --admin ADDRESS the admin listener, in place of the file's: unix:/run/tollgate/admin.sock or 127.0.0.1:5001
      --api-key       hash: an API key, not a password
  -c, --config FILE   the configuration; without it ./tollgate.json, then /etc/tollgate/tollgate.json
      --log FILE      diff: an access log, combined or JSON; - for standard input
  -h, --help          this text
  -V, --version       the version

A whole configuration:
  { "services": [ { "route": "/users", "target": "http://127.0.0.1:9000/users/" } ] }

Environment:
  PORT                the port of the first listener, in place of the file's (default 5000)
  ${VAR}, ${VAR:-x}   replaced in the strings of the file

Exit codes: 0 clean stop, 1 configuration invalid or missing, or not what was asked for, 2 bad usage, 3 cannot bind.
Exit codes of diff: 0 no difference, 1 the configurations differ, 2 an error.
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
    /// Run the demo.
    Demo,
    /// Have the running gateway read its configuration again.
    Reload {
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
const COMMANDS: [&str; 10] = [
    "run", "check", "hash", "diff", "demo", "reload", "health", "log", "help", "version",
];
/// Long options.
const OPTIONS: [&str; 8] = [
    "--config",
    "--api-key",
    "--admin",
    "--live",
    "--for",
    "--log",
    "--help",
    "--version",
];

/// Words and options of a command line.
#[derive(Default)]
struct Given {
    word: Option<String>,
    /// Word behind the command `log`.
    level: Option<String>,
    /// Words behind the command `diff`.
    files: Vec<PathBuf>,
    log: Option<PathBuf>,
    config: Option<PathBuf>,
    admin: Option<ListenAddress>,
    time: Option<String>,
    api_key: bool,
    live: bool,
}

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
            Arg::Long("admin") => given.read_admin(&mut parser)?,
            Arg::Long("for") => given.read_time(&mut parser)?,
            Arg::Long("log") => given.read_log(&mut parser)?,
            Arg::Value(value) => given.take_word(value)?,
            other => return Err(unknown_option(&other)),
        }
    }
    given.command()
}

impl Given {
    fn read_config(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let path = parser.value().map(PathBuf::from).unwrap_or_default();
        if path.as_os_str() == "onfig" {
            return Err(UsageError(
                "unknown option \"-config\", did you mean \"--config\"?".to_owned(),
            ));
        }
        if path.as_os_str().is_empty() {
            return Err(UsageError(
                "--config needs the path of a file, as in --config /etc/tollgate/tollgate.json"
                    .to_owned(),
            ));
        }
        let shown = path.display().to_string();
        let first = self.config.replace(path);
        once(
            "--config",
            first.map(|first| first.display().to_string()),
            &shown,
        )
    }

    fn read_admin(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let text = value(
            parser,
            "--admin",
            "an address",
            "unix:/run/tollgate/admin.sock",
        )?;
        let address = admin_address(&text)
            .map_err(|message| UsageError(format!("--admin {text:?} {message}")))?;
        let first = self.admin.replace(address);
        once("--admin", first.map(|first| first.to_string()), &text)
    }

    fn read_time(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let text = value(parser, "--for", "a duration", "10m")?;
        if with_unit(&text, &DURATION_UNITS).is_none() {
            return Err(UsageError(format!(
                "--for {text:?} must be a duration such as \"10m\", \"30s\" or \"1h\""
            )));
        }
        let first = self.time.replace(text.clone());
        once("--for", first, &text)
    }

    fn read_log(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let path = parser.value().map(PathBuf::from).unwrap_or_default();
        if path.as_os_str().is_empty() {
            return Err(UsageError(
                "--log needs the path of an access log, as in --log access.log, or - for standard input"
                    .to_owned(),
            ));
        }
        let shown = path.display().to_string();
        let first = self.log.replace(path);
        once(
            "--log",
            first.map(|first| first.display().to_string()),
            &shown,
        )
    }

    fn take_word(&mut self, given: OsString) -> Result<(), UsageError> {
        let word = given.to_string_lossy().into_owned();
        match self.word.as_deref() {
            Some("diff") if self.files.len() < 2 => self.files.push(PathBuf::from(given)),
            Some("log") if self.level.is_none() => self.level = Some(word),
            Some(first) => return Err(second_word(first, &word)),
            None if !COMMANDS.contains(&word.as_str()) => return Err(unknown_command(&word)),
            None => self.word = Some(word),
        }
        Ok(())
    }

    /// Returns the command, if it takes what is given.
    fn command(self) -> Result<Command, UsageError> {
        let word = self.word.as_deref().unwrap_or("run");
        self.refuse_unused(word)?;
        let at = AdminAt {
            config: self.config.clone(),
            address: self.admin.clone(),
        };
        Ok(match word {
            "hash" => Command::Hash {
                api_key: self.api_key,
            },
            "check" => Command::Check {
                config: self.config,
            },
            "diff" => {
                let [old, new] = <[PathBuf; 2]>::try_from(self.files).map_err(|given| {
                    UsageError(format!(
                        "diff needs two files, the old configuration and the new one, and {} given; \
                         write tollgate diff OLD NEW",
                        if given.is_empty() { "none is" } else { "one is" }
                    ))
                })?;
                Command::Diff {
                    old,
                    new,
                    log: self.log,
                }
            }
            "demo" => Command::Demo,
            "help" => Command::Help,
            "version" => Command::Version,
            "reload" => Command::Reload { at },
            "health" => Command::Health {
                at,
                live: self.live,
            },
            "log" => Command::Log {
                at,
                level: level(self.level.as_deref())?,
                time: self.time,
            },
            _ => Command::Run {
                config: self.config,
                admin: self.admin,
            },
        })
    }

    /// Reports an option that the command does not take.
    fn refuse_unused(&self, word: &str) -> Result<(), UsageError> {
        let only = |option: &str, commands: &str| {
            Err(UsageError(format!(
                "{option} goes with the command {commands}, not with {word}"
            )))
        };
        let named = self.config.as_ref().map(|path| path.display().to_string());
        match (word, named) {
            ("hash", Some(name)) => {
                return Err(UsageError(format!(
                    "hash takes no --config {name:?}; it asks for a line"
                )));
            }
            ("demo", Some(name)) => {
                return Err(UsageError(format!(
                    "demo takes no --config {name:?}; it brings its own"
                )));
            }
            ("diff", Some(name)) => {
                return Err(UsageError(format!(
                    "diff takes no --config {name:?}; write tollgate diff OLD NEW"
                )));
            }
            _ => {}
        }
        let is_client = matches!(word, "reload" | "health" | "log");
        if self.api_key && word != "hash" {
            return only("--api-key", "hash");
        }
        if self.live && word != "health" {
            return only("--live", "health");
        }
        if self.log.is_some() && word != "diff" {
            return only("--log", "diff");
        }
        if self.time.is_some() && word != "log" {
            return only("--for", "log");
        }
        if self.admin.is_some() && !is_client && word != "run" {
            return only("--admin", "run, reload, health or log");
        }
        Ok(())
    }
}

/// Returns the value of an option. `what`: what it must be, `example`: one of it.
fn value(
    parser: &mut Parser,
    option: &str,
    what: &str,
    example: &str,
) -> Result<String, UsageError> {
    let text = parser.value().unwrap_or_default();
    match text.to_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(UsageError(format!(
            "{option} needs {what}, as in {option} {example}"
        ))),
    }
}

/// Reports an option that is given twice.
fn once(option: &str, first: Option<String>, second: &str) -> Result<(), UsageError> {
    match first {
        None => Ok(()),
        Some(first) => Err(UsageError(format!(
            "{option} is given twice, as {first:?} and as {second:?}; keep one of them"
        ))),
    }
}

fn level(word: Option<&str>) -> Result<LogLevel, UsageError> {
    let words = LogLevel::ALL.map(LogLevel::as_str);
    let Some(word) = word else {
        return Err(UsageError(format!(
            "log needs a level, as in \"tollgate log debug --for 10m\"; the levels are {}",
            words.join(", ")
        )));
    };
    let found = LogLevel::ALL
        .into_iter()
        .find(|level| level.as_str() == word);
    found.ok_or_else(|| {
        let hint = match nearest(word, &words) {
            Some(near) => format!(", did you mean {near:?}?"),
            None => format!("; the levels are {}", words.join(", ")),
        };
        UsageError(format!("unknown level {word:?}{hint}"))
    })
}

//! The command line, and where the configuration is found. Nothing here prints or exits: `main` does, by what stands here.

use core::fmt;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser};

/// Where a configuration is looked for, in this order, when none is named.
const SEARCHED: [&str; 2] = ["tollgate.json", "/etc/tollgate/tollgate.json"];

/// What `--help` prints.
pub const HELP: &str = r#"tollgate - a small HTTP API gateway

Usage:
  tollgate [run] [-c FILE]     run the gateway
  tollgate check [-c FILE]     check the configuration and show where each route leads
  tollgate hash [--api-key]    hash the password (or the API key) that is the first line of the input, for "auth"
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

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run the gateway.
    Run {
        /// `--config`.
        config: Option<PathBuf>,
    },
    /// Check the configuration.
    Check {
        /// `--config`.
        config: Option<PathBuf>,
    },
    /// Hash a line of the standard input.
    Hash {
        /// `--api-key`: it is an API key, else a password.
        api_key: bool,
    },
    /// Run the demo.
    Demo,
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// The command line is wrong (exit code 2). Displayed as two lines: what is wrong, and where to look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tollgate: {}\nTry \"tollgate --help\".", self.0)
    }
}

impl core::error::Error for UsageError {}

/// Reads the command line, the program's name first.
///
/// # Errors
/// An unknown command or option, one that is given twice, or one without its value.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let wrong = |error: lexopt::Error| UsageError(error.to_string());
    let mut parser = Parser::from_iter(arguments);
    let mut word: Option<String> = None;
    let mut config: Option<PathBuf> = None;
    let mut api_key = false;
    while let Some(argument) = parser.next().map_err(wrong)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Short('c') | Arg::Long("config") => {
                let path = PathBuf::from(parser.value().map_err(wrong)?);
                if path.as_os_str().is_empty() {
                    return Err(UsageError("--config needs the path of a file".to_owned()));
                }
                if config.replace(path).is_some() {
                    return Err(UsageError("--config is given twice".to_owned()));
                }
            }
            Arg::Long("api-key") => api_key = true,
            Arg::Value(value) => {
                let value = value.to_string_lossy().into_owned();
                if let Some(first) = word.replace(value) {
                    return Err(UsageError(format!("one command at a time, and {first:?} was one")));
                }
            }
            other => return Err(wrong(other.unexpected())),
        }
    }
    command(word.as_deref(), config, api_key)
}

fn command(word: Option<&str>, config: Option<PathBuf>, api_key: bool) -> Result<Command, UsageError> {
    match word {
        Some("hash") if config.is_some() => Err(UsageError("hash takes no --config; it reads a line".to_owned())),
        Some("hash") => Ok(Command::Hash { api_key }),
        _ if api_key => Err(UsageError("--api-key goes with the command hash".to_owned())),
        None | Some("run") => Ok(Command::Run { config }),
        Some("check") => Ok(Command::Check { config }),
        Some("demo") if config.is_some() => Err(UsageError("demo takes no --config; it brings its own".to_owned())),
        Some("demo") => Ok(Command::Demo),
        Some("help") => Ok(Command::Help),
        Some("version") => Ok(Command::Version),
        Some(other) => {
            let hint = if Path::new(other).extension().is_some_and(|end| end == "json") {
                format!("; a file is named with --config {other}")
            } else {
                "; the commands are run, check, hash and demo".to_owned()
            };
            Err(UsageError(format!("unknown command {other:?}{hint}")))
        }
    }
}

/// The file to use: the one that is named, else the first that exists where one is looked for.
///
/// # Errors
/// There is none (exit code 1); the three lines say what to do.
pub fn find_config(named: Option<PathBuf>) -> Result<PathBuf, String> {
    // What exists and cannot be looked at is an error when it is read, not a reason to look elsewhere.
    search(named, &|path| !matches!(path.try_exists(), Ok(false)))
}

fn search(named: Option<PathBuf>, exists: &dyn Fn(&Path) -> bool) -> Result<PathBuf, String> {
    let searched = || SEARCHED.iter().map(PathBuf::from).find(|path| exists(path));
    named.or_else(searched).ok_or_else(|| {
        "tollgate: no configuration: neither ./tollgate.json nor /etc/tollgate/tollgate.json exists\n\
         Write one: { \"services\": [ { \"route\": \"/users\", \"target\": \"http://127.0.0.1:9000/users/\" } ] }\n\
         or name one with --config FILE, or try \"tollgate demo\", which needs none."
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        parse(["tollgate"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn command_lines() {
        let file = || Some(PathBuf::from("x.json"));
        for (line, command) in [
            ("", Command::Run { config: None }),
            ("run", Command::Run { config: None }),
            ("--config x.json", Command::Run { config: file() }),
            ("run --config=x.json", Command::Run { config: file() }),
            ("-c x.json run", Command::Run { config: file() }),
            ("check", Command::Check { config: None }),
            ("check -cx.json", Command::Check { config: file() }),
            ("hash", Command::Hash { api_key: false }),
            ("hash --api-key", Command::Hash { api_key: true }),
            ("demo", Command::Demo),
            ("--help", Command::Help),
            ("check -h", Command::Help),
            ("--version", Command::Version),
            ("-V", Command::Version),
        ] {
            assert_eq!(parsed(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn bad_usage_is_one_line_and_a_hint() {
        for (line, message) in [
            ("serve", "unknown command \"serve\""),
            ("x.json", "--config x.json"),
            ("run check", "one command at a time"),
            ("--config", "config"),
            ("--config=", "needs the path"),
            ("-c a -c b", "twice"),
            ("--port 5000", "--port"),
            ("-x", "-x"),
            ("demo -c x.json", "demo takes no"),
            ("hash -c x.json", "hash takes no"),
            ("run --api-key", "goes with the command hash"),
            ("hash secret", "one command at a time"),
        ] {
            let text = parsed(line).expect_err(line).to_string();
            let lines = text.lines().collect::<Vec<_>>();
            assert!(lines.len() == 2 && lines[0].starts_with("tollgate: ") && lines[0].contains(message), "{text}");
        }
    }

    #[test]
    fn the_file_is_searched_for() {
        let find = |named: Option<&str>, existing: &[&str]| {
            search(named.map(PathBuf::from), &|path| existing.iter().any(|name| Path::new(name) == path))
        };
        assert_eq!(find(Some("a.json"), &[]), Ok(PathBuf::from("a.json")));
        assert_eq!(find(None, &SEARCHED), Ok(PathBuf::from("tollgate.json")));
        assert_eq!(find(None, &["/etc/tollgate/tollgate.json"]), Ok(PathBuf::from("/etc/tollgate/tollgate.json")));
        let message = find(None, &[]).expect_err("nothing there");
        assert!(message.lines().count() == 3 && message.contains("tollgate demo"), "{message}");
    }
}

//! The command line, and the path of the configuration. Out of scope: printing and exiting
//! (`main.rs`).

use core::fmt;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser};

use crate::config::nearest;

/// Paths that are searched for a configuration, in this order, when none is given.
const SEARCHED: [&str; 2] = ["tollgate.json", "/etc/tollgate/tollgate.json"];

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

/// Describes a value after `=` of an option without one. The value is not repeated: it may be a
/// secret.
fn unexpected_value(error: &lexopt::Error) -> UsageError {
    UsageError(match error {
        lexopt::Error::UnexpectedValue { option, .. } if option == "--api-key" => {
            "--api-key takes no value; the key is the first line of the input of \"tollgate hash --api-key\"".to_owned()
        }
        lexopt::Error::UnexpectedValue { option, .. } => {
            format!("{option} takes no value; leave out the \"=\" and what follows")
        }
        other => other.to_string(),
    })
}

fn unknown_command(word: &str) -> UsageError {
    let hint = match nearest(word, &COMMANDS) {
        _ if Path::new(word).extension().is_some_and(|end| end == "json") => {
            format!("; a file is named with --config {word}")
        }
        Some(near) => format!(", did you mean {near:?}?"),
        None => "; the commands are run, check, hash and demo".to_owned(),
    };
    UsageError(format!("unknown command {word:?}{hint}"))
}

/// Describes a second word after the known command `first`.
fn second_word(first: &str, second: &str) -> UsageError {
    UsageError(match (first, second) {
        // The word may be a secret, which the shell's history now has.
        ("hash", _) => {
            "hash takes no further word: it asks for the password, or reads it from a pipe; what stands in a \
             command line others can see"
                .to_owned()
        }
        (_, second) if COMMANDS.contains(&second) => format!("one command at a time: {first:?} or {second:?}"),
        (_, second) => match nearest(second, &OPTIONS) {
            Some(near) => format!("{first} takes no further word {second:?}, did you mean {near:?}?"),
            None => format!("{first} takes no further word {second:?}; a file is named with --config {second}"),
        },
    })
}

fn unknown_option(option: &Arg<'_>) -> UsageError {
    let (shown, hint) = match option {
        Arg::Long(name @ ("port" | "listen" | "p")) => (
            format!("--{name}"),
            "; the file says where to listen (\"listen\"), and PORT in the environment its port"
                .to_owned(),
        ),
        Arg::Long(name) => {
            let shown = format!("--{name}");
            let hint = match nearest(&shown, &OPTIONS) {
                Some(near) => format!(", did you mean {near:?}?"),
                None => "; the options are --config, --api-key, --help and --version".to_owned(),
            };
            (shown, hint)
        }
        Arg::Short(letter @ ('v' | 'C' | 'H')) => {
            let other = if letter.is_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
            (
                format!("-{letter}"),
                format!(", did you mean \"-{other}\"?"),
            )
        }
        Arg::Short(letter) => (
            format!("-{letter}"),
            "; the short options are -c, -h and -V".to_owned(),
        ),
        Arg::Value(_) => (String::new(), String::new()),
    };
    UsageError(format!("unknown option {shown:?}{hint}"))
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

/// Returns the configuration file: the given one, else the first searched one that exists.
///
/// # Errors
/// No file exists (exit code 1). The three lines tell the user what to do.
pub fn find_config(named: Option<PathBuf>) -> Result<PathBuf, String> {
    // An unreadable file is an error later, no reason to search on.
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
        parse(
            ["tollgate"]
                .into_iter()
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
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
            (
                "serve",
                "unknown command \"serve\"; the commands are run, check, hash and demo",
            ),
            ("explain", "unknown command \"explain\"; the commands are"),
            (
                "explain /users",
                "unknown command \"explain\"; the commands are",
            ),
            (
                "explain --json /users GET",
                "unknown command \"explain\"; the commands are",
            ),
            (
                "chekc",
                "unknown command \"chekc\", did you mean \"check\"?",
            ),
            (
                "chekc a.json",
                "unknown command \"chekc\", did you mean \"check\"?",
            ),
            ("RUN", "unknown command \"RUN\", did you mean \"run\"?"),
            (
                "x.json",
                "unknown command \"x.json\"; a file is named with --config x.json",
            ),
            ("run check", "one command at a time: \"run\" or \"check\""),
            (
                "check x.json",
                "check takes no further word \"x.json\"; a file is named with --config x.json",
            ),
            (
                "check config",
                "check takes no further word \"config\", did you mean \"--config\"?",
            ),
            ("--config", "--config needs the path of a file"),
            ("run -c", "--config needs the path of a file"),
            ("--config=", "--config needs the path of a file"),
            (
                "-config x.json",
                "unknown option \"-config\", did you mean \"--config\"?",
            ),
            (
                "-c a -c b",
                "--config is given twice, as \"a\" and as \"b\"; keep one of them",
            ),
            (
                "--port 5000",
                "unknown option \"--port\"; the file says where to listen",
            ),
            (
                "--confg x",
                "unknown option \"--confg\", did you mean \"--config\"?",
            ),
            (
                "--nonsense",
                "unknown option \"--nonsense\"; the options are",
            ),
            ("-x", "unknown option \"-x\"; the short options are"),
            ("-v", "unknown option \"-v\", did you mean \"-V\"?"),
            ("demo -c x.json", "demo takes no --config \"x.json\""),
            ("hash -c x.json", "hash takes no --config \"x.json\""),
            (
                "run --api-key",
                "--api-key goes with the command hash, not with run",
            ),
            ("hash hush", "hash takes no further word"),
            ("hash --api-key hush", "hash takes no further word"),
            ("hash --api-key=hush", "--api-key takes no value"),
        ] {
            let text = parsed(line).expect_err(line).to_string();
            let lines = text.lines().collect::<Vec<_>>();
            assert!(
                lines.len() == 2
                    && lines[0].starts_with("tollgate: ")
                    && lines[0].contains(message),
                "{text}"
            );
            assert!(!text.contains("hush"), "a secret is not repeated: {text}");
        }
    }

    #[test]
    fn the_file_is_searched_for() {
        let find = |named: Option<&str>, existing: &[&str]| {
            search(named.map(PathBuf::from), &|path| {
                existing.iter().any(|name| Path::new(name) == path)
            })
        };
        assert_eq!(find(Some("a.json"), &[]), Ok(PathBuf::from("a.json")));
        assert_eq!(find(None, &SEARCHED), Ok(PathBuf::from("tollgate.json")));
        assert_eq!(
            find(None, &["/etc/tollgate/tollgate.json"]),
            Ok(PathBuf::from("/etc/tollgate/tollgate.json"))
        );
        let message = find(None, &[]).expect_err("nothing there");
        assert!(
            message.lines().count() == 3 && message.contains("tollgate demo"),
            "{message}"
        );
    }
}

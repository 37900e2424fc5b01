//! Texts about a wrong command line: the error, and what was probably meant.

use std::path::Path;

use lexopt::Arg;

use super::{COMMANDS, OPTIONS, UsageError};
use crate::config::nearest;

/// Describes a value after `=` of an option without one. The value is not repeated: it may be a
/// secret.
pub(super) fn unexpected_value(error: &lexopt::Error) -> UsageError {
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

pub(super) fn unknown_command(word: &str) -> UsageError {
    let hint = match nearest(word, &COMMANDS) {
        _ if is_file(word) => {
            format!("; a file is named with --config {word}")
        }
        _ if matches!(word, "stop" | "quit" | "restart" | "shutdown") => {
            "; SIGTERM stops a gateway, as \"systemctl stop tollgate\" does".to_owned()
        }
        _ if matches!(word, "start" | "serve" | "up") => ", did you mean \"run\"?".to_owned(),
        _ if matches!(word, "test" | "validate" | "configtest") => {
            ", did you mean \"check\"?".to_owned()
        }
        _ if matches!(word, "status" | "stats" | "state") => {
            ", did you mean \"top --once\"?".to_owned()
        }
        Some(near) => format!(", did you mean {near:?}?"),
        None => format!("; the commands are {}", COMMANDS.join(", ")),
    };
    UsageError(format!("unknown command {word:?}{hint}"))
}

/// Returns true if a word names a configuration.
fn is_file(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|end| end == "json")
}

/// Describes a second word after the known command `first`.
pub(super) fn second_word(first: &str, second: &str) -> UsageError {
    UsageError(match (first, second) {
        // The word may be a secret, which the shell's history now has.
        ("hash", _) => {
            "hash takes no further word: it asks for the password, or reads it from a pipe; what stands in a \
             command line others can see"
                .to_owned()
        }
        ("diff", second) => {
            format!("diff takes two files, and {second:?} is a third; an access log is named with --log {second}")
        }
        ("explain", second) => {
            format!("explain takes a method and a URL, and {second:?} is a third word; a header is given with -H 'Name: value'")
        }
        (_, second) if COMMANDS.contains(&second) => format!("one command at a time: {first:?} or {second:?}"),
        (_, second) => match nearest(second, &OPTIONS).filter(|_| !is_file(second)) {
            Some(near) => format!("{first} takes no further word {second:?}, did you mean {near:?}?"),
            None => format!("{first} takes no further word {second:?}; a file is named with --config {second}"),
        },
    })
}

pub(super) fn unknown_option(option: &Arg<'_>) -> UsageError {
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
                None => "; the options are --config, --admin, --api-key, --live, --for, --log, --header, --data, --from, --json, --help and --version"
                    .to_owned(),
            };
            (shown, hint)
        }
        Arg::Short(letter @ ('v' | 'C')) => {
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
        Arg::Short('t') => ("-t".to_owned(), ", did you mean \"check\"?".to_owned()),
        Arg::Short(letter) => (
            format!("-{letter}"),
            "; the short options are -c, -H, -h and -V".to_owned(),
        ),
        Arg::Value(_) => (String::new(), String::new()),
    };
    UsageError(format!("unknown option {shown:?}{hint}"))
}

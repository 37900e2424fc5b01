//! Options that a command does not take.

use super::given::Given;
use super::{CLIENT_COMMANDS, UsageError};

/// Commands that read no configuration, and what they do in its place.
const WITHOUT_CONFIG: [(&str, &str); 6] = [
    ("hash", "it asks for a line"),
    ("init", "it writes ./tollgate.json"),
    ("schema", "it reads no file"),
    ("demo", "it brings its own"),
    ("replay", "a record has what it needs"),
    ("diff", "write tollgate diff OLD NEW"),
];

/// Reports an option that the command does not take.
pub(super) fn refuse(given: &Given) -> Result<(), UsageError> {
    let word = given.word();
    let without = WITHOUT_CONFIG.iter().find(|(command, _)| *command == word);
    if let Some(((_, why), path)) = without.zip(given.config.as_ref()) {
        let name = path.display().to_string();
        return Err(UsageError(format!(
            "{word} takes no --config {name:?}; {why}"
        )));
    }
    let is_client = CLIENT_COMMANDS.contains(&word) || word == "run";
    // Whether it is given, whether the command takes it, and the commands that do.
    let options = [
        (given.api_key, word == "hash", "--api-key", "hash"),
        (given.live, word == "health", "--live", "health"),
        (given.check, word == "fmt", "--check", "fmt"),
        (given.once, word == "top", "--once", "top"),
        (
            given.json,
            matches!(word, "explain" | "doctor"),
            "--json",
            "explain or doctor",
        ),
        (
            !given.headers.is_empty(),
            word == "explain",
            "-H",
            "explain",
        ),
        (given.data.is_some(), word == "explain", "--data", "explain"),
        (given.from.is_some(), word == "explain", "--from", "explain"),
        (given.log.is_some(), word == "diff", "--log", "diff"),
        (given.time.is_some(), word == "log", "--for", "log"),
        (
            given.admin.is_some(),
            is_client,
            "--admin",
            "run, reload, upgrade, health, log, top or why",
        ),
    ];
    let unused = options
        .iter()
        .find(|(is_given, is_taken, ..)| *is_given && !is_taken);
    match unused {
        None => Ok(()),
        Some((_, _, option, commands)) => Err(UsageError(format!(
            "{option} goes with the command {commands}, not with {word}"
        ))),
    }
}

//! Command lines, and what is said about wrong ones.

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
            lines.len() == 2 && lines[0].starts_with("tollgate: ") && lines[0].contains(message),
            "{text}"
        );
        assert!(!text.contains("hush"), "a secret is not repeated: {text}");
    }
}

//! Command lines, and what is said about wrong ones.

use super::*;
use crate::config::admin_address;
use crate::explain::Asked;
use crate::policy::forward::Peer;

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
    let run = |config| Command::Run {
        config,
        admin: None,
    };
    for (line, command) in [
        ("", run(None)),
        ("run", run(None)),
        ("--config x.json", run(file())),
        ("run --config=x.json", run(file())),
        ("-c x.json run", run(file())),
        ("check", Command::Check { config: None }),
        ("check -cx.json", Command::Check { config: file() }),
        (
            "doctor",
            Command::Doctor {
                config: None,
                json: false,
            },
        ),
        (
            "doctor -c x.json --json",
            Command::Doctor {
                config: file(),
                json: true,
            },
        ),
        ("hash", Command::Hash { api_key: false }),
        ("hash --api-key", Command::Hash { api_key: true }),
        ("demo", Command::Demo),
        ("init", Command::Init),
        ("schema", Command::Schema),
        (
            "fmt",
            Command::Fmt {
                file: None,
                check: false,
            },
        ),
        (
            "fmt x.json --check",
            Command::Fmt {
                file: file(),
                check: true,
            },
        ),
        (
            "fmt -c x.json",
            Command::Fmt {
                file: file(),
                check: false,
            },
        ),
        (
            "diff a.json run",
            Command::Diff {
                old: "a.json".into(),
                new: "run".into(),
                log: None,
            },
        ),
        (
            "diff --log - a.json b.json",
            Command::Diff {
                old: "a.json".into(),
                new: "b.json".into(),
                log: Some("-".into()),
            },
        ),
        (
            "explain GET /a -H a:b --from ::ffff:1.2.3.4 -H c:d --json -c x.json --data x",
            Command::Explain(
                file(),
                Box::new(Asked {
                    method: "GET".to_owned(),
                    url: "/a".to_owned(),
                    headers: vec![b"a:b".to_vec(), b"c:d".to_vec()],
                    data: Some("x".into()),
                    from: Some(Peer::Ip([1, 2, 3, 4].into())),
                }),
                true,
            ),
        ),
        ("--help", Command::Help),
        ("check -h", Command::Help),
        ("help", Command::Help),
        ("help check", Command::Help),
        ("--version", Command::Version),
        ("-V", Command::Version),
    ] {
        assert_eq!(parsed(line), Ok(command), "{line}");
    }
}

#[test]
fn commands_to_a_running_gateway() {
    let at = |config: Option<&str>, address: Option<&str>| AdminAt {
        config: config.map(PathBuf::from),
        address: address.map(|text| admin_address(text).expect("an address")),
    };
    let log = |at, level, time: Option<&str>| Command::Log {
        at,
        level,
        time: time.map(str::to_owned),
    };
    let unix = Some("unix:/a");
    for (line, command) in [
        ("reload", Command::Reload { at: at(None, None) }),
        ("upgrade", Command::Upgrade { at: at(None, None) }),
        (
            "upgrade --admin unix:/a",
            Command::Upgrade { at: at(None, unix) },
        ),
        (
            "reload -c x.json",
            Command::Reload {
                at: at(Some("x.json"), None),
            },
        ),
        (
            "--admin unix:/a reload",
            Command::Reload { at: at(None, unix) },
        ),
        (
            "health",
            Command::Health {
                at: at(None, None),
                live: false,
            },
        ),
        (
            "health --live --admin=unix:/a",
            Command::Health {
                at: at(None, unix),
                live: true,
            },
        ),
        (
            "why 9f86 --admin unix:/a",
            Command::Why {
                at: at(None, unix),
                id: "9f86".to_owned(),
            },
        ),
        ("log debug", log(at(None, None), LogLevel::Debug, None)),
        (
            "log --for 90s trace",
            log(at(None, None), LogLevel::Trace, Some("90s")),
        ),
        (
            "run --admin unix:/a",
            Command::Run {
                config: None,
                admin: at(None, unix).address,
            },
        ),
    ] {
        assert_eq!(parsed(line), Ok(command), "{line}");
    }
    for (line, message) in [
        (
            "log",
            "log needs a level, as in \"tollgate log debug --for 10m\"; the levels are error, warn, info",
        ),
        ("log loud", "unknown level \"loud\"; the levels are error"),
        (
            "log DEBUG",
            "unknown level \"DEBUG\", did you mean \"debug\"?",
        ),
        (
            "why",
            "why needs the id of a request, as in tollgate why 9f",
        ),
        (
            "replay",
            "replay needs the path of a record, as in tollgate replay FILE",
        ),
        ("replay a b", "replay takes no further word \"b\""),
        (
            "replay a -c b",
            "replay takes no --config \"b\"; a record has what it needs",
        ),
        ("why 9f 86", "why takes no further word \"86\""),
        ("log debug 10m", "log takes no further word \"10m\""),
        ("log debug --for", "--for needs a duration, as in --for 10m"),
        ("log debug --for 10", "--for \"10\" must be a duration"),
        (
            "log debug --for 1m&x=1",
            "--for \"1m&x=1\" must be a duration",
        ),
        (
            "log debug --for 1m --for 2m",
            "--for is given twice, as \"1m\" and as \"2m\"",
        ),
        (
            "reload --for 1m",
            "--for goes with the command log, not with reload",
        ),
        (
            "reload --live",
            "--live goes with the command health, not with reload",
        ),
        (
            "check --admin unix:/a",
            "--admin goes with the command run, reload, upgrade, health, log, top or why, not with check",
        ),
        (
            "demo --admin unix:/a",
            "--admin goes with the command run, reload, upgrade, health, log, top or why, not with demo",
        ),
        ("reload now", "reload takes no further word \"now\""),
        (
            "reload --admin",
            "--admin needs an address, as in --admin unix:/run/tollgate/admin.sock",
        ),
        (
            "reload --admin 5001",
            "--admin \"5001\" is a port of all addresses of the machine; write \"127.0.0.1:5001\"",
        ),
        (
            "reload --admin nowhere",
            "--admin \"nowhere\" must be an address such as",
        ),
        (
            "reload --admin unix:/a --admin unix:/b",
            "--admin is given twice, as \"unix:/a\" and as \"unix:/b\"",
        ),
        (
            "relaod",
            "unknown command \"relaod\", did you mean \"reload\"?",
        ),
    ] {
        let text = parsed(line).expect_err(line).to_string();
        assert!(text.contains(message), "{line}: {text}");
    }
}

#[test]
fn bad_usage_is_one_line_and_a_hint() {
    for (line, message) in [
        ("serve", "unknown command \"serve\", did you mean \"run\"?"),
        ("stop", "unknown command \"stop\"; SIGTERM stops a gateway"),
        (
            "validate",
            "unknown command \"validate\", did you mean \"check\"?",
        ),
        (
            "status",
            "unknown command \"status\", did you mean \"top --once\"?",
        ),
        ("-t", "unknown option \"-t\", did you mean \"check\"?"),
        (
            "describe",
            "unknown command \"describe\"; the commands are run, check, init, fmt, schema, doctor, hash, diff, explain, replay, demo, reload",
        ),
        (
            "describe /users",
            "unknown command \"describe\"; the commands are",
        ),
        (
            "describe --json /users GET",
            "unknown command \"describe\"; the commands are",
        ),
        (
            "explain",
            "explain needs a method and a URL; write tollgate explain GET http://",
        ),
        ("explain /users", "explain needs a method and a URL"),
        (
            "explain GET /a b",
            "explain takes a method and a URL, and \"b\" is a third word; a header is given with -H",
        ),
        (
            "explain GET /a -H",
            "-H needs a header, as in -H 'Accept: text/html'",
        ),
        (
            "explain GET /a --data",
            "--data needs a body, or the path of a file",
        ),
        (
            "explain GET /a --data x --data y",
            "--data is given twice, as \"x\" and as \"y\"; keep one of them",
        ),
        (
            "explain GET /a --from localhost",
            "--from \"localhost\" must be an address, such as 203.0.113.7",
        ),
        (
            "check -H a:b",
            "-H goes with the command explain, not with check",
        ),
        (
            "run --json",
            "--json goes with the command explain or doctor, not with run",
        ),
        (
            "diff a b --from 1.2.3.4",
            "--from goes with the command explain, not with diff",
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
        (
            "diff",
            "diff needs two files, the old configuration and the new one, and none is given",
        ),
        (
            "diff a.json",
            "and one is given; write tollgate diff OLD NEW",
        ),
        (
            "diff a.json b.json c.log",
            "diff takes two files, and \"c.log\" is a third; an access log is named with --log c.log",
        ),
        ("diff a b --log", "--log needs the path of an access log"),
        (
            "diff a b --log x --log y",
            "--log is given twice, as \"x\" and as \"y\"; keep one of them",
        ),
        ("diff a b -c x.json", "diff takes no --config \"x.json\""),
        (
            "check --log x",
            "--log goes with the command diff, not with check",
        ),
        (
            "diff a b --live",
            "--live goes with the command health, not with diff",
        ),
        (
            "doctor x.json",
            "doctor takes no further word \"x.json\"; a file is named with --config x.json",
        ),
        (
            "check --json",
            "--json goes with the command explain or doctor, not with check",
        ),
        ("doctor --json=hush", "--json takes no value"),
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

//! Words and options of a command line, and the command that they make.

use core::net::IpAddr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use lexopt::Parser;

use super::hints::{second_word, unknown_command};
use super::{AdminAt, CLIENT_COMMANDS, COMMANDS, Command, UsageError};
use crate::config::schema::units::{DURATION_UNITS, with_unit};
use crate::config::{ListenAddress, LogLevel, admin_address, nearest};
use crate::explain::Asked;
use crate::policy::forward::Peer;

const NO_RECORD: &str = "replay needs the path of a record, as in tollgate replay FILE; \"record\" in the configuration says where \
     records are written";

const NO_ID: &str = "why needs the id of a request, as in tollgate why 9f86d081884c7d659a2feaa0c55ad015; the response has it \
     in X-Request-Id, and the log in its lines";

/// Words and options of a command line.
#[derive(Default)]
pub(super) struct Given {
    word: Option<String>,
    /// Word behind the command `log`.
    level: Option<String>,
    /// Word behind the command `why`.
    id: Option<String>,
    /// Words behind the command `diff`.
    files: Vec<PathBuf>,
    pub(super) log: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    pub(super) admin: Option<ListenAddress>,
    pub(super) time: Option<String>,
    /// Words behind the command `explain`, and its options.
    request: Vec<String>,
    pub(super) headers: Vec<Vec<u8>>,
    pub(super) data: Option<OsString>,
    pub(super) from: Option<String>,
    pub(super) json: bool,
    pub(super) api_key: bool,
    pub(super) live: bool,
    pub(super) once: bool,
    pub(super) check: bool,
}

impl Given {
    pub(super) fn read_config(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
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

    pub(super) fn read_admin(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
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

    pub(super) fn read_time(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let text = value(parser, "--for", "a duration", "10m")?;
        if with_unit(&text, &DURATION_UNITS).is_none() {
            return Err(UsageError(format!(
                "--for {text:?} must be a duration such as \"10m\", \"30s\" or \"1h\""
            )));
        }
        let first = self.time.replace(text.clone());
        once("--for", first, &text)
    }

    pub(super) fn read_log(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
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

    pub(super) fn read_header(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let header = parser.value().unwrap_or_default().into_vec();
        if header.is_empty() {
            return Err(UsageError(
                "-H needs a header, as in -H 'Accept: text/html'".to_owned(),
            ));
        }
        self.headers.push(header);
        Ok(())
    }

    pub(super) fn read_data(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let data = parser.value().map_err(|_| {
            UsageError(
                "--data needs a body, or the path of a file with it, as in --data @order.json"
                    .to_owned(),
            )
        })?;
        let shown = data.to_string_lossy().into_owned();
        let first = self.data.replace(data);
        let first = first.map(|first| first.to_string_lossy().into_owned());
        once("--data", first, &shown)
    }

    pub(super) fn read_from(&mut self, parser: &mut Parser) -> Result<(), UsageError> {
        let text = value(parser, "--from", "an address", "203.0.113.7")?;
        let first = self.from.replace(text.clone());
        once("--from", first, &text)
    }

    pub(super) fn take_word(&mut self, given: OsString) -> Result<(), UsageError> {
        let word = given.to_string_lossy().into_owned();
        match self.word.as_deref() {
            Some("diff") if self.files.len() < 2 => self.files.push(PathBuf::from(given)),
            Some("explain") if self.request.len() < 2 => self.request.push(word),
            Some("log") if self.level.is_none() => self.level = Some(word),
            Some("fmt" | "replay") if self.files.is_empty() => {
                self.files.push(PathBuf::from(given))
            }
            Some("why") if self.id.is_none() => self.id = Some(word),
            // The help text has all commands.
            Some("help") if COMMANDS.contains(&word.as_str()) => {}
            Some(first) => return Err(second_word(first, &word)),
            None if !COMMANDS.contains(&word.as_str()) => return Err(unknown_command(&word)),
            None => self.word = Some(word),
        }
        Ok(())
    }

    /// Returns the name of the command.
    pub(super) fn word(&self) -> &str {
        self.word.as_deref().unwrap_or("run")
    }

    /// Returns the command.
    pub(super) fn command(self) -> Result<Command, UsageError> {
        let word = self.word();
        Ok(match word {
            "hash" => Command::Hash {
                api_key: self.api_key,
            },
            "check" => Command::Check {
                config: self.config,
            },
            "doctor" => Command::Doctor {
                config: self.config,
                json: self.json,
            },
            "diff" => {
                let [old, new] = two_files(self.files)?;
                Command::Diff {
                    old,
                    new,
                    log: self.log,
                }
            }
            "explain" => self.explain()?,
            "demo" => Command::Demo,
            "init" => Command::Init,
            "schema" => Command::Schema,
            "fmt" => Command::Fmt {
                file: self.files.into_iter().next().or(self.config),
                check: self.check,
            },
            "help" => Command::Help,
            "version" => Command::Version,
            "replay" => Command::Replay {
                file: self
                    .files
                    .into_iter()
                    .next()
                    .ok_or_else(|| missing(NO_RECORD))?,
            },
            word if CLIENT_COMMANDS.contains(&word) => self.client_command()?,
            _ => Command::Run {
                config: self.config,
                admin: self.admin,
            },
        })
    }

    /// Returns a command for a running gateway.
    fn client_command(self) -> Result<Command, UsageError> {
        let at = AdminAt {
            config: self.config,
            address: self.admin,
        };
        Ok(match self.word.as_deref() {
            Some("reload") => Command::Reload { at },
            Some("upgrade") => Command::Upgrade { at },
            Some("health") => Command::Health {
                at,
                live: self.live,
            },
            Some("top") => Command::Top {
                at,
                once: self.once,
            },
            Some("why") => Command::Why {
                at,
                id: self
                    .id
                    .filter(|id| !id.is_empty())
                    .ok_or_else(|| missing(NO_ID))?,
            },
            _ => Command::Log {
                at,
                level: level(self.level.as_deref())?,
                time: self.time,
            },
        })
    }

    /// Returns the command `explain`.
    fn explain(self) -> Result<Command, UsageError> {
        let from = self.from.as_deref().map(peer).transpose()?;
        let [method, url] = <[String; 2]>::try_from(self.request).map_err(|_| {
            UsageError(
                "explain needs a method and a URL; write tollgate explain GET \
                 http://api.example.com/users, or only the path: tollgate explain GET /users"
                    .to_owned(),
            )
        })?;
        let asked = Asked {
            method,
            url,
            headers: self.headers,
            data: self.data,
            from,
        };
        Ok(Command::Explain(self.config, Box::new(asked), self.json))
    }
}

fn missing(text: &str) -> UsageError {
    UsageError(text.to_owned())
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

/// Reads the peer of `--from`.
fn peer(text: &str) -> Result<Peer, UsageError> {
    if text == "unix" {
        return Ok(Peer::Unix);
    }
    let address = text.parse::<IpAddr>();
    let address = address.map(|address| Peer::Ip(address.to_canonical()));
    address.map_err(|_| {
        UsageError(format!(
            "--from {text:?} must be an address, such as 203.0.113.7 or 2001:db8::7, or unix for a client of a unix socket"
        ))
    })
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

fn two_files(given: Vec<PathBuf>) -> Result<[PathBuf; 2], UsageError> {
    given.try_into().map_err(|given: Vec<PathBuf>| {
        UsageError(format!(
            "diff needs two files, the old configuration and the new one, and {} given; \
             write tollgate diff OLD NEW",
            if given.is_empty() {
                "none is"
            } else {
                "one is"
            }
        ))
    })
}

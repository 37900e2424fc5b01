//! Paths of the admin listener: the table, and the answer of each.
//!
//! An answer is a value: nothing here reads a socket or changes the gateway.

use super::facts::{GatewayState, Progress};
use super::query;
use super::request::{Access, Request};
use super::response::Response;
use super::stream::Document;
use crate::config::LogLevel;
use crate::config::schema::units::{DURATION_UNITS, show_duration, with_unit};
use crate::limits::{ADMIN_LOG_LEVEL_DEFAULT, ADMIN_LOG_LEVEL_MAX};
use crate::proxy::decisions;
use crate::time::Duration;

/// Something that the gateway is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminCommand {
    /// Read the configuration again.
    Reload,
    /// Start the binary again, which takes the sockets over.
    Upgrade,
    /// Stop, as after SIGTERM.
    Stop,
    /// Log from this level on, for a while.
    LogLevel {
        /// Least severity of the messages.
        level: LogLevel,
        /// Time after which the level of the configuration is back.
        time: Duration,
    },
}

impl GatewayState<'_> {
    /// Notes that a command begins, for what comes after it in the same turn.
    pub(super) fn begin(&mut self, command: AdminCommand) {
        match command {
            AdminCommand::Reload if self.progress == Progress::Running => {
                self.progress = Progress::Reloading;
            }
            AdminCommand::Upgrade => self.is_upgrading = true,
            _ => {}
        }
    }
}

/// Answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// Response; `None`: it is the document, or follows when the command is done.
    pub(super) response: Option<Response>,
    /// Response that is made while it is written.
    pub(super) document: Option<Document>,
    pub(super) command: Option<AdminCommand>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// GET, and so HEAD.
    Get,
    /// POST, over a unix socket alone.
    Post,
}

pub(super) struct Path {
    pub(super) method: Method,
    pub(super) path: &'static str,
    answer: fn(&Request<'_>, &GatewayState<'_>) -> Answer,
}

/// Answer to commands over TCP.
pub(super) const ONLY_UNIX: &str =
    "over TCP only GET and HEAD are allowed; commands go over the unix socket";

/// All paths.
pub(super) const PATHS: &[Path] = &[
    Path {
        method: Method::Get,
        path: "/live",
        answer: live,
    },
    Path {
        method: Method::Get,
        path: "/ready",
        answer: ready,
    },
    Path {
        method: Method::Get,
        path: "/metrics",
        answer: |request, _| document(request, Document::Metrics(request.format)),
    },
    Path {
        method: Method::Get,
        path: "/state.json",
        answer: |request, _| document(request, Document::State),
    },
    Path {
        method: Method::Get,
        path: "/why",
        answer: why,
    },
    Path {
        method: Method::Get,
        path: "/",
        answer: |request, _| document(request, Document::Page),
    },
    Path {
        method: Method::Post,
        path: "/reload",
        answer: reload,
    },
    Path {
        method: Method::Post,
        path: "/upgrade",
        answer: upgrade,
    },
    Path {
        method: Method::Post,
        path: "/log",
        answer: log,
    },
    Path {
        method: Method::Post,
        path: "/stop",
        answer: stop,
    },
];

impl Method {
    pub(super) fn allow(self) -> &'static str {
        match self {
            Method::Get => "GET, HEAD",
            Method::Post => "POST",
        }
    }

    pub(super) fn fits(self, method: &[u8]) -> bool {
        match self {
            Method::Get => method == b"GET" || method == b"HEAD",
            Method::Post => method == b"POST",
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer {
            response: Some(response),
            document: None,
            command: None,
        }
    }
}

impl From<Document> for Answer {
    fn from(document: Document) -> Answer {
        Answer {
            response: None,
            document: Some(document),
            command: None,
        }
    }
}

/// Answers a request.
pub(super) fn answer(request: &Request<'_>, access: Access, state: &GatewayState<'_>) -> Answer {
    if access == Access::ReadOnly && !Method::Get.fits(request.method) {
        return Response::error(403, ONLY_UNIX).into();
    }
    let found = PATHS
        .iter()
        .find(|path| path.path.as_bytes() == request.path);
    let Some(path) = found else {
        return unknown().into();
    };
    if !path.method.fits(request.method) {
        let allow = path.method.allow();
        let mut response = Response::error(405, &format!("{} takes {allow}", path.path));
        response.allow = Some(allow);
        return response.into();
    }
    (path.answer)(request, state)
}

pub(super) fn unknown() -> Response {
    let known = PATHS.iter().map(|path| {
        let method = match path.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        format!("{method} {}\n", path.path)
    });
    Response::text(
        404,
        format!(
            "There is no such path. There are:\n{}",
            known.collect::<String>()
        ),
    )
}

fn bad_query(message: &str) -> Answer {
    Response::error(400, message).into()
}

fn live(request: &Request<'_>, _: &GatewayState<'_>) -> Answer {
    match query::values(request.query, []) {
        Ok([]) => Response::text(200, "ok").into(),
        Err(message) => bad_query(&message),
    }
}

fn document(request: &Request<'_>, document: Document) -> Answer {
    match query::values(request.query, []) {
        Ok([]) => document.into(),
        Err(message) => bad_query(&message),
    }
}

fn ready(request: &Request<'_>, state: &GatewayState<'_>) -> Answer {
    let [route] = match query::values(request.query, ["service"]) {
        Ok(values) => values,
        Err(message) => return bad_query(&message),
    };
    let response = match route.map(|route| ((state.is_up)(&route), route)) {
        Some((None, route)) => Response::text(404, format!("there is no service {route:?}\n")),
        _ if state.progress == Progress::Stopping => {
            Response::text(503, "the gateway is stopping\n")
        }
        Some((Some(false), route)) => Response::text(
            503,
            format!("all targets of {route:?} are down: their health checks fail\n"),
        ),
        Some((Some(true), _)) | None => Response::text(200, "ready"),
    };
    response.into()
}

fn why(request: &Request<'_>, state: &GatewayState<'_>) -> Answer {
    let id = match query::values(request.query, ["id"]) {
        Ok([Some(id)]) => id,
        Ok([None]) => return bad_query("the id is missing; write ?id= and the id of a request"),
        Err(message) => return bad_query(&message),
    };
    match decisions::why(state.proxy, &id) {
        Ok(text) => Response::text(200, text),
        Err(text) => Response::text(404, text),
    }
    .into()
}

fn reload(request: &Request<'_>, state: &GatewayState<'_>) -> Answer {
    if let Err(message) = query::values(request.query, []) {
        return bad_query(&message);
    }
    match state.progress {
        Progress::Running => Answer {
            response: None,
            document: None,
            command: Some(AdminCommand::Reload),
        },
        Progress::Reloading => {
            Response::error(409, "a reload is running; try again when it is done").into()
        }
        Progress::Stopping => Response::error(409, "the gateway is stopping").into(),
    }
}

fn upgrade(request: &Request<'_>, state: &GatewayState<'_>) -> Answer {
    if let Err(message) = query::values(request.query, []) {
        return bad_query(&message);
    }
    if state.progress == Progress::Stopping {
        return Response::error(409, "the gateway is stopping").into();
    }
    if state.is_upgrading {
        return Response::error(409, "an upgrade is running; try again when it is done").into();
    }
    Answer {
        response: None,
        document: None,
        command: Some(AdminCommand::Upgrade),
    }
}

/// Reads the log level that a query asks for, and the time for which it holds.
///
/// # Errors
/// The query is wrong. The text says why.
pub(super) fn level_for(query: &[u8]) -> Result<(LogLevel, Duration), String> {
    let [level, time] = query::values(query, ["level", "for"])?;
    let words = || LogLevel::ALL.map(LogLevel::as_str).join(", ");
    let level = level
        .ok_or_else(|| format!("the level is missing; write ?level= and one of {}", words()))?;
    let mut known = LogLevel::ALL.into_iter();
    let known = known.find(|known| known.as_str() == level);
    let level = known.ok_or_else(|| format!("level {level:?} must be one of {}", words()))?;
    let time = time.as_deref().map(parse_time).transpose()?;
    Ok((level, time.unwrap_or(ADMIN_LOG_LEVEL_DEFAULT)))
}

fn log(request: &Request<'_>, _: &GatewayState<'_>) -> Answer {
    let (level, time) = match level_for(request.query) {
        Ok(wanted) => wanted,
        Err(message) => return bad_query(&message),
    };
    let shown = show_duration(time);
    Answer {
        response: Some(Response::json(
            200,
            &[("level", level.as_str()), ("for", &shown)],
        )),
        document: None,
        command: Some(AdminCommand::LogLevel { level, time }),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = with_unit(text, &DURATION_UNITS)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!("for {text:?} must be a duration such as \"10m\", \"30s\" or \"1h\"")
        })?;
    if time == Duration::ZERO || time > ADMIN_LOG_LEVEL_MAX {
        return Err(format!(
            "for {text:?} must be longer than zero and at most {}",
            show_duration(ADMIN_LOG_LEVEL_MAX)
        ));
    }
    Ok(time)
}

fn stop(request: &Request<'_>, _: &GatewayState<'_>) -> Answer {
    if let Err(message) = query::values(request.query, []) {
        return bad_query(&message);
    }
    Answer {
        response: Some(Response::json(200, &[("state", "stopping")])),
        document: None,
        command: Some(AdminCommand::Stop),
    }
}

//! Requests to the admin listener of a supervisor: the same paths, and who answers each.

use super::paths::{AdminCommand, Method, ONLY_UNIX, PATHS, level_for, unknown};
use super::query;
use super::request::{Access, Request};
use super::response::Response;
use crate::config::LogLevel;
use crate::observe::metrics::exposition::Format;
use crate::time::Duration;

/// Request to a supervisor.
pub(in crate::net) enum Wish {
    /// Answered by the workers: method and target as they came, and how the answers become one.
    Ask(String, Part),
    /// Done by the supervisor.
    Do(AdminCommand),
    /// Answered at once.
    Say(Response),
}

/// Way in which the answers of several workers become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Part {
    /// The values are added.
    Metrics(Format),
    /// The rows are joined.
    State,
    /// The page of the first worker, whose script asks for the state.
    Page,
    /// Ready: one that is ready is enough.
    Ready,
    /// The first that knows the request.
    Why,
    /// All have this log level for a while.
    Log(LogLevel, Duration),
}

/// Returns what the supervisor does for a request.
pub(super) fn wish(request: &Request<'_>, access: Access) -> Result<Wish, Response> {
    if access == Access::ReadOnly && !Method::Get.fits(request.method) {
        return Err(Response::error(403, ONLY_UNIX));
    }
    let found = PATHS
        .iter()
        .find(|path| path.path.as_bytes() == request.path);
    let Some(path) = found else {
        return Err(unknown());
    };
    if !path.method.fits(request.method) {
        let allow = path.method.allow();
        let mut response = Response::error(405, &format!("{} takes {allow}", path.path));
        response.allow = Some(allow);
        return Err(response);
    }
    let bad = |message: String| Response::error(400, &message);
    let part = match path.path {
        "/metrics" => Part::Metrics(request.format),
        "/state.json" => Part::State,
        "/" => Part::Page,
        "/ready" => Part::Ready,
        "/why" => Part::Why,
        "/log" => {
            let (level, time) = level_for(request.query).map_err(bad)?;
            Part::Log(level, time)
        }
        other => {
            query::values(request.query, []).map_err(bad)?;
            return Ok(match other {
                "/live" => Wish::Say(Response::text(200, "ok")),
                "/reload" => Wish::Do(AdminCommand::Reload),
                "/upgrade" => Wish::Do(AdminCommand::Upgrade),
                _ => Wish::Do(AdminCommand::Stop),
            });
        }
    };
    let method = match path.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let query = String::from_utf8_lossy(request.query);
    let mut text = format!("{method} {}{query} HTTP/1.1\r\n", path.path);
    if part == Part::Metrics(Format::OpenMetrics) {
        text.push_str("Accept: application/openmetrics-text\r\n");
    }
    Ok(Wish::Ask(text, part))
}

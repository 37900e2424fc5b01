//! Command `tollgate explain`: what the gateway does with a request, and why.
//!
//! The request goes through the real engine with the rules of the file, and no network. What the
//! engine would ask others about is said, and taken as answered well.
//!
//! * `request`: bytes of the request, and the listener that they come in on.
//! * `engine`: the engine, in the world of a replay, and what it sends.
//! * `facts`: what the engine's rules say of the request.
//! * `checks`, `policies` and `credentials`: each policy in order, with its verdict.
//! * `routes`: services that have a part in the choice of the route.
//! * `text` and `json`: both forms of the answer.

mod checks;
mod credentials;
mod engine;
mod facts;
mod json;
mod limits;
mod policies;
mod request;
mod routes;
mod text;

#[cfg(test)]
mod tests;

use std::ffi::OsString;

use self::checks::Checks;
use self::engine::{Asking, Run};
use self::request::Arrival;
use self::routes::Candidates;
use crate::config::Config;
use crate::policy::auth::json::Json;
use crate::policy::forward::Peer;
use crate::proxy::settings::AccessLogFormat;
use crate::time::UnixTime;

/// Request that the command line asks about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// URL, or a path alone.
    pub url: String,
    /// Header lines given with `-H`.
    pub headers: Vec<Vec<u8>>,
    /// Body given with `--data`, or `@` and the path of a file with it.
    pub data: Option<OsString>,
    /// Peer given with `--from`.
    pub from: Option<Peer>,
}

/// Answer of the command.
pub struct Explanation {
    arrival: Arrival,
    checks: Checks,
    candidates: Candidates,
    run: Run,
    /// URL at the target, if the request is forwarded.
    url: Option<String>,
    /// Reason and `end` of the access log, of a request that the gateway answers.
    reason: String,
    end: String,
}

/// Verdict of a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The request goes on.
    Passed,
    /// The request ends here.
    Stopped,
    /// A provider would be asked, and is taken to say yes.
    Open,
}

impl Verdict {
    /// Returns the word for JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Stopped => "stopped",
            Verdict::Open => "open",
        }
    }
}

/// Explains a request. `wall`: the time of day, for tokens.
///
/// # Errors
/// The request cannot be made of what the command line says. The text says what to write.
pub fn explain(config: &Config, asked: &Asked, wall: UnixTime) -> Result<Explanation, String> {
    let arrival = request::arrival(config, asked)?;
    let mut settings = config.settings.clone();
    // For the words of the log: `end` and `reason`.
    settings.access_log = AccessLogFormat::Json;
    let mut asking = Asking::new(settings, wall);
    let facts = facts::facts(config, &asking.world.proxy, &arrival, wall);
    asking.send(&arrival, &facts.credential);
    let run = asking.run;
    let line = Json::parse(run.line.strip_suffix(b"\n").unwrap_or_default());
    let word = |name: &str| {
        let line = line.as_ref().and_then(|line| line.get(name));
        line.and_then(Json::text).unwrap_or_default().to_owned()
    };
    let (mut reason, end) = (word("reason"), word("end"));
    if run.is_turned_away {
        reason =
            "the connection is closed before its TLS handshake, the client is denied".to_owned();
    }
    let candidates = routes::candidates(&config.settings, &facts);
    let url = facts::url(config, &facts, &run);
    let checks = checks::checks(config, &arrival, &facts, &run, &reason);
    Ok(Explanation {
        arrival,
        checks,
        candidates,
        run,
        url,
        reason,
        end,
    })
}

impl Explanation {
    /// Returns status and reason phrase of the gateway's own reply; `None`: the request is
    /// forwarded, or gets no answer.
    fn status(&self) -> Option<(u16, &str)> {
        let line = self.run.reply.split(|&byte| byte == b'\r').next()?;
        let line = core::str::from_utf8(line).ok()?;
        let (_, rest) = line.split_once(' ')?;
        let (status, phrase) = rest.split_once(' ').unwrap_or((rest, ""));
        Some((status.parse().ok()?, phrase))
    }

    /// Returns all bytes that the client gets.
    fn for_client(&self) -> Vec<u8> {
        let run = &self.run;
        [&*run.interim, &run.reply, &run.response].concat()
    }

    /// Returns the answer for a person.
    pub fn text(&self) -> String {
        text::write(self)
    }

    /// Returns the answer as one JSON object, with a line feed.
    pub fn json(&self) -> Vec<u8> {
        json::write(self)
    }
}

//! Errands: requests to a target that the loop hands to the engine, one at a time. The answer comes
//! back with [`Command::Errand`].

use super::Proxy;
use super::command::{Answer, Answered, Command};
use super::context::Context;
use super::heads::subrequest_head;
use super::reason::Failure;
use super::subrequest::{Expects, Requester, SubResponse, SubrequestSpec};
use crate::digits;
use crate::time::{Duration, Instant};

/// Request to a target.
pub struct Errand<'a> {
    /// Index of the target in the settings.
    pub target: usize,
    /// Path and query.
    pub path: &'a str,
    /// Type of the body, and the body, of a `POST`; `None`: a `GET`.
    pub body: Option<(&'a str, &'a [u8])>,
    /// Most bytes of the body of the answer.
    pub answer_bytes: usize,
    /// Time from now to the last byte of the answer.
    pub within: Duration,
}

/// Sends an errand off. Returns false if its target is not there. An errand before must have been
/// answered.
#[cold]
pub fn start(proxy: &mut Proxy, errand: &Errand<'_>, now: Instant) -> bool {
    proxy.ctx.now = now;
    let rules = &proxy.ctx.rules;
    let target = rules.state.targets.get(errand.target).copied();
    let row = rules.settings.targets.get(errand.target);
    let Some((target, row)) = target.zip(row) else {
        return false;
    };
    let method = errand.body.map_or("GET", |_| "POST");
    let head = subrequest_head(method, errand.path, &row.authority, "*/*", "tollgate");
    let mut request = head.into_bytes();
    if let Some((kind, body)) = errand.body {
        for part in [
            &b"Content-Type: "[..],
            kind.as_bytes(),
            b"\r\nContent-Length: ",
            digits::write(body.len() as u64, &mut [0; 20]),
            b"\r\n",
        ] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(errand.body.map_or(&[], |(_, body)| body));
    let spec = SubrequestSpec {
        requester: Requester::Errand,
        target,
        address: None,
        request,
        within: errand.within,
        expects: Expects::Body(errand.answer_bytes),
        // A request on a fresh connection is sent once.
        keep: None,
    };
    let (upstreams, ctx) = (&mut proxy.upstreams, &mut proxy.ctx);
    let started = proxy.subrequests.start(spec, upstreams, ctx);
    proxy.drive(None);
    started.is_some()
}

/// Returns the answer that [`Command::Errand`] tells of.
#[cold]
pub fn take(proxy: &mut Proxy) -> Option<Answered> {
    proxy.ctx.errand.take().map(|answer| *answer)
}

/// Keeps an answer for the loop.
#[cold]
pub(super) fn done(answer: Result<SubResponse, Failure>, ctx: &mut Context) {
    let answer = match answer {
        Ok(response) if response.is_coded() => {
            Err("the answer is compressed, which was not asked for".to_owned())
        }
        Ok(response) => Ok(Answer {
            status: response.status,
            fields: response.fields,
            body: response.body,
        }),
        Err(failure) => Err(match &failure.reason {
            Some(reason) => format!("{} ({reason})", failure.outcome.as_str()),
            None => failure.outcome.as_str().to_owned(),
        }),
    };
    ctx.errand = Some(Box::new(answer));
    ctx.command(Command::Errand);
}

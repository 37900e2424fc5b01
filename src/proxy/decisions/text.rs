//! Text of a decision, as `tollgate why` prints it.

use core::fmt::Write;
use core::net::SocketAddr;

use super::super::Proxy;
use super::super::log_entry::Numbers;
use super::super::reason::{Busy, Reason, of_outcome};
use super::super::tries::{Try, Verdict};
use super::{Decision, Service};
use crate::limits::DECISIONS;
use crate::observe::access::Outcome;
use crate::observe::date::DateCache;
use crate::policy::meter::Algorithm;
use crate::policy::rate::SharedCount;
use crate::time::Instant;
use crate::upstream::addresses::is_socket;

/// Returns the text about the last request with this id.
///
/// # Errors
/// The gateway knows no such request. The text says how far back it looks, and where to look next.
#[cold]
pub fn why(proxy: &Proxy, id: &str) -> Result<String, String> {
    let decisions = &proxy.ctx.decisions;
    match decisions.find(id.as_bytes()) {
        Some(decision) if !id.is_empty() => Ok(decision.explain(proxy)),
        _ => Err(unknown(proxy, id)),
    }
}

fn unknown(proxy: &Proxy, id: &str) -> String {
    let ctx = &proxy.ctx;
    let mut out = format!("no decision about a request with the id {id:?} is known: ");
    let records = ctx.decisions.newest();
    let oldest = records.last().map(|record| record.ended);
    // Writing to a string cannot fail.
    let _ = match oldest {
        _ if ctx.rules.settings.request_id.is_none() => out.write_str(
            "requests have no ids, because \"requestId\" is false; set it to true or to the name of a field",
        ),
        None => out.write_str("no request has ended since the start"),
        Some(oldest) => write!(
            out,
            "the last {} are kept (at most {DECISIONS}), of requests that ended since {}",
            ctx.decisions.ring.len(),
            time(proxy, oldest),
        ),
    };
    out.push_str(
        "\nThe access log has a line for each request (\"id\" in JSON lines), and the log has one with \"id ",
    );
    out.extend(id.chars().filter(|c| c.is_ascii_graphic()));
    out.push_str("\" for each that failed\n");
    out
}

fn time(proxy: &Proxy, at: Instant) -> String {
    let wall = proxy.ctx.access_log.wall(at);
    let mut dates = DateCache::new();
    let text = String::from_utf8_lossy(dates.rfc3339(wall));
    format!("{text}.{:03}Z", wall.as_millis() % 1000)
}

/// Writes an address behind the name of its target, which is all in `text`. The name of a unix socket, or one that
/// is the address, says it all.
fn write_address(address: Option<SocketAddr>, text: &mut String) {
    let address = address.filter(|address| !is_socket(*address));
    let address = address.map(|address| address.to_string());
    if let Some(address) = address.filter(|address| !address.starts_with(text.as_str())) {
        // Writing to a string cannot fail.
        let _ = write!(text, " ({address})");
    }
}

/// Returns the word for a connection that was kept, or made for the request.
fn age(kept: bool) -> &'static str {
    if kept { "kept" } else { "new" }
}

/// Writes one line: its name, and its text.
fn line(out: &mut String, name: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name:9} {text}");
}

impl Decision {
    fn explain(&self, proxy: &Proxy) -> String {
        let numbers = &self.numbers;
        let mut out = String::new();
        line(&mut out, "id", &String::from_utf8_lossy(self.id()));
        let took = self.ended.since(numbers.started).as_millis();
        let started = time(proxy, numbers.started);
        line(&mut out, "time", &format!("{started}, took {took} ms"));
        line(&mut out, "client", &client(proxy, numbers));
        line(&mut out, "request", &self.request());
        self.write_route(&mut out);
        line(&mut out, "limit", &self.limit(proxy));
        line(&mut out, "auth", &self.auth(proxy));
        self.write_tries(&mut out);
        self.write_upstream(proxy, &mut out);
        line(&mut out, "answer", &self.answer());
        out
    }

    /// Returns the method and the path. The query may have secrets and is left out.
    fn request(&self) -> String {
        let start = usize::from(self.id).saturating_add(2);
        let text = self.text.get(start..).unwrap_or_default();
        let method = text.get(..self.method.into()).unwrap_or_default();
        let after = text
            .get(method.len().saturating_add(1)..)
            .unwrap_or_default();
        let length = usize::from(self.target);
        let (target, cut) = match after.get(..length) {
            Some(target) => (target, ""),
            None => (after, ".."),
        };
        if method.len() < usize::from(self.method) {
            return "left out, because the id is long; the access log has it".to_owned();
        }
        if method.is_empty() || length == 0 {
            return "no head that could be read".to_owned();
        }
        let mut parts = target.split(|&byte| byte == b'?');
        let path = parts.next().unwrap_or_default();
        let tail = if parts.next().is_some() { "?.." } else { cut };
        let [method, path] = [method, path].map(String::from_utf8_lossy);
        format!("{method} {path}{tail}")
    }

    fn write_route(&self, out: &mut String) {
        let text = match &self.service {
            Service::None => of_outcome(self.outcome, self.numbers.status).map_or_else(
                || "none: the request was answered before the choice of a route".to_owned(),
                |reason| format!("none: {reason}"),
            ),
            Service::Rules(rules) => match &rules.service.name {
                Some(name) => format!("{name} {}", rules.service.route),
                None => rules.service.route.clone(),
            },
            Service::Former(former) => format!("{} (of an earlier configuration)", former.label),
        };
        line(out, "route", &text);
    }

    fn limit(&self, proxy: &Proxy) -> String {
        // What another limit has left says nothing of why the request was refused.
        if self.outcome == Outcome::StoreDown {
            let mut text = "refused, the store is down".to_owned();
            self.name_servers(proxy, &mut text);
            return text;
        }
        let common = &proxy.ctx.rules.settings.rate_limit;
        let limit = match &self.service {
            Service::None => self.limit_of(common),
            Service::Rules(rules) => self.limit_of(rules.service.limits(common)),
            Service::Former(former) => former.limit,
        };
        let Some(quota) = self.numbers.quota else {
            return "not counted".to_owned();
        };
        let seconds_left = quota.end().since(self.numbers.started).as_secs_ceil();
        let left = quota.remaining();
        let Some(limit) = limit else {
            return format!("{left} left; the window ends {seconds_left} s later");
        };
        let (requests, seconds) = (limit.requests, limit.window.as_secs_ceil());
        let number = limit
            .number
            .map_or(String::new(), |number| format!("limit {number}: "));
        match limit.algorithm {
            Algorithm::Fixed => format!(
                "{number}{left} of {requests} in {seconds} s left; the window ends {seconds_left} s later"
            ),
            Algorithm::Sliding => format!(
                "{number}{left} of {requests} in sliding {seconds} s left; all are back {seconds_left} s later"
            ),
            Algorithm::Bucket { burst } => format!(
                "{number}{left} of a bucket of {burst} left, {requests} come back in {seconds} s; all are back {seconds_left} s later"
            ),
        }
    }

    /// Appends the names of the providers or stores of the service that can be the cause, where the reason is
    /// one of theirs: it has no name. Of an earlier configuration no names are known.
    fn name_servers(&self, proxy: &Proxy, text: &mut String) {
        let settings = &proxy.ctx.rules.settings;
        let service = match &self.service {
            Service::Rules(rules) => Some(&rules.service),
            Service::None => None,
            Service::Former(_) => return,
        };
        let mut before = ": ";
        let mut add = |name: &str| {
            text.push_str(before);
            text.push_str(name);
            before = ", ";
        };
        match self.reason.as_deref() {
            Some(Reason::StoreDown) => {
                let common = settings.rate_limit.as_slice();
                let limits = service.map_or(common, |service| service.limits(common));
                for (store, known) in settings.stores.iter().enumerate() {
                    let shared = Some(SharedCount { store });
                    if known.is_closed && limits.iter().any(|limit| limit.store == shared) {
                        add(&known.name);
                    }
                }
            }
            Some(Reason::ProviderDown | Reason::Busy(Busy::Questions)) => {
                let indices = service.map_or(&[][..], |service| &service.auth.providers);
                let providers = indices.iter().filter_map(|index| settings.auth.get(*index));
                // The others need no server.
                for provider in providers.filter(|known| known.kind.endpoint().is_some()) {
                    add(&provider.name);
                }
            }
            _ => {}
        }
    }

    fn auth(&self, proxy: &Proxy) -> String {
        match self.numbers.verdict {
            Verdict::NotAsked => "not asked".to_owned(),
            Verdict::Preflight => "not asked: a preflight has no credentials".to_owned(),
            Verdict::Key => "let in by an API key".to_owned(),
            Verdict::Credential => "let in".to_owned(),
            Verdict::Refused => {
                let mut text = format!("refused: {}", self.reason());
                self.name_servers(proxy, &mut text);
                text
            }
        }
    }

    /// Writes the failed attempts.
    fn write_tries(&self, out: &mut String) {
        let Some(tries) = &self.tries else { return };
        for (place, attempt) in tries.list.iter().enumerate() {
            let left_out = (tries.count as usize).saturating_sub(tries.list.len());
            let is_last = place.saturating_add(1) == tries.list.len();
            if is_last && left_out > 0 {
                line(out, "", &format!("{left_out} more, left out"));
            }
            line(out, "tried", &self.attempt(attempt));
        }
    }

    fn attempt(&self, attempt: &Try) -> String {
        let reason = attempt.reason.as_ref();
        let reason = reason.map_or(attempt.outcome.as_str(), Reason::as_str);
        let mut text = self.target(attempt.destination).to_owned();
        write_address(attempt.address, &mut text);
        let _ = write!(text, ", given up after {} ms", attempt.at);
        if let Some(kept) = attempt.kept {
            let _ = write!(text, " on a {} connection", age(kept));
        }
        let _ = write!(text, ": {reason}");
        text
    }

    /// Returns the name of a target.
    fn target(&self, number: u32) -> &str {
        let name = match &self.service {
            Service::None => None,
            Service::Rules(rules) => rules
                .destination(number as usize)
                .map(|to| to.target.name()),
            Service::Former(former) => former
                .targets
                .iter()
                .find(|(known, _)| *known == number)
                .map(|(_, name)| &**name),
        };
        name.unwrap_or("a target that is gone")
    }

    /// Writes where the response came from.
    fn write_upstream(&self, proxy: &Proxy, out: &mut String) {
        let numbers = &self.numbers;
        let (Some(number), Some(status)) = (numbers.sent_to.get(), numbers.upstream_status) else {
            return;
        };
        let mut text = self.target(number).to_owned();
        let address = numbers
            .endpoint
            .and_then(|id| proxy.upstreams.address_at(id));
        write_address(address, &mut text);
        let sent = numbers.went_up.get().unwrap_or(0);
        let after = numbers.upstream_millis.get().unwrap_or(0);
        let _ = write!(
            text,
            ", sent after {sent} ms on a {} connection: {status} after {after} ms",
            age(numbers.reused)
        );
        line(out, "upstream", &text);
    }

    fn reason(&self) -> &str {
        match &self.reason {
            Some(reason) => reason.as_str(),
            None => of_outcome(self.outcome, self.numbers.status).unwrap_or_default(),
        }
    }

    fn answer(&self) -> String {
        let numbers = &self.numbers;
        let mut text = match numbers.status {
            Some(status) => status.to_string(),
            None => "none".to_owned(),
        };
        let _ = write!(text, ", end {}", self.outcome.as_str());
        for part in [": ", self.reason()] {
            if !self.reason().is_empty() {
                text.push_str(part);
            }
        }
        let _ = write!(
            text,
            "; {} bytes of content in, {} out",
            numbers.bytes_in, numbers.bytes_out
        );
        text
    }
}

fn client(proxy: &Proxy, numbers: &Numbers) -> String {
    let mut text = match numbers.client {
        Some(client) => client.to_string(),
        None => "of a unix socket".to_owned(),
    };
    let listener = proxy
        .ctx
        .access_log
        .listener_name(numbers.entrance.listener);
    let tls = numbers.entrance.tls.map(|tls| tls.as_str());
    for (word, name) in [(", listener ", listener), (", ", tls)] {
        if let Some(name) = name {
            text.push_str(word);
            text.push_str(name);
        }
    }
    text
}

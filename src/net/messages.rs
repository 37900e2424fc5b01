//! Messages to the operator: what the engine reports, as lines of the log.
//!
//! Out of scope: which messages are kept from the log (the engine), and writing them
//! (`workers/logger.rs`).

use core::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use log::{Level, debug, error, info, log, warn};

use super::provider_messages::{self, reason_text};
use crate::config::shown::limit::counted;
use crate::http::proxy_header::HeaderFault;
use crate::observe::access::Outcome;
use crate::policy::meter::Algorithm;
use crate::policy::rate_key::RateKey;
use crate::proxy::command::{Cause, Failed, FullLimit, Got, Reason, Report, TargetId, Uncertified};
use crate::proxy::settings::{Store, Target, TargetHost};
use crate::sort::Index;
use crate::upstream::health::Change;

/// Log of the engine's reports.
#[derive(Default)]
pub struct Messages {
    /// Last lookup of each target's name, at the index of its key.
    lookups: Vec<Option<Lookup>>,
}

/// Last lookup of a name.
struct Lookup {
    target: TargetId,
    name: Rc<Target>,
    /// Reason of the failure, if it failed.
    failed: Option<String>,
}

impl Messages {
    /// Notes the name of a target that is looked up.
    pub fn lookup_started(&mut self, target: TargetId, name: Rc<Target>) {
        let slot = target.index() as usize;
        if self.lookups.len() <= slot {
            self.lookups.resize_with(slot.saturating_add(1), || None);
        }
        let of_slot = self.lookups.get_mut(slot);
        if let Some(of_slot) = of_slot
            && of_slot.as_ref().is_none_or(|known| known.target != target)
        {
            let failed = None;
            *of_slot = Some(Lookup {
                target,
                name,
                failed,
            });
        }
    }

    /// Forgets the lookups of other targets.
    pub fn keep_lookups_of(&mut self, targets: &[TargetId]) {
        let kept = Index::new(targets.iter().map(|target| u64::from(*target)).collect());
        for slot in &mut self.lookups {
            slot.take_if(|lookup| !kept.contains(&lookup.target.into()));
        }
    }

    /// Logs the end of a lookup. A name that cannot be resolved is looked up again and again: only
    /// a new reason is worth a warning.
    #[cold]
    pub fn log_resolution(&mut self, target: TargetId, reason: Option<String>) {
        let slot = self.lookups.get_mut(target.index() as usize);
        let known = slot.and_then(Option::as_mut);
        let Some(Lookup { name, failed, .. }) = known.filter(|known| known.target == target) else {
            return;
        };
        let (TargetHost::Name(host), before) = (&name.host, failed) else {
            return;
        };
        match (&reason, before.is_some()) {
            (Some(why), _) if reason != *before => {
                warn!("cannot resolve {host}: {why}; looking again within 30 s")
            }
            (Some(why), _) => debug!("cannot resolve {host}: {why}"),
            (None, true) => info!("{host} can be resolved again"),
            (None, false) => {}
        }
        *before = reason;
    }

    /// Logs a report of the engine.
    #[cold]
    pub fn report(&self, report: Report) {
        match report {
            Report::UpstreamFailed(failed) => warn!("{}", Line(&failed)),
            Report::TryFailed(failed) | Report::Refused(failed) => info!("{}", Line(&failed)),
            Report::BodyBroken { client, fault } => info!(
                "{} in the body of a request that {} has an answer to; the connection closes",
                fault.as_str(),
                Client(client)
            ),
            Report::Unannounced { sender, fault } => log_unannounced(sender, fault),
            Report::Uncertified(refused) => info!("{}", uncertified_text(&refused)),
            Report::FirstRateLimited(full) => warn!("{}", rate_limited_text(&full)),
            Report::ForwardedIgnored { peer } => warn!("{}", forwarded_text(peer)),
            Report::Suppressed {
                is_info,
                service,
                provider,
                what,
                count,
            } => {
                let level = if is_info { Level::Info } else { Level::Warn };
                let subject = (service.as_deref(), provider.as_deref());
                log!(level, "{}", suppressed_text(subject, what, count));
            }
            Report::Health {
                service,
                target,
                address,
                change,
                cause,
                reason,
            } => log_health_change(
                &service,
                (target.name(), target.address_text(address)),
                change,
                (cause, reason.as_ref()),
            ),
            Report::ProviderFailed {
                provider,
                reason,
                status,
            } => provider_messages::failed(&provider, reason.as_ref(), status),
            Report::Store { store, why } => log_store(&store, why.as_deref()),
            Report::KeysFetched {
                provider,
                count,
                left_out,
            } => provider_messages::keys_fetched(&provider, count, left_out),
            Report::KeysFailed {
                provider,
                fault,
                reason,
            } => provider_messages::keys_failed(&provider, fault, reason.as_ref()),
            Report::ConnectionsFull { client, is_first } => log_full(client, is_first),
            Report::Exhausted => error!(
                "no descriptor, port or memory is left for an upstream connection; raise the limit of open files (LimitNOFILE, \
                 ulimit -n) or the range of ports (net.ipv4.ip_local_port_range)"
            ),
        }
    }
}

/// Logs a connection for which there is no place. `client`: it has its share; `None`: all are in use.
fn log_full(client: Option<IpAddr>, is_first: bool) {
    let (level, hourly) = match is_first {
        true => (Level::Warn, " (said once an hour)"),
        false => (Level::Debug, ""),
    };
    match client {
        Some(client) => log!(
            level,
            "{client} has its share of the connections and got no further one; if it is a proxy in front, name it in \
             trustedProxies, otherwise see limits.connectionsPerClient{hourly}"
        ),
        None => log!(
            level,
            "all connections are in use: a client got 503; see limits.connections{hourly}"
        ),
    }
}

/// Logs that a store cannot be used, and what its limits do, or that it can be used again.
fn log_store(store: &Store, why: Option<&str>) {
    let Some(why) = why else {
        info!("store {}: is back, limits are shared again", store.name);
        return;
    };
    let then = match store.is_closed {
        true => "its limits answer 503",
        false => "its limits count here alone",
    };
    warn!("store {}: {why}; {then} until it is back", store.name);
}

/// Logs a connection that does not begin with a header of the PROXY protocol.
fn log_unannounced(sender: Option<IpAddr>, fault: HeaderFault) {
    let (fault, sender) = (fault.as_str(), Client(sender));
    warn!(
        "{fault} from {sender}, which is in proxyProtocol; the connection is closed: have it send the header, or take it out of proxyProtocol"
    );
}

/// Returns the message about a client whose certificate was refused.
fn uncertified_text(refused: &Uncertified) -> String {
    let listener = refused.listener.as_deref();
    let (on, listener) = listener.map_or(("", ""), |name| (" on ", name));
    let (client, reason) = (Client(refused.client), &refused.reason);
    format!("the client certificate of {client} is refused{on}{listener}: {reason}; see clientCa")
}

/// Logs a count of messages that were kept from the log, at the level of those that were not.
fn suppressed_text(
    (service, provider): (Option<&str>, Option<&str>),
    what: Option<&str>,
    count: u32,
) -> String {
    let what = what.unwrap_or("of several kinds");
    let (auth, name, colon) = match (service, provider) {
        (Some(service), _) => ("", service, ": "),
        (None, Some(provider)) => ("auth ", provider, ": "),
        (None, None) => ("", "", ""),
    };
    format!("{auth}{name}{colon}{what}: {count} more messages like the ones before")
}

/// Returns the message about the first 429 of a service.
fn rate_limited_text(full: &FullLimit) -> String {
    let FullLimit {
        service,
        client,
        key,
        requests,
        window,
        algorithm,
    } = full;
    let (service, client) = (service.as_deref().unwrap_or("no route"), Client(*client));
    let seconds = window.as_secs_ceil();
    let most = match algorithm {
        Algorithm::Bucket { burst } => {
            format!(
                "more than a bucket of {burst} requests holds ({requests} come back in {seconds} s)"
            )
        }
        Algorithm::Fixed | Algorithm::Sliding => {
            format!("more than {requests} requests in {seconds} s")
        }
    };
    let what = match key {
        RateKey::Ip => format!("{client} sent {most}"),
        key => format!("{most} for one {}, the last from {client}", counted(key)),
    };
    format!("{service}: first 429: {what}, see rateLimit (said once)")
}

/// Returns the message about `X-Forwarded-For` from a proxy that is not trusted.
fn forwarded_text(peer: Option<IpAddr>) -> String {
    let name = peer.map_or("unix".to_owned(), |ip| ip.to_string());
    let peer = Client(peer);
    format!(
        "X-Forwarded-For from {peer} is ignored, so that its requests count as those of one client; did you mean trustedProxies? \
         Set \"trustedProxies\": [{name:?}] to believe it (said once)"
    )
}

/// Logs that an endpoint became usable or unusable.
fn log_health_change(
    service: &str,
    (name, shown): (&str, String),
    change: Change,
    (cause, reason): (Cause, Option<&Reason>),
) {
    let place = if shown.starts_with(name) {
        shown
    } else {
        format!("{name} ({shown})")
    };
    let seen = match cause {
        Cause::Status(status) => format!("status {status}"),
        Cause::Failure(outcome) => reason_text(outcome, reason).to_owned(),
        Cause::Time => String::new(),
    };
    match change {
        Change::WentDown => warn!("{service}: {place} is down, its checks fail: {seen}"),
        Change::StillDown => {
            warn!("{service}: {place} is still down, its checks fail now: {seen}")
        }
        Change::CameUp => info!("{service}: {place} is up again, its checks succeed: {seen}"),
        Change::Ejected => {
            warn!("{service}: {place} is put aside for a while, requests fail there: {seen}")
        }
        // Debug level: repeats without end where no process listens, such as an address of localhost.
        Change::EjectedAgain => debug!("{service}: {place} is put aside again: {seen}"),
        Change::Returned => debug!("{service}: {place} is tried again"),
        Change::Recovered => info!("{service}: {place} is well again, its requests succeed"),
    }
}

/// Prepares a message of the system or of TLS to stand in the middle of a line: without its capital.
pub fn mid_sentence(mut text: String) -> Box<str> {
    let mut letters = text.bytes();
    let begins_a_sentence = letters
        .next()
        .is_some_and(|first| first.is_ascii_uppercase())
        && letters
            .next()
            .is_some_and(|second| second.is_ascii_lowercase());
    if begins_a_sentence && let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text.into_boxed_str()
}

/// Line about a request that was refused or failed, such as
/// `/chats -> chats.internal:80 (10.0.0.2:80): connection refused (os error 111); 502 to 192.0.2.7, GET /chats/1, id 9f..`
pub struct Line<'a>(pub &'a Failed);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(failed) = self;
        if let Some(service) = &failed.service {
            f.write_str(service)?;
            if let Some(target) = &failed.target {
                match (&target.host, failed.address) {
                    (TargetHost::Name(name), Some(address)) => {
                        write!(f, " -> {name}:{} ({address})", target.port)?
                    }
                    (TargetHost::Name(name), None) => write!(f, " -> {name}:{}", target.port)?,
                    (TargetHost::Unix(name), _) => write!(f, " -> {name}")?,
                    (TargetHost::Address(address), _) => {
                        write!(f, " -> {}", SocketAddr::new(*address, target.port))?
                    }
                }
            }
            if failed.is_kept_lost {
                f.write_str(", on a kept connection")?;
            }
            f.write_str(": ")?;
        }
        if failed.outcome == Outcome::UpstreamMalformed {
            f.write_str("malformed response: ")?;
        }
        match &failed.reason {
            Some(reason) => write!(f, "{reason}; ")?,
            None => write!(f, "{}; ", failed.outcome)?,
        }
        let client = Client(failed.client);
        match failed.got {
            Got::Reply(status) => write!(f, "{status} to {client}")?,
            Got::Part(status) => write!(f, "the {status} to {client} was cut")?,
            Got::Nothing => write!(f, "no answer to {client}")?,
            Got::NotYet => write!(f, "tried elsewhere for {client}")?,
        }
        if !failed.method.is_empty() {
            write!(f, ", {}", failed.method.escape_ascii())?;
        }
        if !failed.path.is_empty() {
            write!(f, " {}", failed.path.escape_ascii())?;
        }
        if let Some(id) = &failed.id {
            write!(f, ", id {}", id.escape_ascii())?;
        }
        Ok(())
    }
}

/// Sender of a request.
struct Client(Option<IpAddr>);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("a client on a unix socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error::{RequestFault, ResponseError};
    use crate::time::Duration;

    fn failed() -> Failed {
        Failed {
            service: Some("/chats".into()),
            target: Some(target(TargetHost::Name("chats.internal".to_owned()))),
            address: "10.0.0.2:80".parse().ok(),
            outcome: Outcome::UpstreamRefused,
            reason: Some(Reason::System(mid_sentence(
                "Connection refused (os error 111)".to_owned(),
            ))),
            got: Got::Reply(502),
            is_kept_lost: false,
            client: "192.0.2.7".parse().ok(),
            id: None,
            method: b"GET"[..].into(),
            path: b"/chats/1"[..].into(),
        }
    }

    fn line(failed: &Failed) -> String {
        Line(failed).to_string()
    }

    fn target(host: TargetHost) -> Rc<Target> {
        Rc::new(Target {
            host,
            port: 80,
            authority: String::new(),
            tls: false,
            trust: [0; 32],
        })
    }

    #[test]
    fn lines_name_where_why_and_whose() {
        for (failed, expected) in [
            (
                failed(),
                "/chats -> chats.internal:80 (10.0.0.2:80): connection refused (os error 111); 502 to 192.0.2.7, GET /chats/1",
            ),
            (
                Failed {
                    target: Some(target(TargetHost::Address(IpAddr::from([10, 0, 0, 2])))),
                    ..failed()
                },
                "/chats -> 10.0.0.2:80: connection refused (os error 111); 502 to 192.0.2.7, GET /chats/1",
            ),
            (
                Failed {
                    is_kept_lost: true,
                    outcome: Outcome::UpstreamClosed,
                    reason: None,
                    ..failed()
                },
                "/chats -> chats.internal:80 (10.0.0.2:80), on a kept connection: upstream_closed; 502 to 192.0.2.7, GET /chats/1",
            ),
            (
                Failed {
                    id: Some(b"9f-1"[..].into()),
                    ..failed()
                },
                "/chats -> chats.internal:80 (10.0.0.2:80): connection refused (os error 111); 502 to 192.0.2.7, GET /chats/1, id 9f-1",
            ),
            (
                Failed {
                    got: Got::Part(200),
                    reason: None,
                    address: None,
                    ..failed()
                },
                "/chats -> chats.internal:80: upstream_refused; the 200 to 192.0.2.7 was cut, GET /chats/1",
            ),
            (
                Failed {
                    outcome: Outcome::UpstreamMalformed,
                    reason: Some(Reason::Response(ResponseError::Status)),
                    ..failed()
                },
                "/chats -> chats.internal:80 (10.0.0.2:80): malformed response: status code; 502 to 192.0.2.7, GET /chats/1",
            ),
            (
                Failed {
                    got: Got::NotYet,
                    ..failed()
                },
                "/chats -> chats.internal:80 (10.0.0.2:80): connection refused (os error 111); tried elsewhere for \
                 192.0.2.7, GET /chats/1",
            ),
            (
                Failed {
                    service: None,
                    target: None,
                    reason: Some(RequestFault::TwoContentLengths.into()),
                    got: Got::Reply(400),
                    client: None,
                    path: Box::default(),
                    ..failed()
                },
                "two Content-Length fields; 400 to a client on a unix socket, GET",
            ),
            (
                Failed {
                    path: b"/a\x1b[2J\xff\"\n"[..].into(),
                    ..failed()
                },
                "/chats -> chats.internal:80 (10.0.0.2:80): connection refused (os error 111); 502 to 192.0.2.7, GET \
                 /a\\x1b[2J\\xff\\\"\\n",
            ),
        ] {
            assert_eq!(line(&failed), expected);
        }
    }

    #[test]
    fn what_is_said_once_names_the_key() {
        let client = "10.0.0.7".parse().ok();
        let reached = |key, algorithm| {
            rate_limited_text(&FullLimit {
                service: Some("/a".into()),
                client,
                key,
                requests: 20,
                window: Duration::from_secs(60),
                algorithm,
            })
        };
        let uncertified = |listener: Option<&str>, reason: &str| {
            uncertified_text(&Uncertified {
                client,
                listener: listener.map(Box::from),
                reason: Reason::System(reason.into()),
            })
        };
        for (text, expected) in [
            (
                reached(RateKey::Ip, Algorithm::Fixed),
                "/a: first 429: 10.0.0.7 sent more than 20 requests in 60 s, see rateLimit (said once)",
            ),
            (
                reached(RateKey::Consumer, Algorithm::Sliding),
                "/a: first 429: more than 20 requests in 60 s for one consumer, the last from 10.0.0.7, see rateLimit (said once)",
            ),
            (
                reached(RateKey::Ip, Algorithm::Bucket { burst: 5 }),
                "/a: first 429: 10.0.0.7 sent more than a bucket of 5 requests holds (20 come back in 60 s), see rateLimit (said once)",
            ),
            (
                uncertified(None, "peer sent no certificates"),
                "the client certificate of 10.0.0.7 is refused: peer sent no certificates; see clientCa",
            ),
            (
                uncertified(Some("wan"), "invalid peer certificate: UnknownIssuer"),
                "the client certificate of 10.0.0.7 is refused on wan: invalid peer certificate: UnknownIssuer; see clientCa",
            ),
            (
                suppressed_text((Some("/a"), None), Some("connection"), 40),
                "/a: connection: 40 more messages like the ones before",
            ),
            (
                suppressed_text((None, Some("idp")), None, 1),
                "auth idp: of several kinds: 1 more messages like the ones before",
            ),
            (
                suppressed_text((None, None), Some("request"), 2),
                "request: 2 more messages like the ones before",
            ),
            (
                forwarded_text(client),
                "X-Forwarded-For from 10.0.0.7 is ignored, so that its requests count as those of one client; did you mean \
                 trustedProxies? Set \"trustedProxies\": [\"10.0.0.7\"] to believe it (said once)",
            ),
            (
                forwarded_text(None),
                "X-Forwarded-For from a client on a unix socket is ignored, so that its requests count as those of one client; \
                 did you mean trustedProxies? Set \"trustedProxies\": [\"unix\"] to believe it (said once)",
            ),
        ] {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn what_others_say_goes_on_in_small_letters() {
        for (text, expected) in [
            (
                "Connection refused (os error 111)",
                "connection refused (os error 111)",
            ),
            ("TLS alert", "TLS alert"),
            (
                "invalid peer certificate: UnknownIssuer",
                "invalid peer certificate: UnknownIssuer",
            ),
            ("", ""),
        ] {
            assert_eq!(&*mid_sentence(text.to_owned()), expected);
        }
    }
}

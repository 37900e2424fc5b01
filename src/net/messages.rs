//! What the engine reports of failed requests, as lines of the operator's log.

use core::fmt;
use std::net::{IpAddr, SocketAddr};

use log::{info, warn};

use crate::observe::access::Outcome;
use crate::proxy::command::{Failed, Reason};
use crate::proxy::settings::{Target, TargetHost};

/// What the indices in a report stand for.
pub struct Names<'a> {
    /// The routes of the services.
    pub routes: &'a [String],
    /// The settings' targets.
    pub targets: &'a [Target],
    /// The names of the providers.
    pub providers: &'a [String],
}

/// An exchange failed, or was cut.
#[cold]
pub fn upstream_failed(failed: &Failed, names: &Names<'_>) {
    warn!("{}", Line { failed, names });
}

/// A request was refused.
#[cold]
pub fn refused(failed: &Failed, names: &Names<'_>) {
    info!("{}", Line { failed, names });
}

/// Messages that were kept from the log. They are told at the level of those that were not kept.
#[cold]
pub fn suppressed(
    service: Option<u32>,
    provider: Option<u32>,
    what: Option<&str>,
    count: u32,
    names: &Names<'_>,
) {
    let route = service
        .and_then(|service| names.routes.get(service as usize))
        .map(String::as_str);
    let provider = provider.and_then(|provider| names.providers.get(provider as usize));
    let what = what.unwrap_or("of several kinds");
    match (route, provider) {
        (Some(route), _) => warn!("{route}: {what}: {count} more messages like the ones before"),
        (None, Some(provider)) => {
            warn!("auth {provider}: {what}: {count} more messages like the ones before")
        }
        (None, None) => warn!("{what}: {count} more messages like the ones before"),
    }
}

/// The reason of a failure, or its word where no more is known.
pub fn reason_text(end: Outcome, reason: Option<&Reason>) -> &str {
    reason.map_or(end.as_str(), Reason::as_str)
}

/// The text of what the system or TLS said, as it stands in the middle of a line.
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

/// `/chats -> chats.internal:80 (10.0.0.2:80): connection refused (os error 111); 502 to 192.0.2.7, GET /chats/1`
struct Line<'a> {
    failed: &'a Failed,
    names: &'a Names<'a>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { failed, names } = self;
        if let Some(route) = failed
            .service
            .and_then(|service| names.routes.get(service as usize))
        {
            f.write_str(route)?;
            if let Some(target) = failed
                .target
                .and_then(|target| names.targets.get(target as usize))
            {
                match (&target.host, failed.address) {
                    (TargetHost::Name(name), Some(address)) => {
                        write!(f, " -> {name}:{} ({address})", target.port)?
                    }
                    (TargetHost::Name(name), None) => write!(f, " -> {name}:{}", target.port)?,
                    (TargetHost::Address(address), _) => {
                        write!(f, " -> {}", SocketAddr::new(*address, target.port))?
                    }
                }
            }
            f.write_str(": ")?;
        }
        match &failed.reason {
            Some(reason) => write!(f, "{reason}; ")?,
            None => write!(f, "{}; ", failed.end)?,
        }
        match failed.status {
            Some(status) if failed.is_cut => {
                write!(f, "the {status} to {} was cut", Client(failed.client))?
            }
            Some(status) => write!(f, "{status} to {}", Client(failed.client))?,
            None => write!(f, "no answer to {}", Client(failed.client))?,
        }
        if !failed.method.is_empty() {
            write!(f, ", {}", failed.method.escape_ascii())?;
        }
        if !failed.path.is_empty() {
            write!(f, " {}", failed.path.escape_ascii())?;
        }
        Ok(())
    }
}

/// Who sent a request.
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
    use crate::http::error::RequestFault;

    fn failed() -> Failed {
        Failed {
            service: Some(0),
            target: Some(0),
            address: "10.0.0.2:80".parse().ok(),
            end: Outcome::UpstreamRefused,
            reason: Some(Reason::System(mid_sentence(
                "Connection refused (os error 111)".to_owned(),
            ))),
            status: Some(502),
            is_cut: false,
            client: "192.0.2.7".parse().ok(),
            method: b"GET"[..].into(),
            path: b"/chats/1"[..].into(),
        }
    }

    fn line(failed: &Failed) -> String {
        let literal = TargetHost::Address(IpAddr::from([10, 0, 0, 2]));
        let targets = [TargetHost::Name("chats.internal".to_owned()), literal].map(|host| Target {
            host,
            port: 80,
            authority: String::new(),
            tls: false,
        });
        let names = Names {
            routes: &["/chats".to_owned()],
            targets: &targets,
            providers: &[],
        };
        Line {
            failed,
            names: &names,
        }
        .to_string()
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
                    target: Some(1),
                    ..failed()
                },
                "/chats -> 10.0.0.2:80: connection refused (os error 111); 502 to 192.0.2.7, GET /chats/1",
            ),
            (
                Failed {
                    status: Some(200),
                    is_cut: true,
                    reason: None,
                    address: None,
                    ..failed()
                },
                "/chats -> chats.internal:80: upstream_refused; the 200 to 192.0.2.7 was cut, GET /chats/1",
            ),
            (
                Failed {
                    service: None,
                    target: None,
                    reason: Some(RequestFault::TwoContentLengths.into()),
                    status: Some(400),
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

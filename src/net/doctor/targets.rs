//! Names, targets, providers and stores: whether they answer, and what their answers say.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::ask::{Question, Trouble, ask};
use super::parallel::{Done, Job, run};
use super::probes::{Probe, Purpose, probes, question};
use super::{Examined, Subject, clock, connects, listed, stores};
use crate::http::error::ResponseError;
use crate::limits::EXPIRY_WARNING;
use crate::net::Loaded;
use crate::net::answer::{Answer, Malformed};
use crate::net::workers::dns;
use crate::policy::auth::introspection;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::Kind;
use crate::proxy::settings::{Target, TargetHost};
use crate::sort;
use crate::time::UnixTime;
use crate::transport::TransportFault;
use crate::upstream::addresses::of_socket;

/// Looks names up, asks each target, provider and store once, and compares the clocks.
pub(super) fn examine(loaded: &Loaded, subject: &Subject<'_>, examined: &mut Examined) {
    let probes = probes(&loaded.config);
    let names = look_up(&probes, examined);
    let mut jobs: Vec<Job> = Vec::new();
    let mut asked = Vec::new();
    for (number, probe) in probes.iter().enumerate() {
        let tls = loaded.client_tls.get(probe.index).cloned().flatten();
        for address in addresses(probe.target, &names) {
            let question = Question {
                address,
                socket: probe.target.host.socket().map(str::to_owned),
                tls: tls.clone(),
                asked: question(probe),
            };
            asked.push((number, address));
            jobs.push(Box::new(move || Done::Answer(ask(question))));
        }
    }
    examined.begin(jobs.len());
    let mut answers = asked.into_iter().zip(run(jobs)).peekable();
    let mut clocks = Vec::new();
    for (number, probe) in probes.iter().enumerate() {
        let mut of_probe = Vec::new();
        while let Some(((_, address), done)) = answers.next_if(|((other, _), _)| *other == number) {
            of_probe.push((address, done));
        }
        judge(probe, of_probe, &mut clocks, examined);
    }
    clock::examine(subject, &clocks, examined);
}

/// Names and their addresses, sorted by name.
type Addresses<'a> = Vec<(&'a str, Vec<IpAddr>)>;

/// Looks up each name once. Returns the addresses of those that have some.
fn look_up<'a>(probes: &[Probe<'a>], examined: &mut Examined) -> Addresses<'a> {
    let named = probes.iter().filter_map(|probe| match &probe.target.host {
        TargetHost::Name(name) => Some((name.as_str(), &probe.users)),
        TargetHost::Address(_) | TargetHost::Unix(_) => None,
    });
    let users = sort::group(named);
    let jobs = users.iter().map(|(name, _)| {
        let name = (*name).to_owned();
        let job: Job = Box::new(move || Done::Addresses(dns::look_up(&name)));
        job
    });
    examined.begin(users.len());
    let mut found = Vec::new();
    for ((name, users), done) in users.iter().zip(run(jobs.collect())) {
        let problem = match done {
            Done::Addresses(Ok(addresses)) if !addresses.is_empty() => {
                found.push((*name, addresses));
                continue;
            }
            Done::Addresses(Ok(_)) => "has no address".to_owned(),
            Done::Addresses(Err(reason)) => format!("does not resolve: {reason}"),
            Done::Answer(_) | Done::Late => "the name server gives no answer in 3 s".to_owned(),
        };
        let users = users.iter().copied().flatten().cloned();
        let mut users = users.collect::<Vec<_>>();
        sort::unique(&mut users);
        let what = format!("name {name} ({})", listed(&users));
        let cure = "correct the name in the file, the DNS, or /etc/hosts or /etc/resolv.conf of this machine";
        examined.find("name", &what, problem, cure);
    }
    found
}

fn addresses(target: &Target, names: &Addresses<'_>) -> Vec<SocketAddr> {
    let hosts = match &target.host {
        TargetHost::Address(address) => vec![*address],
        TargetHost::Name(name) => sort::value_of(names, name.as_str())
            .cloned()
            .unwrap_or_default(),
        TargetHost::Unix(_) => {
            let path = target.host.socket().unwrap_or_default();
            return vec![of_socket(path)];
        }
    };
    let with_port = hosts.into_iter();
    with_port
        .map(|host| SocketAddr::new(host, target.port))
        .collect()
}

/// Says what is wrong with a target, given the answers of its addresses.
fn judge(
    probe: &Probe<'_>,
    answers: Vec<(SocketAddr, Done)>,
    clocks: &mut Vec<(String, UnixTime, UnixTime)>,
    examined: &mut Examined,
) {
    let (check, url) = match probe.is_store() {
        true => ("store", stores::url(probe.target)),
        false => ("target", probe.target.url()),
    };
    let users = listed(&probe.users);
    let mut good = None;
    let mut bad = Vec::new();
    for (address, done) in answers {
        let at = match &probe.target.host {
            TargetHost::Name(_) => format!(" at {address}"),
            TargetHost::Address(_) | TargetHost::Unix(_) => String::new(),
        };
        let what = format!("{check} {url}{at} ({users})");
        match done {
            Done::Answer(Ok(answered)) => {
                if let Some((problem, cure)) = probe.late(answered.took) {
                    examined.find(check, &what, problem, &cure);
                }
                good = good.or(Some((what, answered)));
            }
            Done::Answer(Err(trouble)) => {
                bad.push((address, what, described(&trouble, address, probe)))
            }
            Done::Addresses(_) | Done::Late => {
                let late = Trouble::Connect(io::ErrorKind::TimedOut.into());
                bad.push((address, what, described(&late, address, probe)));
            }
        }
    }
    // A connection that is tried and fails is one thing; silence to a request that nobody has to
    // understand is another.
    let is_served = good.is_some();
    for (address, what, (problem, cure, is_sure)) in bad {
        match is_served || !is_sure {
            // The gateway uses the address that answers.
            true if address.ip().is_loopback() && is_served => {}
            true => examined.hint(check, &what, problem, &cure),
            false => examined.find(check, &what, problem, &cure),
        }
    }
    let Some((what, answered)) = good else { return };
    if let Some(end) = answered.certificates_end {
        expiry(&what, end, examined);
    }
    if let Purpose::Store(store, true) = &probe.purpose
        && let Some((problem, cure)) = stores::late(answered.took, store.is_closed)
    {
        examined.find(check, &what, problem, cure);
    }
    if let Some(response) = &answered.answer {
        if let Some(date) = response.date {
            clocks.push((what.clone(), date, answered.now));
        }
        answer(probe, &what, (response, answered.now), examined);
    }
}

/// Returns the problem, the cure, and whether the target is certainly at fault.
fn described(trouble: &Trouble, address: SocketAddr, probe: &Probe<'_>) -> (String, String, bool) {
    let (problem, cure, is_sure) = description(trouble, address, probe);
    let cure = match probe.is_store() {
        true => stores::worded(cure),
        false => cure.to_owned(),
    };
    (problem, cure, is_sure)
}

fn description(
    trouble: &Trouble,
    address: SocketAddr,
    probe: &Probe<'_>,
) -> (String, &'static str, bool) {
    match trouble {
        Trouble::Connect(error) => {
            let problem = match error.kind() {
                io::ErrorKind::TimedOut => "no connection in 3 s".to_owned(),
                _ => error.to_string(),
            };
            let is_socket = matches!(probe.target.host, TargetHost::Unix(_));
            let cure = connects::cure(error, (!is_socket).then_some(address));
            (problem, cure, true)
        }
        Trouble::Tls(text, "") => (
            text.clone(),
            "look into the log of the service there; write http:// if it speaks no TLS",
            true,
        ),
        Trouble::Tls(text, cure) => (text.clone(), cure, true),
        Trouble::Refused(text) => (text.clone(), stores::cure(text), true),
        Trouble::Answer(error) if error.kind() == io::ErrorKind::InvalidData => {
            let (problem, cure) = malformed(error);
            (format!("what it sends is {problem}"), cure, true)
        }
        Trouble::Answer(error) => broken_off(error, probe),
    }
}

/// Says why a connection ended without an answer, what helps, and whether that is sure: a service
/// may break off because of the question alone.
fn broken_off(error: &io::Error, probe: &Probe<'_>) -> (String, &'static str, bool) {
    const LOG: &str = "look into the log of the service there";
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let is_asked = !matches!(probe.purpose, Purpose::Any);
    match (error.kind(), inner) {
        (io::ErrorKind::TimedOut, _) => (probe.silent(), LOG, true),
        (io::ErrorKind::UnexpectedEof, _) => {
            let cure = match probe.target.tls {
                true => LOG,
                false => "look into the log of the service there; write https:// if it speaks TLS",
            };
            let problem = "closes the connection without an answer";
            (problem.to_owned(), cure, is_asked)
        }
        // TLS fails before the question is sent.
        (_, Some(TransportFault::Tls { reason, cure })) => {
            let cure = if cure.is_empty() { LOG } else { cure };
            (format!("breaks the connection off: {reason}"), cure, true)
        }
        _ => (format!("breaks the connection off: {error}"), LOG, is_asked),
    }
}

/// Returns what bytes are that are no response, and what helps.
fn malformed(error: &io::Error) -> (String, &'static str) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let protocol = match inner {
        Some(Malformed(ResponseError::Tls)) => ("TLS", "write https:// in the target"),
        Some(Malformed(ResponseError::Http2)) => ("HTTP/2", "have the target speak HTTP/1.1"),
        _ => {
            let cure = "look at its bytes with curl -si --raw, and repair the service there; if something else listens there, correct the target in the file";
            return (error.to_string(), cure);
        }
    };
    let (name, cure) = protocol;
    (format!("no HTTP/1.1 response: {name}"), cure)
}

/// Says when a certificate ends that will end soon.
fn expiry(what: &str, end: UnixTime, examined: &mut Examined) {
    if let Some(days) = super::files::days_left(end, EXPIRY_WARNING) {
        let problem = format!("a certificate of its chain ends in {days} days");
        examined.find("target", what, problem, "renew it at the target");
    }
}

/// Says what is wrong with the answer of a health check or of a provider.
fn answer(
    probe: &Probe<'_>,
    what: &str,
    (response, now): (&Answer, UnixTime),
    examined: &mut Examined,
) {
    let Answer {
        status,
        coding,
        body,
        ..
    } = response;
    match &probe.purpose {
        Purpose::Any | Purpose::Store(..) => {}
        Purpose::Health(check) if check.status.contains(status) => {}
        Purpose::Health(check) => {
            let (path, good) = (&check.path, &check.status);
            let problem = format!(
                "its health check GET {path} is answered {status}, not {} to {}",
                good.start(),
                good.end()
            );
            let cure = "repair the service there, or correct healthCheck.path, .host or .status";
            examined.find("target", what, problem, cure);
        }
        Purpose::Provider(provider) => {
            let fault = match &provider.kind {
                Kind::Jwt { rules, .. } => match (status, coding) {
                    (200, None) => KeySet::parse(body, rules.algorithms)
                        .err()
                        .map(|fault| format!("the key set {fault}")),
                    (200, Some(coding)) => {
                        Some(format!("the key set comes in the coding {coding}"))
                    }
                    _ => Some(format!("the key set is answered {status}")),
                },
                Kind::Introspection { claims, .. } => match status {
                    401 | 403 => Some(format!("the gateway's credentials are answered {status}")),
                    200 => introspection::read(*status, body, claims, now)
                        .is_none()
                        .then(|| "the answer does not say whether a token is active".to_owned()),
                    _ => Some(format!("the introspection is answered {status}")),
                },
                Kind::ApiKey { .. } | Kind::Basic { .. } | Kind::Forward { .. } => {
                    (*status >= 500).then(|| format!("the question is answered {status}"))
                }
            };
            if let Some(problem) = fault {
                let cure = "repair the provider, or correct its URL, credentials or algorithms in the file";
                examined.find("provider", what, problem, cure);
            }
        }
    }
}

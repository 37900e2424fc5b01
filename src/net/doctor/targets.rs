//! Names, targets, providers and stores: whether they answer, and what their answers say.

use std::io;
use std::net::SocketAddr;
use std::ptr;

use super::ask::{Answered, Trouble};
use super::joined::{self, Fault};
use super::parallel::{Done, Job, run};
use super::probes::{Probe, Purpose, probes};
use super::rounds::{self, Addresses, MOST, Told, is_closed, is_served};
use super::{Examined, Finding, Subject, Weight, clock, connects, listed, stores};
use crate::http::error::ResponseError;
use crate::limits::EXPIRY_WARNING;
use crate::net::Loaded;
use crate::net::answer::{Answer, Malformed};
use crate::net::workers::dns;
use crate::policy::auth::introspection;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::Kind;
use crate::proxy::settings::TargetHost;
use crate::sort;
use crate::time::UnixTime;
use crate::transport::TransportFault;

/// Looks names up, asks each target, provider and store, and compares the clocks.
pub(super) fn examine(loaded: &Loaded, subject: &Subject<'_>, examined: &mut Examined) {
    let probes = probes(&loaded.config);
    let names = look_up(&probes, examined);
    let targets = probes.chunk_by(Probe::shares_target).collect::<Vec<_>>();
    let results = rounds::ask(loaded, &targets, &names, examined);
    let mut clocks = Vec::new();
    for (probes, results) in targets.iter().zip(&results) {
        judge(probes, results, &mut clocks, examined);
    }
    clock::examine(subject, &clocks, examined);
}

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

/// Says what is wrong with a target, given the results of its probes.
fn judge(
    probes: &[Probe<'_>],
    results: &[Told<'_>],
    clocks: &mut Vec<(String, UnixTime, UnixTime)>,
    examined: &mut Examined,
) {
    let mut all = Vec::new();
    for probe in probes {
        all.extend_from_slice(&probe.users);
    }
    sort::unique(&mut all);
    let mut faults = Vec::new();
    let mut shown = None;
    let questions = results.chunk_by(|one, other| ptr::eq(one.probe, other.probe));
    for (number, results_of_one) in questions.enumerate() {
        // An address that takes no connection was asked the first question alone.
        let of_target = (number == 0).then(|| (all.as_slice(), is_served(results)));
        let good = judge_question(results_of_one, of_target, &mut faults);
        shown = shown.or(good);
    }
    joined::report(faults, examined);
    if let Some(told) = results.get(MOST.saturating_sub(1))
        && probes.len() > MOST
    {
        let problem = format!("only {MOST} of its health checks are tried");
        examined.hint(
            "target",
            &joined::with(&place(told), &all),
            problem,
            "try the others with curl",
        );
    }
    // The certificate and the clock are those of the target, whichever question showed them.
    let Some((told, answered)) = shown else {
        return;
    };
    let what = joined::with(&place(told), &all);
    if let Some(end) = answered.certificates_end {
        expiry(&what, end, examined);
    }
    if let Some(response) = &answered.answer
        && let Some(date) = response.date
    {
        clocks.push((what, date, answered.now));
    }
}

/// Returns the target and, where it has a name, the address that was asked.
fn place(told: &Told<'_>) -> String {
    let target = told.probe.target;
    let mut place = match told.probe.is_store() {
        true => ["store ", &stores::url(target)].concat(),
        false => ["target ", &target.url()].concat(),
    };
    if let TargetHost::Name(_) = target.host {
        place.push_str(" at ");
        place.push_str(&told.address.to_string());
    }
    place
}

/// Adds a fault of a target that was asked.
#[inline(never)]
fn fault(
    faults: &mut Vec<Fault>,
    check: &'static str,
    told: &Told<'_>,
    users: &[String],
    (problem, cure, is_sure): (String, String, bool),
) {
    let finding = Finding {
        weight: if is_sure {
            Weight::Finding
        } else {
            Weight::Hint
        },
        check,
        what: place(told),
        problem,
        cure: match told.probe.is_own {
            true => "correct the target, or \"listen\": it is this gateway itself".to_owned(),
            false => cure,
        },
    };
    joined::add(faults, finding, users);
}

/// Collects what is wrong with the results of one question, and returns its first answer. Faults of the connection
/// are for `of_target`, if it is given: all users of the target, and whether one of its addresses answers.
fn judge_question<'a>(
    results: &'a [Told<'a>],
    of_target: Option<(&[String], bool)>,
    faults: &mut Vec<Fault>,
) -> Option<(&'a Told<'a>, &'a Answered)> {
    let late = Trouble::Connect(io::ErrorKind::TimedOut.into());
    let mut shown = None;
    for told in results {
        let probe = told.probe;
        let check = if probe.is_store() { "store" } else { "target" };
        let trouble = match &told.done {
            Done::Answer(Ok(answered)) => {
                if let Some((users, problem, cure)) = probe.late(answered.took) {
                    // Other requests may be answered sooner than this one.
                    let is_sure = !matches!(probe.purpose, Purpose::Any);
                    fault(faults, check, told, &users, (problem, cure, is_sure));
                }
                shown = shown.or(Some((told, answered)));
                continue;
            }
            Done::Answer(Err(trouble)) => trouble,
            Done::Addresses(_) | Done::Late => &late,
        };
        let of_target = of_target.filter(|_| is_closed(&told.done));
        let (users, is_served) = of_target.unwrap_or_else(|| (&probe.users, is_served(results)));
        // The gateway uses the address that answers.
        if told.address.ip().is_loopback() && is_served {
            continue;
        }
        // A connection that is tried and fails is one thing; silence to a request that nobody has to
        // understand is another.
        let (problem, cure, is_sure) = described(trouble, told.address, probe);
        fault(
            faults,
            check,
            told,
            users,
            (problem, cure, is_sure && !is_served),
        );
    }
    let (told, answered) = shown?;
    let probe = told.probe;
    let check = match &probe.purpose {
        Purpose::Store(..) => "store",
        Purpose::Provider(_) => "provider",
        Purpose::Any | Purpose::Health(_) => "target",
    };
    let wrong = match (&probe.purpose, &answered.answer) {
        (Purpose::Store(store, true), _) => stores::late(answered.took, store.is_closed),
        (_, Some(response)) => answer(probe, response, answered.now),
        (_, None) => None,
    };
    if let Some((problem, cure)) = wrong {
        let cure = cure.to_owned();
        fault(faults, check, told, &probe.users, (problem, cure, true));
    }
    shown
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

/// Returns the problem and the cure where the answer of a health check or of a provider is wrong.
fn answer(probe: &Probe<'_>, response: &Answer, now: UnixTime) -> Option<(String, &'static str)> {
    let Answer {
        status,
        coding,
        body,
        ..
    } = response;
    match &probe.purpose {
        Purpose::Any | Purpose::Store(..) => None,
        Purpose::Health(check) if check.status.contains(status) => None,
        Purpose::Health(check) => {
            let (path, good) = (&check.path, &check.status);
            let problem = format!(
                "its health check GET {path} is answered {status}, not {} to {}",
                good.start(),
                good.end()
            );
            let cure = "repair the service there, or correct healthCheck.path, .host or .status";
            Some((problem, cure))
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
            let cure =
                "repair the provider, or correct its URL, credentials or algorithms in the file";
            fault.map(|problem| (problem, cure))
        }
    }
}

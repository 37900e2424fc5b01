//! Files of the configuration: certificates and their ends, permissions.

use core::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ask::now;
use super::{Examined, Subject, listed};
use crate::config::{Config, ListenKind};
use crate::limits::EXPIRY_WARNING;
use crate::sort;
use crate::time::{Duration, UnixTime};
use crate::transport::inspect::{ChosenBy, Gap, chain_facts, chosen_by};

const DAY_SECONDS: u64 = 24 * 3600;
/// Bit of a mode: others may write.
const OTHERS_WRITE: u32 = 0o002;
/// Bit of a mode: others may read.
const OTHERS_READ: u32 = 0o004;

/// Looks at all files.
pub(super) fn examine(subject: &Subject<'_>, examined: &mut Examined) {
    let config = &*subject.loaded.config;
    let certificates = certificates(config);
    for (path, _) in &certificates {
        examined.begin(1);
        certificate(path, examined);
    }
    for (paths, problem, cure) in unshown(config) {
        for path in paths {
            let what = format!("certificate {}", path.display());
            examined.find("certificate", &what, problem.to_owned(), cure);
        }
    }
    let mut shown = config.client_certificates().collect::<Vec<_>>();
    sort::unique(&mut shown);
    examined.begin(shown.len());
    for (path, end) in shown {
        ends(&format!("certificate {}", path.display()), end, examined);
    }
    hosts(config, &certificates, examined);
    permissions(subject, &keys(config), examined);
}

/// Returns the paths of the listeners' certificates and keys, each pair once.
fn certificates(config: &Config) -> Vec<(&PathBuf, &PathBuf)> {
    let pairs = config
        .listeners
        .iter()
        .filter_map(|listen| match &listen.kind {
            ListenKind::Tls(files) => Some(&files.certificates),
            ListenKind::Plain | ListenKind::Redirect => None,
        });
    let pairs = pairs.flatten();
    let mut certificates = pairs
        .map(|pair| (&pair.certificate, &pair.key))
        .collect::<Vec<_>>();
    sort::unique(&mut certificates);
    certificates
}

/// Returns a line of `tollgate check` for each certificate that no client is shown, and for each key
/// file that everybody may read.
pub fn warnings(config: &Config) -> String {
    let line = |path: &Path, problem: &str, cure: &str| {
        let path = path.display();
        format!("{:10} {path}: {problem}; {cure}\n", "warning")
    };
    let mut lines = String::new();
    for (paths, problem, cure) in unshown(config) {
        lines.extend(paths.into_iter().map(|path| line(path, problem, cure)));
    }
    for path in keys(config) {
        let mode = std::fs::metadata(path).map_or(0, |facts| facts.mode());
        if let Some((problem, cure)) = readable_key(path, mode) {
            lines.push_str(&line(path, &problem, &format!("run {cure}")));
        }
    }
    lines
}

/// Returns the certificates that no client is shown, by their problem, each with its cure.
fn unshown(config: &Config) -> [(Vec<&PathBuf>, &'static str, &'static str); 2] {
    let (mut nameless, mut covered) = (Vec::new(), Vec::new());
    for listen in &config.listeners {
        let ListenKind::Tls(files) = &listen.kind else {
            continue;
        };
        let files = &files.certificates;
        let read = files.iter().map(|pair| read(&pair.certificate));
        let read = read.collect::<Vec<_>>();
        let named = read.iter().enumerate().flat_map(|(place, one)| {
            let hosts = one.hosts.iter();
            hosts.map(move |host| (host, &one.algorithm, place))
        });
        let mut named = named.collect::<Vec<_>>();
        sort::sort(&mut named);
        named.dedup_by_key(|(host, algorithm, _)| (*host, *algorithm));
        // The first of a listener is shown where no name fits, each other one for its names.
        let mut is_shown = vec![false; files.len()];
        for place in named.iter().map(|(_, _, place)| *place).chain([0]) {
            if let Some(is_shown) = is_shown.get_mut(place) {
                *is_shown = true;
            }
        }
        for ((pair, one), is_shown) in files.iter().zip(&read).zip(is_shown) {
            match (is_shown, one.hosts.is_empty()) {
                (true, _) => {}
                (false, true) => nameless.push(&pair.certificate),
                (false, false) => covered.push(&pair.certificate),
            }
        }
    }
    sort::unique(&mut nameless);
    sort::unique(&mut covered);
    [
        (
            nameless,
            "no client is shown it: it has no DNS name (subjectAltName), and is not the first of its listener",
            "make it again with its names, or put it first",
        ),
        (
            covered,
            "no client is shown it: certificates before it have all its names",
            "remove it, or put it before them",
        ),
    ]
}

/// Returns what the certificate in a file is chosen by.
fn read(path: &Path) -> ChosenBy {
    chosen_by(&std::fs::read(path).unwrap_or_default())
}

/// Returns the paths of all private keys: of the listeners, and of the certificates for upstreams.
fn keys(config: &Config) -> Vec<&PathBuf> {
    let pairs = certificates(config).into_iter();
    let upstreams = config.upstream_tls.iter().flatten();
    let of_upstreams = upstreams.filter_map(|tls| Some(&tls.client.as_ref()?.key));
    let mut keys = pairs
        .map(|(_, key)| key)
        .chain(of_upstreams)
        .collect::<Vec<_>>();
    sort::unique(&mut keys);
    keys
}

/// Returns the problem and the cure if everybody may read a key file with this mode.
fn readable_key(path: &Path, mode: u32) -> Option<(String, String)> {
    (mode & OTHERS_READ != 0).then(|| {
        let problem = format!("everybody may read the key (mode {:o})", mode & 0o7777);
        (problem, format!("chmod o-r {}", path.display()))
    })
}

/// Says when a certificate ends soon.
fn ends(what: &str, end: UnixTime, examined: &mut Examined) {
    let problem = match days_left(end, EXPIRY_WARNING) {
        Some(0) if end < now() => "has ended".to_owned(),
        Some(days) => format!("ends in {days} days"),
        None => return,
    };
    let renew = "renew it; the gateway takes the new file within seconds";
    examined.find("certificate", what, problem, renew);
}

/// Says when a chain has a fault, or ends soon.
fn certificate(path: &Path, examined: &mut Examined) {
    let pem = std::fs::read(path).unwrap_or_default();
    let Some(facts) = chain_facts(&pem) else {
        return;
    };
    let what = format!("certificate {}", path.display());
    ends(&what, facts.end, examined);
    let mut find = |problem, cure| examined.find("certificate", &what, problem, cure);
    if facts.begin > now() {
        let cure = "set the clock of this machine, or wait";
        find("is not valid yet".to_owned(), cure);
    }
    match facts.gap {
        None => {}
        Some(Gap::Order(number)) => find(
            format!("certificate {number} of the file did not sign the one before it"),
            "put behind each certificate the one that signed it",
        ),
        Some(Gap::Public(issuer)) => find(
            format!("the chain is not complete: {issuer} signed its last certificate"),
            "append the certificate of that authority (the file that is often called fullchain.pem has it)",
        ),
        Some(Gap::Private(issuer)) => examined.hint(
            "certificate",
            &what,
            format!("the chain ends at {issuer}, which is no public authority"),
            "append that certificate if clients do not have it",
        ),
    }
}

/// Names hosts of services that no certificate is for: clients refuse the connection.
fn hosts(config: &Config, certificates: &[(&PathBuf, &PathBuf)], examined: &mut Examined) {
    if certificates.is_empty() {
        return;
    }
    examined.begin(1);
    let mut names = Vec::new();
    for (path, _) in certificates {
        names.extend(read(path).hosts);
    }
    let services = config.settings.services.iter();
    let hosts = services.flat_map(|service| &service.hosts);
    let mut bare = hosts
        .filter(|host| host.parse::<IpAddr>().is_err() && !is_covered(host, &names))
        .cloned()
        .collect::<Vec<_>>();
    sort::unique(&mut bare);
    if bare.is_empty() {
        return;
    }
    let problem = format!("no certificate of a listener is for {}", listed(&bare));
    let cure =
        "get a certificate with these names and add it to \"certificates\", or correct \"hosts\"";
    let mut listeners = config.listeners.iter();
    let (check, what) = ("certificate", "hosts of the services");
    if listeners.any(|listen| matches!(listen.kind, ListenKind::Plain)) {
        examined.hint(check, what, problem, cure);
    } else {
        examined.find(check, what, problem, cure);
    }
}

/// Returns true if one of the names of certificates stands for a host (RFC 9525 6.3).
fn is_covered(host: &str, names: &[String]) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|name| {
        let wildcard = name.strip_prefix("*.");
        name == host || wildcard.is_some() && wildcard == parent
    })
}

/// Returns the whole days until the end, if it is within `warning`; 0 also for what has ended.
pub(super) fn days_left(end: UnixTime, warning: Duration) -> Option<u64> {
    let left = end.as_secs().saturating_sub(now().as_secs());
    (left < warning.as_millis() / 1000).then_some(left / DAY_SECONDS)
}

/// Says which files everybody may change, and which keys everybody may read.
fn permissions(subject: &Subject<'_>, keys: &[&PathBuf], examined: &mut Examined) {
    let mut files = subject.files.to_vec();
    files.push(subject.file.to_owned());
    sort::unique(&mut files);
    examined.begin(files.len());
    for path in files {
        let Ok(facts) = std::fs::metadata(&path) else {
            continue;
        };
        let mode = facts.mode();
        let shown = path.display();
        if mode & OTHERS_WRITE != 0 {
            let problem = format!("everybody may change it (mode {:o})", mode & 0o7777);
            let cure = format!("chmod o-w {shown}");
            examined.find("file", &format!("file {shown}"), problem, &cure);
        }
        if keys.contains(&&path)
            && let Some((problem, cure)) = readable_key(&path, mode)
        {
            examined.find("file", &format!("file {shown}"), problem, &cure);
        }
    }
}

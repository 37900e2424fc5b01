//! Requests of an access log, judged by both configurations.

use core::fmt::Write;
use std::io::{self, BufRead};

use super::groups::{Groups, Key, grouped, shown};
use super::head;
use super::judge::{Judge, Judgement};
use super::lines::Lines;
use super::logged::{self, Fault};
use crate::config::Config;
use crate::limits::DIFF_GROUPS_SHOWN;
use crate::policy::route::RoutePath;
use crate::sort::Index;

/// Lines of one kind that have no request.
#[derive(Default)]
struct Skipped {
    count: u64,
    first: u64,
}

impl Skipped {
    fn add(&mut self, number: u64) {
        if self.count == 0 {
            self.first = number;
        }
        self.count = self.count.saturating_add(1);
    }
}

/// Counts of a log.
#[derive(Default)]
struct Counts {
    requests: u64,
    changed: u64,
    without_host: u64,
    unreadable: Skipped,
    without_request: Skipped,
}

/// Reads an access log, combined or JSON. Returns the requests that go elsewhere under the new
/// configuration, grouped and counted. The memory does not grow with the log.
///
/// # Errors
/// The log cannot be read.
pub fn replay(old: &Config, new: &Config, log: &mut dyn BufRead) -> io::Result<String> {
    let host = unknown_host(&[old, new]);
    let (before, after) = (Judge::new(old), Judge::new(new));
    let mut lines = Lines::new(log);
    let (mut counts, mut groups) = (Counts::default(), Groups::default());
    let mut room = Vec::new();
    while let Some(line) = lines.next()? {
        let logged = match line.text {
            Some([]) => continue,
            Some(text) => logged::read(text),
            None => Err(Fault::Unreadable),
        };
        let logged = match logged {
            Ok(logged) => logged,
            Err(Fault::Unreadable) => {
                counts.unreadable.add(line.number);
                continue;
            }
            Err(Fault::NoRequest) => {
                counts.without_request.add(line.number);
                continue;
            }
        };
        counts.requests = counts.requests.saturating_add(1);
        if logged.host.is_none() {
            counts.without_host = counts.without_host.saturating_add(1);
        }
        head::write(&logged, host.as_bytes(), &mut room);
        let (one, two) = head::read(&room, |request| {
            (
                before.judge(&logged, request),
                after.judge(&logged, request),
            )
        });
        if before.agrees(&one, &after, &two) {
            continue;
        }
        counts.changed = counts.changed.saturating_add(1);
        let key = Key::new(&logged.line, one.verdict, two.verdict);
        groups.count(key, || {
            let (from, to) = (place(&before, &one), place(&after, &two));
            let request = shown(&logged.line);
            format!("line {}: {request}: {from}  =>  {to}", line.number)
        });
    }
    let uses_hosts = [old, new].iter().any(|config| {
        let mut services = config.settings.services.iter();
        services.any(|service| !service.hosts.is_empty())
    });
    counts.without_host = if uses_hosts { counts.without_host } else { 0 };
    Ok(report(&counts, &groups, (&before, &after)))
}

/// Returns where a request goes: its first URL, or the answer.
fn place(judge: &Judge<'_>, judgement: &Judgement) -> String {
    match judgement.urls.first() {
        Some((_, url)) => shown(url),
        None => judge.describe(judgement.verdict),
    }
}

/// Returns a host that no service names. No wildcard covers a name without a dot.
fn unknown_host(configs: &[&Config]) -> String {
    let services = configs.iter().flat_map(|config| &config.settings.services);
    let known = services.flat_map(|service| &service.hosts);
    let known = known.map(String::as_str);
    let known = Index::new(known.collect());
    let mut host = "unknown".to_owned();
    while known.contains(&host.as_str()) {
        host.push('x');
    }
    host
}

fn report(counts: &Counts, groups: &Groups, (before, after): (&Judge<'_>, &Judge<'_>)) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{} of {} go elsewhere",
        grouped(counts.changed),
        plural(counts.requests, "request"),
    );
    let sorted = groups.sorted();
    for (key, group) in sorted.iter().take(DIFF_GROUPS_SHOWN) {
        let route = before.route(key.before).or(after.route(key.after));
        let route = RoutePath::of(route.unwrap_or("/"));
        let below = if route.is_exact { "" } else { "/*" };
        let (from, to) = (before.describe(key.before), after.describe(key.after));
        let count = plural(group.count, "request");
        let method = key.method();
        let _ = writeln!(
            out,
            "{count} {method} {}{below} : {from}  =>  {to}",
            route.matched()
        );
        let _ = writeln!(out, "    {}", group.example);
    }
    let rest = sorted.iter().skip(DIFF_GROUPS_SHOWN);
    let rest = rest.fold(groups.beyond, |sum, (_, group)| {
        sum.saturating_add(group.count)
    });
    if rest > 0 {
        let _ = writeln!(out, "{} in further groups", plural(rest, "request"));
    }
    if counts.without_host > 0 {
        let _ = writeln!(
            out,
            "{} without a host in the log: judged as for a host that no service names in \"hosts\"",
            plural(counts.without_host, "request")
        );
    }
    for (skipped, what) in [
        (&counts.unreadable, "of no known format"),
        (&counts.without_request, "without a whole request line"),
    ] {
        if skipped.count > 0 {
            let lines = plural(skipped.count, "line");
            let _ = writeln!(out, "{lines} {what}, the first is line {}", skipped.first);
        }
    }
    out
}

fn plural(count: u64, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {what}{end}", grouped(count))
}

//! Changes between two configurations, for the operator: what a reload does, in one line.

use core::fmt::Write;

use super::compared::facts::Of;
use super::compared::{service, top};
use super::{Config, ListenAddress};
use crate::proxy::settings::{Service, Settings, Target};
use crate::sort::Index;

/// Changes from one configuration to another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Services.
    pub services: Changed,
    /// Listeners, by address.
    pub listeners: Changed,
    /// Targets, by authority.
    pub targets: Changed,
    /// Top-level keys that changed, beside those above.
    pub keys: Vec<&'static str>,
}

/// Changes of one kind of thing, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Names of the new ones.
    pub added: Vec<String>,
    /// Names of those that stay and changed, each with the keys that did.
    pub changed: Vec<(String, Vec<&'static str>)>,
    /// Names of those that go.
    pub removed: Vec<String>,
    /// Number of those that stay, changed or not.
    pub kept: usize,
}

/// Names of changed things that a summary lists; the rest is counted.
const LISTED: usize = 5;

impl Changes {
    /// Compares two configurations. A service is the same when route, hosts, methods, listeners
    /// and conditions are equal.
    pub fn between(old: &Config, new: &Config) -> Changes {
        Changes {
            services: services(&old.settings, &new.settings),
            listeners: listeners(old, new),
            targets: targets(&old.settings, &new.settings),
            keys: top::changed(old, new),
        }
    }

    /// Returns true if nothing changes.
    pub fn is_empty(&self) -> bool {
        let Changes {
            services,
            listeners,
            targets,
            keys,
        } = self;
        let mut kinds = [services, listeners, targets].into_iter();
        keys.is_empty() && kinds.all(Changed::is_empty)
    }

    /// Returns the text of a reload's line.
    pub fn summary(&self) -> Summary {
        let (mut start, end) = self.counts();
        start.insert_str(0, "configuration read: ");
        Summary { start, end }
    }

    /// Returns the line of [`summary`](Self::summary) for configurations that are only compared.
    pub fn comparison(&self) -> String {
        let (start, end) = self.counts();
        start + &end
    }

    /// Returns the text up to the number of targets that stay, and the text behind it.
    fn counts(&self) -> (String, String) {
        let Changes {
            services,
            listeners,
            targets,
            keys,
        } = self;
        let plural = if services.added.len() == 1 { "" } else { "s" };
        let start = format!(
            "{} service{plural} added, {} changed{}, {} removed; listeners: {}{}; targets: {} kept",
            services.added.len(),
            services.changed.len(),
            listed(&services.changed),
            services.removed.len(),
            format_args!("{} kept", listeners.kept),
            rest(listeners),
            targets.kept,
        );
        (start, rest(targets) + &also(keys))
    }
}

/// Returns the end of a reload's line about the keys that a supervisor has and its workers have not; empty
/// without a change.
pub fn of_supervisor(old: &Config, new: &Config) -> String {
    let mut keys = top::changed(old, new);
    keys.retain(|key| ["admin", "watch", "workers"].contains(key));
    also(&keys)
}

/// Returns the end of a line about top-level keys that changed; empty if there are none.
fn also(keys: &[&str]) -> String {
    let mut end = String::new();
    if !keys.is_empty() {
        end = format!("; also changed: {}", keys.join(", "));
    }
    if keys.contains(&"workers") {
        end.push_str(" (workers: from the next start or upgrade on)");
    }
    end
}

/// Text about the changes of a reload. The number of connections is known when it is done.
pub struct Summary {
    start: String,
    end: String,
}

impl Summary {
    /// Returns one line, such as `configuration read: 2 services added, 1 changed (/users: target),
    /// 0 removed; listeners: 2 kept; targets: 3 kept with 41 connections`. `connections`:
    /// connections to the targets that stay.
    pub fn line(&self, connections: usize) -> String {
        let Summary { start, end } = self;
        let plural = if connections == 1 { "" } else { "s" };
        format!("{start} with {connections} connection{plural}{end}")
    }
}

impl Changed {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Returns the changed ones in parentheses.
fn listed(changed: &[(String, Vec<&'static str>)]) -> String {
    if changed.is_empty() {
        return String::new();
    }
    let names = changed.iter().take(LISTED);
    let names = names.map(|(name, keys)| format!("{name}: {}", keys.join(", ")));
    let names = names.collect::<Vec<_>>().join("; ");
    match changed.len().saturating_sub(LISTED) {
        0 => format!(" ({names})"),
        more => format!(" ({names}; and {more} more)"),
    }
}

/// Returns what is not kept.
fn rest(changed: &Changed) -> String {
    let mut text = String::new();
    for (count, what) in [
        (changed.added.len(), "added"),
        (changed.removed.len(), "removed"),
    ] {
        if count > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn services(old: &Settings, new: &Settings) -> Changed {
    let known = Index::new(old.services.iter().map(|one| one.identity()).collect());
    let mut goes = vec![true; old.services.len()];
    let mut changed = Changed::default();
    for (guess, one) in new.services.iter().enumerate() {
        let place = known.place_near(guess, &one.identity());
        if let Some(goes) = place.and_then(|place| goes.get_mut(place)) {
            *goes = false;
        }
        match place.and_then(|place| old.services.get(place)) {
            None => changed.added.push(name(one)),
            Some(before) => {
                changed.kept = changed.kept.saturating_add(1);
                let keys = service::changed(Of::new(before, old), Of::new(one, new));
                if !keys.is_empty() {
                    changed.changed.push((name(one), keys));
                }
            }
        }
    }
    let gone = old.services.iter().zip(&goes).filter(|(_, goes)| **goes);
    changed.removed = gone.map(|(service, _)| name(service)).collect();
    changed
}

/// Returns how a service is named: its `name`, its route, and what else tells it from others with that
/// route.
pub(crate) fn name(service: &Service) -> String {
    let mut name = match &service.name {
        Some(own) => format!("{own} {}", service.route),
        None => service.route.clone(),
    };
    let parts = service.methods.iter().chain(&service.hosts);
    for part in parts.chain(service.listeners()) {
        name.push(' ');
        name.push_str(part);
    }
    for condition in &service.conditions {
        // Writing to a string does not fail.
        let _ = write!(name, " [{}]", condition.text());
    }
    name
}

fn listeners(old: &Config, new: &Config) -> Changed {
    let addresses = |config: &Config| {
        let listeners = config.listeners.iter();
        listeners
            .map(|listen| listen.address.clone())
            .collect::<Vec<ListenAddress>>()
    };
    let (old, new) = (addresses(old), addresses(new));
    let without = |all: &[ListenAddress], others: &[ListenAddress]| {
        let rest = all.iter().filter(|address| !others.contains(address));
        rest.map(ToString::to_string).collect::<Vec<_>>()
    };
    let added = without(&new, &old);
    Changed {
        kept: new.len().saturating_sub(added.len()),
        added,
        changed: Vec::new(),
        removed: without(&old, &new),
    }
}

fn targets(old: &Settings, new: &Settings) -> Changed {
    let without = |all: &Settings, others: &Settings| {
        let others = Index::new(others.targets.iter().map(Target::identity).collect());
        let rest = all.targets.iter();
        let rest = rest.filter(|target| !others.contains(&target.identity()));
        rest.map(|target| target.name().to_owned())
            .collect::<Vec<_>>()
    };
    let added = without(new, old);
    let targets = new.targets.iter().filter(|target| !target.is_supervisor());
    let targets = targets.count();
    Changed {
        kept: targets.saturating_sub(added.len()),
        added,
        changed: Vec::new(),
        removed: without(old, new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        crate::config::load(text.as_bytes(), "test.json", &|_| None, &read)
            .unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn a_supervisor_adds_the_keys_of_its_own() {
        let old = config(r#"{ "services": [ { "route": "/a", "target": "http://a.test" } ] }"#);
        let mut new = old.clone();
        new.settings.half_close = !new.settings.half_close;
        assert_eq!(of_supervisor(&old, &new), "");
        new.watch = true;
        new.workers = crate::config::Workers::Auto;
        let expected =
            "; also changed: watch, workers (workers: from the next start or upgrade on)";
        assert_eq!(of_supervisor(&old, &new), expected);
        let mut of_worker = new.clone();
        of_worker.become_worker(2);
        assert!(
            of_supervisor(&new, &of_worker).starts_with("; also changed: admin, watch, workers")
        );
    }

    #[test]
    fn the_summary_names_what_changes() {
        let old = r#"{ "listen": ["127.0.0.1:5000", "127.0.0.1:5001"], "services": [
            { "route": "/users", "target": "http://a.test" }, { "route": "/gone", "target": "http://b.test" } ] }"#;
        for (new, expected) in [
            (
                old,
                "configuration read: 0 services added, 0 changed, 0 removed; listeners: 2 kept; targets: 2 kept with 41 connections",
            ),
            (
                r#"{ "listen": ["127.0.0.1:5000"], "services": [
                    { "route": "/users", "target": "http://c.test", "retries": 2 }, { "route": "/x", "target": "http://b.test" },
                    { "route": "/y", "target": "http://b.test" } ] }"#,
                "configuration read: 2 services added, 1 changed (/users: target, retries), 1 removed; listeners: 1 kept, 1 removed; \
                 targets: 1 kept with 41 connections, 1 added, 1 removed",
            ),
            (
                r#"{ "listen": ["127.0.0.1:5001", "127.0.0.1:5000"], "rateLimit": false, "logLevel": "debug", "services": [
                    { "route": "/gone", "target": "http://b.test" }, { "route": "/users", "target": "http://a.test" } ] }"#,
                "configuration read: 0 services added, 0 changed, 0 removed; listeners: 2 kept; targets: 2 kept with 41 connections; \
                 also changed: rateLimit, logLevel",
            ),
            (
                &old.replacen('{', r#"{ "workers": 2,"#, 1),
                "configuration read: 0 services added, 0 changed, 0 removed; listeners: 2 kept; targets: 2 kept with 41 connections; \
                 also changed: workers (workers: from the next start or upgrade on)",
            ),
        ] {
            let changes = Changes::between(&config(old), &config(new));
            assert_eq!(changes.summary().line(41), expected);
        }
    }
}

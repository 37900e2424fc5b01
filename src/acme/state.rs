//! State that outlives the process: one small JSON file. Times are in seconds since 1970.

use core::fmt::Write;

use super::jws::sha256;
use super::{Identifier, Plan, text};
use crate::policy::auth::json::Json;

/// Sets of names that are kept at most, those that the configuration no longer has included.
pub(super) const SETS_MAX: usize = 1000;

/// Everything that is remembered.
#[derive(Default)]
pub(super) struct State {
    /// URL of the directory that everything else belongs to.
    pub(super) directory: String,
    /// URL of the account.
    pub(super) account: Option<String>,
    /// Begin of the span in which new orders are counted.
    pub(super) span: u64,
    /// New orders in that span.
    pub(super) orders: u64,
    pub(super) sets: Vec<Set>,
}

/// Set of names, and what happened with its certificate.
#[derive(Clone, Default)]
pub(super) struct Set {
    pub(super) names: Vec<Identifier>,
    /// Begin and end of the validity of its certificate.
    pub(super) life: Option<(u64, u64)>,
    /// Time of the next renewal.
    pub(super) renew: u64,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Time before which nothing is ordered.
    pub(super) retry: u64,
    /// Last failure.
    pub(super) problem: Option<String>,
    /// Times at which certificates were issued.
    pub(super) issued: Vec<u64>,
    /// Window of the authority that `renew` was chosen from (RFC 9773).
    pub(super) window: Option<(u64, u64)>,
    /// Time of the next question for that window; not saved.
    pub(super) ask: u64,
    /// Identifier of the certificate in a question and in `replaces` (RFC 9773 4.1).
    pub(super) certificate: Option<String>,
    /// The gateway has asked itself for its names.
    pub(super) probed: bool,
    /// Order that is open.
    pub(super) order: Option<OpenOrder>,
}

/// Order that is open.
#[derive(Clone)]
pub(super) struct OpenOrder {
    /// URL; `None`: it was about to be made.
    pub(super) url: Option<String>,
    /// Time of its begin.
    pub(super) begun: u64,
    /// Key of its certificate, in a file of its own.
    pub(super) key: Vec<u8>,
}

/// Returns the name of the file of a set: its first name, and a digest of all.
pub(super) fn file_of(names: &[Identifier]) -> String {
    let mut all = String::new();
    for name in names {
        let _ = writeln!(all, "{name}");
    }
    let first = all.lines().next().unwrap_or_default();
    let mut file = first
        .chars()
        .take(100)
        .collect::<String>()
        .replace(':', "-");
    file.push('-');
    for byte in sha256(all.as_bytes()).iter().take(4) {
        let _ = write!(file, "{byte:02x}");
    }
    file
}

impl Set {
    /// Returns the name of its file, without an ending.
    pub(super) fn file(&self) -> String {
        file_of(&self.names)
    }

    /// Returns the time of the next order, without the limit on issued certificates.
    pub(super) fn next(&self) -> u64 {
        let wanted = if self.life.is_some() { self.renew } else { 0 };
        wanted.max(self.retry)
    }

    /// Returns whether both sets have a name in common.
    pub(super) fn shares(&self, other: &Set) -> bool {
        self.names.iter().any(|name| other.names.contains(name))
    }
}

impl State {
    /// Reads a state; anything that cannot be read is forgotten.
    pub(super) fn read(bytes: &[u8]) -> State {
        let Some(json) = Json::parse(bytes) else {
            return State::default();
        };
        let sets = match json.get("sets") {
            Some(Json::List(list)) => list.iter().take(SETS_MAX).filter_map(set).collect(),
            _ => Vec::new(),
        };
        State {
            directory: text_of(&json, "directory").unwrap_or_default(),
            account: text_of(&json, "account"),
            span: number(&json, "span"),
            orders: number(&json, "orders"),
            sets,
        }
    }

    /// Returns the file.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = String::from("{\n\"directory\":");
        text::push(&mut out, &self.directory);
        member(&mut out, "account", self.account.as_deref());
        let _ = write!(out, ",\n\"span\":{},\"orders\":{}", self.span, self.orders);
        out.push_str(",\n\"sets\":[");
        for (index, set) in self.sets.iter().enumerate() {
            out.push_str(if index > 0 { ",\n" } else { "\n" });
            write_set(&mut out, set);
        }
        out.push_str("\n]\n}\n");
        out.into_bytes()
    }

    /// Has a set for each certificate of the plan, and forgets what belongs to another authority.
    pub(super) fn fit(&mut self, plan: &Plan, now: u64) {
        if self.directory != plan.directory.as_str() {
            if !self.directory.is_empty() {
                self.account = None;
                for set in &mut self.sets {
                    let (names, life) = (core::mem::take(&mut set.names), set.life);
                    *set = Set {
                        names,
                        life,
                        ..Set::default()
                    };
                }
            }
            self.directory = plan.directory.as_str().to_owned();
        }
        let is_wanted = |set: &Set| plan.certificates.iter().any(|one| one.names == set.names);
        self.sets.retain(|set| {
            let is_alive = set.life.is_some_and(|(_, end)| end > now) || set.retry > now;
            is_alive || is_wanted(set)
        });
        for wanted in &plan.certificates {
            if !self.sets.iter().any(|set| set.names == wanted.names) {
                self.sets.push(Set {
                    names: wanted.names.clone(),
                    ..Set::default()
                });
            }
        }
    }
}

fn write_set(out: &mut String, set: &Set) {
    out.push_str("{\"names\":[");
    for (index, name) in set.names.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        text::push(out, &name.to_string());
    }
    out.push(']');
    if let Some((begin, end)) = set.life {
        let _ = write!(out, ",\"notBefore\":{begin},\"notAfter\":{end}");
    }
    if let Some((start, end)) = set.window {
        let _ = write!(out, ",\"windowStart\":{start},\"windowEnd\":{end}");
    }
    let _ = write!(
        out,
        ",\"renew\":{},\"failures\":{},\"retry\":{},\"probed\":{},\"issued\":{:?}",
        set.renew, set.failures, set.retry, set.probed, set.issued
    );
    if let Some(order) = &set.order {
        let _ = write!(out, ",\"order\":{{\"begun\":{}", order.begun);
        member(out, "url", order.url.as_deref());
        out.push('}');
    }
    member(out, "certificate", set.certificate.as_deref());
    member(out, "problem", set.problem.as_deref());
    out.push('}');
}

fn set(json: &Json) -> Option<Set> {
    let names = json.get("names")?.texts()?;
    let names = names.into_iter().map(|name| Identifier::parse(name).ok());
    let names = names.collect::<Option<Vec<_>>>()?;
    let pair = |one, other| {
        json.get(one)
            .and(json.get(other))
            .map(|_| (number(json, one), number(json, other)))
    };
    let issued = match json.get("issued") {
        Some(Json::List(list)) => list.iter().take(16).map(whole).collect(),
        _ => Vec::new(),
    };
    let order = json.get("order").map(|order| OpenOrder {
        url: text_of(order, "url"),
        begun: number(order, "begun"),
        key: Vec::new(),
    });
    (!names.is_empty()).then_some(Set {
        names,
        life: pair("notBefore", "notAfter"),
        renew: number(json, "renew"),
        failures: u32::try_from(number(json, "failures")).unwrap_or(u32::MAX),
        retry: number(json, "retry"),
        problem: text_of(json, "problem"),
        issued,
        window: pair("windowStart", "windowEnd"),
        ask: 0,
        certificate: text_of(json, "certificate"),
        probed: json.get("probed") == Some(&Json::Flag(true)),
        order,
    })
}

fn member(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = write!(out, ",\"{name}\":");
        text::push(out, value);
    }
}

fn text_of(json: &Json, name: &str) -> Option<String> {
    json.get(name).and_then(Json::text).map(str::to_owned)
}

fn whole(json: &Json) -> u64 {
    match json {
        Json::Whole(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

fn number(json: &Json, name: &str) -> u64 {
    json.get(name).map_or(0, whole)
}

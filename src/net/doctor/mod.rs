//! `tollgate doctor`: the configuration compared with the machine and the network around it.
//!
//! | file | looks at |
//! |---|---|
//! | `targets` | names, targets, providers, stores |
//! | `probes` | questions, and the reason for each |
//! | `joined` | faults that several questions found |
//! | `rounds` | questions to targets, in two rounds |
//! | `stores` | words about stores |
//! | `clock` | the clock, beside those of targets and files |
//! | `running` | the gateway that runs, by its admin listener |
//! | `ports` | addresses to listen on, and the processes that have them |
//! | `processes` | which processes are gateways with the file |
//! | `files` | certificates, keys, permissions |
//! | `folders` | folders that the gateway writes to |
//! | `orders` | certificates that are ordered from an authority |
//! | `machine` | the limit of open files |
//! | `ask` | one request over one connection, until a deadline |
//! | `parallel` | checks that wait, several at once |
//!
//! Nothing here changes the state of a gateway. A store is asked to count nothing. A check that waits takes at most 3 s.

mod ask;
mod clock;
mod connects;
mod files;
mod folders;
mod joined;
mod machine;
mod orders;
mod parallel;
mod ports;
mod probes;
mod processes;
mod rounds;
mod running;
mod stores;
mod targets;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::ask::now;
pub use self::files::warnings;
use crate::net::Loaded;
use crate::observe::report::{Cell, Form, row};

/// Time of one check.
const CHECK: Duration = Duration::from_secs(3);
/// Names that a line lists; the rest is counted.
const LISTED: usize = 3;

/// Importance of a finding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Something does not work, or will stop to.
    Finding,
    /// Something that an operator may want to know.
    Hint,
}

/// Result of a check that is not good.
pub struct Finding {
    weight: Weight,
    check: &'static str,
    what: String,
    problem: String,
    cure: String,
}

/// Results of all checks.
#[derive(Default)]
pub struct Examined {
    findings: Vec<Finding>,
    checks: usize,
}

/// Subjects of the checks.
pub struct Subject<'a> {
    /// File of the configuration.
    pub file: &'a Path,
    /// Files that were read for it.
    pub files: &'a [PathBuf],
    /// The configuration.
    pub loaded: &'a Loaded,
}

impl Examined {
    /// Returns the results for a configuration that is not valid; `errors` are those of `check`.
    pub fn invalid(errors: Vec<String>) -> Examined {
        let mut examined = Examined::default();
        examined.begin(1);
        for error in errors {
            let cure = folders::unless_root(
                "correct the configuration, or ask as root; all else is looked at once it is valid",
                "correct the configuration; all else is looked at once it is valid",
            );
            examined.find("configuration", "the file", error, cure);
        }
        examined
    }

    /// Makes all checks.
    pub fn of(subject: &Subject<'_>) -> Examined {
        let mut examined = Examined::default();
        let Subject { file, loaded, .. } = *subject;
        let config = &loaded.config;
        examined.begin(1);
        for warning in config.warnings() {
            let cure = "change it, or leave it if it is meant";
            examined.hint("configuration", "the file", warning, cure);
        }
        files::examine(subject, &mut examined);
        orders::examine(config, now(), &mut examined);
        let running = running::ask(file, config, &mut examined);
        let gateway = ports::examine(file, config, &running, &mut examined);
        running::report(&running, gateway.is_some(), &mut examined);
        let user = gateway.and_then(|pid| processes::user(pid, file));
        folders::examine(config, user, &mut examined);
        machine::examine(config, &running, &mut examined);
        targets::examine(loaded, subject, &mut examined);
        examined
    }

    /// Returns true if nothing but hints was found.
    pub fn is_clean(&self) -> bool {
        self.count(Weight::Finding) == 0
    }

    /// Returns two lines for each finding, then those of the hints, and a summary.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (weight, word) in [(Weight::Finding, "finding"), (Weight::Hint, "hint")] {
            for found in self.of_weight(weight) {
                let Finding {
                    what,
                    problem,
                    cure,
                    ..
                } = found;
                for part in [word, ": ", what, ": ", problem, "\n  cure: ", cure, "\n"] {
                    text.push_str(part);
                }
            }
        }
        let plural = |count: usize, word: &str| {
            let end = if count == 1 { "" } else { "s" };
            format!("{count} {word}{end}")
        };
        text.push_str(&plural(self.checks, "check"));
        for (weight, word) in [(Weight::Finding, "finding"), (Weight::Hint, "hint")] {
            text.push_str(", ");
            text.push_str(&plural(self.count(weight), word));
        }
        text.push('\n');
        text
    }

    /// Returns the same as one JSON object.
    pub fn json(&self) -> String {
        let mut out = format!("{{\"checks\":{}", self.checks).into_bytes();
        for (weight, name) in [(Weight::Finding, "findings"), (Weight::Hint, "hints")] {
            for part in [",\"", name, "\":["] {
                out.extend_from_slice(part.as_bytes());
            }
            for (index, found) in self.of_weight(weight).enumerate() {
                let cells = [
                    ("check", Cell::Text(found.check)),
                    ("what", Cell::Text(&found.what)),
                    ("problem", Cell::Text(&found.problem)),
                    ("cure", Cell::Text(&found.cure)),
                ];
                row(Form::Json, index == 0, &cells, &mut out);
            }
            out.push(b']');
        }
        out.extend_from_slice(b"}\n");
        String::from_utf8_lossy(&out).into_owned()
    }

    fn of_weight(&self, weight: Weight) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(move |found| found.weight == weight)
    }

    fn count(&self, weight: Weight) -> usize {
        self.of_weight(weight).count()
    }

    /// Counts checks.
    fn begin(&mut self, checks: usize) {
        self.checks = self.checks.saturating_add(checks);
    }

    fn find(&mut self, check: &'static str, what: &str, problem: String, cure: &str) {
        self.push(Weight::Finding, check, what, problem, cure);
    }

    fn hint(&mut self, check: &'static str, what: &str, problem: String, cure: &str) {
        self.push(Weight::Hint, check, what, problem, cure);
    }

    fn push(
        &mut self,
        weight: Weight,
        check: &'static str,
        what: &str,
        problem: String,
        cure: &str,
    ) {
        self.findings.push(Finding {
            weight,
            check,
            what: what.to_owned(),
            problem,
            cure: cure.to_owned(),
        });
    }
}

/// Returns names as text: the first ones, and the number of the others.
fn listed(names: &[String]) -> String {
    let mut text = names.get(..LISTED).unwrap_or(names).to_vec().join(", ");
    let more = names.len().saturating_sub(LISTED);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

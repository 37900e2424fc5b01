//! Certificates that are ordered from an authority: the state that the gateway keeps of them.

use std::io;

use super::Examined;
use super::folders::{UNSEEN, UNSEEN_BY_ROOT, unless_root};
use crate::acme::identifier::listed;
use crate::acme::{self, Row, STATE_FILE};
use crate::config::Config;
use crate::net::certificates::orders::plan;
use crate::net::certificates::store::Store;
use crate::time::UnixTime;

/// Parts of problems, as `acme` and the authority word them, and what helps; the first that fits.
const CURES: [(&str, &str); 10] = [
    (": rateLimited: ", WAIT),
    (" says 429", WAIT),
    (" says 5", WAIT),
    (
        ": caa: ",
        "permit the authority in the CAA record of the name",
    ),
    (
        "the authority cannot be reached: ",
        "let this machine reach acme.directory (DNS, routes, firewall, acme.ca), or correct it",
    ),
    (
        "the authority offers no ",
        "set acme.challenge to the other kind, or acme.directory to another authority",
    ),
    ("did not accept the proof", LEAD),
    ("does not reach itself", LEAD),
    ("the order became invalid", LEAD),
    (
        "the authority says ",
        "correct names, email, acme.profile or acme.eab, as the problem says",
    ),
];
const WAIT: &str = "wait: the gateway tries again by itself";
const LEAD: &str = "the name must lead here, and the port must be open to the authority";

/// Returns what helps against the problem of an order.
fn cure(problem: &str) -> &'static str {
    let mut rows = CURES.iter();
    let row = rows.find(|(part, _)| problem.contains(part));
    row.map_or("see what the problem says", |(_, cure)| cure)
}

/// Looks at the state of each order.
pub(super) fn examine(config: &Config, now: UnixTime, examined: &mut Examined) {
    let Some((acme, plan)) = config
        .acme
        .as_ref()
        .and_then(|acme| Some((acme, plan(acme)?)))
    else {
        return;
    };
    examined.begin(1);
    let path = acme.state.join(STATE_FILE);
    match std::fs::File::open(&path) {
        // The gateway has not run with this file yet, or it was removed.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let what = path.display().to_string();
            let cure = unless_root(UNSEEN, UNSEEN_BY_ROOT);
            examined.hint("orders", &what, format!("cannot be read: {error}"), cure);
            return;
        }
        _ => {}
    }
    let folder = Store::of_another(&acme.state);
    for row in acme::rows(&plan, &folder, now) {
        order(&row, now, examined);
    }
}

fn order(row: &Row, now: UnixTime, examined: &mut Examined) {
    let what = format!("certificate of {}", listed(&row.names));
    let has_certificate = row.not_after.is_some_and(|end| end > now);
    let problem = match &row.problem {
        Some(problem) => format!("the last order failed: {problem}"),
        None if has_certificate => return,
        None => row.step.to_owned(),
    };
    let cure = match &row.problem {
        Some(problem) => cure(problem),
        None => "a running gateway orders it, soon: see its log",
    };
    let kept = match has_certificate {
        true => "; until then the certificate of before is served",
        false => "",
    };
    let cure = &[cure, kept].concat();
    match row.problem {
        Some(_) => examined.find("orders", &what, problem, cure),
        None => examined.hint("orders", &what, problem, cure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::Identifier;

    fn row(not_after: Option<u64>, step: &'static str, problem: Option<&str>) -> Row {
        Row {
            names: vec![Identifier::parse("a.test").expect("a name")],
            file: "a.pem".to_owned(),
            not_after: not_after.map(UnixTime::from_millis),
            next: None,
            step,
            problem: problem.map(str::to_owned),
        }
    }

    #[test]
    fn a_failed_order_is_a_finding_and_a_first_one_a_hint() {
        let now = UnixTime::from_millis(5000);
        for (row, text) in [
            (row(Some(6000), "valid", None), ""),
            (
                row(None, "awaits its first order", None),
                "hint: certificate of a.test: awaits its first order\n  cure: a running gateway orders it, soon: see its log\n",
            ),
            (
                row(None, "waits after a failure", Some("no such name")),
                "finding: certificate of a.test: the last order failed: no such name\n  cure: see what the problem says\n",
            ),
            (
                row(Some(6000), "valid", Some("no such name")),
                "finding: certificate of a.test: the last order failed: no such name\n  cure: see what the problem says; until then the certificate of before is served\n",
            ),
            (
                row(Some(5000), "has expired", None),
                "hint: certificate of a.test: has expired\n",
            ),
        ] {
            let mut examined = Examined::default();
            order(&row, now, &mut examined);
            let told = examined.text();
            assert!(told.starts_with(text), "{told}");
            assert_eq!(text.is_empty(), told.starts_with("0 checks"), "{told}");
        }
    }

    #[test]
    fn each_problem_of_an_order_has_its_cure() {
        for (problem, expected) in [
            (
                "the authority cannot be reached: no connection: Connection refused (os error 111)",
                "let this machine reach acme.directory",
            ),
            (
                "the authority offers no http-01 for a.test; choose the other kind with acme.challenge",
                "set acme.challenge",
            ),
            (
                "the authority did not accept the proof for a.test: connection: 192.0.2.1: Timeout",
                "the name must lead here",
            ),
            (
                "the authority did not accept the proof for a.test: caa: CAA record for a.test prevents issuance",
                "the CAA record",
            ),
            (
                "the gateway does not reach itself by its names: http://a.test:80",
                "the name must lead here",
            ),
            ("the order became invalid: ", "the name must lead here"),
            (
                "the authority says 429: rateLimited: too many certificates",
                "wait",
            ),
            (
                "the authority says 400: rateLimited: too many certificates",
                "wait",
            ),
            (
                "the authority says 503: status 503 without a problem document",
                "wait",
            ),
            (
                "the authority says 400: invalidContact: no such domain",
                "correct names, email",
            ),
            ("the state folder takes no files: full", "see what"),
        ] {
            assert!(
                cure(problem).contains(expected),
                "{problem}: {}",
                cure(problem)
            );
        }
    }

    /// A problem that is worded anew would lose its cure.
    #[test]
    fn the_problems_are_worded_so() {
        let machine = include_str!("../../acme/machine/answers.rs");
        for (part, _) in CURES {
            // Digits and the kind of a problem are those of the authority.
            let ours = part.trim_end_matches(|byte: char| byte.is_ascii_digit());
            let is_ours = !part.starts_with(':');
            assert!(!is_ours || machine.contains(ours), "{part}");
        }
    }
}

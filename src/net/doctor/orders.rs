//! Certificates that are ordered from an authority: the state that the gateway keeps of them.

use std::io;

use super::Examined;
use super::folders::{UNSEEN, UNSEEN_BY_ROOT, unless_root};
use crate::acme::identifier::listed;
use crate::acme::{self, Row, STATE_FILE};
use crate::config::Config;
use crate::net::certificates::orders::plan;
use crate::time::UnixTime;

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
    let file = match std::fs::read(&path) {
        Ok(file) => file,
        // The gateway has not run with this file yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let what = path.display().to_string();
            let cure = unless_root(UNSEEN, UNSEEN_BY_ROOT);
            examined.hint("orders", &what, format!("cannot be read: {error}"), cure);
            return;
        }
    };
    for row in acme::rows(&plan, &file, now) {
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
    let cure = match (&row.problem, has_certificate) {
        (Some(_), true) => {
            "see what the problem says; until it is solved the certificate of before is served"
        }
        (Some(_), false) => {
            "see what the problem says; the name must lead here, and the port must be open to the authority"
        }
        (None, _) => "a running gateway orders it, soon: see its log",
    };
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
                "finding: certificate of a.test: the last order failed: no such name\n  cure: see what the problem says; the name must",
            ),
            (
                row(Some(6000), "valid", Some("no such name")),
                "finding: certificate of a.test: the last order failed: no such name\n  cure: see what the problem says; until it is",
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
}

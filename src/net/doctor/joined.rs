//! Faults of a target that several questions found: each is told once.

use super::{Examined, Finding, Weight, listed};
use crate::sort;

/// Finding or hint without the users in its text, and the users whose questions found it.
pub(super) type Fault = (Finding, Vec<String>);

/// Adds a fault. One that is the same but for its users is joined; it is a finding if one of both is.
pub(super) fn add(faults: &mut Vec<Fault>, finding: Finding, users: &[String]) {
    for (other, others) in &mut *faults {
        if other.problem == finding.problem
            && other.what == finding.what
            && other.cure == finding.cure
        {
            others.extend_from_slice(users);
            if finding.weight == Weight::Finding {
                other.weight = Weight::Finding;
            }
            return;
        }
    }
    faults.push((finding, users.to_vec()));
}

/// Reports the faults.
pub(super) fn report(faults: Vec<Fault>, examined: &mut Examined) {
    for (mut finding, mut users) in faults {
        sort::unique(&mut users);
        finding.what = with(&finding.what, &users);
        examined.findings.push(finding);
    }
}

/// Returns the target with its users.
pub(super) fn with(place: &str, users: &[String]) -> String {
    [place, " (", &listed(users), ")"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_differ_in_their_users_alone_are_one() {
        let fault = |weight, problem: &str| Finding {
            weight,
            check: "target",
            what: "target http://a".to_owned(),
            problem: problem.to_owned(),
            cure: "start it".to_owned(),
        };
        let mut faults = Vec::new();
        for (weight, problem, user) in [
            (Weight::Hint, "it closes", "/c"),
            (Weight::Finding, "it is silent", "/b"),
            (Weight::Finding, "it closes", "/a"),
            (Weight::Hint, "it closes", "/a"),
        ] {
            add(&mut faults, fault(weight, problem), &[user.to_owned()]);
        }
        let mut examined = Examined::default();
        report(faults, &mut examined);
        let text = "finding: target http://a (/a, /c): it closes\n  cure: start it\n\
            finding: target http://a (/b): it is silent\n  cure: start it\n\
            0 checks, 2 findings, 0 hints\n";
        assert_eq!(examined.text(), text);
    }
}

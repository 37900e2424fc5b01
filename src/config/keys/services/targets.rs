//! `target` and `targets`: where the requests of a service go.

use crate::limits as bound;
use crate::proxy::settings::{Role, Target};

use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars::small;
use crate::config::values::target_url;

const TARGET_KEYS: [&str; 3] = ["url", "weight", "backup"];

const ALONE: Role = Role {
    weight: 1,
    backup: false,
};

/// One of a service's targets, as written.
pub(crate) struct Listed {
    pub(crate) target: Target,
    pub(crate) path: String,
    pub(crate) role: Role,
}

/// `target` or `targets`, whichever is there. `None`: an error about them was reported.
pub(crate) fn compile(
    service: &Located<'_>,
    object: &Object<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Listed>> {
    match (object.get("target"), object.get("targets")) {
        (Some(place), None) => {
            let (target, path) = url(place, report)?;
            Some(vec![Listed {
                target,
                path,
                role: ALONE,
            }])
        }
        (None, Some(place)) => list(place, report),
        (Some(_), Some(place)) => {
            place.fail_bare(
                report,
                r#""target" is there, too; keep one of them, "targets" for several"#,
            );
            None
        }
        (None, None) => {
            service.fail(report, r#""target" is missing; add where the requests go, such as "http://127.0.0.1:9000/""#);
            None
        }
    }
}

fn list(place: &Located<'_>, report: &mut Report<'_>) -> Option<Vec<Listed>> {
    let items = place.list(
        report,
        r#"a list such as ["http://10.0.0.1/", { "url": "http://10.0.0.2/", "weight": 2 }]"#,
    )?;
    if items.is_empty() {
        place.fail(
            report,
            r#"is empty; add a target such as "http://127.0.0.1:9000/""#,
        );
        return None;
    }
    if items.len() > bound::TARGETS_MAX {
        place.fail(
            report,
            format!(
                "has {} targets; at most {} can stand here",
                items.len(),
                bound::TARGETS_MAX
            ),
        );
        return None;
    }
    let mut listed: Vec<Listed> = Vec::with_capacity(items.len());
    let mut sound = true;
    for item in &items {
        let Some(one) = one(item, report) else {
            sound = false;
            continue;
        };
        let identity =
            |listed: &Listed| (target_url::identity(&listed.target), listed.path.clone());
        if let Some(first) = listed
            .iter()
            .position(|other| identity(other) == identity(&one))
        {
            item.fail(
                report,
                format!(
                    r#"is the same as {}[{first}]; give that one a greater "weight" instead"#,
                    place.path
                ),
            );
            sound = false;
            continue;
        }
        listed.push(one);
    }
    if sound && listed.iter().all(|one| one.role.backup) {
        place.fail(report, "has backups only; at least one must be no backup, or nothing is what they stand in for");
        sound = false;
    }
    sound.then_some(listed)
}

fn one(place: &Located<'_>, report: &mut Report<'_>) -> Option<Listed> {
    if !matches!(place.node.value, Value::Object(_)) {
        let expected = r#"a URL such as "http://10.0.0.1/", or an object such as { "url": "http://10.0.0.1/", "weight": 2 }"#;
        place.text(report, expected)?;
        let (target, path) = url(place, report)?;
        return Some(Listed {
            target,
            path,
            role: ALONE,
        });
    }
    let object = place.object(report, "an object", &TARGET_KEYS)?;
    let weights = 1..=u64::from(bound::WEIGHT_MAX);
    let weight = match object.get("weight") {
        None => Some(1),
        Some(place) => small(place, weights, report),
    };
    let backup = object.flag("backup", false, report);
    let Some(address) = object.get("url") else {
        place.fail(
            report,
            r#""url" is missing; add where the requests go, such as "http://10.0.0.1/""#,
        );
        return None;
    };
    let (target, path) = url(address, report)?;
    Some(Listed {
        target,
        path,
        role: Role {
            weight: weight?,
            backup,
        },
    })
}

fn url(place: &Located<'_>, report: &mut Report<'_>) -> Option<(Target, String)> {
    let text = place.text(report, r#"a URL such as "http://127.0.0.1:9000/""#)?;
    target_url::parse(text)
        .map_err(|message| place.fail(report, message))
        .ok()
}

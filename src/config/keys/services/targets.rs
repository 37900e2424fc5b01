//! `target` and `targets`: where the requests of a service go.

use crate::limits as bound;
use crate::proxy::settings::{Role, Target};
use crate::sort::Index;

use crate::config::schema::TARGET;
use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;
use crate::config::values::target_url;

use super::limits;

/// Target of a service, as written.
pub(crate) struct Listed {
    pub(crate) target: Target,
    pub(crate) path: String,
    pub(crate) role: Role,
}

/// Keys that say what becomes of the requests of a service: one of them is there.
const PLACES: [&str; 4] = ["target", "targets", "redirect", "respond"];

/// Reads `target` or `targets`; the list is empty if there is `redirect` or `respond`. `None`: an
/// error about them was reported.
pub(crate) fn compile(
    service: &Located<'_>,
    object: &Object<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Listed>> {
    let given = PLACES.map(|name| (name, object.get(name)));
    let mut given = given
        .into_iter()
        .filter_map(|(name, place)| Some((name, place?)));
    let first = given.next();
    if let (Some((first, _)), Some((second, place))) = (first, given.next()) {
        let several = match second {
            "targets" => r#", "targets" for several"#,
            _ => "",
        };
        place.fail_bare(
            report,
            format!("{first:?} is there, too; keep one of them{several}"),
        );
        return None;
    }
    match first {
        Some(("target", place))
            if matches!(place.node.value, Value::List(_) | Value::Object(_)) =>
        {
            let fault = r#"is no URL; a list, or a target with a weight, stands in "targets""#;
            place.fail(report, fault);
            None
        }
        Some(("target", place)) => Some(vec![alone(place, report)?]),
        Some(("targets", place)) => list(place, report),
        Some(_) => Some(Vec::new()),
        None => {
            service.fail(report, r#""target" is missing; add where the requests go, such as "http://127.0.0.1:9000/""#);
            None
        }
    }
}

fn list(place: &Located<'_>, report: &mut Report<'_>) -> Option<Vec<Listed>> {
    let items = place.list(report)?;
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
    let listed = items.iter().map(|item| one(item, report));
    let listed = listed.collect::<Vec<_>>();
    let identity = |one: &Listed| (target_url::identity(&one.target), one.path.clone());
    let known = listed.iter().map(|one| one.as_ref().map(identity));
    let known = Index::new(known.collect());
    let mut sound = true;
    for (number, (item, one)) in items.iter().zip(&listed).enumerate() {
        let first = one.as_ref().map(identity);
        match first.and_then(|one| known.place(&Some(one))) {
            // What is wrong was said already.
            None => sound = false,
            Some(first) if first < number => {
                item.fail(
                    report,
                    format!(
                        r#"is the same as {}[{first}]; give that one a greater "weight" instead"#,
                        place.path
                    ),
                );
                sound = false;
            }
            Some(_) => {}
        }
    }
    let mut sound_ones = Vec::with_capacity(listed.len());
    sound_ones.extend(listed.into_iter().flatten());
    let listed = sound_ones;
    if sound && listed.iter().all(|one| one.role.backup) {
        place.fail(report, "has backups only; at least one must be no backup, or nothing is what they stand in for");
        sound = false;
    }
    sound.then_some(listed)
}

fn one(place: &Located<'_>, report: &mut Report<'_>) -> Option<Listed> {
    if !matches!(place.node.value, Value::Object(_)) {
        place.text(report)?;
        return alone(place, report);
    }
    let object = place.object(report)?;
    let role = role(&object, report);
    let Some(address) = object.get("url") else {
        place.fail(
            report,
            r#""url" is missing; add where the requests go, such as "http://10.0.0.1/""#,
        );
        return None;
    };
    let (target, path) = url(address, report)?;
    Some(Listed { target, path, role })
}

/// Reads a target that is a URL and nothing more.
fn alone(place: &Located<'_>, report: &mut Report<'_>) -> Option<Listed> {
    let (target, path) = url(place, report)?;
    let role = role(&Object::empty(&TARGET), report);
    Some(Listed { target, path, role })
}

fn role(object: &Object<'_>, report: &mut Report<'_>) -> Role {
    Role {
        weight: weight(object, report),
        backup: object.flag("backup", report),
        max_in_flight: limits::max_in_flight(object, report),
    }
}

fn weight(object: &Object<'_>, report: &mut Report<'_>) -> u32 {
    let none = object
        .get("weight")
        .filter(|place| place.digits() == Some("0"));
    match none {
        Some(place) => {
            place.fail(report, r#"must be at least 1; to drain the target, take it out of "targets" and reload: its requests in flight go on"#);
            0
        }
        None => scalars::small_of(object, "weight", report),
    }
}

fn url(place: &Located<'_>, report: &mut Report<'_>) -> Option<(Target, String)> {
    let text = place.text(report)?;
    let parsed = target_url::parse(text).map_err(|mut fault| {
        // The value of a variable may be a secret.
        let is_shown = place.node.written.is_none();
        if let Some(url) = target_url::meant(text).filter(|_| is_shown) {
            fault = fault.with_cure(&format!("write {url:?}"));
        }
        place.fail(report, fault);
    });
    parsed.ok()
}

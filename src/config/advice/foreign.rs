//! Warnings about values that another program would replace or take for a pattern: variables, regular
//! expressions.

use std::sync::Arc;

use super::each_once;
use crate::config::keys::services::route;
use crate::policy::foreign;
use crate::proxy::settings::{Condition, FixedReply, Settings};

/// Fault of a text that goes out.
const STAYS: &str = "has a variable of another program, which goes out as it stands";

/// Returns a line for each value of a header edit that is a variable of another program: it goes out
/// as it stands.
pub(super) fn variables(settings: &Settings) -> Vec<String> {
    let top = settings.edits.as_ref();
    let services = settings.services.iter();
    let own = services.filter_map(|service| service.edits.as_ref());
    let own = own.filter(|edits| !top.is_some_and(|top| Arc::ptr_eq(top, edits)));
    let all = top.into_iter().chain(own);
    let lines = all.flat_map(|edits| edits.request.foreign().chain(edits.response.foreign()));
    let lines = lines.collect::<Vec<_>>();
    let said = |line: &str| {
        format!(
            "the header edit {line:?} {STAYS}; those here are ${{client.ip}}, \
             ${{host}}, ${{scheme}}, ${{id}}, ${{service}} and ${{consumer}}"
        )
    };
    each_once(&lines).map(|line| said(line)).collect()
}

/// Returns a line for each service whose own reply has a variable of another program: it goes out as it
/// stands.
pub(super) fn variables_of_replies(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for service in &settings.services {
        let what = match service.reply.as_deref() {
            Some(FixedReply::Redirect(redirect)) if foreign::has_any(&redirect.to()) => {
                r#""to" in "redirect""#
            }
            // A page may have a `$` of its own.
            Some(FixedReply::Respond(respond)) if foreign::has_known(&respond.body) => {
                r#""body" in "respond""#
            }
            _ => continue,
        };
        let route = &service.route;
        lines.push(format!("{what} of {route} {STAYS}; remove it"));
    }
    lines
}

/// Returns a line for each condition whose value is a pattern as other programs write it: it is compared
/// as it stands.
pub(super) fn patterns(settings: &Settings) -> Vec<String> {
    let services = settings.services.iter();
    let conditions = services.flat_map(|service| &service.conditions);
    let lines = conditions.filter(|one| is_pattern(&one.value));
    let lines = lines.map(Condition::text).collect::<Vec<_>>();
    let said = |line: &String| {
        format!(
            "the condition {line:?} of \"match\" is compared as it stands, without patterns and variables; write a whole value, and a service for each"
        )
    };
    each_once(&lines).map(said).collect()
}

/// Returns a line for each service with a pattern of another program in the path of a target: it goes out as it
/// stands.
pub(super) fn patterns_of_targets(settings: &Settings) -> Vec<String> {
    let services = settings.services.iter();
    let said = services.filter_map(|service| {
        let mut paths = service.destinations.iter();
        let pattern = paths.find_map(|to| route::pattern(&to.path))?;
        Some(format!(
            "the target of {} has {pattern:?} in its path, which goes out as it stands: the rest of the client's path follows it by \
             itself; remove it",
            service.route
        ))
    });
    said.collect()
}

/// Returns true for a value that is likely a pattern: `~^3`, `.*beta`, `beta*`, or has a variable. `*/*` is a
/// media type.
fn is_pattern(value: &str) -> bool {
    let is_glob = value.ends_with('*') && !value.ends_with("/*");
    is_glob
        || foreign::has_any(value)
        || value.starts_with(['~', '^'])
        || value.ends_with('$')
        || value.contains(".*")
}

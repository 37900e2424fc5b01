//! `${VAR}` and `${VAR:-default}` inside string values. A `$` without a brace is a `$`. In the values
//! of header edits a few names stand for values of a request, and stay.

use super::document::{Node, Value};
use super::located;
use super::report::Report;
use crate::policy::edits::{Part, Variable};

/// Looks a variable up.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Replaces the variables in all strings below `node`; a string that cannot be made is reported and
/// becomes broken.
pub(crate) fn replace(
    node: &mut Node,
    path: &str,
    environment: Environment<'_>,
    report: &mut Report<'_>,
) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match expand(text, environment) {
            Ok(expanded) => node.written = Some(core::mem::replace(text, expanded)),
            Err(message) => {
                let shown = node.shown().unwrap_or_default();
                report.add(node.at, path, format!("{shown}: {message}"));
                node.value = Value::Broken;
            }
        },
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                replace(item, &located::index_path(path, index), environment, report);
            }
        }
        Value::Object(members) => {
            let are_edits = holds_edits(path);
            for member in members {
                if are_edits {
                    replace_in_edit(&mut member.node, path, &member.name, environment, report);
                    continue;
                }
                replace(
                    &mut member.node,
                    &located::member_path(path, &member.name),
                    environment,
                    report,
                );
            }
        }
        _ => {}
    }
}

/// Returns true for the path of an object whose values are those of header edits.
fn holds_edits(path: &str) -> bool {
    let mut names = path.rsplit('.');
    let is_edit = matches!(names.next(), Some("set" | "add"))
        && matches!(names.next(), Some("requestHeaders" | "responseHeaders"));
    let owner = names.next();
    let is_owner = owner.is_none_or(|owner| owner == "services" || owner.starts_with("services["));
    is_edit && is_owner && names.next().is_none()
}

/// Replaces the variables in the value of a header edit. A value with variables of a request becomes
/// [`Value::Parts`].
fn replace_in_edit(
    node: &mut Node,
    path: &str,
    name: &str,
    environment: Environment<'_>,
    report: &mut Report<'_>,
) {
    let text = match &mut node.value {
        Value::Text(text) if text.contains("${") => core::mem::take(text),
        _ => return,
    };
    let value = match parts(&text, environment) {
        Ok(mut parts) => match (parts.pop(), parts.is_empty()) {
            (Some(Part::Text(whole)), true) => Value::Text(whole.into()),
            (None, _) => Value::Text(String::new()),
            (last, _) => Value::Parts(parts.into_iter().chain(last).collect()),
        },
        Err(message) => {
            node.written = Some(text.clone());
            node.value = Value::Text(String::new());
            let shown = node.shown().unwrap_or_default();
            let path = located::member_path(path, name);
            report.add(node.at, &path, format!("{shown}: {message}"));
            Value::Broken
        }
    };
    node.value = value;
    node.written = Some(text);
}

/// Returns the parts of a text: its variables of a request, and what is between them.
fn parts(text: &str, environment: Environment<'_>) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut before = String::new();
    let mut rest = text;
    while let Some((start, behind)) = rest.split_once("${") {
        let (inside, after) = behind.split_once('}').ok_or(OPEN_BRACE)?;
        before.push_str(start);
        match Variable::of(inside) {
            Some(variable) => {
                if !before.is_empty() {
                    parts.push(Part::Text(core::mem::take(&mut before).into()));
                }
                parts.push(Part::Variable(variable));
            }
            None => before.push_str(&variable_or_hint(inside, environment)?),
        }
        rest = after;
    }
    before.push_str(rest);
    if !before.is_empty() {
        parts.push(Part::Text(before.into()));
    }
    Ok(parts)
}

/// Returns the value of an environment variable; the error names the variables of a request, too.
fn variable_or_hint(inside: &str, environment: Environment<'_>) -> Result<String, String> {
    if let Some((name, _)) = inside.split_once(":-")
        && Variable::of(name).is_some()
    {
        return Err(format!(
            "{name} is a variable of the request and has no default; write ${{{name}}}"
        ));
    }
    variable(inside, environment).map_err(|message| {
        let names = Variable::ALL.map(|(name, _)| name).join(", ");
        format!("{message}; the variables of a request are {names}")
    })
}

/// Error of a variable without an end.
const OPEN_BRACE: &str = r#""${" without a "}"; write ${NAME} or ${NAME:-default}"#;

/// Replaces the variables of one string. The value of a variable is not expanded again.
fn expand(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let (inside, after) = behind.split_once('}').ok_or(OPEN_BRACE)?;
        expanded.push_str(before);
        expanded.push_str(&variable(inside, environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Returns the value of a variable. As in a shell, the default behind `:-` also replaces an empty
/// value.
fn variable(inside: &str, environment: Environment<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_here = |value: &Option<String>| value.is_some() || default.is_some();
    let value = environment(name);
    if Variable::of(name).is_some() && !is_here(&value) {
        return Err(format!(
            "the environment variable {name} is not set, and ${{{name}}} of a request is known in values of \"requestHeaders\" and \"responseHeaders\" alone"
        ));
    }
    let mut letters = name.chars();
    let starts_well = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !starts_well || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Err(format!(
            "{:?} is no name of a variable; write ${{NAME}} or ${{NAME:-default}}",
            name
        ));
    }
    match (value, default) {
        (Some(value), _) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(empty), None) => Ok(empty),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "HOST" => Some("h".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn what_becomes_of_a_string() {
        for (text, value) in [
            ("a", "a"),
            ("${HOST}", "h"),
            ("http://${HOST}:${PORT:-80}/", "http://h:80/"),
            ("${EMPTY}|${EMPTY:-x}|${NO:-}", "|x|"),
            ("${NESTED}", "${HOST}"),
            ("$HOST $ $$", "$HOST $ $$"),
            ("$${HOST}", "$h"),
            ("${NO:-a:-b}", "a:-b"),
        ] {
            assert_eq!(expanded(text), Ok(value.to_owned()), "{text}");
        }
        for (text, message) in [
            ("${NO}", "NO is not set"),
            ("https://${host}/x", "${host} of a request is known in"),
            ("${client.ip}", "${client.ip} of a request is known in"),
            ("${HOST", "without a"),
            ("${}", "no name"),
            ("${1A}", "no name"),
            ("${A B}", "no name"),
            ("${a-b}", "no name"),
        ] {
            assert!(
                expanded(text).is_err_and(|error| error.contains(message)),
                "{text}"
            );
        }
    }
}

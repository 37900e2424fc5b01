//! `${VAR}` and `${VAR:-default}` inside string values. A `$` without a brace is a `$`.

use super::document::{Node, Value};
use super::located;
use super::report::Report;

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
            for member in members {
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

/// Replaces the variables of one string. The value of a variable is not expanded again.
fn expand(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let (inside, after) = behind
            .split_once('}')
            .ok_or(r#""${" without a "}"; write ${NAME} or ${NAME:-default}"#)?;
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
    match (environment(name), default) {
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

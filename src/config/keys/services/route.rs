//! `route`: a path prefix, or one path alone behind `=`.

use std::borrow::Cow;

use crate::config::syntax::stray::Fault;
use crate::config::values::path;
use crate::policy::route::EXACT;

/// Returns a route in its usual form: a prefix without its trailing slash, but `/` stays; one path
/// behind `= `, with its trailing slash.
pub(crate) fn parse(text: &str) -> Result<Cow<'_, str>, Fault> {
    match text.strip_prefix('=').map(str::trim_start) {
        Some(path) => {
            check(path)?;
            Ok([EXACT, path].concat().into())
        }
        None => {
            check(text)?;
            Ok(match text.strip_suffix('/') {
                Some("") | None => text,
                Some(route) => route,
            }
            .into())
        }
    }
}

/// Checks that requests may have a path, or a path below it.
fn check(text: &str) -> Result<(), Fault> {
    // nginx writes `~ ^/users` and `^~ /users`.
    let marks = text.split('/').next().unwrap_or_default();
    let is_marked = marks.starts_with(['~', '^']);
    if !text.starts_with('/') && !is_marked {
        return Err(
            r#"must start with "/", as in "/users", or in "= /users" for that path alone"#.into(),
        );
    }
    let path = text.get(marks.len()..).unwrap_or_default();
    let found = pattern(path);
    if let Some(pattern) = is_marked.then_some(marks).or(found) {
        let end = found.and_then(|found| path.find(found));
        let before = path.get(..end.unwrap_or(path.len())).unwrap_or_default();
        let prefix = before.trim_end_matches('/');
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        return Err(format!(
            "has {pattern:?}, but a route is no pattern: it is a prefix and takes every path below it; write {prefix:?}"
        )
        .into());
    }
    for (mark, what) in [('?', "query"), ('#', "fragment")] {
        if text.contains(mark) {
            return Err(format!("has a {what} ({mark:?}); a route is a path").into());
        }
    }
    let is_escaped = |c: char| c == '%' || c == ' ' || !c.is_ascii();
    if let Some((before, after)) = text
        .find(is_escaped)
        .and_then(|at| text.split_at_checked(at))
    {
        let wrong = after.chars().next().unwrap_or('%');
        let prefix = match before.rsplit_once('/') {
            None | Some(("", _)) => "/",
            Some((prefix, _)) => prefix,
        };
        return Err(format!(
            "has {wrong:?}; a character that clients send as a \"%\" and two digits cannot be in a route, neither written out nor as \
             \"%\": end it before that segment, as in {prefix:?}"
        )
        .into());
    }
    if text.contains("//") {
        return Err("has an empty segment (\"//\"); no request could match it".into());
    }
    path::check(text)
}

/// Returns the first segment that other routers take for a pattern: `:id`, `{id}`, `<id>`, `*`,
/// `*.js`, `(.*)`, `[0-9]+`, `^users$`. A `:` or `*` in the middle of a segment is a character like
/// any other (`/v1/x:verb`).
pub(crate) fn pattern(route: &str) -> Option<&str> {
    let named = |segment: &str| {
        segment
            .strip_prefix(':')
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
    };
    let globbed = |segment: &str| segment.starts_with('*') || segment.ends_with('*');
    let regular = |segment: &str| {
        segment.contains(['{', '}', '[', ']', '<', '>', '|', '^'])
            || [".*", ".+", "(?", "(.", "\\d", "\\w"]
                .iter()
                .any(|part| segment.contains(part))
            || segment.starts_with('(') && segment.ends_with(')')
            || segment.ends_with('$')
    };
    route
        .split('/')
        .find(|segment| named(segment) || globbed(segment) || regular(segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CONFIG_PATH_BYTES_MAX;

    #[test]
    fn routes() {
        for (text, route) in [
            ("/", "/"),
            ("/users", "/users"),
            ("/users/", "/users"),
            ("/a/b.c/..d/", "/a/b.c/..d"),
            ("/v1/x:verb", "/v1/x:verb"),
            ("/~a!$&'()*+,;=:@", "/~a!$&'()*+,;=:@"),
            ("= /", "= /"),
            ("=/users", "= /users"),
            ("=  /users/", "= /users/"),
        ] {
            assert_eq!(parse(text), Ok(route.into()), "{text}");
        }
        let long = format!("/{}", "a".repeat(CONFIG_PATH_BYTES_MAX));
        for bad in [
            "",
            "users",
            "http://a/",
            "/a?b",
            "/a#b",
            "/a%20",
            "/a b",
            "/a\tb",
            "/a\nb",
            "/a\\b",
            "/a//b",
            "//",
            "/a//",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/a/..;x/b",
            "/é",
            "/a\"",
            "=",
            "= users",
            "== /users",
            "/= /users",
            "= /a//b",
            "= /a/..",
            "= /a?b",
            &long,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_advice_about_an_escaped_character_is_a_route() {
        for (text, wrong, prefix) in [
            ("/é", 'é', "/"),
            ("/a/caf%C3%A9/b", '%', "/a"),
            ("/a/b c", ' ', "/a"),
            ("= /a/é", 'é', "/a"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(
                message.starts_with(&format!("has {wrong:?}; a character ")),
                "{message}"
            );
            assert!(
                message.ends_with(&format!(", as in {prefix:?}")),
                "{message}"
            );
            assert_eq!(parse(prefix), Ok(prefix.into()));
        }
    }

    #[test]
    fn a_route_is_no_pattern() {
        for (text, pattern, prefix) in [
            ("/users/:id", ":id", "/users"),
            ("/users/:id/", ":id", "/users"),
            ("/users/:id?", ":id?", "/users"),
            ("/users/:id(\\d+)/x", ":id(\\d+)", "/users"),
            ("/:tenant/users", ":tenant", "/"),
            ("/users/{id}", "{id}", "/users"),
            ("/users/<int:id>", "<int:id>", "/users"),
            ("/users/*", "*", "/users"),
            ("/users*", "users*", "/"),
            ("/**", "**", "/"),
            ("/static/*.js", "*.js", "/static"),
            ("/users/(.*)", "(.*)", "/users"),
            ("/users/.*", ".*", "/users"),
            ("/users/[0-9]+", "[0-9]+", "/users"),
            ("/^users$", "^users$", "/"),
            ("/users/(a|b)", "(a|b)", "/users"),
            ("/users/(\\d+)", "(\\d+)", "/users"),
            ("/users$", "users$", "/"),
            ("~ ^/users", "~ ^", "/users"),
            ("~* \\.php$", "~* \\.php$", "/"),
            ("^~ /users/", "^~ ", "/users"),
            ("~ ^/users/(.*)$", "~ ^", "/users"),
            ("~", "~", "/"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(
                message.starts_with(&format!("has {pattern:?}, but ")),
                "{text}: {message}"
            );
            assert!(
                message.ends_with(&format!("; write {prefix:?}")),
                "{text}: {message}"
            );
        }
        for text in [
            "/:",
            "/:80",
            "/a:b",
            "/v1/x:verb",
            "/a*b",
            "/$metadata",
            "/a(b)c",
            "/(a",
        ] {
            assert_eq!(parse(text), Ok(text.into()));
        }
    }
}

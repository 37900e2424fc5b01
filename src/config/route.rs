//! `route`, and what routes and target paths have in common.

use crate::limits::CONFIG_PATH_BYTES_MAX;

/// A route without its trailing slash; `/` stays.
pub(super) fn parse(text: &str) -> Result<&str, String> {
    if !text.starts_with('/') {
        return Err(r#"must start with "/", as in "/users""#.to_owned());
    }
    if let Some(pattern) = pattern(text) {
        let before = text.split(pattern).next().unwrap_or_default();
        let prefix = before.trim_end_matches('/');
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        return Err(format!(
            "has {pattern:?}, but a route is no pattern: it is a prefix and takes every path below it; write {prefix:?}"
        ));
    }
    for (mark, what) in [('?', "query"), ('#', "fragment")] {
        if text.contains(mark) {
            return Err(format!("has a {what} ({mark:?}); a route is a path"));
        }
    }
    if text.contains('%') {
        return Err(
            "has a \"%\"; routes are matched on the bytes as sent, write the plain character"
                .to_owned(),
        );
    }
    if text.contains("//") {
        return Err("has an empty segment (\"//\"); no request could match it".to_owned());
    }
    check_path(text)?;
    Ok(match text.strip_suffix('/') {
        Some("") | None => text,
        Some(route) => route,
    })
}

/// The first segment that other routers take for a pattern: `:id`, `{id}`, `<id>`, `*`, `*.js`, `(.*)`, `[0-9]+`, `^users$`. A
/// `:` or `*` in the middle of a segment is a character like any other (`/v1/x:verb`).
fn pattern(route: &str) -> Option<&str> {
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

/// Bytes of a path (RFC 3986 3.3) and no dot segments, in any spelling.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    if path.len() > CONFIG_PATH_BYTES_MAX {
        return Err(format!("is longer than {CONFIG_PATH_BYTES_MAX} bytes"));
    }
    if let Some(wrong) = path.chars().find(|c| !is_path_char(*c)) {
        let hint = match wrong {
            '\\' => "; write \"/\"",
            c if c.is_ascii() => "; remove it",
            _ => "; write it percent-encoded where the upstream expects that",
        };
        return Err(format!(
            "has a character that no path may have ({wrong:?}){hint}"
        ));
    }
    let Some(decoded) = decode(path) else {
        return Err("has a \"%\" without two hexadecimal digits".to_owned());
    };
    let is_dots = |segment: &[u8]| {
        let bare = segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or(segment);
        bare == b"." || bare == b".."
    };
    match decoded.split(|byte| *byte == b'/').any(is_dots) {
        true => Err("has a dot segment (\".\" or \"..\"); write the path it leads to".to_owned()),
        false => Ok(()),
    }
}

/// unreserved, sub-delims, ":", "@", "/" and the "%" of an escape.
fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c)
}

fn decode(path: &str) -> Option<Vec<u8>> {
    let digit = |byte: Option<u8>| {
        byte.and_then(|byte| char::from(byte).to_digit(16))
            .and_then(|n| u8::try_from(n).ok())
    };
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            _ => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        for (text, route) in [
            ("/", "/"),
            ("/users", "/users"),
            ("/users/", "/users"),
            ("/a/b.c/..d/", "/a/b.c/..d"),
            ("/v1/x:verb", "/v1/x:verb"),
            ("/~a!$&'()*+,;=:@", "/~a!$&'()*+,;=:@"),
        ] {
            assert_eq!(parse(text), Ok(route), "{text}");
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
            &long,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
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
        ] {
            let message = parse(text).expect_err(text);
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
            assert_eq!(parse(text), Ok(text));
        }
    }

    #[test]
    fn paths() {
        for good in ["", "/", "/a%20b", "/a//b", "/a%2Fb", "/.a/b..", "/a%25"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "/%2e",
            "/a/%2E%2e/b",
            "/.%2e;x",
            "/a%2f..%2fb",
            "/a%",
            "/a%4",
            "/a%4g",
            "/a%+1",
            "/a b",
            "/é",
            "/<",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}

//! URL of a target: http or https, and nothing in it that would be lost. Messages here do not
//! repeat the value; the caller does, without what may be a secret in it.

use crate::proxy::settings::{Target, TargetHost};

use super::path::ends_in_a_mark;
use super::{host, path};
use crate::config::schema::units::digits;
use crate::config::syntax::stray::Fault;
use crate::limits::UNIX_PATH_BYTES_MAX;

const START: &str = r#"must start with "http://" or "https://""#;

/// Returns a target and its path as written, perhaps empty.
pub(crate) fn parse(text: &str) -> Result<(Target, String), Fault> {
    if text.starts_with("unix:") {
        return Err(
            "must start with \"http://\", as in \"http://unix:/run/app.sock:/base\"".into(),
        );
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| Fault::uncured(START))?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        "ws" => {
            return Err(r#"must start with "http://"; WebSockets go through it, too"#.into());
        }
        "wss" => {
            return Err(r#"must start with "https://"; WebSockets go through it, too"#.into());
        }
        _ => return Err(Fault::uncured(START)),
    };
    if let Some(rest) = rest.strip_prefix("unix:").filter(|rest| is_socket(rest)) {
        return socket(rest, tls);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(
            "has a user name or password in it, which would not be sent; remove what is before the \"@\"".into()
        );
    }
    let mut hosts = authority.split([',', ' ', '|']);
    if hosts.nth(1).is_some_and(|second| !second.is_empty()) {
        return Err("names several hosts; a service has a list of URLs in \"targets\"".into());
    }
    check_path(path)?;
    let target = target(authority, tls)?;
    Ok((target, path.into()))
}

/// Checks a value of `Host`: a host, perhaps with a port.
pub(crate) fn check_host(text: &str) -> Result<(), Fault> {
    match text.contains('/') {
        true => Err(r#"must be a host alone, as in "app.example.com""#.into()),
        false => parse(&format!("http://{text}")).map(|_| ()),
    }
}

/// Returns the URL that text without a scheme most likely means, such as `http://localhost:3001`.
pub(crate) fn meant(text: &str) -> Option<String> {
    let (secure, rest) = match (text.strip_prefix("https"), text.strip_prefix("http")) {
        (Some(rest), _) if rest.starts_with([':', '/']) => ("s", rest),
        (_, Some(rest)) if rest.starts_with([':', '/']) => ("", rest),
        _ => ("", text),
    };
    let bare = rest.strip_prefix(':').unwrap_or(rest);
    let bare = bare.trim_start_matches('/');
    let place = match text.strip_prefix('/') {
        Some(path) if path.ends_with(".sock") && !path.starts_with('/') => "unix:/",
        Some(path) if !path.starts_with('/') => return None,
        _ if digits(bare).is_some() => "127.0.0.1:",
        _ => "",
    };
    let url = format!("http{secure}://{place}{bare}");
    let is_meant = !text.contains("://") && !text.contains('@') && parse(&url).is_ok();
    is_meant.then_some(url)
}

fn check_path(path: &str) -> Result<(), Fault> {
    if path.contains('?') {
        return Err("has a query; remove it, the client's own query is passed on".into());
    }
    if path.contains('#') {
        return Err(
            "has a fragment, which is never sent; remove the \"#\" and what follows".into(),
        );
    }
    path::check(path)
}

/// Returns true if this follows `unix:` where a unix socket is named, and no port of a host that is
/// called `unix`.
fn is_socket(rest: &str) -> bool {
    !rest.starts_with(|first: char| first.is_ascii_digit())
}

/// Returns the target and its path of what follows `unix:`, such as `/run/app.sock:/base`.
fn socket(rest: &str, tls: bool) -> Result<(Target, String), Fault> {
    if tls {
        return Err(
            "asks for TLS over a unix socket, which stays on this machine; write \"http://unix:..\"".into()
        );
    }
    let (file, path) = rest.split_once(':').unwrap_or((rest, ""));
    if !file.starts_with('/') || file.ends_with('/') {
        return Err(
            "must name a socket by its whole path, as in \"http://unix:/run/app.sock:/base\""
                .into(),
        );
    }
    if file.ends_with([';', ',']) {
        return Err(ends_in_a_mark());
    }
    if file.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!(
            "has a socket path of {} bytes; the system takes {UNIX_PATH_BYTES_MAX}",
            file.len()
        )
        .into());
    }
    if !file.bytes().all(|byte| byte.is_ascii_graphic()) || file.contains(['?', '#', '"', '\\']) {
        return Err("has a character in the path of the socket that is not taken there; use letters, digits and \"/._-\"".into());
    }
    if !path.is_empty() && !path.starts_with('/') {
        return Err(
            "has a path behind the socket that does not start with \"/\", as in \"http://unix:/run/app.sock:/base\"".into(),
        );
    }
    check_path(path)?;
    let target = Target {
        host: TargetHost::Unix(format!("unix:{file}")),
        port: 0,
        tls,
        trust: [0; 32],
        authority: "localhost".into(),
    };
    Ok((target, path.into()))
}

fn target(authority: &str, tls: bool) -> Result<Target, Fault> {
    let bracket = authority.find(']').map_or(0, |at| at + 1);
    let colon = authority
        .get(bracket..)
        .and_then(|rest| rest.rfind(':'))
        .map(|at| bracket + at);
    let (name, number) = match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => (authority, None),
    };
    let host = host::parse(name)?;
    let standard = if tls { 443 } else { 80 };
    let port = match number {
        None => standard,
        Some(number) => {
            let fault = "has a malformed port; it is a number from 1 to 65535";
            port(number).ok_or_else(|| Fault::uncured(fault))?
        }
    };
    let authority = if port == standard {
        name.into()
    } else {
        format!("{name}:{port}")
    };
    Ok(Target {
        host,
        port,
        tls,
        trust: [0; 32],
        authority,
    })
}

fn port(text: &str) -> Option<u16> {
    digits(text)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

/// Returns what is equal for equal targets: the case of a name and the spelling of an address do
/// not count.
pub(crate) fn identity(target: &Target) -> (bool, String, u16) {
    let host = match &target.host {
        TargetHost::Name(name) => name.to_ascii_lowercase(),
        TargetHost::Unix(name) => name.clone(),
        TargetHost::Address(address) => address.to_string(),
    };
    (target.tls, host, target.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_scheme_has_a_meaning() {
        for (text, url) in [
            ("localhost:3001", "http://localhost:3001"),
            ("127.0.0.1:3001/api", "http://127.0.0.1:3001/api"),
            ("example.com", "http://example.com"),
            ("[::1]:80", "http://[::1]:80"),
            ("3001", "http://127.0.0.1:3001"),
            (":3001", "http://127.0.0.1:3001"),
            ("//b:80", "http://b:80"),
            ("http:/b/x", "http://b/x"),
            ("https//b", "https://b"),
            ("https:b:8443", "https://b:8443"),
            ("httpbin.org/get", "http://httpbin.org/get"),
            ("https.example", "http://https.example"),
            ("/run/a.sock", "http://unix:/run/a.sock"),
        ] {
            assert_eq!(meant(text).as_deref(), Some(url), "{text}");
            assert!(parse(text).is_err(), "{text}");
        }
        for text in [
            "",
            "/",
            "/free",
            "user:pw@b:80",
            "b:port",
            "a b",
            "70000",
            "::1",
            "b:80;",
            "'b:80'",
            "http://b",
        ] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn targets() {
        for (text, authority, port, tls, path) in [
            ("http://b", "b", 80, false, ""),
            ("http://b/", "b", 80, false, "/"),
            ("HTTP://b:80/x", "b", 80, false, "/x"),
            ("http://b:443/", "b:443", 443, false, "/"),
            (
                "https://B.example/users/",
                "B.example",
                443,
                true,
                "/users/",
            ),
            ("Https://b:443", "b", 443, true, ""),
            ("https://b:8443/a%20b//c", "b:8443", 8443, true, "/a%20b//c"),
            (
                "http://127.0.0.1:9000/users/",
                "127.0.0.1:9000",
                9000,
                false,
                "/users/",
            ),
            ("http://[::1]:9000/", "[::1]:9000", 9000, false, "/"),
            ("http://[::1]", "[::1]", 80, false, ""),
            ("http://b/a@b:c", "b", 80, false, "/a@b:c"),
            ("http://unix:81/a", "unix:81", 81, false, "/a"),
            ("http://unix/a:b", "unix", 80, false, "/a:b"),
            ("http://unix:/run/a.sock", "localhost", 0, false, ""),
            ("http://unix:/run/a.sock:", "localhost", 0, false, ""),
            (
                "HTTP://unix:/run/a.sock:/b:c/",
                "localhost",
                0,
                false,
                "/b:c/",
            ),
        ] {
            let (target, found) = parse(text).expect(text);
            assert_eq!(
                (target.authority.as_str(), target.port, target.tls),
                (authority, port, tls),
                "{text}"
            );
            assert_eq!(found, path, "{text}");
        }
    }

    #[test]
    fn refused() {
        for (text, message) in [
            ("", "must start with"),
            ("b:9000", "must start with"),
            ("//b/", "must start with"),
            ("ftp://b/", "must start with"),
            ("ws://b/", "http://\"; WebSockets"),
            ("wss://b/", "https://\"; WebSockets"),
            ("http://", "no host"),
            ("http:///x", "no host"),
            ("http://:80/", "no host"),
            ("http://b:/", "malformed port"),
            ("http://b:0/", "malformed port"),
            ("http://b:65536/", "malformed port"),
            ("http://b:+80/", "malformed port"),
            ("http://b:80:90/", "brackets"),
            ("http://::1/", "brackets"),
            ("http://[::1]x/", "IPv6"),
            ("http://user:secret@b/", "user name or password"),
            ("http://@b/", "user name or password"),
            ("http://b?x=1", "query"),
            ("http://b/x?", "query"),
            ("http://b/x#y", "fragment"),
            ("http://b\\x", "no path may have"),
            ("http://b/a b", "no path may have"),
            ("http://b/\r\nx", "no path may have"),
            ("http://b/é", "no path may have"),
            ("http://b/../x", "dot segment"),
            ("http://b/%2e%2e/x", "dot segment"),
            ("http://b/%zz", "hexadecimal"),
            (" http://b/", "must start with"),
            ("unix:/run/a.sock", "http://unix:/run/app.sock:/base"),
            ("https://unix:/run/a.sock", "TLS over a unix socket"),
            ("http://unix:", "whole path"),
            ("http://unix:run/a.sock", "whole path"),
            ("http://unix:@a", "whole path"),
            ("http://unix:/run/", "whole path"),
            (
                "http://unix:/run/a b",
                "character in the path of the socket",
            ),
            (
                "http://unix:/run/a.sock?x",
                "character in the path of the socket",
            ),
            ("http://unix:/run/a.sock:b", "does not start with"),
            ("http://unix:/run/a.sock;", "as no path does"),
            ("http://unix:/run/a.sock,:/b", "as no path does"),
            ("http://unix:/run/a.sock:/b;", "as no path does"),
            ("http://b/api/;", "as no path does"),
            ("http://unix:/run/a.sock:/b?x", "query"),
            ("http://unix:/run/a.sock:/../b", "dot segment"),
            ("http://b ", "malformed host"),
            ("http://b:80,", "malformed port"),
            ("http://b:80,http://c", "several hosts"),
            ("http://b http://c/", "several hosts"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_path_of_a_socket_has_a_bound() {
        let url = |bytes: usize| format!("http://unix:/{}:/x", "a".repeat(bytes - 1));
        let (target, path) = parse(&url(107)).expect("107 bytes");
        assert_eq!(target.host.socket().map(str::len), Some(107));
        assert_eq!((path.as_str(), target.name().len()), ("/x", 112));
        let error = parse(&url(108)).expect_err("108 bytes");
        assert!(
            error
                .to_string()
                .contains("108 bytes; the system takes 107"),
            "{error}"
        );
    }
}

//! URL of a target: http or https, and nothing in it that would be lost. Messages here do not
//! repeat the value; the caller does, without what may be a secret in it.

use crate::proxy::settings::{Target, TargetHost};

use super::{host, path};
use crate::config::schema::units::digits;

/// Returns a target and its path as written, perhaps empty.
pub(crate) fn parse(text: &str) -> Result<(Target, String), String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(r#"must start with "http://" or "https://""#)?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        "ws" => {
            return Err(r#"must start with "http://"; WebSockets go through it, too"#.to_owned());
        }
        "wss" => {
            return Err(r#"must start with "https://"; WebSockets go through it, too"#.to_owned());
        }
        _ => return Err(r#"must start with "http://" or "https://""#.to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(
            "has a user name or password in it, which would not be sent; remove what is before the \"@\"".to_owned()
        );
    }
    if path.contains('?') {
        return Err("has a query; remove it, the client's own query is passed on".to_owned());
    }
    if path.contains('#') {
        return Err(
            "has a fragment, which is never sent; remove the \"#\" and what follows".to_owned(),
        );
    }
    path::check(path)?;
    let target = target(authority, tls)?;
    Ok((target, path.to_owned()))
}

fn target(authority: &str, tls: bool) -> Result<Target, String> {
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
            port(number).ok_or("has a malformed port; it is a number from 1 to 65535")?
        }
    };
    let authority = if port == standard {
        name.to_owned()
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
        TargetHost::Address(address) => address.to_string(),
    };
    (target.tls, host, target.port)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("http://b ", "malformed host"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

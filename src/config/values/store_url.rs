//! URL of a store: `redis://user:password@host:6379/2`. Messages here have no part of the value,
//! which may be a secret.

use std::borrow::Cow;

use crate::policy::store::session::Account;
use crate::proxy::settings::{Target, TargetHost};

use super::host;
use crate::config::schema::units::digits;
use crate::limits::{STORE_DATABASE_MAX, STORE_SECRET_BYTES_MAX, UNIX_PATH_BYTES_MAX};

/// Port without one in the URL.
const PORT: u16 = 6379;

const START: &str = r#"must start with "redis://", or "rediss://" for TLS"#;
const HOST: &str = r#"has no host that can be asked; write it as in "redis://valkey:6379/2""#;
const SOCKET: &str =
    r#"must name a socket by its whole path, as in "redis://unix:/run/valkey.sock:/2""#;
const DATABASE: &str =
    r#"has more behind the host than the number of a database, as in "redis://valkey:6379/2""#;
const LONG: &str = "has a user or a password of more than 1024 bytes";
const ESCAPE: &str =
    r#"has a "%" without two hexadecimal digits in its user or password; write "%25""#;

/// Returns the server, and user, password and database.
pub(crate) fn parse(text: &str) -> Result<(Target, Account), &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or(START)?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err(START),
    };
    // A password from a variable may have any character.
    let (secrets, server) = match rest.find("@unix:/") {
        Some(at) => rest.split_at(at),
        None => rest.split_at(rest.rfind('@').unwrap_or(0)),
    };
    let server = server.strip_prefix('@').unwrap_or(server);
    let (target, database) = match server.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => socket(path, tls)?,
        _ => tcp(server, tls)?,
    };
    let (user, password) = secrets.split_once(':').unwrap_or((secrets, ""));
    if !user.is_empty() && password.is_empty() {
        return Err("has a user without a password; write it as in \"redis://user:${PW}@host\"");
    }
    let secret = |text: &str| match text {
        "" => Ok(None),
        text if text.len() > STORE_SECRET_BYTES_MAX => Err(LONG),
        text => decoded(text).map(|text| Some(text.into_owned())),
    };
    let account = Account {
        user: secret(user)?,
        password: secret(password)?,
        database,
    };
    Ok((target, account))
}

/// Reads what follows `unix:`, such as `/run/valkey.sock:/2`.
fn socket(rest: &str, tls: bool) -> Result<(Target, u32), &'static str> {
    if tls {
        return Err(
            "asks for TLS over a unix socket, which stays on this machine; write \"redis://unix:..\"",
        );
    }
    let (file, path) = rest.split_once(':').unwrap_or((rest, ""));
    let is_path = file.bytes().all(|byte| byte.is_ascii_graphic()) && !file.ends_with('/');
    if !is_path || file.len() > UNIX_PATH_BYTES_MAX {
        return Err(SOCKET);
    }
    let target = Target {
        host: TargetHost::Unix(format!("unix:{file}")),
        port: 0,
        tls,
        trust: [0; 32],
        authority: "localhost".to_owned(),
    };
    Ok((target, database(path)?))
}

/// Reads a host, perhaps a port, and perhaps the number of a database.
fn tcp(rest: &str, tls: bool) -> Result<(Target, u32), &'static str> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let bracket = authority.find(']').unwrap_or(0);
    let colon = authority.rfind(':').filter(|at| *at > bracket);
    let (name, port) = match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((name, port)) => (name, port.strip_prefix(':')),
        None => (authority, None),
    };
    let host = host::parse(name).map_err(|_| HOST)?;
    let port = match port {
        None => PORT,
        Some(port) => digits(port)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0)
            .ok_or("has a malformed port; it is a number from 1 to 65535")?,
    };
    let target = Target {
        host,
        port,
        tls,
        trust: [0; 32],
        authority: format!("{name}:{port}"),
    };
    Ok((target, database(path)?))
}

/// Reads the path, which is empty or the number of a database.
fn database(path: &str) -> Result<u32, &'static str> {
    let number = path.strip_prefix('/').unwrap_or(path);
    if number.is_empty() {
        return Ok(0);
    }
    digits(number)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number <= STORE_DATABASE_MAX)
        .ok_or(DATABASE)
}

/// Replaces percent-encoded bytes (RFC 3986 2.1).
fn decoded(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !text.contains('%') {
        return Ok(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        let half = |byte: &u8| char::from(*byte).to_digit(16);
        match (first, more) {
            (b'%', [high, low, more @ ..]) => {
                let (high, low) = (half(high).ok_or(ESCAPE)?, half(low).ok_or(ESCAPE)?);
                bytes.push((high << 4 | low) as u8);
                rest = more;
            }
            (b'%', _) => return Err(ESCAPE),
            (byte, _) => bytes.push(*byte),
        }
    }
    let text = String::from_utf8(bytes);
    text.map(Cow::Owned).map_err(|_| ESCAPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let long = "p".repeat(40);
        type Row<'a> = (
            &'a str,
            &'a str,
            bool,
            Option<&'a str>,
            Option<&'a str>,
            u32,
        );
        let rows: &[Row<'_>] = &[
            ("redis://valkey", "valkey:6379", false, None, None, 0),
            ("redis://valkey/", "valkey:6379", false, None, None, 0),
            ("REDISS://a.test:7000/2", "a.test:7000", true, None, None, 2),
            ("valkey://[::1]:1/15", "[::1]:1", false, None, None, 15),
            (
                "redis://:pw@10.0.0.1",
                "10.0.0.1:6379",
                false,
                None,
                Some("pw"),
                0,
            ),
            (
                "rediss://u:p:w@h/1",
                "h:6379",
                true,
                Some("u"),
                Some("p:w"),
                1,
            ),
            (
                "redis://u:a/b@c%40@h",
                "h:6379",
                false,
                Some("u"),
                Some("a/b@c@"),
                0,
            ),
            (
                "redis://unix:/run/v.sock",
                "localhost",
                false,
                None,
                None,
                0,
            ),
            (
                "redis://unix:/run/v.sock:/3",
                "localhost",
                false,
                None,
                None,
                3,
            ),
            (
                "redis://u:p@unix:/run/v@x.sock",
                "localhost",
                false,
                Some("u"),
                Some("p"),
                0,
            ),
            (
                &format!("redis://:{long}@h"),
                "h:6379",
                false,
                None,
                Some(&long),
                0,
            ),
        ];
        for (url, authority, tls, user, password, database) in rows {
            let (target, account) = parse(url).expect(url);
            assert_eq!(
                (target.authority.as_str(), target.tls),
                (*authority, *tls),
                "{url}"
            );
            let found = (account.user.as_deref(), account.password.as_deref());
            assert_eq!(found, (*user, *password), "{url}");
            assert_eq!(account.database, *database, "{url}");
            assert!(!format!("{account:?}").contains('p'), "no secret is shown");
        }
        let (target, _) = parse("redis://u:p@unix:/run/v@x.sock").expect("a socket");
        assert_eq!(target.host.socket(), Some("/run/v@x.sock"));
    }

    #[test]
    fn refused() {
        let long = format!("redis://:{}@h", "p".repeat(1025));
        for (url, message) in [
            ("", "must start with"),
            ("valkey:6379", "must start with"),
            ("http://h", "must start with"),
            ("redis://", "no host"),
            ("redis://:hush@", "no host"),
            ("redis://a b", "no host"),
            ("redis://h:0", "malformed port"),
            ("redis://h:65536", "malformed port"),
            ("redis://h:x", "malformed port"),
            ("redis://h/a", "number of a database"),
            ("redis://h/65536", "number of a database"),
            ("redis://h?db=1", "number of a database"),
            ("redis://user@h", "without a password"),
            ("redis://:hush%@h", "two hexadecimal digits"),
            ("redis://:hush%zz@h", "two hexadecimal digits"),
            ("redis://:hush%ff@h", "two hexadecimal digits"),
            ("rediss://unix:/run/v.sock", "TLS over a unix socket"),
            ("redis://unix:/run/", "whole path"),
            ("redis://unix:/run/v.sock:/x", "number of a database"),
            (&long, "more than 1024 bytes"),
        ] {
            let error = parse(url).expect_err(url);
            assert!(error.contains(message), "{url}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}

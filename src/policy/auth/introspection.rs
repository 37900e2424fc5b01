//! Asking an authorization server about a token (RFC 7662): the form that is sent, and what the answer means.

use super::base64;
use super::grant::{Forwarded, Grant};
use super::json::Json;
use super::key::Secret;
use crate::time::UnixTime;

/// What a server says of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is good, as long as the grant holds.
    Active(Grant),
    /// It is not.
    Inactive,
}

/// The body of a question.
pub fn form(token: &[u8]) -> Vec<u8> {
    let mut form = b"token=".to_vec();
    urlencode(token, &mut form);
    form.extend_from_slice(b"&token_type_hint=access_token");
    form
}

/// The value of our own `Authorization`: id and secret are form-encoded before Basic joins them (RFC 6749 2.3.1).
pub fn client_credentials(id: &str, secret: &str) -> Secret {
    let mut pair = Vec::new();
    urlencode(id.as_bytes(), &mut pair);
    pair.push(b':');
    urlencode(secret.as_bytes(), &mut pair);
    Secret::new(format!("Basic {}", base64::encode(&pair)).into_bytes())
}

/// Reads an answer. `None`: it is none (503), for anything but a 200 with an object in it that says whether the token is active.
pub fn read(status: u16, body: &[u8], forwarded: &[Forwarded], wall: UnixTime) -> Option<Answer> {
    if status != 200 {
        return None;
    }
    let claims = Json::parse(body)?;
    match claims.get("active")? {
        Json::Flag(false) => Some(Answer::Inactive),
        Json::Flag(true) => {
            let grant = Grant::of(&claims, forwarded, 0).filter(|grant| grant.holds_at(wall));
            Some(grant.map_or(Answer::Inactive, Answer::Active))
        }
        _ => None,
    }
}

/// application/x-www-form-urlencoded (RFC 6749 B).
fn urlencode(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    for &byte in bytes {
        match byte {
            b' ' => out.push(b'+'),
            b'*' | b'-' | b'.' | b'_' => out.push(byte),
            _ if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        assert_eq!(form(b"a+b/c="), b"token=a%2Bb%2Fc%3D&token_type_hint=access_token");
        let credentials = client_credentials("my client", "p:w%\u{e9}*-._");
        let expected = format!("Basic {}", base64::encode(b"my+client:p%3Aw%25%C3%A9*-._"));
        assert_eq!(credentials.bytes(), expected.as_bytes());
    }

    #[test]
    fn answers() {
        let wall = UnixTime::from_millis(1_000_000);
        let forwarded = [Forwarded { claim: "sub".to_owned(), header: "X-User".to_owned() }];
        let read = |status, body: &str| read(status, body.as_bytes(), &forwarded, wall);
        let Some(Answer::Active(grant)) = read(200, r#"{"active":true,"sub":"ann","scope":"a b","exp":1001}"#) else {
            panic!("it is active")
        };
        assert_eq!(grant.lines(), b"X-User: ann\r\n");
        assert!(grant.has_scopes(&["b".to_owned()]) && !grant.holds_at(UnixTime::from_millis(1_001_000)));
        for inactive in [
            r#"{"active":false}"#,
            r#"{"active":true,"exp":1000}"#,
            r#"{"active":true,"nbf":1001}"#,
            r#"{"active":true,"exp":"soon"}"#,
        ] {
            assert_eq!(read(200, inactive), Some(Answer::Inactive), "{inactive}");
        }
        for none in [
            "",
            "{}",
            "[]",
            "true",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":true"#,
            r#"{"active":false,"active":true}"#,
        ] {
            assert_eq!(read(200, none), None, "{none}");
        }
        for status in [201, 204, 302, 400, 401, 404, 500] {
            assert_eq!(read(status, r#"{"active":true}"#), None);
        }
    }
}

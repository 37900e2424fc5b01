//! Token introspection at an authorization server (RFC 7662): builds the request form and reads the
//! response.

use super::base64;
use super::grant::{Grant, Leeway, UsedClaim};
use super::json::Json;
use super::key::Secret;
use crate::limits::AUTH_LEEWAY_DEFAULT;
use crate::time::UnixTime;

/// Answer of the authorization server about a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The token is active, as long as the grant is valid.
    Active(Grant),
    /// The token is not active.
    Inactive,
}

/// Builds the body of an introspection request.
pub fn form(token: &[u8]) -> Vec<u8> {
    let mut form = b"token=".to_vec();
    urlencode(token, &mut form);
    form.extend_from_slice(b"&token_type_hint=access_token");
    form
}

/// Builds the value of the gateway's own `Authorization`. Id and secret are form-encoded before
/// Basic joins them (RFC 6749 2.3.1).
pub fn client_credentials(id: &str, secret: &str) -> Secret {
    let mut pair = Vec::new();
    urlencode(id.as_bytes(), &mut pair);
    pair.push(b':');
    urlencode(secret.as_bytes(), &mut pair);
    Secret::new(format!("Basic {}", base64::encode(&pair)).into_bytes())
}

/// Reads a response. Returns `None` if it is not a usable answer (503): its status is not 200, its
/// body is not an object that says if the token is active, or its members are invalid or exceed the
/// memory bound. In these cases the token may still be valid.
///
/// The server has checked `nbf` with its own clock. The gateway's clock may be behind by
/// [`AUTH_LEEWAY_DEFAULT`]. `exp` has no tolerance: a cached answer must not outlive it.
pub fn read(status: u16, body: &[u8], used: &[UsedClaim], wall: UnixTime) -> Option<Answer> {
    if status != 200 {
        return None;
    }
    let claims = Json::parse(body)?;
    match claims.get("active")? {
        Json::Flag(false) => Some(Answer::Inactive),
        Json::Flag(true) => {
            let before = i64::try_from(AUTH_LEEWAY_DEFAULT.as_millis()).unwrap_or(i64::MAX);
            let grant = Grant::from_claims(&claims, used, Leeway { before, after: 0 })?;
            Some(if grant.holds_at(wall) {
                Answer::Active(grant)
            } else {
                Answer::Inactive
            })
        }
        _ => None,
    }
}

/// Encodes as application/x-www-form-urlencoded (RFC 6749 B).
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
        assert_eq!(
            form(b"a+b/c="),
            b"token=a%2Bb%2Fc%3D&token_type_hint=access_token"
        );
        let credentials = client_credentials("my client", "p:w%\u{e9}*-._");
        let expected = format!("Basic {}", base64::encode(b"my+client:p%3Aw%25%C3%A9*-._"));
        assert_eq!(credentials.bytes(), expected.as_bytes());
    }

    /// Reads the grant of an answer that has no claims to forward.
    fn read_grant(answer: &str) -> Grant {
        let claims = Json::parse(answer.as_bytes()).expect("JSON");
        Grant::from_claims(
            &claims,
            &[],
            Leeway {
                before: 5_000,
                after: 0,
            },
        )
        .expect("a grant")
    }

    #[test]
    fn answers() {
        let wall = UnixTime::from_millis(1_000_000);
        let used = [UsedClaim {
            claim: "sub".to_owned(),
            header: Some("X-User".to_owned()),
        }];
        let read = |status, body: &str| read(status, body.as_bytes(), &used, wall);
        let Some(Answer::Active(grant)) = read(
            200,
            r#"{"active":true,"sub":"ann","scope":"a b","exp":1001}"#,
        ) else {
            panic!("it is active")
        };
        assert_eq!(grant.lines(), b"X-User: ann\r\n");
        assert!(
            grant.has_scopes(&["b".to_owned()])
                && !grant.holds_at(UnixTime::from_millis(1_001_000))
        );
        for inactive in [
            r#"{"active":false}"#,
            r#"{"active":false,"nbf":null,"exp":"soon","scope":1}"#,
            r#"{"active":true,"exp":1000}"#,
            r#"{"active":true,"nbf":1006}"#,
        ] {
            assert_eq!(read(200, inactive), Some(Answer::Inactive), "{inactive}");
        }
        let groups = (0..10_000)
            .map(|group| format!("\"g{group}\""))
            .collect::<Vec<_>>()
            .join(",");
        for active in [
            r#"{"active":true}"#,
            r#"{"active":true,"nbf":null,"exp":null,"iat":null,"sub":null,"scope":null,"scp":null,"aud":null}"#,
            r#"{"active":true,"scope":"","aud":[],"sub":""}"#,
            r#"{"active":true,"nbf":1005}"#,
            &format!("{{\"active\":true,\"groups\":[{groups}]}}"),
        ] {
            assert_eq!(
                read(200, active),
                Some(Answer::Active(read_grant(active))),
                "{active:.100}"
            );
        }
        for none in [
            "",
            "{}",
            "[]",
            "true",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"active":true,"exp":"soon"}"#,
            r#"{"active":true,"scope":1}"#,
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

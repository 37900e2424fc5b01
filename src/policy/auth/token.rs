//! Parser for the compact form of a JSON Web Signature (RFC 7515 7.1). Does not verify the
//! signature.

use super::algorithm::Algorithm;
use super::base64::decode_url;
use super::json::Json;
use crate::limits::{AUTH_KEY_ID_BYTES, AUTH_TOKEN_BYTES};

/// Parts of a token. They are untrusted until a key has verified the signature.
#[derive(Clone, PartialEq, Debug)]
pub struct Token<'a> {
    /// Algorithm of the `alg` member.
    pub algorithm: Algorithm,
    /// `kid` of the token; only compared with the ids of known keys.
    pub key_id: Option<String>,
    /// Bytes that the signature covers.
    pub signed: &'a [u8],
    /// Decoded claims.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Parses a token. Returns `None` if it is malformed or not acceptable.
///
/// Only `alg` and `kid` of the header are used. `jwk`, `jku`, `x5u` and `x5c` carry or name a key
/// and are ignored (RFC 8725 3.10). `crit` requires an extension that the gateway does not support
/// (RFC 7515 4.1.11), and `b64` changes the signed bytes (RFC 7797), so both are rejected.
pub fn parse(bytes: &[u8]) -> Option<Token<'_>> {
    if bytes.len() > AUTH_TOKEN_BYTES {
        return None;
    }
    let mut dots = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'.')
        .map(|(at, _)| at);
    let (first, second, None) = (dots.next()?, dots.next()?, dots.next()) else {
        return None;
    };
    let signed = bytes.get(..second)?;
    let header = Json::parse(&decode_url(bytes.get(..first)?)?)?;
    if header.get("crit").is_some() || header.get("b64").is_some() {
        return None;
    }
    let algorithm = Algorithm::named(header.get("alg")?.text()?)?;
    let key_id = match header.get_filled("kid") {
        None => None,
        Some(id) => Some(
            id.text()
                .filter(|id| id.len() <= AUTH_KEY_ID_BYTES)?
                .to_owned(),
        ),
    };
    let payload = decode_url(bytes.get(first.checked_add(1)?..second)?)?;
    let signature = decode_url(bytes.get(second.checked_add(1)?..)?)?;
    Some(Token {
        algorithm,
        key_id,
        signed,
        payload,
        signature,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::base64::encode_url;

    /// RFC 7515 A.1.1
    const VECTOR: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn the_token_of_rfc_7515_a_1() {
        let token = parse(VECTOR.as_bytes()).expect("a token");
        assert_eq!(
            (token.algorithm, token.key_id, token.signature.len()),
            (Algorithm::Hs256, None, 32)
        );
        assert_eq!(
            token.payload,
            b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
        );
        assert_eq!(
            token.signed,
            VECTOR.rsplit_once('.').expect("a dot").0.as_bytes()
        );
    }

    #[test]
    fn a_prefix_of_a_token_has_no_whole_signature() {
        for end in 0..VECTOR.len() {
            assert!(
                parse(&VECTOR.as_bytes()[..end]).is_none_or(|token| token.signature.len() < 32),
                "{end}"
            );
        }
    }

    #[test]
    fn headers_that_no_one_may_accept() {
        let with = |header: &str| format!("{}.e30.AA", encode_url(header.as_bytes()));
        for good in [
            r#"{"alg":"RS256","kid":"a"}"#,
            r#"{"alg":"RS256","kid":null,"typ":null,"x5c":null,"crit":null}"#,
            r#"{"alg":"Ed25519"}"#,
            r#"{"alg":"RS256","jwk":{"kty":"oct","k":"AA"},"jku":"https://evil/","x5u":"https://evil/","x5c":["AA"]}"#,
        ] {
            assert!(parse(with(good).as_bytes()).is_some(), "{good}");
        }
        for bad in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"NONE"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{}"#,
            r#"[]"#,
            r#""#,
            r#"{"alg":"HS256","alg":"RS256"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","b64":false}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256"} x"#,
        ] {
            assert_eq!(parse(with(bad).as_bytes()), None, "{bad}");
        }
        let long = format!(
            r#"{{"alg":"HS256","kid":"{}"}}"#,
            "a".repeat(AUTH_KEY_ID_BYTES + 1)
        );
        assert_eq!(parse(with(&long).as_bytes()), None);
        let header = encode_url(br#"{"alg":"HS256"}"#);
        for bad in [
            "",
            ".",
            "..",
            "...",
            "a.b",
            &header,
            &format!("{header}.e30"),
            &format!("{header}.e30.AA.AA"),
            &format!("{header}.e30=.AA"),
            &format!(" {header}.e30.AA"),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        let huge = format!("{header}.{}.AA", "A".repeat(AUTH_TOKEN_BYTES));
        assert_eq!(parse(huge.as_bytes()), None);
    }
}

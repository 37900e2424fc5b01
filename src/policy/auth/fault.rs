//! Reasons why a credential does not admit a request.

use core::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Reason why a request is not admitted, as far as its credential causes it.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum CredentialFault {
            $($(#[$doc])* $variant,)*
        }

        impl CredentialFault {
            /// All faults.
            pub const ALL: &[CredentialFault] = &[$(CredentialFault::$variant,)*];

            /// Returns the text for the log and for `error_description` (RFC 6750 3: printable
            /// ASCII without `"` and `\`).
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(CredentialFault::$variant => $text,)*
                }
            }
        }
    };
}

/// Statement of a fault about its credential.
enum Nature {
    /// The credential is not authentic.
    Forged,
    /// The credential is an authentic token that is not valid for this service or at this time.
    Unfit,
    /// The credential is missing, or was not verified.
    Other,
}

impl CredentialFault {
    /// Returns what the fault says of its credential.
    const fn nature(self) -> Nature {
        match self {
            CredentialFault::Signature
            | CredentialFault::UnknownKey
            | CredentialFault::Password
            | CredentialFault::ApiKey
            | CredentialFault::Inactive => Nature::Forged,
            CredentialFault::Claims
            | CredentialFault::Issuer
            | CredentialFault::Audience
            | CredentialFault::IssuedLater
            | CredentialFault::NotYet
            | CredentialFault::Expired
            | CredentialFault::NoEnd
            | CredentialFault::Scope => Nature::Unfit,
            CredentialFault::Missing
            | CredentialFault::TokenForm
            | CredentialFault::Algorithm
            | CredentialFault::BasicForm
            | CredentialFault::Denied => Nature::Other,
        }
    }

    /// Returns true if the credential is not authentic.
    pub const fn is_forged(self) -> bool {
        matches!(self.nature(), Nature::Forged)
    }

    /// Returns true if the credential is an authentic token that is not valid for this service or
    /// at this time.
    pub const fn is_unfit(self) -> bool {
        matches!(self.nature(), Nature::Unfit)
    }

    /// Returns true if the fault is permanent, so that the same token need not be verified again.
    pub const fn lasts(self) -> bool {
        self.is_unfit() && !matches!(self, CredentialFault::NotYet | CredentialFault::IssuedLater)
            || matches!(self, CredentialFault::Signature)
    }
}

faults! {
    /// No provider of the service found a credential.
    Missing = "no credential",
    /// The token does not have three base64url parts, or its header is not acceptable (RFC 7515 4,
    /// 7.1).
    TokenForm = "the token is malformed",
    /// The configuration does not allow the token's `alg`.
    Algorithm = "the algorithm of the token is not allowed",
    /// No key matches the token.
    UnknownKey = "the key of the token is unknown",
    /// No key of the provider made the signature.
    Signature = "the signature of the token is wrong",
    /// The claims are not a JSON object, contradict each other, or exceed the memory bound.
    Claims = "the claims of the token are malformed",
    /// The configuration does not accept the token's `iss` (RFC 7519 4.1.1).
    Issuer = "the issuer of the token is not accepted",
    /// The token's `aud` contains none of the configured audiences (RFC 7519 4.1.3).
    Audience = "the token is for another audience",
    /// `iat` is in the future (RFC 7519 4.1.6).
    IssuedLater = "the token was issued in the future",
    /// `nbf` is in the future (RFC 7519 4.1.5).
    NotYet = "the token is not valid yet",
    /// `exp` is in the past (RFC 7519 4.1.4).
    Expired = "the token has expired",
    /// The token has no `exp`.
    NoEnd = "the token has no expiry",
    /// The authorization server reports the token as inactive (RFC 7662 2.2).
    Inactive = "the token is not active",
    /// The token is valid, but lacks a scope that the service requires.
    Scope = "the token lacks a scope",
    /// Basic credentials that are not base64, or have no colon (RFC 7617 2).
    BasicForm = "the Basic credentials are malformed",
    /// The user is unknown or the password is wrong.
    Password = "wrong user or password",
    /// The API key is not one of the provider's.
    ApiKey = "unknown API key",
    /// The forward-auth service denied the request.
    Denied = "denied by the forward-auth service",
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_into_an_error_description() {
        for fault in CredentialFault::ALL {
            let text = fault.as_str();
            assert!(
                text.bytes()
                    .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'),
                "{text}"
            );
        }
    }
}

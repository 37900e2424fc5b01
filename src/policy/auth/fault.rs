//! Why a credential does not let a request in.

use core::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a request is not let in, as far as that lies with what it brought.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum CredentialFault {
            $($(#[$doc])* $variant,)*
        }

        impl CredentialFault {
            /// Every fault.
            pub const ALL: &[CredentialFault] = &[$(CredentialFault::$variant,)*];

            /// Its text, for the log and for `error_description` (RFC 6750 3: printable ASCII without `"` and `\`).
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(CredentialFault::$variant => $text,)*
                }
            }
        }
    };
}

impl CredentialFault {
    /// Whether the credential is not authentic: nobody who may make one has made it.
    pub const fn is_forged(self) -> bool {
        use CredentialFault::{ApiKey, Inactive, Password, Signature, UnknownKey};
        matches!(self, Signature | UnknownKey | Password | ApiKey | Inactive)
    }

    /// Whether it is a token that is authentic, and not good here or now.
    pub const fn is_unfit(self) -> bool {
        use CredentialFault::{
            Audience, Claims, Expired, IssuedLater, Issuer, NoEnd, NotYet, Scope,
        };
        matches!(
            self,
            Claims | Issuer | Audience | IssuedLater | NotYet | Expired | NoEnd | Scope
        )
    }

    /// Whether it stays for some time, so that the same token need not be verified again.
    pub const fn lasts(self) -> bool {
        self.is_unfit() && !matches!(self, CredentialFault::NotYet | CredentialFault::IssuedLater)
            || matches!(self, CredentialFault::Signature)
    }
}

faults! {
    /// No provider of the service found one.
    Missing = "no credential",
    /// Not three parts in base64url, or a header that nobody may accept (RFC 7515 4, 7.1).
    TokenForm = "the token is malformed",
    /// `alg` is not among those of the configuration.
    Algorithm = "the algorithm of the token is not allowed",
    /// No key that it may have been signed with.
    UnknownKey = "the key of the token is unknown",
    /// The key did not make the signature.
    Signature = "the signature of the token is wrong",
    /// The claims are no JSON object, contradict themselves, or need more room than there is.
    Claims = "the claims of the token are malformed",
    /// `iss` is not among those of the configuration (RFC 7519 4.1.1).
    Issuer = "the issuer of the token is not accepted",
    /// `aud` names none of those of the configuration (RFC 7519 4.1.3).
    Audience = "the token is for another audience",
    /// `iat` is in the future (RFC 7519 4.1.6).
    IssuedLater = "the token was issued in the future",
    /// `nbf` is in the future (RFC 7519 4.1.5).
    NotYet = "the token is not valid yet",
    /// `exp` is in the past (RFC 7519 4.1.4).
    Expired = "the token has expired",
    /// There is no `exp`.
    NoEnd = "the token has no expiry",
    /// The authorization server says so (RFC 7662 2.2).
    Inactive = "the token is not active",
    /// The token is good and lacks a scope that the service asks for.
    Scope = "the token lacks a scope",
    /// Basic credentials that are no base64, or have no colon (RFC 7617 2).
    BasicForm = "the Basic credentials are malformed",
    /// The user is unknown, or the password is another one.
    Password = "wrong user or password",
    /// No key of the provider.
    ApiKey = "unknown API key",
    /// The forward endpoint answered in the gateway's place.
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

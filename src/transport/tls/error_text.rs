//! Errors of rustls as text for the operator.

use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

use crate::transport::chain::ChainFault;

/// Names of a certificate that a message lists.
const NAMES: usize = 3;

/// Describes an error of rustls, or the reason why a chain was refused.
pub(super) fn describe_error(error: &Error) -> String {
    let fault = match ChainFault::from_error(error) {
        Some(fault) => Some(fault.to_string()),
        None => in_short(error),
    };
    match fault {
        Some(fault) => format!("invalid peer certificate: {fault}"),
        None => error.to_string(),
    }
}

/// Returns true if the peer's certificate was refused, or one is required and it showed none.
pub(super) fn is_about_certificate(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented
    )
}

/// Describes what rustls says in seconds since 1970 and in names of its types.
fn in_short(error: &Error) -> Option<String> {
    let Error::InvalidCertificate(error) = error else {
        return None;
    };
    Some(match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it ended {} ago", rough(*time, *not_after))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("it begins in {}", rough(*not_before, *time))
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            // Each is written as `DnsName("a.test")`.
            let names = presented.iter().filter_map(|name| name.split('"').nth(1));
            let names = names.take(NAMES).collect::<Vec<_>>().join(", ");
            format!("it is for {names:?}, not for {:?}", expected.to_str())
        }
        _ => return None,
    })
}

/// Returns the time between two moments, in a unit that a reader needs not convert.
fn rough(later: UnixTime, earlier: UnixTime) -> String {
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    match seconds {
        ..3600 => format!("{} minutes", seconds / 60),
        3600..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Advice where the other side alone knows more.
const LOG: &str = "look into the log of the service there";

/// Returns what helps against an alert of an upstream. An alert proves that its port speaks TLS.
fn cure_of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "set tls.cert and tls.key"
        }
        // Servers with TLS 1.2 say this to a client without a certificate (RFC 5246 7.4.6).
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it may ask for a client certificate (tls.cert and tls.key), or have no version or cipher in common with the gateway: its log says which"
        }
        // Some say this to a client without a certificate, others of one that they got.
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            "set tls.cert and tls.key to a certificate that it accepts, with those of its authorities in between: its log says more"
        }
        AlertDescription::CertificateRevoked | AlertDescription::CertificateExpired => {
            "put a new certificate into tls.cert: it is read within 10 s"
        }
        AlertDescription::ProtocolVersion => "have it speak TLS 1.2 or 1.3",
        // RFC 7301 3.2: it took no "http/1.1".
        AlertDescription::NoApplicationProtocol => {
            "have it speak HTTP/1.1, too: it may speak HTTP/2 alone"
        }
        AlertDescription::UnrecognisedName => "set tls.serverName to a name that it has",
        _ => LOG,
    }
}

/// Describes an error of a connection to an upstream. Returns advice for the operator, too; it is
/// empty where the port may speak no TLS at all.
pub(super) fn describe_with_advice(error: &Error) -> (String, &'static str) {
    let (meaning, cure) = match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => (
            "no known authority signed it",
            "set tls.ca (acme.ca) to the one that did",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            "",
            "set tls.serverName to a name that it has, if it is the right server",
        ),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => ("", "the upstream needs a new one"),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => ("", "is the clock of this machine right?"),
        Error::AlertReceived(alert) => ("", cure_of_alert(*alert)),
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            ("", cure_of_alert(AlertDescription::ProtocolVersion))
        }
        // webpki refuses a CA as a server's certificate unless the certificate itself is trusted;
        // `openssl req -x509` makes such a certificate.
        Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            (
                "it is an authority's",
                "put this very certificate into tls.ca, or acme.ca, to trust it here",
            )
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (
            "the upstream does not speak TLS on this port",
            "write http:// in the target if it speaks plain HTTP",
        ),
        Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => (
            "the gateway does not renegotiate TLS 1.2",
            "turn renegotiation off at the upstream",
        ),
        Error::InvalidMessage(_) => ("", ""),
        // Such a server speaks TLS.
        _ => ("", LOG),
    };
    let described = describe_error(error);
    match meaning {
        // What rustls says is clear.
        "" => (described, cure),
        _ => (format!("{described}: {meaning}"), cure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alert_has_a_cure_and_none_doubts_that_the_port_speaks_tls() {
        let cure = |alert| describe_with_advice(&Error::AlertReceived(alert)).1;
        for (alert, expected) in [
            (AlertDescription::CertificateRequired, "set tls.cert"),
            (AlertDescription::NoCertificate, "set tls.cert"),
            (AlertDescription::HandshakeFailure, "a client certificate"),
            (AlertDescription::BadCertificate, "that it accepts"),
            (AlertDescription::UnknownCA, "that it accepts"),
            (AlertDescription::CertificateExpired, "a new certificate"),
            (AlertDescription::CertificateRevoked, "a new certificate"),
            (AlertDescription::ProtocolVersion, "TLS 1.2 or 1.3"),
            (AlertDescription::UnrecognisedName, "tls.serverName"),
            (AlertDescription::NoApplicationProtocol, "HTTP/1.1"),
            (AlertDescription::InternalError, "look into the log"),
        ] {
            assert!(cure(alert).contains(expected), "{alert:?}: {}", cure(alert));
        }
        for alert in (0..=u8::MAX).map(AlertDescription::from) {
            assert!(!cure(alert).is_empty() && !cure(alert).contains("http://"));
        }
    }

    #[test]
    fn only_bytes_that_are_no_tls_leave_the_cure_open() {
        for (error, expected) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "write http://",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "have it speak TLS 1.2 or 1.3",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled),
                LOG,
            ),
            (Error::DecryptError, LOG),
        ] {
            let (_, cure) = describe_with_advice(&error);
            assert!(cure.starts_with(expected), "{error}: {cure}");
        }
        let strange = Error::InvalidMessage(InvalidMessage::MessageTooLarge);
        assert_eq!(describe_with_advice(&strange).1, "");
    }
}

//! Errors of rustls as text for the operator.

use rustls::{CertificateError, Error, InvalidMessage, PeerMisbehaved};

use crate::transport::chain::ChainFault;

/// Describes an error of rustls, or the reason why a chain was refused.
pub(super) fn describe_error(error: &Error) -> String {
    match ChainFault::from_error(error) {
        Some(fault) => format!("invalid peer certificate: {fault}"),
        None => error.to_string(),
    }
}

/// Describes an error of a connection to an upstream, with advice for the operator.
pub(super) fn describe_with_advice(error: &Error) -> String {
    let advice = match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => ": no known authority signed it; set tls.ca to the one that did",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ": it is for another name; set tls.serverName to the one it has",
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => ": it has expired; the upstream needs a new one",
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => ": it is not valid yet; is the clock of this machine right?",
        // webpki refuses a CA as a server's certificate unless the certificate itself is trusted;
        // `openssl req -x509` makes such a certificate.
        Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            ": it is an authority's; put this very certificate into tls.ca to trust it for this upstream"
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => {
            ": the upstream does not speak TLS on this port; write http:// in the target if it speaks plain HTTP"
        }
        Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => {
            ": the gateway does not renegotiate TLS 1.2; turn renegotiation off at the upstream"
        }
        _ => "",
    };
    format!("{}{advice}", describe_error(error))
}

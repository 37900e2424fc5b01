//! Reasons why a request was refused or an exchange failed, for the logs. A client sees only the
//! status, never the reason of a 502.

use core::fmt;

use crate::http::chunked::ChunkError;
use crate::http::error::{RequestError, RequestFault, ResponseError};
use crate::observe::access::Outcome;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::path::PathFault;
use crate::policy::reply::Reply;

/// Bound of what waits until credentials are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Busy {
    /// A password of the same client and user name.
    PasswordOfUser,
    /// [`PASSWORDS_WAITING_PER_CLIENT`](crate::limits::PASSWORDS_WAITING_PER_CLIENT)
    PasswordsOfClient,
    /// [`PASSWORDS_WAITING`](crate::limits::PASSWORDS_WAITING)
    Passwords,
    /// [`SIGNATURES_WAITING_PER_CLIENT`](crate::limits::SIGNATURES_WAITING_PER_CLIENT)
    SignaturesOfClient,
    /// [`SIGNATURES_WAITING`](crate::limits::SIGNATURES_WAITING)
    Signatures,
    /// [`AUTH_LOOKUPS`](crate::limits::AUTH_LOOKUPS), or the gateway's own requests.
    Questions,
    /// The helper thread did not come to the credential within `timeouts.response`.
    Late,
}

impl Busy {
    fn as_str(self) -> &'static str {
        match self {
            Busy::PasswordOfUser => "a password of this client and user name is being checked",
            Busy::PasswordsOfClient => "many passwords of this client are being checked",
            Busy::Passwords => "32 passwords are being checked",
            Busy::SignaturesOfClient => "8 signatures of this client are being checked",
            Busy::Signatures => "64 signatures are being checked",
            Busy::Questions => "too many questions to providers wait for their answers",
            Busy::Late => "the credential was not checked within timeouts.response",
        }
    }
}

/// Reason why a request was refused or an exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The request breaks a protocol rule.
    Request(RequestError),
    /// The upstream's response breaks a protocol rule.
    Response(ResponseError),
    /// The request's credential does not admit it.
    Credential(CredentialFault),
    /// Too many forged credentials came from this client, so the gateway verifies none for it at
    /// present.
    FailureBudget,
    /// No provider could decide about the request.
    ProviderDown,
    /// As much as may wait for a provider, or for a helper thread, waits already.
    Busy(Busy),
    /// The store of a limit is down, and `onFailure` is `closed`.
    StoreDown,
    /// The upstream could read the path differently.
    UnsafePath(PathFault),
    /// The body is longer than `limits.bodyBytes`.
    BodyTooLong,
    /// `limits.connections` are in use.
    ConnectionsFull,
    /// The client has its share of the connections.
    ClientShare,
    /// The head does not fit into any buffer in the form for the upstream.
    HeadOutgrown,
    /// `Via` shows that the request runs in a loop.
    Loop,
    /// The address rules deny this client.
    AddressDenied,
    /// The service wants a client certificate, and the connection has shown none.
    NoCertificate,
    /// The health checks of all targets of the service fail.
    AllTargetsDown,
    /// The service has as many requests in flight as its `limits.inFlight` allows.
    ServiceFull,
    /// All targets of the service have as many requests in flight as `maxInFlight` allows.
    TargetsFull,
    /// The target's name has no address.
    NoAddress,
    /// The client did not send a complete head within `timeouts.head`.
    HeadTimeout,
    /// The client did not send the complete body within `timeouts.body`, or a small body within
    /// `timeouts.head`.
    BodyTimeout,
    /// The client sent its body at less than 1 KB/s.
    BodyTooSlow,
    /// The target's name was not resolved within `timeouts.connect`.
    LookupTimeout,
    /// No connection was established within `timeouts.connect`.
    ConnectTimeout,
    /// No response head came within `timeouts.response`.
    ResponseTimeout,
    /// The gateway's own request got no response in time.
    AnswerTimeout,
    /// The response to the gateway's own request is too long.
    AnswerTooLong,
    /// The upstream sent nothing within `timeouts.idle`.
    UpstreamIdle,
    /// The client neither sent nor received anything in time.
    ClientIdle,
    /// The upstream ended the connection before its response was complete.
    EndedEarly,
    /// Error text of the operating system or of TLS about the connection.
    System(Box<str>),
}

impl Reason {
    /// Returns the text. Only a text of the operating system or of TLS can contain bytes that a
    /// peer influenced.
    pub fn as_str(&self) -> &str {
        match self {
            Reason::System(text) => text,
            other => other.what(),
        }
    }

    /// Returns the text that is the same for all reasons of this kind.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Reason::Request(error) => error.as_str(),
            Reason::Response(error) => error.as_str(),
            Reason::Credential(fault) => fault.as_str(),
            Reason::FailureBudget => {
                "more credentials that are not authentic than authFailures allows"
            }
            Reason::ProviderDown => "no provider can say whether the request is let in",
            Reason::Busy(busy) => busy.as_str(),
            Reason::StoreDown => "the store of the rate limit is down, see onFailure",
            Reason::UnsafePath(fault) => fault.as_str(),
            Reason::BodyTooLong => "body longer than limits.bodyBytes",
            Reason::ConnectionsFull => "limits.connections are in use",
            Reason::ClientShare => {
                "the client has its share of the connections, see limits.connectionsPerClient"
            }
            Reason::HeadOutgrown => "head too large once it is written for the upstream",
            Reason::Loop => "Via shows that the request runs in a circle",
            Reason::AddressDenied => "address denied by allow and deny",
            Reason::NoCertificate => "no client certificate, see clientCertificate",
            Reason::AllTargetsDown => "the checks of all targets fail",
            Reason::ServiceFull => "limits.inFlight requests of the service are in flight",
            Reason::TargetsFull => "all targets have maxInFlight requests in flight",
            Reason::NoAddress => "the target's name has no address",
            Reason::HeadTimeout => "no whole head within timeouts.head",
            Reason::BodyTimeout => "no whole body in time, see timeouts.body and timeouts.head",
            Reason::BodyTooSlow => "body slower than 1 KB/s over 30 s",
            Reason::LookupTimeout => "the target's name was not looked up within timeouts.connect",
            Reason::ConnectTimeout => "no connection within timeouts.connect",
            Reason::ResponseTimeout => "no response within timeouts.response",
            Reason::AnswerTimeout => "no whole answer in time",
            Reason::AnswerTooLong => "answer too long",
            Reason::UpstreamIdle => "the upstream sent nothing within timeouts.idle",
            Reason::ClientIdle => "the client neither sent nor took anything in time",
            Reason::EndedEarly => {
                "the upstream ended the connection before its response was complete"
            }
            Reason::System(_) => "connection",
        }
    }
}

/// Returns the reason of a request that has no [`Reason`] because its outcome and status say it all.
/// Floods of these requests allocate nothing.
pub(super) fn of_outcome(outcome: Outcome, status: Option<u16>) -> Option<&'static str> {
    match (outcome, status) {
        (Outcome::NoRoute, Some(405)) => Some("no service of this route takes the method"),
        (Outcome::NoRoute, _) => Some("no service has a route for this host and path"),
        (Outcome::Maintenance, _) => Some("the service is in maintenance"),
        (Outcome::RateLimited, _) => Some("more requests than rateLimit allows"),
        _ => None,
    }
}

/// Messages to the operator about refused requests of one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// A message at `warn`: the configuration or a target is the cause.
    Warn,
    /// A message at `info`: the client is the cause.
    Info,
    /// No message here: the access log says enough, or another message is the better one.
    Elsewhere,
}

impl Reason {
    /// Returns how the operator is told that a request was refused for this reason.
    pub(super) fn told(&self) -> Told {
        match self {
            Reason::AllTargetsDown
            | Reason::ServiceFull
            | Reason::TargetsFull
            | Reason::Loop
            | Reason::Busy(Busy::Passwords | Busy::Signatures | Busy::Questions | Busy::Late) => {
                Told::Warn
            }
            Reason::ConnectionsFull
            | Reason::ClientShare
            | Reason::ProviderDown
            | Reason::StoreDown => Told::Elsewhere,
            _ => Told::Info,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<RequestError> for Reason {
    fn from(error: RequestError) -> Reason {
        Reason::Request(error)
    }
}

impl From<RequestFault> for Reason {
    fn from(fault: RequestFault) -> Reason {
        Reason::Request(fault.into())
    }
}

impl From<CredentialFault> for Reason {
    fn from(fault: CredentialFault) -> Reason {
        Reason::Credential(fault)
    }
}

impl From<ResponseError> for Reason {
    fn from(error: ResponseError) -> Reason {
        Reason::Response(error)
    }
}

/// Outcome of a failed exchange, and the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
}

impl Failure {
    /// Returns what all failures of its kind have in common.
    pub(super) fn what(&self) -> &'static str {
        let reason = self.reason.as_ref();
        reason.map_or(self.outcome.as_str(), Reason::what)
    }

    /// Returns the gateway's reply instead of a response that fails this way.
    pub(super) fn reply(&self) -> Reply {
        match self.outcome {
            // As where the head is written at once.
            Outcome::OverLimit if self.reason == Some(Reason::HeadOutgrown) => {
                Reply::FieldsTooLarge
            }
            Outcome::UpstreamTimeout | Outcome::ClientTimeout => Reply::GatewayTimeout,
            Outcome::OverLimit => Reply::ServiceUnavailable,
            _ => Reply::BadGateway,
        }
    }

    /// Returns the reply to a request whose body fails this way.
    pub(super) fn refusal(&self) -> Reply {
        match self.outcome {
            Outcome::OverLimit => Reply::PayloadTooLarge,
            Outcome::ClientTimeout => Reply::RequestTimeout,
            _ => Reply::BadRequest,
        }
    }

    pub(super) fn new(outcome: Outcome, reason: Reason) -> Failure {
        Failure {
            outcome,
            reason: Some(reason),
        }
    }

    /// Creates the failure for a request with a malformed chunked body.
    pub(super) fn request_body(error: ChunkError) -> Failure {
        Failure::new(Outcome::BadRequest, RequestFault::Body(error).into())
    }

    /// Creates the failure for a response with a malformed chunked body.
    pub(super) fn response_body(error: ChunkError) -> Failure {
        ResponseError::Body(error).into()
    }

    /// Creates the failure for an upstream connection that ended before its response was complete.
    pub(super) fn ended_early() -> Failure {
        Failure::new(Outcome::UpstreamClosed, Reason::EndedEarly)
    }

    /// Creates the failure for a target whose name has no address.
    pub(super) fn no_address() -> Failure {
        Failure::new(Outcome::UpstreamUnresolved, Reason::NoAddress)
    }
}

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Failure {
        Failure::new(Outcome::UpstreamMalformed, error.into())
    }
}

impl From<Outcome> for Failure {
    fn from(outcome: Outcome) -> Failure {
        Failure {
            outcome,
            reason: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::*;

    /// The texts name the bounds. How many passwords a client may have waiting depends on the others.
    #[test]
    fn what_is_busy_has_the_number_of_its_bound() {
        for (busy, bound) in [
            (Busy::PasswordOfUser, 1),
            (Busy::Passwords, PASSWORDS_WAITING),
            (Busy::SignaturesOfClient, SIGNATURES_WAITING_PER_CLIENT),
            (Busy::Signatures, SIGNATURES_WAITING),
        ] {
            let text = Reason::Busy(busy).to_string().replacen("a ", "1 ", 1);
            assert_eq!(text.split(' ').next(), Some(&*bound.to_string()), "{text}");
        }
    }

    /// The head is written at once, or when the body was gathered: the client gets one status.
    #[test]
    fn a_head_that_grew_too_large_is_a_431() {
        let outgrown = Failure::new(Outcome::OverLimit, Reason::HeadOutgrown);
        assert_eq!(outgrown.reply(), Reply::FieldsTooLarge);
        let full = Failure {
            outcome: Outcome::OverLimit,
            reason: None,
        };
        assert_eq!(full.reply(), Reply::ServiceUnavailable);
    }
}

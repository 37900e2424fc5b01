//! Why a request was refused or an exchange failed, for the logs. A client is told the status, and no reason of a 502.

use core::fmt;

use crate::http::chunked::ChunkError;
use crate::http::error::{RequestError, RequestFault, ResponseError};
use crate::observe::access::Outcome;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::reply::Reply;

/// Why a request was refused or an exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A rule that the request breaks.
    Request(RequestError),
    /// A rule that the upstream's answer breaks.
    Response(ResponseError),
    /// What the request brought does not let it in.
    Credential(CredentialFault),
    /// Too many credentials of this client were not authentic: nothing is verified for it now.
    FailureBudget,
    /// No provider could say whether the request is let in.
    ProviderDown,
    /// The path could mean something else to the upstream.
    UnsafePath,
    /// The body is longer than `limits.bodyBytes`.
    BodyTooLong,
    /// The head outgrows every buffer once it is written for the upstream.
    HeadOutgrown,
    /// `Via` shows that the request runs in a circle.
    Loop,
    /// The address rules of the configuration keep this client out.
    AddressDenied,
    /// The checks of all targets of the service fail.
    AllTargetsDown,
    /// The target's name has no address.
    NoAddress,
    /// The client sent no whole head within `timeouts.head`.
    HeadTimeout,
    /// The client sent no whole body within `timeouts.body`, or a small one within `timeouts.head`.
    BodyTimeout,
    /// The client sent its body more slowly than 1 KB/s.
    BodyTooSlow,
    /// The target's name was not looked up within `timeouts.connect`.
    LookupTimeout,
    /// There was no connection within `timeouts.connect`.
    ConnectTimeout,
    /// There was no response head within `timeouts.response`.
    ResponseTimeout,
    /// A question of the gateway's own was not answered in time.
    AnswerTimeout,
    /// The answer to a question of the gateway's own is longer than what is read of one.
    AnswerTooLong,
    /// The upstream sent nothing within `timeouts.idle`.
    UpstreamIdle,
    /// The client neither sent nor took anything in time.
    ClientIdle,
    /// The upstream ended the connection before its response was complete.
    EndedEarly,
    /// What the system or TLS said of the connection.
    System(Box<str>),
}

impl Reason {
    /// Its text. Only what the system or TLS said can hold what a peer had a say in.
    pub fn as_str(&self) -> &str {
        match self {
            Reason::System(text) => text,
            other => other.what(),
        }
    }

    /// What all reasons of this kind have in common.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Reason::Request(error) => error.as_str(),
            Reason::Response(error) => error.as_str(),
            Reason::Credential(fault) => fault.as_str(),
            Reason::FailureBudget => {
                "more credentials that are not authentic than authFailures allows"
            }
            Reason::ProviderDown => "no provider can say whether the request is let in",
            Reason::UnsafePath => "path that could mean something else to the upstream",
            Reason::BodyTooLong => "body longer than limits.bodyBytes",
            Reason::HeadOutgrown => "head too large once it is written for the upstream",
            Reason::Loop => "Via shows that the request runs in a circle",
            Reason::AddressDenied => "address denied by allow and deny",
            Reason::AllTargetsDown => "the checks of all targets fail",
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

/// How an exchange fails, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
}

impl Failure {
    /// Returns the reply of the gateway's own in place of a response that fails like this.
    pub(super) fn reply(&self) -> Reply {
        match self.outcome {
            Outcome::UpstreamTimeout | Outcome::ClientTimeout => Reply::GatewayTimeout,
            Outcome::OverLimit => Reply::ServiceUnavailable,
            _ => Reply::BadGateway,
        }
    }

    /// Returns the reply to a request whose body fails like this.
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

    /// The request's chunked body breaks a rule.
    pub(super) fn request_body(error: ChunkError) -> Failure {
        Failure::new(Outcome::BadRequest, RequestFault::Body(error).into())
    }

    /// The upstream's chunked body breaks a rule.
    pub(super) fn response_body(error: ChunkError) -> Failure {
        ResponseError::Body(error).into()
    }

    /// The upstream's connection ended before its response was complete.
    pub(super) fn ended_early() -> Failure {
        Failure::new(Outcome::UpstreamClosed, Reason::EndedEarly)
    }

    /// The target's name has no address.
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

//! Descriptions of the gateway's own requests: their content, their requester, and the response.

use core::net::SocketAddr;

use super::super::ids::{LookupId, TargetId};
use super::super::upstream::{CheckedEndpoint, DueCheck};
use crate::http::field::tokens;
use crate::time::Duration;

/// The part that a response is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Requester {
    /// The check of an endpoint.
    Health(CheckedEndpoint),
    /// Authentication.
    Auth(LookupId),
    /// An errand of the loop.
    Errand,
    /// A test.
    #[cfg(test)]
    Test(u8),
}

/// A request of the gateway's own, where it goes, and for how long an answer is waited for.
pub(in crate::proxy) struct SubrequestSpec {
    pub(in crate::proxy) requester: Requester,
    pub(in crate::proxy) target: TargetId,
    /// Address of the target that must be used; `None`: any, in turn.
    pub(in crate::proxy) address: Option<SocketAddr>,
    /// The whole request, head and body. It must be one that may be sent twice.
    pub(in crate::proxy) request: Vec<u8>,
    /// Time from now to the last byte of the answer; connecting included.
    pub(in crate::proxy) within: Duration,
    /// Extent of the response that counts.
    pub(in crate::proxy) expects: Expects,
    /// Time for which the connection may idle in the pool afterwards; `None`: it comes from no pool
    /// and goes to none.
    pub(in crate::proxy) keep: Option<Duration>,
}

/// Extent of a response that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Expects {
    /// The status and the fields: the body is not waited for, and the connection closes.
    Head,
    /// All of it, with a body of at most so many bytes.
    Body(usize),
}

/// A field's name and value, as they came.
pub(in crate::proxy) type OwnedField = (Box<[u8]>, Box<[u8]>);

/// A response to a request of the gateway's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct SubResponse {
    pub(in crate::proxy) status: u16,
    pub(in crate::proxy) fields: Vec<OwnedField>,
    pub(in crate::proxy) body: Vec<u8>,
}

impl From<DueCheck> for SubrequestSpec {
    fn from(due: DueCheck) -> SubrequestSpec {
        SubrequestSpec {
            requester: Requester::Health(due.checked),
            target: due.target,
            address: Some(due.address),
            request: due.request,
            within: due.within,
            expects: Expects::Head,
            keep: None,
        }
    }
}

impl SubResponse {
    /// Returns whether the body is in a content coding, although none was asked for (RFC 9110 8.4).
    /// `identity` is no coding.
    pub(in crate::proxy) fn is_coded(&self) -> bool {
        let codings = self
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"Content-Encoding"));
        let mut codings = codings.flat_map(|(_, value)| tokens(value));
        codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    }
}

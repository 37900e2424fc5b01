//! Names of the engine's values. The types that mark them stand for nothing else, so that a part
//! can name another part's value without importing it.

use crate::slab::Key;

/// Marks the keys of client connections.
pub enum OfClient {}
/// Marks the keys of exchanges.
pub(super) enum OfExchange {}
/// Marks the keys of upstream connections.
pub enum OfUpstream {}
/// Marks the keys of endpoints.
pub(super) enum OfEndpoint {}
/// Marks the keys of subrequests.
pub(super) enum OfSubrequest {}
/// Marks the keys of look-ups of credentials.
pub enum OfLookup {}

/// Names a client connection.
pub type ClientId = Key<OfClient>;
/// Names an exchange: one request and its response.
pub(super) type ExchangeId = Key<OfExchange>;
/// Names an upstream connection.
pub type UpstreamId = Key<OfUpstream>;
/// Names an endpoint: one address of one target.
pub(super) type EndpointId = Key<OfEndpoint>;
/// Names a request of the gateway's own.
pub(super) type SubrequestId = Key<OfSubrequest>;
/// Names a look-up of a credential; the loop answers a `Verify` command with it.
pub type LookupId = Key<OfLookup>;

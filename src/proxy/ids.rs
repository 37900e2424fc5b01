//! Names of the engine's values. The types that mark them stand for nothing else, so that a part
//! can name another part's value without importing it.
//!
//! A name is valid until its value is removed, and stays valid when the rules change: state is
//! never named by a place in the settings.

use crate::observe::metrics::counters::RowKey;
use crate::slab::Key;

/// Marks the keys of client connections.
pub enum OfClient {}
/// Marks the keys of exchanges.
pub(super) enum OfExchange {}
/// Marks the keys of upstream connections.
pub enum OfUpstream {}
/// Marks the keys of targets.
pub enum OfTarget {}
/// Marks the keys of endpoints.
pub(super) enum OfEndpoint {}
/// Marks the keys of services.
pub(super) enum OfService {}
/// Marks the keys of rate tables.
pub(super) enum OfRateTable {}
/// Marks the keys of authentication providers.
pub(super) enum OfProvider {}
/// Marks the keys of stores.
pub(super) enum OfStore {}
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
/// Names a target: one host and port, with its TLS settings.
pub type TargetId = Key<OfTarget>;
/// Names an endpoint: one address of one target.
pub(super) type EndpointId = Key<OfEndpoint>;
/// Names the state of a service.
pub(super) type ServiceId = Key<OfService>;
/// Names a rate table.
pub(super) type RateTableId = Key<OfRateTable>;
/// Names the state of an authentication provider.
pub(super) type ProviderId = Key<OfProvider>;
/// Names the state of a store.
pub(super) type StoreId = Key<OfStore>;
/// Names a request of the gateway's own.
pub(super) type SubrequestId = Key<OfSubrequest>;
/// Names a look-up of a credential; the loop answers a `Verify` command with it.
pub type LookupId = Key<OfLookup>;

/// Returns the row of the counters for a service or a provider.
#[inline(always)]
pub(super) fn row_key<T>(id: Key<T>) -> RowKey {
    (id.index(), id.generation())
}

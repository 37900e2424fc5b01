//! Compiled configuration: one immutable value that all parts share.
//!
//! A request is judged by the rules of the moment, and ends under the rules of its service that it
//! began with: an exchange holds its [`ServiceRules`]. State (connections, health, rate windows,
//! remembered tokens) is stored elsewhere. The rules name it by keys, so that it survives when they
//! are replaced.

use std::rc::Rc;
use std::sync::Arc;

use super::bounds::Bounds;
use super::gateway_headers::{credential_headers, gateway_headers};
use super::header_rules::{HeaderRules, ServiceCors, service_cors};
use super::ids::{ProviderId, RateTableId, ServiceId, TargetId, row_key};
use super::prepared::{Paths, Prepared};
use super::rate_rules::RateState;
use super::settings::{
    ExchangeTimeouts, Gates, Service, ServiceAuth, ServiceRateLimit, Settings, Target,
};
use super::state_keys::StateKeys;
use crate::buffer::total;
use crate::http::head::HeadLimits;
use crate::limits::{EDITIONS_MAX, NAME_BYTES_MAX};
use crate::observe::metrics::counters::Counters;
use crate::policy::addresses::AddressRules;
use crate::policy::admission::AdmissionRules;
use crate::policy::edits::Edits;
use crate::policy::entrance::Routes;
use crate::policy::forward::TrustedProxies;
use crate::policy::of_service::HeaderPolicies;
use crate::policy::rate;
use crate::policy::rate_fields::RateLines;
use crate::policy::rewrite::Rewrite;
use crate::policy::router::Router;
use crate::time::Duration;

/// Upper bound of the copies of one service or target. In use: five, with the loop, in the settings,
/// the rules, their rewrites, and the state. Each edition that requests began with has two, the one
/// whose storage is being given back two, and a configuration that is being read five more.
pub(super) const COPIES_MAX: usize = 5 + 2 * EDITIONS_MAX + 2 + 5;

/// Settings, and the values that are compiled from them.
pub(super) struct Rules {
    /// Settings as checked by `config`, without the services, which are in their rules.
    pub(super) settings: Settings,
    /// The routing tables.
    pub(super) routes: Routes,
    /// Rules of the services, in the order of the settings: the routes table names them by index.
    pub(super) services: Vec<Rc<ServiceRules>>,
    /// Rules that all services share.
    pub(super) common: Rc<CommonRules>,
    /// CORS policies by service; `None` if replies to OPTIONS are the same for all services.
    service_cors: Option<ServiceCors>,
    /// Peers whose `X-Forwarded-*` fields are accepted.
    pub(super) trusted: TrustedProxies,
    /// True if the edits of a response need what only the head of its request says.
    pub(super) notes_requests: bool,
    /// Rules for client addresses.
    pub(super) addresses: AddressRules,
    /// Rules of single services about clients, maintenance and bodies; `None`: there are none.
    gates: Option<Box<Gates>>,
    /// Limits of a request's head.
    pub(super) request_limits: HeadLimits,
    /// Bounds of the engine's memory, in counts and bytes.
    pub(super) bounds: Bounds,
    /// State that these rules use.
    pub(super) state: StateKeys,
}

/// Rules of an exchange that are the same for all services.
pub(super) struct CommonRules {
    /// Number of the edition; [`u64::MAX`] for what is left of one (see [`ServiceRules::remnant`]).
    pub(super) edition: u64,
    /// CORS and security headers of responses without a service.
    pub(super) headers: HeaderRules,
    /// Rate limit fields of requests without a service, and of services without a limit of their
    /// own; `None` if off.
    pub(super) rate_lines: Option<Rc<RateLines>>,
    /// Header edits of responses without a service; `None` if there are none.
    pub(super) edits: Option<Arc<Edits>>,
    /// A client that half-closed its connection still gets the response.
    pub(super) half_close: bool,
    /// Time for a small request body that is read before an upstream connection is opened.
    pub(super) head_timeout: Option<Duration>,
    /// Upper bound of the bytes of such a body.
    pub(super) gathered_bytes: u64,
}

/// Rules of a service, and the names of its state.
pub(super) struct ServiceRules {
    /// Settings of the service.
    pub(super) service: Arc<Service>,
    /// Label of the service in reports.
    pub(super) label: Rc<str>,
    pub(super) id: ServiceId,
    /// Destinations of the requests, in the order of the settings.
    pub(super) destinations: Box<[DestinationRules]>,
    /// CORS and security headers of the responses.
    pub(super) headers: HeaderRules,
    /// Rate limits of the requests.
    pub(super) rate: RateState,
    /// Rate limit fields of the responses; `None` if off.
    pub(super) rate_lines: Option<Rc<RateLines>>,
    /// Providers, in the order of the service.
    pub(super) providers: Rc<[ProviderId]>,
    /// Headers that the upstream gets from the gateway alone.
    pub(super) gateway_headers: Box<[String]>,
    /// Headers of [`dropped`](Self::dropped), and at the end `Authorization`; empty if credentials
    /// are forwarded.
    credential_headers: Box<[String]>,
    /// Upper bound of a request body's bytes; `None` if there is no limit.
    pub(super) body_bytes: Option<u64>,
    /// Rules that all services share.
    pub(super) common: Rc<CommonRules>,
}

/// Destination of a service's requests.
pub(super) struct DestinationRules {
    /// Number of the destination within its service. It is the same in all editions of the rules
    /// that have this destination, and the others never use it while the service exists.
    pub(super) number: usize,
    pub(super) id: TargetId,
    pub(super) target: Rc<Target>,
    pub(super) rewrite: Rewrite,
    /// `X-Forwarded-Prefix` as a whole line; empty if no prefix is stripped.
    pub(super) prefix_line: Box<[u8]>,
}

impl Rules {
    /// Compiles the settings. `bounds`: see `memory`.
    pub(super) fn new(prepared: Prepared, bounds: Bounds, mut state: StateKeys) -> Rules {
        let Prepared {
            mut settings,
            routes,
            gates,
            paths,
        } = prepared;
        let mut paths = paths.into_iter();
        let exposed = settings.cors.is_some();
        // For services whose CORS is on where that of the top level is off, or the reverse.
        let other_lines = rate::lines(&settings.rate_limit, "default", !exposed);
        let common = Rc::new(CommonRules {
            edition: state.edition,
            rate_lines: rate::lines(&settings.rate_limit, "default", exposed),
            headers: HeaderRules::new(settings.cors.as_ref(), settings.security_headers.as_ref()),
            edits: settings.edits.clone(),
            half_close: settings.half_close,
            head_timeout: settings.timeouts.head,
            gathered_bytes: settings.limits.gathered_bytes,
        });
        let notes_requests = notes_requests(&settings);
        let says_consumer = settings.says_consumer();
        // One for all services that ask nobody.
        let no_provider = Rc::<[ProviderId]>::from([]);
        // A copy of thousands of services or targets would hold the event loop up.
        let services = core::mem::take(&mut settings.services).into_iter();
        let keys = core::mem::take(&mut state.services);
        let mut numbers = core::mem::take(&mut state.destinations).into_iter();
        let services = services.zip(keys);
        let services = services.map(|(service, of_service)| {
            let headers = common.headers.of_service(&service);
            let is_exposed = headers.cors.is_some();
            Rc::new(ServiceRules {
                id: of_service.id,
                destinations: destinations(&service, &mut numbers, &state, &mut paths),
                rate: of_service.rate,
                rate_lines: match &service.rate_limit {
                    ServiceRateLimit::Inherited if is_exposed != exposed => other_lines.clone(),
                    ServiceRateLimit::Inherited => common.rate_lines.clone(),
                    ServiceRateLimit::Off => None,
                    ServiceRateLimit::Own(all) => rate::lines(all, &service.route, is_exposed),
                },
                headers,
                providers: providers(&service.auth.providers, &state, &no_provider),
                gateway_headers: gateway_headers(&settings, &service.auth.providers, says_consumer),
                credential_headers: credential_headers(&settings, &service.auth, says_consumer),
                body_bytes: service.body_bytes(settings.limits.body_bytes),
                common: Rc::clone(&common),
                label: of_service.label,
                service,
            })
        });
        let services = services.collect::<Vec<_>>();
        let headers = services.iter();
        let headers = headers.map(|rules| (&*rules.service, &rules.headers));
        Rules {
            service_cors: service_cors(headers),
            services,
            routes,
            gates,
            common,
            notes_requests,
            trusted: TrustedProxies::new(&settings.trusted_proxies),
            addresses: AddressRules::new(&settings.allow, &settings.deny),
            request_limits: head_limits(&settings),
            bounds,
            state,
            settings,
        }
    }
}

impl Rules {
    /// Returns the rules of a service, by its index in the routes table.
    #[inline]
    pub(super) fn service(&self, index: usize) -> Option<Rc<ServiceRules>> {
        self.services.get(index).map(Rc::clone)
    }

    /// Returns the rules that a request is checked against before authentication. `routes`: the
    /// table of its listener.
    #[inline(always)]
    pub(super) fn admission<'r>(&'r self, routes: &'r Router) -> AdmissionRules<'r> {
        AdmissionRules {
            addresses: &self.addresses,
            cors: self.common.headers.cors.as_deref(),
            service_cors: self.service_cors.as_deref(),
            routes,
            body_bytes: self.settings.limits.body_bytes,
            gates: self.gates.as_deref(),
        }
    }

    /// Makes the rows of the counters those of the services and providers.
    pub(super) fn adopt_counters(&self, counters: &mut Counters) {
        let services = self.services.iter().map(|service| row_key(service.id));
        let providers = self.state.providers.iter().map(|id| row_key(*id));
        counters.adopt(services, providers);
    }

    /// Returns the rate table of a service's requests, by its index in the routes table; without
    /// one: of requests without a route. See [`RateState::table`].
    #[inline]
    pub(super) fn rate_table(&self, service: Option<usize>) -> Option<RateTableId> {
        match service {
            Some(index) => self.services.get(index)?.rate.table,
            None => self.state.rate.table,
        }
    }
}

impl ServiceRules {
    /// Returns an upper bound of the bytes of a [`remnant`](Self::remnant).
    pub(super) fn remnant_bytes(settings: &Settings) -> usize {
        let routes = settings.services.iter().map(|service| service.route.len());
        total([
            size_of::<ServiceRules>(),
            size_of::<Service>(),
            size_of::<ExchangeTimeouts>(),
            size_of::<DestinationRules>(),
            size_of::<CommonRules>(),
            routes.max().unwrap_or(0),
            // The label may be one that a reload replaced.
            NAME_BYTES_MAX,
        ])
    }

    /// Returns what an exchange needs whose response head was passed on: timeouts and names, and
    /// the destination that it is at. The rest of its edition may go.
    pub(super) fn remnant(&self, number: usize) -> ServiceRules {
        let destination = self
            .destination(number)
            .map(|destination| DestinationRules {
                number,
                id: destination.id,
                target: Rc::clone(&destination.target),
                rewrite: Rewrite::new("", false),
                prefix_line: Box::default(),
            });
        let service = &self.service;
        ServiceRules {
            // All fields are named, so that a new one is an error here: is it needed, and what does it
            // hold?
            service: Arc::new(Service {
                name: None,
                hosts: Vec::new(),
                methods: Vec::new(),
                conditions: Vec::new(),
                destinations: Vec::new(),
                reply: None,
                gate: None,
                error_pages: None,
                health_check: None,
                sticky: None,
                edits: None,
                auth: ServiceAuth::default(),
                headers: HeaderPolicies::default(),
                route: service.route.clone(),
                access_log: service.access_log,
                entrance: None,
                balance: service.balance,
                passive_health: service.passive_health,
                retries: service.retries,
                in_flight: service.in_flight,
                strip_prefix: service.strip_prefix,
                preserve_host: service.preserve_host,
                keeps_encoded_slashes: service.keeps_encoded_slashes,
                // The request was counted when it was admitted.
                rate_limit: ServiceRateLimit::Off,
                timeouts: Arc::clone(&service.timeouts),
            }),
            label: Rc::clone(&self.label),
            id: self.id,
            destinations: destination.into_iter().collect(),
            rate: RateState::default(),
            headers: HeaderRules::default(),
            rate_lines: None,
            providers: Rc::new([]),
            gateway_headers: Box::default(),
            credential_headers: Box::default(),
            body_bytes: self.body_bytes,
            common: Rc::new(CommonRules {
                edition: u64::MAX,
                headers: HeaderRules::default(),
                rate_lines: None,
                edits: None,
                ..*self.common
            }),
        }
    }

    /// Returns a destination by its number.
    #[inline]
    pub(super) fn destination(&self, number: usize) -> Option<&DestinationRules> {
        // In the first edition the number is the place.
        match self.destinations.get(number) {
            Some(destination) if destination.number == number => Some(destination),
            _ => {
                let mut all = self.destinations.iter();
                all.find(|destination| destination.number == number)
            }
        }
    }

    /// Returns the headers of a client's request that do not go to the upstream.
    /// `by_authorization`: `Authorization` may have let the request in.
    pub(super) fn dropped(&self, by_authorization: bool) -> &[String] {
        match &self.credential_headers[..] {
            [] => &self.gateway_headers,
            headers if by_authorization => headers,
            [headers @ .., _] => headers,
        }
    }
}

fn head_limits(settings: &Settings) -> HeadLimits {
    HeadLimits {
        head_bytes: settings.limits.head_bytes,
        request_line_bytes: settings.limits.request_line_bytes,
        fields: settings.limits.fields,
    }
}

/// Returns true if a response may get header edits that say something about its request.
fn notes_requests(settings: &Settings) -> bool {
    let of_services = settings.services.iter().map(|service| &service.edits);
    let mut all = of_services.chain([&settings.edits]).flatten();
    all.any(|edits| edits.response.needs_request())
}

fn destinations(
    service: &Service,
    numbers: &mut impl Iterator<Item = usize>,
    state: &StateKeys,
    paths: &mut impl Iterator<Item = Paths>,
) -> Box<[DestinationRules]> {
    let mut rules = Vec::with_capacity(service.destinations.len());
    let destinations = service.destinations.iter().zip(paths);
    let destinations = destinations.zip(numbers);
    rules.extend(destinations.filter_map(|((destination, paths), number)| {
        let Paths {
            rewrite,
            prefix_line,
        } = paths;
        Some(DestinationRules {
            number,
            id: *state.targets.get(destination.target)?,
            target: Rc::clone(state.target_values.get(destination.target)?),
            rewrite,
            prefix_line,
        })
    }));
    rules.into_boxed_slice()
}

/// Returns the providers of a service. `none`: the list of a service that asks nobody.
fn providers(indices: &[usize], state: &StateKeys, none: &Rc<[ProviderId]>) -> Rc<[ProviderId]> {
    if indices.is_empty() {
        return Rc::clone(none);
    }
    indices
        .iter()
        .filter_map(|&index| state.providers.get(index).copied())
        .collect()
}

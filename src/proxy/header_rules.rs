//! Rules for the headers that the gateway adds to responses.

use std::rc::Rc;

use super::settings::Service;
use crate::policy::cors::{Cors, CorsPolicy};
use crate::policy::security::{SecurityBlock, SecurityHeaders};

/// CORS policy of each service, by its index in the routes table; `None` if off.
pub(super) type ServiceCors = Box<[Option<Rc<Cors>>]>;

/// CORS policy and security headers of responses. Services that inherit them share them.
#[derive(Clone, Default)]
pub(super) struct HeaderRules {
    /// CORS policy; `None` if off.
    pub(super) cors: Option<Rc<Cors>>,
    /// Security headers; `None` if off.
    pub(super) security: Option<Rc<SecurityBlock>>,
}

impl HeaderRules {
    /// Compiles the settings.
    pub(super) fn new(
        cors: Option<&CorsPolicy>,
        security: Option<&SecurityHeaders>,
    ) -> HeaderRules {
        HeaderRules {
            cors: cors.map(|policy| Rc::new(Cors::new(policy))),
            security: security.map(|headers| Rc::new(SecurityBlock::new(headers))),
        }
    }

    /// Returns the rules of a service, given those of the top level.
    pub(super) fn of_service(&self, service: &Service) -> HeaderRules {
        let own = HeaderRules::new(
            service.headers.cors.if_own(),
            service.headers.security_headers.if_own(),
        );
        HeaderRules {
            cors: match service.headers.cors.is_inherited() {
                true => self.cors.clone(),
                false => own.cors,
            },
            security: match service.headers.security_headers.is_inherited() {
                true => self.security.clone(),
                false => own.security,
            },
        }
    }
}

/// Returns the CORS policies of the services, given with their rules; `None` if replies to OPTIONS
/// are the same for all services.
pub(super) fn service_cors<'a>(
    services: impl Iterator<Item = (&'a Service, &'a HeaderRules)> + Clone,
) -> Option<ServiceCors> {
    let is_own = |(service, _): (&Service, _)| {
        !service.headers.cors.is_inherited() || service.edits.is_some()
    };
    let has_own = services.clone().any(is_own);
    has_own.then(|| services.map(|(_, headers)| headers.cors.clone()).collect())
}

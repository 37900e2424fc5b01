//! `cors` and `securityHeaders` of a service.

use super::Defaults;
use crate::config::keys::{cors, security_headers};
use crate::config::syntax::located::Object;
use crate::config::syntax::report::Report;
use crate::policy::of_service::HeaderPolicies;

/// Reads the policies for the headers of responses.
pub(super) fn compile(
    service: &Object<'_>,
    defaults: &Defaults<'_>,
    report: &mut Report<'_>,
) -> HeaderPolicies {
    let headers = service.get("securityHeaders");
    HeaderPolicies {
        cors: cors::service(service.get("cors"), report),
        security_headers: security_headers::service(headers, defaults.security_headers, report),
    }
}

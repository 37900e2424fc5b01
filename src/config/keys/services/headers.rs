//! `cors`, `securityHeaders`, `rewriteLocation` and `rewriteCookiePath` of a service.

use super::Defaults;
use crate::config::keys::{cors, security_headers};
use crate::config::syntax::located::Object;
use crate::config::syntax::report::Report;
use crate::policy::of_service::HeaderPolicies;
use crate::policy::own_url::Rewrites;
use crate::policy::security::SecurityHeaders;

/// Policies of the top level.
pub(crate) struct TopHeaders<'d> {
    /// `securityHeaders`; `None`: off.
    security: Option<&'d SecurityHeaders>,
    rewrites: Rewrites,
}

impl<'d> TopHeaders<'d> {
    /// Reads the policies of the top level that are not given.
    pub(crate) fn of_top(
        top: &Object<'_>,
        security: Option<&'d SecurityHeaders>,
        report: &mut Report<'_>,
    ) -> TopHeaders<'d> {
        TopHeaders {
            security,
            rewrites: Rewrites {
                location: top.flag("rewriteLocation", report),
                cookie_path: top.flag("rewriteCookiePath", report),
            },
        }
    }
}

/// Reads the policies for the headers of responses.
pub(super) fn compile(
    service: &Object<'_>,
    defaults: &Defaults<'_>,
    report: &mut Report<'_>,
) -> HeaderPolicies {
    let headers = service.get("securityHeaders");
    let TopHeaders { security, rewrites } = &defaults.headers;
    let mut flag = |name: &str, top: bool| {
        let own = service.get(name).and_then(|place| place.flag(report));
        own.unwrap_or(top)
    };
    let rewrites = Rewrites {
        location: flag("rewriteLocation", rewrites.location),
        cookie_path: flag("rewriteCookiePath", rewrites.cookie_path),
    };
    HeaderPolicies {
        rewrites,
        cors: cors::service(service.get("cors"), report),
        security_headers: security_headers::service(headers, *security, report),
    }
}

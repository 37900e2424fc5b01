//! `sticky`: a cookie that keeps a client at one address. That of the top level is the default of
//! all services with targets; each of them has a cookie of its own, because its path is the route.

use crate::limits::{STICKY_KEY_BYTES_MIN, STICKY_NAME_BYTES_MAX};
use crate::policy::auth::sticky_key::StickyKey;
use crate::policy::route::RoutePath;
use crate::policy::sticky::StickyCookie;
use crate::proxy::settings::Sticky;
use crate::time::Duration;

use crate::config::schema::Fallback;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::header_name::is_token;
use crate::config::values::scalars;

/// Value of `sticky`, for a service whose route is not known.
#[derive(Clone)]
pub(crate) struct Session {
    cookie: String,
    ttl: Option<Duration>,
    key: StickyKey,
}

/// Reads `sticky` of the top level; `None`: off, or an error.
pub(crate) fn of_top(top: &Object<'_>, report: &mut Report<'_>) -> Option<Session> {
    let place = top.get("sticky");
    place.and_then(|place| session(place, report))
}

/// Reads `sticky`; `None`: off, or an error.
fn session(place: &Located<'_>, report: &mut Report<'_>) -> Option<Session> {
    if place.is_false() {
        return None;
    }
    let object = place.object(report)?;
    let cookie = match (object.get("cookie"), object.default("cookie")) {
        (Some(place), _) => name(place, report),
        (None, Fallback::Json(text)) => Some(text.trim_matches('"').to_owned()),
        (None, _) => None,
    };
    let ttl = object.get("ttl").filter(|place| !place.is_null());
    let ttl = ttl.and_then(|place| scalars::duration(place, report));
    let secret = object.get("key");
    let secret = secret.and_then(|place| Some((place, place.secret_text(report)?)));
    if let Some((place, text)) = secret
        && text.len() < STICKY_KEY_BYTES_MIN
    {
        let message = format!("is shorter than {STICKY_KEY_BYTES_MIN} bytes");
        place.fail_bare(report, message);
    }
    Some(Session {
        cookie: cookie?,
        ttl,
        key: StickyKey::new(secret.map(|(_, text)| text)),
    })
}

/// Reads `sticky` of a service with this route, which replaces that of the top level.
pub(super) fn of_service(
    (place, service): (&Located<'_>, &Object<'_>),
    top: Option<&Session>,
    route: Option<&str>,
    report: &mut Report<'_>,
) -> Option<Box<Sticky>> {
    let own = service.get("sticky");
    let session = match own {
        Some(own) => session(own, report),
        None => top.cloned(),
    };
    let Session { cookie, ttl, key } = session?;
    let route = route.map_or("/", |route| RoutePath::of(route).path);
    if route.contains(';') {
        let fault = "needs a route without \";\", which no path of a cookie can have";
        match own {
            Some(own) => own.fail_bare(report, fault),
            None => place.fail_bare(
                report,
                format!("inherits \"sticky\", which {fault}; add \"sticky\": false"),
            ),
        }
    }
    Some(Box::new(Sticky {
        cookie: StickyCookie::new(&cookie, route, ttl),
        key,
    }))
}

/// Reads the name of the cookie. Browsers ask more of names that begin with `__`.
fn name(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report)?;
    if !is_token(text) || text.starts_with("__") || text.len() > STICKY_NAME_BYTES_MAX {
        place.fail(
            report,
            format!(
                "is no name for this cookie: it has 1 to {STICKY_NAME_BYTES_MAX} letters, digits or \"-_.\", and does not begin with \"__\""
            ),
        );
        return None;
    }
    Some(text.to_owned())
}

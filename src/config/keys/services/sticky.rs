//! `sticky`: a cookie that keeps a client at one address.

use crate::limits::{STICKY_KEY_BYTES_MIN, STICKY_NAME_BYTES_MAX};
use crate::policy::auth::sticky_key::StickyKey;
use crate::policy::sticky::StickyCookie;
use crate::proxy::settings::Sticky;

use crate::config::schema::Fallback;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::values::header_name::is_token;
use crate::config::values::scalars;

/// Reads `sticky` of a service with this route; `None`: the route has an error.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    route: Option<&str>,
    report: &mut Report<'_>,
) -> Option<Box<Sticky>> {
    let place = place.filter(|place| !place.is_false())?;
    let object = place.object(report)?;
    let name = match (object.get("cookie"), object.default("cookie")) {
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
    let route = route.unwrap_or("/");
    if route.contains(';') {
        place.fail_bare(
            report,
            "needs a route without \";\", which no path of a cookie can have",
        );
    }
    Some(Box::new(Sticky {
        cookie: StickyCookie::new(&name?, route, ttl),
        key: StickyKey::new(secret.map(|(_, text)| text)),
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

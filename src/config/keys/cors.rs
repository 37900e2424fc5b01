//! `cors`: origins, methods and headers that browsers may use.

use crate::policy::cors::CorsPolicy;
use crate::policy::of_service::OfService;
use crate::time::Duration;

use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::config::values::header_name::is_token;
use crate::config::values::scalars;

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"];

/// Reads `cors`; `None`: off.
pub(crate) fn compile(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<CorsPolicy> {
    let mut policy = CorsPolicy {
        origins: None,
        methods: METHODS.map(str::to_owned).to_vec(),
        headers: None,
        expose_headers: Vec::new(),
        credentials: false,
        max_age: None,
        forward_options: false,
    };
    let Some(place) = place else {
        return Some(policy);
    };
    match place.flag_value() {
        Some(false) => return None,
        Some(true) => return Some(policy),
        None => {}
    }
    let Some(object) = place.object(report) else {
        return Some(policy);
    };
    if let Some(place) = object.get("origins") {
        policy.origins = origins(place, report);
    }
    if let Some(place) = object.get("methods") {
        policy.methods = tokens(place, "method", report);
        if matches!(&place.node.value, Value::List(items) if items.is_empty()) {
            place.fail(
                report,
                r#"is empty; name at least one method, or leave "methods" out"#,
            );
        }
    }
    policy.headers = object
        .get("headers")
        .and_then(|place| allowed_headers(place, report));
    if let Some(place) = object.get("exposeHeaders") {
        policy.expose_headers = tokens(place, "header", report);
    }
    policy.credentials = credentials(&object, report);
    if let Some(place) = object.get("maxAge").filter(|place| !place.is_null()) {
        policy.max_age = max_age(place, report);
    }
    policy.forward_options = object.flag("forwardOptions", report);
    Some(policy)
}

/// Reads the `cors` of a service, which replaces that of the top level.
pub(crate) fn service(
    place: Option<&Located<'_>>,
    report: &mut Report<'_>,
) -> OfService<CorsPolicy> {
    match place {
        None => OfService::Inherited,
        Some(_) => OfService::own(compile(place, report)),
    }
}

/// Reads the origins; `None`: any.
fn origins(place: &Located<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let items = place.list(report)?;
    if items.is_empty() {
        place.fail(
            report,
            r#"is empty; name the origins, or write "cors": false to turn CORS off"#,
        );
    }
    if items.len() == 1 && items.iter().any(is_star) {
        return None;
    }
    let origin = |item: &Located<'_>| {
        let text = item.text(report)?;
        match origin_fault(text) {
            None => Some(text.to_owned()),
            Some(message) => {
                item.fail(report, message);
                None
            }
        }
    };
    Some(items.iter().filter_map(origin).collect())
}

fn is_star(place: &Located<'_>) -> bool {
    matches!(&place.node.value, Value::Text(text) if text == "*")
}

/// Returns the fault of an origin. Origins are compared byte for byte with what browsers send
/// (RFC 6454 6.2): lower case, no path.
fn origin_fault(text: &str) -> Option<String> {
    if text == "*" {
        return Some(r#"means any origin and stands alone; write ["*"], or remove it"#.to_owned());
    }
    if text == "null" {
        return None;
    }
    let Some((scheme, host)) = text
        .split_once("://")
        .filter(|(scheme, host)| !scheme.is_empty() && !host.is_empty())
    else {
        return Some(r#"must be an origin such as "https://app.example""#.to_owned());
    };
    if host.contains(['/', '?', '#']) {
        let end = host.find(['/', '?', '#']).unwrap_or(host.len());
        let bare = host.get(..end).unwrap_or_default();
        return Some(format!(
            "has a path, which no origin has; write {:?}",
            format!("{scheme}://{bare}")
        ));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(format!(
            "has upper case, which browsers do not send; write {:?}",
            text.to_ascii_lowercase()
        ));
    }
    let (wildcard, host) = match host.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", host),
    };
    if let Some(fault) = wildcard_fault(wildcard, host) {
        return Some(fault.to_owned());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._:[]".contains(&byte);
    if !scheme.bytes().chain(host.bytes()).all(plain) {
        return Some(
            "has a character that no origin has; write it as the browser sends it".to_owned(),
        );
    }
    let standard = match scheme {
        "http" => host.strip_suffix(":80"),
        "https" => host.strip_suffix(":443"),
        _ => None,
    };
    standard.map(|host| {
        format!(
            "has the standard port, which browsers leave out; write {:?}",
            format!("{scheme}://{wildcard}{host}")
        )
    })
}

/// Returns the fault of a wildcard, or of what stands behind it.
fn wildcard_fault(wildcard: &str, host: &str) -> Option<&'static str> {
    if host.contains('*') {
        return Some(
            "has a \"*\" that is not the whole first label of the host; write \"https://*.example.com\"",
        );
    }
    let (name, _) = host.split_once(':').unwrap_or((host, ""));
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name =
        !name.split('.').any(str::is_empty) && !last.bytes().all(|byte| byte.is_ascii_digit());
    (!wildcard.is_empty() && !is_name)
        .then_some("has no domain behind \"*.\"; write one such as \"https://*.example.com\"")
}

fn tokens(place: &Located<'_>, what: &str, report: &mut Report<'_>) -> Vec<String> {
    let items = place.list(report).unwrap_or_default();
    let token = |item: &Located<'_>| {
        let text = item.text(report)?;
        if !is_token(text) {
            item.fail(
                report,
                format!("is no {what} name; letters, digits and \"-\" are allowed"),
            );
            return None;
        }
        Some(text.to_owned())
    };
    items.iter().filter_map(token).collect()
}

/// Reads the allowed headers; `None`: those that the preflight asks for.
fn allowed_headers(place: &Located<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    match &place.node.value {
        Value::Text(text) if text == "reflect" => None,
        Value::List(_) => Some(tokens(place, "header", report)),
        Value::Text(_) => {
            place.fail(
                report,
                Fault::uncured(format!("must be {}", place.kind.expected())),
            );
            None
        }
        _ => {
            place.mismatch(report);
            None
        }
    }
}

/// Reads `credentials`. Browsers refuse credentials together with `*` (Fetch standard, CORS check).
fn credentials(object: &Object<'_>, report: &mut Report<'_>) -> bool {
    let Some(place) = object.get("credentials") else {
        return false;
    };
    let wanted = place.flag(report).unwrap_or(false);
    let any = match object.get("origins").map(|origins| &origins.node.value) {
        None => true,
        Some(Value::List(items)) => items
            .iter()
            .any(|item| matches!(&item.value, Value::Text(text) if text == "*")),
        Some(_) => false,
    };
    if wanted && any {
        place.fail(
            report,
            r#"must be false where any origin ("*") is allowed, which browsers refuse; name the origins in "origins""#,
        );
    }
    wanted
}

/// Reads `maxAge`. The header counts seconds; 0 forbids caching.
fn max_age(place: &Located<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let age = scalars::duration(place, report)?;
    let millis = age.as_millis();
    if !millis.is_multiple_of(1000) {
        place.fail(
            report,
            format!("is {millis} ms, but browsers count whole seconds; write \"{millis}s\" if you meant seconds"),
        );
        return None;
    }
    Some(age)
}

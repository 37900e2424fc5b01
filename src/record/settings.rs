//! The part of the configuration that a replay needs, as JSON.

use core::fmt::Write;

use crate::config::shown::service::strategy;
use crate::proxy::settings::{BodyLimit, FixedReply, Service, Settings};
use crate::time::Duration;

/// Returns a configuration with these settings, in one line.
pub(super) fn json(settings: &Settings) -> String {
    let (limits, timeouts) = (&settings.limits, &settings.timeouts);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{{\"accessLog\":\"json\",\"requestId\":false,\"rateLimit\":false,\"cors\":false,\"securityHeaders\":false,\
         \"halfClose\":{},\"limits\":{{\"headBytes\":{},\"requestLine\":{},\"headers\":{}",
        settings.half_close, limits.head_bytes, limits.request_line_bytes, limits.fields,
    );
    if let Some(bytes) = limits.body_bytes {
        let _ = write!(out, ",\"bodyBytes\":{bytes}");
    }
    let _ = write!(
        out,
        "}},\"timeouts\":{{\"head\":{},\"keepAlive\":{}}},\"services\":[",
        span(timeouts.head),
        span(timeouts.keep_alive),
    );
    for (place, service) in settings.services.iter().enumerate() {
        out.push_str(if place > 0 { "," } else { "" });
        write_service(service, settings, &mut out);
    }
    out.push_str("]}");
    out
}

fn write_service(service: &Service, settings: &Settings, out: &mut String) {
    if let Some(reply) = &service.reply {
        let _ = write!(out, "{{\"route\":{:?},", service.route);
        write_reply(reply, out);
        return;
    }
    let _ = write!(
        out,
        "{{\"route\":{:?},\"retries\":{},\"balance\":{:?},\"stripPrefix\":{},\"preserveHost\":{},\
         \"encodedSlashes\":{},\"targets\":[",
        service.route,
        service.retries,
        strategy(service.balance),
        service.strip_prefix,
        service.preserve_host,
        if service.keeps_encoded_slashes {
            "\"keep\""
        } else {
            "\"reject\""
        },
    );
    for (place, destination) in service.destinations.iter().enumerate() {
        let Some(target) = settings.targets.get(destination.target) else {
            continue;
        };
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(
            out,
            "{comma}{{\"url\":\"{}{}\",\"weight\":{},\"backup\":{}}}",
            target.origin(),
            destination.path,
            destination.role.weight,
            destination.role.backup
        );
    }
    out.push(']');
    write_body_limit(service, out);
    out.push_str(",\"timeouts\":{");
    for (place, (name, time)) in service.timeouts.by_key().into_iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\"{name}\":{}", span(time));
    }
    out.push_str("}}");
}

fn write_body_limit(service: &Service, out: &mut String) {
    match service.gate.as_ref().map(|gate| gate.body) {
        Some(BodyLimit::Own(bytes)) => {
            let _ = write!(out, ",\"limits\":{{\"bodyBytes\":{bytes}}}");
        }
        Some(BodyLimit::Off) => out.push_str(",\"limits\":{\"bodyBytes\":false}"),
        Some(BodyLimit::Inherited) | None => {}
    }
}

/// Writes a reply that stands in place of targets. A body is no input of a request that failed.
fn write_reply(reply: &FixedReply, out: &mut String) {
    let _ = match reply {
        FixedReply::Redirect(redirect) => write!(
            out,
            "\"redirect\":{{\"to\":{:?},\"status\":{},\"keepPath\":{}}}}}",
            redirect.to(),
            redirect.status,
            redirect.keeps_path
        ),
        FixedReply::Respond(respond) => {
            write!(out, "\"respond\":{{\"status\":{}}}}}", respond.status)
        }
    };
}

fn span(time: Option<Duration>) -> String {
    time.map_or("false".to_owned(), |time| {
        format!("\"{}ms\"", time.as_millis())
    })
}

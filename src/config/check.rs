//! What `tollgate check` shows: where requests go, and the limits they meet.

use super::{Config, ListenAddress};
use crate::policy::rewrite::Rewrite;
use crate::proxy::settings::{Service, ServiceRateLimit};

/// The table of routes, the listeners and the main limits, for people.
pub fn describe(config: &Config) -> String {
    let rows: Vec<[String; 2]> =
        config.settings.services.iter().flat_map(|service| examples(config, service)).collect();
    let width = rows.iter().map(|[path, _]| path.len()).max().unwrap_or(0);
    let mut text = String::new();
    for [path, upstream] in rows {
        text.push_str(&format!("{path:width$}  ->  {upstream}\n"));
    }
    let listeners = config.listeners.iter().map(|listener| match listener {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    });
    text.push_str(&format!("\nlisten       {}\n", listeners.collect::<Vec<_>>().join(", ")));
    text.push_str(&format!("rate limit   {}\n", rate_limit(config)));
    let limits = &config.settings.limits;
    text.push_str(&format!(
        "limits       {} connections, heads of {} bytes and {} fields, bodies of {}\n",
        limits.connections,
        limits.head_bytes,
        limits.fields,
        limits.body_bytes.map_or("any size".to_owned(), |bytes| format!("{bytes} bytes")),
    ));
    text
}

/// What the route itself and a path below it become upstream.
fn examples(config: &Config, service: &Service) -> Vec<[String; 2]> {
    let Some(target) = config.settings.targets.get(service.target) else { return Vec::new() };
    let scheme = if target.tls { "https" } else { "http" };
    let rewrite = Rewrite::new(&service.target_path, service.strip_prefix);
    let stem = service.route.strip_suffix('/').unwrap_or(&service.route);
    [service.route.clone(), format!("{stem}/x")]
        .into_iter()
        .map(|path| {
            let upstream = rewrite.parts(path.as_bytes(), stem.len()).concat();
            let upstream = String::from_utf8_lossy(&upstream).into_owned();
            [path, format!("{scheme}://{}{upstream}", target.authority)]
        })
        .collect()
}

fn rate_limit(config: &Config) -> String {
    let top = match &config.settings.rate_limit {
        Some(limit) => {
            format!("{} requests in {} s for each client", limit.requests, limit.window.as_millis() as f64 / 1000.0)
        }
        None => "off".to_owned(),
    };
    let own =
        config.settings.services.iter().filter(|service| service.rate_limit != ServiceRateLimit::Inherited).count();
    match own {
        0 => top,
        own => format!("{top}; {own} of the services have their own"),
    }
}

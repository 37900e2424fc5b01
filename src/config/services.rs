//! The routes table: services and the targets they share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::UpstreamTls;
use super::compile::{Compiler, Object, join};
use super::document::{Node, Value};
use crate::policy::path;
use crate::policy::rate::RateLimit;
use crate::proxy::settings::{ExchangeTimeouts, Service, ServiceRateLimit, Target, TargetHost};
use crate::transport::identity::certificates_from_pem;

const KEYS: [&str; 7] = ["route", "target", "stripPrefix", "preserveHost", "tls", "rateLimit", "timeouts"];

/// What the list of services comes to.
pub(super) struct Services {
    pub(super) services: Vec<Service>,
    pub(super) targets: Vec<Target>,
    pub(super) tls: Vec<Option<UpstreamTls>>,
}

/// A target's URL in its parts.
struct Url {
    target: Target,
    path: String,
}

impl Compiler<'_> {
    pub(super) fn services(
        &mut self,
        node: &Node,
        path: &str,
        rate_limit: Option<&RateLimit>,
        timeouts: &ExchangeTimeouts,
    ) -> Option<Services> {
        let rows = self.list(node, path)?;
        if rows.is_empty() {
            self.fault(node.at, path, "is empty: without a service the gateway has nothing to do");
        }
        let mut all = Services { services: Vec::new(), targets: Vec::new(), tls: Vec::new() };
        let mut routes: Vec<String> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(object) = self.object(row, &path, &KEYS) else { continue };
            let route = self.route(&object, &path, &mut routes);
            let target = self.target(&object, &path, &mut all);
            let service = self.service(&object, &path, rate_limit, timeouts);
            if let (Some(route), Some((target, target_path)), Some(service)) = (route, target, service) {
                all.services.push(Service { route, target, target_path, ..service });
            }
        }
        Some(all)
    }

    /// What has a default. Route and target are filled in by the caller.
    fn service(
        &mut self,
        object: &Object<'_>,
        path: &str,
        rate_limit: Option<&RateLimit>,
        timeouts: &ExchangeTimeouts,
    ) -> Option<Service> {
        let mut flag = |name: &str, default: bool| match object.get(name) {
            Some(node) => self.boolean(node, &join(path, name)),
            None => Some(default),
        };
        let (strip_prefix, preserve_host) = (flag("stripPrefix", true), flag("preserveHost", false));
        let own_limit = match object.get("rateLimit") {
            None => Some(ServiceRateLimit::Inherited),
            Some(Node { value: Value::Bool(true), .. }) => Some(ServiceRateLimit::Inherited),
            Some(Node { value: Value::Bool(false), .. }) => Some(ServiceRateLimit::Off),
            Some(node) => self.rate_limit(node, &join(path, "rateLimit"), rate_limit).map(ServiceRateLimit::Own),
        };
        Some(Service {
            route: String::new(),
            target_path: String::new(),
            target: 0,
            strip_prefix: strip_prefix?,
            preserve_host: preserve_host?,
            rate_limit: own_limit?,
            timeouts: self.service_timeouts(object, path, timeouts),
        })
    }

    fn service_timeouts(&mut self, object: &Object<'_>, path: &str, top: &ExchangeTimeouts) -> ExchangeTimeouts {
        let mut timeouts = *top;
        let path = join(path, "timeouts");
        let known = ["connect", "response", "idle", "upstreamKeepAlive", "tunnel", "head", "keepAlive", "shutdown"];
        let Some(object) = object.get("timeouts").and_then(|node| self.object(node, &path, &known)) else {
            return timeouts;
        };
        for name in ["head", "keepAlive", "shutdown"] {
            if let Some(node) = object.get(name) {
                self.fault(node.at, &join(&path, name), "holds before a service is known; set it at the top level");
            }
        }
        self.exchange_timeouts(&object, &path, &mut timeouts);
        timeouts
    }

    fn route(&mut self, object: &Object<'_>, path: &str, routes: &mut Vec<String>) -> Option<String> {
        let path = join(path, "route");
        let Some(node) = object.get("route") else {
            self.fault(object.at, &path, "is missing: the path prefix, such as \"/users\"");
            return None;
        };
        let written = self.string(node, &path)?;
        if let Some(wrong) = wrong_route(&written) {
            self.fault(node.at, &path, wrong);
            return None;
        }
        let route = match written.strip_suffix('/') {
            Some("") | None => written,
            Some(route) => route.to_owned(),
        };
        if routes.contains(&route) {
            self.fault(
                node.at,
                &path,
                format!("the route {route} is there already; a trailing slash makes no difference"),
            );
            return None;
        }
        routes.push(route.clone());
        Some(route)
    }

    /// The index of the target, new or shared, and the path of its URL.
    fn target(&mut self, object: &Object<'_>, path: &str, all: &mut Services) -> Option<(usize, String)> {
        let target_path = join(path, "target");
        let Some(node) = object.get("target") else {
            self.fault(
                object.at,
                &target_path,
                "is missing: where requests go, such as \"http://127.0.0.1:9000/users\"",
            );
            return None;
        };
        let written = self.string(node, &target_path)?;
        let url = match parse_url(&written) {
            Ok(url) => url,
            Err(wrong) => {
                self.fault(node.at, &target_path, wrong);
                return None;
            }
        };
        let tls = self.tls(object, &join(path, "tls"), url.target.tls)?;
        let known = all.targets.iter().zip(&all.tls).position(|(target, known)| *target == url.target && *known == tls);
        let index = known.unwrap_or_else(|| {
            all.targets.push(url.target);
            all.tls.push(tls);
            all.targets.len() - 1
        });
        Some((index, url.path))
    }

    fn tls(&mut self, object: &Object<'_>, path: &str, https: bool) -> Option<Option<UpstreamTls>> {
        let mut tls = UpstreamTls { roots: Vec::new(), server_name: None };
        let Some(node) = object.get("tls").filter(|node| !matches!(node.value, Value::Null)) else {
            return Some(https.then_some(tls));
        };
        let object = self.object(node, path, &["ca", "serverName"])?;
        if !https {
            self.fault(node.at, path, "the target is http://; make it https://, or remove this");
            return None;
        }
        let given = |name: &str| object.get(name).filter(|node| !matches!(node.value, Value::Null));
        if let Some(node) = given("ca") {
            tls.roots = self.roots(node, &join(path, "ca"))?;
        }
        if let Some(node) = given("serverName") {
            let path = join(path, "serverName");
            let name = self.string(node, &path)?;
            if parse_host(&name).is_none() {
                self.fault(node.at, &path, "expected a host name or an address, without a port");
                return None;
            }
            tls.server_name = Some(name);
        }
        Some(Some(tls))
    }

    fn roots(&mut self, node: &Node, path: &str) -> Option<Vec<Vec<u8>>> {
        let name = self.string(node, path)?;
        let file = self.beside(&name);
        let roots = match (self.read)(&file) {
            Ok(pem) => certificates_from_pem(&pem).map_err(|wrong| format!("{}: {wrong}", file.display())),
            Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
        };
        match roots {
            Ok(roots) => Some(roots),
            Err(wrong) => {
                self.fault(node.at, path, wrong);
                None
            }
        }
    }
}

fn wrong_route(route: &str) -> Option<&'static str> {
    if !route.starts_with('/') {
        Some("a route starts with \"/\"")
    } else if route.contains("//") {
        Some("a route has no empty segment (\"//\")")
    } else if !is_plain_path(route) {
        Some(
            "a route is matched byte for byte: no \"%\", \"?\", \"#\", \"\\\", space, dot segment or byte outside ASCII",
        )
    } else {
        None
    }
}

fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'\\' | b'"' | b'<' | b'>');
    path.bytes().all(plain) && path::check(path.as_bytes()).is_ok()
}

fn parse_url(url: &str) -> Result<Url, String> {
    let (scheme, rest) = url.split_once("://").ok_or("expected a URL such as \"http://127.0.0.1:9000/users\"")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(format!("the scheme \"{scheme}\" is not known; use http:// or https://")),
    };
    if url.contains('?') {
        return Err("a target has no query; the client's own is passed on".to_owned());
    }
    if url.contains('#') {
        return Err("a target has no fragment".to_owned());
    }
    let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err("a target has no user or password; let the client send its own".to_owned());
    }
    let (host_text, port) = split_port(authority)?;
    let host = parse_host(host_text).ok_or("the target's host is no name or address (IPv6 goes in brackets: [::1])")?;
    if !path.is_empty() && path::check(path.as_bytes()).is_err() {
        return Err("the target's path has a byte, escape or dot segment that a path must not have".to_owned());
    }
    let default = if tls { 443 } else { 80 };
    let port = port.unwrap_or(default);
    let authority = if port == default { host_text.to_owned() } else { format!("{host_text}:{port}") };
    Ok(Url { target: Target { host, port, tls, authority }, path: path.to_owned() })
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let colon = authority.rfind(':').filter(|colon| authority.rfind(']').is_none_or(|bracket| bracket < *colon));
    let Some((host, port)) = colon.and_then(|colon| authority.split_at_checked(colon)) else {
        return Ok((authority, None));
    };
    let number = crate::digits::parse(port.as_bytes().get(1..).unwrap_or_default());
    match number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0) {
        Some(port) => Ok((host, Some(port))),
        None => Err("the target's port is no number from 1 to 65535".to_owned()),
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn parse_host(host: &str) -> Option<TargetHost> {
    if let Some(inside) = host.strip_prefix('[') {
        let address = inside.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
        return Some(TargetHost::Address(IpAddr::V6(address)));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(TargetHost::Address(IpAddr::V4(address)));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // A last label of digits is an address that went wrong, not a name.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.len() <= 253 && !numeric && name.split('.').all(label)).then(|| TargetHost::Name(host.to_owned()))
}

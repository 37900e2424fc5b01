//! `cors`, `securityHeaders` and `trustedProxies`.

use std::net::IpAddr;

use super::compile::{Compiler, join};
use super::document::{Node, Value};
use crate::http::field::{is_tchar, is_value_byte};
use crate::policy::cors::CorsPolicy;
use crate::policy::forward::Network;
use crate::policy::security::SecurityHeaders;
use crate::time::Duration;

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"];

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| is_value_byte(byte) && byte.is_ascii())
        && !text.starts_with([' ', '\t'])
        && !text.ends_with([' ', '\t'])
}

/// `*`, `null`, or a serialised origin: scheme, host, perhaps a port, and no path.
fn is_origin(text: &str) -> bool {
    let serialised = |(scheme, host): (&str, &str)| {
        is_token(scheme)
            && !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b','))
    };
    matches!(text, "*" | "null") || text.split_once("://").is_some_and(serialised)
}

impl Compiler<'_> {
    pub(super) fn cors(&mut self, node: Option<&Node>) -> Option<CorsPolicy> {
        let mut policy = CorsPolicy {
            origins: None,
            methods: METHODS.map(str::to_owned).to_vec(),
            headers: None,
            expose_headers: Vec::new(),
            credentials: false,
            max_age: None,
            forward_options: false,
        };
        let node = match node {
            None | Some(Node { value: Value::Bool(true), .. }) => return Some(policy),
            Some(Node { value: Value::Bool(false), .. }) => return None,
            Some(node) => node,
        };
        let known = ["origins", "methods", "headers", "exposeHeaders", "credentials", "maxAge", "forwardOptions"];
        let object = self.object(node, "cors", &known)?;
        if let Some(node) = object.get("origins") {
            policy.origins = self.origins(node)?;
        }
        if let Some(node) = object.get("methods") {
            policy.methods = self.strings(node, "cors.methods", "a method", is_token)?;
        }
        match object.get("headers") {
            None => {}
            Some(Node { value: Value::String(text), .. }) if text == "reflect" => {}
            Some(node) => policy.headers = Some(self.strings(node, "cors.headers", "a header name", is_token)?),
        }
        if let Some(node) = object.get("exposeHeaders") {
            policy.expose_headers = self.strings(node, "cors.exposeHeaders", "a header name", is_token)?;
        }
        if let Some(node) = object.get("credentials") {
            policy.credentials = self.boolean(node, "cors.credentials")?;
            if policy.credentials && policy.origins.is_none() {
                self.fault(
                    node.at,
                    "cors.credentials",
                    "browsers refuse credentials where any origin is allowed; name them in cors.origins",
                );
            }
        }
        match object.get("maxAge") {
            None | Some(Node { value: Value::Null, .. }) => {}
            // A bare number is in seconds, as the header and the npm package have it.
            Some(node @ Node { value: Value::Number(_), .. }) => {
                policy.max_age = self.integer(node, "cors.maxAge", 0..=31_536_000).map(Duration::from_secs);
            }
            Some(node) => policy.max_age = self.duration(node, "cors.maxAge"),
        }
        if let Some(node) = object.get("forwardOptions") {
            policy.forward_options = self.boolean(node, "cors.forwardOptions")?;
        }
        Some(policy)
    }

    /// `None` inside: any.
    fn origins(&mut self, node: &Node) -> Option<Option<Vec<String>>> {
        let origins =
            self.strings(node, "cors.origins", "an origin such as \"https://example.com\", without a path", is_origin)?;
        if !origins.iter().any(|origin| origin == "*") {
            return Some(Some(origins));
        }
        if origins.len() > 1 {
            self.fault(node.at, "cors.origins", "\"*\" allows every origin; remove it, or the others");
        }
        Some(None)
    }

    pub(super) fn security_headers(&mut self, node: Option<&Node>) -> Option<SecurityHeaders> {
        let mut headers = SecurityHeaders::helmet_defaults();
        let node = match node {
            None | Some(Node { value: Value::Bool(true), .. }) => return Some(headers),
            Some(Node { value: Value::Bool(false), .. }) => return None,
            Some(node) => node,
        };
        for entry in self.members(node, "securityHeaders")? {
            let path = join("securityHeaders", &entry.key);
            if !is_token(&entry.key) || self.is_ours(&entry.key) {
                self.fault(entry.key_at, &path, "is no name for a header that can be set here");
                continue;
            }
            if matches!(entry.node.value, Value::Null | Value::Bool(false)) {
                headers.with_change(&entry.key, None);
                continue;
            }
            let Some(value) = self.string(&entry.node, &path) else { continue };
            if is_field_value(&value) {
                headers.with_change(&entry.key, Some(&value));
            } else {
                self.fault(
                    entry.node.at,
                    &path,
                    "is no header value: printable ASCII on one line, without spaces around it",
                );
            }
        }
        Some(headers)
    }

    /// Fields that make the message what it is.
    fn is_ours(&self, name: &str) -> bool {
        let taken =
            ["content-length", "transfer-encoding", "connection", "date", "content-type", "host", "upgrade", "trailer"];
        taken.iter().any(|taken| name.eq_ignore_ascii_case(taken))
    }

    pub(super) fn networks(&mut self, node: &Node) -> Option<Vec<Network>> {
        let items = self.list(node, "trustedProxies")?;
        let mut networks = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("trustedProxies[{index}]");
            let Some(text) = self.string(item, &path) else { continue };
            match parse_network(&text) {
                Ok(network) => networks.push(network),
                Err(wrong) => self.fault(item.at, &path, wrong),
            }
        }
        Some(networks)
    }
}

fn parse_network(text: &str) -> Result<Network, String> {
    let wrong = || "expected an address or a network such as \"10.0.0.0/8\"".to_owned();
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => crate::digits::parse(prefix.as_bytes()).filter(|prefix| *prefix <= bits).ok_or_else(wrong)?,
        None => bits,
    };
    let first = first_address(address, bits - prefix);
    if first != address {
        return Err(format!("the address has bits behind the prefix; the network is {first}/{prefix}"));
    }
    Ok(Network { address, prefix: prefix as u8 })
}

fn first_address(address: IpAddr, host_bits: u64) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(host_bits as u32).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(host_bits as u32).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

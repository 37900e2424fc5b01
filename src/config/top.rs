//! The top level of the file, with its defaults.

use super::compile::{Compiler, Object, join};
use super::document::{Node, Value};
use super::{Config, LogLevel};
use crate::limits::{
    CONNECTIONS_DEFAULT, CONNECTIONS_MAX, FIELDS_DEFAULT, FIELDS_MAX, HEAD_BYTES_DEFAULT, HEAD_BYTES_MAX,
    HEAD_BYTES_MIN, RATE_CLIENTS_DEFAULT, RATE_CLIENTS_MAX, RATE_IPV6_PREFIX_DEFAULT, RATE_REQUESTS_DEFAULT,
    RATE_WINDOW_DEFAULT, REQUEST_LINE_BYTES_DEFAULT,
};
use crate::policy::rate::RateLimit;
use crate::proxy::settings::{AccessLog, ConnectionTimeouts, ExchangeTimeouts, Limits, Settings};
use crate::time::Duration;

const KEYS: [&str; 11] = [
    "listen",
    "services",
    "rateLimit",
    "timeouts",
    "limits",
    "halfClose",
    "cors",
    "securityHeaders",
    "accessLog",
    "trustedProxies",
    "logLevel",
];

/// Every timeout, as the top level has them.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connection: ConnectionTimeouts,
    pub(super) exchange: ExchangeTimeouts,
}

const TIMEOUTS: Timeouts = Timeouts {
    connection: ConnectionTimeouts {
        head: Some(Duration::from_secs(15)),
        keep_alive: Some(Duration::from_secs(75)),
        shutdown: Some(Duration::from_secs(10)),
    },
    exchange: ExchangeTimeouts {
        connect: Some(Duration::from_secs(5)),
        response: Some(Duration::from_secs(15)),
        idle: Some(Duration::from_secs(60)),
        upstream_keep_alive: Some(Duration::from_secs(30)),
        tunnel: Some(Duration::from_secs(3600)),
    },
};

const RATE_LIMIT: RateLimit = RateLimit {
    requests: RATE_REQUESTS_DEFAULT,
    window: RATE_WINDOW_DEFAULT,
    ipv6_prefix: RATE_IPV6_PREFIX_DEFAULT,
    max_clients: RATE_CLIENTS_DEFAULT,
};

impl Compiler<'_> {
    /// The whole document: an object, or the bare list of services.
    pub(super) fn config(&mut self, root: &Node) -> Option<Config> {
        let empty = Node { at: root.at, value: Value::Object(Vec::new()) };
        let (object, services) = match &root.value {
            Value::Array(_) => (self.object(&empty, "", &KEYS)?, Some((root, ""))),
            _ => {
                let object = self.object(root, "", &KEYS)?;
                (object, object.get("services").map(|node| (node, "services")))
            }
        };
        let rate_limit = self.top_rate_limit(&object);
        let timeouts = self.top_timeouts(&object);
        let services = match services {
            Some((node, path)) => self.services(node, path, rate_limit.as_ref(), &timeouts.exchange),
            None => {
                self.fault(
                    root.at,
                    "services",
                    "is missing: a list of { \"route\": \"/users\", \"target\": \"http://host/users\" }",
                );
                None
            }
        };
        let limits = self.top_limits(&object);
        let half_close = object.get("halfClose").and_then(|node| self.boolean(node, "halfClose")).unwrap_or(false);
        let cors = self.cors(object.get("cors"));
        let security_headers = self.security_headers(object.get("securityHeaders"));
        let access_log = object.get("accessLog").and_then(|node| self.access_log(node)).unwrap_or(AccessLog::Combined);
        let log_level = object.get("logLevel").and_then(|node| self.log_level(node)).unwrap_or(LogLevel::Info);
        let trusted_proxies = object.get("trustedProxies").and_then(|node| self.networks(node)).unwrap_or_default();
        let listeners = self.listeners(object.get("listen"), root.at);
        let services = services?;
        Some(Config {
            settings: Settings {
                services: services.services,
                targets: services.targets,
                rate_limit,
                timeouts: timeouts.connection,
                limits,
                half_close,
                cors,
                security_headers,
                trusted_proxies,
                access_log,
            },
            listeners,
            upstream_tls: services.tls,
            log_level,
        })
    }

    fn top_rate_limit(&mut self, object: &Object<'_>) -> Option<RateLimit> {
        match object.get("rateLimit") {
            None | Some(Node { value: Value::Bool(true), .. }) => Some(RATE_LIMIT),
            Some(Node { value: Value::Bool(false), .. }) => None,
            Some(node) => self.rate_limit(node, "rateLimit", None),
        }
    }

    /// A rate limit; what it leaves out is as in `base`, or as by default.
    pub(super) fn rate_limit(&mut self, node: &Node, path: &str, base: Option<&RateLimit>) -> Option<RateLimit> {
        let mut limit = base.cloned().unwrap_or(RATE_LIMIT);
        let object = self.object(node, path, &["requests", "window", "ipv6Prefix", "maxClients"])?;
        let key = |name: &str| (object.get(name), join(path, name));
        if let (Some(node), path) = key("requests") {
            limit.requests = self.integer(node, &path, 1..=u64::from(u32::MAX))? as u32;
        }
        if let (Some(node), path) = key("window") {
            limit.window = self.duration(node, &path)?;
        }
        if let (Some(node), path) = key("ipv6Prefix") {
            limit.ipv6_prefix = self.integer(node, &path, 1..=128)? as u8;
        }
        if let (Some(node), path) = key("maxClients") {
            limit.max_clients = self.integer(node, &path, 1..=RATE_CLIENTS_MAX as u64)? as usize;
        }
        Some(limit)
    }

    fn top_timeouts(&mut self, object: &Object<'_>) -> Timeouts {
        let mut timeouts = TIMEOUTS;
        let known = ["connect", "head", "response", "idle", "keepAlive", "upstreamKeepAlive", "tunnel", "shutdown"];
        let Some(node) = object.get("timeouts") else { return timeouts };
        let Some(object) = self.object(node, "timeouts", &known) else { return timeouts };
        let connection = &mut timeouts.connection;
        let own = [
            ("head", &mut connection.head),
            ("keepAlive", &mut connection.keep_alive),
            ("shutdown", &mut connection.shutdown),
        ];
        for (name, slot) in own {
            self.set_timeout(&object, "timeouts", name, slot);
        }
        self.exchange_timeouts(&object, "timeouts", &mut timeouts.exchange);
        timeouts
    }

    /// Those that a service may override.
    pub(super) fn exchange_timeouts(&mut self, object: &Object<'_>, path: &str, timeouts: &mut ExchangeTimeouts) {
        for (name, slot) in [
            ("connect", &mut timeouts.connect),
            ("response", &mut timeouts.response),
            ("idle", &mut timeouts.idle),
            ("upstreamKeepAlive", &mut timeouts.upstream_keep_alive),
            ("tunnel", &mut timeouts.tunnel),
        ] {
            self.set_timeout(object, path, name, slot);
        }
    }

    fn set_timeout(&mut self, object: &Object<'_>, path: &str, name: &str, slot: &mut Option<Duration>) {
        if let Some(timeout) = object.get(name).and_then(|node| self.timeout(node, &join(path, name))) {
            *slot = timeout;
        }
    }

    fn top_limits(&mut self, object: &Object<'_>) -> Limits {
        let mut limits = Limits {
            head_bytes: HEAD_BYTES_DEFAULT,
            request_line_bytes: REQUEST_LINE_BYTES_DEFAULT,
            fields: FIELDS_DEFAULT,
            connections: CONNECTIONS_DEFAULT,
            body_bytes: None,
        };
        let known = ["headBytes", "requestLine", "headers", "connections", "bodyBytes"];
        let Some(node) = object.get("limits") else { return limits };
        let Some(object) = self.object(node, "limits", &known) else { return limits };
        let head = HEAD_BYTES_MIN as u64..=HEAD_BYTES_MAX as u64;
        if let Some(size) = object.get("headBytes").and_then(|node| self.size(node, "limits.headBytes", head.clone())) {
            limits.head_bytes = size as usize;
        }
        if let Some(node) = object.get("requestLine") {
            if let Some(size) = self.size(node, "limits.requestLine", 64..=HEAD_BYTES_MAX as u64) {
                limits.request_line_bytes = size as usize;
            }
            if limits.request_line_bytes > limits.head_bytes {
                self.fault(
                    node.at,
                    "limits.requestLine",
                    "is larger than limits.headBytes, of which it is a part; raise that, too",
                );
            }
        }
        limits.request_line_bytes = limits.request_line_bytes.min(limits.head_bytes);
        if let Some(count) =
            object.get("headers").and_then(|node| self.integer(node, "limits.headers", 1..=FIELDS_MAX as u64))
        {
            limits.fields = count as usize;
        }
        let connections = 1..=CONNECTIONS_MAX as u64;
        if let Some(count) =
            object.get("connections").and_then(|node| self.integer(node, "limits.connections", connections))
        {
            limits.connections = count as usize;
        }
        if let Some(node) =
            object.get("bodyBytes").filter(|node| !matches!(node.value, Value::Null | Value::Bool(false)))
        {
            limits.body_bytes = self.size(node, "limits.bodyBytes", 0..=1 << 60);
        }
        limits
    }

    fn access_log(&mut self, node: &Node) -> Option<AccessLog> {
        if matches!(node.value, Value::Bool(false)) {
            return Some(AccessLog::Off);
        }
        let choices = [("combined", AccessLog::Combined), ("json", AccessLog::Json), ("off", AccessLog::Off)];
        self.choice(node, "accessLog", &choices)
    }

    fn log_level(&mut self, node: &Node) -> Option<LogLevel> {
        let choices = [
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ];
        self.choice(node, "logLevel", &choices)
    }

    fn choice<T: Copy>(&mut self, node: &Node, path: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(node, path)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            self.fault(node.at, path, format!("expected one of {names}"));
        }
        found
    }
}

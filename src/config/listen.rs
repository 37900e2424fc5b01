//! `listen`, and the environment's PORT.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::ListenAddress;
use super::compile::Compiler;
use super::document::{Node, Value};

const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5000);

impl Compiler<'_> {
    pub(super) fn listeners(&mut self, node: Option<&Node>, root: usize) -> Vec<ListenAddress> {
        let mut listeners: Vec<ListenAddress> = Vec::new();
        let items: Vec<(&Node, String)> = match node {
            None => Vec::new(),
            Some(Node { value: Value::Array(items), .. }) => {
                items.iter().enumerate().map(|(index, item)| (item, format!("listen[{index}]"))).collect()
            }
            Some(node) => vec![(node, "listen".to_owned())],
        };
        if let Some(node) = node.filter(|_| items.is_empty()) {
            self.fault(node.at, "listen", "is empty: nobody could connect");
        }
        for (item, path) in items {
            let Some(address) = self.listener(item, &path) else { continue };
            if listeners.contains(&address) {
                self.fault(item.at, &path, "is in the list already");
            }
            listeners.push(address);
        }
        if node.is_none() {
            listeners.push(ListenAddress::Tcp(DEFAULT));
        }
        self.override_port(&mut listeners, root);
        listeners
    }

    fn listener(&mut self, node: &Node, path: &str) -> Option<ListenAddress> {
        if let Value::Number(_) = node.value {
            let port = self.integer(node, path, 1..=65_535)? as u16;
            return Some(ListenAddress::Tcp(SocketAddr::new(DEFAULT.ip(), port)));
        }
        let text = self.string(node, path)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            let advice =
                "expected \"0.0.0.0:5000\", \"127.0.0.1:5000\", \"[::]:5000\", a port, or \"unix:/run/tollgate.sock\"";
            self.fault(node.at, path, advice);
        }
        parsed
    }

    /// `PORT` overrides the port of the first TCP listener, as `process.env.PORT || 5000` did.
    fn override_port(&mut self, listeners: &mut [ListenAddress], root: usize) {
        let Some(text) = (self.env)("PORT").filter(|text| !text.is_empty()) else { return };
        let port = crate::digits::parse(text.as_bytes()).and_then(|port| u16::try_from(port).ok());
        let first = listeners.iter_mut().find_map(|listener| match listener {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) => None,
        });
        match (port, first) {
            (Some(port), Some(address)) => address.set_port(port),
            (Some(_), None) => {}
            (None, _) => {
                let advice = format!(
                    "the environment variable PORT is \"{}\", no port from 0 to 65535; correct or unset it",
                    text.escape_debug()
                );
                self.fault(root, "listen", advice);
            }
        }
    }
}

fn parse(text: &str) -> Option<ListenAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty() && !path.contains('\0')).then(|| ListenAddress::Unix(PathBuf::from(path)));
    }
    let spelled = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    if let Some(port) = crate::digits::parse(spelled.as_bytes()) {
        return u16::try_from(port).ok().map(|port| ListenAddress::Tcp(SocketAddr::new(DEFAULT.ip(), port)));
    }
    spelled.parse().ok().map(ListenAddress::Tcp)
}

//! Listeners as services name them: their names, and whether clients are asked for certificates.
//! Errors in `listen` are found elsewhere.

use crate::config::syntax::document::{Node, Value};
use crate::config::syntax::located::Located;

/// Listener that services may name.
pub(crate) struct KnownListener<'a> {
    pub(crate) name: Option<&'a str>,
    /// True if clients are asked for a certificate.
    pub(crate) asks_clients: bool,
}

/// Returns the listeners of the file.
pub(crate) fn listeners<'a>(place: Option<&Located<'a>>) -> Vec<KnownListener<'a>> {
    let items = match place.map(|place| place.node) {
        None => &[],
        Some(Node {
            value: Value::List(items),
            ..
        }) => items.as_slice(),
        Some(node) => core::slice::from_ref(node),
    };
    items.iter().map(known).collect()
}

fn known(node: &Node) -> KnownListener<'_> {
    let name = match member(node, "name") {
        Some(Value::Text(name)) => Some(name.as_str()),
        _ => None,
    };
    let tls = member_node(node, "tls");
    let ca = tls.and_then(|tls| member(tls, "clientCa"));
    KnownListener {
        name,
        asks_clients: ca.is_some_and(|ca| *ca != Value::Null),
    }
}

fn member<'a>(node: &'a Node, name: &str) -> Option<&'a Value> {
    member_node(node, name).map(|node| &node.value)
}

fn member_node<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Value::Object(members) = &node.value else {
        return None;
    };
    let member = members.iter().find(|member| member.name == name);
    member.map(|member| &member.node)
}

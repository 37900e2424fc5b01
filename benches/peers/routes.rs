//! Routes of the gateways, and the origins that they lead to.

/// Origin that a route leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    Plain,
    Tls,
    /// The one for streams, which takes only the CPU that others leave.
    Stream,
}

/// The article's four routes, one of them to the stream origin, and one to the TLS origin.
pub fn few_routes() -> Vec<(String, Upstream)> {
    let routes = [
        ("/auth", Upstream::Plain),
        ("/users", Upstream::Plain),
        ("/chats", Upstream::Plain),
        ("/payment", Upstream::Stream),
        ("/secure", Upstream::Tls),
    ];
    routes
        .map(|(route, upstream)| (route.to_owned(), upstream))
        .to_vec()
}

/// 5,000 of them.
pub fn many_routes() -> Vec<(String, Upstream)> {
    (0..5000)
        .map(|index| (format!("/r{index:04}"), Upstream::Plain))
        .collect()
}

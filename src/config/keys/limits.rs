//! `limits`: how large a message may be, and how many connections there are.

use crate::limits as bound;
use crate::proxy::settings::Limits;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

const LIMIT_KEYS: [&str; 6] = [
    "headBytes",
    "requestLine",
    "headers",
    "connections",
    "connectionsPerClient",
    "bodyBytes",
];

/// `limits`.
pub(crate) fn compile(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Limits {
    let mut limits = Limits {
        head_bytes: bound::HEAD_BYTES_DEFAULT,
        request_line_bytes: bound::REQUEST_LINE_BYTES_DEFAULT,
        fields: bound::FIELDS_DEFAULT,
        connections: bound::CONNECTIONS_DEFAULT,
        connections_per_client: None,
        overflow: bound::SURPLUS_CONNECTIONS,
        gathered_bytes: bound::BODY_GATHERED_BYTES,
        splice_min_bytes: bound::SPLICE_MIN_BYTES,
        body_bytes: None,
    };
    let Some(object) = place.and_then(|place| place.object(report, "an object", &LIMIT_KEYS))
    else {
        return limits;
    };
    let heads = bound::HEAD_BYTES_MIN as u64..=bound::HEAD_BYTES_MAX as u64;
    if let Some(bytes) = object
        .get("headBytes")
        .and_then(|place| scalars::size(place, heads.clone(), report))
    {
        limits.head_bytes = scalars::as_usize(bytes);
    }
    limits.request_line_bytes =
        request_line(object.get("requestLine"), limits.head_bytes, heads, report);
    let mut count = |key, most: usize, default| {
        let value = object
            .get(key)
            .and_then(|place| scalars::whole(place, 1..=most as u64, report));
        value.map_or(default, scalars::as_usize)
    };
    limits.fields = count("headers", bound::FIELDS_MAX, limits.fields);
    limits.connections = count("connections", bound::CONNECTIONS_MAX, limits.connections);
    if let Some(place) = object
        .get("connectionsPerClient")
        .filter(|place| !place.is_null())
    {
        let range = 1..=bound::CONNECTIONS_PER_CLIENT_MAX as u64;
        limits.connections_per_client = scalars::whole(place, range, report).map(scalars::as_usize);
    }
    if let Some(place) = object.get("bodyBytes").filter(|place| !place.is_null()) {
        limits.body_bytes = scalars::size(place, 1..=bound::BODY_BYTES_MAX, report);
    }
    limits
}

/// A request line is part of its head; the default gives way to a smaller head.
fn request_line(
    place: Option<&Located<'_>>,
    head_bytes: usize,
    range: core::ops::RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> usize {
    let Some(place) = place else {
        return bound::REQUEST_LINE_BYTES_DEFAULT.min(head_bytes);
    };
    let Some(bytes) = scalars::size(place, range, report).map(scalars::as_usize) else {
        return head_bytes;
    };
    if bytes > head_bytes {
        let head = scalars::show_size(head_bytes as u64);
        place.fail(
            report,
            format!(r#"must be at most "headBytes" ({head}), which the request line is part of"#),
        );
    }
    bytes
}

//! Requests that run in a loop.

use crate::http::field::{Name, tokens};
use crate::http::head::RequestHead;
use crate::limits::VIA_LOOPS_MAX;

/// Returns true if `Via` shows that the request runs in a loop (RFC 9110 7.6.3).
pub(super) fn passed_here_too_often(head: &RequestHead<'_>) -> bool {
    head.fields.has(Name::Via)
        && head
            .fields
            .get_all(Name::Via)
            .flat_map(tokens)
            .filter(|member| member.ends_with(b" tollgate"))
            .count()
            >= VIA_LOOPS_MAX
}

//! The most memory that the buffers of a connection can come to hold.
//!
//! The buffers of a served connection, each in the size class that it takes from the pool:
//!
//! | buffer | holds at most |
//! |---|---|
//! | the client's inbox | one read, or a request head; requests that were sent ahead |
//! | the request's head, kept for a replay | the client's head, target path and host of the service, what we add |
//! | request body | one read |
//! | the response's head | 1xx heads that wait, a response head, the CORS and security blocks |
//! | response body | one read: it is in the upstream's inbox or in the client's outbox |
//! | what a read of the upstream's leaves behind | the framing of a chunk |

use super::super::auth::memory as auth;
use super::super::bounds::grown;
use super::super::settings::Settings;
use crate::buffer::{BufferPool, total};
use crate::limits::{
    BUFFER_CLASSES, BUFFERS_RETAINED_BYTES, CLIENT_SUBJECT_BYTES, CONFIG_PATH_BYTES_MAX,
    INTERIM_BYTES, INTERIM_RESPONSES_MAX, READ_BYTES, RESPONSE_HEAD_BYTES, REWRITE_GROWTH_BYTES,
};
use crate::policy::cors::Cors;
use crate::policy::edits::{Edits, HeaderEdits};
use crate::policy::request_id::LINE_BYTES;
use crate::policy::rewrite::PREFIX;
use crate::policy::security::SecurityHeaders;

/// Bytes a head of ours adds at most beside what its parts bring: see the bounds in `forward`.
pub(super) const ADDED: usize = 512 + LINE_BYTES;

/// Bytes of the buffers of one client connection that is served, and of its upstream connection.
pub fn buffers_of_connection(settings: &Settings) -> usize {
    let head = settings.limits.head_bytes;
    let host = host(settings);
    let inbox = READ_BYTES.max(head.saturating_add(1));
    // Target and Host are parts of the head, and go up once more: rewritten, as X-Forwarded-Host,
    // and perhaps as Host.
    let ours = total([
        CONFIG_PATH_BYTES_MAX,
        host,
        CLIENT_SUBJECT_BYTES,
        auth::request_head(settings),
        edits(settings, |edits| &edits.request),
        prefix_line(settings),
        ADDED,
    ]);
    let mut request_head = total([head, head, head, ours]);
    if settings
        .services
        .iter()
        .any(|service| service.destinations.len() > 1)
    {
        // Written anew for another target: a small body behind it may have filled its buffer by
        // then.
        request_head = total([
            BufferPool::storage_for(request_head),
            CONFIG_PATH_BYTES_MAX,
            host,
            prefix_line(settings),
        ]);
    }
    // An OPTIONS of ours echoes what was asked for.
    let reply = total([
        head,
        blocks(settings),
        ADDED,
        auth::answer(settings),
        fixed_replies(settings),
    ]);
    let interim = total([
        INTERIM_BYTES,
        (INTERIM_RESPONSES_MAX as usize).saturating_mul(ADDED),
    ]);
    let response_head = total([
        interim,
        RESPONSE_HEAD_BYTES,
        auth::response_head(settings),
        blocks(settings),
        head,
        ADDED,
    ]);
    let buffers = [
        inbox,
        request_head,
        READ_BYTES,
        response_head.max(reply),
        READ_BYTES,
        BUFFER_CLASSES[0],
    ];
    total(buffers.map(BufferPool::storage_for))
}

/// Bytes of the buffers of one client connection that is turned away.
pub fn buffers_of_overflow(settings: &Settings) -> usize {
    BufferPool::storage_for(total([blocks(settings), ADDED]))
}

/// Bytes of the buffers of one client connection that is denied: its first head is read.
pub fn buffers_of_denied(settings: &Settings) -> usize {
    let inbox = READ_BYTES.max(settings.limits.head_bytes.saturating_add(1));
    let reply = total([
        settings.limits.head_bytes,
        blocks(settings),
        ADDED,
        auth::answer(settings),
    ]);
    total([inbox, reply].map(BufferPool::storage_for))
}

/// Bytes in the pool for the next borrower, of the one buffer that is copied into another at a
/// time, and of what the one request that is looked at is taken apart into (decoded paths, the
/// elements of its lists: a slice for every two bytes).
pub fn buffers_kept(settings: &Settings) -> usize {
    let apart = grown(settings.limits.head_bytes, size_of::<&[u8]>());
    total([
        BUFFERS_RETAINED_BYTES,
        buffers_of_connection(settings),
        apart,
    ])
}

/// Bytes of the longest reply that stands in place of targets.
fn fixed_replies(settings: &Settings) -> usize {
    let services = settings.services.iter();
    let replies = services.filter_map(|service| service.reply.as_ref());
    replies.map(|reply| reply.bytes()).max().unwrap_or(0)
}

/// Bytes of the longest CORS and security blocks of a response.
fn blocks(settings: &Settings) -> usize {
    let services = settings.services.iter();
    let own = services.clone().filter_map(|one| one.headers.cors.if_own());
    let cors = own.chain(&settings.cors);
    let cors = cors.map(|policy| Cors::new(policy).bound()).max();
    let own = services.filter_map(|one| one.headers.security_headers.if_own());
    let security = own.chain(&settings.security_headers);
    let security = security.map(SecurityHeaders::bytes).max();
    let [cors, security] = [cors, security].map(Option::unwrap_or_default);
    let edits = edits(settings, |edits| &edits.response);
    let mut services = settings.services.iter();
    let cookies = services.clone().filter_map(|service| {
        let sticky = service.sticky.as_deref()?;
        Some(sticky.cookie.bound())
    });
    let cookie = cookies.max().unwrap_or(0);
    let pages = settings.services.iter().map(|service| &service.error_pages);
    let pages = pages.chain([&settings.error_pages]).flatten();
    let page = pages.map(|pages| pages.longest()).max().unwrap_or(0);
    let rate = rate_fields(settings);
    let grown = match services.any(|service| service.headers.rewrites.any()) {
        true => REWRITE_GROWTH_BYTES,
        false => 0,
    };
    total([cors, security, rate, edits, cookie, page, grown])
}

/// Bytes of the longest `Host` that is not the client's.
fn host(settings: &Settings) -> usize {
    let targets = settings.targets.iter();
    let targets = targets.map(|target| target.authority.len());
    let services = settings.services.iter();
    let edits = services.filter_map(|service| service.edits.as_ref()?.host.as_ref());
    let all = targets.chain(edits.map(|host| host.len()));
    all.max().unwrap_or(0)
}

/// Bytes of an `X-Forwarded-Prefix`.
fn prefix_line(settings: &Settings) -> usize {
    let routes = settings.services.iter().map(|service| service.route.len());
    total([PREFIX.len(), routes.max().unwrap_or(0)])
}

/// Bytes that header edits add to a head.
fn edits(settings: &Settings, kind: fn(&Edits) -> &HeaderEdits) -> usize {
    let services = settings.services.iter().map(|service| &service.edits);
    let all = services.chain([&settings.edits]).flatten();
    all.map(|edits| kind(edits).bound()).max().unwrap_or(0)
}

/// Bytes of the rate limit fields of a response.
fn rate_fields(settings: &Settings) -> usize {
    let routes = settings.services.iter();
    let own = routes.map(|service| super::rate_lines(service));
    let top = super::rates::lines_of("default", &settings.rate_limit);
    own.chain([top]).max().unwrap_or(0)
}

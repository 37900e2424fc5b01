//! Pure decisions: no socket, no clock, and no state except the rate table's and the counter of request ids.

pub mod accounts;
pub mod addresses;
pub mod admission;
pub mod auth;
pub mod cors;
pub mod edits;
pub mod entrance;
pub mod fixed;
pub mod forward;
pub mod gate;
pub mod guard;
pub mod meter;
pub mod of_service;
pub mod path;
pub mod rate;
pub mod rate_fields;
pub mod rate_key;
pub mod redirect;
pub mod reply;
pub mod request_id;
pub mod rewrite;
pub mod route;
pub mod router;
pub mod security;
mod seeded;
pub mod store;
pub mod tables;

//! Command `tollgate diff`: changes between two configurations, and logged requests that would go
//! elsewhere.
//!
//! * `text`, `service_values` and `top_values`: what changes, with the old and the new value of each
//!   key.

mod service_values;
mod text;
mod top_values;

pub use self::text::describe;

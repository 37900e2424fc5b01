//! Metrics: what is counted, and how it is written for Prometheus.
//!
//! | file | duty |
//! |---|---|
//! | `counters` | plain numbers of each service, target and provider |
//! | `histogram` | durations in buckets |
//! | `exposition` | the text format 0.0.4 and OpenMetrics |
//!
//! Labels come from the configuration alone, so that no request adds a series. Out of scope: which
//! numbers there are in a scrape (`proxy/metrics.rs`, `net/admin/metrics`).

pub mod counters;
pub mod exposition;
pub mod histogram;

//! Metrics: what is counted, and how it is written for Prometheus.
//!
//! | file | duty |
//! |---|---|
//! | `numbers` | plain numbers of a service or a target |
//! | `counters` | those of all services, targets and providers, found by their slot |
//! | `histogram` | durations in buckets |
//! | `exposition` | the text format 0.0.4 and OpenMetrics |
//!
//! Labels come from the configuration alone, so that no request adds a series. Out of scope: which
//! numbers there are in a scrape (`proxy/metrics.rs`, `net/admin/metrics`).

pub mod counters;
pub mod exposition;
pub mod histogram;
pub mod numbers;

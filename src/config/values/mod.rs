//! What a single value may be, under whatever key it stands: numbers, durations, hosts, paths, URLs, networks, header names.

pub(crate) mod header_name;
pub(crate) mod host;
pub(crate) mod networks;
pub(crate) mod path;
pub(crate) mod scalars;
pub(crate) mod target_url;
pub(crate) mod units;

//! Single values, whatever their key is: numbers, durations, hosts, paths, URLs, networks, names, and
//! names of headers.

pub(crate) mod header_name;
pub(crate) mod host;
pub(crate) mod media_type;
pub(crate) mod name;
pub(crate) mod networks;
pub(crate) mod path;
pub(crate) mod scalars;
pub(crate) mod store_url;
pub(crate) mod target_url;

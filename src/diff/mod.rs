//! Command `tollgate diff`: changes between two configurations, and logged requests that would go
//! elsewhere.
//!
//! * `text`: what changes, with the old and the new value of each key.
//! * `replay`: requests of an access log, line by line (`lines`, `logged`, `combined_line`,
//!   `json_line`), made a request again (`head`), judged by both configurations (`judge`) and counted
//!   (`groups`).

mod combined_line;
mod groups;
mod head;
mod json_line;
mod judge;
mod lines;
mod logged;
mod replay;
mod text;

#[cfg(test)]
mod tests;

pub use self::lines::open;
pub use self::replay::replay;
pub use self::text::describe;

//! Flight records: the inputs of a failed request as a file, and its replay.
//!
//! | file | duty |
//! |---|---|
//! | `blank` | bytes of the peers, without what may be secret |
//! | `text` | the file: written from a recording, and read |
//! | `settings` | the part of the configuration that the replay needs, as JSON |
//! | `replay` | the real engine with the inputs of a record, in virtual time |

mod blank;
mod replay;
mod settings;
mod text;

#[cfg(test)]
mod tests;

pub use self::replay::{Replayed, replay};
pub use self::text::{file_name, text};

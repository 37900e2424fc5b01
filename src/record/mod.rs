//! Flight records: the inputs of a failed request as a file, and its replay.
//!
//! | file | duty |
//! |---|---|
//! | `blank` | bytes of the peers, without what may be secret |
//! | `text` | the file: written from a recording, and read |
//! | `settings` | the part of the configuration that the replay needs, as JSON |
//! | `world` | the engine with its connections, in virtual time; `tollgate explain` has it, too |
//! | `replay` | the inputs of a record, one after the other, and the end |

mod blank;
mod replay;
mod settings;
mod text;
pub(crate) mod world;

pub use self::replay::{Replayed, replay, replay_file};
pub use self::text::{file_name, text};

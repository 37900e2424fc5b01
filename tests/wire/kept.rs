//! Bytes of rows for real readers (tests/interop_parsers): the bytes that were forwarded, and the
//! bytes that must be refused.
//!
//! Files are written only if `TOLLGATE_FORWARDED` names a folder. `forwarded/` gets each upstream
//! connection of a row that was run whole, as `NAME.bytes`, with the requests that the reference
//! parser has read as `NAME.json`. `refused/` gets the refused bytes of a client of the usual
//! configuration, and their statuses. The name is a hash of the bytes, so equal bytes of two rows
//! are stored once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tollgate::properties::reference;

/// Returns the folder, if there is one.
fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER
        .get_or_init(|| std::env::var_os("TOLLGATE_FORWARDED").map(PathBuf::from))
        .as_deref()
}

/// Stores all bytes of an upstream connection, if they are complete requests only.
pub fn forwarded(row: &str, received: &[u8]) {
    if folder().is_none() || received.is_empty() {
        return;
    }
    // An incomplete body is not stored: readers would wait for its end.
    if let (requests, None) = reference::requests(received) {
        let requests = requests.iter().map(described).collect();
        keep(
            "forwarded",
            row,
            received,
            [("requests", Value::Array(requests))],
        );
    }
}

/// Stores refused bytes of a client, the statuses of the replies, and whether the connection was
/// closed after them.
pub fn refused(row: &str, client: &[u8], statuses: &[u16], closed: bool) {
    if folder().is_some() {
        let statuses = statuses.iter().map(|&status| Value::from(status)).collect();
        keep(
            "refused",
            row,
            client,
            [
                ("statuses", Value::Array(statuses)),
                ("closed", Value::Bool(closed)),
            ],
        );
    }
}

fn described(request: &reference::Request) -> Value {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
    let body: String = request
        .body
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Value::Object(Map::from_iter([
        ("method".to_owned(), text(&request.head.method)),
        ("target".to_owned(), text(&request.head.target)),
        ("body".to_owned(), Value::from(body)),
    ]))
}

fn keep<const N: usize>(kind: &str, row: &str, bytes: &[u8], facts: [(&str, Value); N]) {
    let Some(folder) = folder().map(|folder| folder.join(kind)) else {
        return;
    };
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());
    let mut json = Map::from_iter(facts.map(|(key, value)| (key.to_owned(), value)));
    json.insert("row".to_owned(), Value::from(row));
    let json = Value::Object(json).to_string();
    for (ending, content) in [("bytes", bytes), ("json", json.as_bytes())] {
        // Rows run in parallel: the first one writes the file.
        if let Ok(mut file) = std::fs::File::create_new(folder.join(format!("{name}.{ending}"))) {
            std::io::Write::write_all(&mut file, content).expect("a file");
        }
    }
}

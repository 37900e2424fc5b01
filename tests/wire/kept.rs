//! What rows leave behind for real readers (tests/interop_parsers): the bytes that went up, and the bytes that must not.
//!
//! Only where `TOLLGATE_FORWARDED` names a folder. `forwarded/` gets each upstream connection of a row that was run whole,
//! as `NAME.bytes`, with what the reference parser read in them as `NAME.json`; `refused/` gets what a client of the usual
//! configuration said in vain, and the statuses it got. The name is a hash of the bytes: what two rows share is kept once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tollgate::properties::reference;

/// The folder, if there is one.
fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER
        .get_or_init(|| std::env::var_os("TOLLGATE_FORWARDED").map(PathBuf::from))
        .as_deref()
}

/// Everything that one upstream connection received, if it is nothing but whole requests.
pub fn forwarded(row: &str, received: &[u8]) {
    if folder().is_none() || received.is_empty() {
        return;
    }
    // The front of a body that broke off is not for readers who wait for its end.
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

/// What a client said to no avail, the replies it got, and whether its connection was closed behind them.
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
        // Rows run side by side: whoever is there first writes it.
        if let Ok(mut file) = std::fs::File::create_new(folder.join(format!("{name}.{ending}"))) {
            std::io::Write::write_all(&mut file, content).expect("a file");
        }
    }
}

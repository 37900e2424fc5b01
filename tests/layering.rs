//! The house keeps its floors: a room imports only from floors below it, and the world stays in `net`.

use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each room; a room may use its own floor's rooms only where they are the same room.
const FLOORS: [(&str, u8); 25] = [
    ("time", 0),
    ("slab", 0),
    ("cost", 0),
    ("bytes", 1),
    ("limits", 1),
    ("sort", 1),
    ("buffer", 2),
    ("wheel", 2),
    ("digits", 2),
    ("der", 2),
    ("http", 3),
    ("observe", 3),
    ("pem", 3),
    ("policy", 4),
    ("upstream", 4),
    ("transport", 4),
    ("proxy", 5),
    ("config", 6),
    ("net", 7),
    ("cli", 7),
    ("prompt", 7),
    ("demo", 7),
    ("properties", 7),
    ("main", 7),
    ("lib", 7),
];

/// The floor of the rooms that start everything; they may use each other.
const TOP: u8 = 7;

/// Words that belong to one room alone, or to one file of it.
const TENANTS: [(&str, &[&str]); 12] = [
    ("Instant::now", &["net"]),
    ("SystemTime::now", &["net"]),
    ("mio::", &["net"]),
    ("log::", &["net", "main"]),
    ("std::net::Tcp", &["net", "demo"]),
    ("std::thread", &["net", "demo"]),
    ("RandomState", &["net"]),
    ("httparse::", &["http"]),
    ("rustls::", &["transport"]),
    // Tokens and key sets are JSON; one file turns it into values, and the rest of the policies sees those.
    ("serde_json::", &["config", "demo", "policy/auth/json.rs"]),
    // Signatures and hashes are pure: bytes in, a decision out. Randomness, which ring has too, is for whoever makes a salt.
    // `transport` has rustls' provider of that name.
    ("ring::", &["policy/auth", "main", "transport"]),
    ("ring::rand", &["main"]),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).expect("below src");
                let first = inside
                    .components()
                    .next()
                    .expect("a name")
                    .as_os_str()
                    .to_string_lossy()
                    .into_owned();
                let room = first.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).expect("a source is text");
                found.push((room, path, production(&text)));
            }
        }
    }
    assert!(found.len() > 30, "the sources were found");
    found
}

/// The text without comments and without the tests at its end.
fn production(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or(text);
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether a source is this file, or in this folder, of `src`.
fn is_below(path: &Path, home: &str) -> bool {
    path.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(home))
}

fn floor(room: &str) -> u8 {
    FLOORS
        .iter()
        .find(|(name, _)| *name == room)
        .unwrap_or_else(|| panic!("room {room} has no floor: add it to FLOORS"))
        .1
}

/// The rooms named by `crate::room` in a source.
fn imports(text: &str) -> Vec<String> {
    let word = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    text.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            // use crate::{a::.., b::..};
            Some(list) => list
                .split('}')
                .next()
                .unwrap_or(list)
                .split(',')
                .map(|item| word(item.trim_start()))
                .collect(),
            None => vec![word(rest)],
        })
        .filter(|room| {
            !room.is_empty() && room.chars().next().is_some_and(|c| c.is_ascii_lowercase())
        })
        .collect()
}

#[test]
fn imports_run_downwards() {
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        for used in imports(&text) {
            if used != room && floor(&used) >= floor(&room) && floor(&room) < TOP {
                wrong.push(format!(
                    "{}: {room} (floor {}) uses {used} (floor {})",
                    path.display(),
                    floor(&room),
                    floor(&used)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_world_stays_in_its_rooms() {
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        for (word, homes) in TENANTS {
            // `rustls::pki_types` inside `config` would be a word, too; a crate's name only counts at a word's start.
            let used = text.match_indices(word).any(|(at, _)| {
                !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            });
            let lives = homes
                .iter()
                .any(|home| room == *home || (home.contains('/') && is_below(&path, home)));
            if used && !lives {
                wrong.push(format!(
                    "{}: {word} is at home in {homes:?} only",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(
        imports("use crate::net::loop_;\nuse crate::{http::head, policy};"),
        ["net", "http", "policy"]
    );
    assert_eq!(
        production("let a; // mio::Poll\nlet b;\n#[cfg(test)]\nmio::Poll"),
        "let a; \nlet b;"
    );
}

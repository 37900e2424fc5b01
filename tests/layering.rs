//! Imports run downwards: a module imports only from layers below its own, files do not import each other in a circle, and the
//! words for sockets, clocks and threads stand in `net` only.
//!
//! Rule for circles:
//!
//! * A path (`use` or inline) counts as an import of the file that defines the named item. Names that a module has from its own
//!   `use` lines, `pub` or not, lead on to the file where the item is defined.
//! * A file may name items that the `mod.rs` of its own folder, or of a folder above, defines itself. A folder's `mod.rs` holds the
//!   folder together, so this is no import.
//! * Tests, comments and strings do not count.
//! * No set of files may reach each other. `tests/structure/figures.py` counts by the same rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::rust_text::production;

/// Layer of each module. Modules of one layer do not import each other.
const LAYERS: [(&str, u8); 33] = [
    ("time", 0),
    ("slab", 0),
    ("fifo", 0),
    ("cost", 0),
    ("optional", 0),
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
    ("resp", 3),
    ("policy", 4),
    ("upstream", 4),
    ("transport", 4),
    ("proxy", 5),
    ("acme", 5),
    ("config", 6),
    ("net", 7),
    ("cli", 7),
    ("prompt", 7),
    ("demo", 7),
    ("diff", 7),
    ("explain", 7),
    ("record", 7),
    ("properties", 7),
    ("main", 7),
    ("remote", 7),
    ("lib", 7),
];

/// Layer of the modules that start everything. These may import each other.
const TOP: u8 = 7;

/// Paths that only some modules may name, or only one file or folder of one.
const OWNED: [(&str, &[&str]); 22] = [
    ("mio", &["net"]),
    ("log", &["net", "main"]),
    ("httparse", &["http"]),
    ("rustls", &["transport"]),
    ("std::thread", &["net", "demo"]),
    ("std::time::Instant", &["net"]),
    ("std::time::SystemTime", &["net"]),
    ("std::net::TcpStream", &["net", "demo"]),
    ("std::net::TcpListener", &["net", "demo"]),
    ("std::net::UdpSocket", &["net"]),
    ("std::net::ToSocketAddrs", &["net"]),
    ("std::os::unix::net", &["net"]),
    (
        "std::fs",
        &["net", "cli", "diff", "explain", "record", "remote"],
    ),
    ("std::process", &["net", "main"]),
    ("std::env", &["net", "main", "remote"]),
    ("std::hash::RandomState", &["net"]),
    ("std::collections::hash_map::RandomState", &["net"]),
    ("socket2", &["net"]),
    ("rustix", &["net", "prompt"]),
    // Tokens and key sets are JSON. One file turns it into values, which the other policies use.
    ("serde_json", &["config", "demo", "policy/auth/json.rs"]),
    // Signatures and hashes are pure: bytes in, a decision out. The randomness of ring is for the
    // code that makes a salt. `transport` has rustls's provider of that name.
    (
        "ring",
        &[
            "policy/auth",
            "policy/store",
            "main",
            "transport",
            "acme",
            "net/certificates",
        ],
    ),
    ("ring::rand", &["main", "net/certificates"]),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = source_root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let inside = path.strip_prefix(&root).expect("below src");
                let first = inside
                    .components()
                    .next()
                    .expect("a name")
                    .as_os_str()
                    .to_string_lossy()
                    .into_owned();
                let module = first.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).expect("a source is text");
                found.push((module, path, production(&text)));
            }
        }
    }
    assert!(found.len() > 30, "the sources were found");
    found
}

/// Returns whether a source is this file, or is in this folder, of `src`.
fn is_below(path: &Path, home: &str) -> bool {
    path.starts_with(source_root().join(home))
}

fn layer(module: &str) -> u8 {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("module {module} has no layer: add it to LAYERS"))
        .1
}

/// Returns the modules of the crate's root that a source names, by paths of any form. `here`: its own module.
fn imports(here: &[String], text: &str) -> BTreeSet<String> {
    let named = paths(text).into_iter();
    let absolute = named.map(|(path, _)| absolute(here, &path));
    let first = absolute.filter_map(|path| path.into_iter().next());
    let is_module = |name: &String| name.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
    first.filter(is_module).collect()
}

/// Returns the paths of other crates that a source names, in `use` lines and elsewhere. A name that a `use` gives
/// stands for its path.
fn foreign_paths(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut named = Vec::new();
    for (at, _) in text.match_indices("use ") {
        if !text[..at].ends_with(is_name)
            && let Some(end) = text[at..].find(';')
        {
            expand(&text[at + 4..at + end], &[], &mut named);
        }
    }
    let given = named
        .iter()
        .filter_map(|(path, name)| Some((name.clone()?, path.clone())));
    let given = given.collect::<BTreeMap<_, _>>();
    let mut found = named.into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    for (at, _) in text.match_indices("::") {
        let start = text[..at]
            .rfind(|c| !is_name(c))
            .map_or(0, |before| before + 1);
        // Only the start of a path, which may have a `::` in front of it.
        let before = text[..start].trim_end_matches("::");
        if start == at || before.ends_with(|c| is_name(c) || c == '>' || c == ':') {
            continue;
        }
        let mut path = Vec::new();
        expand(
            &text[start..start + path_length(&text[start..])],
            &[],
            &mut path,
        );
        found.extend(path.into_iter().map(|(mut path, _)| {
            if let Some(full) = path.first().and_then(|first| given.get(first)) {
                path.splice(..1, full.iter().cloned());
            }
            path
        }));
    }
    found.into_iter().map(|path| path.join("::")).collect()
}

/// Returns true if a path leads to what is owned, or takes all from a place above it.
fn leads_to(path: &str, owned: &str) -> bool {
    let is_below = |path: &str, above: &str| {
        let rest = path.strip_prefix(above);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let all = path.strip_suffix("::*");
    is_below(path, owned) || all.is_some_and(|above| is_below(owned, above))
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn imports_run_downwards() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let here = module_of(path.strip_prefix(source_root()).expect("below src"));
        for used in imports(&here, &text) {
            if layer(&module) < TOP && used != module && layer(&used) >= layer(&module) {
                wrong.push(format!(
                    "{}: {module} (layer {}) uses {used} (layer {})",
                    path.display(),
                    layer(&module),
                    layer(&used)
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nMove what both need into a module of a lower layer, or hand it down as a value.",
        wrong.join("\n")
    );
}

#[test]
fn paths_stay_in_the_modules_that_own_them() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let named = foreign_paths(&text);
        for (owned, owners) in OWNED {
            let is_owner = owners
                .iter()
                .any(|owner| module == *owner || (owner.contains('/') && is_below(&path, owner)));
            let found = named.iter().filter(|path| leads_to(path, owned));
            for name in found {
                if !is_owner {
                    wrong.push(format!(
                        "{}: only {owners:?} may have {name}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nHave the event loop do it, and hand the result down as a value.",
        wrong.join("\n")
    );
}

#[test]
fn the_checks_can_fail() {
    let here = ["policy".to_owned(), "cors".to_owned()];
    for (text, expected) in [
        ("use crate::net::loop_;", &["net"][..]),
        ("use crate::{http::head, policy};", &["http", "policy"]),
        ("use crate::{http::{field, head}, sort};", &["http", "sort"]),
        (
            "use crate::{http::field::{Name, NameSet}, transport::ordered};",
            &["http", "transport"],
        ),
        ("use super::super::config::schema;", &["config"]),
        ("fn f() -> super::super::net::A {}", &["net"]),
        ("use super::super::*;", &["*"]),
        ("use super::{route, super::net};", &["net", "policy"]),
    ] {
        let found = imports(&here, text);
        assert!(found.iter().eq(expected), "{text}: {found:?}");
    }
    for text in [
        "fn f() { std::net::TcpStream::connect(a) }",
        "fn f() { ::std::net::TcpStream::connect(a) }",
        "use std::net::TcpStream;",
        "use std::{net::TcpStream, thread};",
        "use std::net::{IpAddr, TcpStream as Stream};",
        "use std::net; fn f() { net::TcpStream::connect(a) }",
        "use std::net as n; fn f() -> n::TcpStream {}",
        "use std::net::*;",
        "use std::*;",
    ] {
        let found = foreign_paths(text);
        let is_found = |owned| found.iter().any(|path| leads_to(path, owned));
        assert!(is_found("std::net::TcpStream"), "{text}: {found:?}");
        assert!(
            !is_found("std::fs") || text.contains("std::*"),
            "{text}: {found:?}"
        );
    }
    for text in [
        "use std::net::IpAddr;",
        "use crate::log::Log; fn f(log: L) { log.a(); }",
        "a::log::b()",
    ] {
        let found = foreign_paths(text);
        let is_found = |owned| found.iter().any(|path| leads_to(path, owned));
        assert!(
            !is_found("log") && !is_found("std::net::TcpStream"),
            "{text}: {found:?}"
        );
    }
}

/// Path of a module from the crate's root, or of an item in it.
type Names = Vec<String>;

/// A path in a source, and the name that a `use` gives it.
type Named = (Names, Option<String>);

/// Expands a use tree (`a::{b, c::d as e}`) behind `prefix`.
fn expand(tree: &str, prefix: &[String], found: &mut Vec<Named>) {
    let (head, inner) = match tree.split_once('{') {
        Some((head, rest)) => (head, rest.rsplit_once('}').map(|(inner, _)| inner)),
        None => (tree, None),
    };
    let (head, alias) = match head.split_once(" as ") {
        Some((head, alias)) => (head, Some(alias.trim().to_owned())),
        None => (head, None),
    };
    let mut path = prefix.to_vec();
    let steps = head.split("::").map(str::trim);
    path.extend(steps.filter(|step| !step.is_empty()).map(str::to_owned));
    let Some(inner) = inner else {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = alias.or_else(|| path.last().cloned());
        return found.push((path, name));
    };
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(&inner[start..at], &path, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Length of a path with its use tree, from the start of `text`.
fn path_length(text: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if depth > 0 || text[..at].trim_end().ends_with("::") => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ if depth > 0 || letter.is_ascii_alphanumeric() || "_:".contains(letter) => {}
            // rustfmt may break a path behind its `::`.
            _ if letter.is_whitespace() && text[..at].trim_end().ends_with("::") => {}
            _ => return at,
        }
    }
    text.len()
}

/// Paths of a source that begin at a module, each with the name that a `use` gives it.
fn paths(text: &str) -> Vec<Named> {
    let children = text.match_indices("mod ").filter_map(|(at, _)| {
        let (name, _) = text[at + 4..].split_once(';')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.chars().all(is_name).then_some(name)
    });
    let roots = ["crate", "super", "self"].into_iter().chain(children);
    let mut found = Vec::new();
    for root in roots {
        for (at, _) in text.match_indices(&format!("{root}::")) {
            let before = &text[..at];
            if before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let length = path_length(&text[at..]);
            let is_use = before.trim_end().ends_with("use");
            let end = match text[at..].find(';') {
                // The whole statement, with its `as`.
                Some(end) if is_use => at + end,
                _ => at + length,
            };
            let mut named = Vec::new();
            expand(text[at..end].trim_end_matches(':'), &[], &mut named);
            found.extend(
                named
                    .into_iter()
                    .map(|(path, name)| (path, name.filter(|_| is_use))),
            );
        }
    }
    found
}

/// Makes a path of the module `here` one from the crate's root.
fn absolute(here: &[String], path: &[String]) -> Names {
    let mut base = here.to_vec();
    let mut rest = path;
    match rest.first().map(String::as_str) {
        Some("crate") => {
            base.clear();
            rest = &rest[1..];
        }
        Some("self") => rest = &rest[1..],
        _ => {}
    }
    while rest.first().is_some_and(|step| step == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend_from_slice(rest);
    base
}

/// Modules by their paths, each with the paths that it names.
struct Modules(BTreeMap<Names, Vec<Named>>);

impl Modules {
    fn new(sources: impl Iterator<Item = (Names, String)>) -> Modules {
        Modules(
            sources
                .map(|(here, text)| {
                    let named = paths(&text).into_iter();
                    let named = named.map(|(path, name)| (absolute(&here, &path), name));
                    let named = named.collect();
                    (here, named)
                })
                .collect(),
        )
    }

    /// Returns the module that defines what a path names.
    fn defined_in(&self, path: &[String], steps_left: u8) -> Names {
        let lengths = (0..=path.len()).rev();
        let length = lengths
            .into_iter()
            .find(|length| self.0.contains_key(&path[..*length]))
            .unwrap_or(0);
        let (module, rest) = path.split_at(length);
        let alias = rest.first().and_then(|first| {
            let named = self.0.get(module)?.iter();
            let mut named = named.filter(|(_, name)| name.as_ref() == Some(first));
            named.next().map(|(path, _)| path)
        });
        match alias {
            Some(alias) if alias != path && steps_left > 0 => {
                let full = [alias.as_slice(), &rest[1..]].concat();
                self.defined_in(&full, steps_left - 1)
            }
            _ => module.to_vec(),
        }
    }

    fn imports(&self, here: &Names) -> BTreeSet<Names> {
        let named = self.0[here].iter();
        named
            .map(|(path, _)| self.defined_in(path, 8))
            .filter(|there| !here.starts_with(there) && self.0.contains_key(there))
            .collect()
    }

    /// Returns the sets of modules that reach each other.
    fn circles(&self) -> BTreeSet<Vec<String>> {
        let direct: BTreeMap<_, _> = self.0.keys().map(|key| (key, self.imports(key))).collect();
        let reached: BTreeMap<_, _> = direct
            .keys()
            .map(|start| {
                let mut seen = BTreeSet::new();
                let mut open = direct[start].iter().collect::<Vec<_>>();
                while let Some(next) = open.pop() {
                    if seen.insert(next) {
                        open.extend(&direct[next]);
                    }
                }
                (*start, seen)
            })
            .collect();
        let circular = reached.iter().filter(|(start, seen)| seen.contains(*start));
        circular
            .map(|(start, seen)| {
                let members = seen.iter().filter(|other| reached[**other].contains(start));
                members.map(|names| names.join("::")).collect()
            })
            .collect()
    }
}

/// Path of the module in a file below `src`.
fn module_of(file: &Path) -> Names {
    let names = file.with_extension("");
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    let mut names = names.collect::<Names>();
    if names
        .last()
        .is_some_and(|last| ["mod", "lib"].contains(&last.as_str()))
    {
        names.pop();
    }
    names
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let root = source_root();
    let modules = Modules::new(
        sources()
            .into_iter()
            .map(|(_, path, text)| {
                (
                    module_of(path.strip_prefix(&root).expect("below src")),
                    text,
                )
            })
            .filter(|(names, _)| {
                names
                    .last()
                    .is_none_or(|last| last != "tests" && last != "main")
            }),
    );
    let found = modules.0.values().map(Vec::len).sum::<usize>();
    assert!(found > 1_000, "only {found} paths were found");
    let circles = modules.circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn the_check_for_circles_can_fail() {
    let circles = |files: &[(&str, &str)]| -> Vec<String> {
        let sources = files
            .iter()
            .map(|(path, text)| (module_of(Path::new(path)), production(text)));
        let modules = Modules::new(sources);
        let found = modules.circles().into_iter();
        found.map(|members| members.join(" ")).collect()
    };
    let shared = (
        "module/mod.rs",
        "mod a;\nmod b;\npub use self::a::{A, deep::D as E};\npub struct Shared;",
    );
    let none: [&str; 0] = [];
    // Parts of a folder and its own file are no circle.
    assert_eq!(
        circles(&[
            shared,
            ("module/a.rs", "use super::Shared;"),
            ("module/b.rs", "use super::Shared;")
        ]),
        none
    );
    // Neither is one that imports the other, through any form.
    for text in [
        "use super::a::A;",
        "use super::{A, Shared};",
        "fn f() -> super::A {}",
        "use crate::module::{self, a::{A}};",
    ] {
        assert_eq!(
            circles(&[shared, ("module/a.rs", ""), ("module/b.rs", text)]),
            none,
            "{text}"
        );
        // Siblings that import each other are.
        let found = circles(&[
            shared,
            ("module/a.rs", "use super::b;"),
            ("module/b.rs", text),
        ]);
        assert_eq!(found, ["module::a module::b"], "{text}");
    }
}

//! Documents and examples: their configurations load, their links lead somewhere, and what they state of the command line is
//! what the program says.
//!
//! A block marked `json` is a whole file that loads. A block marked `jsonc` has keys of the top level, and loads with a service
//! beside them. A block marked `json5` has a mistake on purpose, and does not load.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use tollgate::config;

/// Services that `jsonc` blocks load with.
const SERVICES: &str = r#""services": [{ "route": "/", "target": "http://127.0.0.1:9000" }]"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files below a folder with this extension, sorted.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root()).expect("a path below").to_owned();
        if path.is_dir() {
            found.extend(files(name.to_str().expect("a name"), extension));
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Returns each document with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let top = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "tests/README.md",
    ];
    let paths = top.iter().map(PathBuf::from).chain(files("docs", "md"));
    paths
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).expect("a document");
            (path, text)
        })
        .collect()
}

/// Returns the fenced blocks of a document: line, language, text.
fn blocks(text: &str) -> Vec<(usize, &str, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    for (line, number) in text.lines().zip(1..) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((number, language, String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, _, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    found
}

/// Loads a configuration where each file that it names can be had. Returns the errors.
fn load(text: &str) -> Vec<String> {
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
    let read = |path: &Path| match path.extension().and_then(|extension| extension.to_str()) {
        Some("pem") => Ok(pair.cert.pem().into_bytes()),
        Some("key") => Ok(pair.signing_key.serialize_pem().into_bytes()),
        Some("html") => Ok(b"<!doctype html>".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let variables = |name: &str| (name != "PORT").then(|| "0123456789abcdef".repeat(2));
    match config::load(text.as_bytes(), "tollgate.json", &variables, &read) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn configurations_of_documents_load() {
    let mut loaded = 0;
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for (line, language, block) in blocks(&text) {
            let errors = match language {
                "json" => load(&block),
                "jsonc" => {
                    let members = block.trim().strip_prefix('{').unwrap_or_else(|| {
                        panic!("{}:{line}: no object", path.display());
                    });
                    load(&format!("{{ {SERVICES}, {members}"))
                }
                "json5" if load(&block).is_empty() => vec!["loads, but shows a mistake".to_owned()],
                "json5" => Vec::new(),
                "console" | "sh" | "text" | "nginx" | "js" | "dockerfile" | "ini" => continue,
                other => vec![format!("{other:?} is no language of a block")],
            };
            loaded += 1;
            wrong.extend(
                errors
                    .iter()
                    .map(|error| format!("{}:{line}: {error}", path.display())),
            );
        }
    }
    assert!(loaded > 20, "{loaded}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn examples_load() {
    let paths = files("examples", "json");
    assert!(paths.len() >= 7, "{paths:?}");
    for path in paths {
        let text = std::fs::read_to_string(root().join(&path)).expect("an example");
        assert_eq!(load(&text), Vec::<String>::new(), "{}", path.display());
    }
}

/// Returns the anchors of a document, as the repository's host makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = text.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter })
                .collect()
        })
        .collect()
}

/// Returns the targets of the links of a text, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, part) in text.split("](").enumerate() {
        if at > 0
            && let Some((target, _)) = part.split_once(')')
        {
            found.push(target.to_owned());
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(&path),
                file => root().join(&path).parent().expect("a folder").join(file),
            };
            let is_good = target.exists()
                && (anchor.is_empty()
                    || std::fs::read_to_string(&target)
                        .is_ok_and(|text| anchors(&text).contains(anchor)));
            if !is_good {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(checked > 50, "{checked}");
    assert!(wrong.is_empty(), "links to nothing:\n{}", wrong.join("\n"));
}

#[test]
fn the_readme_is_one_page() {
    let text = include_str!("../README.md");
    assert!(text.lines().count() <= 150, "{}", text.lines().count());
}

#[test]
fn the_checks_of_documents_can_fail() {
    assert_ne!(
        load(r#"{ "services": [ { "route": "/x", "taget": "http://a" } ] }"#),
        Vec::<String>::new()
    );
    assert_eq!(links("[a](b.md#c) and [d](#e)"), ["b.md#c", "#e"]);
    let known = anchors("# A `b`: c, d\n```\n# no\n```\n## What is bounded");
    assert_eq!(
        known.into_iter().collect::<Vec<_>>(),
        ["a-b-c-d", "what-is-bounded"]
    );
    assert_eq!(
        blocks("x\n```json\n{}\n```\n"),
        [(2, "json", "{}\n".to_owned())]
    );
}

/// Returns the commands and the options of the help text.
fn command_line() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in tollgate::cli::HELP.lines() {
        if let Some(usage) = line.strip_prefix("  tollgate ") {
            let command = usage.split([' ', ']']).next().expect("a word");
            found.insert(command.trim_start_matches('[').to_owned());
        }
        for word in line
            .split([' ', '[', ']', ',', '\''])
            .filter(|word| word.starts_with("--"))
        {
            found.insert(word.to_owned());
        }
    }
    found
}

#[test]
fn the_manual_page_has_the_command_line() {
    let page = include_str!("../packaging/tollgate.1");
    let words = command_line();
    assert!(
        words.contains("--config") && words.contains("check") && words.len() > 25,
        "{words:?}"
    );
    let mut in_page = BTreeSet::new();
    for line in page.lines() {
        let mut parts = line.split(' ').peekable();
        while let Some(part) = parts.next() {
            match (part, parts.peek()) {
                // The commands with two names stand behind `|`.
                ("Cm" | ".Cm", Some(name)) => {
                    in_page.insert((*name).to_owned());
                    in_page.extend(line.split(" | ").skip(1).map(str::to_owned));
                }
                ("Fl", Some(name)) if name.starts_with('-') => {
                    in_page.insert(format!("-{name}"));
                }
                _ => {}
            }
        }
    }
    assert_eq!(
        in_page
            .into_iter()
            .filter(|word| !words.contains(word))
            .collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    for word in words {
        let form = match word.strip_prefix("--") {
            Some(option) => format!("Fl -{option}"),
            None => format!("Cm {word}\n"),
        };
        assert!(
            page.contains(&form),
            "packaging/tollgate.1 does not name {word}"
        );
    }
}

#[test]
fn the_schema_of_the_packages_is_that_of_the_table_of_keys() {
    let path = root().join("packaging/tollgate.schema.json");
    let schema = config::schema::json_schema::write();
    if std::env::var_os("REWRITE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).expect("the schema is written");
    }
    assert!(
        std::fs::read_to_string(path).expect("the schema") == schema,
        "write it again: REWRITE_SCHEMA=1 cargo test --test it schema_of_the_packages"
    );
}

/// Words of the kernel and of the C library, which no source here has.
const WORDS_OF_THE_SYSTEM: [&str; 11] = [
    "Address in use",
    "Address already in use",
    "Permission denied",
    "address not available",
    "connection refused",
    "received fatal alert:",
    "Network unreachable",
    "Network is unreachable",
    "Host is unreachable",
    "No route to host",
    "Invalid argument",
];

#[test]
fn messages_of_the_troubleshooting_table_are_in_the_source() {
    let sources: String = files("src", "rs")
        .iter()
        .map(|path| std::fs::read_to_string(root().join(path)).expect("a source"))
        .collect();
    // A text that goes on behind a backslash is one text.
    let lines: Vec<&str> = sources
        .split("\\\n")
        .enumerate()
        .map(|(at, part)| if at > 0 { part.trim_start() } else { part })
        .collect();
    let sources = lines.concat();
    let document = include_str!("../docs/operations.md");
    let (_, table) = document
        .split_once("| words in the message |")
        .expect("the table");
    let mut checked = 0;
    for row in table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let words = row.split(" | ").next().expect("a cell");
        for phrase in words.split('`').skip(1).step_by(2) {
            checked += 1;
            assert!(
                WORDS_OF_THE_SYSTEM.contains(&phrase) || sources.contains(phrase),
                "no message has {phrase:?}"
            );
        }
    }
    assert!(checked > 15, "{checked}");
}

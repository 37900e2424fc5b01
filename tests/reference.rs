//! `docs/configuration.md` beside the table of keys: each key has a row, with its type, bounds and default.

use std::collections::BTreeMap;

use tollgate::config::schema::{self, Fallback, Key, Kind, Table};

/// First line of a table of keys.
const HEAD: &str = "| key | type | default | meaning |";

/// Row of a key: its cells before the meaning.
struct Row {
    paths: Vec<String>,
    kind: String,
    default: String,
    about: &'static str,
}

impl Row {
    /// Returns the first three cells.
    fn start(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(|path| format!("`{path}`")).collect();
        format!(
            "| {} | {} | {} |",
            paths.join(", "),
            self.kind,
            self.default
        )
    }
}

/// Returns the type and the bounds of a value in words.
fn words(kind: &'static Kind) -> String {
    let bounds = || kind.bounds().unwrap_or_default();
    match kind {
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Off => "`false`".to_owned(),
        Kind::Null => "`null`".to_owned(),
        Kind::Whole(..) => format!("number ({})", bounds()),
        Kind::Size(..) => format!("size ({})", bounds()),
        Kind::Duration(_) => format!("duration ({})", bounds()),
        Kind::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Text(_) | Kind::Secret(_) => "text".to_owned(),
        Kind::List(_, items) => match words(items) {
            choice if choice.contains(" or ") => format!("list of ({choice})"),
            one => format!("list of {one}"),
        },
        Kind::Map(_, values) => format!("object with free names: {}", words(values)),
        Kind::Object(_) | Kind::Variants(..) => "object".to_owned(),
        Kind::Any(_, kinds) => alternatives(kinds),
    }
}

/// Returns the words of a choice of kinds. A list of what stands beside it is "a list of them".
fn alternatives(kinds: &'static [Kind]) -> String {
    let mut found: Vec<String> = Vec::new();
    for kind in kinds {
        let text = match kind {
            Kind::List(_, items) if found.contains(&words(items)) => "a list of them".to_owned(),
            kind => words(kind),
        };
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found.join(" or ")
}

/// Returns the default in words.
fn default(key: &'static Key) -> String {
    match key.default {
        Fallback::Required => "needed".to_owned(),
        Fallback::Nothing => "none".to_owned(),
        Fallback::Inherited => "that of the top level".to_owned(),
        Fallback::OfKeys => "those of its keys".to_owned(),
        _ => format!("`{}`", key.default_json().expect("a value")),
    }
}

/// Returns the path of a key as documents write it.
fn path(table: &Table, key: &Key) -> String {
    match table.name {
        "" => key.name.to_owned(),
        name if schema::PROVIDERS.iter().any(|table| table.name == name) => {
            format!("auth.NAME.{}", key.name)
        }
        name => format!("{name}.{}", key.name),
    }
}

/// Returns the row of each key. A key of services that only replaces the one of the top level shares its row.
fn rows() -> Vec<Row> {
    let mut tables: Vec<&'static Table> = Vec::new();
    schema::ROOT.tables(&mut |table| {
        if !tables.iter().any(|known| std::ptr::eq(*known, table)) {
            tables.push(table);
        }
    });
    let mut rows: Vec<Row> = Vec::new();
    for table in tables {
        for key in table.keys {
            let (path, kind) = (path(table, key), words(&key.kind));
            let of_top = path
                .strip_prefix("services[].")
                .filter(|_| matches!(key.default, Fallback::Inherited));
            let shared = rows
                .iter_mut()
                .find(|row| of_top.is_some_and(|name| row.paths[0] == name) && row.kind == kind);
            // `type` has the same row in each table of a provider.
            let is_known = rows_have(&shared, &path);
            match shared {
                Some(row) if !is_known => row.paths.push(path),
                Some(_) => {}
                None => rows.push(Row {
                    paths: vec![path],
                    kind,
                    default: default(key),
                    about: key.about,
                }),
            }
        }
    }
    rows
}

/// Returns true if the row has the path already.
fn rows_have(row: &Option<&mut Row>, path: &str) -> bool {
    row.as_ref()
        .is_some_and(|row| row.paths.iter().any(|known| known == path))
}

/// Returns how often each text is there.
fn counts(texts: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_insert(0) += 1;
    }
    counts
}

#[test]
fn each_key_has_its_row_in_the_reference() {
    let document = include_str!("../docs/configuration.md");
    let mut written = Vec::new();
    let mut is_table = false;
    for line in document.lines() {
        is_table = line == HEAD || (is_table && line.starts_with('|'));
        if is_table && line.starts_with("| `") {
            let cells: Vec<&str> = line.splitn(5, " | ").collect();
            assert_eq!(cells.len(), 4, "four cells: {line}");
            assert!(
                !cells[3].trim_matches(['|', ' ']).is_empty(),
                "no meaning: {line}"
            );
            written.push(format!("{} |", cells[..3].join(" | ")));
        }
    }
    let written = counts(written.into_iter());
    let rows = rows();
    assert!(rows.len() > 100, "{}", rows.len());
    let expected = counts(rows.iter().map(Row::start));
    let missing: Vec<String> = rows
        .iter()
        .filter(|row| !written.contains_key(&row.start()))
        .map(|row| format!("{} {} |", row.start(), row.about))
        .collect();
    let stale: Vec<&String> = written
        .iter()
        .filter(|(row, count)| expected.get(*row).is_none_or(|known| known < *count))
        .map(|(row, _)| row)
        .collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/configuration.md has no such rows, put them into their section:\n{}\nand has rows that fit no key, or twice:\n{}",
        missing.join("\n"),
        stale
            .iter()
            .map(|row| row.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
    );
}

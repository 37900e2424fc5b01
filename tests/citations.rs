//! Citations hold: documents name tests and files that exist, and source and tests cite rows, invariants and faults that the
//! documents contain, in one form.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Documents whose paths are checked.
const DOCUMENTS: [&str; 9] = [
    "CONTRIBUTING.md",
    "README.md",
    "docs/benchmarks.md",
    "docs/configuration.md",
    "docs/http.md",
    "docs/invariants.md",
    "docs/operations.md",
    "docs/security.md",
    "tests/README.md",
];

/// Numbers that documents define and others cite.
struct Defined {
    rows: BTreeSet<u32>,
    invariants: BTreeSet<u32>,
    faults: BTreeSet<u32>,
}

impl Defined {
    fn read() -> Defined {
        let invariants = document("docs/invariants.md");
        let numbers = |letter| {
            table(&invariants)
                .filter_map(|cells| cells[0].strip_prefix(letter)?.parse().ok())
                .collect()
        };
        Defined {
            rows: table(&document("docs/http.md"))
                .filter_map(|cells| cells[0].parse().ok())
                .collect(),
            invariants: numbers('I'),
            faults: numbers('F'),
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Cells of each line of a Markdown table.
fn table(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter_map(|line| {
        let inner = line.strip_prefix('|')?.strip_suffix('|')?;
        Some(inner.split(" | ").map(str::trim).collect())
    })
}

/// Files below a folder with one of these extensions (`run`: the name of a script), with their path from the root.
fn files(folder: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let extension = path.extension().map_or(name.clone(), |extension| {
                extension.to_string_lossy().into_owned()
            });
            if path.is_dir() {
                if name != "node_modules" && name != "mutations" {
                    folders.push(path);
                }
            } else if extensions.contains(&extension.as_str()) && name != "citations.rs" {
                let text = fs::read_to_string(&path).expect("a text file");
                found.push((relative(&path), text));
            }
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("a path below the root")
        .to_string_lossy()
        .into_owned()
}

/// Test functions with the path of their module: `http::head::tests::limits`, `wire::requests::row_01`.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, text) in [files("src", &["rs"]), files("tests", &["rs"])].concat() {
        let module: Vec<&str> = path
            .trim_end_matches(".rs")
            .split('/')
            .skip(1)
            .filter(|part| *part != "mod")
            .collect();
        let mut inner = None;
        let mut is_test = false;
        for line in text.lines() {
            let code = line.trim_start();
            if let Some(name) = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(" {")) {
                inner = Some(name);
            } else if line == "}" {
                inner = None;
            } else if code == "#[test]" {
                is_test = true;
            } else if let Some(rest) = code.strip_prefix("fn ") {
                let name = rest.split(['(', '<']).next();
                if is_test {
                    let parts: Vec<&str> =
                        module.iter().copied().chain(inner).chain(name).collect();
                    names.insert(parts.join("::"));
                }
                is_test = false;
            }
        }
    }
    names
}

/// Names in backticks that contain `::`.
fn named_tests(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains("::"))
}

/// Paths in backticks that begin with a folder of the repository, without arguments.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let folders = ["src/", "tests/", "benches/", "fuzz/", "docs/", ".ci/"];
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split(' ').next())
        .filter(move |path| folders.iter().any(|folder| path.starts_with(folder)))
}

/// Words of a line: runs of letters, digits and `_`, with the byte before each.
fn words(line: &str) -> impl Iterator<Item = (u8, &str)> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(|word| {
            let at = word.as_ptr() as usize - line.as_ptr() as usize;
            let before = at.checked_sub(1).map_or(b' ', |at| line.as_bytes()[at]);
            (before, word)
        })
}

/// Faults of the citations in a text, each with its line number.
fn faults(text: &str, defined: &Defined) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let next = lines.peek().map_or("", |(_, next)| content(next));
        let mut report = |what: String| found.push((at + 1, what));
        if line.contains('\u{a7}') {
            report("a paragraph sign: cite as in `RFC 9112 6.3`".to_owned());
        }
        for (start, _) in line.match_indices("RFC") {
            if let Some(what) = form(&line[start + 3..], next) {
                report(what.to_owned());
            }
        }
        let mut rows = cited_rows(line);
        for (before, word) in words(line) {
            let lower = word.to_ascii_lowercase();
            if let Some(named) = lower.strip_prefix("row_").or(lower.strip_prefix("rows_")) {
                rows.extend(
                    named
                        .split('_')
                        .map_while(|part| match part {
                            "and" | "to" => Some(None),
                            part => part.parse::<u32>().ok().map(Some),
                        })
                        .flatten(),
                );
            }
            let number = |letter| word.strip_prefix(letter)?.parse::<u32>().ok();
            // `%F8` and `\xF8` are bytes.
            let is_byte = before == b'%' || before == b'\\';
            let is_missing = number('I')
                .is_some_and(|number| !defined.invariants.contains(&number))
                || number('F').is_some_and(|number| !defined.faults.contains(&number));
            if is_missing && !is_byte {
                report(format!("docs/invariants.md has no {word}"));
            }
        }
        for row in rows {
            if !defined.rows.contains(&row) {
                report(format!("docs/http.md has no row {row}"));
            }
        }
    }
    found
}

/// Rows cited in words: `row 3`, `rows 1 to 54, 67 and 70`.
fn cited_rows(line: &str) -> Vec<u32> {
    let mut rows = Vec::new();
    let lower = line.to_ascii_lowercase();
    for start in ["row ", "rows "] {
        for (at, _) in lower.match_indices(start) {
            if lower[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let mut rest = &lower[at + start.len()..];
            loop {
                let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                let Ok(row) = rest[..rest.len() - behind.len()].parse() else {
                    break;
                };
                rows.push(row);
                let Some(next) = [", ", " and ", " to "]
                    .iter()
                    .find_map(|joint| behind.strip_prefix(joint))
                else {
                    break;
                };
                rest = next;
            }
        }
    }
    rows
}

/// A line without the marks of a comment.
fn content(line: &str) -> &str {
    line.trim_start()
        .trim_start_matches(['/', '!', '#', '*'])
        .trim_start()
}

/// Returns what is wrong with the form of a citation, given what follows `RFC` on its line, and the next line.
fn form(rest: &str, next: &str) -> Option<&'static str> {
    let is_digit = |c: char| c.is_ascii_digit();
    let Some(number) = rest.strip_prefix(' ') else {
        let is_split = rest.is_empty() && next.starts_with(is_digit);
        return (is_split || rest.starts_with(|c| is_digit(c) || c == '-'))
            .then_some("cite as in `RFC 9112 6.3`, on one line");
    };
    if !number.starts_with(is_digit) {
        return None;
    }
    let behind = number.trim_start_matches(is_digit);
    let paragraph = behind.trim_start_matches([',', ' ', ':']);
    let is_wrong = number.len() - behind.len() != 4
        || (behind.trim().is_empty() && next.starts_with(is_digit))
        || paragraph.to_ascii_lowercase().starts_with("section")
        || (!behind.starts_with(' ') && paragraph.starts_with(is_digit))
        || behind.starts_with("  ");
    is_wrong.then_some("cite as in `RFC 9112 6.3`, on one line")
}

#[test]
fn documents_name_tests_that_exist() {
    let names = test_names();
    assert!(names.len() > 500, "only {} tests were found", names.len());
    let mut missing = Vec::new();
    for path in ["docs/http.md", "docs/invariants.md"] {
        let text = document(path);
        let gone = named_tests(&text).filter(|name| !names.contains(*name));
        missing.extend(gone.map(|name| format!("{path}: {name}")));
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}

/// Returns what is wrong with a mutation, without running it: a test that it names is gone, or the
/// lines that it changes, with one line around them.
fn faults_of_mutation(patch: &str, names: &BTreeSet<String>) -> Vec<String> {
    let named = patch.lines().find_map(|line| line.strip_prefix("Tests: "));
    let named = named.unwrap_or_default().split(' ');
    let gone = named.filter(|wanted| !names.iter().any(|name| name.contains(wanted)));
    let mut wrong = gone
        .map(|name| format!("no test is named {name:?}"))
        .collect::<Vec<_>>();
    for file in patch.split("\n+++ b/").skip(1) {
        let (path, hunks) = file.split_once('\n').expect("hunks");
        let text = document(path);
        for hunk in hunks
            .split("\n@@ ")
            .map(|hunk| hunk.split("\n--- a/").next())
        {
            let lines = hunk.unwrap_or_default().lines().skip(1).collect::<Vec<_>>();
            let is_changed = |line: &&str| line.starts_with(['-', '+']);
            let first = lines.iter().position(is_changed).expect("a change");
            let last = lines.iter().rposition(is_changed).expect("a change");
            let end = lines.len().min(last + 2);
            let old = lines[first.saturating_sub(1)..end].iter();
            let old = old.filter(|line| !line.starts_with('+'));
            let old = old.map(|line| format!("{}\n", line.get(1..).unwrap_or_default()));
            let old = old.collect::<String>();
            if !text.contains(&old) {
                wrong.push(format!("no such lines in {path}:\n{old}"));
            }
        }
    }
    wrong
}

#[test]
fn mutations_name_tests_and_lines_that_exist() {
    let names = test_names();
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(root().join("tests/mutations")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            let patch = fs::read_to_string(&path).expect("a text file");
            let faults = faults_of_mutation(&patch, &names);
            wrong.extend(
                faults
                    .iter()
                    .map(|fault| format!("{}: {fault}", relative(&path))),
            );
            count += 1;
        }
    }
    assert!(count > 90, "only {count} mutations were found");
    assert!(wrong.is_empty(), "write anew:\n{}", wrong.join("\n"));
}

#[test]
fn documents_name_files_that_exist() {
    let mut missing = Vec::new();
    for path in DOCUMENTS {
        let text = document(path);
        let gone = named_files(&text).filter(|named| !root().join(named).exists());
        missing.extend(gone.map(|named| format!("{path}: {named}")));
    }
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
}

/// Pairs of a function and a file in a text: `drive` in `src/proxy/drive.rs`.
fn named_functions(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split('`').collect::<Vec<_>>();
    let functions = parts.windows(3).filter(|window| window[1].trim() == "in");
    functions
        .map(|window| (window[0], window[2]))
        .filter(|(_, path)| path.starts_with("src/") && path.ends_with(".rs"))
        .collect()
}

/// Returns the files and folders that the tables of a module name, with the path of the module before them.
fn files_of_rooms(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut module = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('#') {
            let named = title.split('`').collect::<Vec<_>>();
            // A title with several modules has full paths below it.
            module = (named.len() == 3).then(|| named[1].to_owned());
        } else if let (Some(module), Some(cells)) = (&module, line.strip_prefix("| ")) {
            let names = cells.split(" | ").next().unwrap_or("").split('`');
            found.extend(
                names
                    .skip(1)
                    .step_by(2)
                    .map(|name| format!("{module}{name}")),
            );
        }
    }
    found
}

#[test]
fn the_architecture_names_files_and_functions_that_exist() {
    let text = document("docs/ARCHITECTURE.md");
    let named = files_of_rooms(&text);
    assert!(named.len() > 50, "{named:?}");
    let gone = named.iter().filter(|path| !root().join(path).exists());
    assert_eq!(gone.collect::<Vec<_>>(), Vec::<&String>::new());
    let functions = named_functions(&text);
    assert!(functions.len() > 20, "{functions:?}");
    for (function, path) in functions {
        let source = document(path);
        let forms = ["(", "<"].map(|behind| format!("fn {function}{behind}"));
        assert!(
            forms.iter().any(|form| source.contains(form)),
            "{path} has no function {function}"
        );
    }
    // Each file of the engine and of the policies stands in a table, itself or with its folder.
    for module in ["src/proxy", "src/policy", "src/http", "src/upstream"] {
        for (path, _) in files(module, &["rs"]) {
            let is_named = named.iter().any(|name| {
                path == *name || (name.ends_with('/') && path.starts_with(name.as_str()))
            });
            assert!(
                is_named || path.ends_with("/mod.rs"),
                "docs/ARCHITECTURE.md does not name {path}"
            );
        }
    }
}

#[test]
fn each_requirement_names_a_test() {
    let text = document("docs/http.md");
    let rows: Vec<Vec<&str>> = table(&text)
        .filter(|cells| cells[0].parse::<u32>().is_ok())
        .collect();
    for (cells, number) in rows.iter().zip(1..) {
        assert_eq!(cells[0], number.to_string(), "rows are numbered in order");
        assert_eq!(cells.len(), 6, "row {number} has six cells");
        assert!(
            ["MUST", "SHOULD", "MAY", "rule"].contains(&cells[1]),
            "row {number}: level {:?}",
            cells[1]
        );
        assert!(
            cells[2].starts_with("RFC 911") && form(&cells[2][3..], "").is_none(),
            "row {number}: {:?}",
            cells[2]
        );
        assert!(
            named_tests(cells[5]).next().is_some(),
            "row {number} names no test: write one that shows it"
        );
    }
    assert!(rows.len() >= 108, "rows are never removed");
}

#[test]
fn citations_have_one_form_and_a_target() {
    let defined = Defined::read();
    let mut wrong = Vec::new();
    let readme = vec![("README.md".to_owned(), document("README.md"))];
    for (path, text) in [
        files("src", &["rs"]),
        files("tests", &["rs", "py", "js", "mjs", "run"]),
        readme,
    ]
    .concat()
    {
        let found = faults(&text, &defined);
        wrong.extend(
            found
                .into_iter()
                .map(|(line, what)| format!("{path}:{line}: {what}")),
        );
    }
    assert!(wrong.is_empty(), "citations:\n{}", wrong.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    let defined = Defined::read();
    for good in [
        "// RFC 9112 6.3, RFC 9110 5.5",
        "// (RFC 7519)",
        "//! RFC 9112 and RFC 9110: rows 1 to 54, 67",
        "fn rows_41_to_45_codings() {}",
        "\"I8: timers are left\", b\"%F8%FF\"",
        "// RFC 9112\n// erratum 7633",
    ] {
        assert_eq!(faults(good, &defined), [], "{good}");
    }
    for wrong in [
        "// RFC9112 6.3",
        "// RFC 9112, 6.3",
        "// RFC 9112 section 6.3",
        "// RFC 9112 \u{a7}6.3",
        "/// as in RFC 9112\n/// 6.3",
        "/// as in RFC\n/// 9112 6.3",
        "// row 1000",
        "// rows 1 to 1000",
        "fn row_1000_of_nothing() {}",
        "// I16",
        "// fault F99",
    ] {
        assert_eq!(faults(wrong, &defined).len(), 1, "{wrong}");
    }
    assert!(!test_names().contains("citations::no_such_test"));
    let names = test_names();
    let patch = "A bug.\nTests: layering::the_checks citations::gone\n\n--- a/src/slab.rs\n+++ b/src/slab.rs\n\
        @@ -1,2 +1,1 @@\n fn\n-no line of it\n fn\n";
    assert_eq!(faults_of_mutation(patch, &names).len(), 2);
    assert_eq!(
        named_functions("`drive` in\n`src/a.rs`, `x` and `y` in `z`"),
        [("drive", "src/a.rs")]
    );
    assert_eq!(
        files_of_rooms("### `src/a/`: b\n| file | c |\n| `x.rs`, `y/` | `z` |\n## D\n| `w` | |"),
        ["src/a/x.rs", "src/a/y/"]
    );
    let named: Vec<&str> = named_files("`src/no_such.rs` and `tests/no_such/run quick`").collect();
    assert_eq!(named, ["src/no_such.rs", "tests/no_such/run"]);
}

/// A script that is in no list is run by nobody.
#[test]
fn each_script_has_its_row_and_its_time() {
    let (map, ci) = (document("tests/README.md"), document(".ci/run"));
    for (path, _) in files("tests", &["run"]) {
        let name = format!("`{path}`");
        let row = table(&map).find(|cells| cells[0] == name);
        let row = row.unwrap_or_else(|| panic!("tests/README.md has no row for {path}"));
        let is_by_hand = row[2] == "by hand";
        assert_ne!(
            is_by_hand,
            ci.lines().any(|line| is_step(line, &path)),
            "{path} runs {} in tests/README.md; .ci/run calls it as timeout SECONDS {path}, or the row says by hand",
            row[2]
        );
    }
    for (line, expected) in [
        ("timeout 60 tests/a/run quick", true),
        ("  A=b timeout 60 tests/a/run >c &", true),
        ("# timeout 60 tests/a/run", false),
        ("tests/a/run", false),
        ("timeout tests/a/run", false),
        ("timeout 60 tests/a/runs", false),
    ] {
        assert_eq!(is_step(line, "tests/a/run"), expected, "{line}");
    }
}

/// Returns whether a line of a shell script runs this script, within a time.
fn is_step(line: &str, path: &str) -> bool {
    let words = line.split_whitespace().collect::<Vec<_>>();
    let is_run = |three: &[&str]| {
        three[0] == "timeout" && three[1].parse::<u32>().is_ok() && three[2] == path
    };
    !line.trim_start().starts_with('#') && words.windows(3).any(is_run)
}

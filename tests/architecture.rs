//! What docs/architecture.md says exists, exists.

use std::fs;
use std::path::Path;

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    // Blocks between three backticks are pictures.
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2))
}

#[test]
fn files_and_functions_of_the_page_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/architecture.md")).expect("the page");
    let mut source = String::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source += &fs::read_to_string(&path).expect("a source is text");
            }
        }
    }
    let (mut files, mut names) = (0, 0);
    for text in quoted(&page) {
        if text.ends_with(".rs") || text.ends_with('/') {
            let found = [root.join("src").join(text), root.join(text)]
                .iter()
                .any(|path| path.exists());
            assert!(found, "{text} does not exist");
            files += 1;
        } else if let Some((_, function)) = text.rsplit_once("::") {
            let is_there = ["fn ", "enum ", "struct ", "    "]
                .iter()
                .any(|before| source.contains(&format!("{before}{function}")));
            assert!(is_there, "{text} does not exist");
            names += 1;
        }
    }
    assert!(files > 40 && names > 20, "{files} files, {names} names");
}

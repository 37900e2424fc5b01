//! Configuration files with slips as people make them, each with what is said about it.
//!
//! A file of `tests/slips` has four parts: a title, the configuration, the errors, and the
//! configuration as a reader mends it who has the errors alone. The errors must be said word for
//! word, and the mended configuration must load. `REWRITE_SLIPS=1` writes what is said now into the
//! files, to be read before it is committed.

use std::io;
use std::path::{Path, PathBuf};

use tollgate::config;

use crate::authority::Authority;

/// Number of files.
const FILES: usize = 69;

struct Slip<'a> {
    title: &'a str,
    file: &'a str,
    said: &'a str,
    mended: &'a str,
}

impl Slip<'_> {
    fn parse(text: &str) -> Option<Slip<'_>> {
        let (title, rest) = text.split_once("--- file\n")?;
        let (file, rest) = rest.split_once("--- said\n")?;
        let (said, mended) = rest.split_once("--- mended\n")?;
        Some(Slip {
            title,
            file,
            said,
            mended,
        })
    }
}

/// Files that a configuration may name.
struct Files {
    ca: String,
    certificate: String,
    key: String,
}

impl Files {
    fn new() -> Files {
        let authority = Authority::new();
        let (certificate, key) = authority.sign_for(&["site.example"], None);
        Files {
            ca: authority.pem,
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = match path.to_str() {
            Some("ca.pem") => &self.ca,
            Some("site.pem") => &self.certificate,
            Some("site.key") => &self.key,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(text.clone().into_bytes())
    }

    /// Returns the errors of a configuration, one a line.
    fn errors(&self, text: &str) -> String {
        let read = |path: &Path| self.read(path);
        match config::load(text.as_bytes(), "tollgate.json", &|_| None, &read) {
            Ok(_) => String::new(),
            Err(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
        }
    }
}

fn paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slips");
    let entries = std::fs::read_dir(folder).expect("the folder");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn errors_are_enough_to_mend_a_file() {
    let paths = paths();
    assert_eq!(
        paths.len(),
        FILES,
        "FILES at the head of tests/slips.rs is the number of files"
    );
    let files = Files::new();
    let rewrite = std::env::var_os("REWRITE_SLIPS").is_some();
    let mut faults = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a file");
        let slip = Slip::parse(&text).expect("four parts");
        let said = files.errors(slip.file);
        if rewrite {
            let Slip {
                title,
                file,
                mended,
                ..
            } = slip;
            let text = format!("{title}--- file\n{file}--- said\n{said}--- mended\n{mended}");
            std::fs::write(&path, text).expect("a file that can be written");
        } else if said != slip.said || said.is_empty() {
            faults += &format!("{}: said\n{said}", path.display());
        }
        let left = files.errors(slip.mended);
        if !left.is_empty() {
            faults += &format!("{}: mended, and still\n{left}", path.display());
        }
    }
    assert!(
        faults.is_empty(),
        "{faults}\nto write what is said now: REWRITE_SLIPS=1 cargo test --test it slips; read the difference"
    );
}

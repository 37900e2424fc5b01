//! Tells the program its commit and its target, for `tollgate --version`, and packs the words of other programs.
//!
//! The commit is that of `TOLLGATE_COMMIT`, for builds from an archive, otherwise that of git, and "unknown" without both. A
//! debug build says "debug": it would otherwise be compiled again after each commit. No date and no path is looked at, so that
//! two builds of one commit are equal.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Words of other programs, which take less of the binary when they are packed.
const WORDS: &str = "src/config/schema/bridges/words.txt";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={WORDS}");
    let out = env::var_os("OUT_DIR").map(PathBuf::from);
    let out = out.ok_or(io::ErrorKind::NotFound)?;
    fs::write(out.join("words.packed"), packed(&fs::read(WORDS)?))?;
    println!("cargo::rerun-if-env-changed=TOLLGATE_COMMIT");
    let given = env::var("TOLLGATE_COMMIT").ok();
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match given.filter(|commit| is_commit(commit)) {
        Some(commit) => commit,
        None if is_release => of_git().unwrap_or("unknown".to_owned()),
        None => "debug".to_owned(),
    };
    let target = env::var("TARGET").unwrap_or("unknown".to_owned());
    println!("cargo::rustc-env=TOLLGATE_COMMIT={commit}");
    println!("cargo::rustc-env=TOLLGATE_TARGET={target}");
    Ok(())
}

/// Packs ASCII text. A byte below 128 stands for itself. Others begin a pair, of which the bits are `1LLLDDDD DDDDDDDD`: the L + 3
/// bytes that stand D + 1 bytes before. `src/config/schema/bridges/packed.rs` unpacks it.
fn packed(text: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    // Places of each three bytes, in their order.
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let known = rest.get(..3).and_then(|three| places.get(three));
        let near = known.into_iter().flatten().rev();
        let near = near.take_while(|&&place| at.abs_diff(place) <= 4096);
        let runs = near.map(|&place| {
            let before = text.get(place..).unwrap_or_default().iter();
            let same = before.zip(rest).take_while(|(one, other)| one == other);
            (same.count().min(10), at.abs_diff(place))
        });
        let best = runs.max_by_key(|(run, _)| *run).unwrap_or_default();
        let taken = match (best, rest.first()) {
            ((run @ 3.., distance), _) => {
                let pair = 0x8000 | run.abs_diff(3) << 12 | distance.abs_diff(1);
                packed.extend_from_slice(&(pair as u16).to_be_bytes());
                run
            }
            (_, first) => {
                packed.extend(first);
                1
            }
        };
        for _ in 0..taken {
            if let Some(three) = text.get(at..at.saturating_add(3)) {
                places.entry(three).or_default().push(at);
            }
            at = at.saturating_add(1);
        }
    }
    packed
}

/// Returns the first 12 digits of the commit of this folder. A repository around the folder does not count.
fn of_git() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?)
        .canonicalize()
        .ok()?;
    if Path::new(&top).canonicalize().ok()? != here {
        return None;
    }
    // Both change with a commit and with a change of branches.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    is_commit(&commit).then_some(commit)
}

/// Returns what git prints; `None` without git, and where it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// Returns true for 7 to 64 hex digits.
fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

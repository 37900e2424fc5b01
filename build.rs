//! Tells the program its commit and its target, for `tollgate --version`.
//!
//! The commit is that of `TOLLGATE_COMMIT`, for builds from an archive, otherwise that of git, and "unknown" without both. A
//! debug build says "debug": it would otherwise be compiled again after each commit. No date and no path is looked at, so that
//! two builds of one commit are equal.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
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

//! Processes of this machine: their names, and which of them is a gateway with the file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::running::is_same_file;

/// Start of the program's name: a file may have its version in it, such as `tollgate-0.2.0`.
const PROGRAM: &[u8] = b"tollgate";

/// Returns the process of a gateway with the file, by its arguments alone.
pub(super) fn unseen(file: &Path) -> Option<u64> {
    let own = u64::from(std::process::id());
    let pids = folder("/proc");
    let mut pids = pids.iter().filter_map(|name| name.parse::<u64>().ok());
    pids.find(|&pid| {
        // A command, such as `tollgate top`, is no gateway.
        let is_command = arguments(pid)
            .get(1)
            .is_some_and(|word| !word.is_empty() && !word.starts_with('-'));
        pid != own && !is_command && runs_file(pid, file)
    })
}

/// Returns the user of a gateway with the file, and its group.
pub(super) fn user(pid: u64, file: &Path) -> Option<(u32, u32)> {
    let facts = fs::metadata(format!("/proc/{pid}")).ok()?;
    runs_file(pid, file).then(|| (facts.uid(), facts.gid()))
}

/// Returns the names in a folder; none if it is not shown.
pub(super) fn folder(path: &str) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect()
}

/// Returns the arguments of a process.
fn arguments(pid: u64) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = bytes.split(|&byte| byte == 0);
    let arguments = arguments.map(|one| String::from_utf8_lossy(one).into_owned());
    arguments.collect()
}

/// Returns name and number of a process, such as `nginx (pid 12)`.
pub(super) fn name(pid: u64) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim_end())
}

/// Returns true if the process is this program, by the name that it was `started` by, or by that of the
/// file behind it, which is not shown to every user. A link may lead to a file with another name, and
/// a worker is started by none.
fn is_program(pid: u64, started: Option<&Path>) -> bool {
    let file = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::file_name);
    let mut names = [started, file.as_deref()].into_iter().flatten();
    names.any(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(PROGRAM) || Some(name) == own
    })
}

/// Returns true if the process is a gateway with this file.
pub(super) fn runs_file(pid: u64, file: &Path) -> bool {
    let arguments = arguments(pid);
    if !is_program(pid, arguments.first().map(Path::new)) {
        return false;
    }
    let mut rest = arguments.iter().skip(1);
    let named = loop {
        let Some(argument) = rest.next() else {
            break None;
        };
        match argument.strip_prefix("--config=") {
            Some(path) => break Some(path.to_owned()),
            None if matches!(argument.as_str(), "-c" | "--config") => break rest.next().cloned(),
            None => {}
        }
    };
    match named {
        Some(path) => is_same_file(file, Path::new(&path), Some(pid)),
        None => crate::cli::SEARCHED
            .iter()
            .any(|path| is_same_file(file, Path::new(path), Some(pid))),
    }
}

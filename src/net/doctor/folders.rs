//! Folders that the gateway writes to: of sockets, of records, and of ordered certificates.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use super::Examined;
use crate::config::{Config, ListenAddress};
use crate::sort;

const ROOT: u32 = 0;
/// Cures of a file or folder that cannot be looked at.
pub(super) const UNSEEN: &str = "run doctor as root, or as the user of the gateway";
pub(super) const UNSEEN_BY_ROOT: &str =
    "see what the error says: another path in the file, or the disk";
/// Bits of a mode with which a file can be made in a folder: to write, and to enter.
const MAKES: u32 = 0o3;
/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Says which folders cannot take the files that the gateway makes. `user`: user and group of the one
/// that runs; without it, this process stands for it.
pub(super) fn examine(config: &Config, user: Option<(u32, u32)>, examined: &mut Examined) {
    let listeners = config.listeners.iter().map(|listen| &listen.address);
    let addresses = listeners.chain(&config.admin.addresses);
    let sockets = addresses.filter_map(|address| match address {
        ListenAddress::Unix(path) => path.parent(),
        ListenAddress::Tcp(_) | ListenAddress::Systemd(_) => None,
    });
    let records = config.settings.record.as_ref();
    let records = records.map(|record| Path::new(&record.dir));
    let mut folders = sockets.chain(records).collect::<Vec<_>>();
    sort::unique(&mut folders);
    let state = config.acme.as_ref().map(|acme| acme.state.as_path());
    examined.begin(folders.len());
    for folder in folders {
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        look(folder, user, examined);
    }
    if let Some(state) = state {
        examined.begin(1);
        // The gateway makes the folder, and those above it.
        let mut there = state.ancestors();
        let there = there.find(|folder| folder.try_exists().unwrap_or(true));
        let there = there.filter(|folder| !folder.as_os_str().is_empty());
        look(there.unwrap_or(Path::new(".")), user, examined);
        open(state, user, examined);
    }
}

/// Looks at a folder.
fn look(folder: &Path, user: Option<(u32, u32)>, examined: &mut Examined) {
    let shown = folder.display();
    let what = format!("folder {shown}");
    if let Some((problem, cure)) = no_room(folder) {
        return examined.find("folder", &what, problem.to_owned(), cure);
    }
    let other = user.filter(|(user, _)| Some(*user) != own());
    let facts = other.map(|user| (user, fs::metadata(folder)));
    let (problem, cure) = match facts {
        None => match writable(folder) {
            Ok(()) => return,
            Err(error) => (
                format!("no file can be made in it: {error}"),
                match error.kind() {
                    io::ErrorKind::NotFound => format!("mkdir -p {shown}"),
                    _ => format!(
                        "let the user of the gateway write to {shown}, or run doctor as that user"
                    ),
                },
            ),
        },
        Some((user, Ok(facts))) if may_make(&facts, user) => return,
        Some(((user, _), Ok(_))) => (
            format!("user {user}, which the gateway runs as, can make no file in it"),
            format!("chown {user} {shown}"),
        ),
        Some((_, Err(error))) if error.kind() == io::ErrorKind::NotFound => {
            ("is missing".to_owned(), format!("mkdir -p {shown}"))
        }
        Some((_, Err(error))) => {
            let cure = unless_root(UNSEEN, UNSEEN_BY_ROOT);
            return examined.hint("folder", &what, format!("is not shown: {error}"), cure);
        }
    };
    examined.find("folder", &what, problem, &cure);
}

/// Says that other users may enter the folder of ordered certificates, where the gateway cannot change
/// that: it does not start then.
fn open(folder: &Path, user: Option<(u32, u32)>, examined: &mut Examined) {
    let user = user.map(|(user, _)| user).or_else(own);
    let (Ok(facts), Some(user)) = (fs::metadata(folder), user) else {
        return;
    };
    if facts.mode() & OTHERS != 0 && user != ROOT && facts.uid() != user {
        let shown = folder.display();
        let problem = format!(
            "it has keys, and other users may enter it (mode {:o})",
            facts.mode() & 0o7777
        );
        let cure = format!("chmod 0700 {shown}, and chown it to the user of the gateway");
        examined.find("folder", &format!("folder {shown}"), problem, &cure);
    }
}

/// Returns the user of this process.
fn own() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|facts| facts.uid())
}

/// Returns the cure for the user that asks: root sees no more as root.
pub(super) fn unless_root(cure: &'static str, of_root: &'static str) -> &'static str {
    match own() {
        Some(ROOT) => of_root,
        _ => cure,
    }
}

/// Returns what is wrong with the file system of a folder that takes no file of anybody, and the cure.
fn no_room(folder: &Path) -> Option<(&'static str, &'static str)> {
    let facts = rustix::fs::statvfs(folder).ok()?;
    // Some file systems count no blocks or no files.
    if facts.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Some((
            "its file system is read-only",
            "see in dmesg whether the disk has failed, and mount it to be written; or name another folder",
        ))
    } else if facts.f_blocks > 0 && facts.f_bavail == 0 {
        Some((
            "its disk is full",
            "make room: journalctl --vacuum-size=100M, apt-get clean",
        ))
    } else if facts.f_files > 0 && facts.f_favail == 0 {
        Some((
            "its disk can take no further file",
            "remove files there: df -i says how many it has",
        ))
    } else {
        None
    }
}

/// Makes a file in a folder, and removes it.
fn writable(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".tollgate-doctor-{}", std::process::id()));
    fs::File::create_new(&probe)?;
    fs::remove_file(&probe)
}

/// Returns true if a user and its group may make a file in the folder with these facts.
fn may_make(facts: &fs::Metadata, (user, group): (u32, u32)) -> bool {
    let shift = match (facts.uid() == user, facts.gid() == group) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    user == ROOT || facts.mode() >> shift & MAKES == MAKES
}

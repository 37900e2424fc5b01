//! Files that a configuration is made of. What is read from the disk is noted, so that a supervisor
//! can hand exactly that to its workers: whatever becomes of the files, a worker that is started again
//! runs the configuration that was accepted.
//!
//! ```text
//! time of reading (8 bytes, milliseconds since 1970, big-endian)
//! for each file and folder: kind (1 byte), bytes of the path (4, big-endian), path,
//!                           bytes of the content (4, big-endian), content
//! ```
//!
//! The content of a folder is the names in it, each with a zero byte behind it. The first file is the
//! configuration itself.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

use super::clock::Clock;
use super::workers::file_stamp::{FileStamp, stamp};
use crate::config::{self, Config};
use crate::time::UnixTime;

/// Files and folders, read so far or accepted before.
pub struct ConfigFiles {
    entries: RefCell<Vec<Entry>>,
    /// Stamp of each file and folder of the disk before it was read, those included that could not be.
    stamps: RefCell<Vec<(PathBuf, FileStamp)>>,
    /// Nothing is read from the disk.
    is_accepted: bool,
    /// Time before the first file was read; of files that were accepted: by the supervisor.
    read_at: UnixTime,
}

struct Entry {
    kind: u8,
    path: PathBuf,
    content: Vec<u8>,
}

const FILE: u8 = b'f';
const FOLDER: u8 = b'd';

impl ConfigFiles {
    /// Returns the files of the disk.
    pub fn on_disk() -> ConfigFiles {
        ConfigFiles {
            entries: RefCell::default(),
            stamps: RefCell::default(),
            is_accepted: false,
            read_at: Clock::new().wall(),
        }
    }

    /// Returns the files that a supervisor has accepted.
    ///
    /// # Errors
    /// The descriptor is none of [`ConfigFiles::to_memory`].
    pub(super) fn accepted(memory: OwnedFd) -> io::Result<ConfigFiles> {
        let memory = File::from(memory);
        let length = usize::try_from(memory.metadata()?.len()).unwrap_or(0);
        let mut bytes = vec![0; length];
        // All workers have one descriptor, whose position would be shared.
        memory.read_exact_at(&mut bytes, 0)?;
        let (read_at, entries) = parse(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(ConfigFiles {
            entries: RefCell::new(entries),
            stamps: RefCell::default(),
            is_accepted: true,
            read_at,
        })
    }

    /// Returns the files of a configuration that was accepted, and the disk for those that are not kept.
    /// The time of reading stays that of the configuration.
    ///
    /// # Errors
    /// As [`ConfigFiles::accepted`].
    pub(super) fn renewed(
        memory: OwnedFd,
        is_kept: impl Fn(&Path) -> bool,
    ) -> io::Result<ConfigFiles> {
        let mut files = ConfigFiles::accepted(memory)?;
        files.entries.get_mut().retain(|entry| is_kept(&entry.path));
        files.is_accepted = false;
        Ok(files)
    }

    /// Writes all files into memory that other processes can be given.
    ///
    /// # Errors
    /// No memory or descriptor is left.
    pub(super) fn to_memory(&self) -> io::Result<OwnedFd> {
        let create = |flags| memfd_create("tollgate-configuration", flags);
        // A kernel before 6.3 does not know that nothing is executed.
        let memory = create(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| create(MemfdFlags::CLOEXEC))?;
        let mut file = File::from(memory);
        file.write_all(&self.read_at.as_millis().to_be_bytes())?;
        for entry in self.entries.borrow().iter() {
            let mut head = vec![entry.kind];
            let path = entry.path.as_os_str().as_bytes();
            push(path, &mut head);
            file.write_all(&head)?;
            file.write_all(&length(&entry.content))?;
            file.write_all(&entry.content)?;
        }
        Ok(file.into())
    }

    /// Returns the time at which the configuration was read.
    pub(super) fn read_at(&self) -> UnixTime {
        self.read_at
    }

    /// Returns true if a supervisor has accepted the files.
    pub fn are_accepted(&self) -> bool {
        self.is_accepted
    }

    /// Returns the paths of all files, the configuration first.
    pub fn paths(&self) -> Vec<PathBuf> {
        let entries = self.entries.borrow();
        let files = entries.iter().filter(|entry| entry.kind == FILE);
        files.map(|entry| entry.path.clone()).collect()
    }

    /// Returns all files and folders that were looked for on the disk, each with its stamp before that.
    pub(super) fn stamps(&self) -> Vec<(PathBuf, FileStamp)> {
        self.stamps.borrow().clone()
    }

    /// Reads a configuration and the files that it names.
    ///
    /// # Errors
    /// All errors, a line for each.
    pub fn load(&self, path: &Path) -> Result<Config, Vec<String>> {
        let text = self
            .read(path)
            .map_err(|error| vec![unreadable(path, &error)])?;
        self.check(&text, &path.display().to_string())
    }

    /// Checks a configuration, and reads the files that it names.
    ///
    /// # Errors
    /// All errors, a line for each.
    pub fn check(&self, text: &[u8], name: &str) -> Result<Config, Vec<String>> {
        let env = |variable: &str| std::env::var(variable).ok();
        let read = |path: &Path| self.read(path);
        let list = |folder: &Path| self.list(folder);
        config::load_with_folder(text, name, &env, &read, &list)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    /// Returns the content of a file. Each is read once.
    ///
    /// # Errors
    /// The file cannot be read, or was not read when the configuration was accepted.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.content(FILE, path, &|| std::fs::read(path))
    }

    /// Returns the names in a folder.
    ///
    /// # Errors
    /// As [`ConfigFiles::read`].
    pub fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let content = self.content(FOLDER, folder, &|| {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                names.extend_from_slice(entry?.file_name().as_bytes());
                names.push(0);
            }
            Ok(names)
        })?;
        let names = content.split(|byte| *byte == 0);
        let names = names.filter(|name| !name.is_empty());
        Ok(names.map(|name| OsStr::from_bytes(name).into()).collect())
    }

    fn content(
        &self,
        kind: u8,
        path: &Path,
        read: &dyn Fn() -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        let mut entries = self.entries.borrow_mut();
        let mut known = entries.iter();
        if let Some(entry) = known.find(|entry| entry.kind == kind && entry.path == path) {
            return Ok(entry.content.clone());
        }
        if self.is_accepted {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.stamps
            .borrow_mut()
            .push((path.to_owned(), stamp(path)));
        let content = read()?;
        entries.push(Entry {
            kind,
            path: path.to_owned(),
            content: content.clone(),
        });
        Ok(content)
    }
}

fn push(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(bytes));
    out.extend_from_slice(bytes);
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn parse(bytes: &[u8]) -> Option<(UnixTime, Vec<Entry>)> {
    fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
        let (length, behind) = rest.split_first_chunk()?;
        let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        *rest = behind;
        Some(bytes)
    }
    let (read_at, mut rest) = bytes.split_first_chunk()?;
    let read_at = UnixTime::from_millis(u64::from_be_bytes(*read_at));
    let mut entries = Vec::new();
    while let Some((kind, behind)) = rest.split_first() {
        rest = behind;
        let path = take(&mut rest)?;
        entries.push(Entry {
            kind: *kind,
            path: OsString::from_vec(path.to_vec()).into(),
            content: take(&mut rest)?.to_vec(),
        });
    }
    Some((read_at, entries))
}

/// Returns the line about a configuration that cannot be read.
fn unreadable(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; let the user that runs tollgate read it, or ask as root"
        }
        _ => "",
    };
    format!("{}: cannot be read: {error}{advice}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let name = format!("tollgate-files-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a fresh folder");
        folder
    }

    #[test]
    fn accepted_files_are_those_that_were_read() {
        let folder = folder("accepted");
        let (one, two) = (folder.join("one"), folder.join("two"));
        std::fs::write(&one, "1").expect("written");
        std::fs::write(&two, [0, 255]).expect("written");
        let mut files = ConfigFiles::on_disk();
        files.read_at = UnixTime::from_millis(1_795_892_401_023);
        for path in [&one, &two, &one] {
            assert!(files.read(path).is_ok());
        }
        assert!(files.read(&folder.join("none")).is_err());
        assert_eq!(files.list(&folder).expect("a folder").len(), 2);
        assert_eq!(files.paths(), [one.clone(), two.clone()]);
        let memory = files.to_memory().expect("memory");
        std::fs::remove_dir_all(&folder).expect("clean");
        // Several processes read the same descriptor.
        for _ in 0..2 {
            let copy = || memory.try_clone().expect("a descriptor");
            let accepted = ConfigFiles::accepted(copy()).expect("the files");
            assert_eq!(accepted.read(&one).expect("read before"), b"1");
            assert_eq!(accepted.read(&two).expect("read before"), [0, 255]);
            let mut names = accepted.list(&folder).expect("read before");
            names.sort();
            assert_eq!(names, ["one", "two"]);
            assert!(accepted.read(Path::new("/etc/passwd")).is_err());
            assert!(accepted.list(Path::new("/etc")).is_err());
            assert_eq!(accepted.paths(), files.paths());
            assert_eq!(accepted.read_at(), files.read_at());
            // What is read again beside the configuration leaves its time.
            let renewed = ConfigFiles::renewed(copy(), |path| path == one).expect("the files");
            assert!(!renewed.are_accepted() && renewed.read(&two).is_err());
            assert_eq!(renewed.read_at(), files.read_at());
        }
    }

    #[test]
    fn what_was_cut_is_refused() {
        let files = ConfigFiles::on_disk();
        let entry = |kind, path: &str, content: &[u8]| Entry {
            kind,
            path: path.into(),
            content: content.to_vec(),
        };
        files.entries.borrow_mut().push(entry(FILE, "a", b"xyz"));
        files.entries.borrow_mut().push(entry(FOLDER, "b", b""));
        let memory = File::from(files.to_memory().expect("memory"));
        let length = memory.metadata().expect("a file").len();
        let mut bytes = vec![0; usize::try_from(length).expect("small")];
        memory.read_exact_at(&mut bytes, 0).expect("written");
        assert_eq!(parse(&bytes).expect("whole").1.len(), 2);
        for end in 0..bytes.len() {
            let whole = [8, 21].contains(&end);
            assert_eq!(parse(&bytes[..end]).is_some(), whole, "{end} bytes");
        }
    }
}

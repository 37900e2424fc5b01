//! Files of the orders on the disk: the account's key, certificates with their keys, and the state.
//!
//! A file is written under a new name, synced, renamed, and the folder is synced. So a process that is
//! killed at any time leaves the old file or the new one, and never a part of one. A lock that the
//! kernel releases with the process keeps a second process out.

use std::fs::{self, DirBuilder, File as DiskFile, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::acme::{File, Folder};

/// Name of the file that is locked.
const LOCK_FILE: &str = "lock";

/// End of the names of files that are being written.
const NEW: &str = ".new";

/// Bytes that are read of a file: a chain and its key have some KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Folder of the orders, locked for this process.
pub struct Store {
    folder: PathBuf,
    /// Holds the lock; `None`: another process has it, and files are only read.
    lock: Option<DiskFile>,
}

/// Function that is called before each change of the disk. Tests fail there.
type Checkpoint<'c> = &'c mut dyn FnMut(&'static str) -> io::Result<()>;

impl Store {
    /// Opens and locks the folder, which is made if it is missing.
    ///
    /// # Errors
    /// Another process has it, or it cannot be used. The text says what to do.
    pub fn open(folder: &Path) -> Result<Store, String> {
        let shown = folder.display();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(|error| {
            format!("the folder \"acme.state\" {shown} cannot be made: {error}; make it, owned by the user of the gateway")
        })?;
        let mode = fs::metadata(folder).map_err(|error| format!("{shown}: {error}"))?;
        let is_open = mode.permissions().mode() & 0o077 != 0;
        let closed = fs::Permissions::from_mode(0o700);
        if is_open && let Err(error) = fs::set_permissions(folder, closed) {
            return Err(format!(
                "the folder \"acme.state\" {shown} has keys, other users may enter it, and that cannot be changed: {error}; run \
                 chmod 0700 {shown}, and chown it to the user of the gateway"
            ));
        }
        let lock = lock(folder)?;
        let store = Store {
            folder: folder.to_owned(),
            lock: Some(lock),
        };
        store.remove_leftovers();
        Ok(store)
    }

    /// Opens the folder. A worker that does not get it reads what the other one writes.
    ///
    /// # Errors
    /// As [`Store::open`], where this is no worker.
    pub fn open_for(folder: &Path, is_worker: bool) -> Result<Store, String> {
        let opened = Store::open(folder);
        opened.or_else(|reason| match is_worker {
            true => Ok(Store::of_another(folder)),
            false => Err(reason),
        })
    }

    /// Returns the folder of another process, whose certificates can be served.
    pub fn of_another(folder: &Path) -> Store {
        Store {
            folder: folder.to_owned(),
            lock: None,
        }
    }

    /// Returns whether the folder is this process's, and may be written.
    pub fn is_own(&self) -> bool {
        self.lock.is_some()
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes and removes files, in this order. The ones behind a failure stay as they were.
    ///
    /// # Errors
    /// The disk is full or read-only, or the like.
    pub fn write(&self, files: &[File]) -> Result<(), String> {
        self.write_with(files, &mut |_| Ok(()))
    }

    fn write_with(&self, files: &[File], checkpoint: Checkpoint<'_>) -> Result<(), String> {
        for file in files {
            let path = self.folder.join(&file.name);
            let result = match &file.bytes {
                Some(bytes) => self.replace(&path, bytes, checkpoint),
                None => self.remove(&path, checkpoint),
            };
            result.map_err(|error| {
                format!(
                    "{} cannot be written: {error}; {}",
                    path.display(),
                    advice(&error)
                )
            })?;
        }
        Ok(())
    }

    fn replace(&self, path: &Path, bytes: &[u8], checkpoint: Checkpoint<'_>) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(NEW);
        let new = PathBuf::from(name);
        let _ = fs::remove_file(&new);
        let result = write_new(&new, bytes, checkpoint).and_then(|()| {
            checkpoint("rename")?;
            fs::rename(&new, path)
        });
        if result.is_err() {
            // A full disk has room again.
            let _ = fs::remove_file(&new);
        }
        result.and_then(|()| self.sync(checkpoint))
    }

    fn remove(&self, path: &Path, checkpoint: Checkpoint<'_>) -> io::Result<()> {
        checkpoint("remove")?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync(checkpoint),
        }
    }

    /// Makes names in the folder last.
    fn sync(&self, checkpoint: Checkpoint<'_>) -> io::Result<()> {
        checkpoint("sync of the folder")?;
        DiskFile::open(&self.folder)?.sync_all()
    }

    /// Removes what a process that was killed was writing.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .ends_with(NEW.as_bytes())
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Folder for Store {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = DiskFile::open(self.folder.join(name)).ok()?;
        let mut bytes = Vec::new();
        let mut file = file.take(FILE_BYTES_MAX);
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string());
        names.flatten().collect()
    }
}

fn write_new(path: &Path, bytes: &[u8], checkpoint: Checkpoint<'_>) -> io::Result<()> {
    checkpoint("create")?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    checkpoint("write")?;
    file.write_all(bytes)?;
    checkpoint("sync")?;
    file.sync_all()
}

/// Locks the folder. The kernel releases the lock when the process ends, however it ends.
fn lock(folder: &Path) -> Result<DiskFile, String> {
    let path = folder.join(LOCK_FILE);
    let shown = folder.display();
    let mut options = OpenOptions::new();
    let options = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    // A folder that is read-only still has certificates to serve.
    let opened = options.open(&path).or_else(|_| DiskFile::open(&path));
    let mut file = opened.map_err(|error| {
        format!(
            "{} cannot be opened: {error}; {}",
            path.display(),
            advice(&error)
        )
    })?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        let _ = (&file).take(20).read_to_string(&mut owner);
        let owner = match owner.trim_ascii() {
            "" => String::new(),
            pid => format!(" (process {pid})"),
        };
        return Err(format!(
            "another gateway{owner} orders certificates in {shown}, and one at a time may; stop it, or give one of them another \
             \"state\" in \"acme\""
        ));
    }
    // The number is only for the message above.
    let _ = file.set_len(0);
    let _ = writeln!(file, "{}", std::process::id());
    Ok(file)
}

/// Returns what to do about an error of the disk.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
        io::ErrorKind::ReadOnlyFilesystem => {
            "it is read-only: name another folder in \"acme.state\", or add StateDirectory= to the unit"
        }
        io::ErrorKind::PermissionDenied => {
            "chown the folder and its files to the user of the gateway"
        }
        _ => "see to the folder of \"acme.state\"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::Folder as _;

    /// Folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("tollgate-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn file(name: &str, bytes: Option<&[u8]>) -> File {
        File {
            name: name.to_owned(),
            bytes: bytes.map(<[u8]>::to_vec),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn only_the_user_of_the_gateway_reads_the_files() {
        let folder = Folder::new("modes");
        fs::create_dir_all(&folder.0).expect("made");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).expect("set");
        let store = Store::open(&folder.0).expect("opened");
        store
            .write(&[file("a.pem", Some(b"key"))])
            .expect("written");
        assert_eq!(store.read("a.pem").as_deref(), Some(&b"key"[..]));
        assert_eq!(store.read("b.pem"), None);
        assert_eq!(mode(&folder.0), 0o700);
        assert_eq!(mode(&folder.0.join("a.pem")), 0o600);
        assert_eq!(mode(&folder.0.join(LOCK_FILE)), 0o600);
    }

    #[test]
    fn one_process_has_the_folder() {
        let folder = Folder::new("lock");
        let store = Store::open(&folder.0).expect("opened");
        let error = Store::open(&folder.0).err().expect("locked");
        let owner = format!("another gateway (process {})", std::process::id());
        assert!(error.starts_with(&owner), "{error}");
        drop(store);
        assert!(Store::open(&folder.0).is_ok());
    }

    /// A process that is killed before a change of the disk leaves what was there before it.
    #[test]
    fn an_end_at_any_time_leaves_whole_files() {
        let mut ends = 0;
        for end in 0.. {
            let folder = Folder::new("kill");
            let store = Store::open(&folder.0).expect("opened");
            let old = [file("a.pem", Some(b"old a")), file("b.pem", Some(b"old b"))];
            store.write(&old).expect("written");
            let new = [
                file("a.pem", Some(b"new a")),
                file("b.pem", None),
                file("c.pem", Some(b"new c")),
            ];
            let mut left = end;
            let result = store.write_with(&new, &mut |_| {
                left -= 1;
                if left < 0 {
                    Err(io::ErrorKind::StorageFull.into())
                } else {
                    Ok(())
                }
            });
            // What was being written is still there after a kill.
            fs::write(folder.0.join("c.pem.new"), b"new").expect("written");
            drop(store);
            let store = Store::open(&folder.0).expect("opened again");
            assert!(!folder.0.join("c.pem.new").exists());
            let found = ["a.pem", "b.pem", "c.pem"].map(|name| store.read(name));
            let found = found.each_ref().map(Option::as_deref);
            let states: [[Option<&[u8]>; 3]; 4] = [
                [Some(b"old a"), Some(b"old b"), None],
                [Some(b"new a"), Some(b"old b"), None],
                [Some(b"new a"), None, None],
                [Some(b"new a"), None, Some(b"new c")],
            ];
            assert!(states.contains(&found), "{end}: {found:?}");
            if result.is_ok() {
                assert_eq!(found, states[3]);
                break;
            }
            let text = result.expect_err("failed");
            assert!(text.contains("make room on the disk"), "{text}");
            ends += 1;
        }
        assert_eq!(ends, 12, "each change of the disk");
    }
}

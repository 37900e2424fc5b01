//! Writer of flight records: a thread that blanks, writes and deletes files, so that a slow disk
//! never stalls the event loop.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use log::{info, warn};

use super::queue::{Receiver, Sender, bounded};
use super::spawn;
use crate::limits::RECORDS_WAITING;
use crate::proxy::recorder::Recording;
use crate::proxy::settings::RecordRule;
use crate::record;

/// End of the names of the files.
const SUFFIX: &str = ".record";

/// The writer, seen from the event loop. The thread starts with the first record.
#[derive(Default)]
pub(in crate::net) struct RecordWriter {
    sender: Option<Sender<Recording>>,
}

impl RecordWriter {
    /// Hands a recording over. One that finds no room is dropped: the disk is slower than failures
    /// come.
    #[cold]
    pub(in crate::net) fn write(&mut self, recording: Recording) {
        if self.sender.is_none() {
            let (sender, receiver) = bounded(RECORDS_WAITING);
            if let Err(error) = spawn("records", Box::new(move || run(&receiver))) {
                warn!("no thread for the files of \"record\": {error}");
                return;
            }
            self.sender = Some(sender);
        }
        if let Some(sender) = &self.sender {
            // The log has a line about the failure itself.
            let _ = sender.send(recording);
        }
    }
}

fn run(receiver: &Receiver<Recording>) {
    // Kinds of errors that the operator was told since a record was written.
    let mut told = Vec::new();
    while let Ok(recording) = receiver.receive(None) {
        let ending = recording.ending.as_ref();
        let Some(rule) = ending.and_then(|ending| ending.settings.record.as_ref()) else {
            continue;
        };
        match write(&recording, rule) {
            Ok(()) if !told.is_empty() => {
                info!("records are written to {} again", rule.dir);
                told.clear();
            }
            Ok(()) => {}
            Err(error) if !told.contains(&error.kind()) => {
                told.push(error.kind());
                warn!(
                    "no record of a failed request in {}: {error}; {}",
                    rule.dir,
                    cure(&error)
                );
            }
            Err(_) => {}
        }
    }
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create the directory, or name another one in \"record\"",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let the gateway's user write there, or name another directory in \"record\""
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room there, or set a smaller \"keep\" in \"record\""
        }
        _ => "look at the directory, or turn \"record\" off",
    }
}

fn write(recording: &Recording, rule: &RecordRule) -> io::Result<()> {
    let dir = Path::new(&rule.dir);
    let text = record::text(recording);
    // Under another name until it is whole.
    let temporary = dir.join(".record.tmp");
    let _ = fs::remove_file(&temporary);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, dir.join(record::file_name(recording))));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    delete_oldest(dir, rule.keep)
}

/// Deletes the oldest records beyond `keep`; their names begin with the time.
fn delete_oldest(dir: &Path, keep: usize) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        if name.ends_with(SUFFIX) {
            names.push(name);
        }
    }
    let surplus = names.len().saturating_sub(keep);
    if surplus > 0 {
        crate::sort::sort_by(&mut names, Ord::cmp);
        for name in names.iter().take(surplus) {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

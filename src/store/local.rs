//! Objects as files of a folder. Every function blocks and is called on the blocking pool.
//!
//! An object appears whole or not at all: it is written to a temporary file beside its place, synced, then linked to
//! its name. `link` fails when the name exists, which makes the create atomic on every file system, NFS included. A
//! crash before the link leaves a temporary file that no list shows; after it, the object. Such files are removed when
//! they are a day old, by whoever creates an object then.

use super::error::{Asked, StoreError};
use super::http::check_length;
use super::objects::{About, Fetched, Mark, Object};
use super::{Create, Listed};
use crate::runtime::clock;
use crate::tree::Timestamp;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the names of temporary files begin with. No key has such a part.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Changed when leftovers were last looked for.
const SWEPT: &str = ".tmp-swept";
/// Temporary files of this age are leftovers, and are looked for this often. No write takes as long; a writer that lost
/// its file all the same, to another's wrong clock, fails before its object appears.
const LEFTOVER_AGE_S: i64 = 24 * 3600;
/// The deepest folders of a vault lie this far down.
const DEPTH: u32 = 2;

/// A folder that plays a bucket.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) folder: PathBuf,
}

impl Local {
    fn path(&self, key: &str) -> PathBuf {
        if key.is_empty() { self.folder.clone() } else { self.folder.join(key) }
    }

    pub(super) fn get(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        let mut file = File::open(self.path(&asked.key)).map_err(|error| failed(asked, &error))?;
        let meta = file.metadata().map_err(|error| failed(asked, &error))?;
        if !meta.is_file() {
            return Err(StoreError::NotFound(Box::new(asked.clone())));
        }
        if range.is_some_and(|range| range.start >= meta.len()) {
            return Err(StoreError::Outside(Box::new(asked.clone())));
        }
        let range = range.cloned().unwrap_or(0..meta.len());
        let wanted = range.end.min(meta.len()).saturating_sub(range.start);
        check_length(asked, wanted)?;
        file.seek(SeekFrom::Start(range.start)).map_err(|error| failed(asked, &error))?;
        let mut body = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        file.take(wanted).read_to_end(&mut body).map_err(|error| failed(asked, &error))?;
        if body.len() as u64 != wanted {
            return Err(StoreError::unavailable(asked, "the file became shorter while it was read", true));
        }
        Ok(Bytes::from(body))
    }

    pub(super) fn create(&self, asked: &Asked, body: &[u8]) -> Result<Create, StoreError> {
        let target = self.path(&asked.key);
        self.sweep_if_due();
        let temporary = self.write_beside(asked, &target, body)?;
        let outcome = publish(&temporary, &target);
        // After a rename there is nothing left to remove; after a crash here a hidden file stays behind.
        let _ = fs::remove_file(&temporary);
        match outcome {
            Ok(Create::New) => sync_parent(&target).map(|()| Create::New).map_err(|error| failed(asked, &error)),
            Ok(Create::Exists) => Ok(Create::Exists),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => Err(StoreError::usage(
                format!("{asked}: the file system knows neither hard links nor renameat2(RENAME_NOREPLACE)"),
                "use a folder on another file system: without them two writers could overwrite each other",
            )),
            Err(errno) => Err(failed(asked, &errno.into())),
        }
    }

    pub(super) fn put(&self, asked: &Asked, body: &[u8]) -> Result<(), StoreError> {
        let target = self.path(&asked.key);
        let temporary = self.write_beside(asked, &target, body)?;
        let done = fs::rename(&temporary, &target).and_then(|()| sync_parent(&target));
        done.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed(asked, &error)
        })
    }

    pub(super) fn delete(&self, asked: &Asked) -> Result<(), StoreError> {
        let target = self.path(&asked.key);
        match fs::remove_file(&target) {
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(failed(asked, &error)),
            Ok(()) => sync_parent(&target).map_err(|error| failed(asked, &error)),
        }
    }

    /// Deletes a file, and the folders that it leaves empty.
    pub(super) fn delete_with_folders(&self, asked: &Asked) -> Result<(), StoreError> {
        self.delete(asked)?;
        let mut above = Path::new(&asked.key).parent();
        while let Some(folder) = above.filter(|folder| !folder.as_os_str().is_empty()) {
            if fs::remove_dir(self.folder.join(folder)).is_err() {
                break;
            }
            above = folder.parent();
        }
        Ok(())
    }

    pub(super) fn size(&self, asked: &Asked) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.path(&asked.key)) {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(failed(asked, &error)),
        }
    }

    /// The direct children of a folder, sorted by name. A folder without files is no folder, as on S3.
    pub(super) fn list(&self, asked: &Asked) -> Result<Vec<Listed>, StoreError> {
        let mut children = children(&self.path(&asked.key)).map_err(|error| failed(asked, &error))?;
        children.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(children)
    }

    /// The objects directly in a folder, under their names, and the folders in it. A name that is no text is not an
    /// object's.
    pub(super) fn objects(&self, asked: &Asked) -> Result<(Vec<Object>, Vec<String>), StoreError> {
        objects(&self.path(&asked.key)).map_err(|error| failed(asked, &error))
    }

    pub(super) fn fetch(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Fetched, StoreError> {
        let meta = fs::metadata(self.path(&asked.key)).map_err(|error| failed(asked, &error))?;
        let bytes = self.get(asked, range)?;
        let about = About { mtime: Some(time_of(&meta)), mode: None };
        Ok(Fetched { bytes, mark: mark_of(&meta), about })
    }

    pub(super) fn put_file(&self, asked: &Asked, body: &[u8], mtime: Timestamp) -> Result<Mark, StoreError> {
        let sent = self.begin(asked)?;
        let outcome = sent.append(body).and_then(|()| sent.finish(&self.path(&asked.key), mtime));
        outcome.map_err(|error| failed(asked, &error))
    }

    /// A file that is written piece by piece and appears when it is finished.
    pub(super) fn begin(&self, asked: &Asked) -> Result<LocalSending, StoreError> {
        let target = self.path(&asked.key);
        let parent = target.parent().unwrap_or(&self.folder);
        make_folders(parent).map_err(|error| failed(asked, &error))?;
        let random = super::random_name().map_err(|error| failed(asked, &error))?;
        let path = parent.join(format!("{TEMPORARY}{random}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(LocalSending { file: file.map_err(|error| failed(asked, &error))?, path })
    }

    /// The smallest name directly inside a folder, without a look at all the others.
    pub(super) fn first(&self, asked: &Asked) -> Result<Option<String>, StoreError> {
        let first = first(&self.path(&asked.key)).map_err(|error| failed(asked, &error))?;
        Ok(first.map(|listed| listed.name))
    }

    /// Removes what killed writers left, once a day. That it fails harms nobody: the next day's writer tries again.
    fn sweep_if_due(&self) {
        let now = i64::try_from(clock::wall_ms() / 1000).unwrap_or(0);
        let marker = self.folder.join(SWEPT);
        let due = match fs::symlink_metadata(&marker) {
            Ok(meta) => meta.mtime() < now - LEFTOVER_AGE_S,
            Err(_) => self.folder.is_dir(),
        };
        if due && fs::write(&marker, b"swept").is_ok() {
            sweep(&self.folder, now - LEFTOVER_AGE_S, DEPTH);
        }
    }

    /// The body in a synced temporary file beside its place.
    fn write_beside(&self, asked: &Asked, target: &Path, body: &[u8]) -> Result<PathBuf, StoreError> {
        let parent = target.parent().unwrap_or(&self.folder);
        make_folders(parent).map_err(|error| failed(asked, &error))?;
        let random = super::random_name().map_err(|error| failed(asked, &error))?;
        let temporary = parent.join(format!("{TEMPORARY}{random}"));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(body).and_then(|()| file.sync_all()));
        match written {
            Ok(()) => Ok(temporary),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(failed(asked, &error))
            }
        }
    }
}

/// Removes temporary files that were last changed before a moment: a file may get a time of its own before its name.
fn sweep(folder: &Path, before_s: i64, depth: u32) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let temporary = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        if meta.is_dir() && depth > 0 {
            sweep(&entry.path(), before_s, depth - 1);
        } else if meta.is_file() && temporary && meta.ctime() < before_s {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file under way; dropped unfinished, it takes itself away.
#[derive(Debug)]
pub(super) struct LocalSending {
    file: File,
    path: PathBuf,
}

impl LocalSending {
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    /// Makes the file durable and gives it its time and name.
    pub(super) fn finish(self, target: &Path, mtime: Timestamp) -> io::Result<Mark> {
        let mtime = rustix::fs::Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) };
        rustix::fs::futimens(&self.file, &rustix::fs::Timestamps { last_access: mtime, last_modification: mtime })?;
        self.file.sync_all()?;
        let mark = mark_of(&self.file.metadata()?);
        match fs::rename(&self.path, target) {
            // Folders that lost their last file lie in the way.
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                remove_empty(target)?;
                fs::rename(&self.path, target)?;
            }
            renamed => renamed?,
        }
        sync_parent(target)?;
        Ok(mark)
    }
}

impl Drop for LocalSending {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes a folder in which there are only folders.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn time_of(meta: &fs::Metadata) -> Timestamp {
    Timestamp { seconds: meta.mtime(), nanos: u32::try_from(meta.mtime_nsec()).unwrap_or(0) }
}

/// Length and time: a copy of the folder that keeps times keeps the marks.
fn mark_of(meta: &fs::Metadata) -> Mark {
    Mark(format!("{:x}-{:x}.{:x}", meta.len(), meta.mtime(), meta.mtime_nsec()))
}

fn objects(folder: &Path) -> io::Result<(Vec<Object>, Vec<String>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(folder) {
        Err(error) if absent(&error) => return Ok((files, folders)),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Links are not followed: what they lead to is not in this folder.
        let meta = match entry.metadata() {
            Err(error) if absent(&error) => continue,
            meta => meta?,
        };
        if meta.is_dir() {
            folders.push(name);
        } else if meta.is_file() && !name.starts_with(TEMPORARY) {
            files.push(Object { key: name, size: meta.len(), mark: mark_of(&meta), modified: time_of(&meta) });
        }
    }
    Ok((files, folders))
}

/// Gives the temporary file its name unless the name is taken.
fn publish(temporary: &Path, target: &Path) -> Result<Create, Errno> {
    match rustix::fs::link(temporary, target) {
        Ok(()) => Ok(Create::New),
        // NFS may lose the answer and find its own link on the second try: then our file has two names.
        Err(Errno::EXIST) if fs::metadata(temporary).is_ok_and(|meta| meta.nlink() > 1) => Ok(Create::New),
        Err(Errno::EXIST) => Ok(Create::Exists),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => rename_aside(temporary, target),
        Err(errno) => Err(errno),
    }
}

/// For file systems without hard links.
fn rename_aside(temporary: &Path, target: &Path) -> Result<Create, Errno> {
    match renameat_with(CWD, temporary, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Create::New),
        Err(Errno::EXIST) => Ok(Create::Exists),
        Err(errno) => Err(errno),
    }
}

/// Makes the folder and its missing parents, each durable in its parent.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folders(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent(folder),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn children(folder: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for name in names(folder)? {
        found.extend(child(folder, name)?);
    }
    Ok(found)
}

/// What may be keys in a folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if absent(&error) => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        // Keys are text: a name that is none was not made by this program.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if !name.starts_with(TEMPORARY) {
            found.push(name);
        }
    }
    Ok(found)
}

/// What a list says of a name. Follows symlinks; a file deleted meanwhile is not listed.
fn child(folder: &Path, name: String) -> io::Result<Option<Listed>> {
    let path = folder.join(&name);
    let meta = match fs::metadata(&path) {
        Err(error) if absent(&error) => return Ok(None),
        meta => meta?,
    };
    if meta.is_file() {
        return Ok(Some(Listed { name, size: meta.len(), is_folder: false }));
    }
    let is_folder = meta.is_dir() && first(&path)?.is_some();
    Ok(is_folder.then_some(Listed { name, size: 0, is_folder }))
}

fn first(folder: &Path) -> io::Result<Option<Listed>> {
    let mut names = names(folder)?;
    names.sort_unstable();
    for name in names {
        if let Some(listed) = child(folder, name)? {
            return Ok(Some(listed));
        }
    }
    Ok(None)
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

pub(super) fn failed(asked: &Asked, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::NotFound(Box::new(asked.clone())),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::Denied {
            asked: Box::new(asked.clone()),
            answer: error.to_string(),
            hint: "give this process's user the right to read and write the folder".into(),
        },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::unavailable(asked, error.to_string(), false).hinted("make room on the remote's file system")
        }
        _ => StoreError::unavailable(asked, error.to_string(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Act;
    use super::*;
    use crate::fault::{Fault, Kind};

    fn asked(key: &str) -> Asked {
        Asked { act: Act::Create, key: key.into(), place: "folder /made/up".into() }
    }

    fn opened() -> (tempfile::TempDir, Local) {
        let base = tempfile::tempdir().expect("a temporary folder");
        let local = Local { folder: base.path().join("remote") };
        (base, local)
    }

    #[test]
    fn no_more_is_read_than_memory_is_meant_for() {
        let (_base, local) = opened();
        local.put(&asked("x"), b"").expect("written");
        let file = OpenOptions::new().write(true).open(local.path("x")).expect("a file");
        file.set_len(super::super::http::ANSWER_BYTES + 1).expect("a long file");
        let error = local.get(&asked("x"), None).expect_err("too much");
        assert!(!error.is_temporary() && error.to_string().contains("the answer is longer than"), "{error}");
        assert_eq!(local.get(&asked("x"), Some(&(5..7))).expect("a part"), [0, 0].as_slice());
    }

    #[test]
    fn of_32_concurrent_creators_exactly_one_wins_and_its_body_stays() {
        let (_base, local) = opened();
        for round in 0..10 {
            let key = format!("log/{round}");
            let wins: Vec<usize> = std::thread::scope(|scope| {
                let creators: Vec<_> = (0..32)
                    .map(|number: usize| {
                        let (local, key) = (local.clone(), key.clone());
                        scope.spawn(move || {
                            let body = vec![u8::try_from(number).expect("below 32"); 1000];
                            (number, local.create(&asked(&key), &body).expect("an outcome"))
                        })
                    })
                    .collect();
                let outcomes = creators.into_iter().map(|creator| creator.join().expect("no panic"));
                outcomes.filter(|(_, outcome)| *outcome == Create::New).map(|(number, _)| number).collect()
            });
            assert_eq!(wins.len(), 1, "{wins:?}");
            let body = local.get(&asked(&key), None).expect("the object");
            assert_eq!(body.len(), 1000);
            assert!(body.iter().all(|byte| usize::from(*byte) == wins[0]));
        }
        assert_eq!(local.list(&asked("log")).expect("a list").len(), 10);
        assert_eq!(fs::read_dir(local.folder.join("log")).expect("the folder").count(), 10, "no temporary file is left");
    }

    #[test]
    fn what_a_crash_left_behind_is_not_listed() {
        let (_base, local) = opened();
        local.create(&asked("log/b"), b"b").expect("created");
        local.create(&asked("log/a"), b"aa").expect("created");
        fs::write(local.folder.join("log/.tmp-0123"), b"half").expect("a leftover");
        fs::create_dir(local.folder.join("empty")).expect("a folder");
        let names: Vec<_> = local.list(&asked("log")).expect("a list").into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(local.first(&asked("log")).expect("a name").as_deref(), Some("a"));
        assert_eq!(local.first(&asked("empty")).expect("no name"), None);
        let top = local.list(&asked("")).expect("a list");
        assert_eq!(top, [Listed { name: "log".into(), size: 0, is_folder: true }]);
    }

    #[test]
    fn old_leftovers_of_killed_writers_are_swept_once_a_day() {
        let (_base, local) = opened();
        local.create(&asked("log/a"), b"a").expect("created");
        local.create(&asked("obj/1-2/p3"), b"p").expect("created");
        let leftovers = ["log/.tmp-0", "obj/1-2/.tmp-1", ".tmp-2"].map(|name| local.folder.join(name));
        leftovers.iter().for_each(|path| fs::write(path, b"half").expect("a leftover"));
        let swept = || fs::metadata(local.folder.join(SWEPT)).map(|meta| meta.mtime()).expect("the second writer swept");
        let (now, first) = (i64::try_from(clock::wall_ms() / 1000).expect("a time"), swept());
        local.create(&asked("log/b"), b"b").expect("created");
        assert_eq!(swept(), first, "not again before tomorrow");
        let yesterday = std::time::UNIX_EPOCH + std::time::Duration::from_millis(clock::wall_ms())
            - std::time::Duration::from_secs(25 * 3600);
        File::open(local.folder.join(SWEPT)).and_then(|file| file.set_modified(yesterday)).expect("a time");
        local.create(&asked("log/c"), b"c").expect("created");
        assert!(swept() >= first && leftovers.iter().all(|path| path.exists()), "none is a day old");
        sweep(&local.folder, now + 60, DEPTH);
        assert!(!leftovers.iter().any(|path| path.exists()), "all are old tomorrow");
        assert_eq!(local.list(&asked("log")).expect("a list").len(), 3);
        let top: Vec<_> = local.list(&asked("")).expect("a list").into_iter().map(|one| one.name).collect();
        assert_eq!(top, ["log", "obj"]);
    }

    #[test]
    fn a_folder_is_made_by_the_first_write_for_its_owner_only() {
        let (_base, local) = opened();
        assert!(local.list(&asked("")).expect("an empty list").is_empty());
        assert!(local.get(&asked("x"), None).expect_err("nothing there").is_not_found());
        local.delete(&asked("x")).expect("absent is fine");
        assert!(!local.folder.exists(), "reading makes nothing");
        local.create(&asked("a/x"), b"1").expect("created");
        let mode = fs::metadata(local.folder.join("a")).expect("the folder").mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn ranges_are_cut_as_s3_cuts_them() {
        let (_base, local) = opened();
        local.put(&asked("x"), b"0123456789").expect("written");
        local.put(&asked("empty"), b"").expect("written");
        let get = |key: &str, range: Range<u64>| local.get(&asked(key), Some(&range));
        assert_eq!(get("x", 2..4).expect("inside"), "23");
        assert_eq!(get("x", 8..100).expect("over the end"), "89");
        assert!(get("x", 10..11).expect_err("at the end").is_outside());
        assert!(get("empty", 0..1).expect_err("nothing to cut").is_outside());
        assert!(local.get(&asked("empty"), None).expect("whole").is_empty());
    }

    #[test]
    fn a_file_system_without_hard_links_is_served_by_renames() {
        let (_base, local) = opened();
        local.create(&asked("x"), b"1").expect("created");
        let (from, to) = (local.folder.join("from"), local.folder.join("to"));
        fs::write(&from, b"2").expect("written");
        assert_eq!(rename_aside(&from, &local.folder.join("x")), Ok(Create::Exists));
        assert_eq!(rename_aside(&from, &to), Ok(Create::New));
        assert_eq!(fs::read(&to).expect("renamed"), b"2");
    }

    #[test]
    fn a_full_file_system_is_named() {
        let error = failed(&asked("x"), &io::Error::from(ErrorKind::StorageFull));
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(error.to_string(), "could not create 'x' in folder /made/up: no storage space");
        assert!(error.hint().expect("a hint").contains("make room"));
    }
}

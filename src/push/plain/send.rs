//! Carrying steps out, window by window: files are read whole or not at all, sent many at a time, and recorded in path
//! order.

use super::super::capture::settled_stamp;
use super::super::{Push, PushError};
use super::steps::{Op, Step, StepReader};
use crate::disk::{Copied, DatabaseCopies, DiskError, Skips, SourceFile, Stamp, Volume, stamp_of};
use crate::plain::error::PlainError;
use crate::plain::line::{Line, Node};
use crate::plain::names::key_of;
use crate::remote::plain::Uploads;
use crate::runtime::{Stop, Tasks, compute, limits};
use crate::seal::{DIGEST_PART_BYTES, FileDigest, ShortId};
use crate::store::{Bucket, Mark, Parts, StoreError, Unneeded, Upload, part_bytes};
use crate::telemetry::Progress;
use crate::tree::{FileType, Found, RelPath, Skip, SkipReason};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Sends what steps say.
#[derive(Clone)]
pub struct Sender {
    bucket: Bucket,
    volume: Volume,
    databases: Arc<DatabaseCopies>,
    /// Whether the remote was listed: an object that was not listed is not there.
    listed: bool,
    /// Replace objects that another program wrote.
    replace: bool,
    progress: Progress,
    /// Uploads in parts that are under way, as the next process will find them.
    uploads: Uploads,
    stop: Stop,
    /// Bytes that may be under way, in KiB.
    room: Arc<Semaphore>,
}

/// What a window came to.
#[derive(Default)]
pub struct Sent {
    /// In path order: what is now so, and what was before.
    pub lines: Vec<(Line, Option<Line>)>,
    /// Objects to delete once this is published.
    pub deletes: Vec<Unneeded>,
    /// What was left out.
    pub skips: Skips,
    /// Objects of other programs in the way of a file.
    pub conflicts: u64,
    /// Objects that another program changed while the file stayed.
    pub edited: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes sent.
    pub bytes_new: u64,
}

/// What sending one file came to.
enum Done {
    Stored(Box<Line>, u64),
    Gone,
    Left(SkipReason, Option<String>),
    /// The file is as it was; its object is not.
    Edited(Box<Line>),
    Conflict,
}

/// A file as it was while it did not change.
struct Whole {
    /// The file, or the copy of a database.
    source: Arc<SourceFile>,
    /// What `source` is, as long as it does not change.
    stamp: Stamp,
    found: Found,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    hash: ShortId,
    /// The content, unless it is too long to be held.
    content: Option<Bytes>,
}

enum Looked {
    Whole(Box<Whole>),
    Gone,
    Left(SkipReason, Option<String>),
}

impl Sender {
    /// A sender of what `request` names; `listed` says whether the remote was.
    pub fn new(request: &Push<'_>, listed: bool, uploads: Uploads, stop: &Stop) -> Sender {
        Sender {
            bucket: request.bucket.clone(),
            volume: request.local.volume.clone(),
            databases: Arc::new(DatabaseCopies::new(&request.local.spill())),
            listed,
            replace: request.force,
            progress: request.progress.clone(),
            uploads,
            stop: stop.clone(),
            room: Arc::new(Semaphore::new(limits::FILES_BYTES >> 10)),
        }
    }

    /// Carries out the next window; `None` at the end. Deletes are carried out only when they are `admitted`.
    pub async fn window(&self, steps: &mut StepReader, admitted: bool) -> Result<Option<Sent>, PushError> {
        let window = self.take_window(steps)?;
        if window.is_empty() {
            return Ok(None);
        }
        let mut sent = Sent::default();
        self.clear_way(&window, admitted).await?;
        let mut tasks: Tasks<(usize, Result<Done, PushError>)> = Tasks::new("send");
        let mut done: Vec<Option<Done>> = window.iter().map(|_| None).collect();
        for (at, step) in window.iter().enumerate().filter(|(_, step)| step.op == Op::Put && (admitted || !step.displaces)) {
            while tasks.len() >= limits::FILES_IN_FLIGHT {
                let (at, outcome) = tasks.next().await.expect("tasks are under way");
                done[at] = Some(outcome?);
            }
            let (sender, step) = (self.clone(), step.clone());
            tasks.spawn(async move { (at, sender.put(step).await) });
        }
        while let Some((at, outcome)) = tasks.next().await {
            done[at] = Some(outcome?);
        }
        for (step, done) in window.into_iter().zip(done) {
            self.record(step, done, admitted, &mut sent);
        }
        Ok(Some(sent))
    }

    /// Steps are never parted from the file that takes their directory's place.
    fn take_window(&self, steps: &mut StepReader) -> Result<Vec<Step>, PushError> {
        let mut window: Vec<Step> = Vec::new();
        let mut bytes = 0;
        let mut displacing = None;
        while window.len() < limits::WINDOW_ENTRIES && bytes < limits::WINDOW_BYTES || displacing.is_some() {
            self.stop.check()?;
            let Some(step) = steps.next()? else { break };
            if displacing.as_ref().is_some_and(|file| !step.line.path.is_within(file)) {
                displacing = None;
            }
            if step.displaces && step.op == Op::Put {
                displacing = Some(step.line.path.clone());
            }
            bytes += step.line.size();
            window.push(step);
        }
        Ok(window)
    }

    /// Stores that keep files in folders take no object where another is a folder's name.
    async fn clear_way(&self, window: &[Step], admitted: bool) -> Result<(), PlainError> {
        let in_way = |step: &&Step| step.displaces && (step.op == Op::Record || step.op == Op::Delete && admitted);
        let objects: Vec<Unneeded> = window.iter().filter(in_way).map(|step| step.there(&self.bucket)).collect();
        Ok(self.bucket.delete_all(&self.stop, &objects).await?)
    }

    fn record(&self, step: Step, done: Option<Done>, admitted: bool, sent: &mut Sent) {
        let path = step.line.path.clone();
        match (step.op, done) {
            (Op::Record | Op::Forget, _) => sent.lines.push((step.line, step.before)),
            (Op::Sweep, _) => sent.deletes.push(step.there(&self.bucket)),
            (Op::Delete | Op::DeleteForeign | Op::Drop, _) if !admitted => {}
            (Op::Delete | Op::DeleteForeign, _) => {
                sent.deletes.push(step.there(&self.bucket));
                sent.lines.push((step.line, step.before));
            }
            (Op::Drop, _) => sent.lines.push((step.line, step.before)),
            (Op::Put, Some(Done::Stored(line, bytes))) => {
                sent.bytes_read += line.size();
                sent.bytes_new += bytes;
                sent.lines.push((*line, step.before));
            }
            (Op::Put, Some(Done::Edited(line))) => {
                sent.edited += 1;
                sent.lines.push((*line, step.before));
            }
            (Op::Put, Some(Done::Left(reason, detail))) => sent.skips.add(Skip { path: Some(path), reason, detail }),
            (Op::Put, Some(Done::Conflict)) => {
                tracing::warn!(%path, "another program wrote this object: neither it nor the local file is replaced");
                sent.conflicts += 1;
            }
            (Op::Put, Some(Done::Gone) | None) => {}
        }
    }

    async fn put(&self, step: Step) -> Result<Done, PushError> {
        // A long file is sent alone: its parts take all the room there is.
        let alone = step.line.size() > DIGEST_PART_BYTES as u64;
        let kib = if alone { limits::FILES_BYTES >> 10 } else { (step.line.size() >> 10) as usize + 1 };
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX));
        let _room = self.stop.or(room).await?;
        let (volume, path) = (self.volume.clone(), step.line.path.clone());
        let known = step.before.as_ref().and_then(|before| match &before.node {
            Node::File { size, hash: Some(hash), .. } => Some((*size, *hash)),
            _ => None,
        });
        let is_foreign = self.is_foreign(&step);
        // A long file is read twice only where that may save sending it.
        let needs_hash =
            move |size| size <= DIGEST_PART_BYTES as u64 || is_foreign || known.is_some_and(|(known, _)| size == known);
        let reading = Reading { volume, path, databases: Arc::clone(&self.databases), stop: self.stop.clone() };
        let looked = compute("read a file", move || reading.look(needs_hash)).await?;
        let whole = match looked {
            Looked::Whole(whole) => *whole,
            Looked::Gone => return Ok(Done::Gone),
            Looked::Left(reason, detail) => return Ok(Done::Left(reason, detail)),
        };
        self.progress.add_files(1);
        let size = whole.found.size;
        let needs_hash = needs_hash(size);
        if needs_hash && known == Some((size, whole.hash)) && (self.object_is_known(&step) || is_foreign) {
            let mark = step.before.as_ref().and_then(mark_of).cloned().unwrap_or_default();
            let line = Box::new(recorded(&step, &whole, mark, whole.hash));
            if !self.object_is_known(&step) {
                return Ok(Done::Edited(line));
            }
            self.progress.add_bytes(size);
            return Ok(Done::Stored(line, 0));
        }
        if is_foreign && let Some((mark, length)) = &step.listed {
            if *length != size || self.hash_of_object(&step, *length).await? != Some((mark.clone(), whole.hash)) {
                return Ok(Done::Conflict);
            }
            return Ok(Done::Stored(Box::new(recorded(&step, &whole, mark.clone(), whole.hash)), 0));
        }
        let replaced = self.bucket.parts_of(&self.stop, &step.there(&self.bucket)).await.map_err(PlainError::from)?;
        let done = match whole.content.clone() {
            Some(content) => self.put_short(&step, whole, content).await?,
            None => self.put_long(&step, whole).await?,
        };
        if let Done::Stored(..) = done {
            self.forget_parts(replaced).await?;
        }
        Ok(done)
    }

    /// What the object that was replaced consisted of.
    async fn forget_parts(&self, replaced: Parts) -> Result<(), PlainError> {
        match self.bucket.delete_parts(&self.stop, replaced).await {
            Err(error @ StoreError::Denied { .. }) => {
                tracing::warn!(%error, "parts of an object that was replaced stay");
                Ok(())
            }
            deleted => Ok(deleted?),
        }
    }

    async fn put_short(&self, step: &Step, whole: Whole, content: Bytes) -> Result<Done, PlainError> {
        let (size, mtime) = (whole.found.size, whole.found.attributes.mtime);
        let mark = self.bucket.put_file(&self.stop, &key_of(&self.bucket, &step.line.path), content, mtime).await?;
        self.progress.add_bytes(size);
        Ok(Done::Stored(Box::new(recorded(step, &whole, mark, whole.hash)), size))
    }

    /// Sends a long file in parts. The object appears only if the file did not change meanwhile.
    async fn put_long(&self, step: &Step, whole: Whole) -> Result<Done, PushError> {
        let (size, mtime) = (whole.found.size, whole.found.attributes.mtime);
        let file = &whole.source;
        let key = key_of(&self.bucket, &step.line.path);
        let mut upload = self.bucket.upload(&key, mtime, part_bytes(size)).await.map_err(PlainError::from)?;
        let digest = match self.send_parts(&key, file, size, &mut upload).await {
            Ok(Ok(digest)) if file.stamp().ok() == Some(whole.stamp) => digest,
            other => {
                upload.abort().await;
                let unstable = Done::Left(SkipReason::Unstable, None);
                return other.map(|sent| sent.err().unwrap_or(unstable));
            }
        };
        let id = upload.id();
        let mark = upload.finish(&self.stop).await.map_err(PlainError::from)?;
        if let Some(id) = id {
            let uploads = self.uploads.clone();
            compute("note an upload", move || uploads.ended(&id)).await?;
        }
        Ok(Done::Stored(Box::new(recorded(step, &whole, mark, digest.finish())), size))
    }

    /// Sends the file's bytes, unless it cannot be read: then what became of it.
    async fn send_parts(
        &self,
        key: &str,
        file: &Arc<SourceFile>,
        size: u64,
        upload: &mut Upload,
    ) -> Result<Result<FileDigest, Done>, PushError> {
        let mut digest = FileDigest::default();
        let mut at = 0;
        let mut is_noted = false;
        while at < size {
            let length = usize::try_from((size - at).min(DIGEST_PART_BYTES as u64)).unwrap_or(DIGEST_PART_BYTES);
            let source = Arc::clone(file);
            let read = compute("read a file", move || {
                let mut piece = vec![0; length];
                let read = source.read_at(&mut piece, at)?;
                let mut part = FileDigest::default();
                part.push(&piece);
                Ok::<_, DiskError>((read == length).then_some((piece, part)))
            });
            let (piece, part) = match read.await {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(Err(Done::Left(SkipReason::Unstable, None))),
                Err(error) => return Ok(Err(left(&error))),
            };
            digest.append(part);
            upload.write(&self.stop, Bytes::from(piece)).await.map_err(PlainError::from)?;
            if let (false, Some(id)) = (is_noted, upload.id()) {
                let (uploads, key) = (self.uploads.clone(), key.to_owned());
                compute("note an upload", move || uploads.begun(id, key)).await?;
                is_noted = true;
            }
            at += length as u64;
            self.progress.add_bytes(length as u64);
        }
        Ok(Ok(digest))
    }

    /// The object is the one recorded, as far as is known.
    fn object_is_known(&self, step: &Step) -> bool {
        let Some(mark) = step.before.as_ref().and_then(mark_of) else { return false };
        let apart = key_of(&self.bucket, &step.line.path).as_bytes() != step.line.path.as_bytes();
        !self.listed || apart || step.listed.as_ref().is_some_and(|(there, _)| there == mark)
    }

    /// An object is in the way that no pass of ours is known to have written.
    fn is_foreign(&self, step: &Step) -> bool {
        let Some((there, _)) = &step.listed else { return false };
        let ours = step.before.as_ref().is_some_and(|before| match &before.node {
            Node::File { mark, .. } | Node::Gone(mark) => mark == there,
            _ => false,
        });
        !ours && !self.replace && !step.ours
    }

    /// The digest of an object's content, if it did not change while it was read.
    async fn hash_of_object(&self, step: &Step, size: u64) -> Result<Option<(Mark, ShortId)>, PlainError> {
        let key = key_of(&self.bucket, &step.line.path);
        let mut digest = FileDigest::default();
        let mut mark: Option<Mark> = None;
        let mut at = 0;
        loop {
            let end = (at + DIGEST_PART_BYTES as u64).min(size);
            let range = (size > 0).then_some(at..end);
            let fetched = self.bucket.fetch(&self.stop, &key, range).await?;
            if fetched.bytes.len() as u64 != end - at || mark.as_ref().is_some_and(|mark| *mark != fetched.mark) {
                return Ok(None);
            }
            digest.push(&fetched.bytes);
            at = end;
            if at == size {
                return Ok(Some((fetched.mark, digest.finish())));
            }
            mark = Some(fetched.mark);
        }
    }
}

fn mark_of(line: &Line) -> Option<&Mark> {
    match &line.node {
        Node::File { mark, .. } => Some(mark),
        _ => None,
    }
}

fn recorded(step: &Step, whole: &Whole, mark: Mark, hash: ShortId) -> Line {
    let found = &whole.found;
    // A file written within the clock's tick may be written again without a trace: it is looked at again.
    let stamp = settled_stamp(found).map(|stamp| (stamp.ctime, stamp.inode));
    Line {
        node: Node::File { size: found.size, mark, hash: Some(hash) },
        attributes: found.attributes,
        xattrs: whole.xattrs.clone(),
        stamp,
        ..step.line.clone()
    }
}

fn left(error: &DiskError) -> Done {
    if error.is_gone() { Done::Gone } else { Done::Left(SkipReason::Unreadable, Some(error.to_string())) }
}

/// Reads one file.
struct Reading {
    volume: Volume,
    databases: Arc<DatabaseCopies>,
    path: RelPath,
    stop: Stop,
}

impl Reading {
    /// Reads until the file holds still for one reading.
    fn look(&self, needs_hash: impl Fn(u64) -> bool) -> Result<Looked, PushError> {
        for _ in 0..limits::UNSTABLE_READS {
            self.stop.check()?;
            let file = match self.volume.open_file(&self.path) {
                Ok(file) => file,
                Err(error) if error.is_gone() => return Ok(Looked::Gone),
                Err(error) => return Ok(Looked::Left(SkipReason::Unreadable, Some(error.to_string()))),
            };
            let found = match self.volume.look(&self.path)? {
                Some(found) if found.file_type == FileType::File => found,
                Some(_) => return Ok(Looked::Left(SkipReason::Unstable, None)),
                None => return Ok(Looked::Gone),
            };
            // A database is copied under its own locks, which say what holds still.
            if file.stamp()? != stamp_of(&found) && !file.is_database()? {
                continue;
            }
            match self.read(file, found, &needs_hash) {
                Ok(Some(looked)) => return Ok(looked),
                Ok(None) => {}
                Err(PushError::Disk(error)) if error.is_gone() => return Ok(Looked::Gone),
                Err(PushError::Disk(error)) => return Ok(Looked::Left(SkipReason::Unreadable, Some(error.to_string()))),
                Err(error) => return Err(error),
            }
        }
        Ok(Looked::Left(SkipReason::Unstable, None))
    }

    /// Reads once; `None` when the file changed meanwhile. Of a database a copy is read.
    fn read(&self, file: SourceFile, mut found: Found, needs_hash: impl Fn(u64) -> bool) -> Result<Option<Looked>, PushError> {
        let xattrs = file.xattrs()?;
        let (mut source, mut stamp) = (file, stamp_of(&found));
        if source.is_database()? {
            found.identity.log = self.volume.database_log(&self.path)?;
            source = match self.databases.copy(&self.volume, &self.path, &self.stop)? {
                Copied::Whole(copy) => copy,
                Copied::Unstable(why) => return Ok(Some(Looked::Left(SkipReason::Unstable, Some(why)))),
            };
            stamp = source.stamp()?;
            found.size = stamp.size;
        }
        // Whatever length the scan saw: a short file is sent from here.
        let is_short = found.size <= DIGEST_PART_BYTES as u64;
        let mut digest = FileDigest::default();
        let mut content = Vec::new();
        let mut at = 0;
        while (needs_hash(found.size) || is_short) && at < found.size {
            self.stop.check()?;
            let length = usize::try_from((found.size - at).min(DIGEST_PART_BYTES as u64)).unwrap_or(DIGEST_PART_BYTES);
            content.resize(length, 0);
            if source.read_at(&mut content, at)? != length {
                return Ok(None);
            }
            digest.push(&content);
            at += length as u64;
        }
        if source.stamp()? != stamp {
            return Ok(None);
        }
        let content = is_short.then(|| Bytes::from(content));
        let source = Arc::new(source);
        Ok(Some(Looked::Whole(Box::new(Whole { source, stamp, xattrs, hash: digest.finish(), content, found }))))
    }
}

#[cfg(test)]
mod tests {
    use super::{DatabaseCopies, FileDigest, Looked, Reading, Volume};
    use crate::runtime::Stop;
    use crate::tree::RelPath;

    #[test]
    fn a_file_that_became_short_since_the_scan_is_read_whole() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("log"), "what is left of it").unwrap();
        let volume = Volume::open(root.path()).unwrap();
        // The scan saw it long, so that no digest was asked for.
        let databases = DatabaseCopies::new(root.path()).into();
        let reading = Reading { volume, databases, path: RelPath::new("log").unwrap(), stop: Stop::new() };
        let looked = reading.look(|_| false).unwrap();
        let Looked::Whole(whole) = looked else { unreachable!("nobody changes it") };
        assert_eq!(whole.content.as_deref(), Some(&b"what is left of it"[..]));
        assert_eq!(whole.hash, FileDigest::of(b"what is left of it"));
    }
}

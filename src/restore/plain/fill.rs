//! Fetches objects and places files, many at a time, window by window. A file is finished only when all its bytes are
//! of one state of its object, and are those that were recorded, where that is known.

use super::super::survey::Step;
use super::super::{Restore, RestoreError};
use super::From;
use super::survey::StepReader;
use crate::disk::{DiskError, PlacedFile, Placer, Volume};
use crate::plain::error::PlainError;
use crate::plain::line::{Line, Node};
use crate::plain::names::key_of;
use crate::rclone_crypt::{ContentError, Decryptor, Ending, RcloneCrypt};
use crate::remote::session::Local;
use crate::runtime::{Stop, Tasks, compute, limits};
use crate::seal::{DIGEST_PART_BYTES, FileDigest, ShortId};
use crate::store::{About, Bucket, Fetched, Mark};
use crate::telemetry::Progress;
use crate::tree::{FileType, Found, RelPath};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// Parts of one long object under way at once.
const PARTS: usize = 3;

/// Places what the steps say.
pub struct Filler {
    fetcher: Fetcher,
    volume: Volume,
    merge: bool,
    /// First placed name of each hard-link group, with its content.
    links: HashMap<String, (RelPath, Node)>,
    /// Directories whose content is not complete yet, outermost first.
    open: Vec<Line>,
    /// Objects that disappeared while the restore was under way.
    pub vanished: u64,
}

#[derive(Clone)]
struct Fetcher {
    bucket: Bucket,
    crypt: Option<RcloneCrypt>,
    /// Files of rclone crypt that may have been cut off without a trace.
    unproven: Arc<AtomicU64>,
    placer: Placer,
    progress: Progress,
    stop: Stop,
    /// Bytes that may be under way, in KiB.
    room: Arc<Semaphore>,
}

enum Entry {
    Done(Box<Line>),
    Fetching,
    Link(Box<Line>, RelPath),
}

impl Filler {
    /// A filler of `local`'s volume.
    pub fn new(request: &Restore, from: &From, local: &Local, placer: Placer, stop: &Stop) -> Filler {
        let fetcher = Fetcher {
            bucket: from.bucket.clone(),
            crypt: from.crypt.clone(),
            unproven: Arc::default(),
            placer,
            progress: request.progress.clone(),
            stop: stop.clone(),
            room: Arc::new(Semaphore::new(limits::FILES_BYTES >> 10)),
        };
        let (volume, merge) = (local.volume.clone(), request.adopt);
        Filler { fetcher, volume, merge, links: HashMap::new(), open: Vec::new(), vanished: 0 }
    }

    /// Files of rclone crypt that may have been cut off without a trace.
    pub fn unproven(&self) -> u64 {
        self.fetcher.unproven.load(Ordering::Relaxed)
    }

    /// Fills the next window; gives its lines of the index in order. `None` at the end.
    pub async fn window(&mut self, steps: &mut StepReader) -> Result<Option<Vec<Line>>, RestoreError> {
        let mut entries = Vec::new();
        let mut closing = Vec::new();
        let mut tasks: Tasks<Result<(usize, Option<Line>), RestoreError>> = Tasks::new("fetch");
        let mut fetched: HashMap<usize, Option<Line>> = HashMap::new();
        let mut bytes = 0;
        while entries.len() < limits::WINDOW_ENTRIES && bytes < limits::WINDOW_BYTES {
            self.fetcher.stop.check()?;
            let Some((step, line)) = steps.next()? else { break };
            self.close_until(Some(&line.path), &mut closing);
            bytes += if step == Step::Place { line.size() } else { 0 };
            let entry = self.plan(step, line)?;
            if let Entry::Fetching = entry.0 {
                while tasks.len() >= limits::FILES_IN_FLIGHT {
                    let (at, line) = tasks.next().await.expect("tasks are under way")?;
                    fetched.insert(at, line);
                }
                let (at, fetcher) = (entries.len(), self.fetcher.clone());
                let line = entry.1.expect("what is fetched has a line");
                tasks.spawn(async move { Ok((at, fetcher.place(line).await?)) });
            }
            entries.push(entry.0);
        }
        while let Some(done) = tasks.next().await {
            let (at, line) = done?;
            fetched.insert(at, line);
        }
        if entries.is_empty() {
            self.close_until(None, &mut closing);
            self.finish_directories(closing)?;
            return Ok(None);
        }
        self.finish_window(entries, fetched, closing).map(Some)
    }

    fn finish_window(
        &mut self,
        entries: Vec<Entry>,
        mut fetched: HashMap<usize, Option<Line>>,
        closing: Vec<Line>,
    ) -> Result<Vec<Line>, RestoreError> {
        let mut lines = Vec::with_capacity(entries.len());
        for (at, entry) in entries.into_iter().enumerate() {
            match entry {
                Entry::Done(line) => lines.push(*line),
                Entry::Fetching => match fetched.remove(&at).flatten() {
                    Some(line) => lines.push(line),
                    None => self.vanished += 1,
                },
                Entry::Link(mut line, first) => {
                    let found = self.fetcher.placer.hard_link(&line.path, &first)?;
                    line.stamp = Some(stamp(&found));
                    lines.push(*line);
                }
            }
        }
        // Linking moved the change time of every name.
        for line in lines.iter_mut().filter(|line| line.group.is_some() && line.stamp.is_some()) {
            line.stamp = self.volume.look(&line.path)?.as_ref().map(stamp);
        }
        self.finish_directories(closing)?;
        Ok(lines)
    }

    /// Directories that the walk has left are complete once this window is.
    fn close_until(&mut self, next: Option<&RelPath>, closing: &mut Vec<Line>) {
        while self.open.last().is_some_and(|dir| next.is_none_or(|next| !next.is_within(&dir.path))) {
            closing.extend(self.open.pop());
        }
    }

    fn finish_directories(&self, closing: Vec<Line>) -> Result<(), RestoreError> {
        for dir in closing {
            self.fetcher.placer.finish_directory(&dir.path, &dir.attributes, &dir.xattrs)?;
        }
        Ok(())
    }

    /// Does what can be done at once; a file's content is to be fetched.
    fn plan(&mut self, step: Step, mut line: Line) -> Result<(Entry, Option<Line>), RestoreError> {
        let Some(file_type) = line.file_type() else { return Ok((Entry::Done(Box::new(line)), None)) };
        // A directory that stays gets its times again too: placing entries in it moves them.
        if file_type == FileType::Directory && !(self.merge && step == Step::Keep) {
            self.fetcher.placer.directory(&line.path)?;
            self.open.push(line.clone());
            return Ok((Entry::Done(Box::new(line)), None));
        }
        if step == Step::Adjust {
            let placer = &self.fetcher.placer;
            let found = placer.set_attributes(&line.path, file_type, &line.attributes, Some(&line.xattrs))?;
            line.stamp = Some(stamp(&found));
        }
        if step == Step::Place {
            return self.plan_placing(line);
        }
        if let Some(group) = &line.group {
            self.links.entry(group.clone()).or_insert((line.path.clone(), line.node.clone()));
        }
        Ok((Entry::Done(Box::new(line)), None))
    }

    fn plan_placing(&mut self, mut line: Line) -> Result<(Entry, Option<Line>), RestoreError> {
        let placer = &self.fetcher.placer;
        // With a filter, directories above may be left out of the steps.
        if let Some(parent) = line.path.parent()
            && self.open.last().is_none_or(|open| open.path != parent)
        {
            placer.directory(&parent)?;
        }
        let found = match &line.node {
            Node::Symlink(target) => placer.symlink(&line.path, target, &line.attributes)?,
            Node::Fifo => placer.fifo(&line.path, &line.attributes)?,
            Node::Directory | Node::Gone(_) => return Ok((Entry::Done(Box::new(line)), None)),
            Node::File { size, hash, .. } => {
                let first = line.group.as_ref().and_then(|group| self.links.get(group));
                let same =
                    |node: &Node| matches!(node, Node::File { size: s, hash: h, .. } if s == size && h == hash && h.is_some());
                if let Some((first, _)) = first.filter(|(_, node)| same(node)) {
                    let first = first.clone();
                    return Ok((Entry::Link(Box::new(line), first), None));
                }
                if let Some(group) = &line.group {
                    self.links.insert(group.clone(), (line.path.clone(), line.node.clone()));
                }
                return Ok((Entry::Fetching, Some(line)));
            }
        };
        self.fetcher.progress.add_files(1);
        line.stamp = Some(stamp(&found));
        Ok((Entry::Done(Box::new(line)), None))
    }
}

fn stamp(found: &Found) -> (crate::tree::Timestamp, u64) {
    found.identity.stamp()
}

impl Fetcher {
    /// Fetches a file and places it; gives its line as it is now, or nothing when the object is gone.
    async fn place(&self, line: Line) -> Result<Option<Line>, RestoreError> {
        let alone = line.size() > DIGEST_PART_BYTES as u64;
        let kib = if alone { limits::FILES_BYTES >> 10 } else { (line.size() >> 10) as usize + 1 };
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX));
        let _room = self.stop.or(room).await?;
        self.progress.add_files(1);
        let key = line.key.clone().unwrap_or_else(|| key_of(&self.bucket, &line.path));
        let placed = if let Some(crypt) = &self.crypt {
            self.place_sealed(&key, line, crypt).await
        } else if alone {
            self.place_long(&key, line).await
        } else {
            self.place_short(&key, line).await
        };
        match placed {
            Err(RestoreError::Plain(PlainError::Store(error))) if error.is_not_found() => {
                tracing::warn!(key, "the object was deleted meanwhile: left out");
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    async fn place_short(&self, key: &str, line: Line) -> Result<Line, RestoreError> {
        let fetched = self.bucket.fetch(&self.stop, key, None).await.map_err(PlainError::Store)?;
        let Fetched { bytes, mark, about } = fetched;
        let size = bytes.len() as u64;
        let (placer, key) = (self.placer.clone(), key.to_owned());
        self.progress.add_bytes(size);
        compute("write a file", move || {
            let hash = FileDigest::of(&bytes);
            let line = settle(line, &key, mark, size, Some(hash), about)?;
            let file = placer.file(&line.path, size)?;
            write(&file, &bytes, 0, line.sparse)?;
            let found = file.finish(&line.attributes, &line.xattrs)?;
            Ok(finished(line, &found))
        })
        .await
    }

    async fn place_long(&self, key: &str, line: Line) -> Result<Line, RestoreError> {
        let size = line.size();
        let file = Arc::new(self.placer.file(&line.path, size)?);
        let part = DIGEST_PART_BYTES as u64;
        let starts = (0..size.div_ceil(part)).map(|number| number * part);
        // A part is written while others are still fetched.
        let parts = stream::iter(starts).map(|start| self.place_part(key, &file, start..(start + part).min(size), line.sparse));
        let mut digest = FileDigest::default();
        let mut state: Option<(Mark, About)> = None;
        {
            let mut parts = std::pin::pin!(parts.buffered(PARTS));
            while let Some(placed) = parts.next().await {
                let (mark, about, part) = placed?;
                if state.as_ref().is_some_and(|(first, _)| *first != mark) {
                    return Err(changing(key));
                }
                state.get_or_insert((mark, about));
                digest.append(part);
            }
        }
        let (mark, about) = state.unwrap_or_default();
        let line = settle(line, key, mark, size, Some(digest.finish()), about)?;
        let file = Arc::into_inner(file).expect("all parts are written");
        compute("finish a file", move || {
            let found = file.finish(&line.attributes, &line.xattrs)?;
            Ok(finished(line, &found))
        })
        .await
    }

    /// Fetches a part of a long file and writes it. Of which state it is, the caller compares.
    async fn place_part(
        &self,
        key: &str,
        file: &Arc<PlacedFile>,
        range: Range<u64>,
        sparse: bool,
    ) -> Result<(Mark, About, FileDigest), RestoreError> {
        let Fetched { bytes, mark, about } = match self.bucket.fetch(&self.stop, key, Some(range.clone())).await {
            Err(error) if error.is_outside() => return Err(changing(key)),
            fetched => fetched.map_err(PlainError::Store)?,
        };
        if bytes.len() as u64 != range.end - range.start {
            return Err(changing(key));
        }
        self.progress.add_bytes(bytes.len() as u64);
        let digest = write_part(file, bytes, range.start, sparse).await?;
        Ok((mark, about, digest))
    }
}

impl Fetcher {
    /// Fetches what rclone crypt wrote, piece after piece, and places what it means.
    async fn place_sealed(&self, key: &str, line: Line, crypt: &RcloneCrypt) -> Result<Line, RestoreError> {
        let size = line.size();
        let file = self.placer.file(&line.path, size)?;
        let mut opening = Opening { file, decryptor: crypt.decryptor(), written: 0 };
        let mut state: Option<(Mark, About)> = None;
        let mut at = 0;
        loop {
            let range = at..at + DIGEST_PART_BYTES as u64;
            let Fetched { bytes, mark, about } = match self.bucket.fetch(&self.stop, key, Some(range)).await {
                Err(error) if error.is_outside() => break,
                fetched => fetched.map_err(PlainError::Store)?,
            };
            if state.as_ref().is_some_and(|(first, _)| *first != mark) {
                return Err(changing(key));
            }
            state.get_or_insert((mark, about));
            let length = bytes.len();
            at += length as u64;
            opening = compute("decrypt a part", move || opening.take(&bytes)).await.map_err(|problem| problem.of(key))?;
            if length < DIGEST_PART_BYTES {
                break;
            }
        }
        self.progress.add_bytes(size);
        let (mark, about) = state.unwrap_or_default();
        let (unproven, key) = (Arc::clone(&self.unproven), key.to_owned());
        compute("finish a file", move || {
            let (file, written, ending) = opening.end().map_err(|problem| problem.of(&key))?;
            if written != size {
                let what = format!("{written} bytes came out of it instead of {size}");
                return Err(PlainError::Damaged { object: key, what }.into());
            }
            unproven.fetch_add(u64::from(ending == Ending::Unproven && size > 0), Ordering::Relaxed);
            let line = settle(line, &key, mark, size, None, about)?;
            let found = file.finish(&line.attributes, &line.xattrs)?;
            Ok(finished(line, &found))
        })
        .await
    }
}

/// A file being decrypted.
struct Opening {
    file: PlacedFile,
    decryptor: Decryptor,
    written: u64,
}

/// What may be wrong with it.
enum Problem {
    Content(ContentError),
    Disk(DiskError),
}

impl Problem {
    fn of(self, key: &str) -> RestoreError {
        match self {
            Problem::Content(error) => PlainError::Damaged { object: key.to_owned(), what: error.to_string() }.into(),
            Problem::Disk(error) => error.into(),
        }
    }
}

impl Opening {
    fn take(mut self, bytes: &[u8]) -> Result<Opening, Problem> {
        let mut failed = None;
        let (file, written) = (&self.file, &mut self.written);
        let pushed = self.decryptor.push(bytes, &mut |plain| place(file, written, plain, &mut failed));
        match (pushed, failed) {
            (_, Some(error)) => Err(Problem::Disk(error)),
            (Err(error), None) => Err(Problem::Content(error)),
            (Ok(()), None) => Ok(self),
        }
    }

    fn end(mut self) -> Result<(PlacedFile, u64, Ending), Problem> {
        let mut failed = None;
        let (file, written) = (&self.file, &mut self.written);
        let ended = self.decryptor.finish(&mut |plain| place(file, written, plain, &mut failed));
        match (ended, failed) {
            (_, Some(error)) => Err(Problem::Disk(error)),
            (Err(error), None) => Err(Problem::Content(error)),
            (Ok(ending), None) => Ok((self.file, self.written, ending)),
        }
    }
}

fn place(file: &PlacedFile, written: &mut u64, plain: &[u8], failed: &mut Option<DiskError>) {
    if failed.is_none() {
        *failed = file.write_at(plain, *written).err();
    }
    *written += plain.len() as u64;
}

async fn write_part(file: &Arc<PlacedFile>, bytes: Bytes, at: u64, sparse: bool) -> Result<FileDigest, RestoreError> {
    let file = Arc::clone(file);
    compute("write a part", move || {
        let mut digest = FileDigest::default();
        digest.push(&bytes);
        write(&file, &bytes, at, sparse)?;
        file.begin_writing_to_disk(at, bytes.len() as u64);
        // Given back before the answer: the last part's writer must not keep the file from being finished.
        drop(file);
        Ok(digest)
    })
    .await
}

/// Writes a piece; of a file with holes only the pages that are not zero.
fn write(file: &PlacedFile, bytes: &[u8], at: u64, sparse: bool) -> Result<(), DiskError> {
    if !sparse {
        return file.write_at(bytes, at);
    }
    for (index, page) in bytes.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0)) {
        file.write_at(page, at + index as u64 * 4096)?;
    }
    Ok(())
}

fn changing(key: &str) -> RestoreError {
    PlainError::Damaged { object: key.to_owned(), what: "another program changes it while it is read: run again".into() }.into()
}

/// What the line says once the content is here: of the recorded state it must be the recorded content; another state is
/// another program's, and is taken as it is.
fn settle(mut line: Line, key: &str, mark: Mark, size: u64, hash: Option<ShortId>, about: About) -> Result<Line, RestoreError> {
    let Node::File { size: expected, mark: wanted, hash: recorded } = &line.node else { return Ok(line) };
    let same_state = *wanted == mark && *expected == size;
    if same_state && recorded.is_some() && *recorded != hash {
        let what = "its content is not the one recorded".into();
        return Err(PlainError::Damaged { object: key.to_owned(), what }.into());
    }
    if line.unpublished || !same_state {
        line.unpublished = true;
        line.attributes.mtime = about.mtime.unwrap_or(line.attributes.mtime);
        line.attributes.mode = about.mode.unwrap_or(line.attributes.mode);
    }
    line.node = Node::File { size, mark, hash };
    Ok(line)
}

/// What another program stored is recorded as it was placed.
fn finished(mut line: Line, found: &Found) -> Line {
    line.stamp = Some(stamp(found));
    if line.unpublished {
        line.attributes = found.attributes;
    }
    line
}

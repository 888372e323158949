//! One push to the plain layout: each file's object is made equal to the file, and one entry of the manifest says so.
//!
//! Objects are sent first, then the entry, then objects that are no longer wanted are deleted: a crash leaves objects too
//! many, never too few. What other programs put there stays, and is said.

mod compare;
mod send;
mod steps;

use self::compare::{Compared, Comparison, Journal};
use self::send::{Sender, Sent};
use super::{Held, Outcome, Pass, Push, PushError};
use crate::disk::{Scan, Spool, StateFile};
use crate::plain::error::PlainError;
use crate::plain::line::{Line, Node};
use crate::plain::listing::Listing;
use crate::plain::log::{Log, claim, look, publish, put_base};
use crate::plain::manifest::{Base, Header, LineReader, LineWriter, Overlay};
use crate::plan::{DeleteSet, Deletes, PushFacts, admit_deletes, admit_push};
use crate::remote::plain::{INDEX_IN_WORDS, NEXT_INDEX_NAME, PlainMemory, PlainReceipt, outwait};
use crate::runtime::{Stop, compute, limits};
use crate::seal::random_bytes;
use crate::store::StoreError;
use crate::tree::FileType;
use bytes::Bytes;
use data_encoding::HEXLOWER;

/// What only the plain layout is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlainOptions {
    /// Delete objects that no entry of the manifest owns.
    pub delete_foreign: bool,
    /// Do not list the remote: what the manifest says is there.
    pub trust_manifest: bool,
}

const CHANGES: &str = "changes";
const SENDING_NEXT: &str = "sending.next";

/// As whom a pass writes.
#[derive(Debug, Clone, Copy)]
struct Turn<'a> {
    /// Its claim.
    epoch: u64,
    /// What it is asked for.
    pass: &'a Pass,
}

/// Pushes once.
pub async fn push(request: &Push<'_>, pass: &Pass, stop: &Stop) -> Result<Outcome, PushError> {
    let (log, mut memory, listing, epoch) = begin(request, stop).await?;
    let turn = Turn { epoch, pass };
    if !request.dry_run {
        give_up_uploads(request, &memory, stop).await?;
    }
    match push_changes(request, &log, &mut memory, listing, turn, stop).await {
        Err(PushError::Plain(PlainError::Damaged { object, what })) if object == INDEX_IN_WORDS => {
            tracing::warn!(what, "the local index is damaged: making it again");
            memory.drop_index()?;
            let listing = Listing::read(&request.bucket, &request.local.spill(), stop).await?;
            push_changes(request, &log, &mut memory, Some(listing), turn, stop).await
        }
        other => other,
    }
}

/// Looks what lies there and admits the push; gives that, what is remembered of it, and the claim to write under.
async fn begin(request: &Push<'_>, stop: &Stop) -> Result<(Log, PlainMemory, Option<Listing>, u64), PushError> {
    let place = request.bucket.describe();
    let mut log = look(&request.bucket, stop).await?;
    loop {
        let mut memory = PlainMemory::open(request.local, &place)?;
        memory.settle(&log)?;
        let listing = match request.plain.trust_manifest && log.head.is_some() {
            true => None,
            false => Some(Listing::read(&request.bucket, &request.local.spill(), stop).await?),
        };
        admit_push(&facts(request, &log, &memory, listing.as_ref())?, request.force)?;
        if request.dry_run {
            return Ok((log, memory, listing, 0));
        }
        if memory.is_own(&log)? {
            let epoch = log.epoch;
            return Ok((log, memory, listing, epoch));
        }
        let own = memory.epoch();
        let by = log.head.as_ref().map_or_else(String::new, |head| head.header.pod.clone());
        if own > 0 && own < log.epoch && !request.force {
            return Err(PlainError::Fenced { seq: log.seq(), by }.into());
        }
        let quiet = outwait(&request.bucket, log.clone(), request.takeover, stop).await?;
        let is_as_judged = quiet.is_as(&log);
        log = quiet;
        if is_as_judged {
            let epoch = claim(&request.bucket, log.epoch, &request.pod, stop).await?;
            memory.note_claim(epoch)?;
            tracing::info!(epoch, "claimed the remote");
            return Ok((log, memory, listing, epoch));
        }
        // It wrote meanwhile: what was judged is no more.
    }
}

fn facts(request: &Push<'_>, log: &Log, memory: &PlainMemory, listing: Option<&Listing>) -> Result<PushFacts, PushError> {
    let volume = &request.local.volume;
    let header = log.head.as_ref().map(|head| &head.header);
    let listed = listing.map_or(0, |listing| listing.objects);
    let by = header.map_or_else(|| "another program".to_string(), |header| header.pod.clone());
    Ok(PushFacts {
        volume: volume.path().display().to_string(),
        restoring: memory.interrupted_restore()?.is_some(),
        volume_empty: volume.is_empty(&request.local.reserved)?,
        remote_entries: listed.max(header.map_or(0, |header| header.files + header.dirs)),
        head: (header.is_some() || listed > 0).then(|| (log.seq(), by)),
        // Objects that an interrupted first push left behind are this volume's own.
        seen: memory.receipt.as_ref().map(|receipt| receipt.seq).or((memory.was_pushing && log.head.is_none()).then_some(0)),
        current: memory.is_current(log) || (memory.was_pushing && log.head.is_none() && memory.receipt.is_none()),
    })
}

/// Gives up the uploads in parts that a killed push of this volume left. Nobody else's: their names were noted when they
/// were begun. Without the right to do so they stay until the bucket's own rule for them takes them.
async fn give_up_uploads(request: &Push<'_>, memory: &PlainMemory, stop: &Stop) -> Result<(), PushError> {
    let uploads = memory.uploads()?;
    for (id, key) in uploads.left() {
        match request.bucket.abort_upload(stop, &key, &id).await {
            Err(error @ StoreError::Stopped(_)) => return Err(PlainError::Store(error).into()),
            Err(error @ StoreError::Denied { .. }) => tracing::debug!(%error, "an unfinished upload stays"),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::debug!(%error, "the next push gives an unfinished upload up");
                continue;
            }
            Ok(()) => tracing::info!(key, "gave up an upload that the last run did not finish"),
        }
        uploads.ended(&id)?;
    }
    Ok(())
}

async fn push_changes(
    request: &Push<'_>,
    log: &Log,
    memory: &mut PlainMemory,
    listing: Option<Listing>,
    turn: Turn<'_>,
    stop: &Stop,
) -> Result<Outcome, PushError> {
    prepare_index(request, log, memory, stop).await?;
    let listed = listing.is_some();
    if let Some((odd @ 1.., name)) = listing.as_ref().map(|listing| listing.odd.clone()) {
        let name = name.unwrap_or_default();
        tracing::warn!(
            objects = odd,
            first = %name.escape_debug(),
            "left alone: no file can have such a name, or its outer white space would get lost on the way"
        );
    }
    let compared = compare(request, memory, listing, stop).await?;
    let deletes = admit_deletes(
        DeleteSet { of: entries_of(log).max(compared.deletes.count), ..compared.deletes },
        compared.completeness,
        request.delete,
        turn.pass.allow_deletes.or(request.allow_deletes),
        request.force,
    );
    let mut outcome = Outcome {
        commit: log.seq(),
        unchanged: compared.unchanged,
        edited: compared.edited,
        foreign: compared.foreign,
        skips: compared.skips.clone(),
        dry_run: request.dry_run,
        held: match deletes {
            Deletes::Held(reason) => {
                Some(Held { count: compared.deletes.count, reason, hash: compared.deletes.hash, replacing: 0 })
            }
            Deletes::Carried => None,
        },
        ..Outcome::default()
    };
    let admitted = deletes == Deletes::Carried;
    if request.dry_run {
        let (added, changed, bytes) = compared.expected;
        (outcome.added, outcome.changed, outcome.bytes_new) = (added, changed, bytes);
        outcome.deleted = if admitted { compared.deletes.count } else { 0 };
        outcome.entries = outcome.unchanged + added + changed;
        return Ok(outcome);
    }
    let sender = Sender::new(request, listed, memory.uploads()?, stop);
    let unwanted = carry_out(request, memory, &sender, compared, admitted, &mut outcome).await?;
    finish(request, log, memory, turn, unwanted, &mut outcome, stop).await?;
    Ok(outcome)
}

fn entries_of(log: &Log) -> u64 {
    log.head.as_ref().map_or(0, |head| head.header.files + head.header.dirs)
}

/// Without an index of the newest entry, one is made from the manifest: then every file is compared by its content.
async fn prepare_index(request: &Push<'_>, log: &Log, memory: &PlainMemory, stop: &Stop) -> Result<(), PushError> {
    if memory.is_current(log) && memory.index()?.is_some() {
        return Ok(());
    }
    let mut state = log.state(&request.bucket, &request.local.spill(), stop).await?;
    let header = Header::new(log.seq(), log.id(), &request.pod);
    let mut writer = LineWriter::local(memory.next_index()?, &header)?;
    while let Some(line) = state.next()? {
        writer.push(&line)?;
    }
    writer.finish_local()?;
    Ok(memory.adopt_index()?)
}

async fn compare(request: &Push<'_>, memory: &PlainMemory, listing: Option<Listing>, stop: &Stop) -> Result<Compared, PushError> {
    let scan = Scan::start(&request.local.volume, request.scan_options())?;
    let index = memory.index()?;
    let comparison = Comparison {
        bucket: request.bucket.clone(),
        volume: request.local.volume.clone(),
        filter: request.capture.filter.clone(),
        reread: request.capture.reread,
        delete_foreign: request.plain.delete_foreign,
        stop: stop.clone(),
    };
    let spill = request.local.spill();
    let next = if request.dry_run {
        None
    } else {
        Some(LineWriter::local(memory.scratch(SENDING_NEXT)?, &Header::new(0, "", &request.pod))?)
    };
    let journal = Journal { before: memory.sending()?, next };
    compute("compare", move || comparison.run(scan, index, listing, journal, &spill)).await
}

/// Sends and records, window by window; gives the keys to delete once the entry is published.
async fn carry_out(
    request: &Push<'_>,
    memory: &mut PlainMemory,
    sender: &Sender,
    compared: Compared,
    admitted: bool,
    outcome: &mut Outcome,
) -> Result<Unwanted, PushError> {
    let mut steps = compared.steps.read()?;
    let mut unwanted = Unwanted::new(request);
    if steps.is_empty() {
        return Ok(unwanted);
    }
    // From the first stored object on, a crash leaves some that no entry names.
    memory.begin_push(SENDING_NEXT)?;
    let mut changes = LineWriter::local(memory.scratch(CHANGES)?, &Header::new(0, "", &request.pod))?;
    while let Some(sent) = sender.window(&mut steps, admitted).await? {
        let Sent { lines, deletes, skips, conflicts, edited, bytes_read, bytes_new } = sent;
        for (mut line, before) in lines {
            line.unpublished = before.as_ref().is_none_or(|before| before.unpublished || !before.is_same_entry(&line));
            changes.push(&line)?;
            if line.unpublished {
                count(outcome, &line, before.as_ref());
                outcome.published = true;
                unwanted.news += 1;
            }
        }
        unwanted.add(&deletes)?;
        outcome.skips.merge(skips);
        outcome.conflicts += conflicts;
        outcome.edited += edited;
        outcome.bytes_read += bytes_read;
        outcome.bytes_new += bytes_new;
    }
    changes.finish_local()?;
    unwanted.steps = true;
    Ok(unwanted)
}

fn count(outcome: &mut Outcome, line: &Line, before: Option<&Line>) {
    let lived = before.is_some_and(|before| before.file_type().is_some());
    match (line.file_type().is_some(), lived) {
        (true, false) => outcome.added += 1,
        (true, true) => outcome.changed += 1,
        (false, true) => outcome.deleted += 1,
        (false, false) => {}
    }
}

/// What is to be done once the steps were.
struct Unwanted {
    /// Keys to delete.
    keys: Spool,
    /// Lines to publish.
    news: u64,
    /// Whether there was anything to do.
    steps: bool,
}

impl Unwanted {
    fn new(request: &Push<'_>) -> Unwanted {
        Unwanted { keys: Spool::new(&request.local.spill()), news: 0, steps: false }
    }

    fn add(&mut self, keys: &[String]) -> Result<(), PlainError> {
        Ok(keys.iter().try_for_each(|key| self.keys.push(key.as_bytes()))?)
    }

    async fn delete(self, request: &Push<'_>, stop: &Stop) -> Result<(), PlainError> {
        let mut keys = self.keys.read()?;
        while !keys.is_empty() {
            let mut batch = Vec::new();
            while batch.len() < limits::DELETES
                && let Some(key) = keys.next()?
            {
                batch.push(String::from_utf8(key).expect("keys are written as text"));
            }
            match request.bucket.delete_all(stop, &batch).await {
                Ok(()) => {}
                Err(error @ StoreError::Denied { .. }) => {
                    tracing::warn!(%error, "objects that are no longer wanted stay; the manifest says that they are gone");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Publishes the entry, makes the next index the index, deletes what is no longer wanted, and leaves the receipt.
async fn finish(
    request: &Push<'_>,
    log: &Log,
    memory: &mut PlainMemory,
    turn: Turn<'_>,
    unwanted: Unwanted,
    outcome: &mut Outcome,
    stop: &Stop,
) -> Result<(), PushError> {
    let head = log.head.as_ref().map(|head| &head.header);
    let last = turn.pass.last.is_true();
    let releases = last && head.is_none_or(|head| !head.released || head.epoch < turn.epoch);
    let publishes = outcome.published || releases;
    let seq = if publishes { log.seq() + 1 } else { log.seq() };
    let id = if publishes { HEXLOWER.encode(&random_bytes::<8>()) } else { log.id().to_owned() };
    let receipt = PlainReceipt { place: request.bucket.describe(), seq, id: id.clone(), epoch: turn.epoch };
    let mut next = Header { epoch: turn.epoch, released: last, ..Header::new(seq, &id, &request.pod) };
    next.base = head.and_then(|head| head.base.clone());
    outcome.commit = seq;
    if !unwanted.steps {
        (next.files, next.dirs, next.bytes) = head.map_or((0, 0, 0), |head| (head.files, head.dirs, head.bytes));
        (outcome.entries, outcome.bytes_total) = (next.files + next.dirs, next.bytes);
        if releases {
            memory.note_release(&receipt)?;
            publish(&request.bucket, &next, empty(&next)?, stop).await?;
        }
        return if memory.receipt.as_ref() == Some(&receipt) && !memory.was_pushing {
            Ok(())
        } else {
            memory.finish(receipt).map_err(PushError::from)
        };
    }
    write_next(memory, &mut next)?;
    outcome.entries = next.files + next.dirs;
    outcome.bytes_total = next.bytes;
    if publishes {
        memory.note_intent(&receipt)?;
        let body = publish_body(request, log, memory, &mut next, unwanted.news, stop).await?;
        publish(&request.bucket, &next, body, stop).await?;
        if next.base.as_ref().is_some_and(|base| base.seq == seq) {
            log.clean(&request.bucket, stop).await;
        }
    }
    memory.adopt_index()?;
    unwanted.delete(request, stop).await?;
    memory.finish(receipt).map_err(PushError::from)
}

/// An entry without lines.
fn empty(header: &Header) -> Result<Bytes, PlainError> {
    Ok(Bytes::from(LineWriter::published(Vec::new(), header)?.finish()?))
}

/// Lays the changes over the index, which gives the next one.
fn write_next(memory: &PlainMemory, next: &mut Header) -> Result<(), PushError> {
    let mut state = Overlay::new(memory.index()?, Some(changes(memory)?));
    let mut index = LineWriter::local(memory.next_index()?, next)?;
    while let Some(mut line) = state.next()? {
        match (&line.node, line.file_type()) {
            (Node::Gone(mark), _) if mark.0.is_empty() => continue,
            (_, Some(FileType::Directory)) => next.dirs += 1,
            (_, Some(_)) => next.files += 1,
            (_, None) => {}
        }
        next.bytes += line.size();
        line.unpublished = false;
        index.push(&line)?;
    }
    index.finish_local()?;
    Ok(())
}

fn changes(memory: &PlainMemory) -> Result<LineReader<StateFile>, PushError> {
    Ok(memory.reread(CHANGES, "the changes")?)
}

/// The entry's body: the changes that others can see, or, when there are many, a base that holds everything.
async fn publish_body(
    request: &Push<'_>,
    log: &Log,
    memory: &PlainMemory,
    next: &mut Header,
    news: u64,
    stop: &Stop,
) -> Result<Bytes, PushError> {
    if news <= limits::MANIFEST_DELTA_LINES {
        let mut changes = changes(memory)?;
        let mut delta = LineWriter::published(Vec::new(), next)?;
        while let Some(line) = changes.next()? {
            if line.unpublished {
                delta.push(&line)?;
            }
        }
        let delta = delta.finish()?;
        if !log.base_is_due(delta.len() as u64) {
            return Ok(Bytes::from(delta));
        }
    }
    let spool = tempfile::spooled_tempfile_in(limits::SPOOL_BYTES, request.local.spill());
    let mut base = LineWriter::published(spool, next)?;
    let mut index = memory.reread(NEXT_INDEX_NAME, INDEX_IN_WORDS)?;
    while let Some(line) = index.next()? {
        base.push(&line)?;
    }
    let name = put_base(&request.bucket, next, base.finish()?, stop).await?;
    next.base = Some(Base { name, seq: next.seq });
    Ok(empty(next)?)
}

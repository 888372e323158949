//! Verifying a vault without changing it (levels of `check`): presence, metadata, data. Damage is collected, not
//! stopped at.

use super::container::{FrameType, Opened};
use super::directory::Directory;
use super::error::VaultError;
use super::log::{Commit, View};
use super::object::{ObjectId, ObjectKind, claim_of_folder, log_seq};
use super::open::Vault;
use super::pack::read_toc;
use super::tree::{Tally, TreeReader, read_whole};
use super::wire::FormatError;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::runtime::{Stop, Tasks, compute};
use crate::telemetry::Progress;
use std::collections::{BTreeMap, BTreeSet};

/// How much is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything that is referred to is there.
    Quick,
    /// And every commit, every record, the chain and the totals are right.
    Meta,
    /// And every byte of content is.
    Data,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Damage, the first of it in words.
    pub damage: Vec<String>,
    /// All damage.
    pub damaged: u64,
    /// Commits in the log.
    pub commits: u64,
    /// Packs and parts present.
    pub objects: u64,
    /// Stored bytes.
    pub bytes: u64,
    /// Objects no commit of the log refers to: left by interrupted pushes.
    pub unreferenced: u64,
}

/// Damage told in words; the rest is counted.
const NAMED_DAMAGE: usize = 100;
/// Objects read at once: each may be 64 MiB, usually 8.
const READS: usize = 2;

impl Findings {
    fn add(&mut self, what: impl ToString) {
        self.damaged += 1;
        if self.damage.len() < NAMED_DAMAGE {
            self.damage.push(what.to_string());
        }
    }

    /// Damage is a finding; that the store cannot be asked is an error.
    fn note(&mut self, error: VaultError) -> Result<(), VaultError> {
        let absent = matches!(&error, VaultError::Store(store) if store.is_not_found());
        if error.kind() == Kind::Corrupt || absent {
            self.add(error);
            return Ok(());
        }
        Err(error)
    }
}

/// Verifies a vault.
pub async fn verify(
    vault: &Vault,
    head: Option<Commit>,
    level: Level,
    progress: &Progress,
    stop: &Stop,
) -> Result<Findings, VaultError> {
    let mut findings = Findings::default();
    let present = list_objects(vault, stop, &mut findings).await?;
    let Some(head) = head else { return Ok(findings) };
    let mut referenced = BTreeSet::new();
    walk_log(vault, &head, level, &mut findings, &mut referenced, stop).await?;
    for id in &referenced {
        if id.kind != ObjectKind::Commit && !present.contains_key(id) {
            findings.add(format!("object {id} is missing although a commit refers to it"));
        }
    }
    findings.unreferenced = present.keys().filter(|id| id.kind != ObjectKind::Commit && !referenced.contains(id)).count() as u64;
    if level >= Level::Meta {
        let state = head.directory().state;
        match vault.view(head, stop).await {
            Ok(view) => verify_tree(vault, view, state, &mut findings, stop).await?,
            Err(error) => findings.note(error)?,
        }
    }
    if level >= Level::Data {
        progress.set_totals(present.len() as u64, findings.bytes);
        verify_data(vault, present.into_keys().collect(), &mut findings, progress, stop).await?;
    }
    Ok(findings)
}

async fn list_objects(vault: &Vault, stop: &Stop, findings: &mut Findings) -> Result<BTreeMap<ObjectId, u64>, VaultError> {
    let mut present = BTreeMap::new();
    for file in vault.bucket.list(stop, "log").await? {
        if let Some(seq) = log_seq(&file.name) {
            present.insert(ObjectId::commit(seq), file.size);
            findings.commits += 1;
        }
    }
    for folder in vault.bucket.list(stop, "obj").await? {
        let Some(claim) = claim_of_folder(&folder.name) else { continue };
        for file in vault.bucket.list(stop, &format!("obj/{}", folder.name)).await? {
            let kind = match file.name.as_bytes().first() {
                Some(b'p') => ObjectKind::Pack,
                Some(b'r') => ObjectKind::Run,
                _ => continue,
            };
            if let Some(counter) = file.name.get(1..).and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
                present.insert(ObjectId::of_claim(kind, claim, counter), file.size);
                findings.objects += 1;
            }
        }
    }
    findings.bytes = present.values().sum();
    Ok(present)
}

fn note_references(directory: &Directory, referenced: &mut BTreeSet<ObjectId>) {
    let runs = directory.plan.iter().flat_map(|plan| &plan.runs).flat_map(|run| &run.parts);
    referenced.extend(directory.table.iter().map(|line| line.object));
    referenced.extend(directory.parts.iter().chain(runs).map(|part| part.object));
}

/// Reads every commit from the head down; on the quick level only their directories matter.
async fn walk_log(
    vault: &Vault,
    head: &Commit,
    level: Level,
    findings: &mut Findings,
    referenced: &mut BTreeSet<ObjectId>,
    stop: &Stop,
) -> Result<(), VaultError> {
    note_references(head.directory(), referenced);
    note_parts(vault, head.directory(), findings, referenced, stop).await?;
    let mut expected = Some(head.directory().previous);
    for seq in (1..head.seq).rev() {
        match vault.commit(seq, stop).await {
            Ok(commit) => {
                if expected.is_some_and(|expected| expected != commit.hash) {
                    findings.add(format!("commit {} does not continue commit {seq}", seq + 1));
                }
                expected = Some(commit.directory().previous);
                note_references(commit.directory(), referenced);
                note_parts(vault, commit.directory(), findings, referenced, stop).await?;
                if level >= Level::Meta {
                    for frame in 0..commit.head.frames() {
                        if let Err(what) = commit.head.records(frame) {
                            findings.add(VaultError::corrupt(ObjectId::commit(seq), what));
                        }
                    }
                }
            }
            Err(error) => {
                expected = None;
                findings.note(error)?;
            }
        }
    }
    Ok(())
}

/// Parts have tables of their own.
async fn note_parts(
    vault: &Vault,
    directory: &Directory,
    findings: &mut Findings,
    referenced: &mut BTreeSet<ObjectId>,
    stop: &Stop,
) -> Result<(), VaultError> {
    for part in &directory.parts {
        let read = async {
            let bytes = read_whole(vault, part.object, stop).await?;
            vault.head_of(part.object, bytes, stop).await
        };
        match read.await {
            Ok(head) => note_references(&head.directory, referenced),
            Err(error) => findings.note(error)?,
        }
    }
    Ok(())
}

async fn verify_tree(
    vault: &Vault,
    view: View,
    expected: super::directory::State,
    findings: &mut Findings,
    stop: &Stop,
) -> Result<(), VaultError> {
    let mut tally = Tally::default();
    let mut tree = TreeReader::new(vault, view, None, stop);
    loop {
        match tree.next().await {
            Ok(Some(entry)) => tally.add(vault.keys(), &entry),
            Ok(None) => break,
            Err(error) => return findings.note(error),
        }
    }
    if tally.state != expected {
        findings.add("the tree at the head has other totals than the head says");
    }
    Ok(())
}

async fn verify_data(
    vault: &Vault,
    objects: Vec<ObjectId>,
    findings: &mut Findings,
    progress: &Progress,
    stop: &Stop,
) -> Result<(), VaultError> {
    let mut tasks: Tasks<Result<(), VaultError>> = Tasks::new("verify");
    for id in objects {
        stop.check()?;
        while tasks.len() >= READS {
            if let Some(Err(error)) = tasks.next().await {
                findings.note(error)?;
            }
        }
        let (vault, stop, progress) = (vault.clone(), stop.clone(), progress.clone());
        tasks.spawn(async move {
            let bytes = read_whole(&vault, id, &stop).await?;
            progress.add_files(1);
            progress.add_bytes(bytes.len() as u64);
            let worker = vault.clone();
            compute("verify an object", move || verify_object(&worker, id, &bytes))
                .await
                .map_err(|what| VaultError::corrupt(id, what))
        });
    }
    while let Some(done) = tasks.next().await {
        if let Err(error) = done {
            findings.note(error)?;
        }
    }
    Ok(())
}

/// Every frame of an object: authentication, the identity of each content, and the padding.
fn verify_object(vault: &Vault, id: ObjectId, bytes: &[u8]) -> Result<(), FormatError> {
    let opened = Opened::parse(vault.identity(), id, bytes)?;
    if bytes.len() as u64 != opened.total_len {
        return Err(FormatError::Truncated("the object"));
    }
    let directory = Directory::decode(&opened.directory(bytes)?)?;
    let cut = |offset: u64, length: u32| {
        bytes.get(offset as usize..(offset + u64::from(length)) as usize).ok_or(FormatError::Truncated("a frame"))
    };
    let mut offset = super::container::HEADER_BYTES as u64 + u64::from(opened.dir_len);
    for frame in &directory.meta {
        opened.frame(offset, FrameType::Meta, cut(offset, frame.length)?)?;
        offset += u64::from(frame.length);
    }
    let mut end = u64::from(opened.head_len);
    for length in &directory.toc {
        let body = opened.frame(offset, FrameType::Toc, cut(offset, *length)?)?;
        offset += u64::from(*length);
        for line in read_toc(&body)? {
            let at = u64::from(opened.head_len) + u64::from(line.offset);
            let plain = opened.frame(at, FrameType::Data, cut(at, line.stored)?)?;
            for content in &line.contents {
                let part = plain.get(content.inner as usize..content.inner as usize + content.length as usize);
                if part.map(|part| vault.keys().content_id(part)) != Some(content.id) {
                    return Err(FormatError::Invalid("a content is not the one its TOC lists"));
                }
            }
            end = end.max(at + u64::from(line.stored));
        }
    }
    opened.check_pad(end, bytes.get(end as usize..).unwrap_or_default())
}

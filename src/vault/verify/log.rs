//! The log: every commit and fork, their records, and what ties them together.

use super::records::{Decoded, decode};
use super::{Check, Share};
use crate::runtime::{compute, limits};
use crate::tree::RelPath;
use crate::vault::directory::{Directory, Flags, PartRef, Plan};
use crate::vault::error::VaultError;
use crate::vault::meta::Head;
use crate::vault::object::ObjectId;
use crate::vault::point::directory_of;
use crate::vault::tree::read_part;
use futures::{StreamExt, stream};

impl Check<'_> {
    /// The newest commit opens, its chain is whole, and all that its state needs is there.
    pub(super) async fn quick(&mut self) -> Result<(), VaultError> {
        let head = self.inventory.head();
        if head == 0 {
            return Ok(());
        }
        let id = ObjectId::commit(head);
        let view = match self.vault.commit(head, self.stop).await {
            Ok(commit) => {
                self.findings.state = commit.directory().state;
                self.vault.view(commit, self.stop).await
            }
            Err(error) => return self.note(id, error),
        };
        let view = match view {
            Ok(view) => view,
            Err(error) => return self.note(id, error),
        };
        let mut parts: Vec<(PartRef, ObjectId)> = Vec::new();
        for run in view.plan.runs {
            parts.extend(run.parts.into_iter().map(|part| (part, ObjectId::commit(run.to))));
        }
        for commit in view.tail {
            let referrer = ObjectId::commit(commit.seq);
            commit.head.directory.table.iter().for_each(|line| self.present(line.object, None, referrer));
            parts.extend(commit.head.directory.parts.into_iter().map(|part| (part, referrer)));
        }
        self.parts_tables(parts).await
    }

    /// The parts are there, and so is what their tables name.
    pub(super) async fn parts_tables(&mut self, parts: Vec<(PartRef, ObjectId)>) -> Result<(), VaultError> {
        for (part, referrer) in &parts {
            self.present(part.object, Some(part.length), *referrer);
        }
        let (vault, stop) = (self.vault, self.stop);
        let reads = parts.into_iter().map(|(part, _)| async move {
            let read = directory_of(vault, part.object, stop).await;
            (part.object, read)
        });
        let mut reads = stream::iter(reads).buffer_unordered(limits::FETCHES);
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(Some(head)) => head.directory.table.iter().for_each(|line| self.present(line.object, None, id)),
                // Missing: noted already.
                Ok(None) => {}
                Err(error) => self.note(id, error)?,
            }
        }
        Ok(())
    }

    /// Every commit that is there, from the oldest to the newest.
    pub(super) async fn log(&mut self) -> Result<(), VaultError> {
        self.progress.note_phase("records");
        let seqs = self.inventory.commits.clone();
        let (vault, stop) = (self.vault, self.stop);
        let mut before: Option<Link> = None;
        // Heads are at most a few MiB; so few at once stay within what reads may hold.
        const COMMITS: usize = 4;
        let mut commits = stream::iter(seqs).map(|seq| async move { (seq, vault.commit(seq, stop).await) }).buffered(COMMITS);
        while let Some((seq, commit)) = commits.next().await {
            self.progress.add_files(1);
            before = match commit {
                Ok(commit) => {
                    let link = Link { seq, hash: commit.hash, directory: commit.directory().clone() };
                    self.links(&link, before.as_ref());
                    self.commit(&link, commit.head).await?;
                    Some(link)
                }
                Err(error) => {
                    self.note(ObjectId::commit(seq), error)?;
                    None
                }
            };
        }
        self.gaps();
        Ok(())
    }

    /// What ties a commit to the one before it.
    fn links(&mut self, commit: &Link, before: Option<&Link>) {
        let (id, directory) = (ObjectId::commit(commit.seq), &commit.directory);
        if commit.seq == 1 && directory.previous != [0; 32] {
            self.wrong(id, "it is the first commit but continues another");
        }
        let Some(before) = before.filter(|before| before.seq + 1 == commit.seq) else { return };
        let older = &before.directory;
        if directory.previous != before.hash {
            self.wrong(id, "it does not continue the commit before it");
        }
        if directory.epoch < older.epoch {
            self.wrong(id, format!("its epoch is {} after epoch {}", directory.epoch, older.epoch));
        }
        if directory.claim() != older.claim() && !directory.flags.has(Flags::CLAIM) {
            self.wrong(id, "another writer than that of the commit before it wrote it without a claim");
        }
        if commit.changes_nothing() && directory.state != older.state {
            self.wrong(id, "it changes the state without a record");
        }
        if directory.plan.is_none() && directory.plan_at != before.plan_at() {
            self.wrong(id, "it follows another plan than the commit before it");
        }
    }

    /// A commit's own records, its parts and its plan.
    async fn commit(&mut self, link: &Link, head: Head) -> Result<(), VaultError> {
        let id = ObjectId::commit(link.seq);
        self.length(&head.opened);
        self.read.insert(link.seq, (link.hash, link.directory.state));
        self.records(head).await?;
        if let Some(plan) = &link.directory.plan {
            self.carriers.push(link.seq);
            self.plan(id, plan.clone()).await?;
        }
        Ok(())
    }

    /// The records of a commit or a fork, and those in its parts.
    pub(super) async fn records(&mut self, head: Head) -> Result<(), VaultError> {
        let (id, parts) = (head.opened.id, head.directory.parts.clone());
        match compute("check records", move || decode(head, false)).await {
            Ok(decoded) => {
                self.decoded(&decoded);
                let last = decoded.span.map(|(_, last)| last);
                self.parts(parts, id, last, false).await
            }
            Err(what) => self.note(id, VaultError::corrupt(id, what)),
        }
    }

    /// The runs of a plan follow each other, name commits of this log, and their parts are whole.
    async fn plan(&mut self, carrier: ObjectId, plan: Plan) -> Result<(), VaultError> {
        self.floor = self.floor.max(plan.log_floor);
        let mut merged = 0;
        for run in plan.runs {
            if run.from != merged || run.to <= run.from || run.to >= carrier.a {
                self.wrong(carrier, format!("its plan has a run of commits {} to {} after {merged}", run.from, run.to));
            }
            merged = run.to;
            if self.read.get(&run.to).is_some_and(|(hash, _)| *hash != run.hash) {
                self.wrong(carrier, format!("its plan merges another commit {} than the one in the log", run.to));
            }
            self.parts(run.parts, carrier, None, true).await?;
        }
        Ok(())
    }

    /// Parts in path order, of which `last` is the path before them.
    async fn parts(
        &mut self,
        parts: Vec<PartRef>,
        referrer: ObjectId,
        mut last: Option<RelPath>,
        upserts_only: bool,
    ) -> Result<(), VaultError> {
        parts.iter().for_each(|part| self.present(part.object, Some(part.length), referrer));
        let (vault, stop, budget) = (self.vault, self.stop, self.budget.clone());
        let reads = parts.into_iter().map(|part| {
            let budget = &budget;
            async move {
                let share = budget.share(part.length).await;
                let read = read_part(vault, &part, referrer, stop).await;
                (part.object, read, share)
            }
        });
        let mut reads = stream::iter(reads).buffered(limits::FETCHES);
        while let Some((id, read, share)) = reads.next().await {
            self.progress.add_files(1);
            let Some(decoded) = self.part(id, read, share, upserts_only).await? else { continue };
            if let Some((first, end)) = &decoded.span {
                if last.as_ref().is_some_and(|last| last >= first) {
                    self.wrong(id, "its records do not follow those before");
                }
                last = Some(end.clone());
            }
            self.decoded(&decoded);
        }
        Ok(())
    }

    async fn part(
        &mut self,
        id: ObjectId,
        read: Result<Head, VaultError>,
        share: Share,
        upserts_only: bool,
    ) -> Result<Option<Decoded>, VaultError> {
        let decoded = match read {
            Ok(head) => compute("check records", move || decode(head, upserts_only)).await,
            Err(error) => return self.note(id, error).map(|()| None),
        };
        drop(share);
        match decoded {
            Ok(decoded) => Ok(Some(decoded)),
            Err(what) => self.note(id, VaultError::corrupt(id, what)).map(|()| None),
        }
    }

    /// What records refer to is there and long enough.
    pub(super) fn decoded(&mut self, decoded: &Decoded) {
        decoded.directory.table.iter().for_each(|line| self.present(line.object, None, decoded.id));
        for (object, (_, end)) in &decoded.references {
            if self.inventory.sizes.get(object).is_some_and(|size| end > size) {
                self.wrong(*object, format!("it ends before what {} refers to", decoded.id.key()));
            }
        }
    }

    /// Numbers that are missing between the floor and the newest commit.
    fn gaps(&mut self) {
        let mut next = self.floor;
        for seq in self.inventory.commits.clone() {
            for gone in (next..seq).take(limits::NAMED_DAMAGE) {
                self.wrong(ObjectId::commit(gone), "it is missing from the log");
            }
            next = next.max(seq + 1);
        }
    }
}

/// A commit without its records.
struct Link {
    seq: u64,
    hash: [u8; 32],
    directory: Directory,
}

impl Link {
    fn changes_nothing(&self) -> bool {
        self.directory.meta.is_empty() && self.directory.parts.is_empty()
    }

    fn plan_at(&self) -> u64 {
        if self.directory.plan.is_some() { self.seq } else { self.directory.plan_at }
    }
}

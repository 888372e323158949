//! Trees: what the records add up to, and what the newest state has lost.

use super::Check;
use super::data::Frames;
use super::records::each_frame;
use crate::runtime::limits;
use crate::vault::directory::State;
use crate::vault::entry::Entry;
use crate::vault::error::VaultError;
use crate::vault::object::ObjectId;
use crate::vault::tree::{Tally, TreeReader};

impl Check<'_> {
    /// The tree at every commit that carries a plan adds up to what the commit promises.
    pub(super) async fn plans(&mut self) -> Result<(), VaultError> {
        self.progress.note_phase("trees");
        let head = self.inventory.head();
        for seq in self.carriers.clone().into_iter().filter(|seq| *seq != head) {
            let tree = self.tree(seq).await;
            self.add_up(ObjectId::commit(seq), tree, &mut |_, _| {}).await?;
        }
        Ok(())
    }

    /// The newest tree adds up, and is not built on anything that is damaged or missing.
    pub(super) async fn head_tree(&mut self) -> Result<(), VaultError> {
        self.progress.note_phase("newest tree");
        let head = self.inventory.head();
        if head == 0 {
            return Ok(());
        }
        let bad = self.bad.clone();
        let tree = self.tree(head).await;
        self.add_up(ObjectId::commit(head), tree, &mut |check, entry| {
            let mut lost = false;
            entry.objects(&mut |object| lost |= bad.contains(&object));
            if lost {
                check.findings.lost_total += 1;
                if check.findings.lost.len() < limits::NAMED_SKIPS {
                    check.findings.lost.push(entry.path.to_string());
                }
            }
        })
        .await
    }

    /// A tree's totals are those that an object promises.
    pub(super) async fn add_up(
        &mut self,
        id: ObjectId,
        tree: Result<(State, TreeReader), VaultError>,
        each: &mut (dyn FnMut(&mut Self, &Entry) + Send),
    ) -> Result<(), VaultError> {
        let (promised, mut tree) = match tree {
            Ok(tree) => tree,
            Err(error) => return self.note(id, error),
        };
        let mut tally = Tally::default();
        loop {
            match tree.next().await {
                Ok(Some(entry)) => {
                    tally.add(self.vault.keys(), &entry);
                    each(self, &entry);
                }
                Ok(None) => break,
                Err(error) => return self.note(id, error),
            }
        }
        if tally.state != promised {
            self.wrong_key(id.key(), differs(&promised, &tally.state));
        }
        Ok(())
    }

    /// Every content of the newest tree that lies in one of these objects lies on a data frame of it.
    pub(super) async fn references(&mut self, frames: &Frames) -> Result<(), VaultError> {
        let head = self.inventory.head();
        if head == 0 || frames.is_empty() {
            return Ok(());
        }
        match self.tree(head).await {
            Ok((_, tree)) => self.lie_on(tree, frames).await,
            Err(error) => self.note(ObjectId::commit(head), error),
        }
    }

    async fn lie_on(&mut self, mut tree: TreeReader, frames: &Frames) -> Result<(), VaultError> {
        let head = ObjectId::commit(self.inventory.head());
        loop {
            let entry = match tree.next().await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(()),
                Err(error) => return self.note(head, error),
            };
            each_frame(&entry, &mut |frame| {
                let Some(there) = frames.get(&frame.object) else { return };
                let at = there.binary_search_by_key(&frame.offset, |(offset, _)| u64::from(*offset));
                if at.ok().and_then(|index| there.get(index)).is_none_or(|(_, length)| *length != frame.length) {
                    let what = format!("'{}' refers to byte {} of it, where no such frame lies", entry.path, frame.offset);
                    self.wrong(frame.object, what);
                }
            });
        }
    }
}

fn differs(promised: &State, found: &State) -> String {
    let shown = |state: &State| format!("{} files, {} directories, {} bytes", state.files, state.dirs, state.bytes);
    if (promised.files, promised.dirs, promised.bytes) == (found.files, found.dirs, found.bytes) {
        return "its records do not add up to its state sum".to_string();
    }
    format!("its records add up to {}, it says {}", shown(found), shown(promised))
}

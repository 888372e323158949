//! What fenced writers left: that each rescue opens, follows a commit of this log, and adds up to what it promises.

use super::Check;
use crate::runtime::limits;
use crate::vault::directory::{Directory, PartRef};
use crate::vault::error::VaultError;
use crate::vault::meta::Head;
use crate::vault::object::{ObjectId, ObjectKind};
use crate::vault::point::{directory_of, follows};
use crate::vault::tree::TreeReader;

impl Check<'_> {
    /// Every fork opens, and all that it needs beside the commit it follows is there.
    pub(super) async fn fork_heads(&mut self) -> Result<(), VaultError> {
        for id in self.inventory.of_kind(ObjectKind::Fork) {
            let Some(directory) = self.fork_directory(id).await? else { continue };
            directory.table.iter().for_each(|line| self.present(line.object, None, id));
            let parts: Vec<(PartRef, ObjectId)> = directory.parts.into_iter().map(|part| (part, id)).collect();
            self.parts_tables(parts).await?;
        }
        Ok(())
    }

    async fn fork_directory(&mut self, id: ObjectId) -> Result<Option<Directory>, VaultError> {
        self.progress.add_files(1);
        let read = match directory_of(self.vault, id, self.stop).await {
            Ok(Some(head)) => follows(self.vault, id, &head.directory, self.stop).await.map(|_| head.directory),
            Ok(None) => Err(VaultError::Missing { object: id.key(), referrer: "the listing".into() }),
            Err(error) => Err(error),
        };
        match read {
            Ok(directory) => Ok(Some(directory)),
            Err(error) => self.note(id, error).map(|()| None),
        }
    }

    /// Every record of every fork.
    pub(super) async fn forks(&mut self) -> Result<(), VaultError> {
        for id in self.inventory.of_kind(ObjectKind::Fork) {
            self.progress.add_files(1);
            match self.fork(id).await {
                Ok(head) => {
                    self.length(&head.opened);
                    self.records(head).await?;
                }
                Err(error) => self.note(id, error)?,
            }
        }
        Ok(())
    }

    async fn fork(&self, id: ObjectId) -> Result<Head, VaultError> {
        let bytes = self.vault.bucket.get(self.stop, &id.key(), Some(0..limits::HEAD_READ_BYTES)).await?;
        let head = self.vault.head_of(id, bytes, self.stop).await?;
        follows(self.vault, id, &head.directory, self.stop).await?;
        Ok(head)
    }

    /// The tree of every fork adds up to what it promises.
    pub(super) async fn fork_trees(&mut self) -> Result<(), VaultError> {
        for id in self.inventory.of_kind(ObjectKind::Fork) {
            // What cannot be opened was noted with its records.
            if !self.bad.contains(&id) {
                let tree = self.fork_tree(id).await;
                self.add_up(id, tree, &mut |_, _| {}).await?;
            }
        }
        Ok(())
    }

    async fn fork_tree(&self, id: ObjectId) -> Result<(crate::vault::directory::State, TreeReader), VaultError> {
        let head = self.fork(id).await?;
        let commit = self.vault.commit(head.directory.fork_of, self.stop).await?;
        let promised = head.directory.state;
        let view = self.vault.view(commit, self.stop).await?;
        Ok((promised, TreeReader::new(self.vault, view, Some(head), self.stop)))
    }
}

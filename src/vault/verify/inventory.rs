//! What the store says is there.

use crate::runtime::{Stop, limits};
use crate::store::{Listed, StoreError};
use crate::vault::object::{ObjectId, ObjectKind, claim_of_folder, log_name, log_seq, object_of};
use crate::vault::open::Vault;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// Objects and their sizes.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Numbers of commits, ascending.
    pub commits: Vec<u64>,
    /// All objects, commits included.
    pub sizes: BTreeMap<ObjectId, u64>,
    /// Names that no object of a vault has.
    pub foreign: u64,
}

impl Inventory {
    /// Lists the log first: what its commits refer to was stored before them.
    pub async fn read(vault: &Vault, stop: &Stop) -> Result<Inventory, StoreError> {
        let mut inventory = Inventory::default();
        for listed in vault.bucket.list(stop, "log").await? {
            match log_seq(&listed.name).filter(|seq| log_name(*seq) == listed.name && *seq > 0) {
                Some(seq) => drop(inventory.sizes.insert(ObjectId::commit(seq), listed.size)),
                None => inventory.foreign += 1,
            }
        }
        inventory.commits = inventory.sizes.keys().map(|id| id.a).collect();
        for top in ["obj", "fork"] {
            let folders = vault.bucket.list(stop, top).await?;
            let lists = folders.into_iter().map(|folder| async move {
                let key = format!("{top}/{}", folder.name);
                let files = if folder.is_folder { vault.bucket.list(stop, &key).await? } else { Vec::new() };
                Ok::<_, StoreError>((folder.name, files))
            });
            let mut lists = stream::iter(lists).buffered(limits::FETCHES);
            while let Some((folder, files)) = lists.try_next().await? {
                inventory.add(top, &folder, files);
            }
        }
        Ok(inventory)
    }

    fn add(&mut self, top: &str, folder: &str, files: Vec<Listed>) {
        if claim_of_folder(folder).is_none() {
            self.foreign += files.len().max(1) as u64;
            return;
        }
        for file in files {
            match object_of(top, folder, &file.name) {
                Some(id) => drop(self.sizes.insert(id, file.size)),
                None => self.foreign += 1,
            }
        }
    }

    /// The newest commit; 0 when there is none.
    pub fn head(&self) -> u64 {
        self.commits.last().copied().unwrap_or(0)
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: ObjectKind) -> Vec<ObjectId> {
        self.sizes.keys().filter(|id| id.kind == kind).copied().collect()
    }
}

//! Objects in the memory of this process: for tests and trials.

use super::error::{Asked, StoreError};
use super::objects::{Mark, Object};
use super::{Create, Listed};
use crate::tree::Timestamp;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// Remotes of one name share their content for as long as the process lives.
static REMOTES: LazyLock<Mutex<BTreeMap<String, Objects>>> = LazyLock::new(Mutex::default);

/// A remote in memory.
pub(super) struct Memory {
    objects: Objects,
}

impl Memory {
    pub(super) fn open(name: &str) -> Memory {
        let mut remotes = REMOTES.lock().unwrap_or_else(PoisonError::into_inner);
        Memory { objects: remotes.entry(name.to_owned()).or_default().clone() }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        let whole = self.locked().get(&asked.key).cloned();
        let whole = whole.ok_or_else(|| StoreError::NotFound(Box::new(asked.clone())))?;
        cut(asked, whole, range)
    }

    pub(super) fn create(&self, key: &str, body: Bytes) -> Create {
        match self.locked().entry(key.to_owned()) {
            Entry::Occupied(_) => Create::Exists,
            Entry::Vacant(slot) => {
                slot.insert(body);
                Create::New
            }
        }
    }

    pub(super) fn put(&self, key: &str, body: Bytes) {
        self.locked().insert(key.to_owned(), body);
    }

    pub(super) fn delete(&self, key: &str) {
        self.locked().remove(key);
    }

    pub(super) fn size(&self, key: &str) -> Option<u64> {
        self.locked().get(key).map(|body| body.len() as u64)
    }

    /// What tells the object's content from others.
    pub(super) fn mark(&self, key: &str) -> Mark {
        self.locked().get(key).map_or_else(Mark::default, mark)
    }

    /// All objects below a folder.
    pub(super) fn objects(&self, folder: &str) -> Vec<Object> {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let all = self.locked();
        let below = all.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start));
        let object = |(key, body): (&String, &Bytes)| Object {
            key: key.clone(),
            size: body.len() as u64,
            mark: mark(body),
            modified: Timestamp::default(),
        };
        below.map(object).collect()
    }

    /// The direct children of a folder, sorted by name.
    pub(super) fn list(&self, folder: &str) -> Vec<Listed> {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut children: BTreeMap<String, Listed> = BTreeMap::new();
        for (key, body) in self.locked().range(start.clone()..) {
            let Some(rest) = key.strip_prefix(&start) else { break };
            let (name, is_folder) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            let size = if is_folder { 0 } else { body.len() as u64 };
            children.insert(name.to_owned(), Listed { name: name.to_owned(), size, is_folder });
        }
        children.into_values().collect()
    }
}

fn mark(body: &Bytes) -> Mark {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    Mark(format!("{:016x}", hasher.finish()))
}

/// The wanted part of an object, as S3 cuts it: what exists of the range, and an error when it begins past the end.
pub(super) fn cut(asked: &Asked, whole: Bytes, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
    let Some(range) = range else { return Ok(whole) };
    let len = whole.len() as u64;
    if range.start >= len {
        return Err(StoreError::Outside(Box::new(asked.clone())));
    }
    let end = range.end.clamp(range.start, len);
    // Both bounds are at most the length of a slice.
    Ok(whole.slice(usize::try_from(range.start).unwrap_or(0)..usize::try_from(end).unwrap_or(0)))
}

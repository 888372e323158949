//! Hears the volume on a thread of its own, so that the kernel's queue is emptied also while a pass runs.

use crate::disk::Watch;
use crate::runtime::Tasks;
use crate::tree::Dirty;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Ears {
    watch: Watch,
    heard: Arc<Heard>,
    /// The listening thread.
    _tasks: Tasks<()>,
}

#[derive(Debug, Default)]
struct Heard {
    dirty: Mutex<Dirty>,
    news: Notify,
}

impl Heard {
    fn add(&self, dirty: Dirty) {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).merge(dirty);
        self.news.notify_one();
    }
}

impl Ears {
    /// Begins to listen.
    pub fn new(watch: Watch) -> Ears {
        let heard = Arc::new(Heard::default());
        let mut tasks = Tasks::new("hear the volume");
        let (listening, told) = (watch.clone(), heard.clone());
        tasks.spawn_work(move || listening.listen(|dirty| told.add(dirty)));
        Ears { watch, heard, _tasks: tasks }
    }

    /// Waits for news. Cancel-safe.
    pub async fn news(&self) {
        self.heard.news.notified().await;
    }

    /// Takes what was heard up to this moment.
    pub fn take(&self) -> Dirty {
        let mut dirty = std::mem::take(&mut *self.heard.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        // What the kernel still holds: all that happened before now is in it.
        self.watch.take(&mut dirty);
        dirty
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.watch.hush();
    }
}

//! Hears the volume on a thread of its own, so that the kernel's queue is emptied also while a pass runs.

use crate::disk::Watch;
use crate::runtime::Tasks;
use crate::tree::Dirty;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Takes what the kernel holds, under the lock, so that nothing is ever between the kernel and here.
    fn gather(&self, watch: &Watch) -> MutexGuard<'_, Dirty> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        watch.take(&mut dirty);
        dirty
    }
}

impl Ears {
    /// Begins to listen.
    pub fn new(watch: Watch) -> Ears {
        let heard = Arc::new(Heard::default());
        let mut tasks = Tasks::new("hear the volume");
        let (listening, told) = (watch.clone(), heard.clone());
        tasks.spawn_work(move || {
            listening.listen(|| {
                if !told.gather(&listening).is_clean() {
                    told.news.notify_one();
                }
            });
        });
        Ears { watch, heard, _tasks: tasks }
    }

    /// Waits for news. Cancel-safe.
    pub async fn news(&self) {
        self.heard.news.notified().await;
    }

    /// Takes what was heard up to this moment: all that happened before now is in it.
    pub fn take(&self) -> Dirty {
        std::mem::take(&mut *self.heard.gather(&self.watch))
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.watch.hush();
    }
}

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
    told: Mutex<Told>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Told {
    /// What was not taken yet.
    dirty: Dirty,
    /// How often something was taken.
    taken: u64,
}

impl Heard {
    /// Takes what the kernel holds, under the lock, so that nothing is ever between the kernel and here.
    fn gather(&self, watch: &Watch) -> MutexGuard<'_, Told> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        watch.take(&mut told.dirty);
        told
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
                if !told.gather(&listening).dirty.is_clean() {
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
        let mut told = self.heard.gather(&self.watch);
        told.taken += u64::from(!told.dirty.is_clean());
        std::mem::take(&mut told.dirty)
    }

    /// Tells, whenever it is called, whether nothing was heard since now, and nothing was left to take.
    pub fn silence(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let (heard, watch) = (self.heard.clone(), self.watch.clone());
        let before = heard.gather(&watch).taken;
        move || {
            let told = heard.gather(&watch);
            told.taken == before && told.dirty.is_clean()
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.watch.hush();
    }
}

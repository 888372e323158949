//! What is known of the cluster: one watch for each kind of object, its result kept in memory. A cache stays readable while
//! the API server is away, and is listed anew when its place in the history is gone.

use crate::runtime::Stop;
use futures::{FutureExt, StreamExt};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::Hash;
use tokio::sync::Notify;

/// Keeps a cache until the stop is asked for, and tells of each change. The other half of the writer is what is read.
///
/// Who changed which field is not kept: nobody asks, and it is half of an object.
pub async fn keep<K>(api: Api<K>, config: watcher::Config, writer: Writer<K>, changed: &Notify, stop: &Stop)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let events = watcher(api, config)
        .modify(|object: &mut K| object.meta_mut().managed_fields = None)
        .reflect(writer)
        // Waits longer after each failure in a row, up to half a minute.
        .default_backoff();
    futures::pin_mut!(events);
    let mut is_reported = false;
    // Cancel-safe: what a dropped wait would have told is told by the next list.
    while let Ok(Some(event)) = stop.or(events.next()).await {
        match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(_) => {
                is_reported = false;
                changed.notify_one();
            }
            Err(error) => {
                // A history that is gone is in order; it is listed anew at once.
                if is_gone(&error) || std::mem::replace(&mut is_reported, true) {
                    tracing::debug!(%error, "watching {kind}");
                } else {
                    tracing::warn!(%error, "changes of {kind} are not heard now; what was known of them is used");
                }
            }
        }
    }
}

fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// Whether everything was listed at least once.
pub fn is_whole<K>(store: &Store<K>) -> bool
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok())
}

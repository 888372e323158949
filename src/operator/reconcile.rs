//! The controller's loop. Each replica writes what it received; the leader also makes keys, judges, and tells.
//!
//! A round looks at everything, from the caches alone, and writes what differs: it does not matter what woke it, or how often.
//! A status is applied with the version that it was made from, so that of two writers the second one looks again.

use super::crd::{PodFilesystemSync, PodFilesystemSyncStatus};
use super::events::{Events, Reason};
use super::pods::{Chooser, PodMeta, Seen};
use super::progress::{Inbox, Received};
use super::secrets::{Key, Refused, make_key};
use super::status::{self, Said, Verdict};
use super::verdict::{Overlaps, accepted, key_advice, key_note};
use super::{caches, in_words, timely};
use crate::contract::control::PassResult;
use crate::contract::kubernetes::{CONTROLLER, OPT_IN_LABEL, OPTED_IN};
use crate::contract::progress::{Step, Trouble};
use crate::runtime::{Stop, clock, limits};
use crate::telemetry::{ControllerMetrics, Unwritten};
use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// What the controller may and must do.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Where keys may be made; empty: everywhere.
    pub encryption_namespaces: BTreeSet<String>,
    /// Pods that no PodFilesystemSync chooses are let in without containers: such a Pod is in order.
    pub unmatched_is_fine: bool,
}

/// What the loop works with.
pub struct Reconciler {
    /// The API server.
    pub client: Client,
    /// All PodFilesystemSyncs.
    pub syncs: Store<PodFilesystemSync>,
    /// All Pods that asked for syncing.
    pub pods: Store<PodMeta>,
    /// What sidecars reported to this replica.
    pub inbox: Arc<Inbox>,
    /// Whether this replica leads.
    pub leader: watch::Receiver<bool>,
    /// Told of each change of the caches, and of each report.
    pub news: Arc<Notify>,
    /// What the controller may.
    pub rules: Rules,
    /// Counts.
    pub metrics: ControllerMetrics,
    /// Tells Events.
    pub events: Events,
}

/// What is remembered of one PodFilesystemSync, by its UID.
#[derive(Debug, Clone, Default)]
struct Desk {
    written: Option<Instant>,
    /// The version in the cache when it was written: what is there as long as the write was not heard of.
    outdated: Option<String>,
    /// It failed: not before this.
    again: Option<Instant>,
    /// Its key could not be made.
    refused: Option<Refused>,
}

/// One round's view of the cluster.
struct Round {
    leads: bool,
    now: Instant,
    pods: HashMap<String, Vec<Seen>>,
    waiting: HashMap<(String, String), Vec<Received>>,
    desks: Mutex<HashMap<String, Desk>>,
    /// When the next round is due.
    due: Mutex<Instant>,
}

impl Round {
    fn wake(&self, at: Instant) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = at.min(*due);
    }

    fn desk(&self, uid: &str) -> Desk {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned().unwrap_or_default()
    }

    fn set_desk(&self, uid: &str, desk: Desk) {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), desk);
    }
}

impl Reconciler {
    /// Works until the stop is asked for. What was received by then is written at once: nobody sends it again.
    pub async fn run(mut self, stop: &Stop) {
        // Cancel-safe: each write stands alone, and the last round finds what is left.
        let _ = stop.or(self.rounds()).await;
        let (mut desks, mut overlaps) = (HashMap::new(), Overlaps::default());
        if timely(limits::KUBE_FAREWELL, self.round(false, &mut desks, &mut overlaps)).await.is_none() {
            tracing::warn!("the last reports of sidecars may not all be in the status of their PodFilesystemSyncs");
        }
    }

    /// Works for ever. What only a leader does is dropped the moment another may lead.
    async fn rounds(&mut self) {
        let mut desks = HashMap::new();
        let mut overlaps = Overlaps::default();
        loop {
            let leads = *self.leader.borrow_and_update() && self.leader.has_changed().is_ok();
            self.metrics.leads(leads);
            let mut due = clock::now() + limits::RECONCILE_PAUSE;
            if caches::is_whole(&self.syncs) && caches::is_whole(&self.pods) {
                let mut leader = self.leader.clone();
                let round = self.round(leads, &mut desks, &mut overlaps);
                // Cancel-safe: each write stands alone, and the next round finds what is left.
                tokio::select! {
                    biased;
                    () = another(&mut leader) => continue,
                    next = round => due = next,
                }
            }
            // Cancel-safe: what is not heard here is heard in the next turn.
            tokio::select! {
                () = another(&mut self.leader) => {}
                () = self.news.notified() => clock::sleep(limits::RECONCILE_GATHER).await,
                () = clock::sleep(due.saturating_duration_since(clock::now())) => {}
            }
        }
    }

    async fn round(&self, leads: bool, desks: &mut HashMap<String, Desk>, overlaps: &mut Overlaps) -> Instant {
        let now = clock::now();
        let syncs = self.syncs.state();
        let mut pods: HashMap<String, Vec<Seen>> = HashMap::new();
        for pod in Seen::all(&self.pods) {
            pods.entry(pod.namespace().to_owned()).or_default().push(pod);
        }
        if leads {
            overlaps.look(&syncs);
        }
        let uids: BTreeSet<&str> = syncs.iter().filter_map(|sync| sync.metadata.uid.as_deref()).collect();
        desks.retain(|uid, _| uids.contains(uid.as_str()));
        let waiting = self.inbox.waiting();
        let round = Round {
            leads,
            now,
            pods,
            waiting,
            desks: Mutex::new(std::mem::take(desks)),
            due: Mutex::new(now + limits::RECONCILE_INTERVAL),
        };
        let work = syncs.iter().filter(|sync| sync.metadata.deletion_timestamp.is_none());
        futures::stream::iter(work).for_each_concurrent(limits::RECONCILES, |sync| self.look_at(sync, &round, overlaps)).await;
        self.forget_strays(&syncs, &round);
        if leads {
            self.tell_uninjected(&syncs, &round).await;
            self.count(&syncs);
        }
        self.inbox.tidy(now);
        *desks = round.desks.into_inner().unwrap_or_else(PoisonError::into_inner);
        round.due.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// One PodFilesystemSync.
    async fn look_at(&self, sync: &Arc<PodFilesystemSync>, round: &Round, overlaps: &Overlaps) {
        let (namespace, name, uid) = names(sync);
        let received = round.waiting.get(&(namespace.to_owned(), name.to_owned())).map(Vec::as_slice).unwrap_or_default();
        if !round.leads && received.is_empty() {
            return;
        }
        let mut desk = round.desk(uid);
        if let Some(again) = desk.again.filter(|again| *again > round.now) {
            return round.wake(again);
        }
        let is_outdated = desk.outdated.is_some() && desk.outdated == sync.metadata.resource_version;
        if let Some(until) = desk.written.map(|at| at + limits::CACHE_PATIENCE).filter(|at| is_outdated && *at > round.now) {
            return round.wake(until);
        }
        desk.again = None;
        for received in received {
            self.tell_of(received).await;
        }
        let pods = round.pods.get(namespace).map(Vec::as_slice).unwrap_or_default();
        let mut verdict = None;
        if round.leads {
            verdict = Some(self.verdict(sync, overlaps, &mut desk.refused).await);
            if let Some(refused) = &desk.refused {
                round.wake(refused.again);
            }
        }
        let mut is_done = true;
        match self.write(sync, received, verdict.as_ref(), pods, desk.written).await {
            Ok(Written::Now) => {
                desk.written = Some(clock::now());
                desk.outdated = sync.metadata.resource_version.clone();
                self.inbox.done(received);
            }
            Ok(Written::NotNeeded) => self.inbox.done(received),
            Ok(Written::Later(at)) => round.wake(at),
            Err(error) => {
                tracing::warn!(namespace, name, "writing the status: {}", in_words(&error));
                self.metrics.error(Unwritten::Status);
                is_done = false;
            }
        }
        if !is_done {
            let again = clock::now() + limits::RECONCILE_PAUSE;
            desk.again = Some(again);
            round.wake(again);
        }
        round.set_desk(uid, desk);
    }

    async fn verdict(&self, sync: &PodFilesystemSync, overlaps: &Overlaps, key_refused: &mut Option<Refused>) -> Verdict {
        let accepted = accepted(sync, overlaps);
        let refused = match accepted.reason.as_str() {
            "InvalidSchedule" => Some(Reason::InvalidSchedule),
            "OverlappingSelector" => Some(Reason::OverlappingSelector),
            _ => None,
        };
        if let Some(reason) = refused {
            self.tell(&sync.object_ref(&()), reason, &accepted.message).await;
        }
        let key = match sync.spec.key_secret() {
            Some(secret) => Some(self.key(sync, secret, key_refused).await),
            None => {
                *key_refused = None;
                None
            }
        };
        Verdict { accepted, key }
    }

    /// Makes the key, unless it was made or found before.
    async fn key(&self, sync: &PodFilesystemSync, secret: &str, refused: &mut Option<Refused>) -> Said {
        const TYPE: &str = "EncryptionKeyReady";
        let (namespace, name, _) = names(sync);
        let before = refused.take();
        let status = sync.status.as_ref();
        let known = status.and_then(|status| status.encryption.as_ref());
        if let (Some(status), Some(known)) = (status, known.filter(|known| known.secret_name.as_deref() == Some(secret))) {
            let said = status.conditions.iter().find(|condition| condition.type_ == TYPE && condition.status == "True");
            if let Some(said) = said {
                return Said::yes(said.reason.clone(), said.message.clone());
            }
            // Somebody made it: a sidecar that has it opened the vault with it.
            if known.key_fingerprint.is_some() {
                return Said::yes("KeyFound", key_advice(namespace, secret));
            }
        }
        let allowed = &self.rules.encryption_namespaces;
        if !allowed.is_empty() && !allowed.contains(namespace) {
            let message = format!(
                "the controller may not create Secrets in this namespace; create '{secret}' yourself, with a key from \
                 `volume-syncing-controller key generate` under ENCRYPTED_PASSWORD, or ask for the namespace to be allowed"
            );
            return Said::no("NamespaceNotAllowed", message);
        }
        let waits = |refused: &&Refused| refused.secret == secret && refused.again > clock::now();
        if let Some(waiting) = before.as_ref().filter(waits) {
            let said = Said::no("CreateFailed", waiting.why.clone());
            *refused = before;
            return said;
        }
        match make_key(self.client.clone(), namespace, secret).await {
            Ok(Key::Created) => {
                tracing::info!(namespace, name, secret, "made a key");
                self.tell(&sync.object_ref(&()), Reason::KeyCreated, &key_note(sync, secret)).await;
                Said::yes("KeyCreated", key_advice(namespace, secret))
            }
            Ok(Key::Found) => Said::yes("KeyFound", key_advice(namespace, secret)),
            Err(error) => {
                tracing::warn!(namespace, name, secret, "making a key: {}", in_words(&error));
                self.metrics.error(Unwritten::Secret);
                let why = format!("the Secret '{secret}' could not be created: {}", in_words(&error));
                *refused = Some(Refused::after(before.as_ref(), secret, why.clone(), clock::now()));
                Said::no("CreateFailed", why)
            }
        }
    }

    /// Writes the status, where it differs and it is time.
    async fn write(
        &self,
        sync: &Arc<PodFilesystemSync>,
        received: &[Received],
        verdict: Option<&Verdict>,
        pods: &[Seen],
        written: Option<Instant>,
    ) -> Result<Written, kube::Error> {
        let (namespace, name, uid) = names(sync);
        let api: Api<PodFilesystemSync> = Api::namespaced(self.client.clone(), namespace);
        let chooser = Chooser::new(sync);
        let chosen: Vec<Seen> = pods.iter().filter(|pod| chooser.chooses(pod)).cloned().collect();
        let live: BTreeSet<&str> = pods.iter().map(Seen::uid).collect();
        let mut newest = Arc::clone(sync);
        for _ in 0..limits::STATUS_TRIES {
            let before = newest.status.clone().unwrap_or_default();
            let mut after = before.clone();
            received.iter().for_each(|received| status::add(&mut after, received, &live));
            if let Some(verdict) = verdict {
                status::judge(&mut after, &newest, verdict, &chosen, clock::wall_ms());
            }
            if after == before {
                return Ok(Written::NotNeeded);
            }
            let next = written.map(|at| at + limits::STATUS_INTERVAL).filter(|at| *at > clock::now());
            if let Some(at) = next.filter(|_| !status::is_transition(&before, &after)) {
                return Ok(Written::Later(at));
            }
            let known = timely(limits::KUBE_TIMEOUT, apply(&api, &newest, &after)).await;
            match known.unwrap_or_else(|| Err(super::no_answer())) {
                Ok(()) => {
                    self.tell_mismatch(&newest, &after).await;
                    return Ok(Written::Now);
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Written::NotNeeded),
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let known = timely(limits::KUBE_TIMEOUT, api.get_opt(name)).await;
                    match known.unwrap_or_else(|| Err(super::no_answer()))? {
                        // Another one of the same name is looked at in a round of its own.
                        Some(known) if known.metadata.uid.as_deref() == Some(uid) => newest = Arc::new(known),
                        _ => return Ok(Written::NotNeeded),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        // Others write it all the time; what is to be added is not lost.
        Ok(Written::Later(clock::now() + limits::RECONCILE_PAUSE))
    }

    async fn tell_mismatch(&self, sync: &PodFilesystemSync, status: &PodFilesystemSyncStatus) {
        let found = status.conditions.iter().find(|said| said.type_ == "Synced" && said.reason == Trouble::KeyMismatch.word());
        if let Some(found) = found {
            self.tell(&sync.object_ref(&()), Reason::KeyMismatch, &found.message).await;
        }
    }

    /// Tells the Pod's readers what it reported.
    async fn tell_of(&self, received: &Received) {
        let report = &received.report;
        let message = report.message.as_deref().unwrap_or("see the log of the container");
        let (reason, note) = match (report.step, report.result) {
            (Step::Restore, PassResult::Failed) => (Reason::RestoreFailed, format!("restoring {}: {message}", report.directory)),
            (Step::Restore, _) => (Reason::VolumeRestored, format!("{}: {message}", report.directory)),
            (_, PassResult::Failed) => (Reason::SyncFailing, format!("pushing to {}: {message}", report.directory)),
            (_, PassResult::Partial) if report.deletes_held > 0 => {
                let held = report.deletes_held;
                (Reason::DeletesHeld, format!("{held} deletes wait for an approval at {}: {message}", report.directory))
            }
            _ => return,
        };
        self.tell(&received.pod, reason, &note).await;
    }

    async fn tell(&self, about: &k8s_openapi::api::core::v1::ObjectReference, reason: Reason, note: &str) {
        if !self.events.tell(about, reason, note).await {
            self.metrics.error(Unwritten::Event);
        }
    }

    /// Pods that asked for syncing and run without it.
    async fn tell_uninjected(&self, syncs: &[Arc<PodFilesystemSync>], round: &Round) {
        let now_ms = i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX);
        let mut found = 0;
        for pod in self.uninjected(syncs, round) {
            let age = now_ms.saturating_sub(pod.made_ms());
            let patience = i64::try_from(limits::UNINJECTED_PATIENCE.as_millis()).unwrap_or(i64::MAX);
            if age < patience {
                let left = u64::try_from(patience - age).unwrap_or(0);
                round.wake(round.now + std::time::Duration::from_millis(left).min(limits::UNINJECTED_PATIENCE));
                continue;
            }
            found += 1;
            let note = format!(
                "the Pod has the label {OPT_IN_LABEL}={OPTED_IN} and runs without the containers that sync its volume: it was \
                 created while the webhook did not answer, or the webhook leaves its namespace out. Delete the Pod, so that it is \
                 created anew, or take the label away"
            );
            self.tell(&pod.reference(), Reason::NotInjected, &note).await;
        }
        self.metrics.uninjected(found);
    }

    /// Those whose volume would have been synced, had the webhook seen them.
    fn uninjected<'a>(&self, syncs: &[Arc<PodFilesystemSync>], round: &'a Round) -> Vec<&'a Seen> {
        let mut choosers: HashMap<&str, Vec<Chooser<'_>>> = HashMap::new();
        for sync in syncs {
            choosers.entry(names(sync).0).or_default().push(Chooser::new(sync));
        }
        let is_missed = |pod: &&Seen| {
            let here = choosers.get(pod.namespace()).into_iter().flatten();
            let mut choosing = here.filter(|chooser| chooser.chooses(pod)).peekable();
            match choosing.peek() {
                // One that names its own is refused where that is not there.
                None => !self.rules.unmatched_is_fine || pod.chosen().is_some(),
                Some(_) => choosing.any(|chooser| !chooser.sync.spec.asks_for_nothing()),
            }
        };
        let bare = round.pods.values().flatten().filter(|pod| !pod.is_injected() && !pod.is_image() && !pod.is_ending());
        bare.filter(is_missed).collect()
    }

    fn count(&self, syncs: &[Arc<PodFilesystemSync>]) {
        let is_ready = |sync: &&Arc<PodFilesystemSync>| {
            let mut conditions = sync.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let ready = syncs.iter().filter(is_ready).count() as u64;
        self.metrics.syncs_are(ready, syncs.len() as u64 - ready);
        let completed = syncs.iter().filter_map(|sync| {
            let time = sync.status.as_ref()?.last_sync_time.as_ref()?;
            let (namespace, name, _) = names(sync);
            Some((namespace.to_owned(), name.to_owned(), time.0.as_millisecond() as f64 / 1000.0))
        });
        self.metrics.completed(completed);
    }

    /// Reports about a PodFilesystemSync that is gone go nowhere.
    fn forget_strays(&self, syncs: &[Arc<PodFilesystemSync>], round: &Round) {
        let known: BTreeSet<(&str, &str)> = syncs.iter().map(|sync| (names(sync).0, names(sync).1)).collect();
        for ((namespace, name), received) in &round.waiting {
            if !known.contains(&(namespace.as_str(), name.as_str())) {
                self.inbox.done(received);
            }
        }
    }
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Reconciler")
    }
}

/// What became of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Now,
    NotNeeded,
    /// Only times and amounts changed, and it was written a short while ago.
    Later(Instant),
}

async fn apply(
    api: &Api<PodFilesystemSync>,
    sync: &PodFilesystemSync,
    status: &PodFilesystemSyncStatus,
) -> Result<(), kube::Error> {
    let (namespace, name, _) = names(sync);
    let version = &sync.metadata.resource_version;
    let body = json!({
        "apiVersion": PodFilesystemSync::api_version(&()),
        "kind": PodFilesystemSync::kind(&()),
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": version},
        "status": status,
    });
    // All replicas are one manager: what one added the next keeps, or it would be taken away.
    api.patch_status(name, &PatchParams::apply(CONTROLLER).force(), &Patch::Apply(&body)).await.map(drop)
}

/// Namespace, name and UID.
fn names(sync: &PodFilesystemSync) -> (&str, &str, &str) {
    let metadata = &sync.metadata;
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
        metadata.uid.as_deref().unwrap_or_default(),
    )
}

/// Waits until another or no replica leads, or this one does.
async fn another(leader: &mut watch::Receiver<bool>) {
    if leader.changed().await.is_err() {
        // Nobody will ever tell again.
        std::future::pending().await
    }
}

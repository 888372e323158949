//! The status of a PodFilesystemSync, from the one before and from what is known now. Pure.
//!
//! The list of locations is what all replicas write: each adds what it received. Everything else sums up, and is written by
//! the leader alone, from that list and from the Pods.

use super::crd::{Encryption, LastResult, Location, Method, PodFilesystemSync, PodFilesystemSyncStatus, Pods};
use super::pods::Seen;
use super::progress::Received;
use super::stamp_of;
use crate::contract::control::PassResult;
use crate::contract::progress::{Step, Trouble};
use crate::cycle::Schedule;
use crate::runtime::limits;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeSet;
use std::time::Duration;

/// The reason of a location whose restore failed.
const RESTORE_FAILED: &str = "RestoreFailed";
/// A pass may be late by so many intervals, and by this much more.
const LATE_INTERVALS: u32 = 3;
const LATE_GRACE: Duration = Duration::from_secs(300);

/// One condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One word.
    pub reason: String,
    /// What it means, and what to do.
    pub message: String,
}

impl Said {
    /// It is so.
    pub fn yes(reason: impl Into<String>, message: impl Into<String>) -> Said {
        Said { status: "True", reason: reason.into(), message: message.into() }
    }

    /// It is not so.
    pub fn no(reason: impl Into<String>, message: impl Into<String>) -> Said {
        Said { status: "False", ..Said::yes(reason, message) }
    }

    /// Whether it is so is not known.
    fn unknown(reason: impl Into<String>, message: impl Into<String>) -> Said {
        Said { status: "Unknown", ..Said::yes(reason, message) }
    }
}

/// What the leader found about one PodFilesystemSync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it can be used.
    pub accepted: Said,
    /// Whether its key is there; none where it has none.
    pub key: Option<Said>,
}

/// Adds what a Pod reported. `live`: the UIDs of Pods that have not ended.
pub fn add(status: &mut PodFilesystemSyncStatus, received: &Received, live: &BTreeSet<&str>) {
    let report = &received.report;
    let place = status.locations.iter().position(|location| location.directory == report.directory);
    let known = place.map(|at| &status.locations[at]);
    if known.is_some_and(|known| is_outdone(received, known, live)) {
        return;
    }
    let failed = report.result == PassResult::Failed;
    let has_trouble = |trouble: &str| known.is_some_and(|known| known.reason.as_deref() == Some(trouble));
    let is_disproved = has_trouble(RESTORE_FAILED) || has_trouble(Trouble::KeyMismatch.word());
    if report.step == Step::Restore && !failed && !is_disproved {
        // A restore proves that it can be read with this key, and nothing about what a push would find.
        return;
    }
    let mut location = match place {
        Some(at) => status.locations.swap_remove(at),
        None => Location { directory: report.directory.clone(), ..Location::default() },
    };
    location.pod = received.pod.name.clone();
    location.pod_uid = received.pod.uid.clone();
    location.message = report.message.clone().filter(|_| !report.result.is_complete());
    if report.step == Step::Restore {
        location.last_result = failed.then_some(LastResult::Failed);
        location.reason =
            failed.then(|| report.trouble.filter(|t| *t != Trouble::Failing).map_or(RESTORE_FAILED, Trouble::word).into());
    } else {
        location.last_result = Some(match report.result {
            PassResult::Complete | PassResult::Noop => LastResult::Complete,
            PassResult::Partial => LastResult::Partial,
            PassResult::Failed => LastResult::Failed,
        });
        location.reason = report.trouble.map(|trouble| trouble.word().into());
        location.pending_bytes = Some(number(report.pending_bytes));
        location.generation = Some(number(report.generation)).filter(|number| *number > 0).or(location.generation);
        location.lease_epoch = Some(number(report.epoch)).filter(|number| *number > 0).or(location.lease_epoch);
        if let Some(complete) = received.complete_ms().map(|ms| Time(stamp_of(ms))) {
            location.synchronized_to_remote = true;
            location.last_sync_time = location.last_sync_time.max(Some(complete));
        }
    }
    // A Pod has one path at the remote: of one that speaks of many, the last is kept.
    status.locations.retain(|other| other.pod_uid.is_none() || other.pod_uid != location.pod_uid);
    status.locations.push(location);
    // A Pod that was made before another Secret was named still uses the one before.
    if let (Some(fingerprint), Some(encryption)) = (&report.key_fingerprint, &mut status.encryption)
        && received.key.is_some()
        && received.key == encryption.secret_name
    {
        encryption.key_fingerprint = Some(fingerprint.clone());
    }
    keep_some(&mut status.locations, live);
}

/// Whether another Pod wrote there after the one that reports.
fn is_outdone(received: &Received, known: &Location, live: &BTreeSet<&str>) -> bool {
    let report = &received.report;
    if known.pod_uid.as_deref() == Some(received.uid()) {
        return false;
    }
    let (epoch, generation) = (known.lease_epoch.unwrap_or(0), known.generation.unwrap_or(0));
    let is_known_live = known.pod_uid.as_deref().is_some_and(|uid| live.contains(uid));
    // A Pod that is gone overtakes nobody: where the numbers begin anew, as in a vault that was made again, the others speak.
    let is_older = match number(report.epoch) {
        0 => false,
        ours => (ours, number(report.generation)) < (epoch, generation) && (is_known_live || !live.contains(received.uid())),
    };
    // Who was overtaken has nothing more to say of a path that another one writes.
    let is_overtaken = report.trouble == Some(Trouble::LeaseHeld) && is_known_live;
    is_older || is_overtaken
}

/// Where there are too many, those go first that hold the least: without a Pod, never complete, complete long ago.
fn keep_some(locations: &mut Vec<Location>, live: &BTreeSet<&str>) {
    if locations.len() > limits::LOCATIONS {
        locations.sort_by_cached_key(|location| {
            let is_live = location.pod_uid.as_deref().is_some_and(|uid| live.contains(uid));
            std::cmp::Reverse((is_live, location.synchronized_to_remote, location.last_sync_time.clone()))
        });
        locations.truncate(limits::LOCATIONS);
    }
    locations.sort_by(|one, other| one.directory.cmp(&other.directory));
}

/// Sums up: conditions, Pods, times and amounts.
pub fn judge(status: &mut PodFilesystemSyncStatus, sync: &PodFilesystemSync, verdict: &Verdict, pods: &[Seen], now_ms: u64) {
    let name = sync.metadata.name.as_deref().unwrap_or_default();
    let writers: Vec<&Seen> = pods.iter().filter(|pod| pod.injected_by() == Some(name)).collect();
    let injected: BTreeSet<&str> = writers.iter().map(|pod| pod.uid()).collect();
    let is_current = |location: &&Location| location.pod_uid.as_deref().is_some_and(|uid| injected.contains(uid));
    let mut current: Vec<&Location> = status.locations.iter().filter(is_current).collect();
    let failing = current.iter().filter(|location| location.last_result == Some(LastResult::Failed)).count();
    let last_sync_time = current.iter().filter_map(|location| location.last_sync_time.clone()).min();
    if current.is_empty() {
        // Nobody writes now: what the last ones left is how things stand.
        current = status.locations.iter().collect();
    }
    let last_sync_time = last_sync_time.or_else(|| current.iter().filter_map(|location| location.last_sync_time.clone()).max());
    let late = late(sync, &current, &writers, now_ms).or_else(|| silent(sync, &status.locations, &writers, now_ms));
    let synced = synced(sync, &current, late);
    let pending = current.iter().filter_map(|location| location.pending_bytes).reduce(i64::saturating_add);
    status.observed_generation = sync.metadata.generation;
    status.pods = Some(Pods {
        matched: number(pods.len() as u64),
        injected: number(injected.len() as u64),
        failing: number(failing as u64),
    });
    status.last_sync_time = last_sync_time;
    status.pending_bytes = pending;
    status.encryption = sync.spec.key_secret().map(|secret| {
        let before = status.encryption.take().filter(|before| before.secret_name.as_deref() == Some(secret));
        Encryption { secret_name: Some(secret.to_owned()), ..before.unwrap_or_default() }
    });
    let ready = ready(verdict, &synced);
    let key = verdict.key.clone();
    let all = [
        ("Ready", Some(ready)),
        ("Accepted", Some(verdict.accepted.clone())),
        ("EncryptionKeyReady", key),
        ("Synced", Some(synced)),
    ];
    let before = std::mem::take(&mut status.conditions);
    let ours: BTreeSet<&str> = all.iter().map(|(type_, _)| *type_).collect();
    status.conditions = all
        .into_iter()
        .filter_map(|(type_, said)| Some(condition(&before, type_, said?, sync.metadata.generation, now_ms)))
        .chain(before.iter().filter(|condition| !ours.contains(condition.type_.as_str())).cloned())
        .collect();
}

fn ready(verdict: &Verdict, synced: &Said) -> Said {
    let parts = [Some(&verdict.accepted), verdict.key.as_ref(), Some(synced)];
    match parts.into_iter().flatten().find(|said| said.status == "False") {
        Some(said) => said.clone(),
        None => Said { status: "True", ..synced.clone() },
    }
}

fn condition(before: &[Condition], type_: &str, said: Said, generation: Option<i64>, now_ms: u64) -> Condition {
    let same = before.iter().find(|condition| condition.type_ == type_ && condition.status == said.status);
    Condition {
        type_: type_.to_owned(),
        status: said.status.to_owned(),
        last_transition_time: same.map_or_else(|| Time(stamp_of(now_ms)), |condition| condition.last_transition_time.clone()),
        reason: said.reason,
        message: said.message,
        observed_generation: generation,
    }
}

/// The worst that is known of the locations.
fn synced(sync: &PodFilesystemSync, locations: &[&Location], late: Option<String>) -> Said {
    if sync.spec.suspend {
        return Said::unknown("Suspended", "spec.suspend is true: Pods are restored and not pushed");
    }
    let told = |location: &Location| {
        let pod = location.pod.as_deref().unwrap_or("a Pod");
        let message = location.message.as_deref().unwrap_or("see the log of its sidecar");
        format!("{pod} at {}: {message}", location.directory)
    };
    let of_reason = |reason: &str| locations.iter().find(|location| location.reason.as_deref() == Some(reason));
    for trouble in [Trouble::KeyMismatch, Trouble::LeaseHeld] {
        if let Some(location) = of_reason(trouble.word()) {
            return Said::no(trouble.word(), told(location));
        }
    }
    let of_result = |result| locations.iter().find(|location| location.last_result == Some(result));
    if let Some(location) = of_result(LastResult::Failed) {
        return Said::no("Failing", told(location));
    }
    if let Some(location) = of_reason(Trouble::DeletesHeld.word()) {
        return Said::no(Trouble::DeletesHeld.word(), told(location));
    }
    if let Some(location) = of_result(LastResult::Partial) {
        return Said::no("Partial", told(location));
    }
    if let Some(who) = late {
        return Said::no("Stale", format!("{who} has not reported a complete push for several intervals"));
    }
    if !locations.iter().any(|location| location.last_sync_time.is_some()) {
        return Said::unknown("NeverSynced", "no Pod has reported a complete push yet");
    }
    Said::yes("Complete", "each path at the remote holds all of its directory")
}

/// Whose last complete push is too long ago, although somebody could push.
fn late(sync: &PodFilesystemSync, locations: &[&Location], writers: &[&Seen], now_ms: u64) -> Option<String> {
    let is_late =
        |location: &&&Location| location.last_sync_time.as_ref().is_some_and(|time| is_stale(sync, milliseconds(time), now_ms));
    let location = locations.iter().find(is_late).filter(|_| !writers.is_empty())?;
    Some(format!("{} at {}", location.pod.as_deref().unwrap_or("a Pod"), location.directory))
}

/// Which Pod runs for long and never said that its path is complete. Another one may have said it of the same path.
fn silent(sync: &PodFilesystemSync, locations: &[Location], writers: &[&Seen], now_ms: u64) -> Option<String> {
    let able = writers.iter().filter(|pod| pod.reports_pushes() && !pod.is_ending());
    able.filter_map(|pod| Some((pod, pod.directory()?))).find_map(|(pod, directory)| {
        let location = locations.iter().find(|location| location.directory == directory);
        let complete_ms = location.and_then(|location| location.last_sync_time.as_ref()).map_or(0, milliseconds);
        let made_ms = u64::try_from(pod.made_ms()).unwrap_or(0);
        is_stale(sync, complete_ms.max(made_ms), now_ms).then(|| format!("{} at {directory}", pod.name()))
    })
}

fn milliseconds(time: &Time) -> u64 {
    u64::try_from(time.0.as_millisecond()).unwrap_or(0)
}

/// Whether several passes should have ended since then.
fn is_stale(sync: &PodFilesystemSync, complete_ms: u64, now_ms: u64) -> bool {
    let options = &sync.spec.sync_options;
    let interval = match options.method {
        Method::Scheduler => match options.schedule.parse::<Schedule>() {
            Ok(schedule) => schedule.wait(complete_ms),
            Err(_) => return false,
        },
        Method::Fsnotify => {
            // Everything is looked at this often, however quiet it is.
            const LOOK: Duration = Duration::from_secs(600);
            let minutes = match &options.max_one_sync_per_minutes {
                None => 0,
                Some(IntOrString::Int(minutes)) => u64::try_from(*minutes).unwrap_or(0),
                Some(IntOrString::String(text)) => text.trim().parse().unwrap_or(60),
            };
            LOOK.max(Duration::from_secs(60).saturating_mul(u32::try_from(minutes).unwrap_or(u32::MAX)))
        }
    };
    let late = interval.saturating_mul(LATE_INTERVALS).saturating_add(LATE_GRACE);
    u128::from(now_ms.saturating_sub(complete_ms)) > late.as_millis()
}

/// Whether more than times and amounts changed: such a change is written at once.
pub fn is_transition(before: &PodFilesystemSyncStatus, after: &PodFilesystemSyncStatus) -> bool {
    shape(before) != shape(after)
}

fn shape(status: &PodFilesystemSyncStatus) -> PodFilesystemSyncStatus {
    let mut shape = status.clone();
    shape.last_sync_time = None;
    shape.pending_bytes = None;
    if let Some(pods) = &mut shape.pods {
        (pods.matched, pods.injected) = (pods.matched.min(1), pods.injected.min(1));
    }
    for condition in &mut shape.conditions {
        condition.message.clear();
    }
    for location in &mut shape.locations {
        (location.generation, location.lease_epoch, location.pending_bytes) = (None, None, None);
        (location.last_sync_time, location.message) = (None, None);
    }
    shape
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

//! Whether a PodFilesystemSync can be used, and what people are told about its key. Pure.

use super::crd::{Method, PodFilesystemSync};
use super::overlap::overlap;
use super::status::Said;
use crate::contract::kubernetes::{OPT_IN_LABEL, OPTED_IN, PROGRAM, SIDECAR_CONTAINER};
use crate::cycle::Schedule;
use kube::core::Selector;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which PodFilesystemSyncs choose the same Pods. Found anew for a namespace in which one came, went or changed.
#[derive(Debug, Default)]
pub struct Overlaps {
    namespaces: BTreeMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    /// UID and generation of each.
    versions: BTreeMap<String, i64>,
    /// By UID, the names of the others.
    others: BTreeMap<String, Vec<String>>,
}

impl Overlaps {
    /// Looks at all of them.
    pub fn look(&mut self, syncs: &[Arc<PodFilesystemSync>]) {
        let mut all: BTreeMap<&str, Vec<&PodFilesystemSync>> = BTreeMap::new();
        for sync in syncs.iter().filter(|sync| sync.metadata.deletion_timestamp.is_none()) {
            all.entry(sync.metadata.namespace.as_deref().unwrap_or_default()).or_default().push(sync);
        }
        self.namespaces.retain(|namespace, _| all.contains_key(namespace.as_str()));
        for (namespace, syncs) in all {
            let versions = syncs.iter().map(|sync| (uid(sync).to_owned(), sync.metadata.generation.unwrap_or(0))).collect();
            let known = self.namespaces.entry(namespace.to_owned()).or_default();
            if known.versions != versions {
                *known = Namespace { versions, others: others(&syncs) };
            }
        }
    }

    fn of(&self, sync: &PodFilesystemSync) -> &[String] {
        let namespace = self.namespaces.get(sync.metadata.namespace.as_deref().unwrap_or_default());
        namespace.and_then(|namespace| namespace.others.get(uid(sync))).map(Vec::as_slice).unwrap_or_default()
    }
}

fn others(syncs: &[&PodFilesystemSync]) -> BTreeMap<String, Vec<String>> {
    let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (at, one) in syncs.iter().enumerate() {
        for other in &syncs[at + 1..] {
            if overlap(&one.spec.pod_selector, &other.spec.pod_selector) {
                for (one, other) in [(one, other), (other, one)] {
                    others.entry(uid(one).to_owned()).or_default().push(other.metadata.name.clone().unwrap_or_default());
                }
            }
        }
    }
    others.values_mut().for_each(|names| names.sort());
    others
}

fn uid(sync: &PodFilesystemSync) -> &str {
    sync.metadata.uid.as_deref().unwrap_or_default()
}

/// Whether it can be used.
pub fn accepted(sync: &PodFilesystemSync, overlaps: &Overlaps) -> Said {
    /// Names in a message; the rest are only counted.
    const NAMED: usize = 5;
    let options = &sync.spec.sync_options;
    match Selector::try_from(sync.spec.pod_selector.clone()) {
        Err(error) => return Said::no("InvalidSelector", format!("spec.podSelector cannot be used: {error}")),
        Ok(selector) if selector.selects_all() => {
            return Said::no("InvalidSelector", "spec.podSelector is empty: it chooses no Pod");
        }
        Ok(_) => {}
    }
    if options.method == Method::Scheduler
        && let Err(error) = options.schedule.parse::<Schedule>()
    {
        return Said::no("InvalidSchedule", format!("spec.syncOptions.schedule '{}' cannot be read: {error}", options.schedule));
    }
    let others = overlaps.of(sync);
    if !others.is_empty() {
        let named = others.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = if others.len() > NAMED { format!(" and {} more", others.len() - NAMED) } else { String::new() };
        let message = format!(
            "its selector and that of {named}{more} choose the same Pods, which are refused unless their annotation \
             {} names one of them; make the selectors differ",
            crate::contract::kubernetes::SYNC_ANNOTATION
        );
        return Said::no("OverlappingSelector", message);
    }
    if options.allowed_directories.is_some() {
        return Said::yes(
            "DeprecatedSpelling",
            "allowedDirectories is an older spelling of allowedDirections, and works the same",
        );
    }
    Said::yes("Valid", "it can be used")
}

/// What the condition says of a key: always where to keep a copy.
pub fn key_advice(namespace: &str, secret: &str) -> String {
    format!(
        "the key is in the Secret '{secret}' and nowhere else: without it the data cannot be read. Keep a copy outside of the \
         cluster: kubectl -n {namespace} get secret {secret} -o yaml. It is not made again: where it was lost, bring the copy back"
    )
}

/// What the Event says: how to keep the key, with commands to copy.
pub fn key_note(sync: &PodFilesystemSync, secret: &str) -> String {
    let namespace = sync.metadata.namespace.as_deref().unwrap_or_default();
    let remote = &sync.spec.remote_path;
    let path = if remote.contains("{{") || remote.contains("{%") { "REMOTE_PATH_OF_THE_POD" } else { remote.as_str() };
    let labels = sync.spec.pod_selector.match_labels.iter().flatten();
    let labels: String = labels.fold(format!("{OPT_IN_LABEL}={OPTED_IN}"), |all, (key, value)| format!("{all},{key}={value}"));
    format!(
        "Made a key in the Secret '{secret}'. BACK IT UP outside of the cluster: without it the data cannot be read. \
         kubectl -n {namespace} get secret {secret} -o yaml > {secret}.yaml - and, once a Pod has pushed, print the recovery kit: \
         kubectl -n {namespace} exec $(kubectl -n {namespace} get pod -l {labels} -o name | head -n 1) -c {SIDECAR_CONTAINER} -- \
         {PROGRAM} key export-kit -d '{path}' > recovery-kit.txt"
    )
}

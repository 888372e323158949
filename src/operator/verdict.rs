//! Whether a PodFilesystemSync can be used, and what people are told about its key. Pure.

use super::crd::{Method, PodFilesystemSync};
use super::events::NOTE_BYTES;
use super::overlap::overlap;
use super::status::Said;
use crate::contract::kubernetes::{OPT_IN_LABEL, OPTED_IN, PROGRAM, SIDECAR_CONTAINER};
use crate::cycle::Schedule;
use kube::core::Selector;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands in a command for a Pod and a path that cannot be written there.
const POD: &str = "NAME_OF_THE_POD";
const PATH: &str = "REMOTE_PATH_OF_THE_POD";

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
         cluster: kubectl -n {} get secret {} -o yaml. It is not made again: where it was lost, bring the copy back",
        word(namespace, "NAMESPACE"),
        word(secret, "SECRET"),
    )
}

/// What the Event says: how to keep the key, with commands to copy, as many as an Event holds whole.
pub fn key_note(sync: &PodFilesystemSync, secret: &str) -> String {
    let namespace = word(sync.metadata.namespace.as_deref().unwrap_or_default(), "NAMESPACE");
    let file = word(secret, "SECRET");
    let made = format!(
        "Made a key in the Secret '{secret}'. BACK IT UP outside of the cluster: without it the data cannot be read. \
         kubectl -n {namespace} get secret {file} -o yaml > {file}.yaml"
    );
    let with_kit = |pod: &str, path: &str| {
        format!(
            "{made} - and, once a Pod has pushed, print the recovery kit: \
             kubectl -n {namespace} exec {pod} -c {SIDECAR_CONTAINER} -- {PROGRAM} key export-kit -d '{path}' > recovery-kit.txt"
        )
    };
    let path = word(&sync.spec.remote_path, PATH);
    let named = labels(sync).map(|labels| format!("$(kubectl -n {namespace} get pod -l {labels} -o name | head -n 1)"));
    let notes = [with_kit(named.as_deref().unwrap_or(POD), path), with_kit(POD, PATH)];
    notes.into_iter().find(|note| note.len() <= NOTE_BYTES).unwrap_or(made)
}

/// The labels of the Pods, for a command.
fn labels(sync: &PodFilesystemSync) -> Option<String> {
    let mut all = format!("{OPT_IN_LABEL}={OPTED_IN}");
    for (key, value) in sync.spec.pod_selector.match_labels.iter().flatten() {
        if !is_word(key) || !(value.is_empty() || is_word(value)) {
            return None;
        }
        all.push_str(&format!(",{key}={value}"));
    }
    Some(all)
}

/// A text of the resource's author in a command that an administrator copies: whatever a shell could take for more than a word
/// is left out.
fn word<'a>(text: &'a str, instead: &'a str) -> &'a str {
    if is_word(text) { text } else { instead }
}

fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::{NOTE_BYTES, key_advice, key_note};
    use crate::operator::crd::PodFilesystemSync;
    use serde_json::{Value, json};

    fn sync(remote: &str, labels: Value) -> PodFilesystemSync {
        let spec = json!({"podSelector": {"matchLabels": labels}, "localPath": "/data", "remotePath": remote});
        let metadata = json!({"namespace": "press", "name": "a"});
        let object =
            json!({"apiVersion": "riotkit.org/v1alpha1", "kind": "PodFilesystemSync", "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_command_to_copy_holds_nothing_but_words() {
        let note = key_note(&sync("bucket/a", json!({"app.x.org/name": "a-b", "empty": ""})), "a-key");
        for part in [
            "kubectl -n press get secret a-key -o yaml > a-key.yaml",
            "get pod -l riotkit.org/volume-syncing-controller=true,app.x.org/name=a-b,empty= -o name",
            "key export-kit -d 'bucket/a' > recovery-kit.txt",
        ] {
            assert!(note.contains(part), "{part}: {note}");
        }
        for hostile in
            ["x$(id)", "x;id", "x' id '", "x`id`", "x\nid", "x|id", "x>y", "x id", "$HOME", "{{ x }}", "--context=x", "ü"]
        {
            for sync in [sync(hostile, json!({"app": "a"})), sync("b", json!({"app": hostile})), sync("b", json!({hostile: "a"}))]
            {
                let note = key_note(&sync, "a-key");
                assert!(!note.contains(hostile) && note.ends_with(" > recovery-kit.txt"), "{note}");
                let is_pod = sync.spec.remote_path == "b";
                assert_eq!(note.contains("exec NAME_OF_THE_POD -c"), is_pod, "{note}");
                assert_eq!(note.contains("-d 'REMOTE_PATH_OF_THE_POD'"), !is_pod, "{note}");
            }
            let note = key_note(&sync("b", json!({"app": "a"})), hostile);
            let said = [
                note.split("kubectl").skip(1).collect::<String>(),
                key_advice("press", hostile).split_once("kubectl").unwrap().1.into(),
            ];
            assert!(said.iter().all(|commands| !commands.contains(hostile)), "{said:?}");
        }
    }

    #[test]
    fn a_command_is_never_cut() {
        let long = "x".repeat(900);
        for (sync, secret, end) in [
            (sync("b", json!({"app": long})), "a-key".to_string(), "-d 'REMOTE_PATH_OF_THE_POD' > recovery-kit.txt"),
            (sync(&long, json!({"app": "a"})), "a-key".to_string(), "-d 'REMOTE_PATH_OF_THE_POD' > recovery-kit.txt"),
            (sync("b", json!({"app": "a"})), "k".repeat(253), ".yaml"),
        ] {
            let note = key_note(&sync, &secret);
            assert!(note.len() <= NOTE_BYTES && note.ends_with(end), "{} {note}", note.len());
        }
    }
}

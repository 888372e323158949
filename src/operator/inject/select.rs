//! Which PodFilesystemSync is meant for a Pod.

use super::{Refusal, annotation};
use crate::contract::kubernetes::SYNC_ANNOTATION;
use crate::operator::crd::PodFilesystemSync;
use crate::runtime::limits;
use kube::core::SelectorExt;
use serde_json::Value;
use std::collections::BTreeMap;

/// Which one is meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice<'a> {
    /// This one.
    Sync(&'a PodFilesystemSync),
    /// None.
    None,
}

/// Chooses among the resources of the Pod's namespace: the one that the Pod names, or else the one that chooses the Pod.
pub fn select<'a>(
    pod: &Value,
    namespace: &str,
    syncs: impl Iterator<Item = &'a PodFilesystemSync>,
) -> Result<Choice<'a>, Refusal> {
    let here = syncs.filter(|sync| sync.metadata.namespace.as_deref() == Some(namespace));
    if let Some(name) = annotation(pod, SYNC_ANNOTATION).filter(|name| !name.is_empty()) {
        let all: Vec<&PodFilesystemSync> = here.collect();
        return match all.iter().find(|sync| sync.metadata.name.as_deref() == Some(name)) {
            Some(sync) => Ok(Choice::Sync(sync)),
            None => Err(Refusal::Unknown { name: name.into(), namespace: namespace.into(), known: names(all) }),
        };
    }
    let labels = labels(pod);
    let matching: Vec<&PodFilesystemSync> = here.filter(|sync| chooses(sync, &labels)).collect();
    match matching[..] {
        [] => Ok(Choice::None),
        [sync] => Ok(Choice::Sync(sync)),
        _ => Err(Refusal::Ambiguous(names(matching))),
    }
}

/// Whether a resource chooses a Pod of these labels. An empty selector chooses none, and neither does one that cannot be read.
fn chooses(sync: &PodFilesystemSync, labels: &BTreeMap<String, String>) -> bool {
    sync.spec.selector().is_some_and(|selector| selector.matches(labels))
}

fn labels(pod: &Value) -> BTreeMap<String, String> {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    labels.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string()))).collect()
}

/// The names of resources, as a message lists them.
pub fn names<'a>(syncs: impl IntoIterator<Item = &'a PodFilesystemSync>) -> Vec<String> {
    let mut names: Vec<String> = syncs.into_iter().filter_map(|sync| sync.metadata.name.clone()).collect();
    names.sort();
    if names.len() > limits::NAMED_SYNCS {
        let more = names.len() - limits::NAMED_SYNCS;
        names.truncate(limits::NAMED_SYNCS);
        names.push(format!("and {more} more"));
    }
    names
}

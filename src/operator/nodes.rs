//! What the cluster is able to: native sidecars, and whether it is OpenShift. Looked at again and again, since nodes come and
//! go.
//!
//! A node that does not know native sidecars never lets a Pod with one begin; a sidecar of the older kind works everywhere. So
//! what is not known counts as not able.

use super::readiness::Readiness;
use super::{Complaint, in_words, no_answer, timely};
use crate::runtime::{Stop, clock, limits};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// A version of Kubernetes, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubeVersion {
    major: u32,
    minor: u32,
}

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a version of Kubernetes such as 1.29")]
pub struct KubeVersionError;

impl FromStr for KubeVersion {
    type Err = KubeVersionError;

    /// `1.29`, `v1.29.3`, `1.29+`, `v1.29.3-gke.1`.
    fn from_str(text: &str) -> Result<KubeVersion, KubeVersionError> {
        let mut parts = text.trim().trim_start_matches('v').splitn(3, '.');
        let mut number = || {
            let part = parts.next().unwrap_or_default();
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part.get(..end).and_then(|digits| digits.parse().ok()).ok_or(KubeVersionError)
        };
        Ok(KubeVersion { major: number()?, minor: number()? })
    }
}

impl fmt::Display for KubeVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

/// Whether the cluster does something, or whether that is to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Found out.
    Auto,
    /// Said so.
    Given(bool),
}

/// What the cluster is able to, as far as it is known.
#[derive(Debug)]
pub struct Cluster {
    native: AtomicBool,
    openshift: AtomicBool,
    asked: (Ability, Ability),
    floor: KubeVersion,
}

impl Cluster {
    /// What is said counts; the rest is found out. Native sidecars are used where the server and all nodes of Linux have at
    /// least the version `floor`.
    pub fn new(native: Ability, openshift: Ability, floor: KubeVersion) -> Cluster {
        let given = |ability| AtomicBool::new(ability == Ability::Given(true));
        Cluster { native: given(native), openshift: given(openshift), asked: (native, openshift), floor }
    }

    /// Whether sidecars are native.
    pub fn is_native(&self) -> bool {
        self.native.load(Ordering::Relaxed)
    }

    /// Whether the cluster chooses the users of containers.
    pub fn is_openshift(&self) -> bool {
        self.openshift.load(Ordering::Relaxed)
    }

    /// Looks at the cluster once. What cannot be found out stays as it was; returned is why.
    pub async fn look(&self, client: &Client) -> Vec<kube::Error> {
        let mut unknown = Vec::new();
        if self.asked.0 == Ability::Auto {
            match timely(limits::KUBE_TIMEOUT, self.finds_native(client)).await.unwrap_or_else(|| Err(no_answer())) {
                Ok(native) => {
                    if self.native.swap(native, Ordering::Relaxed) != native {
                        tracing::info!(native, floor = %self.floor, "the nodes were looked at");
                    }
                }
                Err(error) => unknown.push(error),
            }
        }
        if self.asked.1 == Ability::Auto {
            match timely(limits::KUBE_TIMEOUT, client.list_api_groups()).await.unwrap_or_else(|| Err(no_answer())) {
                Ok(groups) => {
                    let is_openshift = groups.groups.iter().any(|group| group.name == "security.openshift.io");
                    self.openshift.store(is_openshift, Ordering::Relaxed);
                }
                Err(error) => unknown.push(error),
            }
        }
        unknown
    }

    /// Looks again and again, until the stop is asked for; soon again where there was no answer. The first answer makes us
    /// ready: a Pod that is judged without it has the older kind of sidecar for all of its life.
    pub async fn watch(&self, client: &Client, readiness: &Readiness, stop: &Stop) {
        let mut complaint = Complaint::default();
        // Cancel-safe: what was not found out stays as it was.
        while let Ok(unknown) = stop.or(self.look(client)).await {
            let problems: Vec<String> = unknown.iter().map(in_words).collect();
            if let Some(problems) = complaint.if_new(problems.join("; ")) {
                tracing::warn!(
                    native = self.is_native(),
                    "what the cluster is able to is not known (give the right to list nodes, or say --native and --openshift): \
                     {problems}"
                );
            }
            // A right that is missing will still be missing the next time, and so will a part of the API.
            let is_final = |error: &kube::Error| matches!(error, kube::Error::Api(status) if [403, 404].contains(&status.code));
            let is_answered = unknown.iter().all(is_final);
            if is_answered {
                readiness.cluster_is_known();
            }
            let pause = if is_answered { limits::NODES_LOOK } else { limits::NODES_PAUSE };
            if stop.or(clock::sleep(pause)).await.is_err() {
                return;
            }
        }
    }

    async fn finds_native(&self, client: &Client) -> Result<bool, kube::Error> {
        let version = client.apiserver_version().await?;
        if !self.is_enough(&format!("{}.{}", version.major, version.minor)) {
            return Ok(false);
        }
        let nodes: Api<Node> = Api::all(client.clone());
        let mut params = ListParams::default().limit(limits::NODES_PAGE);
        loop {
            let page = nodes.list(&params).await?;
            if !page.items.iter().all(|node| self.knows_native(node)) {
                return Ok(false);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(true),
            }
        }
    }

    /// Whether a node can run such a Pod, or is not asked to: the Pods that are injected are of Linux.
    fn knows_native(&self, node: &Node) -> bool {
        let Some(info) = node.status.as_ref().and_then(|status| status.node_info.as_ref()) else { return false };
        info.operating_system == "windows" || self.is_enough(&info.kubelet_version)
    }

    fn is_enough(&self, version: &str) -> bool {
        version.parse::<KubeVersion>().is_ok_and(|version| version >= self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::KubeVersion;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let version = |text: &str| text.parse::<KubeVersion>();
        for (less, more) in [("1.9", "1.29"), ("v1.28.15-gke.1", "1.29+"), ("1.33", "2.0")] {
            assert!(version(less).unwrap() < version(more).unwrap(), "{less} {more}");
        }
        assert_eq!(version("v1.29.3"), version(" 1.29 "));
        assert_eq!(version("1.29+").unwrap().to_string(), "1.29");
        for text in ["", "1", "v", "1.", "one.two", "-1.29", "1.99999999999"] {
            assert!(version(text).is_err(), "{text}");
        }
    }
}

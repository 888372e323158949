//! Keeps our own certificates: in a Secret that all replicas watch, published to the API server on the webhook configuration.
//!
//! Any replica makes the Secret where there is none; the API server lets one of them. Whatever is written later carries the
//! version of what was read, so that of two writers one is refused and looks again. A crash between the Secret and the webhook
//! configuration leaves an authority that is not published yet: it signs nothing before it is.

use super::own::{Kept, Step, Terms, advance};
use super::{CertError, Shown, is_trusted};
use crate::contract::kubernetes::CONTROLLER;
use crate::operator::readiness::Readiness;
use crate::operator::{Complaint, caches, in_words, no_answer, timely};
use crate::runtime::{Stop, clock, limits};
use crate::telemetry::{Certificate, OperatorMetrics};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// Where things lie.
#[derive(Debug, Clone)]
pub struct Place {
    /// The namespace of the controller.
    pub namespace: String,
    /// The Service by which the API server reaches the webhook.
    pub service: String,
    /// The Secret with the certificates.
    pub secret: String,
    /// The webhook configuration that says whom to trust.
    pub configuration: String,
}

impl Place {
    /// The names of the service; the API server asks for the first.
    pub fn names(&self) -> Vec<String> {
        let Place { namespace, service, .. } = self;
        vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            service.clone(),
        ]
    }
}

/// Keeps the certificates of one replica.
pub struct Keeper {
    place: Place,
    names: Vec<String>,
    terms: Terms,
    client: Client,
    leads: Option<watch::Receiver<bool>>,
    shown: Arc<Shown>,
    bundle: watch::Sender<String>,
    readiness: Arc<Readiness>,
    metrics: OperatorMetrics,
}

/// What a look at the cluster found.
struct Found {
    secret: Option<Arc<Secret>>,
    kept: Option<Kept>,
    configuration: Option<Arc<MutatingWebhookConfiguration>>,
}

impl Keeper {
    /// Nothing is shown yet. What is stored is renewed while this replica leads; without an election, by whoever comes first.
    pub fn new(
        client: Client,
        (place, terms): (Place, Terms),
        leads: Option<watch::Receiver<bool>>,
        (shown, readiness): (Arc<Shown>, Arc<Readiness>),
        metrics: OperatorMetrics,
    ) -> Keeper {
        let names = place.names();
        let bundle = watch::Sender::new(String::new());
        Keeper { place, names, terms, client, leads, shown, bundle, readiness, metrics }
    }

    /// Whom to trust to know this webhook, now and later; empty before it is known.
    pub fn bundle(&self) -> watch::Receiver<String> {
        self.bundle.subscribe()
    }

    /// Works until the stop is asked for.
    pub async fn run(mut self, stop: &Stop) {
        let changed = Notify::new();
        let (secrets, secrets_written) = reflector::store();
        let (configurations, configurations_written) = reflector::store();
        let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let secret_api: Api<Secret> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let secret_watch = caches::keep(secret_api, named(&self.place.secret), secrets_written, &changed, stop);
        let configuration_watch =
            caches::keep(Api::all(self.client.clone()), named(&self.place.configuration), configurations_written, &changed, stop);
        tokio::join!(secret_watch, configuration_watch, self.turns(&secrets, &configurations, &changed, stop));
    }

    async fn turns(
        &mut self,
        secrets: &Store<Secret>,
        configurations: &Store<MutatingWebhookConfiguration>,
        changed: &Notify,
        stop: &Stop,
    ) {
        let look = limits::CERT_LOOK.min(self.terms.leaf / 12);
        let (mut shown, mut complaint) = (String::new(), Complaint::default());
        while !stop.asked() {
            let mut pause = look;
            if caches::is_whole(secrets) && caches::is_whole(configurations) {
                let secret = secrets.state().into_iter().next();
                let kept = secret.as_ref().and_then(|secret| Kept::read(secret.data.as_ref()?));
                let found = Found { secret, kept, configuration: configurations.state().into_iter().next() };
                let problems = [self.show(&found, &mut shown), self.turn(&found).await].map(Result::err);
                if problems[1].is_some() {
                    pause = limits::CERT_PAUSE.min(look);
                }
                let problems: Vec<String> = problems.into_iter().flatten().collect();
                if let Some(problems) = complaint.if_new(problems.join("; ")) {
                    tracing::warn!("the webhook's certificates: {problems}");
                }
            }
            // Cancel-safe: what was told meanwhile is found by the next look.
            tokio::select! {
                () = stop.wait() => {}
                () = changed.notified() => {}
                () = led(self.leads.as_mut()) => {}
                () = clock::sleep(pause) => {}
            }
        }
    }

    /// Shows what lies in the Secret, and says whether the API server trusts it.
    fn show(&self, found: &Found, shown: &mut String) -> Result<(), String> {
        let mut outcome = Ok(());
        if let Some(kept) = &found.kept {
            if kept.leaf.certificate != *shown {
                match self.shown.show(&kept.leaf.certificate, &kept.leaf.key, "the Secret") {
                    Ok(_) => {
                        shown.clone_from(&kept.leaf.certificate);
                        tracing::info!(secret = self.place.secret, "the certificate was loaded");
                    }
                    Err(error) => outcome = Err(format!("{}: {}", self.shown.stays(), super::advised(&error))),
                }
            }
            let ca = kept.next.iter().map(|next| next.expires_ms).fold(kept.ca.expires_ms, i64::max);
            self.metrics.expires(Certificate::Ca, ca);
            self.metrics.expires(Certificate::Leaf, kept.leaf.expires_ms);
            self.bundle.send_if_modified(|bundle| {
                let newest = kept.bundle();
                std::mem::replace(bundle, newest.clone()) != newest
            });
        }
        self.readiness.certificate(self.shown.is_loaded());
        // While the next CA is being published the bundle is not what it will be; what counts is who we are now.
        let trusts = |webhook: &MutatingWebhook| {
            let bundle = webhook.client_config.ca_bundle.as_ref().map(|bundle| String::from_utf8_lossy(&bundle.0));
            let name = self.names.first().map_or("", String::as_str);
            bundle.is_some_and(|bundle| is_trusted(&bundle, shown, name, (self.terms.now_ms)()))
        };
        let mut webhooks = ours(found.configuration.as_deref()).peekable();
        self.readiness.trust(webhooks.peek().is_some() && webhooks.all(trusts));
        outcome
    }

    /// Does what is due, at most one write to each object.
    async fn turn(&self, found: &Found) -> Result<(), String> {
        let may_write = self.leads.as_ref().is_none_or(|leads| *leads.borrow());
        let bundle = found.kept.as_ref().map(Kept::bundle);
        let is_published = bundle.as_ref().is_some_and(|bundle| is_published(found.configuration.as_deref(), bundle));
        let step = advance(found.kept.as_ref(), &self.names, self.terms, is_published);
        if let Step::Store(kept, reason) = step.map_err(|error: CertError| error.to_string())?
            && (may_write || found.secret.is_none())
        {
            return self.store(found.secret.as_deref(), &kept, reason).await;
        }
        match (bundle, &found.configuration) {
            (Some(bundle), Some(configuration)) if may_write && !is_published => self.publish(configuration, &bundle).await,
            (_, None) => Err(format!("there is no MutatingWebhookConfiguration '{}'", self.place.configuration)),
            _ => Ok(()),
        }
    }

    async fn store(&self, before: Option<&Secret>, kept: &Kept, reason: &str) -> Result<(), String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let params = PostParams { field_manager: Some(CONTROLLER.into()), ..PostParams::default() };
        let name = &self.place.secret;
        let written = match before {
            None => {
                let fresh = self.secret(kept.data());
                timely(limits::KUBE_TIMEOUT, secrets.create(&params, &fresh)).await
            }
            Some(before) => {
                let mut after = before.clone();
                let data = after.data.get_or_insert_default();
                data.retain(|name, _| !name.starts_with("next-ca."));
                data.extend(kept.data());
                timely(limits::KUBE_TIMEOUT, secrets.replace(name, &params, &after)).await
            }
        };
        match written.unwrap_or_else(|| Err(no_answer())) {
            Ok(_) => {
                tracing::info!(secret = name, reason, "certificates were renewed");
                Ok(())
            }
            // Another replica was first: the watch brings what it wrote.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(format!("writing the Secret '{name}': {}", in_words(&error))),
        }
    }

    fn secret(&self, data: BTreeMap<String, ByteString>) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(self.place.secret.clone()),
                namespace: Some(self.place.namespace.clone()),
                labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), CONTROLLER.to_owned())])),
                ..ObjectMeta::default()
            },
            data: Some(data),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    }

    async fn publish(&self, configuration: &MutatingWebhookConfiguration, bundle: &str) -> Result<(), String> {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let webhooks: Vec<_> = ours(Some(configuration))
            .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        if webhooks.is_empty() {
            return Err(format!("the MutatingWebhookConfiguration '{}' names no Service", self.place.configuration));
        }
        let version = &configuration.metadata.resource_version;
        let patch = Patch::Strategic(json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks}));
        let params = PatchParams { field_manager: Some(CONTROLLER.into()), ..PatchParams::default() };
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let written = timely(limits::KUBE_TIMEOUT, configurations.patch(&self.place.configuration, &params, &patch)).await;
        match written.unwrap_or_else(|| Err(no_answer())) {
            Ok(_) => {
                tracing::info!(configuration = self.place.configuration, "the API server is told whom to trust");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(format!("patching '{}': {}", self.place.configuration, in_words(&error))),
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Keeper({:?})", self.place)
    }
}

/// The webhooks of a configuration that are reached by a Service: one with an address of its own is not ours.
fn ours(configuration: Option<&MutatingWebhookConfiguration>) -> impl Iterator<Item = &MutatingWebhook> {
    let webhooks = configuration.and_then(|configuration| configuration.webhooks.as_deref()).unwrap_or_default();
    webhooks.iter().filter(|webhook| webhook.client_config.service.is_some())
}

fn is_published(configuration: Option<&MutatingWebhookConfiguration>, bundle: &str) -> bool {
    let is_equal =
        |webhook: &MutatingWebhook| webhook.client_config.ca_bundle.as_ref().is_some_and(|set| set.0 == bundle.as_bytes());
    let mut webhooks = ours(configuration).peekable();
    webhooks.peek().is_some() && webhooks.all(is_equal)
}

/// Waits until this replica begins or ceases to lead.
async fn led(leads: Option<&mut watch::Receiver<bool>>) {
    let Some(leads) = leads else { return std::future::pending().await };
    // A leader that is gone leads no more, and that has been told.
    if leads.changed().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn the_api_server_asks_for_the_first_name() {
        let [namespace, service, secret, configuration] = ["ns", "hook", "s", "c"].map(String::from);
        let names = Place { namespace, service, secret, configuration }.names();
        assert_eq!(names.first().map(String::as_str), Some("hook.ns.svc"));
        assert!(names.iter().all(|name| name.starts_with("hook")));
    }
}

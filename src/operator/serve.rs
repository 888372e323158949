//! The controller as a whole: what watches, what answers and what leads, begun together and ended in order. After a signal
//! nothing new is led, but reviews are answered until the cluster knows of the end.

use super::caches;
use super::certs::{CertError, Files, Keeper, Mounted, Place, Shown, Terms, server_config};
use super::events::Events;
use super::inject::Surroundings;
use super::lease::{self, Leader};
use super::nodes::{Ability, Cluster, KubeVersion};
use super::pods;
use super::progress::{Inbox, Receiver};
use super::readiness::Readiness;
use super::reconcile::{Reconciler, Rules};
use super::web::{self, Front};
use super::webhook::{self, Around, Webhook};
use crate::admin::{AdminError, Web};
use crate::fault::{Fault, Kind};
use crate::runtime::{Stop, Tasks, limits};
use crate::telemetry::OperatorMetrics;
use data_encoding::BASE64;
use kube::runtime::{reflector, watcher};
use kube::{Api, Client};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// Why the controller does not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nothing says where the API server is.
    #[error("finding the API server: {cause}")]
    Client {
        /// What the library said.
        cause: String,
    },
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] AdminError),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] CertError),
}

impl Fault for ServeError {
    fn kind(&self) -> Kind {
        match self {
            ServeError::Client { .. } => Kind::Usage,
            ServeError::Listen(error) => error.kind(),
            ServeError::Tls(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ServeError::Client { .. } => Some("run it in a Pod with a ServiceAccount, or set KUBECONFIG".into()),
            ServeError::Listen(error) => error.hint(),
            ServeError::Tls(error) => error.hint(),
        }
    }
}

/// How the webhook is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// With certificates of our own.
    Own {
        /// The Secret that holds them.
        secret: String,
        /// The webhook configuration.
        configuration: String,
    },
    /// With mounted ones.
    Files(Files),
    /// Without TLS.
    Off,
}

/// What the controller was told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the webhook is reached.
    pub tls: Tls,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where probes and Prometheus are answered as well.
    pub health: Option<SocketAddr>,
    /// That of the ServiceAccount, where none is named.
    pub namespace: Option<String>,
    /// The Service of the webhook.
    pub service: Option<String>,
    /// The Lease, where one is to be held.
    pub lease: Option<String>,
    /// Pods that no PodFilesystemSync matches are let in as they are.
    pub lets_unmatched_in: bool,
    /// Where keys may be made; empty: everywhere.
    pub encryption_namespaces: BTreeSet<String>,
    /// The image of injected containers.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
    /// With what.
    pub pull_secrets: Vec<String>,
    /// Whether sidecars are native.
    pub native: Ability,
    /// The least version for that.
    pub native_floor: KubeVersion,
    /// Requests and limits.
    pub resources: Value,
    /// Added to the security context.
    pub security_context: Value,
    /// The user where nothing says another.
    pub default_user: u32,
    /// Whether the cluster chooses users.
    pub openshift: Ability,
    /// The port of the sidecars' metrics.
    pub metrics_port: Option<u16>,
    /// Whether sidecars report.
    pub progress: bool,
}

/// The API server that the environment names: that of the Pod, or of KUBECONFIG.
pub async fn connect() -> Result<Client, ServeError> {
    let failed = |cause: &dyn std::error::Error| ServeError::Client { cause: cause.to_string() };
    let config = kube::Config::infer().await.map_err(|error| failed(&error))?;
    Client::try_from(config).map_err(|error| failed(&error))
}

/// Runs until the stop is asked for, and what is under way then has ended. `pod` names this replica.
pub async fn run(client: Client, settings: Settings, pod: &str, stop: &Stop) -> Result<(), ServeError> {
    let shown = Arc::new(Shown::new());
    let tls = match settings.tls {
        Tls::Off => None,
        Tls::Own { .. } | Tls::Files(_) => Some(server_config(Arc::clone(&shown))?),
    };
    let front = Front::bind(settings.address, tls).await?;
    let health = match settings.health {
        Some(address) => Some(Web::bind(address).await?),
        None => None,
    };
    tracing::info!(webhook = %front.address()?, "answering the API server");
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    // Asked when nobody needs the answers any more.
    let end = Stop::new();
    let mut tasks = Tasks::new("controller");
    let replica = Replica { client, settings, namespace, metrics: OperatorMetrics::new(), readiness: Arc::default(), end };
    let (leads, leading) = replica.lead(pod, stop, &mut tasks);
    let bundle = replica.certify(shown, leads, &mut tasks);
    let cluster = Arc::new(Cluster::new(replica.settings.native, replica.settings.openshift, replica.settings.native_floor));
    let around = replica.around(bundle, &cluster);
    let webhook = Arc::new(replica.watch(around, leading, pod, &mut tasks));
    let (client, readiness, end) = (replica.client.clone(), Arc::clone(&replica.readiness), replica.end.clone());
    tasks.spawn(async move { cluster.watch(&client, &readiness, &end).await });
    if let Some(web) = health {
        tracing::info!(address = %web.address()?, "answering probes");
        let (webhook, end) = (Arc::clone(&webhook), replica.end.clone());
        tasks.spawn(async move { web.serve_pages(&end, move |path| webhook.page(path)).await });
    }
    front.serve(stop, web::Terms::default(), webhook).await;
    replica.end.ask();
    while tasks.next().await.is_some() {}
    tracing::info!("all that was under way has ended");
    Ok(())
}

/// One replica while it is put together.
struct Replica {
    client: Client,
    settings: Settings,
    namespace: String,
    metrics: OperatorMetrics,
    readiness: Arc<Readiness>,
    end: Stop,
}

impl Replica {
    /// Takes part in the election, if there is one. Tells whether this replica leads: to the certificates, which without an
    /// election are everybody's affair; and to the controller's part, which then is nobody's here.
    fn lead(&self, pod: &str, stop: &Stop, tasks: &mut Tasks<()>) -> (Option<watch::Receiver<bool>>, watch::Receiver<bool>) {
        let Some(name) = &self.settings.lease else { return (None, never(&self.end, tasks)) };
        let leader = Leader::new(self.client.clone(), &self.namespace, name, pod, lease::Terms::default());
        let leads = leader.watch();
        // The Lease is given back at once: another replica leads while this one still answers.
        let stop = stop.clone();
        tasks.spawn(async move { leader.run(&stop).await });
        (Some(leads.clone()), leads)
    }

    /// Gets certificates and renews them. What is returned says whom to trust.
    fn certify(
        &self,
        shown: Arc<Shown>,
        leads: Option<watch::Receiver<bool>>,
        tasks: &mut Tasks<()>,
    ) -> Option<watch::Receiver<String>> {
        let (readiness, metrics, end) = (Arc::clone(&self.readiness), self.metrics.clone(), self.end.clone());
        match &self.settings.tls {
            Tls::Own { secret, configuration } => {
                let place = Place {
                    namespace: self.namespace.clone(),
                    service: self.settings.service.clone().unwrap_or_default(),
                    secret: secret.clone(),
                    configuration: configuration.clone(),
                };
                let terms = (place, Terms::default());
                let keeper = Keeper::new(self.client.clone(), terms, leads, (shown, readiness), metrics);
                let bundle = keeper.bundle();
                tasks.spawn(async move { keeper.run(&end).await });
                Some(bundle)
            }
            Tls::Files(files) => {
                // Whom the API server trusts is the affair of whoever wrote the files.
                readiness.trust(true);
                let mounted = Mounted::new(files.clone(), self.host(), (shown, readiness), metrics);
                let bundle = mounted.bundle();
                tasks.spawn(async move { mounted.run(limits::CERT_FILES_LOOK, &end).await });
                Some(bundle)
            }
            Tls::Off => {
                readiness.certificate(true);
                readiness.trust(true);
                None
            }
        }
    }

    /// By which the API server and the sidecars call the webhook.
    fn host(&self) -> Option<String> {
        self.settings.service.as_ref().map(|service| format!("{service}.{}.svc", self.namespace))
    }

    fn around(&self, bundle: Option<watch::Receiver<String>>, cluster: &Arc<Cluster>) -> Around {
        let (settings, cluster) = (self.settings.clone(), Arc::clone(cluster));
        // A Pod's token is not sent in the clear.
        let reports = settings.progress && settings.tls != Tls::Off;
        let url = self.host().filter(|_| reports).map(|host| format!("https://{host}:443/progress"));
        Box::new(move || {
            let trust = bundle.as_ref().filter(|_| url.is_some()).map(|bundle| bundle.borrow().clone());
            Surroundings {
                image: settings.image.clone(),
                pull_policy: settings.pull_policy.clone(),
                pull_secrets: settings.pull_secrets.clone(),
                native: cluster.is_native(),
                progress_url: url.clone(),
                progress_ca: trust.filter(|trust| !trust.is_empty()).map(|trust| BASE64.encode(trust.as_bytes())),
                default_user: settings.default_user,
                openshift: cluster.is_openshift(),
                resources: settings.resources.clone(),
                security_context: settings.security_context.clone(),
                metrics_port: settings.metrics_port,
                namespace: String::new(),
            }
        })
    }

    /// Watches PodFilesystemSyncs and Pods, and begins what works on them.
    fn watch(&self, around: Around, leader: watch::Receiver<bool>, pod: &str, tasks: &mut Tasks<()>) -> Webhook {
        let news = Arc::new(Notify::new());
        let (syncs, syncs_written) = reflector::store();
        let (known_pods, pods_written) = reflector::store();
        let (api, end, told) = (Api::all(self.client.clone()), self.end.clone(), Arc::clone(&news));
        tasks.spawn(async move { caches::keep(api, watcher::Config::default(), syncs_written, &told, &end).await });
        let (api, end, told) = (pods::api(self.client.clone()), self.end.clone(), Arc::clone(&news));
        tasks.spawn(async move { caches::keep(api, pods::wanted(), pods_written, &told, &end).await });
        let inbox = Arc::new(Inbox::new(Arc::clone(&news)));
        let reconciler = Reconciler {
            client: self.client.clone(),
            syncs: syncs.clone(),
            pods: known_pods.clone(),
            inbox: Arc::clone(&inbox),
            leader,
            news,
            rules: Rules {
                encryption_namespaces: self.settings.encryption_namespaces.clone(),
                unmatched_is_fine: self.settings.lets_unmatched_in,
            },
            metrics: self.metrics.controller().clone(),
            events: Events::new(self.client.clone(), pod),
        };
        // Reports are taken for as long as reviews are. Whoever has given the Lease back leads nothing.
        let end = self.end.clone();
        tasks.spawn(async move { reconciler.run(&end).await });
        let receives = self.settings.progress && self.settings.tls != Tls::Off;
        let receiver = receives.then(|| Receiver::new(self.client.clone(), known_pods, inbox, self.metrics.controller().clone()));
        let counted = (Arc::clone(&self.readiness), self.metrics.clone());
        let rules =
            webhook::Rules { lets_unmatched_in: self.settings.lets_unmatched_in, hides_metrics: self.settings.health.is_some() };
        Webhook::new((self.client.clone(), syncs), around, rules, receiver, counted)
    }
}

/// A word that this replica never leads, kept until the end.
fn never(end: &Stop, tasks: &mut Tasks<()>) -> watch::Receiver<bool> {
    let (leads, leading) = watch::channel(false);
    let end = end.clone();
    tasks.spawn(async move {
        end.wait().await;
        drop(leads);
    });
    leading
}

//! Flags of `serve`. Everything is taken as it was written and checked afterwards, so that all mistakes are told at once; an
//! empty variable counts as not set, since templates write those.

use clap::Args;

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Answer with TLS; alone it means --tls-mode files
    #[arg(short = 't', long, env = "USE_TLS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls: Option<String>,
    /// Certificates of our own, kept in a Secret and renewed (self), mounted ones (files), or none (off) [default: off, or files with --tls]
    #[arg(long, env = "TLS_MODE", value_name = "MODE")]
    pub tls_mode: Option<String>,
    /// With --tls-mode files: the certificate, in PEM; `ca.crt` beside it says whom sidecars trust [default: /etc/admission-webhook/tls/tls.crt]
    #[arg(long, env = "TLS_CRT_PATH", value_name = "PATH")]
    pub tls_crt: Option<String>,
    /// With --tls-mode files: its key, in PEM [default: /etc/admission-webhook/tls/tls.key]
    #[arg(long, env = "TLS_KEY_PATH", value_name = "PATH")]
    pub tls_key: Option<String>,
    /// With --tls-mode self: the Secret that holds the certificates [default: volume-syncing-controller]
    #[arg(long, env = "TLS_SECRET", value_name = "NAME")]
    pub tls_secret: Option<String>,
    /// With --tls-mode self: the MutatingWebhookConfiguration that is told whom to trust
    #[arg(long, env = "WEBHOOK_CONFIGURATION", value_name = "NAME")]
    pub webhook_configuration: Option<String>,
    /// Where the API server's questions are answered [default: [::]:4443 with TLS, [::]:8080 without]
    #[arg(long, env = "SERVE_ADDRESS", value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Where probes and Prometheus are answered without TLS (/healthz, /readyz, /metrics); --address has no metrics then
    #[arg(long, env = "HEALTH_ADDR", value_name = "ADDRESS")]
    pub health_addr: Option<String>,
    /// The controller's namespace [default: that of the ServiceAccount]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The Service by which the webhook is reached
    #[arg(long, env = "SERVICE_NAME", value_name = "NAME")]
    pub service_name: Option<String>,
    /// One replica leads and makes keys and statuses; false: none does, and each one keeps certificates and writes its reports
    #[arg(long, env = "LEADER_ELECTION", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader: Option<String>,
    /// The Lease by which one replica leads [default: volume-syncing-controller]
    #[arg(long, env = "LEASE_NAME", value_name = "NAME")]
    pub lease: Option<String>,
    /// A Pod that no PodFilesystemSync matches is refused (deny) or let in as it is (allow) [default: deny]
    #[arg(long, env = "NO_MATCH", value_name = "WHAT")]
    pub no_match: Option<String>,
    /// Namespaces in which keys may be made, with commas between them [default: all]
    #[arg(long, env = "ENCRYPTION_NAMESPACES", value_name = "NAMES")]
    pub encryption_namespaces: Option<String>,
    /// The image of the injected containers
    #[arg(short = 'i', long, env = "IMAGE", value_name = "IMAGE", help_heading = "Injected containers")]
    pub image: Option<String>,
    /// Always, IfNotPresent or Never [default: IfNotPresent]
    #[arg(long, env = "IMAGE_PULL_POLICY", value_name = "POLICY", help_heading = "Injected containers")]
    pub image_pull_policy: Option<String>,
    /// Secrets with which the image is got, with commas between them
    #[arg(long, env = "IMAGE_PULL_SECRETS", value_name = "NAMES", help_heading = "Injected containers")]
    pub image_pull_secrets: Option<String>,
    /// Native sidecars: always, never, or where server and nodes know them (auto) [default: auto]
    #[arg(long, env = "NATIVE_SIDECARS", value_name = "WHEN", help_heading = "Injected containers")]
    pub native: Option<String>,
    /// With --native auto: the least version of server and nodes [default: 1.29]
    #[arg(long, env = "NATIVE_MIN_VERSION", value_name = "VERSION", help_heading = "Injected containers")]
    pub native_min_version: Option<String>,
    /// Their requests and limits, as JSON
    #[arg(long, env = "SIDECAR_RESOURCES", value_name = "JSON", help_heading = "Injected containers")]
    pub sidecar_resources: Option<String>,
    /// Added to their security context, as JSON
    #[arg(long, env = "SIDECAR_SECURITY_CONTEXT", value_name = "JSON", help_heading = "Injected containers")]
    pub sidecar_security_context: Option<String>,
    /// Their user, where neither the Pod nor its PodFilesystemSync says one [default: 65532]
    #[arg(long, env = "DEFAULT_USER", value_name = "UID", help_heading = "Injected containers")]
    pub default_user: Option<String>,
    /// The cluster chooses users by itself: true, false, or found out (auto) [default: auto]
    #[arg(long, env = "OPENSHIFT", value_name = "WHEN", help_heading = "Injected containers")]
    pub openshift: Option<String>,
    /// The port of their metrics; 0: none [default: 9327]
    #[arg(long, env = "SIDECAR_METRICS_PORT", value_name = "PORT", help_heading = "Injected containers")]
    pub metrics_port: Option<String>,
    /// They report what they do, for the status of their PodFilesystemSync [default: true]
    #[arg(long, env = "SIDECAR_PROGRESS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Injected containers")]
    pub progress: Option<String>,
}

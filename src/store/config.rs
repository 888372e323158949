//! Where a remote lies and how to reach it.

use crate::secret::Secret;
use std::path::PathBuf;

/// A checked remote.
#[derive(Debug, Clone)]
pub enum RemoteConfig {
    /// An S3 bucket, or a part of one.
    S3(S3Config),
    /// A local folder.
    Local {
        /// The store's root.
        folder: PathBuf,
        /// The part of it.
        path: String,
    },
    /// This process's memory.
    Memory {
        /// Which of them.
        name: String,
    },
}

/// A bucket and the way to it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct S3Config {
    pub endpoint: Option<String>,
    pub bucket: String,
    pub prefix: String,
    pub region: Option<String>,
    pub access_key_id: Option<Secret<String>>,
    pub secret_access_key: Option<Secret<String>>,
    pub session_token: Option<Secret<String>>,
    pub env_auth: bool,
    pub virtual_host_style: bool,
    pub ca_file: Option<PathBuf>,
    pub insecure_tls: bool,
    pub storage_class: Option<String>,
    pub server_side_encryption: Option<String>,
    pub sse_kms_key_id: Option<String>,
    pub role_arn: Option<String>,
    pub disable_imds: bool,
}

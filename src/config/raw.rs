//! Options as they were written: one flat struct of texts per prefix. Checking them is the next step.

use super::environment::Options;
use crate::contract::env;
use serde::Deserialize;

/// `REMOTE_*` and `-p`. No `Debug`: some of it is secret.
#[derive(Deserialize)]
pub(super) struct RawRemote {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub provider: Option<String>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub access_key_id_file: Option<String>,
    pub secret_access_key: Option<String>,
    pub secret_access_key_file: Option<String>,
    pub session_token: Option<String>,
    pub session_token_file: Option<String>,
    pub env_auth: Option<String>,
    pub force_path_style: Option<String>,
    pub acl: Option<String>,
    pub storage_class: Option<String>,
    pub server_side_encryption: Option<String>,
    pub sse_kms_key_id: Option<String>,
    pub role_arn: Option<String>,
    pub sts_endpoint: Option<String>,
    pub ca_file: Option<String>,
    pub client_cert_file: Option<String>,
    pub client_key_file: Option<String>,
    pub insecure: Option<String>,
    pub root: Option<String>,
}

/// `ENCRYPTED_*` and `-e`. No `Debug`: it is secret.
#[derive(Deserialize)]
pub(super) struct RawUnlock {
    pub password: Option<String>,
    pub password_file: Option<String>,
}

/// `ENCRYPTED_*` and `-e` as rclone reads them. No `Debug`: some of it is secret.
#[derive(Deserialize)]
pub(super) struct RawRcloneCrypt {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub remote: Option<String>,
    pub password: Option<String>,
    pub password_file: Option<String>,
    pub password2: Option<String>,
    pub password2_file: Option<String>,
    pub filename_encryption: Option<String>,
    pub directory_name_encryption: Option<String>,
    pub filename_encoding: Option<String>,
    pub suffix: Option<String>,
    pub no_data_encryption: Option<String>,
}

/// Reads the remote's options. `None` cannot happen (every field is an optional text, every key is known and single),
/// and envy's own message could quote a value.
pub(super) fn remote(options: &Options) -> Option<RawRemote> {
    let pairs = options.pairs(&[env::REMOTE_COMMON, env::REMOTE_S3, env::REMOTE_LOCAL]);
    envy::prefixed(env::REMOTE_PREFIX).from_iter(pairs).ok()
}

/// Reads the encryption's options, behind either of its prefixes.
pub(super) fn unlock(options: &Options, prefix: &str) -> Option<RawUnlock> {
    envy::prefixed(prefix).from_iter(options.pairs(&[env::ENCRYPTED])).ok()
}

/// Reads the encryption's options in rclone's meaning.
pub(super) fn rclone_crypt(options: &Options) -> Option<RawRcloneCrypt> {
    envy::prefixed(env::ENCRYPTED_PREFIX).from_iter(options.pairs(&[env::RCLONE_CRYPT])).ok()
}

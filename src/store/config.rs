//! How a remote is described, and which descriptions are refused before a request is made.

use super::StoreError;
use super::bandwidth::Bandwidth;
use crate::contract::remotes::RemoteType;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the remote is.
#[derive(Debug, Clone)]
pub enum RemoteConfig {
    /// A bucket of an S3 store.
    S3(Box<S3Config>),
    /// A folder of this machine, or of a file system mounted here.
    Local {
        /// The folder that plays the bucket; it is made by the first write.
        folder: PathBuf,
        /// A path inside it; may be empty.
        path: String,
    },
    /// Any other store.
    Served(Box<ServedConfig>),
    /// The memory of this process; remotes of one name share their content.
    Memory {
        /// The remote's name.
        name: String,
    },
}

/// A bucket of an S3 store, and how to open it.
#[derive(Debug, Clone, Default)]
pub struct S3Config {
    /// The store's address; AWS when absent.
    pub endpoint: Option<String>,
    /// The bucket's name.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The region requests are signed for; `us-east-1` when absent.
    pub region: Option<String>,
    /// The access key; absent for credentials from the environment.
    pub access_key_id: Option<Secret<String>>,
    /// The secret key that belongs to it.
    pub secret_access_key: Option<Secret<String>>,
    /// The token of temporary keys.
    pub session_token: Option<Secret<String>>,
    /// The files that given keys were read from. They are read again: a mounted secret is swapped while the process runs.
    pub key_files: KeyFiles,
    /// The variables from which credentials may be taken: `AWS_*` and `HOME`.
    pub environment: BTreeMap<String, Secret<String>>,
    /// Take credentials from the environment although keys may be given: `AWS_*`, profile, web identity, container
    /// or instance metadata.
    pub env_auth: bool,
    /// Put the bucket's name into the host name instead of the path.
    pub virtual_host_style: bool,
    /// Further certificate authorities, as PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate by which we say who we are, as PEM.
    pub client_cert_file: Option<PathBuf>,
    /// The key that belongs to it.
    pub client_key_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure_tls: bool,
    /// The storage class of new objects.
    pub storage_class: Option<String>,
    /// The encryption that the store itself applies to new objects.
    pub server_side_encryption: Option<String>,
    /// The key of that encryption.
    pub sse_kms_key_id: Option<String>,
    /// A role to assume with the credentials.
    pub role_arn: Option<String>,
    /// The token service that gives sessions; AWS's when absent.
    pub sts_endpoint: Option<String>,
    /// Never ask the machine's metadata service for credentials.
    pub disable_imds: bool,
    /// How fast bytes may go and come.
    pub bandwidth: Option<Bandwidth>,
}

/// Files of keys.
#[derive(Debug, Clone, Default)]
pub struct KeyFiles {
    /// Of the access key.
    pub access_key_id: Option<PathBuf>,
    /// Of the secret key.
    pub secret_access_key: Option<PathBuf>,
    /// Of the session token.
    pub session_token: Option<PathBuf>,
}

/// A place in a store that is not S3, and how to open it.
#[derive(Debug, Clone)]
pub struct ServedConfig {
    /// Its type.
    pub kind: &'static RemoteType,
    /// The bucket or container, where the type has them.
    pub container: String,
    /// What all keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The prefix begins at the server's root instead of where a log-in ends. Only SFTP servers tell the two apart.
    pub is_absolute: bool,
    /// The options by rclone's names, as the type's table has them. All are kept like secrets.
    pub options: Options,
    /// The files that options were read from. They are read again: a mounted secret is swapped while the process runs.
    pub secret_files: Option<SecretFiles>,
    /// How fast bytes may go and come.
    pub bandwidth: Option<Bandwidth>,
}

/// The options by rclone's names.
type Options = BTreeMap<&'static str, Secret<String>>;

/// Files of secrets.
#[derive(Debug, Clone)]
pub struct SecretFiles {
    /// Each by the option that it holds.
    pub paths: BTreeMap<&'static str, PathBuf>,
    /// All options with what the files hold now, or what is wrong with them.
    pub read: fn(&ServedConfig) -> Result<Options, String>,
}

impl ServedConfig {
    /// The same with what its files hold now.
    pub(super) fn renewed(&self) -> Result<ServedConfig, StoreError> {
        let Some(files) = &self.secret_files else { return Ok(self.clone()) };
        let wrong = |problem| StoreError::usage(problem, "mount files that hold only the value");
        Ok(ServedConfig { options: (files.read)(self).map_err(wrong)?, ..self.clone() })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(|value| value.expose().as_str())
    }

    /// The value, or nothing: what OpenDAL's builders take for not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

impl S3Config {
    /// The keys given here, unless the environment's are wanted or none are given.
    pub(super) fn static_keys(&self) -> Option<(&Secret<String>, &Secret<String>)> {
        if self.env_auth {
            return None;
        }
        self.access_key_id.as_ref().zip(self.secret_access_key.as_ref())
    }

    /// The region to sign for.
    pub(super) fn signing_region(&self) -> &str {
        self.region.as_deref().filter(|region| !region.is_empty()).unwrap_or("us-east-1")
    }

    /// The store's address with its scheme. AWS is written out, so that what is shown is what is asked.
    pub(super) fn address(&self) -> Result<String, StoreError> {
        let Some(given) = self.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
            let region = self.signing_region();
            let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            return Ok(format!("https://s3.{region}.{suffix}"));
        };
        let whole = if given.contains("://") { given.to_owned() } else { format!("https://{given}") };
        // The text is not repeated in the message before it is known to hold no password.
        let hint = "give it as http://host:port or https://host";
        let url = reqwest::Url::parse(&whole).map_err(|_| StoreError::usage("the endpoint is not an address", hint))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(StoreError::usage(
                "the endpoint holds a user name or password",
                "give the credentials as access key and secret key",
            ));
        }
        let plain = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return Err(StoreError::usage(format!("the endpoint '{given}' is not a store's address"), hint));
        }
        Ok(whole.trim_end_matches('/').to_owned())
    }

    /// The address of the bucket itself.
    pub(super) fn bucket_url(&self) -> Result<String, StoreError> {
        let (address, bucket) = (self.address()?, &self.bucket);
        Ok(match address.split_once("://") {
            Some((scheme, rest)) if self.virtual_host_style => format!("{scheme}://{bucket}.{rest}/"),
            _ => format!("{address}/{bucket}"),
        })
    }

    /// Refuses what would only fail, or change its meaning, at the store.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let bucket = &self.bucket;
        if bucket.is_empty() || bucket.contains(['/', ' ', '?', '#']) || bucket.chars().any(char::is_control) {
            return Err(StoreError::usage(format!("'{bucket}' is not a bucket's name"), "write the path as bucket/prefix"));
        }
        if self.virtual_host_style && bucket.contains('.') {
            return Err(StoreError::usage(
                format!("the bucket '{bucket}' has a dot in its name and cannot be part of a host name"),
                "use path style",
            ));
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(StoreError::usage("only one of access key and secret key is given", "give both, or neither"));
        }
        check_prefix(&self.prefix)
    }
}

/// Prefixes that the HTTP layer or OpenDAL would silently rewrite are refused, so that no two spellings name one place.
pub(super) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    let clean = !has_rewritten_parts(prefix) && prefix.trim() == prefix && !prefix.chars().any(char::is_control);
    if prefix.is_empty() || clean {
        return Ok(());
    }
    Err(StoreError::usage(
        format!("the path '{}' inside the remote cannot be used", prefix.escape_debug()),
        "leave out empty, '.' and '..' parts, control characters, and spaces or slashes at its ends",
    ))
}

/// Keys that would become others on their way: OpenDAL trims what it passes on.
pub(super) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.trim() == key { check_exact_key(key) } else { Err(bad_key(key)) }
}

/// Keys of stores that take every character as it is.
pub(super) fn check_exact_key(key: &str) -> Result<(), StoreError> {
    let hidden = key.split('/').any(|part| part.starts_with(super::local::TEMPORARY));
    if has_rewritten_parts(key) || hidden || key.contains('\0') { Err(bad_key(key)) } else { Ok(()) }
}

fn bad_key(key: &str) -> StoreError {
    StoreError::BadKey(key.escape_debug().to_string())
}

fn has_rewritten_parts(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// `prefix/key`, whichever parts there are.
pub(super) fn join(prefix: &str, key: &str) -> String {
    match (prefix.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (false, true) => prefix.to_owned(),
        (false, false) => format!("{prefix}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{S3Config, check_key, check_prefix, join};

    #[test]
    fn prefixes_that_would_be_rewritten_are_refused() {
        for good in ["", "a", "a/b", "a b/c", "Zürich/x.y"] {
            assert!(check_prefix(good).is_ok(), "{good:?}");
        }
        for bad in ["/a", "a/", "a//b", " a", "a ", "./a", "a/../b", "..", "a\nb", "/"] {
            assert!(check_prefix(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_cannot_leave_the_remote() {
        assert!(check_key("log/0001").is_ok());
        for bad in ["", "../x", "a//b", "a/", "/a", "a/.tmp-1"] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
        assert_eq!(join("p", "k"), "p/k");
        assert_eq!(join("", "k"), "k");
        assert_eq!(join("p", ""), "p");
    }

    #[test]
    fn an_endpoint_with_a_password_is_refused_without_repeating_it() {
        let with = |endpoint: &str| S3Config { endpoint: Some(endpoint.into()), ..S3Config::default() };
        let error = with("http://me:hunter2@host").address().expect_err("a password").to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let error = with("http://me:hunter2@host:x").address().expect_err("no address").to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(with("ftp://host").address().is_err());
        assert_eq!(with("host:9000").address().expect("good"), "https://host:9000");
        assert_eq!(with("http://host/").address().expect("good"), "http://host");
        assert_eq!(S3Config::default().address().expect("AWS"), "https://s3.us-east-1.amazonaws.com");
    }
}

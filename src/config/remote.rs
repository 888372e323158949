//! Where the remote lies: `REMOTE_*` and `-p`.

use super::check::Check;
use super::environment::Environment;
use super::mistakes::{ConfigError, Mistake, Mistakes, nearest};
use super::raw::{self, RawRemote};
use super::{local, s3, served};
use crate::contract::env;
use crate::contract::remotes::{First, REMOTE_TYPES, REMOTE_TYPES_UNSERVED, RemoteType, remote_type};
use crate::store::{RemoteConfig, S3Config, ServedConfig};
use std::path::PathBuf;

/// The part of a local or in-memory remote used when the remote path names none.
const DEFAULT_PATH: &str = "default";

/// The checked remote options: everything but the remote path.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    target: Target,
    shown: Vec<(String, String)>,
    /// What was accepted without effect, and what is risky.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone)]
enum Target {
    S3(Box<S3Config>),
    Served(Box<ServedConfig>),
    Local { root: PathBuf },
    Memory,
}

/// Reads `REMOTE_*` and the `-p` parameters; the environment wins. All mistakes are reported together.
pub fn read_remote(environment: &Environment, params: &[String]) -> Result<RemoteOptions, ConfigError> {
    let mut mistakes = Mistakes::default();
    let tables = [env::REMOTE_COMMON, env::REMOTE_S3, env::REMOTE_LOCAL, env::REMOTE_IDLE, env::REMOTE_UNSERVED];
    let options = environment.options(env::REMOTE_PREFIX, params, &mut mistakes, &tables);
    let Some(raw) = raw::remote(&options) else {
        mistakes.add("REMOTE_*", "cannot be read", "set each option once, as text");
        return Err(mistakes.into_result(()).err().unwrap_or(ConfigError { mistakes: Vec::new() }));
    };
    let secrets = [&raw.secret_access_key, &raw.session_token].into_iter().flatten().cloned().collect();
    let warnings = options.warnings();
    let mut check = Check { environment, options: &options, mistakes, warnings, secrets };
    warn_of_rclones(&mut check);
    let (kind, why) = kind(&raw, &mut check);
    let mut shown = vec![("REMOTE_TYPE".to_string(), format!("{}{why}", kind.name))];
    if !matches!(kind.name, "s3" | "local" | "memory") {
        let config = served::read(kind, &mut check, &mut shown);
        return check.finish(|warnings| RemoteOptions { target: Target::Served(Box::new(config)), shown, warnings });
    }
    check.no_secret_flags(env::REMOTE_SECRETS);
    let known: &[&[&str]] = &[env::REMOTE_COMMON, env::REMOTE_S3, env::REMOTE_LOCAL];
    let idle = check.unknown(known, env::REMOTE_IDLE, env::REMOTE_UNSERVED);
    if !idle.is_empty() {
        check.warnings.push(format!("options of rclone, without effect here: {}", idle.join(", ")));
    }
    let target = match kind.name {
        "s3" => {
            let config = s3::read(&raw, &mut check);
            describe_s3(&raw, &config, &mut shown);
            Target::S3(Box::new(config))
        }
        "local" => {
            let root = local::root(&raw, &mut check);
            shown.push(("REMOTE_ROOT".to_string(), root.display().to_string()));
            Target::Local { root }
        }
        _ => Target::Memory,
    };
    warn_of_other_kinds(kind.name, &mut check);
    check.finish(|warnings| RemoteOptions { target, shown, warnings })
}

/// The type, and in words why, when nobody said it. Options of S3 alone mean S3: the predecessor's image had that type
/// built in, and a push that lands in a container's own folder instead would be lost.
fn kind(raw: &RawRemote, check: &mut Check<'_>) -> (&'static RemoteType, String) {
    let named = |name: &str| remote_type(name).expect("the table has the types that are named here");
    let Some(given) = raw.kind.as_deref() else {
        return match env::REMOTE_S3.iter().find(|key| check.options.has(key)) {
            Some(key) => (named("s3"), format!(" (since {} is set)", check.options.name(key))),
            None => (named("local"), " (embedded default)".to_string()),
        };
    };
    let lower = given.to_lowercase();
    if let Some(kind) = remote_type(&lower) {
        return (kind, String::new());
    }
    let names = || REMOTE_TYPES.iter().map(|kind| kind.name);
    let served = format!("served: {}", names().collect::<Vec<_>>().join(", "));
    if let Some((_, instead)) = REMOTE_TYPES_UNSERVED.iter().find(|(name, _)| *name == lower) {
        check.wrong("type", format!("is {}, which is not served", check.shown(given)), format!("{instead}; {served}"));
    } else {
        let all = names().chain(REMOTE_TYPES_UNSERVED.iter().map(|(name, _)| *name));
        let meant = nearest(&lower, all).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
        check.wrong("type", format!("is {}, which is not known", check.shown(given)), format!("{meant}{served}"));
    }
    // Memory has no options of its own: nothing more can be wrong with it.
    (named("memory"), String::new())
}

/// Options of another type have no effect: often the type is what is wrong.
fn warn_of_other_kinds(kind: &str, check: &mut Check<'_>) {
    let others: &[&[&str]] = match kind {
        "s3" => &[env::REMOTE_LOCAL],
        "local" => &[env::REMOTE_S3],
        _ => &[env::REMOTE_S3, env::REMOTE_LOCAL],
    };
    let given = others.iter().flat_map(|table| table.iter()).filter(|key| check.options.has(key));
    let names: Vec<String> = given.map(|key| check.options.name(key)).collect();
    if !names.is_empty() {
        check.warnings.push(format!("without effect on a remote of type {kind}: {}", names.join(", ")));
    }
}

/// What steered rclone itself reached it through the environment.
fn warn_of_rclones(check: &mut Check<'_>) {
    // Where rclone keeps its own configuration never mattered.
    let own = [env::RCLONE_CONFIG, env::RCLONE_CONFIG_DIR, env::RCLONE_CONFIG_PASS];
    let names: Vec<&str> = check.environment.names(env::RCLONE_PREFIX).filter(|name| !own.contains(name)).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        check.warnings.push(format!("without effect, since rclone is not run: {names}; see --bwlimit, --include and --exclude"));
    }
}

fn describe_s3(raw: &RawRemote, config: &S3Config, shown: &mut Vec<(String, String)>) {
    let secret = |inline: &Option<String>, file: &Option<String>| match (inline, file) {
        (_, Some(path)) => format!("from {path}"),
        (Some(_), None) => "<set>".to_string(),
        (None, None) => "<not set>".to_string(),
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "<not set>".to_string());
    let mut show = |key: &str, value: String| shown.push((format!("{}{key}", env::REMOTE_PREFIX), value));
    show("ENDPOINT", config.endpoint.clone().unwrap_or_else(|| "<of the region, by AWS>".to_string()));
    show("REGION", text(&config.region));
    show("ACCESS_KEY_ID", secret(&raw.access_key_id, &raw.access_key_id_file));
    show("SECRET_ACCESS_KEY", secret(&raw.secret_access_key, &raw.secret_access_key_file));
    show("SESSION_TOKEN", secret(&raw.session_token, &raw.session_token_file));
    show("ENV_AUTH", config.env_auth.to_string());
    show("ROLE_ARN", text(&config.role_arn));
    show("STS_ENDPOINT", config.sts_endpoint.clone().unwrap_or_else(|| "<AWS's>".to_string()));
    show("FORCE_PATH_STYLE", (!config.virtual_host_style).to_string());
    show("STORAGE_CLASS", text(&config.storage_class));
    show("SERVER_SIDE_ENCRYPTION", text(&config.server_side_encryption));
    show("SSE_KMS_KEY_ID", text(&config.sse_kms_key_id));
    show("CA_FILE", config.ca_file.as_ref().map_or_else(|| "<the system's>".to_string(), |path| path.display().to_string()));
    let path = |path: &Option<PathBuf>| path.as_ref().map_or_else(|| "<not set>".to_string(), |path| path.display().to_string());
    show("CLIENT_CERT_FILE", path(&config.client_cert_file));
    show("CLIENT_KEY_FILE", path(&config.client_key_file));
    show("INSECURE", config.insecure_tls.to_string());
}

impl RemoteOptions {
    /// The remote at a remote path: `BUCKET/PREFIX` for S3, a folder for a local one.
    pub fn at(&self, remote_path: &str) -> Result<RemoteConfig, ConfigError> {
        let Some(names) = local::names(remote_path) else {
            return Err(wrong_path("must not hold '..' or control characters", "write the path without them"));
        };
        match &self.target {
            Target::S3(config) => {
                let Some((bucket, prefix)) = names.split_first() else {
                    return Err(wrong_path("must name the bucket", "write BUCKET/PATH"));
                };
                if bucket.contains(char::is_whitespace) {
                    return Err(wrong_path("has a space in the bucket's name", "write BUCKET/PATH"));
                }
                let config = S3Config { bucket: bucket.to_string(), prefix: prefix.join("/"), ..S3Config::clone(config) };
                Ok(RemoteConfig::S3(Box::new(config)))
            }
            Target::Served(config) => {
                let mut config = ServedConfig::clone(config);
                let mut names = names.as_slice();
                if let (First::Container, first) = (config.kind.first, names.split_first()) {
                    let Some((container, rest)) = first else {
                        return Err(wrong_path("must name the bucket or container", "write CONTAINER/PATH"));
                    };
                    (config.container, names) = (container.to_string(), rest);
                }
                config.is_absolute = config.kind.name == "sftp" && remote_path.starts_with('/');
                config.prefix = names.join("/");
                Ok(RemoteConfig::Served(Box::new(config)))
            }
            Target::Local { .. } if remote_path.starts_with('/') && !names.is_empty() => {
                Ok(RemoteConfig::Local { folder: PathBuf::from(format!("/{}", names.join("/"))), path: String::new() })
            }
            Target::Local { root } => Ok(RemoteConfig::Local { folder: root.clone(), path: or_default(&names) }),
            Target::Memory => Ok(RemoteConfig::Memory { name: or_default(&names) }),
        }
    }

    /// The effective configuration for a log: variable and value, secrets only as "set" or where from.
    pub fn describe(&self) -> Vec<(String, String)> {
        self.shown.clone()
    }
}

fn or_default(names: &[&str]) -> String {
    if names.is_empty() { DEFAULT_PATH.to_string() } else { names.join("/") }
}

fn wrong_path(problem: &str, hint: &str) -> ConfigError {
    let name = "the remote path (-d/--dst when pushing, -s/--src when reading)".to_string();
    ConfigError { mistakes: vec![Mistake { name, problem: problem.to_string(), hint: hint.to_string() }] }
}

#[cfg(test)]
mod tests;

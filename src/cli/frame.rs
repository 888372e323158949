//! What every verb is given, and the one way from arguments to an open remote.

use super::args::Access;
use crate::config::{
    ConfigError, Environment, Mistake, RemoteOptions, is_same_path, names_rclone_crypt, read_encrypted_path, read_rclone_crypt,
    read_remote, read_unlock,
};
use crate::contract::env;
use crate::fault::Report;
use crate::remote::{Remote, reach_existing};
use crate::restore::CryptSource;
use crate::runtime::{Signals, Stop};
use crate::seal::Unlocker;
use crate::secret::Secret;
use crate::store::{Bucket, RemoteConfig};
use crate::telemetry::ProgressMode;
use crate::vault::log::Commit;
use crate::vault::open::Vault;
use std::path::Path;

/// The rclone configuration that --no-template reads when none is named, in the working directory.
const RCLONE_FILE: &str = "rclone.conf";

/// The process around a verb.
#[derive(Debug)]
pub struct Frame {
    /// Asked when a signal comes.
    pub stop: Stop,
    /// The signals, for a verb that has more to do when one comes.
    pub signals: Signals,
    /// The environment.
    pub environment: Environment,
    /// How progress is shown.
    pub progress: ProgressMode,
}

/// Where the remote lies and what opens it, checked.
#[derive(Debug)]
pub struct Target {
    /// The remote's options.
    pub options: RemoteOptions,
    /// Where it lies.
    pub config: RemoteConfig,
    /// What opens it, if anything was given.
    pub unlocker: Option<Unlocker>,
}

impl Frame {
    /// Reads `REMOTE_*`, `ENCRYPTED_*`, `-p`, `-e` and the remote path. All mistakes are in one report.
    pub fn target(&self, access: &Access, remote_path: &str) -> Result<Target, ConfigError> {
        let environment = self.beside_file(access)?;
        let is_given = !is_same_path(remote_path, "/");
        let remote = read_remote(&environment, &access.params).and_then(|options| {
            let wrapped = if is_given { None } else { read_encrypted_path(&environment, &access.enc_params)? };
            let config = options.at(wrapped.as_deref().unwrap_or(remote_path))?;
            Ok((limited(config, access), options))
        });
        let key = read_unlock(&environment, &access.enc_params).and_then(|unlock| {
            let key = unlock.secret.as_ref().map(|source| unlocker(&source.read()?, env::ENCRYPTED_PREFIX)).transpose()?;
            Ok((key, unlock))
        });
        let ((config, options), (unlocker, unlock)) = both(remote, key)?;
        let wrapped = read_encrypted_path(&environment, &access.enc_params).ok().flatten();
        if wrapped.is_some_and(|path| is_given && !is_same_path(&path, remote_path)) {
            tracing::warn!("the vault lies where the command line says; {}REMOTE names another path", env::ENCRYPTED_PREFIX);
        }
        // The predecessor wrote that file and removed it: where there is one, somebody means it to be read.
        if let Some(path) = self.named_file(access).filter(|path| !access.no_template && path.is_file()) {
            tracing::warn!("{} is not read: --no-template takes the remote from it", path.display());
        }
        for warning in options.warnings.iter().chain(&unlock.warnings) {
            tracing::warn!("{warning}");
        }
        for (name, value) in options.describe() {
            tracing::debug!("configuration: {name}={value}");
        }
        let key = unlock.secret.map_or_else(|| "<not set>".to_string(), |source| source.describe());
        tracing::debug!("configuration: {}PASSWORD={key}", env::ENCRYPTED_PREFIX);
        Ok(Target { options, config, unlocker })
    }

    /// What counts together with the flags: the environment, and with `--no-template` the rclone configuration.
    fn beside_file(&self, access: &Access) -> Result<Environment, ConfigError> {
        match access.no_template {
            true => self.environment.with_rclone_file(self.named_file(access).unwrap_or(Path::new(RCLONE_FILE))),
            false => Ok(self.environment.clone()),
        }
    }

    fn named_file<'a>(&'a self, access: &'a Access) -> Option<&'a Path> {
        access.config_path.as_deref().or_else(|| self.environment.get(env::CONFIG_PATH).map(Path::new))
    }

    /// Connects to the remote; with a key it is a vault, without one the plain layout. Nothing is asked yet.
    pub fn reach(&self, access: &Access, remote_path: &str) -> Result<(Bucket, Option<Unlocker>), Report> {
        let target = self.target(access, remote_path)?;
        if target.unlocker.is_none() {
            tracing::warn!("no key was given: files lie at the remote as they are, readable by whoever can read the remote");
        }
        Ok((Bucket::connect(&target.config)?, target.unlocker))
    }

    /// Connects to what rclone crypt may have written there: only with options that rclone would accept.
    pub fn crypt(&self, access: &Access, remote_path: &str, unlocker: Option<&Unlocker>) -> Result<Option<CryptSource>, Report> {
        let environment = self.beside_file(access)?;
        let is_named = names_rclone_crypt(&environment, &access.enc_params);
        if matches!(unlocker, Some(Unlocker::Raw(_))) && !is_named {
            return Ok(None);
        }
        let options = match read_rclone_crypt(&environment, &access.enc_params) {
            Ok(Some(options)) => options,
            // Unless it is named, a password that rclone would not accept is a vault's.
            Err(error) if is_named => return Err(error.into()),
            Ok(None) | Err(_) => return Ok(None),
        };
        options.warnings.iter().for_each(|warning| tracing::debug!("{warning}"));
        let path = options.remote_path.as_deref().filter(|path| !is_same_path(path, "/")).unwrap_or(remote_path);
        let remote = read_remote(&environment, &access.params)?;
        let bucket = Bucket::connect(&limited(remote.at(path)?, access))?;
        Ok(Some(CryptSource { bucket, options: options.crypt, is_named: options.is_named }))
    }

    /// This Pod or host, for the log of the vault.
    pub fn pod(&self) -> String {
        let given = ["POD_NAME", "HOSTNAME"].into_iter().find_map(|name| self.environment.get(name)).map(String::from);
        given.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    /// Opens the vault that must be there, and its newest commit.
    pub async fn vault(&self, target: &Target) -> Result<(Vault, Option<Commit>), Report> {
        let bucket = Bucket::connect(&target.config)?;
        let Remote::Vault(vault, newest) = reach_existing(&bucket, target.unlocker.as_ref(), &self.stop).await?;
        let head = match newest {
            Some(newest) => vault.head(Some(newest), &self.stop).await?,
            None => None,
        };
        Ok((*vault, head))
    }

    /// Opens the vault that must be there, whatever its commits are like.
    pub async fn vault_only(&self, target: &Target) -> Result<Vault, Report> {
        let bucket = Bucket::connect(&target.config)?;
        let Remote::Vault(vault, _) = reach_existing(&bucket, target.unlocker.as_ref(), &self.stop).await?;
        Ok(*vault)
    }
}

/// The remote with the limit that was asked for.
fn limited(config: RemoteConfig, access: &Access) -> RemoteConfig {
    match (config, &access.bwlimit) {
        (RemoteConfig::S3(mut config), Some(limit)) => {
            config.bandwidth = Some(limit.clone());
            RemoteConfig::S3(config)
        }
        (RemoteConfig::Served(mut config), Some(limit)) => {
            config.bandwidth = Some(limit.clone());
            RemoteConfig::Served(config)
        }
        (config, Some(_)) => {
            tracing::warn!("--bwlimit has no effect on this type of remote");
            config
        }
        (config, None) => config,
    }
}

/// A key or passphrase from its text.
pub fn unlocker(text: &Secret<String>, prefix: &str) -> Result<Unlocker, ConfigError> {
    Unlocker::parse(text).map_err(|error| {
        let problem = format!("cannot be used: {error}");
        let hint = "copy the key again, all 56 characters of it".to_string();
        ConfigError { mistakes: vec![Mistake { name: format!("{prefix}PASSWORD"), problem, hint }] }
    })
}

/// Both values, or the mistakes of both.
pub fn both<A, B>(one: Result<A, ConfigError>, other: Result<B, ConfigError>) -> Result<(A, B), ConfigError> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(one.and(other)),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

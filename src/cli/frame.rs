//! What every verb needs: the environment, the wish to stop, and the way to a remote.

use super::args::Access;
use crate::config::{Environment, RemoteOptions, read_remote, read_unlock};
use crate::fault::{Kind, Report};
use crate::runtime::Stop;
use crate::seal::Unlocker;
use crate::store::Bucket;
use crate::telemetry::ProgressMode;
use crate::vault::log::Commit;
use crate::vault::open::{Presence, Vault, open};
use std::io::{ErrorKind, Write};

/// The frame of a verb.
#[derive(Debug)]
pub struct Frame {
    /// Asked to stop.
    pub stop: Stop,
    /// The process environment.
    pub environment: Environment,
    /// How progress is shown.
    pub progress: ProgressMode,
}

impl Frame {
    /// The frame of this process.
    pub fn new(stop: Stop, log_json: bool) -> Frame {
        Frame { stop, environment: Environment::of_process(), progress: ProgressMode::choose(log_json) }
    }

    /// This Pod or host, for the log of the vault.
    pub fn pod(&self) -> String {
        let given = ["POD_NAME", "HOSTNAME"].into_iter().find_map(|name| self.environment.get(name)).map(String::from);
        given.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    /// Connects to the remote that environment and parameters name at `path`, and reads the key. All mistakes of both
    /// are reported together.
    pub fn reach(&self, access: &Access, path: &str) -> Result<(Bucket, Unlocker), Report> {
        let remote = read_remote(&self.environment, &access.params).and_then(|options| Ok((options.at(path)?, options)));
        let unlock = read_unlock(&self.environment, &access.enc_params);
        let ((config, options), unlock) = match (remote, unlock) {
            (Ok(remote), Ok(unlock)) => (remote, unlock),
            (Err(one), Err(other)) => return Err(one.and(other).into()),
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        };
        self.show(&options);
        unlock.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let Some(source) = unlock.secret else { return Err(no_key()) };
        let text = source.read()?;
        let unlocker = Unlocker::parse(&text).map_err(|error| {
            Report::new(Kind::Usage, format!("ENCRYPTED_PASSWORD: {error}"))
                .hint("`key generate` prints a new key; copy it whole")
        })?;
        Ok((Bucket::connect(&config)?, unlocker))
    }

    fn show(&self, options: &RemoteOptions) {
        options.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        for (name, value) in options.describe() {
            tracing::debug!(option = %name, %value, "effective configuration");
        }
    }

    /// The vault that must be at the remote, and its head if it has commits.
    pub async fn vault(&self, access: &Access, path: &str) -> Result<(Vault, Option<Commit>), Report> {
        let (bucket, unlocker) = self.reach(access, path)?;
        match open(&bucket, &unlocker, &self.stop).await? {
            Presence::Vault(vault, newest) => {
                let head = vault.head(newest, &self.stop).await?;
                Ok((*vault, head))
            }
            Presence::ProvenEmpty => {
                Err(Report::new(Kind::Usage, format!("there is no vault at {}: the remote is empty", bucket.describe()))
                    .hint("check the path; the first `sync-to-remote` makes a vault"))
            }
        }
    }
}

fn no_key() -> Report {
    Report::new(Kind::Usage, "no key and no passphrase: nothing is stored unencrypted by this version").hint(
        "make a key with `volume-syncing-controller key generate`, keep a copy of it in a safe place, and give it as ENCRYPTED_PASSWORD or in a file named by ENCRYPTED_PASSWORD_FILE",
    )
}

/// A line of output. A reader that went away ends the program quietly.
pub fn print(line: &str) -> Result<(), Report> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Err(Report::new(Kind::Unfinished, "the reader of the output went away"))
        }
        Err(error) => Err(Report::new(Kind::Volume, format!("writing the output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// The runtime: as many workers as processors, at most four; one-shot work is bound by the blocking pool.
pub fn runtime() -> Result<tokio::runtime::Runtime, Report> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(32)
        .enable_all()
        .build()
        .map_err(|error| Report::new(Kind::Bug, format!("starting the runtime: {error}")))
}

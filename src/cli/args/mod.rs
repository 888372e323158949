//! The command line: names, short forms and meanings of every flag. Nothing is decided here.
//!
//! Names and short forms of the predecessor are kept; its flags that have no meaning here are accepted and hidden, so
//! that an existing Pod spec still starts. Every boolean also takes `--flag=false`.

mod key;
mod sidecar;

pub use key::{Key, KeyAdd, KeyList, KeyRemove, Place};
pub use sidecar::Sidecar;

use super::control::args::{Health, Interrupt};
use super::hooks::HookArgs;
use crate::config::{At, WordError, parse_at, parse_boolean, parse_span};
use crate::contract::env;
use crate::store::Bandwidth;
use crate::telemetry::LogFilter;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Keeps a directory in an object store: pushed end-to-end encrypted, restored where it is needed.
///
/// Where the remote lies is said by REMOTE_* variables (REMOTE_TYPE=s3, REMOTE_ENDPOINT, REMOTE_ACCESS_KEY_ID,
/// REMOTE_SECRET_ACCESS_KEY …) or by -p key=value; without any, it is a folder of this machine. ENCRYPTED_PASSWORD or
/// ENCRYPTED_PASSWORD_FILE holds the key or passphrase.
///
/// Exit codes: 0 done, 1 a defect of this program, 2 usage, 3 refused by a safety valve, 4 access denied, 5 remote
/// unavailable, 6 another writer took over, 7 stored data is corrupt, 8 local volume failed, 9 stopped with work left.
#[derive(Debug, Parser)]
#[command(name = "volume-syncing-controller", version, max_term_width = 120)]
#[command(subcommand_required = true, arg_required_else_help = true, args_override_self = true)]
pub struct Cli {
    /// Write log lines as JSON to stderr
    #[arg(long, global = true, help_heading = "Log", env = env::LOG_JSON, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = empty_is_false)]
    pub log_json: bool,
    /// The least level that is logged: trace, debug, info, warn or error; parts may differ, as in info,store=debug
    #[arg(long, global = true, help_heading = "Log", env = env::LOG_LEVEL, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogFilter,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Push a local directory to the remote: once, or with --schedule or --fsnotify again and again
    SyncToRemote(Box<SyncToRemote>),
    /// Restore a remote directory to the local disk, once
    RemoteToLocalSync(Box<RemoteToLocalSync>),
    /// List the restore points of a remote
    Snapshots(Snapshots),
    /// List the files of a restore point
    Ls(Ls),
    /// Verify what lies at the remote, without changing it
    Check(Check),
    /// Try out remote, rights, clock and volume, and name what is missing
    Doctor(Doctor),
    /// Ask a running sidecar whether all is well; for exec probes: exit code 0 yes, 1 no
    Health(Health),
    /// Tell a running sidecar that its Pod is being terminated; for preStop hooks
    Interrupt(Interrupt),
    /// Manage the keys that open a remote
    #[command(subcommand)]
    Key(Key),
    /// Print the definition of PodFilesystemSync for kubectl apply
    Crd,
    /// Print a completion script for a shell
    #[command(alias = "completion")]
    Completions(Completions),
}

/// Where the remote lies and what opens it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Remote")]
pub struct Access {
    /// Option of the remote as key=value, for instance -p endpoint=http://minio:9000; may be repeated
    ///
    /// The same as a REMOTE_KEY variable, which wins if both are set. Secrets (secret_access_key, session_token, and those
    /// of other types of remotes) are refused here, since a process list shows them: use the variable or its _FILE twin.
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE")]
    pub params: Vec<String>,
    /// Option of the encryption as key=value, for instance -e password_file=/keys/vault; may be repeated
    ///
    /// The same as an ENCRYPTED_KEY variable, which wins if both are set. password and password2 are refused here: use
    /// the variables or their _FILE twins.
    #[arg(short = 'e', long = "enc-param", value_name = "KEY=VALUE")]
    pub enc_params: Vec<String>,
    /// Bytes a second to and from any remote but a folder: 10M, 10M:2M (up:down), or a timetable in UTC: "08:00,512k 18:00,off"
    ///
    /// A plain number counts KiB. It holds on average: one request's body goes at the speed of the line.
    #[arg(long, env = "BWLIMIT", value_name = "RATE")]
    pub bwlimit: Option<Bandwidth>,
    /// Take the options from sections [remote] and [remote_encrypted] of an rclone configuration
    ///
    /// What they say counts before flags and variables. Without this flag no such file is read, and none is ever written.
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub no_template: bool,
    /// The rclone configuration that --no-template reads [default: CONFIG_PATH, or rclone.conf]
    #[arg(short = 'c', long, value_name = "PATH")]
    pub config_path: Option<PathBuf>,
}

/// Flags of the predecessor that mean nothing here: accepted without effect.
#[derive(Debug, Args)]
pub struct Former {
    /// Without effect: a restore is not found by a file
    #[arg(long, hide = true, value_name = "PATH")]
    pub pid_path: Option<PathBuf>,
}

impl Former {
    /// A sentence for the flag, if it was given.
    pub fn warning(&self) -> Option<&'static str> {
        self.pid_path.is_some().then_some("--pid-path has no effect on a restore: remove it")
    }
}

/// Which paths take part.
#[derive(Debug, Args)]
pub struct Paths {
    /// Only paths that match this pattern, for instance uploads/**; may be repeated [default: all]
    ///
    /// `*` stops at a slash, `**` does not; a pattern without a slash matches a name at any depth; a directory stands
    /// for all below it.
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Leave out paths that match this pattern, for instance *.tmp; wins over --include; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
}

/// What this program remembers between two runs.
#[derive(Debug, Args)]
pub struct State {
    /// Directory in which this program remembers what it saw last; best on a disk that stays [default: .vsc in the directory that is synchronised]
    #[arg(long, env = env::STATE_DIR, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Accept a remote that is older than what was seen last, once, after an intended roll-back of the bucket
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub accept_rollback: bool,
}

/// What happens when another writer seems to be at work.
#[derive(Debug, Args)]
#[command(next_help_heading = "Takeover")]
pub struct Takeover {
    /// What to do while another writer is at work on the same remote path
    #[arg(long = "takeover", value_enum, value_name = "HOW", default_value = "wait")]
    pub how: TakeoverHow,
    /// A predecessor that wrote nothing for this long (20s, 2m …) is taken to be gone
    #[arg(long = "takeover-silence", value_name = "DURATION", default_value = "20s", value_parser = parse_span)]
    pub silence: Duration,
    /// Give up after waiting this long (20s, 2m …) for a predecessor that keeps writing
    #[arg(long = "takeover-timeout", value_name = "DURATION", default_value = "2m", value_parser = parse_span)]
    pub timeout: Duration,
}

/// How to become the one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TakeoverHow {
    /// Wait until the predecessor has left or gone silent
    Wait,
    /// Take over at once; the predecessor's next push fails
    Force,
}

/// What both directions are given.
#[derive(Debug, Args)]
pub struct Common {
    /// Log more: --log-level=debug
    #[arg(short = 'v', long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub verbose: bool,
    /// Which paths take part.
    #[command(flatten)]
    pub paths: Paths,
    /// What is remembered.
    #[command(flatten)]
    pub state: State,
    /// Other writers.
    #[command(flatten)]
    pub takeover: Takeover,
    /// Where the remote lies.
    #[command(flatten)]
    pub access: Access,
}

/// `sync-to-remote`
#[derive(Debug, Args)]
pub struct SyncToRemote {
    /// Local directory to push
    #[arg(short = 's', long, value_name = "DIR", default_value = "./")]
    pub src: PathBuf,
    /// Remote path to push to: BUCKET/PATH, or a folder name for a local remote
    #[arg(short = 'd', long, value_name = "REMOTE_PATH", default_value = "/")]
    pub dst: String,
    /// Keep at the remote what is gone locally, unless something else has taken its place
    #[arg(short = 'x', long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub no_delete: bool,
    /// Without encryption: also delete objects that this directory never had
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub delete_foreign: bool,
    /// Without encryption: do not list the remote; changes that other programs made there go unnoticed
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub trust_manifest: bool,
    /// Push even if the local directory is empty and the remote is not, or another safety valve refuses
    ///
    /// It overrides every valve of a push: an empty directory, held deletions, a missing receipt, an unfinished restore, a
    /// remote that moved on, and another writer's claim. Without encryption the local file also replaces what other programs put
    /// or changed under its name.
    #[arg(short = 'f', long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub force_even_if_remote_would_be_cleared: bool,
    /// Release a held mass deletion: the plan's hash, as printed when it was held
    #[arg(long, value_name = "HASH")]
    pub allow_deletes: Option<String>,
    /// Make the bucket if it does not exist (S3 only); else it is neither made nor looked for
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub create_bucket: bool,
    /// Show what would be pushed and deleted, and write nothing
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub dry_run: bool,
    /// Read every file again instead of trusting size and times
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub reread: bool,
    /// How contents are compressed before they are sealed
    #[arg(long, value_enum, value_name = "HOW", default_value = "zstd")]
    pub compression: Compression,
    /// Do not warn that only one key opens the vault
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub single_key: bool,
    /// The same in both directions.
    #[command(flatten)]
    pub common: Common,
    /// What is called around it.
    #[command(flatten)]
    pub hooks: HookArgs,
    /// Passes that go on.
    #[command(flatten)]
    pub sidecar: Sidecar,
}

/// How contents are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// With Zstandard, where it makes them smaller
    Zstd,
    /// Not at all
    None,
}

/// `remote-to-local-sync`
#[derive(Debug, Args)]
pub struct RemoteToLocalSync {
    /// Remote path to restore from: BUCKET/PATH, or a folder name for a local remote
    #[arg(short = 's', long, value_name = "REMOTE_PATH", default_value = "./")]
    pub src: String,
    /// Local directory to restore to; made if it is missing
    #[arg(short = 'd', long, value_name = "DIR")]
    pub dst: PathBuf,
    /// Which state: latest, a number, a time, a duration ago, or a rescue
    ///
    /// `latest`; a number as listed by `snapshots` (17 or #17); a time with zone (2026-11-20T14:00:00Z) or without one,
    /// in UTC (2026-11-20, '2026-11-20 14:00'); a duration ago (30m, 2h, 7d); a rescue as listed by `snapshots`
    /// (rescue:NAME or fork/NAME). A time means the newest state at or before it.
    #[arg(long, value_name = "WHEN", default_value = "latest", value_parser = parse_at)]
    pub at: At,
    /// Keep local files that the remote does not have
    #[arg(short = 'x', long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub no_delete: bool,
    /// Without encryption: do not list the remote; changes that other programs made there go unnoticed
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub trust_manifest: bool,
    /// Restore even if local data would be lost or the directory looks wrong; without it, such a restore is refused
    #[arg(short = 'n', long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub force_delete_local_dir: bool,
    /// Let the application start with an empty directory when the remote is proven empty; false: fail instead
    #[arg(long, value_name = "BOOL", default_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub allow_empty: bool,
    /// Keep what the local directory holds and restore what it lacks: local files win, nothing is deleted
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub adopt: bool,
    /// Become the one writer of the remote path before restoring, as an init container does; makes a vault where there is none
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub claim: bool,
    /// Whether files get their recorded owner and group
    #[arg(long, value_enum, value_name = "WHETHER", default_value = "auto")]
    pub owners: Owners,
    /// Show what would be written and deleted, and write nothing
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub dry_run: bool,
    /// The same in both directions.
    #[command(flatten)]
    pub common: Common,
    /// Flags of the predecessor.
    #[command(flatten)]
    pub former: Former,
}

/// Whether recorded owners are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Owners {
    /// They do when this process may set them
    Auto,
    /// Everything belongs to whom this process runs as
    Never,
}

/// What is read, and how.
#[derive(Debug, Args)]
pub struct Source {
    /// Remote path: BUCKET/PATH, or a folder name for a local remote
    #[arg(short = 's', long, value_name = "REMOTE_PATH", default_value = "./")]
    pub src: String,
    /// Where the remote lies.
    #[command(flatten)]
    pub access: Access,
}

/// `snapshots`
#[derive(Debug, Args)]
pub struct Snapshots {
    /// Also list what changed nothing: claims, releases, progress of a push, claims that were closed for rescues
    #[arg(short = 'a', long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub all: bool,
    /// Print a JSON array, one object a line
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub json: bool,
    /// The remote.
    #[command(flatten)]
    pub source: Source,
}

/// `ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// Only this path of the volume and what lies below it
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// Which state: latest, a number, a time (UTC unless it names a zone), a duration ago, or a rescue
    #[arg(long, value_name = "WHEN", default_value = "latest", value_parser = parse_at)]
    pub at: At,
    /// Also print mode, owner, size and time
    #[arg(short = 'l', long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub long: bool,
    /// Print JSON, one object a line
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub json: bool,
    /// The remote.
    #[command(flatten)]
    pub source: Source,
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// How deep to look; each level includes those before it
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "meta")]
    pub level: CheckLevel,
    /// The remote.
    #[command(flatten)]
    pub source: Source,
}

/// How deep `check` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum CheckLevel {
    /// The newest state can be opened (also: 0)
    #[value(alias = "0")]
    Quick,
    /// Every record is whole and every object it names exists (also: 1)
    #[value(alias = "1")]
    Meta,
    /// Every byte is read and opened (also: 2)
    #[value(alias = "2")]
    Data,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Remote path to try: BUCKET/PATH, or a folder name for a local remote
    #[arg(short = 'd', long, value_name = "REMOTE_PATH", default_value = "/")]
    pub dst: String,
    /// Local directory to try as well
    #[arg(short = 's', long, value_name = "DIR")]
    pub src: Option<PathBuf>,
    /// Where the remote lies.
    #[command(flatten)]
    pub access: Access,
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// A boolean of the environment, where templates leave variables empty.
fn empty_is_false(text: &str) -> Result<bool, WordError> {
    if text.is_empty() { Ok(false) } else { parse_boolean(text) }
}

#[cfg(test)]
mod tests;

//! `--before-push` and `--after-push`.

use super::frame::Frame;
use crate::config::parse_span;
use crate::contract::env;
use crate::fault::{Kind, Report};
use crate::push::{Hook, Hooks};
use clap::Args;
use std::time::Duration;

/// What is called around a push.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hooks")]
pub struct HookArgs {
    /// Call this before a push: a URL (POST) or a command; the push begins only if it succeeds
    ///
    /// A command is split into words as a shell does, or a JSON array; there is no shell. It runs without our
    /// credentials (REMOTE_*, ENCRYPTED_*, RCLONE_*, the AWS keys …), and with PUSH_HOOK=before-push. A URL is told the
    /// same as JSON.
    #[arg(long, env = env::BEFORE_PUSH, value_name = "URL|COMMAND", hide_env_values = true, default_value = "")]
    #[arg(hide_default_value = true)]
    pub before_push: String,
    /// Call this after a push, however it ended: a URL (POST) or a command; if it fails, the push is partial
    ///
    /// It is told PUSH_RESULT (complete, partial or failed) and PUSH_COMMIT too.
    #[arg(long, env = env::AFTER_PUSH, value_name = "URL|COMMAND", hide_env_values = true, default_value = "")]
    #[arg(hide_default_value = true)]
    pub after_push: String,
    /// How long each of the two may take (30s, 2m …)
    #[arg(long, env = env::HOOK_TIMEOUT, value_name = "DURATION", default_value = "30s", value_parser = parse_span)]
    pub hook_timeout: Duration,
}

impl HookArgs {
    /// How long a push may say nothing: both hooks may run with nothing between them.
    pub fn silence(&self) -> Duration {
        let given = [&self.before_push, &self.after_push].into_iter().filter(|hook| !hook.trim().is_empty());
        given.fold(Duration::ZERO, |sum, _| sum.saturating_add(self.hook_timeout))
    }

    /// Checks them. Programs get the environment without what is for this program alone: credentials, and whatever may
    /// hold one, as a URL does.
    pub fn check(&self, frame: &Frame) -> Result<Hooks, Report> {
        let prefixes = [env::REMOTE_PREFIX, env::ENCRYPTED_PREFIX, env::NEW_ENCRYPTED_PREFIX, env::HEARTBEAT_PREFIX];
        let others = [env::RCLONE_PREFIX, env::BEFORE_PUSH, env::AFTER_PUSH];
        let environment = frame.environment.without(&[&prefixes[..], &others, &env::AWS_CREDENTIALS].concat());
        let hook = |flag: &str, text: &str| {
            // The text is not shown: a URL may hold a password.
            Hook::parse(text, &environment).map_err(|error| Report::new(Kind::Usage, format!("{flag}: {error}")))
        };
        Ok(Hooks {
            before: hook("--before-push", &self.before_push)?,
            after: hook("--after-push", &self.after_push)?,
            timeout: self.hook_timeout,
        })
    }
}

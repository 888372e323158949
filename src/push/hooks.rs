//! What is called around a push: it makes an application hold still before, and lets it go on after.
//!
//! The one after is called whenever the one before was, however the push ended: an application that holds still must not
//! be left so. Neither is called in a dry run.

use super::{Ending, Outcome, PushError};
use crate::fault::{Fault, Kind};
use crate::runtime::{Child, ChildError, Stop, Stopped};
use crate::secret::Secret;
use crate::store::{Callback, CallbackError};
use std::time::Duration;

/// What is called.
#[derive(Debug, Clone, Default)]
pub enum Hook {
    /// Nothing.
    #[default]
    Nothing,
    /// A URL, with a POST.
    Url(Callback),
    /// A program.
    Program(Child),
}

/// A hook that is neither a URL nor a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an http:// or https:// URL, a command, or a JSON array of a command's words")]
pub struct HookError;

impl Hook {
    /// A URL, or a command: a JSON array, or split into words as a shell does, which nothing else of a shell follows. A
    /// program gets `environment`.
    pub fn parse(text: &str, environment: &[(String, String)]) -> Result<Hook, HookError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Hook::Nothing);
        }
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            let is_url = text.parse::<http::Uri>().is_ok_and(|url| url.host().is_some_and(|host| !host.is_empty()));
            return if is_url { Ok(Hook::Url(Callback::new(Secret::new(text.to_string())))) } else { Err(HookError) };
        }
        let words = match text.starts_with('[') {
            true => serde_json::from_str::<Vec<String>>(text).map_err(|_| HookError)?,
            false => shell_words::split(text).map_err(|_| HookError)?,
        };
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or(HookError)?;
        Ok(Hook::Program(Child { program, arguments: words.collect(), environment: environment.to_vec() }))
    }
}

/// Both hooks.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Called before a push.
    pub before: Hook,
    /// Called after it.
    pub after: Hook,
    /// How long each may take.
    pub timeout: Duration,
}

/// A hook that failed.
#[derive(Debug, thiserror::Error)]
#[error("the {name} hook: {why}")]
pub struct HookFailed {
    name: &'static str,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Program(#[from] ChildError),
    #[error(transparent)]
    Url(#[from] CallbackError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Fault for HookFailed {
    fn kind(&self) -> Kind {
        match &self.why {
            Why::Program(ChildError::Start(_)) => Kind::Usage,
            Why::Program(ChildError::Failed(_)) | Why::Url(CallbackError::Refused(_)) => Kind::Refused,
            Why::Program(ChildError::Stopped) | Why::Stopped(_) => Kind::Unfinished,
            Why::Program(ChildError::TooLong(_)) | Why::Url(CallbackError::TooLong(_) | CallbackError::Unreached(_)) => {
                Kind::Unavailable
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match &self.why {
            Why::Program(ChildError::Start(_)) => {
                "the program must be in this image and executable; there is no shell unless the image has one".into()
            }
            Why::Program(ChildError::TooLong(_)) | Why::Url(CallbackError::TooLong(_)) => {
                "look why it takes so long, or give it more time with --hook-timeout".into()
            }
            Why::Url(CallbackError::Unreached(_)) => {
                "check the URL, and that the application listens there when a push begins and when it has ended".into()
            }
            Why::Program(ChildError::Stopped) | Why::Stopped(_) => "nothing was pushed; run again".into(),
            _ => "the lines above are what it said".into(),
        })
    }
}

impl Hooks {
    /// Calls the one before. Only where it succeeds may the push begin.
    pub(super) async fn before(&self, stop: &Stop) -> Result<(), HookFailed> {
        self.call("before-push", &self.before, &[], stop).await
    }

    /// Calls the one after, also when this process was asked to stop. Where it fails, a finished push is partial.
    pub(super) async fn after(&self, pushed: Result<Outcome, PushError>) -> Result<Outcome, PushError> {
        let (result, commit) = match &pushed {
            Ok(outcome) if outcome.ending() == Ending::Complete => ("complete", outcome.commit),
            Ok(outcome) => ("partial", outcome.commit),
            Err(_) => ("failed", 0),
        };
        let facts = [("result", result.to_string()), ("commit", commit.to_string())];
        match (self.call("after-push", &self.after, &facts, &Stop::new()).await, pushed) {
            (Ok(()), pushed) => pushed,
            (Err(error), Ok(outcome)) => Ok(Outcome { after_push: Some(error.to_string()), ..outcome }),
            (Err(error), Err(first)) => {
                tracing::warn!("{error}");
                Err(first)
            }
        }
    }

    async fn call(
        &self,
        name: &'static str,
        hook: &Hook,
        facts: &[(&'static str, String)],
        stop: &Stop,
    ) -> Result<(), HookFailed> {
        let facts = std::iter::once(("hook", name.to_string())).chain(facts.iter().cloned());
        let (ended, said) = match hook {
            Hook::Nothing => return Ok(()),
            Hook::Url(callback) => {
                let json = serde_json::Value::from_iter(facts).to_string();
                match stop.or(callback.post(json, self.timeout)).await {
                    Ok((ended, said)) => (ended.map_err(Why::Url), said),
                    Err(stopped) => (Err(Why::Stopped(stopped)), String::new()),
                }
            }
            Hook::Program(program) => {
                let mut program = program.clone();
                program.environment.extend(facts.map(|(key, value)| (format!("PUSH_{}", key.to_uppercase()), value)));
                let (ended, said) = program.run(self.timeout, stop).await;
                (ended.map_err(Why::Program), said)
            }
        };
        for line in said.lines().filter(|line| !line.trim().is_empty()) {
            tracing::info!(hook = name, "{}", line.escape_debug());
        }
        ended.map_err(|why| HookFailed { name, why })
    }
}

#[cfg(test)]
mod tests {
    use super::{Hook, HookError};

    #[test]
    fn a_hook_is_a_url_or_the_words_of_a_command() {
        let words = |text: &str| match Hook::parse(text, &[]) {
            Ok(Hook::Program(child)) => Ok([vec![child.program], child.arguments].concat()),
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        for (text, expected) in [
            ("sync", vec!["sync"]),
            ("redis-cli -h db 'BGSAVE now'", vec!["redis-cli", "-h", "db", "BGSAVE now"]),
            (r#"["a b", "", "$x"]"#, vec!["a b", "", "$x"]),
            ("  ", vec![]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for wrong in ["say 'unfinished", "[1]", "[]", r#"[""]"#, "http://", "https:///path"] {
            assert_eq!(words(wrong), Err(HookError), "{wrong}");
        }
        assert!(matches!(Hook::parse("HTTP://localhost:8080/freeze?token=x", &[]), Ok(Hook::Url(_))));
        let hidden = format!("{:?}", Hook::parse("http://user:made-up@host/", &[]));
        assert!(!hidden.contains("made-up"), "{hidden}");
    }
}

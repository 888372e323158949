//! Checks that several options share, and what they found.

use super::environment::{Environment, Options};
use super::mistakes::{ConfigError, Mistakes, nearest};
use super::words::parse_boolean;
use crate::secret::Secret;
use std::path::Path;

/// A check of one prefix in progress.
pub(super) struct Check<'a> {
    pub environment: &'a Environment,
    pub options: &'a Options,
    pub mistakes: Mistakes,
    pub warnings: Vec<String>,
    /// Texts that no message may hold.
    pub secrets: Vec<String>,
}

impl Check<'_> {
    /// Notes that an option is wrong.
    pub fn wrong(&mut self, key: &str, problem: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.add(self.options.name(key), problem, hint);
    }

    /// A value fit for a message: not when it is long or is also the value of a secret.
    pub fn shown(&self, value: &str) -> String {
        let secret = self.secrets.iter().any(|secret| value.contains(secret.as_str()));
        let short = value.chars().count() <= 20 && value.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if short && !secret { format!("'{value}'") } else { "(not shown)".to_string() }
    }

    /// A boolean option.
    pub fn boolean(&mut self, key: &str, value: Option<&str>, default: bool) -> bool {
        let Some(text) = value else { return default };
        parse_boolean(text).unwrap_or_else(|error| {
            self.wrong(key, format!("is {}", self.shown(text)), error.to_string());
            default
        })
    }

    /// A text of printable ASCII without spaces, as every identifier of S3 is.
    pub fn word(&mut self, key: &str, value: Option<&str>) -> Option<String> {
        let text = value?;
        if text.chars().all(|c| c.is_ascii_graphic()) {
            return Some(text.to_string());
        }
        self.wrong(key, "has spaces or characters outside ASCII", "look for a quotation mark or a line break too many");
        None
    }

    /// A secret given directly or as a file.
    pub fn secret(&mut self, key: &str, inline: Option<&str>, file: Option<&str>) -> Option<Secret<String>> {
        let file_key = format!("{key}_file");
        match (inline, file) {
            (Some(_), Some(_)) => {
                let both = format!("is given together with {}", self.options.name(key));
                self.wrong(&file_key, both, "keep one of them");
                None
            }
            (Some(text), None) => Some(Secret::new(text.to_string())),
            (None, Some(path)) => match read_secret(Path::new(path)) {
                Ok(secret) => Some(secret),
                Err(problem) => {
                    self.wrong(&file_key, problem, "name a readable file that holds only the value");
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// Two options that mean nothing without each other.
    pub fn both_or_neither(&mut self, one: &str, other: &str) {
        let options = self.options;
        for (given, missing) in [(one, other), (other, one)] {
            if options.has(given) && !options.has(missing) {
                let problem = format!("is missing while {} is set", options.name(given));
                self.mistakes.add(options.variable(missing), problem, "set both, or neither");
            }
        }
    }

    /// Says what `insecure` means, once.
    pub fn warn_of_insecure(&mut self) {
        let name = self.options.name("insecure");
        self.warnings.push(format!("{name}: the store's certificate is not checked; anyone on the way can pose as the store"));
    }

    /// Reports options outside the known ones, with the name that was probably meant. Returns, as written, those that
    /// are accepted without effect.
    pub fn unknown(&mut self, known: &[&[&str]], idle: &[&str], unserved: &[&str]) -> Vec<String> {
        let names = || known.iter().flat_map(|table| table.iter().copied());
        let mut without_effect = Vec::new();
        for key in self.options.keys().filter(|key| !names().any(|name| name == *key)) {
            if idle.contains(&key) {
                without_effect.push(self.options.name(key));
            } else if unserved.contains(&key) {
                let hint = "remove it, or use a remote that does not need it";
                self.mistakes.add(self.options.name(key), "is an option of rclone that is not supported yet", hint);
            } else {
                let hint = match nearest(key, names()) {
                    Some(name) => format!("did you mean {}?", self.options.variable(name)),
                    None => format!("known: {}", names().collect::<Vec<_>>().join(", ").to_uppercase()),
                };
                self.mistakes.add(self.options.name(key), "is not a known option", hint);
            }
        }
        without_effect
    }

    /// Refuses secrets on the command line, where every user of the machine can read them.
    pub fn no_secret_flags(&mut self, keys: &[&str]) {
        for key in keys.iter().filter(|key| self.options.is_on_command_line(key)) {
            let variable = self.options.variable(key);
            let flag = if variable.starts_with("ENCRYPTED") { "-e" } else { "-p" };
            let hint = format!("use {variable}, or {variable}_FILE with the path of a file that holds it");
            self.mistakes.add(format!("{flag} {key}"), "is a secret, and a process list shows flags", hint);
        }
    }

    /// The value and the warnings, if nothing was wrong.
    pub fn finish<T>(self, build: impl FnOnce(Vec<String>) -> T) -> Result<T, ConfigError> {
        self.mistakes.into_result(()).map(|()| build(self.warnings))
    }
}

/// A file's text without the white space around it; the error says what is wrong without showing any of it.
pub(super) fn read_secret(path: &Path) -> Result<Secret<String>, String> {
    Secret::from_file(path).map_err(|problem| format!("({}) {problem}", shown_path(path)))
}

/// The path of a secret's file, fit for a message. People put the secret itself where its path belongs, so only what lies
/// in a directory that exists is shown.
pub(super) fn shown_path(path: &Path) -> String {
    let folder = path.parent().filter(|folder| folder.is_absolute() && folder.parent().is_some());
    if folder.is_some_and(Path::is_dir) { path.display().to_string() } else { "path not shown, no such directory".to_string() }
}

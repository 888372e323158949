//! Everything that is wrong with the configuration, in one report.

use crate::fault::{Fault, Kind};
use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable or flag, as the person wrote it.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one, in the order in which they were found.
    pub mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// The mistakes of both: for reading several things before giving up.
    pub fn and(mut self, other: ConfigError) -> ConfigError {
        self.mistakes.extend(other.mistakes);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => write!(out, "the configuration has a mistake:")?,
            count => write!(out, "the configuration has {count} mistakes:")?,
        }
        for Mistake { name, problem, hint } in &self.mistakes {
            write!(out, "\n  {name} {problem}")?;
            if !hint.is_empty() {
                write!(out, "\n    -> {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Fault for ConfigError {
    fn kind(&self) -> Kind {
        Kind::Usage
    }
}

/// Mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(super) fn add(&mut self, name: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Mistake { name: name.into(), problem: problem.into(), hint: hint.into() });
    }

    /// The value, if nothing was wrong.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        if self.0.is_empty() { Ok(value) } else { Err(ConfigError { mistakes: self.0 }) }
    }
}

/// The candidate that is probably meant by a word in lower case, if one is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3).min(3);
    candidates
        .map(|name| (distance(word, &name.to_lowercase()), name))
        .filter(|(far, _)| *far <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Letters to insert, remove or replace between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (above, letter) in a.chars().enumerate() {
        let mut next = vec![above + 1];
        for ((replaced, removed), other) in row.iter().zip(row.iter().skip(1)).zip(&b) {
            let inserted = next.last().copied().unwrap_or(0) + 1;
            next.push(inserted.min(removed + 1).min(replaced + usize::from(letter != *other)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Mistakes, distance, nearest};

    #[test]
    fn a_typing_error_finds_its_name() {
        let names = ["endpoint", "region", "access_key_id", "env_auth"];
        for (typed, meant) in [
            ("endpont", Some("endpoint")),
            ("regoin", Some("region")),
            ("access_key", Some("access_key_id")),
            ("acces_keyid", Some("access_key_id")),
            ("envauth", Some("env_auth")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typed, names.into_iter()), meant, "{typed}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn one_report_holds_all_mistakes() {
        let mut mistakes = Mistakes::default();
        mistakes.add("REMOTE_A", "is odd", "make it even");
        mistakes.add("REMOTE_B", "is missing", "");
        let text = mistakes.into_result(()).unwrap_err().to_string();
        assert_eq!(text, "the configuration has 2 mistakes:\n  REMOTE_A is odd\n    -> make it even\n  REMOTE_B is missing");
    }
}

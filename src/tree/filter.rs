//! Which paths take part: `--include` and `--exclude`.

use super::RelPath;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// Glob patterns over paths. A path takes part when no exclude pattern matches it or a directory above it, and, if
/// there are include patterns, one matches it or a directory above it. `*` does not cross `/`, `**` does. A pattern
/// without `/` matches a name at any depth.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

/// A pattern that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern '{pattern}': {reason}")]
pub struct FilterError {
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Filter {
    /// Compiles the patterns; reports the first that is wrong.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Filter, FilterError> {
        Ok(Filter { include: compile(include)?, exclude: compile(exclude)? })
    }

    /// Whether every path takes part.
    pub fn is_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether `path` itself takes part.
    pub fn admits(&self, path: &RelPath) -> bool {
        !self.exclude.as_ref().is_some_and(|set| matches_here_or_above(set, path))
            && self.include.as_ref().is_none_or(|set| matches_here_or_above(set, path))
    }

    /// Whether anything below the directory `path` may take part: false lets a walk skip the subtree.
    pub fn may_admit_below(&self, path: &RelPath) -> bool {
        !self.exclude.as_ref().is_some_and(|set| matches_here_or_above(set, path))
    }
}

fn matches_here_or_above(set: &GlobSet, path: &RelPath) -> bool {
    path.as_path().ancestors().any(|p| !p.as_os_str().is_empty() && set.is_match(p))
}

fn compile(patterns: &[String]) -> Result<Option<GlobSet>, FilterError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern).map_err(|error| FilterError { pattern: pattern.clone(), reason: error.kind().to_string() })?);
    }
    let built = set.build().map_err(|error| FilterError { pattern: patterns.join(" "), reason: error.kind().to_string() })?;
    Ok(Some(built))
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    let rooted = pattern.trim_start_matches('/').trim_end_matches('/');
    let anywhere = if pattern.contains('/') { rooted.to_string() } else { format!("**/{rooted}") };
    GlobBuilder::new(&anywhere).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::tree::RelPath;

    fn admits(include: &[&str], exclude: &[&str], path: &str) -> bool {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        Filter::new(&own(include), &own(exclude)).unwrap().admits(&RelPath::new(path).unwrap())
    }

    #[test]
    fn patterns_admit_and_exclude() {
        assert!(admits(&[], &[], "a/b"));
        assert!(!admits(&[], &["*.log"], "a/b.log"));
        assert!(!admits(&[], &["cache"], "a/cache/x"));
        assert!(!admits(&[], &["/a/cache/"], "a/cache/x"));
        assert!(admits(&[], &["/cache"], "a/cache/x"));
        assert!(admits(&["uploads/**"], &[], "uploads/2026/a.png"));
        assert!(!admits(&["uploads/**"], &[], "other"));
        assert!(!admits(&["uploads"], &["*.tmp"], "uploads/a.tmp"));
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let error = Filter::new(&[], &["a[".to_string()]).unwrap_err();
        assert_eq!(error.pattern, "a[");
    }
}

//! The options of `type=local`, and remote paths.

use super::check::Check;
use super::raw::RawRemote;
use crate::contract::env;
use std::path::{Path, PathBuf};

/// The folder of the embedded remote below the data directory.
const FOLDER: &str = "volume-syncing-controller";

/// The folder under which relative remote paths lie; a stand-in if there is none, which is noted in `check`.
pub(super) fn root(raw: &RawRemote, check: &mut Check<'_>) -> PathBuf {
    if let Some(root) = raw.root.as_deref().map(Path::new) {
        if !root.is_absolute() {
            check.wrong("root", "is not an absolute path", "write it from the root: /data/remote");
        }
        return root.to_path_buf();
    }
    // The convention says that a relative XDG_DATA_HOME is to be ignored.
    let data = check.environment.get(env::XDG_DATA_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || check.environment.get(env::HOME).map(|home| Path::new(home).join(".local/share"));
    data.or_else(home).map(|data| data.join(FOLDER)).unwrap_or_else(|| {
        let hint = format!("set it to a folder, or {}=s3 with a bucket for a real store", check.options.variable("type"));
        let problem = "is needed: there is no HOME to keep the embedded remote in";
        check.mistakes.add(check.options.variable("root"), problem, hint);
        PathBuf::new()
    })
}

/// Whether two remote paths are one. `/`, `./` and nothing are, too.
pub fn is_same_path(one: &str, other: &str) -> bool {
    names(one).is_some_and(|one| Some(one) == names(other))
}

/// The names of a remote path: `/` between them, empty and `.` ones left out. `None` when one is `..` or unprintable.
pub(super) fn names(remote_path: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = remote_path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let fit = names.iter().all(|name| *name != ".." && !name.chars().any(char::is_control));
    fit.then_some(names)
}

//! What is made of a remote's options, and made anew when a file that they name was swapped: secrets, keys and certificates are
//! mounted, and change while the process runs. What there was goes on as long as the new files are of no use.

use super::config::ServedConfig;
use super::error::StoreError;
use crate::contract::remotes::Form;
use crate::runtime::{clock, limits};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use zeroize::Zeroizing;

/// What lies further on in a file is not looked at: a bundle of all public authorities is a quarter of this.
const LOOKED_AT_BYTES: u64 = 1 << 20;

pub(super) struct Followed<T> {
    make: fn(&ServedConfig) -> Result<T, StoreError>,
    files: Vec<PathBuf>,
    state: Mutex<State<T>>,
}

struct State<T> {
    config: Arc<ServedConfig>,
    made: T,
    /// What the files held before it was made; nothing of those that could not be read.
    held: Vec<Option<Zeroizing<Vec<u8>>>>,
    looked: Instant,
    /// That the files are of no use was reported.
    is_reported: bool,
}

impl<T: Clone> Followed<T> {
    pub(super) fn open(
        config: &ServedConfig,
        make: fn(&ServedConfig) -> Result<T, StoreError>,
    ) -> Result<Followed<T>, StoreError> {
        let secrets = config.secret_files.iter().flat_map(|files| files.paths.values().cloned());
        let paths = config.kind.options.iter().filter(|option| option.form == Form::Path);
        let paths = paths.filter_map(|option| config.get(option.name)).map(PathBuf::from);
        let files: Vec<PathBuf> = secrets.chain(paths).collect();
        let state = State::make(config, &files, make)?;
        Ok(Followed { make, files, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The options as they were when something was made of them last.
    pub(super) fn config(&self) -> Arc<ServedConfig> {
        Arc::clone(&self.state().config)
    }

    /// The options as they are, and what is made of them. Looks at the files, though not at every call.
    pub(super) fn current(&self) -> (Arc<ServedConfig>, T) {
        let mut state = self.state();
        if !self.files.is_empty() && clock::now().duration_since(state.looked) >= limits::KEYS_LOOK {
            state.looked = clock::now();
            self.follow(&mut state);
        }
        (Arc::clone(&state.config), state.made.clone())
    }

    fn follow(&self, state: &mut State<T>) {
        if held(&self.files) == state.held {
            return;
        }
        match State::make(&state.config, &self.files, self.make) {
            Ok(new) => {
                tracing::info!("files of the remote's options were changed, and are used from now on");
                *state = new;
            }
            Err(error) => {
                if !std::mem::replace(&mut state.is_reported, true) {
                    tracing::warn!(%error, "changed files of the remote's options cannot be used; what there was still is");
                }
            }
        }
    }
}

impl<T> State<T> {
    fn make(
        config: &ServedConfig,
        files: &[PathBuf],
        make: fn(&ServedConfig) -> Result<T, StoreError>,
    ) -> Result<State<T>, StoreError> {
        // Before the options are read: what is swapped in between is seen at the next look.
        let held = held(files);
        let config = config.renewed()?;
        Ok(State { made: make(&config)?, config: Arc::new(config), held, looked: clock::now(), is_reported: false })
    }
}

fn held(files: &[PathBuf]) -> Vec<Option<Zeroizing<Vec<u8>>>> {
    let read = |path: &Path| {
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(path).and_then(|file| file.take(LOOKED_AT_BYTES).read_to_end(&mut bytes)).ok()?;
        Some(bytes)
    };
    files.iter().map(|path| read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::remotes::remote_type;
    use crate::secret::Secret;
    use crate::store::SecretFiles;
    use std::collections::BTreeMap;

    fn make(config: &ServedConfig) -> Result<String, StoreError> {
        match config.text("pass") {
            "useless" => Err(StoreError::usage("nothing is made of this", "swap it")),
            pass => Ok(format!("{pass} at {}", config.text("url"))),
        }
    }

    fn read(config: &ServedConfig) -> Result<BTreeMap<&'static str, Secret<String>>, String> {
        let mut options = config.options.clone();
        for (name, path) in config.secret_files.iter().flat_map(|files| &files.paths) {
            options.insert(name, Secret::from_file(path)?);
        }
        Ok(options)
    }

    #[test]
    fn what_is_made_follows_the_files_and_outlives_useless_ones() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text: &str| std::fs::write(file.path(), text).expect("written");
        let config = ServedConfig {
            kind: remote_type("webdav").expect("a type"),
            container: String::new(),
            prefix: String::new(),
            is_absolute: false,
            options: [("url", "here"), ("pass", "of the start")].map(|(name, text)| (name, Secret::new(text.into()))).into(),
            secret_files: Some(SecretFiles { paths: [("pass", file.path().to_owned())].into(), read }),
            bandwidth: None,
        };
        write("first");
        let followed = Followed::open(&config, make).expect("made");
        let later = || {
            let mut state = followed.state();
            state.looked = state.looked.checked_sub(limits::KEYS_LOOK).expect("a moment ago");
            drop(state);
            let (config, made) = followed.current();
            assert!(made.starts_with(config.text("pass")), "what is made is made of the options");
            made
        };
        write("second");
        assert_eq!(followed.current().1, "first at here", "it was looked at just now");
        assert_eq!(later(), "second at here");
        for useless in ["", "useless"] {
            write(useless);
            assert_eq!(later(), "second at here");
            assert!(followed.state().is_reported);
        }
        write("third");
        assert_eq!(later(), "third at here");
        assert!(!followed.state().is_reported);
        std::fs::remove_file(file.path()).expect("removed");
        assert_eq!(later(), "third at here");
    }
}

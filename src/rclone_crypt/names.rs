//! Keys of stored objects into paths of the volume.

use super::encoding::FilenameEncoding;
use super::{Options, obfuscated, spelling, version};
use crate::fault::{Fault, Kind};
use crate::seal::RcloneKeys;
use crate::tree::{PathError, RelPath, Shown};
use std::fmt;
use std::sync::Arc;

/// The cipher works on whole blocks of this size.
const BLOCK_BYTES: usize = 16;
/// The longest encrypted name: what the cipher takes at most.
const NAME_BYTES: usize = 128 * BLOCK_BYTES;

/// How names are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilenameEncryption {
    /// AES, each name for itself.
    Standard,
    /// Characters rotated: it hides a name from a glance and from nobody else.
    Obfuscate,
    /// In clear, with a suffix.
    Off,
}

/// A key that is no encrypted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// The key, as it is stored.
    pub key: String,
    /// What is wrong with it.
    pub problem: NameProblem,
}

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Characters or length are not of the encoding.
    #[error("a name in it is not of the encoding of encrypted names")]
    Encoding,
    /// Not whole blocks, none, or too many of them.
    #[error("a name in it does not have the length of an encrypted one")]
    Length,
    /// It decrypts to what nobody encrypted: another password, or no encrypted name.
    #[error("a name in it does not decrypt: another password, or not encrypted")]
    Padding,
    /// It is not of the form of obfuscated names, or its sum is wrong.
    #[error("a name in it was not obfuscated with this password")]
    NotObfuscated,
    /// Without the suffix that names in clear have, or nothing else.
    #[error("it does not end in the suffix")]
    Suffix,
    /// A name would lead to another place.
    #[error("a name in it is '.' or '..', or has a slash or NUL in it")]
    Escape,
    /// A path that no volume has.
    #[error("what it stands for is no path: {0}")]
    Path(PathError),
}

impl fmt::Display for NameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "'{}' is no name that rclone crypt wrote with these options: {}", Shown(self.key.as_bytes()), self.problem)
    }
}

impl std::error::Error for NameError {}

impl Fault for NameError {
    fn kind(&self) -> Kind {
        Kind::Corrupt
    }
}

/// What reads names.
#[derive(Debug, Clone)]
pub(super) struct Names {
    keys: Arc<RcloneKeys>,
    encryption: FilenameEncryption,
    directories: bool,
    encoding: FilenameEncoding,
    suffix: String,
}

/// A name's place in its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Parent,
    Last,
}

impl Names {
    pub(super) fn new(keys: Arc<RcloneKeys>, options: &Options) -> Names {
        Names {
            keys,
            encryption: options.filename_encryption,
            directories: options.directory_name_encryption,
            encoding: options.filename_encoding,
            suffix: options.suffix.clone(),
        }
    }

    /// The path of a file's key.
    pub(super) fn file(&self, key: &str) -> Result<RelPath, NameError> {
        self.path(key, |name, place| match (self.encryption, place) {
            (FilenameEncryption::Off, Place::Parent) => Ok(spelling::from_store(name)),
            (FilenameEncryption::Off, Place::Last) => {
                let name = spelling::from_store(name);
                let bare = name.strip_suffix(self.suffix.as_bytes()).filter(|bare| !bare.is_empty());
                Ok(bare.ok_or(NameProblem::Suffix)?.to_vec())
            }
            (_, Place::Parent) if !self.directories => Ok(spelling::from_store(name)),
            (_, place) => self.open(name, place),
        })
    }

    /// The path of a directory's key.
    pub(super) fn directory(&self, key: &str) -> Result<RelPath, NameError> {
        let in_clear = self.encryption == FilenameEncryption::Off || !self.directories;
        self.path(key.strip_suffix('/').unwrap_or(key), |name, place| {
            if in_clear { Ok(spelling::from_store(name)) } else { self.open(name, place) }
        })
    }

    fn path(&self, key: &str, open: impl Fn(&str, Place) -> Result<Vec<u8>, NameProblem>) -> Result<RelPath, NameError> {
        let error = |problem| NameError { key: key.to_string(), problem };
        let mut path = Vec::with_capacity(key.len());
        let mut names = key.split('/').peekable();
        while let Some(name) = names.next() {
            let place = if names.peek().is_some() { Place::Parent } else { Place::Last };
            let standard = open(name, place).map_err(error)?;
            // In clear too: rclone spells such names otherwise, so somebody else put them there.
            if is_elsewhere(name.as_bytes()) || is_elsewhere(&standard) {
                return Err(error(NameProblem::Escape));
            }
            path.extend(spelling::to_disk(&standard));
            if place == Place::Parent {
                path.push(b'/');
            }
        }
        RelPath::new(path).map_err(|problem| error(NameProblem::Path(problem)))
    }

    /// Decrypts one name, beside the mark of an old version that the last one may have.
    fn open(&self, name: &str, place: Place) -> Result<Vec<u8>, NameProblem> {
        let opened = self.open_standard(&spelling::from_store(name), place);
        match spelling::from_store_unquoted(name) {
            Some(unquoted) if opened == Err(NameProblem::NotObfuscated) => self.open_standard(&unquoted, place),
            _ => opened,
        }
    }

    fn open_standard(&self, standard: &[u8], place: Place) -> Result<Vec<u8>, NameProblem> {
        let text = std::str::from_utf8(standard).ok();
        match text.filter(|_| place == Place::Last).and_then(version::split) {
            // A file that is called like a mark has no name beside it.
            Some((bare, mark)) if bare.is_empty() => Ok(mark.as_bytes().to_vec()),
            Some((bare, mark)) => Ok(version::join(&self.open_bare(bare.as_bytes())?, mark)),
            None => self.open_bare(standard),
        }
    }

    fn open_bare(&self, name: &[u8]) -> Result<Vec<u8>, NameProblem> {
        if self.encryption == FilenameEncryption::Obfuscate {
            return obfuscated::open(name, self.keys.rotation()).ok_or(NameProblem::NotObfuscated);
        }
        let text = std::str::from_utf8(name).map_err(|_| NameProblem::Encoding)?;
        let mut bytes = self.encoding.decode(text).ok_or(NameProblem::Encoding)?;
        if bytes.is_empty() || bytes.len() > NAME_BYTES || !bytes.len().is_multiple_of(BLOCK_BYTES) {
            return Err(NameProblem::Length);
        }
        self.keys.open_name(&mut bytes);
        let padding = bytes.last().map_or(0, |last| usize::from(*last));
        let kept =
            bytes.len().checked_sub(padding).filter(|_| (1..=BLOCK_BYTES).contains(&padding)).ok_or(NameProblem::Padding)?;
        if bytes.iter().skip(kept).any(|byte| usize::from(*byte) != padding) {
            return Err(NameProblem::Padding);
        }
        bytes.truncate(kept);
        Ok(bytes)
    }
}

/// Whether a name is more than a name.
fn is_elsewhere(name: &[u8]) -> bool {
    name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, b'/' | 0))
}

#[cfg(test)]
mod tests;

//! Reads what rclone's crypt remote wrote: the names of its objects and their contents. It exists so that data kept
//! encrypted by rclone, or by a predecessor that ran rclone, can be restored once and pushed into a vault.
//!
//! Pure: bytes in, names and bytes out. It never writes the format, and never yields a path that leaves the volume. The
//! keys stay in [`crate::seal`].
//!
//! What the format cannot tell, nobody here can: nothing binds a content to its name, so two objects may have been
//! exchanged; and a content cut off behind a whole block looks complete (see [`Ending`]).

mod content;
mod encoding;
mod names;
mod obfuscated;
mod spelling;
mod version;

pub use content::{BLOCK_BYTES, ContentError, Decryptor, Ending, HEADER_BYTES};
pub use encoding::FilenameEncoding;
pub use names::{FilenameEncryption, NameError, NameProblem};

use crate::fault::{Fault, Kind};
use crate::seal::{ObscuredError, RcloneKeys, reveal};
use crate::secret::Secret;
use crate::tree::RelPath;
use names::Names;
use std::sync::Arc;

/// How the remote was configured, in rclone's words.
#[derive(Debug, Clone)]
pub struct Options {
    /// The password as `rclone obscure` prints it, which is how rclone's configuration holds it.
    pub password: Secret<String>,
    /// The password that is the salt, obscured as well.
    pub password2: Option<Secret<String>>,
    /// How names are encrypted.
    pub filename_encryption: FilenameEncryption,
    /// Whether that holds for the names of directories too.
    pub directory_name_encryption: bool,
    /// How encrypted names are written as text.
    pub filename_encoding: FilenameEncoding,
    /// What names end in when they are not encrypted; may be empty.
    pub suffix: String,
    /// Contents are stored as they are.
    pub no_data_encryption: bool,
}

impl Options {
    /// rclone's defaults for everything but the password.
    pub fn new(password: Secret<String>) -> Options {
        Options {
            password,
            password2: None,
            filename_encryption: FilenameEncryption::Standard,
            directory_name_encryption: true,
            filename_encoding: FilenameEncoding::Base32,
            suffix: ".bin".to_string(),
            no_data_encryption: false,
        }
    }
}

/// Options from which no keys can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The password.
    #[error("the password of the rclone crypt remote {0}")]
    Password(ObscuredError),
    /// The second password.
    #[error("the second password of the rclone crypt remote {0}")]
    Password2(ObscuredError),
}

impl Fault for OptionsError {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("give it as rclone's configuration holds it, or as `rclone obscure` prints it".to_string())
    }
}

/// An rclone crypt remote that can be read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RcloneCrypt {
    names: Names,
    /// `None` when contents are not encrypted.
    content_keys: Option<Arc<RcloneKeys>>,
}

impl RcloneCrypt {
    /// Derives the keys. It takes some tens of milliseconds: once per run, and on a thread that may block.
    pub fn new(options: &Options) -> Result<RcloneCrypt, OptionsError> {
        let password = reveal(&options.password).map_err(OptionsError::Password)?;
        let password2 = options.password2.as_ref().map(reveal).transpose().map_err(OptionsError::Password2)?;
        let keys = Arc::new(RcloneKeys::derive(&password, password2.as_ref()));
        let content_keys = (!options.no_data_encryption).then(|| keys.clone());
        Ok(RcloneCrypt { names: Names::new(keys, options), content_keys })
    }

    /// The path of the file that is stored under a key, relative to the remote's root.
    ///
    /// A key that rclone did not write with these options is an error for this key alone: other objects may lie beside.
    pub fn path(&self, encrypted_key: &str) -> Result<RelPath, NameError> {
        self.names.file(encrypted_key)
    }

    /// The path of a directory that is stored for itself; its key may end in `/`, as directory markers do.
    pub fn directory(&self, encrypted_key: &str) -> Result<RelPath, NameError> {
        self.names.directory(encrypted_key)
    }

    /// The size of a file whose object has this size.
    pub fn plain_size(&self, encrypted: u64) -> Result<u64, ContentError> {
        if self.content_keys.is_none() { Ok(encrypted) } else { content::plain_size(encrypted) }
    }

    /// A reader of one object's content.
    pub fn decryptor(&self) -> Decryptor {
        Decryptor::new(self.content_keys.clone())
    }
}

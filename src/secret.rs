//! Values that must not be seen: wiped when dropped, never printed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

/// A mounted secret is never larger: whatever is, is the wrong file.
const FILE_BYTES: u64 = 64 << 10;

/// A secret value. `Debug` prints a placeholder; there is no `Display`.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value; it is wiped when the wrapper is dropped.
    pub fn new(value: T) -> Secret<T> {
        Secret(Zeroizing::new(value))
    }

    /// The value itself. Calls of this are what a reviewer looks for.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// A file's text without the white space around it; the error says what is wrong without showing any of it.
    pub fn from_file(path: &Path) -> Result<Secret<String>, String> {
        match text_of_file(path)?.trim() {
            "" => Err("is empty".to_owned()),
            value => Ok(Secret::new(value.to_owned())),
        }
    }
}

/// The text of a small file that holds secrets; the error shows neither text nor path.
pub fn text_of_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let opened = File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text));
    opened.map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES { Err(format!("is larger than {FILE_BYTES} bytes")) } else { Ok(text) }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new(String::from("made-up-password"));
        assert_eq!(format!("{secret:?}"), "<secret>");
    }
}

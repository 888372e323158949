//! A path inside a volume, as bytes.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path relative to a volume's root: one or more names joined by `/`, each non-empty, none `.` or `..`, no NUL.
/// Bytes, not text: Linux file names need not be UTF-8.
///
/// Paths are ordered as a tree walk meets them (a directory, then all below it, then the next sibling): bytewise with
/// `/` counted as 0x00. The vault's records and every listing are in this order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why some bytes are not a [`RelPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes at all.
    #[error("the path is empty")]
    Empty,
    /// A name between slashes is empty (leading, trailing or doubled slash).
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A name is `.` or `..`.
    #[error("the path has a '.' or '..' segment")]
    DotSegment,
    /// A NUL byte.
    #[error("the path has a NUL byte")]
    Nul,
    /// Longer than [`RelPath::MAX_BYTES`].
    #[error("the path is longer than 64 KiB")]
    TooLong,
    /// A name longer than 255 bytes, which no Linux file system stores.
    #[error("a name in the path is longer than 255 bytes")]
    NameTooLong,
}

impl RelPath {
    /// The longest path accepted, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The longest single name accepted, in bytes.
    pub const MAX_NAME_BYTES: usize = 255;

    /// Checks bytes from outside.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<RelPath, PathError> {
        let bytes: Vec<u8> = bytes.into();
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.len() > Self::MAX_BYTES {
            return Err(PathError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        for name in bytes.split(|b| *b == b'/') {
            match name {
                b"" => return Err(PathError::EmptySegment),
                b"." | b".." => return Err(PathError::DotSegment),
                long if long.len() > Self::MAX_NAME_BYTES => return Err(PathError::NameTooLong),
                _ => {}
            }
        }
        Ok(RelPath(bytes.into_boxed_slice()))
    }

    /// The path's bytes, `/` between names.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative [`Path`].
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last name.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// The directory it lies in; `None` at the volume's root.
    pub fn parent(&self) -> Option<RelPath> {
        let cut = self.0.iter().rposition(|b| *b == b'/')?;
        Some(RelPath(self.0[..cut].into()))
    }

    /// The path of `name` inside this directory.
    pub fn join(&self, name: &[u8]) -> Result<RelPath, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        RelPath::new(bytes)
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &RelPath) -> bool {
        self.0.starts_with(&other.0) && (self.0.len() == other.0.len() || self.0[other.0.len()] == b'/')
    }
}

/// Compares two paths' bytes in tree-walk order.
fn tree_order(a: &[u8], b: &[u8]) -> Ordering {
    let shared = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    match (a.get(shared), b.get(shared)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(b'/'), Some(_)) => Ordering::Less,
        (Some(_), Some(b'/')) => Ordering::Greater,
        (Some(x), Some(y)) => x.cmp(y),
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &RelPath) -> Ordering {
        tree_order(&self.0, &other.0)
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &RelPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(out)
    }
}

/// Bytes of a name or a link's target, readable everywhere: what is not printable text is escaped, so that a name cannot
/// forge a log line or steer a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' {
                    write!(out, "{}", character.escape_default())?;
                } else {
                    write!(out, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{PathError, RelPath};

    #[test]
    fn paths_that_could_escape_are_refused() {
        for (bytes, why) in [
            (&b""[..], PathError::Empty),
            (b"/a", PathError::EmptySegment),
            (b"a/", PathError::EmptySegment),
            (b"a//b", PathError::EmptySegment),
            (b"..", PathError::DotSegment),
            (b"a/../b", PathError::DotSegment),
            (b"./a", PathError::DotSegment),
            (b"a\0b", PathError::Nul),
        ] {
            assert_eq!(RelPath::new(bytes), Err(why), "{bytes:?}");
        }
        assert_eq!(RelPath::new(vec![b'a'; 256]), Err(PathError::NameTooLong));
    }

    #[test]
    fn order_is_that_of_a_tree_walk() {
        let mut paths: Vec<RelPath> =
            ["a.b", "a/b", "a", "a/b/c", "a!", "b", "a/b-"].iter().map(|p| RelPath::new(*p).unwrap()).collect();
        paths.sort();
        let text: Vec<String> = paths.iter().map(|p| p.to_string()).collect();
        assert_eq!(text, ["a", "a/b", "a/b/c", "a/b-", "a!", "a.b", "b"]);
    }

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        assert_eq!(RelPath::new(&b"a\nb\xff"[..]).unwrap().to_string(), "a\\nb\\xff");
    }
}

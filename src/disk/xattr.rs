//! Extended attributes: which are kept, and how they are read.

use super::error::DiskError;
use super::volume::Volume;
use crate::tree::RelPath;
use rustix::fd::BorrowedFd;
use rustix::fs::{fgetxattr, fgetxattr_query, flistxattr, flistxattr_query};
use rustix::io::Errno;

/// One extended attribute: name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// Names and values of one entry together; the kernel's own bound for either.
const XATTR_BYTES: usize = 64 << 10;
/// How often a list that grows between asking for its size and reading it is asked for again.
const TRIES: u32 = 8;

/// Whether an attribute travels: `security.*` and `trusted.*` belong to the machine, not to the data.
pub(super) fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// The kept attributes of an open file or directory, sorted by name.
pub(super) fn read_xattrs(volume: &Volume, path: &RelPath, fd: BorrowedFd<'_>) -> Result<Vec<Xattr>, DiskError> {
    let failed = |errno| volume.fault("reading the extended attributes of", Some(path), errno);
    let mut found = Vec::new();
    let mut bytes = 0;
    for name in names(fd).map_err(failed)? {
        let value = match read_growing(|| fgetxattr_query(fd, name.as_slice()), |buffer| fgetxattr(fd, name.as_slice(), buffer)) {
            Ok(value) => value,
            // Removed since it was listed.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        bytes += name.len() + value.len();
        if bytes > XATTR_BYTES {
            return Err(DiskError::XattrsTooLarge { path: volume.text(Some(path)), limit: XATTR_BYTES });
        }
        found.push((name, value));
    }
    Ok(found)
}

/// The names of the kept attributes, sorted. A file system without attributes has none.
pub(super) fn names(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let list = match read_growing(|| flistxattr_query(fd), |buffer| flistxattr(fd, buffer)) {
        Ok(list) => list,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut names: Vec<Vec<u8>> = list.split(|b| *b == 0).filter(|name| is_kept(name)).map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    Ok(names)
}

/// Asks for the size first: most files have nothing, and that answer needs no buffer.
fn read_growing(
    size: impl Fn() -> Result<usize, Errno>,
    read: impl Fn(&mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    for _ in 0..TRIES {
        let size = size()?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; size];
        match read(&mut buffer) {
            Ok(filled) => {
                buffer.truncate(filled);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::RANGE)
}

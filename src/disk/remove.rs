//! Taking things away.

use super::error::{DiskError, gone};
use super::stat::stat_fd;
use super::volume::{Volume, us};
use crate::tree::{FileType, RelPath};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, unlinkat};
use rustix::io::Errno;

/// Removes one entry of the given type; true when this call removed it. False when nothing of that type is there any
/// more, and for a directory that is not empty: what is in it was not part of the plan.
pub fn remove(volume: &Volume, path: &RelPath, file_type: FileType) -> Result<bool, DiskError> {
    let flags = if file_type == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    let answer = volume.parent(path).and_then(|(dir, name)| unlinkat(&dir, name, flags));
    let answer = if answer == Err(Errno::ACCESS) { remove_from_closed(volume, path, flags) } else { answer };
    match answer {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR) => Ok(false),
        Err(errno) if gone(errno) => Ok(false),
        Err(errno) => Err(volume.fault("removing", Some(path), errno)),
    }
}

/// Removes from a directory of ours that forbids even its owner to write: it is opened up meanwhile. A crash leaves it
/// open; the next run gives it its mode.
fn remove_from_closed(volume: &Volume, path: &RelPath, flags: AtFlags) -> Result<(), Errno> {
    let (_, name) = volume.parent(path)?;
    let dir = match path.parent() {
        Some(above) => volume.open_beneath(above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?,
        None => volume.reopen_root()?,
    };
    let stat = stat_fd(dir.as_fd())?;
    let mode = Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o7777);
    if stat.stx_uid != us().0 || mode.contains(Mode::RWXU) {
        return Err(Errno::ACCESS);
    }
    fchmod(&dir, mode | Mode::RWXU)?;
    let removed = unlinkat(&dir, name, flags);
    fchmod(&dir, mode)?;
    removed
}

#[cfg(test)]
mod tests {
    use super::remove;
    use crate::disk::Volume;
    use crate::tree::{FileType, RelPath};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_was_meant_is_removed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "").unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("full/x")).unwrap();
        fs::create_dir(root.path().join("empty")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        let volume = Volume::open(root.path()).unwrap();
        for (path, file_type, removed) in [
            ("full", FileType::Directory, false),
            ("full", FileType::File, false),
            ("file", FileType::Directory, false),
            ("file", FileType::File, true),
            ("file", FileType::File, false),
            ("empty", FileType::Directory, true),
            ("nowhere/x", FileType::File, false),
            ("link/keep", FileType::File, false),
            ("link", FileType::Symlink, true),
        ] {
            assert_eq!(remove(&volume, &RelPath::new(path).unwrap(), file_type).unwrap(), removed, "{path} {file_type:?}");
        }
        assert!(outside.path().join("keep").exists());
    }
}

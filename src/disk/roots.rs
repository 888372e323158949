//! Which directories belong to the machine and are never a volume.

use std::path::{Component, Path};

/// Directories that are refused themselves; below them volumes are common.
const ALONE: [&str; 9] = ["/", "/root", "/home", "/run", "/var", "/var/lib", "/var/log", "/var/tmp", "/tmp"];
/// Directories that are refused with everything below them.
const WITH_ALL_BELOW: [&str; 11] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys"];
/// Refused with all below: programs and libraries.
const PROGRAMS: &str = "/usr";

/// Why a directory must not be written to or emptied, if it must not. Takes a resolved absolute path
/// ([`crate::disk::Volume::path`]); one that is not resolved is refused.
pub fn forbidden_root(path: &Path) -> Option<&'static str> {
    if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
        return Some("it is not an absolute path with '..' resolved");
    }
    if path == Path::new("/") {
        return Some("it is the root of the file system");
    }
    // Paths compare by component: a trailing slash makes no difference, and "/etcetera" is not below "/etc".
    if ALONE.iter().any(|root| path == Path::new(root)) {
        return Some("it is a directory of the system that many programs share");
    }
    if path.starts_with(PROGRAMS) || WITH_ALL_BELOW.iter().any(|root| path.starts_with(root)) {
        return Some("it belongs to the operating system");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::forbidden_root;
    use std::path::Path;

    #[test]
    fn the_machine_is_refused_and_volumes_are_not() {
        for path in [
            "/",
            "//",
            "/root",
            "/home/",
            "/etc",
            "/etc/nginx",
            "/usr/bin",
            "/proc/1/root",
            "/dev/shm",
            "/var",
            "/var/lib/",
            "/tmp",
            "/data/../etc",
            "data",
            "/lib64",
        ] {
            assert!(forbidden_root(Path::new(path)).is_some(), "{path}");
        }
        for path in
            ["/data", "/var/www/html", "/var/lib/mysql", "/home/me/site", "/etcetera", "/Root", "/tmp/x", "/mnt", "/srv", "/opt"]
        {
            assert_eq!(forbidden_root(Path::new(path)), None, "{path}");
        }
    }
}

//! Which key a path has.

use crate::contract::layouts::PLAIN_FOLDER;
use crate::seal::FileDigest;
use crate::store::Bucket;
use crate::tree::RelPath;
use data_encoding::HEXLOWER;

/// The key of a file's object: the path itself where the store takes it unchanged, else a name made from its digest.
pub fn key_of(bucket: &Bucket, path: &RelPath) -> String {
    match std::str::from_utf8(path.as_bytes()) {
        Ok(text) if !is_reserved(text) && bucket.takes_key(text) => text.to_owned(),
        _ => raw_key(path),
    }
}

fn raw_key(path: &RelPath) -> String {
    format!("{PLAIN_FOLDER}/raw/{}", HEXLOWER.encode(&FileDigest::of(path.as_bytes()).0))
}

/// Whether a key is that of a manifest's folder or lies in one: ours, or that of a remote further down. A restore would
/// else make files of the manifest, and a push from there would send them back when they are out of date.
pub fn is_reserved(key: &str) -> bool {
    key.split('/').any(|name| name == PLAIN_FOLDER)
}

/// The path of an object that another program may have made; `None` when no file can have that name.
pub fn path_of(key: &str) -> Option<RelPath> {
    RelPath::new(key.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::{key_of, path_of};
    use crate::store::{Bucket, RemoteConfig};
    use crate::tree::RelPath;

    #[test]
    fn names_that_a_store_would_change_are_kept_apart() {
        let bucket = Bucket::connect(&RemoteConfig::Memory { name: "names".into() }).unwrap();
        let key = |path: &[u8]| key_of(&bucket, &RelPath::new(path).unwrap());
        for same in ["a", " a", "a ", "a/b c", "Zürich/ö", "a+b&c=d?e#f%20", ".svault-plainly", "x/.svault-plain.d/y"] {
            assert_eq!(key(same.as_bytes()), same);
        }
        let long = "d/".repeat(600) + "x";
        for other in
            [&b"a\nb"[..], b"\xff", b".svault-plain", b".svault-plain/meta", b"x/.svault-plain/y", b"a/.tmp-x", long.as_bytes()]
        {
            let key = key(other);
            assert!(key.starts_with(".svault-plain/raw/") && key.len() == 50, "{key}");
        }
    }

    #[test]
    fn keys_that_no_file_can_have_are_no_paths() {
        for key in ["a//b", "/a", "a/", "a/../b", "..", "./a"] {
            assert!(path_of(key).is_none(), "{key}");
        }
        assert_eq!(path_of(" a ").unwrap().as_bytes(), b" a ");
    }
}

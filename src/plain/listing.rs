//! All objects of a remote in path order, however many there are. Stores list in the order of keys, in which `a.b` comes
//! before `a/b`; a walk through a volume meets them the other way round.

use super::error::PlainError;
use super::names::{is_reserved, path_of};
use crate::disk::{NameSorter, SortedNames};
use crate::runtime::{Stop, limits};
use crate::store::{Bucket, Mark, Object};
use crate::tree::{RelPath, Timestamp};
use std::path::Path;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The file's path.
    pub path: RelPath,
    /// A placeholder for an empty folder.
    pub is_folder: bool,
    /// The key, where the path is not made from it as it is.
    pub key: Option<String>,
    /// Its length.
    pub size: u64,
    /// Its state.
    pub mark: Mark,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// A finished listing.
pub struct Listing {
    names: SortedNames,
    record: Vec<u8>,
    /// Objects in it.
    pub objects: u64,
    /// Objects whose keys no file can have, and the first of them.
    pub odd: (u64, Option<String>),
}

impl Listing {
    /// Lists everything below the remote's root except manifests. A listing that fails anywhere is an error: nothing
    /// is concluded from a part.
    pub async fn read(bucket: &Bucket, spill: &Path, stop: &Stop) -> Result<Listing, PlainError> {
        Listing::read_as(bucket, spill, &mut as_it_is, stop).await
    }

    /// The same, with a look at what belongs to manifests.
    pub async fn read_beside(
        bucket: &Bucket,
        spill: &Path,
        reserved: &mut (dyn FnMut(Object) + Send),
        stop: &Stop,
    ) -> Result<Listing, PlainError> {
        Listing::walk(bucket, spill, &mut as_it_is, reserved, stop).await
    }

    /// Lists like [`Listing::read`]; `named` says what an object is, if it can be anything.
    pub async fn read_as(
        bucket: &Bucket,
        spill: &Path,
        named: &mut (dyn FnMut(&Object) -> Option<Listed> + Send),
        stop: &Stop,
    ) -> Result<Listing, PlainError> {
        Listing::walk(bucket, spill, named, &mut drop, stop).await
    }

    async fn walk(
        bucket: &Bucket,
        spill: &Path,
        named: &mut (dyn FnMut(&Object) -> Option<Listed> + Send),
        reserved: &mut (dyn FnMut(Object) + Send),
        stop: &Stop,
    ) -> Result<Listing, PlainError> {
        let mut sorter = NameSorter::new(limits::SORT_BYTES, spill);
        let (mut objects, mut odd) = (0, (0, None));
        let mut failed = None;
        let each = &mut |object: Object| {
            if is_reserved(&object.key) {
                reserved(object);
                return true;
            }
            let readable = bucket.reads_key(object.key.strip_suffix('/').unwrap_or(&object.key));
            match named(&object).filter(|_| readable) {
                Some(listed) => {
                    let record = encode(&listed);
                    objects += 1;
                    failed = sorter.add(&record).err();
                }
                None => {
                    odd.0 += 1;
                    odd.1.get_or_insert(object.key);
                }
            }
            failed.is_none()
        };
        bucket.list_all(stop, "", each).await?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Listing { names: sorter.finish()?, record: Vec::new(), objects, odd }),
        }
    }

    /// The next object in path order.
    #[allow(clippy::should_implement_trait, reason = "reading a temporary file may fail")]
    pub fn next(&mut self) -> Result<Option<Listed>, PlainError> {
        if !self.names.next(&mut self.record)? {
            return Ok(None);
        }
        decode(&self.record).map(Some).ok_or_else(|| std::io::Error::other("a record of the listing cannot be read").into())
    }
}

fn as_it_is(object: &Object) -> Option<Listed> {
    let key = object.key.strip_suffix('/');
    Some(Listed {
        path: path_of(key.unwrap_or(&object.key))?,
        is_folder: key.is_some(),
        key: None,
        size: object.size,
        mark: object.mark.clone(),
        modified: object.modified,
    })
}

/// The path, with `/` as the smallest byte so that the order of bytes is that of a walk, and what is known of the object.
fn encode(listed: &Listed) -> Vec<u8> {
    let mut record: Vec<u8> = listed.path.as_bytes().iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect();
    record.extend_from_slice(&[0, 0, u8::from(listed.is_folder)]);
    record.extend_from_slice(&listed.size.to_le_bytes());
    record.extend_from_slice(&listed.modified.seconds.to_le_bytes());
    record.extend_from_slice(&listed.modified.nanos.to_le_bytes());
    record.extend_from_slice(listed.mark.0.as_bytes());
    if let Some(key) = &listed.key {
        record.push(0);
        record.extend_from_slice(key.as_bytes());
    }
    record
}

fn decode(record: &[u8]) -> Option<Listed> {
    let end = record.windows(2).position(|pair| pair == [0, 0])?;
    let path: Vec<u8> = record[..end].iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
    let rest = record.get(end + 2..)?;
    let (flag, rest) = rest.split_first()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (seconds, rest) = rest.split_first_chunk::<8>()?;
    let (nanos, text) = rest.split_first_chunk::<4>()?;
    let text = std::str::from_utf8(text).ok()?;
    let (mark, key) = text.split_once('\0').map_or((text, None), |(mark, key)| (mark, Some(key.to_owned())));
    Some(Listed {
        path: RelPath::new(path).ok()?,
        is_folder: *flag == 1,
        key,
        size: u64::from_le_bytes(*size),
        mark: Mark(mark.to_owned()),
        modified: Timestamp { seconds: i64::from_le_bytes(*seconds), nanos: u32::from_le_bytes(*nanos) },
    })
}

#[cfg(test)]
mod tests {
    use super::Listing;
    use crate::runtime::Stop;
    use crate::store::{Bucket, RemoteConfig};
    use bytes::Bytes;

    #[tokio::test]
    async fn objects_come_in_the_order_of_a_walk() {
        let bucket = Bucket::connect(&RemoteConfig::Memory { name: "walk order".into() }).unwrap();
        let stop = Stop::new();
        for key in ["a.b", "a/b", "a", "a/b.c", "a/b/c", ".svault-plain/meta/x", "a/.svault-plain/meta/x", "b"] {
            bucket.put(&stop, key, Bytes::from(key.len().to_string())).await.unwrap();
        }
        let spill = tempfile::tempdir().unwrap();
        let mut listing = Listing::read(&bucket, spill.path(), &stop).await.unwrap();
        let mut names = Vec::new();
        while let Some(listed) = listing.next().unwrap() {
            assert_eq!(listed.size, 1);
            assert!(!listed.mark.0.is_empty() && !listed.is_folder);
            names.push(listed.path.to_string());
        }
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b.c", "a.b", "b"]);
        assert_eq!((listing.objects, listing.odd.0), (6, 0));
    }
}

//! Objects that other programs read and write too: one for each file, with the file's time as metadata. What tells two
//! states of an object apart is its [`Mark`].

use super::config::join;
use super::error::{Act, Asked, or_stopped};
use super::file_server::FileSending;
use super::http::within;
use super::local::LocalSending;
use super::s3::Sending;
use super::served::ServedSending;
use super::{Backend, Bucket, StoreError};
use crate::runtime::{Stop, compute, limits};
use crate::tree::Timestamp;
use bytes::Bytes;
use opendal::Writer;
use opendal::raw::Operation;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long an unfinished upload may take to be given up: a store that does not answer forgets it by itself.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);

/// What a store says of an object's content: S3's ETag without its quotes, elsewhere something made from its length and
/// time. Empty where a store says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Mark(pub String);

/// One object of a whole listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key; ends with `/` for the placeholder of an empty folder that some programs make.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// What is in it.
    pub mark: Mark,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// An object, or a part of it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Bytes,
    /// Of which state of the object.
    pub mark: Mark,
    /// The file's time and mode that a program left there.
    pub about: About,
}

/// What programs leave about a file beside its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About {
    /// The modification time: `mtime` as rclone writes it, or that of `mc-attrs`.
    pub mtime: Option<Timestamp>,
    /// The permission bits of `mc-attrs`.
    pub mode: Option<u32>,
}

/// A large object under way. Dropped unfinished, it leaves parts that the store forgets by its own rules; so end it with
/// [`Upload::finish`] or [`Upload::abort`].
pub struct Upload {
    bucket: Bucket,
    asked: Asked,
    way: Way,
}

enum Way {
    Parts(Box<Sending>),
    Served(Box<ServedSending>),
    Streamed(Box<FileSending>),
    File(Arc<LocalSending>, PathBuf, Timestamp),
    Whole(Vec<u8>, Timestamp),
}

impl Bucket {
    /// Whether an object can be read under this key: some would become others on their way.
    pub fn reads_key(&self, key: &str) -> bool {
        self.check(key).is_ok()
    }

    /// Whether a new object gets this key: it can be read under it, here and by other programs.
    pub fn takes_key(&self, key: &str) -> bool {
        self.reads_key(key) && !key.chars().any(char::is_control) && key.len() + self.prefix_length() <= 1024
    }

    fn prefix_length(&self) -> usize {
        match &self.inner.backend {
            Backend::S3(s3) => s3.place_of("", "").len() + 1,
            Backend::Served(served) => served.prefix_length(),
            _ => 0,
        }
    }

    /// Calls `each` for all objects below a folder, in the store's order, until it answers false. After an error, what was
    /// given is true but not all.
    pub async fn list_all(
        &self,
        stop: &Stop,
        folder: &str,
        each: &mut (dyn FnMut(Object) -> bool + Send),
    ) -> Result<(), StoreError> {
        let asked = self.asked(Act::List, folder)?;
        match &self.inner.backend {
            Backend::S3(s3) => {
                let pages = async |reached: &mut Option<String>| s3.walk_all(&asked, reached, each).await;
                self.walk_on(stop, &asked, None, pages).await
            }
            Backend::Served(served) if served.is_ordered() => {
                let pages = async |reached: &mut Option<String>| served.walk_all(&asked, reached, each).await;
                self.walk_on(stop, &asked, None, pages).await
            }
            Backend::Served(_) | Backend::Files(_) => self.list_folders(stop, &asked, each).await,
            Backend::Local(local) => {
                let mut folders = vec![folder.to_owned()];
                while let Some(folder) = folders.pop() {
                    stop.check().map_err(|_| StoreError::Stopped(Box::new(asked.clone())))?;
                    self.count(Operation::List, 0);
                    let (local, asked) = (local.clone(), Asked { key: folder.clone(), ..asked.clone() });
                    let (objects, below) = compute("list a folder", move || local.objects(&asked)).await?;
                    folders.extend(below.into_iter().map(|name| join(&folder, &name)));
                    for object in objects {
                        if !each(Object { key: join(&folder, &object.key), ..object }) {
                            return Ok(());
                        }
                    }
                }
                Ok(())
            }
            Backend::Memory(memory) => {
                self.count(Operation::List, 0);
                memory.objects(folder).into_iter().all(each);
                Ok(())
            }
        }
    }

    /// Folder by folder, each tried until it is there as a whole.
    async fn list_folders(
        &self,
        stop: &Stop,
        asked: &Asked,
        each: &mut (dyn FnMut(Object) -> bool + Send),
    ) -> Result<(), StoreError> {
        let mut folders = vec![asked.key.clone()];
        while let Some(folder) = folders.pop() {
            let asked = Asked { key: folder, ..asked.clone() };
            let (objects, below) = match &self.inner.backend {
                Backend::Served(served) => self.tries(stop, &asked, || served.objects(&asked)).await?,
                Backend::Files(server) => {
                    self.count(Operation::List, 0);
                    self.tries(stop, &asked, || server.objects(&asked)).await?
                }
                Backend::S3(_) | Backend::Local(_) | Backend::Memory(_) => return Ok(()),
            };
            folders.extend(below);
            if !objects.into_iter().all(&mut *each) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// An object, or a range of it as far as it exists, with its mark. No object is longer here than a pack may be: longer
    /// ones are read by ranges.
    pub async fn fetch(&self, stop: &Stop, key: &str, range: Option<Range<u64>>) -> Result<Fetched, StoreError> {
        let asked = self.asked(Act::Get, key)?;
        match &self.inner.backend {
            Backend::S3(s3) => self.tries(stop, &asked, || s3.fetch(&asked, range.as_ref())).await,
            Backend::Served(served) => self.tries(stop, &asked, || served.fetch(&asked, range.as_ref())).await,
            Backend::Local(local) => {
                let (local, question, wanted) = (local.clone(), asked.clone(), range.clone());
                let fetched = compute("read a file", move || local.fetch(&question, wanted.as_ref())).await;
                self.count(Operation::Read, 0);
                self.count_down(fetched.as_ref().map_or(0, |fetched| fetched.bytes.len()));
                fetched
            }
            Backend::Files(server) => {
                self.count(Operation::Read, 0);
                let fetched = self.tries(stop, &asked, || server.fetch(&asked, range.as_ref())).await;
                self.count_down(fetched.as_ref().map_or(0, |fetched| fetched.bytes.len()));
                fetched
            }
            Backend::Memory(memory) => {
                self.count(Operation::Read, 0);
                let bytes = memory.get(&asked, range.as_ref())?;
                self.count_down(bytes.len());
                Ok(Fetched { bytes, mark: memory.mark(key), about: About::default() })
            }
        }
    }

    /// Writes a file's object whatever is there, with the file's time; gives its mark.
    pub async fn put_file(&self, stop: &Stop, key: &str, body: Bytes, mtime: Timestamp) -> Result<Mark, StoreError> {
        let asked = self.asked(Act::Put, key)?;
        match &self.inner.backend {
            Backend::S3(s3) => self.tries(stop, &asked, || s3.put_file(&asked, body.clone(), mtime)).await,
            Backend::Served(served) => self.tries(stop, &asked, || served.put_file(&asked, body.clone(), mtime)).await,
            Backend::Local(local) => {
                self.count(Operation::Write, body.len());
                let local = local.clone();
                compute("write a file", move || local.put_file(&asked, &body, mtime)).await
            }
            Backend::Files(server) => {
                self.count(Operation::Write, body.len());
                self.tries(stop, &asked, || server.put_file(&asked, body.clone(), mtime)).await
            }
            Backend::Memory(memory) => {
                self.count(Operation::Write, body.len());
                memory.put(key, body);
                Ok(memory.mark(key))
            }
        }
    }

    /// Begins a file's object that is sent piece by piece. It appears when it is finished, as a whole.
    pub async fn upload(&self, key: &str, mtime: Timestamp, part_bytes: usize) -> Result<Upload, StoreError> {
        let asked = self.asked(Act::Put, key)?;
        let way = match &self.inner.backend {
            Backend::S3(s3) => Way::Parts(Box::new(s3.send(&asked, mtime, part_bytes).await?)),
            Backend::Served(served) => match served.send(&asked, mtime, part_bytes).await? {
                Some(sending) => Way::Served(Box::new(sending)),
                None => Way::Whole(Vec::new(), mtime),
            },
            Backend::Local(local) => {
                self.count(Operation::Write, 0);
                let (local, question) = (local.clone(), asked.clone());
                let (sending, target) = compute("write a file", move || {
                    let target = local.folder.join(&question.key);
                    local.begin(&question).map(|sending| (sending, target))
                })
                .await?;
                Way::File(Arc::new(sending), target, mtime)
            }
            Backend::Files(server) => match server.begin(mtime) {
                Some(sending) => {
                    self.count(Operation::Write, 0);
                    Way::Streamed(Box::new(sending))
                }
                None => Way::Whole(Vec::new(), mtime),
            },
            Backend::Memory(_) => Way::Whole(Vec::new(), mtime),
        };
        Ok(Upload { bucket: self.clone(), asked, way })
    }

    /// Gives up an upload in parts that another process of ours began and did not end. Only S3 keeps such parts.
    pub async fn abort_upload(&self, stop: &Stop, key: &str, id: &str) -> Result<(), StoreError> {
        let Backend::S3(s3) = &self.inner.backend else { return Ok(()) };
        let asked = self.asked(Act::Abort, key)?;
        self.tries(stop, &asked, || s3.abort_upload(&asked, id)).await
    }

    pub(super) fn count_down(&self, bytes: usize) {
        self.inner.meter.bytes_down.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Upload {
    /// Sends the next bytes.
    pub async fn write(&mut self, stop: &Stop, bytes: Bytes) -> Result<(), StoreError> {
        match &mut self.way {
            Way::Parts(sending) => or_stopped(stop.or(sending.write(&self.asked, bytes)).await, &self.asked),
            Way::Served(sending) => or_stopped(stop.or(sending.write(&self.asked, bytes)).await, &self.asked),
            Way::Streamed(sending) => {
                self.bucket.inner.meter.bytes_up.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                self.bucket.tries(stop, &self.asked, || sending.write(&self.asked, &bytes)).await
            }
            Way::File(sending, ..) => {
                let sending = Arc::clone(sending);
                let written = compute("write a file", move || sending.append(&bytes)).await;
                written.map_err(|error| super::local::failed(&self.asked, &error))
            }
            Way::Whole(body, _) if body.len() + bytes.len() > limits::WHOLE_BODY_BYTES => {
                let most = limits::WHOLE_BODY_BYTES >> 20;
                let message = format!("{}: files go there only in one piece, and none above {most} MiB", self.asked);
                Err(StoreError::usage(message, "give a key: a vault splits large files; or exclude the file"))
            }
            Way::Whole(body, _) => {
                body.extend_from_slice(&bytes);
                Ok(())
            }
        }
    }

    /// Makes the object appear; gives its mark.
    pub async fn finish(self, stop: &Stop) -> Result<Mark, StoreError> {
        let Upload { bucket, asked, way } = self;
        match way {
            Way::Parts(mut sending) => {
                let done = or_stopped(stop.or(sending.finish(&asked)).await, &asked);
                if done.is_err() {
                    sending.abort().await;
                }
                done
            }
            Way::Served(mut sending) => {
                if let Err(error) = or_stopped(stop.or(sending.finish(&asked)).await, &asked) {
                    sending.abort().await;
                    return Err(error);
                }
                bucket.tries(stop, &asked, || sending.stored(&asked)).await
            }
            Way::Streamed(sending) => {
                let done = match bucket.tries(stop, &asked, || sending.settle(&asked)).await {
                    Ok(mark) => or_stopped(stop.or(sending.name(&asked)).await, &asked).map(|()| mark),
                    Err(error) => Err(error),
                };
                if done.is_err() {
                    sending.abort(&asked).await;
                }
                done
            }
            Way::File(sending, target, mtime) => {
                let failed = move |error: &std::io::Error| super::local::failed(&asked, error);
                match Arc::into_inner(sending) {
                    Some(sending) => {
                        compute("finish a file", move || sending.finish(&target, mtime)).await.map_err(|error| failed(&error))
                    }
                    None => Err(failed(&std::io::Error::other("it is still being written"))),
                }
            }
            Way::Whole(body, mtime) => bucket.put_file(stop, &asked.key, Bytes::from(body), mtime).await,
        }
    }

    /// The store's name for it, once there is one: by that [`Bucket::abort_upload`] finds it after this process ended.
    pub fn id(&self) -> Option<String> {
        match &self.way {
            Way::Parts(sending) => sending.id(),
            Way::Served(_) | Way::Streamed(_) | Way::File(..) | Way::Whole(..) => None,
        }
    }

    /// Gives it up: what was there stays.
    pub async fn abort(self) {
        match self.way {
            Way::Parts(mut sending) => sending.abort().await,
            Way::Served(mut sending) => sending.abort().await,
            Way::Streamed(sending) => sending.abort(&self.asked).await,
            Way::File(..) | Way::Whole(..) => {}
        }
    }
}

/// Tells a store to forget the parts of an unfinished upload.
pub(super) async fn give_up(writer: &mut Writer) {
    if let Some(Err(error)) = within(ABORT_PATIENCE, writer.abort()).await {
        tracing::debug!(kind = ?error.kind(), "an unfinished upload could not be given up");
    }
}

/// Bytes of one part of a large object: as few parts as fit below the 10 000 that S3 allows, with room for growth.
pub fn part_bytes(size: u64) -> usize {
    let least = size.div_ceil(9_000).next_multiple_of(1 << 20);
    usize::try_from(least).unwrap_or(usize::MAX).max(limits::UPLOAD_PART_BYTES)
}

/// A time as rclone writes it: seconds with nine decimals.
pub(super) fn rclone_time(time: Timestamp) -> String {
    // A negative time counts its nanoseconds upwards from the second below.
    match (time.seconds, time.nanos) {
        (seconds, 0) => format!("{seconds}"),
        (seconds @ ..=-1, nanos) => {
            let sign = if seconds == -1 { "-0".to_string() } else { format!("{}", seconds + 1) };
            format!("{sign}.{:09}", 1_000_000_000 - nanos)
        }
        (seconds, nanos) => format!("{seconds}.{nanos:09}"),
    }
}

/// Reads `mtime` as rclone writes it.
fn parse_rclone_time(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 18 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (seconds, nanos) = (whole.parse::<i64>().ok()?, digits.parse::<u32>().ok()?);
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Some(Timestamp { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos }),
        _ => Some(Timestamp { seconds, nanos }),
    }
}

impl About {
    /// From the values of `mtime` and `mc-attrs`. What cannot be read is as if it were not there.
    pub(super) fn parse(mtime: Option<&str>, mc_attrs: Option<&str>) -> About {
        let attribute = |name: &str| mc_attrs?.split('/').find_map(|part| part.strip_prefix(name)?.strip_prefix(':'));
        // mc writes seconds, or seconds and nanoseconds with a `#` between them.
        let of_mc = attribute("mtime").and_then(|text| {
            let (seconds, nanos) = text.split_once('#').unwrap_or((text, "0"));
            let nanos = nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
            Some(Timestamp { seconds: seconds.parse().ok()?, nanos })
        });
        let mode = attribute("mode").and_then(|text| text.parse::<u32>().ok()).map(|mode| mode & 0o7777);
        About { mtime: mtime.and_then(parse_rclone_time).or(of_mc), mode }
    }
}

#[cfg(test)]
mod tests {
    use super::{About, Timestamp, parse_rclone_time, part_bytes, rclone_time};

    #[test]
    fn times_are_written_and_read_as_rclone_does() {
        for (seconds, nanos, text) in [
            (1_760_000_000, 123_456_789, "1760000000.123456789"),
            (1_760_000_000, 0, "1760000000"),
            (0, 5, "0.000000005"),
            (-1, 500_000_000, "-0.500000000"),
            (-3, 250_000_000, "-2.750000000"),
        ] {
            let time = Timestamp { seconds, nanos };
            assert_eq!(rclone_time(time), text);
            assert_eq!(parse_rclone_time(text), Some(time), "{text}");
        }
        assert_eq!(parse_rclone_time("1760000000.5"), Some(Timestamp { seconds: 1_760_000_000, nanos: 500_000_000 }));
        for bad in ["", "x", "1.x", "1.-5", "99999999999999999999"] {
            assert_eq!(parse_rclone_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_mc_leaves_is_read() {
        let attrs = "atime:1760000001#1/gid:0/gname:root/mode:33188/mtime:1760000000#123456789/uid:0/uname:root";
        let about = About::parse(None, Some(attrs));
        assert_eq!(about.mtime, Some(Timestamp { seconds: 1_760_000_000, nanos: 123_456_789 }));
        assert_eq!(about.mode, Some(0o644));
        assert_eq!(About::parse(Some("7"), Some(attrs)).mtime, Some(Timestamp { seconds: 7, nanos: 0 }));
        assert_eq!(About::parse(Some("?"), Some("mode:x/mtime:1#9999999999")), About::default());
    }

    #[test]
    fn parts_grow_with_the_object_and_stay_below_ten_thousand() {
        assert_eq!(part_bytes(1 << 30), 8 << 20);
        for size in [1u64 << 20, 1 << 36, 1 << 40, 5 << 40] {
            assert!(size.div_ceil(part_bytes(size) as u64) <= 9_000, "{size}");
        }
        assert!(part_bytes(5 << 40) <= 5 << 30);
    }
}

//! What the bucket holds, and the S3 operations on it.

use super::BUCKET;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use s3s::dto::{
    CommonPrefix, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag,
    ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// Marks a request whose condition the store overlooks.
#[derive(Clone, Copy)]
pub struct Overlooked;

#[derive(Clone)]
struct Stone {
    body: Bytes,
    modified: SystemTime,
}

/// The objects by key.
pub struct Stored {
    objects: Mutex<BTreeMap<String, Stone>>,
    page: AtomicUsize,
}

impl Default for Stored {
    fn default() -> Stored {
        Stored { objects: Mutex::default(), page: AtomicUsize::new(1000) }
    }
}

impl Stored {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Stone>> {
        self.objects.lock().expect("no handler panics while it holds the objects")
    }

    pub fn page_size(&self, entries: usize) {
        self.page.store(entries, Ordering::SeqCst);
    }

    pub fn keys(&self) -> Vec<String> {
        self.locked().keys().cloned().collect()
    }

    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.locked().get(key).map(|stone| stone.body.clone())
    }

    pub fn put(&self, key: &str, body: Bytes) {
        self.locked().insert(key.to_owned(), Stone { body, modified: SystemTime::now() });
    }

    pub fn remove(&self, key: &str) {
        self.locked().remove(key);
    }
}

pub struct Bucket(pub Arc<Stored>);

fn known(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket, "The specified bucket does not exist")) }
}

fn etag(body: &[u8]) -> ETag {
    ETag::Strong(blake3::hash(body).to_hex().to_string())
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("a body fits")
}

#[async_trait::async_trait]
impl s3s::S3 for Bucket {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let overlooked = request.extensions.get::<Overlooked>().is_some();
        let input = request.input;
        known(&input.bucket)?;
        let mut body = BytesMut::new();
        if let Some(mut blob) = input.body {
            while let Some(piece) = blob.try_next().await.map_err(|_| s3_error!(IncompleteBody))? {
                body.extend_from_slice(&piece);
            }
        }
        if input.content_length.is_some_and(|declared| declared != length(body.len())) {
            return Err(s3_error!(IncompleteBody));
        }
        let body = body.freeze();
        let e_tag = Some(etag(&body));
        // Check and insert under one lock: the atomicity that the whole protocol rests on.
        let mut objects = self.0.locked();
        let only_new = matches!(input.if_none_match, Some(ETagCondition::Any)) && !overlooked;
        if only_new && objects.contains_key(&input.key) {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        objects.insert(input.key, Stone { body, modified: SystemTime::now() });
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        known(&input.bucket)?;
        let stone = self.0.locked().get(&input.key).cloned();
        let stone = stone.ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))?;
        let whole = stone.body.len() as u64;
        let mut output = GetObjectOutput {
            e_tag: Some(etag(&stone.body)),
            last_modified: Some(Timestamp::from(stone.modified)),
            ..GetObjectOutput::default()
        };
        let mut body = stone.body;
        if let Some(range) = input.range {
            let range = range.check(whole).map_err(|_| s3_error!(InvalidRange, "The range is not satisfiable"))?;
            output.content_range = Some(format!("bytes {}-{}/{whole}", range.start, range.end - 1));
            body = body.slice(usize::try_from(range.start).expect("fits")..usize::try_from(range.end).expect("fits"));
        }
        output.content_length = Some(length(body.len()));
        output.body = Some(StreamingBlob::from(Body::from(body)));
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        known(&request.input.bucket)?;
        let stone = self.0.locked().get(&request.input.key).cloned();
        let stone = stone.ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length(stone.body.len())),
            e_tag: Some(etag(&stone.body)),
            last_modified: Some(Timestamp::from(stone.modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        known(&request.input.bucket)?;
        self.0.remove(&request.input.key);
        Ok(S3Response::with_status(DeleteObjectOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        known(&request.input.bucket)?;
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            self.0.remove(&object.key);
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        known(&input.bucket)?;
        let wanted = usize::try_from(input.max_keys.unwrap_or(1000)).unwrap_or(0);
        let page = page(&self.0, &input, wanted.min(self.0.page.load(Ordering::SeqCst)));
        let count = page.contents.len() + page.folders.len();
        let prefixes = page.folders.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            max_keys: input.max_keys,
            key_count: Some(i32::try_from(count).expect("a page is small")),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(page.contents),
            common_prefixes: Some(prefixes),
            ..ListObjectsV2Output::default()
        }))
    }
}

#[derive(Default)]
struct Page {
    contents: Vec<Object>,
    folders: BTreeSet<String>,
    next: Option<String>,
}

/// The entries after the token: each key, or the folder it lies in, counts once.
fn page(stored: &Stored, input: &ListObjectsV2Input, size: usize) -> Page {
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
    let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
    let mut page = Page::default();
    let mut last = String::new();
    let objects = stored.locked();
    for (key, stone) in objects.range::<String, _>((Bound::Excluded(&after), Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(&prefix) else { continue };
        let folder = delimiter.as_ref().and_then(|mark| Some(format!("{prefix}{}{mark}", rest.split_once(mark)?.0)));
        if folder.as_ref().is_some_and(|folder| *folder <= after || page.folders.contains(folder)) {
            continue;
        }
        if page.contents.len() + page.folders.len() == size {
            page.next = Some(last);
            break;
        }
        if let Some(folder) = folder {
            last.clone_from(&folder);
            page.folders.insert(folder);
        } else {
            last.clone_from(key);
            page.contents.push(Object {
                key: Some(key.clone()),
                size: Some(length(stone.body.len())),
                e_tag: Some(etag(&stone.body)),
                last_modified: Some(Timestamp::from(stone.modified)),
                ..Object::default()
            });
        }
    }
    page
}

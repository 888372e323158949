//! What the bucket holds, and the S3 operations on it.

use super::BUCKET;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// Marks a request whose condition the store overlooks.
#[derive(Clone, Copy)]
pub struct Overlooked;

type Metadata = HashMap<String, String>;

#[derive(Clone)]
struct Stone {
    body: Bytes,
    modified: SystemTime,
    metadata: Option<Metadata>,
}

/// An upload in parts that is under way.
#[derive(Default)]
struct Parts {
    parts: BTreeMap<i32, Bytes>,
    metadata: Option<Metadata>,
}

/// The objects by key.
pub struct Stored {
    objects: Mutex<BTreeMap<String, Stone>>,
    uploads: Mutex<BTreeMap<String, Parts>>,
    page: AtomicUsize,
    absent: AtomicBool,
    /// Uploads in parts that were ever begun.
    begun: AtomicUsize,
}

impl Default for Stored {
    fn default() -> Stored {
        let (objects, uploads) = (Mutex::default(), Mutex::default());
        Stored { objects, uploads, page: AtomicUsize::new(1000), absent: AtomicBool::new(false), begun: AtomicUsize::new(0) }
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
        self.locked().insert(key.to_owned(), Stone { body, modified: SystemTime::now(), metadata: None });
    }

    pub fn metadata(&self, key: &str, name: &str) -> Option<String> {
        self.locked().get(key)?.metadata.as_ref()?.get(name).cloned()
    }

    pub fn set_metadata(&self, key: &str, name: &str, value: &str) {
        if let Some(stone) = self.locked().get_mut(key) {
            stone.metadata.get_or_insert_default().insert(name.to_owned(), value.to_owned());
        }
    }

    /// Uploads in parts that were neither completed nor given up.
    pub fn open_uploads(&self) -> usize {
        self.uploads.lock().expect("no handler panics").len()
    }

    pub fn take_bucket_away(&self) {
        self.absent.store(true, Ordering::SeqCst);
    }

    pub fn remove(&self, key: &str) {
        self.locked().remove(key);
    }
}

pub struct Bucket(pub Arc<Stored>);

impl Bucket {
    fn known(&self, bucket: &str) -> S3Result<()> {
        let is_there = bucket == BUCKET && !self.0.absent.load(Ordering::SeqCst);
        if is_there { Ok(()) } else { Err(s3_error!(NoSuchBucket, "The specified bucket does not exist")) }
    }
}

fn etag(body: &[u8]) -> ETag {
    ETag::Strong(blake3::hash(body).to_hex().to_string())
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("a body fits")
}

async fn all_of(blob: Option<StreamingBlob>, declared: Option<i64>) -> S3Result<Bytes> {
    let mut body = BytesMut::new();
    if let Some(mut blob) = blob {
        while let Some(piece) = blob.try_next().await.map_err(|_| s3_error!(IncompleteBody))? {
            body.extend_from_slice(&piece);
        }
    }
    if declared.is_some_and(|declared| declared != length(body.len())) {
        return Err(s3_error!(IncompleteBody));
    }
    Ok(body.freeze())
}

#[async_trait::async_trait]
impl s3s::S3 for Bucket {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        if request.input.bucket != BUCKET {
            return Err(s3_error!(AccessDenied));
        }
        if !self.0.absent.swap(false, Ordering::SeqCst) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let overlooked = request.extensions.get::<Overlooked>().is_some();
        let input = request.input;
        self.known(&input.bucket)?;
        let body = all_of(input.body, input.content_length).await?;
        let e_tag = Some(etag(&body));
        // Check and insert under one lock: the atomicity that the whole protocol rests on.
        let mut objects = self.0.locked();
        let only_new = matches!(input.if_none_match, Some(ETagCondition::Any)) && !overlooked;
        if only_new && objects.contains_key(&input.key) {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        objects.insert(input.key, Stone { body, modified: SystemTime::now(), metadata: input.metadata });
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.known(&input.bucket)?;
        let stone = self.0.locked().get(&input.key).cloned();
        let stone = stone.ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))?;
        let whole = stone.body.len() as u64;
        let mut output = GetObjectOutput {
            e_tag: Some(etag(&stone.body)),
            last_modified: Some(Timestamp::from(stone.modified)),
            metadata: stone.metadata,
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

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        self.known(&input.bucket)?;
        let mut uploads = self.0.uploads.lock().expect("no handler panics");
        let id = format!("upload/{}", self.0.begun.fetch_add(1, Ordering::SeqCst));
        uploads.insert(id.clone(), Parts { metadata: input.metadata, ..Parts::default() });
        let (bucket, key, upload_id) = (Some(input.bucket), Some(input.key), Some(id));
        Ok(S3Response::new(CreateMultipartUploadOutput { bucket, key, upload_id, ..Default::default() }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let body = all_of(input.body, input.content_length).await?;
        let e_tag = Some(etag(&body));
        let mut uploads = self.0.uploads.lock().expect("no handler panics");
        let upload = uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, body);
        Ok(S3Response::new(UploadPartOutput { e_tag, ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let upload = self.0.uploads.lock().expect("no handler panics").remove(&input.upload_id);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        let body = Bytes::from(upload.parts.into_values().flatten().collect::<Vec<u8>>());
        let e_tag = Some(etag(&body));
        let stone = Stone { body, modified: SystemTime::now(), metadata: upload.metadata };
        self.0.locked().insert(input.key, stone);
        Ok(S3Response::new(CompleteMultipartUploadOutput { e_tag, ..Default::default() }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.0.uploads.lock().expect("no handler panics").remove(&request.input.upload_id);
        Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.known(&request.input.bucket)?;
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
        self.known(&request.input.bucket)?;
        self.0.remove(&request.input.key);
        Ok(S3Response::with_status(DeleteObjectOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.known(&request.input.bucket)?;
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            self.0.remove(&object.key);
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.known(&input.bucket)?;
        let wanted = usize::try_from(input.max_keys.unwrap_or(1000)).unwrap_or(0);
        let mut page = page(&self.0, &input, wanted.min(self.0.page.load(Ordering::SeqCst)));
        // MinIO's manner: asked for one key, it says after the folder's own object that there is no more.
        if wanted == 1 && page.contents.iter().any(|object| object.key == input.prefix) {
            page.next = None;
        }
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

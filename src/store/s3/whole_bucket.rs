//! Requests that OpenDAL does not form: about a bucket as a whole, and about what another process left there. They are signed as its own are.

use super::super::error::{Asked, StoreError};
use super::super::http::Exchange;
use super::{S3, join};
use futures::TryStreamExt;
use http::{Request, header};
use opendal::options::ListOptions;
use opendal::raw::{Operation, percent_encode_path};
use opendal::{Buffer, HttpTransporter};
use reqsign_aws_v4::RequestSigner;
use reqsign_core::{Context, FileRead, Signer};

impl S3 {
    /// Makes the bucket if the store says that there is none; says whether it did. The question is a listing of our own
    /// prefix: all that most policies allow.
    pub(in crate::store) async fn make_bucket(&self, asked: &Asked) -> Result<bool, StoreError> {
        let path = if self.prefix.is_empty() { "/".to_owned() } else { format!("{}/", self.prefix) };
        let found = self.exchange(|operator| {
            let (path, options) = (path.as_str(), ListOptions { limit: Some(1), ..ListOptions::default() });
            async move { operator.lister_options(path, options).await?.try_next().await.map(drop) }
        });
        let found = found.await;
        if !has_code(&found, &["NoSuchBucket"]) {
            return self.settle(asked, found).map(|_| false);
        }
        let made = self.signed(asked, || Request::put(self.bucket_url.as_str()), &self.place_of_bucket()).await?;
        // Somebody else was faster, and it is ours.
        if has_code(&made, &["BucketAlreadyOwnedByYou"]) {
            return Ok(true);
        }
        self.settle(asked, made).map(|_| true)
    }

    /// Tells the store to forget the parts of an upload of another process; one that it does not know is fine.
    pub(in crate::store) async fn abort_upload(&self, asked: &Asked, id: &str) -> Result<(), StoreError> {
        let key = percent_encode_path(&join(&self.prefix, &asked.key));
        let id = percent_encode_path(id).replace('/', "%2F");
        let url = format!("{}/{key}?uploadId={id}", self.bucket_url.trim_end_matches('/'));
        let answer = self.signed(asked, || Request::delete(url.as_str()), "").await?;
        if has_code(&answer, &["NoSuchUpload"]) { Ok(()) } else { self.settle(asked, answer).map(drop) }
    }

    /// AWS wants to hear the region again, where it is not the first one.
    fn place_of_bucket(&self) -> String {
        if !self.bucket_url.contains(".amazonaws.com") || self.region == "us-east-1" {
            return String::new();
        }
        format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}\
             </LocationConstraint></CreateBucketConfiguration>",
            self.region
        )
    }

    /// Signs and sends a request; once more, when the credentials were renewed meanwhile.
    async fn signed(&self, asked: &Asked, head: impl Fn() -> http::request::Builder, body: &str) -> Result<Exchange, StoreError> {
        let first = self.signed_once(asked, head(), body).await?;
        if first.is_renewed { self.signed_once(asked, head(), body).await } else { Ok(first) }
    }

    async fn signed_once(&self, asked: &Asked, head: http::request::Builder, body: &str) -> Result<Exchange, StoreError> {
        let request = head.extension(Operation::CreateDir).body(Buffer::from(body.to_owned())).map_err(|_| {
            StoreError::usage(format!("{asked}: the bucket has no address"), "check the endpoint and the bucket's name")
        })?;
        let (mut parts, body) = request.into_parts();
        let (transport, exchange) = self.transport();
        let transport = HttpTransporter::new(transport);
        let context = Context::new().with_file_read(Files).with_http_send(transport.clone());
        let signer = Signer::new(context, self.identity.clone(), RequestSigner::new("s3", &self.region));
        if signer.sign(&mut parts, None).await.is_ok() {
            // The client writes it from the address.
            parts.headers.remove(header::HOST);
            // What came back is recorded.
            let _ = transport.fetch(Request::from_parts(parts, body)).await;
        }
        Ok(Exchange::take(&exchange))
    }
}

fn has_code(exchange: &Exchange, codes: &[&str]) -> bool {
    matches!(&exchange.answer, Some(Ok(got)) if codes.contains(&got.code.as_str()))
}

/// How the sources of credentials read their files.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let failed = |error| reqsign_core::Error::config_invalid("a file cannot be read").with_source(error);
        tokio::fs::read(path).await.map_err(|error: std::io::Error| failed(error))
    }
}

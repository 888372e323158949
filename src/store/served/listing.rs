//! What lies in a folder of a served store.

use super::super::Listed;
use super::super::config::join;
use super::super::error::{Asked, StoreError};
use super::super::http::Exchange;
use super::super::local::TEMPORARY;
use super::services::address;
use super::{Served, index_page, is_absent};
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};
use http::{Request, header};
use opendal::raw::Operation;
use opendal::{Buffer, ErrorKind, HttpTransport, Metadata};

/// Looks at the objects of an index page under way at once.
const LOOKS: usize = 8;

impl Served {
    /// The direct children of a folder, sorted by name.
    pub(in crate::store) async fn list(&self, asked: &Asked) -> Result<Vec<Listed>, StoreError> {
        let children = self.children(asked).await?;
        let listed = |(name, meta): (String, Metadata)| match name.strip_suffix('/') {
            Some(name) => Listed { name: name.to_owned(), size: 0, is_folder: true },
            None => Listed { name, size: meta.content_length(), is_folder: false },
        };
        let mut all: Vec<Listed> = children.into_iter().map(listed).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// What lies directly in a folder: names, those of folders with a slash at their end.
    pub(super) async fn children(&self, asked: &Asked) -> Result<Vec<(String, Metadata)>, StoreError> {
        let found = if self.manner.index { self.index_children(asked).await? } else { self.listed(asked).await? };
        if found.as_ref().is_none_or(Vec::is_empty) {
            self.prove(asked).await?;
        }
        // A folder that does not exist is an empty one, as on S3.
        Ok(found.unwrap_or_default())
    }

    pub(super) async fn listed(&self, asked: &Asked) -> Result<Option<Vec<(String, Metadata)>>, StoreError> {
        let folder = self.folder(&asked.key);
        let path = if folder.is_empty() { "/".to_owned() } else { folder.clone() };
        let done = self.run(|operator| async move { operator.lister(&path).await?.try_collect::<Vec<_>>().await }).await;
        let is_there = !is_absent(&done.exchange);
        let entries = match self.settle(asked, done) {
            Err(error) if error.is_not_found() => return Ok(None),
            outcome => outcome?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let (path, meta) = entry.into_parts();
            match path.strip_prefix(&folder) {
                _ if path == folder || path == "/" => {}
                // A name that is not understood must not be missing from the listing without a word.
                None => return Err(StoreError::unavailable(asked, "the listing names what lies outside the folder", false)),
                Some(name) if name.starts_with(TEMPORARY) => {}
                Some(name) => all.push((name.to_owned(), meta)),
            }
        }
        Ok(is_there.then_some(all))
    }

    /// The names that an index page links to; `None` where the server says that there is no such folder.
    pub(super) async fn index(&self, asked: &Asked, folder: &str) -> Result<Option<Vec<String>>, StoreError> {
        let (config, _) = self.operator.current();
        let url = format!("{}/{}", address(&config), opendal::raw::percent_encode_path(folder));
        let mut request = Request::get(url).extension(Operation::List);
        if let (Some(user), password) = (config.get("user"), config.text("pass")) {
            let basic = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
            request = request.header(header::AUTHORIZATION, format!("Basic {basic}"));
        }
        let wrong = |_| StoreError::usage(format!("{asked}: the address cannot be asked"), "check the url");
        let request = request.body(Buffer::new()).map_err(wrong)?;
        let (transport, exchange) = self.transport();
        let result = transport.fetch(request).await;
        let exchange = Exchange::take(&exchange);
        let got = match (&exchange.answer, result) {
            (Some(Ok(got)), Ok(_)) => got,
            (_, Err(error)) => return Err(self.judged(asked, &error, &exchange)),
            _ => return Err(StoreError::unavailable(asked, "no answer was seen", true)),
        };
        match got.status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(self.judged(asked, &opendal::Error::new(ErrorKind::Unexpected, ""), &exchange)),
        }
        let names = index_page::names(&String::from_utf8_lossy(&got.body)).ok_or_else(|| {
            let hint = "switch the server's index on, or restore by another protocol";
            StoreError::usage(format!("{asked}: the server answers with something else than an index page"), hint)
        })?;
        Ok(Some(names))
    }

    async fn index_children(&self, asked: &Asked) -> Result<Option<Vec<(String, Metadata)>>, StoreError> {
        let Some(names) = self.index(asked, &self.folder(&asked.key)).await? else { return Ok(None) };
        let (folders, files): (Vec<String>, Vec<String>) =
            names.into_iter().filter(|name| !name.starts_with(TEMPORARY)).partition(|name| name.ends_with('/'));
        let looks = files.into_iter().map(|name| async move {
            let asked = Asked { key: join(&asked.key, &name), ..asked.clone() };
            let path = self.path(&asked.key);
            let done = self.run(|operator| async move { operator.stat(&path).await }).await;
            Ok::<_, StoreError>((name, self.settle(&asked, done)?))
        });
        let mut all: Vec<_> = stream::iter(looks).buffered(LOOKS).try_collect().await?;
        let folder = |name| (name, opendal::MetadataBuilder::dir().build());
        all.extend(folders.into_iter().map(folder));
        Ok(Some(all))
    }
}

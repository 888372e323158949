//! What lies in folders: the direct children, in order.

use super::error::{Act, Asked, StoreError};
use super::s3::S3;
use super::{Backend, Bucket};
use crate::runtime::{Stop, compute};
use opendal::raw::Operation;

/// A direct child of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name within the folder, without slashes.
    pub name: String,
    /// Bytes of the object; 0 for a folder.
    pub size: u64,
    /// Whether further keys follow below this name.
    pub is_folder: bool,
}

impl Bucket {
    /// The smallest name directly inside a folder: one request on S3, unless the store lists in no order.
    pub async fn first(&self, stop: &Stop, folder: &str) -> Result<Option<String>, StoreError> {
        if let Backend::Local(local) = &self.inner.backend {
            let (local, asked) = (local.clone(), self.asked(Act::List, folder)?);
            self.count(Operation::List, 0);
            return compute("list a folder", move || local.first(&asked)).await;
        }
        if !matches!(&self.inner.backend, Backend::S3(s3) if s3.ordered) {
            return Ok(self.list(stop, folder).await?.into_iter().next().map(|listed| listed.name));
        }
        let mut first = None;
        // Two, because an object with the folder's own name, as consoles make them, comes before what lies inside; and
        // where one is asked for, MinIO says after such an object that there is no more.
        self.walk(stop, folder, Walk { page: Some(2), start_after: None }, &mut |listed| {
            first = Some(listed.name);
            false
        })
        .await?;
        Ok(first)
    }

    /// The direct children of a folder, sorted by name: all of them, or an error. The folder `""` is the remote itself.
    pub async fn list(&self, stop: &Stop, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let mut all = Vec::new();
        self.walk(stop, folder, Walk::default(), &mut |listed| {
            all.push(listed);
            true
        })
        .await?;
        all.sort_by(|one: &Listed, other| one.name.cmp(&other.name));
        // A page that was asked for again may repeat what came before it.
        all.dedup();
        Ok(all)
    }

    /// Calls `each` for the direct children of a folder after a name, page by page in the store's order, which is by
    /// name among objects and among folders. After an error, what was given is true but not all.
    pub async fn list_page_by_page(
        &self,
        stop: &Stop,
        folder: &str,
        start_after: Option<&str>,
        each: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), StoreError> {
        let walk = Walk { page: None, start_after };
        self.walk(stop, folder, walk, &mut |listed| {
            each(listed);
            true
        })
        .await
    }

    async fn walk(
        &self,
        stop: &Stop,
        folder: &str,
        walk: Walk<'_>,
        each: &mut (dyn FnMut(Listed) -> bool + Send),
    ) -> Result<(), StoreError> {
        let asked = self.asked(Act::List, folder)?;
        let children = match &self.inner.backend {
            Backend::S3(s3) if s3.ordered => {
                let reached = walk.start_after.map(|name| s3.place_of(&asked.key, name));
                let pages = async |reached: &mut Option<String>| s3.walk(&asked, walk.page, reached, each).await;
                return self.walk_on(stop, &asked, reached, pages).await;
            }
            Backend::S3(s3) => self.tries(stop, &asked, || all_of(s3, &asked)).await?,
            Backend::Served(served) => self.tries(stop, &asked, || served.list(&asked)).await?,
            Backend::Files(server) => {
                self.count(Operation::List, 0);
                self.tries(stop, &asked, || server.list(&asked)).await?
            }
            Backend::Local(local) => {
                self.count(Operation::List, 0);
                let local = local.clone();
                compute("list a folder", move || local.list(&asked)).await?
            }
            Backend::Memory(memory) => {
                self.count(Operation::List, 0);
                memory.list(folder)
            }
        };
        let after = |name: &str| walk.start_after.is_none_or(|start| name > start);
        // `all` ends at the first child after which no more are wanted.
        children.into_iter().filter(|child| after(&child.name)).all(each);
        Ok(())
    }
}

/// How to go through a folder.
#[derive(Clone, Copy, Default)]
struct Walk<'a> {
    page: Option<usize>,
    start_after: Option<&'a str>,
}

/// For stores that list in no order: everything, sorted.
async fn all_of(s3: &S3, asked: &Asked) -> Result<Vec<Listed>, StoreError> {
    let mut all = Vec::new();
    s3.walk(asked, None, &mut None, &mut |listed| {
        all.push(listed);
        true
    })
    .await?;
    all.sort_by(|one: &Listed, other| one.name.cmp(&other.name));
    Ok(all)
}

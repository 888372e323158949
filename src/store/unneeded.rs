//! Deleting objects that are no longer needed, with all that the store keeps of them.

use super::error::{Act, Asked};
use super::{Backend, Bucket, StoreError};
use crate::runtime::{Stop, compute, limits};
use opendal::raw::Operation;

/// An object that is no longer needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unneeded {
    /// Its key.
    pub key: String,
    /// Its length in bytes as far as is known: only a long one may have parts that outlive it.
    pub size: u64,
}

/// Parts of an object that are objects themselves, and stay when it is replaced or deleted.
#[derive(Debug, Default)]
#[must_use]
pub struct Parts(Vec<String>);

impl Bucket {
    /// Deletes objects and their parts; those that are not there are fine.
    pub async fn delete_all(&self, stop: &Stop, objects: &[Unneeded]) -> Result<(), StoreError> {
        if let (Backend::S3(s3), 2..) = (&self.inner.backend, objects.len()) {
            let asked = self.asked(Act::Delete, &objects[0].key)?;
            let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
            let outcome = stop.or(s3.delete_all(&asked, &keys)).await;
            match outcome.map_err(|_| StoreError::Stopped(Box::new(asked)))? {
                Ok(()) => return Ok(()),
                // Some stores know only single deletes, and some answers do not say which object failed.
                Err(error) => tracing::debug!(%error, "deleting objects one by one"),
            }
        }
        for object in objects {
            let asked = self.asked(Act::Delete, &object.key)?;
            match &self.inner.backend {
                Backend::Files(server) => {
                    self.count(Operation::Delete, 0);
                    self.tries(stop, &asked, || server.delete_with_folders(&asked)).await?;
                }
                Backend::Local(local) => {
                    stop.check().map_err(|_| StoreError::Stopped(Box::new(asked.clone())))?;
                    self.count(Operation::Delete, 0);
                    let local = local.clone();
                    compute("delete a file", move || local.delete_with_folders(&asked)).await?;
                }
                Backend::S3(_) | Backend::Served(_) | Backend::Memory(_) => {
                    let parts = self.parts_of(stop, object).await?;
                    self.delete(stop, &object.key).await?;
                    self.delete_parts(stop, parts).await?;
                }
            }
        }
        Ok(())
    }

    /// What is to be deleted once the object is, or is another one: a crash in between leaves parts too many.
    pub async fn parts_of(&self, stop: &Stop, object: &Unneeded) -> Result<Parts, StoreError> {
        match &self.inner.backend {
            Backend::Served(served) if object.size > limits::UPLOAD_PART_BYTES as u64 => {
                let asked = self.asked(Act::Head, &object.key)?;
                Ok(Parts(self.tries(stop, &asked, || served.parts(&asked)).await?))
            }
            _ => Ok(Parts::default()),
        }
    }

    /// Deletes the parts of an object that is no more, or another one by now.
    pub async fn delete_parts(&self, stop: &Stop, parts: Parts) -> Result<(), StoreError> {
        let Backend::Served(served) = &self.inner.backend else { return Ok(()) };
        for path in parts.0 {
            let asked = Asked { act: Act::Delete, key: path, place: self.describe() };
            self.tries(stop, &asked, || served.delete_part(&asked)).await?;
        }
        Ok(())
    }
}

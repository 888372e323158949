//! Servers of files, which speak FTP or SFTP, behind one front.

use super::config::ServedConfig;
use super::error::{Asked, StoreError};
use super::ftp::Ftp;
use super::objects::{Fetched, Mark, Object};
use super::sftp::{Sftp, SftpSending};
use super::{Create, Listed, Patience};
use crate::tree::Timestamp;
use bytes::Bytes;
use std::ops::Range;

/// A folder of a server.
pub(super) enum FileServer {
    Ftp(Ftp),
    Sftp(Sftp),
}

/// A large file on its way.
pub(super) type FileSending = SftpSending;

impl FileServer {
    /// Whether a remote is one.
    pub(super) fn serves(config: &ServedConfig) -> bool {
        matches!(config.kind.name, "ftp" | "sftp")
    }

    /// Makes no request.
    pub(super) fn open(config: &ServedConfig, patience: Patience) -> Result<FileServer, StoreError> {
        match config.kind.name {
            "sftp" => Sftp::open(config, patience).map(FileServer::Sftp),
            _ => Ftp::open(config, patience).map(FileServer::Ftp),
        }
    }

    /// The remote in words, without secrets.
    pub(super) fn place(config: &ServedConfig) -> String {
        if config.kind.name == "sftp" { Sftp::place(config) } else { Ftp::place(config) }
    }

    pub(super) async fn create(&self, asked: &Asked, body: Bytes) -> Result<Create, StoreError> {
        match self {
            FileServer::Ftp(_) => {
                let answer = "FTP has no conditional create".into();
                Err(StoreError::NotSupported { asked: Box::new(asked.clone()), answer })
            }
            FileServer::Sftp(sftp) => sftp.create(asked, body).await,
        }
    }

    pub(super) async fn get(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.get(asked, range).await,
            FileServer::Sftp(sftp) => sftp.get(asked, range).await,
        }
    }

    pub(super) async fn put(&self, asked: &Asked, body: Bytes) -> Result<(), StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.put(asked, body).await,
            FileServer::Sftp(sftp) => sftp.put(asked, body).await,
        }
    }

    pub(super) async fn delete(&self, asked: &Asked) -> Result<(), StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.delete(asked).await,
            FileServer::Sftp(sftp) => sftp.delete(asked).await,
        }
    }

    /// Deletes a file, and, where that cannot go wrong, the folders that it leaves empty.
    pub(super) async fn delete_with_folders(&self, asked: &Asked) -> Result<(), StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.delete(asked).await,
            FileServer::Sftp(sftp) => sftp.delete_with_folders(asked).await,
        }
    }

    pub(super) async fn size(&self, asked: &Asked) -> Result<Option<u64>, StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.size(asked).await,
            FileServer::Sftp(sftp) => sftp.size(asked).await,
        }
    }

    /// The direct children of a folder, sorted by name.
    pub(super) async fn list(&self, asked: &Asked) -> Result<Vec<Listed>, StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.list(asked).await,
            FileServer::Sftp(sftp) => sftp.list(asked).await,
        }
    }

    /// The objects directly in a folder, and the folders in it.
    pub(super) async fn objects(&self, asked: &Asked) -> Result<(Vec<Object>, Vec<String>), StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.objects(asked).await,
            FileServer::Sftp(sftp) => sftp.objects(asked).await,
        }
    }

    pub(super) async fn fetch(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Fetched, StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.fetch(asked, range).await,
            FileServer::Sftp(sftp) => sftp.fetch(asked, range).await,
        }
    }

    /// Writes a file's object, with its time where the protocol has one; gives its mark.
    pub(super) async fn put_file(&self, asked: &Asked, body: Bytes, mtime: Timestamp) -> Result<Mark, StoreError> {
        match self {
            FileServer::Ftp(ftp) => ftp.put_file(asked, body).await,
            FileServer::Sftp(sftp) => sftp.put_file(asked, body, mtime).await,
        }
    }

    /// Begins a large file; `None` where files go only in one piece.
    pub(super) fn begin(&self, mtime: Timestamp) -> Option<FileSending> {
        match self {
            FileServer::Ftp(_) => None,
            FileServer::Sftp(sftp) => Some(sftp.begin(mtime)),
        }
    }
}

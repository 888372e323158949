//! One session with an SFTP server, and what is asked in it. Requests of several operations are under way at once.

use super::super::http::within;
use super::super::local::TEMPORARY;
use super::login::{Login, Lost, Watch, Witness};
use bytes::Bytes;
use futures::stream::{FuturesOrdered, FuturesUnordered, TryStreamExt};
use russh::ChannelMsg;
use russh::client::{self, Handle};
pub(super) use russh_sftp::client::error::Error as Trouble;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// What every server takes in one request, and gives as one answer.
const PIECE_BYTES: usize = 32 << 10;
/// Pieces of one object under way at once: half a megabyte keeps a line of 50 Mbit/s and 80 ms busy.
const PIECES: usize = 16;
/// After this long without a word the server is asked for one; after three times as long it is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);

const LINK: &str = "hardlink@openssh.com";
const REPLACE: &str = "posix-rename@openssh.com";
const SYNC: &str = "fsync@openssh.com";

/// A session.
pub(super) struct Line {
    sftp: RawSftpSession,
    /// Creates hard links.
    pub(super) links: bool,
    /// Renames onto what exists.
    replaces: bool,
    /// Says when bytes are on its disk.
    pub(super) syncs: bool,
    /// Nobody knows what state it is in.
    retired: AtomicBool,
    /// Cancelled when the connection is gone. A request that the library takes after that is never answered.
    lost: CancellationToken,
    _ssh: Handle<Watch>,
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    File,
    Folder,
    /// A link, or what is no file.
    Other,
}

/// What a server says of a name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) what: What,
    pub(super) size: u64,
    pub(super) mtime: u32,
    pub(super) atime: u32,
}

/// What a conditional create came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linked {
    New,
    Exists,
    /// The server, or its file system, knows no hard links.
    Never,
}

impl Line {
    /// Connects, checks the host and logs in.
    pub(super) async fn dial(witness: &Arc<Witness>, login: &Login, subsystem: &str) -> Result<Line, Lost> {
        let socket = TcpStream::connect((witness.host.as_str(), witness.port)).await.map_err(russh::Error::IO)?;
        socket.set_nodelay(true).map_err(russh::Error::IO)?;
        let config =
            client::Config { preferred: witness.preferred(), keepalive_interval: Some(KEEPALIVE), ..client::Config::default() };
        let lost = CancellationToken::new();
        let watch = Watch { witness: Arc::clone(witness), lost: lost.clone() };
        let mut ssh = client::connect_stream(Arc::new(config), socket, watch).await?;
        login.show(&mut ssh).await?;
        let mut channel = ssh.channel_open_session().await?;
        channel.request_subsystem(true, subsystem).await?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::WindowAdjusted { .. }) => {}
                _ => return Err(Lost::Refused(format!("the server has no subsystem '{subsystem}'"))),
            }
        }
        // How long an operation may take is the caller's to say.
        let longest = super::super::ATTEMPT_CAP.as_secs();
        let sftp =
            RawSftpSession::new_with_config(channel.into_stream(), Config { request_timeout_secs: longest, ..Config::default() });
        let hello = sftp.init().await.map_err(|_| Lost::Broken(russh::Error::Disconnect))?;
        let can = |name: &str| hello.extensions.contains_key(name);
        let (links, replaces, syncs) = (can(LINK), can(REPLACE), can(SYNC));
        Ok(Line { sftp, links, replaces, syncs, retired: AtomicBool::new(false), lost, _ssh: ssh })
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && !self.lost.is_cancelled()
    }

    /// Does something in the session for at most so long. The work is dropped when that is over, or the connection.
    pub(super) async fn within<T>(
        &self,
        longest: Duration,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            done = within(longest, work) => done.unwrap_or(Err(Trouble::Timeout)),
            () = self.lost.cancelled() => Err(Trouble::IO("the connection broke off".into())),
        }
    }

    /// What a path leads to; links are followed.
    pub(super) async fn look(&self, path: &str) -> Result<Found, Trouble> {
        Ok(found(String::new(), "", &self.sftp.stat(path).await?.attrs))
    }

    /// Opens a file for reading, and says what it is.
    pub(super) async fn open(&self, path: &str) -> Result<(String, Found), Trouble> {
        let handle = self.sftp.open(path, OpenFlags::READ, FileAttributes::default()).await?.handle;
        match self.state(&handle).await {
            Ok(state) => Ok((handle, state)),
            Err(trouble) => {
                self.close(&handle).await?;
                Err(trouble)
            }
        }
    }

    /// What an open file is now.
    pub(super) async fn state(&self, handle: &str) -> Result<Found, Trouble> {
        Ok(found(String::new(), "", &self.sftp.fstat(handle).await?.attrs))
    }

    pub(super) async fn close(&self, handle: &str) -> Result<(), Trouble> {
        self.sftp.close(handle).await.map(drop)
    }

    /// Opens a new file for writing. Its folder is made when it is missing.
    pub(super) async fn begin(&self, path: &str) -> Result<String, Trouble> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        match self.sftp.open(path, flags, FileAttributes::default()).await {
            Err(trouble) if is(&trouble, StatusCode::NoSuchFile) => self.make_folders(path).await?,
            opened => return opened.map(|opened| opened.handle),
        }
        self.sftp.open(path, flags, FileAttributes::default()).await.map(|opened| opened.handle)
    }

    /// Opens a file that is there for writing on.
    pub(super) async fn go_on(&self, path: &str) -> Result<String, Trouble> {
        self.sftp.open(path, OpenFlags::WRITE, FileAttributes::default()).await.map(|opened| opened.handle)
    }

    /// The bytes of an open file from a place on; fewer where it ends.
    pub(super) async fn read(&self, handle: &str, start: u64, wanted: u64) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        let mut pending = FuturesOrdered::new();
        let (mut at, end) = (start, start + wanted);
        loop {
            while at < end && pending.len() < PIECES {
                let length = (end - at).min(PIECE_BYTES as u64);
                pending.push_back(self.read_piece(handle, at, length as usize));
                at += length;
            }
            match pending.try_next().await? {
                Some(piece) => body.extend_from_slice(&piece),
                None => return Ok(body),
            }
        }
    }

    /// A server may give less than it was asked for.
    async fn read_piece(&self, handle: &str, start: u64, length: usize) -> Result<Vec<u8>, Trouble> {
        let mut piece = Vec::with_capacity(length);
        while piece.len() < length {
            let rest = u32::try_from(length - piece.len()).unwrap_or(u32::MAX);
            match self.sftp.read(handle, start + piece.len() as u64, rest).await {
                Ok(data) if data.data.is_empty() => break,
                Ok(data) => piece.extend_from_slice(&data.data),
                Err(trouble) if is(&trouble, StatusCode::Eof) => break,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(piece)
    }

    /// Writes bytes at a place of an open file.
    pub(super) async fn write(&self, handle: &str, start: u64, body: &Bytes) -> Result<(), Trouble> {
        let mut pending = FuturesUnordered::new();
        for (index, piece) in body.chunks(PIECE_BYTES).enumerate() {
            if pending.len() == PIECES {
                pending.try_next().await?;
            }
            let at = start + (index * PIECE_BYTES) as u64;
            pending.push(self.sftp.write(handle, at, piece.to_vec()));
        }
        while pending.try_next().await?.is_some() {}
        Ok(())
    }

    /// Waits until the bytes of an open file are on the server's disk, where the server can say so.
    pub(super) async fn sync(&self, handle: &str) -> Result<(), Trouble> {
        if self.syncs { self.sftp.fsync(handle).await.map(drop) } else { Ok(()) }
    }

    /// Gives an open file its times.
    pub(super) async fn set_times(&self, handle: &str, mtime: u32, atime: u32) -> Result<(), Trouble> {
        let times = FileAttributes { mtime: Some(mtime), atime: Some(atime), ..FileAttributes::default() };
        self.sftp.fsetstat(handle, times).await.map(drop)
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Trouble> {
        self.sftp.remove(path).await.map(drop)
    }

    /// Removes a folder if it is one and is empty: some servers remove a file as well when they are asked for a folder.
    pub(super) async fn remove_empty(&self, path: &str) -> Result<bool, Trouble> {
        let found = match self.sftp.lstat(path).await {
            Err(trouble) if is(&trouble, StatusCode::NoSuchFile) => return Ok(false),
            looked => found(String::new(), "", &looked?.attrs),
        };
        if found.what != What::Folder || !self.inside(path).await?.is_empty() {
            return Ok(false);
        }
        match self.sftp.rmdir(path).await {
            Err(Trouble::Status(_)) => Ok(false),
            removed => removed.map(|_| true),
        }
    }

    /// Gives a finished file its name, whatever is there.
    pub(super) async fn place(&self, from: &str, to: &str) -> Result<(), Trouble> {
        match self.replace(from, to).await {
            Err(trouble) if is(&trouble, StatusCode::NoSuchFile) => self.make_folders(to).await?,
            // Folders that lost their last file lie in the way.
            Err(trouble) if is(&trouble, StatusCode::Failure) && self.remove_empty(to).await? => {}
            outcome => return self.kept(outcome, to).await,
        }
        let outcome = self.replace(from, to).await;
        self.kept(outcome, to).await
    }

    async fn replace(&self, from: &str, to: &str) -> Result<(), Trouble> {
        if self.replaces {
            let data = [from, to].iter().flat_map(|text| text_of(text)).collect();
            return match self.sftp.extended(REPLACE, data).await? {
                Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
                Packet::Status(status) => Err(status.into()),
                _ => Err(Trouble::UnexpectedPacket),
            };
        }
        match self.sftp.rename(from, to).await {
            Err(trouble)
                if is(&trouble, StatusCode::Failure) && self.look(to).await.is_ok_and(|found| found.what == What::File) =>
            {
                // A crash between the two leaves neither; the next push repeats it.
                self.remove(to).await?;
                self.sftp.rename(from, to).await.map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    /// Gives a finished file a second name unless that is taken: the one step in which an object appears at most once.
    pub(super) async fn link(&self, from: &str, to: &str) -> Result<Linked, Trouble> {
        if !self.links {
            return Ok(Linked::Never);
        }
        let mut outcome = self.sftp.hardlink(from, to).await;
        if outcome.as_ref().is_err_and(|trouble| is(trouble, StatusCode::NoSuchFile)) {
            self.make_folders(to).await?;
            outcome = self.sftp.hardlink(from, to).await;
        }
        let trouble = match outcome {
            // Some servers say yes to what they do not do.
            Ok(_) => match self.sftp.lstat(to).await {
                Err(trouble) if is(&trouble, StatusCode::NoSuchFile) => return Ok(Linked::Never),
                looked => return self.kept(looked.map(|_| Linked::New), to).await,
            },
            Err(trouble) if is(&trouble, StatusCode::OpUnsupported) => return Ok(Linked::Never),
            Err(trouble) if is(&trouble, StatusCode::Failure) || is(&trouble, StatusCode::PermissionDenied) => trouble,
            Err(trouble) => return Err(trouble),
        };
        // The server says the same of a name that is taken, of a folder that is closed and of links that it does not know.
        match self.sftp.lstat(to).await {
            Ok(_) => return Ok(Linked::Exists),
            Err(absent) if is(&absent, StatusCode::NoSuchFile) => {}
            Err(other) => return Err(other),
        }
        let beside = format!("{from}-2");
        match self.sftp.hardlink(from, &beside).await {
            Ok(_) => {
                self.remove(&beside).await?;
                Err(trouble)
            }
            Err(Trouble::Status(_)) => Ok(Linked::Never),
            Err(again) => Err(again),
        }
    }

    /// Waits until a name is on the server's disk: folders are synced like files. Only a lost line is a failure: a server
    /// that cannot do it keeps names in its own way.
    async fn kept<T>(&self, outcome: Result<T, Trouble>, path: &str) -> Result<T, Trouble> {
        let done = outcome?;
        if self.syncs {
            let folder = path.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder });
            match self.sftp.open(folder, OpenFlags::READ, FileAttributes::default()).await {
                Ok(opened) => {
                    forgive(self.sync(&opened.handle).await)?;
                    forgive(self.close(&opened.handle).await)?;
                }
                Err(trouble) => forgive(Err(trouble))?,
            }
        }
        Ok(done)
    }

    /// Makes what is missing above a path. A folder that is there is refused like one that is forbidden; what follows tells.
    async fn make_folders(&self, path: &str) -> Result<(), Trouble> {
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
            forgive(self.sftp.mkdir(&path[..at], FileAttributes::default()).await.map(drop))?;
        }
        Ok(())
    }

    /// What lies in a folder, links as such; nothing where there is no folder.
    pub(super) async fn inside(&self, folder: &str) -> Result<Vec<Found>, Trouble> {
        let handle = match self.sftp.opendir(folder).await {
            Err(trouble) if is(&trouble, StatusCode::NoSuchFile) => return Ok(Vec::new()),
            opened => opened?.handle,
        };
        let mut all = Vec::new();
        let outcome = loop {
            match self.sftp.readdir(&handle).await {
                Ok(names) => {
                    all.extend(names.files.into_iter().map(|file| found(file.filename, &file.longname, &file.attrs)));
                }
                Err(trouble) if is(&trouble, StatusCode::Eof) => break Ok(()),
                Err(trouble) => break Err(trouble),
            }
        };
        self.close(&handle).await?;
        outcome?;
        all.retain(|found| !matches!(found.name.as_str(), "." | ".."));
        self.without_no_texts(folder, all).await
    }

    /// Keys are text: a name that is none was not made by this program. The library writes such letters as U+FFFD, which
    /// a name may have of its own.
    async fn without_no_texts(&self, folder: &str, all: Vec<Found>) -> Result<Vec<Found>, Trouble> {
        let mut texts = Vec::with_capacity(all.len());
        for found in all {
            let doubtful = found.name.contains(char::REPLACEMENT_CHARACTER);
            match if doubtful { self.sftp.lstat(format!("{folder}/{}", found.name)).await.map(drop) } else { Ok(()) } {
                Err(trouble) if is(&trouble, StatusCode::NoSuchFile) => {}
                outcome => {
                    outcome?;
                    texts.push(found);
                }
            }
        }
        Ok(texts)
    }
}

pub(super) fn is(trouble: &Trouble, code: StatusCode) -> bool {
    matches!(trouble, Trouble::Status(status) if status.status_code == code)
}

fn forgive(outcome: Result<(), Trouble>) -> Result<(), Trouble> {
    match outcome {
        Err(Trouble::Status(_)) => Ok(()),
        outcome => outcome,
    }
}

fn text_of(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// `line` is what `ls -l` would print.
fn found(name: String, line: &str, attributes: &FileAttributes) -> Found {
    // The kind is in the mode, as Unix has it.
    let what = match (attributes.permissions.map(|mode| mode & 0o170_000), line.as_bytes().first()) {
        (Some(0o100_000), _) => What::File,
        (Some(0o040_000), _) | (None, Some(b'd')) => What::Folder,
        (Some(_), _) | (None, Some(b'l')) => What::Other,
        (None, _) => What::File,
    };
    Found {
        name,
        what,
        size: attributes.size.unwrap_or(0),
        mtime: attributes.mtime.unwrap_or(0),
        atime: attributes.atime.unwrap_or(0),
    }
}

/// Whether a name is of a file that is under way.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

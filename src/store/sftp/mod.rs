//! Objects as files of an SFTP server, by a client that is part of this program.
//!
//! Paths are relative to the folder in which a log-in ends, or begin at the server's root. An object is sent under a hidden
//! name, brought to the disk where the server can say so, and then gets its own name: by a rename that replaces, or, where it
//! may be created only once, by a hard link, which fails when the name is taken. A crash before that leaves a hidden file that
//! no list shows, after it the object. Hidden files are removed when they are a day old, by whoever writes then.
//! A server whose key nobody vouches for is never logged in to.

mod certificate;
mod judge;
mod known_hosts;
mod line;
mod login;
mod sending;

pub(super) use self::sending::SftpSending;

use self::judge::{judge, judge_lost};
use self::line::{Found, Line, Linked, Trouble, What, is, is_temporary};
use self::login::{Login, Witness, address};
use super::bandwidth::Shaper;
use super::config::{ServedConfig, check_prefix, join};
use super::error::{Asked, StoreError};
use super::followed::Followed;
use super::http::{ANSWER_BYTES, check_length, within};
use super::local::TEMPORARY;
use super::objects::{About, Fetched, Mark, Object};
use super::{Create, Listed, Patience};
use crate::runtime::{clock, compute};
use crate::tree::Timestamp;
use bytes::Bytes;
use russh_sftp::protocol::StatusCode;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A server works off the requests of a session one after the other: several share the waits for its disk.
const LINES: usize = 4;
/// Operations under way in one session before another is opened.
const PER_LINE: usize = 4;
/// A connection and a log-in that take longer go to a server that is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Hidden files of this age are left over, and are looked for this often: no write takes as long.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// A folder of an SFTP server.
#[derive(Clone)]
pub(super) struct Sftp {
    shared: Arc<Shared>,
}

struct Shared {
    config: ServedConfig,
    /// What connections are made with.
    parties: Followed<(Arc<Witness>, Arc<Login>)>,
    patience: Patience,
    shaper: Shaper,
    slots: Semaphore,
    lines: Mutex<Vec<Arc<Line>>>,
    /// One connection is made at a time: servers turn away who knocks too often at once.
    dialing: Semaphore,
    /// When leftovers were last looked for.
    swept: Mutex<Option<Instant>>,
}

/// A line in use. Dropped in the midst of an operation, it leaves files open at the server: nobody uses that line again.
struct Held {
    line: Arc<Line>,
    is_clean: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_clean {
            self.line.retire();
        }
    }
}

impl Sftp {
    /// Makes no request.
    pub(super) fn open(config: &ServedConfig, patience: Patience) -> Result<Sftp, StoreError> {
        check_prefix(&config.prefix)?;
        Ok(Sftp {
            shared: Arc::new(Shared {
                config: config.clone(),
                parties: Followed::open(config, |config| Ok((Arc::new(Witness::read(config)?), Arc::new(Login::read(config)?))))?,
                patience,
                shaper: Shaper::new(config.bandwidth.clone()),
                slots: Semaphore::new(LINES * PER_LINE),
                lines: Mutex::default(),
                dialing: Semaphore::new(1),
                swept: Mutex::default(),
            }),
        })
    }

    /// The remote in words, without secrets.
    pub(super) fn place(config: &ServedConfig) -> String {
        let root = if config.is_absolute { "/" } else { "" };
        let path = format!("{root}{}", config.prefix);
        let (host, port) = address(config);
        format!("sftp{}{path} at {host}:{port}", if path.is_empty() { "" } else { " " })
    }

    fn path(&self, key: &str) -> String {
        let config = &self.shared.config;
        match (config.is_absolute, join(&config.prefix, key)) {
            (true, path) => format!("/{path}"),
            (false, path) if path.is_empty() => ".".into(),
            (false, path) => path,
        }
    }

    fn temporary(&self, asked: &Asked) -> Result<String, StoreError> {
        let random = super::random_name().map_err(|error| StoreError::unavailable(asked, error.to_string(), false))?;
        Ok(self.path(&format!("{TEMPORARY}{random}")))
    }

    /// The line with the fewest operations; another one while those that there are have enough to do.
    async fn line(&self, asked: &Asked) -> Result<Arc<Line>, StoreError> {
        if let Some(line) = self.idle_line() {
            return Ok(line);
        }
        let closed = |_| StoreError::unavailable(asked, "the connections are closed", false);
        let _dialing = self.shared.dialing.acquire().await.map_err(closed)?;
        if let Some(line) = self.idle_line() {
            return Ok(line);
        }
        let shared = &self.shared;
        let subsystem = shared.config.get("subsystem").unwrap_or("sftp");
        let followed = Arc::clone(shared);
        // A line that there is stays; the next one is made with what the files hold then. A locked key takes its time to open.
        let (_, (witness, login)) = compute("read the user's keys", move || followed.parties.current()).await;
        let dialed = within(CONNECT_TIMEOUT, Line::dial(&witness, &login, subsystem)).await;
        let late = || StoreError::unavailable(asked, "no connection in time", true);
        let line = Arc::new(dialed.ok_or_else(late)?.map_err(|lost| judge_lost(asked, lost))?);
        shared.lines.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&line));
        Ok(line)
    }

    fn idle_line(&self) -> Option<Arc<Line>> {
        let mut lines = self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.is_usable());
        // One of the references is the list's own.
        let (line, users) = lines.iter().map(|line| (line, Arc::strong_count(line) - 1)).min_by_key(|(_, users)| *users)?;
        (users < PER_LINE || lines.len() == LINES).then(|| Arc::clone(line))
    }

    async fn held(&self, asked: &Asked) -> Result<Held, StoreError> {
        Ok(Held { line: self.line(asked).await?, is_clean: false })
    }

    /// Runs one operation, and keeps the line unless its state is unknown afterwards.
    async fn run<T>(
        &self,
        asked: &Asked,
        bytes: u64,
        work: impl AsyncFnOnce(&Line) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::unavailable(asked, "the connections are closed", false);
        let _slot = self.shared.slots.acquire().await.map_err(closed)?;
        let mut held = self.held(asked).await?;
        let longest = self.shared.patience.for_upload(bytes);
        let outcome = held.line.within(longest, work(&held.line)).await;
        held.is_clean = matches!(&outcome, Ok(_) | Err(Trouble::Status(_)));
        outcome.map_err(|trouble| judge(asked, &trouble))
    }

    pub(super) async fn create(&self, asked: &Asked, body: Bytes) -> Result<Create, StoreError> {
        self.shared.shaper.up(body.len()).await;
        let (target, temporary) = (self.path(&asked.key), self.temporary(asked)?);
        let outcome = self.run(asked, body.len() as u64, async |line| {
            if !line.links {
                return Ok(Linked::Never);
            }
            self.store(line, &temporary, &body, None).await?;
            let outcome = line.link(&temporary, &target).await;
            // What is left of it is hidden, and swept later.
            let _ = line.remove(&temporary).await;
            outcome
        });
        match outcome.await {
            Ok(Linked::New) => Ok(Create::New),
            Ok(Linked::Exists) => Ok(Create::Exists),
            Ok(Linked::Never) => {
                let answer = "the server, or its file system, knows no hard links: nothing is created at most once there".into();
                Err(StoreError::NotSupported { asked: Box::new(asked.clone()), answer })
            }
            // Whatever may pass may also have been carried out.
            Err(error) if error.is_temporary() => Err(StoreError::Ambiguous(Box::new(error))),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put(&self, asked: &Asked, body: Bytes) -> Result<(), StoreError> {
        self.replace(asked, body, None).await.map(drop)
    }

    pub(super) async fn put_file(&self, asked: &Asked, body: Bytes, mtime: Timestamp) -> Result<Mark, StoreError> {
        self.replace(asked, body, Some(mtime)).await.map(|found| mark(&found))
    }

    async fn replace(&self, asked: &Asked, body: Bytes, mtime: Option<Timestamp>) -> Result<Found, StoreError> {
        self.shared.shaper.up(body.len()).await;
        let (target, temporary) = (self.path(&asked.key), self.temporary(asked)?);
        let stored = self.run(asked, body.len() as u64, async |line| {
            let stored = self.store(line, &temporary, &body, mtime).await?;
            let placed = line.place(&temporary, &target).await;
            if placed.is_err() {
                // The first trouble tells more.
                let _ = line.remove(&temporary).await;
            }
            placed.map(|()| stored)
        });
        stored.await.and_then(|stored| whole(asked, stored, body.len() as u64))
    }

    /// Leaves the whole body in a hidden file, or no such file.
    async fn store(&self, line: &Line, path: &str, body: &Bytes, mtime: Option<Timestamp>) -> Result<Found, Trouble> {
        let handle = line.begin(path).await?;
        let written = async {
            self.sweep_if_due(line, &handle).await?;
            line.write(&handle, 0, body).await?;
            finish(line, &handle, mtime).await
        };
        let written = written.await;
        let closed = line.close(&handle).await;
        let stored = written.and_then(|stored| closed.map(|()| stored));
        if stored.is_err() {
            // The first trouble tells more.
            let _ = line.remove(path).await;
        }
        stored
    }

    /// Removes what killed writers left, first and then once a day. The file that was just made tells what time it is there.
    async fn sweep_if_due(&self, line: &Line, fresh: &str) -> Result<(), Trouble> {
        if !takes_turn(&self.shared.swept, clock::now()) {
            return Ok(());
        }
        let now = line.state(fresh).await?.mtime;
        let folder = self.path("");
        for found in line.inside(&folder).await? {
            // A file may have got its own time before its name; the other one is when it was sent.
            let age = now.saturating_sub(found.mtime.max(found.atime));
            if is_temporary(&found.name) && found.what == What::File && u64::from(age) > LEFTOVER_AGE.as_secs() {
                // That it fails harms nobody: the next day's writer tries again.
                let _ = line.remove(&self.path(&found.name)).await;
            }
        }
        Ok(())
    }

    pub(super) async fn delete(&self, asked: &Asked) -> Result<(), StoreError> {
        let path = self.path(&asked.key);
        match self.run(asked, 0, async |line| line.remove(&path).await).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Deletes a file, and the folders that it leaves empty.
    pub(super) async fn delete_with_folders(&self, asked: &Asked) -> Result<(), StoreError> {
        self.delete(asked).await?;
        let mut above = asked.key.as_str();
        while let Some((folder, _)) = above.rsplit_once('/') {
            let path = self.path(folder);
            if !self.run(asked, 0, async |line| line.remove_empty(&path).await).await? {
                break;
            }
            above = folder;
        }
        Ok(())
    }

    pub(super) async fn size(&self, asked: &Asked) -> Result<Option<u64>, StoreError> {
        let path = self.path(&asked.key);
        match self.run(asked, 0, async |line| line.look(&path).await).await {
            Ok(found) => Ok((found.what == What::File).then_some(found.size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn get(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        self.fetch(asked, range).await.map(|fetched| fetched.bytes)
    }

    /// One open file is one state of the object, unless a program writes into it meanwhile.
    pub(super) async fn fetch(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Fetched, StoreError> {
        let path = self.path(&asked.key);
        let longest = range.map_or(super::limits::OBJECT_CAP_BYTES, |range| range.end - range.start);
        let part = |size: u64| {
            let start = range.map_or(0, |range| range.start);
            (start, range.map_or(size, |range| range.end.min(size)).saturating_sub(start))
        };
        let outcome = self.run(asked, longest, async |line| {
            let (handle, before) = line.open(&path).await?;
            let read = async {
                let (start, wanted) = part(before.size);
                if before.what != What::File || !(1..=ANSWER_BYTES).contains(&wanted) {
                    return Ok((Vec::new(), before.clone()));
                }
                let body = line.read(&handle, start, wanted).await?;
                Ok((body, line.state(&handle).await?))
            };
            let read = read.await;
            line.close(&handle).await?;
            read.map(|(body, after)| (body, before, after))
        });
        let (body, before, after) = outcome.await?;
        if before.what != What::File {
            return Err(StoreError::NotFound(Box::new(asked.clone())));
        }
        if range.is_some_and(|range| range.start >= before.size) {
            return Err(StoreError::Outside(Box::new(asked.clone())));
        }
        let (_, wanted) = part(before.size);
        check_length(asked, wanted)?;
        self.shared.shaper.down(body.len()).await;
        if body.len() as u64 != wanted || mark(&before) != mark(&after) {
            return Err(StoreError::unavailable(asked, "the object changed while it was read", true));
        }
        let mtime = Some(time_of(&before));
        Ok(Fetched { bytes: Bytes::from(body), mark: mark(&before), about: About { mtime, mode: None } })
    }

    async fn inside(&self, asked: &Asked) -> Result<Vec<Found>, StoreError> {
        let folder = self.path(&asked.key);
        let mut all = self.run(asked, 0, async |line| line.inside(&folder).await).await?;
        all.retain(|found| !is_temporary(&found.name));
        Ok(all)
    }

    /// The direct children of a folder, sorted by name. Links are followed.
    pub(super) async fn list(&self, asked: &Asked) -> Result<Vec<Listed>, StoreError> {
        let mut all = Vec::new();
        for mut found in self.inside(asked).await? {
            if found.what == What::Other {
                let path = self.path(&join(&asked.key, &found.name));
                match self.run(asked, 0, async |line| line.look(&path).await).await {
                    Ok(target) => found = Found { name: found.name, ..target },
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                }
            }
            let Found { name, what, size, .. } = found;
            match what {
                What::File => all.push(Listed { name, size, is_folder: false }),
                What::Folder => all.push(Listed { name, size: 0, is_folder: true }),
                What::Other => {}
            }
        }
        all.sort_by(|one: &Listed, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The objects directly in a folder, and the folders in it. Links are not followed: what they lead to is not in this folder.
    pub(super) async fn objects(&self, asked: &Asked) -> Result<(Vec<Object>, Vec<String>), StoreError> {
        let (mut objects, mut folders) = (Vec::new(), Vec::new());
        for found in self.inside(asked).await? {
            let key = join(&asked.key, &found.name);
            match found.what {
                What::File => {
                    objects.push(Object { key, size: found.size, mark: mark(&found), modified: time_of(&found) });
                }
                What::Folder => folders.push(key),
                What::Other => {}
            }
        }
        Ok((objects, folders))
    }
}

/// Whether leftovers are to be looked for now; of those who ask at once, one is told so.
fn takes_turn(swept: &Mutex<Option<Instant>>, now: Instant) -> bool {
    let mut swept = swept.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = swept.is_none_or(|swept| now.duration_since(swept) >= LEFTOVER_AGE);
    if is_due {
        *swept = Some(now);
    }
    is_due
}

/// Gives a written file its time, brings it to the disk and says what it is then.
async fn finish(line: &Line, handle: &str, mtime: Option<Timestamp>) -> Result<Found, Trouble> {
    // The protocol knows seconds from 1970 to 2106.
    if let Some(mtime) = mtime.and_then(|mtime| u32::try_from(mtime.seconds).ok()) {
        let now = u32::try_from(clock::wall_ms() / 1000).unwrap_or(u32::MAX);
        match line.set_times(handle, mtime, now).await {
            // Some servers let nobody set times; the object is as good without.
            Err(trouble) if is(&trouble, StatusCode::OpUnsupported) || is(&trouble, StatusCode::PermissionDenied) => {}
            outcome => outcome?,
        }
    }
    line.sync(handle).await?;
    line.state(handle).await
}

fn whole(asked: &Asked, found: Found, length: u64) -> Result<Found, StoreError> {
    let another = || StoreError::unavailable(asked, "the store kept another length than was sent", true);
    if found.size == length { Ok(found) } else { Err(another()) }
}

fn time_of(found: &Found) -> Timestamp {
    Timestamp { seconds: i64::from(found.mtime), nanos: 0 }
}

fn mark(found: &Found) -> Mark {
    Mark(format!("{}@{}", found.size, found.mtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_looked_for_once_a_day() {
        let (swept, began) = (Mutex::default(), clock::now());
        let day = LEFTOVER_AGE.as_secs();
        for (after, is_due) in [(0, true), (1, false), (day - 1, false), (day, true), (day + 1, false), (2 * day, true)] {
            assert_eq!(takes_turn(&swept, began + Duration::from_secs(after)), is_due, "after {after} s");
        }
    }
}

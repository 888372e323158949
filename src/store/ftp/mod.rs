//! Objects as files of an FTP server. OpenDAL's own service stores nothing for an empty file and takes every refusal for
//! an absence, so this one speaks through the library below it.
//!
//! Paths are relative to the folder in which a log-in ends, as in rclone. An object is sent under a hidden name and then
//! renamed: a crash before that leaves a hidden file that no list shows; after it, the object.

mod judge;

use self::judge::{is_unknown_command, judge};
use super::bandwidth::Shaper;
use super::client::Trust;
use super::config::{ServedConfig, check_prefix, join};
use super::error::{Asked, StoreError};
use super::followed::Followed;
use super::http::{check_length, within};
use super::local::TEMPORARY;
use super::objects::{About, Fetched, Mark, Object};
use super::{Listed, Patience};
use crate::tree::Timestamp;
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use suppaftp::list::{File, ListParser};
use suppaftp::tokio::{AsyncRustlsConnector, AsyncRustlsFtpStream};
use suppaftp::tokio_rustls::TlsConnector;
use suppaftp::types::FileType;
use suppaftp::{FtpError, Mode, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Servers allow few connections of one address.
const CONNECTIONS: usize = 4;
/// A connection and a log-in that take longer go to a server that is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A folder of an FTP server.
#[derive(Clone)]
pub(super) struct Ftp {
    shared: Arc<Shared>,
}

struct Shared {
    config: ServedConfig,
    /// What log-ins are made with.
    tls: Followed<Option<TlsConnector>>,
    patience: Patience,
    shaper: Shaper,
    slots: Semaphore,
    idle: Mutex<Vec<AsyncRustlsFtpStream>>,
}

/// A connection in use.
struct Connection<'a> {
    ftp: AsyncRustlsFtpStream,
    _slot: SemaphorePermit<'a>,
}

/// What becomes of a connection after its operation, unless it is over anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoesOn,
    IsGivenUp,
}

/// One line of a listing.
#[derive(Debug)]
enum Line {
    Child(Found),
    /// The folder itself, the one above it, or a total.
    NoChild,
}

/// What a listing says of a name.
#[derive(Debug)]
struct Found {
    name: String,
    size: u64,
    is_folder: bool,
    modified: Timestamp,
}

impl Ftp {
    /// Makes no request.
    pub(super) fn open(config: &ServedConfig, patience: Patience) -> Result<Ftp, StoreError> {
        check_prefix(&config.prefix)?;
        let tls = Followed::open(config, tls)?;
        let slots = Semaphore::new(CONNECTIONS);
        let shaper = Shaper::new(config.bandwidth.clone());
        Ok(Ftp { shared: Arc::new(Shared { config: config.clone(), tls, patience, shaper, slots, idle: Mutex::default() }) })
    }

    /// The remote in words, without secrets.
    pub(super) fn place(config: &ServedConfig) -> String {
        let path = if config.prefix.is_empty() { String::new() } else { format!(" {}", config.prefix) };
        format!("ftp{path} at {}", address(config))
    }

    fn path(&self, key: &str) -> String {
        join(&self.shared.config.prefix, key)
    }

    async fn connection(&self, asked: &Asked) -> Result<Connection<'_>, StoreError> {
        let closed = |_| StoreError::unavailable(asked, "the connections are closed", false);
        let slot = self.shared.slots.acquire().await.map_err(closed)?;
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let ftp = match idle {
            Some(ftp) => ftp,
            None => {
                let made = within(CONNECT_TIMEOUT, self.connect()).await;
                let late = || StoreError::unavailable(asked, "no connection in time", true);
                made.ok_or_else(late)?.map_err(|error| self.judged(asked, &error))?
            }
        };
        Ok(Connection { ftp, _slot: slot })
    }

    async fn connect(&self) -> Result<AsyncRustlsFtpStream, FtpError> {
        // Whoever is logged in stays so; the next log-in is with what the files hold then.
        let (config, tls) = self.shared.tls.current();
        let address = address(&config);
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        let connector = tls.map(AsyncRustlsConnector::from);
        let from_the_first_byte = config.flag("tls");
        let mut ftp = match connector {
            Some(tls) if from_the_first_byte => AsyncRustlsFtpStream::connect_secure_implicit(&address, tls, host).await?,
            Some(tls) => AsyncRustlsFtpStream::connect(&address).await?.into_secure(tls, host).await?,
            None => AsyncRustlsFtpStream::connect(&address).await?,
        };
        if ftp.get_ref().peer_addr().is_ok_and(|peer| peer.is_ipv6()) {
            ftp.set_mode(Mode::ExtendedPassive);
        }
        // Servers behind a translator name an address of their own network.
        ftp.set_passive_nat_workaround(true);
        ftp.login(config.get("user").unwrap_or("anonymous"), config.text("pass")).await?;
        if from_the_first_byte {
            // The bytes of files are encrypted only when that is said.
            ftp.custom_command("PBSZ 0", &[Status::CommandOk]).await?;
            ftp.custom_command("PROT P", &[Status::CommandOk]).await?;
        }
        ftp.transfer_type(FileType::Binary).await?;
        Ok(ftp)
    }

    /// Runs one operation on a connection, which goes on after it.
    async fn run<T>(
        &self,
        asked: &Asked,
        bytes: u64,
        work: impl AsyncFnOnce(&mut AsyncRustlsFtpStream) -> Result<T, FtpError>,
    ) -> Result<T, StoreError> {
        self.run_then(asked, bytes, async |ftp| (work(ftp).await, After::GoesOn)).await
    }

    async fn run_then<T>(
        &self,
        asked: &Asked,
        bytes: u64,
        work: impl AsyncFnOnce(&mut AsyncRustlsFtpStream) -> (Result<T, FtpError>, After),
    ) -> Result<T, StoreError> {
        let mut connection = self.connection(asked).await?;
        let longest = self.shared.patience.for_upload(bytes);
        let outcome = within(longest, work(&mut connection.ftp)).await;
        let is_over = match &outcome {
            Some((Ok(_), _)) => false,
            // After a refusal the connection goes on; 421 says that the server ends it.
            Some((Err(FtpError::UnexpectedResponse(answer)), _)) => answer.status == Status::NotAvailable,
            _ => true,
        };
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if is_over {
            // Whatever ended this connection has most likely ended those too that wait for longer.
            idle.clear();
        } else if matches!(outcome, Some((_, After::GoesOn))) {
            idle.push(connection.ftp);
        }
        drop(idle);
        let late = || StoreError::unavailable(asked, format!("no whole answer within {} s", longest.as_secs()), true);
        let (done, _) = outcome.ok_or_else(late)?;
        done.map_err(|error| self.judged(asked, &error))
    }

    fn judged(&self, asked: &Asked, error: &FtpError) -> StoreError {
        let config = self.shared.tls.config();
        let password = config.options.get("pass").filter(|password| password.expose().len() > 3);
        judge(asked, error).without(&password.into_iter().collect::<Vec<_>>())
    }

    pub(super) async fn put(&self, asked: &Asked, body: Bytes) -> Result<(), StoreError> {
        self.shared.shaper.up(body.len()).await;
        let random = super::random_name().map_err(|error| StoreError::unavailable(asked, error.to_string(), false))?;
        let (target, temporary) = (self.path(&asked.key), self.path(&format!("{TEMPORARY}{random}")));
        self.run(asked, body.len() as u64, async |ftp| {
            let mut stream = match ftp.put_with_stream(&temporary).await {
                Err(error) if is_refusal(&error) => {
                    make_folders(ftp, &temporary).await?;
                    ftp.put_with_stream(&temporary).await?
                }
                outcome => outcome?,
            };
            stream.write_all(&body).await.map_err(FtpError::ConnectionError)?;
            ftp.finalize_put_stream(stream).await?;
            let moved = place(ftp, &temporary, &target).await;
            if moved.is_err() {
                let _ = ftp.rm(&temporary).await;
            }
            moved
        })
        .await
    }

    pub(super) async fn delete(&self, asked: &Asked) -> Result<(), StoreError> {
        let path = self.path(&asked.key);
        let removed = self.run(asked, 0, async |ftp| ftp.rm(&path).await).await;
        match removed {
            Err(error @ StoreError::Denied { .. }) if self.look(asked).await?.is_some() => Err(error),
            Err(StoreError::Denied { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// What lies under a key. Servers say "550" of what is absent and of what is forbidden, so absence is read from the
    /// listings above it.
    async fn look(&self, asked: &Asked) -> Result<Option<Found>, StoreError> {
        let path = self.path(&asked.key);
        let mut above = String::new();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let folder = above.clone();
            let found = self.run(asked, 0, async |ftp| list(ftp, &folder).await).await?;
            match found.into_iter().find(|found| found.name == part) {
                Some(found) if parts.peek().is_none() => return Ok(Some(found)),
                Some(found) if found.is_folder => above = join(&above, part),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn stat(&self, asked: &Asked) -> Result<Found, StoreError> {
        let path = self.path(&asked.key);
        let told = self.run(asked, 0, async |ftp| ftp.mlst(Some(&path)).await).await;
        let found = match told {
            Ok(line) => {
                let facts = line.split(' ').next().and_then(facts_of);
                Some(facts.ok_or_else(|| StoreError::unavailable(asked, "the answer cannot be read", true))?)
            }
            // Absent, forbidden, or a command that the server does not know.
            Err(StoreError::Denied { .. } | StoreError::NotSupported { .. }) => self.look(asked).await?,
            Err(error) => return Err(error),
        };
        found.filter(|found| !found.is_folder).ok_or_else(|| StoreError::NotFound(Box::new(asked.clone())))
    }

    pub(super) async fn size(&self, asked: &Asked) -> Result<Option<u64>, StoreError> {
        match self.stat(asked).await {
            Ok(found) => Ok(Some(found.size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn get(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        let length = self.stat(asked).await?.size;
        self.read(asked, range, length).await
    }

    async fn read(&self, asked: &Asked, range: Option<&Range<u64>>, length: u64) -> Result<Bytes, StoreError> {
        let range = range.cloned().unwrap_or(0..length);
        if range.start >= length && length + range.start > 0 {
            return Err(StoreError::Outside(Box::new(asked.clone())));
        }
        let wanted = range.end.min(length) - range.start;
        check_length(asked, wanted)?;
        let path = self.path(&asked.key);
        let to_end = range.end >= length;
        let retrieved = self.run_then(asked, wanted, async |ftp| {
            let retrieved = retrieve(ftp, &path, range.start, wanted, to_end).await;
            // Before the end the server still sends, and after a refusal it may begin the next transfer where this one was to
            // begin: such a connection is given up.
            let goes_on = to_end && (retrieved.is_ok() || range.start == 0);
            (retrieved, if goes_on { After::GoesOn } else { After::IsGivenUp })
        });
        let body = retrieved.await?;
        self.shared.shaper.down(body.len()).await;
        if body.len() as u64 != wanted {
            return Err(StoreError::unavailable(asked, format!("the answer broke off after {} bytes", body.len()), true));
        }
        Ok(Bytes::from(body))
    }

    async fn children(&self, asked: &Asked) -> Result<Vec<Found>, StoreError> {
        let folder = self.path(&asked.key);
        match self.run(asked, 0, async |ftp| list(ftp, &folder).await).await {
            // A folder that does not exist is an empty one, as on S3.
            Err(error @ StoreError::Denied { .. }) => match folder.is_empty() {
                false if self.look(asked).await?.is_none() => Ok(Vec::new()),
                _ => Err(error),
            },
            outcome => outcome,
        }
    }

    /// The direct children of a folder, sorted by name.
    pub(super) async fn list(&self, asked: &Asked) -> Result<Vec<Listed>, StoreError> {
        let listed = |found: Found| Listed {
            size: if found.is_folder { 0 } else { found.size },
            name: found.name,
            is_folder: found.is_folder,
        };
        let mut all: Vec<Listed> = self.children(asked).await?.into_iter().map(listed).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The objects directly in a folder, and the folders in it.
    pub(super) async fn objects(&self, asked: &Asked) -> Result<(Vec<Object>, Vec<String>), StoreError> {
        let (mut objects, mut folders) = (Vec::new(), Vec::new());
        for found in self.children(asked).await? {
            let key = join(&asked.key, &found.name);
            if found.is_folder {
                folders.push(key);
            } else {
                objects.push(Object { key, size: found.size, mark: mark(&found), modified: found.modified });
            }
        }
        Ok((objects, folders))
    }

    pub(super) async fn fetch(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Fetched, StoreError> {
        let before = self.stat(asked).await?;
        let bytes = self.read(asked, range, before.size).await?;
        if mark(&before) != mark(&self.stat(asked).await?) {
            return Err(StoreError::unavailable(asked, "the object changed while it was read", true));
        }
        Ok(Fetched { bytes, mark: mark(&before), about: About { mtime: Some(before.modified), mode: None } })
    }

    pub(super) async fn put_file(&self, asked: &Asked, body: Bytes) -> Result<Mark, StoreError> {
        let length = body.len() as u64;
        self.put(asked, body).await?;
        let found = self.stat(asked).await?;
        if found.size != length {
            return Err(StoreError::unavailable(asked, "the store kept another length than was sent", true));
        }
        Ok(mark(&found))
    }
}

/// Host and port.
fn address(config: &ServedConfig) -> String {
    let host = config.text("host");
    let has_port = host.rsplit_once(':').is_some_and(|(name, port)| !name.ends_with(':') && port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{}", config.get("port").unwrap_or("21")) }
}

fn tls(config: &ServedConfig) -> Result<Option<TlsConnector>, StoreError> {
    if !(config.flag("explicit_tls") || config.flag("tls")) {
        return Ok(None);
    }
    let trust = Trust::of_served(config)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(trust.certificates()?);
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// A folder's children, without the folder itself and what is under way.
async fn list(ftp: &mut AsyncRustlsFtpStream, folder: &str) -> Result<Vec<Found>, FtpError> {
    let path = Some(folder).filter(|folder| !folder.is_empty());
    let (lines, parse): (_, fn(&str) -> Option<Line>) = match ftp.mlsd(path).await {
        Ok(lines) => (lines, machine_line),
        Err(FtpError::UnexpectedResponse(answer)) if is_unknown_command(answer.status) => (ftp.list(path).await?, human_line),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for line in &lines {
        // A name that is not understood must not be missing from the listing without a word.
        let Line::Child(found) = parse(line).ok_or(FtpError::BadResponse)? else { continue };
        if !found.name.starts_with(TEMPORARY) && !matches!(found.name.as_str(), "." | "..") {
            all.push(found);
        }
    }
    Ok(all)
}

/// A line for programs: facts, a space, and the name with whatever is in it.
fn machine_line(line: &str) -> Option<Line> {
    let (facts, name) = line.split_once(' ').filter(|(_, name)| !name.is_empty())?;
    let is = |fact: &str, other: &str| fact.eq_ignore_ascii_case(other);
    if facts.split(';').any(|fact| is(fact, "type=cdir") || is(fact, "type=pdir")) {
        return Some(Line::NoChild);
    }
    Some(Line::Child(Found { name: name.to_owned(), ..facts_of(facts)? }))
}

/// The library would look for facts in the name too, so it is not shown any.
fn facts_of(facts: &str) -> Option<Found> {
    ListParser::parse_mlsd(facts).ok().map(|file| found(&file))
}

/// A line for people, as Unix or DOS writes it.
fn human_line(line: &str) -> Option<Line> {
    if line.trim().is_empty() || line.to_ascii_lowercase().starts_with("total ") {
        return Some(Line::NoChild);
    }
    let file = ListParser::parse_posix(line).or_else(|_| ListParser::parse_dos(line)).ok()?;
    Some(Line::Child(found(&file)))
}

fn found(file: &File) -> Found {
    let modified = file.modified().duration_since(UNIX_EPOCH).map_or_else(
        |_| Timestamp::default(),
        |since| Timestamp { seconds: i64::try_from(since.as_secs()).unwrap_or(0), nanos: since.subsec_nanos() },
    );
    Found { name: file.name().to_owned(), size: file.size() as u64, is_folder: file.is_directory(), modified }
}

fn mark(found: &Found) -> Mark {
    Mark(format!("{}@{}", found.size, found.modified.seconds))
}

async fn retrieve(
    ftp: &mut AsyncRustlsFtpStream,
    path: &str,
    start: u64,
    wanted: u64,
    to_end: bool,
) -> Result<Vec<u8>, FtpError> {
    if start > 0 {
        ftp.resume_transfer(usize::try_from(start).unwrap_or(usize::MAX)).await?;
    }
    let mut stream = ftp.retr_as_stream(path).await?;
    let mut body = Vec::new();
    (&mut stream).take(wanted).read_to_end(&mut body).await.map_err(FtpError::ConnectionError)?;
    if to_end {
        // One byte more than was promised is another object.
        let more = (&mut stream).take(1).read_to_end(&mut body).await.map_err(FtpError::ConnectionError)?;
        ftp.finalize_retr_stream(stream).await?;
        debug_assert!(more <= 1);
    }
    Ok(body)
}

/// Gives a finished file its name.
async fn place(ftp: &mut AsyncRustlsFtpStream, from: &str, to: &str) -> Result<(), FtpError> {
    match ftp.rename(from, to).await {
        Err(error) if is_refusal(&error) => {}
        outcome => return outcome,
    }
    make_folders(ftp, to).await?;
    match ftp.rename(from, to).await {
        Err(error) if is_refusal(&error) => {}
        outcome => return outcome,
    }
    // Some servers do not rename onto a file. A crash between the two leaves neither; the next push repeats it.
    let _ = ftp.rm(to).await;
    ftp.rename(from, to).await
}

/// Makes what is missing above a path. A folder that is there is refused like one that is forbidden; what follows tells.
async fn make_folders(ftp: &mut AsyncRustlsFtpStream, path: &str) -> Result<(), FtpError> {
    for (at, _) in path.match_indices('/') {
        match ftp.mkdir(&path[..at]).await {
            Err(error) if is_refusal(&error) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

fn is_refusal(error: &FtpError) -> bool {
    let FtpError::UnexpectedResponse(answer) = error else { return false };
    // 521 is "exists already" for some.
    matches!(answer.status, Status::FileUnavailable | Status::BadFilename | Status::Unknown)
}

#[cfg(test)]
mod tests;

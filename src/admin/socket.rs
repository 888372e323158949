//! The sidecar's end of the control socket.

use super::accept::accept_until;
use super::error::AdminError;
use super::health::Health;
use super::place::{Place, is_socket};
use crate::contract::control::{ControlError, LINE_BYTES, Reply, Request, Status, parse_request, reply_line};
use crate::fault::Kind;
use crate::runtime::{Stop, clock, limits};
use crate::telemetry::Metrics;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::task::Context;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// What the loop is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Termination has begun.
    Interrupt {
        /// The answer shall come when nothing is left to push or the deadline is reached; else at once.
        wait: bool,
        /// When it was asked: the grace period has run since then at least.
        asked: Instant,
    },
    /// One pass now.
    Pass {
        /// Releases the held deletions whose plan has this hash.
        allow_deletes: Option<[u8; 8]>,
    },
}

/// A command and where its answer goes. Dropping it answers that the sidecar ended.
#[derive(Debug)]
pub struct Wish {
    /// What is wanted.
    pub command: Command,
    /// Whoever asked may be gone; what was wanted is done nevertheless.
    pub reply: oneshot::Sender<Reply>,
}

/// Where the socket puts what it is asked for.
#[derive(Debug, Clone)]
pub struct Wishes {
    sender: mpsc::Sender<Wish>,
}

/// A queue of wishes: the end for the socket, and the end for the loop, which has to look at it also while a pass runs.
pub fn wishes() -> (Wishes, mpsc::Receiver<Wish>) {
    let (sender, receiver) = mpsc::channel(limits::CONTROL_CONNECTIONS);
    (Wishes { sender }, receiver)
}

/// The control socket, listening. Removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    place: Place,
}

impl ControlSocket {
    /// Listens at the first of these paths whose directory exists and can be written, for the owner alone. What a dead
    /// process left is replaced; where another process listens, nothing is done.
    pub async fn bind(paths: &[PathBuf]) -> Result<ControlSocket, AdminError> {
        let mut tried = Vec::new();
        for path in paths {
            match ControlSocket::bind_one(Place::open(path)).await {
                Ok(socket) => return Ok(socket),
                // A second socket elsewhere would not be found: the first answers for both.
                Err(error @ AdminError::InUse { .. }) => return Err(error),
                Err(error) => tried.push(error),
            }
        }
        if tried.len() == 1 {
            return Err(tried.remove(0));
        }
        let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
        Err(AdminError::NoPlace { tried: tried.join("; ") })
    }

    async fn bind_one(place: Result<Place, AdminError>) -> Result<ControlSocket, AdminError> {
        let mut place = place?;
        match place.look()? {
            None => {}
            Some(stat) if !is_socket(&stat) => return Err(AdminError::NotASocket { path: place.shown() }),
            Some(_) if is_live(&place).await? => return Err(AdminError::InUse { path: place.shown() }),
            Some(_) => {}
        }
        place.clear_new()?;
        let listener =
            UnixListener::bind(place.new_address()).map_err(|error| place.fault("making the control socket", error))?;
        place.publish()?;
        Ok(ControlSocket { listener, place })
    }

    /// Where it listens.
    pub fn path(&self) -> String {
        self.place.shown()
    }

    /// Answers until the stop is asked for, which is not the wish to end the process but that of the loop when it has
    /// answered every wish: the final pass goes on being watched. Answers that are ready get a moment to leave.
    pub async fn serve(self, stop: &Stop, health: &Health, metrics: &Metrics, wishes: &Wishes) {
        let accept = |context: &mut Context<'_>| self.listener.poll_accept(context).map_ok(|(stream, _)| stream);
        accept_until(stop, "control connections", accept, |stream, connections| {
            if connections.len() >= limits::CONTROL_CONNECTIONS {
                return turn_away(&stream);
            }
            let host = Host { health: health.clone(), metrics: metrics.clone(), wishes: wishes.clone() };
            connections.spawn(async move { host.receive(stream).await });
        })
        .await;
    }
}

/// Whether a process listens there.
async fn is_live(place: &Place) -> Result<bool, AdminError> {
    match timeout(limits::CONTROL_TIMEOUT, UnixStream::connect(place.address())).await {
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(false),
        // Too many want to be heard, or it is slow: it lives.
        Ok(Ok(_)) | Err(_) => Ok(true),
        Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Ok(Err(error)) => Err(place.fault("asking whether a process listens on", error)),
    }
}

fn turn_away(stream: &UnixStream) {
    let reply = Reply::new(Kind::Unavailable.exit_code(), "too many connections to the control socket");
    // A fresh connection takes a line at once; if not, being cut says it too.
    let _ = stream.try_write(&reply_line(&reply));
}

/// What a connection can reach.
struct Host {
    health: Health,
    metrics: Metrics,
    wishes: Wishes,
}

impl Host {
    /// One line in, one line out.
    async fn receive(&self, mut stream: UnixStream) {
        let reply = match timeout(limits::CONTROL_TIMEOUT, read_line(&mut stream)).await {
            Ok(Ok(line)) => match parse_request(&line) {
                Ok(request) => self.answer(request).await,
                Err(error) => refusal(&error),
            },
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => refusal(&ControlError::NotJson),
            // Nobody is there to be answered.
            Ok(Err(_)) | Err(_) => return,
        };
        let _ = timeout(limits::CONTROL_TIMEOUT, stream.write_all(&reply_line(&reply))).await;
    }

    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Health { check } => match self.health.check(check) {
                Ok(()) => Reply::new(0, format!("{}: all is well", check.word())),
                Err(unwell) => Reply::new(1, unwell.to_string()),
            },
            Request::Status => Reply { status: Some(Box::new(self.status())), ..Reply::new(0, "") },
            Request::Interrupt { wait } => self.relay(Command::Interrupt { wait, asked: clock::now() }).await,
            Request::Pass { allow_deletes } => self.relay(Command::Pass { allow_deletes }).await,
        }
    }

    fn status(&self) -> Status {
        let gauges = self.metrics.gauges();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            pending_files: gauges.pending_files,
            pending_bytes: gauges.pending_bytes,
            deletes_held: gauges.deletes_held,
            generation: gauges.generation,
            polling: gauges.polling,
            ..self.health.status()
        }
    }

    /// Passes a command on to the loop. The one who asks bounds the wait.
    async fn relay(&self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let ended = || Reply::new(Kind::Unfinished.exit_code(), "the sidecar ended before it answered");
        if self.wishes.sender.send(Wish { command, reply }).await.is_err() {
            return ended();
        }
        answer.await.unwrap_or_else(|_| ended())
    }
}

fn refusal(error: &ControlError) -> Reply {
    Reply::new(Kind::Usage.exit_code(), error.to_string())
}

/// A line without its end; one that is too long is an error of the kind `InvalidData`.
pub(super) async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LINE_BYTES as u64)).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() >= LINE_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(line)
}

//! The asking end of the control socket.

use super::error::AdminError;
use super::place::Place;
use super::socket::read_line;
use crate::contract::control::{Reply, Request, parse_reply, request_line};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// Asks the sidecar that listens at a path.
pub async fn ask(path: &Path, request: &Request, timeout: Duration) -> Result<Reply, AdminError> {
    let place = match Place::open(path) {
        Ok(place) => place,
        Err(AdminError::Kernel { cause, .. }) if is_absence(&cause) => return Err(nobody(std::slice::from_ref(&path))),
        Err(error) => return Err(error),
    };
    match tokio::time::timeout(timeout, exchange(&place, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(AdminError::NoAnswer { path: place.shown(), waited: timeout }),
    }
}

/// Asks at the first of these paths where a process listens.
pub async fn ask_any(paths: &[PathBuf], request: &Request, timeout: Duration) -> Result<Reply, AdminError> {
    for path in paths {
        match ask(path, request, timeout).await {
            Err(error) if error.is_nobody() => {}
            answer => return answer,
        }
    }
    Err(nobody(paths))
}

async fn exchange(place: &Place, request: &Request) -> Result<Reply, AdminError> {
    let mut stream = UnixStream::connect(place.address()).await.map_err(|error| match error.kind() {
        _ if is_absence(&error) => nobody(&[place.shown()]),
        _ => place.fault("connecting to the control socket", error),
    })?;
    // The other side may answer and leave before it has read everything: what counts is the answer.
    let sent = stream.write_all(&request_line(request)).await;
    match read_line(&mut stream).await {
        Ok(line) => Ok(parse_reply(&line)?),
        Err(error) => Err(place.fault("asking at the control socket", sent.err().unwrap_or(error))),
    }
}

/// Whether the error says that no process listens.
fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory)
}

fn nobody(paths: &[impl AsRef<Path>]) -> AdminError {
    let tried: Vec<String> = paths.iter().map(|path| format!("'{}'", path.as_ref().display())).collect();
    AdminError::NobodyListens { tried: tried.join(" or ") }
}

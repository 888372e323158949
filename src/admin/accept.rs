//! What all servers do with connections.

use crate::runtime::{Stop, Tasks, clock, limits};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// Begins a task for each connection until the stop is asked for. Those under way then get so long to end; what is left is
/// cut.
pub async fn accept_until<S>(
    (stop, farewell): (&Stop, Duration),
    name: &'static str,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    mut begin: impl FnMut(S, &mut Tasks<()>),
) {
    let mut connections = Tasks::new(name);
    // Cancel-safe: accepting and joining lose nothing when they are dropped.
    loop {
        tokio::select! {
            () = stop.wait() => break,
            Some(()) = connections.next() => {}
            accepted = poll_fn(&mut poll_accept) => match accepted {
                Ok(stream) => begin(stream, &mut connections),
                Err(error) => {
                    tracing::debug!(%error, "accepting {name}");
                    clock::sleep(limits::ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // A listener that was handed over is closed: who comes now is told at once that nobody is here.
    drop(poll_accept);
    let ending = async { while connections.next().await.is_some() {} };
    let _ = timeout(farewell, ending).await;
}

//! What both servers do with connections.

use crate::runtime::{Stop, Tasks, clock, limits};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use tokio::time::timeout;

/// Begins a task for each connection until the stop is asked for. Those under way then get a moment to end; what is left
/// is cut.
pub(super) async fn accept_until<S>(
    stop: &Stop,
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
    let farewell = async { while connections.next().await.is_some() {} };
    let _ = timeout(limits::FAREWELL, farewell).await;
}

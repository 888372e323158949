//! The news of a complete pass, for a service that raises the alarm when none comes: one GET of a URL.

use super::client::Trust;
use crate::runtime::limits;
use crate::secret::Secret;
use std::error::Error;
use std::time::Duration;

/// Where the news goes. Whoever knows the URL can fake the news, so it is a secret.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    url: Secret<String>,
}

/// The news did not arrive. Never holds the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the heartbeat URL was not reached: {0}")]
pub struct HeartbeatError(String);

impl Heartbeat {
    /// Nothing is asked yet.
    pub fn new(url: Secret<String>) -> Heartbeat {
        Heartbeat { url }
    }

    /// Tells it, once. A client of its own for each time: between two passes there is nothing to keep.
    pub async fn send(&self) -> Result<(), HeartbeatError> {
        // A redirected request would carry the URL on as its referrer.
        let client = Trust::public().client().map_err(|error| HeartbeatError(error.to_string()))?;
        let request = client.get(self.url.expose()).timeout(limits::HEARTBEAT_TIMEOUT);
        let response = request.send().await.map_err(|error| HeartbeatError(because(error, limits::HEARTBEAT_TIMEOUT)))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(HeartbeatError(format!("it answered {}", status.as_u16()))) }
    }
}

/// The deepest cause, which names no URL. The client waited for so long.
pub(super) fn because(error: reqwest::Error, waited: Duration) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", waited.as_secs());
    }
    let error = error.without_url();
    let mut deepest: &dyn Error = &error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

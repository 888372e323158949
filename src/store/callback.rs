//! A call to a program that listens for it: one POST, and its answer's status.

use super::client::{CONNECT_TIMEOUT, Trust};
use super::heartbeat::because;
use super::http::within;
use crate::runtime::limits;
use crate::secret::Secret;
use std::time::Duration;

/// Where the call goes. It may carry a password or a token, so it is a secret.
#[derive(Debug, Clone)]
pub struct Callback {
    url: Secret<String>,
}

/// Why a call did not succeed. Never holds the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Nobody answered.
    #[error("it was not reached: {0}")]
    Unreached(String),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    TooLong(Duration),
    /// The answer was that it failed.
    #[error("it answered {0}")]
    Refused(u16),
}

impl Callback {
    /// Nothing is asked yet.
    pub fn new(url: Secret<String>) -> Callback {
        Callback { url }
    }

    /// Calls once, with a body of JSON, and waits for at most so long. Beside how it ended: the beginning of the answer.
    pub async fn post(&self, json: String, longest: Duration) -> (Result<(), CallbackError>, String) {
        let mut said = Vec::new();
        let ended = within(longest, self.exchange(json, &mut said)).await.unwrap_or(Err(CallbackError::TooLong(longest)));
        (ended, String::from_utf8_lossy(&said).into_owned())
    }

    async fn exchange(&self, json: String, said: &mut Vec<u8>) -> Result<(), CallbackError> {
        let client = Trust::public().client().map_err(|error| CallbackError::Unreached(error.to_string()))?;
        let request = client.post(self.url.expose()).header("content-type", "application/json").body(json);
        // For an answer only the caller waits; the client itself, for the connection.
        let unreached = |error| CallbackError::Unreached(because(error, CONNECT_TIMEOUT));
        let mut response = request.send().await.map_err(unreached)?;
        let status = response.status();
        // The status is the answer; words that are cut off take nothing from it.
        while let Ok(Some(piece)) = response.chunk().await {
            let room = limits::CHILD_OUTPUT_BYTES.saturating_sub(said.len());
            said.extend_from_slice(&piece[..piece.len().min(room)]);
            if room <= piece.len() {
                break;
            }
        }
        if status.is_success() { Ok(()) } else { Err(CallbackError::Refused(status.as_u16())) }
    }
}

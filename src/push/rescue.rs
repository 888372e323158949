//! A push that a newer writer overtook: its commit may not be published any more, and is kept as a rescue.

use super::PushError;
use crate::runtime::Stop;
use crate::vault::container::Sealed;
use crate::vault::error::VaultError;
use crate::vault::point::rescue_name;
use crate::vault::rescue::leave;
use crate::vault::writer::Writer;
use std::fmt;

/// What became of what an overtaken writer had not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescue {
    /// It is kept under this name.
    Kept(String),
    /// It could not be kept; the reason.
    NotKept(String),
}

impl fmt::Display for Rescue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rescue::Kept(name) => write!(out, "what it had not published is kept as {name}"),
            Rescue::NotKept(why) => write!(out, "what it had not published is only on its volume: {why}"),
        }
    }
}

impl Rescue {
    /// How to get at it.
    pub fn hint(&self) -> String {
        match self {
            Rescue::Kept(name) => format!(
                "stop this writer; `remote-to-local-sync --at {name}` into another directory restores what it had, and `ls --at {name}` lists it"
            ),
            Rescue::NotKept(_) => {
                "stop this writer; restore the remote elsewhere and compare, or push this volume's state with -f".to_string()
            }
        }
    }
}

/// The error that ends the push. A writer that was fenced leaves what it could not publish as a rescue first.
pub async fn keep(writer: &Writer, unpublished: &Sealed, error: VaultError, stop: &Stop) -> PushError {
    if !matches!(error, VaultError::Fenced { .. }) {
        return error.into();
    }
    let rescue = match leave(writer, unpublished, stop).await {
        Ok(Some(id)) => Rescue::Kept(rescue_name(id)),
        Ok(None) => Rescue::NotKept("a later writer has cleaned up after this one".to_string()),
        Err(error) => Rescue::NotKept(error.to_string()),
    };
    tracing::warn!("another writer took over; {rescue}");
    PushError::Overtaken { error: Box::new(error), rescue }
}

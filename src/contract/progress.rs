//! What a sidecar tells the controller of its passes: one JSON object, posted with a token that says which Pod it is.
//!
//! Both ends are this program, but rarely of one version: a field that may be left out does not change the version, and a
//! reader passes over fields that it does not know.

use super::control::PassResult;
use serde::{Deserialize, Serialize};

/// The version of the language.
pub const VERSION: u64 = 1;
/// Whom the token is for. It opens nothing at the API server.
pub const AUDIENCE: &str = "volume-syncing-controller.riotkit.org";
/// Where the token is mounted: in the place of the application's own, which these containers are not to have.
pub const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// No report is longer.
pub const BODY_BYTES: usize = 4 << 10;
/// No path at a remote is longer.
pub const DIRECTORY_BYTES: usize = 1 << 10;
/// A message is cut at this length; in JSON it may take twice as much.
pub const MESSAGE_BYTES: usize = 512;

/// How one Pod stands with its remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`VERSION`].
    pub version: u64,
    /// The PodFilesystemSync.
    pub sync: String,
    /// The path at the remote.
    pub directory: String,
    /// What was done.
    pub step: Step,
    /// What it came to.
    pub result: PassResult,
    /// What kind of trouble there is, where the result is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The newest commit; 0 without encryption.
    #[serde(default)]
    pub generation: u64,
    /// The epoch of this writer; 0 for none.
    #[serde(default)]
    pub epoch: u64,
    /// Since the end of the last pass after which the remote held all of the volume; none: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_complete_ms: Option<u64>,
    /// Bytes known to wait for a push.
    #[serde(default)]
    pub pending_bytes: u64,
    /// Deletes that wait for an approval.
    #[serde(default)]
    pub deletes_held: u64,
    /// The slot that opened the vault: it tells keys apart and opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The volume was restored, before the application began.
    Restore,
    /// A pass.
    Push,
}

/// Trouble that asks for something of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The key does not open what lies at the remote.
    KeyMismatch,
    /// Another writer has taken over.
    LeaseHeld,
    /// Deletes wait for an approval.
    DeletesHeld,
    /// Any other.
    #[serde(other)]
    Failing,
}

impl Trouble {
    /// As it is written in the status.
    pub fn word(self) -> &'static str {
        match self {
            Trouble::KeyMismatch => "KeyMismatch",
            Trouble::LeaseHeld => "LeaseHeld",
            Trouble::DeletesHeld => "DeletesHeld",
            Trouble::Failing => "Failing",
        }
    }
}

/// A text on one line and of at most so many bytes.
pub fn one_line(text: &str, bytes: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(bytes));
    line
}

#[cfg(test)]
mod tests {
    use super::{BODY_BYTES, DIRECTORY_BYTES, MESSAGE_BYTES, Report, Step, Trouble, VERSION, one_line};
    use crate::contract::control::PassResult;

    fn longest() -> Report {
        Report {
            version: VERSION,
            sync: "s".repeat(253),
            directory: "\"".repeat(DIRECTORY_BYTES),
            step: Step::Restore,
            result: PassResult::Complete,
            trouble: Some(Trouble::DeletesHeld),
            message: Some(one_line(&"\\\n".repeat(MESSAGE_BYTES), MESSAGE_BYTES)),
            generation: u64::MAX,
            epoch: u64::MAX,
            since_complete_ms: Some(u64::MAX),
            pending_bytes: u64::MAX,
            deletes_held: u64::MAX,
            key_fingerprint: Some("f".repeat(16)),
        }
    }

    #[test]
    fn the_longest_report_is_short_enough_and_comes_back() {
        let report = longest();
        let bytes = serde_json::to_vec(&report).unwrap();
        assert!(bytes.len() <= BODY_BYTES, "{}", bytes.len());
        assert_eq!(serde_json::from_slice::<Report>(&bytes).unwrap(), report);
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over() {
        let text = r#"{"version":1,"sync":"a","directory":"/b","step":"push","result":"partial","trouble":"Moon","tide":3}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!((report.trouble, report.pending_bytes), (Some(Trouble::Failing), 0));
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(one_line("a\nb\u{7}ć", 4), "a b ");
        assert_eq!(one_line("short", 100), "short");
    }
}

//! What an SFTP server's answers mean.

use super::super::error::{Asked, StoreError};
use super::line::Trouble;
use super::login::Lost;
use russh_sftp::protocol::StatusCode;

const REACH: &str = "check host, port and the network, and that the server is up";

/// Why an operation did not succeed.
pub(super) fn judge(asked: &Asked, trouble: &Trouble) -> StoreError {
    let status = match trouble {
        Trouble::Status(status) => status,
        Trouble::Timeout => return StoreError::unavailable(asked, "no answer in time", true).hinted(REACH),
        _ => return StoreError::unavailable(asked, "the connection broke off", true).hinted(REACH),
    };
    let words: String = status.error_message.chars().filter(|letter| !letter.is_control()).take(200).collect();
    let text = format!("the server answered {}", if words.is_empty() { status.status_code.to_string() } else { words });
    let asked = Box::new(asked.clone());
    match status.status_code {
        StatusCode::NoSuchFile => StoreError::NotFound(asked),
        StatusCode::PermissionDenied => {
            StoreError::Denied { asked, answer: text, hint: "check what the user may do there".into() }
        }
        StatusCode::OpUnsupported => StoreError::NotSupported { asked, answer: text },
        StatusCode::NoConnection | StatusCode::ConnectionLost => StoreError::unavailable(&asked, text, true).hinted(REACH),
        StatusCode::Failure => {
            let hint = "the server gives no reason: look whether its disk is full or read-only, or a quota is reached";
            StoreError::unavailable(&asked, text, false).hinted(hint)
        }
        _ => StoreError::usage(format!("{asked}: {text}"), "the server refused the request itself: check the remote path"),
    }
}

/// Why there is no connection.
pub(super) fn judge_lost(asked: &Asked, lost: Lost) -> StoreError {
    match lost {
        Lost::Key { what, hint } => StoreError::usage(format!("{asked}: {what}"), hint),
        Lost::Refused(answer) => {
            let hint = "check user, key and password, and what the server allows".into();
            StoreError::Denied { asked: Box::new(asked.clone()), answer, hint }
        }
        Lost::Broken(error) => {
            let (text, temporary) = match &error {
                russh::Error::IO(error) => (error.to_string(), true),
                russh::Error::NoCommonAlgo { .. } => (error.to_string(), false),
                _ => (format!("the connection broke off ({error})"), true),
            };
            StoreError::unavailable(asked, text, temporary).hinted(REACH)
        }
    }
}

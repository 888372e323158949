//! What an FTP server's answers mean.

use super::super::error::{Asked, StoreError};
use suppaftp::{FtpError, Status};

pub(super) fn is_unknown_command(status: Status) -> bool {
    matches!(status, Status::BadCommand | Status::NotImplemented | Status::NotImplementedParameter)
}

/// Why an operation did not succeed.
pub(super) fn judge(asked: &Asked, error: &FtpError) -> StoreError {
    let boxed = Box::new(asked.clone());
    let reach = "check host, port and the network, and that the server is up";
    let answer = match error {
        FtpError::UnexpectedResponse(answer) => answer,
        FtpError::ConnectionError(lost) => return StoreError::unavailable(asked, lost.to_string(), true).hinted(reach),
        FtpError::SecureError(lost) => {
            let hint =
                "check that the server offers TLS that way (explicit_tls, tls); give a private certificate authority by file";
            return StoreError::unavailable(asked, lost.clone(), false).hinted(hint);
        }
        _ => return StoreError::unavailable(asked, "the answer cannot be read", true).hinted(reach),
    };
    let words: String = String::from_utf8_lossy(&answer.body).chars().filter(|letter| !letter.is_control()).take(200).collect();
    let text = format!("the server answered {words}");
    match answer.status {
        Status::NotAvailable
        | Status::CannotOpenDataConnection
        | Status::TransferAborted
        | Status::RequestFileActionIgnored
        | Status::ActionAborted => {
            StoreError::unavailable(asked, text, true).of_busy(true).hinted("the server asks for patience: try again later")
        }
        Status::RequestedActionNotTaken | Status::ExceededStorage => {
            StoreError::unavailable(asked, text, false).hinted("make room at the server, or raise the quota")
        }
        status if is_unknown_command(status) => StoreError::NotSupported { asked: boxed, answer: text },
        Status::NotLoggedIn
        | Status::InvalidCredentials
        | Status::StoringNeedAccount
        // Some servers say so of a path that does not exist.
        | Status::BadArguments
        | Status::FileUnavailable
        | Status::BadFilename => {
            let hint = "check user and password, and what the user may do there";
            StoreError::Denied { asked: boxed, answer: text, hint: hint.into() }
        }
        _ => StoreError::usage(format!("{asked}: {text}"), "the server refused the request itself: check the remote's options"),
    }
}

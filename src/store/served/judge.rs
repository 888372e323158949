//! What an answer of any other store than S3 means: from OpenDAL's word for it and the status behind that.

use super::super::error::{Act, Asked, StoreError};
use super::super::http::Exchange;
use opendal::{Error, ErrorKind};

/// Longer words of a store are a page for people.
const WORDS: usize = 300;

/// The error that says why an operation was not carried out.
pub(super) fn judge(asked: &Asked, error: &Error, exchange: &Exchange) -> StoreError {
    let boxed = Box::new(asked.clone());
    let status = match (&exchange.answer, &exchange.credentials) {
        (Some(Err(lost)), _) => {
            let hint = if lost.temporary {
                "check the address, the network and that the store is up"
            } else {
                "check that the address is that of such a store; give a private certificate authority by file"
            };
            return StoreError::unavailable(asked, lost.text.clone(), lost.temporary).of_busy(lost.late).hinted(hint);
        }
        (None, Some(lost)) if lost.temporary => {
            return StoreError::unavailable(asked, format!("no credentials: {}", lost.text), true);
        }
        (None, Some(lost)) => return denied(boxed, format!("no credentials: {}", lost.text)),
        (Some(Ok(got)), _) => got.status,
        (None, None) => 0,
    };
    let answer = answer(error, status, exchange);
    match (error.kind(), status) {
        (ErrorKind::RangeNotSatisfied, _) | (_, 416) => StoreError::Outside(boxed),
        (ErrorKind::NotFound, _) | (_, 404 | 410) if matches!(asked.act, Act::Put | Act::Create) => {
            usage(asked, &answer, "make the bucket, container or library first, or correct the path and the address")
        }
        (ErrorKind::NotFound, _) | (_, 404 | 410) => StoreError::NotFound(boxed),
        (_, 401 | 403 | 407) | (ErrorKind::PermissionDenied, _) => denied(boxed, answer),
        (_, 507) => StoreError::unavailable(asked, answer, false).hinted("make room in the store, or raise its quota"),
        (_, 408 | 423 | 425 | 429 | 500 | 502..=504) | (ErrorKind::RateLimited, _) => {
            let is_busy = matches!(&exchange.answer, Some(Ok(got)) if got.is_busy());
            let hint = "the store asks for patience: try again later";
            StoreError::unavailable(asked, answer, true).of_busy(is_busy).hinted(hint)
        }
        (ErrorKind::Unsupported, _) | (_, 405 | 501) => StoreError::NotSupported { asked: boxed, answer },
        (_, 300..=399) => usage(asked, &answer, "the store redirects elsewhere: give that address"),
        // Nothing was sent.
        (_, 0) if !error.is_temporary() => denied(boxed, "no usable credentials".into()),
        (_, 200..=299) => StoreError::unavailable(asked, "the answer cannot be read", true),
        _ if error.is_temporary() => StoreError::unavailable(asked, answer, true),
        _ => usage(asked, &answer, "the store refused the request itself: check the remote's options"),
    }
}

fn denied(asked: Box<Asked>, answer: String) -> StoreError {
    StoreError::Denied { asked, answer, hint: "check user, password, key or token, and what they may do there".into() }
}

fn usage(asked: &Asked, answer: &str, hint: &str) -> StoreError {
    StoreError::usage(format!("{asked}: {answer}"), hint)
}

/// The store's own words, unless they are a page.
fn answer(error: &Error, status: u16, exchange: &Exchange) -> String {
    let words = match &exchange.answer {
        Some(Ok(got)) if !got.code.is_empty() => format!("{} {}", got.code, got.message),
        _ => error.message().to_owned(),
    };
    // OpenDAL hands on what it read as the fields of a structure; one of them is for people.
    let said = words.split_once("message: \"").and_then(|(_, rest)| rest.split('"').next());
    let words = said.unwrap_or(&words);
    let words: String = words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let words = words.trim().trim_end_matches('.');
    let status = if status == 0 { "the store refused".to_owned() } else { format!("the store answered {status}") };
    let is_page = words.contains('<') || words.chars().count() > WORDS;
    if is_page || words.is_empty() { status } else { format!("{status}: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Kind};
    use crate::store::http::{Got, Lost};

    fn told(act: Act, kind: ErrorKind, status: u16) -> StoreError {
        let asked = Asked { act, key: "log/1".into(), place: "webdav at http://store".into() };
        let got = Got { status, ..Got::default() };
        judge(&asked, &Error::new(kind, "words"), &Exchange { answer: Some(Ok(got)), ..Exchange::default() })
    }

    #[test]
    fn each_answer_asks_for_its_own_action() {
        for (act, kind, status, expected, again) in [
            (Act::Get, ErrorKind::Unexpected, 401, Kind::Denied, false),
            // OpenDAL would try this one again for some services.
            (Act::Put, ErrorKind::PermissionDenied, 403, Kind::Denied, false),
            (Act::Put, ErrorKind::Unexpected, 423, Kind::Unavailable, true),
            (Act::Put, ErrorKind::Unexpected, 507, Kind::Unavailable, false),
            (Act::List, ErrorKind::Unexpected, 503, Kind::Unavailable, true),
            (Act::List, ErrorKind::Unexpected, 200, Kind::Unavailable, true),
            (Act::Put, ErrorKind::NotFound, 404, Kind::Usage, false),
            (Act::Get, ErrorKind::Unexpected, 301, Kind::Usage, false),
            (Act::Get, ErrorKind::Unexpected, 400, Kind::Usage, false),
        ] {
            let error = told(act, kind, status);
            assert_eq!((error.kind(), error.is_temporary()), (expected, again), "{status}: {error}");
            assert!(error.hint().is_some() || status == 200, "{status}");
        }
        assert!(told(Act::Get, ErrorKind::NotFound, 404).is_not_found());
        assert!(told(Act::Get, ErrorKind::Unexpected, 416).is_outside());
        assert!(told(Act::Create, ErrorKind::Unsupported, 501).is_unsupported());
    }

    #[test]
    fn a_page_for_people_is_not_repeated() {
        let asked = Asked { act: Act::Get, key: "k".into(), place: "webdav at http://store".into() };
        let got = Got { status: 403, ..Got::default() };
        let exchange = Exchange { answer: Some(Ok(got)), ..Exchange::default() };
        let error = judge(&asked, &Error::new(ErrorKind::Unexpected, "<html>\nno"), &exchange).to_string();
        assert!(error.ends_with("the store answered 403"), "{error}");
        let fields = "GcsError { code: 403, message: \"no right\", errors: [] }";
        let error = judge(&asked, &Error::new(ErrorKind::Unexpected, fields), &exchange).to_string();
        assert!(error.ends_with("the store answered 403: no right"), "{error}");
    }

    #[test]
    fn no_answer_is_unavailable_and_no_credentials_are_denied() {
        let asked = Asked { act: Act::Get, key: "k".into(), place: "drive at https://www.googleapis.com".into() };
        let lost = |temporary| Lost { text: "gone".into(), temporary, late: false };
        let error = Error::new(ErrorKind::Unexpected, "words");
        let silent = Exchange { answer: Some(Err(lost(true))), ..Exchange::default() };
        assert_eq!(judge(&asked, &error, &silent).kind(), Kind::Unavailable);
        let unsigned = Exchange { credentials: Some(lost(false)), ..Exchange::default() };
        assert_eq!(judge(&asked, &error, &unsigned).kind(), Kind::Denied);
        assert_eq!(judge(&asked, &error, &Exchange::default()).kind(), Kind::Denied);
    }
}

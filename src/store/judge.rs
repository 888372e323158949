//! What an answer of an S3 store means.

use super::error::{Act, Asked, StoreError};
use super::http::{Exchange, Got};

/// The answer of a request that was carried out, or the error that says why it was not.
pub(super) fn settle(asked: &Asked, exchange: Exchange) -> Result<Got, StoreError> {
    match exchange.answer {
        Some(Ok(got)) if exchange.is_renewed => Err(StoreError::unavailable(asked, answer(&got), true)),
        Some(Ok(got)) if (200..300).contains(&got.status) => Ok(got),
        Some(Ok(got)) => Err(refused(asked, &got)),
        Some(Err(lost)) if lost.temporary => Err(StoreError::unavailable(asked, lost.text, true)
            .of_busy(lost.late)
            .hinted("check the endpoint, the network and that the store is up")),
        Some(Err(lost)) => Err(StoreError::unavailable(asked, lost.text, false)
            .hinted("check that the endpoint is an S3 store; give a private certificate authority by file")),
        None => Err(unsigned(asked, exchange)),
    }
}

/// Nothing was sent: the request could not be signed.
fn unsigned(asked: &Asked, exchange: Exchange) -> StoreError {
    match exchange.credentials {
        Some(lost) if lost.temporary => StoreError::unavailable(asked, format!("no credentials: {}", lost.text), true),
        lost => StoreError::Denied {
            asked: Box::new(asked.clone()),
            answer: lost.map_or_else(|| "no credentials were found".into(), |lost| format!("no credentials: {}", lost.text)),
            hint: "give an access key and a secret key, or let the environment give them (AWS_* variables, a profile, \
                   web identity, container or instance metadata)"
                .into(),
        },
    }
}

fn refused(asked: &Asked, got: &Got) -> StoreError {
    let answer = answer(got);
    let boxed = Box::new(asked.clone());
    match (got.status, got.code.as_str()) {
        (_, "NoSuchBucket") => StoreError::Usage {
            message: format!("{asked}: the bucket does not exist ({answer})"),
            hint: Some("create the bucket (a push does it with --create-bucket), or correct the path and the endpoint".into()),
        },
        (404, "NoSuchKey" | "NotFound" | "NoSuchVersion") => StoreError::NotFound(boxed),
        (404, "") if asked.act == Act::Head => StoreError::NotFound(boxed),
        // A missing object is said in S3's words; any other 404 proves nothing about the store.
        (404, _) => usage(asked, &answer, "check the endpoint: this is not how an S3 store answers"),
        (416, _) | (_, "InvalidRange") => StoreError::Outside(boxed),
        (501, _) | (_, "NotImplemented") => StoreError::NotSupported { asked: boxed, answer },
        (_, "SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "OperationAborted")
        | (408 | 409 | 429 | 499 | 500 | 502..=504, _) => {
            let hint = "the store asks for patience: try again later";
            StoreError::unavailable(asked, answer, true).of_busy(got.is_busy()).hinted(hint)
        }
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded") => {
            StoreError::unavailable(asked, answer, false).hinted("make room in the store, or raise its quota")
        }
        (300..=399, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException") => {
            usage(asked, &answer, "the bucket is in another region: give its region, or the endpoint of that region")
        }
        (401 | 403, code) | (400, code @ ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")) => {
            StoreError::Denied { asked: boxed, answer, hint: why_denied(asked, code) }
        }
        (505..=599, _) => StoreError::unavailable(asked, answer, true),
        _ => usage(asked, &answer, "the store refused the request itself: check the remote's options"),
    }
}

fn usage(asked: &Asked, answer: &str, hint: &str) -> StoreError {
    StoreError::usage(format!("{asked}: {answer}"), hint)
}

fn answer(got: &Got) -> String {
    let mut text = format!("the store answered {}", got.status);
    if !got.code.is_empty() {
        text = format!("{text} {}", got.code);
    }
    if !got.message.is_empty() {
        text = format!("{text}: {}", got.message.trim_end_matches('.'));
    }
    text
}

fn why_denied(asked: &Asked, code: &str) -> String {
    let right = asked.act.right();
    match code {
        "RequestTimeTooSkewed" => "this machine's clock and the store's differ too much: set the clock".into(),
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "the session token has expired: supply fresh credentials".into()
        }
        "InvalidAccessKeyId" => "the store does not know this access key: check it, and the endpoint".into(),
        "SignatureDoesNotMatch" => "the secret key does not belong to the access key, or a proxy changed the request".into(),
        "InvalidObjectState" => "the object is archived: restore it in the store first".into(),
        _ if matches!(asked.act, Act::Get | Act::Head) => format!(
            "check the credentials and the policy: the missing right is {right} on the object; without s3:ListBucket \
             a store also answers so for objects that do not exist"
        ),
        _ => format!("check the credentials and the policy: the missing right is {right}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Kind, Report};

    fn told(act: Act, status: u16, code: &str) -> StoreError {
        let asked = Asked { act, key: "log/1".into(), place: "s3://b/p at http://store".into() };
        let got = Got { status, code: code.into(), message: "Words.".into(), ..Got::default() };
        settle(&asked, Exchange { answer: Some(Ok(got)), ..Exchange::default() }).expect_err("not carried out")
    }

    #[test]
    fn each_answer_asks_for_its_own_action() {
        let cases = [
            (Act::Get, 403, "AccessDenied", Kind::Denied, "s3:GetObject"),
            (Act::List, 403, "AccessDenied", Kind::Denied, "s3:ListBucket"),
            (Act::Create, 403, "SignatureDoesNotMatch", Kind::Denied, "secret key"),
            (Act::Create, 403, "RequestTimeTooSkewed", Kind::Denied, "clock"),
            (Act::Get, 400, "ExpiredToken", Kind::Denied, "expired"),
            (Act::List, 404, "NoSuchBucket", Kind::Usage, "create the bucket"),
            (Act::Get, 404, "", Kind::Usage, "endpoint"),
            (Act::Get, 301, "PermanentRedirect", Kind::Usage, "region"),
            (Act::Put, 507, "XMinioStorageFull", Kind::Unavailable, "room"),
            (Act::Put, 503, "SlowDown", Kind::Unavailable, "later"),
        ];
        for (act, status, code, kind, hint) in cases {
            let error = told(act, status, code);
            assert_eq!(error.kind(), kind, "{status} {code}");
            let said = error.hint().unwrap_or_default();
            assert!(said.contains(hint), "{status} {code}: {said}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, code, again) in [
            (503, "SlowDown", true),
            (500, "", true),
            (429, "", true),
            (400, "RequestTimeout", true),
            (403, "", false),
            (400, "", false),
        ] {
            assert_eq!(told(Act::Get, status, code).is_temporary(), again, "{status} {code}");
        }
    }

    #[test]
    fn absence_counts_only_in_the_words_of_s3() {
        assert!(told(Act::Get, 404, "NoSuchKey").is_not_found());
        assert!(told(Act::Head, 404, "").is_not_found());
        assert!(!told(Act::Get, 404, "").is_not_found());
        assert!(!told(Act::Get, 404, "NoSuchBucket").is_not_found());
        assert!(told(Act::Get, 416, "InvalidRange").is_outside());
        assert!(told(Act::Create, 501, "NotImplemented").is_unsupported());
    }

    #[test]
    fn the_message_says_what_where_and_what_came_back() {
        let report = Report::from(told(Act::Create, 403, "AccessDenied")).to_string();
        assert_eq!(
            report,
            "could not create 'log/1' in s3://b/p at http://store: the store answered 403 AccessDenied: Words\n  \
             hint: check the credentials and the policy: the missing right is s3:PutObject"
        );
    }

    #[test]
    fn a_request_that_could_not_be_signed_is_denied() {
        let asked = Asked { act: Act::Get, key: "k".into(), place: "s3://b at http://store".into() };
        let error = settle(&asked, Exchange::default()).expect_err("nothing was sent");
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().ends_with("no credentials were found"), "{error}");
    }
}

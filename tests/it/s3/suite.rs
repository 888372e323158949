//! The store room against this server, and against a real one when `IT_S3_ENDPOINT` names it.

use super::{ACCESS_KEY, BUCKET, Fault, S3, SECRET_KEY, Verb};
use bytes::Bytes;
use futures::future::join_all;
use std::time::{Duration, Instant};
use volume_syncing_controller::fault::{Fault as _, Kind, Report};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, Create, Fencing, RemoteConfig, S3Config, StoreError, probe, recheck};

fn made_up(s3: &S3, prefix: &str) -> S3Config {
    S3Config {
        endpoint: Some(s3.endpoint()),
        bucket: BUCKET.into(),
        prefix: prefix.into(),
        access_key_id: Some(Secret::new(ACCESS_KEY.into())),
        secret_access_key: Some(Secret::new(SECRET_KEY.into())),
        ..S3Config::default()
    }
}

fn open(config: S3Config) -> Bucket {
    Bucket::connect(&RemoteConfig::S3(Box::new(config))).expect("a bucket")
}

/// A server with its bucket below a prefix.
fn ours() -> (S3, Bucket) {
    let s3 = S3::start();
    let bucket = open(made_up(&s3, "some/prefix"));
    (s3, bucket)
}

/// Every place the rules of S3 are checked at: this server, and the real one if there is one. Each has a prefix of
/// its own.
fn everywhere() -> Vec<(Option<S3>, Bucket)> {
    let s3 = S3::start();
    let bucket = open(made_up(&s3, "some/prefix"));
    let mut places = vec![(Some(s3), bucket)];
    if let Ok(endpoint) = std::env::var("IT_S3_ENDPOINT") {
        let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} goes with IT_S3_ENDPOINT"));
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).expect("random numbers");
        places.push((
            None,
            open(S3Config {
                endpoint: Some(endpoint),
                bucket: given("IT_S3_BUCKET"),
                prefix: format!("it-{}", data_encoding::HEXLOWER.encode(&random)),
                access_key_id: Some(Secret::new(given("IT_S3_ACCESS_KEY"))),
                secret_access_key: Some(Secret::new(given("IT_S3_SECRET_KEY"))),
                ..S3Config::default()
            }),
        ));
    }
    places
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn names(bucket: &Bucket, folder: &str) -> Vec<String> {
    let listed = bucket.list(&Stop::new(), folder).await.expect("a list");
    listed.into_iter().map(|one| if one.is_folder { format!("{}/", one.name) } else { one.name }).collect()
}

#[tokio::test]
async fn a_key_is_created_once_and_stays_as_it_was() {
    for (_s3, bucket) in everywhere() {
        let stop = Stop::new();
        assert_eq!(bucket.create(&stop, "log/1", bytes("one")).await.expect("created"), Create::New);
        assert_eq!(bucket.create(&stop, "log/1", bytes("two")).await.expect("an outcome"), Create::Exists);
        assert_eq!(bucket.get(&stop, "log/1", None).await.expect("the object"), "one");
        assert_eq!(bucket.size(&stop, "log/1").await.expect("a size"), Some(3));
        bucket.put(&stop, "log/1", bytes("three")).await.expect("overwritten");
        assert_eq!(bucket.get(&stop, "log/1", None).await.expect("the object"), "three");
        bucket.delete(&stop, "log/1").await.expect("deleted");
        bucket.delete(&stop, "log/1").await.expect("absent is fine");
        assert!(bucket.get(&stop, "log/1", None).await.expect_err("gone").is_not_found());
        assert_eq!(bucket.size(&stop, "log/1").await.expect("an answer"), None);
    }
}

#[tokio::test]
async fn of_16_concurrent_creators_exactly_one_wins() {
    for (_s3, bucket) in everywhere() {
        let stop = Stop::new();
        for round in 0..4 {
            let key = format!("log/{round}");
            let creates = (0..16).map(|number| bucket.create(&stop, &key, Bytes::from(vec![number; 2000])));
            let outcomes = join_all(creates).await;
            let winners: Vec<_> = (0u8..).zip(outcomes).filter(|(_, one)| matches!(one, Ok(Create::New))).collect();
            assert_eq!(winners.len(), 1, "{winners:?}");
            let body = bucket.get(&stop, &key, None).await.expect("the object");
            assert_eq!(body, vec![winners[0].0; 2000]);
            bucket.delete(&stop, &key).await.expect("deleted");
        }
    }
}

#[tokio::test]
async fn ranges_give_what_exists() {
    for (_s3, bucket) in everywhere() {
        let stop = Stop::new();
        bucket.put(&stop, "x", bytes("0123456789")).await.expect("written");
        bucket.put(&stop, "empty", Bytes::new()).await.expect("written");
        let before = bucket.requests().get;
        for (range, expected) in [(0..10, "0123456789"), (2..4, "23"), (8..65536, "89"), (0..65536, "0123456789")] {
            let part = bucket.get(&stop, "x", Some(range.clone())).await.expect("a part");
            assert_eq!(part, expected, "{range:?}");
        }
        assert_eq!(bucket.requests().get - before, 4, "a range past the end costs one request");
        assert!(bucket.get(&stop, "x", Some(10..20)).await.expect_err("at the end").is_outside());
        assert!(bucket.get(&stop, "missing", Some(0..1)).await.expect_err("no object").is_not_found());
        assert!(bucket.get(&stop, "empty", None).await.expect("whole").is_empty());
        bucket.delete(&stop, "x").await.expect("deleted");
        bucket.delete(&stop, "empty").await.expect("deleted");
    }
}

#[tokio::test]
async fn a_listing_is_whole_and_the_first_name_costs_one_request() {
    for (s3, bucket) in everywhere() {
        let stop = Stop::new();
        if let Some(s3) = &s3 {
            s3.page_size(3);
        }
        assert_eq!(bucket.first(&stop, "log").await.expect("an answer"), None);
        assert!(names(&bucket, "").await.is_empty());
        // No key is a folder too: MinIO lists only one of the two, and a file system cannot hold both.
        let keys: Vec<String> = (10..21).map(|number| format!("log/{number}")).collect();
        for key in keys.iter().map(String::as_str).chain(["log/deep/er", "logs", "a-b", "a/x"]) {
            bucket.put(&stop, key, bytes(key)).await.expect("written");
        }
        let before = bucket.requests();
        assert_eq!(bucket.first(&stop, "log").await.expect("an answer").as_deref(), Some("10"));
        assert_eq!(bucket.requests().list - before.list, 1);
        let mut expected: Vec<String> = (10..21).map(|number| number.to_string()).collect();
        expected.push("deep/".into());
        assert_eq!(names(&bucket, "log").await, expected);
        assert_eq!(names(&bucket, "").await, ["a/", "a-b", "log/", "logs"]);
        let mut rest = Vec::new();
        let mut each = |one: volume_syncing_controller::store::Listed| rest.push((one.name, one.size));
        bucket.list_page_by_page(&stop, "log", Some("18"), &mut each).await.expect("a list");
        rest.sort();
        assert_eq!(rest, [("19".to_owned(), 6), ("20".to_owned(), 6), ("deep".to_owned(), 0)]);
        for key in keys.iter().map(String::as_str).chain(["log/deep/er", "logs", "a-b", "a/x"]) {
            bucket.delete(&stop, key).await.expect("deleted");
        }
    }
}

#[tokio::test]
async fn a_listing_goes_on_behind_the_page_that_failed() {
    let (s3, bucket) = ours();
    for number in 10..30 {
        s3.replace(&format!("some/prefix/log/{number}"), "x");
    }
    s3.replace("some/prefix/log/15/deep", "x");
    s3.page_size(4);
    for fault in [Fault::Status(503, "SlowDown"), Fault::TruncateBody(300), Fault::WrongLength(200)] {
        s3.forget_requests();
        s3.faults(move |seen| if seen.ordinal == 2 { fault } else { Fault::None });
        let names = names(&bucket, "log").await;
        assert_eq!(names.len(), 21, "{fault:?}: {names:?}");
        assert_eq!(s3.requests().len(), 7, "six pages, one of them twice");
    }
}

#[tokio::test]
async fn a_page_that_is_no_listing_is_not_an_empty_store() {
    let (s3, bucket) = ours();
    for page in ["<html>please log in</html>", ""] {
        s3.faults(move |_| Fault::Page(200, page));
        let error = bucket.list(&Stop::new(), "").await.expect_err("no listing");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains("not a listing of an S3 store"), "{error}");
        let error = bucket.first(&Stop::new(), "log").await.expect_err("no listing");
        assert!(error.to_string().contains("not a listing of an S3 store"), "{error}");
    }
    s3.faults(|_| Fault::Page(404, "<html>not here</html>"));
    let error = bucket.get(&Stop::new(), "vault", None).await.expect_err("no object");
    assert!(!error.is_not_found(), "{error}");
    s3.faults(|_| Fault::Page(200, "<html>please log in</html>"));
    let error = bucket.create(&Stop::new(), "vault", bytes("x")).await.expect_err("not stored");
    assert!(error.is_ambiguous(), "{error}");
}

#[tokio::test]
async fn a_create_without_an_answer_is_ambiguous_and_sent_once() {
    let (s3, bucket) = ours();
    let stop = Stop::new();
    let cases = [
        (Fault::ApplyThenDrop, true),
        (Fault::DropBefore, false),
        (Fault::Status(500, "InternalError"), false),
        (Fault::Status(503, "SlowDown"), false),
        (Fault::Status(409, "ConditionalRequestConflict"), false),
    ];
    for (number, (fault, applied)) in cases.into_iter().enumerate() {
        s3.forget_requests();
        s3.faults(move |_| fault);
        let key = format!("log/{number}");
        let error = bucket.create(&stop, &key, bytes("x")).await.expect_err("no answer");
        assert!(error.is_ambiguous(), "{fault:?}: {error}");
        assert!(error.to_string().ends_with("it may or may not have been stored"), "{error}");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(s3.requests().len(), 1, "{fault:?}");
        assert_eq!(s3.object(&format!("some/prefix/{key}")).is_some(), applied, "{fault:?}");
    }
    assert_eq!(bucket.requests().retried, 0);
    s3.faults(|_| Fault::Status(403, "AccessDenied"));
    let error = bucket.create(&stop, "log/9", bytes("x")).await.expect_err("refused");
    assert!(!error.is_ambiguous(), "a refusal is an answer: {error}");
}

#[tokio::test]
async fn a_create_that_is_stopped_in_flight_is_ambiguous() {
    let (s3, bucket) = ours();
    let stop = Stop::new();
    s3.faults({
        let stop = stop.clone();
        move |_| {
            stop.ask();
            Fault::Stall(Duration::from_secs(3600))
        }
    });
    let error = bucket.create(&stop, "log/1", bytes("x")).await.expect_err("stopped");
    assert!(error.is_ambiguous(), "{error}");
    assert_eq!(error.kind(), Kind::Unfinished);
    let error = bucket.create(&stop, "log/1", bytes("x")).await.expect_err("stopped before");
    assert!(matches!(error, StoreError::Stopped(_)), "nothing was sent: {error}");
}

#[tokio::test]
async fn requests_that_may_be_repeated_outlast_a_bad_moment() {
    let (s3, bucket) = ours();
    let stop = Stop::new();
    let body = Bytes::from(vec![7u8; 300_000]);
    bucket.put(&stop, "x", body.clone()).await.expect("written");
    let faults = [
        Fault::Status(503, "SlowDown"),
        Fault::Status(500, "InternalError"),
        Fault::Status(429, "TooManyRequests"),
        Fault::DropBefore,
        Fault::TruncateBody(1000),
        Fault::WrongLength(1000),
    ];
    for fault in faults {
        s3.forget_requests();
        s3.faults(move |seen| if seen.ordinal < 2 { fault } else { Fault::None });
        let part = bucket.get(&stop, "x", Some(10..200_010)).await.expect("the part");
        assert!(part == body.slice(10..200_010), "{fault:?}");
        assert_eq!(s3.requests().len(), 3, "{fault:?}");
    }
    for fault in [Fault::Status(503, "SlowDown"), Fault::DropBefore, Fault::ApplyThenDrop] {
        s3.forget_requests();
        s3.faults(move |seen| if seen.ordinal % 2 == 0 { fault } else { Fault::None });
        bucket.put(&stop, "y", bytes("y")).await.expect("written");
        assert_eq!(bucket.size(&stop, "y").await.expect("a size"), Some(1));
        bucket.delete(&stop, "y").await.expect("deleted");
        assert_eq!(s3.requests().len(), 6, "{fault:?}");
    }
    assert!(bucket.requests().retried >= 12);
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let (s3, bucket) = ours();
    s3.replace("some/prefix/x", "slow");
    s3.faults(|_| Fault::SlowFirstByte(Duration::from_millis(300)));
    assert_eq!(bucket.get(&Stop::new(), "x", None).await.expect("the object"), "slow");
    assert_eq!(bucket.requests().retried, 0);
}

#[tokio::test]
async fn a_stop_ends_the_tries() {
    let (s3, bucket) = ours();
    let stop = Stop::new();
    s3.faults({
        let stop = stop.clone();
        move |seen| {
            if seen.ordinal == 1 {
                stop.ask();
            }
            Fault::Status(503, "SlowDown")
        }
    });
    let began = Instant::now();
    let error = bucket.get(&stop, "x", None).await.expect_err("stopped");
    assert_eq!(error.kind(), Kind::Unfinished);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_refusal_names_its_cause_and_its_remedy() {
    let (s3, bucket) = ours();
    let cases = [
        ("AccessDenied", 403, Kind::Denied, "s3:GetObject"),
        ("ExpiredToken", 400, Kind::Denied, "token has expired"),
        ("RequestTimeTooSkewed", 403, Kind::Denied, "clock"),
        ("PermanentRedirect", 301, Kind::Usage, "region"),
    ];
    for (code, status, kind, remedy) in cases {
        s3.forget_requests();
        s3.faults(move |_| Fault::Status(status, code));
        let error = bucket.get(&Stop::new(), "vault", None).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{code}");
        let text = error.to_string();
        let place = format!("could not read 'vault' in s3://bucket/some/prefix at {}: the store answered", s3.endpoint());
        assert!(text.starts_with(&place) && text.contains(code), "{text}");
        assert!(error.hint().expect("a hint").contains(remedy), "{code}: {:?}", error.hint());
        assert_eq!(s3.requests().len(), 1, "{code} is not asked again");
    }
    let nowhere = open(S3Config { bucket: "nowhere".into(), ..made_up(&s3, "") });
    s3.heal();
    let error = nowhere.list(&Stop::new(), "").await.expect_err("no bucket");
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().contains("the bucket does not exist"), "{error}");
    assert!(error.hint().expect("a hint").starts_with("create the bucket"));
    assert!(!nowhere.get(&Stop::new(), "x", None).await.expect_err("no bucket").is_not_found());
}

#[tokio::test]
async fn no_message_holds_a_secret() {
    let s3 = S3::start();
    let secret = "another-made-up-secret";
    let wrong = open(S3Config {
        secret_access_key: Some(Secret::new(secret.into())),
        session_token: Some(Secret::new("made-up-token".into())),
        ..made_up(&s3, "")
    });
    let bucket = open(made_up(&s3, ""));
    let stop = Stop::new();
    let mut told = vec![
        Report::from(wrong.get(&stop, "x", None).await.expect_err("a wrong key")),
        Report::from(wrong.list(&stop, "").await.expect_err("a wrong key")),
        Report::from(wrong.create(&stop, "x", bytes("x")).await.expect_err("a wrong key")),
        Report::from(bucket.get(&stop, "x", None).await.expect_err("no object")),
    ];
    s3.faults(|_| Fault::DropBefore);
    told.push(Report::from(bucket.create(&stop, "x", bytes("x")).await.expect_err("no answer")));
    assert_eq!(told[0].kind, Kind::Denied);
    for report in told {
        let text = format!("{report} {report:?} {wrong:?} {}", wrong.describe());
        for hidden in [secret, SECRET_KEY, ACCESS_KEY, "made-up-token", "Signature=", "stack backtrace"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_unavailable() {
    let s3 = S3::start();
    let config = made_up(&s3, "");
    drop(s3);
    let error = open(config).create(&Stop::new(), "x", bytes("x")).await.expect_err("nobody listens");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_store_is_probed_for_what_its_creates_are_worth() {
    for (s3, bucket) in everywhere() {
        let stop = Stop::new();
        assert!(!bucket.conditional_create_is_native());
        assert_eq!(probe(&bucket, &stop).await.expect("a verdict"), Fencing::Strict);
        assert!(names(&bucket, "probe").await.is_empty(), "nothing is left behind");
        bucket.create(&stop, "vault", bytes("v")).await.expect("created");
        assert_eq!(recheck(&bucket, &stop, "vault", bytes("v")).await.expect("a verdict"), Fencing::Strict);
        bucket.delete(&stop, "vault").await.expect("deleted");
        let Some(s3) = s3 else { continue };
        s3.faults(|_| Fault::IgnoreCondition);
        assert_eq!(probe(&bucket, &stop).await.expect("a verdict"), Fencing::Detect);
        s3.faults(|seen| if seen.conditional { Fault::Status(501, "NotImplemented") } else { Fault::None });
        assert_eq!(probe(&bucket, &stop).await.expect("a verdict"), Fencing::Detect);
        // A store that checks, but not atomically.
        s3.faults(|seen| if seen.ordinal % 5 == 4 { Fault::IgnoreCondition } else { Fault::None });
        s3.forget_requests();
        assert_eq!(probe(&bucket, &stop).await.expect("a verdict"), Fencing::Detect);
        s3.faults(|seen| if seen.verb == Verb::Delete { Fault::Status(403, "AccessDenied") } else { Fault::None });
        assert_eq!(probe(&bucket, &stop).await.expect("deleting is not needed"), Fencing::Strict);
    }
}

#[tokio::test]
async fn a_bad_moment_does_not_spoil_a_verdict() {
    let (s3, bucket) = ours();
    let stop = Stop::new();
    for fault in [Fault::ApplyThenDrop, Fault::DropBefore, Fault::Status(503, "SlowDown")] {
        bucket.put(&stop, "vault", bytes("v")).await.expect("written");
        s3.forget_requests();
        s3.faults(move |seen| if seen.ordinal < 3 { fault } else { Fault::None });
        assert_eq!(recheck(&bucket, &stop, "vault", bytes("v")).await.expect("a verdict"), Fencing::Strict, "{fault:?}");
        assert_eq!(s3.requests().len(), 4, "{fault:?}");
        let began = Instant::now();
        s3.faults(move |_| if began.elapsed() < Duration::from_millis(700) { fault } else { Fault::None });
        assert_eq!(probe(&bucket, &stop).await.expect("a verdict"), Fencing::Strict, "{fault:?}");
    }
    s3.faults(|seen| if seen.verb == Verb::Put { Fault::DropBefore } else { Fault::None });
    let soon = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.ask();
    };
    let (error, ()) = futures::join!(probe(&bucket, &stop), soon);
    assert_eq!(error.expect_err("stopped").kind(), Kind::Unfinished);
}

#[tokio::test]
async fn requests_are_counted_as_they_are_sent() {
    let (s3, bucket) = ours();
    let stop = Stop::new();
    bucket.create(&stop, "log/1", bytes("four")).await.expect("created");
    bucket.get(&stop, "log/1", None).await.expect("the object");
    bucket.first(&stop, "log").await.expect("an answer");
    bucket.size(&stop, "log/1").await.expect("a size");
    bucket.delete(&stop, "log/1").await.expect("deleted");
    let counted = bucket.requests();
    assert_eq!((counted.put, counted.get, counted.list, counted.head, counted.delete), (1, 1, 1, 1, 1));
    assert_eq!((counted.other, counted.retried, counted.bytes_up), (0, 0, 4));
    let verbs: Vec<_> = s3.requests().into_iter().map(|seen| seen.verb).collect();
    assert_eq!(verbs, [Verb::Put, Verb::Get, Verb::List, Verb::Head, Verb::Delete]);
}

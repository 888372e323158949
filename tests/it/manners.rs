//! How the program treats a store that has too much to do.

use crate::connect::wire::Answering;
use crate::machine::{Machine, assert_same, noise};
use crate::s3::{Fault, S3, Seen, Verb};
use bytes::Bytes;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use volume_syncing_controller::contract::remotes::remote_type;
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, RemoteConfig, ServedConfig};
use volume_syncing_controller::tree::Timestamp;

#[tokio::test]
async fn requests_settle_at_what_a_store_carries() {
    let (s3, stop) = (S3::start(), Stop::new());
    let bucket = Machine::s3(&s3).bucket();
    s3.faults(|_| Fault::Crowd(4, Duration::from_millis(40)));
    let began = Instant::now();
    let writers = (0..32).map(|writer| {
        let (bucket, stop) = (&bucket, &stop);
        async move {
            for round in 0..12 {
                bucket.put(stop, &format!("{writer}/{round}"), Bytes::from_static(b"x")).await.expect("written");
            }
        }
    });
    join_all(writers).await;
    let seen = s3.requests();
    // After the beginning, in which the number is found.
    let later = &seen[seen.len() / 3..];
    let refused = later.iter().filter(|seen| seen.status == 503).count();
    assert!((1..later.len() / 9).contains(&refused), "{refused} of {} refused", later.len());
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[test]
fn a_push_outlasts_a_store_that_is_busy_for_a_while() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("file", "content");
    machine.write("large", noise(1, 12 << 20));
    let mut busy_since = None;
    // From the first pack on: longer than all tries at a store that fails.
    s3.faults(move |seen| {
        if busy_since.is_none() && seen.key.contains("/obj/") {
            busy_since = Some(Instant::now());
        }
        let is_busy = busy_since.is_some_and(|since: Instant| since.elapsed() < Duration::from_millis(13_500));
        if is_busy { Fault::Status(503, "SlowDown") } else { Fault::None }
    });
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(s3.requests().iter().any(|seen| seen.status == 503));
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "restored");
}

#[tokio::test]
async fn a_store_that_says_how_long_is_left_alone_for_so_long() {
    let (s3, stop) = (S3::start(), Stop::new());
    let bucket = Machine::s3(&s3).bucket();
    bucket.put(&stop, "x", Bytes::from_static(b"x")).await.expect("written");
    s3.forget_requests();
    s3.faults(|seen| if seen.ordinal == 0 { Fault::After(2) } else { Fault::None });
    let began = Instant::now();
    let (one, other) = futures::join!(bucket.get(&stop, "x", None), async {
        // Another request, made while the store wants to hear nothing.
        tokio::time::sleep(Duration::from_millis(300)).await;
        bucket.size(&stop, "x").await
    });
    assert_eq!((one.expect("read").as_ref(), other.expect("a size")), (b"x".as_ref(), Some(1)));
    assert!(began.elapsed() >= Duration::from_secs(2) && s3.requests().len() == 3, "{:?}", began.elapsed());
}

#[tokio::test]
async fn stores_that_are_not_s3_are_left_alone_as_well() {
    let mut count = 0;
    let server = Answering::by(move |_| {
        count += 1;
        if count == 1 { ("429 Too Many Requests\r\nRetry-After: 1", "later".into()) } else { ("200 OK", "content".into()) }
    });
    let kind = remote_type("http").expect("it is served");
    let options = BTreeMap::from([("url", Secret::new(server.url()))]);
    let config = ServedConfig {
        kind,
        container: String::new(),
        prefix: String::new(),
        is_absolute: false,
        options,
        secret_files: None,
        bandwidth: None,
    };
    let bucket = Bucket::connect(&RemoteConfig::Served(Box::new(config))).expect("a server");
    let began = Instant::now();
    assert_eq!(bucket.get(&Stop::new(), "x", None).await.expect("read"), "content");
    assert!(began.elapsed() >= Duration::from_secs(1) && server.requests().len() == 2, "{:?}", server.requests());
}

/// Requests about the bucket itself instead of what lies below our prefix.
fn about_the_bucket(s3: &S3) -> Vec<Seen> {
    let below = |seen: &Seen| seen.key.starts_with("some/path/");
    s3.requests().into_iter().filter(|seen| !below(seen)).collect()
}

#[test]
fn a_bucket_is_made_when_that_is_asked_for_and_never_else() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("file", "content");
    s3.take_bucket_away();
    let (code, text) = machine.push(&[]);
    assert!(code == 2 && text.contains("the bucket does not exist") && text.contains("--create-bucket"), "{text}");
    let (code, text) = machine.push(&["--create-bucket", "--dry-run"]);
    assert!(code == 2 && text.contains("the bucket does not exist"), "{text}");
    assert!(about_the_bucket(&s3).is_empty(), "{:?}", about_the_bucket(&s3));
    s3.faults(|seen| if seen.key.is_empty() { Fault::Status(403, "AccessDenied") } else { Fault::None });
    let (code, text) = machine.push(&["--create-bucket"]);
    assert!(code == 4 && text.contains("could not make the bucket") && text.contains("s3:CreateBucket"), "{text}");
    s3.heal();
    s3.forget_requests();
    let (code, text) = machine.push(&["--create-bucket"]);
    assert!(code == 0 && text.contains("made the bucket"), "{text}");
    let made = about_the_bucket(&s3);
    assert!(made.len() == 1 && made[0].verb == Verb::Put && made[0].status == 200, "{made:?}");

    // Once it is there, nothing is asked of it, and no other verb does.
    s3.forget_requests();
    machine.write("file", "changed");
    assert_eq!(machine.push(&["--create-bucket"]).0, 0);
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");
    for verb in ["snapshots", "ls", "check", "doctor"] {
        let output = machine.run(&[verb, if verb == "doctor" { "-d" } else { "-s" }, machine.path]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("Usage:"), "{verb}");
    }
    assert!(s3.requests().len() > 20 && about_the_bucket(&s3).is_empty(), "{:?}", about_the_bucket(&s3));
}

/// A push of a long file that is killed when two of its parts are stored.
fn killed_in_the_middle(machine: &Machine, s3: &S3) {
    let (reached, wait) = mpsc::channel();
    let mut parts = 0;
    s3.faults(move |seen| {
        parts += usize::from(seen.verb == Verb::Put && seen.key.ends_with("/long"));
        if parts <= 2 {
            return Fault::None;
        }
        let _ = reached.send(());
        Fault::Stall(Duration::from_secs(3600))
    });
    let args = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
    let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
    wait.recv_timeout(Duration::from_secs(30)).expect("it comes to that place");
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    s3.heal();
}

#[tokio::test]
async fn what_a_killed_push_left_of_an_upload_is_given_up_and_nothing_else() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3).without_key();
    machine.write("über den/a+b/long", noise(1, 40 << 20));
    killed_in_the_middle(&machine, &s3);
    assert_eq!(s3.open_uploads(), 1);
    // Another program is sending the same object.
    let stop = Stop::new();
    let mut other = machine.bucket().upload("über den/a+b/long", Timestamp::default(), 5 << 20).await.expect("begun");
    for _ in 0..4 {
        other.write(&stop, Bytes::from(vec![1; 5 << 20])).await.expect("a part");
    }
    assert_eq!(s3.open_uploads(), 2);
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("gave up an upload"), "{text}");
    assert_eq!(s3.open_uploads(), 1, "the other program's");
    other.abort().await;

    machine.write("über den/a+b/long", noise(2, 40 << 20));
    killed_in_the_middle(&machine, &s3);
    s3.faults(|seen| if seen.verb == Verb::Delete { Fault::Status(403, "AccessDenied") } else { Fault::None });
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && !text.contains("AccessDenied"), "{text}");
    assert_eq!(s3.open_uploads(), 1, "the right is missing");
}

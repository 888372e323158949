//! Credentials over time: mounted keys that are swapped, and sessions that end while one process goes on.

use crate::connect::wire::Answering;
use crate::s3::{ACCESS_KEY, BUCKET, Fault, OTHER_ACCESS_KEY, OTHER_SECRET_KEY, S3, SECRET_KEY, Seen};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use volume_syncing_controller::fault::{Fault as _, Kind};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, Create, KeyFiles, RemoteConfig, S3Config};
use volume_syncing_controller::tree::Timestamp;

const ROLE: &str = "arn:aws:iam::123456789012:role/volumes";

fn config(s3: &S3) -> S3Config {
    S3Config { endpoint: Some(s3.endpoint()), bucket: BUCKET.into(), prefix: "p".into(), ..S3Config::default() }
}

fn open(config: S3Config) -> Bucket {
    Bucket::connect(&RemoteConfig::S3(Box::new(config))).expect("a bucket")
}

fn secret(text: &str) -> Option<Secret<String>> {
    Some(Secret::new(text.into()))
}

/// A folder as Kubernetes mounts a Secret: names that lead through one link, which is swapped.
struct Mounted {
    home: tempfile::TempDir,
    versions: usize,
}

impl Mounted {
    fn new(access: &str, secret: &str) -> Mounted {
        let mut mounted = Mounted { home: tempfile::tempdir().expect("a folder"), versions: 0 };
        mounted.swap(access, secret);
        for name in ["access", "secret"] {
            symlink(format!("..data/{name}"), mounted.at(name)).expect("a link");
        }
        mounted
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn swap(&mut self, access: &str, secret: &str) {
        self.versions += 1;
        let version = self.at(&format!("..{}", self.versions));
        fs::create_dir(&version).expect("a folder");
        fs::write(version.join("access"), format!("{access}\n")).expect("a file");
        fs::write(version.join("secret"), secret).expect("a file");
        symlink(&version, self.at("..new")).expect("a link");
        fs::rename(self.at("..new"), self.at("..data")).expect("swapped");
    }
}

fn last(s3: &S3) -> Seen {
    s3.requests().pop().expect("a request")
}

#[tokio::test]
async fn mounted_keys_that_are_swapped_are_used_without_a_restart() {
    let (s3, stop) = (S3::start(), Stop::new());
    let mut mounted = Mounted::new(ACCESS_KEY, SECRET_KEY);
    let bucket = open(S3Config {
        access_key_id: secret(ACCESS_KEY),
        secret_access_key: secret(SECRET_KEY),
        key_files: KeyFiles {
            access_key_id: Some(mounted.at("access")),
            secret_access_key: Some(mounted.at("secret")),
            session_token: None,
        },
        ..config(&s3)
    });
    bucket.put(&stop, "x", Bytes::from_static(b"x")).await.expect("written");
    // Half a pair: what was there before holds.
    mounted.swap(OTHER_ACCESS_KEY, "");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        bucket.get(&stop, "x", None).await.expect("read");
        assert_eq!(last(&s3).user, ACCESS_KEY);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    mounted.swap(OTHER_ACCESS_KEY, OTHER_SECRET_KEY);
    let began = Instant::now();
    while last(&s3).user == ACCESS_KEY {
        assert!(began.elapsed() < Duration::from_secs(5), "the new keys are not noticed");
        bucket.get(&stop, "x", None).await.expect("read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The store forgets a pair before we look again.
    mounted.swap(ACCESS_KEY, SECRET_KEY);
    s3.faults(|seen| if seen.user == ACCESS_KEY { Fault::None } else { Fault::Status(403, "InvalidAccessKeyId") });
    assert_eq!(bucket.create(&stop, "new", Bytes::from_static(b"x")).await.expect("created"), Create::New);
    assert_eq!(last(&s3).user, ACCESS_KEY);
}

/// How long sessions live and for how long they are used: some seconds, or as the environment says.
fn pace() -> (Duration, Duration) {
    let seconds = |name: &str, usual| {
        Duration::from_secs(std::env::var(name).ok().map_or(usual, |text| text.parse().expect("a number of seconds")))
    };
    (seconds("IT_SESSION_SECONDS", 4), seconds("IT_SESSION_RUN_SECONDS", 8))
}

/// A service that gives sessions, and a store that takes none that has ended.
struct Sessions {
    issued: Arc<Mutex<BTreeMap<String, Instant>>>,
    service: Answering,
    s3: S3,
}

/// How a service writes a session.
#[derive(Clone, Copy)]
enum Written {
    Xml,
    Container,
    Metadata,
}

impl Sessions {
    /// `check` is asked about each request; the second session is refused so many times first.
    fn start(written: Written, life: Duration, mut failures: u32, mut check: impl FnMut(&str) + Send + 'static) -> Sessions {
        let issued: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
        let given = Arc::clone(&issued);
        let service = Answering::by(move |request| {
            check(request);
            match request.split(' ').nth(1).expect("a path") {
                "/latest/api/token" => return ("200 OK", "made-up-machine-token".into()),
                "/latest/meta-data/iam/security-credentials/" => return ("200 OK", "node".into()),
                _ => {}
            }
            let mut issued = given.lock().expect("no decision panics");
            if issued.len() == 1 && failures > 0 {
                failures -= 1;
                return ("503 Service Unavailable", "not now".into());
            }
            let token = format!("made-up-session-{}", issued.len());
            issued.insert(token.clone(), Instant::now() + life);
            ("200 OK", session(written, &token, SystemTime::now() + life))
        });
        let s3 = S3::start();
        let known = Arc::clone(&issued);
        s3.faults(move |seen| {
            let known = known.lock().expect("no decision panics");
            let end = seen.token.as_ref().and_then(|token| known.get(token));
            if end.is_some_and(|end| Instant::now() < *end) { Fault::None } else { Fault::Status(400, "ExpiredToken") }
        });
        Sessions { issued, service, s3 }
    }

    fn open(&self, environment: &[(&str, &str)]) -> Bucket {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), Secret::new(value.to_string()))).collect();
        open(S3Config { env_auth: true, environment, ..config(&self.s3) })
    }

    /// Uses the bucket for a while: no request fails, none is refused, and several sessions are used one after the other.
    async fn outlive(&self, bucket: Bucket, pace: (Duration, Duration)) {
        let (stop, began, mut count) = (Stop::new(), Instant::now(), 0);
        while began.elapsed() < pace.1 {
            count += 1;
            let key = format!("{count}");
            let (created, listed) =
                futures::join!(bucket.create(&stop, &key, Bytes::from_static(b"x")), bucket.first(&stop, "nothing"),);
            assert_eq!(created.expect("created"), Create::New);
            listed.expect("listed");
            bucket.get(&stop, &key, None).await.expect("read");
            bucket.delete(&stop, &key).await.expect("deleted");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let seen = self.s3.requests();
        assert!(seen.len() >= 4 * count && seen.iter().all(|seen| seen.status < 400), "renewed in time, not when refused");
        let used = self.issued.lock().expect("kept").len();
        let expected = usize::try_from(pace.1.as_millis() / pace.0.as_millis()).expect("few") + 1;
        assert!((expected..=3 * expected + 1).contains(&used), "{used} sessions, {count} rounds");
    }
}

fn session(written: Written, token: &str, end: SystemTime) -> String {
    let end = jiff::Timestamp::try_from(end).expect("a time");
    let json = format!(r#""AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{SECRET_KEY}","Token":"{token}","Expiration":"{end}""#);
    match written {
        Written::Container => format!("{{{json}}}"),
        Written::Metadata => format!(r#"{{"Code":"Success",{json}}}"#),
        Written::Xml => format!(
            "<Response><Result><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}\
             </SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>{end}</Expiration></Credentials></Result></Response>"
        ),
    }
}

/// A token in a file that is replaced all the time, and a service that takes the newest ones only.
async fn replace_token(path: &Path, accepted: &Mutex<Vec<String>>, pace: (Duration, Duration)) {
    let began = Instant::now();
    let mut count = 0;
    loop {
        let token = format!("made-up-pod-token-{count}-");
        {
            let mut accepted = accepted.lock().expect("kept");
            accepted.insert(0, token.clone());
            accepted.truncate(2);
        }
        fs::write(path.with_extension("new"), &token).expect("a file");
        fs::rename(path.with_extension("new"), path).expect("replaced");
        if began.elapsed() > pace.1 {
            return;
        }
        tokio::time::sleep(pace.0 / 3).await;
        count += 1;
    }
}

#[tokio::test]
async fn a_workload_goes_on_while_its_sessions_and_its_token_change() {
    let pace = pace();
    let home = tempfile::tempdir().expect("a folder");
    let token = home.path().join("token");
    let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
    let with_token = |written| {
        let accepted = Arc::clone(&accepted);
        Sessions::start(written, pace.0, 1, move |request| {
            let accepted = accepted.lock().expect("kept");
            assert!(accepted.iter().any(|token| request.contains(token)), "{request}: not in {accepted:?}");
        })
    };
    let (web, pod) = (with_token(Written::Xml), with_token(Written::Container));
    let path = token.to_str().expect("text");
    let by_web = open(S3Config {
        sts_endpoint: Some(web.service.url()),
        env_auth: true,
        environment: [("AWS_WEB_IDENTITY_TOKEN_FILE", path), ("AWS_ROLE_ARN", ROLE)]
            .map(|(name, value)| (name.to_string(), Secret::new(value.to_string())))
            .into(),
        ..config(&web.s3)
    });
    let url = format!("{}/v1/credentials", pod.service.url());
    let by_pod = pod.open(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path)]);
    fs::write(&token, "").expect("a file");
    futures::join!(replace_token(&token, &accepted, pace), web.outlive(by_web, pace), pod.outlive(by_pod, pace));
    let asked = web.service.requests();
    assert!(asked.iter().all(|request| request.contains("Action=AssumeRoleWithWebIdentity&")), "{asked:?}");
}

#[tokio::test]
async fn a_machine_and_a_role_go_on_while_their_sessions_change() {
    let pace = pace();
    let machine = Sessions::start(Written::Metadata, pace.0, 1, |_| {});
    let role = Sessions::start(Written::Xml, pace.0, 1, |request| {
        let signed = request.contains("Credential=SOURCEACCESSKEY00/") && request.contains("/us-east-1/sts/aws4_request");
        assert!(signed && request.contains("Action=AssumeRole&") && request.contains("RoleArn=arn%3Aaws%3A"), "{request}");
    });
    let by_machine = machine.open(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &machine.service.url())]);
    let by_role = open(S3Config {
        access_key_id: secret("SOURCEACCESSKEY00"),
        secret_access_key: secret("source-secret"),
        role_arn: Some(ROLE.into()),
        sts_endpoint: Some(role.service.url()),
        ..config(&role.s3)
    });
    futures::join!(machine.outlive(by_machine, pace), role.outlive(by_role, pace));
}

/// Sessions that hold for an hour by their own word.
fn for_an_hour() -> (Sessions, Bucket) {
    let sessions = Sessions::start(Written::Container, Duration::from_secs(3600), 0, |_| {});
    let bucket = sessions.open(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/x", sessions.service.url()))]);
    (sessions, bucket)
}

#[tokio::test]
async fn a_session_that_the_store_calls_over_is_renewed_in_the_middle_of_anything() {
    let stop = Stop::new();
    let (sessions, bucket) = for_an_hour();
    let end_all = || sessions.issued.lock().expect("kept").values_mut().for_each(|end| *end = Instant::now());
    bucket.put(&stop, "x", Bytes::from_static(b"x")).await.expect("written");
    end_all();
    assert_eq!(bucket.create(&stop, "y", Bytes::from_static(b"y")).await.expect("created"), Create::New);
    assert_eq!(bucket.requests().retried, 0, "at once, and as one create");
    end_all();
    assert_eq!(bucket.get(&stop, "y", None).await.expect("read"), "y");
    end_all();
    assert_eq!(bucket.list(&stop, "").await.expect("listed").len(), 2);
    let mut upload = bucket.upload("large", Timestamp::default(), 5 << 20).await.expect("begun");
    for _ in 0..3 {
        upload.write(&stop, Bytes::from(vec![7; 5 << 20])).await.expect("a part");
        end_all();
    }
    upload.finish(&stop).await.expect("finished");
    assert_eq!(bucket.size(&stop, "large").await.expect("a size"), Some(15 << 20));
    // Many at once: one renewal for all of them.
    let before = sessions.service.requests().len();
    end_all();
    let all = (0..16).map(|_| bucket.get(&stop, "x", None));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(sessions.service.requests().len(), before + 1);
}

#[tokio::test]
async fn a_store_that_takes_no_session_is_not_asked_for_ever() {
    let stop = Stop::new();
    let (sessions, bucket) = for_an_hour();
    bucket.put(&stop, "x", Bytes::from_static(b"x")).await.expect("written");
    sessions.s3.faults(|_| Fault::Status(403, "ExpiredToken"));
    sessions.s3.forget_requests();
    let error = bucket.get(&stop, "x", None).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    for hidden in ["made-up-session", SECRET_KEY, ACCESS_KEY] {
        assert!(!error.to_string().contains(hidden), "{error}");
    }
    let (requests, renewals) = (sessions.s3.requests().len(), sessions.service.requests().len());
    assert!(requests <= 8 && renewals <= 3, "{requests} requests, {renewals} renewals");
    bucket.get(&stop, "x", None).await.expect_err("refused");
    assert!(sessions.service.requests().len() <= renewals, "what was never good is not renewed");
}

#[tokio::test]
async fn a_real_store_gives_sessions_itself() {
    let Ok(endpoint) = std::env::var("IT_S3_ENDPOINT") else { return };
    let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} goes with IT_S3_ENDPOINT"));
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).expect("random numbers");
    let bucket = open(S3Config {
        endpoint: Some(endpoint.clone()),
        bucket: given("IT_S3_BUCKET"),
        prefix: format!("it-{}", data_encoding::HEXLOWER.encode(&random)),
        access_key_id: secret(&given("IT_S3_ACCESS_KEY")),
        secret_access_key: secret(&given("IT_S3_SECRET_KEY")),
        role_arn: Some("arn:minio:iam:::role/volumes".into()),
        sts_endpoint: Some(endpoint),
        ..S3Config::default()
    });
    let stop = Stop::new();
    assert_eq!(bucket.create(&stop, "x", Bytes::from_static(b"x")).await.expect("created"), Create::New);
    assert_eq!(bucket.get(&stop, "x", None).await.expect("read"), "x");
    bucket.delete(&stop, "x").await.expect("deleted");
    assert_eq!(bucket.requests().other, 1, "one session for all");
}

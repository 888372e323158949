//! The ways to an S3 store: names, certificates, proxies, and where credentials come from. Each is gone for real, by a
//! push and a restore of the built binary.

mod clouds;
pub mod wire;

use crate::machine::{Machine, assert_same, told};
use crate::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use bytes::Bytes;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, RemoteConfig, S3Config};
use wire::{Answering, Authority, Front, Proxy};

const TOKEN: &str = "made-up-session-token";

fn machine(s3: &S3) -> Machine {
    let machine = Machine::s3(s3);
    machine.write("file", "content");
    machine.write("large", crate::machine::noise(1, 300_000));
    machine
}

/// A push and a restore go this way, and nothing of it fails.
fn goes(machine: &Machine) {
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(machine, "restored");
}

/// Nothing goes this way: what is said, and that the store heard nothing.
fn fails(machine: &Machine, s3: &S3, code: i32) -> String {
    s3.forget_requests();
    let (got, text) = machine.push(&[]);
    assert_eq!(got, code, "{text}");
    assert!(s3.requests().is_empty(), "{:?}", s3.requests());
    text
}

fn own_keys_only(machine: &mut Machine) {
    machine.unset("REMOTE_ACCESS_KEY_ID");
    machine.unset("REMOTE_SECRET_ACCESS_KEY");
    machine.set("REMOTE_ENV_AUTH", "true");
    machine.set("AWS_EC2_METADATA_DISABLED", "true");
}

fn all_with_token(s3: &S3) {
    let seen = s3.requests();
    assert!(seen.len() > 8 && seen.iter().all(|seen| seen.token.as_deref() == Some(TOKEN)), "{seen:?}");
}

#[test]
fn a_bucket_is_a_part_of_the_path_or_of_the_host() {
    let s3 = S3::start();
    let mut machine = machine(&s3);
    let port = s3.address().port();
    machine.set("REMOTE_ENDPOINT", &format!("http://localhost:{port}"));
    for (path_style, host) in [("true", format!("localhost:{port}")), ("false", format!("{BUCKET}.localhost:{port}"))] {
        s3.forget_requests();
        s3.objects().iter().for_each(|key| s3.remove(key));
        let _ = fs::remove_dir_all(machine.at("restored"));
        let _ = fs::remove_dir_all(machine.at("volume/.vsc"));
        machine.set("REMOTE_FORCE_PATH_STYLE", path_style);
        goes(&machine);
        let hosts: Vec<String> = s3.requests().into_iter().map(|seen| seen.host).collect();
        assert!(hosts.len() > 8 && hosts.iter().all(|seen| *seen == host), "{hosts:?}");
        assert!(s3.objects().iter().all(|key| key.starts_with("some/path/")), "{:?}", s3.objects());
    }
}

#[test]
fn a_private_authority_is_trusted_by_its_file_alone() {
    let (s3, ours, other) = (S3::start(), Authority::new("ours"), Authority::new("another"));
    let front = ours.before(&["localhost"], s3.address());
    let mut machine = machine(&s3);
    let (right, wrong) = (machine.at("right.pem"), machine.at("wrong.pem"));
    fs::write(&right, format!("a comment\n{}{}", other.pem(), ours.pem())).expect("a file");
    fs::write(&wrong, other.pem()).expect("a file");
    machine.set("REMOTE_ENDPOINT", &format!("https://localhost:{}", front.address.port()));
    let refused = |machine: &Machine, words: &str| {
        let text = fails(machine, &s3, 5);
        assert!(text.contains(words) && text.contains("give a private certificate authority by file"), "{text}");
    };
    refused(&machine, "UnknownIssuer");
    machine.set("REMOTE_CA_FILE", wrong.to_str().expect("text"));
    refused(&machine, "UnknownIssuer");
    machine.set("REMOTE_CA_FILE", right.to_str().expect("text"));
    goes(&machine);
    // A certificate for another name, from the right authority.
    let elsewhere = ours.before(&["elsewhere.test"], s3.address());
    machine.set("REMOTE_ENDPOINT", &format!("https://localhost:{}", elsewhere.address.port()));
    refused(&machine, "not valid for name");
    machine.set("REMOTE_INSECURE", "true");
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.matches("certificate is not checked").count() == 1, "{text}");

    let mut bundle = machine;
    bundle.unset("REMOTE_INSECURE");
    bundle.unset("REMOTE_CA_FILE");
    bundle.set("REMOTE_ENDPOINT", &format!("https://localhost:{}", front.address.port()));
    bundle.set("AWS_CA_BUNDLE", right.to_str().expect("text"));
    goes(&bundle);
    fs::write(&right, "no certificate").expect("a file");
    assert!(fails(&bundle, &s3, 2).contains("holds no certificate"));
}

#[test]
fn a_client_says_who_it_is_by_a_certificate_of_its_own() {
    let (s3, ours, clients) = (S3::start(), Authority::new("ours"), Authority::new("clients"));
    let front = Front::new(&ours, Some(&clients), s3.address());
    let mut machine = machine(&s3);
    let (certificate, key) = clients.client();
    for (name, text) in [("ca.pem", ours.pem()), ("client.pem", certificate), ("client.key", key)] {
        fs::write(machine.at(name), text).expect("a file");
    }
    let path = |machine: &Machine, name: &str| machine.at(name).to_str().expect("text").to_owned();
    machine.set("REMOTE_ENDPOINT", &front.url());
    machine.set("REMOTE_CA_FILE", &path(&machine, "ca.pem"));
    assert!(fails(&machine, &s3, 5).contains("ertificate"), "the server lets nobody in without one");
    machine.set("REMOTE_CLIENT_CERT_FILE", &path(&machine, "client.pem"));
    assert!(fails(&machine, &s3, 2).contains("REMOTE_CLIENT_KEY_FILE is missing while REMOTE_CLIENT_CERT_FILE is set"));
    machine.set("REMOTE_CLIENT_KEY_FILE", &path(&machine, "client.key"));
    goes(&machine);
    machine.set("REMOTE_CLIENT_KEY_FILE", &path(&machine, "ca.pem"));
    assert!(fails(&machine, &s3, 2).contains("client.pem' does not fit its key"));
    machine.unset("REMOTE_CLIENT_CERT_FILE");
    assert!(fails(&machine, &s3, 2).contains("REMOTE_CLIENT_CERT_FILE is missing"));
}

#[tokio::test]
async fn certificates_that_are_swapped_are_used_by_new_connections() {
    let (s3, stop, home) = (S3::start(), Stop::new(), tempfile::tempdir().expect("a folder"));
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let at = |name: &str| home.path().join(name);
    let mount = |authority: &Authority| {
        let (certificate, key) = authority.client();
        for (name, text) in [("client.pem", certificate), ("client.key", key), ("ca.pem", authority.pem())] {
            fs::write(at(name), text).expect("a file");
        }
    };
    mount(&old);
    let front = Front::new(&old, Some(&old), s3.address());
    let config = S3Config {
        endpoint: Some(front.url()),
        bucket: BUCKET.into(),
        access_key_id: Some(Secret::new(ACCESS_KEY.into())),
        secret_access_key: Some(Secret::new(SECRET_KEY.into())),
        ca_file: Some(at("ca.pem")),
        client_cert_file: Some(at("client.pem")),
        client_key_file: Some(at("client.key")),
        ..S3Config::default()
    };
    let bucket = Bucket::connect(&RemoteConfig::S3(Box::new(config))).expect("a bucket");
    bucket.put(&stop, "x", Bytes::from_static(b"x")).await.expect("written");
    // What is of no use changes nothing.
    fs::write(at("ca.pem"), "no certificate").expect("a file");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1300) {
        bucket.get(&stop, "x", None).await.expect("read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(front.handshakes(), 1);
    front.change(&new, Some(&new));
    mount(&new);
    while front.handshakes() == 1 {
        assert!(began.elapsed() < Duration::from_secs(6), "the swap is not noticed");
        bucket.get(&stop, "x", None).await.expect("read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!bucket.is_insecure());
}

#[test]
fn a_proxy_carries_plain_and_encrypted_requests_and_only_where_it_should() {
    let (s3, ours) = (S3::start(), Authority::new("ours"));
    let front = ours.before(&["store.test"], s3.address());
    let proxy = Proxy::to(&[("store.test", s3.address()), ("store.test:443", front.address)]);
    let url = |login: &str| format!("http://{login}{}", proxy.listening.address);
    let mut machine = machine(&s3);
    fs::write(machine.at("ca.pem"), ours.pem()).expect("a file");
    machine.set("REMOTE_CA_FILE", machine.at("ca.pem").to_str().expect("text"));
    machine.set("HTTP_PROXY", &url(""));
    machine.set("NO_PROXY", "other.test,127.0.0.1");
    goes(&machine);
    assert_eq!(proxy.heads(), [""; 0], "127.0.0.1 is asked without it");

    // A name that only the proxy knows.
    machine.set("REMOTE_ENDPOINT", "http://store.test");
    goes(&machine);
    let plain = proxy.heads();
    assert!(!plain.is_empty() && plain.iter().all(|head| head.contains(" http://store.test/bucket")), "{plain:?}");

    machine.unset("HTTP_PROXY");
    machine.set("HTTPS_PROXY", &url("me:made-up-password@"));
    machine.set("REMOTE_ENDPOINT", "https://store.test");
    machine.write("file", "changed");
    goes(&machine);
    let tunnels = proxy.heads()[plain.len()..].to_vec();
    let login = "proxy-authorization: basic bwu6bwfkzs11cc1wyxnzd29yza==";
    assert!(!tunnels.is_empty(), "the requests went by the proxy");
    for head in tunnels {
        assert!(head.starts_with("CONNECT store.test:443 ") && head.to_lowercase().contains(login), "{head}");
    }
    // The proxy does not see into the tunnel, and cannot pose as the store.
    fs::write(machine.at("ca.pem"), Authority::new("another").pem()).expect("a file");
    let text = fails(&machine, &s3, 5);
    assert!(text.contains("UnknownIssuer") && !text.contains("made-up-password"), "{text}");
}

#[test]
fn keys_and_tokens_come_from_the_options_or_from_files() {
    let s3 = S3::start();
    let mut inline = machine(&s3);
    inline.set("REMOTE_SESSION_TOKEN", TOKEN);
    // What lies in the environment for others has no say.
    inline.set("AWS_ACCESS_KEY_ID", "ANOTHERACCESSKEY");
    inline.set("AWS_SECRET_ACCESS_KEY", "another-secret");
    goes(&inline);
    all_with_token(&s3);

    s3.objects().iter().for_each(|key| s3.remove(key));
    s3.forget_requests();
    let mut files = machine(&s3);
    let variables = [("ACCESS_KEY_ID", ACCESS_KEY), ("SECRET_ACCESS_KEY", SECRET_KEY), ("SESSION_TOKEN", TOKEN)];
    for (name, value) in variables {
        let path = files.at(name);
        fs::write(&path, format!("{value}\n")).expect("a file");
        files.unset(&format!("REMOTE_{name}"));
        files.set(&format!("REMOTE_{name}_FILE"), path.to_str().expect("text"));
    }
    goes(&files);
    all_with_token(&s3);
}

#[test]
fn the_key_and_a_new_key_come_from_files() {
    let s3 = S3::start();
    let machine = machine(&s3);
    goes(&machine);
    let key = String::from_utf8(machine.run(&["key", "generate"]).stdout).expect("text");
    fs::write(machine.at("new"), &key).expect("a file");
    let add = ["key", "add", "-d", machine.path];
    let added = machine.command(&add).env("NEW_ENCRYPTED_PASSWORD_FILE", machine.at("new")).output().expect("it runs");
    assert_eq!(added.status.code(), Some(0), "{}", told(&added).1);
    let from_file = |name: &str| {
        let args = ["remote-to-local-sync", "-s", machine.path, "-d", "by-file"];
        let mut command = machine.command(&args);
        told(
            &command.env_remove("ENCRYPTED_PASSWORD").env("ENCRYPTED_PASSWORD_FILE", machine.at(name)).output().expect("it runs"),
        )
    };
    let (code, text) = from_file("new");
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "by-file");
    let (code, text) = from_file("absent");
    assert!(code == 2 && text.contains("ENCRYPTED_PASSWORD_FILE") && !text.contains(key.trim()), "{text}");
}

#[test]
fn credentials_come_from_the_environment_a_profile_or_the_container() {
    let s3 = S3::start();
    let mut machine = machine(&s3);
    own_keys_only(&mut machine);
    let text = fails(&machine, &s3, 4);
    assert!(text.contains("no credentials were found") && text.contains("AWS_* variables"), "{text}");

    let variables = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY), ("AWS_SESSION_TOKEN", TOKEN)];
    variables.iter().for_each(|(name, value)| machine.set(name, value));
    goes(&machine);
    all_with_token(&s3);
    variables.iter().for_each(|(name, _)| machine.unset(name));

    s3.forget_requests();
    fs::create_dir(machine.at(".aws")).expect("a folder");
    let profile = format!(
        "[default]\naws_access_key_id = WRONG\naws_secret_access_key = wrong\n\n[volumes]\naws_access_key_id = {ACCESS_KEY}\n\
         aws_secret_access_key = {SECRET_KEY}\naws_session_token = {TOKEN}\n"
    );
    fs::write(machine.at(".aws/credentials"), profile).expect("a file");
    machine.set("AWS_PROFILE", "volumes");
    machine.write("file", "by profile");
    goes(&machine);
    all_with_token(&s3);
    machine.unset("AWS_PROFILE");
    fs::remove_dir_all(machine.at(".aws")).expect("removed");

    s3.forget_requests();
    let container = Answering::with(format!(
        r#"{{"AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{SECRET_KEY}","Token":"{TOKEN}","Expiration":"2099-01-01T00:00:00Z"}}"#
    ));
    fs::write(machine.at("token"), "made-up-pod-token").expect("a file");
    machine.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("http://{}/v1/credentials", container.listening.address));
    machine.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", machine.at("token").to_str().expect("text"));
    machine.write("file", "by container");
    goes(&machine);
    all_with_token(&s3);
    let asked = container.requests();
    assert!(
        asked.iter().all(|request| request.starts_with("GET /v1/credentials ") && request.contains("made-up-pod-token")),
        "{asked:?}"
    );
    assert!((1..=2).contains(&asked.len()), "once a run: {asked:?}");
}

/// An answer of the token service.
fn assumed(action: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>\
         <SessionToken>{TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    )
}

/// The way to the token service leads through a proxy, because its name is AWS's.
fn through_proxy(machine: &mut Machine, authority: &Authority, name: &str, sts: SocketAddr) -> (wire::Listening, Proxy) {
    let front = authority.before(&[name], sts);
    let proxy = Proxy::to(&[(&format!("{name}:443"), front.address)]);
    fs::write(machine.at("ca.pem"), authority.pem()).expect("a file");
    machine.set("REMOTE_CA_FILE", machine.at("ca.pem").to_str().expect("text"));
    machine.set("HTTPS_PROXY", &format!("http://{}", proxy.listening.address));
    (front, proxy)
}

#[test]
fn a_workloads_identity_is_exchanged_for_credentials() {
    let (s3, authority) = (S3::start(), Authority::new("ours"));
    let mut machine = machine(&s3);
    own_keys_only(&mut machine);
    let sts = Answering::with(assumed("AssumeRoleWithWebIdentity"));
    let _way = through_proxy(&mut machine, &authority, "sts.eu-central-1.amazonaws.com", sts.listening.address);
    fs::write(machine.at("identity"), "made-up-identity").expect("a file");
    machine.set("AWS_WEB_IDENTITY_TOKEN_FILE", machine.at("identity").to_str().expect("text"));
    machine.set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/volumes");
    machine.set("AWS_REGION", "eu-central-1");
    machine.set("AWS_STS_REGIONAL_ENDPOINTS", "regional");
    goes(&machine);
    all_with_token(&s3);
    let asked = sts.requests();
    let right = |request: &String| {
        request.contains("Action=AssumeRoleWithWebIdentity")
            && request.contains("WebIdentityToken=made-up-identity")
            && request.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fvolumes")
    };
    assert!(asked.iter().all(right), "{asked:?}");
    assert!((1..=2).contains(&asked.len()), "once a run: {asked:?}");
}

#[test]
fn a_task_asks_its_container_host_and_a_token_may_go_to_another_service() {
    let s3 = S3::start();
    let mut machine = machine(&s3);
    own_keys_only(&mut machine);
    let host = Answering::with(format!(
        r#"{{"AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{SECRET_KEY}","Token":"{TOKEN}","Expiration":"2099-01-01T00:00:00Z"}}"#
    ));
    let proxy = Proxy::to(&[("169.254.170.2", host.listening.address)]);
    machine.set("HTTP_PROXY", &format!("http://{}", proxy.listening.address));
    machine.set("NO_PROXY", "127.0.0.1");
    machine.set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/made-up");
    goes(&machine);
    all_with_token(&s3);
    assert!(host.requests().iter().all(|request| request.contains("/v2/credentials/made-up ")), "{:?}", host.requests());
    machine.unset("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");

    let sts = Answering::with(assumed("AssumeRoleWithWebIdentity"));
    fs::write(machine.at("identity"), "made-up-identity\n").expect("a file");
    machine.set("AWS_WEB_IDENTITY_TOKEN_FILE", machine.at("identity").to_str().expect("text"));
    for name in ["REMOTE_STS_ENDPOINT", "AWS_ENDPOINT_URL_STS"] {
        machine.write("file", name);
        s3.forget_requests();
        machine.set(name, &sts.url());
        goes(&machine);
        all_with_token(&s3);
        machine.unset(name);
    }
    let asked = sts.requests();
    assert!(asked.iter().all(|request| request.starts_with("POST / ") && request.contains("=made-up-identity&")), "{asked:?}");
}

#[test]
fn a_workload_does_not_become_its_machine_when_the_token_service_is_down() {
    let s3 = S3::start();
    let mut machine = machine(&s3);
    own_keys_only(&mut machine);
    machine.unset("AWS_EC2_METADATA_DISABLED");
    let node = Answering::with(assumed("nothing"));
    machine.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &node.url());
    machine.set("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token");
    machine.set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/volumes");
    assert!(fails(&machine, &s3, 4).contains("no credentials were found"));
    assert!(node.requests().is_empty(), "{:?}", node.requests());
    machine.unset("AWS_WEB_IDENTITY_TOKEN_FILE");
    fails(&machine, &s3, 4);
    assert!(!node.requests().is_empty(), "the machine is asked where there is no other identity");
}

#[test]
fn a_role_is_assumed_with_the_given_keys() {
    let (s3, authority) = (S3::start(), Authority::new("ours"));
    let mut machine = machine(&s3);
    let sts = Answering::with(assumed("AssumeRole"));
    let _way = through_proxy(&mut machine, &authority, "sts.eu-central-1.amazonaws.com", sts.listening.address);
    machine.set("REMOTE_ACCESS_KEY_ID", "SOURCEACCESSKEY00");
    machine.set("REMOTE_SECRET_ACCESS_KEY", "source-secret");
    machine.set("REMOTE_REGION", "eu-central-1");
    machine.set("REMOTE_ROLE_ARN", "arn:aws:iam::123456789012:role/volumes");
    goes(&machine);
    all_with_token(&s3);
    let asked = sts.requests();
    assert!(
        asked.iter().all(|request| request.contains("Action=AssumeRole&") && request.contains("SOURCEACCESSKEY00")),
        "{asked:?}"
    );
    assert!((1..=2).contains(&asked.len()), "once a run: {asked:?}");
}

#[test]
fn a_token_service_that_refuses_is_named_with_what_it_said() {
    let (s3, authority) = (S3::start(), Authority::new("ours"));
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRole</Message></Error></ErrorResponse>";
    let sts = Answering::saying("403 Forbidden", denied.into());
    let mut role = machine(&s3);
    let _way = through_proxy(&mut role, &authority, "sts.eu-central-1.amazonaws.com", sts.listening.address);
    role.set("REMOTE_ACCESS_KEY_ID", "SOURCEACCESSKEY00");
    role.set("REMOTE_SECRET_ACCESS_KEY", "source-secret");
    role.set("REMOTE_REGION", "eu-central-1");
    role.set("REMOTE_ROLE_ARN", "arn:aws:iam::123456789012:role/volumes");
    let text = fails(&role, &s3, 4);
    assert!(text.contains("no credentials: sts.eu-central-1.amazonaws.com answered 403 AccessDenied"), "{text}");
    assert!(!text.contains("source-secret"), "{text}");

    let mut workload = machine(&s3);
    own_keys_only(&mut workload);
    let _way = through_proxy(&mut workload, &authority, "sts.amazonaws.com", sts.listening.address);
    fs::write(workload.at("identity"), "made-up-identity").expect("a file");
    workload.set("AWS_WEB_IDENTITY_TOKEN_FILE", workload.at("identity").to_str().expect("text"));
    workload.set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/volumes");
    let text = fails(&workload, &s3, 4);
    assert!(text.contains("no credentials: sts.amazonaws.com answered 403 AccessDenied"), "{text}");
    assert!(!text.contains("made-up-identity"), "{text}");
}

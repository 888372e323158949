//! Identities of workloads at Google and Azure, exchanged at services on loopback.

use super::wire::Answering;
use crate::machine::{Machine, told};
use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tokens that a service gave out.
type Given = Arc<Mutex<Vec<String>>>;

/// A service that gives tokens for so many seconds to requests that say these words.
fn service(life: u64, words: &'static [&'static str]) -> (Answering, Given) {
    let given = Given::default();
    let tokens = Arc::clone(&given);
    let service = Answering::by(move |request| {
        if let Some(missing) = words.iter().find(|word| !request.contains(**word)) {
            return ("400 Bad Request", format!("no {missing}"));
        }
        let mut tokens = tokens.lock().expect("kept");
        let token = format!("made-up-token-{}", tokens.len());
        tokens.push(token.clone());
        let end = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs() + life;
        let kinds = r#""token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token""#;
        ("200 OK", format!(r#"{{"access_token":"{token}","expires_in":{life},"expires_on":"{end}",{kinds}}}"#))
    });
    (service, given)
}

/// A store that is empty.
fn store(listing: &'static str) -> Answering {
    Answering::by(move |request| {
        if request.contains("comp=list") || request.contains("/o?prefix") {
            ("200 OK", listing.into())
        } else {
            ("404 Not Found", "no such object".into())
        }
    })
}

/// Asks what an empty remote holds: the store hears tokens that were given, and nothing else. How many different ones.
fn goes(machine: &Machine, store: &Answering, given: &Given) -> usize {
    let before = store.requests().len();
    let (_, text) = told(&machine.run(&["remote-to-local-sync", "-s", machine.path, "-d", "restored"]));
    let (given, asked) = (given.lock().expect("kept"), store.requests());
    assert!(asked.len() > before + 1, "{text}\n{asked:?}\n{given:?}");
    let bearer = |request: &String| {
        let line = request.lines().find(|line| line.to_lowercase().starts_with("authorization: bearer "));
        line.and_then(|line| line.split(' ').nth(2)).map(str::to_owned)
    };
    let heard: Vec<_> = asked[before..].iter().map(bearer).collect();
    assert!(heard.iter().all(|token| token.as_ref().is_some_and(|token| given.contains(token))), "{heard:?}\n{given:?}");
    assert!(!text.contains("made-up"), "{text}");
    heard.into_iter().collect::<BTreeSet<_>>().len()
}

fn machine(pairs: &[(&str, &str)]) -> Machine {
    let pairs = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Machine::new(pairs, "bucket/some/path")
}

#[test]
fn a_workload_at_google_is_known_by_its_metadata_service_or_by_a_file() {
    let store = store(r#"{"kind":"storage#objects"}"#);
    // So short that they are renewed before each request.
    let (metadata, given) = service(60, &["GET /computeMetadata/v1/instance/service-accounts/default/token?", "Google"]);
    let remote = [("REMOTE_TYPE", "gcs"), ("REMOTE_ENDPOINT", &store.url()), ("REMOTE_ENV_AUTH", "true")];
    let mut node = machine(&remote);
    node.set("GCE_METADATA_HOST", &metadata.listening.address.to_string());
    assert!(goes(&node, &store, &given) > 1);

    let (exchange, given) = service(60, &["POST /exchange ", "made-up-subject", "token-exchange"]);
    let external = machine(&remote);
    fs::write(external.at("subject"), "made-up-subject").expect("a file");
    let about = serde_json::json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/made",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/exchange", exchange.url()),
        "credential_source": { "file": external.at("subject"), "format": { "type": "text" } },
    });
    fs::write(external.at("external.json"), about.to_string()).expect("a file");
    let path = external.at("external.json").to_str().expect("text").to_owned();
    for (name, env_auth) in [("GOOGLE_APPLICATION_CREDENTIALS", "true"), ("REMOTE_SERVICE_ACCOUNT_FILE", "false")] {
        let mut by_file = external.twin();
        by_file.set(name, &path);
        by_file.set("REMOTE_ENV_AUTH", env_auth);
        assert!(goes(&by_file, &store, &given) > 1);
    }
}

#[test]
fn a_workload_at_azure_is_known_by_its_federated_token_or_its_machine() {
    let store = store(r#"<?xml version="1.0"?><EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>"#);
    let remote = [
        ("REMOTE_TYPE", "azureblob"),
        ("REMOTE_ACCOUNT", "account"),
        ("REMOTE_ENDPOINT", &store.url()),
        ("REMOTE_ENV_AUTH", "true"),
    ];
    let (authority, given) = service(3600, &["POST /tenant/oauth2/v2.0/token ", "client_id=client", "made-up-federated"]);
    let mut workload = machine(&remote);
    fs::write(workload.at("token"), "made-up-federated").expect("a file");
    workload.set("AZURE_TENANT_ID", "tenant");
    workload.set("AZURE_CLIENT_ID", "client");
    workload.set("AZURE_FEDERATED_TOKEN_FILE", workload.at("token").to_str().expect("text"));
    workload.set("AZURE_AUTHORITY_HOST", &authority.url());
    assert_eq!(goes(&workload, &store, &given), 1);

    let (metadata, given) = service(3600, &["GET /identity?", "resource=https%3A%2F%2Fstorage.azure.com%2F"]);
    let mut node = machine(&remote);
    node.set("AZURE_IMDS_ENDPOINT", &format!("{}/identity", metadata.url()));
    assert_eq!(goes(&node, &store, &given), 1);
}

//! `REMOTE_*` and `ENCRYPTED_*` as the predecessor translated them, and what made it fall over.

use super::{everywhere, fails, goes, runs};
use crate::machine::{Machine, told};
use crate::s3::{ACCESS_KEY, S3, SECRET_KEY};

/// Words that the predecessor took for booleans and then expected to be text.
const TRUE: [&str; 7] = ["1", "true", "TRUE", "yes", "YES", "Y", "y"];
const FALSE: [&str; 7] = ["0", "false", "FALSE", "no", "NO", "N", "n"];

fn variables(machine: &Machine, pairs: &[(&str, &str)], args: &[&str]) -> (i32, String) {
    told(&machine.command(args).envs(pairs.iter().copied()).output().expect("the program runs"))
}

const PUSH: [&str; 5] = ["sync-to-remote", "-s", "volume", "-d", "demo"];

#[test]
fn booleans_of_the_environment_have_their_meaning_in_every_spelling() {
    let s3 = S3::start();
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    let endpoint = s3.endpoint();
    let store = [("REMOTE_TYPE", "s3"), ("REMOTE_ENDPOINT", &endpoint), ("REMOTE_REGION", "us-east-1")];
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    for (words, is_on) in [(TRUE, true), (FALSE, false)] {
        for word in words {
            let pairs = [("REMOTE_ENV_AUTH", word), ("REMOTE_NO_CHECK_BUCKET", word)];
            let (code, text) =
                variables(&machine, &[&store[..], &keys, &pairs].concat(), &["sync-to-remote", "-s", "volume", "-d", "bucket/a"]);
            assert_eq!(code, if is_on { 0 } else { 2 }, "{word}: {text}");
            assert_eq!(text.contains("REMOTE_ACCESS_KEY_ID is missing: there are no credentials"), !is_on, "{word}: {text}");
            let (code, text) = variables(&machine, &[("LOG_JSON", word)], &PUSH);
            assert_eq!(code, 0, "{word}: {text}");
            assert_eq!(text.starts_with('{'), is_on, "{word}: {text}");
        }
    }
}

#[test]
fn a_boolean_of_the_encryption_is_one_of_rclones_options() {
    let machine = Machine::local();
    machine.write("file", "content");
    for word in [TRUE, FALSE].concat() {
        let (code, text) = variables(&machine, &[("ENCRYPTED_DIRECTORY_NAME_ENCRYPTION", word)], &PUSH);
        assert_eq!(code, 0, "{word}: {text}");
        assert!(text.contains("without effect on a vault: ENCRYPTED_DIRECTORY_NAME_ENCRYPTION"), "{word}: {text}");
    }
}

#[test]
fn variables_of_one_command_do_no_harm_to_another() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    let odd = [("CONFIG_PATH", "1"), ("IMAGE", "yes"), ("USE_TLS", "maybe"), ("REMOTE_DESCRIPTION", "no")];
    let (code, text) = variables(&machine, &odd, &PUSH);
    assert_eq!(code, 0, "{text}");
    for args in [&["completions", "bash"][..], &["key", "generate"]] {
        let wrong = [("REMOTE_ENV_AUTH", "true"), ("REMOTE_TYPE", "nowhere"), ("ENCRYPTED_PASSWORD", "")];
        let (code, text) = variables(&machine, &[&odd[..], &wrong].concat(), args);
        assert_eq!(code, 0, "{args:?}: {text}");
    }
    let (code, text) = variables(&machine, &[("LOG_JSON", "loud")], &PUSH);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("'loud'") && text.contains("expected true or false"), "{text}");
}

/// What Kubernetes sets in every Pod of a namespace with Services called `remote` and `encrypted`.
#[test]
fn services_called_remote_and_encrypted_change_nothing() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    let mut pairs = Vec::new();
    for name in ["REMOTE", "ENCRYPTED"] {
        for (suffix, value) in [
            ("SERVICE_HOST", "10.0.0.7"),
            ("SERVICE_PORT", "443"),
            ("SERVICE_PORT_HTTPS", "443"),
            ("PORT", "tcp://10.0.0.7:443"),
            ("PORT_443_TCP", "tcp://10.0.0.7:443"),
            ("PORT_443_TCP_PROTO", "tcp"),
            ("PORT_443_TCP_PORT", "443"),
            ("PORT_443_TCP_ADDR", "10.0.0.7"),
        ] {
            pairs.push((format!("{name}_{suffix}"), value));
        }
    }
    let output = machine.command(&PUSH).envs(pairs.iter().cloned()).output().expect("the program runs");
    let (code, text) = told(&output);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("_PORT") && !text.contains("_SERVICE"), "{text}");
    assert_eq!(super::read(&machine.at("remote/demo/file")), "content", "nothing was encrypted by a Service's name");
}

#[test]
fn a_variable_wins_over_a_parameter() {
    everywhere(|mut machine| {
        machine.write("file", "content");
        let path = machine.path;
        goes(&machine, &["sync-to-remote", "-s", "volume", "-d", path, "-p", "type=local", "-p", "endpoint=http://127.0.0.1:9"]);
        let (code, _) = runs(&machine, &["remote-to-local-sync", "-s", path, "-d", "restored"]);
        assert_eq!(code, 0, "it lies at the store that the variables name");
        // The image sets the type, and a Pod may set another.
        machine.set("REMOTE_TYPE", "local");
        goes(&machine, &["sync-to-remote", "-s", "volume", "-d", "folder"]);
        assert!(machine.at("remote/folder/file").is_file());
    });
}

#[test]
fn a_line_break_in_a_value_adds_no_option() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    let pairs = [
        ("REMOTE_TYPE", "s3"),
        ("REMOTE_ENDPOINT", "http://127.0.0.1:9"),
        ("REMOTE_ACCESS_KEY_ID", "made-up"),
        ("REMOTE_SECRET_ACCESS_KEY", "made-up"),
        ("REMOTE_REGION", "us-east-1\nendpoint=http://elsewhere"),
    ];
    let (code, text) = variables(&machine, &pairs, &PUSH);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("REMOTE_REGION has spaces") && !text.contains("elsewhere"), "{text}");
}

#[test]
fn what_was_meant_for_rclone_itself_is_named() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    let (code, text) = variables(&machine, &[("RCLONE_EXCLUDE", "*.key"), ("RCLONE_TRANSFERS", "8")], &PUSH);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("RCLONE_EXCLUDE, RCLONE_TRANSFERS; see --bwlimit, --include and --exclude"), "{text}");
    let text = fails(&machine, &["sync-to-remote", "-s", "volume", "-d", "demo", "-p", "transfers=8"], 2);
    assert!(text.contains("-p transfers is not a known option"), "{text}");
}

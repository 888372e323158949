//! Large objects of Swift without encryption: what they consist of are objects too, while tokens end after a few requests.

use super::servers::{Server, asked};
use super::{pushed, restored};
use crate::machine::Machine;
use std::collections::BTreeSet;

/// Two parts.
const LONG: usize = 9_000_000;

/// The parts of a file's object.
fn parts(server: &Server, file: &str) -> BTreeSet<String> {
    let of_file = |name: &str| {
        let part = name.strip_prefix(&format!(".segments/plain/{file}"));
        // An upload's id and the part's number follow.
        part.is_some_and(|rest| rest.len() == 36 + 9)
    };
    let answer = asked(server.port(), "GET /names HTTP/1.1", "");
    let (_, names) = answer.split_once("\r\n\r\n").expect("a body");
    names.lines().filter(|name| of_file(name)).map(str::to_owned).collect()
}

/// Another program makes an object that consists of these.
fn put_manifest(server: &Server, file: &str, parts: &BTreeSet<String>) {
    let log_in = asked(server.port(), "GET /auth/v1.0 HTTP/1.1\r\nX-Auth-User: me\r\nX-Auth-Key: made-up-password", "");
    let token = log_in.lines().find(|line| line.starts_with("X-Auth-Token")).expect("a token");
    let parts = parts.iter().map(|path| serde_json::json!({ "path": format!("container/{path}") }));
    let manifest = serde_json::Value::from_iter(parts).to_string();
    let head = format!("PUT /v1/AUTH_p/container/plain/{file}?multipart-manifest=put HTTP/1.1\r\n{token}");
    let answer = asked(server.port(), &head, &manifest);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[test]
fn an_upload_in_parts_outlives_the_token_that_it_began_with() {
    let server = Server::swift();
    let machine = Machine::new(server.remote(), "container/plain").without_key();
    // A token is good for two of its four parts.
    machine.write("long", vec![7; 30_000_000]);
    pushed(&machine, &[]);
    assert_eq!(parts(&server, "long").len(), 4);
    assert!(pushed(&machine, &[]).contains("nothing changed"));
    restored(&machine, "restored");
}

#[test]
fn parts_go_with_the_object_that_they_were_sent_with_and_no_others() {
    let server = Server::swift();
    let machine = Machine::new(server.remote(), "container/plain").without_key();
    let files = ["long", "longer", "shortened", "removed"];
    for (byte, file) in (1..).zip(files) {
        machine.write(file, vec![byte; LONG]);
    }
    pushed(&machine, &[]);
    let before = files.map(|file| parts(&server, file));
    assert!(before.iter().all(|parts| parts.len() == 2), "{before:?}");
    put_manifest(&server, "copied", &before[1]);
    machine.write("copied", vec![5; LONG]);
    machine.write("long", vec![6; LONG + 1]);
    machine.write("shortened", b"short");
    std::fs::remove_file(machine.at("volume/removed")).expect("removed");
    pushed(&machine, &["--force-even-if-remote-would-be-cleared"]);
    let long = parts(&server, "long");
    assert!(long.len() == 2 && long.is_disjoint(&before[0]), "{long:?}");
    assert_eq!(parts(&server, "longer"), before[1], "what another object names too stays");
    assert_eq!(parts(&server, "copied").len(), 2);
    for file in ["shortened", "removed"] {
        assert!(parts(&server, file).is_empty(), "{file}");
    }
    restored(&machine, "restored");
}

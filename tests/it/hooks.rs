//! What is called around a push: when, with what, and what its failure means.

use crate::machine::{Machine, until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn machine() -> Machine {
    let mut machine = Machine::local();
    machine.set("PATH", &std::env::var("PATH").expect("a PATH"));
    machine.write("file", "content");
    machine
}

fn shell(script: &str) -> String {
    serde_json::json!(["sh", "-c", script]).to_string()
}

fn read(machine: &Machine, name: &str) -> String {
    std::fs::read_to_string(machine.at(name)).unwrap_or_default()
}

#[test]
fn programs_are_called_around_a_push_without_our_secrets() {
    let mut machine = machine();
    machine.set("GIVEN", "to the program");
    let secret = "made-up-and-ours";
    let ours = ["REMOTE_DESCRIPTION", "RCLONE_CONFIG_PASS", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HEARTBEAT_URL"];
    ours.iter().for_each(|name| machine.set(name, secret));
    machine.set("AWS_REGION", "to the program too");
    machine.set("BEFORE_PUSH", &shell("env > before; date > volume/made-by-hook"));
    machine.set("AFTER_PUSH", &shell(&format!("env > after; ls before; echo thawed; : {secret}")));
    assert_eq!(machine.push(&["--dry-run"]).0, 0);
    assert_eq!(read(&machine, "before"), "", "a dry run calls nothing");
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("thawed"), "{text}");
    assert!(read(&machine, "before").contains("PUSH_HOOK=before-push"), "{}", read(&machine, "before"));
    let after = read(&machine, "after");
    for expected in
        ["PUSH_HOOK=after-push\n", "PUSH_RESULT=complete\n", "PUSH_COMMIT=", "GIVEN=to the program\n", "AWS_REGION=to"]
    {
        assert!(after.contains(expected), "{expected}: {after}");
    }
    assert!(!after.contains("REMOTE_") && !after.contains(machine.key()) && !after.contains(secret), "{after}");
    assert!(!after.contains("BEFORE_PUSH") && !after.contains("AWS_S"), "{after}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert!(machine.at("restored/made-by-hook").exists(), "the push saw what the hook did");
}

#[test]
fn a_push_begins_only_after_its_hook_succeeded_and_the_other_is_called_in_any_case() {
    for (before, more, code, said) in [
        (shell("echo not now >&2; exit 7"), [].as_slice(), 3, "it failed (exit status: 7)"),
        (shell("echo not now; sleep 60"), ["--hook-timeout=300ms"].as_slice(), 5, "and was killed"),
        ("no-such-program 'not now'".to_string(), [].as_slice(), 2, "it could not be started"),
        ("http://127.0.0.1:9/not now".replace(' ', "-"), [].as_slice(), 5, "it was not reached"),
    ] {
        let mut machine = machine();
        machine.set("BEFORE_PUSH", &before);
        machine.set("AFTER_PUSH", &shell("echo $PUSH_RESULT > after"));
        let (got, text) = machine.push(more);
        assert_eq!(got, code, "{text}");
        assert!(text.contains("nothing was pushed: the before-push hook: ") && text.contains(said), "{text}");
        assert!(text.contains("not now") || code == 2 || before.starts_with("http"), "its words are in the log: {text}");
        assert_eq!(read(&machine, "after"), "failed\n");
        assert!(!machine.at("remote").exists(), "nothing was asked of the remote");
    }
    let mut machine = machine();
    machine.set("BEFORE_PUSH", "say 'unfinished");
    let (code, text) = machine.push(&[]);
    assert!(code == 2 && text.contains("--before-push: expected"), "{text}");
}

#[test]
fn a_push_whose_after_hook_fails_is_partial() {
    let mut machine = machine();
    machine.set("AFTER_PUSH", &shell("exit 1"));
    let (code, text) = machine.push(&[]);
    assert!(code == 9 && text.contains("the after-push hook: it failed") && text.contains("pushed in part"), "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert!(machine.at("restored/file").exists(), "what was pushed is there");
}

/// Answers calls, one by one, and tells what was asked.
fn listener(statuses: &'static [u16]) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answering = std::thread::spawn(move || {
        let answer = |status: &u16| {
            let mut stream = BufReader::new(listener.accept().expect("a call").0);
            let (mut head, mut length) = (String::new(), 0);
            while stream.read_line(&mut head).expect("a line") > 2 {
                let line = head.lines().last().unwrap_or_default().to_lowercase();
                length = line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().expect("a length"));
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let words = "said by the application";
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{words}", words.len());
            stream.get_mut().write_all(answer.as_bytes()).expect("answered");
            format!("{} {}", head.lines().next().unwrap_or_default(), String::from_utf8_lossy(&body))
        };
        statuses.iter().map(answer).collect()
    });
    (address, answering)
}

#[test]
fn urls_are_posted_to_and_their_status_decides() {
    let (address, answering) = listener(&[200, 204]);
    let mut machine = machine();
    machine.set("BEFORE_PUSH", &format!("http://{address}/freeze?token=made-up"));
    machine.set("AFTER_PUSH", &format!("http://{address}/thaw?token=made-up"));
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("said by the application") && !text.contains("made-up"), "{text}");
    let asked = answering.join().expect("answered");
    assert_eq!(asked[0], r#"POST /freeze?token=made-up HTTP/1.1 {"hook":"before-push"}"#);
    assert!(
        asked[1].starts_with("POST /thaw?token=made-up HTTP/1.1 {") && asked[1].contains(r#""result":"complete""#),
        "{asked:?}"
    );

    let (address, answering) = listener(&[503, 200]);
    machine.set("BEFORE_PUSH", &format!("http://{address}/freeze"));
    machine.set("AFTER_PUSH", &format!("http://{address}/thaw"));
    let (code, text) = machine.push(&[]);
    assert!(code == 3 && text.contains("the before-push hook: it answered 503"), "{text}");
    assert!(answering.join().expect("answered")[1].contains(r#""result":"failed""#));

    machine.unset("AFTER_PUSH");
    let (code, text) = machine.push(&[]);
    assert!(code == 5 && text.contains("the application listens there"), "nobody listens any more: {text}");
}

#[test]
fn a_sidecar_is_well_while_a_hook_takes_its_time() {
    let mut machine = Machine::local_in_memory();
    machine.set("PATH", &std::env::var("PATH").expect("a PATH"));
    machine.write("file", "content");
    machine.set("BEFORE_PUSH", &shell("touch begun; for i in $(seq 1500); do test -e go && exit; sleep 0.02; done; exit 1"));
    let running = machine.sidecar(&["--schedule", "@every 1h", "--health-stall=1ms", "--hook-timeout=50s"]);
    until("the hook runs", || machine.at("begun").exists());
    let began = Instant::now();
    until("the hook takes longer than a silence may", || began.elapsed() > Duration::from_millis(100));
    assert!(machine.health("stall").0, "{}", machine.health("stall").1);
    assert_eq!(running.page("/healthz"), (200, "ok\n".into()));
    std::fs::write(machine.at("go"), "").expect("a file");
    running.has_pushed(1);
}

//! The policies that are shipped, on a real store: each mode passes under its policy, and what is missing is named.

use crate::machine::{Machine, assert_same, noise, told};
use std::io::Write;
use std::process::{Command, Stdio};

const POLICIES: [&str; 3] = ["push", "push-and-delete", "restore"];

fn policy(machine: &Machine, name: &str) -> serde_json::Value {
    let path = format!("{}/examples/policies/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let (bucket, prefix) = machine.path.split_once('/').expect("a bucket and a path");
    let text = std::fs::read_to_string(path).expect("a policy").replace("BUCKET", bucket).replace("PREFIX", prefix);
    serde_json::from_str(&text).expect("JSON")
}

/// The machine with keys that a policy limits.
fn limited(machine: Machine, policy: &serde_json::Value) -> Machine {
    let script = format!("{}/tests/assume_role.py", env!("CARGO_MANIFEST_DIR"));
    let endpoint = std::env::var("IT_S3_ENDPOINT").expect("a store");
    let mut child =
        Command::new("python3").args([&script, &endpoint]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    child.stdin.take().expect("a pipe").write_all(policy.to_string().as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the store gives temporary keys");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut machine = machine;
    for (name, value) in
        ["REMOTE_ACCESS_KEY_ID", "REMOTE_SECRET_ACCESS_KEY", "REMOTE_SESSION_TOKEN"].into_iter().zip(text.lines())
    {
        machine.remote.retain(|(given, _)| given != name);
        machine.remote.push((name.to_string(), value.to_string()));
    }
    machine
}

fn fill(machine: &Machine, round: u64) {
    (0..20).for_each(|i| machine.write(&format!("d/f{i}"), noise(round * 100 + i, 3000)));
    machine.write("long", noise(round, 9_000_000));
}

#[test]
fn each_mode_passes_under_the_policy_that_is_shipped_for_it() {
    for open in [false, true] {
        for name in ["push", "push-and-delete"] {
            let Some(machine) = Machine::real() else { return };
            let machine = if open { machine.without_key() } else { machine };
            let all = machine.remote.clone();
            let policy = policy(&machine, name);
            let machine = limited(machine, &policy);
            fill(&machine, 1);
            let (code, text) = machine.push(&[]);
            assert_eq!(code, 0, "{name}, open: {open}: {text}");
            fill(&machine, 2);
            std::fs::remove_file(machine.at("volume/d/f1")).expect("removed");
            let (code, text) = machine.push(&[]);
            assert_eq!(code, 0, "{name}, open: {open}: {text}");
            let (code, text) = machine.restore("own", &[]);
            assert_eq!(code, 0, "{name}, open: {open}: {text}");
            assert_same(&machine, "own");
            let mut machine = machine;
            machine.remote = all;
            let reader = self::policy(&machine, "restore");
            let machine = limited(machine, &reader);
            let (code, text) = machine.restore("read", &[]);
            assert_eq!(code, 0, "restore, open: {open}: {text}");
            assert_same(&machine, "read");
            machine.write("more", "x");
            let (code, text) = machine.push(&[]);
            assert!(code == 4 && text.contains("s3:PutObject"), "restore, open: {open}: {text}");
        }
    }
}

#[test]
fn a_missing_right_is_named_by_doctor() {
    for name in POLICIES {
        let Some(machine) = Machine::real() else { return };
        let all = machine.remote.clone();
        machine.write("file", "x");
        assert_eq!(machine.push(&[]).0, 0);
        let mut machine = machine;
        let whole = policy(&machine, name);
        let statements = whole["Statement"].as_array().expect("statements").clone();
        for missing in &statements {
            let rest: Vec<_> = statements.iter().filter(|statement| *statement != missing).cloned().collect();
            machine.remote = all.clone();
            machine = limited(machine, &serde_json::json!({"Version": whole["Version"], "Statement": rest}));
            let output = machine.run(&["doctor", "-d", machine.path]);
            let (code, _) = told(&output);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let right = missing["Action"][0].as_str().expect("an action");
            let line = said.lines().find(|line| line.contains(right) && !line.starts_with('✓'));
            assert!(line.is_some(), "{name} without {right}: {said}");
            // Pushes and restores work without the right to delete: it is told, and no error.
            assert_eq!(code, if right == "s3:DeleteObject" { 0 } else { 4 }, "{name} without {right}: {said}");
        }
    }
}

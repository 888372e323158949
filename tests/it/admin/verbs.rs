//! `health` and `interrupt`, as a kubelet runs them.

use super::{SOON, Sidecar};
use crate::machine::{Machine, told};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use volume_syncing_controller::admin::{Ended, PidFile};

/// Exit code and output.
fn run(machine: &Machine, args: &[&str]) -> (i32, String) {
    let output = machine.run(args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    (output.status.code().expect("it was not killed"), String::from_utf8(output.stdout).expect("text").trim_end().to_string())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A process of this program that lives until it is told to stop: it waits for an answer that does not come.
fn long_lived(machine: &Machine, sidecar: &Sidecar) -> Child {
    let mut command = machine.command(&["interrupt", "--wait", "--socket", text(&sidecar.socket())]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    sidecar.wait_for(1);
    child
}

#[test]
fn health_exits_with_0_or_1_and_the_reason() {
    let mut machine = Machine::local();
    let sidecar = Sidecar::listening();
    machine.set("VSC_SOCKET", text(&sidecar.socket()));
    assert_eq!(run(&machine, &["health"]), (0, "sync: all is well".into()));
    assert_eq!(run(&machine, &["health", "--check=stall"]), (0, "stall: all is well".into()));
    assert_eq!(run(&machine, &["health", "--check=ready"]), (1, "ready: no pass has finished yet".into()));
    sidecar.fail_twice();
    let words = "sync: failed passes in a row: 2, the newest one: denied";
    assert_eq!(run(&machine, &["health", "--check=sync"]), (1, words.into()), "fixed words: no message, no endpoint, no secret");
    assert_eq!(run(&machine, &["health", "--check=live"]), (1, words.into()));
    assert_eq!(run(&machine, &["health", "--check=stall"]).0, 0, "the loop advances");
    sidecar.health.ended(Ended::Complete);
    assert_eq!(run(&machine, &["health", "--check=sync"]).0, 0);
    assert_eq!(run(&machine, &["health", "--check=ready"]).0, 0);
    assert_eq!(run(&machine, &["health", "--check=live"]), (0, "live: all is well".into()));
    machine.set("VSC_SOCKET", "/nonexistent/control.sock");
    let (code, said) = run(&machine, &["health"]);
    assert_eq!(code, 1);
    assert!(said.starts_with("no sidecar listens on '/nonexistent/control.sock' (if it runs, name its socket"), "{said}");
}

#[test]
fn the_socket_is_found_in_the_state_directory_and_on_the_volume() {
    let mut machine = Machine::local();
    let mut sidecar = Sidecar::new();
    for folder in ["state", "volume/.vsc"] {
        std::fs::create_dir_all(machine.at(folder)).expect("a folder");
    }
    sidecar.listen(&machine.at("volume/.vsc/control.sock"));
    assert_eq!(run(&machine, &["health", "-s", "volume"]).0, 0);
    assert_eq!(run(&machine, &["health", "--src=volume", "--state-dir=state"]).0, 0, "nobody listens in the state directory");
    machine.set("STATE_DIR", text(&machine.at("state")));
    let (code, said) = run(&machine, &["health"]);
    assert!(code == 1 && said.contains("state/control.sock' or '/run/vsc/control.sock'"), "{said}");
    sidecar.listen(&machine.at("state/control.sock"));
    assert_eq!(run(&machine, &["health"]).0, 0);
}

#[test]
fn a_sidecar_that_does_not_answer_is_not_well() {
    let machine = Machine::local();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let _deaf = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let begin = Instant::now();
    let (code, said) = run(&machine, &["health", "--socket", text(&path)]);
    assert_eq!(code, 1);
    assert!(said.contains("did not answer within 3 s"), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(5), "a probe's own timeout is five seconds");
}

#[test]
fn interrupt_returns_at_once_or_waits_for_the_last_pass() {
    let machine = Machine::local();
    let sidecar = Sidecar::listening();
    let socket = sidecar.socket();
    assert_eq!(run(&machine, &["interrupt", "--socket", text(&socket)]), (0, "noted".into()));
    sidecar.wait_for(1);

    let mut command = machine.command(&["interrupt", "--wait", "--socket", text(&socket)]);
    let mut waiting = command.stdout(Stdio::piped()).spawn().expect("it runs");
    sidecar.wait_for(2);
    assert_eq!(waiting.try_wait().expect("a child"), None, "the last pass has not ended");
    sidecar.quiet.notify_one();
    let output = waiting.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"nothing is left to push\n".as_slice()));
}

#[test]
fn a_sidecar_that_ends_leaves_nobody_waiting() {
    let machine = Machine::local();
    let mut sidecar = Sidecar::listening();
    let waiting = long_lived(&machine, &sidecar);
    let begin = Instant::now();
    sidecar.end();
    let output = waiting.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(begin.elapsed() < SOON);
}

#[test]
fn without_a_socket_the_process_of_the_pid_file_is_told() {
    let machine = Machine::local();
    let sidecar = Sidecar::listening();
    let other = long_lived(&machine, &sidecar);
    let pid_file = machine.at("run.pid");
    std::fs::write(&pid_file, format!("{}\n", other.id())).expect("a file");
    let pid_path = format!("--pid-path={}", pid_file.display());
    let (code, said) = run(&machine, &["interrupt", &pid_path, "--socket=/nonexistent/control.sock"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with(&format!("sent SIGTERM to process {}", other.id())), "{said}");
    let output = other.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"stopped by a signal\n");
}

#[test]
fn no_other_process_is_told() {
    let machine = Machine::local();
    let pid_file = machine.at("run.pid");
    let refused = |content: Option<&str>, expected: &str| {
        match content {
            Some(content) => std::fs::write(&pid_file, content).expect("a file"),
            None => drop(std::fs::remove_file(&pid_file)),
        }
        let (code, said) = run(&machine, &["interrupt", "-p", text(&pid_file), "--socket=/nonexistent/control.sock"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.starts_with("no sidecar listens on") && said.contains(expected), "{said}");
    };
    refused(None, "cannot be read");
    for nonsense in ["", "x", "-1", "0", "1 2", "99999999999"] {
        refused(Some(nonsense), "does not hold a process id");
    }
    let mut stranger = Command::new("sleep").arg("60").spawn().expect("sleep runs");
    let pid = stranger.id().to_string();
    refused(Some(&pid), "which is another program: it is left alone");
    assert_eq!(stranger.try_wait().expect("a child"), None, "it lives");
    stranger.kill().expect("it is ours");
    stranger.wait().expect("it ends");
    refused(Some(&pid), "which is gone");
}

#[test]
fn a_pid_file_goes_with_its_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.pid");
    let file = PidFile::create(&path).expect("a pid file");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), format!("{}\n", std::process::id()));
    drop(file);
    assert!(!path.exists());
    let file = PidFile::create(&path).expect("a pid file");
    std::fs::write(&path, "1\n").expect("a file");
    drop(file);
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "1\n", "another process has its name there now");
    let error = PidFile::create(Path::new("/nonexistent/run.pid")).expect_err("no folder").to_string();
    assert!(error.starts_with("writing the pid file '/nonexistent/run.pid'"), "{error}");
}

#[test]
fn beside_a_sidecar_a_push_needs_no_remote() {
    let mut machine = Machine::local();
    let mut sidecar = Sidecar::new();
    machine.write("note", "text");
    // Credentials are missing, and a bucket.
    machine.set("REMOTE_TYPE", "s3");
    let ask = ["sync-to-remote", "-s", "volume"];
    let (code, said) = told(&machine.run(&ask));
    assert!(code == 2 && said.contains("REMOTE_ACCESS_KEY_ID is missing"), "{said}");
    assert!(!machine.at("volume/.vsc").exists(), "a mistake leaves nothing behind");
    let held = machine.locked_volume();
    sidecar.listen(&machine.at("volume/.vsc/control.sock"));
    let (code, said) = told(&machine.run(&ask));
    assert!(code == 9 && said.contains("the sidecar of this directory made the push: pushed in part"), "{said}");
    drop(held);
    let (code, said) = told(&machine.run(&ask));
    assert_eq!(code, 2, "the sidecar has ended: {said}");
}

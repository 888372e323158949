//! The predecessor's schedules, and how they end.

use super::{Machine, S3, everywhere, fails, given, goes, read, runs};
use crate::s3::Fault;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A push that stays; what it says goes to the file `said`. It ends with the test.
struct Staying(Child);

impl Staying {
    fn start(machine: &Machine, flags: &[&str]) -> Staying {
        let said = std::fs::File::create(machine.at("said")).expect("a file");
        let mut command = machine.command(&[&["sync-to-remote", "-s", "volume", "-d", machine.path], flags].concat());
        Staying(command.stdout(Stdio::null()).stderr(said).spawn().expect("it starts"))
    }

    /// Waits until it has said this.
    fn says(&mut self, machine: &Machine, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !read(&machine.at("said")).contains(words) {
            let ended = self.0.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < deadline, "'{words}' was not said: {}", read(&machine.at("said")));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn terminate(&self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).expect("it runs");
    }

    fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code().expect("no signal ended it");
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its first pass came after the first minute, its file of the process id was gone at once, and `interrupt` sent nothing.
#[test]
fn the_makefiles_schedule_pushes_at_once_and_a_last_time_when_it_is_interrupted() {
    everywhere(|machine| {
        machine.write("file", "content");
        let pid_file = machine.at("vsc.pid").display().to_string();
        let mut staying = Staying::start(&machine, &["--schedule", "@every 1m", "--pid-path", &pid_file]);
        staying.says(&machine, "pushed to");
        machine.write("file", "changed, longer");
        let args = ["interrupt", "-p", &pid_file, "--socket=/nonexistent/control.sock"];
        goes(&machine, &args);
        assert_eq!(staying.exit_code(), 0, "{}", read(&machine.at("said")));
        goes(&machine, &["remote-to-local-sync", "-s", machine.path, "-d", "restored"]);
        assert_eq!(read(&machine.at("restored/file")), "changed, longer");
        // Nobody is there any more, and that is told.
        let (code, _) = runs(&machine, &args);
        assert_eq!(code, 1);
    });
}

/// Its exit code was 0 whatever became of the last pass.
#[test]
fn a_last_pass_that_fails_is_told_by_the_exit_code() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3).without_key();
    machine.write("file", "content");
    let mut staying = Staying::start(&machine, &["--schedule", "@every 1h", "--grace", "6"]);
    staying.says(&machine, "pushed to");
    s3.faults(|_| Fault::Status(403, "AccessDenied"));
    machine.write("file", "changed, longer");
    staying.terminate();
    assert_ne!(staying.exit_code(), 0, "{}", read(&machine.at("said")));
    s3.heal();
    assert!(s3.object("some/path/file").is_some_and(|body| body == "content"));
    assert!(!read(&machine.at("said")).contains(&given(&machine, "REMOTE_SECRET_ACCESS_KEY")));
}

/// The README's example with six fields was refused by its own parser.
#[test]
fn every_form_of_a_schedule_is_taken_and_a_wrong_one_is_refused_by_name() {
    let s3 = S3::start();
    let mut machine = Machine::s3(&s3).without_key();
    machine.write("file", "content");
    for (form, path) in [
        ("0 30 * * * *", "bucket/six"),
        ("*/15 0-5 1,15 * mon-fri", "bucket/five"),
        ("0 4 ? JAN *", "bucket/names"),
        ("@hourly", "bucket/word"),
        ("@every 1h30m", "bucket/every"),
        ("TZ=Europe/Warsaw 0 4 * * *", "bucket/zone"),
    ] {
        machine.path = path;
        let mut staying = Staying::start(&machine, &["--schedule", form]);
        staying.says(&machine, "pushed to");
        staying.terminate();
        assert_eq!(staying.exit_code(), 0, "{form}: {}", read(&machine.at("said")));
    }
    for form in ["every minute", "61 * * * *", "@every soon", "TZ=Nowhere/Else 0 4 * * *"] {
        let text = fails(&machine, &["sync-to-remote", "-s", "volume", "-d", machine.path, "--schedule", form], 2);
        assert!(text.contains("--schedule"), "{form}: {text}");
    }
    // It fetched over local files at each tick, and once more when it was to end.
    let text = fails(&machine, &["remote-to-local-sync", "-s", machine.path, "-d", "restored", "--schedule", "@hourly"], 2);
    assert!(text.contains("unexpected argument '--schedule'"), "{text}");
}

//! Another program, run to its end: bounded in time, and in what is kept of its words.

use super::{Stop, clock, limits};
use futures::FutureExt;
use futures::future::{FusedFuture, join};
use std::fmt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// A program and what it is given. Arguments and environment may hold secrets: `Debug` prints neither.
#[derive(Clone)]
pub struct Child {
    /// The program, as a path or found by `PATH`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for Child {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Child({})", self.program)
    }
}

/// Why a program did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("it could not be started: {0}")]
    Start(#[source] std::io::Error),
    /// It ended, and said that it failed.
    #[error("it failed ({0})")]
    Failed(ExitStatus),
    /// It was ended for taking too long.
    #[error("it did not end within {} s and was killed", .0.as_secs())]
    TooLong(Duration),
    /// It was ended because this process was asked to stop.
    #[error("it was killed: stopped by a signal")]
    Stopped,
}

impl Child {
    /// Runs it, and all that it starts, for at most so long. Beside how it ended: the beginning of what it wrote.
    pub async fn run(&self, longest: Duration, stop: &Stop) -> (Result<(), ChildError>, String) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it started ends with it.
        command.process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return (Err(ChildError::Start(error)), String::new()),
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let said = Mutex::new(Vec::new());
        let mut reading = pin!(join(keep(child.stdout.take(), &said), keep(child.stderr.take(), &said)).fuse());
        let ended = async {
            // Cancel-safe: both are asked again until the program has ended.
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    _ = &mut reading, if !reading.is_terminated() => {}
                }
            };
            if !reading.is_terminated() {
                // What is still in the pipes is soon read; a program that it left behind may hold them open.
                tokio::select! {
                    _ = &mut reading => {}
                    () = clock::sleep(limits::CHILD_OUTPUT_WAIT) => {}
                }
            }
            match status {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(ChildError::Failed(status)),
                Err(error) => Err(ChildError::Start(error)),
            }
        };
        let ended = tokio::select! {
            ended = ended => ended,
            () = clock::sleep(longest) => Err(ChildError::TooLong(longest)),
            () = stop.wait() => Err(ChildError::Stopped),
        };
        if matches!(ended, Err(ChildError::TooLong(_) | ChildError::Stopped)) {
            if let Some(group) = group {
                // It fails when all of them have ended just now.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.wait().await;
        }
        let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
        (ended, String::from_utf8_lossy(&said).into_owned())
    }
}

/// Keeps the beginning of what is written, and reads the rest, so that nobody waits for a full pipe.
async fn keep(from: Option<impl AsyncRead + Unpin>, said: &Mutex<Vec<u8>>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limits::CHILD_OUTPUT_BYTES.saturating_sub(said.len());
        said.extend_from_slice(&buffer[..read.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::{Child, ChildError, Stop, limits};
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Child {
        let environment = vec![("PATH".into(), std::env::var("PATH").unwrap()), ("GIVEN".into(), "a value".into())];
        Child { program: "sh".into(), arguments: vec!["-c".into(), script.into()], environment }
    }

    async fn run(script: &str, longest: Duration) -> (Result<(), ChildError>, String) {
        shell(script).run(longest, &Stop::new()).await
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test measures time")]
    async fn a_program_is_bounded_in_time_and_words() {
        let long = Duration::from_secs(20);
        let (ended, said) = run("echo \"$GIVEN\"; echo and an error >&2", long).await;
        assert!(ended.is_ok() && said.contains("a value\n") && said.contains("and an error\n"), "{said}");
        let (ended, said) = run("yes | head -c 1000000; exit 3", long).await;
        assert_eq!(ended.unwrap_err().to_string(), "it failed (exit status: 3)");
        assert_eq!(said.len(), limits::CHILD_OUTPUT_BYTES);
        let began = Instant::now();
        let (ended, said) = run("echo begun; sleep 30 & sleep 30", Duration::from_millis(300)).await;
        assert!(matches!(ended, Err(ChildError::TooLong(_))) && said == "begun\n", "{said}");
        let (ended, _) = run("sleep 30 & echo left behind", long).await;
        assert!(ended.is_ok() && began.elapsed() < Duration::from_secs(10), "what it left behind is not waited for");
        let missing = Child { program: "no-such-program".into(), ..shell("") };
        assert!(matches!(missing.run(long, &Stop::new()).await.0, Err(ChildError::Start(_))));
        let stop = Stop::new();
        stop.ask();
        assert!(matches!(shell("sleep 30").run(long, &stop).await.0, Err(ChildError::Stopped)));
    }
}

//! A sidecar that runs, what it says, and waiting for things with a bound.

use super::{Machine, told};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything takes that is not stuck.
const SOON: Duration = Duration::from_secs(60);

/// Waits until the condition is true; tells how long that took.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
    began.elapsed()
}

/// A sidecar beside the folder `volume`. It is killed when it is dropped.
pub struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Machine {
    /// Starts a sidecar; its termination message goes to the file `termination`.
    pub fn sidecar(&self, more: &[&str]) -> Running {
        std::fs::create_dir_all(self.at("volume")).expect("a volume");
        std::fs::write(self.at("termination"), "").expect("a file");
        Running::start(self.command(&[&self.sidecar_args()[..], more].concat()))
    }

    /// The arguments of each sidecar of this machine.
    pub fn sidecar_args(&self) -> [&str; 8] {
        let (health, log) = ("--health-addr=127.0.0.1:0", "--termination-log=termination");
        ["sync-to-remote", "-s", "volume", "-d", self.path, health, log, "--pid-path=pid"]
    }

    /// The termination message.
    pub fn last_words(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.at("termination")).expect("a file");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: '{text}'"))
    }

    /// Waits until a restore into the folder `seen` brings what the folder `volume` holds.
    pub fn converges(&self) {
        until("the remote holds what the volume holds", || {
            let _ = std::fs::remove_dir_all(self.at("seen"));
            let (code, text) = self.restore("seen", &[]);
            assert_eq!(code, 0, "{text}");
            super::picture(&self.at("seen")) == super::picture(&self.at("volume"))
        });
    }

    /// Whether a health check is well, and what it said.
    pub fn health(&self, check: &str) -> (bool, String) {
        let output = self.run(&["health", "-s", "volume", "--check", check]);
        assert!([Some(0), Some(1)].contains(&output.status.code()), "{:?}", told(&output));
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Running {
    /// Starts a sidecar by this command.
    pub fn start(mut command: Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (stream, kept) = (child.stderr.take().expect("a pipe"), Arc::clone(&said));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                kept.lock().expect("not poisoned").extend([line.as_str(), "\n"]);
            }
        });
        Running { child, said, reader: Some(reader) }
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("not poisoned").clone()
    }

    /// Waits until it has said a text so often.
    pub fn says(&self, text: &str, times: usize) -> Duration {
        let began = Instant::now();
        while self.said().matches(text).count() < times {
            assert!(began.elapsed() < SOON, "it does not say '{text}' {times} times: {}", self.said());
            std::thread::sleep(Duration::from_millis(3));
        }
        began.elapsed()
    }

    /// Waits until it has pushed so often.
    pub fn has_pushed(&self, times: usize) {
        self.says(" pushed to ", times);
    }

    /// Waits until it answers hooks and probes.
    pub fn listens(&self) {
        self.says("answering probes", 1);
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it lives");
    }

    /// Waits for its end: the exit code and what it said.
    pub fn ends(&mut self) -> (i32, String) {
        until("the sidecar ends", || self.child.try_wait().expect("a child").is_some());
        self.reader.take().into_iter().for_each(|reader| reader.join().expect("a reader"));
        (self.child.wait().expect("it ended").code().unwrap_or(-1), self.said())
    }

    /// Asks it to end and waits for that: the exit code and what it said.
    pub fn terminate(&mut self) -> (i32, String) {
        self.signal(Signal::TERM);
        self.ends()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.ends();
    }

    /// One of its metrics, by the start of its line.
    pub fn metric(&self, start: &str) -> f64 {
        let page = self.page("/metrics").1;
        let line = page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}: {page}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// Status and body of a page at its health address.
    pub fn page(&self, path: &str) -> (u16, String) {
        self.listens();
        let said = self.said();
        let address = said.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default())
    }

    /// A line of the kernel's account of it, in KiB.
    pub fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(Path::new(&path)).expect("it lives");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

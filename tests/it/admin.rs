//! How a running sidecar is watched and told: the health address, the control socket and the verbs that ask there, with a
//! loop behind them that does what the test says.

mod heartbeat;
mod verbs;
mod web;

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use volume_syncing_controller::admin::{
    AdminError, Command, ControlSocket, Ended, Health, HealthRules, Web, Wish, ask, ask_any, wishes,
};
use volume_syncing_controller::contract::control::{Check, Pass, PassResult, Reply, Request};
use volume_syncing_controller::fault::{Fault, Kind};
use volume_syncing_controller::runtime::{Stop, limits};
use volume_syncing_controller::telemetry::Metrics;

/// Longer than any answer of a process that is not stuck.
const SOON: Duration = Duration::from_secs(10);

/// A sidecar without its loop's work.
struct Sidecar {
    runtime: Runtime,
    folder: tempfile::TempDir,
    health: Health,
    metrics: Metrics,
    stop: Stop,
    heard: Arc<(Mutex<Vec<Command>>, Condvar)>,
    /// Lets those go on who wait for the last pass.
    quiet: Arc<Notify>,
    servers: Vec<JoinHandle<()>>,
}

impl Sidecar {
    fn new() -> Sidecar {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let rules = HealthRules { failures: 2, ..HealthRules::default() };
        Sidecar {
            runtime,
            folder: tempfile::tempdir().expect("a folder"),
            health: Health::new(rules),
            metrics: Metrics::new(),
            stop: Stop::new(),
            heard: Arc::default(),
            quiet: Arc::default(),
            servers: Vec::new(),
        }
    }

    /// One that listens on its socket.
    fn listening() -> Sidecar {
        let mut sidecar = Sidecar::new();
        sidecar.listen(&sidecar.socket());
        sidecar
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn listen(&mut self, path: &Path) {
        let socket = self.runtime.block_on(bind(path)).expect("a socket");
        let (sender, mut receiver) = wishes();
        let (health, metrics, stop) = (self.health.clone(), self.metrics.clone(), self.stop.clone());
        self.servers.push(self.runtime.spawn(async move { socket.serve(&stop, &health, &metrics, &sender).await }));
        let (heard, quiet) = (Arc::clone(&self.heard), Arc::clone(&self.quiet));
        self.runtime.spawn(async move {
            while let Some(Wish { command, reply }) = receiver.recv().await {
                heard.0.lock().expect("not poisoned").push(command);
                heard.1.notify_all();
                let quiet = Arc::clone(&quiet);
                tokio::spawn(async move {
                    let answer = match command {
                        Command::Interrupt { wait: true, .. } => {
                            quiet.notified().await;
                            Reply::new(0, "nothing is left to push")
                        }
                        Command::Interrupt { wait: false, .. } => Reply::new(0, "noted"),
                        Command::Pass { .. } => {
                            let pass = Pass { result: PassResult::Partial, commit: 7, entries: 1, bytes: 2, elapsed_ms: 3 };
                            Reply { pass: Some(pass), ..Reply::new(9, "pushed in part") }
                        }
                    };
                    // Whoever asked may be gone.
                    let _ = reply.send(answer);
                });
            }
        });
    }

    /// Serves the health address; its port.
    fn serve_web(&mut self) -> u16 {
        let web = self.runtime.block_on(Web::bind("127.0.0.1:0".parse().expect("an address"))).expect("a port");
        let port = web.address().expect("an address").port();
        let (health, metrics, stop) = (self.health.clone(), self.metrics.clone(), self.stop.clone());
        self.servers.push(self.runtime.spawn(async move { web.serve(&stop, &health, &metrics).await }));
        port
    }

    fn ask(&self, request: &Request) -> Result<Reply, AdminError> {
        self.runtime.block_on(ask(&self.socket(), request, SOON))
    }

    /// What the loop heard.
    fn heard(&self) -> Vec<Command> {
        self.heard.0.lock().expect("not poisoned").clone()
    }

    /// Waits until the loop has heard so many commands.
    fn wait_for(&self, commands: usize) {
        let heard = self.heard.0.lock().expect("not poisoned");
        let (heard, _) = self.heard.1.wait_timeout_while(heard, SOON, |heard| heard.len() < commands).expect("not poisoned");
        assert!(heard.len() >= commands, "the loop heard {heard:?}");
    }

    fn fail_twice(&self) {
        for _ in 0..2 {
            self.health.ended(Ended::Failed(Kind::Denied, "https://user:made-up-secret@example.org said 403".into()));
        }
    }

    /// Asks the servers to end, and takes how long that takes.
    fn end(&mut self) -> Duration {
        let begin = Instant::now();
        self.stop.ask();
        for server in self.servers.drain(..) {
            self.runtime.block_on(server).expect("the server ends");
        }
        begin.elapsed()
    }
}

async fn bind(path: &Path) -> Result<ControlSocket, AdminError> {
    ControlSocket::bind(&[path.to_path_buf()]).await
}

/// Writes bytes to a socket and reads what comes back until it is closed.
fn say(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // The other side may have heard enough before it is all written.
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_sidecar_answers_and_passes_commands_on_to_its_loop() {
    let sidecar = Sidecar::listening();
    let meta = std::fs::symlink_metadata(sidecar.socket()).expect("a socket");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);

    let well = |check| sidecar.ask(&Request::Health { check }).expect("an answer");
    assert_eq!((well(Check::Sync).exit, well(Check::Stall).exit, well(Check::Ready).exit), (0, 0, 1));
    sidecar.health.ended(Ended::Complete);
    assert_eq!(well(Check::Ready), Reply::new(0, "ready: all is well"));
    sidecar.fail_twice();
    assert_eq!(well(Check::Sync), Reply::new(1, "sync: failed passes in a row: 2, the newest one: denied"));

    let begin = Instant::now();
    assert_eq!(sidecar.ask(&Request::Interrupt { wait: false }).expect("an answer"), Reply::new(0, "noted"));
    let pass = sidecar.ask(&Request::Pass { allow_deletes: None }).expect("an answer");
    assert_eq!((pass.exit, pass.pass.map(|pass| (pass.result, pass.commit))), (9, Some((PassResult::Partial, 7))));
    let heard = sidecar.heard();
    assert!(
        matches!(heard[..], [Command::Interrupt { wait: false, asked }, Command::Pass { allow_deletes: None }] if asked >= begin),
        "{heard:?}: when the hook ran is told"
    );

    sidecar.metrics.set_pending(3, 400);
    sidecar.metrics.set_generation(17);
    sidecar.metrics.polling(true);
    let status = *sidecar.ask(&Request::Status).expect("an answer").status.expect("a status");
    assert_eq!((status.pending_files, status.pending_bytes, status.generation, status.polling), (3, 400, 17, true));
    assert_eq!((status.pid, status.passes, status.last), (std::process::id(), 3, Some(PassResult::Failed)));
    assert!(status.last_error.expect("an error").contains("said 403"));
}

#[test]
fn a_loop_that_ends_leaves_nobody_without_an_answer() {
    let sidecar = Sidecar::new();
    let socket = sidecar.runtime.block_on(bind(&sidecar.socket())).expect("a socket");
    let (sender, mut receiver) = wishes();
    let (health, metrics, stop) = (sidecar.health.clone(), sidecar.metrics.clone(), sidecar.stop.clone());
    sidecar.runtime.spawn(async move { socket.serve(&stop, &health, &metrics, &sender).await });
    let path = sidecar.socket();
    let waiting = sidecar.runtime.spawn(async move { ask(&path, &Request::Interrupt { wait: true }, SOON).await });
    drop(sidecar.runtime.block_on(receiver.recv()).expect("a wish"));
    let ended = Reply::new(9, "the sidecar ended before it answered");
    assert_eq!(sidecar.runtime.block_on(waiting).expect("it ends").expect("an answer"), ended);
    drop(receiver);
    assert_eq!(sidecar.ask(&Request::Pass { allow_deletes: None }).expect("an answer"), ended);
}

#[test]
fn a_dead_socket_is_replaced_and_nothing_else() {
    let mut sidecar = Sidecar::listening();
    let path = sidecar.socket();
    let error = sidecar.runtime.block_on(bind(&path)).expect_err("one listens");
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(error.to_string(), format!("another process listens on the control socket '{}'", path.display()));
    assert!(error.hint().expect("a hint").contains("VSC_SOCKET"));
    let elsewhere = sidecar.folder.path().join("second.sock");
    let both = [path.clone(), elsewhere.clone()];
    let error = sidecar.runtime.block_on(ControlSocket::bind(&both)).expect_err("the first would answer for both");
    assert!(error.to_string().contains("another process listens") && !elsewhere.exists(), "{error}");
    assert_eq!(sidecar.ask(&Request::Status).expect("an answer").exit, 0, "the first was not disturbed");
    sidecar.end();
    assert!(!path.exists(), "a socket goes with its sidecar");

    drop(UnixListener::bind(&path).expect("a socket"));
    drop(UnixListener::bind(path.with_extension("sock.new")).expect("a start that did not end"));
    assert!(path.exists());
    let socket = sidecar.runtime.block_on(bind(&path)).expect("a dead one is replaced");
    assert!(!path.with_extension("sock.new").exists());
    std::fs::remove_file(&path).expect("somebody else");
    std::fs::write(&path, "another's").expect("a file");
    drop(socket);
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "another's", "only the own socket is removed");

    let error = sidecar.runtime.block_on(bind(&path)).expect_err("a file is no socket");
    assert!(error.to_string().contains("is not a socket: it is left alone"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "another's");
}

#[test]
fn the_socket_goes_to_the_first_place_that_takes_it() {
    let sidecar = Sidecar::new();
    let at = |name: &str| sidecar.folder.path().join(name);
    std::fs::create_dir_all(at("volume/.vsc")).expect("folders");
    std::fs::write(at("file"), "").expect("a file");
    let paths = [at("missing/control.sock"), at("file/control.sock"), at("volume/.vsc/control.sock")];
    let socket = sidecar.runtime.block_on(ControlSocket::bind(&paths)).expect("the third");
    assert_eq!(Path::new(&socket.path()), paths[2]);
    drop(socket);

    let error = sidecar.runtime.block_on(ControlSocket::bind(&paths[..2])).expect_err("no place").to_string();
    assert!(error.starts_with("there is no place for the control socket: opening the directory"), "{error}");
    assert!(error.contains("missing/control.sock") && error.contains("file/control.sock"), "{error}");
    let asked = sidecar.runtime.block_on(ask_any(&paths, &Request::Status, SOON)).expect_err("nobody");
    assert!(asked.is_nobody() && paths.iter().all(|path| asked.to_string().contains(path.to_str().expect("text"))), "{asked}");

    // Whoever owns the volume does not choose where we write.
    std::fs::create_dir(at("target")).expect("a folder");
    std::fs::create_dir(at("trap")).expect("a folder");
    std::os::unix::fs::symlink(at("target"), at("trap/.vsc")).expect("a link");
    sidecar.runtime.block_on(bind(&at("trap/.vsc/control.sock"))).expect_err("a link");
    assert_eq!(std::fs::read_dir(at("target")).expect("a folder").count(), 0);
}

#[test]
fn paths_longer_than_an_address_are_fine() {
    let mut sidecar = Sidecar::new();
    let folder = sidecar.folder.path().join("long".repeat(40)).join("longer".repeat(30));
    std::fs::create_dir_all(&folder).expect("folders");
    let path = folder.join("control.sock");
    assert!(path.as_os_str().len() > 300);
    sidecar.listen(&path);
    let again = sidecar.runtime.block_on(bind(&path)).expect_err("one listens").to_string();
    assert!(again.contains("another process listens"), "{again}");
    assert_eq!(sidecar.runtime.block_on(ask(&path, &Request::Status, SOON)).expect("an answer").exit, 0);
    sidecar.end();
    assert!(!path.exists());
}

#[test]
fn nonsense_at_the_socket_is_answered_and_harms_nobody() {
    let sidecar = Sidecar::listening();
    let path = sidecar.socket();
    for (bytes, expected) in [
        (b"GET /healthz HTTP/1.1\r\n\r\n".to_vec(), "not one line of JSON"),
        (b"\xff\xfe\x00\n".to_vec(), "not one line of JSON"),
        (b"{\"v\":1,\"ask\":\"format-disk\"}\n".to_vec(), "unknown request 'format-disk'; known are"),
        (b"{\"v\":9,\"ask\":\"pass\"}\n".to_vec(), "speaks version 9"),
        (vec![b'['; 64 << 10], "not one line of JSON"),
        ([vec![b'x'; 70 << 10], b"\n".to_vec()].concat(), "not one line of JSON"),
        ([vec![b'['; 60 << 10], b"\n".to_vec()].concat(), "not one line of JSON"),
    ] {
        let answer = say(&path, &bytes);
        assert!(answer.contains(expected) && answer.contains("\"exit\":2"), "{answer}");
        assert_eq!(answer.lines().count(), 1);
    }
    assert_eq!(sidecar.heard(), []);
    assert_eq!(sidecar.ask(&Request::Health { check: Check::Sync }).expect("an answer").exit, 0);
}

#[test]
fn silent_clients_are_cut_and_a_crowd_is_turned_away() {
    let mut sidecar = Sidecar::listening();
    let path = sidecar.socket();
    let begin = Instant::now();
    let connect = |_| UnixStream::connect(&path).expect("somebody listens");
    let mut crowd: Vec<UnixStream> = (0..limits::CONTROL_CONNECTIONS).map(connect).collect();
    let answer = say(&path, b"{\"v\":1,\"ask\":\"status\"}\n");
    assert!(answer.contains("too many connections") && answer.contains("\"exit\":5"), "{answer}");
    for stream in &mut crowd {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        assert_eq!(stream.read(&mut [0; 16]).expect("it is closed"), 0);
    }
    let cut = begin.elapsed();
    assert!(cut >= limits::CONTROL_TIMEOUT && cut < limits::CONTROL_TIMEOUT + Duration::from_secs(3), "{cut:?}");
    assert_eq!(sidecar.ask(&Request::Status).expect("there is room again").exit, 0);

    // The end of the sidecar waits for no client.
    let _silent = connect(0);
    assert!(sidecar.end() < limits::FAREWELL + Duration::from_secs(2));
}

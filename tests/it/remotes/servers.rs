//! The servers, each ended when it is dropped.

use crate::tools::tool;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PASSWORD: &str = "made-up-password";
/// The account and key that Azurite has built in, as its documentation prints them.
const AZURITE_ACCOUNT: &str = "devstoreaccount1";
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server, and how the program reaches it.
pub struct Server {
    child: Child,
    _folder: tempfile::TempDir,
    files: Option<PathBuf>,
    remote: Vec<(String, String)>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn script(kind: &str, paths: &[&Path]) -> (Child, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.py");
    let mut command = Command::new(tool("IT_PYTHON"));
    command.arg(script).arg(kind).args(paths).stdout(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().expect("the server starts");
    let mut port = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut port).expect("a line");
    assert!(!port.trim().is_empty(), "the server says its port");
    (child, port.trim().to_string())
}

/// Starts a program that says its address in what it logs, and reads the log to that point and on.
fn logged(command: &mut Command, before: &'static str) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("it starts");
    let (said, heard) = std::sync::mpsc::channel();
    let streams: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().expect("its output")), Box::new(child.stderr.take().expect("its log"))];
    for stream in streams {
        let said = said.clone();
        // Read on after the address: a full pipe would stop the server.
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(before) {
                    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    let _ = said.send(port);
                }
            }
        });
    }
    let port = heard.recv_timeout(Duration::from_secs(20)).expect("the server says its port");
    (child, port)
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

impl Server {
    fn showing(child: Child, folder: tempfile::TempDir, remote: &[(&str, &str)]) -> Server {
        Server { child, files: Some(folder.path().to_owned()), _folder: folder, remote: pairs(remote) }
    }

    /// What it keeps is not seen as files.
    fn hiding(child: Child, folder: tempfile::TempDir, remote: &[(&str, &str)]) -> Server {
        Server { child, files: None, _folder: folder, remote: pairs(remote) }
    }

    /// Ends it; what lies in its folder stays.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What the program is given.
    pub fn remote(&self) -> Vec<(String, String)> {
        self.remote.clone()
    }

    /// The server's files, where it has them as files.
    pub fn folder(&self) -> Option<&Path> {
        self.files.as_deref()
    }

    /// The longest file it is sent: this server of Google's protocol knows no uploads in parts.
    pub fn longest(&self) -> usize {
        if self.is_of("gcs") { 7_000_000 } else { 9_000_000 }
    }

    /// Where Swift's is asked.
    pub fn port(&self) -> u16 {
        let auth = self.remote.iter().find(|(name, _)| name == "REMOTE_AUTH");
        let port = auth.and_then(|(_, auth)| auth.strip_prefix("http://127.0.0.1:")?.split('/').next()?.parse().ok());
        port.expect("an address with a port")
    }

    /// A name with what a URL gives a meaning, or an FTP server's listing. WsgiDAV reads some of it in the place to move to.
    pub fn odd_name(&self) -> &'static str {
        if self.is_of("ftp") {
            return "a b /  type=cdir; ü;#1?&+%41.txt";
        }
        let of_wsgidav = self.is_of("webdav") && self.remote.iter().any(|(_, value)| value.ends_with("/dav"));
        if of_wsgidav { "a b/ü &+=.txt" } else { "a b/ü #1?&+%41.txt" }
    }

    fn is_of(&self, kind: &str) -> bool {
        self.remote.iter().any(|(_, value)| value == kind)
    }

    pub fn webdav() -> Server {
        let folder = folder();
        let (child, port) = script("webdav", &[folder.path()]);
        let url = format!("http://127.0.0.1:{port}/dav");
        let remote = [("REMOTE_TYPE", "webdav"), ("REMOTE_URL", &url), ("REMOTE_USER", "me"), ("REMOTE_PASS", PASSWORD)];
        Server::showing(child, folder, &remote)
    }

    /// A log-in with Keystone's version 3.
    pub fn swift() -> Server {
        let (child, port) = script("swift", &[]);
        let auth = format!("http://127.0.0.1:{port}/v3");
        let remote = [
            ("REMOTE_TYPE", "swift"),
            ("REMOTE_AUTH", auth.as_str()),
            ("REMOTE_USER", "me"),
            ("REMOTE_KEY", PASSWORD),
            ("REMOTE_TENANT", "p"),
            ("REMOTE_REGION", "here"),
        ];
        Server::hiding(child, folder(), &remote)
    }

    pub fn webdav_of_rclone() -> Server {
        let folder = folder();
        let mut command = Command::new(tool("IT_RCLONE"));
        command.args(["serve", "webdav", "--addr", "127.0.0.1:0", "--user", "me", "--pass", PASSWORD, "--vfs-cache-mode", "off"]);
        command.arg(folder.path()).env("RCLONE_CONFIG", folder.path().with_extension("none"));
        let (child, port) = logged(&mut command, "http://127.0.0.1:");
        let url = format!("http://127.0.0.1:{port}/");
        let remote = [("REMOTE_TYPE", "webdav"), ("REMOTE_URL", &url), ("REMOTE_USER", "me"), ("REMOTE_PASS", PASSWORD)];
        Server::showing(child, folder, &remote)
    }

    pub fn ftp() -> Server {
        let folder = folder();
        let (child, port) = script("ftp", &[folder.path()]);
        let remote = [
            ("REMOTE_TYPE", "ftp"),
            ("REMOTE_HOST", "127.0.0.1"),
            ("REMOTE_PORT", &port),
            ("REMOTE_USER", "me"),
            ("REMOTE_PASS", PASSWORD),
        ];
        Server::showing(child, folder, &remote)
    }

    /// FTP with TLS; `option` is what the program is told of it.
    pub fn ftps(kind: &str, option: &'static str) -> Server {
        let folder = folder();
        let files = folder.path().join("files");
        std::fs::create_dir(&files).expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("a certificate");
        let (certificate, both) = (folder.path().join("ca.pem"), folder.path().join("both.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem()).expect("written");
        let (child, port) = script(kind, &[&files, &both]);
        let remote = [
            ("REMOTE_TYPE", "ftp"),
            ("REMOTE_HOST", "localhost"),
            ("REMOTE_PORT", &port),
            ("REMOTE_USER", "me"),
            ("REMOTE_PASS", PASSWORD),
            ("REMOTE_CA_FILE", certificate.to_str().expect("text")),
            (option, "true"),
        ];
        Server { child, files: Some(files), _folder: folder, remote: pairs(&remote) }
    }

    pub fn sftp_of_rclone() -> Server {
        let program = tool("IT_RCLONE");
        let folder = folder();
        let key = folder.path().join("key");
        let files = folder.path().join("files");
        std::fs::create_dir(&files).expect("a folder");
        super::ssh::keygen(&["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().expect("text")]);
        let mut command = Command::new(program);
        command.args(["serve", "sftp", "--addr", "127.0.0.1:0", "--user", "me", "--pass", PASSWORD, "--vfs-cache-mode", "off"]);
        command.arg("--key").arg(&key).arg("-v").arg(&files).env("RCLONE_CONFIG", folder.path().join("none"));
        let (child, port) = logged(&mut command, "127.0.0.1:");
        let public = std::fs::read_to_string(key.with_extension("pub")).expect("a key");
        let known = folder.path().join("known");
        std::fs::write(&known, format!("[127.0.0.1]:{port} {public}")).expect("written");
        let remote = [
            ("REMOTE_TYPE", "sftp"),
            ("REMOTE_HOST", "127.0.0.1"),
            ("REMOTE_PORT", &port),
            ("REMOTE_USER", "me"),
            ("REMOTE_PASS", PASSWORD),
            ("REMOTE_KNOWN_HOSTS_FILE", known.to_str().expect("text")),
        ];
        Server { child, files: Some(files), _folder: folder, remote: pairs(&remote) }
    }

    /// Python's file server over a folder that is there.
    pub fn http(files: &Path) -> Server {
        let (child, port) = script("http", &[files]);
        let url = format!("http://127.0.0.1:{port}");
        let remote = [("REMOTE_TYPE", "http"), ("REMOTE_URL", url.as_str())];
        Server::hiding(child, folder(), &remote)
    }

    /// `None` where `IT_AZURITE=none` says that it is not to be tried.
    pub fn azurite() -> Option<Server> {
        let program = tool("IT_AZURITE");
        if program == "none" {
            return None;
        }
        let folder = folder();
        let mut command = Command::new(program);
        command
            .args(["--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", "0", "--location"])
            .arg(folder.path());
        let (child, port) = logged(&mut command, "http://127.0.0.1:");
        let endpoint = format!("http://127.0.0.1:{port}/{AZURITE_ACCOUNT}");
        let remote = [
            ("REMOTE_TYPE", "azureblob"),
            ("REMOTE_ENDPOINT", &endpoint),
            ("REMOTE_ACCOUNT", AZURITE_ACCOUNT),
            ("REMOTE_KEY", AZURITE_KEY),
        ];
        let server = Server::hiding(child, folder, &remote);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/make_container.py");
        let made =
            Command::new(tool("IT_PYTHON")).arg(script).args([&endpoint, AZURITE_ACCOUNT, AZURITE_KEY, "container"]).status();
        assert!(made.expect("python starts").success());
        Some(server)
    }

    pub fn fake_gcs() -> Server {
        let program = tool("IT_FAKE_GCS");
        let folder = folder();
        // It takes no port of the kernel's choice: one that was free a moment ago is given.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let mut command = Command::new(program);
        let endpoint = format!("http://127.0.0.1:{port}");
        command.args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-log-level", "error"]);
        command.args(["-port", &port.to_string(), "-external-url", &endpoint, "-public-host", &format!("127.0.0.1:{port}")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().expect("it starts");
        let remote = [("REMOTE_TYPE", "gcs"), ("REMOTE_ENDPOINT", &endpoint), ("REMOTE_ANONYMOUS", "true")];
        let server = Server::hiding(child, folder, &remote);
        let body = r#"{"name":"container"}"#;
        let answer = asked(port, "POST /storage/v1/b?project=p HTTP/1.1\r\nContent-Type: application/json", body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        server
    }
}

/// One request of these first lines; gives the whole answer.
pub fn asked(port: u16, head: &str, body: &str) -> String {
    let length = body.len();
    let request = format!("{head}\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let mut answer = String::new();
    let mut socket = connected(port);
    socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_string(&mut answer)).expect("an answer");
    answer
}

/// A connection to a server that is starting.
fn connected(port: u16) -> TcpStream {
    let began = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(socket) => return socket,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::yield_now();
    }
}

/// A secret of the same form that is not the right one.
pub fn another(secret: &str) -> String {
    let first = if secret.starts_with('A') { 'B' } else { 'A' };
    secret.chars().enumerate().map(|(at, letter)| if at == 0 { first } else { letter }).collect()
}

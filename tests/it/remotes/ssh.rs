//! An OpenSSH server, one process for each connection, and what its users need. `IT_SSHD` names it.

use super::servers::folder;
use crate::tools::tool;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// The passphrase of the second key.
pub const PASSPHRASE: &str = "made-up passphrase";

/// A server on a port of the kernel's choice; what it serves lies in `files`, which is also where its users begin.
pub struct Sshd {
    home: tempfile::TempDir,
    port: u16,
    children: Arc<Mutex<Vec<Child>>>,
    clients: Arc<Mutex<Vec<TcpStream>>>,
    limits: Arc<Mutex<VecDeque<u64>>>,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for child in self.children.lock().expect("no panic").iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Sshd {
    pub fn start() -> Sshd {
        let program = tool("IT_SSHD");
        let home = folder();
        let keys =
            [("ed25519", "host"), ("rsa", "host_rsa"), ("ed25519", "user"), ("ed25519", "stranger"), ("ed25519", "authority")];
        for (kind, name) in keys {
            keygen(&["-q", "-t", kind, "-N", "", "-C", "made up", "-f", at(&home, name)]);
        }
        keygen(&["-q", "-t", "ed25519", "-N", PASSPHRASE, "-C", "made up", "-f", at(&home, "locked")]);
        let public = |name: &str| std::fs::read_to_string(home.path().join(format!("{name}.pub"))).expect("a key");
        std::fs::write(home.path().join("authorized"), public("user") + &public("locked")).expect("written");
        std::fs::create_dir(home.path().join("files")).expect("a folder");
        let config = format!(
            "HostKey {0}/host\nHostKey {0}/host_rsa\nAuthorizedKeysFile {0}/authorized\nTrustedUserCAKeys {0}/authority.pub\nSubsystem sftp internal-sftp -d {0}/files\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nLogLevel QUIET\nPidFile none\n\
             KbdInteractiveAuthentication no\n",
            home.path().display()
        );
        std::fs::write(home.path().join("config"), config).expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Sshd { home, port, children: Arc::default(), clients: Arc::default(), limits: Arc::default() };
        let mut command = Command::new(program);
        command.arg("-i").arg("-f").arg(server.at("config"));
        let (children, limits) = (Arc::clone(&server.children), Arc::clone(&server.limits));
        let clients = Arc::clone(&server.clients);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let limit = limits.lock().expect("no panic").pop_front();
                clients.lock().expect("no panic").push(socket.try_clone().expect("a copy"));
                children.lock().expect("no panic").push(serve(&mut command, socket, limit.unwrap_or(u64::MAX)));
            }
        });
        server
    }

    /// Signs a key as that of the user; the certificate lies beside it.
    pub fn certify(&self, name: &str, user: &str) {
        keygen(&["-q", "-s", &self.text("authority"), "-I", "made up", "-n", user, &self.text(&format!("{name}.pub"))]);
    }

    /// Lets the next connections see a certificate of the host's key, made by the authority.
    pub fn certify_host(&self, more: &[&str]) {
        let key = self.text("host.pub");
        keygen(&[&["-q", "-h", "-s", &self.text("authority"), "-I", "made up"], more, &[&key]].concat());
        let line = format!("HostCertificate {}\n", self.text("host-cert.pub"));
        let config = std::fs::read_to_string(self.at("config")).expect("text");
        if !config.contains(&line) {
            std::fs::write(self.at("config"), config + &line).expect("written");
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.at(name).to_str().expect("text").to_string()
    }

    /// How the program reaches it: the user's key, and a file that knows the host.
    pub fn remote(&self) -> Vec<(String, String)> {
        let known = self.known_hosts("host");
        let user = Command::new("id").arg("-un").output().expect("a user").stdout;
        let user = String::from_utf8(user).expect("text").trim().to_string();
        [
            ("REMOTE_TYPE", "sftp".to_string()),
            ("REMOTE_HOST", "127.0.0.1".into()),
            ("REMOTE_PORT", self.port.to_string()),
            ("REMOTE_USER", user),
            ("REMOTE_KEY_FILE", self.text("user")),
            ("REMOTE_KNOWN_HOSTS_FILE", known),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .into()
    }

    /// A file that has this key for the host.
    pub fn known_hosts(&self, key: &str) -> String {
        let public = std::fs::read_to_string(self.at(&format!("{key}.pub"))).expect("a key");
        let path = self.at(&format!("known_{key}"));
        std::fs::write(&path, format!("[127.0.0.1]:{} {public}", self.port)).expect("written");
        path.to_str().expect("text").to_string()
    }

    /// Ends all connections that there are.
    pub fn hang_up(&self) {
        for client in self.clients.lock().expect("no panic").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// The next connections end after so many bytes from the client.
    pub fn cut_after(&self, bytes: &[u64]) {
        self.limits.lock().expect("no panic").extend(bytes);
    }
}

fn at<'a>(home: &'a tempfile::TempDir, name: &str) -> &'a str {
    home.path().join(name).to_str().expect("text").to_string().leak()
}

pub fn keygen(args: &[&str]) {
    assert!(
        Command::new("ssh-keygen").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts").success()
    );
}

/// One connection: a process that takes it for its own, and what carries the bytes.
fn serve(command: &mut Command, client: TcpStream, limit: u64) -> Child {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let input = Stdio::from(OwnedFd::from(theirs.try_clone().expect("a copy")));
    let child = command.stdin(input).stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::null()).spawn();
    // The command keeps its own copies of what it was given.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let copies = (client.try_clone().expect("a copy"), ours.try_clone().expect("a copy"));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut (&client).take(limit), &mut &ours);
        let _ = (ours.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
    });
    std::thread::spawn(move || {
        let (mut client, mut server) = copies;
        let _ = std::io::copy(&mut server, &mut client).and_then(|_| client.flush());
        let _ = (server.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
    });
    child.expect("sshd starts")
}

/// An agent that keeps one key.
pub struct Agent {
    child: Child,
    pub socket: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    pub fn with(key: &Path, socket: &Path) -> Agent {
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(socket).stdout(Stdio::null()).spawn();
        let agent = Agent { child: child.expect("it starts"), socket: socket.to_str().expect("text").into() };
        let began = std::time::Instant::now();
        while !Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", socket)
            .stderr(Stdio::null())
            .status()
            .expect("it starts")
            .success()
        {
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "the agent takes the key");
        }
        agent
    }
}

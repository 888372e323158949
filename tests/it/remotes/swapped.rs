//! Secrets, keys and certificates in files that are swapped while a remote is open.

use super::servers::{Server, folder};
use super::ssh::Sshd;
use crate::machine::until;
use std::path::Path;
use volume_syncing_controller::config::{Environment, read_remote};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::store::Bucket;

/// A file of a remote's options.
struct Mounted<'a> {
    variable: &'a str,
    wrong: &'a [u8],
    right: &'a [u8],
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

/// Opens a remote of which one file is wrong, and puts that right.
fn is_followed(remote: Vec<(String, String)>, mounted: Mounted<'_>) {
    let folder = folder();
    let file = folder.path().join("mounted");
    std::fs::write(&file, mounted.wrong).expect("written");
    // The option by which the same is given otherwise.
    let instead = mounted.variable.strip_suffix("_FILE").unwrap_or_default();
    let others = remote.into_iter().filter(|(name, _)| name != mounted.variable && name != instead);
    let given = (mounted.variable.to_string(), file.to_str().expect("text").to_string());
    let environment: Environment = others.chain([given]).collect();
    let options = read_remote(&environment, &[]).expect("options that fit together");
    let bucket = Bucket::connect(&options.at("container/path").expect("a path")).expect("a remote");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stop = Stop::new();
    let error = runtime.block_on(bucket.list(&stop, "")).expect_err("the file is wrong");
    assert!(!error.is_temporary(), "{}: {error}", mounted.variable);
    std::fs::write(&file, mounted.right).expect("written");
    until(mounted.variable, || runtime.block_on(bucket.list(&stop, "")).is_ok());
}

#[test]
fn passwords_are_followed() {
    let servers = [
        (Server::webdav(), "REMOTE_PASS_FILE"),
        (Server::ftp(), "REMOTE_PASS_FILE"),
        (Server::swift(), "REMOTE_KEY_FILE"),
        (Server::sftp_of_rclone(), "REMOTE_PASS_FILE"),
    ];
    for (server, variable) in servers {
        is_followed(server.remote(), Mounted { variable, wrong: b"not-yet\n", right: b"made-up-password\n" });
    }
}

#[test]
fn the_authority_of_an_ftp_server_is_followed() {
    let server = Server::ftps("ftps", "REMOTE_EXPLICIT_TLS");
    let variable = "REMOTE_CA_FILE";
    let (_, right) = server.remote().into_iter().find(|(name, _)| name == variable).expect("an authority");
    let another = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("a certificate").cert.pem();
    is_followed(server.remote(), Mounted { variable, wrong: another.as_bytes(), right: &read(right) });
}

#[test]
fn the_keys_of_ssh_are_followed() {
    let server = Sshd::start();
    let (wrong, right) = (read(server.at("stranger")), read(server.at("user")));
    is_followed(server.remote(), Mounted { variable: "REMOTE_KEY_FILE", wrong: &wrong, right: &right });
    let mut remote = server.remote();
    remote.retain(|(name, _)| name != "REMOTE_KEY_FILE");
    is_followed(remote, Mounted { variable: "REMOTE_KEY_PEM_FILE", wrong: &wrong, right: &right });
    let (wrong, right) = (read(server.known_hosts("stranger")), read(server.known_hosts("host")));
    is_followed(server.remote(), Mounted { variable: "REMOTE_KNOWN_HOSTS_FILE", wrong: &wrong, right: &right });
}

//! Remotes of type sftp, on a real OpenSSH and on another server.

use super::servers::Server;
use super::ssh::{Agent, PASSPHRASE, Sshd, keygen};
use super::{assert_no_leftovers, keeps_a_volume, pushed, refuses, restored};
use crate::machine::{Machine, noise, paths};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use volume_syncing_controller::contract::remotes::remote_type;
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, Create, Fencing, RemoteConfig, ServedConfig, probe};
use volume_syncing_controller::tree::Timestamp;

fn machine(server: &Sshd) -> Machine {
    let machine = Machine::new(server.remote(), "some/path");
    machine.write("file", b"content");
    machine
}

fn no_hidden_files(server: &Sshd) {
    let all = paths(&server.at("files"));
    assert!(!all.iter().any(|path| path.to_string_lossy().contains(".tmp-")), "{all:?}");
}

#[test]
fn sftp_keeps_a_vault_and_fences_its_writers() {
    let server = Sshd::start();
    let machine = Machine::new(server.remote(), "some/path");
    machine.write("file", b"content");
    machine.write("long", noise(3, 9_000_000));
    pushed(&machine, &[]);
    restored(&machine, "first");
    machine.write("file", b"changed");
    // The same place by its whole path, and by a machine that knows nothing of it.
    let whole: &'static str = format!("{}/some/path", server.text("files")).leak();
    let mut other = machine.twin();
    other.path = whole;
    let (code, text) = other.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(std::fs::read(other.at("restored/file")).expect("a file"), b"content");
    other.write("file", b"from the other");
    pushed(&other, &["--force-even-if-remote-would-be-cleared"]);
    let (code, text) = machine.push(&["--takeover=never"]);
    assert_ne!(code, 0, "the first writer was overtaken: {text}");
    no_hidden_files(&server);
}

#[test]
fn sftp_keeps_plain_files_and_their_times() {
    let server = Sshd::start();
    let machine = Machine::new(server.remote(), "some/path").without_key();
    for size in [0, 1, 32_768, 131_073] {
        machine.write(&format!("sizes/{size}"), noise(size as u64, size));
    }
    machine.write("long", noise(3, 20_000_000));
    machine.write("a b/ü #1?&+%41.txt", b"spelled");
    machine.write("gone/deep/er", b"deleted later");
    let when = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let file = std::fs::File::options().write(true).open(machine.at("volume/sizes/1")).expect("a file");
    file.set_modified(when).expect("a time");
    pushed(&machine, &[]);
    let said = pushed(&machine, &[]);
    assert!(said.contains("nothing changed"), "{said}");
    let there = server.at("files/some/path");
    assert_eq!(std::fs::read(there.join("a b/ü #1?&+%41.txt")).expect("a file"), b"spelled");
    assert!(std::fs::read(there.join("long")).expect("a file") == noise(3, 20_000_000));
    assert_eq!(std::fs::metadata(there.join("sizes/1")).and_then(|meta| meta.modified()).expect("a time"), when);
    restored(&machine, "first");
    std::fs::remove_dir_all(machine.at("volume/gone")).expect("removed");
    // A file in the place of a folder.
    machine.write("gone", b"a file now");
    machine.write("sizes/1", b"longer");
    pushed(&machine, &[]);
    assert_eq!(std::fs::read(there.join("gone")).expect("a file"), b"a file now");
    std::fs::remove_dir_all(machine.at(".local")).ok();
    restored(&machine, "second");
    no_hidden_files(&server);
}

#[test]
fn a_server_is_believed_only_by_its_key() {
    let server = Sshd::start();
    let mut machine = machine(&server);
    let fingerprint = std::process::Command::new("ssh-keygen").arg("-lf").arg(server.at("host.pub")).output().expect("it starts");
    let fingerprint = String::from_utf8(fingerprint.stdout).expect("text");
    let fingerprint = fingerprint.split(' ').nth(1).expect("a fingerprint");

    machine.unset("REMOTE_KNOWN_HOSTS_FILE");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("nobody vouches") && text.contains(fingerprint), "{text}");
    // The line of the message is the one that is missing.
    let line =
        text.split("REMOTE_KNOWN_HOSTS_FILE:").nth(1).expect("a line").split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let file = server.text("from_the_message");
    std::fs::write(&file, &line).expect("written");
    machine.set("REMOTE_KNOWN_HOSTS_FILE", &file);
    pushed(&machine, &[]);

    // The server has an RSA key too, and shows it to whom knows that one.
    machine.set("REMOTE_KNOWN_HOSTS_FILE", &server.known_hosts("host_rsa"));
    pushed(&machine, &[]);
    keygen(&["-q", "-H", "-f", &file]);
    assert!(!std::fs::read_to_string(&file).expect("text").contains("127.0.0.1"), "names are hashed");
    machine.set("REMOTE_KNOWN_HOSTS_FILE", &file);
    pushed(&machine, &[]);

    machine.write("file", b"never sent");
    let kept = paths(&server.at("files"));
    let revoked = server.text("revoked");
    std::fs::write(&revoked, format!("{line}\n@revoked * {}\n", line.split_once(' ').expect("a key").1)).expect("written");
    for (known, expected) in
        [(server.known_hosts("stranger"), "has another for this host on line 1"), (revoked, "is revoked on line 2")]
    {
        machine.set("REMOTE_KNOWN_HOSTS_FILE", &known);
        let (code, text) = machine.push(&[]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(expected) && text.contains(fingerprint), "{text}");
    }
    assert_eq!(paths(&server.at("files")), kept, "nothing was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_believed_by_a_certificate_of_its_authority() {
    let server = Sshd::start();
    let known = |key: &str| std::fs::read_to_string(server.known_hosts(key)).expect("text");
    let (line, of_stranger) =
        (format!("@cert-authority {}", known("authority")), format!("@cert-authority {}", known("stranger")));
    let revoked = format!("{line}@revoked {}", known("authority"));
    let file = server.text("known_authority");
    let listed = async |text: &str| {
        std::fs::write(&file, text).expect("written");
        let mut remote = server.remote();
        remote.retain(|(name, _)| name != "REMOTE_KNOWN_HOSTS_FILE");
        remote.push(("REMOTE_KNOWN_HOSTS_FILE".into(), file.clone()));
        let listed = bucket(remote, "p").list(&Stop::new(), "").await;
        listed.map(drop).map_err(|error| error.to_string())
    };
    let is_refused = |outcome: Result<(), String>, words: &str| {
        let error = outcome.expect_err(words);
        assert!(error.contains(words), "{error}");
    };
    is_refused(listed(&line).await, "nobody vouches for the server's key");
    server.certify_host(&["-n", "elsewhere,127.0.0.*"]);
    listed(&line).await.expect("the host is certified");
    for text in [known("host"), format!("{of_stranger}{}", known("host"))] {
        listed(&text).await.expect("whose key is known needs no certificate");
    }
    is_refused(listed(&of_stranger).await, "nobody vouches for the authority");
    is_refused(listed(&revoked).await, "is revoked on line 2");
    is_refused(listed(&format!("{line}@revoked {}", known("host"))).await, "is revoked on line 2");
    for (more, words) in [
        (&["-n", "elsewhere,127.0.1.*"][..], "is for elsewhere, 127.0.1.*"),
        (&[], "is for no host in particular"),
        (&["-n", "127.0.0.1", "-V", "20200101:20200102"], "is not valid at this time"),
    ] {
        server.certify_host(more);
        is_refused(listed(&line).await, words);
    }
}

#[test]
fn users_are_let_in_by_key_passphrase_agent_and_no_stranger() {
    let server = Sshd::start();
    let mut machine = machine(&server);
    pushed(&machine, &[]);
    let mut count = 0;
    let mut lets_in = |machine: &Machine| {
        count += 1;
        machine.write("file", format!("state {count}"));
        pushed(machine, &[]);
    };
    let pem = std::fs::read_to_string(server.at("user")).expect("a key");
    machine.unset("REMOTE_KEY_FILE");
    for spelled in [pem.clone(), pem.replace('\n', "\\n")] {
        machine.set("REMOTE_KEY_PEM", &spelled);
        lets_in(&machine);
    }
    machine.unset("REMOTE_KEY_PEM");
    machine.set("REMOTE_KEY_FILE", &server.text("locked"));
    machine.set("REMOTE_KEY_FILE_PASS", PASSPHRASE);
    lets_in(&machine);

    machine.write("file", b"never sent");
    machine.set("REMOTE_KEY_FILE_PASS", "wrong");
    let (code, text) = machine.push(&[]);
    assert!(code == 2 && text.contains("cannot be opened with key_file_pass"), "{code} {text}");
    machine.unset("REMOTE_KEY_FILE_PASS");
    let (code, text) = machine.push(&[]);
    assert!(code == 2 && text.contains("is encrypted") && text.contains("key_file_pass"), "{code} {text}");
    machine.set("REMOTE_KEY_FILE", &server.text("stranger"));
    let (code, text) = machine.push(&[]);
    assert!(code == 4 && text.contains("does not let user") && text.contains("it takes publickey"), "{code} {text}");
    machine.unset("REMOTE_KEY_FILE");
    let (code, text) = machine.push(&[]);
    assert!(code == 2 && text.contains("there are no credentials"), "{code} {text}");

    let agent = Agent::with(&server.at("user"), &server.at("agent"));
    machine.set("SSH_AUTH_SOCK", &agent.socket);
    lets_in(&machine);
    machine.set("REMOTE_KEY_USE_AGENT", "true");
    machine.set("REMOTE_KEY_FILE", &server.text("user"));
    lets_in(&machine);
    // The agent has no such key.
    machine.set("REMOTE_KEY_FILE", &server.text("locked"));
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 4, "{text}");
}

#[test]
fn a_certificate_lets_in_a_key_that_the_server_does_not_know() {
    let server = Sshd::start();
    let mut machine = machine(&server);
    let user = machine.remote.iter().find(|(name, _)| name == "REMOTE_USER").expect("a user").1.clone();
    machine.set("REMOTE_KEY_FILE", &server.text("stranger"));
    machine.write("file", b"1");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 4, "{text}");
    server.certify("stranger", &user);
    machine.set("REMOTE_PUBKEY_FILE", &server.text("stranger-cert.pub"));
    pushed(&machine, &[]);
    machine.unset("REMOTE_PUBKEY_FILE");
    machine.set("REMOTE_PUBKEY", &std::fs::read_to_string(server.at("stranger-cert.pub")).expect("a certificate"));
    machine.write("file", b"2");
    pushed(&machine, &[]);
    server.certify("stranger", "somebody-else");
    machine.set("REMOTE_PUBKEY", &std::fs::read_to_string(server.at("stranger-cert.pub")).expect("a certificate"));
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 4, "{text}");
}

#[test]
fn a_push_survives_connections_that_break() {
    let server = Sshd::start();
    let vault = Machine::new(server.remote(), "vault");
    let plain = Machine::new(server.remote(), "plain").without_key();
    let mut machines = [vault, plain];
    for machine in &machines {
        machine.write("long", noise(5, 20_000_000));
        (0..40).for_each(|i| machine.write(&format!("many/{i}"), noise(i, 4_000)));
        server.cut_after(&[300_000, 5_000_000, 6_000, 700_000]);
        pushed(machine, &[]);
        restored(machine, "restored");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let [vault, _] = &mut machines;
    vault.set("REMOTE_PORT", &closed.to_string());
    let (code, text) = vault.restore("gone", &[]);
    assert_eq!(code, 5, "{text}");
    assert!(!vault.at("gone").join("long").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_breaks_before_a_file_has_its_name_costs_nothing() {
    let server = Sshd::start();
    let (bucket, stop) = (bucket(server.remote(), "p"), Stop::new());
    let mtime = Timestamp { seconds: 1_600_000_000, nanos: 0 };
    let mut upload = bucket.upload("long", mtime, 0).await.expect("begun");
    for piece in 0..3 {
        upload.write(&stop, bytes::Bytes::from(noise(piece, 1_000_000))).await.expect("written");
    }
    server.hang_up();
    upload.finish(&stop).await.expect("finished by another connection");
    let fetched = bucket.fetch(&stop, "long", None).await.expect("an object");
    assert!(fetched.bytes == [noise(0, 1_000_000), noise(1, 1_000_000), noise(2, 1_000_000)].concat());
    assert_eq!(fetched.about.mtime, Some(mtime));
    no_hidden_files(&server);
}

fn bucket(remote: Vec<(String, String)>, prefix: &str) -> Bucket {
    let kind = remote_type("sftp").expect("a type");
    let given: BTreeMap<String, String> = remote.into_iter().collect();
    let options = kind.options.iter().filter_map(|option| {
        let value = given.get(&format!("REMOTE_{}", option.name.to_uppercase()))?;
        Some((option.name, Secret::new(value.clone())))
    });
    let config = ServedConfig {
        kind,
        container: String::new(),
        prefix: prefix.into(),
        is_absolute: false,
        options: options.collect(),
        secret_files: None,
        bandwidth: None,
    };
    Bucket::connect(&RemoteConfig::Served(Box::new(config))).expect("a bucket")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_that_create_one_object_at_once_one_wins() {
    let server = Sshd::start();
    let (one, other, stop) = (bucket(server.remote(), "p"), bucket(server.remote(), "p"), Stop::new());
    for round in 0..5 {
        let key = format!("log/{round}");
        let body = |number: u8| bytes::Bytes::from(vec![number; 100_000]);
        let creates = (0..8u8).map(|number| {
            let bucket = if number % 2 == 0 { &one } else { &other };
            bucket.create(&stop, &key, body(number))
        });
        let outcomes = futures::future::join_all(creates).await;
        let won = |outcome: &Result<Create, _>| *outcome.as_ref().expect("an outcome") == Create::New;
        let winners: Vec<usize> = (0..8).filter(|number| won(&outcomes[*number])).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let there = one.get(&stop, &key, None).await.expect("an object");
        assert!(there == body(u8::try_from(winners[0]).expect("small")), "the winner's body is there");
    }
    assert_eq!(probe(&one, &stop).await.expect("a verdict"), Fencing::Strict);
    no_hidden_files(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_absences_are_those_of_a_bucket() {
    let server = Sshd::start();
    let (bucket, stop) = (bucket(server.remote(), "p"), Stop::new());
    assert!(bucket.list(&stop, "").await.expect("an empty list").is_empty());
    assert!(bucket.get(&stop, "a/x", None).await.expect_err("absent").is_not_found());
    assert_eq!(bucket.size(&stop, "a/x").await.expect("an answer"), None);
    bucket.delete(&stop, "a/x").await.expect("nothing to do");
    let body = bytes::Bytes::from(noise(1, 100_000));
    bucket.put(&stop, "a/x", body.clone()).await.expect("written");
    bucket.put(&stop, "a/empty", bytes::Bytes::new()).await.expect("written");
    assert_eq!(bucket.get(&stop, "a/x", Some(32_760..70_000)).await.expect("a part"), body[32_760..70_000]);
    assert_eq!(bucket.get(&stop, "a/x", Some(99_999..200_000)).await.expect("over the end"), body[99_999..]);
    assert!(bucket.get(&stop, "a/x", Some(100_000..100_001)).await.expect_err("past the end").is_outside());
    assert!(bucket.get(&stop, "a/empty", None).await.expect("whole").is_empty());
    assert!(bucket.get(&stop, "a", None).await.expect_err("a folder").is_not_found());
    let listed = bucket.list(&stop, "a").await.expect("a list");
    assert_eq!(listed.iter().map(|one| (one.name.as_str(), one.size)).collect::<Vec<_>>(), [("empty", 0), ("x", 100_000)]);
    // Only text is a key, and links count for whoever asks by name.
    std::os::unix::fs::symlink("x", server.at("files/p/a/link")).expect("a link");
    std::os::unix::fs::symlink("nowhere", server.at("files/p/a/dangling")).expect("a link");
    let odd = std::ffi::OsStr::new("\u{fffd}");
    std::fs::write(server.at("files/p/a").join(odd), b"").expect("a file");
    std::fs::write(server.at("files/p/a").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe")), b"")
        .expect("a file");
    let names: Vec<String> = bucket.list(&stop, "a").await.expect("a list").into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["empty", "link", "x", "\u{fffd}"]);
    let huge = std::fs::File::create(server.at("files/p/huge")).expect("a file");
    huge.set_len(1 << 30).expect("a file that takes no room");
    assert_eq!(bucket.get(&stop, "huge", Some(1_000_000_000..1_000_000_002)).await.expect("a part"), [0, 0].as_slice());
    let error = bucket.get(&stop, "huge", None).await.expect_err("more than fits into memory").to_string();
    assert!(error.contains("the answer is longer than"), "{error}");
    bucket.delete(&stop, "a/x").await.expect("deleted");
    assert_eq!(bucket.size(&stop, "a/x").await.expect("an answer"), None);
}

#[test]
fn what_killed_writers_left_is_removed_after_a_day() {
    let server = Sshd::start();
    let machine = machine(&server);
    pushed(&machine, &[]);
    let (old, fresh, kept) = (server.at("files/some/path/.tmp-old"), server.at("files/some/path/.tmp-new"), "files/some/path/x");
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for path in [&old, &server.at(kept)] {
        let file = std::fs::File::create(path).expect("a file");
        file.set_times(std::fs::FileTimes::new().set_accessed(long_ago).set_modified(long_ago)).expect("times");
    }
    std::fs::write(&fresh, b"under way").expect("a file");
    machine.write("file", b"changed");
    pushed(&machine, &[]);
    assert!(!old.exists() && fresh.exists() && server.at(kept).exists());
}

#[test]
fn sftp_of_rclone_keeps_both_layouts_for_who_has_the_password() {
    let server = Server::sftp_of_rclone();
    keeps_a_volume(&server, "some/path", false);
    keeps_a_volume(&server, "some/other", true);
    assert_eq!(std::fs::read(server.folder().expect("a folder").join("some/other/deep/er/still")).expect("a file"), b"below");
    assert_no_leftovers(&server);
    refuses(server, "some/third", "REMOTE_PASS");
}

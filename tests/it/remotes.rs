//! Remotes that are not S3, each on a real server that is started here.

mod segments;
mod servers;
mod sftp;
mod ssh;
mod swapped;

use self::servers::Server;
use crate::machine::{Machine, assert_same, noise, paths};
use std::path::Path;
use volume_syncing_controller::contract::remotes::{Fences, Form, REMOTE_TYPES, REMOTE_TYPES_UNSERVED};

fn pushed(machine: &Machine, more: &[&str]) -> String {
    let (code, text) = machine.push(more);
    assert_eq!(code, 0, "{text}");
    text
}

fn restored(machine: &Machine, target: &str) {
    let (code, text) = machine.restore(target, &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(machine, target);
}

/// Files of all lengths, and names that a URL spells in its own way.
fn volume(machine: &Machine, server: &Server) {
    for size in [0, 1, 4096, 131_073] {
        machine.write(&format!("sizes/{size}"), noise(size as u64, size));
    }
    machine.write("long", noise(3, server.longest()));
    machine.write("deep/er/still", b"below");
    machine.write(server.odd_name(), b"spelled");
    (0..20).for_each(|i| machine.write(&format!("many/{i}"), format!("file {i}")));
}

/// Pushes, changes and restores, with and without a key.
fn keeps_a_volume(server: &Server, path: &'static str, is_plain: bool) {
    let machine = Machine::new(server.remote(), path);
    let machine = if is_plain { machine.without_key() } else { machine };
    volume(&machine, server);
    pushed(&machine, &[]);
    let said = pushed(&machine, &[]);
    assert!(said.contains("nothing changed"), "{said}");
    restored(&machine, "first");
    machine.write("many/3", b"changed, and longer than it was");
    std::fs::remove_file(machine.at("volume/many/4")).expect("removed");
    machine.write("new/one", b"new");
    pushed(&machine, &[]);
    restored(&machine, "second");
    // A machine that knows nothing sees the same.
    std::fs::remove_dir_all(machine.at(".local")).ok();
    restored(&machine, "third");
}

/// What a wrong password and a server that is gone lead to: an exit code that says so, and nothing written anywhere.
fn refuses(mut server: Server, path: &'static str, secret: &'static str) {
    let mut machine = Machine::new(server.remote(), path);
    machine.write("file", b"content");
    pushed(&machine, &[]);
    let kept = server.folder().map(paths);
    let right = machine.remote.clone();
    for (name, value) in &mut machine.remote {
        if name == secret {
            *value = servers::another(value);
        }
    }
    machine.write("file", b"never seen");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("hint:") && !text.contains("made-up-password"), "{text}");
    let (code, text) = machine.restore("refused", &[]);
    assert_eq!(code, 4, "{text}");
    assert!(!machine.at("refused").join("file").exists());
    assert_eq!(server.folder().map(paths), kept, "nothing was written");
    machine.remote = right;
    server.end();
    let (code, text) = machine.restore("gone", &[]);
    assert_eq!(code, 5, "{text}");
    assert!(!machine.at("gone").join("file").exists());
}

/// A wrong address says of everything that it is not there; that must not pass for an empty remote.
fn a_wrong_address_is_no_empty_remote(server: &Server, variable: &str, wrong: &str, path: &'static str) {
    let mut machine = Machine::new(server.remote(), path);
    machine.write("file", b"content");
    for (name, value) in &mut machine.remote {
        if name == variable {
            *value = format!("{value}{wrong}");
        }
    }
    for (code, text) in [machine.push(&[]), machine.restore("empty", &[])] {
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("the remote itself does not exist"), "{text}");
    }
}

#[test]
fn webdav_keeps_a_vault() {
    let server = Server::webdav();
    keeps_a_volume(&server, "some/path", false);
    assert_no_leftovers(&server);
}

#[test]
fn webdav_keeps_plain_files_that_its_other_users_can_read() {
    let server = Server::webdav();
    keeps_a_volume(&server, "some/path", true);
    let folder = server.folder().expect("a folder").join("some/path");
    assert_eq!(std::fs::read(folder.join("deep/er/still")).expect("a file"), b"below");
    assert_eq!(std::fs::read(folder.join(server.odd_name())).expect("a file"), b"spelled");
    assert_no_leftovers(&server);
}

fn assert_no_leftovers(server: &Server) {
    let all = paths(server.folder().expect("a folder"));
    assert!(!all.iter().any(|path| path.to_string_lossy().contains(".tmp-")), "{all:?}");
}

#[test]
fn webdav_refuses_in_words_and_exit_codes() {
    let server = Server::webdav();
    a_wrong_address_is_no_empty_remote(&server, "REMOTE_URL", "/nowhere", "some/path");
    refuses(server, "some/path", "REMOTE_PASS");
}

#[test]
fn webdav_of_rclone_keeps_both_layouts() {
    for is_plain in [false, true] {
        let server = Server::webdav_of_rclone();
        keeps_a_volume(&server, "some/path", is_plain);
    }
}

#[test]
fn ftp_keeps_both_layouts() {
    let server = Server::ftp();
    keeps_a_volume(&server, "some/path", false);
    keeps_a_volume(&server, "some/other", true);
    let folder = server.folder().expect("a folder").join("some/other");
    assert_eq!(std::fs::read(folder.join("sizes/0")).expect("an empty file"), b"");
    assert_eq!(std::fs::read(folder.join(server.odd_name())).expect("a file"), b"spelled");
    assert_no_leftovers(&server);
}

#[test]
fn ftp_with_tls_keeps_a_vault_and_trusts_only_known_authorities() {
    for (kind, option) in [("ftps", "REMOTE_EXPLICIT_TLS"), ("ftps-first", "REMOTE_TLS")] {
        let server = Server::ftps(kind, option);
        let mut machine = Machine::new(server.remote(), "some/path");
        machine.write("file", b"content");
        pushed(&machine, &[]);
        restored(&machine, "restored");
        assert_no_leftovers(&server);
        machine.unset("REMOTE_CA_FILE");
        let (code, text) = machine.push(&[]);
        assert_eq!(code, 5, "{text}");
        assert!(text.contains("certificate"), "{text}");
    }
}

/// An FTP server says "550" of what is not there and of what nobody may read.
#[test]
fn ftp_tells_the_forbidden_from_the_absent() {
    let server = Server::ftp();
    let mut machine = Machine::new(server.remote(), "some/path");
    machine.write("file", b"content");
    pushed(&machine, &[]);
    for (name, value) in &mut machine.remote {
        if name == "REMOTE_USER" {
            *value = "blind".into();
        }
    }
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("vault.json") && text.contains("550"), "{text}");
    assert!(!machine.at("restored/file").exists());
    refuses(server, "some/other", "REMOTE_PASS");
}

#[test]
fn azure_keeps_both_layouts() {
    let Some(server) = Server::azurite() else { return };
    keeps_a_volume(&server, "container/vault", false);
    keeps_a_volume(&server, "container/plain", true);
    a_wrong_address_is_no_empty_remote(&server, "REMOTE_ENDPOINT", "", "nowhere/x");
    refuses(server, "container/refused", "REMOTE_KEY");
}

/// The server is made as Swift's and Keystone's documentation say, and takes each token a few times only.
#[test]
fn swift_keeps_both_layouts_while_its_tokens_end() {
    let server = Server::swift();
    keeps_a_volume(&server, "container/vault", false);
    keeps_a_volume(&server, "container/plain", true);
    a_wrong_address_is_no_empty_remote(&server, "REMOTE_USER", "", "nowhere/x");
    refuses(server, "container/refused", "REMOTE_KEY");
}

#[test]
fn swift_is_logged_in_to_in_each_of_its_ways() {
    let server = Server::swift();
    let mut machine = Machine::new(server.remote(), "container/ways");
    let auth = server.remote().into_iter().find(|(name, _)| name == "REMOTE_AUTH").expect("an address").1;
    let root = auth.trim_end_matches("/v3").to_string();
    machine.write("file", b"content");
    pushed(&machine, &[]);
    for (version, path) in [("2", "/v2.0"), ("1", "/auth/v1.0")] {
        machine.set("REMOTE_AUTH", &format!("{root}{path}"));
        machine.write("file", format!("by version {version}"));
        pushed(&machine, &[]);
    }
    machine.set("REMOTE_AUTH", &auth);
    for name in ["REMOTE_USER", "REMOTE_KEY", "REMOTE_TENANT"] {
        machine.unset(name);
    }
    machine.set("REMOTE_APPLICATION_CREDENTIAL_ID", "c");
    machine.set("REMOTE_APPLICATION_CREDENTIAL_SECRET", "made-up-password");
    machine.write("file", b"by an application credential");
    pushed(&machine, &[]);
    restored(&machine, "restored");
    machine.set("REMOTE_REGION", "nowhere");
    let (code, text) = machine.push(&[]);
    assert!(code == 4 && text.contains("no object store of that region"), "{code} {text}");
}

#[test]
fn google_keeps_both_layouts() {
    let server = Server::fake_gcs();
    keeps_a_volume(&server, "container/vault", false);
    keeps_a_volume(&server, "container/plain", true);
    a_wrong_address_is_no_empty_remote(&server, "REMOTE_ENDPOINT", "", "nowhere/x");
}

#[test]
fn a_folder_behind_a_web_server_is_restored_and_never_written() {
    let maker = Machine::local();
    for is_plain in [false, true] {
        let machine = Machine::with_key(maker.key());
        let machine = if is_plain { machine.without_key() } else { machine };
        let server = Server::http(&machine.at("remote"));
        volume(&machine, &server);
        pushed(&machine, &[]);
        let mut machine = machine;
        machine.remote = server.remote();
        if is_plain {
            // The server marks objects in its own way: they come back as those of another program, with its times.
            let (code, text) = machine.restore("restored", &[]);
            assert_eq!(code, 0, "{text}");
            for path in paths(&machine.at("volume")).into_iter().filter(|path| machine.at("volume").join(path).is_file()) {
                let read = |root: &str| std::fs::read(machine.at(root).join(&path)).expect("a file");
                assert!(read("volume") == read("restored"), "{}", path.display());
            }
        } else {
            restored(&machine, "restored");
        }
        let kept = paths(&machine.at("remote"));
        machine.write("many/1", b"changed");
        let (code, text) = machine.push(&["--force-even-if-remote-would-be-cleared"]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("for restoring only"), "{text}");
        assert_eq!(paths(&machine.at("remote")), kept, "nothing was written");
        a_wrong_address_is_no_empty_remote_to_restore(&server);
    }
}

fn a_wrong_address_is_no_empty_remote_to_restore(server: &Server) {
    let remote = server.remote().into_iter().map(|(name, value)| match name.as_str() {
        "REMOTE_URL" => (name, format!("{value}/nowhere")),
        _ => (name, value),
    });
    let (code, text) = Machine::new(remote.collect(), "demo").restore("empty", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("the remote itself does not exist"), "{text}");
}

/// The page of `docs/remotes.md` comes from the program's own tables. `WRITE_DOCS=1` writes it.
#[test]
fn the_page_of_remotes_is_what_the_program_knows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/remotes.md");
    let page = page();
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, &page).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "docs/remotes.md is not what the tables say: run this test with WRITE_DOCS=1");
}

fn page() -> String {
    let mut page = String::from(
        "<!-- Made from src/contract/remotes.rs: WRITE_DOCS=1 cargo test --test it -- the_page_of_remotes -->\n\n# Remotes\n\n\
         `REMOTE_TYPE` and the other `REMOTE_*` variables have rclone's names. A secret may come from a file instead: \
         `REMOTE_<NAME>_FILE`.\nThe files are followed: a secret, a key or a certificate that is swapped is used from the next \
         request on, over FTP and SFTP from the\nnext log-in on. A password is taken as `rclone obscure` prints it, or in clear. Only a password of 23 and more \
         letters, digits, `-` and `_` could be\nboth: obscure such a one.\n\n\
         | type | path | a second writer | large files without a key | tried with |\n|---|---|---|---|---|\n",
    );
    for kind in REMOTE_TYPES {
        let aliases: String = kind.aliases.iter().map(|alias| format!(", `{alias}`")).collect();
        let path = match (kind.name, kind.first) {
            ("memory", _) => "any name",
            (_, volume_syncing_controller::contract::remotes::First::Container) => {
                "bucket or container, which must exist, and folders"
            }
            (_, volume_syncing_controller::contract::remotes::First::Folder) => "folders",
        };
        let fences = match kind.fences {
            Fences::ReadOnly => "nothing is written",
            Fences::Strict => "is refused",
            Fences::Probed => "is refused, if a probe shows that the store keeps to it",
            Fences::Detect => "is only detected: make sure that there is one",
        };
        page += &format!("| `{}`{aliases} | {path} | {fences} | {} | {} |\n", kind.name, kind.large, kind.tested);
    }
    page += "\n\"Contract only\" means: made as the service's documentation says, and not tried on a server.\n";
    for kind in REMOTE_TYPES.iter().filter(|kind| !kind.options.is_empty()) {
        page += &format!("\n## `{}`\n\n", kind.name);
        if !kind.note.is_empty() {
            page += &format!("{}\n\n", kind.note);
        }
        page += "| variable | says |\n|---|---|\n";
        for option in kind.options {
            let form = match option.form {
                Form::Text | Form::Path => "",
                Form::Flag => " (true or false)",
                Form::Url => " (a URL)",
                Form::Secret => " (secret)",
                Form::Password => " (secret; obscured or in clear)",
                Form::Token => " (secret)",
            };
            let needed = if option.is_needed { "; needed" } else { "" };
            page += &format!("| `REMOTE_{}` | {}{form}{needed} |\n", option.name.to_uppercase(), option.about);
        }
    }
    page += "\n## Not served\n\n| rclone's type | instead |\n|---|---|\n";
    for (name, instead) in REMOTE_TYPES_UNSERVED {
        page += &format!("| `{name}` | {instead} |\n");
    }
    page
}

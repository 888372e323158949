//! Nothing outside the volume is read or written, whatever links lie in the source, in the target or in the vault, and
//! whenever they appear.

use crate::golden::sample;
use crate::machine::{Machine, assert_same, paths, picture};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use volume_syncing_controller::vault::entry::Node;

/// The raw key of the vaults that are planted.
const KEY: &str = "vsckey1_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl91jkqO";
const SECRET: &str = "a secret of the machine";
const LEVELS: [&str; 4] = ["a", "a/b", "a/b/c", "a/b/c/file"];

/// The folder `outside` has all that the volume has, with other content.
fn machine() -> Machine {
    let machine = Machine::local();
    for name in ["a/b/c/file", "a/b/file", "a/file", "file"] {
        machine.write(name, format!("content of {name}"));
        let secret = machine.at("outside").join(name);
        fs::create_dir_all(secret.parent().expect("a parent")).expect("folders");
        fs::write(secret, SECRET).expect("a file");
    }
    fs::write(machine.at("outside/a/b/c/more"), SECRET).expect("a file");
    assert_eq!(machine.push(&[]).0, 0);
    machine
}

/// Puts a link to its like outside in an entry's place.
fn divert(machine: &Machine, root: &str, level: &str) {
    let path = machine.at(root).join(level);
    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
    symlink(machine.at("outside").join(level), &path).expect("a link");
}

fn holds_no_secret(root: &Path) {
    for path in paths(root).into_iter().map(|path| root.join(path)).filter(|path| !path.is_symlink() && path.is_file()) {
        assert_ne!(fs::read(&path).expect("a file"), SECRET.as_bytes(), "{} was read outside", path.display());
    }
}

#[test]
fn a_link_in_the_source_is_stored_as_a_link() {
    for level in LEVELS {
        let machine = machine();
        divert(&machine, "volume", level);
        symlink(machine.at("outside"), machine.at("volume/all")).expect("a link");
        let (code, text) = machine.push(&[]);
        assert_eq!(code, 0, "{level}: {text}");
        assert_eq!(machine.restore("restored", &[]).0, 0);
        assert_same(&machine, "restored");
        holds_no_secret(&machine.at("restored"));
    }
}

/// Exchanges entries with links to their likes outside while `work` is done; how often.
fn while_exchanged(machine: &Machine, root: &str, work: impl FnOnce()) -> usize {
    // None below another, or the exchange itself would follow a link.
    let names = ["a/b", "file"];
    let root = machine.at(root);
    let (ended, exchanges) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for (number, name) in names.iter().enumerate() {
                    let (one, other) = (root.join(name), root.join(format!("link {number}")));
                    let cwd = rustix::fs::CWD;
                    let done = rustix::fs::renameat_with(cwd, &one, cwd, &other, rustix::fs::RenameFlags::EXCHANGE);
                    if done.is_err() {
                        // Not there yet, or removed by a restore.
                        let _ = symlink(machine.at("outside").join(name), &other);
                    }
                    exchanges.fetch_add(usize::from(done.is_ok()), Ordering::Relaxed);
                }
            }
        });
        let _end = End(&ended);
        work();
    });
    exchanges.into_inner()
}

/// Ends the exchanges, also when an assertion fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_link_that_appears_during_a_push_is_not_followed() {
    let machine = machine();
    let exchanges = while_exchanged(&machine, "volume", || {
        for round in 0..30 {
            // Every file is looked at.
            let (code, text) = machine.push(&["--reread"]);
            assert!([0, 9].contains(&code), "{text}");
            let target = format!("restored-{round}");
            assert_eq!(machine.restore(&target, &[]).0, 0);
            holds_no_secret(&machine.at(&target));
        }
    });
    assert!(exchanges > 300, "{exchanges} exchanges");
}

#[test]
fn a_link_in_the_target_is_not_followed() {
    for level in LEVELS {
        for how in ["--adopt", "--force-delete-local-dir"] {
            let machine = machine();
            let outside = picture(&machine.at("outside"));
            assert_eq!(machine.restore("target", &[]).0, 0);
            divert(&machine, "target", level);
            machine.write("a/b/c/new", "new");
            machine.write("a/b/c/file", "changed");
            assert_eq!(machine.push(&[]).0, 0);
            assert_eq!(machine.restore("target", &[]).0, 3, "{level}: both sides have moved");
            let (code, text) = machine.restore("target", &[how]);
            assert!(picture(&machine.at("outside")) == outside, "{level} {how}: something outside was changed: {text}");
            match how {
                "--adopt" => assert!([0, 8].contains(&code), "{level}: {text}"),
                _ => {
                    assert_eq!(code, 0, "{level}: {text}");
                    assert_same(&machine, "target");
                }
            }
        }
    }
}

#[test]
fn a_link_that_appears_during_a_restore_is_not_followed() {
    let machine = machine();
    let outside = picture(&machine.at("outside"));
    assert_eq!(machine.restore("target", &[]).0, 0);
    let exchanges = while_exchanged(&machine, "target", || {
        for round in 0..30 {
            machine.write("a/b/c/new", round.to_string());
            machine.write("a/b/c/file", round.to_string());
            assert_eq!(machine.push(&[]).0, 0);
            let (code, text) = machine.restore("target", &["--force-delete-local-dir"]);
            assert!([0, 8, 9].contains(&code), "{text}");
            assert!(picture(&machine.at("outside")) == outside, "something outside was changed: {text}");
        }
    });
    assert!(exchanges > 30, "{exchanges} exchanges");
    let (code, text) = machine.restore("target", &["--force-delete-local-dir"]);
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "target");
}

#[test]
fn a_name_in_the_target_that_is_a_file_outside_too_leaves_that_file_alone() {
    let machine = machine();
    assert_eq!(machine.restore("target", &[]).0, 0);
    fs::remove_file(machine.at("target/file")).expect("removed");
    fs::hard_link(machine.at("outside/file"), machine.at("target/file")).expect("a hard link");
    let (code, text) = machine.restore("target", &["--force-delete-local-dir"]);
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "target");
    assert_eq!(fs::read_to_string(machine.at("outside/file")).expect("a file"), SECRET);
}

#[test]
fn entries_below_a_link_of_the_vault_stay_inside() {
    let machine = Machine::with_key(KEY);
    fs::create_dir_all(machine.at("outside/deep")).expect("folders");
    fs::write(machine.at("outside/deep/file"), SECRET).expect("a file");
    let outside = picture(&machine.at("outside"));
    let link = |to: &Path| Some(Node::Symlink { target: to.as_os_str().as_encoded_bytes().to_vec() });
    let (absolute, relative) = (link(&machine.at("outside")), link(Path::new("../outside")));
    let entries = [
        ("absolute", absolute.clone()),
        ("absolute/deep", Some(Node::Directory)),
        ("absolute/deep/file", None),
        ("absolute/new", None),
        ("directory", Some(Node::Directory)),
        ("directory/relative", link(Path::new("../../outside"))),
        ("directory/relative/link", absolute),
        ("directory/relative/link/pipe", Some(Node::Fifo)),
        ("relative", relative),
        ("relative/new", None),
    ];
    for (key, bytes) in sample::planted(&entries) {
        let path = machine.at("remote/demo").join(key);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, bytes).expect("a file");
    }
    for (target, before) in [("fresh", false), ("full", true), ("again", false)] {
        if before {
            fs::create_dir(machine.at(target)).expect("a folder");
            for name in ["absolute", "relative"] {
                symlink("../outside", machine.at(target).join(name)).expect("a link");
            }
        }
        for how in [&[][..], &["--adopt"], &["--force-delete-local-dir"]] {
            let (code, text) = machine.restore(target, how);
            assert!([0, 3, 7, 8].contains(&code), "{target} {how:?}: {text}");
            assert!(picture(&machine.at("outside")) == outside, "{target} {how:?}: something outside was changed: {text}");
        }
    }
}

#[test]
fn links_in_the_place_of_what_the_program_keeps_are_not_followed() {
    let machine = machine();
    let state = machine.at("volume/.vsc");
    let mut tried = 0;
    let names: Vec<_> = paths(&state).into_iter().map(|path| state.join(path)).chain([state.clone()]).collect();
    for name in names {
        let kept = machine.at(&format!("outside/kept-{tried}"));
        fs::rename(&name, &kept).expect("moved outside");
        symlink(&kept, &name).expect("a link");
        let outside = picture(&machine.at("outside"));
        machine.write("file", format!("changed {tried}"));
        let (pushed, text) = machine.push(&["-f"]);
        assert!(picture(&machine.at("outside")) == outside, "{}: something outside was changed: {text}", name.display());
        let (restored, text) = machine.restore("volume", &["--force-delete-local-dir"]);
        assert!(picture(&machine.at("outside")) == outside, "{}: something outside was changed: {text}", name.display());
        if pushed == 0 || restored == 0 {
            assert!(!name.is_symlink(), "{}: the link was taken for what it stands for", name.display());
        }
        if name.is_symlink() {
            fs::remove_file(&name).expect("removed");
            fs::rename(&kept, &name).expect("moved back");
        }
        tried += 1;
    }
    assert!(tried >= 4, "{tried} places");
}

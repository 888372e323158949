//! What comes back is what was there, field by field, as root and as a plain user; what cannot come back is said.

use crate::machine::{Machine, assert_same, noise, paths, picture, told};
use crate::tools::not_tested;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// The user that nobody is.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).expect("an attribute");
}

/// Sets the modification time, of a link itself.
fn modified(path: &Path, seconds: i64, nanos: i64) {
    let time = |tv_sec, tv_nsec| rustix::fs::Timespec { tv_sec, tv_nsec };
    let times = rustix::fs::Timestamps { last_access: time(1, 0), last_modification: time(seconds, nanos) };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("a time");
}

const MODES: [(&str, u32); 9] = [
    ("open", 0o777),
    ("read-only", 0o444),
    ("closed", 0o000),
    ("set-uid", 0o4755),
    ("set-gid", 0o2755),
    ("sticky folder", 0o1777),
    ("set-gid folder", 0o2770),
    ("read-only folder", 0o555),
    ("closed folder", 0o000),
];

/// One of everything that is stored.
fn everything(machine: &Machine) {
    let volume = machine.at("volume");
    for (name, _) in MODES {
        machine.write(
            &if name.contains("folder") { format!("modes/{name}/inside") } else { format!("modes/{name}") },
            name.repeat(90),
        );
    }
    fs::create_dir_all(volume.join("empty/inner")).expect("empty folders");
    for (number, target) in ["../modes/open", "/etc/passwd", "nowhere at all", "."].iter().enumerate() {
        symlink(target, volume.join(format!("link {number}"))).expect("a link");
    }
    machine.write("linked/first", noise(1, 200_000));
    machine.write("linked/small", "small");
    for (from, to) in [("linked/first", "a second name"), ("linked/first", "linked/third"), ("linked/small", "another name")] {
        fs::hard_link(volume.join(from), volume.join(to)).expect("a hard link");
    }
    for (name, bytes) in [(&b"odd\xff\n name"[..], "bytes"), (b"\x1b[31m", "colour"), (b"-rf", "a flag"), (&[b'n'; 255], "long")]
    {
        fs::write(volume.join(std::ffi::OsStr::from_bytes(name)), bytes).expect("a byte name");
    }
    let pipe = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(rustix::fs::CWD, volume.join("pipe"), rustix::fs::FileType::Fifo, pipe, 0).expect("a pipe");
    for path in ["modes/open", "modes/read-only", "modes/read-only folder", "empty", "linked/first"] {
        xattr(&volume.join(path), "user.one", b"\0\xff value");
        xattr(&volume.join(path), "user.two", b"");
    }
    // Holes before, between and after what is written, the last one beyond it.
    let sparse = File::create(volume.join("sparse")).expect("a file");
    for at in [20 << 20, 40 << 20] {
        sparse.write_all_at(b"island", at).expect("written");
    }
    sparse.set_len(64 << 20).expect("a length");
    File::create(volume.join("all hole")).expect("a file").set_len(3 << 20).expect("a length");
    for (name, bits) in MODES {
        mode(&volume.join("modes").join(name), bits);
    }
    let (old, new) = ((-1_000_000, 1), (4_294_967_296, 999_999_999));
    for (path, (seconds, nanos)) in
        [("modes/open", old), ("link 2", new), ("pipe", old), ("empty/inner", new), ("empty", (1, 123_456_789)), ("modes", old)]
    {
        modified(&volume.join(path), seconds, nanos);
    }
}

/// What a plain user may bring back: everything but other owners, and the bits that would lend their rights.
fn without_owners(picture: &str) -> String {
    let (bits, rest) = picture.split_once(' ').expect("a mode");
    let bits = u32::from_str_radix(bits, 8).expect("octal digits");
    let bits = if bits & 0o170_000 == 0o100_000 { bits & !0o6000 } else { bits };
    format!("{bits:o} {}", rest.split_once(' ').expect("owners").1)
}

/// Runs as a plain user: gives the machine away when the tests run as root.
fn as_nobody(machine: &Machine, args: &[&str]) -> (i32, String) {
    let mut command = machine.command(args);
    if is_root() {
        command = machine.command_of(&machine.at("program"), args);
        command.uid(NOBODY).gid(NOBODY);
    }
    told(&command.output().expect("the program runs"))
}

/// Makes a machine's home the plain user's, with a program that this user can reach.
fn give_away(machine: &Machine, but: &[&str]) {
    if !is_root() {
        return;
    }
    // By another process: a file that this one has open for writing may be handed on to what other tests start, and is
    // no program for as long as they hold it.
    let program = env!("CARGO_BIN_EXE_volume-syncing-controller");
    let copied = Command::new("cp").args([Path::new(program), &machine.at("program")]).status().expect("cp runs");
    assert!(copied.success(), "{copied}");
    let home = machine.at(".");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("an owner");
    for path in paths(&home).into_iter().filter(|path| !but.iter().any(|name| path.starts_with(name))) {
        lchown(home.join(path), Some(NOBODY), Some(NOBODY)).expect("an owner");
    }
}

fn few_blocks(folder: &Path) {
    for (name, most) in [("sparse", 1 << 20), ("all hole", 64 << 10)] {
        let allocated = fs::metadata(folder.join(name)).expect("metadata").blocks() * 512;
        assert!(allocated <= most, "holes stay holes: {name} has {allocated} bytes allocated");
    }
}

fn restore_args<'a>(machine: &Machine, target: &'a str) -> [&'a str; 5] {
    ["remote-to-local-sync", "-s", machine.path, "-d", target]
}

#[test]
fn everything_comes_back_and_a_plain_user_is_told_of_the_owners() {
    if !is_root() {
        not_tested("files of several owners", "only root can make them");
        return;
    }
    let machine = Machine::local();
    everything(&machine);
    let volume = machine.at("volume");
    for (path, uid, gid) in [("modes/set-uid", 1234, 0), ("modes/set-gid", 0, 2345), ("link 0", 7, 8), ("empty", 9, 10)] {
        lchown(volume.join(path), Some(uid), Some(gid)).expect("an owner");
    }
    // A change of owner takes these bits away.
    mode(&volume.join("modes/set-uid"), 0o4755);
    mode(&volume.join("modes/set-gid"), 0o2755);
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = machine.restore("restored", &[]);
    assert!(code == 0 && !text.contains("could not be applied"), "{text}");
    assert_same(&machine, "restored");
    few_blocks(&machine.at("restored"));

    give_away(&machine, &["volume", "restored"]);
    let (code, text) = as_nobody(&machine, &restore_args(&machine, "plain"));
    assert_eq!(code, 0, "{text}");
    let (wanted, plain) = (picture(&volume), picture(&machine.at("plain")));
    for (path, before) in &wanted {
        assert_eq!(without_owners(before), without_owners(&plain[path]), "{}", path.display());
        let meta = fs::symlink_metadata(machine.at("plain").join(path)).expect("metadata");
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY), "{}", path.display());
        assert!(!meta.is_file() || meta.mode() & 0o6000 == 0, "{} lends another owner's rights", path.display());
    }
    assert_eq!(wanted.len(), plain.len());
    few_blocks(&machine.at("plain"));
    // Each file once, whatever names it has.
    let entries = wanted.len() - 3;
    assert!(text.contains(&format!("owners={entries} xattrs=0 modes=2")), "{entries} entries: {text}");
}

#[test]
fn a_plain_users_tree_comes_back_as_it_was_and_follows_every_change() {
    let machine = Machine::local();
    everything(&machine);
    let volume = machine.at("volume");
    give_away(&machine, &[]);
    for (path, bits) in [("modes/set-uid", 0o4755), ("modes/set-gid", 0o2755)] {
        mode(&volume.join(path), bits);
    }
    let push = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
    // What its own owner may not read is named, and the rest is pushed.
    let (code, text) = as_nobody(&machine, &push);
    assert!(code == 9 && text.contains("left out because it cannot be read"), "{text}");
    assert!(text.contains("modes/closed") && text.contains("modes/closed folder"), "{text}");
    mode(&volume.join("modes/closed"), 0o400);
    mode(&volume.join("modes/closed folder"), 0o500);
    let (code, text) = as_nobody(&machine, &push);
    assert_eq!(code, 0, "{text}");
    let (code, text) = as_nobody(&machine, &restore_args(&machine, "restored"));
    assert!(code == 0 && !text.contains("could not be applied"), "{text}");
    assert_same(&machine, "restored");
    few_blocks(&machine.at("restored"));

    // Changes of and below what forbids even its owner to write.
    let folder = volume.join("modes/read-only folder");
    mode(&folder, 0o755);
    fs::write(folder.join("more"), "more").expect("a file");
    fs::remove_file(folder.join("inside")).expect("removed");
    mode(&folder, 0o555);
    let file = volume.join("modes/read-only");
    mode(&file, 0o644);
    xattr(&file, "user.one", b"changed");
    rustix::fs::lremovexattr(&file, "user.two").expect("removed");
    mode(&file, 0o444);
    xattr(&volume.join("modes/open"), "user.three", b"new");
    for path in ["modes/read-only folder/more", "modes/read-only folder"] {
        if is_root() {
            lchown(volume.join(path), Some(NOBODY), Some(NOBODY)).expect("an owner");
        }
    }
    let (code, text) = as_nobody(&machine, &push);
    assert_eq!(code, 0, "{text}");
    let (code, text) = as_nobody(&machine, &restore_args(&machine, "restored"));
    assert!(code == 0 && !text.contains("could not be applied"), "{text}");
    assert_same(&machine, "restored");
}

#[test]
fn what_is_not_stored_is_said_with_its_name() {
    let machine = Machine::local();
    machine.write("file", "content");
    let volume = machine.at("volume");
    let _socket = std::os::unix::net::UnixListener::bind(volume.join("socket")).expect("a socket");
    let device = rustix::fs::mknodat(
        rustix::fs::CWD,
        volume.join("device"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::RUSR,
        rustix::fs::makedev(1, 3),
    );
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    let names = if device.is_ok() { vec!["socket", "device"] } else { vec!["socket"] };
    for name in &names {
        assert!(text.contains(&format!("path={name}")), "{text}");
    }
    assert!(text.contains(&format!("count={}", names.len())) && text.contains("sockets and devices are not stored"), "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_eq!(paths(&machine.at("restored")), [PathBuf::from("file")].into());
}

#[test]
fn a_file_that_changes_while_it_is_read_keeps_its_previous_version() {
    let machine = Machine::local();
    let before = noise(1, 24 << 20);
    machine.write("changing", &before);
    machine.write("other", "before");
    assert_eq!(machine.push(&[]).0, 0);
    machine.write("other", "after");
    machine.write("new", noise(2, 24 << 20));
    let ended = AtomicBool::new(false);
    let files =
        ["changing", "new"].map(|name| File::options().write(true).open(machine.at("volume").join(name)).expect("a file"));
    let (code, text) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0u64;
            while !ended.load(Ordering::Relaxed) {
                round += 1;
                for file in &files {
                    file.write_all_at(&round.to_le_bytes(), round * 4093 % (24 << 20)).expect("written");
                }
            }
        });
        let pushed = machine.push(&[]);
        ended.store(true, Ordering::Relaxed);
        pushed
    });
    assert_eq!(code, 9, "{text}");
    assert!(
        text.contains("count=2") && text.contains("it kept changing while it was read: its previous version stays"),
        "{text}"
    );
    assert!(text.contains("path=changing") && text.contains("path=new"), "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert!(fs::read(machine.at("restored/changing")).expect("a file") == before, "the previous version, whole");
    assert_eq!(fs::read_to_string(machine.at("restored/other")).expect("a file"), "after");
    assert!(!machine.at("restored/new").exists(), "it was never whole");

    assert_eq!(machine.push(&[]).0, 0, "once it rests it is stored");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");
}

#[test]
fn an_edit_that_keeps_length_and_mtime_is_pushed() {
    let machine = Machine::local();
    for (name, size) in [("small", 5000), ("large", 3 << 20)] {
        machine.write(name, vec![b'a'; size]);
    }
    let settle = || {
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(machine.push(&[]).0, 0);
    };
    // Files changed just before a push are looked at once more whatever their times say: those are settled ones.
    settle();
    assert!(machine.push(&[]).1.contains("nothing changed"));
    for (name, size) in [("small", 5000), ("large", 3 << 20)] {
        let path = machine.at("volume").join(name);
        let time: SystemTime = fs::metadata(&path).expect("metadata").modified().expect("a time");
        fs::write(&path, vec![b'b'; size]).expect("written");
        File::options().write(true).open(&path).expect("a file").set_modified(time).expect("a time");
    }
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("changed=2"), "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");
}

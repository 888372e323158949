//! Changes that are heard, and those that cannot be.

use crate::machine::{Machine, Running, assert_same, noise, until};
use crate::passes::disturb;
use crate::tools::not_tested;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// Beside the debounce: a pass of a debug build on a busy machine.
const PASS: Duration = Duration::from_secs(3);

#[test]
fn a_change_is_stored_soon_after_it_was_made() {
    let (s3, machine, running) = super::begun(&["--fsnotify", "--debounce=100ms"]);
    for round in 0..5 {
        let before = super::commits(&s3);
        machine.write("dir/file", format!("round {round}"));
        let took = until("the change is stored", || super::commits(&s3) > before);
        assert!(took >= Duration::from_millis(90) && took < PASS, "{took:?}");
        running.has_pushed(round + 2);
    }
    let before = super::commits(&s3);
    // Written again and again, it is pushed all the same.
    until("a file that never rests is stored", || {
        machine.write("busy", noise(7, 100));
        super::commits(&s3) > before
    });
    assert!(running.metric("vsc_syncs_total{direction=\"to_remote\",result=\"complete\"}") >= 6.0);
}

#[test]
fn each_kind_of_change_converges() {
    let machine = Machine::local_in_memory();
    (0..60).for_each(|i| machine.write(&format!("d{}/f{i}", i % 6), format!("content {i}")));
    let mut running = machine.sidecar(&["--fsnotify", "--debounce=30ms"]);
    running.has_pushed(1);
    let at = |name: &str| machine.at("volume").join(name);
    let changes: [&dyn Fn(); 8] = [
        &|| machine.write("new/deep/er", "made and filled at once"),
        &|| fs::rename(at("new/deep"), at("moved")).expect("renamed"),
        &|| machine.write("moved/er", noise(3, 300_000)),
        &|| fs::remove_dir_all(at("d1")).expect("removed"),
        &|| fs::set_permissions(at("d2"), fs::Permissions::from_mode(0o711)).expect("a mode"),
        &|| fs::hard_link(at("d3/f3"), at("second")).expect("a name"),
        &|| std::os::unix::fs::symlink("../nowhere", at("link")).expect("a link"),
        &|| fs::File::options().append(true).open(at("d4/f4")).and_then(|file| file.set_len(0)).expect("cut"),
    ];
    for change in changes {
        change();
        machine.converges();
    }
    let mut state = 4711u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..5 {
        (0..60).for_each(|_| disturb(&machine.at("volume"), &mut random));
        machine.converges();
    }
    let (code, said) = running.terminate();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("ERROR"), "{said}");
}

#[test]
fn more_changes_than_the_kernel_keeps_are_all_found() {
    const FILES: u32 = 50_000;
    let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a number");
    assert!(kept.trim().parse::<u32>().expect("a number") < FILES * 3, "making a file is three events");
    let machine = Machine::local_in_memory();
    machine.write("d/first", "before");
    let mut running = machine.sidecar(&["--fsnotify"]);
    running.has_pushed(1);
    running.signal(Signal::STOP);
    (0..FILES).for_each(|i| fs::write(machine.at("volume/d").join(i.to_string()), i.to_string()).expect("a file"));
    running.signal(Signal::CONT);
    running.says("faster than they were heard", 1);
    running.has_pushed(2);
    assert!(running.metric("vsc_watch_overflows_total") >= 1.0);
    assert_eq!(running.terminate().0, 0);
    assert_eq!(machine.restore("seen", &[]).0, 0);
    assert_same(&machine, "seen");
}

/// The program where a process may watch so few directories; `None` where no such place can be made, which is said.
fn with_few_watches(machine: &Machine, args: &[&str]) -> Option<Command> {
    let limit = "echo 3 > /proc/sys/user/max_inotify_watches";
    let confined = |script: &str| {
        let mut command = machine.command_of("unshare".as_ref(), &["--user", "--map-root-user", "sh", "-c", script]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };
    let tried = confined(limit).output().expect("unshare starts");
    if !tried.status.success() {
        not_tested("few watches, which need a user namespace", &String::from_utf8_lossy(&tried.stderr));
        return None;
    }
    let mut command = confined(&format!("{limit} && exec \"$0\" \"$@\""));
    command.arg(env!("CARGO_BIN_EXE_volume-syncing-controller")).args(args);
    Some(command)
}

#[test]
fn what_cannot_be_heard_is_found_by_looking() {
    let machine = Machine::local_in_memory();
    (0..8).for_each(|i| machine.write(&format!("d{i}/file"), "1"));
    let args = [&machine.sidecar_args()[..], &["--fsnotify", "--poll=1s"]].concat();
    // A container's rules may forbid to make such a place; then the limit cannot be had without changing the machine's.
    let Some(command) = with_few_watches(&machine, &args) else { return };
    let mut running = Running::start(command);
    running.says("not every directory can be watched", 1);
    assert_eq!(running.metric("vsc_polling"), 1.0);
    for round in 0..2 {
        (0..8).for_each(|i| machine.write(&format!("d{i}/file"), format!("round {round}")));
        machine.converges();
    }
    assert_eq!(running.terminate().0, 0);
}

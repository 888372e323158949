//! Sidecars that are killed at any moment of their life.

use crate::machine::{Machine, Running, assert_same, noise, picture};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const KILLS: u32 = 110;

/// Changes the volume by one step that nobody sees half done: a folder comes or goes, or a file is replaced.
fn change(machine: &Machine, round: u32) {
    let at = |name: String| machine.at("volume").join(name);
    let aside = machine.at("aside");
    match round % 4 {
        0 if round >= 8 => fs::rename(at(format!("d{}", round - 6)), aside.join(format!("gone{round}"))).expect("renamed"),
        3 => {
            fs::write(aside.join("whole"), noise(u64::from(round), 40_000)).expect("a file");
            fs::rename(aside.join("whole"), at("replaced".into())).expect("renamed");
        }
        _ => {
            let folder = aside.join("folder");
            fs::create_dir(&folder).expect("a folder");
            for i in 0..6 {
                fs::write(folder.join(i.to_string()), noise(u64::from(round * 100 + i), 3000)).expect("a file");
            }
            if round.is_multiple_of(10) {
                // More than fits into a commit.
                fs::write(folder.join("large"), noise(u64::from(round), 4_400_000)).expect("a file");
            }
            fs::rename(folder, at(format!("d{round}"))).expect("renamed");
        }
    }
}

/// The newest commit that it called pushed.
fn acknowledged(running: &Running) -> Option<u64> {
    let said = running.said();
    let line = said.lines().rfind(|line| line.contains(" pushed to "))?;
    line.split("commit=").nth(1)?.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_sidecar_killed_at_any_moment_leaves_a_state_that_was_and_loses_nothing_it_called_pushed() {
    let machine = Machine::local_in_memory();
    machine.write("first", "there before");
    // Beside the volume, in the same file system.
    let real = fs::canonicalize(machine.at("volume")).expect("a path");
    std::os::unix::fs::symlink(real.with_file_name("aside-of-it"), machine.at("aside")).expect("a link");
    fs::create_dir(real.with_file_name("aside-of-it")).expect("a folder");
    let mut states: Vec<BTreeMap<PathBuf, String>> = vec![picture(&machine.at("volume"))];
    let (mut known, mut pushed, mut in_the_end) = (0, 0, 0);
    let mut random = 4711u64;
    for round in 1..=KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_micros((random >> 33) % 160_000);
        let mut running = machine.sidecar(&["--fsnotify", "--debounce=5ms"]);
        if round % 3 == 0 {
            running.listens();
        }
        change(&machine, round);
        states.push(picture(&machine.at("volume")));
        if round % 3 == 1 {
            // It is killed during its last pass, unless it has ended before.
            running.listens();
            running.signal(Signal::TERM);
            in_the_end += 1;
            std::thread::sleep(moment / 4);
        } else {
            std::thread::sleep(moment);
        }
        running.kill();
        pushed = pushed.max(acknowledged(&running).unwrap_or(0));
        if pushed == 0 && round < 10 {
            continue;
        }
        let (code, text) = machine.restore("seen", &[]);
        assert_eq!(code, 0, "{text}");
        let head: u64 = text.split("commit=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        assert!(head >= pushed, "round {round}: commit {pushed} was called pushed, and the head is {head}");
        let seen = picture(&machine.at("seen"));
        let state = states.iter().position(|state| *state == seen);
        let state = state.unwrap_or_else(|| panic!("round {round}: the restored tree is no state that was there"));
        assert!(state >= known, "round {round}: state {state} was restored after state {known}");
        known = state;
    }
    assert!(known as u32 > KILLS / 2 && in_the_end > 30, "state {known} of {KILLS}");
    let mut running = machine.sidecar(&["--fsnotify"]);
    running.listens();
    let (code, said) = running.terminate();
    assert_eq!(code, 0, "no manual step is needed: {said}");
    assert_eq!(machine.restore("final", &[]).0, 0);
    assert_same(&machine, "final");
    let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

//! The engine through the built binary: what is pushed comes back, valves hold, faults and kills lose nothing.

use crate::machine::{Machine, assert_same, noise, picture, told};
use crate::s3::{Fault, S3, Verb};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn golden_tree(machine: &Machine) {
    for size in [0, 1, 128, 129, 4096, 131_072, 131_073, 300_000] {
        machine.write(&format!("sizes/{size}"), noise(size as u64, size));
    }
    machine.write("text/page.php", "<?php echo 'a page of a made-up site'; ?>\n".repeat(200));
    machine.write(&"n".repeat(255), "long name");
    machine.write_odd_entries("sizes/300000", "text/page.php");
}

#[test]
fn a_tree_comes_back_field_by_field_from_a_folder_and_from_s3() {
    let s3 = S3::start();
    for machine in [Machine::local(), Machine::s3(&s3)] {
        golden_tree(&machine);
        assert_eq!(machine.push(&[]).0, 0);
        let (code, text) = machine.restore("restored", &[]);
        assert_eq!(code, 0, "{text}");
        assert_same(&machine, "restored");
        let holes = std::fs::metadata(machine.at("restored/sparse")).expect("metadata").blocks() * 512;
        assert!(holes < 1 << 20, "holes stay holes: {holes} bytes are allocated");
        assert_eq!(machine.restore("restored", &[]).0, 0, "again changes nothing");
        assert!(machine.restore("restored", &[]).1.contains("already"));
    }
}

#[test]
fn each_push_is_a_point_that_comes_back() {
    let machine = Machine::local();
    golden_tree(&machine);
    assert_eq!(machine.push(&[]).0, 0);
    let first = picture(&machine.at("volume"));
    std::fs::remove_file(machine.at("volume/sizes/129")).expect("removed");
    std::fs::rename(machine.at("volume/text"), machine.at("volume/renamed")).expect("renamed");
    std::fs::remove_dir_all(machine.at("volume/empty")).expect("removed");
    machine.write("empty", "a file where a folder was");
    assert_eq!(machine.push(&[]).0, 0);
    assert_eq!(machine.restore("newest", &[]).0, 0);
    assert_same(&machine, "newest");
    assert_eq!(machine.restore("oldest", &["--at", "2"]).0, 0);
    assert_eq!(picture(&machine.at("oldest")), first);
    assert_eq!(machine.restore("none", &["--at", "99"]).0, 2);
    assert_eq!(machine.restore("none", &["--at", "rubbish"]).0, 2);
    assert!(!machine.at("none").exists(), "a wrong point is refused before anything is made");
}

#[test]
fn small_changes_cost_few_requests_and_bytes() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("large", noise(5, 8 << 20));
    (0..200).for_each(|i| machine.write(&format!("many/{i}"), noise(i, 900)));
    assert_eq!(machine.push(&[]).0, 0);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(machine.push(&[]).0, 0, "files changed just before the first push are looked at once more");
    let budget = |most: usize, puts: usize, what: &str| {
        let seen = s3.requests();
        let written = seen.iter().filter(|seen| matches!(seen.verb, Verb::Put)).count();
        assert!(seen.len() <= most && written == puts, "{what}: {} requests, {written} of them writes", seen.len());
    };
    s3.forget_requests();
    assert_eq!(machine.push(&[]).0, 0);
    budget(6, 0, "nothing changed");
    s3.forget_requests();
    machine.write("many/7", b"changed");
    assert_eq!(machine.push(&[]).0, 0);
    budget(8, 1, "one file changed");
    s3.forget_requests();
    let large = std::fs::File::options().write(true).open(machine.at("volume/large")).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&large, &[1; 4096], 3_000_000).expect("written");
    assert_eq!(machine.push(&[]).0, 0);
    budget(8, 1, "4 KiB changed in a large file");
    let newest = s3.objects().into_iter().filter(|key| key.contains("/log/")).min().expect("a commit");
    assert!(s3.object(&newest).expect("stored").len() <= 256 << 10, "only the changed blocks are sent");
}

#[test]
fn valves_hold_and_name_their_overrides() {
    let machine = Machine::local();
    (0..200).for_each(|i| machine.write(&format!("f{i}"), format!("content {i}")));
    assert_eq!(machine.push(&[]).0, 0);
    (0..120).for_each(|i| std::fs::remove_file(machine.at(&format!("volume/f{i}"))).expect("removed"));
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 3, "{text}");
    let hash = text.split("--allow-deletes ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a hash").to_string();
    assert_eq!(machine.push(&["--allow-deletes", "0000000000000000"]).0, 3);
    assert_eq!(machine.push(&["--allow-deletes", &hash]).0, 0);
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");

    std::fs::rename(machine.at("volume/.vsc"), machine.at("aside")).expect("moved");
    let (code, text) = machine.push(&[]);
    assert!(code == 3 && text.contains("--adopt") && text.contains("receipt"), "{text}");
    std::fs::remove_dir_all(machine.at("volume/.vsc")).expect("removed");
    std::fs::rename(machine.at("aside"), machine.at("volume/.vsc")).expect("moved");
    (120..200).for_each(|i| std::fs::remove_file(machine.at(&format!("volume/f{i}"))).expect("removed"));
    let (code, text) = machine.push(&[]);
    assert!(code == 3 && text.contains("empty") && text.contains("--force-even-if-remote-would-be-cleared"), "{text}");

    std::fs::create_dir(machine.at("foreign")).expect("a folder");
    std::fs::write(machine.at("foreign/mine"), b"not from the remote").expect("a file");
    let (code, text) = machine.restore("foreign", &[]);
    assert!(code == 3 && text.contains("--adopt"), "{text}");
    assert_eq!(machine.restore("foreign", &["--adopt"]).0, 0);
    assert!(machine.at("foreign/mine").exists() && machine.at("foreign/f150").exists());
    assert_eq!(machine.restore("/usr", &[]).0, 3);
}

#[test]
fn a_wrong_key_and_a_dead_remote_change_nothing() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("file", b"content");
    assert_eq!(machine.push(&[]).0, 0);
    let mut other = Machine::s3(&s3);
    other.write("file", b"other");
    s3.forget_requests();
    let (code, text) = other.push(&[]);
    assert!(code == 4 && text.contains("expected one of the slots"), "{text}");
    assert!(s3.requests().iter().all(|seen| !matches!(seen.verb, Verb::Put)), "nothing is written with a wrong key");
    other
        .remote
        .iter_mut()
        .filter(|(name, _)| name == "REMOTE_ENDPOINT")
        .for_each(|(_, value)| *value = "http://127.0.0.1:9".into());
    let (code, text) = other.restore("target", &[]);
    assert!(code == 5, "{text}");
    assert!(!other.at("target").exists(), "an unknown remote touches nothing");
}

#[test]
fn lost_answers_and_bursts_of_errors_end_in_the_right_state() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("first", "before any fault");
    assert_eq!(machine.push(&[]).0, 0);
    for round in 0..6u64 {
        machine.write("changing", noise(round, 200_000));
        machine.write(&format!("more/{round}"), noise(round + 90, 6 << 20));
        let mut seen = 0u64;
        s3.faults(move |request| {
            seen += 1;
            match (round, request.verb, seen % 3) {
                (0 | 1, Verb::Put, _) if seen.is_multiple_of(2) => Fault::ApplyThenDrop,
                (2, _, 0) => Fault::Status(503, "SlowDown"),
                (3, Verb::Get, 1) => Fault::TruncateBody(40),
                (4, Verb::Put, 1) => Fault::DropBefore,
                _ => Fault::None,
            }
        });
        let (code, text) = machine.push(&[]);
        assert_eq!(code, 0, "round {round}: {text}");
    }
    let mut seen = 0u64;
    s3.faults(move |_| {
        seen += 1;
        if seen.is_multiple_of(4) { Fault::TruncateBody(1000) } else { Fault::None }
    });
    let (code, text) = machine.restore("restored", &[]);
    s3.heal();
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "restored");
    let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn damage_is_named_and_never_restored() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("small", "a text that is long enough to lie in a frame. ".repeat(20));
    machine.write("large", noise(3, 5 << 20));
    assert_eq!(machine.push(&[]).0, 0);
    let mut tried = 0;
    for key in s3.objects() {
        let whole = s3.object(&key).expect("stored");
        let offsets = [0, 9, 40, 70, 100, 130, whole.len() / 2, whole.len() - 1];
        for offset in offsets.into_iter().filter(|offset| *offset < whole.len()) {
            let mut bytes = whole.to_vec();
            bytes[offset] ^= 0x20;
            s3.replace(&key, bytes);
            tried += 1;
            let target = format!("damaged-{tried}");
            let (code, text) = machine.restore(&target, &[]);
            for name in ["small", "large"] {
                let restored = std::fs::read(machine.at(&target).join(name)).unwrap_or_default();
                let original = std::fs::read(machine.at("volume").join(name)).expect("a file");
                let complete = restored.is_empty() || restored == original || code != 0;
                assert!(complete, "{key} at {offset}: a wrong {name} passed as restored: {text}");
            }
            assert!(
                code == 0 || text.contains(key.rsplit('/').next().unwrap_or(&key)) || [2, 4, 7].contains(&code),
                "{key} at {offset}: {text}"
            );
        }
        s3.replace(&key, whole.slice(..whole.len() / 2));
        let target = format!("cut-{tried}");
        let (code, text) = machine.restore(&target, &[]);
        // A cut that only takes padding away leaves everything readable.
        assert!(code != 0 || picture(&machine.at(&target)) == picture(&machine.at("volume")), "{key} cut in half: {text}");
        s3.replace(&key, whole);
    }
    assert!(tried >= 30);
    assert_eq!(machine.restore("healed", &[]).0, 0);
}

#[test]
fn a_push_killed_at_any_moment_leaves_a_complete_state() {
    const KILLS: u32 = 300;
    let machine = Machine::local();
    let mut committed: Vec<BTreeMap<PathBuf, String>> = Vec::new();
    let change = |round: u32| {
        for i in 0..12 {
            machine.write(&format!("dir{}/file{i}", round % 3), noise(u64::from(round * 100 + i), 3000));
        }
        machine.write("large", noise(u64::from(round), 600_000));
        machine.write("round", round.to_string());
    };
    change(0);
    assert_eq!(machine.push(&[]).0, 0);
    let began = Instant::now();
    assert_eq!(machine.push(&[]).0, 0);
    let usual = began.elapsed().max(Duration::from_millis(20)) * 4;
    committed.push(picture(&machine.at("volume")));
    for round in 1..=KILLS {
        change(round);
        let args = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
        let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
        std::thread::sleep(usual * round / KILLS);
        let _ = child.kill();
        child.wait().expect("it ended");
        committed.push(picture(&machine.at("volume")));
        if round % 5 == 0 {
            let target = format!("after-{round}");
            let (code, text) = machine.restore(&target, &[]);
            assert_eq!(code, 0, "{text}");
            let restored = picture(&machine.at(&target));
            assert!(committed.contains(&restored), "round {round}: the restored tree is no state that was there");
            std::fs::remove_dir_all(machine.at(&target)).expect("removed");
        }
    }
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "no manual step is needed: {text}");
    assert_eq!(machine.restore("final", &[]).0, 0);
    assert_same(&machine, "final");
    let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn a_restore_killed_at_any_moment_is_continued() {
    let machine = Machine::local();
    (0..300).for_each(|i| machine.write(&format!("d{}/f{i}", i % 7), noise(i, 2000)));
    machine.write("large", noise(1, 3 << 20));
    assert_eq!(machine.push(&[]).0, 0);
    for kill in 0..12u32 {
        let target = format!("target-{kill}");
        let args = ["remote-to-local-sync", "-s", machine.path, "-d", &target];
        let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(u64::from(kill) * 9));
        let _ = child.kill();
        child.wait().expect("it ended");
        let (code, text) = machine.restore(&target, &[]);
        assert_eq!(code, 0, "kill {kill}: {text}");
        assert_same(&machine, &target);
    }
}

#[test]
fn of_two_contending_writers_none_loses_an_acknowledged_push() {
    const PUSHES: u32 = 30;
    let machine = Machine::local();
    let pushes = std::thread::scope(|scope| {
        let threads: Vec<_> = ["one", "two"]
            .into_iter()
            .map(|name| {
                let machine = &machine;
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for round in 0..PUSHES {
                        let folder = machine.at(name);
                        std::fs::create_dir_all(&folder).expect("a folder");
                        std::fs::write(folder.join("who"), format!("{name} {round}")).expect("a file");
                        let args = ["sync-to-remote", "-s", name, "-d", machine.path, "-f", "--takeover=force"];
                        let (code, text) = told(&machine.run(&args));
                        assert!([0, 3, 6].contains(&code), "{text}");
                        if let Some(commit) =
                            text.split("commit=").last().and_then(|rest| rest.split_whitespace().next()).filter(|_| code == 0)
                        {
                            acknowledged.push((commit.to_string(), format!("{name} {round}")));
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a writer")).collect::<Vec<_>>()
    });
    assert!(pushes.len() > PUSHES as usize / 2, "{} pushes won", pushes.len());
    let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
    for (commit, content) in pushes.iter().step_by(5) {
        let target = format!("point-{commit}");
        assert_eq!(machine.restore(&target, &["--at", commit]).0, 0);
        assert_eq!(std::fs::read_to_string(machine.at(&target).join("who")).expect("a file"), *content);
    }
}

#[test]
fn a_first_push_costs_few_requests_beside_the_probe() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    (0..300).for_each(|i| machine.write(&format!("many/{i}"), noise(i, 3000)));
    assert_eq!(machine.push(&[]).0, 0);
    let seen = s3.requests();
    let beside = seen.iter().filter(|seen| !seen.key.contains("/probe")).count();
    assert!(beside <= 8, "{beside} requests: {seen:?}");
}

#[test]
fn the_first_push_after_a_restore_looks_at_nothing_again() {
    let machine = Machine::local();
    (0..40).for_each(|i| machine.write(&format!("a{}/b{}/f{i}", i % 3, i % 7), noise(i, 900)));
    assert_eq!(machine.push(&[]).0, 0);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(machine.push(&[]).0, 0, "files changed just before the first push are looked at once more");
    let index = |folder: &str| -> Vec<u64> {
        let states = std::fs::read_dir(machine.at(folder).join(".vsc")).expect("a state directory");
        let files = states.map(|entry| entry.expect("an entry").path().join("index"));
        files.filter_map(|file| file.metadata().ok()).map(|meta| meta.ino()).collect()
    };
    let push = |folder: &str| told(&machine.run(&["sync-to-remote", "-s", folder, "-d", machine.path, "--takeover=force"]));
    for change in ["", "a1/b3/new"] {
        if !change.is_empty() {
            std::fs::write(machine.at("restored").join(change), b"new").expect("written");
            assert_eq!(push("restored").0, 0);
        }
        let target = if change.is_empty() { "restored" } else { "volume" };
        let (code, text) = machine.restore(target, &[]);
        assert_eq!(code, 0, "{text}");
        let before = index(target);
        let (code, text) = push(target);
        assert!(code == 0 && text.contains("nothing changed"), "{text}");
        assert_eq!((before.len(), index(target)), (1, before), "what is looked at again is noted in a new index: {target}");
    }
}

#[test]
fn a_further_name_of_a_restored_file_is_no_change_made_there() {
    let machine = Machine::local();
    machine.write("first", b"content");
    machine.push(&[]);
    assert_eq!(machine.restore("standby", &[]).0, 0);
    std::fs::hard_link(machine.at("volume/first"), machine.at("volume/second")).expect("a name");
    machine.push(&[]);
    assert_eq!(machine.restore("standby", &[]).0, 0);
    assert_same(&machine, "standby");
    machine.write("third", b"more");
    machine.push(&[]);
    let (code, said) = machine.restore("standby", &[]);
    assert_eq!(code, 0, "{said}");
    assert_same(&machine, "standby");
}

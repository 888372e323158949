//! Every flag of the predecessor's two commands, in every way in which Go's flags can be written.

use super::{fails, goes, runs};
use crate::machine::Machine;

/// A plain folder that holds a push of two files, of which one is gone since.
fn machine() -> Machine {
    let machine = Machine::local().without_key();
    machine.write("kept", "kept");
    machine.write("gone", "gone");
    assert_eq!(machine.push(&[]).0, 0);
    std::fs::remove_file(machine.at("volume/gone")).expect("removed");
    machine
}

const TRUE: [&str; 8] = ["", "=true", "=TRUE", "=True", "=t", "=T", "=1", "=yes"];
const FALSE: [&str; 7] = ["=false", "=FALSE", "=False", "=f", "=F", "=0", "=no"];

#[test]
fn paths_are_written_in_six_ways() {
    let machine = machine();
    for (source, target) in [
        (&["-s", "volume"][..], &["-d", "demo"][..]),
        (&["-s=volume"], &["-d=demo"]),
        (&["-svolume"], &["-ddemo"]),
        (&["--src", "volume"], &["--dst", "demo"]),
        (&["--src=./volume/"], &["--dst=./demo//"]),
        (&["-s", "elsewhere", "-s", "volume"], &["-d", "elsewhere", "--dst=demo"]),
    ] {
        let text = goes(&machine, &[&["sync-to-remote", "--dry-run"], source, target].concat());
        assert!(text.contains("deleted=1"), "{source:?} {target:?}: {text}");
    }
    for (source, target) in [
        (&["-s", "demo"][..], &["-d", "restored"][..]),
        (&["-s=demo"], &["-d=restored"]),
        (&["-sdemo"], &["-drestored"]),
        (&["--src", "demo"], &["--dst", "restored"]),
        (&["--src=demo/"], &["--dst=./restored/"]),
        (&["-s", "elsewhere", "-s", "demo"], &["-d", "elsewhere", "--dst=restored"]),
    ] {
        let text = goes(&machine, &[&["remote-to-local-sync", "--dry-run"], source, target].concat());
        assert!(text.contains("placed=2"), "{source:?} {target:?}: {text}");
    }
}

#[test]
fn parameters_are_repeated_keep_their_commas_and_may_have_spaces() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    let forms =
        [&["-p", "root=HERE"][..], &["-p=root=HERE"], &["-proot=HERE"], &["--param", "root = HERE"], &["--param=Root= HERE "]];
    for (at, form) in forms.iter().enumerate() {
        let folder = machine.at(&format!("a,b{at}"));
        let form = form.iter().map(|word| word.replace("HERE", &folder.display().to_string()));
        let mut command = machine.command(&["sync-to-remote", "-s", "volume", "-d", "demo", "-p", "description=x,y"]);
        let output = command.args(form.clone()).args(["-p", "type=local"]).env_remove("REMOTE_ROOT").output().expect("it runs");
        let (code, text) = crate::machine::told(&output);
        assert_eq!(code, 0, "{at}: {text}");
        assert!(folder.join("demo/file").is_file(), "{at}: {text}");
    }
    let file = machine.at("key,file");
    std::fs::write(&file, machine.run(&["key", "generate"]).stdout).expect("a file");
    for form in [&["-e", "password_file=HERE"][..], &["-e=password_file=HERE"], &["--enc-param", "password_file = HERE"]] {
        let form: Vec<String> = form.iter().map(|word| word.replace("HERE", &file.display().to_string())).collect();
        let form: Vec<&str> = form.iter().map(String::as_str).collect();
        goes(&machine, &[&["sync-to-remote", "-s", "volume", "-d", "sealed", "--takeover=force"], &form[..]].concat());
    }
    assert!(machine.at("remote/sealed/vault.json").is_file(), "-e asks for encryption");
    let text = fails(&machine, &["sync-to-remote", "-s", "volume", "-d", "demo", "-p", "root"], 2);
    assert!(text.contains("-p number 1 has no '='"), "{text}");
}

#[test]
fn deletions_are_kept_back_by_every_spelling_of_no_delete() {
    let machine = machine();
    let push = |flag: &str| goes(&machine, &["sync-to-remote", "--dry-run", "-s", "volume", "-d", "demo", flag]);
    for (flags, value, deletes) in
        [("-x", &TRUE[..], false), ("--no-delete", &TRUE[..], false), ("-x", &FALSE, true), ("--no-delete", &FALSE, true)]
    {
        for value in value {
            let text = push(&format!("{flags}{value}"));
            assert_eq!(text.contains("deleted=1"), deletes, "{flags}{value}: {text}");
            assert_eq!(text.contains("1 delete held back: --no-delete"), !deletes, "{flags}{value}: {text}");
        }
    }
    assert!(push("-xv").contains("held back"), "short flags stand together");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    std::fs::write(machine.at("restored/extra"), "extra").expect("a file");
    for (flag, removed) in [("-x", 0), ("--no-delete=true", 0), ("--no-delete=false", 1)] {
        let args = ["remote-to-local-sync", "--dry-run", "-s", "demo", "-d", "restored", "--force-delete-local-dir", flag];
        let text = goes(&machine, &args);
        assert!(text.contains(&format!("removed={removed}")), "{flag}: {text}");
    }
}

#[test]
fn valves_are_overridden_by_every_spelling_of_force() {
    let machine = machine();
    std::fs::remove_file(machine.at("volume/kept")).expect("removed");
    assert_eq!(machine.restore("other", &[]).0, 0);
    std::fs::remove_dir_all(machine.at("other/.vsc")).expect("removed");
    let push = &["sync-to-remote", "--dry-run", "-s", "volume", "-d", "demo"][..];
    let restore = &["remote-to-local-sync", "--dry-run", "-s", "demo", "-d", "other"][..];
    for (args, flags) in
        [(push, ["-f", "--force-even-if-remote-would-be-cleared"]), (restore, ["-n", "--force-delete-local-dir"])]
    {
        for (values, expected) in [(&TRUE[..], 0), (&FALSE, 3)] {
            for (flag, value) in flags.iter().flat_map(|flag| values.iter().map(move |value| (flag, value))) {
                let flag = format!("{flag}{value}");
                let (code, text) = runs(&machine, &[args, &[&flag]].concat());
                assert_eq!(code, expected, "{flag}: {text}");
            }
        }
        fails(&machine, args, 3);
    }
}

#[test]
fn the_other_flags_are_taken_in_every_spelling() {
    let machine = machine();
    let push = &["sync-to-remote", "--dry-run", "-s", "volume", "-d", "demo"][..];
    let restore = &["remote-to-local-sync", "--dry-run", "-s", "demo", "-d", "restored"][..];
    for args in [push, restore] {
        for (flags, is_debug) in [
            (&["-v"][..], true),
            (&["--verbose"], true),
            (&["-v=T"], true),
            (&["-v=0"], false),
            (&["--verbose=false"], false),
            (&["-v", "--verbose=false"], false),
            (&["-c", "none.conf"], false),
            (&["-c=none.conf"], false),
            (&["--config-path", "none.conf"], false),
            (&["--config-path=none.conf"], false),
            (&["--no-template=false"], false),
            (&["--pid-path", "/run/volume-syncing-controller.pid"], false),
            (&["--pid-path=/run/volume-syncing-controller.pid"], false),
        ] {
            let text = goes(&machine, &[args, flags].concat());
            assert_eq!(text.contains("DEBUG"), is_debug, "{flags:?}: {text}");
        }
    }
}

/// The predecessor took no notice of them: `--no-delete false` meant that nothing is deleted.
#[test]
fn words_that_belong_to_no_flag_are_refused_by_name() {
    let machine = machine();
    for (args, word) in [
        (&["sync-to-remote", "-s", "volume", "-d", "demo", "--no-delete", "false"][..], "'false'"),
        (&["sync-to-remote", "-s", "volume", "-d", "demo", "volume"], "'volume'"),
        (&["remote-to-local-sync", "-s", "demo", "restored"], "'restored'"),
    ] {
        let text = fails(&machine, args, 2);
        assert!(text.contains(&format!("unexpected argument {word}")), "{text}");
    }
    assert!(!machine.at("restored").exists());
    let text = fails(&machine, &[], 2);
    assert!(text.contains("Usage:"), "no command at all is a mistake too: {text}");
}

//! `--no-template`: the rclone configuration that somebody wrote.

use super::{everywhere, fails, given, goes, read};
use crate::machine::{Machine, told};
use crate::tools::tool;
use std::process::Command;

/// Obscured as rclone does it, with a nonce of ours.
const OBSCURED: &str = "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ";

/// Moves the machine's remote from its variables into a file, beside what the image sets.
fn into_file(machine: &mut Machine, name: &str, more: &str) {
    let value = |key: &str| given(machine, key);
    let text = format!(
        "# made by hand\n[elsewhere]\ntype = local\n\n[remote]\ntype = s3\nprovider = Minio\nendpoint={}\naccess_key_id: {}\n\
         secret_access_key = `{}`\nno_check_bucket = true\n{more}",
        value("REMOTE_ENDPOINT"),
        value("REMOTE_ACCESS_KEY_ID"),
        value("REMOTE_SECRET_ACCESS_KEY"),
    );
    std::fs::write(machine.at(name), text).expect("a file");
    machine.remote = vec![("REMOTE_TYPE".into(), "local".into())];
}

#[test]
fn a_configuration_written_by_hand_is_used_as_it_is_found() {
    everywhere(|mut machine| {
        machine.write("file", "content");
        into_file(&mut machine, "rclone.conf", "");
        let before = read(&machine.at("rclone.conf"));
        let path = machine.path;
        let text = goes(&machine, &["sync-to-remote", "-s", "volume", "-d", path, "--no-template"]);
        assert!(text.contains("[remote] of rclone.conf says something else: REMOTE_TYPE"), "{text}");
        assert!(text.contains("s3://"), "{text}");
        std::fs::rename(machine.at("rclone.conf"), machine.at("moved.conf")).expect("moved");
        goes(&machine, &["remote-to-local-sync", "-s", path, "-d", "one", "--no-template=true", "-c", "moved.conf"]);
        machine.set("CONFIG_PATH", "moved.conf");
        goes(&machine, &["remote-to-local-sync", "-s", path, "-d", "two", "--no-template"]);
        goes(&machine, &["doctor", "-d", path, "--no-template"]);
        assert_eq!((read(&machine.at("one/file")), read(&machine.at("two/file"))), ("content".into(), "content".into()));
        assert_eq!(read(&machine.at("moved.conf")), before, "it is left as it was");
    });
}

#[test]
fn a_section_that_encrypts_makes_a_vault_where_it_points_to() {
    everywhere(|mut machine| {
        machine.write("file", "content");
        let path = machine.path;
        let section = format!("[remote_encrypted]\ntype = crypt\nremote = remote:/{path}\npassword = {OBSCURED}\n");
        into_file(&mut machine, "rclone.conf", &section);
        let file = ["--no-template", "-c", "rclone.conf"];
        goes(&machine, &[&["sync-to-remote", "-s", "volume"], &file[..]].concat());
        goes(&machine, &[&["remote-to-local-sync", "-d", "restored"], &file[..]].concat());
        assert_eq!(read(&machine.at("restored/file")), "content");
        let text = goes(&machine, &[&["check"], &file[..]].concat());
        assert!(!text.contains("remote in [remote_encrypted]"), "it has an effect: {text}");
        machine.set("ENCRYPTED_PASSWORD", "another made-up passphrase");
        let text = fails(&machine, &[&["sync-to-remote", "-s", "volume"], &file[..]].concat(), 2);
        assert!(text.contains("is another password than password in [remote_encrypted] of rclone.conf"), "{text}");
    });
}

#[test]
fn without_the_flag_a_configuration_is_not_read_and_that_is_said() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    std::fs::write(machine.at("mine.conf"), "[remote]\ntype = webdav\n").expect("a file");
    let text = goes(&machine, &["sync-to-remote", "-s", "volume", "-d", "demo", "-c", "mine.conf"]);
    assert!(text.contains("mine.conf is not read: --no-template takes the remote from it"), "{text}");
    assert!(machine.at("remote/demo/file").is_file());
    let text = goes(&machine, &["sync-to-remote", "-s", "volume", "-d", "demo"]);
    assert!(!text.contains(".conf"), "{text}");
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing_and_says_why() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    let push = ["sync-to-remote", "-s", "volume", "-d", "demo", "--no-template", "-c", "mine.conf"];
    let text = fails(&machine, &push, 2);
    assert!(text.contains("--no-template: mine.conf cannot be read: No such file") && text.contains("with -c"), "{text}");
    for (content, problem) in [
        ("[minio]\ntype = s3\n", "has no section [remote]; it has [minio]"),
        ("[remote]\ntype = s3\nmade-up-secret\n", "cannot be understood in line 3"),
        ("[remote]\ntype = s33\n", "type in [remote] of mine.conf is 's33', which is not known"),
        ("[remote]\ntype = s3\nendpont = x\naccess_key_id = made-up-secret\n", "endpont in [remote] of mine.conf is not a known"),
        ("[remote]\ntype = local\n[remote_encrypted]\ntype = crypt\nremote = remote:x\n", "PASSWORD is empty or missing"),
        ("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nAAAA\n", "is encrypted as a whole"),
    ] {
        std::fs::write(machine.at("mine.conf"), content).expect("a file");
        let text = fails(&machine, &push, 2);
        assert!(text.contains(problem) && !text.contains("made-up-secret"), "{text}");
    }
    assert!(!machine.at("remote").exists());
}

/// One file for both programs: rclone writes with it, and what it wrote comes back.
#[test]
fn what_rclone_wrote_with_a_configuration_is_restored_with_it() {
    let program = tool("IT_RCLONE");
    let machine = Machine::local().without_key();
    machine.write("folder/file", "content");
    let remote = machine.at("theirs").display().to_string();
    let file = machine.at("rclone.conf");
    let rclone = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.env_clear().env("HOME", machine.at("")).arg("--config").arg(&file).args(args);
        let output = command.output().expect("rclone starts");
        assert!(output.status.success(), "{args:?}: {}", told(&output).1);
        String::from_utf8(output.stdout).expect("text")
    };
    std::fs::write(&file, "").expect("a file");
    let (password, password2) = (rclone(&["obscure", "made-up"]), rclone(&["obscure", "salt"]));
    let text = format!(
        "[remote]\ntype = local\n\n[remote_encrypted]\ntype = crypt\nremote = remote:{remote}/sealed\npassword = {password}\
         password2={password2}filename_encryption = obfuscate\ndirectory_name_encryption = false\n"
    );
    std::fs::write(&file, text).expect("a file");
    let volume = machine.at("volume").display().to_string();
    rclone(&["copy", &volume, "remote_encrypted:"]);
    goes(&machine, &["remote-to-local-sync", "-d", "restored", "--no-template", "-c", "rclone.conf"]);
    assert_eq!(read(&machine.at("restored/folder/file")), "content");
}

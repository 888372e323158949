//! rclone beside the plain layout on a real store: each reads what the other wrote.

use crate::machine::{Machine, noise};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// rclone at the machine's remote.
fn rclone(machine: &Machine, args: &[&str]) -> Option<String> {
    let program = std::env::var_os("IT_RCLONE")?;
    let given =
        |name: &str| machine.remote.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let mut command = Command::new(program);
    command.args(args).env_clear().env("HOME", machine.at("")).env("RCLONE_CONFIG", machine.at("no-configuration"));
    command.env("RCLONE_CONFIG_STORE_TYPE", "s3").env("RCLONE_CONFIG_STORE_PROVIDER", "Minio");
    command.env("RCLONE_CONFIG_STORE_ENDPOINT", given("REMOTE_ENDPOINT"));
    command.env("RCLONE_CONFIG_STORE_ACCESS_KEY_ID", given("REMOTE_ACCESS_KEY_ID"));
    command.env("RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY", given("REMOTE_SECRET_ACCESS_KEY"));
    command.env("RCLONE_S3_NO_CHECK_BUCKET", "true");
    let output = command.output().expect("rclone starts");
    assert!(output.status.success(), "rclone {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Contents and times of regular files, by path.
fn files(root: &Path) -> BTreeMap<String, (Vec<u8>, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, meta) = (entry.path(), entry.metadata().expect("metadata"));
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if name.starts_with(".vsc") || name.starts_with(".svault-plain") {
                continue;
            }
            if meta.is_dir() {
                folders.push(path);
            } else {
                all.insert(name, (std::fs::read(&path).expect("a file"), meta.mtime(), meta.mtime_nsec()));
            }
        }
    }
    all
}

#[test]
fn rclone_reads_what_was_pushed_and_its_own_work_is_restored() {
    let Some(machine) = Machine::real().map(Machine::without_key) else { return };
    for (name, size) in [("a/b", 10), ("a.b", 0), ("deep/er/file with space", 5000), ("ünï.txt", 100), ("long", 20_000_000)] {
        machine.write(name, noise(size as u64, size));
    }
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    let remote = format!("store:{}", machine.path);
    let copy = machine.at("copied").display().to_string();
    if rclone(&machine, &["copy", &remote, &copy, "--exclude", ".svault-plain/**"]).is_none() {
        return;
    }
    assert!(files(&machine.at("copied")) == files(&machine.at("volume")), "contents or times differ");
    // To rclone the two are in step: it would copy nothing.
    let volume = machine.at("volume").display().to_string();
    let plan =
        ["sync", "--dry-run", "--exclude", ".vsc/**", "--exclude", ".svault-plain/**", "-v", "--use-json-log", &volume, &remote];
    let said = rclone(&machine, &plan).unwrap_or_default();
    assert!(!said.contains("skipped"), "{said}");

    // What rclone adds, changes and removes is restored as it left it.
    std::fs::write(machine.at("copied/added"), "by rclone").expect("written");
    std::fs::write(machine.at("copied/a/b"), "changed by rclone").expect("written");
    std::fs::remove_file(machine.at("copied/ünï.txt")).expect("removed");
    rclone(&machine, &["sync", &copy, &remote, "--exclude", ".svault-plain/**"]);
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    assert!(files(&machine.at("restored")) == files(&machine.at("copied")), "contents or times differ: {text}");
    // And the next push from there sends none of it again.
    let args = ["sync-to-remote", "-s", "restored", "-d", machine.path];
    let output = crate::machine::told(&machine.run(&args));
    assert_eq!(output.0, 0, "{}", output.1);
    assert!(output.1.contains("new=0 B"), "{}", output.1);
    assert!(files(&machine.at("restored")) == files(&machine.at("copied")));
}

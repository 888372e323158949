//! A log of many pushes: merged into a base, read back by this program and by the second reader.

use std::path::Path;
use std::process::Command;

fn run(work: &Path, key: &str, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_volume-syncing-controller"))
        .args(args)
        .current_dir(work)
        .env_clear()
        .env("REMOTE_ROOT", work.join("remote"))
        .env("ENCRYPTED_PASSWORD", key)
        .env("HOSTNAME", "test-host")
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_string() + &text
}

#[test]
fn many_pushes_are_merged_and_restore_with_few_requests() {
    let work = tempfile::tempdir().expect("a folder");
    let work = work.path();
    let key = run(work, "", &["key", "generate"]);
    let volume = work.join("volume");
    std::fs::create_dir_all(volume.join("dir")).expect("a folder");
    for i in 0..300 {
        std::fs::write(volume.join(format!("dir/{i:03}")), format!("content {i}").repeat(50)).expect("a file");
    }
    let mut merged = false;
    for round in 0..262 {
        std::fs::write(volume.join("changing"), format!("round {round} ").repeat(100)).expect("a file");
        std::fs::remove_file(volume.join(format!("dir/{round:03}"))).expect("removed");
        let told = run(work, &key, &["sync-to-remote", "-s", "volume", "-d", "remote-path", "--single-key"]);
        merged |= told.contains("merged the log into a base");
    }
    assert!(merged, "256 commits make a base due");
    let told = run(work, &key, &["remote-to-local-sync", "-s", "remote-path", "-d", "restored"]);
    let same = |name: &str| std::fs::read(volume.join(name)).ok() == std::fs::read(work.join("restored").join(name)).ok();
    assert!(same("changing") && (0..300).all(|i| same(&format!("dir/{i:03}"))), "{told}");
    run(work, &key, &["remote-to-local-sync", "-s", "remote-path", "-d", "old", "--at", "100"]);
    assert!(!work.join("old/dir/050").exists() && work.join("old/dir/299").exists(), "an old point is still there");
    run(work, &key, &["check", "-s", "remote-path", "--level", "data"]);
    if let Some(python) = std::env::var_os("IT_PYTHON") {
        let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/read_vault.py");
        let read = Command::new(python)
            .arg(reader)
            .args([work.join("remote/remote-path"), work.join("by-python")])
            .env("ENCRYPTED_PASSWORD", &key)
            .output()
            .expect("python starts");
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        for i in 0..300 {
            let name = format!("dir/{i:03}");
            assert_eq!(std::fs::read(volume.join(&name)).ok(), std::fs::read(work.join("by-python").join(&name)).ok(), "{name}");
        }
    }
}

//! The predecessor's README and Makefile, and what its operator puts into a Pod.

use super::{Path, everywhere, fails, given, goes, read};
use crate::machine::{Machine, paths, told};

/// Runs lines of a shell in the machine's home as they were written, but for the store's address, keys and bucket.
fn shell(machine: &mut Machine, lines: &str) -> (i32, String) {
    let real = std::mem::take(&mut machine.remote);
    let value = |name: &str| real.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).expect("a store");
    let lines = lines
        .replace("AKIAIOSFODNN7EXAMPLE", &value("REMOTE_ACCESS_KEY_ID"))
        .replace("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &value("REMOTE_SECRET_ACCESS_KEY"))
        .replace("http://localhost:9000", &value("REMOTE_ENDPOINT"))
        .replace("testbucket", machine.path);
    let program = Path::new(env!("CARGO_BIN_EXE_volume-syncing-controller"));
    let folder = program.parent().expect("a folder").to_str().expect("text");
    let mut command = machine.command_of(Path::new("/bin/sh"), &["-ec", &lines]);
    let output = command.env("PATH", folder).output().expect("a shell");
    machine.remote = real;
    told(&output)
}

fn sources(machine: &Machine) {
    for (name, content) in [("README.md", "read me"), ("pkg/rclone/main.go", "package rclone"), ("pkg/cron/main.go", "")] {
        let path = machine.at(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, content).expect("a file");
    }
}

#[test]
fn the_example_of_the_readme_runs_as_it_is_written() {
    everywhere(|mut machine| {
        sources(&machine);
        let (code, text) = shell(
            &mut machine,
            "export REMOTE_TYPE=s3
             export REMOTE_PROVIDER=Minio
             export REMOTE_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE
             export REMOTE_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
             export REMOTE_ENDPOINT=http://localhost:9000
             export REMOTE_ACL=private

             # synchronize to remote storage
             volume-syncing-controller sync-to-remote -s ./ -d testbucket/some-directory

             # synchronize back from remote storage to local directory
             volume-syncing-controller remote-to-local-sync -v -s testbucket -d ./.build/testing-restore",
        );
        assert_eq!(code, 0, "{text}");
        let restored = machine.at(".build/testing-restore");
        assert_eq!(read(&restored.join("some-directory/README.md")), "read me");
        assert_eq!(read(&restored.join("some-directory/pkg/rclone/main.go")), "package rclone");
        let names = paths(&restored);
        assert_eq!(names.len(), 7, "three files in four folders, and nothing of ours: {names:?}");
        assert!(text.contains("DEBUG"), "-v says more: {text}");
    });
}

#[test]
fn the_makefiles_example_with_variables_pushes_the_working_directory() {
    everywhere(|mut machine| {
        sources(&machine);
        let (code, text) = shell(
            &mut machine,
            "export REMOTE_TYPE=s3; \
             export REMOTE_PROVIDER=Minio; \
             export REMOTE_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE; \
             export REMOTE_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY; \
             export REMOTE_ENDPOINT=http://localhost:9000; \
             export REMOTE_ACL=private; \
             volume-syncing-controller sync-to-remote -d testbucket",
        );
        assert_eq!(code, 0, "{text}");
        goes(&machine, &["remote-to-local-sync", "-s", machine.path, "-d", "restored"]);
        assert_eq!(read(&machine.at("restored/pkg/rclone/main.go")), "package rclone");
    });
}

/// The one line of the examples that is refused: every user of the machine could read the key from the process list.
#[test]
fn the_makefiles_example_with_a_secret_as_a_flag_says_where_it_belongs() {
    let push = "volume-syncing-controller sync-to-remote -d testbucket -s ./pkg -p 'type=s3' -p 'provider=Minio' \
                -p 'access_key_id=AKIAIOSFODNN7EXAMPLE' -p 'secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' \
                -p 'endpoint = http://localhost:9000' -p 'acl = private'";
    let restore = "volume-syncing-controller remote-to-local-sync -v -s testbucket -d ./.build/testing-restore -p 'type=s3' \
                   -p 'provider=Minio' -p 'access_key_id=AKIAIOSFODNN7EXAMPLE' \
                   -p 'secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' -p 'endpoint = http://localhost:9000' \
                   -p 'acl = private'";
    everywhere(|mut machine| {
        sources(&machine);
        let secret = given(&machine, "REMOTE_SECRET_ACCESS_KEY");
        for line in [push, restore] {
            let (code, text) = shell(&mut machine, line);
            assert_eq!(code, 2, "{text}");
            assert!(text.contains("-p secret_access_key is a secret"), "{text}");
            assert!(text.contains("REMOTE_SECRET_ACCESS_KEY, or REMOTE_SECRET_ACCESS_KEY_FILE"), "{text}");
            assert!(!text.contains(&secret), "{text}");
        }
        let as_told = |line: &str| {
            let flag = "-p 'secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'";
            format!("export REMOTE_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n{}", line.replace(flag, ""))
        };
        for line in [push, restore] {
            let (code, text) = shell(&mut machine, &as_told(line));
            assert_eq!(code, 0, "{text}");
        }
        assert_eq!(read(&machine.at(".build/testing-restore/rclone/main.go")), "package rclone");
        assert!(!machine.at(".build/testing-restore/README.md").exists());
    });
}

/// The same password as `rclone obscure` prints it, which is what the operator's Secret holds.
const OBSCURED: &str = "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ";

#[test]
fn the_containers_of_an_injected_pod_start_as_they_are() {
    everywhere(|mut machine| {
        // Templates leave a slash too many.
        let (path, wrapped) = (format!("/{}", machine.path), format!("remote://{}", machine.path));
        for (name, value) in [
            ("ENCRYPTED_REMOTE", wrapped.as_str()),
            ("ENCRYPTED_FILENAME_ENCRYPTION", "obfuscate"),
            ("ENCRYPTED_PASSWORD", OBSCURED),
            ("REMOTE_PROVIDER", "Minio"),
            ("REMOTE_ACL", "private"),
        ] {
            machine.set(name, value);
        }
        let file = "/etc/volume-syncing-controller/rclone.conf";
        let init = ["remote-to-local-sync", "--src", &path, "--dst", "volume", "--config-path", file, "--verbose", "--no-delete"];
        let force = "--force-even-if-remote-would-be-cleared";
        let sidecar =
            ["sync-to-remote", "--src", "volume", "--dst", &path, "--config-path", file, "--no-delete", force, "--verbose"];
        let text = goes(&machine, &init);
        assert!(!text.contains("ENCRYPTED_REMOTE"), "it names the same path: {text}");
        machine.write("wp-content/uploads/a.txt", "by the application");
        let text = goes(&machine, &sidecar);
        assert!(!text.contains("rclone.conf"), "nothing is said of a file that nobody wrote: {text}");
        // Somebody pushes by hand, as the README says: the remote path comes from the variable.
        machine.write("wp-content/uploads/b.txt", "later");
        let text = goes(&machine, &["sync-to-remote", "-s", "volume", "-c", file]);
        assert!(text.contains("added=1"), "{text}");
        // The Pod is gone, its volume too.
        std::fs::remove_dir_all(machine.at("volume")).expect("removed");
        goes(&machine, &[&init[..], &["--force-delete-local-dir"]].concat());
        assert_eq!(read(&machine.at("volume/wp-content/uploads/a.txt")), "by the application");
        assert_eq!(read(&machine.at("volume/wp-content/uploads/b.txt")), "later");
        // Without the key, nothing of it is readable.
        machine.unset("ENCRYPTED_PASSWORD");
        machine.unset("ENCRYPTED_REMOTE");
        machine.unset("ENCRYPTED_FILENAME_ENCRYPTION");
        fails(&machine, &["remote-to-local-sync", "-s", &path, "-d", "elsewhere"], 3);
    });
}

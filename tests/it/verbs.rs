//! The verbs that look at a vault, through the built binary, on the embedded store in a folder.

mod doctor;
mod pushed;

use crate::s3::{Fault, S3, Verb};
use std::process::{Command, Output, Stdio};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::seal::{RawKey, Unlocker};
use volume_syncing_controller::store::{Bucket, RemoteConfig};
use volume_syncing_controller::vault::open::create;

/// A machine with an embedded store and nothing else in the environment.
struct Machine {
    home: tempfile::TempDir,
}

/// What a run of the program came to.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Machine {
        Machine { home: tempfile::tempdir().expect("a temporary folder") }
    }

    fn remote(&self) -> std::path::PathBuf {
        self.home.path().join("remote")
    }

    fn command(&self, line: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volume-syncing-controller"));
        command.args(line.split_whitespace()).env_clear().env("HOME", self.home.path()).env("REMOTE_ROOT", self.remote());
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str, variables: &[(&str, &str)]) -> Ran {
        Ran::of(self.command(line, variables).output().expect("the program runs"))
    }

    /// Runs with a key; it must succeed.
    fn ok(&self, line: &str, key: &str) -> String {
        let ran = self.run(line, &[("ENCRYPTED_PASSWORD", key)]);
        assert_eq!(ran.code, 0, "{line}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Makes a vault without commits in the store; its key.
    fn vault(&self, path: &str) -> String {
        let key = RawKey::generate();
        let config = RemoteConfig::Local { folder: self.remote(), path: path.into() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let made = runtime.block_on(async {
            let bucket = Bucket::connect(&config).expect("a bucket");
            create(&bucket, &Unlocker::Raw(key.clone()), &Stop::new()).await
        });
        made.expect("a vault");
        key.to_text().expose().clone()
    }

    fn keys(&self, path: &str) -> Vec<String> {
        let folder = self.remote().join(path).join("keys");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("the vault has slots")
            .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    fn failed(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        for text in texts {
            assert!(self.err.contains(text), "'{text}' is not in: {}", self.err);
        }
    }
}

#[test]
fn a_generated_key_is_all_that_is_printed() {
    let machine = Machine::new();
    let (one, other) = (machine.run("key generate", &[]), machine.run("key generate", &[]));
    for ran in [&one, &other] {
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let key = ran.out.strip_suffix('\n').expect("one line");
        RawKey::parse(key).expect("a key");
    }
    assert_ne!(one.out, other.out);
}

#[test]
fn completions_need_nothing_from_the_environment() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = Machine::new().run(&format!("completions {shell}"), &[("REMOTE_NONSENSE", "x")]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(ran.out.contains("snapshots") && ran.out.contains("export-kit"), "{shell}");
    }
}

#[test]
fn without_a_key_the_way_to_one_is_shown() {
    for line in ["key list", "key add --generate", "key export-kit"] {
        Machine::new().run(line, &[]).failed(2, &["no key was given", "key generate", "ENCRYPTED_PASSWORD_FILE"]);
    }
    for line in ["snapshots", "ls", "check"] {
        Machine::new().run(line, &[]).failed(2, &["there is nothing at folder"]);
    }
}

#[test]
fn nothing_at_the_remote_is_said_and_nothing_is_made() {
    let machine = Machine::new();
    let key = machine.run("key generate", &[]).out;
    for line in ["snapshots -s a/b", "ls -s a/b", "key list -d a/b", "key add --generate -d a/b", "check -s a/b"] {
        let ran = machine.run(line, &[("ENCRYPTED_PASSWORD", &key)]);
        ran.failed(2, &["there is no vault at folder", "remote/a/b", "sync-to-remote"]);
        assert!(!machine.remote().exists(), "{line}");
    }
}

#[test]
fn something_else_at_the_remote_is_named() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.remote().join("photos")).expect("a folder");
    std::fs::write(machine.remote().join("photos/holiday.jpg"), "x").expect("a file");
    let key = machine.run("key generate", &[]).out;
    machine.run("snapshots -s photos", &[("ENCRYPTED_PASSWORD", &key)]).failed(3, &["holds no vault", "'holiday.jpg'"]);
}

#[test]
fn a_wrong_key_is_told_in_one_look_with_expected_and_got() {
    let machine = Machine::new();
    machine.vault("v");
    let before = machine.keys("v");
    let slot = before[0].strip_suffix(".json").expect("a slot's name").to_string();
    let other = machine.run("key generate", &[]).out;
    let ran = machine.run("snapshots -s v", &[("ENCRYPTED_PASSWORD", &other)]);
    ran.failed(4, &["wrong key for the vault", &format!("expected one of the slots {slot}"), "this key would be slot r"]);
    let ran = machine.run("key add -d v --generate", &[("ENCRYPTED_PASSWORD", "a made-up passphrase")]);
    ran.failed(4, &["wrong passphrase", &slot, "nothing was written"]);
    assert_eq!(machine.keys("v"), before);
}

#[test]
fn all_mistakes_of_the_configuration_are_in_one_report() {
    let variables = [
        ("REMOTE_TYPE", "s3"),
        ("REMOTE_REGOIN", "eu"),
        ("REMOTE_ENDPOINT", "ftp://x"),
        ("REMOTE_SECRET_ACCESS_KEY", "made-up-secret"),
        ("ENCRYPTED_PASSWORD", "vsckey1_made-up"),
    ];
    let texts = [
        "REMOTE_REGOIN is not a known option",
        "did you mean REMOTE_REGION?",
        "REMOTE_ENDPOINT is not an http or https URL",
        "REMOTE_ACCESS_KEY_ID is missing",
        "ENCRYPTED_PASSWORD cannot be used",
    ];
    let ran = Machine::new().run("snapshots -s bucket/x", &variables);
    ran.failed(2, &texts);
    assert!(ran.err.starts_with("error: the configuration has 4 mistakes:"), "{}", ran.err);
    assert!(!ran.err.contains("made-up"), "{}", ran.err);

    let ran = Machine::new().run("snapshots -s bucket/x --log-json", &variables);
    let line: serde_json::Value = serde_json::from_str(ran.err.trim()).expect("one line of JSON");
    assert_eq!((&line["kind"], &line["exit_code"]), (&"usage".into(), &2.into()));
    assert!(texts.iter().all(|text| line["message"].as_str().is_some_and(|message| message.contains(text))), "{line}");
}

#[test]
fn a_command_line_that_is_wrong_exits_with_2() {
    let machine = Machine::new();
    for line in ["", "nonsense", "snapshots --nonsense", "ls --at yesterday", "remote-to-local-sync"] {
        let ran = machine.run(line, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line}: {}", ran.err);
    }
    machine.run("ls --at yesterday", &[]).failed(2, &["2026-11-20T14:00:00Z"]);
}

#[test]
fn the_effective_configuration_is_logged_without_secrets() {
    let machine = Machine::new();
    let key = machine.vault("v");
    let ran = machine.run("snapshots -s v --log-level=debug", &[("ENCRYPTED_PASSWORD", &key)]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "no restore points yet\n"), "{}", ran.err);
    assert!(ran.err.contains("REMOTE_ROOT=") && ran.err.contains("ENCRYPTED_PASSWORD=<set>"), "{}", ran.err);
    assert!(!ran.err.contains(&key[8..]), "{}", ran.err);
    assert_eq!(machine.ok("snapshots -s v --json", &key), "[]\n");
}

#[test]
fn a_point_that_does_not_exist_is_refused() {
    let machine = Machine::new();
    let key = machine.vault("v");
    for at in ["latest", "7", "2h", "rescue:00000001-00000001/00000001"] {
        let ran = machine.run(&format!("ls -s v --at {at}"), &[("ENCRYPTED_PASSWORD", &key)]);
        ran.failed(2, &["there is no restore point", "`snapshots` lists"]);
    }
}

#[test]
fn keys_are_added_listed_and_removed_but_never_the_last() {
    let machine = Machine::new();
    let first = machine.vault("v");
    let second = machine.ok("key add -d v --generate --label laptop", &first);
    let second = second.trim();
    let added =
        machine.run("key add -d v --label words", &[("ENCRYPTED_PASSWORD", &first), ("NEW_ENCRYPTED_PASSWORD", "made-up words")]);
    assert_eq!(added.code, 0, "{}", added.err);
    let words = added.out.trim().strip_prefix("added slot ").expect("the slot's name").to_string();

    let listed: serde_json::Value = serde_json::from_str(&machine.ok("key list -d v --json", second)).expect("JSON");
    let slots = listed.as_array().expect("an array");
    let yours: Vec<_> = slots.iter().filter(|slot| slot["opened_by_your_key"] == true).collect();
    assert_eq!((slots.len(), yours.len()), (3, 1), "{listed}");
    assert_eq!((&yours[0]["label"], &yours[0]["type"]), (&"laptop".into(), &"raw32".into()));
    let mine = yours[0]["slot"].as_str().expect("a name").to_string();
    assert!(machine.ok("key list -d v", "made-up words").contains("your key"), "a passphrase opens the vault too");

    machine.run("key remove nonsense -d v", &[("ENCRYPTED_PASSWORD", &first)]).failed(2, &["no slot 'nonsense'", "key list"]);
    assert!(machine.ok(&format!("key remove {words} -d v"), &first).starts_with(&format!("removed slot {words}; left: r")));
    let ran = machine.run(&format!("key remove {mine} -d v"), &[("ENCRYPTED_PASSWORD", second)]);
    ran.failed(3, &["is that of the key you are using", "the others are r"]);
    machine.ok(&format!("key remove {mine} -d v"), &first);
    let last = machine.keys("v")[0].trim_end_matches(".json").to_string();
    let ran = machine.run(&format!("key remove {last} -d v"), &[("ENCRYPTED_PASSWORD", &first)]);
    ran.failed(3, &["is the last one", "key add"]);
    assert_eq!(machine.keys("v").len(), 1);
    machine.run("key list -d v", &[("ENCRYPTED_PASSWORD", second)]).failed(4, &["wrong key"]);
}

#[test]
fn a_new_key_must_be_given_once() {
    let machine = Machine::new();
    let key = machine.vault("v");
    let given = [("ENCRYPTED_PASSWORD", key.as_str()), ("NEW_ENCRYPTED_PASSWORD", "made-up words")];
    machine.run("key add -d v", &given[..1]).failed(2, &["no new key is given", "NEW_ENCRYPTED_PASSWORD_FILE", "--generate"]);
    machine.run("key add -d v --generate", &given).failed(2, &["--generate asks for another"]);
    assert_eq!(machine.keys("v").len(), 1);
}

#[test]
fn a_recovery_kit_opens_the_vault_with_what_is_written_on_it() {
    let machine = Machine::new();
    let key = machine.vault("some/where");
    let kit = machine.ok("key export-kit -d some/where", &key);
    for text in ["SECRET", "vault id:", "recovery kit", "docker run", "read_vault.py", "REMOTE_ROOT=", "-s some/where"] {
        assert!(kit.contains(text), "'{text}' is not in: {kit}");
    }
    assert!(!kit.contains(&key), "the kit has a key of its own");
    // Exactly what section 1 says, on a machine that knows nothing.
    let exports: Vec<(&str, &str)> = kit.lines().filter_map(|line| line.strip_prefix("  export ")?.split_once('=')).collect();
    let shown = kit.lines().find(|line| line.contains(" snapshots -s ")).expect("a command");
    let words = shown.trim().strip_prefix("volume-syncing-controller ").expect("our name");
    let elsewhere = Machine::new();
    let output = elsewhere.command(words, &exports).output().expect("the program runs");
    assert_eq!(Ran::of(output).out, "no restore points yet\n");
    assert_eq!(machine.keys("some/where").len(), 2);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let machine = Machine::new();
    let mut child =
        machine.command("completions bash", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    // The script is longer than what a pipe holds only with some luck; a pipe without a reader fails at once.
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let output = machine.command("key generate", &[]).stdout(full()).output().expect("the program runs");
    Ran::of(output).failed(8, &["writing to standard output"]);
}

/// A standard output that can take nothing.
fn full() -> std::fs::File {
    std::fs::File::options().write(true).open("/dev/full").expect("Linux has /dev/full")
}

#[test]
fn a_key_that_nobody_could_read_opens_nothing() {
    let machine = Machine::new();
    let key = machine.vault("v");
    for line in ["key add --generate -d v", "key export-kit -d v"] {
        let given = [("ENCRYPTED_PASSWORD", key.as_str())];
        let output = machine.command(line, &given).stdout(full()).output().expect("the program runs");
        Ran::of(output).failed(8, &["writing to standard output", "its slot was removed: run it again"]);
        let mut child = machine.command(line, &given).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop(child.stdout.take());
        Ran::of(child.wait_with_output().expect("it ends")).failed(8, &["standard output was closed before the key was written"]);
        assert_eq!(machine.keys("v").len(), 1, "{line}");
    }
}

#[test]
fn a_slot_that_cannot_be_removed_again_is_named() {
    let s3 = S3::start();
    let machine = crate::machine::Machine::s3(&s3);
    machine.write("file", "content");
    assert_eq!(machine.push(&[]).0, 0);
    s3.faults(|seen| if seen.verb == Verb::Delete { Fault::Status(403, "AccessDenied") } else { Fault::None });
    let line = ["key", "add", "--generate", "-d", machine.path];
    let output = machine.command(&line).stdout(full()).output().expect("the program runs");
    let slots = s3.objects().into_iter().filter(|key| key.contains("/keys/")).count();
    assert_eq!(slots, 2);
    Ran::of(output).failed(8, &["stays, though nobody has its key", "AccessDenied", "key remove"]);
}

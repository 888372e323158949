//! Writers that are overtaken or killed in the middle of a push: what they had is kept or cleaned up, never in between.

use crate::machine::{Machine, assert_same, noise, told};
use crate::s3::{Fault, S3, Verb};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// A push whose first `through` packs are stored and whose next one is answered with "later" until it is let go.
struct Held {
    child: Child,
    go: Arc<AtomicBool>,
}

impl Held {
    fn push(machine: &Machine, s3: &S3, through: usize) -> Held {
        let go = Arc::new(AtomicBool::new(false));
        let (reached, wait) = mpsc::channel();
        let (mut passed, let_go) = (0, Arc::clone(&go));
        s3.faults(move |request| {
            let pack = matches!(request.verb, Verb::Put) && request.key.contains("/obj/");
            if !pack || let_go.load(Ordering::SeqCst) {
                return Fault::None;
            }
            passed += 1;
            if passed <= through {
                return Fault::None;
            }
            let _ = reached.send(());
            Fault::Status(503, "SlowDown")
        });
        let args = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
        let child = machine.command(&args).stderr(Stdio::piped()).spawn().expect("the program starts");
        wait.recv_timeout(Duration::from_secs(30)).expect("it comes to its packs");
        Held { child, go }
    }

    fn let_go(self) -> (i32, String) {
        self.go.store(true, Ordering::SeqCst);
        told(&self.child.wait_with_output().expect("it ends"))
    }
}

/// A volume that was pushed, and changed since by more than a commit carries itself.
fn changed_volume(s3: &S3) -> Machine {
    let machine = Machine::s3(s3);
    machine.write("small", "a text that stays. ".repeat(40));
    machine.write("goes", "a text that goes. ".repeat(40));
    machine.write("large", noise(1, 2 << 20));
    assert_eq!(machine.push(&[]).0, 0);
    std::fs::remove_file(machine.at("volume/goes")).expect("removed");
    machine.write("dir/new", "a new text. ".repeat(40));
    (0..3).for_each(|i| machine.write(&format!("packs/{i}"), noise(i + 10, 8 << 20)));
    let large = std::fs::File::options().write(true).open(machine.at("volume/large")).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&large, &[7; 4096], 1 << 20).expect("written");
    machine
}

/// Another Pod takes the vault over, and restores what is there.
fn claim(machine: &Machine, target: &str) -> String {
    let (code, text) = machine.restore(target, &["--claim", "--takeover=force"]);
    assert_eq!(code, 0, "{text}");
    text
}

fn rescue_in(text: &str) -> String {
    let name = text.split("rescue:").nth(1).map(|rest| rest.chars().take_while(|c| c.is_ascii_hexdigit() || "-/".contains(*c)));
    format!("rescue:{}", name.unwrap_or_else(|| panic!("no rescue is named: {text}")).collect::<String>())
}

fn sound(machine: &Machine) -> String {
    let mut said = String::new();
    for level in ["quick", "meta", "data"] {
        let check = machine.run(&["check", "-s", machine.path, "--level", level]);
        said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert_eq!(check.status.code(), Some(0), "{level}: {said}");
    }
    said
}

/// A machine with a rescue of its volume, and the rescue's name.
fn overtaken(s3: &S3) -> (Machine, String) {
    let machine = changed_volume(s3);
    let held = Held::push(&machine, s3, 1);
    claim(&machine, "newer");
    let (code, text) = held.let_go();
    assert_eq!(code, 6, "{text}");
    s3.heal();
    let name = rescue_in(&text);
    (machine, name)
}

#[test]
fn a_fenced_writer_leaves_its_tree_as_a_rescue_that_restores_exactly() {
    let s3 = S3::start();
    let (machine, name) = overtaken(&s3);
    assert!(machine.at("newer/goes").exists(), "the newer writer restored the last published state");
    sound(&machine);

    let text = machine.run(&["snapshots", "-s", machine.path]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.lines().any(|line| line.contains(&name) && line.contains("rescue")), "{text}");
    let json = machine.run(&["snapshots", "-s", machine.path, "--json"]).stdout;
    let lines: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("JSON");
    let line = lines.iter().find(|line| line["id"] == name.as_str()).expect("the rescue is listed");
    assert_eq!((line["flags"][0].as_str(), line["follows"].as_u64()), (Some("rescue"), Some(2)), "{line}");
    let listed = machine.run(&["ls", "-s", machine.path, "--at", &name]);
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.contains("dir/new") && listed.contains("packs/2") && !listed.contains("goes"), "{listed}");

    for again in ["once", "twice"] {
        let (code, text) = machine.restore("rescued", &["--at", &name]);
        assert!(code == 0 && text.contains(&name), "{again}: {text}");
        assert_same(&machine, "rescued");
    }
    by_the_second_reader(&machine, &s3, &name);

    // A rescue that was restored can be pushed, and is then the newest state.
    let (code, text) = told(&machine.run(&["sync-to-remote", "-s", "rescued", "-d", machine.path, "--takeover=force"]));
    assert_eq!(code, 0, "{text}");
    assert_eq!(machine.restore("newest", &[]).0, 0);
    assert_same(&machine, "newest");
    sound(&machine);
}

/// The vault as plain files, read without the program.
fn by_the_second_reader(machine: &Machine, s3: &S3, name: &str) {
    let Some(python) = std::env::var_os("IT_PYTHON") else { return };
    for key in s3.objects() {
        let path = machine.at("mirror").join(&key);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, s3.object(&key).expect("stored")).expect("a file");
    }
    let reader = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/read_vault.py");
    let mut command = machine.command(&[]);
    let key =
        command.get_envs().find(|(name, _)| *name == "ENCRYPTED_PASSWORD").and_then(|(_, key)| key).expect("a key").to_owned();
    command = std::process::Command::new(python);
    let folder = machine.at("mirror").join("some/path");
    let read = command.arg(reader).args([folder, machine.at("by-python")]).args(["--at", name]).env("ENCRYPTED_PASSWORD", key);
    let read = read.output().expect("python starts");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_same(machine, "by-python");
}

#[test]
fn a_damaged_or_exchanged_rescue_is_refused_by_name() {
    let s3 = S3::start();
    let (machine, name) = overtaken(&s3);
    // Another rescue of the same vault, of the writer that had taken over.
    machine.write("packs/3", noise(99, 8 << 20));
    std::fs::rename(machine.at("volume"), machine.at("first")).expect("moved");
    std::fs::rename(machine.at("newer"), machine.at("volume")).expect("moved");
    machine.write("packs/4", noise(98, 9 << 20));
    let held = Held::push(&machine, &s3, 0);
    claim(&machine, "newest");
    let (code, text) = held.let_go();
    assert_eq!(code, 6, "{text}");
    s3.heal();
    let other = rescue_in(&text);
    assert_ne!(name, other);
    let key = |name: &str| format!("some/path/fork/{}", name.trim_start_matches("rescue:"));
    let whole = s3.object(&key(&name)).expect("stored");
    let refused = |what: &str| {
        let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
        let said = String::from_utf8_lossy(&check.stdout);
        let file = key(&name).replace("some/path/", "");
        assert!(check.status.code() == Some(7) && said.contains(&file), "{what}: {said}");
        let (code, text) = machine.restore("refused", &["--at", &name]);
        let _ = std::fs::remove_dir_all(machine.at("refused"));
        (code, text.contains(&file), text)
    };
    for byte in [0, 9, 33, 41, 49, 57, 61, 70, 100, 127, 130, 200, 400] {
        let mut damaged = whole.to_vec();
        damaged[byte] ^= 4;
        s3.replace(&key(&name), damaged);
        let (code, named, text) = refused(&format!("byte {byte}"));
        assert!(code == 7 && named, "byte {byte}: {text}");
    }
    // Identities and padding are not needed to restore: what comes back is right, or is refused.
    for byte in [whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.to_vec();
        damaged[byte] ^= 4;
        s3.replace(&key(&name), damaged);
        let (code, named, text) = refused(&format!("byte {byte}"));
        assert!(code == 0 || named, "byte {byte}: {text}");
    }
    s3.replace(&key(&name), s3.object(&key(&other)).expect("stored"));
    let (code, named, text) = refused("another rescue under its name");
    assert!(code == 7 && named && text.contains("moved or replaced"), "{text}");
    s3.replace(&key(&name), whole);
    assert_eq!(machine.restore("healed", &["--at", &name]).0, 0);
    sound(&machine);
}

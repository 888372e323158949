//! Writers that are overtaken or killed in the middle of a push: what they had is kept or cleaned up, never in between.

use crate::machine::{Machine, assert_same, noise, picture, told, until};
use crate::s3::{Fault, S3, Seen, Verb};
use crate::tools::tool;
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
        let (before, mut passed) = (packs(s3).len(), 0);
        let held = Held::push_until(machine, s3, move |request| {
            let pack = matches!(request.verb, Verb::Put) && request.key.contains("/obj/");
            passed += usize::from(pack);
            (pack && passed > through).then_some(Fault::Status(503, "SlowDown"))
        });
        // Those that passed may still be on their way.
        until("what passed is stored", || packs(s3).len() >= before + through);
        held
    }

    /// A push that meets such faults until it is let go; it has come to that place when it is answered with "later".
    fn push_until(machine: &Machine, s3: &S3, mut fault: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) -> Held {
        let go = Arc::new(AtomicBool::new(false));
        let (reached, wait) = mpsc::channel();
        let let_go = Arc::clone(&go);
        s3.faults(move |request| match fault(request).filter(|_| !let_go.load(Ordering::SeqCst)) {
            Some(later @ Fault::Status(..)) => {
                let _ = reached.send(());
                later
            }
            Some(fault) => fault,
            None => Fault::None,
        });
        let args = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
        let child = machine.command(&args).stderr(Stdio::piped()).spawn().expect("the program starts");
        wait.recv_timeout(Duration::from_secs(30)).expect("it comes to that place");
        Held { child, go }
    }

    fn let_go(self) -> (i32, String) {
        self.go.store(true, Ordering::SeqCst);
        told(&self.child.wait_with_output().expect("it ends"))
    }

    fn kill(mut self, s3: &S3) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
        s3.heal();
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

fn packs(s3: &S3) -> Vec<String> {
    s3.objects().into_iter().filter(|key| key.contains("/obj/")).collect()
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

    // However many claims follow, what the rescue needs stays.
    for target in ["a", "b", "c"] {
        claim(&machine, target);
    }
    sound(&machine);
    assert_eq!(machine.restore("rescued later", &["--at", &name]).0, 0);
    assert_same(&machine, "rescued later");

    // A rescue that was restored can be pushed, and is then the newest state.
    let (code, text) = told(&machine.run(&["sync-to-remote", "-s", "rescued later", "-d", machine.path, "--takeover=force"]));
    assert_eq!(code, 0, "{text}");
    assert_eq!(machine.restore("newest", &[]).0, 0);
    assert_same(&machine, "newest");
    sound(&machine);
}

/// The vault as plain files, read without the program.
fn by_the_second_reader(machine: &Machine, s3: &S3, name: &str) {
    for key in s3.objects() {
        let path = machine.at("mirror").join(&key);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, s3.object(&key).expect("stored")).expect("a file");
    }
    let reader = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/read_vault.py");
    let mut command = machine.command(&[]);
    let key =
        command.get_envs().find(|(name, _)| *name == "ENCRYPTED_PASSWORD").and_then(|(_, key)| key).expect("a key").to_owned();
    command = std::process::Command::new(tool("IT_PYTHON"));
    let folder = machine.at("mirror").join("some/path");
    let read = command.arg(reader).args([folder, machine.at("by-python")]).args(["--at", name]).env("ENCRYPTED_PASSWORD", key);
    let read = read.output().expect("python starts");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_same(machine, "by-python");
}

#[test]
fn what_a_killed_push_left_is_gone_after_the_next_but_one_claim() {
    let s3 = S3::start();
    let machine = changed_volume(&s3);
    let before = packs(&s3);
    Held::push(&machine, &s3, 2).kill(&s3);
    let orphans: Vec<String> = packs(&s3).into_iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(orphans.len(), 2, "{orphans:?}");
    let folder = orphans[0].rsplit_once('/').expect("a folder").0;
    let foreign = [format!("{folder}/notes"), format!("{folder}/p+0000009"), "some/path/obj/00000001-0badcafe/p00000000".into()];
    foreign.iter().for_each(|key| s3.replace(key, "not ours"));

    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("epoch=2"), "the next process claims anew: {text}");
    assert!(orphans.iter().all(|key| s3.objects().contains(key)), "those of the previous epoch stay");
    let pushed = packs(&s3);
    // Listings come page by page.
    s3.page_size(2);
    let text = claim(&machine, "newer");
    s3.page_size(1000);
    assert!(text.contains("epoch=3") && text.contains("objects=2"), "{text}");
    let left: Vec<String> = pushed.into_iter().filter(|key| !orphans.contains(key)).collect();
    assert_eq!(packs(&s3), left, "exactly the orphans are gone");
    assert!(foreign.iter().all(|key| left.contains(key)));
    s3.remove(&foreign[2]);

    assert_same(&machine, "newer");
    assert!(!sound(&machine).contains("left by interrupted pushes"));
    assert_eq!(machine.restore("oldest", &["--at", "2"]).0, 0);
    assert!(machine.at("oldest/goes").exists() && !machine.at("oldest/packs").exists());
    let listed = machine.run(&["snapshots", "-s", machine.path]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("rescue"), "what closes a claim is no restore point");
    let listed = machine.run(&["snapshots", "-s", machine.path, "--all"]);
    assert!(String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.contains("rescue:") && line.contains("closed")));

    // The next push of the claim that looked through what was left says so, and the claim after it goes on from there.
    std::fs::write(machine.at("newer/more"), "more").expect("a file");
    let (code, text) = told(&machine.run(&["sync-to-remote", "-s", "newer", "-d", machine.path]));
    assert!(code == 0 && !text.contains("claimed"), "{text}");
    s3.forget_requests();
    let text = claim(&machine, "newest");
    assert!(text.contains("epoch=4") && !text.contains("objects="), "{text}");
    let swept = s3.requests().iter().filter(|seen| seen.key.contains("/obj") && matches!(seen.verb, Verb::List)).count();
    assert_eq!(swept, 2, "one listing of the claims, one of the only new one");
    assert!(s3.requests().iter().all(|seen| !matches!(seen.verb, Verb::Delete)));
}

#[test]
fn where_deletes_are_denied_orphans_stay_and_the_pass_succeeds() {
    let s3 = S3::start();
    let machine = changed_volume(&s3);
    Held::push(&machine, &s3, 2).kill(&s3);
    assert_eq!(machine.push(&[]).0, 0);
    s3.faults(|request| match request.verb {
        Verb::Delete => Fault::Status(403, "AccessDenied"),
        _ => Fault::None,
    });
    let stored = packs(&s3);
    for target in ["third", "fourth"] {
        s3.forget_requests();
        let text = claim(&machine, target);
        assert_eq!(text.matches("stays at the remote").count(), 1, "{text}");
        assert_eq!(s3.requests().iter().filter(|seen| matches!(seen.verb, Verb::Delete)).count(), 1);
        assert_same(&machine, target);
    }
    assert_eq!(packs(&s3), stored);
    assert!(sound(&machine).contains("2 objects left by interrupted pushes, harmless"));
    s3.heal();
    assert!(claim(&machine, "fifth").contains("objects=2"), "with the right to, they are removed");
    sound(&machine);
}

#[test]
fn a_writer_that_wakes_after_the_clean_up_leaves_no_broken_rescue() {
    let s3 = S3::start();
    let machine = changed_volume(&s3);
    let held = Held::push(&machine, &s3, 2);
    claim(&machine, "second");
    let text = claim(&machine, "third");
    assert!(text.contains("objects=2"), "{text}");
    let (code, text) = held.let_go();
    assert!(code == 6 && text.contains("only on its volume") && text.contains("cleaned up"), "{text}");
    sound(&machine);
    let listed = machine.run(&["snapshots", "-s", machine.path]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("rescue"), "nothing is offered that cannot be restored");
    assert_eq!(machine.restore("newest", &[]).0, 0);
    assert_eq!(picture(&machine.at("newest")), picture(&machine.at("third")));
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

#[test]
fn a_push_of_many_small_changes_that_was_killed_is_continued() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    // So small that they lie in their records, and so many and so oddly named that the records do not fit a commit.
    let name = |i: u64| -> String { noise(i * 2, 240).iter().map(|byte| char::from(b'0' + byte % 64)).collect() };
    let write = |seed: u64| (0..7400).for_each(|i| machine.write(&name(i), noise(i * 2 + seed, 126)));
    write(1);
    assert_eq!(machine.push(&[]).0, 0);
    write(1_000_001);
    // The part is stored, and the push does not come to know that.
    let mut stored = false;
    Held::push_until(&machine, &s3, move |request| match (request.verb, request.key.contains("/obj/")) {
        (Verb::Put, true) if !stored => {
            stored = true;
            Some(Fault::ApplyThenDrop)
        }
        (Verb::Put | Verb::Get, true) => Some(Fault::Status(503, "SlowDown")),
        _ => None,
    })
    .kill(&s3);
    assert_eq!(packs(&s3).len(), 2, "a part of each push: {:?}", packs(&s3));
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("claimed the vault"), "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");
}

#[test]
fn an_older_state_that_is_there_already_does_not_pass_for_the_newest() {
    let machine = Machine::local();
    for content in ["first", "second"] {
        machine.write("file", content);
        assert_eq!(machine.push(&[]).0, 0);
    }
    assert_eq!(machine.restore("older", &["--at", "2"]).0, 0);
    let (code, text) = machine.restore("older", &["--at", "2", "--claim", "--takeover=force"]);
    assert!(code == 0 && text.contains("already"), "{text}");
    let push = ["sync-to-remote", "-s", "older", "-d", machine.path, "--takeover=force"];
    let (code, text) = told(&machine.run(&push));
    assert!(code == 0 && text.contains("changed=1"), "it is pushed as a change of the newest state: {text}");
    assert_eq!(machine.restore("newest", &[]).0, 0);
    assert_eq!(std::fs::read_to_string(machine.at("newest/file")).expect("a file"), "first");
}

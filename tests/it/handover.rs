//! From one Pod to the next: the restore of an init container with `--claim`, beside a Pod that still ends.

use crate::machine::{Machine, picture, told};
use std::path::Path;

/// Restores as an init container does, with little patience.
fn start(machine: &Machine, target: &str) -> (i32, String) {
    machine.restore(target, &["--claim", "--takeover-timeout=1s"])
}

/// The last push of a Pod whose volume is this folder.
fn end(machine: &Machine, volume: &str) {
    let (code, text) = told(&machine.run(&["sync-to-remote", "-s", volume, "-d", machine.path]));
    assert_eq!(code, 0, "{text}");
}

fn stored(machine: &Machine) -> usize {
    machine.at("remote").read_dir().map_or(0, Iterator::count)
}

fn write(path: &Path) {
    std::fs::write(path, "a last word").expect("a file");
}

#[test]
fn a_pod_that_has_pushed_nothing_yet_is_waited_for() {
    let machine = Machine::local();
    let (code, text) = start(&machine, "first");
    assert!(code == 0 && text.contains("the remote is empty: nothing to restore"), "{text}");
    let (code, text) = start(&machine, "second");
    assert!(code == 3 && text.contains("test-host"), "the first Pod is still there: {text}");
    assert!(!machine.at("second/note").exists(), "nothing is restored beside it");
    write(&machine.at("first/note"));
    end(&machine, "first");
    let (code, text) = start(&machine, "second");
    assert_eq!(code, 0, "{text}");
    assert_eq!(picture(&machine.at("second")), picture(&machine.at("first")));
}

#[test]
fn a_volume_that_holds_something_is_claimed_for_an_empty_remote_and_pushed() {
    let machine = Machine::local();
    machine.write("note", "here before this program was");
    for round in ["first", "again"] {
        let (code, text) = start(&machine, "volume");
        assert_eq!(code, 0, "{round}: {text}");
    }
    end(&machine, "volume");
    assert_eq!(start(&machine, "next").0, 0);
    assert_eq!(picture(&machine.at("next")), picture(&machine.at("volume")));
}

#[test]
fn an_empty_remote_is_written_to_for_a_claim_and_for_nothing_else() {
    let machine = Machine::local();
    let part = machine.restore("part", &["--claim", "--include=some/**"]);
    for (code, text) in [machine.restore("reader", &[]), machine.restore("dry", &["--claim", "--dry-run"]), part] {
        assert_eq!((code, stored(&machine)), (0, 0), "{text}");
    }
    let (code, text) = machine.restore("strict", &["--claim", "--allow-empty=false"]);
    assert_eq!((code, stored(&machine)), (3, 0), "{text}");
    assert_eq!(start(&machine, "first").0, 0);
    assert!(stored(&machine) > 0);
}

//! A store that misbehaves, seen through the program: a push or a restore succeeds, or ends in time with an error that
//! says why. What it leaves is the old state, the new one, or a volume that nobody takes for whole.

mod listing;
mod toxics;

use crate::machine::{Machine, assert_same, noise, picture, told};
use crate::s3::{Fault, S3, Seen, Verb};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Picture = BTreeMap<PathBuf, String>;
type Faults = Box<dyn FnMut(&Seen) -> Fault + Send>;

/// What goes wrong, and how it may end.
struct Case {
    name: &'static str,
    faults: fn() -> Faults,
    codes: &'static [i32],
    says: &'static str,
    within: Duration,
}

/// With all tries.
const PATIENT: Duration = Duration::from_secs(60);
/// Without a second try.
const AT_ONCE: Duration = Duration::from_secs(8);

/// The first request of its kind for each key fails.
fn once(fault: Fault) -> Faults {
    let mut met = HashSet::new();
    Box::new(move |seen| if met.insert((seen.verb as u8, seen.key.clone())) { fault } else { Fault::None })
}

/// Each request of this kind fails.
fn each(verb: Verb, fault: Fault) -> Faults {
    Box::new(move |seen| if seen.verb == verb { fault } else { Fault::None })
}

/// Only requests of this kind for objects that are sealed, and read in parts.
fn sealed(verb: Verb, mut faults: Faults) -> Faults {
    Box::new(move |seen| {
        let part = seen.verb == verb && (seen.key.contains("/log/") || seen.key.contains("/obj/"));
        if part { faults(seen) } else { Fault::None }
    })
}

fn always(fault: Fault) -> Faults {
    Box::new(move |_| fault)
}

const CASES: &[Case] = &[
    Case { name: "503 bursts", faults: bursts, codes: &[0], says: "", within: PATIENT },
    Case { name: "resets", faults: || once(Fault::DropBefore), codes: &[0], says: "", within: PATIENT },
    Case { name: "lost answers", faults: || once(Fault::ApplyThenDrop), codes: &[0], says: "", within: PATIENT },
    Case { name: "cut bodies", faults: || once(Fault::TruncateBody(50)), codes: &[0], says: "", within: PATIENT },
    Case {
        name: "short parts",
        faults: || sealed(Verb::Get, once(Fault::WrongLength(50))),
        codes: &[0],
        says: "",
        within: PATIENT,
    },
    Case { name: "stalls", faults: || always(Fault::Stall(Duration::from_millis(150))), codes: &[0], says: "", within: PATIENT },
    Case {
        name: "slow first bytes",
        faults: || always(Fault::SlowFirstByte(Duration::from_millis(150))),
        codes: &[0],
        says: "",
        within: PATIENT,
    },
    Case {
        name: "errors for good",
        faults: || always(Fault::Status(500, "InternalError")),
        codes: &[5],
        says: "tried 8 times",
        within: PATIENT,
    },
    Case { name: "resets for good", faults: || always(Fault::DropBefore), codes: &[5], says: "tried 8 times", within: PATIENT },
    Case {
        name: "writes refused for good",
        faults: || sealed(Verb::Put, always(Fault::Status(500, "InternalError"))),
        codes: &[0, 5],
        says: "(tried 8 times); it may or may not have been stored",
        within: PATIENT,
    },
    Case {
        name: "reads cut for good",
        faults: || each(Verb::Get, Fault::TruncateBody(50)),
        codes: &[5],
        says: "tried 8 times",
        within: PATIENT,
    },
    Case {
        name: "short parts for good",
        faults: || sealed(Verb::Get, always(Fault::WrongLength(50))),
        codes: &[5],
        says: "another part than was asked for",
        within: PATIENT,
    },
    // Of a small file that is read whole only its content tells.
    Case {
        name: "short files for good",
        faults: || each(Verb::Get, Fault::WrongLength(50)),
        codes: &[7],
        says: "is not the JSON of a vault",
        within: PATIENT,
    },
    Case {
        name: "expired credentials",
        faults: || always(Fault::Status(400, "ExpiredToken")),
        codes: &[4],
        says: "supply fresh credentials",
        within: AT_ONCE,
    },
    Case {
        name: "a clock that is wrong",
        faults: || always(Fault::Status(403, "RequestTimeTooSkewed")),
        codes: &[4],
        says: "set the clock",
        within: AT_ONCE,
    },
];

/// Three requests in a row fail, then seven pass.
fn bursts() -> Faults {
    let mut count = 0u32;
    Box::new(move |_| {
        count += 1;
        if count % 10 < 3 { Fault::Status(503, "SlowDown") } else { Fault::None }
    })
}

/// A run under faults that ended well: its exit code.
type Under<'a> = &'a dyn Fn(&str, &dyn Fn() -> (i32, String)) -> i32;

impl Case {
    /// Runs under the faults and judges how it ended.
    fn run(&self, s3: &S3, what: &str, run: &dyn Fn() -> (i32, String)) -> i32 {
        s3.faults((self.faults)());
        let began = Instant::now();
        let (code, text) = run();
        let took = began.elapsed();
        s3.heal();
        assert!(self.codes.contains(&code), "{}, {what}: exit code {code}: {text}", self.name);
        assert!(code == 0 || text.contains(self.says), "{}, {what}: {text}", self.name);
        assert!(took < self.within, "{}, {what}: it took {took:?}", self.name);
        code
    }
}

fn first_state(machine: &Machine) {
    (0..30).for_each(|i| machine.write(&format!("d{}/f{i}", i % 3), noise(i, 2000)));
    machine.write("large", noise(7, 5 << 20));
}

fn second_state(machine: &Machine) {
    (0..30).step_by(2).for_each(|i| machine.write(&format!("d{}/f{i}", i % 3), noise(i + 100, 3000)));
    std::fs::remove_dir_all(machine.at("volume/d1")).expect("removed");
    machine.write("large", noise(8, 5 << 20));
}

/// A store with two states of a volume, made once and copied for each case.
struct Template {
    s3: S3,
    machine: Machine,
    older: Picture,
    newer: Picture,
}

impl Template {
    fn new() -> Template {
        let s3 = S3::start();
        let machine = Machine::s3(&s3);
        first_state(&machine);
        assert_eq!(machine.push(&[]).0, 0);
        let older = picture(&machine.at("volume"));
        second_state(&machine);
        assert_eq!(machine.push(&[]).0, 0);
        let newer = picture(&machine.at("volume"));
        Template { s3, machine, older, newer }
    }

    /// A store and a machine of its own, with `volume` at the newer state.
    fn copy(&self) -> (S3, Machine) {
        let s3 = self.s3.copy();
        let machine = self.machine.beside(&s3);
        let (code, text) = machine.restore("volume", &[]);
        assert_eq!(code, 0, "{text}");
        (s3, machine)
    }
}

/// A push of a changed volume that was at the state `before`.
fn push_is_sound(name: &str, machine: &Machine, before: &Picture, under: Under<'_>) {
    let after = picture(&machine.at("volume"));
    let code = under("push", &|| machine.push(&[]));
    assert_eq!(machine.restore("seen", &[]).0, 0);
    let seen = picture(&machine.at("seen"));
    assert!(seen == after || (code != 0 && seen == *before), "{name}: the remote holds no state that was there");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{name}: {text}");
    assert_eq!(machine.restore("next", &[]).0, 0);
    assert_same(machine, "next");
}

/// A restore of the older state into a target that is empty or at the newer one.
fn restore_is_sound(name: &str, machine: &Machine, target: &str, (older, newer): (&Picture, &Picture), under: Under<'_>) {
    if under(target, &|| machine.restore(target, &["--at", "2"])) != 0 {
        let untouched = machine.at(target).exists() && picture(&machine.at(target)) == *newer;
        let args = ["sync-to-remote", "-s", target, "-d", machine.path, "--takeover=force"];
        let (code, text) = told(&machine.run(&args));
        assert!([2, 3].contains(&code) || untouched, "{name}: what is not whole was pushed: {code} {text}");
        let (code, text) = machine.restore(target, &["--at", "2"]);
        assert_eq!(code, 0, "{name}: {text}");
    }
    assert_eq!(picture(&machine.at(target)), *older, "{name}, {target}");
}

fn pushed_under(case: &Case, template: &Template) {
    let (s3, machine) = template.copy();
    first_state(&machine);
    push_is_sound(case.name, &machine, &template.newer, &|what, run| case.run(&s3, what, run));
}

fn restored_under(case: &Case, template: &Template, target: &str) {
    let (s3, machine) = template.copy();
    let states = (&template.older, &template.newer);
    restore_is_sound(case.name, &machine, target, states, &|what, run| case.run(&s3, what, run));
}

#[test]
fn a_push_or_a_restore_under_faults_succeeds_or_ends_in_time_with_a_reason() {
    let template = &Template::new();
    std::thread::scope(|scope| {
        for case in CASES {
            scope.spawn(|| pushed_under(case, template));
            scope.spawn(|| restored_under(case, template, "empty"));
            scope.spawn(|| restored_under(case, template, "volume"));
        }
    });
}

#[test]
fn wherever_a_restore_breaks_off_its_volume_is_not_pushed_and_is_continued() {
    let Template { s3, machine, older, newer } = Template::new();
    let mut broken = 0;
    for last in 0.. {
        // From a state that was restored whole back to an older one, until the credentials expire.
        let target = format!("target-{last}");
        assert_eq!(machine.restore(&target, &[]).0, 0);
        s3.forget_requests();
        s3.faults(move |seen| if seen.ordinal < last { Fault::None } else { Fault::Status(400, "ExpiredToken") });
        let (code, text) = machine.restore(&target, &["--at", "2"]);
        s3.heal();
        if code == 0 {
            assert_eq!(picture(&machine.at(&target)), older);
            break;
        }
        assert!(code == 4 && text.contains("fresh credentials"), "request {last}: {text}");
        let half = picture(&machine.at(&target));
        if half != newer {
            broken += 1;
            let args = ["sync-to-remote", "-s", &target, "-d", machine.path, "--takeover=force"];
            let (code, text) = told(&machine.run(&args));
            assert!(code == 3 && text.contains("begun and not finished"), "request {last}: {code} {text}");
        }
        assert_eq!(machine.restore(&target, &["--at", "2"]).0, 0);
        assert_eq!(picture(&machine.at(&target)), older, "request {last}");
    }
    assert!(broken >= 2, "{broken} restores broke off half-way");
}

#[test]
fn a_half_restored_volume_is_pushed_only_by_force_and_is_whole_then() {
    let Template { s3, machine, .. } = Template::new();
    s3.faults(|seen| if seen.key.contains("/obj/") { Fault::Status(400, "ExpiredToken") } else { Fault::None });
    let (code, text) = machine.restore("volume", &["--at", "2"]);
    s3.heal();
    assert_eq!(code, 4, "{text}");
    let (code, text) = machine.push(&[]);
    assert!(code == 3 && text.contains("begun and not finished"), "{code} {text}");
    assert_eq!(machine.push(&["-f"]).0, 0);
    machine.write("new", "written after the push by force");
    assert_eq!(machine.restore("volume", &[]).0, 0);
    assert!(machine.at("volume/new").exists(), "the old restore is over");
    assert_eq!(machine.push(&[]).0, 0);
}

//! What users of riotkit-org/volume-syncing-controller have written down works here, or says what to write instead.

mod configuration;
mod differences;
mod environment;
mod examples;
mod flags;
mod mended;
mod schedule;

use crate::machine::{Machine, told};
use crate::s3::S3;
use std::path::Path;

/// At the in-process store, and at a real one where one is named. The machines have no key.
fn everywhere(check: impl Fn(Machine)) {
    let s3 = S3::start();
    check(Machine::s3(&s3).without_key());
    if let Some(real) = Machine::real() {
        check(real.without_key());
    }
}

fn runs(machine: &Machine, args: &[&str]) -> (i32, String) {
    told(&machine.run(args))
}

/// Runs it, and says what was said when it did not end well.
#[track_caller]
fn goes(machine: &Machine, args: &[&str]) -> String {
    let (code, text) = runs(machine, args);
    assert_eq!(code, 0, "{args:?}: {text}");
    text
}

/// Runs it, and says how it was refused.
#[track_caller]
fn fails(machine: &Machine, args: &[&str], expected: i32) -> String {
    let (code, text) = runs(machine, args);
    assert_eq!(code, expected, "{args:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// A value of the machine's environment.
fn given(machine: &Machine, name: &str) -> String {
    let found = machine.remote.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).expect("a store has it")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

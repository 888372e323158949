//! The sidecar as a process: the built binary, real signals, and stores that are slow, away or somebody else's.

mod beside;
mod ends;
mod hears;
mod kills;
mod quiet;
mod remote;
mod times;

use crate::machine::{Machine, Running};
use crate::s3::{S3, Seen, Verb};

/// A machine whose volume lies in memory and whose remote is the store; a file is on it.
fn machine(s3: &S3) -> Machine {
    let machine = Machine::s3(s3).in_memory();
    machine.write("first", "there before the sidecar");
    machine
}

/// A store, such a machine, and its sidecar after a first push.
fn begun(more: &[&str]) -> (S3, Machine, Running) {
    let s3 = S3::start();
    let machine = machine(&s3);
    let running = machine.sidecar(more);
    running.has_pushed(1);
    (s3, machine, running)
}

/// Whether a request stores content or a commit, not the vault's own beginning.
fn stores(seen: &Seen) -> bool {
    seen.verb == Verb::Put && (seen.key.contains("/log/") || seen.key.contains("/obj/"))
}

fn commits(s3: &S3) -> usize {
    s3.objects().iter().filter(|key| key.contains("/log/")).count()
}

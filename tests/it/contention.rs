//! Two writers at one vault, a thousand commits long: one history, nothing acknowledged is lost, and whoever was
//! overtaken notices with its next commit.

use crate::machine::{Machine, assert_same};
use crate::s3::{Fault, S3, Verb};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::store::Fencing;
use volume_syncing_controller::vault::directory::{Directory, Flags};
use volume_syncing_controller::vault::error::VaultError;
use volume_syncing_controller::vault::open::{Presence, Vault, create, open};
use volume_syncing_controller::vault::writer::{Takeover, Writer, WriterName};

const COMMITS: usize = 1000;

/// What both writers see of each other.
#[derive(Default)]
struct Between {
    /// Acknowledged commits of both, claims included.
    acknowledged: AtomicUsize,
    /// The newest epoch whose claim was acknowledged.
    claimed: AtomicU32,
}

/// What one writer was told.
#[derive(Default)]
struct Told {
    /// Number, hash and label of each acknowledged commit.
    acknowledged: Vec<(u64, [u8; 32], String)>,
    fenced: usize,
    /// Publishes that began after the other's claim was acknowledged.
    stale: usize,
}

impl Told {
    fn note(&mut self, writer: &Writer, between: &Between) {
        between.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.acknowledged.push((writer.base.seq, writer.base.hash, writer.name.pod.clone()));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn opened(machine: &Machine) -> Vault {
    match open(&machine.bucket(), &machine.unlocker(), &Stop::new()).await.expect("an answer") {
        Presence::Vault(vault, _) => *vault,
        Presence::ProvenEmpty => panic!("the vault was made before"),
    }
}

/// Claims and publishes in turn until both writers together have enough.
async fn contend(machine: &Machine, who: &str, between: &Between) -> Told {
    let stop = Stop::new();
    let vault = opened(machine).await;
    let mut told = Told::default();
    let mut round = 0u32;
    while between.acknowledged.load(Ordering::SeqCst) < COMMITS {
        round += 1;
        let head = vault.head(None, &stop).await.expect("a head");
        let name = WriterName { id: [who.len() as u8; 16], pod: format!("{who} claims {round}") };
        let mut writer = match Writer::claim(&vault, head, name, Fencing::Strict, Takeover::Force, &stop).await {
            Ok((writer, _)) => writer,
            // The other publishes without a pause, as no push could: it is tried again.
            Err(VaultError::Contended { .. }) => continue,
            Err(error) => panic!("neither claimed nor overtaken: {error}"),
        };
        between.claimed.fetch_max(writer.claim.epoch, Ordering::SeqCst);
        told.note(&writer, between);
        // Some hold the vault for a while, some only for a moment.
        let mut holds = true;
        for number in 0..[1, 3, 7, 15][round as usize % 4] {
            writer.name.pod = format!("{who} {round}.{number}");
            holds = holds && publish(&mut writer, between, &mut told).await;
        }
        if holds && round.is_multiple_of(2) {
            let newer = || between.claimed.load(Ordering::SeqCst) > writer.claim.epoch;
            let began = std::time::Instant::now();
            while !newer() && between.acknowledged.load(Ordering::SeqCst) < COMMITS {
                assert!(began.elapsed() < std::time::Duration::from_secs(60), "the other writer is gone");
                std::thread::yield_now();
            }
            writer.name.pod = format!("{who} {round} wakes up");
            publish(&mut writer, between, &mut told).await;
        }
    }
    told
}

/// One commit; false when the writer is fenced. A writer that was overtaken before it began must be.
async fn publish(writer: &mut Writer, between: &Between, told: &mut Told) -> bool {
    let stop = Stop::new();
    let overtaken = between.claimed.load(Ordering::SeqCst) > writer.claim.epoch;
    told.stale += usize::from(overtaken);
    let directory = Directory { flags: Flags::RELEASE, ..writer.directory() };
    match writer.publish_empty(directory, &stop).await {
        Ok(()) => {
            assert!(!overtaken, "epoch {} published commit {} after it was overtaken", writer.claim.epoch, writer.base.seq);
            told.note(writer, between);
            true
        }
        Err(VaultError::Fenced { epoch, ours, .. }) => {
            assert!(epoch > ours, "fenced by epoch {epoch}, ours is {ours}");
            told.fenced += 1;
            let directory = Directory { flags: Flags::RELEASE, ..writer.directory() };
            let again = writer.publish_empty(directory, &stop).await;
            assert!(matches!(again, Err(VaultError::Fenced { .. })), "once fenced, always fenced: {again:?}");
            false
        }
        Err(error) => panic!("neither published nor fenced: {error}"),
    }
}

/// The log from its first commit to its last.
async fn history(vault: &Vault) -> Vec<(u64, [u8; 32], String)> {
    let stop = Stop::new();
    let newest = vault.head(None, &stop).await.expect("a head").expect("there are commits").seq;
    let (mut all, mut before, mut epoch) = (Vec::new(), [0; 32], 0);
    for seq in 1..=newest {
        let commit = vault.commit(seq, &stop).await.expect("no number is left out");
        let directory = commit.directory();
        assert_eq!(directory.previous, before, "commit {seq} continues the one before it");
        assert!(directory.epoch >= epoch, "commit {seq} is of epoch {}, after epoch {epoch}", directory.epoch);
        (before, epoch) = (commit.hash, directory.epoch);
        all.push((seq, commit.hash, directory.labels.pod.clone()));
    }
    let beyond = vault.try_commit(newest + 1, &stop).await;
    assert!(beyond.expect("an answer").is_none());
    all
}

fn two_writers_at(machine: &Machine) {
    runtime().block_on(async {
        create(&machine.bucket(), &machine.unlocker(), &Stop::new()).await.expect("a vault");
    });
    let between = Between::default();
    let told = std::thread::scope(|scope| {
        let (machine, between) = (&*machine, &between);
        let threads = ["one", "other"].map(|who| scope.spawn(move || runtime().block_on(contend(machine, who, between))));
        threads.map(|thread| thread.join().expect("a writer"))
    });
    let log = runtime().block_on(async { history(&opened(machine).await).await });
    let acknowledged: Vec<_> = told.iter().flat_map(|told| &told.acknowledged).collect();
    assert!(acknowledged.len() >= COMMITS, "{} commits", acknowledged.len());
    for commit in &acknowledged {
        assert!(log.contains(commit), "acknowledged, and not in the log: {commit:?}");
    }
    // Two acknowledged commits of one number could not both be in the log, so none was given twice.
    assert_eq!(log.len(), acknowledged.len(), "nothing is in the log that nobody was told of");
    for Told { acknowledged, fenced, stale } in &told {
        let commits = acknowledged.len();
        assert!(
            commits > COMMITS / 10 && *fenced > 10 && *stale > 10,
            "{commits} commits, {fenced} fences, {stale} of them stale"
        );
    }
    converges(machine);
}

/// A plain run takes over from both, and the vault is sound.
fn converges(machine: &Machine) {
    machine.write("file", "after the contest");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(machine, "restored");
    let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn of_two_writers_contending_for_a_thousand_commits_none_loses_one_in_a_folder() {
    two_writers_at(&Machine::local());
}

#[test]
fn of_two_writers_contending_for_a_thousand_commits_none_loses_one_in_a_store_that_loses_answers() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    let mut puts = 0u64;
    s3.faults(move |seen| {
        puts += u64::from(seen.verb == Verb::Put);
        if seen.verb == Verb::Put && puts.is_multiple_of(7) { Fault::ApplyThenDrop } else { Fault::None }
    });
    two_writers_at(&machine);
}

#[test]
fn of_two_writers_contending_for_a_thousand_commits_none_loses_one_in_a_real_store() {
    if let Some(machine) = Machine::real() {
        two_writers_at(&machine);
    }
}

//! The commit protocol of the vault, explored exhaustively for small numbers of everything.
//!
//! **Modelled.** Two writers, each with a volume of its own; claim, push, merge (a base folded in the background and
//! announced by a later commit) and condemn; a store that creates if absent; creates that are delayed without bound,
//! duplicated, dropped, or whose answer is lost; read-back and sending the same bytes again; pauses anywhere between
//! two steps; crashes at every step, with the intent record on disk before the create and the receipt after the
//! acknowledgement, and a restart that adopts its own commit at the head or claims; log keys deleted below the floor
//! once T_fence has passed; a condemned object deleted after its grace; packs stored before their commit, rescues of fenced
//! writers, and orphans deleted by later claims, also long after they were sent; a reader that lists once and then fetches
//! commit by commit. Besides that reader, an observer looks at the whole store after every create.
//!
//! **Abstracted.** Sealing, names and contents: a commit is its salt, `prev` compares salts, a hash never collides.
//! One object stands for all that packs hold, and packs are there before the commit. A merge folds correctly. Reading
//! the head is one step for a writer, because the chain it verifies never changes at a seq; only the reader is torn.
//! T_fence is one event that ages every key and every confirmation together, which is all the rule needs: a key above
//! a confirmed head was created after the confirmation, so it grows old no sooner. It is also the grace of an object.
//! The take-over policy is `force`: waiting only removes behaviours. A writer that was fenced stays so until it
//! restarts.
//!
//! **Not covered.** A store that breaks create-if-absent (`detect` mode) or serves stale listings; restore points
//! and repacking (I4 only for what the head needs); salts, counters and keys (I7, `key_gen` of
//! I10); a compromised writer (I8); RELEASE, PROGRESS and REVERT commits; the receipt handed from init container to
//! sidecar; a clock that runs wrong. More than two writers, or more trouble at once than the budgets below allow.
//!
//! **What would break it.** Each mutation leaves out one rule, and its test demands that the checker finds the loss.
//! Beyond them: two volumes with one receipt, a key deleted at or above the floor, a base announced without what it
//! folded, or sending other bytes for a seq whose first create may still be on its way, without a claim in between.
//!
//! Every step spends from a budget or brings a commit further, so the graphs are finite and have no cycles; `eventually`
//! is checked along the paths and, independently of them, as "no state without a way out leaves a push undone".

mod laws;
mod orphans;
mod protocol;
mod world;

use laws::{
    ACKED_STAYS, ADOPTION, BOTH_PUSHED, CONDEMNED_STAYS_DEAD, FENCED_STOPS, FENCING, KEY_GONE, LONE_COMMITS, LONE_NEVER_STUCK,
    LOST_ACK, NO_FALSE_ALARM, NO_USURPER, NOTHING_MISSING, OBJECT_GONE, ONE_COMMIT_A_SEQ, ONE_WRITER_AN_EPOCH, ORPHAN_GONE,
    READ_THROUGH, REPLANNED, RESCUED, RESCUES_WHOLE, RESURRECTION, TOO_LATE, USED_STAYS,
};
use protocol::{Beginning, Mutation, Protocol};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::time::Instant;
use world::Budget;

/// The designed protocol keeps every law in this configuration, and every sight named is really reached.
fn keeps_the_laws(protocol: Protocol, sights: &[&'static str]) {
    let began = Instant::now();
    let checker = protocol.checker().spawn_bfs().join();
    eprintln!("{} states, depth {}, {:?}", checker.unique_state_count(), checker.max_depth(), began.elapsed());
    for law in checker.model().properties() {
        if law.expectation != Expectation::Sometimes {
            checker.assert_no_discovery(law.name);
        }
    }
    for sight in sights {
        checker.assert_any_discovery(sight);
    }
}

/// With one rule left out, the checker finds a way to break this law.
fn breaks(protocol: Protocol, law: &'static str) {
    let began = Instant::now();
    let finish = HasDiscoveries::AllOf([law].into());
    let checker = protocol.checker().finish_when(finish).spawn_bfs().join();
    let steps = checker.assert_any_discovery(law).into_actions();
    eprintln!("{} states, {} steps, {:?}: {steps:?}", checker.unique_state_count(), steps.len(), began.elapsed());
}

/// A writer that owns the vault and a Pod about to take over, one push each; no trouble yet but pauses and delays.
fn handover(mutation: Mutation) -> Protocol {
    Protocol { beginning: Beginning::FirstOwns, mutation, pushes: [1, 1], object: false, budget: Budget::default() }
}

/// A handover in which the newer writer raises the floor, so that keys the older one still aims at are deleted.
fn long_pause(mutation: Mutation) -> Protocol {
    let budget = Budget { merges: 1, elapses: 1, timeouts: 1, ..Budget::default() };
    Protocol { pushes: [1, 0], budget, ..handover(mutation) }
}

/// The same with a reader, and one commit more, so that a listing can see the contested key as part of the tail.
fn reading(mutation: Mutation) -> Protocol {
    let budget = Budget { merges: 1, elapses: 1, reads: 2, ..Budget::default() };
    Protocol { pushes: [1, 1], budget, ..handover(mutation) }
}

/// One Pod, with as much bad luck as a network and a node usually have.
fn alone(mutation: Mutation) -> Protocol {
    let budget = Budget { crashes: 1, timeouts: 2, drops: 1, duplicates: 1, elapses: 1, ..Budget::default() };
    Protocol { beginning: Beginning::Alone, pushes: [1, 0], budget, ..handover(mutation) }
}

fn with_object(mutation: Mutation) -> Protocol {
    let budget = Budget { condemns: 1, elapses: 1, timeouts: 1, ..Budget::default() };
    Protocol { object: true, budget, ..handover(mutation) }
}

/// A handover in the middle of pushes that store packs first, and one crash, after which a third epoch is claimed.
fn with_packs(mutation: Mutation) -> Protocol {
    let budget = Budget { crashes: 1, uploads: 2, sweeps: 1, ..Budget::default() };
    Protocol { budget, ..handover(mutation) }
}

#[test]
fn two_pods_that_start_at_once_end_with_one_owner() {
    let budget = Budget { timeouts: 1, duplicates: 1, ..Budget::default() };
    keeps_the_laws(
        Protocol { beginning: Beginning::AllDown, budget, ..handover(Mutation::None) },
        &[FENCING, LOST_ACK, BOTH_PUSHED],
    );
}

#[test]
fn a_handover_with_crashes_and_lost_answers_loses_no_acknowledged_push() {
    let budget = Budget { crashes: 1, timeouts: 1, duplicates: 1, ..Budget::default() };
    keeps_the_laws(Protocol { budget, ..handover(Mutation::None) }, &[FENCING, ADOPTION, LOST_ACK, BOTH_PUSHED]);
}

#[test]
fn a_crash_around_a_long_pause_loses_no_acknowledged_push() {
    let budget = Budget { crashes: 1, elapses: 1, merges: 1, ..Budget::default() };
    let protocol = Protocol { pushes: [1, 0], budget, ..handover(Mutation::None) };
    keeps_the_laws(protocol, &[FENCING, ADOPTION, RESURRECTION, KEY_GONE]);
}

#[test]
fn crashing_twice_during_a_handover_loses_no_acknowledged_push() {
    let budget = Budget { crashes: 2, ..Budget::default() };
    keeps_the_laws(Protocol { budget, ..handover(Mutation::None) }, &[FENCING, ADOPTION, BOTH_PUSHED]);
}

#[test]
fn a_create_that_arrives_after_its_key_was_deleted_is_never_acknowledged() {
    keeps_the_laws(long_pause(Mutation::None), &[FENCING, RESURRECTION, KEY_GONE]);
}

#[test]
fn a_reader_that_walks_the_log_during_deletion_accepts_only_the_chain() {
    keeps_the_laws(reading(Mutation::None), &[RESURRECTION, READ_THROUGH, REPLANNED]);
}

#[test]
fn a_condemned_object_is_deleted_and_never_missed() {
    keeps_the_laws(with_object(Mutation::None), &[OBJECT_GONE, FENCING, BOTH_PUSHED]);
}

#[test]
fn what_is_cleaned_up_is_missed_by_no_commit_and_no_rescue() {
    keeps_the_laws(with_packs(Mutation::None), &[ORPHAN_GONE, RESCUED, TOO_LATE, FENCING, BOTH_PUSHED]);
    let budget = Budget { crashes: 1, uploads: 2, sweeps: 1, timeouts: 1, ..Budget::default() };
    keeps_the_laws(Protocol { budget, ..handover(Mutation::None) }, &[ORPHAN_GONE, RESCUED, TOO_LATE, LOST_ACK]);
}

#[test]
fn a_lone_writer_commits_whatever_it_meets() {
    keeps_the_laws(alone(Mutation::None), &[ADOPTION, LOST_ACK]);
}

#[test]
fn without_the_claim_the_old_pod_wins() {
    let protocol = || Protocol { beginning: Beginning::AllDown, ..handover(Mutation::NoClaim) };
    breaks(protocol(), NO_USURPER);
    breaks(protocol(), ONE_WRITER_AN_EPOCH);
    breaks(protocol(), NO_FALSE_ALARM);
}

#[test]
fn without_t_fence_a_resurrected_key_is_acknowledged() {
    breaks(long_pause(Mutation::NoFenceTime), ACKED_STAYS);
}

#[test]
fn keys_that_may_go_at_once_are_enough_to_lose_an_acknowledged_push() {
    breaks(long_pause(Mutation::KeysGoAtOnce), ACKED_STAYS);
}

#[test]
fn looking_at_the_age_before_the_create_only_is_enough_to_lose_an_acknowledged_push() {
    breaks(long_pause(Mutation::AgeCheckedBeforeCreateOnly), ACKED_STAYS);
}

#[test]
fn dedup_into_condemned_objects_refers_to_what_is_deleted() {
    breaks(with_object(Mutation::DedupIntoCondemned), CONDEMNED_STAYS_DEAD);
    breaks(with_object(Mutation::DedupIntoCondemned), NOTHING_MISSING);
}

#[test]
fn taking_an_existing_key_for_our_own_acknowledges_what_is_not_there() {
    breaks(handover(Mutation::ExistsIsSuccess), ACKED_STAYS);
    breaks(Protocol { pushes: [2, 0], ..handover(Mutation::ExistsIsSuccess) }, FENCED_STOPS);
}

#[test]
fn taking_an_existing_key_for_a_foreign_one_stops_a_lone_writer() {
    breaks(alone(Mutation::ExistsIsForeign), LONE_NEVER_STUCK);
}

#[test]
fn taking_a_timeout_for_success_acknowledges_what_is_not_there() {
    let budget = Budget { timeouts: 1, ..Budget::default() };
    breaks(Protocol { budget, ..handover(Mutation::TimeoutIsSuccess) }, ACKED_STAYS);
}

#[test]
fn a_writer_that_does_not_send_again_may_never_commit() {
    breaks(alone(Mutation::NeverResends), LONE_COMMITS);
    breaks(alone(Mutation::NeverResends), LONE_NEVER_STUCK);
}

#[test]
fn a_restart_that_forgets_a_create_on_its_way_meets_its_own_ghost() {
    breaks(alone(Mutation::TrustsReceiptOverIntent), NO_FALSE_ALARM);
}

#[test]
fn a_reader_that_does_not_verify_the_chain_accepts_a_resurrected_commit() {
    breaks(reading(Mutation::ReaderSkipsPrev), ONE_COMMIT_A_SEQ);
}

#[test]
fn cleaning_up_what_is_unused_now_takes_what_a_commit_is_about_to_use() {
    breaks(with_packs(Mutation::SweepsWhatIsUnusedNow), USED_STAYS);
}

#[test]
fn cleaning_up_without_closing_the_claim_takes_what_a_late_rescue_needs() {
    breaks(with_packs(Mutation::SweepsWithoutClosing), RESCUES_WHOLE);
    breaks(with_packs(Mutation::SweepsRescues), RESCUES_WHOLE);
}

#[test]
fn a_counter_that_leaves_out_the_commits_own_packs_gives_them_up() {
    breaks(with_packs(Mutation::CountsTooLow), USED_STAYS);
}

#[test]
fn referring_to_what_a_crash_left_refers_to_what_is_cleaned_up() {
    breaks(with_packs(Mutation::RefersToLeftovers), USED_STAYS);
}

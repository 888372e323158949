//! The invariants, and the sights that show a configuration is not vacuous.

use crate::model::orphans;
use crate::model::protocol::Protocol;
use crate::model::world::{Fork, Kind, Phase, World};
use stateright::{Model, Property};

pub const ONE_COMMIT_A_SEQ: &str = "I1: at most one commit is ever visible at a seq";
pub const FOLLOWABLE: &str = "I1: a chain can be followed from the head to its base";
pub const EPOCHS_RISE: &str = "I2: epochs never fall along the chain, and a claim raises them";
pub const ONE_WRITER_AN_EPOCH: &str = "I2: an epoch has one writer";
pub const NO_USURPER: &str = "I2: once a newer writer is ready, the older one publishes nothing";
pub const ACKED_STAYS: &str = "I3: every acknowledged push is in the chain of every later head";
pub const NOTHING_MISSING: &str = "I4: what the head needs is there";
pub const CONDEMNED_STAYS_DEAD: &str = "I5: what was condemned is never referred to later";
pub const USED_STAYS: &str = "I6: what a published commit refers to is never cleaned up";
pub const RESCUES_WHOLE: &str = "I6: a rescue has what it refers to";
pub const FENCED_STOPS: &str = "I9: a writer whose create met a newer owner seals nothing more";
pub const NO_FALSE_ALARM: &str = "no writer reports a store broken that is not";
pub const LONE_COMMITS: &str = "I11: a lone writer commits";
pub const LONE_NEVER_STUCK: &str = "I11: a lone writer is never stuck with a push undone";

pub const FENCING: &str = "a writer is fenced";
pub const RESURRECTION: &str = "a deleted key is created again";
pub const ADOPTION: &str = "a restarted writer adopts its own commit";
pub const LOST_ACK: &str = "a read-back finds our own bytes";
pub const KEY_GONE: &str = "a log key is deleted";
pub const OBJECT_GONE: &str = "a condemned object is deleted";
pub const READ_THROUGH: &str = "a reader follows a merged chain to its base";
pub const REPLANNED: &str = "a reader plans again";
pub const ORPHAN_GONE: &str = "an orphan is deleted";
pub const RESCUED: &str = "a rescue is left";
pub const TOO_LATE: &str = "a claim is closed before its writer leaves a rescue";
pub const BOTH_PUSHED: &str = "both writers' pushes are acknowledged";

type Law = Property<Protocol>;

pub fn all() -> Vec<Law> {
    vec![
        Law::always(ONE_COMMIT_A_SEQ, |_, world| !world.notes.forked),
        Law::always(FOLLOWABLE, |_, world| world.tail().is_some()),
        Law::always(EPOCHS_RISE, |_, world| epochs_rise(world)),
        Law::always(ONE_WRITER_AN_EPOCH, |_, world| one_writer_an_epoch(world)),
        Law::always(NO_USURPER, |_, world| !world.notes.usurped),
        Law::always(ACKED_STAYS, |_, world| world.view().is_some_and(|view| world.acked & !view.holds == 0)),
        Law::always(NOTHING_MISSING, |_, world| world.object || !world.published.iter().any(|c| c.uses_object())),
        Law::always(CONDEMNED_STAYS_DEAD, |_, world| condemned_stays_dead(world)),
        Law::always(USED_STAYS, |_, world| orphans::commits_are_whole(world)),
        Law::always(RESCUES_WHOLE, |_, world| orphans::rescues_are_whole(world)),
        Law::always(FENCED_STOPS, |_, world| !world.notes.ran_on),
        Law::always(NO_FALSE_ALARM, |_, world| world.writers.iter().all(|w| w.phase != Phase::Alarmed)),
        Law::eventually(LONE_COMMITS, |model, world| !model.lone() || world.acked != 0),
        Law::always(LONE_NEVER_STUCK, |model, world| !model.lone() || all_pushed(world) || can_move(model, world)),
        Law::sometimes(FENCING, |_, world| world.writers.iter().any(|w| w.phase == Phase::Fenced)),
        Law::sometimes(RESURRECTION, |_, world| world.notes.resurrected),
        Law::sometimes(ADOPTION, |_, world| world.notes.adopted),
        Law::sometimes(LOST_ACK, |_, world| world.notes.recovered),
        Law::sometimes(KEY_GONE, |_, world| world.log.iter().any(Option::is_none)),
        Law::sometimes(OBJECT_GONE, |model, world| model.object && !world.object),
        Law::sometimes(READ_THROUGH, |_, world| world.notes.read_through && world.head().base.through > 0),
        Law::sometimes(REPLANNED, |_, world| world.notes.replanned),
        Law::sometimes(ORPHAN_GONE, |_, world| world.notes.swept),
        Law::sometimes(RESCUED, |_, world| world.forks.iter().any(|fork| matches!(fork, Fork::Rescue(_)))),
        Law::sometimes(TOO_LATE, |_, world| world.notes.too_late),
        Law::sometimes(BOTH_PUSHED, |_, world| world.acked & 0xffff != 0 && world.acked >> 16 != 0),
    ]
}

fn epochs_rise(world: &World) -> bool {
    world.published.windows(2).all(|pair| {
        let (below, above) = (pair[0], pair[1]);
        if above.kind == Kind::Claim { above.epoch > below.epoch } else { above.epoch == below.epoch }
    })
}

fn one_writer_an_epoch(world: &World) -> bool {
    let owned = world.published.iter().skip(1);
    owned.clone().all(|one| owned.clone().all(|other| one.epoch != other.epoch || one.writer() == other.writer()))
}

fn condemned_stays_dead(world: &World) -> bool {
    world.published.windows(2).all(|pair| !(pair[0].condemned && (pair[1].uses_object() || !pair[1].condemned)))
}

fn all_pushed(world: &World) -> bool {
    world.acked != 0 && world.writers[0].pushes_left == 0 && world.writers[0].phase == Phase::Ready
}

/// Whether anything can still happen. Every step spends from a budget or brings a commit further, so the graph has no
/// cycle, and "never stuck" says the same as "eventually" without depending on which path a state was reached by.
fn can_move(model: &Protocol, world: &World) -> bool {
    let mut steps = Vec::new();
    model.actions(world, &mut steps);
    !steps.is_empty()
}

//! Packs, rescues and the clean-up: what a push stores before its commit, what a fenced writer leaves, and what later
//! claims delete. A pack's name is its epoch and counter. A delete that was sent may arrive at any time, or never.

use crate::model::protocol::Mutation;
use crate::model::world::{Commit, Fork, Kind, Pack, Phase, Who, World};

/// Stores the pack of the next push. From here on a crash leaves names that must not be used again.
pub fn upload(world: &mut World, who: Who) {
    world.left.uploads -= 1;
    let writer = &mut world.writers[who];
    let pack = Pack::new(writer.epoch, writer.counter);
    writer.counter += 1;
    writer.unclean = true;
    writer.pack = Some(pack);
    world.packs |= pack.bit();
}

/// A writer whose create met a newer owner leaves its commit as a rescue, if its claim is still open.
pub fn leave(world: &mut World, who: Who) {
    let Phase::Leaving(commit) = world.writers[who].phase else { return };
    let fork = &mut world.forks[usize::from(commit.epoch)];
    match (*fork, commit.pack) {
        (Fork::Absent, Some(pack)) => *fork = Fork::Rescue(pack),
        _ => world.notes.too_late = true,
    }
    world.writers[who].stop(Phase::Fenced);
}

/// Whether a writer that is ready would clean this pack up, as far as the log tells.
pub fn is_orphan(world: &World, who: Who, pack: Pack, mutation: Mutation) -> bool {
    if mutation == Mutation::SweepsWhatIsUnusedNow {
        return !world.published.iter().any(|commit| commit.pack == Some(pack));
    }
    let last = last_of(world, pack.epoch());
    pack.epoch() + 2 <= world.writers[who].epoch && last.is_some_and(|last| pack.counter() >= last.counter)
}

/// The last commit of an epoch: the one below the next claim. Where a key is gone, it is not known.
fn last_of(world: &World, epoch: u8) -> Option<Commit> {
    let keys = world.log.windows(2).filter_map(|pair| Some((pair[0]?.commit, pair[1]?.commit)));
    keys.filter(|(_, above)| above.kind == Kind::Claim).find(|(last, _)| last.epoch == epoch).map(|(last, _)| last)
}

/// Closes the claim of an orphan and sends its delete; a claim that left a rescue keeps everything.
pub fn sweep(world: &mut World, pack: Pack, mutation: Mutation) {
    world.left.sweeps -= 1;
    let fork = &mut world.forks[usize::from(pack.epoch())];
    match *fork {
        Fork::Rescue(_) if mutation != Mutation::SweepsRescues => return,
        Fork::Absent if mutation != Mutation::SweepsWithoutClosing => *fork = Fork::Closed,
        _ => {}
    }
    world.doomed |= pack.bit();
}

/// A delete arrives.
pub fn delete(world: &mut World, pack: Pack) {
    world.doomed &= !pack.bit();
    world.packs &= !pack.bit();
    world.notes.swept = true;
}

/// Every commit that was ever published has its pack.
pub fn commits_are_whole(world: &World) -> bool {
    world.published.iter().filter_map(|commit| commit.pack).all(|pack| world.packs & pack.bit() != 0)
}

/// Every rescue has its pack.
pub fn rescues_are_whole(world: &World) -> bool {
    world.forks.iter().all(|fork| match fork {
        Fork::Rescue(pack) => world.packs & pack.bit() != 0,
        _ => true,
    })
}

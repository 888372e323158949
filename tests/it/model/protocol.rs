//! What can happen: the writers' protocol, the network, the pruner and the reader, as one `stateright` model.
//!
//! `actions` says what is possible and `next_state` does it. A pause needs no action of its own: it is a writer whose
//! turn does not come. A lost answer needs none either: it is a timeout before the request arrives.

use crate::model::orphans;
use crate::model::world::{Budget, Commit, EPOCHS, Fork, Key, Kind, Notes, Pack, Phase, Reader, Seq, View, Who, World, Writer};
use stateright::{Model, Property};

/// A rule of the protocol left out, to see that the model would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The protocol as designed.
    None,
    /// A new writer goes on with the epoch of the head.
    NoClaim,
    /// Log keys may go as soon as they are below the floor, and nobody looks at the head again before acknowledging.
    NoFenceTime,
    /// Log keys may go as soon as they are below the floor.
    KeysGoAtOnce,
    /// The age of the head's confirmation is looked at before the create, not again before acknowledging.
    AgeCheckedBeforeCreateOnly,
    /// The dedup index keeps condemned objects.
    DedupIntoCondemned,
    /// "Exists already" is taken for our own earlier attempt.
    ExistsIsSuccess,
    /// "Exists already" is taken for another writer's commit.
    ExistsIsForeign,
    /// A create that timed out is taken for done.
    TimeoutIsSuccess,
    /// A create whose key is absent on read-back is not sent again.
    NeverResends,
    /// A restart trusts the receipt although a create may still be on its way.
    TrustsReceiptOverIntent,
    /// Whatever no commit refers to yet is taken for an orphan.
    SweepsWhatIsUnusedNow,
    /// Orphans are deleted when there is no rescue yet, without closing their claim.
    SweepsWithoutClosing,
    /// Orphans are deleted although their claim left a rescue.
    SweepsRescues,
    /// A commit's counter leaves out what was stored for it.
    CountsTooLow,
    /// A push refers to a pack that was stored before a crash.
    RefersToLeftovers,
    /// The reader takes what lies at a seq without comparing it to `prev` above.
    ReaderSkipsPrev,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nobody runs.
    AllDown,
    /// The first writer has claimed and is ready; the second is a Pod about to start.
    FirstOwns,
    /// There is only one Pod, and it has not started.
    Alone,
}

/// One configuration of the model.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub beginning: Beginning,
    pub mutation: Mutation,
    /// How many states each writer has to push.
    pub pushes: [u8; 2],
    /// There is an object from earlier that a push may refer to.
    pub object: bool,
    pub budget: Budget,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Start(Who),
    Fold(Who),
    Seal(Who, Kind),
    Upload(Who),
    Leave(Who),
    Sweep(Pack),
    DeletePack(Pack),
    Send(Who),
    Timeout(Who),
    ReadBack(Who),
    Refind(Who),
    Recheck(Who),
    Ack(Who),
    Persist(Who),
    Crash(Who),
    Deliver(usize),
    DeliverAndKeep(usize),
    Drop(usize),
    Elapse,
    DeleteKey(Seq),
    DeleteObject,
    List,
    Get,
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let down = |pushes_left| Writer {
            phase: Phase::Down,
            known: View::EMPTY,
            epoch: 0,
            fresh: false,
            folded: None,
            receipt: None,
            intent: None,
            sealed: 0,
            pushes_left,
            pack: None,
            counter: 0,
            unclean: false,
            met_newer: false,
        };
        let mut world = World {
            log: vec![Some(Key { commit: Commit::GENESIS, old: false })],
            object: self.object,
            packs: 0,
            doomed: 0,
            forks: [Fork::Absent; EPOCHS],
            net: Vec::new(),
            writers: self.pushes.map(down),
            reader: Reader::Idle,
            left: self.budget,
            published: vec![Commit::GENESIS],
            acked: 0,
            owner: None,
            grace_over: false,
            notes: Notes::default(),
        };
        if self.beginning == Beginning::FirstOwns {
            for step in [Step::Start(0), Step::Send(0), Step::Deliver(0), Step::Ack(0), Step::Persist(0)] {
                self.apply(&mut world, step);
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for who in 0..world.writers.len() {
            self.writer_steps(world, who, steps);
        }
        for (at, commit) in world.net.iter().enumerate() {
            if at > 0 && world.net[at - 1] == *commit {
                continue;
            }
            steps.push(Step::Deliver(at));
            if world.left.duplicates > 0 {
                steps.push(Step::DeliverAndKeep(at));
            }
            if world.left.drops > 0 {
                steps.push(Step::Drop(at));
            }
        }
        if world.left.elapses > 0 {
            steps.push(Step::Elapse);
        }
        self.pruner_steps(world, steps);
        match world.reader {
            Reader::Idle if world.left.reads > 0 => steps.push(Step::List),
            Reader::Idle => {}
            Reader::Walking { .. } => steps.push(Step::Get),
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        self.apply(&mut world, step);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::model::laws::all()
    }
}

impl Protocol {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    /// Whether there is only one writer, to which the promises of progress are made.
    pub fn lone(&self) -> bool {
        self.beginning == Beginning::Alone
    }

    fn ignores_age_before_ack(&self) -> bool {
        self.is(Mutation::NoFenceTime) || self.is(Mutation::AgeCheckedBeforeCreateOnly)
    }

    fn writer_steps(&self, world: &World, who: Who, steps: &mut Vec<Step>) {
        let writer = &world.writers[who];
        match writer.phase {
            Phase::Down if who == 1 && self.lone() => return,
            Phase::Down => {
                steps.push(Step::Start(who));
                return;
            }
            Phase::Ready if writer.fresh || self.is(Mutation::NoFenceTime) => self.ready_steps(world, who, steps),
            Phase::Ready => steps.push(Step::Refind(who)),
            Phase::Sealed(_) => steps.push(Step::Send(who)),
            // Without a copy on its way no answer can come, so the wait ends without spending from the budget.
            Phase::Sent(commit) if world.left.timeouts > 0 || !world.net.contains(&commit) => {
                steps.push(Step::Timeout(who));
            }
            Phase::Sent(_) => {}
            Phase::Doubt(_) => steps.push(Step::ReadBack(who)),
            Phase::Landed(_) if writer.fresh || self.ignores_age_before_ack() => steps.push(Step::Ack(who)),
            Phase::Landed(_) => steps.push(Step::Recheck(who)),
            Phase::Acked(_) => steps.push(Step::Persist(who)),
            Phase::Leaving(_) => steps.push(Step::Leave(who)),
            Phase::Fenced | Phase::GaveUp | Phase::Alarmed => {}
        }
        if world.left.crashes > 0 {
            steps.push(Step::Crash(who));
        }
    }

    fn ready_steps(&self, world: &World, who: Who, steps: &mut Vec<Step>) {
        let writer = &world.writers[who];
        if world.left.sweeps > 0 {
            let there = Pack::all(world.packs & !world.doomed);
            let orphans = there.filter(|pack| orphans::is_orphan(world, who, *pack, self.mutation));
            steps.extend(orphans.map(Step::Sweep).filter(|step| !steps.contains(step)).collect::<Vec<_>>());
        }
        if writer.pushes_left > 0 && world.left.uploads > 0 && writer.pack.is_none() {
            steps.push(Step::Upload(who));
        }
        if writer.pushes_left > 0 {
            steps.push(Step::Seal(who, Kind::Push { dedup: false }));
            if self.object && (!writer.known.head.condemned || self.is(Mutation::DedupIntoCondemned)) {
                steps.push(Step::Seal(who, Kind::Push { dedup: true }));
            }
        }
        if writer.folded.is_some() {
            steps.push(Step::Seal(who, Kind::Merge));
        } else if world.left.merges > 0 {
            steps.push(Step::Fold(who));
        }
        if self.object && world.left.condemns > 0 && !writer.known.head.condemned && !writer.known.uses_object {
            steps.push(Step::Seal(who, Kind::Condemn));
        }
    }

    /// Deletes stay possible for ever once they are, so a delayed delete needs no message.
    fn pruner_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let at_once = self.is(Mutation::NoFenceTime) || self.is(Mutation::KeysGoAtOnce);
        let through = world.head().base.through;
        for seq in 1..=through {
            if world.key(seq).is_some_and(|key| key.old || at_once) {
                steps.push(Step::DeleteKey(seq));
            }
        }
        if world.object && world.grace_over {
            steps.push(Step::DeleteObject);
        }
        steps.extend(Pack::all(world.doomed).map(Step::DeletePack));
    }

    fn apply(&self, world: &mut World, step: Step) {
        match step {
            Step::Start(who) => self.start(world, who),
            Step::Fold(who) => {
                world.left.merges -= 1;
                world.writers[who].folded = Some(world.writers[who].known.fold());
            }
            Step::Seal(who, kind) => self.seal(world, who, kind),
            Step::Upload(who) => orphans::upload(world, who),
            Step::Leave(who) => orphans::leave(world, who),
            Step::Sweep(pack) => orphans::sweep(world, pack, self.mutation),
            Step::DeletePack(pack) => orphans::delete(world, pack),
            Step::Send(who) => send(world, who),
            Step::Timeout(who) => self.timeout(world, who),
            Step::ReadBack(who) => self.read_back(world, who),
            Step::Refind(who) => refind(world, who),
            Step::Recheck(who) => recheck(world, who),
            Step::Ack(who) => acknowledge(world, who),
            Step::Persist(who) => persist(world, who),
            Step::Crash(who) => {
                world.left.crashes -= 1;
                world.writers[who].stop(Phase::Down);
            }
            Step::Deliver(at) => {
                let commit = world.net.remove(at);
                self.deliver(world, commit);
            }
            Step::DeliverAndKeep(at) => {
                world.left.duplicates -= 1;
                self.deliver(world, world.net[at]);
            }
            Step::Drop(at) => {
                world.left.drops -= 1;
                world.net.remove(at);
            }
            Step::Elapse => elapse(world),
            Step::DeleteKey(seq) => world.log[usize::from(seq)] = None,
            Step::DeleteObject => world.object = false,
            Step::List => world.list(),
            Step::Get => self.get(world),
        }
    }

    /// Finds the head; goes on if it is this volume's own last commit, claims otherwise.
    fn start(&self, world: &mut World, who: Who) {
        let Some(view) = world.view() else { return };
        let head = Some(view.head.salt);
        let writer = &mut world.writers[who];
        let clean = writer.intent.is_none() && !writer.unclean;
        let settled = clean || self.is(Mutation::TrustsReceiptOverIntent);
        let own = head == writer.intent || (head == writer.receipt && settled);
        writer.known = view;
        writer.fresh = true;
        if !own && !self.is(Mutation::NoClaim) {
            return self.seal(world, who, Kind::Claim);
        }
        writer.epoch = view.head.epoch;
        writer.counter = view.head.counter;
        writer.unclean = false;
        writer.intent = None;
        writer.phase = Phase::Ready;
        world.owner = world.owner.max(Some((view.head.epoch, who)));
        if own {
            // Not counted yet unless the receipt says so: what was captured is still on the volume.
            writer.pushes_left -= u8::from(head != writer.receipt && view.head.bit() != 0);
            writer.receipt = head;
            world.acked |= view.head.bit();
            world.notes.adopted = true;
        }
    }

    fn timeout(&self, world: &mut World, who: Who) {
        let Phase::Sent(commit) = world.writers[who].phase else { return };
        if world.net.contains(&commit) {
            world.left.timeouts -= 1;
        }
        let done = self.is(Mutation::TimeoutIsSuccess);
        world.writers[who].phase = if done { Phase::Landed(commit) } else { Phase::Doubt(commit) };
    }

    /// The create arrives; the answer reaches its writer if that one still waits for it.
    fn deliver(&self, world: &mut World, commit: Commit) {
        let created = world.create(commit);
        let found = world.key(commit.seq).expect("a create leaves its key present").commit;
        let writer = &mut world.writers[commit.writer()];
        let current = matches!(writer.phase, Phase::Sent(own) | Phase::Doubt(own) if own == commit);
        writer.met_newer |= current && commit.kind != Kind::Claim && found.epoch > commit.epoch;
        if writer.phase == Phase::Sent(commit) {
            if created || self.is(Mutation::ExistsIsSuccess) {
                writer.phase = Phase::Landed(commit);
            } else if self.is(Mutation::ExistsIsForeign) {
                writer.stop(Phase::Fenced);
            } else {
                writer.phase = Phase::Doubt(commit);
            }
        }
    }

    /// Reads the key, which alone decides whose commit it is.
    fn read_back(&self, world: &mut World, who: Who) {
        let Phase::Doubt(commit) = world.writers[who].phase else { return };
        match world.key(commit.seq).map(|key| key.commit) {
            None if self.is(Mutation::NeverResends) => world.writers[who].stop(Phase::GaveUp),
            None => {
                world.writers[who].phase = Phase::Sealed(commit);
                send(world, who);
            }
            Some(found) if found == commit => {
                world.writers[who].phase = Phase::Landed(commit);
                world.notes.recovered = true;
            }
            Some(_) if commit.kind == Kind::Claim => self.start(world, who),
            Some(found) if found.epoch > commit.epoch && commit.pack.is_some() => {
                world.writers[who].stop(Phase::Leaving(commit));
            }
            Some(found) if found.epoch > commit.epoch => world.writers[who].stop(Phase::Fenced),
            Some(_) => world.writers[who].stop(Phase::Alarmed),
        }
    }

    /// One object of the reader's plan: accepted only if it is the one the commit above names.
    fn get(&self, world: &mut World) {
        let Reader::Walking { floor, at, want } = world.reader else { return };
        let found = world.key(at).map(|key| key.commit);
        match found.filter(|found| found.salt == want || self.is(Mutation::ReaderSkipsPrev)) {
            None => {
                world.reader = Reader::Idle;
                world.notes.replanned = true;
            }
            Some(found) => world.accept(found, floor),
        }
    }

    fn seal(&self, world: &mut World, who: Who, kind: Kind) {
        let writer = &mut world.writers[who];
        world.notes.ran_on |= writer.met_newer;
        let head = writer.known.head;
        writer.sealed += 1;
        assert!(writer.sealed < 16, "salts of one writer have four bits");
        let salt = u8::try_from(who << 4).expect("two writers") | writer.sealed;
        let (epoch, counter) = (writer.epoch, writer.counter);
        let mut commit = Commit { salt, seq: head.seq + 1, epoch, prev: head.salt, kind, pack: None, counter, ..head };
        match kind {
            Kind::Claim => {
                writer.epoch = head.epoch + 1;
                writer.counter = 0;
                commit.epoch = writer.epoch;
                commit.counter = 0;
            }
            Kind::Push { .. } => {
                commit.pack = writer.pack.take();
                if commit.pack.is_none() && self.is(Mutation::RefersToLeftovers) && writer.unclean {
                    commit.pack = Pack::all(world.packs).next();
                }
                commit.counter -= u8::from(commit.pack.is_some() && self.is(Mutation::CountsTooLow));
            }
            Kind::Merge => commit.base = writer.folded.take().expect("a merge is announced after it was folded"),
            Kind::Condemn => {
                commit.condemned = true;
                world.left.condemns -= 1;
            }
        }
        // On disk before the first byte is sent: a crash before it leaves nothing, one after it a commit to look for.
        writer.intent = Some(salt);
        writer.phase = Phase::Sealed(commit);
    }
}

fn send(world: &mut World, who: Who) {
    let Phase::Sealed(commit) = world.writers[who].phase else { return };
    let at = world.net.partition_point(|other| other.salt < commit.salt);
    // A third equal copy can do nothing that two cannot.
    if world.net.iter().filter(|other| **other == commit).count() < 2 {
        world.net.insert(at, commit);
    }
    world.writers[who].phase = Phase::Sent(commit);
}

/// Before a push, when the head's confirmation has grown old.
fn refind(world: &mut World, who: Who) {
    let head = world.head();
    let writer = &mut world.writers[who];
    if head == writer.known.head {
        writer.fresh = true;
    } else {
        writer.stop(if head.epoch > writer.epoch { Phase::Fenced } else { Phase::Alarmed });
    }
}

/// Before an acknowledgement, when the head's confirmation has grown old: is our commit on the chain at all?
fn recheck(world: &mut World, who: Who) {
    let Phase::Landed(commit) = world.writers[who].phase else { return };
    let tail = world.tail().unwrap_or_default();
    let writer = &mut world.writers[who];
    if tail.first() == Some(&commit) {
        writer.fresh = true;
        return;
    }
    if tail.contains(&commit) {
        world.acked |= commit.bit();
        writer.receipt = Some(commit.salt);
        writer.intent = None;
    }
    writer.stop(Phase::Fenced);
}

fn acknowledge(world: &mut World, who: Who) {
    let Phase::Landed(commit) = world.writers[who].phase else { return };
    world.acked |= commit.bit();
    if commit.kind == Kind::Claim {
        world.owner = world.owner.max(Some((commit.epoch, who)));
    }
    world.writers[who].phase = Phase::Acked(commit);
}

fn persist(world: &mut World, who: Who) {
    let writer = &mut world.writers[who];
    let Phase::Acked(commit) = writer.phase else { return };
    writer.receipt = Some(commit.salt);
    writer.intent = None;
    writer.unclean &= commit.kind == Kind::Claim || writer.pack.is_some();
    writer.pushes_left -= u8::from(commit.bit() != 0);
    writer.known = writer.known.then(commit);
    writer.phase = Phase::Ready;
}

/// T_fence passes for everybody: every key is old, every confirmation too, and a condemned object's grace is over.
fn elapse(world: &mut World) {
    world.left.elapses -= 1;
    world.log.iter_mut().flatten().for_each(|key| key.old = true);
    world.writers.iter_mut().for_each(|writer| writer.fresh = false);
    world.grace_over = world.published.last().is_some_and(|head| head.condemned);
}

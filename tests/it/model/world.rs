//! What exists in the model: commits, the store's log with its one object, writers, the reader, and what may still
//! go wrong. Fields marked *ghost* belong to the observer: no writer and no reader decides by them.

/// Position in the log; the key `log/<I(seq)>`.
pub type Seq = u8;
/// The salt of a commit names it, and its hash in `prev`: two commits never share one. The high half is the writer.
pub type Salt = u8;
/// Index into `World::writers`.
pub type Who = usize;

/// What a push stores before its commit, by name: the epoch and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pack(u8);

impl Pack {
    const A_CLAIM: u8 = 4;

    pub fn new(epoch: u8, counter: u8) -> Pack {
        assert!(counter < Pack::A_CLAIM && usize::from(epoch) < EPOCHS, "names have five bits");
        Pack(epoch * Pack::A_CLAIM + counter)
    }

    pub fn all(set: u32) -> impl Iterator<Item = Pack> {
        (0..32).map(Pack).filter(move |pack| set & pack.bit() != 0)
    }

    pub fn epoch(self) -> u8 {
        self.0 / Pack::A_CLAIM
    }

    pub fn counter(self) -> u8 {
        self.0 % Pack::A_CLAIM
    }

    pub fn bit(self) -> u32 {
        1 << self.0
    }
}

/// Epochs that a run can come to, and 0.
pub const EPOCHS: usize = 8;

/// The one fork of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fork {
    Absent,
    /// Empty: whoever owns the claim can leave nothing any more.
    Closed,
    Rescue(Pack),
}

/// What a commit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Takes the vault for a new epoch; changes nothing else.
    Claim,
    /// Publishes one captured state; `dedup` refers to the object that was there before.
    Push { dedup: bool },
    /// Announces the base that was folded earlier, which raises the log floor.
    Merge,
    /// Lists the object as dead for ever.
    Condemn,
}

/// The fold of every commit up to `through`; commits above it are the tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Base {
    pub through: Seq,
    /// The salt of the commit at `through`, by which the lowest tail commit is verified.
    pub tip: Salt,
    /// The pushes it holds, one bit a salt.
    pub holds: u32,
    pub uses_object: bool,
}

/// A sealed commit: once sealed its bytes never change, so a copy of it may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    pub salt: Salt,
    pub seq: Seq,
    pub epoch: u8,
    pub prev: Salt,
    pub kind: Kind,
    pub base: Base,
    /// The plan's condemned list, carried along the chain: is the object in it?
    pub condemned: bool,
    /// What a push refers to that was stored for it.
    pub pack: Option<Pack>,
    /// Neither this commit nor one before it refers to a pack of its claim with this counter or a higher one.
    pub counter: u8,
}

impl Commit {
    pub const GENESIS: Commit = Commit {
        salt: 0,
        seq: 0,
        epoch: 0,
        prev: 0,
        kind: Kind::Claim,
        base: Base { through: 0, tip: 0, holds: 0, uses_object: false },
        condemned: false,
        pack: None,
        counter: 0,
    };

    pub fn writer(&self) -> Who {
        usize::from(self.salt >> 4)
    }

    /// The bit of this commit in a set of pushes; none for what is not a push.
    pub fn bit(&self) -> u32 {
        if matches!(self.kind, Kind::Push { .. }) { 1 << self.salt } else { 0 }
    }

    pub fn uses_object(&self) -> bool {
        self.kind == Kind::Push { dedup: true }
    }
}

/// What somebody knows after following the chain from `head` down to its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub head: Commit,
    pub holds: u32,
    pub uses_object: bool,
}

impl View {
    pub const EMPTY: View = View { head: Commit::GENESIS, holds: 0, uses_object: false };

    /// The view after one more commit on top of this one.
    pub fn then(self, commit: Commit) -> View {
        View { head: commit, holds: self.holds | commit.bit(), uses_object: self.uses_object || commit.uses_object() }
    }

    pub fn fold(&self) -> Base {
        Base { through: self.head.seq, tip: self.head.salt, holds: self.holds, uses_object: self.uses_object }
    }
}

/// Where a writer is with its current commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Down,
    /// Owns its epoch, nothing under way.
    Ready,
    /// Bytes sealed and the intent record on disk; nothing sent.
    Sealed(Commit),
    /// The create was sent, no answer yet.
    Sent(Commit),
    /// Any answer but success, or none: only reading the key back decides.
    Doubt(Commit),
    /// The key is known to hold our bytes; not acknowledged yet.
    Landed(Commit),
    /// Acknowledged to the application; the receipt is not on disk yet.
    Acked(Commit),
    /// Met a newer owner, and will leave this commit as a rescue.
    Leaving(Commit),
    /// Met a newer owner and stopped.
    Fenced,
    /// Gave up: no answer, and the deadline passed.
    GaveUp,
    /// Saw what a store with create-if-absent cannot show, and stopped.
    Alarmed,
}

/// One Pod with its volume. `receipt`, `intent`, `sealed` and `unclean` survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    pub phase: Phase,
    pub known: View,
    pub epoch: u8,
    /// Less than T_fence/2 since the head was last confirmed.
    pub fresh: bool,
    /// A base folded in the background and not announced yet.
    pub folded: Option<Base>,
    /// The newest commit this volume knows to be published.
    pub receipt: Option<Salt>,
    /// The commit that was about to be sent when the record was written.
    pub intent: Option<Salt>,
    /// How many commits were sealed: the source of salts.
    pub sealed: u8,
    pub pushes_left: u8,
    /// The pack that was stored for the next push.
    pub pack: Option<Pack>,
    /// The next unused counter of its claim.
    pub counter: u8,
    /// Packs may be stored that no commit refers to.
    pub unclean: bool,
    /// *Ghost.* A create of this run was refused by a commit with a higher epoch.
    pub met_newer: bool,
}

impl Writer {
    /// Forgets what lives in memory, so that equal situations are equal states.
    pub fn stop(&mut self, phase: Phase) {
        self.phase = phase;
        self.known = View::EMPTY;
        self.epoch = 0;
        self.fresh = false;
        self.folded = None;
        self.pack = None;
        self.counter = 0;
        self.met_newer = false;
    }
}

/// A reader between its listing and the last object it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    Idle,
    /// Accepted everything above `at`; the next commit must be `want`.
    Walking {
        floor: Seq,
        at: Seq,
        want: Salt,
    },
}

/// A key of the log that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub commit: Commit,
    /// T_fence has passed since it was created, by the store's clock.
    pub old: bool,
}

/// How often each kind of trouble, and each kind of chore, may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub merges: u8,
    pub condemns: u8,
    pub crashes: u8,
    pub timeouts: u8,
    pub drops: u8,
    pub duplicates: u8,
    pub elapses: u8,
    pub reads: u8,
    pub uploads: u8,
    pub sweeps: u8,
}

/// What the observer notices at the moment it happens. All *ghost*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notes {
    /// A reader accepted a commit that is not the one published at its seq.
    pub forked: bool,
    /// A writer published although a newer one was ready.
    pub usurped: bool,
    /// A writer sealed another commit after its create met a newer owner.
    pub ran_on: bool,
    /// A deleted key was created again.
    pub resurrected: bool,
    /// A restarted writer found its own commit at the head.
    pub adopted: bool,
    /// A read-back found our own bytes.
    pub recovered: bool,
    /// A reader followed a chain to its base.
    pub read_through: bool,
    /// A reader met something missing or foreign and planned again.
    pub replanned: bool,
    /// An orphan was deleted.
    pub swept: bool,
    /// A writer that wanted to leave a rescue found its claim closed.
    pub too_late: bool,
}

/// One state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The log by seq; `None` is an absent key.
    pub log: Vec<Option<Key>>,
    pub object: bool,
    /// The packs that are there.
    pub packs: u32,
    /// The packs whose delete is on its way.
    pub doomed: u32,
    /// By epoch.
    pub forks: [Fork; EPOCHS],
    /// Creates on their way, equal ones next to each other. They arrive in any order, or never.
    pub net: Vec<Commit>,
    pub writers: [Writer; 2],
    pub reader: Reader,
    pub left: Budget,
    /// *Ghost.* The first commit any reader could see at each seq.
    pub published: Vec<Commit>,
    /// *Ghost.* Pushes that were acknowledged.
    pub acked: u32,
    /// *Ghost.* The newest epoch somebody was ready in, and who.
    pub owner: Option<(u8, Who)>,
    /// *Ghost.* The condemning commit has been published for the grace period.
    pub grace_over: bool,
    pub notes: Notes,
}

impl World {
    pub fn key(&self, seq: Seq) -> Option<&Key> {
        self.log.get(usize::from(seq)).and_then(Option::as_ref)
    }

    /// The head as a listing shows it: the highest seq that is there.
    pub fn head(&self) -> Commit {
        self.log.iter().rev().flatten().next().expect("the head is above the floor, and so never deleted").commit
    }

    /// The tail above the base, newest first, each verified by the `prev` of the one above; `None` if it is torn.
    pub fn tail(&self) -> Option<Vec<Commit>> {
        let head = self.head();
        let (mut at, mut tail) = (head, vec![head]);
        while at.seq > head.base.through + 1 {
            at = self.key(at.seq - 1).map(|key| key.commit).filter(|below| below.salt == at.prev)?;
            tail.push(at);
        }
        (at.seq == 0 || at.seq == head.base.through || at.prev == head.base.tip).then_some(tail)
    }

    /// What a complete, undisturbed read of the store gives.
    pub fn view(&self) -> Option<View> {
        let tail = self.tail()?;
        let head = *tail.first()?;
        let base = View { head, holds: head.base.holds, uses_object: head.base.uses_object };
        Some(tail.into_iter().rev().fold(base, View::then))
    }

    /// Create-if-absent: true if the key is now ours because of this very request.
    pub fn create(&mut self, commit: Commit) -> bool {
        let at = usize::from(commit.seq);
        if self.log.len() <= at {
            self.log.resize(at + 1, None);
        }
        if self.log[at].is_some() {
            return false;
        }
        self.notes.resurrected |= at < self.published.len();
        self.log[at] = Some(Key { commit, old: false });
        self.observe(commit);
        true
    }

    /// The reader lists the log and takes the head.
    pub fn list(&mut self) {
        self.left.reads -= 1;
        let head = self.head();
        self.accept(head, head.base.through);
    }

    /// The reader takes a commit, and goes on to the one below unless that is in the base.
    pub fn accept(&mut self, found: Commit, floor: Seq) {
        let first = self.published.get(usize::from(found.seq));
        self.notes.forked |= first.is_none_or(|first| first.salt != found.salt);
        let more = found.seq > floor + 1;
        self.notes.read_through |= !more;
        self.reader = if more { Reader::Walking { floor, at: found.seq - 1, want: found.prev } } else { Reader::Idle };
    }

    /// *Ghost.* Notes what an ever-watchful reader sees after `created` appeared.
    fn observe(&mut self, created: Commit) {
        for commit in self.tail().unwrap_or_default() {
            match self.published.get(usize::from(commit.seq)) {
                Some(first) => self.notes.forked |= first.salt != commit.salt,
                None => self.published.push(commit),
            }
        }
        let visible = self.published.last().is_some_and(|last| last.salt == created.salt);
        let newer_ready = self.owner.is_some_and(|(_, owner)| owner != created.writer());
        self.notes.usurped |= visible && created.kind != Kind::Claim && newer_ready;
    }
}

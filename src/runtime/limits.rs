//! Every bound of the program, each with its reason. Units are in the names.

use std::time::Duration;

/// A pack is sealed when it holds this much: large enough that a request's fixed cost is small, small enough that
/// three of them and one being filled stay within a 64 MiB process.
pub const PACK_BYTES: usize = 8 << 20;
/// New data up to this size travels inside the commit: a small push is one request.
pub const INLINE_BYTES: usize = 4 << 20;
/// Packs being uploaded at once.
pub const UPLOADS: usize = 3;
/// A pack is also sealed at this many entries, so that what waits for its offsets stays small.
pub const PACK_ENTRIES: usize = 16 * 1024;
/// Plaintext of one solid frame of small files.
pub const FRAME_BYTES: usize = 256 << 10;
/// A file up to this size is stored whole inside a solid frame; above, in blocks.
pub const SMALL_FILE_BYTES: u64 = 128 << 10;
/// A content up to this size is stored inside its record.
pub const LITERAL_BYTES: usize = 128;
/// Plaintext of one frame of records.
pub const META_FRAME_BYTES: usize = 128 << 10;
/// Records in one frame (format limit): a reader holds them all. No frame of the length above reaches it.
pub const META_FRAME_RECORDS: usize = 32 * 1024;
/// Length of all paths of one frame (format limit): each may take a byte where it shares the rest with the one before.
pub const META_FRAME_PATH_BYTES: usize = 4 << 20;
/// No frame may decompress to more than this (format limit).
pub const FRAME_CAP_BYTES: usize = 4 << 20;
/// Frames being compressed at once, each up to [`BLOCK_BATCH_BYTES`].
pub const COMPRESS_JOBS: usize = 4;
/// Blocks of a large file are read and compressed in batches of this size.
pub const BLOCK_BATCH_BYTES: usize = 1 << 20;
/// Entries whose small contents are hashed and compressed together.
pub const BATCH_ITEMS: usize = 1024;
/// A run part is closed at this size.
pub const RUN_PART_BYTES: usize = 4 << 20;
/// A commit's records travel inside it up to this size, then in run parts.
pub const COMMIT_META_BYTES: usize = 2 << 20;
/// No object of a vault is larger (format limit).
pub const OBJECT_CAP_BYTES: u64 = 64 << 20;
/// A base is written when this many commits follow the last one: bounds a restore's requests.
pub const TAIL_COMMITS: u64 = 256;
/// A base is also written when a reader of the commits after the last one would hold more than this: bounds a restore's
/// memory.
pub const TAIL_META_BYTES: u64 = 8 << 20;
/// An object whose live data is less than this is small: a base copies the data, so that a restore need not ask for that
/// object. Above, a request for it is well spent.
pub const SMALL_LIVE_BYTES: u64 = 1 << 20;
/// A base copies at most this much, from the smallest objects first; the next base goes on.
pub const COPY_BYTES: u64 = 64 << 20;
/// Contents a base copies at most: each takes some 150 bytes of memory meanwhile.
pub const COPY_CONTENTS: u64 = 64 * 1024;
/// The part of a commit read with its first request.
pub const HEAD_READ_BYTES: u64 = 64 << 10;
/// Range requests in flight during a restore, and the bytes they may hold together.
pub const FETCHES: usize = 16;
/// Bytes that fetched ranges may hold at once.
pub const FETCH_BYTES: usize = 24 << 20;
/// A range request asks for at most this much.
pub const FETCH_RANGE_BYTES: u64 = 4 << 20;
/// Two wanted ranges of one object this close are fetched together.
pub const FETCH_GAP_BYTES: u64 = 512 << 10;
/// Entries of a restore that are planned together.
pub const WINDOW_ENTRIES: usize = 16 * 1024;
/// Content bytes of a restore that are planned together.
pub const WINDOW_BYTES: u64 = 256 << 20;
/// Names of one directory sorted in memory; more go through a temporary file.
pub const SORT_BYTES: usize = 8 << 20;
/// A spool stays in memory up to this size, then becomes a temporary file.
pub const SPOOL_BYTES: usize = 4 << 20;
/// Paths that are remembered as changed; more, and the next pass walks the whole volume.
pub const DIRTY_PATHS: usize = 16 * 1024;
/// The memory that these paths, and the directories above them, may take: paths may be thousands of bytes long.
pub const DIRTY_BYTES: usize = 8 << 20;
/// Events of the watch that are taken at once.
pub const WATCH_EVENTS: usize = 64 * 1024;
/// After something was heard, what follows is gathered this long: a storm of changes costs few wake-ups.
pub const WATCH_PAUSE: Duration = Duration::from_millis(20);
/// Changes that lie beside the local index before it is written anew, and changes of one pass that may join them: unlike
/// the index, they are held in memory.
pub const OVERLAY_ENTRIES: u64 = 4096;
/// The bytes of either: with a long target, attributes or many blocks, an entry takes room like hundreds.
pub const OVERLAY_BYTES: u64 = 4 << 20;
/// A state file that is read whole is never larger: what lies beside the index, with all that may join it.
pub const STATE_FILE_BYTES: u64 = 4 * OVERLAY_BYTES;
/// Where changes cannot be heard, the next look at everything begins at least so long after the last one.
pub const POLL_LEAST: Duration = Duration::from_secs(1);
/// A pass that waits for quiet begins at last after this many times the wait.
pub const DEBOUNCE_PATIENCE: u32 = 10;
/// The pause after a pass that left something to do; doubled up to [`PASS_PAUSE_MAX`].
pub const PASS_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause: a remote that comes back is noticed within this time.
pub const PASS_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Kept of a grace period for saying how it ended.
pub const DRAIN_RESERVE: Duration = Duration::from_secs(2);
/// However little of a grace period is left, the last pass gets this: the kubelet leaves at least two seconds.
pub const DRAIN_LEAST: Duration = Duration::from_secs(1);
/// What is left for the last pass after a second signal.
pub const DRAIN_HASTE: Duration = Duration::from_secs(1);
/// A last pass that was asked to stop at its deadline is left alone after this long.
pub const DRAIN_PATIENCE: Duration = Duration::from_millis(250);
/// Then what is not at the remote is counted for at most this long; with the time before, less than [`DRAIN_LEAST`].
pub const DRAIN_COUNT: Duration = Duration::from_millis(500);
/// Between two tries of the last pass.
pub const DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// Whoever asks a sidecar for a pass waits this long for its end: a first push may take hours.
pub const PASS_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Quiet for this long, a volume counts as left alone by its application.
pub const QUIET: Duration = Duration::from_secs(2);
/// Between two signs of life of the loop.
pub const BEAT: Duration = Duration::from_secs(5);
/// While a schedule by the wall clock is waited for, the clock is looked at this often: it may be set.
pub const WALL_LOOK: Duration = Duration::from_secs(30);
/// Recently stored contents remembered for de-duplication.
pub const DEDUP_ENTRIES: usize = 32 * 1024;
/// Reads of one file that keeps changing, before its previous version is kept.
pub const UNSTABLE_READS: u32 = 3;
/// A database that others keep locked for this long keeps its previous version: SQLite's own programs wait some seconds.
pub const DATABASE_LOCK_WAIT: Duration = Duration::from_secs(10);
/// Between two tries of a database's lock: a writer that commits one transaction after the other leaves only short gaps.
pub const DATABASE_LOCK_POLL: Duration = Duration::from_millis(1);
/// What is kept of the words of a hook, in bytes: enough for an error message, and the log stays readable.
pub const CHILD_OUTPUT_BYTES: usize = 16 << 10;
/// After a program has ended, what is left in its pipes is read for so long.
pub const CHILD_OUTPUT_WAIT: Duration = Duration::from_millis(500);
/// A request that made no progress for this long is given up and tried again.
pub const IO_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries of one request, the first included.
pub const REQUEST_TRIES: u32 = 8;
/// Tries of one request at a store that asks for patience, where [`REQUEST_DEADLINE`] does not end them before: one object
/// may be out of reach for good while others are not.
pub const BUSY_TRIES: u32 = 40;
/// Tries of one part of a large object: as many as fit into [`REQUEST_DEADLINE`], since what was sent before is lost with it.
pub const PART_TRIES: u32 = 16;
/// An operation with all its retries ends when the store carried out nothing for this long.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(120);
/// Requests that one store gets at once while it does not ask for patience: more than anything here wants at once.
pub const REQUESTS_AT_ONCE: usize = 64;
/// A store that asks to be left alone for longer is asked again after this.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);
/// The first wait between tries; doubled up to [`RETRY_WAIT_MAX`].
pub const RETRY_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between tries.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Mounted keys and certificates are read again after this long: they are small, and a swap is to be noticed before the old ones end.
pub const KEYS_LOOK: Duration = Duration::from_secs(1);
/// Keys of the environment that name no end are looked at again after this long: a profile is a file, too.
pub const PROFILE_LOOK: Duration = Duration::from_secs(60);
/// A session is renewed this long before its end, or at half of its time: room for several tries.
pub const SESSION_MARGIN: Duration = Duration::from_secs(300);
/// How long requests wait for a new session while the old one holds.
pub const RENEW_WAIT: Duration = Duration::from_secs(5);
/// The pause after a renewal that failed while the old session holds.
pub const RENEW_PAUSE: Duration = Duration::from_secs(30);
/// One request for credentials takes no longer: the services that give them are near, or not there.
pub const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);
/// While waiting for a predecessor, its head is looked at this often.
pub const TAKEOVER_POLL: Duration = Duration::from_secs(1);
/// Tries of a claim that other claims keep overtaking.
pub const CLAIM_TRIES: u32 = 16;
/// Epochs that a claim looks through for orphans: more are only left where deletes were denied for long.
pub const SWEEP_EPOCHS: usize = 64;
/// Orphans that a claim deletes, so that a pass is not kept waiting for long; the next claim goes on.
pub const SWEEP_DELETES: usize = 1000;
/// The mass-deletion fuse: up to this many deletes always pass.
pub const FUSE_FILES: u64 = 50;
/// The mass-deletion fuse: up to this share of all entries passes, in percent.
pub const FUSE_PERCENT: u64 = 25;
/// Findings of a check that are kept by name; the rest are only counted.
pub const NAMED_DAMAGE: usize = 1000;
/// Frames whose places a check of the contents remembers at once, at 8 bytes each.
pub const CHECK_FRAMES: usize = 2 << 20;
/// Skipped paths that are kept by name for the report; the rest are only counted.
pub const NAMED_SKIPS: usize = 20;
/// One part of a large object of the plain layout; more where an object would have too many parts.
pub const UPLOAD_PART_BYTES: usize = 8 << 20;
/// Parts under way at once hold this much together.
pub const UPLOAD_PARTS_BYTES: usize = 16 << 20;
/// A file of the plain layout that a store takes only in one piece is held in memory, up to this size.
pub const WHOLE_BODY_BYTES: usize = 256 << 20;
/// Small objects of the plain layout under way at once; each is one request.
pub const FILES_IN_FLIGHT: usize = 32;
/// Bytes that files of the plain layout hold at once while they are on their way.
pub const FILES_BYTES: usize = 24 << 20;
/// Objects deleted with one request: S3 takes no more.
pub const DELETES: usize = 1000;
/// With more lines than this an entry of the manifest comes with a base instead: bounds the memory of both sides.
pub const MANIFEST_DELTA_LINES: u64 = 32 << 10;
/// A base of the manifest is written when this many deltas follow the last one.
pub const MANIFEST_DELTAS: u64 = 64;
/// A base of the manifest is also written when the deltas after the last one hold this much.
pub const MANIFEST_DELTA_BYTES: u64 = 8 << 20;
/// Connections to the health address at once; the oldest is cut for a new one, so that no crowd of slow clients keeps a
/// probe waiting.
pub const WEB_CONNECTIONS: usize = 32;
/// A request to the health address is read within this time, and the whole connection ends within twice of it.
pub const WEB_TIMEOUT: Duration = Duration::from_secs(5);
/// The head of a request to the health address; a probe's has some hundred bytes.
pub const WEB_HEAD_BYTES: usize = 8 << 10;
/// Connections to the control socket at once. Only a few processes of one Pod reach it.
pub const CONTROL_CONNECTIONS: usize = 16;
/// A line is read from or written to the control socket within this time: the other side is on this machine.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(3);
/// A hook that waits for the last pass is given up after this long: no grace period is longer.
pub const INTERRUPT_WAIT: Duration = Duration::from_secs(3600);
/// When a server ends, answers under way get this long to leave.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// After the system refused a connection (too many open files), the next is waited for only after this long.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The news of a complete pass, or a report, is sent within this time or not at all.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// The Lease of the leading replica: others may take it when its holder was silent for this long.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew its Lease for this long leads no more; what it has begun by then ends before others begin.
pub const LEASE_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at the Lease.
pub const LEASE_PAUSE: Duration = Duration::from_secs(2);
/// What is still told to the API server at the end gets this long.
pub const KUBE_FAREWELL: Duration = Duration::from_secs(2);
/// One request to the API server takes no longer: it is near, and what is not done now is done in the next round.
pub const KUBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The status of one PodFilesystemSync is written this often at most, where nothing but times and amounts changed.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(30);
/// Tries of one status that others write at the same time.
pub const STATUS_TRIES: usize = 5;
/// PodFilesystemSyncs that one round works on at once.
pub const RECONCILES: usize = 8;
/// Changes are gathered for this long before a round, since they come in crowds.
pub const RECONCILE_GATHER: Duration = Duration::from_millis(200);
/// A round is made at least this often: what became stale is seen without a change.
pub const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);
/// After a failure, a PodFilesystemSync is looked at again after this long.
pub const RECONCILE_PAUSE: Duration = Duration::from_secs(5);
/// Between two tries to make a key, once it was refused often.
pub const KEY_PAUSE: Duration = Duration::from_secs(300);
/// A write that the watch has not told of after this long will not be told of: it changed nothing.
pub const CACHE_PATIENCE: Duration = Duration::from_secs(2);
/// Remote paths that one status names; the API server bounds the size of an object.
pub const LOCATIONS: usize = 64;
/// An Event is told again only after this long; what happens more often is one Event.
pub const EVENT_INTERVAL: Duration = Duration::from_secs(300);
/// Events that are remembered for that.
pub const EVENTS: usize = 4096;
/// A Pod whose containers may still be on their way into the cache is not yet called uninjected.
pub const UNINJECTED_PATIENCE: Duration = Duration::from_secs(30);
/// A Pod reports this often on the long run.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Reports of a Pod at once: of its restore, of its first pass and of its last.
pub const REPORT_BURST: u32 = 3;
/// What the API server said of a token is believed for this long.
pub const TOKEN_TTL: Duration = Duration::from_secs(60);
/// Tokens that are remembered.
pub const TOKENS: usize = 4096;
/// Questions about tokens under way at once; a crowd of made-up ones does not become a crowd at the API server.
pub const TOKEN_REVIEWS: usize = 8;
/// No token is longer.
pub const TOKEN_BYTES: usize = 16 << 10;
/// A report that was not taken is sent again after this long, unless a newer one is there by then.
pub const REPORT_PAUSE: Duration = Duration::from_secs(30);
/// The last report of a process gets this long: what comes after it must not wait for a controller.
pub const REPORT_FAREWELL: Duration = Duration::from_secs(1);
/// An AdmissionReview is no longer: the API server takes objects of 3 MiB, and a review may hold two of them.
pub const REVIEW_BYTES: usize = 10 << 20;
/// A review up to this size does not wait for larger ones.
pub const REVIEW_SMALL_BYTES: usize = 256 << 10;
/// Such reviews that are read and judged at once; with the larger ones, 32 MiB of what anybody may send are held.
pub const REVIEWS_SMALL: usize = 48;
/// Larger reviews that are read and judged at once: each takes several times its size meanwhile.
pub const REVIEWS_LARGE: usize = 2;
/// A request is read and answered within this time. The API server itself gives up after 5 s unless told otherwise.
pub const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
/// The question for PodFilesystemSyncs that the cache lacks is answered within this time, or counts as not answered: the API
/// server waits for us meanwhile.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Such questions under way at once: a crowd of Pods without a PodFilesystemSync does not become a crowd at the API server.
pub const LOOKUPS: usize = 8;
/// Connections to the webhook at once; one that is at rest is cut for a new one.
pub const HOOK_CONNECTIONS: usize = 512;
/// A connection may rest for so long before it is ended. The API server ends its own after 90 s: were we first, a review that it
/// sends at that moment would fail.
pub const HOOK_REST: Duration = Duration::from_secs(120);
/// After the stop was asked for, connections are taken for so long: the cluster goes on sending them until all of its nodes know.
pub const HOOK_DRAIN: Duration = Duration::from_secs(3);
/// Then what is under way gets this long.
pub const HOOK_FAREWELL: Duration = Duration::from_secs(8);
/// A CA of our own lives this long.
pub const CA_LIFE: Duration = Duration::from_secs(730 * 24 * 3600);
/// A certificate of our own CA lives this long.
pub const LEAF_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// New certificates count as valid from so long ago: clocks of a cluster differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// Between two looks at certificates: a timer that was missed is made up for within this time.
pub const CERT_LOOK: Duration = Duration::from_secs(60);
/// Between two looks at mounted certificates.
pub const CERT_FILES_LOOK: Duration = Duration::from_secs(10);
/// After a write that failed the next try waits for so long, unless something changes: a right that is missing stays missing.
pub const CERT_PAUSE: Duration = Duration::from_secs(10);
/// Between two looks at what the nodes are able to.
pub const NODES_LOOK: Duration = Duration::from_secs(300);
/// The same where there was no answer: until the first one nothing is judged here.
pub const NODES_PAUSE: Duration = Duration::from_secs(2);
/// Nodes of one page.
pub const NODES_PAGE: u32 = 500;
/// What a refused Pod is told is no longer: it repeats what a Pod says, which may be of any length.
pub const REFUSAL_BYTES: usize = 2048;
/// PodFilesystemSyncs that one message names.
pub const NAMED_SYNCS: usize = 10;

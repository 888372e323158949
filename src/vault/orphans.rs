//! Orphans: what writers that died or were fenced had stored and no commit refers to (FORMAT.md, "Orphans").
//!
//! Whoever claims an epoch removes those of the claims before the previous one. Nothing is decided by a clock, and nothing
//! is deleted on incomplete knowledge: a folder of `obj/` is touched only if its claim is on the log, the last commit of
//! that claim says from which counter on nothing is referred to, and the claim was closed for rescues.

use super::directory::{Directory, Flags};
use super::error::VaultError;
use super::log::Commit;
use super::object::{Claim, ObjectId, claim_of_folder, object_of};
use super::open::Vault;
use super::rescue::close;
use super::writer::Writer;
use crate::runtime::{Stop, limits};
use crate::store::{Fencing, StoreError};
use futures::{StreamExt, TryStreamExt, stream};

/// What lets a later writer clean up after this one without reading the whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upkeep {
    /// Of the objects of its claim, this and earlier commits refer to none with this counter or a higher one.
    pub counter: u32,
    /// The commit that is its claim.
    pub claimed_at: u64,
    /// Orphans of epochs up to this one were cleaned up, or cannot be.
    pub swept: u32,
}

impl Upkeep {
    /// What a claim at `claimed_at` inherits from the head it was made over.
    pub fn inherited(over: Option<&Directory>, claimed_at: u64) -> Upkeep {
        let swept = over.map_or(0, |over| over.upkeep.map_or(over.epoch, |upkeep| upkeep.swept));
        Upkeep { counter: 0, claimed_at, swept }
    }
}

/// Removes orphans after a claim that was made over `over`. Returns how many; what could not be removed, or came to be
/// too many, is left for the next claim. One request when there is nothing to do.
pub async fn sweep(writer: &mut Writer, over: &Commit, stop: &Stop) -> Result<u64, VaultError> {
    let upto = writer.claim.epoch.saturating_sub(2);
    let (Some(upkeep), Fencing::Strict) = (writer.upkeep, writer.fencing) else { return Ok(0) };
    if upto <= upkeep.swept {
        return Ok(0);
    }
    let mut claims = claims_between(&writer.vault, upkeep.swept, upto, stop).await?;
    let mut removed = 0;
    let mut newer = over.directory().upkeep;
    for _ in 0..limits::SWEEP_EPOCHS {
        let (Some(lowest), Some(above)) = (claims.iter().map(|claim| claim.epoch).min(), newer) else { break };
        let Some(last) = last_before(&writer.vault, above.claimed_at, stop).await? else { break };
        let (claim, epoch) = (last.directory().claim(), last.directory().epoch);
        if epoch < lowest {
            break;
        }
        if epoch <= upto && claims.contains(&claim) {
            let orphans = orphans_of(&writer.vault, &last, stop).await?;
            removed += remove(writer, &last, &orphans, limits::SWEEP_DELETES - removed, stop).await?;
            if removed >= limits::SWEEP_DELETES {
                return Ok(removed as u64);
            }
        }
        claims.retain(|claim| claim.epoch < epoch);
        newer = last.directory().upkeep.filter(|upkeep| upkeep.claimed_at < above.claimed_at);
    }
    writer.upkeep = Some(Upkeep { swept: upto, ..upkeep });
    Ok(removed as u64)
}

/// Claims that stored something, with an epoch after `swept` up to `upto`.
async fn claims_between(vault: &Vault, swept: u32, upto: u32, stop: &Stop) -> Result<Vec<Claim>, StoreError> {
    let mut claims = Vec::new();
    // Behind every folder of epoch `swept`, since no digit sorts after the tilde.
    let after = format!("{swept:08x}-~");
    let mut keep = |listed: crate::store::Listed| {
        let claim = claim_of_folder(&listed.name).filter(|claim| (swept + 1..=upto).contains(&claim.epoch));
        claims.extend(claim.filter(|_| listed.is_folder));
    };
    vault.bucket.list_page_by_page(stop, "obj", Some(&after), &mut keep).await?;
    Ok(claims)
}

/// The commit before a claim: the last one of the claim before it. `None` when the log does not show that for certain.
async fn last_before(vault: &Vault, claimed_at: u64, stop: &Stop) -> Result<Option<Commit>, VaultError> {
    if claimed_at < 2 {
        return Ok(None);
    }
    let (claim, last) = futures::try_join!(vault.try_commit(claimed_at, stop), vault.try_commit(claimed_at - 1, stop))?;
    let (Some(claim), Some(last)) = (claim, last) else { return Ok(None) };
    let follows = claim.directory().previous == last.hash && claim.directory().epoch > last.directory().epoch;
    Ok((follows && claim.directory().flags.has(Flags::CLAIM)).then_some(last))
}

/// The objects of a claim that its last commit says nothing refers to.
async fn orphans_of(vault: &Vault, last: &Commit, stop: &Stop) -> Result<Vec<ObjectId>, StoreError> {
    let Some(upkeep) = last.directory().upkeep else { return Ok(Vec::new()) };
    let claim = last.directory().claim();
    let folder = format!("{:08x}-{:08x}", claim.epoch, claim.nonce);
    let listed = vault.bucket.list(stop, &format!("obj/{folder}")).await?;
    let orphan = |id: &ObjectId| (id.b as u32) >= upkeep.counter;
    Ok(listed.iter().filter_map(|listed| object_of("obj", &folder, &listed.name)).filter(orphan).collect())
}

/// Deletes at most `most` orphans, unless the claim left a rescue, which may need them.
async fn remove(writer: &Writer, last: &Commit, orphans: &[ObjectId], most: usize, stop: &Stop) -> Result<usize, VaultError> {
    if orphans.is_empty() || !close(writer, last, stop).await? {
        return Ok(0);
    }
    let orphans = &orphans[..orphans.len().min(most)];
    let delete = |id: &ObjectId| {
        let key = id.key();
        async move { writer.vault.bucket.delete(stop, &key).await }
    };
    // The first alone: where deletes are denied, one request tells.
    let (first, rest) = orphans.split_at(1);
    for id in first {
        delete(id).await?;
    }
    stream::iter(rest).map(delete).buffer_unordered(limits::FETCHES).try_collect::<Vec<()>>().await?;
    Ok(orphans.len())
}

#[cfg(test)]
mod tests {
    use super::{Upkeep, sweep};
    use crate::runtime::{Stop, limits};
    use crate::seal::{RawKey, Unlocker};
    use crate::store::{Bucket, Fencing, RemoteConfig};
    use crate::vault::container::Parts;
    use crate::vault::directory::Directory;
    use crate::vault::log::Commit;
    use crate::vault::object::{ObjectId, ObjectKind};
    use crate::vault::open::{Vault, create};
    use crate::vault::rescue::fork_id;
    use crate::vault::writer::{Takeover, Writer, WriterName};

    async fn claim(vault: &Vault, stop: &Stop) -> (Writer, Option<Commit>) {
        let name = WriterName { id: [1; 16], pod: "made-up".into() };
        let head = vault.head(None, stop).await.unwrap();
        Writer::claim(vault, head, name, Fencing::Strict, Takeover::Force, stop).await.unwrap()
    }

    async fn store(writer: &mut Writer, kind: ObjectKind, stop: &Stop) -> ObjectId {
        let id = writer.next_object(kind);
        let sealed = Parts { directory: writer.directory().encode(), ..Parts::default() };
        let sealed = sealed.seal(writer.vault.identity(), id).unwrap();
        Writer::upload(&writer.vault, writer.fencing, &sealed, stop).await.unwrap();
        id
    }

    /// A vault whose first claim refers to an object (as far as its second commit says) and leaves so many others.
    async fn left_behind(name: &str, orphans: usize, stop: &Stop) -> (Vault, Writer, Vec<ObjectId>) {
        let bucket = Bucket::connect(&RemoteConfig::Memory { name: name.into() }).unwrap();
        let vault = create(&bucket, &Unlocker::Raw(RawKey::generate()), stop).await.unwrap();
        let (mut writer, _) = claim(&vault, stop).await;
        let mut stored = vec![store(&mut writer, ObjectKind::Pack, stop).await];
        writer.publish_empty(writer.directory(), stop).await.unwrap();
        for number in 0..orphans {
            let kind = if number % 2 == 0 { ObjectKind::Pack } else { ObjectKind::Run };
            stored.push(store(&mut writer, kind, stop).await);
        }
        (vault, writer, stored)
    }

    async fn there(vault: &Vault, objects: &[ObjectId], stop: &Stop) -> Vec<bool> {
        let mut found = Vec::new();
        for id in objects {
            found.push(vault.bucket.size(stop, &id.key()).await.unwrap().is_some());
        }
        found
    }

    /// Claims twice and sweeps after each; `meddle` comes before the second.
    async fn swept(name: &str, meddle: impl AsyncFnOnce(&Vault, &mut Writer, &mut Commit)) -> (Vec<bool>, Option<Upkeep>) {
        let stop = Stop::new();
        let (vault, _, stored) = left_behind(name, 2, &stop).await;
        let (mut second, over) = claim(&vault, &stop).await;
        assert_eq!(sweep(&mut second, &over.unwrap(), &stop).await.unwrap(), 0);
        assert_eq!(there(&vault, &stored, &stop).await, [true; 3], "the previous epoch is left alone");
        let (mut third, over) = claim(&vault, &stop).await;
        let mut over = over.unwrap();
        meddle(&vault, &mut third, &mut over).await;
        let _ = sweep(&mut third, &over, &stop).await.unwrap();
        (there(&vault, &stored, &stop).await, third.upkeep)
    }

    #[tokio::test]
    async fn orphans_go_and_what_commits_refer_to_stays() {
        let (there, upkeep) = swept("orphans go", async |_, _, _| {}).await;
        assert_eq!(there, [true, false, false]);
        assert_eq!(upkeep.map(|upkeep| (upkeep.swept, upkeep.claimed_at)), Some((1, 4)));
    }

    #[tokio::test]
    async fn on_incomplete_knowledge_nothing_is_deleted() {
        let stop = Stop::new();
        let kept = [true; 3];
        let gone = async |vault: &Vault, seq| vault.bucket.delete(&stop, &ObjectId::commit(seq).key()).await.unwrap();
        assert_eq!(swept("no last commit", async |vault, _, _| gone(vault, 2).await).await.0, kept);
        assert_eq!(swept("no claim", async |vault, _, _| gone(vault, 3).await).await.0, kept);
        assert_eq!(swept("an old head", async |_, _, over| over.head.directory.upkeep = None).await.0, kept);
        assert_eq!(swept("detected only", async |_, third, _| third.fencing = Fencing::Detect).await.0, kept);
        let wrong = async |_: &Vault, _: &mut Writer, over: &mut Commit| {
            over.head.directory.upkeep.as_mut().unwrap().claimed_at = 2;
        };
        assert_eq!(swept("not its claim", wrong).await.0, kept);
    }

    #[tokio::test]
    async fn the_claim_of_a_rescue_is_left_alone() {
        let stop = Stop::new();
        let rescue = async |vault: &Vault, _: &mut Writer, _: &mut Commit| {
            let last = vault.commit(2, &stop).await.unwrap();
            let claim = last.directory().claim();
            let part = crate::vault::directory::PartRef {
                object: ObjectId::of_claim(ObjectKind::Run, claim, 2),
                length: 512,
                tag: [0; 16],
                first: b"x".to_vec(),
                count: 1,
            };
            let directory = Directory { fork_of: 2, previous: last.hash, parts: vec![part], ..last.directory().clone() };
            let parts = Parts { directory: directory.encode(), ..Parts::default() };
            let sealed = parts.seal(vault.identity(), fork_id(claim)).unwrap();
            vault.bucket.put(&stop, &fork_id(claim).key(), sealed.bytes).await.unwrap();
        };
        let (there, upkeep) = swept("a rescue", rescue).await;
        assert_eq!(there, [true; 3]);
        assert_eq!(upkeep.map(|upkeep| upkeep.swept), Some(1), "it is not looked at again");
    }

    #[tokio::test]
    async fn a_claim_deletes_only_so_many_and_the_next_goes_on() {
        let stop = Stop::new();
        let (vault, _, stored) = left_behind("many orphans", limits::SWEEP_DELETES + 5, &stop).await;
        claim(&vault, &stop).await;
        for (removed, left) in [(limits::SWEEP_DELETES, 6), (5, 1), (0, 1)] {
            let (mut writer, over) = claim(&vault, &stop).await;
            assert_eq!(sweep(&mut writer, &over.unwrap(), &stop).await.unwrap(), removed as u64);
            assert_eq!(there(&vault, &stored, &stop).await.into_iter().filter(|there| *there).count(), left);
        }
    }
}

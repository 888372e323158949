//! Who of several replicas leads: a Lease of `coordination.k8s.io`, held by renewing it.
//!
//! Nobody compares clocks of two machines: a Lease counts as abandoned when its record has not changed for its whole duration
//! while we looked. A holder that could not renew it stops leading before that time is over. A Lease does not keep a holder
//! that was frozen from a last write; what the leader writes must bear that (creates, and updates of a known version).

use super::{in_words, stamp, timely};
use crate::contract::kubernetes::CONTROLLER;
use crate::runtime::{Stop, clock, limits, random_share};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a Lease holds, and how often it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Others may take it when nothing was heard for this long.
    pub duration: Duration,
    /// The holder stops leading when it could not renew it for this long; shorter than the duration.
    pub deadline: Duration,
    /// Between two tries.
    pub pause: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { duration: limits::LEASE_DURATION, deadline: limits::LEASE_DEADLINE, pause: limits::LEASE_PAUSE }
    }
}

/// One candidate.
pub struct Leader {
    leases: Api<Lease>,
    name: String,
    /// Who we are; no two candidates have one name, nor two lives of one Pod.
    identity: String,
    terms: Terms,
    leads: watch::Sender<bool>,
    seen: Option<Seen>,
    /// Since when nothing was renewed.
    renewed: Instant,
    /// The failures in a row were told of.
    is_reported: bool,
}

/// The record of another holder.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    record: Option<LeaseSpec>,
    since: Instant,
}

impl Leader {
    /// A candidate for the Lease of that name in a namespace. `pod` is a name for people.
    pub fn new(client: Client, namespace: &str, name: &str, pod: &str, terms: Terms) -> Leader {
        let life = format!("{:08x}", (random_share() * f64::from(u32::MAX)) as u32);
        Leader {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: format!("{pod}_{life}"),
            terms,
            leads: watch::Sender::new(false),
            seen: None,
            renewed: clock::now(),
            is_reported: false,
        }
    }

    /// Whether this candidate leads, now and later. False for good once [`Leader::run`] has ended.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Takes part until the stop is asked for; gives the Lease back then, so that the next leader need not wait.
    pub async fn run(mut self, stop: &Stop) {
        // Cancel-safe: a renewal that was not heard of is found by the next look at the record.
        while stop.or(self.turn()).await.is_ok() {
            let pause = self.terms.pause.mul_f64(1.0 + 0.2 * random_share());
            if stop.or(clock::sleep(pause.min(self.left()))).await.is_err() {
                break;
            }
        }
        let led = self.leads.send_replace(false);
        if led && timely(limits::KUBE_FAREWELL, self.give_back()).await.is_none() {
            tracing::debug!("the lease could not be given back: it runs out");
        }
    }

    /// How long this candidate may go on as it does without hearing of the Lease.
    fn left(&self) -> Duration {
        match *self.leads.borrow() {
            true => self.terms.deadline.saturating_sub(clock::now().duration_since(self.renewed)),
            false => self.terms.deadline,
        }
    }

    async fn turn(&mut self) {
        let (asked, led) = (clock::now(), *self.leads.borrow());
        // Half of the time: an answer that does not come leaves room for another try.
        let most = self.left().min(self.terms.deadline / 2);
        let leads = match timely(most, self.take_or_renew()).await {
            Some(Ok(leads)) => leads,
            unheard => {
                if let Some(Err(error)) = unheard {
                    self.complain(&error);
                }
                self.tell(led && !self.left().is_zero());
                return;
            }
        };
        self.is_reported = false;
        if leads {
            self.renewed = asked;
        }
        self.tell(leads);
    }

    /// Of failures in a row the first is told: without the Lease nobody leads, and nothing else says why.
    fn complain(&mut self, error: &kube::Error) {
        let (lease, words) = (&self.name, in_words(error));
        match std::mem::replace(&mut self.is_reported, true) {
            false => tracing::warn!(lease, "the Lease cannot be had, and without it this replica will not lead: {words}"),
            true => tracing::debug!(lease, "asking for the Lease: {words}"),
        }
    }

    fn tell(&self, leads: bool) {
        if self.leads.send_if_modified(|led| std::mem::replace(led, leads) != leads) {
            tracing::info!(
                lease = self.name,
                identity = self.identity,
                "{}",
                if leads { "leading" } else { "no longer leading" }
            );
        }
    }

    /// One look at the Lease, and one write where it is ours to take.
    async fn take_or_renew(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let fresh = self.lease(ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, None);
            return won(self.leases.create(&PostParams::default(), &fresh).await);
        };
        if !self.may_take(lease.spec.as_ref(), clock::now()) {
            return Ok(false);
        }
        // The version of what was read goes along: of two candidates, one is refused.
        let ours = self.lease(lease.metadata, lease.spec.as_ref());
        won(self.leases.replace(&self.name, &PostParams::default(), &ours).await)
    }

    /// Whether the record is ours, nobody's, or was left alone for the whole time.
    fn may_take(&mut self, record: Option<&LeaseSpec>, now: Instant) -> bool {
        let holder = record.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            self.seen = None;
            return true;
        }
        let given = record.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let duration = given.map_or(self.terms.duration, Duration::from_secs);
        match &self.seen {
            Some(seen) if seen.record.as_ref() == record => now.duration_since(seen.since) >= duration,
            _ => {
                self.seen = Some(Seen { record: record.cloned(), since: now });
                false
            }
        }
    }

    fn lease(&self, metadata: ObjectMeta, before: Option<&LeaseSpec>) -> Lease {
        let now = MicroTime(stamp());
        let is_ours = before.is_some_and(|spec| spec.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            // Whole seconds, and at least one: others read it.
            lease_duration_seconds: Some(i32::try_from(self.terms.duration.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: before.filter(|_| is_ours).and_then(|spec| spec.acquire_time.clone()).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if before.is_some() && !is_ours { transitions.saturating_add(1) } else { transitions }),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    async fn give_back(&self) -> Result<(), kube::Error> {
        let mut lease = self.leases.get(&self.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(stamp()));
        self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Leader({} of {CONTROLLER})", self.identity)
    }
}

/// A write of a version that is no longer there was somebody else's turn.
fn won(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

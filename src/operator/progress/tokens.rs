//! Whose token it is: the API server is asked, and its answer kept for a short while under the token's digest.

use super::Refused;
use crate::contract::progress::AUDIENCE;
use crate::operator::timely;
use crate::runtime::{clock, limits};
use crate::seal::{FileDigest, ShortId};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Semaphore;

/// The Pod to which a token is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
}

pub(super) struct Tokens {
    reviews: Api<TokenReview>,
    known: Mutex<HashMap<ShortId, Known>>,
    at_once: Semaphore,
}

#[derive(Debug, Clone)]
struct Known {
    since: Instant,
    /// None: the token is no good.
    who: Option<Who>,
}

impl Tokens {
    pub fn new(client: Client) -> Tokens {
        Tokens { reviews: Api::all(client), known: Mutex::default(), at_once: Semaphore::new(limits::TOKEN_REVIEWS) }
    }

    /// The Pod of a token.
    pub async fn who(&self, token: &str) -> Result<Who, Refused> {
        let digest = FileDigest::of(token.as_bytes());
        if let Some(known) = self.find(digest, clock::now()) {
            return known.who.ok_or(Refused::Token);
        }
        let _permit = self.at_once.try_acquire().map_err(|_| Refused::Unknown)?;
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: Some(token.to_owned()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let asked = clock::now();
        let answer = timely(limits::KUBE_TIMEOUT, self.reviews.create(&PostParams::default(), &review)).await;
        let status = match answer {
            Some(Ok(review)) => review.status.unwrap_or_default(),
            Some(Err(error)) => {
                tracing::warn!("asking whose token it is: {}", crate::operator::in_words(&error));
                return Err(Refused::Unknown);
            }
            None => return Err(Refused::Unknown),
        };
        let who = who_in(&status);
        self.keep(digest, Known { since: asked, who: who.clone() });
        who.ok_or(Refused::Token)
    }

    fn find(&self, digest: ShortId, now: Instant) -> Option<Known> {
        let known = self.known().get(&digest).cloned();
        known.filter(|known| now.duration_since(known.since) < limits::TOKEN_TTL)
    }

    fn keep(&self, digest: ShortId, known: Known) {
        let now = clock::now();
        let mut all = self.known();
        if all.len() >= limits::TOKENS {
            all.retain(|_, known| now.duration_since(known.since) < limits::TOKEN_TTL);
        }
        // What does not fit is asked again.
        if all.len() < limits::TOKENS {
            all.insert(digest, known);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ShortId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tokens")
    }
}

/// The Pod, where the token is valid, for us, of a service account and bound to a Pod.
fn who_in(status: &TokenReviewStatus) -> Option<Who> {
    // A server that does not know audiences answers without them: then the token may be for anything.
    let is_for_us = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
    if status.authenticated != Some(true) || !is_for_us {
        return None;
    }
    let user = status.user.as_ref()?;
    let (namespace, _) = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let extra = |name: &str| match user.extra.as_ref()?.get(name)?.as_slice() {
        [one] if !one.is_empty() => Some(one.clone()),
        _ => None,
    };
    let pod = extra("authentication.kubernetes.io/pod-name")?;
    let uid = extra("authentication.kubernetes.io/pod-uid")?;
    Some(Who { namespace: namespace.to_owned(), pod, uid })
}

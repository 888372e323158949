//! Keys of automatic encryption: made once, and from then on nobody's business here.
//!
//! The controller may create Secrets and nothing else: what it cannot read it cannot give away. A Secret that is there is
//! used as it is; whether its key fits is found by the sidecar. None is made twice for one PodFilesystemSync: where the
//! first one was lost, a second key would open nothing, and stand in the way of a backup.

use super::timely;
use crate::contract::kubernetes::{CONTROLLER, KEY_ENTRY};
use crate::runtime::limits;
use crate::seal::RawKey;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// It is new.
    Created,
    /// A Secret of that name was there.
    Found,
}

/// A key that could not be made. It is tried again later each time: a missing right rarely comes by itself.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The Secret.
    pub secret: String,
    /// Why, for people.
    pub why: String,
    /// Not before this.
    pub again: Instant,
    pause: Duration,
}

impl Refused {
    /// After the refusal before, if that was of the same Secret.
    pub fn after(before: Option<&Refused>, secret: &str, why: String, now: Instant) -> Refused {
        let before = before.filter(|before| before.secret == secret);
        let pause = before.map_or(limits::RECONCILE_PAUSE, |before| (before.pause * 2).min(limits::KEY_PAUSE));
        Refused { secret: secret.to_owned(), why, again: now + pause, pause }
    }
}

/// Makes a key in a Secret of that name, unless there is one: a single create, which the API server does at most once. It
/// belongs to nobody, so that nothing that is deleted takes it along.
pub async fn make_key(client: Client, namespace: &str, name: &str) -> Result<Key, kube::Error> {
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), CONTROLLER.to_owned())])),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        string_data: Some(BTreeMap::from([(KEY_ENTRY.to_owned(), RawKey::generate().to_text().expose().clone())])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    match timely(limits::KUBE_TIMEOUT, secrets.create(&PostParams::default(), &secret)).await {
        Some(Ok(_)) => Ok(Key::Created),
        Some(Err(kube::Error::Api(status))) if status.code == 409 => Ok(Key::Found),
        Some(Err(error)) => Err(error),
        // Whether it was made is not known: the next try finds it.
        None => Err(super::no_answer()),
    }
}

#[cfg(test)]
mod tests {
    use super::Refused;
    use crate::runtime::{clock, limits};

    #[test]
    fn a_key_that_is_refused_again_and_again_is_asked_for_ever_less_often() {
        let now = clock::now();
        let mut refused = Refused::after(None, "key", String::new(), now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(refused.again.duration_since(now).as_secs());
            refused = Refused::after(Some(&refused), "key", String::new(), now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        let other = Refused::after(Some(&refused), "other", String::new(), now);
        assert_eq!(other.again.duration_since(now), limits::RECONCILE_PAUSE);
    }
}

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

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// It is new.
    Created,
    /// A Secret of that name was there.
    Found,
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

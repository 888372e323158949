//! An AdmissionReview and what it is answered. Beside the request lie `sync`, the PodFilesystemSync that is meant, and `legacy`, a
//! cluster without native sidecars: a review's reader does not look at them.
//!
//! Where the API server could have sent the Pod, the patch can be applied, keeps whatever the Pod has, and leaves nothing to do for a
//! second injection.
#![no_main]

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use volume_syncing_controller::operator::crd::PodFilesystemSync;
use volume_syncing_controller::operator::inject::{Surroundings, inject, select};
use volume_syncing_controller::operator::review::{Answer, Question};

const NAMESPACE: &str = "press";

fuzz_target!(|data: &[u8]| {
    let Ok(question) = Question::read(data) else { return };
    let Ok(more) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(mut sync) = serde_json::from_value::<PodFilesystemSync>(more["sync"].clone()) else { return };
    sync.metadata.namespace = Some(NAMESPACE.into());
    let _ = select(&question.object, NAMESPACE, [&sync, &sync].into_iter());
    let surroundings = Surroundings {
        namespace: NAMESPACE.into(),
        image: "registry/image:1".into(),
        pull_secrets: vec!["pull".into()],
        native: more["legacy"] != Value::Bool(true),
        progress_url: Some("https://hook.system.svc:443/progress".into()),
        default_user: 65532,
        metrics_port: Some(9327),
        ..Surroundings::default()
    };
    let Ok(injection) = inject(&question.object, &sync, &surroundings) else { return };
    Answer::changed(&question.uid, &injection.patch, injection.warnings.clone()).expect("texts and numbers are JSON").body();
    if !question.is_new_pod || !could_be_sent(&question.object) {
        return;
    }
    let once = patched(&question.object, &injection.patch);
    let again = inject(&once, &sync, &surroundings).expect("what was injected can be injected");
    assert_eq!(again.patch, [], "of {once}");
    assert_eq!(again.warnings, injection.warnings);
    serde_json::from_value::<Pod>(once.clone()).expect("it is still a Pod");
    keeps(&question.object, &once);
});

/// Whether the API server's own reader takes it for a Pod, and its lists name each thing once.
fn could_be_sent(pod: &Value) -> bool {
    let names = |lists: &[&str]| {
        let all = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
        let names: Vec<String> = all.map(|thing| thing["name"].to_string()).collect();
        names.iter().collect::<BTreeSet<_>>().len() == names.len()
    };
    serde_json::from_value::<Pod>(pod.clone()).is_ok() && names(&["containers", "initContainers"]) && names(&["volumes"])
}

/// By another's hand than the program's.
fn patched(pod: &Value, patch: &[impl serde::Serialize]) -> Value {
    let patch: Patch = serde_json::from_value(json!(patch)).expect("RFC 6902");
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).expect("it can be applied");
    pod
}

/// Nothing that was there is gone or other, but where an earlier injection is mended, and where the documents say so.
fn keeps(before: &Value, after: &Value) {
    const RAISED: [&str; 2] = ["annotations", "terminationGracePeriodSeconds"];
    const OURS: [&str; 4] = ["init-volume-restore", "volume-syncing-sidecar", "vsc-run", "vsc-token"];
    let is_ours = |thing: &Value| thing["name"].as_str().is_some_and(|name| OURS.contains(&name));
    for part in ["metadata", "spec"] {
        for (field, value) in before[part].as_object().into_iter().flatten().filter(|(field, _)| !RAISED.contains(&field.as_str())) {
            match value {
                Value::Array(things) => {
                    let kept: Vec<&Value> = after[part][field].as_array().expect("a list").iter().filter(|one| !is_ours(one)).collect();
                    let things: Vec<&Value> = things.iter().filter(|one| !is_ours(one)).collect();
                    let added = kept.len() - things.len();
                    assert!(kept.starts_with(&things) && (added == 0 || field == "imagePullSecrets"), "{part}.{field}");
                }
                Value::Null => {}
                value => assert_eq!(&after[part][field], value, "{part}.{field}"),
            }
        }
    }
}

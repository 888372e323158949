//! What the two containers ask for and are held to.

use super::{Frame, containers};
use serde_json::{Value, json};

/// The requests and limits of the two containers, and whether their share of the processor is limited only for the sake of the Pod's
/// class.
///
/// There is no limit of the processor otherwise: it would slow the last push. In a Pod of the class Guaranteed, requests and limits
/// must be equal, or the Pod would lose its class by us.
pub(super) fn resources(frame: &Frame<'_>) -> (Value, bool) {
    let written = frame.sync.spec.sidecar.as_ref().and_then(|sidecar| sidecar.resources.as_ref());
    let has_any = |value: &&Value| value.as_object().is_some_and(|fields| !fields.is_empty());
    let chosen = written.filter(has_any).or(Some(&frame.surroundings.resources).filter(has_any)).cloned();
    let mut resources =
        chosen.unwrap_or_else(|| json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}}));
    if !is_guaranteed(frame.pod) {
        return (resources, false);
    }
    let is_limited = amount(&resources, "limits", "cpu").is_some();
    for (name, usual) in [("cpu", "100m"), ("memory", "256Mi")] {
        let both = amount(&resources, "limits", name).or_else(|| amount(&resources, "requests", name)).cloned();
        let both = both.unwrap_or_else(|| usual.into());
        for kind in ["requests", "limits"] {
            if !resources[kind].is_object() {
                resources[kind] = json!({});
            }
            resources[kind][name] = both.clone();
        }
    }
    (resources, !is_limited)
}

/// Whether a Pod has the class Guaranteed, in which it is evicted last: each container's requests are its limits.
fn is_guaranteed(pod: &Value) -> bool {
    // Resources of the Pod as a whole decide by themselves, whatever its containers ask for.
    if pod.pointer("/spec/resources").and_then(Value::as_object).is_some_and(|whole| !whole.is_empty()) {
        return false;
    }
    let mut any = false;
    for container in containers(pod) {
        any = true;
        let Some(resources) = container.get("resources") else { return false };
        let is_fixed = |name: &str| {
            let limit = amount(resources, "limits", name);
            limit.is_some() && amount(resources, "requests", name).is_none_or(|request| Some(request) == limit)
        };
        if !is_fixed("cpu") || !is_fixed("memory") {
            return false;
        }
    }
    any
}

fn amount<'a>(resources: &'a Value, kind: &str, name: &str) -> Option<&'a Value> {
    resources.get(kind)?.get(name).filter(|amount| !amount.is_null())
}

//! As whom the two containers run, and what they may do.

use super::{Frame, Refusal, annotation};
use crate::contract::kubernetes::{GROUP_ANNOTATION, USER_ANNOTATION};
use crate::operator::inject::patch::merge;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

/// The highest number of a user or group (Kubernetes).
const ID_MAX: i64 = 2_147_483_647;
/// What a number should be, for a message.
const NUMBER: &str = "a whole number from 0 to 2147483647";

/// The security context of the two containers. It satisfies the `restricted` Pod Security Standard, unless root is asked for
/// in so many words.
pub(super) fn security_context(frame: &Frame<'_>) -> Result<Value, Refusal> {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let written = frame.sync.spec.sidecar.as_ref().and_then(|sidecar| sidecar.security_context.as_ref());
    for more in [Some(&frame.surroundings.security_context), written].into_iter().flatten().filter(|more| more.is_object()) {
        context = merge(&context, more);
    }
    let (user, group) = ids(frame)?;
    // What the volume's files are labelled with is what the application's container is labelled with.
    if let Some(labels) = frame.volume.container.pointer("/securityContext/seLinuxOptions").filter(|labels| labels.is_object()) {
        context["seLinuxOptions"] = context.get("seLinuxOptions").map_or_else(|| labels.clone(), |own| merge(labels, own));
    }
    if let Some(user) = user {
        context["runAsUser"] = user.into();
        if user == 0 {
            context["runAsNonRoot"] = false.into();
        }
    }
    if let Some(group) = group {
        context["runAsGroup"] = group.into();
    }
    Ok(context)
}

/// The user and the group: the Pod's annotation, the resource, the container that mounts the volume, the Pod, the default.
fn ids(frame: &Frame<'_>) -> Result<(Option<i64>, Option<i64>), Refusal> {
    let permissions = frame.sync.spec.sync_options.permissions.clone().unwrap_or_default();
    let user = id(frame, USER_ANNOTATION, ("syncOptions.permissions.uid", permissions.uid), "runAsUser")?;
    let group = id(frame, GROUP_ANNOTATION, ("syncOptions.permissions.gid", permissions.gid), "runAsGroup")?;
    if user.is_none() && !frame.surroundings.openshift {
        let usual = i64::from(frame.surroundings.default_user);
        return Ok((Some(usual), group.or(Some(usual))));
    }
    Ok((user, group))
}

fn id(
    frame: &Frame<'_>,
    name: &'static str,
    (field, written): (&'static str, Option<IntOrString>),
    of_container: &str,
) -> Result<Option<i64>, Refusal> {
    if let Some(text) = annotation(frame.pod, name).filter(|text| !text.is_empty()) {
        return number(text).map(Some).ok_or_else(|| Refusal::Annotation(name, text.into(), NUMBER));
    }
    let written = match written {
        Some(IntOrString::Int(number)) => Some(number.to_string()),
        Some(IntOrString::String(text)) if text.trim().is_empty() => None,
        Some(IntOrString::String(text)) => Some(text),
        None => None,
    };
    if let Some(text) = written {
        return number(&text).map(Some).ok_or(Refusal::Field(field, text, NUMBER));
    }
    let context = frame.sync.spec.sidecar.as_ref().and_then(|sidecar| sidecar.security_context.as_ref());
    let own = context.and_then(|context| context.get(of_container));
    let containers = frame.volume.container.pointer("/securityContext").and_then(|context| context.get(of_container));
    let pods = frame.pod.pointer("/spec/securityContext").and_then(|context| context.get(of_container));
    Ok([own, containers, pods].into_iter().flatten().find_map(Value::as_i64))
}

fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= ID_MAX)
}

//! What the schema says beyond the types: rules in CEL, numbers that may be words, and the YAML of it all.
//!
//! The rules keep to what servers since 1.25 know.

use super::PodFilesystemSync;
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

pub(super) const RULE_SELECTOR: &str = "(has(self.podSelector.matchLabels) && size(self.podSelector.matchLabels) > 0) || \
     (has(self.podSelector.matchExpressions) && size(self.podSelector.matchExpressions) > 0)";
pub(super) const RULE_ENCRYPTION: &str = "!has(self.automaticEncryption) || !self.automaticEncryption.enabled || \
     (has(self.automaticEncryption.secretName) && self.automaticEncryption.secretName != '')";
pub(super) const RULE_PLACEMENT: &str = "(self.placement in ['before', 'after']) == \
     (has(self.containerReference) && self.containerReference != '')";
pub(super) const RULE_DIRECTIONS: &str = "!(has(self.allowedDirections) && has(self.allowedDirectories))";
pub(super) const RULE_ABSOLUTE: &str = r"self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')";
pub(super) const RULE_SYSTEM: &str =
    r"!self.matches('^/+((bin|boot|dev|etc|home|lib|lib64|proc|root|run|sbin|sys|tmp|usr|usr/bin|usr/lib|var)/*)?$')";

/// No user or group has a higher number (a limit of Kubernetes).
const ID_MAX: i64 = 2_147_483_647;
/// Labels and expressions of a selector: a bound lets the API server reckon what the rules cost.
const SELECTOR_MAX: u32 = 64;

/// A rule that the API server keeps.
pub(super) fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

/// A user or group: a number, also in quotes.
pub(super) fn id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": "^[0-9]+$",
        "minimum": 0,
        "maximum": ID_MAX,
    })
}

/// Minutes, or a span of time with a unit.
pub(super) fn span(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": "^([0-9]+|([0-9]+(ms|s|m|h))+)$",
        "minimum": 0,
    })
}

/// A selector of labels.
pub(super) fn selector(_: &mut SchemaGenerator) -> Schema {
    let expression = json_schema!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string"},
            "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
            "values": {"type": "array", "items": {"type": "string"}},
        },
    });
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": SELECTOR_MAX},
            "matchExpressions": {"type": "array", "items": expression, "maxItems": SELECTOR_MAX},
        },
    })
}

/// An object whose fields the API server checks when it becomes part of a Pod.
pub(super) fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Without a default of its own: what is absent stays absent, and the fields inside have their defaults once it is written.
pub(super) fn without_default(schema: &mut Schema) {
    schema.remove("default");
}

/// The CustomResourceDefinition, as `kubectl apply` takes it.
pub fn crd_yaml() -> String {
    let mut crd = serde_json::to_value(PodFilesystemSync::crd()).expect("the definition becomes JSON");
    simplify(&mut crd);
    serde_saphyr::to_string(&crd).expect("JSON becomes YAML")
}

/// Leaves out what Rust's types say and nobody needs: formats of numbers that the API server does not know, and that a field may
/// be null. What must not be null is taken as absent there, so that `has()` in a rule means that there is a value.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| match name.as_str() {
                "nullable" => *value != Value::Bool(true),
                "format" => !value.as_str().is_some_and(|format| format.starts_with("uint")),
                _ => true,
            });
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            fields.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

//! Whether two selectors get into each other's way. Pure.
//!
//! A Pod that both match is refused, so there is none to be seen. Two selectors overlap here when every Pod that one matches
//! is matched by the other: that is never meant. Selectors that could match one Pod, but ask for different labels, are left
//! alone; it is the rule in every namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::{BTreeMap, BTreeSet};

/// What a selector asks of one label.
#[derive(Debug, Default)]
struct Asked<'a> {
    /// It is one of these.
    among: Option<BTreeSet<&'a str>>,
    /// It is none of these.
    not: BTreeSet<&'a str>,
    /// It is there.
    there: bool,
    /// It is not there.
    absent: bool,
}

impl Asked<'_> {
    /// Whether a label that is as this asks is also as the other asks.
    fn implies(&self, other: &Asked<'_>) -> bool {
        let among = match (&self.among, &other.among) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(ours), Some(theirs)) => ours.is_subset(theirs),
        };
        let not =
            self.absent || self.among.as_ref().is_some_and(|ours| ours.is_disjoint(&other.not)) || other.not.is_subset(&self.not);
        let there = !other.there || self.there || self.among.is_some();
        among && not && there && (!other.absent || self.absent)
    }
}

/// Whether every Pod that one of the selectors matches is matched by the other. A selector with an operator that does not
/// exist matches nothing.
pub fn overlap(one: &LabelSelector, other: &LabelSelector) -> bool {
    let (Some(one), Some(other)) = (asked(one), asked(other)) else { return false };
    implies(&one, &other) || implies(&other, &one)
}

fn implies(one: &BTreeMap<&str, Asked<'_>>, other: &BTreeMap<&str, Asked<'_>>) -> bool {
    let nothing = Asked::default();
    other.iter().all(|(key, asked)| one.get(key).unwrap_or(&nothing).implies(asked))
}

fn asked(selector: &LabelSelector) -> Option<BTreeMap<&str, Asked<'_>>> {
    let mut all: BTreeMap<&str, Asked<'_>> = BTreeMap::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        narrow(all.entry(key).or_default(), BTreeSet::from([value.as_str()]));
    }
    for expression in selector.match_expressions.iter().flatten() {
        let asked = all.entry(&expression.key).or_default();
        let values = expression.values.iter().flatten().map(String::as_str).collect();
        match expression.operator.as_str() {
            "In" => narrow(asked, values),
            "NotIn" => asked.not.extend(values),
            "Exists" => asked.there = true,
            "DoesNotExist" => asked.absent = true,
            _ => return None,
        }
    }
    // What is among these and none of those is among the rest.
    for asked in all.values_mut() {
        let Asked { among: Some(among), not, .. } = asked else { continue };
        among.retain(|value| !not.contains(value));
    }
    Some(all)
}

fn narrow<'a>(asked: &mut Asked<'a>, values: BTreeSet<&'a str>) {
    asked.among = Some(match asked.among.take() {
        Some(before) => before.intersection(&values).copied().collect(),
        None => values,
    });
}

#[cfg(test)]
mod tests {
    use super::overlap;
    use serde_json::{Value, json};

    #[test]
    fn selectors_overlap_when_one_implies_the_other() {
        let on = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let labels = |labels: Value| json!({"matchLabels": labels});
        for (one, other, expected) in [
            (labels(json!({"app": "a"})), labels(json!({"app": "a"})), true),
            (labels(json!({"app": "a"})), labels(json!({"app": "a", "tier": "b"})), true),
            (labels(json!({"app": "a"})), labels(json!({"app": "b"})), false),
            (labels(json!({"app": "a"})), labels(json!({"tier": "b"})), false),
            (labels(json!({"app": "a"})), on("app", "In", &["a", "b"]), true),
            (labels(json!({"app": "c"})), on("app", "In", &["a", "b"]), false),
            (on("app", "In", &["a", "c"]), on("app", "In", &["a", "b"]), false),
            (labels(json!({"app": "c"})), on("app", "NotIn", &["a", "b"]), true),
            (labels(json!({"app": "a"})), on("app", "NotIn", &["a"]), false),
            (on("app", "NotIn", &["a", "b"]), on("app", "NotIn", &["a"]), true),
            (on("app", "DoesNotExist", &[]), on("app", "NotIn", &["a"]), true),
            (labels(json!({"app": "a"})), on("app", "Exists", &[]), true),
            (on("app", "Exists", &[]), on("app", "DoesNotExist", &[]), false),
            (on("app", "Exists", &[]), on("app", "NotIn", &["a"]), false),
            (on("app", "Moon", &[]), on("app", "Moon", &[]), false),
        ] {
            let read = |value: &Value| serde_json::from_value(value.clone()).unwrap();
            assert_eq!(overlap(&read(&one), &read(&other)), expected, "{one} and {other}");
            assert_eq!(overlap(&read(&other), &read(&one)), expected, "{other} and {one}");
        }
    }
}

//! The resource PodFilesystemSync: the definition that is shipped, and what the predecessor's documents wrote.

use super::{folder, yaml};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use std::path::Path;
use volume_syncing_controller::operator::crd::{AllowedDirections, Method, PodFilesystemSync, crd_yaml};

/// Where the chart takes the definition from.
const SHIPPED: &str = "charts/sidecar-injector/files/podfilesystemsyncs.riotkit.org.yaml";

#[test]
fn the_shipped_definition_is_the_one_that_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SHIPPED);
    let printed = crd_yaml();
    if std::env::var_os("IT_REFRESH").is_some() {
        std::fs::write(&path, &printed).expect("the checkout can be written");
    }
    let shipped = std::fs::read_to_string(&path).expect("the shipped definition");
    assert!(shipped == printed, "{SHIPPED} is not what `volume-syncing-controller crd` prints: run the test with IT_REFRESH=1");
}

#[test]
fn what_the_predecessors_documents_write_fits_the_definition_and_means_what_it_says() {
    let sync = accepted("predecessor");
    assert_eq!(sync.spec.sync_options.permissions.as_ref().and_then(|ids| ids.uid.clone()), Some(IntOrString::Int(1001)));
    assert_eq!(sync.spec.sync_options.max_one_sync_per_minutes, Some(IntOrString::Int(15)));
    assert_eq!(sync.spec.secrets().collect::<Vec<_>>(), [(Some("cloud-press-secret-envs"), None)]);
    assert_eq!(sync.spec.key_secret(), Some("cloud-press-remote-sync"));

    let older = accepted("older");
    assert_eq!(older.spec.sync_options.method, Method::Fsnotify);
    assert_eq!(older.spec.sync_options.directions(), AllowedDirections { to_remote: true, from_remote: false });
    assert_eq!(older.spec.secrets().collect::<Vec<_>>(), [(Some("cloud-press-secret-envs"), None)]);

    let least = accepted("least");
    assert_eq!(least.spec.sync_options.schedule, "@every 15m");
    assert_eq!(least.spec.sync_options.directions(), AllowedDirections { to_remote: true, from_remote: true });
    assert!(least.spec.sync_options.clean_up.remote && least.spec.sync_options.restore_remote_on_first_run);
}

#[test]
fn what_the_definition_does_not_know_or_allow_is_refused() {
    let good = yaml(&folder().join("manifests/predecessor.yaml"));
    for (path, value, expected) in [
        ("/spec/syncOptions/method", json!("rsync"), "is none of"),
        ("/spec/syncOptions/permissions/uid", json!("root"), "does not match"),
        ("/spec/syncOptions/permissions/uid", json!(-1), "is less than"),
        ("/spec/syncOptions/permissions/uid", json!(true), "is no number or text"),
        ("/spec/syncOptions/maxOneSyncPerMinutes", json!("often"), "does not match"),
        ("/spec/initContainerPlacement/placement", json!("middle"), "is none of"),
        ("/spec/podSelector/matchLabels", json!({"a": 1}), "is no string"),
        ("/spec/syncOptions/cleanUp", json!({"remotely": true}), "is not known"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).expect("the field is there") = value;
        let problems = problems_of(&bad);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{path}: {problems:?}");
    }
    let mut bad = good;
    bad["spec"].as_object_mut().expect("an object").remove("localPath");
    assert_eq!(problems_of(&bad), ["spec.localPath is missing"]);
}

#[test]
fn what_was_stored_under_an_earlier_definition_is_read_all_the_same() {
    let mut old = yaml(&folder().join("manifests/least.yaml"));
    old["spec"]["sidecar"] = json!({"resources": {"limits": "much"}, "securityContext": {"runAsUser": "me"}});
    old["spec"]["podSelector"] = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
    old["spec"]["localPath"] = json!("../etc");
    old["spec"]["laterField"] = json!(1);
    old["status"] = json!({"locations": [{"directory": "/bucket", "synchronizedToRemote": true}]});
    let sync: PodFilesystemSync = serde_json::from_value(old).expect("it is read");
    assert!(sync.status.expect("a status").locations[0].synchronized_to_remote);
}

/// A manifest, after it was held against the definition.
fn accepted(name: &str) -> PodFilesystemSync {
    let manifest = yaml(&folder().join(format!("manifests/{name}.yaml")));
    assert_eq!(problems_of(&manifest), Vec::<String>::new(), "{name}");
    serde_json::from_value(manifest).expect("what fits the definition is read")
}

/// What the API server would say of an object, the rules in CEL left aside: those are tried on a real one.
fn problems_of(object: &Value) -> Vec<String> {
    let definition: Value = serde_saphyr::from_str(&crd_yaml()).expect("YAML");
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut problems = Vec::new();
    hold_against(spec, &object["spec"], "spec", &mut problems);
    problems
}

fn hold_against(schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    let mut wrong = |what: String| problems.push(format!("{at} {what}"));
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        wrong(format!("is none of {words:?}"));
    }
    if schema["x-kubernetes-int-or-string"] == json!(true) && !value.is_i64() && !value.is_string() {
        wrong("is no number or text".into());
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // The two patterns that there are; what they say of digits is enough here.
        assert!(pattern.starts_with("^[0-9]+$") || pattern.starts_with("^([0-9]+|"), "{pattern}");
        if !digits {
            wrong(format!("does not match {pattern}"));
        }
    }
    if value.as_f64().zip(schema["minimum"].as_f64()).is_some_and(|(value, least)| value < least) {
        wrong(format!("is less than {}", schema["minimum"]));
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !fits {
        wrong(format!("is no {}", schema["type"].as_str().unwrap_or_default()));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            problems.push(format!("{at}.{name} is missing"));
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        match known {
            Some(known) => hold_against(known, inner, &format!("{at}.{name}"), problems),
            None if schema["x-kubernetes-preserve-unknown-fields"] == json!(true) => {}
            None => problems.push(format!("{at}.{name} is not known")),
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        hold_against(&schema["items"], inner, &format!("{at}[{index}]"), problems);
    }
}

//! What Pods become: a corpus of Pods, resources and outcomes, and what holds for each of them.

use super::{folder, yaml};
use clap::Parser;
use proptest::prelude::{Just, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use volume_syncing_controller::cli::Cli;
use volume_syncing_controller::operator::crd::PodFilesystemSync;
use volume_syncing_controller::operator::inject::{Choice, Injection, Refusal, SidecarKind, Surroundings, inject, select};

/// The kinds of volumes that the `restricted` Pod Security Standard allows.
const RESTRICTED_VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
/// Where a patch may add: ours, and what the documents say is raised or appended.
const PATHS: [&str; 6] = [
    "/metadata/annotations",
    "/spec/initContainers",
    "/spec/containers",
    "/spec/volumes",
    "/spec/imagePullSecrets",
    "/spec/terminationGracePeriodSeconds",
];

/// One Pod of the corpus.
struct Case {
    name: String,
    pod: Value,
    sync: PodFilesystemSync,
    surroundings: Surroundings,
}

impl Case {
    fn inject(&self, pod: &Value) -> Result<Injection, Refusal> {
        inject(pod, &self.sync, &self.surroundings)
    }
}

fn corpus() -> Vec<Case> {
    names(".in.yaml").iter().map(|name| case(name)).collect()
}

fn case(name: &str) -> Case {
    let given = yaml(&folder().join(format!("{name}.in.yaml")));
    let sync = given["sync"].as_str().expect("the name of a resource");
    Case {
        name: name.into(),
        pod: given["pod"].clone(),
        sync: serde_json::from_value(yaml(&folder().join(format!("{sync}.sync.yaml")))).expect("a resource"),
        surroundings: surroundings(&given["surroundings"]),
    }
}

fn names(end: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).expect("the corpus");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"));
    names.filter_map(|name| Some(name.strip_suffix(end)?.to_string())).collect()
}

fn surroundings(given: &Value) -> Surroundings {
    let text = |name: &str, usual: Option<&str>| match given.get(name) {
        Some(value) => value.as_str().map(String::from),
        None => usual.map(String::from),
    };
    let words = given["pull_secrets"].as_array().into_iter().flatten();
    Surroundings {
        namespace: "press".into(),
        image: text("image", Some("registry/vsc:1.0.0")).expect("an image"),
        pull_policy: text("pull_policy", Some("IfNotPresent")).expect("a policy"),
        pull_secrets: words.map(|word| word.as_str().expect("a name").into()).collect(),
        native: given["native"].as_bool().unwrap_or(true),
        progress_url: text("progress_url", Some("https://vsc.vsc.svc:443/progress")),
        progress_ca: text("progress_ca", Some("UEVN")),
        default_user: 65532,
        openshift: given["openshift"].as_bool().unwrap_or(false),
        resources: json!({}),
        security_context: json!({}),
        metrics_port: if given.get("metrics_port").is_some() { None } else { Some(9327) },
    }
}

/// The Pod after the patch, by the rules of RFC 6902.
fn patched(pod: &Value, injection: &Injection) -> Value {
    let mut pod = pod.clone();
    for step in serde_json::to_value(&injection.patch).expect("JSON").as_array().expect("a list") {
        assert_eq!(step["op"], "add");
        let path = step["path"].as_str().expect("a path");
        let (parent, last) = path.rsplit_once('/').expect("a path below the root");
        let last = last.replace("~1", "/").replace("~0", "~");
        match pod.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not there for {path}")) {
            Value::Object(fields) => {
                fields.insert(last, step["value"].clone());
            }
            Value::Array(items) if last == "-" => items.push(step["value"].clone()),
            Value::Array(items) => items.insert(last.parse().expect("an index"), step["value"].clone()),
            other => panic!("{parent} is {other}"),
        }
    }
    pod
}

fn list<'a>(pod: &'a Value, name: &str) -> Vec<&'a Value> {
    pod["spec"][name].as_array().into_iter().flatten().collect()
}

/// Our containers: name and place.
fn ours(pod: &Value) -> Vec<(&'static str, &Value)> {
    let all =
        ["initContainers", "containers"].into_iter().flat_map(|place| list(pod, place).into_iter().map(move |c| (place, c)));
    all.filter(|(_, container)| container["command"] == json!(["/usr/bin/volume-syncing-controller"])).collect()
}

fn args(container: &Value) -> Vec<&str> {
    container["args"].as_array().expect("arguments").iter().map(|arg| arg.as_str().expect("text")).collect()
}

fn env(container: &Value) -> BTreeMap<&str, &str> {
    let all = container["env"].as_array().expect("variables").iter();
    all.map(|entry| (entry["name"].as_str().expect("a name"), entry["value"].as_str().unwrap_or("<field>"))).collect()
}

#[test]
fn each_pod_of_the_corpus_becomes_what_was_written_down_for_it() {
    let mut wrong = Vec::new();
    for case in corpus() {
        let outcome = match case.inject(&case.pod) {
            Err(refusal) => json!({"refusal": refusal.to_string()}),
            Ok(Injection { skipped: Some(reason), patch, .. }) => json!({"skipped": reason, "patch": patch}),
            Ok(injection) => json!({
                "kind": if injection.kind == SidecarKind::Native { "native" } else { "legacy" },
                "warnings": injection.warnings,
                "patch": injection.patch,
            }),
        };
        let path = folder().join(format!("{}.out.yaml", case.name));
        if std::env::var_os("IT_REFRESH").is_some() {
            std::fs::write(&path, serde_saphyr::to_string(&outcome).expect("YAML")).expect("the checkout can be written");
        }
        if !path.exists() || yaml(&path) != outcome {
            wrong.push(case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} came out otherwise: look at the change, then run with IT_REFRESH=1");
}

#[test]
fn each_file_of_the_corpus_is_used() {
    assert_eq!(names(".in.yaml"), names(".out.yaml"));
    let used: BTreeSet<String> = names(".in.yaml")
        .iter()
        .map(|name| yaml(&folder().join(format!("{name}.in.yaml")))["sync"].as_str().expect("text").into())
        .collect();
    assert_eq!(used, names(".sync.yaml"));
}

#[test]
fn a_pod_that_is_injected_twice_is_what_it_was_after_the_first_time() {
    for case in corpus() {
        let Ok(first) = case.inject(&case.pod) else { continue };
        let once = patched(&case.pod, &first);
        let second = case.inject(&once).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.name));
        assert!(second.patch.is_empty(), "{}: {:?}", case.name, second.patch);
        assert_eq!(second.kind, first.kind, "{}", case.name);
    }
}

#[test]
fn a_patch_only_adds_to_what_is_there() {
    for case in corpus() {
        let Ok(injection) = case.inject(&case.pod) else { continue };
        for step in &injection.patch {
            assert!(PATHS.iter().any(|path| step.path.starts_with(path)), "{}: {}", case.name, step.path);
        }
        if case.name.starts_with("again") {
            continue;
        }
        let mut after = patched(&case.pod, &injection);
        // Without what is ours, nothing differs.
        for list in ["initContainers", "containers", "volumes", "imagePullSecrets"] {
            let before: Vec<Value> = case.pod["spec"][list].as_array().cloned().unwrap_or_default();
            let after = after["spec"][list].as_array().cloned().unwrap_or_default();
            let kept: Vec<Value> = after.into_iter().filter(|item| before.contains(item)).collect();
            assert_eq!(kept, before, "{}: {list}", case.name);
        }
        for list in ["initContainers", "containers", "volumes", "imagePullSecrets", "terminationGracePeriodSeconds"] {
            after["spec"][list] = case.pod["spec"].get(list).cloned().unwrap_or(Value::Null);
        }
        after["metadata"]["annotations"] = case.pod["metadata"].get("annotations").cloned().unwrap_or(Value::Null);
        let mut before = case.pod.clone();
        for field in ["initContainers", "containers", "volumes", "imagePullSecrets", "terminationGracePeriodSeconds"] {
            let value = before["spec"].get(field).cloned().unwrap_or(Value::Null);
            before["spec"][field] = value;
        }
        let annotations = before["metadata"].get("annotations").cloned().unwrap_or(Value::Null);
        before["metadata"]["annotations"] = annotations;
        assert_eq!(after, before, "{}", case.name);
    }
}

#[test]
fn the_program_understands_the_arguments_that_it_injects() {
    let mut commands = 0;
    for case in corpus() {
        let Ok(injection) = case.inject(&case.pod) else { continue };
        let pod = patched(&case.pod, &injection);
        for (_, container) in ours(&pod) {
            let hook = container.pointer("/lifecycle/preStop/exec/command").cloned();
            let probes = ["readinessProbe", "livenessProbe"].map(|probe| container[probe]["exec"]["command"].clone());
            let own = json!([vec!["volume-syncing-controller"], args(container)].concat());
            for command in [own].into_iter().chain(hook).chain(probes).filter(Value::is_array) {
                let words: Vec<String> = serde_json::from_value(command).expect("words");
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{}: {words:?}: {error}", case.name));
                commands += 1;
            }
        }
    }
    assert!(commands > 80, "{commands}");
}

#[test]
fn injected_containers_satisfy_the_restricted_standard() {
    for case in corpus() {
        let Ok(injection) = case.inject(&case.pod) else { continue };
        let pod = patched(&case.pod, &injection);
        for (_, container) in ours(&pod) {
            let context = &container["securityContext"];
            let is_root = case.name == "users-root";
            assert_eq!(context["runAsNonRoot"], json!(!is_root), "{}", case.name);
            assert_eq!(context["runAsUser"] == json!(0), is_root, "{}", case.name);
            assert_eq!(context["allowPrivilegeEscalation"], json!(false), "{}", case.name);
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{}", case.name);
            let seccomp = context["seccompProfile"]["type"].as_str();
            assert!(matches!(seccomp, Some("RuntimeDefault" | "Localhost")), "{}", case.name);
            assert_eq!(context["readOnlyRootFilesystem"], json!(true), "{}", case.name);
            assert!(context.get("privileged").is_none() && container["ports"][0].get("hostPort").is_none(), "{}", case.name);
            // The application's token for the API server stays out.
            let mounts = container["volumeMounts"].as_array().expect("mounts");
            assert!(
                mounts.iter().any(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"),
                "{}",
                case.name
            );
        }
        let before = list(&case.pod, "volumes");
        for volume in list(&pod, "volumes").into_iter().filter(|volume| !before.contains(volume)) {
            assert!(RESTRICTED_VOLUMES.iter().any(|kind| volume.get(kind).is_some()), "{}: {volume}", case.name);
        }
    }
}

#[test]
fn pods_get_what_the_examples_show() {
    let spec = json!({"podSelector": {"matchLabels": {"app": "x"}}, "localPath": "/data", "remotePath": "",
        "syncOptions": {"method": "fsnotify"}, "envFromSecrets": [{"name": "volume-remote"}],
        "automaticEncryption": {"enabled": true, "secretName": "volume-key"}});
    for (file, remote, kind, native) in [
        ("deployment", "backups/app", "ReplicaSet", true),
        ("legacy-deployment", "backups/app", "ReplicaSet", false),
        ("statefulset", "backups/$(POD_NAME)", "StatefulSet", true),
        ("job", "backups/work", "Job", true),
    ] {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/k8s/{file}.yaml"))).expect("it");
        let document = text.split("\n---\n").last().expect("a document");
        let example: Value = serde_saphyr::from_str(document).expect("YAML");
        let shown = json!({"spec": example["spec"]["template"]["spec"]});
        let mut spec = spec.clone();
        spec["remotePath"] = remote.into();
        if file == "job" {
            spec["syncOptions"] = json!({"schedule": "@every 5m"});
        }
        let mut pod = shown.clone();
        pod["metadata"] = json!({"ownerReferences": [{"kind": kind, "controller": true}]});
        for place in ["initContainers", "containers"] {
            let all = pod["spec"][place].as_array_mut().expect("containers");
            all.retain(|container| !container["args"][0].is_string() || container["image"] != "volume-syncing-controller:dev");
        }
        let volumes = pod["spec"]["volumes"].as_array_mut().expect("volumes");
        volumes.retain(|volume| volume["name"] != "run");
        if let Some(claims) = example["spec"]["volumeClaimTemplates"].as_array() {
            volumes.push(json!({"name": claims[0]["metadata"]["name"], "persistentVolumeClaim": {"claimName": "c"}}));
        }
        let object =
            json!({"apiVersion": "riotkit.org/v1alpha1", "kind": "PodFilesystemSync", "metadata": {"name": "x"}, "spec": spec});
        let sync: PodFilesystemSync = serde_json::from_value(object).expect("a resource");
        let given = surroundings(&json!({"native": native, "progress_url": null}));
        let injection = inject(&pod, &sync, &given).unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
        let made = patched(&pod, &injection);
        for place in ["initContainers", "containers"] {
            for theirs in
                list(&shown, place).into_iter().filter(|container| container["image"] == "volume-syncing-controller:dev")
            {
                let name = &theirs["name"];
                let mine = list(&made, place).into_iter().find(|container| container["name"] == *name);
                let mine = mine.unwrap_or_else(|| panic!("{file}: no {name} in {place}"));
                let missing: Vec<&str> = args(theirs).into_iter().filter(|arg| !args(mine).contains(arg)).collect();
                assert!(missing.is_empty(), "{file} {name}: {missing:?} of the example are not in {:?}", args(mine));
                let mut shown = env(theirs);
                // An init container has no use for it; the Job's example shares one list between the two.
                if !args(theirs).contains(&"sync-to-remote") {
                    shown.remove("VSC_TERMINATION_GRACE_SECONDS");
                }
                let set = env(mine);
                assert!(shown.iter().all(|(name, value)| set.get(name) == Some(value)), "{file} {name}: {shown:?} {set:?}");
                for field in ["lifecycle", "restartPolicy", "envFrom", "terminationMessagePolicy"] {
                    assert_eq!(mine.get(field), theirs.get(field), "{file} {name}: {field}");
                }
                assert_eq!(mine["volumeMounts"][0], theirs["volumeMounts"][0], "{file} {name}");
            }
        }
    }
}

/// The Pod of a ReplicaSet, which has no name yet, with these fields of the resource.
fn unnamed(fields: Value) -> Case {
    let mut case = case("replica");
    let mut spec = serde_json::to_value(&case.sync.spec).expect("JSON");
    for (name, value) in fields.as_object().expect("fields") {
        spec[name] = value.clone();
    }
    case.sync.spec = serde_json::from_value(spec).expect("a resource");
    case
}

#[test]
fn a_pod_without_a_name_gets_the_kubelets_word_for_it() {
    let own = json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    for (env, first) in [
        (json!({}), own.clone()),
        (json!({"POD_NAME": "{{ pod.metadata.name }}", "A": "a-{{ pod.Name }}"}), own.clone()),
        (json!({"POD_NAME": "$(POD_NAME)"}), own.clone()),
        (json!({"A": "b", "POD_NAME": "mine"}), json!({"name": "POD_NAME", "value": "mine"})),
    ] {
        let case = unnamed(json!({"env": env}));
        let pod = patched(&case.pod, &case.inject(&case.pod).expect("injected"));
        for (_, container) in ours(&pod) {
            let variables = container["env"].as_array().expect("variables");
            assert_eq!(variables[0], first, "{env}");
            assert_eq!(variables.iter().filter(|entry| entry["name"] == "POD_NAME").count(), 1, "{env}");
        }
    }
    for fields in [
        json!({"env": {"POD_NAME": "a-{{ pod.Name }}"}}),
        json!({"env": {"POD_NAME": "mine", "A": "{{ pod.Name }}"}}),
        json!({"env": {"POD_NAME": "mine"}, "remotePath": "b/{{ pod.Name }}"}),
    ] {
        let case = unnamed(fields.clone());
        let refusal = case.inject(&case.pod).expect_err("the name would be another one").to_string();
        assert!(refusal.contains("spec.env.POD_NAME") && refusal.contains("left out"), "{fields}: {refusal}");
    }
}

#[test]
fn pods_that_share_a_path_are_told_to_be_one_at_a_time() {
    for (remote, is_told) in [
        ("b/a", true),
        ("b/{{ pod.metadata.name }}", false),
        ("b/$(POD_NAME)", false),
        ("b/$$(POD_NAME)", true),
        ("b/{{ '$(POD_NAME)' }}", true),
    ] {
        let case = unnamed(json!({"remotePath": remote}));
        let warnings = case.inject(&case.pod).expect("injected").warnings;
        assert_eq!(warnings.iter().any(|warning| warning.contains("strategy Recreate")), is_told, "{remote}: {warnings:?}");
    }
}

/// A Pod of these containers for the plain resource, with the volumes `a` and `b`; the first mount of our restore.
fn mount_of(init: Value, running: Value) -> Result<Value, String> {
    let mut case = case("replica");
    case.pod["spec"]["initContainers"] = init;
    case.pod["spec"]["containers"] = running;
    case.pod["spec"]["volumes"] = json!([{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}]);
    let injection = case.inject(&case.pod).map_err(|refusal| refusal.to_string())?;
    let pod = patched(&case.pod, &injection);
    let (_, restore) = ours(&pod)[0];
    Ok(json!({"mount": restore["volumeMounts"][0], "env": env(restore).get("ROLE")}))
}

#[test]
fn the_volume_of_the_application_is_meant_and_not_one_that_only_prepares() {
    let container = |name: &str, volume: &str, path: &str| json!({"name": name, "image": "i", "volumeMounts": [{"name": volume, "mountPath": path}]});
    let found = mount_of(json!([container("prepare", "b", "/data")]), json!([container("app", "a", "/data")]));
    assert_eq!(found.expect("injected")["mount"]["name"], "a");
    // However deep an init container mounts its own: the application does not see it.
    let mut sync = case("replica");
    sync.sync.spec.local_path = "/data/deep".into();
    sync.pod["spec"]["initContainers"] = json!([container("prepare", "b", "/data/deep")]);
    sync.pod["spec"]["containers"] = json!([container("app", "a", "/data")]);
    sync.pod["spec"]["volumes"] = json!([{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}]);
    let pod = patched(&sync.pod, &sync.inject(&sync.pod).expect("injected"));
    assert_eq!(ours(&pod)[0].1["volumeMounts"][0], json!({"name": "a", "mountPath": "/data"}));
    let found = mount_of(json!([container("prepare", "b", "/data")]), json!([{"name": "app", "image": "i"}]));
    assert_eq!(found.expect("injected")["mount"]["name"], "b");
}

#[test]
fn an_expression_means_what_the_variables_of_its_container_make_of_it() {
    let container = |name: &str, env: Value, part: (&str, &str)| {
        let mut mount = json!({"name": "a", "mountPath": "/data"});
        mount[part.0] = part.1.into();
        json!({"name": name, "image": "i", "env": env, "volumeMounts": [mount]})
    };
    let role = |value: &str| json!([{"name": "ROLE", "value": value}]);
    let field = |path: &str| json!([{"name": "ROLE", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
    let expression = ("subPathExpr", "x/$(ROLE)");
    let two = |one: Value, other: Value| mount_of(Value::Null, json!([one, other]));
    for (one, other, expected) in [
        (container("one", role("a"), expression), container("two", role("a"), expression), Ok("a")),
        (container("one", role("a"), expression), container("two", role("b"), expression), Err("a/x/a and a/x/b")),
        (container("one", role("a"), expression), container("two", json!([]), ("subPath", "x/a")), Ok("a")),
        (container("one", role("a"), expression), container("two", json!([]), ("subPath", "x/b")), Err("a/x/a and a/x/b")),
        (
            container("one", field("metadata.name"), expression),
            container("two", field("metadata.name"), expression),
            Ok("<field>"),
        ),
        (
            container("one", field("metadata.name"), expression),
            container("two", field("metadata.uid"), expression),
            Err("metadata.uid"),
        ),
    ] {
        let outcome = two(one.clone(), other.clone());
        match (outcome, expected) {
            (Ok(found), Ok(value)) => assert_eq!(found["env"], value, "{one} {other}"),
            (Err(refusal), Err(words)) => {
                assert!(refusal.contains("mount different volumes at '/data'") && refusal.contains(words), "{refusal}");
            }
            (outcome, _) => panic!("{one} {other}: {outcome:?}"),
        }
    }
    // Of two variables of one name the last counts, and a doubled dollar begins no name.
    let twice = json!([{"name": "ROLE", "value": "a"}, {"name": "ROLE", "value": "b"}]);
    let found = mount_of(Value::Null, json!([container("one", twice, expression)])).expect("injected");
    assert_eq!(found["env"], "b");
    let plain = container("one", json!([]), ("subPathExpr", "x/$$(ROLE)"));
    assert_eq!(mount_of(Value::Null, json!([plain])).expect("injected")["env"], Value::Null);
}

#[test]
fn what_other_mutators_add_stays_and_what_they_change_is_mended() {
    let case = case("replica");
    let once = patched(&case.pod, &case.inject(&case.pod).expect("injected"));
    let mut other = once.clone();
    // What the API server fills in, and what others put into every container.
    for container in other["spec"]["initContainers"].as_array_mut().expect("containers") {
        container["terminationMessagePath"] = "/dev/termination-log".into();
        container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1".into();
        container["env"].as_array_mut().expect("variables").push(json!({"name": "AWS_ROLE_ARN", "value": "arn"}));
        container["volumeMounts"].as_array_mut().expect("mounts").push(json!({"name": "aws", "mountPath": "/aws"}));
        container["resources"]["limits"]["cpu"] = "1".into();
    }
    other["spec"]["initContainers"].as_array_mut().expect("containers").insert(0, json!({"name": "proxy", "image": "p"}));
    assert_eq!(case.inject(&other).expect("injected").patch, []);

    // Now something of ours is changed as well: that is set right, and the rest stays.
    other["spec"]["initContainers"][2]["args"] = json!(["sleep"]);
    let variables = other["spec"]["initContainers"][2]["env"].as_array_mut().expect("variables");
    variables.retain(|entry| entry["name"] != "STATE_DIR");
    let mended = case.inject(&other).expect("injected");
    let paths: Vec<&str> = mended.patch.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(paths, ["/spec/initContainers/2/args", "/spec/initContainers/2/env"]);
    let after = patched(&other, &mended);
    let sidecar = &after["spec"]["initContainers"][2];
    assert_eq!(args(sidecar), args(&once["spec"]["initContainers"][1]));
    assert_eq!((env(sidecar)["AWS_ROLE_ARN"], env(sidecar)["STATE_DIR"]), ("arn", "/run/vsc"));
    assert_eq!(case.inject(&after).expect("injected").patch, []);
}

#[test]
fn a_grace_period_that_no_clock_can_reckon_with_is_told_as_one_that_it_can() {
    let mut case = case("replica");
    for (of_pod, of_sync, told) in [
        (json!(i64::MAX), None, "4294967295"),
        (json!(-5), None, "0"),
        (json!(10), Some(i64::MAX), "4294967295"),
        (json!(60), Some(90), "90"),
    ] {
        case.pod["spec"]["terminationGracePeriodSeconds"] = of_pod.clone();
        case.sync.spec.sync_options.termination_grace_period_seconds = of_sync;
        let once = patched(&case.pod, &case.inject(&case.pod).expect("injected"));
        let sidecar = list(&once, "initContainers").into_iter().find(|one| one["name"] == "volume-syncing-sidecar");
        let told_to = env(sidecar.expect("a sidecar"));
        assert_eq!(told_to["VSC_TERMINATION_GRACE_SECONDS"], told, "{of_pod} {of_sync:?}");
        let raised = of_sync.map_or(of_pod, |_| told.parse::<i64>().expect("a number").into());
        assert_eq!(once["spec"]["terminationGracePeriodSeconds"], raised);
        assert_eq!(case.inject(&once).expect("injected").patch, []);
    }
}

#[test]
fn a_mount_that_changes_keeps_nothing_of_what_it_was() {
    let mut case = case("replica");
    case.pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data", "subPath": "old", "mountPropagation": "None"}]);
    let mut once = patched(&case.pod, &case.inject(&case.pod).expect("injected"));
    for (_, container) in ours(&once) {
        assert_eq!(container["volumeMounts"][0]["subPath"], "old");
    }
    // Another mutator moves the application's mount, and adds one to ours.
    once["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    for container in once["spec"]["initContainers"].as_array_mut().expect("containers") {
        container["volumeMounts"].as_array_mut().expect("mounts").push(json!({"name": "aws", "mountPath": "/aws"}));
        container["volumeMounts"][0]["readOnly"] = true.into();
    }
    let twice = patched(&once, &case.inject(&once).expect("injected"));
    let found = ours(&twice);
    assert_eq!(found.len(), 2);
    for (_, container) in found {
        let is_sidecar = container["name"] == "volume-syncing-sidecar";
        let mut expected = json!({"name": "data", "mountPath": "/data"});
        if is_sidecar {
            expected["readOnly"] = true.into();
        }
        let mounts = container["volumeMounts"].as_array().expect("mounts");
        assert_eq!(mounts[0], expected);
        assert_eq!(mounts.last(), Some(&json!({"name": "aws", "mountPath": "/aws"})));
    }
    assert_eq!(case.inject(&twice).expect("injected").patch, []);
}

#[test]
fn a_schedule_that_is_not_used_keeps_no_pod_from_starting() {
    for (method, is_used) in [("fsnotify", false), ("scheduler", true)] {
        let case = unnamed(json!({"syncOptions": {"method": method, "schedule": "every so often"}}));
        assert_eq!(case.inject(&case.pod).is_err(), is_used, "{method}");
    }
}

#[test]
fn a_pod_bears_the_path_that_it_may_report_about() {
    let manual = json!({"name": "init-volume-restore", "image": "theirs"});
    for (fields, init, expected) in [
        (json!({"remotePath": "b/a"}), Value::Null, json!("b/a")),
        (json!({"remotePath": "b/{{ pod.Name }}"}), Value::Null, json!("b/$(POD_NAME)")),
        (json!({"remotePath": "b/{{ '$' }}x"}), Value::Null, json!("b/$$x")),
        // What else the kubelet fills in is not known here.
        (json!({"remotePath": "b/$(TEAM)"}), Value::Null, Value::Null),
        (json!({"remotePath": "b/$(POD_NAME)", "env": {"POD_NAME": "mine"}}), Value::Null, Value::Null),
        (json!({"remotePath": "b/a"}), json!([manual]), Value::Null),
    ] {
        let mut case = unnamed(fields.clone());
        case.pod["spec"]["initContainers"] = init;
        let pod = patched(&case.pod, &case.inject(&case.pod).expect("injected"));
        let written = pod["metadata"]["annotations"]["riotkit.org/volume-sync-status"].as_str().expect("an annotation");
        let written: Value = serde_json::from_str(written).expect("JSON");
        assert_eq!(written["remote"], expected, "{fields}");
    }
}

#[test]
fn a_path_by_the_pods_name_is_known_once_that_pod_pushed_there() {
    for (remote, name, reported, is_restored) in [
        ("b/$(POD_NAME)", Some("db-0"), "b/db-0", true),
        ("/b/$(POD_NAME)/", Some("db-0"), "b/db-0", true),
        ("b/{{ pod.Name }}", Some("db-0"), "b/db-0", true),
        ("b/$(POD_NAME)", Some("db-0"), "b/db-1", false),
        ("b/{{ '$' }}x", Some("db-0"), "b/$x", true),
        ("b/$(POD_NAME)", None, "b/db-0", false),
        // What a sidecar reported whose arguments could not be expanded.
        ("b/$(POD_NAME)", None, "b/$(POD_NAME)", false),
        ("b/a", None, "b/a", true),
    ] {
        let mut case = unnamed(json!({"remotePath": remote, "syncOptions": {"restoreRemoteOnFirstRun": false}}));
        let location = json!({"directory": reported, "synchronizedToRemote": true});
        case.sync.status = Some(serde_json::from_value(json!({"locations": [location]})).expect("a status"));
        if let Some(name) = name {
            case.pod["metadata"]["name"] = name.into();
        }
        let pod = patched(&case.pod, &case.inject(&case.pod).expect("injected"));
        let restores = list(&pod, "initContainers").iter().any(|container| container["name"] == "init-volume-restore");
        assert_eq!(restores, is_restored, "{remote} {name:?} {reported}");
    }
}

#[test]
fn random_pods_keep_what_they_have_and_converge() {
    let cases = corpus();
    let numbers = 0..cases.len();
    let noise = prop_oneof![Just(json!(null)), Just(json!(1.5)), Just(json!({"a": [true, {"b": "ü"}]})), Just(json!("$(X)"))];
    let places = prop_oneof![
        Just("/spec"),
        Just("/metadata"),
        Just("/spec/containers/0"),
        Just("/spec/volumes/0"),
        Just("/spec/initContainers/0"),
        Just("/spec/containers/0/volumeMounts/0")
    ];
    let strange = proptest::collection::vec((places, "[a-z]{1,3}Later", noise), 0..6);
    let extra = proptest::collection::vec(0usize..4, 0..3);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(numbers, strange, extra), |(number, strange, extra)| {
        let case = &cases[number];
        let mut pod = case.pod.clone();
        for (place, name, value) in &strange {
            if let Some(Value::Object(fields)) = pod.pointer_mut(place) {
                fields.insert(name.clone(), value.clone());
            }
        }
        let Ok(first) = case.inject(&pod) else { return Ok(()) };
        let mut once = patched(&pod, &first);
        // Our init container may stand before the one that was first.
        for (place, name, _) in strange.iter().filter(|(place, _, _)| !place.contains("initContainers")) {
            let field = |pod: &Value| pod.pointer(place).and_then(|at| at.get(name)).cloned();
            assert_eq!(field(&once), field(&pod), "{}: {place}/{name}", case.name);
        }
        for kind in extra {
            let (list, at_front) =
                [("initContainers", true), ("initContainers", false), ("containers", true), ("volumes", true)][kind];
            if let Some(Value::Array(items)) = once["spec"].get_mut(list) {
                let at = if at_front { 0 } else { items.len() };
                items.insert(at, json!({"name": format!("other-{list}-{at}"), "image": "o", "emptyDir": {}}));
            }
        }
        match case.inject(&once) {
            Ok(second) => {
                let twice = patched(&once, &second);
                let third = case.inject(&twice).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.name));
                assert_eq!(third.patch, [], "{}", case.name);
            }
            Err(refusal) => panic!("{}: {refusal}", case.name),
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_pods_namespace_and_word_decide_which_resource_is_meant() {
    let sync = |namespace: &str, name: &str, selector: Value| -> PodFilesystemSync {
        let spec = json!({"podSelector": selector, "localPath": "/data", "remotePath": "b"});
        let metadata = json!({"name": name, "namespace": namespace});
        let object =
            json!({"apiVersion": "riotkit.org/v1alpha1", "kind": "PodFilesystemSync", "metadata": metadata, "spec": spec});
        serde_json::from_value(object).expect("a resource")
    };
    let app = json!({"matchLabels": {"app": "a"}});
    let syncs = [
        sync("press", "one", app.clone()),
        sync("press", "none", json!({})),
        sync("press", "broken", json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["a"]}]})),
        sync("press", "tiers", json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}]})),
        sync(
            "press",
            "also",
            json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}, {"key": "app", "operator": "NotIn", "values": ["a"]}]}),
        ),
        sync("other", "one", app),
        sync("other", "elsewhere", json!({"matchLabels": {"app": "z"}})),
    ];
    let choose = |namespace: &str, labels: Value, annotations: Value| {
        let pod = json!({"metadata": {"labels": labels, "annotations": annotations}});
        let chosen = select(&pod, namespace, syncs.iter()).map_err(|refusal| refusal.to_string())?;
        Ok::<_, String>(match chosen {
            Choice::Sync(sync) => {
                Some(format!("{}/{}", sync.metadata.namespace.clone().unwrap(), sync.metadata.name.clone().unwrap()))
            }
            Choice::None => None,
        })
    };
    assert_eq!(choose("press", json!({"app": "a"}), json!({})), Ok(Some("press/one".into())));
    assert_eq!(choose("other", json!({"app": "a"}), json!({})), Ok(Some("other/one".into())));
    assert_eq!(choose("press", json!({"app": "z"}), json!({})), Ok(None));
    assert_eq!(choose("press", json!({"app": "q", "tier": "z"}), json!({})), Ok(Some("press/also".into())));
    assert_eq!(choose("press", Value::Null, Value::Null), Ok(None));
    let several = choose("press", json!({"app": "a", "tier": "x"}), json!({})).unwrap_err();
    assert!(several.contains("one, tiers") && several.contains("riotkit.org/pod-filesystem-sync"), "{several}");
    let named = json!({"riotkit.org/pod-filesystem-sync": "tiers"});
    assert_eq!(choose("press", json!({"app": "a", "tier": "x"}), named), Ok(Some("press/tiers".into())));
    let absent = choose("press", json!({"app": "a"}), json!({"riotkit.org/pod-filesystem-sync": "elsewhere"})).unwrap_err();
    assert!(absent.contains("'elsewhere', which is not in namespace press") && absent.contains("one"), "{absent}");
}

use super::{Said, Verdict, add, is_transition, judge};
use crate::contract::progress::{Report, Trouble, VERSION};
use crate::operator::crd::{LastResult, PodFilesystemSync, PodFilesystemSyncStatus};
use crate::operator::pods::Seen;
use crate::operator::progress::Received;
use crate::runtime::limits;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const NOON_MS: u64 = 1_790_000_000_000;
const MINUTE_MS: u64 = 60_000;

/// A report of a Pod about a path: `fields` over those of a complete push.
fn report(pod: &str, directory: &str, fields: Value) -> Received {
    let mut whole = json!({
        "version": VERSION, "sync": "a", "directory": directory, "step": "push", "result": "complete", "sinceCompleteMs": 0,
    });
    for (name, value) in fields.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let report: Report = serde_json::from_value(whole).unwrap();
    Received::new(report, serde_json::from_value(json!({"name": pod, "uid": pod})).unwrap(), NOON_MS)
}

fn failed(trouble: &str) -> Value {
    json!({"result": "failed", "trouble": trouble, "message": "no answer", "sinceCompleteMs": null})
}

fn added(reports: &[Received], live: &[&str]) -> PodFilesystemSyncStatus {
    let mut status = PodFilesystemSyncStatus::default();
    let live: BTreeSet<&str> = live.iter().copied().collect();
    reports.iter().for_each(|report| add(&mut status, report, &live));
    status
}

fn sync(spec: Value) -> PodFilesystemSync {
    let mut whole = json!({"podSelector": {"matchLabels": {"app": "a"}}, "localPath": "/data", "remotePath": "bucket/a"});
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let object = json!({"apiVersion": "riotkit.org/v1alpha1", "kind": "PodFilesystemSync", "metadata": {"name": "a", "generation": 3}, "spec": whole});
    serde_json::from_value(object).unwrap()
}

fn pods(names: &[&str]) -> Vec<Seen> {
    let annotations = json!({"riotkit.org/volume-sync-status": "{\"sync\":\"a\"}"});
    let pod = |name: &&str| json!({"metadata": {"name": name, "uid": name, "annotations": annotations}});
    names.iter().map(|name| Seen::of(Arc::new(serde_json::from_value(pod(name)).unwrap()))).collect()
}

fn judged(status: &PodFilesystemSyncStatus, spec: Value, running: &[&str], now_ms: u64) -> PodFilesystemSyncStatus {
    judged_of(status, spec, &pods(running), now_ms)
}

fn judged_of(status: &PodFilesystemSyncStatus, spec: Value, pods: &[Seen], now_ms: u64) -> PodFilesystemSyncStatus {
    let verdict = Verdict { accepted: Said::yes("Valid", ""), key: None };
    let mut status = status.clone();
    judge(&mut status, &sync(spec), &verdict, pods, now_ms);
    status
}

/// A Pod that was made at noon with a sidecar that reports, but for `fields` of its metadata and `injected` of its annotation.
fn pod(name: &str, fields: Value, injected: Value) -> Seen {
    let mut status =
        json!({"sync": "a", "remote": "d/$(POD_NAME)", "sidecar": ["volume-syncing-sidecar"], "volumes": ["vsc-token"]});
    for (name, value) in injected.as_object().unwrap() {
        status[name] = value.clone();
    }
    let made = super::stamp_of(NOON_MS).to_string();
    let annotations = json!({"riotkit.org/volume-sync-status": status.to_string()});
    let mut metadata = json!({"name": name, "uid": name, "annotations": annotations, "creationTimestamp": made});
    for (name, value) in fields.as_object().unwrap() {
        metadata[name] = value.clone();
    }
    Seen::of(Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap()))
}

fn said(status: &PodFilesystemSyncStatus, type_: &str) -> (String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status.clone(), found.reason.clone())
}

#[test]
fn only_a_complete_push_makes_a_path_synchronized() {
    for (fields, expected) in [
        (json!({}), true),
        (json!({"result": "noop"}), true),
        (json!({"result": "partial", "sinceCompleteMs": null}), false),
        (failed("Failing"), false),
        // It failed now, and was complete before: the remote holds a whole state.
        (json!({"result": "failed", "sinceCompleteMs": 5000}), true),
    ] {
        let status = added(&[report("p", "d", fields.clone())], &["p"]);
        assert_eq!(status.locations[0].synchronized_to_remote, expected, "{fields}");
        assert_eq!(status.locations[0].last_sync_time.is_some(), expected, "{fields}");
    }
    assert!(added(&[report("p", "d", json!({"step": "restore"}))], &["p"]).locations.is_empty(), "a restore proves no push");
}

#[test]
fn a_failure_keeps_the_time_of_the_last_complete_push() {
    let status = added(&[report("p", "d", json!({})), report("p", "d", failed("Failing"))], &["p"]);
    let location = &status.locations[0];
    assert_eq!(location.last_sync_time.as_ref().unwrap().0.as_millisecond(), i64::try_from(NOON_MS).unwrap());
    assert_eq!((location.last_result, location.message.as_deref()), (Some(LastResult::Failed), Some("no answer")));
    assert!(location.synchronized_to_remote);
}

#[test]
fn the_last_writer_speaks_of_a_path() {
    let old = json!({"epoch": 3, "generation": 9});
    for (epoch, generation, more, expected) in [
        (3, 8, json!({}), "old"),
        (2, 99, json!({}), "old"),
        (3, 10, json!({}), "new"),
        (4, 1, json!({}), "new"),
        // Without a right to write, as in the plain layout, the newest report counts.
        (0, 0, json!({}), "new"),
        (0, 0, failed("Failing"), "new"),
        (0, 0, failed("LeaseHeld"), "old"),
    ] {
        let mut fields = more.clone();
        (fields["epoch"], fields["generation"]) = (epoch.into(), generation.into());
        let status = added(&[report("old", "d", old.clone()), report("new", "d", fields)], &["old", "new"]);
        assert_eq!(status.locations.len(), 1);
        assert_eq!(status.locations[0].pod.as_deref(), Some(expected), "{epoch} {generation} {more}");
    }
}

#[test]
fn a_vault_that_begins_anew_is_heard_of_once_its_last_writer_is_gone() {
    let before = report("old", "d", json!({"epoch": 7, "generation": 900}));
    let anew = report("new", "d", json!({"epoch": 1, "generation": 1}));
    for (live, expected) in [(vec!["new"], "new"), (vec!["old", "new"], "old"), (vec!["old"], "old"), (vec![], "old")] {
        let status = added(&[before.clone(), anew.clone()], &live);
        assert_eq!(status.locations[0].pod.as_deref(), Some(expected), "{live:?}");
    }
    let status = added(&[before, anew], &["new"]);
    assert_eq!((status.locations[0].lease_epoch, status.locations[0].generation), (Some(1), Some(1)));
}

#[test]
fn a_pod_that_speaks_of_many_paths_has_one() {
    let reports: Vec<Received> = (0..10).map(|number| report("p", &format!("d{number}"), json!({}))).collect();
    let status = added(&[vec![report("other", "mine", json!({}))], reports].concat(), &["p", "other"]);
    let names: Vec<&str> = status.locations.iter().map(|location| location.directory.as_str()).collect();
    assert_eq!(names, ["d9", "mine"]);
}

#[test]
fn of_too_many_paths_those_go_that_nobody_writes() {
    let mut status = PodFilesystemSyncStatus::default();
    let live = BTreeSet::from(["p0", "p1"]);
    for number in 0..limits::LOCATIONS + 20 {
        let fields = if number == 5 { failed("Failing") } else { json!({"sinceCompleteMs": (200 - number) * 1000}) };
        add(&mut status, &report(&format!("p{number}"), &format!("d{number:03}"), fields), &live);
    }
    let names: Vec<&str> = status.locations.iter().map(|location| location.directory.as_str()).collect();
    assert_eq!(names.len(), limits::LOCATIONS);
    assert!(names.contains(&"d000") && names.contains(&"d001"), "those of Pods that run stay: {names:?}");
    assert!(!names.contains(&"d005") && !names.contains(&"d002"), "never complete, and complete longest ago: {names:?}");
}

#[test]
fn a_restore_that_failed_is_a_trouble_until_one_succeeds() {
    for (trouble, reason, synced) in [("Failing", "RestoreFailed", "Failing"), ("KeyMismatch", "KeyMismatch", "KeyMismatch")] {
        let mut restore = failed(trouble);
        restore["step"] = "restore".into();
        let status = added(&[report("p", "d", restore.clone())], &["p"]);
        assert_eq!(said(&judged(&status, json!({}), &["p"], NOON_MS), "Synced").1, synced);
        assert_eq!(status.locations[0].reason.as_deref(), Some(reason));
        let good = report("p", "d", json!({"step": "restore"}));
        let status = added(&[report("p", "d", restore), good.clone()], &["p"]);
        assert_eq!((status.locations[0].last_result, status.locations[0].reason.as_deref()), (None, None), "{trouble}");
        assert_eq!(said(&judged(&status, json!({}), &["p"], NOON_MS), "Synced").1, "NeverSynced");
        // What a push found is another matter, unless it was the key.
        let status = added(&[report("p", "d", failed(trouble)), good], &["p"]);
        assert_eq!(status.locations[0].last_result.is_some(), trouble == "Failing", "{trouble}");
    }
}

#[test]
fn the_worst_of_the_running_pods_is_the_condition() {
    let held = json!({"result": "partial", "trouble": "DeletesHeld", "deletesHeld": 7});
    let partial = json!({"result": "partial"});
    for (reports, spec, running, synced, ready) in [
        (vec![], json!({}), vec!["p"], ("Unknown", "NeverSynced"), "True"),
        (vec![report("p", "d", json!({}))], json!({}), vec!["p"], ("True", "Complete"), "True"),
        (vec![report("p", "d", json!({}))], json!({"suspend": true}), vec!["p"], ("Unknown", "Suspended"), "True"),
        (vec![report("p", "d", held.clone())], json!({}), vec!["p"], ("False", "DeletesHeld"), "False"),
        (vec![report("p", "d", partial.clone())], json!({}), vec!["p"], ("False", "Partial"), "False"),
        (
            vec![report("p", "d", failed("Failing")), report("q", "e", held)],
            json!({}),
            vec!["p", "q"],
            ("False", "Failing"),
            "False",
        ),
        (vec![report("p", "d", failed("KeyMismatch"))], json!({}), vec!["p"], ("False", "KeyMismatch"), "False"),
        (vec![report("p", "d", failed("LeaseHeld"))], json!({}), vec!["p"], ("False", "LeaseHeld"), "False"),
        // What a Pod that is gone left behind does not count beside one that runs.
        (
            vec![report("gone", "d", failed("Failing")), report("p", "e", json!({}))],
            json!({}),
            vec!["p"],
            ("True", "Complete"),
            "True",
        ),
        (vec![report("gone", "d", failed("Failing"))], json!({}), vec![], ("False", "Failing"), "False"),
    ] {
        let status = judged(&added(&reports, &running), spec.clone(), &running, NOON_MS);
        assert_eq!(said(&status, "Synced"), (synced.0.to_string(), synced.1.to_string()), "{reports:?} {spec}");
        assert_eq!(said(&status, "Ready").0, ready, "{reports:?} {spec}");
        assert_eq!(status.observed_generation, Some(3));
    }
}

#[test]
fn who_reports_no_complete_push_for_several_intervals_is_stale() {
    let status = added(&[report("p", "d", json!({}))], &["p"]);
    let scheduled = |schedule: &str| json!({"syncOptions": {"schedule": schedule}});
    for (spec, minutes, running, expected) in [
        (scheduled("@every 5m"), 20, vec!["p"], "Complete"),
        (scheduled("@every 5m"), 21, vec!["p"], "Stale"),
        (scheduled("@every 1h"), 184, vec!["p"], "Complete"),
        (scheduled("@every 1h"), 186, vec!["p"], "Stale"),
        (json!({"syncOptions": {"method": "fsnotify"}}), 34, vec!["p"], "Complete"),
        (json!({"syncOptions": {"method": "fsnotify"}}), 36, vec!["p"], "Stale"),
        (json!({"syncOptions": {"method": "fsnotify", "maxOneSyncPerMinutes": "60"}}), 184, vec!["p"], "Complete"),
        // Nobody runs who could.
        (scheduled("@every 5m"), 100_000, vec![], "Complete"),
    ] {
        let judged = judged(&status, spec.clone(), &running, NOON_MS + minutes * MINUTE_MS);
        assert_eq!(said(&judged, "Synced").1, expected, "{spec} after {minutes} minutes");
    }
}

#[test]
fn who_runs_for_long_and_never_reports_is_stale() {
    let speaks = pod("p", json!({}), json!({}));
    let mut good = report("p", "d/p", json!({}));
    good.at_ms = NOON_MS + 20 * MINUTE_MS;
    let mut shared = report("p", "d", json!({}));
    shared.at_ms = good.at_ms;
    let spec = json!({"syncOptions": {"schedule": "@every 5m"}});
    for (reports, other, minutes, expected) in [
        (vec![good.clone()], pod("q", json!({}), json!({})), 21, "Stale"),
        (vec![good.clone()], pod("q", json!({}), json!({})), 20, "Complete"),
        (vec![], pod("q", json!({}), json!({})), 21, "Stale"),
        (vec![], pod("q", json!({}), json!({})), 20, "NeverSynced"),
        // Who ends, cannot report, does not push, or whose path is not known.
        (vec![good.clone()], pod("q", json!({"deletionTimestamp": "2026-09-21T12:00:00Z"}), json!({})), 21, "Complete"),
        (vec![good.clone()], pod("q", json!({}), json!({"volumes": ["vsc-run"]})), 21, "Complete"),
        (vec![good.clone()], pod("q", json!({}), json!({"sidecar": []})), 21, "Complete"),
        (vec![good.clone()], pod("q", json!({}), json!({"remote": null})), 21, "Complete"),
        // Another one that has the same path reports.
        (vec![good, shared], pod("q", json!({}), json!({"remote": "d"})), 21, "Complete"),
    ] {
        let status = added(&reports, &["p", "q"]);
        let first = if reports.len() == 2 { pod("p", json!({}), json!({"remote": "d"})) } else { speaks.clone() };
        let all = if reports.is_empty() { vec![other] } else { vec![first, other] };
        let judged = judged_of(&status, spec.clone(), &all, NOON_MS + minutes * MINUTE_MS);
        assert_eq!(said(&judged, "Synced").1, expected, "{reports:?} {all:?} after {minutes} minutes");
        let message = &judged.conditions.iter().find(|condition| condition.type_ == "Synced").unwrap().message;
        assert!(expected != "Stale" || message.starts_with("q at d/q has not reported"), "{message}");
    }
}

#[test]
fn times_and_amounts_sum_up_over_the_running_pods() {
    let reports = [
        report("p", "d", json!({"sinceCompleteMs": 60_000, "pendingBytes": 5})),
        report("q", "e", json!({"sinceCompleteMs": 1000, "pendingBytes": 7})),
        report("gone", "f", json!({"sinceCompleteMs": 9_000_000, "pendingBytes": 1000})),
    ];
    let status = judged(&added(&reports, &["p", "q"]), json!({}), &["p", "q", "new"], NOON_MS);
    let millis = status.last_sync_time.unwrap().0.as_millisecond();
    assert_eq!(millis, i64::try_from(NOON_MS - 60_000).unwrap(), "the one that is furthest behind");
    assert_eq!(status.pending_bytes, Some(12));
    let pods = status.pods.unwrap();
    assert_eq!((pods.matched, pods.injected, pods.failing), (3, 3, 0));
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let first = judged(&PodFilesystemSyncStatus::default(), json!({}), &[], NOON_MS);
    let later = judged(&first, json!({}), &[], NOON_MS + MINUTE_MS);
    assert_eq!(first, later);
    let mut failing = later.clone();
    add(&mut failing, &report("p", "d", failed("Failing")), &BTreeSet::from(["p"]));
    let failing = judged(&failing, json!({}), &["p"], NOON_MS + MINUTE_MS);
    let time = |status: &PodFilesystemSyncStatus, type_: &str| {
        status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().last_transition_time.0.as_millisecond()
    };
    assert_eq!(time(&failing, "Ready") - time(&first, "Ready"), 60_000);
    assert_eq!(time(&failing, "Accepted"), time(&first, "Accepted"));
    assert!(is_transition(&first, &failing));
}

#[test]
fn times_and_amounts_alone_are_no_transition() {
    let before = judged(&added(&[report("p", "d", json!({}))], &["p"]), json!({}), &["p"], NOON_MS);
    let next = |fields: Value| {
        let mut status = before.clone();
        let mut received = report("p", "d", fields);
        received.at_ms = NOON_MS + MINUTE_MS;
        add(&mut status, &received, &BTreeSet::from(["p"]));
        judged(&status, json!({}), &["p"], NOON_MS + MINUTE_MS)
    };
    let quiet = next(json!({"result": "noop", "generation": 8, "pendingBytes": 3}));
    assert!(quiet != before && !is_transition(&before, &quiet));
    assert!(is_transition(&before, &next(json!({"result": "partial"}))));
    assert!(is_transition(&before, &next(failed(Trouble::Failing.word()))));
}

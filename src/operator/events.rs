//! Events: what happened, told where people look first. What happens again and again is told now and then.

use super::{in_words, no_answer, timely};
use crate::contract::kubernetes::CONTROLLER;
use crate::contract::progress::one_line;
use crate::runtime::{clock, limits};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A note is never longer: the API server refuses it.
pub(super) const NOTE_BYTES: usize = 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// To a PodFilesystemSync: another selects the same Pods.
    OverlappingSelector,
    /// Its schedule cannot be read.
    InvalidSchedule,
    /// Its key was made.
    KeyCreated,
    /// The key of its Secret does not open what lies at the remote.
    KeyMismatch,
    /// To a Pod: its volume was restored.
    VolumeRestored,
    /// That failed.
    RestoreFailed,
    /// Its pushes fail.
    SyncFailing,
    /// Deletes wait for an approval.
    DeletesHeld,
    /// It asked for syncing and was not given the containers.
    NotInjected,
}

impl Reason {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Reason::OverlappingSelector => "OverlappingSelector",
            Reason::InvalidSchedule => "InvalidSchedule",
            Reason::KeyCreated => "KeyCreated",
            Reason::KeyMismatch => "KeyMismatch",
            Reason::VolumeRestored => "VolumeRestored",
            Reason::RestoreFailed => "RestoreFailed",
            Reason::SyncFailing => "SyncFailing",
            Reason::DeletesHeld => "DeletesHeld",
            Reason::NotInjected => "NotInjected",
        }
    }

    fn type_(self) -> EventType {
        match self {
            Reason::KeyCreated | Reason::VolumeRestored => EventType::Normal,
            _ => EventType::Warning,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Reason::OverlappingSelector | Reason::InvalidSchedule => "Accept",
            Reason::KeyCreated => "CreateKey",
            Reason::VolumeRestored | Reason::RestoreFailed => "Restore",
            Reason::SyncFailing | Reason::DeletesHeld | Reason::KeyMismatch => "Push",
            Reason::NotInjected => "Inject",
        }
    }
}

/// Tells Events.
pub struct Events {
    recorder: Recorder,
    /// When each was told, by object and reason.
    told: Mutex<HashMap<(String, Reason), Instant>>,
    /// The last one was not taken.
    fails: AtomicBool,
}

impl Events {
    /// `pod`: which replica tells them.
    pub fn new(client: Client, pod: &str) -> Events {
        let reporter = Reporter { controller: CONTROLLER.into(), instance: Some(pod.to_owned()) };
        Events { recorder: Recorder::new(client, reporter), told: Mutex::default(), fails: AtomicBool::new(false) }
    }

    /// Tells what happened to an object, unless the same was told a short while ago; whether that went well. Of failures in a row
    /// the first is logged.
    pub async fn tell(&self, about: &ObjectReference, reason: Reason, note: &str) -> bool {
        if !self.is_due((about.uid.clone().unwrap_or_default(), reason), clock::now()) {
            return true;
        }
        let event = Event {
            type_: reason.type_(),
            reason: reason.word().to_owned(),
            note: Some(one_line(note, NOTE_BYTES)),
            action: reason.action().to_owned(),
            secondary: None,
        };
        let told = timely(limits::KUBE_TIMEOUT, self.recorder.publish(&event, about)).await;
        let failure = told.unwrap_or_else(|| Err(no_answer())).err();
        let failed_before = self.fails.swap(failure.is_some(), Ordering::Relaxed);
        if let Some(error) = failure.as_ref().filter(|_| !failed_before) {
            tracing::warn!(reason = reason.word(), "Events are not told now: {}", in_words(error));
        }
        failure.is_none()
    }

    fn is_due(&self, key: (String, Reason), now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |at: &Instant| now.duration_since(*at) < limits::EVENT_INTERVAL;
        if told.get(&key).is_some_and(is_fresh) {
            return false;
        }
        if told.len() >= limits::EVENTS {
            told.retain(|_, at| is_fresh(at));
        }
        // With that much going on, one more Event helps nobody.
        let has_room = told.len() < limits::EVENTS;
        if has_room {
            told.insert(key, now);
        }
        has_room
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Events")
    }
}

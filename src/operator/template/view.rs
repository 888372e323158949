//! The Pod as templates see it: read only, by the names of its JSON and by those of Go, which the predecessor's templates use.

use super::{STEPS, TEMPLATE_BYTES};
use crate::operator::expansion::NAME_REFERENCE;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Shown};
use minijinja::{Error, ErrorKind, State};
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Fields whose keys are the user's own words: they have one spelling.
const WORDS: [&str; 7] = ["labels", "annotations", "nodeSelector", "matchLabels", "limits", "requests", "overhead"];
/// Go's names for parts that have none in JSON: their fields are those of what holds them.
const EMBEDDED: [&str; 8] = [
    "TypeMeta",
    "VolumeSource",
    "PersistentVolumeSource",
    "LocalObjectReference",
    "ProbeHandler",
    "Handler",
    "EphemeralContainerCommon",
    "ResizePolicy",
];
/// What is remembered of what was not found.
const MISSED: usize = 16;

/// What a template asked for in vain.
#[derive(Debug, Default)]
pub(super) struct Missed {
    absent: Mutex<Vec<String>>,
    no_text: Mutex<Option<String>>,
    listed: AtomicU64,
    /// The name of a Pod that has none yet was put to a use that needs it.
    name: AtomicBool,
}

impl Missed {
    /// What was asked for last.
    pub(super) fn last(&self) -> Option<String> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// An object that was taken for a text.
    pub(super) fn no_text(&self) -> Option<String> {
        self.no_text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether so many keys may still be listed: a Pod may have thousands, and each loop lists them all.
    fn may_list(&self, keys: usize) -> bool {
        let keys = u64::try_from(keys).unwrap_or(STEPS);
        self.listed.fetch_add(keys, Ordering::Relaxed).saturating_add(keys) <= STEPS
    }

    /// Whether something was made of a name that is not there yet.
    pub(super) fn name(&self) -> bool {
        self.name.load(Ordering::Relaxed)
    }

    fn note_absent(&self, what: String) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.truncate(MISSED - 1);
        absent.push(what);
    }
}

/// The Pod.
pub(super) fn pod(root: &Arc<Value>, missed: &Arc<Missed>) -> Shown {
    Shown::from_object(Part { root: root.clone(), pointer: String::new(), words: "pod".into(), missed: missed.clone() })
}

/// The name of a Pod that has none yet. The kubelet fills it in, so a template may write it, and ask whether it is there; of what
/// else it does with it nothing could be true. Filters and operators do not say what they read: a name that is let go of, and was
/// neither written nor asked for, was put to some other use.
#[derive(Debug)]
pub(super) struct Unnamed {
    missed: Arc<Missed>,
    is_settled: AtomicBool,
}

impl Unnamed {
    /// What is written for a value, if it is such a name.
    pub(super) fn write(value: &Shown) -> Option<&'static str> {
        value.downcast_object_ref::<Unnamed>().map(|unnamed| {
            unnamed.settle();
            NAME_REFERENCE
        })
    }

    /// The value, of which it is only asked whether it is there.
    pub(super) fn look(value: &Shown) -> &Shown {
        value.downcast_object_ref().inspect(|unnamed: &&Unnamed| unnamed.settle());
        value
    }

    fn settle(&self) {
        self.is_settled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.is_settled.load(Ordering::Relaxed) {
            self.missed.name.store(true, Ordering::Relaxed);
        }
    }
}

impl Object for Unnamed {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.settle();
        true
    }

    /// Part of another text.
    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.missed.name.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// An object or a list of the Pod.
struct Part {
    root: Arc<Value>,
    /// Where in the Pod it lies.
    pointer: String,
    /// The same for a person.
    words: String,
    missed: Arc<Missed>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Part {
    fn value(&self) -> Option<&Value> {
        self.root.pointer(&self.pointer)
    }

    fn is_pod(&self) -> bool {
        self.pointer.is_empty()
    }

    fn has_own_words(&self) -> bool {
        self.pointer.rsplit('/').next().is_some_and(|name| WORDS.contains(&name))
    }

    fn at(&self, pointer: String, words: String) -> Part {
        Part { root: self.root.clone(), pointer, words, missed: self.missed.clone() }
    }

    fn below(&self, step: &str) -> Option<(Part, &Value)> {
        let pointer = format!("{}/{}", self.pointer, step.replace('~', "~0").replace('/', "~1"));
        let words = if self.has_own_words() || self.value().is_some_and(Value::is_array) {
            let quote = if self.has_own_words() { "\"" } else { "" };
            format!("{}[{quote}{step}{quote}]", self.words)
        } else {
            format!("{}.{step}", self.words)
        };
        let value = self.root.pointer(&pointer).filter(|value| !value.is_null())?;
        Some((self.at(pointer, words), value))
    }

    /// A field by its name in JSON or in Go.
    fn field(self: &Arc<Self>, name: &str) -> Option<Shown> {
        let metadata = || self.at("/metadata".into(), format!("{}.metadata", self.words));
        if self.is_pod() && matches!(name, "ObjectMeta" | "metadata") {
            return Some(Shown::from_object(metadata()));
        }
        if !self.has_own_words() && EMBEDDED.contains(&name) {
            return Some(Shown::from_dyn_object(self.clone()));
        }
        let json_name = if self.has_own_words() { name.to_string() } else { json_name(name) };
        if self.pointer == "/metadata" && json_name == "name" && self.below("name").is_none_or(|(_, value)| value == "") {
            let is_settled = AtomicBool::new(false);
            return Some(Shown::from_object(Unnamed { missed: self.missed.clone(), is_settled }));
        }
        // Go promotes the fields of the metadata.
        if self.is_pod() && self.below(&json_name).is_none() {
            return Arc::new(metadata()).field(name);
        }
        let (part, value) = self.below(&json_name)?;
        part.shown(value)
    }

    fn shown(&self, value: &Value) -> Option<Shown> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(value) => Shown::from(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Shown::from(whole),
                (None, fraction) => Shown::from(fraction?),
            },
            Value::String(text) if text.len() > TEMPLATE_BYTES => return None,
            Value::String(text) => Shown::from(text.as_str()),
            Value::Array(_) | Value::Object(_) => Shown::from_object(self.at(self.pointer.clone(), self.words.clone())),
        })
    }

    fn missing(&self, key: &str) -> String {
        let value = self.value();
        if value.is_some_and(|value| value.get(key).and_then(Value::as_str).is_some_and(|text| text.len() > TEMPLATE_BYTES)) {
            return format!("{}.{key} of at most {TEMPLATE_BYTES} bytes", self.words);
        }
        if self.has_own_words() { format!("{}[\"{key}\"]", self.words) } else { format!("{}.{key}", self.words) }
    }
}

impl Object for Part {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.value() {
            Some(Value::Array(_)) => ObjectRepr::Seq,
            _ => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Shown) -> Option<Shown> {
        let found = match (self.value(), key.as_str(), key.as_usize()) {
            (Some(Value::Array(_)), _, Some(index)) => self.below(&index.to_string()).and_then(|(part, value)| part.shown(value)),
            // Labels and annotations may be absent altogether: what is missing is the one that was asked for.
            (_, Some(name), _) => self.field(name).or_else(|| self.empty_words(name)),
            _ => None,
        };
        if found.is_none() {
            self.missed.note_absent(self.missing(&key.to_string()));
        }
        found
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.value() {
            Some(Value::Array(items)) => Enumerator::Seq(items.len()),
            Some(Value::Object(fields)) if self.has_own_words() && self.missed.may_list(fields.len()) => {
                let keys = fields.keys().filter(|key| key.len() <= TEMPLATE_BYTES);
                Enumerator::Values(keys.map(|key| Shown::from(key.as_str())).collect())
            }
            _ => Enumerator::NonEnumerable,
        }
    }

    /// Go's getters of the metadata: `pod.GetNamespace()`.
    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Shown]) -> Result<Shown, Error> {
        let name = method.strip_prefix("Get").filter(|_| args.is_empty() && (self.is_pod() || self.pointer == "/metadata"));
        let name = name.ok_or_else(|| Error::new(ErrorKind::UnknownMethod, format!("there is no {}.{method}()", self.words)))?;
        let metadata = Arc::new(self.at("/metadata".into(), "pod.metadata".into()));
        Ok(metadata.get_value(&Shown::from(name)).unwrap_or(Shown::UNDEFINED))
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Putting it into words could make a text as long as the Pod, again and again.
        *self.missed.no_text.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.words.clone());
        Ok(())
    }
}

impl Part {
    fn empty_words(self: &Arc<Self>, name: &str) -> Option<Shown> {
        let json_name = json_name(name);
        let is_metadata = self.is_pod() || self.pointer == "/metadata";
        (is_metadata && matches!(json_name.as_str(), "labels" | "annotations"))
            .then(|| Shown::from_object(self.at(format!("/metadata/{json_name}"), format!("pod.metadata.{json_name}"))))
    }
}

/// The name in JSON of a field of Go: `NodeName` is `nodeName`, `DNSPolicy` is `dnsPolicy`, `UID` is `uid`. Others stay.
fn json_name(name: &str) -> String {
    let capitals = name.bytes().take_while(u8::is_ascii_uppercase).count();
    let lowered = match capitals {
        0 | 1 => capitals,
        all if all == name.len() => all,
        some => some - 1,
    };
    format!("{}{}", name[..lowered].to_ascii_lowercase(), &name[lowered..])
}

#[cfg(test)]
mod tests {
    use super::json_name;

    #[test]
    fn names_of_go_become_names_of_json() {
        for (go, json) in [
            ("NodeName", "nodeName"),
            ("UID", "uid"),
            ("DNSPolicy", "dnsPolicy"),
            ("HostIPC", "hostIPC"),
            ("FSGroup", "fsGroup"),
            ("SELinuxOptions", "seLinuxOptions"),
            ("nodeName", "nodeName"),
            ("", ""),
        ] {
            assert_eq!(json_name(go), json, "{go}");
        }
    }
}

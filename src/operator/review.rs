//! The API server's questions and our answers, `AdmissionReview` of `admission.k8s.io/v1`. What is asked about stays as it was
//! sent: a Pod has fields that this program has never heard of.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What the API server asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The API server tells our answer by it.
    pub uid: String,
    /// Where the object is to be.
    pub namespace: String,
    /// Whether a Pod is to be made: what else there is to ask is answered with yes.
    pub is_new_pod: bool,
    /// The object, as it was sent; null where there is none.
    pub object: Value,
}

/// Why a review cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is no JSON, or too deep, or lacks what every review has.
    #[error("this is no AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of another version.
    #[error("this is {0}; {API_VERSION} {KIND} is answered: name v1 in admissionReviewVersions")]
    Version(String),
    /// It asks nothing.
    #[error("this AdmissionReview holds no request")]
    Empty,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    resource: Resource,
    #[serde(default, rename = "subResource")]
    sub_resource: String,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize, Default)]
struct Resource {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resource: String,
}

impl Question {
    /// What a body asks.
    pub fn read(body: &[u8]) -> Result<Question, ReviewError> {
        let review: Review = serde_json::from_slice(body)?;
        if review.api_version != API_VERSION || review.kind != KIND {
            let found: String = format!("{} {}", review.api_version, review.kind).chars().take(100).collect();
            return Err(ReviewError::Version(found.escape_debug().to_string()));
        }
        let Request { uid, namespace, operation, resource, sub_resource, object } = review.request.ok_or(ReviewError::Empty)?;
        let is_pod = resource.group.is_empty() && resource.resource == "pods" && sub_resource.is_empty();
        let is_new_pod = is_pod && operation == "CREATE" && object.is_object();
        Ok(Question { uid, namespace, is_new_pod, object })
    }
}

/// What the API server is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    uid: String,
    verdict: Verdict,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Unchanged,
    Changed(Vec<u8>),
    Refused(String),
}

impl Answer {
    /// It may be as it is.
    pub fn unchanged(uid: &str, warnings: Vec<String>) -> Answer {
        Answer { uid: uid.to_owned(), verdict: Verdict::Unchanged, warnings }
    }

    /// It may be with these changes (RFC 6902); none leave it as it is.
    pub fn changed(uid: &str, patch: &[impl Serialize], warnings: Vec<String>) -> Result<Answer, serde_json::Error> {
        if patch.is_empty() {
            return Ok(Answer::unchanged(uid, warnings));
        }
        Ok(Answer { uid: uid.to_owned(), verdict: Verdict::Changed(serde_json::to_vec(patch)?), warnings })
    }

    /// It may not be, for this reason.
    pub fn refused(uid: &str, message: String) -> Answer {
        Answer { uid: uid.to_owned(), verdict: Verdict::Refused(message), warnings: Vec::new() }
    }

    /// The body of the answer.
    pub fn body(&self) -> Vec<u8> {
        let patch = match &self.verdict {
            Verdict::Changed(patch) => Some(BASE64.encode(patch)),
            _ => None,
        };
        let status = match &self.verdict {
            // Without a code the API server would say that no reason was given.
            Verdict::Refused(message) => Some(Status { code: 403, reason: "Forbidden", message }),
            _ => None,
        };
        let response = Response {
            uid: &self.uid,
            allowed: status.is_none(),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            status,
            warnings: &self.warnings,
        };
        let review = Reply { api_version: API_VERSION, kind: KIND, response };
        serde_json::to_vec(&review).expect("texts and numbers are always JSON")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'a str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::{Answer, Question};
    use serde_json::{Value, json};

    fn review(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u-1",
                "namespace": "press",
                "operation": "CREATE",
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "object": {"kind": "Pod", "spec": {"neverHeardOf": {"a": 1}}},
            },
        });
        change(&mut review);
        serde_json::to_vec(&review).unwrap()
    }

    #[test]
    fn a_question_keeps_what_it_does_not_know() {
        let question = Question::read(&review(|_| {})).unwrap();
        assert!(question.is_new_pod);
        assert_eq!((question.uid.as_str(), question.namespace.as_str()), ("u-1", "press"));
        assert_eq!(question.object["spec"]["neverHeardOf"]["a"], 1);
    }

    #[test]
    fn only_the_creation_of_a_pod_is_a_new_pod() {
        for (pointer, value) in [
            ("/request/operation", json!("DELETE")),
            ("/request/operation", json!("UPDATE")),
            ("/request/resource/resource", json!("configmaps")),
            ("/request/resource/group", json!("apps")),
            ("/request/object", Value::Null),
            ("/request/object", json!([])),
        ] {
            let body = review(|review| *review.pointer_mut(pointer).unwrap() = value.clone());
            assert!(!Question::read(&body).unwrap().is_new_pod, "{pointer} {value}");
        }
        let body = review(|review| review["request"]["subResource"] = "ephemeralcontainers".into());
        assert!(!Question::read(&body).unwrap().is_new_pod);
    }

    #[test]
    fn what_is_no_review_is_told_so() {
        let deep = format!("{{\"request\":{{\"object\":{}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
        let bodies = [
            (b"".to_vec(), "EOF"),
            (b"{".to_vec(), "EOF"),
            (b"\xff\xfe".to_vec(), "expected"),
            (b"null".to_vec(), "invalid type"),
            (b"{}".to_vec(), "v1 AdmissionReview is answered"),
            (deep.into_bytes(), "recursion limit"),
            (review(|review| review["request"] = Value::Null), "holds no request"),
            (review(|review| review["request"]["uid"] = Value::Null), "invalid type"),
            (review(|review| review["apiVersion"] = "admission.k8s.io/v1beta1".into()), "name v1 in admissionReviewVersions"),
        ];
        for (body, words) in bodies {
            let error = Question::read(&body).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_answer_says_yes_or_no_and_to_which_question() {
        let none: [Value; 0] = [];
        let read = |answer: Answer| serde_json::from_slice::<Value>(&answer.body()).unwrap();
        let plain = read(Answer::changed("u", &none, Vec::new()).unwrap());
        assert_eq!(plain["response"], json!({"uid": "u", "allowed": true}));
        assert_eq!((&plain["apiVersion"], &plain["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
        let patch = [json!({"op": "add", "path": "/a", "value": 1})];
        let changed = read(Answer::changed("u", &patch, vec!["careful".into()]).unwrap());
        assert_eq!(
            (&changed["response"]["patchType"], &changed["response"]["warnings"]),
            (&json!("JSONPatch"), &json!(["careful"]))
        );
        let bytes = data_encoding::BASE64.decode(changed["response"]["patch"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), json!(patch));
        let refused = read(Answer::refused("u", "no \"x\"".into()));
        let status = json!({"code": 403, "reason": "Forbidden", "message": "no \"x\""});
        assert_eq!(refused["response"], json!({"uid": "u", "allowed": false, "status": status}));
    }
}

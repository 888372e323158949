//! Objects that Swift keeps in parts: such an object only names its parts, which are objects themselves and outlive it.

use super::super::error::{Asked, StoreError};
use super::super::http::Exchange;
use super::{Recorded, Served};
use bytes::Bytes;
use http::{Method, Request};
use opendal::raw::{Operation, percent_encode_path};
use opendal::{Buffer, ErrorKind};
use serde_json::Value;

/// Where the parts of objects lie, from the container's root: what is there belongs to other objects.
pub(super) const SEGMENTS: &str = ".segments/";

impl Served {
    /// The parts of an object that were sent with it, from the container's root. Other objects that it names are not its own.
    pub(in crate::store) async fn parts(&self, asked: &Asked) -> Result<Vec<String>, StoreError> {
        // Asked for what an object in one piece names, the store sends all that is in it.
        if !self.manner.segments || self.named(asked, Operation::Stat).await?.is_none() {
            return Ok(Vec::new());
        }
        let Some(named) = self.named(asked, Operation::Read).await? else { return Ok(Vec::new()) };
        let named: Vec<Value> =
            serde_json::from_slice(&named).map_err(|_| StoreError::unavailable(asked, "the answer cannot be read", true))?;
        let (config, _) = self.operator.current();
        let object = format!("/{}/{SEGMENTS}{}", config.container, self.path(&asked.key));
        let own = named.iter().filter_map(|part| part["name"].as_str()).filter(|name| is_part(name, &object));
        let from_root = |name: &str| name.strip_prefix(&format!("/{}/", config.container)).map(str::to_owned);
        Ok(own.filter_map(from_root).collect())
    }

    /// Deletes a part: the key asked for begins at the container's root.
    pub(in crate::store) async fn delete_part(&self, asked: &Asked) -> Result<(), StoreError> {
        self.delete_at(asked, asked.key.clone()).await
    }

    /// What a store says of an object in parts itself, or only that it is one; nothing where it is none.
    async fn named(&self, asked: &Asked, operation: Operation) -> Result<Option<Bytes>, StoreError> {
        let _slot = self.slots.acquire().await;
        let Recorded { operator, exchange, address } = self.recorded_for(asked).await?;
        let (config, _) = self.operator.current();
        let path = percent_encode_path(&format!("{}/{}", config.container, self.path(&asked.key)));
        let url = format!("{}/{path}?multipart-manifest=get", address.trim_end_matches('/'));
        let method = if operation == Operation::Stat { Method::HEAD } else { Method::GET };
        let request = Request::builder().method(method).uri(url).extension(operation);
        // Of a log-in, the transport knows it.
        let request = request.header("X-Auth-Token", config.text("auth_token")).body(Buffer::new());
        let wrong = |_| StoreError::usage(format!("{asked}: the address cannot be asked"), "check the storage_url");
        let answer = operator.base_context().http_transport().fetch(request.map_err(wrong)?).await;
        let exchange = Exchange::take(&exchange);
        let (answer, got) = match (answer, &exchange.answer) {
            (Ok(answer), Some(Ok(got))) => (answer, got),
            (Err(error), _) => return Err(self.judged(asked, &error, &exchange)),
            (Ok(_), _) => return Err(StoreError::unavailable(asked, "no answer was seen", true)),
        };
        let is_true = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"true");
        match got.status {
            200..=299 => Ok(answer.headers().get("X-Static-Large-Object").is_some_and(is_true).then(|| got.body.clone())),
            404 => Ok(None),
            _ => Err(self.judged(asked, &opendal::Error::new(ErrorKind::Unexpected, ""), &exchange)),
        }
    }
}

/// Whether a part was sent with this object: OpenDAL names it after the object, the upload's random id and its number.
fn is_part(name: &str, object: &str) -> bool {
    let Some((id, number)) = name.strip_prefix(object).and_then(|rest| rest.split_once('/')) else { return false };
    let is_id = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_id && number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_part;

    #[test]
    fn only_what_was_sent_with_an_object_is_a_part_of_it() {
        let object = "/container/.segments/some/path/a";
        let id = "0b7c54b6-3f4f-4d0a-9b0e-0d8a3f1c2e5f";
        assert!(is_part(&format!("{object}{id}/00000000"), object));
        assert!(is_part(&format!("{object}{id}/123456789"), object));
        for other in [
            format!("/container/.segments/some/path/ab{id}/00000000"),
            format!("/container/.segments/some/path/b{id}/00000000"),
            format!("/another/.segments/some/path/a{id}/00000000"),
            // A part of the object `a<id>/00000000`, and one of `a<id>`.
            format!("{object}{id}/00000000{id}/00000000"),
            format!("{object}{id}{id}/00000000"),
            format!("{object}/00000000"),
            format!("{object}{id}/"),
            "/container/some/path/a".to_string(),
        ] {
            assert!(!is_part(&other, object), "{other}");
        }
    }
}

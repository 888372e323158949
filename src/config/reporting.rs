//! Where a sidecar reports, as the injector writes it into the Pod: `VSC_PROGRESS_URL` and what belongs to it.

use super::environment::Environment;
use super::mistakes::{ConfigError, Mistakes};
use crate::contract::env;
use crate::contract::progress::TOKEN_FILE;
use crate::store::reporting::Controller;
use data_encoding::BASE64;

/// Where to report, and for which PodFilesystemSync; none where nothing is to be reported.
pub fn read_reporting(environment: &Environment) -> Result<Option<(Controller, String)>, ConfigError> {
    let Some(url) = environment.get(env::VSC_PROGRESS_URL) else { return Ok(None) };
    let mut mistakes = Mistakes::default();
    let is_usable =
        url.parse::<http::Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if !is_usable {
        mistakes.add(env::VSC_PROGRESS_URL, "is not an http or https URL", "write https://host/path");
    }
    let sync = environment.get(env::VSC_SYNC);
    if sync.is_none() {
        mistakes.add(env::VSC_SYNC, "is missing", "name the PodFilesystemSync to which this Pod belongs");
    }
    let authorities = environment.get(env::VSC_PROGRESS_CA).and_then(|text| match BASE64.decode(text.as_bytes()) {
        Ok(pem) => Some(pem),
        Err(_) => {
            mistakes.add(env::VSC_PROGRESS_CA, "is not base64", "write certificates in PEM, all of them in base64");
            None
        }
    });
    let token_file = environment.get(env::VSC_PROGRESS_TOKEN_FILE).unwrap_or(TOKEN_FILE).into();
    let controller = Controller { url: url.to_owned(), authorities, token_file };
    mistakes.into_result(sync.map(|sync| (controller, sync.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::{Environment, read_reporting};

    #[test]
    fn what_the_injector_writes_is_read() {
        let read = |pairs: &[(&str, &str)]| read_reporting(&pairs.iter().copied().collect::<Environment>());
        assert!(read(&[("VSC_SYNC", "a")]).unwrap().is_none());
        let url = ("VSC_PROGRESS_URL", "https://vsc.ns.svc/progress");
        let (controller, sync) = read(&[url, ("VSC_SYNC", "a"), ("VSC_PROGRESS_CA", "UEVN")]).unwrap().unwrap();
        assert_eq!((sync.as_str(), controller.authorities.as_deref()), ("a", Some("PEM".as_bytes())));
        assert_eq!(controller.token_file.to_str(), Some("/var/run/secrets/kubernetes.io/serviceaccount/token"));
        let (controller, _) = read(&[url, ("VSC_SYNC", "a"), ("VSC_PROGRESS_TOKEN_FILE", "/t")]).unwrap().unwrap();
        assert_eq!((controller.token_file.to_str(), controller.authorities), (Some("/t"), None));
        let text = read(&[("VSC_PROGRESS_URL", "vsc.ns.svc"), ("VSC_PROGRESS_CA", "-")]).unwrap_err().to_string();
        for name in ["VSC_PROGRESS_URL", "VSC_PROGRESS_CA", "VSC_SYNC"] {
            assert!(text.contains(name), "{text}");
        }
    }
}

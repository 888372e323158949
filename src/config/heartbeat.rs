//! `HEARTBEAT_URL`: a secret, so there is no flag for it.

use super::check::Check;
use super::environment::Environment;
use super::mistakes::{ConfigError, Mistakes};
use crate::contract::env;
use crate::secret::Secret;

/// The URL that is asked for after each complete pass, from `HEARTBEAT_URL` or the file that `HEARTBEAT_URL_FILE` names.
pub fn read_heartbeat(environment: &Environment) -> Result<Option<Secret<String>>, ConfigError> {
    let mut mistakes = Mistakes::default();
    // Other variables of this prefix are another program's: they are not looked at.
    let options = environment.options(env::HEARTBEAT_PREFIX, &[], &mut mistakes, &[]);
    let mut check = Check { environment, options: &options, mistakes, warnings: Vec::new(), secrets: Vec::new() };
    let url = check.secret("url", options.value("url"), options.value("url_file"));
    let is_usable = |url: &Secret<String>| {
        let parsed = url.expose().parse::<http::Uri>();
        parsed.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
    };
    if url.as_ref().is_some_and(|url| !is_usable(url)) {
        check.wrong("url", "is not an http or https URL (not shown: it is a secret)", "write https://host/path");
    }
    check.finish(|_| url)
}

#[cfg(test)]
mod tests {
    use super::{Environment, read_heartbeat};

    fn read(pairs: &[(&str, &str)]) -> Result<Option<String>, String> {
        let environment: Environment = pairs.iter().copied().collect();
        let url = read_heartbeat(&environment).map_err(|error| error.to_string())?;
        Ok(url.map(|url| url.expose().clone()))
    }

    #[test]
    fn the_url_comes_from_the_environment_or_a_file() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("HEARTBEAT_URL", ""), ("HEARTBEAT_INTERVAL", "5")]), Ok(None));
        let url = "https://example.org/ping/made-up";
        assert_eq!(read(&[("HEARTBEAT_URL", url)]), Ok(Some(url.into())));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{url}\n")).unwrap();
        assert_eq!(read(&[("HEARTBEAT_URL_FILE", file.path().to_str().unwrap())]), Ok(Some(url.into())));
    }

    #[test]
    fn what_is_wrong_with_it_is_said_without_showing_it() {
        for url in ["made-up", "ftp://made-up/x", "https://", "https:///made-up", "made-up.example.org/x", "https://a b/made-up"]
        {
            let text = read(&[("HEARTBEAT_URL", url)]).unwrap_err();
            assert!(text.contains("HEARTBEAT_URL is not an http or https URL") && !text.contains("made-up"), "{text}");
        }
        let text = read(&[("HEARTBEAT_URL", "https://x/made-up"), ("HEARTBEAT_URL_FILE", "/made-up")]).unwrap_err();
        assert!(text.contains("HEARTBEAT_URL_FILE is given together with HEARTBEAT_URL") && !text.contains("made-up"), "{text}");
        assert!(read(&[("HEARTBEAT_URL_FILE", "/nonexistent/url")]).unwrap_err().contains("HEARTBEAT_URL_FILE"));
    }
}

//! What `serve` was told, checked. All that is wrong is told in one report.

use crate::cli::args::Serve;
use crate::config::{ConfigError, Mistake, parse_boolean, parse_listen};
use crate::operator::certs::Files;
use crate::operator::nodes::{Ability, KubeVersion};
use crate::operator::serve::{Settings, Tls};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::path::PathBuf;

/// What names that were not given are.
const NAME: &str = "volume-syncing-controller";
/// Where the predecessor's chart mounts certificates.
const TLS_FOLDER: &str = "/etc/admission-webhook/tls";

/// Reads what was given.
pub fn read(given: &Serve) -> Result<Settings, ConfigError> {
    let mut check = Check::default();
    let tls = check.tls(given);
    let usual = if tls == Tls::Off { "[::]:8080" } else { "[::]:4443" };
    let settings = Settings {
        address: check.parse("SERVE_ADDRESS", &given.address, usual, parse_listen),
        health: text(&given.health_addr).and_then(|text| check.parsed("HEALTH_ADDR", text, parse_listen)),
        namespace: check.label("POD_NAMESPACE", &given.namespace),
        service: check.label("SERVICE_NAME", &given.service_name),
        lease: check
            .boolean("LEADER_ELECTION", &given.leader, true)
            .then(|| check.name("LEASE_NAME", &given.lease).unwrap_or_else(|| NAME.to_owned())),
        lets_unmatched_in: check.word("NO_MATCH", &given.no_match, &["deny", "allow"]) == 1,
        encryption_namespaces: check.names("ENCRYPTION_NAMESPACES", &given.encryption_namespaces).into_iter().collect(),
        image: check.image(&given.image),
        pull_policy: {
            let words = ["IfNotPresent", "Always", "Never"];
            words[check.word("IMAGE_PULL_POLICY", &given.image_pull_policy, &words)].to_owned()
        },
        pull_secrets: check.names("IMAGE_PULL_SECRETS", &given.image_pull_secrets),
        native: ability(check.word("NATIVE_SIDECARS", &given.native, &["auto", "always", "never"])),
        native_floor: check.parse("NATIVE_MIN_VERSION", &given.native_min_version, "1.29", str::parse::<KubeVersion>),
        resources: check.object("SIDECAR_RESOURCES", &given.sidecar_resources),
        security_context: check.object("SIDECAR_SECURITY_CONTEXT", &given.sidecar_security_context),
        default_user: check.parse("DEFAULT_USER", &given.default_user, "65532", |text| {
            text.parse().map_err(|_| "expected the number of a user, such as 65532")
        }),
        openshift: ability(check.word("OPENSHIFT", &given.openshift, &["auto", "true", "false"])),
        metrics_port: {
            let port = check.parse("SIDECAR_METRICS_PORT", &given.metrics_port, "9327", |text| {
                text.parse::<u16>().map_err(|_| "expected a port, or 0 for none")
            });
            (port != 0).then_some(port)
        },
        progress: check.boolean("SIDECAR_PROGRESS", &given.progress, true),
        tls,
    };
    if check.mistakes.is_empty() { Ok(settings) } else { Err(ConfigError { mistakes: check.mistakes }) }
}

fn ability(word: usize) -> Ability {
    match word {
        0 => Ability::Auto,
        word => Ability::Given(word == 1),
    }
}

/// What was written; nothing counts as not given.
fn text(given: &Option<String>) -> Option<&str> {
    given.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

#[derive(Default)]
struct Check {
    mistakes: Vec<Mistake>,
}

impl Check {
    fn wrong(&mut self, name: &str, problem: impl Into<String>, hint: impl Display) {
        self.mistakes.push(Mistake { name: name.to_owned(), problem: problem.into(), hint: hint.to_string() });
    }

    fn parsed<T, E: Display>(&mut self, name: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(hint) => {
                self.wrong(name, format!("is {}", shown(text)), hint);
                None
            }
        }
    }

    /// A value, or the usual one; the usual one also where it is wrong, since nothing comes of it then.
    fn parse<T, E: Display>(
        &mut self,
        name: &str,
        given: &Option<String>,
        usual: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        let value = text(given).and_then(|text| self.parsed(name, text, &parse));
        value.or_else(|| parse(usual).ok()).expect("the usual value is right")
    }

    fn boolean(&mut self, name: &str, given: &Option<String>, usual: bool) -> bool {
        text(given).and_then(|text| self.parsed(name, text, parse_boolean)).unwrap_or(usual)
    }

    /// The place of a word in a list; the first is the usual one.
    fn word(&mut self, name: &str, given: &Option<String>, words: &[&str]) -> usize {
        let find = |text: &str| {
            let place = words.iter().position(|word| word.eq_ignore_ascii_case(text));
            place.ok_or_else(|| format!("expected one of {}", words.join(", ")))
        };
        text(given).and_then(|text| self.parsed(name, text, find)).unwrap_or(0)
    }

    fn name(&mut self, variable: &str, given: &Option<String>) -> Option<String> {
        let name = text(given)?;
        if is_name(name) {
            return Some(name.to_owned());
        }
        self.wrong(variable, format!("is {}", shown(name)), "expected a name as Kubernetes has them: a-z, 0-9, '-' and '.'");
        None
    }

    /// A name that is a label of a host's name too: what has dots or is longer is never found, nor is a certificate for it made.
    fn label(&mut self, variable: &str, given: &Option<String>) -> Option<String> {
        let name = self.name(variable, given)?;
        if name.len() <= 63 && !name.contains('.') {
            return Some(name);
        }
        self.wrong(variable, format!("is {}", shown(&name)), "expected a name of at most 63 characters: a-z, 0-9 and '-'");
        None
    }

    fn names(&mut self, variable: &str, given: &Option<String>) -> Vec<String> {
        let parts = text(given).unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.filter_map(|part| self.name(variable, &Some(part.to_owned()))).collect()
    }

    fn object(&mut self, name: &str, given: &Option<String>) -> Value {
        let read = |text: &str| {
            let object: Result<Map<String, Value>, _> = serde_json::from_str(text);
            object.map_err(|error| format!("expected an object in JSON: {error}"))
        };
        let object = text(given).and_then(|text| self.parsed(name, text, read));
        Value::Object(object.unwrap_or_default())
    }

    fn image(&mut self, given: &Option<String>) -> String {
        let image = text(given).unwrap_or_default();
        if image.is_empty() {
            self.wrong("IMAGE", "is missing", "name the image of the injected containers: the one that this program runs from");
        } else if !image.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.wrong("IMAGE", format!("is {}", shown(image)), "expected registry/name:tag or registry/name@sha256:…");
        }
        image.to_owned()
    }

    fn tls(&mut self, given: &Serve) -> Tls {
        let is_asked_for = self.boolean("USE_TLS", &given.tls, false);
        let mode = match text(&given.tls_mode) {
            None => usize::from(is_asked_for),
            Some(_) => self.word("TLS_MODE", &given.tls_mode, &["off", "files", "self"]),
        };
        if text(&given.tls).is_some() && text(&given.tls_mode).is_some() && is_asked_for != (mode > 0) {
            self.wrong("USE_TLS", "says another thing than TLS_MODE", "TLS_MODE alone is enough");
        }
        let path = |given: &Option<String>, usual: &str| {
            text(given).map_or_else(|| PathBuf::from(TLS_FOLDER).join(usual), PathBuf::from)
        };
        match mode {
            0 => Tls::Off,
            1 => Tls::Files(Files { certificate: path(&given.tls_crt, "tls.crt"), key: path(&given.tls_key, "tls.key") }),
            _ => {
                if text(&given.service_name).is_none() {
                    self.wrong("SERVICE_NAME", "is missing", "name the Service of the webhook: the certificate is made for it");
                }
                if text(&given.webhook_configuration).is_none() {
                    let hint = "name the MutatingWebhookConfiguration: it is told whom to trust";
                    self.wrong("WEBHOOK_CONFIGURATION", "is missing", hint);
                }
                let configuration = self.name("WEBHOOK_CONFIGURATION", &given.webhook_configuration).unwrap_or_default();
                let secret = self.name("TLS_SECRET", &given.tls_secret).unwrap_or_else(|| NAME.to_owned());
                Tls::Own { secret, configuration }
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 253 && text.bytes().all(is_allowed) && is_edge(text.bytes().next()) && is_edge(text.bytes().last())
}

/// A value fit for a message.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!("'{}'{}", short.escape_debug(), if short.len() < text.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::cli::args::{Cli, Command};
    use crate::operator::nodes::Ability;
    use crate::operator::serve::{Settings, Tls};
    use clap::Parser;

    fn options(flags: &[&str]) -> Result<Settings, String> {
        let words = ["volume-syncing-controller", "serve"].iter().chain(flags);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Serve(serve) = cli.command else { unreachable!("it is this verb") };
        read(&serve).map_err(|error| error.to_string())
    }

    #[test]
    fn an_image_is_all_that_must_be_said() {
        let options = options(&["-i", "registry/image@sha256:00"]).unwrap();
        assert_eq!((options.tls, options.address.to_string().as_str()), (Tls::Off, "[::]:8080"));
        assert_eq!((options.native, options.openshift), (Ability::Auto, Ability::Auto));
        assert_eq!(
            (options.pull_policy.as_str(), options.default_user, options.metrics_port),
            ("IfNotPresent", 65532, Some(9327))
        );
        assert_eq!((options.progress, options.lets_unmatched_in, options.lease.as_deref()), (true, false, Some(super::NAME)));
        assert_eq!(options.native_floor.to_string(), "1.29");
        assert!(options.health.is_none() && options.resources == serde_json::json!({}) && options.pull_secrets.is_empty());
    }

    #[test]
    fn the_predecessors_flags_mean_what_they_meant() {
        let options = options(&["--tls", "--image=x", "--tls-crt", "/c", "--log-level=debug", "--log-json"]).unwrap();
        let Tls::Files(files) = options.tls else { unreachable!("mounted certificates") };
        assert_eq!((files.certificate.to_str(), files.key.to_str()), (Some("/c"), Some("/etc/admission-webhook/tls/tls.key")));
        assert_eq!(options.address.to_string(), "[::]:4443");
    }

    #[test]
    fn each_flag_has_its_place() {
        let options = options(&[
            "--tls-mode=self",
            "--tls-secret=certs",
            "--webhook-configuration=hooks",
            "--service-name=hook",
            "--namespace=ns",
            "--address=127.0.0.1:1",
            "--health-addr=:2",
            "--leader=false",
            "--no-match=allow",
            "--encryption-namespaces=a, b",
            "--image=x",
            "--image-pull-policy=always",
            "--image-pull-secrets=one,two",
            "--native=never",
            "--native-min-version=1.33",
            "--sidecar-resources={\"limits\":{}}",
            "--sidecar-security-context={\"a\":1}",
            "--default-user=0",
            "--openshift=true",
            "--metrics-port=0",
            "--progress=false",
        ])
        .unwrap();
        assert_eq!(options.tls, Tls::Own { secret: "certs".into(), configuration: "hooks".into() });
        assert_eq!((options.service.as_deref(), options.namespace.as_deref()), (Some("hook"), Some("ns")));
        assert_eq!((options.address.port(), options.health.map(|health| health.port())), (1, Some(2)));
        assert_eq!((options.lease, options.lets_unmatched_in, options.progress), (None, true, false));
        assert_eq!(
            (options.encryption_namespaces, options.pull_secrets),
            (["a", "b"].map(String::from).into(), vec!["one".to_string(), "two".into()])
        );
        assert_eq!(
            (options.pull_policy.as_str(), options.native, options.openshift),
            ("Always", Ability::Given(false), Ability::Given(true))
        );
        assert_eq!((options.native_floor.to_string().as_str(), options.default_user, options.metrics_port), ("1.33", 0, None));
        assert_eq!(
            (&options.resources["limits"], &options.security_context["a"]),
            (&serde_json::json!({}), &serde_json::json!(1))
        );
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = options(&[
            "--tls=false",
            "--tls-mode=self",
            "--address=here",
            "--namespace=Not_A_Name",
            "--leader=perhaps",
            "--no-match=maybe",
            "--image-pull-policy=Sometimes",
            "--native=sometimes",
            "--native-min-version=new",
            "--sidecar-resources=[]",
            "--sidecar-security-context={",
            "--default-user=-1",
            "--openshift=perhaps",
            "--metrics-port=70000",
            "--image-pull-secrets=good,B_ad",
        ])
        .unwrap_err();
        for words in [
            "has 17 mistakes",
            "USE_TLS says another thing",
            "SERVICE_NAME is missing",
            "WEBHOOK_CONFIGURATION is missing",
            "SERVE_ADDRESS is 'here'",
            "POD_NAMESPACE is 'Not_A_Name'",
            "LEADER_ELECTION is 'perhaps'",
            "NO_MATCH is 'maybe'",
            "expected one of deny, allow",
            "IMAGE is missing",
            "IMAGE_PULL_POLICY is 'Sometimes'",
            "NATIVE_SIDECARS is 'sometimes'",
            "NATIVE_MIN_VERSION is 'new'",
            "SIDECAR_RESOURCES is '[]'",
            "SIDECAR_SECURITY_CONTEXT is '{'",
            "DEFAULT_USER is '-1'",
            "OPENSHIFT is 'perhaps'",
            "SIDECAR_METRICS_PORT is '70000'",
            "IMAGE_PULL_SECRETS is 'B_ad'",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        assert!(options(&["--image=a b"]).unwrap_err().contains("IMAGE is 'a b'"));
        assert!(options(&["--image=", "--health-addr=x"]).unwrap_err().contains("has 2 mistakes"));
        for name in ["hook.example", &"n".repeat(64)] {
            let text = options(&["--image=x", &format!("--service-name={name}"), &format!("--namespace={name}")]).unwrap_err();
            assert!(
                text.contains("SERVICE_NAME is") && text.contains("POD_NAMESPACE is") && text.contains("at most 63"),
                "{text}"
            );
        }
    }
}

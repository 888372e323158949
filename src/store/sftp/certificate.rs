//! Certificates of hosts, and what keeps one from counting: what ssh asks of them.

use super::known_hosts::glob;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, HashAlg};

/// What is wrong with a certificate that an authority of the host made, at a time in seconds since 1970.
pub(super) fn problem(certificate: &Certificate, host: &str, now: u64) -> Option<String> {
    let host = host.to_lowercase();
    let names = certificate.valid_principals();
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if certificate.cert_type() != CertType::Host {
        return Some("is not one of a host".into());
    }
    if !certificate.critical_options().is_empty() {
        return Some("has conditions that are not known here".into());
    }
    // A name has no port here. One that is for every host is not taken: whoever has it could pose as all of them.
    if !names.iter().any(|pattern| glob(&pattern.to_lowercase(), &host)) {
        let names = if names.is_empty() { "no host in particular".into() } else { names.join(", ") };
        return Some(format!("is for {names}"));
    }
    let is_valid = certificate.validate_at(now, [&authority]).is_ok();
    (!is_valid).then(|| "is not valid at this time, or was not signed by its authority".into())
}

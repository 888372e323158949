//! A CA of our own and what it signs, as they lie in a Secret; and what is due. Pure apart from random numbers.
//!
//! Trust comes before use. At half of the CA's life the next one is made and published beside it; it signs from five eighths
//! on, when everybody has long heard of it, and takes the old one's place at seven eighths, when nothing that the old one
//! signed is shown any more.

use super::{CertError, certificates, is_trusted, validity};
use crate::runtime::{clock, limits};
use crate::secret::Secret;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::collections::BTreeMap;
use std::time::Duration;

const CA: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next-ca.crt", "next-ca.key"];
const LEAF: [&str; 2] = ["tls.crt", "tls.key"];

/// How long certificates live.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// A CA.
    pub ca: Duration,
    /// What it signs; at most a quarter of that.
    pub leaf: Duration,
    /// What time it is, in milliseconds since 1970.
    pub now_ms: fn() -> i64,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { ca: limits::CA_LIFE, leaf: limits::LEAF_LIFE, now_ms: wall_ms }
    }
}

fn wall_ms() -> i64 {
    i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX)
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: Secret<String>,
    /// When it runs out, in milliseconds since 1970.
    pub expires_ms: i64,
}

impl Pair {
    /// A pair as it was stored; `None` where something is missing or does not fit together.
    fn read(data: &BTreeMap<String, ByteString>, [certificate, key]: [&str; 2]) -> Option<Pair> {
        let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
        let (certificate, key) = (text(certificate)?, Secret::new(text(key)?));
        let der = certificates(&certificate).into_iter().next()?;
        // A certificate holds its whole public key as it is.
        let public = KeyPair::from_pem(key.expose()).ok()?.public_key_raw().to_vec();
        let fits = der.windows(public.len()).any(|window| window == public);
        let expires_ms = validity::not_after_ms(&der)?;
        fits.then_some(Pair { certificate, key, expires_ms })
    }

    fn write(&self, data: &mut BTreeMap<String, ByteString>, [certificate, key]: [&str; 2]) {
        data.insert(certificate.to_string(), ByteString(self.certificate.clone().into_bytes()));
        data.insert(key.to_string(), ByteString(self.key.expose().clone().into_bytes()));
    }
}

/// What lies in the Secret.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What is trusted.
    pub ca: Pair,
    /// What is trusted too, and takes its place.
    pub next: Option<Pair>,
    /// What is shown.
    pub leaf: Pair,
}

impl Kept {
    /// What was stored; `None` where it is of no use.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Option<Kept> {
        Some(Kept { ca: Pair::read(data, CA)?, next: Pair::read(data, NEXT), leaf: Pair::read(data, LEAF)? })
    }

    /// What is to be stored.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        self.ca.write(&mut data, CA);
        self.leaf.write(&mut data, LEAF);
        self.next.iter().for_each(|next| next.write(&mut data, NEXT));
        data
    }

    /// What the API server is to trust.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| &next.certificate);
        format!("{}{next}", self.ca.certificate)
    }
}

/// What is due.
#[derive(Debug)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// This is to be stored, for this reason.
    Store(Box<Kept>, &'static str),
}

/// What is due now. `names` are those of the service, the one that the API server asks for first; `is_published`: the API
/// server was told to trust all that is kept.
pub fn advance(kept: Option<&Kept>, names: &[String], terms: Terms, is_published: bool) -> Result<Step, CertError> {
    let make = Maker { names, terms, now_ms: (terms.now_ms)() };
    let Some(mut kept) = kept.cloned() else { return make.anew("there is no usable one") };
    let mut reason: Option<&'static str> = None;
    kept.next = kept.next.filter(|next| make.left(next) > Duration::ZERO);
    let left = make.left(&kept.ca);
    if left <= terms.ca / 8
        && let Some(next) = kept.next.take_if(|next| left.is_zero() || make.is_good(&next.certificate, &kept.leaf))
    {
        kept.ca = next;
        reason = Some("the next CA took the place of the old one");
    }
    if make.left(&kept.ca).is_zero() {
        return make.anew("the CA has run out");
    }
    if kept.next.is_none() && make.left(&kept.ca) <= terms.ca / 2 {
        kept.next = Some(make.authority()?);
        reason.get_or_insert("the next CA is published before it is used");
    }
    let is_known = |next: &&Pair| is_published && make.left(next) <= terms.ca / 8 * 7;
    let signer = kept.next.as_ref().filter(is_known).unwrap_or(&kept.ca);
    // What would hardly live longer than the old one is not worth a write.
    let longer = make.life(signer) > make.left(&kept.leaf) + terms.leaf / 12;
    let is_old = make.left(&kept.leaf) <= terms.leaf / 3 && longer;
    if is_old || !make.is_good(&kept.bundle(), &kept.leaf) {
        kept.leaf = make.leaf(signer)?;
        reason.get_or_insert("the certificate was due");
    }
    Ok(reason.map_or(Step::Nothing, |reason| Step::Store(Box::new(kept), reason)))
}

struct Maker<'a> {
    names: &'a [String],
    terms: Terms,
    now_ms: i64,
}

impl Maker<'_> {
    fn anew(&self, reason: &'static str) -> Result<Step, CertError> {
        let ca = self.authority()?;
        let leaf = self.leaf(&ca)?;
        Ok(Step::Store(Box::new(Kept { ca, next: None, leaf }), reason))
    }

    fn left(&self, pair: &Pair) -> Duration {
        Duration::from_millis(u64::try_from(pair.expires_ms.saturating_sub(self.now_ms)).unwrap_or(0))
    }

    /// How long something would live that is signed now.
    fn life(&self, signer: &Pair) -> Duration {
        self.terms.leaf.min(self.left(signer))
    }

    fn is_good(&self, authorities: &str, leaf: &Pair) -> bool {
        self.names.iter().all(|name| is_trusted(authorities, &leaf.certificate, name, self.now_ms))
    }

    fn authority(&self) -> Result<Pair, CertError> {
        let key = KeyPair::generate().map_err(failed)?;
        let params = self.params(Vec::new(), self.terms.ca)?;
        let certificate = authority(params).self_signed(&key).map_err(failed)?;
        Ok(pair(certificate.pem(), &key, validity::not_after_ms(certificate.der())))
    }

    fn leaf(&self, signer: &Pair) -> Result<Pair, CertError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = self.params(self.names.to_vec(), self.life(signer))?;
        params.distinguished_name = named("volume-syncing-controller webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = authority(CertificateParams::default());
        let signing = KeyPair::from_pem(signer.key.expose()).map_err(failed)?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer, &signing)).map_err(failed)?;
        Ok(pair(certificate.pem(), &key, validity::not_after_ms(certificate.der())))
    }

    fn params(&self, names: Vec<String>, life: Duration) -> Result<CertificateParams, CertError> {
        let mut params = CertificateParams::new(names).map_err(failed)?;
        let since_epoch = Duration::from_millis(u64::try_from(self.now_ms).unwrap_or(0));
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(limits::CLOCK_SKEW);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch + life;
        Ok(params)
    }
}

/// Every CA of ours has the same name; their keys are told apart by the identifiers in the certificates.
fn authority(mut params: CertificateParams) -> CertificateParams {
    params.distinguished_name = named("volume-syncing-controller CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn pair(certificate: String, key: &KeyPair, expires_ms: Option<i64>) -> Pair {
    Pair { certificate, key: Secret::new(key.serialize_pem()), expires_ms: expires_ms.unwrap_or(0) }
}

fn failed(cause: rcgen::Error) -> CertError {
    CertError::Make { cause }
}

#[cfg(test)]
mod tests {
    use super::{Kept, Step, Terms, advance};
    use crate::operator::certs::is_trusted;
    use k8s_openapi::ByteString;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    const DAY: i64 = 24 * 3600 * 1000;
    const BEGIN: i64 = 1_800_000_000_000;
    const NAME: &str = "hook.ns.svc";

    fn names() -> Vec<String> {
        [NAME, "hook"].map(String::from).to_vec()
    }

    thread_local! {
        static NOW: Cell<i64> = const { Cell::new(BEGIN) };
    }

    fn terms() -> Terms {
        Terms { now_ms: || NOW.get(), ..Terms::default() }
    }

    fn step(kept: Option<&Kept>, day: i64, is_published: bool) -> Option<(Kept, &'static str)> {
        NOW.set(BEGIN + day * DAY);
        match advance(kept, &names(), terms(), is_published).unwrap() {
            Step::Nothing => None,
            Step::Store(kept, reason) => Some((*kept, reason)),
        }
    }

    fn first() -> Kept {
        step(None, 0, false).unwrap().0
    }

    #[test]
    fn what_is_shown_is_trusted_at_any_time_by_who_knows_the_bundle_of_yesterday() {
        let mut kept = first();
        let (mut leaves, mut authorities) = (0, 0);
        for day in 1..5 * 365 {
            let before = kept.bundle();
            while let Some((next, reason)) = step(Some(&kept), day, true) {
                leaves += usize::from(next.leaf.certificate != kept.leaf.certificate);
                authorities += usize::from(reason.contains("is published"));
                kept = next;
            }
            let now = BEGIN + day * DAY;
            for bundle in [&before, &kept.bundle()] {
                assert!(is_trusted(bundle, &kept.leaf.certificate, NAME, now), "day {day}");
            }
            assert!(kept.leaf.expires_ms - now > 9 * DAY, "day {day}: renewed at two thirds");
        }
        assert!((90..110).contains(&leaves), "{leaves}");
        assert_eq!(authorities, 4);
    }

    #[test]
    fn the_next_authority_signs_nothing_before_it_is_published() {
        let (kept, _) = step(Some(&first()), 366, false).unwrap();
        let next = kept.next.clone().unwrap();
        for (is_published, day) in [(false, 500), (true, 390)] {
            let (renewed, _) = step(Some(&kept), day, is_published).unwrap();
            assert!(!is_trusted(&next.certificate, &renewed.leaf.certificate, NAME, BEGIN + day * DAY), "{day}");
        }
        let (renewed, _) = step(Some(&kept), 500, true).unwrap();
        assert!(is_trusted(&next.certificate, &renewed.leaf.certificate, NAME, BEGIN + 500 * DAY));
    }

    #[test]
    fn after_a_long_absence_all_is_well_again_at_once() {
        let (kept, _) = step(Some(&first()), 400, true).unwrap();
        for (kept, day) in [(&first(), 100), (&first(), 729), (&first(), 800), (&kept, 800), (&kept, 3000)] {
            let (repaired, _) = step(Some(kept), day, true).unwrap();
            assert!(is_trusted(&repaired.bundle(), &repaired.leaf.certificate, NAME, BEGIN + day * DAY), "{day}");
            assert!(
                step(Some(&repaired), day, true).is_none_or(|(_, reason)| !reason.contains("due")),
                "{day}: no endless renewal"
            );
        }
    }

    #[test]
    fn what_is_stored_comes_back_and_what_is_broken_is_made_anew() {
        let (kept, _) = step(Some(&first()), 400, true).unwrap();
        let whole = kept.data();
        assert_eq!(Kept::read(&whole).unwrap().bundle(), kept.bundle());
        for name in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
            for value in [None, Some(""), Some("made up")] {
                let mut data: BTreeMap<_, _> = whole.clone();
                data.remove(name);
                data.extend(value.map(|value| (name.to_string(), ByteString(value.into()))));
                assert!(Kept::read(&data).is_none(), "{name} {value:?}");
            }
        }
        let mut crossed = whole.clone();
        crossed.insert("ca.key".into(), whole["tls.key"].clone());
        assert!(Kept::read(&crossed).is_none(), "a key of another certificate");
        assert!(!format!("{kept:?}").contains("PRIVATE"));
    }

    #[test]
    fn another_name_of_the_service_gets_a_new_certificate() {
        let kept = first();
        let other = vec!["moved.ns.svc".to_string()];
        let moved = advance(Some(&kept), &other, terms(), true).unwrap();
        let Step::Store(moved, _) = moved else { unreachable!("it is not good for that name") };
        assert_eq!(moved.ca.certificate, kept.ca.certificate);
        assert!(is_trusted(&kept.bundle(), &moved.leaf.certificate, "moved.ns.svc", BEGIN));
    }
}

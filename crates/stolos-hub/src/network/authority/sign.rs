//! Makes the authority of the fleet, and signs requests of members with it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use stolos_api::cluster::names::SYSTEM_NAMESPACE;
use stolos_api::network::names::gateway as names;
use stolos_core::network::gateway::certificate::{Answer, VALIDITY, part};
use stolos_core::network::gateway::certificate_name;

/// The authority outlives its certificates by far; another one can take its place at any time.
const AUTHORITY_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Clocks of members may be behind ours by this much.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The Secret is not an authority.
    #[error(
        "secret `{SYSTEM_NAMESPACE}/{}` must have a certificate of an authority in `tls.crt` and its key in `tls.key`",
        names::AUTHORITY_SECRET
    )]
    Authority,
    /// The request cannot be read, or was not made by who has the key.
    #[error("the request must be a signing request in PEM that its own key has signed")]
    Request,
    /// A certificate cannot be made.
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes an authority.
pub(super) fn found(now: Timestamp) -> Result<Secret, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("stolos fleet");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validate(&mut params, now, AUTHORITY_VALIDITY);
    let certificate = params.self_signed(&key)?.pem();
    let parts = [
        (part::CERTIFICATE, certificate.clone()),
        (part::KEY, key.serialize_pem()),
        (part::AUTHORITIES, certificate),
    ];
    let mut secret = Secret::default();
    secret.metadata.name = Some(names::AUTHORITY_SECRET.to_owned());
    secret.metadata.namespace = Some(SYSTEM_NAMESPACE.to_owned());
    secret.type_ = Some("kubernetes.io/tls".to_owned());
    let data = parts.map(|(name, value)| (name.to_owned(), ByteString(value.into())));
    secret.data = Some(data.into());
    Ok(secret)
}

/// Returns the authorities that members believe.
pub(super) fn authorities(secret: &Secret) -> String {
    let all = text(secret, part::AUTHORITIES);
    all.or_else(|| text(secret, part::CERTIFICATE)).unwrap_or_default().to_owned()
}

fn text<'a>(secret: &'a Secret, part: &str) -> Option<&'a str> {
    let part = secret.data.as_ref()?.get(part)?;
    std::str::from_utf8(&part.0).ok()
}

/// The authority of the fleet.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    believed: String,
}

impl Authority {
    /// Reads it from its Secret.
    pub(super) fn of(secret: &Secret) -> Result<Self, Error> {
        let part = |name| text(secret, name).ok_or(Error::Authority);
        let key = KeyPair::from_pem(part(part::KEY)?).map_err(|_| Error::Authority)?;
        let issuer = Issuer::from_ca_cert_pem(part(part::CERTIFICATE)?, key);
        let issuer = issuer.map_err(|_| Error::Authority)?;
        Ok(Self { issuer, believed: authorities(secret) })
    }

    /// Signs the key of a request for `member`. Nothing else of the request is taken over.
    pub(super) fn sign(
        &self,
        member: &str,
        request: &str,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let asked =
            CertificateSigningRequestParams::from_pem(request).map_err(|_| Error::Request)?;
        let mut params = CertificateParams::new([certificate_name(member)])?;
        params.distinguished_name = named(member);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        validate(&mut params, now, VALIDITY);
        let certificate = params.signed_by(&asked.public_key, &self.issuer)?.pem();
        Ok(Answer {
            request: request.to_owned(),
            problem: None,
            certificate,
            authorities: self.believed.clone(),
            since: now,
            until: now.saturating_add(VALIDITY).unwrap_or(Timestamp::MAX),
        })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn validate(params: &mut CertificateParams, now: Timestamp, validity: SignedDuration) {
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(now.saturating_sub(BACKDATED).unwrap_or(Timestamp::UNIX_EPOCH));
    params.not_after = at(now.saturating_add(validity).unwrap_or(Timestamp::MAX));
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn request(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.serialize_request(&key).unwrap().pem().unwrap(), key.serialize_pem())
    }

    #[test]
    fn a_request_is_signed_for_the_member_that_it_came_from_whatever_it_says() {
        let authority = Authority::of(&found(now()).unwrap()).unwrap();
        let (request, _) = request(&certificate_name("north"));
        let answer = authority.sign("east", &request, now()).unwrap();
        let der = CertificateDer::from_pem_slice(answer.certificate.as_bytes()).unwrap();
        let text = String::from_utf8_lossy(&der).into_owned();
        assert!(text.contains("east.gateway.fleet.stolos.dev"), "{text}");
        assert!(!text.contains("north"), "{text}");
        assert_eq!(answer.until, now() + SignedDuration::from_hours(24));
    }

    #[test]
    fn what_is_no_request_or_no_authority_is_told() {
        let secret = found(now()).unwrap();
        let authority = Authority::of(&secret).unwrap();
        let (whole, _) = request("a");
        // One byte of the key differs, so its signature does not fit any more.
        let at = whole.len() / 2;
        let other = if &whole[at..=at] == "A" { "B" } else { "A" };
        let spoilt = format!("{}{other}{}", &whole[..at], &whole[at + 1..]);
        for request in ["", "hello", &spoilt] {
            assert!(authority.sign("east", request, now()).is_err(), "{request}");
        }
        let mut empty = secret;
        empty.data = None;
        let error = Authority::of(&empty).err().expect("it is none");
        assert!(error.to_string().contains("fleet-system/stolos-gateway-ca"), "{error}");
    }
}

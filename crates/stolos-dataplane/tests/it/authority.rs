//! An authority of a fleet, which gives data planes certificates.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use stolos_core::network::gateway::certificate_name;
use stolos_dataplane::Identity;

/// An authority of a fleet.
pub(crate) struct Authority {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).unwrap();
        Self { certificate, issuer }
    }

    /// Returns what makes a data plane known as that of `member`, and lets it believe these authorities.
    pub(crate) fn identity(&self, member: &str, believed: &[&Self]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([certificate_name(member)]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let authorities: String = believed.iter().map(|one| one.certificate.as_str()).collect();
        let key = key.serialize_pem();
        Identity::from_pem(certificate.as_bytes(), key.as_bytes(), authorities.as_bytes()).unwrap()
    }
}

//! The certificate authority of a logical cluster.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::private_file;

const CERTIFICATE_FILE: &str = "ca.crt";
const KEY_FILE: &str = "ca.key";

/// The authority outlives its certificates; nothing renews it.
const AUTHORITY_DAYS: i32 = 3650;
/// Certificates are issued anew at each start, so their life bounds how long a process may run.
const LEAF_DAYS: i32 = 825;
/// Clocks of clients may be behind ours by this much.
const BACKDATED_DAYS: i32 = 1;

/// Names by which clients reach a server on any machine.
const SERVER_NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Issues the certificates of one logical cluster: its server's and its clients'.
pub struct CertificateAuthority {
    certificate: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Credentials {
    /// Certificate, without its issuer.
    pub certificate: String,
    /// Private key (PKCS #8).
    pub key: String,
}

/// Keeps the key out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("key", &"***").finish_non_exhaustive()
    }
}

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("failed to access `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory holds something that is no authority; nothing is overwritten.
    #[error("`{}` {problem}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A certificate cannot be made.
    #[error("failed to issue a certificate for `{subject}`")]
    Issue {
        /// For whom.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
}

impl CertificateAuthority {
    /// Makes an authority that lives as long as the process.
    pub fn generate(name: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let issue = |source| AuthorityError::Issue { subject: name.to_owned(), source };
        let key = KeyPair::generate().map_err(issue)?;
        let certificate = certify_itself(name, &key, now).map_err(issue)?;
        Self::assemble(certificate, key).map_err(issue)
    }

    /// Loads the authority of a directory, or makes one there. Existing files are never overwritten.
    pub fn load_or_create(
        directory: &Path,
        name: &str,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let (certificate_path, key_path) =
            (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
        let issue = |source| AuthorityError::Issue { subject: name.to_owned(), source };
        let key = match read(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|_| AuthorityError::Unusable {
                path: key_path,
                problem: "is not a private key in PEM",
            })?,
            None if certificate_path.exists() => {
                let problem = "is missing although its certificate is there";
                return Err(AuthorityError::Unusable { path: key_path, problem });
            }
            None => {
                let key = KeyPair::generate().map_err(issue)?;
                create(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
        };
        // The key is written first: a crash between the two leaves a key that the next start certifies.
        let certificate = if let Some(pem) = read(&certificate_path)? {
            pem
        } else {
            let pem = certify_itself(name, &key, now).map_err(issue)?;
            create(&certificate_path, pem.as_bytes())?;
            pem
        };
        let unusable =
            |problem| AuthorityError::Unusable { path: certificate_path.clone(), problem };
        let authority = Self::assemble(certificate, key)
            .map_err(|_| unusable("is not a certificate in PEM"))?;
        if !authority.matches_key() {
            return Err(unusable("does not belong to the key beside it"));
        }
        Ok(authority)
    }

    fn assemble(certificate: String, key: KeyPair) -> Result<Self, rcgen::Error> {
        let der = pem_to_der(&certificate).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Self { certificate, der, issuer })
    }

    fn matches_key(&self) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(&self.der) else { return false };
        parsed.public_key().raw == self.issuer.key().subject_public_key_info()
    }

    /// Returns the certificate that clients trust, in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the certificate that clients trust, in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Issues a server certificate for the loopback addresses, the in-cluster names, and `addresses`.
    pub fn server(
        &self,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Credentials, AuthorityError> {
        let mut names: Vec<String> = SERVER_NAMES.map(str::to_owned).into();
        names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
        for address in addresses.iter().map(IpAddr::to_string) {
            if !names.contains(&address) {
                names.push(address);
            }
        }
        let subject = subject("kube-apiserver", None);
        self.issue("kube-apiserver", subject, names, ExtendedKeyUsagePurpose::ServerAuth, now)
    }

    /// Issues a client certificate: the user is its common name, the group its organisation.
    ///
    /// One group at most, because `rcgen` writes each attribute of a name once; reading takes any number.
    pub fn client(
        &self,
        user: &str,
        group: Option<&str>,
        now: Timestamp,
    ) -> Result<Credentials, AuthorityError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        self.issue(user, subject(user, group), Vec::new(), usage, now)
    }

    fn issue(
        &self,
        name: &str,
        subject: DistinguishedName,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        now: Timestamp,
    ) -> Result<Credentials, AuthorityError> {
        let issue = |source| AuthorityError::Issue { subject: name.to_owned(), source };
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = CertificateParams::new(names).map_err(issue)?;
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn certify_itself(name: &str, key: &KeyPair, now: Timestamp) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, AUTHORITY_DAYS);
    Ok(params.self_signed(key)?.pem())
}

fn subject(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i32) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let day = |offset: i32| {
        let date: Date = today.saturating_add(jiff::Span::new().days(offset));
        let part = |value: i8| u8::try_from(value).expect("months and days are positive");
        date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    params.not_before = day(-BACKDATED_DAYS);
    params.not_after = day(days);
}

fn pem_to_der(pem: &str) -> Option<Vec<u8>> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| der.to_vec())
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { path: path.to_owned(), source }),
    }
}

fn create(path: &Path, content: &[u8]) -> Result<(), AuthorityError> {
    private_file::create(path, content)
        .map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::user_of_certificate;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_authority_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let first = CertificateAuthority::load_or_create(directory.path(), "hub", now()).unwrap();
        let again = CertificateAuthority::load_or_create(directory.path(), "hub", now()).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        std::fs::remove_file(directory.path().join(CERTIFICATE_FILE)).unwrap();
        let repaired =
            CertificateAuthority::load_or_create(directory.path(), "hub", now()).unwrap();
        assert!(repaired.matches_key());
    }

    #[test]
    fn files_that_do_not_fit_are_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let load = || CertificateAuthority::load_or_create(directory.path(), "hub", now());
        load().unwrap();
        let other = CertificateAuthority::generate("hub", now()).unwrap();
        let path = directory.path().join(CERTIFICATE_FILE);
        std::fs::write(&path, other.certificate()).unwrap();
        let error = load().err().expect("the certificate is of another key");
        assert!(error.to_string().ends_with("does not belong to the key beside it"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), other.certificate());

        std::fs::remove_file(directory.path().join(KEY_FILE)).unwrap();
        assert!(load().is_err(), "a lost key is not replaced in silence");
    }

    /// Pitfall: clients refuse a certificate that does not name what they dialled.
    #[test]
    fn server_certificates_name_every_way_to_reach_the_server() {
        use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
        let authority = CertificateAuthority::generate("hub", now()).unwrap();
        let server = authority.server(&["10.0.0.1".parse().unwrap()], now()).unwrap();
        let der = pem_to_der(&server.certificate).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let names = &names.value.general_names;
        assert!(names.contains(&GeneralName::DNSName("localhost")));
        for address in [&[127, 0, 0, 1][..], &[10, 0, 0, 1]] {
            assert!(names.contains(&GeneralName::IPAddress(address)), "{address:?}");
        }
    }

    #[test]
    fn client_certificates_name_user_and_group() {
        let authority = CertificateAuthority::generate("hub", now()).unwrap();
        let client = authority.client("ann", Some("team"), now()).unwrap();
        let user = user_of_certificate(&pem_to_der(&client.certificate).unwrap()).unwrap();
        assert_eq!(user.name, "ann");
        assert_eq!(user.groups, ["team", "system:authenticated"]);
    }
}

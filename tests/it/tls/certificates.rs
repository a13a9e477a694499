//! Authorities and what they issue.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

/// Seconds since 1970 at which certificates begin, long ago, and end.
const BEGIN: i64 = 1_600_000_000;
const PAST: i64 = 1_700_000_000;
const FUTURE: i64 = 4_000_000_000;

/// Whoever issues certificates.
pub(super) struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate with its key, both in PEM.
pub(super) struct Identity {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = key();
        let mut builder = builder("authority", &key, FUTURE);
        builder.set_issuer_name(&name("authority")).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    /// Writes its certificate into a folder.
    pub(super) fn write(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, name, &self.pem())
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// Issues a certificate for a server that is called this.
    pub(super) fn server(&self, host: &str) -> Identity {
        self.issue(host, Some(host), FUTURE)
    }

    /// Issues a certificate that is over.
    pub(super) fn expired(&self, host: &str) -> Identity {
        self.issue(host, Some(host), PAST)
    }

    /// Issues a certificate for a role or a user.
    pub(super) fn client(&self, user: &str) -> Identity {
        self.issue(user, None, FUTURE)
    }

    fn issue(&self, subject: &str, host: Option<&str>, end: i64) -> Identity {
        let key = key();
        let mut builder = builder(subject, &key, end);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        if let Some(host) = host {
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let names = SubjectAlternativeName::new().dns(host).build(&context).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Identity {
            certificate: builder.build().to_pem().unwrap(),
            key: key.private_key_to_pem_pkcs8().unwrap(),
        }
    }
}

/// Writes a file that nobody else may read.
pub(super) fn write(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn name(common: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
    name.build()
}

fn builder(subject: &str, key: &PKey<Private>, end: i64) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(rand::random()).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name(subject)).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(BEGIN).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(end).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

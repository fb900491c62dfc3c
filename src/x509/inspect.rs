//! What any certificate says, whoever made it, for people to look at. Nothing here says that it is trusted.

use aws_lc_rs::digest;
use serde::Serialize;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::chain::{self, Facts, Issuer};
use super::key::PublicKey;
use super::{X509Error, pem};
use crate::secret::Secret;

/// One certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// RFC 4514; may be empty.
    pub subject: String,
    /// The alternative names; kinds that we never certify with their kind.
    pub names: Vec<String>,
    /// RFC 4514.
    pub issuer: String,
    /// Whether the next certificate of the chain (its own, for the last) made the signature; `null` if that cannot be
    /// judged.
    pub issued_by_next: Option<bool>,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// The kind of its key.
    pub key: String,
    /// The algorithm of its signature, by name or as an object identifier.
    pub signature_algorithm: String,
    /// Whether it may issue.
    pub is_ca: bool,
    /// How many CAs may stand below it.
    pub path_length: Option<u32>,
    /// RFC 5280 §4.2.1.3.
    pub key_usages: Vec<String>,
    /// RFC 5280 §4.2.1.12.
    pub extended_key_usages: Vec<String>,
    /// Object identifiers.
    pub policies: Vec<String>,
    /// Where its revocation list is.
    pub crl_urls: Vec<String>,
    /// Where its status is asked for.
    pub ocsp_urls: Vec<String>,
    /// Where its issuer's certificate is.
    pub issuer_urls: Vec<String>,
    /// The subject key identifier.
    pub key_id: Option<String>,
    /// The authority key identifier.
    pub issuer_key_id: Option<String>,
    /// SHA-256 of the public key.
    pub spki_sha256: String,
    /// SHA-256 of the whole.
    pub fingerprint_sha256: String,
}

impl Certificate {
    /// Reads a chain of DER certificates, leaf first.
    ///
    /// # Errors
    /// `Malformed` if one is none.
    pub fn read_all(chain: &[Vec<u8>]) -> Result<Vec<Self>, X509Error> {
        chain
            .iter()
            .enumerate()
            .map(|(at, der)| {
                let above = chain.get(at + 1).unwrap_or(der);
                Self::read(der, above)
            })
            .collect()
    }

    fn read(der: &[u8], above: &[u8]) -> Result<Self, X509Error> {
        let facts = Facts::read(der)?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|e| X509Error::malformed("certificate", e))?;
        let mut certificate = Self {
            subject: facts.subject,
            names: Vec::new(),
            issuer: facts.issuer,
            issued_by_next: Issuer::read(above).ok().map(|issuer| issuer.verify(der).is_ok()),
            serial: facts.serial,
            not_before: facts.validity.not_before.to_string(),
            not_after: facts.validity.not_after.to_string(),
            key: key(&parsed),
            signature_algorithm: algorithm(&parsed),
            is_ca: facts.is_ca,
            path_length: None,
            key_usages: Vec::new(),
            extended_key_usages: Vec::new(),
            policies: Vec::new(),
            crl_urls: Vec::new(),
            ocsp_urls: Vec::new(),
            issuer_urls: Vec::new(),
            key_id: facts.key_id,
            issuer_key_id: facts.issuer_key_id,
            spki_sha256: facts.spki_sha256,
            fingerprint_sha256: facts.fingerprint,
        };
        for extension in parsed.extensions() {
            certificate.add(extension.parsed_extension());
        }
        Ok(certificate)
    }

    fn add(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                self.names = names.general_names.iter().map(show).collect();
            }
            ParsedExtension::BasicConstraints(constraints) => self.path_length = constraints.path_len_constraint,
            ParsedExtension::KeyUsage(usage) => {
                self.key_usages = usage.to_string().split(", ").map(str::to_owned).collect();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let known = [
                    (usage.any, "any"),
                    (usage.server_auth, "server-auth"),
                    (usage.client_auth, "client-auth"),
                    (usage.code_signing, "code-signing"),
                    (usage.email_protection, "email-protection"),
                    (usage.time_stamping, "time-stamping"),
                    (usage.ocsp_signing, "ocsp-signing"),
                ];
                self.extended_key_usages = known
                    .into_iter()
                    .filter(|(set, _)| *set)
                    .map(|(_, name)| name.to_owned())
                    .chain(usage.other.iter().map(ToString::to_string))
                    .collect();
            }
            ParsedExtension::CertificatePolicies(policies) => {
                self.policies = policies.iter().map(|policy| policy.policy_id.to_string()).collect();
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                for point in points.iter() {
                    if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                        self.crl_urls.extend(names.iter().map(location));
                    }
                }
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                for entry in &access.accessdescs {
                    let url = location(&entry.access_location);
                    match entry.access_method.to_string().as_str() {
                        "1.3.6.1.5.5.7.48.1" => self.ocsp_urls.push(url),
                        "1.3.6.1.5.5.7.48.2" => self.issuer_urls.push(url),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// The kind of a key, also of one that we would never certify.
fn key(certificate: &X509Certificate<'_>) -> String {
    let spki = certificate.public_key();
    if let Ok(key) = PublicKey::from_spki(spki.raw) {
        return key.kind().to_string();
    }
    match spki.parsed() {
        Ok(Parsed::RSA(rsa)) => format!("rsa-{}", rsa.key_size()),
        Ok(Parsed::EC(point)) => format!("ec with {} bits", point.key_size()),
        _ => spki.algorithm.algorithm.to_string(),
    }
}

fn algorithm(certificate: &X509Certificate<'_>) -> String {
    let oid = certificate.signature_algorithm.algorithm.to_string();
    let name = match oid.as_str() {
        "1.2.840.10045.4.3.2" => "ecdsa-with-sha256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-sha384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-sha512",
        "1.2.840.113549.1.1.5" => "rsa-with-sha1",
        "1.2.840.113549.1.1.10" => "rsa-pss",
        "1.2.840.113549.1.1.11" => "rsa-with-sha256",
        "1.2.840.113549.1.1.12" => "rsa-with-sha384",
        "1.2.840.113549.1.1.13" => "rsa-with-sha512",
        "1.3.101.112" => "ed25519",
        _ => return oid,
    };
    name.to_owned()
}

/// SHA-256 of the `SubjectPublicKeyInfo` in a certificate, a request, a public or a private key (PKCS#8), in PEM or
/// DER, hexadecimal. The key may be one that we would never certify.
///
/// # Errors
/// `Malformed` if it is none of these.
pub fn spki_sha256(bytes: &[u8]) -> Result<String, X509Error> {
    let mut der = bytes.to_vec();
    if let Ok(text) = std::str::from_utf8(bytes) {
        let labels = [
            pem::CERTIFICATE,
            pem::CERTIFICATE_REQUEST,
            "PUBLIC KEY",
            pem::PRIVATE_KEY,
        ];
        let blocks = labels.into_iter().find_map(|label| pem::decode_all(label, text).ok());
        der = blocks.into_iter().flatten().next().unwrap_or_default();
    }
    let der = Secret::new(der);
    let bytes = der.expose();
    let spki = if let Ok((_, certificate)) = X509Certificate::from_der(bytes) {
        certificate.public_key().raw.to_vec()
    } else if let Ok((_, request)) = X509CertificationRequest::from_der(bytes) {
        request.certification_request_info.subject_pki.raw.to_vec()
    } else if let Ok((rest, spki)) = SubjectPublicKeyInfo::from_der(bytes)
        && rest.is_empty()
    {
        spki.raw.to_vec()
    } else {
        rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::try_from(bytes).map_err(|_| {
            X509Error::malformed(
                "key",
                "send a certificate, a request, a public key or a PKCS#8 private key",
            )
        })?)
    };
    Ok(hex::encode(digest::digest(&digest::SHA256, &spki)))
}

fn location(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => show(other),
    }
}

fn show(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) => (*text).to_owned(),
        GeneralName::IPAddress(octets) => {
            chain::address(octets).map_or_else(|| hex::encode(octets), |ip| ip.to_string())
        }
        GeneralName::RFC822Name(text) => format!("email:{text}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::{self, Kept, names, profile};

    #[test]
    fn a_certificate_of_ours_is_shown_whole() {
        let kept = Kept::new();
        let tbs = kept.leaf(&profile("server-tls"), &names(&["a.test", "10.0.0.1"]));
        let leaf = tbs.assemble(&hex::decode("3006020101020101").unwrap()).unwrap();
        let (root, _) = fixture::signing_root();
        let seen = Certificate::read_all(&[leaf, kept.issuing.der().to_vec(), root.der().to_vec()]).unwrap();
        assert_eq!(seen[0].names, ["a.test", "10.0.0.1"]);
        assert_eq!(seen[0].key, "ec-p256");
        assert_eq!(seen[0].signature_algorithm, "ecdsa-with-sha256");
        assert_eq!(seen[0].key_usages, ["Digital Signature"]);
        assert_eq!(seen[0].extended_key_usages, ["server-auth"]);
        assert_eq!(seen[0].crl_urls, [kept.pointers.crl.as_str()]);
        assert_eq!(seen[0].issuer_urls, [kept.pointers.issuer.as_str()]);
        assert_eq!(seen[0].issued_by_next, Some(false), "the signature is over nothing");
        assert_eq!(seen[1].path_length, Some(0));
        assert_eq!(seen[2].issued_by_next, Some(true), "the last is judged by its own key");
    }

    #[test]
    fn one_key_has_one_hash_wherever_it_stands() {
        let secret = crate::x509::key::generate(crate::key_type::KeyType::EcP256).unwrap();
        let public = crate::x509::key::public(&secret).unwrap();
        let request = crate::x509::csr::create(&secret, &names(&["a.test"])).unwrap();
        let wanted = spki_sha256(public.spki()).unwrap();
        for same in [
            request.clone(),
            pem::encode(pem::CERTIFICATE_REQUEST, &request).into_bytes(),
            pem::encode("PUBLIC KEY", public.spki()).into_bytes(),
            pem::encode(pem::PRIVATE_KEY, secret.expose()).into_bytes(),
            secret.expose().to_vec(),
        ] {
            assert_eq!(spki_sha256(&same).unwrap(), wanted);
        }
        let kept = Kept::new();
        assert_eq!(
            spki_sha256(kept.issuing.der()).unwrap(),
            Facts::read(kept.issuing.der()).unwrap().spki_sha256
        );
        assert!(spki_sha256(b"hello").is_err());
        // A key that is never certified can be blocked too.
        let weak = hex::decode(include_str!("../../tests/golden/csr/rsa-1024.hex").trim()).unwrap();
        assert_eq!(spki_sha256(&weak).unwrap().len(), 64);
    }
}

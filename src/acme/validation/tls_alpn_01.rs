//! tls-alpn-01 (RFC 8737): a certificate made for the purpose, shown to whoever asks for `acme-tls/1`.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use x509_parser::oid_registry::{Oid, asn1_rs::oid};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::reach::host_of;
use super::{Failure, FailureKind, Question, Validator, excerpt, unverified};
use crate::acme::identifier::Identifier;

const PROTOCOL: &[u8] = b"acme-tls/1";
/// id-pe-acmeIdentifier; the number of an early draft is not taken.
const ACME_IDENTIFIER: Oid<'static> = oid!(1.3.6.1.5.5.7.1.31);
/// OCTET STRING of 32 octets.
const DIGEST_HEAD: &[u8] = &[0x04, 0x20];

pub(super) async fn validate(validator: &Validator, question: &Question<'_>, deadline: Instant) -> Result<(), Failure> {
    let port = validator.settings.tls_alpn01_port;
    let (stream, at) = validator
        .reach
        .connect(&host_of(question.identifier), port, deadline)
        .await?;
    let asked_for = server_name(question.identifier);
    let from = format!("`{asked_for}` at {at}");
    let tls_failure = |why: String| Failure::new(FailureKind::Tls, why);
    let name = ServerName::try_from(asked_for).map_err(|e| tls_failure(format!("{from} cannot be asked for: {e}")))?;
    let (config, shown) = unverified::config(PROTOCOL)?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    let mut tls = match timeout_at(deadline, handshake).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(e)) => {
            return Err(tls_failure(format!(
                "the TLS handshake with {from} failed: {}; it must offer the protocol acme-tls/1",
                excerpt(e.to_string().as_bytes())
            )));
        }
        Err(_) => {
            return Err(tls_failure(format!(
                "the TLS handshake with {from} did not end in time"
            )));
        }
    };
    let protocol = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    // RFC 8737 §4: closed at once, without data.
    let _ = timeout_at(deadline, tls.shutdown()).await;
    if protocol.as_deref() != Some(PROTOCOL) {
        return Err(tls_failure(format!(
            "{from} did not agree on the protocol acme-tls/1; let its server answer tls-alpn-01"
        )));
    }
    let key_authorization = digest(&SHA256, question.key_authorization().as_bytes());
    check(shown.leaf(), question.identifier, key_authorization.as_ref()).map_err(|why| {
        Failure::new(
            FailureKind::IncorrectResponse,
            format!("the certificate of {from} {why}"),
        )
    })
}

/// RFC 8737 §3, RFC 8738 §6: what SNI says.
fn server_name(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Dns(name) => name.to_string(),
        Identifier::Ip(IpAddr::V4(v4)) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Identifier::Ip(IpAddr::V6(v6)) => {
            let mut name = String::with_capacity(72);
            for octet in v6.octets().into_iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", octet & 0xf, octet >> 4));
            }
            name.push_str("ip6.arpa");
            name
        }
    }
}

/// Whether the certificate is what RFC 8737 §3 says; if not, why, fit to follow "the certificate".
fn check(der: &[u8], identifier: &Identifier, key_authorization: &[u8]) -> Result<(), String> {
    let Ok((&[], certificate)) = X509Certificate::from_der(der) else {
        return Err("cannot be read".to_owned());
    };
    // An error here is an extension that stands there twice, or cannot be read.
    let names = certificate
        .subject_alternative_name()
        .map_err(|e| format!("is malformed: {e}"))?;
    let names = names.map(|san| san.value.general_names.as_slice()).unwrap_or_default();
    let right = match (names, identifier) {
        ([GeneralName::DNSName(name)], Identifier::Dns(wanted)) => name.eq_ignore_ascii_case(wanted.as_str()),
        ([GeneralName::IPAddress(octets)], Identifier::Ip(IpAddr::V4(v4))) => *octets == v4.octets(),
        ([GeneralName::IPAddress(octets)], Identifier::Ip(IpAddr::V6(v6))) => *octets == v6.octets(),
        _ => false,
    };
    if !right {
        return Err(format!(
            "must have `{identifier}` as its one subject alternative name; it has {}",
            match names {
                [] => "none".to_owned(),
                [one] => format!("`{}`", excerpt(one.to_string().as_bytes())),
                several => several.len().to_string(),
            }
        ));
    }
    let extension = certificate
        .get_extension_unique(&ACME_IDENTIFIER)
        .map_err(|e| format!("is malformed: {e}"))?
        .ok_or("lacks the extension acmeIdentifier (1.3.6.1.5.5.7.1.31)")?;
    if !extension.critical {
        return Err("has an acmeIdentifier that is not critical".to_owned());
    }
    match extension.value.strip_prefix(DIGEST_HEAD) {
        Some(found) if found == key_authorization => Ok(()),
        Some(found) if found.len() == key_authorization.len() => Err(format!(
            "has the acmeIdentifier `{}`, where `{}` should be",
            hex::encode(found),
            hex::encode(key_authorization)
        )),
        _ => Err("has an acmeIdentifier that is no OCTET STRING of 32 octets".to_owned()),
    }
}

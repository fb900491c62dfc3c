//! What a certified key is for, as profiles say it.

use serde::Deserialize;
use x509_cert::spki::ObjectIdentifier;

/// Purposes of the key: RFC 5280 §4.2.1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeyUsage {
    /// Signing of what the signer stands by (non-repudiation).
    ContentCommitment,
    /// Agreeing on keys: EC keys.
    KeyAgreement,
    /// Encrypting keys: RSA keys.
    KeyEncipherment,
    /// Signing of anything but certificates and CRLs.
    DigitalSignature,
}

/// Extended purposes of the key, by name or by object identifier: RFC 5280 §4.2.1.12.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ExtendedKeyUsage(ObjectIdentifier);

impl ExtendedKeyUsage {
    const NAMED: [(&'static str, ObjectIdentifier); 6] = [
        ("client-auth", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2")),
        ("code-signing", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3")),
        ("email-protection", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4")),
        ("server-auth", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1")),
        (
            "smartcard-logon",
            ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.2"),
        ),
        ("time-stamping", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8")),
    ];
    /// What is never a leaf's by profile: any purpose, and answering for the CA.
    const NEVER: [ObjectIdentifier; 2] = [
        ObjectIdentifier::new_unwrap("2.5.29.37.0"),
        ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"),
    ];

    pub(super) fn oid(&self) -> ObjectIdentifier {
        self.0
    }
}

impl TryFrom<String> for ExtendedKeyUsage {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let named = Self::NAMED.into_iter().find(|(name, _)| *name == text);
        let oid = match named {
            Some((_, oid)) => oid,
            None => ObjectIdentifier::new(&text).map_err(|_| {
                let names: Vec<&str> = Self::NAMED.iter().map(|(name, _)| *name).collect();
                format!(
                    "`{}` is no extended key usage: use {} or an object identifier",
                    text.escape_debug(),
                    names.join(", ")
                )
            })?,
        };
        if Self::NEVER.contains(&oid) {
            return Err(format!("the extended key usage `{oid}` is not a leaf's: leave it out"));
        }
        Ok(Self(oid))
    }
}

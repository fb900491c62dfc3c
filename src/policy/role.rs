//! The built-in roles, by the names people know.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A named set of actions; which ones stands in `roles.cedar`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Role {
    /// All that an account of the ACME server may do for itself.
    AcmeClient,
    /// What an account of the ACME server needs to get certificates; it revokes none, and its key stays as it is.
    AcmeRequester,
    /// All that a person may do, roles and identities included.
    Administrator,
    /// Reads the audit log, the metrics, and what is known about everything; never a value.
    Auditor,
    /// Makes backups of the whole service, and reads nothing.
    BackupOperator,
    /// Reads certificate objects.
    CertificateUser,
    /// Makes, renews and revokes certificates.
    CertificatesOfficer,
    /// Makes, rotates, updates, deletes and uses keys.
    CryptoOfficer,
    /// Wraps and unwraps other keys, for services that encrypt by a key of their own.
    CryptoServiceEncryptionUser,
    /// Uses keys.
    CryptoUser,
    /// All of a vault's data, but no roles and no identities.
    KeyVaultAdministrator,
    /// Makes vaults, and sees nothing that is in them.
    KeyVaultContributor,
    /// Reads what is known about everything; never a value.
    Reader,
    /// Sets, reads, deletes and recovers secrets.
    SecretsOfficer,
    /// Reads secrets.
    SecretsUser,
}

impl Role {
    /// Every role, in the order of their names.
    pub const ALL: [Self; 15] = [
        Self::AcmeClient,
        Self::AcmeRequester,
        Self::Administrator,
        Self::Auditor,
        Self::BackupOperator,
        Self::CertificateUser,
        Self::CertificatesOfficer,
        Self::CryptoOfficer,
        Self::CryptoServiceEncryptionUser,
        Self::CryptoUser,
        Self::KeyVaultAdministrator,
        Self::KeyVaultContributor,
        Self::Reader,
        Self::SecretsOfficer,
        Self::SecretsUser,
    ];

    /// Whether it is for accounts of the ACME server, and nobody else.
    pub const fn is_for_accounts(self) -> bool {
        matches!(self, Self::AcmeClient | Self::AcmeRequester)
    }

    /// The name, as people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcmeClient => "ACME Client",
            Self::AcmeRequester => "ACME Requester",
            Self::Administrator => "Administrator",
            Self::Auditor => "Auditor",
            Self::BackupOperator => "Backup Operator",
            Self::CertificateUser => "Certificate User",
            Self::CertificatesOfficer => "Certificates Officer",
            Self::CryptoOfficer => "Crypto Officer",
            Self::CryptoServiceEncryptionUser => "Crypto Service Encryption User",
            Self::CryptoUser => "Crypto User",
            Self::KeyVaultAdministrator => "Key Vault Administrator",
            Self::KeyVaultContributor => "Key Vault Contributor",
            Self::Reader => "Reader",
            Self::SecretsOfficer => "Secrets Officer",
            Self::SecretsUser => "Secrets User",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What people put before the names of roles that are not about vaults only.
const KEY_VAULT: &str = "key vault ";

/// Takes the name (`Secrets User`), its form without blanks (`secrets-user`), and both with `Key Vault` before them.
impl FromStr for Role {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wanted = text.replace('-', " ").to_ascii_lowercase();
        let named = |name: &str| {
            Self::ALL
                .into_iter()
                .find(|role| role.as_str().eq_ignore_ascii_case(name))
        };
        // SECURITY: the whole name first, so that the administrator of vaults is never the one of everything.
        named(&wanted)
            .or_else(|| named(wanted.strip_prefix(KEY_VAULT)?))
            .ok_or_else(|| {
                let names = Self::ALL.map(|role| format!("`{role}`")).join(", ");
                Error::invalid(format!("`{}` is not a role: use one of {names}", text.escape_debug()))
            })
    }
}

impl TryFrom<String> for Role {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.as_str().to_owned()
    }
}

/// The longest name of a role of one's own, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// The name of a role of one's own: none that a built-in role has in any spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomName(String);

impl CustomName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CustomName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(role) = text.parse::<Role>() {
            return Err(Error::invalid(format!(
                "`{role}` is a built-in role: choose another name"
            )));
        }
        let good = (1..=MAX_NAME_BYTES).contains(&text.len())
            && text.trim() == text
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'_' | b'.'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "`{}` is not a role's name: use 1 to {MAX_NAME_BYTES} of A-Z, a-z, 0-9, `-_.` and blanks, no blank at \
                 its ends",
                text.escape_debug()
            )))
        }
    }
}

/// A role, built in or one's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// One of ours.
    BuiltIn(Role),
    /// One that somebody made.
    Custom(CustomName),
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(role) => role.fmt(f),
            Self::Custom(name) => name.fmt(f),
        }
    }
}

impl FromStr for RoleName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(role) => Ok(Self::BuiltIn(role)),
            Err(_) => text.parse().map(Self::Custom),
        }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        Self::BuiltIn(role)
    }
}

impl From<CustomName> for RoleName {
    fn from(name: CustomName) -> Self {
        Self::Custom(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_found_by_either_spelling() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
            assert_eq!(
                role.as_str().to_lowercase().replace(' ', "-").parse::<Role>().unwrap(),
                role
            );
        }
        let error = "root".parse::<Role>().unwrap_err();
        assert!(error.public().contains("`Secrets User`"), "{error}");
    }

    #[test]
    fn the_names_of_another_vault_mean_the_same_roles() {
        for (text, role) in [
            ("Key Vault Secrets User", Role::SecretsUser),
            ("key-vault-crypto-officer", Role::CryptoOfficer),
            ("Key Vault Reader", Role::Reader),
            ("Key Vault Administrator", Role::KeyVaultAdministrator),
            ("Key Vault Contributor", Role::KeyVaultContributor),
            (
                "Key Vault Crypto Service Encryption User",
                Role::CryptoServiceEncryptionUser,
            ),
        ] {
            assert_eq!(text.parse::<Role>().unwrap(), role, "{text}");
        }
        assert!("Key Vault Key Vault Reader".parse::<Role>().is_err());
    }

    #[test]
    fn a_role_of_ones_own_has_a_name_of_its_own() {
        assert_eq!("Deploy 2".parse::<RoleName>().unwrap().to_string(), "Deploy 2");
        for bad in [
            "",
            " a",
            "a/b",
            "deny:x",
            "a#b",
            "secrets-user",
            "Key Vault Reader",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<CustomName>().is_err(), "{bad:?}");
        }
    }
}

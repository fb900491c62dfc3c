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
    /// Reads certificate objects.
    CertificateUser,
    /// Makes, renews and revokes certificates.
    CertificatesOfficer,
    /// Makes, rotates, updates, deletes and uses keys.
    CryptoOfficer,
    /// Uses keys.
    CryptoUser,
    /// All of a vault's data, but no roles and no identities.
    KeyVaultAdministrator,
    /// Reads what is known about everything; never a value.
    Reader,
    /// Sets, reads, deletes and recovers secrets.
    SecretsOfficer,
    /// Reads secrets.
    SecretsUser,
}

impl Role {
    /// Every role, in the order of their names.
    pub const ALL: [Self; 12] = [
        Self::AcmeClient,
        Self::AcmeRequester,
        Self::Administrator,
        Self::Auditor,
        Self::CertificateUser,
        Self::CertificatesOfficer,
        Self::CryptoOfficer,
        Self::CryptoUser,
        Self::KeyVaultAdministrator,
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
            Self::CertificateUser => "Certificate User",
            Self::CertificatesOfficer => "Certificates Officer",
            Self::CryptoOfficer => "Crypto Officer",
            Self::CryptoUser => "Crypto User",
            Self::KeyVaultAdministrator => "Key Vault Administrator",
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

/// Takes the name (`Secrets User`) and its form without blanks (`secrets-user`).
impl FromStr for Role {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wanted = text.replace('-', " ");
        Self::ALL
            .into_iter()
            .find(|role| role.as_str().eq_ignore_ascii_case(&wanted))
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
}

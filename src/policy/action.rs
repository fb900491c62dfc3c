//! Every act of the service by name.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Declares the actions, each with the text that policy, audit and golden files know it by.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An act, named as the operation that performs it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// Every action, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name, as in policies and in the audit log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

actions! {
    /// Keep the versions of profiles that are new.
    AdoptProfiles,
    /// Grant a role to an identity.
    AssignRole,
    /// Seal a key with all its versions to be kept elsewhere.
    BackupKey,
    /// Seal a secret with all its versions to be kept elsewhere.
    BackupSecret,
    /// Block a key: it is never certified again.
    BlockKey,
    /// Ask whether somebody may do something.
    CheckPolicy,
    /// Record how an intent ended that a crash left open.
    CloseIntent,
    /// Make an account of an authority's ACME server.
    CreateAcmeAccount,
    /// Make a key by which ACME accounts are bound to an identity.
    CreateAcmeExternalKey,
    /// Place an order at an authority's ACME server.
    CreateAcmeOrder,
    /// Make an authority of our own: its keys and its certificate.
    CreateAuthority,
    /// Make a backup of the whole service.
    CreateBackup,
    /// Bind a certificate object to an issuer and start its life.
    CreateCertificate,
    /// Make a data key: random bytes, and the same wrapped by a key.
    CreateDataKey,
    /// Register an identity.
    CreateIdentity,
    /// Register an upstream issuer.
    CreateIssuer,
    /// Make a one-time token by which an identity gets its first certificate.
    CreateJoinToken,
    /// Make a key in a vault.
    CreateKey,
    /// Make a role of one's own.
    CreateRole,
    /// Make a vault.
    CreateVault,
    /// End an ACME account, as an administrator.
    DeactivateAcmeAccount,
    /// Give up an authorization at an authority's ACME server.
    DeactivateAcmeAuthorization,
    /// Decrypt with a key.
    DecryptData,
    /// Delete a key by which ACME accounts are bound to an identity.
    DeleteAcmeExternalKey,
    /// Delete a registration entry: nobody gets an identity by it any more.
    DeleteEntry,
    /// Delete a key; it can be recovered for a while.
    DeleteKey,
    /// Delete a role of one's own.
    DeleteRole,
    /// Delete a secret; it can be recovered for a while.
    DeleteSecret,
    /// Delete a vault with all that is in it; it can be recovered for a while.
    DeleteVault,
    /// Agree on a secret with a key and somebody else's public one.
    DeriveSecret,
    /// Destroy the value of one version of a secret, now or later.
    DestroySecretVersion,
    /// Refuse an identity from its next request on.
    DisableIdentity,
    /// Read the certificate of an ACME order.
    DownloadAcmeCertificate,
    /// Read a certificate object's chain.
    DownloadCertificate,
    /// Take a disabled identity's requests again.
    EnableIdentity,
    /// Encrypt with a key.
    EncryptData,
    /// Redeem a join token for a first certificate.
    Enroll,
    /// Ask what somebody holds, or who may do something.
    ExplainPolicy,
    /// Hand out the private half of a key that was made exportable.
    ExportKey,
    /// Have an ACME order's certificate made.
    FinalizeAcmeOrder,
    /// Keep a key that was made elsewhere.
    ImportKey,
    /// Issue a certificate from an authority of our own.
    IssueCertificate,
    /// Point a label at a version of a secret, or take it away.
    LabelSecretVersion,
    /// List the accounts of an authority's ACME server.
    ListAcmeAccounts,
    /// List the keys by which ACME accounts are bound to identities.
    ListAcmeExternalKeys,
    /// List blocked keys.
    ListBlockedKeys,
    /// List a vault's certificate objects.
    ListCertificates,
    /// List identities.
    ListIdentities,
    /// List what an authority has issued.
    ListIssued,
    /// List upstream issuers.
    ListIssuers,
    /// List the generations of the key-encryption key.
    ListKeks,
    /// List the versions of a key.
    ListKeyVersions,
    /// List a vault's keys.
    ListKeys,
    /// List renewals and their states.
    ListRenewals,
    /// List who holds which role where.
    ListRoleAssignments,
    /// List roles and what they allow.
    ListRoles,
    /// List the versions of a secret, without values.
    ListSecretVersions,
    /// List a vault's secrets, without values.
    ListSecrets,
    /// List where issuing is stopped.
    ListStops,
    /// List vaults.
    ListVaults,
    /// Sign and publish a revocation list.
    PublishCrl,
    /// Remove for good what has expired: join tokens, secrets, keys and vaults past their retention.
    PurgeExpired,
    /// Remove a deleted key for good.
    PurgeKey,
    /// Remove a deleted secret for good.
    PurgeSecret,
    /// Remove a deleted vault for good, with all that was in it.
    PurgeVault,
    /// Read the audit log: entries, checkpoint, proofs.
    ReadAuditLog,
    /// Draw random bytes.
    ReadRandom,
    /// Read a secret's value.
    ReadSecret,
    /// Make the index anew by which the audit log is searched.
    RebuildAuditIndex,
    /// Write down what came out of the validation of an ACME challenge.
    RecordAcmeValidation,
    /// Bring a deleted key back.
    RecoverKey,
    /// Bring a deleted secret back.
    RecoverSecret,
    /// Take it back that a version's value is to be destroyed.
    RecoverSecretVersion,
    /// Bring a deleted vault back.
    RecoverVault,
    /// Decrypt and encrypt again, without showing what it is.
    ReencryptData,
    /// Get a fresh certificate for the identity of the current one.
    Reenroll,
    /// Take a secret's rotation policy away.
    RemoveSecretRotation,
    /// Ask for a certificate object's renewal now.
    RenewCertificate,
    /// Issue the OCSP responder's next certificate.
    RenewResponder,
    /// Say that an ACME challenge can be validated.
    RespondToAcmeChallenge,
    /// Make the whole service again from a backup, on its host.
    RestoreBackup,
    /// Make a key again from its backup.
    RestoreKey,
    /// Make a secret again from its backup.
    RestoreSecret,
    /// Say which names an ACME account may ask for.
    RestrictAcmeAccount,
    /// Let issuing go on that was stopped.
    ResumeIssuing,
    /// Revoke a certificate at an authority's ACME server.
    RevokeAcmeCertificate,
    /// Revoke the current certificate of a certificate object.
    RevokeCertificate,
    /// Revoke a certificate that an authority of our own has issued.
    RevokeIssued,
    /// Take a role from an identity.
    RevokeRoleAssignment,
    /// Give an ACME account another key.
    RolloverAcmeKey,
    /// Take a step of a rotation: begin it, taint or retire an issuer.
    RotateAuthority,
    /// Take a step of a rotation of the key-encryption key: begin it, wrap a data key anew, retire a generation.
    RotateKek,
    /// Give a key a new version, which becomes the current one.
    RotateKey,
    /// Ask for a secret's rotation now, or for a paused one to go on.
    RotateSecret,
    /// Take one step of a renewal.
    RunRenewal,
    /// Take one step of a secret's rotation.
    RunRotation,
    /// Set a secret's value: a new version.
    SetSecret,
    /// Say how a secret is rotated: when, by which rotator.
    SetSecretRotation,
    /// Show an account of an authority's ACME server.
    ShowAcmeAccount,
    /// Show an authority: certificates, revocation list, ends.
    ShowAuthority,
    /// Show what is known about a certificate object.
    ShowCertificate,
    /// Show an identity and its registration entries.
    ShowIdentity,
    /// Show an upstream issuer.
    ShowIssuer,
    /// Show what is known about a key, its public half too.
    ShowKey,
    /// Read the metrics.
    ShowMetrics,
    /// Ask what one holds oneself.
    ShowOwnRights,
    /// Show a renewal and its history.
    ShowRenewal,
    /// Show a role and what it allows.
    ShowRole,
    /// Show what is known about a secret, without its value.
    ShowSecret,
    /// Show a vault.
    ShowVault,
    /// Sign with a key.
    SignData,
    /// Stop issuing: by an authority, a profile, or altogether.
    StopIssuing,
    /// Unwrap another key with a key.
    UnwrapKey,
    /// Change an ACME account, or give it up.
    UpdateAcmeAccount,
    /// Replace what a registration entry asks for.
    UpdateEntry,
    /// Set lifetime and grace of an identity's certificates.
    UpdateIdentity,
    /// Change what a version of a key may be used for, and when.
    UpdateKey,
    /// Change what a role of one's own allows.
    UpdateRole,
    /// Change the attributes of a version of a secret.
    UpdateSecret,
    /// Change a vault: tags, retention, purge protection.
    UpdateVault,
    /// Verify a signature with a key.
    VerifySignature,
    /// Wrap another key with a key.
    WrapKey,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` is not an action: use a name like `ReadSecret`",
                    text.escape_debug()
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_listed_in_order_and_come_back_from_text() {
        assert!(Action::ALL.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().unwrap(), *action);
        }
        assert!("readsecret".parse::<Action>().is_err());
    }
}

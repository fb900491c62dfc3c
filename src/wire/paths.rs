//! The API's paths: as templates for the server's routes, and as functions that fill them for the client.
//!
//! A name fills exactly one segment: whatever is not unreserved in RFC 3986 §2.3 is percent-encoded, `/` too.

use crate::id::{Label, ObjectName};

pub mod route;

/// One path segment that says exactly `text`.
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            segment.push('%');
            segment.push_str(&hex::encode_upper([byte]));
        }
    }
    segment
}

/// Fills a template's braces in order.
fn fill(route: &str, with: &[&str]) -> String {
    let mut with = with.iter();
    let mut path = String::with_capacity(route.len() + 32);
    for part in route.split('/').skip(1) {
        path.push('/');
        match part.starts_with('{').then(|| with.next()).flatten() {
            Some(text) => path.push_str(&segment(text)),
            None => path.push_str(part),
        }
    }
    path
}

/// [`route::VAULT`]
pub fn vault(vault: &Label) -> String {
    fill(route::VAULT, &[vault.as_str()])
}

/// [`route::VAULT_RECOVER`]
pub fn vault_recover(vault: &Label) -> String {
    fill(route::VAULT_RECOVER, &[vault.as_str()])
}

/// [`route::VAULT_PURGE`]
pub fn vault_purge(vault: &Label) -> String {
    fill(route::VAULT_PURGE, &[vault.as_str()])
}

/// [`route::KEK_RETIRE`]
pub fn kek_retire(generation: u32) -> String {
    fill(route::KEK_RETIRE, &[&generation.to_string()])
}

/// [`route::SECRETS`]
pub fn secrets(vault: &Label) -> String {
    fill(route::SECRETS, &[vault.as_str()])
}

/// [`route::SECRET`]
pub fn secret(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET, &[vault.as_str(), name.as_str()])
}

/// [`route::SECRET_METADATA`]
pub fn secret_metadata(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET_METADATA, &[vault.as_str(), name.as_str()])
}

/// [`route::SECRET_VERSIONS`]
pub fn secret_versions(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET_VERSIONS, &[vault.as_str(), name.as_str()])
}

/// What is known about or done with a version: the last part of its path, for example `metadata`.
pub fn secret_version_use(vault: &Label, name: &ObjectName, version: &str, what: &str) -> String {
    format!("{}/{what}", secret_version(vault, name, version))
}

/// [`route::SECRET_LABEL`]
pub fn secret_label(vault: &Label, name: &ObjectName, label: &str) -> String {
    fill(route::SECRET_LABEL, &[vault.as_str(), name.as_str(), label])
}

/// [`route::SECRET_VERSION`]; `version` is an ordinal, an id or a label.
pub fn secret_version(vault: &Label, name: &ObjectName, version: &str) -> String {
    fill(route::SECRET_VERSION, &[vault.as_str(), name.as_str(), version])
}

/// [`route::SECRET_RECOVER`]
pub fn secret_recover(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET_RECOVER, &[vault.as_str(), name.as_str()])
}

/// [`route::SECRET_PURGE`]
pub fn secret_purge(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET_PURGE, &[vault.as_str(), name.as_str()])
}

/// [`route::SECRET_ROTATION`]
pub fn secret_rotation(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET_ROTATION, &[vault.as_str(), name.as_str()])
}

/// [`route::SECRET_ROTATE`]
pub fn secret_rotate(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET_ROTATE, &[vault.as_str(), name.as_str()])
}

/// [`route::SECRET_BACKUP`]
pub fn secret_backup(vault: &Label, name: &ObjectName) -> String {
    fill(route::SECRET_BACKUP, &[vault.as_str(), name.as_str()])
}

/// [`route::SECRET_RESTORE`]
pub fn secret_restore(vault: &Label) -> String {
    fill(route::SECRET_RESTORE, &[vault.as_str()])
}

/// [`route::KEY_RESTORE`]
pub fn key_restore(vault: &Label) -> String {
    fill(route::KEY_RESTORE, &[vault.as_str()])
}

/// [`route::KEYS`]
pub fn keys(vault: &Label) -> String {
    fill(route::KEYS, &[vault.as_str()])
}

/// [`route::KEY`]
pub fn key(vault: &Label, name: &ObjectName) -> String {
    fill(route::KEY, &[vault.as_str(), name.as_str()])
}

/// [`route::KEY_VERSIONS`]
pub fn key_versions(vault: &Label, name: &ObjectName) -> String {
    fill(route::KEY_VERSIONS, &[vault.as_str(), name.as_str()])
}

/// [`route::KEY_VERSION`]; `version` is an ordinal or an id.
pub fn key_version(vault: &Label, name: &ObjectName, version: &str) -> String {
    fill(route::KEY_VERSION, &[vault.as_str(), name.as_str(), version])
}

/// What is done with a key: the last part of its path, for example `encrypt`.
pub fn key_use(vault: &Label, name: &ObjectName, what: &str) -> String {
    format!("{}/{what}", key(vault, name))
}

/// [`route::RANDOM`]
pub fn random(vault: &Label) -> String {
    fill(route::RANDOM, &[vault.as_str()])
}

/// [`route::CERTIFICATES`]
pub fn certificates(vault: &Label) -> String {
    fill(route::CERTIFICATES, &[vault.as_str()])
}

/// [`route::CERTIFICATE`]
pub fn certificate(vault: &Label, name: &ObjectName) -> String {
    fill(route::CERTIFICATE, &[vault.as_str(), name.as_str()])
}

/// [`route::CERTIFICATE_CHAIN`]
pub fn certificate_chain(vault: &Label, name: &ObjectName) -> String {
    fill(route::CERTIFICATE_CHAIN, &[vault.as_str(), name.as_str()])
}

/// [`route::CERTIFICATE_RENEW`]
pub fn certificate_renew(vault: &Label, name: &ObjectName) -> String {
    fill(route::CERTIFICATE_RENEW, &[vault.as_str(), name.as_str()])
}

/// [`route::CERTIFICATE_REVOKE`]
pub fn certificate_revoke(vault: &Label, name: &ObjectName) -> String {
    fill(route::CERTIFICATE_REVOKE, &[vault.as_str(), name.as_str()])
}

/// [`route::RENEWAL`]
pub fn renewal(id: &str) -> String {
    fill(route::RENEWAL, &[id])
}

/// [`route::ISSUER`]
pub fn issuer(name: &Label) -> String {
    fill(route::ISSUER, &[name.as_str()])
}

/// [`route::AUTHORITY`]
pub fn authority(name: &Label) -> String {
    fill(route::AUTHORITY, &[name.as_str()])
}

/// [`route::AUTHORITY_PROFILES`]
pub fn authority_profiles(name: &Label) -> String {
    fill(route::AUTHORITY_PROFILES, &[name.as_str()])
}

/// [`route::AUTHORITY_PROFILE`]
pub fn authority_profile(name: &Label, profile: &Label) -> String {
    fill(route::AUTHORITY_PROFILE, &[name.as_str(), profile.as_str()])
}

/// [`route::AUTHORITY_CSR`]
pub fn authority_csr(name: &Label) -> String {
    fill(route::AUTHORITY_CSR, &[name.as_str()])
}

/// [`route::AUTHORITY_CHAIN`]
pub fn authority_chain(name: &Label) -> String {
    fill(route::AUTHORITY_CHAIN, &[name.as_str()])
}

/// [`route::AUTHORITY_CRL`]
pub fn authority_crl(name: &Label) -> String {
    fill(route::AUTHORITY_CRL, &[name.as_str()])
}

/// [`route::AUTHORITY_ROTATION`]
pub fn authority_rotation(name: &Label) -> String {
    fill(route::AUTHORITY_ROTATION, &[name.as_str()])
}

/// [`route::AUTHORITY_TAINT`]
pub fn authority_taint(name: &Label, number: u32) -> String {
    fill(route::AUTHORITY_TAINT, &[name.as_str(), &number.to_string()])
}

/// [`route::AUTHORITY_RETIRE`]
pub fn authority_retire(name: &Label, number: u32) -> String {
    fill(route::AUTHORITY_RETIRE, &[name.as_str(), &number.to_string()])
}

/// [`route::AUTHORITY_ISSUE`]
pub fn authority_issue(name: &Label) -> String {
    fill(route::AUTHORITY_ISSUE, &[name.as_str()])
}

/// [`route::AUTHORITY_CERTIFICATES`]
pub fn authority_certificates(name: &Label) -> String {
    fill(route::AUTHORITY_CERTIFICATES, &[name.as_str()])
}

/// [`route::AUTHORITY_STORED`]
pub fn authority_stored(name: &Label) -> String {
    fill(route::AUTHORITY_STORED, &[name.as_str()])
}

/// [`route::AUTHORITY_REVOKE`]
pub fn authority_revoke(name: &Label, serial: &str) -> String {
    fill(route::AUTHORITY_REVOKE, &[name.as_str(), serial])
}

/// [`route::AUTHORITY_REVOKE_SHOWN`]
pub fn authority_revoke_shown(name: &Label) -> String {
    fill(route::AUTHORITY_REVOKE_SHOWN, &[name.as_str()])
}

/// [`route::ACME_ACCOUNTS`]
pub fn acme_accounts(authority: &Label) -> String {
    fill(route::ACME_ACCOUNTS, &[authority.as_str()])
}

/// [`route::ACME_ACCOUNT`]
pub fn acme_account(authority: &Label, id: &str) -> String {
    fill(route::ACME_ACCOUNT, &[authority.as_str(), id])
}

/// [`route::ACME_ACCOUNT_DEACTIVATE`]
pub fn acme_account_deactivate(authority: &Label, id: &str) -> String {
    fill(route::ACME_ACCOUNT_DEACTIVATE, &[authority.as_str(), id])
}

/// [`route::ACME_EXTERNAL_KEYS`]
pub fn acme_external_keys(authority: &Label) -> String {
    fill(route::ACME_EXTERNAL_KEYS, &[authority.as_str()])
}

/// [`route::ACME_EXTERNAL_KEY`]
pub fn acme_external_key(authority: &Label, kid: &str) -> String {
    fill(route::ACME_EXTERNAL_KEY, &[authority.as_str(), kid])
}

/// [`route::IDENTITY`]
pub fn identity(id: &str) -> String {
    fill(route::IDENTITY, &[id])
}

/// [`route::IDENTITY_ENTRY`]
pub fn identity_entry(id: &str, entry: &str) -> String {
    fill(route::IDENTITY_ENTRY, &[id, entry])
}

/// [`route::ROLE`]
pub fn role(name: &str) -> String {
    fill(route::ROLE, &[name])
}

/// [`route::ROLE_ASSIGNMENT`]
pub fn role_assignment(id: &str) -> String {
    fill(route::ROLE_ASSIGNMENT, &[id])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        let vault = "kv-prod".parse().unwrap();
        let name = "db/pass+word=1@x".parse().unwrap();
        assert_eq!(
            secret_version(&vault, &name, "3"),
            "/api/vaults/kv-prod/secrets/db%2Fpass%2Bword%3D1%40x/versions/3"
        );
        assert_eq!(segment("ä?#%"), "%C3%A4%3F%23%25");
        assert_eq!(renewal("../x"), "/api/renewals/..%2Fx");
    }
}

//! The native REST API: JSON in and out, problems after RFC 9457 (`crate::wire` has its types and its rules).
//!
//! A handler turns a request into one operation and its output into one answer, nothing else. A new resource is a file
//! here and its lines in [`mount`].

mod acme;
mod audit;
mod authorities;
mod backups;
mod body;
mod certificates;
mod conditions;
mod halts;
mod identities;
mod issuers;
mod key_uses;
mod keys;
mod policy;
mod profiles;
mod rekey;
mod renewals;
mod roles;
mod rotation;
mod secret_rotation;
mod secret_versions;
mod secrets;
mod vaults;

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post, put};

use super::{Mounts, metrics};
use crate::error::Result;
use crate::id::{Label, ObjectName};
use crate::vault::Tags;
use crate::wire::paths::route;

/// A handler's answer.
type Answer<T> = Result<axum::Json<T>, super::frame::Failure>;
/// The same, for what was made.
type Created<T> = Result<(StatusCode, axum::Json<T>), super::frame::Failure>;

/// Mounts the API.
pub(super) fn mount(mounts: Mounts) -> Mounts {
    mounts
        .gated(route::VAULTS, get(vaults::list).post(vaults::create))
        .gated(
            route::VAULT,
            get(vaults::show).patch(vaults::update).delete(vaults::delete),
        )
        .gated(route::DELETED_VAULTS, get(vaults::list_deleted))
        .gated(route::VAULT_RECOVER, post(vaults::recover))
        .gated(route::VAULT_PURGE, post(vaults::purge))
        .gated(route::KEKS, get(rekey::keks).post(rekey::rotate_kek))
        .gated(route::KEK_RETIRE, post(rekey::retire_kek))
        .gated(route::SECRETS, get(secrets::list))
        .gated(
            route::SECRET,
            get(secrets::read).put(secrets::set).delete(secrets::delete),
        )
        .gated(
            route::SECRET_METADATA,
            get(secret_versions::show).patch(secret_versions::update),
        )
        .gated(route::SECRET_VERSIONS, get(secrets::versions))
        .gated(route::SECRET_VERSION, get(secrets::read_version))
        .gated(
            route::SECRET_VERSION_METADATA,
            get(secret_versions::show_version).patch(secret_versions::update_version),
        )
        .gated(route::SECRET_VERSION_DESTROY, post(secret_versions::destroy))
        .gated(route::SECRET_VERSION_RECOVER, post(secret_versions::recover))
        .gated(
            route::SECRET_LABEL,
            put(secret_versions::point).delete(secret_versions::unpoint),
        )
        .gated(route::SECRET_RECOVER, post(secrets::recover))
        .gated(route::SECRET_PURGE, post(secrets::purge))
        .gated(
            route::SECRET_ROTATION,
            get(secret_rotation::show)
                .put(secret_rotation::set)
                .delete(secret_rotation::remove),
        )
        .gated(route::SECRET_ROTATE, post(secret_rotation::rotate))
        .gated(route::SECRET_BACKUP, post(backups::secret))
        .gated(route::SECRET_RESTORE, post(backups::restore_secret))
        .gated(route::KEY_BACKUP, post(backups::key))
        .gated(route::KEY_RESTORE, post(backups::restore_key))
        .gated(route::KEYS, get(keys::list).post(keys::create))
        .gated(route::KEY, get(keys::show).patch(keys::update).delete(keys::delete))
        .gated(route::KEY_VERSIONS, get(keys::versions))
        .gated(route::KEY_VERSION, get(keys::show_version).patch(keys::update_version))
        .gated(route::KEY_ROTATE, post(keys::rotate))
        .gated(route::KEY_RECOVER, post(keys::recover))
        .gated(route::KEY_IMPORT, post(keys::import))
        .gated(route::KEY_EXPORT, post(key_uses::export))
        .gated(route::KEY_PURGE, post(keys::purge))
        .gated(route::KEY_ENCRYPT, post(key_uses::encrypt))
        .gated(route::KEY_DECRYPT, post(key_uses::decrypt))
        .gated(route::KEY_REENCRYPT, post(key_uses::reencrypt))
        .gated(route::KEY_DATA_KEY, post(key_uses::data_key))
        .gated(route::KEY_WRAP, post(key_uses::wrap))
        .gated(route::KEY_UNWRAP, post(key_uses::unwrap))
        .gated(route::KEY_SIGN, post(key_uses::sign))
        .gated(route::KEY_VERIFY, post(key_uses::verify))
        .gated(route::KEY_DERIVE, post(key_uses::derive))
        .gated(route::RANDOM, post(key_uses::random))
        .gated(route::CERTIFICATES, get(certificates::list).post(certificates::create))
        .gated(route::CERTIFICATE, get(certificates::show))
        .gated(route::CERTIFICATE_CHAIN, get(certificates::chain))
        .gated(route::CERTIFICATE_RENEW, post(certificates::renew))
        .gated(route::CERTIFICATE_REVOKE, post(certificates::revoke))
        .gated(route::RENEWALS, get(renewals::list))
        .gated(route::RENEWAL, get(renewals::show))
        .gated(route::ISSUERS, get(issuers::list).post(issuers::create))
        .gated(route::ISSUER, get(issuers::show))
        .gated(route::AUTHORITIES, get(authorities::list).post(rotation::init))
        .gated(route::AUTHORITY, get(authorities::show))
        .gated(route::AUTHORITY_PROFILES, get(profiles::list))
        .gated(route::AUTHORITY_PROFILE, get(profiles::show))
        .gated(route::AUTHORITY_ISSUE, post(authorities::issue))
        .gated(route::AUTHORITY_CERTIFICATES, get(authorities::issued))
        .gated(route::AUTHORITY_STORED, get(authorities::stored))
        .gated(route::AUTHORITY_REVOKE, post(authorities::revoke))
        .gated(route::AUTHORITY_REVOKE_SHOWN, post(authorities::revoke_shown))
        .gated(route::ACME_ACCOUNTS, get(acme::accounts))
        .gated(route::ACME_ACCOUNT, get(acme::account).patch(acme::restrict))
        .gated(route::ACME_ACCOUNT_DEACTIVATE, post(acme::deactivate))
        .gated(route::ACME_EXTERNAL_KEYS, get(acme::keys).post(acme::create_key))
        .gated(route::ACME_EXTERNAL_KEY, delete(acme::delete_key))
        .gated(route::AUTHORITY_CSR, post(rotation::request))
        .gated(route::AUTHORITY_CHAIN, post(rotation::import))
        .gated(route::AUTHORITY_CRL, post(rotation::import_list))
        .gated(route::AUTHORITY_ROTATION, get(rotation::show).post(rotation::begin))
        .gated(route::AUTHORITY_TAINT, post(rotation::taint))
        .gated(route::AUTHORITY_RETIRE, post(rotation::retire))
        .ungated(Method::POST, route::COMPROMISED_KEYS, authorities::revoke_proven)
        .gated(route::ISSUING_STOPS, get(halts::stops).post(halts::stop))
        .gated(route::ISSUING_RESUME, post(halts::resume))
        .gated(route::BLOCKED_KEYS, get(halts::blocked).post(halts::block))
        .gated(route::IDENTITIES, get(identities::list).post(identities::create))
        .gated(route::IDENTITY_DISABLE, post(identities::disable))
        .gated(route::IDENTITY_ENABLE, post(identities::enable))
        .gated(route::JOIN_TOKENS, post(identities::create_token))
        .gated(route::IDENTITY, get(identities::show).put(identities::update))
        .gated(
            route::IDENTITY_ENTRY,
            put(identities::update_entry).delete(identities::delete_entry),
        )
        .ungated(Method::POST, route::ENROLL, identities::enroll)
        .ungated(Method::POST, route::ENROLL_JWT, identities::enroll_by_jwt)
        .ungated(
            Method::POST,
            route::ENROLL_CERTIFICATE,
            identities::enroll_by_certificate,
        )
        .gated_with_grace(route::REENROLL, post(identities::reenroll))
        .gated(route::ROLE_ASSIGNMENTS, get(roles::list).post(roles::assign))
        .gated(route::ROLE_ASSIGNMENT, delete(roles::revoke))
        .gated(route::POLICY_CHECK, post(policy::check))
        .gated(route::POLICY_EXPLAIN, get(policy::explain))
        .gated(route::POLICY_SIMULATE, post(policy::simulate))
        .gated(route::ROLES, get(roles::definitions).post(roles::create))
        .gated(route::ROLE, get(roles::show).put(roles::update).delete(roles::delete))
        .gated(route::AUDIT_LOG, get(audit::log))
        .gated(route::AUDIT_ENTRIES, get(audit::entries))
        .gated(route::AUDIT_RECORDS, get(audit::records))
        .gated(route::AUDIT_INDEX_REBUILD, post(audit::rebuild))
        .gated(route::AUDIT_PROOF, get(audit::proof))
        .gated(route::AUDIT_CHECKPOINT, get(audit::checkpoint))
        .gated(route::BACKUPS, post(backups::service))
        .gated("/metrics", get(metrics::show))
}

/// An object's vault and name, from the path.
fn object((vault, name): &(String, String)) -> Result<(Label, ObjectName)> {
    Ok((vault.parse()?, name.parse()?))
}

/// Notes beside a version.
fn tags(tags: &Tags) -> BTreeMap<String, String> {
    tags.iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

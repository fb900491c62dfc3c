//! Schema migrations: one file each, expand first and contract a release later, for SQLite and PostgreSQL alike.

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;

mod m20261124_000001_core;
mod m20261124_000002_authz;
mod m20261124_000003_identity;
mod m20261124_000004_vault;
mod m20261124_000005_ca;
mod m20261124_000006_upstream;
mod m20261124_000007_lifecycle;
mod m20261124_000008_audit;
mod m20261124_000010_acme;
mod m20261124_000011_revocation;
mod m20261124_000012_idempotency;
mod m20261124_000013_delivery_folder;
mod m20261124_000013_expiry;
mod m20261124_000013_identity_state;
mod m20261124_000014_audit_writer;
mod m20261124_000030_issued_by_key;
mod m20261124_000040_halt;
mod m20261124_000050_profile_version;
mod m20261124_000060_acme_replaces;
mod m20261124_000061_acme_external;
mod m20261124_000062_rate_limit;
mod m20261124_000063_acme_ends;
mod m20261124_000070_issuers_over_time;
mod m20261124_000080_inventory;
mod m20261124_000081_compromised;
mod m20261124_000090_registration_entry;
mod m20261124_000100_acme_role;
mod m20261124_000110_keys;
mod m20261130_000120_secret_attributes;
mod m20261130_000121_vault_attributes;
mod m20261130_000130_audit_search;
mod m20261130_000140_who_and_when;
mod m20261130_000141_custom_role;
mod m20261130_000150_key_protection;
mod m20261201_000210_audit_sink;
mod m20261201_000211_audit_rebuild;
mod m20261201_000240_secret_rotation;
mod m20261201_000250_kek;

/// All migrations in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_core::Migration),
            Box::new(m20261124_000002_authz::Migration),
            Box::new(m20261124_000003_identity::Migration),
            Box::new(m20261124_000004_vault::Migration),
            Box::new(m20261124_000005_ca::Migration),
            Box::new(m20261124_000008_audit::Migration),
            Box::new(m20261124_000006_upstream::Migration),
            Box::new(m20261124_000007_lifecycle::Migration),
            Box::new(m20261124_000010_acme::Migration),
            Box::new(m20261124_000012_idempotency::Migration),
            Box::new(m20261124_000013_delivery_folder::Migration),
            Box::new(m20261124_000013_identity_state::Migration),
            Box::new(m20261124_000013_expiry::Migration),
            Box::new(m20261124_000011_revocation::Migration),
            Box::new(m20261124_000030_issued_by_key::Migration),
            Box::new(m20261124_000014_audit_writer::Migration),
            Box::new(m20261124_000040_halt::Migration),
            Box::new(m20261124_000050_profile_version::Migration),
            Box::new(m20261124_000060_acme_replaces::Migration),
            Box::new(m20261124_000061_acme_external::Migration),
            Box::new(m20261124_000062_rate_limit::Migration),
            Box::new(m20261124_000063_acme_ends::Migration),
            Box::new(m20261124_000080_inventory::Migration),
            Box::new(m20261124_000081_compromised::Migration),
            Box::new(m20261124_000090_registration_entry::Migration),
            Box::new(m20261124_000070_issuers_over_time::Migration),
            Box::new(m20261124_000100_acme_role::Migration),
            Box::new(m20261124_000110_keys::Migration),
            Box::new(m20261130_000120_secret_attributes::Migration),
            Box::new(m20261130_000121_vault_attributes::Migration),
            Box::new(m20261130_000130_audit_search::Migration),
            Box::new(m20261130_000140_who_and_when::Migration),
            Box::new(m20261130_000141_custom_role::Migration),
            Box::new(m20261130_000150_key_protection::Migration),
            Box::new(m20261201_000210_audit_sink::Migration),
            Box::new(m20261201_000211_audit_rebuild::Migration),
            Box::new(m20261201_000240_secret_rotation::Migration),
            Box::new(m20261201_000250_kek::Migration),
        ]
    }
}

//! The native API's requests and answers: what the server speaks and what the client understands.
//!
//! Holds serde types and paths, nothing that acts. It must never hold a rule of a room (a surface translates, rooms
//! decide), and no type here that carries a secret value implements `Debug`. A new resource gets a file here, its
//! paths in [`paths`], and a line in the table below.
//!
//! # Rules of the wire
//! - JSON in and out, except where the table says otherwise. Requests refuse unknown fields; answers may grow.
//! - Times are RFC 3339 in UTC, whole seconds. Durations carry their unit in the name (`ttl_s`).
//! - Names that may contain `/` (secrets, certificates) stand in *one* path segment, percent-encoded: the secret
//!   `db/password` is `/api/vaults/kv-prod/secrets/db%2Fpassword`. A SPIFFE ID in a query or body is plain.
//! - Lists answer a [`Page`]: `?limit=` (1 to 1000, default 100) and `?cursor=` (the `next` of the page before).
//! - A secret's value carries its version's id as `etag`. Setting one takes `if-match: "<version>"` (id or ordinal, `*`
//!   for any) and `if-none-match: *` (RFC 9110 §13.1); what does not hold is a conflict.
//! - The `etag` of a vault, of a key, and of what is known about a secret (`metadata`), is its revision, which grows with every
//!   change; changing one takes `if-match: "<revision>"`.
//! - Setting a secret takes the header `idempotency-key` (1 to 255 visible characters), which is kept with the version:
//!   the same caller's same value with the same key answers the version that it made; another value is a conflict.
//! - Issuing takes the header `idempotency-key` (1 to 255 visible characters): the same caller's same request with the
//!   same key gives the same certificate for a day, on every node; another request with that key is a conflict.
//! - A failure is a [`Problem`] (RFC 9457, `application/problem+json`); programs act on its `kind`. Every answer
//!   carries the request's id in the header `x-request-id`.
//!
//! # Paths
//! | Method and path | Request | Answer |
//! |---|---|---|
//! | `GET /api/vaults` | [`PageQuery`] | [`Page`]`<`[`Vault`]`>` |
//! | `POST /api/vaults` | [`CreateVault`] | 201 [`Vault`] |
//! | `GET /api/vaults/{vault}` | | [`Vault`] |
//! | `PATCH /api/vaults/{vault}` | [`UpdateVault`] | [`Vault`] |
//! | `DELETE /api/vaults/{vault}` | | [`Vault`] |
//! | `GET /api/deleted-vaults` | [`PageQuery`] | [`Page`]`<`[`Vault`]`>` |
//! | `POST /api/deleted-vaults/{vault}/recover` | | [`Vault`] |
//! | `POST /api/deleted-vaults/{vault}/purge` | | 204 |
//! | `GET /api/keks` | | [`Keks`], oldest first |
//! | `POST /api/keks` | | 202 [`Keks`] (the next generation is on its way) |
//! | `POST /api/keks/{generation}/retire` | | [`Keks`] |
//! | `GET /api/vaults/{vault}/secrets` | [`SecretsQuery`] | [`Page`]`<`[`Secret`]`>` |
//! | `PUT /api/vaults/{vault}/secrets/{name}` | [`SetSecret`] | [`SecretVersion`] |
//! | `GET /api/vaults/{vault}/secrets/{name}` | | [`SecretValue`] (the current version's) |
//! | `DELETE /api/vaults/{vault}/secrets/{name}` | | [`Deleted`] |
//! | `GET /api/vaults/{vault}/secrets/{name}/metadata` | | [`Secret`] with its current version |
//! | `PATCH /api/vaults/{vault}/secrets/{name}/metadata` | [`UpdateSecret`] (of the current version) | [`Secret`] |
//! | `GET /api/vaults/{vault}/secrets/{name}/versions` | [`PageQuery`] | [`Page`]`<`[`SecretVersion`]`>`, newest first |
//! | `GET /api/vaults/{vault}/secrets/{name}/versions/{version}` | ordinal (`3`), id or label | [`SecretValue`] |
//! | `GET /api/vaults/{vault}/secrets/{name}/versions/{version}/metadata` | the same | [`Secret`] with that version |
//! | `PATCH /api/vaults/{vault}/secrets/{name}/versions/{version}/metadata` | [`UpdateSecret`] | [`Secret`] with that version |
//! | `POST /api/vaults/{vault}/secrets/{name}/versions/{version}/destroy` | [`DestroyVersion`] | [`Secret`] with that version |
//! | `POST /api/vaults/{vault}/secrets/{name}/versions/{version}/recover` | | [`Secret`] with that version |
//! | `PUT /api/vaults/{vault}/secrets/{name}/labels/{label}` | [`PointLabel`] | [`Secret`] with that version |
//! | `DELETE /api/vaults/{vault}/secrets/{name}/labels/{label}` | [`LabelQuery`] | [`Secret`] with its current version |
//! | `POST /api/vaults/{vault}/secrets/{name}/recover` | | [`Secret`] |
//! | `POST /api/vaults/{vault}/secrets/{name}/purge` | | 204 |
//! | `GET /api/vaults/{vault}/secrets/{name}/rotation` | | [`SecretRotation`] |
//! | `PUT /api/vaults/{vault}/secrets/{name}/rotation` | [`SetRotation`] | [`SecretRotation`] |
//! | `DELETE /api/vaults/{vault}/secrets/{name}/rotation` | | 204 |
//! | `POST /api/vaults/{vault}/secrets/{name}/rotate` | | 202 [`SecretRotation`] |
//! | `POST /api/vaults/{vault}/secrets/{name}/backup` | | [`Backup`] |
//! | `POST /api/vaults/{vault}/restore/secrets` | [`Restore`] | 201 [`Secret`] |
//! | `POST /api/vaults/{vault}/keys/{name}/backup` | | [`Backup`] |
//! | `POST /api/vaults/{vault}/restore/keys` | [`Restore`] | 201 [`Key`] |
//! | `POST /api/backups` | | a backup of the whole service, `application/octet-stream` |
//! | `GET /api/vaults/{vault}/keys` | [`PageQuery`] | [`Page`]`<`[`Key`]`>` |
//! | `POST /api/vaults/{vault}/keys` | [`CreateKey`] | 201 [`Key`] |
//! | `GET /api/vaults/{vault}/keys/{name}` | | [`Key`] with its current version |
//! | `PATCH /api/vaults/{vault}/keys/{name}` | [`UpdateKey`] (of the current version) | [`Key`] |
//! | `DELETE /api/vaults/{vault}/keys/{name}` | | [`Deleted`] |
//! | `GET /api/vaults/{vault}/keys/{name}/versions` | [`PageQuery`] | [`Page`]`<`[`KeyVersion`]`>`, newest first |
//! | `GET /api/vaults/{vault}/keys/{name}/versions/{version}` | ordinal (`3`) or id | [`Key`] with that version |
//! | `PATCH /api/vaults/{vault}/keys/{name}/versions/{version}` | [`UpdateKey`] | [`Key`] with that version |
//! | `POST /api/vaults/{vault}/keys/{name}/rotate` | [`RotateKey`] | [`Key`] |
//! | `POST /api/vaults/{vault}/keys/{name}/recover` | | [`Key`] |
//! | `POST /api/vaults/{vault}/keys/{name}/purge` | | 204 |
//! | `POST /api/vaults/{vault}/keys/{name}/encrypt` | [`Encrypt`] | [`Encrypted`] |
//! | `POST /api/vaults/{vault}/keys/{name}/decrypt` | [`Decrypt`] | [`Decrypted`] |
//! | `POST /api/vaults/{vault}/keys/{name}/re-encrypt` | [`Reencrypt`] | [`Encrypted`] |
//! | `POST /api/vaults/{vault}/keys/{name}/data-key` | [`CreateDataKey`] | [`DataKey`] |
//! | `POST /api/vaults/{vault}/keys/{name}/wrap` | [`Wrap`] | [`Wrapped`] |
//! | `POST /api/vaults/{vault}/keys/{name}/unwrap` | [`Unwrap`] | [`Unwrapped`] |
//! | `POST /api/vaults/{vault}/keys/{name}/sign` | [`Sign`] | [`Signed`] |
//! | `POST /api/vaults/{vault}/keys/{name}/verify` | [`VerifySignature`] | [`Verdict`] |
//! | `POST /api/vaults/{vault}/keys/{name}/derive` | [`DeriveSecret`] | [`SharedSecret`] |
//! | `POST /api/vaults/{vault}/random` | [`ReadRandom`] | [`Random`] |
//! | `GET /api/vaults/{vault}/certificates` | [`PageQuery`] | [`Page`]`<`[`Certificate`]`>` |
//! | `POST /api/vaults/{vault}/certificates` | [`CreateCertificate`] | 202 [`Certificate`] (its first order runs) |
//! | `GET /api/vaults/{vault}/certificates/{name}` | | [`Certificate`] |
//! | `GET /api/vaults/{vault}/certificates/{name}/chain` | | PEM, leaf first, `application/pem-certificate-chain` |
//! | `POST /api/vaults/{vault}/certificates/{name}/renew` | | 202 [`Renewal`] |
//! | `POST /api/vaults/{vault}/certificates/{name}/revoke` | [`Revoke`] | [`Certificate`] |
//! | `GET /api/renewals` | [`PageQuery`] | [`Page`]`<`[`Renewal`]`>`, newest first |
//! | `GET /api/renewals/{id}` | | [`Renewal`] |
//! | `GET /api/issuers` | [`PageQuery`] | [`Page`]`<`[`Issuer`]`>` |
//! | `POST /api/issuers` | [`CreateIssuer`] | 201 [`Issuer`] |
//! | `GET /api/issuers/{name}` | | [`Issuer`] |
//! | `GET /api/authorities` | [`PageQuery`] | [`Page`]`<`[`Authority`]`>` |
//! | `GET /api/authorities/{name}` | | [`Authority`] |
//! | `GET /api/authorities/{name}/profiles` | [`PageQuery`] | [`Page`]`<`[`Profile`]`>`, the newest version of each first |
//! | `GET /api/authorities/{name}/profiles/{profile}` | [`ProfileQuery`] | [`Profile`] with its text |
//! | `POST /api/authorities/{name}/issue` | [`Issue`] | 201 [`Issued`] |
//! | `GET /api/authorities/{name}/certificates` | [`IssuedQuery`] | [`Page`]`<`[`IssuedCertificate`]`>` |
//! | `GET /api/authorities/{name}/stored-certificates` | [`PageQuery`] | [`Page`]`<`[`StoredCertificate`]`>`, oldest first |
//! | `POST /api/authorities/{name}/certificates/{serial}/revoke` | [`Revoke`] | [`IssuedCertificate`] |
//! | `POST /api/authorities/{name}/revoke` | [`RevokeShown`] | [`RevokedSerials`] |
//! | `GET /api/authorities/{name}/acme/accounts` | [`PageQuery`] | [`Page`]`<`[`AcmeAccount`]`>` |
//! | `GET /api/authorities/{name}/acme/accounts/{id}` | | [`AcmeAccount`] |
//! | `PATCH /api/authorities/{name}/acme/accounts/{id}` | [`UpdateAcmeAccount`] | [`AcmeAccount`] |
//! | `POST /api/authorities/{name}/acme/accounts/{id}/deactivate` | | [`AcmeAccount`] |
//! | `GET /api/authorities/{name}/acme/external-keys` | [`PageQuery`] | [`Page`]`<`[`ExternalKey`]`>` |
//! | `POST /api/authorities/{name}/acme/external-keys` | [`CreateExternalKey`] | 201 [`NewExternalKey`] |
//! | `DELETE /api/authorities/{name}/acme/external-keys/{kid}` | | 204 |
//! | `POST /api/compromised-keys` (no client certificate) | [`CompromisedKey`] | [`RevokedSerials`] |
//! | `GET /api/issuing-stops` | | [`Page`]`<`[`IssuingStop`]`>` |
//! | `POST /api/issuing-stops` | [`StopIssuing`] | 201 [`IssuingStop`] |
//! | `POST /api/issuing-stops/resume` | [`ResumeIssuing`] | 204 |
//! | `GET /api/blocked-keys` | [`PageQuery`] | [`Page`]`<`[`BlockedKey`]`>` |
//! | `POST /api/blocked-keys` | [`BlockKey`] | 201 [`BlockedKey`] |
//! | `GET /api/identities` | [`PageQuery`] | [`Page`]`<`[`Identity`]`>` |
//! | `POST /api/identities` | [`CreateIdentity`] | 201 [`Identity`] |
//! | `GET /api/identities/{id}` | | [`Identity`] with its entries |
//! | `PUT /api/identities/{id}` | [`UpdateIdentity`] | [`Identity`] |
//! | `PUT /api/identities/{id}/entries/{entry}` | [`Way`] | [`RegistrationEntry`] |
//! | `DELETE /api/identities/{id}/entries/{entry}` | | 204 |
//! | `POST /api/identities/tokens` | [`CreateJoinToken`] | 201 [`JoinToken`] |
//! | `POST /api/enroll` (no client certificate) | [`Enroll`] | 201 [`Enrolled`] |
//! | `POST /api/enroll/jwt` (no client certificate) | [`EnrollByJwt`] | 201 [`Enrolled`] |
//! | `POST /api/enroll/certificate` (any client certificate) | [`EnrollByCertificate`] | 201 [`Enrolled`] |
//! | `POST /api/reenroll` | [`Reenroll`] | 201 [`Enrolled`] |
//! | `GET /api/role-assignments` | [`PageQuery`] | [`Page`]`<`[`RoleAssignment`]`>` |
//! | `POST /api/role-assignments` | [`AssignRole`] | 201 [`RoleAssignment`] |
//! | `DELETE /api/role-assignments/{id}` | | 204 |
//! | `POST /api/policy/check` | [`CheckPolicy`] | [`PolicyDecision`] |
//! | `POST /api/policy/simulate` | [`SimulatePolicy`] | [`PolicyAlterations`] |
//! | `GET /api/policy/explain` | [`ExplainQuery`] | [`Page`]`<`[`PolicyReason`]`>` |
//! | `GET /api/roles` | [`PageQuery`] | [`Page`]`<`[`Role`]`>` |
//! | `POST /api/roles` | [`CreateRole`] | 201 [`Role`] |
//! | `GET /api/roles/{name}` | | [`Role`] |
//! | `PUT /api/roles/{name}` | [`UpdateRole`] | [`Role`] |
//! | `DELETE /api/roles/{name}` | | 204 |
//! | `GET /api/audit/log` | | [`AuditLog`] |
//! | `GET /api/audit/entries` | [`EntriesQuery`] | [`AuditEntries`] |
//! | `GET /api/audit/records` | [`SearchQuery`] | [`FoundRecords`], newest first |
//! | `POST /api/audit/index/rebuild` | [`RebuildIndex`] | [`IndexRebuild`]; it goes on behind the answer |
//! | `GET /api/audit/proof` | [`ProofQuery`] | C2SP tlog-proof, or with `since` what a C2SP tlog-witness takes, `text/plain` |
//! | `GET /api/audit/checkpoint` | [`CheckpointQuery`] | C2SP signed note, `text/plain` |

pub mod paths;

mod acme;
mod audit;
mod authority;
mod backup;
mod base64;
mod certificate;
mod halt;
mod identity;
mod inventory;
mod issuer;
mod key;
mod key_move;
mod key_use;
mod or_null;
mod page;
mod policy;
mod problem;
mod profile;
mod rekey;
mod renewal;
mod revocation;
mod rfc3339;
mod role;
mod rotation;
mod secret;
mod secret_change;
mod secret_rotation;
mod secret_text;
mod trust;
mod vault;

pub use acme::{AcmeAccount, CreateExternalKey, ExternalKey, NewExternalKey, UpdateAcmeAccount};
pub use audit::{
    AuditEntries, AuditLog, CheckpointQuery, EntriesQuery, FoundRecord, FoundRecords, IndexRebuild, ProofQuery,
    RebuildIndex, SearchQuery, SearchedLog,
};
pub use authority::{Authority, Issue, Issued, IssuedCertificate, StoredCertificate};
pub use backup::{BACKUP_MAX_BYTES, Backup, Restore};
pub use base64::{Base64, SecretBase64};
pub use certificate::{CERTIFICATE_KEYS, Certificate, CertificateVersion, CreateCertificate, Deliver, Verify};
pub use halt::{BlockKey, BlockedKey, IssuingStop, ResumeIssuing, StopIssuing};
pub use identity::{
    CreateIdentity, CreateJoinToken, Enroll, EnrollByCertificate, EnrollByJwt, Enrolled, GroupClaim, Identity,
    JoinToken, Reenroll, RegistrationEntry, UpdateIdentity, Way, WhichIdentity,
};
pub use inventory::{CertificateStatus, IssuedQuery};
pub use issuer::{CreateIssuer, Issuer};
pub use key::{CreateKey, Key, KeyVersion, RotateKey, UpdateKey};
pub use key_move::{ExportKey, ExportedKey, ImportKey, WrappedBy};
pub use key_use::{
    CreateDataKey, DataKey, Decrypt, Decrypted, DeriveSecret, Encrypt, Encrypted, Random, ReadRandom, Reencrypt,
    SharedSecret, Sign, Signed, Unwrap, Unwrapped, UsedKey, Verdict, VerifySignature, Wrap, Wrapped,
};
pub use or_null::{OrNull, TextOrNull};
pub use page::{LIMIT_DEFAULT, LIMIT_MAX, Page, PageQuery};
pub use policy::{
    CheckPolicy, ExplainQuery, PolicyAlterations, PolicyAltered, PolicyDecision, PolicyReason, ReachedIdentity,
    SimulatePolicy,
};
pub use problem::{PROBLEM_JSON, Problem};
pub use profile::{Profile, ProfileQuery};
pub use rekey::{Kek, Keks};
pub use renewal::Renewal;
pub use revocation::{CompromisedKey, RevocationReason, Revoke, RevokeShown, RevokedSerials};
pub use role::{AssignRole, CreateRole, Role, RoleAssignment, UpdateRole};
pub use rotation::{
    CertificateRequest, ImportChain, ImportList, ImportedList, InitAuthority, OldCertificate, Retire, Rotate,
    RotatingIssuer, Rotation,
};
pub use secret::{
    Deleted, Encoding, Generate, SECRET_MAX_BYTES, Secret, SecretAttributes, SecretValue, SecretVersion, SetSecret,
};
pub use secret_change::{DestroyVersion, LabelQuery, PointLabel, SecretsQuery, UpdateSecret};
pub use secret_rotation::{SecretRotation, SetRotation};
pub use secret_text::SecretText;
pub use trust::{TrustBundle, Trusted};
pub use vault::{CreateVault, UpdateVault, Vault};

/// The header that carries an idempotency key.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header that carries a request's id, in answers and (if the caller likes) in requests.
pub const REQUEST_ID: &str = "x-request-id";
/// The header that names the trace which a request belongs to (W3C Trace Context §3.2).
pub const TRACEPARENT: &str = "traceparent";

/// What a switch is if it is left out.
const fn yes() -> bool {
    true
}

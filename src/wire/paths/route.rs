//! Templates, in the syntax that axum routes by. What stands in braces is one percent-encoded segment.

/// Vaults.
pub const VAULTS: &str = "/api/vaults";
/// One vault.
pub const VAULT: &str = "/api/vaults/{vault}";
/// Vaults that can be recovered.
pub const DELETED_VAULTS: &str = "/api/deleted-vaults";
/// Takes a vault's deletion back.
pub const VAULT_RECOVER: &str = "/api/deleted-vaults/{vault}/recover";
/// Removes a deleted vault for good.
pub const VAULT_PURGE: &str = "/api/deleted-vaults/{vault}/purge";
/// Generations of the key-encryption key.
pub const KEKS: &str = "/api/keks";
/// Ends a former generation.
pub const KEK_RETIRE: &str = "/api/keks/{generation}/retire";
/// A vault's secrets.
pub const SECRETS: &str = "/api/vaults/{vault}/secrets";
/// A secret's current value.
pub const SECRET: &str = "/api/vaults/{vault}/secrets/{name}";
/// What is known about a secret.
pub const SECRET_METADATA: &str = "/api/vaults/{vault}/secrets/{name}/metadata";
/// A secret's versions.
pub const SECRET_VERSIONS: &str = "/api/vaults/{vault}/secrets/{name}/versions";
/// One version's value.
pub const SECRET_VERSION: &str = "/api/vaults/{vault}/secrets/{name}/versions/{version}";
/// What is known about one version.
pub const SECRET_VERSION_METADATA: &str = "/api/vaults/{vault}/secrets/{name}/versions/{version}/metadata";
/// Destroys its value.
pub const SECRET_VERSION_DESTROY: &str = "/api/vaults/{vault}/secrets/{name}/versions/{version}/destroy";
/// Takes that back.
pub const SECRET_VERSION_RECOVER: &str = "/api/vaults/{vault}/secrets/{name}/versions/{version}/recover";
/// A label that points at a version.
pub const SECRET_LABEL: &str = "/api/vaults/{vault}/secrets/{name}/labels/{label}";
/// Takes a deletion back.
pub const SECRET_RECOVER: &str = "/api/vaults/{vault}/secrets/{name}/recover";
/// Removes a deleted secret for good.
pub const SECRET_PURGE: &str = "/api/vaults/{vault}/secrets/{name}/purge";
/// How a secret is rotated.
pub const SECRET_ROTATION: &str = "/api/vaults/{vault}/secrets/{name}/rotation";
/// Begins a rotation now, or lets a paused one go on.
pub const SECRET_ROTATE: &str = "/api/vaults/{vault}/secrets/{name}/rotate";
/// Seals a secret to be kept elsewhere.
pub const SECRET_BACKUP: &str = "/api/vaults/{vault}/secrets/{name}/backup";
/// Makes a secret again from its backup, which says its name.
pub const SECRET_RESTORE: &str = "/api/vaults/{vault}/restore/secrets";
/// Seals a key to be kept elsewhere.
pub const KEY_BACKUP: &str = "/api/vaults/{vault}/keys/{name}/backup";
/// Makes a key again from its backup, which says its name.
pub const KEY_RESTORE: &str = "/api/vaults/{vault}/restore/keys";
/// A vault's keys.
pub const KEYS: &str = "/api/vaults/{vault}/keys";
/// One key.
pub const KEY: &str = "/api/vaults/{vault}/keys/{name}";
/// A key's versions.
pub const KEY_VERSIONS: &str = "/api/vaults/{vault}/keys/{name}/versions";
/// One of them.
pub const KEY_VERSION: &str = "/api/vaults/{vault}/keys/{name}/versions/{version}";
/// Gives it a new version.
pub const KEY_ROTATE: &str = "/api/vaults/{vault}/keys/{name}/rotate";
/// Takes a deletion back.
pub const KEY_RECOVER: &str = "/api/vaults/{vault}/keys/{name}/recover";
/// Keeps a key that was made elsewhere.
pub const KEY_IMPORT: &str = "/api/vaults/{vault}/keys/{name}/import";
/// Hands out a key that may leave.
pub const KEY_EXPORT: &str = "/api/vaults/{vault}/keys/{name}/export";
/// Removes a deleted one for good.
pub const KEY_PURGE: &str = "/api/vaults/{vault}/keys/{name}/purge";
/// Encrypts with it.
pub const KEY_ENCRYPT: &str = "/api/vaults/{vault}/keys/{name}/encrypt";
/// Decrypts with it.
pub const KEY_DECRYPT: &str = "/api/vaults/{vault}/keys/{name}/decrypt";
/// Decrypts and encrypts again.
pub const KEY_REENCRYPT: &str = "/api/vaults/{vault}/keys/{name}/re-encrypt";
/// Makes a data key.
pub const KEY_DATA_KEY: &str = "/api/vaults/{vault}/keys/{name}/data-key";
/// Wraps another key with it.
pub const KEY_WRAP: &str = "/api/vaults/{vault}/keys/{name}/wrap";
/// Unwraps another key with it.
pub const KEY_UNWRAP: &str = "/api/vaults/{vault}/keys/{name}/unwrap";
/// Signs with it.
pub const KEY_SIGN: &str = "/api/vaults/{vault}/keys/{name}/sign";
/// Verifies a signature with it.
pub const KEY_VERIFY: &str = "/api/vaults/{vault}/keys/{name}/verify";
/// Agrees on a secret with it.
pub const KEY_DERIVE: &str = "/api/vaults/{vault}/keys/{name}/derive";
/// Draws random bytes.
pub const RANDOM: &str = "/api/vaults/{vault}/random";
/// A vault's certificate objects.
pub const CERTIFICATES: &str = "/api/vaults/{vault}/certificates";
/// One certificate object.
pub const CERTIFICATE: &str = "/api/vaults/{vault}/certificates/{name}";
/// Its current chain.
pub const CERTIFICATE_CHAIN: &str = "/api/vaults/{vault}/certificates/{name}/chain";
/// Renews it now.
pub const CERTIFICATE_RENEW: &str = "/api/vaults/{vault}/certificates/{name}/renew";
/// Revokes its current version.
pub const CERTIFICATE_REVOKE: &str = "/api/vaults/{vault}/certificates/{name}/revoke";
/// Renewals.
pub const RENEWALS: &str = "/api/renewals";
/// One renewal.
pub const RENEWAL: &str = "/api/renewals/{id}";
/// Upstream issuers.
pub const ISSUERS: &str = "/api/issuers";
/// One upstream issuer.
pub const ISSUER: &str = "/api/issuers/{name}";
/// Our authorities.
pub const AUTHORITIES: &str = "/api/authorities";
/// One authority of ours.
pub const AUTHORITY: &str = "/api/authorities/{name}";
/// The versions of its profiles.
pub const AUTHORITY_PROFILES: &str = "/api/authorities/{name}/profiles";
/// One of them.
pub const AUTHORITY_PROFILE: &str = "/api/authorities/{name}/profiles/{profile}";
/// Issues from a request.
pub const AUTHORITY_ISSUE: &str = "/api/authorities/{name}/issue";
/// What an authority issued.
pub const AUTHORITY_CERTIFICATES: &str = "/api/authorities/{name}/certificates";
/// The same, whole.
pub const AUTHORITY_STORED: &str = "/api/authorities/{name}/stored-certificates";
/// Revokes one of them.
pub const AUTHORITY_REVOKE: &str = "/api/authorities/{name}/certificates/{serial}/revoke";
/// Revokes a certificate that is shown, or all of a key.
pub const AUTHORITY_REVOKE_SHOWN: &str = "/api/authorities/{name}/revoke";
/// Accounts of its ACME server.
pub const ACME_ACCOUNTS: &str = "/api/authorities/{name}/acme/accounts";
/// One of them.
pub const ACME_ACCOUNT: &str = "/api/authorities/{name}/acme/accounts/{id}";
/// Ends it.
pub const ACME_ACCOUNT_DEACTIVATE: &str = "/api/authorities/{name}/acme/accounts/{id}/deactivate";
/// Keys of external accounts.
pub const ACME_EXTERNAL_KEYS: &str = "/api/authorities/{name}/acme/external-keys";
/// One of them.
pub const ACME_EXTERNAL_KEY: &str = "/api/authorities/{name}/acme/external-keys/{kid}";
/// Makes the request for an issuing CA's certificate.
pub const AUTHORITY_CSR: &str = "/api/authorities/{name}/csr";
/// Takes its certificate and what stands above it.
pub const AUTHORITY_CHAIN: &str = "/api/authorities/{name}/chain";
/// Takes the revocation list of a root whose key is elsewhere.
pub const AUTHORITY_CRL: &str = "/api/authorities/{name}/crl";
/// Begins a rotation, or shows how far it is.
pub const AUTHORITY_ROTATION: &str = "/api/authorities/{name}/rotation";
/// Has all certificates of a replaced issuing CA replaced.
pub const AUTHORITY_TAINT: &str = "/api/authorities/{name}/issuers/{number}/taint";
/// Takes a tainted issuing CA out of the trust bundle.
pub const AUTHORITY_RETIRE: &str = "/api/authorities/{name}/issuers/{number}/retire";
/// Revokes all certificates of a key, for whoever holds it; without a client certificate.
pub const COMPROMISED_KEYS: &str = "/api/compromised-keys";
/// What to trust our certificates by; without a client certificate.
pub const TRUST_BUNDLE: &str = "/trust-bundle";
/// Where issuing is stopped.
pub const ISSUING_STOPS: &str = "/api/issuing-stops";
/// Takes a stop back.
pub const ISSUING_RESUME: &str = "/api/issuing-stops/resume";
/// Keys that are never certified.
pub const BLOCKED_KEYS: &str = "/api/blocked-keys";
/// Registered identities.
pub const IDENTITIES: &str = "/api/identities";
/// One of them, by its SPIFFE ID in one segment.
pub const IDENTITY: &str = "/api/identities/{id}";
/// One way to it.
pub const IDENTITY_ENTRY: &str = "/api/identities/{id}/entries/{entry}";
/// Disables one.
pub const IDENTITY_DISABLE: &str = "/api/identities/disable";
/// Enables one again.
pub const IDENTITY_ENABLE: &str = "/api/identities/enable";
/// Join tokens.
pub const JOIN_TOKENS: &str = "/api/identities/tokens";
/// First enrolment; without a client certificate.
pub const ENROLL: &str = "/api/enroll";
/// Enrolment by a JWT; without a client certificate.
pub const ENROLL_JWT: &str = "/api/enroll/jwt";
/// Enrolment by a certificate that is no identity's yet.
pub const ENROLL_CERTIFICATE: &str = "/api/enroll/certificate";
/// Renewed enrolment.
pub const REENROLL: &str = "/api/reenroll";
/// Role assignments.
pub const ROLE_ASSIGNMENTS: &str = "/api/role-assignments";
/// One role assignment.
pub const ROLE_ASSIGNMENT: &str = "/api/role-assignments/{id}";
/// Whether an identity may do something.
pub const POLICY_CHECK: &str = "/api/policy/check";
/// What an identity holds, or who may do something.
pub const POLICY_EXPLAIN: &str = "/api/policy/explain";
/// What a change to the roles would alter.
pub const POLICY_SIMULATE: &str = "/api/policy/simulate";
/// Roles and what they mean.
pub const ROLES: &str = "/api/roles";
/// One role.
pub const ROLE: &str = "/api/roles/{name}";
/// The audit log's name, key and size.
pub const AUDIT_LOG: &str = "/api/audit/log";
/// Its records.
pub const AUDIT_ENTRIES: &str = "/api/audit/entries";
/// Its records, and those of other nodes, by what they say.
pub const AUDIT_RECORDS: &str = "/api/audit/records";
/// Making the index anew by which it is searched.
pub const AUDIT_INDEX_REBUILD: &str = "/api/audit/index/rebuild";
/// A proof that a record is in it, or that it only grew.
pub const AUDIT_PROOF: &str = "/api/audit/proof";
/// Its newest checkpoint.
pub const AUDIT_CHECKPOINT: &str = "/api/audit/checkpoint";
/// Backups of the whole service.
pub const BACKUPS: &str = "/api/backups";

//! One method per path of the native API. Errors are those of [`Client`]: the service's refusals, or that it was not
//! reached.

use reqwest::Method;

use super::{Client, Result, to_json, with_body};
use crate::id::{Label, ObjectName};
use crate::wire::{self, paths};

/// No query.
const NONE: &[(); 0] = &[];

/// Certificate objects, their renewals and their issuers.
impl Client {
    /// Makes a certificate object; its first order starts at once.
    pub async fn create_certificate(
        &self,
        vault: &Label,
        certificate: &wire::CreateCertificate,
    ) -> Result<wire::Certificate> {
        self.change(Method::POST, &paths::certificates(vault), certificate)
            .await
    }

    /// Lists a vault's certificate objects, `most` at most.
    pub async fn certificates(&self, vault: &Label, most: Option<usize>) -> Result<Vec<wire::Certificate>> {
        self.all(&paths::certificates(vault), most).await
    }

    /// What is known about a certificate object.
    pub async fn certificate(&self, vault: &Label, name: &ObjectName) -> Result<wire::Certificate> {
        self.get(&paths::certificate(vault, name), NONE).await
    }

    /// Its current chain, PEM, leaf first.
    pub async fn certificate_chain(&self, vault: &Label, name: &ObjectName) -> Result<String> {
        self.get_text(&paths::certificate_chain(vault, name), NONE).await
    }

    /// Renews it now.
    pub async fn renew_certificate(&self, vault: &Label, name: &ObjectName) -> Result<wire::Renewal> {
        self.act(Method::POST, &paths::certificate_renew(vault, name)).await
    }

    /// Revokes its current version.
    pub async fn revoke_certificate(
        &self,
        vault: &Label,
        name: &ObjectName,
        revoke: &wire::Revoke,
    ) -> Result<wire::Certificate> {
        self.change(Method::POST, &paths::certificate_revoke(vault, name), revoke)
            .await
    }

    /// Lists renewals, newest first, `most` at most.
    pub async fn renewals(&self, most: Option<usize>) -> Result<Vec<wire::Renewal>> {
        self.all(paths::route::RENEWALS, most).await
    }

    /// One renewal.
    pub async fn renewal(&self, id: &str) -> Result<wire::Renewal> {
        self.get(&paths::renewal(id), NONE).await
    }

    /// Makes an upstream issuer.
    pub async fn create_issuer(&self, issuer: &wire::CreateIssuer) -> Result<wire::Issuer> {
        self.change(Method::POST, paths::route::ISSUERS, issuer).await
    }

    /// Lists upstream issuers, `most` at most.
    pub async fn issuers(&self, most: Option<usize>) -> Result<Vec<wire::Issuer>> {
        self.all(paths::route::ISSUERS, most).await
    }

    /// One upstream issuer.
    pub async fn issuer(&self, name: &Label) -> Result<wire::Issuer> {
        self.get(&paths::issuer(name), NONE).await
    }
}

/// Our own authorities.
impl Client {
    /// Lists our authorities.
    pub async fn authorities(&self) -> Result<Vec<wire::Authority>> {
        self.all(paths::route::AUTHORITIES, None).await
    }

    /// One authority of ours.
    pub async fn authority(&self, name: &Label) -> Result<wire::Authority> {
        self.get(&paths::authority(name), NONE).await
    }

    /// The versions of an authority's profiles.
    pub async fn profiles(&self, authority: &Label) -> Result<Vec<wire::Profile>> {
        self.all(&paths::authority_profiles(authority), None).await
    }

    /// A version of a profile; the one in force if none is named.
    pub async fn profile(&self, authority: &Label, name: &Label, version: Option<String>) -> Result<wire::Profile> {
        let query = wire::ProfileQuery { version };
        self.get(&paths::authority_profile(authority, name), &query).await
    }

    /// Has a certificate issued for a request.
    pub async fn issue(
        &self,
        authority: &Label,
        issue: &wire::Issue,
        idempotency_key: Option<&str>,
    ) -> Result<wire::Issued> {
        let mut request = self.request(Method::POST, &paths::authority_issue(authority));
        if let Some(key) = idempotency_key {
            request = request.header(wire::IDEMPOTENCY_KEY, key);
        }
        let answer = self.exchange(with_body(request, to_json(issue)?)).await?;
        self.json(answer).await
    }

    /// What to trust our certificates by.
    pub async fn trust_bundle(&self) -> Result<wire::TrustBundle> {
        self.get(paths::route::TRUST_BUNDLE, &[("format", "json")]).await
    }

    /// Makes an authority.
    pub async fn init_authority(&self, init: &wire::InitAuthority) -> Result<wire::Rotation> {
        self.change(Method::POST, paths::route::AUTHORITIES, init).await
    }

    /// Makes the request for an issuing CA's certificate.
    pub async fn authority_csr(&self, authority: &Label) -> Result<wire::CertificateRequest> {
        self.act(Method::POST, &paths::authority_csr(authority)).await
    }

    /// Gives an issuing CA its certificate and what stands above it.
    pub async fn import_chain(&self, authority: &Label, import: &wire::ImportChain) -> Result<wire::Rotation> {
        self.change(Method::POST, &paths::authority_chain(authority), import)
            .await
    }

    /// Gives it the revocation list of its root, whose key is elsewhere.
    pub async fn import_list(&self, authority: &Label, import: &wire::ImportList) -> Result<wire::ImportedList> {
        self.change(Method::POST, &paths::authority_crl(authority), import)
            .await
    }

    /// Begins a rotation.
    pub async fn rotate(&self, authority: &Label, rotate: &wire::Rotate) -> Result<wire::Rotation> {
        self.change(Method::POST, &paths::authority_rotation(authority), rotate)
            .await
    }

    /// How far the issuers of an authority are.
    pub async fn rotation(&self, authority: &Label) -> Result<wire::Rotation> {
        self.get(&paths::authority_rotation(authority), NONE).await
    }

    /// Has all certificates of a replaced issuing CA replaced.
    pub async fn taint_issuer(&self, authority: &Label, number: u32) -> Result<()> {
        self.send(Method::POST, &paths::authority_taint(authority, number), NONE, None)
            .await
            .map(drop)
    }

    /// Takes a tainted issuing CA out of the trust bundle.
    pub async fn retire_issuer(&self, authority: &Label, number: u32, retire: wire::Retire) -> Result<()> {
        let body = super::to_json(&retire)?;
        self.send(
            Method::POST,
            &paths::authority_retire(authority, number),
            NONE,
            Some(body),
        )
        .await
        .map(drop)
    }

    /// A page of what an authority has stored, oldest first.
    pub async fn stored(
        &self,
        authority: &Label,
        cursor: Option<String>,
    ) -> Result<wire::Page<wire::StoredCertificate>> {
        let query = wire::PageQuery {
            cursor,
            limit: Some(wire::LIMIT_MAX),
        };
        self.get(&paths::authority_stored(authority), &query).await
    }

    /// Where issuing is stopped.
    pub async fn issuing_stops(&self) -> Result<Vec<wire::IssuingStop>> {
        self.all(paths::route::ISSUING_STOPS, None).await
    }

    /// Stops issuing.
    pub async fn stop_issuing(&self, stop: &wire::StopIssuing) -> Result<wire::IssuingStop> {
        self.change(Method::POST, paths::route::ISSUING_STOPS, stop).await
    }

    /// Takes a stop back.
    pub async fn resume_issuing(&self, resume: &wire::ResumeIssuing) -> Result<()> {
        let body = to_json(resume)?;
        self.send(Method::POST, paths::route::ISSUING_RESUME, NONE, Some(body))
            .await
            .map(|_| ())
    }

    /// Keys that are never certified, `most` at most.
    pub async fn blocked_keys(&self, most: Option<usize>) -> Result<Vec<wire::BlockedKey>> {
        self.all(paths::route::BLOCKED_KEYS, most).await
    }

    /// Blocks a key.
    pub async fn block_key(&self, key: &wire::BlockKey) -> Result<wire::BlockedKey> {
        self.change(Method::POST, paths::route::BLOCKED_KEYS, key).await
    }

    /// A page of what an authority issued.
    pub async fn issued(
        &self,
        authority: &Label,
        query: &wire::IssuedQuery,
    ) -> Result<wire::Page<wire::IssuedCertificate>> {
        self.get(&paths::authority_certificates(authority), query).await
    }

    /// Revokes what an authority issued.
    pub async fn revoke_issued(
        &self,
        authority: &Label,
        serial: &str,
        revoke: &wire::Revoke,
    ) -> Result<wire::IssuedCertificate> {
        self.change(Method::POST, &paths::authority_revoke(authority, serial), revoke)
            .await
    }

    /// Revokes a certificate that is shown, or all of a key.
    pub async fn revoke_shown(&self, authority: &Label, shown: &wire::RevokeShown) -> Result<wire::RevokedSerials> {
        self.change(Method::POST, &paths::authority_revoke_shown(authority), shown)
            .await
    }

    /// Revokes all certificates of a key by a proof that its holder signed.
    pub async fn revoke_proven(&self, proof: &wire::CompromisedKey) -> Result<wire::RevokedSerials> {
        self.change(Method::POST, paths::route::COMPROMISED_KEYS, proof).await
    }
}

/// The ACME server's accounts.
impl Client {
    /// Lists accounts, `most` at most.
    pub async fn acme_accounts(&self, authority: &Label, most: Option<usize>) -> Result<Vec<wire::AcmeAccount>> {
        self.all(&paths::acme_accounts(authority), most).await
    }

    /// What is known about an account.
    pub async fn acme_account(&self, authority: &Label, id: &str) -> Result<wire::AcmeAccount> {
        self.get(&paths::acme_account(authority, id), NONE).await
    }

    /// Says what an account may ask for.
    pub async fn update_acme_account(
        &self,
        authority: &Label,
        id: &str,
        update: &wire::UpdateAcmeAccount,
    ) -> Result<wire::AcmeAccount> {
        self.change(Method::PATCH, &paths::acme_account(authority, id), update)
            .await
    }

    /// Ends an account.
    pub async fn deactivate_acme_account(&self, authority: &Label, id: &str) -> Result<wire::AcmeAccount> {
        let path = paths::acme_account_deactivate(authority, id);
        self.act(Method::POST, &path).await
    }

    /// Lists the keys of external accounts, `most` at most.
    pub async fn external_keys(&self, authority: &Label, most: Option<usize>) -> Result<Vec<wire::ExternalKey>> {
        self.all(&paths::acme_external_keys(authority), most).await
    }

    /// Makes a key of external accounts.
    pub async fn create_external_key(
        &self,
        authority: &Label,
        key: &wire::CreateExternalKey,
    ) -> Result<wire::NewExternalKey> {
        self.change(Method::POST, &paths::acme_external_keys(authority), key)
            .await
    }

    /// Deletes a key of external accounts.
    pub async fn delete_external_key(&self, authority: &Label, kid: &str) -> Result<()> {
        self.send(Method::DELETE, &paths::acme_external_key(authority, kid), NONE, None)
            .await
            .map(drop)
    }
}

/// Identities.
impl Client {
    /// Registers an identity.
    pub async fn create_identity(&self, identity: &wire::CreateIdentity) -> Result<wire::Identity> {
        self.change(Method::POST, paths::route::IDENTITIES, identity).await
    }

    /// Lists registered identities, `most` at most.
    pub async fn identities(&self, most: Option<usize>) -> Result<Vec<wire::Identity>> {
        self.all(paths::route::IDENTITIES, most).await
    }

    /// What is known about an identity, and the ways to it.
    pub async fn identity(&self, id: &str) -> Result<wire::Identity> {
        self.get(&paths::identity(id), NONE).await
    }

    /// Sets what can be changed of an identity.
    pub async fn update_identity(&self, id: &str, update: &wire::UpdateIdentity) -> Result<wire::Identity> {
        self.change(Method::PUT, &paths::identity(id), update).await
    }

    /// Replaces what a registration entry asks for.
    pub async fn update_entry(&self, id: &str, entry: &str, way: &wire::Way) -> Result<wire::RegistrationEntry> {
        self.change(Method::PUT, &paths::identity_entry(id, entry), way).await
    }

    /// Deletes a registration entry.
    pub async fn delete_entry(&self, id: &str, entry: &str) -> Result<()> {
        self.send(Method::DELETE, &paths::identity_entry(id, entry), NONE, None)
            .await
            .map(drop)
    }

    /// Disables an identity: its next request is refused.
    pub async fn disable_identity(&self, which: &wire::WhichIdentity) -> Result<wire::Identity> {
        self.change(Method::POST, paths::route::IDENTITY_DISABLE, which).await
    }

    /// Enables an identity again.
    pub async fn enable_identity(&self, which: &wire::WhichIdentity) -> Result<wire::Identity> {
        self.change(Method::POST, paths::route::IDENTITY_ENABLE, which).await
    }

    /// Makes a join token.
    pub async fn create_join_token(&self, token: &wire::CreateJoinToken) -> Result<wire::JoinToken> {
        self.change(Method::POST, paths::route::JOIN_TOKENS, token).await
    }

    /// Trades a join token for the first certificate. Safe to repeat with the same token and key.
    pub async fn enroll(&self, enroll: &wire::Enroll) -> Result<wire::Enrolled> {
        self.change(Method::POST, paths::route::ENROLL, enroll).await
    }

    /// Trades a JWT for a certificate. Safe to repeat with the same token and key.
    pub async fn enroll_by_jwt(&self, enroll: &wire::EnrollByJwt) -> Result<wire::Enrolled> {
        self.change(Method::POST, paths::route::ENROLL_JWT, enroll).await
    }

    /// Trades the client certificate for one of an identity. Safe to repeat with the same key.
    pub async fn enroll_by_certificate(&self, enroll: &wire::EnrollByCertificate) -> Result<wire::Enrolled> {
        self.change(Method::POST, paths::route::ENROLL_CERTIFICATE, enroll)
            .await
    }

    /// Trades the current certificate for the next.
    pub async fn reenroll(&self, csr_pem: String) -> Result<wire::Enrolled> {
        let body = wire::Reenroll { csr_pem };
        self.change(Method::POST, paths::route::REENROLL, &body).await
    }
}

//! Orders (RFC 8555 §7.4): placed, proven, finalized, fetched; each step from whatever state the issuer says it is in.

use std::collections::HashSet;
use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error as ClientError, Identifier,
    NewOrder, OrderStatus, Problem, RetryPolicy, RevocationReason, RevocationRequest,
};
use rustls::pki_types::CertificateDer;

use super::Upstream;
use super::account::{Registered, Session, insist};
use super::error::{UpstreamError, classify, describe, is, short_type};
use super::solver::http_01::Answer;
use crate::error::Result;
use crate::gate::Permit;
use crate::id::Label;
use crate::wire;

/// A poll goes out after 20 ms, and then ever more slowly.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(20))
    .backoff(1.5)
    .timeout(Duration::from_secs(45));

/// What is to be ordered.
#[derive(Clone, Debug)]
pub struct Wish {
    /// DNS names.
    pub names: Vec<String>,
    /// The issuer's certificate profile.
    pub profile: Option<String>,
    /// The leaf (DER) that the new certificate will replace (RFC 9773 §5).
    pub replaces: Option<Vec<u8>>,
}

/// An order that the issuer has taken.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its URL, by which it is resumed.
    pub url: String,
    /// The account that it belongs to.
    pub registered: Registered,
}

/// How far the issuer says an order is (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It will not become a certificate.
    Invalid,
    /// Control over some name is still to be proven.
    Pending,
    /// The issuer is at work.
    Processing,
    /// It waits for the CSR.
    Ready,
    /// The certificate can be fetched.
    Valid,
}

/// An order, resumed from its URL.
pub struct Order {
    issuer: Label,
    order: instant_acme::Order,
}

impl Upstream {
    /// Places an order. If the issuer will not have it as a replacement (RFC 9773 §5: `alreadyReplaced`, as after a crash
    /// in between), it is placed as an order like any other.
    ///
    /// # Errors
    /// The issuer's, classed.
    pub async fn place(&self, _permit: &Permit, issuer: &Label, wish: &Wish) -> Result<Placed> {
        let session = self.session(issuer).await?;
        let (session, outcome) = match session.place(wish).await {
            Err((error, _)) if is(&error, "accountDoesNotExist") => {
                let session = self.register_again(issuer).await?;
                let outcome = session.place(wish).await;
                (session, outcome)
            }
            outcome => (session, outcome),
        };
        let url = outcome.map_err(|failure| self.failed(issuer, "the order", failure))?;
        Ok(Placed {
            url,
            registered: Registered {
                issuer: issuer.clone(),
                account: session.account.id().to_owned(),
            },
        })
    }

    /// Finds an order by its URL. `None`: the issuer does not know it, or not as ours.
    ///
    /// # Errors
    /// The issuer's, classed.
    pub async fn order(&self, _permit: &Permit, issuer: &Label, url: &str) -> Result<Option<Order>> {
        let session = self.session(issuer).await?;
        match insist!(session.account.order(url.to_owned())) {
            Ok(order) => Ok(Some(Order {
                issuer: issuer.clone(),
                order,
            })),
            Err((ClientError::Api(problem), _))
                if problem.status == Some(404)
                    || ["accountDoesNotExist", "malformed", "unauthorized"].contains(&short_type(&problem)) =>
            {
                Ok(None)
            }
            Err(failure) => Err(self.failed(issuer, "resuming the order", failure).into()),
        }
    }

    /// Has a certificate (DER) revoked. One that is revoked already is no failure.
    ///
    /// # Errors
    /// The issuer's, classed.
    pub async fn revoke(
        &self,
        _permit: &Permit,
        issuer: &Label,
        leaf: &[u8],
        reason: wire::RevocationReason,
    ) -> Result<()> {
        let session = self.session(issuer).await?;
        let certificate = CertificateDer::from(leaf);
        let request = RevocationRequest {
            certificate: &certificate,
            reason: match reason {
                wire::RevocationReason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
                wire::RevocationReason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
                wire::RevocationReason::KeyCompromise => Some(RevocationReason::KeyCompromise),
                wire::RevocationReason::Superseded => Some(RevocationReason::Superseded),
                wire::RevocationReason::Unspecified => None,
            },
        };
        match insist!(session.account.revoke(&request)) {
            Err(failure) if !is(&failure.0, "alreadyRevoked") => {
                Err(self.failed(issuer, "the revocation", failure).into())
            }
            _ => Ok(()),
        }
    }
}

impl Session {
    async fn place(&self, wish: &Wish) -> Result<String, (ClientError, Option<Duration>)> {
        let names: Vec<Identifier> = wish.names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = NewOrder::new(&names);
        if let Some(profile) = &wish.profile {
            order = order.profile(profile);
        }
        let leaf = wish.replaces.as_deref().map(CertificateDer::from);
        let Some(id) = leaf
            .as_ref()
            .and_then(|leaf| CertificateIdentifier::try_from(leaf).ok())
        else {
            return self.place_as(&order).await;
        };
        match self.place_as(&order.replaces(id)).await {
            Err((error, _)) if is_about_replacing(&error) => {
                tracing::info!(issuer.name = %self.issuer, %error, "issuer `{}` takes no replacement", self.issuer);
                let mut plain = NewOrder::new(&names);
                if let Some(profile) = &wish.profile {
                    plain = plain.profile(profile);
                }
                self.place_as(&plain).await
            }
            outcome => outcome,
        }
    }

    async fn place_as(&self, order: &NewOrder<'_>) -> Result<String, (ClientError, Option<Duration>)> {
        let placed = insist!(self.account.new_order(order))?;
        Ok(placed.url().to_owned())
    }
}

/// Whether the order may be welcome if it is not meant as a replacement. Issuers differ in how they refuse one
/// (`alreadyReplaced`, `malformed`, `unauthorized`, even `serverInternal` for a predecessor that they do not know).
fn is_about_replacing(error: &ClientError) -> bool {
    const OTHER_REASONS: [&str; 5] = [
        "accountDoesNotExist",
        "badNonce",
        "externalAccountRequired",
        "rateLimited",
        "userActionRequired",
    ];
    match error {
        ClientError::Api(problem) => problem.status != Some(429) && !OTHER_REASONS.contains(&short_type(problem)),
        // Renewal information is not offered, or `replaces` was not echoed as RFC 9773 §5 wants it.
        ClientError::Unsupported(_) => true,
        other => other.to_string().contains("replaces"),
    }
}

impl Order {
    /// How far it is, as last heard.
    pub fn progress(&mut self) -> Progress {
        match self.order.state().status {
            OrderStatus::Pending => Progress::Pending,
            OrderStatus::Ready => Progress::Ready,
            OrderStatus::Processing => Progress::Processing,
            OrderStatus::Valid => Progress::Valid,
            OrderStatus::Invalid => Progress::Invalid,
        }
    }

    /// What has to be answered for the names that are not proven yet.
    ///
    /// # Errors
    /// The issuer's, classed; `Configuration` if it offers no http-01 for a name.
    pub async fn answers(&mut self) -> Result<Vec<Answer>, UpstreamError> {
        let found = insist!(pending_answers(&mut self.order)).map_err(|e| self.classify("the authorizations", e))?;
        found.map_err(|domain| {
            UpstreamError::Configuration(format!(
                "issuer `{}` offers no http-01 challenge for `{domain}`: leave that name out",
                self.issuer
            ))
        })
    }

    /// Has the published answers checked, and waits until the order is ready.
    ///
    /// # Errors
    /// The issuer's, classed; what it found wrong with an answer is in the text.
    pub async fn prove(&mut self) -> Result<(), UpstreamError> {
        let mut begun = HashSet::new();
        insist!(begin(&mut self.order, &mut begun)).map_err(|e| self.classify("the challenges", e))?;
        match insist!(self.order.poll_ready(&POLLING)) {
            Ok(OrderStatus::Invalid) => Err(self.failure().await),
            Ok(_) => Ok(()),
            Err(_) if self.progress() == Progress::Invalid => Err(self.failure().await),
            Err(failure) => Err(self.classify("the validation", failure)),
        }
    }

    /// Hands the CSR (DER) in.
    ///
    /// # Errors
    /// The issuer's, classed.
    pub async fn finalize(&mut self, csr: &[u8]) -> Result<(), UpstreamError> {
        insist!(self.order.finalize_csr(csr)).map_err(|e| self.classify("finalizing the order", e))
    }

    /// Waits for the certificate and fetches its chain, PEM, leaf first.
    ///
    /// # Errors
    /// The issuer's, classed.
    pub async fn chain(&mut self) -> Result<String, UpstreamError> {
        match insist!(self.order.poll_certificate(&POLLING)) {
            Ok(pem) => Ok(pem),
            Err(_) if self.progress() == Progress::Invalid => Err(self.failure().await),
            Err(failure) => Err(self.classify("issuing", failure)),
        }
    }

    /// Why an invalid order is invalid: what the issuer says about each name, or about the order.
    pub async fn failure(&mut self) -> UpstreamError {
        let found = insist!(found_wrong(&mut self.order)).unwrap_or_default();
        let Self { issuer, order } = self;
        let of_the_order = order.state().error.clone().map(|problem| (describe(&problem), problem));
        let problems = if found.is_empty() {
            Vec::from_iter(of_the_order)
        } else {
            found
        };
        let said: Vec<&str> = problems.iter().map(|(text, _)| text.as_str()).collect();
        let text = match said.as_slice() {
            [] => format!("issuer `{issuer}` gave the order up and does not say why"),
            said => format!("issuer `{issuer}` gave the order up: {}", said.join("; ")),
        };
        match problems.first() {
            Some((_, problem)) if short_type(problem) == "serverInternal" => {
                UpstreamError::Transient { text, after: None }
            }
            // A name that cannot be proven now will not be in a moment, and issuers count such failures: however it
            // failed (connection, dns, unauthorized), it is a refusal.
            Some(_) => UpstreamError::Permanent(text),
            None => UpstreamError::Transient { text, after: None },
        }
    }

    fn classify(&self, what: &str, (error, after): (ClientError, Option<Duration>)) -> UpstreamError {
        classify(self.issuer.as_str(), what, error, after)
    }
}

/// What is to be answered; or the name for which http-01 is not offered.
async fn pending_answers(order: &mut instant_acme::Order) -> Result<Result<Vec<Answer>, String>, ClientError> {
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let Some(challenge) = authorization.challenge(ChallengeType::Http01) else {
            return Ok(Err(domain));
        };
        answers.push(Answer {
            domain,
            token: challenge.token.clone(),
            key_authorization: challenge.key_authorization().as_str().to_owned(),
        });
    }
    Ok(Ok(answers))
}

/// Tells the issuer that the answers stand.
async fn begin(order: &mut instant_acme::Order, begun: &mut HashSet<String>) -> Result<(), ClientError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
            continue;
        };
        // CRASH: one that the issuer was told of before is at work or done; it is not told twice.
        if challenge.status != ChallengeStatus::Pending || begun.contains(&challenge.token) {
            continue;
        }
        match challenge.set_ready().await {
            Err(error) if is(&error, "badNonce") => return Err(error),
            // Whatever else is wrong shows in the order, with the reason.
            Ok(()) | Err(ClientError::Api(_)) => {
                begun.insert(challenge.token.clone());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What the issuer says about each name that it could not validate.
async fn found_wrong(order: &mut instant_acme::Order) -> Result<Vec<(String, Problem)>, ClientError> {
    let mut problems = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let state = authorization.refresh().await?;
        let domain = state.identifier().to_string();
        problems.extend(state.challenges.iter().filter_map(|challenge| {
            let problem = challenge.error.clone()?;
            Some((format!("`{domain}`: {}", describe(&problem)), problem))
        }));
    }
    Ok(problems)
}

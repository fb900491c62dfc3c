//! How much a caller may have issued by request. What other rooms issue within their own acts, they limit themselves.

use aws_lc_rs::digest;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;

use super::Authority;
use super::issue::{Alongside, IssueRequest, Issued, labelled};
use crate::error::Result;
use crate::gate::Permit;
use crate::limit::{Rule, Take};
use crate::policy::Principal;
use crate::store::Tx;

/// The limits: above what a house needs, below what a client in a loop asks for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IssueLimits {
    /// Certificates of one caller.
    pub per_caller: Rule,
    /// Certificates with exactly the same names.
    pub per_names: Rule,
}

impl Default for IssueLimits {
    fn default() -> Self {
        const HOUR: u32 = 3_600;
        Self {
            per_caller: Rule::new(100_000, HOUR),
            per_names: Rule::new(1_000, HOUR),
        }
    }
}

impl IssueLimits {
    /// Checks what can be checked without anything else.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(self) -> Result<()> {
        self.per_caller.check("ca.limits.per_caller")?;
        self.per_names.check("ca.limits.per_names")
    }

    fn takes(self, caller: &Principal, request: &IssueRequest, now_millis: i64) -> Vec<Take> {
        let mut names: Vec<String> = request.names.iter().map(labelled).collect();
        names.sort_unstable();
        let names = hex::encode(digest::digest(&digest::SHA256, names.join(" ").as_bytes()));
        let of_caller = self.per_caller.take(
            format!("issue/caller/{caller}"),
            "certificates of this caller",
            "ca.limits.per_caller",
            now_millis,
        );
        let of_names = self.per_names.take(
            format!("issue/names/{names}"),
            "certificates for exactly these names",
            "ca.limits.per_names",
            now_millis,
        );
        of_caller.into_iter().chain(of_names).collect()
    }
}

/// An issuance that counts, with what else is written alongside.
pub(super) struct Counted<A> {
    takes: Vec<Take>,
    alongside: A,
}

impl<A> Counted<A> {
    pub(super) fn new(authority: &Authority, permit: &Permit, request: &IssueRequest, alongside: A) -> Self {
        let caller = &permit.caller().principal;
        // The service's own parts are not held up.
        let takes = match (caller, authority.0.limits.get()) {
            (Principal::System(_), _) | (_, None) => Vec::new(),
            (_, Some(limits)) => limits.takes(caller, request, authority.0.gate.clock().now_millis()),
        };
        Self { takes, alongside }
    }
}

impl<A: Alongside> Alongside for Counted<A> {
    fn reserved<'t>(&'t self, tx: &'t Tx, serial: &'t str) -> BoxFuture<'t, Result<()>> {
        async move {
            for take in &self.takes {
                tx.together(take.clone());
            }
            self.alongside.reserved(tx, serial).await
        }
        .boxed()
    }

    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        self.alongside.stored(tx, issued)
    }
}

//! Idempotency keys: a request that is repeated with its key gives the certificate that it gave before.
//!
//! The key belongs to its caller and stands in the store with the reservation, so that it holds on every node and after
//! a lost answer or a crash.

mod repo;

use std::time::Duration;

use aws_lc_rs::digest;
use futures::FutureExt;
use futures::future::BoxFuture;

use self::repo::RequestRow;
use super::issue::{Alongside, IssueRequest, Issued, labelled};
use super::limits::Counted;
use super::repo::find;
use super::{Authority, State};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::Permit;
use crate::id::{IdempotencyKey, Label};
use crate::store::Tx;

/// How long a key is remembered.
const KEPT: Duration = Duration::from_secs(86_400);

impl Authority {
    /// Issues, or gives what the same request was given before.
    pub(super) async fn issue_once(
        &self,
        permit: &Permit,
        authority: &Label,
        request: IssueRequest,
        key: &IdempotencyKey,
    ) -> Result<Issued> {
        permit.note("idempotency_key", key.to_string());
        let mut once = Once {
            row: RequestRow {
                requested_by: permit.caller().principal.to_string(),
                key: key.to_string(),
                digest: digest_of(self.name(), authority, &request),
                serial: String::new(),
            },
            now: permit.now(),
            unfinished: None,
        };
        let read = self.0.gate.store().read();
        let Some(known) = repo::request(read, &once.row.requested_by, &once.row.key).await? else {
            let counted = Counted::new(self, permit, &request, once);
            return self.issue_by(permit, authority, request, counted).await;
        };
        if known.digest != once.row.digest {
            return Err(Error::conflict(format!(
                "the idempotency key `{key}` was used for another request: use a new key for a new request"
            )));
        }
        match find(read, &known.serial).await?.map(|issued| issued.state) {
            Some(State::Issued) => {
                let issued = self.issued(&known.serial).await?;
                permit.note("serial", issued.serial.clone());
                permit.note("repeated", "true");
                permit.commit(|_| async { Ok(()) }.boxed()).await?;
                Ok(issued)
            }
            Some(State::Revoked { .. }) => Err(Error::conflict(format!(
                "the certificate `{}` of this idempotency key was revoked: use a new key",
                known.serial
            ))),
            // CRASH: the answer was never given, so another certificate may take its place; the one that may have been
            // signed stays listed as `reserved`.
            Some(State::Reserved) | None => {
                once.unfinished = Some(known.serial);
                let counted = Counted::new(self, permit, &request, once);
                self.issue_by(permit, authority, request, counted).await
            }
        }
    }
}

/// Keeps the key beside the reservation.
struct Once {
    row: RequestRow,
    now: Timestamp,
    /// The certificate of an earlier try that came to nothing.
    unfinished: Option<String>,
}

impl Alongside for Once {
    fn reserved<'t>(&'t self, tx: &'t Tx, serial: &'t str) -> BoxFuture<'t, Result<()>> {
        async move {
            let row = RequestRow {
                serial: serial.to_owned(),
                ..self.row.clone()
            };
            repo::forget_requests(tx, self.now - KEPT).await?;
            let taken = match &self.unfinished {
                Some(before) => repo::take_request_over(tx, &row, before, self.now).await?,
                None => repo::insert_request(tx, &row, self.now).await?,
            };
            if taken { Ok(()) } else { Err(self.overtaken()) }
        }
        .boxed()
    }

    /// INVARIANT: of all tries with one key at most one is handed out.
    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        async move {
            if repo::holds_request(tx, &self.row, &issued.serial).await? {
                Ok(())
            } else {
                Err(self.overtaken())
            }
        }
        .boxed()
    }
}

impl Once {
    fn overtaken(&self) -> Error {
        Error::conflict(format!(
            "another request with the idempotency key `{}` is under way: send the same again",
            self.row.key
        ))
        .retry_after(Duration::from_secs(1))
    }
}

/// SHA-256 of what is asked for. Not of the request's bytes: a client that signs its CSR anew asks for the same.
/// The installation's `own` authority is not named in it, which is as old as there being others.
fn digest_of(own: &Label, authority: &Label, request: &IssueRequest) -> String {
    let names: Vec<String> = request.names.iter().map(labelled).collect();
    let mut said = vec![
        serde_json::json!(request.profile.as_str()),
        serde_json::json!(hex::encode(request.key.spki())),
        serde_json::json!(names),
        serde_json::json!(request.validity.map(|validity| validity.as_secs())),
    ];
    if authority != own {
        said.push(serde_json::json!(authority.as_str()));
    }
    let said = serde_json::Value::from(said);
    hex::encode(digest::digest(&digest::SHA256, said.to_string().as_bytes()))
}

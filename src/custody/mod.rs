//! The register of keys in the token: which keys are ours, and by what each is known again.
//!
//! A key is planned in the store, made in the token, then confirmed in the store with its public key, or, for AES, with
//! a check value that only it can open. From then on the register, not the token, says whether the key exists.
//!
//! It must never make a key in the place of one that is registered: a token that does not show it is lost or the wrong
//! one, and a new CA or vault key would hide that. A kind of proof for a new kind of key goes to `repo::Proof`.

mod repo;
#[cfg(test)]
mod tests;

use std::time::Duration;

use repo::{Proof, Row};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fault;
use crate::hsm::{Hsm, HsmError, KeyRef, MadeKey, PublicHalf, Use, WrappedKey, WrappedKind};
use crate::key_type::KeyType;
use crate::secret::Secret;
use crate::store::Store;

/// One node at a time makes a key of one label; longer than a key takes to make by far.
const LEASE: Duration = Duration::from_secs(60);
/// Between two looks at what the other node is doing.
const PAUSE: Duration = Duration::from_millis(250);
/// Looks before a node gives up: a little longer than a dead node's lease.
const LOOKS: u32 = 260;

const CHECK_TEXT: &[u8] = b"chancery token key check value 1";
const NONCE: usize = 12;
/// What a wrapping key wraps to be known again by, and the length of that, wrapped (RFC 5649 §4.1).
const CHECK_KEY: WrappedKind = WrappedKind::Aes(32);
const CHECK_KEY_WRAPPED: usize = 40;

/// A key in the token that is registered and was seen.
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// How to use it.
    pub key: KeyRef,
    /// `SubjectPublicKeyInfo`; `None` for AES.
    pub spki_der: Option<Vec<u8>>,
}

/// The key of this label: made if the register does not know it, else shown by the token and proven to be the same.
///
/// Nodes that share a store and a token may call this at the same time; one makes the key and the others find it.
///
/// CRASH: killed after planning, the next call makes the key; killed after making, it finds the planned key in the
/// token and adopts it. There is no moment in which a made key is unknown to the register.
///
/// # Errors
/// `Unavailable` if the token does not show a registered key, or token or store do not answer; `Conflict` if the token
/// shows another key than the registered one, or one that the register knows nothing about. Nothing is made then.
pub async fn ensure(store: &Store, hsm: &Hsm, label: &str, kind: KeyType, clock: &dyn Clock) -> Result<TokenKey> {
    let lease = format!("custody/{label}");
    for _ in 0..LOOKS {
        if let Some(row) = repo::find(store, label).await?
            && let Some(proof) = &row.proof
        {
            return verify(hsm, label, kind, &row, proof).await;
        }
        if store.lease(&lease, LEASE, clock.now()).await? {
            let made = make(store, hsm, label, kind, clock).await;
            // A lease that cannot be given back ends by itself.
            let _ = store.release(&lease).await;
            return made;
        }
        clock.sleep(PAUSE).await;
    }
    Err(Error::unavailable(format!(
        "another node holds the lease for making the token key `{label}` and does not finish: look at that node"
    ))
    .retry_after(LEASE))
}

/// How to use the key of this label, if the register knows that it was made. The token is not asked.
///
/// # Errors
/// The store's.
pub async fn registered(store: &Store, label: &str) -> Result<Option<KeyRef>> {
    let row = repo::find(store, label).await?.filter(|row| row.proof.is_some());
    Ok(row.map(|row| KeyRef {
        label: label.to_owned(),
        kind: row.kind,
    }))
}

/// The key of this label, which the register must know, shown by the token and proven to be the same.
///
/// # Errors
/// `Unavailable` if the token does not show it, or token or store do not answer; `Conflict` if it is another; `Internal`
/// if the register does not know it. Nothing is made.
pub async fn require(store: &Store, hsm: &Hsm, label: &str, kind: KeyType) -> Result<TokenKey> {
    proven(store, hsm, label, kind).await
}

/// Checks that the token holds no key of this label that the register knows nothing about.
///
/// # Errors
/// `Conflict` if it does; `Unavailable` if token or store do not answer.
pub async fn check_known(store: &Store, hsm: &Hsm, label: &str) -> Result<()> {
    match repo::find(store, label).await?.is_some() || hsm.find(label).await?.is_none() {
        true => Ok(()),
        false => Err(unknown(label)),
    }
}

/// Takes a key of the token into the register that the register knows nothing about. For an operator who knows whose it
/// is: a store that was restored from before the key was made.
///
/// # Errors
/// As [`ensure`]; `NotFound` if neither register nor token knows it.
pub async fn adopt(store: &Store, hsm: &Hsm, label: &str, kind: KeyType, clock: &dyn Clock) -> Result<TokenKey> {
    if repo::find(store, label).await?.is_none() {
        if hsm.find(label).await?.is_none() {
            return Err(Error::not_found(format!(
                "neither the store nor the token knows a key `{label}`: there is nothing to adopt"
            )));
        }
        repo::plan(store, label, kind, clock.now()).await?;
    }
    ensure(store, hsm, label, kind, clock).await
}

/// Under the lease.
async fn make(store: &Store, hsm: &Hsm, label: &str, kind: KeyType, clock: &dyn Clock) -> Result<TokenKey> {
    let shown = hsm.find(label).await?;
    let public = match (repo::find(store, label).await?, shown) {
        // Another node was faster.
        (Some(row), _) if row.proof.is_some() => return proven(store, hsm, label, kind).await,
        (Some(row), _) if row.kind != kind => return Err(other_kind(label, kind, row.kind)),
        (Some(_), Some(public)) => public,
        (Some(_), None) => generate(hsm, label, kind).await?,
        (None, Some(_)) => {
            return Err(unknown(label));
        }
        (None, None) => {
            repo::plan(store, label, kind, clock.now()).await?;
            generate(hsm, label, kind).await?
        }
    };
    if public.kind != kind.material() {
        return Err(other_kind(label, kind, public.kind));
    }
    let proof = match public.spki_der {
        Some(spki) => Proof::Spki(spki),
        None => Proof::CheckValue(check_value(hsm, label, kind).await?),
    };
    repo::confirm(store, label, proof).await?;
    proven(store, hsm, label, kind).await
}

fn unknown(label: &str) -> Error {
    Error::conflict(format!(
        "the token already holds a key labelled `{label}` that this store knows nothing about: use the store that it \
         belongs to, or a token of its own for this one"
    ))
}

async fn generate(hsm: &Hsm, label: &str, kind: KeyType) -> Result<PublicHalf> {
    fault::point("custody.generate.before");
    let public = match hsm.generate(label, kind).await {
        // Made by a call that had lost its answer.
        Err(HsmError::KeyExists(_)) => hsm
            .find(label)
            .await?
            .ok_or_else(|| HsmError::TokenLost(format!("it no longer shows the key `{label}`")))?,
        made => made?,
    };
    fault::point("custody.generate.after");
    Ok(public)
}

/// What the register says now, proven by the token.
async fn proven(store: &Store, hsm: &Hsm, label: &str, kind: KeyType) -> Result<TokenKey> {
    let row = repo::find(store, label).await?;
    match row.as_ref().and_then(|row| Some((row, row.proof.as_ref()?))) {
        Some((row, proof)) => verify(hsm, label, kind, row, proof).await,
        None => Err(Error::internal(format!("the register lost the token key `{label}`"))),
    }
}

async fn verify(hsm: &Hsm, label: &str, kind: KeyType, row: &Row, proof: &Proof) -> Result<TokenKey> {
    if row.kind != kind {
        return Err(other_kind(label, kind, row.kind));
    }
    let another = || {
        Error::conflict(format!(
            "the token's key `{label}` is not the one that node `{}` registered at {}: this is another token, or the \
             store of another one; bring together what belongs together",
            row.made_by, row.created_at
        ))
    };
    let Some(public) = hsm.find(label).await? else {
        return Err(Error::unavailable(format!(
            "the token does not hold the key `{label}` that node `{}` registered at {}: bring that token back or \
             restore it; no new key is made in its place",
            row.made_by, row.created_at
        )));
    };
    let key = KeyRef {
        label: label.to_owned(),
        kind,
    };
    let is_it = match proof {
        Proof::Spki(spki) => public.kind == kind.material() && public.spki_der.as_ref() == Some(spki),
        Proof::CheckValue(value) => public.kind == kind.material() && opens(hsm, &key, value).await?,
    };
    if !is_it {
        return Err(another());
    }
    Ok(TokenKey {
        key,
        spki_der: public.spki_der,
    })
}

/// A fixed text, encrypted under a nonce of its own by the key, or by one that it wrapped, which stands before it.
async fn check_value(hsm: &Hsm, label: &str, kind: KeyType) -> Result<Vec<u8>> {
    let key = KeyRef {
        label: label.to_owned(),
        kind,
    };
    let random = hsm.random(NONCE).await?;
    let nonce: [u8; NONCE] = random
        .expose()
        .try_into()
        .map_err(|_| Error::internal("the token gave a nonce of another length"))?;
    let text = Secret::new(CHECK_TEXT.to_vec());
    if kind == KeyType::AesWrap256 {
        let MadeKey { blob, .. } = hsm.make_wrapped(&key, CHECK_KEY).await?;
        let wrapped = WrappedKey::new(key, CHECK_KEY, &blob);
        let seal = Use::GcmSeal(nonce, label.as_bytes().to_vec(), text);
        let sealed = hsm.use_wrapped(&wrapped, seal).await?;
        return Ok([nonce.as_slice(), &blob, sealed.expose()].concat());
    }
    let sealed = hsm.encrypt(&key, nonce, label.as_bytes(), &text).await?;
    Ok([nonce.as_slice(), &sealed].concat())
}

async fn opens(hsm: &Hsm, key: &KeyRef, check_value: &[u8]) -> Result<bool> {
    let damaged = || Error::internal(format!("the check value of token key `{}` is damaged", key.label));
    let (nonce, sealed) = check_value.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
    let opened = if key.kind == KeyType::AesWrap256 {
        let (blob, sealed) = sealed.split_at_checked(CHECK_KEY_WRAPPED).ok_or_else(damaged)?;
        let wrapped = WrappedKey::new(key.clone(), CHECK_KEY, blob);
        let open = Use::GcmOpen(*nonce, key.label.as_bytes().to_vec(), sealed.to_vec());
        hsm.use_wrapped(&wrapped, open).await
    } else {
        hsm.decrypt(key, *nonce, key.label.as_bytes(), sealed).await
    };
    match opened {
        Ok(text) => Ok(text.expose() == CHECK_TEXT),
        Err(HsmError::Data(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn other_kind(label: &str, wanted: KeyType, have: KeyType) -> Error {
    Error::conflict(format!(
        "the key `{label}` is of kind {have}, not {wanted}: its kind cannot be changed, use another label"
    ))
}

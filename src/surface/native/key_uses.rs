//! What is done with a key: `/api/vaults/{vault}/keys/{name}/encrypt` and so on.

use axum::Json;
use axum::extract::{Extension, Path, State};

use super::body::SecretBody;
use super::{Answer, object};
use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::identity::Caller;
use crate::surface::{Shared, perform};
use crate::vault::{
    Ciphertext, CreateDataKey, DecryptData, DeriveSecret, EncryptData, Encrypted, EncryptionContext, ExportKey,
    KeyFormat, Made, ReadRandom, ReencryptData, SignData, SignatureFormat, ToSign, UnwrapKey, VerifySignature,
    VersionRef, WrapKey,
};
use crate::wire::{self, Base64, SecretBase64};

/// A key's vault and name, as the path has them.
type Named = Path<(String, String)>;

pub(super) async fn encrypt(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::Encrypt>,
) -> Answer<wire::Encrypted> {
    let (vault, name) = object(&path)?;
    let op = EncryptData {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        algorithm: optional(asked.algorithm)?,
        plaintext: asked.plaintext.0,
        aad: asked.aad.0,
        context: EncryptionContext::new(asked.context)?,
    };
    let encrypted = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell(name, encrypted)))
}

pub(super) async fn decrypt(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::Decrypt>,
) -> Answer<wire::Decrypted> {
    let (vault, name) = object(&path)?;
    let op = DecryptData {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        algorithm: optional(asked.algorithm)?,
        ciphertext: ciphertext(asked.ciphertext, asked.iv, asked.tag),
        aad: asked.aad.0,
        context: EncryptionContext::new(asked.context)?,
    };
    let decrypted = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::Decrypted {
        by: by(name, decrypted.made, decrypted.algorithm.as_str()),
        plaintext: SecretBase64(decrypted.plaintext),
    }))
}

pub(super) async fn reencrypt(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::Reencrypt>,
) -> Answer<wire::Encrypted> {
    let (vault, name) = object(&path)?;
    let to = asked.to.unwrap_or_else(|| name.clone());
    let op = ReencryptData {
        vault,
        name,
        version: version(asked.version)?,
        algorithm: optional(asked.algorithm)?,
        ciphertext: ciphertext(asked.ciphertext, asked.iv, asked.tag),
        to: to.clone(),
        to_algorithm: optional(asked.to_algorithm)?,
        to_aad: asked.to_aad.unwrap_or_else(|| asked.aad.clone()).0,
        to_context: EncryptionContext::new(asked.to_context.unwrap_or_else(|| asked.context.clone()))?,
        aad: asked.aad.0,
        context: EncryptionContext::new(asked.context)?,
    };
    let reencrypted = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell(to, reencrypted.encrypted)))
}

pub(super) async fn data_key(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::CreateDataKey>,
) -> Answer<wire::DataKey> {
    let (vault, name) = object(&path)?;
    let op = CreateDataKey {
        vault,
        name: name.clone(),
        bytes: asked.bytes,
        aad: asked.aad.0,
        context: EncryptionContext::new(asked.context)?,
        plaintext: asked.plaintext,
    };
    let made = perform(&services, caller, |services| &services.vault, op).await?;
    let encrypted = spell(name, made.encrypted);
    Ok(Json(wire::DataKey {
        by: encrypted.by,
        ciphertext: encrypted.ciphertext,
        plaintext: made.plaintext.map(SecretBase64),
    }))
}

pub(super) async fn wrap(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::Wrap>,
) -> Answer<wire::Wrapped> {
    let (vault, name) = object(&path)?;
    let op = WrapKey {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        algorithm: optional(asked.algorithm)?,
        key: asked.key.0,
    };
    let wrapped = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::Wrapped {
        by: by(name, wrapped.made, wrapped.algorithm.as_str()),
        wrapped: Base64(wrapped.wrapped),
    }))
}

pub(super) async fn unwrap(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::Unwrap>,
) -> Answer<wire::Unwrapped> {
    let (vault, name) = object(&path)?;
    let op = UnwrapKey {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        algorithm: optional(asked.algorithm)?,
        wrapped: asked.wrapped.0,
    };
    let unwrapped = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::Unwrapped {
        by: by(name, unwrapped.made, unwrapped.algorithm.as_str()),
        key: SecretBase64(unwrapped.key),
    }))
}

pub(super) async fn export(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::ExportKey>,
) -> Answer<wire::ExportedKey> {
    let (vault, name) = object(&path)?;
    let format = optional(asked.format)?.unwrap_or(KeyFormat::Jwk);
    let op = ExportKey {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        format,
    };
    let exported = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::ExportedKey {
        name,
        version: exported.made.version.to_string(),
        ordinal: exported.made.ordinal,
        format: format.to_string(),
        key: SecretBase64(exported.key),
    }))
}

pub(super) async fn sign(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::Sign>,
) -> Answer<wire::Signed> {
    let (vault, name) = object(&path)?;
    let op = SignData {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        algorithm: optional(asked.algorithm)?,
        what: what(asked.message, asked.digest)?,
        format: optional(asked.format)?.unwrap_or(SignatureFormat::Jose),
    };
    let signed = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::Signed {
        by: by(name, signed.made, signed.algorithm.as_str()),
        signature: Base64(signed.signature),
    }))
}

pub(super) async fn verify(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::VerifySignature>,
) -> Answer<wire::Verdict> {
    let (vault, name) = object(&path)?;
    let op = VerifySignature {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        algorithm: optional(asked.algorithm)?,
        what: what(asked.message, asked.digest)?,
        signature: asked.signature.0,
        format: optional(asked.format)?.unwrap_or(SignatureFormat::Jose),
    };
    let verdict = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::Verdict {
        by: by(name, verdict.made, verdict.algorithm.as_str()),
        valid: verdict.valid,
    }))
}

pub(super) async fn derive(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    SecretBody(asked): SecretBody<wire::DeriveSecret>,
) -> Answer<wire::SharedSecret> {
    let (vault, name) = object(&path)?;
    let op = DeriveSecret {
        vault,
        name: name.clone(),
        version: version(asked.version)?,
        peer: asked.peer.0,
    };
    let shared = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::SharedSecret {
        by: by(name, shared.made, "ECDH"),
        secret: SecretBase64(shared.secret),
    }))
}

pub(super) async fn random(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    SecretBody(asked): SecretBody<wire::ReadRandom>,
) -> Answer<wire::Random> {
    let op = ReadRandom {
        vault: vault.parse()?,
        bytes: asked.bytes,
    };
    let random = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::Random {
        random: SecretBase64(random),
    }))
}

fn version(asked: Option<String>) -> Result<VersionRef> {
    Ok(optional(asked)?.unwrap_or(VersionRef::Current))
}

fn optional<T: std::str::FromStr<Err = Error>>(asked: Option<String>) -> Result<Option<T>> {
    asked.map(|text| text.parse()).transpose()
}

fn ciphertext(bytes: Base64, iv: Option<Base64>, tag: Option<Base64>) -> Ciphertext {
    Ciphertext {
        bytes: bytes.0,
        iv: iv.map(|iv| iv.0),
        tag: tag.map(|tag| tag.0),
    }
}

fn what(message: Option<Base64>, digest: Option<Base64>) -> Result<ToSign> {
    match (message, digest) {
        (Some(message), None) => Ok(ToSign::Message(message.0)),
        (None, Some(digest)) => Ok(ToSign::Digest(digest.0)),
        _ => Err(Error::invalid("give either `message` or `digest`, one of them")),
    }
}

fn by(name: ObjectName, made: Made, algorithm: &str) -> wire::UsedKey {
    wire::UsedKey {
        name,
        version: made.version.to_string(),
        ordinal: made.ordinal,
        algorithm: algorithm.to_owned(),
    }
}

fn spell(name: ObjectName, encrypted: Encrypted) -> wire::Encrypted {
    wire::Encrypted {
        by: by(name, encrypted.made, encrypted.algorithm.as_str()),
        ciphertext: Base64(encrypted.ciphertext.bytes),
        iv: encrypted.ciphertext.iv.map(Base64),
        tag: encrypted.ciphertext.tag.map(Base64),
    }
}

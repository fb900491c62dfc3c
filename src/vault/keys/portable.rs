//! Keys as others write them: read when they are imported, written when one that may leave is exported. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::pkey::{Id as PKeyId, PKey, Private};
use openssl::rsa::Rsa;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::kind::{Family, KeyKind};
use super::material::{Fresh, Material};
use super::public;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::vault::names::names;
use crate::x509::key::PublicKey;

names! {
    /// How a key is written.
    KeyFormat, "a format of keys", {
        /// A JSON Web Key with its private members (RFC 7517, RFC 7518 §6, RFC 8037).
        Jwk = "jwk",
        /// PKCS#8 (RFC 5958), DER; PEM is read too.
        Pkcs8 = "pkcs8",
        /// The bare bytes of a symmetric key.
        Raw = "raw",
    }
}

/// The members of a JWK that are read; others say nothing about the key itself.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    d: Option<String>,
    dp: Option<String>,
    dq: Option<String>,
    e: Option<String>,
    k: Option<String>,
    n: Option<String>,
    p: Option<String>,
    q: Option<String>,
    qi: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The private members of a JWK, as they are written.
#[derive(Serialize, Zeroize, ZeroizeOnDrop)]
struct Members {
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dq: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qi: Option<String>,
}

/// Reads a key: which kind it is, and what is kept of it.
///
/// # Errors
/// `Invalid` if it is none, of a kind that is not kept, or another than was `asked` for. What stands in it is not said.
pub(super) fn read(format: KeyFormat, key: &Secret, asked: Option<KeyKind>) -> Result<(KeyKind, Fresh)> {
    let pair = match format {
        KeyFormat::Raw => return symmetric(key.clone(), asked),
        KeyFormat::Pkcs8 if key.expose().starts_with(b"-----BEGIN") => {
            // SECURITY: without the callback OpenSSL would ask the terminal for a passphrase.
            PKey::private_key_from_pem_callback(key.expose(), |_| Ok(0))
                .map_err(|e| none("unencrypted PEM of a private key").because(e))?
        }
        KeyFormat::Pkcs8 => {
            PKey::private_key_from_pkcs8(key.expose()).map_err(|e| none("unencrypted PKCS#8, PEM or DER").because(e))?
        }
        KeyFormat::Jwk => {
            let jwk: Jwk = serde_json::from_slice(key.expose()).map_err(|_| none("a private JWK"))?;
            if jwk.kty == "oct" {
                return symmetric(Secret::new(member(jwk.k.as_deref())?), asked);
            }
            from_jwk(&jwk)?
        }
    };
    let kind = kind_of(&pair)?;
    if let Some(asked) = asked.filter(|asked| *asked != kind) {
        return Err(Error::invalid(format!(
            "the key is of type `{kind}`, not `{asked}`: name the type that it has, or none"
        )));
    }
    let spell = || -> std::result::Result<Fresh, ErrorStack> {
        Ok(Fresh {
            private: Secret::new(pair.private_key_to_pkcs8()?),
            public: Some(pair.public_key_to_der()?),
        })
    };
    let fresh = spell().map_err(|e| Error::internal("a key could not be encoded").because(e))?;
    whole(kind, &pair, &fresh)?;
    Ok((kind, fresh))
}

/// Writes a key.
///
/// # Errors
/// `Invalid` if its kind is not written so.
pub(super) fn write(format: KeyFormat, kind: KeyKind, material: &Material) -> Result<Secret> {
    let failed = |e: ErrorStack| Error::internal("a key could not be written").because(e);
    let symmetric = matches!(kind.family(), Family::Aes(_) | Family::Hmac(_));
    match format {
        KeyFormat::Raw if symmetric => Ok(Secret::new(material.symmetric()?.to_vec())),
        KeyFormat::Pkcs8 if !symmetric => material
            .private()?
            .private_key_to_pkcs8()
            .map(Secret::new)
            .map_err(failed),
        KeyFormat::Jwk => to_jwk(kind, material),
        KeyFormat::Pkcs8 | KeyFormat::Raw => Err(Error::invalid(format!(
            "a key of type `{kind}` is not written as `{format}`: take `jwk`, `raw` for symmetric keys, or `pkcs8` for \
             key pairs"
        ))),
    }
}

fn none(what: &str) -> Error {
    Error::invalid(format!("the key cannot be read: it must be {what}"))
}

fn symmetric(key: Secret, asked: Option<KeyKind>) -> Result<(KeyKind, Fresh)> {
    let Some(kind) = asked else {
        return Err(Error::invalid(
            "bare bytes do not say what key they are: name its type, for example `aes-256`",
        ));
    };
    match kind.family() {
        Family::Aes(len) | Family::Hmac(len) if key.len() == len => Ok((
            kind,
            Fresh {
                private: key,
                public: None,
            },
        )),
        Family::Aes(len) | Family::Hmac(len) => Err(Error::invalid(format!(
            "a key of type `{kind}` has {len} bytes, and this one {}",
            key.len()
        ))),
        Family::Ec(..) | Family::Ed25519 | Family::Rsa(_) => Err(Error::invalid(format!(
            "a key of type `{kind}` is not bare bytes: give it as `pkcs8` or `jwk`"
        ))),
    }
}

fn kind_of(pair: &PKey<Private>) -> Result<KeyKind> {
    let found = match pair.id() {
        PKeyId::RSA => {
            let bits = pair.bits();
            KeyKind::ALL
                .iter()
                .find(|kind| matches!(kind.family(), Family::Rsa(own) if own == bits))
        }
        PKeyId::EC => {
            let curve = pair.ec_key().ok().and_then(|key| key.group().curve_name());
            KeyKind::ALL
                .iter()
                .find(|kind| matches!(kind.family(), Family::Ec(own, _) if Some(own) == curve))
        }
        PKeyId::ED25519 => Some(&KeyKind::Ed25519),
        _ => None,
    };
    found.copied().ok_or_else(|| {
        let kinds: Vec<_> = KeyKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
        Error::invalid(format!(
            "keys of this sort or size are not kept: it must be one of {}",
            kinds.join(", ")
        ))
    })
}

/// Checks that the halves belong together, and that others cannot work the private one out.
fn whole(kind: KeyKind, pair: &PKey<Private>, fresh: &Fresh) -> Result<()> {
    let broken = |e: ErrorStack| Error::invalid("the key is damaged: its parts do not belong together").because(e);
    match kind.family() {
        Family::Rsa(_) => {
            let good = pair.rsa().and_then(|rsa| rsa.check_key()).map_err(broken)?;
            if !good {
                return Err(Error::invalid("the key is damaged: its parts do not belong together"));
            }
            let spki = fresh.public.as_deref().unwrap_or_default();
            PublicKey::from_spki(spki)
                .map(|_| ())
                .map_err(|e| Error::invalid(format!("the key is refused: {e}")))?;
        }
        Family::Ec(..) => pair.ec_key().and_then(|key| key.check_key()).map_err(broken)?,
        Family::Aes(_) | Family::Ed25519 | Family::Hmac(_) => {}
    }
    Ok(())
}

fn member(text: Option<&str>) -> Result<Vec<u8>> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok())
        .ok_or_else(|| none("a private JWK with every member of its type"))
}

fn from_jwk(jwk: &Jwk) -> Result<PKey<Private>> {
    let number = |text: &Option<String>| {
        let bytes = Zeroizing::new(member(text.as_deref())?);
        BigNum::from_slice(&bytes).map_err(|e| Error::internal("a number could not be read").because(e))
    };
    let broken = |e: ErrorStack| none("a private JWK whose members belong together").because(e);
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let pair = Rsa::from_private_components(
                number(&jwk.n)?,
                number(&jwk.e)?,
                number(&jwk.d)?,
                number(&jwk.p)?,
                number(&jwk.q)?,
                number(&jwk.dp)?,
                number(&jwk.dq)?,
                number(&jwk.qi)?,
            );
            pair.and_then(PKey::from_rsa).map_err(broken)
        }
        ("OKP", Some("Ed25519")) => {
            let seed = Zeroizing::new(member(jwk.d.as_deref())?);
            let pair = PKey::private_key_from_raw_bytes(&seed, PKeyId::ED25519).map_err(broken)?;
            let public = pair.raw_public_key().map_err(broken)?;
            match jwk.x {
                Some(_) if member(jwk.x.as_deref())? != public => Err(none("a JWK whose halves belong together")),
                _ => Ok(pair),
            }
        }
        ("EC", Some(curve)) => {
            let named = |kind: &&KeyKind| matches!(kind.family(), Family::Ec(..)) && public::curve(**kind) == curve;
            let family = KeyKind::ALL.iter().find(named).map(|kind| kind.family());
            let Some(Family::Ec(nid, _)) = family else {
                return Err(none("a JWK on one of the curves P-256, P-384, P-521 and secp256k1"));
            };
            let (d, x, y) = (number(&jwk.d)?, number(&jwk.x)?, number(&jwk.y)?);
            let build = || {
                let group = EcGroup::from_curve_name(nid)?;
                let mut scratch = BigNumContext::new()?;
                let mut point = EcPoint::new(&group)?;
                point.set_affine_coordinates_gfp(&group, &x, &y, &mut scratch)?;
                PKey::from_ec_key(EcKey::from_private_components(&group, &d, &point)?)
            };
            build().map_err(broken)
        }
        _ => Err(none("a JWK of type RSA, EC, OKP (Ed25519) or oct")),
    }
}

fn to_jwk(kind: KeyKind, material: &Material) -> Result<Secret> {
    let encode = |bytes: Vec<u8>| Some(URL_SAFE_NO_PAD.encode(&*Zeroizing::new(bytes)));
    let mut members = Members {
        d: None,
        dp: None,
        dq: None,
        k: None,
        p: None,
        q: None,
        qi: None,
    };
    let mut spell = || -> Result<Value> {
        let failed = |e: ErrorStack| Error::internal("a key could not be written").because(e);
        match kind.family() {
            Family::Aes(_) | Family::Hmac(_) => {
                members.k = encode(material.symmetric()?.to_vec());
                return Ok(json!({"kty": "oct"}));
            }
            Family::Ed25519 => {
                let seed = material.private()?.raw_private_key();
                members.d = encode(seed.map_err(failed)?);
            }
            Family::Ec(_, len) => {
                let len = i32::try_from(len).unwrap_or(i32::MAX);
                let pair = material.private()?.ec_key().map_err(failed)?;
                members.d = encode(pair.private_key().to_vec_padded(len).map_err(failed)?);
            }
            Family::Rsa(_) => {
                let pair = material.private()?.rsa().map_err(failed)?;
                members.d = encode(pair.d().to_vec());
                members.p = pair.p().and_then(|number| encode(number.to_vec()));
                members.q = pair.q().and_then(|number| encode(number.to_vec()));
                members.dp = pair.dmp1().and_then(|number| encode(number.to_vec()));
                members.dq = pair.dmq1().and_then(|number| encode(number.to_vec()));
                members.qi = pair.iqmp().and_then(|number| encode(number.to_vec()));
            }
        }
        public::spell(kind, material.public()?).map_err(failed)
    };
    let public = spell()?;
    // SECURITY: the private members are written into a buffer that is wiped, not into a `Value`, which is not.
    let mut text = Zeroizing::new(Vec::with_capacity(8192));
    let written = serde_json::to_writer(
        &mut *text,
        &Whole {
            public: &public,
            private: &members,
        },
    );
    written.map_err(|e| Error::internal("a key could not be written").because(e))?;
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// A JWK, all of it.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    public: &'a Value,
    #[serde(flatten)]
    private: &'a Members,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    #[test]
    fn every_kind_comes_back_from_every_format_that_it_has() {
        // One size of RSA shows them all, and large ones take long to make.
        let large = [KeyKind::Rsa3072, KeyKind::Rsa4096];
        for kind in KeyKind::ALL.iter().filter(|kind| !large.contains(kind)) {
            let fresh = Fresh::make(*kind, &OsEntropy).unwrap();
            let (private, public) = (fresh.private.clone(), fresh.public.clone());
            let material = Material::open(*kind, fresh.private).unwrap();
            let mut written = 0;
            for format in KeyFormat::ALL {
                let Ok(text) = write(*format, *kind, &material) else {
                    continue;
                };
                written += 1;
                let (read_kind, back) = read(*format, &text, Some(*kind)).unwrap();
                assert_eq!((read_kind, back.public), (*kind, public.clone()), "{kind} {format}");
                assert_eq!(back.private.expose(), private.expose(), "{kind} {format}");
                let other = KeyKind::ALL.iter().find(|other| *other != kind).unwrap();
                assert!(read(*format, &text, Some(*other)).is_err(), "{kind} {format}");
                for cut in [1, text.len() / 2] {
                    let short = Secret::new(text.expose()[..text.len() - cut].to_vec());
                    assert!(read(*format, &short, Some(*kind)).is_err(), "{kind} {format}");
                }
            }
            assert_eq!(written, 2, "{kind}");
        }
    }

    #[test]
    fn a_key_whose_halves_do_not_belong_together_is_refused() {
        let [one, two] = [(), ()].map(|()| {
            let private = Fresh::make(KeyKind::EcP256, &OsEntropy).unwrap().private;
            let material = Material::open(KeyKind::EcP256, private).unwrap();
            let text = write(KeyFormat::Jwk, KeyKind::EcP256, &material).unwrap();
            serde_json::from_slice::<Value>(text.expose()).unwrap()
        });
        for member in ["d", "x", "y"] {
            let mut mixed = one.clone();
            mixed[member] = two[member].clone();
            let text = Secret::new(mixed.to_string().into_bytes());
            let error = read(KeyFormat::Jwk, &text, None).err().unwrap();
            assert!(!error.public().contains(two[member].as_str().unwrap()), "{error}");
        }
        let seeds = [1, 2].map(|byte| PKey::private_key_from_raw_bytes(&[byte; 32], PKeyId::ED25519).unwrap());
        let text = json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "d": URL_SAFE_NO_PAD.encode(seeds[0].raw_private_key().unwrap()),
            "x": URL_SAFE_NO_PAD.encode(seeds[1].raw_public_key().unwrap()),
        });
        assert!(read(KeyFormat::Jwk, &Secret::new(text.to_string().into_bytes()), None).is_err());
    }

    #[test]
    fn what_others_write_is_read_and_what_is_not_kept_is_refused() {
        let rsa = Rsa::generate(2048).unwrap();
        // PKCS#1 in PEM, as older tools write it.
        let (kind, _) = read(KeyFormat::Pkcs8, &Secret::new(rsa.private_key_to_pem().unwrap()), None).unwrap();
        assert_eq!(kind, KeyKind::Rsa2048);
        let encrypted = PKey::from_rsa(rsa)
            .unwrap()
            .private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"x")
            .unwrap();
        let small = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let group = EcGroup::from_curve_name(openssl::nid::Nid::SECP224R1).unwrap();
        let curve = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        for (key, says) in [
            (encrypted, "unencrypted"),
            (small.private_key_to_pkcs8().unwrap(), "not kept"),
            (curve.private_key_to_pkcs8().unwrap(), "not kept"),
            (b"-----BEGIN PRIVATE KEY-----\n".to_vec(), "PEM"),
            (Vec::new(), "PKCS#8"),
        ] {
            let error = read(KeyFormat::Pkcs8, &Secret::new(key), None).err().unwrap();
            assert!(error.public().contains(says), "{error}");
        }
        let error = read(KeyFormat::Raw, &Secret::new(vec![1; 32]), None).err().unwrap();
        assert!(error.public().contains("name its type"), "{error}");
    }
}

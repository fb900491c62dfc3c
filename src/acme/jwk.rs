//! Account keys: JSON Web Keys (RFC 7517, 7518 §6, 8037), read strictly, and their thumbprints (RFC 7638).

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use der::asn1::{Any, BitString, UintRef};
use der::{Encode, Sequence};
use serde::{Deserialize, Serialize};
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};

use super::problem::{Problem, ProblemType};
use crate::x509::key::PublicKey;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// What stands before the key's bits in a `SubjectPublicKeyInfo`: RFC 5480, RFC 8410.
const P256_PREFIX: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\
    \x07\x03\x42\x00";
const P384_PREFIX: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const P521_PREFIX: &[u8] =
    b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00";
const ED25519_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A signature algorithm of a JWS (RFC 7518 §3.1, RFC 8037, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// Ed25519, under either of its names.
    EdDsa,
}

impl Algorithm {
    /// The names that are taken, the most usual first.
    pub const NAMES: [&str; 6] = ["ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256"];

    /// The algorithm with this name.
    ///
    /// # Errors
    /// `badSignatureAlgorithm`; `none` and the MACs are among what is refused (RFC 8555 §6.2).
    pub fn named(name: &str) -> Result<Self, Problem> {
        match name {
            "ES256" => Ok(Self::Es256),
            "ES384" => Ok(Self::Es384),
            "ES512" => Ok(Self::Es512),
            "RS256" => Ok(Self::Rs256),
            "EdDSA" | "Ed25519" => Ok(Self::EdDsa),
            _ => Err(Problem::new(
                ProblemType::BadSignatureAlgorithm,
                format!(
                    "`{}` is not taken: sign with {}",
                    name.escape_debug(),
                    Self::NAMES.join(", ")
                ),
            )),
        }
    }

    fn verifier(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::EdDsa => &signature::ED25519,
        }
    }
}

/// A JWK's members as they are written, those of one key type in use (RFC 7518 §6.2, §6.3, RFC 8037 §2). The order of
/// the fields is the alphabetical one that a thumbprint is taken over (RFC 7638 §3.2).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Members {
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    /// Only in private keys; must not be there.
    #[serde(skip_serializing)]
    d: Option<serde::de::IgnoredAny>,
}

/// An account's public key, checked when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    algorithm: Algorithm,
    /// As [`Algorithm::verifier`] takes it.
    bits: Vec<u8>,
    canonical: String,
    spki: Vec<u8>,
}

/// RFC 8017 §A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl Jwk {
    /// Reads and checks a key.
    ///
    /// # Errors
    /// `badPublicKey`, saying why: of a kind that is not taken, weak, not on its curve, or with its private half.
    pub fn new(members: Members) -> Result<Self, Problem> {
        if members.d.is_some() {
            return Err(bad(
                "it holds its private half, which is now known to others: make a new key",
            ));
        }
        let curve = members.crv.as_deref();
        let (algorithm, members, bits, spki) = match (members.kty.as_str(), curve) {
            ("EC", Some("P-256")) => point(Algorithm::Es256, "P-256", 32, P256_PREFIX, &members)?,
            ("EC", Some("P-384")) => point(Algorithm::Es384, "P-384", 48, P384_PREFIX, &members)?,
            ("EC", Some("P-521")) => point(Algorithm::Es512, "P-521", 66, P521_PREFIX, &members)?,
            ("OKP", Some("Ed25519")) => {
                let x = octets("x", members.x.as_deref(), Some(32))?;
                let canonical = Members {
                    crv: Some("Ed25519".to_owned()),
                    kty: "OKP".to_owned(),
                    x: Some(BASE64URL.encode(&x)),
                    ..Members::default()
                };
                let spki = [ED25519_PREFIX, &x].concat();
                (Algorithm::EdDsa, canonical, x, spki)
            }
            ("RSA", None) => rsa(&members)?,
            _ => {
                return Err(bad(
                    "use an EC key on P-256, P-384 or P-521, an Ed25519 key, or an RSA key",
                ));
            }
        };
        if algorithm == Algorithm::Es512 {
            ParsedPublicKey::new(algorithm.verifier(), &bits).map_err(|_| bad("the point is not on its curve"))?;
        } else {
            PublicKey::from_spki(&spki).map_err(|e| bad(&e.to_string()))?;
        }
        Ok(Self {
            algorithm,
            bits,
            canonical: serde_json::to_string(&members).map_err(|e| bad(&e.to_string()))?,
            spki,
        })
    }

    /// The thumbprint, base64url (RFC 7638; RFC 8555 §8.1).
    pub fn thumbprint(&self) -> String {
        BASE64URL.encode(digest::digest(&digest::SHA256, self.canonical.as_bytes()))
    }

    /// The required members in their order, as JSON.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Verifies a signature by this key.
    ///
    /// # Errors
    /// `badSignatureAlgorithm` if the algorithm does not fit the key, `unauthorized` if the signature does not hold.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Problem> {
        if algorithm != self.algorithm {
            return Err(Problem::new(
                ProblemType::BadSignatureAlgorithm,
                "the algorithm does not fit the key: sign with the key's own",
            ));
        }
        signature::UnparsedPublicKey::new(algorithm.verifier(), &self.bits)
            .verify(message, signature)
            .map_err(|_| {
                Problem::unauthorized("the signature does not verify: sign the request as it is sent, with this key")
            })
    }
}

fn bad(why: &str) -> Problem {
    Problem::new(ProblemType::BadPublicKey, format!("the account key is refused: {why}"))
}

fn octets(name: &str, text: Option<&str>, len: Option<usize>) -> Result<Vec<u8>, Problem> {
    let bytes = text.and_then(|text| BASE64URL.decode(text).ok()).ok_or_else(|| {
        bad(&format!(
            "its member `{name}` is missing or not base64url without padding"
        ))
    })?;
    match len {
        Some(len) if bytes.len() != len => Err(bad(&format!(
            "its member `{name}` has {} octets, not {len}",
            bytes.len()
        ))),
        _ => Ok(bytes),
    }
}

type Parts = (Algorithm, Members, Vec<u8>, Vec<u8>);

fn point(algorithm: Algorithm, curve: &str, len: usize, prefix: &[u8], members: &Members) -> Result<Parts, Problem> {
    let x = octets("x", members.x.as_deref(), Some(len))?;
    let y = octets("y", members.y.as_deref(), Some(len))?;
    let bits = [&[4], x.as_slice(), &y].concat();
    let canonical = Members {
        crv: Some(curve.to_owned()),
        kty: "EC".to_owned(),
        x: Some(BASE64URL.encode(&x)),
        y: Some(BASE64URL.encode(&y)),
        ..Members::default()
    };
    let spki = [prefix, &bits].concat();
    Ok((algorithm, canonical, bits, spki))
}

fn rsa(members: &Members) -> Result<Parts, Problem> {
    // RFC 8555 §8.1: leading zero octets are no part of the number that the thumbprint is taken over.
    let number = |name: &str, text: Option<&str>| {
        let bytes = octets(name, text, None)?;
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Ok::<_, Problem>(bytes.get(start..).unwrap_or_default().to_vec())
    };
    let n = number("n", members.n.as_deref())?;
    let e = number("e", members.e.as_deref())?;
    let encoded = || -> der::Result<(Vec<u8>, Vec<u8>)> {
        let bits = RsaPublicKey {
            modulus: UintRef::new(&n)?,
            exponent: UintRef::new(&e)?,
        }
        .to_der()?;
        let spki = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid: RSA_ENCRYPTION,
                parameters: Some(Any::null()),
            },
            subject_public_key: BitString::from_bytes(&bits)?,
        }
        .to_der()?;
        Ok((bits, spki))
    };
    let (bits, spki) = encoded().map_err(|e| bad(&e.to_string()))?;
    let canonical = Members {
        e: Some(BASE64URL.encode(&e)),
        kty: "RSA".to_owned(),
        n: Some(BASE64URL.encode(&n)),
        ..Members::default()
    };
    Ok((Algorithm::Rs256, canonical, bits, spki))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(jwk: Value) -> Result<Jwk, Problem> {
        Jwk::new(serde_json::from_value(jwk).unwrap())
    }

    /// RFC 7638 §3.1.
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXj\
        BZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0\
        zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-k\
        EgU8awapJzKnqDKgw";

    #[test]
    fn the_rfcs_example_has_the_rfcs_thumbprint_with_and_without_leading_zeros() {
        let key = read(json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})).unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let zero = BASE64URL.encode([&[0], BASE64URL.decode(N).unwrap().as_slice()].concat());
        let padded = read(json!({"kty": "RSA", "n": zero, "e": "AAEAAQ"})).unwrap();
        assert_eq!(padded, key);
    }

    #[test]
    fn ec_and_ed25519_keys_become_the_same_spki_as_other_libraries_write() {
        use aws_lc_rs::encoding::AsDer;
        use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
        for (algorithm, curve, len) in [
            (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
            (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
            (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", 66),
        ] {
            let pair = EcdsaKeyPair::generate(algorithm).unwrap();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(len);
            let key = read(json!({"kty": "EC", "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)}));
            assert_eq!(
                key.unwrap().spki(),
                pair.public_key().as_der().unwrap().as_ref(),
                "{curve}"
            );
            let short =
                read(json!({"kty": "EC", "crv": curve, "x": BASE64URL.encode(&x[1..]), "y": BASE64URL.encode(y)}));
            assert_eq!(short.unwrap_err().kind, ProblemType::BadPublicKey);
            let off = read(json!({"kty": "EC", "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(x)}));
            assert_eq!(off.unwrap_err().kind, ProblemType::BadPublicKey);
        }
        let pair = Ed25519KeyPair::generate().unwrap();
        let key =
            read(json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(pair.public_key().as_ref())})).unwrap();
        assert_eq!(key.spki(), pair.public_key().as_der().unwrap().as_ref());
    }

    #[test]
    fn what_is_no_good_key_is_refused_with_a_reason() {
        let short = BASE64URL.encode([0xc1; 128]);
        for (jwk, why) in [
            (json!({"kty": "oct", "k": "AAAA"}), "use an EC key"),
            (
                json!({"kty": "EC", "crv": "secp256k1", "x": "", "y": ""}),
                "use an EC key",
            ),
            (json!({"kty": "RSA", "n": short, "e": "AQAB"}), "1024 bits"),
            (json!({"kty": "RSA", "n": N, "e": "Aw"}), "exponent"),
            (json!({"kty": "RSA", "n": N, "e": "AQAB", "d": "AA"}), "private half"),
            (json!({"kty": "RSA", "e": "AQAB"}), "`n` is missing"),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": "AAA="}), "without padding"),
        ] {
            let problem = read(jwk).unwrap_err();
            assert_eq!(problem.kind, ProblemType::BadPublicKey);
            assert!(problem.detail.contains(why), "{problem}");
        }
    }
}

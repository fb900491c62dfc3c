//! Somebody else's public key, with which a key that is here agrees on a secret. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNumContext;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::kind::{Family, KeyKind};
use super::material::Material;
use super::public;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::x509::chain::sha256;

/// The longest that one is read from, in bytes.
const PEER_MAX_BYTES: usize = 8192;

/// A public key. INVARIANT: its point is on the curve of the key that agrees, in its group, and not infinity.
pub(super) struct Peer {
    key: PKey<Public>,
    point: Vec<u8>,
}

/// The members of a public JWK (RFC 7518 §6.2.1).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    d: Option<IgnoredAny>,
    x: Option<String>,
    y: Option<String>,
}

impl Peer {
    /// Reads one as PEM, DER (SubjectPublicKeyInfo) or JWK, for a key of this kind.
    ///
    /// # Errors
    /// `Invalid` if it is none, on another curve, or no point that a secret may be agreed with.
    pub(super) fn read(kind: KeyKind, text: &[u8]) -> Result<Self> {
        if text.len() > PEER_MAX_BYTES {
            return Err(unread());
        }
        if text.trim_ascii_start().starts_with(b"{") {
            return Self::from_jwk(kind, text);
        }
        let read = match text.starts_with(b"-----BEGIN") {
            true => PKey::public_key_from_pem(text),
            false => PKey::public_key_from_der(text),
        };
        Self::of(kind, &read.map_err(|e| unread().because(e))?)
    }

    /// This one, for a key of this kind.
    pub(super) fn of(kind: KeyKind, public: &PKey<Public>) -> Result<Self> {
        let (curve, _) = curve(kind)?;
        let key = public.ec_key().map_err(|e| elsewhere(kind).because(e))?;
        if key.group().curve_name() != Some(curve) {
            return Err(elsewhere(kind));
        }
        let mut scratch = BigNumContext::new().map_err(failed)?;
        let bytes = key
            .public_key()
            .to_bytes(key.group(), PointConversionForm::UNCOMPRESSED, &mut scratch)
            .map_err(|e| no_point().because(e))?;
        Self::at(kind, bytes)
    }

    /// A pair of this kind: the half that agrees, and the other.
    pub(super) fn made(kind: KeyKind) -> Result<(Material, Self)> {
        let (curve, _) = curve(kind)?;
        let pair = EcGroup::from_curve_name(curve)
            .and_then(|group| EcKey::generate(&group))
            .and_then(PKey::from_ec_key)
            .and_then(Material::pair)
            .map_err(failed)?;
        let peer = Self::of(kind, pair.public()?)?;
        Ok((pair, peer))
    }

    fn from_jwk(kind: KeyKind, text: &[u8]) -> Result<Self> {
        let jwk: Jwk = serde_json::from_slice(text).map_err(|_| unread())?;
        if jwk.d.is_some() {
            return Err(Error::invalid(
                "the other one's key is a private one: give its public half, without `d`",
            ));
        }
        if jwk.kty != "EC" || jwk.crv.as_deref() != Some(public::curve(kind)) {
            return Err(elsewhere(kind));
        }
        let (_, len) = curve(kind)?;
        let number = |text: Option<String>| {
            let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            bytes.filter(|bytes| bytes.len() == len).ok_or_else(unread)
        };
        Self::at(kind, [vec![4], number(jwk.x)?, number(jwk.y)?].concat())
    }

    /// SECURITY: a point that is not on the curve makes the secret one of few, and by that gives the private half away;
    /// OpenSSL looks when it reads one, and the token may not (SP 800-56A §5.6.2.3.3).
    fn at(kind: KeyKind, point: Vec<u8>) -> Result<Self> {
        let (curve, len) = curve(kind)?;
        if point.len() != 2 * len + 1 {
            return Err(no_point());
        }
        let read = || {
            let group = EcGroup::from_curve_name(curve)?;
            let mut scratch = BigNumContext::new()?;
            let point = EcPoint::from_bytes(&group, &point, &mut scratch)?;
            let key = EcKey::from_public_key(&group, &point)?;
            key.check_key()?;
            PKey::from_ec_key(key)
        };
        let key = read().map_err(|e: ErrorStack| no_point().because(e))?;
        Ok(Self { key, point })
    }

    /// Its point, uncompressed (SEC 1 §2.3.3).
    pub(super) fn point(&self) -> &[u8] {
        &self.point
    }

    /// Which one it is, for the record: the SHA-256 of its SubjectPublicKeyInfo.
    pub(super) fn digest(&self) -> Result<String> {
        Ok(sha256(&self.key.public_key_to_der().map_err(failed)?))
    }

    /// The secret that it and a private half have in common: the x of the product (SP 800-56A §5.7.1.2), as long as the
    /// curve's numbers.
    pub(super) fn agree(&self, own: &Material) -> Result<Secret> {
        let own = own.private()?;
        let derive = || {
            let mut deriver = Deriver::new(own)?;
            deriver.set_peer(&self.key)?;
            deriver.derive_to_vec()
        };
        derive().map(Secret::new).map_err(failed)
    }
}

fn curve(kind: KeyKind) -> Result<(Nid, usize)> {
    match kind.family() {
        Family::Ec(curve, len) => Ok((curve, len)),
        _ => Err(Error::internal("a key was made to agree that cannot")),
    }
}

fn failed(cause: ErrorStack) -> Error {
    Error::internal("agreeing on a secret failed").because(cause)
}

fn unread() -> Error {
    Error::invalid(
        "the other one's key cannot be read: it must be a public key as PEM, DER (SubjectPublicKeyInfo) or JWK",
    )
}

fn elsewhere(kind: KeyKind) -> Error {
    Error::invalid(format!(
        "the other one's key is on no curve that this one is on: it must be of type `{kind}`"
    ))
}

fn no_point() -> Error {
    Error::invalid("the other one's key is no point of its curve: ask for it again, and trust it no further")
}

#[cfg(test)]
mod tests {
    use openssl::bn::BigNum;
    use openssl::pkey::Private;
    use serde_json::{Value, json};

    use super::*;

    const CURVES: [KeyKind; 4] = [KeyKind::EcP256, KeyKind::EcP384, KeyKind::EcP521, KeyKind::EcSecp256k1];

    fn read(kind: KeyKind, text: &[u8]) -> String {
        Peer::read(kind, text).err().unwrap().public().to_owned()
    }

    fn private(kind: KeyKind, scalar: &str) -> Material {
        let group = EcGroup::from_curve_name(curve(kind).unwrap().0).unwrap();
        let number = BigNum::from_hex_str(scalar).unwrap();
        let mut point = EcPoint::new(&group).unwrap();
        let mut scratch = BigNumContext::new().unwrap();
        point.mul_generator2(&group, &number, &mut scratch).unwrap();
        let key: EcKey<Private> = EcKey::from_private_components(&group, &number, &point).unwrap();
        Material::pair(PKey::from_ec_key(key).unwrap()).unwrap()
    }

    fn jwk(kind: KeyKind, x: &[u8], y: &[u8]) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": public::curve(kind), "x": encode(x), "y": encode(y), "kid": "a"})
    }

    /// RFC 5903 §8.1 to §8.3.
    #[test]
    fn published_vectors_agree() {
        for (kind, own, x, y, shared) in [
            (
                KeyKind::EcP256,
                "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
                "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63",
                "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
                "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
            ),
            (
                KeyKind::EcP384,
                "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
                "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571",
                "DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
                "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
            ),
            (
                KeyKind::EcP521,
                "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA85A30FE1C2952C6771D937BA9777F595\
                 7B2639BAB072462F68C27A57382D4A52",
                "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97C356436ADC6E95BB0352F6BE64A6C291\
                 2D4EF2D0433CED2B6171640012D9460F",
                "015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B6536C5C408A1D2AEBB8E86D678AE49CB\
                 57091F4732296579AB44FCD17F0FC56A",
                "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D1427E73CA4BAA240A34786859810C06B3C7\
                 15A3A8CC3151F2BEE417996D19F3DDEA",
            ),
        ] {
            let [x, y] = [x, y].map(|number| hex::decode(number).unwrap());
            let peer = Peer::read(kind, jwk(kind, &x, &y).to_string().as_bytes()).unwrap();
            let agreed = peer.agree(&private(kind, own)).unwrap();
            assert_eq!(hex::encode_upper(agreed.expose()), shared, "{kind}");
        }
    }

    #[test]
    fn both_sides_agree_whatever_the_key_is_written_as() {
        for kind in CURVES {
            let ((own, mine), (other, theirs)) = (Peer::made(kind).unwrap(), Peer::made(kind).unwrap());
            let expected = mine.agree(&other).unwrap();
            assert_eq!(expected.len(), curve(kind).unwrap().1, "{kind}");
            let (_, numbers) = theirs.point().split_first().unwrap();
            let (x, y) = numbers.split_at(numbers.len() / 2);
            for written in [
                theirs.key.public_key_to_pem().unwrap(),
                theirs.key.public_key_to_der().unwrap(),
                jwk(kind, x, y).to_string().into_bytes(),
            ] {
                let peer = Peer::read(kind, &written).unwrap();
                assert_eq!(peer.digest().unwrap(), theirs.digest().unwrap());
                assert_eq!(peer.agree(&own).unwrap().expose(), expected.expose(), "{kind}");
                for other in CURVES.into_iter().filter(|other| *other != kind) {
                    assert!(
                        read(other, &written).contains(&format!("of type `{other}`")),
                        "{kind} {other}"
                    );
                }
                assert!(Peer::read(kind, &written[..written.len() - 9]).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_refused() {
        for kind in CURVES {
            let (_, peer) = Peer::made(kind).unwrap();
            let (_, numbers) = peer.point().split_first().unwrap();
            let (x, y) = numbers.split_at(numbers.len() / 2);
            let zeros = vec![0; x.len()];
            let mut bent = y.to_vec();
            *bent.last_mut().unwrap() ^= 1;
            for (x, y) in [
                (x, bent.as_slice()),
                (y, x),
                (&zeros, &zeros),
                (&vec![0xff; x.len()], y),
            ] {
                let says = read(kind, jwk(kind, x, y).to_string().as_bytes());
                assert!(says.contains("no point of its curve"), "{kind}: {says}");
            }
            // A number that is too short, or too long.
            for x in [&x[1..], &[&[0], x].concat()] {
                let says = read(kind, jwk(kind, x, y).to_string().as_bytes());
                assert!(says.contains("cannot be read"), "{kind}: {says}");
            }
            // The same point in DER, bent, and infinity.
            let der = peer.key.public_key_to_der().unwrap();
            let mut off = der.clone();
            *off.last_mut().unwrap() ^= 1;
            assert!(Peer::read(kind, &off).is_err(), "{kind}");
            let infinity = || {
                let group = EcGroup::from_curve_name(curve(kind)?.0).map_err(failed)?;
                let point = EcPoint::new(&group).map_err(failed)?;
                let key = EcKey::from_public_key(&group, &point).map_err(failed)?;
                let key = PKey::from_ec_key(key).map_err(failed)?;
                Peer::of(kind, &key)
            };
            assert!(infinity().is_err(), "{kind}");
            let mut private = jwk(kind, x, y);
            private["d"] = json!("AAAA");
            let says = read(kind, private.to_string().as_bytes());
            assert!(says.contains("without `d`") && !says.contains("AAAA"), "{says}");
        }
        let rsa = super::super::material::tests::made(KeyKind::Rsa2048);
        let der = rsa.public().unwrap().public_key_to_der().unwrap();
        assert!(read(KeyKind::EcP256, &der).contains("of type `ec-p256`"));
        assert!(read(KeyKind::EcP256, &[b' '; 9000]).contains("cannot be read"));
    }
}

//! Wrapped keys inside the token: made and wrapped out, unwrapped into session objects, used, and let go.
//!
//! All of them belong to one session that is used for nothing else: they end with the session that made them, and any
//! session may use them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::rsa::PkcsMgfType;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroize;

use super::generate::rsa_params;
use super::{Fault, Seat, keywrap, pss};
use crate::hsm::KeyRef;
use crate::hsm::encode;
use crate::hsm::error::HsmError;
use crate::hsm::library::Pass;
use crate::hsm::worker::lock;
use crate::hsm::wrapped::{BroughtKey, Curve, Digest, Id, MadeKey, Use, WrappedKey, WrappedKind};
use crate::key_type::KeyType;
use crate::secret::Secret;

/// What a key that agrees may be used for. SoftHSM lets sign what is not said to.
const AGREES: &[Attribute] = &[Attribute::Derive(true), Attribute::Sign(false)];

/// The wrapped keys that are in the token now.
pub(in crate::hsm) struct Inside {
    keys: moka::sync::Cache<Id, Arc<Unwrapped>>,
    /// Taken out of `keys`, and perhaps still used by somebody.
    leaving: Arc<Mutex<Vec<Arc<Unwrapped>>>>,
    holder: Mutex<Option<Holder>>,
    /// Counts holders, of all epochs.
    holders: AtomicU64,
    /// The number of the holder; 0 if there is none.
    current: AtomicU64,
}

/// A session object. INVARIANT: it is destroyed only when nobody else holds this, so that its handle never comes to mean
/// another key under somebody's hands.
struct Unwrapped {
    handle: ObjectHandle,
    epoch: u64,
    /// Which holder it belongs to.
    holder: u64,
}

/// The session that the objects belong to.
struct Holder {
    epoch: u64,
    number: u64,
    session: Session,
}

impl Inside {
    /// With room for so many keys.
    pub(in crate::hsm) fn new(most: u64) -> Self {
        let leaving: Arc<Mutex<Vec<Arc<Unwrapped>>>> = Arc::default();
        let listener = leaving.clone();
        Self {
            keys: moka::sync::Cache::builder()
                .max_capacity(most)
                .eviction_listener(move |_, unwrapped, _| lock(&listener).push(unwrapped))
                .build(),
            leaving,
            holder: Mutex::default(),
            holders: AtomicU64::new(0),
            current: AtomicU64::new(0),
        }
    }

    /// The token no longer knows one of them: all are unwrapped again. Their session is not closed, because others may
    /// be using what is left of it.
    pub(in crate::hsm) fn forget(&self) {
        *lock(&self.holder) = None;
        self.current.store(0, Ordering::Release);
        self.keys.invalidate_all();
    }

    /// Gives the session back, if it is one of this epoch. Nobody uses it any more.
    pub(in crate::hsm) fn leave(&self, epoch: u64) {
        if let Some(holder) = lock(&self.holder).take_if(|holder| holder.epoch == epoch) {
            // A session that is dead already needs no closing.
            let _ = holder.session.close();
        }
    }

    fn found(&self, id: &Id, epoch: u64) -> Option<Arc<Unwrapped>> {
        let current = self.current.load(Ordering::Acquire);
        self.keys
            .get(id)
            .filter(|found| found.epoch == epoch && found.holder == current)
    }
}

impl Seat {
    /// As [`Hsm::make_wrapped`](crate::hsm::Hsm::make_wrapped) says.
    pub(in crate::hsm) fn make_wrapped(
        &mut self,
        pass: &Pass<'_>,
        wrapping: &KeyRef,
        kind: WrappedKind,
    ) -> Result<MadeKey, Fault> {
        let wrapping = self.handle(wrapping)?;
        let _alone = lock(pass.making());
        // Extractable for as long as it takes to wrap it.
        let guarded = [
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(true),
        ];
        let public = [
            Attribute::Token(false),
            Attribute::Private(false),
            Attribute::Verify(true),
        ];
        let secret = |mechanism: Mechanism<'_>, bytes: u8| {
            let template = [guarded.as_slice(), &[Attribute::ValueLen(u64::from(bytes).into())]].concat();
            self.session.generate_key(&mechanism, &template)
        };
        let uses = match kind {
            WrappedKind::Agree(_) => AGREES.to_vec(),
            _ => vec![Attribute::Sign(true)],
        };
        let pair = |mechanism: Mechanism<'_>, params: Vec<Attribute>| {
            let public = [public.as_slice(), &params].concat();
            let private = [guarded.as_slice(), &uses].concat();
            self.session.generate_key_pair(&mechanism, &public, &private)
        };
        let (public, made) = match kind {
            WrappedKind::Aes(bytes) => (None, secret(Mechanism::AesKeyGen, bytes)?),
            WrappedKind::Hmac(bytes) => (None, secret(Mechanism::GenericSecretKeyGen, bytes)?),
            WrappedKind::Agree(curve) | WrappedKind::Ec(curve) => {
                let params = vec![Attribute::EcParams(curve.params().to_vec())];
                some(pair(Mechanism::EccKeyPairGen, params)?)
            }
            WrappedKind::Ed25519 => {
                let params = vec![Attribute::EcParams(encode::ED25519.to_vec())];
                some(pair(Mechanism::EccEdwardsKeyPairGen, params)?)
            }
            WrappedKind::Rsa(bits) => some(pair(Mechanism::RsaPkcsKeyPairGen, rsa_params(bits))?),
        };
        let wrapped = public
            .map(|public| self.spelled(kind, public))
            .transpose()
            .and_then(|spki_der| {
                let blob = self.session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, made)?;
                Ok(MadeKey { blob, spki_der })
            });
        for object in public.into_iter().chain([made]) {
            self.session.destroy_object(object)?;
        }
        wrapped
    }

    /// As [`Hsm::wrap_brought`](crate::hsm::Hsm::wrap_brought) says.
    pub(in crate::hsm) fn wrap_brought(&mut self, wrapping: &KeyRef, key: &BroughtKey) -> Result<Vec<u8>, Fault> {
        let wrapping = self.handle(wrapping)?;
        let (class, key_type) = match key {
            BroughtKey::Ec(..) => (ObjectClass::PRIVATE_KEY, CkKeyType::EC),
            BroughtKey::Rsa { .. } => (ObjectClass::PRIVATE_KEY, CkKeyType::RSA),
            BroughtKey::Symmetric(WrappedKind::Aes(_), _) => (ObjectClass::SECRET_KEY, CkKeyType::AES),
            BroughtKey::Symmetric(..) => (ObjectClass::SECRET_KEY, CkKeyType::GENERIC_SECRET),
        };
        let mut template = vec![
            Attribute::Class(class),
            Attribute::KeyType(key_type),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(true),
        ];
        let plain = |secret: &Secret| secret.expose().to_vec();
        template.extend(match key {
            BroughtKey::Ec(curve, scalar) => vec![
                Attribute::EcParams(curve.params().to_vec()),
                Attribute::Value(plain(scalar)),
            ],
            BroughtKey::Symmetric(_, bytes) => vec![Attribute::Value(plain(bytes))],
            BroughtKey::Rsa {
                modulus,
                public_exponent,
                private_exponent,
                primes: [p, q],
                exponents: [dp, dq],
                coefficient,
            } => vec![
                Attribute::Modulus(modulus.clone()),
                Attribute::PublicExponent(public_exponent.clone()),
                Attribute::PrivateExponent(plain(private_exponent)),
                Attribute::Prime1(plain(p)),
                Attribute::Prime2(plain(q)),
                Attribute::Exponent1(plain(dp)),
                Attribute::Exponent2(plain(dq)),
                Attribute::Coefficient(plain(coefficient)),
            ],
        });
        let object = self.session.create_object(&template);
        for attribute in &mut template {
            wipe(attribute);
        }
        let object = object?;
        let blob = self.session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, object);
        self.session.destroy_object(object)?;
        Ok(blob?)
    }

    /// The public half of a key pair, as `SubjectPublicKeyInfo`.
    fn spelled(&self, kind: WrappedKind, public: ObjectHandle) -> Result<Vec<u8>, Fault> {
        let spki = match kind {
            WrappedKind::Rsa(_) => {
                let modulus = self.bytes(public, AttributeType::Modulus)?;
                let exponent = self.bytes(public, AttributeType::PublicExponent)?;
                encode::spki(KeyType::Rsa2048, &encode::rsa(&modulus, &exponent)?)?
            }
            WrappedKind::Agree(Curve::Secp256k1) | WrappedKind::Ec(Curve::Secp256k1) => {
                let point = self.bytes(public, AttributeType::EcPoint)?;
                // As long as those of P-256.
                encode::spki_secp256k1(encode::point(KeyType::EcP256, &point)?)?
            }
            WrappedKind::Agree(Curve::P256) | WrappedKind::Ec(Curve::P256) => {
                self.spelled_point(KeyType::EcP256, public)?
            }
            WrappedKind::Agree(Curve::P384) | WrappedKind::Ec(Curve::P384) => {
                self.spelled_point(KeyType::EcP384, public)?
            }
            WrappedKind::Agree(Curve::P521) | WrappedKind::Ec(Curve::P521) => {
                self.spelled_point(KeyType::EcP521, public)?
            }
            WrappedKind::Ed25519 => self.spelled_point(KeyType::Ed25519, public)?,
            WrappedKind::Aes(_) | WrappedKind::Hmac(_) => {
                return Err(HsmError::Device("a symmetric key with a public half".to_owned()).into());
            }
        };
        Ok(spki)
    }

    fn spelled_point(&self, kind: KeyType, public: ObjectHandle) -> Result<Vec<u8>, Fault> {
        let attribute = self.bytes(public, AttributeType::EcPoint)?;
        Ok(encode::spki(kind, encode::point(kind, &attribute)?)?)
    }

    /// As [`Hsm::use_wrapped`](crate::hsm::Hsm::use_wrapped) says.
    pub(in crate::hsm) fn use_wrapped(
        &mut self,
        pass: &Pass<'_>,
        key: &WrappedKey,
        act: &Use,
    ) -> Result<Secret, Fault> {
        let unwrapped = self.unwrapped(pass, key)?;
        let key = unwrapped.handle;
        let out = match act {
            Use::CbcDecrypt(iv, ciphertext) => self.session.decrypt(&Mechanism::AesCbcPad(*iv), key, ciphertext)?,
            Use::CbcEncrypt(iv, plaintext) => {
                self.session
                    .encrypt(&Mechanism::AesCbcPad(*iv), key, plaintext.expose())?
            }
            Use::Ecb(blocks) => self.session.encrypt(&Mechanism::AesEcb, key, blocks.expose())?,
            Use::Ecdh(point) => return self.agree(key, point),
            Use::Ecdsa(digest) => self.session.sign(&Mechanism::Ecdsa, key, digest)?,
            Use::Eddsa(message) => {
                let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                self.session.sign(&mechanism, key, message)?
            }
            Use::GcmOpen(nonce, aad, ciphertext) => {
                let mut nonce = *nonce;
                let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128.into())?);
                self.session.decrypt(&mechanism, key, ciphertext)?
            }
            Use::GcmSeal(nonce, aad, plaintext) => {
                let mut nonce = *nonce;
                let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128.into())?);
                self.session.encrypt(&mechanism, key, plaintext.expose())?
            }
            Use::Hmac(digest, message) => {
                let mechanism = match digest {
                    Digest::Sha256 => Mechanism::Sha256Hmac,
                    Digest::Sha384 => Mechanism::Sha384Hmac,
                    Digest::Sha512 => Mechanism::Sha512Hmac,
                };
                self.session.sign(&mechanism, key, message)?
            }
            Use::RsaPkcs1(info) => self.session.sign(&Mechanism::RsaPkcs, key, info)?,
            Use::RsaPss(digest, hashed) => {
                let params = match digest {
                    Digest::Sha256 => pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
                    Digest::Sha384 => pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
                    Digest::Sha512 => pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
                };
                self.session.sign(&Mechanism::RsaPkcsPss(params), key, hashed)?
            }
            Use::RsaRaw(number) => self.session.decrypt(&Mechanism::RsaX509, key, number)?,
            Use::Unwrap { padded, wrapped } => {
                let mut plain = keywrap::unwrap(|block| self.block(key, false, block), *padded, wrapped)?
                    .ok_or(HsmError::Data("what is to be unwrapped was not wrapped by this key"))?;
                std::mem::take(&mut *plain)
            }
            Use::Wrap { padded, bytes } => {
                keywrap::wrap(|block| self.block(key, true, block), *padded, bytes.expose())?
            }
        };
        drop(unwrapped);
        Ok(Secret::new(out))
    }

    /// The key as a session object, from those that are inside already if it is one of them.
    fn unwrapped(&mut self, pass: &Pass<'_>, key: &WrappedKey) -> Result<Arc<Unwrapped>, Fault> {
        let wrapping = self.handle(&key.wrapping)?;
        let (inside, epoch) = (&self.place.inside, pass.epoch());
        if let Some(found) = inside.found(&key.id, epoch) {
            return Ok(found);
        }
        let mut place = lock(&inside.holder);
        // Somebody else may have been here meanwhile.
        if let Some(found) = inside.found(&key.id, epoch) {
            return Ok(found);
        }
        // One of an earlier initialisation is gone with it.
        let kept = place.take().filter(|holder| holder.epoch == epoch);
        let holder = match kept {
            Some(holder) => holder,
            None => Holder {
                epoch,
                number: inside.holders.fetch_add(1, Ordering::Relaxed) + 1,
                session: self.pkcs11.open_rw_session_no_drop(self.slot)?,
            },
        };
        let holder = place.insert(holder);
        inside.current.store(holder.number, Ordering::Release);
        inside.let_go(holder);
        let handle = holder
            .session
            .unwrap_key(&Mechanism::AesKeyWrapPad, wrapping, &key.blob, &template(key.kind))?;
        let unwrapped = Arc::new(Unwrapped {
            handle,
            epoch,
            holder: holder.number,
        });
        inside.keys.insert(key.id, unwrapped.clone());
        Ok(unwrapped)
    }

    /// ECDH. What it gives is made an object that may be read, read, and destroyed.
    fn agree(&self, key: ObjectHandle, point: &[u8]) -> Result<Secret, Fault> {
        // A number as long as the curve's, between one octet of form and another number.
        let len = u64::try_from(point.len() / 2).unwrap_or(u64::MAX);
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(CkKeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::ValueLen(len.into()),
        ];
        let derive = |point: &[u8]| {
            let params = Ecdh1DeriveParams::new(EcKdf::null(), point);
            self.session.derive_key(&Mechanism::Ecdh1Derive(params), key, &template)
        };
        // Every token takes the bare point (PKCS#11 v3.1 §6.3.18). SoftHSM guesses which form it has, and takes one point
        // in 256 for DER: those it gets as DER first.
        let wrapped = encode::octets(point)?;
        let object = match is_like_octets(point) {
            true => derive(&wrapped).or_else(|_| derive(point)),
            false => derive(point),
        }?;
        let value = self.bytes(object, AttributeType::Value).map(Secret::new);
        self.session.destroy_object(object)?;
        let value = value?;
        if value.len() != point.len() / 2 {
            return Err(HsmError::Device(format!("a shared secret of {} bytes", value.len())).into());
        }
        Ok(value)
    }

    /// One block of AES.
    fn block(&self, key: ObjectHandle, encrypt: bool, block: &[u8; 16]) -> Result<[u8; 16], Fault> {
        let out = match encrypt {
            true => self.session.encrypt(&Mechanism::AesEcb, key, block)?,
            false => self.session.decrypt(&Mechanism::AesEcb, key, block)?,
        };
        let odd = |out: Vec<u8>| HsmError::Device(format!("a block of {} bytes", out.len()));
        Ok(out.try_into().map_err(odd)?)
    }
}

/// Wipes what must not stay in memory.
fn wipe(attribute: &mut Attribute) {
    if let Attribute::Coefficient(bytes)
    | Attribute::Exponent1(bytes)
    | Attribute::Exponent2(bytes)
    | Attribute::Prime1(bytes)
    | Attribute::Prime2(bytes)
    | Attribute::PrivateExponent(bytes)
    | Attribute::Value(bytes) = attribute
    {
        bytes.zeroize();
    }
}

fn some((public, private): (ObjectHandle, ObjectHandle)) -> (Option<ObjectHandle>, ObjectHandle) {
    (Some(public), private)
}

/// Whether an uncompressed point could be read as a DER octet string: its first octet is that of one.
fn is_like_octets(point: &[u8]) -> bool {
    match point {
        [0x04, 0x81, len, rest @ ..] => usize::from(*len) == rest.len(),
        [0x04, len, rest @ ..] => usize::from(*len) == rest.len(),
        _ => false,
    }
}

/// What a key becomes inside: usable, and never to leave.
fn template(kind: WrappedKind) -> Vec<Attribute> {
    let (class, key_type) = match kind {
        WrappedKind::Aes(_) => (ObjectClass::SECRET_KEY, CkKeyType::AES),
        WrappedKind::Hmac(_) => (ObjectClass::SECRET_KEY, CkKeyType::GENERIC_SECRET),
        WrappedKind::Agree(_) | WrappedKind::Ec(_) => (ObjectClass::PRIVATE_KEY, CkKeyType::EC),
        WrappedKind::Ed25519 => (ObjectClass::PRIVATE_KEY, CkKeyType::EC_EDWARDS),
        WrappedKind::Rsa(_) => (ObjectClass::PRIVATE_KEY, CkKeyType::RSA),
    };
    let mut template = vec![
        Attribute::Class(class),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ];
    template.extend(match kind {
        // Never to wrap: what it wraps is bytes, not objects.
        WrappedKind::Aes(_) => vec![
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
        ],
        WrappedKind::Rsa(_) => vec![Attribute::Sign(true), Attribute::Decrypt(true)],
        WrappedKind::Agree(_) => AGREES.to_vec(),
        WrappedKind::Ec(_) | WrappedKind::Ed25519 | WrappedKind::Hmac(_) => vec![Attribute::Sign(true)],
    });
    template
}

impl Inside {
    /// Destroys what was taken out and is used by nobody.
    fn let_go(&self, holder: &Holder) {
        lock(&self.leaving).retain(|unwrapped| {
            if Arc::strong_count(unwrapped) > 1 {
                return true;
            }
            if unwrapped.holder == holder.number {
                // One that is gone already need not be destroyed.
                let _ = holder.session.destroy_object(unwrapped.handle);
            }
            false
        });
    }
}

impl Curve {
    /// `CKA_EC_PARAMS`.
    fn params(self) -> &'static [u8] {
        match self {
            Self::P256 => encode::P256,
            Self::P384 => encode::P384,
            Self::P521 => encode::P521,
            Self::Secp256k1 => encode::SECP256K1,
        }
    }
}

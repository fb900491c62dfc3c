//! One worker's session at the token, and what can be done in it.
//!
//! INVARIANT: a [`Seat`] is used only inside a pass of the epoch that it was opened in.
//! Nothing here retries: what failed is told as a [`Fault`] and judged in `heal`.

mod generate;
mod guard;
mod keywrap;
mod wrapped;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::{digest, signature};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;

pub(super) use self::wrapped::Inside;
use super::encode;
use super::error::HsmError;
use super::library::Pass;
use super::worker::lock;
use super::{KeyRef, PublicHalf};
use crate::key_type::KeyType;
use crate::secret::Secret;

/// The authentication tag of AES-GCM, in bytes.
const TAG: usize = 16;
/// The length of a new key's `CKA_ID`, in bytes.
const ID: u32 = 16;

/// Why an operation failed, before it is judged.
pub(super) enum Fault {
    /// One key is shown twice. SoftHSM does so after its folder was away for a moment.
    Doubled(String),
    /// A key that is known to exist is not shown.
    Missing(String),
    /// No slot holds the token.
    NoToken,
    /// The library's own word.
    Pkcs11(Pkcs11Error),
    /// Ours, and final.
    Refused(HsmError),
}

impl From<Pkcs11Error> for Fault {
    fn from(error: Pkcs11Error) -> Self {
        Self::Pkcs11(error)
    }
}

impl From<HsmError> for Fault {
    fn from(error: HsmError) -> Self {
        Self::Refused(error)
    }
}

/// Where the workers of one door sit: the token, its PIN, and what they have learned together.
pub(super) struct Place {
    pub(super) label: String,
    /// SECURITY: in memory for as long as the door is open, because a new session may have to log in again.
    pub(super) pin: RawAuthPin,
    /// Whether signing keys are copied to session objects (twice the rate on SoftHSM).
    pub(super) session_copies: bool,
    /// The token refused the PIN once: it is not tried again.
    pub(super) pin_refused: AtomicBool,
    /// Keys that were seen through this door. The probe signs with one of them, and none of them is ever believed to
    /// be absent.
    pub(super) known: Mutex<BTreeMap<String, KeyType>>,
    /// The users' keys that are unwrapped now.
    pub(super) inside: Inside,
}

/// A logged-in session and the handles found in it.
pub(super) struct Seat {
    pub(super) epoch: u64,
    pkcs11: Pkcs11,
    place: Arc<Place>,
    slot: Slot,
    session: Session,
    handles: HashMap<String, (KeyType, ObjectHandle)>,
}

impl Seat {
    /// Finds the token, opens a session and logs in.
    pub(super) fn open(pass: &Pass<'_>, place: &Arc<Place>) -> Result<Self, Fault> {
        let Some(pkcs11) = pass.pkcs11() else {
            return Err(Fault::NoToken);
        };
        if place.pin_refused.load(Ordering::Relaxed) {
            return Err(HsmError::WrongPin.into());
        }
        let holds_it = |slot: &Slot| {
            pkcs11
                .get_token_info(*slot)
                .is_ok_and(|token| token.token_initialized() && token.label() == place.label)
        };
        let mut slots = pkcs11.get_slots_with_token()?.into_iter().filter(holds_it);
        let slot = slots.next().ok_or(Fault::NoToken)?;
        if slots.next().is_some() {
            return Err(HsmError::Device(format!("two tokens are labelled `{}`: rename one", place.label)).into());
        }
        let session = pkcs11.open_rw_session_no_drop(slot)?;
        match session.login_with_raw(UserType::User, &place.pin) {
            // The login is the process's, not the session's.
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(Self {
                epoch: pass.epoch(),
                pkcs11: pkcs11.clone(),
                place: Arc::clone(place),
                slot,
                session,
                handles: HashMap::new(),
            }),
            Err(error) => {
                // It is given up either way.
                let _ = session.close();
                Err(match error {
                    Pkcs11Error::Pkcs11(
                        RvError::PinIncorrect
                        | RvError::PinInvalid
                        | RvError::PinLenRange
                        | RvError::PinExpired
                        | RvError::PinLocked,
                        _,
                    ) => {
                        // SECURITY: tokens lock after a few wrong PINs, so nobody behind this door tries again.
                        place.pin_refused.store(true, Ordering::Relaxed);
                        HsmError::WrongPin.into()
                    }
                    error => error.into(),
                })
            }
        }
    }

    /// Gives the session back. Never by `C_Logout`: that would log out every session of the process.
    pub(super) fn leave(self) {
        // A session that is dead already needs no closing.
        let _ = self.session.close();
    }

    /// Handles are found again from here on.
    pub(super) fn forget_handles(&mut self) {
        self.place.inside.forget();
        self.handles.clear();
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.session
            .get_session_info()
            .is_ok_and(|session| matches!(session.session_state(), SessionState::RwUser | SessionState::RoUser))
    }

    /// Token info, and a signature by a known key that verifies. What it says decides between a fault of the data and
    /// a lost token, so it takes nothing from any cache.
    pub(super) fn probe(&self) -> Result<(), Fault> {
        let token = self.pkcs11.get_token_info(self.slot)?;
        if token.label() != self.place.label || !self.is_logged_in() {
            return Err(Fault::NoToken);
        }
        let witness = lock(&self.place.known)
            .iter()
            .find_map(|(label, kind)| Some((label.clone(), verifier(*kind)?)));
        let Some((label, algorithm)) = witness else {
            self.session.generate_random_vec(ID)?;
            return Ok(());
        };
        let found = self.look(&label)?.ok_or_else(|| Fault::Missing(label.clone()))?;
        let message = b"chancery token probe";
        let signature = self.sign_with(found.kind, found.handle, message)?;
        let public = self.public_bits(&label, &found)?;
        signature::UnparsedPublicKey::new(algorithm, public)
            .verify(message, &signature)
            .map_err(|_| HsmError::Device(format!("a signature by `{label}` does not verify")).into())
    }

    /// Looks a key up. `None` is said only of a key never seen before, by a token that has just proved to be there.
    pub(super) fn find(&self, label: &str) -> Result<Option<PublicHalf>, Fault> {
        match self.look_twice(label)? {
            Some(found) => self.public_half(label, &found).map(Some),
            None => Ok(None),
        }
    }

    /// INVARIANT: SoftHSM answers "no objects", without an error, when its folder is away, so an empty look counts
    /// only on both sides of a probe.
    fn look_twice(&self, label: &str) -> Result<Option<Found>, Fault> {
        if let Some(found) = self.look(label)? {
            return Ok(Some(found));
        }
        self.probe()?;
        self.look(label)
    }

    /// A signature over `message`, as [`Hsm::sign`](super::Hsm::sign) says.
    pub(super) fn sign(&mut self, key: &KeyRef, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let handle = self.handle(key)?;
        self.sign_with(key.kind, handle, message)
    }

    /// AES-256-GCM, the tag appended.
    pub(super) fn encrypt(
        &mut self,
        key: &KeyRef,
        mut nonce: [u8; 12],
        aad: &[u8],
        plaintext: &Secret,
    ) -> Result<Vec<u8>, Fault> {
        let handle = self.cipher(key)?;
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128.into())?);
        let sealed = self.session.encrypt(&mechanism, handle, plaintext.expose())?;
        if sealed.len() != plaintext.len() + TAG {
            return Err(HsmError::Device(format!("a ciphertext of {} bytes", sealed.len())).into());
        }
        Ok(sealed)
    }

    /// Opens what [`Seat::encrypt`] sealed.
    pub(super) fn decrypt(
        &mut self,
        key: &KeyRef,
        mut nonce: [u8; 12],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Secret, Fault> {
        if ciphertext.len() < TAG {
            return Err(HsmError::Data("a ciphertext is at least its tag long").into());
        }
        let handle = self.cipher(key)?;
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128.into())?);
        Ok(Secret::new(self.session.decrypt(&mechanism, handle, ciphertext)?))
    }

    /// Random bytes from the token.
    pub(super) fn random(&self, length: u32) -> Result<Secret, Fault> {
        Ok(Secret::new(self.session.generate_random_vec(length)?))
    }

    fn sign_with(&self, kind: KeyType, handle: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Fault> {
        match kind {
            KeyType::EcP256 => self.ecdsa(handle, &digest::SHA256, 32, message),
            KeyType::EcP384 => self.ecdsa(handle, &digest::SHA384, 48, message),
            KeyType::EcP521 => self.ecdsa(handle, &digest::SHA512, 66, message),
            KeyType::Rsa2048 => Ok(self.session.sign(&Mechanism::Sha256RsaPkcs, handle, message)?),
            KeyType::Rsa3072 => Ok(self.session.sign(&Mechanism::Sha384RsaPkcs, handle, message)?),
            KeyType::Rsa4096 => Ok(self.session.sign(&Mechanism::Sha512RsaPkcs, handle, message)?),
            KeyType::RsaPss2048 => {
                let params = pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32);
                Ok(self
                    .session
                    .sign(&Mechanism::Sha256RsaPkcsPss(params), handle, message)?)
            }
            KeyType::RsaPss3072 => {
                let params = pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48);
                Ok(self
                    .session
                    .sign(&Mechanism::Sha384RsaPkcsPss(params), handle, message)?)
            }
            KeyType::RsaPss4096 => {
                let params = pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64);
                Ok(self
                    .session
                    .sign(&Mechanism::Sha512RsaPkcsPss(params), handle, message)?)
            }
            KeyType::Ed25519 => {
                let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                let raw = self.session.sign(&mechanism, handle, message)?;
                if raw.len() != 64 {
                    return Err(HsmError::Device(format!("an Ed25519 signature of {} bytes", raw.len())).into());
                }
                Ok(raw)
            }
            KeyType::Aes256 | KeyType::AesWrap256 => Err(encode::unsupported(kind).into()),
        }
    }

    /// Raw ECDSA: not every token hashes, so it is done here.
    fn ecdsa(
        &self,
        handle: ObjectHandle,
        hash: &'static digest::Algorithm,
        half: usize,
        message: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let digest = digest::digest(hash, message);
        let raw = self.session.sign(&Mechanism::Ecdsa, handle, digest.as_ref())?;
        Ok(encode::ecdsa_der(&raw, half)?)
    }

    fn cipher(&mut self, key: &KeyRef) -> Result<ObjectHandle, Fault> {
        if key.kind != KeyType::Aes256 {
            return Err(encode::unsupported(key.kind).into());
        }
        self.handle(key)
    }

    /// The cached handle, or the one found now. Finding costs by the number of objects in the token.
    fn handle(&mut self, key: &KeyRef) -> Result<ObjectHandle, Fault> {
        if let Some((kind, handle)) = self.handles.get(&key.label)
            && *kind == key.kind.material()
        {
            return Ok(*handle);
        }
        let found = self
            .look(&key.label)?
            .ok_or_else(|| Fault::Missing(key.label.clone()))?;
        if found.kind != key.kind.material() {
            return Err(HsmError::Data("the key of this label is of another kind").into());
        }
        // SECURITY: keys that encrypt other keys are never copied.
        let handle = if key.kind.signs() {
            self.copied(found.handle)
        } else {
            found.handle
        };
        self.handles.insert(key.label.clone(), (found.kind, handle));
        Ok(handle)
    }

    fn copied(&self, original: ObjectHandle) -> ObjectHandle {
        if !self.place.session_copies {
            return original;
        }
        // A token that will not copy is used as it is.
        self.session
            .copy_object(original, &[Attribute::Token(false)])
            .unwrap_or(original)
    }

    fn look(&self, label: &str) -> Result<Option<Found>, Fault> {
        let mut handles = self.objects(ObjectClass::PRIVATE_KEY, label, None)?;
        handles.extend(self.objects(ObjectClass::SECRET_KEY, label, None)?);
        let handle = match handles.as_slice() {
            [] if lock(&self.place.known).contains_key(label) => return Err(Fault::Missing(label.to_owned())),
            [] => return Ok(None),
            [handle] => *handle,
            [first, others @ ..] => {
                // A stale library shows one key under two handles, and objects whose files are gone without their
                // attributes. Two ids that can be read are two keys.
                let id = self.bytes(*first, AttributeType::Id)?;
                for other in others {
                    let other = self.bytes(*other, AttributeType::Id)?;
                    if !id.is_empty() && !other.is_empty() && id != other {
                        return Err(HsmError::Duplicate(label.to_owned()).into());
                    }
                }
                return Err(Fault::Doubled(label.to_owned()));
            }
        };
        let kind = match self.session.get_attributes(handle, &[AttributeType::KeyType])?.pop() {
            Some(Attribute::KeyType(CkKeyType::AES)) => KeyType::Aes256,
            Some(Attribute::KeyType(CkKeyType::EC_EDWARDS)) => KeyType::Ed25519,
            Some(Attribute::KeyType(CkKeyType::EC)) => match self.bytes(handle, AttributeType::EcParams)?.as_slice() {
                encode::P256 => KeyType::EcP256,
                encode::P384 => KeyType::EcP384,
                encode::P521 => KeyType::EcP521,
                _ => return Err(HsmError::Unsupported(format!("the curve of the key `{label}`")).into()),
            },
            Some(Attribute::KeyType(CkKeyType::RSA)) => encode::rsa_kind(&self.bytes(handle, AttributeType::Modulus)?)
                .ok_or_else(|| HsmError::Unsupported(format!("the size of the key `{label}`")))?,
            _ => return Err(HsmError::Unsupported(format!("the kind of the key `{label}`")).into()),
        };
        lock(&self.place.known).insert(label.to_owned(), kind);
        Ok(Some(Found {
            handle,
            kind,
            id: self.bytes(handle, AttributeType::Id)?,
        }))
    }

    fn objects(&self, class: ObjectClass, label: &str, id: Option<&[u8]>) -> Result<Vec<ObjectHandle>, Fault> {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Class(class),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        template.extend(id.map(|id| Attribute::Id(id.to_vec())));
        Ok(self.session.find_objects(&template)?)
    }

    fn public_half(&self, label: &str, found: &Found) -> Result<PublicHalf, Fault> {
        let spki_der = if found.kind.signs() {
            Some(encode::spki(found.kind, &self.public_bits(label, found)?)?)
        } else {
            None
        };
        Ok(PublicHalf {
            kind: found.kind,
            spki_der,
        })
    }

    /// The bare point, or the `RSAPublicKey`.
    fn public_bits(&self, label: &str, found: &Found) -> Result<Vec<u8>, Fault> {
        match self
            .objects(ObjectClass::PUBLIC_KEY, label, Some(&found.id))?
            .as_slice()
        {
            [public] => match found.kind {
                KeyType::Rsa2048
                | KeyType::Rsa3072
                | KeyType::Rsa4096
                | KeyType::RsaPss2048
                | KeyType::RsaPss3072
                | KeyType::RsaPss4096 => {
                    let modulus = self.bytes(*public, AttributeType::Modulus)?;
                    Ok(encode::rsa(
                        &modulus,
                        &self.bytes(*public, AttributeType::PublicExponent)?,
                    )?)
                }
                KeyType::Aes256
                | KeyType::AesWrap256
                | KeyType::EcP256
                | KeyType::EcP384
                | KeyType::EcP521
                | KeyType::Ed25519 => {
                    let attribute = self.bytes(*public, AttributeType::EcPoint)?;
                    Ok(encode::point(found.kind, &attribute)?.to_vec())
                }
            },
            [] => Err(Fault::Missing(label.to_owned())),
            _ => Err(Fault::Doubled(label.to_owned())),
        }
    }

    fn bytes(&self, handle: ObjectHandle, wanted: AttributeType) -> Result<Vec<u8>, Fault> {
        match self.session.get_attributes(handle, &[wanted])?.pop() {
            Some(
                Attribute::EcParams(bytes)
                | Attribute::EcPoint(bytes)
                | Attribute::Id(bytes)
                | Attribute::Modulus(bytes)
                | Attribute::PublicExponent(bytes)
                | Attribute::Value(bytes),
            ) => Ok(bytes),
            _ => Err(HsmError::Device(format!("an object has no {wanted}")).into()),
        }
    }
}

struct Found {
    handle: ObjectHandle,
    kind: KeyType,
    id: Vec<u8>,
}

/// A salt as long as the hash (RFC 4055 §3.1).
fn pss(hash_alg: MechanismType, mgf: PkcsMgfType, salt: u8) -> PkcsPssParams {
    PkcsPssParams {
        hash_alg,
        mgf,
        s_len: u64::from(salt).into(),
    }
}

fn verifier(kind: KeyType) -> Option<&'static dyn signature::VerificationAlgorithm> {
    match kind {
        KeyType::EcP256 => Some(&signature::ECDSA_P256_SHA256_ASN1),
        KeyType::EcP384 => Some(&signature::ECDSA_P384_SHA384_ASN1),
        KeyType::EcP521 => Some(&signature::ECDSA_P521_SHA512_ASN1),
        KeyType::Ed25519 => Some(&signature::ED25519),
        KeyType::Rsa2048 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        KeyType::Rsa3072 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        KeyType::Rsa4096 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        KeyType::RsaPss2048 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        KeyType::RsaPss3072 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        KeyType::RsaPss4096 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        KeyType::Aes256 | KeyType::AesWrap256 => None,
    }
}

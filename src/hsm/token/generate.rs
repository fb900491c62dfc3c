//! Making a key in the token, guarded from its first moment.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};

use super::{Fault, Found, ID, Seat, guard};
use crate::hsm::PublicHalf;
use crate::hsm::encode;
use crate::hsm::error::HsmError;
use crate::hsm::library::Pass;
use crate::hsm::worker::lock;
use crate::key_type::KeyType;

impl Seat {
    /// Makes a key in the token, unless the label is taken.
    pub(in crate::hsm) fn generate(&self, pass: &Pass<'_>, label: &str, kind: KeyType) -> Result<PublicHalf, Fault> {
        let _alone = lock(pass.making());
        if label.is_empty() || label.len() > 255 {
            return Err(HsmError::Data("a key's label has 1 to 255 bytes").into());
        }
        if self.look_twice(label)?.is_some() {
            return Err(HsmError::KeyExists(label.to_owned()).into());
        }
        // Ties the halves together; random, so that a public half left by a crash is never taken for another's.
        let id = self.session.generate_random_vec(ID)?;
        let named = [
            Attribute::Token(true),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.clone()),
        ];
        let guarded = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
        ];
        let (mechanism, params) = match kind {
            KeyType::EcP256 => (
                Mechanism::EccKeyPairGen,
                vec![Attribute::EcParams(encode::P256.to_vec())],
            ),
            KeyType::EcP384 => (
                Mechanism::EccKeyPairGen,
                vec![Attribute::EcParams(encode::P384.to_vec())],
            ),
            KeyType::EcP521 => (
                Mechanism::EccKeyPairGen,
                vec![Attribute::EcParams(encode::P521.to_vec())],
            ),
            KeyType::Ed25519 => (
                Mechanism::EccEdwardsKeyPairGen,
                vec![Attribute::EcParams(encode::ED25519.to_vec())],
            ),
            KeyType::Rsa2048 | KeyType::RsaPss2048 => (Mechanism::RsaPkcsKeyPairGen, rsa_params(2048)),
            KeyType::Rsa3072 | KeyType::RsaPss3072 => (Mechanism::RsaPkcsKeyPairGen, rsa_params(3072)),
            KeyType::Rsa4096 | KeyType::RsaPss4096 => (Mechanism::RsaPkcsKeyPairGen, rsa_params(4096)),
            KeyType::Aes256 | KeyType::AesWrap256 => {
                let wraps = kind == KeyType::AesWrap256;
                let mut template = [
                    named.as_slice(),
                    &guarded,
                    &[
                        Attribute::ValueLen(32.into()),
                        Attribute::Encrypt(!wraps),
                        Attribute::Decrypt(!wraps),
                        Attribute::Sign(false),
                        Attribute::Verify(false),
                        Attribute::Wrap(wraps),
                        Attribute::Unwrap(wraps),
                        Attribute::Derive(false),
                    ],
                ]
                .concat();
                if wraps {
                    template.extend(guard::attributes());
                }
                let handle = self.session.generate_key(&Mechanism::AesKeyGen, &template)?;
                self.keep(label, &[handle])?;
                let kind = kind.material();
                let found = Found { handle, kind, id };
                return self.public_half(label, &found);
            }
        };
        let public = [
            named.as_slice(),
            &params,
            &[
                Attribute::Private(false),
                Attribute::Verify(true),
                Attribute::Encrypt(false),
                Attribute::Wrap(false),
            ],
        ]
        .concat();
        let private = [
            named.as_slice(),
            &guarded,
            &[
                Attribute::Sign(true),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
            ],
        ]
        .concat();
        let (public, handle) = self.session.generate_key_pair(&mechanism, &public, &private)?;
        self.keep(label, &[handle, public])?;
        let kind = kind.material();
        self.public_half(label, &Found { handle, kind, id })
    }

    /// Decides whether a key just made (`made`: the half to guard, then the other) stays: it is destroyed at once if
    /// the token dropped its guards, or if another of its label shows up.
    ///
    /// SECURITY: a token that does not honour these attributes has keys that can be read out.
    fn keep(&self, label: &str, made: &[ObjectHandle]) -> Result<(), Fault> {
        let Some(guarded) = made.first() else { return Ok(()) };
        let wanted = [
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Local(true),
        ];
        let types: Vec<AttributeType> = wanted.iter().map(Attribute::attribute_type).collect();
        let have = self.session.get_attributes(*guarded, &types)?;
        let refusal = if wanted.iter().any(|attribute| !have.contains(attribute)) {
            HsmError::Unsupported("keys that are sensitive, never extractable and made in it".to_owned())
        } else if let Err(Fault::Refused(error @ HsmError::Duplicate(_))) = self.look(label) {
            error
        } else {
            return Ok(());
        };
        for object in made {
            self.session.destroy_object(*object)?;
        }
        Err(refusal.into())
    }
}

pub(super) fn rsa_params(bits: u32) -> Vec<Attribute> {
    vec![
        Attribute::ModulusBits(cryptoki::types::Ulong::from(u64::from(bits))),
        Attribute::PublicExponent(encode::RSA_EXPONENT.to_vec()),
    ]
}

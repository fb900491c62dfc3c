//! What keeps a wrapping key from giving away what it wraps, and the proof that the token honours it.
//!
//! SECURITY: who knows the PIN and holds a wrapped key must not get the plain key. Without `CKA_UNWRAP_TEMPLATE` one
//! unwraps it into an object that may be read; without `CKA_MODIFIABLE` and `CKA_COPYABLE` being false one lets the
//! wrapping key, or a copy of it, decrypt, and undoes the wrapping block by block.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass};

use super::{Fault, Seat};
use crate::hsm::KeyRef;
use crate::hsm::error::HsmError;
use crate::hsm::library::Pass;
use crate::hsm::wrapped::WrappedKind;

/// `CKA_UNWRAP_TEMPLATE` (PKCS#11 v3.1 §4.10), which the binding has no name for.
const UNWRAP_TEMPLATE: u64 = 0x4000_0212;
const SENSITIVE: usize = 0x103;
const EXTRACTABLE: usize = 0x162;

/// `CK_BBOOL`s that stay where they are.
static TRUE: u8 = 1;
static FALSE: u8 = 0;

/// What a wrapping key is made with: all that it unwraps is sensitive and stays inside, and it is never changed or
/// copied.
pub(super) fn attributes() -> [Attribute; 3] {
    [
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
        Attribute::VendorDefined((AttributeType::VendorDefined(UNWRAP_TEMPLATE), unwrap_template())),
    ]
}

/// An array of two `CK_ATTRIBUTE`s (type, address and length of the value, each a machine word), as the library reads
/// it.
fn unwrap_template() -> Vec<u8> {
    [(SENSITIVE, &TRUE), (EXTRACTABLE, &FALSE)]
        .into_iter()
        .flat_map(|(kind, value)| [kind, std::ptr::from_ref(value).expose_provenance(), size_of_val(value)])
        .flat_map(usize::to_ne_bytes)
        .collect()
}

impl Seat {
    /// Tries what somebody with the PIN would try to get at a key that `wrapping` wraps; the keys it tries with are made
    /// for this. `Unsupported` if one of the ways is open.
    pub(in crate::hsm) fn try_guards(&mut self, pass: &Pass<'_>, wrapping: &KeyRef) -> Result<(), Fault> {
        let handle = self.handle(wrapping)?;
        let bait = self.make_wrapped(pass, wrapping, WrappedKind::Aes(32))?.blob;
        let open = |way: &str| Fault::Refused(HsmError::Unsupported(format!("wrapping keys that {way}")));

        let loose = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(CkKeyType::AES),
            Attribute::Token(false),
        ];
        let readable = [Attribute::Sensitive(false), Attribute::Extractable(true)];
        let unwrap = |template: &[Attribute]| {
            self.session
                .unwrap_key(&Mechanism::AesKeyWrapPad, handle, &bait, template)
                .ok()
        };
        for template in [loose.to_vec(), [loose.as_slice(), &readable].concat()] {
            if let Some(object) = unwrap(&template) {
                let plain = self.session.get_attributes(object, &[AttributeType::Value]);
                self.session.destroy_object(object)?;
                if plain.is_ok_and(|values| !values.is_empty()) {
                    return Err(open("give out what they unwrap as their caller likes"));
                }
            }
        }
        let decrypts = [Attribute::Decrypt(true)];
        // Whatever it may become: a copy has lost the guards of its own, or may be made to.
        for changed in [vec![], decrypts.to_vec(), vec![Attribute::Modifiable(true)]] {
            let template = [&[Attribute::Token(false)], changed.as_slice()].concat();
            if let Ok(copy) = self.session.copy_object(handle, &template) {
                self.session.destroy_object(copy)?;
                return Err(open("can be copied"));
            }
        }
        if self.session.update_attributes(handle, &decrypts).is_ok() {
            return Err(open("can be made to decrypt"));
        }
        if self.session.decrypt(&Mechanism::AesEcb, handle, &[0; 16]).is_ok() {
            return Err(open("decrypt"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsm::heal::Suspect;
    use crate::key_type::KeyType;
    use crate::softhsm::with_token;

    /// A wrapping key that lacks one guard is found out, by each of the ways.
    #[test]
    fn every_open_way_is_found() {
        let [unmodifiable, uncopyable, template] = attributes();
        let cases = [
            (
                "as their caller likes",
                vec![unmodifiable.clone(), uncopyable.clone()],
                false,
            ),
            (
                "can be made to decrypt",
                vec![uncopyable.clone(), template.clone()],
                false,
            ),
            // What is not modifiable SoftHSM does not copy either.
            ("can be copied", vec![template.clone()], false),
            (
                "that decrypt",
                vec![unmodifiable.clone(), uncopyable.clone(), template.clone()],
                true,
            ),
            ("", vec![unmodifiable, uncopyable, template], false),
        ];
        with_token(|token| async move {
            let hsm = token.hsm();
            for (n, (way, guards, decrypts)) in cases.into_iter().enumerate() {
                let wrapping = KeyRef {
                    label: format!("weak-{n}"),
                    kind: KeyType::AesWrap256,
                };
                let label = wrapping.label.clone();
                let make = move |seat: &mut Seat, _: &Pass<'_>| {
                    let mut made = vec![
                        Attribute::Token(true),
                        Attribute::Label(label.as_bytes().to_vec()),
                        Attribute::Id(label.as_bytes().to_vec()),
                        Attribute::Private(true),
                        Attribute::Sensitive(true),
                        Attribute::Extractable(false),
                        Attribute::ValueLen(32.into()),
                        Attribute::Encrypt(false),
                        Attribute::Decrypt(decrypts),
                        Attribute::Wrap(true),
                        Attribute::Unwrap(true),
                    ];
                    made.extend(guards.clone());
                    Ok(seat.session.generate_key(&Mechanism::AesKeyGen, &made).map(drop)?)
                };
                hsm.call(Suspect::Device, make).await.unwrap();
                match hsm.try_guards(&wrapping).await {
                    Ok(()) => assert_eq!(way, "", "{n}"),
                    Err(HsmError::Unsupported(found)) => {
                        assert!(!way.is_empty() && found.contains(way), "{n}: {found}")
                    }
                    Err(error) => panic!("{n}: {error}"),
                }
            }
        });
    }

    #[test]
    fn a_template_is_two_attributes_of_three_words() {
        let words: Vec<_> = unwrap_template()
            .chunks(size_of::<usize>())
            .map(|word| usize::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words.len(), 6);
        assert_eq!((words[0], words[2], words[3], words[5]), (SENSITIVE, 1, EXTRACTABLE, 1));
        assert_ne!(words[1], words[4]);
    }
}

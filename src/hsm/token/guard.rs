//! What keeps a wrapping key from giving away what it wraps, and the proof that the token honours it.
//!
//! SECURITY: who knows the PIN and holds a wrapped key must not get the plain key. Without `CKA_UNWRAP_TEMPLATE` one
//! unwraps it into an object that may be read; without `CKA_MODIFIABLE` and `CKA_COPYABLE` being false one lets the
//! wrapping key, or a copy of it, decrypt, and undoes the wrapping block by block.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};

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
        if self.session.update_attributes(handle, &decrypts).is_ok() {
            return Err(open("can be made to decrypt"));
        }
        if let Some(copy) = self.copy(handle, &[Attribute::Token(false), Attribute::Decrypt(true)]) {
            self.session.destroy_object(copy)?;
            return Err(open("can be copied to ones that decrypt"));
        }
        if self.session.decrypt(&Mechanism::AesEcb, handle, &[0; 16]).is_ok() {
            return Err(open("decrypt"));
        }
        Ok(())
    }

    fn copy(&self, original: ObjectHandle, template: &[Attribute]) -> Option<ObjectHandle> {
        self.session.copy_object(original, template).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

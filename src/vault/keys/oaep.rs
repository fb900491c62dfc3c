//! Taking RSAES-OAEP's padding away (RFC 8017 §7.1.2), for a token that only does the bare operation. Pure.
//!
//! SECURITY: what is wrong with a padding is nobody's business, not even by the time it takes to say so (Manger, 2001):
//! everything is looked at, and judged once.

use openssl::error::ErrorStack;
use openssl::hash::Hasher;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::algorithm::Hash;
use crate::secret::Secret;

/// The message in an encoded one, which is as long as the modulus; `None` if it is none. The label is empty.
pub(super) fn unpad(encoded: &Secret, hash: Hash) -> Result<Option<Secret>, ErrorStack> {
    let len = hash.len();
    let mut encoded = Zeroizing::new(encoded.expose().to_vec());
    let Some((first, rest)) = encoded.split_first_mut() else {
        return Ok(None);
    };
    let Some((seed, data)) = rest.split_at_mut_checked(len) else {
        return Ok(None);
    };
    mask(seed, data, hash)?;
    mask(data, seed, hash)?;
    let Some((label, padded)) = data.split_at_checked(len) else {
        return Ok(None);
    };
    let empty = openssl::hash::hash(hash.digest(), &[])?;

    let mut good = first.ct_eq(&0) & label.ct_eq(&empty);
    let mut seen = Choice::from(0);
    let mut begin = 0_u64;
    for (at, byte) in (1..).zip(padded) {
        let marks = byte.ct_eq(&1) & !seen;
        begin.conditional_assign(&at, marks);
        seen |= marks;
        // Before the mark stand zeros only.
        good &= seen | byte.ct_eq(&0);
    }
    good &= seen;
    let begin = usize::try_from(begin).unwrap_or(usize::MAX);
    Ok(match bool::from(good) {
        true => padded.get(begin..).map(|message| Secret::new(message.to_vec())),
        false => None,
    })
}

/// Takes MGF1 (RFC 8017 §B.2.1) of `seed` off `masked`.
fn mask(masked: &mut [u8], seed: &[u8], hash: Hash) -> Result<(), ErrorStack> {
    for (counter, chunk) in (0_u32..).zip(masked.chunks_mut(hash.len())) {
        let mut hasher = Hasher::new(hash.digest())?;
        hasher.update(seed)?;
        hasher.update(&counter.to_be_bytes())?;
        let digest = hasher.finish()?;
        chunk.iter_mut().zip(digest.iter()).for_each(|(byte, by)| *byte ^= by);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use openssl::encrypt::Encrypter;
    use openssl::pkey::PKey;
    use openssl::rsa::{Padding, Rsa};

    use super::*;

    /// What OpenSSL pads is unpadded, and nothing that was changed in any byte.
    #[test]
    fn only_a_whole_padding_is_taken_away() {
        let rsa = Rsa::generate(2048).unwrap();
        let pair = PKey::from_rsa(rsa.clone()).unwrap();
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let most = 256 - 2 * hash.len() - 2;
            for message in [vec![], vec![0], vec![1; 20], vec![7; most]] {
                let mut encrypter = Encrypter::new(&pair).unwrap();
                encrypter.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
                encrypter.set_rsa_oaep_md(hash.digest()).unwrap();
                encrypter.set_rsa_mgf1_md(hash.digest()).unwrap();
                let mut sealed = vec![0; 256];
                assert_eq!(encrypter.encrypt(&message, &mut sealed).unwrap(), 256);
                let mut encoded = vec![0; 256];
                assert_eq!(rsa.private_decrypt(&sealed, &mut encoded, Padding::NONE).unwrap(), 256);
                let unpadded = |bytes: &[u8]| {
                    let opened = unpad(&Secret::new(bytes.to_vec()), hash).unwrap();
                    opened.map(|message| message.expose().to_vec())
                };
                assert_eq!(unpadded(&encoded).unwrap(), message);
                for at in 0..encoded.len() {
                    let mut bent = encoded.clone();
                    bent[at] ^= 0x80;
                    assert_ne!(unpadded(&bent), Some(message.clone()), "byte {at}");
                }
                assert_eq!(unpadded(&encoded[..40]), None);
                assert_eq!(unpadded(&[]), None);
                assert_eq!(unpadded(&[0; 256]), None);
            }
        }
    }
}

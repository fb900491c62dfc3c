//! AES key wrap, padded (RFC 5649) and not (RFC 3394), over a token's bare block operation. Pure.
//!
//! Tokens wrap objects, not bytes, and SoftHSM gives padded bytes back with their padding, so that their length is lost.

use zeroize::Zeroizing;

type Block = [u8; 16];
type Half = [u8; 8];

/// RFC 3394 §2.2.3.1.
const INITIAL: Half = [0xa6; 8];
/// RFC 5649 §3; the length follows.
const ALTERNATIVE: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

/// Wraps `bytes`: 1 or more padded; 16 or more in whole blocks of 8 otherwise, which is the caller's to check.
pub(super) fn wrap<E>(
    mut encrypt: impl FnMut(&Block) -> Result<Block, E>,
    padded: bool,
    bytes: &[u8],
) -> Result<Vec<u8>, E> {
    let mut register = INITIAL;
    if padded {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        register = halves(&join(ALTERNATIVE, length.to_be_bytes())).0;
    }
    let mut rows = Zeroizing::new(rows(bytes));
    if let ([only], true) = (rows.as_slice(), padded) {
        return Ok(encrypt(&whole(register, *only))?.to_vec());
    }
    let mut step = 0_u64;
    for _ in 0..6 {
        for row in rows.iter_mut() {
            step += 1;
            let (high, low) = halves(&encrypt(&whole(register, *row))?);
            register = stepped(high, step);
            *row = low;
        }
    }
    Ok(register.into_iter().chain(rows.iter().flatten().copied()).collect())
}

/// Unwraps; `None` if this is nothing that the key wrapped so.
pub(super) fn unwrap<E>(
    mut decrypt: impl FnMut(&Block) -> Result<Block, E>,
    padded: bool,
    wrapped: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, E> {
    let least = if padded { 16 } else { 24 };
    let Some((register, rest)) = wrapped.split_first_chunk::<8>() else {
        return Ok(None);
    };
    if wrapped.len() < least || !wrapped.len().is_multiple_of(8) {
        return Ok(None);
    }
    let mut register = *register;
    let mut rows = Zeroizing::new(rows(rest));
    if let [only] = rows.as_mut_slice() {
        (register, *only) = halves(&decrypt(&whole(register, *only))?);
    } else {
        let mut step = 6 * u64::try_from(rows.len()).unwrap_or(u64::MAX / 6);
        for _ in 0..6 {
            for row in rows.iter_mut().rev() {
                (register, *row) = halves(&decrypt(&whole(stepped(register, step), *row))?);
                step -= 1;
            }
        }
    }
    let mut plain = Zeroizing::new(rows.concat());
    if !padded {
        return Ok(openssl::memcmp::eq(&register, &INITIAL).then_some(plain));
    }
    let ([a, b, c, d], [e, f, g, h]) = quarters(register);
    let length = usize::try_from(u32::from_be_bytes([e, f, g, h])).unwrap_or(usize::MAX);
    let fits = length <= plain.len() && length + 8 > plain.len();
    let padding = plain.get(length..).unwrap_or_default();
    let whole = openssl::memcmp::eq(&[a, b, c, d], &ALTERNATIVE) & fits & padding.iter().all(|byte| *byte == 0);
    plain.truncate(length);
    Ok(whole.then_some(plain))
}

/// Blocks of 8, the last one filled up with zeros.
fn rows(bytes: &[u8]) -> Vec<Half> {
    let spell = |chunk: &[u8]| {
        let mut row = [0; 8];
        row.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        row
    };
    bytes.chunks(8).map(spell).collect()
}

fn stepped(half: Half, step: u64) -> Half {
    (u64::from_be_bytes(half) ^ step).to_be_bytes()
}

fn whole(high: Half, low: Half) -> Block {
    let joined = (u128::from(u64::from_be_bytes(high)) << 64) | u128::from(u64::from_be_bytes(low));
    joined.to_be_bytes()
}

fn halves(block: &Block) -> (Half, Half) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *block;
    ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p])
}

fn quarters([a, b, c, d, e, f, g, h]: Half) -> ([u8; 4], [u8; 4]) {
    ([a, b, c, d], [e, f, g, h])
}

/// Four and four bytes, in the upper half of a block.
fn join([a, b, c, d]: [u8; 4], [e, f, g, h]: [u8; 4]) -> Block {
    whole([a, b, c, d, e, f, g, h], [0; 8])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use openssl::symm::{Cipher, Crypter, Mode};

    use super::*;

    fn block(key: &[u8], mode: Mode) -> impl Fn(&Block) -> Result<Block, Infallible> {
        let cipher = match key.len() {
            16 => Cipher::aes_128_ecb(),
            24 => Cipher::aes_192_ecb(),
            _ => Cipher::aes_256_ecb(),
        };
        move |input| {
            let mut crypter = Crypter::new(cipher, mode, key, None).unwrap();
            crypter.pad(false);
            let mut out = [0; 32];
            assert_eq!(crypter.update(input, &mut out).unwrap(), 16);
            Ok(out[..16].try_into().unwrap())
        }
    }

    /// RFC 3394 §4.1, §4.6; RFC 5649 §6.
    #[test]
    fn published_vectors_match() {
        let k256 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let k192 = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8";
        for (key, padded, plain, wrapped) in [
            (
                &k256[..32],
                false,
                "00112233445566778899aabbccddeeff",
                "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
            ),
            (
                k256,
                false,
                "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
                "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
            ),
            (
                k192,
                true,
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            (k192, true, "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
        ] {
            let [key, plain, wrapped] = [key, plain, wrapped].map(|text| hex::decode(text).unwrap());
            let made = wrap(block(&key, Mode::Encrypt), padded, &plain).unwrap();
            assert_eq!(made, wrapped);
            let unwrapped = |wrapped: &[u8]| unwrap(block(&key, Mode::Decrypt), padded, wrapped).unwrap();
            assert_eq!(*unwrapped(&wrapped).unwrap(), plain);
            for at in 0..wrapped.len() {
                let mut bent = wrapped.clone();
                bent[at] ^= 1;
                assert!(unwrapped(&bent).is_none());
                assert!(unwrapped(&wrapped[..at]).is_none());
            }
        }
    }

    #[test]
    fn every_length_comes_back() {
        let key = [7; 32];
        for length in 1..70 {
            let plain = vec![9; length];
            let wrapped = wrap(block(&key, Mode::Encrypt), true, &plain).unwrap();
            let unwrapped = unwrap(block(&key, Mode::Decrypt), true, &wrapped).unwrap();
            assert_eq!(*unwrapped.unwrap(), plain);
            // What was wrapped in one way does not open in the other.
            assert!(unwrap(block(&key, Mode::Decrypt), false, &wrapped).unwrap().is_none());
        }
    }
}

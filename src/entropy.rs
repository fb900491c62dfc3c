//! Randomness, by one door: serials, nonces, ids, jitter and data keys. Token keys are made in the token, never here.

use std::sync::Mutex;

use aws_lc_rs::{digest, rand};

use crate::error::{Error, Result};

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// `Internal` if the source fails; nothing may be made from a half-filled buffer.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;
}

/// `N` bytes from `entropy`.
///
/// # Errors
/// As [`Entropy::fill`].
pub fn bytes<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// A number in `0..below` (0 if `below` is 0), uniform to within 2^-32 for bounds under 2^32.
///
/// # Errors
/// As [`Entropy::fill`].
pub fn below(entropy: &dyn Entropy, below: u64) -> Result<u64> {
    let wide = u128::from(u64::from_be_bytes(bytes(entropy)?)) * u128::from(below);
    Ok(u64::try_from(wide >> 64).unwrap_or(0))
}

/// The operating system's CSPRNG.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one door to the system's CSPRNG")]
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        rand::fill(bytes).map_err(|_| Error::internal("the system's random source failed"))
    }
}

/// A repeatable stream for tests: SHA-256 of seed and counter.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: Mutex::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        for chunk in bytes.chunks_mut(32) {
            let mut counter = self
                .counter
                .lock()
                .map_err(|_| Error::internal("seeded entropy is poisoned"))?;
            *counter += 1;
            let mut input = self.seed.to_be_bytes().to_vec();
            input.extend(counter.to_be_bytes());
            let block = digest::digest(&digest::SHA256, &input);
            for (to, from) in chunk.iter_mut().zip(block.as_ref()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_differs_from_another() {
        let one: [u8; 40] = bytes(&SeededEntropy::new(1)).unwrap();
        assert_eq!(one, bytes::<40>(&SeededEntropy::new(1)).unwrap());
        assert_ne!(one, bytes::<40>(&SeededEntropy::new(2)).unwrap());
    }

    #[test]
    fn below_stays_below() {
        let entropy = SeededEntropy::new(3);
        assert!((0..1000).all(|_| below(&entropy, 7).unwrap() < 7));
        assert_eq!(below(&entropy, 0).unwrap(), 0);
    }
}

//! RSA moduli that others can factor, told without factoring them.
//!
//! Not here: keys that are known to others. Debian's of 2006 to 2008 are told by lists (`known_keys`), others are blocked
//! by their hash (`ca block-key`).

use num_bigint::BigUint;

/// No certified modulus may have a factor below this.
const SMALL_FACTORS_BELOW: u32 = 752;
/// How many differences of squares are tried; each costs little (CA/Browser Forum BR §6.1.1.3 asks for 100).
const FERMAT_ROUNDS: u32 = 100;
/// The primes by which Infineon's library shows itself (CVE-2017-15361): modulo each, its moduli are powers of 65537.
const ROCA_PRIMES: [u32; 23] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];
/// The squares modulo 64, a bit each.
const SQUARES_MODULO_64: u64 = 0x0202_0212_0203_0213;

/// Judges a modulus, big-endian.
///
/// # Errors
/// Why it is weak.
pub(super) fn modulus(modulus: &[u8]) -> Result<(), String> {
    if let Some(factor) = (2..SMALL_FACTORS_BELOW).find(|factor| remainder(modulus, *factor) == 0) {
        return Err(format!("its modulus is divisible by {factor}"));
    }
    if ROCA_PRIMES
        .iter()
        .all(|prime| is_power_of_65537(remainder(modulus, *prime), *prime))
    {
        return Err("it was made by a library whose keys can be factored (ROCA, CVE-2017-15361)".to_owned());
    }
    if has_close_factors(&BigUint::from_bytes_be(modulus)) {
        return Err("its two primes are so close that it can be factored (CVE-2022-26320)".to_owned());
    }
    Ok(())
}

fn remainder(bytes: &[u8], by: u32) -> u32 {
    bytes.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % by)
}

fn is_power_of_65537(rest: u32, prime: u32) -> bool {
    let step = 65_537 % prime;
    let mut power = 1;
    loop {
        if power == rest {
            return true;
        }
        power = power * step % prime;
        if power == 1 {
            return false;
        }
    }
}

/// Fermat: n = a² - b² with a just above the root of n, if the primes are close.
fn has_close_factors(n: &BigUint) -> bool {
    let first = n.sqrt() + 1_u8;
    (0..FERMAT_ROUNDS).any(|step| {
        let a = &first + step;
        is_square(&(&a * &a - n))
    })
}

fn is_square(n: &BigUint) -> bool {
    let low = n.iter_u64_digits().next().unwrap_or(0) % 64;
    if SQUARES_MODULO_64 >> low & 1 == 0 {
        return false;
    }
    let root = n.sqrt();
    &root * &root == *n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first number from there on, in steps, that no small factor divides.
    fn without_small_factors(from: impl Fn(u32) -> BigUint) -> Vec<u8> {
        (0..)
            .map(|step| from(step).to_bytes_be())
            .find(|bytes| (2..SMALL_FACTORS_BELOW).all(|factor| remainder(bytes, factor) != 0))
            .unwrap()
    }

    #[test]
    fn the_mask_holds_the_squares() {
        for low in 0..64_u64 {
            let square = (0..64_u64).any(|root| root * root % 64 == low);
            assert_eq!(SQUARES_MODULO_64 >> low & 1 == 1, square, "{low}");
        }
        assert!(is_square(&BigUint::from(49_u8)) && !is_square(&BigUint::from(50_u8)));
    }

    #[test]
    fn close_primes_are_found() {
        let root = BigUint::from(1_u8) << 1023_u32;
        let close = without_small_factors(|step| {
            let a = &root * 3_u8 / 2_u8 + step;
            &a * &a - BigUint::from(36_u8)
        });
        assert!(modulus(&close).unwrap_err().contains("so close"));
    }

    #[test]
    fn the_fingerprint_of_infineons_library_is_found() {
        let all: BigUint = ROCA_PRIMES.iter().map(|prime| BigUint::from(*prime)).product();
        let power = BigUint::from(65_537_u32).modpow(&BigUint::from(77_u8), &all);
        let large = BigUint::from(3_u8) << 1900_u32;
        let marked = without_small_factors(|step| (&large + step) * &all + &power);
        assert!(modulus(&marked).unwrap_err().contains("ROCA"));
    }
}

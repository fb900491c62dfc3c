//! Values that are made here: nobody has to have seen them before they are read.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::entropy::{self, Entropy};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::vault::names::names;

/// The longest password in characters, and the longest token in bytes.
const LENGTH_MAX: usize = 4096;
/// How long a password (in characters) or a token (in bytes) is if nothing is said.
const LENGTH: usize = 32;

names! {
    /// A class of characters of passwords, all of ASCII.
    CharacterClass, "a class of characters", {
        /// `0` to `9`.
        Digits = "digits",
        /// `a` to `z`.
        Lowercase = "lowercase",
        /// What is printed and is none of the others, but no blank.
        Punctuation = "punctuation",
        /// `A` to `Z`.
        Uppercase = "uppercase",
    }
}

impl CharacterClass {
    fn holds(self, byte: u8) -> bool {
        match self {
            Self::Digits => byte.is_ascii_digit(),
            Self::Lowercase => byte.is_ascii_lowercase(),
            Self::Punctuation => byte.is_ascii_punctuation(),
            Self::Uppercase => byte.is_ascii_uppercase(),
        }
    }
}

impl Serialize for CharacterClass {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CharacterClass {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// How a value is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generate {
    /// Characters, each with the same chance.
    Password(PasswordRules),
    /// So many random bytes, as text (RFC 4648 §5 without padding).
    Token {
        /// 1 to 4096; 32 if nothing is said.
        bytes: Option<usize>,
    },
    /// A random UUID (RFC 9562 §5.4).
    Uuid,
}

/// Which passwords are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordRules {
    /// How many characters, 1 to 4096; 32 if nothing is said.
    pub length: Option<usize>,
    /// Characters that do not stand in it.
    pub exclude_characters: String,
    /// Classes that do not stand in it.
    pub exclude: BTreeSet<CharacterClass>,
    /// Whether one of each class that is left must stand in it.
    pub require_each: bool,
}

impl Generate {
    /// A new value.
    ///
    /// # Errors
    /// `Invalid` if there is none by these rules; `Internal` if the random source fails.
    pub(super) fn value(&self, entropy: &dyn Entropy) -> Result<Secret> {
        match self {
            Self::Password(rules) => rules.password(entropy),
            Self::Token { bytes } => {
                let mut random = Zeroizing::new(vec![0; bounded(bytes.unwrap_or(LENGTH), "bytes")?]);
                entropy.fill(&mut random)?;
                Ok(Secret::new(URL_SAFE_NO_PAD.encode(&*random).into_bytes()))
            }
            Self::Uuid => {
                let random = u128::from_be_bytes(entropy::bytes(entropy)?);
                // Version 4 and the variant of RFC 9562.
                let uuid = random & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62);
                let digits = Zeroizing::new(format!("{uuid:032x}"));
                let text: String = digits
                    .char_indices()
                    .flat_map(|(at, digit)| matches!(at, 8 | 12 | 16 | 20).then_some('-').into_iter().chain([digit]))
                    .collect();
                Ok(Secret::new(text.into_bytes()))
            }
        }
    }
}

impl PasswordRules {
    fn password(&self, entropy: &dyn Entropy) -> Result<Secret> {
        let length = bounded(self.length.unwrap_or(LENGTH), "characters")?;
        let left = |byte: &u8| !self.exclude_characters.as_bytes().contains(byte);
        let of = |class: CharacterClass| (0..=127).filter(move |byte| class.holds(*byte)).filter(left);
        let classes = CharacterClass::ALL.iter().copied();
        let classes: Vec<Vec<u8>> = classes
            .filter(|class| !self.exclude.contains(class))
            .map(|class| of(class).collect())
            .filter(|class: &Vec<u8>| !class.is_empty())
            .collect();
        let alphabet = classes.concat();
        if alphabet.is_empty() {
            return Err(Error::invalid("no characters are left for a password: exclude less"));
        }
        if self.require_each && length < classes.len() {
            return Err(Error::invalid(format!(
                "a password of {length} characters has no room for one of each of {} classes: make it longer, or do \
                 not require each",
                classes.len()
            )));
        }
        // Drawn whole until it has one of each: so every password that the rules allow has the same chance.
        let draw = || -> Result<Zeroizing<Vec<u8>>> {
            let mut password = Zeroizing::new(Vec::with_capacity(length));
            for _ in 0..length {
                let bound = u64::try_from(alphabet.len()).unwrap_or(u64::MAX);
                let at = usize::try_from(entropy::below(entropy, bound)?).unwrap_or(0);
                password.extend(alphabet.get(at));
            }
            Ok(password)
        };
        for _ in 0..100_000 {
            let mut password = draw()?;
            let has_each = classes
                .iter()
                .all(|class| password.iter().any(|byte| class.contains(byte)));
            if has_each || !self.require_each {
                return Ok(Secret::new(std::mem::take(&mut *password)));
            }
        }
        Err(Error::invalid(
            "a password by these rules is too rare to be found: make it longer, or exclude less",
        ))
    }
}

fn bounded(length: usize, of: &str) -> Result<usize> {
    match length {
        1..=LENGTH_MAX => Ok(length),
        _ => Err(Error::invalid(format!(
            "a value of {length} {of} is not made: ask for 1 to {LENGTH_MAX}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    fn text(rules: &Generate) -> String {
        String::from_utf8(rules.value(&OsEntropy).unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn a_password_has_what_it_must_and_nothing_else() {
        let strict = Generate::Password(PasswordRules {
            length: Some(4),
            exclude_characters: "abcdefghijklmnopqrstuvwxy0123456789".to_owned(),
            exclude: [CharacterClass::Punctuation].into(),
            require_each: true,
        });
        for _ in 0..200 {
            let password = text(&strict);
            // The digits are all excluded, so that there is no such class.
            assert_eq!(password.len(), 4);
            assert!(password.contains('z'), "{password}");
            assert!(password.contains(|c: char| c.is_ascii_uppercase()), "{password}");
            assert!(
                password.chars().all(|c| c == 'z' || c.is_ascii_uppercase()),
                "{password}"
            );
        }
        let plain = Generate::Password(PasswordRules::default());
        let (one, two) = (text(&plain), text(&plain));
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
        assert!(one.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    /// Each of 94 characters about as often as another: chi-squared with 93 degrees of freedom is above 160 in less than
    /// one of 40,000 runs.
    #[test]
    fn every_character_has_the_same_chance() {
        let rules = Generate::Password(PasswordRules {
            length: Some(4096),
            ..PasswordRules::default()
        });
        let mut counts = [0_u32; 128];
        for _ in 0..20 {
            for byte in text(&rules).bytes() {
                counts[usize::from(byte)] += 1;
            }
        }
        let expected = f64::from(4096 * 20) / 94.0;
        let squares: f64 = counts[33..127]
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        assert!(squares < 160.0, "{squares}");
        assert_eq!(counts[32] + counts[127], 0);
    }

    #[test]
    fn tokens_and_uuids_have_their_form() {
        let token = text(&Generate::Token { bytes: Some(20) });
        assert_eq!(URL_SAFE_NO_PAD.decode(&token).unwrap().len(), 20);
        for _ in 0..50 {
            let uuid = text(&Generate::Uuid);
            let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
            assert_eq!(uuid.as_bytes()[14], b'4', "{uuid}");
            assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        }
    }

    #[test]
    fn rules_that_leave_nothing_are_refused() {
        let refused = |rules: PasswordRules, says: &str| {
            let error = Generate::Password(rules).value(&OsEntropy).err().unwrap();
            assert!(error.public().contains(says), "{error}");
        };
        let all = CharacterClass::ALL.iter().copied().collect();
        refused(
            PasswordRules {
                exclude: all,
                ..PasswordRules::default()
            },
            "exclude less",
        );
        refused(
            PasswordRules {
                length: Some(3),
                require_each: true,
                ..PasswordRules::default()
            },
            "make it longer",
        );
        for length in [0, 4097] {
            refused(
                PasswordRules {
                    length: Some(length),
                    ..PasswordRules::default()
                },
                "1 to 4096",
            );
            assert!(Generate::Token { bytes: Some(length) }.value(&OsEntropy).is_err());
        }
    }
}

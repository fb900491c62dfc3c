//! What a profile fixes in the subject of its certificates.

use serde::Deserialize;

/// What stands in every subject, before the common name: the profile's choice, never the request's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    /// Two letters (RFC 5280 appendix A.1).
    pub(super) country: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) organizational_unit: Option<String>,
}

impl Subject {
    /// Whether the values can stand in a certificate.
    ///
    /// # Errors
    /// Which cannot, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        let parts = [
            ("organization", &self.organization),
            ("organizational_unit", &self.organizational_unit),
        ];
        for (field, value) in parts {
            let fits = |text: &String| (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control);
            if !value.as_ref().is_none_or(fits) {
                return Err(format!("`subject.{field}` must have 1 to 64 characters"));
            }
        }
        let is_code = |text: &String| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        if !self.country.as_ref().is_none_or(is_code) {
            return Err("`subject.country` must be two capital letters".to_owned());
        }
        Ok(())
    }
}

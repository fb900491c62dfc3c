//! The issue-value of RFC 8659 §4.2, in which CAA and dns-persist-01 records speak: an issuer's domain name and
//! parameters.

/// A parsed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueValue {
    /// Lower case; empty if the value names no issuer, which allows none.
    pub issuer: String,
    /// Tags in lower case, values as they stand.
    parameters: Vec<(String, String)>,
}

impl IssueValue {
    /// Parses by the grammar, to the letter: what is not in it allows nothing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (issuer, rest) = match text.split_once(';') {
            Some((issuer, rest)) => (trim(issuer), trim(rest)),
            None => (trim(text), ""),
        };
        if !issuer.is_empty() && !issuer.split('.').all(is_label) {
            return None;
        }
        let mut parameters = Vec::new();
        if !rest.is_empty() {
            for parameter in rest.split(';') {
                let (tag, value) = parameter.split_once('=')?;
                let (tag, value) = (trim(tag), trim(value));
                if !is_label(tag) || !value.bytes().all(|b| b.is_ascii_graphic()) {
                    return None;
                }
                parameters.push((tag.to_ascii_lowercase(), value.to_owned()));
            }
        }
        Some(Self {
            issuer: issuer.to_ascii_lowercase(),
            parameters,
        })
    }

    /// What stands for the issuer in a value that perhaps does not parse.
    pub fn claimed_issuer(value: &[u8]) -> String {
        let text = String::from_utf8_lossy(value);
        trim(text.split(';').next().unwrap_or_default()).to_ascii_lowercase()
    }

    /// The value of the parameter `tag` (in lower case).
    ///
    /// # Errors
    /// If it is given more than once.
    pub fn parameter(&self, tag: &str) -> Result<Option<&str>, String> {
        let mut values = self.parameters.iter().filter(|(other, _)| other == tag);
        match (values.next(), values.next()) {
            (first, None) => Ok(first.map(|(_, value)| value.as_str())),
            _ => Err(format!("it gives `{tag}` more than once")),
        }
    }
}

/// WSP of RFC 5234.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Letters and digits, with hyphens between them.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_is_taken_to_the_letter() {
        let parsed =
            IssueValue::parse(b" \tCA1.Example.net ; AccountURI = https://a/b?c=d;validationmethods=dns-01 ").unwrap();
        assert_eq!(parsed.issuer, "ca1.example.net");
        assert_eq!(parsed.parameter("accounturi"), Ok(Some("https://a/b?c=d")));
        assert_eq!(parsed.parameter("validationmethods"), Ok(Some("dns-01")));
        assert_eq!(parsed.parameter("policy"), Ok(None));
        for nobody in ["", " ", ";", " ; ", "; policy=ev"] {
            assert_eq!(IssueValue::parse(nobody.as_bytes()).unwrap().issuer, "", "{nobody}");
        }
        for bad in [
            "%%%%%",
            "ca_1.example",
            "-ca.example",
            "ca-.example",
            "ca..example",
            "ca.example.",
            "a b",
            "ca.example; account",
            "ca.example; =x",
            "ca.example; a_b=c",
            "ca.example; a=b c",
            "ca.example; a=b;",
            "ca.example;;a=b",
            "ca.example; a=\u{e4}",
            "ca.example a=b",
            "ca.example\n",
        ] {
            assert_eq!(IssueValue::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(IssueValue::parse(b"ca.example\xff"), None);
    }

    #[test]
    fn a_parameter_is_given_once() {
        let parsed = IssueValue::parse(b"ca.example; a=1; A=2").unwrap();
        assert!(parsed.parameter("a").is_err());
    }

    proptest! {
        #[test]
        fn what_parses_names_an_issuer_or_nobody(value in "[ a-z0-9.;=-]{0,40}") {
            if let Some(parsed) = IssueValue::parse(value.as_bytes()) {
                prop_assert_eq!(&parsed.issuer, &IssueValue::claimed_issuer(value.as_bytes()));
                prop_assert!(parsed.issuer.is_empty() || parsed.issuer.split('.').all(is_label));
            }
        }
    }
}

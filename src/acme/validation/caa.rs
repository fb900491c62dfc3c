//! CAA (RFC 8659, RFC 8657): whom the holder of a name lets issue for it.

use tokio::time::Instant;

use super::dns::{CaaRecord, Found};
use super::issue_value::IssueValue;
use super::{Failure, FailureKind, Method, Validator, excerpt};
use crate::acme::identifier::HostName;

/// Most records whose refusal a message explains.
const EXPLAINED: usize = 3;

/// What is to be issued, as far as it matters to CAA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent<'a> {
    pub(super) wildcard: bool,
    /// How control was proven; nothing if the account needs no proof.
    pub(super) method: Option<Method>,
    pub(super) account_url: &'a str,
}

/// Climbs from the name; the first set that is not empty decides (RFC 8659 §3).
pub(super) async fn check(
    validator: &Validator,
    name: &HostName,
    intent: Intent<'_>,
    deadline: Instant,
) -> Result<(), Failure> {
    for domain in name.climb() {
        if let Found::Records(records, _) = validator.dns.caa(domain, deadline).await? {
            return decide(&records, intent, &validator.settings.issuer_domains).map_err(|why| {
                Failure::new(
                    FailureKind::Caa,
                    format!("the CAA records of `{domain}` do not let this server issue for `{name}`: {why}"),
                )
            });
        }
    }
    Ok(())
}

/// Whether a set lets us, who are known as `ours`; if not, why.
fn decide(records: &[CaaRecord], intent: Intent<'_>, ours: &[String]) -> Result<(), String> {
    if let Some(unknown) = records
        .iter()
        .find(|record| record.critical && !matches!(record.tag.as_str(), "issue" | "issuewild" | "iodef"))
    {
        return Err(format!(
            "`{}` is critical, and not known to it",
            excerpt(unknown.tag.as_bytes())
        ));
    }
    let of = |tag: &str| -> Vec<&CaaRecord> { records.iter().filter(|record| record.tag == tag).collect() };
    let wild = of("issuewild");
    let relevant = if intent.wildcard && !wild.is_empty() {
        wild
    } else {
        of("issue")
    };
    let mut reasons = Vec::new();
    for record in &relevant {
        match allows(&record.value, intent, ours) {
            Ok(()) => return Ok(()),
            Err(why) => reasons.push(format!("`{} {}`: {why}", record.tag, excerpt(&record.value))),
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    reasons.truncate(EXPLAINED);
    Err(reasons.join("; "))
}

fn allows(value: &[u8], intent: Intent<'_>, ours: &[String]) -> Result<(), String> {
    let Some(value) = IssueValue::parse(value) else {
        return Err("it does not parse, and so allows nobody".to_owned());
    };
    if !ours.contains(&value.issuer) {
        return Err(match ours {
            [] => "this server has no name by which records could allow it".to_owned(),
            ours => format!("this server is `{}`", ours.join("` or `")),
        });
    }
    if let Some(account) = value.parameter("accounturi")?
        && account != intent.account_url
    {
        return Err(format!("this account is `{}`", intent.account_url));
    }
    if let Some(methods) = value.parameter("validationmethods")? {
        let method = intent.method.map(Method::as_str);
        if !methods.split(',').any(|listed| Some(listed) == method) {
            return Err(match method {
                Some(method) => format!("control was proven by {method}"),
                None => "control was proven by no method".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.test/acme/acct/1";

    fn decided(records: &[(bool, &str, &str)], wildcard: bool) -> Result<(), String> {
        let records: Vec<CaaRecord> = records
            .iter()
            .map(|(critical, tag, value)| CaaRecord {
                critical: *critical,
                tag: (*tag).to_owned(),
                value: value.as_bytes().to_vec(),
            })
            .collect();
        let intent = Intent {
            wildcard,
            method: Some(Method::Dns01),
            account_url: ACCOUNT,
        };
        decide(&records, intent, &["ca.test".to_owned(), "other.test".to_owned()])
    }

    #[test]
    fn c1_one_of_the_records_must_name_us() {
        assert!(decided(&[(false, "issue", "ca.test")], false).is_ok());
        assert!(decided(&[(false, "issue", "CA.Test")], false).is_ok());
        assert!(decided(&[(false, "issue", "else.test"), (false, "issue", "other.test")], false).is_ok());
        let why = decided(&[(false, "issue", "else.test")], false).unwrap_err();
        assert_eq!(why, "`issue else.test`: this server is `ca.test` or `other.test`");
        assert!(
            decided(&[(false, "issue", "sub.ca.test")], false).is_err(),
            "whole names are compared"
        );
        assert!(decided(&[(false, "issue", ";")], false).is_err());
    }

    #[test]
    fn c2_tags_that_do_not_restrict_and_critical_ones_that_are_not_known() {
        assert!(decided(&[(false, "iodef", "mailto:a@b.test"), (false, "later", "x")], false).is_ok());
        assert!(decided(&[(true, "iodef", "mailto:a@b.test")], false).is_ok());
        assert!(decided(&[(true, "issue", "ca.test")], false).is_ok());
        let why = decided(&[(false, "issue", "ca.test"), (true, "later", "x")], false).unwrap_err();
        assert!(why.contains("`later` is critical"), "{why}");
    }

    #[test]
    fn c3_issuewild_decides_for_wildcards_alone() {
        let both = [(false, "issue", "ca.test"), (false, "issuewild", "else.test")];
        assert!(decided(&both, false).is_ok());
        assert!(decided(&both, true).is_err());
        let swapped = [(false, "issue", "else.test"), (false, "issuewild", "ca.test")];
        assert!(decided(&swapped, false).is_err());
        assert!(decided(&swapped, true).is_ok());
        assert!(
            decided(&[(false, "issue", "ca.test")], true).is_ok(),
            "issue stands in where no issuewild is"
        );
        assert!(
            decided(&[(false, "issuewild", "else.test")], false).is_ok(),
            "nothing restricts other names"
        );
    }

    #[test]
    fn c4_what_does_not_parse_allows_nobody() {
        for bad in ["ca.test; a", "ca.test; accounturi", "%%%", "ca.test;;", "ca.test a=b"] {
            assert!(
                decided(&[(false, "issue", bad)], false)
                    .unwrap_err()
                    .contains("does not parse"),
                "{bad}"
            );
        }
    }

    #[test]
    fn c5_account_and_method_are_bound() {
        let one = |parameters: &str| decided(&[(false, "issue", &format!("ca.test; {parameters}"))], false);
        assert!(one(&format!("accounturi={ACCOUNT}")).is_ok());
        assert!(one(&format!("accounturi={ACCOUNT}; validationmethods=http-01,dns-01")).is_ok());
        assert!(one("unknown=x").is_ok());
        for (bad, why) in [
            ("accounturi=https://ca.test/acme/acct/2", "this account is"),
            ("accounturi=", "this account is"),
            (&format!("accounturi={ACCOUNT}/"), "this account is"),
            (&format!("accounturi={ACCOUNT}; accounturi={ACCOUNT}"), "more than once"),
            ("validationmethods=http-01", "proven by dns-01"),
            ("validationmethods=", "proven by dns-01"),
            ("validationmethods=dns-01x", "proven by dns-01"),
            ("validationmethods=dns-01; validationmethods=dns-01", "more than once"),
        ] {
            assert!(one(bad).unwrap_err().contains(why), "{bad}");
        }
        let no_proof = Intent {
            wildcard: false,
            method: None,
            account_url: ACCOUNT,
        };
        let listed = [CaaRecord {
            critical: false,
            tag: "issue".to_owned(),
            value: b"ca.test; validationmethods=dns-01".to_vec(),
        }];
        assert!(decide(&listed, no_proof, &["ca.test".to_owned()]).is_err());
    }
}

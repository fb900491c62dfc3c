//! dns-persist-01 (draft-ietf-acme-dns-persist): a TXT record that stays, and names issuer and account.

use std::time::Duration;

use tokio::time::Instant;

use super::dns::Found;
use super::issue_value::IssueValue;
use super::{Failure, FailureKind, Proof, Question, Validator, excerpt};
use crate::clock::Timestamp;

pub(super) async fn validate(
    validator: &Validator,
    question: &Question<'_>,
    deadline: Instant,
) -> Result<Proof, Failure> {
    let name = format!("_validation-persist.{}", question.identifier);
    let ours = &validator.settings.issuer_domains;
    let wanted = format!(
        "its TXT record should hold `{}; accounturi={}{}`",
        ours.first().map_or("", String::as_str),
        question.account_url,
        if question.wildcard { "; policy=wildcard" } else { "" }
    );
    let (records, ttl_s) = match validator.dns.txt(&name, deadline).await? {
        Found::Records(records, ttl_s) => (records, ttl_s),
        Found::NoRecords => return Err(validator.dns.nothing(&name, &format!("has no TXT record; {wanted}"))),
        Found::NoName => return Err(validator.dns.nothing(&name, &format!("does not exist; {wanted}"))),
    };
    let now = validator.clock.now();
    let mut failure = None;
    // Records for other issuers are none of our business.
    for record in records
        .iter()
        .filter(|record| ours.contains(&IssueValue::claimed_issuer(record)))
    {
        match judge(record, question, now) {
            Ok(()) => {
                return Ok(Proof {
                    reusable_for: Some(Duration::from_secs(ttl_s.into())),
                });
            }
            Err((kind, why)) => {
                failure = Some(Failure::new(
                    kind,
                    format!("the TXT record `{}` of `{name}` {why}", excerpt(record)),
                ));
            }
        }
    }
    Err(failure.unwrap_or_else(|| {
        Failure::new(
            FailureKind::Unauthorized,
            format!(
                "none of the {} TXT record(s) of `{name}` names this server; {wanted}",
                records.len()
            ),
        )
    }))
}

/// Whether a record that names us proves control; if not, why, fit to follow "the record".
fn judge(record: &[u8], question: &Question<'_>, now: Timestamp) -> Result<(), (FailureKind, String)> {
    let malformed = |why: String| (FailureKind::Malformed, format!("is malformed: {why}"));
    let unauthorized = |why: String| (FailureKind::Unauthorized, why);
    let value = IssueValue::parse(record)
        .ok_or_else(|| malformed("write it as `issuer; accounturi=…; tag=value`".to_owned()))?;
    let account = value
        .parameter("accounturi")
        .map_err(malformed)?
        .ok_or_else(|| malformed("it lacks `accounturi`".to_owned()))?;
    if account != question.account_url {
        return Err(unauthorized(format!(
            "speaks of another account; this one is `{}`",
            question.account_url
        )));
    }
    if let Some(until) = value.parameter("persistuntil").map_err(malformed)? {
        let until = Some(until)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Timestamp::from_unix)
            .ok_or_else(|| malformed("`persistUntil` is no number of seconds since 1970".to_owned()))?;
        if now > until {
            return Err(unauthorized(format!("ended to be valid at {until}")));
        }
    }
    let policy = value.parameter("policy").map_err(malformed)?;
    if question.wildcard && !policy.is_some_and(|policy| policy.eq_ignore_ascii_case("wildcard")) {
        return Err(unauthorized(format!(
            "does not cover `*.{}`; add `policy=wildcard`",
            question.identifier
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::identifier::Identifier;
    use crate::acme::validation::Method;

    const ACCOUNT: &str = "https://ca.test/acct/1";

    fn judged(parameters: &str, wildcard: bool) -> Result<(), FailureKind> {
        let identifier = Identifier::parse("dns", "example.test").unwrap();
        let question = Question {
            method: Method::DnsPersist01,
            identifier: &identifier,
            wildcard,
            token: "",
            thumbprint: "",
            account_url: ACCOUNT,
        };
        let record = format!("ca.test{parameters}");
        judge(record.as_bytes(), &question, Timestamp::from_unix(1_000)).map_err(|(kind, _)| kind)
    }

    #[test]
    fn dns_persist_01_binds_account_scope_and_time() {
        let ok = format!("; accounturi={ACCOUNT}");
        assert_eq!(judged(&ok, false), Ok(()));
        assert_eq!(
            judged(&format!("{ok}; later=x; policy=other"), false),
            Ok(()),
            "unknown things are ignored"
        );
        assert_eq!(judged(&format!("{ok}; POLICY=WildCard"), true), Ok(()));
        assert_eq!(judged(&format!("{ok}; policy=wildcard"), false), Ok(()));
        assert_eq!(judged(&format!("{ok}; persistUntil=1000"), false), Ok(()));

        use FailureKind::{Malformed, Unauthorized};
        assert_eq!(judged(&ok, true), Err(Unauthorized));
        assert_eq!(judged(&format!("{ok}; policy=other"), true), Err(Unauthorized));
        assert_eq!(judged(&format!("{ok}; persistUntil=999"), false), Err(Unauthorized));
        assert_eq!(judged(&format!("{ok}0"), false), Err(Unauthorized));
        assert_eq!(judged("; accounturi=https://CA.test/acct/1", false), Err(Unauthorized));
        assert_eq!(judged("", false), Err(Malformed));
        assert_eq!(judged("; accounturi", false), Err(Malformed));
        assert_eq!(judged(&format!("{ok}; accounturi={ACCOUNT}"), false), Err(Malformed));
        for odd in ["", "-1", "+1000", "1e9", "99999999999999999999", "soon"] {
            assert_eq!(
                judged(&format!("{ok}; persistUntil={odd}"), false),
                Err(Malformed),
                "{odd}"
            );
        }
    }
}

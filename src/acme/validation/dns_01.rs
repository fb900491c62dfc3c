//! dns-01 (RFC 8555 §8.4) and dns-account-01 (draft-ietf-acme-dns-account-label): a digest in a TXT record, of which
//! there may be several. An alias at the name is followed by ordinary resolution.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use tokio::time::Instant;

use super::dns::Found;
use super::{Failure, FailureKind, Method, Question, Validator, excerpt};

/// Most records that a message shows.
const SHOWN: usize = 3;

pub(super) async fn validate(validator: &Validator, question: &Question<'_>, deadline: Instant) -> Result<(), Failure> {
    let name = record_name(question);
    let wanted = URL_SAFE_NO_PAD.encode(digest(&SHA256, question.key_authorization().as_bytes()));
    // The name depends on the account's URL, and a client may have another idea of it.
    let account = match question.method {
        Method::DnsAccount01 => format!(" for the account `{}`", question.account_url),
        _ => String::new(),
    };
    let dns = &validator.dns;
    match dns.txt(&name, deadline).await? {
        Found::Records(records, _) if records.iter().any(|record| record.as_slice() == wanted.as_bytes()) => Ok(()),
        Found::Records(records, _) => {
            let shown: Vec<String> = records
                .iter()
                .take(SHOWN)
                .map(|record| format!("`{}`", excerpt(record)))
                .collect();
            Err(Failure::new(
                FailureKind::IncorrectResponse,
                format!(
                    "the {} TXT record(s) of `{name}`{account} do not hold `{wanted}`, but {}",
                    records.len(),
                    shown.join(", ")
                ),
            ))
        }
        Found::NoRecords => Err(dns.nothing(&name, &format!("has no TXT record{account}; it should hold `{wanted}`"))),
        Found::NoName => Err(dns.nothing(
            &name,
            &format!("does not exist{account}; its TXT record should hold `{wanted}`"),
        )),
    }
}

/// `_acme-challenge.<domain>`, for dns-account-01 with the account's label before it.
fn record_name(question: &Question<'_>) -> String {
    match question.method {
        Method::DnsAccount01 => format!(
            "{}._acme-challenge.{}",
            account_label(question.account_url),
            question.identifier
        ),
        _ => format!("_acme-challenge.{}", question.identifier),
    }
}

/// The first ten octets of the account URL's digest, in base32, behind `_`.
fn account_label(account_url: &str) -> String {
    let hash = digest(&SHA256, account_url.as_bytes());
    let head = hash.as_ref().get(..10).unwrap_or_default();
    format!("_{}", BASE32_NOPAD.encode(head).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_account_01_label_is_as_in_the_draft() {
        assert_eq!(
            account_label("https://example.com/acme/acct/ExampleAccount"),
            "_ujmmovf2vn55tgye"
        );
    }
}

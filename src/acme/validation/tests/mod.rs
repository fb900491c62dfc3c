//! Validation against real servers on loopback: a DNS server, and HTTP and TLS servers, hostile ones among them. The
//! tests are named by their rows in the matrix of requirements.

mod caa;
mod dns;
mod http;
mod http_hostile;
mod name_server;
mod tls;
mod web;

use std::sync::Arc;

use self::name_server::NameServer;
use super::{Failure, FailureKind, Method, Proof, Question, Settings, Validator};
use crate::acme::identifier::Identifier;
use crate::clock::{ManualClock, Timestamp};

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
const THUMBPRINT: &str = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";
const ACCOUNT: &str = "https://ca.test/acme/acct/1";
const NOW: i64 = 1_790_000_000;

fn key_authorization() -> String {
    format!("{TOKEN}.{THUMBPRINT}")
}

/// Settings that let loopback be looked at, with `more` behind them.
fn settings(names: &NameServer, more: &str) -> Settings {
    let loopback = "allow_networks = ['127.0.0.1/32', '::1/128']";
    toml::from_str(&format!("resolvers = ['{}']\n{loopback}\n{more}", names.address)).unwrap()
}

fn validator(settings: &Settings) -> Validator {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix(NOW)));
    Validator::new(settings, Vec::new(), clock).unwrap()
}

/// Asks for control over `identifier`; `*.` before it is understood.
async fn ask(validator: &Validator, method: Method, identifier: &str) -> Result<Proof, Failure> {
    let (wildcard, base) = match identifier.strip_prefix("*.") {
        Some(base) => (true, base),
        None => (false, identifier),
    };
    let kind = if base.parse::<std::net::IpAddr>().is_ok() {
        "ip"
    } else {
        "dns"
    };
    let question = Question {
        method,
        identifier: &Identifier::parse(kind, base).unwrap(),
        wildcard,
        token: TOKEN,
        thumbprint: THUMBPRINT,
        account_url: ACCOUNT,
    };
    validator.validate(&question).await
}

/// The failure must be of this kind, and say all of this.
#[track_caller]
fn assert_failure(result: Result<impl std::fmt::Debug, Failure>, kind: FailureKind, said: &[&str]) {
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, kind, "{failure}");
    for part in said {
        assert!(failure.detail.contains(part), "`{part}` is not in: {failure}");
    }
    assert!(failure.detail.len() < 1_000, "{failure}");
    assert!(failure.detail.chars().all(|c| !c.is_control()), "{failure}");
}

#[tokio::test]
async fn i2_and_row_51_methods_that_cannot_prove_are_refused_without_a_look() {
    let names = NameServer::with(Vec::new()).await;
    let validator = validator(&settings(&names, "issuer_domains = ['ca.test']"));
    for (method, identifier) in [
        (Method::Dns01, "10.0.0.1"),
        (Method::DnsAccount01, "10.0.0.1"),
        (Method::DnsPersist01, "2001:db8::1"),
        (Method::Http01, "*.x.test"),
        (Method::TlsAlpn01, "*.x.test"),
    ] {
        assert_failure(
            ask(&validator, method, identifier).await,
            FailureKind::RejectedIdentifier,
            &[method.as_str()],
        );
    }
    assert_eq!(names.asked(), []);
    let offered = |kind, value, wildcard| -> Vec<&str> {
        let identifier = Identifier::parse(kind, value).unwrap();
        validator.methods(&identifier, wildcard).map(Method::as_str).collect()
    };
    assert_eq!(offered("ip", "10.0.0.1", false), ["http-01", "tls-alpn-01"]);
    assert_eq!(
        offered("dns", "x.test", true),
        ["dns-01", "dns-account-01", "dns-persist-01"]
    );
    assert_eq!(offered("dns", "x.test", false).len(), 5);
}

#[tokio::test]
async fn dns_persist_01_is_offered_only_by_a_server_that_records_can_name() {
    let names = NameServer::with(Vec::new()).await;
    let nameless = validator(&settings(&names, ""));
    let identifier = Identifier::parse("dns", "x.test").unwrap();
    assert!(
        nameless
            .methods(&identifier, false)
            .all(|method| method != Method::DnsPersist01)
    );
}

#[test]
fn methods_have_their_names_of_the_wire() {
    for method in Method::ALL {
        assert_eq!(method.as_str().parse::<Method>().unwrap(), method);
    }
    assert!("http-02".parse::<Method>().unwrap_err().public().contains("`http-02`"));
}

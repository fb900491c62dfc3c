//! CAA by real look-ups: which set decides, and what a failing look-up means. What a set says is tried beside its code.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use super::name_server::{NameServer, Reply, address, alias, caa, look_up};
use super::*;

const OURS: &str = "issuer_domains = ['ca.test']";

async fn check(names: &NameServer, more: &str, asked: &str) -> Result<(), Failure> {
    let (wildcard, base) = match asked.strip_prefix("*.") {
        Some(base) => (true, base),
        None => (false, asked),
    };
    let identifier = Identifier::parse("dns", base).unwrap();
    validator(&settings(names, more))
        .check_caa(&identifier, wildcard, Some(Method::Dns01), ACCOUNT)
        .await
}

#[tokio::test]
async fn c1_the_first_set_on_the_way_up_decides() {
    let names = NameServer::with(vec![
        caa("closed.test", "issue", "else.test"),
        caa("open.closed.test", "issue", "ca.test"),
        address("a.b.open.closed.test", "10.0.0.1"),
        caa("test", "issue", "ca.test"),
    ])
    .await;
    assert!(check(&names, OURS, "a.b.open.closed.test").await.is_ok());
    let way: Vec<String> = names.asked().into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(way, ["a.b.open.closed.test", "b.open.closed.test", "open.closed.test"]);
    assert_failure(
        check(&names, OURS, "www.closed.test").await,
        FailureKind::Caa,
        &[
            "CAA records of `closed.test`",
            "for `www.closed.test`",
            "`issue else.test`",
            "`ca.test`",
        ],
    );
    assert!(
        check(&names, OURS, "www.elsewhere.test").await.is_ok(),
        "the top-level domain's set"
    );
    assert!(names.asked().iter().all(|(_, kind, _)| *kind == RecordType::CAA));
}

#[tokio::test]
async fn c1_no_set_restricts_nobody() {
    let names = NameServer::with(vec![address("x.test", "10.0.0.1")]).await;
    assert!(check(&names, OURS, "www.x.test").await.is_ok());
    assert!(check(&names, "", "www.x.test").await.is_ok());
}

#[tokio::test]
async fn c1_aliases_are_chased_before_the_parent_is_asked() {
    let names = NameServer::with(vec![
        alias("www.x.test", "host.cdn.test"),
        caa("host.cdn.test", "issue", "else.test"),
        caa("x.test", "issue", "ca.test"),
        alias("far.x.test", "bare.cdn.test"),
        address("bare.cdn.test", "10.0.0.1"),
        caa("cdn.test", "issue", "else.test"),
    ])
    .await;
    assert_failure(
        check(&names, OURS, "www.x.test").await,
        FailureKind::Caa,
        &["`issue else.test`"],
    );
    assert!(
        check(&names, OURS, "far.x.test").await.is_ok(),
        "an alias's parent is not climbed to"
    );
}

#[tokio::test]
async fn c1_a_failed_look_up_is_no_permission() {
    let names = NameServer::start(|name, kind, _| match name {
        "x.test" => Reply::Code(ResponseCode::ServFail),
        _ => look_up(&[caa("test", "issue", "ca.test")], name, kind),
    })
    .await;
    assert_failure(
        check(&names, OURS, "www.x.test").await,
        FailureKind::Dns,
        &["looking up CAA of `x.test`"],
    );
    let silent = NameServer::start(|_, _, _| Reply::Silence).await;
    assert_failure(
        check(&silent, &format!("{OURS}\ntimeout_s = 1"), "x.test").await,
        FailureKind::Dns,
        &["no answer in time"],
    );
}

#[tokio::test]
async fn c3_and_c5_wildcards_and_accounts_are_told_apart() {
    let names = NameServer::with(vec![
        caa(
            "x.test",
            "issue",
            &format!("ca.test; accounturi={ACCOUNT}; validationmethods=dns-01"),
        ),
        caa("x.test", "issuewild", ";"),
        caa("y.test", "issue", "ca.test; accounturi=https://ca.test/acme/acct/2"),
    ])
    .await;
    assert!(check(&names, OURS, "x.test").await.is_ok());
    assert_failure(
        check(&names, OURS, "*.x.test").await,
        FailureKind::Caa,
        &["`issuewild ;`"],
    );
    assert_failure(
        check(&names, OURS, "y.test").await,
        FailureKind::Caa,
        &["this account is", ACCOUNT],
    );
}

#[tokio::test]
async fn caa_is_policy_and_addresses_have_none() {
    let names = NameServer::with(vec![caa("x.test", "issue", "else.test")]).await;
    assert!(check(&names, "caa = false", "x.test").await.is_ok());
    assert!(
        validator(&settings(&names, OURS))
            .check_caa(&Identifier::parse("ip", "10.0.0.1").unwrap(), false, None, ACCOUNT)
            .await
            .is_ok()
    );
    assert_eq!(names.asked(), []);
    assert_failure(
        check(&names, "", "x.test").await,
        FailureKind::Caa,
        &["no name by which records could allow it"],
    );
}

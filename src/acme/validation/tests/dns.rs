//! dns-01, dns-account-01, dns-persist-01, and how answers come in.

use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use super::name_server::{NameServer, Over, Reply, TTL_S, alias, look_up, txt, txt_in_parts};
use super::*;

/// base64url(SHA-256(key authorization)), computed by OpenSSL.
const DIGEST: &str = "lCM7cZyQXcVHK2nnW3jjAhNT3Fvm18UN-kWZZknKoYM";
const NAME: &str = "_acme-challenge.x.test";

#[test]
fn the_digest_is_openssls() {
    let digest = openssl::sha::sha256(key_authorization().as_bytes());
    let encoded = openssl::base64::encode_block(&digest)
        .replace('+', "-")
        .replace('/', "_");
    assert_eq!(encoded.trim_end_matches('='), DIGEST);
}

async fn ask_of(
    records: Vec<hickory_resolver::proto::rr::Record>,
    method: Method,
    name: &str,
) -> Result<Proof, Failure> {
    let names = NameServer::with(records).await;
    ask(
        &validator(&settings(&names, "issuer_domains = ['ca.test', 'ca2.test']")),
        method,
        name,
    )
    .await
}

#[tokio::test]
async fn row_73_any_of_several_txt_records_may_hold_the_digest() {
    let records = vec![txt(NAME, "another"), txt(NAME, DIGEST), txt(NAME, "")];
    assert_eq!(
        ask_of(records.clone(), Method::Dns01, "x.test").await,
        Ok(Proof { reusable_for: None })
    );
    assert!(ask_of(records, Method::Dns01, "*.x.test").await.is_ok());
}

#[tokio::test]
async fn row_73_strings_of_one_record_are_one_value() {
    let (head, tail) = DIGEST.split_at(10);
    assert!(
        ask_of(vec![txt_in_parts(NAME, &[head, tail])], Method::Dns01, "x.test")
            .await
            .is_ok()
    );
    assert_failure(
        ask_of(vec![txt(NAME, head), txt(NAME, tail)], Method::Dns01, "x.test").await,
        FailureKind::IncorrectResponse,
        &[NAME, DIGEST, "2 TXT record(s)", head],
    );
}

#[tokio::test]
async fn row_73_aliases_are_followed() {
    let one_answer = vec![
        alias(NAME, "a.other.test"),
        alias("a.other.test", "b.other.test"),
        txt("b.other.test", DIGEST),
    ];
    assert!(ask_of(one_answer.clone(), Method::Dns01, "x.test").await.is_ok());
    // A server that leaves the rest of the way to the one who asks.
    let names = NameServer::start(move |name, kind, _| {
        let here: Vec<_> = one_answer
            .iter()
            .filter(|it| it.name.to_ascii() == format!("{name}."))
            .cloned()
            .collect();
        match here.is_empty() {
            true => look_up(&one_answer, name, kind),
            false => Reply::Records(here),
        }
    })
    .await;
    assert!(
        ask(&validator(&settings(&names, "")), Method::Dns01, "x.test")
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn row_73_aliases_in_a_circle_end() {
    let circle = vec![alias(NAME, "a.other.test"), alias("a.other.test", NAME)];
    let failure = ask_of(circle, Method::Dns01, "x.test").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Dns, "{failure}");
}

#[tokio::test]
async fn row_73_the_digest_is_compared_as_it_stands() {
    for wrong in [
        DIGEST.to_lowercase(),
        format!("{DIGEST}="),
        format!(" {DIGEST}"),
        format!("\"{DIGEST}\""),
        key_authorization(),
    ] {
        assert_failure(
            ask_of(vec![txt(NAME, &wrong)], Method::Dns01, "x.test").await,
            FailureKind::IncorrectResponse,
            &[NAME, DIGEST],
        );
    }
}

#[tokio::test]
async fn row_75_what_dns_lacks_is_said() {
    assert_failure(
        ask_of(Vec::new(), Method::Dns01, "x.test").await,
        FailureKind::Dns,
        &[NAME, "does not exist", DIGEST, "the DNS server 127.0.0.1:"],
    );
    assert_failure(
        ask_of(
            vec![alias("sub._acme-challenge.x.test", "y.test")],
            Method::Dns01,
            "x.test",
        )
        .await,
        FailureKind::Dns,
        &[NAME, "has no TXT record", DIGEST],
    );
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let names = NameServer::start(move |_, _, _| Reply::Code(code)).await;
        assert_failure(
            ask(&validator(&settings(&names, "")), Method::Dns01, "x.test").await,
            FailureKind::Dns,
            &["looking up TXT", NAME, &names.address.to_string(), &code.to_string()],
        );
    }
    let silent = NameServer::start(|_, _, _| Reply::Silence).await;
    assert_failure(
        ask(&validator(&settings(&silent, "timeout_s = 1")), Method::Dns01, "x.test").await,
        FailureKind::Dns,
        &["no answer in time"],
    );
}

#[tokio::test]
async fn row_75_what_a_stranger_put_into_dns_is_shown_short_and_printable() {
    let long = format!("\u{1b}]0;{}", "x".repeat(200));
    assert_failure(
        ask_of(
            vec![txt(NAME, &long), txt(NAME, &long), txt(NAME, &long), txt(NAME, &long)],
            Method::Dns01,
            "x.test",
        )
        .await,
        FailureKind::IncorrectResponse,
        &["4 TXT record(s)", "\\u{1b}]0;xxx", "x…`"],
    );
}

#[tokio::test]
async fn row_74_over_tcp_where_udp_is_not_enough_or_not_wanted() {
    let truncating = NameServer::start(|name, kind, over| match over {
        Over::Udp => Reply::Truncated,
        Over::Tcp => look_up(&[txt(NAME, DIGEST)], name, kind),
    })
    .await;
    assert!(
        ask(&validator(&settings(&truncating, "")), Method::Dns01, "x.test")
            .await
            .is_ok()
    );

    let tcp_alone = NameServer::start(|name, kind, over| match over {
        Over::Udp => Reply::Silence,
        Over::Tcp => look_up(&[txt(NAME, DIGEST)], name, kind),
    })
    .await;
    let strict = validator(&settings(&tcp_alone, "dns_over_tcp = true"));
    assert!(ask(&strict, Method::Dns01, "x.test").await.is_ok());
    assert_eq!(tcp_alone.asked(), [(NAME.to_owned(), RecordType::TXT, Over::Tcp)]);
}

#[tokio::test]
async fn row_74_nothing_is_remembered_between_two_looks() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let names = NameServer::start(
        move |name, kind, _| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Reply::Code(ResponseCode::NXDomain),
            1 => look_up(&[txt(NAME, "yesterday's")], name, kind),
            _ => look_up(&[txt(NAME, DIGEST)], name, kind),
        },
    )
    .await;
    let validator = validator(&settings(&names, ""));
    let kind = |result: Result<Proof, Failure>| result.map_err(|failure| failure.kind);
    assert_eq!(
        kind(ask(&validator, Method::Dns01, "x.test").await),
        Err(FailureKind::Dns)
    );
    assert_eq!(
        kind(ask(&validator, Method::Dns01, "x.test").await),
        Err(FailureKind::IncorrectResponse)
    );
    assert!(ask(&validator, Method::Dns01, "x.test").await.is_ok());
}

#[tokio::test]
async fn row_74_no_search_list_is_tried() {
    let names = NameServer::with(Vec::new()).await;
    ask(&validator(&settings(&names, "")), Method::Dns01, "x")
        .await
        .unwrap_err();
    assert_eq!(
        names.asked(),
        [("_acme-challenge.x".to_owned(), RecordType::TXT, Over::Udp)]
    );
}

#[tokio::test]
async fn dns_account_01_looks_below_the_accounts_label() {
    // base32(SHA-256(ACCOUNT)[0:10]).
    let label = data_encoding::BASE32_NOPAD
        .encode(&openssl::sha::sha256(ACCOUNT.as_bytes())[..10])
        .to_lowercase();
    let name = format!("_{label}.{NAME}");
    assert!(
        ask_of(vec![txt(&name, DIGEST)], Method::DnsAccount01, "x.test")
            .await
            .is_ok()
    );
    assert!(
        ask_of(vec![txt(&name, DIGEST)], Method::DnsAccount01, "*.x.test")
            .await
            .is_ok()
    );
    assert_failure(
        ask_of(vec![txt(NAME, DIGEST)], Method::DnsAccount01, "x.test").await,
        FailureKind::Dns,
        &[&name, ACCOUNT],
    );
}

#[tokio::test]
async fn dns_persist_01_needs_one_record_for_us_among_those_for_others() {
    let name = "_validation-persist.x.test";
    let ours = format!("CA2.test; accounturi={ACCOUNT}");
    let records = vec![
        txt(name, "other.test; accounturi=https://other.test/1"),
        txt(name, "%%"),
        txt(name, &ours),
    ];
    assert_eq!(
        ask_of(records.clone(), Method::DnsPersist01, "x.test").await,
        Ok(Proof {
            reusable_for: Some(Duration::from_secs(TTL_S.into()))
        })
    );
    assert_failure(
        ask_of(records.clone(), Method::DnsPersist01, "*.x.test").await,
        FailureKind::Unauthorized,
        &[name, "policy=wildcard"],
    );
    let mut wild = records;
    wild.push(txt(name, &format!("{ours}; policy=wildcard")));
    assert!(ask_of(wild, Method::DnsPersist01, "*.x.test").await.is_ok());
    assert_failure(
        ask_of(
            vec![txt(name, "other.test; accounturi=x")],
            Method::DnsPersist01,
            "x.test",
        )
        .await,
        FailureKind::Unauthorized,
        &[name, "names this server", &format!("`ca.test; accounturi={ACCOUNT}`")],
    );
    assert_failure(
        ask_of(vec![txt(name, "ca.test; accounturi")], Method::DnsPersist01, "x.test").await,
        FailureKind::Malformed,
        &[name, "is malformed"],
    );
    assert_failure(
        ask_of(Vec::new(), Method::DnsPersist01, "x.test").await,
        FailureKind::Dns,
        &[name, "does not exist", "accounturi="],
    );
    let ended = format!("{ours}; persistUntil={}", NOW - 1);
    assert_failure(
        ask_of(vec![txt(name, &ended)], Method::DnsPersist01, "x.test").await,
        FailureKind::Unauthorized,
        &["ended to be valid"],
    );
    assert!(
        ask_of(
            vec![txt(name, &format!("{ours}; persistUntil={NOW}"))],
            Method::DnsPersist01,
            "x.test"
        )
        .await
        .is_ok()
    );
}

//! Download and revocation (rows 76 to 83).

use chancery::x509::chain::{Facts, Issuer};
use chancery::x509::pem;
use serde_json::json;

use crate::house::{Acme, client};
use crate::support::acme::{Key, World, b64};
use crate::support::softhsm::with_token;

/// The first certificate of a chain, DER.
pub(crate) fn leaf(chain: &str) -> Vec<u8> {
    pem::decode_all(pem::CERTIFICATE, chain).unwrap().swap_remove(0)
}

#[tokio::test]
async fn row_76_the_chain_is_strict_pem_leaf_first() {
    let client = client().await;
    let (url, chain, _) = client.certificate(&World::shared(), &["row76.test"]).await;
    let order = client.get(&url).await.json();
    let answer = client.get(order["certificate"].as_str().unwrap()).await.is(200);
    assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
    let certificates = pem::decode_all(pem::CERTIFICATE, &chain).unwrap();
    let facts = Facts::read(&certificates[0]).unwrap();
    let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["row76.test"]);
    for pair in certificates.windows(2) {
        Issuer::read(&pair[1]).unwrap().verify(&pair[0]).unwrap();
    }
    // Nothing stands between or around.
    let mut inside = false;
    for line in chain.lines() {
        match line {
            "-----BEGIN CERTIFICATE-----" => inside = true,
            "-----END CERTIFICATE-----" => inside = false,
            text => assert!(inside && text.len() <= 64 && !text.is_empty(), "{text:?}"),
        }
    }
    client
        .post(order["certificate"].as_str().unwrap(), &json!({}))
        .await
        .problem(400, "malformed");
}

#[tokio::test]
async fn row_76_a_certificate_is_not_there_before_it_is_made() {
    let client = client().await;
    let (url, _) = client.order(&["row76-early.test"]).await;
    client
        .get(&url.replace("/order/", "/certificate/"))
        .await
        .problem(404, "malformed");
}

#[test]
fn row_77_after_a_change_of_roots_there_is_a_chain_to_either() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let client = acme.client().await;
        let (url, _, _) = client.certificate(&acme.world, &["row77-before.test"]).await;
        let order = client.get(&url).await.json();
        let only = client.get(order["certificate"].as_str().unwrap()).await.is(200);
        assert_eq!(only.link("alternate"), None);

        let authority = acme.house.services.authority.clone();
        let upkeep = tokio::spawn(async move { authority.keep_up().await });
        let path = "/api/authorities/internal/rotation";
        let (status, begun) = acme.administer("POST", path, json!({"root": true})).await;
        assert_eq!(status, 202, "{begun}");
        // Each of the two is published for a day before it signs.
        for waited in ["internal-root-2", "internal-issuing-2"] {
            acme.until_issuer(waited, "published").await;
            acme.advance(86_400).await;
            acme.until_issuer(waited, "active").await;
        }
        upkeep.abort();
        let (url, _, _) = client.certificate(&acme.world, &["row77.test"]).await;
        let order = client.get(&url).await.json();
        let long = client.get(order["certificate"].as_str().unwrap()).await.is(200);
        let short = client.get(&long.link("alternate").unwrap()).await.is(200);
        assert_eq!(short.header("content-type"), "application/pem-certificate-chain");
        assert_eq!(short.link("alternate").as_deref(), order["certificate"].as_str());
        let (long, alternate) = (long.text(), short.text());
        assert_eq!(leaf(&long), leaf(&alternate));
        let bundle = acme.trust_bundle().await;
        let roots = bundle["roots"].as_array().unwrap();
        for (chain, root) in [(&long, &roots[0]), (&alternate, &roots[1])] {
            let root = &pem::decode_all(pem::CERTIFICATE, root["certificate_pem"].as_str().unwrap()).unwrap()[0];
            let last = pem::decode_all(pem::CERTIFICATE, chain).unwrap().pop().unwrap();
            Issuer::read(root).unwrap().verify(&last).unwrap();
        }
        for none in ["0", "2", "01", "x"] {
            let url = format!("{}/{none}", order["certificate"].as_str().unwrap());
            client.get(&url).await.problem(404, "malformed");
        }
    });
}

#[tokio::test]
async fn row_78_the_account_that_ordered_revokes_once() {
    let client = client().await;
    let (_, chain, _) = client.certificate(&World::shared(), &["row78.test"]).await;
    let url = client.url("revokeCert");
    let asked = json!({"certificate": b64(&leaf(&chain)), "reason": 4});
    assert!(client.post(&url, &asked).await.is(200).body.is_empty());
    // Row 79: a repeat.
    client.post(&url, &asked).await.problem(400, "alreadyRevoked");
}

#[tokio::test]
async fn row_78_row_79_others_need_authorizations_for_all_names() {
    let (owner, other) = (client().await, client().await);
    let world = World::shared();
    let (_, chain, _) = owner.certificate(&world, &["a.row79.test", "b.row79.test"]).await;
    let url = owner.url("revokeCert");
    let asked = json!({"certificate": b64(&leaf(&chain))});
    other.post(&url, &asked).await.problem(403, "unauthorized");
    let (order, _) = other.order(&["a.row79.test"]).await;
    other.authorize(&world, &order).await;
    other.post(&url, &asked).await.problem(403, "unauthorized");
    let (order, _) = other.order(&["b.row79.test"]).await;
    other.authorize(&world, &order).await;
    other.post(&url, &asked).await.is(200);
}

#[tokio::test]
async fn row_78_the_certificates_key_revokes() {
    let client = client().await;
    let (_, chain, key) = client.certificate(&World::shared(), &["row78-key.test"]).await;
    let url = client.url("revokeCert");
    let asked = json!({"certificate": b64(&leaf(&chain)), "reason": 1});
    client
        .by_key()
        .with_key(Key::es256())
        .post(&url, &asked)
        .await
        .problem(403, "unauthorized");
    client.by_key().post(&url, &asked).await.problem(403, "unauthorized");
    client
        .by_key()
        .with_key(Key::of_certificate(&key))
        .post(&url, &asked)
        .await
        .is(200);
}

#[tokio::test]
async fn row_80_reasons_that_nobody_may_give_are_refused_with_those_that_one_may() {
    let client = client().await;
    let (_, chain, _) = client.certificate(&World::shared(), &["row80.test"]).await;
    let url = client.url("revokeCert");
    for reason in [2, 6, 7, 8, 9, 10, 11, 300] {
        let asked = json!({"certificate": b64(&leaf(&chain)), "reason": reason});
        let problem = client.post(&url, &asked).await.problem(400, "badRevocationReason");
        assert!(
            problem["detail"].as_str().unwrap().contains("1 (key-compromise)"),
            "{problem}"
        );
    }
    client
        .post(&url, &json!({"certificate": b64(&leaf(&chain))}))
        .await
        .is(200);
}

#[test]
fn row_81_row_82_a_revocation_is_on_the_next_list_and_foreign_certificates_are_refused() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let client = acme.client().await;
        let (_, chain, _) = client.certificate(&acme.world, &["row81.test"]).await;
        let url = client.url("revokeCert");
        // Its issuer is no certificate that anybody ordered; bytes are none at all.
        let issuer = pem::decode_all(pem::CERTIFICATE, &chain).unwrap().swap_remove(1);
        client
            .post(&url, &json!({"certificate": b64(&issuer)}))
            .await
            .problem(403, "unauthorized");
        client
            .post(&url, &json!({"certificate": b64(b"nonsense")}))
            .await
            .problem(400, "malformed");
        let mut foreign = leaf(&chain);
        *foreign.last_mut().unwrap() ^= 1;
        client
            .post(&url, &json!({"certificate": b64(&foreign)}))
            .await
            .problem(404, "malformed");

        client
            .post(&url, &json!({"certificate": b64(&leaf(&chain))}))
            .await
            .is(200);
        assert_eq!(
            acme.revoked(&leaf(&chain)).await,
            Some(None),
            "on the list, without a reason"
        );
    });
}

#[tokio::test]
async fn row_83_urls_cannot_be_guessed() {
    let client = client().await;
    let (one, _) = client.order(&["row83.test"]).await;
    let (other, _) = client.order(&["row83.test"]).await;
    let id = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    assert_eq!(id(&one).len(), 32);
    // What follows the time of its making is random.
    assert_ne!(id(&one)[12..], id(&other)[12..]);
}

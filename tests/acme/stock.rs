//! A client that others wrote: instant-acme, whole orders and a renewal.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy, RevocationRequest,
};

use crate::certificates::leaf;
use crate::house::{cli, served};
use crate::support::acme::{World, request};

#[tokio::test]
async fn instant_acme_gets_and_revokes_a_certificate() {
    let (directory, roots) = served();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let asked = NewAccount {
        contact: &["mailto:a@example.com"],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) = Account::builder_with_root(Path::new(roots))
        .unwrap()
        .create(&asked, directory.to_owned(), None)
        .await
        .unwrap();
    let names = ["instant.test", "www.instant.test"];
    let identifiers = names.map(|name| Identifier::Dns(name.to_owned()));
    let order = account.new_order(&NewOrder::new(&identifiers)).await.unwrap();
    let chain = finish(order, &names).await;

    // Found again by its credentials.
    let account = Account::builder_with_root(Path::new(roots))
        .unwrap()
        .from_credentials(credentials)
        .await
        .unwrap();
    let certificate = leaf(&chain);
    account
        .revoke(&RevocationRequest {
            certificate: &certificate.as_slice().into(),
            reason: None,
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn row_a1_instant_acme_asks_when_to_renew_and_says_what_it_replaces() {
    let (directory, roots) = served();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let asked = NewAccount {
        contact: &[],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, _) = Account::builder_with_root(Path::new(roots))
        .unwrap()
        .create(&asked, directory.to_owned(), None)
        .await
        .unwrap();
    let names = ["renewed.instant.test"];
    let identifiers = names.map(|name| Identifier::Dns(name.to_owned()));
    let profile = NewOrder::new(&identifiers).profile("server-tls");
    let chain = finish(account.new_order(&profile).await.unwrap(), &names).await;
    let certificate = leaf(&chain).into();
    let id = CertificateIdentifier::try_from(&certificate).unwrap();
    let (info, ask_again_in) = account.renewal_info(&id).await.unwrap();
    let window = info.suggested_window;
    assert!(window.start < window.end && window.start > time::OffsetDateTime::now_utc());
    assert!(ask_again_in <= Duration::from_secs(6 * 3_600));

    let renewal = NewOrder::new(&identifiers).replaces(id.clone());
    finish(account.new_order(&renewal).await.unwrap(), &names).await;
    let Err(Error::Api(problem)) = account.new_order(&renewal).await else {
        panic!("it was replaced twice");
    };
    let expected = "urn:ietf:params:acme:error:alreadyReplaced";
    assert_eq!((problem.r#type.as_deref(), problem.status), (Some(expected), Some(409)));
}

#[tokio::test]
async fn instant_acme_binds_an_external_account_and_need_show_nothing() {
    let (directory, roots) = served();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let identity = "spiffe://chancery.test/instant";
    cli(&["identity", "create", "--id", identity]);
    let create = [
        "acme",
        "eab",
        "create",
        "--identity",
        identity,
        "--allow",
        "*.bound.test",
        "--trusted",
    ];
    let key = cli(&create);
    let value = BASE64URL.decode(key["hmac_key"].as_str().unwrap()).unwrap();
    let external = ExternalAccountKey::new(key["kid"].as_str().unwrap().to_owned(), &value);
    let asked = NewAccount {
        contact: &[],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, _) = Account::builder_with_root(Path::new(roots))
        .unwrap()
        .create(&asked, directory.to_owned(), Some(&external))
        .await
        .unwrap();
    let names = ["www.bound.test", "*.bound.test"];
    let identifiers = names.map(|name| Identifier::Dns(name.to_owned()));
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.unwrap();
    assert_eq!(order.state().status, OrderStatus::Ready);
    order.finalize_csr(&request(&names).0).await.unwrap();
    let chain = order.poll_certificate(&RetryPolicy::default()).await.unwrap();
    assert!(!leaf(&chain).is_empty());
}

/// Answers an order's challenges and has its certificate made; the chain.
async fn finish(mut order: Order, names: &[&str]) -> String {
    assert_eq!(order.state().status, OrderStatus::Pending);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        assert_eq!(authorization.status, AuthorizationStatus::Pending);
        let mut challenge = authorization.challenge(ChallengeType::Http01).unwrap();
        World::shared().serve(&challenge.token, challenge.key_authorization().as_str());
        challenge.set_ready().await.unwrap();
    }
    let retries = RetryPolicy::default();
    assert_eq!(order.poll_ready(&retries).await.unwrap(), OrderStatus::Ready);
    order.finalize_csr(&request(names).0).await.unwrap();
    order.poll_certificate(&retries).await.unwrap()
}

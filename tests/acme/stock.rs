//! A client that others wrote: instant-acme, a whole order.

use std::path::Path;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
    RevocationRequest,
};

use crate::certificates::leaf;
use crate::house::served;
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
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.unwrap();
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
    order.finalize_csr(&request(&names).0).await.unwrap();
    let chain = order.poll_certificate(&retries).await.unwrap();

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

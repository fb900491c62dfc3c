//! Several authorities: each has a directory, accounts and orders of its own.

use axum::body::Body;
use axum::http::Request;
use chancery::surface::Peer;
use chancery::x509::chain::Facts;
use chancery::x509::pem;
use serde_json::json;
use tower::ServiceExt;

use crate::certificates::leaf;
use crate::house::{Acme, DIRECTORY, connect};
use crate::support::acme::{Key, Transport, World, b64};
use crate::support::child::free_port;
use crate::support::process::Launch;
use crate::support::softhsm::with_token;

#[tokio::test]
async fn r10_each_authority_has_a_directory_and_accounts_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let world = World::start().await;
    let (tls, http) = (free_port(), free_port());
    let service = Launch::dev_on(&home.path().join("dev"), tls, http)
        .args(["--acme-resolver", &world.dns.to_string()])
        .args(["--acme-http01-port", &world.http.port().to_string()])
        .start();
    service.cli(&["ca", "init", "--name", "devices"]).ok();
    service.cli(&["ca", "rotate", "--name", "devices", "--watch"]).ok();
    let env = service.env();
    let (directory, roots) = (&env["CHANCERY_ACME_DIRECTORY"], &env["CHANCERY_CACERT"]);
    let here = connect(directory, roots).await.registered(Key::es256()).await;
    let beside = directory.replace("/internal/", "/devices/");
    assert_ne!(*directory, beside);
    let there = connect(&beside, roots).await;
    assert_eq!(
        there.url("newOrder"),
        here.url("newOrder").replace("/internal/", "/devices/")
    );

    // The same key has an account at each, and an account is nobody at the other.
    let there = there.registered(here.key.clone()).await;
    let mut stranger = there.clone();
    stranger.kid = Some(here.kid.clone().unwrap().replace("/internal/", "/devices/"));
    stranger
        .get(&there.kid.clone().unwrap())
        .await
        .problem(400, "accountDoesNotExist");

    let (order, chain, _) = there.certificate(&world, &["a.devices.test"]).await;
    let issuer = pem::decode_all(pem::CERTIFICATE, &chain).unwrap().swap_remove(1);
    assert!(Facts::read(&issuer).unwrap().subject.contains("devices"));
    let (_, own, _) = here.certificate(&world, &["a.devices.test"]).await;
    let own_issuer = pem::decode_all(pem::CERTIFICATE, &own).unwrap().swap_remove(1);
    assert!(!Facts::read(&own_issuer).unwrap().subject.contains("devices"));

    // Each revokes what it issued and nothing else.
    let revocation = json!({"certificate": b64(&leaf(&chain)), "reason": 4});
    let url = here.url("revokeCert");
    here.post(&url, &revocation).await.problem(404, "malformed");

    // The next start knows both.
    let service = service.restart();
    let mut again = connect(&beside, roots).await;
    (again.key, again.kid) = (there.key.clone(), there.kid.clone());
    let there = again;
    assert_eq!(there.get(&order).await.is(200).json()["status"], "valid");
    there.post(&there.url("revokeCert"), &revocation).await.is(200);
    drop(service);
}

#[test]
fn an_authority_offers_what_it_is_told_to_offer() {
    with_token(|token| async move {
        let settings = "authorities.internal.profiles = [\"server-short\", \"server-tls\"]\n";
        let acme = Acme::open(token, settings).await;
        let client = acme.stranger().await;
        let profiles = &client.directory["meta"]["profiles"];
        assert_eq!(profiles.as_object().unwrap().len(), 2, "{profiles}");
        let nobody = DIRECTORY.replace("internal", "nobody");
        let unknown = client.request("GET", &nobody, &[], Vec::new()).await;
        assert_eq!(unknown.status, 404, "{}", unknown.text());
        assert!(unknown.text().contains("`ca list`"), "{}", unknown.text());
    });
}

#[test]
fn an_authority_that_offers_nothing_has_no_directory() {
    with_token(|token| async move {
        let acme = Acme::open(token, "authorities.internal.profiles = []\n").await;
        let Transport::Routes(routes) = acme.transport() else {
            panic!("it is in process")
        };
        let peer = Peer {
            addr: "127.0.0.1:1".parse().unwrap(),
            chain: std::sync::Arc::new([]),
        };
        let request = Request::get("/acme/internal/directory").header("host", "ca.test");
        let request = request.extension(peer).body(Body::empty()).unwrap();
        let answer = routes.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 404);
    });
}

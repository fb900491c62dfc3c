//! Certificates from the service's own authority.

use chancery::key_type::KeyType;
use chancery::x509;
use chancery::x509::name::Name;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::house::{TestHouse, request_pem};

on_both! {
    a_certificate_is_issued_listed_revoked_and_on_the_list => whole_life;
    what_the_profile_forbids_costs_the_token_nothing => forbidden;
}

const ISSUE: &str = "/api/authorities/internal/issue";

fn issue(names: &[Name]) -> Value {
    let key = x509::key::generate(KeyType::EcP256).unwrap();
    json!({ "profile": "server-tls", "csr_pem": request_pem(&key, names) })
}

async fn whole_life(house: TestHouse) {
    let issued = house
        .call(
            &house.admin,
            "POST",
            ISSUE,
            issue(&[Name::dns("web.chancery.test").unwrap()]),
        )
        .await
        .ok();
    let serial = issued["serial"].as_str().unwrap();
    let listed = house
        .call(
            &house.admin,
            "GET",
            "/api/authorities/internal/certificates",
            Value::Null,
        )
        .await
        .ok();
    assert!(
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["serial"] == serial),
        "{listed}"
    );

    let crl_path = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let text = String::from_utf8_lossy(&der).into_owned();
        let start = text.find("/crl/").unwrap();
        text[start..].split(".crl").next().unwrap().to_owned() + ".crl"
    };
    let path = crl_path(issued["chain_pem"].as_str().unwrap());
    let before = house.plain(&path).await;
    assert!(before.status.is_success(), "{path}: {}", before.status);
    let revoke = format!("/api/authorities/internal/certificates/{serial}/revoke");
    house
        .call(&house.admin, "POST", &revoke, json!({ "reason": "superseded" }))
        .await
        .ok();
    let after = house.plain(&path).await;
    let serial_der = hex::decode(serial).unwrap();
    let lists = |crl: &[u8]| crl.windows(serial_der.len()).any(|w| w == serial_der);
    assert!(!lists(&before.bytes), "on the list before it was revoked");
    assert!(lists(&after.bytes), "the next list after the answer shows it");
    house
        .call(&house.admin, "POST", &revoke, json!({ "reason": "superseded" }))
        .await
        .refused(409);
}

async fn forbidden(house: TestHouse) {
    let before = house.house.signatures();
    let uri = Name::uri("spiffe://chancery.test/admin").unwrap();
    for names in [vec![], vec![uri]] {
        let refusal = house.call(&house.admin, "POST", ISSUE, issue(&names)).await;
        assert_eq!(refusal.status.as_u16(), 400, "{}", refusal.body);
    }
    let svid = json!({ "profile": "svid", "csr_pem": issue(&[])["csr_pem"] });
    house.call(&house.admin, "POST", ISSUE, svid).await.refused(403);
    // Checkpoints of the log are signed once a second of the clock, which stands still.
    assert_eq!(house.house.signatures(), before, "a refusal cost the token a signature");
}

//! What is said of a certificate to those who think of renewing it.

use super::*;

#[test]
fn a_certificate_is_lost_with_its_key_and_known_by_its_own_issuer_only() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("a.test");
        let issued = house.issue(asked.clone()).await.unwrap();
        let serial = issued.serial.parse().unwrap();
        let key_id = house
            .authority
            .signer("internal-issuing-1")
            .unwrap()
            .issuer
            .key_id()
            .to_vec();
        let standing = house.authority.standing(&key_id, &serial).await.unwrap();
        assert_eq!(standing.names, ["dns:a.test"]);
        assert_eq!(standing.validity, issued.validity);
        assert!(!standing.is_lost);

        let root = house.authority.signer("internal-root-1").unwrap();
        let root = root.issuer.key_id();
        for (key_id, serial) in [(root, &serial), (&key_id, &"0123".parse().unwrap())] {
            let error = house.authority.standing(key_id, serial).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
        }

        house
            .perform(BlockKey {
                spki_sha256: crate::x509::inspect::spki_sha256(asked.key.spki()).unwrap(),
                reason: "found in a repository".to_owned(),
            })
            .await
            .unwrap();
        assert!(house.authority.standing(&key_id, &serial).await.unwrap().is_lost);
    });
}

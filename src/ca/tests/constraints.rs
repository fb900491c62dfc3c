//! Name constraints of the CAs above.

use super::*;

#[test]
fn r09_names_outside_the_constraints_of_the_chain_are_refused_before_the_token_is_asked() {
    with_token(|token| async move {
        let (gate, hsm, identity, _, officer, clock) = ground(&token).await;
        let text = include_str!("../../../pki/hierarchy.toml").replace(
            "[crl]",
            "[root.names]\nexcluded_dns = [\"secret.corp.test\"]\n\
             [issuing.names]\npermitted_dns = [\"corp.test\"]\npermitted_ip = [\"10.0.0.0/8\"]\n[crl]",
        );
        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://pki.chancery.test".to_owned(),
        };
        let hierarchy = Hierarchy::parse(&text, place).unwrap();
        let (profiles, keys) = (Profile::built_in().unwrap(), keys(&hsm).await);
        let authority = Authority::open(gate.clone(), hsm.clone(), identity, hierarchy, profiles, keys)
            .await
            .unwrap();
        let issue = async |names: &[&str]| {
            clock.advance(Duration::from_millis(1));
            let operation = IssueCertificate {
                authority: authority.name().clone(),
                idempotency_key: None,
                request: request("server-tls", KeyType::EcP256, names),
            };
            gate.perform(&officer, &authority, operation).await
        };
        issue(&["a.corp.test", "10.1.2.3"]).await.unwrap();
        let calls = hsm.calls();
        for (names, why) in [
            (["a.corp.test", "a.other.test"], "permit dns:corp.test"),
            (["11.0.0.1", "a.corp.test"], "permit ip:10.0.0.0/8"),
            // By the root's, which the issuing CA's does not repeat.
            (["a.corp.test", "x.secret.corp.test"], "dns:secret.corp.test"),
            (["a.corp.test", "*.corp.test"], "dns:secret.corp.test"),
        ] {
            let error = issue(&names).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.public().contains(why), "{error:?}");
        }
        assert_eq!(hsm.calls(), calls, "zero signatures");
        let outside: Vec<Name> = vec!["a.other.test".parse().unwrap()];
        assert!(
            authority
                .check_names(authority.name(), &"server-tls".parse().unwrap(), &outside)
                .is_err()
        );
    });
}

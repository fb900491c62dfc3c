//! Founding, issuing, and what is refused before the token is asked.

use super::*;

#[test]
fn an_authority_is_founded_once_and_found_again() {
    with_token(|token| async move {
        let house = house(&token).await;
        let root = house.authority.roots_pem();
        assert_eq!(
            house.outcomes("CreateAuthority").await,
            ["intent", "done", "intent", "done"]
        );
        let calls = house.hsm.calls();
        let again = house.again(Profile::built_in().unwrap()).await;
        assert_eq!(again.roots_pem(), root);
        assert_eq!(house.hsm.calls(), calls, "nothing was signed anew");

        let show = ShowAuthority {
            authority: "internal".parse().unwrap(),
        };
        let facts = house.gate.perform(&house.officer, &again, show).await.unwrap();
        let (root, issuing) = (
            facts.active(issuers::Role::Root).unwrap(),
            facts.active(issuers::Role::Issuing).unwrap(),
        );
        assert_eq!(root.subject, "O=Chancery, CN=chancery.test root 1");
        assert_eq!(
            (issuing.label.as_str(), issuing.parent.as_str()),
            ("internal-issuing-1", "internal-root-1")
        );
        assert!(issuing.validity.not_after <= root.validity.not_after);
        let profiles: Vec<&str> = facts.profiles.iter().map(Label::as_str).collect();
        assert!(
            profiles.contains(&"server-tls") && profiles.contains(&"user"),
            "{profiles:?}"
        );
        let listed = house.list(None, 10).await.items;
        let mut profiles: Vec<&str> = listed.iter().map(|it| it.profile.as_str()).collect();
        profiles.sort_unstable();
        assert_eq!(profiles, ["issuing", "root"], "its own certificates are listed too");
    });
}

/// An authority over keys of these kinds issues, and signs its lists.
async fn keyed(token: Token, root: KeyType, issuing: KeyType) {
    let (gate, hsm, identity, _, officer, clock) = ground(&token).await;
    let (root_label, issuing_label) = Keys::labels(&hierarchy());
    let keys = Keys {
        root: token_key(&hsm, &root_label, root).await,
        issuing: token_key(&hsm, &issuing_label, issuing).await,
        ocsp: token_key(&hsm, &Keys::ocsp_label(&hierarchy()), KeyType::EcP256).await,
    };
    let profiles = Profile::built_in().unwrap();
    let authority = Authority::open(gate.clone(), hsm, identity, hierarchy(), profiles, keys)
        .await
        .unwrap();
    clock.advance(Duration::from_millis(1));
    let issue = IssueCertificate {
        authority: authority.name().clone(),
        idempotency_key: None,
        request: request("server-tls", issuing.material(), &["a.test"]),
    };
    let issued = gate.perform(&officer, &authority, issue).await.unwrap();
    let above = Issuer::read(&issued.chain[1]).unwrap();
    above.verify(&issued.certificate).unwrap();
    assert_eq!(above.key().kind().to_string(), issuing.material().as_str());
    let roots = pem::decode_all(pem::CERTIFICATE, &authority.roots_pem()).unwrap();
    let top = Issuer::read(&roots[0]).unwrap();
    top.verify(&issued.chain[1]).unwrap();
    assert_eq!(top.key().kind().to_string(), root.material().as_str());
    for (der, by) in [
        (&issued.certificate, issuing),
        (&issued.chain[1], root),
        (&roots[0], root),
    ] {
        let said = openssl::x509::X509::from_der(der).unwrap();
        let said = said.signature_algorithm().object().nid();
        assert_eq!(said == openssl::nid::Nid::RSASSAPSS, by.is_pss());
    }
    authority.crl(&issuing_label, 0).await.unwrap();
    authority.crl(&root_label, 0).await.unwrap();
    above.verify(&authority.answering().await.unwrap().certificate).unwrap();
}

#[test]
fn keys_on_large_curves_issue() {
    with_token(|token| keyed(token, KeyType::EcP384, KeyType::EcP521));
}

#[test]
fn large_rsa_keys_issue() {
    with_token(|token| keyed(token, KeyType::Rsa4096, KeyType::Rsa3072));
}

#[test]
fn rsa_keys_issue_by_pss() {
    with_token(|token| keyed(token, KeyType::RsaPss4096, KeyType::RsaPss3072));
}

#[test]
fn a_small_rsa_key_issues_below_an_ed25519_root() {
    with_token(|token| keyed(token, KeyType::Ed25519, KeyType::Rsa2048));
}

#[test]
fn a_token_with_other_keys_is_refused() {
    with_token(|token| async move {
        let house = house(&token).await;
        let mut keys = keys(&house.hsm).await;
        keys.root = token_key(&house.hsm, "other", KeyType::EcP256).await;
        "internal-root-1".clone_into(&mut keys.root.key.label);
        let opened = Authority::open(
            house.gate.clone(),
            house.hsm.clone(),
            house.identity.clone(),
            hierarchy(),
            Profile::built_in().unwrap(),
            keys,
        )
        .await;
        let error = opened.err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.public().contains("another token"), "{error}");
    });
}

#[test]
fn a_request_becomes_a_certificate_that_leads_to_the_root() {
    with_token(|token| async move {
        let house = house(&token).await;
        let issued = house
            .issue(request("server-tls", KeyType::Rsa2048, &["www.a.test", "10.0.0.1"]))
            .await
            .unwrap();
        assert_eq!(issued.chain.len(), 2, "leaf and issuing CA, without the root");
        let issuing = Issuer::read(&issued.chain[1]).unwrap();
        issuing.verify(&issued.certificate).unwrap();
        let root = pem::decode_all(pem::CERTIFICATE, &house.authority.roots_pem()).unwrap();
        Issuer::read(&root[0]).unwrap().verify(&issued.chain[1]).unwrap();
        assert_eq!(
            pem::decode_all(pem::CERTIFICATE, &issued.chain_pem()).unwrap(),
            issued.chain
        );
        let facts = chain::Facts::read(&issued.certificate).unwrap();
        assert_eq!(facts.serial, issued.serial);

        let listed = &house.list(None, 1).await.items[0];
        assert_eq!(listed.serial, issued.serial);
        assert_eq!(listed.state, State::Issued);
        assert_eq!(listed.names, ["dns:www.a.test", "ip:10.0.0.1"]);
        assert_eq!(listed.requested_by, "spiffe://chancery.test/officer");
        assert_eq!(house.outcomes("IssueCertificate").await, ["intent", "done"]);
        assert_eq!(
            house.authority.issuer_certificate("internal-issuing-1").unwrap(),
            issued.chain[1]
        );
    });
}

#[test]
fn r02_what_breaks_a_lint_or_a_rule_never_reaches_the_token() {
    with_token(|token| async move {
        let mut profiles = Profile::built_in().unwrap();
        profiles.retain(|profile| profile.name().as_str() != "client-tls");
        let broken = include_str!("../../../pki/profiles/client-tls.toml");
        profiles.push(Profile::parse(broken).unwrap().with_a_policy_twice());
        let house = house_with(&token, profiles).await;
        let calls = house.hsm.calls();
        let rows = house.list(None, 100).await.items.len();

        let linted = house
            .issue(request("client-tls", KeyType::EcP256, &["a.test"]))
            .await
            .unwrap_err();
        assert_eq!(linted.kind(), Kind::Internal);
        assert!(
            linted.detail().contains("RFC 5280 §4.2.1.4 (certificate_policies)"),
            "{linted:?}"
        );
        for (request, kind, text) in [
            (
                request("nope", KeyType::EcP256, &["a.test"]),
                Kind::Invalid,
                "use client-tls, code-signing, mtls, server-short, server-tls, svid, user",
            ),
            (
                request("server-tls", KeyType::EcP256, &["https://a/b"]),
                Kind::Invalid,
                "allows no URIs",
            ),
            (
                request("svid", KeyType::EcP256, &["spiffe://chancery.test/officer"]),
                Kind::Denied,
                "by enrolment only",
            ),
            (
                IssueRequest {
                    validity: Some(DAY * 1000),
                    ..server("a.test")
                },
                Kind::Invalid,
                "allows 1 to",
            ),
        ] {
            let error = house.issue(request).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.public().contains(text), "{error:?}");
        }
        assert_eq!(house.hsm.calls(), calls, "zero signatures");
        assert_eq!(house.list(None, 100).await.items.len(), rows, "nothing was reserved");
        assert_eq!(house.outcomes("IssueCertificate").await, ["failed"; 5]);
    });
}

#[test]
fn nothing_is_issued_after_or_beyond_the_issuers_end() {
    with_token(|token| async move {
        let house = house(&token).await;
        let end = house.authority.ends()[1].1.not_after;
        house.clock.advance(end.since(START) - DAY);
        let last = house.issue(server("a.test")).await.unwrap();
        assert_eq!(last.validity.not_after, end);
        assert!(is_ending(house.authority.ends()[1].1, house.clock.now()));
        house.clock.advance(DAY * 2);
        let error = house.issue(server("a.test")).await.unwrap_err();
        assert!(error.public().contains("make a new issuing CA"), "{error:?}");
    });
}

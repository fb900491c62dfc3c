//! Our own authority: shown, asked to issue, asked to revoke, and what it publishes.

use base64::Engine as _;
use chancery::key_type::KeyType;
use chancery::x509::hierarchy::{Hierarchy, Place};
use chancery::x509::name::Name;
use chancery::x509::{chain, csr, key, pem};
use serde_json::json;

use crate::house::House;
use crate::support::softhsm::with_token;

fn request(name: &str) -> String {
    let names: Vec<Name> = vec![name.parse().unwrap()];
    let der = csr::create(&key::generate(KeyType::EcP256).unwrap(), &names).unwrap();
    pem::encode(pem::CERTIFICATE_REQUEST, &der)
}

#[test]
fn a_certificate_is_issued_listed_revoked_and_published_as_revoked() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, plain) = (house.client("admin").await, house.plain());
        let listed = admin.call("GET", "/api/authorities").await.is(200).json();
        let (issuing, root) = (&listed["items"][0], &listed["items"][1]);
        assert_eq!(
            (&issuing["name"], &issuing["parent"]),
            (&json!("internal"), &root["name"])
        );
        assert_eq!(
            admin.call("GET", "/api/authorities/internal").await.is(200).json(),
            *issuing
        );
        let one = format!("/api/authorities/{}", root["name"].as_str().unwrap());
        assert_eq!(admin.call("GET", &one).await.is(200).json(), *root);
        admin
            .call("GET", "/api/authorities/other")
            .await
            .problem(404, "not_found");

        let profiles = "/api/authorities/internal/profiles";
        let listed = admin.call("GET", profiles).await.is(200).json();
        let listed = listed["items"].as_array().unwrap().iter();
        let mine: Vec<_> = listed.filter(|one| one["name"] == "server-tls").collect();
        assert_eq!((mine.len(), &mine[0]["current"]), (1, &json!(true)));
        assert!(mine[0].get("text").is_none());
        let one = format!("{profiles}/server-tls");
        let shown = admin.call("GET", &one).await.is(200).json();
        assert_eq!(shown["version"], mine[0]["version"]);
        assert!(shown["text"].as_str().unwrap().contains("name = \"server-tls\""));
        let version = format!("?version={}", shown["version"].as_str().unwrap());
        let by_version = admin.call("GET", &format!("{one}{version}")).await.is(200).json();
        assert_eq!(by_version, shown);
        for (path, status, kind) in [
            (format!("{profiles}/user{version}"), 404, "not_found"),
            (format!("{profiles}/nope"), 400, "invalid"),
        ] {
            admin.call("GET", &path).await.problem(status, kind);
        }
        let stranger = house.client("web").await;
        stranger.call("GET", profiles).await.problem(403, "denied");
        stranger.call("GET", &one).await.problem(403, "denied");

        let asked = json!({"profile": "server-tls", "csr_pem": request("www.chancery.test"), "ttl_s": 600});
        let issue = "/api/authorities/internal/issue";
        let issued = admin.post(issue, &asked).await.is(201).json();
        let chain_pem = issued["chain_pem"].as_str().unwrap();
        let leaf = &pem::decode_all(pem::CERTIFICATE, chain_pem).unwrap()[0];
        let facts = chain::Facts::read(leaf).unwrap();
        assert_eq!(issued["serial"], facts.serial);
        assert_eq!(facts.names, ["www.chancery.test".parse::<Name>().unwrap()]);
        house
            .client("web")
            .await
            .post(issue, &asked)
            .await
            .problem(403, "denied");
        let once = [("content-type", "application/json"), ("idempotency-key", "k1")];
        let send = async || {
            admin
                .send(admin.request("POST", issue, &once, asked.to_string().into()))
                .await
        };
        let first = send().await.is(201).json();
        assert_eq!(send().await.is(201).json(), first);
        assert_ne!(first["serial"], issued["serial"]);
        let spaced = [("content-type", "application/json"), ("idempotency-key", "a b")];
        let wrong = admin.request("POST", issue, &spaced, asked.to_string().into());
        admin.send(wrong).await.problem(400, "invalid");
        let broken = json!({"profile": "server-tls", "csr_pem": "x"});
        admin.post(issue, &broken).await.problem(400, "invalid");

        let stop = json!({"profile": "server-tls", "reason": "drill"});
        let stopped = admin.post("/api/issuing-stops", &stop).await.is(201).json();
        assert_eq!(stopped["profile"], "server-tls");
        admin.post(issue, &asked).await.problem(503, "unavailable");
        let stops = admin.call("GET", "/api/issuing-stops").await.is(200).json();
        assert_eq!(stops["items"], json!([stopped]));
        let resume = json!({"profile": "server-tls"});
        admin.post("/api/issuing-stops/resume", &resume).await.is(204);
        admin
            .post("/api/issuing-stops/resume", &resume)
            .await
            .problem(404, "not_found");
        let block = json!({"spki_sha256": facts.spki_sha256, "reason": "drill"});
        let web = house.client("web").await;
        web.post("/api/blocked-keys", &block).await.problem(403, "denied");
        web.post("/api/issuing-stops", &stop).await.problem(403, "denied");
        let blocked = admin.post("/api/blocked-keys", &block).await.is(201).json();
        admin.post(issue, &asked).await.problem(400, "invalid");
        let keys = admin.call("GET", "/api/blocked-keys").await.is(200).json();
        assert_eq!(keys["items"], json!([blocked]));

        let first = admin
            .call("GET", "/api/authorities/internal/certificates?limit=1")
            .await
            .is(200)
            .json();
        let next = first["next"].as_str().unwrap();
        let second = format!("/api/authorities/internal/certificates?limit=1&cursor={next}");
        assert_ne!(admin.call("GET", &second).await.is(200).json()["items"], first["items"]);

        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://pki.chancery.test".to_owned(),
        };
        let shard = Hierarchy::built_in(place)
            .unwrap()
            .crl_shard(&facts.serial.parse().unwrap());
        let address = format!("/crl/internal-issuing-1/{shard}.crl");
        let list = plain.call("GET", &address).await.is(200);
        assert_eq!(list.header("content-type"), "application/pkix-crl");
        let known = [("if-none-match", list.header("etag"))];
        let again = plain.request("GET", &address, &known, axum::body::Body::empty());
        plain.send(again).await.is(304);

        let revoke = format!("/api/authorities/internal/certificates/{}/revoke", facts.serial);
        let revoked = admin
            .post(&revoke, &json!({"reason": "superseded"}))
            .await
            .is(200)
            .json();
        assert_eq!(
            (&revoked["state"], &revoked["reason"]),
            (&json!("revoked"), &json!("superseded"))
        );
        admin.post(&revoke, &json!({})).await.problem(409, "conflict");
        let newer = plain.call("GET", &address).await.is(200);
        assert_ne!(newer.header("etag"), list.header("etag"));
        let serial = hex::decode(&facts.serial).unwrap();
        let holds = |list: &[u8]| list.windows(serial.len()).any(|window| window == serial);
        assert!(holds(&newer.body) && !holds(&list.body));
        for nothing in [
            "/crl/internal-issuing-1/16.crl",
            "/crl/other/0.crl",
            "/crl/internal-issuing-1/0",
        ] {
            plain.call("GET", nothing).await.problem(404, "not_found");
        }
    });
}

#[test]
fn a_certificate_is_revoked_by_itself_by_its_key_and_by_its_holder() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, stranger) = (house.client("admin").await, house.stranger());
        let key = openssl::pkey::PKey::from_ec_key(
            openssl::ec::EcKey::generate(
                &openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap(),
            )
            .unwrap(),
        )
        .unwrap();
        let request = |common_name: &str| {
            let mut name = openssl::x509::X509Name::builder().unwrap();
            name.append_entry_by_text("CN", common_name).unwrap();
            let mut request = openssl::x509::X509Req::builder().unwrap();
            request.set_subject_name(&name.build()).unwrap();
            request.set_pubkey(&key).unwrap();
            request.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
            String::from_utf8(request.build().to_pem().unwrap()).unwrap()
        };
        let issue = async || {
            let asked = json!({"profile": "server-tls", "csr_pem": request("www.chancery.test")});
            admin
                .post("/api/authorities/internal/issue", &asked)
                .await
                .is(201)
                .json()
        };
        let revoke = "/api/authorities/internal/revoke";
        let first = issue().await;
        let shown = json!({"certificate": {"certificate_pem": first["chain_pem"], "reason": "superseded"}});
        house
            .client("web")
            .await
            .post(revoke, &shown)
            .await
            .problem(403, "denied");
        stranger.post(revoke, &shown).await.problem(401, "unauthenticated");
        let revoked = admin.post(revoke, &shown).await.is(200).json();
        assert_eq!(revoked["serials"], json!([first["serial"]]));
        admin.post(revoke, &shown).await.problem(409, "conflict");
        let nothing = json!({"certificate": {"certificate_pem": "x"}});
        admin.post(revoke, &nothing).await.problem(400, "invalid");

        let proven = "/api/compromised-keys";
        let second = issue().await;
        let ordinary = json!({"csr_pem": request("www.chancery.test")});
        stranger.post(proven, &ordinary).await.problem(400, "invalid");
        let proof = json!({"csr_pem": request("this key is compromised")});
        let revoked = stranger.post(proven, &proof).await.is(200).json();
        assert_eq!(revoked["serials"], json!([second["serial"]]));
        stranger.post(proven, &proof).await.problem(404, "not_found");
        let by_key = json!({"key": {"spki_sha256": "00"}});
        admin.post(revoke, &by_key).await.problem(404, "not_found");
    });
}

/// O8, O9.
#[test]
fn the_status_of_a_certificate_is_asked_for_by_get_and_post() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, plain) = (house.client("admin").await, house.plain());
        let asked = json!({"profile": "server-tls", "csr_pem": request("www.chancery.test")});
        let issued = admin
            .post("/api/authorities/internal/issue", &asked)
            .await
            .is(201)
            .json();
        let chain = pem::decode_all(pem::CERTIFICATE, issued["chain_pem"].as_str().unwrap()).unwrap();
        let [leaf, issuer] = [0, 1].map(|n: usize| openssl::x509::X509::from_der(&chain[n]).unwrap());
        let address = leaf.ocsp_responders().unwrap();
        let path = address[0].split_once("chancery.test").unwrap().1.to_owned();
        assert_eq!(path, "/ocsp/internal-issuing-1");
        let mut asks = openssl::ocsp::OcspRequest::new().unwrap();
        let sha1 = openssl::hash::MessageDigest::sha1();
        asks.add_id(openssl::ocsp::OcspCertId::from_cert(sha1, &leaf, &issuer).unwrap())
            .unwrap();
        let asks = asks.to_der().unwrap();

        let post = async |bytes: Vec<u8>| {
            let kind = [("content-type", "application/ocsp-request")];
            plain
                .send(plain.request("POST", &path, &kind, bytes.into()))
                .await
                .is(200)
        };
        let posted = post(asks.clone()).await;
        assert_eq!(posted.header("content-type"), "application/ocsp-response");
        let base64 = base64::engine::general_purpose::STANDARD.encode(&asks);
        // As RFC 6960 §A.1 says it, and as it is often sent: with the slashes of base64 as they are.
        for text in [
            base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
            base64,
        ] {
            let got = plain.call("GET", &format!("{path}/{text}")).await.is(200);
            assert_eq!(got.body, posted.body);
            assert_eq!(
                got.header("cache-control"),
                "max-age=300, public, no-transform, must-revalidate"
            );
            let etag = hex::encode(openssl::sha::sha256(&got.body));
            assert_eq!(got.header("etag"), format!("\"{etag}\""));
            assert!(got.header("last-modified").ends_with(" GMT"));
            assert_ne!(got.header("expires"), got.header("last-modified"));
            let known = [("if-none-match", got.header("etag"))];
            let again = plain.request("GET", &format!("{path}/{text}"), &known, axum::body::Body::empty());
            plain.send(again).await.is(304);
        }
        for bad in [b"x".to_vec(), Vec::new(), vec![0x30; 100_000]] {
            let refused = post(bad).await;
            assert_eq!(refused.body[..], [0x30, 3, 0x0a, 1, 1]);
            assert_eq!(refused.header("cache-control"), "no-store");
        }
        let refused = plain.call("GET", &format!("{path}/%25%25")).await.is(200);
        assert_eq!(refused.body[..], [0x30, 3, 0x0a, 1, 1]);
        plain.call("GET", "/ocsp/other/MAA=").await.problem(404, "not_found");
    });
}

#[test]
fn what_others_trust_us_by_is_public() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let roots = house.stranger().call("GET", "/roots.pem").await.is(200);
        let root = pem::decode_all(pem::CERTIFICATE, std::str::from_utf8(&roots.body).unwrap()).unwrap();
        let issuing = house.plain().call("GET", "/aia/internal-issuing-1.cer").await.is(200);
        assert_eq!(issuing.header("content-type"), "application/pkix-cert");
        chain::Issuer::read(&root[0]).unwrap().verify(&issuing.body).unwrap();
        house
            .plain()
            .call("GET", "/aia/other.cer")
            .await
            .problem(404, "not_found");
    });
}

#[test]
fn what_was_issued_is_found_by_all_that_is_known_of_it() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let admin = house.client("admin").await;
        let mut serials = Vec::new();
        for (name, ttl_s) in [("www.chancery.test", 600), ("a.deep.chancery.test", 1200)] {
            let asked = json!({"profile": "server-tls", "csr_pem": request(name), "ttl_s": ttl_s});
            let issued = admin
                .post("/api/authorities/internal/issue", &asked)
                .await
                .is(201)
                .json();
            serials.push(issued["serial"].as_str().unwrap().to_owned());
            // Lists are in the order of issuing, to the millisecond: the test's clock stands still by itself.
            house.node.clock.advance(std::time::Duration::from_millis(1));
        }
        let (www, deep) = (serials[0].as_str(), serials[1].as_str());
        let list = async |query: &str| {
            let path = format!("/api/authorities/internal/certificates?{query}");
            let found = admin.call("GET", &path).await.is(200).json();
            found["items"].as_array().unwrap().clone()
        };
        let found = async |query: &str| -> Vec<String> {
            let found = list(query).await;
            found
                .iter()
                .map(|one| one["serial"].as_str().unwrap().to_owned())
                .collect()
        };
        let known = list(&format!("serial={}", www.to_uppercase())).await.remove(0);
        assert_eq!(known["names"], json!(["dns:www.chancery.test"]));
        let spki = known["spki_sha256"].as_str().unwrap();
        let (owner, issuer) = (known["owner"].as_str().unwrap(), known["issuer"].as_str().unwrap());
        assert_eq!(owner, "spiffe://chancery.test/admin");
        assert_eq!(found("name=www.chancery.test").await, [www]);
        assert_eq!(found(&format!("spki_sha256={spki}")).await, [www]);
        assert_eq!(found("name=*.deep.chancery.test").await, [deep]);
        assert_eq!(found("name=*.chancery.test&profile=server-tls").await, [deep, www]);
        assert_eq!(found(&format!("owner={owner}&issuer={issuer}")).await, [deep, www]);
        assert_eq!(found("expires_within_s=700").await, [www]);
        assert_eq!(found("expires_within_s=10000&name=*.chancery.test").await, [deep, www]);
        let end = known["not_after"].as_str().unwrap();
        assert_eq!(found(&format!("expires_after={end}&expires_before={end}")).await, [www]);
        assert_eq!(found("profile=server-tls&status=revoked").await, Vec::<String>::new());

        let revoke = format!("/api/authorities/internal/certificates/{www}/revoke");
        admin.post(&revoke, &json!({})).await.is(200);
        assert_eq!(found("status=revoked").await, [www]);
        house.node.clock.advance(std::time::Duration::from_secs(1300));
        // The log refuses until it has signed a checkpoint in the new time.
        while admin
            .call("GET", "/api/authorities/internal/certificates?status=expired")
            .await
            .status
            == 503
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(found("status=expired").await, [deep]);
        assert_eq!(list("status=expired").await[0]["state"], "expired");

        for wrong in [
            "name=a..b",
            "serial=x",
            "status=lost",
            "expires_after=soon",
            "colour=red",
        ] {
            let path = format!("/api/authorities/internal/certificates?{wrong}");
            admin.call("GET", &path).await.problem(400, "invalid");
        }
        let auditor = house.client("web").await;
        let path = "/api/authorities/internal/certificates?status=issued";
        auditor.call("GET", path).await.problem(403, "denied");
    });
}

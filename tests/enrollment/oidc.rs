//! Certificates by an OIDC issuer's JWT: what is taken, what is refused, replay, rotation of keys, and an issuer that
//! is down or hostile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chancery::access::{AssignRole, ListRoleAssignments};
use chancery::clock::Clock;
use chancery::enrollment::{
    CreateIdentity, DeleteEntry, DisableIdentity, Enrolled, Request, ShowIdentity, UpdateEntry, UpdateIdentity,
    enroll_by_jwt,
};
use chancery::error::{Kind, Result};
use chancery::identity::Caller;
use chancery::policy::{Role, Scope, Who};
use chancery::secret::Secret;
use chancery::wire::{GroupClaim, Way};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::house::{HOUR, House, WEB, csr_of, id, new_key, refused, request, source};
use crate::issuer::{Issuer, Key, Mood, forged};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;

on_both_engines!(
    a_jwt_that_an_entry_takes_gives_a_certificate_once,
    what_an_entry_does_not_ask_for_is_refused,
    keys_rotate,
    an_issuer_that_is_down_or_hostile,
    who_goes_away_takes_no_answer_from_others,
    entries_are_shown_changed_and_deleted,
    who_is_disabled_gets_nothing_by_an_entry_either,
    a_claim_puts_an_identity_into_groups,
);

fn way(issuer: &Issuer, claims: &[(&str, &str)]) -> Way {
    Way::Oidc {
        issuer: issuer.url.clone(),
        audience: "chancery".to_owned(),
        claims: claims
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ca_pem: Some(issuer.ca_pem.clone()),
        group_claim: None,
    }
}

const SUB: (&str, &str) = ("sub", "system:serviceaccount:prod:web");

impl House {
    async fn entry(&self, admin: &Caller, identity: &str, way: Way) -> String {
        let create = CreateIdentity {
            way: Some(way),
            ..CreateIdentity::by_token(id(identity), None)
        };
        self.enrol_as(admin, create).await.unwrap().entries[0].id.to_string()
    }

    async fn by_jwt(&self, jwt: &str, key: &Secret, wanted: Option<&str>) -> Result<Enrolled> {
        let csr = csr_of(key);
        let asked = Request {
            source: source(),
            request: request(),
            wanted: wanted.map(id),
            csr: &csr,
        };
        enroll_by_jwt(&self.gate, &self.enrollment, asked, jwt).await
    }
}

async fn a_jwt_that_an_entry_takes_gives_a_certificate_once(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let (es256, rs256, ps256) = (
        Key::new("es"),
        Key::rsa("rs", Algorithm::RS256),
        Key::rsa("ps", Algorithm::PS256),
    );
    issuer.publish(&[&es256, &rs256, &ps256]);
    let claims = [
        SUB,
        ("/kubernetes.io/namespace", "prod"),
        ("aud", "other"),
        ("ref_protected", "true"),
    ];
    let entry = house.entry(&admin, WEB, way(&issuer, &claims)).await;

    let token = es256.sign(&issuer.claims(house.clock.now()));
    let key = new_key();
    let first = house.by_jwt(&token, &key, None).await.unwrap();
    assert_eq!(first.id, id(WEB), "the entry says whose it is, not the request");
    house.show(&first).await.unwrap();

    // R41: a lost answer is asked for again by the same key.
    house.wait(Duration::from_secs(60)).await;
    let again = house.by_jwt(&token, &key, Some(WEB)).await.unwrap();
    assert_eq!(again, first);
    // And by no other: nor is the same token under another spelling of its signature another token.
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = format!("{signed}.{}", flipped(signature));
    for replayed in [&token, &other] {
        refused(
            house.by_jwt(replayed, &new_key(), None).await,
            Kind::Unauthenticated,
            "was used by another key",
        );
    }
    for key in [&rs256, &ps256] {
        let token = key.sign(&issuer.claims(house.clock.now()));
        house.by_jwt(&token, &new_key(), None).await.unwrap();
    }

    let recorded = house.records("Enroll").await;
    let by: Vec<_> = recorded
        .iter()
        .filter(|one| one["detail"]["entry"] == entry.as_str())
        .collect();
    let outcomes: Vec<_> = by.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(
        outcomes,
        [
            "intent", "done", "done", "failed", "failed", "intent", "done", "intent", "done"
        ]
    );
    assert_eq!(by[1]["detail"]["by"], "oidc");
    assert_eq!(by[1]["detail"]["serial"], first.serial.as_str());
    assert_eq!(by[1]["detail"]["subject"], SUB.1);
    assert_eq!(by[2]["detail"]["repeated"], "yes");
    let log = serde_json::to_string(&recorded).unwrap();
    assert!(
        !log.contains(signature) && !log.contains(signed),
        "the token is in the log"
    );

    // Whatever became of it, its time ends, and it is forgotten.
    house.wait(HOUR).await;
    refused(
        house.by_jwt(&token, &key, None).await,
        Kind::Unauthenticated,
        "the token ended at",
    );
    house.enrollment.sweep(&house.gate).await.unwrap();
    assert_eq!(house.records("PurgeExpired").await[0]["detail"]["proofs"], "3");
}

/// The same ECDSA signature with its other `s`, which verifies as well.
fn flipped(signature: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use openssl::bn::BigNum;
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order = BigNum::from_hex_str("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let s = BigNum::from_slice(&bytes[32..]).unwrap();
    let flipped = (&order - &s).to_vec_padded(32).unwrap();
    URL_SAFE_NO_PAD.encode([&bytes[..32], &flipped].concat())
}

async fn what_an_entry_does_not_ask_for_is_refused(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let (good, stranger) = (Key::new("good"), Key::new("good"));
    issuer.publish(&[&good]);
    house.entry(&admin, WEB, way(&issuer, &[SUB])).await;
    let now = house.clock.now();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = issuer.claims(now);
        change(&mut claims);
        good.sign(&claims)
    };
    let claims = issuer.claims(now);
    let public = serde_json::to_vec(&good.jwk()).unwrap();
    let hmac = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(Algorithm::HS256),
        &claims,
        &jsonwebtoken::EncodingKey::from_secret(&public),
    )
    .unwrap();
    let header = |alg: &str| json!({"alg": alg, "kid": "good"});
    let tampered = {
        let token = good.sign(&claims);
        let parts: Vec<&str> = token.split('.').collect();
        let mut other = claims.clone();
        other["sub"] = json!("system:serviceaccount:prod:admin");
        let forged = forged(&header("ES256"), &other, b"");
        format!("{}{}", forged, parts[2])
    };
    let cases: Vec<(String, &str)> = vec![
        ("nonsense".to_owned(), "not a JWT"),
        ("a.b.c".to_owned(), "not a JWT"),
        ("x".repeat(20_000), "not a JWT"),
        (forged(&header("none"), &claims, b""), "of no kind that is taken"),
        (hmac, "of no kind that is taken"),
        (forged(&header("RS256"), &claims, &[1; 256]), "does not publish"),
        (
            forged(
                &json!({"alg": "ES256", "kid": "good", "crit": ["x"]}),
                &claims,
                &[1; 64],
            ),
            "critical headers",
        ),
        (
            forged(&header("ES256"), &claims, &[1; 64]),
            "not by a key of its issuer",
        ),
        (stranger.sign(&claims), "not by a key of its issuer"),
        (tampered, "not by a key of its issuer"),
        (with(&|claims| claims["aud"] = json!("other")), "no registration entry"),
        (with(&|claims| claims["aud"] = json!(["x"])), "no registration entry"),
        (
            with(&|claims| claims["sub"] = json!("system:serviceaccount:prod:web2")),
            "no registration entry",
        ),
        (with(&|claims| claims["sub"] = json!(null)), "no registration entry"),
        (
            with(&|claims| claims["iss"] = json!("https://other.test")),
            "no registration entry",
        ),
        (
            with(&|claims| claims["iss"] = json!(format!("{}/", issuer.url))),
            "no registration entry",
        ),
        (with(&|claims| claims["iss"] = json!(7)), "names no issuer"),
        (
            with(&|claims| claims["exp"] = json!(now.unix() - 60)),
            "the token ended at",
        ),
        (with(&|claims| claims["exp"] = json!("soon")), "says no `exp`"),
        (
            with(&|claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
            "says no `exp`",
        ),
        (
            with(&|claims| drop(claims.as_object_mut().unwrap().remove("iat"))),
            "says no `iat`",
        ),
        (with(&|claims| claims["iat"] = json!(now.unix() + 61)), "is valid from"),
        (with(&|claims| claims["nbf"] = json!(now.unix() + 61)), "is valid from"),
        (
            with(&|claims| claims["exp"] = json!(now.unix() + 86_401)),
            "lives for longer than",
        ),
    ];
    let before = house.log.size();
    for (token, says) in &cases {
        refused(house.by_jwt(token, &new_key(), None).await, Kind::Unauthenticated, says);
    }
    assert_eq!(
        house.log.size(),
        before,
        "strangers are counted, not recorded one by one"
    );
    refused(
        house
            .by_jwt(&good.sign(&claims), &new_key(), Some("spiffe://chancery.test/admin"))
            .await,
        Kind::Unauthenticated,
        "no registration entry",
    );
    // Clocks may be a minute apart.
    let ahead = with(&|claims| claims["iat"] = json!(now.unix() + 60));
    house.by_jwt(&ahead, &new_key(), None).await.unwrap();
    // Of two identities that it fits, the caller says which.
    house
        .entry(&admin, "spiffe://chancery.test/web2", way(&issuer, &[SUB]))
        .await;
    let token = good.sign(&claims);
    refused(
        house.by_jwt(&token, &new_key(), None).await,
        Kind::Invalid,
        "say which one",
    );
    let key = new_key();
    let second = house
        .by_jwt(&token, &key, Some("spiffe://chancery.test/web2"))
        .await
        .unwrap();
    assert_eq!(second.id, id("spiffe://chancery.test/web2"));
    refused(
        house.by_jwt(&token, &new_key(), Some(WEB)).await,
        Kind::Unauthenticated,
        "was used by another key",
    );
}

async fn keys_rotate(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let (old, new) = (Key::new("old"), Key::new("new"));
    issuer.publish(&[&old]);
    issuer.cache("public, max-age=300");
    house.entry(&admin, WEB, way(&issuer, &[SUB])).await;
    let enrol = async |key: &Key, n: u32| {
        let mut claims = issuer.claims(house.clock.now());
        claims["jti"] = json!(n);
        house.by_jwt(&key.sign(&claims), &new_key(), None).await
    };
    enrol(&old, 1).await.unwrap();
    enrol(&old, 2).await.unwrap();
    assert_eq!(issuer.asked(), 1, "keys are kept for as long as the issuer says");

    // A key that is not known is asked for, once in ten seconds whatever is invented.
    issuer.publish(&[&old, &new]);
    refused(enrol(&new, 3).await, Kind::Unauthenticated, "does not publish");
    assert_eq!(issuer.asked(), 1);
    house.wait(Duration::from_secs(10)).await;
    enrol(&new, 4).await.unwrap();
    assert_eq!(issuer.asked(), 2);
    for n in 0..10 {
        refused(
            enrol(&Key::new("invented"), n).await,
            Kind::Unauthenticated,
            "does not publish",
        );
    }
    assert_eq!(issuer.asked(), 2);

    // What the issuer drops is gone with the next look.
    issuer.publish(&[&new]);
    enrol(&old, 5).await.unwrap();
    house.wait(Duration::from_secs(300)).await;
    refused(enrol(&old, 6).await, Kind::Unauthenticated, "does not publish");
    enrol(&new, 7).await.unwrap();
    assert_eq!(issuer.asked(), 3);

    // However long it says: an hour; however short: a minute.
    issuer.cache("max-age=31536000");
    house.wait(Duration::from_secs(300)).await;
    enrol(&new, 8).await.unwrap();
    house.wait(Duration::from_secs(3_599)).await;
    enrol(&new, 9).await.unwrap();
    assert_eq!(issuer.asked(), 4);
    issuer.cache("no-store");
    house.wait(Duration::from_secs(1)).await;
    enrol(&new, 10).await.unwrap();
    house.wait(Duration::from_secs(59)).await;
    enrol(&new, 11).await.unwrap();
    assert_eq!(issuer.asked(), 5);
}

async fn an_issuer_that_is_down_or_hostile(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let key = Key::new("k");
    issuer.publish(&[&key]);
    house.entry(&admin, WEB, way(&issuer, &[SUB])).await;
    let enrol = async |n: u32| {
        let mut claims = issuer.claims(house.clock.now());
        claims["jti"] = json!(n);
        house.by_jwt(&key.sign(&claims), &new_key(), None).await
    };
    for (mood, says) in [
        (Mood::Down, "503"),
        (Mood::Huge, "too large"),
        (Mood::Redirects, "not followed"),
        (Mood::Slow, "not reached"),
        (Mood::Speaks, "names another issuer"),
        (Mood::PointsInside, "not taken"),
    ] {
        issuer.be(mood);
        refused(enrol(0).await, Kind::Unavailable, says);
        refused(enrol(0).await, Kind::Unavailable, "try again soon");
        house.wait(Duration::from_secs(10)).await;
    }
    issuer.be(Mood::Well);
    enrol(1).await.unwrap();

    // What it said last goes on for an hour, however it fails.
    issuer.be(Mood::Down);
    house.wait(Duration::from_secs(61)).await;
    enrol(2).await.unwrap();
    house.wait(Duration::from_secs(3_590)).await;
    enrol(3).await.unwrap();
    house.wait(Duration::from_secs(10)).await;
    refused(enrol(4).await, Kind::Unavailable, "503");
    house.wait(Duration::from_secs(10)).await;
    issuer.be(Mood::Well);
    enrol(5).await.unwrap();
}

async fn who_goes_away_takes_no_answer_from_others(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let key = Key::new("k");
    issuer.publish(&[&key]);
    issuer.be(Mood::Late);
    house.entry(&admin, WEB, way(&issuer, &[SUB])).await;
    let jwt = key.sign(&issuer.claims(house.clock.now()));
    let (stranger, mine) = (new_key(), new_key());
    tokio::select! {
        early = house.by_jwt(&jwt, &stranger, None) => panic!("{:?}", early.map(|_| ())),
        () = async {
            while issuer.asked() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    house.by_jwt(&jwt, &mine, None).await.unwrap();
    assert_eq!(issuer.asked(), 1);
}

async fn entries_are_shown_changed_and_deleted(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let key = Key::new("k");
    issuer.publish(&[&key]);
    let entry = house.entry(&admin, WEB, way(&issuer, &[SUB])).await.parse().unwrap();
    let shown = house.enrol_as(&admin, ShowIdentity { id: id(WEB) }).await.unwrap();
    assert_eq!(shown.entries.len(), 1);
    assert_eq!(shown.entries[0].way, way(&issuer, &[SUB]));

    let other = way(&issuer, &[("sub", "other")]);
    let update = UpdateEntry {
        identity: id(WEB),
        id: entry,
        way: other.clone(),
    };
    assert_eq!(house.enrol_as(&admin, update.clone()).await.unwrap().way, other);
    let token = key.sign(&issuer.claims(house.clock.now()));
    refused(
        house.by_jwt(&token, &new_key(), None).await,
        Kind::Unauthenticated,
        "no registration entry",
    );
    let back = UpdateEntry {
        way: way(&issuer, &[SUB]),
        ..update.clone()
    };
    house.enrol_as(&admin, back).await.unwrap();
    house.by_jwt(&token, &new_key(), None).await.unwrap();

    let elsewhere = DeleteEntry {
        identity: id("spiffe://chancery.test/admin"),
        id: entry,
    };
    refused(house.enrol_as(&admin, elsewhere).await, Kind::NotFound, "no entry");
    let delete = DeleteEntry {
        identity: id(WEB),
        id: entry,
    };
    house.enrol_as(&admin, delete.clone()).await.unwrap();
    refused(house.enrol_as(&admin, delete).await, Kind::NotFound, "no entry");
    refused(house.enrol_as(&admin, update).await, Kind::NotFound, "no entry");
    let token = key.sign(&issuer.claims(house.clock.now()));
    refused(
        house.by_jwt(&token, &new_key(), None).await,
        Kind::Unauthenticated,
        "no registration entry",
    );

    let wrong = |issuer: &str, audience: &str, claims: &[(&str, &str)]| Way::Oidc {
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        claims: claims
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ca_pem: None,
        group_claim: None,
    };
    for (way, says) in [
        (wrong("https://a.test", "chancery", &[]), "1 to 16 claims"),
        (wrong("https://a.test", "", &[SUB]), "names an audience"),
        (wrong("https://a.test?x", "chancery", &[SUB]), "has a query"),
        (wrong("http://a.test", "chancery", &[SUB]), "over https only"),
        (wrong("https://u@a.test", "chancery", &[SUB]), "leave user"),
        (wrong("https://169.254.169.254", "chancery", &[SUB]), "a special one"),
        (wrong("https://a.test", "chancery", &[("sub", "")]), "is empty"),
    ] {
        let create = CreateIdentity {
            way: Some(way),
            ..CreateIdentity::by_token(id(WEB), None)
        };
        refused(house.enrol_as(&admin, create).await, Kind::Invalid, says);
    }
}

async fn who_is_disabled_gets_nothing_by_an_entry_either(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let key = Key::new("k");
    issuer.publish(&[&key]);
    house.entry(&admin, WEB, way(&issuer, &[SUB])).await;
    house.enrol_as(&admin, DisableIdentity { id: id(WEB) }).await.unwrap();
    let token = key.sign(&issuer.claims(house.clock.now()));
    refused(
        house.by_jwt(&token, &new_key(), None).await,
        Kind::Unauthenticated,
        "is disabled",
    );
    let failed = house.records("Enroll").await;
    let failed = failed.last().unwrap();
    assert_eq!(
        (&failed["outcome"], &failed["detail"]["identity"]),
        (&json!("failed"), &json!(WEB))
    );
}

/// R41 on two nodes: what was shown to one is known to the other, and the same key gets the same certificate from both.
#[test]
fn r41_a_replay_is_refused_by_every_node() {
    with_token(|token| async move {
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        let two = House::open(&token, &url, "n2").await;
        let admin = one.administrator().await;
        let issuer = Issuer::start().await;
        let key = Key::new("k");
        issuer.publish(&[&key]);
        one.entry(&admin, WEB, way(&issuer, &[SUB])).await;
        let jwt = key.sign(&issuer.claims(one.clock.now()));
        let (mine, thiefs) = (new_key(), new_key());
        let (a, b) = tokio::join!(one.by_jwt(&jwt, &mine, None), two.by_jwt(&jwt, &thiefs, None));
        let (won, winner, loser) = match (a, b) {
            (Ok(won), Err(_)) => (won, &mine, &thiefs),
            (Err(_), Ok(won)) => (won, &thiefs, &mine),
            other => panic!("one key wins: {other:?}"),
        };
        for node in [&one, &two] {
            assert_eq!(node.by_jwt(&jwt, winner, None).await.unwrap(), won);
            refused(
                node.by_jwt(&jwt, loser, None).await,
                Kind::Unauthenticated,
                "was used by another key",
            );
        }
    });
}

async fn a_claim_puts_an_identity_into_groups(house: House) {
    let admin = house.administrator().await;
    let issuer = Issuer::start().await;
    let key = Key::new("k");
    issuer.publish(&[&key]);
    let mut asked = way(&issuer, &[SUB]);
    let Way::Oidc { group_claim, .. } = &mut asked else {
        panic!("an OIDC entry")
    };
    *group_claim = Some(GroupClaim {
        claim: "/realm/groups".to_owned(),
        prefix: "ci/".to_owned(),
    });
    let entry = house.entry(&admin, WEB, asked.clone()).await;
    let enrol = async |groups: Value| {
        // No two tokens are the same.
        house.wait(Duration::from_secs(1)).await;
        let mut claims = issuer.claims(house.clock.now());
        claims["realm"] = json!({ "groups": groups });
        house.by_jwt(&key.sign(&claims), &new_key(), None).await
    };
    let groups = async || {
        let shown = house.enrol_as(&admin, ShowIdentity { id: id(WEB) }).await.unwrap();
        let mut names: Vec<String> = shown.groups.iter().map(|(_, group)| group.to_string()).collect();
        names.sort();
        names
    };

    let enrolled = enrol(json!(["ops", "dev", "ops"])).await.unwrap();
    assert_eq!(groups().await, ["ci/dev", "ci/ops"]);
    let caller = house.show(&enrolled).await.unwrap();
    let list = || ListRoleAssignments { after: None, limit: 10 };
    refused(house.access_as(&caller, list()).await, Kind::Denied, "may not");
    let reader = AssignRole::lasting("group:ci/ops".parse::<Who>().unwrap(), Role::Reader, Scope::Everything);
    house.access_as(&admin, reader).await.unwrap();
    house.access_as(&caller, list()).await.unwrap();

    // What is shown next counts, for the certificates that are there too.
    enrol(json!("dev")).await.unwrap();
    assert_eq!(groups().await, ["ci/dev"]);
    refused(house.access_as(&caller, list()).await, Kind::Denied, "may not");
    enrol(json!(null)).await.unwrap();
    assert!(groups().await.is_empty());
    for (wrong, says) in [
        (json!(7), "no text and no list of texts"),
        (json!(["ops", 7]), "no text and no list of texts"),
        (json!(["ops\n"]), "cannot be one"),
        (
            json!((0..300).map(|number| number.to_string()).collect::<Vec<_>>()),
            "names 300 groups",
        ),
    ] {
        refused(enrol(wrong).await, Kind::Unauthenticated, says);
    }
    let recorded = house.records("Enroll").await;
    assert!(
        recorded.iter().any(|one| one["detail"]["groups"] == "ci/dev, ci/ops"),
        "{recorded:?}"
    );

    // With the entry go the groups that it gave, and what the registration says stays.
    enrol(json!(["ops"])).await.unwrap();
    let update = UpdateIdentity {
        id: id(WEB),
        ttl: None,
        grace: None,
        groups: BTreeSet::from(["own".parse().unwrap()]),
    };
    house.enrol_as(&admin, update).await.unwrap();
    assert_eq!(groups().await, ["ci/ops", "own"]);
    let delete = DeleteEntry {
        identity: id(WEB),
        id: entry.parse().unwrap(),
    };
    house.enrol_as(&admin, delete).await.unwrap();
    assert_eq!(groups().await, ["own"]);
    refused(house.access_as(&caller, list()).await, Kind::Denied, "may not");

    let Way::Oidc { group_claim, .. } = &mut asked else {
        panic!("an OIDC entry")
    };
    group_claim.as_mut().unwrap().prefix.clear();
    let create = CreateIdentity {
        way: Some(asked),
        ..CreateIdentity::by_token(id(WEB), None)
    };
    refused(house.enrol_as(&admin, create).await, Kind::Invalid, "is empty");
}

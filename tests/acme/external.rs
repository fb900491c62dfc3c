//! External accounts (rows E1 to E5), and what administrators say of accounts.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

use crate::house::{Acme, cli, stranger};
use crate::support::acme::{Answer, Client, Key, b64};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;

const KEYS: &str = "/api/authorities/internal/acme/external-keys";
const ACCOUNTS: &str = "/api/authorities/internal/acme/accounts";

/// The binding of an account key to an external one, after `twist`.
fn binding(client: &Client, key: &Value, alg: &str, twist: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let algorithm = match alg {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let mut protected = json!({"alg": alg, "kid": key["kid"], "url": client.url("newAccount")});
    let mut payload = client.key.jwk.clone();
    twist(&mut protected, &mut payload);
    let [protected, payload] = [protected, payload].map(|part| b64(part.to_string().as_bytes()));
    let value = BASE64URL.decode(key["hmac_key"].as_str().unwrap()).unwrap();
    let tag = hmac::sign(
        &hmac::Key::new(algorithm, &value),
        format!("{protected}.{payload}").as_bytes(),
    );
    json!({"protected": protected, "payload": payload, "signature": b64(tag.as_ref())})
}

async fn enter(client: &Client, binding: &Value) -> Answer {
    let asked = json!({"termsOfServiceAgreed": true, "externalAccountBinding": binding});
    client.post(&client.url("newAccount"), &asked).await
}

/// A client whose account is bound to this key.
async fn bound(client: Client, key: &Value) -> Client {
    let client = client.with_key(Key::es256());
    let answer = enter(&client, &binding(&client, key, "HS256", |_, _| ())).await.is(201);
    client.at(&answer)
}

fn id(client: &Client) -> String {
    let kid = client.kid.as_ref().unwrap();
    kid.rsplit('/').next().unwrap().to_owned()
}

/// A key of the real program's, for an identity of its own.
fn key(identity: &str, more: &[&str]) -> Value {
    cli(&["identity", "create", "--id", identity]);
    cli(&[&["acme", "eab", "create", "--identity", identity], more].concat())
}

async fn order(client: &Client, names: &[&str]) -> Answer {
    let identifiers: Vec<Value> = names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
    client
        .post(&client.url("newOrder"), &json!({ "identifiers": identifiers }))
        .await
}

#[test]
fn row_e1_row_11_a_binding_is_asked_for_where_one_is_required() {
    with_token(|token| async move {
        let acme = Acme::open(token, "external_account_required = true").await;
        let client = acme.stranger().await;
        assert_eq!(client.directory["meta"]["externalAccountRequired"], true);
        let asked = json!({"termsOfServiceAgreed": true});
        client
            .post(&client.url("newAccount"), &asked)
            .await
            .problem(403, "externalAccountRequired");

        let identity = "spiffe://chancery.test/web";
        let asked = json!({ "identity": identity, "ttl_s": 600 });
        let unknown = acme.administer("POST", KEYS, asked.clone()).await;
        assert_eq!(unknown.0, 404, "the identity is not registered: {}", unknown.1);
        acme.administer("POST", "/api/identities", json!({ "id": identity }))
            .await;
        let (status, key) = acme.administer("POST", KEYS, asked.clone()).await;
        assert_eq!(status, 201, "{key}");
        let client = bound(client, &key).await;
        // Row E5: no binding is needed for a key that has an account.
        let again = client.by_key();
        again.post(&again.url("newAccount"), &json!({})).await.is(200);

        // The key's time is over.
        let (_, key) = acme.administer("POST", KEYS, asked).await;
        acme.advance(600).await;
        let late = acme.stranger().await;
        enter(&late, &binding(&late, &key, "HS256", |_, _| ()))
            .await
            .problem(403, "unauthorized");
    });
}

#[tokio::test]
async fn row_e2_row_e3_row_e4_a_binding_must_hold_and_is_kept_as_it_was_sent() {
    let key = key("spiffe://chancery.test/e2", &["--reusable"]);
    let client = stranger().await;
    type Twist = fn(&mut Value, &mut Value);
    let wrong: [(&str, Twist); 6] = [
        ("another url", |header, _| {
            header["url"] = json!("https://ca.test/new-account")
        }),
        ("a nonce", |header, _| header["nonce"] = json!("AAAA")),
        ("a key in the header", |header, payload| header["jwk"] = payload.clone()),
        ("no kid", |header, _| header["kid"] = Value::Null),
        ("an algorithm that is no MAC", |header, _| {
            header["alg"] = json!("ES256")
        }),
        ("another account key", |_, payload| *payload = Key::es256().jwk),
    ];
    for (what, twist) in wrong {
        let answer = enter(&client, &binding(&client, &key, "HS256", twist)).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        answer.problem(400, "malformed");
    }
    let unknown = json!({"kid": "00000000000000000000000000000000", "hmac_key": key["hmac_key"]});
    let other = json!({"kid": key["kid"], "hmac_key": b64(&[7; 64])});
    for key in [unknown, other] {
        enter(&client, &binding(&client, &key, "HS256", |_, _| ()))
            .await
            .problem(403, "unauthorized");
    }
    enter(&client, &json!("text")).await.problem(400, "malformed");

    for alg in ["HS256", "HS384", "HS512"] {
        let client = client.with_key(Key::es256());
        let sent = binding(&client, &key, alg, |_, _| ());
        let answer = enter(&client, &sent).await.is(201);
        assert_eq!(answer.json()["externalAccountBinding"], sent);
        let client = client.at(&answer);
        let shown = client.get(client.kid.as_ref().unwrap()).await.json();
        assert_eq!(shown["externalAccountBinding"], sent);
    }
    let listed = cli(&["acme", "eab", "list"]);
    let listed = listed.as_array().unwrap().iter().find(|one| one["kid"] == key["kid"]);
    assert_eq!(listed.unwrap()["used"], 3);
    assert!(listed.unwrap().get("hmac_key").is_none());
}

#[tokio::test]
async fn row_e5_a_key_makes_one_account_unless_it_says_otherwise() {
    let key = key("spiffe://chancery.test/e5", &[]);
    let first = bound(stranger().await, &key).await;
    let second = stranger().await;
    enter(&second, &binding(&second, &key, "HS256", |_, _| ()))
        .await
        .problem(403, "unauthorized");
    // Its end takes nothing from the account.
    cli(&["acme", "eab", "delete", "--kid", key["kid"].as_str().unwrap()]);
    order(&first, &["row-e5.test"]).await.is(201);
    let shown = cli(&["acme", "account", "show", "--id", &id(&first)]);
    assert_eq!(shown["identity"], "spiffe://chancery.test/e5");
    assert_eq!(shown["external_key"], key["kid"]);
}

#[tokio::test]
async fn a_trusted_account_need_show_nothing_for_its_names_and_gets_no_others() {
    let more = ["--allow", "*.trusted.test", "--deny", "no.trusted.test", "--trusted"];
    let client = bound(stranger().await, &key("spiffe://chancery.test/trusted", &more)).await;
    let names = ["a.trusted.test", "*.b.trusted.test"];
    let placed = order(&client, &names).await.is(201);
    assert_eq!(placed.json()["status"], "ready");
    let authorization = placed.json()["authorizations"][0].as_str().unwrap().to_owned();
    let authorization = client.get(&authorization).await.is(200).json();
    assert_eq!(authorization["status"], "valid");
    assert_eq!(authorization["challenges"], json!([]));
    let url = placed.header("location").to_owned();
    let done = client.finalize(&url, &names).await.0.is(200).json();
    client.get(done["certificate"].as_str().unwrap()).await.is(200);

    let problem = order(&client, &["a.trusted.test", "no.trusted.test", "elsewhere.test"])
        .await
        .problem(400, "rejectedIdentifier");
    let refused: Vec<&Value> = problem["subproblems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["identifier"]["value"])
        .collect();
    assert_eq!(refused, ["no.trusted.test", "elsewhere.test"]);
    order(&client, &["*.trusted.test"])
        .await
        .problem(400, "rejectedIdentifier");

    // An identity that is disabled has accounts that do nothing.
    cli(&["identity", "disable", "--id", "spiffe://chancery.test/trusted"]);
    order(&client, &names).await.problem(403, "unauthorized");
    cli(&["identity", "enable", "--id", "spiffe://chancery.test/trusted"]);
    order(&client, &names).await.is(201);
}

/// Its role is all that an account has, as the policy decides and the audit log says.
#[tokio::test]
async fn an_account_whose_key_names_a_role_does_what_that_allows_and_nothing_else() {
    let world = crate::support::acme::World::shared();
    let identity = "spiffe://chancery.test/role";
    let requester = bound(stranger().await, &key(identity, &["--role", "acme-requester"])).await;
    let shown = cli(&["acme", "account", "show", "--id", &id(&requester)]);
    assert_eq!(shown["role"], "ACME Requester");
    let listed = cli(&["acme", "eab", "list"]);
    let mut listed = listed.as_array().unwrap().iter();
    assert!(listed.any(|one| one["identity"] == identity && one["role"] == "ACME Requester"));

    let names = ["a.role.test"];
    let (_, chain, _) = requester.certificate(&world, &names).await;
    let revocation = json!({"certificate": b64(&crate::certificates::leaf(&chain))});
    let revoke = requester.url("revokeCert");
    requester.post(&revoke, &revocation).await.problem(403, "unauthorized");
    let account = requester.kid.clone().unwrap();
    let update = json!({"contact": ["mailto:a@role.test"]});
    requester.post(&account, &update).await.problem(403, "unauthorized");
    let end = json!({"status": "deactivated"});
    requester.post(&account, &end).await.problem(403, "unauthorized");
    assert_eq!(requester.get(&account).await.is(200).json()["status"], "valid");
    // It goes on with what it may.
    requester.certificate(&world, &names).await;

    // The other role may all that an account without one may.
    let client = bound(
        stranger().await,
        &key("spiffe://chancery.test/role-2", &["--role", "ACME Client"]),
    )
    .await;
    let (_, chain, _) = client.certificate(&world, &["b.role.test"]).await;
    let revocation = json!({"certificate": b64(&crate::certificates::leaf(&chain))});
    client.post(&revoke, &revocation).await.is(200);
    client.post(client.kid.as_ref().unwrap(), &update).await.is(200);
}

#[test]
fn a_role_that_is_not_for_accounts_makes_no_key_and_theirs_is_no_callers() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let identity = "spiffe://chancery.test/web";
        acme.administer("POST", "/api/identities", json!({ "id": identity }))
            .await;
        let asked = json!({ "identity": identity, "role": "Administrator" });
        let (status, problem) = acme.administer("POST", KEYS, asked).await;
        assert_eq!(status, 400, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains("ACME Requester"),
            "{problem}"
        );
        let asked = json!({ "principal": identity, "role": "ACME Client", "scope": "/" });
        let (status, problem) = acme.administer("POST", "/api/role-assignments", asked).await;
        assert_eq!(status, 400, "{problem}");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("key that they are made with"),
            "{problem}"
        );

        // The records name the role that decided, and the account's authority as its scope.
        let asked = json!({ "identity": identity, "role": "ACME Requester" });
        let (_, key) = acme.administer("POST", KEYS, asked).await;
        let client = bound(acme.stranger().await, &key).await;
        client.order(&["a.test"]).await;
        let entries = acme.house.services.log.entries(0, 1000).await.unwrap();
        let mut records = entries
            .records
            .iter()
            .map(|bytes| serde_json::from_slice::<Value>(bytes).unwrap());
        let record = records.find(|record| record["action"] == "CreateAcmeOrder").unwrap();
        let policy = format!("ACME Requester@authorities/internal#{}", id(&client));
        assert_eq!(record["policy"], json!([policy]));
    });
}

#[tokio::test]
async fn an_administrator_says_which_names_an_account_may_ask_for_and_ends_it() {
    let client = crate::house::client().await;
    let id = id(&client);
    let placed = order(&client, &["rules.test"]).await.is(201);
    let url = placed.header("location").to_owned();
    client.authorize(&crate::support::acme::World::shared(), &url).await;

    let update = ["acme", "account", "update", "--id", &id];
    let shown = cli(&[&update[..], &["--allow", "a.rules.test,10.0.0.0/8"]].concat());
    assert_eq!(shown["allow"], json!(["a.rules.test", "10.0.0.0/8"]));
    // What was placed before is judged again.
    let (refused, _) = client.finalize(&url, &["rules.test"]).await;
    refused.problem(400, "rejectedIdentifier");
    assert_eq!(client.get(&url).await.json()["status"], "ready");
    order(&client, &["rules.test"]).await.problem(400, "rejectedIdentifier");
    order(&client, &["a.rules.test"]).await.is(201);
    // What is left out stays, and what is empty is taken back.
    let shown = cli(&[&update[..], &["--deny", "b.rules.test"]].concat());
    assert_eq!(shown["allow"], json!(["a.rules.test", "10.0.0.0/8"]));
    let shown = cli(&[&update[..], &["--allow"]].concat());
    assert_eq!(
        (&shown["allow"], &shown["deny"]),
        (&json!([]), &json!(["b.rules.test"]))
    );
    client.finalize(&url, &["rules.test"]).await.0.is(200);

    let listed = cli(&["acme", "account", "list"]);
    assert!(listed.as_array().unwrap().iter().any(|one| one["id"] == id.as_str()));
    let ended = cli(&["--yes", "acme", "account", "deactivate", "--id", &id]);
    assert_eq!(ended["status"], "deactivated");
    order(&client, &["a.rules.test"]).await.problem(401, "unauthorized");
}

#[test]
fn a_key_makes_one_account_on_two_nodes_on_postgres_and_rules_count_on_both() {
    with_token(|token| async move {
        let postgres = Postgres::start();
        let one = Acme::open_on(token, &postgres.database(), "n1", "").await;
        let two = one.beside("n2").await;
        let identity = "spiffe://chancery.test/nodes";
        one.administer("POST", "/api/identities", json!({ "id": identity }))
            .await;
        let (status, key) = one.administer("POST", KEYS, json!({ "identity": identity })).await;
        assert_eq!(status, 201, "{key}");
        let clients = [one.stranger().await, two.stranger().await].map(|client| client.with_key(Key::es256()));
        let answers = futures::future::join_all((0..6).map(|n| {
            let client = clients[n % 2].with_key(Key::es256());
            let sent = binding(&client, &key, "HS256", |_, _| ());
            async move { (enter(&client, &sent).await, client) }
        }))
        .await;
        let mut made: Vec<_> = answers.into_iter().filter(|(answer, _)| answer.status == 201).collect();
        assert_eq!(made.len(), 1);
        let (answer, client) = made.remove(0);
        let client = client.at(&answer);
        let (here, there) = (client.over(one.transport()), client.over(two.transport()));
        order(&there, &["a.nodes.test"]).await.is(201);
        let path = format!("{ACCOUNTS}/{}", id(&client));
        let (status, shown) = one.administer("PATCH", &path, json!({"deny": ["a.nodes.test"]})).await;
        assert_eq!(status, 200, "{shown}");
        for client in [&here, &there] {
            order(client, &["a.nodes.test"])
                .await
                .problem(400, "rejectedIdentifier");
        }
    });
}

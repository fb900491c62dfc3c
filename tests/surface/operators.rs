//! What those who run the service look at: health, metrics, the audit log, roles.

use std::sync::Arc;

use chancery::cli::verify::{Proven, verify_proof};
use serde_json::json;

use crate::house::{Client, House};
use crate::support::softhsm::with_token;

#[test]
fn health_is_public_and_metrics_are_not() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let stranger = house.stranger();
        for path in ["/healthz", "/readyz", "/version"] {
            stranger.call("GET", path).await.is(200);
        }
        stranger.call("GET", "/metrics").await.problem(401, "unauthenticated");
        house
            .client("web")
            .await
            .call("GET", "/metrics")
            .await
            .problem(403, "denied");
        let allowed = house.client("auditor").await.call("GET", "/metrics").await.is(200);
        let counted = "chancery_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1";
        let text = String::from_utf8(allowed.body).unwrap();
        for said in [
            counted,
            "chancery_issuer_not_after_seconds{issuer=\"internal-root-1\"} ",
            "chancery_audit_healthy 1",
        ] {
            assert!(text.contains(said), "{text}");
        }
        let own = Client {
            routes: &house.metrics,
            chain: Arc::new([]),
            serial: String::new(),
        };
        own.call("GET", "/metrics").await.is(200);
        own.call("GET", "/api/vaults").await.problem(404, "not_found");
    });
}

#[test]
fn the_log_is_searched_and_the_search_is_recorded() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let auditor = house.client("auditor").await;
        house
            .client("officer")
            .await
            .call("GET", "/api/audit/log")
            .await
            .problem(403, "denied");
        let search = |query: &str| {
            let path = format!("/api/audit/records?{query}");
            let auditor = &auditor;
            async move { auditor.call("GET", &path).await.is(200).json() }
        };
        let found = search("outcome=denied&action=ReadAuditLog&resource=audit").await;
        let item = &found["items"][0];
        let index = item["index"].as_u64().unwrap();
        let lies = house.node.log.entries(index, 1).await.unwrap().records;
        assert_eq!(item["record"].as_str().unwrap().as_bytes(), lies[0]);
        assert_eq!(item["node"], "n1");
        assert_eq!(found["logs"][0]["indexed"], 0);
        assert_eq!(found["next"], serde_json::Value::Null);

        // What was asked and how much was found.
        let record = search("limit=1").await["items"][0]["record"]
            .as_str()
            .unwrap()
            .to_owned();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["action"], "ReadAuditLog");
        assert_eq!(record["detail"]["found"], "1");
        let asked: serde_json::Value = serde_json::from_str(record["detail"]["search"].as_str().unwrap()).unwrap();
        assert_eq!(
            asked,
            serde_json::json!({"action": "ReadAuditLog", "outcome": "denied", "resource": "audit"})
        );
        for wrong in [
            "outcome=bad",
            "decision=bad",
            "record=1",
            "request=x",
            "trace=x",
            "since=soon",
            "cursor=x",
            "colour=red",
        ] {
            let refused = auditor.call("GET", &format!("/api/audit/records?{wrong}")).await;
            refused.problem(400, "invalid");
        }
    });
}

#[test]
fn who_may_has_the_index_made_anew_and_that_is_recorded() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let path = "/api/audit/index/rebuild";
        let auditor = house.client("auditor").await;
        auditor.post(path, &serde_json::json!({})).await.problem(403, "denied");
        let admin = house.client("admin").await;
        let begun = admin.post(path, &serde_json::json!({})).await.is(200).json();
        assert_eq!(begun["node"], "n1");
        admin
            .post(path, &serde_json::json!({"node": "n9"}))
            .await
            .problem(404, "not_found");
        let found = admin
            .call("GET", "/api/audit/records?action=RebuildAuditIndex&outcome=done")
            .await
            .is(200)
            .json();
        let record: serde_json::Value = serde_json::from_str(found["items"][0]["record"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&record["resource"], &record["detail"]["log"]),
            (&"audit".into(), &"n1".into())
        );
        let metrics = admin.call("GET", "/metrics").await.is(200);
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        for gauge in [
            "chancery_audit_index_lag_records",
            "chancery_audit_index_rebuild_records 0",
        ] {
            assert!(metrics.contains(gauge), "{metrics}");
        }
    });
}

#[test]
fn a_proof_is_given_to_who_may_read_the_log() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let auditor = house.client("auditor").await;
        let key = house.node.log.verifier_key();
        let older = house.node.log.sign_now().await.unwrap();
        let covered = older.lines().nth(1).unwrap();
        let found = auditor.call("GET", "/api/audit/records?limit=1").await.is(200).json();
        let record = found["items"][0]["record"].as_str().unwrap().to_owned();
        let id = serde_json::from_str::<serde_json::Value>(&record).unwrap()["id"].clone();
        house.node.log.sign_now().await.unwrap();
        let by_id = format!("/api/audit/proof?record={}", id.as_str().unwrap());
        let proof = auditor.call("GET", &by_id).await.is(200);
        let proof = String::from_utf8(proof.body.to_vec()).unwrap();
        match verify_proof(&proof, &key, None).unwrap() {
            Proven::Included { record: proven, .. } => assert_eq!(proven, record.into_bytes()),
            other @ Proven::Grown { .. } => panic!("{other:?}"),
        }
        let growth = auditor
            .call("GET", &format!("/api/audit/proof?since={covered}"))
            .await
            .is(200);
        let growth = String::from_utf8(growth.body.to_vec()).unwrap();
        verify_proof(&growth, &key, Some(&older)).unwrap();
        for wrong in ["", "?index=0&since=1", "?record=x", "?index=-1"] {
            let refused = auditor.call("GET", &format!("/api/audit/proof{wrong}")).await;
            refused.problem(400, "invalid");
        }
        auditor
            .call("GET", "/api/audit/proof?index=99999")
            .await
            .problem(404, "not_found");
        auditor
            .call("GET", "/api/audit/proof?since=99999")
            .await
            .problem(409, "conflict");
    });
}

#[test]
fn the_log_is_read_by_who_may() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let auditor = house.client("auditor").await;
        let log = auditor.call("GET", "/api/audit/log").await.is(200).json();
        assert_eq!(log["origin"], "chancery.test/audit/n1");
        assert_eq!(log["verifier_key"], house.node.log.verifier_key());
        let entries = auditor
            .call("GET", "/api/audit/entries?from=0&max=1")
            .await
            .is(200)
            .json();
        let bytes = house.node.log.entries(0, 1).await.unwrap().records;
        let read: chancery::wire::AuditEntries = serde_json::from_value(entries).unwrap();
        assert_eq!(read.records().unwrap(), bytes);
        house.node.log.sign_now().await.unwrap();
        let note = auditor.call("GET", "/api/audit/checkpoint").await.is(200);
        assert!(note.body.starts_with(b"chancery.test/audit/n1\n"));
        for path in ["log", "entries", "records", "proof?index=0", "checkpoint"] {
            let refused = house
                .client("officer")
                .await
                .call("GET", &format!("/api/audit/{path}"))
                .await;
            refused.problem(403, "denied");
        }
    });
}

#[test]
fn a_role_works_from_its_assignment_to_its_revocation() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, web) = (house.client("admin").await, house.client("web").await);
        house
            .client("officer")
            .await
            .post("/api/vaults", &json!({"name": "kv"}))
            .await
            .is(201);
        let show = "/api/vaults/kv";
        web.call("GET", show).await.problem(403, "denied");
        let asked = json!({"principal": "spiffe://chancery.test/web", "role": "reader", "scope": "vaults/kv"});
        let assigned = admin.post("/api/role-assignments", &asked).await.is(201).json();
        assert_eq!(
            (&assigned["role"], &assigned["scope"]),
            (&json!("Reader"), &json!("vaults/kv"))
        );
        admin
            .post("/api/role-assignments", &asked)
            .await
            .problem(409, "conflict");
        web.call("GET", show).await.is(200);

        let mut listed = Vec::new();
        let mut path = "/api/role-assignments?limit=2".to_owned();
        loop {
            let page = admin.call("GET", &path).await.is(200).json();
            listed.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/role-assignments?limit=2&cursor={next}");
        }
        assert!(listed.contains(&assigned), "{listed:?}");
        assert_eq!(listed.len(), 4);

        let one = format!("/api/role-assignments/{}", assigned["id"].as_str().unwrap());
        web.call("DELETE", &one).await.problem(403, "denied");
        admin.call("DELETE", &one).await.is(204);
        web.call("GET", show).await.problem(403, "denied");
        admin.call("DELETE", &one).await.problem(404, "not_found");
        for (field, wrong) in [("principal", "web"), ("role", "king"), ("scope", "vaults")] {
            let mut asked = asked.clone();
            asked[field] = json!(wrong);
            admin
                .post("/api/role-assignments", &asked)
                .await
                .problem(400, "invalid");
        }
    });
}

#[test]
fn r28_a_list_shows_what_is_not_denied() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, officer) = (house.client("admin").await, house.client("officer").await);
        officer.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        for name in ["prod/db", "prod/api", "test/db"] {
            let path = format!("/api/vaults/kv/secrets/{}", name.replace('/', "%2F"));
            officer.put(&path, &[], &json!({"value": "x"})).await.is(200);
        }
        let assign = async |body: serde_json::Value| admin.post("/api/role-assignments", &body).await.is(201).json();
        let web = house.client("team-a/web").await;
        let listed = async || {
            let page = web.call("GET", "/api/vaults/kv/secrets").await.is(200).json();
            let names = page["items"].as_array().unwrap().iter();
            names
                .map(|item| item["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };

        // By a path, by a group, and then less by a denial of a group.
        let update = json!({"groups": ["ops"]});
        let identity = "/api/identities/spiffe:%2F%2Fchancery.test%2Fteam-a%2Fweb";
        let updated = admin.put(identity, &[], &update).await.is(200).json();
        assert_eq!(updated["groups"], json!(["ops"]));
        assign(json!({"principal": "spiffe://chancery.test/team-a/*", "role": "Key Vault Secrets User", "scope": "vaults/kv"}))
            .await;
        assert_eq!(listed().await, ["prod/api", "prod/db", "test/db"]);
        let denial = assign(json!({
            "principal": "group:ops", "role": "secrets-user", "scope": "vaults/kv/secrets/prod/", "deny": true,
        }))
        .await;
        assert_eq!(
            (&denial["deny"], &denial["role"]),
            (&json!(true), &json!("Secrets User"))
        );
        assert_eq!(listed().await, ["test/db"]);
        web.call("GET", "/api/vaults/kv/secrets/prod%2Fdb")
            .await
            .problem(403, "denied");
        web.call("GET", "/api/vaults/kv/secrets/test%2Fdb").await.is(200);

        // Out of the group nothing is denied any more.
        admin.put(identity, &[], &json!({})).await.is(200);
        assert_eq!(listed().await, ["prod/api", "prod/db", "test/db"]);

        let mut wrong = json!({"principal": "group:ops", "role": "administrator", "scope": "/", "deny": true});
        let told = admin
            .post("/api/role-assignments", &wrong)
            .await
            .problem(400, "invalid");
        assert!(told.contains("right to change roles"), "{told}");
        wrong["principal"] = json!("group:");
        admin
            .post("/api/role-assignments", &wrong)
            .await
            .problem(400, "invalid");
    });
}

#[test]
fn a_role_of_ones_own_is_made_given_changed_and_deleted() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, web) = (house.client("admin").await, house.client("web").await);
        let asked = json!({"name": "Deploy 2", "allow": ["ListRoles", "ShowRole"]});
        web.post("/api/roles", &asked).await.problem(403, "denied");
        let made = admin.post("/api/roles", &asked).await.is(201).json();
        assert_eq!(
            (&made["built_in"], &made["allow"], &made["deny"]),
            (&json!(false), &json!(["ListRoles", "ShowRole"]), &json!([]))
        );
        for (name, allow, says) in [
            ("secrets-user", "ReadSecret", "built-in role"),
            ("x", "CloseIntent", "not for people"),
            ("x", "Dance", "not an action"),
        ] {
            let wrong = json!({"name": name, "allow": [allow]});
            let told = admin.post("/api/roles", &wrong).await.problem(400, "invalid");
            assert!(told.contains(says), "{told}");
        }
        let given = json!({"principal": "spiffe://chancery.test/web", "role": "Deploy 2", "scope": "/"});
        let given = admin.post("/api/role-assignments", &given).await.is(201).json();
        assert_eq!(web.call("GET", "/api/roles/Deploy%202").await.is(200).json(), made);
        let reader = web.call("GET", "/api/roles/key-vault-reader").await.is(200).json();
        assert_eq!((&reader["name"], &reader["built_in"]), (&json!("Reader"), &json!(true)));

        let mut names = Vec::new();
        let mut path = "/api/roles?limit=5".to_owned();
        loop {
            let page = web.call("GET", &path).await.is(200).json();
            let items = page["items"].as_array().unwrap().iter();
            names.extend(items.map(|item| item["name"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/roles?limit=5&cursor={}", next.replace(' ', "%20"));
        }
        assert!(names.is_sorted() && names.contains(&"Deploy 2".to_owned()), "{names:?}");
        assert_eq!(names.len(), 14);

        let update = json!({"allow": ["ShowRole"], "deny": ["ReadSecret"]});
        admin.put("/api/roles/Deploy%202", &[], &update).await.is(200);
        web.call("GET", "/api/roles").await.problem(403, "denied");
        admin
            .call("DELETE", "/api/roles/Deploy%202")
            .await
            .problem(409, "conflict");
        let one = format!("/api/role-assignments/{}", given["id"].as_str().unwrap());
        admin.call("DELETE", &one).await.is(204);
        admin.call("DELETE", "/api/roles/Deploy%202").await.is(204);
        admin
            .call("GET", "/api/roles/Deploy%202")
            .await
            .problem(404, "not_found");
        admin.call("DELETE", "/api/roles/reader").await.problem(400, "invalid");
    });
}

#[test]
fn why_somebody_may_or_may_not_is_told() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, auditor, web) = (
            house.client("admin").await,
            house.client("auditor").await,
            house.client("team-a/web").await,
        );
        let identity = "/api/identities/spiffe:%2F%2Fchancery.test%2Fteam-a%2Fweb";
        admin.put(identity, &[], &json!({"groups": ["ops"]})).await.is(200);
        let assign = async |body: serde_json::Value| {
            let made = admin.post("/api/role-assignments", &body).await.is(201).json();
            made["id"].as_str().unwrap().to_owned()
        };
        let team =
            json!({"principal": "spiffe://chancery.test/team-a/*", "role": "secrets-user", "scope": "vaults/kv"});
        let team = assign(team).await;
        let ops = json!({"principal": "group:ops", "role": "crypto-user", "scope": "vaults/kv/keys/"});
        let ops = assign(ops).await;
        let denial = json!({
            "principal": "group:ops", "role": "secrets-user", "scope": "vaults/kv/secrets/prod/", "deny": true,
            "not_before": "2030-01-01T00:00:00Z",
        });
        let denial = assign(denial).await;

        let check = async |resource: &str, at: Option<&str>| {
            let mut asked = json!({
                "principal": "spiffe://chancery.test/team-a/web", "action": "ReadSecret", "resource": resource,
            });
            if let Some(at) = at {
                asked["at"] = json!(at);
            }
            auditor.post("/api/policy/check", &asked).await.is(200).json()
        };
        let now = check("vaults/kv/secrets/prod/db", None).await;
        assert_eq!(
            (&now["allow"], &now["reasons"][0]["assignment"]),
            (&json!(true), &json!(team))
        );
        assert_eq!(now["policies"], json!([format!("Secrets User@vaults/kv#{team}")]));
        let later = check("vaults/kv/secrets/prod/db", Some("2030-01-01T00:00:00Z")).await;
        assert_eq!(
            (&later["allow"], &later["reasons"][0]["assignment"]),
            (&json!(false), &json!(denial))
        );
        let elsewhere = check("vaults/other/secrets/db", None).await;
        assert_eq!(elsewhere, json!({"allow": false, "policies": [], "reasons": []}));

        // What one holds oneself needs no role, and is the same as another is told who may ask.
        let ids = |page: serde_json::Value| {
            let items = page["items"].as_array().unwrap().iter();
            items
                .map(|item| item["assignment"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let explain = "/api/policy/explain";
        let own = web.call("GET", explain).await.is(200).json();
        let mut expected = [team.clone(), ops.clone()];
        expected.sort();
        assert_eq!(ids(own.clone()), expected);
        let of_web = format!("{explain}?principal=spiffe://chancery.test/team-a/web");
        web.call("GET", &of_web).await.problem(403, "denied");
        assert_eq!(auditor.call("GET", &of_web).await.is(200).json(), own);
        let first = auditor.call("GET", &format!("{of_web}&limit=1")).await.is(200).json();
        let rest = format!("{of_web}&limit=1&cursor={}", first["next"].as_str().unwrap());
        assert_eq!(ids(auditor.call("GET", &rest).await.is(200).json()), expected[1..]);

        // Who may do something: by whom it is held, and whom that reaches in the end.
        let of_db = format!("{explain}?resource=vaults/kv/secrets/prod/db&at=2030-01-02T00:00:00Z");
        let around = auditor.call("GET", &of_db).await.is(200).json();
        let row = |id: &str| {
            let items = around["items"].as_array().unwrap().iter();
            items.clone().find(|item| item["assignment"] == id).cloned()
        };
        let reached = json!([{"id": "spiffe://chancery.test/team-a/web", "allow": false}]);
        let denied = row(&denial).unwrap();
        assert_eq!((&denied["reached"], &denied["reaches"]), (&reached, &json!(1)));
        assert_eq!(denied["allow"], json!([]));
        assert_eq!(row(&team).unwrap()["principal"], "spiffe://chancery.test/team-a/*");
        assert!(row(&ops).is_none(), "it holds nothing of secrets");

        for wrong in [
            format!("{of_db}&principal=spiffe://chancery.test/a"),
            format!("{explain}?action=ReadSecret"),
            format!("{explain}?resource=nowhere"),
            format!("{explain}?colour=red"),
        ] {
            auditor.call("GET", &wrong).await.problem(400, "invalid");
        }
        // What a change would alter; nothing is changed by asking.
        let simulate = "/api/policy/simulate";
        let asked = json!({"revoke": team});
        let found = auditor.post(simulate, &asked).await.is(200).json();
        assert_eq!((&found["reaches"], &found["judged"]), (&json!(1), &json!(1)), "{found}");
        let rows = found["altered"].as_array().unwrap();
        let whos: Vec<&str> = rows.iter().map(|row| row["principal"].as_str().unwrap()).collect();
        assert_eq!(
            whos,
            ["spiffe://chancery.test/team-a/web", "spiffe://chancery.test/team-a/*"]
        );
        for row in rows {
            assert_eq!(
                (&row["scope"], &row["gains"]),
                (&json!("vaults/kv"), &json!([])),
                "{row}"
            );
            assert!(row["loses"].as_array().unwrap().contains(&json!("ReadSecret")), "{row}");
        }
        assert_eq!(check("vaults/kv/secrets/prod/db", None).await, now);
        let nothing = json!({"assign": {"principal": "group:ops", "role": "crypto-user", "scope": "vaults/kv/keys/"}});
        assert_eq!(
            auditor.post(simulate, &nothing).await.is(200).json()["altered"],
            json!([])
        );
        let role = json!({"name": "Deployer", "allow": ["ReadSecret"]});
        auditor
            .post(simulate, &json!({"update_role": role}))
            .await
            .problem(404, "not_found");
        for wrong in [
            json!({}),
            json!({"revoke": team, "update_role": role}),
            json!({"revoke": "x"}),
        ] {
            auditor.post(simulate, &wrong).await.problem(400, "invalid");
        }
        let officer = house.client("officer").await;
        officer.post(simulate, &asked).await.problem(403, "denied");
        officer
            .post(
                "/api/policy/check",
                &json!({"principal": "spiffe://chancery.test/a", "action": "ReadSecret", "resource": "/"}),
            )
            .await
            .problem(403, "denied");
        let records = house.node.log.entries(0, 200).await.unwrap().records;
        let recorded: Vec<serde_json::Value> = records
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).unwrap())
            .collect();
        assert!(
            recorded.iter().any(|one| one["action"] == "CheckPolicy"
                && one["detail"]["asked"] == "ReadSecret vaults/kv/secrets/prod/db")
        );
        assert!(recorded.iter().any(|one| one["action"] == "CheckPolicy"
            && one["detail"]["asked"] == "revoke"
            && one["detail"]["assignment"] == json!(team)));
    });
}

//! Join tokens, the first administrator, renewal and roles.

use std::time::Duration;

use chancery::access::{AssignRole, ListRoleAssignments, RevokeRoleAssignment};
use chancery::ca::RevokeIssued;
use chancery::enrollment::{
    self, CreateIdentity, CreateJoinToken, KEPT, ListIdentities, Reenroll, administrator_token, bootstrap_token,
};
use chancery::error::{Error, Kind};
use chancery::policy::{Role, Scope};
use chancery::x509::crl::Reason;
use chancery::x509::csr::Csr;

use crate::house::{HOUR, House, WEB, csr_of, id, new_key, refused, request, source, text};

on_both_engines!(
    the_first_administrator_comes_by_a_printed_token,
    a_token_gives_one_key_one_certificate_whatever_became_of_the_answer,
    a_token_that_another_key_used_is_refused_and_recorded,
    tokens_that_ended_long_ago_are_removed,
    strangers_tokens_are_counted_and_not_recorded_one_by_one,
    a_request_that_fails_binds_nothing,
    a_certificate_renews_itself_for_its_own_name_only,
    a_revoked_certificate_is_refused_with_the_next_request,
    roles_decide_and_the_last_administrator_stays,
    lifetimes_are_bounded,
);

async fn the_first_administrator_comes_by_a_printed_token(house: House) {
    let first = bootstrap_token(&house.gate, &house.enrollment).await.unwrap().unwrap();
    assert_eq!(first.id, id("spiffe://chancery.test/admin"));
    let second = bootstrap_token(&house.gate, &house.enrollment).await.unwrap();
    let second = second.expect("nobody has enrolled yet, so a lost print-out is replaced");

    let enrolled = house.redeem(&text(second.token), &new_key()).await.unwrap();
    let admin = house.show(&enrolled).await.unwrap();
    let list = ListRoleAssignments { after: None, limit: 10 };
    let roles = house.access_as(&admin, list).await.unwrap();
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0].assignment.role, Role::Administrator.into());
    let listed = house
        .enrol_as(&admin, ListIdentities { after: None, limit: 10 })
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);

    let third = bootstrap_token(&house.gate, &house.enrollment).await.unwrap();
    assert!(third.is_none(), "an administrator has enrolled");
    let local = administrator_token(
        &house.gate,
        &house.enrollment,
        id("spiffe://chancery.test/ops"),
        Some(HOUR),
    )
    .await
    .unwrap();
    let ops = house.redeem(&text(local.token), &new_key()).await.unwrap();
    let ops = house.show(&ops).await.unwrap();
    house
        .access_as(&ops, ListRoleAssignments { after: None, limit: 10 })
        .await
        .unwrap();

    // Another one is named and has not enrolled yet; the first and the local one lose the role. A start does not give
    // it back.
    let ann = AssignRole::lasting(id("spiffe://chancery.test/ann"), Role::Administrator, Scope::Everything);
    house.access_as(&ops, ann).await.unwrap();
    let held = house
        .access_as(&ops, ListRoleAssignments { after: None, limit: 10 })
        .await
        .unwrap();
    let of = |who: &str| {
        let found = held.iter().find(|held| held.assignment.who == id(who).into()).unwrap();
        RevokeRoleAssignment {
            id: found.assignment.id,
        }
    };
    house.access_as(&ops, of("spiffe://chancery.test/admin")).await.unwrap();
    house.access_as(&ops, of("spiffe://chancery.test/ops")).await.unwrap();
    let fourth = bootstrap_token(&house.gate, &house.enrollment).await.unwrap();
    assert!(fourth.is_none(), "whom they took the role from has it again");
    let refused = house
        .access_as(&admin, ListRoleAssignments { after: None, limit: 10 })
        .await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Denied);
}

async fn a_token_gives_one_key_one_certificate_whatever_became_of_the_answer(house: House) {
    let admin = house.administrator().await;
    let token = house.web_token(&admin).await;
    let key = new_key();
    let first = house.redeem(&token, &key).await.unwrap();
    assert_eq!(first.id, id(WEB), "the token says whose it is, not the request");
    let caller = house.show(&first).await.unwrap();
    assert_eq!(caller.principal.to_string(), WEB);
    assert_eq!(caller.serial.as_deref(), Some(first.serial.as_str()));
    assert_eq!(caller.not_after, Some(first.validity.not_after));

    house.wait(Duration::from_secs(60)).await;
    let again = house.redeem(&token, &key).await.unwrap();
    assert_eq!(again, first);
    house.wait(HOUR).await;
    refused(
        house.redeem(&token, &key).await,
        Kind::Unauthenticated,
        "the join token ended at",
    );
    refused(
        house.show(&first).await,
        Kind::Unauthenticated,
        "the client certificate ended at",
    );

    let done: Vec<_> = house.records("Enroll").await;
    let of_web: Vec<_> = done
        .iter()
        .filter(|record| record["detail"]["identity"] == WEB && record["outcome"] == "done")
        .collect();
    assert_eq!(of_web.len(), 2);
    assert_eq!(of_web[0]["detail"]["serial"], first.serial.as_str());
    assert_eq!(of_web[1]["detail"]["repeated"], "yes");
    assert_eq!(of_web[1]["caller"]["source"], source().to_string());
    assert!(
        !serde_json::to_string(&done).unwrap().contains(&token),
        "the token is in the log"
    );
}

async fn a_token_that_another_key_used_is_refused_and_recorded(house: House) {
    let admin = house.administrator().await;
    let token = house.web_token(&admin).await;
    let (one, two) = (new_key(), new_key());
    let (first, second) = tokio::join!(house.redeem(&token, &one), house.redeem(&token, &two));
    let (winner, loser, late) = match (first, second) {
        (Ok(winner), Err(loser)) => (winner, loser, &two),
        (Err(loser), Ok(winner)) => (winner, loser, &one),
        other => panic!("one key wins: {other:?}"),
    };
    house.show(&winner).await.unwrap();
    assert_eq!(loser.kind(), Kind::Unauthenticated, "{loser:?}");
    refused(house.redeem(&token, late).await, Kind::Unauthenticated, &winner.serial);
    let failed = house.records("Enroll").await;
    let failed: Vec<_> = failed.iter().filter(|record| record["outcome"] == "failed").collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|record| {
        let reason = record["detail"]["reason"].as_str().unwrap();
        record["detail"]["identity"] == WEB || reason.contains("another key")
    }));
}

/// And the first administrator's, who has enrolled by it, does not come back by that.
async fn tokens_that_ended_long_ago_are_removed(house: House) {
    let admin = house.administrator().await;
    let (used, unused) = (house.web_token(&admin).await, house.web_token(&admin).await);
    house.redeem(&used, &new_key()).await.unwrap();
    let sweep = || house.enrollment.sweep(&house.gate);
    sweep().await.unwrap();
    house.wait(HOUR + KEPT - Duration::from_secs(1)).await;
    sweep().await.unwrap();
    assert!(house.records("PurgeExpired").await.is_empty());
    refused(
        house.redeem(&unused, &new_key()).await,
        Kind::Unauthenticated,
        "ended at",
    );

    house.wait(Duration::from_secs(1)).await;
    sweep().await.unwrap();
    let records = house.records("PurgeExpired").await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["caller"]["id"], "system:upkeep");
    assert_eq!(records[0]["detail"]["join_tokens"], "2");
    for token in [used, unused] {
        refused(
            house.redeem(&token, &new_key()).await,
            Kind::Unauthenticated,
            "not known",
        );
    }
    sweep().await.unwrap();
    assert_eq!(
        house.records("PurgeExpired").await.len(),
        1,
        "nothing to do leaves no record"
    );
    assert!(bootstrap_token(&house.gate, &house.enrollment).await.unwrap().is_none());
}

async fn strangers_tokens_are_counted_and_not_recorded_one_by_one(house: House) {
    let before = house.log.size();
    for guess in ["", "hunter2", "cj_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        refused(
            house.redeem(guess, &new_key()).await,
            Kind::Unauthenticated,
            "is not known",
        );
    }
    assert_eq!(house.log.size(), before);
    house.clock.advance(Duration::from_secs(1));
    let counted = async {
        loop {
            let refusals = house.records("Authenticate").await;
            if let Some(refusal) = refusals.first() {
                break refusal.clone();
            }
            house.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let refusal = tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
    assert_eq!(refusal["count"], 3);
}

async fn a_request_that_fails_binds_nothing(house: House) {
    let admin = house.administrator().await;
    let token = house.web_token(&admin).await;
    let garbage = enrollment::redeem(&house.gate, &house.enrollment, source(), request(), &token, b"nonsense").await;
    assert_eq!(garbage.unwrap_err().kind(), Kind::Invalid);
    house
        .redeem(&token, &new_key())
        .await
        .expect("no key had used the token");
}

async fn a_certificate_renews_itself_for_its_own_name_only(house: House) {
    let admin = house.administrator().await;
    let token = house.web_token(&admin).await;
    let first = house.redeem(&token, &new_key()).await.unwrap();
    let web = house.show(&first).await.unwrap();
    house.wait(HOUR / 2).await;
    let next = |name: &str| Reenroll {
        id: id(name),
        csr: Csr::parse(&csr_of(&new_key())).unwrap(),
    };
    let second = house.enrol_as(&web, next(WEB)).await.unwrap();
    assert_ne!(second.serial, first.serial);
    assert_eq!(second.id, id(WEB));
    assert!(second.validity.not_after > first.validity.not_after);
    house.show(&second).await.unwrap();
    for (caller, name) in [(&web, "spiffe://chancery.test/admin"), (&admin, WEB)] {
        refused(
            house.enrol_as(caller, next(name)).await,
            Kind::Denied,
            "may not Reenroll",
        );
    }
}

async fn a_revoked_certificate_is_refused_with_the_next_request(house: House) {
    let admin = house.administrator().await;
    let token = house.web_token(&admin).await;
    let key = new_key();
    let web = house.redeem(&token, &key).await.unwrap();
    house.show(&web).await.unwrap();
    let revoke = RevokeIssued {
        authority: house.authority.name().clone(),
        reason: Reason::KeyCompromise,
        serial: web.serial.parse().unwrap(),
    };
    house.gate.perform(&admin, &house.authority, revoke).await.unwrap();
    refused(house.show(&web).await, Kind::Unauthenticated, "is revoked");
    let again = house.redeem(&token, &key).await.unwrap();
    refused(house.show(&again).await, Kind::Unauthenticated, "is revoked");
}

async fn roles_decide_and_the_last_administrator_stays(house: House) {
    let admin = house.administrator().await;
    let token = house.web_token(&admin).await;
    let web = house.redeem(&token, &new_key()).await.unwrap();
    let web = house.show(&web).await.unwrap();
    let list = || ListRoleAssignments { after: None, limit: 10 };
    refused(
        house.access_as(&web, list()).await,
        Kind::Denied,
        "ask an administrator for a role",
    );
    refused(
        house
            .enrol_as(
                &web,
                CreateJoinToken {
                    id: id("spiffe://chancery.test/admin"),
                    life: None,
                },
            )
            .await,
        Kind::Denied,
        "may not CreateJoinToken",
    );
    let assign = |role: Role, scope: &str| AssignRole::lasting(id(WEB), role, scope.parse().unwrap());
    let held = house.access_as(&admin, assign(Role::Reader, "/")).await.unwrap();
    let seen = house.access_as(&web, list()).await.unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen.contains(&held));
    refused(
        house.access_as(&web, assign(Role::Administrator, "/")).await,
        Kind::Denied,
        "may not AssignRole",
    );
    refused(
        house
            .access_as(&admin, assign(Role::SecretsUser, "authorities/internal"))
            .await,
        Kind::Invalid,
        "holds no action",
    );
    house
        .access_as(&admin, RevokeRoleAssignment { id: held.assignment.id })
        .await
        .unwrap();
    refused(
        house.access_as(&web, list()).await,
        Kind::Denied,
        "ask an administrator",
    );

    let last = seen.iter().find(|other| **other != held).unwrap().assignment.id;
    refused(
        house.access_as(&admin, RevokeRoleAssignment { id: last }).await,
        Kind::Conflict,
        "last administrator",
    );
    let revoked = house.records("RevokeRoleAssignment").await;
    assert_eq!(revoked.len(), 2);
    assert_eq!(revoked[0]["detail"]["principal"], WEB);
    assert_eq!(revoked[0]["detail"]["role"], "Reader");
    assert_eq!(revoked[1]["outcome"], "failed");
    let denied = house.records("AssignRole").await;
    assert!(
        denied
            .iter()
            .any(|record| record["outcome"] == "denied" && record["caller"]["id"] == WEB)
    );
}

async fn lifetimes_are_bounded(house: House) {
    let admin = house.administrator().await;
    let year = Duration::from_secs(365 * 86_400);
    let made = house
        .enrol_as(&admin, CreateIdentity::by_token(id(WEB), Some(year)))
        .await;
    refused(made, Kind::Invalid, "profile `svid` allows");
    let made = house
        .enrol_as(
            &admin,
            CreateJoinToken {
                id: id("spiffe://chancery.test/admin"),
                life: Some(year),
            },
        )
        .await;
    refused(made, Kind::Invalid, "choose less");
    let elsewhere = CreateIdentity::by_token(id("spiffe://other.test/web"), None);
    let made: Result<_, Error> = house.enrol_as(&admin, elsewhere).await;
    refused(made, Kind::Invalid, "trust domain");
    let unknown = CreateJoinToken {
        id: id("spiffe://chancery.test/nobody"),
        life: None,
    };
    refused(house.enrol_as(&admin, unknown).await, Kind::NotFound, "no identity");
}

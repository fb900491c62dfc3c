//! What stands beside the values of secrets: attributes, labels, idempotency keys, destruction of single versions, and
//! lists that are narrowed; the cache beside each of them, on both nodes.

use std::sync::Arc;
use std::time::Duration;

use chancery::clock::{Clock, Timestamp};
use chancery::error::{Kind, Result};
use chancery::store::entity::{secret, secret_version};
use chancery::vault::{
    Described, DestroySecretVersion, Expect, LabelSecretVersion, ListSecretVersions, ListSecrets, RecoverSecretVersion,
    SecretAttributes, SecretChange, SecretFilter, SecretState, SetSecret, Tags, UpdateSecret, Version, VersionRef,
    WhichVersion,
};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::support::node::{START, caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{House, delete, files_without, read, recover, refused, set, show, vault_of};

const DAY: Duration = Duration::from_secs(86_400);

fn which(version: &str) -> WhichVersion {
    version.parse().unwrap()
}

fn update(name: &str, version: &str, change: SecretChange) -> UpdateSecret {
    UpdateSecret {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: which(version),
        change,
        expect: None,
    }
}

fn enabled(enabled: bool) -> SecretChange {
    SecretChange {
        enabled: Some(enabled),
        ..SecretChange::default()
    }
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Tags::new(owned.collect()).unwrap()
}

fn labelled(name: &str, value: &[u8], labels: &[&str]) -> SetSecret {
    SetSecret {
        labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
        ..set("kv", name, value, Expect::Anything)
    }
}

fn point(name: &str, label: &str, to: Option<&str>, from: Option<&str>) -> LabelSecretVersion {
    LabelSecretVersion {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        label: label.parse().unwrap(),
        to: to.map(which),
        from: from.map(which),
    }
}

fn destroy(name: &str, version: &str, delay: Duration) -> DestroySecretVersion {
    DestroySecretVersion {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: which(version),
        delay,
    }
}

fn keep(name: &str, version: &str) -> RecoverSecretVersion {
    RecoverSecretVersion {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: which(version),
    }
}

fn once(name: &str, value: &[u8], key: &str) -> SetSecret {
    SetSecret {
        idempotency_key: Some(key.parse().unwrap()),
        ..set("kv", name, value, Expect::Anything)
    }
}

impl House {
    /// The value of a version of `a`, by number, id or label.
    async fn value(&self, version: &str) -> Result<Vec<u8>> {
        let mut op = read("kv", "a", VersionRef::Current);
        op.version = which(version);
        Ok(self.perform(op).await?.value.expose().to_vec())
    }

    /// The labels of the versions of a secret, newest first.
    async fn labels(&self, name: &str) -> Vec<(u64, String)> {
        let list = ListSecretVersions {
            vault: "kv".parse().unwrap(),
            name: name.parse().unwrap(),
            before: None,
            limit: 100,
        };
        let labels = |version: &Version| {
            let labels: Vec<_> = version.labels.iter().map(ToString::to_string).collect();
            (version.ordinal, labels.join(" "))
        };
        self.perform(list).await.unwrap().items.iter().map(labels).collect()
    }

    async fn shown(&self, name: &str) -> Described {
        self.perform(show(name, VersionRef::Current)).await.unwrap()
    }

    /// The names of a list, page by page.
    async fn listed(&self, filter: &SecretFilter) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let list = ListSecrets {
                vault: "kv".parse().unwrap(),
                filter: filter.clone(),
                after,
                limit: 2,
            };
            let page = self.perform(list).await.unwrap();
            names.extend(page.items.into_iter().map(|secret| secret.name.to_string()));
            after = page.next;
            if after.is_none() {
                return names;
            }
        }
    }
}

/// Runs each story on both engines.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[test]
            fn $story() {
                with_token(|token| async move {
                    make_keys(&token).await;
                    let house = House::open(&token, &sqlite(&token), "n1").await;
                    house.create("kv").await;
                    super::$story(house).await;
                });
            })*
        }
        mod on_postgres {
            use super::*;
            $(#[test]
            fn $story() {
                with_token(|token| async move {
                    make_keys(&token).await;
                    let url = Postgres::shared().database();
                    let house = House::open(&token, &url, "n1").await;
                    house.create("kv").await;
                    super::$story(house).await;
                });
            })*
        }
    };
}

on_both_engines!(
    attributes_are_set_and_changed_by_version,
    a_change_under_a_revision_that_does_not_hold_is_a_conflict,
    current_and_previous_follow_by_rule,
    a_pending_version_becomes_current_when_it_is_pointed_at,
    labels_move_from_where_they_are_expected_only,
    the_same_set_sent_again_makes_no_other_version,
    a_version_is_destroyed_at_once_or_later,
    lists_are_narrowed_and_paged,
    secrets_of_before_have_a_current_version,
);

async fn attributes_are_set_and_changed_by_version(house: House) {
    let bounded = SetSecret {
        attributes: SecretAttributes {
            not_before: Some(START + DAY),
            expires: Some(START + 2 * DAY),
            content_type: Some("text/plain".parse().unwrap()),
            tags: tags(&[("env", "prod")]),
            ..SecretAttributes::default()
        },
        ..set("kv", "a", b"1", Expect::Anything)
    };
    let first = house.perform(bounded).await.unwrap();
    assert_eq!(house.shown("a").await.version, first);
    // The times are told, not enforced: neither before nor after them is a value refused.
    assert_eq!(house.value("1").await.unwrap(), b"1");
    house.node.wait(3 * DAY).await;
    assert_eq!(house.value("1").await.unwrap(), b"1");

    house.set("kv", "a", b"2").await;
    house.perform(update("a", "1", enabled(false))).await.unwrap();
    refused(house.value("1").await, Kind::Conflict, "version 1 of secret `a`");
    assert_eq!(house.value("2").await.unwrap(), b"2");
    // Also where it is in the cache.
    house.perform(update("a", "AWSCURRENT", enabled(false))).await.unwrap();
    refused(house.current("kv", "a").await, Kind::Conflict, "is disabled: enable it");
    house.node.clock.advance(Duration::from_secs(1));
    let now = house.node.clock.now();
    let changed = SecretChange {
        enabled: Some(true),
        not_before: Some(None),
        expires: Some(Some(now + DAY)),
        content_type: Some(None),
        tags: Some(tags(&[])),
    };
    let first_again = house.perform(update("a", "1", changed)).await.unwrap();
    let version = &first_again.version;
    assert_eq!((version.created, version.updated), (first.created, now));
    assert_eq!(
        version.attributes,
        SecretAttributes {
            expires: Some(now + DAY),
            ..SecretAttributes::default()
        }
    );
    assert_eq!(house.value("1").await.unwrap(), b"1");
    refused(house.value("2").await, Kind::Conflict, "is disabled");

    let backwards = SecretChange {
        not_before: Some(Some(now + DAY)),
        ..SecretChange::default()
    };
    refused(
        house.perform(update("a", "1", backwards)).await,
        Kind::Invalid,
        "let it expire later",
    );
    refused(
        house.perform(update("a", "3", enabled(true))).await,
        Kind::NotFound,
        "no version `3`",
    );
    refused(
        house.perform(update("b", "1", enabled(true))).await,
        Kind::NotFound,
        "no secret `b`",
    );
}

async fn a_change_under_a_revision_that_does_not_hold_is_a_conflict(house: House) {
    house.set("kv", "a", b"1").await;
    assert_eq!(house.shown("a").await.revision, 1);
    house.set("kv", "a", b"2").await;
    let at = |revision| UpdateSecret {
        expect: Some(revision),
        ..update("a", "1", enabled(false))
    };
    refused(house.perform(at(1)).await, Kind::Conflict, "is at revision 2");
    assert_eq!(house.value("1").await.unwrap(), b"1");
    assert_eq!(house.perform(at(2)).await.unwrap().revision, 3);
    assert_eq!(house.shown("a").await.revision, 3);
    house.perform(delete("kv", "a")).await.unwrap();
    refused(house.perform(at(3)).await, Kind::NotFound, "recover it before");
}

async fn current_and_previous_follow_by_rule(house: House) {
    house.set("kv", "a", b"1").await;
    assert_eq!(house.labels("a").await, [(1, "AWSCURRENT".to_owned())]);
    refused(
        house.value("AWSPREVIOUS").await,
        Kind::NotFound,
        "no version `AWSPREVIOUS`",
    );
    house.set("kv", "a", b"2").await;
    house.set("kv", "a", b"3").await;
    let ruled = |three: &str, two: &str, one: &str| [(3, three.to_owned()), (2, two.to_owned()), (1, one.to_owned())];
    assert_eq!(house.labels("a").await, ruled("AWSCURRENT", "AWSPREVIOUS", ""));
    assert_eq!(house.value("AWSPREVIOUS").await.unwrap(), b"2");
    assert_eq!(house.current("kv", "a").await.unwrap(), b"3");

    // Back to an older one: a read by the cache's name sees it at once, and so does a writer's condition.
    let back = house
        .perform(point("a", "AWSCURRENT", Some("1"), Some("3")))
        .await
        .unwrap();
    assert!(back.version.is_current());
    assert_eq!(house.labels("a").await, ruled("AWSPREVIOUS", "", "AWSCURRENT"));
    assert_eq!(house.current("kv", "a").await.unwrap(), b"1");
    assert_eq!(house.read_afresh("kv", "a").await.unwrap(), b"1");
    let stale = set("kv", "a", b"x", Expect::Version(VersionRef::Ordinal(3)));
    refused(house.perform(stale).await, Kind::Conflict, "is at version 1");
    let next = set("kv", "a", b"4", Expect::Version(VersionRef::Ordinal(1)));
    assert_eq!(house.perform(next).await.unwrap().ordinal, 4);
    assert_eq!(house.value("AWSPREVIOUS").await.unwrap(), b"1");
    assert_eq!(house.current("kv", "a").await.unwrap(), b"4");

    refused(
        house.perform(point("a", "AWSCURRENT", None, None)).await,
        Kind::Invalid,
        "always points at a version",
    );
    refused(
        house.perform(labelled("a", b"x", &["AWSPREVIOUS"])).await,
        Kind::Invalid,
        "leave it out",
    );
}

async fn a_pending_version_becomes_current_when_it_is_pointed_at(house: House) {
    // The first is current, whatever its labels are.
    let first = house.perform(labelled("a", b"1", &["AWSPENDING"])).await.unwrap();
    assert!(first.is_current());
    house
        .perform(labelled("a", b"2", &["AWSCURRENT", "blue"]))
        .await
        .unwrap();
    let pending = house.perform(labelled("a", b"3", &["AWSPENDING"])).await.unwrap();
    assert!(!pending.is_current());
    assert_eq!(house.current("kv", "a").await.unwrap(), b"2");
    assert_eq!(house.shown("a").await.version.ordinal, 2);
    assert_eq!(house.value("AWSPENDING").await.unwrap(), b"3");
    assert_eq!(
        house.labels("a").await,
        [
            (3, "AWSPENDING".to_owned()),
            (2, "AWSCURRENT blue".to_owned()),
            (1, "AWSPREVIOUS".to_owned())
        ]
    );
    // One more does not either, and takes the label over.
    house.perform(labelled("a", b"4", &["AWSPENDING"])).await.unwrap();
    assert_eq!(house.value("AWSPENDING").await.unwrap(), b"4");
    assert_eq!(house.current("kv", "a").await.unwrap(), b"2");

    let finish = point("a", "AWSCURRENT", Some("AWSPENDING"), Some("blue"));
    house.perform(finish).await.unwrap();
    house.perform(point("a", "AWSPENDING", None, Some("4"))).await.unwrap();
    assert_eq!(house.current("kv", "a").await.unwrap(), b"4");
    assert_eq!(house.value("AWSPREVIOUS").await.unwrap(), b"2");
    refused(
        house.value("AWSPENDING").await,
        Kind::NotFound,
        "no version `AWSPENDING`",
    );
    // A set without labels becomes current, also behind one that is not.
    house.perform(labelled("a", b"5", &["AWSPENDING"])).await.unwrap();
    house.set("kv", "a", b"6").await;
    assert_eq!(house.current("kv", "a").await.unwrap(), b"6");
    assert_eq!(house.value("AWSPREVIOUS").await.unwrap(), b"4");
    assert_eq!(house.value("AWSPENDING").await.unwrap(), b"5");
}

async fn labels_move_from_where_they_are_expected_only(house: House) {
    for n in 1..=3_u8 {
        house.set("kv", "a", &[n]).await;
    }
    house.perform(point("a", "blue", Some("1"), None)).await.unwrap();
    // It is there already: nothing is to be done.
    house.perform(point("a", "blue", Some("1"), None)).await.unwrap();
    let unsaid = house.perform(point("a", "blue", Some("2"), None)).await;
    refused(
        unsaid,
        Kind::Conflict,
        "`blue` of secret `a` of vault `kv` points at version 1",
    );
    let wrong = house.perform(point("a", "blue", Some("2"), Some("3"))).await;
    refused(wrong, Kind::Conflict, "not at 3 as you expect");
    let nowhere = house.perform(point("a", "green", Some("2"), Some("3"))).await;
    refused(nowhere, Kind::Conflict, "points at no version");
    let moved = house.perform(point("a", "blue", Some("2"), Some("1"))).await.unwrap();
    assert_eq!(moved.version.ordinal, 2);
    assert_eq!(house.value("blue").await.unwrap(), [2]);
    let elsewhere = house.perform(point("a", "blue", None, Some("1"))).await;
    refused(elsewhere, Kind::Conflict, "points at version 2");
    house.perform(point("a", "blue", None, None)).await.unwrap();
    refused(house.value("blue").await, Kind::NotFound, "no version `blue`");

    for n in 0..18 {
        house
            .perform(point("a", &format!("l{n}"), Some("2"), None))
            .await
            .unwrap();
    }
    // With AWSPREVIOUS these are 19.
    house.perform(point("a", "l18", Some("2"), None)).await.unwrap();
    let more = house.perform(point("a", "l19", Some("2"), None)).await;
    refused(more, Kind::Invalid, "20 labels");

    // They go with the secret, and none is left to one of the same name.
    house.perform(delete("kv", "a")).await.unwrap();
    refused(house.value("l0").await, Kind::NotFound, "recover it before");
    house.perform(recover("kv", "a")).await.unwrap();
    assert_eq!(house.value("l0").await.unwrap(), [2]);

    let house = Arc::new(house);
    let mut movers = tokio::task::JoinSet::new();
    for to in ["1", "3"] {
        let house = house.clone();
        movers.spawn(async move { house.perform(point("a", "l0", Some(to), Some("2"))).await.is_ok() });
    }
    let moved = movers.join_all().await;
    assert_eq!(moved.iter().filter(|moved| **moved).count(), 1, "one of two moves it");
}

async fn the_same_set_sent_again_makes_no_other_version(house: House) {
    let first = house.perform(once("a", b"1", "k1")).await.unwrap();
    house.set("kv", "a", b"2").await;
    // Also under a condition that it has fulfilled itself.
    let again = SetSecret {
        expect: Expect::Absent,
        ..once("a", b"1", "k1")
    };
    let again = house.perform(again).await.unwrap();
    assert_eq!((again.id, again.ordinal), (first.id, 1));
    assert_eq!(house.current("kv", "a").await.unwrap(), b"2");
    refused(
        house.perform(once("a", b"other", "k1")).await,
        Kind::Conflict,
        "was used for another value",
    );
    house.node.assign("other", chancery::policy::Role::SecretsOfficer).await;
    for guess in [&b"1"[..], b"2"] {
        let by_another = house
            .node
            .gate
            .perform(&caller("other"), &house.vault, once("a", guess, "k1"))
            .await;
        refused(by_another, Kind::Conflict, "by somebody else");
    }
    // Of another secret it is another set.
    assert_eq!(house.perform(once("b", b"other", "k1")).await.unwrap().ordinal, 1);
    house.perform(destroy("a", "1", Duration::ZERO)).await.unwrap();
    refused(
        house.perform(once("a", b"1", "k1")).await,
        Kind::Conflict,
        "made a version that was destroyed",
    );

    let house = Arc::new(house);
    let mut setters = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let house = house.clone();
        setters.spawn(async move {
            loop {
                match house.perform(once("c", b"x", "k2")).await {
                    Ok(version) => return version.ordinal,
                    Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{error:?}"),
                }
            }
        });
    }
    assert_eq!(setters.join_all().await, [1; 8]);
}

async fn a_version_is_destroyed_at_once_or_later(house: House) {
    for n in 1..=4_u8 {
        house.set("kv", "a", &[n]).await;
    }
    let sealed = || async {
        let rows = secret_version::Entity::find()
            .all(house.node.store.read())
            .await
            .unwrap();
        rows.iter().filter(|row| !row.sealed.is_empty()).count()
    };
    let gone = house.perform(destroy("a", "1", Duration::ZERO)).await.unwrap();
    assert_eq!(gone.version.destroyed, Some(house.node.clock.now()));
    refused(house.value("1").await, Kind::NotFound, "destroyed for good");
    assert_eq!(sealed().await, 3);
    for again in [
        house.perform(destroy("a", "1", Duration::ZERO)).await,
        house.perform(keep("a", "1")).await,
        house.perform(update("a", "1", enabled(true))).await,
        house.perform(point("a", "blue", Some("1"), None)).await,
    ] {
        refused(again, Kind::NotFound, "destroyed for good");
    }
    refused(
        house.perform(destroy("a", "2", 400 * DAY)).await,
        Kind::Invalid,
        "at most 366",
    );
    refused(
        house.perform(keep("a", "2")).await,
        Kind::Conflict,
        "nothing to recover",
    );

    let at = house.node.clock.now() + 7 * DAY;
    for version in ["2", "3"] {
        let later = house.perform(destroy("a", version, 7 * DAY)).await.unwrap();
        assert_eq!(later.version.destroy, Some(at));
        let says = format!("is to be destroyed at {at}: recover it");
        refused(house.value(version).await, Kind::NotFound, &says);
    }
    let kept = house.perform(keep("a", "2")).await.unwrap();
    assert_eq!(kept.version.destroy, None);
    assert_eq!(house.value("2").await.unwrap(), [2]);

    house.node.wait(7 * DAY - Duration::from_secs(1)).await;
    house.vault.sweep(&house.node.gate).await.unwrap();
    assert_eq!(sealed().await, 3);
    // From its time on it is gone, before anybody has swept.
    house.node.wait(Duration::from_secs(1)).await;
    refused(house.value("3").await, Kind::NotFound, "destroyed for good");
    refused(
        house.perform(keep("a", "3")).await,
        Kind::NotFound,
        "destroyed for good",
    );
    house.vault.sweep(&house.node.gate).await.unwrap();
    assert_eq!(sealed().await, 2);
    let shown = house.perform(show("a", VersionRef::Ordinal(3))).await.unwrap();
    assert_eq!(shown.version.destroyed, Some(at));

    // The current one too: nothing is read until something is set.
    assert_eq!(house.current("kv", "a").await.unwrap(), [4]);
    house.perform(destroy("a", "AWSCURRENT", Duration::ZERO)).await.unwrap();
    refused(house.current("kv", "a").await, Kind::NotFound, "set a new value");
    house.set("kv", "a", b"5").await;
    assert_eq!(house.current("kv", "a").await.unwrap(), b"5");
}

async fn lists_are_narrowed_and_paged(house: House) {
    let now = house.node.clock.now();
    let made = |name: &str, pairs: &[(&str, &str)], on: bool, expires: Option<Timestamp>| SetSecret {
        attributes: SecretAttributes {
            enabled: on,
            expires,
            tags: tags(pairs),
            ..SecretAttributes::default()
        },
        ..set("kv", name, b"v", Expect::Anything)
    };
    for op in [
        made("db/a", &[("env", "prod")], true, None),
        made("db/b", &[("env", "PROD"), ("x", "1")], true, None),
        made("db/c", &[("env", "prod"), ("team", "a%_!b")], false, None),
        made("DB/d", &[("team", "a")], true, Some(now + DAY)),
        made(
            "dbx",
            &[("odd\"env", "prod"), ("note", ",\"env\":\"prod\"")],
            true,
            Some(now),
        ),
        made("web_1", &[("env", "prod\"")], true, None),
        made("webx1", &[], true, None),
    ] {
        house.perform(op).await.unwrap();
    }
    let none = SecretFilter::default();
    let prefix = |prefix: &str| SecretFilter {
        prefix: Some(prefix.to_owned()),
        ..SecretFilter::default()
    };
    let tag = |tag: &str| SecretFilter {
        tag: Some(tag.parse().unwrap()),
        ..SecretFilter::default()
    };
    let state = |state| SecretFilter {
        state: Some(state),
        ..SecretFilter::default()
    };
    let both = SecretFilter {
        state: Some(SecretState::Enabled),
        ..tag("env:prod")
    };
    for (filter, mut wanted) in [
        (none, vec!["DB/d", "db/a", "db/b", "db/c", "dbx", "web_1", "webx1"]),
        (prefix("db/"), vec!["db/a", "db/b", "db/c"]),
        (prefix("DB"), vec!["DB/d"]),
        (prefix("web_"), vec!["web_1"]),
        (prefix("%"), vec![]),
        (tag("env:prod"), vec!["db/a", "db/c"]),
        (tag("env"), vec!["db/a", "db/b", "db/c", "web_1"]),
        (tag("team:a%_!b"), vec!["db/c"]),
        (tag("env:prod\""), vec!["web_1"]),
        (state(SecretState::Disabled), vec!["db/c"]),
        (state(SecretState::Expired), vec!["dbx"]),
        (
            state(SecretState::Enabled),
            vec!["DB/d", "db/a", "db/b", "web_1", "webx1"],
        ),
        (both, vec!["db/a"]),
    ] {
        // Where capitals stand is the database's choice.
        let mut listed = house.listed(&filter).await;
        listed.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(listed, wanted, "{filter:?}");
    }
}

/// Rows as a binary of before writes them.
async fn secrets_of_before_have_a_current_version(house: House) {
    house.set("kv", "a", b"1").await;
    house.set("kv", "a", b"2").await;
    let version = house.set("kv", "a", b"3").await;
    house
        .node
        .store
        .transact(move |tx| {
            Box::pin(async move {
                secret::Entity::update_many()
                    .col_expr(secret::Column::Current, Expr::val(None::<i64>))
                    .col_expr(secret::Column::Labels, Expr::val(None::<String>))
                    .exec(tx.conn())
                    .await?;
                secret_version::Entity::update_many()
                    .col_expr(secret_version::Column::UpdatedAt, Expr::val(None::<i64>))
                    .filter(secret_version::Column::Id.eq(version.id.to_string()))
                    .exec(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_eq!(house.read_afresh("kv", "a").await.unwrap(), b"3");
    assert_eq!(house.shown("a").await.version.ordinal, 3);
    assert_eq!(house.set("kv", "a", b"4").await.ordinal, 4);
    assert_eq!(house.value("AWSPREVIOUS").await.unwrap(), b"3");
}

#[test]
fn a_node_sees_what_another_one_changed() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        let two = House::open(&token, &url, "n2").await;
        one.create("kv").await;
        one.set("kv", "a", b"1").await;
        one.set("kv", "a", b"2").await;
        for house in [&one, &two] {
            assert_eq!(house.current("kv", "a").await.unwrap(), b"2");
        }
        one.perform(update("a", "2", enabled(false))).await.unwrap();
        refused(two.current("kv", "a").await, Kind::Conflict, "is disabled");
        two.perform(update("a", "2", enabled(true))).await.unwrap();
        assert_eq!(one.current("kv", "a").await.unwrap(), b"2");
        two.perform(point("a", "AWSCURRENT", Some("1"), Some("2")))
            .await
            .unwrap();
        assert_eq!(one.current("kv", "a").await.unwrap(), b"1");
        one.perform(destroy("a", "1", DAY)).await.unwrap();
        refused(two.current("kv", "a").await, Kind::NotFound, "to be destroyed");
        two.perform(keep("a", "1")).await.unwrap();
        assert_eq!(one.current("kv", "a").await.unwrap(), b"1");
    });
}

#[test]
fn changes_by_two_nodes_at_once_are_both_there() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        let two = House::open(&token, &url, "n2").await;
        one.create("kv").await;
        one.set("kv", "a", b"1").await;
        for round in 0..30_u32 {
            let on = round % 2 == 1;
            let round = round.to_string();
            let tagged = SecretChange {
                tags: Some(tags(&[("round", &round)])),
                ..SecretChange::default()
            };
            let (switched, tagged, pointed) = tokio::join!(
                one.perform(update("a", "1", enabled(on))),
                two.perform(update("a", "1", tagged)),
                two.perform(labelled("a", b"pending", &["AWSPENDING"])),
            );
            switched.unwrap();
            tagged.unwrap();
            pointed.unwrap();
            let now = one.perform(show("a", VersionRef::Ordinal(1))).await.unwrap();
            let attributes = now.version.attributes;
            assert_eq!(attributes.enabled, on, "round {round}");
            assert_eq!(
                attributes.tags.iter().collect::<Vec<_>>(),
                [("round", round.as_str())],
                "round {round}"
            );
            assert!(one.shown("a").await.version.ordinal == 1, "round {round}");
        }
    });
}

#[test]
fn what_is_changed_is_recorded_and_no_value_stands_in_clear() {
    const PLAIN: &[u8] = b"canary-77aa02-never-in-clear";
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.perform(once("a", PLAIN, "k1")).await.unwrap();
        house.perform(once("a", PLAIN, "k1")).await.unwrap();
        refused(
            house.perform(once("a", b"other", "k1")).await,
            Kind::Conflict,
            "another value",
        );
        house.perform(update("a", "1", enabled(false))).await.unwrap();
        house.perform(point("a", "blue", Some("1"), None)).await.unwrap();
        house.perform(destroy("a", "blue", DAY)).await.unwrap();
        house.perform(keep("a", "1")).await.unwrap();
        house.node.assign("user", chancery::policy::Role::SecretsUser).await;
        let user = caller("user");
        let denied = house
            .node
            .gate
            .perform(&user, &house.vault, update("a", "1", enabled(true)))
            .await;
        refused(denied, Kind::Denied, "UpdateSecret");
        let denied = house
            .node
            .gate
            .perform(&user, &house.vault, destroy("a", "1", DAY))
            .await;
        refused(denied, Kind::Denied, "DestroySecretVersion");
        let denied = house
            .node
            .gate
            .perform(&user, &house.vault, point("a", "blue", None, None))
            .await;
        refused(denied, Kind::Denied, "LabelSecretVersion");

        assert_eq!(
            house.node.recorded().await,
            [
                "CreateVault vaults/kv  done",
                "SetSecret vaults/kv/secrets/a 1 done",
                "SetSecret vaults/kv/secrets/a 1 done",
                "SetSecret vaults/kv/secrets/a  failed",
                "UpdateSecret vaults/kv/secrets/a 1 done",
                "LabelSecretVersion vaults/kv/secrets/a 1 done",
                "DestroySecretVersion vaults/kv/secrets/a 1 done",
                "RecoverSecretVersion vaults/kv/secrets/a 1 done",
                "UpdateSecret vaults/kv/secrets/a  denied",
                "DestroySecretVersion vaults/kv/secrets/a  denied",
                "LabelSecretVersion vaults/kv/secrets/a  denied",
            ]
        );
        let versions = secret_version::Entity::find().count(house.node.store.read()).await;
        assert_eq!(versions.unwrap(), 1);
        files_without(token.dir(), PLAIN);
    });
}

#[test]
fn a_label_is_read_by_an_engine_that_remembers_nothing() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.perform(labelled("a", b"1", &["blue"])).await.unwrap();
        house.perform(labelled("a", b"2", &["green"])).await.unwrap();
        let forgetful = vault_of(&house.node);
        for (label, value) in [("blue", b"1"), ("green", b"2")] {
            let mut op = read("kv", "a", VersionRef::Current);
            op.version = which(label);
            let found = house.node.gate.perform(&house.officer, &forgetful, op).await.unwrap();
            assert_eq!(found.value.expose(), value);
        }
    });
}

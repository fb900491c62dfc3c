//! Every filter against a judge of its own, on both databases.

mod plans;

use std::collections::BTreeSet;

use futures::FutureExt;

use super::filter::Walk;
use super::*;
use crate::ca::repo::{Completion, Reservation};
use crate::ca::revoked::repo::mark;
use crate::postgres::Postgres;
use crate::store::{self, Together};
use crate::x509::crl::Reason;
use crate::x509::profile::Validity;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const DAY: i64 = 86_400;

const OWNERS: [&str; 3] = ["spiffe://chancery.test/a", "spiffe://chancery.test/b", "acme"];
const PROFILES: [&str; 3] = ["server-tls", "client-tls", "svid"];
const ISSUERS: [&str; 2] = ["internal-issuing-1", "internal-issuing-2"];

/// One certificate, as its number says.
fn made(n: i64) -> Reservation {
    let at = |of: &[&str], step: i64| of[usize::try_from(n / step).unwrap() % of.len()].to_owned();
    let mut names = vec![format!("dns:h{}.example.test", n % 7)];
    if n % 3 == 0 {
        names.push(format!("dns:h{}.deep.example.test", n % 5));
        names.push("ip:10.0.0.7".to_owned());
    }
    if n % 5 == 0 {
        names = vec![format!("uri:spiffe://chancery.test/w{}", n % 4)];
    }
    if n % 11 == 0 {
        names = vec!["dns:*.example.test".to_owned(), "dns:example.test".to_owned()];
    }
    Reservation {
        serial: format!("5a{:038x}", n * 0x9e37_79b9 % 1_000_003 + n * 1_000_003),
        id: format!("{n:032x}"),
        issuer: at(&ISSUERS, 2),
        profile: at(&PROFILES, 1),
        profile_hash: String::new(),
        tbs: Vec::new(),
        spki_sha256: format!("{:064x}", n % 13),
        subject: String::new(),
        names,
        requested_by: at(&OWNERS, 4),
        shard: 0,
        validity: Validity {
            not_before: NOW,
            // Many end at once.
            not_after: Timestamp::from_unix(NOW.unix() + (n % 17 - 8) * DAY),
        },
        created: NOW,
    }
}

/// Every seventh is left unfinished, every fourth is revoked.
fn status(n: i64) -> Status {
    match (n % 4, n % 7) {
        (0, _) => Status::Revoked,
        (_, 0) => Status::Reserved,
        _ if made(n).validity.not_after < NOW => Status::Expired,
        _ => Status::Issued,
    }
}

async fn open(url: String) -> Store {
    Store::open(&store::Settings { url }, &"n1".parse().unwrap())
        .await
        .unwrap()
}

async fn filled(url: String, count: i64) -> Store {
    let store = open(url).await;
    for n in 0..count {
        store
            .transact(move |tx| {
                async move {
                    let row = made(n);
                    let serial = row.serial.clone();
                    Reservation::write(vec![row], tx.conn()).await?;
                    if n % 7 != 0 {
                        let certificate = vec![1];
                        Completion::write(
                            vec![Completion {
                                serial: serial.clone(),
                                certificate,
                                spki_sha256: None,
                            }],
                            tx.conn(),
                        )
                        .await?;
                    }
                    if n % 4 == 0 {
                        mark(tx, &serial, Reason::Superseded, NOW, n).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await
            .unwrap();
    }
    store
}

async fn page(store: &Store, filter: &Filter, cursor: Option<String>, limit: u32) -> Result<IssuedPage> {
    let list = ListIssued {
        authority: "internal".parse().unwrap(),
        cursor,
        filter: filter.clone(),
        limit,
    };
    list.page(store, NOW, |_| true).await
}

/// The numbers of all that are listed, in their order.
async fn listed(store: &Store, filter: &Filter, limit: u32) -> Vec<i64> {
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = page(store, filter, cursor, limit).await.unwrap();
        assert!(page.items.len() <= usize::try_from(limit).unwrap());
        seen.extend(page.items.iter().map(|one| i64::from_str_radix(&one.id, 16).unwrap()));
        cursor = page.next;
        if cursor.is_none() {
            return seen;
        }
    }
}

/// A filter, and what it means for the certificate with a number.
type Asked = (Filter, fn(i64) -> bool);

fn each() -> Vec<Asked> {
    let base = Filter::default;
    let day = |days: i64| Some(Timestamp::from_unix(NOW.unix() + days * DAY));
    vec![
        (base(), |_| true),
        (
            Filter {
                name: Some("h3.example.test".parse().unwrap()),
                ..base()
            },
            |n| made(n).names.contains(&"dns:h3.example.test".to_owned()),
        ),
        (
            Filter {
                name: Some("H3.DEEP.example.test".parse().unwrap()),
                ..base()
            },
            |n| made(n).names.contains(&"dns:h3.deep.example.test".to_owned()),
        ),
        (
            Filter {
                name: Some("ip:10.0.0.7".parse().unwrap()),
                ..base()
            },
            |n| made(n).names.contains(&"ip:10.0.0.7".to_owned()),
        ),
        (
            Filter {
                name: Some("spiffe://chancery.test/w2".parse().unwrap()),
                ..base()
            },
            |n| made(n).names.contains(&"uri:spiffe://chancery.test/w2".to_owned()),
        ),
        (
            Filter {
                name: Some("*.example.test".parse().unwrap()),
                ..base()
            },
            |n| made(n).names.iter().any(|name| name.ends_with(".example.test")),
        ),
        (
            Filter {
                name: Some("*.test".parse().unwrap()),
                ..base()
            },
            |n| made(n).names.iter().any(|name| name.starts_with("dns:")),
        ),
        (
            Filter {
                name: Some("*.deep.example.test".parse().unwrap()),
                ..base()
            },
            |n| made(n).names.iter().any(|name| name.ends_with(".deep.example.test")),
        ),
        (
            Filter {
                serial: Some(made(40).serial.to_uppercase().parse().unwrap()),
                ..base()
            },
            |n| n == 40,
        ),
        (
            Filter {
                spki_sha256: Some(format!("{:064x}", 5)),
                ..base()
            },
            |n| n % 13 == 5,
        ),
        (
            Filter {
                issuer: Some(ISSUERS[1].to_owned()),
                ..base()
            },
            |n| made(n).issuer == ISSUERS[1],
        ),
        (
            Filter {
                profile: Some("svid".parse().unwrap()),
                ..base()
            },
            |n| made(n).profile == "svid",
        ),
        (
            Filter {
                owner: Some(OWNERS[2].to_owned()),
                ..base()
            },
            |n| made(n).requested_by == OWNERS[2],
        ),
        (
            Filter {
                status: Some(Status::Expired),
                ..base()
            },
            |n| status(n) == Status::Expired,
        ),
        (
            Filter {
                status: Some(Status::Issued),
                ..base()
            },
            |n| status(n) == Status::Issued,
        ),
        (
            Filter {
                status: Some(Status::Reserved),
                ..base()
            },
            |n| status(n) == Status::Reserved,
        ),
        (
            Filter {
                status: Some(Status::Revoked),
                ..base()
            },
            |n| status(n) == Status::Revoked,
        ),
        (
            Filter {
                expires_after: day(2),
                ..base()
            },
            |n| n % 17 - 8 >= 2,
        ),
        (
            Filter {
                expires_before: day(-3),
                ..base()
            },
            |n| n % 17 - 8 <= -3,
        ),
        (
            Filter {
                expires_after: day(0),
                expires_before: day(3),
                ..base()
            },
            |n| (0..=3).contains(&(n % 17 - 8)),
        ),
    ]
}

fn both(one: &Filter, other: &Filter) -> Filter {
    let (one, other) = (one.clone(), other.clone());
    Filter {
        expires_after: one.expires_after.or(other.expires_after),
        expires_before: one.expires_before.or(other.expires_before),
        issuer: one.issuer.or(other.issuer),
        name: one.name.or(other.name),
        owner: one.owner.or(other.owner),
        profile: one.profile.or(other.profile),
        serial: one.serial.or(other.serial),
        spki_sha256: one.spki_sha256.or(other.spki_sha256),
        status: one.status.or(other.status),
    }
}

/// Whether each says something that the other does not.
fn apart(one: &Filter, other: &Filter) -> bool {
    let said = |filter: &Filter| {
        [
            filter.expires_after.is_some() || filter.expires_before.is_some(),
            filter.issuer.is_some(),
            filter.name.is_some(),
            filter.owner.is_some(),
            filter.profile.is_some(),
            filter.serial.is_some(),
            filter.spki_sha256.is_some(),
            filter.status.is_some(),
        ]
    };
    said(one)
        .into_iter()
        .zip(said(other))
        .all(|(one, other)| !(one && other))
}

const COUNT: i64 = 260;

async fn every_filter(url: String) {
    let store = filled(url, COUNT).await;
    let each = each();
    for (nth, (filter, means)) in each.iter().enumerate() {
        let listed_at_once = listed(&store, filter, 1000).await;
        for (other, also) in each.iter().skip(nth).filter(|(other, _)| apart(filter, other)) {
            let filter = both(filter, other);
            let expected: BTreeSet<i64> = (0..COUNT).filter(|n| means(*n) && also(*n)).collect();
            let found = listed(&store, &filter, 19).await;
            assert_eq!(found.len(), expected.len(), "{filter:?}: none twice, none left out");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{filter:?}");
        }
        assert_eq!(listed(&store, filter, 7).await, listed_at_once, "{filter:?}: one order");
        let ends = |n: &i64| (made(*n).validity.not_after, *n);
        match filter.walk(NOW) {
            Walk::Under(_) => {}
            Walk::Ends(..) => assert!(listed_at_once.is_sorted_by_key(ends), "{filter:?}"),
            _ => assert!(listed_at_once.iter().rev().is_sorted(), "{filter:?}"),
        }
    }
}

fn sqlite(folder: &tempfile::TempDir) -> String {
    format!("sqlite:{}", folder.path().join("chancery.db").display())
}

#[tokio::test]
async fn filters_alone_and_in_pairs_find_what_they_say_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    every_filter(sqlite(&folder)).await;
}

#[tokio::test]
async fn they_do_on_postgresql() {
    every_filter(Postgres::shared().database()).await;
}

#[tokio::test]
async fn a_page_that_meets_nothing_ends_and_leads_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(sqlite(&folder)).await;
    let count = i64::try_from(LOOKED_AT).unwrap() + 500;
    let rows: Vec<_> = (0..count).map(made).collect();
    store
        .transact(move |tx| {
            let rows = rows.clone();
            async move {
                for some in rows.chunks(500) {
                    Reservation::write(some.to_vec(), tx.conn()).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
        .unwrap();
    // Walked along what is reserved, which is everything.
    let everything = Filter {
        status: Some(Status::Reserved),
        profile: Some("other".parse().unwrap()),
        ..Filter::default()
    };
    let first = page(&store, &everything, None, 10).await.unwrap();
    assert!(first.items.is_empty() && first.next.is_some(), "it gives up in time");
    let last = page(&store, &everything, first.next, 10).await.unwrap();
    assert!(last.items.is_empty() && last.next.is_none());
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(sqlite(&folder), 30).await;
    let [all, below, ends] = [
        Filter::default(),
        Filter {
            name: Some("*.example.test".parse().unwrap()),
            ..Filter::default()
        },
        Filter {
            expires_after: Some(NOW),
            ..Filter::default()
        },
    ];
    let next = page(&store, &below, None, 2).await.unwrap().next.unwrap();
    for wrong in [all.clone(), ends.clone()] {
        let refused = page(&store, &wrong, Some(next.clone()), 2).await.unwrap_err();
        assert_eq!(refused.kind(), crate::error::Kind::Invalid);
    }
    let next = page(&store, &all, None, 2).await.unwrap().next;
    assert!(page(&store, &ends, next, 2).await.is_err());
    for wrong in ["", "x", "é".repeat(20).as_str()] {
        assert!(
            page(&store, &all, Some(wrong.to_owned()), 2).await.is_err(),
            "{wrong:?}"
        );
    }
}

//! Renewals against a real Pebble, in process, with a real token: ordered, proven by http-01, delivered, seen served,
//! renewed by the scheduler; and what happens when something on the way fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use chancery::error::Kind;
use chancery::lifecycle::{DownloadCertificate, ListCertificates, ListRenewals, RevokeCertificate};
use chancery::store::entity::{acme_challenge, certificate, certificate_version, issuer, renewal};
use chancery::store::{self, Store};
use chancery::upstream::{ListIssuers, ShowIssuer};
use chancery::vault::CreateVault;
use chancery::wire;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use sea_orm::sea_query::Expr;
use sea_orm::{EntityTrait, PaginatorTrait};
use support::postgres::Postgres;
use support::renewing::{Node, answer_challenges, hook, label, make_keys, pebble, served, spec, sqlite};
use support::softhsm::{Token, with_token};

async fn the_whole_life(token: &Token, node: Node, authz_reuse: u8) {
    let (pebble, port) = pebble(authz_reuse, 15);
    answer_challenges(node.store.clone(), port).await;
    node.set_up(&pebble).await;
    let scheduler = node.schedule();

    let made = node
        .create(served(spec("www", "quick"), token.dir()).await)
        .await
        .unwrap();
    assert_eq!(made.dns_names, ["www.example.test", "alt-www.example.test"]);
    let first = made.renewal.unwrap();
    let done = node.wait(&first.id, wire::Renewal::is_done).await;
    let version = node.wait_version("www", 1).await;
    assert_eq!(done.serial.as_deref(), Some(version.serial.as_str()));
    assert_eq!((version.not_after.unix() - version.not_before.unix() + 1) / 15, 1);

    // The scheduler renews it before it ends, and the new one is the one that is served.
    let second = node.wait_version("www", 2).await;
    assert_ne!(second.serial, version.serial);
    assert!(second.not_before < version.not_after, "there was a gap");
    scheduler.stop().await;

    let (vault, name) = (label("kv-prod"), "www".parse().unwrap());
    let chain = node.perform(DownloadCertificate { vault, name }).await.unwrap();
    assert_eq!(
        fs::read_to_string(token.dir().join("www/fullchain.pem"))
            .unwrap()
            .trim(),
        chain.trim()
    );
    assert_eq!(
        acme_challenge::Entity::find().count(node.store.read()).await.unwrap(),
        0
    );
    let shown = node
        .gate
        .perform(&node.caller, &*node.upstream, ShowIssuer { name: label("pebble") })
        .await
        .unwrap();
    assert!(shown.account.unwrap().starts_with("https://"));

    // The private key stands in clear where it was delivered, and nowhere else.
    let pem = fs::read_to_string(token.dir().join("www/privkey.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let bytes = key
        .secret_der()
        .windows(5)
        .position(|part| part == [0x02, 0x01, 0x01, 0x04, 0x20])
        .unwrap()
        + 5;
    assert_eq!(
        files_with(token.dir(), &key.secret_der()[bytes..bytes + 32]),
        Vec::<PathBuf>::new()
    );
    let line = pem.lines().nth(1).unwrap();
    let clear = files_with(token.dir(), line.as_bytes());
    let delivered =
        |path: &PathBuf| path.starts_with(token.dir().join("www")) || path.starts_with(token.dir().join("served"));
    assert!(!clear.is_empty() && clear.iter().all(delivered), "{clear:?}");

    // Every step is in the log, and every intent has an end.
    let records = node.records().await;
    let of = |outcome: &str| {
        let steps = records
            .iter()
            .filter(|record| record["action"] == "RunRenewal" && record["outcome"] == outcome);
        steps.count()
    };
    assert!(of("done") >= 14, "{}", of("done"));
    assert_eq!(of("failed"), 0);
    let open = node.store.open_intents().await.unwrap();
    assert!(open.is_empty(), "{open:?}");
    for state in [
        "key_ready",
        "csr_ready",
        "ordered",
        "issued",
        "current",
        "delivered",
        "verified",
    ] {
        assert!(
            records.iter().any(|record| record["detail"]["reached"] == state),
            "no record of reaching `{state}`"
        );
    }
}

/// The files below `dir` with `needle` in them.
fn files_with(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
        } else if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if fs::read(&path)
            .unwrap()
            .windows(needle.len())
            .any(|part| part == needle)
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn ordered_delivered_served_and_renewed_with_every_name_proven_each_time() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        the_whole_life(&token, node, 0).await;
    });
}

#[test]
fn ordered_delivered_served_and_renewed_with_authorizations_used_again() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        the_whole_life(&token, node, 100).await;
    });
}

#[test]
fn ordered_delivered_served_and_renewed_on_postgresql() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &Postgres::shared().database(), "n1").await;
        the_whole_life(&token, node, 0).await;
    });
}

/// Each renewal is worked on by one node only, and any node answers for any other.
#[test]
fn two_nodes_share_the_work() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let (one, two) = (
            Node::start(&token, &url, "n1").await,
            Node::start(&token, &url, "n2").await,
        );
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(two.store.clone(), port).await;
        one.set_up(&pebble).await;
        let mut ids = Vec::new();
        for n in 0..6 {
            let made = one.create(spec(&format!("c{n}"), "default")).await.unwrap();
            ids.push(made.renewal.unwrap().id);
        }
        let schedulers = [one.schedule(), two.schedule()];
        for id in &ids {
            one.wait(id, wire::Renewal::is_done).await;
        }
        for scheduler in schedulers {
            scheduler.stop().await;
        }
        assert_eq!(
            certificate_version::Entity::find()
                .count(one.store.read())
                .await
                .unwrap(),
            6
        );
        let page = wire::PageQuery {
            cursor: None,
            limit: Some(4),
        };
        let listed = one
            .perform(ListCertificates {
                vault: label("kv-prod"),
                page,
            })
            .await
            .unwrap();
        assert_eq!((listed.items.len(), listed.next.as_deref()), (4, Some("c3")));
        let failed = |record: &serde_json::Value| record["action"] == "RunRenewal" && record["outcome"] == "failed";
        assert!(!one.records().await.iter().any(failed) && !two.records().await.iter().any(failed));
    });
}

#[test]
fn a_failing_hook_is_told_and_what_was_issued_is_kept() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let asked = served(spec("www", "default"), token.dir()).await;
        let reload = token.dir().join("reload");
        let good = fs::read_to_string(&reload).unwrap();
        hook(&reload, "echo 'nginx: [emerg] no' >&2; exit 7");
        let id = node.create(asked).await.unwrap().renewal.unwrap().id;

        let failed = node.wait(&id, |renewal| renewal.failures >= 2).await;
        assert_eq!(failed.state, "current");
        let text = failed.last_error.unwrap();
        assert!(
            text.contains("exit status: 7") && text.contains("nginx: [emerg] no"),
            "{text}"
        );
        assert!(failed.next_attempt.is_some());

        fs::write(&reload, good).unwrap();
        assert_eq!(node.renew("www").await.id, id, "the one that waits goes on");
        let done = node.wait(&id, wire::Renewal::is_done).await;
        assert_eq!((done.failures, done.last_error), (0, None));
        assert_eq!(
            node.show("www").await.current.unwrap().ordinal,
            1,
            "nothing was ordered twice"
        );
        scheduler.stop().await;
    });
}

#[test]
fn a_server_that_goes_on_with_the_old_certificate_is_found_out() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let asked = served(spec("www", "default"), token.dir()).await;
        let id = node.create(asked).await.unwrap().renewal.unwrap().id;
        node.wait(&id, wire::Renewal::is_done).await;
        let old = node.show("www").await.current.unwrap();

        hook(&token.dir().join("reload"), "exit 0");
        let second = node.renew("www").await;
        let stuck = node.wait(&second.id, |renewal| renewal.failures > 0).await;
        assert_eq!(stuck.state, "delivered");
        let text = stuck.last_error.unwrap();
        assert!(text.contains(&format!("serial {} (valid until", old.serial)), "{text}");
        // It is not finished, and yet the next renewal is planned.
        let page = wire::PageQuery::default();
        let all = node.perform(ListRenewals(page)).await.unwrap().items;
        assert!(all.iter().any(|renewal| renewal.state == "scheduled"), "{all:#?}");
        scheduler.stop().await;
    });
}

#[test]
fn an_issuer_that_is_down_is_waited_for() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (mut pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let first = node.create(spec("www", "default")).await.unwrap().renewal.unwrap();
        node.wait(&first.id, wire::Renewal::is_done).await;

        pebble.stop();
        let second = node.renew("www").await;
        // More failures than it takes to stop at refusals: an outage stops nothing.
        let waits = node.wait(&second.id, |renewal| renewal.failures >= 3).await;
        assert_eq!(waits.state, "csr_ready");
        let text = waits.last_error.unwrap();
        assert!(
            text.contains("issuer `pebble` failed at") && text.contains("refused"),
            "{text}"
        );

        // It comes back without a memory: our account, the predecessor, all is gone.
        pebble.resume();
        let done = node.wait(&second.id, wire::Renewal::is_done).await;
        assert_eq!(done.failures, 0);
        scheduler.stop().await;
    });
}

#[test]
fn a_name_that_is_only_refused_stops_and_says_why() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let mut blocked = spec("blocked", "default");
        blocked.dns_names = vec!["blocked.test".to_owned()];
        let mut odd = spec("odd", "no-such-profile");
        odd.dns_names.truncate(1);
        // What answers first is of another store.
        let url = format!("sqlite:{}", token.dir().join("other.db").display());
        let other = Store::open(&store::Settings { url }, &label("other")).await.unwrap();
        let stranger = answer_challenges(other, port).await;
        let unproven = spec("unproven", "default");
        let mut ids = Vec::new();
        for asked in [blocked, odd, unproven] {
            ids.push(node.create(asked).await.unwrap().renewal.unwrap().id);
        }
        for (id, why) in ids.iter().zip([
            "rejectedIdentifier",
            "invalidProfile",
            "`unproven.example.test`: unauthorized",
        ]) {
            let stopped = node.wait(id, wire::Renewal::is_failed).await;
            let text = stopped.last_error.unwrap();
            assert!(
                text.contains("stopped after 2 refusals") && text.contains(why),
                "{text}"
            );
            assert!(text.contains("chancery cert renew --name"), "{text}");
            assert_eq!(stopped.next_attempt, None);
        }
        assert_eq!(
            acme_challenge::Entity::find().count(node.store.read()).await.unwrap(),
            0
        );

        stranger.abort();
        let _ = stranger.await;
        answer_challenges(node.store.clone(), port).await;
        assert_eq!(node.renew("unproven").await.id, ids[2]);
        node.wait(&ids[2], wire::Renewal::is_done).await;
        scheduler.stop().await;
    });
}

#[test]
fn what_is_revoked_is_replaced_at_once() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let first = node.create(spec("www", "default")).await.unwrap().renewal.unwrap();
        node.wait(&first.id, wire::Renewal::is_done).await;
        let revoke = || RevokeCertificate {
            vault: label("kv-prod"),
            name: "www".parse().unwrap(),
            reason: wire::RevocationReason::KeyCompromise,
        };
        let revoked = node.perform(revoke()).await.unwrap();
        assert!(revoked.current.unwrap().revoked.is_some());
        let second = node.wait_version("www", 2).await;
        assert_eq!(second.revoked, None);
        scheduler.stop().await;
        let rows = renewal::Entity::find().all(node.store.read()).await.unwrap();
        assert_eq!(rows.iter().filter(|row| row.basis == "requested").count(), 1);
    });
}

/// As after a restored backup: the order would replace what was replaced before (RFC 9773 §5).
#[test]
fn what_was_replaced_already_is_ordered_all_the_same() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let first = node.create(spec("www", "default")).await.unwrap().renewal.unwrap();
        node.wait(&first.id, wire::Renewal::is_done).await;
        let old = node.show("www").await.current.unwrap().version;
        let second = node.renew("www").await;
        node.wait(&second.id, wire::Renewal::is_done).await;
        assert!(pebble.log().contains("is a replacement of"), "{}", pebble.log());

        node.store
            .transact(move |tx| {
                let old = old.clone();
                Box::pin(async move {
                    certificate::Entity::update_many()
                        .col_expr(certificate::Column::CurrentVersion, Expr::value(old))
                        .exec(tx.conn())
                        .await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let third = node.renew("www").await;
        let done = node.wait(&third.id, wire::Renewal::is_done).await;
        assert_eq!((done.failures, done.last_error), (0, None));
        scheduler.stop().await;
        let ordered =
            |record: &&serde_json::Value| record["detail"]["renewal"] == third.id && record["outcome"] == "failed";
        assert_eq!(node.records().await.iter().filter(ordered).count(), 0);
    });
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_made() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, _) = pebble(0, 7_776_000);
        let refused = async |asked: wire::CreateCertificate, why: &str| {
            let error = node.create(asked).await.unwrap_err();
            assert!(error.public().contains(why), "{error}");
        };
        refused(spec("www", "default"), "no issuer `pebble`").await;
        let ca = fs::read_to_string(pebble.ca_file()).unwrap();
        node.create_issuer("pebble", &pebble.directory(), Some(ca.clone()))
            .await
            .unwrap();
        let again = node
            .create_issuer("pebble", &pebble.directory(), Some(ca))
            .await
            .unwrap_err();
        assert_eq!(again.kind(), Kind::Conflict);
        refused(spec("www", "default"), "no vault `kv-prod`").await;
        let name = label("kv-prod");
        node.gate
            .perform(&node.caller, &node.vault, CreateVault::new(name))
            .await
            .unwrap();

        let outside = wire::CreateCertificate {
            deliver: Some(wire::Deliver {
                directory: "/srv/www".into(),
                owner: None,
                mode: None,
                pkcs12_password_file: None,
                hook: Vec::new(),
            }),
            ..spec("www", "default")
        };
        refused(outside, "delivery_roots").await;
        let window = wire::CreateCertificate {
            maintenance: vec!["0 25 * * * for 1h".to_owned()],
            ..spec("www", "default")
        };
        refused(window, "`25` is not in 0-23").await;
        let page = wire::PageQuery::default();
        let issuers = node
            .gate
            .perform(&node.caller, &*node.upstream, ListIssuers(page))
            .await
            .unwrap();
        assert_eq!(issuers.items.len(), 1);

        node.create(spec("www", "default")).await.unwrap();
        refused(spec("www", "default"), "exists already").await;
    });
}

/// The directory's own TLS is judged by the roots given, and the account key is never in clear.
#[test]
fn an_untrusted_directory_is_a_matter_of_configuration() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, _) = pebble(0, 7_776_000);
        node.set_up(&pebble).await;
        node.create_issuer("stranger", &pebble.directory(), None).await.unwrap();
        let scheduler = node.schedule();
        let asked = wire::CreateCertificate {
            issuer: label("stranger"),
            ..spec("www", "default")
        };
        let id = node.create(asked).await.unwrap().renewal.unwrap().id;
        let stopped = node.wait(&id, wire::Renewal::is_failed).await;
        let text = stopped.last_error.unwrap();
        assert!(text.contains("not trusted") && text.contains("--ca-file"), "{text}");
        scheduler.stop().await;
        for row in issuer::Entity::find().all(node.store.read()).await.unwrap() {
            // An EC key in PKCS#8 names its curve.
            let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
            assert!(!row.account_key.windows(curve.len()).any(|part| part == curve));
        }
    });
}

/// What is to be delivered to this folder.
fn delivered(name: &str, directory: &Path) -> wire::CreateCertificate {
    wire::CreateCertificate {
        deliver: Some(wire::Deliver {
            directory: directory.to_owned(),
            owner: None,
            mode: None,
            pkcs12_password_file: None,
            hook: Vec::new(),
        }),
        ..spec(name, "default")
    }
}

/// Each delivery would take the other's files away, whatever the folder is called.
#[test]
fn two_certificates_are_not_delivered_to_one_folder() {
    with_token(|token| async move {
        make_keys(&token).await;
        for (n, url) in [sqlite(&token), Postgres::shared().database()].into_iter().enumerate() {
            let node = Node::start(&token, &url, &format!("n{n}")).await;
            node.set_up_at("https://localhost:1/directory", None).await;
            let top = token.dir().join(format!("top{n}"));
            let folder = top.join("www");
            fs::create_dir_all(&top).unwrap();
            std::os::unix::fs::symlink(&top, token.dir().join(format!("link{n}"))).unwrap();
            node.create(delivered("www", &folder)).await.unwrap();

            let named = |text: &str| PathBuf::from(format!("{}/{text}", token.dir().display()));
            for same in [
                named(&format!("top{n}/www")),
                named(&format!("top{n}/www/")),
                named(&format!("top{n}//./www/.")),
                named(&format!("link{n}/www")),
                // Where its versions lie, from which the old ones are taken away.
                named(&format!("top{n}/www/versions/000001")),
            ] {
                let refused = node.create(delivered("other", &same)).await.unwrap_err();
                assert_eq!(refused.kind(), Kind::Conflict, "{}: {refused}", same.display());
                let text = refused.public();
                assert!(
                    text.contains("`www` of vault `kv-prod`") && text.contains("another folder"),
                    "{text}"
                );
            }
            // It cannot be named by way of `..` at all.
            let refused = node
                .create(delivered("other", &named(&format!("top{n}/x/../www"))))
                .await;
            assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
            // The folder above and one beside are no one's.
            node.create(delivered("above", &top)).await.unwrap();
            node.create(delivered("beside", &top.join("www2"))).await.unwrap();
        }
    });
}

#[test]
fn of_two_nodes_one_takes_a_folder() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let nodes = [
            Node::start(&token, &url, "n1").await,
            Node::start(&token, &url, "n2").await,
        ];
        nodes[0].set_up_at("https://localhost:1/directory", None).await;
        for round in 0..20 {
            let folder = token.dir().join(round.to_string());
            let asked = [format!("a{round}"), format!("b{round}")].map(|name| delivered(&name, &folder));
            let [first, second] = asked;
            let (first, second) = tokio::join!(nodes[0].create(first), nodes[1].create(second));
            let refused = match (first, second) {
                (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
                both => panic!("{both:?}"),
            };
            assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
            assert!(refused.public().contains("another folder"), "{refused}");
        }
    });
}

//! Sealing against the real token and the real store.

use std::path::Path;

use super::*;
use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::key_type::KeyType;
use crate::softhsm::{Token, with_token};
use crate::store::Settings;

const CANARY: &[u8] = b"canary-5f1d0c-in-the-clear";

struct House {
    sealer: Sealer,
    store: Store,
    hsm: Hsm,
    clock: Arc<ManualClock>,
}

fn kek() -> KeyRef {
    KeyRef {
        label: "kek-1".to_owned(),
        kind: KeyType::Aes256,
    }
}

async fn store(folder: &Path) -> Store {
    let url = format!("sqlite:{}", folder.join("chancery.db").display());
    Store::open(&Settings { url }, &"n1".parse().unwrap()).await.unwrap()
}

async fn house(token: &Token) -> House {
    let hsm = token.hsm();
    hsm.generate("kek-1", KeyType::Aes256).await.unwrap();
    let store = store(token.dir()).await;
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix(1_000_000)));
    House {
        sealer: sealer(&store, &hsm, &clock, 1),
        store,
        hsm,
        clock,
    }
}

fn sealer(store: &Store, hsm: &Hsm, clock: &Arc<ManualClock>, seed: u64) -> Sealer {
    Sealer::new(
        store.clone(),
        hsm.clone(),
        kek(),
        Arc::new(SeededEntropy::new(seed)),
        clock.clone(),
    )
}

fn canary() -> Secret {
    Secret::new(CANARY.to_vec())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn what_is_sealed_opens_only_as_what_it_was_sealed_as() {
    with_token(|token| async move {
        let house = house(&token).await;
        let bound = binding(&["secrets/a", "1.x"]);
        let sealed = house.sealer.seal("vault/kv", &bound, &canary()).await.unwrap();
        assert!(!contains(&sealed, CANARY));
        let opened = house.sealer.open("vault/kv", &bound, &sealed).await.unwrap();
        assert_eq!(opened.expose(), CANARY);

        // Another object, another version, another vault whose data key exists too.
        house.sealer.seal("vault/other", &bound, &canary()).await.unwrap();
        for (domain, bound) in [
            ("vault/kv", binding(&["secrets/b", "1.x"])),
            ("vault/kv", binding(&["secrets/a", "2.x"])),
            ("vault/other", bound.clone()),
        ] {
            let error = house.sealer.open(domain, &bound, &sealed).await.err().unwrap();
            assert_eq!(error.kind(), Kind::Internal, "{domain}");
        }
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert!(
                house.sealer.open("vault/kv", &bound, &broken).await.is_err(),
                "byte {at}"
            );
        }
    });
}

#[test]
fn a_process_that_starts_again_opens_what_another_sealed() {
    with_token(|token| async move {
        let house = house(&token).await;
        let sealed = house.sealer.seal("system", b"", &canary()).await.unwrap();
        let again = sealer(&house.store, &house.hsm, &house.clock, 2);
        assert_eq!(again.open("system", b"", &sealed).await.unwrap().expose(), CANARY);
    });
}

#[test]
fn callers_at_once_make_one_data_key() {
    with_token(|token| async move {
        let house = house(&token).await;
        let other = sealer(&house.store, &house.hsm, &house.clock, 3);
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..32 {
            let sealer = if n % 2 == 0 {
                house.sealer.clone()
            } else {
                other.clone()
            };
            callers.spawn(async move { sealer.seal("vault/kv", b"", &canary()).await.unwrap() });
        }
        let sealed = callers.join_all().await;
        let first = format::split(&sealed[0]).unwrap().dek;
        assert!(sealed.iter().all(|each| format::split(each).unwrap().dek == first));
        assert_eq!(
            repo::newest(&house.store, "vault/kv")
                .await
                .unwrap()
                .unwrap()
                .generation,
            1
        );
    });
}

#[test]
fn opening_goes_on_without_the_token_until_the_data_keys_end() {
    with_token(|token| async move {
        let mut house = house(&token).await;
        // A door that keeps no copies of the token's keys in its sessions, so that the folder is the token.
        let settings = crate::hsm::Settings {
            session_copies: false,
            ..token.settings()
        };
        let hsm = Hsm::open(&settings).unwrap();
        house.sealer = sealer(&house.store, &hsm, &house.clock, 6);
        let sealed = house.sealer.seal("vault/kv", b"", &canary()).await.unwrap();
        let away = token.dir().join("away");
        std::fs::rename(token.tokens(), &away).unwrap();

        house.clock.advance(TTL - Duration::from_secs(1));
        assert!(house.sealer.open("vault/kv", b"", &sealed).await.is_ok());
        house.clock.advance(Duration::from_secs(1));
        let error = house.sealer.open("vault/kv", b"", &sealed).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");

        std::fs::rename(&away, token.tokens()).unwrap();
        let healed = async {
            while let Err(error) = house.sealer.open("vault/kv", b"", &sealed).await {
                assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), healed).await.unwrap();
    });
}

#[test]
fn r21_a_clock_that_is_put_back_lengthens_no_data_keys_time_in_memory() {
    with_token(|token| async move {
        let mut house = house(&token).await;
        let settings = crate::hsm::Settings {
            session_copies: false,
            ..token.settings()
        };
        house.sealer = sealer(&house.store, &Hsm::open(&settings).unwrap(), &house.clock, 6);
        let sealed = house.sealer.seal("vault/kv", b"", &canary()).await.unwrap();
        let open = async || house.sealer.open("vault/kv", b"", &sealed).await;
        std::fs::rename(token.tokens(), token.dir().join("away")).unwrap();
        // A little is what clocks do.
        let start = house.clock.now();
        house.clock.set(start - Duration::from_secs(60));
        open().await.unwrap();
        house.clock.set(start - TTL * 24);
        assert_eq!(open().await.err().unwrap().kind(), Kind::Unavailable);
    });
}

#[test]
fn a_used_data_key_is_proven_again_and_an_idle_one_ends() {
    with_token(|token| async move {
        let house = house(&token).await;
        let sealed = house.sealer.seal("vault/kv", b"", &canary()).await.unwrap();
        let id = format::split(&sealed).unwrap().dek;
        let first = house.sealer.inner.live(&id).unwrap();
        let end = first.expires();

        house.clock.advance(TTL / 2);
        while first.expires() == end {
            tokio::task::yield_now().await;
        }
        // Not used since: it ends, and is dropped from memory.
        let alive = Arc::downgrade(&first);
        drop(first);
        for _ in 0..30 {
            house.clock.advance(TTL / 20);
            tokio::task::yield_now().await;
        }
        let dropped = async {
            while alive.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), dropped).await.unwrap();
        assert!(house.sealer.inner.opened.load().is_empty());
    });
}

#[test]
fn a_data_key_that_has_sealed_enough_is_followed_by_the_next() {
    with_token(|token| async move {
        let house = house(&token).await;
        let before = house.sealer.seal("vault/kv", b"", &canary()).await.unwrap();
        repo::tampering::use_up(&house.store, "vault/kv").await;
        let again = sealer(&house.store, &house.hsm, &house.clock, 4);
        let after = again.seal("vault/kv", b"", &canary()).await.unwrap();
        assert_ne!(format::split(&before).unwrap().dek, format::split(&after).unwrap().dek);
        for sealed in [&before, &after] {
            assert_eq!(again.open("vault/kv", b"", sealed).await.unwrap().expose(), CANARY);
        }
    });
}

#[test]
fn a_share_of_sealings_is_never_exceeded() {
    with_token(|token| async move {
        let house = house(&token).await;
        let key = house.sealer.key("vault/kv").await.unwrap();
        for _ in 0..repo::BLOCK {
            key.seal(b"", &Secret::new(Vec::new())).unwrap();
        }
        assert_eq!(key.seal(b"", &canary()).err().unwrap().kind(), Kind::Unavailable);
        // Asking anew reserves anew.
        house.sealer.seal("vault/kv", b"", &canary()).await.unwrap();
    });
}

#[test]
fn a_wrapped_key_moved_to_another_domain_does_not_open() {
    with_token(|token| async move {
        let house = house(&token).await;
        house.sealer.seal("vault/kv", b"", &canary()).await.unwrap();
        let sealed = house.sealer.seal("vault/other", b"", &canary()).await.unwrap();
        repo::tampering::swap_wrapped(&house.store, "vault/kv", "vault/other").await;
        let again = sealer(&house.store, &house.hsm, &house.clock, 5);
        let error = again.open("vault/other", b"", &sealed).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Internal);
    });
}

#[test]
fn an_archive_opens_whole_by_the_same_kek_as_what_it_is_and_no_other_way() {
    with_token(|token| async move {
        let house = house(&token).await;
        let sealed = house.sealer.archive(b"a", &canary()).await.unwrap();
        assert!(!contains(&sealed, CANARY));
        // Without the rows of the store that it was made beside.
        let elsewhere = tempfile::tempdir().unwrap();
        let again = sealer(&store(elsewhere.path()).await, &house.hsm, &house.clock, 7);
        assert_eq!(again.open_archive(b"a", &sealed).await.unwrap().expose(), CANARY);

        let refused = async |sealed: &[u8], binding: &[u8]| {
            let error = again.open_archive(binding, sealed).await.err().unwrap();
            assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
        };
        refused(&sealed, b"b").await;
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            refused(&broken, b"a").await;
        }
        for len in [0, 1, 2, 20, 60, sealed.len() - 1] {
            refused(&sealed[..len], b"a").await;
        }
        house.hsm.generate("kek-x", KeyType::Aes256).await.unwrap();
        let other = KeyRef {
            label: "kek-x".to_owned(),
            kind: KeyType::Aes256,
        };
        let other = Sealer::new(
            house.store.clone(),
            house.hsm.clone(),
            other,
            Arc::new(SeededEntropy::new(8)),
            house.clock.clone(),
        );
        refused(&other.archive(b"a", &canary()).await.unwrap(), b"a").await;
        // The token is not taken for lost by any of it.
        house.sealer.archive(b"a", &canary()).await.unwrap();
    });
}

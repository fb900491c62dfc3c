//! The door to the token against a real SoftHSM that is taken away, put back, misconfigured and overloaded.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::disallowed_methods,
        clippy::allow_attributes,
        reason = "a test may panic: that is how it fails"
    )
)]

#[allow(dead_code, unreachable_pub, reason = "shared with the other test programs")]
#[path = "support/softhsm.rs"]
mod softhsm;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chancery::hsm::{Hsm, HsmError, KeyRef};
use chancery::key_type::KeyType;
use chancery::secret::{Secret, SecretRef};

use softhsm::{Token, with_token};

/// A token's folder that can be moved away and back.
struct Folder {
    here: PathBuf,
    away: PathBuf,
}

impl Folder {
    fn of(token: &Token) -> Self {
        Self {
            here: token.folder(),
            away: token.dir().join("away"),
        }
    }

    fn take_away(&self) {
        fs::rename(&self.here, &self.away).unwrap();
    }

    fn put_back(&self) {
        fs::rename(&self.away, &self.here).unwrap();
    }
}

fn ec(label: &str) -> KeyRef {
    KeyRef {
        label: label.to_owned(),
        kind: KeyType::EcP256,
    }
}

fn kek(label: &str) -> KeyRef {
    KeyRef {
        label: label.to_owned(),
        kind: KeyType::Aes256,
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Tries until it works: nobody restarts anything.
async fn healed(hsm: &Hsm, key: &KeyRef) {
    let start = Instant::now();
    while let Err(error) = hsm.sign(key, b"healed?").await {
        assert!(error.is_retryable(), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10), "not healed: {error}");
        pause(10).await;
    }
}

/// Objects in the token, by the files that SoftHSM keeps them in.
fn objects(folder: &Path) -> usize {
    fs::read_dir(folder)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            let name = name.to_string_lossy().into_owned();
            name.ends_with(".object") && name != "token.object"
        })
        .count()
}

/// 16 callers, 100 rounds: every call ends well or in a clear error that says to try again, none hangs, the process
/// lives, all heals without a restart, and no key is ever made in answer.
async fn soak(token: Token, session_copies: bool) {
    let mut settings = token.settings();
    settings.session_copies = session_copies;
    let hsm = Hsm::open(&settings).unwrap();
    hsm.generate("ca", KeyType::EcP256).await.unwrap();
    hsm.generate("kek", KeyType::Aes256).await.unwrap();
    let public = hsm.find("ca").await.unwrap();
    let sealed = hsm
        .encrypt(&kek("kek"), [1; 12], b"", &Secret::new(vec![5; 32]))
        .await
        .unwrap();
    let folder = Folder::of(&token);
    let keys = objects(&folder.here);

    let stop = Arc::new(AtomicBool::new(false));
    let (done, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..16_u32)
        .map(|n| {
            let (hsm, stop, sealed) = (hsm.clone(), Arc::clone(&stop), sealed.clone());
            let (done, refused) = (Arc::clone(&done), Arc::clone(&refused));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let result = match n {
                        0..12 => hsm.sign(&ec("ca"), &n.to_be_bytes()).await.map(drop),
                        12..14 => hsm.decrypt(&kek("kek"), [1; 12], b"", &sealed).await.map(|opened| {
                            assert_eq!(opened.expose(), [5; 32]);
                        }),
                        14 => hsm.find("ca").await.map(|found| assert!(found.is_some())),
                        // What must never be read as "not there": a look for what is there while the folder is not.
                        _ => hsm
                            .generate("ca", KeyType::EcP256)
                            .await
                            .map(|_| panic!("a second CA key")),
                    };
                    match result {
                        Ok(()) | Err(HsmError::KeyExists(_)) => {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert!(error.is_retryable(), "caller {n}: {error}");
                            refused.fetch_add(1, Ordering::Relaxed);
                            pause(1).await;
                        }
                    }
                }
            })
        })
        .collect();

    for round in 0..100_u64 {
        folder.take_away();
        pause(5 + round % 40).await;
        folder.put_back();
        healed(&hsm, &ec("ca")).await;
        pause(round % 7).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    healed(&hsm, &ec("ca")).await;
    assert_eq!(hsm.find("ca").await.unwrap(), public);
    assert_eq!(objects(&folder.here), keys, "keys were made");
    let (done, refused) = (done.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    assert!(done > 1_000, "only {done} calls went through, {refused} were refused");
    assert!(refused > 0, "the folder was never missed: the soak proves nothing");
    eprintln!("{done} calls done, {refused} refused");
    hsm.close();
}

#[test]
fn the_ladder_outlasts_a_folder_that_comes_and_goes() {
    with_token(|token| soak(token, false));
}

#[test]
fn the_ladder_outlasts_it_with_session_copies_too() {
    with_token(|token| soak(token, true));
}

#[test]
fn an_empty_find_is_not_believed_while_the_folder_is_away_or_just_back() {
    with_token(|token| async move {
        let folder = Folder::of(&token);
        // A door that has seen no key yet has nothing to prove the token by.
        let hsm = token.hsm();
        assert_eq!(hsm.find("root").await.unwrap(), None);
        folder.take_away();
        for _ in 0..20 {
            let found = hsm.find("root").await;
            assert!(matches!(found, Err(HsmError::TokenLost(_))), "{found:?}");
            let made = hsm.generate("root", KeyType::EcP256).await;
            assert!(matches!(made, Err(HsmError::TokenLost(_))), "{made:?}");
        }
        folder.put_back();
        let start = Instant::now();
        while let Err(error) = hsm.find("root").await {
            assert!(error.is_retryable(), "{error}");
            assert!(start.elapsed() < Duration::from_secs(10), "not healed: {error}");
            pause(10).await;
        }
        hsm.generate("root", KeyType::EcP256).await.unwrap();

        // Away and back between two calls: SoftHSM itself never recovers from that.
        for _ in 0..10 {
            let other = token.hsm();
            folder.take_away();
            folder.put_back();
            let found = other.find("root").await;
            assert!(
                matches!(&found, Ok(Some(_))) || matches!(&found, Err(error) if error.is_retryable()),
                "{found:?}"
            );
            healed(&other, &ec("root")).await;
        }
        assert_eq!(objects(&folder.here), 2);
    });
}

#[test]
fn a_folder_swapped_for_an_empty_token_is_a_lost_key_not_a_new_one() {
    with_token(|token| async move {
        let mut settings = token.settings();
        settings.session_copies = false;
        let hsm = Hsm::open(&settings).unwrap();
        hsm.generate("ca", KeyType::EcP256).await.unwrap();
        let folder = Folder::of(&token);
        folder.take_away();
        token.add(softhsm::LABEL);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            for result in [
                hsm.sign(&ec("ca"), b"x").await.map(drop),
                hsm.find("ca").await.map(drop),
                hsm.find("issuing").await.map(drop),
                hsm.generate("issuing", KeyType::EcP256).await.map(drop),
            ] {
                assert!(matches!(result, Err(HsmError::TokenLost(_))), "{result:?}");
            }
        }
        assert_eq!(objects(&token.folder()), 0);
        fs::remove_dir_all(token.folder()).unwrap();
        folder.put_back();
        healed(&hsm, &ec("ca")).await;
    });
}

#[test]
fn the_whole_store_of_tokens_may_go_away() {
    with_token(|token| async move {
        let mut settings = token.settings();
        settings.session_copies = false;
        let hsm = Hsm::open(&settings).unwrap();
        hsm.generate("ca", KeyType::EcP256).await.unwrap();
        let away = token.dir().join("elsewhere");
        fs::rename(token.tokens(), &away).unwrap();
        for _ in 0..10 {
            assert!(matches!(hsm.sign(&ec("ca"), b"x").await, Err(HsmError::TokenLost(_))));
            assert!(matches!(hsm.probe().await, Err(HsmError::TokenLost(_))));
        }
        fs::rename(&away, token.tokens()).unwrap();
        healed(&hsm, &ec("ca")).await;
        hsm.probe().await.unwrap();
    });
}

#[test]
fn two_doors_share_one_library() {
    with_token(|token| async move {
        let (one, two) = (token.hsm(), token.hsm());
        one.generate("ca", KeyType::EcP256).await.unwrap();
        two.sign(&ec("ca"), b"x").await.unwrap();
        one.close();
        two.sign(&ec("ca"), b"x").await.unwrap();
        two.close();
        let again = token.hsm();
        again.sign(&ec("ca"), b"x").await.unwrap();
        let clone = again.clone();
        again.close();
        assert!(matches!(clone.sign(&ec("ca"), b"x").await, Err(HsmError::Closed)));
    });
}

#[test]
fn a_wrong_pin_says_so_and_is_not_shown() {
    with_token(|token| async move {
        let wrong = token.dir().join("wrong");
        fs::write(&wrong, "4711-canary\n").unwrap();
        let mut settings = token.settings();
        settings.pin = SecretRef::File(wrong);
        let error = Hsm::open(&settings).err().unwrap();
        assert!(matches!(error, HsmError::WrongPin), "{error}");
        let shown = format!("{error} {error:?} {settings:?}");
        assert!(shown.contains("hsm.pin") && !shown.contains("canary"), "{shown}");
        settings.pin = SecretRef::File(token.dir().join("nowhere"));
        let error = Hsm::open(&settings).err().unwrap();
        assert!(chancery::error::Error::from(error).public().contains("nowhere"));
    });
}

#[test]
fn a_missing_token_and_a_missing_module_are_named() {
    with_token(|token| async move {
        let mut settings = token.settings();
        settings.token_label = "elsewhere".to_owned();
        let error = Hsm::open(&settings).err().unwrap();
        assert!(
            matches!(&error, HsmError::NoToken(label) if label == "elsewhere"),
            "{error}"
        );
        assert!(error.to_string().contains("SOFTHSM2_CONF"));

        settings.module = "/nowhere/libpkcs11.so".into();
        let error = Hsm::open(&settings).err().unwrap();
        assert!(error.to_string().contains("`/nowhere/libpkcs11.so`"), "{error}");

        let not_pkcs11 = token.pin_file();
        settings.module = not_pkcs11;
        assert!(matches!(Hsm::open(&settings).err().unwrap(), HsmError::Module { .. }));
        // A door that was not opened leaves nothing behind.
        token.hsm().probe().await.unwrap();
    });
}

#[test]
fn a_doubled_label_is_an_error_that_names_it() {
    with_token(|token| async move {
        let hsm = token.hsm();
        for round in 0..2 {
            let done = std::process::Command::new("pkcs11-tool")
                .args(["--module", softhsm::module(), "--token-label", softhsm::LABEL])
                .args([
                    "--login",
                    "--pin",
                    softhsm::PIN,
                    "--keypairgen",
                    "--key-type",
                    "EC:prime256v1",
                ])
                .args(["--label", "twin", "--id", &format!("0{round}")])
                .output()
                .expect("pkcs11-tool is missing: run `apt-get install opensc`");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        for result in [
            hsm.find("twin").await.map(drop),
            hsm.sign(&ec("twin"), b"x").await.map(drop),
            hsm.generate("twin", KeyType::EcP256).await.map(drop),
        ] {
            assert!(matches!(result, Err(HsmError::Duplicate(label)) if label == "twin"));
        }
    });
}

#[test]
fn another_program_sees_keys_that_cannot_leave() {
    with_token(|token| async move {
        let hsm = token.hsm();
        hsm.generate("ca", KeyType::EcP256).await.unwrap();
        hsm.generate("audit", KeyType::Ed25519).await.unwrap();
        hsm.generate("kek", KeyType::Aes256).await.unwrap();
        let listed = std::process::Command::new("pkcs11-tool")
            .args(["--module", softhsm::module(), "--token-label", softhsm::LABEL])
            .args(["--login", "--pin", softhsm::PIN, "--list-objects"])
            .output()
            .expect("pkcs11-tool is missing: run `apt-get install opensc`");
        let listed = String::from_utf8(listed.stdout).unwrap();
        let secret: Vec<&str> = listed
            .split("\n\n")
            .flat_map(|part| part.split_inclusive("Access:"))
            .collect();
        assert!(!secret.is_empty());
        assert_eq!(
            listed
                .matches("sensitive, always sensitive, never extractable, local")
                .count(),
            3,
            "{listed}"
        );
    });
}

#[test]
fn a_flood_is_refused_at_once_and_the_rest_is_served() {
    with_token(|token| async move {
        let mut settings = token.settings();
        settings.workers = Some(1);
        settings.queue = 2;
        let hsm = Hsm::open(&settings).unwrap();
        // Making a key takes the token many times as long as asking for one takes us.
        let makers: Vec<_> = (0..16)
            .map(|n| {
                let hsm = hsm.clone();
                tokio::spawn(async move { hsm.generate(&format!("k{n}"), KeyType::EcP256).await })
            })
            .collect();
        let (mut made, mut busy) = (0, 0);
        for maker in makers {
            match maker.await.unwrap() {
                Ok(_) => made += 1,
                Err(HsmError::Busy) => busy += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(made >= 2 && busy >= 1, "{made} made, {busy} refused");
        hsm.probe().await.unwrap();
    });
}

//! Keys that are brought as the next version of one that is here, in the database and in the token: what went before
//! still opens and verifies, what does not fit is refused, and the name is never given to two keys.

use std::sync::Arc;

use chancery::error::Kind;
use chancery::policy::Role;
use chancery::secret::Secret;
use chancery::vault::{
    Change, DeleteKey, ImportKeyVersion, ImportWrap, KeyFormat, KeyKind, KeyOp, KeyProtection, NewKey, NewVersion,
    SignatureFormat, Tags, ToSign, VerifySignature, VersionRef, WrappedBy,
};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};

use crate::brought::{export, exportable, hsm, import, oaep, pairs};
use crate::keys::{create, encrypt, new_key, on_both_engines, rotate, sign, update};
use crate::support::node::{caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{House, RETENTION, refused};

on_both_engines!(
    the_next_version_signs_and_the_one_before_still_does,
    what_the_versions_before_encrypted_still_opens,
    what_does_not_fit_the_key_is_refused,
    a_version_is_brought_by_those_who_may_under_the_condition_that_they_name,
    versions_brought_and_made_at_once_take_every_ordinal_once,
);

fn next(name: &str, key: Vec<u8>, format: KeyFormat, kind: Option<KeyKind>, next: NewVersion) -> ImportKeyVersion {
    ImportKeyVersion {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        kind,
        format,
        key: Secret::new(key),
        wrapped_by: None,
        next,
        expect: None,
    }
}

fn next_pair(name: &str, pair: &PKey<Private>) -> ImportKeyVersion {
    let pkcs8 = pair.private_key_to_pkcs8().unwrap();
    next(name, pkcs8, KeyFormat::Pkcs8, None, NewVersion::default())
}

fn aes(name: &str, byte: u8) -> ImportKeyVersion {
    let kind = Some(KeyKind::Aes256);
    next(name, vec![byte; 32], KeyFormat::Raw, kind, NewVersion::default())
}

async fn the_next_version_signs_and_the_one_before_still_does(house: House) {
    for (place, new) in [(KeyProtection::Software, new_key()), (KeyProtection::Hsm, hsm())] {
        let name = place.as_str();
        let ([(_, first), ..], [(_, second), ..]) = (pairs(), pairs());
        let pkcs8 = first.private_key_to_pkcs8().unwrap();
        let one = import(name, pkcs8, KeyFormat::Pkcs8, None, new);
        let one = house.perform(one).await.unwrap();
        let before = house.perform(sign(name, VersionRef::Current)).await.unwrap();
        let two = house.perform(next_pair(name, &second)).await.unwrap();
        assert_eq!(
            (two.id, two.revision, two.latest, two.version.ordinal),
            (one.id, 2, 2, 2)
        );
        assert_eq!((two.version.protection, two.version.kind), (place, KeyKind::EcP256));
        assert_eq!(two.version.public, Some(second.public_key_to_der().unwrap()));
        for (version, pair) in [(VersionRef::Current, &second), (VersionRef::Ordinal(1), &first)] {
            let signed = house.perform(sign(name, version)).await.unwrap();
            let mut verifier = openssl::sign::Verifier::new(MessageDigest::sha256(), pair).unwrap();
            let good = verifier.verify_oneshot(&signed.signature, b"message").unwrap();
            assert!(good, "{place} {version:?}");
        }
        for (version, valid) in [(VersionRef::Ordinal(1), true), (VersionRef::Current, false)] {
            let verify = VerifySignature {
                vault: "kv".parse().unwrap(),
                name: name.parse().unwrap(),
                version,
                algorithm: None,
                what: ToSign::Message(b"message".to_vec()),
                signature: before.signature.clone(),
                format: SignatureFormat::Der,
            };
            assert_eq!(house.perform(verify).await.unwrap().valid, valid, "{place} {version:?}");
        }
        // The service's own next version follows one that was brought.
        assert_eq!(house.perform(rotate(name, None)).await.unwrap().latest, 3);
    }
}

async fn what_the_versions_before_encrypted_still_opens(house: House) {
    let importing = house.make("importing", KeyKind::Rsa2048).await;
    let public = PKey::public_key_from_der(importing.version.public.as_deref().unwrap()).unwrap();
    for (name, new) in [("software", new_key()), ("hsm", hsm())] {
        let mut made = create(name, KeyKind::Aes256);
        made.new = NewKey {
            tags: Tags::new([("team".to_owned(), "a".to_owned())].into()).unwrap(),
            ..new
        };
        house.perform(made).await.unwrap();
        let mut sealed = vec![house.encrypted(name, b"1").await.ciphertext];
        for byte in 2..=11 {
            let two = house.perform(aes(name, byte)).await.unwrap();
            assert_eq!(two.version.attributes.tags.iter().collect::<Vec<_>>(), [("team", "a")]);
            sealed.push(house.encrypted(name, &[b'0' + byte]).await.ciphertext);
        }
        // And one that comes wrapped.
        let mut wrapped = aes(name, 0);
        wrapped.key = Secret::new(oaep(&public, MessageDigest::sha256(), &[12; 32]));
        wrapped.wrapped_by = Some(WrappedBy {
            name: "importing".parse().unwrap(),
            version: VersionRef::Current,
            algorithm: ImportWrap::RsaOaep256,
        });
        wrapped.next.ops = Some(vec![KeyOp::Decrypt]);
        let last = house.perform(wrapped).await.unwrap();
        assert_eq!(last.version.attributes.ops.to_string(), "decrypt");
        refused(
            house.perform(encrypt(name, b"x")).await,
            Kind::Conflict,
            "its uses are decrypt",
        );
        for (ordinal, ciphertext) in (1_u64..).zip(&sealed) {
            let opened = house.decrypted(name, ciphertext).await.unwrap();
            let byte = b'0' + u8::try_from(ordinal).unwrap();
            assert_eq!(opened, (ordinal, vec![byte]), "{name}");
        }
    }
    // What is taken out is what was brought.
    let mut leaves = create("leaves", KeyKind::Aes256);
    leaves.new = exportable();
    house.perform(leaves).await.unwrap();
    house.perform(aes("leaves", 7)).await.unwrap();
    let exported = house.perform(export("leaves", KeyFormat::Raw)).await.unwrap();
    assert_eq!((exported.made.ordinal, exported.key.expose()), (2, &[7; 32][..]));
}

async fn what_does_not_fit_the_key_is_refused(house: House) {
    let [(_, pair), (_, other), ..] = pairs();
    refused(house.perform(next_pair("k", &pair)).await, Kind::NotFound, "no key `k`");
    for (place, new, elsewhere) in [
        (KeyProtection::Software, new_key(), KeyProtection::Hsm),
        (KeyProtection::Hsm, hsm(), KeyProtection::Software),
    ] {
        let name = place.as_str();
        let mut op = create(name, KeyKind::EcP256);
        op.new = new;
        house.perform(op).await.unwrap();
        refused(
            house.perform(next_pair(name, &other)).await,
            Kind::Invalid,
            "are of type `ec-p256`, and the one that is brought is of type `ec-p521`",
        );
        refused(
            house.perform(aes(name, 1)).await,
            Kind::Invalid,
            "are of type `ec-p256`",
        );
        let mut moved = next_pair(name, &pair);
        moved.next.protection = Some(elsewhere);
        let says = format!("have protection `{place}`");
        refused(house.perform(moved).await, Kind::Invalid, &says);
        let mut leaving = next_pair(name, &pair);
        leaving.next.exportable = true;
        refused(house.perform(leaving).await, Kind::Invalid, "without `exportable`");
        let mut useless = next_pair(name, &pair);
        useless.next.ops = Some(vec![KeyOp::Encrypt]);
        refused(
            house.perform(useless).await,
            Kind::Invalid,
            "cannot be used for `encrypt`",
        );
        let mut broken = next_pair(name, &pair);
        broken.key = Secret::new(b"-----BEGIN PRIVATE KEY-----".to_vec());
        refused(house.perform(broken).await, Kind::Invalid, "cannot be read");
        let show = crate::keys::show(name, VersionRef::Current);
        assert_eq!(house.perform(show).await.unwrap().latest, 1, "{place}");
        let mut same = next_pair(name, &pair);
        same.next.protection = Some(place);
        assert_eq!(house.perform(same).await.unwrap().latest, 2);
    }
}

async fn a_version_is_brought_by_those_who_may_under_the_condition_that_they_name(house: House) {
    let [(_, pair), ..] = pairs();
    house.make("k", KeyKind::EcP256).await;
    for (who, role) in [("user", Role::CryptoUser), ("reader", Role::Reader)] {
        house.node.assign(who, role).await;
        let who = caller(who);
        let denied = house.node.gate.perform(&who, &house.vault, next_pair("k", &pair)).await;
        refused(denied, Kind::Denied, "ImportKey");
    }
    let mut stale = next_pair("k", &pair);
    stale.expect = Some(9);
    refused(house.perform(stale).await, Kind::Conflict, "revision 1");
    let mut fresh = next_pair("k", &pair);
    fresh.expect = Some(1);
    assert_eq!(house.perform(fresh).await.unwrap().revision, 2);
    // What another one changed meanwhile stays: uses are those of the version before, as it is now.
    let signs = Change {
        ops: Some(vec![KeyOp::Sign]),
        ..Change::default()
    };
    house.perform(update("k", VersionRef::Current, signs)).await.unwrap();
    let third = house.perform(next_pair("k", &pair)).await.unwrap();
    assert_eq!(third.version.attributes.ops.to_string(), "sign");

    let delete = DeleteKey {
        vault: "kv".parse().unwrap(),
        name: "k".parse().unwrap(),
    };
    house.perform(delete).await.unwrap();
    refused(
        house.perform(next_pair("k", &pair)).await,
        Kind::NotFound,
        "recover it before",
    );
    house.node.wait(RETENTION).await;
    refused(house.perform(next_pair("k", &pair)).await, Kind::NotFound, "no key `k`");
    let recorded = house.node.recorded().await;
    let imports: Vec<_> = recorded.iter().filter(|line| line.starts_with("ImportKey")).collect();
    assert_eq!(
        imports,
        [
            "ImportKey vaults/kv/keys/k  denied",
            "ImportKey vaults/kv/keys/k  denied",
            "ImportKey vaults/kv/keys/k  failed",
            "ImportKey vaults/kv/keys/k 2 done",
            "ImportKey vaults/kv/keys/k 3 done",
            "ImportKey vaults/kv/keys/k  failed",
            "ImportKey vaults/kv/keys/k  failed",
        ]
    );
}

async fn versions_brought_and_made_at_once_take_every_ordinal_once(house: House) {
    house.make("a", KeyKind::Aes256).await;
    let house = Arc::new(house);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let house = house.clone();
        tasks.spawn(async move {
            let made = match n % 2 {
                0 => house.perform(rotate("a", None)).await,
                _ => house.perform(aes("a", n)).await,
            };
            made.unwrap().version.ordinal
        });
    }
    let mut ordinals = tasks.join_all().await;
    ordinals.sort_unstable();
    assert_eq!(ordinals, (2..=21).collect::<Vec<_>>());
    // Under one condition one of them is made, and the others are told.
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..10 {
        let house = house.clone();
        tasks.spawn(async move {
            let mut op = aes("a", n);
            op.expect = Some(21);
            house.perform(op).await.map(|made| made.revision)
        });
    }
    let (made, refused): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(|made| made.is_ok());
    assert_eq!((made.len(), refused.len()), (1, 9));
    assert!(
        refused
            .iter()
            .all(|made| made.as_ref().err().unwrap().kind() == Kind::Conflict)
    );
}

//! Keys that agree on secrets: in the database and in the token, with what others derive beside them; keys that sign do
//! not, and nobody agrees by a key of whom that is not said.

use chancery::error::{Kind, Result};
use chancery::policy::Role;
use chancery::secret::Secret;
use chancery::vault::{
    Change, CreateKey, DeriveSecret, ImportKeyVersion, KeyDescribed, KeyFormat, KeyKind, KeyOp, NewKey, NewVersion,
    SharedSecret, VersionRef,
};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};

use crate::brought::{export, hsm, import};
use crate::keys::{create, new_key, on_both_engines, rotate, sign, update};
use crate::support::node::{caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{House, files_without, refused};

const CURVES: [(KeyKind, Nid); 4] = [
    (KeyKind::EcP256, Nid::X9_62_PRIME256V1),
    (KeyKind::EcP384, Nid::SECP384R1),
    (KeyKind::EcP521, Nid::SECP521R1),
    (KeyKind::EcSecp256k1, Nid::SECP256K1),
];

on_both_engines!(
    what_is_agreed_on_is_what_the_other_side_derives,
    a_key_agrees_or_signs_and_that_is_said_when_it_is_made,
);

fn agreeing(name: &str, kind: KeyKind, new: NewKey) -> CreateKey {
    let mut op = create(name, kind);
    op.new = NewKey {
        ops: Some(vec![KeyOp::DeriveBits]),
        ..new
    };
    op
}

fn derive(name: &str, version: VersionRef, peer: Vec<u8>) -> DeriveSecret {
    DeriveSecret {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version,
        peer,
    }
}

fn pair(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// What the other side derives.
fn derived(own: &PKey<Private>, of: &KeyDescribed) -> Vec<u8> {
    let peer = PKey::public_key_from_der(of.version.public.as_deref().unwrap()).unwrap();
    let mut deriver = Deriver::new(own).unwrap();
    deriver.set_peer(&peer).unwrap();
    deriver.derive_to_vec().unwrap()
}

impl House {
    async fn derive(&self, name: &str, version: VersionRef, peer: Vec<u8>) -> Result<SharedSecret> {
        self.perform(derive(name, version, peer)).await
    }
}

async fn what_is_agreed_on_is_what_the_other_side_derives(house: House) {
    for (kind, curve) in CURVES {
        for (place, new) in [("software", new_key()), ("hsm", hsm())] {
            let name = format!("{kind}-{place}");
            let first = house.perform(agreeing(&name, kind, new)).await.unwrap();
            assert_eq!(first.version.attributes.ops.to_string(), "deriveBits");
            let second = house.perform(rotate(&name, None)).await.unwrap();
            assert_eq!(second.version.attributes.ops, first.version.attributes.ops);
            let other = pair(curve);
            for (version, key) in [(VersionRef::Ordinal(1), &first), (VersionRef::Current, &second)] {
                let peer = other.public_key_to_pem().unwrap();
                let shared = house.derive(&name, version, peer).await.unwrap();
                assert_eq!(shared.secret.expose(), derived(&other, key), "{name}");
                assert_eq!(shared.made.ordinal, key.version.ordinal);
            }
            // In the token one point in 256 looks like DER (P-256: its x begins with 3f).
            if kind == KeyKind::EcP256 {
                let odd = std::iter::repeat_with(|| pair(curve))
                    .find(|pair| pair.public_key_to_der().unwrap()[27] == 0x3f)
                    .unwrap();
                let shared = house.derive(&name, VersionRef::Current, odd.public_key_to_der().unwrap());
                assert_eq!(shared.await.unwrap().secret.expose(), derived(&odd, &second), "{name}");
            }
            let mut off = other.public_key_to_der().unwrap();
            *off.last_mut().unwrap() ^= 1;
            let refusal = house.derive(&name, VersionRef::Current, off).await;
            assert_eq!(refusal.err().unwrap().kind(), Kind::Invalid, "{name}");
            let elsewhere = pair(CURVES.iter().find(|(other, _)| *other != kind).unwrap().1);
            refused(
                house
                    .derive(&name, VersionRef::Current, elsewhere.public_key_to_der().unwrap())
                    .await,
                Kind::Invalid,
                &format!("of type `{kind}`"),
            );
        }
    }
}

async fn a_key_agrees_or_signs_and_that_is_said_when_it_is_made(house: House) {
    let curve = Nid::X9_62_PRIME256V1;
    let peer = || pair(curve).public_key_to_der().unwrap();
    for (place, new) in [("software", new_key as fn() -> NewKey), ("hsm", hsm)] {
        let signs = format!("signs-{place}");
        let mut op = create(&signs, KeyKind::EcP256);
        op.new = new();
        house.perform(op).await.unwrap();
        refused(
            house.derive(&signs, VersionRef::Current, peer()).await,
            Kind::Conflict,
            "may not be used for `deriveBits`",
        );
        let agrees = format!("agrees-{place}");
        house.perform(agreeing(&agrees, KeyKind::EcP256, new())).await.unwrap();
        refused(
            house.perform(sign(&agrees, VersionRef::Current)).await,
            Kind::Conflict,
            "may not be used for `sign`",
        );
        let both = CreateKey {
            new: NewKey {
                ops: Some(vec![KeyOp::DeriveBits, KeyOp::Sign]),
                ..new()
            },
            ..create("both", KeyKind::EcP256)
        };
        refused(house.perform(both).await, Kind::Invalid, "no other use");
        for (name, ops) in [(&signs, KeyOp::DeriveBits), (&agrees, KeyOp::Sign)] {
            let change = Change {
                ops: Some(vec![ops]),
                ..Change::default()
            };
            refused(
                house.perform(update(name, VersionRef::Current, change)).await,
                Kind::Invalid,
                "is said when it is made",
            );
            let next = ImportKeyVersion {
                vault: "kv".parse().unwrap(),
                name: name.parse().unwrap(),
                kind: None,
                format: KeyFormat::Pkcs8,
                key: Secret::new(pair(curve).private_key_to_pkcs8().unwrap()),
                wrapped_by: None,
                next: NewVersion {
                    ops: Some(vec![ops]),
                    ..NewVersion::default()
                },
                expect: None,
            };
            refused(house.perform(next).await, Kind::Invalid, "is said when it is made");
        }
        // It is still what it was, also for a service that remembers nothing.
        let forgetful = crate::vault_of(&house.node);
        let op = derive(&agrees, VersionRef::Current, peer());
        house.node.gate.perform(&house.officer, &forgetful, op).await.unwrap();
        let disabled = Change {
            enabled: Some(false),
            ..Change::default()
        };
        house
            .perform(update(&agrees, VersionRef::Current, disabled))
            .await
            .unwrap();
        refused(
            house.derive(&agrees, VersionRef::Current, peer()).await,
            Kind::Conflict,
            "is disabled",
        );
    }
    for kind in [KeyKind::Ed25519, KeyKind::Rsa2048, KeyKind::Aes256] {
        let refusal = house.perform(agreeing("x", kind, new_key())).await;
        refused(refusal, Kind::Invalid, "cannot be used for `deriveBits`");
    }
}

/// RFC 5903 §8.1, by the key that it names.
#[test]
fn a_key_that_is_brought_agrees_and_the_secret_stands_nowhere() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        let own = r#"{"kty":"EC","crv":"P-256","d":"yI8B9RDZrD9wopLaojFt5UTpqriv6EBJxiqcV4YtFDM",
            "x":"2tC2U5QiHPmwUeH-yleH0Jjf5jf8kLnvlF0MN3JYEYA","y":"UnGgRhzbglLWHxxFb6PlmrH0WzOsz19YOJ4Fd7iZC7M"}"#;
        let peer = r#"{"kty":"EC","crv":"P-256","x":"0S37UonI1PgSCLcCcDmMNCKWlwoLzLdMc2_HVUSUv2M",
            "y":"VvvzyjZswj6BV4VME8WNaqwj8Eatow-DU-dPMwOYcqs"}"#;
        let shared = hex::decode("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE").unwrap();
        house.node.assign("user", Role::CryptoUser).await;
        house.node.assign("reader", Role::Reader).await;
        for (name, new) in [("software", new_key()), ("hsm", hsm())] {
            let mut op = import(name, own.as_bytes().to_vec(), KeyFormat::Jwk, None, new);
            op.new.ops = Some(vec![KeyOp::DeriveBits]);
            house.perform(op).await.unwrap();
            let op = || derive(name, VersionRef::Current, peer.as_bytes().to_vec());
            let (user, reader) = (caller("user"), caller("reader"));
            let agreed = house.node.gate.perform(&user, &house.vault, op()).await.unwrap();
            assert_eq!(agreed.secret.expose(), shared, "{name}");
            let denied = house.node.gate.perform(&reader, &house.vault, op()).await;
            refused(denied, Kind::Denied, "DeriveSecret");
        }
        refused(
            house.perform(export("hsm", KeyFormat::Jwk)).await,
            Kind::Conflict,
            "not made exportable",
        );
        let recorded = house.node.recorded().await;
        let derived: Vec<_> = recorded
            .iter()
            .filter(|line| line.starts_with("DeriveSecret"))
            .collect();
        assert_eq!(
            derived,
            [
                "DeriveSecret vaults/kv/keys/software 1 done",
                "DeriveSecret vaults/kv/keys/software  denied",
                "DeriveSecret vaults/kv/keys/hsm 1 done",
                "DeriveSecret vaults/kv/keys/hsm  denied",
            ]
        );
        files_without(token.dir(), &shared);
        files_without(token.dir(), hex::encode(&shared).as_bytes());
    });
}

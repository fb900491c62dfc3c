//! Keys that were made elsewhere: kept in the clear and wrapped, in the database and in the token; and keys that may leave.

use chancery::error::{Kind, Result};
use chancery::policy::Role;
use chancery::secret::Secret;
use chancery::vault::{
    ExportKey, ExportedKey, ImportKey, ImportWrap, KeyDescribed, KeyFormat, KeyKind, KeyOp, KeyProtection, NewKey,
    VersionRef, WrappedBy,
};
use openssl::encrypt::Encrypter;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::{Padding, Rsa};

use crate::keys::{create, new_key, rotate, sign, write};
use crate::support::node::{caller, make_keys, sqlite};
use crate::support::softhsm::with_token;
use crate::{House, files_without, refused};

pub(crate) fn import(name: &str, key: Vec<u8>, format: KeyFormat, kind: Option<KeyKind>, new: NewKey) -> ImportKey {
    ImportKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        kind,
        format,
        key: Secret::new(key),
        wrapped_by: None,
        new,
    }
}

pub(crate) fn export(name: &str, format: KeyFormat) -> ExportKey {
    ExportKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: VersionRef::Current,
        format,
    }
}

pub(crate) fn hsm() -> NewKey {
    NewKey {
        protection: KeyProtection::Hsm,
        ..new_key()
    }
}

pub(crate) fn exportable() -> NewKey {
    NewKey {
        exportable: true,
        ..new_key()
    }
}

/// A key pair of every sort that can be brought into a token.
pub(crate) fn pairs() -> [(KeyKind, PKey<Private>); 4] {
    let curve = |nid| {
        let group = openssl::ec::EcGroup::from_curve_name(nid).unwrap();
        PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap()
    };
    [
        (KeyKind::EcP256, curve(openssl::nid::Nid::X9_62_PRIME256V1)),
        (KeyKind::EcP521, curve(openssl::nid::Nid::SECP521R1)),
        (KeyKind::EcSecp256k1, curve(openssl::nid::Nid::SECP256K1)),
        (KeyKind::Rsa2048, PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()),
    ]
}

pub(crate) fn oaep(public: &PKey<Public>, digest: MessageDigest, plain: &[u8]) -> Vec<u8> {
    let mut encrypter = Encrypter::new(public).unwrap();
    encrypter.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
    encrypter.set_rsa_oaep_md(digest).unwrap();
    encrypter.set_rsa_mgf1_md(digest).unwrap();
    let mut out = vec![0; public.size()];
    let len = encrypter.encrypt(plain, &mut out).unwrap();
    out.truncate(len);
    out
}

/// As somebody outside wraps a key for `public`: an AES key by OAEP, the key by that (`CKM_RSA_AES_KEY_WRAP`).
fn wrapped_for(public: &PKey<Public>, digest: MessageDigest, key: &[u8]) -> Vec<u8> {
    let aes = [0x5a; 32];
    let mut ctx = openssl::cipher_ctx::CipherCtx::new().unwrap();
    ctx.set_flags(openssl::cipher_ctx::CipherCtxFlags::FLAG_WRAP_ALLOW);
    ctx.encrypt_init(Some(openssl::cipher::Cipher::aes_256_wrap_pad()), Some(&aes), None)
        .unwrap();
    let mut out = oaep(public, digest, &aes);
    ctx.cipher_update_vec(key, &mut out).unwrap();
    out
}

impl House {
    async fn import(&self, op: ImportKey) -> Result<KeyDescribed> {
        self.perform(op).await
    }

    async fn export(&self, name: &str, format: KeyFormat) -> Result<ExportedKey> {
        self.perform(export(name, format)).await
    }
}

#[test]
fn a_key_that_is_brought_signs_as_it_did() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        for (kind, pair) in pairs() {
            let pkcs8 = pair.private_key_to_pkcs8().unwrap();
            for (place, new) in [("software", new_key()), ("hsm", hsm())] {
                let name = format!("{kind}-{place}");
                let made = house
                    .import(import(&name, pkcs8.clone(), KeyFormat::Pkcs8, None, new))
                    .await
                    .unwrap();
                assert_eq!(made.version.kind, kind);
                assert_eq!(made.version.public, Some(pair.public_key_to_der().unwrap()));
                // The pair that stayed outside verifies what the one here signs.
                let signed = house.perform(sign(&name, VersionRef::Current)).await.unwrap();
                let digest = match kind {
                    KeyKind::EcP521 => MessageDigest::sha512(),
                    _ => MessageDigest::sha256(),
                };
                let mut verifier = openssl::sign::Verifier::new(digest, &pair).unwrap();
                if kind == KeyKind::Rsa2048 {
                    verifier.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                }
                assert!(
                    verifier.verify_oneshot(&signed.signature, b"message").unwrap(),
                    "{name}"
                );
                let private = match pair.ec_key() {
                    Ok(pair) => pair.private_key().to_vec(),
                    Err(_) => pair.rsa().unwrap().d().to_vec(),
                };
                files_without(token.dir(), &private);
            }
        }
        let again = import(
            "ec-p256-hsm",
            pairs()[0].1.private_key_to_pkcs8().unwrap(),
            KeyFormat::Pkcs8,
            None,
            new_key(),
        );
        refused(house.import(again).await, Kind::Conflict, "already");
        let other = import("x", vec![7; 31], KeyFormat::Raw, Some(KeyKind::Aes256), new_key());
        refused(
            house.import(other).await,
            Kind::Invalid,
            "has 32 bytes, and this one 31",
        );
        let ed = PKey::generate_ed25519().unwrap().private_key_to_pkcs8().unwrap();
        let brought = import("x", ed.clone(), KeyFormat::Pkcs8, None, hsm());
        refused(house.import(brought).await, Kind::Invalid, "protection `software`");
        house
            .import(import("x", ed, KeyFormat::Pkcs8, None, new_key()))
            .await
            .unwrap();
    });
}

/// The importing key is in the token, and so is what it unwraps, or not.
#[test]
fn a_key_that_is_brought_may_be_wrapped() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        let mut importing = create("importing", KeyKind::Rsa2048);
        importing.new = NewKey {
            ops: Some(vec![KeyOp::UnwrapKey, KeyOp::WrapKey]),
            ..hsm()
        };
        let importing = house.perform(importing).await.unwrap();
        let public = PKey::public_key_from_der(importing.version.public.as_deref().unwrap()).unwrap();
        let by = |algorithm| WrappedBy {
            name: "importing".parse().unwrap(),
            version: VersionRef::Current,
            algorithm,
        };
        let (_, pair) = pairs().into_iter().next().unwrap();
        let pkcs8 = pair.private_key_to_pkcs8().unwrap();
        for (n, (algorithm, digest, new)) in [
            (ImportWrap::RsaAesKwp, MessageDigest::sha1(), new_key()),
            (ImportWrap::RsaAesKwp256, MessageDigest::sha256(), hsm()),
        ]
        .into_iter()
        .enumerate()
        {
            let wrapped = wrapped_for(&public, digest, &pkcs8);
            let brought = |wrapped: &[u8], new| ImportKey {
                wrapped_by: Some(by(algorithm)),
                ..import(&format!("ec{n}"), wrapped.to_vec(), KeyFormat::Pkcs8, None, new)
            };
            for at in [0, 300, wrapped.len() - 1] {
                let mut bent = wrapped.clone();
                bent[at] ^= 1;
                refused(
                    house.import(brought(&bent, new_key())).await,
                    Kind::Invalid,
                    "does not decrypt",
                );
            }
            refused(
                house.import(brought(&wrapped[..100], new_key())).await,
                Kind::Invalid,
                "does not decrypt",
            );
            let made = house.import(brought(&wrapped, new)).await.unwrap();
            assert_eq!(made.version.public, Some(pair.public_key_to_der().unwrap()));
        }
        let aes = ImportKey {
            wrapped_by: Some(by(ImportWrap::RsaOaep256)),
            ..import(
                "aes",
                oaep(&public, MessageDigest::sha256(), &[9; 32]),
                KeyFormat::Raw,
                Some(KeyKind::Aes256),
                exportable(),
            )
        };
        house.import(aes).await.unwrap();
        assert_eq!(house.export("aes", KeyFormat::Raw).await.unwrap().key.expose(), [9; 32]);

        // Who may import here may not import with a key of which that is not said.
        house
            .node
            .assign_at("partly", Role::CryptoOfficer, "vaults/kv/keys/mine")
            .await;
        let stolen = ImportKey {
            wrapped_by: Some(by(ImportWrap::RsaAesKwp)),
            ..import("mine", vec![1; 300], KeyFormat::Pkcs8, None, exportable())
        };
        let denied = house.node.gate.perform(&caller("partly"), &house.vault, stolen).await;
        refused(denied, Kind::Denied, "vaults/kv/keys/importing");
    });
}

#[test]
fn only_a_key_that_was_made_to_leaves() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.perform(create("stays", KeyKind::EcP256)).await.unwrap();
        refused(
            house.export("stays", KeyFormat::Jwk).await,
            Kind::Conflict,
            "was not made exportable",
        );
        let mut both = create("x", KeyKind::EcP256);
        both.new = NewKey {
            exportable: true,
            ..hsm()
        };
        refused(house.perform(both).await, Kind::Invalid, "never leaves the token");
        let mut leaves = create("leaves", KeyKind::EcP256);
        leaves.new = exportable();
        let made = house.perform(leaves).await.unwrap();
        refused(house.export("leaves", KeyFormat::Raw).await, Kind::Invalid, "`pkcs8`");
        for _ in 0..2 {
            let exported = house.export("leaves", KeyFormat::Pkcs8).await.unwrap();
            let pair = PKey::private_key_from_pkcs8(exported.key.expose()).unwrap();
            let shown = house
                .perform(crate::keys::show("leaves", VersionRef::Current))
                .await
                .unwrap();
            assert_eq!(shown.version.public, Some(pair.public_key_to_der().unwrap()));
            // Its later versions may leave, too.
            assert!(house.perform(rotate("leaves", None)).await.unwrap().version.exportable);
        }
        let stays = house
            .perform(crate::keys::show("stays", VersionRef::Current))
            .await
            .unwrap();
        // A storage writer cannot make a key leave that was not made to.
        write(
            &house,
            chancery::store::entity::vault_key_version::Column::Exportable,
            true,
            &stays,
        )
        .await;
        let forgetful = crate::vault_of(&house.node);
        let stolen = house
            .node
            .gate
            .perform(&house.officer, &forgetful, export("stays", KeyFormat::Pkcs8))
            .await;
        refused(stolen, Kind::Internal, "internal error");
        // Nor does one who uses keys.
        house.node.assign("user", Role::CryptoUser).await;
        let denied = house
            .node
            .gate
            .perform(&caller("user"), &house.vault, export("leaves", KeyFormat::Jwk))
            .await;
        refused(denied, Kind::Denied, "ExportKey");
        assert_eq!(made.latest, 1);
        let recorded = house.node.recorded().await;
        let exports: Vec<_> = recorded.iter().filter(|line| line.starts_with("ExportKey")).collect();
        assert_eq!(
            exports,
            [
                "ExportKey vaults/kv/keys/stays 1 failed",
                "ExportKey vaults/kv/keys/leaves 1 failed",
                "ExportKey vaults/kv/keys/leaves 1 done",
                "ExportKey vaults/kv/keys/leaves 2 done",
                "ExportKey vaults/kv/keys/stays 1 failed",
                "ExportKey vaults/kv/keys/leaves  denied",
            ]
        );
    });
}

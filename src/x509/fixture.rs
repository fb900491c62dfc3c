//! What unit tests of this room share: a root and an issuing CA whose private keys nobody kept, or fresh ones.

use std::time::Duration;

use rcgen::SigningKey as _;

use super::chain::Issuer;
use super::hierarchy::{Hierarchy, Place, Pointers};
use super::key::{self, PublicKey};
use super::name::Name;
use super::profile::Profile;
use super::serial::Serial;
use super::tbs::{self, Leaf, Tbs};
use crate::clock::Timestamp;
use crate::key_type::KeyType;
use crate::secret::Secret;

/// 2026-11-24T08:00:00Z.
pub(super) const NOW: Timestamp = Timestamp::from_unix(1_795_507_200);

/// Public keys whose private halves were thrown away: what is built over them is the same in every run.
const KEPT: [&str; 3] = [
    "3059301306072a8648ce3d020106082a8648ce3d0301070342000441a57114f581cbc70785c74a007a07159bfbfca4b3793d4cc16d0233\
     20d7bbae8eef3dc319dff14669b025bd364c41e4dde120baecc86e24b53731275f733f9d",
    "3059301306072a8648ce3d020106082a8648ce3d030107034200044ac8ed1373031389787cb57d8d20038a28f2a498a3a4bc5b207c925c\
     7322e4236acf9d50629d0f977e9fdab856c67a71610c29a979e23dee585771dcb45efa84",
    "3059301306072a8648ce3d020106082a8648ce3d03010703420004b5af53b4d077849cc4027a28b7988cde5a7b6428da53bbeb2e99840f\
     143c9f17a2c20e143f1ac539703681afc6232140a83eceaec22fe121939d4981833c4cb9",
];

pub(super) fn kept_key(index: usize) -> PublicKey {
    PublicKey::from_spki(&hex::decode(KEPT[index]).unwrap()).unwrap()
}

pub(super) fn hierarchy() -> Hierarchy {
    Hierarchy::built_in(Place {
        zone: "chancery.test".to_owned(),
        http: "http://pki.chancery.test".to_owned(),
    })
    .unwrap()
}

pub(super) fn profile(name: &str) -> Profile {
    let mut all = Profile::built_in().unwrap();
    all.retain(|profile| profile.name().as_str() == name);
    all.remove(0)
}

pub(super) fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn serial(fill: u8) -> Serial {
    Serial::from_der_content(&[fill; 20]).unwrap()
}

/// A signature of the right shape, over nothing.
fn no_signature() -> Vec<u8> {
    hex::decode("3006020101020101").unwrap()
}

/// Root and issuing CA over the kept keys, with signatures over nothing: for what is judged before it is signed.
pub(super) struct Kept {
    pub(super) root_tbs: Tbs,
    pub(super) root: Issuer,
    pub(super) issuing_tbs: Tbs,
    pub(super) issuing: Issuer,
    pub(super) pointers: Pointers,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self::of(&hierarchy())
    }

    /// The issuing CA may issue to some names only, by all kinds of constraints.
    pub(super) fn constrained() -> Self {
        let text = include_str!("../../pki/hierarchy.toml").replace(
            "[crl]",
            "[issuing.names]\npermitted_dns = [\"chancery.test\"]\npermitted_email = [\"chancery.test\"]\n\
             permitted_ip = [\"10.0.0.0/8\"]\npermitted_uri = [\"chancery.test\"]\n\
             excluded_dns = [\"x.chancery.test\"]\nexcluded_ip = [\"::/0\"]\n[crl]",
        );
        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://pki.chancery.test".to_owned(),
        };
        Self::of(&Hierarchy::parse(&text, place).unwrap())
    }

    fn of(hierarchy: &Hierarchy) -> Self {
        let validity = hierarchy.root().validity(NOW, None);
        let root_tbs = tbs::root(hierarchy.root(), &kept_key(0), &serial(1), validity).unwrap();
        let root = Issuer::read(&root_tbs.assemble(&no_signature()).unwrap()).unwrap();
        let issuing_tbs = tbs::issuing(
            hierarchy.issuing(),
            &kept_key(1),
            &serial(2),
            hierarchy.issuing().validity(NOW, Some(root.validity())),
            &root,
            &hierarchy.pointers("internal-root-1", 0),
        )
        .unwrap();
        let issuing = Issuer::read(&issuing_tbs.assemble(&no_signature()).unwrap()).unwrap();
        Self {
            root_tbs,
            root,
            issuing_tbs,
            issuing,
            pointers: hierarchy.pointers("internal-issuing-1", 0),
        }
    }

    pub(super) fn leaf(&self, profile: &Profile, names: &[Name]) -> Tbs {
        let validity = profile.validity(NOW, None, self.issuing.validity()).unwrap();
        let leaf = Leaf {
            key: &kept_key(2),
            names,
            pointers: &self.pointers,
            serial: &serial(3),
            validity,
        };
        tbs::leaf(profile, &self.issuing, leaf).unwrap()
    }
}

/// An issuer over a fresh software key, with that key.
pub(super) fn signing_root() -> (Issuer, Secret) {
    let hierarchy = hierarchy();
    let key = key::generate(KeyType::EcP256).unwrap();
    let public = key::public(&key).unwrap();
    let validity = hierarchy.root().validity(NOW, None);
    let tbs = tbs::root(hierarchy.root(), &public, &serial(1), validity).unwrap();
    let root = Issuer::read(&tbs.assemble(&sign(&key, tbs.as_bytes())).unwrap()).unwrap();
    (root, key)
}

pub(super) fn sign(key: &Secret, message: &[u8]) -> Vec<u8> {
    key::pair(key).unwrap().sign(message).unwrap()
}

/// A year, for tests that move the clock.
pub(super) const YEAR: Duration = Duration::from_secs(31_557_600);

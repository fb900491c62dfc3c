//! Profiles: what an issuer may put into a certificate (`pki/profiles/*.toml`).
//!
//! A profile is immutable once read; whoever issues takes one snapshot for the whole order, so that a changed file never
//! changes a certificate half-way. The built-in ones are compiled in; a directory of the same shape may replace them.
//! Must never widen what a file says: an unknown field or value is an error.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::digest;
use serde::Deserialize;
use x509_cert::spki::ObjectIdentifier;

use super::X509Error;
use super::key::{PublicKey, PublicKeyKind};
use super::name::Name;
use super::pattern::Pattern;
use super::subject::Subject;
use super::usage::{ExtendedKeyUsage, KeyUsage};
use crate::clock::Timestamp;
use crate::id::Label;

/// The profiles that every authority has, as they stand in `pki/profiles/`.
const BUILT_IN: [&str; 7] = [
    include_str!("../../pki/profiles/client-tls.toml"),
    include_str!("../../pki/profiles/code-signing.toml"),
    include_str!("../../pki/profiles/mtls.toml"),
    include_str!("../../pki/profiles/server-short.toml"),
    include_str!("../../pki/profiles/server-tls.toml"),
    include_str!("../../pki/profiles/svid.toml"),
    include_str!("../../pki/profiles/user.toml"),
];

/// The longest life, in seconds, of a certificate that cannot be revoked.
const SHORT_LIVED_S: u64 = 604_800;

/// What a certificate's common name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommonName {
    /// The first host name, if it has at most 64 characters (RFC 5280 appendix A.1, `ub-common-name`).
    FirstDns,
    /// The first e-mail address, under the same bound.
    FirstEmail,
    /// None: the subject is empty and the alternative names are critical (RFC 5280 §4.1.2.6).
    None,
}

/// Which host names are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsRule {
    /// Whole names only.
    Exact,
    /// No host names.
    None,
    /// Names, and names with `*` as first label.
    Wildcard,
}

/// Which URIs are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UriRule {
    /// No URIs.
    None,
    /// Exactly one, a workload's SPIFFE ID (X509-SVID §2).
    OneSpiffe,
    /// Any but SPIFFE IDs, which say who a caller is and so come from identity profiles only.
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyFamily {
    EcP256,
    EcP384,
    EcP521,
    Ed25519,
    Rsa,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    backdate_s: u64,
    common_name: CommonName,
    default_validity_s: u64,
    extended_key_usages: Vec<ExtendedKeyUsage>,
    #[serde(default)]
    extended_key_usages_critical: bool,
    key_usages: Vec<KeyUsage>,
    keys: KeyRules,
    max_validity_s: u64,
    name: Label,
    names: NameRules,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default = "yes")]
    revocation: bool,
    #[serde(default)]
    subject: Subject,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRules {
    rsa_max_bits: usize,
    rsa_min_bits: usize,
    types: BTreeSet<KeyFamily>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NameRules {
    /// Patterns by kind; a kind without one is not bound.
    #[serde(default)]
    allow: Vec<Pattern>,
    dns: DnsRule,
    #[serde(default)]
    email: bool,
    ip: bool,
    max: usize,
    #[serde(default)]
    upn: bool,
    uri: UriRule,
}

/// From when to when a certificate is valid, both ends included (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: Timestamp,
    /// Last second.
    pub not_after: Timestamp,
}

/// A checked profile.
#[derive(Clone, Debug)]
pub struct Profile {
    backdate: Duration,
    common_name: CommonName,
    default_validity: Duration,
    extended_key_usages: Vec<ExtendedKeyUsage>,
    extended_key_usages_critical: bool,
    hash: String,
    key_usages: Vec<KeyUsage>,
    keys: KeyRules,
    max_validity: Duration,
    name: Label,
    names: NameRules,
    policies: Vec<ObjectIdentifier>,
    revocation: bool,
    subject: Subject,
    text: String,
}

impl Profile {
    /// Reads a profile file.
    ///
    /// # Errors
    /// `Refused` with line and column for what TOML or the shape do not allow, and for values that contradict each
    /// other.
    pub fn parse(text: &str) -> Result<Self, X509Error> {
        let file: File = toml::from_str(text).map_err(|e| X509Error::Refused(format!("profile: {e}")))?;
        let refuse = |why: &str| Err(X509Error::Refused(format!("profile `{}`: {why}", file.name)));
        if file.default_validity_s == 0 || file.default_validity_s > file.max_validity_s {
            return refuse("`default_validity_s` must be from 1 to `max_validity_s`");
        }
        if file.backdate_s > 86_400 {
            return refuse("`backdate_s` must be at most 86400");
        }
        if file.extended_key_usages.is_empty() || file.key_usages.is_empty() {
            return refuse("`key_usages` and `extended_key_usages` must each name at least one");
        }
        if file.keys.types.is_empty() {
            return refuse("`keys.types` must name at least one");
        }
        if file.keys.rsa_min_bits < 2048 || file.keys.rsa_max_bits < file.keys.rsa_min_bits {
            return refuse("`keys.rsa_min_bits` must be at least 2048 and at most `keys.rsa_max_bits`");
        }
        if !(1..=1000).contains(&file.names.max) {
            return refuse("`names.max` must be from 1 to 1000");
        }
        let people = file.names.email || file.names.upn;
        if file.names.dns == DnsRule::None && file.names.uri == UriRule::None && !file.names.ip && !people {
            return refuse("`names` must allow something");
        }
        let named = |oid: &ExtendedKeyUsage| file.extended_key_usages.iter().filter(|other| *other == oid).count();
        if file.extended_key_usages.iter().any(|oid| named(oid) > 1) {
            return refuse("an extended key usage is named twice");
        }
        // RFC 8813 §3, RFC 9295 §3: these are RSA's and EC's alone.
        let rsa_only = file.keys.types.iter().all(|family| *family == KeyFamily::Rsa);
        let ec_only = file
            .keys
            .types
            .iter()
            .all(|family| matches!(family, KeyFamily::EcP256 | KeyFamily::EcP384 | KeyFamily::EcP521));
        if file.key_usages.contains(&KeyUsage::KeyEncipherment) && !rsa_only {
            return refuse("`key-encipherment` is for RSA keys: leave the others out of `keys.types`");
        }
        if file.key_usages.contains(&KeyUsage::KeyAgreement) && !ec_only {
            return refuse("`key-agreement` is for EC keys: leave the others out of `keys.types`");
        }
        // RFC 9608 §4: only what ends before a list would tell of it.
        if !file.revocation && file.max_validity_s > SHORT_LIVED_S {
            return refuse("`revocation = false` is for certificates of at most 604800 seconds");
        }
        file.subject
            .check()
            .map_err(|why| X509Error::Refused(format!("profile `{}`: {why}", file.name)))?;
        let mut policies = Vec::new();
        for text in &file.policies {
            match ObjectIdentifier::new(text) {
                Ok(oid) if !policies.contains(&oid) => policies.push(oid),
                Ok(_) => return refuse(&format!("policy `{text}` is named twice")),
                Err(_) => return refuse(&format!("policy `{text}` is not an object identifier")),
            }
        }
        Ok(Self {
            backdate: Duration::from_secs(file.backdate_s),
            common_name: file.common_name,
            default_validity: Duration::from_secs(file.default_validity_s),
            extended_key_usages: file.extended_key_usages,
            extended_key_usages_critical: file.extended_key_usages_critical,
            hash: hex::encode(digest::digest(&digest::SHA256, text.as_bytes())),
            key_usages: file.key_usages,
            keys: file.keys,
            max_validity: Duration::from_secs(file.max_validity_s),
            name: file.name,
            names: file.names,
            policies,
            revocation: file.revocation,
            subject: file.subject,
            text: text.to_owned(),
        })
    }

    /// The built-in profiles, as they stand in `pki/profiles/`.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn built_in() -> Result<Vec<Self>, X509Error> {
        BUILT_IN.into_iter().map(Self::parse).collect()
    }

    /// Its name.
    pub fn name(&self) -> &Label {
        &self.name
    }

    /// SHA-256 of the file it was read from, in hexadecimal: what an audit record can name.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The file it was read from: parsed again, it gives the same profile.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether its certificates say who a caller is (a SPIFFE ID). SECURITY: whoever may issue under such a profile can
    /// be anybody; the room above asks for more than the right to issue.
    pub fn is_identity(&self) -> bool {
        self.names.uri == UriRule::OneSpiffe
    }

    /// What goes into the subject's common name.
    pub(super) fn common_name<'n>(&self, names: &'n [Name]) -> Option<&'n str> {
        names.iter().find_map(|name| match (self.common_name, name) {
            (CommonName::FirstDns, Name::Dns(text)) | (CommonName::FirstEmail, Name::Email(text))
                if text.len() <= 64 =>
            {
                Some(text.as_str())
            }
            (CommonName::FirstDns | CommonName::FirstEmail | CommonName::None, _) => None,
        })
    }

    /// What stands in the subject before the common name.
    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether its certificates can be looked up as revoked; else they say that they cannot (RFC 9608).
    pub(super) fn has_revocation(&self) -> bool {
        self.revocation
    }

    pub(super) fn extended_key_usages_critical(&self) -> bool {
        self.extended_key_usages_critical
    }

    pub(super) fn key_usages(&self) -> &[KeyUsage] {
        &self.key_usages
    }

    pub(super) fn extended_key_usages(&self) -> &[ExtendedKeyUsage] {
        &self.extended_key_usages
    }

    pub(super) fn policies(&self) -> &[ObjectIdentifier] {
        &self.policies
    }

    /// Judges each requested name and the set of them.
    ///
    /// # Errors
    /// `Refused`, naming the first name that is not allowed.
    pub fn check_names(&self, names: &[Name]) -> Result<(), X509Error> {
        let profile = &self.name;
        let refuse = |why: String| Err(X509Error::Refused(why));
        if names.is_empty() {
            return refuse(format!(
                "no name is asked for: profile `{profile}` needs one in the alternative names"
            ));
        }
        if names.len() > self.names.max {
            return refuse(format!(
                "{} names are asked for: profile `{profile}` allows {} in one certificate",
                names.len(),
                self.names.max
            ));
        }
        // INVARIANT: the rule runs once for every name, of every type.
        for name in names {
            match (name, self.names.dns, self.names.uri) {
                (Name::Dns(_), DnsRule::None, _) => {
                    return refuse(format!("profile `{profile}` allows no host names: leave out `{name}`"));
                }
                (Name::Dns(_), DnsRule::Exact, _) if name.is_wildcard() => {
                    return refuse(format!(
                        "profile `{profile}` allows no wildcards: name each host instead of `{name}`"
                    ));
                }
                (Name::Ip(_), ..) if !self.names.ip => {
                    return refuse(format!(
                        "profile `{profile}` allows no IP addresses: leave out `{name}`"
                    ));
                }
                (Name::Uri(_), _, UriRule::None) => {
                    return refuse(format!("profile `{profile}` allows no URIs: leave out `{name}`"));
                }
                (Name::Uri(_), _, UriRule::Plain) if name.is_spiffe() => {
                    return refuse(format!(
                        "profile `{profile}` allows no SPIFFE IDs: enrol a workload to be `{name}`"
                    ));
                }
                (Name::Uri(_), _, UriRule::OneSpiffe) if !name.is_spiffe() => {
                    return refuse(format!(
                        "profile `{profile}` allows SPIFFE IDs only: leave out `{name}`"
                    ));
                }
                (Name::Email(_), ..) if !self.names.email => {
                    return refuse(format!(
                        "profile `{profile}` allows no e-mail addresses: leave out `{name}`"
                    ));
                }
                (Name::Upn(_), ..) if !self.names.upn => {
                    return refuse(format!(
                        "profile `{profile}` allows no user principal names: leave out `{name}`"
                    ));
                }
                (Name::Dns(_) | Name::Email(_) | Name::Ip(_) | Name::Upn(_) | Name::Uri(_), ..) => {}
            }
            let mut patterns = self
                .names
                .allow
                .iter()
                .filter(|pattern| pattern.is_about(name))
                .peekable();
            if patterns.peek().is_some() && !patterns.any(|pattern| pattern.matches(name)) {
                return refuse(format!(
                    "profile `{profile}` does not allow the name `{name}`: ask for one that its patterns allow"
                ));
            }
        }
        let uris = names.iter().filter(|name| matches!(name, Name::Uri(_))).count();
        if self.names.uri == UriRule::OneSpiffe && uris != 1 {
            return refuse(format!(
                "profile `{profile}` needs exactly one SPIFFE ID, {uris} are asked for"
            ));
        }
        let distinct: BTreeSet<&Name> = names.iter().collect();
        if distinct.len() != names.len() {
            return refuse("a name is asked for twice: name each once".to_owned());
        }
        Ok(())
    }

    /// Judges the subject's key.
    ///
    /// # Errors
    /// `Refused` if its kind or size is not among the profile's.
    pub fn check_key(&self, key: &PublicKey) -> Result<(), X509Error> {
        let (family, size_ok) = match key.kind() {
            PublicKeyKind::EcP256 => (KeyFamily::EcP256, true),
            PublicKeyKind::EcP384 => (KeyFamily::EcP384, true),
            PublicKeyKind::EcP521 => (KeyFamily::EcP521, true),
            PublicKeyKind::Ed25519 => (KeyFamily::Ed25519, true),
            PublicKeyKind::Rsa(bits) => (
                KeyFamily::Rsa,
                (self.keys.rsa_min_bits..=self.keys.rsa_max_bits).contains(&bits),
            ),
        };
        if self.keys.types.contains(&family) && size_ok {
            return Ok(());
        }
        let allowed: Vec<String> = self
            .keys
            .types
            .iter()
            .map(|family| match family {
                KeyFamily::EcP256 => "ec-p256".to_owned(),
                KeyFamily::EcP384 => "ec-p384".to_owned(),
                KeyFamily::EcP521 => "ec-p521".to_owned(),
                KeyFamily::Ed25519 => "ed25519".to_owned(),
                KeyFamily::Rsa => format!("rsa with {} to {} bits", self.keys.rsa_min_bits, self.keys.rsa_max_bits),
            })
            .collect();
        Err(X509Error::Refused(format!(
            "profile `{}` allows no {} keys: use {}",
            self.name,
            key.kind(),
            allowed.join(", ")
        )))
    }

    /// The validity of a certificate made at `now`: backdated for slow clocks, `asked` long or the profile's default,
    /// and never beyond `issuer`.
    ///
    /// # Errors
    /// `Refused` if more is asked for than the profile allows, or if the issuer is not valid at `now`.
    pub fn validity(&self, now: Timestamp, asked: Option<Duration>, issuer: Validity) -> Result<Validity, X509Error> {
        let lifetime = asked.unwrap_or(self.default_validity);
        if lifetime.as_secs() == 0 || lifetime > self.max_validity {
            return Err(X509Error::Refused(format!(
                "a validity of {} s is asked for: profile `{}` allows 1 to {} s",
                lifetime.as_secs(),
                self.name,
                self.max_validity.as_secs()
            )));
        }
        if now < issuer.not_before || now > issuer.not_after {
            return Err(X509Error::Refused(format!(
                "the issuing CA is valid from {} to {} only: check the clock, or make a new issuing CA",
                issuer.not_before, issuer.not_after
            )));
        }
        // INVARIANT: nothing outlives its issuer; near the issuer's end certificates become shorter, not refused.
        Ok(Validity {
            not_before: (now - self.backdate).max(issuer.not_before),
            not_after: (now + lifetime - Duration::from_secs(1)).min(issuer.not_after),
        })
    }
}

#[cfg(test)]
impl Profile {
    /// A profile that no file can say: its certificates break a lint.
    pub(crate) fn with_a_policy_twice(mut self) -> Self {
        let policy = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1");
        self.policies = vec![policy, policy];
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_type::KeyType;
    use crate::x509::fixture::{NOW, names, profile};
    use crate::x509::key;
    use proptest::prelude::*;

    const SERVER: &str = include_str!("../../pki/profiles/server-tls.toml");

    fn refusal(profile: &Profile, texts: &[&str]) -> String {
        profile.check_names(&names(texts)).unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_ones_are_read() {
        let all = Profile::built_in().unwrap();
        let names: Vec<&str> = all.iter().map(|profile| profile.name().as_str()).collect();
        assert_eq!(
            names,
            [
                "client-tls",
                "code-signing",
                "mtls",
                "server-short",
                "server-tls",
                "svid",
                "user"
            ]
        );
        let identities: Vec<&Profile> = all.iter().filter(|profile| profile.is_identity()).collect();
        assert_eq!(identities.len(), 1);
        assert_eq!(identities[0].name().as_str(), "svid");
    }

    #[test]
    fn a_file_that_says_too_much_or_too_little_is_refused() {
        for (from, to, why) in [
            ("uri = \"none\"", "uri = \"none\"\nmail = true", "unknown field `mail`"),
            ("uri = \"none\"", "uri = \"every\"", "unknown variant `every`"),
            ("ip = true", "", "missing field `ip`"),
            (
                "default_validity_s = 604_800",
                "default_validity_s = 0",
                "default_validity_s",
            ),
            (
                "max_validity_s = 7_776_000",
                "max_validity_s = 60",
                "default_validity_s",
            ),
            ("backdate_s = 300", "backdate_s = -1", "backdate_s"),
            ("backdate_s = 300", "backdate_s = 90_000", "at most 86400"),
            ("rsa_min_bits = 2048", "rsa_min_bits = 1024", "at least 2048"),
            ("max = 100", "max = 0", "names.max"),
            ("[\"server-auth\"]", "[]", "at least one"),
            ("[\"server-auth\"]", "[\"any\"]", "`any` is no extended key usage"),
            ("[\"server-auth\"]", "[\"2.5.29.37.0\"]", "not a leaf's"),
            ("[\"server-auth\"]", "[\"1.3.6.1.5.5.7.3.9\"]", "not a leaf's"),
            ("[\"server-auth\"]", "[\"server-auth\", \"1.3.6.1.5.5.7.3.1\"]", "twice"),
            ("[\"digital-signature\"]", "[\"key-encipherment\"]", "for RSA keys"),
            ("[\"digital-signature\"]", "[\"key-agreement\"]", "for EC keys"),
            ("[names]", "revocation = false\n[names]", "at most 604800"),
            (
                "[names]",
                "subject = { country = \"Germany\" }\n[names]",
                "two capital letters",
            ),
            ("[names]", "subject = { organization = \"\" }\n[names]", "1 to 64"),
            (
                "[names]",
                "subject = { common_name = \"x\" }\n[names]",
                "unknown field `common_name`",
            ),
            ("[names]", "[names]\nallow = [\"*.test\"]", "dns:"),
            ("[names]", "policies = [\"1.2.x\"]\n[names]", "not an object identifier"),
            ("[names]", "policies = [\"1.2.3\", \"1.2.3\"]\n[names]", "twice"),
        ] {
            let text = SERVER.replace(from, to);
            assert_ne!(text, SERVER, "{from}");
            let error = Profile::parse(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn each_kind_of_name_passes_its_own_rule() {
        let (server, client, svid) = (profile("server-tls"), profile("client-tls"), profile("svid"));
        for (profile, good) in [
            (&server, &["a.test", "*.b.test", "10.0.0.1"][..]),
            (&client, &["a.test", "::1", "https://a/b"][..]),
            (&svid, &["spiffe://a/b"][..]),
        ] {
            profile.check_names(&names(good)).unwrap();
        }
        assert!(refusal(&server, &["a.test", "https://a/b"]).contains("allows no URIs"));
        assert!(refusal(&client, &["*.a.test"]).contains("no wildcards"));
        assert!(refusal(&client, &["spiffe://chancery.test/admin"]).contains("no SPIFFE IDs"));
        assert!(refusal(&svid, &["https://a/b"]).contains("SPIFFE IDs only"));
        assert!(refusal(&svid, &["10.0.0.1"]).contains("no IP addresses"));
        assert!(refusal(&server, &[]).contains("no name"));
        assert!(refusal(&server, &["a.test", "a.test"]).contains("twice"));
        let two = Profile::parse(&include_str!("../../pki/profiles/svid.toml").replace("max = 1", "max = 9")).unwrap();
        assert!(refusal(&two, &["spiffe://a/b", "spiffe://a/c"]).contains("exactly one"));
        let many: Vec<String> = (0..101).map(|n| format!("h{n}.test")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(refusal(&server, &many).contains("allows 100"));
    }

    #[test]
    fn people_have_addresses_and_patterns_bound_them() {
        let user = profile("user");
        user.check_names(&names(&["jo@example.test", "upn:jo@corp.test"]))
            .unwrap();
        assert!(refusal(&user, &["a.test"]).contains("no host names"));
        assert!(refusal(&profile("server-tls"), &["a@b.test"]).contains("no e-mail addresses"));
        assert!(refusal(&profile("client-tls"), &["upn:a@b.test"]).contains("no user principal names"));
        let bound = SERVER.replace("[names]", "[names]\nallow = [\"dns:*.corp.test\", \"ip:10.0.0.0/8\"]");
        let bound = Profile::parse(&bound).unwrap();
        bound
            .check_names(&names(&["a.corp.test", "*.b.corp.test", "10.9.9.9"]))
            .unwrap();
        for outside in ["corp.test", "a.corp.test.evil.test", "11.0.0.1", "::1"] {
            assert!(
                refusal(&bound, &["a.corp.test", outside]).contains(outside),
                "{outside}"
            );
        }
    }

    proptest! {
        /// One forbidden name among allowed ones is found wherever it stands, and is the one that is named.
        #[test]
        fn r06_one_forbidden_name_is_found_at_each_position(count in 1usize..20, at in 0usize..20, kind in 0usize..3) {
            let bad = ["https://bad.test/x", "spiffe://bad.test/x", "urn://bad.test"][kind];
            let mut all: Vec<String> = (0..count).map(|n| format!("h{n}.test")).collect();
            all.insert(at.min(count), bad.to_owned());
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            prop_assert!(refusal(&profile("server-tls"), &all).contains(bad));
        }
    }

    #[test]
    fn keys_of_other_kinds_and_sizes_are_refused() {
        let only = SERVER.replace(
            "\"ec-p256\", \"ec-p384\", \"ec-p521\", \"ed25519\", \"rsa\"",
            "\"ec-p384\", \"rsa\"",
        );
        let profile = Profile::parse(&only.replace("rsa_min_bits = 2048", "rsa_min_bits = 3072")).unwrap();
        for (kind, ok) in [
            (KeyType::EcP256, false),
            (KeyType::EcP384, true),
            (KeyType::EcP521, false),
            (KeyType::Ed25519, false),
            (KeyType::Rsa2048, false),
        ] {
            let key = key::public(&key::generate(kind).unwrap()).unwrap();
            let verdict = profile.check_key(&key);
            assert_eq!(verdict.is_ok(), ok, "{kind}");
            if let Err(error) = verdict {
                assert!(
                    error.to_string().contains("use ec-p384, rsa with 3072 to 4096 bits"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn validity_is_counted_with_both_ends() {
        let issuer = Validity {
            not_before: NOW - Duration::from_secs(100),
            not_after: NOW + Duration::from_secs(1_000),
        };
        let profile = profile("server-tls");
        let at = |asked| profile.validity(NOW, Some(Duration::from_secs(asked)), issuer);
        let minute = at(60).unwrap();
        assert_eq!(minute.not_after.unix() - NOW.unix() + 1, 60);
        assert_eq!(
            minute.not_before, issuer.not_before,
            "backdated no further than the issuer"
        );
        assert_eq!(at(2_000).unwrap().not_after, issuer.not_after);
        assert!(at(0).is_err());
        assert!(at(7_776_001).unwrap_err().to_string().contains("7776000"));
        let ended = profile.validity(issuer.not_after + Duration::from_secs(1), None, issuer);
        assert!(ended.unwrap_err().to_string().contains("make a new issuing CA"));
        assert!(
            profile
                .validity(issuer.not_before - Duration::from_secs(1), None, issuer)
                .is_err()
        );
    }
}

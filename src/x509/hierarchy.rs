//! The declared hierarchy: root, issuing CA, where their CRLs and certificates are fetched (`pki/hierarchy.toml`).

use std::time::Duration;

use serde::Deserialize;

use super::X509Error;
use super::constraints::{Constraints, Declared};
use super::profile::Validity;
use super::serial::Serial;
use crate::clock::Timestamp;
use crate::id::Label;
use crate::key_type::KeyType;

/// The hierarchy that is compiled in.
const BUILT_IN: &str = include_str!("../../pki/hierarchy.toml");

/// How far CA certificates are backdated: nodes of a new cluster may disagree about the time.
const BACKDATE: Duration = Duration::from_secs(300);

/// Each shard is a list that is signed and stored every few days, whether anything was revoked or not.
const MOST_SHARDS: u32 = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    authority: Label,
    crl: CrlFile,
    issuing: CaFile,
    #[serde(default)]
    ocsp: OcspFile,
    pointers: PointersFile,
    root: CaFile,
    #[serde(default)]
    rotation: RotationFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaFile {
    common_name: String,
    key: KeyType,
    #[serde(default)]
    names: Declared,
    organization: String,
    path_length: Option<u8>,
    validity_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CrlFile {
    #[serde(default = "default_shards")]
    shards: u32,
    validity_s: u64,
}

fn default_shards() -> u32 {
    16
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OcspFile {
    live_per_s: u32,
    validity_s: u64,
}

impl Default for OcspFile {
    fn default() -> Self {
        Self {
            live_per_s: 100,
            validity_s: 86_400,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointersFile {
    crl: String,
    issuer: String,
    #[serde(default = "default_ocsp")]
    ocsp: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RotationFile {
    overlap_s: u64,
    replaced_s: u64,
}

impl Default for RotationFile {
    fn default() -> Self {
        Self {
            overlap_s: 86_400,
            replaced_s: 604_800,
        }
    }
}

fn default_ocsp() -> String {
    "{http}/ocsp/{issuer}".to_owned()
}

/// RFC 5280 appendix A.1: ub-common-name, ub-organization-name.
const LONGEST_NAME: usize = 64;

/// Where this installation stands: what fills the placeholders.
#[derive(Clone, Debug)]
pub struct Place {
    /// The service's zone, for example `chancery.test`.
    pub zone: String,
    /// Base of the plain-HTTP listener, for example `http://pki.chancery.test`, without a slash at its end.
    pub http: String,
}

/// One CA certificate as it is to be made.
#[derive(Clone, Debug)]
pub struct CaDeclaration {
    pub(super) common_name: String,
    pub(super) constraints: Constraints,
    key_type: KeyType,
    pub(super) organization: String,
    pub(super) path_length: Option<u8>,
    /// The common name before the number is known.
    template: String,
    validity: Duration,
}

impl CaDeclaration {
    /// The same, for the issuer of this number.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        Self {
            common_name: numbered(&self.template, number),
            ..self.clone()
        }
    }

    /// The same, for another authority.
    ///
    /// # Errors
    /// `Refused` if its name is too long for a certificate (RFC 5280 appendix A.1).
    pub fn of(&self, authority: &Label) -> Result<Self, X509Error> {
        let template = format!("{authority} {}", self.template);
        // Numbers up to 9999.
        if numbered(&template, 9_999).chars().count() > LONGEST_NAME {
            return Err(X509Error::Refused(format!(
                "`{authority}` is too long: with `{}` it must have at most {LONGEST_NAME} characters",
                self.template
            )));
        }
        Ok(Self {
            template,
            ..self.clone()
        })
    }

    /// What kind of key it has in the token.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Its validity if made at `now`, within `issuer` if there is one.
    pub fn validity(&self, now: Timestamp, issuer: Option<Validity>) -> Validity {
        let own = Validity {
            not_before: now - BACKDATE,
            not_after: now + self.validity - Duration::from_secs(1),
        };
        issuer.map_or(own, |issuer| Validity {
            not_before: own.not_before.max(issuer.not_before),
            not_after: own.not_after.min(issuer.not_after),
        })
    }
}

/// Two issuers of one name would be told apart by their keys only, which people do not.
fn numbered(template: &str, number: u32) -> String {
    if template.contains("{number}") {
        return template.replace("{number}", &number.to_string());
    }
    match number {
        1 => template.to_owned(),
        _ => format!("{template} {number}"),
    }
}

/// The URLs in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointers {
    /// Where the CRL is (RFC 5280 §4.2.1.13).
    pub crl: String,
    /// Where the issuer's certificate is, as DER (RFC 5280 §4.2.2.1).
    pub issuer: String,
    /// Where its status is asked for, if it is a subject's (RFC 5280 §4.2.2.1).
    pub ocsp: String,
}

/// A checked hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    authority: Label,
    crl_shards: u32,
    crl_validity: Duration,
    issuing: CaDeclaration,
    ocsp_live_per_s: u32,
    ocsp_validity: Duration,
    overlap: Duration,
    place: Place,
    pointers: Pointers,
    replaced: Duration,
    root: CaDeclaration,
}

impl Hierarchy {
    /// Reads a hierarchy file for a place.
    ///
    /// # Errors
    /// `Refused` for what TOML or the shape do not allow, for a key type that cannot issue, and for URLs that are not
    /// plain HTTP.
    pub fn parse(text: &str, place: Place) -> Result<Self, X509Error> {
        let file: File = toml::from_str(text).map_err(|e| X509Error::Refused(format!("hierarchy: {e}")))?;
        let refuse = |why: String| Err(X509Error::Refused(format!("hierarchy: {why}")));
        // RFC 5280 §8: fetching these over TLS could need these themselves.
        let printable = place.http.bytes().all(|b| b.is_ascii_graphic());
        if !printable || !place.http.starts_with("http://") || place.http.ends_with('/') {
            return refuse(format!(
                "the plain-HTTP base `{}` must start with `http://` and not end with `/`",
                place.http
            ));
        }
        // An issuing CA issues to subjects only, unless something else is said.
        let below = file.issuing.path_length.unwrap_or(0);
        // Below a root there stand the next root, certified by it, and that one's issuing CA.
        if file
            .root
            .path_length
            .is_some_and(|length| u16::from(length) < u16::from(below) + 2)
        {
            return refuse(
                "`root.path_length` must be at least two more than `issuing.path_length`, so that the root can be \
                 replaced; or leave it out"
                    .to_owned(),
            );
        }
        for (name, ca) in [("root", &file.root), ("issuing", &file.issuing)] {
            if !ca.key.signs() {
                return refuse(format!(
                    "`{name}.key` cannot be `{}`, which signs nothing: use an EC, Ed25519 or RSA key",
                    ca.key
                ));
            }
            if ca.validity_s == 0 {
                return refuse(format!("`{name}.validity_s` must be at least 1"));
            }
        }
        if file.crl.validity_s < 2 {
            return refuse("`crl.validity_s` must be at least 2".to_owned());
        }
        if !(1..=MOST_SHARDS).contains(&file.crl.shards) {
            return refuse(format!("`crl.shards` must be 1 to {MOST_SHARDS}"));
        }
        if !file.pointers.crl.contains("{shard}") {
            return refuse("`pointers.crl` must contain `{shard}`".to_owned());
        }
        if file.ocsp.validity_s < 60 {
            return refuse("`ocsp.validity_s` must be at least 60".to_owned());
        }
        for (name, template) in [
            ("crl", &file.pointers.crl),
            ("issuer", &file.pointers.issuer),
            ("ocsp", &file.pointers.ocsp),
        ] {
            if !template.starts_with("{http}/") || !template.contains("{issuer}") {
                return refuse(format!(
                    "`pointers.{name}` must start with `{{http}}/` and contain `{{issuer}}`"
                ));
            }
        }
        let declare = |ca: CaFile| {
            let template = ca.common_name.replace("{zone}", &place.zone);
            let common_name = numbered(&template, 1);
            if [&common_name, &ca.organization]
                .into_iter()
                .any(|name| !(1..=LONGEST_NAME).contains(&name.chars().count()))
            {
                return Err(X509Error::Refused(format!(
                    "hierarchy: `{common_name}` and `{}` must each have 1 to 64 characters: use a shorter zone or name",
                    ca.organization
                )));
            }
            let names = Constraints::try_from(ca.names).map_err(|why| X509Error::Refused(format!("hierarchy: {why}")));
            Ok(CaDeclaration {
                common_name,
                constraints: names?,
                key_type: ca.key,
                organization: ca.organization,
                path_length: ca.path_length,
                template,
                validity: Duration::from_secs(ca.validity_s),
            })
        };
        let (root, issuing) = (declare(file.root)?, declare(file.issuing)?);
        if root.common_name == issuing.common_name {
            return refuse("root and issuing CA must differ in `common_name`".to_owned());
        }
        Ok(Self {
            authority: file.authority,
            crl_shards: file.crl.shards,
            crl_validity: Duration::from_secs(file.crl.validity_s),
            issuing,
            ocsp_live_per_s: file.ocsp.live_per_s,
            ocsp_validity: Duration::from_secs(file.ocsp.validity_s),
            overlap: Duration::from_secs(file.rotation.overlap_s),
            place,
            pointers: Pointers {
                crl: file.pointers.crl,
                issuer: file.pointers.issuer,
                ocsp: file.pointers.ocsp,
            },
            replaced: Duration::from_secs(file.rotation.replaced_s),
            root,
        })
    }

    /// The compiled-in hierarchy, for a place.
    ///
    /// # Errors
    /// As [`Hierarchy::parse`], about the place.
    pub fn built_in(place: Place) -> Result<Self, X509Error> {
        Self::parse(BUILT_IN, place)
    }

    /// The authority's name.
    pub fn authority(&self) -> &Label {
        &self.authority
    }

    /// The root.
    pub fn root(&self) -> &CaDeclaration {
        &self.root
    }

    /// The issuing CA.
    pub fn issuing(&self) -> &CaDeclaration {
        &self.issuing
    }

    /// How long a new issuer is published before it signs: all who follow the trust bundle know it then.
    pub fn overlap(&self) -> Duration {
        self.overlap
    }

    /// What the addresses of lists, answers and certificates begin with.
    pub fn http_url(&self) -> &str {
        &self.place.http
    }

    /// How long the certificates of a replaced issuer are renewed at their own times; then they are to be replaced at once.
    pub fn replaced(&self) -> Duration {
        self.replaced
    }

    /// How long a CRL is good for.
    pub fn crl_validity(&self) -> Duration {
        self.crl_validity
    }

    /// Into how many lists the revocations of the issuing CA are divided.
    pub fn crl_shards(&self) -> u32 {
        self.crl_shards
    }

    /// The list that a new certificate with this serial names. It stands in the certificate for good: another number of
    /// shards counts for what is issued from then on.
    pub fn crl_shard(&self, serial: &Serial) -> u32 {
        let last = serial.as_bytes().iter().rev().take(4);
        let number = last.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        number % self.crl_shards
    }

    /// How long an OCSP answer is good for.
    pub fn ocsp_validity(&self) -> Duration {
        self.ocsp_validity
    }

    /// How many OCSP answers a node signs in a second for askers that want one of their own.
    pub fn ocsp_live_per_s(&self) -> u32 {
        self.ocsp_live_per_s
    }

    /// The URLs for a certificate whose issuer signs with the key `issuer`.
    pub fn pointers(&self, issuer: &str, shard: u32) -> Pointers {
        let fill = |template: &str| {
            template
                .replace("{http}", &self.place.http)
                .replace("{issuer}", issuer)
                .replace("{shard}", &shard.to_string())
        };
        Pointers {
            crl: fill(&self.pointers.crl),
            issuer: fill(&self.pointers.issuer),
            ocsp: fill(&self.pointers.ocsp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            zone: "chancery.test".to_owned(),
            http: "http://127.0.0.1:8080".to_owned(),
        }
    }

    #[test]
    fn the_built_in_one_is_filled_for_its_place() {
        let hierarchy = Hierarchy::built_in(place()).unwrap();
        assert_eq!(hierarchy.authority().as_str(), "internal");
        assert_eq!(hierarchy.root().common_name, "chancery.test root 1");
        assert_eq!(hierarchy.root().numbered(2).common_name, "chancery.test root 2");
        let old = Hierarchy::parse(&BUILT_IN.replace("{zone} root {number}", "The Root"), place()).unwrap();
        assert_eq!(old.root().common_name, "The Root");
        assert_eq!(old.root().numbered(2).common_name, "The Root 2");
        let pointers = hierarchy.pointers("internal-issuing-1", 0);
        assert_eq!(pointers.crl, "http://127.0.0.1:8080/crl/internal-issuing-1/0.crl");
        assert_eq!(pointers.issuer, "http://127.0.0.1:8080/aia/internal-issuing-1.cer");
        assert_eq!(pointers.ocsp, "http://127.0.0.1:8080/ocsp/internal-issuing-1");
    }

    /// R13: every serial has one shard, and all are used alike.
    #[test]
    fn serials_are_spread_over_the_shards() {
        let hierarchy = Hierarchy::built_in(place()).unwrap();
        let mut count = [0_u32; 16];
        for _ in 0..16_000 {
            let serial = Serial::random(&crate::entropy::OsEntropy).unwrap();
            assert_eq!(hierarchy.crl_shard(&serial), hierarchy.crl_shard(&serial));
            count[hierarchy.crl_shard(&serial) as usize] += 1;
        }
        assert!(count.iter().all(|n| (800..1_200).contains(n)), "{count:?}");
        let one = Hierarchy::parse(&BUILT_IN.replace("shards = 16", "shards = 1"), place()).unwrap();
        assert_eq!(one.crl_shard(&"ffffffff".parse().unwrap()), 0);
    }

    #[test]
    fn what_cannot_issue_is_refused() {
        for (from, to, why) in [
            ("authority =", "athority =", "unknown field `athority`"),
            ("\"internal\"", "\"In Ternal\"", "valid name"),
            ("key = \"ec-p256\"", "key = \"aes-256\"", "signs nothing"),
            ("key = \"ec-p256\"", "key = \"rsa-1024\"", "unknown variant `rsa-1024`"),
            ("validity_s = 157_788_000", "validity_s = 0", "at least 1"),
            ("issuing {number}", "root {number}", "must differ"),
            ("[root]", "[root]\npath_length = 1", "at least two more"),
            (
                "[crl]",
                "[root.names]\npermitted_dns = [\"*.a\"]\n[crl]",
                "no host name",
            ),
            ("{http}/crl", "https://a/crl", "must start with"),
            ("/{shard}.crl", ".crl", "`{shard}`"),
            ("{issuer}.cer", "ca.cer", "`{issuer}`"),
            ("validity_s = 345_600", "validity_s = 1", "at least 2"),
            ("shards = 16", "shards = 0", "1 to 1024"),
            ("validity_s = 86_400", "validity_s = 59", "at least 60"),
            ("{http}/ocsp", "https://a/ocsp", "must start with"),
        ] {
            let text = BUILT_IN.replace(from, to);
            assert_ne!(text, BUILT_IN, "{from}");
            let error = Hierarchy::parse(&text, place()).unwrap_err().to_string();
            assert!(error.contains(why), "{from} -> {to}: {error}");
        }
        for http in ["https://a", "http://a/", "a", "http://ä", "http://a b"] {
            let place = Place {
                http: http.to_owned(),
                ..place()
            };
            assert!(Hierarchy::built_in(place).is_err(), "{http}");
        }
        let place = Place {
            zone: "z".repeat(60),
            ..place()
        };
        assert!(
            Hierarchy::built_in(place)
                .unwrap_err()
                .to_string()
                .contains("shorter zone")
        );
    }
}

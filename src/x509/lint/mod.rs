//! Lints: rules of RFC 5280 and its kin that a certificate must keep, judged on a twin before the HSM signs anything, and
//! again over what is stored. Rules of the house are beside them; certificates of others are not judged by those.
//!
//! A twin is the exact to-be-signed bytes with the signature of a key that is made once per process and thrown away.
//! To add a lint: a function in `rules` (a certificate's fields) or `keys` (its key and what it is for), a row in
//! [`LINTS`], a passing and a failing vector in its tests.

mod keys;
mod rules;

use std::fmt;
use std::sync::OnceLock;

use x509_cert::Certificate;

use super::X509Error;
use super::chain::Issuer;
use super::key;
use super::tbs::{self, Tbs};
use crate::key_type::KeyType;

/// One rule.
#[derive(Clone, Copy)]
pub struct Lint {
    /// Its name, in snake case.
    pub name: &'static str,
    /// The standard's section that says so, or `house`.
    pub rule: &'static str,
    check: fn(&Subject<'_>) -> Verdict,
}

/// The rule of a lint that no standard asks for.
const HOUSE: &str = "house";

/// What a rule says: nothing, or what is wrong.
type Verdict = Result<(), String>;

/// What is judged.
struct Subject<'a> {
    certificate: &'a Certificate,
    above: Above<'a>,
    /// Whether we make it: what a standard leaves open is then closed.
    ours: bool,
}

/// Who issued.
#[derive(Clone, Copy)]
enum Above<'a> {
    Itself,
    Known(&'a Issuer),
    Unknown,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The lint's name.
    pub lint: &'static str,
    /// The standard's section, or `house`.
    pub rule: &'static str,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.rule, self.lint, self.text)
    }
}

/// Every lint, in the order of RFC 5280.
pub const LINTS: [Lint; 29] = rules::ALL;

/// The throw-away key of this process.
static TWIN_KEY: OnceLock<rcgen::KeyPair> = OnceLock::new();

/// Judges the bytes that are about to be signed, and gives the twin: the certificate with a signature that is worth
/// nothing. `issuer` is `None` for a root.
///
/// # Errors
/// `Lint` with every broken rule; `Build` if the bytes are no certificate at all.
pub fn twin(tbs: &Tbs, issuer: Option<&Issuer>) -> Result<Vec<u8>, X509Error> {
    let key = match TWIN_KEY.get() {
        Some(key) => key,
        None => {
            let key = key::pair(&key::generate(KeyType::EcP256)?)?;
            TWIN_KEY.get_or_init(|| key)
        }
    };
    let signature = rcgen::SigningKey::sign(key, tbs.as_bytes()).map_err(X509Error::build)?;
    let twin = tbs::assemble(tbs.as_bytes(), &signature)?;
    certificate(&twin, issuer)?;
    Ok(twin)
}

/// Judges a DER certificate; its signature is not looked at.
///
/// # Errors
/// As [`twin`].
pub fn certificate(der: &[u8], issuer: Option<&Issuer>) -> Result<(), X509Error> {
    let decoded = tbs::decode(der)?;
    let subject = Subject {
        certificate: &decoded,
        above: issuer.map_or(Above::Itself, Above::Known),
        ours: true,
    };
    let findings = judge(&subject);
    if findings.is_empty() {
        Ok(())
    } else {
        Err(X509Error::Lint(findings))
    }
}

/// Judges a DER certificate that anybody may have made, by the standards only. Without `issuer` what it should repeat
/// of its issuer is not judged, unless it is its own.
///
/// # Errors
/// `Malformed` if it is no certificate in DER.
pub fn foreign(der: &[u8], issuer: Option<&Issuer>) -> Result<Vec<Finding>, X509Error> {
    let decoded = tbs::decode(der).map_err(|e| X509Error::malformed("certificate", e))?;
    let tbs = decoded.tbs_certificate();
    let above = match issuer {
        _ if tbs.issuer() == tbs.subject() => Above::Itself,
        Some(issuer) => Above::Known(issuer),
        None => Above::Unknown,
    };
    Ok(judge(&Subject {
        certificate: &decoded,
        above,
        ours: false,
    }))
}

fn judge(subject: &Subject<'_>) -> Vec<Finding> {
    LINTS
        .iter()
        .filter(|lint| subject.ours || lint.rule != HOUSE)
        .filter_map(|lint| {
            (lint.check)(subject).err().map(|text| Finding {
                lint: lint.name,
                rule: lint.rule,
                text: printable(&text),
            })
        })
        .collect()
}

/// Without control characters: a finding may quote what somebody else has put into a certificate.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::{Kept, names, profile};
    use der::Tagged;
    use der::asn1::{Any, Null, ObjectIdentifier, OctetString};
    use der::{Decode, Encode};
    use x509_cert::ext::Extension;

    /// Places in a TBSCertificate.
    const VERSION: usize = 0;
    const SERIAL: usize = 1;
    const ALGORITHM: usize = 2;
    const ISSUER: usize = 3;
    const VALIDITY: usize = 4;
    const SUBJECT: usize = 5;
    const KEY: usize = 6;
    const EXTENSIONS: usize = 7;

    fn any(hexadecimal: &str) -> Any {
        Any::from_der(&hex::decode(hexadecimal).unwrap()).unwrap()
    }

    fn oid(text: &str) -> ObjectIdentifier {
        ObjectIdentifier::new(text).unwrap()
    }

    fn change(tbs: &Tbs, edit: impl FnOnce(&mut Vec<Any>)) -> Tbs {
        let mut fields = Vec::<Any>::from_der(tbs.as_bytes()).unwrap();
        edit(&mut fields);
        Tbs::from_der(fields.to_der().unwrap())
    }

    fn change_extensions(tbs: &Tbs, edit: impl FnOnce(&mut Vec<Extension>)) -> Tbs {
        change(tbs, |fields| {
            let mut extensions = Vec::<Extension>::from_der(fields[EXTENSIONS].value()).unwrap();
            edit(&mut extensions);
            fields[EXTENSIONS] = Any::new(fields[EXTENSIONS].tag(), extensions.to_der().unwrap()).unwrap();
        })
    }

    fn drop_extension(tbs: &Tbs, id: &str) -> Tbs {
        change_extensions(tbs, |all| all.retain(|extension| extension.extn_id != oid(id)))
    }

    fn set_critical(tbs: &Tbs, id: &str, critical: bool) -> Tbs {
        with(tbs, id, |extension| extension.critical = critical)
    }

    fn set_value(tbs: &Tbs, id: &str, hexadecimal: &str) -> Tbs {
        with(tbs, id, |extension| {
            extension.extn_value = OctetString::new(hex::decode(hexadecimal).unwrap()).unwrap();
        })
    }

    fn with(tbs: &Tbs, id: &str, edit: impl FnOnce(&mut Extension)) -> Tbs {
        change_extensions(tbs, |all| {
            edit(all.iter_mut().find(|extension| extension.extn_id == oid(id)).unwrap());
        })
    }

    fn add(tbs: &Tbs, id: &str, critical: bool, hexadecimal: &str) -> Tbs {
        change_extensions(tbs, |all| {
            all.push(Extension {
                extn_id: oid(id),
                critical,
                extn_value: OctetString::new(hex::decode(hexadecimal).unwrap()).unwrap(),
            });
        })
    }

    fn broken(tbs: &Tbs, issuer: Option<&Issuer>) -> Vec<&'static str> {
        match twin(tbs, issuer) {
            Ok(_) => Vec::new(),
            Err(X509Error::Lint(findings)) => findings.iter().map(|finding| finding.lint).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    /// Each lint's failing vectors; the passing one is the certificate that they are made from.
    fn failing(kept: &Kept) -> Vec<(&'static str, Tbs)> {
        let server = kept.leaf(&profile("server-tls"), &names(&["www.chancery.test"]));
        let svid = kept.leaf(&profile("svid"), &names(&["spiffe://chancery.test/app"]));
        assert_eq!(broken(&server, Some(&kept.issuing)), Vec::<&str>::new());
        assert_eq!(broken(&svid, Some(&kept.issuing)), Vec::<&str>::new());
        let empty = Any::new(der::Tag::Sequence, Vec::new()).unwrap();
        vec![
            (
                "signature_algorithms_agree",
                change(&server, |f| f[ALGORITHM] = any("300a06082a8648ce3d040303")),
            ),
            ("version_is_3", change(&server, |f| f[VERSION] = any("a003020101"))),
            (
                "serial_is_positive_and_unguessable",
                change(&server, |f| f[SERIAL] = any("020109")),
            ),
            (
                "serial_is_positive_and_unguessable",
                change(&server, |f| f[SERIAL] = any("0209ff0102030405060708")),
            ),
            (
                "serial_is_positive_and_unguessable",
                change(&server, |f| f[SERIAL] = any("020100")),
            ),
            ("issuer_is_named", change(&server, |f| f[ISSUER] = f[SUBJECT].clone())),
            ("issuer_is_named", change(&server, |f| f[ISSUER] = empty.clone())),
            // 2027-01-01 to 2026-01-01, 2026 to 2050 beyond the issuer, and 2027 as GeneralizedTime.
            (
                "validity_is_well_formed",
                change(&server, |f| {
                    f[VALIDITY] = any("301e170d3237303130313030303030305a170d3236303130313030303030305a")
                }),
            ),
            (
                "validity_is_well_formed",
                change(&server, |f| {
                    f[VALIDITY] = any("3020170d3236303130313030303030305a180f32303530303130313030303030305a");
                }),
            ),
            (
                "empty_subject_has_critical_names",
                set_critical(&svid, "2.5.29.17", false),
            ),
            ("empty_subject_has_critical_names", drop_extension(&svid, "2.5.29.17")),
            (
                "unique_identifiers_are_absent",
                change(&server, |f| f.insert(EXTENSIONS, any("81020001"))),
            ),
            (
                "unique_identifiers_are_absent",
                change(&server, |f| f.insert(EXTENSIONS, any("82020001"))),
            ),
            ("extensions_are_single", add(&server, "2.5.29.15", true, "03020780")),
            // RFC 7633 must-staple, asked for by nobody.
            (
                "extensions_are_ours",
                add(&server, "1.3.6.1.5.5.7.1.24", false, "3003020105"),
            ),
            ("authority_key_identifier", drop_extension(&server, "2.5.29.35")),
            ("authority_key_identifier", set_critical(&server, "2.5.29.35", true)),
            (
                "authority_key_identifier",
                set_value(&server, "2.5.29.35", "3003800101"),
            ),
            ("subject_key_identifier", drop_extension(&server, "2.5.29.14")),
            ("subject_key_identifier", set_critical(&server, "2.5.29.14", true)),
            ("subject_key_identifier", set_value(&server, "2.5.29.14", "0400")),
            ("key_usage", drop_extension(&server, "2.5.29.15")),
            ("key_usage", set_critical(&server, "2.5.29.15", false)),
            ("key_usage", set_value(&server, "2.5.29.15", "03020204")),
            ("key_usage", set_value(&server, "2.5.29.15", "0000")),
            ("certificate_policies", add(&server, "2.5.29.32", false, "3000")),
            (
                "certificate_policies",
                add(&server, "2.5.29.32", false, "300c300406022a03300406022a03"),
            ),
            ("subject_alternative_name", drop_extension(&server, "2.5.29.17")),
            ("subject_alternative_name", set_critical(&server, "2.5.29.17", true)),
            ("subject_alternative_name", set_value(&server, "2.5.29.17", "3000")),
            // dNSName `a_b`, dNSName `A.b`, `a b` as e-mail address, an address of 3 octets, a directory name.
            (
                "subject_alternative_name",
                set_value(&server, "2.5.29.17", "30058203615f62"),
            ),
            (
                "subject_alternative_name",
                set_value(&server, "2.5.29.17", "30058203412e62"),
            ),
            (
                "subject_alternative_name",
                set_value(&server, "2.5.29.17", "30058103612062"),
            ),
            (
                "subject_alternative_name",
                set_value(&server, "2.5.29.17", "3004a4023000"),
            ),
            // The same name twice.
            (
                "alternative_names_are_single",
                set_value(&server, "2.5.29.17", "300a8203612e628203612e62"),
            ),
            // A common name that is no alternative name; one as TeletexString; an empty one.
            (
                "common_name_is_an_alternative_name",
                change(&server, |f| f[SUBJECT] = any("300e310c300a06035504030c03622e63")),
            ),
            (
                "subject_strings_are_well_formed",
                change(&server, |f| f[SUBJECT] = any("300e310c300a06035504031403622e63")),
            ),
            (
                "subject_strings_are_well_formed",
                change(&server, |f| f[SUBJECT] = any("300b3109300706035504030c00")),
            ),
            // An RSA key without NULL, a point off its curve.
            (
                "subject_public_key",
                change(&server, |f| {
                    let mut bits = f[KEY].value().to_vec();
                    *bits.last_mut().unwrap() ^= 1;
                    f[KEY] = Any::new(der::Tag::Sequence, bits).unwrap();
                }),
            ),
            // keyEncipherment for an EC key, contentCommitment alone for a server.
            ("key_usage_fits_key", set_value(&server, "2.5.29.15", "030205a0")),
            ("key_usage_fits_purpose", set_value(&server, "2.5.29.15", "03020640")),
            (
                "subject_key_identifier_is_the_keys",
                set_value(&server, "2.5.29.14", "040101"),
            ),
            // Permitted: dNSName `a`.
            (
                "name_constraints",
                add(&server, "2.5.29.30", true, "3007a0053003820161"),
            ),
            ("no_revocation_available", add(&server, "2.5.29.56", false, "0500")),
            (
                "no_revocation_available",
                add(&drop_extension(&server, "2.5.29.31"), "2.5.29.56", true, "0500"),
            ),
            (
                "subject_alternative_name",
                set_value(&server, "2.5.29.17", "300587030a0000"),
            ),
            ("basic_constraints", drop_extension(&server, "2.5.29.19")),
            ("basic_constraints", set_critical(&server, "2.5.29.19", false)),
            ("basic_constraints", set_value(&server, "2.5.29.19", "3003020100")),
            ("extended_key_usage", drop_extension(&server, "2.5.29.37")),
            ("extended_key_usage", set_value(&server, "2.5.29.37", "3000")),
            (
                "extended_key_usage",
                set_value(&server, "2.5.29.37", "30060604551d2500"),
            ),
            ("crl_distribution_points", drop_extension(&server, "2.5.29.31")),
            ("crl_distribution_points", set_critical(&server, "2.5.29.31", true)),
            ("crl_distribution_points", set_value(&server, "2.5.29.31", "3000")),
            // ldap://a
            (
                "crl_distribution_points",
                set_value(&server, "2.5.29.31", "3010300ea00ca00a86086c6461703a2f2f61"),
            ),
            (
                "authority_information_access",
                drop_extension(&server, "1.3.6.1.5.5.7.1.1"),
            ),
            (
                "authority_information_access",
                set_critical(&server, "1.3.6.1.5.5.7.1.1", true),
            ),
            (
                "authority_information_access",
                set_value(&server, "1.3.6.1.5.5.7.1.1", "3000"),
            ),
            ("ocsp_responder", add(&server, "1.3.6.1.5.5.7.48.1.5", false, "0500")),
            (
                "ocsp_responder",
                set_value(&server, "2.5.29.37", "300a06082b06010505070309"),
            ),
        ]
    }

    #[test]
    fn every_lint_fails_its_failing_vectors() {
        let kept = Kept::new();
        let bound = Kept::constrained();
        let server = |name| bound.leaf(&profile("server-tls"), &names(&[name]));
        assert_eq!(
            broken(&server("a.chancery.test"), Some(&bound.issuing)),
            Vec::<&str>::new()
        );
        let mut vectors: Vec<(&str, Tbs, &Issuer)> = vec![
            ("names_are_within_constraints", server("a.other.test"), &bound.issuing),
            (
                "names_are_within_constraints",
                server("a.x.chancery.test"),
                &bound.issuing,
            ),
            // A CA below one that allows none.
            ("basic_constraints", kept.issuing_tbs.clone(), &kept.issuing),
        ];
        vectors.extend(failing(&kept).into_iter().map(|(lint, tbs)| (lint, tbs, &kept.issuing)));
        for (lint, tbs, issuer) in &vectors {
            let broken = broken(tbs, Some(issuer));
            assert!(broken.contains(lint), "{lint} let a vector pass; {broken:?}");
        }
        for lint in LINTS {
            assert!(
                vectors.iter().any(|(name, ..)| *name == lint.name),
                "{} has no failing vector",
                lint.name
            );
        }
    }

    #[test]
    fn a_root_is_judged_as_its_own_issuer() {
        let kept = Kept::new();
        assert_eq!(broken(&kept.root_tbs, None), Vec::<&str>::new());
        assert!(broken(&kept.root_tbs, Some(&kept.issuing)).contains(&"issuer_is_named"));
        let nameless = change(&kept.root_tbs, |fields| {
            fields[SUBJECT] = Any::new(der::Tag::Sequence, vec![]).unwrap()
        });
        assert!(broken(&nameless, None).contains(&"empty_subject_has_critical_names"));
        let mute = set_value(&kept.root_tbs, "2.5.29.15", "03020780");
        assert!(broken(&mute, None).contains(&"key_usage"));
    }

    #[test]
    fn certificates_of_others_are_judged_by_the_standards_only() {
        let kept = Kept::new();
        let server = kept.leaf(&profile("server-tls"), &names(&["www.chancery.test"]));
        let found = |tbs: &Tbs, issuer| {
            let der = tbs.assemble(&hex::decode("3006020101020101").unwrap()).unwrap();
            let found = foreign(&der, issuer).unwrap();
            found.into_iter().map(|finding| finding.lint).collect::<Vec<_>>()
        };
        let theirs = drop_extension(&drop_extension(&server, "2.5.29.31"), "1.3.6.1.5.5.7.1.1");
        assert!(found(&theirs, Some(&kept.issuing)).is_empty());
        assert!(found(&add(&theirs, "1.2.3", false, "0500"), None).is_empty());
        assert!(found(&kept.root_tbs, None).is_empty());
        assert_eq!(
            found(&server, Some(&kept.root)),
            ["issuer_is_named", "authority_key_identifier"]
        );
        let bad = set_critical(&theirs, "2.5.29.35", true);
        assert_eq!(found(&bad, None), ["authority_key_identifier"]);
        assert!(foreign(b"x", None).is_err());
    }

    #[test]
    fn a_finding_names_its_rule_and_section() {
        let kept = Kept::new();
        let tbs = drop_extension(&kept.leaf(&profile("svid"), &names(&["spiffe://a/b"])), "2.5.29.35");
        let error = twin(&tbs, Some(&kept.issuing)).unwrap_err().to_string();
        assert_eq!(
            error,
            "certificate breaks RFC 5280 §4.2.1.1 (authority_key_identifier): \
             the authority key identifier is missing"
        );
    }

    #[test]
    fn what_is_not_der_is_not_judged_but_refused() {
        let kept = Kept::new();
        let tbs = kept.leaf(&profile("server-tls"), &names(&["a.test"]));
        // GeneralizedTime before 2050 is not how it would be encoded.
        let late = change(&tbs, |fields| {
            fields[VALIDITY] = any("3022180f32303236303130313030303030305a180f32303237303130313030303030305a");
        });
        assert!(matches!(twin(&late, Some(&kept.issuing)), Err(X509Error::Build(_))));
        assert!(matches!(
            twin(&Tbs::from_der(Null.to_der().unwrap()), None),
            Err(X509Error::Build(_))
        ));
    }
}

//! The targets: each takes any bytes, and says what must hold for those that are accepted.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use chancery::acme::identifier::{Asked, Identifier};
use chancery::acme::validation::issue_value::IssueValue;
use chancery::acme::validation::{Method, Question, Validator};
use chancery::acme::{CertificateId, Jws, Signer};
use chancery::clock::SystemClock;
use chancery::config::Config;
use chancery::id::{Id, Label, ObjectName};
use chancery::lifecycle::maintenance::MaintenanceWindow;
use chancery::policy::{Resource, Scope, SpiffeId};
use chancery::vault::ObjectBackup;
use chancery::wire;
use chancery::x509::chain::{Facts, Issuer};
use chancery::x509::csr::Csr;
use chancery::x509::hierarchy::{Hierarchy, Place};
use chancery::x509::inspect::Certificate;
use chancery::x509::key::PublicKey;
use chancery::x509::name::Name;
use chancery::x509::profile::Profile;
use chancery::x509::serial::Serial;
use chancery::x509::{lint, ocsp, pem, root_list};

use super::{drive, shown};

const PEM_WORDS: &[&str] = &[
    "-----BEGIN CERTIFICATE-----",
    "-----END CERTIFICATE-----",
    "-----BEGIN CERTIFICATE REQUEST-----",
    "-----END CERTIFICATE REQUEST-----",
    "-----BEGIN NEW CERTIFICATE REQUEST-----",
    "\n",
    "\r\n",
    "=",
    "==",
    "MII",
    "-----",
    "Proc-Type: 4,ENCRYPTED\n",
];
/// Object identifiers and beginnings that certificates and requests are made of.
const DER_WORDS: &[&str] = &[
    "\x06\x03\x55\x1d\x11",
    "\x06\x03\x55\x1d\x13",
    "\x06\x03\x55\x1d\x0f",
    "\x06\x03\x55\x04\x03",
    "\x01\x01\x7f",
    "\x02\x01\x00",
    "\x03\x02\x05\x20",
    "\x0c\x05a.b.c",
    "\x30\x00",
    "\x31\x00",
    "\x05\x00",
    "\x1e\x02\x00\x61",
];

/// 1.2.840.113549.1.1.10
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

#[test]
fn csr() {
    drive("csr", DER_WORDS, |input| match Csr::parse(input) {
        Ok(csr) => {
            for name in csr.names() {
                assert_eq!(
                    name.to_string().parse::<Name>().unwrap(),
                    *name,
                    "a name that is no name"
                );
            }
            let der = pem::der_or_pem(pem::CERTIFICATE_REQUEST, input).unwrap();
            let theirs = openssl::x509::X509Req::from_der(&der).expect("OpenSSL reads what we accept");
            let key = theirs.public_key().unwrap();
            // The parameters of PSS are not signed, and the salt has the digest's length here whatever they say.
            let pss = der.windows(RSASSA_PSS.len()).any(|window| window == RSASSA_PSS);
            assert!(pss || theirs.verify(&key).unwrap(), "OpenSSL verifies what we accept");
            assert_eq!(
                key.public_key_to_der().unwrap(),
                openssl::pkey::PKey::public_key_from_der(csr.key().spki())
                    .unwrap()
                    .public_key_to_der()
                    .unwrap(),
                "another key than OpenSSL's"
            );
        }
        Err(e) => shown(&e, input),
    });
}

#[test]
fn certificate() {
    drive("certificate", DER_WORDS, |input| {
        let look = |result: Result<(), chancery::x509::X509Error>| {
            if let Err(e) = result {
                shown(&e, input);
            }
        };
        look(Facts::read(input).map(drop));
        look(Certificate::read_all(&[input.to_vec(), input.to_vec()]).map(drop));
        look(lint::certificate(input, None).map(|()| {
            openssl::x509::X509::from_der(input).expect("OpenSSL reads what lint finds nothing in");
        }));
        look(Issuer::read(input).and_then(|issuer| {
            issuer.verify(input)?;
            lint::certificate(input, Some(&issuer))
        }));
    });
}

#[test]
fn key() {
    drive("key", DER_WORDS, |input| match PublicKey::from_spki(input) {
        Ok(key) => assert_eq!(key.spki(), input),
        Err(e) => shown(&e, input),
    });
}

#[test]
fn ocsp_request() {
    drive("ocsp_request", DER_WORDS, |input| match ocsp::Request::parse(input) {
        Ok(request) => {
            assert!(!request.ids.is_empty());
            assert!(request.nonce.is_none_or(|nonce| (1..=128).contains(&nonce.len())));
            for serial in request.ids.iter().filter_map(ocsp::CertId::serial) {
                assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
            }
        }
        Err(e) => shown(&e, input),
    });
}

#[test]
fn revocation_list() {
    drive("revocation_list", DER_WORDS, |input| match root_list::inspect(input) {
        Ok(list) => {
            assert!(i64::try_from(list.number).is_ok());
            for serial in &list.revoked {
                assert_eq!(serial.parse::<Serial>().unwrap().to_string(), *serial);
            }
        }
        Err(e) => shown(&e, input),
    });
}

#[test]
fn pem() {
    drive("pem", PEM_WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        match pem::decode_all("CERTIFICATE", &text) {
            Ok(all) => assert_eq!(pem::decode_all("CERTIFICATE", &pem::encode_chain(&all)).unwrap(), all),
            Err(e) => shown(&e, input),
        }
        if let Err(e) = pem::der_or_pem("CERTIFICATE", input) {
            shown(&e, input);
        }
    });
}

#[test]
fn jws() {
    let words = [
        "\"protected\":",
        "\"payload\":\"\"",
        "\"signature\":",
        "\"header\":{}",
        "{\"alg\":\"ES256\",",
        "\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\",",
        "\"kid\":\"https://a/1\"",
        "eyJ",
        "AAAA",
        "==",
        "{",
        "}",
        "[",
        "\"",
        "\\u0000",
    ];
    drive("jws", &words, |input| {
        // As it is, and as what the protected header or the payload of a request holds.
        let wrapped = |part: &str| {
            let mut body = serde_json::json!({"protected": "e30", "payload": "", "signature": ""});
            body[part] = serde_json::json!(BASE64URL.encode(input));
            body.to_string().into_bytes()
        };
        for body in [input.to_vec(), wrapped("protected"), wrapped("payload")] {
            match Jws::parse(&body) {
                Ok(jws) => {
                    if let Signer::Key(key) = &jws.signer {
                        let spki = PublicKey::from_spki(key.spki()).expect("a key that is one");
                        assert_eq!(spki.spki(), key.spki());
                        assert_eq!(BASE64URL.decode(key.thumbprint()).unwrap().len(), 32);
                        if let Err(e) = jws.verify(key) {
                            shown(&e, &body);
                        }
                    }
                    if let Err(e) = Jws::read::<serde_json::Value>(&jws.payload) {
                        shown(&e, &body);
                    }
                }
                Err(e) => shown(&e, &body),
            }
        }
        if let Err(e) = String::from_utf8_lossy(input).parse::<CertificateId>() {
            shown(&e, input);
        }
    });
}

#[test]
fn identifier() {
    let words = [
        "*.",
        "xn--",
        "xn--bcher-kva",
        ".",
        "::",
        "::ffff:",
        "1.2.3.4",
        "-",
        "_",
        "ü",
        "\u{200d}",
        "a",
    ];
    drive("identifier", &words, |input| {
        let text = String::from_utf8_lossy(input);
        let (kind, value) = text.split_once(' ').unwrap_or(("dns", &text));
        match Asked::parse(kind, value) {
            Ok(asked) => {
                assert_eq!(Asked::parse(kind, &asked.to_string()).unwrap(), asked);
                let identifier = &asked.identifier;
                assert_eq!(
                    &Identifier::parse(identifier.kind(), &identifier.value()).unwrap(),
                    identifier
                );
                assert_eq!(asked.to_name().to_string(), asked.to_string());
                assert_eq!(asked.to_name().is_wildcard(), asked.wildcard);
            }
            Err(e) => shown(&e, input),
        }
        if let Err(e) = text.parse::<Name>() {
            shown(&e, input);
        }
    });
}

#[test]
fn issue_value() {
    let words = [
        ";",
        "=",
        " ",
        "\t",
        "accounturi=",
        "validationmethods=dns-01",
        "policy=wildcard",
        "ca.test",
    ];
    drive("issue_value", &words, |input| {
        let claimed = IssueValue::claimed_issuer(input);
        if let Some(value) = IssueValue::parse(input) {
            assert_eq!(
                value.issuer, claimed,
                "a record is ignored by one and obeyed by the other"
            );
            for tag in ["accounturi", "validationmethods", "policy", "persistuntil"] {
                if let Ok(Some(value)) = value.parameter(tag) {
                    assert!(value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';'));
                }
            }
        }
    });
}

/// Names, ids and the like, as they stand in paths, on the command line and in the store.
#[test]
fn words() {
    let words = [
        "/",
        "vaults/",
        "secrets/",
        "spiffe://",
        "..",
        "%2f",
        "a",
        "-",
        "0",
        "*",
        "Mon",
        "\u{e4}",
        "\u{0}",
    ];
    drive("words", &words, |input| {
        let text = String::from_utf8_lossy(input);
        macro_rules! try_all {
            ($($kind:ty),*) => {$(
                match text.parse::<$kind>() {
                    Ok(value) => assert_eq!(value.to_string().parse::<$kind>().unwrap(), value, stringify!($kind)),
                    Err(e) => shown(&e, input),
                }
            )*};
        }
        try_all!(Id, Label, ObjectName, SpiffeId, Scope, Resource, Serial, Name);
        if let Err(e) = text.parse::<MaintenanceWindow>() {
            shown(&e, input);
        }
    });
}

/// What operators declare.
#[test]
fn declaration() {
    let words = [
        "[",
        "]",
        "=",
        "\"",
        "'''",
        "\n",
        "= [",
        "[[",
        "true",
        "1h",
        "name = ",
        "validity = ",
        "0x7f",
        "\u{0}",
    ];
    drive("declaration", &words, |input| {
        let text = String::from_utf8_lossy(input);
        // These show the line that is wrong, on lines of their own.
        if let Err(e) = Profile::parse(&text) {
            let _ = e.to_string();
        }
        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://chancery.test".to_owned(),
        };
        if let Err(e) = Hierarchy::parse(&text, place) {
            let _ = e.to_string();
        }
        if let Err(e) = Config::parse(&text) {
            shown(&e, input);
        }
    });
}

/// Bodies of requests to the native API.
#[test]
fn request_body() {
    let words = [
        "{",
        "}",
        "\"",
        ":",
        ",",
        "null",
        "\\u0000",
        "\\ud800",
        "1e999",
        "-1",
        "\"value\":",
        "\"names\":[",
        "]",
        "\"plaintext\":\"AA==\"",
        "\"expires\":",
    ];
    drive("request_body", &words, |input| {
        macro_rules! try_all {
            ($($kind:ty),*) => {$(
                if let Err(e) = serde_json::from_slice::<$kind>(input) {
                    let _ = e.to_string();
                }
            )*};
        }
        try_all!(
            wire::Issue,
            wire::CreateCertificate,
            wire::CreateIdentity,
            wire::Enroll,
            wire::CreateIssuer,
            wire::Problem,
            wire::Revoke,
            wire::AssignRole,
            wire::CheckPolicy,
            wire::CreateRole,
            wire::SetSecret,
            wire::CreateKey,
            wire::UpdateKey,
            wire::ImportKey,
            wire::Restore,
            wire::ExportKey,
            wire::Encrypt,
            wire::Decrypt,
            wire::VerifySignature
        );
    });
}

#[test]
fn object_backup() {
    let words = ["chancery backup", "\u{1}", "\u{2}", "\u{ff}", "a/b", "\u{0}"];
    drive("object_backup", &words, |input| {
        let mut taken = 0;
        for read in [ObjectBackup::of_secret(input), ObjectBackup::of_key(input)] {
            match read {
                Ok(backup) => {
                    taken += 1;
                    assert_eq!(backup.to_bytes(), input, "it reads as something else");
                }
                Err(e) => shown(&e, input),
            }
        }
        assert!(taken < 2, "a secret and a key at once");
    });
}

/// What a web server answers to whoever looks for a challenge.
#[test]
fn http_answer() {
    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    const THUMBPRINT: &str = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";
    let words = [
        "\r\n",
        "\r\n\r\n",
        ": ",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 302 X",
        "Location: /",
        "Content-Length: ",
        "0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "ffffffffffffffff\r\n",
        "-1",
        "\u{0}",
        ";",
        ",",
        " ",
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!(
        "resolvers = ['127.0.0.1:1']\nhttp01_port = {}\ntimeout_s = 1\nprivate_networks = false\nallow_networks = ['127.0.0.1/32']",
        listener.local_addr().unwrap().port()
    );
    let answer = Arc::new(Mutex::new(Vec::new()));
    let served = answer.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            // Whoever looks may have enough before all is sent.
            let _ = stream.write_all(&served.lock().unwrap());
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let validator = {
        let _inside = runtime.enter();
        Validator::new(&toml::from_str(&settings).unwrap(), Vec::new(), Arc::new(SystemClock)).unwrap()
    };
    let identifier = Identifier::parse("ip", "127.0.0.1").unwrap();
    drive("http_answer", &words, |input| {
        *answer.lock().unwrap() = input.to_vec();
        let question = Question {
            method: Method::Http01,
            identifier: &identifier,
            wildcard: false,
            token: TOKEN,
            thumbprint: THUMBPRINT,
            account_url: "https://ca.test/acct/1",
        };
        match runtime.block_on(validator.validate(&question)) {
            Ok(_) => assert!(String::from_utf8_lossy(input).contains(TOKEN), "a proof from nowhere"),
            Err(e) => {
                shown(&e, &[]);
            }
        }
    });
}

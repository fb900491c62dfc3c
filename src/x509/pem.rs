//! PEM in and out (RFC 7468), for certificates, requests and lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::X509Error;

/// The label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a certificate signing request.
pub const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";
/// The label of a revocation list.
pub const CRL: &str = "X509 CRL";
/// The label of a PKCS#8 private key. SECURITY: what is encoded under it is a secret.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

/// One block.
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// A chain of certificates, one block after the other, in the order given.
pub fn encode_chain<D: AsRef<[u8]>>(chain: &[D]) -> String {
    chain.iter().map(|der| encode(CERTIFICATE, der.as_ref())).collect()
}

/// Every block with `label`, in order; text around blocks is skipped.
///
/// # Errors
/// `Malformed` if there is none, if one is not closed, or if its base64 is broken.
pub fn decode_all(label: &'static str, text: &str) -> Result<Vec<Vec<u8>>, X509Error> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once(&begin) {
        let Some((body, after)) = tail.split_once(&end) else {
            return Err(X509Error::malformed("PEM", format!("`{end}` is missing")));
        };
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD
            .decode(body)
            .map_err(|e| X509Error::malformed("PEM", format!("its base64 is broken: {e}")))?;
        blocks.push(der);
        rest = after;
    }
    if blocks.is_empty() {
        return Err(X509Error::malformed("PEM", format!("it has no `{begin}`")));
    }
    Ok(blocks)
}

/// DER as it is, or the first block with `label` if the bytes are PEM.
///
/// # Errors
/// As [`decode_all`].
pub fn der_or_pem(label: &'static str, bytes: &[u8]) -> Result<Vec<u8>, X509Error> {
    // DER of everything that is read here starts with SEQUENCE.
    if bytes.first() == Some(&0x30) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| X509Error::malformed("PEM", "it is neither DER nor text"))?;
    let mut blocks = decode_all(label, text)?;
    Ok(blocks.swap_remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_back(chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..4)) {
            let text = format!("noise\n{}tail", encode_chain(&chain));
            prop_assert!(text.lines().all(|line| line.len() <= 64));
            prop_assert_eq!(decode_all(CERTIFICATE, &text).unwrap(), chain);
        }

        #[test]
        fn random_text_never_panics(text in "(-----BEGIN CERTIFICATE-----|[A-Z=\\n-]|-----END CERTIFICATE-----){0,20}") {
            let _ = decode_all(CERTIFICATE, &text);
        }
    }
}

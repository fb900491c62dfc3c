//! TLS from files: whom to trust, who we are, and whether the files have changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::error::{Error, Result};
use super::{IdentityFiles, Settings};

/// A pair of files is read again this often if its halves do not belong together: a writer may be half-way.
const ATTEMPTS: usize = 3;

/// What the files looked like, for each that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<FileStamp>; 3]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(settings: &Settings) -> Self {
        let identity = settings.identity.as_ref();
        Self(
            [
                Some(settings.roots.as_path()),
                identity.map(|files| files.certificate.as_path()),
                identity.map(|files| files.key.as_path()),
            ]
            .map(|path| {
                let of = std::fs::metadata(path?).ok()?;
                Some(FileStamp {
                    device: of.dev(),
                    inode: of.ino(),
                    len: of.len(),
                    modified: (of.mtime(), of.mtime_nsec()),
                })
            }),
        )
    }
}

/// The TLS configuration for the files as they are now.
pub(super) fn configuration(settings: &Settings) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::local("TLS cannot be set up").because(e))?
        .with_root_certificates(roots(&settings.roots)?);
    let mut configuration = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) = identity(files)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| mismatch(files).because(e))?
        }
    };
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(configuration)
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in certificates(path)? {
        store.add(root).map_err(|e| {
            Error::local(format!("`{}` holds a root that cannot be used: {e}", path.display())).because(e)
        })?;
    }
    Ok(store)
}

/// A chain and its key that belong together.
fn identity(files: &IdentityFiles) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    for _ in 0..ATTEMPTS {
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| {
            Error::local(format!(
                "`{}` is not a readable private key in PEM: {e}",
                files.key.display()
            ))
            .because(e)
        })?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        match rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider) {
            Ok(_) => return Ok((chain, key)),
            Err(rustls::Error::InconsistentKeys(_)) => {}
            Err(e) => {
                return Err(Error::local(format!(
                    "`{}` and `{}` cannot be used as a client certificate: {e}",
                    files.certificate.display(),
                    files.key.display()
                ))
                .because(e));
            }
        }
    }
    Err(mismatch(files))
}

fn mismatch(files: &IdentityFiles) -> Error {
    Error::local(format!(
        "the key in `{}` is not the one of the certificate in `{}`: give files that belong together",
        files.key.display(),
        files.certificate.display()
    ))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = |e| {
        Error::local(format!(
            "`{}` is not a readable file of certificates in PEM: {e}",
            path.display()
        ))
        .because(e)
    };
    let chain = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(Error::local(format!(
            "`{}` holds no certificate in PEM",
            path.display()
        )));
    }
    Ok(chain)
}

//! `chancery ca init|csr|import|rotate|taint|retire`: authorities, and how a new root or issuing CA takes the old one's place.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::cli::exit::Result;
use crate::cli::output::Columns;
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::clock::{Clock, SystemClock};
use crate::id::Label;
use crate::key_type::KeyType;
use crate::wire;
use crate::x509::pem;

/// Between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(1);

const COLUMNS: Columns = &[
    ("ISSUER", "label"),
    ("ROLE", "role"),
    ("NUMBER", "number"),
    ("STAGE", "stage"),
    ("SINCE", "since"),
    ("NEXT", "next"),
    ("NOT BEFORE", "next_at"),
    ("LEFT", "left"),
];

#[derive(Subcommand)]
pub(super) enum Rotation {
    /// Make an authority
    Init {
        /// Its name
        #[arg(long, value_name = "NAME")]
        name: Label,
        /// Where its root is: token, offline or foreign
        #[arg(long, value_name = "WHERE", default_value = "token")]
        root: String,
        /// The kind of its keys; that of the declaration if it is not said
        #[arg(long, value_name = "TYPE")]
        key_type: Option<KeyType>,
    },
    /// Write the request for the certificate of an issuing CA whose root is offline or foreign, PEM
    Csr {
        /// The authority
        #[arg(long, value_name = "NAME")]
        name: Label,
    },
    /// Give that issuing CA its certificate, or its root's revocation list
    Import {
        /// The authority
        #[arg(long, value_name = "NAME")]
        name: Label,
        /// Its certificate first, then what stands above it, the root last, PEM; - for stdin
        #[arg(long, value_name = "FILE", required_unless_present = "crl", conflicts_with = "crl")]
        chain: Option<PathBuf>,
        /// The root's newest revocation list, DER or PEM; - for stdin
        #[arg(long, value_name = "FILE")]
        crl: Option<PathBuf>,
    },
    /// Replace the issuing CA, or the root and then the issuing CA; the service takes the steps by itself
    Rotate {
        /// The authority
        #[arg(long, value_name = "NAME", default_value = "internal")]
        name: Label,
        /// Replace the root, too
        #[arg(long, conflicts_with = "watch")]
        root: bool,
        /// The kind of the new key; that of the declaration if it is not said
        #[arg(long, value_name = "TYPE", conflicts_with = "watch")]
        key_type: Option<KeyType>,
        /// Begin nothing; show how far it is and who still has an old certificate, until nobody does
        #[arg(long)]
        watch: bool,
    },
    /// Have all certificates of a replaced issuing CA replaced at once
    Taint {
        /// The authority
        #[arg(long, value_name = "NAME", default_value = "internal")]
        name: Label,
        /// The number of the issuing CA
        #[arg(long, value_name = "NUMBER")]
        issuer: u32,
    },
    /// Take a tainted issuing CA out of the trust bundle
    Retire {
        /// The authority
        #[arg(long, value_name = "NAME", default_value = "internal")]
        name: Label,
        /// The number of the issuing CA
        #[arg(long, value_name = "NUMBER")]
        issuer: u32,
        /// Although certificates of it are valid yet: it is revoked then, unless its root is elsewhere: revoke it there
        #[arg(long)]
        force: bool,
    },
}

impl Rotation {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let rotation = match self {
            Self::Init { name, root, key_type } => {
                client
                    .init_authority(&wire::InitAuthority { name, root, key_type })
                    .await?
            }
            Self::Csr { name } => {
                return crate::cli::output::write(client.authority_csr(&name).await?.csr_pem.as_bytes());
            }
            Self::Import {
                name, crl: Some(crl), ..
            } => {
                let list = pem::der_or_pem(pem::CRL, &session.bytes_of(&crl).await?)?;
                let crl_pem = pem::encode(pem::CRL, &list);
                let imported = client.import_list(&name, &wire::ImportList { crl_pem }).await?;
                return session.out.one(&imported, &[("REVOKES", "revokes")]);
            }
            Self::Import { name, chain, .. } => {
                let chain_pem = session.text_of(&chain.unwrap_or_default()).await?;
                client.import_chain(&name, &wire::ImportChain { chain_pem }).await?
            }
            Self::Rotate { name, watch: true, .. } => {
                let mut progress = Progress::new(&session.out);
                loop {
                    let rotation = client.rotation(&name).await?;
                    if is_over(&rotation) {
                        break rotation;
                    }
                    progress.now(said(&rotation));
                    SystemClock.sleep(PAUSE).await;
                }
            }
            Self::Rotate {
                name, root, key_type, ..
            } => client.rotate(&name, &wire::Rotate { root, key_type }).await?,
            Self::Taint { name, issuer } => {
                client.taint_issuer(&name, issuer).await?;
                client.rotation(&name).await?
            }
            Self::Retire { name, issuer, force } => {
                session
                    .confirm(&format!(
                        "take issuing CA {issuer} of `{name}` out of the trust bundle for good?"
                    ))
                    .await?;
                client.retire_issuer(&name, issuer, wire::Retire { force }).await?;
                // Whoever asked may have a certificate below it, and could not look any more.
                session.out.say(&format!("issuing CA {issuer} of `{name}` is retired"));
                return Ok(());
            }
        };
        session.out.list(&rotation.issuers, COLUMNS)
    }
}

/// Nothing is on its way, and nobody has an old certificate.
fn is_over(rotation: &wire::Rotation) -> bool {
    let mut issuers = rotation.issuers.iter();
    issuers.all(|issuer| matches!(issuer.stage.as_str(), "active" | "retired"))
}

/// One line: what is on its way, what comes when, who is awaited.
fn said(rotation: &wire::Rotation) -> String {
    let on_the_way = rotation.issuers.iter().filter(|issuer| issuer.stage != "retired");
    let parts = on_the_way.map(|issuer| {
        let mut part = format!("{} {}", issuer.label, issuer.stage);
        if let (Some(next), Some(at)) = (&issuer.next, issuer.next_at) {
            part.push_str(&format!(", {next} from {at} on"));
        }
        if let Some(last) = issuer.left.first() {
            let names = last.names.join(" ");
            part.push_str(&format!(
                ", {} old certificates, the last of {names} until {}",
                issuer.left.len(),
                last.not_after
            ));
        }
        part
    });
    parts.collect::<Vec<_>>().join("; ")
}

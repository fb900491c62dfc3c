//! `chancery cert create`.

use std::path::PathBuf;

use clap::Args;

use super::{COLUMNS, Named, Wait};
use crate::cli::exit::Result;
use crate::cli::parse;
use crate::cli::session::Session;
use crate::id::Label;
use crate::key_type::KeyType;
use crate::wire;

#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    named: Named,
    /// The upstream issuer to order from
    #[arg(long, value_name = "ISSUER")]
    issuer: Label,
    /// A DNS name that it is for; may be repeated, the first is the primary one
    #[arg(long = "dns", value_name = "NAME", required = true)]
    dns_names: Vec<String>,
    /// The kind of its key
    #[arg(long, value_name = "KIND", default_value = "ec-p256", value_parser = parse::key_type(&wire::CERTIFICATE_KEYS))]
    key_type: KeyType,
    /// The issuer's certificate profile, if it offers any
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Renew when this part of the lifetime has passed, if the issuer suggests no time
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    renew_at: Option<u8>,
    /// Leave it alone in these times: five-field cron (UTC) and a duration, as in "0 22 * * 5 for 8h"; may be repeated
    #[arg(long, value_name = "CRON for DURATION")]
    maintenance: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    deliver: Deliver,
    #[command(flatten)]
    verify: Verify,
}

#[derive(Args)]
#[command(next_help_heading = "Delivery, on the server's host")]
struct Deliver {
    /// Write fullchain.pem, cert.pem, chain.pem and privkey.pem to this folder
    #[arg(long, value_name = "DIR")]
    deliver_to: Option<PathBuf>,
    /// Their owner, user or user:group
    #[arg(long, value_name = "OWNER", requires = "deliver_to")]
    owner: Option<String>,
    /// The mode, in octal, of those that hold the key; 0600 if it is left out
    #[arg(long, value_name = "MODE", requires = "deliver_to")]
    mode: Option<String>,
    /// Also write keystore.p12, protected by the password in this file
    #[arg(long, value_name = "FILE", requires = "deliver_to")]
    pkcs12_password_file: Option<PathBuf>,
    /// Then run this program, by its absolute path
    #[arg(long, value_name = "PROGRAM", requires = "deliver_to")]
    hook: Option<String>,
    /// An argument of the hook; may be repeated
    #[arg(long = "hook-arg", value_name = "ARG", requires = "hook", allow_hyphen_values = true)]
    hook_args: Vec<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Verification")]
struct Verify {
    /// Connect to HOST:PORT and see that it is served
    #[arg(long, value_name = "HOST:PORT")]
    verify: Option<String>,
    /// The name to ask for there; the first DNS name if it is left out
    #[arg(long, value_name = "NAME", requires = "verify")]
    verify_name: Option<String>,
    /// How many seconds the server may take to serve it
    #[arg(long, value_name = "SECONDS", requires = "verify")]
    verify_within: Option<u32>,
}

impl Create {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let client = session.client()?;
        let request = wire::CreateCertificate {
            name: self.named.name.clone(),
            issuer: self.issuer,
            dns_names: self.dns_names,
            key_type: self.key_type,
            profile: self.profile,
            renew_at_percent: self.renew_at,
            maintenance: self.maintenance,
            deliver: self.deliver.request(),
            verify: self.verify.request(),
        };
        let mut certificate = client.create_certificate(&vault, &request).await?;
        if let Some(renewal) = &certificate.renewal {
            self.wait.follow(session, &client, &vault, renewal).await?;
            certificate = client.certificate(&vault, &self.named.name).await?;
        }
        session.out.one(&certificate, COLUMNS)
    }
}

impl Deliver {
    fn request(self) -> Option<wire::Deliver> {
        Some(wire::Deliver {
            directory: self.deliver_to?,
            owner: self.owner,
            mode: self.mode,
            pkcs12_password_file: self.pkcs12_password_file,
            hook: self.hook.into_iter().chain(self.hook_args).collect(),
        })
    }
}

impl Verify {
    fn request(self) -> Option<wire::Verify> {
        Some(wire::Verify {
            address: self.verify?,
            server_name: self.verify_name,
            within_s: self.verify_within,
        })
    }
}

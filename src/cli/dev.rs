//! `chancery dev`: a complete throw-away service in one command.
//!
//! Everything lies in one folder, from which the next run resumes: a SoftHSM token, a SQLite database, the audit
//! journal, a configuration that `chancery server` takes too, an administrator's certificate that is kept fresh, and
//! `env`, to be sourced. Permissive where a try-out needs it: certificates may be delivered anywhere, any program
//! may be a deploy hook, and the ACME server validates at this machine's own addresses too.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::{Failure, Result};
use super::server::{failed, log, tell_ready, with_environment, wrong};
use crate::agent::{self, Agent, Credential};
use crate::client::{self, Client};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::enrollment;
use crate::entropy::{self, OsEntropy};
use crate::error::{Error, Kind};
use crate::hsm;
use crate::id::Label;
use crate::policy::TrustDomain;
use crate::secret::SecretRef;
use crate::server::{self, Listeners, Ready};
use crate::wire::{self, SecretText};

/// Where SoftHSM's module may be.
const MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

#[derive(clap::Args)]
pub(super) struct Dev {
    /// The folder of everything; the next run resumes from it
    #[arg(long, value_name = "DIR", default_value = "chancery-dev")]
    dir: PathBuf,
    /// Where to serve TLS; port 0 is a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Where to serve plain HTTP; port 0 is a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// The service's name and trust domain
    #[arg(long, default_value = "chancery.test")]
    zone: TrustDomain,
    /// The DNS server that the ACME server asks; the system's if it is not said
    #[arg(long, value_name = "ADDR:PORT")]
    acme_resolver: Option<SocketAddr>,
    /// The port at which the ACME server validates http-01
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    acme_http01_port: u16,
    /// The port at which the ACME server validates tls-alpn-01
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    acme_tls_alpn01_port: u16,
    /// A program that rotates secrets, by its absolute path; may be repeated
    #[arg(long = "rotator", value_name = "NAME=PROGRAM", value_parser = super::parse::pair)]
    rotators: Vec<(String, String)>,
    /// A vault to begin with
    #[arg(long, value_name = "NAME", default_value = "kv-prod")]
    vault: Label,
}

impl Dev {
    pub(super) async fn run(self) -> Result<()> {
        let folder = Folder::open(&self.dir)?;
        let module = MODULES
            .iter()
            .map(Path::new)
            .find(|module| module.exists())
            .ok_or_else(|| {
                Failure::error("SoftHSM is not installed: install it (Debian: `apt install softhsm2`), then try again")
            })?;
        let (pin, so_pin) = folder.pins()?;
        let config = self.config(&folder, module)?;
        with_environment(&config)?;
        log();
        tracing::warn!("`chancery dev` is for trying things out: its PINs lie beside its token");
        let read = |reference: &SecretRef| reference.read().map_err(failed);
        hsm::initialise(module, "chancery", &read(&so_pin)?, &read(&pin)?).map_err(|e| failed(e.into()))?;

        let listeners = Listeners::bind(&config).map_err(wrong)?;
        let vault = self.vault.clone();
        server::serve(config, listeners, async |ready: Ready| {
            settle(&folder, &vault, ready).await?;
            tell_ready()
        })
        .await
        .map_err(failed)
    }

    /// Writes the configuration that this run uses, and reads it as the server would.
    fn config(&self, folder: &Folder, module: &Path) -> Result<Config> {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let text = format!(
            "# Written by `chancery dev` at every start.\n\
             zone = {zone:?}\nlisten = \"{listen}\"\nhttp = \"{http}\"\n\n\
             [environment]\nSOFTHSM2_CONF = {conf}\n\n\
             [store]\nurl = {store:?}\n\n\
             [hsm]\nmodule = {module}\ntoken_label = \"chancery\"\npin = {{ file = {pin} }}\n\n\
             [audit]\njournal = {journal}\n\n\
             [ca.limits]\nper_caller = {{ count = 10_000_000, per_s = 3_600 }}\n\
             per_names = {{ count = 10_000_000, per_s = 3_600 }}\n\n\
             [identity]\noidc_loopback = true\n\n\
             [acme.validation]\ncaa = false\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\nresolvers = [{resolver}]\n\
             http01_port = {http01}\ntls_alpn01_port = {tls_alpn01}\n\n\
             [lifecycle]\ndelivery_roots = [\"/\"]\npassword_roots = [\"/\"]\nhook_roots = [\"/\"]\nretry_first_s = 2\n\
             {rotators}",
            zone = self.zone.as_str(),
            listen = self.listen,
            http = self.http,
            conf = quoted(&folder.at("token/softhsm2.conf")),
            store = format!("sqlite:{}", folder.at("chancery.db").display()),
            module = quoted(module),
            pin = quoted(&folder.at("token/pin")),
            journal = quoted(&folder.at("audit")),
            resolver = self
                .acme_resolver
                .map_or_else(String::new, |address| format!("\"{address}\"")),
            http01 = self.acme_http01_port,
            tls_alpn01 = self.acme_tls_alpn01_port,
            rotators = self.rotators(),
        );
        folder.write("chancery.toml", text.as_bytes(), 0o600)?;
        Config::read(&folder.at("chancery.toml")).map_err(wrong)
    }

    fn rotators(&self) -> String {
        let one = |(name, program): &(String, String)| {
            format!("\n[[rotator]]\nname = {name:?}\nexec = {{ command = [{program:?}] }}\n")
        };
        self.rotators.iter().map(one).collect()
    }
}

/// The folder of a try-out.
struct Folder(PathBuf);

impl Folder {
    fn open(dir: &Path) -> Result<Self> {
        let cannot = |e: std::io::Error| Failure::usage(format!("the folder `{}` cannot be used: {e}", dir.display()));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).map_err(cannot)?;
        let folder = Self(dir.canonicalize().map_err(cannot)?);
        builder.create(folder.at("token/tokens")).map_err(cannot)?;
        Ok(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Replaces a file as a whole.
    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let (path, partial) = (self.at(name), self.at(&format!("{name}.partial")));
        let _ = fs::remove_file(&partial);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&partial)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(|e| Failure::error(format!("`{}` cannot be written: {e}", path.display())))
    }

    /// SoftHSM's configuration and the PINs, made once. First the user's PIN, then the security officer's.
    fn pins(&self) -> Result<(SecretRef, SecretRef)> {
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            self.at("token/tokens").display()
        );
        self.write("token/softhsm2.conf", conf.as_bytes(), 0o600)?;
        for name in ["token/pin", "token/so-pin"] {
            if !self.at(name).exists() {
                let pin: [u8; 12] = entropy::bytes(&OsEntropy).map_err(failed)?;
                self.write(name, hex::encode(pin).as_bytes(), 0o600)?;
            }
        }
        Ok((
            SecretRef::File(self.at("token/pin")),
            SecretRef::File(self.at("token/so-pin")),
        ))
    }
}

/// Once the service serves: an administrator with a certificate, the vault, and the file to source.
async fn settle(folder: &Folder, vault: &Label, ready: Ready) -> crate::error::Result<()> {
    let write = |name: &str, bytes: &[u8]| {
        folder
            .write(name, bytes, 0o600)
            .map_err(|e| Error::unavailable(e.message().to_owned()))
    };
    let services = &ready.house.services;
    write("roots.pem", services.authority.roots_pem().as_bytes())?;
    write("audit.vkey", format!("{}\n", services.log.verifier_key()).as_bytes())?;
    let address = format!("https://{}", ready.listen);

    let admin = folder.at("admin");
    let agent = Agent::open(
        address.clone(),
        Some(folder.at("roots.pem")),
        &admin,
        Arc::new(SystemClock),
        Arc::new(OsEntropy),
        Box::new(|line| tracing::info!("administrator: {line}")),
    )
    .map_err(agent_failed)?;
    let now = services.gate.clock().now();
    let current = match agent.current().map_err(agent_failed)? {
        Some(current) if now < current.not_after => current,
        _ => {
            let id = services.identity.trust_domain().id("admin")?;
            let issued = enrollment::administrator_token(&services.gate, &services.enrollment, id, None).await?;
            let token = String::from_utf8(issued.token.expose().to_vec())
                .map_err(|_| Error::internal("a join token is not text"))?;
            agent
                .enroll(&Credential::Token(SecretText::new(token)))
                .await
                .map_err(agent_failed)?
        }
    };

    let client = Client::new(client::Settings {
        address: address.clone(),
        roots: folder.at("roots.pem"),
        identity: Some(client::IdentityFiles {
            certificate: admin.join(agent::FULL_CHAIN),
            key: admin.join(agent::KEY),
        }),
    })
    .map_err(client_failed)?;
    match client.create_vault(&wire::CreateVault::new(vault.clone())).await {
        Ok(_) => {}
        // It is there from an earlier run.
        Err(error) if error.kind() == client::Kind::Refused(Kind::Conflict) => {}
        Err(error) => return Err(client_failed(error)),
    }
    tokio::spawn(async move {
        if let Err(error) = agent.keep(current, None).await {
            tracing::error!(%error, "the administrator's certificate is not kept fresh");
        }
    });

    let directory = format!("{address}/acme/{}/directory", services.authority.name());
    let quoted = |path: PathBuf| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let env = [
        ("CHANCERY_ACME_DIRECTORY", directory),
        ("CHANCERY_ADDR", address),
        ("CHANCERY_HTTP", format!("http://{}", ready.http)),
        ("CHANCERY_CACERT", quoted(folder.at("roots.pem"))),
        ("CHANCERY_CLIENT_CERT", quoted(admin.join(agent::FULL_CHAIN))),
        ("CHANCERY_CLIENT_KEY", quoted(admin.join(agent::KEY))),
        ("CHANCERY_VAULT", vault.to_string()),
        ("CHANCERY_AUDIT_KEY", quoted(folder.at("audit.vkey"))),
    ]
    .map(|(name, value)| format!("export {name}={value}\n"))
    .concat();
    write("env", env.as_bytes())
}

fn agent_failed(error: agent::Error) -> Error {
    Error::unavailable("the administrator could not be enrolled").because(error)
}

fn client_failed(error: crate::client::Error) -> Error {
    Error::unavailable("the first vault could not be made").because(error)
}

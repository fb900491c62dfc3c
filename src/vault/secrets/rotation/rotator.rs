//! Rotators: what changes and tests a credential where it is used. They are the operator's, from the configuration.
//!
//! SECURITY: a caller of the API names a rotator and chooses neither program nor address. What a rotator writes or
//! answers is thrown away, because it may hold the values: only how it ended is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Step;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Label, ObjectName};
use crate::program::{self, Owner, Program};
use crate::secret::{Secret, SecretRef};
use crate::vault::cache::Key;
use crate::vault::secrets::version::Version;
use crate::webhook::Webhook;
use crate::wire;

/// No rotator may take longer, in seconds, or the lease would run out under it.
const LONGEST_S: u32 = 150;

/// A rotator in the configuration: a program or a webhook.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotatorSettings {
    /// What rotation policies call it.
    pub name: Label,
    /// The vaults whose secrets it rotates; all if it is left out.
    #[serde(default)]
    pub vaults: Option<Vec<Label>>,
    /// A program.
    #[serde(default)]
    pub exec: Option<ExecSettings>,
    /// A webhook.
    #[serde(default)]
    pub webhook: Option<WebhookSettings>,
}

/// A program that rotates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSettings {
    /// Its absolute path and its arguments. It is started directly, never through a shell.
    pub command: Vec<String>,
    /// The user, or `user:group`, that it runs as; the service's own if it is left out. Needs root.
    #[serde(default)]
    pub user: Option<String>,
    /// How long it may take, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
}

/// A webhook that rotates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where it is; `https`, or `http` on this machine itself.
    pub url: String,
    /// What its messages are signed with: 24 bytes at least, or `whsec_` and base64.
    pub key: SecretRef,
    /// A file with the roots that it is trusted by, PEM; the system's if it is left out.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How long an answer may take, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
}

const fn timeout_s() -> u32 {
    60
}

/// The rotators of the configuration, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Rotators(Arc<BTreeMap<Label, Rotator>>);

struct Rotator {
    vaults: Option<Vec<Label>>,
    way: Way,
}

enum Way {
    Exec {
        command: Vec<String>,
        user: Option<Owner>,
        limit: Duration,
    },
    Webhook(Box<Webhook>),
}

/// What a rotator is asked.
pub(super) struct Request<'a> {
    pub(super) step: Step,
    pub(super) key: &'a Key,
    pub(super) old: (&'a Version, &'a Secret),
    pub(super) new: (&'a Version, &'a Secret),
    pub(super) now: Timestamp,
}

/// The same, as it is read: from stdin, or as a webhook's body.
#[derive(Serialize)]
struct Asked<'a> {
    step: &'a str,
    vault: &'a Label,
    name: &'a ObjectName,
    token: String,
    old: wire::SecretValue,
    new: wire::SecretValue,
}

impl Rotators {
    /// Those of the configuration. Reads the keys of webhooks.
    ///
    /// # Errors
    /// `Invalid`, with the rotator's name and what is wrong.
    pub fn configured(settings: &[RotatorSettings]) -> Result<Self> {
        let mut rotators = BTreeMap::new();
        for settings in settings {
            let rotator = Rotator::configured(settings)
                .map_err(|e| Error::invalid(format!("rotator `{}`: {}", settings.name, e.public())))?;
            if rotators.insert(settings.name.clone(), rotator).is_some() {
                return Err(Error::invalid(format!(
                    "two rotators are named `{}`: give each its own name",
                    settings.name
                )));
            }
        }
        Ok(Self(Arc::new(rotators)))
    }

    /// Checks that there is this rotator, and that it may have secrets of this vault.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn admit(&self, name: &Label, vault: &Label) -> Result<()> {
        self.find(name, vault).map(drop)
    }

    fn find(&self, name: &Label, vault: &Label) -> Result<&Rotator> {
        let found = self.0.get(name);
        found
            .filter(|rotator| rotator.vaults.as_ref().is_none_or(|vaults| vaults.contains(vault)))
            .ok_or_else(|| {
                Error::invalid(format!(
                    "there is no rotator `{name}` for vault `{vault}`: name one that stands as `[[rotator]]` in the \
                     service's configuration"
                ))
            })
    }

    /// Asks a rotator to take a step, and waits until it has.
    ///
    /// # Errors
    /// `Invalid` if there is none or it cannot be started; `Unavailable` if it fails. No text holds what it said.
    pub(super) async fn ask(&self, name: &Label, request: Request<'_>) -> Result<()> {
        let rotator = self.find(name, &request.key.vault)?;
        let step = request.step.as_str();
        let (version, _) = request.new;
        let token = version.id.to_string();
        let body = request.body(&token)?;
        let failed = |why: String| {
            Error::unavailable(format!(
                "rotator `{name}` failed at step `{step}`: it {why}; what it wrote is not kept, look into its own log"
            ))
        };
        match &rotator.way {
            Way::Webhook(webhook) => {
                let id = format!("{token}-{step}");
                webhook
                    .post(&id, "application/json", body, request.now)
                    .await
                    .map_err(failed)
            }
            Way::Exec { command, user, limit } => {
                let ended = program::run(Program {
                    argv: command,
                    variables: vec![
                        ("CHANCERY_ROTATION_STEP", step.into()),
                        ("CHANCERY_ROTATION_TOKEN", token.into()),
                        ("CHANCERY_SECRET", request.key.name.as_str().into()),
                        ("CHANCERY_VAULT", request.key.vault.as_str().into()),
                    ],
                    input: Some(body),
                    user: *user,
                    keep_output: false,
                    limit: *limit,
                })
                .await
                .map_err(|e| Error::invalid(format!("rotator `{name}` cannot be started: {e}")).because(e))?;
                match ended.status {
                    Some(status) if status.success() => Ok(()),
                    Some(status) => Err(failed(format!("ended with {status}"))),
                    None => Err(failed(format!(
                        "did not end within {} s and was killed",
                        limit.as_secs()
                    ))),
                }
            }
        }
    }
}

impl Rotator {
    fn configured(settings: &RotatorSettings) -> Result<Self> {
        let limit = |seconds: u32| match seconds {
            1..=LONGEST_S => Ok(Duration::from_secs(u64::from(seconds))),
            _ => Err(Error::invalid(format!(
                "`timeout_s` is {seconds}: give 1 to {LONGEST_S}"
            ))),
        };
        let way = match (&settings.exec, &settings.webhook) {
            (Some(exec), None) => {
                if !exec.command.first().is_some_and(|path| Path::new(path).is_absolute()) {
                    return Err(Error::invalid(
                        "`command` does not begin with an absolute path: give the program's",
                    ));
                }
                Way::Exec {
                    command: exec.command.clone(),
                    user: exec.user.as_deref().map(Owner::resolve).transpose()?,
                    limit: limit(exec.timeout_s)?,
                }
            }
            (None, Some(webhook)) => Way::Webhook(Box::new(Webhook::new(
                &webhook.url,
                Some(&webhook.key.read()?),
                webhook.ca.as_deref(),
                limit(webhook.timeout_s)?,
            )?)),
            _ => return Err(Error::invalid("give either `exec` or `webhook`, one of them")),
        };
        Ok(Self {
            vaults: settings.vaults.clone(),
            way,
        })
    }
}

impl Request<'_> {
    fn body(&self, token: &str) -> Result<Zeroizing<Vec<u8>>> {
        let value = |(version, value): (&Version, &Secret)| {
            wire::SecretValue::new(self.key.name.clone(), version.id.to_string(), version.ordinal, value)
        };
        let asked = Asked {
            step: self.step.as_str(),
            vault: &self.key.vault,
            name: &self.key.name,
            token: token.to_owned(),
            old: value(self.old),
            new: value(self.new),
        };
        // SECURITY: large enough at once, so that no outgrown buffer is left behind: JSON makes six of a byte at most.
        let room = (self.old.1.len() + self.new.1.len()) * 6 + 8192;
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *body, &asked).map_err(|e| Error::internal("a rotator's request").because(e))?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(text: &str) -> Result<Rotators> {
        #[derive(Deserialize)]
        struct File {
            rotator: Vec<RotatorSettings>,
        }
        let file: File = toml::from_str(text).map_err(|e| Error::invalid(e.message().to_owned()))?;
        Rotators::configured(&file.rotator)
    }

    #[test]
    fn rotators_are_read_from_the_configuration() {
        let rotators = configured(
            "[[rotator]]\nname = 'db'\nvaults = ['kv-prod']\nexec = { command = ['/bin/true'] }\n\
             [[rotator]]\nname = 'all'\nexec = { command = ['/bin/true', 'x'], user = 'root:root', timeout_s = 5 }",
        )
        .unwrap();
        let admit = |name: &str, vault: &str| rotators.admit(&name.parse().unwrap(), &vault.parse().unwrap());
        admit("db", "kv-prod").unwrap();
        admit("all", "kv-other").unwrap();
        for (name, vault) in [("db", "kv-other"), ("none", "kv-prod")] {
            assert!(admit(name, vault).unwrap_err().public().contains("[[rotator]]"));
        }
    }

    #[test]
    fn what_is_wrong_with_one_is_said_with_its_name() {
        for (text, why) in [
            ("name = 'db'", "either `exec` or `webhook`"),
            ("name = 'db'\nexec = { command = ['true'] }", "absolute"),
            ("name = 'db'\nexec = { command = [] }", "absolute"),
            (
                "name = 'db'\nexec = { command = ['/bin/true'], timeout_s = 900 }",
                "1 to 150",
            ),
            (
                "name = 'db'\nexec = { command = ['/bin/true'], user = 'no-such-user' }",
                "no user",
            ),
            (
                "name = 'db'\nwebhook = { url = 'https://x.test/', key = { env = 'NO_SUCH_VARIABLE' } }",
                "NO_SUCH_VARIABLE",
            ),
        ] {
            let error = configured(&format!("[[rotator]]\n{text}")).map(drop).unwrap_err();
            assert!(error.public().contains(why), "{error}");
            assert!(error.public().contains("rotator `db`"), "{error}");
        }
        let twice = "[[rotator]]\nname = 'db'\nexec = { command = ['/bin/true'] }\n".repeat(2);
        assert!(
            configured(&twice)
                .map(drop)
                .unwrap_err()
                .public()
                .contains("two rotators")
        );
        let wrong = configured("[[rotator]]\nname = 'db'\nprogram = '/bin/true'").map(drop);
        assert!(wrong.unwrap_err().public().contains("program"));
    }
}

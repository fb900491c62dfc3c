//! A raw ACME client that signs whatever it is told to, so that a wrong request is a wrong request, and a small world
//! for validation to look at: names that lead to this machine, and a web server that answers challenges.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use chancery::key_type::KeyType;
use chancery::secret::Secret;
use chancery::surface::Peer;
use chancery::x509::name::Name;
use chancery::x509::{csr, key};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tower::ServiceExt;

/// How long a client looks for an end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A key of an account, with what stands for it in requests.
#[derive(Clone)]
pub struct Key {
    signer: Arc<Signer>,
    pub alg: &'static str,
    pub jwk: Value,
}

enum Signer {
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    pub fn es256() -> Self {
        Self::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256", "P-256", 32)
    }

    pub fn ec(algorithm: &'static EcdsaSigningAlgorithm, alg: &'static str, curve: &str, len: usize) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(len);
        let jwk = json!({"crv": curve, "kty": "EC", "x": b64(x), "y": b64(y)});
        Self {
            signer: Arc::new(Signer::Ec(pair)),
            alg,
            jwk,
        }
    }

    pub fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let jwk = json!({"crv": "Ed25519", "kty": "OKP", "x": b64(pair.public_key().as_ref())});
        Self {
            signer: Arc::new(Signer::Ed25519(pair)),
            alg: "EdDSA",
            jwk,
        }
    }

    pub fn rsa() -> Self {
        let pkcs8 = key::generate(KeyType::Rsa2048).unwrap();
        Self::rsa_from(RsaKeyPair::from_pkcs8(pkcs8.expose()).unwrap())
    }

    fn rsa_from(pair: RsaKeyPair) -> Self {
        let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
        let [n, e] = [n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero()].map(b64);
        let jwk = json!({"e": e, "kty": "RSA", "n": n});
        Self {
            signer: Arc::new(Signer::Rsa(pair)),
            alg: "RS256",
            jwk,
        }
    }

    /// The key of a certificate, PKCS #8.
    pub fn of_certificate(pkcs8: &[u8]) -> Self {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"crv": "P-256", "kty": "EC", "x": b64(x), "y": b64(y)});
        Self {
            signer: Arc::new(Signer::Ec(pair)),
            alg: "ES256",
            jwk,
        }
    }

    /// Itself, PKCS #8; for EC keys.
    pub fn pkcs8(&self) -> Option<Secret> {
        match &*self.signer {
            Signer::Ec(pair) => Some(Secret::new(pair.to_pkcs8v1().unwrap().as_ref().to_vec())),
            Signer::Ed25519(_) | Signer::Rsa(_) => None,
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &*self.signer {
            Signer::Ec(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    /// RFC 7638: every `jwk` here is written with its members in order.
    pub fn thumbprint(&self) -> String {
        b64(digest::digest(&digest::SHA256, self.jwk.to_string().as_bytes()).as_ref())
    }

    /// A flattened JWS.
    pub fn jws(&self, protected: &Value, payload: &str) -> Value {
        let (protected, payload) = (b64(protected.to_string().as_bytes()), b64(payload.as_bytes()));
        let signature = b64(&self.sign(format!("{protected}.{payload}").as_bytes()));
        json!({"protected": protected, "payload": payload, "signature": signature})
    }
}

pub fn b64(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The link of this relation.
    pub fn link(&self, relation: &str) -> Option<String> {
        let links = self.headers.get_all("link").iter().map(|link| link.to_str().unwrap());
        let mut found = links.filter_map(|link| link.strip_suffix(&format!(">;rel=\"{relation}\"")));
        found.next().map(|link| link.trim_start_matches('<').to_owned())
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// A problem of this status and type; the document.
    #[track_caller]
    pub fn problem(self, status: u16, kind: &str) -> Value {
        let answer = self.is(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(
            problem["type"],
            format!("urn:ietf:params:acme:error:{kind}"),
            "{problem}"
        );
        assert!(problem["detail"].is_string(), "{problem}");
        problem
    }
}

/// How requests get there.
#[derive(Clone)]
pub enum Transport {
    /// A service of another process.
    Https(reqwest::Client),
    /// The routes themselves.
    Routes(Router),
}

/// A client, with an account or without.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    pub directory: Value,
    pub key: Key,
    pub kid: Option<String>,
}

impl Client {
    /// Without an account.
    pub async fn new(transport: Transport, directory: &str) -> Self {
        let mut client = Self {
            transport,
            directory: Value::Null,
            key: Key::es256(),
            kid: None,
        };
        client.directory = client.request("GET", directory, &[], Vec::new()).await.is(200).json();
        client
    }

    /// The same with another key and an account of its own.
    pub async fn registered(&self, key: Key) -> Self {
        let mut client = Self {
            key,
            kid: None,
            ..self.clone()
        };
        let answer = client
            .post(&client.url("newAccount"), &json!({"termsOfServiceAgreed": true}))
            .await;
        client.kid = Some(answer.is(201).header("location").to_owned());
        client
    }

    /// The same key without naming its account.
    pub fn by_key(&self) -> Self {
        Self {
            kid: None,
            ..self.clone()
        }
    }

    /// As the account at which an answer points.
    pub fn at(&self, answer: &Answer) -> Self {
        Self {
            kid: Some(answer.header("location").to_owned()),
            ..self.clone()
        }
    }

    /// The same by another way.
    pub fn over(&self, transport: Transport) -> Self {
        Self {
            transport,
            ..self.clone()
        }
    }

    /// Another key that says it is this account.
    pub fn with_key(&self, key: Key) -> Self {
        Self { key, ..self.clone() }
    }

    /// Of the directory.
    pub fn url(&self, name: &str) -> String {
        self.directory[name].as_str().unwrap().to_owned()
    }

    pub async fn nonce(&self) -> String {
        let answer = self
            .request("HEAD", &self.url("newNonce"), &[], Vec::new())
            .await
            .is(200);
        answer.header("replay-nonce").to_owned()
    }

    /// The protected header of a request to `url`.
    pub async fn protected(&self, url: &str) -> Value {
        let mut protected = json!({"alg": self.key.alg, "nonce": self.nonce().await, "url": url});
        match &self.kid {
            Some(kid) => protected["kid"] = json!(kid),
            None => protected["jwk"] = self.key.jwk.clone(),
        }
        protected
    }

    /// A POST with a JSON payload.
    pub async fn post(&self, url: &str, payload: &Value) -> Answer {
        let protected = self.protected(url).await;
        self.send(url, &self.key.jws(&protected, &payload.to_string())).await
    }

    /// The same to a service that may end meanwhile.
    pub async fn try_post(&self, url: &str, payload: &Value) -> Option<StatusCode> {
        let Transport::Https(client) = &self.transport else {
            return Some(self.post(url, payload).await.status);
        };
        let jws = self
            .key
            .jws(&self.protected(url).await, &payload.to_string())
            .to_string();
        let request = client
            .post(url)
            .header("content-type", "application/jose+json")
            .body(jws);
        Some(request.send().await.ok()?.status())
    }

    /// A POST-as-GET.
    pub async fn get(&self, url: &str) -> Answer {
        let protected = self.protected(url).await;
        self.send(url, &self.key.jws(&protected, "")).await
    }

    /// Whatever JWS it is.
    pub async fn send(&self, url: &str, jws: &Value) -> Answer {
        let headers = [("content-type", "application/jose+json")];
        self.request("POST", url, &headers, jws.to_string().into_bytes()).await
    }

    /// Whatever request it is.
    pub async fn request(&self, method: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        match &self.transport {
            Transport::Https(client) => {
                let mut request = client.request(method.parse().unwrap(), url).body(body);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let answer = request.send().await.unwrap();
                Answer {
                    status: answer.status(),
                    headers: answer.headers().clone(),
                    body: answer.bytes().await.unwrap().to_vec(),
                }
            }
            Transport::Routes(routes) => {
                let (host, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
                let mut request = Request::builder()
                    .method(method)
                    .uri(format!("/{path}"))
                    .header("host", host);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let peer = Peer {
                    chain: Arc::new([]),
                    addr: SocketAddr::from(([127, 0, 0, 1], 40_002)),
                };
                let request = request.extension(peer).body(Body::from(body)).unwrap();
                let answer = routes.clone().oneshot(request).await.unwrap();
                let (parts, body) = answer.into_parts();
                Answer {
                    status: parts.status,
                    headers: parts.headers,
                    body: axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec(),
                }
            }
        }
    }

    /// Places an order for host names; its URL and itself.
    pub async fn order(&self, names: &[&str]) -> (String, Value) {
        let identifiers: Vec<Value> = names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
        let answer = self
            .post(&self.url("newOrder"), &json!({ "identifiers": identifiers }))
            .await
            .is(201);
        (answer.header("location").to_owned(), answer.json())
    }

    /// Answers the http-01 challenges of an order and waits until it is ready.
    pub async fn authorize(&self, world: &World, order: &str) {
        let placed = self.get(order).await.is(200).json();
        for authorization in placed["authorizations"].as_array().unwrap() {
            let authorization = self.get(authorization.as_str().unwrap()).await.is(200).json();
            if authorization["status"] != "pending" {
                continue;
            }
            let challenge = challenge(&authorization, "http-01");
            world.answer(challenge["token"].as_str().unwrap(), &self.key.thumbprint());
            self.post(challenge["url"].as_str().unwrap(), &json!({})).await.is(200);
        }
        self.until(order, "ready").await;
    }

    /// Looks until it has this status.
    pub async fn until(&self, url: &str, status: &str) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let seen = self.get(url).await.is(200).json();
            if seen["status"] == status {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "it is not {status}: {seen}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Finalizes a ready order by a fresh key.
    pub async fn finalize(&self, order: &str, names: &[&str]) -> (Answer, Vec<u8>) {
        let (request, key) = request(names);
        (
            self.post(&format!("{order}/finalize"), &json!({ "csr": b64(&request) }))
                .await,
            key,
        )
    }

    /// A whole order; the order's URL, the chain in PEM and the certificate's key.
    pub async fn certificate(&self, world: &World, names: &[&str]) -> (String, String, Vec<u8>) {
        let (url, _) = self.order(names).await;
        self.authorize(world, &url).await;
        let (answer, key) = self.finalize(&url, names).await;
        let order = answer.is(200).json();
        let chain = self.get(order["certificate"].as_str().unwrap()).await.is(200);
        (url, chain.text(), key)
    }
}

/// A certificate request for host names and addresses, DER, and its key, PKCS #8.
pub fn request(names: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let names: Vec<Name> = names.iter().map(|name| name.parse().unwrap()).collect();
    let key = key::generate(KeyType::EcP256).unwrap();
    (csr::create(&key, &names).unwrap(), key.expose().to_vec())
}

/// The challenge of this type.
#[track_caller]
pub fn challenge(authorization: &Value, kind: &str) -> Value {
    let challenges = authorization["challenges"].as_array().unwrap();
    let found = challenges.iter().find(|challenge| challenge["type"] == kind);
    found
        .unwrap_or_else(|| panic!("there is no {kind}: {authorization}"))
        .clone()
}

/// What validation finds: a DNS server by which every name leads to this machine, and a web server on it.
#[derive(Clone)]
pub struct World {
    pub dns: SocketAddr,
    pub http: SocketAddr,
    files: Arc<Mutex<HashMap<String, String>>>,
    records: Records,
}

/// By name and type, what each says.
type Records = Arc<Mutex<HashMap<(String, u16), Vec<Vec<u8>>>>>;

const TXT: u16 = 16;
const CAA: u16 = 257;

impl World {
    pub async fn start() -> Self {
        let dns = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = Self {
            dns: dns.local_addr().unwrap(),
            http: http.local_addr().unwrap(),
            files: Arc::default(),
            records: Arc::default(),
        };
        tokio::spawn(serve_dns(dns, world.records.clone()));
        tokio::spawn(serve_http(http, world.files.clone()));
        world
    }

    /// One for the whole test program, on a runtime of its own.
    pub fn shared() -> Self {
        static SHARED: OnceLock<World> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                let (tell, told) = std::sync::mpsc::channel();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        tell.send(Self::start().await).unwrap();
                        std::future::pending::<()>().await;
                    });
                });
                told.recv().unwrap()
            })
            .clone()
    }

    /// The web server answers a challenge (RFC 8555 §8.3).
    pub fn answer(&self, token: &str, thumbprint: &str) {
        self.serve(token, &format!("{token}.{thumbprint}"));
    }

    /// The web server has this file for a challenge.
    pub fn serve(&self, token: &str, content: &str) {
        self.files.lock().unwrap().insert(token.to_owned(), content.to_owned());
    }

    /// A name has this text record.
    pub fn text(&self, name: &str, text: &str) {
        self.add(
            name,
            TXT,
            [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat(),
        );
    }

    /// A name has this CAA record (RFC 8659 §4.1).
    pub fn caa(&self, name: &str, tag: &str, value: &str) {
        let tag_len = u8::try_from(tag.len()).unwrap();
        self.add(name, CAA, [&[0, tag_len], tag.as_bytes(), value.as_bytes()].concat());
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) {
        let mut records = self.records.lock().unwrap();
        records.entry((name.to_ascii_lowercase(), kind)).or_default().push(data);
    }
}

async fn serve_http(listener: TcpListener, files: Arc<Mutex<HashMap<String, String>>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        let files = files.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            let mut chunk = [0; 4096];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut chunk).await {
                    Ok(read) if read > 0 => head.extend_from_slice(&chunk[..read]),
                    _ => return,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
            let file = files.lock().unwrap().get(token).cloned();
            let (status, body) = file.map_or(("404 Not Found", String::new()), |file| ("200 OK", file));
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

/// Answers A with this machine, everything else with what was set.
async fn serve_dns(socket: UdpSocket, records: Records) {
    let mut query = [0; 1500];
    while let Ok((len, from)) = socket.recv_from(&mut query).await {
        let query = &query[..len];
        let mut name = Vec::new();
        let mut at = 12;
        while let Some(label) = query.get(at).map(|len| usize::from(*len)).filter(|len| *len > 0) {
            let Some(text) = query.get(at + 1..at + 1 + label) else {
                break;
            };
            name.push(String::from_utf8_lossy(text).to_ascii_lowercase());
            at += 1 + label;
        }
        let Some(question) = query.get(12..at + 5) else {
            continue;
        };
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let answers: Vec<Vec<u8>> = match kind {
            1 => vec![vec![127, 0, 0, 1]],
            _ => records
                .lock()
                .unwrap()
                .get(&(name.join("."), kind))
                .cloned()
                .unwrap_or_default(),
        };
        // A recursive server's answer without an error.
        let mut answer = [&query[..2], &[0x81, 0x80, 0, 1]].concat();
        answer.extend(u16::try_from(answers.len()).unwrap().to_be_bytes());
        answer.extend([0, 0, 0, 0]);
        answer.extend_from_slice(question);
        for data in answers {
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0]);
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        let _ = socket.send_to(&answer, from).await;
    }
}

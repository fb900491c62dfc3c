//! A load of HTTPS requests over connections that are kept, one request at a time on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where the requests go, and as whom.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub host: String,
    /// None for plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    pub headers: Vec<(&'static str, String)>,
    /// What a body is.
    pub content_type: &'static str,
    /// What is shorter is no answer to count.
    pub least_bytes: usize,
    /// The server's process, whose processor time is measured.
    pub pid: u32,
}

/// One request, made anew for its number.
pub struct Shot {
    pub method: Method,
    pub path: String,
    pub body: Bytes,
}

/// What a run showed.
pub struct Figures {
    pub connections: usize,
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// The server's processor time, for each request.
    pub cpu: Duration,
}

impl Target {
    /// A connection that is kept.
    pub async fn connect(&self) -> Sender {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).unwrap();
                let connector = TlsConnector::from(tls.clone());
                speak(connector.connect(name, tcp).await.unwrap()).await
            }
            None => speak(tcp).await,
        }
    }

    /// One request and its answer, whatever it is.
    pub async fn exchange(&self, sender: &mut Sender, shot: Shot) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::builder()
            .method(shot.method)
            .uri(shot.path)
            .header("host", format!("{}:{}", self.host, self.address.port()));
        if !shot.body.is_empty() {
            request = request.header("content-type", self.content_type);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(shot.body)).unwrap();
        sender.ready().await.unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes())
    }

    pub async fn shoot(&self, sender: &mut Sender, shot: Shot) -> Bytes {
        let (status, _, body) = self.exchange(sender, shot).await;
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        assert!(body.len() >= self.least_bytes, "an answer of {} bytes", body.len());
        body
    }

    /// One request on a connection of its own.
    pub async fn once(&self, shot: Shot) -> Bytes {
        self.shoot(&mut self.connect().await, shot).await
    }
}

/// A connection to send on.
pub type Sender = SendRequest<Full<Bytes>>;

async fn speak(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Sender {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// The processor time that a process has used so far.
pub fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may hold anything (proc_pid_stat(5)); 100 ticks a second on every Linux of today.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Shoots on `connections` at once for `time`, after a tenth of it as warm-up.
pub async fn run(
    target: &Target,
    connections: usize,
    time: Duration,
    shot: impl Fn(usize, u64) -> Shot + Clone + Send + 'static,
) -> Figures {
    let start = Instant::now() + time / 10;
    let end = start + time;
    let watched = target.clone();
    let tasks: Vec<_> = (0..connections)
        .map(|connection| {
            let (target, shot) = (target.clone(), shot.clone());
            tokio::spawn(async move {
                let mut sender = target.connect().await;
                let mut taken = Vec::new();
                let mut n = 0;
                while Instant::now() < end {
                    let before = Instant::now();
                    target.shoot(&mut sender, shot(connection, n)).await;
                    n += 1;
                    if before >= start {
                        taken.push(before.elapsed());
                    }
                }
                taken
            })
        })
        .collect();
    tokio::time::sleep_until(start.into()).await;
    figures(&watched, connections, time, tasks).await
}

/// Opens a connection, sends one request and closes it, again and again.
pub async fn connect_again(
    target: &Target,
    connections: usize,
    time: Duration,
    shot: impl Fn() -> Shot + Clone + Send + 'static,
) -> Figures {
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (target, shot) = (target.clone(), shot.clone());
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while Instant::now() < end {
                    let before = Instant::now();
                    target.once(shot()).await;
                    taken.push(before.elapsed());
                }
                taken
            })
        })
        .collect();
    figures(target, connections, time, tasks).await
}

/// Waits for tasks that take times for `time` from now on.
pub async fn figures(
    target: &Target,
    connections: usize,
    time: Duration,
    tasks: Vec<tokio::task::JoinHandle<Vec<Duration>>>,
) -> Figures {
    let before = cpu_of(target.pid);
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    let cpu = cpu_of(target.pid) - before;
    of(connections, time, cpu, taken)
}

/// What the times show that were taken one by one.
pub fn of(connections: usize, time: Duration, cpu: Duration, mut taken: Vec<Duration>) -> Figures {
    taken.sort_unstable();
    let at = |part: usize| {
        taken
            .get(taken.len().saturating_sub(1) * part / 100)
            .copied()
            .unwrap_or_default()
    };
    Figures {
        connections,
        per_second: taken.len() as f64 / time.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        cpu: cpu / u32::try_from(taken.len().max(1)).unwrap(),
    }
}

impl Figures {
    pub fn print(&self, what: &str) {
        println!(
            "{what:<34} {:>3} connections {:>9.0}/s   p50 {:>7.2} ms   p99 {:>7.2} ms   cpu {:>5.2} ms",
            self.connections,
            self.per_second,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.cpu.as_secs_f64() * 1e3,
        );
    }
}

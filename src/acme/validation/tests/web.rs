//! HTTP servers on loopback: one that answers what a test says, and one that does to its connections what a test says.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct Web {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<(String, SocketAddr)>>>,
}

impl Web {
    /// Answers by `reply`, which gets the path; everywhere on 127.0.0.1 where a port is free.
    pub(super) async fn start(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), reply).await.unwrap()
    }

    pub(super) async fn at(
        address: SocketAddr,
        reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, peer)) = listener.accept().await {
                let head = read_head(&mut stream).await;
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push((head, peer));
                let _ = stream.write_all(&reply(&path)).await;
                let _ = stream.shutdown().await;
            }
        });
        Ok(Self { address, seen })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The heads of the requests so far.
    pub(super) fn heads(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(head, _)| head.clone()).collect()
    }

    pub(super) fn peers(&self) -> Vec<SocketAddr> {
        self.seen.lock().unwrap().iter().map(|(_, peer)| *peer).collect()
    }
}

/// A server that does `act` to each connection; its address.
pub(super) async fn hostile<F>(act: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(act(stream));
        }
    });
    address
}

pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    // What begins like TLS has no end that we know.
    while !head.ends_with(b"\r\n\r\n") && head != [22] {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub(super) fn ok(body: &str) -> Vec<u8> {
    status(200, "", body)
}

pub(super) fn redirect(to: &str) -> Vec<u8> {
    status(302, &format!("Location: {to}\r\n"), "elsewhere")
}

pub(super) fn status(code: u16, header: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {code} X\r\n{header}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

//! Syslog: RFC 5424 messages, to a socket of this host, by UDP (RFC 5426) or TCP (RFC 6587 §3.4.1, octets counted).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};

use super::Batch;

/// Facility 13 (log audit), severity 6 (informational).
const PRIORITY: u32 = 13 * 8 + 6;
/// The longest message that fits into a datagram over IP.
const LONGEST_UDP: usize = 65_000;

pub(super) enum Syslog {
    Socket { path: PathBuf, open: Option<UnixDatagram> },
    Udp { to: SocketAddr, open: Option<UdpSocket> },
    Tcp { to: SocketAddr, open: Option<TcpStream> },
}

impl Syslog {
    /// Sends a batch. On an error it is sent again from its first record on.
    pub(super) async fn send(&mut self, batch: &Batch) -> std::io::Result<()> {
        // What is not put back after an error is opened anew.
        match self {
            Self::Socket { path, open } => {
                let socket = match open.take() {
                    Some(socket) => socket,
                    None => {
                        let socket = UnixDatagram::unbound()?;
                        socket.connect(&*path)?;
                        socket
                    }
                };
                for message in messages(batch, usize::MAX) {
                    socket.send(&message).await?;
                }
                *open = Some(socket);
            }
            Self::Udp { to, open } => {
                let socket = match open.take() {
                    Some(socket) => socket,
                    None => {
                        let any: SocketAddr = match to {
                            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                        };
                        let socket = UdpSocket::bind(any).await?;
                        socket.connect(*to).await?;
                        socket
                    }
                };
                for message in messages(batch, LONGEST_UDP) {
                    socket.send(&message).await?;
                }
                *open = Some(socket);
            }
            Self::Tcp { to, open } => {
                let mut stream = match open.take().filter(is_open) {
                    Some(stream) => stream,
                    None => TcpStream::connect(*to).await?,
                };
                let mut bytes = Vec::new();
                for message in messages(batch, usize::MAX) {
                    bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
                    bytes.extend_from_slice(&message);
                }
                stream.write_all(&bytes).await?;
                *open = Some(stream);
            }
        }
        Ok(())
    }
}

/// Whether the other side has not closed it. What is sent into a closed one is lost and nobody says so.
fn is_open(stream: &TcpStream) -> bool {
    let mut some = [0; 64];
    match stream.try_read(&mut some) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// The messages of a batch. Of a record that does not fit, its place in the log alone.
fn messages(batch: &Batch, longest: usize) -> impl Iterator<Item = Vec<u8>> {
    (batch.first..).zip(&batch.records).map(move |(index, record)| {
        let time = time_of(record);
        let header = format!(
            "<{PRIORITY}>1 {} {} chancery {} audit - ",
            time.as_deref().unwrap_or("-"),
            batch.node,
            std::process::id()
        );
        let message = [header.as_bytes(), &batch.line(index, record)].concat();
        match message.len() <= longest {
            true => message,
            false => [header.as_bytes(), &batch.line(index, b"null")].concat(),
        }
    })
}

fn time_of(record: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Timed {
        time: String,
    }
    let Timed { time } = serde_json::from_slice(record).ok()?;
    // A time that no date has is written otherwise.
    (!time.starts_with('@')).then_some(time)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::audit::forward::tests::batch;

    fn expected(index: u64) -> String {
        let batch = batch(index, 1);
        format!(
            "<110>1 2026-11-24T08:35:25.042Z n1 chancery {} audit - {}",
            std::process::id(),
            String::from_utf8(batch.line(index, &batch.records[0])).unwrap()
        )
    }

    #[tokio::test]
    async fn each_record_is_a_message_on_every_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::Socket { path, open: None };
        syslog.send(&batch(4, 2)).await.unwrap();
        let mut bytes = vec![0; 4096];
        for index in [4, 5] {
            let read = socket.recv(&mut bytes).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes[..read]), expected(index));
        }

        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = socket.local_addr().unwrap();
        let mut syslog = Syslog::Udp { to, open: None };
        syslog.send(&batch(4, 1)).await.unwrap();
        let read = socket.recv(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes[..read]), expected(4));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut syslog = Syslog::Tcp { to, open: None };
        syslog.send(&batch(4, 2)).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let (one, two) = (expected(4), expected(5));
        let text = format!("{} {one}{} {two}", one.len(), two.len());
        let mut read = vec![0; text.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), text);
        drop(stream);

        // The other side went away: the next batch goes over a new connection.
        if let Syslog::Tcp { open: Some(stream), .. } = &syslog {
            stream.readable().await.unwrap();
        }
        syslog.send(&batch(6, 1)).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; expected(6).len()];
        stream.read_exact(&mut read).await.unwrap();
    }

    #[test]
    fn what_no_datagram_holds_leaves_its_place() {
        let mut long = batch(7, 1);
        long.records[0] = vec![b'x'; LONGEST_UDP];
        let message = messages(&long, LONGEST_UDP).next().unwrap();
        let text = String::from_utf8(message).unwrap();
        assert!(text.ends_with(r#"{"node":"n1","index":7,"record":null}"#), "{text}");
    }
}

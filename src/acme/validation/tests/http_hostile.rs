//! http-01 with servers that mean harm: each ends with a clear failure, in bounded time and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::name_server::{NameServer, address};
use super::web::{hostile, read_head};
use super::*;

async fn look<F>(act: impl Fn(TcpStream) -> F + Send + 'static, timeout_s: u64) -> Result<Proof, Failure>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let at = hostile(act).await;
    let names = NameServer::with(vec![address("x.test", "127.0.0.1")]).await;
    let more = format!("http01_port = {}\ntimeout_s = {timeout_s}", at.port());
    ask(&validator(&settings(&names, &more)), Method::Http01, "x.test").await
}

#[tokio::test]
async fn row_71_an_endless_body_is_not_read_to_its_end() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let result = look(
        move |mut stream| {
            let sent = counted.clone();
            async move {
                read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                    sent.fetch_add(4096, Ordering::SeqCst);
                }
            }
        },
        10,
    )
    .await;
    assert_failure(
        result,
        FailureKind::IncorrectResponse,
        &["more than 4096 bytes", "`xxx"],
    );
    // What the kernel's buffers hold may have been sent, nothing near an endless stream.
    assert!(sent.load(Ordering::SeqCst) < 64 << 20);
}

#[tokio::test]
async fn row_71_a_body_that_says_it_is_huge_is_not_waited_for() {
    let result = look(
        |mut stream| async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n")
                .await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        },
        10,
    )
    .await;
    let kind = result.unwrap_err().kind;
    assert!(
        matches!(kind, FailureKind::IncorrectResponse | FailureKind::Connection),
        "{kind:?}"
    );
}

#[tokio::test]
async fn row_71_a_slow_drip_ends_with_the_time_for_it() {
    let drip = |head: &'static [u8]| {
        move |mut stream: TcpStream| async move {
            read_head(&mut stream).await;
            stream.write_all(head).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    for head in [
        &b"HTTP/1.1 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 ",
    ] {
        assert_failure(
            look(drip(head), 1).await,
            FailureKind::Connection,
            &["did not answer in full within 1 s"],
        );
    }
}

#[tokio::test]
async fn row_71_a_server_that_says_nothing_ends_with_the_time_for_it() {
    let result = look(
        |mut stream| async move {
            stream.read_to_end(&mut Vec::new()).await?;
            Ok(())
        },
        1,
    )
    .await;
    assert_failure(result, FailureKind::Connection, &["did not answer in full within 1 s"]);
}

#[tokio::test]
async fn row_71_huge_and_many_header_fields_are_not_read() {
    for field in [format!("X: {}\r\n", "x".repeat(60_000)), "X: x\r\n".repeat(10_000)] {
        let field = Arc::new(field);
        let result = look(
            move |mut stream| {
                let field = field.clone();
                async move {
                    read_head(&mut stream).await;
                    stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                    stream.write_all(field.as_bytes()).await?;
                    stream.write_all(b"\r\nx").await?;
                    stream.shutdown().await
                }
            },
            10,
        )
        .await;
        assert_failure(result, FailureKind::Connection, &["did not answer in HTTP/1.1"]);
    }
}

#[tokio::test]
async fn row_71_what_is_not_http_is_said() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x16\x03\x01\x00\xa5\x01",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
    ] {
        let result = look(
            move |mut stream| async move {
                read_head(&mut stream).await;
                stream.write_all(answer).await?;
                stream.shutdown().await
            },
            10,
        )
        .await;
        assert_failure(result, FailureKind::Connection, &["x.test"]);
    }
}

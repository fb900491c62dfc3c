//! A connection to PostgreSQL that can be lost without PostgreSQL noticing.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Carries connections to a database until it is cut; those made afterwards, too.
pub struct Wire {
    /// The database's, by this way.
    pub url: String,
    cut: watch::Sender<u32>,
}

impl Wire {
    /// A wire to the database at `url`, as [`super::postgres::Postgres::database`] gives it.
    pub async fn to(url: &str) -> Self {
        let (server, database) = url.rsplit_once('/').unwrap();
        let port: u16 = server.rsplit_once(':').unwrap().1.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (cut, cuts) = watch::channel(0);
        let own = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {
                            drop(near);
                            // The far end stays open, as behind a network that lost only the way back.
                            tokio::time::sleep(Duration::from_secs(30)).await;
                        }
                    }
                });
            }
        });
        Self {
            url: format!("postgres://postgres@127.0.0.1:{own}/{database}"),
            cut,
        }
    }

    /// Cuts every connection that there is now.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

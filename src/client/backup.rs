//! The native API's backups of the whole service.

use std::time::Duration;

use hyper::body::Bytes;
use reqwest::{Method, Response};

use super::{Client, Result};
use crate::wire::paths;

/// How long a backup may take to come over.
const TIMEOUT: Duration = Duration::from_secs(6 * 3600);

/// A file that is coming in.
pub struct Incoming<'a> {
    client: &'a Client,
    answer: Response,
}

impl Client {
    /// Has a backup of the whole service made.
    pub async fn create_backup(&self) -> Result<Incoming<'_>> {
        let request = self.request(Method::POST, paths::route::BACKUPS).timeout(TIMEOUT);
        let answer = self.exchange(request).await?;
        Ok(Incoming { client: self, answer })
    }
}

impl Incoming<'_> {
    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.answer.chunk().await.map_err(|e| self.client.unreachable(e))
    }
}

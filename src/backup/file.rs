//! The file: its head, its chunks and its end.
//!
//! ```text
//! "chancery service backup\n" | 01 | length (4) | header, JSON | wrapped key (60)
//! for each chunk: length (4), the highest bit set on the last one | ciphertext and tag
//! SHA-256 (32) of all before
//! ```
//!
//! The header stands in the clear, for whoever keeps backups, and is bound to the key: with another header the chunks do
//! not open. The hash at the end is for those without the token: it finds a copy that was damaged, not one that somebody
//! changed.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::item::{Counts, Head, Item, Kind, OldLog, unknown, unpack};
use crate::error::{Error, Result};
use crate::hsm::Hsm;
use crate::seal::{CHUNK_OVERHEAD, STREAM_KEY_LEN, Sealer, StreamOpener, StreamSealer, open_stream};

const MAGIC: &[u8; 24] = b"chancery service backup\n";
const VERSION: u8 = 1;
/// Of plaintext; all but the last one have as much.
const CHUNK: usize = 256 * 1024;
const LAST: u32 = 1 << 31;
/// A header is a few kilobytes long.
const MAX_HEADER: usize = 1024 * 1024;
/// The longest item: more than any row has.
const MAX_ITEM: usize = 1 << 30;
const HASH: usize = 32;
/// How long whoever reads a backup may take for a chunk: the database keeps what is deleted meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a backup says of itself in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its id, which the audit log knows it by.
    pub id: String,
    /// When it was made.
    pub made: String,
    /// The release that made it.
    pub release: String,
    /// The zone of the service.
    pub zone: String,
    /// The node that made it.
    pub node: String,
    /// The token label of the key that it opens by.
    pub kek: String,
    /// The newest checkpoint of the node's audit log then, a signed note: it covers the record of the backup's beginning.
    pub checkpoint: String,
    /// The migrations that made the database's schema.
    pub schema: Vec<String>,
}

/// Writes a file into a channel, a piece at a time.
pub(super) struct Writer {
    to: mpsc::Sender<Vec<u8>>,
    sealer: StreamSealer,
    plain: Vec<u8>,
    hash: Context,
    bytes: u64,
}

impl Writer {
    /// Sends the head.
    pub(super) async fn begin(to: mpsc::Sender<Vec<u8>>, header: &Header, sealer: &Sealer) -> Result<Self> {
        let kek = &header.kek;
        let header = serde_json::to_vec(header).map_err(|e| Error::internal("a header is not JSON").because(e))?;
        let (stream, wrapped) = sealer.stream(kek, &binding(&header)).await?;
        let mut head = MAGIC.to_vec();
        head.push(VERSION);
        head.extend(length(&header)?.to_be_bytes());
        head.extend(&header);
        head.extend(wrapped);
        let mut writer = Self {
            to,
            sealer: stream,
            plain: Vec::with_capacity(CHUNK + CHUNK_OVERHEAD),
            hash: Context::new(&SHA256),
            bytes: 0,
        };
        writer.send(head).await?;
        Ok(writer)
    }

    /// Adds an item.
    pub(super) async fn item(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        let mut head = vec![kind as u8];
        head.extend(length(payload)?.to_be_bytes());
        self.put(&head).await?;
        self.put(payload).await
    }

    /// Sends what is left. Returns the file's hash, which stands at its end, and its length.
    pub(super) async fn finish(mut self, counts: Counts) -> Result<(String, u64)> {
        self.item(Kind::End, &json(&counts)?).await?;
        self.chunk(true).await?;
        let hash = self.hash.clone().finish();
        self.send(hash.as_ref().to_vec()).await?;
        Ok((hex::encode(hash.as_ref()), self.bytes))
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let room = CHUNK.saturating_sub(self.plain.len());
            let (some, rest) = left.split_at(room.min(left.len()));
            self.plain.extend_from_slice(some);
            left = rest;
            if self.plain.len() == CHUNK {
                self.chunk(false).await?;
            }
        }
        Ok(())
    }

    async fn chunk(&mut self, is_last: bool) -> Result<()> {
        self.sealer.seal(&mut self.plain, is_last)?;
        let head = length(&self.plain)? | if is_last { LAST } else { 0 };
        let mut sealed = head.to_be_bytes().to_vec();
        sealed.append(&mut self.plain);
        self.send(sealed).await
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.hash.update(&bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match tokio::time::timeout(PATIENCE, self.to.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::unavailable(
                "whoever asked for the backup went away before its end",
            )),
            Err(_) => Err(Error::unavailable(
                "whoever asked for the backup took too long to read it",
            )),
        }
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::internal("a part of a backup is not JSON").because(e))
}

fn length(bytes: &[u8]) -> Result<u32> {
    let length = u32::try_from(bytes.len()).map_err(|e| Error::internal("a part is too long").because(e))?;
    match length < LAST {
        true => Ok(length),
        false => Err(Error::internal("a part is too long")),
    }
}

/// What the key is wrapped for: this header of this format.
fn binding(header: &[u8]) -> Vec<u8> {
    let mut binding = MAGIC.to_vec();
    binding.push(VERSION);
    binding.extend(header);
    binding
}

/// A file whose head was read.
pub struct Sealed<R> {
    chunks: Chunks<R>,
    header: Header,
    binding: Vec<u8>,
    wrapped: Vec<u8>,
}

struct Chunks<R> {
    from: R,
    hash: Context,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Sealed<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// `Conflict` if it is no backup of a service, cut off, or of a format that is not known here.
    pub async fn open(from: R) -> Result<Self> {
        let mut chunks = Chunks {
            from,
            hash: Context::new(&SHA256),
            ended: false,
        };
        let not_one = || Error::conflict("that is no backup of a service: give the file that `backup create` wrote");
        let head = chunks.take(MAGIC.len() + 1).await.map_err(|_| not_one())?;
        let version = head.strip_prefix(MAGIC).and_then(<[u8]>::first).ok_or_else(not_one)?;
        if *version != VERSION {
            return Err(Error::conflict(format!(
                "the backup is of format {version}, and this release knows format {VERSION}: use the release that wrote it"
            )));
        }
        let length = chunks.number().await?;
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_HEADER);
        let header = chunks.take(length.ok_or_else(not_one)?).await?;
        let wrapped = chunks.take(STREAM_KEY_LEN).await?;
        Ok(Self {
            chunks,
            binding: binding(&header),
            header: serde_json::from_slice(&header).map_err(|e| not_one().because(e))?,
            wrapped,
        })
    }

    /// What it says of itself. Only [`Self::unseal`] proves it.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the file is as long as it should be, and has the hash that stands at its end, which is returned. No token
    /// is needed, so this finds damage, but not a change that somebody made on purpose.
    ///
    /// # Errors
    /// `Conflict` if it is damaged or cut off.
    pub async fn check(mut self) -> Result<String> {
        let mut chunk = Vec::new();
        while self.chunks.next(&mut chunk).await?.is_some_and(|is_last| !is_last) {}
        self.chunks.end().await
    }

    /// Opens it by the token that it was made with.
    ///
    /// # Errors
    /// `Conflict` if it was made with another token, or its head was changed; `Unavailable` if the token does not answer.
    pub async fn unseal(self, hsm: &Hsm) -> Result<Opened<R>> {
        let opener = open_stream(hsm, &self.header.kek, &self.binding, &self.wrapped).await?;
        Ok(Opened {
            chunks: self.chunks,
            header: self.header,
            opener,
            plain: Vec::new(),
            at: 0,
            counts: Counts::default(),
        })
    }
}

/// A file that is being read.
pub struct Opened<R> {
    chunks: Chunks<R>,
    header: Header,
    opener: StreamOpener,
    plain: Vec<u8>,
    at: usize,
    counts: Counts,
}

impl<R: AsyncRead + Unpin> Opened<R> {
    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next part; none once the whole file was read, and was found to be whole.
    ///
    /// # Errors
    /// `Conflict` if it was changed, is cut off, or holds what is not known here.
    pub async fn next(&mut self) -> Result<Option<Item>> {
        let head: [u8; 5] = self.plain(5).await?.try_into().map_err(|_| unknown())?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| unknown())?;
        if length > MAX_ITEM {
            return Err(unknown());
        }
        let payload = self.plain(length).await?;
        Ok(Some(match Kind::of(kind)? {
            Kind::Table => {
                let Head { table, columns } = parse(&payload)?;
                Item::Table(table, columns)
            }
            Kind::Row => {
                self.counts.rows += 1;
                Item::Row(unpack(&payload)?)
            }
            Kind::Log => Item::Log(parse::<OldLog>(&payload)?),
            Kind::Record => {
                self.counts.records += 1;
                Item::Record(payload)
            }
            Kind::End => {
                if self.counts != parse(&payload)? || self.at != self.plain.len() {
                    return Err(unknown());
                }
                let mut chunk = Vec::new();
                // What is sealed may end just where a chunk does: then an empty one is the last.
                while let Some(is_last) = self.chunks.next(&mut chunk).await? {
                    self.opener.open(&mut chunk, is_last)?;
                    if !chunk.is_empty() {
                        return Err(unknown());
                    }
                }
                self.chunks.end().await?;
                return Ok(None);
            }
        }))
    }

    /// How many rows and records there were so far.
    pub fn counted(&self) -> (u64, u64) {
        (self.counts.rows, self.counts.records)
    }

    async fn plain(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.plain.len() - self.at < length {
            let mut chunk = Vec::new();
            let is_last = self.chunks.next(&mut chunk).await?.ok_or_else(unknown)?;
            self.opener.open(&mut chunk, is_last)?;
            self.plain.drain(..self.at);
            self.at = 0;
            self.plain.append(&mut chunk);
        }
        let end = self.at + length;
        let part = self.plain.get(self.at..end).ok_or_else(unknown)?.to_vec();
        self.at = end;
        Ok(part)
    }
}

fn parse<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|e| unknown().because(e))
}

impl<R: AsyncRead + Unpin> Chunks<R> {
    /// The next chunk, and whether it is the last one; none after that.
    async fn next(&mut self, chunk: &mut Vec<u8>) -> Result<Option<bool>> {
        if self.ended {
            return Ok(None);
        }
        let head = self.number().await?;
        let length = usize::try_from(head & !LAST).ok();
        let length = length.filter(|length| (CHUNK_OVERHEAD..=CHUNK + CHUNK_OVERHEAD).contains(length));
        *chunk = self.take(length.ok_or_else(damaged)?).await?;
        self.ended = head & LAST != 0;
        Ok(Some(self.ended))
    }

    /// After the last chunk: that the hash fits, and nothing stands behind it.
    async fn end(&mut self) -> Result<String> {
        let hash = self.hash.clone().finish();
        let written = self.take(HASH).await?;
        let mut behind = [0];
        let more = self.from.read(&mut behind).await.map_err(unreadable)?;
        if written != hash.as_ref() || more != 0 {
            return Err(damaged());
        }
        Ok(hex::encode(hash.as_ref()))
    }

    async fn number(&mut self) -> Result<u32> {
        let bytes = self.take(4).await?;
        Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| damaged())?))
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(),
            _ => unreadable(e),
        })?;
        self.hash.update(&bytes);
        Ok(bytes)
    }
}

fn damaged() -> Error {
    Error::conflict("the backup is damaged or cut off: take another copy of it")
}

fn unreadable(error: std::io::Error) -> Error {
    Error::unavailable("the backup cannot be read").because(error)
}

//! One line of the log: who did what to what, who allowed it, and how it ended.
//!
//! The bytes of a record are its leaf in the tree and never change once written. Never a secret value: `detail` holds
//! names, serials, counts and reasons.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::error::{Error, Result};
use crate::id::Id;

/// The longest record in bytes; what tlog-tiles' 16-bit length can say.
pub const MAX_RECORD_BYTES: usize = 65_535;

const FORMAT: u32 = 1;
const MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A record, before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The record's own id; unique over all logs.
    pub id: Id,
    /// When it was made, milliseconds since the epoch.
    pub time_ms: i64,
    /// The node that made it.
    pub node: String,
    /// The request that it belongs to.
    pub request: Id,
    /// The trace that the caller said it belongs to (W3C Trace Context).
    pub trace: Option<Id>,
    /// Who asked.
    pub caller: CallerRef,
    /// What was asked, for example `ReadSecret`.
    pub action: String,
    /// On what, as a path, for example `vaults/kv-prod/secrets/db-password`.
    pub resource: String,
    /// Which version of it, if it has versions.
    pub version: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// The policies that decided.
    pub policy: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// More to know, by name. Never a secret value.
    pub detail: BTreeMap<String, String>,
    /// The record id of the intent that this record closes.
    pub closes: Option<Id>,
    /// How many like events this record stands for, if more than one.
    pub count: Option<u64>,
}

/// Who asked, as the record names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerRef {
    /// The SPIFFE ID, or `system:<name>`.
    pub id: String,
    /// The serial of the certificate shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<String>,
    /// The address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The act was allowed.
    Allow,
    /// It was not.
    Deny,
}

/// How the act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Refused.
    Denied,
    /// It happened.
    Done,
    /// It was allowed and did not happen.
    Failed,
    /// An act that cannot be undone is about to happen; another record closes it.
    Intent,
    /// A crash hid how it ended.
    Unknown,
}

impl Decision {
    /// As a record has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl FromStr for Decision {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Allow, Self::Deny];
        let found = all.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| Error::invalid(format!("`{}` is no decision: give allow or deny", text.escape_debug())))
    }
}

impl Outcome {
    /// As a record has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Intent => "intent",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for Outcome {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Denied, Self::Done, Self::Failed, Self::Intent, Self::Unknown];
        let found = all.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| {
            Error::invalid(format!(
                "`{}` is no outcome: give denied, done, failed, intent or unknown",
                text.escape_debug()
            ))
        })
    }
}

/// INVARIANT: the order of these fields is the order of the bytes; new fields are optional and go to the end.
#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    id: Text<Id>,
    time: String,
    node: &'a str,
    request: Text<Id>,
    caller: &'a CallerRef,
    action: &'a str,
    resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    decision: Decision,
    policy: &'a [String],
    outcome: Outcome,
    detail: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes: Option<Text<Id>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Text<Id>>,
}

struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Record {
    /// The bytes that go into the log: one line of JSON without spaces, at most [`MAX_RECORD_BYTES`] long. What does
    /// not fit is cut from the longest texts, and `detail.cut` says so.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.line();
        if bytes.len() <= MAX_RECORD_BYTES {
            return bytes;
        }
        // An escaped character takes at most six bytes, so the last round always fits.
        let mut cut = self.clone();
        for (texts, limit) in [(256, 8192), (64, 1024), (16, 256)] {
            cut.shorten(texts, limit);
            let bytes = cut.line();
            if bytes.len() <= MAX_RECORD_BYTES {
                return bytes;
            }
        }
        cut.line()
    }

    fn shorten(&mut self, texts: usize, limit: usize) {
        self.policy.truncate(texts);
        self.policy.iter_mut().for_each(|text| cut(text, limit));
        self.detail = std::mem::take(&mut self.detail)
            .into_iter()
            .take(texts)
            .map(|(mut key, mut value)| {
                cut(&mut key, limit);
                cut(&mut value, limit);
                (key, value)
            })
            .collect();
        for text in [
            &mut self.caller.id,
            &mut self.action,
            &mut self.resource,
            &mut self.node,
        ] {
            cut(text, limit);
        }
        for text in [&mut self.version, &mut self.caller.serial, &mut self.caller.source] {
            text.iter_mut().for_each(|text| cut(text, limit));
        }
        self.detail
            .insert("cut".into(), "texts too long for a record were cut".into());
    }

    fn line(&self) -> Vec<u8> {
        let line = Line {
            v: FORMAT,
            id: Text(self.id),
            time: rfc3339_millis(self.time_ms),
            node: &self.node,
            request: Text(self.request),
            caller: &self.caller,
            action: &self.action,
            resource: &self.resource,
            version: self.version.as_deref(),
            decision: self.decision,
            policy: &self.policy,
            outcome: self.outcome,
            detail: &self.detail,
            closes: self.closes.map(Text),
            count: self.count,
            trace: self.trace.map(Text),
        };
        // Strings, numbers and string-keyed maps always serialize.
        serde_json::to_vec(&line).unwrap_or_default()
    }
}

/// The record id within a record's bytes.
pub(super) fn id_of(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_slice(bytes).ok().map(|Named { id }| id)
}

fn rfc3339_millis(time_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(MILLIS).ok())
        .unwrap_or_else(|| format!("@{time_ms}ms"))
}

fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    pub(in super::super) fn sample(seed: u64) -> Record {
        let entropy = SeededEntropy::new(seed);
        Record {
            id: Id::random(&entropy).unwrap(),
            time_ms: 1_795_509_325_042,
            node: "n1".into(),
            request: Id::random(&entropy).unwrap(),
            trace: None,
            caller: CallerRef {
                id: "spiffe://chancery.test/workload/web".into(),
                serial: Some("4a3f".into()),
                source: Some("192.0.2.7:40112".into()),
            },
            action: "ReadSecret".into(),
            resource: "vaults/kv-prod/secrets/db-password".into(),
            version: Some("3".into()),
            decision: Decision::Allow,
            policy: vec!["role:secrets-user".into()],
            outcome: Outcome::Done,
            detail: BTreeMap::from([("b".into(), "2".into()), ("a".into(), "1".into())]),
            closes: None,
            count: None,
        }
    }

    #[test]
    fn the_bytes_are_fixed() {
        assert_eq!(
            String::from_utf8(sample(1).to_bytes()).unwrap(),
            concat!(
                r#"{"v":1,"id":"ID","time":"2026-11-24T08:35:25.042Z","node":"n1","request":"REQ","#,
                r#""caller":{"id":"spiffe://chancery.test/workload/web","serial":"4a3f","source":"192.0.2.7:40112"},"#,
                r#""action":"ReadSecret","resource":"vaults/kv-prod/secrets/db-password","version":"3","#,
                r#""decision":"allow","policy":["role:secrets-user"],"outcome":"done","detail":{"a":"1","b":"2"}}"#
            )
            .replace("ID", &sample(1).id.to_string())
            .replace("REQ", &sample(1).request.to_string())
        );
    }

    #[test]
    fn a_trace_stands_at_the_end() {
        let mut record = sample(1);
        record.trace = Some(record.request);
        let bytes = String::from_utf8(record.to_bytes()).unwrap();
        assert!(
            bytes.ends_with(&format!(r#","trace":"{}"}}"#, record.request)),
            "{bytes}"
        );
    }

    #[test]
    fn the_id_is_found_in_the_bytes() {
        assert_eq!(id_of(&sample(2).to_bytes()), Some(sample(2).id.to_string()));
        assert_eq!(id_of(b"{}"), None);
    }

    #[test]
    fn an_oversize_record_is_cut_and_says_so() {
        let mut record = sample(3);
        record.detail.insert("reason".into(), "\u{1}".repeat(100_000));
        record.policy = vec!["é".repeat(50_000); 300];
        record.resource = "r".repeat(90_000);
        for n in 0..1000 {
            record.detail.insert(format!("{n}{}", "k".repeat(300)), "v".repeat(300));
        }
        let bytes = record.to_bytes();
        assert!(bytes.len() <= MAX_RECORD_BYTES, "{}", bytes.len());
        let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert!(read["detail"]["cut"].is_string());
        assert_eq!(read["id"], record.id.to_string());
    }
}

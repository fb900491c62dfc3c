//! What of a record can be searched for, and the question.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::audit::record::{Decision, Outcome};
use crate::clock::Timestamp;
use crate::id::Id;

/// Which records are wanted: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What was asked, for example `ReadSecret`.
    pub action: Option<String>,
    /// Who asked: a SPIFFE ID, or `system:<name>`.
    pub caller: Option<String>,
    /// What was decided.
    pub decision: Option<Decision>,
    /// The node whose log it is.
    pub node: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The record's own id.
    pub record: Option<Id>,
    /// The request's id.
    pub request: Option<Id>,
    /// On what, exactly.
    pub resource: Option<String>,
    /// How the resource's path begins.
    pub resource_prefix: Option<String>,
    /// The serial of the caller's certificate, or of the certificate that it is about.
    pub serial: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// The trace that the request belonged to.
    pub trace: Option<Id>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// What a record says of itself, as far as it can be searched for.
#[derive(Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    request: Cow<'a, str>,
    #[serde(borrow)]
    caller: Caller<'a>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
    decision: Decision,
    outcome: Outcome,
    #[serde(borrow, default)]
    trace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    detail: Detail<'a>,
}

#[derive(Deserialize)]
struct Caller<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    serial: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Detail<'a> {
    #[serde(borrow, default)]
    serial: Option<Cow<'a, str>>,
}

/// A value of a field, hashed. Two values may share a term: whoever finds a record by one looks at the record itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Term {
    pub(super) bucket: u8,
    pub(super) print: u32,
}

#[derive(Clone, Copy)]
enum Field {
    Action = 1,
    Caller = 2,
    Decision = 3,
    Outcome = 4,
    Prefix = 5,
    Record = 6,
    Request = 7,
    Resource = 8,
    Serial = 9,
    Trace = 10,
}

impl Term {
    fn new(field: Field, value: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&[field as u8]);
        context.update(value.as_bytes());
        let hash = context.finish();
        let (bucket, print) = match hash.as_ref() {
            [bucket, a, b, c, d, ..] => (*bucket, u32::from_be_bytes([*a, *b, *c, *d])),
            _ => (0, 0),
        };
        Self { bucket, print }
    }
}

impl<'a> Fields<'a> {
    /// Of a record's bytes; `None` if they are no record of ours.
    pub(super) fn parse(record: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }

    /// When it was made, in milliseconds since the epoch.
    pub(super) fn time_ms(&self) -> Option<i64> {
        let at = OffsetDateTime::parse(&self.time, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
    }

    /// Every term by which it is found.
    pub(super) fn terms(&self, mut each: impl FnMut(Term)) {
        each(Term::new(Field::Action, &self.action));
        each(Term::new(Field::Caller, &self.caller.id));
        each(Term::new(Field::Decision, self.decision.as_str()));
        each(Term::new(Field::Outcome, self.outcome.as_str()));
        each(Term::new(Field::Record, &self.id));
        each(Term::new(Field::Request, &self.request));
        each(Term::new(Field::Resource, &self.resource));
        for (end, _) in self.resource.match_indices('/') {
            if let Some(folder) = self.resource.get(..=end) {
                each(Term::new(Field::Prefix, folder));
            }
        }
        for serial in [&self.caller.serial, &self.detail.serial].into_iter().flatten() {
            each(Term::new(Field::Serial, serial));
        }
        if let Some(trace) = &self.trace {
            each(Term::new(Field::Trace, trace));
        }
    }
}

impl Query {
    /// The terms of every record that fits.
    pub(super) fn terms(&self) -> Vec<Term> {
        let texts = [
            (Field::Action, &self.action),
            (Field::Caller, &self.caller),
            (Field::Resource, &self.resource),
            (Field::Serial, &self.serial),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(field, text)| Some(Term::new(field, text.as_deref()?)));
        let ids = [
            (Field::Record, self.record),
            (Field::Request, self.request),
            (Field::Trace, self.trace),
        ];
        let ids = ids
            .into_iter()
            .filter_map(|(field, id)| Some(Term::new(field, &id?.to_string())));
        let decided = self
            .decision
            .map(|decided| Term::new(Field::Decision, decided.as_str()));
        let ended = self.outcome.map(|ended| Term::new(Field::Outcome, ended.as_str()));
        // Of a prefix that ends within a name, the folder before that name.
        let folder = self.resource_prefix.as_deref().and_then(|prefix| {
            let end = prefix.rfind('/')?;
            Some(Term::new(Field::Prefix, prefix.get(..=end)?))
        });
        texts.chain(ids).chain(decided).chain(ended).chain(folder).collect()
    }

    /// Whether a record with these fields, made at `time_ms`, is wanted. Which node's it is was looked at before.
    pub(super) fn fits(&self, fields: &Fields<'_>, time_ms: i64) -> bool {
        fn is(wanted: Option<&str>, found: &str) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        let id = |wanted: Option<Id>, found: &str| wanted.is_none_or(|wanted| wanted.to_string() == found);
        let serial =
            |wanted: &str| [&fields.caller.serial, &fields.detail.serial].contains(&&Some(Cow::Borrowed(wanted)));
        is(self.action.as_deref(), &fields.action)
            && is(self.caller.as_deref(), &fields.caller.id)
            && is(self.resource.as_deref(), &fields.resource)
            && self.decision.is_none_or(|wanted| wanted == fields.decision)
            && self.outcome.is_none_or(|wanted| wanted == fields.outcome)
            && id(self.record, &fields.id)
            && id(self.request, &fields.request)
            && id(self.trace, fields.trace.as_deref().unwrap_or_default())
            && self
                .resource_prefix
                .as_deref()
                .is_none_or(|prefix| fields.resource.starts_with(prefix))
            && self.serial.as_deref().is_none_or(serial)
            && self.since_ms().is_none_or(|since| time_ms >= since)
            && self.until_ms().is_none_or(|until| time_ms < until)
    }

    pub(super) fn since_ms(&self) -> Option<i64> {
        self.since.map(|since| since.unix().saturating_mul(1_000))
    }

    pub(super) fn until_ms(&self) -> Option<i64> {
        self.until.map(|until| until.unix().saturating_mul(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::tests::sample;

    #[test]
    fn a_record_is_found_by_each_of_its_fields_and_by_no_others() {
        let mut record = sample(1);
        record.detail.insert("serial".into(), "77".into());
        record.trace = Some(Id::from([7; 16]));
        let bytes = record.to_bytes();
        let fields = Fields::parse(&bytes).unwrap();
        let mut terms = Vec::new();
        fields.terms(|term| terms.push(term));
        let time = fields.time_ms().unwrap();
        assert_eq!(time, record.time_ms);

        let at = |text: &str| Some(Timestamp::parse_rfc3339(text).unwrap());
        let text = |text: &str| Some(text.to_owned());
        let none = Query::default;
        let fitting = [
            none(),
            Query {
                action: text("ReadSecret"),
                ..none()
            },
            Query {
                caller: text("spiffe://chancery.test/workload/web"),
                ..none()
            },
            Query {
                decision: Some(Decision::Allow),
                ..none()
            },
            Query {
                outcome: Some(Outcome::Done),
                ..none()
            },
            Query {
                record: Some(record.id),
                ..none()
            },
            Query {
                request: Some(record.request),
                ..none()
            },
            Query {
                trace: record.trace,
                ..none()
            },
            Query {
                resource: text("vaults/kv-prod/secrets/db-password"),
                ..none()
            },
            Query {
                resource_prefix: text("vaults/kv-prod/"),
                ..none()
            },
            Query {
                resource_prefix: text("vaults/kv-prod/secrets/db-"),
                ..none()
            },
            Query {
                resource_prefix: text("vau"),
                ..none()
            },
            Query {
                serial: text("4a3f"),
                ..none()
            },
            Query {
                serial: text("77"),
                ..none()
            },
            Query {
                since: at("2026-11-24T08:35:25Z"),
                until: at("2026-11-24T08:35:26Z"),
                ..none()
            },
        ];
        for query in fitting {
            assert!(query.fits(&fields, time), "{query:?}");
            assert!(query.terms().iter().all(|term| terms.contains(term)), "{query:?}");
        }
        let others = [
            Query {
                action: text("ReadSecre"),
                ..none()
            },
            Query {
                caller: text("spiffe://chancery.test/workload/"),
                ..none()
            },
            Query {
                decision: Some(Decision::Deny),
                ..none()
            },
            Query {
                outcome: Some(Outcome::Failed),
                ..none()
            },
            Query {
                record: Some(record.request),
                ..none()
            },
            Query {
                request: Some(record.id),
                ..none()
            },
            Query {
                trace: Some(record.request),
                ..none()
            },
            Query {
                resource: text("vaults/kv-prod/secrets/"),
                ..none()
            },
            Query {
                resource_prefix: text("vaults/kv-prod/keys/"),
                ..none()
            },
            Query {
                serial: text("4a3"),
                ..none()
            },
            Query {
                since: at("2026-11-24T08:35:26Z"),
                ..none()
            },
            Query {
                until: at("2026-11-24T08:35:25Z"),
                ..none()
            },
        ];
        for query in others {
            assert!(!query.fits(&fields, time), "{query:?}");
        }
    }
}

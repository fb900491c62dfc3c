//! Secrets: what lists are narrowed by, and how versions are changed, labelled and destroyed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::or_null::{OrNull, TextOrNull, said};
use super::page::PageQuery;

/// The query of a list of secrets: what all that are listed have in common. Of versions it is the current one that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsQuery {
    /// As in [`PageQuery`]; good for the same filters only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// As in [`PageQuery`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// What the names begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// A tag that they have: `name:value`, or `name` for any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How they stand: `enabled` (and not expired), `disabled` or `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

impl SecretsQuery {
    /// The part that any list has.
    pub fn page(&self) -> PageQuery {
        PageQuery {
            cursor: self.cursor.clone(),
            limit: self.limit,
        }
    }
}

/// Changes a version of a secret, never its value. What is left out stays; what is `null` is taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateSecret {
    /// Whether the value may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Before, it should not be used.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<OrNull>,
    /// From then on, it should not be used.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub expires: Option<OrNull>,
    /// What the value is.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub content_type: Option<TextOrNull>,
    /// Notes beside it, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// Points a label at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointLabel {
    /// The version that it is to point at: ordinal, id or another label.
    pub version: String,
    /// The version that it is expected to point at now; a label that points at a version already is moved only with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// The query of taking a label away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelQuery {
    /// The version that it is expected to point at; any if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Destroys the value of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestroyVersion {
    /// How long it can be recovered, in which nobody reads it; at once if it is left out.
    #[serde(default)]
    pub delay_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_a_value_is_left_taken_away_or_set() {
        let read = |text: &str| serde_json::from_str::<UpdateSecret>(text).unwrap();
        assert_eq!(read("{}"), UpdateSecret::default());
        let all = [
            read("{}"),
            read(r#"{"content_type":null,"expires":null}"#),
            read(r#"{"content_type":"text/plain","tags":{}}"#),
        ];
        assert_eq!(all[1].content_type, Some(TextOrNull(None)));
        assert_eq!(all[2].content_type, Some(TextOrNull(Some("text/plain".to_owned()))));
        for update in all {
            assert_eq!(read(&serde_json::to_string(&update).unwrap()), update);
        }
    }
}

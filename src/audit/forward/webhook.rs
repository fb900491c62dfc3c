//! Batches as messages of a webhook.

use super::Batch;
use super::settings::Format;
use crate::clock::Timestamp;
use crate::webhook::Webhook;

/// Sends a batch.
///
/// # Errors
/// As [`Webhook::post`].
pub(super) async fn send(webhook: &Webhook, batch: &Batch, format: Format, now: Timestamp) -> Result<(), String> {
    let (body, kind) = match format {
        Format::Json => (array(batch), "application/json"),
        Format::Ndjson => (batch.lines(), "application/x-ndjson"),
    };
    // The same records have the same id, however often they are sent.
    let id = format!("{}-{}-{}", batch.node, batch.first, batch.until());
    webhook.post(&id, kind, body, now).await
}

fn array(batch: &Batch) -> Vec<u8> {
    let mut body = vec![b'['];
    for (index, record) in (batch.first..).zip(&batch.records) {
        if index > batch.first {
            body.push(b',');
        }
        body.extend_from_slice(&batch.line(index, record));
    }
    body.push(b']');
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::forward::tests::batch;

    #[test]
    fn a_batch_is_an_array_of_what_the_lines_are() {
        let batch = batch(3, 2);
        let array: Vec<serde_json::Value> = serde_json::from_slice(&array(&batch)).unwrap();
        let lines: Vec<serde_json::Value> = String::from_utf8(batch.lines())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(array, lines);
        assert_eq!((&array[1]["index"], &array[1]["node"]), (&4.into(), &"n1".into()));
    }
}

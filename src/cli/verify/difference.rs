//! Says in words how records differ from those that were signed.

use super::Finding;
use super::ledger::Ledger;
use super::tree::Hash;

/// Names the first difference between the records found and the hashes that were signed, if there is one.
pub(super) fn name(found: &Ledger, signed: &[Hash]) -> Option<Finding> {
    let hashes = &found.hashes;
    let at = hashes.iter().zip(signed).position(|(found, signed)| found != signed);
    let Some(at) = at else {
        return (hashes.len() < signed.len()).then(|| {
            let text = format!(
                "the log was cut: records {} to {} are missing",
                hashes.len(),
                signed.len() - 1
            );
            finding(hashes.len(), text)
        });
    };
    let here = hashes.get(at)?;
    let name = found.name(at);
    let text = match signed.iter().position(|signed| signed == here) {
        Some(from) if from < at => format!("{name} is there twice, at {from} and at {at}"),
        Some(from) if hashes.get(from) == signed.get(at) => {
            format!(
                "{} and {} were swapped: this is the order found",
                name,
                found.name(from)
            )
        }
        Some(from) if from == at + 1 => format!("record {at} is missing: record {from} follows {}", before(found, at)),
        Some(from) => format!(
            "records {at} to {} are missing or moved: record {from} follows {}",
            from - 1,
            before(found, at)
        ),
        None if hashes.get(at + 1) == signed.get(at) => format!("{name} was put in: it was never signed"),
        None => format!("{name} was changed"),
    };
    Some(finding(at, text))
}

fn before(found: &Ledger, at: usize) -> String {
    match at.checked_sub(1) {
        Some(before) => found.name(before),
        None => "the log's start".to_owned(),
    }
}

fn finding(at: usize, text: String) -> Finding {
    Finding::new(u64::try_from(at).ok(), text)
}

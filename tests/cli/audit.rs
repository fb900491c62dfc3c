//! `chancery audit`: where it gets a log from, and what it ends with. That it finds what is wrong is proven where it is
//! written.

use std::process::{Command, Output};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::service::{Answer, FakeService};

const ORIGIN: &str = "chancery.test/audit/n1";

fn record(n: u32) -> Vec<u8> {
    format!(
        r#"{{"v":1,"id":"{n:032x}","time":"2026-11-24T08:00:00.000Z","node":"n1","request":"{n:032x}","caller":{{"id":"spiffe://t/a"}},"action":"ReadSecret","resource":"vaults/kv-prod/secrets/a","decision":"allow","policy":[],"outcome":"done","detail":{{}}}}"#
    )
    .into_bytes()
}

/// RFC 6962 §2.1.
fn root(records: &[Vec<u8>]) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| digest(&SHA256, &parts.concat()).as_ref().to_vec();
    match records {
        [one] => hash(&[&[0], one]),
        many => {
            let half = many.len().next_power_of_two() / 2;
            hash(&[&[1], &root(&many[..half]), &root(&many[half..])])
        }
    }
}

/// The verifier key and a checkpoint of `records`, signed (C2SP signed-note).
fn signed(records: &[Vec<u8>]) -> (String, String) {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = [&[1], key.public_key().as_ref()].concat();
    let id = digest(&SHA256, &[format!("{ORIGIN}\n").as_bytes(), &public].concat());
    let id = &id.as_ref()[..4];
    let note = format!("{ORIGIN}\n{}\n{}\n", records.len(), BASE64.encode(root(records)));
    let signature = [id, key.sign(note.as_bytes()).as_ref()].concat();
    (
        format!("{ORIGIN}+{}+{}\n", hex::encode(id), BASE64.encode(public)),
        format!("{note}\n\u{2014} {ORIGIN} {}\n", BASE64.encode(signature)),
    )
}

fn page(from: usize, records: &[Vec<u8>]) -> Answer {
    let entries: Vec<String> = records.iter().map(|record| BASE64.encode(record)).collect();
    Answer {
        method: "GET",
        path: "/api/audit/entries",
        status: 200,
        body: serde_json::json!({"from": from, "entries": entries}).to_string().leak(),
    }
}

/// A service whose log is `served`, in two pages, with a checkpoint of `covered`.
fn serving(served: &[Vec<u8>], covered: &[Vec<u8>]) -> FakeService {
    let (key, checkpoint) = signed(covered);
    let checkpoint = Answer {
        method: "GET",
        path: "/api/audit/checkpoint",
        status: 200,
        body: checkpoint.leak(),
    };
    let service = FakeService::start(&[
        checkpoint,
        page(0, &served[..2]),
        page(2, &served[2..]),
        page(served.len(), &[]),
    ]);
    std::fs::write(service.file("audit.key"), key).unwrap();
    service
}

fn audit(service: &FakeService, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chancery"))
        .arg("audit")
        .args(args)
        .env_clear()
        .env("CHANCERY_ADDR", service.url())
        .env("CHANCERY_CACERT", service.roots())
        .env("CHANCERY_CLIENT_CERT", service.file("client.pem"))
        .env("CHANCERY_CLIENT_KEY", service.file("client.key"))
        .env("CHANCERY_AUDIT_KEY", service.file("audit.key"))
        .current_dir(service.folder.path())
        .output()
        .unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(says), "`{says}` is not in: {said}");
}

/// One page of a search.
fn found(records: &[Vec<u8>], next: Option<&str>) -> Answer {
    let items = (0..).zip(records).map(|(index, record)| {
        serde_json::json!({"node": "n1", "index": index, "record": String::from_utf8(record.clone()).unwrap()})
    });
    let logs = serde_json::json!([{"node": "n1", "size": 4, "indexed": 0}, {"node": "n2", "size": 9}]);
    let body = serde_json::json!({"items": items.collect::<Vec<_>>(), "next": next, "logs": logs});
    Answer {
        method: "GET",
        path: "/api/audit/records",
        status: 200,
        body: body.to_string().leak(),
    }
}

#[test]
fn a_search_goes_on_to_its_end_and_writes_records_as_they_lie() {
    let records: Vec<Vec<u8>> = (0..4).map(record).collect();
    let pages = || {
        [
            found(&records[..2], Some("n1:2")),
            found(&[], Some("n1:1")),
            found(&records[2..], None),
        ]
    };
    let service = FakeService::start(&pages());
    let all = [
        "search",
        "--action",
        "ReadSecret",
        "--since",
        "2026-11-24",
        "--all",
        "--raw",
    ];
    let output = audit(&service, &all);
    ends(&output, 0, "the log of node `n2` does not lie here");
    assert_eq!(output.stdout, [records.join(&b'\n').as_slice(), b"\n"].concat());
    let asked: Vec<_> = service.asked().into_iter().map(|asked| asked.target).collect();
    assert!(
        asked[0].contains("action=ReadSecret") && asked[0].contains("since=2026-11-24T00"),
        "{asked:?}"
    );
    assert!(asked[2].contains("cursor=n1%3A1"), "{asked:?}");

    let service = FakeService::start(&pages());
    let output = audit(&service, &["search", "--limit", "3", "-o", "json"]);
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(rows[2]["record"]["action"], "ReadSecret");
    let output = audit(&FakeService::start(&pages()), &["search", "--outcome", "bad"]);
    ends(&output, 2, "invalid value");
}

#[test]
fn a_proof_is_written_and_judged_offline() {
    let records: Vec<Vec<u8>> = (0..2).map(record).collect();
    let (key, checkpoint) = signed(&records);
    let sibling = digest(&SHA256, &[&[0], records[1].as_slice()].concat());
    let proof = format!(
        "c2sp.org/tlog-proof@v1\nextra {}\nindex 0\n{}\n\n{checkpoint}",
        BASE64.encode(&records[0]),
        BASE64.encode(sibling.as_ref())
    );
    let answer = Answer {
        method: "GET",
        path: "/api/audit/proof",
        status: 200,
        body: proof.clone().leak(),
    };
    let service = FakeService::start(&[answer.clone(), answer]);
    std::fs::write(service.file("audit.key"), key).unwrap();
    let written = audit(&service, &["prove", "--index", "0"]);
    ends(&written, 0, "");
    assert_eq!(written.stdout, proof.as_bytes());
    assert!(service.asked()[0].target.ends_with("/api/audit/proof?index=0"));

    let file = |name: &str, text: &str| std::fs::write(service.file(name), text).unwrap();
    file("one.tlog-proof", &proof);
    let judged = audit(&service, &["verify", "--proof", "one.tlog-proof"]);
    ends(&judged, 0, "record 0 is among the 2 that were signed");
    let judged: serde_json::Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(judged["record"]["action"], "ReadSecret");
    file("other.tlog-proof", &proof.replace("index 0", "index 1"));
    ends(
        &audit(&service, &["verify", "--proof", "other.tlog-proof"]),
        7,
        "does not hold",
    );
    file("same", &format!("old 2\n\n{checkpoint}"));
    file("older", &checkpoint);
    let growth = ["verify", "--proof", "same", "--since", "older"];
    ends(&audit(&service, &growth), 0, "the first 2 of the 2 records");
    ends(&audit(&service, &growth[..3]), 7, "--since");
    // As an anchor holds them: a torn one, an older one, this one.
    let (_, first) = signed(&records[..1]);
    file("anchored", &format!("{ORIGIN}\n1\n\n{first}\n{checkpoint}\n"));
    let growth = ["verify", "--proof", "same", "--since", "anchored"];
    ends(&audit(&service, &growth), 0, "the first 2 of the 2 records");
    ends(&audit(&service, &["prove", "--since", "anchored"]), 0, "");
    assert!(service.asked()[1].target.ends_with("/api/audit/proof?since=2"));
    ends(&audit(&service, &["prove"]), 2, "");
    ends(
        &audit(&service, &["prove", "--since", "one.tlog-proof"]),
        2,
        "is no checkpoint",
    );
}

#[test]
fn the_index_is_made_anew_by_one_request() {
    let answer = Answer {
        method: "POST",
        path: "/api/audit/index/rebuild",
        status: 200,
        body: r#"{"node":"n2"}"#,
    };
    let service = FakeService::start(&[answer]);
    std::fs::write(service.file("audit.key"), "").unwrap();
    let begun = audit(&service, &["index", "rebuild", "--node", "n2"]);
    ends(&begun, 0, "the index of audit log `n2` is made anew");
    assert_eq!(service.asked().len(), 1);
}

#[test]
fn a_running_log_is_proven_up_to_its_checkpoint() {
    let records: Vec<Vec<u8>> = (0..4).map(record).collect();
    let service = serving(&records, &records[..3]);
    let output = audit(&service, &["verify"]);
    ends(&output, 0, "3 records proven; records 3 to 3 are not proven");
    let proven: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&proven["proven"], &proven["unproven"]), (&3.into(), &1.into()));
    assert!(service.asked()[0].target.ends_with("/api/audit/checkpoint?fresh=true"));
}

#[test]
fn a_log_that_was_changed_or_cut_is_a_failed_check() {
    let records: Vec<Vec<u8>> = (0..4).map(record).collect();
    let mut changed = records.clone();
    changed[1] = record(9);
    ends(&audit(&serving(&changed, &records), &["verify"]), 7, "");
    ends(&audit(&serving(&records[..3], &records), &["verify"]), 7, "was cut");
    ends(
        &audit(&serving(&records[..3], &records), &["export", "--to", "out"]),
        7,
        "was cut",
    );
}

#[test]
fn a_record_that_the_service_cannot_give_is_a_failed_check() {
    let records: Vec<Vec<u8>> = (0..2).map(record).collect();
    let (key, checkpoint) = signed(&records);
    let answer = |path, status, body: String| Answer {
        method: "GET",
        path,
        status,
        body: body.leak(),
    };
    let damaged = serde_json::json!({
        "type": "about:blank", "title": "", "status": 409, "kind": "conflict", "request_id": "r1",
        "detail": "the audit log is damaged at record 1",
    });
    for args in [["verify"].as_slice(), &["export", "--to", "out"]] {
        let service = FakeService::start(&[
            answer("/api/audit/checkpoint", 200, checkpoint.clone()),
            answer("/api/audit/entries", 409, damaged.to_string()),
        ]);
        std::fs::write(service.file("audit.key"), &key).unwrap();
        ends(&audit(&service, args), 7, "is damaged at record 1");
    }
}

#[test]
fn an_exported_log_is_proven_offline() {
    let records: Vec<Vec<u8>> = (0..4).map(record).collect();
    let service = serving(&records, &records[..3]);
    let exported = audit(&service, &["export", "--to", "out"]);
    ends(&exported, 0, "");
    let told: serde_json::Value = serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!(told["records"], 3);
    let asked = service.asked().len();
    ends(&audit(&service, &["verify", "--from", "out"]), 0, "3 records proven");
    ends(&audit(&service, &["export", "--to", "out"]), 1, "");
    let since = ["verify", "--from", "out", "--since", "out/checkpoint"];
    ends(&audit(&service, &since), 0, "the first 3 of them");
    std::fs::write(service.file("audit.key"), "nonsense").unwrap();
    ends(&audit(&service, &["verify", "--from", "out"]), 2, "holds no audit key");
    assert_eq!(service.asked().len(), asked + 1, "only the second export asked");
}

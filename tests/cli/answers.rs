//! What the program says and ends with for what the service answers.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::service::{Answer, FakeService};

const SECRET: &str = "/api/vaults/kv-prod/secrets/db%2Fpassword";

pub(crate) fn chancery(service: &FakeService, args: &str, stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(args.split(' '))
        .env_clear()
        .env("CHANCERY_ADDR", service.url())
        .env("CHANCERY_CACERT", service.roots())
        .env("CHANCERY_CLIENT_CERT", service.file("client.pem"))
        .env("CHANCERY_CLIENT_KEY", service.file("client.key"))
        .env("CHANCERY_VAULT", "kv-prod")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may refuse before it reads.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn get(status: u16, body: &'static str) -> Answer {
    Answer {
        method: "GET",
        path: SECRET,
        status,
        body,
    }
}

#[track_caller]
pub(crate) fn ends(output: &Output, code: i32, stdout: &[u8], stderr: &str) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert_eq!(output.stdout, stdout, "{out}");
    assert!(err.contains(stderr), "`{stderr}` is not in: {err}");
}

#[test]
fn every_refusal_has_its_exit_code_and_its_words() {
    for (kind, status, code) in [
        ("conflict", 409, 5),
        ("denied", 403, 4),
        ("internal", 500, 1),
        ("invalid", 400, 1),
        ("not_found", 404, 3),
        ("rate_limited", 429, 1),
        ("unauthenticated", 401, 4),
        ("unavailable", 503, 6),
    ] {
        let body: &'static str = format!(
            r#"{{"type":"about:blank","title":"","status":{status},"kind":"{kind}",
                "detail":"say what to do","request_id":"r1","retry_after_s":3}}"#
        )
        .leak();
        let service = FakeService::start(&[get(status, body)]);
        let output = chancery(&service, "secret get --name db/password", b"");
        ends(
            &output,
            code,
            b"",
            "error: say what to do (try again in 3 s) (request r1)\n",
        );
    }
}

#[test]
fn an_answer_from_something_else_says_so() {
    let service = FakeService::start(&[get(502, "<html>"), get(200, "{}")]);
    let output = chancery(&service, "secret get --name db/password", b"");
    ends(&output, 1, b"", "answered `502 Bad Gateway` without saying why");
    let output = chancery(&service, "secret get --name db/password", b"");
    ends(&output, 1, b"", "is not understood");
}

#[test]
fn a_service_that_is_not_there_is_unreachable() {
    let service = FakeService::start(&[]);
    let output = chancery(
        &service,
        "--addr https://127.0.0.1:1 secret get --name db/password",
        b"",
    );
    ends(
        &output,
        6,
        b"",
        "cannot reach `https://127.0.0.1:1`: connection refused: check that the service runs",
    );
}

#[test]
fn a_service_that_is_not_trusted_is_unreachable() {
    let service = FakeService::start(&[]);
    let stranger = FakeService::start(&[]);
    let args = format!("--cacert {} secret get --name db/password", stranger.roots().display());
    let output = chancery(&service, &args, b"");
    ends(&output, 6, b"", "does not lead to a root in");
    assert!(service.asked().is_empty());
}

#[test]
fn a_value_is_written_bare_whatever_its_bytes() {
    let service = FakeService::start(&[
        get(
            200,
            r#"{"name":"db/password","version":"a","ordinal":1,"value":"/wAK","encoding":"base64"}"#,
        ),
        get(
            200,
            r#"{"name":"db/password","version":"a","ordinal":1,"value":"ä\n","encoding":"utf8"}"#,
        ),
        get(
            200,
            r#"{"name":"db/password","version":"a","ordinal":1,"value":"x","encoding":"utf8"}"#,
        ),
    ]);
    let args = "secret get --name db/password";
    ends(&chancery(&service, args, b""), 0, b"\xff\x00\n", "");
    ends(&chancery(&service, args, b""), 0, "ä\n".as_bytes(), "");
    let yaml = b"name: db/password\nversion: a\nordinal: 1\nvalue: x\nencoding: utf8\n";
    ends(
        &chancery(&service, "secret get --name db/password -o yaml", b""),
        0,
        yaml,
        "",
    );
}

#[test]
fn a_value_is_sent_byte_for_byte_in_one_segment() {
    const SET: &str = r#"{"name":"db/password","version":"a","ordinal":1,"current":true,
        "created":"2026-11-24T08:00:00Z","created_by":"spiffe://t/a","updated":"2026-11-24T08:00:00Z",
        "enabled":true,"labels":["AWSCURRENT","blue"]}"#;
    let put = Answer {
        method: "PUT",
        path: SECRET,
        status: 200,
        body: SET,
    };
    let service = FakeService::start(&[put.clone(), put]);
    let args = "secret set --name db/password --tag a=b=c -o tsv";
    let row = b"db/password\t1\ta\ttrue\t2026-11-24T08:00:00Z\tspiffe://t/a\t\t\tAWSCURRENT, blue\ttrue\t\t\n";
    ends(&chancery(&service, args, b"hunter2\n"), 0, row, "");
    std::fs::write(service.file("value"), b"\xff").unwrap();
    let from_file = format!("{args} @{}", service.file("value").display());
    ends(&chancery(&service, &from_file, b"not this"), 0, row, "");
    let sent: Vec<serde_json::Value> = service
        .asked()
        .iter()
        .map(|asked| {
            assert_eq!(asked.target, format!("PUT {SECRET}"));
            serde_json::from_slice(&asked.body).unwrap()
        })
        .collect();
    assert_eq!(
        sent,
        [
            serde_json::json!({"value": "hunter2\n", "encoding": "utf8", "tags": {"a": "b=c"}}),
            serde_json::json!({"value": "/w==", "encoding": "base64", "tags": {"a": "b=c"}}),
        ]
    );
}

#[test]
fn a_list_follows_its_cursor() {
    let page = |body| Answer {
        method: "GET",
        path: "/api/vaults",
        status: 200,
        body,
    };
    let pages = [
        page(
            r#"{"items":[{"name":"a","created":"2026-11-24T08:00:00Z","created_by":"spiffe://t/a","retention_days":90,
            "purge_protection":false,"revision":1}],"next":"c1"}"#,
        ),
        page(r#"{"items":[],"next":"c2"}"#),
        page(
            r#"{"items":[{"name":"b","created":"2026-11-24T08:00:00Z","created_by":"spiffe://t/a","retention_days":7,
            "purge_protection":true,"revision":2},{"name":"c","created":"2026-11-24T08:00:00Z",
            "created_by":"spiffe://t/a","retention_days":90,"purge_protection":false,"revision":1}]}"#,
        ),
    ];
    let service = FakeService::start(&pages);
    let both = b"a\t2026-11-24T08:00:00Z\t90\tfalse\t\t1\t\t\nb\t2026-11-24T08:00:00Z\t7\ttrue\t\t2\t\t\n";
    ends(&chancery(&service, "vault list --limit 2 -o tsv", b""), 0, both, "");
    let targets: Vec<String> = service.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(
        targets,
        [
            "GET /api/vaults?limit=2",
            "GET /api/vaults?cursor=c1&limit=1",
            "GET /api/vaults?cursor=c2&limit=1",
        ]
    );
}

#[test]
fn the_inventory_is_asked_by_filters_and_written_as_it_comes() {
    let page = |body| Answer {
        method: "GET",
        path: "/api/authorities/internal/certificates",
        status: 200,
        body,
    };
    let pages = [
        page(
            r#"{"items":[{"serial":"0a","subject":"=cmd()","names":["dns:a.test","dns:b.test"],"issuer":"i1",
            "profile":"server-tls","owner":"spiffe://chancery.test/web","spki_sha256":"ff","state":"issued",
            "not_before":"2026-11-24T08:00:00Z","not_after":"2026-12-24T08:00:00Z"}],"next":"c1"}"#,
        ),
        page(r#"{"items":[]}"#),
    ];
    let service = FakeService::start(&pages);
    let (certificate, _) = service.authority().issue("a.test");
    std::fs::write(service.file("a.pem"), certificate).unwrap();
    let filters = format!(
        "--name *.test --serial 0A:0b --spki {} --issuer i1 --profile server-tls --owner me --status issued \
         --expires-within 30d --expires-after 2026-11-24 --expires-before 2027-01-01T00:00:00Z",
        service.file("a.pem").display()
    );
    let csv = chancery(&service, &format!("cert list {filters} -o csv"), b"");
    let said = "serial,subject,names,issuer,profile,owner,spki_sha256,state,not_before,not_after,revoked,reason\r\n\
                0a,'=cmd(),\"dns:a.test, dns:b.test\",i1,server-tls,spiffe://chancery.test/web,ff,issued,\
                2026-11-24T08:00:00Z,2026-12-24T08:00:00Z,,\r\n";
    ends(&csv, 0, said.as_bytes(), "");
    let asked = service.asked();
    assert_eq!(asked.len(), 2);
    for said in [
        "name=*.test&",
        "serial=0A%3A0b&spki_sha256=",
        "&issuer=i1&profile=server-tls&owner=me&status=issued&",
        "expires_after=2026-11-24T00%3A00%3A00Z&expires_before=2027-01-01T00%3A00%3A00Z&expires_within_s=2592000",
    ] {
        assert!(asked[0].target.contains(said), "{}", asked[0].target);
    }
    assert!(asked[1].target.contains("cursor=c1&"), "{}", asked[1].target);

    let service = FakeService::start(&[page(r#"{"items":[]}"#)]);
    ends(&chancery(&service, "cert list --issued -o json", b""), 0, b"[]\n", "");
    let wrong = chancery(&service, "cert list --spki nothing", b"");
    ends(
        &wrong,
        2,
        b"",
        "`nothing` is no SHA-256 in hexadecimal, nor a file to read",
    );
}

#[test]
fn waiting_ends_when_the_renewal_does() {
    let renewal = |body| Answer {
        method: "GET",
        path: "/api/renewals/r1",
        status: 200,
        body,
    };
    let renew = Answer {
        method: "POST",
        path: "/api/vaults/kv-prod/certificates/www/renew",
        status: 202,
        body: r#"{"id":"r1","vault":"kv-prod","certificate":"www","issuer":"pebble","state":"due",
            "due":"2026-11-24T08:00:00Z","updated":"2026-11-24T08:00:00Z","failures":0}"#,
    };
    let service = FakeService::start(&[
        renew,
        renewal(
            r#"{"id":"r1","vault":"kv-prod","certificate":"www","issuer":"pebble","state":"ordered",
            "due":"2026-11-24T08:00:00Z","updated":"2026-11-24T08:00:00Z","failures":2,"last_error":"no answer at port 80"}"#,
        ),
        renewal(
            r#"{"id":"r1","vault":"kv-prod","certificate":"www","issuer":"pebble","state":"failed",
            "due":"2026-11-24T08:00:00Z","updated":"2026-11-24T08:00:00Z","failures":3,"last_error":"the name is not ours"}"#,
        ),
    ]);
    let output = chancery(&service, "cert renew --name www --wait", b"");
    ends(&output, 1, b"", "error: `www` was given up: the name is not ours\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("www: due\nwww: ordered; failed 2 times: no answer at port 80\n"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_taken_back_needs_a_yes() {
    let service = FakeService::start(&[]);
    let output = chancery(&service, "cert revoke --name www", b"y\n");
    ends(&output, 2, b"", "say --yes if it is meant");
    assert!(service.asked().is_empty());
}

#[test]
fn a_files_and_a_servers_certificates_are_shown_without_the_service() {
    let service = FakeService::start(&[]);
    let (certificate, _) = service.authority().issue("a.test");
    std::fs::write(
        service.file("chain.pem"),
        certificate.clone() + service.authority().pem(),
    )
    .unwrap();
    let file = service.file("chain.pem").display().to_string();
    let server = service.url().replace("https://", "");
    for (target, name, count) in [(&file, "a.test", 2), (&server, "localhost", 1)] {
        let output = chancery(&service, &format!("cert show {target}"), b"");
        ends(&output, 0, &output.stdout.clone(), "");
        let seen: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(seen.len(), count);
        assert_eq!(seen[0]["names"], serde_json::json!([name]));
    }
    let pem = chancery(&service, &format!("cert show --pem {file}"), b"");
    let expected = (certificate + service.authority().pem()).replace("\r\n", "\n");
    ends(&pem, 0, expected.as_bytes(), "");
    ends(
        &chancery(&service, "cert show localhost:1", b""),
        6,
        b"",
        "cannot reach `localhost:1`",
    );
    assert!(service.asked().is_empty());
}

#[test]
fn completion_knows_the_nouns() {
    let service = FakeService::start(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let output = chancery(&service, &format!("completion {shell}"), b"");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("renewal"), "{shell}");
    }
}

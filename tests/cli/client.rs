//! The client as a library: what it does with files that change.

use chancery::client::{Client, IdentityFiles, Kind, Settings};

use crate::service::{Answer, FakeService, replace};

const VAULTS: Answer = Answer {
    method: "GET",
    path: "/api/vaults",
    status: 200,
    body: r#"{"items":[]}"#,
};

fn settings(service: &FakeService) -> Settings {
    Settings {
        address: service.url(),
        roots: service.roots(),
        identity: Some(IdentityFiles {
            certificate: service.file("client.pem"),
            key: service.file("client.key"),
        }),
    }
}

#[test]
fn a_new_certificate_is_used_from_the_next_request_on() {
    let service = FakeService::start(&[VAULTS, VAULTS, VAULTS, VAULTS]);
    let client = Client::new(settings(&service)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = || runtime.block_on(client.vaults(None)).unwrap();
    ask();
    ask();
    assert_eq!(service.callers().len(), 1, "one connection is used again");
    service.set_caller("second");
    ask();
    let callers = service.callers();
    assert_eq!(callers.len(), 2);
    assert!(callers[0].is_some() && callers[1].is_some());
    assert_ne!(callers[0], callers[1]);

    // A writer that is half-way, or wrote nonsense, does not stop who has a good certificate.
    replace(&service.file("client.pem"), "nonsense");
    ask();
    assert_eq!(service.callers().len(), 2);
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let service = FakeService::start(&[]);
    let (_, key) = service.authority().issue("other");
    replace(&service.file("client.key"), &key);
    let error = Client::new(settings(&service)).err().unwrap();
    assert_eq!(error.kind(), Kind::Local);
    let text = error.to_string();
    assert!(text.contains("client.key") && text.contains("client.pem"), "{text}");
}

#[test]
fn an_address_is_https_without_a_path() {
    let service = FakeService::start(&[]);
    for wrong in ["http://localhost:1", "localhost:8443", "https://localhost/api", ""] {
        let error = Client::new(Settings {
            address: wrong.to_owned(),
            ..settings(&service)
        });
        assert_eq!(error.err().unwrap().kind(), Kind::Local, "{wrong}");
    }
}

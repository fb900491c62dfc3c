//! http-01 with servers that mean well, and redirects that lead astray.

use super::name_server::{NameServer, Reply, address, look_up};
use super::web::{Web, ok, redirect, status};
use super::*;

const PATH: &str = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

async fn names() -> NameServer {
    NameServer::with(vec![
        address("x.test", "127.0.0.1"),
        address("y.test", "127.0.0.1"),
        address("elsewhere.test", "127.0.0.2"),
        address("cloud.test", "169.254.169.254"),
    ])
    .await
}

async fn look(web: &Web, identifier: &str) -> Result<Proof, Failure> {
    let settings = settings(&names().await, &format!("http01_port = {}", web.port()));
    ask(&validator(&settings), Method::Http01, identifier).await
}

#[tokio::test]
async fn row_71_the_key_authorization_is_taken_with_whitespace_behind_it_alone() {
    for end in ["", "\n", " \r\n\t"] {
        let web = Web::start(move |_| ok(&format!("{}{end}", key_authorization()))).await;
        assert_eq!(look(&web, "x.test").await, Ok(Proof { reusable_for: None }), "{end:?}");
    }
    for wrong in [
        format!(" {}", key_authorization()),
        key_authorization().to_lowercase(),
        format!("{}.x", key_authorization()),
        String::new(),
    ] {
        let web = Web::start(move |_| ok(&wrong)).await;
        let at = web.address.to_string();
        assert_failure(
            look(&web, "x.test").await,
            FailureKind::IncorrectResponse,
            &["x.test", PATH, &at, &key_authorization()],
        );
    }
}

#[tokio::test]
async fn row_71_what_was_answered_instead_is_said() {
    let page = Web::start(|_| ok(&format!("<html>\u{1b}{}", "x".repeat(1000)))).await;
    assert_failure(
        look(&page, "x.test").await,
        FailureKind::IncorrectResponse,
        &["answered `<html>\\u{1b}xxx", "…`"],
    );
    let absent = Web::start(|_| status(404, "", "no")).await;
    assert_failure(
        look(&absent, "x.test").await,
        FailureKind::IncorrectResponse,
        &["status 404", &absent.address.to_string()],
    );
}

#[tokio::test]
async fn row_71_the_request_is_one_that_any_server_understands() {
    let web = Web::start(|_| ok(&key_authorization())).await;
    look(&web, "x.test").await.unwrap();
    let head = web.heads().remove(0).to_lowercase();
    assert!(
        head.starts_with(&format!("get {} http/1.1\r\n", PATH.to_lowercase())),
        "{head}"
    );
    assert!(head.contains(&format!("host: x.test:{}\r\n", web.port())), "{head}");
    assert!(head.contains("user-agent: chancery-validation/"), "{head}");
}

#[tokio::test]
async fn i3_and_i4_an_address_is_connected_to_and_named_as_it_is() {
    let web = Web::start(|_| ok(&key_authorization())).await;
    let names = names().await;
    let looking = validator(&settings(&names, &format!("http01_port = {}", web.port())));
    ask(&looking, Method::Http01, "127.0.0.1").await.unwrap();
    assert!(
        web.heads()[0].contains(&format!("host: 127.0.0.1:{}\r\n", web.port())),
        "{}",
        web.heads()[0]
    );
    let six = Web::at("[::1]:0".parse().unwrap(), |_| ok(&key_authorization()))
        .await
        .unwrap();
    let looking = validator(&settings(&names, &format!("http01_port = {}", six.port())));
    ask(&looking, Method::Http01, "::1").await.unwrap();
    assert!(
        six.heads()[0].contains(&format!("host: [::1]:{}\r\n", six.port())),
        "{}",
        six.heads()[0]
    );
    assert_eq!(names.asked(), [], "there is nothing to look up");
}

#[tokio::test]
async fn row_71_redirects_of_all_kinds_are_followed() {
    for code in [301, 302, 303, 307, 308] {
        let web = Web::start(move |path| match path {
            PATH => status(code, "Location: /else/../where?a=b#fragment\r\n", ""),
            "/where?a=b" => ok(&key_authorization()),
            _ => status(500, "", ""),
        })
        .await;
        assert!(look(&web, "x.test").await.is_ok(), "{code}");
    }
    let web = Web::start(|path| match path {
        PATH => redirect("http://y.test/there"),
        "/there" => ok(&key_authorization()),
        _ => status(500, "", ""),
    })
    .await;
    look(&web, "x.test").await.unwrap();
    assert!(
        web.heads()[1].contains(&format!("host: y.test:{}", web.port())),
        "{}",
        web.heads()[1]
    );
}

#[tokio::test]
async fn row_71_a_redirect_without_a_target_and_other_answers_are_no_redirects() {
    for (code, said) in [
        (302, "without a Location"),
        (300, "status 300"),
        (304, "status 304"),
        (201, "status 201"),
    ] {
        let web = Web::start(move |_| status(code, "", "")).await;
        assert_failure(look(&web, "x.test").await, FailureKind::IncorrectResponse, &[said]);
    }
}

#[tokio::test]
async fn row_71_redirects_are_bounded_in_number() {
    let circle = Web::start(|_| redirect("/again")).await;
    assert_failure(
        look(&circle, "x.test").await,
        FailureKind::Connection,
        &["more than 10 times", "/again"],
    );
    assert_eq!(circle.heads().len(), 11);
}

#[tokio::test]
async fn r12_row_72_redirects_that_may_not_be_followed_are_named() {
    let long = format!("/{}", "x".repeat(2000));
    for (to, said) in [
        (
            "http://169.254.169.254/latest/meta-data/",
            "169.254.169.254 is link-local",
        ),
        ("http://cloud.test/latest/", "169.254.169.254 is link-local"),
        ("http://elsewhere.test/", "127.0.0.2 is a loopback address"),
        ("http://127.1/", ""),
        ("http://0x7f.0.0.2/", "127.0.0.2 is a loopback address"),
        ("http://2130706434/", "127.0.0.2 is a loopback address"),
        (
            "http://[::ffff:127.0.0.1]/",
            "::ffff:127.0.0.1 is an IPv4 address written as IPv6",
        ),
        ("http://[::]/", "means `this host`"),
        ("http://0/", "means `this host`"),
        ("http://10.0.0.1:22/", "only ports"),
        ("https://x.test:8443/", "only ports"),
        ("gopher://x.test/", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("http://a:b@x.test/", "user name or password"),
        ("http://a@x.test/", "user name or password"),
        ("http://", "no URL"),
        ("http://x.test:99999/", "no URL"),
        ("/\u{e4}", "printable ASCII"),
        (&long, "longer than 2000"),
    ] {
        let target = to.to_owned();
        let web = Web::start(move |path| match path {
            PATH => redirect(&target),
            _ => status(500, "", ""),
        })
        .await;
        let kind = match said {
            // It leads back to the server that redirects, by another spelling of its permitted address.
            "" => FailureKind::IncorrectResponse,
            _ => FailureKind::Connection,
        };
        assert_failure(look(&web, "x.test").await, kind, &[said]);
        assert_eq!(web.heads().len(), if said.is_empty() { 2 } else { 1 }, "{to}");
    }
}

#[tokio::test]
async fn row_72_targets_that_are_not_permitted_are_not_connected_to() {
    let web = Web::start(|_| ok(&key_authorization())).await;
    let names = names().await;
    let closed = format!("resolvers = ['{}']\nhttp01_port = {}", names.address, web.port());
    let closed = validator(&toml::from_str(&closed).unwrap());
    for identifier in ["x.test", "127.0.0.1"] {
        assert_failure(
            ask(&closed, Method::Http01, identifier).await,
            FailureKind::Connection,
            &[identifier, "127.0.0.1 is a loopback address"],
        );
    }
    assert_eq!(web.heads().len(), 0);
}

#[tokio::test]
async fn row_72_a_name_is_resolved_once_and_that_address_is_connected_to() {
    let web = Web::start(|_| ok(&key_authorization())).await;
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let rebinding = NameServer::start(move |name, kind, _| {
        let first = kind != hickory_resolver::proto::rr::RecordType::A
            || calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let ip = if first { "127.0.0.1" } else { "169.254.169.254" };
        look_up(&[address("x.test", ip)], name, kind)
    })
    .await;
    let looking = validator(&settings(&rebinding, &format!("http01_port = {}", web.port())));
    assert!(ask(&looking, Method::Http01, "x.test").await.is_ok());
    assert_failure(
        ask(&looking, Method::Http01, "x.test").await,
        FailureKind::Connection,
        &["is link-local"],
    );
    assert_eq!(web.heads().len(), 1);
}

#[tokio::test]
async fn row_72_the_source_address_is_the_operators() {
    let web = Web::start(|_| ok(&key_authorization())).await;
    let settings = settings(
        &names().await,
        &format!("http01_port = {}\nsource_v4 = '127.0.0.9'", web.port()),
    );
    ask(&validator(&settings), Method::Http01, "x.test").await.unwrap();
    assert_eq!(web.peers()[0].ip().to_string(), "127.0.0.9");
}

#[tokio::test]
async fn row_72_ipv6_comes_first_and_ipv4_where_it_does_not_answer() {
    let both = vec![
        address("x.test", "127.0.0.1"),
        address("x.test", "::1"),
        address("cloud.test", "fe80::1"),
        address("cloud.test", "127.0.0.1"),
    ];
    let names = NameServer::with(both).await;
    let (four, six) = loop {
        let four = Web::start(|_| ok(&key_authorization())).await;
        if let Ok(six) = Web::at(format!("[::1]:{}", four.port()).parse().unwrap(), |_| ok("six")).await {
            break (four, six);
        }
    };
    let looking = validator(&settings(&names, &format!("http01_port = {}", four.port())));
    assert_failure(
        ask(&looking, Method::Http01, "x.test").await,
        FailureKind::IncorrectResponse,
        &["[::1]", "`six`"],
    );
    assert_eq!((four.heads().len(), six.heads().len()), (0, 1));
    assert!(
        ask(&looking, Method::Http01, "cloud.test").await.is_ok(),
        "what is not permitted is passed over"
    );

    let four = Web::start(|_| ok(&key_authorization())).await;
    let looking = validator(&settings(&names, &format!("http01_port = {}", four.port())));
    assert!(ask(&looking, Method::Http01, "x.test").await.is_ok());
}

#[tokio::test]
async fn row_75_nobody_there_is_said_with_each_address() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let names = NameServer::with(vec![address("x.test", "127.0.0.1"), address("x.test", "::1")]).await;
    assert_failure(
        ask(
            &validator(&settings(&names, &format!("http01_port = {port}"))),
            Method::Http01,
            "x.test",
        )
        .await,
        FailureKind::Connection,
        &[
            &format!("127.0.0.1:{port}: connection refused"),
            &format!("[::1]:{port}: connection refused"),
        ],
    );
    let absent = ask(&validator(&settings(&names, "")), Method::Http01, "absent.test").await;
    assert_failure(absent, FailureKind::Dns, &["`absent.test` does not exist"]);
    let only_text = NameServer::with(vec![name_server::txt("x.test", "a")]).await;
    assert_failure(
        ask(&validator(&settings(&only_text, "")), Method::Http01, "x.test").await,
        FailureKind::Dns,
        &["`x.test` has no A or AAAA record"],
    );
    let failing = NameServer::start(|_, _, _| Reply::Code(hickory_resolver::proto::op::ResponseCode::ServFail)).await;
    assert_failure(
        ask(&validator(&settings(&failing, "")), Method::Http01, "x.test").await,
        FailureKind::Dns,
        &["looking up A of `x.test`"],
    );
}

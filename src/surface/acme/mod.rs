//! The ACME server's face: routes, JSON and problem documents of RFC 8555.
//!
//! A request is JSON in a signature; `crate::acme`'s door says whose it is, so no route here asks for a client
//! certificate. What a handler gets is verified, and it turns it into one call and the answer into JSON, nothing else.
//! A new resource is a path in [`urls::Urls`], a handler and a line in [`mount`].

mod accounts;
mod answer;
mod certificates;
mod directory;
pub(super) mod help;
mod orders;
mod signed;
mod urls;

use axum::http::Method;
use axum::middleware;
use axum::routing;

use self::signed::signed;
use super::Mounts;
use crate::acme::Expected;

/// Mounts the server.
pub(super) fn mount(mounts: Mounts) -> Mounts {
    let Mounts { router, mut ungated } = mounts;
    ungated.extend([
        (Method::GET, urls::DIRECTORY),
        (Method::GET, urls::NEW_NONCE),
        (Method::POST, urls::NEW_ACCOUNT),
        (Method::GET, urls::RENEWAL_INFO),
    ]);
    let account = Expected::Account;
    let routes = [
        (
            urls::DIRECTORY,
            routing::get(directory::show).merge(signed(account, directory::show_signed)),
        ),
        (
            urls::NEW_NONCE,
            routing::get(directory::nonce).merge(signed(account, directory::nonce_signed)),
        ),
        (urls::NEW_ACCOUNT, signed(Expected::Key, accounts::enter)),
        (urls::ACCOUNT, signed(account, accounts::account)),
        (urls::ORDERS, signed(account, accounts::orders)),
        (urls::KEY_CHANGE, signed(account, accounts::change_key)),
        (urls::NEW_ORDER, signed(account, orders::place)),
        (urls::ORDER, signed(account, orders::show)),
        (urls::FINALIZE, signed(account, orders::finalize)),
        (urls::AUTHORIZATION, signed(account, orders::authorization)),
        (urls::CHALLENGE, signed(account, orders::challenge)),
        (urls::CERTIFICATE, signed(account, certificates::download)),
        (urls::ALTERNATE, signed(account, certificates::download)),
        (urls::RENEWAL_INFO, routing::get(certificates::renewal_info)),
        (urls::REVOKE_CERT, signed(Expected::Either, certificates::revoke)),
    ];
    let router = routes.into_iter().fold(router, |router, (path, handlers)| {
        router.route(path, handlers.layer(middleware::from_fn(answer::frame)))
    });
    Mounts { router, ungated }
}

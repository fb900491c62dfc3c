//! Pebble itself: that what the other tests lean on is really there.

use std::process::Command;

use crate::support::child::{free_port, run};
use crate::support::pebble::{Config, Pebble};

fn directory(pebble: &Pebble) -> serde_json::Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert"])
        .arg(pebble.ca_file())
        .arg(pebble.directory());
    serde_json::from_slice(&run(&mut curl)).unwrap()
}

#[test]
fn offers_renewal_information_and_profiles() {
    let mut config = Config::answering_on(free_port());
    config.profiles.push(("minute".into(), 60));
    let pebble = Pebble::start(config);

    let directory = directory(&pebble);
    assert!(directory["renewalInfo"].is_string(), "{directory}");
    for profile in ["default", "shortlived", "minute"] {
        assert!(directory["meta"]["profiles"][profile].is_string(), "{directory}");
    }
}

#[test]
fn comes_back_on_the_same_ports_with_another_root() {
    let mut pebble = Pebble::start(Config::answering_on(free_port()));
    let (before, root) = (pebble.directory(), pebble.root());

    pebble.stop();
    pebble.resume();

    assert_eq!(pebble.directory(), before);
    assert_ne!(pebble.root(), root);
}

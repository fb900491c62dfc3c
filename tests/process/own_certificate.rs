//! The listener's own certificate renews itself: the next handshake shows the new one, and connections that are open
//! stay.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::open::Open;
use crate::support::child::{PATIENCE, free_port};
use crate::support::process::Launch;

/// Much shorter than what the profile backdates certificates by.
const LIFE_S: i64 = 6;

/// `chancery server` with a profile for listeners whose certificates live for a few seconds.
fn short_lived(folder: &Path) -> Launch {
    let first = Launch::dev_on(folder, free_port(), free_port()).start();
    drop(first);
    let profiles = folder.join("profiles");
    fs::create_dir(&profiles).unwrap();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("pki/profiles");
    for entry in fs::read_dir(built_in).unwrap() {
        let path = entry.unwrap().path();
        let mut text = fs::read_to_string(&path).unwrap();
        if path.ends_with("server-tls.toml") {
            let shorter = text.replace(
                "default_validity_s = 604_800",
                &format!("default_validity_s = {LIFE_S}"),
            );
            assert_ne!(text, shorter);
            text = shorter;
        }
        fs::write(profiles.join(path.file_name().unwrap()), text).unwrap();
    }
    let mut config = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    config.push_str(&format!("\n[ca]\nprofiles = {profiles:?}\n"));
    let file = folder.join("short-lived.toml");
    fs::write(&file, config).unwrap();
    Launch::server(&file, folder)
}

#[test]
fn the_listeners_own_certificate_renews_itself_under_open_connections() {
    let home = tempfile::tempdir().unwrap();
    let service = short_lived(&home.path().join("dev")).start();
    let mut first = Open::to(&service);
    first.healthy();
    let mut seen = vec![first.shown()];
    let begun = Instant::now();
    // Twice, so that a renewal leads to the next; every handshake on the way checks that what is shown is valid.
    while seen.len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "nothing new is shown: {}", service.log());
        thread::sleep(Duration::from_millis(100));
        let mut next = Open::to(&service);
        next.healthy();
        let shown = next.shown();
        if !seen.contains(&shown) {
            seen.push(shown);
        }
        first.healthy();
    }
    // As many were made as were needed.
    let listed = service.cli(&["ca", "issued", "--limit", "1000", "-o", "json"]).ok();
    let issued: Vec<chancery::wire::IssuedCertificate> = serde_json::from_str(&listed).unwrap();
    let own = issued.iter().filter(|it| it.profile.as_str() == "server-tls").count();
    assert!(own <= seen.len() + 2, "{own} certificates: {issued:?}");
}

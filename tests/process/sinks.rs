//! The log's sinks of the real service: killed, rotated, gone, full.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::child::{PATIENCE, free_port, run};
use crate::support::disk::Disk;
use crate::support::process::{Launch, Service};

/// `chancery server` on what `chancery dev` made, with these sinks.
fn server(folder: &Path, sinks: &str) -> Launch {
    drop(Launch::dev_on(folder, free_port(), free_port()).start());
    let mut config = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    config.push_str(sinks);
    let file = folder.join("sinks.toml");
    fs::write(&file, config).unwrap();
    Launch::server(&file, folder)
}

fn file_sink(name: &str, path: &Path, more: &str) -> String {
    format!("\n[[audit.sink]]\nname = {name:?}\nkind = \"file\"\npath = {path:?}\nbegin = \"first\"\n{more}\n")
}

/// The places of lines that are whole.
fn indices(text: &str) -> Vec<usize> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| usize::try_from(line["index"].as_u64()?).ok())
        .collect()
}

/// Whether `text` has each of the first `count` records, byte for byte, in their order; what stands there again stands
/// behind what came before it. How many stand there again.
fn whole(text: &str, records: &[Value]) -> Result<usize, String> {
    let mut next = 0;
    let mut repeated = 0;
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(index) = line["index"].as_u64().map(|index| usize::try_from(index).unwrap()) else {
            continue;
        };
        if index > next {
            return Err(format!("{next} is left out before {index}"));
        }
        if index < next {
            repeated += 1;
        }
        next = next.max(index + 1);
        if let Some(record) = records.get(index)
            && line["record"] != *record
        {
            return Err(format!("{index} is another record"));
        }
    }
    match next < records.len() {
        true => Err(format!("{next} of {} are there", records.len())),
        false => Ok(repeated),
    }
}

/// Waits until the sink has all that is in the log now.
fn caught_up(service: &Service, read: &dyn Fn() -> String) -> usize {
    let records = service.records();
    let begun = Instant::now();
    loop {
        match whole(&read(), &records) {
            Ok(repeated) => return repeated,
            Err(why) => assert!(begun.elapsed() < PATIENCE, "{why}\n{}", service.log()),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn set(service: &Service, name: &str) -> (i32, String) {
    let (code, _, said) = service.cli(&["secret", "set", "--name", name]).stdin("value").run();
    (code, said)
}

fn get(url: &str, roots: Option<&str>) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--write-out", "\n%{http_code}"]);
    if let Some(roots) = roots {
        curl.args(["--cacert", roots]);
    }
    let answer = String::from_utf8(run(curl.arg(url))).unwrap();
    let (body, status) = answer.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[cfg(feature = "faults")]
#[test]
fn killed_between_a_delivery_and_its_note_a_sink_gets_it_again_and_all_in_order() {
    thread::scope(|scope| {
        for (point, nth) in [("audit.forward.before", 2), ("audit.forward.after", 1)] {
            scope.spawn(move || killed_at(point, nth));
        }
    });
}

#[cfg(feature = "faults")]
fn killed_at(point: &str, nth: u32) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("audit.jsonl");
    let launch = server(&home.path().join("dev"), &file_sink("f", &path, "")).fault(point, nth);
    let mut service = launch.spawn();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = service.wait(Duration::from_millis(100)) {
            break status;
        }
        let _ = set(&service, "under-way");
        assert!(
            begun.elapsed() < PATIENCE,
            "{point}:{nth} is not passed:\n{}",
            service.log()
        );
    };
    assert_eq!(status.signal(), Some(9), "{point}:{nth}: {}", service.log());
    assert_eq!(launch.fault_hit().as_deref(), Some(point));
    let before = indices(&fs::read_to_string(&path).unwrap()).len();
    assert!(before > 0, "{point}:{nth}");

    let service = service.restart();
    assert_eq!(set(&service, "after").0, 0, "{}", service.log());
    let repeated = caught_up(&service, &|| fs::read_to_string(&path).unwrap());
    if point.ends_with("before") {
        assert!(repeated > 0, "{point}:{nth} gave nothing again");
    }
    assert!(repeated <= before, "{point}:{nth}");
}

#[test]
fn a_sink_that_must_not_be_behind_stops_acts_until_it_is_back_and_the_others_go_on() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    for folder in ["must", "may"] {
        fs::create_dir(at(folder)).unwrap();
    }
    let (must, may): (PathBuf, PathBuf) = (at("must/audit.jsonl"), at("may/audit.jsonl"));
    let metrics = format!("127.0.0.1:{}", free_port());
    let sinks = [
        file_sink("must", &must, "on_failure = \"refuse\"\nmax_behind_records = 2"),
        file_sink("may", &may, ""),
        "\n[[audit.sink]]\nname = \"out\"\nkind = \"stdout\"\nbegin = \"first\"\n".to_owned(),
    ];
    let launch = server(&home.path().join("dev"), &sinks.concat());
    let config = home.path().join("dev/sinks.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("metrics = {metrics:?}\n{text}")).unwrap();
    let mut service = launch.start();
    let env = service.env();
    let ready = || {
        get(
            &format!("{}/readyz", env["CHANCERY_ADDR"]),
            Some(&env["CHANCERY_CACERT"]),
        )
    };
    let lag = |sink: &str| -> u64 {
        let (_, text) = get(&format!("http://{metrics}/metrics"), None);
        let name = format!("chancery_audit_sink_lag_records{{sink=\"{sink}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    assert_eq!(set(&service, "one").0, 0);
    caught_up(&service, &|| fs::read_to_string(&must).unwrap());
    assert_eq!(ready().0, "200");

    // One file is rotated, the other one's folder is gone.
    fs::rename(&may, at("may/audit.jsonl.1")).unwrap();
    fs::rename(at("must"), at("moved")).unwrap();
    let begun = Instant::now();
    let said = loop {
        let (code, said) = set(&service, "two");
        if code != 0 {
            assert_eq!(code, 6, "{said}");
            break said;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is refused: {}", service.log());
        thread::sleep(Duration::from_millis(200));
    };
    assert!(said.contains("audit sink"), "{said}");
    let (status, why) = ready();
    assert_eq!(status, "503");
    assert!(why.contains("audit sink"), "{why}");
    assert!(lag("must") > 2);
    let begun = Instant::now();
    while lag("may") > 0 || lag("out") > 0 {
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(
        service.log().contains("audit sink `must` takes no records"),
        "{}",
        service.log()
    );

    fs::rename(at("moved"), at("must")).unwrap();
    let begun = Instant::now();
    while let (code @ 1.., said) = set(&service, "three") {
        assert!(begun.elapsed() < PATIENCE, "{code}: {said}\n{}", service.log());
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(ready().0, "200");
    let rotated = || {
        let parts = [at("may/audit.jsonl.1"), may.clone()];
        parts.map(|part| fs::read_to_string(part).unwrap_or_default()).concat()
    };
    assert_eq!(caught_up(&service, &|| fs::read_to_string(&must).unwrap()), 0);
    assert_eq!(caught_up(&service, &rotated), 0);
    assert_eq!(caught_up(&service, &|| service.log()), 0);
    assert_eq!(lag("must"), 0);
    assert!(
        !indices(&fs::read_to_string(&may).unwrap()).is_empty(),
        "it was not opened anew"
    );

    // In good order nothing is given twice.
    assert_eq!(service.end().code(), Some(0), "{}", service.log());
    let said = service.log();
    let service = launch.start();
    assert_eq!(caught_up(&service, &rotated), 0);
    assert_eq!(caught_up(&service, &|| said.clone() + &service.log()), 0);
}

#[test]
fn a_disk_that_is_full_under_a_sink_is_written_on_when_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path().join("disk");
    let disk = Disk::mount(&at, 1);
    let path = at.join("audit.jsonl");
    let launch = server(&home.path().join("dev"), &file_sink("f", &path, "")).on(&disk);
    let service = launch.start();
    let read = || {
        let mut words = disk.prefix().into_iter();
        let mut cat = Command::new(words.next().unwrap());
        String::from_utf8(run(cat.args(words).arg("cat").arg(&path))).unwrap()
    };
    caught_up(&service, &read);
    disk.fill();
    let begun = Instant::now();
    while !service.log().contains("audit sink `f` takes no records") {
        let (code, said) = set(&service, "meanwhile");
        assert_eq!(code, 0, "{said}");
        assert!(begun.elapsed() < PATIENCE, "the disk is not full: {}", service.log());
    }
    assert!(service.log().contains("No space left"), "{}", service.log());
    disk.free();
    caught_up(&service, &read);
    // What did not fit was ended, and given again whole.
    let torn = read()
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_err())
        .count();
    assert!(torn <= 3, "{torn}");
}

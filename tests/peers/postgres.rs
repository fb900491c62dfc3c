//! PostgreSQL itself: started without root's rights, a database a test, what was committed survives a crash.

use crate::support::child::run;
use crate::support::postgres::Postgres;

fn ask(postgres: &Postgres, database: &str, sql: &str) -> String {
    let name = database.rsplit('/').next().unwrap();
    let answer = run(postgres.client("psql").args(["-At", "-d", name, "-c", sql]));
    String::from_utf8(answer).unwrap().trim().to_owned()
}

#[test]
fn gives_each_test_a_database_of_its_own() {
    let postgres = Postgres::shared();
    let (one, other) = (postgres.database(), postgres.database());
    ask(postgres, &one, "create table here (x int)");

    let count = "select count(*) from pg_tables where tablename = 'here'";
    assert_eq!(ask(postgres, &one, count), "1");
    assert_eq!(ask(postgres, &other, count), "0");
}

#[test]
fn keeps_what_was_committed_over_a_crash() {
    let mut postgres = Postgres::start();
    let database = postgres.database();
    ask(&postgres, &database, "create table here as select 7 as x");

    postgres.kill();
    postgres.resume();

    assert_eq!(ask(&postgres, &database, "select x from here"), "7");
}

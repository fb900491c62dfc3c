//! Fills a service's database with certificates, while the service is stopped, by the rows that it would have written.

use std::path::Path;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbBackend, Statement};

/// The issuing CA of `chancery dev`.
pub const ISSUER: &str = "internal-issuing-1";

/// Adds certificates, all of them revoked or none; their revocations are spread over `shards` lists.
pub async fn certificates(folder: &Path, count: u32, revoked: bool, shards: u32) {
    let mut options = ConnectOptions::new(format!("sqlite:{}", folder.join("chancery.db").display()));
    options.max_connections(1).sqlx_logging(false);
    let database = Database::connect(options).await.unwrap();
    let run = async |sql: &str| {
        database
            .execute_unprepared(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    };
    run("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY").await;
    // Indexes are made anew behind the rows: one sort each instead of a million steps into a tree.
    let list = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'issued' AND sql IS NOT NULL";
    let indexes: Vec<(String, String)> = database
        .query_all_raw(Statement::from_string(DbBackend::Sqlite, list))
        .await
        .unwrap()
        .iter()
        .map(|row| (row.try_get("", "name").unwrap(), row.try_get("", "sql").unwrap()))
        .collect();
    for (name, _) in &indexes {
        run(&format!("DROP INDEX {name}")).await;
    }
    let (at, reason, revision) = if revoked {
        (
            "unixepoch()",
            "4",
            format!("i + (SELECT revision FROM authority_issuer WHERE label = '{ISSUER}')"),
        )
    } else {
        ("NULL", "NULL", "NULL".to_owned())
    };
    // Ids sort by time, in milliseconds: these are of 2023. A certificate of P-256 has some 620 bytes.
    run(&format!(
        "INSERT INTO issued (serial, id, issuer, profile, profile_hash, tbs, certificate, spki_sha256, subject, names, \
         requested_by, not_before, not_after, created_at, revoked_at, reason, shard, revision) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT '1' || substr(lower(hex(randomblob(20))), 2), \
         printf('%012x', 1700000000000 + i) || lower(hex(randomblob(10))), '{ISSUER}', 'server-tls', 'bench', x'', \
         randomblob(620), lower(hex(randomblob(32))), '', '[\"dns:h' || i || '.example.test\"]', \
         'spiffe://chancery.test/owner-' || (i % 50), unixepoch() - 60, unixepoch() + 86400 * (1 + i % 365), \
         unixepoch(), {at}, {reason}, i % {shards}, {revision} FROM n"
    ))
    .await;
    run("INSERT OR IGNORE INTO issued_name \
         SELECT 'dns:test.example.' || substr(names, 7, instr(names, '.') - 7), id FROM issued \
         WHERE profile_hash = 'bench' ORDER BY 1, 2")
    .await;
    if revoked {
        run(&format!(
            "UPDATE authority_issuer SET revision = revision + {count} WHERE label = '{ISSUER}'"
        ))
        .await;
    }
    for (_, sql) in &indexes {
        run(sql).await;
    }
    run("PRAGMA wal_checkpoint(TRUNCATE)").await;
    database.close().await.unwrap();
}

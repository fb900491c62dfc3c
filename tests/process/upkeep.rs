//! What the service does by itself, without being asked.

use std::thread;
use std::time::{Duration, Instant};

use chancery::store::entity::join_token;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::support::child::PATIENCE;
use crate::support::process::Launch;

#[test]
fn what_expired_long_ago_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let launch = Launch::dev(&folder);
    let mut service = launch.start();
    let id = "spiffe://chancery.test/web";
    service.cli(&["identity", "create", "--id", id]).ok();
    service.cli(&["--quiet", "identity", "token", "--id", id]).ok();
    assert_eq!(service.end().code(), Some(0));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = format!("sqlite:{}", folder.join("chancery.db").display());
        let database = sea_orm::Database::connect(url).await.unwrap();
        let aged = join_token::Entity::update_many()
            .col_expr(join_token::Column::ExpiresAt, Expr::value(1))
            .filter(join_token::Column::Identity.eq(id))
            .exec(&database)
            .await
            .unwrap();
        assert_eq!(aged.rows_affected, 1);
        database.close().await.unwrap();
    });

    let service = launch.start();
    let begun = Instant::now();
    loop {
        let records = service.records();
        let removed = records.iter().find(|record| record["action"] == "PurgeExpired");
        if let Some(removed) = removed {
            assert_eq!(removed["caller"]["id"], "system:upkeep");
            assert_eq!(
                (&removed["outcome"], &removed["detail"]["join_tokens"]),
                (&"done".into(), &"1".into())
            );
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        thread::sleep(Duration::from_millis(100));
    }
}

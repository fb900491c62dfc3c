//! What a decision takes beside few and many assignments to others: remembered, and decided anew.

use std::sync::Arc;
use std::time::Instant;

use chancery::authz::Authz;
use chancery::clock::SystemClock;
use chancery::entropy::OsEntropy;
use chancery::id::Id;
use chancery::policy::{Action, Assignment, Principal, Resource, Role, Who};
use chancery::store::{Settings, Store};
use futures::FutureExt;

const MANY: [usize; 3] = [10, 1_000, 100_000];
const ROUNDS: usize = 20_000;

/// One row for each number of assignments.
pub async fn run() {
    println!("\na decision beside so many assignments to names, paths and groups");
    for many in MANY {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
        let store = Store::open(&Settings { url }, &"n1".parse().unwrap()).await.unwrap();
        let authz = Authz::open(store.clone(), Arc::new(SystemClock)).await.unwrap();
        let given = (0..many).map(|n| match n % 3 {
            0 => format!("spiffe://chancery.test/other-{n}"),
            1 => format!("spiffe://chancery.test/team-{n}/*"),
            _ => format!("group:group-{n}"),
        });
        let mut waiting = Vec::new();
        for (n, who) in given.enumerate() {
            waiting.push(assign(&store, &authz, who, format!("vaults/vault-{n}")));
            if waiting.len() == 1_000 {
                futures::future::join_all(waiting.drain(..)).await;
            }
        }
        futures::future::join_all(waiting).await;
        assign(
            &store,
            &authz,
            "spiffe://chancery.test/web".to_owned(),
            "vaults/kv-prod".to_owned(),
        )
        .await;

        let principal = Principal::Spiffe("spiffe://chancery.test/web".parse().unwrap());
        let resource = |n: usize| -> Resource { format!("vaults/kv-prod/secrets/s{n}").parse().unwrap() };
        let resources: Vec<Resource> = (0..ROUNDS).map(resource).collect();
        let began = Instant::now();
        for resource in &resources {
            let view = authz.view().await.unwrap();
            assert!(view.decide(&principal, Action::ReadSecret, resource).allow);
        }
        let anew = began.elapsed() / u32::try_from(ROUNDS).unwrap();
        let began = Instant::now();
        for resource in &resources {
            let view = authz.view().await.unwrap();
            assert!(view.decide(&principal, Action::ReadSecret, resource).allow);
        }
        let remembered = began.elapsed() / u32::try_from(ROUNDS).unwrap();
        let began = Instant::now();
        assign(
            &store,
            &authz,
            "spiffe://chancery.test/late".to_owned(),
            "vaults/kv-prod".to_owned(),
        )
        .await;
        let change = began.elapsed();
        println!("  {many:>7}: anew {anew:>9.2?}, remembered {remembered:>9.2?}; one more assignment {change:.2?}");
    }
}

async fn assign(store: &Store, authz: &Authz, who: String, scope: String) {
    let who: Who = who.parse().unwrap();
    let id = Id::random(&OsEntropy).unwrap();
    let assignment = Assignment::lasting(id, who, Role::SecretsUser, scope.parse().unwrap());
    let grant = authz.grant(assignment).unwrap();
    let authz = authz.clone();
    store
        .transact(move |tx| {
            let (authz, grant) = (authz.clone(), grant.clone());
            async move { authz.assign(tx, &grant).await }.boxed()
        })
        .await
        .unwrap();
}

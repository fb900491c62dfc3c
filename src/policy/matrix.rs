//! The golden matrix: every role and every part of the service against every action.
//!
//! `GOLDEN=update` rewrites `tests/golden/policy_matrix.txt`; review reads the diff.

use std::fmt::Write;
use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::entropy::SeededEntropy;
use crate::id::Id;

/// A resource that the action is asked for.
fn sample(action: Action) -> Resource {
    use Action::*;
    match action {
        CloseIntent | ReadAuditLog => Resource::Audit,
        AssignRole | ListRoleAssignments | RevokeRoleAssignment => Resource::Policy,
        CreateAuthority | IssueCertificate | ListIssued | PublishCrl | RevokeIssued | ShowAuthority => {
            Resource::Authority("internal".parse().unwrap())
        }
        CreateIssuer | ShowIssuer => Resource::Issuer("pebble".parse().unwrap()),
        CreateIdentity | CreateJoinToken | Reenroll => {
            Resource::Identity("spiffe://chancery.test/other".parse().unwrap())
        }
        Enroll | ListIdentities => Resource::Identities,
        ListIssuers | ListRenewals | ListVaults | RotateListener | ShowMetrics => Resource::Everything,
        CreateVault | ListCertificates | ListSecrets | ShowVault => Resource::Vault("kv-prod".parse().unwrap()),
        AnswerChallenge | CreateCertificate | DownloadCertificate | RenewCertificate | RevokeCertificate
        | RunRenewal | ShowCertificate | ShowRenewal => {
            Resource::certificate("kv-prod".parse().unwrap(), "www".parse().unwrap())
        }
        DeleteSecret | ListSecretVersions | ReadSecret | RecoverSecret | SetSecret | ShowSecret => {
            Resource::secret("kv-prod".parse().unwrap(), "db-password".parse().unwrap())
        }
    }
}

#[test]
fn the_matrix_of_roles_and_actions_is_as_reviewed() {
    let engine = Engine::new().unwrap();
    let id: SpiffeId = "spiffe://chancery.test/who".parse().unwrap();
    let somebody = Principal::Spiffe(id.clone());
    let now = Timestamp::from_unix(0);

    let mut columns = vec![("(nobody)".to_owned(), engine.slice(&somebody, &[], now).unwrap())];
    for role in Role::ALL {
        let assignment = Assignment {
            id: Id::random(&SeededEntropy::new(1)).unwrap(),
            principal: id.clone(),
            role,
            scope: Scope::Everything,
            expires: None,
        };
        columns.push((role.to_string(), engine.slice(&somebody, &[assignment], now).unwrap()));
    }
    for name in system::ALL {
        let principal = Principal::System(name);
        columns.push((principal.to_string(), engine.slice(&principal, &[], now).unwrap()));
    }

    let mut text = String::from(
        "# Who may do what, with the role assigned at `/`. Made by policy::matrix; GOLDEN=update rewrites it.\n",
    );
    for (number, (name, _)) in columns.iter().enumerate() {
        writeln!(text, "{}{name}", " |".repeat(number)).unwrap();
    }
    for action in Action::ALL {
        let resource = sample(*action);
        for (_, slice) in &columns {
            let allow = engine.decide(slice, *action, &resource).allow;
            text.push_str(if allow { "x " } else { ". " });
        }
        writeln!(text, "{action} {resource}").unwrap();
    }

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policy_matrix.txt");
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &text).unwrap();
    }
    let reviewed = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        reviewed == text,
        "{} differs; if that is meant, run with GOLDEN=update and let review read the diff. It would be:\n{text}",
        golden.display()
    );
}

//! Every role and every part of the service against every action.

use std::fmt::Write;

use chancery::clock::Timestamp;
use chancery::entropy::SeededEntropy;
use chancery::id::Id;
use chancery::policy::{
    AcmeAccount, Action, Assignment, CustomRoles, Engine, Principal, Resource, Role, Scope, SpiffeId, system,
};

fn account(whose: &str, role: Option<Role>) -> AcmeAccount {
    AcmeAccount {
        role,
        authority: "internal".parse().unwrap(),
        id: Id::random(&SeededEntropy::new(whose.len() as u64)).unwrap(),
    }
}

/// A resource that the action is asked for.
fn sample(action: Action) -> Resource {
    use Action::*;
    match action {
        CloseIntent | ReadAuditLog | RebuildAuditIndex => Resource::Audit,
        AssignRole | CheckPolicy | ExplainPolicy | CreateRole | DeleteRole | ListRoleAssignments | ListRoles
        | RevokeRoleAssignment | ShowRole | UpdateRole => Resource::Policy,
        AdoptProfiles
        | CreateAcmeAccount
        | CreateAcmeExternalKey
        | DeleteAcmeExternalKey
        | ListAcmeAccounts
        | ListAcmeExternalKeys
        | CreateAuthority
        | IssueCertificate
        | ListIssued
        | PublishCrl
        | RenewResponder
        | ResumeIssuing
        | RevokeIssued
        | RotateAuthority
        | ShowAuthority
        | StopIssuing => Resource::Authority("internal".parse().unwrap()),
        CreateAcmeOrder
        | DeactivateAcmeAccount
        | RestrictAcmeAccount
        | ShowAcmeAccount
        | DeactivateAcmeAuthorization
        | DownloadAcmeCertificate
        | FinalizeAcmeOrder
        | RecordAcmeValidation
        | RespondToAcmeChallenge
        | RevokeAcmeCertificate
        | RolloverAcmeKey
        | UpdateAcmeAccount => Resource::Account(account("own", None)),
        CreateIssuer | ShowIssuer => Resource::Issuer("pebble".parse().unwrap()),
        CreateIdentity | CreateJoinToken | DeleteEntry | DisableIdentity | EnableIdentity | Reenroll | ShowIdentity
        | ShowOwnRights | UpdateEntry | UpdateIdentity => {
            Resource::Identity("spiffe://chancery.test/other".parse().unwrap())
        }
        Enroll | ListIdentities | PurgeExpired => Resource::Identities,
        BlockKey | CreateBackup | ListBlockedKeys | ListIssuers | ListKeks | ListRenewals | ListStops | ListVaults
        | RestoreBackup | RotateKek | ShowMetrics => Resource::Everything,
        CreateVault | DeleteVault | ListCertificates | ListKeys | ListSecrets | PurgeVault | ReadRandom
        | RecoverVault | ShowVault | UpdateVault => Resource::Vault("kv-prod".parse().unwrap()),
        CreateCertificate | DownloadCertificate | RenewCertificate | RevokeCertificate | RunRenewal
        | ShowCertificate | ShowRenewal => Resource::certificate("kv-prod".parse().unwrap(), "www".parse().unwrap()),
        BackupKey | CreateDataKey | CreateKey | DecryptData | DeleteKey | DeriveSecret | EncryptData | ExportKey
        | ImportKey | ListKeyVersions | PurgeKey | RecoverKey | ReencryptData | RestoreKey | RotateKey | ShowKey
        | SignData | UnwrapKey | UpdateKey | VerifySignature | WrapKey => {
            Resource::key("kv-prod".parse().unwrap(), "signing".parse().unwrap())
        }
        RemoveSecretRotation | RotateSecret | RunRotation | SetSecretRotation | BackupSecret | DeleteSecret
        | DestroySecretVersion | LabelSecretVersion | ListSecretVersions | PurgeSecret | ReadSecret | RecoverSecret
        | RecoverSecretVersion | RestoreSecret | SetSecret | ShowSecret | UpdateSecret => {
            Resource::secret("kv-prod".parse().unwrap(), "db-password".parse().unwrap())
        }
    }
}

#[test]
fn the_matrix_of_roles_and_actions_is_as_reviewed() {
    let engine = Engine::new().unwrap();
    let id: SpiffeId = "spiffe://chancery.test/who".parse().unwrap();
    let somebody = Principal::Spiffe(id.clone());
    let (customs, now) = (CustomRoles::default(), Timestamp::from_unix(0));

    let mut columns = vec![(
        "(nobody)".to_owned(),
        engine.slice(&somebody, &[], &[], &customs, now).unwrap(),
    )];
    for role in Role::ALL.into_iter().filter(|role| !role.is_for_accounts()) {
        let assignment = Assignment::lasting(
            Id::random(&SeededEntropy::new(1)).unwrap(),
            id.clone(),
            role,
            Scope::Everything,
        );
        columns.push((
            role.to_string(),
            engine.slice(&somebody, &[], &[assignment], &customs, now).unwrap(),
        ));
    }
    for whose in ["own", "other"] {
        for role in [None, Some(Role::AcmeClient), Some(Role::AcmeRequester)] {
            let principal = Principal::Account(account(whose, role));
            let role = role.map_or(String::new(), |role| format!(", {role}"));
            let slice = engine.slice(&principal, &[], &[], &customs, now).unwrap();
            columns.push((format!("acme account ({whose}{role})"), slice));
        }
    }
    for name in system::ALL {
        let principal = Principal::System(name);
        columns.push((
            principal.to_string(),
            engine.slice(&principal, &[], &[], &customs, now).unwrap(),
        ));
    }

    let mut text = String::from("# Who may do what, with the role assigned at `/`. GOLDEN=update rewrites it.\n");
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

    super::compare("policy_matrix.txt", &text);
}

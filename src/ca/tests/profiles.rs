//! Which version of a profile counts.

use super::*;
use crate::x509::chain::Facts;

/// The built-in profiles, with servers' certificates of another life.
fn changed() -> Vec<Profile> {
    let mut profiles = Profile::built_in().unwrap();
    for profile in &mut profiles {
        if profile.name().as_str() == "server-tls" {
            let text = profile
                .text()
                .replace("default_validity_s = 604_800", "default_validity_s = 3600");
            *profile = Profile::parse(&text).unwrap();
        }
    }
    profiles
}

fn life(issued: &Issued) -> Duration {
    let validity = Facts::read(&issued.certificate).unwrap().validity;
    validity.not_after.since(validity.not_before)
}

#[test]
fn r04_what_began_with_a_profile_keeps_it_when_its_file_changes_and_the_service_starts_anew() {
    with_token(|token| async move {
        let mut house = house(&token).await;
        let server_tls: Label = "server-tls".parse().unwrap();
        let before = house.authority.profile_hash(&server_tls).unwrap().to_owned();
        let first = house.issue(server("a.test")).await.unwrap();
        assert_eq!(house.outcomes("AdoptProfiles").await, ["done"]);

        house.clock.advance(DAY);
        house.authority = house.again(changed()).await;
        assert_eq!(
            house.outcomes("AdoptProfiles").await,
            ["done", "done"],
            "only what is new"
        );
        let after = house.authority.profile_hash(&server_tls).unwrap().to_owned();
        assert_ne!(before, after);
        let began_before = IssueRequest {
            profile_hash: Some(before.clone()),
            ..server("b.test")
        };
        let began_now = IssueRequest {
            profile_hash: Some(after.clone()),
            ..server("c.test")
        };
        let kept = house.issue(began_before.clone()).await.unwrap();
        assert_eq!(life(&kept), life(&first));
        let new = house.issue(began_now).await.unwrap();
        assert_eq!(life(&new), Duration::from_secs(3_600 + 300 - 1));
        assert_eq!(life(&house.issue(server("d.test")).await.unwrap()), life(&new));

        let list = ListProfiles {
            authority: house.authority.name().clone(),
        };
        let listed = house.perform(list.clone()).await.unwrap();
        let of_server = |listed: &[ProfileVersion]| -> Vec<(String, bool)> {
            let own = listed.iter().filter(|version| version.name == server_tls);
            own.map(|version| (version.version.clone(), version.is_current))
                .collect()
        };
        let newest_first = [(after.clone(), true), (before.clone(), false)];
        assert_eq!(of_server(&listed), newest_first);
        let show = |profile: &Label, version: Option<&str>| ShowProfile {
            authority: list.authority.clone(),
            profile: profile.clone(),
            version: version.map(str::to_owned),
        };
        let (current, text) = house.perform(show(&server_tls, None)).await.unwrap();
        assert_eq!((current.version.as_str(), current.is_current), (after.as_str(), true));
        assert!(text.contains("default_validity_s = 3600"));
        let (old, text) = house.perform(show(&server_tls, Some(&before))).await.unwrap();
        assert!(!old.is_current && text.contains("604_800"));
        assert_eq!((old.adopted, current.adopted), (START, START + DAY));
        let wrong = house.perform(show(&"client-tls".parse().unwrap(), Some(&before))).await;
        assert_eq!(wrong.unwrap_err().kind(), Kind::NotFound);

        // A profile that is gone is still what it was to whoever began with it, and to nobody else.
        let mut fewer = changed();
        fewer.retain(|profile| *profile.name() != server_tls);
        house.authority = house.again(fewer).await;
        let none_is_current = [(after, false), (before.clone(), false)];
        assert_eq!(of_server(&house.perform(list.clone()).await.unwrap()), none_is_current);
        let gone = house.perform(show(&server_tls, None)).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::Invalid);
        assert_eq!(life(&house.issue(began_before).await.unwrap()), life(&first));
        assert!(house.issue(server("e.test")).await.is_err());
        let others = IssueRequest {
            profile: "client-tls".parse().unwrap(),
            profile_hash: Some(before),
            ..server("f.test")
        };
        assert_eq!(house.issue(others).await.unwrap_err().kind(), Kind::Internal);
        assert_eq!(house.outcomes("AdoptProfiles").await.len(), 2);
    });
}

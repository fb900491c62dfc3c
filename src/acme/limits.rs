//! How much a client of the ACME server may ask for.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::digest;
use serde::Deserialize;

use super::Acme;
use super::identifier::{Asked, Identifier};
use crate::error::Result;
use crate::id::Id;
use crate::limit::{Rule, Take};

/// The limits. Those that an authority for a house needs are far above what a sound client does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// New accounts from one address, or one IPv6 network of 64 bits.
    pub accounts_per_source: Rule,
    /// Orders of one account, but for renewals.
    pub orders_per_account: Rule,
    /// Failed validations of one name by one account; then it can place no order for it.
    pub failed_validations: Rule,
    /// Orders with names below one domain of two labels, or for one address, but for renewals.
    pub orders_per_domain: Rule,
    /// Orders for exactly the same names, but for renewals.
    pub orders_per_names: Rule,
}

impl Default for Limits {
    fn default() -> Self {
        const HOUR: u32 = 3_600;
        Self {
            accounts_per_source: Rule::new(1_000, HOUR),
            orders_per_account: Rule::new(50_000, HOUR),
            failed_validations: Rule::new(60, HOUR),
            orders_per_domain: Rule::new(200_000, 24 * HOUR),
            orders_per_names: Rule::new(10_000, 24 * HOUR),
        }
    }
}

impl Limits {
    /// Checks what can be checked without anything else.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub(super) fn check(&self) -> Result<()> {
        for (setting, _, rule) in self.all() {
            rule.check(setting)?;
        }
        Ok(())
    }

    /// Each with its setting and what it counts.
    pub fn all(&self) -> [(&'static str, &'static str, Rule); 5] {
        [
            (
                "acme.limits.accounts_per_source",
                "new accounts from one address, or one IPv6 network of 64 bits",
                self.accounts_per_source,
            ),
            (
                "acme.limits.orders_per_account",
                "orders of one account, renewals (`replaces`) not counted",
                self.orders_per_account,
            ),
            (
                "acme.limits.orders_per_domain",
                "orders with names below one domain of two labels, or for one address, renewals not counted",
                self.orders_per_domain,
            ),
            (
                "acme.limits.orders_per_names",
                "orders for exactly the same names, renewals not counted",
                self.orders_per_names,
            ),
            (
                "acme.limits.failed_validations",
                "failed validations of one name by one account; then it can place no order for that name",
                self.failed_validations,
            ),
        ]
    }
}

impl Acme {
    /// What a new account counts for.
    pub(super) fn take_account(&self, source: SocketAddr) -> Option<Take> {
        let source = match source.ip().to_canonical() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        };
        self.0.settings.limits.accounts_per_source.take(
            format!("acme/source/{source}"),
            "new accounts from this address",
            "acme.limits.accounts_per_source",
            self.millis(),
        )
    }

    /// What an order that renews nothing counts for.
    pub(super) fn take_order(&self, account: Id, identifiers: &[Asked]) -> Vec<Take> {
        let (limits, now, authority) = (&self.0.settings.limits, self.millis(), self.name());
        let domains: BTreeSet<String> = identifiers.iter().map(|asked| domain(&asked.identifier)).collect();
        let mut names: Vec<String> = identifiers.iter().map(Asked::to_string).collect();
        names.sort_unstable();
        let names = hex::encode(digest::digest(&digest::SHA256, names.join(" ").as_bytes()));
        let account = limits.orders_per_account.take(
            format!("acme/account/{account}"),
            "orders of this account",
            "acme.limits.orders_per_account",
            now,
        );
        let names = limits.orders_per_names.take(
            format!("acme/names/{authority}/{names}"),
            "orders for exactly these names",
            "acme.limits.orders_per_names",
            now,
        );
        let domains = domains.into_iter().filter_map(|domain| {
            limits.orders_per_domain.take(
                format!("acme/domain/{authority}/{domain}"),
                "orders for this domain",
                "acme.limits.orders_per_domain",
                now,
            )
        });
        account.into_iter().chain(names).chain(domains).collect()
    }

    /// What a failed validation counts for.
    pub(super) fn take_failure(&self, account: Id, identifier: &Identifier) -> Option<Take> {
        self.0.settings.limits.failed_validations.take(
            format!("acme/failed/{account}/{identifier}"),
            "failed validations of a name of this order",
            "acme.limits.failed_validations",
            self.millis(),
        )
    }

    fn millis(&self) -> i64 {
        self.0.gate.clock().now_millis()
    }
}

/// The last two labels of a name; an address is its own domain.
fn domain(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Ip(ip) => ip.to_string(),
        Identifier::Dns(name) => {
            let mut labels = name.as_str().rsplitn(3, '.');
            let (last, second) = (labels.next().unwrap_or_default(), labels.next());
            second.map_or_else(|| last.to_owned(), |second| format!("{second}.{last}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_two_labels_at_most() {
        for (name, expected) in [("a.b.c.test", "c.test"), ("c.test", "c.test"), ("test", "test")] {
            assert_eq!(domain(&Identifier::parse("dns", name).unwrap()), expected);
        }
        assert_eq!(domain(&Identifier::parse("ip", "10.0.0.1").unwrap()), "10.0.0.1");
    }
}

//! What an ACME account may be certified for, and how that is proven.

use sea_orm::entity::prelude::*;

/// One authorization, with its challenges: one of each method that fits, one of which may be tried.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_authorization")]
pub struct Model {
    /// 32 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The account that it belongs to.
    pub account: String,
    /// `dns:…` or `ip:…`, without `*.`.
    pub identifier: String,
    /// Whether it is for the wildcard.
    pub wildcard: bool,
    /// `pending`, `valid`, `invalid` or `deactivated`.
    pub status: String,
    /// What the challenges' tokens are made from, hexadecimal.
    pub seed: String,
    /// Unix seconds.
    pub expires_at: i64,
    /// The method that is or was tried.
    pub method: Option<String>,
    /// The account's URL as its client has it.
    pub account_url: Option<String>,
    /// Unix seconds.
    pub validated_at: Option<i64>,
    /// A problem, JSON; why the challenge failed.
    pub error: Option<String>,
    /// The node that validates it.
    pub holder: Option<String>,
    /// Unix seconds; from then on another node may validate it.
    pub leased_until: Option<i64>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

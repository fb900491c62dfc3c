//! The names of what was issued, to find it by.

use sea_orm::entity::prelude::*;

/// A row of `issued_name`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issued_name")]
pub struct Model {
    /// `dns:` with the labels from the last to the first, `ip:…`, `uri:…`; ordered by its bytes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The `id` of the certificate.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
}

/// Leads to the certificate.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The certificate.
    #[sea_orm(
        belongs_to = "super::issued::Entity",
        from = "Column::Id",
        to = "super::issued::Column::Id"
    )]
    Issued,
}

impl ActiveModelBehavior for ActiveModel {}

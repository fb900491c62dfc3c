//! Statements that the changes of one batch share.
//!
//! A statement costs a way to the database and back, whatever it writes. What many changes of a batch do alike, each to
//! a row of its own, is said as a [`Together`]: every change adds its part, and one statement writes them all. If that
//! fails, the batch is run again with a statement for each, so that the failing change falls alone. A change that also
//! runs statements of its own writes its parts itself, in its place: see [`Tx::may_share`](super::Tx::may_share).

use std::any::{Any, TypeId};

use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::DatabaseTransaction;

use crate::error::Result;

/// A change's part of a statement.
pub trait Together: Sized + Send + 'static {
    /// Writes all `parts`, at least one, by one statement.
    ///
    /// # Errors
    /// If any part cannot be written. A single part's error is its caller's.
    fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> impl Future<Output = Result<()>> + Send;
}

/// Parts, by the statement that they belong to.
#[derive(Default)]
pub(super) struct Parts(Vec<Box<dyn Statement>>);

impl Parts {
    pub(super) fn add<P: Together>(&mut self, part: P) {
        self.merge(Box::new(Some(vec![part])));
    }

    pub(super) fn extend(&mut self, other: Self) {
        for statement in other.0 {
            self.merge(statement);
        }
    }

    fn merge(&mut self, mut statement: Box<dyn Statement>) {
        match self.0.iter_mut().find(|known| known.of() == statement.of()) {
            Some(known) => known.take_over(&mut *statement),
            None => self.0.push(statement),
        }
    }

    /// Runs the statements in the order in which they were first added to.
    pub(super) async fn write(self, conn: &DatabaseTransaction) -> Result<()> {
        for mut statement in self.0 {
            statement.write(conn).await?;
        }
        Ok(())
    }
}

/// The parts of one statement, their type erased.
trait Statement: Any + Send {
    fn of(&self) -> TypeId;

    fn take_over(&mut self, other: &mut dyn Any);

    fn write<'c>(&mut self, conn: &'c DatabaseTransaction) -> BoxFuture<'c, Result<()>>;
}

impl<P: Together> Statement for Option<Vec<P>> {
    fn of(&self) -> TypeId {
        TypeId::of::<P>()
    }

    fn take_over(&mut self, other: &mut dyn Any) {
        let other = other.downcast_mut::<Self>().and_then(Self::take);
        self.get_or_insert_default().extend(other.unwrap_or_default());
    }

    fn write<'c>(&mut self, conn: &'c DatabaseTransaction) -> BoxFuture<'c, Result<()>> {
        P::write(self.take().unwrap_or_default(), conn).boxed()
    }
}

//! A pool of connections, and a connection that is lent from it: two contexts.

use async_context_manager::prelude::*;
use sqlx::any::{Any, AnyArguments, AnyPoolOptions, AnyRow, install_default_drivers};
use sqlx::pool::PoolConnection;
use sqlx::query::QueryAs;
use sqlx::{AnyPool, FromRow};

/// A pool, open as long as the context.
#[async_context]
pub(crate) async fn pool(url: String, connections: u32) -> Result<AnyPool, sqlx::Error> {
    install_default_drivers();
    let options = AnyPoolOptions::new().max_connections(connections);
    let pool = options.connect(&url).await?;

    let (pool, _) = yield_!(pool);

    // This waits until every connection is back and closed.
    pool.close().await;
    Ok(())
}

/// A connection, lent from the pool.
///
/// It goes back only from a body that completes, and whose statements have all got their answers. From any
/// other it may come with an open transaction, or in the middle of a statement, so it is closed, and the
/// pool opens another one when it needs it.
#[async_context]
pub(crate) async fn connection(pool: AnyPool) -> Result<Lent, sqlx::Error> {
    // Who gives up waiting for a connection has nothing to undo.
    let connection = cancellable!(pool.acquire()).await?;

    let (lent, outcome) = yield_!(Lent {
        connection: Some(connection),
        in_statement: false,
    });

    if outcome.is_completed() && !lent.in_statement {
        lent.give_back();
        Ok(())
    } else {
        lent.close().await
    }
}

/// A connection that is closed, unless it is given back.
#[derive(Debug)]
pub(crate) struct Lent {
    /// There until it is given back, or closed.
    connection: Option<PoolConnection<Any>>,
    /// A statement has begun, and its answer is not there, or not all of it.
    in_statement: bool,
}

impl Lent {
    /// The rows of the answer. Dropped before its end, it leaves the rest of the answer on the wire.
    pub(crate) async fn ask<T>(
        &mut self,
        question: QueryAs<'_, Any, T, AnyArguments>,
    ) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        self.in_statement = true;
        let answer = question.fetch_all(&mut **self.connection()).await;
        self.in_statement = false;
        answer
    }

    pub(crate) fn connection(&mut self) -> &mut PoolConnection<Any> {
        self.connection.as_mut().expect("it is lent")
    }

    /// The pool looks whether it is still alive, and closes it if not.
    fn give_back(mut self) {
        drop(self.connection.take());
    }

    async fn close(mut self) -> Result<(), sqlx::Error> {
        match self.connection.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

impl Drop for Lent {
    /// Where the exit did not come to its end: a runtime that shuts down.
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}

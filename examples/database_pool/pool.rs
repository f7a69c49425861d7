//! Two contexts: a pool of connections, and a connection that is lent from the pool.

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
/// It goes back only after a body that completed, and only if all its statements were answered.
/// After any other body, it may have an open transaction, or be in the middle of a statement. So it
/// is closed, and the pool opens another connection when it needs one.
#[async_context]
pub(crate) async fn connection(pool: AnyPool) -> Result<Lent, sqlx::Error> {
    // A caller that gives up waiting for a connection has nothing to undo.
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

#[derive(Debug)]
pub(crate) struct Lent {
    /// `Some` until it is given back, or closed.
    connection: Option<PoolConnection<Any>>,
    /// `true` if a statement has begun, and its answer has not been read to the end.
    in_statement: bool,
}

impl Lent {
    /// Returns the rows of the answer. If the future is dropped, the rest of the answer stays on
    /// the wire.
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

    /// The pool checks whether the connection is alive, and closes it if not.
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
    /// Needed if the exit did not run to its end, because the runtime shut down.
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}

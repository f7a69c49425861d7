//! Methods of traits: any receiver, with and without a body, generic and suppressing ones.
#![deny(warnings)]

use std::pin::Pin;
use std::sync::Arc;

use async_context_manager::prelude::*;

trait Open: Send + Sync {
    #[async_context]
    async fn required(&self) -> Result<u32, String>;

    #[async_context]
    async fn provided(&self, add: u32) -> Result<u32, String> {
        let (_, _) = yield_!(add);
        Ok(())
    }

    #[async_context]
    async fn pinned(self: Pin<&mut Self>) -> Result<u32, String>;

    #[async_context]
    async fn shared(self: Arc<Self>) -> Result<u32, String>;

    #[async_context]
    async fn consumed(self) -> Result<u32, String>
    where
        Self: Sized,
    {
        yield_!(1);
        drop(self);
        Ok(())
    }

    #[async_context(suppress)]
    async fn suppressing() -> Result<u32, String> {
        yield_!(1);
        Ok(Suppression::Propagate)
    }

    #[async_context]
    async fn lent(&mut self) -> Result<&mut u32, String>;

    #[async_context]
    async fn generic<'a, T, const N: usize>(&'a self, values: [T; N]) -> Result<&'a u32, String>
    where
        T: Send + Sync + 'a;
}

struct Pool {
    size: u32,
}

impl Open for Pool {
    #[async_context]
    async fn required(&self) -> Result<u32, String> {
        yield_!(self.size);
        Ok(())
    }

    #[async_context]
    async fn pinned(mut self: Pin<&mut Self>) -> Result<u32, String> {
        self.size += 1;
        yield_!(self.size);
        self.size += 1;
        Ok(())
    }

    #[async_context]
    async fn shared(self: Arc<Self>) -> Result<u32, String> {
        yield_!(self.size);
        Ok(())
    }

    #[async_context]
    async fn lent(&mut self) -> Result<&mut u32, String> {
        let (size, _) = yield_!(&mut self.size);
        *size += 1;
        Ok(())
    }

    #[async_context]
    async fn generic<'a, T, const N: usize>(&'a self, values: [T; N]) -> Result<&'a u32, String>
    where
        T: Send + Sync + 'a,
    {
        yield_!(&self.size);
        drop(values);
        Ok(())
    }
}

fn of_any(
    open: Arc<impl Open + 'static>,
) -> impl AsyncContext<Value = u32, Error = String, Verdict = ()> + 'static {
    open.shared()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    let mut pool = Pool { size: 1 };
    let size = pool.required().with_scoped(async |size| Ok(*size)).await?;
    assert_eq!(size, 1);
    let size = pool.provided(3).with_scoped(async |size| Ok(*size)).await?;
    assert_eq!(size, 3);
    let size = Pin::new(&mut pool)
        .pinned()
        .with_scoped(async |size| Ok(*size))
        .await?;
    assert_eq!((size, pool.size), (2, 3));
    pool.lent()
        .with_scoped(async |size| {
            **size += 1;
            Ok(())
        })
        .await?;
    assert_eq!(pool.size, 5);
    let size = pool
        .generic([0_u8; 3])
        .with_scoped(async |size| Ok(**size))
        .await?;
    assert_eq!(size, 5);
    let one = Pool::suppressing().with(async |one| Ok(*one)).await?;
    assert_eq!(one, Some(1));
    assert_eq!(
        of_any(Arc::new(Pool { size: 7 }))
            .with(async |size| Ok(*size))
            .await,
        Ok(7)
    );
    assert_eq!(pool.consumed().with(async |one| Ok(*one)).await, Ok(1));
    Ok(())
}

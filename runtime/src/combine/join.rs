//! A few contexts of different types at the same time.

use std::fmt;

use crate::combine::joined::{Joined, run};
use crate::combine::members::{AnyMember, Member, Members};
use crate::context::AsyncContext;
use crate::generator::generator;

/// Joins a tuple of up to eight contexts, or an array, into one context. The contexts enter and
/// exit at the same time. The value is the tuple or array of their values. In Python, this is
/// `await asyncio.gather(*map(stack.enter_async_context, [a, b]))`.
///
/// ```
/// use async_context_manager::{join, prelude::*};
/// use std::io;
///
/// #[async_context]
/// async fn database(url: &'static str) -> io::Result<String> {
///     let (_, _) = yield_!(url.to_owned());
///     Ok(())
/// }
///
/// #[async_context]
/// async fn listener(port: u16) -> io::Result<u16> {
///     let (_, _) = yield_!(port);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let service = join((database("sqlite::memory:"), listener(8080)));
/// let started = service
///     .with(async |(database, port)| Ok(format!("{database} on {port}")))
///     .await?;
/// assert_eq!(started, "sqlite::memory: on 8080");
/// # Ok(())
/// # }
/// ```
///
/// All contexts must have the same error type, and none may suppress errors.
/// [`err_into`](crate::AsyncContextExt::err_into) converts errors. The contexts do not wait for
/// each other. Inside each of them, and around all of them, exits run in reverse order as usual.
///
/// # Errors
///
/// If an enter fails, the error of the enter that failed first. The other enters run to their end,
/// and their contexts exit and see that error. If all enters succeed, the first error of an exit,
/// in the order of the arguments. All other errors are [reported](crate::report).
///
/// # Panics
///
/// If an enter or exit panics. The first panic goes on after all other enters or exits have ended.
///
/// # Cancel safety
///
/// If the future is dropped during enter, the contexts that are entering go on in the background
/// and then exit, and the contexts that have been entered exit. If the future is dropped later, all
/// contexts exit at the same time.
pub fn join<J: Join>(
    contexts: J,
) -> impl AsyncContext<Value = J::Value, Error = J::Error, Verdict = ()> {
    contexts.__join()
}

/// The argument of [`join`]: a tuple of up to eight contexts, or an array of any number.
///
/// ```
/// # use async_context_manager::{contexts::join, prelude::*};
/// # use std::io;
/// # #[async_context]
/// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let sum = join([number(), number()]).with(async |numbers| Ok(numbers.iter().sum::<u32>())).await?;
/// assert_eq!(sum, 84);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be joined",
    label = "not a tuple or an array of contexts that have the same error, and never suppress one",
    note = "`.err_into::<Error>()` makes errors the same; `join_all` takes any iterator"
)]
pub trait Join: sealed::Sealed + 'static {
    /// The values of the contexts.
    type Value: Send;
    /// The common error type of the contexts.
    type Error: fmt::Debug + Send + Sync + 'static;

    #[doc(hidden)]
    fn __join(self) -> impl AsyncContext<Value = Self::Value, Error = Self::Error, Verdict = ()>;
}

mod sealed {
    #[expect(unnameable_types, reason = "what can't be named can't be implemented")]
    pub trait Sealed {}
}

fn joined<M: Members>(
    members: M,
) -> impl AsyncContext<Value = M::Value, Error = M::Error, Verdict = ()> {
    let limit = usize::MAX;
    generator("async_context_manager::join", move |lender| {
        run(Joined { members, limit }, lender)
    })
}

macro_rules! join_tuples {
    ($($context:ident $value:ident),+) => {
        impl<E, $($context),+> sealed::Sealed for ($($context,)+)
        where
            E: fmt::Debug + Send + Sync + 'static,
            $($context: AsyncContext<Error = E, Verdict = ()> + 'static,)+
        {
        }

        #[expect(non_snake_case, reason = "one name for a type and for its value")]
        impl<E, $($context),+> Join for ($($context,)+)
        where
            E: fmt::Debug + Send + Sync + 'static,
            $($context: AsyncContext<Error = E, Verdict = ()> + 'static,)+
        {
            type Value = ($($context::Value,)+);
            type Error = E;

            fn __join(self) -> impl AsyncContext<Value = Self::Value, Error = E, Verdict = ()> {
                let ($($context,)+) = self;
                joined(($(Member::beside_others($context),)+))
            }
        }

        #[expect(non_snake_case, reason = "one name for a type and for its value")]
        impl<E, $($context),+> Members for ($(Member<$context>,)+)
        where
            E: fmt::Debug + Send + Sync + 'static,
            $($context: AsyncContext<Error = E, Verdict = ()> + 'static,)+
        {
            type Value = ($($context::Value,)+);
            type Error = E;

            fn each(&mut self) -> Vec<&mut dyn AnyMember<E>> {
                let ($($context,)+) = self;
                vec![$($context),+]
            }

            fn lend(&mut self) -> Self::Value {
                let ($($context,)+) = self;
                ($($context.lend(),)+)
            }

            fn put_back(&mut self, values: Self::Value) {
                let ($($context,)+) = self;
                let ($($value,)+) = values;
                $($context.put_back($value);)+
            }
        }
    };
}

join_tuples!(A a);
join_tuples!(A a, B b);
join_tuples!(A a, B b, C c);
join_tuples!(A a, B b, C c, D d);
join_tuples!(A a, B b, C c, D d, F f);
join_tuples!(A a, B b, C c, D d, F f, G g);
join_tuples!(A a, B b, C c, D d, F f, G g, H h);
join_tuples!(A a, B b, C c, D d, F f, G g, H h, I i);

impl<C: AsyncContext<Verdict = ()> + 'static, const N: usize> sealed::Sealed for [C; N] {}

impl<C: AsyncContext<Verdict = ()> + 'static, const N: usize> Join for [C; N] {
    type Value = [C::Value; N];
    type Error = C::Error;

    fn __join(self) -> impl AsyncContext<Value = [C::Value; N], Error = C::Error, Verdict = ()> {
        joined(self.map(Member::beside_others))
    }
}

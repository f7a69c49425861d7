//! The corpus.

use async_context_manager::{AsyncContext, AsyncContextExt, async_context, cancellable, yield_};
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// A resource.
#[derive(Debug, Clone, Default)]
pub struct Conn {
    /// Its number.
    pub id: u32,
}

impl Conn {
    async fn open(id: u32) -> Result<Self, Failed> {
        tokio::task::yield_now().await;
        if id == 0 {
            Err(Failed)
        } else {
            Ok(Self { id })
        }
    }

    async fn close(self) -> Result<(), Failed> {
        tokio::task::yield_now().await;
        (self.id < 9).then_some(()).ok_or(Failed)
    }
}

/// What goes wrong.
#[derive(Debug)]
pub struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl Error for Failed {}

/// A plain function.
#[async_context]
pub async fn connect(id: u32) -> Result<Conn, Failed> {
    let conn = Conn::open(id).await?;
    let (conn, _) = yield_!(conn);
    conn.close().await
}

/// With the outcome.
#[async_context]
pub async fn outcome(mut id: u32) -> Result<Conn, Failed> {
    id += 1;
    let conn = cancellable!(Conn::open(id)).await?;
    let (conn, outcome) = yield_!(conn);
    if outcome.is_completed() {
        conn.close().await
    } else {
        Ok(())
    }
}

/// An alias.
#[async_context]
pub async fn temp_file(name: &str) -> std::io::Result<String> {
    let (name, _) = yield_!(name.to_owned());
    name.parse::<u32>()
        .map_err(std::io::Error::other)
        .map(|_| ())
}

/// Nothing to lend.
#[async_context]
pub(crate) async fn span() -> Result<(), Failed> {
    yield_!();
    Ok(())
}

/// Unused and odd arguments.
#[async_context]
pub async fn arguments(
    (a, b): (u32, u32),
    _: Conn,
    _unused: Conn,
    Conn { id }: Conn,
    r#type: u32,
    [first, ..]: [u32; 3],
    #[cfg(never)] missing: u32,
    #[cfg(not(never))] present: u32,
) -> Result<u32, Failed> {
    let sum = a + b + id + r#type + first + present;
    let (sum, _) = yield_!(sum);
    drop(sum.to_string());
    Ok(())
}

/// Generic.
#[async_context]
pub async fn generic<'a, T, const N: usize>(
    items: &'a [T; N],
    f: impl Fn(&T) -> u32 + Send + Sync,
    dynamic: Box<dyn Fn(u32) -> u32 + Send + Sync>,
) -> Result<(&'a T, u32), Failed>
where
    T: Sync + 'a,
{
    let Some(first) = items.first() else {
        return Err(Failed);
    };
    let value = dynamic(f(first));
    let (_, _) = yield_!((first, value));
    Ok(())
}

/// Elided lifetimes.
#[async_context]
pub async fn elided(text: &str) -> Result<std::str::Chars<'_>, Failed> {
    let (chars, _) = yield_!(text.chars());
    drop(chars.collect::<String>());
    Ok(())
}

/// Hides its value.
#[async_context]
pub async fn opaque(id: u32) -> Result<impl Fn() -> u32 + Send, Failed> {
    let _ = yield_!(move || id);
    Ok(())
}

/// Coerces.
#[async_context]
pub async fn boxed_value(
    id: u32,
) -> Result<Box<dyn Fn() -> u32 + Send>, Box<dyn Error + Send + Sync>> {
    let conn = Conn::open(id).await?;
    let (f, _) = yield_!(Box::new(move || conn.id));
    drop(f);
    Ok(())
}

/// Branches.
#[async_context]
pub async fn branches(id: Option<u32>) -> Result<Conn, Failed> {
    let conn = match id {
        Some(id) if id > 7 => return Err(Failed),
        Some(id) => Conn::open(id).await?,
        None => Conn::default(),
    };
    let mut tries = 0;
    let extra = loop {
        tries += 1;
        match Conn::open(tries).await {
            Ok(conn) => break conn,
            Err(error) if tries > 3 => return Err(error),
            Err(_) => {}
        }
    };
    if id == Some(0) {
        Err(Failed)
    } else {
        let (conn, _) = yield_!(conn);
        conn.close().await?;
        extra.close().await
    }
}

/// In one arm.
#[async_context]
pub async fn one_arm(id: Option<u32>) -> Result<u32, Failed> {
    match id {
        Some(id) => {
            yield_! { id }
            Ok(())
        }
        None => Err(Failed),
    }
}

/// Labelled.
#[async_context]
pub async fn labelled(id: u32) -> Result<u32, Failed> {
    let value = 'search: {
        if id > 3 {
            break 'search id;
        }
        0
    };
    let (_value, _outcome) = yield_!(value);
    Ok(())
}

/// Not there yet.
#[async_context]
pub async fn later() -> Result<u32, Failed> {
    todo!()
}

/// May be given up.
#[async_context]
pub async fn both(id: u32) -> Result<(Conn, Conn), Failed> {
    let (a, b) = tokio::try_join!(cancellable!(Conn::open(id)), async move {
        cancellable!(Conn::open(id)).await
    })?;
    let (a2, b2) = tokio::join!(cancellable!(Conn::open(id)), Conn::open(id));
    a2?.close().await?;
    b2?.close().await?;
    let ((a, b), _) = yield_!((a, b));
    a.close().await?;
    b.close().await
}

/// Suppresses.
#[async_context(suppress)]
pub async fn forgiving() -> Result<(), Failed> {
    let ((), outcome) = yield_!(());
    if outcome.is_completed() {
        Ok(async_context_manager::Suppression::Propagate)
    } else {
        Ok(async_context_manager::Suppression::Suppress)
    }
}

/// Named.
#[async_context(struct = Connection)]
pub async fn named(id: u32) -> Result<Conn, Failed> {
    let conn = Conn::open(id).await?;
    let (conn, _) = yield_!(conn);
    conn.close().await
}

/// Named, with all that a struct may have, and odd arguments.
#[async_context(suppress, struct = NamedGeneric)]
pub async fn named_generic<'a, T, U, const N: usize>(
    items: &'a [T; N],
    (a, b): (u32, u32),
    mut number: u32,
    _: Conn,
    _unused: Conn,
    dynamic: Box<dyn Fn(&u32) -> u32 + Send + Sync + 'a>,
) -> Result<(&'a T, u32), Failed>
where
    T: Sync,
    U: Default + ToString + Send,
{
    number += dynamic(&a) + b;
    drop(U::default().to_string());
    let Some(first) = items.first() else {
        return Err(Failed);
    };
    let (_, outcome) = yield_!((first, number));
    Ok(if outcome.is_failed() {
        async_context_manager::Suppression::Suppress
    } else {
        async_context_manager::Suppression::Propagate
    })
}

/// Named, with an alias.
#[async_context(struct = NamedAlias)]
#[must_use = "of the function"]
#[inline]
pub(crate) async fn named_alias(r#type: String) -> std::io::Result<String> {
    yield_!(r#type);
    Ok(())
}

async_context_manager::contexts! {
    /// Named, with the keyword.
    #[async_context(struct = NamedKeyword)]
    pub async fn named_keyword() -> Result<u32, Failed> {
        let (_number, _outcome) = yield 3;
        Ok(())
    }
}

/// Holds a named one.
#[derive(Debug)]
pub struct Holder<'a, T: Sync> {
    /// Not entered.
    pub generic: NamedGeneric<'a, T, u32, 3>,
    /// Entered.
    pub connection: async_context_manager::Guard<Connection>,
}

/// Uses another.
#[async_context]
pub async fn outer(id: u32) -> Result<u32, Failed> {
    connect(id)
        .with(async |conn| {
            conn.id += 1;
            Ok(())
        })
        .await?;
    let guard = connect(id).guard().await?;
    yield_!(guard.id);
    async_context_manager::Guard::close(guard).await
}

/// One in another.
#[async_context]
pub async fn nesting(id: u32) -> Result<Conn, Failed> {
    #[async_context]
    async fn inner(id: u32) -> Result<Conn, Failed> {
        let (conn, _) = yield_!(Conn::open(id).await?);
        conn.close().await
    }
    let guard = inner(id).guard().await?;
    yield_!(Conn { id: guard.id });
    drop(guard);
    Ok(())
}

/// Recursive.
#[async_context]
pub async fn recursive(depth: u32) -> Result<u32, Failed> {
    if depth > 0 {
        recursive(depth - 1).boxed().with(async |_| Ok(())).await?;
    }
    yield_!(depth);
    Ok(())
}

/// Methods.
#[derive(Debug, Clone, Default)]
pub struct Db {
    name: String,
}

impl Db {
    /// `&self`
    #[async_context]
    pub async fn by_ref(&self, id: u32) -> Result<&str, Failed> {
        Conn::open(id).await?.close().await?;
        yield_!(&*self.name);
        Ok(())
    }

    /// `&mut self`
    #[async_context]
    pub async fn by_mut(&mut self) -> Result<&mut String, Failed> {
        self.name.push('!');
        let (name, _) = yield_!(&mut self.name);
        name.push('?');
        Ok(())
    }

    /// `self`
    #[async_context]
    pub async fn by_value(mut self) -> Result<Self, Failed> {
        self.name.push('!');
        let (this, _) = yield_!(self);
        drop(this);
        Ok(())
    }

    /// `self`, unused.
    #[async_context]
    pub async fn unused(self) -> Result<u32, Failed> {
        yield_!(1);
        Ok(())
    }

    /// `self: Arc<Self>`
    #[async_context]
    pub async fn by_arc(self: Arc<Self>) -> Result<String, Failed> {
        let (name, _) = yield_!(self.name.clone());
        drop(name);
        Ok(())
    }

    /// `self: Pin<&mut Self>`
    #[async_context]
    pub async fn pinned(self: Pin<&mut Self>) -> Result<u32, Failed> {
        let n = u32::try_from(self.name.len()).unwrap_or(0);
        yield_!(n);
        Ok(())
    }

    /// No `self`
    #[async_context]
    #[must_use]
    pub async fn associated() -> Result<Self, Failed> {
        yield_!(Self::default());
        Ok(())
    }
}

/// Opens.
pub trait Open: Sync {
    /// What.
    type Error: fmt::Debug + Send + Sync + 'static;

    /// Without a body.
    #[async_context]
    async fn open(&self, id: u32) -> Result<Conn, Self::Error>;

    /// With one.
    #[async_context]
    async fn default_open(&self) -> Result<u32, Self::Error> {
        yield_!(3);
        Ok(())
    }
}

impl Open for Db {
    type Error = Failed;

    #[async_context]
    async fn open(&self, id: u32) -> Result<Conn, Failed> {
        let (conn, _) = yield_!(Conn::open(id).await?);
        conn.close().await
    }
}

macro_rules! context {
    ($(#[$attr:meta])* $vis:vis $name:ident($arg:ident: $ty:ty) -> $ret:ty $body:block) => {
        $(#[$attr])*
        #[async_context]
        $vis async fn $name($arg: $ty) -> $ret $body
    };
    (whole $name:ident, $value:expr) => {
        /// From a macro.
        #[async_context]
        pub async fn $name() -> Result<u32, Failed> {
            let value = $value;
            let (value, outcome) = yield_!(value);
            if outcome.is_failed() || value > 3 {
                return Err(Failed);
            }
            Ok(())
        }
    };
}

context! {
    /// Body from outside.
    pub from_macro(id: u32) -> Result<Conn, Failed> {
        let (conn, _) = yield_!(Conn::open(id).await?);
        conn.close().await
    }
}
context!(whole whole_macro, 3);

macro_rules! same_names {
    ($name:ident, $other:ident, $_unused:ident, $body:expr) => {
        /// Names that only rustc can tell apart.
        #[async_context]
        pub async fn $name(
            other: u32,
            $other: String,
            _unused: u32,
            $_unused: String,
        ) -> Result<u32, Failed> {
            let (other, _) = yield_!(other);
            drop((other.to_string(), $body));
            Ok(())
        }
    };
}
same_names!(from_two_macros, other, _unused, other + "!");

/// Uses them.
///
/// # Errors
///
/// As they do.
pub async fn user(db: Db) -> Result<u32, Failed> {
    let mut context = Open::open(&db, 3);
    let value = context.enter().await?;
    context
        .exit(value, &async_context_manager::Outcome::Completed)
        .await?;
    connect(3).with(async |conn| Ok(conn.id)).await
}

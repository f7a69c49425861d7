//! One context with an error of its own, and bodies that fail with an enum of thiserror, with an
//! `eyre::Report`, and with a `Box<dyn Error>`.

use std::error::Error;
use std::num::ParseIntError;

use async_context_manager::{BodyError, prelude::*};

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("there is no counter {0}")]
struct NoCounter(u32);

#[async_context]
async fn counter(number: u32) -> Result<i64, NoCounter> {
    if number > 9 {
        return Err(NoCounter(number));
    }
    let (_count, _outcome) = yield_!(i64::from(number));
    Ok(())
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    Counter(#[from] NoCounter),
    #[error("not a number: {0}")]
    Number(#[from] ParseIntError),
}

#[tokio::test]
async fn with_thiserror() {
    let add = async |number, text: &str| {
        counter(number)
            .err_into::<AppError>()
            .with(async |count| Ok(*count + text.parse::<i64>()?))
            .await
    };
    assert_eq!(add(1, "2").await, Ok(3));
    assert_eq!(add(10, "2").await, Err(AppError::Counter(NoCounter(10))));
    assert!(matches!(add(1, "two").await, Err(AppError::Number(_))));
}

#[tokio::test]
async fn with_eyre() {
    use eyre::WrapErr as _;

    let add = async |number, text: &str| -> eyre::Result<i64> {
        counter(number)
            .err_into::<eyre::Report>()
            .with(async |count| Ok(*count + text.parse::<i64>()?))
            .await
            .wrap_err("could not add")
    };
    assert_eq!(add(1, "2").await.unwrap(), 3);
    let error = add(10, "2").await.unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "could not add: there is no counter 10"
    );
    assert!(error.downcast_ref::<NoCounter>().is_some());
}

#[tokio::test]
async fn with_a_boxed_error_that_the_exit_looks_into() {
    type AnyError = Box<dyn Error + Send + Sync>;

    /// Suppresses the error of text that is not a number.
    #[async_context(suppress)]
    async fn lenient() -> Result<(), AnyError> {
        let ((), outcome) = yield_!(());
        let error = outcome.error();
        Ok(if error.is_some_and(BodyError::is::<ParseIntError>) {
            Suppression::Suppress
        } else {
            Suppression::Propagate
        })
    }

    let add = async |number, text: &str| {
        lenient()
            .with(async |()| {
                counter(number)
                    .err_into::<AnyError>()
                    .with(async |count| Ok(*count + text.parse::<i64>()?))
                    .await
            })
            .await
    };
    assert_eq!(add(1, "2").await.unwrap(), Some(3));
    assert_eq!(add(1, "two").await.unwrap(), None);
    assert!(add(10, "2").await.unwrap_err().is::<NoCounter>());
}

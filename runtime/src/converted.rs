//! Code whose errors differ from those of its context.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::context::Verdict;
use crate::exchange::Link;
use crate::outcome::BodyError;
use crate::report;

pin_project! {
    /// Code whose errors `convert` turns into errors of the context: the error with which the code
    /// ends, and the error of the future beside the body, if that future ended the body.
    ///
    /// `convert` returns `Err(error)` if it can't convert. Such an error is reported, because the
    /// caller already gets another error.
    pub(crate) struct Converted<V, F, M> {
        name: &'static str,
        #[pin]
        code: F,
        link: Link<V>,
        convert: M,
    }
}

impl<V, F, M> Converted<V, F, M> {
    pub(crate) fn new(name: &'static str, code: F, link: Link<V>, convert: M) -> Self {
        Self {
            name,
            code,
            link,
            convert,
        }
    }
}

impl<V, F, M, D, A, B> Future for Converted<V, F, M>
where
    F: Future<Output = Result<D, A>>,
    M: FnMut(A) -> Result<B, A>,
    D: Verdict,
    A: fmt::Debug + Send + Sync + 'static,
    B: fmt::Debug + Send + Sync + 'static,
{
    type Output = Result<D, B>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.code.poll(cx) {
            Poll::Pending => {
                if let Some(error) = this.link.convert_end(this.convert) {
                    let error = BodyError::new(Arc::new(error));
                    report::beside_failed(this.name, error);
                }
                Poll::Pending
            }
            Poll::Ready(Ok(verdict)) => Poll::Ready(Ok(verdict)),
            Poll::Ready(Err(error)) => Poll::Ready(match (this.convert)(error) {
                Ok(error) => Err(error),
                Err(error) => {
                    report::error(this.name, this.link.failed_as(), Arc::new(error));
                    Ok(D::PROPAGATE)
                }
            }),
        }
    }
}

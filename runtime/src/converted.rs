//! Code whose errors differ from those of its context.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::exchange::Link;

pin_project! {
    /// Code whose errors `convert` turns into errors of the context: the error with which the code
    /// ends, and the error of the future beside the body, if that future ended the body.
    pub(crate) struct Converted<V, F, M> {
        #[pin]
        code: F,
        link: Link<V>,
        convert: M,
    }
}

impl<V, F, M> Converted<V, F, M> {
    pub(crate) fn new(code: F, link: Link<V>, convert: M) -> Self {
        Self {
            code,
            link,
            convert,
        }
    }
}

impl<V, F, M, D, A, B> Future for Converted<V, F, M>
where
    F: Future<Output = Result<D, A>>,
    M: FnMut(A) -> B,
    A: Send + Sync + 'static,
    B: fmt::Debug + Send + Sync + 'static,
{
    type Output = Result<D, B>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.code.poll(cx) {
            Poll::Pending => {
                this.link.convert_end(this.convert);
                Poll::Pending
            }
            Poll::Ready(ended) => Poll::Ready(ended.map_err(this.convert)),
        }
    }
}

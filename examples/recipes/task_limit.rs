//! Many tasks, of which at most a few run at a time, and none of which outlives its block.
//!
//! Use it for a list of downloads, uploads or jobs that is longer than the other side can bear at
//! once. `reserve` waits for a free place before a task exists, so that memory does not grow with
//! the list. The first task that fails ends the block: the body stops spawning, the other tasks are
//! aborted, and the caller gets the error when all tasks have ended. A caller that goes away ends
//! the tasks as well.

use async_context_manager::{contexts::tasks, prelude::*};

async fn for_each<T, F, E>(
    items: impl IntoIterator<Item = T, IntoIter: Send> + Send,
    limit: usize,
    work: impl Fn(T) -> F + Send + Sync,
) -> Result<(), E>
where
    T: Send,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Debug + Send + Sync + 'static,
{
    tasks()
        .fail_fast()
        .limit(limit)
        .with(async |tasks| {
            for item in items {
                let place = tasks.reserve().await;
                place.spawn(work(item));
            }
            Ok(()) // the exit waits for the tasks that still run
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    /// The number of tasks that run now, and the number of tasks that have ever begun.
    #[derive(Clone, Default)]
    struct Counts(Arc<[AtomicUsize; 2]>);

    impl Counts {
        async fn work(self, item: usize) -> Result<(), String> {
            let Self(counts) = &self;
            assert!(
                counts[0].fetch_add(1, Ordering::Relaxed) < 4,
                "at most four"
            );
            counts[1].fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            counts[0].fetch_sub(1, Ordering::Relaxed);
            if item == 9 {
                Err("no room".to_owned())
            } else {
                Ok(())
            }
        }

        fn begun(&self) -> usize {
            self.0[1].load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn four_run_at_a_time_and_the_first_failure_ends_them_all() {
        let counts = Counts::default();
        let clone = counts.clone();
        let all = for_each(0..9, 4, move |item| clone.clone().work(item));
        assert_eq!(tokio::spawn(all).await.unwrap(), Ok(()));
        assert_eq!(counts.begun(), 9);

        let counts = Counts::default();
        let failing = for_each(0..1_000, 4, |item| counts.clone().work(item));
        assert_eq!(failing.await, Err("no room".to_owned()));
        assert!((10..=14).contains(&counts.begun()), "{}", counts.begun());
        // Each task has ended: nobody else has the counts.
        assert_eq!(Arc::strong_count(&counts.0), 1);
    }
}
